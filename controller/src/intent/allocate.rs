//! Who of a slice's backhaul gets which address, subnet and port. Pure.
//!
//! What an end was given is part of the configuration (`backhaul/allocation`), written in the change that brings the end: it
//! outlives the controller, goes back with a rollback, and is the same however many come and go. An end that stays keeps what
//! it has; one that comes gets the first that is free.

use std::collections::{BTreeMap, BTreeSet};

use crate::inventory::{Inventory, Observed};

use super::backhaul::{Allocation, Backhaul, Topology};
use super::{ErrorKind, Intent, IntentError, Prefix, Slice};

/// What the allocations of all slices should be; only slices in which something changes.
///
/// `before` is what was in force: a slice that is written anew without allocations keeps those of before.
///
/// # Errors
/// Pools, client pools and ports that are used up. Pools that can't be read are left for the compiler to refuse.
pub fn allocate(
    before: &Intent,
    intent: &Intent,
    inventory: &Inventory,
) -> Result<BTreeMap<String, Vec<Allocation>>, Vec<IntentError>> {
    let mut ports = Ports::new(intent, before, inventory);
    let (mut changed, mut errors) = (BTreeMap::new(), Vec::new());
    for slice in intent.slices.values() {
        let Some(backhaul) = &slice.backhaul else {
            continue;
        };
        let known = before
            .slices
            .get(&slice.id)
            .and_then(|slice| slice.backhaul.as_ref());
        let given = Giving {
            slice,
            backhaul,
            known,
            inventory,
        };
        match given.all(&mut ports) {
            Ok(all) if all != backhaul.allocations => drop(changed.insert(slice.id.clone(), all)),
            Ok(_) => {}
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() {
        Ok(changed)
    } else {
        Err(errors)
    }
}

/// Names of the nodes that a slice has access points on, whether or not they were read.
pub(super) fn selected<'a>(slice: &Slice, inventory: &'a Inventory) -> BTreeSet<&'a str> {
    let place = &slice.place;
    let nodes = inventory.nodes.values().map(|node| &node.config);
    let is_on = |node: &&crate::inventory::NodeConfig| {
        node.enabled
            && (place.nodes.contains(&node.name)
                || node
                    .site
                    .as_ref()
                    .is_some_and(|site| place.sites.contains(site))
                || node.labels.iter().any(|label| place.labels.contains(label)))
    };
    nodes.filter(is_on).map(|node| node.name.as_str()).collect()
}

/// Names of all ends: whether they have stations, and whether they are nodes.
fn ends<'a>(
    slice: &Slice,
    backhaul: &'a Backhaul,
    inventory: &'a Inventory,
) -> BTreeMap<&'a str, (bool, bool)> {
    let mut ends: BTreeMap<&str, (bool, bool)> = selected(slice, inventory)
        .into_iter()
        .map(|node| (node, (true, true)))
        .collect();
    for hub in &backhaul.hubs {
        ends.entry(hub.peer())
            .or_insert((false, hub.node.is_some()));
    }
    for peer in &backhaul.foreign_peers {
        ends.entry(&peer.name).or_insert((false, false));
    }
    ends
}

struct Giving<'a> {
    slice: &'a Slice,
    backhaul: &'a Backhaul,
    known: Option<&'a Backhaul>,
    inventory: &'a Inventory,
}

