//! Rotation of the keys of a slice over all its nodes, without losing a packet.
//!
//! ```text
//! rotate-key everywhere -> peer/next, hubs first -> wait until every node is ready -> complete, hubs first -> peer/next goes
//!          '--------------- a failure ------------'                  |                       |
//!                 cancel-rotation everywhere                 asked again until it is done, also by a controller that came later
//! ```
//! Where an end's key is elsewhere, it is waited for before `complete`, and the nodes are let go meanwhile (`rotation/wait.rs`).
//! Up to the first `complete-rotation` it can be taken back; from then on it is only carried on. Which of the two it is shows at
//! the nodes, so that a controller that was started anew knows what to do. The nodes are held: nobody repairs nor changes them meanwhile.

mod part;
mod wait;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use self::part::Part;
pub(crate) use self::part::PortRange;
pub(crate) use self::wait::{Waiting, Waits};
use super::Network;
use super::hold::HeldByRotation;
use crate::intent::{NodePlan, OwnKey, PeerConfig, Role, Tunnel, TunnelConfig, in_use};
use crate::inventory::{NodeName, Observed};

/// How long all nodes may take to be heard on their new keys.
const READY: Duration = Duration::from_secs(10);
/// How long the old keys may take to go out of use.
const RETIRED: Duration = Duration::from_secs(30);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// How long such ends may take where a rotation is due by itself: it is prepared once, and their operators are told.
const DUE: Duration = Duration::from_secs(86_400);

/// Why keys were not rotated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RotationError {
    /// The slice has no tunnels.
    #[error("slice {0} has no tunnels")]
    NoTunnels(String),
    /// An end whose key is elsewhere is called at one port only, and could not be called on a second interface too.
    #[error(
        "the key of {0} is elsewhere, and it is called at one port, where a second interface could not receive beside the first: give it a second-port"
    )]
    Elsewhere(String),
    /// One waits already.
    #[error("a rotation of slice {0} waits already: cancel-rotation gives it up")]
    Waits(String),
    /// Ends whose keys are elsewhere did not come in time; everything is as it was.
    #[error("{names} was not heard on the next keys within {} s: everything is as before", .wait.as_secs())]
    Late {
        /// Their names.
        names: String,
        /// How long they had.
        wait: Duration,
    },
    /// Somebody gave it up while it waited; everything is as it was.
    #[error("the rotation was given up: everything is as before")]
    GivenUp,
    /// The controller ends while one waits.
    #[error("the controller is stopping")]
    Stopping,
    /// A node refused, failed or did not answer; everything is as it was.
    #[error("node {node}: {why}")]
    Node {
        /// Which node.
        node: NodeName,
        /// Its words.
        why: String,
    },
    /// It was taken back, but for a node that refused or did not answer.
    #[error("{why}; but node {node} still has a next key, which goes when it answers")]
    NotBack {
        /// Why it was taken back.
        why: String,
        /// The first such node.
        node: NodeName,
    },
    /// Traffic has moved to the new keys at some nodes, and one did not follow: it is carried on when that answers.
    #[error(
        "node {node} has not moved to its new key yet: {why}; that is carried on when it answers"
    )]
    Halfway {
        /// Which node.
        node: NodeName,
        /// Its words.
        why: String,
    },
}

/// Nodes, and what holds them.
type Held<'a> = (Vec<NodeName>, HeldByRotation<'a>);

/// The ports out of which a node's next port is taken, of those that have a range.
pub(crate) type PortRanges = BTreeMap<NodeName, PortRange>;

impl Network {
    /// Rotates the keys of all nodes of a slice. `ranges` are the ports of those nodes that have a range; ends whose keys are elsewhere
    /// are waited for as long as `wait`.
    ///
    /// # Errors
    /// Whoever was away, refused, or was not heard on its new key.
    pub(crate) async fn rotate(
        &self,
        slice: &str,
        ranges: &PortRanges,
        wait: Duration,
    ) -> Result<BTreeMap<NodeName, OwnKey>, RotationError> {
        let held = self.hold_slice(slice).await;
        if self.waits.of(slice).is_some() {
            return Err(RotationError::Waits(slice.to_owned()));
        }
        let rotation = self.open(slice, &held.0).await?;
        if let Some(peer) = rotation.called_elsewhere() {
            return Err(RotationError::Elsewhere(peer));
        }
        self.turn(rotation, held, ranges, wait).await
    }

