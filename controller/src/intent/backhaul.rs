//! The backhaul of a slice as it is asked for (`/tranche-slice:slices/slice/backhaul`).

use std::net::IpAddr;

use serde::Deserialize;

use super::Secret;

/// What WireGuard leaves of the 1500 octets of Ethernet, over IPv4 and IPv6.
const MTU: u16 = 1420;

/// An encrypted path between the nodes of a slice.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Backhaul {
    /// Who has tunnels to whom.
    #[serde(default)]
    pub topology: Topology,
    /// What the tunnels carry.
    #[serde(default)]
    pub layer: Layer,
    /// VXLAN network identifier of layer 2.
    #[serde(default)]
    pub vni: Option<u32>,
    /// Largest IP packet, in octets.
    #[serde(default = "mtu")]
    pub mtu: u16,
    /// Prefix of the tunnel addresses, as written.
    pub pool: String,
    /// Prefix of the stations' subnets, as written.
    #[serde(default)]
    pub client_pool: Option<String>,
    /// Length of one of those subnets.
    #[serde(default)]
    pub client_prefix_length: Option<u8>,
    /// Gateways.
    #[serde(default, rename = "hub")]
    pub hubs: Vec<Hub>,
    /// How failures are seen.
    #[serde(default)]
    pub probe: Probe,
    /// When keys are rotated.
    #[serde(default)]
    pub rotation: Rotation,
    /// Ends whose keys are elsewhere.
    #[serde(default, rename = "foreign-peer")]
    pub foreign_peers: Vec<ForeignPeer>,
    /// What each end was given.
    #[serde(default, rename = "allocation")]
    pub allocations: Vec<Allocation>,
}

fn mtu() -> u16 {
    MTU
}

/// Who has tunnels to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Topology {
    /// Every node has tunnels to the hubs.
    #[default]
    HubAndSpoke,
    /// Every node has a tunnel to every other one.
    Mesh,
}

/// What tunnels carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    /// IP packets.
    #[default]
    L3,
    /// Ethernet frames in VXLAN.
    L2Vxlan,
}

impl Layer {
    /// As the models name it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::L3 => "l3",
            Self::L2Vxlan => "l2-vxlan",
        }
    }
}

/// A gateway. Either a node's or a tenant's, which the schema sees to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Hub {
    /// Its name.
    pub name: String,
    /// Where it is: `edge` or `data-centre`.
    #[serde(default)]
    pub location: Option<String>,
    /// The lowest is preferred.
    pub priority: u8,
    /// The node that it is.
    #[serde(default)]
    pub node: Option<String>,
    /// Where the slice's traffic leaves that node.
    #[serde(default)]
    pub attachment: HubAttachment,
    /// Key of a tenant's own gateway, in base64.
    #[serde(default)]
    pub public_key: Option<String>,
    /// Where that receives.
    #[serde(default)]
    pub address: Option<IpAddr>,
    /// And at which UDP port.
    #[serde(default)]
    pub port: Option<u16>,
    /// Where the second interface of a rotation receives.
    #[serde(default)]
    pub second_port: Option<u16>,
    /// What is behind it, as written.
    #[serde(default, rename = "prefix")]
    pub prefixes: Vec<String>,
}

impl Hub {
    /// Its name among the peers of a spoke: that of its node, or its own.
    #[must_use]
    pub fn peer(&self) -> &str {
        self.node.as_deref().unwrap_or(&self.name)
    }
}

/// What is joined to the tunnel at a hub.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct HubAttachment {
    /// A bridge.
    #[serde(default)]
    pub bridge: Option<String>,
    /// An interface that is made.
    #[serde(default)]
    pub interface: Option<String>,
    /// Addresses of the slice's end, as written.
    #[serde(default, rename = "gateway")]
    pub gateways: Vec<String>,
}

/// Echo requests inside of the tunnels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Probe {
    /// Between two, in milliseconds.
    pub interval: u32,
    /// Answers that are missing when a peer is down.
    pub misses: u8,
    /// Seconds that a preferred hub must have answered.
    pub hold_down: u32,
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            interval: 50,
            misses: 3,
            hold_down: 30,
        }
    }
}

/// When keys are rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub struct Rotation {
    /// Age in seconds; only on request where absent.
    #[serde(default)]
    pub interval: Option<u32>,
}

/// An end whose key is elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ForeignPeer {
    /// Its name.
    pub name: String,
    /// Its key, in base64.
    pub public_key: String,
    /// Additional symmetric key.
    #[serde(default)]
    pub preshared_key: Option<Secret>,
    /// Where it receives; it calls where absent.
    #[serde(default)]
    pub endpoint: Option<Endpoint>,
    /// What is behind it, as written.
    #[serde(default, rename = "allowed-prefix")]
    pub allowed_prefixes: Vec<String>,
}

/// Where somebody receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Endpoint {
    /// Address.
    pub address: IpAddr,
    /// UDP port.
    pub port: u16,
    /// Where the second interface of a rotation receives.
    #[serde(default)]
    pub second_port: Option<u16>,
}

/// What an end was given.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Allocation {
    /// Name of a node, gateway or foreign peer.
    pub name: String,
    /// Its address in the pool.
    pub address: IpAddr,
    /// Subnet of its stations, as written.
    #[serde(default)]
    pub client_prefix: Option<String>,
    /// UDP port that it is told to receive at.
    #[serde(default)]
    pub listen_port: Option<u16>,
}

impl Backhaul {
    /// The pool; the compiler has refused one that is none.
    pub(crate) fn pool(&self) -> Option<super::Prefix> {
        self.pool.parse().ok()
    }

    /// What an end was given.
    #[must_use]
    pub fn allocation(&self, name: &str) -> Option<&Allocation> {
        self.allocations.iter().find(|one| one.name == name)
    }

    /// The hub that is a node.
    #[must_use]
    pub fn hub_at(&self, node: &str) -> Option<&Hub> {
        self.hubs
            .iter()
            .find(|hub| hub.node.as_deref() == Some(node))
    }
}
