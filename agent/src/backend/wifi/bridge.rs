//! Attachment of virtual interfaces to the wired side: ports of a Linux bridge or of an Open vSwitch bridge, with a VLAN.
//!
//! A Linux bridge that is not there is made with its first port and removed with its last one; it filters VLANs, and its
//! alias says whose it is. A bridge that somebody else made is used as it is: ports are added and removed, nothing else.

use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::link::{
    AfSpecBridge, BridgeVlanInfo, BridgeVlanInfoFlags, LinkAttribute, LinkExtentMask, LinkMessage,
};
use rtnetlink::{LinkBridge, LinkBridgeVlan, LinkUnspec};
use tokio::sync::{Mutex, MutexGuard};

use super::link::{Link, Links, refused};
use super::netlink::NetlinkError;
use super::{Attachment, openvswitch};

/// Alias of the bridges that are ours to remove.
const OURS: &str = "tranche: removed with its last port";
const LINUX_BRIDGE: &str = "bridge";
/// VLAN of untagged frames on a bridge of ours where no VLAN is configured: the kernel's default.
const DEFAULT_VLAN: u16 = 1;

/// Bridges are changed by one at a time in this process: what somebody has made and not filled yet would be somebody else's to
/// make as well, or to remove.
static TURN: Mutex<()> = Mutex::const_new(());

/// Why an interface is not attached as asked for. Each is one sentence for the peer.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The kernel refuses.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// What should be a port is not there.
    #[error("there is no interface {0}")]
    NoPort(String),
    /// The bridge's name belongs to something else.
    #[error("interface {0} is not a bridge")]
    NotABridge(String),
    /// Somebody else's bridge carries no VLANs.
    #[error(
        "bridge {0} does not filter VLANs: switch vlan_filtering on, which is its owner's to do, or leave the VLAN out"
    )]
    NoVlanFiltering(String),
    /// An Open vSwitch bridge and nothing to change it with.
    #[error("bridge {0} is an Open vSwitch bridge, and ovs-vsctl is not installed")]
    NoOpenVswitch(String),
    /// Open vSwitch refuses.
    #[error("Open vSwitch refuses to {action}: {reason}")]
    OpenVswitch {
        /// What it was asked to do.
        action: String,
        /// Its own words.
        reason: String,
    },
    /// What was read back is not what was asked for.
    #[error("interface {port} is {found} after it was made a port of {wanted}")]
    NotInForce {
        /// The interface.
        port: String,
        /// What was asked for.
        wanted: String,
        /// What is.
        found: String,
    },
}

/// What carries the port of that name, and how.
enum Bridge {
    Linux(Link),
    OpenVswitch,
}

impl Links {
    /// Makes an interface a port of the bridge of an attachment, or of none where the attachment names none, and reads it
    /// back. What is right already is left alone. Needs `CAP_NET_ADMIN`.
    ///
    /// # Errors
    /// Why it is not so; the port is then as it was or, where the kernel refused half-way, a port of no bridge.
    pub async fn attach(&self, port: &str, wanted: &Attachment) -> Result<(), AttachError> {
        if self.attachment(port).await? == *wanted {
            return Ok(());
        }
        let Some(bridge) = &wanted.bridge else {
            return self.detach(port).await;
        };
        let turn = self.bridges_in_turn().await;
        match self.bridge(bridge).await? {
            Some(Bridge::OpenVswitch) => {
                self.take_out(port).await?;
                openvswitch::add_port(bridge, port, wanted.vlan).await?;
            }
            Some(Bridge::Linux(found)) => {
                if wanted.vlan.is_some() && !found.filters_vlans {
                    return Err(AttachError::NoVlanFiltering(bridge.clone()));
                }
                self.add_port(port, &found, wanted.vlan).await?;
            }
            None => {
                let made = self.make_bridge(bridge).await?;
                let added = self.add_port(port, &made, wanted.vlan).await;
                if added.is_err() {
                    self.remove_unused().await?;
                }
                added?;
            }
        }
        self.remove_unused().await?;
        drop(turn);
        let found = self.attachment(port).await?;
        if found == *wanted {
            return Ok(());
        }
        Err(AttachError::NotInForce {
            port: port.to_owned(),
            wanted: describe(wanted),
            found: format!("a port of {}", describe(&found)),
        })
    }

    /// Makes an interface a port of no bridge; a bridge of ours goes with its last port. What is not attached, or not
    /// there, is fine.
    ///
    /// # Errors
    /// The kernel or Open vSwitch refuses.
    pub async fn detach(&self, port: &str) -> Result<(), AttachError> {
        let _turn = self.bridges_in_turn().await;
        self.take_out(port).await
    }

