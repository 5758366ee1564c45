use serde_json::{Value, json};

use super::*;
use crate::check;

/// A rule that sends what matches to the resolver of a slice.
fn ask(slice: &str, matching: Value) -> Value {
    let is_inside = matching.get("gtp").is_some();
    let mut rule = json!({
        "name": format!("{slice}.ask"), "slice": slice, "match": matching,
        "forward": { "out-port": format!("dns-{slice}"), "to-other-end": [null] },
    });
    if is_inside {
        rule["end-gtp"] = json!([null]);
    }
    rule
}

/// What is in a tunnel, from a prefix to the resolvers' address.
fn inside(source: &str, more: Value) -> Value {
    let mut matching = json!({ "in-port": "ran0", "gtp": { "inner-source-prefix": source, "inner-destination-prefix": "10.53.0.1/32" } });
    for (name, value) in more.as_object().unwrap() {
        match name.as_str() {
            "teid" | "message-type" => matching["gtp"][name] = value.clone(),
            _ => matching[name] = value.clone(),
        }
    }
    matching
}

/// What the check says of slices by their clients, all with a resolver at one address, and of the rules.
fn checked(clients: &[(&str, &str)], rules: Vec<Value>) -> Result<(), Fault> {
    let resolver = |(slice, client): &(&str, &str)| {
        let address = if client.contains(':') {
            "fd00::53"
        } else {
            "10.53.0.1"
        };
        json!({ "slice": slice, "port": format!("dns-{slice}"), "address": [address], "client": [client] })
    };
    let mut ports: Vec<Value> = ["ran0", "ran1", "app0"]
        .iter()
        .map(|name| json!({ "name": name }))
        .collect();
    ports.extend(
        clients
            .iter()
            .map(|(slice, _)| json!({ "name": format!("dns-{slice}") })),
    );
    let config = json!({
        "port": ports, "rule": rules, "resolver": clients.iter().map(resolver).collect::<Vec<_>>(),
        "chain": [{ "name": "c", "on-failure": "close", "application": [{ "name": "x", "port": "app0" }],
                    "forward": { "out-port": "dns-a" } }],
    });
    check(&serde_json::from_value(config).unwrap())
}

/// The path below the steering of a node at which it is refused.
fn refused(clients: &[(&str, &str)], rules: Vec<Value>) -> String {
    let fault = checked(clients, rules).expect_err("must be refused");
    assert_eq!(fault.kind, FaultKind::ResolverClash, "{fault}");
    fault
        .path
        .strip_prefix("/tranche-steering:steering")
        .unwrap()
        .to_owned()
}

const WIDE: &str = "172.16.0.0/16";
const NARROW: &str = "172.16.5.0/24";

#[test]
fn clients_of_two_resolvers_that_only_their_addresses_tell_apart_must_not_overlap() {
    for (first, second) in [(NARROW, WIDE), (WIDE, NARROW), (WIDE, WIDE)] {
        let rules = vec![
            ask("a", inside(first, json!({}))),
            ask("b", inside(second, json!({}))),
        ];
        let path = refused(&[("a", first), ("b", second)], rules);
        assert_eq!(path, format!("/resolver[slice='b']/client[.='{second}']"));
        let plain = |source: &str| json!({ "in-port": "ran0", "source-prefix": source, "destination-prefix": "10.53.0.1/32" });
        let rules = vec![ask("a", plain(first)), ask("b", plain(second))];
        let path = refused(&[("a", first), ("b", second)], rules);
        assert_eq!(path, format!("/resolver[slice='b']/client[.='{second}']"));
    }
    let fault = checked(
        &[("a", NARROW), ("b", WIDE)],
        vec![
            ask("a", inside(NARROW, json!({}))),
            ask("b", inside(WIDE, json!({}))),
        ],
    );
    assert_eq!(
        fault.unwrap_err().message,
        "rule a.ask sends queries of users in 172.16.0.0/16 for 10.53.0.1 to the resolver of slice a, before rule b.ask could \
         send them to that of slice b: nothing but their addresses tells the users apart"
    );
    // Whoever is first in the order of the rules gets them, whatever the order of the resolvers.
    let rules = vec![
        ask("b", inside(WIDE, json!({}))),
        ask("a", inside(NARROW, json!({}))),
    ];
    let path = refused(&[("a", NARROW), ("b", WIDE)], rules);
    assert_eq!(path, "/resolver[slice='a']/client[.='172.16.5.0/24']");
}

