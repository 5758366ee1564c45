//! The network as one thing to change: what every node should have, and the one way to change that.
//!
//! Owns the wanted plans and which node is being changed. Changes come one after the other; a change holds only the nodes it
//! concerns, so a node that hangs in a repair or a rotation delays nobody before somebody changes it (`hold`). What a node has is
//! read from it, never taken from here.

mod forecast;
mod hold;
mod rotation;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::StreamExt as _;
use tokio::sync::broadcast;
use tranche_netconf::Error;

use crate::device::{Device, DeviceError, DeviceState, Fleet};
use crate::intent::{Drift, Keys, NodePlan, OwnKey, Stage, TunnelConfig};
use crate::inventory::{NodeName, Observed};
use crate::rollout::{
    self, Heard, NodeFailure, Phase, RolloutDone, RolloutFailed, RolloutSettings, StagedNode,
    Target,
};

pub(crate) use self::forecast::{Answer, NodeForecast};
pub use self::rotation::RotationError;
pub(crate) use self::rotation::{PortRange, PortRanges, Waiting, Waits};

/// Changes of agreement that a listener may be behind before it misses some.
const EVENTS: usize = 1024;

/// What happens to a change while nodes are away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// It is refused.
    #[default]
    AllOrNothing,
    /// The others get it now; those get it when they return.
    Queue,
}

/// A change is in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChangeDone {
    /// Nodes that have it for good.
    pub confirmed: Vec<NodeName>,
    /// Nodes that committed it and were not heard of since.
    pub unconfirmed: Vec<NodeFailure>,
    /// Nodes that are away and get it when they return ([`Mode::Queue`]).
    pub queued: Vec<NodeName>,
}

/// Whether a node has what it should have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SyncState {
    /// As of the last reading; `None` before the first one.
    pub in_sync: Option<bool>,
    /// What it lacked or had too much, in words.
    pub drift: Option<String>,
    /// Why the last repair failed.
    pub last_error: Option<String>,
    /// Repairs done.
    pub repairs: u64,
}

/// What one node should have.
#[derive(Debug)]
struct Wanted {
    plan: Arc<NodePlan>,
    /// What is known to have been put there last, secrets included.
    put: Option<Arc<NodePlan>>,
}

impl Wanted {
    /// What was put there; where that is not known, what the node does not show is taken to be right.
    fn put(&self) -> Arc<NodePlan> {
        Arc::clone(self.put.as_ref().unwrap_or(&self.plan))
    }
}

#[derive(Debug, Default)]
struct State {
    wanted: BTreeMap<NodeName, Wanted>,
    sync: BTreeMap<NodeName, SyncState>,
    busy: HashMap<NodeName, Arc<tokio::sync::Mutex<()>>>,
    /// Slices whose rotations hold nodes, by node.
    rotations: HashMap<NodeName, String>,
    /// Slices that are or were ours: their tunnels are ours.
    slices: HashSet<String>,
    /// Slices that changes brought tunnels of, those that failed too: what nodes may still be undoing is not somebody else's.
    tried: HashSet<String>,
    /// What the first tunnel of each slice showed when it answered in the last change that brought some.
    heard: HashMap<String, Heard>,
}

impl State {
    /// From now on this is wanted of exactly these nodes, and was put on those of which `is_put` says so.
    fn want(&mut self, plans: BTreeMap<NodeName, NodePlan>, is_put: impl Fn(&NodeName) -> bool) {
        let tunnels = plans.values().flat_map(|plan| plan.tunnels.keys());
        self.slices.extend(tunnels.cloned());
        let mut before = std::mem::take(&mut self.wanted);
        for (node, plan) in plans {
            let plan = Arc::new(plan);
            let put = match is_put(&node) {
                true => Some(Arc::clone(&plan)),
                false => before.remove(&node).and_then(|wanted| wanted.put),
            };
            self.wanted.insert(node, Wanted { plan, put });
        }
        // What is known of nodes that are no more would pile up.
        let wanted = &self.wanted;
        self.sync.retain(|node, _| wanted.contains_key(node));
        self.busy
            .retain(|node, busy| wanted.contains_key(node) || Arc::strong_count(busy) > 1);
    }
}

