use std::collections::BTreeSet;

use super::*;
use crate::intent::{AccessPoint, Airtime, Place, Security, SecurityMode, SliceSla};
use crate::inventory::{NodeConfig, Radio, Vif, VifState};

fn slice(id: &str, min: f64, nodes: &[&str]) -> Slice {
    Slice {
        id: id.into(),
        tenant: "tenant".into(),
        enabled: true,
        sla: SliceSla {
            airtime: Airtime {
                min_ratio: Ratio::from_percent(min),
                max_ratio: Ratio::FULL,
            },
            ..SliceSla::default()
        },
        place: Place {
            nodes: nodes.iter().map(|&node| node.to_owned()).collect(),
            ..Place::default()
        },
        wifi: Some(AccessPoint {
            ssid: format!("ssid of {id}"),
            hidden: false,
            max_stations: None,
            station_isolation: true,
            roaming: Default::default(),
            attachment: Default::default(),
            security: Security {
                mode: SecurityMode::Open,
                ..Security::default()
            },
        }),
        ran: None,
        backhaul: None,
        some_unread: false,
        steering: Default::default(),
    }
}

fn with_ssid(mut slice: Slice, ssid: &str) -> Slice {
    slice.wifi.as_mut().expect("on Wi-Fi").ssid = ssid.to_owned();
    slice
}

fn node(name: &str) -> Node {
    let radio = |band: &str| Radio {
        band: band.into(),
        channel: Some(36),
        max_vifs: Some(4),
        hears: BTreeSet::new(),
    };
    Node {
        config: NodeConfig {
            name: name.into(),
            enabled: true,
            address: "192.0.2.1".into(),
            port: 830,
            credential: "default".into(),
            host_key: "SHA256:x".into(),
            site: Some("street".into()),
            labels: BTreeSet::from(["edge".to_owned()]),
            underlay: Default::default(),
        },
        observed: Some(Observed {
            radios: [
                ("radio0".to_owned(), radio("5GHz")),
                ("radio1".to_owned(), radio("2.4GHz")),
            ]
            .into(),
            ..Observed::default()
        }),
    }
}

fn inventory(names: &[&str]) -> Inventory {
    Inventory {
        sites: ["street".to_owned(), "empty".to_owned()].into(),
        nodes: names
            .iter()
            .map(|&name| (name.to_owned(), node(name)))
            .collect(),
        ..Inventory::default()
    }
}

fn intent(slices: impl IntoIterator<Item = Slice>) -> Intent {
    Intent {
        slices: slices
            .into_iter()
            .map(|slice| (slice.id.clone(), slice))
            .collect(),
    }
}

/// Compiles and expects exactly these faults: (path, app-tag, part of the message).
fn refuse(intent: &Intent, inventory: &Inventory, expected: &[(&str, &str, &str)]) {
    let errors = compile(intent, inventory).expect_err("must be refused");
    let found: Vec<_> = errors
        .iter()
        .map(|error| (error.path.as_str(), error.kind.app_tag(), &error.message))
        .collect();
    assert_eq!(found.len(), expected.len(), "{errors:#?}");
    for ((path, tag, message), (wanted_path, wanted_tag, part)) in found.iter().zip(expected) {
        assert_eq!((path, tag), (wanted_path, wanted_tag));
        assert!(message.contains(part), "{message:?} does not say {part:?}");
    }
}

fn hear(inventory: &mut Inventory, a: &str, b: &str) {
    let radio = inventory
        .nodes
        .get_mut(a)
        .and_then(|node| node.observed.as_mut()?.radios.get_mut("radio0"));
    radio
        .expect("exists")
        .hears
        .insert((b.to_owned(), "radio0".to_owned()));
}

