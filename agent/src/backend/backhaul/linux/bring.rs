//! Makes a slice's network what it should be: looks, does what differs, looks again.

use std::collections::BTreeSet;
use std::os::fd::AsRawFd as _;

use rtnetlink::LinkWireguard;

use super::net::{Link, Route};
use super::userspace::UserspaceDevice;
use super::{LinuxPlane, Space, attach, guard, kernel};
use crate::backend::backhaul::Prefix;
use crate::backend::backhaul::plane::{
    BackendInUse, Look, ObservedInterface, PlaneError, SliceNet, TunnelInterface,
};

const TUN_KIND: &str = "tun";

pub(super) async fn bring(
    plane: &LinuxPlane,
    net: &SliceNet,
    look: Look,
) -> Result<Vec<String>, PlaneError> {
    let (space, is_new) = plane.space_or_new(&net.slice, &net.place).await?;
    let mut done = Vec::new();
    if is_new {
        done.push(format!("make namespace {}", space.namespace.name));
    }
    let links = space.net.links().await?;
    let lo = links.iter().find(|link| link.name == "lo");
    if let Some(lo) = lo.filter(|lo| !lo.is_up) {
        space.net.set_up(lo).await?;
    }
    if space.is_of_node {
        give_way(&space, net).await?;
    }
    // Before anything can be forwarded.
    if guard::raise(&space, net, look, lo).await? {
        done.push("raise the wall around the slice".to_owned());
    }
    let mut routes = BTreeSet::new();
    for interface in &net.interfaces {
        let found = links.iter().find(|link| link.name == interface.name);
        let Some(link) = bring_interface(plane, &space, net, interface, found, &mut done).await?
        else {
            continue;
        };
        let peers = interface.peers.iter().flatten();
        routes.extend(peers.flat_map(|peer| &peer.allowed).map(|to| Route {
            to: *to,
            index: link.index,
            metric: interface.metric,
        }));
    }
    let tunnels = links.iter().filter(|link| space.is_tunnel(&link.name));
    let ours: BTreeSet<u32> = tunnels.map(|link| link.index).collect();
    done.extend(space.net.set_routes(&routes, &ours).await?);
    for link in links.iter().filter(|link| space.is_tunnel(&link.name)) {
        if net.interfaces.iter().all(|one| one.name != link.name) {
            remove_interface(&space, link).await?;
            done.push(format!("remove interface {}", link.name));
        }
    }
    // Only what is on its way in is made to shake hands.
    let coming = |name: &str| {
        let mut coming = net.interfaces.iter().filter(|one| one.is_coming());
        coming.any(|one| one.name == name)
    };
    space.nudger.keep(coming);
    if space.is_of_node {
        if !done.is_empty() {
            read_back(plane, net, &routes).await?;
        }
        return Ok(done);
    }
    let is_attached = |link: &Link| [attach::INNER, attach::VXLAN].contains(&link.name.as_str());
    let has_more = net.attachment.is_some() || net.vxlan.is_some();
    if has_more || look == Look::Everything || links.iter().any(is_attached) {
        done.extend(attach::bring(plane, &space, net, &links, look).await?);
    }
    if !done.is_empty() {
        read_back(plane, net, &routes).await?;
    }
    Ok(done)
}

/// A management tunnel takes nothing of the node's own.
async fn give_way(space: &Space, net: &SliceNet) -> Result<(), PlaneError> {
    let peers = net.interfaces.iter().flat_map(|one| &one.peers).flatten();
    let wanted: BTreeSet<Prefix> = peers.flat_map(|peer| &peer.allowed).copied().collect();
    let foreign = space.net.foreign_routes().await?;
    match wanted.intersection(&foreign).next() {
        Some(prefix) => Err(PlaneError::new(format!(
            "the node has a route to {prefix} already, which is not the tunnel's"
        ))),
        None => Ok(()),
    }
}

