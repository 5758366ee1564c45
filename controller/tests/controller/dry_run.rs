//! Changes that are asked about and not made: what nodes would get, what they say of it, and that nothing comes of it.

use reqwest::{Method, Response};
use serde_json::{Value, json};
use tranche_controller::service::schema;
use tranche_netconf::message::Datastore;
use tranche_yang::{Content, Format, Schema, Tree};

use crate::nodes::{Site, oper_state, permit_all, slice, slices, wait};
use crate::support::{Instance, JSON, XML, error, factory, header};

/// What a dry run answers, which must be one.
pub(crate) async fn told(answer: Response) -> Value {
    let status = answer.status();
    let body: Value = answer.json().await.unwrap();
    assert_eq!(status, 200, "{body}");
    check(&body);
    body["tranche-dry-run:dry-run"].clone()
}

/// Whether a body is what the module says: the module's data has no place in a tree, so it gets one.
fn check(body: &Value) {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/test-dry-run.yang");
    let schema: &'static Schema = Schema::builder().file(file).build().unwrap();
    let placed = json!({ "test-dry-run:dry-run": body["tranche-dry-run:dry-run"] });
    let tree = Tree::parse(schema, Format::Json, &placed.to_string(), Content::State);
    assert!(tree.is_ok(), "{tree:?}: {body}");
}

