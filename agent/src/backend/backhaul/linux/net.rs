//! One network namespace through rtnetlink: interfaces, addresses and routes. Says what is there, does one thing at a time.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use futures_util::{Stream, StreamExt as _};
use genetlink::GenetlinkHandle;
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{
    InfoBridgePort, InfoData, InfoPortData, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo,
    LinkMessage,
};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage,
};
use rtnetlink::packet_route::route::{RouteAttribute, RouteHeader, RouteMessage, RouteProtocol};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::sys::AsyncSocket as _;
use rtnetlink::{Handle, LinkBridgePort, LinkUnspec, RouteMessageBuilder};
use tokio_util::task::AbortOnDropHandle;

use crate::backend::backhaul::Prefix;
use crate::backend::wifi::link::refused;
use crate::backend::wifi::netlink::{Dumps, NetlinkError};

/// Mark of the routes that are ours (rtm_protocol; from 5 on everybody may choose).
const OURS: u8 = 84;

/// A connection to the kernel, of the namespace where it was opened. Clones are the same connection.
#[derive(Clone)]
pub(in crate::backend) struct Net {
    handle: Handle,
    generic: GenetlinkHandle,
    dumps: Dumps,
    generic_dumps: Dumps,
    _tasks: Arc<[AbortOnDropHandle<()>; 2]>,
}

/// A network interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::backend) struct Link {
    pub(in crate::backend) index: u32,
    pub(in crate::backend) name: String,
    /// What somebody noted at it.
    pub(in crate::backend) alias: String,
    pub(in crate::backend) kind: String,
    pub(in crate::backend) mtu: u32,
    pub(in crate::backend) is_up: bool,
    /// The bridge that it is a port of.
    pub(in crate::backend) master: Option<u32>,
    /// Of a pair, the number of the other end in its own namespace.
    pub(in crate::backend) other_end: Option<u32>,
    /// Of VXLAN, the number of the segment and the address that it sends from.
    pub(in crate::backend) vxlan: Option<(u32, Option<IpAddr>)>,
    /// Of the port of a bridge, whether frames may leave where they came in.
    pub(in crate::backend) is_hairpin: bool,
    pub(in crate::backend) rx_packets: u64,
    pub(in crate::backend) rx_bytes: u64,
}

/// A route of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::backend) struct Route {
    pub(in crate::backend) to: Prefix,
    pub(in crate::backend) index: u32,
    pub(in crate::backend) metric: u32,
}

impl Net {
    /// Opens it in the namespace of this thread. Needs a runtime.
    pub(in crate::backend) fn connect() -> io::Result<Self> {
        let (mut connection, handle, _) = rtnetlink::new_connection()?;
        let socket = connection.socket_mut().socket_mut();
        socket.set_ext_ack(true)?;
        socket.set_cap_ack(true)?;
        let (generic, generic_handle, _) = genetlink::new_connection()?;
        let tasks = [
            AbortOnDropHandle::new(tokio::spawn(connection)),
            AbortOnDropHandle::new(tokio::spawn(generic)),
        ];
        Ok(Self {
            handle,
            generic: generic_handle,
            dumps: Dumps::default(),
            generic_dumps: Dumps::default(),
            _tasks: Arc::new(tasks),
        })
    }

    /// For what is asked of families of generic netlink.
    pub(in crate::backend) fn generic(&self) -> &GenetlinkHandle {
        &self.generic
    }

    /// The order of lists of generic netlink.
    pub(in crate::backend) fn generic_dumps(&self) -> &Dumps {
        &self.generic_dumps
    }

    pub(in crate::backend) async fn links(&self) -> Result<Vec<Link>, NetlinkError> {
        let ask = || {
            let answers = self.handle.link().get().execute();
            collect("list network interfaces", answers)
        };
        let messages = self.dumps.in_turn(ask).await?;
        Ok(messages.iter().map(link).collect())
    }

