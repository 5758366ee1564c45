//! Frames for tests, octet by octet, and strategies for random ones.

use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

/// A frame that is put together from inside.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) destination: [u8; 6],
    pub(crate) source: [u8; 6],
    pub(crate) vlan: Option<u16>,
    pub(crate) ether_type: u16,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn ip(packet: Vec<u8>) -> Self {
        let is_ipv6 = packet.first().is_some_and(|first| first >> 4 == 6);
        Self {
            destination: [2, 0, 0, 0, 0, 2],
            source: [2, 0, 0, 0, 0, 1],
            vlan: None,
            ether_type: if is_ipv6 { 0x86dd } else { 0x0800 },
            payload: packet,
        }
    }

    /// GTP-U from 10.0.0.2 to 10.0.0.1.
    pub(crate) fn gtp(teid: u32, kind: u8, inner: &[u8]) -> Self {
        Self::ip(udp4(
            "10.0.0.2",
            "10.0.0.1",
            2152,
            2152,
            &gtp(teid, kind, &[], inner),
        ))
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = [self.destination, self.source].concat();
        if let Some(vlan) = self.vlan {
            bytes.extend([0x81, 0x00]);
            bytes.extend(vlan.to_be_bytes());
        }
        bytes.extend(self.ether_type.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }
}

/// A GTP-U header with extensions (type and content of whole words less the two octets of length and next type).
pub(crate) fn gtp(teid: u32, kind: u8, extensions: &[(u8, Vec<u8>)], inner: &[u8]) -> Vec<u8> {
    let mut optional = Vec::new();
    if !extensions.is_empty() {
        optional.extend([0, 0, 0]);
        for (kind, content) in extensions {
            optional.push(*kind);
            optional.push((content.len() + 2).div_ceil(4) as u8);
            optional.extend(content);
        }
        optional.push(0);
    }
    let flags = if extensions.is_empty() { 0x30 } else { 0x34 };
    let mut header = vec![flags, kind];
    header.extend(((optional.len() + inner.len()) as u16).to_be_bytes());
    header.extend(teid.to_be_bytes());
    [header, optional, inner.to_vec()].concat()
}

pub(crate) fn udp4(from: &str, to: &str, source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    let mut udp = [source, destination, payload.len() as u16 + 8, 0]
        .map(u16::to_be_bytes)
        .concat();
    udp.extend(payload);
    ipv4(from, to, 17, &udp)
}

pub(crate) fn ipv4(from: &str, to: &str, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0xb8];
    packet.extend((payload.len() as u16 + 20).to_be_bytes());
    packet.extend([0, 7, 0, 0, 64, protocol, 0, 0]);
    for address in [from, to] {
        packet.extend(address.parse::<Ipv4Addr>().unwrap().octets());
    }
    let mut sum: u32 = packet
        .as_chunks::<2>()
        .0
        .iter()
        .map(|pair| u32::from(u16::from_be_bytes(*pair)))
        .sum();
    sum = (sum & 0xffff) + (sum >> 16);
    packet[10..12].copy_from_slice(&(!((sum & 0xffff) as u16 + (sum >> 16) as u16)).to_be_bytes());
    packet.extend(payload);
    packet
}

pub(crate) fn ipv6(from: &str, to: &str, next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x6b, 0x80, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next, 64]);
    for address in [from, to] {
        match address.parse::<IpAddr>().unwrap() {
            IpAddr::V6(address) => packet.extend(address.octets()),
            IpAddr::V4(_) => unreachable!("an IPv6 address"),
        }
    }
    packet.extend(payload);
    packet
}

/// What a user sends to an application.
pub(crate) fn user_packet() -> Vec<u8> {
    udp4("172.16.0.9", "192.168.0.7", 4000, 80, b"from a user")
}

fn inner() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => Just(user_packet()),
        1 => Just(ipv4("172.16.0.9", "198.51.100.1", 1, &[8; 1480])),
        2 => Just(ipv6("fd01::9", "fd01::7", 17, &[0, 80, 0, 80, 0, 8, 0, 0])),
        1 => Just(Vec::new()),
        1 => Just(vec![0x10; 12]),
    ]
}

