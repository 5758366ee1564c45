//! Rotations of keys that a controller left halfway.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, Response};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::away::Way;
use crate::backhaul::{one_hub, put, put_two, slice_with, three, tunnel, until_up};
use crate::backhaul_operations::{act, keys};
use crate::nodes::{Site, oper_state, permit_all, wait};
use crate::support::{Instance, config, error};

/// Three nodes, of which one is reached by a way that can be cut, and the inventory that says so.
async fn three_and_a_way(node: usize) -> (Site, Way, Value) {
    let site = three().await;
    let way = Way::to(site.agent.nodes()[node].address()).await;
    let mut factory = site.inventory();
    factory["tranche-inventory:inventory"]["node"][node]["port"] = json!(way.port);
    (site, way, factory)
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
    until_back(&site, 0).await;
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

pub(crate) const TUNNELS: &str = "urn:tranche:yang:tranche-backhaul";

/// What stands between two tags.
pub(crate) fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let text = text.split_once(from).expect(from).1;
    text.split_once(to).expect(to).0
}

/// The next key of a node and the port that it receives at.
pub(crate) async fn next_key(site: &Site, node: usize) -> (String, String) {
    let state = site.get(node, "backhaul", TUNNELS).await;
    let state = between(&state, "<state>", "</state>");
    let next = between(state, "<next>", "</next>");
    let leaf = |name: &str| between(next, &format!("<{name}>"), &format!("</{name}>")).to_owned();
    (leaf("public-key"), leaf("listen-port"))
}

