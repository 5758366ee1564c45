//! Packets for a TUN device with offload: segments of one connection that follow each other are put together, so that the
//! kernel has to do with one packet instead of forty.
//!
//! No segment overtakes another one of its connection, nothing of a segment is lost that its receiver could see, and what has
//! a wrong checksum goes as it came.

use std::io::IoSlice;

use gotatun::packet::Packet;

use super::checksum;
use super::frame::{Checksum, Frame, Gso, LENGTH};
use super::tcp::{self, Kind, Segment};

/// Octets that the kernel takes as one packet, and segments that it gets as one.
const LARGEST: usize = 65_535;
const MOST: usize = 64;
/// Packets that are gathered before they are handed on in any case.
const ROOM: usize = 64;

/// Packets on their way to the kernel, in order.
#[derive(Default)]
pub(super) struct Joiner {
    runs: Vec<Run>,
    /// What comes next may not be put before this one.
    floor: usize,
}

/// Segments that go as one packet, or one packet that is none.
struct Run {
    first: Packet,
    more: Vec<Packet>,
    /// What the first is, if it is a segment.
    segment: Option<Segment>,
    /// Octets of all, and what the next one's number has to be.
    length: usize,
    next: u32,
    is_open: bool,
}

impl Joiner {
    /// Takes a packet; whether it is time to hand on what is here.
    pub(super) fn push(&mut self, packet: Packet) -> bool {
        let kind = tcp::kind(&packet);
        let rejected = match kind {
            Kind::Tcp(segment) => self.append(packet, segment),
            Kind::Unclear | Kind::Other => Some(packet),
        };
        let Some(packet) = rejected else {
            return false;
        };
        self.runs.push(Run::new(packet, kind));
        if kind == Kind::Unclear {
            self.floor = self.runs.len();
        }
        self.runs.len() >= ROOM
    }

    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Puts a segment to those of its connection, or gives it back.
    fn append(&mut self, packet: Packet, segment: Segment) -> Option<Packet> {
        let last = self.runs[self.floor..].iter_mut().rev().find(|run| {
            let is_here = |one: Segment| {
                one.ip == segment.ip && tcp::is_same_flow(&run.first, &packet, one.ip)
            };
            run.segment.is_some_and(is_here)
        });
        match last {
            Some(run) if run.takes(&packet, segment) => {
                run.length += segment.payload;
                run.next = segment.sequence.wrapping_add(segment.payload as u32);
                // The last one may be short, and one that is to be delivered at once is the last one.
                let full = run.segment.map_or(0, |first| first.payload);
                run.is_open = segment.payload == full && segment.flags & tcp::PUSH == 0;
                if segment.flags & tcp::PUSH != 0
                    && let Some(first) = &run.segment
                {
                    run.first[first.ip + tcp::FLAGS] |= tcp::PUSH;
                }
                run.more.push(packet);
                None
            }
            _ => Some(packet),
        }
    }

    /// Hands on all packets, in order; each as a frame and the pieces of one packet.
    pub(super) fn drain(&mut self, mut to: impl FnMut(&[IoSlice<'_>])) {
        self.floor = 0;
        for mut run in self.runs.drain(..) {
            let frame = run.seal().write();
            let headers = run.segment.map_or(0, |segment| segment.headers);
            let mut pieces = Vec::with_capacity(2 + run.more.len());
            pieces.extend([IoSlice::new(&frame), IoSlice::new(&run.first)]);
            pieces.extend(run.more.iter().map(|one| IoSlice::new(&one[headers..])));
            to(&pieces);
        }
    }
}

impl Run {
    fn new(first: Packet, kind: Kind) -> Self {
        let segment = match kind {
            Kind::Tcp(segment) => Some(segment),
            Kind::Unclear | Kind::Other => None,
        };
        let is_open = segment.is_some_and(|one| one.can_join && one.flags & tcp::PUSH == 0);
        let next = segment.map_or(0, |one| one.sequence.wrapping_add(one.payload as u32));
        Self {
            length: first.len(),
            first,
            more: Vec::new(),
            segment,
            next,
            is_open,
        }
    }

    fn takes(&self, packet: &[u8], segment: Segment) -> bool {
        let Some(first) = self.segment else {
            return false;
        };
        self.is_open
            && segment.can_join
            && segment.sequence == self.next
            && segment.headers == first.headers
            && segment.payload <= first.payload
            && self.length + segment.payload <= LARGEST
            && self.more.len() + 1 < MOST
            && tcp::is_alike(&self.first, packet, first.ip, first.headers)
    }

    /// Makes the first the header of all; what is said of them.
    fn seal(&mut self) -> Frame {
        let Some(segment) = self.segment.filter(|_| !self.more.is_empty()) else {
            return Frame::PLAIN;
        };
        let (ip, length) = (segment.ip, self.length);
        let first = &mut self.first[..];
        if segment.is_v4() {
            first[2..4].copy_from_slice(&(length as u16).to_be_bytes());
            first[10..12].fill(0);
            let sum = checksum::complete(checksum::add(0, &first[..ip]));
            first[10..12].copy_from_slice(&sum);
        } else {
            first[4..6].copy_from_slice(&((length - ip) as u16).to_be_bytes());
        }
        if let Some((source, to)) = tcp::addresses(first) {
            let sum = checksum::pseudo_header(source, to, tcp::PROTOCOL, length - ip);
            let at = ip + tcp::CHECKSUM;
            first[at..at + 2].copy_from_slice(&checksum::partial(sum));
        }
        Frame {
            gso: match segment.is_v4() {
                true => Gso::Tcp4,
                false => Gso::Tcp6,
            },
            header: segment.headers,
            segment: segment.payload,
            checksum: Some(Checksum {
                start: ip,
                offset: tcp::CHECKSUM,
            }),
        }
    }
}

/// What a frame and the packet behind it take together at most.
pub(super) const LARGEST_FRAME: usize = LENGTH + LARGEST;
