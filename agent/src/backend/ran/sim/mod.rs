//! A simulated RAN: cells with UEs and PRB schedulers, and cores that accept, refuse or fall silent.
//!
//! [`RanWorld`] has the nodes of a process; the clock of the medium drives it. UEs and cores are configuration
//! (`tranche-sim`), so that a client changes them by NETCONF while it runs. Left out, and known to be: a TTI is one
//! millisecond on NR too, UEs do not move, radio links do not fade, and cells do not interfere.

mod attach;
mod cell;
mod config;
mod core;
mod delay;
mod node;
mod observe;
#[cfg(test)]
pub(crate) mod scenario;
mod scheduler;
mod settle;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::broadcast;

pub use config::{Behaviour, SimCore, Traffic, TrafficModel, UeGroup};
use node::{At, Corrected, Node, Told};

use super::check::{check, fits, objections};
use super::diff::{self, Attached};
use super::{
    CellState, CoreStatus, DOMAIN, Event, PrbCorrection, PrbReport, ProfileStatus, RanBackend,
    cell_path, profile_path,
};
use crate::backend::{
    Applied, Backend, BoxFuture, Cost, NodeConfig, Plan, Ratio, Reconciled, Refusal, Step, Why,
};

/// The RAN of all simulated nodes of a process, in simulated time that passes when it is told to.
#[derive(Debug, Default)]
pub struct RanWorld {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    now_ns: u64,
    nodes: BTreeMap<String, Node>,
}

impl RanWorld {
    /// Lets simulated time pass.
    pub fn advance(&self, by: Duration) {
        let mut state = self.state();
        state.now_ns += u64::try_from(by.as_nanos()).unwrap_or(u64::MAX / 4);
        let now_ms = state.now_ns / 1_000_000;
        for node in state.nodes.values_mut() {
            node.advance(now_ms);
        }
    }

    /// TTIs that were scheduled and not skipped since the start, in all cells: the work that it cost.
    #[must_use]
    pub fn ttis(&self) -> u64 {
        let state = self.state();
        let cells = state.nodes.values().flat_map(|node| &node.cells);
        cells.map(|cell| cell.ttis).sum()
    }

    fn with<R>(&self, node: &str, act: impl FnOnce(&mut Node) -> R) -> R {
        let mut state = self.state();
        let now_ms = state.now_ns / 1_000_000;
        let new = || Node::new(now_ms);
        act(state.nodes.entry(node.to_owned()).or_insert_with(new))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The RAN of one simulated node.
#[derive(Debug)]
pub struct SimulatedRan {
    world: Arc<RanWorld>,
    node: String,
}

/// What a change needs to be taken back.
struct Before {
    told: Told,
    corrections: BTreeMap<At, Corrected>,
}

impl SimulatedRan {
    /// The RAN of `node` in `world`.
    pub fn new(world: Arc<RanWorld>, node: impl Into<String>) -> Self {
        Self {
            world,
            node: node.into(),
        }
    }

    fn steps(&self, old: &Told, new: &Told) -> Vec<Step> {
        let mut steps = Vec::new();
        if (old.seed, &old.groups, &old.cores) != (new.seed, &new.groups, &new.cores) {
            steps.push(Step {
                path: "/tranche-sim:sim".to_owned(),
                action: "change the simulated UEs and cores".to_owned(),
                cost: Cost::Hot,
            });
        }
        steps.extend(diff::steps(self, &old.ran, &new.ran));
        steps
    }

    /// Carries a configuration out and reads back whether it is so.
    fn carry_out(
        &self,
        told: Told,
        corrections: Option<BTreeMap<At, Corrected>>,
    ) -> Result<Before, Refusal> {
        self.world.with(&self.node, |node| {
            let before = Before {
                told: node.told.clone(),
                corrections: node.corrections.clone(),
            };
            node.configure(told);
            if let Some(corrections) = corrections {
                node.corrections = corrections;
                node.put_shares_in_force();
            }
            read_back(node)?;
            Ok(before)
        })
    }

    fn correct_now(
        &self,
        corrections: &[PrbCorrection],
        lifetime: Duration,
    ) -> Result<(), Refusal> {
        self.world.with(&self.node, |node| {
            let lifetime_ms = u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX / 4);
            let before = node.corrections.clone();
            for correction in corrections {
                let done = correct_one(node, correction, node.now_ms + lifetime_ms);
                if let Err(refusal) = done.and_then(|()| sums(node, correction)) {
                    node.corrections = before;
                    return Err(refusal);
                }
            }
            node.put_shares_in_force();
            Ok(())
        })
    }
}

impl Attached for SimulatedRan {
    fn of_profile(&self, name: &str) -> u32 {
        let count = |node: &mut Node| node.ues_where(|_, of| of == name);
        self.world.with(&self.node, count)
    }

