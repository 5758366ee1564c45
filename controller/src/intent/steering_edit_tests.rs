use super::*;
use proptest::prelude::*;

fn rule(name: &str, teid: u32) -> RuleConfig {
    let mut rule = RuleConfig {
        name: name.to_owned(),
        slice: "a".to_owned(),
        drop: tranche_steering::present(),
        owner: Some(OWNER.to_owned()),
        ..RuleConfig::default()
    };
    rule.matching.gtp = Some(tranche_steering::GtpMatch {
        teid: Some(teid),
        ..Default::default()
    });
    rule
}

fn theirs(name: &str) -> RuleConfig {
    RuleConfig {
        owner: None,
        ..rule(name, 0)
    }
}

fn config(rules: Vec<RuleConfig>) -> SteeringConfig {
    SteeringConfig {
        rules,
        ..SteeringConfig::default()
    }
}

fn has(config: SteeringConfig) -> NodeSteering {
    NodeSteering {
        config,
        ..NodeSteering::default()
    }
}

fn port(name: &str, owner: Option<&str>) -> PortConfig {
    PortConfig {
        name: name.to_owned(),
        owner: owner.map(str::to_owned),
        ..PortConfig::default()
    }
}

#[test]
fn what_is_there_as_it_should_be_needs_no_edit() {
    let wanted = config(vec![rule("a.x", 1), rule("a.y", 2)]);
    let there = has(config(vec![rule("a.x", 1), theirs("mine"), rule("a.y", 2)]));
    assert_eq!(edit(&wanted, &there), None);
    assert!(differences(&wanted, &there).is_empty());
}

#[test]
fn only_ours_is_removed_changed_and_moved() {
    let wanted = config(vec![rule("a.new", 5), rule("a.x", 1), rule("a.y", 3)]);
    let there = has(config(vec![
        theirs("mine"),
        rule("a.y", 2),
        rule("a.x", 1),
        rule("a.old", 9),
        theirs("lab"),
    ]));
    assert_eq!(
        differences(&wanted, &there),
        [
            "missing: steering rule a.new",
            "different: steering rule a.y",
            "not wanted: steering rule a.old",
            "in another place: steering rule a.y",
        ]
    );
    let edit = edit(&wanted, &there).unwrap();
    for part in [
        "<rule nc:operation=\"remove\"><name>a.old</name></rule>",
        "<rule nc:operation=\"replace\" yang:insert=\"before\" yang:key=\"[tr-st:name='a.x']\"><name>a.new</name>",
        "<rule nc:operation=\"replace\" yang:insert=\"after\" yang:key=\"[tr-st:name='a.x']\"><name>a.y</name>",
    ] {
        assert!(edit.contains(part), "{part} in {edit}");
    }
    assert!(!edit.contains("mine") && !edit.contains("lab"), "{edit}");
    assert!(!edit.contains("<name>a.x</name>"), "{edit}");
}

#[test]
fn an_entry_with_more_than_we_configure_is_put_right() {
    let wanted = config(vec![rule("a.x", 1)]);
    let mut there = has(wanted.clone());
    there.odd.insert("rule a.x".to_owned());
    assert_eq!(
        differences(&wanted, &there),
        ["different: steering rule a.x"]
    );
    assert!(!there.has_rule(&wanted.rules[0]));
}

#[test]
fn a_port_of_ours_stays_while_somebody_elses_rule_needs_it() {
    let mut there = config(vec![RuleConfig {
        matching: tranche_steering::MatchConfig {
            in_port: Some("ran0".to_owned()),
            ..Default::default()
        },
        ..theirs("mine")
    }]);
    there.ports = vec![
        port("core0", Some(OWNER)),
        port("lab0", None),
        port("ran0", Some(OWNER)),
    ];
    let nothing = SteeringConfig::default();
    assert_eq!(
        differences(&nothing, &has(there)),
        ["not wanted: steering port core0"]
    );
}

