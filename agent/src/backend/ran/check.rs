//! What is wrong with a RAN configuration that YANG cannot say, whatever the technology.
//!
//! [`check`] judges a configuration by itself; [`objections`] judges a change by the UEs that are attached now, and is asked
//! for changes of clients only: taking a change back must not fail because somebody attached meanwhile.

use std::collections::BTreeMap;

use super::config::{
    CellConfig, CoreKind, DefaultAction, Direction, ImsiRange, ProfileConfig, RanConfig, Rat,
    ResourceType,
};
use super::{AdminState, profile_path};
use crate::backend::{Ratio, Refusal, Why};

/// Whether a configuration makes sense.
///
/// # Errors
/// The first thing that does not.
pub(super) fn check(ran: &RanConfig) -> Result<(), Refusal> {
    for profile in &ran.profiles {
        check_sd(profile)?;
        check_technology(profile, ran)?;
    }
    for cell in &ran.cells {
        check_plmns(cell, ran)?;
        check_sums(cell, ran)?;
        check_subscribers(cell, ran)?;
    }
    Ok(())
}

/// Whether a change takes something away from UEs that are attached: `ues` says how many a slice profile has on a cell. To lock
/// it in the same change is not enough: that would be the same, unannounced.
///
/// # Errors
/// The first slice profile that still has UEs which the change would drop without saying so.
pub(super) fn objections(
    old: &RanConfig,
    new: &RanConfig,
    ues: impl Fn(&str, &str) -> u32,
) -> Result<(), Refusal> {
    let unlocked = old.profiles.iter();
    for profile in unlocked.filter(|profile| profile.admin_state != AdminState::Locked) {
        let name = &profile.name;
        let on = |cell: &String| ues(name, cell);
        let attached: u32 = profile.cells.iter().map(on).sum();
        if attached == 0 {
            continue;
        }
        let has = format!("slice profile {name} has {attached} UEs");
        let has_ues = |message| Refusal::new(profile_path(name), message).tagged("has-ues");
        let Some(after) = new.profile(name) else {
            return Err(has_ues(format!("{has}: lock it before it is deleted")));
        };
        if !profile.is_same_slice(after) {
            return Err(has_ues(format!(
                "{has}, and another PLMN or S-NSSAI deletes it and creates it anew: lock it before"
            )));
        }
        let mut left = profile.cells.iter();
        if let Some(cell) = left.find(|cell| !after.cells.contains(cell) && on(cell) > 0) {
            return Err(has_ues(format!(
                "slice profile {name} has {} UEs on cell {cell}: lock it before it leaves that cell",
                on(cell)
            )));
        }
        let is_locked = after.admin_state == AdminState::Locked;
        if !is_locked && after.max_ues.is_some_and(|max| max < attached) {
            let path = format!("{}/max-ues", profile_path(name));
            let message = format!("{has} already");
            return Err(Refusal::new(path, message).tagged("max-ues-below-attached"));
        }
    }
    Ok(())
}

/// The sums of the minima on a cell that would result if `owed` were in force: each slice profile with its minimum.
///
/// # Errors
/// The first slice profile with which they exceed the cell.
pub(super) fn fits<'a>(
    cell: &str,
    direction: Direction,
    owed: impl Iterator<Item = (&'a str, Ratio)>,
) -> Result<(), (&'a str, String)> {
    let mut sum = 0;
    for (name, min) in owed {
        sum += min.hundredths();
        if sum > Ratio::FULL.hundredths() {
            let message = format!(
                "the minima of the slice profiles of cell {cell} add up to more than 100 % ({direction})"
            );
            return Err((name, message));
        }
    }
    Ok(())
}

fn bad(path: impl Into<String>, message: impl Into<String>, app_tag: &'static str) -> Refusal {
    Refusal::new(path, message)
        .because(Why::BadValue)
        .tagged(app_tag)
}

fn check_sd(profile: &ProfileConfig) -> Result<(), Refusal> {
    let Some(sd) = &profile.sd else { return Ok(()) };
    let path = format!("{}/sd", profile_path(&profile.name));
    if sd.bytes().any(|digit| digit.is_ascii_uppercase()) {
        let message = format!("write sd {sd} in lower case");
        return Err(bad(path, message, "sd-not-canonical"));
    }
    if sd == "ffffff" {
        let message = "sd ffffff means that there is none: leave it out";
        return Err(bad(path, message, "sd-not-canonical"));
    }
    Ok(())
}

