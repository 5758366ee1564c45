//! What is done to a frame, worked out rule by rule and octet by octet: what the kernel's program is compared with, and what
//! simulated nodes run. Frames have their VLAN tags in them.

use super::packet::{Odd, Parts, parse};
use super::program::{
    Action, DROP, ENCAPSULATE, END_GTP, OUTER_IPV6, PASS, POP, PUSH, Port, Program, QFI, SET_MAC,
    UPLINK,
};
use tranche_steering::{self as key, INNER, Key};

pub(super) const FRAGMENT: u32 = 1;
pub(super) const MALFORMED: u32 = 2;
pub(super) const OVERSIZED: u32 = 3;
pub(super) const ECHO: u32 = 4;
pub(super) const FAILED: u32 = 5;
pub(super) const UNMATCHED: u32 = 6;
/// The first counter that is not one of those.
pub(super) const FIRST: u32 = 16;

const ECHO_REQUEST: u8 = 1;
const G_PDU: u8 = 255;
const GTP_PORT: [u8; 2] = 2152_u16.to_be_bytes();
const UDP_AND_GTP: usize = 16;
const CONTAINER: usize = 8;

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It goes to the network stack as it came.
    Pass,
    /// It is dropped.
    Drop,
    /// It leaves at this interface.
    Leave(u32),
}

/// What was done to a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) verdict: Verdict,
    /// The frame as it leaves.
    pub(super) frame: Vec<u8>,
    /// Positions of what counted it.
    pub(super) counted: Vec<u32>,
    /// Rank of the action.
    pub(super) action: u32,
}

/// Lets a frame come in at a port.
pub(super) fn steer(program: &Program, ifindex: u32, frame: &[u8]) -> Outcome {
    let outcome = |verdict, counter: Option<u32>| Outcome {
        verdict,
        frame: frame.to_vec(),
        counted: counter.into_iter().collect(),
        action: 0,
    };
    let Some(port) = program.ports.get(&ifindex) else {
        return outcome(Verdict::Pass, None);
    };
    let drop_if = |drops| if drops { Verdict::Drop } else { Verdict::Pass };
    let flags = if port.is_return { key::RETURNED } else { 0 };
    let (key, parts) = match parse(frame, ifindex, flags) {
        Ok(parsed) => parsed,
        Err(Odd::Fragment) => return outcome(Verdict::Pass, Some(FRAGMENT)),
        Err(Odd::Ip) => return outcome(Verdict::Pass, Some(UNMATCHED)),
        Err(Odd::Gtp) => return outcome(drop_if(program.drops_malformed), Some(MALFORMED)),
    };
    if is_echo(port, &key, &parts) {
        let frame = answer(frame, &key, &parts);
        return Outcome {
            frame,
            ..outcome(Verdict::Leave(ifindex), Some(ECHO))
        };
    }
    let is_of_a_chain = port.action != 0 || port.is_return;
    let is_group = key.destination_mac[0] & 1 != 0;
    if is_of_a_chain && (key.flags & key::IP == 0 || is_group) {
        return outcome(Verdict::Pass, Some(UNMATCHED));
    }
    let words = key.words();
    let mut matching = program
        .rules
        .iter()
        .filter(|(pattern, _)| pattern.matches(&words));
    let rank = match port.action {
        0 => matching.next().map_or(0, |(_, rank)| *rank),
        action => action,
    };
    let Some(action) = (rank as usize)
        .checked_sub(1)
        .and_then(|index| program.actions.get(index))
    else {
        return outcome(Verdict::Pass, Some(UNMATCHED));
    };
    let ends = action.steps & (PASS | DROP) != 0;
    if !ends && length(action, frame, &parts) > action.mtu as usize {
        return Outcome {
            action: rank,
            ..outcome(drop_if(program.drops_oversized), Some(OVERSIZED))
        };
    }
    let counters = action.counters.iter().map(|(_, position)| *position);
    let counted = counters.filter(|position| *position != 0).collect();
    let (verdict, frame) = match action.steps {
        steps if steps & PASS != 0 => (Verdict::Pass, frame.to_vec()),
        steps if steps & DROP != 0 => (Verdict::Drop, frame.to_vec()),
        _ => (
            Verdict::Leave(action.ifindex),
            change(action, frame, &parts),
        ),
    };
    Outcome {
        verdict,
        frame,
        counted,
        action: rank,
    }
}

/// Length of what leaves, above Ethernet.
fn length(action: &Action, frame: &[u8], parts: &Parts) -> usize {
    let outer = if action.steps & ENCAPSULATE != 0 {
        outer_length(action)
    } else {
        0
    };
    match action.steps & (END_GTP | ENCAPSULATE) {
        0 => frame.len() - parts.l2,
        steps if steps & END_GTP != 0 => parts.inner_length + outer,
        _ => parts.length + outer,
    }
}

fn outer_length(action: &Action) -> usize {
    let ip = if action.steps & OUTER_IPV6 != 0 {
        40
    } else {
        20
    };
    ip + UDP_AND_GTP
        + if action.steps & QFI != 0 {
            CONTAINER
        } else {
            0
        }
}

