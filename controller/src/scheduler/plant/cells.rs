//! Simulated cells: minima, an equal part of the rest for everybody who wants it, and a node that refuses what does not fit.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Rng;
use crate::scheduler::cell::{CellId, CellReport, Direction, PrbCorrection, PrbUse, ProfileReport};
use crate::scheduler::fill::{Topology, water_fill};
use crate::scheduler::rows::Rows;
use crate::scheduler::types::Period;

#[derive(Clone)]
pub(in crate::scheduler) struct Profile {
    pub(in crate::scheduler) slice: &'static str,
    /// Downlink share it wants; infinite: all it can get.
    pub(in crate::scheduler) wants: f64,
    /// How a minimum turns into PRB.
    pub(in crate::scheduler) gain: f64,
    /// Minimum in force and ceiling, percent.
    pub(in crate::scheduler) min: f64,
    pub(in crate::scheduler) max: f64,
}

/// Nodes named `enb-0`, `enb-1`, ... with one cell `c` each.
#[derive(Clone)]
pub(in crate::scheduler) struct CellPlant {
    pub(in crate::scheduler) cells: Vec<Vec<Profile>>,
    pub(in crate::scheduler) noise: f64,
    /// Periods from decision to effect.
    pub(in crate::scheduler) delay: usize,
    /// Cells whose reports do not arrive.
    pub(in crate::scheduler) silent: Vec<usize>,
    /// When the agents started last.
    pub(in crate::scheduler) started: u64,
    /// Shares truly used in the last period, percent.
    pub(in crate::scheduler) truth: Vec<Vec<f64>>,
    now: u64,
    rng: Rng,
    under_way: VecDeque<Vec<PrbCorrection>>,
    last: Vec<Arc<CellReport>>,
}

impl CellPlant {
    /// Slices with their configured minimum, percent, cell by cell.
    pub(in crate::scheduler) fn new(cells: &[&[(&'static str, f64)]]) -> Self {
        let profile = |&(slice, min): &(&'static str, f64)| Profile {
            slice,
            wants: f64::INFINITY,
            gain: 1.0,
            min,
            max: 100.0,
        };
        let of_cell = |cell: &&[(&'static str, f64)]| cell.iter().map(profile).collect();
        Self {
            cells: cells.iter().map(of_cell).collect(),
            noise: 0.0,
            delay: 1,
            silent: Vec::new(),
            started: 0,
            truth: Vec::new(),
            now: 0,
            rng: Rng::new(77_777),
            under_way: VecDeque::new(),
            last: Vec::new(),
        }
    }

    pub(in crate::scheduler) fn each(&mut self, slice: &str, change: impl Fn(&mut Profile)) {
        let all = self.cells.iter_mut().flatten();
        all.filter(|profile| profile.slice == slice)
            .for_each(change);
    }

    /// Percent of a cell that a slice truly got.
    pub(in crate::scheduler) fn share(&self, cell: usize, slice: &str) -> f64 {
        let at = self.cells[cell].iter().position(|one| one.slice == slice);
        self.truth[cell][at.expect("on the cell")]
    }

    /// The minimum in force, percent.
    pub(in crate::scheduler) fn minimum(&self, cell: usize, slice: &str) -> f64 {
        let on_cell = self.cells[cell].iter().find(|one| one.slice == slice);
        on_cell.expect("on the cell").min
    }

    /// One period: what was sent takes effect after the delay, PRB are shared, and reports are made.
    pub(in crate::scheduler) fn run(
        &mut self,
        corrections: Vec<PrbCorrection>,
    ) -> Vec<Arc<CellReport>> {
        self.under_way.push_back(corrections);
        while self.under_way.len() >= self.delay.max(1) {
            for correction in self.under_way.pop_front().expect("not empty") {
                self.apply(&correction);
            }
        }
        self.now += 1;
        self.truth = self
            .cells
            .clone()
            .iter()
            .map(|cell| self.serve(cell))
            .collect();
        let mut reports: Vec<_> = (0..self.cells.len()).map(|at| self.report(at)).collect();
        for &silent in &self.silent {
            reports[silent] = Arc::clone(&self.last[silent]);
        }
        self.last.clone_from(&reports);
        reports
    }

    fn apply(&mut self, correction: &PrbCorrection) {
        let number = correction.cell.node.trim_start_matches("enb-");
        let cell = &mut self.cells[number.parse::<usize>().expect("our name")];
        let profile = cell
            .iter_mut()
            .find(|one| *one.slice == *correction.slice)
            .expect("on the cell");
        if correction.direction == Direction::Down {
            profile.min = correction.min_ratio;
        }
        let sum: f64 = cell.iter().map(|one| one.min).sum();
        assert!(sum <= 100.0 + 1e-9, "a node refuses minima of {sum} %");
    }

    fn serve(&mut self, cell: &[Profile]) -> Vec<f64> {
        let most = |one: &Profile| one.wants.min(one.max / 100.0);
        let floor = |one: &Profile| most(one).min(one.gain * one.min / 100.0);
        let floors: Vec<f64> = cell.iter().map(floor).collect();
        let left = (1.0 - floors.iter().sum::<f64>()).max(0.0);
        let more: Vec<f64> = cell
            .iter()
            .zip(&floors)
            .map(|(one, got)| most(one) - got)
            .collect();
        let rows = Rows::of_edges(1, std::iter::empty());
        let first = [0, cell.len() as u32];
        let topology = Topology {
            rows: &rows,
            first: &first,
        };
        let rest = water_fill(topology, &[left], &vec![1.0; cell.len()], &more);
        let got = floors.iter().zip(rest);
        let noisy = got
            .map(|(floor, rest)| 100.0 * (floor + rest) * (1.0 + self.noise * self.rng.normal()));
        noisy.collect()
    }

    fn report(&self, at: usize) -> Arc<CellReport> {
        let profiles = self.cells[at].iter().zip(&self.truth[at]);
        let profiles = profiles.map(|(profile, used)| ProfileReport {
            name: profile.slice.into(),
            slice: Some(profile.slice.into()),
            ues: Some(1),
            down: PrbUse {
                used: Some(used.min(100.0)),
                backlogged: profile.wants > used / 100.0 * 1.02,
                effective_min: Some(profile.min),
                effective_max: Some(profile.max),
                throughput: None,
                delay_us: None,
                delay_p99_us: None,
            },
            up: PrbUse {
                used: Some(0.0),
                effective_min: Some(0.0),
                ..PrbUse::default()
            },
        });
        Arc::new(CellReport {
            id: CellId::new(&format!("enb-{at}"), "c"),
            ended: Period(self.now),
            sequence: self.now.saturating_sub(self.started),
            bandwidth_prb: Some(50),
            ues: None,
            used_down: None,
            used_up: None,
            profiles: profiles.collect(),
        })
    }
}
