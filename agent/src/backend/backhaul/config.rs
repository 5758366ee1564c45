//! The typed form of the `tranche-backhaul` configuration. Names and meanings are the module's.

use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;

use super::Written;
use super::key::{PresharedKey, PublicKey};

/// `/tranche-backhaul:backhaul`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct BackhaulConfig {
    /// Tunnels, one for each slice.
    #[serde(default, rename = "tunnel")]
    pub tunnels: Vec<TunnelConfig>,
}

impl BackhaulConfig {
    /// The tunnel of this slice.
    #[must_use]
    pub fn tunnel(&self, slice: &str) -> Option<&TunnelConfig> {
        self.tunnels.iter().find(|tunnel| tunnel.slice == slice)
    }

    /// The management tunnel that another configuration makes, changes or removes, if there is one.
    #[must_use]
    pub fn management_change<'a>(&'a self, to: &'a Self) -> Option<&'a str> {
        let all = self.tunnels.iter().chain(&to.tunnels);
        let of_node = all.filter(|tunnel| tunnel.management.is_some());
        let mut slices = of_node.map(|tunnel| tunnel.slice.as_str());
        slices.find(|slice| self.tunnel(slice) != to.tunnel(slice))
    }
}

/// `tunnel`: the tunnel of one slice.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TunnelConfig {
    /// Identifier of the slice.
    pub slice: String,
    /// Whether it carries traffic.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Part that this node plays in the slice.
    pub role: Role,
    /// What the tunnel carries.
    #[serde(default)]
    pub layer: Layer,
    /// VXLAN network identifier; the schema has it present in layer `l2-vxlan` and in no other.
    pub vni: Option<u32>,
    /// Largest IP packet that the tunnel carries.
    #[serde(default = "mtu")]
    pub mtu: u16,
    /// What encrypts.
    #[serde(default)]
    pub backend: BackendChoice,
    /// Addresses of this node inside of the tunnel.
    #[serde(default, rename = "address")]
    pub addresses: Vec<IpAddr>,
    /// UDP port on the underlay; the node chooses where absent.
    pub listen_port: Option<u16>,
    /// Where the slice's traffic comes from on this node.
    #[serde(default)]
    pub attachment: AttachmentConfig,
    /// Of the node's own tunnel, what is reached through it.
    pub management: Option<ManagementConfig>,
    /// Other ends.
    #[serde(default, rename = "peer")]
    pub peers: Vec<PeerConfig>,
    /// When keys are rotated.
    #[serde(default)]
    pub rotation: RotationConfig,
    /// Echo requests to peers; none where absent.
    pub probe: Option<ProbeConfig>,
}

impl TunnelConfig {
    /// The peer of this name.
    #[must_use]
    pub fn peer(&self, name: &str) -> Option<&PeerConfig> {
        self.peers.iter().find(|peer| peer.name == name)
    }
}

/// `management`: the tunnel ends in the node's own namespace.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ManagementConfig {
    /// TCP ports of the node that are reached through it.
    #[serde(default, rename = "port")]
    pub ports: Vec<u16>,
}

/// `role`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Gateway of the slice.
    Hub,
    /// Gateway that takes over.
    StandbyHub,
    /// A node that reaches everything through the gateways.
    Spoke,
    /// One of a full mesh.
    Member,
}

/// `layer`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    /// IP packets.
    #[default]
    L3,
    /// Ethernet frames in VXLAN.
    L2Vxlan,
}

/// `backend`: what should encrypt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackendChoice {
    /// The kernel, or the agent's process where the kernel cannot.
    #[default]
    Auto,
    /// The kernel.
    Kernel,
    /// The agent's process.
    Userspace,
}

/// `attachment`. The schema has at most one of `bridge` and `interface`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct AttachmentConfig {
    /// Linux bridge in the node's namespace.
    pub bridge: Option<String>,
    /// Interface to make in the node's namespace.
    pub interface: Option<String>,
    /// VLAN on the bridge.
    pub vlan: Option<u16>,
    /// Addresses of the slice's end.
    #[serde(default, rename = "gateway")]
    pub gateways: Vec<Written>,
}

/// `peer`: another end of the tunnel.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PeerConfig {
    /// Its name.
    pub name: String,
    /// Its key.
    pub public_key: PublicKey,
    /// Additional symmetric key.
    pub preshared_key: Option<PresharedKey>,
    /// Where it receives at first.
    pub endpoint: Option<EndpointConfig>,
    /// Its address inside of the tunnel.
    pub tunnel_address: Option<IpAddr>,
    /// What is behind it.
    #[serde(default, rename = "allowed-prefix")]
    pub allowed_prefixes: Vec<Written>,
    /// Send something at least this often.
    #[serde(rename = "persistent-keepalive")]
    pub persistent_keepalive_s: Option<u16>,
    /// Rank among the peers of one set of prefixes.
    pub priority: Option<u8>,
    /// The same peer on the second interface.
    pub next: Option<NextConfig>,
}

/// `peer/next`: a peer on the second interface, while keys are rotated.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct NextConfig {
    /// Its new key.
    pub public_key: PublicKey,
    /// Its new pre-shared key; the one there is where absent.
    pub preshared_key: Option<PresharedKey>,
    /// Where it receives with the new key.
    pub endpoint: Option<EndpointConfig>,
}

/// `endpoint`: where a peer receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct EndpointConfig {
    /// Address on the underlay.
    pub address: IpAddr,
    /// UDP port.
    pub port: u16,
}

impl From<EndpointConfig> for SocketAddr {
    fn from(endpoint: EndpointConfig) -> Self {
        Self::new(endpoint.address, endpoint.port)
    }
}

/// `rotation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct RotationConfig {
    /// Age of a key at which the next one is prepared; only on request where absent.
    #[serde(rename = "interval")]
    pub interval_s: Option<u32>,
    /// How long the old interface has to be silent before it is removed.
    #[serde(rename = "overlap", default = "overlap")]
    pub overlap_ms: u32,
}

impl Default for RotationConfig {
    fn default() -> Self {
        Self {
            interval_s: None,
            overlap_ms: overlap(),
        }
    }
}

/// `probe`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct ProbeConfig {
    /// Time between two probes of a peer.
    #[serde(rename = "interval")]
    pub interval_ms: u32,
    /// Missing answers in a row at which a peer is down.
    pub misses: u8,
    /// How long a preferred peer must have answered before prefixes move back.
    #[serde(rename = "hold-down")]
    pub hold_down_s: u32,
}

fn yes() -> bool {
    true
}

fn mtu() -> u16 {
    1420
}

fn overlap() -> u32 {
    500
}
