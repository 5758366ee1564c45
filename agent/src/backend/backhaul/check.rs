//! What makes no sense for a tunnel, beyond what the schema can say. Pure; every refusal has the path of the node at fault.

mod management;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use super::config::{
    AttachmentConfig, BackhaulConfig, EndpointConfig, PeerConfig, Role, TunnelConfig,
};
use super::key::PublicKey;
use super::record::{Own, OwnKey};
use super::wanted::{prefixes, segment_mtu};
use super::{Prefix, Written};
use crate::backend::wifi::WifiConfig;
use crate::backend::{Refusal, Why};

/// Smallest packet that every IPv4 and IPv6 link must carry.
const SMALLEST_IPV4: u16 = 576;
const SMALLEST_IPV6: u16 = 1280;

/// The keys and ports that this node has, by slice.
pub(super) type OwnKeys = HashMap<String, Own>;

type Checked = Result<(), Refusal>;

/// Path of a tunnel.
pub(super) fn path(slice: &str) -> String {
    format!("/tranche-backhaul:backhaul/tunnel[slice='{slice}']")
}

/// Path of a peer.
pub(super) fn peer_path(slice: &str, peer: &str) -> String {
    format!("{}/peer[name='{peer}']", path(slice))
}

/// Checks a configuration against itself and against the keys that the node has; `before` is the one that is in force.
///
/// # Errors
/// The first thing that makes no sense.
pub(super) fn check(
    config: &BackhaulConfig,
    before: &BackhaulConfig,
    wifi: &WifiConfig,
    own: &OwnKeys,
) -> Checked {
    for tunnel in &config.tunnels {
        check_tunnel(tunnel, own)?;
    }
    management::check_routes(config)?;
    check_ports(config, before, own)?;
    check_attachments(config, wifi)
}

fn bad(path: impl Into<String>, message: impl Into<String>) -> Refusal {
    Refusal::new(path, message).because(Why::BadValue)
}

fn check_tunnel(tunnel: &TunnelConfig, own: &OwnKeys) -> Checked {
    check_addresses(tunnel)?;
    check_mtu(tunnel)?;
    check_gateways(tunnel)?;
    let own = own.get(&tunnel.slice).map_or(&[][..], |own| &own.keys);
    let mut tunnel_addresses: BTreeMap<IpAddr, &str> = BTreeMap::new();
    for peer in &tunnel.peers {
        check_keys(tunnel, peer, own)?;
        check_endpoints(tunnel, peer)?;
        check_prefixes(tunnel, peer)?;
        let Some(address) = peer.tunnel_address else {
            continue;
        };
        let at = format!("{}/tunnel-address", peer_path(&tunnel.slice, &peer.name));
        if let Some(other) = tunnel_addresses.insert(address, &peer.name) {
            return Err(bad(
                at,
                format!("{address} is the address of peer {other} too"),
            ));
        }
        check_inner_address(&at, address)?;
        if tunnel.addresses.contains(&address) {
            return Err(bad(
                at,
                format!("{address} is the address of this node itself"),
            ));
        }
    }
    check_overlaps(tunnel)
}

fn check_addresses(tunnel: &TunnelConfig) -> Checked {
    let at = |address| format!("{}/address[.='{address}']", path(&tunnel.slice));
    tunnel
        .addresses
        .iter()
        .try_for_each(|address| check_inner_address(&at(address), *address))
}

/// An address that a host can have.
fn check_inner_address(at: &str, address: IpAddr) -> Checked {
    let is_broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    if address.is_unspecified() || address.is_multicast() || address.is_loopback() || is_broadcast {
        return Err(bad(at, format!("{address} is no address of a host")));
    }
    Ok(())
}

fn check_mtu(tunnel: &TunnelConfig) -> Checked {
    let has_ipv6 = tunnel.addresses.iter().any(IpAddr::is_ipv6);
    let at = || format!("{}/mtu", path(&tunnel.slice));
    if has_ipv6 && tunnel.mtu < SMALLEST_IPV6 {
        let message = format!("an IPv6 address needs an mtu of {SMALLEST_IPV6}");
        return Err(bad(at(), message));
    }
    let segment = segment_mtu(tunnel);
    let gateways = tunnel.attachment.gateways.iter();
    let smallest = match gateways
        .filter_map(|one| one.parse().ok())
        .any(|one| one.address.is_ipv6())
    {
        true => SMALLEST_IPV6,
        false => SMALLEST_IPV4,
    };
    if segment < smallest {
        let message = format!(
            "VXLAN leaves {segment} octets of an mtu of {} for the attached segment, which needs {smallest}",
            tunnel.mtu
        );
        return Err(bad(at(), message));
    }
    Ok(())
}

