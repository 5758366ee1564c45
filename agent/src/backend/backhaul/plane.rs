//! The data plane's contract: what a tunnel needs of the machine, whichever technology it is.
//!
//! Owns the description of a slice's network as it should be ([`SliceNet`]) and as it is ([`ObservedInterface`]), and the
//! [`Plane`] trait. What should be is worked out in [`super::wanted`]; implementations make it so and decide nothing.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::Prefix;
use super::config::{BackendChoice, Role};
use super::key::{PresharedKey, PrivateKey, PublicKey};
use crate::backend::{BoxFuture, Why};

/// Metric of the routes that carry traffic.
pub(super) const METRIC: u32 = 100;
/// Metric of the routes over an interface that carries nothing yet.
pub(super) const METRIC_NEXT: u32 = 200;

/// WireGuard fills packets up to a multiple of so many octets.
pub(super) const PADDING: u64 = 16;
/// By what a message of a handshake, the first or the answer, makes [`ObservedInterface::rx_content`] grow where it is counted. No
/// packets do that: they are filled up, or as large as the MTU.
pub(super) const HANDSHAKES: [u64; 2] = [148 - EMPTY, 92 - EMPTY];
/// Octets of a message of WireGuard with nothing inside, which keeps a tunnel alive; every other message has more.
pub(super) const EMPTY: u64 = 32;

/// What encrypts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackendInUse {
    /// The kernel's WireGuard.
    Kernel,
    /// gotatun, in this process.
    Userspace,
    /// Nothing: the node is simulated.
    Simulator,
}

/// Where a tunnel ends at this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// In a namespace of its own.
    Slice,
    /// In the node's, where these TCP ports are reached through it and nothing is passed on.
    Node {
        /// The ports.
        ports: Vec<u16>,
    },
}

/// The network of one slice at this node, as it should be.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SliceNet {
    /// Identifier of the slice.
    pub(super) slice: String,
    /// Where it is.
    pub(super) place: Place,
    /// Part of the node in it: only hubs relay between peers.
    pub(super) role: Role,
    /// What encrypts.
    pub(super) backend: BackendInUse,
    /// Addresses of the node on every tunnel interface.
    pub(super) addresses: Vec<IpAddr>,
    /// Largest packet of the tunnel.
    pub(super) mtu: u16,
    /// One, or while keys are rotated two.
    pub(super) interfaces: Vec<TunnelInterface>,
    /// Ethernet inside of the tunnel.
    pub(super) vxlan: Option<Vxlan>,
    /// Where the slice's traffic comes from.
    pub(super) attachment: Option<Attachment>,
}

/// One WireGuard interface.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TunnelInterface {
    /// Its name where the tunnel ends.
    pub(super) name: String,
    pub(super) key: PrivateKey,
    pub(super) port: u16,
    /// `None` leaves peers and routes as they are: the interface is on its way out.
    pub(super) peers: Option<Vec<WgPeer>>,
    /// Metric of the routes to what the peers may send.
    pub(super) metric: u32,
}

impl TunnelInterface {
    /// Whether it is the second one of a rotation, and carries nothing yet.
    pub(super) fn is_coming(&self) -> bool {
        self.metric == METRIC_NEXT && self.peers.is_some()
    }
}

/// A peer as WireGuard knows it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct WgPeer {
    pub(super) public_key: PublicKey,
    pub(super) preshared_key: Option<PresharedKey>,
    /// Where it is called; only given to a peer that is new, or with `moves`.
    pub(super) endpoint: Option<SocketAddr>,
    /// Whether the endpoint was configured anew: else a peer that roamed is left where it is.
    pub(super) moves: bool,
    pub(super) keepalive_s: Option<u16>,
    pub(super) allowed: Vec<Prefix>,
}

/// Ethernet inside of the tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Vxlan {
    pub(super) vni: u32,
    /// Largest packet of the segment.
    pub(super) mtu: u16,
    pub(super) local: IpAddr,
    /// Peers that frames are flooded to.
    pub(super) remotes: Vec<IpAddr>,
    /// Whether what comes from one peer is passed on to the others, and never back.
    pub(super) relays: bool,
}

/// A pair of virtual Ethernet interfaces into the slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attachment {
    pub(super) outer: Outer,
    /// Addresses of the slice's end.
    pub(super) gateways: Vec<Prefix>,
    /// Largest packet on it.
    pub(super) mtu: u16,
}

/// The node's end of an attachment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outer {
    /// A port of a bridge.
    Bridge {
        /// The bridge.
        name: String,
        /// VLAN on it.
        vlan: Option<u16>,
    },
    /// An interface of this name.
    Interface(String),
}

