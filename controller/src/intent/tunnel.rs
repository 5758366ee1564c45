//! A tunnel as the controller configures it at a node, what was read of one, and the edits between the two.
//!
//! A peer that is a node is named, not keyed: its key and port are filled in ([`TunnelConfig::resolve`]) from what was read of
//! it, so that a plan stays the same when keys are rotated. What is not known yet is left as the node has it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::vif::leaf;
use super::{Layer, Prefix, Probe, Secret};

pub(crate) const BACKHAUL: &str = "urn:tranche:yang:tranche-backhaul";

/// Keys of nodes by node and slice; and of ends elsewhere that receive at either of two ports, with the one where nodes call them.
pub type Keys = BTreeMap<(String, String), OwnKey>;

/// What the others need to know of one end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OwnKey {
    /// Number of the key.
    pub epoch: u64,
    /// Public half, in base64.
    pub public_key: String,
    /// UDP port.
    pub listen_port: u16,
}

/// Part that a node plays in a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Gateway.
    Hub,
    /// Gateway that stands by.
    StandbyHub,
    /// A node behind gateways.
    Spoke,
    /// One of a mesh.
    Member,
}

impl Role {
    const ALL: [Self; 4] = [Self::Hub, Self::StandbyHub, Self::Spoke, Self::Member];

    /// As the model names it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hub => "hub",
            Self::StandbyHub => "standby-hub",
            Self::Spoke => "spoke",
            Self::Member => "member",
        }
    }

    /// By the name in the model.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == name)
    }

    fn is_hub(self) -> bool {
        matches!(self, Self::Hub | Self::StandbyHub)
    }
}

/// A tunnel (`/tranche-backhaul:backhaul/tunnel`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunnelConfig {
    /// Part of the node.
    pub role: Role,
    /// What it carries.
    pub layer: Layer,
    /// VXLAN network identifier.
    pub vni: Option<u32>,
    /// Largest packet, in octets.
    pub mtu: u16,
    /// Addresses of the node inside of it.
    pub addresses: BTreeSet<IpAddr>,
    /// UDP port; the node chooses where absent.
    pub listen_port: Option<u16>,
    /// What is joined to it.
    pub attachment: TunnelAttachment,
    /// Echo requests.
    pub probe: Option<Probe>,
    /// Age of a key at which the node prepares the next one, in seconds.
    pub rotation_interval: Option<u32>,
    /// Other ends, by name.
    pub peers: BTreeMap<String, PeerConfig>,
}

/// What is joined to a tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TunnelAttachment {
    /// A bridge.
    pub bridge: Option<String>,
    /// An interface that is made.
    pub interface: Option<String>,
    /// VLAN on the bridge.
    pub vlan: Option<u16>,
    /// Addresses of the slice's end.
    pub gateways: BTreeSet<String>,
}

/// Another end of a tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PeerConfig {
    /// The node that it is, whose key is asked for.
    pub node: Option<String>,
    /// Its key in base64; `None` while that is not known.
    pub public_key: Option<String>,
    /// Additional symmetric key. No node shows it.
    pub preshared_key: Option<Secret>,
    /// Where it receives.
    pub endpoint: Option<PeerEndpoint>,
    /// Its address inside of the tunnel.
    pub tunnel_address: Option<IpAddr>,
    /// What is behind it.
    pub allowed: BTreeSet<String>,
    /// Rank among those of one set of prefixes.
    pub priority: Option<u8>,
    /// A rotation is under way.
    pub has_next: bool,
    /// Where its second interface receives meanwhile.
    pub next_port: Option<u16>,
    /// It has something that this controller does not configure.
    pub has_more: bool,
}

/// Where a peer receives. Its port is that of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerEndpoint {
    /// Address on the underlay.
    pub address: IpAddr,
    /// UDP port; `None` while it is not known.
    pub port: Option<u16>,
    /// The other port of an end whose key is elsewhere: with each rotation it goes from one to the other, and nobody configures which
    /// of them it is at.
    pub second: Option<u16>,
}

