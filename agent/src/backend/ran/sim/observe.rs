//! What is seen of a simulated node: states, and what its slice profiles got in the last period.

use super::cell::Cell;
use super::node::Node;
use crate::backend::Ratio;
use crate::backend::ran::{
    CellOperState, CellReport, CellState, CoreStatus, Direction, PrbReport, PrbUse, ProfileOnCell,
    ProfileReport, ProfileState, ProfileStatus,
};

/// What one slice got of one direction of a cell in the last period, and the counters at its end.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Period {
    prbs: u64,
    bits: u64,
    used: Ratio,
    throughput_bps: u64,
    is_backlogged: bool,
    delay_mean_us: Option<u64>,
    delay_p99_us: Option<u64>,
}

impl Node {
    /// Closes the period.
    pub(super) fn report(&mut self) -> PrbReport {
        let interval_ms = self.now_ms - self.period_start_ms;
        self.period_start_ms = self.now_ms;
        self.sequence += 1;
        let mut before = std::mem::take(&mut self.periods);
        for cell in &mut self.cells {
            let all = u64::from(cell.config.bandwidth_prb) * interval_ms;
            for index in 0..cell.profiles.len() {
                for direction in Direction::BOTH {
                    let at = (
                        cell.config.name.clone(),
                        cell.profiles[index].clone(),
                        direction,
                    );
                    let last = before.remove(&at).unwrap_or_default();
                    let slice = cell.in_direction_mut(direction, index);
                    // A cell that started again counts from nothing.
                    let prbs = slice.prbs.checked_sub(last.prbs).unwrap_or(slice.prbs);
                    let bits = slice.bits.checked_sub(last.bits).unwrap_or(slice.bits);
                    let delays = std::mem::take(&mut slice.delays);
                    let period = Period {
                        prbs: slice.prbs,
                        bits: slice.bits,
                        used: Ratio::of(prbs, all),
                        throughput_bps: (bits * 1000).checked_div(interval_ms).unwrap_or(0),
                        is_backlogged: slice.is_waiting() && !slice.was_empty,
                        delay_mean_us: delays.mean_us(),
                        delay_p99_us: delays.p99_us(),
                    };
                    slice.was_empty = !slice.is_waiting();
                    self.periods.insert(at, period);
                }
            }
        }
        let up = self.cells.iter().filter(|cell| cell.is_up);
        PrbReport {
            sequence: self.sequence,
            interval_ms: u32::try_from(interval_ms).unwrap_or(u32::MAX),
            cells: up.map(|cell| self.cell_report(cell)).collect(),
        }
    }

    fn cell_report(&self, cell: &Cell) -> CellReport {
        let profiles = cell.profiles.iter().map(|name| ProfileReport {
            slice: self
                .told
                .ran
                .profile(name)
                .and_then(|one| one.slice.clone()),
            oper_state: self
                .profiles
                .iter()
                .find(|one| one.name == *name)
                .map_or(ProfileState::Pending, |one| one.state),
            on_cell: ProfileOnCell {
                name: name.clone(),
                ..self.on_cell(cell, name)
            },
        });
        CellReport {
            name: cell.config.name.clone(),
            bandwidth_prb: cell.config.bandwidth_prb,
            used_down: Some(self.used(cell, Direction::Down)),
            used_up: Some(self.used(cell, Direction::Up)),
            ues: self.ues_where(|at_cell, _| at_cell == cell.config.name),
            profiles: profiles.collect(),
        }
    }

    fn used(&self, cell: &Cell, direction: Direction) -> Ratio {
        let used = cell.profiles.iter().map(|name| {
            let at = (cell.config.name.clone(), name.clone(), direction);
            let period = self.periods.get(&at);
            period.map_or(0, |period| period.used.hundredths())
        });
        Ratio::from_hundredths(used.sum())
    }

    /// What a slice profile has of a cell, under the cell's name.
    fn on_cell(&self, cell: &Cell, profile: &str) -> ProfileOnCell {
        let in_direction = |direction| {
            let at = (cell.config.name.clone(), profile.to_owned(), direction);
            let period = self.periods.get(&at).copied().unwrap_or_default();
            let share = cell
                .slice(profile)
                .map(|slice| cell.in_direction(direction, slice).share())
                .unwrap_or_default();
            PrbUse {
                effective_min_ratio: share.min,
                effective_max_ratio: share.max,
                used_ratio: Some(period.used),
                backlogged: Some(period.is_backlogged),
                throughput_bps: Some(period.throughput_bps),
                delay_us: period.delay_mean_us.map(clipped),
                delay_p99_us: period.delay_p99_us.map(clipped),
            }
        };
        ProfileOnCell {
            name: cell.config.name.clone(),
            ues: Some(self.ues_where(|at_cell, of| at_cell == cell.config.name && of == profile)),
            down: in_direction(Direction::Down),
            up: in_direction(Direction::Up),
        }
    }

    /// How many UEs are attached where `which` says, by cell and slice profile.
    pub(super) fn ues_where(&self, which: impl Fn(&str, &str) -> bool) -> u32 {
        let attached = self.ues.iter().filter_map(|ue| ue.at.as_ref());
        attached.filter(|at| which(&at.cell, &at.profile)).count() as u32
    }

    pub(super) fn cell_states(&self) -> Vec<CellState> {
        let state = |cell: &Cell| CellState {
            name: cell.config.name.clone(),
            oper_state: match cell.is_up {
                true => CellOperState::Up,
                false => CellOperState::Down,
            },
            max_plmns: cell.config.rat.max_plmns(),
            ues: self.ues_where(|at_cell, _| at_cell == cell.config.name),
            used_down: Some(self.used(cell, Direction::Down)),
            used_up: Some(self.used(cell, Direction::Up)),
        };
        self.cells.iter().map(state).collect()
    }

    pub(super) fn core_states(&self) -> Vec<CoreStatus> {
        self.cores.iter().map(|core| core.status.clone()).collect()
    }

    pub(super) fn profile_states(&self) -> Vec<ProfileStatus> {
        let states = self.profiles.iter().map(|profile| {
            let cells = self.cells.iter();
            let cells = cells.filter(|cell| cell.slice(&profile.name).is_some());
            ProfileStatus {
                name: profile.name.clone(),
                oper_state: profile.state,
                cause: profile.cause.clone(),
                active_core: profile.core.clone(),
                core_failovers: profile.failovers,
                ues: Some(self.ues_where(|_, of| of == profile.name)),
                rejected_attaches: Some(profile.rejected),
                cells: cells
                    .map(|cell| self.on_cell(cell, &profile.name))
                    .collect(),
            }
        });
        states.collect()
    }
}

fn clipped(us: u64) -> u32 {
    u32::try_from(us).unwrap_or(u32::MAX)
}
