//! RESTCONF as RFC 8040 describes it, over real HTTP.

use crate::support::{Instance, JSON, XML, error, factory, header};
use reqwest::Method;
use serde_json::{Value, json};

const SITES: &str = "tranche-inventory:inventory/site";

fn site(name: &str) -> Value {
    json!({ "tranche-inventory:site": [{ "name": name }] })
}

// Discovery: sections 3.1, 3.3

#[tokio::test]
async fn the_root_is_found_through_host_meta() {
    let instance = Instance::start(&factory()).await;
    let xrd = instance.get("/.well-known/host-meta").await;
    assert_eq!(header(&xrd, "content-type"), "application/xrd+xml");
    assert!(
        xrd.text()
            .await
            .unwrap()
            .contains("<Link rel=\"restconf\" href=\"/restconf\"/>")
    );
    let json: Value = instance
        .get("/.well-known/host-meta.json")
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(
        json["links"][0],
        json!({ "rel": "restconf", "href": "/restconf" })
    );
    let root: Value = instance.get("/restconf").await.json().await.unwrap();
    let root = &root["ietf-restconf:restconf"];
    assert_eq!(root["yang-library-version"], "2019-01-04");
    assert!(root["data"].is_object() && root["operations"].is_object());
    let version = instance.get("/restconf/yang-library-version").await;
    let version: Value = version.json().await.unwrap();
    assert_eq!(
        version,
        json!({ "ietf-restconf:yang-library-version": "2019-01-04" })
    );
}

#[tokio::test]
async fn the_library_and_the_monitoring_state_can_be_read() {
    let instance = Instance::start(&factory()).await;
    let library = instance.json("ietf-yang-library:yang-library").await;
    let modules = &library["ietf-yang-library:yang-library"]["module-set"][0]["module"];
    let names: Vec<&str> = modules
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|m| m["name"].as_str())
        .collect();
    for name in [
        "tranche-slice",
        "tranche-sla",
        "tranche-inventory",
        "ietf-restconf-monitoring",
    ] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    let state = instance
        .json("ietf-restconf-monitoring:restconf-state")
        .await;
    let state = &state["ietf-restconf-monitoring:restconf-state"];
    let capabilities = state["capabilities"]["capability"].to_string();
    for capability in [
        "depth:1.0",
        "fields:1.0",
        "with-defaults:1.0",
        "basic-mode=explicit",
    ] {
        assert!(capabilities.contains(capability), "{capability}");
    }
    assert!(!capabilities.contains("replay") && !capabilities.contains("filter"));
    for stream in state["streams"]["stream"].as_array().unwrap() {
        for access in stream["access"].as_array().unwrap() {
            let location = access["location"].as_str().unwrap();
            let path = location
                .strip_prefix(&instance.base)
                .expect("an address of this server");
            let response = instance.get(path).await;
            assert_eq!(
                header(&response, "content-type"),
                "text/event-stream",
                "{location}"
            );
        }
    }
}

// Methods: section 4

#[tokio::test]
async fn a_resource_is_created_read_replaced_merged_and_deleted() {
    let instance = Instance::start(&factory()).await;
    let created = instance
        .send(Method::POST, "tranche-inventory:inventory", &site("new"))
        .await;
    assert_eq!(created.status(), 201);
    let location = header(&created, "location");
    assert_eq!(
        location,
        format!("{}/restconf/data/{SITES}=new", instance.base)
    );
    let path = format!("{SITES}=new");
    assert_eq!(instance.json(&path).await, site("new"));

    let body = json!({ "tranche-inventory:site": [{ "name": "new", "description": "a" }] });
    assert_eq!(
        instance.send(Method::PATCH, &path, &body).await.status(),
        204
    );
    assert_eq!(instance.json(&path).await, body);
    assert_eq!(
        instance
            .send(Method::PUT, &path, &site("new"))
            .await
            .status(),
        204
    );
    assert_eq!(
        instance.json(&path).await,
        site("new"),
        "PUT leaves nothing of what was there"
    );

    let other = format!("{SITES}=other");
    let put = instance.send(Method::PUT, &other, &site("other")).await;
    assert_eq!(
        (put.status().as_u16(), header(&put, "location").is_empty()),
        (201, false)
    );
    assert_eq!(instance.delete(&path).await.status(), 204);
    assert_eq!(
        instance
            .get(&format!("/restconf/data/{path}"))
            .await
            .status(),
        404
    );
    assert_eq!(instance.delete(&path).await.status(), 404);
    assert_eq!(
        instance
            .send(Method::PATCH, &path, &site("new"))
            .await
            .status(),
        404
    );
    let again = instance
        .send(Method::POST, "tranche-inventory:inventory", &site("other"))
        .await;
    assert_eq!(again.status(), 409);
    assert_eq!(error(again).await["error-tag"], "data-exists");
}

