use super::*;
use crate::intent::ErrorKind;
use serde_json::{Value, json};

fn application(access: &str, rule: Value) -> Application {
    serde_json::from_value(json!({
        "name": "app", "slice": "a", "node": ["n1"], "user-port": "ran0", "app-port": "app0",
        "access": access, "appTrafficRule": [rule],
    }))
    .unwrap()
}

/// A rule whose only filter is this one.
fn rule(kind: &str, action: &str, mut filter: Value) -> Value {
    filter["index"] = 1.into();
    json!({ "trafficRuleId": "r", "filterType": kind, "priority": 1, "action": action, "trafficFilter": [filter] })
}

fn with(mut rule: Value, mut interface: Value) -> Value {
    interface["index"] = 1.into();
    rule["dstInterface"] = json!([interface]);
    rule
}

fn mapped(access: &str, rule: Value) -> Vec<Value> {
    let application = application(access, rule);
    let rules = rules([&application].into_iter()).unwrap();
    let shown = |one: SliceRule| {
        let mut value = serde_json::to_value(&one.rule).unwrap();
        let members = value.as_object_mut().unwrap();
        members.remove("slice");
        value
    };
    rules.into_iter().map(shown).collect()
}

const TUNNEL: &str = "GTP_U";

fn tunnel(kind: &str) -> Value {
    json!({ "interfaceType": "TUNNEL", "tunnelInfo": {
        "tunnelType": kind, "tunnelDstAddress": "10.0.0.2", "tunnelSrcAddress": "10.0.0.1",
        "tunnelSpecificData": { "teid": 5, "qfi": 9 } } })
}

#[test]
fn every_action_that_steering_has_becomes_its_rule() {
    let to = json!({ "dstAddress": ["10.9.0.0/16"] });
    let tunnelled = |more: Value| {
        let mut rule = json!({ "name": "app_r_1", "match": { "in-port": "ran0", "gtp": { "inner-destination-prefix": "10.9.0.0/16" } } });
        for (name, value) in more.as_object().unwrap() {
            rule[name] = value.clone();
        }
        vec![rule]
    };
    let packet = |action: &str| rule("PACKET", action, to.clone());
    assert_eq!(
        mapped("gtp-u", packet("DROP")),
        tunnelled(json!({ "drop": [null] }))
    );
    assert_eq!(
        mapped("gtp-u", packet("PASSTHROUGH")),
        tunnelled(json!({ "pass": [null] }))
    );
    assert_eq!(
        mapped("gtp-u", packet("FORWARD_DECAPSULATED")),
        tunnelled(json!({ "end-gtp": [null], "forward": { "out-port": "app0" } }))
    );
    assert_eq!(
        mapped("gtp-u", packet("FORWARD_ENCAPSULATED")),
        tunnelled(json!({ "forward": { "out-port": "app0" } }))
    );
    let other = with(packet("FORWARD_ENCAPSULATED"), tunnel(TUNNEL));
    assert_eq!(
        mapped("gtp-u", other),
        tunnelled(
            json!({ "end-gtp": [null], "forward": { "out-port": "app0", "encapsulate": {
            "teid": 5, "local-address": "10.0.0.1", "peer-address": "10.0.0.2", "qfi": 9, "direction": "downlink" } } })
        )
    );
    assert_eq!(
        mapped("plain", packet("FORWARD_DECAPSULATED")),
        [
            json!({ "name": "app_r_1", "match": { "in-port": "ran0", "destination-prefix": "10.9.0.0/16" }, "forward": { "out-port": "app0" } })
        ]
    );
}

