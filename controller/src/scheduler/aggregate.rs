//! Aggregate promises: the mean of a slice's shares over all contention domains it is in, Wi-Fi and cells alike.
//!
//! ```text
//! shares of the domains -> mean -> short of the promise? -> lent (integral) -> asked of every domain on top of its guarantee
//!                                                                              as far as guarantees of others and the slice's
//!                                                                              maximum permit
//! ```
//! What is lent to a slice is one figure, the same part of wall-clock time or PRB in each domain, and only ever raises a target
//! or a minimum. It moves by the mean's error times the gain, divided by the part of the domains that can answer, so that
//! the loop's gain is no greater than that of a single flow, and stands still while no domain can give more.

use std::collections::HashMap;
use std::sync::Arc;

use super::cell::Direction;
use super::integral::{ERROR_ALPHA, IDLE_DECAY};
use super::prb::{Cells, promise};
use super::target::Flows;
use super::types::{Decision, Event, SlaTable, Technology};
use super::verdict::{Memory, Place, Spot};
use super::{Name, Scheduler};

/// Errors below this part of the promise are left alone.
const DEAD_BAND: f64 = 0.01;
/// A domain that gives this part of what it could has no more to give.
const FULL: f64 = 0.97;
/// What is lent ends below this, fraction.
const LEAST: f64 = 0.002;
/// A promise this much above what could be reached is out of reach, after so many periods.
const OUT_OF_REACH: (f64, u32) = (1.02, 3);

/// A slice in a contention domain. Fractions of wall-clock time or PRB.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    used: f64,
    demand: f64,
    backlogged: bool,
    unknown: bool,
    owed: f64,
    /// The most it could get without breaking a guarantee of others or passing its own maximum.
    potential: f64,
}

impl Standing {
    fn asks_for_more(&self) -> bool {
        self.demand.is_infinite()
    }

    fn can_rise(&self) -> bool {
        self.asks_for_more() && self.used < FULL * self.potential
    }
}

/// The standings of every slice with an aggregate promise, by its place in the SLA table.
pub(super) type Standings = Vec<(u32, Vec<Standing>)>;

/// What is remembered of all aggregate promises.
#[derive(Debug, Clone, Default)]
pub(super) struct Aggregates {
    loans: HashMap<Name, Loan>,
    memory: Memory,
    name: Option<Name>,
}

/// What is lent to a slice.
#[derive(Debug, Clone, Copy, Default)]
struct Loan {
    /// Smoothed distance of the mean from the promise.
    error: f64,
    lent: f64,
    out_of_reach_for: u32,
    is_out_of_reach: bool,
}

impl Loan {
    fn advance(&mut self, promise: f64, standings: &[Standing], gain: f64) {
        let count =
            |which: fn(&Standing) -> bool| standings.iter().filter(|one| which(one)).count() as f64;
        let (all, asking, able) = (
            standings.len() as f64,
            count(Standing::asks_for_more),
            count(Standing::can_rise),
        );
        if asking == 0.0 {
            self.error = 0.0;
            self.lent *= IDLE_DECAY;
        } else {
            self.error += ERROR_ALPHA * ((promise - mean(standings)) - self.error);
            let answering = if self.error > 0.0 { able } else { asking };
            if self.error.abs() > DEAD_BAND * promise && answering > 0.0 {
                self.lent += gain * self.error * all / answering;
            }
        }
        let more = |one: &Standing| one.potential - one.owed;
        let asking = standings.iter().filter(|one| one.asks_for_more());
        let most = match asking.map(more).reduce(f64::max) {
            Some(most) => most.max(0.0),
            None => f64::INFINITY,
        };
        self.lent = self.lent.clamp(0.0, most);
        if self.lent < LEAST && self.error <= 0.0 {
            self.lent = 0.0;
        }
    }

    /// Takes note of how much could be reached at most.
    fn reach(&mut self, promise: f64, possible: f64, asks: bool) -> Option<bool> {
        if asks && promise > OUT_OF_REACH.0 * possible {
            self.out_of_reach_for = (self.out_of_reach_for + 1).min(OUT_OF_REACH.1);
        } else if !asks || promise <= possible {
            self.out_of_reach_for = self.out_of_reach_for.saturating_sub(1);
        }
        let is = match self.out_of_reach_for {
            0 => false,
            n if n >= OUT_OF_REACH.1 => true,
            _ => self.is_out_of_reach,
        };
        (std::mem::replace(&mut self.is_out_of_reach, is) != is).then_some(is)
    }
}