#[tokio::test]
async fn leafs_are_resources() {
    let instance = Instance::start(&factory()).await;
    let path = format!("{SITES}=street/description");
    let body = json!({ "tranche-inventory:description": "cobbled" });
    assert_eq!(instance.send(Method::PUT, &path, &body).await.status(), 201);
    assert_eq!(instance.json(&path).await, body);
    assert_eq!(instance.delete(&path).await.status(), 204);
    assert_eq!(
        instance
            .get(&format!("/restconf/data/{path}"))
            .await
            .status(),
        404
    );
    let enabled = "tranche-sla:sla/scheduler/enabled";
    let default = instance.get(&format!("/restconf/data/{enabled}")).await;
    assert_eq!(default.status(), 404, "nobody set it");
    let all = instance
        .json(&format!("{enabled}?with-defaults=report-all"))
        .await;
    assert_eq!(all, json!({ "tranche-sla:enabled": true }));
}

#[tokio::test]
async fn the_whole_datastore_is_merged_and_replaced() {
    let instance = Instance::start(&factory()).await;
    let before = instance.json("?content=config").await;
    let merge = json!({ "ietf-restconf:data": { "tranche-inventory:inventory": { "site": [{ "name": "new" }] } } });
    assert_eq!(instance.send(Method::PATCH, "", &merge).await.status(), 204);
    assert_eq!(instance.json(&format!("{SITES}=new")).await, site("new"));
    assert_eq!(instance.send(Method::PUT, "", &before).await.status(), 204);
    assert_eq!(instance.json("?content=config").await, before);
    let delete = instance.delete("").await;
    assert_eq!(delete.status(), 405);
    assert!(!header(&delete, "allow").contains("DELETE"));
    let xml = instance
        .request(Method::GET, "/restconf/data?content=config")
        .header("accept", XML)
        .send()
        .await
        .unwrap();
    let text = xml.text().await.unwrap();
    assert!(
        text.starts_with("<data xmlns=\"urn:ietf:params:xml:ns:yang:ietf-restconf\">"),
        "{text}"
    );
    let prefixed = text
        .replacen("<data xmlns=", "<!-- not <data> --><r:data xmlns:r=", 1)
        .replace("</data>", "</r:data>");
    for body in [text, prefixed] {
        let put = instance
            .request(Method::PUT, "/restconf/data")
            .header("content-type", XML)
            .body(format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{body}"
            ));
        let put = put.send().await.unwrap();
        assert_eq!(put.status(), 204, "{}", put.text().await.unwrap());
        assert_eq!(instance.json("?content=config").await, before);
    }
}

#[tokio::test]
async fn both_encodings_are_read_and_written() {
    let instance = Instance::start(&factory()).await;
    let xml = "<site xmlns=\"urn:tranche:yang:tranche-inventory\"><name>new</name></site>";
    let path = format!("/restconf/data/{SITES}=new");
    let put = instance
        .request(Method::PUT, &path)
        .header("content-type", XML)
        .body(xml);
    assert_eq!(put.send().await.unwrap().status(), 201);
    let read = instance
        .request(Method::GET, &path)
        .header("accept", XML)
        .send()
        .await
        .unwrap();
    assert_eq!(header(&read, "content-type"), XML);
    assert_eq!(header(&read, "vary"), "Accept");
    assert_eq!(read.text().await.unwrap(), xml);
    let read = instance
        .request(Method::GET, &path)
        .header("accept", JSON)
        .send()
        .await
        .unwrap();
    assert_eq!(read.json::<Value>().await.unwrap(), site("new"));
    let wrong = instance
        .request(Method::GET, &path)
        .header("accept", "text/html");
    assert_eq!(wrong.send().await.unwrap().status(), 406);
    let wrong = instance
        .request(Method::PUT, &path)
        .header("content-type", "text/plain")
        .body(xml);
    assert_eq!(wrong.send().await.unwrap().status(), 415);
}

