//! Rotations of keys in slices that have an end whose key is elsewhere.
//!
//! That end is a tunnel of its own at a simulated node. Such a node makes a new key with every interface, which an end of this kind
//! does not: the hub is told of it by hand.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::backhaul::{one_hub, put, slice_with, three, tunnel, until_up};
use crate::backhaul_operations::{act, check_wg_quick, keys};
use crate::nodes::{Site, wait};
use crate::rotation::{TUNNELS, between, next_key};
use crate::support::Instance;

pub(crate) const LAB: usize = 1;
pub(crate) const HUB: usize = 2;

/// A tunnel at the node that plays the tenant.
pub(crate) async fn lab(site: &Site, address: &str, peer: &str) {
    let tunnel = format!(
        "<backhaul xmlns=\"{TUNNELS}\" xmlns:nc=\"urn:ietf:params:xml:ns:netconf:base:1.0\">\
         <tunnel nc:operation=\"replace\"><slice>lab</slice><role>spoke</role><address>{address}</address>{peer}\
         </tunnel></backhaul>"
    );
    site.edit(LAB, &tunnel).await;
}

/// What a node tells of the key in force of a tunnel: key and port.
pub(crate) async fn own_key(site: &Site, node: usize, slice: &str) -> (String, String) {
    let all = site.get(node, "backhaul", TUNNELS).await;
    let from = all.find(&format!("<slice>{slice}</slice>")).unwrap();
    let state = between(&all[from..], "<state>", "</state>");
    let leaf = |name: &str| between(state, &format!("<{name}>"), &format!("</{name}>")).to_owned();
    (leaf("public-key"), leaf("listen-port"))
}

fn hub_peer(key: &str, port: &str, next: &str) -> String {
    format!(
        "<peer><name>hub</name><public-key>{key}</public-key><endpoint><address>127.0.0.1</address><port>{port}</port>\
         </endpoint><allowed-prefix>10.77.0.0/24</allowed-prefix>{next}</peer>"
    )
}

/// Slice `a` at the first node with its hub at the third, and the second node as an end `lab` that calls the hub.
async fn with_lab(site: &Site, instance: &Arc<Instance>) -> String {
    with_lab_in(site, instance, one_hub()).await
}

async fn with_lab_in(site: &Site, instance: &Arc<Instance>, backhaul: Value) -> String {
    put(instance, &[slice_with("a", &["node-1"], backhaul)]).await;
    lab(site, "10.77.0.99", "").await;
    let (key, _) = own_key(site, LAB, "lab").await;
    let input = json!({ "name": "lab", "public-key": key });
    let (status, output) = act(instance, "a", "add-peer", input).await;
    assert_eq!(status, 200, "{output}");
    let address = output["tranche-slice:output"]["tunnel-address"]
        .as_str()
        .unwrap()
        .to_owned();
    let (hub, port) = own_key(site, HUB, "a").await;
    lab(site, &address, &hub_peer(&hub, &port, "")).await;
    until_up(instance, "a").await;
    address
}

pub(crate) type Rotating = JoinHandle<(u16, Value)>;

/// Begins a rotation, as far as it waits for the end whose key is elsewhere.
pub(crate) async fn rotating(instance: &Arc<Instance>, seconds: u32) -> Rotating {
    let own = Arc::clone(instance);
    let task =
        tokio::spawn(
            async move { act(&own, "a", "rotate-keys", json!({ "wait": seconds })).await },
        );
    wait_for_lab(instance).await;
    task
}

pub(crate) async fn wait_for_lab(instance: &Instance) {
    let path = "tranche-slice:slices/slice=a/state/backhaul";
    let waits = |state: &Value| state["rotation"]["waiting-for"] == json!(["lab"]);
    wait(instance, path, waits).await;
}

