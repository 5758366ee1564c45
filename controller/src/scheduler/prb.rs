//! Cells in a round: each direction of a cell is a contention domain of its own, without neighbours, and the slice profiles on it
//! are its flows.
//!
//! A cell keeps minima by itself and lends the rest in equal parts. It is corrected only where it falls short of that, or
//! where an aggregate promise asks for more: then a minimum is raised above what is configured, as far as the minima of all
//! others, idle or not, leave room.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::cell::{Cell, CellId, CellReport, Direction, Flow, PrbCorrection, Profile};
use super::guarantee::Share;
use super::integral::Seen;
use super::radio::{Delivery, demand};
use super::rows::{Parties, Rows};
use super::target::{BEST_EFFORT, Contest, Flows, Rest, Targets, targets};
use super::types::{Decision, DomainMeasure, Event, Period, PrbSla, Sla, SlaTable, Technology};
use super::verdict::{Place, spot};
use super::{Name, Settings};

/// A minimum is sent anew when it moves by more than this, percent; what is taken back is sent however little it is.
const MIN_STEP: f64 = 1.0;
/// Two minima that differ by no more than this are the same, percent.
const SAME: f64 = 0.005;
/// Periods after which a node must show the minimum that it was sent.
const SHOWN_AFTER: u64 = 3;
/// What is added to a minimum for the sake of errors below this is not worth a correction, fraction.
const LEAST_EXTRA: f64 = 0.002;

/// All cells.
#[derive(Debug, Clone, Default)]
pub(super) struct Cells {
    pub(super) cells: BTreeMap<CellId, Cell>,
    /// Nodes that take no corrections, with what they said.
    refusals: HashMap<Name, Name>,
    pub(super) rows: Rows,
    pub(super) parties: Parties,
}

/// What a step over the cells is given.
pub(super) struct CellRound<'a> {
    pub(super) now: Period,
    pub(super) sla: &'a SlaTable,
    /// By direction.
    pub(super) flows: [Flows; 2],
    /// What aggregate promises ask for each slice in each domain, by place in the SLA table, fraction; empty: nothing.
    pub(super) lending: &'a [f64],
    pub(super) settings: Settings,
}

impl Cells {
    /// Brings the cells up to date.
    pub(super) fn ingest(&mut self, now: Period, reports: &[Arc<CellReport>]) {
        if self.cells.len() != reports.len()
            || !reports.iter().all(|one| self.cells.contains_key(&one.id))
        {
            let mut old = std::mem::take(&mut self.cells);
            for id in reports.iter().map(|report| &report.id) {
                let cell = old.remove(id).unwrap_or_else(|| Cell::new(id));
                self.cells.insert(id.clone(), cell);
            }
        }
        for report in reports {
            if let Some(cell) = self.cells.get_mut(&report.id)
                && cell.take(now, report)
            {
                self.refusals.remove(&report.id.node);
            }
        }
    }

    /// The flows of both directions, laid out alike, one for each slice profile of ours.
    pub(super) fn flows(&mut self, now: Period, sla: &SlaTable) -> [Flows; 2] {
        let mut both: [Flows; 2] = Default::default();
        for flows in &mut both {
            flows.first.push(0);
        }
        for cell in self.cells.values_mut() {
            let fresh = cell.is_fresh(now);
            for profile in &mut cell.profiles {
                let slice = sla.place(&mut profile.place, &profile.slice);
                for (flows, flow) in both.iter_mut().zip(&profile.flows) {
                    let used = flow.used.filter(|_| fresh);
                    let backlogged = used.is_some() && flow.backlogged;
                    flows.slice.push(slice.unwrap_or(BEST_EFFORT));
                    flows.used.push(used.unwrap_or(0.0));
                    flows.demand.push(demand(used.unwrap_or(0.0), backlogged));
                    flows.known.push(used.is_some());
                    flows.backlogged.push(backlogged);
                }
            }
            for flows in &mut both {
                flows.first.push(flows.slice.len() as u32);
            }
        }
        if self.rows.len() != self.cells.len() {
            self.rows = Rows::of_edges(self.cells.len(), std::iter::empty());
        }
        let [down, _] = &both;
        self.parties.refresh(
            (&self.rows, false),
            &down.first,
            &down.slice,
            sla.entries.len(),
        );
        both
    }