#[tokio::test]
async fn head_and_options_say_what_a_get_would_and_what_there_is() {
    let instance = Instance::start(&factory()).await;
    let path = format!("/restconf/data/{SITES}=street");
    let get = instance.get(&path).await;
    let head = instance.request(Method::HEAD, &path).send().await.unwrap();
    assert_eq!(head.status(), 200);
    for name in ["content-type", "content-length", "etag", "last-modified"] {
        assert_eq!(header(&head, name), header(&get, name), "{name}");
    }
    assert!(head.bytes().await.unwrap().is_empty());
    let allow = async |path: &str| {
        let options = instance
            .request(Method::OPTIONS, path)
            .send()
            .await
            .unwrap();
        (header(&options, "allow"), header(&options, "accept-patch"))
    };
    let (methods, patch) = allow(&path).await;
    assert_eq!(methods, "GET, HEAD, OPTIONS, POST, PUT, PATCH, DELETE");
    assert!(patch.contains(JSON) && patch.contains(XML));
    let state = "/restconf/data/tranche-sla:sla/history";
    assert_eq!(
        allow(state).await,
        ("GET, HEAD, OPTIONS".to_owned(), String::new())
    );
    let rollback = "/restconf/operations/tranche-commits:rollback";
    assert_eq!(allow(rollback).await.0, "OPTIONS, POST");
    let put = instance
        .send(Method::PUT, "tranche-sla:sla/history", &json!({}))
        .await;
    assert_eq!(put.status(), 405);
    assert_eq!(header(&put, "allow"), "GET, HEAD, OPTIONS");
}

// Query parameters: section 4.8

#[tokio::test]
async fn depth_fields_and_content_select() {
    let instance = Instance::start(&factory()).await;
    let inventory = "tranche-inventory:inventory";
    let depth = instance.json(&format!("{inventory}?depth=1")).await;
    assert_eq!(depth, json!({ "tranche-inventory:inventory": {} }));
    let fields = instance
        .json(&format!("{inventory}?fields=site(name)"))
        .await;
    let names = json!({ "site": [{ "name": "square" }, { "name": "street" }] });
    assert_eq!(fields["tranche-inventory:inventory"], names);
    let config = instance.json(&format!("{inventory}?content=config")).await;
    assert!(config["tranche-inventory:inventory"]["credential"][0]["public-key"].is_null());
    let state = instance
        .json(&format!("{inventory}?content=nonconfig"))
        .await;
    let key = &state["tranche-inventory:inventory"]["credential"][0]["public-key"];
    assert!(
        key.as_str()
            .is_some_and(|key| key.starts_with("ssh-ed25519 ")),
        "{state}"
    );
    assert!(state["tranche-inventory:inventory"]["site"].is_null());
}

#[tokio::test]
async fn entries_of_a_user_ordered_list_go_where_they_are_told() {
    let instance = Instance::start(&factory()).await;
    let nacm = "ietf-netconf-acm:nacm";
    let rules = |name: &str| json!({ "ietf-netconf-acm:rule-list": [{ "name": name }] });
    let order = async || {
        let data = instance
            .json(&format!("{nacm}?content=config&fields=rule-list/name"))
            .await;
        let lists = data["ietf-netconf-acm:nacm"]["rule-list"]
            .as_array()
            .unwrap()
            .clone();
        lists
            .iter()
            .filter_map(|l| l["name"].as_str().map(str::to_owned))
            .collect::<Vec<_>>()
    };
    let post = async |query: &str, name: &str| {
        instance
            .send(Method::POST, &format!("{nacm}?{query}"), &rules(name))
            .await
            .status()
            .as_u16()
    };
    assert_eq!(post("insert=first", "a").await, 201);
    let point = "point=%2Fietf-netconf-acm%3Anacm%2Frule-list%3Dadmin";
    assert_eq!(post(&format!("insert=before&{point}"), "b").await, 201);
    assert_eq!(post(&format!("insert=after&{point}"), "c").await, 201);
    assert_eq!(order().await, ["a", "b", "admin", "c"]);
    let path = format!("{nacm}/rule-list=c?insert=first");
    let put = instance.send(Method::PUT, &path, &rules("c")).await;
    assert_eq!(put.status(), 204);
    assert_eq!(order().await, ["c", "a", "b", "admin"]);
    let path = "tranche-inventory:inventory?insert=first";
    let unordered = instance.send(Method::POST, path, &site("x")).await;
    assert_eq!(unordered.status(), 400);
}

