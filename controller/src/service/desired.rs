//! What a configuration asks for, in the types of those who carry it out. Pure.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tranche_netconf::error::{ErrorTag, RpcError};
use tranche_netconf::message::WithDefaults;
use tranche_yang::restconf::{self, GetContent, GetOptions, Resource};
use tranche_yang::{Format, Tree};

use crate::device::DeviceConfig;
use crate::intent::{
    Allocation, Application, ErrorKind, Intent, IntentError, NodePlan, Share, Slice, allocate,
    check_keys, check_rotations, check_tunnel_names, compile, compile_change, compile_steering,
    compile_tunnels, mec_names, mec_rules,
};
use crate::inventory::{Inventory, NodeConfig, NodeName};
use crate::scheduler::{PrbSla, Sla, SlaTable};

/// Nodes, slices and the scheduler's settings.
#[derive(Debug, Clone, Default)]
pub struct Desired {
    /// The nodes as configured; nothing is observed here.
    pub inventory: Inventory,
    /// The slices.
    pub intent: Intent,
    /// The global scheduler.
    pub scheduler: SchedulerSettings,
}

/// Settings of the global scheduler (`/tranche-sla:sla/scheduler`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchedulerSettings {
    /// Whether it corrects.
    pub enabled: bool,
    /// Its period.
    pub interval: Duration,
    /// How long a ceiling holds.
    pub ceiling_lifetime: Duration,
}

impl Default for SchedulerSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            interval: Duration::from_secs(2),
            ceiling_lifetime: Duration::from_secs(30),
        }
    }
}

impl Desired {
    /// Reads a valid configuration.
    ///
    /// # Errors
    /// Data that the schema should have refused, which is a fault of ours.
    pub fn read(running: &Tree) -> Result<Self, Vec<RpcError>> {
        let broken = |e: &dyn std::fmt::Display| {
            vec![RpcError::new(ErrorTag::OperationFailed, e.to_string())]
        };
        let inventory = json(running, "tranche-inventory", "inventory")?;
        let slices = json(running, "tranche-slice", "slices")?;
        let sla = json(running, "tranche-sla", "sla")?;
        let mut mec = json(running, "tranche-mec", "mec")?;
        let applications = mec.get_mut("application").map(Value::take);
        let applications: Vec<Application> = applications
            .map_or(Ok(Vec::new()), serde_json::from_value)
            .map_err(|e| broken(&e))?;
        let mut intent = Intent::from_json(&slices).map_err(|e| broken(&e))?;
        for slice in intent.slices.values_mut() {
            let theirs = applications.iter().filter(|one| one.slice == slice.id);
            let (mut rules, records) = mec_names(theirs.clone(), slice).map_err(rpc_errors)?;
            rules.extend(mec_rules(theirs).map_err(rpc_errors)?);
            rules.append(&mut slice.steering.rules);
            slice.steering.rules = rules;
            slice.steering.records = records;
        }
        Ok(Self {
            inventory: Inventory::from_json(&inventory).map_err(|e| broken(&e))?,
            intent,
            scheduler: scheduler(&sla["scheduler"]),
        })
    }

    /// Number of steering rules that an application became.
    pub(super) fn rules_of(&self, application: &str) -> usize {
        let path = format!("/tranche-mec:mec/application[name='{application}']/");
        let rules = self
            .intent
            .slices
            .values()
            .flat_map(|slice| &slice.steering.rules);
        let origins = rules.filter_map(|rule| rule.origin.as_ref());
        origins.filter(|origin| origin.starts_with(&path)).count()
    }

    /// How to reach the nodes that are enabled. `key_dir` has the private keys.
    #[must_use]
    pub fn devices(&self, key_dir: &Path) -> Vec<DeviceConfig> {
        let nodes = self.inventory.nodes.values().map(|node| &node.config);
        let device = |node: &NodeConfig| {
            let credential = self.inventory.credentials.get(&node.credential)?;
            Some(DeviceConfig {
                node: node.name.clone(),
                address: node.address.clone(),
                port: node.port,
                user: credential.user.clone(),
                key_file: key_dir.join(&credential.key),
                host_key: node.host_key.clone(),
            })
        };
        nodes
            .filter(|node| node.enabled)
            .filter_map(device)
            .collect()
    }

