//! One simulated node: what it was told, its cells, cores and UEs, and what it decides every 100 ms.
//!
//! The decisions of a round: cells that are unlocked come up, cores are looked at, slice profiles settle on a core, ceilings
//! of the global scheduler lapse, and UEs that are not attached try to be if anything has changed.

use std::collections::BTreeMap;

use tokio::sync::broadcast;

use super::attach::permits;
use super::cell::Cell;
use super::config::{SimCore, UeGroup};
use super::core::Core;
use crate::backend::ran::{
    AdminState, Direction, Event, ProfileConfig, ProfileState, RanConfig, Share,
};
use crate::backend::sim::{Rng, SimConfig};
use crate::backend::{NodeConfig, Ratio};

/// Time between two rounds of decisions.
const ROUND_MS: u64 = 100;
/// Events that a slow listener may miss.
const EVENTS: usize = 1024;

/// What a node was told.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Told {
    pub(super) ran: RanConfig,
    pub(super) seed: u64,
    pub(super) groups: Vec<UeGroup>,
    pub(super) cores: Vec<SimCore>,
}

impl Told {
    pub(super) fn of(config: &NodeConfig) -> Self {
        let default = SimConfig::default();
        let sim = config.sim.as_ref().unwrap_or(&default);
        Self {
            ran: config.ran.clone(),
            seed: sim.seed,
            groups: sim.ue_groups.clone(),
            cores: sim.cores.clone(),
        }
    }
}

/// Where a correction applies: slice profile, cell, direction.
pub(super) type At = (String, String, Direction);

/// What the global scheduler put in force.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Corrected {
    pub(super) min: Option<Ratio>,
    /// A ceiling, and when it lapses.
    pub(super) max: Option<(Ratio, u64)>,
}

/// A simulated node.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) told: Told,
    pub(super) cells: Vec<Cell>,
    pub(super) cores: Vec<Core>,
    pub(super) profiles: Vec<Profile>,
    pub(super) ues: Vec<Ue>,
    pub(super) corrections: BTreeMap<At, Corrected>,
    pub(super) now_ms: u64,
    /// Whether a UE that is not attached could be now.
    pub(super) has_changed: bool,
    pub(super) sequence: u64,
    pub(super) period_start_ms: u64,
    pub(super) periods: BTreeMap<(String, String, Direction), super::observe::Period>,
    pub(super) events: broadcast::Sender<Event>,
}

/// A slice profile as it runs.
#[derive(Debug, Clone)]
pub(super) struct Profile {
    pub(super) name: String,
    pub(super) state: ProfileState,
    pub(super) cause: Option<String>,
    pub(super) core: Option<String>,
    pub(super) failovers: u64,
    pub(super) rejected: u64,
}

/// A UE, attached or not.
#[derive(Debug, Clone)]
pub(super) struct Ue {
    pub(super) imsi: String,
    pub(super) group: usize,
    pub(super) at: Option<Place>,
}

/// Where a UE is attached.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) cell: String,
    pub(super) profile: String,
    pub(super) slot: usize,
}

impl Node {
    pub(super) fn new(now_ms: u64) -> Self {
        Self {
            told: Told::default(),
            cells: Vec::new(),
            cores: Vec::new(),
            profiles: Vec::new(),
            ues: Vec::new(),
            corrections: BTreeMap::new(),
            now_ms,
            has_changed: false,
            sequence: 0,
            period_start_ms: now_ms,
            periods: BTreeMap::new(),
            events: broadcast::Sender::new(EVENTS),
        }
    }

    /// Lets time pass.
    pub(super) fn advance(&mut self, until_ms: u64) {
        while self.now_ms < until_ms {
            let round = (self.now_ms / ROUND_MS + 1) * ROUND_MS;
            self.now_ms = round.min(until_ms);
            for cell in &mut self.cells {
                cell.advance(self.now_ms);
            }
            if self.now_ms == round {
                self.decide();
            }
        }
    }

    fn decide(&mut self) {
        for cell in &mut self.cells {
            let should = cell.config.admin_state == AdminState::Unlocked;
            self.has_changed |= cell.is_up != should;
            cell.is_up = should;
        }
        for core in &mut self.cores {
            let before = core.status.oper_state;
            let behaviour = self
                .told
                .cores
                .iter()
                .find(|one| one.name == core.status.name);
            core.step(behaviour, self.now_ms);
            self.has_changed |= core.status.oper_state != before;
        }
        self.settle();
        self.lapse();
        if std::mem::take(&mut self.has_changed) {
            self.attach_all();
        }
    }

    /// Carries out what the node is told. UEs stay attached where they may.
    pub(super) fn configure(&mut self, told: Told) {
        let before = std::mem::replace(&mut self.told, told);
        self.renew_ues(&before);
        self.release(&before);
        self.renew_cells();
        let old = std::mem::take(&mut self.cores);
        for config in &self.told.ran.cores {
            let is_same = before.ran.core(&config.name) == Some(config);
            let kept = old
                .iter()
                .find(|one| is_same && one.status.name == config.name);
            let new = || Core::new(&config.name, self.now_ms);
            self.cores.push(kept.cloned().unwrap_or_else(new));
        }
        let old = std::mem::take(&mut self.profiles);
        for config in &self.told.ran.profiles {
            let is_same = before
                .ran
                .profile(&config.name)
                .is_some_and(|old| old.is_same_slice(config));
            let kept = old.iter().find(|one| is_same && one.name == config.name);
            self.profiles.push(kept.cloned().unwrap_or_else(|| Profile {
                name: config.name.clone(),
                state: ProfileState::Pending,
                cause: None,
                core: None,
                failovers: 0,
                rejected: 0,
            }));
        }
        let ran = &self.told.ran;
        self.corrections.retain(|(profile, cell, _), _| {
            let after = ran.profile(profile);
            after.is_some_and(|after| {
                after.cells.contains(cell)
                    && before
                        .ran
                        .profile(profile)
                        .is_some_and(|before| before.policies == after.policies)
            })
        });
        self.put_shares_in_force();
        self.settle();
        self.has_changed = true;
    }

