//! What is ours at one node, checked as the node will check it, beside what is somebody else's there.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;

use tranche_steering::{
    ChainConfig, Fault, FaultKind, PortConfig, RuleConfig, SteeringConfig, TOP, Words, chain_path,
    check, patterns, port_path, record_path, resolver_path, rule_path,
};

use super::{Placed, SliceRecord, slice_path, steering_name};
use crate::intent::steering_edit::rules_then;
use crate::intent::{ErrorKind, IntentError};
use crate::inventory::Observed;

/// Checks what is ours beside what is somebody else's at the node.
pub(super) fn check_beside(
    node: &str,
    placed: &Placed<'_>,
    plan: &SteeringConfig,
    has: &Observed,
) -> Result<(), IntentError> {
    let foreign = has.steering.foreign();
    let whose = Whose { node, placed };
    let names: HashSet<&str> = foreign.rules.iter().map(|one| one.name.as_str()).collect();
    for rule in &plan.rules {
        if names.contains(rule.name.as_str()) {
            return Err(whose.clash(&rule_path(&rule.name), "rule", &rule.name));
        }
    }
    for chain in &plan.chains {
        if foreign.chain(&chain.name).is_some() {
            return Err(whose.clash(&chain_path(&chain.name), "chain", &chain.name));
        }
    }
    for resolver in &plan.resolvers {
        let slice = &resolver.slice;
        if foreign
            .resolvers
            .iter()
            .any(|theirs| theirs.slice == *slice)
        {
            return Err(whose.clash(&resolver_path(slice), "resolver of slice", slice));
        }
    }
    let mut both = foreign.clone();
    for port in &plan.ports {
        let Some(theirs) = both.ports.iter().find(|one| one.name == port.name) else {
            both.ports.push(port.clone());
            continue;
        };
        let lacks = |address: &&IpAddr| !theirs.gtp_addresses.contains(address);
        if let Some(address) = port.gtp_addresses.iter().find(lacks) {
            let path = format!("{}/gtp-address[.='{address}']", port_path(&port.name));
            let message = format!(
                "port {} of node {node} is configured by somebody else, without this address",
                port.name
            );
            return Err(whose.tell(&path, ErrorKind::NameClash, message));
        }
    }
    both.chains.extend(plan.chains.iter().cloned());
    let rules = rules_then(plan, &has.steering).into_iter();
    both.rules = rules.cloned().collect();
    both.resolvers.extend(plan.resolvers.iter().cloned());
    check(&both).map_err(|fault| whose.tell_fault(&fault))?;
    whose.check_shadows(plan)
}

/// Finds the slice whose is what a path of the node names.
struct Whose<'a> {
    node: &'a str,
    placed: &'a Placed<'a>,
}

impl Whose<'_> {
    fn clash(&self, path: &str, kind: &str, name: &str) -> IntentError {
        let message = format!(
            "node {} has a {kind} {name} that belongs to somebody else, where the slice needs that name",
            self.node
        );
        self.tell(path, ErrorKind::NameClash, message)
    }

    fn tell_fault(&self, fault: &Fault) -> IntentError {
        let kind = match fault.kind {
            FaultKind::BadValue => ErrorKind::BadSteering,
            FaultKind::NoRoom => ErrorKind::SteeringFull,
            FaultKind::ResolverClash => ErrorKind::ResolverClash,
        };
        let message = format!("node {}: {}", self.node, fault.message);
        self.tell(&fault.path, kind, message)
    }

    /// A fault at a path of the node, told at the slice: of its rule, chain or port, else of the last slice of the node.
    fn tell(&self, path: &str, kind: ErrorKind, message: String) -> IntentError {
        let found = self.placed.iter().find_map(|(slice, rule)| {
            let steering = &slice.steering;
            let at_rule = rule_path(&steering_name(&slice.id, &rule.rule.name));
            let chain = |one: &ChainConfig| {
                let rest = path.strip_prefix(&chain_path(&steering_name(&slice.id, &one.name)))?;
                Some(slice_path(
                    slice,
                    &format!("/chain[name='{}']{rest}", one.name),
                ))
            };
            let port = |one: &PortConfig| {
                let rest = path.strip_prefix(&port_path(&one.name))?;
                Some(slice_path(
                    slice,
                    &format!("/port[name='{}']{rest}", one.name),
                ))
            };
            let of_rule = path.strip_prefix(&at_rule);
            let resolver = || {
                let record = |one: &&SliceRecord| {
                    path.starts_with(&record_path(&slice.id, &one.record.name, one.record.kind))
                };
                if let Some(record) = steering.records.iter().find(record) {
                    return Some(record.origin.clone());
                }
                let rest = path.strip_prefix(&resolver_path(&slice.id))?;
                Some(slice_path(slice, &format!("/resolver{rest}")))
            };
            of_rule
                .map(|rest| rule.place(slice, rest))
                .or_else(|| steering.chains.iter().find_map(chain))
                .or_else(|| steering.ports.iter().find_map(port))
                .or_else(resolver)
        });
        let last = || self.placed.last().map(|(slice, _)| slice_path(slice, ""));
        IntentError {
            path: found.or_else(last).unwrap_or_else(|| TOP.to_owned()),
            kind,
            message,
        }
    }

    /// No slice takes everything from a rule of another one.
    fn check_shadows(&self, plan: &SteeringConfig) -> Result<(), IntentError> {
        // By the fields that they look at, the first rule for each of their values.
        let mut kinds: BTreeMap<Words, HashMap<Words, &RuleConfig>> = BTreeMap::new();
        // Of a rule with several patterns, how many were looked at and how many of them another slice leaves nothing.
        let mut rest: Vec<(usize, usize)> = vec![(0, 0); plan.rules.len()];
        let patterns = patterns(plan);
        for (_, position) in &patterns {
            rest[*position].0 += 1;
        }
        for (pattern, position) in patterns {
            let rule = &plan.rules[position];
            let first = kinds.iter().filter_map(|(mask, rules)| {
                let is_wider = mask.iter().zip(&pattern.mask).all(|(w, n)| w & n == *w);
                is_wider.then(|| rules.get(&masked(&pattern.value, mask)))?
            });
            let mut others = first.filter(|other| other.slice != rule.slice);
            if let Some(other) = others.next() {
                rest[position].1 += 1;
                if rest[position].0 > rest[position].1 {
                    continue;
                }
                let message = format!(
                    "at node {}, rule {} of slice {}, which is asked before, leaves nothing to it",
                    self.node, other.name, other.slice
                );
                return Err(self.tell(&rule_path(&rule.name), ErrorKind::RuleShadowed, message));
            }
            let rules = kinds.entry(pattern.mask).or_default();
            rules.entry(pattern.value).or_insert(rule);
        }
        Ok(())
    }
}

fn masked(words: &Words, mask: &Words) -> Words {
    std::array::from_fn(|at| words[at] & mask[at])
}
