//! The kernel's wireless interface: radios, virtual interfaces, mesh, survey, stations, neighbours and live events.
//!
//! Owns the translation between the kernel's messages and plain types; decides nothing. What beacons and authenticates
//! (hostapd) is somebody else's, and so are bridges and addresses ([`super::bridge`]). All requests of a handle share one
//! socket; events come from a second one, which is opened again if it fails.

mod event;
mod interface;
mod missing;
mod scan;
mod station;
mod wiphy;
mod wiphy_parts;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures_util::StreamExt as _;
use netlink_packet_core::{
    DecodeError, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_generic::GenlMessage;
use rtnetlink::sys::AsyncSocket as _;
use tokio::sync::broadcast;
use tokio_util::task::AbortOnDropHandle;
use wl_nl80211::{Nl80211Attr, Nl80211Command, Nl80211Handle, Nl80211Message};

use self::missing::RawMessage;
use super::netlink::{Dumps, NetlinkError};

pub use event::Event;
pub use interface::{Interface, InterfaceKind, MeshJoin, NewInterface, TxPower};
pub use scan::Bss;
pub use station::{Station, Survey};
pub use wiphy::{BandLimits, ChannelLimits, InterfaceCombination, InterfaceLimit, Wiphy};

/// Events that a reader may lag behind before it is told that it missed some.
const EVENT_QUEUE: usize = 1024;
/// How long the kernel may take to put a regulatory domain in force.
const REGULATORY_WAIT: Duration = Duration::from_secs(3);
/// How often that is looked at.
const REGULATORY_POLL: Duration = Duration::from_millis(50);

/// A connection to the kernel's `nl80211`. Clones share it.
#[derive(Debug, Clone)]
pub struct Nl80211 {
    handle: Nl80211Handle,
    events: broadcast::Sender<Event>,
    /// The wiphys that are ours, by name; all if none is named.
    only: Arc<[String]>,
    wiphys: Arc<RwLock<Arc<[Wiphy]>>>,
    dumps: Dumps,
    _tasks: Arc<[AbortOnDropHandle<()>; 2]>,
}

impl Nl80211 {
    /// Opens the connection and reads the wiphys once. Needs no privilege; needs a runtime.
    ///
    /// # Errors
    /// [`NetlinkError::Absent`] if this kernel has no `nl80211` (module `cfg80211`).
    pub async fn connect() -> Result<Self, NetlinkError> {
        Self::connect_to(&[]).await
    }

    /// The same for the wiphys of these names only: others, and their interfaces, are not there for this handle. All if none
    /// is named.
    ///
    /// # Errors
    /// [`NetlinkError::Absent`] if this kernel has no `nl80211` (module `cfg80211`).
    pub async fn connect_to(names: &[String]) -> Result<Self, NetlinkError> {
        let (mut connection, handle, _) =
            wl_nl80211::new_connection().map_err(NetlinkError::Socket)?;
        let socket = connection.socket_mut().socket_mut();
        socket.set_ext_ack(true).map_err(NetlinkError::Socket)?;
        socket.set_cap_ack(true).map_err(NetlinkError::Socket)?;
        let requests = AbortOnDropHandle::new(tokio::spawn(connection));
        let family = handle.handle.resolve_family::<Nl80211Message>().await;
        family.map_err(|_| NetlinkError::Absent("nl80211 (module cfg80211)"))?;
        let (events, _) = broadcast::channel(EVENT_QUEUE);
        let source = event::Source::open().map_err(NetlinkError::Socket)?;
        let forward = AbortOnDropHandle::new(tokio::spawn(source.forward(events.clone())));
        let this = Self {
            handle,
            events,
            only: names.into(),
            wiphys: Arc::new(RwLock::new(Arc::new([]))),
            dumps: Dumps::default(),
            _tasks: Arc::new([requests, forward]),
        };
        this.wiphys().await?;
        Ok(this)
    }

    /// What happens from now on. A reader that lags is told so by its receiver, and [`Event::Missed`] says that the kernel
    /// dropped some: in both cases, look at everything again.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// The wiphys, by index, with what they can do under the regulatory domain in force. Also refreshes
    /// [`Nl80211::known_wiphys`].
    ///
    /// # Errors
    /// The kernel can't be asked.
    pub async fn wiphys(&self) -> Result<Vec<Wiphy>, NetlinkError> {
        let ask = vec![Nl80211Attr::SplitWiphyDump];
        let parts = self
            .dump_raw("list wiphys", Nl80211Command::GetWiphy, ask)
            .await?;
        let mut wiphys = wiphy_parts::assemble(&parts);
        wiphys.retain(|wiphy| self.only.is_empty() || self.only.contains(&wiphy.name));
        *self.wiphys.write().unwrap_or_else(PoisonError::into_inner) = wiphys.clone().into();
        Ok(wiphys)
    }

    /// The wiphys as [`Nl80211::wiphys`] found them last: for planning, which cannot wait.
    #[must_use]
    pub fn known_wiphys(&self) -> Arc<[Wiphy]> {
        Arc::clone(&self.wiphys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The country of the regulatory domain in force, as in `DE`; `00` is the world's and `99` one that the driver made.
    ///
    /// # Errors
    /// The kernel can't be asked.
    pub async fn regulatory_domain(&self) -> Result<String, NetlinkError> {
        let what = "read the regulatory domain";
        let answers = self
            .exchange(what, Nl80211Command::GetReg, Vec::new(), NLM_F_REQUEST)
            .await?;
        read_all(what, &answers)?
            .iter()
            .find_map(|message| missing::alpha2_of(&message.attributes))
            .ok_or_else(|| NetlinkError::Unreadable {
                action: what.to_owned(),
                reason: "it names no country".to_owned(),
            })
    }

    /// Asks for the regulatory domain of a country (two letters, or `00`) and waits until it is in force. Needs
    /// `CAP_NET_ADMIN`; the channels of [`Nl80211::wiphys`] change with it.
    ///
    /// # Errors
    /// The kernel refuses, or does not follow: [`NetlinkError::NotInForce`], mostly for want of a regulatory database.
    pub async fn set_regulatory_domain(&self, country: &str) -> Result<(), NetlinkError> {
        if self.regulatory_domain().await? == country {
            return Ok(());
        }
        let action = format!("use regulatory domain {country}");
        let attributes = vec![missing::regulatory_alpha2(country)];
        self.order(&action, Nl80211Command::ReqSetReg, attributes)
            .await?;
        let deadline = tokio::time::Instant::now() + REGULATORY_WAIT;
        while self.regulatory_domain().await? != country {
            if tokio::time::Instant::now() > deadline {
                return Err(NetlinkError::NotInForce(format!(
                    "the kernel does not use regulatory domain {country}: is the regulatory database installed \
                     (wireless-regdb) and the country in it?"
                )));
            }
            tokio::time::sleep(REGULATORY_POLL).await;
        }
        self.wiphys().await.map(drop)
    }

    /// Sends an order and waits for the kernel's yes.
    async fn order(
        &self,
        action: &str,
        command: Nl80211Command,
        attributes: Vec<Nl80211Attr>,
    ) -> Result<(), NetlinkError> {
        let flags = NLM_F_REQUEST | NLM_F_ACK;
        self.exchange(action, command, attributes, flags)
            .await
            .map(drop)
    }

    /// Asks for a list.
    async fn dump(
        &self,
        action: &str,
        command: Nl80211Command,
        attributes: Vec<Nl80211Attr>,
    ) -> Result<Vec<Nl80211Message>, NetlinkError> {
        let messages = self.dump_raw(action, command, attributes).await?;
        read_all(action, &messages)
    }

    async fn dump_raw(
        &self,
        action: &str,
        command: Nl80211Command,
        attributes: Vec<Nl80211Attr>,
    ) -> Result<Vec<RawMessage>, NetlinkError> {
        let flags = NLM_F_REQUEST | NLM_F_DUMP;
        let ask = || self.exchange(action, command, attributes.clone(), flags);
        self.dumps.in_turn(ask).await
    }

    /// One request with all its answers.
    async fn exchange(
        &self,
        action: &str,
        command: Nl80211Command,
        attributes: Vec<Nl80211Attr>,
        flags: u16,
    ) -> Result<Vec<RawMessage>, NetlinkError> {
        let message = RawMessage::new(command, attributes);
        let mut request = NetlinkMessage::from(GenlMessage::from_payload(message));
        request.header.flags = flags;
        let mut handle = self.handle.handle.clone();
        let stream = handle.request(request).await;
        let mut stream = std::pin::pin!(stream.map_err(|_| NetlinkError::Closed)?);
        let mut answers = Vec::new();
        while let Some(answer) = stream.next().await {
            match answer.map(|answer| answer.payload) {
                Ok(NetlinkPayload::InnerMessage(message)) => answers.push(message.payload),
                Ok(NetlinkPayload::Error(error)) if error.code.is_some() => {
                    return Err(NetlinkError::refused(action, &error));
                }
                Ok(_) => {}
                Err(reason) => return Err(unreadable(action, &reason)),
            }
        }
        Ok(answers)
    }
}

fn read_all(action: &str, messages: &[RawMessage]) -> Result<Vec<Nl80211Message>, NetlinkError> {
    let each = messages.iter().map(RawMessage::read);
    each.collect::<Result<_, _>>()
        .map_err(|reason| unreadable(action, &reason))
}

fn unreadable(action: &str, reason: &DecodeError) -> NetlinkError {
    NetlinkError::Unreadable {
        action: action.to_owned(),
        reason: reason.to_string(),
    }
}