    /// What is left of a direction of a cell when the minima of all, idle or not, are taken away; fraction.
    pub(super) fn room(cell: &Cell, direction: Direction, sla: &SlaTable) -> f64 {
        let min = |(profile, flow): (&Option<(u32, Name)>, &Flow)| match place(profile, sla) {
            Some(of) => promise(&of, direction).min_ratio / 100.0,
            None => flow.shown.unwrap_or(0.0) / 100.0,
        };
        let ours = cell.profiles.iter();
        let ours = ours.map(|one| (&one.place, &one.flows[direction as usize]));
        (1.0 - cell.foreign_min[direction as usize] - ours.map(min).sum::<f64>()).max(0.0)
    }

    /// Whether a node takes corrections, as far as is known.
    pub(super) fn refusal(&self, node: &str) -> Option<&Name> {
        self.refusals.get(node)
    }

    /// A node takes no corrections: nothing is sent to it until its agent starts again. Returns whether that is news.
    pub(super) fn refused(&mut self, node: &str, reason: &str) -> bool {
        for (_, cell) in self.cells.iter_mut().filter(|(id, _)| &*id.node == node) {
            cell.give_up();
        }
        self.refusals.insert(node.into(), reason.into()).is_none()
    }

    /// What the newest step decided for a node may not have arrived.
    pub(super) fn undelivered(&mut self, node: &str) {
        for (_, cell) in self.cells.iter_mut().filter(|(id, _)| &*id.node == node) {
            cell.undelivered();
        }
    }

    /// Corrects and judges.
    pub(super) fn step(&mut self, round: &CellRound<'_>, decision: &mut Decision) {
        for direction in Direction::BOTH {
            let shares: Vec<Share> = round
                .sla
                .entries
                .iter()
                .map(|(_, sla)| share(sla, direction))
                .collect();
            let flows = &round.flows[direction as usize];
            let capacity = vec![1.0; self.cells.len()];
            let asked = match direction {
                Direction::Down if !round.lending.is_empty() => self.asked(round, &shares),
                Direction::Down | Direction::Up => Vec::new(),
            };
            let targets = targets(&Contest {
                rows: &self.rows,
                parties: &self.parties,
                flows,
                capacity: &capacity,
                shares: &shares,
                asked: &asked,
                rest: Rest::Evenly,
            });
            self.control(round, direction, &targets, decision);
            self.judge(round, direction, &targets, decision);
        }
    }

    /// What aggregate promises ask for each flow, within the room that there is on its cell and the slice's maximum.
    fn asked(&self, round: &CellRound<'_>, shares: &[Share]) -> Vec<f64> {
        let flows = &round.flows[Direction::Down as usize];
        let mut asked = vec![0.0; flows.slice.len()];
        for (at, (id, cell)) in self.cells.iter().enumerate() {
            if self.refusals.contains_key(&id.node) {
                continue;
            }
            let own = flows.first[at] as usize..flows.first[at + 1] as usize;
            for flow in own.clone() {
                let slice = flows.slice[flow] as usize;
                if let (Some(share), Some(lent)) = (shares.get(slice), round.lending.get(slice))
                    && flows.demand[flow] > 0.0
                {
                    asked[flow] = lent.min((share.max - share.min).max(0.0));
                }
            }
            scale_to(
                &mut asked[own],
                Self::room(cell, Direction::Down, round.sla),
            );
        }
        asked
    }

