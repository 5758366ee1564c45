//! What is seen of the steering of slices: per node the rules with what they matched, chains, ports.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use serde_json::{Map, Value, json};
use tranche_steering::{ChainConfig, ResolverConfig, RuleConfig, SteeringConfig};
use tranche_yang::clock::rfc3339;

use super::Service;
use super::state::plain;
use crate::device::DeviceState;
use crate::intent::{Applied, Counted, NodeSteering};

/// What is seen of the steering of one slice.
#[derive(Debug, Default)]
pub(super) struct SeenSteering {
    nodes: Vec<Value>,
    well: usize,
    /// Why it is not all in force.
    pub(super) reasons: Vec<String>,
}

/// A node that should have steering of ours.
struct At<'a> {
    node: &'a str,
    /// What was last read of it, and when; `None` while it is away.
    has: Option<(&'a NodeSteering, Option<SystemTime>)>,
}

impl SeenSteering {
    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Whether every rule is in force, with all that it needs.
    pub(super) fn is_well(&self) -> bool {
        self.well == self.nodes.len()
    }

    /// `state/steering`.
    pub(super) fn json(self) -> Option<Value> {
        (!self.nodes.is_empty()).then(|| json!({ "node": self.nodes }))
    }

    /// Takes in what one node should have of this slice.
    fn take(&mut self, slice: &str, wanted: &SteeringConfig, at: &At<'_>) {
        let before = self.reasons.len();
        let of_slice = wanted.rules.iter().filter(|rule| rule.slice == slice);
        let of_slice: Vec<&RuleConfig> = of_slice.collect();
        let names: BTreeSet<&String> = of_slice.iter().filter_map(|r| r.chain.as_ref()).collect();
        let chains = wanted.chains.iter().filter(|one| names.contains(&one.name));
        let chains: Vec<&ChainConfig> = chains.collect();
        let mut entry = Map::new();
        entry.insert("name".into(), at.node.into());
        if at.has.is_none() {
            self.reasons.push(format!("node {} is away", at.node));
        }
        if let Some(read) = at.has.and_then(|(_, read)| read) {
            entry.insert("read-at".into(), rfc3339(read).into());
        }
        entry.insert("port".into(), self.ports(&of_slice, &chains, at));
        entry.insert("chain".into(), self.chains(slice, &chains, at));
        entry.insert("rule".into(), self.rules(slice, &of_slice, at));
        let mut resolvers = wanted.resolvers.iter();
        if let Some(resolver) = resolvers.find(|one| one.slice == slice) {
            entry.insert("resolver".into(), self.resolver(resolver, at));
        }
        self.nodes.push(entry.into());
        self.well += usize::from(self.reasons.len() == before);
    }

    fn ports(&mut self, rules: &[&RuleConfig], chains: &[&ChainConfig], at: &At<'_>) -> Value {
        let mut needed: BTreeSet<&str> = BTreeSet::new();
        for rule in rules {
            needed.extend(rule.matching.in_port.as_deref());
            needed.extend(rule.forward.as_ref().map(|way| way.out_port.as_str()));
        }
        for chain in chains {
            needed.extend(chain.forward.as_ref().map(|way| way.out_port.as_str()));
            let applications = chain.applications.iter();
            needed.extend(applications.flat_map(|one| [one.port.as_str(), one.return_port()]));
        }
        let mut state = |name: &str| {
            let seen = at.has.map(|(has, _)| has.ports.get(name));
            let state = match seen {
                None => "unknown",
                Some(None) => "missing",
                Some(Some(state)) => state,
            };
            if at.has.is_some() && state != "up" {
                self.reasons
                    .push(format!("node {}: port {name} is {state}", at.node));
            }
            json!({ "name": name, "oper-state": state })
        };
        needed.into_iter().map(&mut state).collect()
    }

    fn chains(&mut self, slice: &str, chains: &[&ChainConfig], at: &At<'_>) -> Value {
        let mut all = Vec::with_capacity(chains.len());
        for chain in chains {
            let name = of_slice(slice, &chain.name);
            let seen = chain.applications.iter().filter_map(|one| {
                let of = (chain.name.clone(), one.name.clone());
                Some((&one.name, at.has?.0.applications.get(&of)?))
            });
            let mut applications = Vec::new();
            for (application, seen) in seen {
                // Of its ports it is said already.
                if seen.down_by.as_deref() == Some("health-check") {
                    let reason = seen.reason.as_deref().map_or_else(String::new, plain);
                    self.reasons.push(format!(
                        "node {}: application {application} of chain {name} fails its health check: {reason}",
                        at.node
                    ));
                }
                applications.push(application_state(application, seen));
            }
            all.push(json!({ "name": name, "application": applications }));
        }
        all.into()
    }

