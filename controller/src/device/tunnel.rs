//! The tunnels of a node, read into types.

use std::collections::BTreeMap;

use tranche_netconf::message::{Filter, Notification};
use tranche_netconf::xml::{Element, Fragment};

use crate::intent::{
    BACKHAUL, Layer, OwnKey, PeerConfig, PeerEndpoint, PeerState, Probe, Role, Tunnel,
    TunnelAttachment, TunnelConfig, TunnelState,
};

use super::read::{ReadError, mandatory, parsed};

/// Leaves and containers of a tunnel that this controller configures or reads.
const KNOWN: [&str; 14] = [
    "slice",
    "enabled",
    "role",
    "layer",
    "vni",
    "mtu",
    "backend",
    "address",
    "listen-port",
    "attachment",
    "peer",
    "rotation",
    "probe",
    "state",
];
/// The same of a peer.
const KNOWN_OF_PEER: [&str; 8] = [
    "name",
    "public-key",
    "endpoint",
    "tunnel-address",
    "allowed-prefix",
    "priority",
    "next",
    "preshared-key",
];

/// What a node tells of a tunnel: a notification of `tranche-backhaul`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunnelEvent {
    /// Name of the notification.
    pub name: &'static str,
    /// The slice.
    pub slice: String,
    /// Its other leaves that are texts, by name.
    pub leaves: BTreeMap<&'static str, String>,
}

/// Notifications that are passed on.
const EVENTS: [&str; 4] = [
    "peer-state-change",
    "failover",
    "rotation-prepared",
    "rotation-complete",
];
/// Their leaves.
const LEAVES: [&str; 5] = ["peer", "from", "to", "reason", "epoch"];

impl TunnelEvent {
    /// Reads a notification; `None` if it is another one.
    ///
    /// # Errors
    /// When it breaks the model.
    pub(super) fn read(notification: &Notification) -> Result<Option<Self>, ReadError> {
        let elements = notification.content.elements()?;
        let ours = elements.iter().find(|top| top.namespace == BACKHAUL);
        let named = |top: &Element| EVENTS.into_iter().find(|name| *name == top.name);
        let Some((event, name)) = ours.and_then(|top| Some((top, named(top)?))) else {
            return Ok(None);
        };
        let leaves = LEAVES.into_iter();
        let leaves = leaves.filter_map(|leaf| Some((leaf, event.child_text(leaf)?.to_owned())));
        Ok(Some(Self {
            name,
            slice: mandatory(event, name, "slice")?,
            leaves: leaves.collect(),
        }))
    }
}

/// Selects the tunnels alone.
pub(crate) fn filter() -> Filter {
    Filter::Subtree(Fragment::from_trusted(format!(
        "<backhaul xmlns=\"{BACKHAUL}\"><tunnel/></backhaul>"
    )))
}

/// Reads the tunnels out of what [`filter`] selects.
pub(crate) fn read(data: &Fragment) -> Result<BTreeMap<String, Tunnel>, ReadError> {
    let tops = data.elements()?;
    let backhaul = tops
        .iter()
        .find(|top| top.name == "backhaul" && top.namespace == BACKHAUL);
    backhaul.map_or(Ok(BTreeMap::new()), tunnels)
}

/// Reads the content of `backhaul`.
pub(super) fn tunnels(backhaul: &Element) -> Result<BTreeMap<String, Tunnel>, ReadError> {
    let one = |tunnel: &Element| {
        let slice = mandatory(tunnel, "tunnel", "slice")?;
        let state = tunnel.child("state").map(read_state).transpose()?;
        let read = Tunnel {
            config: read_config(tunnel)?,
            has_next: tunnel
                .children("peer")
                .any(|peer| peer.child("next").is_some()),
            listen_port: parsed(tunnel, "tunnel", "listen-port")?,
            state: state.unwrap_or_default(),
        };
        Ok((slice, read))
    };
    backhaul.children("tunnel").map(one).collect()
}

/// `None`: it has something that this controller does not configure.
fn read_config(tunnel: &Element) -> Result<Option<TunnelConfig>, ReadError> {
    let at = "tunnel";
    let only_known = tunnel
        .children
        .iter()
        .all(|child| KNOWN.contains(&&*child.name));
    let enabled = parsed(tunnel, at, "enabled")?.unwrap_or(true);
    let role = Role::from_name(&mandatory(tunnel, at, "role")?);
    let layer = match tunnel.child_text("layer") {
        None | Some("l3") => Some(Layer::L3),
        Some("l2-vxlan") => Some(Layer::L2Vxlan),
        Some(_) => None,
    };
    let bad = |value: &str| ReadError::Value {
        leaf: "tunnel/address".to_owned(),
        value: value.to_owned(),
    };
    let addresses = tunnel.children("address");
    let addresses = addresses.map(|one| one.text.parse().map_err(|_| bad(&one.text)));
    let rotation = tunnel.child("rotation");
    let rotation = rotation.map_or(Ok(None), |it| parsed(it, "tunnel/rotation", "interval"))?;
    let peers = tunnel.children("peer").map(read_peer);
    let (addresses, peers) = (
        addresses.collect::<Result<_, _>>()?,
        peers.collect::<Result<_, _>>()?,
    );
    let (vni, mtu) = (parsed(tunnel, at, "vni")?, parsed(tunnel, at, "mtu")?);
    let listen_port = parsed(tunnel, at, "listen-port")?;
    let attachment = tunnel
        .child("attachment")
        .map(read_attachment)
        .transpose()?;
    let probe = tunnel.child("probe").map(read_probe).transpose()?;
    Ok(role
        .zip(layer)
        .filter(|_| only_known && enabled)
        .map(|(role, layer)| TunnelConfig {
            role,
            layer,
            vni,
            mtu: mtu.unwrap_or(1420),
            addresses,
            listen_port,
            attachment: attachment.unwrap_or_default(),
            probe,
            rotation_interval: rotation,
            peers,
        }))
}

