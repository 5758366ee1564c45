//! WireGuard in the kernel: its devices through generic netlink.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::time::{Duration, UNIX_EPOCH};

use futures_util::StreamExt as _;
use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_generic::GenlMessage;
use netlink_packet_wireguard::{
    WireguardAddressFamily, WireguardAllowedIp, WireguardAllowedIpAttr, WireguardAttribute,
    WireguardCmd, WireguardMessage, WireguardPeer, WireguardPeerAttribute, WireguardPeerFlags,
};
use rtnetlink::LinkWireguard;

use super::net::{Link, Net};
use crate::backend::backhaul::Prefix;
use crate::backend::backhaul::key::{PrivateKey, PublicKey};
use crate::backend::backhaul::plane::{
    EMPTY, ObservedInterface, ObservedPeer, TunnelInterface, WgPeer,
};
use crate::backend::wifi::netlink::NetlinkError;

/// Kind of the interfaces.
pub(super) const KIND: &str = "wireguard";
/// Peers in one message, and prefixes of each: a message of netlink has 64 KiB at most, and a prefix takes 40 octets.
const AT_ONCE: usize = 8;
const PREFIXES_AT_ONCE: usize = 128;
const EOPNOTSUPP: i32 = 95;

/// Whether the kernel has WireGuard: it is asked for an interface, which also loads a module that is there.
pub(super) async fn check_possible(net: &Net, name: &str) -> Result<(), String> {
    match net.add(name, LinkWireguard::new(name).build()).await {
        Ok(link) => {
            let removed = net.delete(link.index).await;
            removed.map_err(|error| error.to_string())
        }
        Err(error) if error.errno() == Some(EOPNOTSUPP) => {
            Err("this kernel has no WireGuard".to_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}

/// A device with what only it knows: the peers' pre-shared keys and keepalives are for comparing.
#[derive(Debug, Default)]
pub(super) struct Device {
    public_key: Option<[u8; 32]>,
    port: u16,
    peers: Vec<Peer>,
}

#[derive(Debug)]
struct Peer {
    observed: ObservedPeer,
    preshared_key: [u8; 32],
    keepalive_s: u16,
}

impl Device {
    /// The public half of its key; none before it has one.
    pub(super) fn public_key(&self) -> Option<PublicKey> {
        self.public_key.map(PublicKey)
    }

    /// With what the kernel counted at its interface: messages of WireGuard as they came, of whatever kind.
    pub(super) fn observed(self, link: &Link) -> Option<ObservedInterface> {
        Some(ObservedInterface {
            name: link.name.clone(),
            public_key: self.public_key()?,
            port: self.port,
            rx_content: link.rx_bytes.saturating_sub(link.rx_packets * EMPTY),
            peers: self.peers.into_iter().map(|peer| peer.observed).collect(),
        })
    }
}

/// Asks for a device.
pub(super) async fn get(net: &Net, name: &str) -> Result<Device, NetlinkError> {
    let action = format!("look at the tunnel {name}");
    let message = WireguardMessage {
        cmd: WireguardCmd::GetDevice,
        attributes: vec![WireguardAttribute::IfName(name.to_owned())],
    };
    let ask = || request(net, &action, message.clone(), NLM_F_DUMP);
    let answers = net.generic_dumps().in_turn(ask).await?;
    let mut device = Device::default();
    // Many peers come in several messages; what does not fit of the prefixes of one comes with its key again.
    for answer in answers {
        for attribute in answer.attributes {
            match attribute {
                WireguardAttribute::PublicKey(key) => device.public_key = Some(key),
                WireguardAttribute::ListenPort(port) => device.port = port,
                WireguardAttribute::Peers(peers) => {
                    for peer in peers.iter().filter_map(peer) {
                        match device.peers.last_mut() {
                            Some(last) if last.observed.public_key == peer.observed.public_key => {
                                last.observed.allowed.extend(peer.observed.allowed);
                            }
                            _ => device.peers.push(peer),
                        }
                    }
                }
                _ => {}
            }
        }
    }
    Ok(device)
}

fn peer(message: &WireguardPeer) -> Option<Peer> {
    let mut public_key = None;
    let mut peer = Peer {
        observed: ObservedPeer {
            public_key: PublicKey([0; 32]),
            endpoint: None,
            latest_handshake: None,
            rx_bytes: 0,
            tx_bytes: 0,
            allowed: Vec::new(),
        },
        preshared_key: [0; 32],
        keepalive_s: 0,
    };
    let observed = &mut peer.observed;
    for attribute in message.iter() {
        match attribute {
            WireguardPeerAttribute::PublicKey(key) => public_key = Some(PublicKey(*key)),
            WireguardPeerAttribute::PresharedKey(key) => peer.preshared_key = *key,
            WireguardPeerAttribute::Endpoint(endpoint) => observed.endpoint = Some(*endpoint),
            WireguardPeerAttribute::PersistentKeepalive(seconds) => peer.keepalive_s = *seconds,
            WireguardPeerAttribute::RxBytes(bytes) => observed.rx_bytes = *bytes,
            WireguardPeerAttribute::TxBytes(bytes) => observed.tx_bytes = *bytes,
            WireguardPeerAttribute::LastHandshake(at) => {
                let seconds = u64::try_from(at.seconds).unwrap_or_default();
                let nanos = u64::try_from(at.nano_seconds).unwrap_or_default();
                let since = Duration::from_secs(seconds) + Duration::from_nanos(nanos);
                // Zero is never.
                observed.latest_handshake = (!since.is_zero()).then(|| UNIX_EPOCH + since);
            }
            WireguardPeerAttribute::AllowedIps(prefixes) => {
                observed.allowed.extend(prefixes.iter().filter_map(prefix));
            }
            _ => {}
        }
    }
    observed.public_key = public_key?;
    Some(peer)
}

fn prefix(message: &WireguardAllowedIp) -> Option<Prefix> {
    let (mut address, mut length) = (None, None);
    for attribute in message.iter() {
        match attribute {
            WireguardAllowedIpAttr::IpAddr(found) => address = Some(*found),
            WireguardAllowedIpAttr::Cidr(found) => length = Some(*found),
            _ => {}
        }
    }
    Some(Prefix {
        address: address?,
        length: length?,
    })
}

/// Makes a device what it should be, changing only what differs; what was done.
pub(super) async fn set(net: &Net, wanted: &TunnelInterface) -> Result<Vec<String>, NetlinkError> {
    let device = get(net, &wanted.name).await?;
    let mut attributes = Vec::new();
    let mut done = Vec::new();
    if device.public_key() != Some(wanted.key.public()) {
        attributes.push(WireguardAttribute::PrivateKey(wanted.key.expose()));
        done.push(format!("give {} its key", wanted.name));
    }
    if device.port != wanted.port {
        attributes.push(WireguardAttribute::ListenPort(wanted.port));
        done.push(format!(
            "make {} receive at port {}",
            wanted.name, wanted.port
        ));
    }
    let peers = match &wanted.peers {
        Some(peers) => peer_messages(&device.peers, peers, &mut done),
        None => Vec::new(),
    };
    let mut rest = peers.into_iter().peekable();
    while !attributes.is_empty() || rest.peek().is_some() {
        let mut message = vec![WireguardAttribute::IfName(wanted.name.clone())];
        message.append(&mut attributes);
        let some: Vec<WireguardPeer> = rest.by_ref().take(AT_ONCE).collect();
        if !some.is_empty() {
            message.push(WireguardAttribute::Peers(some));
        }
        let action = format!("configure the tunnel {}", wanted.name);
        let message = WireguardMessage {
            cmd: WireguardCmd::SetDevice,
            attributes: message,
        };
        request(net, &action, message, NLM_F_ACK).await?;
    }
    Ok(done)
}

/// What has to be said of the peers, in this order; nothing of those that are what they should be.
///
/// Packets pass meanwhile, and what has a peer before and after must have one at every moment. The kernel takes a prefix from
/// the one peer as it gives it to another, but one that replaces the prefixes of a peer takes away all of them first: so each
/// peer is given what it lacks, then what nobody shall have goes to a peer that is nobody's and away with it (kernels before
/// 6.16 know no other way), and peers that are not wanted any more go last.
fn peer_messages(known: &[Peer], wanted: &[WgPeer], done: &mut Vec<String>) -> Vec<WireguardPeer> {
    let of_key = |key| known.iter().find(|one| one.observed.public_key == key);
    let kept: BTreeSet<Prefix> = wanted
        .iter()
        .flat_map(|peer| &peer.allowed)
        .copied()
        .collect();
    let (mut messages, mut surplus) = (Vec::new(), Vec::new());
    for peer in wanted {
        let known = of_key(peer.public_key);
        let found = known.map_or(&[][..], |known| &known.observed.allowed);
        let settings = settings(peer, known);
        let lacking = peer.allowed.iter().filter(|one| !found.contains(one));
        let lacking: Vec<Prefix> = lacking.copied().collect();
        surplus.extend(found.iter().filter(|one| !kept.contains(one)));
        let is_told = known.is_none() || !settings.is_empty() || !lacking.is_empty();
        let loses = found.iter().any(|one| !peer.allowed.contains(one));
        if is_told {
            messages.extend(peer_message(peer.public_key, settings, &lacking));
        }
        if is_told || loses {
            let action = if known.is_some() { "change" } else { "add" };
            done.push(format!("{action} peer {}", peer.public_key));
        }
    }
    if !surplus.is_empty() {
        let nobody = PrivateKey::generate().public();
        messages.extend(peer_message(nobody, Vec::new(), &surplus));
        messages.push(removal(nobody));
    }
    let keys = known.iter().map(|one| one.observed.public_key);
    for key in keys.filter(|key| wanted.iter().all(|peer| peer.public_key != *key)) {
        messages.push(removal(key));
        done.push(format!("remove peer {key}"));
    }
    messages
}

fn removal(key: PublicKey) -> WireguardPeer {
    WireguardPeer(vec![
        WireguardPeerAttribute::PublicKey(key.0),
        WireguardPeerAttribute::Flags(WireguardPeerFlags::RemoveMe),
    ])
}

/// What a peer gets: as many messages as its prefixes need, and one where there are none.
fn peer_message(
    key: PublicKey,
    settings: Vec<WireguardPeerAttribute>,
    prefixes: &[Prefix],
) -> Vec<WireguardPeer> {
    let mut first = vec![WireguardPeerAttribute::PublicKey(key.0)];
    first.extend(settings);
    let mut messages = vec![first];
    for (index, some) in prefixes.chunks(PREFIXES_AT_ONCE).enumerate() {
        if index > 0 {
            messages.push(vec![WireguardPeerAttribute::PublicKey(key.0)]);
        }
        if let Some(last) = messages.last_mut() {
            let some = some.iter().map(allowed).collect();
            last.push(WireguardPeerAttribute::AllowedIps(some));
        }
    }
    messages.into_iter().map(WireguardPeer).collect()
}

/// What differs of a peer but its prefixes.
fn settings(wanted: &WgPeer, known: Option<&Peer>) -> Vec<WireguardPeerAttribute> {
    let mut settings = Vec::new();
    let preshared_key = wanted
        .preshared_key
        .as_ref()
        .map(|key| key.expose())
        .unwrap_or_default();
    if known.is_none_or(|known| known.preshared_key != preshared_key) {
        settings.push(WireguardPeerAttribute::PresharedKey(preshared_key));
    }
    let is_told = known.is_none() || wanted.moves;
    if let Some(endpoint) = wanted.endpoint.filter(|_| is_told) {
        settings.push(WireguardPeerAttribute::Endpoint(endpoint));
    }
    let keepalive_s = wanted.keepalive_s.unwrap_or_default();
    if known.is_none_or(|known| known.keepalive_s != keepalive_s) {
        settings.push(WireguardPeerAttribute::PersistentKeepalive(keepalive_s));
    }
    settings
}

fn allowed(prefix: &Prefix) -> WireguardAllowedIp {
    let family = match prefix.address {
        IpAddr::V4(_) => WireguardAddressFamily::Ipv4,
        IpAddr::V6(_) => WireguardAddressFamily::Ipv6,
    };
    WireguardAllowedIp(vec![
        WireguardAllowedIpAttr::Family(family),
        WireguardAllowedIpAttr::IpAddr(prefix.address),
        WireguardAllowedIpAttr::Cidr(prefix.length),
    ])
}

async fn request(
    net: &Net,
    action: &str,
    message: WireguardMessage,
    flags: u16,
) -> Result<Vec<WireguardMessage>, NetlinkError> {
    let mut request = NetlinkMessage::from(GenlMessage::from_payload(message));
    request.header.flags = NLM_F_REQUEST | flags;
    let unreadable = |reason: String| NetlinkError::Unreadable {
        action: action.to_owned(),
        reason,
    };
    let mut handle = net.generic().clone();
    let answers = handle.request(request).await;
    let mut answers = answers.map_err(|error| unreadable(error.to_string()))?;
    let mut messages = Vec::new();
    while let Some(answer) = answers.next().await {
        let answer = answer.map_err(|error| unreadable(error.to_string()))?;
        match answer.payload {
            NetlinkPayload::InnerMessage(message) => messages.push(message.payload),
            NetlinkPayload::Error(error) if error.code.is_some() => {
                let source: io::Error = error.to_io();
                return Err(NetlinkError::Refused {
                    action: action.to_owned(),
                    message: None,
                    source,
                });
            }
            _ => {}
        }
    }
    Ok(messages)
}

#[cfg(test)]
mod tests;
