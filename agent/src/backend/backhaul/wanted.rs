//! From what is configured, remembered and found out to the network that a slice should have. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::Prefix;
use super::config::{AttachmentConfig, EndpointConfig, Layer, PeerConfig, Role, TunnelConfig};
use super::key::{PresharedKey, PublicKey};
use super::plane::{
    Attachment, BackendInUse, METRIC, METRIC_NEXT, Outer, Place, SliceNet, TunnelInterface, Vxlan,
    WgPeer,
};
use super::record::{Generation, Record};

/// Peers of one set of prefixes, by that set; the best that answers has them.
pub(super) type Group = Vec<Prefix>;

/// The peer that has the prefixes of each group.
pub(super) type ActivePeers = BTreeMap<Group, String>;

/// What WireGuard takes away of a packet over an underlay of IPv6, the outer VXLAN headers with addresses of each family.
const VXLAN_OVER_IPV4: u16 = 50;
const VXLAN_OVER_IPV6: u16 = 70;

/// Which of a peer's two sets of parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Those in force.
    Current,
    /// Those of the second interface.
    Next,
}

/// How a peer is reached on one of the interfaces.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Link<'a> {
    pub(super) public_key: PublicKey,
    pub(super) preshared_key: Option<&'a PresharedKey>,
    pub(super) endpoint: Option<EndpointConfig>,
}

/// How a peer is reached on a side; `None` if nobody has said so yet.
pub(super) fn link<'a>(peer: &'a PeerConfig, record: &Record, side: Side) -> Option<Link<'a>> {
    let own = Link {
        public_key: peer.public_key,
        preshared_key: peer.preshared_key.as_ref(),
        endpoint: peer.endpoint,
    };
    let next = peer.next.as_ref().map(|next| Link {
        public_key: next.public_key,
        preshared_key: next.preshared_key.as_ref().or(peer.preshared_key.as_ref()),
        endpoint: next.endpoint,
    });
    // What is configured as next may be in force already.
    let (turned, next) = match next {
        Some(next) if record.turned.contains(&next.public_key) => (Some(next), None),
        next => (None, next),
    };
    match side {
        Side::Current => turned.or(Some(own)),
        Side::Next => next,
    }
}

/// The prefixes of a peer; what is no prefix was refused before.
pub(super) fn prefixes(peer: &PeerConfig) -> Group {
    let parsed = peer
        .allowed_prefixes
        .iter()
        .filter_map(|one| one.parse().ok());
    let mut prefixes: Vec<Prefix> = parsed.collect();
    prefixes.sort_unstable();
    prefixes.dedup();
    prefixes
}

/// The group of a peer, if others may have the same prefixes.
pub(super) fn group(peer: &PeerConfig) -> Option<Group> {
    peer.priority.map(|_| prefixes(peer))
}

/// What a peer may send and is sent now.
pub(super) fn allowed(peer: &PeerConfig, active: &ActivePeers) -> Vec<Prefix> {
    let mut allowed: Vec<Prefix> = peer.tunnel_address.map(Prefix::host).into_iter().collect();
    let has_prefixes = match group(peer) {
        None => true,
        Some(group) => active.get(&group) == Some(&peer.name),
    };
    if has_prefixes {
        allowed.extend(prefixes(peer));
    }
    allowed.sort_unstable();
    allowed.dedup();
    allowed
}

/// Largest packet of the attached segment.
pub(super) fn segment_mtu(config: &TunnelConfig) -> u16 {
    let over_ipv4 = config.addresses.first().is_none_or(IpAddr::is_ipv4);
    match (config.layer, over_ipv4) {
        (Layer::L3, _) => config.mtu,
        (Layer::L2Vxlan, true) => config.mtu.saturating_sub(VXLAN_OVER_IPV4),
        (Layer::L2Vxlan, false) => config.mtu.saturating_sub(VXLAN_OVER_IPV6),
    }
}