fn check_gateways(tunnel: &TunnelConfig) -> Checked {
    for gateway in &tunnel.attachment.gateways {
        let at = format!(
            "{}/attachment/gateway[.='{}']",
            path(&tunnel.slice),
            gateway.0
        );
        let address = gateway
            .parse()
            .map_err(|error| bad(&*at, error.to_string()))?;
        check_inner_address(&at, address.address)?;
    }
    Ok(())
}

fn check_keys(tunnel: &TunnelConfig, peer: &PeerConfig, own: &[OwnKey]) -> Checked {
    let at = peer_path(&tunnel.slice, &peer.name);
    let next = peer.next.as_ref().map(|next| next.public_key);
    let keys = [
        ("public-key", Some(peer.public_key)),
        ("next/public-key", next),
    ];
    for (leaf, key) in keys {
        let Some(key) = key else { continue };
        let at = format!("{at}/{leaf}");
        if key == PublicKey([0; 32]) {
            return Err(bad(at, "a key of zeros is no key"));
        }
        if key.is_low_order() {
            return Err(bad(
                at,
                "this key is of low order: everybody could read the traffic",
            ));
        }
        if own.iter().any(|own| own.public_key == key) {
            return Err(bad(at, "this is the key of this node itself"));
        }
        let others = tunnel.peers.iter().filter(|other| other.name != peer.name);
        let has_it = |other: &&PeerConfig| {
            let next = other.next.as_ref().map(|next| next.public_key);
            other.public_key == key || next == Some(key)
        };
        if let Some(other) = others.into_iter().find(has_it) {
            return Err(bad(
                at,
                format!("this is the key of peer {} too", other.name),
            ));
        }
    }
    Ok(())
}

fn check_endpoints(tunnel: &TunnelConfig, peer: &PeerConfig) -> Checked {
    let at = peer_path(&tunnel.slice, &peer.name);
    let next = peer.next.as_ref().and_then(|next| next.endpoint);
    for (leaf, endpoint) in [("endpoint", peer.endpoint), ("next/endpoint", next)] {
        let Some(EndpointConfig { address, port }) = endpoint else {
            continue;
        };
        let at = format!("{at}/{leaf}");
        let is_broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
        if address.is_unspecified() || address.is_multicast() || is_broadcast {
            let message = format!("nobody can be called at {address}");
            return Err(bad(format!("{at}/address"), message));
        }
        if port == 0 {
            return Err(bad(format!("{at}/port"), "nobody can be called at port 0"));
        }
    }
    Ok(())
}

fn check_prefixes(tunnel: &TunnelConfig, peer: &PeerConfig) -> Checked {
    for written in &peer.allowed_prefixes {
        let at = prefix_path(tunnel, peer, written);
        let prefix = written
            .parse()
            .map_err(|error| bad(&*at, error.to_string()))?;
        if prefix.network() != prefix {
            let message = format!(
                "bits are set beyond the length: {} is meant?",
                prefix.network()
            );
            return Err(bad(at, message));
        }
        if prefix.is_default() {
            if tunnel.management.is_some() {
                let message =
                    "a default route over a management tunnel would take the node's own traffic";
                return Err(bad(at, message));
            }
            if tunnel.role != Role::Spoke {
                let message = "a default route would take the whole slice to one peer: only a spoke may have one";
                return Err(bad(at, message));
            }
            continue;
        }
        if let Some(inside) = endpoints(tunnel).find(|one| prefix.contains(one.address)) {
            let message = format!("the endpoint {} is in this prefix", inside.address);
            return Err(bad(at, message));
        }
        let own = tunnel
            .addresses
            .iter()
            .find(|own| Prefix::host(**own) == prefix);
        if let Some(own) = own {
            return Err(bad(at, format!("{own} is the address of this node itself")));
        }
        // One that is shorter may hold it: WireGuard and routes take the longest.
        let is_address =
            |other: &&PeerConfig| other.tunnel_address.map(Prefix::host) == Some(prefix);
        let mut others = tunnel.peers.iter().filter(|other| other.name != peer.name);
        if let Some(other) = others.find(is_address) {
            let message = format!("{} is the address of peer {}", prefix.address, other.name);
            return Err(bad(at, message));
        }
    }
    Ok(())
}