    /// The UEs of the groups; those that are gone or moved are let go, the others keep their link.
    fn renew_ues(&mut self, before: &Told) {
        let now_ms = self.now_ms;
        let mut old: BTreeMap<String, Ue> = std::mem::take(&mut self.ues)
            .into_iter()
            .map(|ue| (ue.imsi.clone(), ue))
            .collect();
        let mut dropped = Vec::new();
        for (index, group) in self.told.groups.iter().enumerate() {
            for imsi in group
                .imsis()
                .into_iter()
                .flatten()
                .filter(|_| group.enabled)
            {
                let mut ue = Ue {
                    imsi,
                    group: index,
                    at: None,
                };
                if let Some(known) = old.remove(&ue.imsi) {
                    let was = &before.groups[known.group];
                    if (&was.cell, &was.dnn) == (&group.cell, &group.dnn) {
                        ue.at = known.at;
                    } else {
                        dropped.extend(known.at);
                    }
                    if let Some(at) = &ue.at
                        && (was.bits_per_prb, was.down, was.up)
                            != (group.bits_per_prb, group.down, group.up)
                    {
                        let phase = phase(self.told.seed, &ue.imsi, now_ms);
                        if let Some(cell) = cell_mut(&mut self.cells, &at.cell) {
                            cell.set_traffic(at.slot, group, phase);
                        }
                    }
                }
                self.ues.push(ue);
            }
        }
        dropped.extend(old.into_values().filter_map(|ue| ue.at));
        for at in dropped {
            if let Some(cell) = cell_mut(&mut self.cells, &at.cell) {
                cell.detach(at.slot);
            }
        }
    }

    /// Lets those UEs go that the new configuration does not have where they are.
    fn release(&mut self, before: &Told) {
        let (old, new) = (before.ran.clone(), self.told.ran.clone());
        self.let_go(|ue, at| {
            let (Some(was), Some(profile)) = (old.profile(&at.profile), new.profile(&at.profile))
            else {
                return true;
            };
            profile.admin_state == AdminState::Locked
                || !was.is_same_slice(profile)
                || !profile.cells.contains(&at.cell)
                || old.cell(&at.cell) != new.cell(&at.cell)
                || (was.access != profile.access && !permits(profile, &ue.imsi))
        });
    }

    /// Lets the UEs go that `which` says; how many.
    pub(super) fn let_go(&mut self, which: impl Fn(&Ue, &Place) -> bool) -> u32 {
        let mut count = 0;
        for ue in &mut self.ues {
            if ue.at.as_ref().is_some_and(|at| which(ue, at))
                && let Some(at) = ue.at.take()
                && let Some(cell) = cell_mut(&mut self.cells, &at.cell)
            {
                cell.detach(at.slot);
                count += 1;
            }
        }
        self.has_changed |= count > 0;
        count
    }

    fn renew_cells(&mut self) {
        let mut old = std::mem::take(&mut self.cells);
        for config in &self.told.ran.cells {
            let kept = old.iter().position(|cell| cell.config == *config);
            let mut cell = match kept {
                Some(index) => old.swap_remove(index),
                None => Cell::new(config.clone(), self.now_ms),
            };
            let profiles = self.told.ran.profiles_of(&config.name);
            cell.carry(profiles.map(|profile| profile.name.clone()).collect());
            self.cells.push(cell);
        }
    }

    /// The share in force: configured, or corrected.
    pub(super) fn share(&self, profile: &ProfileConfig, cell: &str, direction: Direction) -> Share {
        let mut share = profile.share(direction);
        let at = (profile.name.clone(), cell.to_owned(), direction);
        if let Some(corrected) = self.corrections.get(&at) {
            share.min = corrected.min.unwrap_or(share.min);
            share.max = corrected.max.map_or(share.max, |(max, _)| max);
        }
        share
    }

    /// Hands the shares in force to the schedulers.
    pub(super) fn put_shares_in_force(&mut self) {
        let mut wanted = Vec::new();
        for (index, cell) in self.cells.iter().enumerate() {
            for (slice, name) in cell.profiles.iter().enumerate() {
                let Some(profile) = self.told.ran.profile(name) else {
                    continue;
                };
                for direction in Direction::BOTH {
                    let share = self.share(profile, &cell.config.name, direction);
                    wanted.push((index, direction, slice, share));
                }
            }
        }
        for (cell, direction, slice, share) in wanted {
            self.cells[cell].set_share(direction, slice, share);
        }
    }

    fn lapse(&mut self) {
        let now_ms = self.now_ms;
        let mut has_lapsed = false;
        for corrected in self.corrections.values_mut() {
            if corrected.max.is_some_and(|(_, end_ms)| end_ms <= now_ms) {
                corrected.max = None;
                has_lapsed = true;
            }
        }
        if has_lapsed {
            self.put_shares_in_force();
        }
    }
}

fn cell_mut<'a>(cells: &'a mut [Cell], name: &str) -> Option<&'a mut Cell> {
    cells.iter_mut().find(|cell| cell.config.name == name)
}

/// When in an interval the packets of a UE come, in thousandths.
pub(super) fn phase(seed: u64, imsi: &str, now_ms: u64) -> u64 {
    Rng::seeded(seed ^ now_ms, &[imsi]).up_to(999)
}
