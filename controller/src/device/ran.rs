//! Cells, cores and slice profiles of a node, read from its `get` into types.

use std::collections::{BTreeMap, BTreeSet};

use tranche_netconf::xml::Element;

use crate::intent::{
    Access, AdminState, CoreKind, DefaultAction, ImsiRange, Prb, ProfileConfig, RAN, Rat, Share,
};
use crate::inventory::{Cell, Core, Observed, Profile, ProfileOnCell, ProfileState};

use super::read::{ReadError, mandatory, parsed};

/// What is selected of `tranche-ran`, as XML.
pub(super) fn filter() -> String {
    format!(
        "<ran xmlns=\"{RAN}\"><cell><name/><rat/><bandwidth-prb/><state/></cell>\
         <core><name/><kind/><state/></core><slice-profile/></ran>"
    )
}

/// Reads the container `ran`.
pub(super) fn take(ran: &Element, observed: &mut Observed) -> Result<(), ReadError> {
    for cell in ran.children("cell") {
        let name = mandatory(cell, "cell", "name")?;
        observed.cells.insert(name, read_cell(cell)?);
    }
    for core in ran.children("core") {
        let name = mandatory(core, "core", "name")?;
        observed.cores.insert(name, read_core(core)?);
    }
    for profile in ran.children("slice-profile") {
        let name = mandatory(profile, "slice-profile", "name")?;
        observed.profiles.insert(name, read_profile(profile)?);
    }
    Ok(())
}

fn read_cell(cell: &Element) -> Result<Cell, ReadError> {
    let state = cell.child("state");
    let at = "cell/state";
    let ratio = |leaf| state.map_or(Ok(None), |state| parsed(state, at, leaf));
    Ok(Cell {
        rat: named(cell, "cell", "rat", Rat::from_name)?,
        bandwidth_prb: number(cell, "cell", "bandwidth-prb")?,
        max_plmns: state.map_or(Ok(None), |state| parsed(state, at, "max-plmns"))?,
        oper_state: state.and_then(|state| text(state, "oper-state")),
        ues: state.map_or(Ok(None), |state| parsed(state, at, "ues"))?,
        used: [ratio("used-down")?, ratio("used-up")?],
    })
}

fn read_core(core: &Element) -> Result<Core, ReadError> {
    let state = core.child("state");
    Ok(Core {
        kind: named(core, "core", "kind", CoreKind::from_name)?,
        oper_state: state.and_then(|state| text(state, "oper-state")),
        cause: state.and_then(|state| text(state, "cause")),
    })
}

fn read_profile(profile: &Element) -> Result<Profile, ReadError> {
    const KNOWN: [&str; 14] = [
        "name",
        "slice",
        "admin-state",
        "mcc",
        "mnc",
        "sst",
        "sd",
        "dnn",
        "cell",
        "core",
        "max-ues",
        "rrm-policy",
        "access",
        "state",
    ];
    let at = "slice-profile";
    let list = |leaf: &'static str| profile.children(leaf).map(|one| one.text.clone());
    let access = profile
        .child("access")
        .map_or(Ok(Access::default()), read_access)?;
    let admin_state = match profile.child_text("admin-state") {
        None => AdminState::default(),
        Some(_) => named(profile, at, "admin-state", AdminState::from_name)?,
    };
    let config = ProfileConfig {
        slice: text(profile, "slice").unwrap_or_default(),
        admin_state,
        mcc: mandatory(profile, at, "mcc")?,
        mnc: mandatory(profile, at, "mnc")?,
        sst: parsed(profile, at, "sst")?,
        sd: text(profile, "sd"),
        dnns: list("dnn").collect(),
        cells: list("cell").collect::<BTreeSet<_>>(),
        cores: list("core").collect(),
        max_ues: parsed(profile, at, "max-ues")?,
        prb: read_policies(profile)?,
        access,
    };
    let mut children = profile.children.iter();
    Ok(Profile {
        config,
        foreign_parts: children.any(|child| !KNOWN.contains(&&*child.name)),
        state: profile
            .child("state")
            .map_or(Ok(ProfileState::default()), read_state)?,
    })
}

