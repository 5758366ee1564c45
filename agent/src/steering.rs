//! Steering as NETCONF sees it: the state data of `tranche-steering`, of what is configured, and its reports.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde_json::{Value, json};
use tranche_yang::Tree;
use tranche_yang::clock::rfc3339;

use crate::backend::steering::{ApplicationState, ChainState, ResolverState, SteeringState};

/// The state as RFC 7951 JSON of the content of `/tranche-steering:steering`.
#[must_use]
pub(crate) fn state(seen: &SteeringState, running: &Tree) -> Value {
    let configured = |list: &str, key: &str| -> HashSet<String> {
        let steering = running.get("/tranche-steering:steering");
        let entries = steering
            .into_iter()
            .flat_map(|steering| steering.list(list));
        entries
            .filter_map(|entry| entry.get(key).map(str::to_owned))
            .collect()
    };
    let (ports, chains, rules) = (
        configured("port", "name"),
        configured("chain", "name"),
        configured("rule", "name"),
    );
    let resolvers = configured("resolver", "slice");
    let ports = seen.ports.iter().filter(|port| ports.contains(&port.name));
    let ports =
        ports.map(|port| json!({ "name": port.name, "state": { "oper-state": port.oper_state } }));
    let application = |one: &ApplicationState| {
        let mut state = entry(one);
        if let Some(at) = one.checked_at {
            state["checked-at"] = rfc3339(at).into();
        }
        json!({ "name": one.name, "state": state })
    };
    let chains = seen
        .chains
        .iter()
        .filter(|chain| chains.contains(&chain.name));
    let chains = chains.map(|chain| {
        let applications: Vec<Value> = chain.applications.iter().map(application).collect();
        json!({ "name": chain.name, "application": applications })
    });
    let rules = seen.rules.iter().filter(|rule| rules.contains(&rule.name));
    let rules = rules.map(|rule| {
        let mut state = json!(rule.counter);
        if let Some(by) = &rule.shadowed_by {
            state["shadowed-by"] = by.as_str().into();
        }
        json!({ "name": rule.name, "state": state })
    });
    let resolvers = seen
        .resolvers
        .iter()
        .filter(|one| resolvers.contains(&one.slice));
    let resolvers =
        resolvers.map(|one| json!({ "slice": one.slice, "state": resolver_state(one) }));
    let mut state = json!({
        "port": ports.collect::<Vec<_>>(),
        "chain": chains.collect::<Vec<_>>(),
        "rule": rules.collect::<Vec<_>>(),
        "resolver": resolvers.collect::<Vec<_>>(),
    });
    if let Some(counters) = &seen.counters {
        state["state"] = json!(counters);
    }
    if let Some(fault) = &seen.fault {
        state["state"]["fault"] = fault.as_str().into();
    }
    state
}

/// What an application is, with its counters.
fn entry(application: &ApplicationState) -> Value {
    let mut entry = json!(application.condition);
    let counter = json!(application.counter);
    for name in ["packets", "bytes"] {
        entry[name] = counter[name].clone();
    }
    entry
}

fn resolver_state(resolver: &ResolverState) -> Value {
    let mut state = json!(resolver.counts);
    state["oper-state"] = if resolver.is_up { "up" } else { "down" }.into();
    if let Some(since) = resolver.since {
        state["discontinuity-time"] = rfc3339(since).into();
    }
    state
}

/// What was reported of a node's steering.
#[derive(Debug, Default)]
pub(crate) struct Reported {
    sequence: u64,
    last: SteeringState,
}