    fn of_profile_on(&self, name: &str, cell: &str) -> u32 {
        let count = |node: &mut Node| node.ues_where(|at, of| of == name && at == cell);
        self.world.with(&self.node, count)
    }

    fn of_cell(&self, name: &str) -> u32 {
        let count = |node: &mut Node| node.ues_where(|at, _| at == name);
        self.world.with(&self.node, count)
    }
}

impl Backend for SimulatedRan {
    fn domain(&self) -> &'static str {
        DOMAIN
    }

    fn plan(&self, old: &NodeConfig, new: &NodeConfig) -> Result<Plan, Refusal> {
        check(&new.ran)?;
        check_ues(new)?;
        let steps = self.steps(&Told::of(old), &Told::of(new));
        let ues = |profile: &str| format!("{} UEs", self.of_profile(profile));
        let warnings = diff::warnings(&old.ran, &new.ran, ues);
        Ok(Plan::new(DOMAIN, steps, old, new).warning(warnings))
    }

    fn objections(&self, old: &NodeConfig, new: &NodeConfig) -> Result<(), Refusal> {
        let ues = |profile: &str, cell: &str| self.of_profile_on(profile, cell);
        objections(&old.ran, &new.ran, ues)
    }

    fn apply(&mut self, plan: Plan) -> BoxFuture<'_, Result<Applied, Refusal>> {
        Box::pin(async move {
            let (old, new) = (plan.old(), plan.new_config());
            let words = new.sim.as_ref().and_then(|sim| sim.ran_refuse.as_ref());
            if let Some(words) = words.filter(|_| old.ran != new.ran) {
                return Err(Refusal::new("/tranche-ran:ran", words).tagged("ran-refused"));
            }
            Ok(Applied::new(DOMAIN, self.carry_out(Told::of(new), None)?))
        })
    }

    fn undo(&mut self, applied: Applied) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(async move {
            let before = applied.into_memory::<Before>(DOMAIN)?;
            self.carry_out(before.told, Some(before.corrections))
                .map(drop)
        })
    }

    fn reconcile(&mut self, wanted: &NodeConfig) -> BoxFuture<'_, Result<Reconciled, Refusal>> {
        let wanted = wanted.clone();
        Box::pin(async move {
            check(&wanted.ran)?;
            check_ues(&wanted)?;
            let found = self.world.with(&self.node, |node| node.told.clone());
            let told = Told::of(&wanted);
            let repaired = self.steps(&found, &told);
            if found != told {
                self.carry_out(told, None)?;
            }
            Ok(Reconciled { repaired })
        })
    }
}

impl RanBackend for SimulatedRan {
    fn initialise(&self, force: bool) -> BoxFuture<'_, Result<u32, Refusal>> {
        let done = self.world.with(&self.node, |node| node.initialise(force));
        Box::pin(async { done })
    }

    fn cells(&self) -> BoxFuture<'_, Result<Vec<CellState>, Refusal>> {
        Box::pin(async { Ok(self.world.with(&self.node, |node| node.cell_states())) })
    }

    fn cores(&self) -> BoxFuture<'_, Result<Vec<CoreStatus>, Refusal>> {
        Box::pin(async { Ok(self.world.with(&self.node, |node| node.core_states())) })
    }

    fn profiles(&self) -> BoxFuture<'_, Result<Vec<ProfileStatus>, Refusal>> {
        Box::pin(async { Ok(self.world.with(&self.node, |node| node.profile_states())) })
    }

    fn correct(
        &self,
        corrections: &[PrbCorrection],
        lifetime: Duration,
    ) -> BoxFuture<'_, Result<(), Refusal>> {
        let done = self.correct_now(corrections, lifetime);
        Box::pin(async { done })
    }

    fn report(&self) -> BoxFuture<'_, Result<PrbReport, Refusal>> {
        Box::pin(async { Ok(self.world.with(&self.node, Node::report)) })
    }

    fn events(&self) -> broadcast::Receiver<Event> {
        self.world.with(&self.node, |node| node.events.subscribe())
    }
}