fn check_technology(profile: &ProfileConfig, ran: &RanConfig) -> Result<(), Refusal> {
    let path = profile_path(&profile.name);
    let cells = profile.cells.iter().filter_map(|name| ran.cell(name));
    for cell in cells {
        let at = format!("{path}/cell[.='{}']", cell.name);
        match (cell.rat, profile.sst) {
            (Rat::Lte, Some(_)) => {
                let message = format!("cell {} is LTE, which knows no S-NSSAI", cell.name);
                return Err(bad(at, message, "rat-mismatch"));
            }
            (Rat::Nr, None) => {
                let message = format!("cell {} is NR, where a slice needs an sst", cell.name);
                return Err(bad(at, message, "rat-mismatch"));
            }
            (Rat::Lte, None) if !profile.dnns.is_empty() => {
                let message = format!("cell {} is LTE: a dnn is for NR cells", cell.name);
                return Err(bad(at, message, "rat-mismatch"));
            }
            (Rat::Lte | Rat::Nr, _) => {}
        }
        let kind = match cell.rat {
            Rat::Lte => CoreKind::Mme,
            Rat::Nr => CoreKind::Amf,
        };
        let cores = profile.cores.iter().filter_map(|name| ran.core(name));
        if let Some(other) = cores.into_iter().find(|core| core.kind != kind) {
            let message = format!(
                "cell {} is {} and needs an {kind}; core {} is an {}",
                cell.name, cell.rat, other.name, other.kind
            );
            let at = format!("{path}/core[.='{}']", other.name);
            return Err(bad(at, message, "rat-mismatch"));
        }
    }
    Ok(())
}

fn check_plmns(cell: &CellConfig, ran: &RanConfig) -> Result<(), Refusal> {
    let most = usize::from(cell.rat.max_plmns());
    let mut plmns: BTreeMap<(&str, &str), ()> = BTreeMap::new();
    let mut slices: Vec<&ProfileConfig> = Vec::new();
    for profile in ran.profiles_of(&cell.name) {
        plmns.insert((&profile.mcc, &profile.mnc), ());
        if plmns.len() > most {
            let message = format!(
                "cell {} would broadcast more than {most} PLMNs, which is the most on {}",
                cell.name, cell.rat
            );
            let path = format!("{}/cell[.='{}']", profile_path(&profile.name), cell.name);
            let refusal = Refusal::new(path, message).because(Why::NoRoom);
            return Err(refusal.tagged("too-many-plmns"));
        }
        if let Some(twin) = slices.iter().find(|one| profile.is_same_slice(one)) {
            let message = format!(
                "slice profile {} has this PLMN and S-NSSAI on cell {} already",
                twin.name, cell.name
            );
            let path = profile_path(&profile.name);
            return Err(bad(path, message, "duplicate-slice"));
        }
        slices.push(profile);
    }
    Ok(())
}

fn check_sums(cell: &CellConfig, ran: &RanConfig) -> Result<(), Refusal> {
    for direction in Direction::BOTH {
        let in_service = ran
            .profiles_of(&cell.name)
            .filter(|profile| profile.admin_state != AdminState::Locked);
        let owed = in_service.map(|one| (one.name.as_str(), one.share(direction).min));
        fits(&cell.name, direction, owed).map_err(|(name, message)| {
            let own = match direction {
                Direction::Down => ResourceType::PrbDown,
                Direction::Up => ResourceType::PrbUp,
            };
            let has_own = ran
                .profile(name)
                .is_some_and(|profile| profile.policies.iter().any(|one| one.resource_type == own));
            let of = if has_own { own } else { ResourceType::Prb };
            let policy = format!("rrm-policy[resource-type='{}']", of.name());
            let path = format!("{}/{policy}/min-ratio", profile_path(name));
            bad(path, message, "ratio-sum")
        })?;
    }
    Ok(())
}

/// A subscriber belongs to one slice profile of a cell, whatever else there is.
fn check_subscribers(cell: &CellConfig, ran: &RanConfig) -> Result<(), Refusal> {
    let mut seen: Vec<(&str, &ImsiRange)> = Vec::new();
    let mut open: BTreeMap<String, &str> = BTreeMap::new();
    for profile in ran.profiles_of(&cell.name) {
        let path = format!("{}/access", profile_path(&profile.name));
        for range in &profile.access.ranges {
            let other = seen.iter().find(|(_, other)| range.overlaps(other));
            if let Some((owner, other)) = other {
                let message = format!(
                    "IMSI {} to {} overlap with {} to {} of slice profile {owner} on cell {}",
                    range.first, range.last, other.first, other.last, cell.name
                );
                let path = format!("{path}/imsi-range[first='{}']", range.first);
                return Err(bad(path, message, "imsi-overlap"));
            }
            seen.push((&profile.name, range));
        }
        if profile.access.default_action == DefaultAction::Permit
            && let Some(other) = open.insert(profile.plmn(), &profile.name)
        {
            let message = format!(
                "slice profile {other} lets in all other subscribers of PLMN {}-{} on cell {} already",
                profile.mcc, profile.mnc, cell.name
            );
            return Err(bad(
                format!("{path}/default-action"),
                message,
                "imsi-overlap",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
