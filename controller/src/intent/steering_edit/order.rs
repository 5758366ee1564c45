//! The order of a node's rules, ours among those of others, once an edit was carried out.

use std::collections::BTreeMap;

use tranche_steering::{RuleConfig, SteeringConfig};

use super::{Entry as _, NodeSteering, OWNER, compare};

/// All rules of a node in their order once it has what it should have of ours: where [`super::edit`] puts them.
pub(in crate::intent) fn rules_then<'a>(
    wanted: &'a SteeringConfig,
    has: &'a NodeSteering,
) -> Vec<&'a RuleConfig> {
    let compared = compare(wanted, has);
    let ours: BTreeMap<&str, &RuleConfig> =
        wanted.rules.iter().map(|one| (one.name(), one)).collect();
    let mut rules: Vec<&RuleConfig> = has
        .config
        .rules
        .iter()
        .filter_map(|there| match ours.get(there.name()) {
            Some(_) if compared.moved.contains(there.name()) => None,
            Some(one) => Some(*one),
            None => (there.owner() != Some(OWNER)).then_some(there),
        })
        .collect();
    let place = |rules: &[&RuleConfig], name: &str| rules.iter().position(|one| one.name() == name);
    let first = wanted
        .rules
        .iter()
        .find(|one| place(&rules, one.name()).is_some());
    let mut next = first.and_then(|one| place(&rules, one.name()));
    for rule in &wanted.rules {
        let at = match place(&rules, rule.name()) {
            Some(at) => at,
            None => {
                let at = next.unwrap_or(rules.len());
                rules.insert(at, rule);
                at
            }
        };
        next = Some(at + 1);
    }
    rules
}
