//! The backhaul of slices, from intent to tunnels that answer, on simulated nodes and a simulated underlay.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::nodes::{Site, permit_all, slice, slices, wait};
use crate::support::{Instance, error};

const SLICES: &str = "tranche-slice:slices";

/// A slice of the named nodes, with the backhaul given.
pub(crate) fn slice_with(id: &str, nodes: &[&str], backhaul: Value) -> Value {
    let mut slice = slice(id, "10.0");
    slice["where"] = json!({ "node": nodes });
    slice["wifi"]["attachment"] = json!({ "bridge": format!("br-{id}") });
    slice["backhaul"] = backhaul;
    slice
}

pub(crate) fn hub(node: &str, priority: u8) -> Value {
    json!({ "name": format!("hub-{node}"), "node": node, "priority": priority })
}

/// One hub at the third node.
pub(crate) fn one_hub() -> Value {
    json!({ "pool": "10.77.0.0/24", "hub": [hub("node-3", 10)], "probe": { "interval": 20 } })
}

pub(crate) async fn put(instance: &Instance, list: &[Value]) {
    let put = instance.send(Method::PUT, SLICES, &slices(list)).await;
    let status = put.status();
    assert!(
        status.is_success(),
        "{status}: {}",
        put.text().await.unwrap()
    );
}

/// Slice `a` at two nodes, with its hub at the third.
pub(crate) async fn put_two(instance: &Instance) {
    put(
        instance,
        &[slice_with("a", &["node-1", "node-2"], one_hub())],
    )
    .await;
}

/// The tunnel of a slice in the configuration of a node.
pub(crate) async fn tunnel(site: &Site, node: usize, slice: &str) -> Option<String> {
    let running = site.running(node).await;
    let from = running.find(&format!("<tunnel><slice>{slice}</slice>"))?;
    let length = running[from..].find("</tunnel>")?;
    Some(running[from..from + length].to_owned())
}

fn path(slice: &str) -> String {
    format!("tranche-slice:slices/slice={slice}/state/backhaul")
}

/// Waits until every tunnel of a slice answers.
pub(crate) async fn until_up(instance: &Instance, slice: &str) -> Value {
    wait(instance, &path(slice), |state| state["oper-state"] == "up").await
}

