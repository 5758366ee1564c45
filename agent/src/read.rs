//! `get` and `get-config`: what a user may read of a datastore and of the state, filtered and printed.
//!
//! Access control comes before the filter, so that a filter tells nothing about what is not to be read. Of the state, only
//! the modules that the filter can touch are collected.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;
use serde_json::{Map, Value, json};
use tranche_netconf::message::{ConfigSource, Datastore, Filter, WithDefaults};
use tranche_netconf::xml::Fragment;
use tranche_yang::nacm::User;
use tranche_yang::{Schema, Tree, filter, write_only};

use crate::backend::Refusal;
use crate::content::state_tree;
use crate::error::Error;
use crate::monitoring;
use crate::node::{InForce, Node, data};
use crate::ran;
use tranche_yang::clock::rfc3339;

/// The modules that a filter can touch at the top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Touched {
    /// Any module.
    All,
    /// These.
    Modules(HashSet<String>),
}

impl Touched {
    /// What a filter can touch. When in doubt, everything.
    #[must_use]
    pub fn by(schema: &Schema, filter: Option<&Filter>) -> Self {
        let namespaces: HashSet<&str> = match filter {
            None => return Self::All,
            Some(Filter::XPath { select, namespaces }) => {
                // Anything that can step from anywhere to anywhere.
                if ["*", "//", "::", "..", "("]
                    .iter()
                    .any(|far| select.contains(far))
                {
                    return Self::All;
                }
                namespaces
                    .iter()
                    .map(|(_, namespace)| namespace.as_str())
                    .collect()
            }
            Some(Filter::Subtree(fragment)) => {
                let Ok(elements) = fragment.elements() else {
                    return Self::All;
                };
                let modules: Option<HashSet<String>> = elements
                    .iter()
                    .filter(|element| !element.namespace.is_empty())
                    .map(|element| module_of(schema, &element.namespace))
                    .collect();
                let wild = elements.iter().any(|element| element.namespace.is_empty());
                return match modules {
                    Some(modules) if !wild => Self::Modules(modules),
                    _ => Self::All,
                };
            }
        };
        Self::Modules(
            namespaces
                .iter()
                .filter_map(|namespace| module_of(schema, namespace))
                .collect(),
        )
    }

    /// Whether a module is among them.
    #[must_use]
    pub fn contains(&self, module: &str) -> bool {
        match self {
            Self::All => true,
            Self::Modules(modules) => modules.contains(module),
        }
    }
}

fn module_of(schema: &Schema, namespace: &str) -> Option<String> {
    schema
        .module_of_namespace(namespace)
        .map(|module| module.name.clone())
}

impl InForce {
    /// What a user may read of a configuration.
    fn readable(&self, user: &User, tree: Arc<Tree>) -> Result<Arc<Tree>, Vec<Error>> {
        let one = |error| data(vec![error]);
        let tree = match self.nacm.reads_everything(user) {
            true => tree,
            false => {
                let copy = tree.duplicate().map_err(one)?;
                drop(tree);
                Arc::new(self.nacm.prune_read(user, copy).map_err(one)?)
            }
        };
        write_only::shown(tree).map_err(one)
    }

    /// Running as a user sees it. Worked out once for a user and a configuration.
    ///
    /// # Errors
    /// Out of memory.
    pub fn visible_to(&self, user: &User) -> Result<Arc<Tree>, Vec<Error>> {
        if let Some(known) = self.pruned().get(&user.name) {
            return Ok(Arc::clone(known));
        }
        let visible = self.readable(user, Arc::clone(&self.running))?;
        self.pruned()
            .insert(user.name.clone(), Arc::clone(&visible));
        Ok(visible)
    }
}

impl Node {
    /// `get-config`. Blocks.
    ///
    /// # Errors
    /// A datastore that is not there, or a filter that is none.
    pub fn get_config(
        &self,
        user: &User,
        source: &ConfigSource,
        filter: Option<&Filter>,
        with_defaults: Option<WithDefaults>,
    ) -> Result<Fragment, Vec<Error>> {
        let in_force = self.in_force();
        let tree = match source {
            ConfigSource::Datastore(Datastore::Running) => in_force.visible_to(user)?,
            other => {
                let tree = self.datastores().source(other).map_err(data)?;
                in_force.readable(user, tree)?
            }
        };
        answer(&tree, filter, with_defaults)
    }

