//! WireGuard in the kernel: its devices through generic netlink.

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

use super::net::Net;
use crate::backend::backhaul::address::Prefix;
use crate::backend::backhaul::key::PublicKey;
use crate::backend::backhaul::plane::{ObservedInterface, ObservedPeer, TunnelInterface, WgPeer};
use crate::backend::wifi::netlink::NetlinkError;

/// Kind of the interfaces.
pub(super) const KIND: &str = "wireguard";
/// Peers in one message: a message of netlink has 64 KiB at most, and a peer may have many prefixes.
const AT_ONCE: usize = 8;
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

    pub(super) fn observed(self, name: &str, rx_packets: u64) -> Option<ObservedInterface> {
        Some(ObservedInterface {
            name: name.to_owned(),
            public_key: self.public_key()?,
            port: self.port,
            rx_packets,
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
    let mut device = Device::default();
    // Many peers come in several messages; what does not fit of the prefixes of one comes with its key again.
    for answer in request(net, &action, message, NLM_F_DUMP).await? {
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
    let mut peers = Vec::new();
    if let Some(all) = &wanted.peers {
        let extra = device.peers.iter().map(|peer| peer.observed.public_key);
        for key in extra.filter(|key| all.iter().all(|peer| peer.public_key != *key)) {
            peers.push(WireguardPeer(vec![
                WireguardPeerAttribute::PublicKey(key.0),
                WireguardPeerAttribute::Flags(WireguardPeerFlags::RemoveMe),
            ]));
            done.push(format!("remove peer {key}"));
        }
        for peer in all {
            let known = device
                .peers
                .iter()
                .find(|one| one.observed.public_key == peer.public_key);
            let Some(message) = difference(peer, known) else {
                continue;
            };
            peers.push(message);
            let action = if known.is_some() { "change" } else { "add" };
            done.push(format!("{action} peer {}", peer.public_key));
        }
    }
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

/// What has to be said of a peer; nothing if it is what it should be.
fn difference(wanted: &WgPeer, known: Option<&Peer>) -> Option<WireguardPeer> {
    let mut message = Vec::new();
    let preshared_key = wanted
        .preshared_key
        .as_ref()
        .map(|key| key.expose())
        .unwrap_or_default();
    if known.is_none_or(|known| known.preshared_key != preshared_key) {
        message.push(WireguardPeerAttribute::PresharedKey(preshared_key));
    }
    let is_told = known.is_none() || wanted.moves;
    if let Some(endpoint) = wanted.endpoint.filter(|_| is_told) {
        message.push(WireguardPeerAttribute::Endpoint(endpoint));
    }
    let keepalive_s = wanted.keepalive_s.unwrap_or_default();
    if known.is_none_or(|known| known.keepalive_s != keepalive_s) {
        message.push(WireguardPeerAttribute::PersistentKeepalive(keepalive_s));
    }
    let same = |known: &Peer| {
        let mut found = known.observed.allowed.clone();
        found.sort_unstable();
        found == wanted.allowed
    };
    if !known.is_some_and(same) {
        let prefixes = wanted.allowed.iter().map(|prefix| {
            let family = match prefix.address {
                IpAddr::V4(_) => WireguardAddressFamily::Ipv4,
                IpAddr::V6(_) => WireguardAddressFamily::Ipv6,
            };
            WireguardAllowedIp(vec![
                WireguardAllowedIpAttr::Family(family),
                WireguardAllowedIpAttr::IpAddr(prefix.address),
                WireguardAllowedIpAttr::Cidr(prefix.length),
            ])
        });
        message.push(WireguardPeerAttribute::Flags(
            WireguardPeerFlags::ReplaceAllowedIps,
        ));
        message.push(WireguardPeerAttribute::AllowedIps(prefixes.collect()));
    }
    if message.is_empty() {
        return None;
    }
    message.insert(0, WireguardPeerAttribute::PublicKey(wanted.public_key.0));
    Some(WireguardPeer(message))
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