    pub(in crate::backend) async fn link(&self, name: &str) -> Result<Option<Link>, NetlinkError> {
        let answers = self.handle.link().get().match_name(name).execute();
        match collect(&format!("look up interface {name}"), answers).await {
            Ok(messages) => Ok(messages.first().map(link)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes an interface; answers what became of it.
    pub(in crate::backend) async fn add(
        &self,
        name: &str,
        message: LinkMessage,
    ) -> Result<Link, NetlinkError> {
        self.create(name, message).await?;
        let gone =
            || NetlinkError::NotInForce(format!("interface {name} is gone as soon as it is made"));
        self.link(name).await?.ok_or_else(gone)
    }

    /// Makes an interface, which may be told to be in another namespace.
    pub(in crate::backend) async fn create(
        &self,
        name: &str,
        message: LinkMessage,
    ) -> Result<(), NetlinkError> {
        let made = self.handle.link().add(message).execute().await;
        made.map_err(|error| refused(&format!("make interface {name}"), error))
    }

    /// Changes an interface.
    pub(in crate::backend) async fn change(
        &self,
        action: &str,
        message: LinkMessage,
    ) -> Result<(), NetlinkError> {
        let done = self.handle.link().set(message).execute().await;
        done.map_err(|error| refused(action, error))
    }

    /// Says whether frames may leave a port of a bridge where they came in.
    pub(in crate::backend) async fn set_hairpin(
        &self,
        port: &Link,
        is_on: bool,
    ) -> Result<(), NetlinkError> {
        let message = LinkBridgePort::new(port.index).hairpin(is_on).build();
        let done = self.handle.link().set_port(message).execute().await;
        let state = if is_on { "on" } else { "off" };
        done.map_err(|error| refused(&format!("switch hairpin of {} {state}", port.name), error))
    }

    pub(in crate::backend) async fn set_mtu(
        &self,
        link: &Link,
        mtu: u16,
    ) -> Result<(), NetlinkError> {
        let message = LinkUnspec::new_with_index(link.index)
            .mtu(mtu.into())
            .build();
        self.change(&format!("set the MTU of {} to {mtu}", link.name), message)
            .await
    }

    pub(in crate::backend) async fn set_up(&self, link: &Link) -> Result<(), NetlinkError> {
        let message = LinkUnspec::new_with_index(link.index).up().build();
        self.change(&format!("switch on {}", link.name), message)
            .await
    }

    pub(in crate::backend) async fn set_down(&self, link: &Link) -> Result<(), NetlinkError> {
        let message = LinkUnspec::new_with_index(link.index).down().build();
        self.change(&format!("switch off {}", link.name), message)
            .await
    }

    pub(in crate::backend) async fn rename(
        &self,
        index: u32,
        name: &str,
    ) -> Result<(), NetlinkError> {
        let message = LinkUnspec::new_with_index(index).name(name).build();
        self.change(&format!("call interface {index} {name}"), message)
            .await
    }

    /// Removes an interface; one that is gone is fine.
    pub(in crate::backend) async fn delete(&self, index: u32) -> Result<(), NetlinkError> {
        let done = self.handle.link().del(index).execute().await;
        match done.map_err(|error| refused(&format!("remove interface {index}"), error)) {
            Err(error) if error.is_not_found() => Ok(()),
            done => done,
        }
    }

    /// The addresses of an interface, but those that the kernel gives by itself.
    pub(in crate::backend) async fn addresses(
        &self,
        index: u32,
    ) -> Result<BTreeSet<Prefix>, NetlinkError> {
        let messages = self.address_messages(index).await?;
        let addresses = messages.iter().filter_map(|message| {
            let find = |wanted: fn(&AddressAttribute) -> Option<IpAddr>| {
                message.attributes.iter().find_map(wanted)
            };
            let local = find(|one| match one {
                AddressAttribute::Local(address) => Some(*address),
                _ => None,
            });
            let address = local.or_else(|| {
                find(|one| match one {
                    AddressAttribute::Address(address) => Some(*address),
                    _ => None,
                })
            })?;
            let is_link_local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
            (!is_link_local).then_some(Prefix {
                address,
                length: message.header.prefix_len,
            })
        });
        Ok(addresses.collect())
    }

    async fn address_messages(&self, index: u32) -> Result<Vec<AddressMessage>, NetlinkError> {
        let ask = || {
            let get = self.handle.address().get().set_link_index_filter(index);
            collect("list addresses", get.execute())
        };
        self.dumps.in_turn(ask).await
    }

    /// Gives an interface these addresses and no others; what was done.
    pub(in crate::backend) async fn set_addresses(
        &self,
        link: &Link,
        wanted: &BTreeSet<Prefix>,
    ) -> Result<Vec<String>, NetlinkError> {
        let found = self.addresses(link.index).await?;
        let mut done = Vec::new();
        for address in wanted.difference(&found) {
            let action = format!("give {} the address {address}", link.name);
            let added = self
                .handle
                .address()
                .add(link.index, address.address, address.length);
            added
                .execute()
                .await
                .map_err(|error| refused(&action, error))?;
            done.push(action);
        }
        for message in self.address_messages(link.index).await? {
            let of = |address: &Prefix| {
                message.attributes.iter().any(|one| {
                    matches!(one, AddressAttribute::Local(other) | AddressAttribute::Address(other) if *other == address.address)
                })
            };
            let extra = found.difference(wanted).find(|address| of(address));
            let Some(extra) = extra else { continue };
            let action = format!("take the address {extra} from {}", link.name);
            let removed = self.handle.address().del(message.clone()).execute().await;
            removed.map_err(|error| refused(&action, error))?;
            done.push(action);
        }
        Ok(done)
    }

    /// The routes of ours.
    pub(in crate::backend) async fn routes(&self) -> Result<BTreeSet<Route>, NetlinkError> {
        Ok(self
            .route_messages()
            .await?
            .iter()
            .filter_map(route)
            .collect())
    }

    /// Destinations of the routes that packets of the node take and that are not ours.
    pub(in crate::backend) async fn foreign_routes(
        &self,
    ) -> Result<BTreeSet<Prefix>, NetlinkError> {
        let all = self.all_routes().await?;
        let foreign = all.iter().filter(|message| {
            let header = &message.header;
            header.table == RouteHeader::RT_TABLE_MAIN
                && header.protocol != RouteProtocol::Other(OURS)
        });
        let destinations = foreign.filter_map(route).map(|route| route.to);
        Ok(destinations.collect())
    }

    async fn route_messages(&self) -> Result<Vec<RouteMessage>, NetlinkError> {
        let mut all = self.all_routes().await?;
        all.retain(|message| message.header.protocol == RouteProtocol::Other(OURS));
        Ok(all)
    }

    async fn all_routes(&self) -> Result<Vec<RouteMessage>, NetlinkError> {
        let mut all = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let ask = || {
                let mut message = RouteMessage::default();
                message.header.address_family = family;
                collect("list routes", self.handle.route().get(message).execute())
            };
            all.extend(self.dumps.in_turn(ask).await?);
        }
        Ok(all)
    }

    /// Adds what is missing, then removes what is too much over these interfaces: there is no moment without a route. What
    /// was done.
    pub(in crate::backend) async fn set_routes(
        &self,
        wanted: &BTreeSet<Route>,
        over: &BTreeSet<u32>,
    ) -> Result<Vec<String>, NetlinkError> {
        let found = self.routes().await?;
        let mut done = Vec::new();
        for route in wanted.difference(&found) {
            let action = format!("route {} over interface {}", route.to, route.index);
            let mut message = RouteMessageBuilder::<IpAddr>::new()
                .output_interface(route.index)
                .priority(route.metric)
                .protocol(RouteProtocol::Other(OURS));
            message = message
                .destination_prefix(route.to.address, route.to.length)
                .map_err(|_| NetlinkError::NotInForce(format!("{} is no destination", route.to)))?;
            let added = self
                .handle
                .route()
                .add(message.build())
                .replace()
                .execute()
                .await;
            added.map_err(|error| refused(&action, error))?;
            done.push(action);
        }
        for message in self.route_messages().await? {
            let is_extra = |route: &Route| over.contains(&route.index) && !wanted.contains(route);
            let Some(route) = route(&message).filter(is_extra) else {
                continue;
            };
            let action = format!(
                "remove the route to {} over interface {}",
                route.to, route.index
            );
            let removed = self.handle.route().del(message).execute().await;
            match removed.map_err(|error| refused(&action, error)) {
                // It went with its interface.
                Err(error) if error.errno() == Some(3) => {}
                removed => removed?,
            }
            done.push(action);
        }
        Ok(done)
    }

    /// Makes a VXLAN interface flood to these, and to no others; who was found behind others is looked for again.
    pub(in crate::backend) async fn set_flooding(
        &self,
        index: u32,
        wanted: &[IpAddr],
    ) -> Result<Vec<String>, NetlinkError> {
        let ask = || {
            let mut get = self.handle.neighbours().get();
            get.message_mut().header.family = AddressFamily::Bridge;
            collect("list where frames are flooded to", get.execute())
        };
        let found = self.dumps.in_turn(ask).await?;
        let found = found.iter().filter(|one| one.header.ifindex == index);
        let found = found.filter_map(|one| Some((destination(one)?, one)));
        let (flooded, learned): (Vec<_>, Vec<_>) = found.partition(|(_, one)| is_flooding(one));
        let mut done = Vec::new();
        for to in wanted
            .iter()
            .filter(|to| flooded.iter().all(|(known, _)| known != *to))
        {
            let action = format!("flood to {to}");
            let mut add = self
                .handle
                .neighbours()
                .add_bridge(index, &[0; 6])
                .destination(*to);
            add.message_mut().header.flags = NeighbourFlags::Own;
            let mut request =
                NetlinkMessage::from(RouteNetlinkMessage::NewNeighbour(add.message_mut().clone()));
            request.header.flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_APPEND;
            self.send(&action, request).await?;
            done.push(action);
        }
        for (to, message) in flooded.iter().filter(|(to, _)| !wanted.contains(to)) {
            let action = format!("flood to {to} no more");
            self.forget(&action, message).await?;
            done.push(action);
        }
        for (to, message) in learned.iter().filter(|(to, _)| !wanted.contains(to)) {
            let action = format!("forget who is behind {to}");
            match self.forget(&action, message).await {
                // Its time was over.
                Err(error) if error.is_not_found() => {}
                done => done?,
            }
        }
        Ok(done)
    }

    async fn forget(&self, action: &str, message: &NeighbourMessage) -> Result<(), NetlinkError> {
        let message = RouteNetlinkMessage::DelNeighbour(message.clone());
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | NLM_F_ACK;
        self.send(action, request).await
    }

    async fn send(
        &self,
        action: &str,
        request: NetlinkMessage<RouteNetlinkMessage>,
    ) -> Result<(), NetlinkError> {
        let mut handle = self.handle.clone();
        let mut answers = handle
            .request(request)
            .map_err(|error| refused(action, error))?;
        while let Some(answer) = answers.next().await {
            if let NetlinkPayload::Error(error) = answer.payload
                && error.code.is_some()
            {
                return Err(NetlinkError::refused(action, &error));
            }
        }
        Ok(())
    }
}

/// Where frames of an entry of a forwarding table go. The family of its address is its length: the message is of bridges.
fn destination(message: &NeighbourMessage) -> Option<IpAddr> {
    message.attributes.iter().find_map(|one| match one {
        NeighbourAttribute::Destination(NeighbourAddress::Other(octets)) => {
            let v4 = <[u8; 4]>::try_from(octets.as_slice()).map(IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(octets.as_slice()).map(IpAddr::from))
                .ok()
        }
        _ => None,
    })
}

/// Whether an entry is of frames whose receiver is not known, or is everybody.
fn is_flooding(message: &NeighbourMessage) -> bool {
    message.attributes.iter().any(|one| {
        matches!(one, NeighbourAttribute::LinkLayerAddress(mac) if mac.iter().all(|octet| *octet == 0))
    })
}

/// All answers of a request.
async fn collect<T>(
    action: &str,
    answers: impl Stream<Item = Result<T, rtnetlink::Error>>,
) -> Result<Vec<T>, NetlinkError> {
    let mut answers = std::pin::pin!(answers);
    let mut messages = Vec::new();
    while let Some(answer) = answers.next().await {
        messages.push(answer.map_err(|error| refused(action, error))?);
    }
    Ok(messages)
}

fn link(message: &LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        is_up: message.header.flags.contains(LinkFlags::Up),
        ..Link::default()
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::IfAlias(alias) => link.alias.clone_from(alias),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Controller(index) => link.master = Some(*index).filter(|one| *one != 0),
            LinkAttribute::Link(index) => link.other_end = Some(*index),
            LinkAttribute::Stats64(stats) => {
                (link.rx_packets, link.rx_bytes) = (stats.rx_packets, stats.rx_bytes);
            }
            LinkAttribute::LinkInfo(infos) => {
                let kind = infos.iter().find_map(|info| match info {
                    LinkInfo::Kind(kind) => Some(kind.to_string()),
                    _ => None,
                });
                link.kind = kind.unwrap_or_default();
                link.vxlan = infos.iter().find_map(vxlan);
                link.is_hairpin = infos.iter().any(is_hairpin);
            }
            _ => {}
        }
    }
    link
}