    /// Carries on or takes back a rotation that a controller left halfway, or that nodes have prepared because one is due. `None`:
    /// there is none that nobody sees to. One that can be taken back is carried on only where rotations are wanted by themselves.
    ///
    /// # Errors
    /// As [`Network::rotate`].
    pub(crate) async fn resume_rotation(
        &self,
        slice: &str,
        ranges: &PortRanges,
        forward: bool,
    ) -> Option<Result<(), RotationError>> {
        let (nodes, held) = self.hold_slice(slice).await;
        if self.waits.of(slice).is_some() {
            return None;
        }
        let mut rotation = match self.open(slice, &nodes).await {
            Ok(rotation) => rotation,
            Err(error) => return Some(Err(error)),
        };
        if !rotation.is_under_way() {
            return None;
        }
        let done = match (rotation.is_beyond_return(), forward) {
            (true, _) => rotation.carry_on().await.map(drop),
            (false, true) if rotation.called_elsewhere().is_none() => {
                let turned = self.turn(rotation, (nodes, held), ranges, DUE).await;
                return Some(turned.map(drop));
            }
            (false, _) => {
                rotation.take_back().await;
                Err(RotationError::GivenUp)
            }
        };
        self.read_again(&nodes).await;
        drop(held);
        self.check_all(&nodes);
        Some(match done.map_err(|why| self.or_not_back(slice, why)) {
            // It was to be.
            Err(RotationError::GivenUp) => Ok(()),
            done => done,
        })
    }

    /// Rotates from wherever it is, with the nodes held but while somebody else is waited for.
    async fn turn(
        &self,
        mut rotation: Rotation,
        (nodes, mut held): Held<'_>,
        ranges: &PortRanges,
        wait: Duration,
    ) -> Result<BTreeMap<NodeName, OwnKey>, RotationError> {
        let mut ready = rotation.begin(ranges).await;
        let absent = rotation.absent();
        let mut waited = None;
        if ready.is_ok() && !absent.is_empty() {
            let waiting = self.waits.begin(&rotation.slice, absent, wait);
            // Whoever looks at them from now on has to see that they are rotating.
            self.read_again(&nodes).await;
            drop(held);
            ready = self
                .until_nobody_is_absent(&mut rotation, &waiting, wait)
                .await;
            held = self.hold_for_rotation(&rotation.slice, &nodes).await;
            if ready.is_ok() {
                // Who changed the slice meanwhile was let through.
                ready = self.look_again(&mut rotation).await;
            }
            match ready {
                Ok(()) => {
                    if let Err(waiting) = waiting.end() {
                        ready = Err(RotationError::GivenUp);
                        waited = Some(waiting);
                    }
                }
                Err(_) => waited = Some(waiting),
            }
        }
        let done = match ready {
            Ok(()) => rotation.carry_on().await,
            Err(RotationError::Stopping) => return Err(RotationError::Stopping),
            Err(error @ RotationError::Halfway { .. }) => Err(error),
            Err(error) => {
                rotation.take_back().await;
                Err(error)
            }
        };
        self.read_again(&nodes).await;
        drop(held);
        self.check_all(&nodes);
        // Who gave it up is answered when everything is as before.
        drop(waited);
        done.map_err(|why| self.or_not_back(&rotation.slice, why))
    }

    /// Why keys were not rotated, with the node that is not as before, if there is one.
    fn or_not_back(&self, slice: &str, why: RotationError) -> RotationError {
        match (why, self.rotating_at(slice)) {
            (why @ RotationError::Halfway { .. }, _) | (why, None) => why,
            (why, Some(node)) => RotationError::NotBack {
                why: why.to_string(),
                node,
            },
        }
    }

