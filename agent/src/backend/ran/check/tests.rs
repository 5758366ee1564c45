//! Each refusal, with where and why.

use super::*;
use crate::backend::NodeConfig;
use crate::backend::ran::config::{ImsiRange, PolicyConfig};
use crate::backend::ran::sim::scenario::{cell, one_cell, one_lte_cell, profile, share};

/// A configuration that is right, changed into one that must be refused.
#[track_caller]
fn refused(config: NodeConfig, change: impl FnOnce(&mut RanConfig)) -> Refusal {
    let mut ran = config.ran;
    assert_eq!(check(&ran), Ok(()));
    change(&mut ran);
    check(&ran).unwrap_err()
}

#[track_caller]
fn expect(refusal: &Refusal, why: Why, app_tag: &str, text: &str) {
    assert_eq!((refusal.why, refusal.app_tag), (why, Some(app_tag)));
    assert_eq!(refusal.to_string(), text);
}

fn two() -> NodeConfig {
    one_cell(&[share(20.0, 100.0, 0.0), share(30.0, 100.0, 0.0)])
}

const S2: &str = "/tranche-ran:ran/slice-profile[name='s2']";

#[test]
fn sd_has_one_form_only() {
    for (sd, text) in [
        ("00AB12", "write sd 00AB12 in lower case"),
        ("ffffff", "sd ffffff means that there is none: leave it out"),
    ] {
        let refusal = refused(two(), |ran| ran.profiles[1].sd = Some(sd.to_owned()));
        let text = format!("{S2}/sd: {text}");
        expect(&refusal, Why::BadValue, "sd-not-canonical", &text);
    }
    let mut ran = two().ran;
    ran.profiles[1].sd = Some("00ab12".to_owned());
    assert_eq!(check(&ran), Ok(()));
}

#[test]
fn a_slice_has_what_its_cells_know() {
    let at = format!("{S2}/cell[.='c1']");
    let refusal = refused(two(), |ran| ran.profiles[1].sst = None);
    let text = format!("{at}: cell c1 is NR, where a slice needs an sst");
    expect(&refusal, Why::BadValue, "rat-mismatch", &text);

    let lte = || one_lte_cell(&[share(20.0, 100.0, 0.0), share(30.0, 100.0, 0.0)]);
    let refusal = refused(lte(), |ran| ran.profiles[1].sst = Some(1));
    let text = format!("{at}: cell c1 is LTE, which knows no S-NSSAI");
    expect(&refusal, Why::BadValue, "rat-mismatch", &text);

    let refusal = refused(lte(), |ran| ran.profiles[1].dnns.push("ims".to_owned()));
    let text = format!("{at}: cell c1 is LTE: a dnn is for NR cells");
    expect(&refusal, Why::BadValue, "rat-mismatch", &text);

    let refusal = refused(two(), |ran| ran.cores[1].kind = CoreKind::Mme);
    let text = "/tranche-ran:ran/slice-profile[name='s1']/core[.='dc']: cell c1 is NR and needs an \
                AMF; core dc is an MME";
    expect(&refusal, Why::BadValue, "rat-mismatch", text);
}

#[test]
fn a_cell_broadcasts_six_plmns_on_lte_and_twelve_on_nr() {
    let free = share(0.0, 100.0, 0.0);
    for (make, most, rat) in [
        (one_lte_cell as fn(&[_]) -> NodeConfig, 6, "LTE"),
        (one_cell, 12, "NR"),
    ] {
        let config = make(&vec![free; most]);
        let sst = config.ran.profiles[0].sst;
        let number = most as u8 + 1;
        let refusal = refused(config, |ran| {
            let more = profile(number, free);
            ran.profiles.push(ProfileConfig { sst, ..more });
        });
        let text = format!(
            "/tranche-ran:ran/slice-profile[name='s{number}']/cell[.='c1']: cell c1 would broadcast \
             more than {most} PLMNs, which is the most on {rat}"
        );
        expect(&refusal, Why::NoRoom, "too-many-plmns", &text);
    }
    // Slices of one PLMN count once.
    let mut ran = one_cell(&[free; 12]).ran;
    let mut more = profile(1, free);
    more.name = "s1b".to_owned();
    more.sst = Some(2);
    more.access.ranges.clear();
    ran.profiles.push(more);
    assert_eq!(check(&ran), Ok(()));
}

#[test]
fn no_two_slices_of_a_cell_are_the_same_to_a_ue() {
    let refusal = refused(two(), |ran| {
        ran.profiles[1].mnc = "01".to_owned();
        ran.profiles[1].access.ranges.clear();
    });
    let text = format!("{S2}: slice profile s1 has this PLMN and S-NSSAI on cell c1 already");
    expect(&refusal, Why::BadValue, "duplicate-slice", &text);
}

#[test]
fn minima_add_up_to_a_cell_in_each_direction() {
    let refusal = refused(two(), |ran| {
        ran.profiles[1].policies[0].share = share(80.01, 100.0, 0.0);
    });
    let text = format!(
        "{S2}/rrm-policy[resource-type='prb']/min-ratio: the minima of the slice profiles of cell c1 \
         add up to more than 100 % (down)"
    );
    expect(&refusal, Why::BadValue, "ratio-sum", &text);

    let refusal = refused(two(), |ran| {
        ran.profiles[1].policies.push(PolicyConfig {
            resource_type: ResourceType::PrbUp,
            share: share(90.0, 100.0, 0.0),
        });
    });
    let text = format!(
        "{S2}/rrm-policy[resource-type='prb-up']/min-ratio: the minima of the slice profiles of cell \
         c1 add up to more than 100 % (up)"
    );
    expect(&refusal, Why::BadValue, "ratio-sum", &text);

    let mut ran = two().ran;
    ran.profiles[0].admin_state = AdminState::Locked;
    ran.profiles[1].policies[0].share = share(100.0, 100.0, 0.0);
    assert_eq!(check(&ran), Ok(()), "a locked slice owes nothing");
}