impl PeerEndpoint {
    /// Whether an end may be at a port without being configured to.
    fn may_be_at(&self, port: u16) -> bool {
        self.second.is_some() && [self.port, self.second].contains(&Some(port))
    }

    /// The port that an end goes to from this one in a rotation.
    #[must_use]
    pub fn after(&self, port: u16) -> Option<u16> {
        let second = self.second?;
        if port == second {
            self.port
        } else {
            Some(second)
        }
    }
}

/// What was read of a tunnel.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tunnel {
    /// Its configuration; `None` if it has what this controller never configures.
    pub config: Option<TunnelConfig>,
    /// Whether peers have a second key, whatever else is configured.
    pub has_next: bool,
    /// UDP port that it is told to receive at, whatever else is configured.
    pub listen_port: Option<u16>,
    /// What it does.
    pub state: TunnelState,
}

impl Tunnel {
    /// Ports of its keys.
    pub(crate) fn receives_at(&self) -> impl Iterator<Item = u16> {
        let state = &self.state;
        let next = state.next.as_ref().map(|(key, _)| key);
        let keys = [state.key.as_ref(), next, state.retiring.as_ref()];
        keys.into_iter().flatten().map(|key| key.listen_port)
    }
}

/// What a tunnel does, as the node tells.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TunnelState {
    /// `up`, `starting`, `down` or `failed`.
    pub oper_state: Option<String>,
    /// Why it is not in force.
    pub last_error: Option<String>,
    /// `kernel`, `userspace` or `simulator`.
    pub backend: Option<String>,
    /// The key in force.
    pub key: Option<OwnKey>,
    /// The key that a rotation prepares, and whether every peer was heard on it.
    pub next: Option<(OwnKey, bool)>,
    /// The key that is going out of use.
    pub retiring: Option<OwnKey>,
    /// The peers by name.
    pub peers: BTreeMap<String, PeerState>,
}

/// What a peer is good for, as the node tells.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PeerState {
    /// `active`, `warm`, `stale` or `down`.
    pub state: Option<String>,
    /// RFC 3339.
    pub latest_handshake: Option<String>,
    /// The same on the second interface of a rotation.
    pub next_handshake: Option<String>,
    /// Microseconds.
    pub rtt_us: Option<u32>,
    /// Octets sent.
    pub tx_bytes: u64,
    /// Octets received.
    pub rx_bytes: u64,
}

impl PeerState {
    /// Whether it answers.
    #[must_use]
    pub fn answers(&self) -> bool {
        matches!(self.state.as_deref(), Some("active" | "warm"))
    }
}

/// How far an edit goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Tunnels without new peers and, where they are new, without what is joined to them.
    Make,
    /// New peers beside those that leave, at hubs and members: whoever is called knows who calls.
    Responders,
    /// What is joined to the tunnels of hubs, before anybody sends to them.
    Join,
    /// New peers beside those that leave, at spokes.
    Callers,
    /// Everything.
    All,
}

impl Stage {
    fn concerns(self, role: Role) -> bool {
        match self {
            Self::Make | Self::All => true,
            Self::Responders => role != Role::Spoke,
            Self::Callers => role == Role::Spoke,
            Self::Join => role.is_hub(),
        }
    }
}

