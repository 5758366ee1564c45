//! Owed against measured, with hysteresis.
//!
//! ```text
//!            3 periods more than 5 % short
//!   Met ------------------------------------> Violated
//!    ^                                           |
//!    '-------------------------------------------'
//!       less than 2 % short over 5 periods, or idle
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use super::target::{Flows, Targets};
use super::types::{Decision, DomainMeasure, Event, SliceMeasure, SliceState, Technology};
use super::{Domain, Name, Round, Scheduler};

const SHORT: f64 = 0.05;
const SHORT_PERIODS: u32 = 3;
const GOOD: f64 = 0.02;
const GOOD_PERIODS: usize = 5;

/// What is remembered of a domain.
#[derive(Debug, Clone, Default)]
pub(super) struct Memory {
    tracks: Vec<Track>,
    infeasible: bool,
}

/// What is remembered of a slice in a domain.
#[derive(Debug, Clone)]
struct Track {
    slice: Name,
    short_for: u32,
    /// Shortfalls of the last periods.
    recent: VecDeque<f64>,
    violated: bool,
    seen: bool,
}

/// Where something is promised.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) technology: Technology,
    pub(super) domain: &'a Name,
}

/// A slice in one row.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spot {
    pub(super) unknown: bool,
    pub(super) backlogged: bool,
    pub(super) used: f64,
    pub(super) target: f64,
    pub(super) promised: f64,
    pub(super) demand: f64,
    /// Of the row; zero where there is no spot yet.
    pub(super) capacity: f64,
}

impl Spot {
    /// Part of what it is owed that it misses; negative if it gets more.
    fn shortfall(&self) -> f64 {
        if self.backlogged && self.promised > 0.0 {
            1.0 - self.used / self.promised
        } else {
            f64::NEG_INFINITY
        }
    }

    /// Whether this spot says more about the slice than the other.
    fn is_worse_than(&self, other: &Self) -> bool {
        let key = |spot: &Self| (spot.unknown, spot.shortfall(), spot.used / spot.capacity);
        let (a, b) = (key(self), key(other));
        a.0.cmp(&b.0)
            .then(a.1.total_cmp(&b.1))
            .then(a.2.total_cmp(&b.2))
            .is_gt()
    }
}

impl Scheduler {
    /// Measures every slice in every domain.
    pub(super) fn judge(&mut self, round: &Round<'_>) -> Decision {
        let mut decision = Decision::default();
        let mut scratch = Scratch::new(round.sla.entries.len());
        let mut short_rows = vec![None; self.radios.len()];
        for (at, shortage) in round.targets.shortages.iter().enumerate() {
            short_rows[shortage.row as usize] = Some(at);
        }
        for at in 0..self.domains.len() {
            let spots = self.spots(&self.domains[at], round, &mut scratch);
            decision.domains.push(self.domain(&self.domains[at], round));
            self.judge_guarantees(at, round, &short_rows, &mut decision.events);
            let domain = &self.domains[at];
            let memory = &mut self.radios[domain.lead as usize].memory;
            for (slice, mut spot) in spots {
                let (name, sla) = &round.sla.entries[slice as usize];
                if domain.clique && spot.backlogged {
                    // Whatever holds it back, where all hear each other this is what it is owed.
                    spot.promised = sla.min_ratio / 100.0 * spot.capacity;
                }
                let owed = if spot.backlogged {
                    100.0 * spot.promised / spot.capacity
                } else {
                    sla.min_ratio
                };
                let place = Place {
                    technology: Technology::Airtime,
                    domain: &domain.name,
                };
                memory.measure(name, owed, &spot, place, &mut decision);
            }
            memory.forget_unseen();
        }
        decision
    }