    /// What the slices are owed.
    #[must_use]
    pub fn promises(&self) -> SlaTable {
        let enabled = self.intent.slices.values().filter(|slice| slice.enabled);
        let prb = |share: &Share| PrbSla {
            min_ratio: share.min_ratio.percent(),
            max_ratio: share.max_ratio.percent(),
        };
        enabled
            .map(|slice| {
                let sla = Sla {
                    min_ratio: slice.sla.airtime.min_ratio.percent(),
                    max_ratio: slice.sla.airtime.max_ratio.percent(),
                    priority: slice.sla.priority,
                    down: prb(&slice.sla.prb.down),
                    up: prb(&slice.sla.prb.up),
                    aggregate: slice.sla.aggregate.min_ratio.percent(),
                };
                (slice.id.as_str(), sla)
            })
            .collect()
    }

    /// What every node that was read should have. `observed` is this inventory with what was read of the nodes.
    ///
    /// A node that was never read holds up only the slices that `before` doesn't have as they are: what it should have is
    /// worked out when it is read.
    ///
    /// # Errors
    /// Everything that is wrong with the slices, with paths.
    pub fn plans(
        &self,
        before: &Self,
        observed: &Inventory,
    ) -> Result<BTreeMap<NodeName, NodePlan>, Vec<RpcError>> {
        let is_new = |slice: &Slice| {
            let known = before.intent.slices.get(&slice.id);
            !known.is_some_and(|known| known.asks_for_what(slice))
        };
        let slices = self.intent.slices.iter().filter(|(_, slice)| is_new(slice));
        let changed = Intent {
            slices: slices.map(|(id, s)| (id.clone(), s.clone())).collect(),
        };
        compile(&changed, observed).map_err(rpc_errors)?;
        let mut errors = check_keys(&changed, observed);
        errors.extend(unread_hubs(&changed, observed));
        errors.extend(check_rotations(&changed));
        if !errors.is_empty() {
            return Err(rpc_errors(errors));
        }
        // Of all nodes, also those that are away: who is a peer of them goes on being one.
        let tunnels = compile_tunnels(&self.intent, &self.inventory).map_err(rpc_errors)?;
        let mut known = observed.clone();
        known.nodes.retain(|_, node| node.observed.is_some());
        let (before, after) = (
            on_known(&before.intent, observed),
            on_known(&self.intent, observed),
        );
        let mut plans = compile_change(&before, &after, &known).map_err(rpc_errors)?;
        for (node, tunnels) in tunnels {
            if let Some(plan) = plans.get_mut(&node) {
                plan.tunnels = tunnels;
            }
        }
        let steering = compile_steering(&self.intent, observed, is_new).map_err(rpc_errors)?;
        for (node, steering) in steering {
            if let Some(plan) = plans.get_mut(&node) {
                plan.steering = steering;
            }
        }
        Ok(plans)
    }

    /// Refuses slices whose name a tunnel of somebody else has. `is_ours` says whose names are known to be ours.
    ///
    /// # Errors
    /// Each of them, with a node that has such a tunnel.
    pub(super) fn check_tunnel_names(
        &self,
        observed: &Inventory,
        is_ours: impl Fn(&str) -> bool,
    ) -> Result<(), Vec<RpcError>> {
        let errors = check_tunnel_names(&self.intent, observed, is_ours);
        match errors.is_empty() {
            true => Ok(()),
            false => Err(rpc_errors(errors)),
        }
    }

    /// What the ends of every backhaul should be given, where that is not what they have.
    ///
    /// # Errors
    /// Pools and ports that are used up.
    pub(super) fn allocations(
        &self,
        before: &Self,
        observed: &Inventory,
    ) -> Result<BTreeMap<String, Vec<Allocation>>, Vec<RpcError>> {
        allocate(&before.intent, &self.intent, observed).map_err(rpc_errors)
    }
}