/// One tunnel interface; `None` for one that is on its way out and gone already.
async fn bring_interface(
    plane: &LinuxPlane,
    space: &Space,
    net: &SliceNet,
    wanted: &TunnelInterface,
    found: Option<&Link>,
    done: &mut Vec<String>,
) -> Result<Option<Link>, PlaneError> {
    let usable = match found {
        Some(link) => is_usable(space, net.backend, wanted, link)
            .await?
            .then(|| link.clone()),
        None => None,
    };
    if usable.is_none() && wanted.peers.is_none() {
        return Ok(None);
    }
    let link = match usable {
        Some(link) => link,
        None => {
            // Its device may be there without it: somebody removed the interface.
            remove_device(space, &wanted.name).await;
            let found = match found {
                Some(link) if net.backend != BackendInUse::Userspace || link.kind != TUN_KIND => {
                    space.net.delete(link.index).await?;
                    None
                }
                found => found,
            };
            let verb = if found.is_some() { "take up" } else { "make" };
            done.push(format!("{verb} interface {}", wanted.name));
            make_interface(plane, space, net, wanted, found).await?
        }
    };
    if link.mtu != u32::from(net.mtu) {
        space.net.set_mtu(&link, net.mtu).await?;
        if let Some(device) = space.devices.lock().await.get(&wanted.name) {
            device.set_mtu(net.mtu);
        }
        done.push(format!("set the MTU of {} to {}", link.name, net.mtu));
    }
    match net.backend {
        BackendInUse::Userspace => {
            let mut devices = space.devices.lock().await;
            if let Some(device) = devices.get_mut(&wanted.name) {
                done.extend(device.set(wanted).await?);
            }
        }
        BackendInUse::Kernel | BackendInUse::Simulator => {
            done.extend(kernel::set(&space.net, wanted).await?);
        }
    }
    let addresses = net
        .addresses
        .iter()
        .map(|address| Prefix::host(*address))
        .collect();
    done.extend(space.net.set_addresses(&link, &addresses).await?);
    if !link.is_up {
        space.net.set_up(&link).await?;
        done.push(format!("switch on {}", link.name));
    }
    Ok(Some(link))
}

/// Whether an interface that is there is the one that is wanted.
async fn is_usable(
    space: &Space,
    backend: BackendInUse,
    wanted: &TunnelInterface,
    link: &Link,
) -> Result<bool, PlaneError> {
    let key = wanted.key.public();
    match backend {
        BackendInUse::Userspace => {
            let devices = space.devices.lock().await;
            let device = devices.get(&wanted.name);
            Ok(link.kind == TUN_KIND && device.is_some_and(|device| device.is_of(key)))
        }
        BackendInUse::Kernel | BackendInUse::Simulator => {
            if link.kind != kernel::KIND {
                return Ok(false);
            }
            Ok(kernel::get(&space.net, &link.name).await?.public_key() == Some(key))
        }
    }
}

async fn make_interface(
    plane: &LinuxPlane,
    space: &Space,
    net: &SliceNet,
    wanted: &TunnelInterface,
    left: Option<&Link>,
) -> Result<Link, PlaneError> {
    let name = &wanted.name;
    if net.backend == BackendInUse::Userspace {
        // Born where it stays: its socket is another thing, which gotatun opens in the node's namespace.
        let device = userspace_device(space, net, wanted, left).await?;
        let gone = || PlaneError::new(format!("interface {name} is gone as soon as it is made"));
        let link = space.net.link(name).await?.ok_or_else(gone)?;
        if space.is_of_node {
            loosen(space, name)?;
        }
        space.devices.lock().await.insert(name.clone(), device);
        return Ok(link);
    }
    kernel_interface(plane, space, name).await
}

/// An interface of the kernel's. Its socket is of the namespace that asks for it, the node's, wherever the interface is made.
async fn kernel_interface(
    plane: &LinuxPlane,
    space: &Space,
    name: &str,
) -> Result<Link, PlaneError> {
    // Kernels before 6.15 look for the name where they are asked, too.
    let is_free = space.is_of_node || plane.birth.link(name).await?.is_none();
    let first = match is_free {
        true => name.to_owned(),
        false => plane.temporary_name(),
    };
    let mut message = LinkWireguard::new(&first);
    if !space.is_of_node {
        message = message.setns_by_fd(space.namespace.file().as_raw_fd());
    }
    plane.birth.create(&first, message.build()).await?;
    let gone = || PlaneError::new(format!("interface {name} is gone as soon as it is made"));
    let link = space.net.link(&first).await?.ok_or_else(gone)?;
    if !is_free && let Err(error) = space.net.rename(link.index, name).await {
        space.net.delete(link.index).await?;
        return Err(error.into());
    }
    if space.is_of_node {
        loosen(space, name)?;
    }
    Ok(Link {
        name: name.to_owned(),
        ..link
    })
}

