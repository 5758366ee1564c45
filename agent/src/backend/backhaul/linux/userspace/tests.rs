//! What comes out of cutting and joining, against packets that are made up here.

use std::io::IoSlice;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use gotatun::packet::Packet;
use proptest::prelude::*;

use super::checksum;
use super::frame::{Checksum, Frame, Gso, LENGTH};
use super::join::Joiner;
use super::split::{Split, split};
use super::tcp;

/// A packet of TCP with right checksums.
#[derive(Debug, Clone)]
struct Made {
    is_v6: bool,
    port: u16,
    sequence: u32,
    identification: u16,
    flags: u8,
    /// A time stamp, as most connections have it.
    option: u32,
    payload: Vec<u8>,
}

const ACK: u8 = 16;
const PUSH: u8 = 8;
const FIN: u8 = 1;

impl Made {
    fn new(payload: &[u8]) -> Self {
        Self {
            is_v6: false,
            port: 1000,
            sequence: 0xffff_ff00,
            identification: 0xfffe,
            flags: ACK,
            option: 7,
            payload: payload.to_vec(),
        }
    }

    fn ip(&self) -> usize {
        if self.is_v6 { 40 } else { 20 }
    }

    fn packet(&self) -> Vec<u8> {
        let mut tcp = Vec::new();
        tcp.extend(self.port.to_be_bytes());
        tcp.extend(443_u16.to_be_bytes());
        tcp.extend(self.sequence.to_be_bytes());
        tcp.extend(99_u32.to_be_bytes());
        tcp.extend([8 << 4, self.flags, 0x10, 0, 0, 0, 0, 0, 1, 1, 8, 10]);
        tcp.extend(self.option.to_be_bytes());
        tcp.extend([0; 4]);
        tcp.extend(&self.payload);
        let length = tcp.len();
        let mut packet = match self.is_v6 {
            true => {
                let mut ip = vec![0x60, 0, 0, 0];
                ip.extend((length as u16).to_be_bytes());
                ip.extend([6, 64]);
                ip.extend(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1).octets());
                ip.extend(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2).octets());
                ip
            }
            false => {
                let mut ip = vec![0x45, 0];
                ip.extend((20 + length as u16).to_be_bytes());
                ip.extend(self.identification.to_be_bytes());
                ip.extend([0x40, 0, 64, 6, 0, 0]);
                ip.extend(Ipv4Addr::new(10, 0, 0, 1).octets());
                ip.extend(Ipv4Addr::new(10, 0, 0, 2).octets());
                let sum = checksum::complete(checksum::add(0, &ip));
                ip[10..12].copy_from_slice(&sum);
                ip
            }
        };
        packet.extend(tcp);
        let sum = checksum::complete(sum(&packet));
        let at = self.ip() + tcp::CHECKSUM;
        packet[at..at + 2].copy_from_slice(&sum);
        packet
    }
}

/// The sum over a packet of TCP with its pseudo header.
fn sum(packet: &[u8]) -> u64 {
    let ip = if packet[0] >> 4 == 4 { 20 } else { 40 };
    let (source, to): (IpAddr, IpAddr) = tcp::addresses(packet).unwrap();
    let sum = checksum::pseudo_header(source, to, tcp::PROTOCOL, packet.len() - ip);
    checksum::add(sum, &packet[ip..])
}

/// What the kernel would hand us of a large packet: lengths of the whole, the checksum only begun.
fn large(made: &Made, segment: usize) -> (Frame, Vec<u8>) {
    let (mut packet, ip) = (made.packet(), made.ip());
    let (source, to) = tcp::addresses(&packet).unwrap();
    let begun = checksum::pseudo_header(source, to, tcp::PROTOCOL, packet.len() - ip);
    let at = ip + tcp::CHECKSUM;
    packet[at..at + 2].copy_from_slice(&checksum::partial(begun));
    let frame = Frame {
        gso: if made.is_v6 { Gso::Tcp6 } else { Gso::Tcp4 },
        header: ip + 32,
        segment,
        checksum: Some(Checksum {
            start: ip,
            offset: tcp::CHECKSUM,
        }),
    };
    (frame, packet)
}

fn all(frame: &Frame, mut packet: Vec<u8>) -> Vec<Vec<u8>> {
    match split(frame, &mut packet).unwrap() {
        Split::One => vec![packet],
        Split::Many(mut cut) => {
            let mut buffer = [0; 4096];
            let mut segments = Vec::new();
            while let Some(length) = cut.next(&packet, &mut buffer) {
                segments.push(buffer[..length].to_vec());
            }
            segments
        }
    }
}