fn transport() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let extension = prop_oneof![3 => Just(2_usize), 1 => Just(6_usize)];
    let extension = (prop::sample::select(vec![0x85_u8, 0xc0, 0x20]), extension);
    let extensions = prop::collection::vec(
        extension.prop_map(|(kind, size)| (kind, vec![3; size])),
        0..10,
    );
    let kind = prop_oneof![6 => Just(255_u8), 2 => Just(1_u8), 1 => Just(254_u8), 1 => Just(26_u8)];
    let gtp = (0..5_u32, kind, extensions, inner(), any::<bool>()).prop_map(
        |(teid, kind, extensions, inner, has_sequence)| {
            let mut gtp = gtp(teid, kind, &extensions, &inner);
            if extensions.is_empty() && has_sequence {
                gtp[0] |= 2;
                gtp.splice(8..8, [1, 2, 0, 0]);
                let length = (gtp.len() - 8) as u16;
                gtp[2..4].copy_from_slice(&length.to_be_bytes());
            }
            let mut udp = [4242, 2152, gtp.len() as u16 + 8, 0]
                .map(u16::to_be_bytes)
                .concat();
            udp.extend(gtp);
            (17, udp)
        },
    );
    prop_oneof![
        6 => gtp,
        1 => Just((17, [4000_u16, 80, 8, 0].map(u16::to_be_bytes).concat())),
        1 => Just((6, [[0x10, 0x20, 0, 80].as_slice(), &[7; 16]].concat())),
        1 => Just((1, vec![8, 0, 0, 0])),
        1 => Just((132, vec![0, 80, 0, 80])),
    ]
}

/// Any frame that is what it says.
pub(crate) fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let addresses = prop::sample::select(vec![
        ("10.0.0.2", "10.0.0.1"),
        ("10.0.0.2", "192.0.2.1"),
        ("fd00::2", "fd00::1"),
        ("fd00::2", "fd02::1"),
    ]);
    // IPv6 extension headers: hop-by-hop, routing, fragment, authentication, destination options.
    let headers = prop::collection::vec(prop::sample::select(vec![0_u8, 43, 44, 51, 60]), 0..10);
    let headers = prop_oneof![3 => Just(Vec::new()), 1 => headers];
    let rest = (
        prop_oneof![2 => Just(None), 1 => prop::sample::select(vec![0_u16, 7, 8, 0x2007]).prop_map(Some)],
        prop_oneof![8 => Just([2, 0, 0, 0, 0, 2]), 1 => Just([0x33, 0x33, 0, 0, 0, 1])],
        prop_oneof![6 => Just(0_usize), 1 => Just(8), 1 => Just(40)],
        prop_oneof![8 => Just(0_u16), 1 => Just(0x2000), 1 => Just(0x0010), 1 => Just(0x4000)],
        0..30_usize,
    );
    (addresses, transport(), headers, rest).prop_map(
        |((from, to), (protocol, payload), headers, rest)| {
            let (vlan, destination, options, fragment, padding) = rest;
            let packet = match from.contains(':') {
                false => {
                    let mut packet = ipv4(from, to, protocol, &payload);
                    packet.splice(20..20, vec![1; options]);
                    packet[0] = 0x40 | (5 + options / 4) as u8;
                    let length = packet.len() as u16;
                    packet[2..4].copy_from_slice(&length.to_be_bytes());
                    packet[6..8].copy_from_slice(&fragment.to_be_bytes());
                    packet
                }
                true => {
                    let (mut next, mut payload) = (protocol, payload);
                    for header in headers.iter().rev() {
                        let length = if *header == 51 { 1 } else { 0 };
                        let size = if *header == 51 { 12 } else { 8 };
                        let mut extension = vec![next, length];
                        extension.resize(size, 0);
                        payload = [extension, payload].concat();
                        next = *header;
                    }
                    ipv6(from, to, next, &payload)
                }
            };
            let mut frame = Frame {
                vlan,
                destination,
                ..Frame::ip(packet)
            }
            .bytes();
            frame.resize(frame.len() + padding, 0);
            frame
        },
    )
}
