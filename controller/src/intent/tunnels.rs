//! From the backhauls of all slices to the tunnels of every node, or all that is wrong with them. Pure, and without anything
//! that was observed: a node that is away keeps its place among the peers of the others.

mod fresh;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use crate::inventory::{Inventory, NodeConfig, NodeName};

use super::allocate::selected;
use super::backhaul::{Backhaul, ForeignPeer, Hub, Layer, Topology};
use super::tunnel::{PeerConfig, PeerEndpoint, Role, TunnelAttachment, TunnelConfig};
use super::{ErrorKind, Intent, IntentError, Prefix, Slice};
pub(crate) use fresh::{check_rotations, check_tunnel_names};

/// Nodes of a mesh at most: tunnels grow with the square.
const LARGEST_MESH: usize = 16;

/// Tunnels of a node, by slice.
pub type Tunnels = BTreeMap<String, TunnelConfig>;

/// The tunnels of every node that has one.
///
/// # Errors
/// Every fault found, with its path. The places that slices select are the compiler's to check.
pub fn compile_tunnels(
    intent: &Intent,
    inventory: &Inventory,
) -> Result<BTreeMap<NodeName, Tunnels>, Vec<IntentError>> {
    let mut errors = Vec::new();
    let mut nodes: BTreeMap<NodeName, Tunnels> = BTreeMap::new();
    for slice in intent.slices.values() {
        let Some(backhaul) = &slice.backhaul else {
            continue;
        };
        let mut compiler = Compiler::new(slice, backhaul, inventory);
        compiler.check();
        if compiler.errors.is_empty() && slice.enabled {
            for (node, tunnel) in compiler.tunnels() {
                let tunnels = nodes.entry(node.to_owned()).or_default();
                tunnels.insert(slice.id.clone(), tunnel);
            }
        }
        errors.append(&mut compiler.errors);
    }
    for (node, tunnels) in &nodes {
        check_node(node, tunnels, &mut errors);
    }
    if errors.is_empty() {
        Ok(nodes)
    } else {
        Err(errors)
    }
}

/// Keys of ends of the slices that are a node's own: whoever gives such a key as that of a peer means something else.
pub(crate) fn check_keys(intent: &Intent, inventory: &Inventory) -> Vec<IntentError> {
    let mut owners: HashMap<(&str, &str), &str> = HashMap::new();
    for (node, tunnel_of) in &inventory.nodes {
        for (slice, tunnel) in tunnel_of.observed.iter().flat_map(|o| &o.tunnels) {
            let state = &tunnel.state;
            let keys = state
                .key
                .iter()
                .chain(state.next.iter().map(|(key, _)| key));
            for key in keys {
                owners.insert((slice, &key.public_key), node);
            }
        }
    }
    let mut errors = Vec::new();
    for slice in intent.slices.values() {
        let Some(backhaul) = &slice.backhaul else {
            continue;
        };
        for (below, key) in foreign_keys(backhaul) {
            if let Some(node) = owners.get(&(slice.id.as_str(), key)) {
                let message = format!("this is the key of node {node} in this slice");
                errors.push(fault(slice, &below, ErrorKind::KeyClash, message));
            }
        }
    }
    errors
}

/// The keys that the intent gives, and where.
fn foreign_keys(backhaul: &Backhaul) -> impl Iterator<Item = (String, &str)> {
    let hubs = backhaul.hubs.iter().filter_map(|hub| {
        let below = format!("/hub[name='{}']/public-key", hub.name);
        Some((below, hub.public_key.as_deref()?))
    });
    let peers = backhaul.foreign_peers.iter().map(|peer| {
        let below = format!("/foreign-peer[name='{}']/public-key", peer.name);
        (below, peer.public_key.as_str())
    });
    hubs.chain(peers)
}

fn fault(slice: &Slice, below: &str, kind: ErrorKind, message: String) -> IntentError {
    IntentError {
        path: format!(
            "/tranche-slice:slices/slice[id='{}']/backhaul{below}",
            slice.id
        ),
        kind,
        message,
    }
}

