//! What the gNB of the srsRAN project would not do, or would ignore without a word: refused before anything is changed.

use std::collections::BTreeMap;

use crate::backend::ran::{
    AdminState, CellConfig, DefaultAction, Direction, ProfileConfig, RanConfig, Rat, ResourceType,
    cell_path, profile_path,
};
use crate::backend::{Refusal, Why};

/// Bands with uplink and downlink on one frequency, where this project's carriers are spaced by 30 kHz.
fn is_tdd(band: u16) -> bool {
    matches!(band, 34 | 38..=41 | 46..=48 | 50 | 51 | 53 | 77..=79 | 90 | 96 | 101 | 102 | 104)
}

/// Channel bandwidth in MHz and subcarrier spacing in kHz of a cell with a band (TS 38.104 5.3.2).
pub(super) fn channel(cell: &CellConfig) -> Option<(u16, u16)> {
    let fdd = [(25, 5), (52, 10), (79, 15), (106, 20)];
    let tdd = [
        (24, 10),
        (38, 15),
        (51, 20),
        (65, 25),
        (78, 30),
        (106, 40),
        (133, 50),
        (162, 60),
        (189, 70),
        (217, 80),
        (245, 90),
        (273, 100),
    ];
    let (table, scs_khz) = match is_tdd(cell.band?) {
        true => (&tdd[..], 30),
        false => (&fdd[..], 15),
    };
    let found = table.iter().find(|(prb, _)| *prb == cell.bandwidth_prb);
    found.map(|(_, mhz)| (*mhz, scs_khz))
}

/// Whether the gNB does all that is asked for.
///
/// # Errors
/// The first thing that it does not.
pub(super) fn check(ran: &RanConfig) -> Result<(), Refusal> {
    for (index, cell) in ran.cells.iter().enumerate() {
        let path = cell_path(&cell.name);
        if index > 0 {
            return Err(no(path, "one gNB of this kind has one cell here"));
        }
        if cell.rat == Rat::Lte {
            return Err(no(format!("{path}/rat"), "srsRAN carries NR cells only"));
        }
        if cell.band.is_none() {
            let message = "srsRAN needs the band to know the channel";
            return Err(no(format!("{path}/band"), message));
        }
        if channel(cell).is_none() {
            let message = format!("no channel of this band has {} PRB", cell.bandwidth_prb);
            return Err(no(format!("{path}/bandwidth-prb"), message));
        }
    }
    for profile in &ran.profiles {
        check_profile(profile)?;
    }
    check_shared(ran)
}

fn no(path: impl Into<String>, message: impl Into<String>) -> Refusal {
    let refusal = Refusal::new(path, message).because(Why::Unsupported);
    refusal.tagged("not-on-srsran")
}

fn check_profile(profile: &ProfileConfig) -> Result<(), Refusal> {
    let path = profile_path(&profile.name);
    if profile.admin_state == AdminState::ShuttingDown {
        let message = "srsRAN cannot keep UEs out of a slice that it has";
        return Err(no(format!("{path}/admin-state"), message));
    }
    if profile.max_ues.is_some() {
        let message = "srsRAN does not limit the UEs of a slice";
        return Err(no(format!("{path}/max-ues"), message));
    }
    if !profile.dnns.is_empty() {
        let message = "srsRAN leaves data networks to the core";
        return Err(no(format!("{path}/dnn"), message));
    }
    if let Some(range) = profile.access.ranges.first() {
        let path = format!("{path}/access/imsi-range[first='{}']", range.first);
        return Err(no(path, "srsRAN leaves subscribers to the core"));
    }
    if profile.access.default_action == DefaultAction::Deny {
        let message = "srsRAN leaves subscribers to the core: set it to permit";
        return Err(no(format!("{path}/access/default-action"), message));
    }
    if let Some(second) = profile.cores.get(1) {
        let message = "srsRAN keeps a PLMN under one AMF";
        return Err(no(format!("{path}/core[.='{second}']"), message));
    }
    for policy in &profile.policies {
        let name = policy.resource_type.name();
        let path = format!("{path}/rrm-policy[resource-type='{name}']");
        if policy.resource_type != ResourceType::Prb {
            return Err(no(path, "srsRAN has one policy for both directions"));
        }
        let share = policy.share;
        for (leaf, ratio) in [
            ("min-ratio", share.min),
            ("max-ratio", share.max),
            ("dedicated-ratio", share.dedicated),
        ] {
            if !ratio.hundredths().is_multiple_of(100) {
                let message = "srsRAN takes whole percents";
                return Err(no(format!("{path}/{leaf}"), message));
            }
        }
    }
    Ok(())
}

/// What two slice profiles cannot have differently.
fn check_shared(ran: &RanConfig) -> Result<(), Refusal> {
    let mut amfs: BTreeMap<String, &ProfileConfig> = BTreeMap::new();
    let mut slices: BTreeMap<(Option<u8>, &Option<String>), &ProfileConfig> = BTreeMap::new();
    let serving = ran.profiles.iter();
    for profile in serving.filter(|profile| profile.admin_state != AdminState::Locked) {
        let path = profile_path(&profile.name);
        let other = *amfs.entry(profile.plmn()).or_insert(profile);
        if other.cores != profile.cores {
            let message = format!(
                "PLMN {}-{} is under another AMF already, by slice profile {}",
                profile.mcc, profile.mnc, other.name
            );
            return Err(no(format!("{path}/core"), message));
        }
        let other = *slices.entry((profile.sst, &profile.sd)).or_insert(profile);
        if other.share(Direction::Down) != profile.share(Direction::Down) {
            let message = format!(
                "srsRAN has one policy for an S-NSSAI in all PLMNs, and slice profile {} has another",
                other.name
            );
            return Err(no(format!("{path}/rrm-policy"), message));
        }
    }
    Ok(())
}
