//! Network interfaces of any kind: what is there, up and down, and live events, through rtnetlink.
//!
//! What wireless interfaces have beyond that is [`super::nl80211`]'s; bridges are made and used in [`super::bridge`].

use std::io;
use std::time::Duration;

use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt as _};
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::link::{
    InfoBridge, InfoData, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::sys::AsyncSocket as _;
use rtnetlink::{Handle, LinkGetRequest, LinkUnspec, MulticastGroup};
use tokio::sync::broadcast;
use tokio_util::task::AbortOnDropHandle;

use super::netlink::{Dumps, NetlinkError};
use crate::backend::MacAddress;

/// Events that a reader may lag behind before it is told that it missed some.
const EVENT_QUEUE: usize = 1024;
/// Time before a socket that failed is opened again.
const REOPEN: Duration = Duration::from_secs(1);

/// A network interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number.
    pub ifindex: u32,
    /// Name.
    pub name: String,
    /// Address; none for interfaces without an Ethernet one.
    pub mac: Option<MacAddress>,
    /// Whether it is up by administration.
    pub is_up: bool,
    /// Kind, as in `bridge`; none for hardware, wireless interfaces among it.
    pub kind: Option<String>,
    /// The bridge (or other master) that it is a port of.
    pub master: Option<u32>,
    /// Text that an administrator or program gave it (`ip link set alias`).
    pub alias: Option<String>,
    /// For a bridge: whether it filters VLANs.
    pub filters_vlans: bool,
}

/// Something happened to a network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkEvent {
    /// One is there, or is not what it was.
    Changed(Link),
    /// One left its bridge.
    LeftBridge {
        /// The kernel's number.
        ifindex: u32,
        /// Name.
        name: String,
    },
    /// One is gone.
    Removed {
        /// The kernel's number.
        ifindex: u32,
        /// Name.
        name: String,
    },
    /// The kernel had more to say than was read: anything may have happened.
    Missed,
}

/// A connection to the kernel's rtnetlink. Clones share it.
#[derive(Debug, Clone)]
pub struct Links {
    handle: Handle,
    events: broadcast::Sender<LinkEvent>,
    dumps: Dumps,
    _tasks: std::sync::Arc<[AbortOnDropHandle<()>; 2]>,
}

impl Links {
    /// Opens the connection. Needs no privilege; needs a runtime.
    ///
    /// # Errors
    /// There is no socket to be had.
    pub fn connect() -> Result<Self, NetlinkError> {
        let (mut connection, handle, _) =
            rtnetlink::new_connection().map_err(NetlinkError::Socket)?;
        let socket = connection.socket_mut().socket_mut();
        socket.set_ext_ack(true).map_err(NetlinkError::Socket)?;
        socket.set_cap_ack(true).map_err(NetlinkError::Socket)?;
        let requests = AbortOnDropHandle::new(tokio::spawn(connection));
        let (events, _) = broadcast::channel(EVENT_QUEUE);
        let source = Source::open().map_err(NetlinkError::Socket)?;
        let forward = AbortOnDropHandle::new(tokio::spawn(source.forward(events.clone())));
        Ok(Self {
            handle,
            events,
            dumps: Dumps::default(),
            _tasks: std::sync::Arc::new([requests, forward]),
        })
    }

