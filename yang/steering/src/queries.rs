//! Whose queries reach which resolver: what the clients of one ask must not go to another. Pure.
//!
//! Two slices may have clients and resolvers of the same addresses, as private addresses are, where rules tell their users apart by
//! something else that is asked first: a port, a VLAN, a MAC address, a TEID. Where nothing does, one of the two resolvers gets the
//! queries that are for the other.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use crate::check::{Checked, Fault, FaultKind};
use crate::key::query_pattern;
use crate::{
    GTP, INNER, INNER_IPV6, IP, IPV6, Key, PORTS, Pattern, Prefix, ResolverConfig, RuleConfig,
    SteeringConfig, Words, resolver_path,
};

/// A rule that sends packets to a resolver: one of its patterns.
struct Sender<'a> {
    position: usize,
    rule: &'a RuleConfig,
    resolver: &'a ResolverConfig,
    pattern: Pattern,
}

/// What of a sender's packets one prefix of clients asks at one address.
struct Asked<'a> {
    sender: &'a Sender<'a>,
    client: Prefix,
    address: IpAddr,
    value: Words,
}

/// Checks that no rule takes queries that are for the resolver of another one. `patterns` are those of the rules, by position.
pub(crate) fn check_queries(config: &SteeringConfig, patterns: &[(Pattern, usize)]) -> Checked {
    if config.resolvers.len() < 2 {
        return Ok(());
    }
    let senders = senders(config, patterns);
    for is_inside in [false, true] {
        let of_layer = || senders.iter().filter(|one| one.is_inside() == is_inside);
        let mut kinds: BTreeMap<Words, Vec<&Sender<'_>>> = BTreeMap::new();
        for sender in of_layer() {
            kinds.entry(sender.pattern.mask).or_default().push(sender);
        }
        let mut asked: BTreeMap<Words, Vec<Asked<'_>>> = BTreeMap::new();
        for sender in of_layer() {
            for (mask, one) in sender.asked() {
                asked.entry(mask).or_default().push(one);
            }
        }
        let of_users = of_users(is_inside);
        for (mask, asked) in &asked {
            let not_apart = |wide: &Words| {
                let apart = wide.iter().zip(&of_users).map(|(wide, user)| wide & !user);
                apart.zip(mask).all(|(apart, mask)| apart & !mask == 0)
            };
            for (wide, takers) in kinds.iter().filter(|(wide, _)| not_apart(wide)) {
                check_taken(asked, takers, &both(wide, mask))?;
            }
        }
    }
    Ok(())
}

/// The rules that send to a resolver, themselves or behind a chain, in their order.
fn senders<'a>(config: &'a SteeringConfig, patterns: &[(Pattern, usize)]) -> Vec<Sender<'a>> {
    let ports: HashMap<&str, &ResolverConfig> = config
        .resolvers
        .iter()
        .map(|one| (one.port.as_str(), one))
        .collect();
    let sends = |rule: &RuleConfig| {
        let chain = rule.chain.as_deref().and_then(|name| config.chain(name));
        let behind = chain.and_then(|chain| chain.forward.as_ref());
        let way = rule.forward.as_ref().or(behind)?;
        ports.get(way.out_port.as_str()).copied()
    };
    let sent: Vec<Option<&ResolverConfig>> = config.rules.iter().map(sends).collect();
    let sender = |(pattern, position): &(Pattern, usize)| {
        Some(Sender {
            position: *position,
            rule: &config.rules[*position],
            resolver: sent[*position]?,
            pattern: *pattern,
        })
    };
    patterns.iter().filter_map(sender).collect()
}

impl Sender<'_> {
    /// Whether the users are in a tunnel, so that theirs are the addresses inside.
    fn is_inside(&self) -> bool {
        self.rule.matching.gtp.is_some() || self.rule.end_gtp.is_some()
    }

    fn is_of(&self, resolver: &ResolverConfig) -> bool {
        self.resolver.slice == resolver.slice
    }

    /// What the clients of its resolver ask there, with where that is looked at.
    fn asked(&self) -> impl Iterator<Item = (Words, Asked<'_>)> {
        let clients = self.resolver.clients.iter();
        let clients = clients.filter_map(|written| written.parse().ok());
        let pairs = clients.flat_map(|client: Prefix| {
            let addresses = self.resolver.addresses.iter();
            addresses.map(move |address| (client, *address))
        });
        let of_one_family =
            pairs.filter(|(client, address)| client.address.is_ipv4() == address.is_ipv4());
        of_one_family.filter_map(|(client, address)| {
            let query = query_pattern(client, address, self.is_inside());
            let of_rule = &self.pattern;
            let common = both(&query.mask, &of_rule.mask);
            if both(&query.value, &common) != both(&of_rule.value, &common) {
                return None;
            }
            let asked = Asked {
                sender: self,
                client,
                address,
                value: either(&query.value, &of_rule.value),
            };
            Some((either(&query.mask, &of_rule.mask), asked))
        })
    }
}

/// Checks queries that look at the same against rules that do so, by what both look at.
fn check_taken(asked: &[Asked<'_>], takers: &[&Sender<'_>], common: &Words) -> Checked {
    // The first for each resolver.
    let mut first: HashMap<Words, Vec<&Sender<'_>>> = HashMap::new();
    for taker in takers {
        let known = first.entry(both(&taker.pattern.value, common)).or_default();
        if known.iter().all(|one| !one.is_of(taker.resolver)) {
            known.push(taker);
        }
    }
    for one in asked {
        let takers = first.get(&both(&one.value, common)).into_iter().flatten();
        let mut others = takers.filter(|taker| {
            taker.position < one.sender.position && !taker.is_of(one.sender.resolver)
        });
        if let Some(taker) = others.next() {
            return Err(one.fault(taker));
        }
    }
    Ok(())
}

impl Asked<'_> {
    fn fault(&self, taker: &Sender<'_>) -> Fault {
        let Self {
            sender,
            client,
            address,
            ..
        } = self;
        let slice = &sender.resolver.slice;
        Fault {
            path: format!("{}/client[.='{client}']", resolver_path(slice)),
            message: format!(
                "rule {} sends queries of users in {client} for {address} to the resolver of slice {}, before rule {} could send \
                 them to that of slice {slice}: nothing but their addresses tells the users apart",
                taker.rule.name, taker.resolver.slice, sender.rule.name
            ),
            kind: FaultKind::ResolverClash,
        }
    }
}

fn both(one: &Words, other: &Words) -> Words {
    std::array::from_fn(|at| one[at] & other[at])
}

fn either(one: &Words, other: &Words) -> Words {
    std::array::from_fn(|at| one[at] | other[at])
}

/// Where a query has what does not tell users of two slices apart.
fn of_users(is_inside: bool) -> Words {
    const ALL: [u8; 16] = [u8::MAX; 16];
    let key = match is_inside {
        true => Key {
            message_type: u8::MAX,
            flags: IP | GTP | INNER | INNER_IPV6,
            inner_source: ALL,
            inner_destination: ALL,
            ..Key::default()
        },
        false => Key {
            protocol: u8::MAX,
            source_port: u16::MAX,
            destination_port: u16::MAX,
            flags: IP | IPV6 | PORTS,
            source: ALL,
            destination: ALL,
            ..Key::default()
        },
    };
    key.words()
}

#[cfg(test)]
#[path = "queries_tests.rs"]
mod tests;