/// All nodes and what they should have.
#[derive(Debug)]
pub struct Network {
    fleet: Fleet,
    settings: RolloutSettings,
    state: Mutex<State>,
    changing: tokio::sync::Mutex<()>,
    /// Rotations of keys that wait for somebody.
    waits: Waits,
    events: broadcast::Sender<NodeName>,
}

impl Network {
    /// Nothing is wanted yet.
    #[must_use]
    pub fn new(fleet: Fleet, settings: RolloutSettings) -> Self {
        Self {
            fleet,
            settings,
            state: Mutex::default(),
            changing: tokio::sync::Mutex::default(),
            waits: Waits::default(),
            events: broadcast::Sender::new(EVENTS),
        }
    }

    /// Rotations of keys that wait for somebody.
    pub(crate) fn waits(&self) -> &Waits {
        &self.waits
    }

    /// The sessions to the nodes.
    #[must_use]
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// What the nodes should have, without putting it there. Reconciliation does the rest.
    pub fn adopt(&self, plans: BTreeMap<NodeName, NodePlan>) {
        let nodes: Vec<NodeName> = plans.keys().cloned().collect();
        self.state().want(plans, |_| false);
        for node in nodes {
            self.check(&node);
        }
    }

    /// What a node should have; `None`: nothing was ever wanted of it.
    #[must_use]
    pub fn wanted(&self, node: &str) -> Option<Arc<NodePlan>> {
        let state = self.state();
        Some(Arc::clone(&state.wanted.get(node)?.plan))
    }

    /// Whether a node has it.
    #[must_use]
    pub fn sync(&self, node: &str) -> SyncState {
        self.state().sync.get(node).cloned().unwrap_or_default()
    }

    /// Names of nodes whose [`SyncState`] changed, from now on.
    #[must_use]
    pub(crate) fn events(&self) -> broadcast::Receiver<NodeName> {
        self.events.subscribe()
    }

    /// Puts new plans on all nodes that they change, or on none. `keep` makes the change last here; it runs when all nodes have
    /// committed, and all undo it if it fails. Only the nodes named in `plans` are wanted anything of afterwards.
    ///
    /// # Errors
    /// Whoever was away, refused or failed, or is held by a rotation; then everything is as it was.
    pub async fn change(
        &self,
        plans: BTreeMap<NodeName, NodePlan>,
        mode: Mode,
        keep: impl Future<Output = Result<(), String>>,
    ) -> Result<ChangeDone, RolloutFailed> {
        let _one_at_a_time = self.changing.lock().await;
        let concerned = self.concerned(&plans);
        let held = self.hold_for_change(&concerned).await?;
        let (nodes, queued) = self.nodes(&plans, &concerned, mode).await?;
        let tunnels = plans.values().flat_map(|plan| plan.tunnels.keys());
        self.state().tried.extend(tunnels.cloned());
        let done = self.carry_out(nodes, keep).await?;
        self.settle(plans, &concerned, &done, &queued);
        // While nobody else looks at them: what was read before would be taken for what they have now.
        self.read_again(&done.confirmed).await;
        drop(held);
        // Those that had it all already were read while they were held, when nobody could compare.
        for node in &concerned {
            self.check(node);
        }
        let RolloutDone {
            confirmed,
            unconfirmed,
        } = done;
        Ok(ChangeDone {
            confirmed,
            unconfirmed,
            queued,
        })
    }

    /// Compares what a node was last seen to have with what it should have. `None` while it is being changed, was never
    /// read, or nothing is wanted of it.
    pub(crate) fn check(&self, node: &str) -> Option<Drift> {
        let device = self.fleet.device(node)?;
        let busy = self.busy(node);
        let _free = busy.try_lock().ok()?;
        let observed = device.status().observed?;
        let (plan, put) = self.plan_and_put(node)?;
        if self.is_rotating(&plan, &observed) {
            return None;
        }
        let (_, drift) = self.drift(&plan, &put, &observed);
        self.note(node, |sync| {
            sync.in_sync = Some(drift.is_empty());
            sync.drift = (!drift.is_empty()).then(|| drift.to_string());
            if drift.is_empty() {
                sync.last_error = None;
            }
        });
        Some(drift)
    }

