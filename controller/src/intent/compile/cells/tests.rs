use serde_json::{Value, json};

use super::*;
use crate::intent::compile::compile;
use crate::intent::{Intent, Prb, Share};
use crate::inventory::{Core, Inventory, Profile, ProfileState, Radio};

const SLICES: &str = "/tranche-slice:slices/slice";

fn cell(rat: Rat, max_plmns: u8) -> Cell {
    Cell {
        rat,
        bandwidth_prb: 100,
        max_plmns: Some(max_plmns),
        oper_state: Some("up".into()),
        ues: None,
        used: [None, None],
    }
}

/// `both` has a radio, an LTE and an NR cell; `lte` and `nr` one cell each; `wifi` a radio.
fn inventory() -> Inventory {
    let node = |name| json!({ "name": name, "address": "192.0.2.1", "credential": "c", "host-key": "SHA256:x", "label": ["all"] });
    let nodes: Vec<Value> = ["both", "lte", "nr", "wifi"].map(node).into();
    let mut inventory = Inventory::from_json(&json!({ "node": nodes })).expect("valid");
    let core = |kind| Core {
        kind,
        oper_state: Some("connected".into()),
        cause: None,
    };
    let has = [
        ("both", true, vec![("lte1", Rat::Lte), ("nr1", Rat::Nr)]),
        ("lte", false, vec![("lte1", Rat::Lte), ("lte2", Rat::Lte)]),
        ("nr", false, vec![("nr1", Rat::Nr)]),
        ("wifi", true, vec![]),
    ];
    for (name, radio, cells) in has {
        let mut observed = Observed::default();
        if radio {
            let radio = Radio {
                band: "5GHz".into(),
                ..Radio::default()
            };
            observed.radios.insert("radio0".into(), radio);
        }
        for (cell_name, rat) in cells {
            let max = if rat == Rat::Lte { 2 } else { 12 };
            observed.cells.insert(cell_name.to_owned(), cell(rat, max));
            let (one, two) = match rat {
                Rat::Lte => ("mme-edge", "mme-dc"),
                Rat::Nr => ("amf-edge", "amf-dc"),
            };
            for known in [one, two] {
                observed.cores.insert(known.to_owned(), core(rat.core()));
            }
        }
        inventory.nodes.get_mut(name).expect("exists").observed = Some(observed);
    }
    inventory
}

/// Slice `id` on the LTE cell of node `both`, with a PLMN of its own.
fn slice(id: &str, mnc: &str) -> Value {
    json!({
        "id": id, "tenant": "t", "where": { "node": ["both"] },
        "ran": { "rat": "lte", "mcc": "001", "mnc": mnc, "core": ["mme-edge", "mme-dc"] },
    })
}

/// The same on the NR cell.
fn on_nr(id: &str, mnc: &str, sst: u8) -> Value {
    let mut slice = slice(id, mnc);
    slice["ran"]["rat"] = json!("nr");
    slice["ran"]["sst"] = json!(sst);
    slice["ran"]["core"] = json!(["amf-edge", "amf-dc"]);
    slice
}

/// Sets what a path of names leads to.
fn with(mut slice: Value, path: &[&str], value: Value) -> Value {
    let place = path.iter().fold(&mut slice, |at, name| &mut at[*name]);
    *place = value;
    slice
}

fn intent(slices: &[Value]) -> Intent {
    Intent::from_json(&json!({ "slice": slices })).expect("valid")
}

/// Compiles and expects exactly these faults: (path below the list of slices, app-tag, part of the message).
fn refuse(slices: &[Value], inventory: &Inventory, expected: &[(&str, &str, &str)]) {
    let errors = compile(&intent(slices), inventory).expect_err("must be refused");
    let found: Vec<(&str, &str)> = errors
        .iter()
        .map(|error| (error.path.as_str(), error.kind.app_tag()))
        .collect();
    let wanted: Vec<(String, &str)> = expected
        .iter()
        .map(|(path, tag, _)| (format!("{SLICES}{path}"), *tag))
        .collect();
    let wanted: Vec<(&str, &str)> = wanted.iter().map(|(path, tag)| (&**path, *tag)).collect();
    assert_eq!(found, wanted, "{errors:#?}");
    for (error, (.., part)) in errors.iter().zip(expected) {
        assert!(
            error.message.contains(part),
            "{:?} does not say {part:?}",
            error.message
        );
    }
}

