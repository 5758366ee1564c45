//! A change that brings tunnels which nobody answers.

use std::fs;

use reqwest::Method;
use serde_json::json;

use crate::backhaul::{hub, one_hub, put, slice_with, three, tunnel, until_up};
use crate::nodes::{slices, wait};
use crate::support::{Instance, config, error, write_factory};

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_never_answers_makes_the_change_fail_and_everything_stays_as_it_was() {
    let site = three().await;
    let mut factory = site.inventory();
    // Where nobody is.
    factory["tranche-inventory:inventory"]["node"][1]["underlay"] =
        json!({ "address": "192.0.2.7" });
    let path = write_factory(site.dir.path(), &factory);
    // Tunnels are waited for a third of it, 10 s at most.
    let settings = site.dir.path().join("settings.toml");
    fs::write(&settings, "[nodes]\nconfirm-timeout-ms = 9000\n").unwrap();
    let settings = settings.display().to_string();
    let more = ["--factory-default", &path, "--config", &settings];
    let instance = Instance::run(config(&site.dir.path().join("controller"), &more)).await;
    for node in site.agent.nodes() {
        let path = crate::nodes::oper_state(node.name());
        wait(&instance, &path, |v| v == "connected").await;
    }
    put(&instance, &[slice_with("a", &["node-1"], one_hub())]).await;
    until_up(&instance, "a").await;
    let mut before = Vec::new();
    for node in 0..3 {
        before.push(site.running(node).await);
    }
    let mut two_hubs = one_hub();
    two_hubs["hub"] = json!([hub("node-3", 10), hub("node-2", 5)]);
    let wanted = slices(&[slice_with("a", &["node-1"], two_hubs)]);
    let refused = instance
        .send(Method::PUT, "tranche-slice:slices", &wanted)
        .await;
    assert_eq!(refused.status(), 412);
    let refusal = error(refused).await;
    assert_eq!(refusal["error-app-tag"], "node-failed");
    assert_eq!(
        refusal["error-path"],
        "/tranche-inventory:inventory/node[name='node-1']"
    );
    let message = refusal["error-message"].as_str().unwrap();
    assert!(
        message.contains("in slice a, node-2 did not answer within 3 s"),
        "{message}"
    );
    for (node, before) in before.iter().enumerate() {
        assert_eq!(site.running(node).await, *before, "node {node}");
    }
    assert!(tunnel(&site, 1, "a").await.is_none());
    let state = until_up(&instance, "a").await;
    assert_eq!(state["hub"], "node-3");
    let shown = instance.json("tranche-slice:slices?content=config").await;
    assert!(!shown.to_string().contains("hub-node-2"), "{shown}");
    for node in ["node-1", "node-2", "node-3"] {
        let path = format!("tranche-inventory:inventory/node={node}/state/in-sync");
        wait(&instance, &path, |in_sync| *in_sync == json!(true)).await;
    }
    instance.stop().await;
    site.agent.shutdown().await;
}
