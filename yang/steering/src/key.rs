//! The fields of a packet that rules look at, as the kernel's program lays them out (`struct steer_key`), and rules as a mask and
//! a value over them.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use crate::{
    Ends, MacAddress, MatchConfig, PortRange, Prefix, RuleConfig, SteeringConfig, Written,
};

/// Words of eight octets in a key.
pub const WORDS: usize = 12;
/// Of [`Key::vlan`]: there is a tag.
pub const TAGGED: u16 = 0x1000;

/// It is IP.
pub const IP: u8 = 1;
/// It is IPv6.
pub const IPV6: u8 = 2;
/// It has ports.
pub const PORTS: u8 = 4;
/// It is GTP-U.
pub const GTP: u8 = 8;
/// It has an IP packet inside.
pub const INNER: u8 = 16;
/// That is IPv6.
pub const INNER_IPV6: u8 = 32;
/// It came back from the last application of a chain.
pub const RETURNED: u8 = 64;

/// `struct steer_key` as words.
pub type Words = [u64; WORDS];

/// `struct steer_key`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Key {
    /// Number of the interface at which it came in.
    pub port: u32,
    /// Tunnel endpoint identifier.
    pub teid: u32,
    /// Destination of the frame.
    pub destination_mac: [u8; 6],
    /// [`TAGGED`] and the identifier, 0 without a tag.
    pub vlan: u16,
    /// Source of the frame.
    pub source_mac: [u8; 6],
    /// Protocol above IP.
    pub protocol: u8,
    /// Differentiated services code point.
    pub dscp: u8,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Of GTP-U.
    pub message_type: u8,
    /// What it is: [`IP`] and so on.
    pub flags: u8,
    /// Source address, IPv4 in the last four octets.
    pub source: [u8; 16],
    /// Destination address.
    pub destination: [u8; 16],
    /// Source address of the packet inside.
    pub inner_source: [u8; 16],
    /// Destination address of the packet inside.
    pub inner_destination: [u8; 16],
}

impl Key {
    /// As words.
    #[must_use]
    pub fn words(&self) -> Words {
        let mut bytes = Vec::with_capacity(WORDS * 8);
        bytes.extend(self.port.to_ne_bytes());
        bytes.extend(self.teid.to_ne_bytes());
        bytes.extend(self.destination_mac);
        bytes.extend(self.vlan.to_ne_bytes());
        bytes.extend(self.source_mac);
        bytes.extend([self.protocol, self.dscp]);
        bytes.extend(self.source_port.to_ne_bytes());
        bytes.extend(self.destination_port.to_ne_bytes());
        bytes.extend([self.message_type, self.flags, 0, 0]);
        bytes.extend(self.source);
        bytes.extend(self.destination);
        bytes.extend(self.inner_source);
        bytes.extend(self.inner_destination);
        let mut words = [0; WORDS];
        for (word, chunk) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_ne_bytes(*chunk);
        }
        words
    }
}

/// What a rule matches: a packet whose key has the value where the mask has ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pattern {
    /// Ones where it looks.
    pub mask: Words,
    /// What it has to find there.
    pub value: Words,
}

impl Pattern {
    /// Whether a packet with this key is one that is meant.
    #[must_use]
    pub fn matches(&self, key: &Words) -> bool {
        let words = key.iter().zip(&self.mask).zip(&self.value);
        words
            .into_iter()
            .all(|((key, mask), value)| key & mask == *value)
    }
}

/// Octets of an address, IPv4 in the last four.
#[must_use]
pub fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => {
            let mut octets = [0; 16];
            if let Some(last) = octets.last_chunk_mut::<4>() {
                *last = v4.octets();
            }
            octets
        }
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// A pattern while fields are added to it.
#[derive(Default)]
struct Builder {
    mask: Key,
    value: Key,
}

impl Builder {
    fn at(&mut self, ifindex: u32) {
        self.mask.port = u32::MAX;
        self.value.port = ifindex;
    }

    fn build(&self) -> Pattern {
        Pattern {
            mask: self.mask.words(),
            value: self.value.words(),
        }
    }

    fn flag(&mut self, flag: u8, value: bool) {
        self.mask.flags |= flag;
        self.value.flags |= if value { flag } else { 0 };
    }
}

fn mask_of(prefix: Prefix) -> [u8; 16] {
    let length = u32::from(prefix.length) + if prefix.address.is_ipv4() { 96 } else { 0 };
    let ones = u128::MAX.checked_shl(128 - length).unwrap_or(0);
    // The part before an IPv4 address is zero in every key of that family, which a flag tells.
    let before = if prefix.address.is_ipv4() {
        u128::from(u32::MAX)
    } else {
        u128::MAX
    };
    (ones & before).to_be_bytes()
}

/// Port numbers that begin with the same bits: which bits, and what they are.
type PortBits = (u16, u16);

