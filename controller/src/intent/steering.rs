//! Steering of slices: which node gets which rules, chains and ports. Pure.
//!
//! ```text
//!  slices by priority and id, their rules in order --where--> rules of a node, named SLICE.RULE, with the ports that they need
//!      --beside what is somebody else's at the node--> checked as the node checks it, faults told at the slice
//! ```
//! What of a node is ours bears our name as its owner; nothing else is ever touched.

mod beside;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::Deserialize;
use tranche_steering::{
    ApplicationConfig, ChainConfig, PortConfig, RecordConfig, ResolverConfig, RuleConfig,
    SteeringConfig,
};

use self::beside::check_beside;
use super::{ErrorKind, Intent, IntentError, Slice, allocate};
use crate::inventory::{Inventory, NodeName, Observed};

/// The owner of what this controller configures at a node.
pub const OWNER: &str = "tranche-controller";
/// Length of a name at a node at most.
const MAX_NAME: usize = 63;

/// Steering of a slice (`/tranche-slice:slices/slice/steering`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Steering {
    /// What is set at ports.
    #[serde(rename = "port")]
    pub ports: Vec<PortConfig>,
    /// Chains, by their names in the slice.
    #[serde(rename = "chain")]
    pub chains: Vec<ChainConfig>,
    /// Rules in their order.
    #[serde(rename = "rule")]
    pub rules: Vec<SliceRule>,
    /// Its resolver, wherever a rule sends to its port.
    pub resolver: Option<ResolverConfig>,
    /// Records of edge applications for it.
    #[serde(skip)]
    pub records: Vec<SliceRecord>,
}

/// A record that an edge application adds to the resolver of its slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SliceRecord {
    /// At these nodes.
    pub nodes: BTreeSet<String>,
    /// What it was made of: an instance path.
    pub origin: String,
    /// The record.
    pub record: RecordConfig,
}

/// A rule of a slice, and where it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct SliceRule {
    /// Only at these nodes.
    #[serde(default, rename = "node")]
    pub nodes: BTreeSet<String>,
    /// Only at all nodes with one of these labels.
    #[serde(default, rename = "label")]
    pub labels: BTreeSet<String>,
    /// What it was made of, where that is no rule of the slice: an instance path.
    #[serde(skip)]
    pub origin: Option<String>,
    /// The rule, by its name in the slice.
    #[serde(flatten)]
    pub rule: RuleConfig,
}

impl SliceRule {
    /// Where a fault of it is told: at what it was made of, or at the leaf of the rule.
    fn place(&self, slice: &Slice, below: &str) -> String {
        let own = || slice_path(slice, &format!("/rule[name='{}']{below}", self.rule.name));
        self.origin.clone().unwrap_or_else(own)
    }
}

/// Name at a node of what has a name in a slice. The latter has no dot, so that no two have the same.
#[must_use]
pub fn steering_name(slice: &str, name: &str) -> String {
    format!("{slice}.{name}")
}

