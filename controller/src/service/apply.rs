//! From a proposal to the nodes: what they should have then, put there on all of them or on none.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::SystemTime;

use tranche_netconf::error::{ErrorTag, RpcError};
use tranche_yang::{Diff, Tree};

use super::desired::Desired;
use super::{Service, blocking};
use crate::device::DeviceState;
use crate::intent::NodePlan;
use crate::inventory::{Inventory, Node, NodeName, Observed};
use crate::network::{ChangeDone, Mode};
use crate::rollout::{NodeFailure, Phase, RolloutFailed};

/// What a change means for the nodes.
#[derive(Debug)]
pub(super) struct Consequence {
    /// What is asked for then.
    pub(super) desired: Arc<Desired>,
    /// What the nodes should have then; none where the change concerns no node.
    pub(super) plans: Option<BTreeMap<NodeName, NodePlan>>,
}

/// What kind of thing a change is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Concern {
    /// Users, access control: what readers see, and no more.
    Nothing,
    /// The global scheduler's settings.
    Scheduler,
    /// Nodes or slices.
    Nodes,
}

impl Concern {
    /// The greatest concern of a change.
    pub(super) fn of(diff: &Diff) -> Self {
        let changes = diff.changes();
        let concerns = changes.iter().map(|change| match change.module {
            "tranche-inventory" | "tranche-slice" | "tranche-mec" => Self::Nodes,
            "tranche-sla" => Self::Scheduler,
            _ => Self::Nothing,
        });
        concerns.max().unwrap_or(Self::Nothing)
    }
}

impl Service {
    /// Works out what a change means for the nodes.
    ///
    /// # Errors
    /// Slices that can't be put on the nodes as they are.
    pub(super) fn consequence(
        &self,
        before: &Arc<Desired>,
        after: &Tree,
        concern: Concern,
    ) -> Result<Consequence, Vec<RpcError>> {
        let desired = match concern {
            Concern::Nothing => Arc::clone(before),
            Concern::Scheduler | Concern::Nodes => Arc::new(Desired::read(after)?),
        };
        if concern != Concern::Nodes {
            return Ok(Consequence {
                desired,
                plans: None,
            });
        }
        let mut plans = self.plans(&desired, before)?;
        // Nodes that are given up lose what was put there, if they can be reached.
        for (name, _) in before
            .inventory
            .nodes
            .iter()
            .filter(|(_, node)| node.config.enabled)
        {
            let stays = desired
                .inventory
                .nodes
                .get(name)
                .is_some_and(|node| node.config.enabled);
            let connected = self
                .network
                .fleet()
                .device(name)
                .is_some_and(|device| device.status().state == DeviceState::Connected);
            if !stays && connected {
                plans.insert(name.clone(), NodePlan::default());
            }
        }
        Ok(Consequence {
            desired,
            plans: Some(plans),
        })
    }

    /// What every node that was read should have then.
    fn plans(
        &self,
        desired: &Desired,
        before: &Desired,
    ) -> Result<BTreeMap<NodeName, NodePlan>, Vec<RpcError>> {
        let mut observed = self.observed(desired);
        desired.check_tunnel_names(&observed, |slice| self.network.is_ours(slice))?;
        let errors = match desired.plans(before, &observed) {
            Ok(plans) => return Ok(plans),
            Err(errors) => errors,
        };
        // A node that can't have any more what it had (somebody else put an interface there, a radio is gone) keeps
        // what it has, and refuses only what is new on it.
        let (_, unplaced) = self.one_by_one(before, self.observed(before));
        if unplaced.is_empty() {
            return Err(errors);
        }
        for node in unplaced.keys() {
            if let Some(node) = observed.nodes.get_mut(node) {
                node.observed = None;
            }
        }
        let mut plans = desired.plans(before, &observed).map_err(|_| errors)?;
        for node in unplaced.into_keys() {
            if let Some(plan) = self.network.wanted(&node) {
                plans.entry(node).or_insert_with(|| (*plan).clone());
            }
        }
        Ok(plans)
    }

    /// The inventory with what was last read of the nodes, and which of their radios contend.
    pub(super) fn observed(&self, desired: &Desired) -> Inventory {
        let mut inventory = desired.inventory.clone();
        self.network.fleet().observe(&mut inventory);
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        for (one, other) in &live.conflicts {
            for (radio, heard) in [(one, other), (other, one)] {
                let node = inventory.nodes.get_mut(&*radio.node);
                let observed = node.and_then(|node| node.observed.as_mut());
                if let Some(radio) = observed.and_then(|o| o.radios.get_mut(&*radio.radio)) {
                    radio
                        .hears
                        .insert((heard.node.to_string(), heard.radio.to_string()));
                }
            }
        }
        inventory
    }

