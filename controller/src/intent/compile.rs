//! From intent and inventory to one plan per node, or all that is wrong with it. Pure.
//!
//! Chooses the nodes of each slice; `radios` and `cells` say what it takes there, and whether they can carry all that is on them.

mod cells;
mod error;
mod radios;

use std::collections::{BTreeMap, HashMap};

use crate::inventory::{Inventory, Node, NodeName, Observed};

use super::{Intent, NodePlan, Ran, Ratio, Slice};
use cells::{PlacedProfile, TakenAt, taken};
use radios::{PlacedVif, domain_loads, vifs};

pub use cells::unpromised_prb;
pub use error::{ErrorKind, IntentError};
pub use radios::unpromised_airtime;

/// One plan for every node that was read, or everything that is wrong.
///
/// A slice's guarantee becomes the minimum ratio of each of its vifs: a minimum at a node is a share of what that node's radio gets, so
/// two radios that share a channel evenly each give the slice its share of their half. What the domain as a whole owes
/// is the global scheduler's business.
///
/// # Errors
/// Every fault found, in order of slice and node.
pub fn compile(
    intent: &Intent,
    inventory: &Inventory,
) -> Result<BTreeMap<NodeName, NodePlan>, Vec<IntentError>> {
    compile_in_order(intent.slices.values(), inventory)
}

/// As [`compile()`]; of several that are too much together, it is the last who is told.
fn compile_in_order<'a>(
    slices: impl Iterator<Item = &'a Slice>,
    inventory: &'a Inventory,
) -> Result<BTreeMap<NodeName, NodePlan>, Vec<IntentError>> {
    let mut compiler = Compiler::new(slices, inventory);
    compiler.check_nodes();
    compiler.check_domains();
    if !compiler.errors.is_empty() {
        return Err(compiler.errors);
    }
    let mut plans: BTreeMap<NodeName, NodePlan> = inventory
        .nodes
        .iter()
        .filter(|(_, node)| node.config.enabled && node.observed.is_some())
        .map(|(name, _)| (name.clone(), NodePlan::default()))
        .collect();
    for (name, placed) in compiler.nodes {
        let vifs = placed
            .vifs
            .into_iter()
            .map(|vif| (vif.name, vif.config))
            .collect();
        let profiles = placed.profiles.into_iter();
        let plan = NodePlan {
            vifs,
            profiles: profiles.map(|one| (one.name, one.config)).collect(),
            ..NodePlan::default()
        };
        plans.insert(name.to_owned(), plan);
    }
    Ok(plans)
}

/// As [`compile()`], for a change from an intent in force: a domain that was overcommitted before (radios that came to hear each
/// other after their slices were admitted) does not refuse a change that leaves it no worse. What several slices are at fault for is told
/// to one that changes.
///
/// # Errors
/// Every fault that the change brings.
pub fn compile_change(
    before: &Intent,
    after: &Intent,
    inventory: &Inventory,
) -> Result<BTreeMap<NodeName, NodePlan>, Vec<IntentError>> {
    let errors = match compile(after, inventory) {
        Ok(plans) => return Ok(plans),
        Err(errors) => errors,
    };
    let stays = |slice: &&Slice| before.slices.get(&slice.id) == Some(*slice);
    let (first, last): (Vec<&Slice>, Vec<&Slice>) = after.slices.values().partition(stays);
    let told = compile_in_order(first.into_iter().chain(last), inventory);
    let errors = told.err().unwrap_or(errors);
    let of_domain = |error: &IntentError| error.kind == ErrorKind::DomainOvercommitted;
    if !errors.iter().all(of_domain) {
        return Err(errors);
    }
    let known: HashMap<_, _> = domain_loads(before, inventory).into_iter().collect();
    let worse = domain_loads(after, inventory)
        .into_iter()
        .any(|(radio, load)| load > FULL && load > known.get(&radio).copied().unwrap_or(0));
    if worse {
        return Err(errors);
    }
    compile_unchecked(after, inventory)
}

const FULL: u32 = 10_000;

fn compile_unchecked(
    intent: &Intent,
    inventory: &Inventory,
) -> Result<BTreeMap<NodeName, NodePlan>, Vec<IntentError>> {
    // Without the edges there is no domain to overcommit.
    let mut deaf = inventory.clone();
    for node in deaf.nodes.values_mut() {
        for radio in node
            .observed
            .iter_mut()
            .flat_map(|observed| observed.radios.values_mut())
        {
            radio.hears.clear();
        }
    }
    compile(intent, &deaf)
}