/// What the kernel would make of all that is handed on to it, and in how many packets it came.
fn handed_on(joiner: &mut Joiner) -> (Vec<Vec<u8>>, usize) {
    let (mut packets, mut count) = (Vec::new(), 0);
    joiner.drain(|pieces: &[IoSlice<'_>]| {
        let frame: &[u8; LENGTH] = pieces[0][..].try_into().unwrap();
        let packet: Vec<u8> = pieces[1..]
            .iter()
            .flat_map(|one| one.iter())
            .copied()
            .collect();
        packets.extend(all(&Frame::read(frame).unwrap(), packet));
        count += 1;
    });
    (packets, count)
}

fn joined(packets: &[Vec<u8>]) -> (Vec<Vec<u8>>, usize) {
    let mut joiner = Joiner::default();
    let (mut out, mut count) = (Vec::new(), 0);
    for packet in packets {
        if joiner.push(Packet::copy_from(&packet[..])) {
            let (more, frames) = handed_on(&mut joiner);
            out.extend(more);
            count += frames;
        }
    }
    let (more, frames) = handed_on(&mut joiner);
    out.extend(more);
    (out, count + frames)
}

#[test]
fn a_large_packet_becomes_the_segments_that_a_network_card_would_send() {
    for is_v6 in [false, true] {
        let payload: Vec<u8> = (0..2500_u32).map(|one| one as u8).collect();
        let made = Made {
            is_v6,
            flags: ACK | PUSH | FIN | tcp::CONGESTION_WINDOW_REDUCED,
            ..Made::new(&payload)
        };
        let (frame, packet) = large(&made, 1000);
        let flags = [ACK | tcp::CONGESTION_WINDOW_REDUCED, ACK, ACK | PUSH | FIN];
        let expected: Vec<Vec<u8>> = payload
            .chunks(1000)
            .zip(flags)
            .enumerate()
            .map(|(number, (payload, flags))| {
                let segment = Made {
                    flags,
                    sequence: made.sequence.wrapping_add(1000 * number as u32),
                    identification: made.identification.wrapping_add(number as u16),
                    payload: payload.to_vec(),
                    ..made.clone()
                };
                segment.packet()
            })
            .collect();
        assert_eq!(all(&frame, packet), expected);
    }
}

#[test]
fn a_checksum_that_was_only_begun_is_completed() {
    let made = Made::new(b"odd");
    let (_, packet) = large(&made, 1000);
    let frame = Frame {
        checksum: Some(Checksum {
            start: 20,
            offset: tcp::CHECKSUM,
        }),
        ..Frame::PLAIN
    };
    assert_eq!(all(&frame, packet), [made.packet()]);
}

#[test]
fn what_is_not_what_its_frame_says_is_dropped() {
    let (frame, packet) = large(&Made::new(&[1; 100]), 50);
    let of = |frame: Frame, packet: &[u8]| split(&frame, &mut packet.to_vec());
    assert_eq!(of(frame, &packet[..40]), None);
    assert_eq!(of(frame, &[]), None);
    assert_eq!(
        of(
            Frame {
                segment: 0,
                ..frame
            },
            &packet
        ),
        None
    );
    assert_eq!(
        of(
            Frame {
                gso: Gso::Tcp6,
                ..frame
            },
            &packet
        ),
        None
    );
    let checksum = |start, offset| Some(Checksum { start, offset });
    for checksum in [None, checksum(3, 16), checksum(65_535, 65_535)] {
        assert_eq!(of(Frame { checksum, ..frame }, &packet), None);
    }
    for at in [(200, 0), (20, 200), (usize::MAX, 1)] {
        let checksum = checksum(at.0, at.1);
        assert_eq!(
            of(
                Frame {
                    checksum,
                    ..Frame::PLAIN
                },
                &packet
            ),
            None
        );
    }
}

#[test]
fn segments_that_follow_each_other_go_as_one_packet() {
    for is_v6 in [false, true] {
        let made = Made {
            is_v6,
            flags: ACK | PUSH,
            ..Made::new(&[7; 40_000])
        };
        let (frame, packet) = large(&made, 1360);
        let segments = all(&frame, packet);
        assert_eq!(joined(&segments), (segments, 1));
    }
}

#[test]
fn what_a_receiver_could_tell_apart_stays_apart() {
    let first = Made::new(&[1; 100]);
    let second = |change: fn(&mut Made)| {
        let mut made = Made {
            sequence: first.sequence.wrapping_add(100),
            identification: first.identification.wrapping_add(1),
            ..first.clone()
        };
        change(&mut made);
        let packets = [first.packet(), made.packet()];
        let (out, count) = joined(&packets);
        assert_eq!(out, packets);
        count
    };
    assert_eq!(second(|_| ()), 1);
    assert_eq!(second(|made| made.payload.truncate(60)), 1);
    assert_eq!(second(|made| made.flags |= PUSH), 1);
    assert_eq!(second(|made| made.flags |= FIN), 2);
    assert_eq!(second(|made| made.option += 1), 2);
    assert_eq!(second(|made| made.sequence += 1), 2);
    assert_eq!(second(|made| made.port += 1), 2);
    assert_eq!(second(|made| made.payload.push(1)), 2);
    assert_eq!(second(|made| made.payload.clear()), 2);
    assert_eq!(second(|made| made.is_v6 = true), 2);
}

