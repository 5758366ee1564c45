//! Simulated gNBs of UERANSIM in the place of NR cells.
//!
//! Such a gNB has one cell and one PLMN, and tells all its slices to all its AMFs. So there is one for each cell, PLMN and list
//! of cores: no AMF is told of a slice that does not go to it.

use std::net::{IpAddr, Ipv4Addr};

use super::yaml::Yaml;
use super::{Snssai, Trial, TrialFile, add, in_service, plmn, snssai};
use crate::backend::ran::{CellConfig, CoreConfig, RanConfig, Rat};
use crate::backend::{Refusal, Why};

/// Length of a gNB's identity; four of the 36 bits of a cell's identity are left (TS 38.413 9.3.1.7).
const ID_BITS: u64 = 32;
/// Where AMFs listen (TS 38.412 7).
const NGAP_PORT: u16 = 38_412;
/// The lowest port of an AMF that a simulated gNB takes.
const MIN_PORT: u16 = 1024;

/// A simulated gNB.
pub(super) struct Gnb<'a> {
    pub(super) cell: &'a CellConfig,
    pub(super) mcc: &'a str,
    pub(super) mnc: &'a str,
    pub(super) cores: &'a [String],
    pub(super) slices: Vec<Snssai<'a>>,
}

/// Adds the files of all gNBs; LTE cells are skipped.
pub(super) fn render(
    ran: &RanConfig,
    first_address: Ipv4Addr,
    trial: &mut Trial,
) -> Result<(), Refusal> {
    for cell in ran.cells.iter().filter(|cell| cell.rat == Rat::Lte) {
        trial.skip(format!("cell {}", cell.name), "UERANSIM has no eNB");
    }
    let mut number = 0;
    let gnbs = gnbs(ran);
    for (index, gnb) in gnbs.iter().enumerate() {
        let name = name(gnb, &gnbs[..index]);
        let cores = gnb.cores.iter().filter_map(|name| ran.core(name));
        let cores: Vec<_> = cores.collect();
        if let Some(reason) = cores.iter().find_map(|core| obstacle(core)) {
            trial.skip(name, reason);
            continue;
        }
        let identity = identity(ran, first_address, number)?;
        if let Some(core) = cores.iter().find(|core| is_out_of_reach(identity.1, core)) {
            trial.warnings.push(format!(
                "{name}: there is no way from {}, an address within this machine, to core {} at {}; --gnb-addr gives another",
                identity.1, core.name, core.address
            ));
        }
        let text = file(gnb, &name, &cores, identity);
        let name = format!("{name}.yaml");
        trial.files.push(TrialFile { name, text });
        number += 1;
    }
    Ok(())
}

/// The gNBs of all NR cells, in the order of the cells.
pub(super) fn gnbs(ran: &RanConfig) -> Vec<Gnb<'_>> {
    let mut gnbs: Vec<Gnb<'_>> = Vec::new();
    for cell in ran.cells.iter().filter(|cell| cell.rat == Rat::Nr) {
        for (profile, _) in in_service(ran).filter(|(_, on)| on.name == cell.name) {
            let (mcc, mnc) = (profile.mcc.as_str(), profile.mnc.as_str());
            let key = (&cell.name, mcc, mnc, &profile.cores[..]);
            let known = gnbs
                .iter_mut()
                .find(|gnb| (&gnb.cell.name, gnb.mcc, gnb.mnc, gnb.cores) == key);
            match (known, snssai(profile)) {
                (_, None) => {}
                (Some(gnb), Some(snssai)) => add(&mut gnb.slices, snssai),
                (None, Some(snssai)) => gnbs.push(Gnb {
                    cell,
                    mcc,
                    mnc,
                    cores: &profile.cores,
                    slices: vec![snssai],
                }),
            }
        }
    }
    gnbs
}