#[test]
fn a_slice_becomes_one_profile_for_each_technology_of_a_node() {
    let mut any = slice("a", "01");
    any["ran"] = json!({
        "mcc": "001", "mnc": "01", "sst": 1, "sd": "00000a", "dnn": ["internet"], "max-ues": 50,
        "core": ["amf-edge", "mme-edge", "amf-dc"],
        "access": { "imsi-range": [
            { "first": "001010000000050", "last": "001010000000099" },
            { "first": "001010000000001", "last": "001010000000009" },
        ] },
    });
    any["sla"] = json!({ "prb": { "down": { "min-ratio": "30", "dedicated-ratio": "10" } } });
    any["where"] = json!({ "label": ["all"] });
    let plans = compile(&intent(&[any]), &inventory()).expect("valid");
    let names = |node: &str| plans[node].profiles.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names("both"), ["a-lte", "a-nr"]);
    assert_eq!(names("lte"), ["a-lte"]);
    assert_eq!(names("nr"), ["a-nr"]);
    assert_eq!(names("wifi"), [""; 0]);
    assert!(plans.values().all(|plan| plan.vifs.is_empty()));
    let (lte, nr) = (
        &plans["both"].profiles["a-lte"],
        &plans["both"].profiles["a-nr"],
    );
    assert_eq!((lte.sst, &lte.sd, lte.dnns.len()), (None, &None, 0));
    assert_eq!(
        (nr.sst, nr.sd.as_deref(), nr.dnns.len()),
        (Some(1), Some("00000a"), 1)
    );
    assert_eq!(lte.cores, ["mme-edge"]);
    assert_eq!(nr.cores, ["amf-edge", "amf-dc"]);
    assert_eq!(plans["lte"].profiles["a-lte"].cells.len(), 2);
    assert_eq!(lte.prb.down.min_ratio, Ratio::from_percent(30.0));
    let first = &nr.access.ranges[0].first;
    assert_eq!(
        first, "001010000000001",
        "the same whatever the order they were written in"
    );
}

#[test]
fn a_slice_of_both_technologies_gets_both_where_they_are() {
    let mut both = slice("a", "01");
    both["where"] = json!({ "node": ["both", "wifi"] });
    both["wifi"] = json!({ "ssid": "a", "security": { "mode": "open" } });
    let plans = compile(&intent(&[both]), &inventory()).expect("valid");
    let has = |node: &str| (plans[node].vifs.len(), plans[node].profiles.len());
    assert_eq!((has("both"), has("wifi")), ((1, 1), (1, 0)));
}

#[test]
fn cells_are_selected_by_name() {
    let one = with(
        slice("a", "01"),
        &["where"],
        json!({ "node": ["both", "lte"], "cell": ["lte2"] }),
    );
    refuse(
        &[one],
        &inventory(),
        &[(
            "[id='a']/where/node[.='both']",
            "selects-nothing",
            "node both has no LTE cell lte2",
        )],
    );
    let one = with(
        slice("a", "01"),
        &["where"],
        json!({ "label": ["all"], "cell": ["lte2"] }),
    );
    let plans = compile(&intent(&[one]), &inventory()).expect("valid");
    assert!(plans["both"].profiles.is_empty());
    assert_eq!(
        plans["lte"].profiles["a-lte"].cells,
        ["lte2".to_owned()].into()
    );
}

#[test]
fn a_locked_slice_is_owed_nothing_and_keeps_its_place() {
    let promise = json!({ "prb": { "down": { "min-ratio": "80" } } });
    let locked = with(slice("a", "01"), &["sla"], promise.clone());
    let locked = with(locked, &["ran", "admin-state"], json!("locked"));
    let other = with(slice("b", "02"), &["sla"], promise);
    let plans = compile(&intent(&[locked.clone(), other.clone()]), &inventory()).expect("valid");
    assert_eq!(
        plans["both"].profiles["a-lte"].admin_state,
        AdminState::Locked
    );
    let twin = with(other, &["ran", "mnc"], json!("01"));
    refuse(
        &[locked, twin],
        &inventory(),
        &[("[id='b']/ran", "duplicate-slice", "slice a has this PLMN")],
    );
}