    fn resolver(&mut self, resolver: &ResolverConfig, at: &At<'_>) -> Value {
        let Some((has, _)) = at.has else {
            return json!({});
        };
        let is_there = has.has_resolver(resolver);
        let mut state = json!({ "is-there": is_there });
        let seen = has.resolvers.get(&resolver.slice);
        if !is_there {
            let reason = format!("node {}: the resolver is not there", at.node);
            self.reasons.push(reason);
        } else if seen.is_none_or(|seen| seen.oper_state != "up") {
            let reason = format!("node {}: the resolver does not answer", at.node);
            self.reasons.push(reason);
        }
        if let Some(seen) = seen {
            state["oper-state"] = seen.oper_state.as_str().into();
            for (name, count) in [
                ("answered", seen.answered),
                ("forwarded", seen.forwarded),
                ("refused", seen.refused),
                ("failed", seen.failed),
                ("ignored", seen.ignored),
                ("limited", seen.limited),
            ] {
                state[name] = count.to_string().into();
            }
            if let Some(since) = &seen.since {
                state["discontinuity-time"] = since.as_str().into();
            }
        }
        state
    }

    fn rules(&mut self, slice: &str, rules: &[&RuleConfig], at: &At<'_>) -> Value {
        let mut all = Vec::with_capacity(rules.len());
        for rule in rules {
            let mut entry = Map::new();
            let name = of_slice(slice, &rule.name);
            entry.insert("name".into(), name.into());
            if let Some((has, _)) = at.has {
                let is_there = has.has_rule(rule);
                entry.insert("is-there".into(), is_there.into());
                if !is_there {
                    let reason = format!("node {}: steering rule {name} is not there", at.node);
                    self.reasons.push(reason);
                }
                if let Some(seen) = has.rules.get(&rule.name) {
                    entry.append(&mut counted(seen.counted));
                    if let Some(by) = &seen.shadowed_by {
                        entry.insert("shadowed-by".into(), plain(by).into());
                    }
                }
            }
            all.push(Value::from(entry));
        }
        all.into()
    }
}

fn application_state(name: &str, seen: &Applied) -> Value {
    let mut state = counted(seen.counted);
    state.insert("name".into(), name.into());
    state.insert("is-up".into(), seen.is_up.into());
    for (leaf, value) in [
        ("down-by", &seen.down_by),
        ("reason", &seen.reason),
        ("changed-at", &seen.changed_at),
    ] {
        if let Some(value) = value {
            state.insert(leaf.into(), plain(value).into());
        }
    }
    state.into()
}

fn counted(counted: Counted) -> Map<String, Value> {
    let mut members = Map::new();
    members.insert("packets".into(), counted.packets.to_string().into());
    members.insert("bytes".into(), counted.bytes.to_string().into());
    members
}

/// The name in the slice of what has a name at a node.
fn of_slice<'a>(slice: &str, name: &'a str) -> &'a str {
    let rest = name.strip_prefix(slice);
    rest.and_then(|rest| rest.strip_prefix('.')).unwrap_or(name)
}

impl Service {
    /// What is seen of the steering that a node should have, of all slices or of only one.
    pub(super) fn look_at_steering(
        &self,
        node: &str,
        only: Option<&str>,
        seen: &mut BTreeMap<String, SeenSteering>,
    ) {
        let plan = self.network.wanted(node).unwrap_or_default();
        let rules = plan.steering.rules.iter();
        let slices: BTreeSet<&str> = rules.map(|rule| rule.slice.as_str()).collect();
        let Some(device) = self
            .network
            .fleet()
            .device(node)
            .filter(|_| !slices.is_empty())
        else {
            return;
        };
        let status = device.status();
        let connected = status.state == DeviceState::Connected;
        let has = status.observed.as_ref().filter(|_| connected);
        let at = At {
            node,
            has: has.map(|has| (&has.steering, status.last_read.max(status.steering_told))),
        };
        for slice in slices {
            if only.is_none_or(|only| only == slice) {
                let seen = seen.entry(slice.to_owned()).or_default();
                seen.take(slice, &plan.steering, &at);
            }
        }
    }
}
