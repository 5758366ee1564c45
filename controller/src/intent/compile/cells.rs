//! The part of the compiler that is about cells: which of them a slice takes and what it goes to there, and whether they can
//! carry all that is on them. What a node would refuse is refused here first, with what the intent calls it.

use std::collections::{BTreeMap, BTreeSet};

use crate::intent::profile::{cores_for, profile_name};
use crate::intent::ran::{AdminState, CoreKind, DefaultAction, ImsiRange};
use crate::intent::{ProfileConfig, Ran, Rat, Ratio, Slice};
use crate::inventory::{Cell, Observed};

use super::{Compiler, ErrorKind, FULL, NodePlan, Placed, below_where, percent, sum};

/// A slice's part of the cells of one technology at a node.
pub(super) struct PlacedProfile<'a> {
    pub(super) name: String,
    pub(super) slice: &'a Slice,
    pub(super) config: ProfileConfig,
}

/// Cells that a slice takes at a node, by technology.
pub(super) type Taken = BTreeMap<Rat, BTreeSet<String>>;

/// A node with the cells that a slice takes there.
pub(super) struct TakenAt<'a> {
    pub(super) node: &'a str,
    pub(super) observed: &'a Observed,
    pub(super) cells: Taken,
}

/// The cells of a node that a slice may take.
pub(super) fn taken(slice: &Slice, observed: &Observed) -> Taken {
    let mut taken = Taken::new();
    let Some(ran) = &slice.ran else { return taken };
    for (name, cell) in &observed.cells {
        let named = slice.place.cells.is_empty() || slice.place.cells.contains(name);
        if named && ran.rat.permits(cell.rat) {
            taken.entry(cell.rat).or_default().insert(name.clone());
        }
    }
    taken
}

/// The minimum of one direction.
type Min = fn(&ProfileConfig) -> Ratio;

/// PRB of a cell that can still be promised, down and up: what the minima of the slice profiles in service on it leave.
#[must_use]
pub fn unpromised_prb(plan: &NodePlan, observed: &Observed, cell: &str) -> [Ratio; 2] {
    let theirs = observed
        .profiles()
        .filter(|(_, _, ours)| !ours)
        .map(|(_, profile, _)| &profile.config);
    let on_it: Vec<&ProfileConfig> = theirs
        .chain(plan.profiles.values())
        .filter(|profile| profile.cells.contains(cell))
        .collect();
    let left = |min: Min| {
        let owed = sum(on_it.iter().map(|profile| owed(profile, min)));
        Ratio::from_hundredths(FULL.saturating_sub(owed))
    };
    [
        left(|profile| profile.prb.down.min_ratio),
        left(|profile| profile.prb.up.min_ratio),
    ]
}

/// One that is locked is owed nothing.
fn owed(profile: &ProfileConfig, min: Min) -> Ratio {
    match profile.admin_state {
        AdminState::Locked => Ratio::ZERO,
        AdminState::ShuttingDown | AdminState::Unlocked => min(profile),
    }
}

impl<'a> Compiler<'a> {
    /// `sd` as the nodes take it; whether or not the slice is enabled.
    pub(super) fn check_sd(&mut self, slice: &Slice) {
        let Some(sd) = slice.ran.as_ref().and_then(|ran| ran.sd.as_ref()) else {
            return;
        };
        let message = if sd.bytes().any(|digit| digit.is_ascii_uppercase()) {
            format!("write sd {sd} in lower case")
        } else if sd == "ffffff" {
            "sd ffffff means that there is none: leave it out".to_owned()
        } else {
            return;
        };
        self.fault(slice, "/ran/sd", ErrorKind::SdNotCanonical, message);
    }