/// What two slices on one node must not have in common.
fn check_node(node: &str, tunnels: &Tunnels, errors: &mut Vec<IntentError>) {
    let mut networks: HashMap<u32, &str> = HashMap::new();
    let mut bridges: HashMap<(&str, Option<u16>), &str> = HashMap::new();
    for (slice, tunnel) in tunnels {
        let at = |below: &str| format!("/tranche-slice:slices/slice[id='{slice}']{below}");
        if let Some(other) = tunnel.vni.and_then(|vni| networks.insert(vni, slice)) {
            errors.push(IntentError {
                path: at("/backhaul/vni"),
                kind: ErrorKind::VniClash,
                message: format!("slice {other} has the same vni on node {node}"),
            });
        }
        let bridge = tunnel.attachment.bridge.as_deref();
        let bridge = bridge.map(|bridge| (bridge, tunnel.attachment.vlan));
        if let Some(other) = bridge.and_then(|bridge| bridges.insert(bridge, slice)) {
            errors.push(IntentError {
                path: at("/wifi/attachment/bridge"),
                kind: ErrorKind::BridgeClash,
                message: format!(
                    "slice {other} has a backhaul from the same bridge of node {node} without another VLAN: their frames would mix"
                ),
            });
        }
    }
}

struct Compiler<'a> {
    slice: &'a Slice,
    backhaul: &'a Backhaul,
    inventory: &'a Inventory,
    /// Nodes with access points.
    selected: BTreeSet<&'a str>,
    errors: Vec<IntentError>,
}

impl<'a> Compiler<'a> {
    fn new(slice: &'a Slice, backhaul: &'a Backhaul, inventory: &'a Inventory) -> Self {
        Self {
            slice,
            backhaul,
            inventory,
            selected: selected(slice, inventory),
            errors: Vec::new(),
        }
    }

    fn fault(&mut self, below: &str, kind: ErrorKind, message: impl Into<String>) {
        self.errors
            .push(fault(self.slice, below, kind, message.into()));
    }

    fn check(&mut self) {
        self.check_hubs();
        self.check_names();
        self.check_keys();
        let pools = self.check_pools();
        self.check_prefixes();
        if let Some(pool) = pools {
            self.check_allocations(pool);
        }
        if self.backhaul.topology == Topology::Mesh && self.selected.len() > LARGEST_MESH {
            let message = format!(
                "a mesh has at most {LARGEST_MESH} nodes, and the slice is on {}",
                self.selected.len()
            );
            self.fault("/topology", ErrorKind::MeshTooLarge, message);
        }
        if self.slice.enabled {
            self.check_underlay();
        }
    }

    fn check_hubs(&mut self) {
        let (mut nodes, mut ranks) = (BTreeMap::new(), BTreeMap::new());
        for hub in &self.backhaul.hubs {
            let below = format!("/hub[name='{}']", hub.name);
            if let Some(node) = hub.node.as_deref() {
                match self.inventory.nodes.get(node) {
                    None => {
                        let message = format!("node {node} is not in the inventory");
                        self.fault(&format!("{below}/node"), ErrorKind::UnknownNode, message);
                    }
                    Some(found) if !found.config.enabled => {
                        let message = format!("node {node} is disabled");
                        self.fault(&format!("{below}/node"), ErrorKind::DisabledNode, message);
                    }
                    Some(_) => {}
                }
                if let Some(other) = nodes.insert(node, &hub.name) {
                    let message = format!("node {node} is hub {other} already");
                    self.fault(&format!("{below}/node"), ErrorKind::HubClash, message);
                }
            }
            if let Some(other) = ranks.insert(hub.priority, &hub.name) {
                let message = format!("hub {other} has the priority {} too", hub.priority);
                let below = format!("{below}/priority");
                self.fault(&below, ErrorKind::PriorityClash, message);
            }
        }
    }

    /// Peers are told apart by their names.
    fn check_names(&mut self) {
        let mut nodes: BTreeSet<&str> = self.selected.clone();
        nodes.extend(self.backhaul.hubs.iter().filter_map(|h| h.node.as_deref()));
        let tenants = self.backhaul.hubs.iter().filter(|hub| hub.node.is_none());
        let tenants = tenants.map(|hub| ("hub", hub.name.as_str()));
        let peers = self.backhaul.foreign_peers.iter();
        let peers = peers.map(|peer| ("foreign-peer", peer.name.as_str()));
        let mut taken = nodes;
        for (list, name) in tenants.chain(peers) {
            if !taken.insert(name) {
                let message = format!("another end of the slice's tunnels is called {name}");
                let below = format!("/{list}[name='{name}']/name");
                self.fault(&below, ErrorKind::PeerNameClash, message);
            }
        }
    }

    fn check_keys(&mut self) {
        let mut owners: HashMap<&str, String> = HashMap::new();
        for (below, key) in foreign_keys(self.backhaul) {
            if let Some(other) = owners.insert(key, below.clone()) {
                let message = format!("{} is the same", other.trim_start_matches('/'));
                self.fault(&below, ErrorKind::KeyClash, message);
            }
        }
    }