    /// The first node of a slice that is in the middle of a rotation, as it was last read.
    pub(crate) fn rotating_at(&self, slice: &str) -> Option<NodeName> {
        let mut nodes = self.nodes_of(slice).into_iter();
        nodes.find(|node| self.rotates_at(node, slice))
    }

    /// Slices with tunnels at a node that are in the middle of a rotation, there or at a peer: a node that comes back may be the one
    /// that the others wait for, though nothing of it shows there.
    pub(crate) fn rotating(&self, node: &str) -> Vec<String> {
        let observed = self.fleet.device(node).and_then(|d| d.status().observed);
        let Some((plan, has)) = self.wanted(node).zip(observed) else {
            return Vec::new();
        };
        let tunnels = plan.tunnels.iter();
        tunnels
            .filter(|(slice, tunnel)| self.rotates(slice, tunnel, &has))
            .map(|(slice, _)| slice.clone())
            .collect()
    }

    /// Whether a node or one of its peers is in the middle of a rotation: what it has is no drift then.
    pub(super) fn is_rotating(&self, plan: &NodePlan, has: &Observed) -> bool {
        let mut tunnels = plan.tunnels.iter();
        tunnels.any(|(slice, tunnel)| self.rotates(slice, tunnel, has))
    }

    /// The plan of a node without tunnels that it has, that are in the middle of a rotation, and of which nothing else is wanted than
    /// before: compared with the keys in force they would lose those that a rotation is about, and with them what it has come to.
    /// One that does change is put there all the same, or a rotation that waits for a node that is lost would keep it as it is.
    pub(super) fn but_rotating(&self, node: &str, plan: &NodePlan, has: &Observed) -> NodePlan {
        let before = self.wanted(node);
        let mut rest = plan.clone();
        rest.tunnels.retain(|slice, tunnel| {
            let mut before = before.iter();
            let changes = before.any(|before| before.tunnels.get(slice) != Some(tunnel));
            changes || !has.tunnels.contains_key(slice) || !self.rotates(slice, tunnel, has)
        });
        rest
    }

    fn rotates(&self, slice: &str, tunnel: &TunnelConfig, has: &Observed) -> bool {
        let mut peers = tunnel.peers.values().filter_map(|peer| peer.node.as_ref());
        has.tunnels.get(slice).is_some_and(is_rotating)
            || peers.any(|peer| self.rotates_at(peer, slice))
    }

    fn rotates_at(&self, node: &str, slice: &str) -> bool {
        let has = self.fleet.device(node).and_then(|d| d.status().observed);
        let tunnel = has.as_ref().and_then(|has| has.tunnels.get(slice));
        tunnel.is_some_and(is_rotating)
    }

