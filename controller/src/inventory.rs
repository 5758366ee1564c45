//! The nodes a controller looks after: what was configured about them, and what was last read from them.
//!
//! Types only. [`Inventory::from_json`] reads the configured half; `device` fills in the observed half.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::Deserialize;

use crate::intent::{
    CoreKind, NodeSteering, ProfileConfig, Rat, Ratio, Tunnel, VifConfig, is_our_profile, is_ours,
    steering_slices, yes,
};

/// Name of a node.
pub type NodeName = String;
/// Name of a virtual interface at a node.
pub type VifName = String;

/// All nodes, sites and credentials.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Inventory {
    /// Sites.
    pub sites: BTreeSet<String>,
    /// Credentials by name.
    pub credentials: BTreeMap<String, Credential>,
    /// Nodes by name.
    pub nodes: BTreeMap<NodeName, Node>,
}

/// How to log in at nodes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Credential {
    /// Its name.
    pub name: String,
    /// SSH user name.
    pub user: String,
    /// Name of the private key's file in the controller's key directory.
    pub key: String,
}

/// A node.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// As configured.
    pub config: NodeConfig,
    /// As last read; `None` before the first time.
    pub observed: Option<Observed>,
}

/// A node as configured (`/tranche-inventory:inventory/node`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct NodeConfig {
    /// Its name.
    pub name: NodeName,
    /// Off: no session is kept to it and no slice may select it.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Host name or address.
    pub address: String,
    /// TCP port of NETCONF over SSH.
    #[serde(default = "netconf_port")]
    pub port: u16,
    /// Name of the credential.
    pub credential: String,
    /// Pinned host key: an OpenSSH public key line or a fingerprint.
    pub host_key: String,
    /// Where it stands.
    #[serde(default)]
    pub site: Option<String>,
    /// Labels that slices select by.
    #[serde(default, rename = "label")]
    pub labels: BTreeSet<String>,
    /// How tunnels reach it.
    #[serde(default)]
    pub underlay: Underlay,
}

/// How tunnels reach a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Underlay {
    /// Where; the node's address where absent, if that is no host name.
    pub address: Option<IpAddr>,
    /// First UDP port that tunnels may use; the node chooses where absent.
    pub first_port: Option<u16>,
    /// Last one.
    pub last_port: Option<u16>,
}

fn netconf_port() -> u16 {
    830
}

/// What a node said when it was last read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    /// Its radios by name.
    pub radios: BTreeMap<String, Radio>,
    /// Its virtual interfaces by name, ours and others.
    pub vifs: BTreeMap<VifName, Vif>,
    /// Its tunnels by slice, ours and others.
    pub tunnels: BTreeMap<String, Tunnel>,
    /// Its cells by name.
    pub cells: BTreeMap<String, Cell>,
    /// Its cores by name.
    pub cores: BTreeMap<String, Core>,
    /// Its slice profiles by name, ours and others.
    pub profiles: BTreeMap<String, Profile>,
    /// Its steering, ours and others.
    pub steering: NodeSteering,
}

/// An LTE or NR cell of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// Radio access technology.
    pub rat: Rat,
    /// PRB of each direction.
    pub bandwidth_prb: u16,
    /// Distinct PLMNs that it can carry, where the node says so.
    pub max_plmns: Option<u8>,
    /// `up` or `down`.
    pub oper_state: Option<String>,
    /// UEs attached.
    pub ues: Option<u32>,
    /// Shares of its PRB used in the last period, down and up.
    pub used: [Option<Ratio>; 2],
}

/// A core network that a node knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Core {
    /// What answers there.
    pub kind: CoreKind,
    /// `unknown`, `connected`, `setup-rejected` or `unreachable`.
    pub oper_state: Option<String>,
    /// Why it is not connected.
    pub cause: Option<String>,
}

/// A slice profile at a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Its configuration; the slice is empty where it says none.
    pub config: ProfileConfig,
    /// Whether it has something that this controller does not make.
    pub foreign_parts: bool,
    /// What it does.
    pub state: ProfileState,
}

/// What a slice profile does, as the node tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProfileState {
    /// `disabled`, `pending`, `active`, `degraded` or `failed`.
    pub oper_state: Option<String>,
    /// Why it is not active.
    pub cause: Option<String>,
    /// The core in use.
    pub active_core: Option<String>,
    /// What it gets of its cells, by name.
    pub cells: BTreeMap<String, ProfileOnCell>,
}

/// What a slice profile gets of one cell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProfileOnCell {
    /// UEs attached to it there.
    pub ues: Option<u32>,
    /// Measured shares of the cell's PRB, down and up.
    pub used: [Option<Ratio>; 2],
    /// Bits per second, down and up.
    pub throughput: [Option<u64>; 2],
    /// Mean time in µs that packets waited to be sent, down and up, where any were sent and it is measured.
    pub delay_us: [Option<u32>; 2],
    /// What 99 % of them waited at most, in µs.
    pub delay_p99_us: [Option<u32>; 2],
}

