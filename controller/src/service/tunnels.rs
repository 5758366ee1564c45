//! What is seen of the tunnels of slices: their state, when what was done for them, and what nodes tell of them.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::SystemTime;

use serde_json::{Map, Value, json};
use tranche_yang::clock::rfc3339;

use super::Service;
use super::noted::Noted;
use super::state::plain;
use crate::device::{DeviceState, TunnelEvent};
use crate::intent::{Slice, Tunnel, TunnelConfig};
use crate::network::Waiting;
use crate::rollout::Heard;
use crate::service::desired::Desired;

/// When what was done for the backhaul of a slice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Lifecycle {
    /// The request came in.
    pub(super) asked: Option<SystemTime>,
    /// It was worked out what the nodes should have.
    pub(super) compiled: Option<SystemTime>,
    /// The nodes have it for good, and it is kept.
    pub(super) committed: Option<SystemTime>,
    /// What the first tunnel that answered showed.
    pub(super) heard: Option<Heard>,
}

impl Lifecycle {
    /// The times that are known, as the model names them.
    fn times(&self) -> Map<String, Value> {
        let heard = self.heard.as_ref();
        let ours = [
            ("asked", self.asked),
            ("compiled", self.compiled),
            ("committed", self.committed),
            ("first-packet", heard.map(|heard| heard.packet)),
        ];
        let ours = ours.into_iter().filter_map(|(name, time)| {
            let time = micros(time?);
            Some((name.to_owned(), time.into()))
        });
        let handshake = heard.and_then(|heard| heard.handshake.clone());
        let handshake = handshake.map(|time| ("first-handshake".to_owned(), time.into()));
        ours.chain(handshake).collect()
    }

    /// Seconds from the request to the first packet.
    pub(super) fn to_first_packet(&self) -> Option<f64> {
        let packet = self.heard.as_ref()?.packet;
        Some(packet.duration_since(self.asked?).ok()?.as_secs_f64())
    }

    /// Seconds from the request until it was kept.
    pub(super) fn to_commit(&self) -> Option<f64> {
        let took = self.committed?.duration_since(self.asked?).ok()?;
        Some(took.as_secs_f64())
    }
}

/// A moment in UTC with microseconds.
fn micros(moment: SystemTime) -> String {
    let text = rfc3339(moment);
    let since_epoch = moment.duration_since(SystemTime::UNIX_EPOCH);
    let micros = since_epoch.map_or(0, |since| since.subsec_micros() % 1000);
    format!("{}{micros:03}Z", text.trim_end_matches('Z'))
}

/// What is seen of the backhaul of one slice.
#[derive(Debug, Default)]
pub(super) struct SeenTunnels {
    nodes: Vec<Value>,
    up: usize,
    /// Peers that carry the traffic of spokes, and of how many.
    hubs: BTreeMap<String, usize>,
    /// Why it is not all up.
    pub(super) reasons: Vec<String>,
    /// For whom a rotation waits.
    waiting: Option<Waiting>,
}

impl SeenTunnels {
    /// Takes in the tunnel of one node, as it should be and as it is.
    pub(super) fn take(
        &mut self,
        node: &str,
        wanted: &TunnelConfig,
        has: Option<&Tunnel>,
        connected: bool,
    ) {
        let state = has.map(|has| &has.state);
        let oper_state = match state.and_then(|state| state.oper_state.as_deref()) {
            Some(state) if connected => state,
            None if connected => "down",
            _ => "unknown",
        };
        let mut entry = Map::new();
        entry.insert("name".into(), node.into());
        entry.insert("role".into(), wanted.role.as_str().into());
        if let Some(address) = wanted.addresses.first() {
            entry.insert("address".into(), address.to_string().into());
        }
        entry.insert("oper-state".into(), oper_state.into());
        let silent = self.peers(wanted, has, connected, &mut entry);
        if let Some(state) = state {
            if let Some(error) = &state.last_error {
                entry.insert("last-error".into(), plain(error).into());
            }
            if let Some(key) = &state.key {
                entry.insert("public-key".into(), key.public_key.as_str().into());
                entry.insert("epoch".into(), key.epoch.to_string().into());
                entry.insert("listen-port".into(), key.listen_port.into());
            }
            if let Some(backend) = &state.backend {
                entry.insert("backend-in-use".into(), backend.as_str().into());
            }
        }
        self.nodes.push(entry.into());
        let error = state.and_then(|state| state.last_error.as_deref());
        match (oper_state, error) {
            ("up", _) if silent.is_empty() => self.up += 1,
            (_, _) if !connected => self.reasons.push(format!("node {node} is away")),
            ("up", _) => {
                let silent = silent.join(", ");
                self.reasons.push(format!(
                    "node {node}: no answer from {silent} in the tunnel"
                ));
            }
            (_, Some(error)) => self
                .reasons
                .push(format!("node {node}: the tunnel is {oper_state}: {error}")),
            (_, None) => self
                .reasons
                .push(format!("node {node}: the tunnel is {oper_state}")),
        }
    }

