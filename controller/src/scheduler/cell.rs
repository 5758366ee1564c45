//! Cells: what one reports, how it is corrected, and what the scheduler remembers of it from one period to the next.

use std::sync::Arc;

use super::integral::Integral;
use super::radio::Delivery;
use super::types::{DomainId, Period, RadioId};
use super::verdict::Memory;
use super::{Name, STALE};

/// A cell of a node; `radio` is its name there.
pub type CellId = RadioId;

/// Direction of traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// From the cell to its UEs.
    Down,
    /// From the UEs to their cell.
    Up,
}

impl Direction {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Down, Self::Up];

    /// As `tranche-ran` names it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Up => "up",
        }
    }
}

/// What a slice profile got of one direction of a cell. Ratios are percent of the PRB of that direction.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PrbUse {
    /// Share used; `None` where it is not measured.
    pub used: Option<f64>,
    /// More waits to be sent than was sent.
    pub backlogged: bool,
    /// Minimum in force, where the node says so.
    pub effective_min: Option<f64>,
    /// Ceiling in force, where the node says so.
    pub effective_max: Option<f64>,
    /// Mean over the interval in bit/s, where it is measured.
    pub throughput: Option<u64>,
    /// Mean time in µs that packets waited to be sent, where any were sent and it is measured.
    pub delay_us: Option<u32>,
    /// What 99 % of them waited at most, in µs: the greatest of the node's periods.
    pub delay_p99_us: Option<u32>,
}

/// A slice profile on a cell.
#[derive(Debug, Clone, PartialEq)]
pub struct ProfileReport {
    /// Its name at the node.
    pub name: Arc<str>,
    /// The slice it belongs to; `None`: not one of ours, never corrected.
    pub slice: Option<Arc<str>>,
    /// UEs attached there, where the node says so.
    pub ues: Option<u32>,
    /// Downlink.
    pub down: PrbUse,
    /// Uplink.
    pub up: PrbUse,
}

impl ProfileReport {
    /// What it got in a direction.
    #[must_use]
    pub fn in_direction(&self, direction: Direction) -> &PrbUse {
        match direction {
            Direction::Down => &self.down,
            Direction::Up => &self.up,
        }
    }
}

/// What a cell measured over one interval.
#[derive(Debug, Clone, PartialEq)]
pub struct CellReport {
    /// Whose.
    pub id: CellId,
    /// The period in which the interval ended; older ones are stale.
    pub ended: Period,
    /// Number of the node's report: a smaller one than before is of an agent that started again.
    pub sequence: u64,
    /// PRB of each direction.
    pub bandwidth_prb: Option<u16>,
    /// UEs attached.
    pub ues: Option<u32>,
    /// Share of its downlink PRB that were used, percent.
    pub used_down: Option<f64>,
    /// Share of its uplink PRB that were used, percent.
    pub used_up: Option<f64>,
    /// Slice profiles on it.
    pub profiles: Vec<ProfileReport>,
}

/// One line of a `correct-prb`. Only minima are corrected: a cell serves them before it lends the rest.
#[derive(Debug, Clone, PartialEq)]
pub struct PrbCorrection {
    /// Where.
    pub cell: CellId,
    /// The slice profile.
    pub profile: Arc<str>,
    /// Its slice.
    pub slice: Arc<str>,
    /// The direction.
    pub direction: Direction,
    /// Minimum from now on, percent of the cell's PRB, two digits.
    pub min_ratio: f64,
}

/// A cell, remembered.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    pub(super) name: DomainId,
    ended: Option<Period>,
    sequence: u64,
    /// The newest report came since the last step.
    pub(super) is_new: bool,
    /// Minima in force of slice profiles that are not ours, by direction, fraction.
    pub(super) foreign_min: [f64; 2],
    pub(super) profiles: Vec<Profile>,
    /// By direction.
    pub(super) memory: [Memory; 2],
}

/// A slice profile on a cell, remembered.
#[derive(Debug, Clone)]
pub(super) struct Profile {
    pub(super) name: Name,
    pub(super) slice: Name,
    /// Where its slice was in the SLA table, with the table's own name for it.
    pub(super) place: Option<(u32, Name)>,
    /// By direction.
    pub(super) flows: [Flow; 2],
}