    /// The pool, if it is one.
    fn check_pools(&mut self) -> Option<Prefix> {
        let pool = self.prefix("/pool", &self.backhaul.pool);
        let client_pool = self.backhaul.client_pool.as_ref();
        let client_pool = client_pool.and_then(|written| self.prefix("/client-pool", written));
        if let Some((pool, clients)) = pool.zip(client_pool)
            && pool.overlaps(clients)
        {
            let message = format!("it overlaps the pool {pool}");
            self.fault("/client-pool", ErrorKind::PoolOverlap, message);
        }
        if let Some((clients, length)) = client_pool.zip(self.backhaul.client_prefix_length)
            && clients.subnets(length).next().is_none()
        {
            let message = format!("the client-pool {clients} has no prefix of {length} bits");
            let below = "/client-prefix-length";
            self.fault(below, ErrorKind::BadPrefix, message);
        }
        for (below, prefix) in [("/pool", pool), ("/client-pool", client_pool)] {
            if let Some(prefix) = prefix {
                self.check_covers(below, prefix);
            }
        }
        pool
    }

    fn check_prefixes(&mut self) {
        let mesh = self.backhaul.topology == Topology::Mesh;
        for hub in &self.backhaul.hubs {
            for written in &hub.prefixes {
                let below = format!("/hub[name='{}']/prefix[.='{written}']", hub.name);
                self.check_prefix(&below, written, !mesh);
            }
        }
        let mut taken: Vec<(Prefix, &str)> = Vec::new();
        for peer in &self.backhaul.foreign_peers {
            for written in &peer.allowed_prefixes {
                let below = format!(
                    "/foreign-peer[name='{}']/allowed-prefix[.='{written}']",
                    peer.name
                );
                let Some(prefix) = self.check_prefix(&below, written, false) else {
                    continue;
                };
                let pools = [
                    Some(&self.backhaul.pool),
                    self.backhaul.client_pool.as_ref(),
                ];
                let pools = pools.into_iter().flatten();
                let pools = pools.filter_map(|one| one.parse::<Prefix>().ok());
                let others = taken.iter().filter(|(_, other)| *other != peer.name);
                let clash = pools
                    .map(|pool| (pool, "a pool of the slice".to_owned()))
                    .chain(others.map(|(one, other)| (*one, format!("a prefix of {other}"))))
                    .find(|(other, _)| other.overlaps(prefix));
                if let Some((other, whose)) = clash {
                    let message = format!("it overlaps {other}, {whose}");
                    self.fault(&below, ErrorKind::PoolOverlap, message);
                }
                taken.push((prefix, &peer.name));
            }
        }
    }

    fn check_prefix(&mut self, below: &str, written: &str, default: bool) -> Option<Prefix> {
        let prefix = self.prefix(below, written)?;
        if prefix.is_default() {
            if !default {
                let message =
                    "a default route would take the whole slice there: only a hub may have one";
                self.fault(below, ErrorKind::DefaultRoute, message);
            }
            return Some(prefix);
        }
        self.check_covers(below, prefix);
        Some(prefix)
    }

    fn prefix(&mut self, below: &str, written: &str) -> Option<Prefix> {
        match written.parse::<Prefix>() {
            Err(error) => {
                self.fault(below, ErrorKind::BadPrefix, error.to_string());
                None
            }
            Ok(prefix) if prefix.has_host_bits() => {
                let message = format!(
                    "bits are set beyond the length: {} is meant?",
                    prefix.network()
                );
                self.fault(below, ErrorKind::HostBits, message);
                None
            }
            Ok(prefix) => Some(prefix),
        }
    }

    /// Packets to the underlay would go into the tunnel that they carry.
    fn check_covers(&mut self, below: &str, prefix: Prefix) {
        let nodes = self.nodes();
        let ours = nodes.filter_map(|node| Some((node.name.as_str(), underlay(node)?)));
        let hubs = self.backhaul.hubs.iter();
        let tenants = hubs.filter_map(|hub| Some((hub.name.as_str(), hub.address?)));
        let peers = self.backhaul.foreign_peers.iter();
        let peers = peers.filter_map(|peer| Some((peer.name.as_str(), peer.endpoint?.address)));
        let mut all = ours.chain(tenants).chain(peers);
        if let Some((name, address)) = all.find(|(_, address)| prefix.contains(*address)) {
            let message = format!("the underlay address {address} of {name} is in this prefix");
            self.fault(below, ErrorKind::CoversUnderlay, message);
        }
    }