    /// Reads a node and puts on it what it lacks. Returns how it differed.
    pub(crate) async fn repair(&self, node: &str) -> Result<Drift, RolloutFailed> {
        let name = node.to_owned();
        let held = self.hold(std::slice::from_ref(&name)).await;
        let Some((device, plan)) = self.fleet.device(node).zip(self.wanted(node)) else {
            return Ok(Drift::default());
        };
        let has = device.read().await.map_err(|error| RolloutFailed {
            failures: vec![failure(&name, error)],
            ..RolloutFailed::default()
        })?;
        if self.is_rotating(&plan, &has) {
            return Ok(Drift::default());
        }
        let put = self.put(node).unwrap_or_else(|| Arc::clone(&plan));
        let (resolved, drift) = self.drift(&plan, &put, &has);
        if !drift.is_empty() {
            let edit = resolved.stage_edit(Some(&put), &has, &drift, (Stage::All, true));
            let target = Target::with_edit(device, Arc::new(resolved), edit);
            let done = rollout::rollout(&self.settings, vec![target], async { Ok(()) }).await?;
            if let Some(lost) = done.unconfirmed.into_iter().next() {
                return Err(RolloutFailed {
                    failures: vec![lost],
                    ..RolloutFailed::default()
                });
            }
            if let Some(wanted) = self.state().wanted.get_mut(node) {
                wanted.put = Some(plan);
            }
            self.note(node, |sync| sync.repairs += 1);
        }
        let nodes = [name];
        self.read_again(&nodes).await;
        drop(held);
        self.check(node);
        Ok(drift)
    }

    /// Notes why a repair failed.
    pub(crate) fn repair_failed(&self, node: &str, why: &RolloutFailed) {
        self.note(node, |sync| sync.last_error = Some(why.to_string()));
    }

    /// Nodes whose plan changes.
    fn concerned(&self, plans: &BTreeMap<NodeName, NodePlan>) -> Vec<NodeName> {
        let state = self.state();
        let changes = |(node, plan): &(&NodeName, &NodePlan)| match state.wanted.get(*node) {
            Some(wanted) => *wanted.plan != **plan,
            None => true,
        };
        plans
            .iter()
            .filter(changes)
            .map(|(node, _)| node.clone())
            .collect()
    }

    /// Reads the nodes concerned, and which of them are away.
    async fn nodes(
        &self,
        plans: &BTreeMap<NodeName, NodePlan>,
        concerned: &[NodeName],
        mode: Mode,
    ) -> Result<(Vec<StagedNode>, Vec<NodeName>), RolloutFailed> {
        // What is known may be old: somebody else may have changed the node since.
        let read = self.read_all(concerned).await;
        let (mut nodes, mut queued, mut failures) = (Vec::new(), Vec::new(), Vec::new());
        for (node, read) in concerned.iter().zip(read) {
            match (read, plans.get(node)) {
                (Ok((device, has)), Some(plan)) => nodes.push(StagedNode {
                    device,
                    plan: Arc::new(self.but_rotating(node, plan, &has)),
                    put: self.put(node),
                    surplus: self.surplus(plan, &has),
                    has,
                }),
                (Err(_), _) if mode == Mode::Queue => queued.push(node.clone()),
                // Nothing is wanted of it, and nothing was: it need not be there.
                (Err(_), Some(plan))
                    if *plan == NodePlan::default() && self.wanted(node).is_none() => {}
                (Err(error), _) => failures.push(failure(node, self.why_away(node, error))),
                (Ok(_), None) => {}
            }
        }
        if failures.is_empty() {
            Ok((nodes, queued))
        } else {
            Err(RolloutFailed {
                failures,
                ..RolloutFailed::default()
            })
        }
    }

