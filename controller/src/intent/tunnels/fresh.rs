//! What is asked of slices that a change brings, and not of those that are in force: what was accepted once holds up nobody.

use crate::intent::{Backhaul, ErrorKind, ForeignPeer, Hub, Intent, IntentError, Topology};
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

/// Slices whose keys are to be rotated by themselves and can't be: an end whose key is elsewhere is called at one port, where it could not
/// receive with two interfaces.
pub(crate) fn check_rotations(intent: &Intent) -> Vec<IntentError> {
    let mut errors = Vec::new();
    for slice in intent.slices.values() {
        let backhaul = slice.backhaul.iter();
        let by_themselves = backhaul.filter(|backhaul| backhaul.rotation.interval.is_some());
        for name in by_themselves.filter_map(called_at_one_port) {
            errors.push(IntentError {
                path: format!(
                    "/tranche-slice:slices/slice[id='{}']/backhaul/rotation/interval",
                    slice.id
                ),
                kind: ErrorKind::KeyElsewhere,
                message: format!(
                    "the key of {name} is elsewhere, and it is called at one port, where a second interface could not receive beside the first: give it a second-port, or rotate without an interval"
                ),
            });
        }
    }
    errors
}

/// An end whose key is elsewhere and that nodes call at one port only.
fn called_at_one_port(backhaul: &Backhaul) -> Option<&str> {
    let mut hubs = backhaul.hubs.iter();
    let at_one_port = |hub: &&Hub| hub.node.is_none() && hub.second_port.is_none();
    let hub = hubs.find(at_one_port).map(|hub| hub.name.as_str());
    // Hubs call them, and members of a mesh.
    let by_nodes =
        backhaul.topology == Topology::Mesh || backhaul.hubs.iter().any(|hub| hub.node.is_some());
    let mut peers = backhaul.foreign_peers.iter().filter(|_| by_nodes);
    let at_one_port = |peer: &&ForeignPeer| {
        let endpoint = peer.endpoint.as_ref();
        endpoint.is_some_and(|at| at.second_port.is_none())
    };
    hub.or_else(|| peers.find(at_one_port).map(|peer| peer.name.as_str()))
}
