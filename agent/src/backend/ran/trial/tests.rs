//! Golden files, what is left out, and refusals.

use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;

use super::*;
use crate::backend::ran::sim::scenario::{cell, core, one_cell, profile, share};
use crate::backend::ran::{CoreKind, CoreLocation, Rat};

const FIRST_GNB: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 1);

fn slice(number: u8, sst: u8, sd: Option<&str>) -> ProfileConfig {
    let mut slice = profile(number, share(5.0, 100.0, 0.0));
    slice.sst = Some(sst);
    slice.sd = sd.map(str::to_owned);
    slice
}

/// Two NR cells of other tracking areas and an LTE cell; slices of two PLMNs, with and without an SD and a second core.
fn two_technologies() -> RanConfig {
    let mut ran = one_cell(&[]).ran;
    ran.gnb_id = Some(411);
    ran.cells.push(cell("c2", Rat::Nr));
    ran.cells[1].tac = 8;
    ran.cells.push(cell("l1", Rat::Lte));
    ran.cores[0].address = IpAddr::from([192, 0, 2, 10]);
    ran.cores[1].address = IpAddr::from([198, 51, 100, 10]);
    ran.cores[1].port = Some(38_413);
    ran.cores
        .push(core("epc", CoreKind::Mme, CoreLocation::Edge));
    ran.cores[2].address = IpAddr::from([192, 0, 2, 20]);
    let mut both = slice(1, 1, None);
    both.cells.push("c2".to_owned());
    let second = slice(1, 2, Some("00000a"));
    let mut second = ProfileConfig {
        name: "s1-b".to_owned(),
        ..second
    };
    second.access.ranges.clear();
    let mut other = slice(2, 1, None);
    other.mnc = "002".to_owned();
    other.cores = vec!["dc".to_owned(), "edge".to_owned()];
    let mut alone = slice(3, 1, Some("0a0b0c"));
    alone.mnc = "01".to_owned();
    alone.cores = vec!["edge".to_owned()];
    let mut lte = slice(4, 1, None);
    lte.sst = None;
    lte.cells = vec!["l1".to_owned()];
    lte.cores = vec!["epc".to_owned()];
    ran.profiles = vec![both, second, other, alone, lte];
    ran
}

fn lines(skipped: &[Skipped]) -> Vec<String> {
    skipped.iter().map(ToString::to_string).collect()
}

fn names(trial: &Trial) -> Vec<&str> {
    trial.files.iter().map(|file| &*file.name).collect()
}

#[test]
fn the_files_are_what_they_were() {
    let trial = render(&two_technologies(), FIRST_GNB).unwrap();
    let expected = [
        "amf-edge.yaml",
        "amf-dc.yaml",
        "mme-epc.yaml",
        "gnb-c1-00101.yaml",
        "gnb-c1-001002.yaml",
        "gnb-c1-00101-2.yaml",
        "gnb-c2-00101.yaml",
    ];
    assert_eq!(names(&trial), expected);
    assert_eq!(
        lines(&trial.skipped),
        ["cell l1: UERANSIM has no eNB"],
        "a slice of an LTE cell is in its MME's file only"
    );
    assert_eq!(
        trial.warnings[0],
        "gnb-c1-00101: there is no way from 127.0.1.1, an address within this machine, to core edge at 192.0.2.10; --gnb-addr gives another"
    );
    let outside = render(&two_technologies(), Ipv4Addr::new(192, 0, 2, 1)).unwrap();
    assert_eq!(outside.warnings, Vec::<String>::new());
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/backend/ran/trial/golden");
    for file in &trial.files {
        let path = golden.join(&file.name);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &file.text).unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(file.text, text, "{}", file.name);
    }
}

#[test]
fn every_amf_has_what_a_gnb_tells_it() {
    let ran = two_technologies();
    let mut told = 0;
    for gnb in ueransim::gnbs(&ran) {
        for core in gnb.cores {
            let networks = open5gs::networks(&ran, ran.core(core).unwrap());
            let same = |one: &&open5gs::Network<'_>| (one.mcc, one.mnc) == (gnb.mcc, gnb.mnc);
            let network = networks.iter().find(same).unwrap();
            assert!(network.tacs.contains(&gnb.cell.tac));
            for slice in &gnb.slices {
                assert!(network.slices.contains(slice), "{slice:?} at {core}");
                told += 1;
            }
        }
    }
    assert_eq!(
        told, 9,
        "four of c1 and one of c2, all but one to two cores"
    );
}