#[test]
fn a_subscriber_belongs_to_one_slice_of_a_cell() {
    let range = |first: &str, last: &str| ImsiRange {
        first: first.to_owned(),
        last: last.to_owned(),
        roaming: true,
    };
    let refusal = refused(two(), |ran| {
        let access = &mut ran.profiles[1].access;
        access
            .ranges
            .push(range("001010000000999", "001010000002000"));
    });
    let text = format!(
        "{S2}/access/imsi-range[first='001010000000999']: IMSI 001010000000999 to 001010000002000 \
         overlap with 001010000000001 to 001010000000999 of slice profile s1 on cell c1"
    );
    expect(&refusal, Why::BadValue, "imsi-overlap", &text);

    let mut ran = two().ran;
    ran.cells.push(cell("c2", Rat::Nr));
    ran.profiles[1].cells = vec!["c2".to_owned()];
    let on_c2 = &mut ran.profiles[1].access;
    on_c2
        .ranges
        .push(range("001010000000999", "001010000002000"));
    assert_eq!(check(&ran), Ok(()), "another cell is another matter");
    // Numbers of another length are other subscribers.
    let mut ran = two().ran;
    let access = &mut ran.profiles[1].access;
    access
        .ranges
        .push(range("00101000000001", "00101000000999"));
    assert_eq!(check(&ran), Ok(()));

    let refusal = refused(two(), |ran| {
        ran.profiles[1].mnc = "01".to_owned();
        ran.profiles[1].sst = Some(2);
        for profile in &mut ran.profiles {
            profile.access.ranges.clear();
            profile.access.default_action = DefaultAction::Permit;
        }
    });
    let text = format!(
        "{S2}/access/default-action: slice profile s1 lets in all other subscribers of PLMN 001-01 on \
         cell c1 already"
    );
    expect(&refusal, Why::BadValue, "imsi-overlap", &text);
}

#[test]
fn nothing_is_taken_from_ues_that_are_attached_without_saying_so() {
    let mut old = two().ran;
    old.cells.push(cell("c2", Rat::Nr));
    old.profiles[1].cells.push("c2".to_owned());
    let three = |name: &str, cell: &str| if (name, cell) == ("s2", "c1") { 3 } else { 0 };
    let judge = |change: &dyn Fn(&mut RanConfig)| {
        let mut new = old.clone();
        change(&mut new);
        (
            objections(&old, &new, three),
            objections(&old, &new, |_, _| 0),
        )
    };
    let (refusal, without) = judge(&|ran| drop(ran.profiles.pop()));
    assert_eq!(without, Ok(()));
    let text = format!("{S2}: slice profile s2 has 3 UEs: lock it before it is deleted");
    expect(&refusal.unwrap_err(), Why::Failed, "has-ues", &text);

    let (refusal, without) = judge(&|ran| ran.profiles[1].mnc = "77".to_owned());
    assert_eq!(without, Ok(()));
    let text = format!(
        "{S2}: slice profile s2 has 3 UEs, and another PLMN or S-NSSAI deletes it and creates it anew: \
         lock it before"
    );
    expect(&refusal.unwrap_err(), Why::Failed, "has-ues", &text);

    let leaves = |cell: usize| {
        move |ran: &mut RanConfig| {
            ran.profiles[1].cells.remove(cell);
        }
    };
    let (refusal, without) = judge(&leaves(0));
    assert_eq!(without, Ok(()));
    let text =
        format!("{S2}: slice profile s2 has 3 UEs on cell c1: lock it before it leaves that cell");
    expect(&refusal.unwrap_err(), Why::Failed, "has-ues", &text);
    let (nobody_there, _) = judge(&leaves(1));
    assert_eq!(nobody_there, Ok(()));

    // Locked in the same change is not locked before.
    let at_once: [&dyn Fn(&mut RanConfig); 2] =
        [&|ran| ran.profiles[1].mnc = "77".to_owned(), &leaves(0)];
    for change in at_once {
        let (refusal, without) = judge(&|ran| {
            change(ran);
            ran.profiles[1].admin_state = AdminState::Locked;
        });
        assert_eq!(without, Ok(()));
        assert_eq!(refusal.unwrap_err().app_tag, Some("has-ues"));
    }

    let (refusal, without) = judge(&|ran| ran.profiles[1].max_ues = Some(2));
    assert_eq!(without, Ok(()));
    let text = format!("{S2}/max-ues: slice profile s2 has 3 UEs already");
    expect(
        &refusal.unwrap_err(),
        Why::Failed,
        "max-ues-below-attached",
        &text,
    );
    let (fits, _) = judge(&|ran| ran.profiles[1].max_ues = Some(3));
    assert_eq!(fits, Ok(()));
    let (locked, _) = judge(&|ran| ran.profiles[1].admin_state = AdminState::Locked);
    assert_eq!(locked, Ok(()));
    let mut locked = old.clone();
    locked.profiles[1].admin_state = AdminState::Locked;
    for change in [
        &(|ran: &mut RanConfig| drop(ran.profiles.pop())) as &dyn Fn(&mut RanConfig),
        &leaves(0),
        &|ran| ran.profiles[1].mnc = "77".to_owned(),
    ] {
        let mut after = locked.clone();
        change(&mut after);
        assert_eq!(objections(&locked, &after, three), Ok(()));
    }
}