#[test]
fn a_chain_of_ours_that_somebody_elses_rule_needs_keeps_its_ports() {
    let chain = |name: &str, app: &str| {
        let chain = serde_json::json!({
            "name": name, "owner": OWNER, "on-failure": "bypass",
            "application": [{ "name": "app", "port": app }], "forward": { "out-port": format!("{app}-out") },
        });
        serde_json::from_value::<ChainConfig>(chain).unwrap()
    };
    let mut there = config(vec![RuleConfig {
        drop: None,
        chain: Some("a.kept".to_owned()),
        ..theirs("mine")
    }]);
    there.chains = vec![chain("a.kept", "app0"), chain("a.old", "app1")];
    let ports = ["app0", "app0-out", "app1", "app1-out"];
    there.ports = ports.map(|name| port(name, Some(OWNER))).into();
    let nothing = SteeringConfig::default();
    assert_eq!(
        differences(&nothing, &has(there.clone())),
        [
            "not wanted: steering port app1",
            "not wanted: steering port app1-out",
            "not wanted: steering chain a.old",
        ]
    );
    // One that is wanted in another form has other ports then.
    let mut wanted = config(Vec::new());
    wanted.chains = vec![chain("a.kept", "app2")];
    let ports = ["app2", "app2-out"];
    wanted.ports = ports.map(|name| port(name, Some(OWNER))).into();
    assert!(
        differences(&wanted, &has(there)).contains(&"not wanted: steering port app0".to_owned())
    );
}

#[test]
fn a_port_of_somebody_elses_is_used_as_it_is() {
    let mut wanted = config(Vec::new());
    wanted.ports = vec![port("ran0", Some(OWNER))];
    let mut there = config(Vec::new());
    there.ports = vec![port("ran0", None)];
    assert_eq!(edit(&wanted, &has(there)), None);
}

/// What a node makes of an edit of rules: removed, then put where they are asked to go, in the order of the edit.
fn carried_out(before: &[RuleConfig], wanted: &SteeringConfig, edit: &str) -> Vec<String> {
    let mut names: Vec<String> = before.iter().map(|rule| rule.name.clone()).collect();
    for part in edit.split("<rule ").skip(1) {
        let name = part
            .split_once("<name>")
            .unwrap()
            .1
            .split_once("</name>")
            .unwrap()
            .0;
        let old = names.iter().position(|one| one == name);
        if part.contains("\"remove\"") {
            names.remove(old.unwrap());
            continue;
        }
        let attributes = part.split_once('>').unwrap().0;
        let Some((_, place)) = attributes.split_once("yang:insert=\"") else {
            assert!(old.is_some(), "a new rule has a place");
            continue;
        };
        names.retain(|one| one != name);
        let anchor = || {
            let (_, key) = place.split_once("tr-st:name='").unwrap();
            let (key, _) = key.split_once('\'').unwrap();
            names
                .iter()
                .position(|one| one == key)
                .expect("the anchor is there")
        };
        let at = match place.split_once('"').unwrap().0 {
            "last" => names.len(),
            "before" => anchor(),
            "after" => anchor() + 1,
            other => unreachable!("{other}"),
        };
        names.insert(at, name.to_owned());
    }
    assert!(wanted.rules.iter().all(|rule| names.contains(&rule.name)));
    names
}

proptest! {
    #[test]
    fn after_an_edit_ours_are_in_order_and_others_where_they_were(
        wanted in Just((0..8_u32).collect::<Vec<_>>()).prop_shuffle(),
        had in Just((0..12_u32).collect::<Vec<_>>()).prop_shuffle(),
        (more, fewer) in (0_usize..8, 0_usize..12),
    ) {
        // Of what is there, every third is somebody else's.
        let wanted = config(wanted[more..].iter().filter(|n| *n % 3 != 0).map(|n| rule(&format!("r{n}"), *n)).collect());
        let there: Vec<RuleConfig> = had[fewer..].iter()
            .map(|n| if n % 3 == 0 { theirs(&format!("r{n}")) } else { rule(&format!("r{n}"), *n) })
            .collect();
        let names = |rules: &[RuleConfig], ours: bool| -> Vec<String> {
            let of = rules.iter().filter(|rule| rule.owner.is_some() == ours);
            of.map(|rule| rule.name.clone()).collect()
        };
        let node = has(config(there.clone()));
        let edit = edit(&wanted, &node).unwrap_or_default();
        let after = carried_out(&there, &wanted, &edit);
        let then: Vec<String> = rules_then(&wanted, &node).iter().map(|one| one.name.clone()).collect();
        prop_assert_eq!(&then, &after);
        let foreign = names(&there, false);
        let (of_others, of_ours): (Vec<String>, Vec<String>) = after.into_iter().partition(|name| foreign.contains(name));
        prop_assert_eq!(of_others, foreign);
        prop_assert_eq!(of_ours, names(&wanted.rules, true));
    }
}