/// Takes slice `a` of two nodes through a rotation as far as its hub has moved to its next key; what the nodes' next keys are.
async fn rotate_until_the_hub_has_moved(site: &Site, spoke: usize, hub: usize) -> [String; 2] {
    for node in [spoke, hub] {
        site.act(node, "a", "<rotate-key/>").await;
    }
    let ((spoke_key, _), (hub_key, port)) =
        (next_key(site, spoke).await, next_key(site, hub).await);
    let endpoint = format!("<endpoint><address>127.0.0.1</address><port>{port}</port></endpoint>");
    for (node, key, endpoint) in [(hub, &spoke_key, ""), (spoke, &hub_key, &endpoint)] {
        let tunnel = tunnel(site, node, "a").await.unwrap();
        let peer = between(&tunnel, "<peer><name>", "</name>");
        site.edit(
            node,
            &format!(
                "<backhaul xmlns=\"{TUNNELS}\"><tunnel><slice>a</slice><peer><name>{peer}</name>\
                 <next><public-key>{key}</public-key>{endpoint}</next></peer></tunnel></backhaul>"
            ),
        )
        .await;
    }
    for node in [spoke, hub] {
        let begin = Instant::now();
        while !site
            .get(node, "backhaul", TUNNELS)
            .await
            .contains("<phase>ready</phase>")
        {
            assert!(begin.elapsed() < Duration::from_secs(60));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    site.act(hub, "a", "<complete-rotation/>").await;
    [spoke_key, hub_key]
}

/// Controllers that died when one node had moved: whoever goes back then is not heard any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_in_which_a_node_has_moved_is_completed_by_a_controller_that_starts_anew() {
    let (site, way, factory) = three_and_a_way(2).await;
    let mut instance = site.controller(&factory).await;
    put(&instance, &[slice_with("a", &["node-1"], one_hub())]).await;
    until_up(&instance, "a").await;
    for hub_is_away in [false, true] {
        instance.stop().await;
        let next = rotate_until_the_hub_has_moved(&site, 0, 2).await;
        if hub_is_away {
            way.cut();
            instance = Instance::run(config(&site.dir.path().join("controller"), &[])).await;
            let path = "tranche-slice:slices/slice=a/state/access-point";
            wait(&instance, path, |it| it[0]["oper-state"] == "up").await;
            assert_eq!(next_key(&site, 0).await.0, next[0], "it is waited for");
            way.mend();
        } else {
            instance = site.controller(&factory).await;
        }
        for node in ["node-1", "node-3"] {
            let path = format!("tranche-inventory:inventory/node={node}/state/in-sync");
            wait(&instance, &path, |in_sync| *in_sync == json!(true)).await;
        }
        let keys = keys(&instance, "a").await;
        let keys: Vec<&str> = keys.iter().map(|(_, key)| &**key).collect();
        assert_eq!(keys, next, "completed");
        for (node, peer) in [(0, &next[1]), (2, &next[0])] {
            let tunnel = tunnel(&site, node, "a").await.unwrap();
            assert!(
                !tunnel.contains("<next>") && tunnel.contains(&**peer),
                "{tunnel}"
            );
        }
    }
    instance.stop().await;
    site.agent.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_not_follow_holds_up_no_other_and_follows_later() {
    let rules = [&all_but("complete-rotation"), &permit_all(), &permit_all()];
    let site = Site::of(&rules).await;
    let instance = site.controller(&site.inventory()).await;
    put_two(&instance).await;
    let before = keys(&instance, "a").await;
    let (status, refusal) = act(&instance, "a", "rotate-keys", json!({})).await;
    assert!(status >= 400, "{status}");
    let refusal = &refusal["ietf-restconf:errors"]["error"][0];
    assert_eq!(refusal["error-app-tag"], "rotation-halfway", "{refusal}");
    let message = refusal["error-message"].as_str().unwrap();
    assert!(
        message.starts_with("node node-1 has not moved to its new key yet: "),
        "{message}"
    );
    let halfway = keys(&instance, "a").await;
    let moved: Vec<bool> = before.iter().map(|key| !halfway.contains(key)).collect();
    assert_eq!(moved, [false, true, true], "{before:?} {halfway:?}");

    permit(&site, 0).await;
    // It is carried on after a pause, or when somebody asks.
    let (status, output) = act(&instance, "a", "rotate-keys", json!({})).await;
    assert_eq!(status, 200, "{output}");
    let after = keys(&instance, "a").await;
    let old = |key| before.contains(key);
    assert!(!after.iter().any(old), "{before:?} {after:?}");
    instance.stop().await;
    site.agent.shutdown().await;
}

/// Puts a slice without tunnels at one node.
async fn put_plain(instance: &Instance, id: &str, node: &str, hidden: bool) -> Response {
    let mut other = slice_with(id, &[node], json!({}));
    other.as_object_mut().unwrap().remove("backhaul");
    other["wifi"]["hidden"] = json!(hidden);
    let body = json!({ "tranche-slice:slice": [other] });
    let path = format!("tranche-slice:slices/slice={id}");
    instance.send(Method::PUT, &path, &body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_takes_its_time_holds_up_no_change_of_another_node() {
    let (site, way, factory) = three_and_a_way(0).await;
    let instance = Arc::new(site.controller(&factory).await);
    put(&instance, &[slice_with("a", &["node-1"], one_hub())]).await;
    let before = keys(&instance, "a").await;
    way.hold();
    let own = Arc::clone(&instance);
    let rotating = tokio::spawn(async move { act(&own, "a", "rotate-keys", json!({})).await });
    for hidden in [true, false, true] {
        let changed = put_plain(&instance, "b", "node-2", hidden).await;
        assert!(
            changed.status().is_success(),
            "{}",
            changed.text().await.unwrap()
        );
        assert!(
            site.running(1)
                .await
                .contains(&format!("<hidden>{hidden}</hidden>"))
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(!rotating.is_finished(), "it waits for the node");
    way.mend();
    let (status, output) = rotating.await.unwrap();
    assert_eq!(status, 200, "{output}");
    assert!(
        keys(&instance, "a")
            .await
            .iter()
            .all(|key| !before.contains(key))
    );
    Arc::into_inner(instance).unwrap().stop().await;
    site.agent.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_a_node_that_a_rotation_holds_is_refused_and_holds_up_no_other() {
    let (site, way, factory) = three_and_a_way(0).await;
    let instance = Arc::new(site.controller(&factory).await);
    put(&instance, &[slice_with("a", &["node-1"], one_hub())]).await;
    way.hold();
    let own = Arc::clone(&instance);
    let rotating = tokio::spawn(async move { act(&own, "a", "rotate-keys", json!({})).await });
    // The hub answers, and is held with the node that hangs. Beside what is asked of it, another node is changed.
    let mut hidden = false;
    let refused = loop {
        let own = Arc::clone(&instance);
        let at_hub = tokio::spawn(async move { put_plain(&own, "c", "node-3", hidden).await });
        let changed = put_plain(&instance, "b", "node-2", hidden).await;
        let text = changed.text().await.unwrap();
        let has = site.running(1).await;
        assert!(
            has.contains(&format!("<hidden>{hidden}</hidden>")),
            "{text}"
        );
        let answer = at_hub.await.unwrap();
        assert!(!rotating.is_finished(), "it was waited for");
        if answer.status().is_client_error() {
            break answer;
        }
        hidden = !hidden;
    };
    let refusal = error(refused).await;
    assert_eq!(refusal["error-tag"], "in-use", "{refusal}");
    assert_eq!(refusal["error-app-tag"], "rotation-under-way", "{refusal}");
    let path = "/tranche-inventory:inventory/node[name='node-3']";
    assert_eq!(refusal["error-path"], path, "{refusal}");
    let message = refusal["error-message"].as_str().unwrap();
    assert!(
        message.contains("the keys of slice a are being rotated"),
        "{message}"
    );
    way.mend();
    let (status, output) = rotating.await.unwrap();
    assert_eq!(status, 200, "{output}");
    let changed = put_plain(&instance, "c", "node-3", hidden).await;
    assert!(changed.status().is_success(), "it is let go");
    Arc::into_inner(instance).unwrap().stop().await;
    site.agent.shutdown().await;
}

/// Whether a node has a key that it does not use yet.
async fn has_next(site: &Site, node: usize) -> bool {
    site.get(node, "backhaul", TUNNELS)
        .await
        .contains("<phase>")
}

async fn until_back(site: &Site, node: usize) {
    let begin = Instant::now();
    while has_next(site, node).await {
        assert!(begin.elapsed() < Duration::from_secs(60));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A number in the state of a node.
async fn count(site: &Site, node: usize, (name, namespace): (&str, &str), leaf: &str) -> u32 {
    let state = site.get(node, name, namespace).await;
    let number = between(&state, &format!("<{leaf}>"), &format!("</{leaf}>"));
    number.parse().unwrap()
}

const NACM: &str = "urn:ietf:params:xml:ns:yang:ietf-netconf-acm";

/// Access control of a node that refuses one action on tunnels to the controller.
fn all_but(action: &str) -> Value {
    json!([{ "name": "stay", "group": ["controllers"], "rule": [{
        "name": "stay", "module-name": "tranche-backhaul",
        "path": format!("/tranche-backhaul:backhaul/tunnel/{action}"),
        "access-operations": "exec", "action": "deny",
    }] }, permit_all()[0]])
}

/// Lets a node refuse nothing any more.
async fn permit(site: &Site, node: usize) {
    let config = format!(
        "<nacm xmlns=\"{NACM}\" xmlns:nc=\"urn:ietf:params:xml:ns:netconf:base:1.0\">\
         <rule-list nc:operation=\"delete\"><name>stay</name></rule-list></nacm>"
    );
    site.edit(node, &config).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_not_go_back_is_named_and_asked_again_now_and_then() {
    let rules = [
        &all_but("cancel-rotation"),
        &all_but("rotate-key"),
        &permit_all(),
    ];
    let site = Site::of(&rules).await;
    let instance = site.controller(&site.inventory()).await;
    put_two(&instance).await;
    let before = keys(&instance, "a").await;
    let (_, refusal) = act(&instance, "a", "rotate-keys", json!({})).await;
    let refusal = &refusal["ietf-restconf:errors"]["error"][0];
    assert_eq!(refusal["error-app-tag"], "rotation-not-taken-back");
    let message = refusal["error-message"].as_str().unwrap();
    assert!(
        message.starts_with("node node-2: ")
            && message
                .ends_with("; but node node-1 still has a next key, which goes when it answers"),
        "{message}"
    );
    assert!(has_next(&site, 0).await && !has_next(&site, 2).await);
    let denied = async || count(&site, 0, ("nacm", NACM), "denied-operations").await;
    let at_once = denied().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let later = denied().await;
    assert!(later - at_once <= 6, "{at_once} {later}");
    permit(&site, 0).await;
    until_back(&site, 0).await;
    assert_eq!(keys(&instance, "a").await, before);
    permit(&site, 1).await;
    let (status, output) = act(&instance, "a", "rotate-keys", json!({})).await;
    assert_eq!(status, 200, "{output}");
    instance.stop().await;
    site.agent.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_node_of_a_rotation_is_away_the_others_are_asked_now_and_then() {
    let (site, way, factory) = three_and_a_way(2).await;
    let instance = site.controller(&factory).await;
    put(&instance, &[slice_with("a", &["node-1"], one_hub())]).await;
    until_up(&instance, "a").await;
    instance.stop().await;
    site.act(0, "a", "<rotate-key/>").await;
    way.cut();
    let instance = Instance::run(config(&site.dir.path().join("controller"), &[])).await;
    let monitoring = "urn:ietf:params:xml:ns:yang:ietf-netconf-monitoring";
    let sessions = async || count(&site, 0, ("netconf-state", monitoring), "in-sessions").await;
    wait(&instance, &oper_state("node-1"), |v| v == "connected").await;
    let begin = sessions().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let end = sessions().await;
    assert!(end - begin <= 10, "{begin} {end}");
    assert!(has_next(&site, 0).await, "the hub may have moved");
    way.mend();
    until_back(&site, 0).await;
    instance.stop().await;
    site.agent.shutdown().await;
}
