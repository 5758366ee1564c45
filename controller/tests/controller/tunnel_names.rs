//! Slices whose name somebody else's tunnel has at a node.

use reqwest::Method;

use crate::backhaul::{one_hub, put, slice_with, three, tunnel, until_up};
use crate::nodes::{Site, slices};
use crate::rotation::TUNNELS;
use crate::support::{Instance, error};

async fn edit(site: &Site, node: usize, tunnel: &str) {
    let config = format!(
        "<backhaul xmlns=\"{TUNNELS}\" xmlns:nc=\"urn:ietf:params:xml:ns:netconf:base:1.0\">{tunnel}</backhaul>"
    );
    site.edit(node, &config).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_of_somebody_else_is_neither_overwritten_nor_removed() {
    let site = three().await;
    let ops = "<tunnel><slice>ops</slice><role>member</role><address>10.9.0.1</address></tunnel>";
    edit(&site, 0, ops).await;
    let theirs = tunnel(&site, 0, "ops").await.unwrap();
    let instance = site.controller(&site.inventory()).await;
    let refused = async |instance: &Instance, slice: serde_json::Value| {
        let path = "tranche-slice:slices";
        let answer = instance.send(Method::PUT, path, &slices(&[slice])).await;
        assert!(answer.status().is_client_error(), "{}", answer.status());
        error(answer).await
    };
    let wanted = slice_with("ops", &["node-1"], one_hub());
    let refusal = refused(&instance, wanted.clone()).await;
    assert_eq!(refusal["error-tag"], "invalid-value", "{refusal}");
    assert_eq!(refusal["error-app-tag"], "tunnel-name-clash", "{refusal}");
    let path = "/tranche-slice:slices/slice[id='ops']";
    assert_eq!(refusal["error-path"], path, "{refusal}");
    assert_eq!(
        refusal["error-message"],
        "node node-1 has a tunnel ops that belongs to somebody else, where the slice needs that name"
    );
    // What has the name of a slice of ours is taken for ours, also where that has no tunnel.
    let mut without = slice_with("ops", &["node-2"], one_hub());
    without.as_object_mut().unwrap().remove("backhaul");
    let refusal = refused(&instance, without).await;
    assert_eq!(refusal["error-app-tag"], "tunnel-name-clash", "{refusal}");
    // A slice of ours goes, and theirs stays.
    put(&instance, &[slice_with("a", &["node-1"], one_hub())]).await;
    put(&instance, &[]).await;
    assert_eq!(tunnel(&site, 0, "ops").await, Some(theirs));
    instance.stop().await;

    let gone = "<tunnel nc:operation=\"delete\"><slice>ops</slice></tunnel>";
    edit(&site, 0, gone).await;
    let instance = site.controller(&site.inventory()).await;
    put(&instance, std::slice::from_ref(&wanted)).await;
    until_up(&instance, "ops").await;
    // From now on it is ours.
    put(&instance, &[]).await;
    assert_eq!(tunnel(&site, 0, "ops").await, None);
    put(&instance, &[wanted]).await;
    instance.stop().await;
    site.agent.shutdown().await;
}