/// A device with an interface that an earlier agent left, or with a new one where there is none or it is not fit for use.
async fn userspace_device(
    space: &Space,
    net: &SliceNet,
    wanted: &TunnelInterface,
    left: Option<&Link>,
) -> Result<UserspaceDevice, PlaneError> {
    let made = UserspaceDevice::create(&space.namespace, wanted, net.mtu).await;
    match (made, left) {
        (Err(error), Some(left)) => {
            tracing::warn!(interface = left.name, %error, "an interface that is there is made anew");
            space.net.delete(left.index).await?;
            UserspaceDevice::create(&space.namespace, wanted, net.mtu).await
        }
        (made, _) => made,
    }
}

fn loosen(space: &Space, name: &str) -> Result<(), PlaneError> {
    let done = space.namespace.loosen(name);
    done.map_err(|error| PlaneError::new(format!("interface {name} cannot be set up: {error}")))
}

async fn remove_interface(space: &Space, link: &Link) -> Result<(), PlaneError> {
    remove_device(space, &link.name).await;
    Ok(space.net.delete(link.index).await?)
}

async fn remove_device(space: &Space, interface: &str) {
    let device = space.devices.lock().await.remove(interface);
    if let Some(device) = device {
        device.stop().await;
    }
}

pub(super) async fn observe(
    plane: &LinuxPlane,
    slice: &str,
) -> Result<Vec<ObservedInterface>, PlaneError> {
    let Some(space) = plane.space(slice).await? else {
        return Ok(Vec::new());
    };
    let mut observed = Vec::new();
    for link in space
        .net
        .links()
        .await?
        .iter()
        .filter(|link| space.is_tunnel(&link.name))
    {
        if link.kind == kernel::KIND {
            let device = kernel::get(&space.net, &link.name).await?;
            observed.extend(device.observed(link));
        } else if let Some(device) = space.devices.lock().await.get(&link.name) {
            observed.push(device.observe(&link.name, link.rx_packets).await);
        }
    }
    Ok(observed)
}

/// Nothing is said to be applied that the machine does not say itself.
async fn read_back(
    plane: &LinuxPlane,
    net: &SliceNet,
    routes: &BTreeSet<Route>,
) -> Result<(), PlaneError> {
    let observed = observe(plane, &net.slice).await?;
    for wanted in &net.interfaces {
        let Some(peers) = &wanted.peers else { continue };
        let found = observed.iter().find(|one| one.name == wanted.name);
        let Some(found) = found.filter(|one| one.public_key == wanted.key.public()) else {
            return Err(PlaneError::new(format!(
                "interface {} is not there after it was made",
                wanted.name
            )));
        };
        if found.port != wanted.port {
            return Err(PlaneError::new(format!(
                "interface {} receives at port {} instead of {}",
                wanted.name, found.port, wanted.port
            )));
        }
        for peer in peers {
            let same = found
                .peers
                .iter()
                .find(|one| one.public_key == peer.public_key);
            let allowed = same.map(|one| {
                let mut allowed = one.allowed.clone();
                allowed.sort_unstable();
                allowed
            });
            if allowed.as_ref() != Some(&peer.allowed) || found.peers.len() != peers.len() {
                return Err(PlaneError::new(format!(
                    "interface {} does not have peer {} as it was given",
                    wanted.name, peer.public_key
                )));
            }
        }
    }
    let Some(space) = plane.space(&net.slice).await? else {
        return Err(PlaneError::new("the namespace is gone"));
    };
    let found = space.net.routes().await?;
    match routes.difference(&found).next() {
        Some(route) => Err(PlaneError::new(format!(
            "the route to {} is not there",
            route.to
        ))),
        None => Ok(()),
    }
}