#[test]
fn what_a_slice_asks_of_cells_is_refused_where_it_stands() {
    let none = json!([]);
    let table: Vec<(Value, &str, &str, &str)> = vec![
        (
            with(slice("a", "01"), &["where", "node"], json!(["wifi"])),
            "/where/node[.='wifi']",
            "selects-nothing",
            "node wifi has no LTE cell",
        ),
        (
            with(
                slice("a", "01"),
                &["where"],
                json!({ "label": ["all"], "cell": ["lte1", "lte9"] }),
            ),
            "/where/cell[.='lte9']",
            "unknown-cell",
            "none of the selected nodes has an LTE cell lte9",
        ),
        (
            with(
                slice("a", "01"),
                &["where"],
                json!({ "label": ["all"], "cell": ["nr1"] }),
            ),
            "/where",
            "selects-nothing",
            "none of the selected nodes has an LTE cell nr1",
        ),
        (
            with(
                slice("a", "01"),
                &["ran", "core"],
                json!(["mme-edge", "mme-9"]),
            ),
            "/ran/core[.='mme-9']",
            "unknown-core",
            "node both has no core mme-9",
        ),
        (
            with(
                slice("a", "01"),
                &["ran", "core"],
                json!(["mme-edge", "amf-edge"]),
            ),
            "/ran/core[.='amf-edge']",
            "rat-mismatch",
            "core amf-edge of node both is an AMF, and the slice has only LTE cells",
        ),
        (
            with(
                with(on_nr("a", "01", 1), &["ran", "rat"], json!("any")),
                &["ran", "core"],
                json!(["amf-edge"]),
            ),
            "/ran/core",
            "rat-mismatch",
            "cell lte1 of node both is LTE and needs an MME, and none of the cores is one",
        ),
        (
            with(
                with(on_nr("a", "01", 1), &["ran", "sst"], Value::Null),
                &["ran", "dnn"],
                none.clone(),
            ),
            "/ran",
            "rat-mismatch",
            "cell nr1 of node both is NR, where a slice needs an sst",
        ),
        (
            with(
                with(
                    with(slice("a", "01"), &["ran", "rat"], json!("any")),
                    &["ran", "sst"],
                    json!(1),
                ),
                &["where", "node"],
                json!(["lte"]),
            ),
            "/ran/sst",
            "rat-mismatch",
            "all its cells are LTE: LTE knows no S-NSSAI",
        ),
        (
            with(
                with(
                    with(slice("a", "01"), &["ran", "rat"], json!("any")),
                    &["ran", "dnn"],
                    json!(["x"]),
                ),
                &["where", "node"],
                json!(["lte"]),
            ),
            "/ran/dnn",
            "rat-mismatch",
            "all its cells are LTE: a dnn is for NR cells",
        ),
        (
            with(on_nr("a", "01", 1), &["ran", "sd"], json!("00000A")),
            "/ran/sd",
            "sd-not-canonical",
            "write sd 00000A in lower case",
        ),
        (
            with(on_nr("a", "01", 1), &["ran", "sd"], json!("ffffff")),
            "/ran/sd",
            "sd-not-canonical",
            "leave it out",
        ),
    ];
    for (slice, path, tag, message) in table {
        refuse(
            &[slice],
            &inventory(),
            &[(&format!("[id='a']{path}"), tag, message)],
        );
    }
}

#[test]
fn cores_of_the_other_technology_are_for_the_nodes_that_have_its_cells() {
    let any = |nodes: Value, cores: Value| {
        let mut slice = on_nr("a", "01", 1);
        slice["where"] = json!({ "node": nodes });
        slice["ran"]["rat"] = json!("any");
        slice["ran"]["core"] = cores;
        slice
    };
    let spread = any(json!(["lte", "nr"]), json!(["mme-edge", "amf-edge"]));
    let plans = compile(&intent(&[spread]), &inventory()).expect("each node knows its own");
    assert_eq!(plans["lte"].profiles["a-lte"].cores, ["mme-edge"]);
    assert_eq!(plans["nr"].profiles["a-nr"].cores, ["amf-edge"]);
    refuse(
        &[any(json!(["lte", "nr"]), json!(["mme-edge", "amf-9"]))],
        &inventory(),
        &[
            (
                "[id='a']/ran/core[.='amf-9']",
                "unknown-core",
                "node lte has no core amf-9",
            ),
            (
                "[id='a']/ran/core[.='amf-9']",
                "unknown-core",
                "node nr has no core amf-9",
            ),
        ],
    );
}

