//! What is asked of slices that a change brings, and not of those that are in force: what was accepted once holds up nobody.

use crate::intent::{ErrorKind, Intent, IntentError};
use crate::inventory::Inventory;

/// Slices whose name a tunnel of somebody else has at a node: what has the name of one of our slices is taken for ours, and is
/// overwritten or removed. `is_ours` says of which slices nodes have nothing but what they got from here.
pub(crate) fn check_tunnel_names(
    intent: &Intent,
    inventory: &Inventory,
    is_ours: impl Fn(&str) -> bool,
) -> Vec<IntentError> {
    let mut errors = Vec::new();
    for id in intent.slices.keys().filter(|id| !is_ours(id)) {
        let mut nodes = inventory.nodes.iter();
        let has = nodes.find(|(_, node)| {
            let mut observed = node.observed.iter();
            node.config.enabled && observed.any(|has| has.tunnels.contains_key(id))
        });
        if let Some((node, _)) = has {
            errors.push(IntentError {
                path: format!("/tranche-slice:slices/slice[id='{id}']"),
                kind: ErrorKind::TunnelClash,
                message: format!(
                    "node {node} has a tunnel {id} that belongs to somebody else, where the slice needs that name"
                ),
            });
        }
    }
    errors
}