/// What was placed on a node so far.
struct Placed<'a> {
    observed: &'a Observed,
    vifs: Vec<PlacedVif<'a>>,
    profiles: Vec<PlacedProfile<'a>>,
}

impl<'a> Placed<'a> {
    fn new(observed: &'a Observed) -> Self {
        Self {
            observed,
            vifs: Vec::new(),
            profiles: Vec::new(),
        }
    }
}

struct Compiler<'a> {
    inventory: &'a Inventory,
    nodes: BTreeMap<&'a str, Placed<'a>>,
    errors: Vec<IntentError>,
}

impl<'a> Compiler<'a> {
    /// Every slice placed; nothing checked but the slices themselves.
    fn new(slices: impl Iterator<Item = &'a Slice>, inventory: &'a Inventory) -> Self {
        let mut compiler = Self {
            inventory,
            nodes: BTreeMap::new(),
            errors: Vec::new(),
        };
        for slice in slices {
            compiler.check_ssid(slice);
            compiler.check_sd(slice);
            if slice.enabled {
                compiler.place(slice);
            }
        }
        compiler
    }

    fn fault(&mut self, slice: &Slice, below: &str, kind: ErrorKind, message: String) {
        let path = format!("/tranche-slice:slices/slice[id='{}']{below}", slice.id);
        self.errors.push(IntentError {
            path,
            kind,
            message,
        });
    }

    /// Puts a slice on every radio and cell it selects.
    fn place(&mut self, slice: &'a Slice) {
        let before = self.errors.len();
        let nodes = self.select(slice);
        if self.errors.len() > before {
            return;
        }
        let (mut radios, mut ends) = (0, 0);
        let mut on_cells = Vec::new();
        for &(node, has, named) in &nodes {
            let Some(observed) = &has.observed else {
                let message =
                    format!("node {node} has not been read yet, so what it has is not known");
                let below = below_where("node", node, named);
                self.fault(slice, &below, ErrorKind::NodeNotRead, message);
                continue;
            };
            let vifs = vifs(slice, observed);
            let cells = taken(slice, observed);
            let wired = is_wired(slice, observed);
            ends += usize::from(wired);
            if named && !wired && vifs.is_empty() && cells.is_empty() {
                let message = format!("node {node} has {}", none_of(slice));
                let below = below_where("node", node, true);
                self.fault(slice, &below, ErrorKind::SelectsNothing, message);
            }
            radios += vifs.len();
            let placed = self.nodes.entry(node);
            let placed = placed.or_insert_with(|| Placed::new(observed));
            placed.vifs.extend(vifs);
            if !cells.is_empty() {
                on_cells.push(TakenAt {
                    node,
                    observed,
                    cells,
                });
            }
        }
        // Who was not read may have what the others lack.
        if self.errors.len() == before && !slice.some_unread {
            let radio = slice.wifi.iter().filter(|_| radios + ends == 0);
            let radio = radio.map(|_| format!("a {}", wanted_radio(slice)));
            let cell = slice.ran.iter().filter(|_| on_cells.is_empty());
            let cell = cell.map(|ran| with_article(&wanted_cell(slice, ran)));
            for what in radio.chain(cell) {
                let message = format!("none of the selected nodes has {what}");
                self.fault(slice, "/where", ErrorKind::SelectsNothing, message);
            }
        }
        if self.errors.len() == before {
            self.place_on_cells(slice, &on_cells);
        }
    }

