//! Configuration files for people who try the slices of a node without a radio: cores of Open5GS, and simulated gNBs of
//! UERANSIM in the place of cells.
//!
//! Pure: from a configuration to the text of files; who writes them is [`crate::render_ran`]. Only what is in service is in
//! them. What cannot be tried this way is left out and said, never replaced by something that resembles it.

mod open5gs;
mod ueransim;
mod yaml;

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::Ipv4Addr;

use yaml::Yaml;

use super::check::check;
use super::{AdminState, CellConfig, ProfileConfig, RanConfig};
use crate::backend::Refusal;

/// What comes of a configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trial {
    /// Files, cores first.
    pub files: Vec<TrialFile>,
    /// What is in no file, or in fewer than it could be.
    pub skipped: Vec<Skipped>,
    /// What is in a file and will not work there.
    pub warnings: Vec<String>,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrialFile {
    /// Its name, without a directory.
    pub name: String,
    /// What is in it.
    pub text: String,
}

/// What was left out, as in `cell lte: UERANSIM has no eNB`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Kind and name.
    pub what: String,
    /// Why.
    pub reason: String,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.reason)
    }
}

impl Trial {
    fn skip(&mut self, what: String, reason: impl Into<String>) {
        let reason = reason.into();
        self.skipped.push(Skipped { what, reason });
    }
}

/// The files of a configuration. The simulated gNBs have addresses from `first_gnb` on, one each.
///
/// # Errors
/// A [`Refusal`] if the configuration makes no sense, Open5GS or UERANSIM cannot have it so, or nothing is in service.
pub fn render(ran: &RanConfig, first_gnb: Ipv4Addr) -> Result<Trial, Refusal> {
    check(ran)?;
    let mut trial = Trial::default();
    let locked = |state| state == AdminState::Locked;
    for cell in ran.cells.iter().filter(|one| locked(one.admin_state)) {
        trial.skip(format!("cell {}", cell.name), "it is locked");
    }
    for profile in ran.profiles.iter().filter(|one| locked(one.admin_state)) {
        trial.skip(format!("slice profile {}", profile.name), "it is locked");
    }
    if in_service(ran).next().is_none() {
        let message =
            "there is nothing to try: no slice profile in service is on a cell in service";
        return Err(Refusal::new("/tranche-ran:ran", message));
    }
    open5gs::render(ran, &mut trial)?;
    ueransim::render(ran, first_gnb, &mut trial)?;
    Ok(trial)
}

/// Every slice profile in service with each of its cells in service.
fn in_service(ran: &RanConfig) -> impl Iterator<Item = (&ProfileConfig, &CellConfig)> {
    let profiles = ran.profiles.iter();
    let profiles = profiles.filter(|one| one.admin_state != AdminState::Locked);
    profiles.flat_map(|profile| {
        let cells = ran.cells.iter().filter(|cell| {
            cell.admin_state != AdminState::Locked && profile.cells.contains(&cell.name)
        });
        cells.map(move |cell| (profile, cell))
    })
}

/// An S-NSSAI: SST, and SD as six digits.
type Snssai<'a> = (u8, Option<&'a str>);

fn snssai(profile: &ProfileConfig) -> Option<Snssai<'_>> {
    Some((profile.sst?, profile.sd.as_deref()))
}

/// Adds what is not there yet.
fn add<T: PartialEq>(to: &mut Vec<T>, one: T) {
    if !to.contains(&one) {
        to.push(one);
    }
}

fn plmn(mcc: &str, mnc: &str) -> Vec<(&'static str, Yaml)> {
    vec![("mcc", Yaml::text(mcc)), ("mnc", Yaml::text(mnc))]
}
