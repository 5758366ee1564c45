//! The controller with real agents behind it: real SSH, simulated radios in range of each other on one channel.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::{Method, Response};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tranche_agent::Agent;
use tranche_agent::config::Settings;
use tranche_controller::keys;
use tranche_netconf::Error;
use tranche_netconf::client::{Auth, Client, ClientConfig, HostKeyCheck};
use tranche_netconf::message::{
    Datastore, DefaultOperation, EditConfig, ErrorOption, Filter, Operation, TestOption,
};
use tranche_netconf::xml::Fragment;

use crate::support::{Instance, error, factory};

/// What a test waits for at most: generous, for machines that do much at once.
const PATIENCE: Duration = Duration::from_secs(60);

/// Nodes of one process on one medium, and the directory they and the controller keep things in.
pub(crate) struct Site {
    pub(crate) agent: Agent,
    pub(crate) dir: TempDir,
}

/// What a node starts from: one radio, a station of a tenant that always wants more, and who may log in.
fn node_default(index: usize, public_key: &str, rules: &Value) -> Value {
    let tenant = ["a", "b"][index % 2];
    let user = |name: &str| json!({ "name": name, "password": format!("$0${name}") });
    let mut controller = user("controller");
    controller["authorized-key"] = json!([{
        "name": "main", "algorithm": "ssh-ed25519",
        "key-data": public_key.split(' ').nth(1).unwrap(),
    }]);
    json!({
        "ietf-system:system": { "authentication": { "user": [controller, user("admin")] } },
        "ietf-netconf-acm:nacm": {
            "groups": { "group": [
                { "name": "all", "user-name": ["admin", "controller"] },
                { "name": "controllers", "user-name": ["controller"] },
            ] },
            "rule-list": rules,
        },
        "tranche-wifi:wifi": {
            "radio": [{ "name": "phy0", "band": "2.4GHz", "channel": 6 }],
            "telemetry": { "interval": 500 },
        },
        "tranche-sim:sim": {
            "radio": [{ "name": "phy0", "x": format!("{}.0", index * 20), "y": "0.0" }],
            "station": [{
                "mac": format!("02:00:00:00:00:{index:02x}"), "ssid": tenant,
                "rate-down": 24000, "saturated-down": true,
            }],
        },
    })
}

/// Everything is permitted to the two users.
pub(crate) fn permit_all() -> Value {
    json!([{ "name": "all", "group": ["all"], "rule": [
        { "name": "all", "module-name": "*", "access-operations": "*", "action": "permit" }
    ] }])
}

impl Site {
    /// Two nodes; `rules` is the access control of the second one.
    async fn start(rules: &Value) -> Self {
        Self::of(&[&permit_all(), rules]).await
    }

    /// As many nodes as there are rules.
    pub(crate) async fn of(rules: &[&Value]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let agent = Agent::start(settings(dir.path(), rules)).await.unwrap();
        Self { agent, dir }
    }

    /// A controller's factory default that knows these nodes.
    pub(crate) fn inventory(&self) -> Value {
        let nodes = self.agent.nodes().iter().map(|node| {
            json!({
                "name": node.name(), "site": "street", "credential": "main",
                "address": node.address().ip().to_string(), "port": node.address().port(),
                "host-key": node.host_key_fingerprint(),
            })
        });
        let mut factory = factory();
        factory["tranche-inventory:inventory"]["node"] = nodes.collect();
        factory["tranche-sla:sla"] = json!({ "scheduler": { "interval": 1000, "enabled": false } });
        factory
    }

    /// A controller of these nodes, connected to all of them.
    pub(crate) async fn controller(&self, factory: &Value) -> Instance {
        let path = crate::support::write_factory(self.dir.path(), factory);
        let state = self.dir.path().join("controller");
        let config = crate::support::config(&state, &["--factory-default", &path]);
        let instance = Instance::run(config).await;
        for node in self.agent.nodes() {
            wait(&instance, &oper_state(node.name()), |v| v == "connected").await;
        }
        instance
    }