/// What every node should have of all slices' steering; those that should have nothing are left out. Nodes that were never read
/// hold up only the slices that are new, by `is_new`.
///
/// # Errors
/// Everything that is wrong, of each node the first thing that it would refuse.
pub fn compile_steering(
    intent: &Intent,
    observed: &Inventory,
    is_new: impl Fn(&Slice) -> bool,
) -> Result<BTreeMap<NodeName, SteeringConfig>, Vec<IntentError>> {
    let mut slices: Vec<&Slice> = intent.slices.values().filter(|one| one.enabled).collect();
    slices.sort_by_key(|slice| std::cmp::Reverse(slice.sla.priority));
    let mut errors = Vec::new();
    let mut nodes: BTreeMap<&str, Placed<'_>> = BTreeMap::new();
    for slice in slices {
        for rule in &slice.steering.rules {
            let (selected, mut faults) = select(slice, rule, observed, is_new(slice));
            errors.append(&mut faults);
            for node in selected {
                nodes.entry(node).or_default().push((slice, rule));
            }
        }
        check_names(slice, &mut errors);
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut plans = BTreeMap::new();
    for (node, placed) in nodes {
        let Some(has) = observed.nodes.get(node).and_then(|n| n.observed.as_ref()) else {
            continue;
        };
        match at_node(node, &placed, has) {
            Ok(plan) => drop(plans.insert(node.to_owned(), plan)),
            Err(error) => errors.push(*error),
        }
    }
    // A fault of a slice is one fault, at however many nodes it shows.
    let mut told = BTreeSet::new();
    errors.retain(|error| told.insert(error.path.clone()));
    match errors.is_empty() {
        true => Ok(plans),
        false => Err(errors),
    }
}

/// Rules of a node in their order, and whose they are.
type Placed<'a> = Vec<(&'a Slice, &'a SliceRule)>;

fn slice_path(slice: &Slice, below: &str) -> String {
    format!(
        "/tranche-slice:slices/slice[id='{}']/steering{below}",
        slice.id
    )
}

fn fault(slice: &Slice, below: &str, kind: ErrorKind, message: String) -> IntentError {
    IntentError {
        path: slice_path(slice, below),
        kind,
        message,
    }
}

/// The nodes that a rule is at.
fn select<'a>(
    slice: &Slice,
    rule: &SliceRule,
    inventory: &'a Inventory,
    is_new: bool,
) -> (BTreeSet<&'a str>, Vec<IntentError>) {
    let fault = |below: &str, kind, message| IntentError {
        path: rule.place(slice, below),
        kind,
        message,
    };
    let mut errors = Vec::new();
    let mut selected = BTreeSet::new();
    if rule.nodes.is_empty() && rule.labels.is_empty() {
        selected = allocate::selected(slice, inventory);
    }
    for name in &rule.nodes {
        let below = format!("/node[.='{name}']");
        match inventory.nodes.get_key_value(name) {
            None => {
                let message = format!("node {name} is not in the inventory");
                errors.push(fault(&below, ErrorKind::UnknownNode, message));
            }
            Some((_, node)) if !node.config.enabled => {
                let message = format!("node {name} is disabled");
                errors.push(fault(&below, ErrorKind::DisabledNode, message));
            }
            Some((_, node)) if is_new && node.observed.is_none() => {
                let message = format!(
                    "node {name} has not been read yet, so what is steered there is not known"
                );
                errors.push(fault(&below, ErrorKind::NodeNotRead, message));
            }
            Some((name, _)) => drop(selected.insert(name.as_str())),
        }
    }
    for label in &rule.labels {
        let nodes = inventory.nodes.iter();
        let nodes = nodes.filter(|(_, n)| n.config.enabled && n.config.labels.contains(label));
        let before = selected.len();
        selected.extend(nodes.map(|(name, _)| name.as_str()));
        if selected.len() == before && rule.nodes.is_empty() {
            let quote = if label.contains('\'') { '"' } else { '\'' };
            let below = format!("/label[.={quote}{label}{quote}]");
            let message = format!("no enabled node has label {label}");
            errors.push(fault(&below, ErrorKind::SelectsNothing, message));
        }
    }
    (selected, errors)
}

/// A node has room for names of 63 characters, and a slice for one rule of each name.
fn check_names(slice: &Slice, errors: &mut Vec<IntentError>) {
    let too_long = |name: &str| {
        let full = steering_name(&slice.id, name);
        (full.len() > MAX_NAME).then(|| {
            format!(
                "at a node it would be called {full}, which is longer than {MAX_NAME} characters"
            )
        })
    };
    let mut known = BTreeSet::new();
    for rule in &slice.steering.rules {
        let name = &rule.rule.name;
        let mut tell = |kind, message| {
            let path = rule.place(slice, "/name");
            errors.push(IntentError {
                path,
                kind,
                message,
            });
        };
        if let Some(message) = too_long(name) {
            tell(ErrorKind::NameTooLong, message);
        }
        if !known.insert(name) {
            let message = format!(
                "slice {} has two rules called {name}, one of an application",
                slice.id
            );
            tell(ErrorKind::NameClash, message);
        }
    }
    for chain in &slice.steering.chains {
        if let Some(message) = too_long(&chain.name) {
            let below = format!("/chain[name='{}']/name", chain.name);
            errors.push(fault(slice, &below, ErrorKind::NameTooLong, message));
        }
    }
}

