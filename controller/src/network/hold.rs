//! Who holds a node: a change, a repair or a rotation, one at a time.
//!
//! Changes come one after the other, so that all others wait behind one that waits. A repair of its node is waited for until that is over. A
//! rotation takes as long as the slowest of all its nodes, any of which may hang: it is waited for as long as one takes where all is well.

use std::pin::pin;
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, timeout_at};
use tranche_netconf::error::{ErrorTag, RpcError};

use super::Network;
use crate::inventory::NodeName;
use crate::rollout::{NodeFailure, Phase, RolloutFailed};

/// How long a change waits for nodes that a rotation holds: three times what one took over four nodes.
const PATIENCE: Duration = Duration::from_secs(4);
/// Between two looks who holds a node for longer.
const LOOK: Duration = Duration::from_millis(100);

/// Nodes that a rotation holds, until this is dropped.
pub(super) struct HeldByRotation<'a> {
    network: &'a Network,
    nodes: Vec<NodeName>,
    _guards: Vec<OwnedMutexGuard<()>>,
}

impl Drop for HeldByRotation<'_> {
    fn drop(&mut self) {
        let mut state = self.network.state();
        for node in &self.nodes {
            state.rotations.remove(node);
        }
    }
}

impl Network {
    /// Keeps others from changing these nodes. Always in the order of names, so that nobody waits in a circle.
    pub(super) async fn hold(&self, nodes: &[NodeName]) -> Vec<OwnedMutexGuard<()>> {
        let mut held = Vec::with_capacity(nodes.len());
        for node in nodes {
            let busy = self.busy(node);
            held.push(busy.lock_owned().await);
        }
        held
    }

    /// The same for a rotation of the keys of a slice.
    pub(super) async fn hold_for_rotation(
        &self,
        slice: &str,
        nodes: &[NodeName],
    ) -> HeldByRotation<'_> {
        let guards = self.hold(nodes).await;
        let mut state = self.state();
        for node in nodes {
            state.rotations.insert(node.clone(), slice.to_owned());
        }
        HeldByRotation {
            network: self,
            nodes: nodes.to_vec(),
            _guards: guards,
        }
    }

    /// The same for a change.
    ///
    /// # Errors
    /// A rotation holds one of them for long.
    pub(super) async fn hold_for_change(
        &self,
        nodes: &[NodeName],
    ) -> Result<Vec<OwnedMutexGuard<()>>, RolloutFailed> {
        let mut until = Instant::now() + PATIENCE;
        let mut held = Vec::with_capacity(nodes.len());
        for node in nodes {
            let mut holding = pin!(self.busy(node).lock_owned());
            loop {
                if let Ok(guard) = timeout_at(until, &mut holding).await {
                    held.push(guard);
                    break;
                }
                if let Some(slice) = self.rotation_at(node) {
                    return Err(in_use(node, &slice));
                }
                until = Instant::now() + LOOK;
            }
        }
        Ok(held)
    }

    /// The slice whose rotation holds a node.
    fn rotation_at(&self, node: &str) -> Option<String> {
        self.state().rotations.get(node).cloned()
    }
}

fn in_use(node: &NodeName, slice: &str) -> RolloutFailed {
    let message =
        format!("the keys of slice {slice} are being rotated there: try again when that is over");
    let failure = NodeFailure {
        node: node.clone(),
        phase: Phase::Hold,
        errors: vec![RpcError::new(ErrorTag::InUse, message.clone())],
        message,
    };
    RolloutFailed {
        failures: vec![failure],
        ..RolloutFailed::default()
    }
}