#[test]
fn what_is_locked_is_in_no_file() {
    let mut ran = two_technologies();
    ran.cells[1].admin_state = AdminState::Locked;
    ran.profiles[2].admin_state = AdminState::Locked;
    ran.profiles[3].admin_state = AdminState::ShuttingDown;
    ran.profiles[4].admin_state = AdminState::Locked;
    let trial = render(&ran, FIRST_GNB).unwrap();
    let expected = [
        "amf-edge.yaml",
        "amf-dc.yaml",
        "gnb-c1-00101.yaml",
        "gnb-c1-00101-2.yaml",
    ];
    assert_eq!(names(&trial), expected);
    let expected = [
        "cell c2: it is locked",
        "slice profile s2: it is locked",
        "slice profile s4: it is locked",
        "core epc: no slice profile in service goes to it",
        "cell l1: UERANSIM has no eNB",
    ];
    assert_eq!(lines(&trial.skipped), expected);
    assert!(!trial.files[0].text.contains("- 8"), "no area of c2");
    for profile in &mut ran.profiles {
        profile.admin_state = AdminState::Locked;
    }
    let error = render(&ran, FIRST_GNB).unwrap_err().to_string();
    assert_eq!(
        error,
        "/tranche-ran:ran: there is nothing to try: no slice profile in service is on a cell in service"
    );
}

#[test]
fn a_gnb_that_cannot_reach_its_cores_is_left_out_and_the_core_is_not() {
    let mut ran = two_technologies();
    ran.cores[1].address = Ipv6Addr::LOCALHOST.into();
    let trial = render(&ran, FIRST_GNB).unwrap();
    assert!(trial.files[1].text.contains("address: \"::1\""));
    assert_eq!(names(&trial).last(), Some(&"gnb-c1-00101-2.yaml"));
    let reason = "core dc has an IPv6 address, and the gNB's is IPv4";
    assert_eq!(
        lines(&trial.skipped)[1..],
        ["c1-00101", "c1-001002", "c2-00101"].map(|name| format!("gnb-{name}: {reason}"))
    );
    ran.cores[1] = core("dc", CoreKind::Amf, CoreLocation::DataCentre);
    ran.cores[1].port = Some(1023);
    let trial = render(&ran, FIRST_GNB).unwrap();
    assert_eq!(
        trial.skipped[1].reason,
        "core dc has port 1023, and UERANSIM takes 1024 and above"
    );
}

#[test]
fn what_open5gs_or_ueransim_cannot_have_is_refused_where_it_is() {
    let check = |change: &dyn Fn(&mut RanConfig), expected: &str| {
        let mut ran = two_technologies();
        change(&mut ran);
        let error = render(&ran, FIRST_GNB).unwrap_err().to_string();
        assert_eq!(error, expected);
    };
    check(
        &|ran| ran.cores[1].address = ran.cores[0].address,
        "/tranche-ran:ran/core[name='dc']/address: core dc has the address of core edge: two AMFs of Open5GS need one each",
    );
    check(
        &|ran| {
            for number in 0..16 {
                let mut cell = cell(&format!("n{number}"), Rat::Nr);
                cell.tac = 100 + number;
                ran.profiles[0].cells.push(cell.name.clone());
                ran.cells.push(cell);
            }
        },
        "/tranche-ran:ran/core[name='edge']: core edge would have 19 tracking areas of PLMNs; an AMF of Open5GS has 16 at most",
    );
    check(
        &|ran| {
            for number in 10..21 {
                let mut slice = slice(number, 1, None);
                slice.policies.clear();
                slice.cells = vec!["c2".to_owned()];
                ran.profiles.push(slice);
            }
        },
        "/tranche-ran:ran/core[name='edge']: core edge would have 13 PLMNs; an AMF of Open5GS has 12 at most",
    );
    check(
        &|ran| ran.gnb_id = Some(u32::MAX),
        "/tranche-ran:ran/gnb-id: identities from here on are not enough for the simulated gNBs",
    );
    check(
        &|ran| ran.profiles[0].sst = None,
        "/tranche-ran:ran/slice-profile[name='s1']/cell[.='c1']: cell c1 is NR, where a slice needs an sst",
    );
}