/// What a network is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Means<'a> {
    pub(super) backend: BackendInUse,
    /// What the names of its tunnel interfaces begin with.
    pub(super) prefix: &'a str,
}

/// The network that a slice should have. `before` is what was configured before, for peers that move.
pub(super) fn net(
    config: &TunnelConfig,
    before: Option<&TunnelConfig>,
    record: &Record,
    active: &ActivePeers,
    means: Means<'_>,
) -> SliceNet {
    let peers = |side| {
        let wanted = config.peers.iter().filter_map(|peer| {
            let now = link(peer, record, side)?;
            let earlier = before
                .and_then(|config| config.peer(&peer.name))
                .and_then(|peer| link(peer, record, side));
            Some(WgPeer {
                public_key: now.public_key,
                preshared_key: now.preshared_key.cloned(),
                endpoint: match now.endpoint {
                    Some(endpoint) => Some(endpoint.into()),
                    None => record.heard.get(&now.public_key).copied(),
                },
                // One that is not configured any more is no other one: the peer is left where it is.
                moves: now.endpoint.is_some()
                    && earlier.is_some_and(|earlier| earlier.endpoint != now.endpoint),
                keepalive_s: peer.persistent_keepalive_s,
                allowed: allowed(peer, active),
            })
        });
        Some(wanted.collect())
    };
    let interface = |generation: &Generation, peers, metric| TunnelInterface {
        name: generation.interface(means.prefix),
        key: generation.key.clone(),
        port: generation.port,
        peers,
        metric,
    };
    let mut interfaces = vec![interface(&record.current, peers(Side::Current), METRIC)];
    if let Some(next) = &record.next {
        interfaces.push(interface(next, peers(Side::Next), METRIC_NEXT));
    }
    if let Some(retiring) = &record.retiring {
        interfaces.push(interface(retiring, None, METRIC_NEXT));
    }
    SliceNet {
        slice: config.slice.clone(),
        place: match &config.management {
            None => Place::Slice,
            Some(management) => Place::Node {
                ports: management.ports.clone(),
            },
        },
        role: config.role,
        backend: means.backend,
        addresses: config.addresses.clone(),
        mtu: config.mtu,
        interfaces,
        vxlan: vxlan(config, active),
        attachment: attachment(&config.attachment, segment_mtu(config)),
    }
}

/// Of gateways that stand in for each other, frames go to the one that has the prefixes: others would pass them on too.
fn vxlan(config: &TunnelConfig, active: &ActivePeers) -> Option<Vxlan> {
    let (local, vni) = (*config.addresses.first()?, config.vni?);
    if config.layer != Layer::L2Vxlan {
        return None;
    }
    let stands_by = |peer: &&PeerConfig| {
        group(peer).is_some_and(|group| active.get(&group) != Some(&peer.name))
    };
    let peers = config.peers.iter().filter(|peer| !stands_by(peer));
    let remotes = peers.filter_map(|peer| peer.tunnel_address);
    let mut remotes: Vec<IpAddr> = remotes
        .filter(|remote| remote.is_ipv4() == local.is_ipv4())
        .collect();
    remotes.sort_unstable();
    Some(Vxlan {
        vni,
        mtu: segment_mtu(config),
        local,
        remotes,
        relays: matches!(config.role, Role::Hub | Role::StandbyHub),
    })
}

/// The node's end of an attachment, if there is to be one.
pub(super) fn outer(config: &AttachmentConfig) -> Option<Outer> {
    match (&config.bridge, &config.interface) {
        (Some(bridge), _) => Some(Outer::Bridge {
            name: bridge.clone(),
            vlan: config.vlan,
        }),
        (None, Some(interface)) => Some(Outer::Interface(interface.clone())),
        (None, None) => None,
    }
}

fn attachment(config: &AttachmentConfig, mtu: u16) -> Option<Attachment> {
    let outer = outer(config)?;
    let gateways = config.gateways.iter().filter_map(|one| one.parse().ok());
    Some(Attachment {
        outer,
        gateways: gateways.collect(),
        mtu,
    })
}