/// Where the peers of a tunnel are called, now or next.
fn endpoints(tunnel: &TunnelConfig) -> impl Iterator<Item = EndpointConfig> {
    tunnel.peers.iter().flat_map(|peer| {
        let next = peer.next.as_ref().and_then(|next| next.endpoint);
        [peer.endpoint, next].into_iter().flatten()
    })
}

fn prefix_path(tunnel: &TunnelConfig, peer: &PeerConfig, written: &Written) -> String {
    let peer = peer_path(&tunnel.slice, &peer.name);
    format!("{peer}/allowed-prefix[.='{}']", written.0)
}

/// WireGuard would silently give what two peers have to the one that was told of last.
fn check_overlaps(tunnel: &TunnelConfig) -> Checked {
    for (index, peer) in tunnel.peers.iter().enumerate() {
        for other in &tunnel.peers[..index] {
            let (here, there) = (prefixes(peer), prefixes(other));
            let clash = peer.allowed_prefixes.iter().find_map(|written| {
                let prefix = written.parse().ok()?;
                let other = there.iter().find(|other| other.overlaps(prefix))?;
                Some((written, *other))
            });
            let Some((written, with)) = clash else {
                continue;
            };
            let at = prefix_path(tunnel, peer, written);
            let whose = format!("{with} of peer {}", other.name);
            match (peer.priority, other.priority) {
                (Some(one), Some(two)) if one == two => {
                    let message = format!("it overlaps {whose}, which has the same priority");
                    return Err(bad(at, message));
                }
                (Some(_), Some(_)) if here != there => {
                    let message = format!(
                        "it overlaps {whose}: peers that stand in for each other need the same prefixes"
                    );
                    return Err(bad(at, message));
                }
                (Some(_), Some(_)) => {}
                _ => return Err(bad(at, format!("it overlaps {whose}"))),
            }
        }
    }
    Ok(())
}

/// A port that another tunnel receives at already, though nobody configured it there. One that stays configured after a rotation
/// has left it is nobody's reason to refuse a change of something else.
fn check_ports(config: &BackhaulConfig, before: &BackhaulConfig, own: &OwnKeys) -> Checked {
    for tunnel in &config.tunnels {
        let Some(port) = tunnel.listen_port else {
            continue;
        };
        let earlier = before.tunnel(&tunnel.slice);
        let is_news = earlier.and_then(|tunnel| tunnel.listen_port) != Some(port);
        let in_force = own.get(&tunnel.slice).and_then(|own| own.keys.first());
        if !is_news && in_force.is_none_or(|key| key.port != port) {
            continue;
        }
        let taken = own.iter().find(|(slice, own)| {
            **slice != tunnel.slice && config.tunnel(slice).is_some() && own.receives_at(port)
        });
        if let Some((slice, _)) = taken {
            let at = format!("{}/listen-port", path(&tunnel.slice));
            return Err(bad(
                at,
                format!("the tunnel of slice {slice} receives at port {port}"),
            ));
        }
    }
    Ok(())
}

fn check_attachments(config: &BackhaulConfig, wifi: &WifiConfig) -> Checked {
    let mut taken: Vec<(&AttachmentConfig, &str)> = Vec::new();
    for tunnel in &config.tunnels {
        let here = &tunnel.attachment;
        let at = |leaf| format!("{}/attachment/{leaf}", path(&tunnel.slice));
        if let Some(interface) = &here.interface {
            let is_bridge = |other: &str| other == interface;
            let clash = wifi.vifs.iter().any(|vif| {
                vif.name == *interface || vif.attachment.bridge.as_deref().is_some_and(is_bridge)
            });
            if clash {
                let message = format!("{interface} is an interface of the Wi-Fi domain");
                return Err(bad(at("interface"), message));
            }
        }
        for (there, slice) in &taken {
            let same = |one: &Option<String>, other: &Option<String>| one.is_some() && one == other;
            if same(&here.interface, &there.interface)
                || same(&here.interface, &there.bridge)
                || same(&here.bridge, &there.interface)
            {
                let leaf = if here.interface.is_some() {
                    "interface"
                } else {
                    "bridge"
                };
                return Err(bad(
                    at(leaf),
                    format!("slice {slice} has an attachment of this name"),
                ));
            }
            if same(&here.bridge, &there.bridge) && here.vlan == there.vlan {
                let message = format!(
                    "slice {slice} is attached to this bridge without another VLAN: their frames would mix"
                );
                return Err(bad(at("bridge"), message));
            }
        }
        taken.push((here, &tunnel.slice));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