    /// The worst spot of every slice that has a vif in the domain.
    fn spots(&self, domain: &Domain, round: &Round<'_>, scratch: &mut Scratch) -> Vec<(u32, Spot)> {
        // In a clique all rows are the same; elsewhere any radio of a slice may be the worst off.
        let rows = if domain.clique {
            &domain.members[..1]
        } else {
            &domain.members[..]
        };
        for row in rows.iter().map(|&row| row as usize) {
            let own = round.flows.first[row]..round.flows.first[row + 1];
            for (slice, flows) in self.parties.all(row) {
                if !domain.clique && !flows.iter().any(|flow| own.contains(flow)) {
                    continue;
                }
                let spot = spot(flows, round.capacity[row], &round.flows, &round.targets);
                let worst = &mut scratch.worst[slice as usize];
                if worst.capacity == 0.0 {
                    scratch.touched.push(slice);
                }
                if worst.capacity == 0.0 || spot.is_worse_than(worst) {
                    *worst = spot;
                }
            }
        }
        scratch.touched.sort_unstable();
        scratch
            .touched
            .drain(..)
            .map(|slice| (slice, std::mem::take(&mut scratch.worst[slice as usize])))
            .collect()
    }

    fn domain(&self, domain: &Domain, round: &Round<'_>) -> DomainMeasure {
        let radios = || {
            domain
                .members
                .iter()
                .map(|&radio| &self.radios[radio as usize])
        };
        let least = |values: &mut dyn Iterator<Item = f64>| values.fold(f64::INFINITY, f64::min);
        DomainMeasure {
            technology: Technology::Airtime,
            domain: domain.name.clone(),
            radios: Arc::clone(&domain.radios),
            capacity: 100.0
                * least(
                    &mut domain
                        .members
                        .iter()
                        .map(|&radio| round.capacity[radio as usize]),
                ),
            external: 100.0
                * radios()
                    .map(|radio| radio.capacity.external())
                    .fold(0.0, f64::max),
            corrected: radios().any(|radio| radio.capped),
            refused: None,
        }
    }

    fn judge_guarantees(
        &mut self,
        at: usize,
        round: &Round<'_>,
        short_rows: &[Option<usize>],
        events: &mut Vec<Event>,
    ) {
        let domain = &self.domains[at];
        let worst = domain
            .members
            .iter()
            .filter_map(|&radio| short_rows[radio as usize])
            .map(|at| &round.targets.shortages[at])
            .max_by(|a, b| a.asked.total_cmp(&b.asked));
        let infeasible = worst.is_some();
        let lead = &mut self.radios[domain.lead as usize];
        let was = lead.memory.set_infeasible(infeasible);
        match worst {
            Some(worst) if !was => events.push(Event::Infeasible {
                technology: Technology::Airtime,
                domain: domain.name.clone(),
                radio: self.radios[worst.row as usize].id.clone(),
                asked: 100.0 * worst.asked,
                slices: worst
                    .slices
                    .iter()
                    .map(|&slice| round.sla.entries[slice as usize].0.clone())
                    .collect(),
            }),
            None if was => events.push(Event::Feasible {
                technology: Technology::Airtime,
                domain: domain.name.clone(),
            }),
            Some(_) | None => {}
        }
    }
}

/// A slice in a row, where it has these flows.
pub(super) fn spot(of: &[u32], capacity: f64, flows: &Flows, targets: &Targets) -> Spot {
    let mut spot = Spot {
        capacity,
        ..Spot::default()
    };
    for flow in of.iter().map(|&flow| flow as usize) {
        spot.unknown |= !flows.known[flow];
        spot.backlogged |= flows.backlogged[flow];
        spot.used += flows.used[flow];
        spot.target += targets.target[flow];
        spot.promised += targets.promised[flow];
        spot.demand += flows.demand[flow];
    }
    spot
}

impl Memory {
    /// Judges a slice that is owed so much (percent of what is available), and adds it to the decision.
    pub(super) fn measure(
        &mut self,
        slice: &Name,
        owed: f64,
        spot: &Spot,
        place: Place<'_>,
        decision: &mut Decision,
    ) {
        let measured = 100.0 * spot.used / spot.capacity;
        let state = self.judge(slice, spot, place, (owed, measured), &mut decision.events);
        decision.slices.push(SliceMeasure {
            slice: slice.clone(),
            technology: place.technology,
            domain: place.domain.clone(),
            owed,
            measured,
            demand: (!spot.backlogged).then_some(100.0 * spot.demand / spot.capacity),
            target: 100.0 * spot.target / spot.capacity,
            state,
        });
    }

    /// Forgets the slices that were not measured since the last call.
    pub(super) fn forget_unseen(&mut self) {
        self.tracks
            .retain_mut(|track| std::mem::take(&mut track.seen));
    }