    /// Holds the nodes of a slice, and nothing else: changes of other nodes go on meanwhile. Who changes the slice changes a node
    /// that has it, and waits, or gives up (`hold_for_change`).
    async fn hold_slice(&self, slice: &str) -> Held<'_> {
        loop {
            let nodes = self.nodes_of(slice);
            let held = self.hold_for_rotation(slice, &nodes).await;
            if nodes == self.nodes_of(slice) {
                return (nodes, held);
            }
        }
    }

    fn check_all(&self, nodes: &[NodeName]) {
        for node in nodes {
            self.check(node);
        }
    }

    /// The nodes that should have a tunnel of a slice, by name. Their peers too, which this controller may not have read yet: without
    /// them it does not show how far a rotation is.
    pub(super) fn nodes_of(&self, slice: &str) -> Vec<NodeName> {
        let state = self.state();
        let mut nodes = BTreeSet::new();
        for (node, wanted) in &state.wanted {
            if let Some(tunnel) = wanted.plan.tunnels.get(slice) {
                let peers = tunnel.peers.values().filter_map(|peer| peer.node.clone());
                nodes.extend(peers.chain([node.clone()]));
            }
        }
        nodes.into_iter().collect()
    }

    /// Sessions to all nodes, hubs first.
    async fn open(&self, slice: &str, nodes: &[NodeName]) -> Result<Rotation, RotationError> {
        let mut parts = Vec::with_capacity(nodes.len());
        for node in nodes {
            let failed = |why: String| RotationError::Node {
                node: node.clone(),
                why,
            };
            let away = || failed("it is away".to_owned());
            let device = self.fleet.device(node).ok_or_else(away)?;
            let plan = self.wanted(node);
            let wanted = plan.and_then(|plan| plan.tunnels.get(slice).cloned());
            let wanted =
                wanted.ok_or_else(|| failed("it was not given its slices yet".to_owned()))?;
            let observed = device.read().await.map_err(|e| failed(e.to_string()))?;
            let has = observed.tunnels.get(slice).cloned();
            let has = has.ok_or_else(|| failed("it has no tunnel of the slice".to_owned()))?;
            let client = device.open(self.settings.rpc_timeout).await;
            let client = client.map_err(|e| failed(e.to_string()))?;
            parts.push(Part {
                node: node.clone(),
                wanted,
                client,
                has,
                ports: ports(slice, &observed),
            });
        }
        if parts.is_empty() {
            return Err(RotationError::NoTunnels(slice.to_owned()));
        }
        parts.sort_by_key(|part| part.wanted.role == Role::Spoke);
        Ok(Rotation {
            slice: slice.to_owned(),
            parts,
        })
    }
}

/// Ports that a node receives at, and that other slices are told to: a rotation goes away from its own, and back to it.
fn ports(slice: &str, observed: &Observed) -> BTreeSet<u16> {
    let others = in_use(observed).filter(|(other, _)| *other != slice);
    let own = observed.tunnels.get(slice).into_iter();
    let own = own.flat_map(|tunnel| tunnel.receives_at());
    others.map(|(_, port)| port).chain(own).collect()
}

/// Whether a tunnel has a second key, or peers that have one.
fn is_rotating(tunnel: &Tunnel) -> bool {
    let config = tunnel.config.as_ref();
    let has_next = config.is_some_and(|config| config.peers.values().any(|peer| peer.has_next));
    tunnel.state.next.is_some() || has_next
}

struct Rotation {
    slice: String,
    /// Hubs first.
    parts: Vec<Part>,
}

impl Rotation {
    /// Up to where every node of ours was heard on its next key, after a rotation that is beyond return.
    async fn begin(&mut self, ranges: &PortRanges) -> Result<(), RotationError> {
        if self.is_under_way() && self.is_beyond_return() {
            self.carry_on().await?;
            self.look().await?;
        }
        self.prepare(ranges).await
    }

    /// A peer whose key is elsewhere and that is called at one port only.
    fn called_elsewhere(&self) -> Option<String> {
        let mut peers = self.parts.iter().flat_map(|part| &part.wanted.peers);
        let at_one_port = |peer: &PeerConfig| peer.endpoint.is_some_and(|at| at.second.is_none());
        let found = peers.find(|(_, peer)| peer.node.is_none() && at_one_port(peer));
        found.map(|(name, _)| name.clone())
    }

    /// Peers whose keys are elsewhere and that are called: the keys that they have, at the ports that they go to. All nodes are told
    /// the same of one, wherever they call it now.
    fn second_interfaces(&self) -> BTreeMap<String, OwnKey> {
        let mut found = BTreeMap::new();
        for part in &self.parts {
            let config = part.has.config.as_ref();
            for (name, peer) in config.iter().flat_map(|config| &config.peers) {
                let wanted = part.wanted.peers.get(name).filter(|w| w.node.is_none());
                let endpoint = wanted.and_then(|wanted| wanted.endpoint);
                let now = peer.endpoint.and_then(|endpoint| endpoint.port);
                let next = endpoint.zip(now).and_then(|(at, now)| at.after(now));
                if let Some((port, key)) = next.zip(peer.public_key.clone()) {
                    found.entry(name.clone()).or_insert(OwnKey {
                        public_key: key,
                        listen_port: port,
                        ..OwnKey::default()
                    });
                }
            }
        }
        found
    }