    /// What [`Self::detach`] does, in whose turn it is.
    async fn take_out(&self, port: &str) -> Result<(), AttachError> {
        match self.link(port).await? {
            Some(link) if self.is_openvswitch_port(&link).await? => {
                openvswitch::remove_port(port).await?;
            }
            Some(link) if link.master.is_some() => {
                let message = LinkUnspec::new_with_index(link.ifindex).nocontroller();
                let action = format!("take {port} out of its bridge");
                self.change(&action, message.build()).await?;
            }
            // An interface that is gone is still in the database.
            None if openvswitch::is_installed().await => openvswitch::remove_port(port).await?,
            _ => {}
        }
        Ok(self.remove_unused().await?)
    }

    /// What an interface is attached to now. A VLAN is one that comes and goes untagged at this port; the default VLAN of
    /// a bridge of ours counts as none.
    ///
    /// # Errors
    /// There is no such interface, or the kernel can't be asked.
    pub async fn attachment(&self, port: &str) -> Result<Attachment, AttachError> {
        let no_port = || AttachError::NoPort(port.to_owned());
        let link = self.link(port).await?.ok_or_else(no_port)?;
        if self.is_openvswitch_port(&link).await? {
            return openvswitch::attachment(port).await;
        }
        let Some(master) = link.master else {
            return Ok(Attachment::default());
        };
        let links = self.links().await?;
        let Some(bridge) = links.into_iter().find(|one| one.ifindex == master) else {
            return Ok(Attachment::default());
        };
        let vlan = match bridge.filters_vlans {
            true => self.native_vlan(link.ifindex).await?,
            false => None,
        };
        Ok(Attachment {
            bridge: Some(bridge.name),
            vlan: vlan.filter(|vlan| *vlan != DEFAULT_VLAN),
        })
    }

    /// Removes the bridges of ours that have no port left: what attached interfaces leave behind when they are removed.
    ///
    /// # Errors
    /// The kernel refuses.
    pub async fn remove_unused_bridges(&self) -> Result<(), NetlinkError> {
        let _turn = self.bridges_in_turn().await;
        self.remove_unused().await
    }

