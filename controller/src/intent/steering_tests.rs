use super::*;
use crate::intent::{NodeSteering, compile};
use crate::inventory::Inventory;
use serde_json::{Value, json};
use tranche_steering::SteeringConfig;

fn inventory(labels: &[(&str, &str)]) -> Inventory {
    let node = |(name, label): &(&str, &str)| json!({ "name": name, "address": "192.0.2.1", "credential": "c", "host-key": "SHA256:x", "label": [label] });
    let nodes: Vec<Value> = labels.iter().map(node).collect();
    let mut inventory = Inventory::from_json(&json!({ "node": nodes })).unwrap();
    for node in inventory.nodes.values_mut() {
        node.observed = Some(Observed::default());
    }
    inventory
}

/// Nodes n1 and n2 are edge, n3 is core.
fn three() -> Inventory {
    inventory(&[("n1", "edge"), ("n2", "edge"), ("n3", "core")])
}

fn slice(id: &str, priority: u8, steering: Value) -> Value {
    json!({
        "id": id, "tenant": "t", "where": { "label": ["edge"] }, "sla": { "priority": priority },
        "wifi": { "ssid": id, "security": { "mode": "open" } }, "steering": steering,
    })
}

fn intent(slices: Vec<Value>) -> Intent {
    Intent::from_json(&json!({ "slice": slices })).unwrap()
}

fn tunnel(teid: u32) -> Value {
    json!({ "in-port": "ran0", "gtp": { "teid": teid } })
}

fn rule(name: &str, matching: Value, out: &str) -> Value {
    json!({ "name": name, "match": matching, "forward": { "out-port": out } })
}

fn compiled(slices: Vec<Value>, has: &Inventory) -> BTreeMap<NodeName, SteeringConfig> {
    compile_steering(&intent(slices), has, |_| true).unwrap()
}

/// The only fault: path below the slice's steering, kind, words.
fn refused(slices: Vec<Value>, has: &Inventory) -> (String, ErrorKind, String) {
    let errors = compile_steering(&intent(slices), has, |_| true).expect_err("must be refused");
    assert_eq!(errors.len(), 1, "{errors:#?}");
    let error = errors.into_iter().next().unwrap();
    (error.path, error.kind, error.message)
}

fn with_foreign(config: Value) -> Inventory {
    let mut inventory = three();
    let config = serde_json::from_value(config).unwrap();
    inventory.nodes.get_mut("n1").unwrap().observed = Some(Observed {
        steering: NodeSteering {
            config,
            ..NodeSteering::default()
        },
        ..Observed::default()
    });
    inventory
}

#[test]
fn rules_go_to_the_nodes_they_name_and_else_to_those_of_the_slice_with_the_ports_they_need() {
    let steering = json!({
        "port": [{ "name": "ran0", "gtp-address": ["10.0.0.1"] }, { "name": "unused0", "gtp-address": ["10.0.0.2"] }],
        "chain": [{ "name": "local", "on-failure": "bypass", "application": [{ "name": "cache", "port": "app0", "return-port": "app1" }],
                    "forward": { "out-port": "core0" } }],
        "rule": [
            { "name": "local", "match": tunnel(7), "end-gtp": [null], "chain": "local" },
            { "name": "far", "node": ["n3"], "match": tunnel(8), "drop": [null] },
        ],
    });
    let plans = compiled(vec![slice("a", 0, steering)], &three());
    assert_eq!(plans.keys().collect::<Vec<_>>(), ["n1", "n2", "n3"]);
    let at = |node: &str| {
        let plan = &plans[node];
        let names: Vec<&str> = plan.rules.iter().map(|one| one.name.as_str()).collect();
        let ports: Vec<&str> = plan.ports.iter().map(|one| one.name.as_str()).collect();
        (names.join(" "), ports.join(" "))
    };
    assert_eq!(at("n1"), ("a.local".into(), "app0 app1 core0 ran0".into()));
    assert_eq!(at("n3"), ("a.far".into(), "ran0".into()));
    let (rule, chain) = (&plans["n1"].rules[0], &plans["n1"].chains[0]);
    assert_eq!(
        (&*rule.slice, rule.owner.as_deref(), rule.chain.as_deref()),
        ("a", Some(OWNER), Some("a.local"))
    );
    assert_eq!(
        (&*chain.name, chain.owner.as_deref()),
        ("a.local", Some(OWNER))
    );
    let ran = plans["n3"].ports.iter().find(|port| port.name == "ran0");
    assert_eq!(ran.unwrap().gtp_addresses.len(), 1);
    assert!(plans["n3"].chains.is_empty());
}