    /// Peers whose keys are elsewhere and that were not heard on the next keys by all.
    fn absent(&self) -> BTreeSet<String> {
        let silent = self.parts.iter().flat_map(|part| part.silent(false));
        silent.cloned().collect()
    }

    fn is_under_way(&self) -> bool {
        self.parts.iter().any(|part| is_rotating(&part.has))
    }

    /// Whether a node has moved: its peers have its present key as the next one, or it has none to move to and its peers do.
    fn is_beyond_return(&self) -> bool {
        self.parts
            .iter()
            .any(|part| part.has.has_next && part.has.state.next.is_none())
    }

    /// New keys everywhere, and every peer told of them; until each was heard on its own.
    async fn prepare(&mut self, ranges: &PortRanges) -> Result<(), RotationError> {
        let mut keys = BTreeMap::new();
        for part in &self.parts {
            let port = match ranges.get(&part.node) {
                Some(range) => part.next_port(&self.slice, range).await?,
                None => None,
            };
            keys.insert(part.node.clone(), part.rotate_key(&self.slice, port).await?);
        }
        let elsewhere = self.second_interfaces();
        for part in &self.parts {
            part.edit(&part.next_of(&self.slice, &keys, &elsewhere))
                .await?;
        }
        let deadline = Instant::now() + READY;
        loop {
            self.look().await?;
            let late =
                |part: &&Part| part.has.state.next.is_none() || part.silent(true).next().is_some();
            let Some(late) = self.parts.iter().find(late) else {
                return Ok(());
            };
            if Instant::now() >= deadline {
                let why = format!(
                    "not every peer was heard on its new key within {} s",
                    READY.as_secs()
                );
                return Err(late.failed(why));
            }
            sleep(LOOK).await;
        }
    }

    /// Moves traffic to the new keys, hubs first, and makes them the only ones.
    async fn carry_on(&mut self) -> Result<BTreeMap<NodeName, OwnKey>, RotationError> {
        let halfway = |error| match error {
            RotationError::Node { node, why } => RotationError::Halfway { node, why },
            other => other,
        };
        let mut has_moved = self.is_beyond_return();
        let mut failed = None;
        for part in self.parts.iter().filter(|p| p.has.state.next.is_some()) {
            match part.act(&self.slice, "<complete-rotation/>").await {
                Ok(_) => has_moved = true,
                // The fewer are left on their old keys the better; those that moved hear them until then.
                Err(error) if has_moved => failed = failed.or(Some(error)),
                Err(error) => return Err(halfway(error)),
            }
        }
        if let Some(error) = failed {
            return Err(halfway(error));
        }
        self.look().await.map_err(halfway)?;
        let keys: BTreeMap<NodeName, OwnKey> = self
            .parts
            .iter()
            .filter_map(|part| Some((part.node.clone(), part.has.state.key.clone()?)))
            .collect();
        for part in &self.parts {
            let edit = part.settled(&self.slice, &keys);
            part.edit(&edit).await.map_err(halfway)?;
        }
        let deadline = Instant::now() + RETIRED;
        loop {
            self.look().await.map_err(halfway)?;
            let mut parts = self.parts.iter();
            let Some(late) = parts.find(|part| part.has.state.retiring.is_some()) else {
                return Ok(keys);
            };
            if Instant::now() >= deadline {
                return Err(halfway(late.failed("its old key is still in use")));
            }
            sleep(LOOK).await;
        }
    }

    /// Everything as before, at every node that answers.
    async fn take_back(&mut self) {
        for part in &mut self.parts {
            if let Err(error) = part.take_back(&self.slice).await {
                tracing::warn!(slice = self.slice, %error, "a node keeps its next key for now");
            }
        }
    }

    async fn look(&mut self) -> Result<(), RotationError> {
        for part in &mut self.parts {
            part.look(&self.slice).await?;
        }
        Ok(())
    }
}
