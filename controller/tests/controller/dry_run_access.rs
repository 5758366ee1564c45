//! What a dry run tells a tenant who may not read every node and every slice.

use reqwest::Method;
use serde_json::{Value, json};

use crate::dry_run::told;
use crate::nodes::{Site, permit_all, slice, slices, wait};
use crate::support::{Instance, JSON};

/// A controller at which `reader` is a tenant: of the nodes `node-1` is not readable, of the slices `b` is not.
async fn with_tenant(site: &Site) -> Instance {
    let mut factory = site.inventory();
    let nacm = &mut factory["ietf-netconf-acm:nacm"];
    let deny = |name: &str, path: &str| json!({ "name": name, "path": path, "access-operations": "*", "action": "deny" });
    nacm["rule-list"] = json!([
        { "name": "tenant", "group": ["tenants"], "rule": [
            deny("node", "/tranche-inventory:inventory/node[name='node-1']"),
            deny("slice", "/tranche-slice:slices/slice[id='b']"),
            { "name": "own", "module-name": "tranche-slice", "access-operations": "*", "action": "permit" },
        ] },
        nacm["rule-list"][0],
    ]);
    nacm["groups"]["group"]
        .as_array_mut()
        .unwrap()
        .push(json!({ "name": "tenants", "user-name": ["reader"] }));
    site.controller(&factory).await
}

async fn put(instance: &Instance, list: &[Value]) {
    let body = slices(list);
    let put = instance.send(Method::PUT, "tranche-slice:slices", &body);
    let put = put.await;
    assert_eq!(put.status(), 201, "{}", put.text().await.unwrap());
}

/// What a dry run of a change of slice `a` tells a user.
async fn patched(instance: &Instance, user: &str, mut change: Value) -> Value {
    change["id"] = "a".into();
    let body = json!({ "tranche-slice:slice": [change] });
    let path = "restconf/data/tranche-slice:slices/slice=a?dry-run";
    let request = instance
        .client
        .patch(format!("{}/{path}", instance.base))
        .basic_auth(user, Some(user))
        .header("content-type", JSON)
        .body(body.to_string());
    told(request.send().await.unwrap()).await
}

fn rule(name: &str, teid: u32) -> Value {
    json!({ "name": name, "match": { "in-port": "ran0", "gtp": { "teid": teid } }, "drop": [null] })
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_node_that_may_not_be_read_neither_words_nor_users_are_told() {
    let deny = json!([{ "name": "no rules", "group": ["controllers"], "rule": [{
        "name": "no rules", "module-name": "tranche-steering", "path": "/tranche-steering:steering/rule",
        "access-operations": "create", "action": "deny",
    }] }, permit_all()[0]]);
    let site = Site::of(&[&deny, &permit_all()]).await;
    let instance = with_tenant(&site).await;
    put(&instance, &[slice("a", "30.0")]).await;
    let points = "tranche-slice:slices/slice=a/state/access-point";
    wait(&instance, points, |points| points[0]["stations"] == 1).await;
    let other_name = json!({ "wifi": { "ssid": "other" } });
    let admin = patched(&instance, "admin", other_name.clone()).await;
    assert_eq!(admin["users-dropped"], 1, "{admin}");
    let tenant = patched(&instance, "reader", other_name).await;
    assert_eq!(tenant["users-dropped"], 0, "{tenant}");

    let steering = json!({ "steering": { "rule": [rule("own", 7)] } });
    let admin = patched(&instance, "admin", steering.clone()).await;
    let tenant = patched(&instance, "reader", steering).await;
    let words = admin["error"][0]["error-message"].as_str().unwrap();
    assert!(words.contains("node-1 refused"), "{words}");
    let mut without_words = admin["error"].clone();
    for error in without_words.as_array_mut().unwrap() {
        error.as_object_mut().unwrap().remove("error-message");
    }
    assert_eq!(tenant["error"], without_words);
    assert_eq!(tenant["outcome"], "refused");
    let node = json!({ "name": "node-1", "outcome": "hidden" });
    assert_eq!(tenant["node"][0], node);
    instance.stop().await;
    site.agent.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_is_shown_only_to_who_may_read_every_slice_of_its_node() {
    let site = Site::of(&[&permit_all(), &permit_all()]).await;
    let instance = with_tenant(&site).await;
    let mut secret = slice("b", "10.0");
    secret["where"] = json!({ "node": ["node-2"] });
    secret["sla"]["priority"] = 200.into();
    secret["steering"] = json!({ "rule": [rule("hush", 9)] });
    put(&instance, &[slice("a", "30.0")]).await;
    let steering = json!({ "steering": { "rule": [rule("own", 7)] } });
    let alone = patched(&instance, "reader", steering.clone()).await;
    let edit = alone["node"][1]["edit-config"].as_str().unwrap();
    assert!(edit.contains("<name>a.own</name>"), "{edit}");

    let body = json!({ "tranche-slice:slice": [secret] });
    let post = instance.send(Method::POST, "tranche-slice:slices", &body);
    assert_eq!(post.await.status(), 201);
    let admin = patched(&instance, "admin", steering.clone()).await;
    let edit = admin["node"][1]["edit-config"].as_str().unwrap();
    assert!(edit.contains("b.hush"), "its place is behind that: {edit}");
    let tenant = patched(&instance, "reader", steering).await;
    let node = &tenant["node"][1];
    assert_eq!(node["outcome"], "accepted", "{tenant}");
    assert!(node["plan"]["step"].is_array());
    assert!(node["edit-config"].is_null(), "{node}");
    assert!(!tenant.to_string().contains("hush"), "{tenant}");
    instance.stop().await;
    site.agent.shutdown().await;
}