/// What is owed in each direction: an entry for one of them is before one for both.
fn read_policies(profile: &Element) -> Result<Prb, ReadError> {
    let at = "slice-profile/rrm-policy";
    let mut shares = BTreeMap::new();
    for policy in profile.children("rrm-policy") {
        let resource_type = mandatory(policy, at, "resource-type")?;
        let default = Share::default();
        let share = Share {
            min_ratio: parsed(policy, at, "min-ratio")?.unwrap_or(default.min_ratio),
            max_ratio: parsed(policy, at, "max-ratio")?.unwrap_or(default.max_ratio),
            dedicated_ratio: parsed(policy, at, "dedicated-ratio")?
                .unwrap_or(default.dedicated_ratio),
        };
        shares.insert(resource_type, share);
    }
    let of = |own: &str| shares.get(own).or_else(|| shares.get("prb")).copied();
    Ok(Prb {
        down: of("prb-down").unwrap_or_default(),
        up: of("prb-up").unwrap_or_default(),
    })
}

fn read_access(access: &Element) -> Result<Access, ReadError> {
    let at = "slice-profile/access";
    let default_action = match access.child_text("default-action") {
        None => DefaultAction::default(),
        Some(_) => named(access, at, "default-action", DefaultAction::from_name)?,
    };
    let mut ranges = Vec::new();
    for range in access.children("imsi-range") {
        ranges.push(ImsiRange {
            first: mandatory(range, at, "first")?,
            last: mandatory(range, at, "last")?,
            roaming: parsed(range, at, "roaming")?.unwrap_or(false),
        });
    }
    ranges.sort();
    Ok(Access {
        default_action,
        ranges,
    })
}

fn read_state(state: &Element) -> Result<ProfileState, ReadError> {
    let mut cells = BTreeMap::new();
    for cell in state.children("cell") {
        let at = "slice-profile/state/cell";
        let direction = |name: &str| {
            let Some(of) = cell.child(name) else {
                return Ok(Default::default());
            };
            Ok::<_, ReadError>((
                (parsed(of, at, "used-ratio")?, parsed(of, at, "throughput")?),
                (parsed(of, at, "delay")?, parsed(of, at, "delay-p99")?),
            ))
        };
        let (down, up) = (direction("down")?, direction("up")?);
        let on_cell = ProfileOnCell {
            ues: parsed(cell, at, "ues")?,
            used: [down.0.0, up.0.0],
            throughput: [down.0.1, up.0.1],
            delay_us: [down.1.0, up.1.0],
            delay_p99_us: [down.1.1, up.1.1],
        };
        cells.insert(mandatory(cell, at, "name")?, on_cell);
    }
    Ok(ProfileState {
        oper_state: text(state, "oper-state"),
        cause: text(state, "cause"),
        active_core: text(state, "active-core"),
        cells,
    })
}

fn text(element: &Element, name: &str) -> Option<String> {
    let text = element.child_text(name)?;
    (!text.is_empty()).then(|| text.to_owned())
}

fn number<T: std::str::FromStr>(element: &Element, at: &str, name: &str) -> Result<T, ReadError> {
    let missing = || ReadError::Missing(format!("{at}/{name}"));
    parsed(element, at, name)?.ok_or_else(missing)
}