impl TunnelConfig {
    /// With the keys of the peers that are nodes, and the ports of those that have two. What is not known stays what the node has.
    #[must_use]
    pub fn resolve(&self, slice: &str, keys: &Keys, has: Option<&Tunnel>) -> Self {
        let mut resolved = self.clone();
        for (name, peer) in &mut resolved.peers {
            let had = has
                .and_then(|has| has.config.as_ref())
                .and_then(|config| config.peers.get(name));
            let known = |name: &String| keys.get(&(name.clone(), slice.to_owned()));
            let Some(node) = &peer.node else {
                if let Some(endpoint) = &mut peer.endpoint {
                    let had = had.and_then(|had| had.endpoint).and_then(|at| at.port);
                    let called = had.or(known(name).map(|key| key.listen_port));
                    if let Some(port) = called.filter(|port| endpoint.may_be_at(*port)) {
                        endpoint.port = Some(port);
                    }
                    endpoint.second = None;
                }
                continue;
            };
            let known = known(node);
            let port = match (known, had) {
                (Some(key), _) => {
                    peer.public_key = Some(key.public_key.clone());
                    Some(key.listen_port)
                }
                (None, Some(had)) => {
                    peer.public_key.clone_from(&had.public_key);
                    had.endpoint.and_then(|endpoint| endpoint.port)
                }
                (None, None) => None,
            };
            if let Some(endpoint) = &mut peer.endpoint {
                endpoint.port = port;
            }
        }
        resolved
    }

    /// Whether a node has all of it, as far as the node shows it and keys are known.
    #[must_use]
    pub fn is_at(&self, put: Option<&Self>, has: &Tunnel) -> bool {
        let Some(config) = &has.config else {
            return false;
        };
        self.is_like(config)
            && self.attachment == config.attachment
            && config
                .peers
                .keys()
                .all(|name| self.peers.contains_key(name))
            && self.missing(put, config).next().is_none()
    }

    /// The edit of one tunnel that brings it to this stage; `None` if nothing has to change.
    pub(super) fn edit(
        &self,
        slice: &str,
        put: Option<&Self>,
        has: Option<&Tunnel>,
        stage: Stage,
    ) -> Option<String> {
        if !stage.concerns(self.role) {
            return None;
        }
        let mut xml = String::new();
        let config = has.and_then(|has| has.config.as_ref());
        if config.is_some_and(|before| self.is_too_early(before, stage)) {
            return None;
        }
        let stays = |before: &&Self| self.keeps_peers_of(before) || self.turns_from(before);
        let Some(config) = config.filter(stays) else {
            self.write_anew(slice, stage, &mut xml);
            return Some(xml);
        };
        let mut inner = String::new();
        if !self.is_like(config) {
            self.write_scalars(Some(config), &mut inner);
        }
        let joins = matches!(stage, Stage::Join | Stage::All);
        if joins && self.attachment != config.attachment {
            self.attachment.write(&mut inner);
        }
        if stage != Stage::Make {
            self.write_leaving(config, stage, &mut inner);
            for (name, peer) in self.missing(put, config) {
                peer.write_replace(name, &mut inner);
            }
        }
        if inner.is_empty() {
            return None;
        }
        xml.push_str("<tunnel>");
        leaf(&mut xml, "slice", slice);
        xml.push_str(&inner);
        xml.push_str("</tunnel>");
        Some(xml)
    }