    /// Decides what to send.
    fn control(
        &mut self,
        round: &CellRound<'_>,
        direction: Direction,
        targets: &Targets,
        decision: &mut Decision,
    ) {
        let flows = &round.flows[direction as usize];
        for (at, (id, cell)) in self.cells.iter_mut().enumerate() {
            if self.refusals.contains_key(&id.node) || !cell.is_fresh(round.now) {
                continue;
            }
            let room = Self::room(cell, direction, round.sla);
            let first = flows.first[at] as usize;
            let is_new = cell.is_new;
            let ours = cell.profiles.iter_mut().enumerate();
            let mut extra: Vec<f64> = ours
                .map(|(n, profile)| {
                    let flow = &mut profile.flows[direction as usize];
                    let Some(sla) =
                        place(&profile.place, round.sla).filter(|_| round.settings.enabled)
                    else {
                        flow.integral.reset();
                        return 0.0;
                    };
                    let owed = promise(&sla, direction).min_ratio / 100.0;
                    let guaranteed = targets.promised[first + n].min(targets.target[first + n]);
                    let aim = guaranteed + targets.lent(first + n);
                    if is_new && let Some(used) = flow.used {
                        let seen = Seen {
                            target: aim,
                            used,
                            is_short: flows.backlogged[first + n],
                            capacity: owed + room,
                        };
                        flow.integral.advance(seen, round.settings.gain);
                        flow.integral.raise_only();
                    }
                    let extra = (aim + flow.integral.value() - owed).max(0.0);
                    if extra < LEAST_EXTRA { 0.0 } else { extra }
                })
                .collect();
            scale_to(&mut extra, room);
            correct((id, cell), direction, &extra, round, &mut decision.prb);
        }
    }

    fn judge(
        &mut self,
        round: &CellRound<'_>,
        direction: Direction,
        targets: &Targets,
        decision: &mut Decision,
    ) {
        let flows = &round.flows[direction as usize];
        let technology = technology(direction);
        let shortage = |row: usize| {
            let mut all = targets.shortages.iter();
            all.find(|shortage| shortage.row as usize == row)
        };
        for (row, (id, cell)) in self.cells.iter_mut().enumerate() {
            let domain = Arc::clone(&cell.name);
            let short = shortage(row);
            let was = cell.memory[direction as usize].set_infeasible(short.is_some());
            match short {
                Some(short) if !was => decision.events.push(Event::Infeasible {
                    technology,
                    domain: Arc::clone(&domain),
                    radio: id.clone(),
                    asked: 100.0 * short.asked,
                    slices: short
                        .slices
                        .iter()
                        .map(|&slice| Arc::clone(&round.sla.entries[slice as usize].0))
                        .collect(),
                }),
                None if was => decision.events.push(Event::Feasible {
                    technology,
                    domain: Arc::clone(&domain),
                }),
                Some(_) | None => {}
            }
            let memory = &mut cell.memory[direction as usize];
            for (slice, of) in self.parties.all(row) {
                let (name, sla) = &round.sla.entries[slice as usize];
                let owed = promise(sla, direction).min_ratio;
                let mut spot = spot(of, 1.0, flows, targets);
                if spot.backlogged {
                    spot.promised = owed / 100.0;
                }
                let place = Place {
                    technology,
                    domain: &domain,
                };
                memory.measure(name, owed, &spot, place, decision);
            }
            memory.forget_unseen();
            let is_raised = |profile: &Profile| {
                let owed = place(&profile.place, round.sla);
                let owed = owed.map_or(0.0, |sla| promise(&sla, direction).min_ratio);
                let sent = profile.flows[direction as usize].sent;
                sent.is_some_and(|(min, _)| min > owed + SAME)
            };
            decision.domains.push(DomainMeasure {
                technology,
                domain,
                radios: Arc::new([]),
                capacity: 100.0,
                external: 0.0,
                corrected: cell.profiles.iter().any(is_raised),
                refused: self.refusals.get(&id.node).cloned(),
            });
        }
    }
}