pub(crate) async fn three() -> Site {
    Site::of(&[&permit_all(), &permit_all(), &permit_all()]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slice_over_three_nodes_is_up_when_it_is_answered() {
    let site = three().await;
    let instance = site.controller(&site.inventory()).await;
    put_two(&instance).await;
    let state = instance.json(&path("a")).await;
    let nodes = state["tranche-slice:backhaul"]["node"].as_array().unwrap();
    let spokes: Vec<_> = nodes
        .iter()
        .filter(|node| node["role"] == "spoke")
        .collect();
    assert_eq!(spokes.len(), 2, "{state}");
    assert!(
        spokes
            .iter()
            .all(|spoke| spoke["peer"][0]["state"] == "active"),
        "{state}"
    );
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
    instance.stop().await;
    site.agent.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn state_tells_of_every_end_and_when_what_was_done() {
    let site = three().await;
    let instance = site.controller(&site.inventory()).await;
    put_two(&instance).await;
    let state = until_up(&instance, "a").await;
    let nodes = state["node"].as_array().unwrap();
    let roles: Vec<_> = nodes
        .iter()
        .map(|node| node["role"].as_str().unwrap())
        .collect();
    assert_eq!(roles, ["spoke", "spoke", "hub"]);
    assert_eq!(state["hub"], "node-3");
    assert_eq!(nodes[0]["backend-in-use"], "simulator");
    assert_eq!(nodes[0]["peer"][0]["state"], "active");
    assert!(
        nodes[0]["peer"][0]["latest-handshake"].is_string(),
        "{state}"
    );
    let times = &state["lifecycle"];
    let names = [
        "asked",
        "compiled",
        "first-handshake",
        "first-packet",
        "committed",
    ];
    let times: Vec<_> = names.map(|name| times[name].as_str().unwrap()).into();
    assert!(
        times[0] < times[1] && times[1] < times[3] && times[3] < times[4],
        "{times:?}"
    );
    wait(
        &instance,
        "tranche-slice:slices/slice=a/state/oper-state",
        |v| v == "active",
    )
    .await;
    instance.stop().await;
    site.agent.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_refuses_its_peers_leaves_no_tunnel_anywhere() {
    let deny = json!([{ "name": "no peers", "group": ["controllers"], "rule": [{
        "name": "no peers", "module-name": "tranche-backhaul",
        "path": "/tranche-backhaul:backhaul/tunnel/peer",
        "access-operations": "create update delete", "action": "deny",
    }] }, permit_all()[0]]);
    let site = Site::of(&[&permit_all(), &deny, &permit_all()]).await;
    let instance = site.controller(&site.inventory()).await;
    let mut before = Vec::new();
    for node in 0..3 {
        before.push(site.running(node).await);
    }
    let wanted = slices(&[slice_with("a", &["node-1", "node-2"], one_hub())]);
    let refused = instance.send(Method::PUT, SLICES, &wanted).await;
    assert_eq!(refused.status(), 403);
    let refusal = error(refused).await;
    assert_eq!(
        refusal["error-path"],
        "/tranche-inventory:inventory/node[name='node-2']"
    );
    for (node, before) in before.iter().enumerate() {
        assert_eq!(site.running(node).await, *before, "node {node}");
    }
    let mut without = slice_with("a", &["node-2"], one_hub());
    without.as_object_mut().unwrap().remove("backhaul");
    put(&instance, &[without]).await;
    instance.stop().await;
    site.agent.shutdown().await;
}

/// What the ends of a slice were given, by name.
async fn given(instance: &Instance, slice: &str) -> Vec<(String, String)> {
    let path = format!("tranche-slice:slices/slice={slice}/backhaul?content=config");
    let backhaul = instance.json(&path).await;
    let list = backhaul["tranche-slice:backhaul"]["allocation"].clone();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let list = list.as_array().unwrap().iter();
    list.map(|one| (text(&one["name"]), text(&one["address"])))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_join_and_leave_and_the_others_keep_their_addresses() {
    let site = three().await;
    let instance = site.controller(&site.inventory()).await;
    put(&instance, &[slice_with("a", &["node-2"], one_hub())]).await;
    let before = given(&instance, "a").await;
    put_two(&instance).await;
    until_up(&instance, "a").await;
    let joined = given(&instance, "a").await;
    assert_eq!(joined.len(), 3);
    assert!(
        before.iter().all(|one| joined.contains(one)),
        "{before:?} {joined:?}"
    );
    assert_eq!(
        tunnel(&site, 2, "a")
            .await
            .unwrap()
            .matches("<peer>")
            .count(),
        2
    );
    put(&instance, &[slice_with("a", &["node-1"], one_hub())]).await;
    until_up(&instance, "a").await;
    assert_eq!(tunnel(&site, 1, "a").await, None, "it left");
    assert_eq!(
        tunnel(&site, 2, "a")
            .await
            .unwrap()
            .matches("<peer>")
            .count(),
        1
    );
    let left = given(&instance, "a").await;
    assert!(
        left.iter().all(|one| joined.contains(one)),
        "{joined:?} {left:?}"
    );
    assert_eq!(instance.delete(SLICES).await.status(), 204);
    for node in 0..3 {
        assert_eq!(tunnel(&site, node, "a").await, None);
    }
    instance.stop().await;
    site.agent.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_is_moved_to_another_node() {
    let site = three().await;
    let instance = site.controller(&site.inventory()).await;
    let with_hub = |node: &str| {
        let mut backhaul = one_hub();
        backhaul["hub"] = json!([hub(node, 10)]);
        slice_with("a", &["node-1"], backhaul)
    };
    put(&instance, &[with_hub("node-3")]).await;
    until_up(&instance, "a").await;
    put(&instance, &[with_hub("node-2")]).await;
    let state = wait(&instance, &path("a"), |state| state["hub"] == "node-2").await;
    assert_eq!(state["node"].as_array().unwrap().len(), 2, "{state}");
    assert_eq!(
        tunnel(&site, 2, "a").await,
        None,
        "the old hub has none any more"
    );
    let spoke = tunnel(&site, 0, "a").await.unwrap();
    assert!(spoke.contains("<name>node-2</name>") && !spoke.contains("<name>node-3</name>"));
    // Two hubs, then another one is preferred.
    let mut two = with_hub("node-2");
    two["backhaul"]["hub"] = json!([hub("node-2", 20), hub("node-3", 10)]);
    two["backhaul"]["probe"]["hold-down"] = json!(0);
    put(&instance, &[two]).await;
    wait(&instance, &path("a"), |state| state["hub"] == "node-3").await;
    until_up(&instance, "a").await;
    instance.stop().await;
    site.agent.shutdown().await;
}

/// A tunnel of somebody else's, and one of ours that is gone.
#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_changed_is_put_right_and_what_is_not_ours_stays() {
    let site = three().await;
    let instance = site.controller(&site.inventory()).await;
    put(&instance, &[slice_with("a", &["node-1"], one_hub())]).await;
    until_up(&instance, "a").await;
    let edit = |tunnel: &str| {
        format!(
            "<backhaul xmlns=\"urn:tranche:yang:tranche-backhaul\" \
             xmlns:nc=\"urn:ietf:params:xml:ns:netconf:base:1.0\">{tunnel}</backhaul>"
        )
    };
    let lab = "<tunnel><slice>lab</slice><role>member</role><address>10.9.0.1</address></tunnel>";
    site.edit(0, &edit(lab)).await;
    let gone = "<tunnel nc:operation=\"delete\"><slice>a</slice></tunnel>";
    site.edit(0, &edit(gone)).await;
    let begin = Instant::now();
    while tunnel(&site, 0, "a").await.is_none() {
        let node =
            "tranche-inventory:inventory/node=node-1/state?fields=drift;last-error;last-read";
        let late = begin.elapsed() > Duration::from_secs(20);
        assert!(!late, "{}", instance.json(node).await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    until_up(&instance, "a").await;
    assert!(tunnel(&site, 0, "lab").await.is_some(), "it is not ours");
    instance.stop().await;
    site.agent.shutdown().await;
}

/// As at a node that was away when its slice was deleted.
#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_of_a_slice_that_is_gone_is_removed_by_a_controller_that_starts_anew() {
    let site = three().await;
    let factory = site.inventory();
    let instance = site.controller(&factory).await;
    put(&instance, &[slice_with("a", &["node-1"], one_hub())]).await;
    until_up(&instance, "a").await;
    put(&instance, &[]).await;
    assert_eq!(tunnel(&site, 0, "a").await, None);
    instance.stop().await;
    for slice in ["a", "lab"] {
        let left = format!(
            "<backhaul xmlns=\"urn:tranche:yang:tranche-backhaul\"><tunnel><slice>{slice}</slice>\
             <role>member</role><address>10.9.0.1</address></tunnel></backhaul>"
        );
        site.edit(0, &left).await;
    }
    let instance = site.controller(&factory).await;
    let begin = Instant::now();
    while tunnel(&site, 0, "a").await.is_some() {
        assert!(begin.elapsed() < Duration::from_secs(60));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(tunnel(&site, 0, "lab").await.is_some(), "it is not ours");
    instance.stop().await;
    site.agent.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_starts_anew_finds_everything_as_it_should_be() {
    let site = three().await;
    let factory = site.inventory();
    let instance = site.controller(&factory).await;
    put_two(&instance).await;
    until_up(&instance, "a").await;
    let addresses = given(&instance, "a").await;
    let mut before = Vec::new();
    for node in 0..3 {
        before.push(tunnel(&site, node, "a").await.unwrap());
    }
    instance.stop().await;
    let instance = site.controller(&factory).await;
    until_up(&instance, "a").await;
    for node in ["node-1", "node-2", "node-3"] {
        let path = format!("tranche-inventory:inventory/node={node}/state/in-sync");
        wait(&instance, &path, |in_sync| *in_sync == json!(true)).await;
    }
    for (node, before) in before.iter().enumerate() {
        assert_eq!(tunnel(&site, node, "a").await.as_ref(), Some(before));
    }
    assert_eq!(given(&instance, "a").await, addresses);
    instance.stop().await;
    site.agent.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused_where_it_stands() {
    let site = three().await;
    let instance = site.controller(&site.inventory()).await;
    let at = "/tranche-slice:slices/slice[id='a']/backhaul";
    let refused = async |change: &Value, path: &str, tag: &str, app_tag: &str| {
        let mut wanted = slice_with("a", &["node-1", "node-2"], one_hub());
        for (leaf, value) in change.as_object().unwrap() {
            wanted["backhaul"][leaf] = value.clone();
        }
        let refused = instance.send(Method::PUT, SLICES, &slices(&[wanted])).await;
        let status = refused.status();
        assert!(status.is_client_error(), "{path}: {status}");
        let refusal = error(refused).await;
        assert_eq!(refusal["error-path"], format!("{at}{path}"), "{refusal}");
        assert_eq!(refusal["error-tag"], tag, "{refusal}");
        assert_eq!(refusal["error-app-tag"], app_tag, "{refusal}");
    };
    let key = |octet: char| format!("{}{octet}=", "A".repeat(42));
    let foreign = |name: &str| json!({ "name": name, "public-key": key('E') });
    let laptop = |prefix: &str| json!([{ "name": "laptop", "public-key": key('E'), "allowed-prefix": [prefix] }]);
    let twice = json!([hub("node-3", 1), { "name": "x", "node": "node-3", "priority": 2 }]);
    let tenant = json!({ "name": "t", "priority": 7, "public-key": key('E'), "address": "192.0.2.9", "port": 51820 });
    #[rustfmt::skip]
    let cases = [
        (json!({ "pool": "10.77.0.0/31" }), "/pool", "resource-denied", "pool-exhausted"),
        (json!({ "pool": "10.77.0.1/24" }), "/pool", "invalid-value", "host-bits"),
        (json!({ "pool": "127.0.0.0/8" }), "/pool", "invalid-value", "covers-underlay"),
        (json!({ "client-pool": "10.77.0.0/16" }), "/client-pool", "invalid-value", "prefix-overlap"),
        (json!({ "hub": [] }), "", "operation-failed", "no-hub"),
        (json!({ "hub": [hub("node-3", 1), tenant], "rotation": { "interval": 86_400 } }), "/rotation/interval", "invalid-value", "key-elsewhere"),
        (json!({ "hub": twice }), "/hub[name='x']/node", "invalid-value", "hub-clash"),
        (json!({ "hub": [hub("node-2", 1), hub("node-3", 1)] }), "/hub[name='hub-node-3']/priority", "invalid-value", "priority-clash"),
        (json!({ "foreign-peer": laptop("0.0.0.0/0") }), "/foreign-peer[name='laptop']/allowed-prefix[.='0.0.0.0/0']", "invalid-value", "default-route"),
        (json!({ "foreign-peer": laptop("10.77.0.0/25") }), "/foreign-peer[name='laptop']/allowed-prefix[.='10.77.0.0/25']", "invalid-value", "prefix-overlap"),
        (json!({ "foreign-peer": [foreign("node-1")] }), "/foreign-peer[name='node-1']/name", "invalid-value", "peer-name-clash"),
        (json!({ "hub": [tenant], "foreign-peer": [foreign("l")] }), "/foreign-peer[name='l']/public-key", "invalid-value", "key-clash"),
    ];
    for (change, path, tag, app_tag) in &cases {
        refused(change, path, tag, app_tag).await;
    }
    put_two(&instance).await;
    let state = until_up(&instance, "a").await;
    let own =
        json!({ "foreign-peer": [{ "name": "l", "public-key": state["node"][0]["public-key"] }] });
    let path = "/foreign-peer[name='l']/public-key";
    refused(&own, path, "invalid-value", "key-clash").await;
    instance.stop().await;
    site.agent.shutdown().await;
}
