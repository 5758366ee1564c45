//! The backhaul of slices, from intent to tunnels that answer, on simulated nodes and a simulated underlay.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::nodes::{Site, permit_all, slice, slices, wait};
use crate::support::{Instance, error};

const SLICES: &str = "tranche-slice:slices";

/// A slice of the named nodes, with the backhaul given.
fn slice_with(id: &str, nodes: &[&str], backhaul: Value) -> Value {
    let mut slice = slice(id, "10.0");
    slice["where"] = json!({ "node": nodes });
    slice["wifi"]["attachment"] = json!({ "bridge": format!("br-{id}") });
    slice["backhaul"] = backhaul;
    slice
}

fn hub(node: &str, priority: u8) -> Value {
    json!({ "name": format!("hub-{node}"), "node": node, "priority": priority })
}

/// One hub at the third node.
fn one_hub() -> Value {
    json!({ "pool": "10.77.0.0/24", "hub": [hub("node-3", 10)], "probe": { "interval": 20 } })
}

async fn put(instance: &Instance, list: &[Value]) {
    let put = instance.send(Method::PUT, SLICES, &slices(list)).await;
    let status = put.status();
    assert!(
        status.is_success(),
        "{status}: {}",
        put.text().await.unwrap()
    );
}

/// The tunnel of a slice in the configuration of a node.
async fn tunnel(site: &Site, node: usize, slice: &str) -> Option<String> {
    let running = site.running(node).await;
    let from = running.find(&format!("<tunnel><slice>{slice}</slice>"))?;
    let length = running[from..].find("</tunnel>")?;
    Some(running[from..from + length].to_owned())
}

fn path(slice: &str) -> String {
    format!("tranche-slice:slices/slice={slice}/state/backhaul")
}

/// Waits until every tunnel of a slice answers.
async fn until_up(instance: &Instance, slice: &str) -> Value {
    wait(instance, &path(slice), |state| state["oper-state"] == "up").await
}

async fn three() -> Site {
    Site::of(&[&permit_all(), &permit_all(), &permit_all()]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slice_over_three_nodes_is_up_when_it_is_answered() {
    let site = three().await;
    let instance = site.controller(&site.inventory()).await;
    let begin = Instant::now();
    put(
        &instance,
        &[slice_with("a", &["node-1", "node-2"], one_hub())],
    )
    .await;
    let took = begin.elapsed();
    for node in [0, 1] {
        let spoke = tunnel(&site, node, "a").await.unwrap();
        assert!(spoke.contains("<role>spoke</role>"), "{spoke}");
        assert!(spoke.contains("<bridge>br-a</bridge>"), "{spoke}");
        assert_eq!(spoke.matches("<peer>").count(), 1, "{spoke}");
    }
    let hub = tunnel(&site, 2, "a").await.unwrap();
    assert!(hub.contains("<role>hub</role>"), "{hub}");
    assert_eq!(hub.matches("<peer>").count(), 2, "{hub}");
    assert!(!hub.contains("<endpoint>"), "spokes call: {hub}");
    assert!(took < Duration::from_secs(30), "{took:?}");
    instance.stop().await;
    site.agent.shutdown().await;
}
