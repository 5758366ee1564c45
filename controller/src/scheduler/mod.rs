//! The global scheduler: from what every radio measured to corrections of the local schedulers.
//!
//! Pure: no I/O, no clock, no randomness. [`Scheduler::step`] is called once per period with the newest report of
//! every radio and cell and what the slices are owed; it returns what to send, how every slice fares, and what changed.
//!
//! ```text
//! reports -> graph (who contends) -> capacity (what there is) -> target (what each should get)
//!     |                                                        ^    |-> control (integral, ceilings, minima) -> corrections
//!     |                             aggregate (the mean) ------|    '-> verdict (owed against measured)      -> events
//!     |                                                        v
//!     '-> cell (slice profiles) --------------------------> prb (targets, minima, verdicts of cells)
//! ```
//! Left to others: collecting reports (`device`), sending corrections, showing results (`northbound`).

mod aggregate;
mod capacity;
mod cell;
mod control;
mod fill;
mod graph;
mod guarantee;
mod integral;
mod prb;
mod radio;
mod rows;
mod target;
mod types;
mod verdict;

#[cfg(test)]
mod closed_loop;
#[cfg(test)]
mod plant;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

pub use cell::{CellId, CellReport, Direction, PrbCorrection, PrbUse, ProfileReport};
pub use types::{
    BadBssid, Bssid, Correction, Decision, DomainId, DomainMeasure, Event, Neighbour,
    NetworkReport, Period, PrbSla, RadioId, RadioReport, Sla, SlaTable, SliceMeasure, SliceState,
    Technology, VifReport,
};

use aggregate::Aggregates;
use capacity::Observation;
use graph::Graph;
use guarantee::Share;
use prb::{CellRound, Cells};
use radio::Radio;
use rows::Parties;
use target::{Contest, Flows, Rest, Sender};

/// A report older than this many periods says nothing about now.
const STALE: u64 = 2;

/// Settings of the control law.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Gain of the integral term. Stable below 1 with one period of extra delay, below 0.56 with two.
    pub gain: f64,
    /// Periods that a ceiling lasts at a node unless renewed; it is renewed at half of that.
    pub lifetime: u64,
    /// Whether corrections are sent. Off, the scheduler only measures.
    pub enabled: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            gain: 0.25,
            lifetime: 15,
            enabled: true,
        }
    }
}

/// The global scheduler's state between periods.
#[derive(Debug, Clone)]
pub struct Scheduler {
    settings: Settings,
    radios: Vec<Radio>,
    index: HashMap<RadioId, u32>,
    /// Place of each radio in the order of names.
    rank: Vec<u32>,
    graph: Graph,
    parties: Parties,
    domains: Vec<Domain>,
    cells: Cells,
    aggregates: Aggregates,
}

/// A connected component of the conflict graph.
#[derive(Debug, Clone)]
struct Domain {
    name: DomainId,
    /// Its first radio in the order of names, which also keeps the domain's memory.
    lead: u32,
    members: Vec<u32>,
    radios: Arc<[RadioId]>,
    /// Whether all its radios hear each other.
    clique: bool,
}

/// What the parts of a step hand on.
struct Round<'a> {
    now: Period,
    sla: &'a SlaTable,
    flows: Flows,
    /// Capacity of each radio's row, fraction of wall-clock time.
    capacity: Vec<f64>,
    targets: target::Targets,
}

