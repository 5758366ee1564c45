//! A change that has tunnels: the same transaction, with several commits in it before the confirmation.
//!
//! ```text
//! make tunnels without new peers, and everything else -> read keys -> peers where they are called
//!    -> what is joined to hubs, where there is traffic that could move to them -> peers where they call
//!    -> wait until the new peers answer -> move traffic off hubs that leave -> what is joined to other new tunnels, and remove the old
//! ```
//! Each stage is a confirmed commit that carries on the one before (RFC 6241 8.4.1): a node that goes back goes back to what was
//! before all of them. A failure in any stage, or a tunnel that does not answer in time, cancels all nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep};
use tranche_netconf::Error;
use tranche_netconf::message::{Operation, Reply};
use tranche_netconf::xml::Fragment;

use crate::device::{Device, tunnels_filter, tunnels_of};
use crate::intent::{BACKHAUL, Keys, NodePlan, PartDrift, Role, Stage, TunnelConfig, leaf};
use crate::inventory::{NodeName, Observed};

use super::{NodeFailure, Phase, RolloutDone, RolloutFailed, RolloutSettings, Run, Target, gather};

/// How long new tunnels may take to answer.
const HANDSHAKES: Duration = Duration::from_secs(10);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(25);

/// One node's part.
pub(crate) struct StagedNode {
    /// The node.
    pub(crate) device: Device,
    /// What it should have.
    pub(crate) plan: Arc<NodePlan>,
    /// What was last put there.
    pub(crate) put: Option<Arc<NodePlan>>,
    /// What it has.
    pub(crate) has: Arc<Observed>,
    /// Tunnels of ours that it has and should not have.
    pub(crate) surplus: BTreeSet<String>,
}

/// What the first tunnel of a slice that answered showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Heard {
    /// When it shook hands, as the node says it.
    pub(crate) handshake: Option<String>,
    /// When a packet was seen to have crossed it.
    pub(crate) packet: SystemTime,
}

/// Peers by node and slice.
type Awaited = BTreeMap<(NodeName, String), BTreeSet<String>>;

/// Puts a change with tunnels on all nodes or on none. `keys` are those of the nodes that are peers, as far as they are known;
/// `connected` says of which nodes an answer can be expected; `hear` is told of each slice when its first tunnel answers.
///
/// # Errors
/// As [`super::rollout`], and when a tunnel does not answer in time.
pub(crate) async fn rollout_in_stages(
    settings: &RolloutSettings,
    nodes: Vec<StagedNode>,
    mut keys: Keys,
    connected: impl Fn(&str) -> bool,
    hear: impl Fn(&str, Heard) + Send + Sync,
    keep: impl Future<Output = Result<(), String>>,
) -> Result<RolloutDone, RolloutFailed> {
    let wanted: BTreeSet<&String> = nodes.iter().flat_map(|n| n.plan.tunnels.keys()).collect();
    let wanted: BTreeSet<String> = wanted.into_iter().cloned().collect();
    let targets = nodes.iter().map(|node| {
        // A slice that has no tunnel anywhere any more makes room: of ports, names and bridges.
        let edit = node.edit(&keys, Stage::Make, |slice| !wanted.contains(slice));
        let plan = Arc::new(node.plan.resolve(&keys, &node.has));
        Target::with_edit(node.device.clone(), plan, edit)
    });
    let mut run = Run::prepare(settings, targets.collect()).await?;
    let before: Vec<Arc<Observed>> = nodes.iter().map(|node| Arc::clone(&node.has)).collect();
    let mut change = Change { nodes, hear };
    match change
        .carry_out(&mut run, &before, &mut keys, connected)
        .await
    {
        Ok(()) => run.finish(keep).await,
        Err(failures) => Err(run.give_up(failures).await),
    }
}

struct Change<H> {
    /// In the order of the run's sessions.
    nodes: Vec<StagedNode>,
    hear: H,
}

