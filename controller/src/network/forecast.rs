//! What a change would do at the nodes, asked of the nodes themselves. Nothing is held, sent or remembered: each node is asked on
//! a session of its own, and what is read there is for this answer alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::StreamExt as _;
use tranche_netconf::Error;
use tranche_netconf::error::{ErrorTag, RpcError};
use tranche_netconf::xml::Fragment;

use super::{Network, failure};
use crate::device::{Asking, Device, DeviceError, Forecast};
use crate::intent::{Keys, NodePlan};
use crate::inventory::{NodeName, Observed};
use crate::rollout::{NodeFailure, Phase, StagedNode};

/// What one node would get, and what it says of it.
#[derive(Debug)]
pub(crate) struct NodeForecast {
    /// Which node.
    pub(crate) node: NodeName,
    /// The edit, secrets included; `None` where it has what it should have.
    pub(crate) edit: Option<Fragment>,
    /// What is to be known of the edit.
    pub(crate) notes: Vec<String>,
    /// Slices that the edit and its notes may name.
    pub(crate) slices: BTreeSet<String>,
    /// What the node says.
    pub(crate) answer: Answer,
}

/// What a node says of a change.
#[derive(Debug)]
pub(crate) enum Answer {
    /// What it would do, or what it has against it.
    Planned(Forecast),
    /// There can be no such change of it, in its own words.
    Refused(NodeFailure),
    /// It does not answer.
    Away(NodeFailure),
    /// It answers and does not plan; why.
    CannotPlan(String),
}

impl NodeForecast {
    /// Why the change would be refused for this node.
    pub(crate) fn failures(&self) -> Vec<NodeFailure> {
        match &self.answer {
            Answer::Planned(forecast) => {
                let refusals = forecast.refusals.iter().cloned();
                let failure = |error| refused(&self.node, vec![error]);
                refusals.map(failure).collect()
            }
            Answer::Refused(failure) | Answer::Away(failure) => vec![failure.clone()],
            Answer::CannotPlan(_) => Vec::new(),
        }
    }
}

/// A node on the way to its answer.
struct Concerned {
    node: NodeName,
    /// Its part of the change; `None`: it was never reached.
    part: Option<StagedNode>,
    asking: Result<Asking, NodeFailure>,
}

impl Network {
    /// What it would do to put these plans on the nodes, node by node.
    pub(crate) async fn forecast(&self, plans: &BTreeMap<NodeName, NodePlan>) -> Vec<NodeForecast> {
        let concerned = self.concerned(plans);
        let mut looking = Vec::with_capacity(concerned.len());
        for node in concerned {
            if let Some(plan) = plans.get(&node) {
                looking.push(self.look(node, plan));
            }
        }
        let at_once = self.settings.fan_out.max(1);
        let looked = futures_util::stream::iter(looking).buffered(at_once);
        let nodes: Vec<Concerned> = looked.filter_map(std::future::ready).collect().await;
        let mut keys = Keys::new();
        for part in nodes.iter().filter_map(|node| node.part.as_ref()) {
            keys.extend(self.keys(&part.plan));
        }
        for part in nodes.iter().filter_map(|node| node.part.as_ref()) {
            for (slice, tunnel) in &part.has.tunnels {
                let key = tunnel.state.key.clone();
                keys.extend(key.map(|key| ((part.device.node().clone(), slice.clone()), key)));
            }
        }
        let mut asking = Vec::with_capacity(nodes.len());
        for node in nodes {
            asking.push(ask(node, &keys));
        }
        let asked = futures_util::stream::iter(asking).buffered(at_once);
        asked.filter_map(std::future::ready).collect().await
    }

    /// Looks at a node. `None`: nothing is wanted of it, and nothing was.
    async fn look(&self, node: NodeName, plan: &NodePlan) -> Option<Concerned> {
        let away = DeviceError::Away { node: node.clone() };
        let Some(device) = self.fleet.device(&node) else {
            let asking = Err(failure(&node, away));
            let part = None;
            return Some(Concerned { node, part, asking });
        };
        let asking = Asking::open(&device, self.settings.rpc_timeout).await;
        if asking.is_err() && *plan == NodePlan::default() && self.wanted(&node).is_none() {
            return None;
        }
        let asking = asking.map_err(|error| failure(&node, self.why_away(&node, error)));
        let part = match &asking {
            Ok(asking) => Some(self.part(device, plan, Arc::clone(&asking.has))),
            Err(_) => {
                let last = device.status().observed;
                last.map(|has| self.part(device, plan, has))
            }
        };
        Some(Concerned { node, part, asking })
    }

