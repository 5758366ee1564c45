//! The way from the node into a slice: a pair of virtual Ethernet interfaces, and for Ethernet slices VXLAN and a bridge.

use std::collections::BTreeSet;
use std::os::fd::AsRawFd as _;

use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkInfo};
use rtnetlink::{LinkBridge, LinkUnspec, LinkVxlan};

use super::net::Link;
use super::{LinuxPlane, Space, hash};
use crate::backend::backhaul::plane::{Attachment, Look, Outer, PlaneError, SliceNet, Vxlan};
use crate::backend::wifi;

/// The slice's end.
pub(super) const INNER: &str = "at0";
pub(super) const VXLAN: &str = "vx0";
pub(super) const BRIDGE: &str = "br0";
/// RFC 7348.
pub(super) const VXLAN_PORT: u16 = 4789;

/// Makes attachment and Ethernet segment what they should be; what was done.
pub(super) async fn bring(
    plane: &LinuxPlane,
    space: &Space,
    net: &SliceNet,
    links: &[Link],
    look: Look,
) -> Result<Vec<String>, PlaneError> {
    let mut done = Vec::new();
    let find = |name: &str| links.iter().find(|link| link.name == name);
    let inner = match &net.attachment {
        Some(attachment) => {
            Some(pair(plane, space, &net.slice, attachment, find(INNER), &mut done).await?)
        }
        None => {
            if let Some(inner) = find(INNER) {
                space.net.delete(inner.index).await?;
                plane.links.remove_unused_bridges().await?;
                done.push("remove the attachment".to_owned());
            }
            None
        }
    };
    let bridge = match &net.vxlan {
        Some(vxlan) => Some(segment(space, vxlan, links, inner.as_ref(), &mut done).await?),
        None => {
            for name in [VXLAN, BRIDGE] {
                if let Some(link) = find(name) {
                    space.net.delete(link.index).await?;
                    done.push(format!("remove {name}"));
                }
            }
            None
        }
    };
    // What is a port of a bridge has no address of its own.
    let gateways: BTreeSet<_> = net
        .attachment
        .iter()
        .flat_map(|one| one.gateways.clone())
        .collect();
    match (&bridge, &inner) {
        (Some(bridge), Some(inner)) => {
            done.extend(space.net.set_addresses(bridge, &gateways).await?);
            done.extend(space.net.set_addresses(inner, &BTreeSet::new()).await?);
        }
        (None, Some(inner)) => done.extend(space.net.set_addresses(inner, &gateways).await?),
        _ => {}
    }
    if plane.set_ends(&net.slice, ends(net), look).await? {
        done.push("raise the wall between the slices of the node".to_owned());
    }
    Ok(done)
}

/// The interfaces of the node's namespace where packets of the slice could be routed.
fn ends(net: &SliceNet) -> BTreeSet<String> {
    let outer = net.attachment.iter().map(|attachment| &attachment.outer);
    outer.map(|outer| outer.end().to_owned()).collect()
}

/// Name of the node's end.
fn outer_name(plane: &LinuxPlane, slice: &str, outer: &Outer) -> String {
    match outer {
        Outer::Interface(name) => name.clone(),
        Outer::Bridge { .. } => {
            let of_slice = hash(slice.as_bytes()) & 0xffff_ffff;
            format!("t{}{of_slice:08x}", plane.tag)
        }
    }
}