/// Hubs of nodes that were never read: nobody knows whether they can be one.
fn unread_hubs(intent: &Intent, observed: &Inventory) -> Vec<IntentError> {
    let mut errors = Vec::new();
    for slice in intent.slices.values().filter(|slice| slice.enabled) {
        for hub in slice.backhaul.iter().flat_map(|backhaul| &backhaul.hubs) {
            let Some(node) = hub.node.as_ref().and_then(|name| observed.nodes.get(name)) else {
                continue;
            };
            let name = &node.config.name;
            if node.config.enabled && node.observed.is_none() {
                errors.push(IntentError {
                    path: format!(
                        "/tranche-slice:slices/slice[id='{}']/backhaul/hub[name='{}']/node",
                        slice.id, hub.name
                    ),
                    kind: ErrorKind::NodeNotRead,
                    message: format!("node {name} has not been read yet, and can't be a hub"),
                });
            }
        }
    }
    errors
}

/// The slices without the nodes that were never read, and without those that are on no other.
fn on_known(intent: &Intent, inventory: &Inventory) -> Intent {
    let unread = |name: &String| {
        inventory
            .nodes
            .get(name)
            .is_some_and(|n| n.observed.is_none())
    };
    let mut intent = intent.clone();
    intent.slices.retain(|_, slice| {
        let on = slice.nodes(inventory);
        slice.some_unread = on.iter().any(|node| unread(&(*node).to_owned()));
        let place = &mut slice.place;
        let all_read = !place.nodes.iter().any(unread);
        place.nodes.retain(|name| !unread(name));
        let selects = |node: &NodeConfig| {
            place.nodes.contains(&node.name)
                || node
                    .site
                    .as_ref()
                    .is_some_and(|site| place.sites.contains(site))
                || node.labels.iter().any(|label| place.labels.contains(label))
        };
        let mut selected = inventory
            .nodes
            .values()
            .filter(|node| selects(&node.config))
            .peekable();
        // What selects nothing at all stays, to be refused.
        (selected.peek().is_none() && all_read) || selected.any(|node| node.observed.is_some())
    });
    intent
}

/// The content of a top container, with defaults; an empty object where there is none.
fn json(running: &Tree, module: &str, name: &str) -> Result<Value, Vec<RpcError>> {
    let one = |e: tranche_yang::Error| vec![e.to_rpc_error()];
    let resource = Resource::parse(running.schema(), &format!("{module}:{name}")).map_err(one)?;
    let options = GetOptions {
        content: GetContent::Config,
        with_defaults: WithDefaults::ReportAll,
        ..GetOptions::default()
    };
    let text = restconf::read(running, &resource, Format::Json, &options).map_err(one)?;
    let mut value: Value = text
        .map_or(Ok(Value::Null), |text| serde_json::from_str(&text))
        .map_err(|e| vec![RpcError::new(ErrorTag::OperationFailed, e.to_string())])?;
    match value.get_mut(format!("{module}:{name}")).map(Value::take) {
        Some(content) if content.is_object() => Ok(content),
        _ => Ok(Value::Object(serde_json::Map::new())),
    }
}

fn scheduler(settings: &Value) -> SchedulerSettings {
    let default = SchedulerSettings::default();
    let number = |leaf: &str| settings[leaf].as_u64();
    SchedulerSettings {
        enabled: settings["enabled"].as_bool().unwrap_or(default.enabled),
        interval: number("interval").map_or(default.interval, Duration::from_millis),
        ceiling_lifetime: number("ceiling-lifetime")
            .map_or(default.ceiling_lifetime, Duration::from_secs),
    }
}