    /// A session of a node's own administrator.
    pub(crate) async fn admin(&self, index: usize) -> Client {
        let node = &self.agent.nodes()[index];
        let key = HostKeyCheck::Pinned(node.host_key_fingerprint().to_owned());
        let password = Auth::Password("admin".to_owned());
        let config = ClientConfig::new(node.address().to_string(), "admin", password, key);
        let (client, _notifications) = Client::connect(config).await.unwrap();
        client
    }

    /// A part of its configuration and state, as its own administrator reads it.
    pub(crate) async fn get(&self, index: usize, name: &str, namespace: &str) -> String {
        let part = Fragment::parse(&format!("<{name} xmlns=\"{namespace}\"/>")).unwrap();
        let admin = self.admin(index).await;
        let data = admin.get(Some(Filter::Subtree(part)), None).await;
        data.unwrap().as_str().to_owned()
    }

    /// An action of a tunnel that its own administrator asks for.
    pub(crate) async fn act(&self, index: usize, slice: &str, action: &str) {
        let yang = "urn:ietf:params:xml:ns:yang:1";
        let element = Fragment::parse(&format!(
            "<action xmlns=\"{yang}\"><backhaul xmlns=\"urn:tranche:yang:tranche-backhaul\">\
             <tunnel><slice>{slice}</slice>{action}</tunnel></backhaul></action>"
        ));
        let operation = Operation::Other {
            namespace: yang.to_owned(),
            name: "action".to_owned(),
            element: element.unwrap(),
        };
        self.admin(index).await.call(operation).await.unwrap();
    }

    /// What that one changes in running.
    pub(crate) async fn edit(&self, index: usize, config: &str) {
        self.try_edit(index, config).await.unwrap();
    }

    /// The same, which the node may refuse.
    pub(crate) async fn try_edit(&self, index: usize, config: &str) -> Result<(), Error> {
        let edit = EditConfig {
            target: Datastore::Running,
            default_operation: DefaultOperation::Merge,
            test_option: TestOption::TestThenSet,
            error_option: ErrorOption::RollbackOnError,
            config: Fragment::parse(config).unwrap(),
        };
        self.admin(index).await.edit_config(&edit).await
    }

    /// What a node has in running, as its own administrator reads it.
    pub(crate) async fn running(&self, index: usize) -> String {
        let client = self.admin(index).await;
        client
            .get_config(Datastore::Running, None, None)
            .await
            .unwrap()
            .as_str()
            .to_owned()
    }
}

fn settings(dir: &Path, rules: &[&Value]) -> Settings {
    let public_key = keys::public_key(&dir.join("controller"), "main").unwrap();
    let defaults = rules.iter().enumerate().map(|(index, rules)| {
        let path = dir.join(format!("node-{index}.json"));
        fs::write(&path, node_default(index, &public_key, rules).to_string()).unwrap();
        path
    });
    let defaults: Vec<_> = defaults.collect();
    let mut settings = Settings::simulated(u16::try_from(rules.len()).unwrap(), dir.join("agent"));
    settings.factory_default = defaults;
    settings
}

pub(crate) fn oper_state(node: &str) -> String {
    format!("tranche-inventory:inventory/node={node}/state/oper-state")
}