#[test]
fn slices_are_asked_by_priority_and_then_by_id() {
    let of = |teid| json!({ "rule": [rule("two", tunnel(teid + 1), "core0"), rule("one", tunnel(teid), "core0")] });
    let slices = vec![
        slice("a", 0, of(10)),
        slice("b", 0, of(20)),
        slice("z", 5, of(30)),
    ];
    let plans = compiled(slices, &three());
    let names: Vec<&str> = plans["n1"]
        .rules
        .iter()
        .map(|one| one.name.as_str())
        .collect();
    assert_eq!(
        names,
        ["z.two", "z.one", "a.two", "a.one", "b.two", "b.one"]
    );
}

#[test]
fn what_a_node_would_refuse_is_refused_at_the_rule() {
    let one = |rule: Value| vec![slice("a", 0, json!({ "rule": [rule] }))];
    let cases = [
        (
            rule("x", json!({ "source-prefix": "10.0.0.1/8" }), "core0"),
            "/rule[name='x']/match/source-prefix",
            ErrorKind::BadSteering,
            "bits set beyond its length",
        ),
        (
            rule("x", json!({ "protocol": 1, "source-port": 5 }), "core0"),
            "/rule[name='x']/match/protocol",
            ErrorKind::BadSteering,
            "has no ports",
        ),
        (
            json!({ "name": "x", "chain": "none" }),
            "/rule[name='x']/chain",
            ErrorKind::BadSteering,
            "slice a has no chain none",
        ),
        (
            json!({ "name": "x", "end-gtp": [null], "drop": [null] }),
            "/rule[name='x']/end-gtp",
            ErrorKind::BadSteering,
            "forwarded or visit a chain",
        ),
        (
            json!({ "name": "x", "node": ["n9"], "drop": [null] }),
            "/rule[name='x']/node[.='n9']",
            ErrorKind::UnknownNode,
            "n9 is not in the inventory",
        ),
        (
            json!({ "name": "x", "label": ["moon"], "drop": [null] }),
            "/rule[name='x']/label[.='moon']",
            ErrorKind::SelectsNothing,
            "no enabled node has label moon",
        ),
        (
            json!({ "name": "x".repeat(63), "drop": [null] }),
            "/name",
            ErrorKind::NameTooLong,
            "longer than 63",
        ),
    ];
    for (rule, below, kind, words) in cases {
        let (path, found, message) = refused(one(rule), &three());
        assert!(
            path.starts_with("/tranche-slice:slices/slice[id='a']/steering/rule"),
            "{path}"
        );
        assert!(path.ends_with(below), "{path}");
        assert_eq!(found, kind, "{message}");
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn a_chain_that_makes_no_sense_is_refused_at_the_slice() {
    let steering = json!({
        "chain": [{ "name": "c", "on-failure": "bypass", "application": [{ "name": "x", "port": "app0" }], "classify": [null] }],
        "rule": [{ "name": "r", "chain": "c" }],
    });
    let (path, kind, _) = refused(vec![slice("a", 0, steering)], &three());
    assert_eq!(
        path,
        "/tranche-slice:slices/slice[id='a']/steering/chain[name='c']/on-failure"
    );
    assert_eq!(kind, ErrorKind::BadSteering);
}

#[test]
fn no_slice_takes_what_is_anothers() {
    let all = json!({ "rule": [rule("all", json!({ "in-port": "ran0" }), "core0")] });
    let user = json!({ "rule": [rule("user", tunnel(7), "app0")] });
    // Of two slices, the catch-all one is asked first.
    let (path, kind, message) = refused(
        vec![slice("a", 0, all.clone()), slice("b", 0, user.clone())],
        &three(),
    );
    assert_eq!(
        path,
        "/tranche-slice:slices/slice[id='b']/steering/rule[name='user']"
    );
    assert_eq!(kind, ErrorKind::RuleShadowed);
    assert!(message.contains("rule a.all of slice a"), "{message}");
    // Asked last it leaves the other its packets.
    let plans = compiled(
        vec![slice("a", 0, all), slice("b", 1, user.clone())],
        &three(),
    );
    assert_eq!(plans["n1"].rules.len(), 2);
    // A tunnel is of one slice.
    let more = json!({ "rule": [rule("more", json!({ "in-port": "ran0", "gtp": { "teid": 7, "message-type": 255 } }), "core0")] });
    let (path, kind, message) = refused(vec![slice("a", 0, more), slice("b", 0, user)], &three());
    assert_eq!(
        path,
        "/tranche-slice:slices/slice[id='b']/steering/rule[name='user']/match/gtp/teid"
    );
    assert_eq!(kind, ErrorKind::BadSteering);
    assert!(
        message.contains("TEID 7 is of slice a already"),
        "{message}"
    );
}

#[test]
fn what_is_somebody_elses_at_a_node_is_taken_into_account_and_not_touched() {
    let ours = |matching: Value| {
        vec![slice(
            "a",
            0,
            json!({
        "port": [{ "name": "ran0", "gtp-address": ["10.0.0.1"] }], "rule": [rule("r", matching, "core0")] }),
        )]
    };
    let foreign = |more: Value| {
        let mut config = json!({ "port": [{ "name": "ran0", "gtp-address": ["10.0.0.1"] }] });
        config["rule"] = json!([more]);
        with_foreign(config)
    };
    // Their port has the address: it is enough.
    let theirs =
        foreign(json!({ "name": "mine", "slice": "lab", "drop": [null], "match": tunnel(9) }));
    assert_eq!(compiled(ours(tunnel(7)), &theirs)["n1"].rules.len(), 1);
    let (path, kind, message) = refused(ours(tunnel(9)), &theirs);
    assert!(path.ends_with("/rule[name='r']/match/gtp/teid"), "{path}");
    assert_eq!(kind, ErrorKind::BadSteering);
    assert!(
        message.starts_with("node n1: TEID 9 is of slice lab already"),
        "{message}"
    );
    let theirs = foreign(json!({ "name": "a.r", "slice": "lab", "drop": [null] }));
    let (path, kind, message) = refused(ours(tunnel(7)), &theirs);
    assert!(path.ends_with("/steering/rule[name='r']"), "{path}");
    assert_eq!(kind, ErrorKind::NameClash);
    assert!(
        message.contains("a.r that belongs to somebody else"),
        "{message}"
    );
    let theirs = with_foreign(json!({ "port": [{ "name": "ran0" }] }));
    let (path, kind, _) = refused(ours(tunnel(7)), &theirs);
    assert!(
        path.ends_with("/steering/port[name='ran0']/gtp-address[.='10.0.0.1']"),
        "{path}"
    );
    assert_eq!(kind, ErrorKind::NameClash);
}

#[test]
fn a_node_that_was_never_read_holds_up_only_what_is_new() {
    let mut inventory = three();
    inventory.nodes.get_mut("n3").unwrap().observed = None;
    let slices = intent(vec![slice(
        "a",
        0,
        json!({ "rule": [
        { "name": "r", "node": ["n1", "n3"], "match": tunnel(7), "drop": [null] }] }),
    )]);
    let errors = compile_steering(&slices, &inventory, |_| true).unwrap_err();
    assert_eq!(errors[0].kind, ErrorKind::NodeNotRead);
    let plans = compile_steering(&slices, &inventory, |_| false).unwrap();
    assert_eq!(plans.keys().collect::<Vec<_>>(), ["n1"]);
}

#[test]
fn a_node_without_a_radio_may_be_one_of_a_slice_that_steers() {
    let steers = intent(vec![slice(
        "a",
        0,
        json!({ "rule": [rule("r", tunnel(7), "core0")] }),
    )]);
    assert!(compile(&steers, &three()).is_ok());
    let does_not = intent(vec![slice("a", 0, json!({}))]);
    assert!(compile(&does_not, &three()).is_err());
}

#[test]
fn a_resolver_is_where_a_rule_sends_to_it() {
    let resolver = json!({ "port": "dns0", "address": ["fd00::53", "10.53.0.1"], "client": ["10.60.0.0/16"],
        "record": [{ "name": "x.example", "type": "A", "address": "10.0.0.1" }] });
    let mut ask = rule("ask", tunnel(7), "dns0");
    ask["node"] = json!(["n1"]);
    let steering = json!({ "resolver": resolver, "rule": [ask, rule("rest", tunnel(8), "core0")] });
    let plans = compiled(vec![slice("a", 0, steering.clone())], &three());
    let [resolver] = &plans["n1"].resolvers[..] else {
        panic!("{plans:?}");
    };
    assert_eq!(
        (resolver.slice.as_str(), resolver.owner.as_deref()),
        ("a", Some(OWNER))
    );
    assert!(resolver.addresses.is_sorted());
    assert!(plans["n1"].ports.iter().any(|port| port.name == "dns0"));
    assert!(plans["n2"].resolvers.is_empty());
    // What the node would refuse is told at the slice.
    let mut bad = steering.clone();
    bad["resolver"]["record"][0]["address"] = "fd00::1".into();
    let (path, kind, _) = refused(vec![slice("a", 0, bad)], &three());
    assert_eq!(
        (path.as_str(), kind),
        (
            "/tranche-slice:slices/slice[id='a']/steering/resolver/record[name='x.example'][type='A']/address",
            ErrorKind::BadSteering
        )
    );
    let theirs = with_foreign(json!({
        "port": [{ "name": "dns9" }],
        "resolver": [{ "slice": "a", "port": "dns9", "address": ["10.53.0.9"], "client": ["10.0.0.0/8"] }],
    }));
    let (path, kind, _) = refused(vec![slice("a", 0, steering)], &theirs);
    assert_eq!(
        (path.as_str(), kind),
        (
            "/tranche-slice:slices/slice[id='a']/steering/resolver",
            ErrorKind::NameClash
        )
    );
}

#[test]
fn a_range_of_ports_that_another_slice_leaves_a_part_of_is_not_shadowed() {
    let ports = |lower: u16, upper: u16| json!({ "in-port": "ran0", "destination-port-range": { "lower-port": lower, "upper-port": upper } });
    let of = |id: &str, priority: u8, lower: u16, upper: u16| {
        slice(
            id,
            priority,
            json!({ "rule": [rule("r", ports(lower, upper), "core0")] }),
        )
    };
    let first = || of("a", 9, 1000, 1999);
    compiled(vec![first(), of("b", 1, 1500, 2000)], &three());
    let (path, kind, _) = refused(vec![first(), of("b", 1, 1500, 1600)], &three());
    assert_eq!(
        (path.as_str(), kind),
        (
            "/tranche-slice:slices/slice[id='b']/steering/rule[name='r']",
            ErrorKind::RuleShadowed
        )
    );
}

/// A slice with a resolver at 10.53.0.1, which its clients ask in their tunnels from ran0, with more that tells them apart.
fn asking(id: &str, client: &str, teid: Option<u32>) -> Value {
    let mut gtp =
        json!({ "inner-source-prefix": client, "inner-destination-prefix": "10.53.0.1/32" });
    if let Some(teid) = teid {
        gtp["teid"] = teid.into();
    }
    let port = format!("dns-{id}");
    let mut ask = rule("ask", json!({ "in-port": "ran0", "gtp": gtp }), &port);
    ask["end-gtp"] = json!([null]);
    let resolver = json!({ "port": port, "address": ["10.53.0.1"], "client": [client] });
    slice(id, 0, json!({ "resolver": resolver, "rule": [ask] }))
}

#[test]
fn users_of_two_slices_with_the_same_addresses_are_told_apart_or_refused() {
    for (a, b) in [
        ("172.16.5.0/24", "172.16.0.0/16"),
        ("172.16.0.0/16", "172.16.5.0/24"),
        ("172.16.0.0/16", "172.16.0.0/16"),
    ] {
        let slices = vec![asking("a", a, None), asking("b", b, None)];
        let (path, kind, message) = refused(slices, &three());
        assert_eq!(
            path,
            format!("/tranche-slice:slices/slice[id='b']/steering/resolver/client[.='{b}']")
        );
        assert_eq!(kind, ErrorKind::ResolverClash);
        let words = format!("node n1: rule a.ask sends queries of users in {b} for 10.53.0.1");
        assert!(message.starts_with(&words), "{message}");
        let slices = vec![asking("a", a, Some(7)), asking("b", b, Some(8))];
        assert_eq!(compiled(slices, &three())["n1"].resolvers.len(), 2);
    }
}

#[test]
fn whose_queries_reach_which_resolver_is_judged_by_the_order_at_the_node() {
    let theirs = |ours_first: bool| {
        let theirs = json!({
            "name": "lab", "slice": "lab", "end-gtp": [null], "forward": { "out-port": "dns-lab" },
            "match": { "in-port": "ran0", "gtp": { "inner-destination-prefix": "10.53.0.1/32" } },
        });
        let mut ours = theirs.clone();
        (ours["name"], ours["owner"]) = ("a.ask".into(), OWNER.into());
        let rules = match ours_first {
            true => json!([ours, theirs]),
            false => json!([theirs]),
        };
        with_foreign(json!({
            "port": [{ "name": "ran0" }, { "name": "dns-lab" }], "rule": rules,
            "resolver": [{ "slice": "lab", "port": "dns-lab", "address": ["10.53.0.1"], "client": ["10.0.0.0/8"] }],
        }))
    };
    let slices = || vec![asking("a", "172.16.0.0/16", Some(7))];
    let (path, kind, _) = refused(slices(), &theirs(false));
    assert!(
        path.ends_with("/slice[id='a']/steering/resolver/client[.='172.16.0.0/16']"),
        "{path}"
    );
    assert_eq!(kind, ErrorKind::ResolverClash);
    compiled(slices(), &theirs(true));
}
