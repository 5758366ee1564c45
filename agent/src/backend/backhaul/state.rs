//! What can be observed of tunnels: `tunnel/state` of `tranche-backhaul`, the results of its actions, and its events.

use std::net::{IpAddr, SocketAddr};

use serde::{Serialize, Serializer};

use super::Prefix;
use super::health::{FailoverReason, PeerState};
use super::key::PublicKey;
use super::plane::BackendInUse;
use crate::backend::value::as_text;

/// `tunnel/state`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct TunnelState {
    /// Identifier of the slice; the key of the entry, not a part of its state.
    #[serde(skip)]
    pub slice: String,
    /// The key in force; none of a tunnel that never came up.
    #[serde(flatten)]
    pub own_key: Option<OwnKeyState>,
    /// State.
    pub oper_state: TunnelOperState,
    /// Why it is not in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// What encrypts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend_in_use: Option<BackendInUse>,
    /// Name of the slice's network namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Largest packet of the attached segment.
    pub segment_mtu: u16,
    /// When the key in force was made, as RFC 3339 text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_made: Option<String>,
    /// The second interface, while keys are rotated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<NextState>,
    /// The old interface after a rotation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retiring: Option<OwnKeyState>,
    /// Peers, by name.
    #[serde(rename = "peer")]
    pub peers: Vec<PeerObservation>,
}

/// What the others need to know of one interface of this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct OwnKeyState {
    /// Number of the key.
    #[serde(serialize_with = "as_text")]
    pub epoch: u64,
    /// Its public half.
    pub public_key: PublicKey,
    /// UDP port.
    pub listen_port: u16,
    /// Name of the interface in the slice's namespace.
    pub interface: String,
}

/// `tunnel/state/next`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NextState {
    /// Its key.
    #[serde(flatten)]
    pub own_key: OwnKeyState,
    /// How far the rotation is.
    pub phase: Phase,
}

/// `phase`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Not every peer has been heard on it.
    Prepared,
    /// There has been a handshake with every peer on it.
    Ready,
}

/// `oper-state` of a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TunnelOperState {
    /// At least one peer answers.
    Up,
    /// In service; no peer has answered yet, or there is none.
    Starting,
    /// Switched off, or no peer answers any more.
    Down,
    /// It could not be brought up.
    Failed,
}

/// `tunnel/state/peer`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PeerObservation {
    /// Its name.
    pub name: String,
    /// What it is good for now.
    pub state: PeerState,
    /// When both ends last agreed on a session key, as RFC 3339 text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest_handshake: Option<String>,
    /// The same on the second interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_handshake: Option<String>,
    /// Where it was heard last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<EndpointState>,
    /// Octets sent to it.
    #[serde(serialize_with = "as_text")]
    pub tx_bytes: u64,
    /// Octets received from it.
    #[serde(serialize_with = "as_text")]
    pub rx_bytes: u64,
    /// Round trip of the last probe that was answered.
    #[serde(rename = "probe-rtt", skip_serializing_if = "Option::is_none")]
    pub probe_rtt_us: Option<u32>,
    /// Probes without an answer among the last hundred, in hundredths of a percent.
    #[serde(serialize_with = "as_percent", skip_serializing_if = "Option::is_none")]
    pub probe_loss: Option<u32>,
    /// Prefixes whose traffic goes to it.
    #[serde(rename = "active-prefix")]
    pub active_prefixes: Vec<Prefix>,
}

/// `peer/endpoint` of the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct EndpointState {
    /// Address on the underlay.
    pub address: IpAddr,
    /// UDP port.
    pub port: u16,
}

impl From<SocketAddr> for EndpointState {
    fn from(address: SocketAddr) -> Self {
        Self {
            address: address.ip().to_canonical(),
            port: address.port(),
        }
    }
}

#[expect(clippy::ref_option, reason = "the signature is serde's")]
fn as_percent<S: Serializer>(hundredths: &Option<u32>, serializer: S) -> Result<S::Ok, S::Error> {
    let hundredths = hundredths.unwrap_or_default();
    let text = format!("{}.{:02}", hundredths / 100, hundredths % 100);
    serializer.serialize_str(&text)
}

/// One peer's part of the output of `probe-now`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProbeResult {
    /// The peer.
    pub name: String,
    /// Requests.
    pub sent: u8,
    /// Answers.
    pub received: u8,
    /// Shortest round trip.
    #[serde(rename = "rtt", skip_serializing_if = "Option::is_none")]
    pub rtt_us: Option<u32>,
}

/// Something that happened to a tunnel. Serialises as the notification of the same name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Event {
    /// A peer is in another state.
    #[serde(rename = "tranche-backhaul:peer-state-change")]
    PeerStateChange {
        /// The tunnel.
        slice: String,
        /// The peer.
        peer: String,
        /// State before.
        from: PeerState,
        /// State now.
        to: PeerState,
    },
    /// Prefixes were moved from one peer to another.
    #[serde(rename = "tranche-backhaul:failover")]
    Failover {
        /// The tunnel.
        slice: String,
        /// The peer that had them.
        #[serde(skip_serializing_if = "Option::is_none")]
        from: Option<String>,
        /// The peer that has them now.
        to: String,
        /// Why.
        reason: FailoverReason,
    },
    /// A second interface with a new key is there.
    #[serde(rename = "tranche-backhaul:rotation-prepared")]
    RotationPrepared {
        /// The tunnel.
        slice: String,
        /// The new key.
        #[serde(flatten)]
        own_key: OwnKeyState,
        /// Why.
        reason: RotationReason,
    },
    /// Somebody had changed the network of a slice by hand.
    #[serde(rename = "tranche-wifi:drift-repaired")]
    Repaired {
        /// What happened.
        cause: String,
        /// What was put right.
        #[serde(rename = "repair")]
        repairs: Vec<Repair>,
    },
    /// The old interface is gone.
    #[serde(rename = "tranche-backhaul:rotation-complete")]
    RotationComplete {
        /// The tunnel.
        slice: String,
        /// The key in force.
        #[serde(serialize_with = "as_text")]
        epoch: u64,
        /// Its public half.
        #[serde(rename = "public-key")]
        public_key: PublicKey,
    },
}

/// Something that was put right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Repair {
    /// Path of the node that is carried out again.
    pub target: String,
    /// What was done.
    pub action: String,
}

/// Why a rotation was prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RotationReason {
    /// Somebody asked for it.
    Requested,
    /// The key is old.
    Due,
}