    /// `get`: running and state. `live` is what [`Node::live_state`] found. Blocks.
    ///
    /// # Errors
    /// A filter that is none.
    pub fn get(
        &self,
        user: &User,
        touched: &Touched,
        live: Option<&Value>,
        filter: Option<&Filter>,
        with_defaults: Option<WithDefaults>,
    ) -> Result<Fragment, Vec<Error>> {
        let in_force = self.in_force();
        let running = in_force.visible_to(user)?;
        let mut tree = touched_part(&running, self.schema(), touched)?;
        drop(running);
        let state = self.state(&in_force, touched, live)?;
        let state = in_force
            .nacm
            .prune_read(user, state)
            .map_err(|error| data(vec![error]))?;
        tree.merge(&state).map_err(|error| data(vec![error]))?;
        answer(&tree, filter, with_defaults)
    }

    fn state(
        &self,
        in_force: &InForce,
        touched: &Touched,
        live: Option<&Value>,
    ) -> Result<Tree, Vec<Error>> {
        let schema = self.schema();
        let mut parts = Vec::new();
        if touched.contains("ietf-netconf-monitoring") {
            parts.push(monitoring::netconf_state(
                self.capabilities(),
                &self.datastore_states(),
                &self.sessions().list(),
                &self.sessions().totals(),
            ));
        }
        if touched.contains("nc-notifications") {
            parts.push(monitoring::streams());
        }
        if touched.contains("ietf-system") {
            parts.push(monitoring::system_state(SystemTime::now()));
        }
        parts.extend(live.cloned());
        let mut state = Tree::empty(schema);
        let one = |error| data(vec![error]);
        for part in &parts {
            state.merge(&state_tree(schema, part)?).map_err(one)?;
        }
        if touched.contains("ietf-netconf-monitoring") {
            schema.add_monitoring_schemas(&mut state).map_err(one)?;
        }
        if touched.contains("ietf-netconf-acm") {
            in_force.nacm.add_state(&mut state).map_err(one)?;
        }
        if touched.contains("ietf-yang-library") {
            state.merge(self.yang_library()?).map_err(one)?;
        }
        Ok(state)
    }

    /// What the backends observe, of the modules that a filter can touch. Of what is configured: hardware that nobody
    /// configured has no entry in the model.
    ///
    /// # Errors
    /// A backend that cannot be read.
    pub async fn live_state(&self, touched: &Touched) -> Result<Option<Value>, Vec<Error>> {
        let mut live = Map::new();
        if touched.contains("tranche-wifi") {
            live.insert("tranche-wifi:wifi".to_owned(), self.wifi_state().await?);
        }
        if touched.contains("tranche-backhaul") {
            let state = self.backhaul_state().await?;
            live.insert("tranche-backhaul:backhaul".to_owned(), state);
        }
        if touched.contains("tranche-ran") {
            let running = Arc::clone(&self.in_force().running);
            let state = ran::state(self.view().ran(), &running).await?;
            live.insert("tranche-ran:ran".to_owned(), state);
        }
        if touched.contains("tranche-steering") {
            let state = self.steering_state().await?;
            live.insert("tranche-steering:steering".to_owned(), state);
        }
        Ok((!live.is_empty()).then(|| live.into()))
    }

    async fn steering_state(&self) -> Result<Value, Vec<Error>> {
        let seen = self.view().steering().observe().await;
        let seen = seen.map_err(|refusal| vec![Error::Refused(refusal)])?;
        let running = Arc::clone(&self.in_force().running);
        Ok(crate::steering::state(&seen, &running))
    }

    async fn backhaul_state(&self) -> Result<Value, Vec<Error>> {
        let tunnels = self.view().backhaul().tunnels().await;
        let tunnels = tunnels.map_err(|refusal| vec![Error::Refused(refusal)])?;
        let running = Arc::clone(&self.in_force().running);
        let configured: HashSet<&str> = running
            .get("/tranche-backhaul:backhaul")
            .into_iter()
            .flat_map(|backhaul| backhaul.list("tunnel"))
            .filter_map(|tunnel| tunnel.get("slice"))
            .collect();
        let states = tunnels
            .iter()
            .filter(|tunnel| configured.contains(tunnel.slice.as_str()))
            .map(|tunnel| json!({ "slice": tunnel.slice, "state": tunnel }));
        Ok(json!({ "tunnel": states.collect::<Vec<_>>() }))
    }