/// A value that has a name in the model.
fn named<T>(
    element: &Element,
    at: &str,
    name: &str,
    from_name: impl Fn(&str) -> Option<T>,
) -> Result<T, ReadError> {
    let value = mandatory(element, at, name)?;
    from_name(&value).ok_or_else(|| ReadError::Value {
        leaf: format!("{at}/{name}"),
        value,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::read::observed;
    use crate::intent::{NodePlan, Ratio};
    use tranche_netconf::xml::Fragment;

    fn read(content: &str) -> Result<Observed, ReadError> {
        observed(&Fragment::from_trusted(format!(
            "<ran xmlns='{RAN}'>{content}</ran>"
        )))
    }

    #[test]
    fn cells_cores_and_profiles_are_read_with_their_state() {
        let found = read(
            "<cell><name>nr1</name><rat>nr</rat><bandwidth-prb>106</bandwidth-prb><state><oper-state>up</oper-state>\
             <max-plmns>12</max-plmns><ues>7</ues><used-down>41.5</used-down></state></cell>\
             <core><name>edge</name><kind>amf</kind><state><oper-state>unreachable</oper-state><cause>no answer</cause></state></core>\
             <slice-profile><name>a-nr</name><slice>a</slice><mcc>001</mcc><mnc>01</mnc><sst>1</sst><cell>nr1</cell>\
             <core>edge</core><core>dc</core>\
             <rrm-policy><resource-type>prb</resource-type><min-ratio>20.0</min-ratio></rrm-policy>\
             <rrm-policy><resource-type>prb-up</resource-type><max-ratio>50.0</max-ratio></rrm-policy>\
             <state><oper-state>degraded</oper-state><cause>no core</cause><cell><name>nr1</name><ues>3</ues>\
             <down><used-ratio>12.34</used-ratio><throughput>5000000</throughput></down></cell></state></slice-profile>",
        )
        .expect("valid");
        let cell = &found.cells["nr1"];
        assert_eq!(
            (cell.rat, cell.max_plmns, cell.ues),
            (Rat::Nr, Some(12), Some(7))
        );
        assert_eq!(cell.used, [Some(Ratio::from_percent(41.5)), None]);
        assert_eq!(found.cores["edge"].kind, CoreKind::Amf);
        let (name, profile, ours) = found.profiles().next().expect("one");
        assert!(ours && !profile.foreign_parts, "{name}");
        assert_eq!(profile.config.cores, ["edge", "dc"]);
        let prb = profile.config.prb;
        assert_eq!(prb.down.min_ratio, Ratio::from_percent(20.0));
        assert_eq!(
            (prb.up.min_ratio, prb.up.max_ratio),
            (Ratio::ZERO, Ratio::from_percent(50.0)),
            "an entry for a direction is before one for both"
        );
        let there = &profile.state.cells["nr1"];
        assert_eq!(
            (there.ues, there.throughput),
            (Some(3), [Some(5_000_000), None])
        );
    }

    #[test]
    fn a_profile_is_read_back_as_it_was_written() {
        let share = |min, max, dedicated| Share {
            min_ratio: Ratio::from_percent(min),
            max_ratio: Ratio::from_percent(max),
            dedicated_ratio: Ratio::from_percent(dedicated),
        };
        let range = |first: &str, last: &str, roaming| ImsiRange {
            first: first.to_owned(),
            last: last.to_owned(),
            roaming,
        };
        let full = ProfileConfig {
            slice: "a".into(),
            admin_state: AdminState::ShuttingDown,
            mcc: "001".into(),
            mnc: "001".into(),
            sst: Some(2),
            sd: Some("00abcd".into()),
            dnns: ["internet".to_owned(), "ims".to_owned()].into(),
            cells: ["nr1".to_owned(), "nr2".to_owned()].into(),
            cores: vec!["edge".into(), "dc".into()],
            max_ues: Some(100),
            prb: Prb {
                down: share(20.0, 80.0, 5.0),
                up: share(10.0, 100.0, 0.0),
            },
            access: Access {
                default_action: DefaultAction::Permit,
                ranges: vec![
                    range("001001000000001", "001001000000009", false),
                    range("901700000000001", "901700000000001", true),
                ],
            },
        };
        let both_alike = ProfileConfig {
            prb: Prb {
                down: full.prb.down,
                up: full.prb.down,
            },
            ..full.clone()
        };
        let plain = ProfileConfig {
            sst: None,
            sd: None,
            dnns: BTreeSet::new(),
            max_ues: None,
            prb: Prb::default(),
            access: Access::default(),
            admin_state: AdminState::Unlocked,
            ..full.clone()
        };
        for config in [full, both_alike, plain] {
            let plan = NodePlan {
                profiles: [("a-nr".to_owned(), config.clone())].into(),
                ..NodePlan::default()
            };
            let edit = plan
                .edit(None, &Observed::default())
                .expect("not there yet");
            let found = observed(&edit).expect("valid");
            assert_eq!(found.profiles["a-nr"].config, config);
            assert!(plan.drift(None, &found).is_empty());
        }
    }

    #[test]
    fn what_this_controller_never_makes_is_noticed() {
        let found = read(
            "<slice-profile><name>a-lte</name><slice>a</slice><mcc>001</mcc><mnc>01</mnc><vendor>1</vendor></slice-profile>",
        );
        assert!(found.expect("valid").profiles["a-lte"].foreign_parts);
    }

    #[test]
    fn data_that_breaks_the_model_says_where() {
        let error = read("<cell><name>c</name><rat>5g</rat></cell>").expect_err("no such rat");
        assert_eq!(
            error.to_string(),
            "the node's data has the value `5g` in cell/rat"
        );
        let error = read("<core><name>c</name></core>").expect_err("no kind");
        assert_eq!(error.to_string(), "the node's data lacks core/kind");
    }
}