#[test]
fn a_flow_is_also_what_answers() {
    let filter = json!({ "dstAddress": ["10.9.0.1"], "protocol": ["6"], "dstPort": ["443"] });
    assert_eq!(
        mapped("plain", rule("FLOW", "FORWARD_DECAPSULATED", filter)),
        [
            json!({ "name": "app_r_1", "match": { "in-port": "ran0", "destination-prefix": "10.9.0.1/32", "protocol": 6, "destination-port": 443 },
                    "forward": { "out-port": "app0" } }),
            json!({ "name": "app_r_2", "match": { "in-port": "app0", "source-prefix": "10.9.0.1/32", "protocol": 6, "source-port": 443 },
                    "forward": { "out-port": "ran0" } }),
        ]
    );
    let dropped = mapped(
        "gtp-u",
        rule("FLOW", "DROP", json!({ "dstAddress": ["10.9.0.1"] })),
    );
    assert_eq!(
        dropped[1],
        json!({ "name": "app_r_2", "match": { "gtp": { "inner-source-prefix": "10.9.0.1/32" } }, "drop": [null] })
    );
}

#[test]
fn a_filter_is_all_combinations_of_its_values() {
    let filter = json!({ "srcAddress": ["10.1.0.0/16", "10.2.0.0/16"], "dstPort": ["80", "443"], "protocol": ["6"], "tag": ["7"], "dSCP": 46 });
    let rules = mapped("plain", rule("PACKET", "DROP", filter));
    let found: BTreeSet<String> = rules
        .iter()
        .map(|rule| {
            let matching = &rule["match"];
            assert_eq!(
                (&matching["vlan-id"], &matching["dscp"]),
                (&json!(7), &json!(46))
            );
            format!(
                "{} {}",
                matching["source-prefix"].as_str().unwrap(),
                matching["destination-port"]
            )
        })
        .collect();
    let wanted = [
        "10.1.0.0/16 443",
        "10.1.0.0/16 80",
        "10.2.0.0/16 443",
        "10.2.0.0/16 80",
    ];
    assert_eq!(found.into_iter().collect::<Vec<_>>(), wanted);
}

#[test]
fn a_range_of_ports_is_one_rule() {
    let filter = json!({ "dstPort": ["8000-8010", "443"], "protocol": ["6"] });
    let rules = mapped("plain", rule("FLOW", "FORWARD_DECAPSULATED", filter));
    assert_eq!(rules.len(), 4);
    let range = json!({ "lower-port": 8000, "upper-port": 8010 });
    assert_eq!(rules[0]["match"]["destination-port-range"], range);
    assert_eq!(rules[1]["match"]["source-port-range"], range);
    assert_eq!(rules[2]["match"]["destination-port"], 443);
}

#[test]
fn the_tunnels_own_addresses_are_matched_outside() {
    let filter = json!({ "srcTunnelAddress": ["10.0.0.5"], "tgtTunnelAddress": ["10.0.0.1"], "srcTunnelPort": ["4000"], "dstTunnelPort": ["2152"] });
    let rules = mapped("gtp-u", rule("PACKET", "DROP", filter));
    assert_eq!(
        rules[0]["match"],
        json!({ "in-port": "ran0", "source-prefix": "10.0.0.5/32", "destination-prefix": "10.0.0.1/32", "source-port": 4000, "gtp": {} })
    );
}