impl<H: Fn(&str, Heard)> Change<H> {
    async fn carry_out(
        &mut self,
        run: &mut Run<'_>,
        before: &[Arc<Observed>],
        keys: &mut Keys,
        connected: impl Fn(&str) -> bool,
    ) -> Result<(), Vec<NodeFailure>> {
        run.phase(Phase::Commit).await?;
        self.look(run, keys).await?;
        let moves = self.could_move(before);
        let join = moves.then_some(Stage::Join);
        let stages = [Some(Stage::Responders), join, Some(Stage::Callers)];
        for stage in stages.into_iter().flatten() {
            if self.next(run, keys, stage, |_| false) {
                run.commit_again().await?;
            }
        }
        let awaited = self.awaited(before, keys, connected);
        self.wait(run, keys, &awaited).await?;
        self.switch_over(run, before, keys).await?;
        if self.next(run, keys, Stage::All, |_| true) {
            run.commit_again().await?;
        }
        run.set_plans(self.nodes.iter().map(|n| n.plan.resolve(keys, &n.has)));
        Ok(())
    }

    /// Sets the edits of the next stage; whether there is any.
    fn next(
        &self,
        run: &mut Run<'_>,
        keys: &Keys,
        stage: Stage,
        removes: impl Fn(&str) -> bool,
    ) -> bool {
        let mut some = false;
        for (node, session) in self.nodes.iter().zip(&mut run.sessions) {
            let edit = node.edit(keys, stage, &removes);
            some |= edit.is_some();
            session.set_edit(edit);
        }
        some
    }

    /// Reads the tunnels of all nodes, and with them their keys.
    async fn look(&mut self, run: &Run<'_>, keys: &mut Keys) -> Result<(), Vec<NodeFailure>> {
        let mut reading = Vec::with_capacity(self.nodes.len());
        for session in &run.sessions {
            reading.push(session.client().get(Some(tunnels_filter()), None));
        }
        let read = gather(reading, run.settings.fan_out).await;
        let mut failures = Vec::new();
        for (node, read) in self.nodes.iter_mut().zip(read) {
            let name = node.device.node();
            let tunnels = read.and_then(|data| {
                tunnels_of(&data).map_err(|error| Error::Protocol(error.to_string()))
            });
            match tunnels {
                Ok(tunnels) => {
                    for (slice, tunnel) in &tunnels {
                        if let Some(key) = &tunnel.state.key {
                            keys.insert((name.clone(), slice.clone()), key.clone());
                        }
                    }
                    let mut has = (*node.has).clone();
                    has.tunnels = tunnels;
                    node.has = Arc::new(has);
                }
                Err(error) => failures.push(NodeFailure::new(name, Phase::Tunnels, &error)),
            }
        }
        if failures.is_empty() {
            Ok(())
        } else {
            Err(failures)
        }
    }

    /// The peers that have to answer: nodes that can be reached, new or with another key or address.
    fn awaited(
        &self,
        before: &[Arc<Observed>],
        keys: &Keys,
        connected: impl Fn(&str) -> bool,
    ) -> Awaited {
        let mut awaited = Awaited::new();
        for (node, before) in self.nodes.iter().zip(before) {
            for (slice, tunnel) in &node.plan.tunnels {
                if !matches!(tunnel.role, Role::Spoke | Role::Member) {
                    continue;
                }
                let had = before.tunnels.get(slice).and_then(|t| t.config.as_ref());
                let resolved = tunnel.resolve(slice, keys, node.has.tunnels.get(slice));
                let new = resolved.peers.iter().filter(|(name, peer)| {
                    let had = had.and_then(|had| had.peers.get(*name));
                    let same = had.is_some_and(|had| {
                        had.public_key == peer.public_key && had.endpoint == peer.endpoint
                    });
                    let known = peer.node.as_ref().is_some_and(|node| {
                        keys.contains_key(&(node.clone(), slice.clone())) && connected(node)
                    });
                    known && !same
                });
                let new: BTreeSet<String> = new.map(|(name, _)| name.clone()).collect();
                if !new.is_empty() {
                    awaited.insert((node.device.node().clone(), slice.clone()), new);
                }
            }
        }
        awaited
    }

