//! The medium as the rest of the agent holds it: shared, locked for the length of a step, and driven by somebody.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::node::SimulatedNode;
use super::params::MediumParams;
use super::world::World;
use crate::backend::backhaul::Backhaul;
use crate::backend::backhaul::sim::Underlay;
use crate::backend::ran::sim::RanWorld;
use crate::backend::steering::Steering;
use crate::backend::steering::sim::SimulatedPorts;

pub use super::observe::LedgerEntry;

/// How often the real-time driver lets time pass.
const TICK: Duration = Duration::from_millis(10);

/// The most that the real-time driver catches up at once; what the process slept through beyond this did not happen.
const LONGEST_STEP: Duration = Duration::from_millis(500);

/// One medium: radios, stations and the frames between them, in simulated time that passes when it is told to.
#[derive(Debug)]
pub struct Medium {
    world: Mutex<World>,
    underlay: Arc<Underlay>,
    ran: Arc<RanWorld>,
    /// The tunnels of each node, by its name.
    backhauls: Mutex<BTreeMap<String, Backhaul>>,
    /// The ports of each node with their steering, by its name.
    steerings: Mutex<BTreeMap<String, (SimulatedPorts, Steering)>>,
}

impl Medium {
    /// A medium with nothing on it, at time 0.
    #[must_use]
    pub fn new(params: MediumParams) -> Arc<Self> {
        Arc::new(Self {
            world: Mutex::new(World::new(params)),
            underlay: Arc::default(),
            ran: Arc::default(),
            backhauls: Mutex::default(),
            steerings: Mutex::default(),
        })
    }

    /// The tunnels of a node. Who asks first says where their keys are kept; without a directory they go with the medium.
    #[must_use]
    pub fn backhaul(&self, node: &str, keys: Option<PathBuf>) -> Backhaul {
        let backhauls = self.backhauls.lock();
        let mut backhauls = backhauls.unwrap_or_else(PoisonError::into_inner);
        let new = || self.underlay.backhaul(node, keys);
        backhauls.entry(node.to_owned()).or_insert_with(new).clone()
    }

    /// The steering of a node.
    #[must_use]
    pub fn steering(&self, node: &str) -> Steering {
        self.steering_of(node).1
    }

    /// The ports where a node steers packets.
    #[must_use]
    pub fn ports(&self, node: &str) -> SimulatedPorts {
        self.steering_of(node).0
    }

    fn steering_of(&self, node: &str) -> (SimulatedPorts, Steering) {
        let steerings = self.steerings.lock();
        let mut steerings = steerings.unwrap_or_else(PoisonError::into_inner);
        let new = || {
            let ports = SimulatedPorts::default();
            let steering = ports.steering();
            (ports, steering)
        };
        steerings.entry(node.to_owned()).or_insert_with(new).clone()
    }

    /// What carries the tunnels between the nodes.
    #[must_use]
    pub fn underlay(&self) -> &Arc<Underlay> {
        &self.underlay
    }

    /// The cells of the nodes, with their UEs and cores.
    #[must_use]
    pub fn ran(&self) -> &Arc<RanWorld> {
        &self.ran
    }

    /// Simulated time since the start.
    #[must_use]
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.world().now_ns)
    }

    /// Lets simulated time pass.
    pub fn advance(&self, by: Duration) {
        self.ran.advance(by);
        let mut world = self.world();
        let until_ns = world.now_ns + u64::try_from(by.as_nanos()).unwrap_or(u64::MAX / 4);
        world.advance_to(until_ns);
    }

    /// Lets simulated time pass as the time of the wall does, until `stop` is cancelled.
    pub async fn drive(self: Arc<Self>, stop: CancellationToken) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut last = tokio::time::Instant::now();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            let now = tokio::time::Instant::now();
            self.advance((now - last).min(LONGEST_STEP));
            last = now;
        }
    }

    /// True airtime of every interface since the start, by node, radio and name.
    #[must_use]
    pub fn ledger(&self) -> Vec<LedgerEntry> {
        self.world().ledger()
    }

    /// How many events were handled since the start: the work that it cost.
    #[must_use]
    pub fn events_handled(&self) -> u64 {
        self.world().events_handled
    }

    /// Does something to a node while no time passes.
    pub(crate) fn with<R>(&self, node: &str, act: impl FnOnce(&mut SimulatedNode<'_>) -> R) -> R {
        let mut world = self.world();
        let index = world.node(node);
        act(&mut SimulatedNode::new(&mut world, index))
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
