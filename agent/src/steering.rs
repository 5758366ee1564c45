//! Steering as NETCONF sees it: the state data of `tranche-steering`, of what is configured.

use std::collections::HashSet;

use serde_json::{Value, json};
use tranche_yang::Tree;

use crate::backend::steering::{ApplicationState, SteeringState};

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
        let mut state = json!(one.counter);
        state["is-up"] = one.is_up.into();
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
    let resolvers = resolvers.map(|resolver| {
        let mut state = json!(resolver.counts);
        state["oper-state"] = if resolver.is_up { "up" } else { "down" }.into();
        json!({ "slice": resolver.slice, "state": state })
    });
    let mut state = json!({
        "port": ports.collect::<Vec<_>>(),
        "chain": chains.collect::<Vec<_>>(),
        "rule": rules.collect::<Vec<_>>(),
        "resolver": resolvers.collect::<Vec<_>>(),
    });
    if let Some(counters) = &seen.counters {
        state["state"] = json!(counters);
    }
    state
}
