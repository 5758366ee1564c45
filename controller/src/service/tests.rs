//! Changes through the service, with a node that is slow on purpose.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tranche_netconf::error::RpcError;
use tranche_netconf::message::{DefaultOperation, ErrorOption};
use tranche_yang::datastore::SERVER;
use tranche_yang::nacm::User;
use tranche_yang::restconf::{self, Method, Resource};
use tranche_yang::{Content, Datastores, Format, Proposal, Tree};

use super::{Author, Published, Service, Setup, Version, print, rpc_errors, schema};
use crate::device::{DeviceState, Fleet};
use crate::network::Network;
use crate::rollout::RolloutSettings;
use crate::store::{History, LocalStore};
use crate::toy::{Fault, ToyNode, eventually, quick};

/// A service with this configuration, and its store in a directory.
pub(super) async fn service_of(running: &Value, dir: &Path) -> Arc<Service> {
    let (schema, text) = (schema::build().unwrap(), running.to_string());
    let running = Tree::parse(schema, Format::Json, &text, Content::Config).unwrap();
    let store = Arc::new(LocalStore::open(&dir.join("store")).unwrap());
    let mut history = History::open(store, 10).await.unwrap();
    let config = print(&running).into_bytes();
    let first = history.commit("test", "first", config).await.unwrap();
    let settings = RolloutSettings::default();
    let setup = Setup {
        network: Arc::new(Network::new(Fleet::new(quick()), settings)),
        state_dir: dir.to_owned(),
        history,
        commits: vec![first],
        keep: 10,
        periods: 10,
    };
    Service::new(running, setup).unwrap()
}

struct Bench {
    service: Arc<Service>,
    node: ToyNode,
    shutdown: CancellationToken,
    _dir: TempDir,
}

impl Bench {
    /// A controller of one node, connected to it.
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let node = ToyNode::start("n1").await;
        let running = json!({
            "ietf-netconf-acm:nacm": { "enable-nacm": false },
            "tranche-inventory:inventory": {
                "credential": [{ "name": "c", "user": "tranche", "key": "main" }],
                "node": [{
                    "name": "n1", "address": node.config.address, "port": node.config.port,
                    "credential": "c", "host-key": node.config.host_key,
                }],
            },
        });
        let service = service_of(&running, dir.path()).await;
        let shutdown = CancellationToken::new();
        service.start(shutdown.clone()).await.unwrap();
        eventually("the node is read", || {
            let device = service.network.fleet().device("n1")?;
            (device.status().state == DeviceState::Connected).then_some(())?;
            service.network.wanted("n1")
        })
        .await;
        Self {
            service,
            node,
            shutdown,
            _dir: dir,
        }
    }

    /// Puts a slice on the node.
    fn put(&self, id: &str) -> impl Future<Output = Result<Version, Vec<RpcError>>> + use<> {
        let (service, id) = (Arc::clone(&self.service), id.to_owned());
        async move {
            let author = Author {
                user: User::new("test"),
                label: id.clone(),
            };
            let propose = move |_: &Published, datastores: &mut Datastores| edit(datastores, &id);
            service
                .change(author, propose)
                .await
                .map(|((), version)| version)
        }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.service.stop().await;
        self.node.server.shutdown().await;
    }
}

fn edit(datastores: &mut Datastores, id: &str) -> Result<(Proposal, ()), Vec<RpcError>> {
    let schema = datastores.running().schema();
    let slice = json!({ "tranche-slice:slice": [{
        "id": id, "tenant": "t", "where": { "node": ["n1"] },
        "wifi": { "ssid": id, "security": { "mode": "open" } },
    }] });
    let resource =
        Resource::parse(schema, "tranche-slice:slices").map_err(|e| vec![e.to_rpc_error()])?;
    let body = slice.to_string();
    propose(
        datastores,
        &resource,
        Method::Post,
        Some((Format::Json, &body)),
    )
}

fn propose(
    datastores: &mut Datastores,
    resource: &Resource,
    method: Method,
    body: Option<(Format, &str)>,
) -> Result<(Proposal, ()), Vec<RpcError>> {
    let schema = datastores.running().schema();
    let edit = restconf::edit(schema, resource, method, body, None).map_err(rpc_errors)?;
    let (default, errors) = (DefaultOperation::None, ErrorOption::RollbackOnError);
    let proposal = datastores
        .propose_parsed(SERVER, &edit, default, errors)
        .map_err(rpc_errors)?;
    Ok((proposal, ()))
}

fn slices(service: &Service) -> usize {
    service.published().desired.intent.slices.len()
}