    /// What happens from now on. A reader that lags is told so by its receiver, and [`LinkEvent::Missed`] says that the
    /// kernel dropped some: in both cases, look at everything again.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<LinkEvent> {
        self.events.subscribe()
    }

    /// All network interfaces of this network namespace.
    ///
    /// # Errors
    /// The kernel can't be asked.
    pub async fn links(&self) -> Result<Vec<Link>, NetlinkError> {
        let messages = self.dump("list network interfaces", || self.handle.link().get());
        Ok(messages.await?.iter().filter_map(link).collect())
    }

    /// The network interface of this name, if it is there.
    ///
    /// # Errors
    /// The kernel can't be asked.
    pub async fn link(&self, name: &str) -> Result<Option<Link>, NetlinkError> {
        let request = self.handle.link().get().match_name(name);
        let action = format!("look up interface {name}");
        match collect(&action, request.execute()).await {
            Ok(messages) => Ok(messages.iter().find_map(link)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Switches a network interface on or off. Needs `CAP_NET_ADMIN`.
    ///
    /// # Errors
    /// The kernel refuses, or the interface is gone.
    pub async fn set_up(&self, ifindex: u32, up: bool) -> Result<(), NetlinkError> {
        let (message, action) = match up {
            true => (LinkUnspec::new_with_index(ifindex).up(), "switch on"),
            false => (LinkUnspec::new_with_index(ifindex).down(), "switch off"),
        };
        let action = format!("{action} interface {ifindex}");
        self.change(&action, message.build()).await
    }

    /// Changes a network interface.
    pub(super) async fn change(
        &self,
        action: &str,
        message: LinkMessage,
    ) -> Result<(), NetlinkError> {
        let done = self.handle.link().set(message).execute().await;
        done.map_err(|error| refused(action, error))
    }

    /// Asks for a list.
    pub(super) async fn dump(
        &self,
        action: &str,
        request: impl Fn() -> LinkGetRequest,
    ) -> Result<Vec<LinkMessage>, NetlinkError> {
        let ask = || collect(action, request().execute());
        self.dumps.in_turn(ask).await
    }

    /// The handle, for what only bridges need.
    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }
}

/// All answers of a request.
async fn collect(
    action: &str,
    answers: impl Stream<Item = Result<LinkMessage, rtnetlink::Error>>,
) -> Result<Vec<LinkMessage>, NetlinkError> {
    let mut answers = std::pin::pin!(answers);
    let mut messages = Vec::new();
    while let Some(answer) = answers.next().await {
        messages.push(answer.map_err(|error| refused(action, error))?);
    }
    Ok(messages)
}

/// The crate's error, as ours.
pub(in crate::backend) fn refused(action: &str, error: rtnetlink::Error) -> NetlinkError {
    match error {
        rtnetlink::Error::NetlinkError(error) => NetlinkError::refused(action, &error),
        rtnetlink::Error::RequestFailed => NetlinkError::Closed,
        other => NetlinkError::Unreadable {
            action: action.to_owned(),
            reason: other.to_string(),
        },
    }
}

/// The interface in a message.
fn link(message: &LinkMessage) -> Option<Link> {
    let mut found = Link {
        ifindex: message.header.index,
        is_up: message.header.flags.contains(LinkFlags::Up),
        ..Link::default()
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => found.name.clone_from(name),
            LinkAttribute::Address(octets) => {
                found.mac = <[u8; 6]>::try_from(octets.as_slice()).ok().map(MacAddress);
            }
            LinkAttribute::Controller(index) => found.master = Some(*index).filter(|one| *one != 0),
            LinkAttribute::IfAlias(alias) => found.alias = Some(alias.clone()),
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    match info {
                        LinkInfo::Kind(kind) => found.kind = Some(kind.to_string()),
                        LinkInfo::Data(InfoData::Bridge(data)) => {
                            found.filters_vlans = data.contains(&InfoBridge::VlanFiltering(true));
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Some(found).filter(|link| !link.name.is_empty())
}

/// A socket that hears of every interface, with the task that reads it.
struct Source {
    // The connection ends with its last handle.
    _handle: Handle,
    _reader: AbortOnDropHandle<()>,
    events: BoxStream<'static, Option<LinkEvent>>,
}

impl Source {
    fn open() -> io::Result<Self> {
        let (connection, handle, messages) =
            rtnetlink::new_multicast_connection(&[MulticastGroup::Link])?;
        let events = messages.map(|(message, _)| match message.payload {
            NetlinkPayload::InnerMessage(message) => event(&message),
            NetlinkPayload::Overrun(_) => Some(LinkEvent::Missed),
            _ => None,
        });
        Ok(Self {
            _handle: handle,
            _reader: AbortOnDropHandle::new(tokio::spawn(connection)),
            events: events.boxed(),
        })
    }

    /// Hands events on for as long as the task lives, from a new socket if the old one fails.
    async fn forward(mut self, to: broadcast::Sender<LinkEvent>) {
        loop {
            while let Some(event) = self.events.next().await {
                if let Some(event) = event {
                    // Nobody need listen.
                    drop(to.send(event));
                }
            }
            tracing::warn!(
                "the socket for events of network interfaces failed: it is opened again"
            );
            self = loop {
                tokio::time::sleep(REOPEN).await;
                match Self::open() {
                    Ok(source) => break source,
                    Err(error) => tracing::debug!(%error, "no socket for events of interfaces"),
                }
            };
            drop(to.send(LinkEvent::Missed));
        }
    }
}

/// The event in a message. A bridge tells of its ports in messages of its own family.
fn event(message: &RouteNetlinkMessage) -> Option<LinkEvent> {
    match message {
        RouteNetlinkMessage::NewLink(message) => {
            let of_bridge = message.header.interface_family == AddressFamily::Bridge;
            link(message).filter(|_| !of_bridge).map(LinkEvent::Changed)
        }
        RouteNetlinkMessage::DelLink(message) => {
            let of_bridge = message.header.interface_family == AddressFamily::Bridge;
            let Link { ifindex, name, .. } = link(message)?;
            Some(match of_bridge {
                true => LinkEvent::LeftBridge { ifindex, name },
                false => LinkEvent::Removed { ifindex, name },
            })
        }
        _ => None,
    }
}