/// The one table from what the compiler finds to what a client is told.
fn rpc_errors(errors: Vec<IntentError>) -> Vec<RpcError> {
    let tell = |error: IntentError| {
        let tag = match error.kind {
            ErrorKind::UnknownNode
            | ErrorKind::UnknownSite
            | ErrorKind::UnknownCell
            | ErrorKind::UnknownCore => ErrorTag::DataMissing,
            ErrorKind::DisabledNode
            | ErrorKind::SelectsNothing
            | ErrorKind::SsidTooLong
            | ErrorKind::SsidClash
            | ErrorKind::NameClash
            | ErrorKind::OutsidePool
            | ErrorKind::PoolOverlap
            | ErrorKind::BadPrefix
            | ErrorKind::HostBits
            | ErrorKind::CoversUnderlay
            | ErrorKind::DefaultRoute
            | ErrorKind::HubClash
            | ErrorKind::PriorityClash
            | ErrorKind::PeerNameClash
            | ErrorKind::KeyClash
            | ErrorKind::KeyElsewhere
            | ErrorKind::VniClash
            | ErrorKind::BridgeClash
            | ErrorKind::TunnelClash
            | ErrorKind::NoUnderlay
            | ErrorKind::RatMismatch
            | ErrorKind::SdNotCanonical
            | ErrorKind::ProfileClash
            | ErrorKind::DuplicateSlice
            | ErrorKind::ImsiOverlap
            | ErrorKind::NameTooLong
            | ErrorKind::BadSteering
            | ErrorKind::RuleShadowed
            | ErrorKind::ResolverClash => ErrorTag::InvalidValue,
            ErrorKind::NodeNotRead => ErrorTag::OperationFailed,
            ErrorKind::TooManyVifs
            | ErrorKind::RadioOvercommitted
            | ErrorKind::DomainOvercommitted
            | ErrorKind::TooManyPlmns
            | ErrorKind::PrbOvercommitted
            | ErrorKind::PoolExhausted
            | ErrorKind::PortsExhausted
            | ErrorKind::MeshTooLarge
            | ErrorKind::SteeringFull => ErrorTag::ResourceDenied,
            ErrorKind::MecUnsupported => ErrorTag::OperationNotSupported,
        };
        RpcError::new(tag, error.message)
            .with_app_tag(error.kind.app_tag())
            .at(error.path)
    };
    errors.into_iter().map(tell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::{Observed, Radio};
    use serde_json::json;

    fn desired(slices: Value) -> Desired {
        let node = |name: &str| json!({ "name": name, "address": "192.0.2.1", "credential": "c", "host-key": "SHA256:x", "label": ["all"] });
        let inventory = json!({
            "credential": [{ "name": "c", "user": "u", "key": "k" }],
            "node": [node("n1"), node("n2")],
        });
        Desired {
            inventory: Inventory::from_json(&inventory).unwrap(),
            intent: Intent::from_json(&slices).unwrap(),
            scheduler: SchedulerSettings::default(),
        }
    }

    fn slice(id: &str, place: Value) -> Value {
        json!({ "id": id, "tenant": "t", "where": place, "wifi": { "ssid": id, "security": { "mode": "open" } } })
    }

    fn read(desired: &Desired, nodes: &[&str]) -> Inventory {
        let mut inventory = desired.inventory.clone();
        for name in nodes {
            let radio = Radio {
                band: "5GHz".into(),
                ..Radio::default()
            };
            let radios = [("radio0".to_owned(), radio)].into();
            let observed = Observed {
                radios,
                ..Observed::default()
            };
            inventory.nodes.get_mut(*name).unwrap().observed = Some(observed);
        }
        inventory
    }

    #[test]
    fn a_node_that_was_never_read_holds_up_only_what_is_new_on_it() {
        let none = desired(json!({}));
        let both = desired(json!({ "slice": [slice("a", json!({ "label": ["all"] }))] }));
        let errors = both.plans(&none, &read(&both, &["n1"])).unwrap_err();
        assert_eq!(errors[0].app_tag.as_deref(), Some("node-not-read"));
        let plans = both.plans(&both, &read(&both, &["n1"])).unwrap();
        assert_eq!(plans.keys().collect::<Vec<_>>(), ["n1"]);
        let more = desired(json!({ "slice": [
            slice("a", json!({ "label": ["all"] })),
            slice("b", json!({ "node": ["n1"] })),
            slice("c", json!({ "node": ["n2"] })),
        ] }));
        let before = desired(json!({ "slice": [
            slice("a", json!({ "label": ["all"] })),
            slice("c", json!({ "node": ["n2"] })),
        ] }));
        let plans = more.plans(&before, &read(&more, &["n1"])).unwrap();
        assert_eq!(
            plans["n1"].vifs.len(),
            2,
            "slice c is on the unread node alone"
        );
    }

    #[test]
    fn what_selects_nothing_is_refused_still() {
        let none = desired(json!({}));
        let lost = desired(json!({ "slice": [slice("a", json!({ "label": ["nowhere"] }))] }));
        let errors = lost.plans(&none, &read(&lost, &["n1", "n2"])).unwrap_err();
        assert_eq!(errors[0].app_tag.as_deref(), Some("selects-nothing"));
    }
}
