//! Whose tunnels of users are: each is of one slice. Pure.

use std::collections::{BTreeSet, HashMap};

use crate::check::{Checked, bad};
use crate::{Prefix, RuleConfig, SteeringConfig, rule_path};

/// Where packets of a tunnel come in and where they go: any, where it says nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct End<'a> {
    in_port: Option<&'a str>,
    vlan_id: Option<u16>,
    destination: Option<Prefix>,
}

/// What an end says: a port, a VLAN, so many bits of the address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Kind {
    in_port: bool,
    vlan_id: bool,
    length: Option<u8>,
}

impl<'a> End<'a> {
    fn of(rule: &'a RuleConfig) -> Self {
        let matching = &rule.matching;
        let written = matching.destination_prefix.as_ref();
        Self {
            in_port: matching.in_port.as_deref(),
            vlan_id: matching.vlan_id,
            destination: written.and_then(|written| written.parse().ok()),
        }
    }

    fn kind(self) -> Kind {
        Kind {
            in_port: self.in_port.is_some(),
            vlan_id: self.vlan_id.is_some(),
            length: self.destination.map(|prefix| prefix.length),
        }
    }

    /// The end around it that says no more than this kind either. Two ends meet where these are the same for the kind of each.
    fn widened(self, kind: Kind) -> Self {
        let destination = self.destination.zip(kind.length).map(|(prefix, length)| {
            let length = length.min(prefix.length);
            Prefix { length, ..prefix }.network()
        });
        Self {
            in_port: self.in_port.filter(|_| kind.in_port),
            vlan_id: self.vlan_id.filter(|_| kind.vlan_id),
            destination,
        }
    }
}

/// A tunnel of users is of one slice: who has its identifier in another one would get their packets. The same identifier is of
/// two tunnels where no packet comes in at the ends of both.
pub(crate) fn check_tunnels(config: &SteeringConfig) -> Checked {
    let teid = |rule: &RuleConfig| rule.matching.gtp.as_ref().and_then(|gtp| gtp.teid);
    // The usual tunnel is in rules of one slice, and there is nothing to compare.
    let mut slices: HashMap<u32, (&str, bool)> = HashMap::new();
    for rule in &config.rules {
        if let Some(teid) = teid(rule) {
            let (first, is_shared) = slices.entry(teid).or_insert((&rule.slice, false));
            *is_shared |= *first != rule.slice;
        }
    }
    let shared = || {
        config.rules.iter().enumerate().filter_map(|(at, rule)| {
            let teid = teid(rule).filter(|teid| slices[teid].1)?;
            Some((at, rule, teid, End::of(rule)))
        })
    };
    let mut kinds: HashMap<u32, BTreeSet<Kind>> = HashMap::new();
    for (_, _, teid, end) in shared() {
        kinds.entry(teid).or_default().insert(end.kind());
    }
    // By the kind of an end and what it is when widened to every other kind: the first rule, and the first of another slice.
    let mut known: HashMap<(u32, Kind, End<'_>), Vec<usize>> = HashMap::new();
    for (at, rule, teid, end) in shared() {
        let kinds = &kinds[&teid];
        let is_another = |other: &usize| config.rules[*other].slice != rule.slice;
        let others = kinds.iter().filter_map(|kind| {
            let there = known.get(&(teid, *kind, end.widened(*kind)))?;
            there.iter().copied().find(is_another)
        });
        if let Some(other) = others.min().map(|at| &config.rules[at]) {
            let path = format!("{}/match/gtp/teid", rule_path(&rule.name));
            let message = format!(
                "TEID {teid} is of slice {} already, by rule {}",
                other.slice, other.name
            );
            return Err(bad(path, message));
        }
        for kind in kinds {
            let there = known.entry((teid, end.kind(), end.widened(*kind)));
            let there = there.or_default();
            if there.len() < 2 && there.iter().all(is_another) {
                there.push(at);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A rule for packets of tunnel 7 that come in at this end.
    fn rule(name: &str, slice: &str, end: &Value) -> RuleConfig {
        let mut rule = json!({ "name": name, "slice": slice, "match": end });
        rule["match"]["gtp"] = json!({ "teid": 7 });
        serde_json::from_value(rule).unwrap()
    }

    fn checked(rules: Vec<RuleConfig>) -> Checked {
        check_tunnels(&SteeringConfig {
            rules,
            ..SteeringConfig::default()
        })
    }

    /// Ends of every kind, with some that are alike.
    fn ends() -> Vec<Value> {
        let mut ends = Vec::new();
        for port in [json!(null), json!("p"), json!("q")] {
            for vlan in [json!(null), json!(0), json!(5)] {
                for prefix in [
                    json!(null),
                    json!("0.0.0.0/0"),
                    json!("10.0.0.0/8"),
                    json!("10.1.0.0/16"),
                    json!("10.2.0.0/16"),
                    json!("192.0.2.0/24"),
                    json!("::/0"),
                    json!("fd00::/64"),
                ] {
                    ends.push(
                        json!({ "in-port": port, "vlan-id": vlan, "destination-prefix": prefix }),
                    );
                }
            }
        }
        ends
    }

    /// Whether a packet may come in at both, as is said in the words of the model.
    fn meet(one: &RuleConfig, other: &RuleConfig) -> bool {
        fn may_be_same<T: PartialEq>(one: Option<&T>, other: Option<&T>) -> bool {
            one.zip(other).is_none_or(|(one, other)| one == other)
        }
        let (one, other) = (&one.matching, &other.matching);
        let prefixes = one.destination_prefix.as_ref();
        let mut prefixes = prefixes.zip(other.destination_prefix.as_ref()).into_iter();
        may_be_same(one.in_port.as_ref(), other.in_port.as_ref())
            && may_be_same(one.vlan_id.as_ref(), other.vlan_id.as_ref())
            && prefixes.all(|(one, other)| one.parse().unwrap().overlaps(other.parse().unwrap()))
    }

    #[test]
    fn a_tunnel_is_of_another_slice_where_its_ends_meet_one_of_that_and_the_first_is_named() {
        let of_a = ends().into_iter().enumerate();
        let of_a: Vec<RuleConfig> = of_a
            .map(|(at, end)| rule(&format!("a{at}"), "a", &end))
            .collect();
        for end in ends() {
            let of_b = rule("b", "b", &end);
            let (meeting, apart): (Vec<_>, Vec<_>) =
                of_a.iter().cloned().partition(|one| meet(one, &of_b));
            checked([apart, vec![of_b.clone()]].concat()).unwrap();
            let first = &meeting.first().expect("an end meets itself").name;
            let fault = checked([of_a.clone(), vec![of_b]].concat()).unwrap_err();
            assert_eq!(
                fault.to_string(),
                format!(
                    "/tranche-steering:steering/rule[name='b']/match/gtp/teid: \
                     TEID 7 is of slice a already, by rule {first}"
                ),
                "{end}"
            );
        }
    }

    #[test]
    fn of_two_slices_with_a_tunnel_each_the_one_is_named_that_is_not_the_rules_own() {
        let at = |vlan: u16| json!({ "in-port": "p", "vlan-id": vlan });
        let (one, two) = (rule("a1", "a", &at(1)), rule("b2", "b", &at(2)));
        for (slice, other) in [("a", "b2"), ("b", "a1"), ("c", "a1")] {
            let anywhere = rule("x", slice, &json!({ "in-port": "p" }));
            let fault = checked(vec![one.clone(), two.clone(), anywhere]).unwrap_err();
            assert!(
                fault.message.ends_with(&format!("by rule {other}")),
                "{fault}"
            );
        }
    }
}
