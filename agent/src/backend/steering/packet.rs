//! What a frame is: Ethernet with VLAN tags, IPv4 and IPv6, ports, GTP-U and the packet inside. The reference for
//! `bpf/steer_parse.h`, written for being read. Owns no decision.

use tranche_steering::{self as key, Key, TAGGED};

/// Headers are looked at as far as this into a frame.
const DEPTH: usize = 512;
/// Headers of one kind that are walked.
const EXTENSIONS: usize = 8;
const TAGS: [u16; 2] = [0x8100, 0x88a8];
const GTP_PORT: u16 = 2152;
const UDP: u8 = 17;
/// Protocols with ports: TCP, UDP, SCTP.
const WITH_PORTS: [u8; 3] = [6, UDP, 132];
const G_PDU: u8 = 255;

/// Why no rule is applied to a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Odd {
    /// Part of an IP packet.
    Fragment,
    /// Not the IP packet that its header says.
    Ip,
    /// GTP-U that does not add up.
    Gtp,
}

/// Where the parts of a frame are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Parts {
    /// Octets before the network header.
    pub(super) l2: usize,
    /// Length of the IP packet.
    pub(super) length: usize,
    /// Transport header.
    pub(super) l4: usize,
    /// GTP-U header.
    pub(super) gtp: usize,
    /// The user's packet.
    pub(super) inner: usize,
    /// Its length.
    pub(super) inner_length: usize,
    /// Traffic class of the IP packet.
    pub(super) class: u8,
    /// And of the user's.
    pub(super) inner_class: u8,
    /// Whether there are neither options nor extension headers.
    pub(super) is_plain: bool,
}

/// A frame that is read up to a depth.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn octets<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        let depth = self.0.len().min(DEPTH);
        self.0.get(..depth)?.get(at..)?.first_chunk().copied()
    }

    fn u8(&self, at: usize) -> Option<u8> {
        self.octets::<1>(at).map(|[octet]| octet)
    }

    fn u16(&self, at: usize) -> Option<u16> {
        self.octets(at).map(u16::from_be_bytes)
    }
}

/// The fields of a frame that came in at a port, and where its parts are.
pub(super) fn parse(frame: &[u8], port: u32, flags: u8) -> Result<(Key, Parts), Odd> {
    let from = Reader(frame);
    let mut key = Key {
        port,
        flags,
        ..Key::default()
    };
    let mut parts = Parts {
        l2: 14,
        ..Parts::default()
    };
    key.destination_mac = from.octets(0).ok_or(Odd::Ip)?;
    key.source_mac = from.octets(6).ok_or(Odd::Ip)?;
    let mut kind = from.u16(12).ok_or(Odd::Ip)?;
    if TAGS.contains(&kind) {
        let tag = from.u16(14).ok_or(Odd::Ip)?;
        kind = from.u16(16).ok_or(Odd::Ip)?;
        key.vlan = TAGGED | tag & 0xfff;
        parts.l2 = 18;
    }
    match kind {
        0x0800 => ipv4(&from, &mut key, &mut parts)?,
        0x86dd => ipv6(&from, &mut key, &mut parts)?,
        _ => {}
    }
    Ok((key, parts))
}

fn ipv4(from: &Reader<'_>, key: &mut Key, parts: &mut Parts) -> Result<(), Odd> {
    let ip: [u8; 20] = from.octets(parts.l2).ok_or(Odd::Ip)?;
    let header = usize::from(ip[0] & 15) * 4;
    parts.length = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
    let end = parts.l2 + parts.length;
    if ip[0] >> 4 != 4 || header < 20 || parts.length < header || end > from.0.len() {
        return Err(Odd::Ip);
    }
    if u16::from_be_bytes([ip[6], ip[7]]) & 0x3fff != 0 {
        return Err(Odd::Fragment);
    }
    key.flags |= key::IP;
    key.protocol = ip[9];
    key.dscp = ip[1] >> 2;
    parts.class = ip[1];
    key.source[12..].copy_from_slice(&ip[12..16]);
    key.destination[12..].copy_from_slice(&ip[16..20]);
    parts.is_plain = header == 20;
    parts.l4 = parts.l2 + header;
    ports(from, key, parts, end)
}