    fn part(&self, device: Device, plan: &NodePlan, has: Arc<Observed>) -> StagedNode {
        let node = device.node().clone();
        StagedNode {
            device,
            plan: Arc::new(self.but_rotating(&node, plan, &has)),
            put: self.put(&node),
            surplus: self.surplus(plan, &has),
            has,
        }
    }
}

/// Works out what a node would get and asks it. `None`: it is there and would get nothing.
async fn ask(concerned: Concerned, keys: &Keys) -> Option<NodeForecast> {
    let Concerned { node, part, asking } = concerned;
    let edit = part.as_ref().and_then(|part| part.whole_edit(keys));
    let slices = part.as_ref().map(StagedNode::slices).unwrap_or_default();
    let notes = part.map_or_else(Vec::new, |part| notes(&part, keys));
    let asking = match asking {
        Ok(asking) => asking,
        Err(failure) => {
            return Some(NodeForecast {
                node,
                edit,
                notes,
                slices,
                answer: Answer::Away(failure),
            });
        }
    };
    let Some(edit) = edit else {
        asking.close().await;
        return None;
    };
    let answer = answer(&node, asking.forecast(&edit).await);
    asking.close().await;
    Some(NodeForecast {
        node,
        edit: Some(edit),
        notes,
        slices,
        answer,
    })
}

fn answer(node: &NodeName, said: Result<Forecast, DeviceError>) -> Answer {
    match said {
        Ok(forecast) => Answer::Planned(forecast),
        Err(DeviceError::Netconf {
            source: Error::Rpc(errors),
            ..
        }) if errors.iter().any(is_of_the_operation) => {
            let words: Vec<String> = errors.iter().map(ToString::to_string).collect();
            Answer::CannotPlan(words.join("; "))
        }
        Err(DeviceError::Netconf {
            source: Error::Rpc(errors),
            ..
        }) => Answer::Refused(held(node, &errors).unwrap_or_else(|| refused(node, errors))),
        Err(DeviceError::Read { source, .. }) => Answer::CannotPlan(source.to_string()),
        Err(error) => Answer::Away(failure(node, error)),
    }
}

/// Whether a node knows no plans, or makes none for this user: what is refused of the data has a path.
fn is_of_the_operation(error: &RpcError) -> bool {
    let of_operation = matches!(
        error.tag,
        ErrorTag::OperationNotSupported | ErrorTag::AccessDenied
    );
    of_operation && error.path.is_none()
}

/// As the change would be refused, which locks first, where what a node says is that somebody else holds a lock there.
fn held(node: &NodeName, errors: &[RpcError]) -> Option<NodeFailure> {
    let of_lock = |error: &&RpcError| {
        let has_holder = error.info.iter().any(|(name, _)| name == "session-id");
        error.tag == ErrorTag::InUse && has_holder
    };
    let error = errors.iter().find(of_lock)?;
    let error = RpcError {
        tag: ErrorTag::LockDenied,
        ..error.clone()
    };
    Some(NodeFailure::new(
        node,
        Phase::Lock,
        &Error::Rpc(vec![error]),
    ))
}

/// As the validation of the change would be refused.
fn refused(node: &NodeName, errors: Vec<RpcError>) -> NodeFailure {
    NodeFailure::new(node, Phase::Validate, &Error::Rpc(errors))
}

/// What an edit does not show of a change with tunnels.
fn notes(part: &StagedNode, keys: &Keys) -> Vec<String> {
    let plan = part.plan.resolve(keys, &part.has);
    let tunnels = plan.tunnels.iter().filter_map(|(slice, tunnel)| {
        let unknown = tunnel.peers.iter();
        let unknown = unknown.filter(|(_, peer)| peer.public_key.is_none());
        let names: Vec<&str> = unknown.map(|(name, _)| name.as_str()).collect();
        let names = (!names.is_empty()).then(|| names.join(", "))?;
        Some(format!(
            "the tunnel of slice {slice} gets its peers {names} once their keys are known"
        ))
    });
    tunnels.collect()
}

#[cfg(test)]
mod tests;
