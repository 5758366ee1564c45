//! Packets from a TUN device with offload: checksums that the kernel left to us are completed, and what it left together is
//! cut into segments, as a network card does it.

use super::checksum;
use super::frame::{Frame, Gso};
use super::tcp;

/// A packet from the kernel, on its way to become one or many.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Split {
    /// One, complete now.
    One,
    /// Many of one connection.
    Many(Cut),
}

/// How a packet is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut {
    /// Octets of the IP header and of both headers.
    ip: usize,
    headers: usize,
    /// Octets that a segment carries; the last one what is left.
    segment: usize,
    /// Where the next one begins, and where the last one ends.
    at: usize,
    end: usize,
}

/// What is to be done with a packet; `None` if it is not what its frame says.
pub(super) fn split(frame: &Frame, packet: &mut [u8]) -> Option<Split> {
    match frame.gso {
        Gso::None => {
            if let Some(at) = frame.checksum {
                let place = at.start.checked_add(at.offset)?;
                let sum = checksum::add(0, packet.get(at.start..)?);
                let mut octets = checksum::complete(sum);
                // To UDP, nothing would say that there is none (RFC 768).
                if octets == [0, 0] {
                    octets = [0xff, 0xff];
                }
                packet.get_mut(place..place + 2)?.copy_from_slice(&octets);
            }
            Some(Split::One)
        }
        Gso::Tcp4 | Gso::Tcp6 => {
            // Headers between IP and TCP are before the start of the checksum.
            let ip = frame.checksum?.start;
            let is_version = packet.first()? >> 4 == if frame.gso == Gso::Tcp4 { 4 } else { 6 };
            let shortest = if frame.gso == Gso::Tcp4 {
                tcp::IPV4
            } else {
                tcp::IPV6
            };
            let headers = ip + usize::from(packet.get(ip + 12)? >> 4) * 4;
            let is_sound =
                ip >= shortest && headers >= ip + 20 && headers < packet.len() && frame.segment > 0;
            (is_version && is_sound).then_some(Split::Many(Cut {
                ip,
                headers,
                segment: frame.segment,
                at: headers,
                end: packet.len(),
            }))
        }
    }
}

impl Cut {
    /// Writes the next segment of a packet as a packet of its own; how long it is. `None` after the last one, or if there is no
    /// room for it.
    pub(super) fn next(&mut self, packet: &[u8], into: &mut [u8]) -> Option<usize> {
        let payload = packet.get(self.at..self.end.min(self.at + self.segment))?;
        if payload.is_empty() {
            return None;
        }
        let (number, length) = (
            (self.at - self.headers) / self.segment,
            self.headers + payload.len(),
        );
        let into = into.get_mut(..length)?;
        into[..self.headers].copy_from_slice(&packet[..self.headers]);
        into[self.headers..].copy_from_slice(payload);
        let offset = u32::try_from(self.at - self.headers).ok()?;
        self.at += payload.len();
        self.number_ip(into, number);
        self.number_tcp(into, offset);
        Some(length)
    }

    fn number_ip(&self, packet: &mut [u8], number: usize) {
        let length = packet.len();
        if packet[0] >> 4 == 6 {
            let length = (length - tcp::IPV6) as u16;
            packet[4..6].copy_from_slice(&length.to_be_bytes());
            return;
        }
        packet[2..4].copy_from_slice(&(length as u16).to_be_bytes());
        let identification = u16::from_be_bytes([packet[4], packet[5]]).wrapping_add(number as u16);
        packet[4..6].copy_from_slice(&identification.to_be_bytes());
        packet[10..12].fill(0);
        let sum = checksum::complete(checksum::add(0, &packet[..self.ip]));
        packet[10..12].copy_from_slice(&sum);
    }

    fn number_tcp(&self, packet: &mut [u8], offset: u32) {
        let addresses = tcp::addresses(packet);
        let length = packet.len() - self.ip;
        let segment = &mut packet[self.ip..];
        let first = u32::from_be_bytes([segment[4], segment[5], segment[6], segment[7]]);
        segment[4..8].copy_from_slice(&first.wrapping_add(offset).to_be_bytes());
        if self.at < self.end {
            segment[tcp::FLAGS] &= !(tcp::FIN | tcp::PUSH);
        }
        if offset > 0 {
            segment[tcp::FLAGS] &= !tcp::CONGESTION_WINDOW_REDUCED;
        }
        segment[tcp::CHECKSUM..tcp::CHECKSUM + 2].fill(0);
        let Some((source, to)) = addresses else {
            return;
        };
        let sum = checksum::pseudo_header(source, to, tcp::PROTOCOL, length);
        let sum = checksum::complete(checksum::add(sum, segment));
        segment[tcp::CHECKSUM..tcp::CHECKSUM + 2].copy_from_slice(&sum);
    }
}
