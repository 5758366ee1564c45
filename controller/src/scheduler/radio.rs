//! What the scheduler remembers of a radio and its vifs from one period to the next.

use super::capacity::Capacity;
use super::integral::Integral;
use super::types::{Period, RadioId, RadioReport, VifReport};
use super::verdict::Memory;
use super::{Name, STALE, is_same};

/// Below this use a vif that is not backlogged is idle.
const IDLE: f64 = 0.001;
/// Periods after a change of ceiling in which the old one may still be in force at the node.
const SETTLING: u64 = 2;
/// A vif that uses this part of its ceiling is held by it.
const HELD: f64 = 0.93;
/// Below this busy time, a backlogged vif that no ceiling holds is limited by itself.
const SELF_LIMITED_BUSY: f64 = 0.6;
/// Periods after which that is believed.
const SELF_LIMITED_AFTER: u8 = 3;
/// A radio that is busy for no longer than this beside what it sends and receives, percent, senses nobody else.
const DEAF: f64 = 0.05;

/// A radio.
#[derive(Debug, Clone)]
pub(super) struct Radio {
    pub(super) id: RadioId,
    /// End of the newest report; `None` before the first one.
    pub(super) ended: Option<Period>,
    /// The newest report came since the last step.
    pub(super) is_new: bool,
    pub(super) busy: f64,
    /// What it sent and received itself, fraction.
    pub(super) own: f64,
    /// It senses nobody else: all are quiet, or the driver measures no busy time.
    pub(super) is_deaf: bool,
    pub(super) vifs: Vec<Vif>,
    /// Minimum configured for vifs that are not ours, fraction.
    pub(super) reserved_min: f64,
    pub(super) capacity: Capacity,
    /// Ceilings are in force.
    pub(super) capped: bool,
    /// Periods since a row it counts in was congested.
    pub(super) relaxed_for: u32,
    /// Of the domain it leads.
    pub(super) memory: Memory,
}

/// A vif of a slice. Airtime as fraction of wall-clock time, corrections in percent.
#[derive(Debug, Clone)]
pub(super) struct Vif {
    pub(super) name: Name,
    pub(super) slice: Name,
    /// Where its slice was in the SLA table, with the table's own name for it.
    pub(super) place: Option<(u32, Name)>,
    pub(super) used: f64,
    pub(super) backlogged: bool,
    pub(super) configured_min: f64,
    pub(super) configured_max: f64,
    pub(super) effective_max: Option<f64>,
    pub(super) integral: Integral,
    /// The correction decided last; `None`: what is configured.
    pub(super) sent: Option<Sent>,
    pub(super) delivery: Delivery,
    held: bool,
    self_limited_for: u8,
}

/// A correction at a node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) at: Period,
    /// The ceiling before this one, and when it was replaced.
    pub(super) before: (f64, Period),
}

/// What became of the correction decided last, or of taking one back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Delivery {
    /// It is in force.
    #[default]
    Arrived,
    /// The newest step decided it.
    UnderWay,
    /// It may be in force, or what was before it: it is decided anew, however little it differs from what is wanted.
    Unknown,
}

impl Radio {
    pub(super) fn new(id: RadioId) -> Self {
        Self {
            id,
            ended: None,
            is_new: false,
            busy: 0.0,
            own: 0.0,
            is_deaf: false,
            vifs: Vec::new(),
            reserved_min: 0.0,
            capacity: Capacity::default(),
            capped: false,
            relaxed_for: 0,
            memory: Memory::default(),
        }
    }

    /// Takes a report in, unless it was taken in before or is stale.
    pub(super) fn take(&mut self, now: Period, report: &RadioReport) {
        self.is_new =
            self.ended.is_none_or(|ended| report.ended > ended) && now.since(report.ended) <= STALE;
        if !self.is_new {
            return;
        }
        self.ended = Some(report.ended);
        self.busy = (report.busy / 100.0).clamp(0.0, 1.0);
        let own = report.vifs.iter().map(|vif| vif.used + vif.received);
        self.own = own.sum::<f64>() / 100.0;
        self.is_deaf = report.busy <= 100.0 * self.own + DEAF;
        self.reserved_min = report
            .vifs
            .iter()
            .filter(|vif| vif.slice.is_none())
            .map(|vif| vif.configured_min / 100.0)
            .sum();
        self.match_vifs(report);
        let managed = report.vifs.iter().filter(|vif| vif.slice.is_some());
        for (vif, report) in self.vifs.iter_mut().zip(managed) {
            vif.take(now, report);
        }
        if !self.is_deaf {
            self.find_self_limited();
        }
    }

    /// What those it contends with send and receive is on the air, whether or not it senses it.
    pub(super) fn hear(&mut self, row: f64) {
        self.busy = self.busy.max(row.min(1.0));
        self.find_self_limited();
    }

