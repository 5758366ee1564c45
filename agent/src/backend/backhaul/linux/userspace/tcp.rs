//! TCP segments as they lie in IP packets: what can be told apart and put together again.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::checksum;

pub(super) const PROTOCOL: u8 = 6;
/// Where the checksum is in a TCP header.
pub(super) const CHECKSUM: usize = 16;
pub(super) const FLAGS: usize = 13;
pub(super) const FIN: u8 = 1;
pub(super) const PUSH: u8 = 8;
pub(super) const CONGESTION_WINDOW_REDUCED: u8 = 0x80;
const ACK: u8 = 16;
/// Octets of headers without options.
pub(super) const IPV4: usize = 20;
pub(super) const IPV6: usize = 40;
const SHORTEST: usize = 20;
const DONT_FRAGMENT: u8 = 0x40;

/// Two octets of a packet.
pub(super) fn word(packet: &[u8], at: usize) -> Option<usize> {
    let found = packet.get(at..at + 2)?;
    Some(usize::from(u16::from_be_bytes(found.try_into().ok()?)))
}

fn long(packet: &[u8], at: usize) -> Option<u32> {
    let found = packet.get(at..at + 4)?;
    Some(u32::from_be_bytes(found.try_into().ok()?))
}

/// The addresses of an IP packet whose header is all there.
pub(super) fn addresses(packet: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let v4 = |at: usize| <[u8; 4]>::try_from(packet.get(at..at + 4)?).ok();
    let v6 = |at: usize| <[u8; 16]>::try_from(packet.get(at..at + 16)?).ok();
    match packet.first()? >> 4 {
        4 => Some((
            Ipv4Addr::from(v4(12)?).into(),
            Ipv4Addr::from(v4(16)?).into(),
        )),
        6 => Some((
            Ipv6Addr::from(v6(8)?).into(),
            Ipv6Addr::from(v6(24)?).into(),
        )),
        _ => None,
    }
}

/// What an IP packet is to who puts segments together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Tcp(Segment),
    /// TCP in a way that is not looked into: nothing that comes after it may be put before it.
    Unclear,
    /// Something else.
    Other,
}

/// One segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    /// Octets of the IP header and of both headers.
    pub(super) ip: usize,
    pub(super) headers: usize,
    pub(super) payload: usize,
    pub(super) sequence: u32,
    pub(super) flags: u8,
    /// Whether it carries something, whole and without anything that must stay its own.
    pub(super) can_join: bool,
}

impl Segment {
    pub(super) fn is_v4(&self) -> bool {
        self.ip == IPV4
    }
}

/// Looks at an IP packet.
pub(super) fn kind(packet: &[u8]) -> Kind {
    let (protocol, ip, length) = match packet.first().map(|first| first >> 4) {
        Some(4) => (packet.get(9), IPV4, word(packet, 2)),
        Some(6) => (
            packet.get(6),
            IPV6,
            word(packet, 4).map(|length| length + IPV6),
        ),
        _ => return Kind::Other,
    };
    if protocol != Some(&PROTOCOL) {
        // A packet of IPv6 with more headers may be TCP too; no other way was ever found to send it.
        let is_plain = ip == IPV4 || matches!(protocol, Some(17 | 58));
        return if is_plain { Kind::Other } else { Kind::Unclear };
    }
    let found = (length == Some(packet.len())).then(|| segment(packet, ip));
    found.flatten().map_or(Kind::Unclear, Kind::Tcp)
}

fn segment(packet: &[u8], ip: usize) -> Option<Segment> {
    let is_v4 = ip == IPV4;
    let is_whole = !is_v4 || word(packet, 6)? & 0x3fff == 0;
    if !is_whole || is_v4 && packet[0] != 0x45 {
        return None;
    }
    let headers = ip + usize::from(packet.get(ip + 12)? >> 4) * 4;
    if headers < ip + SHORTEST || headers > packet.len() {
        return None;
    }
    let flags = packet[ip + FLAGS];
    // Who numbers the fragments of its packets would be told other numbers.
    let has_no_number = !is_v4 || packet[6] & DONT_FRAGMENT != 0;
    let payload = packet.len() - headers;
    let can_join = payload > 0
        && flags & !PUSH == ACK
        && packet[ip + 12] & 0xf == 0
        && has_no_number
        && is_right(packet, ip);
    Some(Segment {
        ip,
        headers,
        payload,
        sequence: long(packet, ip + 4)?,
        flags,
        can_join,
    })
}

fn is_right(packet: &[u8], ip: usize) -> bool {
    let Some((source, to)) = addresses(packet) else {
        return false;
    };
    let sum = checksum::pseudo_header(source, to, PROTOCOL, packet.len() - ip);
    let is_header_right = ip != IPV4 || checksum::is_right(checksum::add(0, &packet[..ip]));
    is_header_right && checksum::is_right(checksum::add(sum, &packet[ip..]))
}

/// Whether two segments are of one connection and direction.
pub(super) fn is_same_flow(one: &[u8], other: &[u8], ip: usize) -> bool {
    let addresses = if ip == IPV4 { 12..20 } else { 8..40 };
    one[0] == other[0]
        && one[ip..ip + 4] == other[ip..ip + 4]
        && one[addresses.clone()] == other[addresses]
}

/// Whether the headers of two segments of one connection say the same but for what each has of its own: lengths, numbers,
/// checksums and the push flag.
pub(super) fn is_alike(one: &[u8], other: &[u8], ip: usize, headers: usize) -> bool {
    let same = |range: std::ops::Range<usize>| one[range.clone()] == other[range];
    let ip_is_same = match ip {
        IPV4 => same(0..2) && same(6..10),
        _ => same(0..4) && same(6..8),
    };
    ip_is_same && same(ip + 8..ip + FLAGS) && same(ip + 14..ip + CHECKSUM) && same(ip + 18..headers)
}
