//! What a node has of steering, against what it should have of ours: the difference, and the edit that mends it.

mod order;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;
use tranche_steering::{ChainConfig, PortConfig, ResolverConfig, RuleConfig, SteeringConfig};

use super::plan::PartDrift;
use super::steering::OWNER;
use super::vif::leaf;

pub(super) use self::order::rules_then;

/// Namespace of `tranche-steering`.
pub(crate) const STEERING: &str = "urn:tranche:yang:tranche-steering";

/// Steering of a node as it was last read: all of it, ours and that of others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeSteering {
    /// Its configuration.
    pub config: SteeringConfig,
    /// Entries, as `rule NAME`, that have more than this controller configures.
    pub odd: BTreeSet<String>,
    /// State of ports by name, as the node tells.
    pub ports: BTreeMap<String, String>,
    /// Applications by chain and name.
    pub applications: BTreeMap<(String, String), Applied>,
    /// Rules by name.
    pub rules: BTreeMap<String, RuleSeen>,
    /// Resolvers by slice.
    pub resolvers: BTreeMap<String, ResolverSeen>,
}

/// What is seen of a resolver, with what became of the queries to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResolverSeen {
    /// Whether it answers, as the node tells.
    pub oper_state: String,
    /// Answered from its records.
    pub answered: u64,
    /// Answered by another resolver.
    pub forwarded: u64,
    /// Refused.
    pub refused: u64,
    /// Answered by nobody in time.
    pub failed: u64,
    /// No query, or not from a client.
    pub ignored: u64,
    /// Over UDP and too many of one client.
    pub limited: u64,
    /// Since when the node counts, if it says so.
    pub since: Option<String>,
}

/// Packets and their octets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// Packets.
    pub packets: u64,
    /// Octets.
    pub bytes: u64,
}

/// What is seen of an application.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Whether packets are sent to it.
    pub is_up: bool,
    /// What is wrong with one that is down, `port` or `health-check`.
    pub down_by: Option<String>,
    /// The same in words.
    pub reason: Option<String>,
    /// Since when, as the node tells.
    pub changed_at: Option<String>,
    /// What it got.
    pub counted: Counted,
}

/// What is seen of a rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleSeen {
    /// What it matched.
    pub counted: Counted,
    /// The rule that leaves nothing to it.
    pub shadowed_by: Option<String>,
}

/// Slices that entries of ours are of; some more than once. Chains have them in their names.
pub(crate) fn slices(config: &SteeringConfig) -> impl Iterator<Item = &str> {
    fn ours<T: Entry>(entries: &[T]) -> impl Iterator<Item = &T> {
        entries.iter().filter(|one| one.owner() == Some(OWNER))
    }
    let chains = ours(&config.chains).filter_map(|chain| chain.name.rsplit_once('.'));
    let rules = ours(&config.rules).map(|rule| rule.slice.as_str());
    let resolvers = ours(&config.resolvers).map(|one| one.slice.as_str());
    chains.map(|(slice, _)| slice).chain(rules).chain(resolvers)
}

impl NodeSteering {
    /// What is somebody else's.
    #[must_use]
    pub fn foreign(&self) -> SteeringConfig {
        let theirs = |owner: &Option<String>| owner.as_deref() != Some(OWNER);
        let mut config = self.config.clone();
        config.ports.retain(|port| theirs(&port.owner));
        config.chains.retain(|chain| theirs(&chain.owner));
        config.rules.retain(|rule| theirs(&rule.owner));
        config.resolvers.retain(|one| theirs(&one.owner));
        config
    }

    /// Whether a resolver is there as it should be.
    #[must_use]
    pub fn has_resolver(&self, wanted: &ResolverConfig) -> bool {
        self.config.resolvers.iter().any(|one| one == wanted)
            && !self.odd.contains(&format!("resolver {}", wanted.slice))
    }

    /// Whether a rule is there as it should be.
    #[must_use]
    pub fn has_rule(&self, wanted: &RuleConfig) -> bool {
        self.config.rules.iter().any(|rule| rule == wanted)
            && !self.odd.contains(&format!("rule {}", wanted.name))
    }
}

/// One kind of entries: what there is to do about each.
struct Entries<'a, T> {
    kind: &'static str,
    /// Wanted and not there as it should be, with whether there is one.
    put: Vec<(&'a T, bool)>,
    surplus: Vec<&'a str>,
}

trait Entry: PartialEq + Serialize {
    /// The leaf that tells entries apart.
    const KEY: &'static str;
    fn name(&self) -> &str;
    fn owner(&self) -> Option<&str>;
}

macro_rules! entry {
    ($($type:ty: $field:ident, $key:literal;)*) => {$(
        impl Entry for $type {
            const KEY: &'static str = $key;

            fn name(&self) -> &str {
                &self.$field
            }

            fn owner(&self) -> Option<&str> {
                self.owner.as_deref()
            }
        }
    )*};
}

entry! {
    PortConfig: name, "name";
    ChainConfig: name, "name";
    RuleConfig: name, "name";
    ResolverConfig: slice, "slice";
}