#[test]
fn rules_that_look_at_less_than_the_clients_take_the_queries_of_others_too() {
    let all = json!({ "in-port": "ran0", "gtp": { "inner-destination-prefix": "10.53.0.1/32" } });
    let clients = [("a", "172.16.0.0/16"), ("b", "172.17.0.0/16")];
    let rules = vec![
        ask("a", all.clone()),
        ask("b", inside("172.17.0.0/16", json!({}))),
    ];
    assert_eq!(
        refused(&clients, rules),
        "/resolver[slice='b']/client[.='172.17.0.0/16']"
    );
    // Asked last, it gets what nobody else's clients ask.
    let rules = vec![ask("b", inside("172.17.0.0/16", json!({}))), ask("a", all)];
    checked(&clients, rules).unwrap();
    // Some of the queries are enough: those over UDP, those of any port, those behind a chain.
    let plain = |more: Value| {
        let mut all = json!({ "in-port": "ran0", "source-prefix": WIDE, "destination-prefix": "10.53.0.1/32" });
        all.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        all
    };
    let both = [("a", WIDE), ("b", WIDE)];
    let rules = vec![
        ask(
            "a",
            plain(json!({ "protocol": 17, "destination-port": 53 })),
        ),
        ask("b", plain(json!({}))),
    ];
    refused(&both, rules);
    let mut through = ask("a", plain(json!({})));
    through.as_object_mut().unwrap().remove("forward");
    through["chain"] = json!("c");
    refused(&both, vec![through, ask("b", plain(json!({})))]);
    let ranges =
        json!({ "protocol": 17, "source-port-range": { "lower-port": 1000, "upper-port": 2000 } });
    refused(
        &both,
        vec![
            ask("a", plain(ranges)),
            ask("b", plain(json!({ "protocol": 17 }))),
        ],
    );
    refused(
        &both,
        vec![
            ask("a", inside(WIDE, json!({ "message-type": 255 }))),
            ask("b", inside(WIDE, json!({}))),
        ],
    );
}

#[test]
fn users_that_something_else_tells_apart_may_have_the_same_addresses() {
    let clients = [("a", WIDE), ("b", WIDE)];
    let apart = [
        (json!({}), json!({ "in-port": "ran1" })),
        (json!({ "teid": 7 }), json!({ "teid": 8 })),
        (json!({ "vlan-id": 5 }), json!({ "vlan-id": 6 })),
        (
            json!({ "source-mac": "02:00:00:00:00:01" }),
            json!({ "source-mac": "02:00:00:00:00:02" }),
        ),
        (
            json!({ "source-prefix": "10.0.0.2/32" }),
            json!({ "source-prefix": "10.0.0.3/32" }),
        ),
        // What is looked at first is of the one, and all the rest of the other.
        (json!({ "teid": 7 }), json!({})),
        (json!({ "vlan-id": 5 }), json!({})),
    ];
    for (first, second) in apart {
        let rules = vec![
            ask("a", inside(WIDE, first)),
            ask("b", inside(WIDE, second)),
        ];
        checked(&clients, rules.clone()).unwrap_or_else(|fault| panic!("{fault}: {rules:?}"));
    }
    // The other way round the one with all the rest takes everything.
    let rules = vec![
        ask("a", inside(WIDE, json!({}))),
        ask("b", inside(WIDE, json!({ "teid": 7 }))),
    ];
    refused(&clients, rules);
}

#[test]
fn resolvers_with_other_clients_or_addresses_do_not_meet() {
    let rules = |one: &str, other: &str| {
        vec![
            ask("a", inside(one, json!({}))),
            ask("b", inside(other, json!({}))),
        ]
    };
    let (one, other) = ("172.16.0.0/17", "172.16.128.0/17");
    checked(&[("a", one), ("b", other)], rules(one, other)).unwrap();
    // A rule may send more than is asked by the clients of its own resolver, if nobody else is a client.
    let narrow = inside(NARROW, json!({}));
    checked(
        &[("a", one), ("b", other)],
        vec![ask("a", narrow), ask("b", inside(WIDE, json!({})))],
    )
    .unwrap();
    // Of another family, and at another address.
    let v6 = json!({ "in-port": "ran0", "gtp": { "inner-source-prefix": "fd01::/64" } });
    checked(
        &[("a", WIDE), ("b", "fd01::/64")],
        vec![ask("a", inside(WIDE, json!({}))), ask("b", v6)],
    )
    .unwrap();
    let mut elsewhere = inside(WIDE, json!({}));
    elsewhere["gtp"]["inner-destination-prefix"] = json!("10.53.0.9/32");
    checked(
        &[("a", WIDE), ("b", WIDE)],
        vec![ask("a", elsewhere), ask("b", inside(WIDE, json!({})))],
    )
    .unwrap();
    // One slice may send to its resolver by several rules.
    let mut more = ask("a", inside(NARROW, json!({})));
    more["name"] = json!("a.more");
    checked(
        &[("a", WIDE)],
        vec![more, ask("a", inside(WIDE, json!({})))],
    )
    .unwrap();
}

#[test]
fn as_many_rules_as_a_node_has_room_for_are_compared() {
    let of = |number: usize| {
        let slice = ["a", "b"][number % 2];
        let mut rule = ask(slice, inside(WIDE, json!({ "teid": number })));
        rule["name"] = json!(format!("{slice}.{number}"));
        rule
    };
    let mut rules: Vec<Value> = (1..crate::RULES).map(of).collect();
    checked(&[("a", WIDE), ("b", WIDE)], rules.clone()).unwrap();
    rules.insert(0, ask("b", inside(NARROW, json!({}))));
    assert_eq!(
        refused(&[("a", WIDE), ("b", WIDE)], rules),
        "/resolver[slice='a']/client[.='172.16.0.0/16']"
    );
}