    fn find_self_limited(&mut self) {
        for vif in &mut self.vifs {
            vif.find_self_limited(self.busy);
        }
    }

    /// One entry per managed vif of the report, in its order; state follows the name and the slice.
    fn match_vifs(&mut self, report: &RadioReport) {
        let managed = || {
            report
                .vifs
                .iter()
                .filter_map(|vif| Some((&vif.name, vif.slice.as_ref()?)))
        };
        let same = |(vif, (name, slice)): (&Vif, (&Name, &Name))| {
            is_same(&vif.name, name) && is_same(&vif.slice, slice)
        };
        if self.vifs.len() == managed().count() && self.vifs.iter().zip(managed()).all(same) {
            return;
        }
        let mut old = std::mem::take(&mut self.vifs);
        for (name, slice) in managed() {
            let known = old
                .iter()
                .position(|vif| vif.name == *name && vif.slice == *slice);
            self.vifs.push(match known {
                Some(at) => old.swap_remove(at),
                None => Vif::new(name.clone(), slice.clone()),
            });
        }
    }

    /// Whether its report says something about now.
    pub(super) fn is_fresh(&self, now: Period) -> bool {
        self.ended.is_some_and(|ended| now.since(ended) <= STALE)
    }

    /// A new step begins: what the one before decided is in force.
    pub(super) fn delivered(&mut self) {
        for vif in &mut self.vifs {
            if vif.delivery == Delivery::UnderWay {
                vif.delivery = Delivery::Arrived;
            }
        }
    }

    /// What the newest step decided may be in force or not.
    pub(super) fn undelivered(&mut self) {
        for vif in &mut self.vifs {
            if vif.delivery == Delivery::UnderWay {
                vif.delivery = Delivery::Unknown;
            }
        }
    }
}

impl Vif {
    fn new(name: Name, slice: Name) -> Self {
        Self {
            name,
            slice,
            place: None,
            used: 0.0,
            backlogged: false,
            configured_min: 0.0,
            configured_max: 100.0,
            effective_max: None,
            integral: Integral::default(),
            sent: None,
            delivery: Delivery::Arrived,
            held: false,
            self_limited_for: 0,
        }
    }

    fn take(&mut self, now: Period, report: &VifReport) {
        self.used = (report.used / 100.0).clamp(0.0, 1.0);
        self.backlogged = report.backlogged;
        self.configured_min = report.configured_min.clamp(0.0, 100.0);
        self.configured_max = report.configured_max.clamp(0.0, 100.0);
        self.effective_max = report.effective_max;
        let limit = self.limit(now);
        self.held = limit < 1.0 && self.used >= HELD * limit;
    }

    fn find_self_limited(&mut self, busy: f64) {
        if !self.backlogged || self.held {
            self.self_limited_for = 0;
        } else if busy < SELF_LIMITED_BUSY {
            self.self_limited_for = self.self_limited_for.saturating_add(1);
        } else if self.self_limited_for < SELF_LIMITED_AFTER {
            // Once believed it holds until a ceiling does: others now fill the channel, which proves nothing. Its
            // demand grows with its use meanwhile, so a wrong belief does not last.
            self.self_limited_for = 0;
        }
    }

    /// Whether what was decided last may be in force or not.
    pub(super) fn is_unknown(&self) -> bool {
        self.delivery == Delivery::Unknown
    }

    /// The ceiling in force as far as is known, percent: the lower one where it may be one of two.
    pub(super) fn ceiling(&self) -> f64 {
        match self.sent {
            Some(sent) if self.is_unknown() => sent.max.min(sent.before.0),
            Some(sent) => sent.max,
            None => self.configured_max,
        }
    }

    /// The ceiling under which the last measurement was made, fraction.
    fn limit(&self, now: Period) -> f64 {
        let sent = match self.sent {
            Some(Sent {
                max,
                before: (before, since),
                ..
            }) if self.is_unknown() || now.since(since) <= SETTLING => max.min(before),
            Some(Sent { max, .. }) => max,
            None => 100.0,
        };
        sent.min(self.configured_max) / 100.0
    }

    /// What it asks for: without bound while backlogged, unless neither a ceiling nor the channel holds it back.
    pub(super) fn demand(&self) -> f64 {
        let short = self.backlogged && self.self_limited_for < SELF_LIMITED_AFTER;
        demand(self.used, short)
    }

    /// Whether it wanted more than it got, for want of air as far as is known.
    pub(super) fn is_short(&self) -> bool {
        self.demand().is_infinite()
    }

    /// Whether it did and no ceiling stood in its way.
    pub(super) fn is_short_uncapped(&self) -> bool {
        self.is_short() && !self.held
    }
}

/// What somebody asks for who uses so much (fraction), and is short or not.
pub(super) fn demand(used: f64, is_short: bool) -> f64 {
    if is_short {
        f64::INFINITY
    } else if used < IDLE {
        0.0
    } else {
        1.2 * used + 0.01
    }
}
