//! The generic netlink family of `mac80211_hwsim`: radios, their frames, and what becomes of them.
//!
//! After REGISTER the driver hands every frame of every radio over as a FRAME with a cookie. It is delivered with a FRAME to
//! each radio that hears it, and given back to its sender with a TX_INFO_FRAME that carries the cookie. The driver names a radio
//! by the second of its two addresses, here its hardware address.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkMessage, NetlinkPayload,
    NetlinkSerializable,
};
use netlink_packet_generic::GenlMessage;
use netlink_packet_generic::ctrl::nlas::{GenlCtrlAttrs, McastGrpAttrs};
use netlink_packet_generic::ctrl::{GenlCtrl, GenlCtrlCmd};
use netlink_sys::protocols::NETLINK_GENERIC;
use netlink_sys::{Socket, SocketAddr};

use super::contention::Status;
use super::error::{Error, netlink};
use super::frame::{Frame, Mac, Step};
use super::message::{self, Event, FAMILY, Message};

/// Room for what all radios may have under way.
const RECEIVE_BUFFER_BYTES: usize = 8 << 20;
/// Longer than any message of the driver.
const MESSAGE_BYTES: usize = 32 << 10;
/// The driver's multicast group that tells of radios that come and go.
const GROUP: &str = "config";

/// Connection to the driver, as the medium of all its radios in this network namespace and those moved out of it.
#[derive(Debug)]
pub struct Hwsim {
    socket: Socket,
    family: u16,
    sequence: u32,
    buffer: Vec<u8>,
    events: VecDeque<Event>,
    /// The last request that the driver refused.
    refused: Option<u32>,
}

impl Hwsim {
    /// Becomes the medium. Radios that are there come as the first events.
    ///
    /// # Errors
    /// Without driver, without privilege, and where another program is the medium.
    pub fn register() -> Result<Self, Error> {
        let mut socket = Socket::new(NETLINK_GENERIC).map_err(netlink("socket"))?;
        socket.bind_auto().map_err(netlink("bind"))?;
        let kernel = SocketAddr::new(0, 0);
        socket.connect(&kernel).map_err(netlink("connect"))?;
        let mut hwsim = Self {
            socket,
            family: 0,
            sequence: 0,
            buffer: Vec::with_capacity(MESSAGE_BYTES),
            events: VecDeque::new(),
            refused: None,
        };
        let (family, group) = hwsim.resolve()?;
        hwsim.family = family;
        let enough = rustix::net::sockopt::set_socket_recv_buffer_size_force(
            hwsim.socket.as_fd(),
            RECEIVE_BUFFER_BYTES,
        );
        if enough.is_err() {
            return Err(Error::NotPermitted);
        }
        hwsim.acknowledged(Message::register(), "REGISTER")?;
        let joined = hwsim.socket.add_membership(group);
        joined.map_err(netlink("group of the driver"))?;
        hwsim.list_radios()?;
        let polled = hwsim.socket.set_non_blocking(true);
        polled.map_err(netlink("non-blocking socket"))?;
        Ok(hwsim)
    }