impl Giving<'_> {
    fn all(&self, ports: &mut Ports) -> Result<Vec<Allocation>, IntentError> {
        let backhaul = self.backhaul;
        let Some(pool) = backhaul.pool() else {
            return Ok(backhaul.allocations.clone());
        };
        let client_pool = backhaul.client_pool.as_ref();
        let client_pool: Option<Prefix> = client_pool.and_then(|pool| pool.parse().ok());
        let ends = ends(self.slice, backhaul, self.inventory);
        // What is asked for goes first, then what was given, then what is free.
        let mut given: BTreeMap<&str, Allocation> = BTreeMap::new();
        for &name in ends.keys() {
            // A pool that was changed takes back what was given out of the one before.
            let is_new =
                |one: &&Allocation| self.known.and_then(|k| k.allocation(name)) != Some(*one);
            let asked = backhaul.allocation(name);
            let asked = asked.filter(|one| pool.contains(one.address) || is_new(one));
            let had = || {
                let had = self.known?.allocation(name)?;
                let free = !backhaul
                    .allocations
                    .iter()
                    .any(|a| a.address == had.address);
                (pool.contains(had.address) && free).then_some(had)
            };
            if let Some(kept) = asked.or_else(had) {
                given.insert(name, kept.clone());
            }
        }
        // What an end has that leaves with this change is given to nobody in it: both are there for a moment.
        let leaving = self.known.iter().flat_map(|known| &known.allocations);
        let mut used: BTreeSet<_> = given.values().map(|one| one.address).collect();
        used.extend(leaving.map(|one| one.address));
        for &name in ends.keys() {
            if given.contains_key(name) {
                continue;
            }
            let address = pool.hosts().find(|host| !used.contains(host));
            let address = address.ok_or_else(|| self.exhausted("pool", &pool, name))?;
            used.insert(address);
            let allocation = Allocation {
                name: name.to_owned(),
                address,
                client_prefix: None,
                listen_port: None,
            };
            given.insert(name, allocation);
        }
        self.subnets(client_pool, &ends, &mut given)?;
        for (name, allocation) in &mut given {
            let is_node = ends.get(name).is_some_and(|(_, is_node)| *is_node);
            allocation.listen_port = match is_node {
                true => ports.give(self, name, allocation.listen_port)?,
                false => None,
            };
        }
        Ok(given.into_values().collect())
    }

    fn subnets(
        &self,
        pool: Option<Prefix>,
        ends: &BTreeMap<&str, (bool, bool)>,
        given: &mut BTreeMap<&str, Allocation>,
    ) -> Result<(), IntentError> {
        let hub_and_spoke = self.backhaul.topology == Topology::HubAndSpoke;
        let Some(pool) = pool.filter(|_| hub_and_spoke) else {
            for one in given.values_mut() {
                one.client_prefix = None;
            }
            return Ok(());
        };
        let length = self.backhaul.client_prefix_length;
        let usual = if pool.address.is_ipv4() { 24 } else { 64 };
        let length = length.unwrap_or(usual.max(pool.length));
        let keeps = |allocation: &Allocation| {
            let prefix: Prefix = allocation.client_prefix.as_ref()?.parse().ok()?;
            (pool.covers(prefix) && prefix.length == length).then_some(prefix)
        };
        let has_stations = |name: &str| ends.get(name).is_some_and(|(stations, _)| *stations);
        for (name, one) in given.iter_mut() {
            if !has_stations(name) || keeps(one).is_none() {
                one.client_prefix = None;
            }
        }
        let leaving = self.known.iter().flat_map(|known| &known.allocations);
        let mut used: BTreeSet<Prefix> = given.values().filter_map(keeps).collect();
        used.extend(leaving.filter_map(keeps));
        for (name, one) in given.iter_mut() {
            if one.client_prefix.is_some() || !has_stations(name) {
                continue;
            }
            let subnet = pool.subnets(length).find(|subnet| !used.contains(subnet));
            let subnet = subnet.ok_or_else(|| self.exhausted("client-pool", &pool, name))?;
            used.insert(subnet);
            one.client_prefix = Some(subnet.to_string());
        }
        Ok(())
    }

    fn exhausted(&self, leaf: &str, pool: &Prefix, name: &str) -> IntentError {
        IntentError {
            path: format!(
                "/tranche-slice:slices/slice[id='{}']/backhaul/{leaf}",
                self.slice.id
            ),
            kind: ErrorKind::PoolExhausted,
            message: format!("the {leaf} {pool} has nothing left for {name}"),
        }
    }
}

/// UDP ports that are taken, by node.
struct Ports {
    taken: BTreeMap<String, BTreeSet<u16>>,
}

impl Ports {
    /// Taken is what is configured, before and after, and what a node still receives at: an old port is given again only when
    /// the node does not have it any more.
    fn new(intent: &Intent, before: &Intent, inventory: &Inventory) -> Self {
        let mut ports = Self {
            taken: BTreeMap::new(),
        };
        for intent in [intent, before] {
            for (_, node, port) in given(intent) {
                ports.take(node, port);
            }
        }
        for (name, node) in &inventory.nodes {
            for (_, port) in node.observed.iter().flat_map(in_use) {
                ports.take(name, port);
            }
        }
        ports
    }

    fn take(&mut self, node: &str, port: u16) {
        self.taken.entry(node.to_owned()).or_default().insert(port);
    }

    fn give(
        &mut self,
        of: &Giving<'_>,
        node: &str,
        has: Option<u16>,
    ) -> Result<Option<u16>, IntentError> {
        let underlay = of
            .inventory
            .nodes
            .get(node)
            .map(|node| &node.config.underlay);
        let Some((first, last)) = underlay.and_then(|u| u.first_port.zip(u.last_port)) else {
            return Ok(None);
        };
        if let Some(port) = has.filter(|port| (first..=last).contains(port)) {
            return Ok(Some(port));
        }
        let taken = self.taken.entry(node.to_owned()).or_default();
        let port = (first..=last).find(|port| !taken.contains(port));
        let port = port.ok_or_else(|| IntentError {
            path: format!("/tranche-inventory:inventory/node[name='{node}']/underlay/last-port"),
            kind: ErrorKind::PortsExhausted,
            message: format!(
                "node {node} has no port left between {first} and {last} for the tunnel of slice {}",
                of.slice.id
            ),
        })?;
        taken.insert(port);
        Ok(Some(port))
    }
}

/// Ports that the nodes were given, by slice and node. A slice that is off, or that its node has not got yet, keeps its own.
pub(crate) fn given(intent: &Intent) -> impl Iterator<Item = (&str, &str, u16)> {
    intent.slices.values().flat_map(|slice| {
        let backhaul = slice.backhaul.iter();
        let all = backhaul.flat_map(|backhaul| &backhaul.allocations);
        all.filter_map(|one| Some((slice.id.as_str(), one.name.as_str(), one.listen_port?)))
    })
}

/// Ports that a node receives at or is told to, by slice. They differ between a rotation and the one after it.
pub(crate) fn in_use(observed: &Observed) -> impl Iterator<Item = (&str, u16)> {
    observed.tunnels.iter().flat_map(|(slice, tunnel)| {
        let ports = tunnel.receives_at().chain(tunnel.listen_port);
        ports.map(move |port| (slice.as_str(), port))
    })
}
