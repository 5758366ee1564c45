//! What happens to radios, interfaces and stations, as the kernel tells it.

use std::io;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use netlink_packet_core::NetlinkPayload;
use tokio::sync::broadcast;
use tokio_util::task::AbortOnDropHandle;
use wl_nl80211::{
    Nl80211Attr, Nl80211Command, Nl80211Handle, Nl80211Message, Nl80211MulticastGroup,
};

use super::interface;
use crate::backend::MacAddress;
use crate::backend::wifi::Channel;

/// Time before a socket that failed is opened again.
const REOPEN: Duration = Duration::from_secs(1);

/// Something happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A radio is there, or changed its name.
    WiphyAdded {
        /// The kernel's number.
        index: u32,
        /// Name.
        name: String,
    },
    /// A radio is gone.
    WiphyRemoved {
        /// The kernel's number.
        index: u32,
    },
    /// An interface is there.
    InterfaceAdded {
        /// The kernel's number.
        ifindex: u32,
        /// Name.
        name: String,
    },
    /// An interface is gone.
    InterfaceRemoved {
        /// The kernel's number.
        ifindex: u32,
        /// Name.
        name: String,
    },
    /// A station associated, or a mesh peer was found.
    StationAdded {
        /// With which interface.
        ifindex: u32,
        /// Its address.
        mac: MacAddress,
    },
    /// A station is gone.
    StationRemoved {
        /// From which interface.
        ifindex: u32,
        /// Its address.
        mac: MacAddress,
    },
    /// An interface is on another channel.
    ChannelSwitched {
        /// Which.
        ifindex: u32,
        /// Its channel, if it is one of ours.
        channel: Option<Channel>,
    },
    /// A scan is over: [`super::Nl80211::heard`] has the result.
    ScanDone {
        /// By which interface.
        ifindex: u32,
    },
    /// A scan was given up.
    ScanAborted {
        /// By which interface.
        ifindex: u32,
    },
    /// Another regulatory domain is in force; channels may have been allowed or forbidden.
    RegulatoryChanged,
    /// The kernel had more to say than was read: anything may have happened.
    Missed,
}

/// A socket that hears everything, with the task that reads it.
pub(super) struct Source {
    // The connection ends with its last handle.
    _handle: Nl80211Handle,
    _reader: AbortOnDropHandle<()>,
    events: BoxStream<'static, Option<Event>>,
}

impl Source {
    /// Opens one. Events count from here on.
    pub(super) fn open() -> io::Result<Self> {
        let (connection, handle, messages) = wl_nl80211::new_multicast_connection(&[
            Nl80211MulticastGroup::Config,
            Nl80211MulticastGroup::Mlme,
            Nl80211MulticastGroup::Scan,
            Nl80211MulticastGroup::Regulatory,
        ])?;
        let events = messages.map(|(message, _)| match message.payload {
            NetlinkPayload::InnerMessage(raw) => match raw.parse_into_genlmsg() {
                Ok(message) => event(&message.payload),
                Err(reason) => {
                    tracing::debug!(%reason, "an event of nl80211 cannot be read");
                    Some(Event::Missed)
                }
            },
            NetlinkPayload::Overrun(_) => Some(Event::Missed),
            _ => None,
        });
        Ok(Self {
            _handle: handle,
            _reader: AbortOnDropHandle::new(tokio::spawn(connection)),
            events: events.boxed(),
        })
    }

    /// Hands events on for as long as the task lives, from a new socket if the old one fails.
    pub(super) async fn forward(mut self, to: broadcast::Sender<Event>) {
        loop {
            while let Some(event) = self.events.next().await {
                if let Some(event) = event {
                    // Nobody need listen.
                    drop(to.send(event));
                }
            }
            tracing::warn!("the socket for events of nl80211 failed: it is opened again");
            self = loop {
                tokio::time::sleep(REOPEN).await;
                match Self::open() {
                    Ok(source) => break source,
                    Err(error) => tracing::debug!(%error, "no socket for events of nl80211"),
                }
            };
            drop(to.send(Event::Missed));
        }
    }
}

/// The event in a message, if it is one that matters here.
fn event(message: &Nl80211Message) -> Option<Event> {
    let attributes = &message.attributes;
    let (mut wiphy, mut ifindex, mut name, mut wiphy_name, mut mac) =
        (None, None, None, None, None);
    for attribute in attributes {
        match attribute {
            Nl80211Attr::Wiphy(index) => wiphy = Some(*index),
            Nl80211Attr::WiphyName(text) => wiphy_name = Some(text.clone()),
            Nl80211Attr::IfIndex(index) => ifindex = Some(*index),
            Nl80211Attr::IfName(text) => name = Some(text.clone()),
            Nl80211Attr::Mac(octets) => mac = Some(MacAddress(*octets)),
            _ => {}
        }
    }
    Some(match message.cmd {
        Nl80211Command::NewWiphy => Event::WiphyAdded {
            index: wiphy?,
            name: wiphy_name?,
        },
        Nl80211Command::DelWiphy => Event::WiphyRemoved { index: wiphy? },
        Nl80211Command::NewInterface => Event::InterfaceAdded {
            ifindex: ifindex?,
            name: name?,
        },
        Nl80211Command::DelInterface => Event::InterfaceRemoved {
            ifindex: ifindex?,
            name: name?,
        },
        Nl80211Command::NewStation => Event::StationAdded {
            ifindex: ifindex?,
            mac: mac?,
        },
        Nl80211Command::DelStation => Event::StationRemoved {
            ifindex: ifindex?,
            mac: mac?,
        },
        Nl80211Command::ChSwitchNotify => Event::ChannelSwitched {
            ifindex: ifindex?,
            channel: interface::channel_of(attributes),
        },
        Nl80211Command::NewScanResults => Event::ScanDone { ifindex: ifindex? },
        Nl80211Command::ScanAborted => Event::ScanAborted { ifindex: ifindex? },
        Nl80211Command::RegChange | Nl80211Command::WiphyRegChange => Event::RegulatoryChanged,
        _ => return None,
    })
}