    /// Waits until all of them answer.
    async fn wait(
        &mut self,
        run: &Run<'_>,
        keys: &mut Keys,
        awaited: &Awaited,
    ) -> Result<(), Vec<NodeFailure>> {
        let limit = HANDSHAKES.min(run.settings.confirm_timeout / 3);
        let deadline = Instant::now() + limit;
        let mut heard = BTreeSet::new();
        loop {
            self.look(run, keys).await?;
            for ((node, slice), peers) in awaited {
                let mut peers = peers.iter();
                let first = peers.find_map(|peer| self.answer(node, slice, peer));
                if let Some(handshake) = first.filter(|_| heard.insert(slice)) {
                    let packet = SystemTime::now();
                    (self.hear)(slice, Heard { handshake, packet });
                }
            }
            let silent: Vec<_> = awaited
                .iter()
                .filter_map(|((node, slice), peers)| {
                    let silent: Vec<&str> = peers
                        .iter()
                        .filter(|peer| self.answer(node, slice, peer).is_none())
                        .map(String::as_str)
                        .collect();
                    (!silent.is_empty()).then_some((node, slice, silent))
                })
                .collect();
            if silent.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let failure =
                    |(node, slice, peers): &(&NodeName, &String, Vec<&str>)| NodeFailure {
                        node: (*node).clone(),
                        phase: Phase::Tunnels,
                        message: format!(
                            "in slice {slice}, {} did not answer within {} s",
                            peers.join(", "),
                            limit.as_secs()
                        ),
                        errors: Vec::new(),
                    };
                return Err(silent.iter().map(failure).collect());
            }
            sleep(LOOK).await;
        }
    }

    /// When a peer shook hands, if it answers.
    fn answer(&self, node: &str, slice: &str, peer: &str) -> Option<Option<String>> {
        let node = self.nodes.iter().find(|one| one.device.node() == node)?;
        let peer = node.has.tunnels.get(slice)?.state.peers.get(peer)?;
        peer.answers().then(|| peer.latest_handshake.clone())
    }

    /// Whether a spoke has had hubs before: as soon as it knows others, its traffic may move to them.
    fn could_move(&self, before: &[Arc<Observed>]) -> bool {
        self.nodes.iter().zip(before).any(|(node, before)| {
            let mut spokes = node.plan.tunnels.iter();
            spokes.any(|(slice, tunnel)| {
                let had = before.tunnels.get(slice).and_then(|t| t.config.as_ref());
                tunnel.role == Role::Spoke && had.is_some_and(|had| !had.peers.is_empty())
            })
        })
    }

    /// Where a hub leaves, its traffic moves to the best that stays before the hub is removed.
    async fn switch_over(
        &mut self,
        run: &Run<'_>,
        before: &[Arc<Observed>],
        keys: &mut Keys,
    ) -> Result<(), Vec<NodeFailure>> {
        let mut asked = Awaited::new();
        for ((node, before), session) in self.nodes.iter().zip(before).zip(&run.sessions) {
            for (slice, tunnel) in &node.plan.tunnels {
                let state = node.has.tunnels.get(slice).map(|tunnel| &tunnel.state);
                let had = before.tunnels.get(slice).and_then(|t| t.config.as_ref());
                let Some((best, had, state)) = best_of(tunnel)
                    .zip(had)
                    .zip(state)
                    .map(|((best, had), state)| (best, had, state))
                else {
                    continue;
                };
                let leaves = had.peers.keys().any(|name| {
                    let is_active = state.peers.get(name).and_then(|p| p.state.as_deref());
                    is_active == Some("active") && !tunnel.peers.contains_key(name)
                });
                if !leaves || !state.peers.get(best).is_some_and(|peer| peer.answers()) {
                    continue;
                }
                let operation = switch_over(slice, best);
                match session.client().call(operation).await {
                    Ok(Reply::Ok | Reply::Output(_)) => {
                        let place = (node.device.node().clone(), slice.clone());
                        asked.insert(place, [best.clone()].into());
                    }
                    Ok(_) => {}
                    Err(error) => {
                        let node = node.device.node();
                        return Err(vec![NodeFailure::new(node, Phase::Tunnels, &error)]);
                    }
                }
            }
        }
        if asked.is_empty() {
            return Ok(());
        }
        self.wait(run, keys, &asked).await
    }
}

