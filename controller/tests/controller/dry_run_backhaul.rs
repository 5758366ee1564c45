//! Dry runs of the operations on the backhaul of a slice that end in a commit: `encrypt-path`, `add-peer` and `del-peer`.

use reqwest::Method;
use serde_json::{Value, json};

use crate::backhaul::{one_hub, put, put_two, slice_with, three, until_up};
use crate::backhaul_operations::LAPTOP;
use crate::dry_run::{invoke, told, traces};
use crate::nodes::{Site, permit_all};
use crate::support::{Instance, JSON, error};

/// Another key that nobody has.
const PHONE: &str = "y6ZykBe2+Y6BUTBn15vNSc8xGCy9wdsUY/XH+QPHfCM=";
/// A pre-shared key, which nobody may ever see.
const PRESHARED: &str = "wGuPyR8DGsrMMuzTHhZSbTeqR6cVVpYo2Q7Z8DXRaVg=";
const ENCRYPT: &str = "operations/tranche-slice:encrypt-path";

fn action(slice: &str, name: &str) -> String {
    format!("data/tranche-slice:slices/slice={slice}/backhaul/{name}")
}

fn input(of: Value) -> Value {
    json!({ "tranche-slice:input": of })
}

fn path_to(to: &str) -> Value {
    input(json!({ "slice": "a", "from": "node-1", "to": to }))
}

/// Everything that an operation might leave behind, at the controller and at every node.
async fn everything(site: &Site, instance: &Instance) -> (Value, String, Value, Vec<String>) {
    let (config, etag, commits) = traces(instance).await;
    let mut nodes = Vec::new();
    for node in 0..site.agent.nodes().len() {
        nodes.push(site.running(node).await);
    }
    (config, etag, commits, nodes)
}

/// What a dry run tells, of which nothing may come and in which no secret may be.
async fn dry(site: &Site, instance: &Instance, path: &str, body: &Value) -> Value {
    let before = everything(site, instance).await;
    let answer = invoke(instance, &format!("{path}?dry-run"), body.clone()).await;
    let told = told(answer).await;
    assert_eq!(everything(site, instance).await, before);
    let text = told.to_string();
    for secret in [
        PRESHARED,
        "correct horse",
        "preshared-key",
        "private",
        "Private",
    ] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
    told
}

/// The names of the nodes of a dry run that would do what it says.
fn accepted(told: &Value) -> Vec<&str> {
    assert_eq!(told["outcome"], "accepted", "{told}");
    let nodes = told["node"].as_array().unwrap();
    assert!(
        nodes.iter().all(|node| node["outcome"] == "accepted"),
        "{told}"
    );
    let backhaul = |step: &Value| step["domain"] == "backhaul";
    for node in nodes {
        let steps = node["plan"]["step"].as_array().unwrap();
        assert!(steps.iter().any(backhaul), "{node}");
    }
    let names = nodes.iter().map(|node| node["name"].as_str().unwrap());
    names.collect()
}

fn edit<'a>(told: &'a Value, node: &str) -> &'a str {
    let nodes = told["node"].as_array().unwrap();
    let node = nodes.iter().find(|one| one["name"] == node).unwrap();
    node["edit-config"].as_str().unwrap()
}

/// Asks both ways and sees to it that both are refused alike, with nothing changed.
async fn refused_alike(site: &Site, instance: &Instance, path: &str, body: &Value) -> (u16, Value) {
    let before = everything(site, instance).await;
    let dry = invoke(instance, &format!("{path}?dry-run"), body.clone()).await;
    let wet = invoke(instance, path, body.clone()).await;
    let status = wet.status();
    assert!(status.is_client_error(), "{path} {body}: {status}");
    assert_eq!(dry.status(), status, "{path} {body}");
    let (dry, wet) = (error(dry).await, error(wet).await);
    assert_eq!(dry, wet, "{path} {body}");
    assert_eq!(everything(site, instance).await, before);
    (status.as_u16(), wet)
}

