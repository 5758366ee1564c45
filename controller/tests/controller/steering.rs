//! Steering of slices, from intent to rules at simulated nodes, beside what their own administrators configure.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::nodes::{Site, permit_all, slice, slices, wait};
use crate::support::{Instance, error};

const SLICES: &str = "tranche-slice:slices";
/// What a test waits for at most: generous, for machines that do much at once.
const PATIENCE: Duration = Duration::from_secs(120);
const STEERING: &str = "urn:tranche:yang:tranche-steering";

fn steering() -> Value {
    json!({
        "chain": [{ "name": "local", "on-failure": "bypass",
                    "application": [{ "name": "cache", "port": "app0" }], "forward": { "out-port": "core0" } }],
        "rule": [
            { "name": "served", "match": { "in-port": "ran0", "gtp": { "teid": 7 } }, "end-gtp": [null], "chain": "local" },
            { "name": "rest", "match": { "in-port": "ran0", "gtp": { "teid": 8 } }, "forward": { "out-port": "core0" } },
        ],
    })
}

pub(crate) fn steered(id: &str, steering: Value) -> Value {
    let mut slice = slice(id, "10.0");
    slice["steering"] = steering;
    slice
}

pub(crate) async fn put(instance: &Instance, list: &[Value]) {
    let put = instance.send(Method::PUT, SLICES, &slices(list)).await;
    let status = put.status();
    assert!(
        status.is_success(),
        "{status}: {}",
        put.text().await.unwrap()
    );
}

pub(crate) async fn two() -> (Site, Instance) {
    let site = Site::of(&[&permit_all(), &permit_all()]).await;
    let instance = site.controller(&site.inventory()).await;
    (site, instance)
}

/// Names of the rules that a node has, in its order.
pub(crate) async fn rules(site: &Site, node: usize) -> Vec<String> {
    let running = site.running(node).await;
    let steering = running.split_once("<steering").map(|(_, rest)| rest);
    let steering = steering.and_then(|rest| rest.split_once("</steering>"));
    let rules = steering.map_or("", |(steering, _)| steering);
    let parts = rules.split("<rule><name>").skip(1);
    let name = |part: &str| part.split_once('<').unwrap().0.to_owned();
    parts.map(name).collect()
}

async fn until_active(instance: &Instance, id: &str) -> Value {
    let path = format!("{SLICES}/slice={id}/state");
    wait(instance, &path, |state| state["oper-state"] == "active").await
}