    /// Puts plans on the nodes. `keep` makes the change last; it runs when all nodes have it.
    ///
    /// # Errors
    /// Whoever refused or was away, each in its own words; nothing has changed then.
    pub(super) async fn put(
        &self,
        plans: BTreeMap<NodeName, NodePlan>,
        keep: impl Future<Output = Result<(), String>>,
    ) -> Result<(), Vec<RpcError>> {
        let done = self
            .network
            .change(plans.clone(), Mode::AllOrNothing, keep)
            .await
            .map_err(|failed| refused(&failed))?;
        self.note(&plans, &done);
        Ok(())
    }

    fn note(&self, plans: &BTreeMap<NodeName, NodePlan>, done: &ChangeDone) {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        let now = SystemTime::now();
        for (node, plan) in plans {
            let unsure = done.queued.contains(node)
                || done.unconfirmed.iter().any(|failure| failure.node == *node);
            let confirmed = done.confirmed.contains(node);
            let vifs = plan.vifs.values().map(|vif| &vif.slice);
            let profiles = plan.profiles.values().map(|profile| &profile.slice);
            let rules = plan.steering.rules.iter().map(|rule| &rule.slice);
            for slice in vifs.chain(profiles).chain(rules).filter(|_| !unsure) {
                // A node that needed no change had it already.
                let applied = live.applied.entry(slice.clone()).or_insert(now);
                if confirmed {
                    *applied = now;
                }
            }
        }
        for failure in &done.unconfirmed {
            tracing::warn!(node = failure.node, %failure, "lost between commit and confirmation");
        }
    }

    /// Plans where those of all nodes together don't work out, and the nodes that can't have theirs.
    fn one_by_one(
        &self,
        desired: &Desired,
        observed: Inventory,
    ) -> (BTreeMap<NodeName, NodePlan>, BTreeMap<NodeName, String>) {
        place(desired, observed, |node| {
            self.network.wanted(node).is_some()
        })
    }

    /// Works out what nodes should have that were read for the first time, and sees to it.
    pub(super) async fn welcome(self: &Arc<Self>) {
        // No change of the configuration in between: both would be worked out from the other's past.
        let _writer = Arc::clone(&self.writer).lock_owned().await;
        let service = Arc::clone(self);
        let worked_out = blocking(move || {
            let desired = Arc::clone(&service.published().desired);
            let observed = service.observed(&desired);
            if let Ok(plans) = desired.plans(&desired, &observed) {
                return (plans, BTreeMap::new());
            }
            service.one_by_one(&desired, observed)
        })
        .await;
        let Ok((plans, unplaced)) = worked_out else {
            return;
        };
        for (node, reason) in &unplaced {
            tracing::warn!(
                node,
                reason,
                "the node can't have the slices that select it"
            );
        }
        self.live
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .unplaced = unplaced;
        let kept = async { Ok(()) };
        match self.network.change(plans.clone(), Mode::Queue, kept).await {
            Ok(done) => self.note(&plans, &done),
            // Each node gets it by itself: one that refuses holds up no other.
            Err(failed) => {
                tracing::warn!(%failed, "a node that came did not take its slices");
                self.network.adopt(plans);
            }
        }
    }
}

/// Nodes that are placed a few at a time.
struct Joining<'a> {
    desired: &'a Desired,
    /// With what was read of the nodes that are placed.
    inventory: Inventory,
    plans: BTreeMap<NodeName, NodePlan>,
    /// Nodes that can't have the slices that select them, and why.
    unplaced: BTreeMap<NodeName, String>,
}

impl Joining<'_> {
    /// Places nodes beside those that are: all of them, or each half by itself until the ones at fault stand alone.
    fn join(&mut self, mut nodes: Vec<(NodeName, Observed)>) {
        if nodes.is_empty() {
            return;
        }
        for (name, seen) in &nodes {
            self.see(name, Some(seen.clone()));
        }
        let errors = match self.desired.plans(self.desired, &self.inventory) {
            Ok(plans) => {
                self.plans = plans;
                return;
            }
            Err(errors) => errors,
        };
        for (name, _) in &nodes {
            self.see(name, None);
        }
        if let [(name, _)] = &nodes[..] {
            self.unplaced.insert(name.clone(), words(&errors));
            return;
        }
        let rest = nodes.split_off(nodes.len() / 2);
        self.join(nodes);
        self.join(rest);
    }

    fn see(&mut self, name: &str, seen: Option<Observed>) {
        if let Some(node) = self.inventory.nodes.get_mut(name) {
            node.observed = seen;
        }
    }
}