/// As in `gnb-nr1-00101`; the second of this cell and PLMN ends in `-2`.
fn name(gnb: &Gnb<'_>, before: &[Gnb<'_>]) -> String {
    let name = |gnb: &Gnb<'_>| format!("gnb-{}-{}{}", gnb.cell.name, gnb.mcc, gnb.mnc);
    let own = name(gnb);
    match before.iter().filter(|other| name(other) == own).count() {
        0 => own,
        others => format!("{own}-{}", others + 1),
    }
}

/// The kernel has no way from a loopback address to another machine.
fn is_out_of_reach(gnb: Ipv4Addr, core: &CoreConfig) -> bool {
    gnb.is_loopback() && !core.address.is_loopback()
}

/// Why a simulated gNB cannot go to a core.
fn obstacle(core: &CoreConfig) -> Option<String> {
    let name = &core.name;
    match (core.address, core.port) {
        (IpAddr::V6(_), _) => Some(format!(
            "core {name} has an IPv6 address, and the gNB's is IPv4"
        )),
        (_, Some(port)) if port < MIN_PORT => Some(format!(
            "core {name} has port {port}, and UERANSIM takes {MIN_PORT} and above"
        )),
        (IpAddr::V4(_), _) => None,
    }
}

/// Identity and address of gNB `number` (from 0).
fn identity(
    ran: &RanConfig,
    first_address: Ipv4Addr,
    number: u32,
) -> Result<(u32, Ipv4Addr), Refusal> {
    let id = ran.gnb_id.unwrap_or(1).checked_add(number);
    let address = u32::from(first_address).checked_add(number);
    let ends = |path: &str, what: &str| {
        let message = format!("{what} from here on are not enough for the simulated gNBs");
        Refusal::new(path, message).because(Why::NoRoom)
    };
    Ok((
        id.ok_or_else(|| ends("/tranche-ran:ran/gnb-id", "identities"))?,
        address
            .ok_or_else(|| ends("/tranche-ran:ran", &format!("addresses {first_address}")))?
            .into(),
    ))
}

fn file(
    gnb: &Gnb<'_>,
    name: &str,
    cores: &[&CoreConfig],
    (id, address): (u32, Ipv4Addr),
) -> String {
    let amf = |core: &&CoreConfig| {
        Yaml::Map(vec![
            ("address", Yaml::text(core.address)),
            ("port", Yaml::Number(core.port.unwrap_or(NGAP_PORT).into())),
        ])
    };
    let slice = |(sst, sd): &Snssai<'_>| {
        let mut slice = vec![("sst", Yaml::Number((*sst).into()))];
        let sd = sd.and_then(|sd| u64::from_str_radix(sd, 16).ok());
        slice.extend(sd.map(|sd| ("sd", Yaml::Hex(sd, 6))));
        Yaml::Map(slice)
    };
    // The first cell of this gNB; it has no other.
    let nci = (u64::from(id) << (36 - ID_BITS)) | 1;
    let mut keys = plmn(gnb.mcc, gnb.mnc);
    keys.extend([
        ("nci", Yaml::Hex(nci, 9)),
        ("idLength", Yaml::Number(ID_BITS)),
        ("tac", Yaml::Number(gnb.cell.tac.into())),
        ("linkIp", Yaml::text(address)),
        ("ngapIp", Yaml::text(address)),
        ("gtpIp", Yaml::text(address)),
        ("amfConfigs", Yaml::List(cores.iter().map(amf).collect())),
        ("slices", Yaml::List(gnb.slices.iter().map(slice).collect())),
        ("ignoreStreamIds", Yaml::Flag(true)),
    ]);
    let comment = [
        format!(
            "Simulated gNB of UERANSIM for PLMN {}-{} on cell {}: nr-gnb -c {name}.yaml",
            gnb.mcc, gnb.mnc, gnb.cell.name
        ),
        "Cores are in the order of preference, but UERANSIM connects to all of them and picks one for a UE by itself.".to_owned(),
    ];
    Yaml::Map(keys).document(&comment)
}