    /// Peers that are wanted, known, and not there as they are wanted.
    fn missing<'a>(
        &'a self,
        put: Option<&'a Self>,
        has: &'a Self,
    ) -> impl Iterator<Item = (&'a String, &'a PeerConfig)> {
        self.peers.iter().filter(move |(name, wanted)| {
            let put = put.and_then(|put| put.peers.get(*name));
            // Where it is not known what was put there, what the node does not show is taken to be right.
            let same_secret = put.is_none_or(|put| put.preshared_key == wanted.preshared_key);
            let there = has.peers.get(*name);
            wanted.is_known() && !there.is_some_and(|there| wanted.is_like(there) && same_secret)
        })
    }

    /// The same but for peers and attachment.
    fn is_like(&self, other: &Self) -> bool {
        let scalars = |of: &Self| Self {
            attachment: TunnelAttachment::default(),
            peers: BTreeMap::new(),
            ..of.clone()
        };
        scalars(self) == scalars(other)
    }

    /// Whether the peers of before may stay while it becomes this: else a node would refuse what is in between.
    fn keeps_peers_of(&self, before: &Self) -> bool {
        let same_part = self.role == before.role || self.role.is_hub() && before.role.is_hub();
        same_part && self.layer == before.layer && self.addresses == before.addresses
    }

    /// Whether a hub becomes a spoke or a spoke a hub, and nothing else of what its peers rest on changes.
    fn turns_from(&self, before: &Self) -> bool {
        let parts = (before.role.is_hub(), self.role.is_hub());
        let others = (before.role == Role::Spoke, self.role == Role::Spoke);
        let turns = parts.0 && others.1 || others.0 && parts.1;
        turns && self.layer == before.layer && self.addresses == before.addresses
    }

    /// A hub that becomes a spoke serves until traffic has moved away from it; a spoke that becomes a hub has its peers when it
    /// does.
    fn is_too_early(&self, before: &Self, stage: Stage) -> bool {
        let earliest = match self.role {
            Role::Spoke => stage == Stage::All,
            _ => stage != Stage::Make,
        };
        self.turns_from(before) && !earliest
    }

    fn write_anew(&self, slice: &str, stage: Stage, xml: &mut String) {
        xml.push_str("<tunnel nc:operation=\"replace\">");
        leaf(xml, "slice", slice);
        self.write_scalars(None, xml);
        if matches!(stage, Stage::Join | Stage::All) {
            self.attachment.write(xml);
        }
        let peers = self.peers.iter().filter(|(_, peer)| peer.is_known());
        for (name, peer) in peers.filter(|_| stage != Stage::Make) {
            peer.write_replace(name, xml);
        }
        xml.push_str("</tunnel>");
    }

    fn write_scalars(&self, before: Option<&Self>, xml: &mut String) {
        let gone = |xml: &mut String, name: &str| {
            if before.is_some() {
                xml.push_str(&format!("<{name} nc:operation=\"remove\"/>"));
            }
        };
        leaf(xml, "enabled", "true");
        leaf(xml, "role", self.role.as_str());
        leaf(xml, "layer", self.layer.as_str());
        match self.vni {
            Some(vni) => leaf(xml, "vni", &vni.to_string()),
            None => gone(xml, "vni"),
        }
        leaf(xml, "mtu", &self.mtu.to_string());
        for address in &self.addresses {
            leaf(xml, "address", &address.to_string());
        }
        match self.listen_port {
            Some(port) => leaf(xml, "listen-port", &port.to_string()),
            None => gone(xml, "listen-port"),
        }
        match self.rotation_interval {
            Some(interval) => {
                xml.push_str("<rotation>");
                leaf(xml, "interval", &interval.to_string());
                xml.push_str("</rotation>");
            }
            None if before.is_some() => {
                xml.push_str("<rotation><interval nc:operation=\"remove\"/></rotation>");
            }
            None => {}
        }
        match &self.probe {
            Some(probe) => {
                xml.push_str("<probe>");
                leaf(xml, "interval", &probe.interval.to_string());
                leaf(xml, "misses", &probe.misses.to_string());
                leaf(xml, "hold-down", &probe.hold_down.to_string());
                xml.push_str("</probe>");
            }
            None => gone(xml, "probe"),
        }
    }

    /// Peers that leave: at the last stage they are removed. Before it, one that a better one stands in for stays behind it, and
    /// one that is in the way of what comes goes.
    fn write_leaving(&self, has: &Self, stage: Stage, xml: &mut String) {
        let leaving = has
            .peers
            .iter()
            .filter(|(name, _)| !self.peers.contains_key(*name));
        let taken: BTreeSet<u8> = self.peers.values().filter_map(|p| p.priority).collect();
        let mut free = (0..=u8::MAX).rev().filter(|rank| !taken.contains(rank));
        let group = self.peers.values().find(|peer| peer.priority.is_some());
        for (name, peer) in leaving {
            if stage != Stage::All {
                match (peer.priority, group, free.next()) {
                    (Some(_), Some(group), Some(rank)) if !self.has_key_of(peer) => {
                        peer.write_behind(name, group, rank, xml);
                        continue;
                    }
                    _ if !self.is_in_the_way(peer) => continue,
                    _ => {}
                }
            }
            xml.push_str("<peer nc:operation=\"remove\">");
            leaf(xml, "name", name);
            xml.push_str("</peer>");
        }
    }

    fn has_key_of(&self, other: &PeerConfig) -> bool {
        let mut peers = self.peers.values();
        peers.any(|peer| peer.public_key.is_some() && peer.public_key == other.public_key)
    }

    fn is_in_the_way(&self, leaving: &PeerConfig) -> bool {
        let theirs = leaving.reaches();
        let overlaps = |peer: &PeerConfig| {
            let here = peer.reaches();
            here.iter()
                .any(|one| theirs.iter().any(|other| one.overlaps(*other)))
        };
        self.has_key_of(leaving) || self.peers.values().any(overlaps)
    }
}