    /// The peers that should be there; gives the nodes among them that do not answer.
    fn peers(
        &mut self,
        wanted: &TunnelConfig,
        has: Option<&Tunnel>,
        connected: bool,
        entry: &mut Map<String, Value>,
    ) -> Vec<String> {
        let (mut peers, mut silent) = (Vec::<Value>::new(), Vec::new());
        for (name, config) in &wanted.peers {
            let seen = has.and_then(|has| has.state.peers.get(name));
            if connected && config.node.is_some() && !seen.is_some_and(|seen| seen.answers()) {
                silent.push(name.clone());
            }
            let mut peer = Map::new();
            peer.insert("name".into(), name.as_str().into());
            let Some(seen) = seen.filter(|_| connected) else {
                peers.push(peer.into());
                continue;
            };
            if let Some(state) = &seen.state {
                peer.insert("state".into(), state.as_str().into());
                if state == "active" && config.priority.is_some() {
                    *self.hubs.entry(name.clone()).or_default() += 1;
                }
            }
            if let Some(handshake) = &seen.latest_handshake {
                peer.insert("latest-handshake".into(), handshake.as_str().into());
            }
            if let Some(rtt) = seen.rtt_us {
                peer.insert("rtt".into(), rtt.into());
            }
            peer.insert("tx-bytes".into(), seen.tx_bytes.to_string().into());
            peer.insert("rx-bytes".into(), seen.rx_bytes.to_string().into());
            peers.push(peer.into());
        }
        entry.insert("peer".into(), peers.into());
        silent
    }

    /// `up`, `degraded` or `down`.
    pub(super) fn oper_state(&self) -> &'static str {
        match (self.up, self.nodes.len()) {
            (0, _) => "down",
            (up, all) if up == all => "up",
            _ => "degraded",
        }
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Whether every tunnel is up, or there is none.
    pub(super) fn is_well(&self) -> bool {
        self.up == self.nodes.len()
    }

    /// `state/backhaul`.
    pub(super) fn json(self, slice: &Slice, noted: &Noted) -> Option<Value> {
        slice.backhaul.as_ref().filter(|_| slice.enabled)?;
        let mut state = Map::new();
        state.insert("oper-state".into(), self.oper_state().into());
        let most = self.hubs.iter().max_by_key(|(_, spokes)| **spokes);
        if let Some((hub, _)) = most {
            state.insert("hub".into(), hub.as_str().into());
        }
        if let Some(lifecycle) = noted.lifecycles.get(&slice.id) {
            state.insert("lifecycle".into(), lifecycle.times().into());
        }
        if let Some(waiting) = self.waiting {
            let rotation = json!({ "waiting-for": waiting.names, "until": rfc3339(waiting.until) });
            state.insert("rotation".into(), rotation);
        }
        state.insert("node".into(), json!(self.nodes));
        Some(state.into())
    }
}

impl Service {
    /// What is seen of the tunnels that a node should have, of all slices or of only one.
    pub(super) fn look_at_tunnels(
        &self,
        node: &str,
        only: Option<&str>,
        seen: &mut BTreeMap<String, SeenTunnels>,
    ) {
        let plan = self.network.wanted(node).unwrap_or_default();
        if plan.tunnels.is_empty() {
            return;
        }
        let Some(device) = self.network.fleet().device(node) else {
            return;
        };
        let status = device.status();
        let connected = status.state == DeviceState::Connected;
        for (slice, wanted) in &plan.tunnels {
            if only.is_none_or(|only| only == slice) {
                let has = status.observed.as_ref();
                let has = has.and_then(|has| has.tunnels.get(slice));
                let seen = seen.entry(slice.clone()).or_default();
                seen.take(node, wanted, has, connected);
                seen.waiting = self.network.waits().of(slice);
            }
        }
    }

    /// Notes when what was done for the backhauls that a change brought.
    pub(super) fn note_lifecycle(&self, before: &Desired, after: &Desired, lifecycle: &Lifecycle) {
        let has_backhaul = |desired: &Desired, id: &str| {
            let slice = desired.intent.slices.get(id);
            slice.is_some_and(|slice| slice.enabled && slice.backhaul.is_some())
        };
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        for id in after.intent.slices.keys() {
            if !has_backhaul(after, id) {
                live.lifecycles.remove(id);
            } else if !has_backhaul(before, id) {
                let lifecycle = Lifecycle {
                    heard: self.network.heard(id),
                    ..lifecycle.clone()
                };
                live.lifecycles.insert(id.clone(), lifecycle);
            }
        }
    }

    /// Passes on what a node tells of a tunnel of ours.
    pub(super) fn take_tunnel_event(&self, node: &str, event: &TunnelEvent) {
        if !self
            .published()
            .desired
            .intent
            .slices
            .contains_key(&event.slice)
        {
            return;
        }
        if event.name == "failover" {
            let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
            *live.failovers.entry(event.slice.clone()).or_default() += 1;
        }
        let mut content = Map::new();
        content.insert("slice".into(), event.slice.as_str().into());
        content.insert("node".into(), node.into());
        content.insert("event".into(), event.name.into());
        for (leaf, value) in &event.leaves {
            content.insert((*leaf).into(), plain(value).into());
        }
        let time = SystemTime::now();
        self.tell("tranche-slice", "tunnel-event", time, content);
    }
}