/// What one node should have of ours, checked beside what it has of others.
fn at_node(
    node: &str,
    placed: &Placed<'_>,
    has: &Observed,
) -> Result<SteeringConfig, Box<IntentError>> {
    let mut plan = SteeringConfig::default();
    let mut chains: BTreeMap<String, ChainConfig> = BTreeMap::new();
    let mut ports = Ports::default();
    for (slice, rule) in placed {
        ports.of_rule(&rule.rule);
        let mut ours = RuleConfig {
            name: steering_name(&slice.id, &rule.rule.name),
            owner: Some(OWNER.to_owned()),
            slice: slice.id.clone(),
            ..rule.rule.clone()
        };
        if let Some(name) = &rule.rule.chain {
            let Some(chain) = slice.steering.chains.iter().find(|one| one.name == *name) else {
                return Err(Box::new(IntentError {
                    path: rule.place(slice, "/chain"),
                    kind: ErrorKind::BadSteering,
                    message: format!("slice {} has no chain {name}", slice.id),
                }));
            };
            ports.of_chain(chain);
            let full = steering_name(&slice.id, name);
            chains.entry(full.clone()).or_insert_with(|| ChainConfig {
                name: full.clone(),
                owner: Some(OWNER.to_owned()),
                ..chain.clone()
            });
            ours.chain = Some(full);
        }
        plan.rules.push(ours);
    }
    let mut known = BTreeSet::new();
    for (slice, _) in placed.iter().filter(|(slice, _)| known.insert(&slice.id)) {
        if let Some(resolver) = resolver_at(node, slice, placed)? {
            ports.need(&resolver.port);
            plan.resolvers.push(resolver);
        }
    }
    for (slice, _) in placed {
        for port in &slice.steering.ports {
            ports.set(port);
        }
    }
    plan.chains = chains.into_values().collect();
    plan.ports = ports.into_configs();
    check_beside(node, placed, &plan, has).map_err(Box::new)?;
    Ok(plan)
}

/// The resolver of a slice at a node: where a rule of the slice sends to its port, with the records of the applications there.
fn resolver_at(
    node: &str,
    slice: &Slice,
    placed: &Placed<'_>,
) -> Result<Option<ResolverConfig>, Box<IntentError>> {
    let Some(resolver) = &slice.steering.resolver else {
        return Ok(None);
    };
    let sends = |(of, rule): &(&Slice, &SliceRule)| {
        let way = rule.rule.forward.as_ref();
        of.id == slice.id && way.is_some_and(|way| way.out_port == resolver.port)
    };
    if !placed.iter().any(sends) {
        return Ok(None);
    }
    let mut resolver = ResolverConfig {
        slice: slice.id.clone(),
        owner: Some(OWNER.to_owned()),
        ..resolver.clone()
    };
    let key = |record: &RecordConfig| (record.name.to_ascii_lowercase(), record.kind);
    let mut known: BTreeMap<_, &str> = resolver
        .records
        .iter()
        .map(|record| (key(record), "the slice itself"))
        .collect();
    let mut added = Vec::new();
    for one in slice
        .steering
        .records
        .iter()
        .filter(|one| one.nodes.contains(node))
    {
        if let Some(other) = known.insert(key(&one.record), &one.origin) {
            return Err(Box::new(IntentError {
                path: format!("{}/domainName", one.origin),
                kind: ErrorKind::NameClash,
                message: format!(
                    "{} has a record of type {} in slice {} already, by {other}",
                    one.record.name,
                    one.record.kind.as_str(),
                    slice.id
                ),
            }));
        }
        added.push(one.record.clone());
    }
    resolver.records.extend(added);
    Ok(Some(resolver.sorted()))
}

/// Ports by name, with their addresses. Those that only have settings are none that a rule needs.
#[derive(Default)]
struct Ports(BTreeMap<String, BTreeSet<IpAddr>>);

impl Ports {
    fn need(&mut self, name: &str) {
        self.0.entry(name.to_owned()).or_default();
    }

    fn of_rule(&mut self, rule: &RuleConfig) {
        let way = rule.forward.as_ref().map(|way| &way.out_port);
        for name in rule.matching.in_port.iter().chain(way) {
            self.need(name);
        }
    }

    fn of_chain(&mut self, chain: &ChainConfig) {
        for ApplicationConfig {
            port, return_port, ..
        } in &chain.applications
        {
            self.need(port);
            return_port.iter().for_each(|port| self.need(port));
        }
        if let Some(way) = &chain.forward {
            self.need(&way.out_port);
        }
    }

    fn set(&mut self, port: &PortConfig) {
        if let Some(addresses) = self.0.get_mut(&port.name) {
            addresses.extend(&port.gtp_addresses);
        }
    }

    fn into_configs(self) -> Vec<PortConfig> {
        let config = |(name, addresses): (String, BTreeSet<IpAddr>)| PortConfig {
            name,
            owner: Some(OWNER.to_owned()),
            gtp_addresses: addresses.into_iter().collect(),
        };
        self.0.into_iter().map(config).collect()
    }
}

#[cfg(test)]
#[path = "steering_tests.rs"]
mod tests;