/// A range as the fewest sets of port numbers that begin with the same bits: a tuple can be searched for those.
fn prefixes(range: PortRange) -> Vec<PortBits> {
    let (mut next, last) = (u32::from(range.lower_port), u32::from(range.upper_port));
    let mut all = Vec::new();
    while next <= last {
        // As many as the place where they begin allows, and as there are.
        let aligned = if next == 0 { 16 } else { next.trailing_zeros() };
        let bits = aligned.min((last - next + 1).ilog2());
        let rest = (1_u32 << bits) - 1;
        all.push((!(rest as u16), next as u16));
        next += rest + 1;
    }
    all
}

/// What of a port a rule looks at, as often as it takes; once and at nothing where it looks at none.
fn port_bits(port: Option<u16>, range: Option<PortRange>) -> Vec<Option<PortBits>> {
    match (port, range) {
        (Some(port), _) => vec![Some((u16::MAX, port))],
        (None, Some(range)) => prefixes(range).into_iter().map(Some).collect(),
        (None, None) => vec![None],
    }
}

/// The patterns of a rule: one, or with ranges of ports as many as these take. `port` is the number of its in-port, and whether
/// chains end there.
#[must_use]
pub fn pattern(
    rule: &RuleConfig,
    port: Option<(u32, bool)>,
    is_encapsulated: bool,
) -> Vec<Pattern> {
    let wanted = &rule.matching;
    let sources = port_bits(wanted.source_port, wanted.source_port_range);
    let destinations = port_bits(wanted.destination_port, wanted.destination_port_range);
    let pairs = sources
        .iter()
        .flat_map(|source| destinations.iter().map(move |to| (*source, *to)));
    pairs
        .map(|ports| one_pattern(rule, port, is_encapsulated, ports))
        .collect()
}

fn one_pattern(
    rule: &RuleConfig,
    port: Option<(u32, bool)>,
    is_encapsulated: bool,
    ports: (Option<PortBits>, Option<PortBits>),
) -> Pattern {
    let wanted = &rule.matching;
    let mut builder = Builder::default();
    if let Some((ifindex, _)) = port {
        builder.at(ifindex);
    }
    // What comes back from a chain is for the rules that say so.
    builder.flag(RETURNED, port.is_some_and(|(_, is_returned)| is_returned));
    add_frame(&mut builder, wanted);
    add_ip(&mut builder, wanted);
    add_ports(&mut builder, ports);
    add_gtp(&mut builder, wanted);
    if rule.end_gtp.is_some() {
        builder.flag(GTP, true);
        builder.flag(INNER, true);
        builder.mask.message_type = u8::MAX;
        builder.value.message_type = 255;
    }
    if is_encapsulated {
        builder.flag(IP, true);
    }
    builder.build()
}

/// What comes in at a port between these two addresses: the answer to a health check.
#[must_use]
pub fn answer_pattern(ifindex: u32, ends: Ends) -> Pattern {
    let mut builder = Builder::default();
    builder.at(ifindex);
    let (from, to) = (ends.destination_address, ends.source_address);
    builder.flag(IP, true);
    builder.flag(IPV6, from.is_ipv6());
    builder.mask.source = mask_of(Prefix::host(from));
    builder.value.source = octets(from);
    builder.mask.destination = mask_of(Prefix::host(to));
    builder.value.destination = octets(to);
    builder.build()
}

/// Packets of users from a prefix to an address of its family, themselves or inside of a tunnel.
pub(crate) fn query_pattern(from: Prefix, to: IpAddr, is_inside: bool) -> Pattern {
    let mut builder = Builder::default();
    let (from_mask, from_value) = (mask_of(from), octets(from.address));
    let (to_mask, to_value) = (mask_of(Prefix::host(to)), octets(to));
    match is_inside {
        true => {
            builder.flag(GTP, true);
            builder.flag(INNER, true);
            builder.flag(INNER_IPV6, to.is_ipv6());
            (builder.mask.inner_source, builder.value.inner_source) = (from_mask, from_value);
            (
                builder.mask.inner_destination,
                builder.value.inner_destination,
            ) = (to_mask, to_value);
        }
        false => {
            builder.flag(IP, true);
            builder.flag(IPV6, to.is_ipv6());
            (builder.mask.source, builder.value.source) = (from_mask, from_value);
            (builder.mask.destination, builder.value.destination) = (to_mask, to_value);
        }
    }
    builder.build()
}

/// Whatever comes in at a port.
#[must_use]
pub fn arrival_pattern(ifindex: u32) -> Pattern {
    let mut builder = Builder::default();
    builder.at(ifindex);
    builder.build()
}