    /// Waits until nobody else changes bridges, and keeps others waiting: for who makes one that something else fills.
    pub(super) async fn bridges_in_turn(&self) -> MutexGuard<'static, ()> {
        TURN.lock().await
    }

    /// What [`Self::remove_unused_bridges`] does, in whose turn it is.
    async fn remove_unused(&self) -> Result<(), NetlinkError> {
        let links = self.links().await?;
        let unused = links.iter().filter(|link| {
            link.alias.as_deref() == Some(OURS)
                && !links.iter().any(|port| port.master == Some(link.ifindex))
        });
        for bridge in unused {
            let done = self.handle().link().del(bridge.ifindex).execute().await;
            let action = format!("remove bridge {}", bridge.name);
            match done.map_err(|error| refused(&action, error)) {
                Err(error) if error.is_not_found() => {}
                done => done?,
            }
        }
        Ok(())
    }

    /// The bridge of that name, if there is one.
    async fn bridge(&self, name: &str) -> Result<Option<Bridge>, AttachError> {
        let link = self.link(name).await?;
        match link.as_ref().and_then(|link| link.kind.as_deref()) {
            Some(LINUX_BRIDGE) => return Ok(link.map(Bridge::Linux)),
            Some(openvswitch::LINK_KIND) if !openvswitch::is_installed().await => {
                return Err(AttachError::NoOpenVswitch(name.to_owned()));
            }
            _ => {}
        }
        if openvswitch::is_installed().await && openvswitch::has_bridge(name).await? {
            return Ok(Some(Bridge::OpenVswitch));
        }
        match link {
            Some(_) => Err(AttachError::NotABridge(name.to_owned())),
            None => Ok(None),
        }
    }

    async fn is_openvswitch_port(&self, port: &Link) -> Result<bool, AttachError> {
        let Some(master) = port.master else {
            // The userspace datapath has no master.
            return Ok(
                openvswitch::is_installed().await && openvswitch::has_port(&port.name).await?
            );
        };
        let links = self.links().await?;
        let master = links.iter().find(|one| one.ifindex == master);
        Ok(master.is_some_and(|one| one.kind.as_deref() == Some(openvswitch::LINK_KIND)))
    }

    /// Makes a bridge of ours, in whose turn it is: it goes with its last port.
    pub(super) async fn make_bridge(&self, name: &str) -> Result<Link, AttachError> {
        let action = format!("make bridge {name}");
        let bridge = LinkBridge::new(name).vlan_filtering(true).build();
        let made = self.handle().link().add(bridge).execute().await;
        made.map_err(|error| refused(&action, error))?;
        let not_there = || AttachError::NotABridge(name.to_owned());
        let link = self.link(name).await?.ok_or_else(not_there)?;
        let mark = LinkUnspec::new_with_index(link.ifindex).alias(OURS).up();
        self.change(&action, mark.build()).await?;
        Ok(link)
    }

    /// Makes an interface a port of a Linux bridge, in one VLAN if the bridge filters them.
    async fn add_port(
        &self,
        port: &str,
        bridge: &Link,
        vlan: Option<u16>,
    ) -> Result<(), AttachError> {
        let no_port = || AttachError::NoPort(port.to_owned());
        let link = self.link(port).await?.ok_or_else(no_port)?;
        if link.master != Some(bridge.ifindex) {
            if self.is_openvswitch_port(&link).await? {
                openvswitch::remove_port(port).await?;
            }
            let message = LinkUnspec::new_with_index(link.ifindex).controller(bridge.ifindex);
            let action = format!("make {port} a port of bridge {}", bridge.name);
            self.change(&action, message.build()).await?;
        }
        let is_ours = bridge.alias.as_deref() == Some(OURS);
        match vlan {
            Some(vlan) => self.set_vlan(link.ifindex, vlan).await?,
            // On somebody else's bridge, its own default holds.
            None if is_ours => self.set_vlan(link.ifindex, DEFAULT_VLAN).await?,
            None => {}
        }
        Ok(())
    }

    /// Puts a port into one VLAN, untagged, and into no other.
    async fn set_vlan(&self, ifindex: u32, vlan: u16) -> Result<(), NetlinkError> {
        let action = format!("put port {ifindex} into VLAN {vlan}");
        let native = BridgeVlanInfoFlags::Pvid | BridgeVlanInfoFlags::Untagged;
        let message = LinkBridgeVlan::new(ifindex).vlan(vlan, native).build();
        self.change(&action, message).await?;
        for other in self.vlans(ifindex).await? {
            if other.vid == vlan {
                continue;
            }
            let none = BridgeVlanInfoFlags::empty();
            let message = LinkBridgeVlan::new(ifindex).vlan(other.vid, none).build();
            let done = self.handle().link().del_with_message(message).execute();
            let action = format!("take port {ifindex} out of VLAN {}", other.vid);
            done.await.map_err(|error| refused(&action, error))?;
        }
        Ok(())
    }

    /// The VLAN whose frames come and go untagged at a port.
    async fn native_vlan(&self, ifindex: u32) -> Result<Option<u16>, NetlinkError> {
        let native = BridgeVlanInfoFlags::Pvid | BridgeVlanInfoFlags::Untagged;
        let vlans = self.vlans(ifindex).await?;
        let found = vlans.into_iter().find(|vlan| vlan.flags.contains(native));
        Ok(found.map(|vlan| vlan.vid))
    }

    async fn vlans(&self, ifindex: u32) -> Result<Vec<BridgeVlanInfo>, NetlinkError> {
        let request = || {
            let get = self.handle().link().get();
            get.set_filter_mask(AddressFamily::Bridge, vec![LinkExtentMask::Brvlan])
        };
        let messages = self.dump("list the VLANs of ports", request).await?;
        let of_port = messages.iter().filter(|one| one.header.index == ifindex);
        Ok(of_port.flat_map(vlans_in).collect())
    }
}

fn vlans_in(message: &LinkMessage) -> Vec<BridgeVlanInfo> {
    let specs = message.attributes.iter().filter_map(|one| match one {
        LinkAttribute::AfSpecBridge(specs) => Some(specs),
        _ => None,
    });
    let vlans = specs.flatten().filter_map(|spec| match spec {
        AfSpecBridge::VlanInfo(vlan) => Some(*vlan),
        _ => None,
    });
    vlans.collect()
}

/// An attachment in words.
fn describe(attachment: &Attachment) -> String {
    match (&attachment.bridge, attachment.vlan) {
        (Some(bridge), Some(vlan)) => format!("bridge {bridge} in VLAN {vlan}"),
        (Some(bridge), None) => format!("bridge {bridge} without a VLAN"),
        (None, _) => "no bridge".to_owned(),
    }
}