#[test]
fn a_segment_with_a_wrong_checksum_goes_as_it_came() {
    let mut packets = [Made::new(&[1; 100]).packet(), Made::new(&[1; 100]).packet()];
    let next = Made {
        sequence: Made::new(&[]).sequence.wrapping_add(100),
        ..Made::new(&[1; 100])
    };
    packets[1] = next.packet();
    packets[1][60] ^= 1;
    let mut joiner = Joiner::default();
    for packet in &packets {
        joiner.push(Packet::copy_from(&packet[..]));
    }
    let mut out = Vec::new();
    joiner.drain(|pieces| out.push((pieces[0].to_vec(), pieces[1].to_vec())));
    let plain = Frame::PLAIN.write().to_vec();
    assert_eq!(out, packets.map(|packet| (plain.clone(), packet)));
}

/// Packets of three connections, of fragments and of other protocols, in any order.
fn traffic() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let one = (0..4_u8, 0..3_usize, any::<bool>(), 0..20_u8);
    proptest::collection::vec(one, 1..200).prop_map(|steps| {
        let mut next = [1_u32, 0xffff_f000, 77];
        let steps = steps.into_iter().map(|(flow, size, push, odd)| {
            let size = [0, 60, 100][size];
            let Some(sequence) = next.get_mut(usize::from(flow)) else {
                // Not TCP: echo requests that are numbered.
                return [&[0x45, 0, 0, 24, 0, 0, 0, 0, 64, 1][..], &[odd; 14]].concat();
            };
            let made = Made {
                is_v6: flow == 2,
                port: 1000 + u16::from(flow),
                sequence: *sequence,
                flags: if push { ACK | PUSH } else { ACK },
                option: u32::from(odd == 1),
                identification: odd.into(),
                ..Made::new(&vec![odd; size])
            };
            *sequence = sequence.wrapping_add(size as u32);
            let mut packet = made.packet();
            if odd == 2 && flow < 2 {
                // A fragment of the same connection.
                packet[6] = 0x20;
            }
            packet
        });
        steps.collect()
    })
}

/// What packets of one connection have in common.
fn connection(packet: &[u8]) -> Vec<u8> {
    match packet[0] >> 4 {
        6 => packet[40..44].to_vec(),
        _ if packet[9] == 6 => packet[20..24].to_vec(),
        _ => Vec::new(),
    }
}

/// What a receiver can tell: who numbers packets that are no fragments, nobody looks at.
fn seen(packet: &[u8]) -> Vec<u8> {
    let mut seen = packet.to_vec();
    if packet[0] >> 4 == 4 && packet[9] == 6 {
        seen[4..6].fill(0);
        seen[10..12].fill(0);
    }
    seen
}

proptest! {
    #[test]
    fn every_connection_hears_what_was_sent_in_the_order_of_it(packets in traffic()) {
        let (out, count) = joined(&packets);
        prop_assert!(count <= packets.len());
        prop_assert_eq!(out.len(), packets.len());
        let mut connections: Vec<Vec<u8>> = packets.iter().map(|one| connection(one)).collect();
        connections.sort();
        connections.dedup();
        for one in connections {
            let of = |packets: &[Vec<u8>]| -> Vec<Vec<u8>> {
                packets.iter().filter(|packet| connection(packet) == one).map(|packet| seen(packet)).collect()
            };
            prop_assert_eq!(of(&out), of(&packets));
        }
    }

    #[test]
    fn nothing_that_comes_along_makes_it_fail(octets in proptest::collection::vec(any::<u8>(), 0..200), head: [u8; LENGTH]) {
        if let Some(frame) = Frame::read(&head) {
            let mut packet = octets.clone();
            if let Some(Split::Many(mut cut)) = split(&frame, &mut packet) {
                while cut.next(&packet, &mut [0; 4096]).is_some() {}
            }
        }
        for first in [0x45, 0x60] {
            let mut octets = octets.clone();
            octets.splice(..0, [first]);
            if let Some(protocol) = octets.get_mut(if first == 0x45 { 9 } else { 6 }) {
                *protocol = 6;
            }
            prop_assert_eq!(joined(&[octets.clone(), octets.clone()]), (vec![octets.clone(), octets], 2));
        }
    }
}