/// The patterns of all rules with the positions of these, in their order, with ports numbered as they stand in the configuration.
/// A port that is not among them is one of its own.
#[must_use]
pub fn patterns(config: &SteeringConfig) -> Vec<(Pattern, usize)> {
    let numbers = config.ports.iter().map(|port| port.name.as_str()).zip(1..);
    let numbers: HashMap<&str, u32> = numbers.collect();
    let classified = config.chains.iter().filter(|c| c.classify.is_some());
    let last = classified.filter_map(|chain| chain.applications.last());
    let returned: BTreeSet<&str> = last.map(|one| one.return_port()).collect();
    let of = |(position, rule): (usize, &RuleConfig)| {
        let port = rule.matching.in_port.as_deref();
        let port = port.map(|name| {
            let number = numbers.get(name).copied().unwrap_or(u32::MAX);
            (number, returned.contains(name))
        });
        let forward = rule.forward.as_ref();
        let is_encapsulated = forward.is_some_and(|way| way.encapsulate.is_some());
        let patterns = pattern(rule, port, is_encapsulated).into_iter();
        patterns.map(move |pattern| (pattern, position))
    };
    config.rules.iter().enumerate().flat_map(of).collect()
}

fn add_frame(builder: &mut Builder, wanted: &MatchConfig) {
    if let Some(MacAddress(mac)) = wanted.source_mac {
        builder.mask.source_mac = [u8::MAX; 6];
        builder.value.source_mac = mac;
    }
    if let Some(MacAddress(mac)) = wanted.destination_mac {
        builder.mask.destination_mac = [u8::MAX; 6];
        builder.value.destination_mac = mac;
    }
    match wanted.vlan_id {
        // A tag of VLAN 0 gives a priority and no VLAN.
        Some(0) => builder.mask.vlan = 0xfff,
        Some(vlan) => {
            builder.mask.vlan = TAGGED | 0xfff;
            builder.value.vlan = TAGGED | vlan;
        }
        None => {}
    }
}

fn prefix(written: Option<&Written>) -> Option<Prefix> {
    written.and_then(|written| written.parse().ok())
}

fn add_ip(builder: &mut Builder, wanted: &MatchConfig) {
    if let Some(prefix) = prefix(wanted.source_prefix.as_ref()) {
        builder.flag(IP, true);
        builder.flag(IPV6, prefix.address.is_ipv6());
        builder.mask.source = mask_of(prefix);
        builder.value.source = octets(prefix.address);
    }
    if let Some(prefix) = prefix(wanted.destination_prefix.as_ref()) {
        builder.flag(IP, true);
        builder.flag(IPV6, prefix.address.is_ipv6());
        builder.mask.destination = mask_of(prefix);
        builder.value.destination = octets(prefix.address);
    }
    if let Some(protocol) = wanted.protocol {
        builder.flag(IP, true);
        builder.mask.protocol = u8::MAX;
        builder.value.protocol = protocol;
    }
    if let Some(dscp) = wanted.dscp {
        builder.flag(IP, true);
        builder.mask.dscp = u8::MAX;
        builder.value.dscp = dscp;
    }
}

fn add_ports(builder: &mut Builder, (source, destination): (Option<PortBits>, Option<PortBits>)) {
    if let Some((mask, value)) = source {
        builder.flag(PORTS, true);
        builder.mask.source_port = mask;
        builder.value.source_port = value;
    }
    if let Some((mask, value)) = destination {
        builder.flag(PORTS, true);
        builder.mask.destination_port = mask;
        builder.value.destination_port = value;
    }
}

fn add_gtp(builder: &mut Builder, wanted: &MatchConfig) {
    let Some(gtp) = &wanted.gtp else { return };
    builder.flag(GTP, true);
    if let Some(teid) = gtp.teid {
        builder.mask.teid = u32::MAX;
        builder.value.teid = teid;
    }
    if let Some(message_type) = gtp.message_type {
        builder.mask.message_type = u8::MAX;
        builder.value.message_type = message_type;
    }
    if let Some(prefix) = prefix(gtp.inner_source_prefix.as_ref()) {
        builder.flag(INNER, true);
        builder.flag(INNER_IPV6, prefix.address.is_ipv6());
        builder.mask.inner_source = mask_of(prefix);
        builder.value.inner_source = octets(prefix.address);
    }
    if let Some(prefix) = prefix(gtp.inner_destination_prefix.as_ref()) {
        builder.flag(INNER, true);
        builder.flag(INNER_IPV6, prefix.address.is_ipv6());
        builder.mask.inner_destination = mask_of(prefix);
        builder.value.inner_destination = octets(prefix.address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_exactly_its_ports() {
        let ranges = [
            (0, 0),
            (0, 65_535),
            (1, 65_534),
            (1024, 65_535),
            (53, 53),
            (5000, 5010),
            (1000, 1999),
            (32_767, 32_768),
        ];
        for (lower_port, upper_port) in ranges {
            let all = prefixes(PortRange {
                lower_port,
                upper_port,
            });
            assert!(all.len() <= 30, "{lower_port}-{upper_port}: {}", all.len());
            for port in 0..=u16::MAX {
                let found = all
                    .iter()
                    .filter(|(mask, value)| port & mask == *value)
                    .count();
                let expected = usize::from((lower_port..=upper_port).contains(&port));
                assert_eq!(found, expected, "{port} of {lower_port}-{upper_port}");
            }
        }
    }
}