/// All that a change of the controller would leave behind.
pub(crate) async fn traces(instance: &Instance) -> (Value, String, Value) {
    let answer = instance.get("/restconf/data?content=config").await;
    let etag = header(&answer, "etag");
    let config = answer.json().await.unwrap();
    let commits = instance.json("tranche-commits:commits").await;
    (config, etag, commits)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_shows_what_nodes_would_get_and_do_and_changes_nothing() {
    let site = Site::of(&[&permit_all(), &permit_all()]).await;
    let instance = site.controller(&site.inventory()).await;
    let before = traces(&instance).await;
    let running = [site.running(0).await, site.running(1).await];
    let both = slices(&[slice("a", "30.0"), slice("b", "70.0")]);
    let path = "tranche-slice:slices?dry-run";
    let told = told(instance.send(Method::PUT, path, &both).await).await;
    assert_eq!(told["outcome"], "accepted", "{told}");
    assert_eq!(told["commit"], "1");
    assert!(told["error"].is_null());
    for (index, name) in [(0, "node-1"), (1, "node-2")] {
        let node = &told["node"][index];
        assert_eq!(
            (&node["name"], &node["outcome"]),
            (&json!(name), &json!("accepted"))
        );
        let edit = node["edit-config"].as_str().unwrap();
        assert!(
            edit.contains("<ssid>a</ssid>") && edit.contains("<ssid>b</ssid>"),
            "{edit}"
        );
        assert!(!edit.contains("correct horse"), "a secret: {edit}");
        let steps = node["plan"]["step"].as_array().unwrap();
        let creates = |step: &Value| step["action"] == "create vif a-phy0 on radio phy0";
        assert!(steps.iter().any(creates), "{steps:?}");
    }
    // The same in XML, of the same number of nodes.
    let xml = instance
        .request(Method::PUT, &format!("/restconf/data/{path}"))
        .header("content-type", JSON)
        .header("accept", XML)
        .body(both.to_string())
        .send()
        .await
        .unwrap();
    assert_eq!(
        (xml.status().as_u16(), &*header(&xml, "content-type")),
        (200, XML)
    );
    let xml = xml.text().await.unwrap();
    assert!(xml.starts_with("<dry-run xmlns=\"urn:tranche:yang:tranche-dry-run\">"));
    assert_eq!(xml.matches("<node><name>").count(), 2);
    assert!(!xml.contains("correct horse"));
    assert_eq!(traces(&instance).await, before);
    for (index, running) in running.iter().enumerate() {
        assert_eq!(&site.running(index).await, running);
    }
    // The change itself finds everything as it was, and after it there is nothing left to tell.
    let put = instance
        .send(Method::PUT, "tranche-slice:slices", &both)
        .await;
    assert_eq!(put.status(), 201, "{}", put.text().await.unwrap());
    let again = instance.send(Method::PUT, path, &both).await;
    let again = self::told(again).await;
    assert!(
        again["node"].is_null() && again["outcome"] == "accepted",
        "{again}"
    );
    let gone = instance.request(Method::DELETE, &format!("/restconf/data/{path}"));
    let gone = self::told(gone.send().await.unwrap()).await;
    let edit = gone["node"][0]["edit-config"].as_str().unwrap();
    assert!(edit.contains("<vif nc:operation=\"remove\">"), "{edit}");
    assert!(site.running(0).await.contains("<ssid>a</ssid>"));
    instance.stop().await;
    site.agent.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_would_refuse_is_told_as_the_change_is_refused() {
    let deny = json!([{ "name": "no vifs", "group": ["controllers"], "rule": [{
        "name": "no vifs", "module-name": "tranche-wifi", "path": "/tranche-wifi:wifi/vif",
        "access-operations": "create update delete", "action": "deny",
    }] }, permit_all()[0]]);
    let site = Site::of(&[&permit_all(), &deny]).await;
    let instance = site.controller(&site.inventory()).await;
    let before = traces(&instance).await;
    let body = slices(&[slice("a", "30.0")]);
    let path = "tranche-slice:slices";
    let dry = instance
        .send(Method::PUT, &format!("{path}?dry-run"), &body)
        .await;
    let dry = told(dry).await;
    let wet = error(instance.send(Method::PUT, path, &body).await).await;
    assert_eq!(dry["outcome"], "refused");
    for leaf in ["error-tag", "error-app-tag", "error-path"] {
        assert_eq!(dry["error"][0][leaf], wet[leaf], "{dry}");
    }
    assert_eq!(dry["node"][0]["outcome"], "accepted");
    assert_eq!(dry["node"][1]["outcome"], "refused");
    let refusal = &dry["node"][1]["refusal"][0];
    assert_eq!(refusal["error-tag"], "access-denied");
    assert_eq!(
        refusal["error-path"],
        "/tranche-wifi:wifi/vif[name='a-phy0']"
    );
    assert_eq!(traces(&instance).await, before);
    instance.stop().await;
    site.agent.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_are_away_are_said_to_be_and_what_they_would_get_is_shown() {
    let site = Site::of(&[&permit_all(), &permit_all()]).await;
    let instance = site.controller(&site.inventory()).await;
    let body = slices(&[slice("a", "30.0")]);
    let put = instance.send(Method::PUT, "tranche-slice:slices", &body);
    assert_eq!(put.await.status(), 201);
    site.agent.shutdown().await;
    wait(&instance, &oper_state("node-1"), |v| v == "unreachable").await;
    wait(&instance, &oper_state("node-2"), |v| v == "unreachable").await;
    let before = traces(&instance).await;
    let patch = json!({ "tranche-slice:slice": [{ "id": "a", "wifi": { "hidden": true } }] });
    let path = "tranche-slice:slices/slice=a";
    let dry = instance
        .send(Method::PATCH, &format!("{path}?dry-run"), &patch)
        .await;
    let dry = told(dry).await;
    let wet = error(instance.send(Method::PATCH, path, &patch).await).await;
    for leaf in ["error-tag", "error-app-tag", "error-path"] {
        assert_eq!(dry["error"][0][leaf], wet[leaf], "{dry}");
    }
    for node in dry["node"].as_array().unwrap() {
        assert_eq!(node["outcome"], "away");
        assert!(
            node["reason"].is_string() && node["plan"].is_null(),
            "{node}"
        );
        let edit = node["edit-config"].as_str().unwrap();
        assert!(edit.contains("<hidden>true</hidden>"), "{edit}");
    }
    assert_eq!(traces(&instance).await, before);
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_refuses_a_change_here_refuses_its_dry_run() {
    let instance = Instance::start(&factory()).await;
    let site = |name: &str| json!({ "tranche-inventory:site": [{ "name": name }] });
    let path = "tranche-inventory:inventory/site=street";
    let cases = [
        (Method::PUT, path, site("elsewhere")),
        (
            Method::PATCH,
            "tranche-inventory:inventory/site=nowhere",
            site("nowhere"),
        ),
        (Method::POST, "tranche-inventory:inventory", site("street")),
        (
            Method::PUT,
            "tranche-slice:slices",
            slices(&[slice("a", "130")]),
        ),
        (
            Method::PUT,
            "tranche-slice:slices",
            slices(&[slice("a", "30")]),
        ),
    ];
    for (method, path, body) in cases {
        let dry = format!("{path}?dry-run");
        let dry = instance.send(method.clone(), &dry, &body).await;
        let wet = instance.send(method, path, &body).await;
        assert!(wet.status().is_client_error(), "{path}");
        assert_eq!(dry.status(), wet.status());
        let (dry, wet) = (error(dry).await, error(wet).await);
        assert_eq!(dry, wet);
    }
    // Conditions and access control count as well, and what concerns no node is worked out all the same.
    let body = json!({ "tranche-inventory:site": [{ "name": "street", "description": "new" }] });
    let dry = |user: &'static str| {
        let url = format!("{}/restconf/data/{path}?dry-run", instance.base);
        let request = instance.client.put(url).basic_auth(user, Some(user));
        request.header("content-type", JSON).body(body.to_string())
    };
    let stale = dry("admin")
        .header("if-match", "\"7-7-json\"")
        .send()
        .await
        .unwrap();
    assert_eq!(stale.status(), 412);
    assert_eq!(dry("reader").send().await.unwrap().status(), 403);
    let good = told(dry("admin").send().await.unwrap()).await;
    assert!(good["node"].is_null() && good["outcome"] == "accepted");
    let capabilities = "ietf-restconf-monitoring:restconf-state/capabilities";
    let capabilities = instance.json(capabilities).await.to_string();
    assert!(capabilities.contains("urn:tranche:restconf:capability:dry-run:1.0"));
    assert!(schema::build().unwrap().module("tranche-dry-run").is_some());
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_of_somebody_else_is_told_as_the_change_is_refused() {
    let site = Site::of(&[&permit_all()]).await;
    let instance = site.controller(&site.inventory()).await;
    let admin = site.admin(0).await;
    let body = slices(&[slice("a", "30.0")]);
    admin.lock(Datastore::Running).await.unwrap();
    let dry = instance.send(Method::PUT, "tranche-slice:slices?dry-run", &body);
    let dry = told(dry.await).await;
    let wet = instance.send(Method::PUT, "tranche-slice:slices", &body);
    let wet = error(wet.await).await;
    assert_eq!(dry["outcome"], "refused", "{dry}");
    assert_eq!(wet["error-tag"], "lock-denied");
    for leaf in ["error-tag", "error-app-tag", "error-path"] {
        assert_eq!(dry["error"][0][leaf], wet[leaf], "{dry}");
    }
    instance.stop().await;
    site.agent.shutdown().await;
}

/// Calls an operation or action, by its path below the root of RESTCONF.
pub(crate) async fn invoke(instance: &Instance, path: &str, input: Value) -> Response {
    let request = instance.request(Method::POST, &format!("/restconf/{path}"));
    let request = match input {
        Value::Null => request,
        input => request.header("content-type", JSON).body(input.to_string()),
    };
    request.send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_has_a_dry_run_where_it_changes_the_configuration_and_none_elsewhere() {
    let site = Site::of(&[&permit_all()]).await;
    let instance = site.controller(&site.inventory()).await;
    let put = slices(&[slice("a", "30.0")]);
    let put = instance.send(Method::PUT, "tranche-slice:slices", &put);
    assert_eq!(put.await.status(), 201);
    let (before, running) = (traces(&instance).await, site.running(0).await);
    let path = "operations/tranche-commits:rollback";
    let to = |commit: &str| json!({ "tranche-commits:input": { "to": commit } });
    let dry = invoke(&instance, &format!("{path}?dry-run"), to("1")).await;
    let dry = told(dry).await;
    let edit = dry["node"][0]["edit-config"].as_str().unwrap();
    assert!(edit.contains("<vif nc:operation=\"remove\">"), "{edit}");
    assert_eq!(dry["outcome"], "accepted");
    let unknown = invoke(&instance, &format!("{path}?dry-run"), to("9")).await;
    let same = invoke(&instance, path, to("9")).await;
    assert_eq!(error(unknown).await, error(same).await);
    for action in ["rotate-keys", "cancel-rotation"] {
        let path = format!("data/tranche-slice:slices/slice=a/backhaul/{action}");
        let dry = invoke(&instance, &format!("{path}?dry-run"), Value::Null).await;
        let refused = error(dry).await;
        assert_eq!(refused["error-tag"], "operation-not-supported", "{refused}");
        let message = refused["error-message"].as_str().unwrap();
        assert!(message.contains("has no dry run"), "{message}");
    }
    let odd = invoke(&instance, &format!("{path}?dry-run=1"), to("1")).await;
    assert_eq!(odd.status(), 400);
    assert_eq!(traces(&instance).await, before);
    assert_eq!(site.running(0).await, running);
    // What was told is what is done.
    assert_eq!(invoke(&instance, path, to("1")).await.status(), 200);
    assert!(running.contains("<name>a-phy0</name>"));
    assert!(!site.running(0).await.contains("<name>a-phy0</name>"));
    instance.stop().await;
    site.agent.shutdown().await;
}

/// Who may not read a node in the inventory is not told what it would get.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_a_user_may_not_read_are_hidden() {
    let site = Site::of(&[&permit_all()]).await;
    let mut factory = site.inventory();
    factory["ietf-netconf-acm:nacm"]["rule-list"] = json!([
        { "name": "tenant", "group": ["tenants"], "rule": [
            { "name": "nodes", "path": "/tranche-inventory:inventory/node", "access-operations": "read", "action": "deny" },
            { "name": "slices", "module-name": "tranche-slice", "access-operations": "*", "action": "permit" },
        ] },
        factory["ietf-netconf-acm:nacm"]["rule-list"][0],
    ]);
    factory["ietf-netconf-acm:nacm"]["groups"]["group"]
        .as_array_mut()
        .unwrap()
        .push(json!({ "name": "tenants", "user-name": ["reader"] }));
    let instance = site.controller(&factory).await;
    let body = slices(&[slice("a", "30.0")]);
    let url = format!(
        "{}/restconf/data/tranche-slice:slices?dry-run",
        instance.base
    );
    let request = instance
        .client
        .put(url)
        .basic_auth("reader", Some("reader"));
    let request = request.header("content-type", JSON).body(body.to_string());
    let told = told(request.send().await.unwrap()).await;
    assert_eq!(
        told["node"],
        json!([{ "name": "node-1", "outcome": "hidden" }])
    );
    instance.stop().await;
    site.agent.shutdown().await;
}
