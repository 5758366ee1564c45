//! The order of a node's rules, ours among those of others, once an edit was carried out.

use std::collections::{BTreeMap, BTreeSet};

use tranche_steering::{RuleConfig, SteeringConfig};

use super::{Entry as _, NodeSteering, OWNER, moved};

/// All rules of a node in their order once it has what it should have of ours: where [`super::edit`] puts them.
pub(in crate::intent) fn rules_then<'a>(
    wanted: &'a SteeringConfig,
    has: &'a NodeSteering,
) -> Vec<&'a RuleConfig> {
    let moved = moved(wanted, &has.config);
    let ours: BTreeMap<&str, &RuleConfig> =
        wanted.rules.iter().map(|one| (one.name(), one)).collect();
    let stay: Vec<&RuleConfig> = has
        .config
        .rules
        .iter()
        .filter_map(|there| match ours.get(there.name()) {
            Some(_) if moved.contains(there.name()) => None,
            Some(one) => Some(*one),
            None => (there.owner() != Some(OWNER)).then_some(there),
        })
        .collect();
    // Those that come or move, by the rule of ours that stays and that they go behind; the first of all have none.
    let names: BTreeSet<&str> = stay.iter().map(|one| one.name()).collect();
    let mut behind: BTreeMap<Option<&str>, Vec<&RuleConfig>> = BTreeMap::new();
    let mut last = None;
    for rule in &wanted.rules {
        match names.contains(rule.name()) {
            true => last = Some(rule.name()),
            false => behind.entry(last).or_default().push(rule),
        }
    }
    let mut first = behind.remove(&None).unwrap_or_default();
    let mut rules = Vec::with_capacity(stay.len() + wanted.rules.len());
    for one in stay {
        if ours.contains_key(one.name()) {
            rules.append(&mut first);
        }
        rules.push(one);
        rules.extend(behind.remove(&Some(one.name())).into_iter().flatten());
    }
    rules.append(&mut first);
    rules
}