impl Outer {
    /// The interface of the node where packets of the slice could be routed.
    pub(super) fn end(&self) -> &str {
        match self {
            Self::Bridge { name, .. } | Self::Interface(name) => name,
        }
    }
}

/// A WireGuard interface as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ObservedInterface {
    pub(super) name: String,
    pub(super) public_key: PublicKey,
    pub(super) port: u16,
    /// Grows with each packet that came out of the tunnel; not with what keeps it alive, and with handshakes by [`HANDSHAKES`] only.
    pub(super) rx_content: u64,
    pub(super) peers: Vec<ObservedPeer>,
}

/// A peer as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ObservedPeer {
    pub(super) public_key: PublicKey,
    pub(super) endpoint: Option<SocketAddr>,
    pub(super) latest_handshake: Option<SystemTime>,
    pub(super) rx_bytes: u64,
    pub(super) tx_bytes: u64,
    pub(super) allowed: Vec<Prefix>,
}

/// Why the machine did not do it: one sentence, lower case, no full stop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(super) struct PlaneError {
    pub(super) message: String,
    pub(super) why: Why,
}

impl PlaneError {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            why: Why::Failed,
        }
    }
}

/// How closely [`Plane::bring`] looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// At what a change of configuration or peers can touch.
    Changes,
    /// At everything, for somebody may have changed it by hand.
    Everything,
}

/// A machine that can carry tunnels. Calls for different slices may run at once; those for one slice come one by one.
pub(super) trait Plane: Send + Sync {
    /// What a tunnel with this choice would be encrypted by, or the sentence that says why it cannot be.
    fn backend(&self, choice: BackendChoice) -> Result<BackendInUse, String>;

    /// Largest packet that this backend can carry.
    fn largest_mtu(&self, backend: BackendInUse) -> u16;

    /// Says which slices will be attached where, before their networks are looked at one by one: what keeps them apart is to
    /// hold for all of them from the first one on. Nothing to say where nothing keeps them apart.
    ///
    /// # Errors
    /// They cannot be kept apart.
    fn expect(&self, _: Vec<(String, Outer)>) -> BoxFuture<'_, Result<(), PlaneError>> {
        Box::pin(async { Ok(()) })
    }

    /// Makes a slice's network what it should be, doing only what differs, and reads it back; what was done, in words.
    ///
    /// # Errors
    /// Why it is not so. What was done already stays.
    fn bring<'a>(
        &'a self,
        net: &'a SliceNet,
        look: Look,
    ) -> BoxFuture<'a, Result<Vec<String>, PlaneError>>;

    /// Removes a slice's network with all that belongs to it; whether there was any.
    ///
    /// # Errors
    /// What is left.
    fn remove<'a>(&'a self, slice: &'a str) -> BoxFuture<'a, Result<bool, PlaneError>>;

    /// The slices that have a network here, of this node's making.
    ///
    /// # Errors
    /// The machine cannot be asked.
    fn slices(&self) -> BoxFuture<'_, Result<Vec<String>, PlaneError>>;

    /// The tunnel interfaces of a slice; none where it has no network.
    ///
    /// # Errors
    /// The machine cannot be asked.
    fn observe<'a>(
        &'a self,
        slice: &'a str,
    ) -> BoxFuture<'a, Result<Vec<ObservedInterface>, PlaneError>>;

    /// Sends an echo request inside of a slice, by the routes that there are; the round trip, or nothing when time is up.
    fn probe(
        &self,
        slice: &str,
        to: IpAddr,
        timeout: Duration,
    ) -> BoxFuture<'static, Option<Duration>>;

    /// Sends one packet over an interface that may carry nothing yet, so that WireGuard shakes hands. Whether it works
    /// shows in [`Plane::observe`].
    fn nudge(&self, slice: &str, interface: &str, to: IpAddr);

    /// A UDP port of the underlay that nobody uses, nor is about to as far as `is_taken` knows.
    ///
    /// # Errors
    /// There is none.
    fn free_port(&self, is_taken: &dyn Fn(u16) -> bool) -> Result<u16, PlaneError>;

    /// Whether nobody uses a UDP port of the underlay.
    fn is_free(&self, port: u16) -> bool;

    /// What the names of the tunnel interfaces of a slice begin with; its keys' numbers follow, of four digits at most.
    fn prefix(&self, slice: &str, is_of_node: bool) -> String;

    /// Name of a slice's network namespace, if it has one.
    fn namespace(&self, slice: &str) -> Option<String>;
}