#[tokio::test]
async fn defaults_are_shown_as_asked() {
    let instance = Instance::start(&factory()).await;
    let scheduler = "tranche-sla:sla/scheduler";
    let interval = json!({ "tranche-sla:interval": 2000 });
    let put = instance
        .send(Method::PUT, &format!("{scheduler}/interval"), &interval)
        .await;
    assert!(put.status().is_success());
    let read = async |mode: &str| {
        let data = instance
            .json(&format!("{scheduler}?with-defaults={mode}"))
            .await;
        data["tranche-sla:scheduler"].clone()
    };
    let all = json!({ "enabled": true, "interval": 2000, "ceiling-lifetime": 30 });
    assert_eq!(read("report-all").await, all);
    assert_eq!(read("explicit").await, json!({ "interval": 2000 }));
    assert_eq!(read("trim").await, json!({}));
    let tagged = read("report-all-tagged").await;
    let tag = json!({ "ietf-netconf-with-defaults:default": true });
    assert_eq!(
        (&tagged["enabled"], &tagged["@enabled"]),
        (&json!(true), &tag)
    );
    assert_eq!(
        instance.json(scheduler).await["tranche-sla:scheduler"],
        json!({ "interval": 2000 })
    );
}

#[tokio::test]
async fn a_container_that_is_empty_is_there() {
    let instance = Instance::start(&factory()).await;
    let slices = instance.json("tranche-slice:slices").await;
    assert_eq!(slices, json!({ "tranche-slice:slices": {} }));
    let xml = instance.request(Method::GET, "/restconf/data/tranche-slice:slices");
    let xml = xml
        .header("accept", XML)
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert_eq!(xml, "<slices xmlns=\"urn:tranche:yang:tranche-slice\"/>");
    for path in [
        "tranche-slice:slices/slice=a",
        "tranche-slice:slices/slice=a/wifi",
        "tranche-slice:slices/slice",
    ] {
        let answer = instance.get(&format!("/restconf/data/{path}")).await;
        assert_eq!(answer.status(), 404, "{path}");
    }
}

// Conditions: sections 3.4.1, 3.5.1

#[tokio::test]
async fn an_edit_can_be_made_conditional() {
    let instance = Instance::start(&factory()).await;
    let path = format!("/restconf/data/{SITES}=street");
    let etag = header(&instance.get(&path).await, "etag");
    let patch = async |name: &'static str, value: &str| {
        let body =
            json!({ "tranche-inventory:site": [{ "name": "street", "description": value }] });
        let request = instance
            .request(Method::PATCH, &path)
            .header("content-type", JSON);
        request
            .header(name, value)
            .body(body.to_string())
            .send()
            .await
            .unwrap()
    };
    let changed = patch("if-match", &etag).await;
    assert_eq!(changed.status(), 204);
    let new = header(&changed, "etag");
    assert_ne!(new, etag);
    let stale = patch("if-match", &etag).await;
    assert_eq!(stale.status(), 412);
    assert_eq!(error(stale).await["error-tag"], "operation-failed");
    let old = "Thu, 01 Jan 1970 00:00:01 GMT";
    assert_eq!(patch("if-unmodified-since", old).await.status(), 412);
    let post = async |etag: &str| {
        let request = instance.request(Method::POST, "/restconf/data/tranche-inventory:inventory");
        let request = request
            .header("content-type", JSON)
            .header("if-match", etag);
        request
            .body(site("made").to_string())
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    };
    assert_eq!(post(&etag).await, 412);
    let known = instance
        .request(Method::GET, &path)
        .header("if-none-match", &new);
    let known = known.send().await.unwrap();
    assert_eq!(
        (known.status().as_u16(), header(&known, "etag")),
        (304, new)
    );
    assert_eq!(post("*").await, 201);
    let exists = instance
        .request(Method::PUT, &path)
        .header("if-none-match", "*");
    let exists = exists
        .header("content-type", JSON)
        .body(site("street").to_string());
    assert_eq!(exists.send().await.unwrap().status(), 412);
}