#[test]
fn a_cell_that_cannot_carry_its_slices_refuses_the_last() {
    let min = |id, mnc, direction: &str, min: &str| {
        with(
            slice(id, mnc),
            &["sla"],
            json!({ "prb": { direction: { "min-ratio": min } } }),
        )
    };
    let ranges = |id, ranges: Value| {
        with(
            slice(id, "01"),
            &["ran", "access"],
            json!({ "imsi-range": ranges }),
        )
    };
    let on = |slice: Value, mnc: &str| with(slice, &["ran", "mnc"], json!(mnc));
    let permit = |id, sst| {
        with(
            on_nr(id, "01", sst),
            &["ran", "access"],
            json!({ "default-action": "permit" }),
        )
    };
    let sd = |slice: Value, sd: &str| with(slice, &["ran", "sd"], json!(sd));
    let table: Vec<(Vec<Value>, &str, &str, &str)> = vec![
        (
            vec![
                min("a", "01", "down", "60"),
                min("b", "02", "down", "40.01"),
            ],
            "/sla/prb/down/min-ratio",
            "ratio-sum",
            "the minima of PRB on cell lte1 of node both sum to 100.01 % (down)",
        ),
        (
            vec![min("a", "01", "up", "60"), min("b", "02", "up", "60")],
            "/sla/prb/up/min-ratio",
            "ratio-sum",
            "(up)",
        ),
        (
            vec![slice("a", "01"), slice("a2", "02"), slice("b", "03")],
            "/ran",
            "too-many-plmns",
            "cell lte1 of node both can broadcast 2 PLMNs, and 3 are wanted",
        ),
        (
            vec![slice("a", "01"), slice("b", "01")],
            "/ran",
            "duplicate-slice",
            "slice a has this PLMN and S-NSSAI on cell lte1 of node both already",
        ),
        (
            vec![
                on_nr("a", "01", 1),
                sd(on_nr("a2", "01", 1), "000001"),
                sd(on_nr("b", "01", 1), "000001"),
            ],
            "/ran",
            "duplicate-slice",
            "slice a2 has this PLMN and S-NSSAI on cell nr1",
        ),
        (
            vec![
                ranges(
                    "a",
                    json!([{ "first": "001010000000001", "last": "001010000000099" }]),
                ),
                on(
                    ranges(
                        "b",
                        json!([{ "first": "001010000000050", "last": "001010000000060", "roaming": true }]),
                    ),
                    "02",
                ),
            ],
            "/ran/access/imsi-range[first='001010000000050']",
            "imsi-overlap",
            "IMSI 001010000000050 to 001010000000060 overlap with 001010000000001 to 001010000000099 of slice a on cell lte1",
        ),
        (
            vec![
                on(
                    ranges(
                        "a",
                        json!([{ "first": "001010000000050", "last": "001010000000060", "roaming": true }]),
                    ),
                    "02",
                ),
                ranges(
                    "b",
                    json!([{ "first": "001010000000001", "last": "001010000000099" }]),
                ),
            ],
            "/ran/access/imsi-range[first='001010000000001']",
            "imsi-overlap",
            "of slice a on cell lte1",
        ),
        (
            vec![ranges(
                "b",
                json!([
                    { "first": "001010000000001", "last": "001010000000009" },
                    { "first": "001010000000005", "last": "001010000000007" },
                ]),
            )],
            "/ran/access/imsi-range[first='001010000000005']",
            "imsi-overlap",
            "IMSI 001010000000005 to 001010000000007 overlap with 001010000000001 to 001010000000009 of slice b",
        ),
        (
            vec![permit("a", 1), permit("b", 2)],
            "/ran/access/default-action",
            "imsi-overlap",
            "slice a lets in all other subscribers of PLMN 001-01 on cell nr1 of node both already",
        ),
    ];
    for (slices, path, tag, message) in table {
        refuse(
            &slices,
            &inventory(),
            &[(&format!("[id='b']{path}"), tag, message)],
        );
    }
}

