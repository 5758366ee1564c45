//! The ports that rotations of keys take, at nodes that have a range of them.

use serde_json::{Value, json};

use crate::backhaul::{one_hub, put, slice_with, three, until_up};
use crate::backhaul_operations::{act, keys};
use crate::nodes::{Site, wait};
use crate::support::Instance;

/// The node with the range, which is the hub of all slices.
const RANGE: &str = "node-3";

async fn hub_port(instance: &Instance, slice: &str) -> Value {
    let state = until_up(instance, slice).await;
    let mut nodes = state["node"].as_array().unwrap().iter();
    let hub = nodes.find(|node| node["name"] == RANGE).unwrap();
    hub["listen-port"].clone()
}

/// Three nodes and their controller; the third has the ports from 40000 to this one.
async fn with_ports_to(last: u16) -> (Site, Instance) {
    let site = three().await;
    let mut factory = site.inventory();
    factory["tranche-inventory:inventory"]["node"][2]["underlay"] =
        json!({ "first-port": 40_000, "last-port": last });
    let instance = site.controller(&factory).await;
    (site, instance)
}

async fn rotate(instance: &Instance, slice: &str) {
    let (status, output) = act(instance, slice, "rotate-keys", json!({})).await;
    assert_eq!(status, 200, "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_takes_no_port_that_another_slice_was_given() {
    let (site, instance) = with_ports_to(40_004).await;
    let [a, b] = ["a", "b"].map(|id| slice_with(id, &["node-1"], one_hub()));
    let mut off = slice_with("c", &["node-2"], one_hub());
    off["enabled"] = json!(false);
    put(&instance, std::slice::from_ref(&a)).await;
    rotate(&instance, "a").await;
    assert_eq!(hub_port(&instance, "a").await, 40_001);
    // What a has come to is not free, nor is what it was given and goes back to.
    put(&instance, &[a.clone(), b.clone()]).await;
    assert_eq!(hub_port(&instance, "b").await, 40_002);
    put(&instance, &[a.clone(), b.clone(), off.clone()]).await;
    rotate(&instance, "b").await;
    assert_eq!(hub_port(&instance, "b").await, 40_004, "40003 is of c");
    rotate(&instance, "a").await;
    assert_eq!(hub_port(&instance, "a").await, 40_000, "its own");
    off["enabled"] = json!(true);
    put(&instance, &[a, b, off]).await;
    assert_eq!(hub_port(&instance, "c").await, 40_003);
    instance.stop().await;
    site.agent.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_prepares_at_a_port_outside_of_its_range_is_prepared_again() {
    let (site, instance) = with_ports_to(40_003).await;
    let mut slice = slice_with("a", &["node-1"], one_hub());
    slice["backhaul"]["rotation"] = json!({ "interval": 86_400 });
    put(&instance, &[slice]).await;
    let before = keys(&instance, "a").await;
    // As a node does when its key is old enough, with a port that it chooses.
    site.act(2, "a", "<rotate-key/>").await;
    let path = "tranche-slice:slices/slice=a/state/backhaul";
    let moved = |state: &Value| {
        let mut nodes = state["node"].as_array().into_iter().flatten();
        let is_new = |node: &Value| {
            let key = node["public-key"].as_str();
            !before.iter().any(|(_, old)| Some(old.as_str()) == key)
        };
        nodes.all(is_new)
    };
    wait(&instance, path, moved).await;
    assert_eq!(hub_port(&instance, "a").await, 40_001);
    instance.stop().await;
    site.agent.shutdown().await;
}
