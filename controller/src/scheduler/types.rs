//! What goes into the scheduler and what comes out. Ratios are percent of wall-clock time unless a field says otherwise.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::cell::{CellReport, PrbCorrection};

/// Number of a scheduling period, counted from the start of the controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Period(pub u64);

impl Period {
    /// Periods since `earlier`; zero if that is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A radio of a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RadioId {
    /// Name of the node in the inventory.
    pub node: Arc<str>,
    /// Name of the radio on that node.
    pub radio: Arc<str>,
}

impl RadioId {
    /// From two names.
    #[must_use]
    pub fn new(node: &str, radio: &str) -> Self {
        Self {
            node: node.into(),
            radio: radio.into(),
        }
    }
}

impl fmt::Display for RadioId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.node, self.radio)
    }
}

/// The address of an access point's beacons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bssid(pub [u8; 6]);

/// Text that is not six pairs of hexadecimal digits with colons between them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a MAC address")]
pub struct BadBssid(pub String);

impl FromStr for Bssid {
    type Err = BadBssid;

    fn from_str(text: &str) -> Result<Self, BadBssid> {
        let bad = || BadBssid(text.to_owned());
        let mut octets = [0u8; 6];
        let mut parts = text.trim().split(':');
        for octet in &mut octets {
            let part = parts
                .next()
                .filter(|part| part.len() == 2)
                .ok_or_else(bad)?;
            *octet = u8::from_str_radix(part, 16).map_err(|_| bad())?;
        }
        if parts.next().is_some() {
            return Err(bad());
        }
        Ok(Self(octets))
    }
}

impl fmt::Display for Bssid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// An access point that a radio hears on its channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbour {
    /// Whose beacon.
    pub bssid: Bssid,
    /// Received signal in dBm, where the node tells; heard is strong enough where it does not.
    pub signal_dbm: Option<i8>,
    /// Age of the last beacon when the report was made, in milliseconds.
    pub age_ms: u32,
}

/// One virtual interface in a report.
#[derive(Debug, Clone, PartialEq)]
pub struct VifReport {
    /// Interface name on the node.
    pub name: Arc<str>,
    /// The slice it belongs to; `None`: not one of ours, never corrected.
    pub slice: Option<Arc<str>>,
    /// Address of its beacons.
    pub bssid: Option<Bssid>,
    /// Airtime used to send over the interval.
    pub used: f64,
    /// Airtime its stations used to send to it.
    pub received: f64,
    /// It had more to send than it was let.
    pub backlogged: bool,
    /// The minimum in its configuration, percent of the radio's airtime.
    pub configured_min: f64,
    /// The ceiling in its configuration.
    pub configured_max: f64,
    /// The ceiling in force on the node, where the node says so.
    pub effective_max: Option<f64>,
}

/// What a radio measured over one interval.
#[derive(Debug, Clone, PartialEq)]
pub struct RadioReport {
    /// Whose.
    pub id: RadioId,
    /// The period in which the interval ended; older ones are stale.
    pub ended: Period,
    /// Primary channel, where known. Radios on different channels do not contend.
    pub channel: Option<u16>,
    /// Time the channel was sensed busy, own transmissions included.
    pub busy: f64,
    /// Its virtual interfaces.
    pub vifs: Vec<VifReport>,
    /// Access points heard.
    pub neighbours: Arc<[Neighbour]>,
}

/// The newest report of every radio and cell the controller knows.
///
/// One that is missing is forgotten; one whose report is old is kept but not counted.
#[derive(Debug, Clone, Default)]
pub struct NetworkReport {
    /// In any order; one per radio.
    pub radios: Vec<Arc<RadioReport>>,
    /// In any order; one per cell.
    pub cells: Vec<Arc<CellReport>>,
}

/// What a promise is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Technology {
    /// Airtime of a Wi-Fi contention domain.
    Airtime,
    /// Downlink PRB of a cell.
    PrbDown,
    /// Uplink PRB of a cell.
    PrbUp,
    /// The mean of a slice's shares over all contention domains: of the airtime of each Wi-Fi domain and of the downlink PRB of
    /// each cell.
    Aggregate,
}

impl Technology {
    /// As `tranche-sla` names it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Airtime => "airtime",
            Self::PrbDown => "prb-down",
            Self::PrbUp => "prb-up",
            Self::Aggregate => "aggregate",
        }
    }
}

