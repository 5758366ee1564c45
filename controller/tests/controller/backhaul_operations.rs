//! Operations on the backhaul of slices, and its figures: rotation of keys, foreign peers, a path on request.

use reqwest::Method;
use serde_json::{Value, json};

use crate::backhaul::{hub, one_hub, put, put_two, slice_with, three, tunnel, until_up};
use crate::nodes::{Site, collect, permit_all, wait};
use crate::support::{Instance, JSON, client};

/// Calls an action or operation; its output where there is one.
pub(crate) async fn call(instance: &Instance, path: &str, input: Value) -> (u16, Value) {
    let request = instance
        .request(Method::POST, path)
        .header("content-type", JSON)
        .body(input.to_string());
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::Null))
}

pub(crate) async fn act(
    instance: &Instance,
    slice: &str,
    action: &str,
    input: Value,
) -> (u16, Value) {
    let path = format!("/restconf/data/tranche-slice:slices/slice={slice}/backhaul/{action}");
    call(instance, &path, json!({ "tranche-slice:input": input })).await
}

/// Public keys of a slice by node, as the nodes tell.
pub(crate) async fn keys(instance: &Instance, slice: &str) -> Vec<(String, String)> {
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
    put_two(&instance).await;
    let (status, refusal) = act(&instance, "nobody", "rotate-keys", json!({})).await;
    let refusal = &refusal["ietf-restconf:errors"]["error"][0]["error-message"];
    assert_eq!(
        (status, refusal.as_str()),
        (
            404,
            Some("there is no /tranche-slice:slices/slice[id='nobody']")
        )
    );
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
async fn the_ports_of_a_rotation_are_of_the_range_that_a_node_has() {
    let site = three().await;
    let mut factory = site.inventory();
    let nodes = &mut factory["tranche-inventory:inventory"]["node"];
    nodes[1]["underlay"] = json!({ "first-port": 40_010, "last-port": 40_010 });
    nodes[2]["underlay"] = json!({ "first-port": 40_000, "last-port": 40_001 });
    let instance = site.controller(&factory).await;
    put(&instance, &[slice_with("a", &["node-1"], one_hub())]).await;
    for expected in [40_000, 40_001, 40_000] {
        let state = until_up(&instance, "a").await;
        let nodes = state["node"].as_array().unwrap();
        let hub = nodes.iter().find(|node| node["name"] == "node-3").unwrap();
        assert_eq!(hub["listen-port"], expected, "{hub}");
        let (status, output) = act(&instance, "a", "rotate-keys", json!({})).await;
        assert_eq!(status, 200, "{output}");
    }
    // With one port there is none for a next key.
    let two = [("a", "node-3"), ("b", "node-2")].map(|(slice, node)| {
        let mut backhaul = one_hub();
        backhaul["hub"] = json!([hub(node, 10)]);
        slice_with(slice, &["node-1"], backhaul)
    });
    put(&instance, &two).await;
    let before = keys(&instance, "b").await;
    let (status, refusal) = act(&instance, "b", "rotate-keys", json!({})).await;
    assert!(status >= 400, "{status}");
    let why = &refusal["ietf-restconf:errors"]["error"][0]["error-message"];
    assert_eq!(why, "node node-2: it has no port left for the next key");
    assert_eq!(keys(&instance, "b").await, before);
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
    put_two(&instance).await;
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

/// A key of Curve25519 that nobody has.
pub(crate) const LAPTOP: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_peer_comes_is_told_what_it_needs_and_goes() {
    let site = three().await;
    let instance = site.controller(&site.inventory()).await;
    put_two(&instance).await;
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
pub(crate) fn check_wg_quick(text: &str) {
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
            "[Interface]" => &["Address", "ListenPort", "MTU", "Table", "PostUp"],
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