    /// The nodes a slice selects, and whether by name.
    fn select(&mut self, slice: &'a Slice) -> Vec<(&'a str, &'a Node, bool)> {
        let mut selected: BTreeMap<&'a str, (&'a Node, bool)> = BTreeMap::new();
        let inventory = self.inventory;
        for name in &slice.place.nodes {
            let below = below_where("node", name, true);
            match inventory.nodes.get_key_value(name) {
                None => {
                    let message = format!("node {name} is not in the inventory");
                    self.fault(slice, &below, ErrorKind::UnknownNode, message);
                }
                Some((_, node)) if !node.config.enabled => {
                    let message = format!("node {name} is disabled");
                    self.fault(slice, &below, ErrorKind::DisabledNode, message);
                }
                Some((name, node)) => {
                    selected.insert(name, (node, true));
                }
            }
        }
        for site in &slice.place.sites {
            if !inventory.sites.contains(site) {
                let message = format!("site {site} is not in the inventory");
                self.fault(
                    slice,
                    &below_where("site", site, true),
                    ErrorKind::UnknownSite,
                    message,
                );
                continue;
            }
            self.select_all(
                slice,
                ("site", site),
                |node| node.config.site.as_ref() == Some(site),
                &mut selected,
            );
        }
        for label in &slice.place.labels {
            self.select_all(
                slice,
                ("label", label),
                |node| node.config.labels.contains(label),
                &mut selected,
            );
        }
        selected
            .into_iter()
            .map(|(name, (node, named))| (name, node, named))
            .collect()
    }

    fn select_all(
        &mut self,
        slice: &Slice,
        (kind, value): (&str, &str),
        wanted: impl Fn(&Node) -> bool,
        selected: &mut BTreeMap<&'a str, (&'a Node, bool)>,
    ) {
        let nodes = self.inventory.nodes.iter();
        let mut some = false;
        for (name, node) in nodes.filter(|(_, node)| node.config.enabled && wanted(node)) {
            some = true;
            selected.entry(name).or_insert((node, false));
        }
        if !some {
            let message = format!("no enabled node has {kind} {value}");
            self.fault(
                slice,
                &below_where(kind, value, true),
                ErrorKind::SelectsNothing,
                message,
            );
        }
    }

    /// What must hold on every node by itself.
    fn check_nodes(&mut self) {
        let nodes = std::mem::take(&mut self.nodes);
        for (&name, placed) in &nodes {
            self.check_ssids(name, placed);
            self.check_names(name, placed);
            self.check_radios(name, placed);
            self.check_cells(name, placed);
        }
        self.nodes = nodes;
    }
}

fn below_where(kind: &str, value: &str, named: bool) -> String {
    if named {
        let quote = if value.contains('\'') { '"' } else { '\'' };
        format!("/where/{kind}[.={quote}{value}{quote}]")
    } else {
        "/where".to_owned()
    }
}

/// A node without a radio or cell is an end of the slice's tunnels, for what is wired to it, or steers its packets.
fn is_wired(slice: &Slice, observed: &Observed) -> bool {
    (slice.backhaul.is_some() || !slice.steering.rules.is_empty())
        && (slice.wifi.is_none() || observed.radios.is_empty())
        && (slice.ran.is_none() || observed.cells.is_empty())
}

/// What a node lacks that has nothing for a slice.
fn none_of(slice: &Slice) -> String {
    match (&slice.wifi, &slice.ran) {
        (Some(_), Some(ran)) => {
            let (radio, cell) = (wanted_radio(slice), wanted_cell(slice, ran));
            format!("neither a {radio} nor {cell}", cell = with_article(&cell))
        }
        (None, Some(ran)) => format!("no {}", wanted_cell(slice, ran)),
        (_, None) => format!("no {}", wanted_radio(slice)),
    }
}

fn wanted_radio(slice: &Slice) -> String {
    match bands(slice) {
        Some(bands) => format!("radio for {bands}"),
        None => "radio".to_owned(),
    }
}

fn wanted_cell(slice: &Slice, ran: &Ran) -> String {
    let mut words: Vec<String> = ran.rat.only().iter().map(ToString::to_string).collect();
    words.push("cell".to_owned());
    let names: Vec<&str> = slice.place.cells.iter().map(String::as_str).collect();
    if !names.is_empty() {
        words.push(names.join(" or "));
    }
    words.join(" ")
}

/// Names of technologies are spelt out when they are said: an LTE cell, an NR cell.
fn with_article(cell: &str) -> String {
    let article = if cell.starts_with("cell") { "a" } else { "an" };
    format!("{article} {cell}")
}

fn bands(slice: &Slice) -> Option<String> {
    let bands: Vec<&str> = slice.place.bands.iter().map(String::as_str).collect();
    (!bands.is_empty()).then(|| bands.join(" or "))
}

fn sum(ratios: impl Iterator<Item = Ratio>) -> u32 {
    ratios.map(Ratio::hundredths).sum()
}

fn percent(hundredths: u32) -> String {
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

#[cfg(test)]
mod tests;
