//! What a change of configuration means, in words: its steps, and warnings of rules that are never reached. Pure.

use std::collections::BTreeMap;

use tranche_steering::{TOP, chain_path, port_path, resolver_path, rule_path};

use super::program::{Failing, Found, Program, Slots, program};
use super::{RuleConfig, SteeringConfig, table};
use crate::backend::{Cost, MacAddress, Step, Warning, WarningKind};

/// The program as it would be if every port was there and nobody was asked for his health: what rules say does not depend on that.
fn ideal(config: &SteeringConfig) -> Program {
    let mut config = config.clone();
    for application in config
        .chains
        .iter_mut()
        .flat_map(|chain| &mut chain.applications)
    {
        application.health_check = None;
    }
    let found = |ifindex| Found {
        ifindex,
        mac: MacAddress::default(),
        mtu: 1500,
        is_up: true,
        other_end: Some(MacAddress::default()),
    };
    let names = config.ports.iter().map(|port| port.name.clone());
    let interfaces = names.zip(1..).map(|(name, ifindex)| (name, found(ifindex)));
    program(
        &config,
        &interfaces.collect(),
        &Slots::new(),
        &Failing::new(),
    )
}

/// For each rule the earlier one that takes everything from it.
pub(super) fn shadowed(config: &SteeringConfig) -> Vec<Option<String>> {
    let by = table::shadowed(&ideal(config));
    let name = |rank: &u32| {
        config
            .rules
            .get(*rank as usize - 1)
            .map(|rule| rule.name.clone())
    };
    let ranks = (1..).take(config.rules.len());
    ranks
        .map(|rank: u32| by.get(&rank).and_then(name))
        .collect()
}

pub(super) fn step(path: impl Into<String>, action: impl Into<String>) -> Step {
    Step {
        path: path.into(),
        action: action.into(),
        cost: Cost::Hot,
    }
}

/// A warning for each rule that is never reached.
pub(super) fn warnings(config: &SteeringConfig) -> Vec<Warning> {
    let rules = config.rules.iter().zip(shadowed(config));
    let warning = |(rule, by): (&RuleConfig, Option<String>)| {
        let (name, by) = (&rule.name, by?);
        let message =
            format!("rule {name} is never reached, rule {by} before it matches all that it does");
        Some(Warning::new(
            WarningKind::Shadowed,
            rule_path(name),
            message,
        ))
    };
    rules.filter_map(warning).collect()
}

/// The steps from one configuration to another.
pub(super) fn steps(old: &SteeringConfig, new: &SteeringConfig) -> Vec<Step> {
    if old == new {
        return Vec::new();
    }
    let mut steps = Vec::new();
    let (had, has): (BTreeMap<_, _>, BTreeMap<_, _>) = (
        old.rules.iter().map(|rule| (&rule.name, rule)).collect(),
        new.rules.iter().map(|rule| (&rule.name, rule)).collect(),
    );
    for name in had.keys().filter(|name| !has.contains_key(**name)) {
        steps.push(step(rule_path(name), format!("remove rule {name}")));
    }
    for rule in &new.rules {
        let (name, before) = (&rule.name, had.get(&rule.name));
        match before {
            None => steps.push(step(
                rule_path(name),
                format!("add rule {name} of slice {}", rule.slice),
            )),
            Some(before) if *before != rule => {
                steps.push(step(rule_path(name), format!("change rule {name}")))
            }
            Some(_) => {}
        }
    }
    for chain in new
        .chains
        .iter()
        .filter(|chain| old.chain(&chain.name) != Some(chain))
    {
        steps.push(step(
            chain_path(&chain.name),
            format!("set up chain {}", chain.name),
        ));
    }
    for resolver in new
        .resolvers
        .iter()
        .filter(|one| !old.resolvers.contains(one))
    {
        steps.push(step(
            resolver_path(&resolver.slice),
            format!("answer names of slice {}", resolver.slice),
        ));
    }
    let is_there = |slice: &str| new.resolvers.iter().any(|one| one.slice == slice);
    for resolver in old.resolvers.iter().filter(|one| !is_there(&one.slice)) {
        steps.push(step(
            resolver_path(&resolver.slice),
            format!("end the resolver of slice {}", resolver.slice),
        ));
    }
    for port in new.ports.iter().filter(|port| !old.ports.contains(port)) {
        steps.push(step(
            port_path(&port.name),
            format!("steer packets at {}", port.name),
        ));
    }
    for port in old
        .ports
        .iter()
        .filter(|port| new.ports.iter().all(|one| one.name != port.name))
    {
        steps.push(step(
            port_path(&port.name),
            format!("leave {} alone", port.name),
        ));
    }
    if steps.is_empty() {
        steps.push(step(TOP, "change steering"));
    }
    steps
}