    /// Puts a slice on the cells that it takes.
    pub(super) fn place_on_cells(&mut self, slice: &'a Slice, taken: &[TakenAt<'a>]) {
        let Some(ran) = &slice.ran else { return };
        let before = self.errors.len();
        self.check_selection(slice, ran, taken);
        let wanted = Wanted::of(ran, taken);
        for at in taken {
            self.check_cores(slice, &wanted, at);
        }
        if self.errors.len() > before {
            return;
        }
        for at in taken {
            let kind = |core: &str| at.observed.cores.get(core).map(|core| core.kind);
            for (&rat, cells) in &at.cells {
                let cores = cores_for(rat, &ran.cores, kind);
                let Some(config) = ProfileConfig::new(slice, rat, cells.clone(), cores) else {
                    continue;
                };
                let placed = self.nodes.entry(at.node);
                let placed = placed.or_insert_with(|| Placed::new(at.observed));
                placed.profiles.push(PlacedProfile {
                    name: profile_name(&slice.id, rat),
                    slice,
                    config,
                });
            }
        }
    }

    /// Whether what the slice says of its cells is true of those that it takes.
    fn check_selection(&mut self, slice: &'a Slice, ran: &Ran, taken: &[TakenAt<'a>]) {
        let all = || taken.iter().flat_map(|at| at.cells.iter());
        if !slice.some_unread {
            for name in &slice.place.cells {
                if !all().any(|(_, cells)| cells.contains(name)) {
                    let message = match ran.rat.only() {
                        Some(rat) => format!("none of the selected nodes has an {rat} cell {name}"),
                        None => format!("none of the selected nodes has a cell {name}"),
                    };
                    let below = below_where("cell", name, true);
                    self.fault(slice, &below, ErrorKind::UnknownCell, message);
                }
            }
        }
        let nr = taken.iter().find_map(|at| {
            let cell = at.cells.get(&Rat::Nr)?.first()?;
            Some((at.node, cell))
        });
        match nr {
            Some((node, cell)) if ran.sst.is_none() => {
                let message =
                    format!("cell {cell} of node {node} is NR, where a slice needs an sst");
                self.fault(slice, "/ran", ErrorKind::RatMismatch, message);
            }
            None if all().next().is_some() && !slice.some_unread => {
                let for_nr = [
                    (ran.sst.is_some(), "sst", "LTE knows no S-NSSAI"),
                    (!ran.dnns.is_empty(), "dnn", "a dnn is for NR cells"),
                ];
                for (_, leaf, why) in for_nr.into_iter().filter(|(given, ..)| *given) {
                    let message = format!("all its cells are LTE: {why}");
                    self.fault(
                        slice,
                        &format!("/ran/{leaf}"),
                        ErrorKind::RatMismatch,
                        message,
                    );
                }
            }
            Some(_) | None => {}
        }
    }

    /// Whether the cells of a node can go to the cores of the slice.
    fn check_cores(&mut self, slice: &'a Slice, wanted: &Wanted<'_>, at: &TakenAt<'a>) {
        let before = self.errors.len();
        let node = at.node;
        for core in &wanted.ran.cores {
            let below = format!("/ran/core[.='{core}']");
            match at.observed.cores.get(core) {
                None if wanted.is_for_others(core, at, slice.some_unread) => {}
                None => {
                    let message = format!("node {node} has no core {core}");
                    self.fault(slice, &below, ErrorKind::UnknownCore, message);
                }
                Some(known) if at.cells.keys().any(|rat| rat.core() == known.kind) => {}
                // For cells of the other technology at another node.
                Some(known) if wanted.kinds.contains(&known.kind) || slice.some_unread => {}
                Some(known) => {
                    let rats: Vec<String> = at.cells.keys().map(ToString::to_string).collect();
                    let message = format!(
                        "core {core} of node {node} is an {}, and the slice has only {} cells",
                        known.kind,
                        rats.join(" and ")
                    );
                    self.fault(slice, &below, ErrorKind::RatMismatch, message);
                }
            }
        }
        if self.errors.len() > before {
            return;
        }
        let kind = |core: &str| at.observed.cores.get(core).map(|core| core.kind);
        for (rat, cells) in &at.cells {
            let Some(cell) = cells.first() else { continue };
            if cores_for(*rat, &wanted.ran.cores, kind).is_empty() {
                let message = format!(
                    "cell {cell} of node {node} is {rat} and needs an {}, and none of the cores is one",
                    rat.core()
                );
                self.fault(slice, "/ran/core", ErrorKind::RatMismatch, message);
            }
        }
    }

    /// What must hold on the cells of a node.
    pub(super) fn check_cells(&mut self, node: &'a str, placed: &Placed<'a>) {
        for profile in &placed.profiles {
            let there = placed.observed.profiles.get(&profile.name);
            if there.is_some_and(|there| there.config.slice != profile.slice.id) {
                let message = format!(
                    "node {node} has a slice profile {} that belongs to somebody else, where the slice needs that name",
                    profile.name
                );
                self.fault(profile.slice, "", ErrorKind::ProfileClash, message);
            }
        }
        let mut told = BTreeSet::new();
        for (name, cell) in &placed.observed.cells {
            let theirs = placed.observed.profiles().filter(|(_, _, ours)| !ours);
            let theirs = theirs.map(|(name, profile, _)| OnCell {
                called: format!("slice profile {name}"),
                slice: None,
                config: &profile.config,
            });
            let ours = placed.profiles.iter().map(|profile| OnCell {
                called: format!("slice {}", profile.slice.id),
                slice: Some(profile.slice),
                config: &profile.config,
            });
            let on_it: Vec<OnCell<'_>> = theirs
                .chain(ours)
                .filter(|one| one.config.cells.contains(name))
                .collect();
            let at = format!("cell {name} of node {node}");
            let faults = [
                plmns(&at, cell, &on_it),
                minima(&at, &on_it),
                subscribers(&at, &on_it),
            ];
            for Fault(slice, below, kind, message) in faults.into_iter().flatten() {
                // The next cells have the same slices, and the same to say of them.
                if told.insert((slice.id.clone(), below.clone())) {
                    self.fault(slice, &below, kind, message);
                }
            }
        }
    }
}