impl Scheduler {
    /// A scheduler that knows no radio yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            radios: Vec::new(),
            index: HashMap::new(),
            rank: Vec::new(),
            graph: Graph::default(),
            parties: Parties::default(),
            domains: Vec::new(),
            cells: Cells::default(),
            aggregates: Aggregates::default(),
        }
    }

    /// Switches corrections on or off. Once off, the next step takes back the corrections in force, and the ones after send none.
    pub fn set_enabled(&mut self, enabled: bool) {
        self.settings.enabled = enabled;
    }

    /// Changes how many periods a ceiling lasts at a node unless renewed.
    pub fn set_lifetime(&mut self, periods: u64) {
        self.settings.lifetime = periods;
    }

    /// What the newest step decided for a node may not have arrived: it is decided anew in the next step.
    pub fn undelivered(&mut self, node: &str) {
        for radio in self
            .radios
            .iter_mut()
            .filter(|radio| &*radio.id.node == node)
        {
            radio.undelivered();
        }
    }

    /// The same for what it decided for the cells of a node.
    pub fn undelivered_prb(&mut self, node: &str) {
        self.cells.undelivered(node);
    }

    /// A node takes no corrections of its cells, for that reason: none are sent to it until its agent starts again. Returns whether
    /// that is news.
    pub fn refused_prb(&mut self, node: &str, reason: &str) -> bool {
        self.cells.refused(node, reason)
    }

    /// The pairs of radios that contend, each once.
    #[must_use]
    pub fn conflicts(&self) -> Vec<(RadioId, RadioId)> {
        let mut pairs = Vec::new();
        for (radio, row) in self.graph.rows().iter().enumerate() {
            for &peer in row.iter().filter(|&&peer| peer as usize > radio) {
                pairs.push((
                    self.radios[radio].id.clone(),
                    self.radios[peer as usize].id.clone(),
                ));
            }
        }
        pairs
    }

    /// One period.
    pub fn step(&mut self, now: Period, input: &NetworkReport, sla: &SlaTable) -> Decision {
        let rewired = self.ingest(now, input);
        let flows = self.flows(now, sla);
        let rows = (self.graph.rows(), rewired);
        self.parties
            .refresh(rows, &flows.first, &flows.slice, sla.entries.len());
        self.observe(&flows);
        let capacity = self.capacities();
        self.cells.ingest(now, &input.cells);
        let prb = self.cells.flows(now, sla);
        let standings = self.standings(&flows, &capacity, &prb, sla);
        let Settings { enabled, gain, .. } = self.settings;
        let lending = self.aggregates.advance(&standings, sla, (enabled, gain));
        let shares: Vec<Share> = sla.entries.iter().map(|(_, sla)| airtime(sla)).collect();
        let targets = target::targets(&Contest {
            rows: self.graph.rows(),
            parties: &self.parties,
            flows: &flows,
            capacity: &capacity,
            shares: &shares,
            asked: &self.asked(&flows, &lending),
            rest: Rest::ByGuarantee,
        });
        let round = Round {
            now,
            sla,
            flows,
            capacity,
            targets,
        };
        let corrections = self.control(&round);
        let mut decision = Decision {
            corrections,
            ..self.judge(&round)
        };
        let round = CellRound {
            now,
            sla,
            flows: prb,
            lending: &lending,
            settings: self.settings,
        };
        self.cells.step(&round, &mut decision);
        self.aggregates.judge(&standings, sla, &mut decision);
        decision
    }

    /// Brings radios and graph up to date. Returns whether the graph changed.
    fn ingest(&mut self, now: Period, input: &NetworkReport) -> bool {
        let order = self.number(input);
        for (report, &at) in input.radios.iter().zip(&order) {
            let radio = &mut self.radios[at as usize];
            radio.delivered();
            radio.take(now, report);
            self.graph.beacons(at, report);
        }
        for (report, at) in input.radios.iter().zip(order) {
            if now.since(report.ended) <= STALE {
                self.graph.hear(at, report);
            }
        }
        let rewired = self.graph.settle(now);
        if rewired {
            self.name_domains();
        }
        self.tell_the_deaf(now);
        rewired
    }

    /// Many drivers measure no busy time, and their radios seem to be alone. They are told what their row sent and received:
    /// without it a full channel looks half empty, and teaches no capacity.
    fn tell_the_deaf(&mut self, now: Period) {
        for at in 0..self.radios.len() {
            if !self.radios[at].is_new || !self.radios[at].is_deaf {
                continue;
            }
            let row = self.graph.rows()[at].iter();
            let others = row.map(|&member| &self.radios[member as usize]);
            let busy = others
                .filter(|other| other.is_fresh(now))
                .map(|other| other.own);
            let busy = busy.sum();
            self.radios[at].hear(busy);
        }
    }

    /// The number of each report's radio; new radios get one, missing ones are forgotten.
    fn number(&mut self, input: &NetworkReport) -> Vec<u32> {
        let same = |(radio, report): (&Radio, &Arc<RadioReport>)| {
            is_same(&radio.id.node, &report.id.node) && is_same(&radio.id.radio, &report.id.radio)
        };
        if self.radios.len() == input.radios.len()
            && self.radios.iter().zip(&input.radios).all(same)
        {
            return (0..input.radios.len() as u32).collect();
        }
        self.forget_missing(input);
        let mut order = Vec::with_capacity(input.radios.len());
        for report in &input.radios {
            let next = self.radios.len() as u32;
            let at = *self.index.entry(report.id.clone()).or_insert(next);
            if at == next {
                self.radios.push(Radio::new(report.id.clone()));
                self.graph.push();
            }
            order.push(at);
        }
        if self.rank.len() != self.radios.len() {
            self.rank_names();
        }
        order
    }

    fn rank_names(&mut self) {
        let mut order: Vec<u32> = (0..self.radios.len() as u32).collect();
        order.sort_unstable_by_key(|&radio| &self.radios[radio as usize].id);
        self.rank = vec![0; order.len()];
        for (rank, radio) in (0..).zip(order) {
            self.rank[radio as usize] = rank;
        }
    }

    fn forget_missing(&mut self, input: &NetworkReport) {
        let present: HashSet<&RadioId> = input.radios.iter().map(|report| &report.id).collect();
        if self.radios.iter().all(|radio| present.contains(&radio.id)) {
            return;
        }
        let mut next = 0;
        let renumber: Vec<Option<u32>> = self
            .radios
            .iter()
            .map(|radio| {
                present.contains(&radio.id).then(|| {
                    next += 1;
                    next - 1
                })
            })
            .collect();
        self.radios.retain(|radio| present.contains(&radio.id));
        self.rank.clear();
        self.index = (0..)
            .zip(&self.radios)
            .map(|(at, radio)| (radio.id.clone(), at))
            .collect();
        self.graph.retain(&renumber);
    }

    fn name_domains(&mut self) {
        let mut members: Vec<Vec<u32>> = vec![Vec::new(); self.graph.components()];
        for (radio, &component) in (0..).zip(self.graph.component()) {
            members[component as usize].push(radio);
        }
        self.domains = members
            .into_iter()
            .filter_map(|mut members| {
                members.sort_unstable_by_key(|&radio| self.rank[radio as usize]);
                let lead = *members.first()?;
                let rows = self.graph.rows();
                let clique = members
                    .iter()
                    .all(|&radio| rows[radio as usize].len() == members.len());
                let radios: Arc<[RadioId]> = members
                    .iter()
                    .map(|&radio| self.radios[radio as usize].id.clone())
                    .collect();
                let name = self.radios[lead as usize].id.to_string().into();
                Some(Domain {
                    name,
                    lead,
                    members,
                    radios,
                    clique,
                })
            })
            .collect();
        self.domains.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        // A domain's memory lives with its lead; who leads no more forgets.
        let mut leads = vec![false; self.radios.len()];
        for domain in &self.domains {
            leads[domain.lead as usize] = true;
        }
        for (radio, leads) in self.radios.iter_mut().zip(leads) {
            if !leads {
                radio.memory = verdict::Memory::default();
            }
        }
    }

    /// Every managed vif as a flow, with its demand.
    fn flows(&mut self, now: Period, sla: &SlaTable) -> Flows {
        let mut flows = Flows::default();
        flows.first.push(0);
        for radio in &mut self.radios {
            let known = radio.is_fresh(now);
            let mut sender = Sender::default();
            for vif in &mut radio.vifs {
                let slice = sla.place(&mut vif.place, &vif.slice);
                flows.slice.push(slice.unwrap_or(target::BEST_EFFORT));
                flows.used.push(if known { vif.used } else { 0.0 });
                flows.demand.push(if known { vif.demand() } else { 0.0 });
                flows.known.push(known);
                flows.backlogged.push(known && vif.backlogged);
                sender.used += if known { vif.used } else { 0.0 };
                sender.short |= radio.is_new && vif.is_short();
                sender.uncapped |= radio.is_new && vif.is_short_uncapped();
            }
            flows.first.push(flows.slice.len() as u32);
            flows.senders.push(sender);
        }
        flows
    }

    /// Teaches each row's capacity what its radio saw.
    fn observe(&mut self, flows: &Flows) {
        for (row, radio) in self.graph.rows().iter().zip(&mut self.radios) {
            if !radio.is_new {
                continue;
            }
            let of_row = || row.iter().map(|&member| flows.senders[member as usize]);
            radio.capacity.observe(Observation {
                busy: radio.busy,
                used: of_row().map(|sender| sender.used).sum(),
                short: of_row().any(|sender| sender.short),
                uncapped: of_row().any(|sender| sender.uncapped),
            });
        }
    }

    /// Capacity of every row. Radios that all hear each other share one medium, so they share one estimate.
    fn capacities(&self) -> Vec<f64> {
        let mut capacity: Vec<f64> = self
            .radios
            .iter()
            .map(|radio| radio.capacity.value())
            .collect();
        for domain in self
            .domains
            .iter()
            .filter(|domain| domain.clique && domain.members.len() > 1)
        {
            let sum: f64 = domain
                .members
                .iter()
                .map(|&radio| capacity[radio as usize])
                .sum();
            let mean = sum / domain.members.len() as f64;
            for &radio in &domain.members {
                capacity[radio as usize] = mean;
            }
        }
        capacity
    }
}

/// What a slice is owed of a Wi-Fi domain.
fn airtime(sla: &Sla) -> Share {
    Share {
        min: sla.min_ratio / 100.0,
        max: sla.max_ratio / 100.0,
        priority: sla.priority,
    }
}

/// A name that is cheap to copy.
type Name = Arc<str>;

/// Whether two names are equal, which shows without reading them where a report took its names from the one before.
fn is_same(a: &Name, b: &Name) -> bool {
    Arc::ptr_eq(a, b) || a == b
}