/// Compares entries of ours. One of somebody else that has the name of one of ours is left as it is.
fn entries<'a, T: Entry>(
    kind: &'static str,
    wanted: &'a [T],
    has: &'a [T],
    odd: &BTreeSet<String>,
    is_needed: impl Fn(&str) -> bool,
) -> Entries<'a, T> {
    let known: BTreeMap<&str, &T> = has.iter().map(|one| (one.name(), one)).collect();
    let names: BTreeSet<&str> = wanted.iter().map(Entry::name).collect();
    let put = wanted.iter().filter_map(|one| match known.get(one.name()) {
        None => Some((one, false)),
        Some(there) if there.owner() != Some(OWNER) => None,
        Some(there) => {
            let is_odd = odd.contains(&format!("{kind} {}", one.name()));
            (is_odd || *there != one).then_some((one, true))
        }
    });
    let ours = has.iter().filter(|one| one.owner() == Some(OWNER));
    let names_of_ours = ours.map(Entry::name);
    let surplus = names_of_ours.filter(|name| !names.contains(name) && !is_needed(name));
    Entries {
        kind,
        put: put.collect(),
        surplus: surplus.collect(),
    }
}

impl<T: Entry> Entries<'_, T> {
    fn differences(&self) -> impl Iterator<Item = String> {
        let kind = self.kind;
        let put = self.put.iter().map(move |(one, is_there)| {
            let drift = match is_there {
                true => PartDrift::Different,
                false => PartDrift::Missing,
            };
            format!("{}: steering {kind} {}", drift.as_str(), one.name())
        });
        let surplus = self.surplus.iter().map(move |name| {
            let drift = PartDrift::Surplus.as_str();
            format!("{drift}: steering {kind} {name}")
        });
        put.chain(surplus)
    }

    fn write_surplus(&self, xml: &mut String) {
        for name in &self.surplus {
            xml.push_str(&format!("<{} nc:operation=\"remove\">", self.kind));
            leaf(xml, T::KEY, name);
            xml.push_str(&format!("</{}>", self.kind));
        }
    }

    fn write_put(&self, xml: &mut String) {
        for (one, _) in &self.put {
            write_entry(xml, self.kind, "nc:operation=\"replace\"", *one);
        }
    }
}

/// A port of ours that somebody else's rule or chain needs too stays.
fn is_needed_by(foreign: &SteeringConfig, port: &str) -> bool {
    let chains = foreign.chains.iter();
    let of_chains = chains.clone().flat_map(|chain| &chain.applications);
    let of_chains = of_chains.flat_map(|one| [one.port.as_str(), one.return_port()]);
    let ways = chains.filter_map(|chain| chain.forward.as_ref());
    let of_resolvers = foreign.resolvers.iter().map(|one| one.port.as_str());
    let of_rules = foreign.rules.iter();
    let ways = ways.chain(of_rules.clone().filter_map(|rule| rule.forward.as_ref()));
    let ways = ways.map(|way| way.out_port.as_str());
    let in_ports = of_rules.filter_map(|rule| rule.matching.in_port.as_deref());
    let all = of_chains.chain(ways).chain(in_ports).chain(of_resolvers);
    all.into_iter().any(|one| one == port)
}

struct Compared<'a> {
    ports: Entries<'a, PortConfig>,
    chains: Entries<'a, ChainConfig>,
    rules: Entries<'a, RuleConfig>,
    resolvers: Entries<'a, ResolverConfig>,
    /// Rules of ours that are to be moved: the place of each is behind the rule of ours before it.
    moved: BTreeSet<&'a str>,
}

fn compare<'a>(wanted: &'a SteeringConfig, has: &'a NodeSteering) -> Compared<'a> {
    let (mut foreign, had) = (has.foreign(), &has.config);
    let theirs = had.rules.iter().filter(|rule| rule.owner() != Some(OWNER));
    let in_use: BTreeSet<&str> = theirs.filter_map(|rule| rule.chain.as_deref()).collect();
    // A chain of ours that stays for somebody else's rule needs its ports as theirs do.
    let wanted_chains: BTreeSet<&str> = wanted.chains.iter().map(Entry::name).collect();
    let stays = |chain: &&ChainConfig| {
        in_use.contains(chain.name()) && !wanted_chains.contains(chain.name())
    };
    let ours = had.chains.iter();
    let ours = ours.filter(|chain| chain.owner() == Some(OWNER));
    foreign.chains.extend(ours.filter(stays).cloned());
    let needed = |name: &str| is_needed_by(&foreign, name);
    Compared {
        ports: entries("port", &wanted.ports, &had.ports, &has.odd, needed),
        chains: entries("chain", &wanted.chains, &had.chains, &has.odd, |name| {
            in_use.contains(name)
        }),
        rules: entries("rule", &wanted.rules, &had.rules, &has.odd, |_| false),
        resolvers: entries(
            "resolver",
            &wanted.resolvers,
            &had.resolvers,
            &has.odd,
            |_| false,
        ),
        moved: moved(wanted, had),
    }
}

