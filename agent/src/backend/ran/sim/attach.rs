//! How simulated UEs get in: each to the slice profile of a cell that lists it, or that lets everybody of its PLMN in.

use std::collections::BTreeMap;

use super::cell::Cell;
use super::node::{Node, Place, Profile, Ue, phase};
use crate::backend::ran::{AdminState, DefaultAction, ProfileConfig, RanConfig};

impl Node {
    /// Every UE that is not attached tries to be.
    pub(super) fn attach_all(&mut self) {
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        for at in self.ues.iter().filter_map(|ue| ue.at.as_ref()) {
            *counts.entry(at.profile.clone()).or_default() += 1;
        }
        for index in 0..self.ues.len() {
            if self.ues[index].at.is_none() {
                self.attach(index, &mut counts);
            }
        }
    }

    fn attach(&mut self, index: usize, counts: &mut BTreeMap<String, u32>) {
        let ue = &self.ues[index];
        let group = &self.told.groups[ue.group];
        let phase = phase(self.told.seed, &ue.imsi, self.now_ms);
        let near = |cell: &&mut Cell| {
            cell.is_up
                && group
                    .cell
                    .as_ref()
                    .is_none_or(|name| *name == cell.config.name)
        };
        for cell in self.cells.iter_mut().filter(near) {
            let name = cell.config.name.clone();
            let Some(profile) = choose(&self.told.ran, &name, ue, group.dnn.as_deref()) else {
                count_rejected(&self.told.ran, &mut self.profiles, &name, &ue.imsi);
                continue;
            };
            let count = counts.entry(profile.name.clone()).or_default();
            let running = self
                .profiles
                .iter_mut()
                .find(|one| one.name == profile.name);
            let Some(running) = running else { continue };
            if running.core.is_none() || profile.admin_state != AdminState::Unlocked {
                continue;
            }
            if profile.max_ues.is_some_and(|max| *count >= max) {
                running.rejected += 1;
                continue;
            }
            let Some(slice) = cell.slice(&profile.name) else {
                continue;
            };
            *count += 1;
            let slot = cell.attach(slice, group, phase);
            let profile = profile.name.clone();
            self.ues[index].at = Some(Place {
                cell: name,
                profile,
                slot,
            });
            return;
        }
    }
}

/// The slice profile of a cell that a subscriber belongs to: one that lists it, or one that lets everybody in.
fn choose<'a>(
    ran: &'a RanConfig,
    cell: &'a str,
    ue: &Ue,
    dnn: Option<&str>,
) -> Option<&'a ProfileConfig> {
    let serves = |profile: &&ProfileConfig| {
        dnn.is_none_or(|dnn| profile.dnns.is_empty() || profile.dnns.iter().any(|one| one == dnn))
    };
    let lists = |profile: &&ProfileConfig| is_listed(profile, &ue.imsi);
    let listed = ran.profiles_of(cell).find(lists);
    let open = |profile: &&ProfileConfig| permits(profile, &ue.imsi);
    listed
        .or_else(|| ran.profiles_of(cell).find(open))
        .filter(serves)
}

fn is_listed(profile: &ProfileConfig, imsi: &str) -> bool {
    profile
        .access
        .ranges
        .iter()
        .any(|range| range.contains(imsi))
}

/// Whether a subscriber may use a slice profile.
pub(super) fn permits(profile: &ProfileConfig, imsi: &str) -> bool {
    let is_open = profile.access.default_action == DefaultAction::Permit;
    is_listed(profile, imsi) || (is_open && imsi.starts_with(&profile.plmn()))
}

/// Notes the attempt at the slice profiles of the subscriber's PLMN.
fn count_rejected(ran: &RanConfig, profiles: &mut [Profile], cell: &str, imsi: &str) {
    let of_plmn = ran
        .profiles_of(cell)
        .filter(|profile| imsi.starts_with(&profile.plmn()));
    for profile in of_plmn {
        if let Some(running) = profiles.iter_mut().find(|one| one.name == profile.name) {
            running.rejected += 1;
        }
    }
}