#[test]
fn a_slice_gets_one_vif_on_every_radio_it_selects() {
    let mut only_5 = slice("b", 70.0, &[]);
    only_5.place = Place {
        labels: ["edge".to_owned()].into(),
        bands: ["5GHz".to_owned()].into(),
        ..Place::default()
    };
    let plans = compile(
        &intent([slice("a", 30.0, &["n1"]), only_5]),
        &inventory(&["n1", "n2"]),
    )
    .expect("valid");
    let names = |node: &str| plans[node].vifs.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names("n1"), ["a-radio0", "a-radio1", "b-radio0"]);
    assert_eq!(names("n2"), ["b-radio0"]);
    assert_eq!(
        plans["n1"].vifs["b-radio0"].min_ratio,
        Ratio::from_percent(70.0)
    );
}

#[test]
fn a_disabled_slice_and_an_unselected_node_get_an_empty_plan() {
    let mut off = slice("a", 30.0, &["n1"]);
    off.enabled = false;
    let plans = compile(&intent([off]), &inventory(&["n1", "n2"])).expect("valid");
    assert!(plans.len() == 2 && plans.values().all(|plan| plan.vifs.is_empty()));
}

#[test]
fn selectors_that_match_nothing_are_refused_where_they_stand() {
    let mut inventory = inventory(&["n1", "off"]);
    inventory
        .nodes
        .get_mut("off")
        .expect("exists")
        .config
        .enabled = false;
    let mut wrong = slice("a", 0.0, &["n9", "off"]);
    wrong.place.sites = ["empty".to_owned(), "nowhere".to_owned()].into();
    wrong.place.labels = ["core".to_owned()].into();
    let at = "/tranche-slice:slices/slice[id='a']/where";
    refuse(
        &intent([wrong]),
        &inventory,
        &[
            (
                &format!("{at}/node[.='n9']"),
                "unknown-node",
                "node n9 is not in the inventory",
            ),
            (
                &format!("{at}/node[.='off']"),
                "node-disabled",
                "node off is disabled",
            ),
            (
                &format!("{at}/site[.='empty']"),
                "selects-nothing",
                "site empty",
            ),
            (
                &format!("{at}/site[.='nowhere']"),
                "unknown-site",
                "site nowhere",
            ),
            (
                &format!("{at}/label[.='core']"),
                "selects-nothing",
                "label core",
            ),
        ],
    );
}

#[test]
fn a_band_that_no_radio_has_is_refused() {
    let mut named = slice("a", 0.0, &["n1"]);
    named.place.bands = ["6GHz".to_owned()].into();
    let mut by_site = slice("b", 0.0, &[]);
    by_site.place = Place {
        sites: ["street".to_owned()].into(),
        bands: ["6GHz".to_owned()].into(),
        ..Place::default()
    };
    refuse(
        &intent([named, by_site]),
        &inventory(&["n1"]),
        &[
            (
                "/tranche-slice:slices/slice[id='a']/where/node[.='n1']",
                "selects-nothing",
                "no radio for 6GHz",
            ),
            (
                "/tranche-slice:slices/slice[id='b']/where",
                "selects-nothing",
                "none of the selected nodes",
            ),
        ],
    );
}

#[test]
fn a_node_that_was_not_read_is_named() {
    let mut inventory = inventory(&["n1"]);
    inventory.nodes.get_mut("n1").expect("exists").observed = None;
    refuse(
        &intent([slice("a", 0.0, &["n1"])]),
        &inventory,
        &[(
            "/tranche-slice:slices/slice[id='a']/where/node[.='n1']",
            "node-not-read",
            "node n1 has not been read",
        )],
    );
}

#[test]
fn an_ssid_of_more_than_32_octets_is_refused_also_of_a_slice_that_is_off() {
    let long = Slice {
        enabled: false,
        ..slice("a", 0.0, &["n1"])
    };
    let long = with_ssid(long, &"\u{e9}".repeat(17));
    refuse(
        &intent([long]),
        &inventory(&["n1"]),
        &[(
            "/tranche-slice:slices/slice[id='a']/wifi/ssid",
            "ssid-too-long",
            "the SSID has 34 octets, more than 32",
        )],
    );
}

