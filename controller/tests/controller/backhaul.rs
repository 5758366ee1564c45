//! The backhaul of slices, from intent to tunnels that answer, on simulated nodes and a simulated underlay.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::nodes::{Site, collect, permit_all, slice, slices, wait};
use crate::support::{Instance, JSON, client, error};

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

#[tokio::test(flavor = "multi_thread")]
async fn state_tells_of_every_end_and_when_what_was_done() {
    let site = three().await;
    let instance = site.controller(&site.inventory()).await;
    put(
        &instance,
        &[slice_with("a", &["node-1", "node-2"], one_hub())],
    )
    .await;
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
    put(
        &instance,
        &[slice_with("a", &["node-1", "node-2"], one_hub())],
    )
    .await;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_starts_anew_finds_everything_as_it_should_be() {
    let site = three().await;
    let factory = site.inventory();
    let instance = site.controller(&factory).await;
    put(
        &instance,
        &[slice_with("a", &["node-1", "node-2"], one_hub())],
    )
    .await;
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
    let check = async |change: &dyn Fn(&mut Value), path: &str, tag: &str, app_tag: &str| {
        let mut wanted = slice_with("a", &["node-1", "node-2"], one_hub());
        change(&mut wanted["backhaul"]);
        let refused = instance.send(Method::PUT, SLICES, &slices(&[wanted])).await;
        assert!(
            refused.status().is_client_error(),
            "{path}: {}",
            refused.status()
        );
        let refusal = error(refused).await;
        assert_eq!(refusal["error-path"], format!("{at}{path}"), "{refusal}");
        assert_eq!(refusal["error-tag"], tag, "{refusal}");
        assert_eq!(refusal["error-app-tag"], app_tag, "{refusal}");
    };
    let key = |octet: u8| {
        let mut text = "A".repeat(42);
        text.push(char::from(octet));
        format!("{text}=")
    };
    let foreign = |name: &str, octet: u8| json!({ "name": name, "public-key": key(octet) });
    check(
        &|b| b["pool"] = json!("10.77.0.0/31"),
        "/pool",
        "resource-denied",
        "pool-exhausted",
    )
    .await;
    check(
        &|b| b["pool"] = json!("10.77.0.1/24"),
        "/pool",
        "invalid-value",
        "host-bits",
    )
    .await;
    check(
        &|b| b["pool"] = json!("127.0.0.0/8"),
        "/pool",
        "invalid-value",
        "covers-underlay",
    )
    .await;
    check(
        &|b| b["client-pool"] = json!("10.77.0.0/16"),
        "/client-pool",
        "invalid-value",
        "prefix-overlap",
    )
    .await;
    check(&|b| b["hub"] = json!([]), "", "operation-failed", "no-hub").await;
    let twice = json!([hub("node-3", 1), { "name": "x", "node": "node-3", "priority": 2 }]);
    check(
        &|b| b["hub"] = twice.clone(),
        "/hub[name='x']/node",
        "invalid-value",
        "hub-clash",
    )
    .await;
    let equal = json!([hub("node-2", 1), hub("node-3", 1)]);
    check(
        &|b| b["hub"] = equal.clone(),
        "/hub[name='hub-node-3']/priority",
        "invalid-value",
        "priority-clash",
    )
    .await;
    let spoke = |prefix: &str| {
        let mut peer = foreign("laptop", b'E');
        peer["allowed-prefix"] = json!([prefix]);
        json!([peer])
    };
    check(
        &|b| b["foreign-peer"] = spoke("0.0.0.0/0"),
        "/foreign-peer[name='laptop']/allowed-prefix[.='0.0.0.0/0']",
        "invalid-value",
        "default-route",
    )
    .await;
    check(
        &|b| b["foreign-peer"] = spoke("10.77.0.0/25"),
        "/foreign-peer[name='laptop']/allowed-prefix[.='10.77.0.0/25']",
        "invalid-value",
        "prefix-overlap",
    )
    .await;
    check(
        &|b| b["foreign-peer"] = json!([foreign("node-1", b'E')]),
        "/foreign-peer[name='node-1']/name",
        "invalid-value",
        "peer-name-clash",
    )
    .await;
    let same_key = json!([{ "name": "t", "priority": 7, "public-key": key(b'E'), "address": "192.0.2.9", "port": 51820 }]);
    check(
        &|b| {
            b["hub"] = same_key.clone();
            b["foreign-peer"] = json!([foreign("l", b'E')]);
        },
        "/foreign-peer[name='l']/public-key",
        "invalid-value",
        "key-clash",
    )
    .await;
    put(
        &instance,
        &[slice_with("a", &["node-1", "node-2"], one_hub())],
    )
    .await;
    let state = until_up(&instance, "a").await;
    let own = state["node"][0]["public-key"].clone();
    check(
        &|b| b["foreign-peer"] = json!([{ "name": "l", "public-key": own }]),
        "/foreign-peer[name='l']/public-key",
        "invalid-value",
        "key-clash",
    )
    .await;
    instance.stop().await;
    site.agent.shutdown().await;
}

/// Calls an action or operation; its output where there is one.
async fn call(instance: &Instance, path: &str, input: Value) -> (u16, Value) {
    let request = instance
        .request(Method::POST, path)
        .header("content-type", JSON)
        .body(input.to_string());
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::Null))
}