#[tokio::test]
async fn reads_see_what_was_before_while_a_change_is_under_way_and_the_next_change_waits() {
    let bench = Bench::start().await;
    bench
        .node
        .toy
        .break_on("commit", Fault::Slow(Duration::from_millis(500)));
    let begin = Instant::now();
    let first = tokio::spawn(bench.put("a"));
    tokio::time::sleep(Duration::from_millis(50)).await;
    let second = tokio::spawn(bench.put("b"));
    for _ in 0..50 {
        let asked = Instant::now();
        assert_eq!(slices(&bench.service), 0);
        assert!(bench.service.state("/").is_ok());
        assert!(
            asked.elapsed() < Duration::from_millis(200),
            "{:?}",
            asked.elapsed()
        );
        if begin.elapsed() > Duration::from_millis(350) {
            break;
        }
    }
    let (first, second) = (
        first.await.unwrap().unwrap(),
        second.await.unwrap().unwrap(),
    );
    assert_eq!((first.commit, second.commit), (2, 3), "one after the other");
    assert!(begin.elapsed() >= Duration::from_secs(1));
    assert_eq!(bench.node.toy.running().len(), 2);
    bench.stop().await;
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_stop_a_change_half_way() {
    let bench = Bench::start().await;
    bench
        .node
        .toy
        .break_on("commit", Fault::Slow(Duration::from_millis(200)));
    let gone = tokio::time::timeout(Duration::from_millis(100), bench.put("a")).await;
    assert!(gone.is_err());
    eventually("the change is done", || {
        (slices(&bench.service) == 1).then_some(())
    })
    .await;
    assert_eq!(bench.node.toy.running().len(), 1);
    bench.stop().await;
}

#[tokio::test]
async fn a_node_that_refuses_leaves_everything_as_it_was_and_the_next_change_goes_on() {
    let bench = Bench::start().await;
    bench
        .node
        .toy
        .break_on("commit", Fault::Refuse("the radio is on fire"));
    let errors = bench.put("a").await.unwrap_err();
    let message = errors[0].message.as_deref().unwrap();
    assert!(
        message.contains("node n1 refused the commit: the radio is on fire"),
        "{message}"
    );
    assert_eq!(
        (
            slices(&bench.service),
            bench.service.published().version.commit
        ),
        (0, 1)
    );
    assert!(bench.node.toy.running().is_empty());
    bench.node.toy.repair();
    assert_eq!(bench.put("a").await.unwrap().commit, 2);
    bench.stop().await;
}

#[tokio::test]
async fn a_node_that_cannot_have_its_slices_any_more_refuses_nothing_else() {
    let bench = Bench::start().await;
    bench.put("a").await.unwrap();
    let toy = &bench.node.toy;
    let foreign = toy.vif("a-radio0").replace("<slice>a</slice>", "");
    toy.put("a-radio0", &foreign);
    let device = bench.service.network.fleet().device("n1").unwrap();
    device.read().await.unwrap();
    let schema = bench.service.schema();
    let make_site = move |_: &Published, datastores: &mut Datastores| {
        let resource = Resource::parse(schema, "tranche-inventory:inventory")
            .map_err(|e| vec![e.to_rpc_error()])?;
        let body = r#"{"tranche-inventory:site":[{"name":"new"}]}"#;
        propose(
            datastores,
            &resource,
            Method::Post,
            Some((Format::Json, body)),
        )
    };
    let author = Author {
        user: User::new("test"),
        label: "site".to_owned(),
    };
    bench.service.change(author, make_site).await.unwrap();
    assert_eq!(toy.vif("a-radio0"), foreign, "it is left alone");
    let errors = bench.put("b").await.unwrap_err();
    assert_eq!(errors[0].app_tag.as_deref(), Some("vif-name-clash"));
    bench.stop().await;
}

#[tokio::test]
async fn a_node_that_is_switched_off_loses_its_session_and_is_told_of() {
    let bench = Bench::start().await;
    let mut events = bench.service.events().subscribe();
    let author = Author {
        user: User::new("test"),
        label: "off".to_owned(),
    };
    let schema = bench.service.schema();
    let switch_off = move |_: &Published, datastores: &mut Datastores| {
        let path = "tranche-inventory:inventory/node=n1/enabled";
        let resource = Resource::parse(schema, path).map_err(|e| vec![e.to_rpc_error()])?;
        let body = Some((Format::Json, r#"{"tranche-inventory:enabled":false}"#));
        propose(datastores, &resource, Method::Put, body)
    };
    bench.service.change(author, switch_off).await.unwrap();
    assert!(bench.service.network.fleet().device("n1").is_none());
    let event = events.recv().await.unwrap();
    assert_eq!(event.name, "node-state-change");
    assert!(
        event.json.contains(r#""oper-state":"disabled""#),
        "{}",
        event.json
    );
    let state = bench
        .service
        .state("/tranche-inventory:inventory/node[name='n1']")
        .unwrap();
    let state = state[0].value("/tranche-inventory:inventory/node[name='n1']/state/oper-state");
    assert_eq!(state.as_deref(), Some("disabled"));
    bench.stop().await;
}