    /// Takes note of whether the guarantees fit; what was so before.
    pub(super) fn set_infeasible(&mut self, infeasible: bool) -> bool {
        std::mem::replace(&mut self.infeasible, infeasible)
    }

    fn judge(
        &mut self,
        slice: &Name,
        spot: &Spot,
        place: Place<'_>,
        (owed, measured): (f64, f64),
        events: &mut Vec<Event>,
    ) -> SliceState {
        let at = self
            .tracks
            .iter()
            .position(|track| track.slice == *slice)
            .unwrap_or_else(|| {
                self.tracks.push(Track {
                    slice: slice.clone(),
                    short_for: 0,
                    recent: VecDeque::new(),
                    violated: false,
                    seen: true,
                });
                self.tracks.len() - 1
            });
        let track = &mut self.tracks[at];
        track.seen = true;
        if spot.unknown {
            return SliceState::Unknown;
        }
        let idle = !spot.backlogged && spot.demand <= 0.0;
        let was = track.violated;
        track.update(spot.shortfall().max(0.0), idle);
        match (was, track.violated) {
            (false, true) => events.push(Event::Violated {
                slice: slice.clone(),
                technology: place.technology,
                domain: place.domain.clone(),
                owed,
                measured,
            }),
            (true, false) => {
                events.push(Event::Cleared {
                    slice: slice.clone(),
                    technology: place.technology,
                    domain: place.domain.clone(),
                    measured,
                });
            }
            (false, false) | (true, true) => {}
        }
        if track.violated {
            SliceState::Violated
        } else if idle {
            SliceState::Idle
        } else {
            SliceState::Met
        }
    }
}

impl Track {
    fn update(&mut self, shortfall: f64, idle: bool) {
        if idle {
            (self.short_for, self.violated) = (0, false);
            self.recent.clear();
            return;
        }
        if self.recent.len() == GOOD_PERIODS {
            self.recent.pop_front();
        }
        self.recent.push_back(shortfall);
        self.short_for = if shortfall > SHORT {
            self.short_for + 1
        } else {
            0
        };
        if self.short_for >= SHORT_PERIODS {
            self.violated = true;
        } else if self.is_good() {
            self.violated = false;
        }
    }

    /// Over enough periods, none of them bad: a single one says little where measurements are noisy.
    fn is_good(&self) -> bool {
        let mean = self.recent.iter().sum::<f64>() / GOOD_PERIODS as f64;
        self.recent.len() == GOOD_PERIODS
            && mean < GOOD
            && self.recent.iter().all(|&short| short <= SHORT)
    }
}

struct Scratch {
    worst: Vec<Spot>,
    touched: Vec<u32>,
}

impl Scratch {
    fn new(slices: usize) -> Self {
        Self {
            worst: vec![Spot::default(); slices],
            touched: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(shortfalls: &[f64]) -> Vec<bool> {
        let mut track = Track {
            slice: "a".into(),
            short_for: 0,
            recent: VecDeque::new(),
            violated: false,
            seen: true,
        };
        shortfalls
            .iter()
            .map(|&short| {
                track.update(short, short.is_nan());
                track.violated
            })
            .collect()
    }

    #[test]
    fn three_short_periods_violate_and_two_do_not() {
        assert_eq!(run(&[0.2, 0.2, 0.0, 0.2, 0.2]), [false; 5]);
        assert_eq!(run(&[0.06, 0.06, 0.06]), [false, false, true]);
        assert_eq!(run(&[0.05; 10]), [false; 10]);
    }

    #[test]
    fn a_violation_is_cleared_by_five_good_periods_and_not_by_four() {
        let mut series = vec![0.06; 3];
        series.extend([0.0; 12]);
        let states = run(&series);
        let cleared = states
            .iter()
            .rposition(|&violated| violated)
            .expect("was violated");
        assert_eq!(cleared, 2 + 4, "{states:?}");
        let mut series = vec![0.06; 3];
        series.extend([0.03; 50]);
        assert_eq!(
            run(&series).last(),
            Some(&true),
            "3 % short is neither a violation nor its end"
        );
    }

    #[test]
    fn an_idle_slice_is_not_violated() {
        assert_eq!(run(&[0.2, 0.2, 0.2, f64::NAN]), [false, false, true, false]);
    }
}