async fn act(instance: &Instance, slice: &str, action: &str, input: Value) -> (u16, Value) {
    let path = format!("/restconf/data/tranche-slice:slices/slice={slice}/backhaul/{action}");
    call(instance, &path, json!({ "tranche-slice:input": input })).await
}

/// Public keys of a slice by node, as the nodes tell.
async fn keys(instance: &Instance, slice: &str) -> Vec<(String, String)> {
    let state = until_up(instance, slice).await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let nodes = state["node"].as_array().unwrap().iter();
    nodes
        .map(|node| (text(&node["name"]), text(&node["public-key"])))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_rotated_over_all_nodes() {
    let site = three().await;
    let instance = site.controller(&site.inventory()).await;
    put(
        &instance,
        &[slice_with("a", &["node-1", "node-2"], one_hub())],
    )
    .await;
    let before = keys(&instance, "a").await;
    let told = collect(instance.get("/streams/NETCONF").await);
    let (status, output) = act(&instance, "a", "rotate-keys", json!({})).await;
    assert_eq!(status, 200, "{output}");
    let rotated = output["tranche-slice:output"]["node"].as_array().unwrap();
    assert_eq!(rotated.len(), 3);
    assert!(rotated.iter().all(|node| node["epoch"] == "2"), "{output}");
    let after = keys(&instance, "a").await;
    assert_eq!(after.len(), 3);
    assert!(
        after.iter().all(|key| !before.contains(key)),
        "{before:?} {after:?}"
    );
    for node in 0..3 {
        let tunnel = tunnel(&site, node, "a").await.unwrap();
        assert!(!tunnel.contains("<next>"), "{tunnel}");
        assert!(
            before.iter().all(|(_, key)| !tunnel.contains(key)),
            "{tunnel}"
        );
    }
    for node in ["node-1", "node-2", "node-3"] {
        let path = format!("tranche-inventory:inventory/node={node}/state/in-sync");
        wait(&instance, &path, |in_sync| *in_sync == json!(true)).await;
    }
    let names = told.await_names(&["tunnel-event"]).await;
    assert!(names.iter().all(|name| name != "sla-violated"), "{names:?}");
    let (status, output) = act(&instance, "a", "rotate-keys", json!({})).await;
    assert_eq!(status, 200, "again: {output}");
    instance.stop().await;
    site.agent.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_a_node_refuses_is_taken_back_everywhere() {
    let deny = json!([{ "name": "no next", "group": ["controllers"], "rule": [{
        "name": "no next", "module-name": "tranche-backhaul",
        "path": "/tranche-backhaul:backhaul/tunnel/peer/next",
        "access-operations": "create update", "action": "deny",
    }] }, permit_all()[0]]);
    let site = Site::of(&[&permit_all(), &deny, &permit_all()]).await;
    let instance = site.controller(&site.inventory()).await;
    put(
        &instance,
        &[slice_with("a", &["node-1", "node-2"], one_hub())],
    )
    .await;
    let before = keys(&instance, "a").await;
    let (status, refusal) = act(&instance, "a", "rotate-keys", json!({})).await;
    assert!(status >= 400, "{status}");
    let refusal = &refusal["ietf-restconf:errors"]["error"][0];
    assert_eq!(refusal["error-app-tag"], "rotation-cancelled", "{refusal}");
    assert!(
        refusal["error-message"]
            .as_str()
            .unwrap()
            .starts_with("node node-2: ")
    );
    assert_eq!(keys(&instance, "a").await, before);
    for node in 0..3 {
        assert!(!tunnel(&site, node, "a").await.unwrap().contains("<next>"));
        let get = site
            .get(node, "backhaul", "urn:tranche:yang:tranche-backhaul")
            .await;
        assert!(!get.contains("<phase>"), "no second key is left: {get}");
    }
    instance.stop().await;
    site.agent.shutdown().await;
}

/// A controller that died after the nodes had made their next keys.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_was_left_halfway_is_taken_back_or_carried_on() {
    let site = three().await;
    let factory = site.inventory();
    let instance = site.controller(&factory).await;
    put(&instance, &[slice_with("a", &["node-1"], one_hub())]).await;
    let before = keys(&instance, "a").await;
    instance.stop().await;
    site.act(0, "a", "<rotate-key/>").await;
    let instance = site.controller(&factory).await;
    let begin = Instant::now();
    while site
        .get(0, "backhaul", "urn:tranche:yang:tranche-backhaul")
        .await
        .contains("<phase>")
    {
        assert!(begin.elapsed() < Duration::from_secs(60));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(keys(&instance, "a").await, before, "taken back");
    // With an interval the same is what a node does by itself when it is due.
    let mut wanted = slice_with("a", &["node-1"], one_hub());
    wanted["backhaul"]["rotation"] = json!({ "interval": 86400 });
    put(&instance, &[wanted]).await;
    site.act(0, "a", "<rotate-key/>").await;
    let begin = Instant::now();
    while keys(&instance, "a")
        .await
        .iter()
        .any(|key| before.contains(key))
    {
        assert!(begin.elapsed() < Duration::from_secs(60));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    instance.stop().await;
    site.agent.shutdown().await;
}

/// A key of Curve25519 that nobody has.
const LAPTOP: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_peer_comes_is_told_what_it_needs_and_goes() {
    let site = three().await;
    let instance = site.controller(&site.inventory()).await;
    put(
        &instance,
        &[slice_with("a", &["node-1", "node-2"], one_hub())],
    )
    .await;
    until_up(&instance, "a").await;
    let input =
        json!({ "name": "laptop", "public-key": LAPTOP, "allowed-prefix": ["10.50.0.0/24"] });
    let (status, output) = act(&instance, "a", "add-peer", input.clone()).await;
    assert_eq!(status, 200, "{output}");
    let output = &output["tranche-slice:output"];
    let address = output["tunnel-address"].as_str().unwrap();
    let text = output["wg-quick"].as_str().unwrap();
    let hub_key = keys(&instance, "a")
        .await
        .into_iter()
        .find(|(node, _)| node == "node-3");
    assert!(
        text.contains(&format!("PublicKey = {}", hub_key.unwrap().1)),
        "{text}"
    );
    assert!(text.contains(&format!("Address = {address}/32")), "{text}");
    check_wg_quick(text);
    let hub = tunnel(&site, 2, "a").await.unwrap();
    assert!(
        hub.contains(LAPTOP) && hub.contains("10.50.0.0/24"),
        "{hub}"
    );
    let spoke = tunnel(&site, 0, "a").await.unwrap();
    assert!(
        !spoke.contains(LAPTOP) && spoke.contains("10.50.0.0/24"),
        "{spoke}"
    );
    let (status, again) = act(
        &instance,
        "a",
        "peer-configuration",
        json!({ "name": "laptop" }),
    )
    .await;
    assert_eq!((status, &again["tranche-slice:output"]), (200, output));
    let (status, refusal) = act(&instance, "a", "add-peer", input).await;
    assert_eq!(status, 409, "{refusal}");
    let (status, refusal) = act(&instance, "a", "rotate-keys", json!({})).await;
    let refusal = &refusal["ietf-restconf:errors"]["error"][0];
    assert!(
        status >= 400 && refusal["error-app-tag"] == "key-elsewhere",
        "{refusal}"
    );

    let psk =
        json!({ "tranche-slice:preshared-key": "wGuPyR8DGsrMMuzTHhZSbTeqR6cVVpYo2Q7Z8DXRaVg=" });
    let at = "tranche-slice:slices/slice=a/backhaul/foreign-peer=laptop/preshared-key";
    let put_psk = instance.send(Method::PUT, at, &psk).await;
    assert_eq!(put_psk.status(), 201, "{}", put_psk.text().await.unwrap());
    let shown = instance.json("?content=config").await.to_string();
    assert!(
        shown.contains(LAPTOP) && !shown.contains("wGuPyR8"),
        "never read"
    );
    let (_, again) = act(
        &instance,
        "a",
        "peer-configuration",
        json!({ "name": "laptop" }),
    )
    .await;
    assert!(!again.to_string().contains("wGuPyR8"), "{again}");

    let (status, answer) = act(&instance, "a", "del-peer", json!({ "name": "laptop" })).await;
    assert_eq!(status, 204, "{answer}");
    assert!(!tunnel(&site, 2, "a").await.unwrap().contains(LAPTOP));
    let (status, _) = act(&instance, "a", "del-peer", json!({ "name": "laptop" })).await;
    assert_eq!(status, 409);
    instance.stop().await;
    site.agent.shutdown().await;
}

/// Every line is one that wg-quick(8) and wg(8) know.
fn check_wg_quick(text: &str) {
    let mut section = "";
    for line in text.lines().filter(|line| !line.is_empty()) {
        if line.starts_with('#') {
            continue;
        }
        if line.starts_with('[') {
            section = line;
            continue;
        }
        let (key, value) = line.split_once(" = ").unwrap();
        let known: &[&str] = match section {
            "[Interface]" => &["Address", "ListenPort", "MTU"],
            "[Peer]" => &["PublicKey", "AllowedIPs", "Endpoint", "PersistentKeepalive"],
            _ => &[],
        };
        assert!(known.contains(&key) && !value.is_empty(), "{line}");
    }
    assert!(!text.contains("\nPrivateKey"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_own_gateway_is_a_hub_and_is_told_what_it_needs() {
    let site = three().await;
    let instance = site.controller(&site.inventory()).await;
    let mut backhaul = one_hub();
    backhaul["hub"] = json!([
        hub("node-3", 10),
        { "name": "dc", "location": "data-centre", "priority": 20, "public-key": LAPTOP,
          "address": "192.0.2.9", "port": 51820, "prefix": ["10.60.0.0/16"] },
    ]);
    backhaul["client-pool"] = json!("10.78.0.0/16");
    put(
        &instance,
        &[slice_with("a", &["node-1", "node-2"], backhaul)],
    )
    .await;
    let spoke = tunnel(&site, 0, "a").await.unwrap();
    assert!(
        spoke.contains("<address>192.0.2.9</address><port>51820</port>"),
        "{spoke}"
    );
    assert!(spoke.contains("<gateway>10.78.0.1/24</gateway>"), "{spoke}");
    assert_eq!(
        spoke.matches("10.60.0.0/16").count(),
        2,
        "hubs stand in for each other: {spoke}"
    );
    let (status, output) = act(
        &instance,
        "a",
        "peer-configuration",
        json!({ "name": "dc" }),
    )
    .await;
    assert_eq!(status, 200, "{output}");
    let text = output["tranche-slice:output"]["wg-quick"].as_str().unwrap();
    check_wg_quick(text);
    assert_eq!(text.matches("[Peer]").count(), 2, "{text}");
    assert!(
        text.contains("ListenPort = 51820") && text.contains("10.78.1.0/24"),
        "{text}"
    );
    instance.stop().await;
    site.agent.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_is_encrypted_on_request_and_access_points_stay() {
    let site = three().await;
    let instance = site.controller(&site.inventory()).await;
    let mut plain = slice_with("a", &["node-1"], json!({}));
    plain.as_object_mut().unwrap().remove("backhaul");
    put(&instance, &[plain]).await;
    let vif = |running: String| {
        let from = running.find("<vif>").unwrap();
        let to = running.find("</vif>").unwrap();
        running[from..to].to_owned()
    };
    let before = vif(site.running(0).await);
    let path = "/restconf/operations/tranche-slice:encrypt-path";
    let input =
        |to: &str| json!({ "tranche-slice:input": { "slice": "a", "from": "node-1", "to": to } });
    let (status, refusal) = call(&instance, path, input("node-9")).await;
    assert_eq!(status, 409, "{refusal}");
    let (status, output) = call(&instance, path, input("node-2")).await;
    assert_eq!(status, 200, "{output}");
    assert_eq!(output["tranche-slice:output"]["pool"], "100.64.0.0/30");
    let state = until_up(&instance, "a").await;
    assert_eq!(state["hub"], "node-2");
    assert_eq!(vif(site.running(0).await), before);
    let spoke = tunnel(&site, 0, "a").await.unwrap();
    assert!(spoke.contains("<bridge>br-a</bridge>"), "{spoke}");
    let (status, refusal) = call(&instance, path, input("node-3")).await;
    assert_eq!(status, 409, "{refusal}");
    instance.stop().await;
    site.agent.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_are_there_for_who_logs_in() {
    let site = three().await;
    let instance = site.controller(&site.inventory()).await;
    put(&instance, &[slice_with("a", &["node-1"], one_hub())]).await;
    until_up(&instance, "a").await;
    let answer = instance.get("/metrics").await;
    assert_eq!(answer.status(), 200);
    let text = answer.text().await.unwrap();
    for line in [
        "tranche_nodes{state=\"connected\"} 3",
        "tranche_commits_total 2",
        "tranche_tunnels{slice=\"a\",state=\"up\"} 2",
        "tranche_tunnel_peers{slice=\"a\",state=\"active\"} 2",
        "# TYPE tranche_slice_lifecycle_seconds gauge",
    ] {
        assert!(text.lines().any(|one| one == line), "{line} in {text}");
    }
    let took = text
        .lines()
        .find(|line| line.contains("phase=\"first-packet\""))
        .unwrap();
    let took: f64 = took.rsplit_once(' ').unwrap().1.parse().unwrap();
    assert!(took > 0.0, "{took}");
    let nobody = client().get(format!("{}/metrics", instance.base));
    assert_eq!(nobody.send().await.unwrap().status(), 401);
    instance.stop().await;
    site.agent.shutdown().await;
}