#[test]
fn two_slices_with_one_ssid_on_a_node_are_refused_and_on_two_nodes_are_not() {
    let same = |nodes: &[&str], id: &str| with_ssid(slice(id, 0.0, nodes), "guest");
    refuse(
        &intent([same(&["n1"], "a"), same(&["n1", "n2"], "b")]),
        &inventory(&["n1", "n2"]),
        &[(
            "/tranche-slice:slices/slice[id='b']/wifi/ssid",
            "ssid-clash",
            "slices a and b have the same SSID on node n1",
        )],
    );
    compile(
        &intent([same(&["n1"], "a"), same(&["n2"], "b")]),
        &inventory(&["n1", "n2"]),
    )
    .expect("apart");
}

#[test]
fn ratios_past_100_on_a_radio_are_refused_others_vifs_counted() {
    let at = "/tranche-slice:slices/slice[id='b']/sla/airtime/min-ratio";
    let both = intent([slice("a", 60.0, &["n1"]), slice("b", 40.01, &["n1"])]);
    refuse(
        &both,
        &inventory(&["n1"]),
        &[
            (at, "ratio-sum", "radio0 of node n1 sum to 100.01 %"),
            (at, "ratio-sum", "radio1 of node n1"),
        ],
    );
    let fits = intent([slice("a", 60.0, &["n1"]), slice("b", 40.0, &["n1"])]);
    compile(&fits, &inventory(&["n1"])).expect("exactly 100");
    let mut shared = inventory(&["n1"]);
    let guest = Vif {
        radio: "radio1".into(),
        slice: None,
        enabled: true,
        min_ratio: Ratio::from_percent(5.0),
        max_ratio: Ratio::FULL,
        config: None,
        state: VifState::default(),
    };
    let observed = shared
        .nodes
        .get_mut("n1")
        .and_then(|node| node.observed.as_mut())
        .expect("read");
    observed.vifs.insert("guest".into(), guest);
    refuse(
        &fits,
        &shared,
        &[(at, "ratio-sum", "radio1 of node n1 sum to 105.00 %")],
    );
}

#[test]
fn guarantees_past_100_where_radios_hear_each_other_are_refused() {
    let mut near = inventory(&["n1", "n2", "n3"]);
    hear(&mut near, "n1", "n2");
    let wanted = intent([
        slice("a", 60.0, &["n1"]),
        slice("b", 50.0, &["n2"]),
        slice("c", 50.0, &["n3"]),
    ]);
    refuse(
        &wanted,
        &near,
        &[(
            "/tranche-slice:slices/slice[id='b']/sla/airtime/min-ratio",
            "domain-ratio-sum",
            "slices a, b sum to 110.00 % of the channel around radio radio0 of node n",
        )],
    );
    compile(&wanted, &inventory(&["n1", "n2", "n3"])).expect("nobody hears anybody");
    let once = intent([slice("a", 60.0, &["n1", "n2"])]);
    compile(&once, &near).expect("one slice on both counts once");
}

#[test]
fn what_is_left_of_a_radio_counts_its_domain_and_each_slice_once() {
    let near = inventory(&["n1", "n2"]);
    let wanted = intent([slice("a", 30.0, &["n1", "n2"]), slice("b", 20.0, &["n2"])]);
    let plans = compile(&wanted, &near).expect("valid");
    let n1 = near.nodes["n1"].observed.as_ref().expect("read");
    let left = |heard: &[(&NodePlan, &str)]| {
        unpromised_airtime(&plans["n1"], n1, "radio0", heard.iter().copied())
    };
    assert_eq!(left(&[]), Ratio::from_percent(70.0));
    assert_eq!(left(&[(&plans["n2"], "radio0")]), Ratio::from_percent(50.0));
}