impl TunnelAttachment {
    fn write(&self, xml: &mut String) {
        if *self == Self::default() {
            xml.push_str("<attachment nc:operation=\"remove\"/>");
            return;
        }
        xml.push_str("<attachment nc:operation=\"replace\">");
        if let Some(bridge) = &self.bridge {
            leaf(xml, "bridge", bridge);
        }
        if let Some(interface) = &self.interface {
            leaf(xml, "interface", interface);
        }
        if let Some(vlan) = self.vlan {
            leaf(xml, "vlan", &vlan.to_string());
        }
        for gateway in &self.gateways {
            leaf(xml, "gateway", gateway);
        }
        xml.push_str("</attachment>");
    }
}

impl PeerConfig {
    /// Whether it can be configured: its key is known, and its port if it is called.
    fn is_known(&self) -> bool {
        self.public_key.is_some() && self.endpoint.is_none_or(|endpoint| endpoint.port.is_some())
    }

    /// The same, as far as a node shows it.
    fn is_like(&self, there: &Self) -> bool {
        let shown = Self {
            node: None,
            preshared_key: None,
            ..self.clone()
        };
        shown == *there
    }

    fn reaches(&self) -> Vec<Prefix> {
        let prefixes = self.allowed.iter().filter_map(|one| one.parse().ok());
        prefixes
            .chain(self.tunnel_address.map(Prefix::host))
            .collect()
    }

    fn write_replace(&self, name: &str, xml: &mut String) {
        xml.push_str("<peer nc:operation=\"replace\">");
        leaf(xml, "name", name);
        if let Some(key) = &self.public_key {
            leaf(xml, "public-key", key);
        }
        if let Some(key) = &self.preshared_key {
            leaf(xml, "preshared-key", key.reveal());
        }
        if let Some(PeerEndpoint {
            address,
            port: Some(port),
            ..
        }) = self.endpoint
        {
            write_endpoint(address, port, xml);
        }
        if let Some(address) = self.tunnel_address {
            leaf(xml, "tunnel-address", &address.to_string());
        }
        for prefix in &self.allowed {
            leaf(xml, "allowed-prefix", prefix);
        }
        if let Some(priority) = self.priority {
            leaf(xml, "priority", &priority.to_string());
        }
        xml.push_str("</peer>");
    }

    /// Keeps a peer that leaves behind those that come, with their prefixes: a node wants them the same.
    fn write_behind(&self, name: &str, group: &Self, rank: u8, xml: &mut String) {
        xml.push_str("<peer>");
        leaf(xml, "name", name);
        leaf(xml, "priority", &rank.to_string());
        for prefix in self.allowed.difference(&group.allowed) {
            xml.push_str("<allowed-prefix nc:operation=\"remove\">");
            xml.push_str(prefix);
            xml.push_str("</allowed-prefix>");
        }
        for prefix in group.allowed.difference(&self.allowed) {
            leaf(xml, "allowed-prefix", prefix);
        }
        xml.push_str("</peer>");
    }
}

/// Writes an `endpoint` element.
pub(crate) fn write_endpoint(address: IpAddr, port: u16, xml: &mut String) {
    xml.push_str("<endpoint>");
    leaf(xml, "address", &address.to_string());
    leaf(xml, "port", &port.to_string());
    xml.push_str("</endpoint>");
}