async fn edit(site: &Site, node: usize, content: &str) {
    let config = format!(
        "<steering xmlns=\"{STEERING}\" xmlns:nc=\"urn:ietf:params:xml:ns:netconf:base:1.0\" \
         xmlns:yang=\"urn:ietf:params:xml:ns:yang:1\">{content}</steering>"
    );
    site.edit(node, &config).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_of_a_slice_are_at_its_nodes_and_what_they_do_is_seen() {
    let (site, instance) = two().await;
    put(&instance, &[steered("a", steering())]).await;
    let state = until_active(&instance, "a").await;
    assert_eq!(rules(&site, 0).await, ["a.served", "a.rest"]);
    let nodes = state["steering"]["node"].as_array().unwrap();
    assert_eq!(nodes.len(), 2);
    let node = &nodes[0];
    assert_eq!(node["name"], "node-1");
    assert!(node["read-at"].is_string());
    assert_eq!(
        node["rule"],
        json!([
            { "name": "served", "is-there": true, "packets": "0", "bytes": "0" },
            { "name": "rest", "is-there": true, "packets": "0", "bytes": "0" },
        ])
    );
    assert_eq!(
        node["chain"],
        json!([{ "name": "local", "application": [{
            "name": "cache", "packets": "0", "bytes": "0", "is-up": true,
            "changed-at": node["chain"][0]["application"][0]["changed-at"],
        }] }])
    );
    let ports: Vec<_> = node["port"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| &p["name"])
        .collect();
    assert_eq!(ports, ["app0", "core0", "ran0"]);
    // Another order, another way out, one less.
    let mut changed = steering();
    changed["rule"].as_array_mut().unwrap().swap(0, 1);
    changed["rule"][0]["forward"]["out-port"] = "app0".into();
    put(&instance, &[steered("a", changed)]).await;
    assert_eq!(rules(&site, 1).await, ["a.rest", "a.served"]);
    assert!(site.running(1).await.contains("<out-port>app0</out-port>"));
    let gone = instance.delete(&format!("{SLICES}/slice=a/steering")).await;
    assert_eq!(gone.status(), 204);
    for node in [0, 1] {
        assert!(!site.running(node).await.contains("tranche-steering"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_hangs_is_told_at_its_slice_until_it_answers_again() {
    let (site, instance) = two().await;
    let mut checked = steering();
    checked["chain"][0]["application"][0]["health-check"] =
        json!({ "pass-through": [null], "interval": 100, "timeout": 100, "fall": 1, "rise": 1 });
    let mut slow = checked.clone();
    slow["chain"][0]["application"][0]["health-check"]["timeout"] = 200.into();
    let refused = slices(&[steered("a", slow)]);
    let refused = instance.send(Method::PUT, SLICES, &refused).await;
    let told = error(refused).await;
    assert_eq!(told["error-app-tag"], "bad-steering");
    assert_eq!(
        told["error-path"],
        "/tranche-slice:slices/slice[id='a']/steering/chain[name='local']/application[name='cache']/health-check/timeout"
    );
    put(&instance, &[steered("a", checked)]).await;
    until_active(&instance, "a").await;
    let running = site.running(0).await;
    assert!(
        running.contains("<health-check><pass-through/>"),
        "{running}"
    );
    let sim = |content: &str| {
        format!(
            "<sim xmlns=\"urn:tranche:yang:tranche-sim\" xmlns:nc=\"urn:ietf:params:xml:ns:netconf:base:1.0\">{content}</sim>"
        )
    };
    site.edit(0, &sim("<hung-port>app0</hung-port>")).await;
    let path = format!("{SLICES}/slice=a/state");
    let is_told = |state: &Value| {
        state["steering"]["node"][0]["chain"][0]["application"][0]["is-up"] == false
    };
    let state = wait(&instance, &path, is_told).await;
    let seen = &state["steering"]["node"][0]["chain"][0]["application"][0];
    assert_eq!(
        (&seen["down-by"], &seen["reason"]),
        (&json!("health-check"), &json!("no answer within 100 ms"))
    );
    assert_eq!(state["oper-state"], "degraded");
    let reason = "node node-1: application cache of chain local fails its health check: no answer within 100 ms";
    assert!(state.to_string().contains(reason), "{state}");
    let metrics = instance.get("/metrics").await.text().await.unwrap();
    for (node, up) in [("node-1", 0), ("node-2", 1)] {
        let sample = format!(
            "tranche_slice_application_up{{slice=\"a\",node=\"{node}\",chain=\"local\",application=\"cache\"}} {up}\n"
        );
        assert!(metrics.contains(&sample), "{sample} in {metrics}");
    }
    site.edit(
        0,
        &sim("<hung-port nc:operation=\"delete\">app0</hung-port>"),
    )
    .await;
    let state = until_active(&instance, "a").await;
    let seen = &state["steering"]["node"][0]["chain"][0]["application"][0];
    assert_eq!(
        (&seen["is-up"], &seen["reason"]),
        (&json!(true), &Value::Null)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_own_rules_stay_and_ours_come_back() {
    let (site, instance) = two().await;
    let own = "<port><name>ran0</name></port><rule><name>lab</name><slice>lab</slice>\
               <match><in-port>ran0</in-port><gtp><teid>99</teid></gtp></match><drop/></rule>";
    edit(&site, 0, own).await;
    put(&instance, &[steered("b", steering())]).await;
    until_active(&instance, "b").await;
    assert_eq!(rules(&site, 0).await, ["lab", "b.served", "b.rest"]);
    // Somebody removes one of ours and moves their own between ours.
    let meddled = "<rule nc:operation=\"delete\"><name>b.served</name></rule>\
                   <rule yang:insert=\"last\"><name>lab</name></rule>";
    edit(&site, 0, meddled).await;
    let begin = Instant::now();
    while rules(&site, 0).await != ["b.served", "b.rest", "lab"] {
        assert!(begin.elapsed() < PATIENCE, "{:?}", rules(&site, 0).await);
        sleep(Duration::from_millis(50)).await;
    }
    until_active(&instance, "b").await;
    assert_eq!(instance.delete(SLICES).await.status(), 204);
    assert_eq!(rules(&site, 0).await, ["lab"]);
    let running = site.running(0).await;
    assert!(running.contains("<port><name>ran0</name></port>") && !running.contains("app0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_would_refuse_changes_nothing_anywhere() {
    let (site, instance) = two().await;
    edit(
        &site,
        1,
        "<rule><name>lab</name><slice>lab</slice><match><gtp><teid>8</teid></gtp></match><drop/></rule>",
    )
    .await;
    let refused = async |steering: Value| {
        let body = slices(&[steered("a", steering)]);
        let answer = instance.send(Method::PUT, SLICES, &body).await;
        assert!(answer.status().is_client_error(), "{}", answer.status());
        error(answer).await
    };
    // The node is read again first: what its administrator did since it was read is not known before.
    let told = refused(steering()).await;
    let message = told["error-message"].as_str().unwrap();
    assert!(message.contains("TEID 8 is of slice"), "{told}");
    let mut host_bits = steering();
    host_bits["rule"][0]["match"]["gtp"]["inner-destination-prefix"] = "10.1.2.3/8".into();
    let told = refused(host_bits).await;
    assert_eq!(told["error-app-tag"], "bad-steering");
    assert_eq!(
        told["error-path"],
        "/tranche-slice:slices/slice[id='a']/steering/rule[name='served']/match/gtp/inner-destination-prefix"
    );
    assert!(rules(&site, 0).await.is_empty());
    assert_eq!(rules(&site, 1).await, ["lab"]);
}

pub(crate) fn descriptor() -> Value {
    json!({
        "appDId": "5b0c8f3e-video", "appName": "video cache", "appProvider": "acme", "appSoftVersion": "1.4", "appDVersion": "2",
        "mecVersion": ["2.2.1"], "swImageDescriptor": [{ "id": "image" }],
        "appTrafficRule": [{
            "trafficRuleId": "cache", "filterType": "PACKET", "priority": 10,
            "trafficFilter": [{ "dstAddress": ["203.0.113.0/24", "198.51.100.7"] }],
            "action": "FORWARD_DECAPSULATED",
            "dstInterface": { "interfaceType": "MAC", "dstMacAddress": "02:00:00:00:00:0a" },
        }, {
            "trafficRuleId": "block", "filterType": "FLOW", "priority": 200,
            "trafficFilter": [{ "dstAddress": ["192.0.2.66"] }], "action": "DROP",
        }],
    })
}

pub(crate) async fn onboard(
    instance: &Instance,
    descriptor: &Value,
    more: Value,
) -> reqwest::Response {
    onboard_with(instance, "", descriptor, more).await
}

async fn onboard_with(
    instance: &Instance,
    query: &str,
    descriptor: &Value,
    more: Value,
) -> reqwest::Response {
    let mut input = json!({
        "name": "video", "slice": "a", "node": ["node-2"], "user-port": "ran0", "app-port": "app0",
        "descriptor": descriptor.to_string(),
    });
    for (name, value) in more.as_object().unwrap() {
        input[name] = value.clone();
    }
    let path = format!("/restconf/operations/tranche-mec:onboard{query}");
    let request = instance.request(Method::POST, &path);
    let request = request.header("content-type", crate::support::JSON);
    let body = json!({ "tranche-mec:input": input });
    request.body(body.to_string()).send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_descriptor_becomes_rules_at_the_node_that_runs_the_application() {
    let (site, instance) = two().await;
    put(&instance, &[steered("a", steering())]).await;
    let dry = onboard_with(&instance, "?dry-run", &descriptor(), json!({})).await;
    let dry = crate::dry_run::told(dry).await;
    let edit = dry["node"][0]["edit-config"].as_str().unwrap();
    assert!(edit.contains("<name>a.video_block_1</name>"), "{edit}");
    assert_eq!(dry["node"][0]["name"], "node-2");
    assert_eq!(rules(&site, 1).await, ["a.served", "a.rest"]);
    let answer = onboard(&instance, &descriptor(), json!({})).await;
    assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
    let output: Value = answer.json().await.unwrap();
    assert_eq!(output["tranche-mec:output"]["rules"], 4);
    // The rule of the greatest priority first, and before what the slice says itself.
    let at_two = [
        "a.video_block_1",
        "a.video_block_2",
        "a.video_cache_1",
        "a.video_cache_2",
        "a.served",
        "a.rest",
    ];
    assert_eq!(rules(&site, 1).await, at_two);
    assert_eq!(rules(&site, 0).await, ["a.served", "a.rest"]);
    let running = site.running(1).await;
    for part in [
        "<inner-destination-prefix>203.0.113.0/24</inner-destination-prefix>",
        "<inner-source-prefix>192.0.2.66/32</inner-source-prefix>",
        "<destination-mac>02:00:00:00:00:0a</destination-mac>",
    ] {
        assert!(running.contains(part), "{part}");
    }
    let state = until_active(&instance, "a").await;
    let seen = &state["steering"]["node"][1]["rule"][0];
    assert_eq!(
        (&seen["name"], &seen["is-there"]),
        (&json!("video_block_1"), &json!(true))
    );
    let kept = instance.json("tranche-mec:mec").await;
    let kept = &kept["tranche-mec:mec"]["application"][0];
    assert_eq!(
        (&kept["appDId"], &kept["appTrafficRule"][0]["action"]),
        (&json!("5b0c8f3e-video"), &json!("DROP"))
    );
    assert!(kept.get("swImageDescriptor").is_none());
    assert_eq!(
        instance
            .delete("tranche-mec:mec/application=video")
            .await
            .status(),
        204
    );
    assert_eq!(rules(&site, 1).await, ["a.served", "a.rest"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_descriptor_that_steering_cannot_carry_out_is_refused_at_its_field() {
    let (site, instance) = two().await;
    put(&instance, &[slice("a", "10.0")]).await;
    let mut named = descriptor();
    named["appTrafficRule"][0]["trafficFilter"][0]["uri"] = json!(["www.example.com"]);
    let answer = onboard(&instance, &named, json!({})).await;
    assert_eq!(answer.status(), 501);
    let told = error(answer).await;
    assert_eq!(told["error-app-tag"], "mec-unsupported");
    assert_eq!(
        told["error-path"],
        "/tranche-mec:mec/application[name='video']/appTrafficRule[trafficRuleId='cache']/trafficFilter[index='1']/uri"
    );
    let mut dns = descriptor();
    dns["appDNSRule"] = json!([{ "dnsRuleId": "d1", "domainName": "cache.example", "ipAddressType": "IP_V4", "ipAddress": "192.0.2.1", "ttl": 60 }]);
    let told = error(onboard(&instance, &dns, json!({})).await).await;
    assert_eq!(told["error-app-tag"], "mec-unsupported");
    let at = "/tranche-mec:mec/application[name='video']/appDNSRule[dnsRuleId='d1']";
    assert_eq!(told["error-path"], at);
    let message = told["error-message"].as_str().unwrap();
    assert!(
        message.contains("slice a has no steering/resolver"),
        "{message}"
    );
    let bad = onboard(&instance, &json!("text"), json!({})).await;
    assert_eq!(error(bad).await["error-app-tag"], "bad-descriptor");
    let nowhere = onboard(&instance, &descriptor(), json!({ "slice": "none" })).await;
    assert!(nowhere.status().is_client_error());
    assert!(rules(&site, 1).await.is_empty());
    let taken = onboard(&instance, &dns, json!({ "without-dns": [null] })).await;
    assert_eq!(taken.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_of_the_documentation_are_taken() {
    let (site, instance) = two().await;
    let inspected = include_str!("../../../examples/steering/inspected.json");
    let inspected: Value = serde_json::from_str(&inspected.replace("edge-1", "node-1")).unwrap();
    let posted = instance.send(Method::POST, SLICES, &inspected).await;
    assert_eq!(posted.status(), 201, "{}", posted.text().await.unwrap());
    assert_eq!(rules(&site, 0).await, ["city-cam.uplink"]);
    assert_eq!(instance.delete(SLICES).await.status(), 204);
    let example = include_str!("../../../examples/steering/slice.json").replace("edge-1", "node-1");
    let example: Value = serde_json::from_str(&example).unwrap();
    let posted = instance.send(Method::POST, SLICES, &example).await;
    assert_eq!(posted.status(), 201, "{}", posted.text().await.unwrap());
    let descriptor = include_str!("../../../examples/steering/video-cache.json");
    let descriptor: Value = serde_json::from_str(descriptor).unwrap();
    let place = json!({ "slice": "city-cam", "node": ["node-1"] });
    let taken = onboard(&instance, &descriptor, place).await;
    assert_eq!(taken.status(), 200, "{}", taken.text().await.unwrap());
    let names = rules(&site, 0).await;
    assert_eq!(names.len(), 8, "{names:?}");
    assert_eq!(names[0], "city-cam.video_dns_1");
    assert_eq!(names[7], "city-cam.uplink");
    let running = site.running(0).await;
    assert!(
        running.contains("<record><name>cache.video.example</name><type>A</type>"),
        "{running}"
    );
}

/// A slice whose users are answered: by a record of its own, and by those of applications.
fn with_resolver() -> Value {
    let mut steering = steering();
    steering["resolver"] = json!({
        "port": "dns0", "address": ["10.53.0.1"], "client": ["10.60.0.0/16"], "forward": { "server": ["10.0.0.53"] },
        "record": [{ "name": "own.example", "type": "A", "address": "10.9.0.1" }],
    });
    let back = json!({
        "name": "back", "match": { "in-port": "app1", "destination-prefix": "10.60.0.0/16" },
        "forward": { "out-port": "ran0", "encapsulate": { "teid": 9, "local-address": "10.0.0.1", "peer-address": "10.0.0.2" } },
    });
    steering["rule"].as_array_mut().unwrap().push(back);
    steering
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_an_application_are_answered_at_the_node_that_runs_it() {
    let (site, instance) = two().await;
    put(&instance, &[steered("a", with_resolver())]).await;
    assert!(!site.running(1).await.contains("<resolver>"));
    let mut named = descriptor();
    named["appDNSRule"] = json!([
        { "dnsRuleId": "d1", "domainName": "Cache.Example.", "ipAddressType": "IP_V4", "ipAddress": "192.0.2.1", "ttl": 60 },
        { "dnsRuleId": "d2", "domainName": "*.cdn.example", "ipAddressType": "IP_V6", "ipAddress": "fd00::1", "state": "INACTIVE" },
    ]);
    let taken = onboard(&instance, &named, json!({ "app-port": "app1" })).await;
    assert_eq!(taken.status(), 200, "{}", taken.text().await.unwrap());
    let running = site.running(1).await;
    for part in [
        "<slice>a</slice><owner>tranche-controller</owner><port>dns0</port>",
        "<record><name>cache.example</name><type>A</type><address>192.0.2.1</address><ttl>60</ttl></record>",
        "<record><name>own.example</name>",
        "<inner-destination-prefix>10.53.0.1/32</inner-destination-prefix>",
        "<out-port>dns0</out-port><to-other-end/>",
    ] {
        assert!(running.contains(part), "{part} in {running}");
    }
    assert!(!running.contains("cdn.example") && !site.running(0).await.contains("<resolver>"));
    assert_eq!(
        rules(&site, 1).await[..2],
        ["a.video_dns_1", "a.video_dns_2"]
    );
    let state = until_active(&instance, "a").await;
    let nodes = &state["steering"]["node"];
    let mut seen = nodes[1]["resolver"].clone();
    let since = seen.as_object_mut().unwrap().remove("discontinuity-time");
    assert!(since.is_some_and(|since| since.is_string()), "{seen}");
    let expected = json!({ "is-there": true, "oper-state": "up", "answered": "0", "forwarded": "0",
                           "refused": "0", "failed": "0", "ignored": "0", "limited": "0" });
    assert_eq!(seen, expected);
    assert!(nodes[0].get("resolver").is_none());
    // Somebody takes it away, and it comes back.
    edit(
        &site,
        1,
        "<resolver nc:operation=\"delete\"><slice>a</slice></resolver>",
    )
    .await;
    let begin = Instant::now();
    while !site.running(1).await.contains("<resolver>") {
        assert!(begin.elapsed() < PATIENCE);
        sleep(Duration::from_millis(50)).await;
    }
    // The other rule becomes active, a second one for a name is refused.
    let rule = "tranche-mec:mec/application=video/appDNSRule";
    let active = json!({ "tranche-mec:appDNSRule": [{ "dnsRuleId": "d2", "state": "ACTIVE" }] });
    let patched = instance
        .send(Method::PATCH, &format!("{rule}=d2"), &active)
        .await;
    assert_eq!(patched.status(), 204);
    assert!(
        site.running(1)
            .await
            .contains("<record><name>*.cdn.example</name><type>AAAA</type>")
    );
    let twice = json!({ "tranche-mec:appDNSRule": [{
        "dnsRuleId": "d3", "domainName": "OWN.example", "ipAddressType": "IP_V4", "ipAddress": "192.0.2.9" }] });
    let told = error(
        instance
            .send(Method::POST, "tranche-mec:mec/application=video", &twice)
            .await,
    )
    .await;
    assert_eq!(
        told["error-path"],
        "/tranche-mec:mec/application[name='video']/appDNSRule[dnsRuleId='d3']/domainName"
    );
    let bad =
        json!({ "tranche-mec:appDNSRule": [{ "dnsRuleId": "d1", "ttl": 2_147_483_648_u32 }] });
    let told = error(
        instance
            .send(Method::PATCH, &format!("{rule}=d1"), &bad)
            .await,
    )
    .await;
    assert_eq!(told["error-tag"], "invalid-value");
    assert!(
        told["error-path"].as_str().unwrap().ends_with("/ttl"),
        "{told}"
    );
    let gone = instance.delete("tranche-mec:mec/application=video").await;
    assert_eq!(gone.status(), 204);
    assert!(!site.running(1).await.contains("<resolver>"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_traffic_rule_without_a_filter_is_refused_at_the_filter() {
    let (_site, instance) = two().await;
    put(&instance, &[slice("a", "10.0")]).await;
    let mut without = descriptor();
    let rule = without["appTrafficRule"][0].as_object_mut().unwrap();
    rule.remove("trafficFilter");
    let told = error(onboard(&instance, &without, json!({})).await).await;
    assert_eq!(
        told["error-path"],
        "/tranche-mec:mec/application[name='video']/appTrafficRule[trafficRuleId='cache']/trafficFilter",
        "{told}"
    );
    let message = told["error-message"].as_str().unwrap();
    assert!(message.contains("every packet of the node"), "{message}");
}