fn is_hairpin(info: &LinkInfo) -> bool {
    let LinkInfo::PortData(InfoPortData::BridgePort(parts)) = info else {
        return false;
    };
    parts.contains(&InfoBridgePort::HairpinMode(true))
}

fn vxlan(info: &LinkInfo) -> Option<(u32, Option<IpAddr>)> {
    let LinkInfo::Data(InfoData::Vxlan(parts)) = info else {
        return None;
    };
    let vni = parts.iter().find_map(|part| match part {
        InfoVxlan::Id(vni) => Some(*vni),
        _ => None,
    });
    let local = parts.iter().find_map(|part| match part {
        InfoVxlan::Local(local) => Some(IpAddr::V4(*local)),
        InfoVxlan::Local6(local) => Some(IpAddr::V6(*local)),
        _ => None,
    });
    Some((vni?, local))
}

fn route(message: &RouteMessage) -> Option<Route> {
    use rtnetlink::packet_route::route::RouteAddress;
    let (mut address, mut index, mut metric) = (None, None, 0);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(to)) => address = Some(IpAddr::V4(*to)),
            RouteAttribute::Destination(RouteAddress::Inet6(to)) => address = Some(IpAddr::V6(*to)),
            RouteAttribute::Oif(oif) => index = Some(*oif),
            RouteAttribute::Priority(priority) => metric = *priority,
            _ => {}
        }
    }
    // A default route has no destination.
    let default: IpAddr = match message.header.address_family {
        AddressFamily::Inet => [0; 4].into(),
        _ => [0; 16].into(),
    };
    Some(Route {
        to: Prefix {
            address: address.unwrap_or(default),
            length: message.header.destination_prefix_length,
        },
        index: index?,
        metric,
    })
}
