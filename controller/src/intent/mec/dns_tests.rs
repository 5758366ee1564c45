use super::*;
use crate::intent::Intent;
use serde_json::{Value, json};

/// A slice with a resolver, with a rule that puts what comes from the application into a user's tunnel and one that does not.
fn slice() -> Slice {
    let slice = json!({ "slice": [{
        "id": "a", "tenant": "t", "where": { "node": ["n1"] },
        "steering": {
            "resolver": { "port": "dns0", "address": ["10.53.0.1", "fd00::53"], "client": ["10.60.0.0/16"] },
            "rule": [
                { "name": "back", "match": { "in-port": "app0", "destination-prefix": "10.60.0.9/32" },
                  "forward": { "out-port": "ran0", "encapsulate": { "teid": 9, "local-address": "10.0.0.1", "peer-address": "10.0.0.2" } } },
                { "name": "out", "match": { "in-port": "app0" }, "forward": { "out-port": "core0" } },
            ],
        },
    }] });
    let mut intent = Intent::from_json(&slice).unwrap();
    intent.slices.remove("a").unwrap()
}

fn application(access: &str, name: &str, address: &str) -> Value {
    json!({
        "name": "app", "slice": "a", "node": ["n1"], "user-port": "ran0", "app-port": "app0", "access": access,
        "appDNSRule": [{ "dnsRuleId": "d", "domainName": name, "ipAddressType": "IP_V4", "ipAddress": address, "ttl": 60 }],
    })
}

fn of(
    applications: &[Value],
    slice: &Slice,
) -> Result<(Vec<SliceRule>, Vec<SliceRecord>), (String, ErrorKind)> {
    let applications: Vec<Application> = applications
        .iter()
        .map(|one| serde_json::from_value(one.clone()).unwrap())
        .collect();
    names(applications.iter(), slice).map_err(|errors| (errors[0].path.clone(), errors[0].kind))
}

fn shown(rules: &[SliceRule]) -> Vec<Value> {
    let shown = |one: &SliceRule| {
        let mut value = serde_json::to_value(&one.rule).unwrap();
        value.as_object_mut().unwrap().remove("slice");
        value
    };
    rules.iter().map(shown).collect()
}

#[test]
fn a_name_becomes_a_record_and_the_ways_of_queries_and_answers() {
    let (rules, records) = of(
        &[application("gtp-u", "Video.Example.", "10.9.0.7")],
        &slice(),
    )
    .unwrap();
    let record = &records[0].record;
    assert_eq!(
        (record.name.as_str(), record.kind, record.ttl),
        ("video.example", RecordType::A, 60)
    );
    assert_eq!(
        records[0].origin,
        "/tranche-mec:mec/application[name='app']/appDNSRule[dnsRuleId='d']"
    );
    assert_eq!(
        shown(&rules),
        [
            json!({ "name": "app_dns_1", "end-gtp": [null], "forward": { "out-port": "dns0", "to-other-end": [null] },
                    "match": { "in-port": "ran0", "gtp": { "inner-source-prefix": "10.60.0.0/16", "inner-destination-prefix": "10.53.0.1/32" } } }),
            json!({ "name": "app_dns_2", "match": { "in-port": "dns0", "destination-prefix": "10.60.0.9/32" },
                    "forward": { "out-port": "ran0", "encapsulate": {
                        "teid": 9, "local-address": "10.0.0.1", "peer-address": "10.0.0.2", "direction": "downlink" } } }),
        ]
    );
}

#[test]
fn users_without_a_tunnel_are_answered_at_their_router() {
    let mut plain = application("plain", "*.video.example", "10.9.0.7");
    plain["user-mac"] = "02:00:00:00:00:09".into();
    let (rules, _) = of(&[plain], &slice()).unwrap();
    assert_eq!(
        shown(&rules),
        [
            json!({ "name": "app_dns_1", "forward": { "out-port": "dns0", "to-other-end": [null] },
                    "match": { "in-port": "ran0", "source-prefix": "10.60.0.0/16", "destination-prefix": "10.53.0.1/32" } }),
            json!({ "name": "app_dns_2", "forward": { "out-port": "ran0", "destination-mac": "02:00:00:00:00:09" },
                    "match": { "in-port": "dns0", "source-prefix": "10.53.0.1/32", "destination-prefix": "10.60.0.0/16" } }),
        ]
    );
}

#[test]
fn applications_of_one_slice_share_the_ways_and_what_is_inactive_is_nothing() {
    let first = application("gtp-u", "video.example", "10.9.0.7");
    let mut second = application("gtp-u", "map.example", "10.9.0.8");
    second["name"] = "map".into();
    second["node"] = json!(["n2"]);
    let (rules, records) = of(&[first.clone(), second.clone()], &slice()).unwrap();
    assert_eq!((rules.len(), records.len()), (2, 2));
    assert!(
        rules
            .iter()
            .all(|rule| rule.nodes == BTreeSet::from(["n1", "n2"].map(str::to_owned)))
    );
    second["appDNSRule"][0]["state"] = "INACTIVE".into();
    let (rules, records) = of(&[second], &slice()).unwrap();
    assert!(rules.is_empty() && records.is_empty());
}

#[test]
fn what_makes_no_sense_is_refused_at_its_field() {
    let path = |field: &str| {
        format!("/tranche-mec:mec/application[name='app']/appDNSRule[dnsRuleId='d']{field}")
    };
    let cases = [
        ("-video.example", "10.9.0.7", "/domainName"),
        ("video..example", "10.9.0.7", "/domainName"),
        ("video.example", "fd00::7", "/ipAddress"),
        ("video.example", "10.9.0.300", "/ipAddress"),
    ];
    for (name, address, field) in cases {
        let refused = of(&[application("gtp-u", name, address)], &slice()).unwrap_err();
        assert_eq!(
            refused,
            (path(field), ErrorKind::BadSteering),
            "{name} {address}"
        );
    }
    let sound = application("gtp-u", "video.example", "10.9.0.7");
    let mut alone = slice();
    alone.steering.resolver = None;
    assert_eq!(
        of(std::slice::from_ref(&sound), &alone).unwrap_err(),
        (path(""), ErrorKind::MecUnsupported)
    );
    let mut one_way = slice();
    one_way.steering.rules.remove(0);
    assert_eq!(
        of(&[sound], &one_way).unwrap_err(),
        (path(""), ErrorKind::BadSteering)
    );
    let plain = application("plain", "video.example", "10.9.0.7");
    assert_eq!(
        of(&[plain], &slice()).unwrap_err(),
        (path(""), ErrorKind::BadSteering)
    );
}