/// Places the nodes that were read: first those that `stay`, then the others.
fn place(
    desired: &Desired,
    mut observed: Inventory,
    stay: impl Fn(&str) -> bool,
) -> (BTreeMap<NodeName, NodePlan>, BTreeMap<NodeName, String>) {
    let read = |(name, node): (&NodeName, &mut Node)| Some((name.clone(), node.observed.take()?));
    let nodes = observed.nodes.iter_mut().filter_map(read);
    let (known, new) = nodes.partition(|(name, _)| stay(name));
    let mut joining = Joining {
        desired,
        inventory: observed,
        plans: BTreeMap::new(),
        unplaced: BTreeMap::new(),
    };
    joining.join(known);
    joining.join(new);
    (joining.plans, joining.unplaced)
}

fn words(errors: &[RpcError]) -> String {
    errors
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

/// What a client is told of a rollout that failed: one error for each node, with the node's own words.
pub(super) fn refused(failed: &RolloutFailed) -> Vec<RpcError> {
    if let Some(why) = &failed.not_kept {
        let message = format!("{why}, and the nodes undid it");
        return vec![RpcError::new(ErrorTag::OperationFailed, message)];
    }
    let left: Vec<String> = failed.not_undone.iter().map(ToString::to_string).collect();
    let tell = |failure: &NodeFailure| {
        let (tag, app_tag) = match failure.errors.first() {
            Some(error) if failure.phase == Phase::Hold => (error.tag, "rotation-under-way"),
            Some(error) => (error.tag, "node-refused"),
            None => (ErrorTag::OperationFailed, "node-failed"),
        };
        let mut message = failure.to_string();
        if !left.is_empty() {
            message.push_str(&format!("; left to undo itself: {}", left.join(", ")));
        }
        RpcError::new(tag, message)
            .with_app_tag(app_tag)
            .at(format!(
                "/tranche-inventory:inventory/node[name='{}']",
                failure.node
            ))
    };
    failed.failures.iter().map(tell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::Intent;
    use crate::inventory::{Radio, Vif};
    use serde_json::json;

    #[test]
    fn nodes_that_cannot_have_their_slices_are_named_and_hold_up_no_other() {
        let names: Vec<String> = (0..9).map(|n| format!("n{n}")).collect();
        let node = |name: &String| json!({ "name": name, "address": "192.0.2.1", "credential": "c", "host-key": "SHA256:x", "label": ["all"] });
        let nodes: Vec<_> = names.iter().map(node).collect();
        let slices = json!({ "slice": [{
            "id": "a", "tenant": "t", "where": { "label": ["all"] },
            "wifi": { "ssid": "a", "security": { "mode": "open" } },
        }] });
        let mut inventory = Inventory::from_json(&json!({ "node": nodes })).unwrap();
        let desired = Desired {
            inventory: inventory.clone(),
            intent: Intent::from_json(&slices).unwrap(),
            ..Desired::default()
        };
        for (name, node) in &mut inventory.nodes {
            let observed = node.observed.insert(Observed::default());
            observed.radios.insert("radio0".into(), Radio::default());
            if ["n2", "n7"].contains(&&**name) {
                let foreign = Vif {
                    radio: "radio0".into(),
                    ..Vif::default()
                };
                observed.vifs.insert("a-radio0".into(), foreign);
            }
        }
        // One that stays is no exception.
        let (plans, unplaced) = place(&desired, inventory, |name| name == "n7");
        assert_eq!(unplaced.keys().collect::<Vec<_>>(), ["n2", "n7"]);
        assert!(unplaced["n2"].contains("belongs to somebody else"));
        assert_eq!(plans.len(), 7);
        assert!(plans.values().all(|plan| plan.vifs.len() == 1));
    }

    #[test]
    fn a_refusal_names_the_node_and_keeps_its_words() {
        let failure = NodeFailure {
            node: "n2".into(),
            phase: Phase::Commit,
            message: "the radio is full".into(),
            errors: vec![RpcError::new(ErrorTag::ResourceDenied, "the radio is full")],
        };
        let failed = RolloutFailed {
            failures: vec![failure],
            ..RolloutFailed::default()
        };
        let errors = refused(&failed);
        assert_eq!(errors[0].tag, ErrorTag::ResourceDenied);
        assert_eq!(errors[0].app_tag.as_deref(), Some("node-refused"));
        assert_eq!(
            errors[0].to_string(),
            "node n2 refused the commit: the radio is full (at /tranche-inventory:inventory/node[name='n2'])"
        );
    }
}