/// Asks both ways as a user who may only read, and is refused.
async fn denied(instance: &Instance, path: &str, body: &Value) {
    for path in [path.to_owned(), format!("{path}?dry-run")] {
        let url = format!("{}/restconf/{path}", instance.base);
        let request = instance
            .client
            .post(url)
            .basic_auth("reader", Some("reader"));
        let request = request.header("content-type", JSON).body(body.to_string());
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 403, "{path}");
        assert_eq!(error(answer).await["error-tag"], "access-denied", "{path}");
    }
}

/// Slice `a` at one node, without a backhaul.
async fn put_plain(instance: &Instance) {
    let mut plain = slice_with("a", &["node-1"], json!({}));
    plain.as_object_mut().unwrap().remove("backhaul");
    put(instance, &[plain]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_would_be_encrypted_is_shown_at_both_its_ends_and_not_made() {
    let site = three().await;
    let instance = site.controller(&site.inventory()).await;
    put_plain(&instance).await;
    let told = dry(&site, &instance, ENCRYPT, &path_to("node-2")).await;
    assert_eq!(accepted(&told), ["node-1", "node-2"]);
    let (spoke, hub) = (edit(&told, "node-1"), edit(&told, "node-2"));
    for (edit, role, address) in [(spoke, "spoke", "100.64.0.1"), (hub, "hub", "100.64.0.2")] {
        let role = format!("<role>{role}</role>");
        assert!(
            edit.contains("<slice>a</slice>") && edit.contains(&role),
            "{edit}"
        );
        assert!(edit.contains(address), "{edit}");
    }
    assert!(spoke.contains("<bridge>br-a</bridge>"), "{spoke}");
    // What was shown is what is made.
    let wet = invoke(&instance, ENCRYPT, path_to("node-2")).await;
    assert_eq!(wet.status(), 200);
    until_up(&instance, "a").await;
    for (node, address) in [(0, "100.64.0.1"), (1, "100.64.0.2")] {
        assert!(site.running(node).await.contains(address));
    }
    instance.stop().await;
    site.agent.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_would_come_or_go_is_shown_at_every_node_and_stays_as_it_is() {
    let site = three().await;
    let instance = site.controller(&site.inventory()).await;
    put_two(&instance).await;
    until_up(&instance, "a").await;
    let laptop = input(
        json!({ "name": "laptop", "public-key": LAPTOP, "allowed-prefix": ["10.50.0.0/24"] }),
    );
    let add = action("a", "add-peer");
    let told = dry(&site, &instance, &add, &laptop).await;
    assert_eq!(accepted(&told), ["node-1", "node-2", "node-3"]);
    assert!(edit(&told, "node-3").contains(LAPTOP), "{told}");
    for node in ["node-1", "node-2"] {
        let edit = edit(&told, node);
        assert!(
            edit.contains("10.50.0.0/24") && !edit.contains(LAPTOP),
            "{edit}"
        );
    }
    assert_eq!(invoke(&instance, &add, laptop).await.status(), 200);

    // Now there is a secret at the hub that an edit of its tunnel could show.
    let psk = json!({ "tranche-slice:preshared-key": PRESHARED });
    let at = "tranche-slice:slices/slice=a/backhaul/foreign-peer=laptop/preshared-key";
    assert_eq!(instance.send(Method::PUT, at, &psk).await.status(), 201);
    let phone = input(json!({ "name": "phone", "public-key": PHONE }));
    let told = dry(&site, &instance, &add, &phone).await;
    assert_eq!(
        accepted(&told),
        ["node-3"],
        "no spoke has anything to do with it"
    );
    assert!(edit(&told, "node-3").contains(PHONE), "{told}");

    let named = input(json!({ "name": "laptop" }));
    let del = action("a", "del-peer");
    let told = dry(&site, &instance, &del, &named).await;
    assert_eq!(accepted(&told), ["node-1", "node-2", "node-3"]);
    for node in ["node-1", "node-2"] {
        assert!(
            site.running(node_index(node))
                .await
                .contains("10.50.0.0/24")
        );
        assert!(
            !edit(&told, node).contains("<allowed-prefix>10.50.0.0/24"),
            "{told}"
        );
    }
    assert!(site.running(2).await.contains(LAPTOP));
    assert_eq!(invoke(&instance, &del, named).await.status(), 204);
    for node in 0..3 {
        let running = site.running(node).await;
        assert!(!running.contains(LAPTOP) && !running.contains("10.50.0.0/24"));
    }
    instance.stop().await;
    site.agent.shutdown().await;
}

fn node_index(name: &str) -> usize {
    let number: usize = name.strip_prefix("node-").unwrap().parse().unwrap();
    number - 1
}

#[tokio::test(flavor = "multi_thread")]
async fn what_refuses_an_operation_on_a_backhaul_refuses_its_dry_run() {
    let site = three().await;
    let instance = site.controller(&site.inventory()).await;
    put_plain(&instance).await;
    let path = |slice: &str, from: &str, to: &str| {
        input(json!({ "slice": slice, "from": from, "to": to }))
    };
    let pool =
        input(json!({ "slice": "a", "from": "node-1", "to": "node-2", "pool": "10.0.0.1/24" }));
    #[rustfmt::skip]
    let cases = [
        (path("z", "node-1", "node-2"), 409, "data-missing", "/tranche-slice:encrypt-path/slice"),
        (path("a", "node-9", "node-2"), 409, "data-missing", "/tranche-slice:encrypt-path/from"),
        (path("a", "node-1", "node-9"), 409, "data-missing", "/tranche-slice:encrypt-path/to"),
        (path("a", "node-1", "node-1"), 400, "invalid-value", "/tranche-slice:encrypt-path/to"),
        (path("a", "node-2", "node-3"), 400, "invalid-value", "/tranche-slice:encrypt-path/from"),
        (pool, 400, "invalid-value", "/tranche-slice:slices/slice[id='a']/backhaul/pool"),
    ];
    for (body, status, tag, at) in cases {
        let (got, refusal) = refused_alike(&site, &instance, ENCRYPT, &body).await;
        let got = (
            got,
            refusal["error-tag"].as_str(),
            refusal["error-path"].as_str(),
        );
        assert_eq!(got, (status, Some(tag), Some(at)), "{refusal}");
    }
    denied(&instance, ENCRYPT, &path_to("node-2")).await;
    let laptop = json!({ "name": "laptop", "public-key": LAPTOP });
    for (name, body, expected) in [
        ("add-peer", laptop, (412, "operation-failed")),
        (
            "del-peer",
            json!({ "name": "laptop" }),
            (409, "data-missing"),
        ),
    ] {
        let path = action("a", name);
        let (status, refusal) = refused_alike(&site, &instance, &path, &input(body)).await;
        let got = (status, refusal["error-tag"].as_str().unwrap());
        assert_eq!(got, expected, "{refusal}");
    }

    put_two(&instance).await;
    let at = "/tranche-slice:slices/slice[id='a']/backhaul";
    let (status, refusal) = refused_alike(&site, &instance, ENCRYPT, &path_to("node-2")).await;
    assert_eq!((status, &refusal["error-path"]), (409, &json!(at)));
    let state = until_up(&instance, "a").await;
    let own = &state["node"][0]["public-key"];
    let laptop = |key: &Value, prefix: &str| {
        input(json!({ "name": "laptop", "public-key": key, "allowed-prefix": [prefix] }))
    };
    let add = action("a", "add-peer");
    let good = json!(LAPTOP);
    #[rustfmt::skip]
    let cases = [
        (&add, laptop(own, "10.50.0.0/24"), "invalid-value", "/foreign-peer[name='laptop']/public-key"),
        (&add, laptop(&good, "10.77.0.0/25"), "invalid-value", "/foreign-peer[name='laptop']/allowed-prefix[.='10.77.0.0/25']"),
        (&add, input(json!({ "name": "node-1", "public-key": LAPTOP })), "invalid-value", "/foreign-peer[name='node-1']/name"),
        (&action("a", "del-peer"), input(json!({ "name": "laptop" })), "data-missing", "/foreign-peer[name='laptop']"),
    ];
    for (path, body, tag, below) in cases {
        let (_, refusal) = refused_alike(&site, &instance, path, &body).await;
        assert_eq!(refusal["error-tag"], tag, "{refusal}");
        assert_eq!(refusal["error-path"], format!("{at}{below}"), "{refusal}");
    }
    let body = laptop(&good, "10.50.0.0/24");
    assert_eq!(invoke(&instance, &add, body.clone()).await.status(), 200);
    let (status, refusal) = refused_alike(&site, &instance, &add, &body).await;
    assert_eq!(
        (status, &refusal["error-tag"]),
        (409, &json!("data-exists"))
    );
    let phone = input(json!({ "name": "phone", "public-key": PHONE }));
    denied(&instance, &add, &phone).await;
    let named = input(json!({ "name": "laptop" }));
    denied(&instance, &action("a", "del-peer"), &named).await;
    instance.stop().await;
    site.agent.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_would_refuse_a_tunnel_or_a_peer_is_told_as_the_operation_is_refused() {
    let at = "/tranche-backhaul:backhaul/tunnel";
    let rule = |name: &str, path: &str, operations: &str| {
        json!({ "name": name, "module-name": "tranche-backhaul", "path": path,
                "access-operations": operations, "action": "deny" })
    };
    let deny = json!([{ "name": "some", "group": ["controllers"], "rule": [
        rule("no tunnel of a", &format!("{at}[slice='a']"), "create"),
        rule("no laptop", &format!("{at}[slice='b']/peer[name='laptop']"), "create"),
        rule("the phone stays", &format!("{at}[slice='b']/peer[name='phone']"), "delete"),
    ] }, permit_all()[0]]);
    let site = Site::of(&[&permit_all(), &permit_all(), &deny]).await;
    let instance = site.controller(&site.inventory()).await;
    let mut plain = slice_with("a", &["node-1"], json!({}));
    plain.as_object_mut().unwrap().remove("backhaul");
    put(&instance, &[plain, slice_with("b", &["node-2"], one_hub())]).await;
    until_up(&instance, "b").await;
    let phone = input(json!({ "name": "phone", "public-key": PHONE }));
    let added = invoke(&instance, &action("b", "add-peer"), phone).await;
    assert_eq!(added.status(), 200);
    for (path, body) in [
        (ENCRYPT.to_owned(), path_to("node-3")),
        (
            action("b", "add-peer"),
            input(json!({ "name": "laptop", "public-key": LAPTOP })),
        ),
        (action("b", "del-peer"), input(json!({ "name": "phone" }))),
    ] {
        let dry = dry(&site, &instance, &path, &body).await;
        let before = everything(&site, &instance).await;
        let wet = invoke(&instance, &path, body).await;
        assert_eq!(wet.status(), 403, "{path}");
        let wet = error(wet).await;
        assert_eq!(dry["outcome"], "refused", "{path}: {dry}");
        assert_eq!(
            wet["error-path"],
            "/tranche-inventory:inventory/node[name='node-3']"
        );
        for leaf in ["error-tag", "error-app-tag", "error-path"] {
            assert_eq!(dry["error"][0][leaf], wet[leaf], "{path}: {dry}");
        }
        assert_eq!(everything(&site, &instance).await, before, "{path}");
    }
    instance.stop().await;
    site.agent.shutdown().await;
}