/// The word of a refusal, with its sentence.
async fn refused(rotating: Rotating) -> (String, String) {
    let (status, answer) = rotating.await.unwrap();
    assert!(status >= 400, "{status}: {answer}");
    words(&answer)
}

pub(crate) fn words(answer: &Value) -> (String, String) {
    let error = &answer["ietf-restconf:errors"]["error"][0];
    let text = |leaf: &str| error[leaf].as_str().unwrap_or_default().to_owned();
    (text("error-app-tag"), text("error-message"))
}

async fn everything_is_as_it_was(site: &Site, instance: &Instance, before: &[(String, String)]) {
    assert_eq!(keys(instance, "a").await, before);
    for node in [0, HUB] {
        assert!(!tunnel(site, node, "a").await.unwrap().contains("<next>"));
        let state = site.get(node, "backhaul", TUNNELS).await;
        assert!(!state.contains("<phase>"), "no second key is left: {state}");
    }
    let state = instance
        .json("tranche-slice:slices/slice=a/state/backhaul")
        .await;
    assert!(!state.to_string().contains("waiting-for"), "{state}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_waits_for_an_end_whose_key_is_elsewhere_and_holds_up_nobody() {
    let site = three().await;
    let instance = Arc::new(site.controller(&site.inventory()).await);
    let address = with_lab(&site, &instance).await;
    let before = keys(&instance, "a").await;
    let next_of = json!({ "name": "lab", "key": "next" });
    let (_, refusal) = act(&instance, "a", "peer-configuration", next_of.clone()).await;
    assert!(words(&refusal).1.contains("no rotation waits"), "{refusal}");
    let (_, file) = act(
        &instance,
        "a",
        "peer-configuration",
        json!({ "name": "lab" }),
    )
    .await;

    let task = rotating(&instance, 120).await;
    let (_, second) = act(&instance, "a", "rotate-keys", json!({})).await;
    assert_eq!(words(&second).0, "rotation-waits", "{second}");
    let text = |output: &Value| {
        output["tranche-slice:output"]["wg-quick"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let (hub_key, hub_port) = next_key(&site, HUB).await;
    let (status, next_file) = act(&instance, "a", "peer-configuration", next_of).await;
    assert_eq!(status, 200, "{next_file}");
    let next_file = text(&next_file);
    check_wg_quick(&next_file);
    for line in [
        format!("Address = {address}/32"),
        format!("PublicKey = {hub_key}"),
        format!("Endpoint = 127.0.0.1:{hub_port}"),
        "Table = off".to_owned(),
        "PersistentKeepalive = 25".to_owned(),
    ] {
        assert!(
            next_file.lines().any(|one| one == line),
            "{line} in {next_file}"
        );
    }
    // What is sent while nobody has answered would be lost but for a few packets.
    let turn = next_file.lines().find(|line| line.starts_with("PostUp = "));
    let waits = format!(
        "(while wg show %i latest-handshakes | grep -q '^{hub_key}.0$'; do sleep 0.1; done; ip route replace 10.77.0.0/24 dev %i"
    );
    assert!(
        turn.is_some_and(|turn| turn.contains(&waits)),
        "{next_file}"
    );
    assert!(
        !text(&file).contains("Table"),
        "only of the second interface"
    );
    // The same nodes take another slice meanwhile, and keep what is on its way.
    let more = [slice_with("a", &["node-1"], one_hub()), {
        let mut other = slice_with("b", &["node-1"], json!({}));
        other.as_object_mut().unwrap().remove("backhaul");
        other
    }];
    let mut with_peer = more.to_vec();
    let shown = instance
        .json("tranche-slice:slices/slice=a/backhaul?content=config")
        .await;
    with_peer[0]["backhaul"] = shown["tranche-slice:backhaul"].clone();
    put(&instance, &with_peer).await;
    assert!(site.running(0).await.contains("<ssid>b</ssid>"));
    assert!(tunnel(&site, 0, "a").await.unwrap().contains("<next>"));
    assert!(!task.is_finished());

    // It comes.
    site.act(LAB, "lab", "<rotate-key/>").await;
    let (lab_key, _) = next_key(&site, LAB).await;
    let (old_key, old_port) = own_key(&site, HUB, "a").await;
    let next = format!(
        "<next><public-key>{hub_key}</public-key><endpoint><address>127.0.0.1</address><port>{hub_port}</port></endpoint></next>"
    );
    lab(&site, &address, &hub_peer(&old_key, &old_port, &next)).await;
    let told = format!(
        "<backhaul xmlns=\"{TUNNELS}\"><tunnel><slice>a</slice><peer><name>lab</name><next>\
         <public-key>{lab_key}</public-key></next></peer></tunnel></backhaul>"
    );
    site.edit(HUB, &told).await;
    // From here on it is carried on, and there is nothing to give up.
    while own_key(&site, HUB, "a").await.0 != hub_key {
        assert!(!task.is_finished());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (_, refusal) = act(&instance, "a", "cancel-rotation", json!({})).await;
    assert_eq!(words(&refusal).0, "no-rotation", "{refusal}");
    let (status, output) = task.await.unwrap();
    assert_eq!(status, 200, "{output}");
    let after = keys(&instance, "a").await;
    assert!(
        after.iter().all(|key| !before.contains(key)),
        "{before:?} {after:?}"
    );
    everything_is_as_it_was(&site, &instance, &after).await;
    for node in ["node-1", "node-3"] {
        let path = format!("tranche-inventory:inventory/node={node}/state/in-sync");
        wait(&instance, &path, |in_sync| *in_sync == json!(true)).await;
    }
    Arc::into_inner(instance).unwrap().stop().await;
    site.agent.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_nobody_joins_in_time_or_that_is_given_up_leaves_everything_as_it_was() {
    let site = three().await;
    let instance = Arc::new(site.controller(&site.inventory()).await);
    with_lab(&site, &instance).await;
    let before = keys(&instance, "a").await;
    let late = refused(rotating(&instance, 1).await).await;
    let sentence = "lab was not heard on the next keys within 1 s: everything is as before";
    assert_eq!(late, ("peer-late".to_owned(), sentence.to_owned()));
    everything_is_as_it_was(&site, &instance, &before).await;

    let task = rotating(&instance, 120).await;
    let (status, answer) = act(&instance, "a", "cancel-rotation", json!({})).await;
    assert_eq!(status, 204, "{answer}");
    everything_is_as_it_was(&site, &instance, &before).await;
    assert_eq!(refused(task).await.0, "rotation-cancelled");
    let (_, again) = act(&instance, "a", "cancel-rotation", json!({})).await;
    assert_eq!(words(&again).0, "no-rotation", "{again}");

    // Who changes the slice is let through, and the rotation gives way.
    let task = rotating(&instance, 120).await;
    let (status, answer) = act(&instance, "a", "del-peer", json!({ "name": "lab" })).await;
    assert_eq!(status, 204, "{answer}");
    let (app_tag, sentence) = refused(task).await;
    assert_eq!(app_tag, "rotation-cancelled", "{sentence}");
    everything_is_as_it_was(&site, &instance, &before).await;
    Arc::into_inner(instance).unwrap().stop().await;
    site.agent.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_a_node_prepares_waits_too_and_one_with_an_end_that_is_called_is_refused() {
    let site = three().await;
    let instance = Arc::new(site.controller(&site.inventory()).await);
    with_lab(&site, &instance).await;
    let before = keys(&instance, "a").await;
    let rotation = json!({ "tranche-slice:rotation": { "interval": 86_400 } });
    let path = "tranche-slice:slices/slice=a/backhaul/rotation";
    let changed = instance.send(reqwest::Method::PUT, path, &rotation).await;
    assert!(
        changed.status().is_success(),
        "{}",
        changed.text().await.unwrap()
    );
    // As a node does when its key is old enough.
    site.act(0, "a", "<rotate-key/>").await;
    wait_for_lab(&instance).await;
    let (status, answer) = act(&instance, "a", "cancel-rotation", json!({})).await;
    assert_eq!(status, 204, "{answer}");
    everything_is_as_it_was(&site, &instance, &before).await;

    let called = json!({
        "name": "office", "public-key": "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=",
        "endpoint": { "address": "127.0.0.1", "port": 51820 },
    });
    let (status, refusal) = act(&instance, "a", "add-peer", called.clone()).await;
    assert_eq!(status, 400, "{refusal}");
    let (app_tag, sentence) = words(&refusal);
    assert_eq!(app_tag, "key-elsewhere", "{sentence}");
    assert_eq!(instance.delete(path).await.status(), 204);
    // Without an interval it may be, until somebody asks.
    let (status, answer) = act(&instance, "a", "add-peer", called).await;
    assert_eq!(status, 200, "{answer}");
    let (_, refusal) = act(&instance, "a", "rotate-keys", json!({})).await;
    let (app_tag, sentence) = words(&refusal);
    assert_eq!(app_tag, "key-elsewhere", "{sentence}");
    assert!(
        sentence.starts_with("the key of office is elsewhere, and it is called"),
        "{sentence}"
    );
    everything_is_as_it_was(&site, &instance, &before).await;
    Arc::into_inner(instance).unwrap().stop().await;
    site.agent.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_waits_ends_with_its_controller_and_the_next_one_takes_it_back() {
    let site = three().await;
    let factory = site.inventory();
    let instance = Arc::new(site.controller(&factory).await);
    with_lab(&site, &instance).await;
    let before = keys(&instance, "a").await;
    let task = rotating(&instance, 3600).await;
    task.abort();
    task.await.unwrap_err();
    Arc::into_inner(instance).unwrap().stop().await;
    assert!(tunnel(&site, HUB, "a").await.unwrap().contains("<next>"));
    let instance = site.controller(&factory).await;
    for node in ["node-1", "node-3"] {
        let path = format!("tranche-inventory:inventory/node={node}/state/in-sync");
        wait(&instance, &path, |in_sync| *in_sync == json!(true)).await;
    }
    everything_is_as_it_was(&site, &instance, &before).await;
    instance.stop().await;
    site.agent.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_no_file_of_a_second_interface_with_a_default_route() {
    let site = three().await;
    let instance = Arc::new(site.controller(&site.inventory()).await);
    let mut backhaul = one_hub();
    backhaul["hub"][0]["prefix"] = json!(["0.0.0.0/0"]);
    with_lab_in(&site, &instance, backhaul).await;
    let current = json!({ "name": "lab" });
    let (status, file) = act(&instance, "a", "peer-configuration", current).await;
    assert_eq!(status, 200, "{file}");
    assert!(file.to_string().contains("0.0.0.0/0"), "{file}");
    let task = rotating(&instance, 120).await;
    let next = json!({ "name": "lab", "key": "next" });
    let (status, refusal) = act(&instance, "a", "peer-configuration", next).await;
    assert!(status >= 400, "{refusal}");
    let (app_tag, sentence) = words(&refusal);
    assert_eq!(app_tag, "default-route", "{sentence}");
    // It says what is needed to bring one up by other means.
    let (hub_key, hub_port) = next_key(&site, HUB).await;
    let peer = format!("peer hub-node-3 with the key {hub_key} at 127.0.0.1:{hub_port}");
    assert!(sentence.contains(&peer), "{sentence}");
    let (status, answer) = act(&instance, "a", "cancel-rotation", json!({})).await;
    assert_eq!(status, 204, "{answer}");
    assert_eq!(refused(task).await.0, "rotation-cancelled");
    Arc::into_inner(instance).unwrap().stop().await;
    site.agent.shutdown().await;
}