fn ipv6(from: &Reader<'_>, key: &mut Key, parts: &mut Parts) -> Result<(), Odd> {
    let ip: [u8; 40] = from.octets(parts.l2).ok_or(Odd::Ip)?;
    parts.length = 40 + usize::from(u16::from_be_bytes([ip[4], ip[5]]));
    let end = parts.l2 + parts.length;
    if ip[0] >> 4 != 6 || end > from.0.len() {
        return Err(Odd::Ip);
    }
    let (mut next, mut at) = (ip[6], parts.l2 + 40);
    let mut walked = 0;
    while matches!(next, 0 | 43 | 44 | 51 | 60) {
        if walked == EXTENSIONS {
            return Err(Odd::Ip);
        }
        if next == 44 {
            return Err(Odd::Fragment);
        }
        let [after, length] = from.octets(at).ok_or(Odd::Ip)?;
        if at + 8 > end {
            return Err(Odd::Ip);
        }
        at += match next {
            51 => (usize::from(length) + 2) * 4,
            _ => (usize::from(length) + 1) * 8,
        };
        if at > end {
            return Err(Odd::Ip);
        }
        next = after;
        walked += 1;
    }
    if walked == EXTENSIONS {
        return Err(Odd::Ip);
    }
    parts.class = (u16::from_be_bytes([ip[0], ip[1]]) >> 4) as u8;
    key.flags |= key::IP | key::IPV6;
    key.protocol = next;
    key.dscp = parts.class >> 2;
    key.source.copy_from_slice(&ip[8..24]);
    key.destination.copy_from_slice(&ip[24..40]);
    parts.is_plain = walked == 0;
    parts.l4 = at;
    ports(from, key, parts, end)
}

fn ports(from: &Reader<'_>, key: &mut Key, parts: &mut Parts, end: usize) -> Result<(), Odd> {
    let needed = if key.protocol == UDP { 8 } else { 4 };
    if !WITH_PORTS.contains(&key.protocol) || parts.l4 + needed > end {
        return Ok(());
    }
    let Some(header) = from.octets::<8>(parts.l4) else {
        return Ok(());
    };
    key.flags |= key::PORTS;
    key.source_port = u16::from_be_bytes([header[0], header[1]]);
    key.destination_port = u16::from_be_bytes([header[2], header[3]]);
    if key.protocol == UDP && key.destination_port == GTP_PORT {
        return gtp(from, key, parts, end).ok_or(Odd::Gtp);
    }
    Ok(())
}

/// 3GPP TS 29.281 5. `None` where it does not add up.
fn gtp(from: &Reader<'_>, key: &mut Key, parts: &mut Parts, end_of_ip: usize) -> Option<()> {
    let header: [u8; 16] = from.octets(parts.l4)?;
    let udp_length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let gtp_length = usize::from(u16::from_be_bytes([header[10], header[11]]));
    let flags = header[8];
    let is_sound = udp_length >= 16
        && parts.l4 + udp_length <= end_of_ip
        && flags & 0xf0 == 0x30
        && 16 + gtp_length <= udp_length;
    if !is_sound {
        return None;
    }
    let end = parts.l4 + 16 + gtp_length;
    key.flags |= key::GTP;
    key.message_type = header[9];
    key.teid = u32::from_be_bytes([header[12], header[13], header[14], header[15]]);
    parts.gtp = parts.l4 + 8;
    let mut at = parts.l4 + 16;
    if flags & 7 != 0 {
        at += 4;
        let last = from.u8(at - 1).filter(|_| at <= end)?;
        let mut next = if flags & 4 != 0 { last } else { 0 };
        for _ in 0..EXTENSIONS {
            if next == 0 {
                break;
            }
            let length = from.u8(at).filter(|length| *length != 0)?;
            at += usize::from(length) * 4;
            next = from.u8(at - 1).filter(|_| at <= end)?;
        }
        if next != 0 {
            return None;
        }
    }
    parts.inner = at;
    match key.message_type {
        G_PDU => inner(from, key, parts, end),
        _ => Some(()),
    }
}

fn inner(from: &Reader<'_>, key: &mut Key, parts: &mut Parts, end: usize) -> Option<()> {
    let at = parts.inner;
    if at >= end {
        return Some(());
    }
    match from.u8(at)? >> 4 {
        4 => {
            let ip: [u8; 20] = from.octets(at)?;
            parts.inner_length = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
            parts.inner_class = ip[1];
            let header = usize::from(ip[0] & 15) * 4;
            let is_sound =
                header >= 20 && parts.inner_length >= header && at + parts.inner_length <= end;
            if !is_sound || at + 20 > end {
                return None;
            }
            key.flags |= key::INNER;
            key.inner_source[12..].copy_from_slice(&ip[12..16]);
            key.inner_destination[12..].copy_from_slice(&ip[16..20]);
        }
        6 => {
            let ip: [u8; 40] = from.octets(at)?;
            parts.inner_length = 40 + usize::from(u16::from_be_bytes([ip[4], ip[5]]));
            parts.inner_class = (u16::from_be_bytes([ip[0], ip[1]]) >> 4) as u8;
            if at + parts.inner_length > end {
                return None;
            }
            key.flags |= key::INNER | key::INNER_IPV6;
            key.inner_source.copy_from_slice(&ip[8..24]);
            key.inner_destination.copy_from_slice(&ip[24..40]);
        }
        _ => {}
    }
    Some(())
}