#[test]
fn a_domain_that_became_overcommitted_does_not_block_other_changes() {
    let mut near = inventory(&["n1", "n2", "n3"]);
    hear(&mut near, "n1", "n2");
    let before = intent([slice("a", 60.0, &["n1"]), slice("b", 50.0, &["n2"])]);
    let elsewhere = intent([
        slice("a", 60.0, &["n1"]),
        slice("b", 50.0, &["n2"]),
        slice("c", 90.0, &["n3"]),
    ]);
    let plans = compile_change(&before, &elsewhere, &near).expect("no worse");
    assert_eq!(plans["n3"].vifs.len(), 2);
    assert_eq!(plans["n1"].vifs.len(), 2);
    let better = intent([slice("a", 55.0, &["n1"]), slice("b", 50.0, &["n2"])]);
    compile_change(&before, &better, &near).expect("better");
    let worse = intent([slice("a", 61.0, &["n1"]), slice("b", 50.0, &["n2"])]);
    let errors = compile_change(&before, &worse, &near).expect_err("worse");
    assert_eq!(errors[0].kind, ErrorKind::DomainOvercommitted);
}

#[test]
fn who_changes_is_told_and_not_who_was_there() {
    let nodes = inventory(&["n1"]);
    let before = intent([slice("a", 40.0, &["n1"]), slice("b", 50.0, &["n1"])]);
    let after = intent([slice("a", 60.0, &["n1"]), slice("b", 50.0, &["n1"])]);
    let errors = compile_change(&before, &after, &nodes).expect_err("too much");
    let at: Vec<&str> = errors.iter().map(|error| error.path.as_str()).collect();
    let path = "/tranche-slice:slices/slice[id='a']/sla/airtime/min-ratio";
    assert_eq!(at, vec![path; at.len()]);
    compile_change(&after, &before, &nodes).expect("less again");
}

#[test]
fn a_slice_is_one_mobility_domain_at_every_node() {
    let mut wanted = slice("a", 0.0, &["n1", "n2"]);
    let wifi = wanted.wifi.as_mut().expect("on Wi-Fi");
    wifi.roaming.mobility_domain = Some("a1b2".into());
    wifi.roaming.neighbour_report = true;
    wifi.attachment.bridge = Some("br-a".into());
    let plans = compile(&intent([wanted]), &inventory(&["n1", "n2"])).expect("valid");
    let edits = plans
        .values()
        .map(|plan| plan.edit(None, &Observed::default()));
    for edit in edits {
        let text = edit.expect("nothing is there yet").as_str().to_owned();
        let everywhere = |part: &str| assert_eq!(text.matches(part).count(), 2, "{part}: {text}");
        everywhere(
            "<roaming><mobility-domain>a1b2</mobility-domain><neighbour-report>true</neighbour-report>",
        );
        everywhere("</access-point><attachment><bridge>br-a</bridge></attachment><airtime>");
    }
}

#[test]
fn more_vifs_than_a_radio_carries_are_refused() {
    let slices = (0..5).map(|n| slice(&format!("s{n}"), 1.0, &["n1"]));
    let at = "/tranche-slice:slices/slice[id='s4']/where";
    refuse(
        &intent(slices),
        &inventory(&["n1"]),
        &[
            (
                at,
                "too-many-vifs",
                "radio radio0 of node n1 carries 4 interfaces, and 5 are wanted",
            ),
            (at, "too-many-vifs", "radio1"),
        ],
    );
}

#[test]
fn the_name_of_somebody_elses_interface_is_not_taken() {
    let mut taken = inventory(&["n1"]);
    let vif = Vif {
        radio: "radio0".into(),
        slice: None,
        enabled: true,
        min_ratio: Ratio::ZERO,
        max_ratio: Ratio::FULL,
        config: None,
        state: VifState::default(),
    };
    let observed = taken
        .nodes
        .get_mut("n1")
        .and_then(|node| node.observed.as_mut())
        .expect("read");
    observed.vifs.insert("a-radio0".into(), vif);
    refuse(
        &intent([slice("a", 0.0, &["n1"])]),
        &taken,
        &[(
            "/tranche-slice:slices/slice[id='a']",
            "vif-name-clash",
            "interface a-radio0 that belongs to somebody else",
        )],
    );
}
