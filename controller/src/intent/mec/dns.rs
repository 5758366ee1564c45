//! DNS rules of edge applications as records of their slice's resolver, and the rules that bring the users' queries there and the
//! answers back. Pure.
//!
//! ```text
//!  user-port --queries of the resolver's clients, out of their tunnel--> port of the resolver
//!            <--as the slice's own rules send what comes from app-port--
//! ```
//! In a tunnel back, whose TEIDs no descriptor has, answers go by the rules that the slice has for what comes from the application.

use std::collections::BTreeSet;
use std::net::IpAddr;

use tranche_steering::{
    GtpMatch, MatchConfig, Prefix, RecordConfig, RecordType, ResolverConfig, RuleConfig, WayOut,
    Written, check_name, present,
};

use super::map::Mapped;
use super::{Access, AddressType, Application, DnsRule, RuleState};
use crate::intent::{ErrorKind, IntentError, Slice, SliceRecord, SliceRule};

/// Rules and records of the applications of a slice.
///
/// # Errors
/// Every field that makes no sense.
pub(crate) fn names<'a>(
    applications: impl Iterator<Item = &'a Application>,
    slice: &Slice,
) -> Result<(Vec<SliceRule>, Vec<SliceRecord>), Vec<IntentError>> {
    let (mut rules, mut records, mut errors) = (Vec::new(), Vec::new(), Vec::new());
    for application in applications {
        let mut active = None;
        for rule in &application.names {
            let path = path(application, rule);
            match record(rule, &path) {
                Ok(_) if rule.state == RuleState::Inactive => {}
                Ok(record) => {
                    active.get_or_insert_with(|| path.clone());
                    records.push(SliceRecord {
                        nodes: application.nodes.clone(),
                        origin: path,
                        record,
                    });
                }
                Err(error) => errors.push(*error),
            }
        }
        if let Some(origin) = active {
            match ways(application, slice, &origin) {
                Ok(ways) => rules.extend(ways),
                Err(error) => errors.push(*error),
            }
        }
    }
    match errors.is_empty() {
        true => Ok((merged(rules), records)),
        false => Err(errors),
    }
}

fn path(application: &Application, rule: &DnsRule) -> String {
    let id = &rule.dns_rule_id;
    let quote = if id.contains('\'') { '"' } else { '\'' };
    format!(
        "/tranche-mec:mec/application[name='{}']/appDNSRule[dnsRuleId={quote}{id}{quote}]",
        application.name
    )
}

fn refuse<T>(path: String, kind: ErrorKind, message: impl Into<String>) -> Mapped<T> {
    let message = message.into();
    Err(Box::new(IntentError {
        path,
        kind,
        message,
    }))
}

fn record(rule: &DnsRule, path: &str) -> Mapped<RecordConfig> {
    // A name may be written with the dot of the root.
    let name = rule
        .domain_name
        .strip_suffix('.')
        .unwrap_or(&rule.domain_name);
    if let Err(message) = check_name(name) {
        return refuse(
            format!("{path}/domainName"),
            ErrorKind::BadSteering,
            message,
        );
    }
    let (kind, family) = match rule.ip_address_type {
        AddressType::V4 => (RecordType::A, "IP_V4"),
        AddressType::V6 => (RecordType::Aaaa, "IP_V6"),
    };
    let address: Option<IpAddr> = rule.ip_address.parse().ok();
    match address.filter(|address| kind.fits(*address)) {
        Some(address) => Ok(RecordConfig {
            name: name.to_ascii_lowercase(),
            kind,
            address,
            ttl: rule.ttl,
        }),
        None => {
            let message = format!("'{}' is no address of type {family}", rule.ip_address);
            refuse(format!("{path}/ipAddress"), ErrorKind::BadSteering, message)
        }
    }
}

/// The rules between the users of an application and the resolver.
fn ways(application: &Application, slice: &Slice, origin: &str) -> Mapped<Vec<SliceRule>> {
    let Some(resolver) = &slice.steering.resolver else {
        let message = format!(
            "slice {} has no steering/resolver that could answer it: give it one, or take the descriptor in with without-dns",
            slice.id
        );
        return refuse(origin.to_owned(), ErrorKind::MecUnsupported, message);
    };
    let to_it = queries(application, resolver);
    if to_it.is_empty() {
        let message = format!(
            "the resolver of slice {} has no address of a family that one of its clients has",
            slice.id
        );
        return refuse(origin.to_owned(), ErrorKind::BadSteering, message);
    }
    let back = match (application.access, application.user_mac) {
        (Access::GtpU, _) => answers_into_tunnels(application, slice, resolver),
        (Access::Plain, Some(_)) => answers(application, resolver),
        (Access::Plain, None) => {
            let message = "answers to users without a tunnel need the address of their router: give the application a user-mac";
            return refuse(origin.to_owned(), ErrorKind::BadSteering, message);
        }
    };
    if back.is_empty() {
        let message = format!(
            "answers could not go back: slice {} has no rule that puts what comes in at {} into a tunnel",
            slice.id, application.app_port
        );
        return refuse(origin.to_owned(), ErrorKind::BadSteering, message);
    }
    let rule = |(rule, number): (RuleConfig, usize)| SliceRule {
        nodes: application.nodes.clone(),
        labels: BTreeSet::new(),
        origin: Some(origin.to_owned()),
        rule: RuleConfig {
            name: format!("{}_dns_{number}", application.name),
            ..rule
        },
    };
    Ok(to_it.into_iter().chain(back).zip(1..).map(rule).collect())
}