/// Waits until the only value at a data path is as it should be.
pub(crate) async fn wait(instance: &Instance, path: &str, done: impl Fn(&Value) -> bool) -> Value {
    let begin = Instant::now();
    loop {
        let answer = instance.get(&format!("/restconf/data/{path}")).await;
        let body: Value = answer.json().await.unwrap();
        let value = body.as_object().and_then(|members| members.values().next());
        if value.is_some_and(&done) {
            return value.cloned().unwrap();
        }
        assert!(begin.elapsed() < PATIENCE, "{path} is still {body}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// The names of the events of a stream, gathered as they come.
pub(crate) struct Told {
    names: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

pub(crate) fn collect(mut stream: Response) -> Told {
    let names = Arc::new(Mutex::new(Vec::new()));
    let gathered = Arc::clone(&names);
    let task = tokio::spawn(async move {
        let mut text = String::new();
        while let Ok(Some(chunk)) = stream.chunk().await {
            text.push_str(&String::from_utf8_lossy(&chunk));
            while let Some((event, rest)) = text.split_once("\n\n") {
                if let Some(data) = event.strip_prefix("data: ") {
                    let event: Value = serde_json::from_str(data).unwrap();
                    let members = event["ietf-restconf:notification"].as_object().unwrap();
                    let name = members.keys().find(|name| *name != "eventTime").unwrap();
                    gathered
                        .lock()
                        .unwrap()
                        .push(name.split(':').nth(1).unwrap().to_owned());
                }
                text = rest.to_owned();
            }
        }
    });
    Told { names, task }
}

impl Told {
    /// Waits until all of these have come; gives all that have.
    pub(crate) async fn await_names(self, names: &[&str]) -> Vec<String> {
        let begin = Instant::now();
        loop {
            let come = self.names.lock().unwrap().clone();
            if names
                .iter()
                .all(|name| come.iter().any(|come| come == name))
            {
                self.task.abort();
                return come;
            }
            assert!(begin.elapsed() < PATIENCE, "{names:?} among {come:?}");
            sleep(Duration::from_millis(50)).await;
        }
    }
}

pub(crate) fn slice(id: &str, min_ratio: &str) -> Value {
    json!({
        "id": id, "tenant": id, "where": { "site": ["street"] },
        "sla": { "airtime": { "min-ratio": min_ratio } },
        "wifi": { "ssid": id, "security": { "mode": "wpa3-personal", "passphrase": "correct horse" } },
    })
}

pub(crate) fn slices(list: &[Value]) -> Value {
    json!({ "tranche-slice:slices": { "slice": list } })
}

/// The share of a slice in the last period, in percent.
fn measured(sla: &Value, slice: &str) -> Option<f64> {
    let slices = sla["slice"].as_array()?;
    let domain = &slices.iter().find(|s| s["id"] == slice)?["domain"][0];
    domain["measured"].as_str()?.parse().ok()
}

/// Figure 21 of 5GCity D3.1: each tenant sends on its own node, so local shares alone give each half of the channel.
#[tokio::test(flavor = "multi_thread")]
async fn a_promise_is_broken_without_the_scheduler_and_kept_with_it() {
    let site = Site::start(&permit_all()).await;
    let instance = site.controller(&site.inventory()).await;
    let told = collect(instance.get("/streams/sla").await);
    let both = slices(&[slice("a", "30.0"), slice("b", "70.0")]);
    let put = instance
        .send(Method::PUT, "tranche-slice:slices", &both)
        .await;
    assert_eq!(put.status(), 201, "{}", put.text().await.unwrap());
    for id in ["a", "b"] {
        let path = format!("tranche-slice:slices/slice={id}/state");
        let state = wait(&instance, &path, |state| state["oper-state"] == "active").await;
        assert_eq!(state["access-point"].as_array().unwrap().len(), 2);
        assert!(state["applied-at"].is_string());
    }
    assert!(site.running(0).await.contains("<ssid>b</ssid>"));
    let broken = |sla: &Value| sla["slice"][1]["domain"][0]["state"] == "violated";
    let sla = wait(&instance, "tranche-sla:sla", broken).await;
    for id in ["a", "b"] {
        let share = measured(&sla, id).unwrap();
        assert!((40.0..60.0).contains(&share), "{id} got {share}: {sla}");
    }
    let radios = &sla["slice"][0]["domain"][0]["radio"];
    assert_eq!(
        radios,
        &json!(["node-1/phy0", "node-2/phy0"]),
        "they hear each other"
    );

    let on = json!({ "tranche-sla:enabled": true });
    let put = instance
        .send(Method::PUT, "tranche-sla:sla/scheduler/enabled", &on)
        .await;
    assert_eq!(put.status(), 204);
    let kept = |sla: &Value| {
        sla["slice"][1]["domain"][0]["state"] == "met"
            && measured(sla, "a").is_some_and(|share| (share - 30.0).abs() < 3.0)
            && measured(sla, "b").is_some_and(|share| (share - 70.0).abs() < 3.0)
    };
    let sla = wait(&instance, "tranche-sla:sla", kept).await;
    let domain = &sla["slice"][1]["domain"][0];
    assert_eq!(domain["violations"], "1");
    assert_ne!(domain["corrections"], "0");
    let periods = sla["history"]["period"].as_array().unwrap();
    assert!(periods.iter().any(|period| period["correction"].is_array()));
    assert!(
        !site.running(0).await.contains("<min-ratio>1"),
        "corrections are not configuration"
    );

    let events = told
        .await_names(&["sla-period", "sla-violated", "sla-cleared"])
        .await;
    assert!(
        events.iter().all(|name| name != "sla-infeasible"),
        "{events:?}"
    );
    let gone = instance.delete("tranche-slice:slices").await;
    assert_eq!(gone.status(), 204);
    for index in [0, 1] {
        assert!(
            !site.running(index).await.contains("<vif"),
            "node {index} has none any more"
        );
    }
    instance.stop().await;
    site.agent.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_refuses_makes_the_whole_change_fail_in_its_own_words() {
    let deny = json!([{ "name": "no vifs", "group": ["controllers"], "rule": [{
        "name": "no vifs", "module-name": "tranche-wifi", "path": "/tranche-wifi:wifi/vif",
        "access-operations": "create update delete", "action": "deny",
    }] }, permit_all()[0]]);
    let site = Site::start(&deny).await;
    let instance = site.controller(&site.inventory()).await;
    let before = instance.json("?content=config").await;
    let put = instance
        .send(
            Method::PUT,
            "tranche-slice:slices",
            &slices(&[slice("a", "30.0")]),
        )
        .await;
    assert_eq!(put.status(), 403);
    let refusal = error(put).await;
    assert_eq!(refusal["error-app-tag"], "node-refused");
    assert_eq!(
        refusal["error-path"],
        "/tranche-inventory:inventory/node[name='node-2']"
    );
    let message = refusal["error-message"].as_str().unwrap();
    assert!(message.starts_with("node node-2 refused the "), "{message}");
    assert!(
        message.contains("not permitted"),
        "the node's own words: {message}"
    );
    assert_eq!(instance.json("?content=config").await, before);
    assert_eq!(
        instance.json("tranche-commits:commits").await["tranche-commits:commits"]["commit"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    for index in [0, 1] {
        assert!(
            !site.running(index).await.contains("<vif"),
            "nothing on node {index}"
        );
    }
    let mut only_first = slice("a", "30.0");
    only_first["where"] = json!({ "node": ["node-1"] });
    let put = instance
        .send(Method::PUT, "tranche-slice:slices", &slices(&[only_first]))
        .await;
    assert_eq!(
        put.status(),
        201,
        "no lock is left behind: {}",
        put.text().await.unwrap()
    );
    instance.stop().await;
    site.agent.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_are_away_refuse_a_change_and_get_what_they_lack_when_they_return() {
    let site = Site::start(&permit_all()).await;
    let instance = site.controller(&site.inventory()).await;
    let put = instance
        .send(
            Method::PUT,
            "tranche-slice:slices",
            &slices(&[slice("a", "30.0")]),
        )
        .await;
    assert_eq!(put.status(), 201);
    let ports: Vec<u16> = site
        .agent
        .nodes()
        .iter()
        .map(|node| node.address().port())
        .collect();
    let Site { agent, dir } = site;
    let told = collect(instance.get("/streams/NETCONF").await);
    agent.shutdown().await;
    wait(&instance, &oper_state("node-1"), |v| v == "unreachable").await;
    told.await_names(&["node-state-change"]).await;
    let patch = json!({ "tranche-slice:slice": [{ "id": "a", "wifi": { "hidden": true } }] });
    let refused = instance
        .send(Method::PATCH, "tranche-slice:slices/slice=a", &patch)
        .await;
    assert_eq!(refused.status(), 412);
    let refusal = error(refused).await;
    assert_eq!(refusal["error-app-tag"], "node-failed");
    assert!(
        refusal["error-message"]
            .as_str()
            .unwrap()
            .starts_with("node node-1 failed")
    );
    let state = instance.json("tranche-slice:slices/slice=a/state").await;
    assert_eq!(state["tranche-slice:state"]["oper-state"], "degraded");
    let points = state["tranche-slice:state"]["access-point"]
        .as_array()
        .unwrap();
    assert!(points.iter().all(|point| point["oper-state"] == "unknown"));
    // What concerns no node goes on.
    let site_body = json!({ "tranche-inventory:site": [{ "name": "new" }] });
    let path = "tranche-inventory:inventory/site=new";
    assert_eq!(
        instance.send(Method::PUT, path, &site_body).await.status(),
        201
    );

    // They return with nothing on them, and the controller starts anew: it puts there what they should have.
    let state_dir = dir.path().join("controller");
    instance.stop().await;
    fs::remove_dir_all(dir.path().join("agent/node-1/store")).unwrap();
    let mut settings = settings(dir.path(), &[&permit_all(), &permit_all()]);
    assert_eq!(ports.len(), 2);
    settings.listen.set_port(0);
    let agent = Agent::start(settings).await.unwrap();
    let instance = Instance::run(crate::support::config(&state_dir, &[])).await;
    for node in agent.nodes() {
        let path = format!("tranche-inventory:inventory/node={}/port", node.name());
        let port = json!({ "tranche-inventory:port": node.address().port() });
        assert_eq!(instance.send(Method::PUT, &path, &port).await.status(), 204);
    }
    let path = "tranche-slice:slices/slice=a/state";
    wait(&instance, path, |state| state["oper-state"] == "active").await;
    let site = Site { agent, dir };
    assert!(site.running(0).await.contains("<vif"));
    wait(
        &instance,
        "tranche-inventory:inventory/node=node-1/state",
        |s| s["in-sync"] == true,
    )
    .await;
    instance.stop().await;
    site.agent.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_another_host_key_is_not_talked_to() {
    let site = Site::start(&permit_all()).await;
    let mut factory = site.inventory();
    let nodes = &mut factory["tranche-inventory:inventory"]["node"];
    let key = nodes[1]["host-key"].clone();
    nodes[0]["host-key"] = key;
    nodes.as_array_mut().unwrap().truncate(1);
    let path = crate::support::write_factory(site.dir.path(), &factory);
    let state = site.dir.path().join("controller");
    let config = crate::support::config(&state, &["--factory-default", &path]);
    let instance = Instance::run(config).await;
    wait(&instance, &oper_state("node-1"), |v| v == "refused").await;
    let state = instance
        .json("tranche-inventory:inventory/node=node-1/state/last-error")
        .await;
    let reason = state["tranche-inventory:last-error"].as_str().unwrap();
    assert!(
        reason.contains("has host key SHA256:") && reason.contains("expected"),
        "{reason}"
    );
    let put = instance
        .send(
            Method::PUT,
            "tranche-slice:slices",
            &slices(&[slice("a", "30.0")]),
        )
        .await;
    assert_eq!(error(put).await["error-app-tag"], "node-not-read");
    // Once the right key is pinned it is.
    let fingerprint = site.agent.nodes()[0].host_key_fingerprint();
    let pin = json!({ "tranche-inventory:host-key": fingerprint });
    let path = "tranche-inventory:inventory/node=node-1/host-key";
    assert_eq!(instance.send(Method::PUT, path, &pin).await.status(), 204);
    wait(&instance, &oper_state("node-1"), |v| v == "connected").await;
    instance.stop().await;
    site.agent.shutdown().await;
}
