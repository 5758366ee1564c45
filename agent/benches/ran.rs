//! What simulated cells cost, and how long a slice takes from its commit until it is active.

use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use tranche_agent::Agent;
use tranche_agent::backend::sim::{Medium, MediumParams};
use tranche_agent::backend::{NodeConfig, Registry};
use tranche_agent::config::Settings;

/// A node with one cell of 50 PRB and six slices of 10 % each, with `ues` UEs each and this traffic.
fn node(ues: u16, model: &str) -> NodeConfig {
    let numbers = 1..=6;
    let profiles: Vec<_> = numbers
        .clone()
        .map(|number| {
            serde_json::json!({
                "name": format!("s{number}"), "mcc": "001", "mnc": format!("{number:02}"), "sst": 1,
                "cell": ["c1"], "core": ["amf"],
                "rrm-policy": [{"resource-type": "prb", "min-ratio": "10"}],
                "access": {"default-action": "permit"},
            })
        })
        .collect();
    let groups: Vec<_> = numbers
        .map(|number| {
            serde_json::json!({
                "name": format!("g{number}"), "first-imsi": format!("001{number:02}0000000001"),
                "count": ues, "down": {"model": model, "rate": 1000}, "up": {"model": model, "rate": 200},
            })
        })
        .collect();
    let json = serde_json::json!({
        "tranche-ran:ran": {
            "cell": [{"name": "c1", "rat": "nr", "arfcn": 632_628, "bandwidth-prb": 50, "tac": 7}],
            "core": [{"name": "amf", "kind": "amf", "location": "edge", "address": "127.0.0.1"}],
            "slice-profile": profiles,
        },
        "tranche-sim:sim": {"ue-group": groups},
    });
    serde_json::from_value(json).expect("the configuration is well formed")
}

fn world(cells: usize, ues: u16, model: &str) -> Arc<Medium> {
    let medium = Medium::new(MediumParams::default());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let config = node(ues, model);
    for index in 0..cells {
        let mut registry = Registry::simulated(&medium, &format!("n{index}"));
        let ran = registry.backend_mut("ran").expect("a simulated RAN");
        let done = runtime.block_on(ran.reconcile(&config));
        done.expect("a node that can be built");
    }
    medium.advance(Duration::from_secs(1));
    medium
}

/// Each iteration lets one second of simulated time pass, in steps as the clock of the agent makes them.
fn one_simulated_second(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("one simulated second of cells with six slices");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(4));
    for (name, cells, ues, model) in [
        ("1 cell, 360 UEs with full buffers", 1, 60, "full-buffer"),
        ("1 cell, 60 UEs at 1 Mbit/s", 1, 10, "constant"),
        (
            "1,000 cells, 6 UEs each with full buffers",
            1_000,
            1,
            "full-buffer",
        ),
        ("1,000 cells, 6 UEs each at 1 Mbit/s", 1_000, 1, "constant"),
        ("1,000 idle cells, 6 UEs each", 1_000, 1, "none"),
    ] {
        let medium = world(cells, ues, model);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for _ in 0..100 {
                    medium.advance(Duration::from_millis(10));
                }
            });
        });
    }
    group.finish();
}

/// From the commit to the state active, seen every 5 ms, in real time on an agent of this process.
fn commit_to_active(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let dir = tempfile::tempdir().expect("a directory");
    let mut settings = Settings::simulated(1, dir.path().join("state"));
    let factory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/factory.json");
    settings.factory_default = vec![factory];
    let agent = runtime.block_on(Agent::start(settings)).expect("an agent");
    let client = runtime.block_on(connect(&agent));
    let mut group = criterion.benchmark_group("slice profile");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(4));
    group.bench_function("commit to active, and back", |bencher| {
        bencher.to_async(&runtime).iter(|| async {
            edit(&client, &profile("")).await;
            while !is_active(&client).await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            edit(&client, &profile("nc:operation=\"delete\"")).await;
        });
    });
    group.finish();
    runtime.block_on(agent.shutdown());
}

use tranche_netconf::client::{Auth, Client, ClientConfig, HostKeyCheck};
use tranche_netconf::message::{
    Datastore, DefaultOperation, EditConfig, ErrorOption, Filter, TestOption,
};
use tranche_netconf::xml::Fragment;

const RAN: &str = "urn:tranche:yang:tranche-ran";
const NC: &str = "urn:ietf:params:xml:ns:netconf:base:1.0";

fn profile(operation: &str) -> String {
    format!(
        "<ran xmlns=\"{RAN}\" xmlns:nc=\"{NC}\"><slice-profile {operation}><name>s1</name><mcc>001</mcc>\
         <mnc>01</mnc><sst>1</sst><cell>c1</cell><core>amf</core></slice-profile></ran>"
    )
}

async fn connect(agent: &Agent) -> Client {
    let node = &agent.nodes()[0];
    let key = HostKeyCheck::Pinned(node.host_key_fingerprint().to_owned());
    let password = Auth::Password("admin secret".to_owned());
    let config = ClientConfig::new(node.address().to_string(), "admin", password, key);
    let (client, _) = Client::connect(config).await.expect("a session");
    let base = format!(
        "<ran xmlns=\"{RAN}\"><cell><name>c1</name><rat>nr</rat><arfcn>632628</arfcn>\
         <bandwidth-prb>50</bandwidth-prb><tac>7</tac></cell><core><name>amf</name><kind>amf</kind>\
         <location>edge</location><address>127.0.0.1</address></core></ran>"
    );
    edit(&client, &base).await;
    client
}

async fn edit(client: &Client, xml: &str) {
    let edit = EditConfig {
        target: Datastore::Running,
        default_operation: DefaultOperation::Merge,
        test_option: TestOption::TestThenSet,
        error_option: ErrorOption::RollbackOnError,
        config: Fragment::parse(xml).expect("XML"),
    };
    client
        .edit_config(&edit)
        .await
        .expect("an edit that is right");
}

async fn is_active(client: &Client) -> bool {
    let filter = format!(
        "<ran xmlns=\"{RAN}\"><slice-profile><name>s1</name><state><oper-state/></state></slice-profile></ran>"
    );
    let filter = Filter::Subtree(Fragment::parse(&filter).expect("XML"));
    let data = client.get(Some(filter), None).await.expect("an answer");
    data.as_str().contains(">active<")
}

criterion_group!(benches, one_simulated_second, commit_to_active);
criterion_main!(benches);