/// Each prefix of clients with each address of the resolver, of one family.
fn pairs(resolver: &ResolverConfig) -> Vec<(Written, Written)> {
    let mut pairs = Vec::new();
    for client in &resolver.clients {
        for address in &resolver.addresses {
            let is_ipv4 = client.parse().is_ok_and(|prefix| prefix.address.is_ipv4());
            if is_ipv4 == address.is_ipv4() {
                let host = Prefix::host(*address).to_string();
                pairs.push((client.clone(), Written(host)));
            }
        }
    }
    pairs
}

fn queries(application: &Application, resolver: &ResolverConfig) -> Vec<RuleConfig> {
    let rule = |(client, address)| {
        let mut matching = MatchConfig {
            in_port: Some(application.user_port.clone()),
            ..MatchConfig::default()
        };
        match application.access {
            Access::GtpU => {
                matching.gtp = Some(GtpMatch {
                    inner_source_prefix: Some(client),
                    inner_destination_prefix: Some(address),
                    ..GtpMatch::default()
                });
            }
            Access::Plain => {
                matching.source_prefix = Some(client);
                matching.destination_prefix = Some(address);
            }
        }
        RuleConfig {
            end_gtp: matching.gtp.as_ref().and(present()),
            forward: Some(WayOut {
                out_port: resolver.port.clone(),
                to_other_end: present(),
                ..WayOut::default()
            }),
            matching,
            ..RuleConfig::default()
        }
    };
    pairs(resolver).into_iter().map(rule).collect()
}

/// To users without a tunnel.
fn answers(application: &Application, resolver: &ResolverConfig) -> Vec<RuleConfig> {
    let rule = |(client, address)| RuleConfig {
        matching: MatchConfig {
            in_port: Some(resolver.port.clone()),
            source_prefix: Some(address),
            destination_prefix: Some(client),
            ..MatchConfig::default()
        },
        forward: Some(WayOut {
            out_port: application.user_port.clone(),
            destination_mac: application.user_mac,
            ..WayOut::default()
        }),
        ..RuleConfig::default()
    };
    pairs(resolver).into_iter().map(rule).collect()
}

/// The slice's own rules that put what comes from the application into tunnels, for what comes from the resolver.
fn answers_into_tunnels(
    application: &Application,
    slice: &Slice,
    resolver: &ResolverConfig,
) -> Vec<RuleConfig> {
    let is_way_back = |rule: &&SliceRule| {
        let (matching, way) = (&rule.rule.matching, &rule.rule.forward);
        let prefix = matching.source_prefix.as_ref().map(Written::parse);
        let is_from_it =
            |prefix: Prefix| resolver.addresses.iter().any(|one| prefix.contains(*one));
        matching.in_port.as_deref() == Some(&*application.app_port)
            && way.as_ref().is_some_and(|way| way.encapsulate.is_some())
            && prefix.is_none_or(|prefix| prefix.is_ok_and(is_from_it))
            && (rule.nodes.is_empty() || !rule.nodes.is_disjoint(&application.nodes))
    };
    let rules = slice.steering.rules.iter().filter(is_way_back);
    rules
        .map(|rule| {
            let mut rule = rule.rule.clone();
            rule.matching.in_port = Some(resolver.port.clone());
            rule
        })
        .collect()
}

/// Applications of one slice share its resolver: what is the same for several is one rule, at the nodes of all.
fn merged(rules: Vec<SliceRule>) -> Vec<SliceRule> {
    let mut merged: Vec<SliceRule> = Vec::with_capacity(rules.len());
    for rule in rules {
        let is_same = |other: &&mut SliceRule| {
            other.rule.matching == rule.rule.matching && other.rule.forward == rule.rule.forward
        };
        match merged.iter_mut().find(is_same) {
            Some(other) => other.nodes.extend(rule.nodes),
            None => merged.push(rule),
        }
    }
    merged
}

#[cfg(test)]
#[path = "dns_tests.rs"]
mod tests;