fn read_attachment(element: &Element) -> Result<TunnelAttachment, ReadError> {
    Ok(TunnelAttachment {
        bridge: element.child_text("bridge").map(str::to_owned),
        interface: element.child_text("interface").map(str::to_owned),
        vlan: parsed(element, "tunnel/attachment", "vlan")?,
        gateways: element
            .children("gateway")
            .map(|one| one.text.clone())
            .collect(),
    })
}

fn read_probe(element: &Element) -> Result<Probe, ReadError> {
    let (at, default) = ("tunnel/probe", Probe::default());
    Ok(Probe {
        interval: parsed(element, at, "interval")?.unwrap_or(default.interval),
        misses: parsed(element, at, "misses")?.unwrap_or(default.misses),
        hold_down: parsed(element, at, "hold-down")?.unwrap_or(default.hold_down),
    })
}

fn read_peer(peer: &Element) -> Result<(String, PeerConfig), ReadError> {
    let at = "tunnel/peer";
    let endpoint = peer.child("endpoint").map(|endpoint| {
        let missing = || ReadError::Missing("tunnel/peer/endpoint/address".to_owned());
        Ok::<_, ReadError>(PeerEndpoint {
            address: parsed(endpoint, at, "address")?.ok_or_else(missing)?,
            port: parsed(endpoint, at, "port")?,
            second: None,
        })
    });
    let next = peer.child("next").and_then(|next| next.child("endpoint"));
    let next_port = next.map(|endpoint| parsed(endpoint, at, "port"));
    let known = |child: &Element| KNOWN_OF_PEER.contains(&&*child.name);
    let config = PeerConfig {
        node: None,
        public_key: Some(mandatory(peer, at, "public-key")?),
        preshared_key: None,
        endpoint: endpoint.transpose()?,
        tunnel_address: parsed(peer, at, "tunnel-address")?,
        allowed: peer
            .children("allowed-prefix")
            .map(|one| one.text.clone())
            .collect(),
        priority: parsed(peer, at, "priority")?,
        has_next: peer.child("next").is_some(),
        next_port: next_port.transpose()?.flatten(),
        has_more: !peer.children.iter().all(known),
    };
    Ok((mandatory(peer, at, "name")?, config))
}

fn read_state(state: &Element) -> Result<TunnelState, ReadError> {
    let text = |name: &str| {
        let text = state.child_text(name).filter(|text| !text.is_empty());
        text.map(str::to_owned)
    };
    let ready = |next: &Element| next.child_text("phase") == Some("ready");
    let next = state.child("next");
    let next = next.map(|next| Ok::<_, ReadError>(own_key(next)?.map(|key| (key, ready(next)))));
    let peers = state.children("peer").map(|peer| {
        let at = "tunnel/state/peer";
        let state = PeerState {
            state: peer.child_text("state").map(str::to_owned),
            latest_handshake: peer.child_text("latest-handshake").map(str::to_owned),
            next_handshake: peer.child_text("next-handshake").map(str::to_owned),
            rtt_us: parsed(peer, at, "probe-rtt")?,
            tx_bytes: parsed(peer, at, "tx-bytes")?.unwrap_or(0),
            rx_bytes: parsed(peer, at, "rx-bytes")?.unwrap_or(0),
        };
        Ok::<_, ReadError>((mandatory(peer, at, "name")?, state))
    });
    Ok(TunnelState {
        oper_state: text("oper-state"),
        last_error: text("last-error"),
        backend: text("backend-in-use"),
        key: own_key(state)?,
        next: next.transpose()?.flatten(),
        retiring: state.child("retiring").map_or(Ok(None), own_key)?,
        peers: peers.collect::<Result<_, _>>()?,
    })
}

/// The leaves of `own-key`; `None` where there are none.
pub(crate) fn own_key(element: &Element) -> Result<Option<OwnKey>, ReadError> {
    let at = "tunnel/state";
    let (epoch, listen_port) = (
        parsed(element, at, "epoch")?,
        parsed(element, at, "listen-port")?,
    );
    let Some(public_key) = element.child_text("public-key") else {
        return Ok(None);
    };
    Ok(Some(OwnKey {
        epoch: epoch.unwrap_or(0),
        public_key: public_key.to_owned(),
        listen_port: listen_port.unwrap_or(0),
    }))
}