    /// Puts on the nodes what they lack: in stages where tunnels change, else in one go. Those that need nothing are left out.
    async fn carry_out(
        &self,
        nodes: Vec<StagedNode>,
        keep: impl Future<Output = Result<(), String>>,
    ) -> Result<RolloutDone, RolloutFailed> {
        let mut keys = Keys::new();
        for node in &nodes {
            keys.extend(self.keys(&node.plan));
        }
        let mut in_stages = false;
        let mut different = Vec::with_capacity(nodes.len());
        for node in nodes {
            let resolved = node.plan.resolve(&keys, &node.has);
            let drift = resolved.drift(node.put.as_deref(), &node.has);
            let tunnels = !drift.tunnels.is_empty() || !node.surplus.is_empty();
            // Keys of tunnels that are to be made are not known: neither are those of their peers.
            let unknown =
                |tunnel: &TunnelConfig| tunnel.peers.values().any(|p| p.public_key.is_none());
            in_stages |= tunnels;
            if tunnels || !drift.is_empty() || resolved.tunnels.values().any(unknown) {
                different.push((node, resolved));
            }
        }
        if in_stages {
            let nodes = different.into_iter().map(|(node, _)| node).collect();
            let connected = |node: &str| {
                let device = self.fleet.device(node);
                device.is_some_and(|device| device.status().state == DeviceState::Connected)
            };
            let hear = |slice: &str, heard| {
                self.state().heard.insert(slice.to_owned(), heard);
            };
            return rollout::rollout_in_stages(&self.settings, nodes, keys, connected, hear, keep)
                .await;
        }
        let targets = different.into_iter().filter_map(|(node, resolved)| {
            Target::new(
                node.device,
                node.put.as_deref(),
                Arc::new(resolved),
                &node.has,
            )
        });
        rollout::rollout(&self.settings, targets.collect(), keep).await
    }

    /// The plan with the keys that are known, and how the node differs from it.
    fn drift(&self, plan: &NodePlan, put: &NodePlan, has: &Observed) -> (NodePlan, Drift) {
        let resolved = plan.resolve(&self.keys(plan), has);
        let mut drift = resolved.drift(Some(put), has);
        let surplus = self.surplus(plan, has);
        resolved.add_surplus(&mut drift, has, |slice| surplus.contains(slice));
        (resolved, drift)
    }

    /// Keys of the nodes that are peers in a plan, as they were last read; of other peers with two ports, where nodes call them.
    fn keys(&self, plan: &NodePlan) -> Keys {
        let mut keys = Keys::new();
        for (slice, tunnel) in &plan.tunnels {
            for (name, peer) in &tunnel.peers {
                let Some(node) = &peer.node else {
                    if peer.endpoint.is_some_and(|at| at.second.is_some())
                        && let Some((port, _)) = self.called_at(slice, name)
                    {
                        let key = OwnKey {
                            listen_port: port,
                            ..OwnKey::default()
                        };
                        keys.insert((name.clone(), slice.clone()), key);
                    }
                    continue;
                };
                let observed = self.fleet.device(node).and_then(|d| d.status().observed);
                let tunnel = observed.as_ref().and_then(|has| has.tunnels.get(slice));
                if let Some(key) = tunnel.and_then(|tunnel| tunnel.state.key.clone()) {
                    keys.insert((node.clone(), slice.clone()), key);
                }
            }
        }
        keys
    }

    /// At which port nodes call an end whose key is elsewhere, and at which one its second interface, as they were last read.
    pub(crate) fn called_at(&self, slice: &str, name: &str) -> Option<(u16, Option<u16>)> {
        let nodes = self.nodes_of(slice);
        let ports = nodes.iter().filter_map(|node| {
            let observed = self.fleet.device(node)?.status().observed?;
            let tunnel = observed.tunnels.get(slice)?;
            let peer = tunnel.config.as_ref()?.peers.get(name)?;
            Some((peer.endpoint?.port?, peer.next_port))
        });
        // One that is told of the next port before the others says more.
        ports.max_by_key(|(_, next)| next.is_some())
    }

    /// Tunnels of slices of ours that a node should not have.
    fn surplus(&self, plan: &NodePlan, has: &Observed) -> BTreeSet<String> {
        let state = self.state();
        let tunnels = has.tunnels.keys();
        tunnels
            .filter(|slice| !plan.tunnels.contains_key(*slice) && state.slices.contains(*slice))
            .cloned()
            .collect()
    }