/// Rules of ours that are there, but before one that they should be behind.
fn moved<'a>(wanted: &'a SteeringConfig, had: &SteeringConfig) -> BTreeSet<&'a str> {
    let places: BTreeMap<&str, usize> = had.rules.iter().map(Entry::name).zip(0..).collect();
    let (mut last, mut moved) = (None, BTreeSet::new());
    for rule in &wanted.rules {
        match places.get(rule.name()) {
            Some(place) if last.is_none_or(|last| *place > last) => last = Some(*place),
            Some(_) => drop(moved.insert(rule.name())),
            None => {}
        }
    }
    moved
}

/// How what a node has of ours differs from what it should have, in words.
pub(super) fn differences(wanted: &SteeringConfig, has: &NodeSteering) -> Vec<String> {
    let compared = compare(wanted, has);
    let mut all: Vec<String> = compared.ports.differences().collect();
    all.extend(compared.chains.differences());
    all.extend(compared.rules.differences());
    all.extend(compared.resolvers.differences());
    let moved = compared.moved.iter();
    all.extend(moved.map(|name| format!("in another place: steering rule {name}")));
    all
}

/// The `steering` element that brings a node to what it should have of ours; `None` where it has that.
pub(super) fn edit(wanted: &SteeringConfig, has: &NodeSteering) -> Option<String> {
    let compared = compare(wanted, has);
    let mut xml = String::new();
    // Removed first: what comes may need the room.
    compared.rules.write_surplus(&mut xml);
    compared.chains.write_surplus(&mut xml);
    compared.resolvers.write_surplus(&mut xml);
    compared.ports.write_surplus(&mut xml);
    compared.ports.write_put(&mut xml);
    compared.chains.write_put(&mut xml);
    compared.resolvers.write_put(&mut xml);
    write_rules(&mut xml, wanted, has, &compared);
    (!xml.is_empty()).then(|| {
        format!(
            "<steering xmlns=\"{STEERING}\" xmlns:nc=\"urn:ietf:params:xml:ns:netconf:base:1.0\" \
             xmlns:yang=\"urn:ietf:params:xml:ns:yang:1\" xmlns:tr-st=\"{STEERING}\">{xml}</steering>"
        )
    })
}

/// Rules that are new, changed or moved. Those that come or move go behind the rule of ours before them; the first of all
/// before the first of ours that stays, or else last.
fn write_rules(
    xml: &mut String,
    wanted: &SteeringConfig,
    has: &NodeSteering,
    compared: &Compared<'_>,
) {
    let put: BTreeMap<&str, bool> = compared
        .rules
        .put
        .iter()
        .map(|(rule, is_there)| (rule.name(), *is_there))
        .collect();
    let had: BTreeSet<&str> = has.config.rules.iter().map(Entry::name).collect();
    let stays =
        |rule: &&RuleConfig| had.contains(rule.name()) && !compared.moved.contains(rule.name());
    let first_that_stays = wanted.rules.iter().find(stays).map(Entry::name);
    let mut before: Option<&str> = None;
    for rule in &wanted.rules {
        let place = if stays(&rule) {
            None
        } else {
            Some(match (before, first_that_stays) {
                (Some(before), _) => insert("after", before),
                (None, Some(first)) => insert("before", first),
                (None, None) => "yang:insert=\"last\"".to_owned(),
            })
        };
        if put.contains_key(rule.name()) || place.is_some() {
            let attributes = format!("nc:operation=\"replace\" {}", place.unwrap_or_default());
            write_entry(xml, "rule", attributes.trim_end(), rule);
        }
        before = Some(rule.name());
    }
}

fn insert(place: &str, name: &str) -> String {
    format!("yang:insert=\"{place}\" yang:key=\"[tr-st:name='{name}']\"")
}

fn write_entry(xml: &mut String, kind: &str, attributes: &str, entry: &impl Serialize) {
    // What is configured always has a form in JSON.
    let value = serde_json::to_value(entry).unwrap_or_default();
    xml.push_str(&format!("<{kind} {attributes}>"));
    write_members(xml, &value);
    xml.push_str(&format!("</{kind}>"));
}

/// RFC 7951 as XML. Structures begin with their keys.
fn write_members(xml: &mut String, value: &Value) {
    for (name, member) in value.as_object().into_iter().flatten() {
        match member {
            Value::Array(items) if items.as_slice() == [Value::Null] => {
                xml.push_str(&format!("<{name}/>"));
            }
            Value::Array(items) => {
                for item in items {
                    write_member(xml, name, item);
                }
            }
            _ => write_member(xml, name, member),
        }
    }
}

fn write_member(xml: &mut String, name: &str, value: &Value) {
    match value {
        Value::Object(_) => {
            xml.push_str(&format!("<{name}>"));
            write_members(xml, value);
            xml.push_str(&format!("</{name}>"));
        }
        Value::String(text) => leaf(xml, name, text),
        other => leaf(xml, name, &other.to_string()),
    }
}

#[cfg(test)]
#[path = "steering_edit_tests.rs"]
mod tests;