#[test]
fn what_fits_exactly_is_admitted() {
    let share = |id, mnc, min: &str| {
        with(
            slice(id, mnc),
            &["sla"],
            json!({ "prb": { "down": { "min-ratio": min }, "up": { "min-ratio": min } } }),
        )
    };
    let fits = [share("a", "01", "60"), share("b", "02", "40")];
    let plans = compile(&intent(&fits), &inventory()).expect("two PLMNs, 100 %");
    let observed = inventory();
    let both = observed.nodes["both"].observed.as_ref().expect("read");
    let left = unpromised_prb(&plans["both"], both, "lte1");
    assert_eq!(left, [Ratio::ZERO, Ratio::ZERO]);
    let one = compile(&intent(&fits[..1]), &inventory()).expect("less");
    let left = unpromised_prb(&one["both"], both, "lte1");
    assert_eq!(left[0], Ratio::from_percent(40.0));
    let untouched = unpromised_prb(&one["both"], both, "nr1");
    assert_eq!(untouched, [Ratio::FULL, Ratio::FULL]);
}

#[test]
fn slices_on_cells_apart_do_not_meet() {
    let there = |slice: Value, node: &str| with(slice, &["where", "node"], json!([node]));
    let twins = [
        there(slice("a", "01"), "both"),
        there(slice("b", "01"), "lte"),
    ];
    compile(&intent(&twins), &inventory()).expect("one PLMN on two nodes");
}

#[test]
fn what_others_have_on_a_cell_counts() {
    let share = |min| Share {
        min_ratio: Ratio::from_percent(min),
        ..Share::default()
    };
    let guest = |name: &str, slice: &str| {
        let config = ProfileConfig {
            slice: slice.to_owned(),
            admin_state: AdminState::Unlocked,
            mcc: "001".into(),
            mnc: "77".into(),
            sst: None,
            sd: None,
            dnns: BTreeSet::new(),
            cells: ["lte1".to_owned()].into(),
            cores: vec!["mme-edge".into()],
            max_ues: None,
            prb: Prb {
                down: share(50.0),
                up: share(0.0),
            },
            access: Default::default(),
        };
        let profile = Profile {
            config,
            foreign_parts: false,
            state: ProfileState::default(),
        };
        (name.to_owned(), profile)
    };
    let has = |profile| {
        let mut inventory = inventory();
        let node = inventory.nodes.get_mut("both").expect("exists");
        node.observed.as_mut().expect("read").profiles = [profile].into();
        inventory
    };
    let promise = json!({ "prb": { "down": { "min-ratio": "60" } } });
    let wanted = with(slice("a", "01"), &["sla"], promise);
    refuse(
        std::slice::from_ref(&wanted),
        &has(guest("lab", "")),
        &[(
            "[id='a']/sla/prb/down/min-ratio",
            "ratio-sum",
            "sum to 110.00 %",
        )],
    );
    refuse(
        &[slice("a", "77")],
        &has(guest("lab", "")),
        &[(
            "[id='a']/ran",
            "duplicate-slice",
            "slice profile lab has this PLMN",
        )],
    );
    refuse(
        &[slice("a", "01")],
        &has(guest("a-lte", "other")),
        &[(
            "[id='a']",
            "profile-name-clash",
            "slice profile a-lte that belongs to somebody else",
        )],
    );
    compile(&intent(&[wanted]), &has(guest("a-lte", "a"))).expect("it is ours, and replaced");
}

#[test]
fn a_node_that_was_not_read_may_have_what_the_others_lack() {
    let mut slice = slice("a", "01");
    slice["where"] = json!({ "node": ["wifi"] });
    slice["wifi"] = json!({ "ssid": "a", "security": { "mode": "open" } });
    let mut intent = intent(&[slice]);
    compile(&intent, &inventory()).expect_err("no cell anywhere");
    intent.slices.get_mut("a").expect("exists").some_unread = true;
    let plans = compile(&intent, &inventory()).expect("as far as it is known");
    assert_eq!(
        (plans["wifi"].vifs.len(), plans["wifi"].profiles.len()),
        (1, 0)
    );
}