#[tokio::test]
async fn what_was_not_changed_keeps_its_tag() {
    let instance = Instance::start(&factory()).await;
    let etag = async || {
        header(
            &instance
                .get(&format!("/restconf/data/{SITES}=street"))
                .await,
            "etag",
        )
    };
    let before = etag().await;
    let path = format!("{SITES}=street");
    assert_eq!(
        instance
            .send(Method::PUT, &path, &site("street"))
            .await
            .status(),
        204
    );
    assert_eq!(
        etag().await,
        before,
        "an edit that changes nothing is no commit"
    );
    let refused = instance
        .send(Method::PUT, &format!("{SITES}=street"), &site("other"))
        .await;
    assert_eq!(refused.status(), 400);
    assert_eq!(etag().await, before);
}

// Operations: sections 3.6, 4.4.2

#[tokio::test]
async fn a_commit_is_listed_and_gone_back_to() {
    let instance = Instance::start(&factory()).await;
    let list: Value = instance
        .get("/restconf/operations")
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(
        list,
        json!({ "ietf-restconf:operations": {
            "tranche-commits:rollback": [null],
            "tranche-slice:encrypt-path": [null], "tranche-mec:onboard": [null],
        } })
    );
    instance
        .send(Method::POST, "tranche-inventory:inventory", &site("new"))
        .await;
    let commits = instance.json("tranche-commits:commits").await;
    let commits = commits["tranche-commits:commits"]["commit"]
        .as_array()
        .unwrap()
        .clone();
    assert_eq!(commits.len(), 2);
    assert_eq!(
        (&commits[1]["id"], &commits[1]["author"]),
        (&json!("2"), &json!("admin"))
    );
    let rollback = async |input: Value| {
        let request = instance.request(
            Method::POST,
            "/restconf/operations/tranche-commits:rollback",
        );
        request
            .header("content-type", JSON)
            .body(input.to_string())
            .send()
            .await
            .unwrap()
    };
    let done = rollback(json!({ "tranche-commits:input": { "to": "1", "label": "undo" } })).await;
    assert_eq!(
        done.json::<Value>().await.unwrap(),
        json!({ "tranche-commits:output": { "id": "3" } })
    );
    assert_eq!(
        instance
            .get(&format!("/restconf/data/{SITES}=new"))
            .await
            .status(),
        404
    );
    let commit = instance
        .json("tranche-commits:commits/commit=3/label")
        .await;
    assert_eq!(commit, json!({ "tranche-commits:label": "undo" }));
    let again = rollback(json!({ "tranche-commits:input": { "to": "1" } })).await;
    assert_eq!(again.status(), 204, "nothing to change, nothing to say");
    let unknown = rollback(json!({ "tranche-commits:input": { "to": "9" } })).await;
    assert_eq!(unknown.status(), 400);
    let nothing = rollback(json!({})).await;
    let error = nothing.json::<Value>().await.unwrap();
    let error = &error["ietf-restconf:errors"]["error"][0];
    assert_eq!(
        error["error-tag"], "data-missing",
        "as without a body: {error}"
    );
    let missing = instance.request(Method::POST, "/restconf/operations/tranche-commits:nope");
    assert_eq!(missing.send().await.unwrap().status(), 404);
    let form = instance.request(
        Method::POST,
        "/restconf/operations/tranche-commits:rollback",
    );
    let form = form.header("content-type", "application/x-www-form-urlencoded");
    assert_eq!(form.send().await.unwrap().status(), 415);
}

// What is kept

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart_and_the_factory_default_is_not_read_again()
{
    let instance = Instance::start(&factory()).await;
    assert_eq!(
        instance
            .send(Method::POST, "tranche-inventory:inventory", &site("new"))
            .await
            .status(),
        201
    );
    let before = instance.json("?content=config").await;
    let dir = instance.stop().await.expect("its directory");
    std::fs::write(dir.path().join("factory.json"), "{").unwrap();
    let instance = Instance::run(crate::support::config(dir.path(), &[])).await;
    assert_eq!(instance.json("?content=config").await, before);
    let text = before.to_string();
    assert!(
        text.contains("$6$") && !text.contains("$0$"),
        "passwords are kept as hashes"
    );
    instance.stop().await;
}