impl Aggregates {
    /// What is lent to each slice of the table; empty where nothing is.
    pub(super) fn advance(
        &mut self,
        standings: &Standings,
        sla: &SlaTable,
        (enabled, gain): (bool, f64),
    ) -> Vec<f64> {
        if !enabled || standings.is_empty() {
            self.loans.clear();
            return Vec::new();
        }
        let name = |&(slice, _): &(u32, Vec<Standing>)| &sla.entries[slice as usize].0;
        self.loans
            .retain(|slice, _| standings.iter().map(name).any(|name| name == slice));
        let mut lending = vec![0.0; sla.entries.len()];
        for (slice, standings) in standings {
            let (name, sla) = &sla.entries[*slice as usize];
            let loan = self.loans.entry(Arc::clone(name)).or_default();
            loan.advance(sla.aggregate / 100.0, standings, gain);
            lending[*slice as usize] = loan.lent;
        }
        if lending.iter().all(|lent| *lent == 0.0) {
            lending.clear();
        }
        lending
    }

    /// Judges every aggregate promise.
    pub(super) fn judge(&mut self, standings: &Standings, sla: &SlaTable, decision: &mut Decision) {
        let name = self.name.get_or_insert_with(|| "all".into());
        for (slice, standings) in standings {
            let (slice, sla) = &sla.entries[*slice as usize];
            let promised = sla.aggregate / 100.0;
            let demand: f64 = standings.iter().map(|one| one.demand).sum();
            let spot = Spot {
                unknown: standings.iter().all(|one| one.unknown),
                backlogged: standings.iter().any(|one| one.backlogged),
                used: mean(standings),
                target: promised,
                promised,
                demand: demand / standings.len() as f64,
                capacity: 1.0,
            };
            let place = Place {
                technology: Technology::Aggregate,
                domain: name,
            };
            self.memory
                .measure(slice, sla.aggregate, &spot, place, decision);
            let reachable = |one: &Standing| match one.asks_for_more() {
                true => one.potential.max(one.used),
                false => one.used,
            };
            let possible = standings.iter().map(reachable).sum::<f64>() / standings.len() as f64;
            let asks = standings.iter().any(Standing::asks_for_more);
            let Some(loan) = self.loans.get_mut(slice) else {
                continue;
            };
            match loan.reach(promised, possible, asks) {
                Some(true) => decision.events.push(Event::OutOfReach {
                    slice: Arc::clone(slice),
                    owed: sla.aggregate,
                    possible: 100.0 * possible,
                }),
                Some(false) => decision.events.push(Event::InReach {
                    slice: Arc::clone(slice),
                }),
                None => {}
            }
        }
        self.memory.forget_unseen();
    }
}

/// A domain of which nothing is known gives nothing.
fn mean(standings: &[Standing]) -> f64 {
    let used: f64 = standings.iter().map(|one| one.used).sum();
    used / standings.len().max(1) as f64
}

impl Scheduler {
    /// How every slice with an aggregate promise stands in its domains. Cells whose use is not measured are left out.
    pub(super) fn standings(
        &self,
        flows: &Flows,
        capacity: &[f64],
        prb: &[Flows; 2],
        sla: &SlaTable,
    ) -> Standings {
        let mut of: Vec<Vec<Standing>> = vec![Vec::new(); sla.entries.len()];
        if !sla.has_aggregates {
            return Standings::new();
        }
        self.standings_on_air(flows, capacity, sla, &mut of);
        standings_at_cells(&self.cells, &prb[Direction::Down as usize], sla, &mut of);
        let slices = (0..).zip(of);
        slices
            .filter(|(_, standings)| !standings.is_empty())
            .collect()
    }