async fn pair(
    plane: &LinuxPlane,
    space: &Space,
    slice: &str,
    attachment: &Attachment,
    inner: Option<&Link>,
    done: &mut Vec<String>,
) -> Result<Link, PlaneError> {
    let name = outer_name(plane, slice, &attachment.outer);
    let mut outer = plane.birth.link(&name).await?;
    let is_pair = inner.is_some_and(|inner| {
        let other = outer.as_ref();
        other.is_some_and(|outer| outer.kind == "veth" && inner.other_end == Some(outer.index))
    });
    let mut inner = inner.cloned();
    if !is_pair {
        if let Some(stale) = inner.take() {
            space.net.delete(stale.index).await?;
            outer = plane.birth.link(&name).await?;
        }
        if outer.is_some() {
            return Err(PlaneError::new(format!(
                "interface {name} is there already, and is not ours"
            )));
        }
        // The other end is born where it belongs.
        let peer = LinkUnspec::new_with_name(&name).setns_by_fd(plane.birth_namespace.as_raw_fd());
        let mut message = LinkUnspec::new_with_name(INNER).build();
        let info = InfoData::Veth(InfoVeth::Peer(peer.build()));
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(info),
        ]));
        inner = Some(space.net.add(INNER, message).await?);
        outer = plane.birth.link(&name).await?;
        done.push(format!("make interface {name}"));
    }
    let gone = || PlaneError::new(format!("interface {name} is gone as soon as it is made"));
    let (inner, outer) = (inner.ok_or_else(gone)?, outer.ok_or_else(gone)?);
    for (net, link) in [(&space.net, &inner), (&plane.birth, &outer)] {
        if link.mtu != u32::from(attachment.mtu) {
            net.set_mtu(link, attachment.mtu).await?;
            done.push(format!("set the MTU of {}", link.name));
        }
        if !link.is_up {
            net.set_up(link).await?;
            done.push(format!("switch on {}", link.name));
        }
    }
    if let Outer::Bridge { name: bridge, vlan } = &attachment.outer {
        let wanted = wifi::Attachment {
            bridge: Some(bridge.clone()),
            vlan: *vlan,
        };
        let attached = |error: wifi::bridge::AttachError| PlaneError::new(error.to_string());
        if plane.links.attachment(&name).await.map_err(attached)? != wanted {
            plane.links.attach(&name, &wanted).await.map_err(attached)?;
            done.push(format!("make {name} a port of bridge {bridge}"));
        }
    }
    Ok(inner)
}

/// The bridge of an Ethernet segment with its ports: VXLAN and the attachment.
async fn segment(
    space: &Space,
    vxlan: &Vxlan,
    links: &[Link],
    inner: Option<&Link>,
    done: &mut Vec<String>,
) -> Result<Link, PlaneError> {
    let find = |name: &str| links.iter().find(|link| link.name == name).cloned();
    let bridge = match find(BRIDGE) {
        Some(bridge) => bridge,
        None => {
            done.push(format!("make interface {BRIDGE}"));
            space
                .net
                .add(BRIDGE, LinkBridge::new(BRIDGE).build())
                .await?
        }
    };
    // Neither its number nor its address can be changed later.
    let is_same = |port: &Link| port.vxlan == Some((vxlan.vni, Some(vxlan.local)));
    let mut port = find(VXLAN);
    if let Some(stale) = port.take_if(|port| !is_same(port)) {
        space.net.delete(stale.index).await?;
    }
    let port = match port {
        Some(port) => port,
        None => {
            done.push(format!("make interface {VXLAN}"));
            let builder = LinkVxlan::new(VXLAN, vxlan.vni).port(VXLAN_PORT);
            let builder = match vxlan.local {
                std::net::IpAddr::V4(local) => builder.local(local),
                std::net::IpAddr::V6(local) => builder.local6(local),
            };
            space.net.add(VXLAN, builder.build()).await?
        }
    };
    done.extend(space.net.set_flooding(port.index, &vxlan.remotes).await?);
    for link in [Some(&port), inner].into_iter().flatten() {
        if link.master != Some(bridge.index) {
            let message = LinkUnspec::new_with_index(link.index)
                .controller(bridge.index)
                .build();
            space
                .net
                .change(&format!("make {} a port of {BRIDGE}", link.name), message)
                .await?;
            done.push(format!("make {} a port of {BRIDGE}", link.name));
        }
    }
    // All peers are behind one port; what keeps a frame from going back to its sender is the wall.
    if port.is_hairpin != vxlan.relays {
        space.net.set_hairpin(&port, vxlan.relays).await?;
        let more = if vxlan.relays { "" } else { " no more" };
        done.push(format!("pass frames on between peers{more}"));
    }
    for link in [&port, &bridge] {
        if link.mtu != u32::from(vxlan.mtu) {
            space.net.set_mtu(link, vxlan.mtu).await?;
            done.push(format!("set the MTU of {}", link.name));
        }
        if !link.is_up {
            space.net.set_up(link).await?;
            done.push(format!("switch on {}", link.name));
        }
    }
    Ok(bridge)
}