    async fn wifi_state(&self) -> Result<Value, Vec<Error>> {
        let (wifi, airtime) = (self.view().wifi(), self.view().airtime());
        let refused = |refusal: Refusal| vec![Error::Refused(refusal)];
        let radios = wifi.radios().await.map_err(refused)?;
        let radio_airtime = airtime.radios().await.map_err(refused)?;
        let vifs = wifi.vifs().await.map_err(refused)?;
        let vif_airtime = airtime.vifs().await.map_err(refused)?;

        let mut radio_states = BTreeMap::new();
        for radio in &radios {
            let mut state = object(radio);
            let now = SystemTime::now();
            if let Some(Value::Array(neighbours)) = state.get_mut("neighbour") {
                for (entry, neighbour) in neighbours.iter_mut().zip(&radio.neighbours) {
                    if let Some(seen) = now.checked_sub(neighbour.last_seen) {
                        entry["last-seen"] = rfc3339(seen).into();
                    }
                }
            }
            radio_states.insert(radio.name.as_str(), state);
        }
        for radio in &radio_airtime {
            if let Some(state) = radio_states.get_mut(radio.name.as_str()) {
                state.extend(object(radio));
            }
        }
        let mut vif_states: BTreeMap<_, _> = vifs
            .iter()
            .map(|vif| (vif.name.as_str(), object(vif)))
            .collect();
        for vif in &vif_airtime {
            if let Some(state) = vif_states.get_mut(vif.name.as_str()) {
                state.insert("airtime".to_owned(), object(vif).into());
            }
        }
        let running = Arc::clone(&self.in_force().running);
        Ok(json!({
            "radio": configured(&running, "radio", radio_states),
            "vif": configured(&running, "vif", vif_states),
        }))
    }
}

/// The entries of those that are configured.
fn configured(
    running: &Tree,
    list: &str,
    states: BTreeMap<&str, Map<String, Value>>,
) -> Vec<Value> {
    let Some(wifi) = running.get("/tranche-wifi:wifi") else {
        return Vec::new();
    };
    let names: HashSet<&str> = wifi
        .list(list)
        .filter_map(|entry| entry.get("name"))
        .collect();
    states
        .into_iter()
        .filter(|(name, _)| names.contains(name))
        .map(|(name, state)| json!({ "name": name, "state": state }))
        .collect()
}

fn object(value: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(value) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

/// A copy of the top nodes of the modules that are touched.
pub(crate) fn touched_part(
    tree: &Tree,
    schema: &Schema,
    touched: &Touched,
) -> Result<Tree, Vec<Error>> {
    let one = |error| data(vec![error]);
    if *touched == Touched::All {
        return tree.duplicate().map_err(one);
    }
    let mut select = Vec::new();
    let mut namespaces = BTreeMap::new();
    for node in tree.top().filter(|node| touched.contains(node.module())) {
        let module = node.module();
        let Some(described) = schema.module(module) else {
            continue;
        };
        select.push(format!("/{module}:{}", node.name()));
        namespaces.insert(module.to_owned(), described.namespace.clone());
    }
    if select.is_empty() {
        return Ok(Tree::empty(tree.schema()));
    }
    select.dedup();
    let part = Filter::XPath {
        select: select.join(" | "),
        namespaces: namespaces.into_iter().collect(),
    };
    filter::select(tree, Some(&part)).map_err(one)
}

fn answer(
    tree: &Tree,
    filter: Option<&Filter>,
    with_defaults: Option<WithDefaults>,
) -> Result<Fragment, Vec<Error>> {
    let with_defaults = with_defaults.unwrap_or(WithDefaults::Explicit);
    match filter {
        None => Ok(tree.to_fragment(with_defaults)),
        Some(_) => {
            let selected = filter::select(tree, filter).map_err(|error| data(vec![error]))?;
            Ok(selected.to_fragment(with_defaults))
        }
    }
}