    fn check_allocations(&mut self, pool: Prefix) {
        let clients = self.backhaul.client_pool.as_ref();
        let clients: Option<Prefix> = clients.and_then(|pool| pool.parse().ok());
        let mut taken: Vec<(Prefix, &str)> = Vec::new();
        for one in &self.backhaul.allocations {
            let below = format!("/allocation[name='{}']", one.name);
            if !pool.contains(one.address) {
                let message = format!("{} is not in the pool {pool}", one.address);
                self.fault(&format!("{below}/address"), ErrorKind::OutsidePool, message);
            }
            let Some(written) = &one.client_prefix else {
                continue;
            };
            let below = format!("{below}/client-prefix");
            let Some(prefix) = self.prefix(&below, written) else {
                continue;
            };
            if !clients.is_some_and(|clients| clients.covers(prefix)) {
                let message = format!("{prefix} is not in the client-pool");
                self.fault(&below, ErrorKind::OutsidePool, message);
            }
            if let Some((_, other)) = taken.iter().find(|(other, _)| other.overlaps(prefix)) {
                let message = format!("{prefix} overlaps what {other} has");
                self.fault(&below, ErrorKind::PoolOverlap, message);
            }
            taken.push((prefix, &one.name));
        }
    }

    /// Whoever is called needs an address that can be called.
    fn check_underlay(&mut self) {
        let called: Vec<(String, &NodeConfig)> = match self.backhaul.topology {
            Topology::HubAndSpoke => {
                let hubs = self.backhaul.hubs.iter();
                hubs.filter_map(|hub| {
                    let node = self.inventory.nodes.get(hub.node.as_deref()?)?;
                    Some((format!("/hub[name='{}']/node", hub.name), &node.config))
                })
                .collect()
            }
            Topology::Mesh => self
                .nodes()
                .map(|node| ("/topology".to_owned(), node))
                .collect(),
        };
        for (below, node) in called {
            if underlay(node).is_none() {
                let message = format!(
                    "node {} is called by others and has no address that is no host name: give it an underlay/address",
                    node.name
                );
                self.fault(&below, ErrorKind::NoUnderlay, message);
            }
        }
    }

    /// All nodes that have an end.
    fn nodes(&self) -> impl Iterator<Item = &'a NodeConfig> + use<'a> {
        let mut names = self.selected.clone();
        names.extend(self.backhaul.hubs.iter().filter_map(|h| h.node.as_deref()));
        let inventory = self.inventory;
        let found = names.into_iter().filter_map(|n| inventory.nodes.get(n));
        found
            .map(|node| &node.config)
            .filter(|config| config.enabled)
    }

    fn tunnels(&self) -> Vec<(&'a str, TunnelConfig)> {
        let nodes = self.nodes();
        nodes
            .filter_map(|node| Some((node.name.as_str(), self.tunnel(node)?)))
            .collect()
    }

    /// `None` for a node without an allocation, which the allocator gives everybody.
    fn tunnel(&self, node: &NodeConfig) -> Option<TunnelConfig> {
        let backhaul = self.backhaul;
        let own = backhaul.allocation(&node.name)?;
        let hub = backhaul.hub_at(&node.name);
        let best = backhaul.hubs.iter().map(|hub| hub.priority).min();
        let role = match (backhaul.topology, hub) {
            (Topology::Mesh, _) => Role::Member,
            (_, Some(hub)) if Some(hub.priority) == best => Role::Hub,
            (_, Some(_)) => Role::StandbyHub,
            (_, None) => Role::Spoke,
        };
        let peers = match role {
            Role::Spoke => self.hub_peers().collect(),
            Role::Hub | Role::StandbyHub | Role::Member => self.other_peers(node).collect(),
        };
        Some(TunnelConfig {
            role,
            layer: backhaul.layer,
            vni: backhaul.vni.filter(|_| backhaul.layer == Layer::L2Vxlan),
            mtu: backhaul.mtu,
            addresses: [own.address].into(),
            listen_port: own.listen_port,
            attachment: self.attachment(node, hub, own.client_prefix.as_deref()),
            probe: Some(backhaul.probe),
            rotation_interval: backhaul.rotation.interval,
            peers,
        })
    }

    fn attachment(
        &self,
        node: &NodeConfig,
        hub: Option<&Hub>,
        clients: Option<&str>,
    ) -> TunnelAttachment {
        if let Some(own) = hub.map(|hub| &hub.attachment)
            && (own.bridge.is_some() || own.interface.is_some())
        {
            return TunnelAttachment {
                bridge: own.bridge.clone(),
                interface: own.interface.clone(),
                vlan: None,
                gateways: own.gateways.iter().cloned().collect(),
            };
        }
        let wifi = self.slice.wifi.as_ref();
        let Some(wired) = wifi.map(|wifi| &wifi.attachment) else {
            return TunnelAttachment::default();
        };
        if !self.selected.contains(node.name.as_str()) || wired.bridge.is_none() {
            return TunnelAttachment::default();
        }
        let gateway = clients.and_then(|clients| {
            let prefix: Prefix = clients.parse().ok()?;
            let first = prefix.hosts().next()?;
            Some(format!("{first}/{}", prefix.length))
        });
        TunnelAttachment {
            bridge: wired.bridge.clone(),
            interface: None,
            vlan: wired.vlan,
            gateways: gateway.into_iter().collect(),
        }
    }