    /// In a domain where not all hear each other, a slice's standing is its worst.
    fn standings_on_air(
        &self,
        flows: &Flows,
        capacity: &[f64],
        sla: &SlaTable,
        of: &mut [Vec<Standing>],
    ) {
        for domain in &self.domains {
            let mut here: Vec<(u32, Standing)> = Vec::new();
            let rows = match domain.clique {
                true => &domain.members[..1],
                false => &domain.members[..],
            };
            for row in rows.iter().map(|&row| row as usize) {
                let own = flows.first[row]..flows.first[row + 1];
                let guaranteed = |(slice, of): (u32, &[u32])| {
                    let demand: f64 = of.iter().map(|&flow| flows.demand[flow as usize]).sum();
                    let min = sla.entries[slice as usize].1.min_ratio / 100.0;
                    demand.min(min * capacity[row])
                };
                let all: f64 = self.parties.all(row).map(guaranteed).sum();
                for (slice, members) in self.parties.all(row) {
                    let promised = &sla.entries[slice as usize].1;
                    let is_here = domain.clique || members.iter().any(|flow| own.contains(flow));
                    if promised.aggregate <= 0.0 || !is_here {
                        continue;
                    }
                    let others = all - guaranteed((slice, members));
                    let most = promised.max_ratio / 100.0 * capacity[row];
                    let sum = |what: &[f64]| members.iter().map(|&flow| what[flow as usize]).sum();
                    let any = |what: &[bool]| members.iter().any(|&flow| what[flow as usize]);
                    let new = Standing {
                        used: sum(&flows.used),
                        demand: sum(&flows.demand),
                        backlogged: any(&flows.backlogged),
                        unknown: !any(&flows.known),
                        owed: promised.min_ratio / 100.0 * capacity[row],
                        potential: most.min(capacity[row] - others).max(0.0),
                    };
                    match here.iter_mut().find(|(known, _)| *known == slice) {
                        Some((_, known)) if known.used <= new.used => {}
                        Some((_, known)) => *known = new,
                        None => here.push((slice, new)),
                    }
                }
            }
            for (slice, standing) in here {
                of[slice as usize].push(standing);
            }
        }
    }

    /// What is asked of each flow on the air for the sake of aggregate promises; `lending` by slice, empty if nothing is lent.
    pub(super) fn asked(&self, flows: &Flows, lending: &[f64]) -> Vec<f64> {
        if lending.is_empty() {
            return Vec::new();
        }
        let mut asked = vec![0.0; flows.slice.len()];
        for row in 0..self.radios.len() {
            let own = flows.first[row]..flows.first[row + 1];
            for (slice, members) in self.parties.all(row) {
                let lent = lending[slice as usize];
                let asks = |flow: &&u32| flows.demand[**flow as usize] > 0.0;
                let active = members.iter().filter(asks).count().max(1) as f64;
                for &flow in members
                    .iter()
                    .filter(asks)
                    .filter(|flow| own.contains(flow))
                {
                    asked[flow as usize] = lent / active;
                }
            }
        }
        asked
    }
}

fn standings_at_cells(cells: &Cells, flows: &Flows, sla: &SlaTable, of: &mut [Vec<Standing>]) {
    for (row, (id, cell)) in cells.cells.iter().enumerate() {
        let room = Cells::room(cell, Direction::Down, sla);
        let is_measured = |flow: usize| {
            let at = flow - flows.first[row] as usize;
            cell.profiles[at].flows[Direction::Down as usize]
                .used
                .is_some()
        };
        for (slice, members) in cells.parties.all(row) {
            let promised = &sla.entries[slice as usize].1;
            let members = || members.iter().map(|&flow| flow as usize);
            if promised.aggregate <= 0.0 || !members().all(is_measured) {
                continue;
            }
            let prb = promise(promised, Direction::Down);
            let (min, max) = (prb.min_ratio / 100.0, prb.max_ratio / 100.0);
            let used: f64 = members().map(|flow| flows.used[flow]).sum();
            let potential = match cells.refusal(&id.node) {
                Some(_) => used,
                None => max.min(min + room),
            };
            of[slice as usize].push(Standing {
                used,
                demand: members().map(|flow| flows.demand[flow]).sum(),
                backlogged: members().any(|flow| flows.backlogged[flow]),
                unknown: !members().any(|flow| flows.known[flow]),
                owed: min,
                potential,
            });
        }
    }
}