/// Decides the minima of a direction of a cell; `extra` is what each slice profile gets above what is configured, fraction. What is
/// lowered comes first: a node refuses what does not fit at any moment.
fn correct(
    (id, cell): (&CellId, &mut Cell),
    direction: Direction,
    extra: &[f64],
    round: &CellRound<'_>,
    out: &mut Vec<PrbCorrection>,
) {
    let mut wanted = Vec::new();
    for (at, (profile, &extra)) in cell.profiles.iter_mut().zip(extra).enumerate() {
        let Some(sla) = place(&profile.place, round.sla) else {
            continue;
        };
        let flow = &mut profile.flows[direction as usize];
        let owed = promise(&sla, direction).min_ratio;
        let min = floor_2(owed + 100.0 * extra);
        let is_as_configured = |min: f64| (min - owed).abs() <= SAME;
        if flow.sent.is_some_and(|(min, _)| is_as_configured(min))
            && flow.shown.is_none_or(is_as_configured)
            && flow.delivery == Delivery::Arrived
        {
            flow.sent = None;
        }
        let current = flow.sent.map_or(flow.shown.unwrap_or(owed), |(min, _)| min);
        // Less than is configured is in force: a change of configuration is under way.
        let is_changing = flow.sent.is_none() && extra == 0.0 && current < owed + SAME;
        let is_lost = flow.sent.is_some_and(|(min, at)| {
            let shown = flow.shown.unwrap_or(min);
            round.now.since(at) >= SHOWN_AFTER && (shown - min).abs() > SAME
        });
        let is_due = flow.delivery == Delivery::Unknown
            || is_lost
            || (min - current).abs() > MIN_STEP
            || (extra == 0.0 && (min - current).abs() > SAME);
        wanted.push((at, min, min - current, is_due && !is_changing, is_changing));
    }
    let raises = |&(_, _, step, is_due, _): &(usize, f64, f64, bool, bool)| is_due && step > 0.0;
    let any_raise = wanted.iter().any(raises);
    wanted.retain(|&(_, _, step, is_due, is_changing)| {
        is_due || (any_raise && step < -SAME && !is_changing)
    });
    wanted.sort_by(|one, other| one.2.total_cmp(&other.2));
    for (at, min, ..) in wanted {
        let profile = &mut cell.profiles[at];
        let flow = &mut profile.flows[direction as usize];
        flow.sent = Some((min, round.now));
        flow.delivery = Delivery::UnderWay;
        out.push(PrbCorrection {
            cell: id.clone(),
            profile: Arc::clone(&profile.name),
            slice: Arc::clone(&profile.slice),
            direction,
            min_ratio: min,
        });
    }
}

/// What the slice of a profile is owed, where the table has it.
fn place(known: &Option<(u32, Name)>, sla: &SlaTable) -> Option<Sla> {
    let (at, _) = known.as_ref()?;
    sla.entries.get(*at as usize).map(|(_, sla)| *sla)
}

pub(super) fn promise(sla: &Sla, direction: Direction) -> PrbSla {
    match direction {
        Direction::Down => sla.down,
        Direction::Up => sla.up,
    }
}

fn share(sla: &Sla, direction: Direction) -> Share {
    let promise = promise(sla, direction);
    Share {
        min: promise.min_ratio / 100.0,
        max: promise.max_ratio / 100.0,
        priority: sla.priority,
    }
}

fn technology(direction: Direction) -> Technology {
    match direction {
        Direction::Down => Technology::PrbDown,
        Direction::Up => Technology::PrbUp,
    }
}

/// Makes the sum no greater than `most`, each its part.
fn scale_to(parts: &mut [f64], most: f64) {
    let sum: f64 = parts.iter().sum();
    if sum > most {
        for part in parts {
            *part *= most / sum;
        }
    }
}

fn floor_2(percent: f64) -> f64 {
    (percent * 100.0 + 1e-6).floor() / 100.0
}
