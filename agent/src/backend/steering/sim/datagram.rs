//! Frames with a datagram in them, as a simulated resolver reads and answers them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::backend::MacAddress;

const UDP: u8 = 17;
const ETHERNET: usize = 14;
const UDP_HEADER: usize = 8;

/// A datagram in a frame.
#[derive(Debug)]
pub(super) struct Datagram<'a> {
    pub(super) mac: MacAddress,
    pub(super) from: IpAddr,
    pub(super) to: IpAddr,
    from_port: u16,
    pub(super) port: u16,
    pub(super) content: &'a [u8],
}

/// The datagram of a frame without tags, options and extension headers; a resolver's namespace has no VLANs.
pub(super) fn read(frame: &[u8]) -> Option<Datagram<'_>> {
    let mac = MacAddress(*frame.first_chunk()?);
    let (kind, packet) = frame.get(12..)?.split_first_chunk::<2>()?;
    let (from, to, udp): (IpAddr, IpAddr, &[u8]) = match kind {
        [0x08, 0x00] => {
            let header: &[u8; 20] = packet.first_chunk()?;
            let length = u16::from_be_bytes([header[2], header[3]]);
            let address = |at: usize| header.get(at..)?.first_chunk::<4>().copied();
            let udp = packet.get(20..length.into())?;
            let is_udp = header[0] == 0x45 && header[9] == UDP;
            let (from, to) = (address(12)?, address(16)?);
            (
                Ipv4Addr::from(from).into(),
                Ipv4Addr::from(to).into(),
                is_udp.then_some(udp)?,
            )
        }
        [0x86, 0xdd] => {
            let header: &[u8; 40] = packet.first_chunk()?;
            let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
            let address = |at: usize| header.get(at..)?.first_chunk::<16>().copied();
            let udp = packet.get(40..40 + length)?;
            let (from, to) = (address(8)?, address(24)?);
            (
                Ipv6Addr::from(from).into(),
                Ipv6Addr::from(to).into(),
                (header[6] == UDP).then_some(udp)?,
            )
        }
        _ => return None,
    };
    let (header, content) = udp.split_first_chunk::<UDP_HEADER>()?;
    Some(Datagram {
        mac,
        from,
        to,
        from_port: u16::from_be_bytes([header[0], header[1]]),
        port: u16::from_be_bytes([header[2], header[3]]),
        content,
    })
}

/// The frame that answers it. As in the kernel's namespace, whose interface asks for nobody's address, it is addressed to its sender.
pub(super) fn answer(query: &Datagram<'_>, content: &[u8]) -> Vec<u8> {
    let length = (UDP_HEADER + content.len()) as u16;
    let mut udp = [query.port, query.from_port, length, 0]
        .map(u16::to_be_bytes)
        .concat();
    udp.extend(content);
    let (kind, mut header, addresses) = match (query.to, query.from) {
        (IpAddr::V4(own), IpAddr::V4(user)) => {
            let mut header = vec![0x45, 0];
            header.extend((20 + length).to_be_bytes());
            header.extend([0, 0, 0x40, 0, 64, UDP, 0, 0]);
            ([0x08, 0x00], header, [own.octets(), user.octets()].concat())
        }
        (own, user) => {
            let octets = |address: IpAddr| match address {
                IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
                IpAddr::V6(v6) => v6.octets(),
            };
            let mut header = vec![0x60, 0, 0, 0];
            header.extend(length.to_be_bytes());
            header.extend([UDP, 64]);
            ([0x86, 0xdd], header, [octets(own), octets(user)].concat())
        }
    };
    let sum = checksum(&[&addresses[..], &[0, UDP], &length.to_be_bytes(), &udp].concat());
    let sum = if sum == 0 { u16::MAX } else { sum };
    udp[6..8].copy_from_slice(&sum.to_be_bytes());
    header.extend(&addresses);
    if kind == [0x08, 0x00] {
        let sum = checksum(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    let mut frame = Vec::with_capacity(ETHERNET + header.len() + udp.len());
    frame.extend([query.mac.0, query.mac.0].concat());
    frame.extend(kind);
    frame.extend(header);
    frame.extend(udp);
    frame
}

/// RFC 1071.
fn checksum(octets: &[u8]) -> u16 {
    let words = octets.chunks(2);
    let words = words.map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