/// What a slice wants of cores, over all its nodes.
struct Wanted<'a> {
    ran: &'a Ran,
    /// Kinds that its cells need.
    kinds: BTreeSet<CoreKind>,
    /// What its cores are, at the nodes that know them.
    known: BTreeMap<&'a str, BTreeSet<CoreKind>>,
}

impl<'a> Wanted<'a> {
    fn of(ran: &'a Ran, taken: &[TakenAt<'_>]) -> Self {
        let mut known: BTreeMap<&str, BTreeSet<CoreKind>> = BTreeMap::new();
        for at in taken {
            for core in &ran.cores {
                let kinds = known.entry(core).or_default();
                kinds.extend(at.observed.cores.get(core).map(|core| core.kind));
            }
        }
        let rats = taken.iter().flat_map(|at| at.cells.keys());
        Self {
            ran,
            kinds: rats.map(|rat| rat.core()).collect(),
            known,
        }
    }

    /// Whether a core that a node does not know is for cells of the other technology elsewhere.
    fn is_for_others(&self, core: &str, at: &TakenAt<'_>, some_unread: bool) -> bool {
        let fits = |kind: &CoreKind| at.cells.keys().any(|rat| rat.core() == *kind);
        let known = self.known.get(core);
        let nobody = known.is_none_or(BTreeSet::is_empty);
        let here = known.is_some_and(|kinds| kinds.iter().any(fits));
        self.ran.rat.only().is_none() && !here && (!nobody || some_unread)
    }
}

/// A slice profile on a cell, ours or not.
struct OnCell<'a> {
    /// As it is called in a sentence.
    called: String,
    /// `None`: somebody else's.
    slice: Option<&'a Slice>,
    config: &'a ProfileConfig,
}

/// Whose fault, where below the slice, and what it is.
struct Fault<'a>(&'a Slice, String, ErrorKind, String);