/// A direction of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Flow {
    /// Fraction; `None`: not measured.
    pub(super) used: Option<f64>,
    pub(super) backlogged: bool,
    /// Minimum that the node shows, percent.
    pub(super) shown: Option<f64>,
    pub(super) integral: Integral,
    /// The minimum decided last, percent, and when; `None`: what the node shows.
    pub(super) sent: Option<(f64, Period)>,
    pub(super) delivery: Delivery,
}

impl Cell {
    pub(super) fn new(id: &CellId) -> Self {
        Self {
            name: id.to_string().into(),
            ended: None,
            sequence: 0,
            is_new: false,
            foreign_min: [0.0; 2],
            profiles: Vec::new(),
            memory: Default::default(),
        }
    }

    /// Takes a report in, unless it was taken in before or is stale. Returns whether its node started again.
    pub(super) fn take(&mut self, now: Period, report: &CellReport) -> bool {
        self.delivered();
        self.is_new =
            self.ended.is_none_or(|ended| report.ended > ended) && now.since(report.ended) <= STALE;
        if !self.is_new {
            return false;
        }
        let restarted = report.sequence < self.sequence;
        (self.ended, self.sequence) = (Some(report.ended), report.sequence);
        self.match_profiles(report);
        let mut foreign = [0.0; 2];
        let mut ours = self.profiles.iter_mut();
        for profile in &report.profiles {
            let known = profile.slice.as_ref().and_then(|_| ours.next());
            match known {
                Some(known) => known.take(profile, restarted),
                None => {
                    for (sum, direction) in foreign.iter_mut().zip(Direction::BOTH) {
                        let min = profile.in_direction(direction).effective_min;
                        *sum += min.unwrap_or(0.0) / 100.0;
                    }
                }
            }
        }
        self.foreign_min = foreign;
        restarted
    }

    /// One entry for each slice profile of ours in the report, in its order; state follows name and slice.
    fn match_profiles(&mut self, report: &CellReport) {
        let mut old = std::mem::take(&mut self.profiles);
        for profile in &report.profiles {
            let Some(slice) = &profile.slice else {
                continue;
            };
            let is_it = |one: &Profile| one.name == profile.name && one.slice == *slice;
            self.profiles.push(match old.iter().position(is_it) {
                Some(at) => old.swap_remove(at),
                None => Profile {
                    name: Arc::clone(&profile.name),
                    slice: Arc::clone(slice),
                    place: None,
                    flows: Default::default(),
                },
            });
        }
    }

    /// Whether its report says something about now.
    pub(super) fn is_fresh(&self, now: Period) -> bool {
        self.ended.is_some_and(|ended| now.since(ended) <= STALE)
    }

    /// A new step begins: what the one before decided is in force.
    fn delivered(&mut self) {
        for flow in self.flows() {
            if flow.delivery == Delivery::UnderWay {
                flow.delivery = Delivery::Arrived;
            }
        }
    }

    /// What the newest step decided may be in force or not.
    pub(super) fn undelivered(&mut self) {
        for flow in self.flows() {
            if flow.delivery == Delivery::UnderWay {
                flow.delivery = Delivery::Unknown;
            }
        }
    }

    /// The node takes no corrections: what was decided is not in force.
    pub(super) fn give_up(&mut self) {
        for flow in self.flows() {
            (flow.sent, flow.delivery) = (None, Delivery::Arrived);
            flow.integral.reset();
        }
    }

    fn flows(&mut self) -> impl Iterator<Item = &mut Flow> {
        self.profiles
            .iter_mut()
            .flat_map(|profile| &mut profile.flows)
    }
}

impl Profile {
    fn take(&mut self, report: &ProfileReport, restarted: bool) {
        for (flow, direction) in self.flows.iter_mut().zip(Direction::BOTH) {
            let seen = report.in_direction(direction);
            flow.used = seen.used.map(|used| (used / 100.0).clamp(0.0, 1.0));
            flow.backlogged = seen.backlogged;
            flow.shown = seen.effective_min;
            if restarted {
                // Corrections are not stored at a node.
                (flow.sent, flow.delivery) = (None, Delivery::Arrived);
            }
        }
    }
}
