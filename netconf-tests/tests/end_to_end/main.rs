//! Agents and controller as real processes over real SSH: what an operator's request does at the nodes, and what it leaves
//! alone when it is refused.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod bad_input;
mod cells;
mod faults;
mod slices;

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tranche_netconf::client::Client;
use tranche_netconf::message::{
    Datastore, DefaultOperation, EditConfig, ErrorOption, Filter, TestOption,
};
use tranche_netconf::xml::{Element, Fragment};
use tranche_tests::figure_21;
use tranche_tests::restconf::Answer;
use tranche_tests::stack::{Layout, Setup, Stack};
use tranche_tests::telemetry::connect;
use tranche_tests::wait::eventually;

const SLICES: &str = "/data/tranche-slice:slices";
const WIFI: &str = "urn:tranche:yang:tranche-wifi";
const SIM: &str = "urn:tranche:yang:tranche-sim";
/// For what takes a moment on a quiet machine.
const SOON: Duration = Duration::from_secs(30);

async fn start(layout: Layout) -> Stack {
    start_with(Setup::figure_21().layout(layout)).await
}

async fn start_with(setup: Setup) -> Stack {
    let stack = Stack::start(setup).await.unwrap();
    stack.connected().await.unwrap();
    stack
}

async fn admin(stack: &Stack, node: usize) -> Client {
    connect(&stack.nodes[node], "admin", &stack.password)
        .await
        .unwrap()
        .0
}

fn subtree(name: &str, namespace: &str) -> Option<Filter> {
    Some(Filter::Subtree(Fragment::from_trusted(format!(
        "<{name} xmlns=\"{namespace}\"/>"
    ))))
}

/// The Wi-Fi configuration in force at a node.
async fn running(stack: &Stack, node: usize) -> String {
    let client = admin(stack, node).await;
    let config = client
        .get_config(Datastore::Running, subtree("wifi", WIFI), None)
        .await
        .unwrap();
    config.as_str().to_owned()
}

/// Everything a refused request must not change: the configuration of every node and of the controller.
async fn everything(stack: &Stack) -> Vec<String> {
    let mut all = Vec::new();
    for node in 0..stack.nodes.len() {
        all.push(running(stack, node).await);
    }
    all.push(
        stack
            .restconf()
            .get("/data?content=config")
            .await
            .unwrap()
            .to_string(),
    );
    all
}

/// The virtual interfaces of a node: slice and state.
async fn vifs(stack: &Stack, node: usize) -> Vec<(String, String)> {
    let client = admin(stack, node).await;
    let data = client.get(subtree("wifi", WIFI), None).await.unwrap();
    let wifi = data.elements().unwrap();
    let vifs = wifi.iter().flat_map(|wifi| wifi.children("vif"));
    let state = |vif: &Element| {
        vif.descendant(&["state", "oper-state"])
            .map(|e| e.text.clone())
    };
    let mut vifs: Vec<_> = vifs
        .map(|vif| {
            let slice = vif.child_text("slice").unwrap_or_default().to_owned();
            (slice, state(vif).unwrap_or_default())
        })
        .collect();
    vifs.sort();
    vifs
}

async fn edit_running(stack: &Stack, node: usize, xml: &str) {
    let edit = EditConfig {
        target: Datastore::Running,
        default_operation: DefaultOperation::Merge,
        test_option: TestOption::TestThenSet,
        error_option: ErrorOption::RollbackOnError,
        config: Fragment::from_trusted(xml.to_owned()),
    };
    admin(stack, node).await.edit_config(&edit).await.unwrap();
}

async fn put_slices(stack: &Stack, slices: &Value) -> Answer {
    stack
        .restconf()
        .request(Method::PUT, SLICES, Some(slices))
        .await
        .unwrap()
}

/// Creates the slices of figure 21.
async fn create(stack: &Stack) {
    let answer = put_slices(stack, &figure_21::slices()).await;
    assert!(
        answer.is_success(),
        "{}: {}",
        answer.status,
        answer.message()
    );
}

fn up() -> Vec<(String, String)> {
    ["tenant-a", "tenant-b"]
        .map(|slice| (slice.to_owned(), "up".to_owned()))
        .to_vec()
}

/// Waits until the node has the access points of both tenants, in service.
async fn until_up(stack: &Stack, node: usize) {
    eventually("both access points", SOON, async || {
        let vifs = vifs(stack, node).await;
        Ok(if vifs == up() {
            Ok(())
        } else {
            Err(format!("{vifs:?}"))
        })
    })
    .await
    .unwrap();
}

/// The state of a node in the controller's inventory.
async fn node_state(stack: &Stack, node: usize) -> Value {
    let path = format!(
        "/data/tranche-inventory:inventory/node={}/state",
        stack.nodes[node].name
    );
    let mut body = stack.restconf().get(&path).await.unwrap();
    body["tranche-inventory:state"].take()
}

async fn until_node(
    stack: &Stack,
    node: usize,
    what: &str,
    good: impl Fn(&Value) -> bool,
) -> Value {
    eventually(what, Duration::from_secs(60), async || {
        let state = node_state(stack, node).await;
        Ok(if good(&state) {
            Ok(state)
        } else {
            Err(state.to_string())
        })
    })
    .await
    .unwrap()
}

/// A slice that is right, to be made wrong.
fn slice(id: &str, min_ratio: &str) -> Value {
    json!({
        "id": id,
        "tenant": id,
        "sla": {"airtime": {"min-ratio": min_ratio}},
        "where": {"node": ["node-1", "node-2"]},
        "wifi": {"ssid": id, "security": {"mode": "wpa3-personal", "passphrase": "long enough"}},
    })
}

fn slices(list: &[Value]) -> Value {
    json!({"tranche-slice:slices": {"slice": list}})
}