/// A radio of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Radio {
    /// `2.4GHz`, `5GHz` or `6GHz`.
    pub band: String,
    /// Primary channel.
    pub channel: Option<u16>,
    /// How many interfaces the hardware carries, where the node says so.
    pub max_vifs: Option<u32>,
    /// Radios of ours that it contends with, as (node, radio).
    pub hears: BTreeSet<(NodeName, String)>,
}

/// A virtual interface at a node.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Vif {
    /// The radio that carries it.
    pub radio: String,
    /// The slice it says it belongs to.
    pub slice: Option<String>,
    /// Administrative state.
    pub enabled: bool,
    /// Guaranteed minimum, as configured.
    pub min_ratio: Ratio,
    /// Ceiling, as configured.
    pub max_ratio: Ratio,
    /// Its configuration, if it is of the kind that this controller makes and has nothing else.
    pub config: Option<VifConfig>,
    /// What it does.
    pub state: VifState,
}

/// What a virtual interface does, as the node tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VifState {
    /// `up`, `starting`, `down` or `failed`.
    pub oper_state: Option<String>,
    /// Why it is not up.
    pub last_error: Option<String>,
    /// BSSID.
    pub bssid: Option<String>,
    /// Associated stations.
    pub stations: Option<u32>,
}

impl Observed {
    /// The virtual interfaces that this controller made.
    pub fn ours(&self) -> impl Iterator<Item = (&VifName, &Vif)> {
        self.vifs
            .iter()
            .filter(|(name, vif)| is_ours(name, vif.slice.as_deref(), &vif.radio))
    }

    /// The virtual interfaces that somebody else made.
    pub fn foreign(&self) -> impl Iterator<Item = (&VifName, &Vif)> {
        self.vifs
            .iter()
            .filter(|(name, vif)| !is_ours(name, vif.slice.as_deref(), &vif.radio))
    }

    /// Slices that have something of ours but tunnels there, as far as it is read; some more than once.
    pub(crate) fn slices(&self) -> impl Iterator<Item = &str> {
        let vifs = self.ours().filter_map(|(_, vif)| vif.slice.as_deref());
        let profiles = self.profiles().filter(|(_, _, ours)| *ours);
        let profiles = profiles.map(|(_, profile, _)| profile.config.slice.as_str());
        vifs.chain(profiles)
            .chain(steering_slices(&self.steering.config))
    }

    /// The slice profiles, and whether this controller made them.
    pub fn profiles(&self) -> impl Iterator<Item = (&String, &Profile, bool)> {
        self.profiles.iter().map(|(name, profile)| {
            let ours = is_our_profile(name, &profile.config.slice);
            (name, profile, ours)
        })
    }
}

/// The tree of the inventory is not what the schema says.
#[derive(Debug, thiserror::Error)]
#[error("the inventory cannot be read: {0}")]
pub struct BadInventory(#[from] serde_json::Error);

impl Inventory {
    /// Reads the content of `/tranche-inventory:inventory` in the encoding of RFC 7951; nothing is observed yet.
    ///
    /// # Errors
    /// When a mandatory leaf is missing or a value has the wrong type: the schema was not enforced.
    pub fn from_json(inventory: &serde_json::Value) -> Result<Self, BadInventory> {
        #[derive(Deserialize)]
        struct Named {
            name: String,
        }
        #[derive(Deserialize)]
        struct Tree {
            #[serde(default)]
            site: Vec<Named>,
            #[serde(default)]
            credential: Vec<Credential>,
            #[serde(default)]
            node: Vec<NodeConfig>,
        }
        let tree = Tree::deserialize(inventory)?;
        let node = |config: NodeConfig| {
            (
                config.name.clone(),
                Node {
                    config,
                    observed: None,
                },
            )
        };
        Ok(Self {
            sites: tree.site.into_iter().map(|site| site.name).collect(),
            credentials: tree
                .credential
                .into_iter()
                .map(|one| (one.name.clone(), one))
                .collect(),
            nodes: tree.node.into_iter().map(node).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_tree_is_read_with_its_defaults() {
        let inventory = Inventory::from_json(&json!({
            "site": [{ "name": "street" }],
            "credential": [{ "name": "default", "user": "tranche", "key": "id" }],
            "node": [{ "name": "n1", "address": "192.0.2.1", "credential": "default", "host-key": "SHA256:x",
                       "site": "street", "label": ["edge"] }]
        }))
        .expect("valid");
        let node = &inventory.nodes["n1"];
        assert_eq!((node.config.port, node.config.enabled), (830, true));
        assert!(node.config.labels.contains("edge") && node.observed.is_none());
        assert!(Inventory::from_json(&json!({ "node": [{ "name": "n1" }] })).is_err());
    }
}