    /// What the first tunnel of a slice showed when it answered.
    pub(crate) fn heard(&self, slice: &str) -> Option<Heard> {
        self.state().heard.get(slice).cloned()
    }

    /// Whether nodes have tunnels of a slice from here and from nobody else.
    pub(crate) fn is_ours(&self, slice: &str) -> bool {
        let state = self.state();
        state.slices.contains(slice) || state.tried.contains(slice)
    }

    /// From now on these slices are ours.
    pub(crate) fn know_slices(&self, slices: impl IntoIterator<Item = String>) {
        self.state().slices.extend(slices);
    }

    /// Nodes that a node has tunnels with.
    pub(crate) fn neighbours(&self, node: &str) -> BTreeSet<NodeName> {
        let Some(plan) = self.wanted(node) else {
            return BTreeSet::new();
        };
        let peers = plan
            .tunnels
            .values()
            .flat_map(|tunnel| tunnel.peers.values());
        peers.filter_map(|peer| peer.node.clone()).collect()
    }

    fn plan_and_put(&self, node: &str) -> Option<(Arc<NodePlan>, Arc<NodePlan>)> {
        let state = self.state();
        let wanted = state.wanted.get(node)?;
        Some((Arc::clone(&wanted.plan), wanted.put()))
    }

    async fn read(&self, node: &NodeName) -> Result<(Device, Arc<Observed>), DeviceError> {
        let away = || DeviceError::Away { node: node.clone() };
        let device = self.fleet.device(node).ok_or_else(away)?;
        let has = device.read().await?;
        Ok((device, has))
    }

    /// Reads several at once; the results in their order.
    async fn read_all(
        &self,
        nodes: &[NodeName],
    ) -> Vec<Result<(Device, Arc<Observed>), DeviceError>> {
        let mut reading = Vec::with_capacity(nodes.len());
        for node in nodes {
            reading.push(self.read(node));
        }
        futures_util::stream::iter(reading)
            .buffered(self.settings.fan_out.max(1))
            .collect()
            .await
    }

    fn why_away(&self, node: &str, error: DeviceError) -> DeviceError {
        let known = self
            .fleet
            .device(node)
            .and_then(|device| device.status().last_error);
        match (error, known) {
            (DeviceError::Away { node }, Some(reason)) => DeviceError::Netconf {
                node,
                source: Error::Closed { reason },
            },
            (error, _) => error,
        }
    }

    fn settle(
        &self,
        plans: BTreeMap<NodeName, NodePlan>,
        concerned: &[NodeName],
        done: &RolloutDone,
        queued: &[NodeName],
    ) {
        let unsure: HashSet<&NodeName> = done
            .unconfirmed
            .iter()
            .map(|failure| &failure.node)
            .chain(queued)
            .collect();
        let sure = concerned.iter().filter(|node| !unsure.contains(node));
        let sure: HashSet<&NodeName> = sure.collect();
        self.state().want(plans, |node| sure.contains(node));
    }

    /// So that what is shown of them is what they have now.
    async fn read_again(&self, nodes: &[NodeName]) {
        let read = self.read_all(nodes).await;
        for error in read.into_iter().filter_map(Result::err) {
            tracing::warn!(%error, "the node could not be read after a change");
        }
    }

    fn busy(&self, node: &str) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(self.state().busy.entry(node.to_owned()).or_default())
    }

    fn put(&self, node: &str) -> Option<Arc<NodePlan>> {
        self.state().wanted.get(node)?.put.clone()
    }

    fn note(&self, node: &str, change: impl FnOnce(&mut SyncState)) {
        let mut state = self.state();
        let sync = state.sync.entry(node.to_owned()).or_default();
        let before = sync.clone();
        change(sync);
        if *sync != before {
            // Without a listener there is nobody to tell.
            drop(self.events.send(node.to_owned()));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failure(node: &NodeName, error: DeviceError) -> NodeFailure {
    match error {
        DeviceError::Netconf { source, .. } => NodeFailure::new(node, Phase::Connect, &source),
        other => NodeFailure {
            node: node.clone(),
            phase: Phase::Connect,
            message: other.to_string(),
            errors: Vec::new(),
        },
    }
}