fn change(action: &Action, frame: &[u8], parts: &Parts) -> Vec<u8> {
    let steps = action.steps;
    let (addresses, rest) = frame.split_at(12);
    let mut addresses = addresses.to_vec();
    let mut rest = rest.to_vec();
    if steps & (POP | END_GTP | ENCAPSULATE) != 0 && parts.l2 == 18 {
        rest.drain(..4);
    }
    if steps & END_GTP != 0 {
        let inner = frame.get(parts.inner..).unwrap_or_default();
        rest = [
            ether_type(inner.first().is_some_and(|first| first >> 4 == 6)),
            inner,
        ]
        .concat();
    }
    if steps & ENCAPSULATE != 0 {
        let (length, class) = match steps & END_GTP {
            0 => (parts.length, parts.class),
            _ => (parts.inner_length, parts.inner_class),
        };
        let inner = rest.split_off(2);
        rest = [
            ether_type(steps & OUTER_IPV6 != 0),
            &outer(action, length, class),
            &inner,
        ]
        .concat();
    }
    if steps & PUSH != 0 {
        rest = [&[0x81, 0x00], &action.vlan.to_be_bytes()[..], &rest].concat();
    }
    if steps & SET_MAC != 0 {
        addresses = [action.destination_mac, action.source_mac].concat();
    }
    [addresses, rest].concat()
}

fn ether_type(is_ipv6: bool) -> &'static [u8] {
    if is_ipv6 {
        &[0x86, 0xdd]
    } else {
        &[0x08, 0x00]
    }
}

/// Headers around a packet of this length and traffic class.
fn outer(action: &Action, length: usize, class: u8) -> Vec<u8> {
    let is_ipv6 = action.steps & OUTER_IPV6 != 0;
    let has_container = action.steps & QFI != 0;
    let after_gtp = length + if has_container { CONTAINER } else { 0 };
    let u16_of = |number: usize| (number as u16).to_be_bytes();
    let mut header = Vec::new();
    if is_ipv6 {
        header.extend([0x60 | class >> 4, class << 4, 0, 0]);
        header.extend(u16_of(UDP_AND_GTP + after_gtp));
        header.extend([17, 64]);
        header.extend(action.local);
        header.extend(action.peer);
    } else {
        header.extend([0x45, class]);
        header.extend(u16_of(20 + UDP_AND_GTP + after_gtp));
        header.extend([0, 0, 0, 0, 64, 17, 0, 0]);
        header.extend(&action.local[12..]);
        header.extend(&action.peer[12..]);
        let sum = checksum(&header);
        header[10..12].copy_from_slice(&sum);
    }
    header.extend(GTP_PORT);
    header.extend(GTP_PORT);
    header.extend(u16_of(UDP_AND_GTP + after_gtp));
    header.extend([0, 0, if has_container { 0x34 } else { 0x30 }, G_PDU]);
    header.extend(u16_of(after_gtp));
    header.extend(action.teid.to_be_bytes());
    if has_container {
        let kind = if action.steps & UPLINK != 0 { 0x10 } else { 0 };
        header.extend([0, 0, 0, 0x85, 1, kind, action.qfi, 0]);
    }
    header
}

/// RFC 1071, of an even number of octets.
fn checksum(octets: &[u8]) -> [u8; 2] {
    let mut sum: u32 = octets
        .as_chunks::<2>()
        .0
        .iter()
        .map(|pair| u32::from(u16::from_be_bytes(*pair)))
        .sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

fn is_echo(port: &Port, key: &Key, parts: &Parts) -> bool {
    let is_request = key.flags & (key::GTP | INNER) == key::GTP && key.message_type == ECHO_REQUEST;
    is_request && parts.is_plain && port.echoes.contains(&key.destination)
}

/// The answer to an echo request (3GPP TS 29.281 7.2.2).
fn answer(frame: &[u8], key: &Key, parts: &Parts) -> Vec<u8> {
    let is_ipv6 = key.flags & key::IPV6 != 0;
    let mut answer = frame[..parts.l4].to_vec();
    answer[..6].copy_from_slice(&frame[6..12]);
    answer[6..12].copy_from_slice(&frame[..6]);
    let sequence = match frame[parts.gtp] & 2 {
        0 => [0, 0],
        _ => [frame[parts.gtp + 8], frame[parts.gtp + 9]],
    };
    let mut udp = GTP_PORT.to_vec();
    udp.extend(&frame[parts.l4..parts.l4 + 2]);
    udp.extend([0, 22, 0, 0, 0x32, 2, 0, 6, 0, 0, 0, 0]);
    udp.extend(sequence);
    udp.extend([0, 0, 14, 0]);
    let ip = &mut answer[parts.l2..];
    if is_ipv6 {
        let source: Vec<u8> = ip[8..24].to_vec();
        ip.copy_within(24..40, 8);
        ip[24..40].copy_from_slice(&source);
        ip[4..6].copy_from_slice(&[0, 22]);
        ip[7] = 64;
        let pseudo = [&ip[8..40], &[0, 0, 0, 22, 0, 0, 0, 17], &udp].concat();
        let sum = match checksum(&pseudo) {
            [0, 0] => [0xff, 0xff],
            sum => sum,
        };
        udp[6..8].copy_from_slice(&sum);
    } else {
        let source: Vec<u8> = ip[12..16].to_vec();
        ip.copy_within(16..20, 12);
        ip[16..20].copy_from_slice(&source);
        ip[2..4].copy_from_slice(&[0, 42]);
        ip[8] = 64;
        ip[10..12].copy_from_slice(&[0, 0]);
        let sum = checksum(&ip[..20]);
        ip[10..12].copy_from_slice(&sum);
    }
    answer.extend(udp);
    answer
}