/// No more PLMNs than the cell can broadcast, and no slice of the network twice.
fn plmns<'a>(at: &str, cell: &Cell, on_it: &[OnCell<'a>]) -> Vec<Fault<'a>> {
    let most = cell.max_plmns.unwrap_or(cell.rat.max_plmns());
    let mut seen = BTreeSet::new();
    let mut owners: BTreeMap<_, &str> = BTreeMap::new();
    let (mut faults, mut last) = (Vec::new(), None);
    for one in on_it {
        let config = one.config;
        if seen.insert((&config.mcc, &config.mnc)) {
            last = one.slice.or(last);
        }
        let key = (&config.mcc, &config.mnc, config.sst, &config.sd);
        let Some(owner) = owners.insert(key, &one.called) else {
            continue;
        };
        if let Some(slice) = one.slice {
            let message = format!("{owner} has this PLMN and S-NSSAI on {at} already");
            faults.push(Fault(
                slice,
                "/ran".to_owned(),
                ErrorKind::DuplicateSlice,
                message,
            ));
        }
    }
    if let Some(slice) = last.filter(|_| seen.len() > usize::from(most)) {
        let message = format!(
            "{at} can broadcast {most} PLMNs, and {} are wanted",
            seen.len()
        );
        faults.push(Fault(
            slice,
            "/ran".to_owned(),
            ErrorKind::TooManyPlmns,
            message,
        ));
    }
    faults
}

/// The minima of each direction sum to 100 % at most.
fn minima<'a>(at: &str, on_it: &[OnCell<'a>]) -> Vec<Fault<'a>> {
    let directions: [(&str, Min); 2] = [
        ("down", |profile| profile.prb.down.min_ratio),
        ("up", |profile| profile.prb.up.min_ratio),
    ];
    let mut faults = Vec::new();
    for (direction, min) in directions {
        let total = sum(on_it.iter().map(|one| owed(one.config, min)));
        let owing = on_it
            .iter()
            .filter(|one| owed(one.config, min) > Ratio::ZERO);
        let last = owing.filter_map(|one| one.slice).next_back();
        if let Some(slice) = last.filter(|_| total > FULL) {
            let message = format!(
                "the minima of PRB on {at} sum to {} % ({direction})",
                percent(total)
            );
            let below = format!("/sla/prb/{direction}/min-ratio");
            faults.push(Fault(slice, below, ErrorKind::PrbOvercommitted, message));
        }
    }
    faults
}

/// A subscriber belongs to one slice of a cell.
fn subscribers<'a>(at: &str, on_it: &[OnCell<'a>]) -> Vec<Fault<'a>> {
    let mut faults = Vec::new();
    let mut ranges: Vec<(usize, &ImsiRange)> = Vec::new();
    let mut open: BTreeMap<_, &str> = BTreeMap::new();
    for (index, one) in on_it.iter().enumerate() {
        let access = &one.config.access;
        ranges.extend(access.ranges.iter().map(|range| (index, range)));
        if access.default_action != DefaultAction::Permit {
            continue;
        }
        let plmn = (&one.config.mcc, &one.config.mnc);
        let Some(owner) = open.insert(plmn, &one.called) else {
            continue;
        };
        if let Some(slice) = one.slice {
            let message = format!(
                "{owner} lets in all other subscribers of PLMN {}-{} on {at} already",
                plmn.0, plmn.1
            );
            let below = "/ran/access/default-action".to_owned();
            faults.push(Fault(slice, below, ErrorKind::ImsiOverlap, message));
        }
    }
    // In the order of their first, a range overlaps with the one before that goes farthest, or with none.
    ranges.sort_by_key(|(_, range)| (range.first.len(), &range.first));
    let mut farthest: Option<(usize, &ImsiRange)> = None;
    for (index, range) in ranges {
        if let Some((other, before)) = farthest
            && range.overlaps(before)
        {
            // Whoever comes later among the slices is at fault; others' profiles come before all of them.
            let (late, own, owner, theirs) = if other <= index {
                (index, range, other, before)
            } else {
                (other, before, index, range)
            };
            if let (Some(late), Some(owner)) = (on_it.get(late), on_it.get(owner))
                && let Some(slice) = late.slice
            {
                let message = format!(
                    "IMSI {} to {} overlap with {} to {} of {} on {at}",
                    own.first, own.last, theirs.first, theirs.last, owner.called
                );
                let below = format!("/ran/access/imsi-range[first='{}']", own.first);
                faults.push(Fault(slice, below, ErrorKind::ImsiOverlap, message));
            }
        }
        let goes_on = farthest.is_none_or(|(_, before)| {
            (before.last.len(), &before.last) < (range.last.len(), &range.last)
        });
        if goes_on {
            farthest = Some((index, range));
        }
    }
    faults
}

#[cfg(test)]
mod tests;
