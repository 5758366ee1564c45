//! Rotations of keys in slices whose gateway is a tenant's own: it is called, and with each rotation at the other of its two ports.
//!
//! The gateway is a tunnel of its own at a simulated node, as in `foreign.rs`.

use std::sync::Arc;

use reqwest::Method;
use serde_json::{Value, json};

use crate::backhaul::{put, slice_with, three, tunnel};
use crate::backhaul_operations::{act, check_wg_quick};
use crate::foreign::{HUB, LAB, lab, own_key, rotating, words};
use crate::nodes::{Site, wait};
use crate::rotation::{TUNNELS, next_key};
use crate::support::Instance;

/// The port that nothing has.
const SECOND: u16 = 40_001;

/// Slice `a` at these nodes with the gateway `lab`.
fn slice_of(nodes: &[&str], key: &str, port: u16, second: u16) -> Value {
    let gateway = json!({
        "name": "lab", "public-key": key, "address": "127.0.0.1", "port": port, "second-port": second,
    });
    let backhaul = json!({ "pool": "10.77.0.0/24", "hub": [gateway], "probe": { "interval": 20 } });
    slice_with("a", nodes, backhaul)
}

fn node_peer(key: &str, next: &str) -> String {
    format!(
        "<peer><name>node-1</name><public-key>{key}</public-key><allowed-prefix>10.77.0.0/24</allowed-prefix>{next}</peer>"
    )
}

/// The file of the gateway.
async fn file(instance: &Instance, key: &str) -> String {
    let input = json!({ "name": "lab", "key": key });
    let (status, output) = act(instance, "a", "peer-configuration", input).await;
    assert_eq!(status, 200, "{output}");
    let text = output["tranche-slice:output"]["wg-quick"].as_str().unwrap();
    check_wg_quick(text);
    text.to_owned()
}

fn line<'a>(file: &'a str, name: &str) -> &'a str {
    let found = file.lines().find_map(|line| line.strip_prefix(name));
    assert!(found.is_some(), "no {name} in {file}");
    found.unwrap()
}

/// The gateway's second interface comes, at the port that its file says.
async fn follows(site: &Site, address: &str, next_file: &str) {
    let port = line(next_file, "ListenPort = ");
    let rotate = format!("<rotate-key><listen-port>{port}</listen-port></rotate-key>");
    site.act(LAB, "lab", &rotate).await;
    let (old, _) = own_key(site, 0, "a").await;
    let (new, _) = next_key(site, 0).await;
    assert_eq!(line(next_file, "PublicKey = "), new);
    let next = format!("<next><public-key>{new}</public-key></next>");
    lab(site, address, &node_peer(&old, &next)).await;
    // A simulated node has another key on it, of which the slice's node is told by hand.
    let (key, _) = next_key(site, LAB).await;
    let told = format!(
        "<backhaul xmlns=\"{TUNNELS}\"><tunnel><slice>a</slice><peer><name>lab</name><next>\
         <public-key>{key}</public-key></next></peer></tunnel></backhaul>"
    );
    site.edit(0, &told).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_of_a_tenant_goes_from_one_of_its_ports_to_the_other() {
    let site = three().await;
    let instance = Arc::new(site.controller(&site.inventory()).await);
    lab(&site, "10.77.0.99", "").await;
    let (key, port) = own_key(&site, LAB, "lab").await;
    let first: u16 = port.parse().unwrap();
    put(&instance, &[slice_of(&["node-1"], &key, first, SECOND)]).await;
    let now = file(&instance, "current").await;
    assert_eq!(line(&now, "ListenPort = "), port);
    let address = line(&now, "Address = ").trim_end_matches("/32").to_owned();
    let (node_key, _) = own_key(&site, 0, "a").await;
    lab(&site, &address, &node_peer(&node_key, "")).await;

    let task = rotating(&instance, 120).await;
    let next_file = file(&instance, "next").await;
    assert_eq!(line(&next_file, "ListenPort = "), SECOND.to_string());
    follows(&site, &address, &next_file).await;
    let (status, output) = task.await.unwrap();
    assert_eq!(status, 200, "{output}");
    // It stays there, and nobody takes that for drift.
    let calls = |port: u16| format!("<address>127.0.0.1</address><port>{port}</port>");
    let in_sync = |node: &str| format!("tranche-inventory:inventory/node={node}/state/in-sync");
    wait(&instance, &in_sync("node-1"), |is| *is == json!(true)).await;
    let has = tunnel(&site, 0, "a").await.unwrap();
    assert!(
        has.contains(&calls(SECOND)) && !has.contains("<next>"),
        "{has}"
    );
    let now = file(&instance, "current").await;
    assert_eq!(line(&now, "ListenPort = "), SECOND.to_string());

    // Nor does whoever comes later call where it was, after a restart of the controller either.
    Arc::into_inner(instance).unwrap().stop().await;
    let instance = Arc::new(site.controller(&site.inventory()).await);
    for node in ["node-1", "node-3"] {
        wait(&instance, &in_sync(node), |is| *is == json!(true)).await;
    }
    put(
        &instance,
        &[slice_of(&["node-1", "node-3"], &key, first, SECOND)],
    )
    .await;
    for node in [0, HUB] {
        let has = tunnel(&site, node, "a").await.unwrap();
        assert!(has.contains(&calls(SECOND)), "{has}");
    }
    // The next one goes back to the first.
    let task = rotating(&instance, 120).await;
    let next_file = file(&instance, "next").await;
    assert_eq!(line(&next_file, "ListenPort = "), port);
    let (status, answer) = act(&instance, "a", "cancel-rotation", json!({})).await;
    assert_eq!(status, 204, "{answer}");
    assert_eq!(task.await.unwrap().0, 412);
    let has = tunnel(&site, 0, "a").await.unwrap();
    assert!(
        has.contains(&calls(SECOND)) && !has.contains("<next>"),
        "{has}"
    );
    Arc::into_inner(instance).unwrap().stop().await;
    site.agent.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_port_that_is_the_first_is_refused() {
    let site = three().await;
    let instance = site.controller(&site.inventory()).await;
    let key = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";
    let slices = json!({ "tranche-slice:slices": { "slice": [slice_of(&["node-1"], key, 7, 7)] } });
    let path = "tranche-slice:slices";
    let refusal = instance.send(Method::PUT, path, &slices).await;
    assert_eq!(refusal.status(), 412);
    let (_, sentence) = words(&refusal.json().await.unwrap());
    assert!(
        sentence.contains("the second port is the first"),
        "{sentence}"
    );
    instance.stop().await;
    site.agent.shutdown().await;
}