    /// Takes in what the driver has said. Never waits.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn receive(&mut self) -> Result<(), Error> {
        while self.receive_one()? {}
        Ok(())
    }

    /// The next thing that the driver said and nobody saw.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Lets a radio hear a frame. False where it does not listen on that channel, or is down.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn deliver(
        &mut self,
        frame: &Frame,
        step: &Step,
        at: Mac,
        signal_dbm: i8,
    ) -> Result<bool, Error> {
        let sequence = self.send(Message::frame(frame, step, at, signal_dbm), 0)?;
        // The driver has answered when sending returns, and says something only where it refuses.
        self.receive()?;
        Ok(self.refused != Some(sequence))
    }

    /// Tells a radio what became of its frame.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn report(&mut self, radio: Mac, frame: &Frame, status: Status) -> Result<(), Error> {
        self.send(Message::status(radio, frame, status), 0)?;
        Ok(())
    }

    fn send(&mut self, message: Message, flags: u16) -> Result<u32, Error> {
        let mut message = NetlinkMessage::from(GenlMessage::from_payload(message));
        if let NetlinkPayload::InnerMessage(inner) = &mut message.payload {
            inner.set_resolved_family_id(self.family);
        }
        self.send_message(message, flags)
    }

    fn send_message<M: NetlinkSerializable>(
        &mut self,
        mut message: NetlinkMessage<M>,
        flags: u16,
    ) -> Result<u32, Error> {
        self.sequence = self.sequence.wrapping_add(1);
        message.header.flags = NLM_F_REQUEST | flags;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0).map_err(netlink("send"))?;
        Ok(self.sequence)
    }

    /// One datagram; false where there is none.
    fn receive_one(&mut self) -> Result<bool, Error> {
        self.buffer.clear();
        match self.socket.recv(&mut self.buffer, 0) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(true),
            Err(source) => {
                return Err(Error::Netlink {
                    what: "receive",
                    source,
                });
            }
        }
        for message in split::<GenlMessage<Message>>(&self.buffer)? {
            match message.payload {
                NetlinkPayload::InnerMessage(inner) => {
                    self.events.extend(message::event(inner.payload));
                }
                NetlinkPayload::Error(error) if error.code.is_some() => {
                    self.refused = Some(message.header.sequence_number);
                }
                _ => {}
            }
        }
        Ok(true)
    }

    /// Sends and waits for the driver's yes.
    fn acknowledged(&mut self, message: Message, what: &'static str) -> Result<(), Error> {
        let sequence = self.send(message, netlink_packet_core::NLM_F_ACK)?;
        loop {
            self.buffer.clear();
            let received = self.socket.recv(&mut self.buffer, 0);
            received.map_err(netlink(what))?;
            for message in split::<GenlMessage<Message>>(&self.buffer)? {
                match message.payload {
                    NetlinkPayload::Error(error) if message.header.sequence_number == sequence => {
                        return match error.code {
                            None => Ok(()),
                            Some(_) => Err(refusal(what, error.to_io())),
                        };
                    }
                    NetlinkPayload::InnerMessage(inner) => {
                        self.events.extend(message::event(inner.payload));
                    }
                    _ => {}
                }
            }
        }
    }

    fn list_radios(&mut self) -> Result<(), Error> {
        self.send(Message::get_radio(), NLM_F_DUMP)?;
        loop {
            self.buffer.clear();
            let received = self.socket.recv(&mut self.buffer, 0);
            received.map_err(netlink("list of radios"))?;
            for message in split::<GenlMessage<Message>>(&self.buffer)? {
                match message.payload {
                    NetlinkPayload::Done(_) => return Ok(()),
                    NetlinkPayload::Error(error) if error.code.is_some() => {
                        return Err(refusal("list of radios", error.to_io()));
                    }
                    NetlinkPayload::InnerMessage(inner) => {
                        self.events.extend(message::event(inner.payload));
                    }
                    _ => {}
                }
            }
        }
    }

    /// The numbers of the family and of its multicast group.
    fn resolve(&mut self) -> Result<(u16, u32), Error> {
        let request = GenlCtrl {
            cmd: GenlCtrlCmd::GetFamily,
            nlas: vec![GenlCtrlAttrs::FamilyName(FAMILY.to_owned())],
        };
        self.send_message(NetlinkMessage::from(GenlMessage::from_payload(request)), 0)?;
        self.buffer.clear();
        let received = self.socket.recv(&mut self.buffer, 0);
        received.map_err(netlink("family of the driver"))?;
        for message in split::<GenlMessage<GenlCtrl>>(&self.buffer)? {
            match message.payload {
                NetlinkPayload::Error(error) if error.code.is_some() => {
                    let error = error.to_io();
                    return Err(match error.kind() {
                        ErrorKind::NotFound => Error::NoDriver,
                        _ => refusal("family of the driver", error),
                    });
                }
                NetlinkPayload::InnerMessage(inner) => return numbers(&inner.payload),
                _ => {}
            }
        }
        Err(Error::Answer("nothing about its family".to_owned()))
    }
}

impl AsFd for Hwsim {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn numbers(family: &GenlCtrl) -> Result<(u16, u32), Error> {
    let mut number = None;
    let mut group = None;
    for attribute in &family.nlas {
        match attribute {
            GenlCtrlAttrs::FamilyId(id) => number = Some(*id),
            GenlCtrlAttrs::McastGroups(groups) => {
                for attributes in groups {
                    let is_ours =
                        |a: &McastGrpAttrs| matches!(a, McastGrpAttrs::Name(n) if n == GROUP);
                    let id = attributes.iter().find_map(|attribute| match attribute {
                        McastGrpAttrs::Id(id) => Some(*id),
                        McastGrpAttrs::Name(_) => None,
                    });
                    if attributes.iter().any(is_ours) {
                        group = id;
                    }
                }
            }
            _ => {}
        }
    }
    number
        .zip(group)
        .ok_or_else(|| Error::Answer(format!("a family without number or group: {family:?}")))
}

/// The messages of one datagram.
fn split<M: NetlinkDeserializable>(datagram: &[u8]) -> Result<Vec<NetlinkMessage<M>>, Error> {
    let mut messages = Vec::new();
    let mut rest = datagram;
    while !rest.is_empty() {
        let message = NetlinkMessage::<M>::deserialize(rest)
            .map_err(|error| Error::Answer(error.to_string()))?;
        let length = (message.header.length as usize).next_multiple_of(4);
        rest = rest.get(length.max(4)..).unwrap_or_default();
        messages.push(message);
    }
    Ok(messages)
}

fn refusal(what: &'static str, source: std::io::Error) -> Error {
    match source.kind() {
        ErrorKind::PermissionDenied => Error::NotPermitted,
        ErrorKind::ResourceBusy => Error::Taken,
        _ => Error::Netlink { what, source },
    }
}