/// What a slice is owed of each cell in one direction, percent of its PRB.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PrbSla {
    /// Guaranteed.
    pub min_ratio: f64,
    /// The most it may take.
    pub max_ratio: f64,
}

impl Default for PrbSla {
    fn default() -> Self {
        Self {
            min_ratio: 0.0,
            max_ratio: 100.0,
        }
    }
}

/// What a slice is owed. By default nothing, and it may take all.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sla {
    /// Guaranteed share of a contention domain's available airtime, percent.
    pub min_ratio: f64,
    /// Most it may take of it, percent.
    pub max_ratio: f64,
    /// Who is served first when not all guarantees can be met; higher first.
    pub priority: u8,
    /// Downlink of cells.
    pub down: PrbSla,
    /// Uplink of cells.
    pub up: PrbSla,
    /// Guaranteed mean of its shares over all contention domains it is in, percent; 0: none.
    pub aggregate: f64,
}

impl Default for Sla {
    fn default() -> Self {
        Self {
            min_ratio: 0.0,
            max_ratio: 100.0,
            priority: 0,
            down: PrbSla::default(),
            up: PrbSla::default(),
            aggregate: 0.0,
        }
    }
}

/// What every slice is owed.
#[derive(Debug, Clone, Default)]
pub struct SlaTable {
    pub(super) entries: Vec<(Arc<str>, Sla)>,
    /// A slice has an aggregate promise.
    pub(super) has_aggregates: bool,
    index: HashMap<Arc<str>, u32>,
}

impl SlaTable {
    /// Adds a slice or replaces what it is owed.
    pub fn insert(&mut self, slice: &str, sla: Sla) {
        self.has_aggregates |= sla.aggregate > 0.0;
        if let Some(&at) = self.index.get(slice) {
            self.entries[at as usize].1 = sla;
        } else {
            let name: Arc<str> = slice.into();
            self.index
                .insert(Arc::clone(&name), self.entries.len() as u32);
            self.entries.push((name, sla));
        }
    }

    fn position(&self, slice: &str) -> Option<u32> {
        self.index.get(slice).copied()
    }

    /// The place of a slice. `known` is where it was last time, with the table's own name for it: most often it is still
    /// there, and then no name is read.
    pub(super) fn place(&self, known: &mut Option<(u32, Arc<str>)>, slice: &str) -> Option<u32> {
        let is_there = |(at, name): &(u32, Arc<str>)| {
            let entry = self.entries.get(*at as usize);
            entry.is_some_and(|(entry, _)| Arc::ptr_eq(entry, name))
        };
        if !known.as_ref().is_some_and(is_there) {
            *known = self
                .position(slice)
                .map(|at| (at, Arc::clone(&self.entries[at as usize].0)));
        }
        known.as_ref().map(|&(at, _)| at)
    }
}

impl<'a> FromIterator<(&'a str, Sla)> for SlaTable {
    fn from_iter<I: IntoIterator<Item = (&'a str, Sla)>>(slices: I) -> Self {
        let mut table = Self::default();
        for (slice, sla) in slices {
            table.insert(slice, sla);
        }
        table
    }
}

/// Name of a contention domain: its first radio in the order of names, as `node/radio`, or the cell, as `node/cell`; `all` for an
/// aggregate.
pub type DomainId = Arc<str>;

/// One line of a `correct-airtime`.
#[derive(Debug, Clone, PartialEq)]
pub struct Correction {
    /// Where.
    pub radio: RadioId,
    /// Interface name.
    pub vif: Arc<str>,
    /// Minimum from now on, percent of the radio's airtime, two digits, never above `max_ratio`.
    pub min_ratio: f64,
    /// Ceiling until it lapses, percent, two digits.
    pub max_ratio: f64,
}

/// How a slice fares in a contention domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SliceState {
    /// It gets what it is owed, or all it asks for.
    Met,
    /// It has asked for what it is owed and gone short for three periods.
    Violated,
    /// It asks for nothing.
    Idle,
    /// A node of it has not reported.
    Unknown,
}