    /// What a spoke is a peer of: each hub, which has everything of the slice behind it.
    fn hub_peers(&self) -> impl Iterator<Item = (String, PeerConfig)> {
        let behind = self.behind_hubs();
        self.backhaul.hubs.iter().filter_map(move |hub| {
            let endpoint = match &hub.node {
                Some(node) => PeerEndpoint {
                    address: underlay(&self.inventory.nodes.get(node)?.config)?,
                    port: None,
                    second: None,
                },
                None => PeerEndpoint {
                    address: hub.address?,
                    port: hub.port,
                    second: hub.second_port,
                },
            };
            let peer = PeerConfig {
                node: hub.node.clone(),
                public_key: hub.public_key.clone(),
                endpoint: Some(endpoint),
                tunnel_address: Some(self.backhaul.allocation(hub.peer())?.address),
                allowed: behind.clone(),
                // Also of an only hub: another one can be put beside it then.
                priority: Some(hub.priority),
                ..PeerConfig::default()
            };
            Some((hub.peer().to_owned(), peer))
        })
    }

    fn behind_hubs(&self) -> BTreeSet<String> {
        let backhaul = self.backhaul;
        let hubs = backhaul.hubs.iter().flat_map(|hub| &hub.prefixes);
        let peers = backhaul.foreign_peers.iter();
        let peers = peers.flat_map(|peer| &peer.allowed_prefixes);
        let pools = [&backhaul.pool].into_iter().chain(&backhaul.client_pool);
        let all: BTreeSet<Prefix> = pools
            .chain(hubs)
            .chain(peers)
            .filter_map(|written| written.parse().ok())
            .collect();
        let is_covered = |one: &&Prefix| {
            let mut others = all.iter().filter(|other| other != one);
            others.any(|other| other.covers(**one))
        };
        all.iter()
            .filter(|one| !is_covered(one))
            .map(Prefix::to_string)
            .collect()
    }

    /// Peers of a hub (the spokes, which call) or of a member (the others, which are called), and those of elsewhere.
    fn other_peers(&self, of: &NodeConfig) -> impl Iterator<Item = (String, PeerConfig)> {
        let mesh = self.backhaul.topology == Topology::Mesh;
        let of = of.name.clone();
        let nodes = self
            .nodes()
            .filter(move |node| node.name != of && self.backhaul.hub_at(&node.name).is_none());
        let nodes = nodes.filter_map(move |node| {
            let given = self.backhaul.allocation(&node.name)?;
            let endpoint = || {
                let address = underlay(node)?;
                Some(PeerEndpoint {
                    address,
                    port: None,
                    second: None,
                })
            };
            let peer = PeerConfig {
                node: Some(node.name.clone()),
                endpoint: if mesh { endpoint() } else { None },
                tunnel_address: Some(given.address),
                allowed: given.client_prefix.iter().cloned().collect(),
                ..PeerConfig::default()
            };
            Some((node.name.clone(), peer))
        });
        let foreign = self.backhaul.foreign_peers.iter();
        nodes.chain(foreign.filter_map(|peer| self.foreign(peer)))
    }

    fn foreign(&self, peer: &ForeignPeer) -> Option<(String, PeerConfig)> {
        let endpoint = peer.endpoint.map(|endpoint| PeerEndpoint {
            address: endpoint.address,
            port: Some(endpoint.port),
            second: endpoint.second_port,
        });
        let config = PeerConfig {
            public_key: Some(peer.public_key.clone()),
            preshared_key: peer.preshared_key.clone(),
            endpoint,
            tunnel_address: Some(self.backhaul.allocation(&peer.name)?.address),
            allowed: peer.allowed_prefixes.iter().cloned().collect(),
            ..PeerConfig::default()
        };
        Some((peer.name.clone(), config))
    }
}

/// Where tunnels reach a node.
pub(crate) fn underlay(node: &NodeConfig) -> Option<IpAddr> {
    node.underlay.address.or_else(|| node.address.parse().ok())
}

#[cfg(test)]
#[path = "tunnels_tests.rs"]
mod tests;