#[test]
fn what_steering_cannot_do_is_refused_at_its_field() {
    let filter = |member: &str, value: Value| json!({ member: value });
    let decapsulated =
        |interface: Value| with(rule("PACKET", "FORWARD_DECAPSULATED", json!({})), interface);
    let mut unnamed = rule("PACKET", "DROP", json!({}));
    unnamed["trafficRuleId"] = "a b".into();
    let mut without = rule("PACKET", "DROP", json!({}));
    without["trafficFilter"] = json!([]);
    let many: Vec<String> = (0..65).map(|n| n.to_string()).collect();
    let at = "/trafficFilter[index='1']";
    let cases = [
        (
            "plain",
            rule("PACKET", "DROP", filter("uri", json!(["a.example"]))),
            format!("{at}/uri"),
        ),
        (
            "plain",
            rule("PACKET", "DROP", filter("packetLabel", json!(["x"]))),
            format!("{at}/packetLabel"),
        ),
        (
            "plain",
            rule("PACKET", "DROP", filter("qCI", json!(9))),
            format!("{at}/qCI"),
        ),
        (
            "plain",
            rule("PACKET", "DROP", filter("tC", json!(9))),
            format!("{at}/tC"),
        ),
        (
            "plain",
            rule("PACKET", "DROP", filter("dSCP", json!(64))),
            format!("{at}/dSCP"),
        ),
        (
            "plain",
            rule(
                "PACKET",
                "DROP",
                filter("srcAddress", json!(["10.0.0.1/8"])),
            ),
            format!("{at}/srcAddress[.='10.0.0.1/8']"),
        ),
        (
            "plain",
            rule("PACKET", "DROP", filter("dstPort", json!(["http"]))),
            format!("{at}/dstPort[.='http']"),
        ),
        (
            "plain",
            rule("PACKET", "DROP", filter("srcPort", json!(["90-80"]))),
            format!("{at}/srcPort[.='90-80']"),
        ),
        (
            "plain",
            rule("PACKET", "DROP", filter("dstPort", json!(many))),
            format!("{at}/dstPort"),
        ),
        (
            "plain",
            rule("PACKET", "DROP", filter("tag", json!(["4095"]))),
            format!("{at}/tag[.='4095']"),
        ),
        (
            "plain",
            rule(
                "PACKET",
                "DROP",
                filter("srcTunnelAddress", json!(["10.0.0.1"])),
            ),
            format!("{at}/srcTunnelAddress"),
        ),
        (
            "gtp-u",
            rule("PACKET", "DROP", filter("dstPort", json!(["80"]))),
            format!("{at}/dstPort"),
        ),
        (
            "gtp-u",
            rule("PACKET", "DROP", filter("protocol", json!(["6"]))),
            format!("{at}/protocol"),
        ),
        (
            "gtp-u",
            rule("PACKET", "DROP", filter("dstTunnelPort", json!(["2153"]))),
            format!("{at}/dstTunnelPort"),
        ),
        (
            "plain",
            rule("PACKET", "DUPLICATE_DECAPSULATED", json!({})),
            "/action".into(),
        ),
        (
            "plain",
            rule("PACKET", "DUPLICATE_ENCAPSULATED", json!({})),
            "/action".into(),
        ),
        (
            "plain",
            rule("PACKET", "FORWARD_ENCAPSULATED", json!({})),
            "/action".into(),
        ),
        (
            "gtp-u",
            rule("FLOW", "FORWARD_DECAPSULATED", json!({})),
            "/filterType".into(),
        ),
        (
            "gtp-u",
            with(
                rule("FLOW", "FORWARD_ENCAPSULATED", json!({})),
                tunnel(TUNNEL),
            ),
            "/filterType".into(),
        ),
        (
            "gtp-u",
            with(
                rule("PACKET", "FORWARD_ENCAPSULATED", json!({})),
                tunnel("GRE"),
            ),
            "/dstInterface[index='1']/tunnelInfo/tunnelType".into(),
        ),
        (
            "gtp-u",
            decapsulated(tunnel(TUNNEL)),
            "/dstInterface[index='1']/interfaceType".into(),
        ),
        (
            "gtp-u",
            decapsulated(json!({ "interfaceType": "IP", "dstIpAddress": "10.0.0.9" })),
            "/dstInterface[index='1']/interfaceType".into(),
        ),
        (
            "gtp-u",
            decapsulated(json!({ "interfaceType": "MAC", "srcMacAddress": "02:00:00:00:00:01" })),
            "/dstInterface[index='1']/srcMacAddress".into(),
        ),
        (
            "gtp-u",
            with(
                rule("PACKET", "DROP", json!({})),
                json!({ "interfaceType": "MAC" }),
            ),
            "/dstInterface[index='1']".into(),
        ),
        ("plain", unnamed, "/trafficRuleId".into()),
        ("plain", without, "/trafficFilter".into()),
    ];
    for (access, rule, below) in cases {
        let application = application(access, rule.clone());
        let errors =
            rules([&application].into_iter()).expect_err(&format!("{rule} must be refused"));
        let id = rule["trafficRuleId"].as_str().unwrap();
        assert_eq!(
            errors[0].path,
            format!(
                "/tranche-mec:mec/application[name='app']/appTrafficRule[trafficRuleId='{id}']{below}"
            )
        );
        assert_eq!(errors[0].kind, ErrorKind::MecUnsupported);
    }
}