/// The peer of best priority.
fn best_of(tunnel: &TunnelConfig) -> Option<&String> {
    let ranked = tunnel.peers.iter();
    let ranked = ranked.filter_map(|(name, peer)| Some((peer.priority?, name)));
    ranked.min().map(|(_, name)| name)
}

fn switch_over(slice: &str, peer: &str) -> Operation {
    let mut inner = String::new();
    inner.push_str("<switch-over>");
    leaf(&mut inner, "peer", peer);
    inner.push_str("</switch-over>");
    action(slice, &inner)
}

/// An action of a tunnel.
pub(crate) fn action(slice: &str, inner: &str) -> Operation {
    let namespace = "urn:ietf:params:xml:ns:yang:1";
    let mut xml = format!("<action xmlns=\"{namespace}\"><backhaul xmlns=\"{BACKHAUL}\"><tunnel>");
    leaf(&mut xml, "slice", slice);
    xml.push_str(inner);
    xml.push_str("</tunnel></backhaul></action>");
    Operation::Other {
        namespace: namespace.to_owned(),
        name: "action".to_owned(),
        element: Fragment::from_trusted(xml),
    }
}

impl StagedNode {
    /// The edit of a stage; of the tunnels to remove only those that `removes` names.
    fn edit(&self, keys: &Keys, stage: Stage, removes: impl Fn(&str) -> bool) -> Option<Fragment> {
        self.edit_of(keys, (stage, stage == Stage::Make), removes)
    }

    /// What the edits of all stages come to, as far as keys are known.
    pub(crate) fn whole_edit(&self, keys: &Keys) -> Option<Fragment> {
        self.edit_of(keys, (Stage::All, true), |_| true)
    }

    /// Slices that have something of ours at the node, or had or would have: those that an edit may name.
    pub(crate) fn slices(&self) -> BTreeSet<String> {
        let plans = [Some(&self.plan), self.put.as_ref()];
        let of_plans = plans.into_iter().flatten().flat_map(|plan| plan.slices());
        let surplus = self.surplus.iter().map(String::as_str);
        let all = of_plans.chain(self.has.slices()).chain(surplus);
        all.map(str::to_owned).collect()
    }

    fn edit_of(
        &self,
        keys: &Keys,
        parts: (Stage, bool),
        removes: impl Fn(&str) -> bool,
    ) -> Option<Fragment> {
        let plan = self.plan.resolve(keys, &self.has);
        let put = self.put.as_deref();
        let mut drift = plan.drift(put, &self.has);
        let surplus = self
            .surplus
            .iter()
            .filter(|slice| removes(slice) && self.has.tunnels.contains_key(*slice));
        drift
            .tunnels
            .extend(surplus.map(|slice| (slice.clone(), PartDrift::Surplus)));
        plan.stage_edit(put, &self.has, &drift, parts)
    }
}

impl Run<'_> {
    /// Another round of edit, validation and commit.
    async fn commit_again(&mut self) -> Result<(), Vec<NodeFailure>> {
        for phase in [Phase::Edit, Phase::Validate, Phase::Commit] {
            self.phase(phase).await?;
        }
        Ok(())
    }

    /// What each node is looked for if its confirmation is lost.
    fn set_plans(&mut self, plans: impl Iterator<Item = NodePlan>) {
        for (session, plan) in self.sessions.iter_mut().zip(plans) {
            session.set_plan(Arc::new(plan));
        }
    }
}