/// A slice in a contention domain over the last period. For a cell `owed`, `measured` and `target` are percent of its PRB, for an
/// aggregate the mean over its domains of percent of wall-clock time or PRB. For airtime:
///
/// `owed`, `measured` and `target` are percent of the domain's available airtime (its capacity), so they can be compared, and in a
/// fully loaded domain the measured ones sum to about 100. Where not all radios of the domain hear each other, they
/// describe the worst spot: the radio of this slice whose neighbourhood gives it least of what it is owed.
#[derive(Debug, Clone, PartialEq)]
pub struct SliceMeasure {
    /// Which slice.
    pub slice: Arc<str>,
    /// Of what.
    pub technology: Technology,
    /// Where.
    pub domain: DomainId,
    /// Guaranteed.
    pub owed: f64,
    /// Got.
    pub measured: f64,
    /// What it asks for; `None` while it is backlogged: more than it gets.
    pub demand: Option<f64>,
    /// What the scheduler aims at.
    pub target: f64,
    /// State, with hysteresis.
    pub state: SliceState,
}

/// A contention domain over the last period.
#[derive(Debug, Clone, PartialEq)]
pub struct DomainMeasure {
    /// Of what: a cell is two domains.
    pub technology: Technology,
    /// Name.
    pub domain: DomainId,
    /// Its radios, in the order of names; none for a cell.
    pub radios: Arc<[RadioId]>,
    /// Airtime available to our vifs at the tightest spot.
    pub capacity: f64,
    /// Airtime taken by others (received airtime included) at the tightest spot.
    pub external: f64,
    /// Whether ceilings are in force somewhere in it, or the minimum of a slice is raised.
    pub corrected: bool,
    /// Why nothing is corrected, in the node's words, where it refuses.
    pub refused: Option<Arc<str>>,
}

/// Something worth telling an operator.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A slice has gone short of its SLA.
    Violated {
        /// Which.
        slice: Arc<str>,
        /// Of what.
        technology: Technology,
        /// Where.
        domain: DomainId,
        /// Percent of available airtime owed.
        owed: f64,
        /// Percent of available airtime got.
        measured: f64,
    },
    /// A violated slice gets what it is owed again, or asks for nothing.
    Cleared {
        /// Which.
        slice: Arc<str>,
        /// Of what.
        technology: Technology,
        /// Where.
        domain: DomainId,
        /// Percent of available airtime got.
        measured: f64,
    },
    /// The guarantees of the slices active around a radio exceed its airtime: lower priorities are scaled down.
    Infeasible {
        /// Of what.
        technology: Technology,
        /// Where.
        domain: DomainId,
        /// The radio with the greatest excess, or the cell.
        radio: RadioId,
        /// Sum of the guarantees there, percent of what is available.
        asked: f64,
        /// The slices that get less than their guarantee.
        slices: Vec<Arc<str>>,
    },
    /// An aggregate promise cannot be kept without breaking a guarantee of another slice or passing a ceiling of its own.
    OutOfReach {
        /// Which.
        slice: Arc<str>,
        /// Percent promised.
        owed: f64,
        /// Percent that could be reached at most.
        possible: f64,
    },
    /// It can again.
    InReach {
        /// Which.
        slice: Arc<str>,
    },
    /// The guarantees of a domain fit again.
    Feasible {
        /// Of what.
        technology: Technology,
        /// Where.
        domain: DomainId,
    },
}

/// The outcome of one step.
#[derive(Debug, Clone, Default)]
pub struct Decision {
    /// What to send to radios; empty while disabled.
    pub corrections: Vec<Correction>,
    /// What to send to cells, in this order; empty while disabled.
    pub prb: Vec<PrbCorrection>,
    /// Every slice in every domain where it has a vif, by domain then slice; then on every cell, then aggregates.
    pub slices: Vec<SliceMeasure>,
    /// Every domain: those of radios, then cells.
    pub domains: Vec<DomainMeasure>,
    /// What changed.
    pub events: Vec<Event>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bssid_is_six_octets() {
        let bssid: Bssid = "02:00:0a:FF:00:01".parse().expect("valid");
        assert_eq!(bssid, Bssid([2, 0, 10, 255, 0, 1]));
        assert_eq!(bssid.to_string(), "02:00:0a:ff:00:01");
        for bad in [
            "",
            "02:00:0a:ff:00",
            "02:00:0a:ff:00:01:02",
            "2:0:a:f:0:1",
            "02-00-0a-ff-00-01",
            "zz:00:0a:ff:00:01",
        ] {
            assert!(bad.parse::<Bssid>().is_err(), "{bad}");
        }
    }
}