impl Node {
    /// Cells come up anew and cores are set up again; how many UEs lost their link.
    fn initialise(&mut self, force: bool) -> Result<u32, Refusal> {
        let attached = self.ues_where(|_, _| true);
        if attached > 0 && !force {
            let message = format!("{attached} UEs would lose their link: force it");
            return Err(Refusal::new("/tranche-ran:initialise/force", message).tagged("has-ues"));
        }
        self.let_go(|_, _| true);
        for cell in &mut self.cells {
            cell.is_up = false;
        }
        for core in &mut self.cores {
            *core = core::Core::new(&core.status.name, self.now_ms);
        }
        self.settle();
        Ok(attached)
    }
}

/// Whether the cells carry the slice profiles with the shares that they should.
fn read_back(node: &Node) -> Result<(), Refusal> {
    for config in &node.told.ran.cells {
        let cell = node.cells.iter().find(|cell| cell.config == *config);
        let cell = cell.ok_or_else(|| {
            let message = format!("cell {} did not take its configuration", config.name);
            Refusal::new(cell_path(&config.name), message)
        })?;
        for profile in node.told.ran.profiles_of(&config.name) {
            let is_so = cell.slice(&profile.name).is_some_and(|slice| {
                super::Direction::BOTH.into_iter().all(|direction| {
                    cell.in_direction(direction, slice).share()
                        == node.share(profile, &config.name, direction)
                })
            });
            if !is_so {
                let message = format!("cell {} does not carry it as it should", config.name);
                return Err(Refusal::new(profile_path(&profile.name), message));
            }
        }
    }
    Ok(())
}

/// The simulated UEs each have an IMSI of their own.
fn check_ues(config: &NodeConfig) -> Result<(), Refusal> {
    let mut taken = BTreeSet::new();
    for group in config.sim.iter().flat_map(|sim| &sim.ue_groups) {
        let path = format!("/tranche-sim:sim/ue-group[name='{}']", group.name);
        let bad = |message: String| {
            Refusal::new(&*path, message)
                .because(Why::BadValue)
                .tagged("imsi-overlap")
        };
        let imsis = group.imsis().ok_or_else(|| {
            let digits = group.first_imsi.len();
            bad(format!("its IMSIs have more than {digits} digits"))
        })?;
        for imsi in imsis {
            if taken.contains(&imsi) {
                return Err(bad(format!("another group has the UE {imsi} already")));
            }
            taken.insert(imsi);
        }
    }
    Ok(())
}

fn at_correction(correction: &PrbCorrection, leaf: &str) -> String {
    format!(
        "/tranche-ran:correct-prb/slice-profile[name='{}'][cell='{}'][direction='{}']{leaf}",
        correction.profile, correction.cell, correction.direction
    )
}

fn correct_one(node: &mut Node, correction: &PrbCorrection, end_ms: u64) -> Result<(), Refusal> {
    let profile = node.told.ran.profile(&correction.profile);
    if !profile.is_some_and(|profile| profile.cells.contains(&correction.cell)) {
        let message = format!(
            "slice profile {} is not on cell {}",
            correction.profile, correction.cell
        );
        let refusal = Refusal::new(at_correction(correction, ""), message);
        return Err(refusal.because(Why::BadValue).tagged("not-on-cell"));
    }
    if correction.max_ratio == Some(Ratio::ZERO) {
        let message = "max-ratio 0 would starve the slice";
        let refusal = Refusal::new(at_correction(correction, "/max-ratio"), message);
        return Err(refusal.because(Why::BadValue).tagged("starved"));
    }
    let at = (
        correction.profile.clone(),
        correction.cell.clone(),
        correction.direction,
    );
    let corrected = node.corrections.entry(at).or_default();
    corrected.min = correction.min_ratio.or(corrected.min);
    if let Some(max) = correction.max_ratio {
        corrected.max = (max < Ratio::FULL).then_some((max, end_ms));
    }
    Ok(())
}

/// Whether the minima of the cell still fit.
fn sums(node: &Node, correction: &PrbCorrection) -> Result<(), Refusal> {
    let on_cell = node.told.ran.profiles_of(&correction.cell);
    let owed = on_cell
        .filter(|profile| profile.admin_state != super::AdminState::Locked)
        .map(|profile| {
            let share = node.share(profile, &correction.cell, correction.direction);
            (profile.name.as_str(), share.min)
        });
    fits(&correction.cell, correction.direction, owed).map_err(|(_, message)| {
        let refusal = Refusal::new(at_correction(correction, "/min-ratio"), message);
        refusal.because(Why::BadValue).tagged("ratio-sum")
    })
}