impl Reported {
    /// The report of what is otherwise than in the one before, as RFC 7951 JSON of the notification; `None` where nothing is.
    pub(crate) fn report(&mut self, seen: SteeringState, interval: Duration) -> Option<Value> {
        let before = std::mem::replace(&mut self.last, seen);
        let seen = &self.last;
        let ports = seen
            .ports
            .iter()
            .filter(|port| !before.ports.contains(port));
        let ports = ports.map(|port| json!({ "name": port.name, "oper-state": port.oper_state }));
        let ports: Vec<Value> = ports.collect();
        let had: HashMap<_, _> = before.rules.iter().map(|r| (&r.name, r.counter)).collect();
        let rules = seen.rules.iter().filter(|rule| {
            let had = had.get(&rule.name).copied();
            had.unwrap_or_default() != rule.counter
        });
        let rules = rules.map(|rule| {
            let mut entry = json!(rule.counter);
            entry["name"] = rule.name.as_str().into();
            entry
        });
        let rules: Vec<Value> = rules.collect();
        let chains = seen.chains.iter().filter_map(|chain| {
            let had = before.chains.iter().find(|one| one.name == chain.name);
            let applications = applications(chain, had);
            let entry = json!({ "name": chain.name, "application": applications });
            (!applications.is_empty()).then_some(entry)
        });
        let chains: Vec<Value> = chains.collect();
        let resolvers = seen.resolvers.iter();
        let resolvers = resolvers.filter(|resolver| !before.resolvers.contains(resolver));
        let resolvers = resolvers.map(|resolver| {
            let mut entry = resolver_state(resolver);
            entry["slice"] = resolver.slice.as_str().into();
            entry
        });
        let resolvers: Vec<Value> = resolvers.collect();
        let all = [&ports, &rules, &chains, &resolvers];
        if all.into_iter().all(Vec::is_empty) {
            return None;
        }
        self.sequence += 1;
        let interval = u32::try_from(interval.as_millis()).unwrap_or(u32::MAX);
        Some(json!({ "tranche-steering:steering-report": {
            "sequence": self.sequence.to_string(), "interval": interval,
            "port": ports, "chain": chains, "rule": rules, "resolver": resolvers,
        } }))
    }
}

/// Those of a chain that are otherwise than before.
fn applications(chain: &ChainState, before: Option<&ChainState>) -> Vec<Value> {
    // When it was last asked is no news.
    let told = |one: &ApplicationState| ApplicationState {
        checked_at: None,
        ..one.clone()
    };
    let had = |one: &ApplicationState| {
        before.is_some_and(|it| it.applications.iter().any(|had| told(had) == told(one)))
    };
    let applications = chain.applications.iter().filter(|one| !had(one));
    let named = |one: &ApplicationState| {
        let mut entry = entry(one);
        entry["name"] = one.name.as_str().into();
        entry
    };
    applications.map(named).collect()
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::backend::steering::{
        Condition, Counter, Down, DownBy, OperState, PortState, ResolverCounts, RuleState,
    };

    fn seen(packets: u64, is_up: bool) -> SteeringState {
        let counter = Counter {
            packets,
            bytes: 100 * packets,
        };
        let rule = |name: &str, counter| RuleState {
            name: name.to_owned(),
            counter,
            shadowed_by: None,
        };
        SteeringState {
            ports: vec![PortState {
                name: "ran0".to_owned(),
                oper_state: OperState::Up,
            }],
            chains: vec![ChainState {
                name: "local".to_owned(),
                applications: vec![ApplicationState {
                    name: "cache".to_owned(),
                    condition: Condition {
                        is_up,
                        down: (!is_up).then(|| Down {
                            down_by: DownBy::HealthCheck,
                            reason: "no answer within 500 ms".to_owned(),
                        }),
                        changed_at: SystemTime::UNIX_EPOCH,
                    },
                    // Always another time, which is no news.
                    checked_at: Some(SystemTime::now()),
                    counter: Counter::default(),
                }],
            }],
            rules: vec![rule("busy", counter), rule("idle", Counter::default())],
            resolvers: vec![ResolverState {
                slice: "a".to_owned(),
                is_up,
                counts: ResolverCounts {
                    answered: packets,
                    ..ResolverCounts::default()
                },
                since: None,
            }],
            counters: None,
            fault: None,
        }
    }

    #[test]
    fn only_what_changed_is_reported_with_the_values_of_now() {
        let mut reported = Reported::default();
        let period = Duration::from_millis(500);
        let first = reported.report(seen(0, true), period).unwrap();
        let first = &first["tranche-steering:steering-report"];
        assert_eq!(
            first["port"],
            json!([{ "name": "ran0", "oper-state": "up" }])
        );
        assert_eq!(first["rule"], json!([]), "nothing matched");
        assert_eq!(reported.report(seen(0, true), period), None);
        let second = reported.report(seen(3, false), period).unwrap();
        assert_eq!(
            second["tranche-steering:steering-report"],
            json!({
                "sequence": "2", "interval": 500, "port": [],
                "chain": [{ "name": "local", "application": [
                    { "name": "cache", "is-up": false, "down-by": "health-check",
                      "reason": "no answer within 500 ms", "changed-at": "1970-01-01T00:00:00.000Z",
                      "packets": "0", "bytes": "0" },
                ] }],
                "rule": [{ "name": "busy", "packets": "3", "bytes": "300" }],
                "resolver": [{
                    "slice": "a", "oper-state": "down", "answered": "3", "forwarded": "0",
                    "refused": "0", "failed": "0", "ignored": "0", "limited": "0",
                }],
            })
        );
    }
}
