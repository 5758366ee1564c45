//! From intent and inventory to one plan per node, or all that is wrong with it. Pure.
//!
//! Places slices on nodes and radios, and checks radios; `cells` does the same for cells.

mod cells;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use crate::inventory::{Inventory, Node, NodeName, Observed, Radio};

use super::{AccessPoint, Intent, NodePlan, Ran, Ratio, Slice, VifConfig, vif_name};
use cells::{PlacedProfile, TakenAt, taken};

pub use cells::unpromised_prb;

/// Length of an SSID at most.
const MAX_SSID_OCTETS: usize = 32;

/// Why an intent can't be put on the nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntentError {
    /// What is at fault: an instance path in the intent.
    pub path: String,
    /// What kind of fault.
    pub kind: ErrorKind,
    /// One plain sentence.
    pub message: String,
}

/// Kinds of [`IntentError`]; [`ErrorKind::app_tag`] is what a peer sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorKind {
    /// A node that is not in the inventory.
    UnknownNode,
    /// A site that is not in the inventory.
    UnknownSite,
    /// A node that is administratively off.
    DisabledNode,
    /// A selector that selects no node or no radio.
    SelectsNothing,
    /// A node that was not read since it was added: its radios are not known.
    NodeNotRead,
    /// An SSID of more than 32 octets.
    SsidTooLong,
    /// Two slices with one SSID on a node.
    SsidClash,
    /// A vif of ours would have the name of somebody else's.
    NameClash,
    /// More vifs than the radio carries.
    TooManyVifs,
    /// The minimum ratios on a radio sum past 100 %.
    RadioOvercommitted,
    /// The guarantees of the slices around a radio sum past 100 %.
    DomainOvercommitted,
    /// A pool has no address or subnet left.
    PoolExhausted,
    /// A node has no UDP port left.
    PortsExhausted,
    /// What was given to an end is not in its pool.
    OutsidePool,
    /// Prefixes of one slice that must be apart are not.
    PoolOverlap,
    /// No prefix, or one of a length that does not fit.
    BadPrefix,
    /// A prefix with bits set beyond its length.
    HostBits,
    /// A prefix that an underlay address is in.
    CoversUnderlay,
    /// A default route from elsewhere than a hub.
    DefaultRoute,
    /// Two hubs at one node.
    HubClash,
    /// Two hubs of one priority.
    PriorityClash,
    /// Two ends of one name.
    PeerNameClash,
    /// Two ends of one key.
    KeyClash,
    /// A mesh of too many nodes.
    MeshTooLarge,
    /// Two slices with one VXLAN network identifier on a node.
    VniClash,
    /// Two slices with a backhaul from one bridge of a node.
    BridgeClash,
    /// A node that others call, without an address to call.
    NoUnderlay,
    /// A cell that no selected node has.
    UnknownCell,
    /// A core that a node does not have.
    UnknownCore,
    /// Something that cells of this technology do not have, or a core that is not for them.
    RatMismatch,
    /// A slice differentiator that is not written as it has to be.
    SdNotCanonical,
    /// A slice profile of ours would have the name of somebody else's.
    ProfileClash,
    /// More PLMNs than a cell can broadcast.
    TooManyPlmns,
    /// Two slices with one PLMN and S-NSSAI on a cell.
    DuplicateSlice,
    /// The minima of PRB on a cell sum past 100 %.
    PrbOvercommitted,
    /// A subscriber of two slices on a cell.
    ImsiOverlap,
    /// A name that is too long at a node.
    NameTooLong,
    /// Steering that a node would refuse.
    BadSteering,
    /// More steering than a node has room for.
    SteeringFull,
    /// A rule to which another slice leaves nothing.
    RuleShadowed,
    /// A traffic rule of an application that steering can't do.
    MecUnsupported,
}

impl ErrorKind {
    /// The `error-app-tag`.
    #[must_use]
    pub fn app_tag(self) -> &'static str {
        match self {
            Self::UnknownNode => "unknown-node",
            Self::UnknownSite => "unknown-site",
            Self::DisabledNode => "node-disabled",
            Self::SelectsNothing => "selects-nothing",
            Self::NodeNotRead => "node-not-read",
            Self::SsidTooLong => "ssid-too-long",
            Self::SsidClash => "ssid-clash",
            Self::NameClash => "vif-name-clash",
            Self::TooManyVifs => "too-many-vifs",
            Self::RadioOvercommitted => "ratio-sum",
            Self::DomainOvercommitted => "domain-ratio-sum",
            Self::PoolExhausted => "pool-exhausted",
            Self::PortsExhausted => "ports-exhausted",
            Self::OutsidePool => "outside-pool",
            Self::PoolOverlap => "prefix-overlap",
            Self::BadPrefix => "bad-prefix",
            Self::HostBits => "host-bits",
            Self::CoversUnderlay => "covers-underlay",
            Self::DefaultRoute => "default-route",
            Self::HubClash => "hub-clash",
            Self::PriorityClash => "priority-clash",
            Self::PeerNameClash => "peer-name-clash",
            Self::KeyClash => "key-clash",
            Self::MeshTooLarge => "mesh-too-large",
            Self::VniClash => "vni-clash",
            Self::BridgeClash => "bridge-clash",
            Self::NoUnderlay => "no-underlay-address",
            Self::UnknownCell => "unknown-cell",
            Self::UnknownCore => "unknown-core",
            Self::RatMismatch => "rat-mismatch",
            Self::SdNotCanonical => "sd-not-canonical",
            Self::ProfileClash => "profile-name-clash",
            Self::TooManyPlmns => "too-many-plmns",
            Self::DuplicateSlice => "duplicate-slice",
            Self::PrbOvercommitted => "ratio-sum",
            Self::ImsiOverlap => "imsi-overlap",
            Self::NameTooLong => "name-too-long",
            Self::BadSteering => "bad-steering",
            Self::SteeringFull => "steering-full",
            Self::RuleShadowed => "rule-shadowed",
            Self::MecUnsupported => "mec-unsupported",
        }
    }
}

impl fmt::Display for IntentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at {})", self.message, self.path)
    }
}

impl std::error::Error for IntentError {}

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
    let mut compiler = Compiler::new(intent, inventory);
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
/// other after their slices were admitted) does not refuse a change that leaves it no worse.
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

/// Airtime that can still be promised at a radio: what the minima on it, and those of the slices on it and on the radios that it
/// contends with (`heard`, with the plans of their nodes), leave.
#[must_use]
pub fn unpromised_airtime<'a>(
    plan: &NodePlan,
    observed: &Observed,
    radio: &str,
    heard: impl Iterator<Item = (&'a NodePlan, &'a str)>,
) -> Ratio {
    let on = |plan: &NodePlan, radio: &str| -> Vec<(String, Ratio)> {
        let vifs = plan.vifs.values().filter(|vif| vif.radio == radio);
        vifs.map(|vif| (vif.slice.clone(), vif.min_ratio)).collect()
    };
    let here = on(plan, radio);
    let theirs = observed.foreign();
    let theirs = theirs.filter(|(_, vif)| vif.enabled && vif.radio == radio);
    let theirs = theirs.map(|(_, vif)| vif.min_ratio);
    let on_it = sum(here.iter().map(|(_, min)| *min).chain(theirs));
    // A slice counts once, however many radios of the domain it is on.
    let mut domain: BTreeMap<String, Ratio> = here.into_iter().collect();
    domain.extend(heard.flat_map(|(plan, radio)| on(plan, radio)));
    let owed = on_it.max(sum(domain.into_values()));
    Ratio::from_hundredths(FULL.saturating_sub(owed))
}

type RadioRef<'a> = (&'a str, &'a str);

fn domain_loads(intent: &Intent, inventory: &Inventory) -> Vec<((String, String), u32)> {
    let compiler = Compiler::new(intent, inventory);
    let owned = |((node, radio), slices): (RadioRef<'_>, BTreeMap<&str, Ratio>)| {
        (
            (node.to_owned(), radio.to_owned()),
            sum(slices.values().copied()),
        )
    };
    compiler.rows().into_iter().map(owned).collect()
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

struct PlacedVif<'a> {
    name: String,
    slice: &'a Slice,
    config: VifConfig,
}

struct Compiler<'a> {
    inventory: &'a Inventory,
    nodes: BTreeMap<&'a str, Placed<'a>>,
    errors: Vec<IntentError>,
}

impl<'a> Compiler<'a> {
    /// Every slice placed; nothing checked but the slices themselves.
    fn new(intent: &'a Intent, inventory: &'a Inventory) -> Self {
        let mut compiler = Self {
            inventory,
            nodes: BTreeMap::new(),
            errors: Vec::new(),
        };
        for slice in intent.slices.values() {
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

    /// The schema counts characters; a beacon has room for octets (IEEE Std 802.11-2020 9.4.2.2).
    fn check_ssid(&mut self, slice: &Slice) {
        let octets = slice.wifi.as_ref().map_or(0, |wifi| wifi.ssid.len());
        if octets > MAX_SSID_OCTETS {
            let message = format!("the SSID has {octets} octets, more than {MAX_SSID_OCTETS}");
            self.fault(slice, "/wifi/ssid", ErrorKind::SsidTooLong, message);
        }
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

    fn check_ssids(&mut self, node: &str, placed: &Placed<'a>) {
        let mut owners: HashMap<&str, &Slice> = HashMap::new();
        let mut told = BTreeSet::new();
        for PlacedVif { slice, config, .. } in &placed.vifs {
            let ssid = &config.access_point.ssid;
            let owner = *owners.entry(ssid).or_insert(slice);
            if owner.id != slice.id && told.insert(&slice.id) {
                let message = format!(
                    "slices {} and {} have the same SSID on node {node}",
                    owner.id, slice.id
                );
                self.fault(slice, "/wifi/ssid", ErrorKind::SsidClash, message);
            }
        }
    }

    fn check_names(&mut self, node: &str, placed: &Placed<'a>) {
        let foreign: BTreeSet<&str> = placed
            .observed
            .foreign()
            .map(|(name, _)| name.as_str())
            .collect();
        let mut owners: HashMap<&str, (&str, &str)> = HashMap::new();
        for vif in &placed.vifs {
            let radio = vif.config.radio.as_str();
            if foreign.contains(vif.name.as_str()) {
                let message = format!(
                    "node {node} has an interface {} that belongs to somebody else, where the slice needs that name",
                    vif.name
                );
                self.fault(vif.slice, "", ErrorKind::NameClash, message);
            }
            if let Some((slice, other)) = owners.insert(&vif.name, (&vif.slice.id, radio)) {
                let message = format!(
                    "on node {node}, slice {slice} on radio {other} and slice {} on radio {radio} get the same interface name {}",
                    vif.slice.id, vif.name
                );
                self.fault(vif.slice, "", ErrorKind::NameClash, message);
            }
        }
    }

    fn check_radios(&mut self, node: &str, placed: &Placed<'a>) {
        let mut by_radio: BTreeMap<&str, Vec<&PlacedVif<'a>>> = BTreeMap::new();
        for vif in &placed.vifs {
            by_radio.entry(&vif.config.radio).or_default().push(vif);
        }
        for (name, vifs) in by_radio {
            let Some(last) = vifs.last() else { continue };
            let foreign = || {
                placed
                    .observed
                    .foreign()
                    .filter(|(_, vif)| vif.radio == name)
            };
            let count = vifs.len() + foreign().count();
            let most = placed
                .observed
                .radios
                .get(name)
                .and_then(|radio| radio.max_vifs);
            if let Some(most) = most.filter(|&most| count > most as usize) {
                let message = format!(
                    "radio {name} of node {node} carries {most} interfaces, and {count} are wanted"
                );
                self.fault(last.slice, "/where", ErrorKind::TooManyVifs, message);
            }
            let theirs = foreign()
                .filter(|(_, vif)| vif.enabled)
                .map(|(_, vif)| vif.min_ratio);
            let total = sum(vifs.iter().map(|vif| vif.config.min_ratio).chain(theirs));
            if total > FULL {
                let message = format!(
                    "the min-ratios on radio {name} of node {node} sum to {} %",
                    percent(total)
                );
                self.fault(
                    last.slice,
                    MIN_RATIO,
                    ErrorKind::RadioOvercommitted,
                    message,
                );
            }
        }
    }

    /// Slices and their guarantees in the neighbourhood of every radio that hears another one.
    fn rows(&self) -> BTreeMap<RadioRef<'a>, BTreeMap<&'a str, Ratio>> {
        let mut edges: BTreeSet<(RadioRef<'a>, RadioRef<'a>)> = BTreeSet::new();
        for (node, name) in self
            .inventory
            .nodes
            .values()
            .map(|node| (node, node.config.name.as_str()))
        {
            for (radio, observed) in node.observed.iter().flat_map(|observed| &observed.radios) {
                for (peer, other) in &observed.hears {
                    let (here, there) = ((name, radio.as_str()), (peer.as_str(), other.as_str()));
                    edges.insert((here, there));
                    edges.insert((there, here));
                }
            }
        }
        let mut carried: HashMap<RadioRef<'a>, Vec<(&'a str, Ratio)>> = HashMap::new();
        for (&node, placed) in &self.nodes {
            for vif in &placed.vifs {
                let Some((radio, _)) = placed.observed.radios.get_key_value(&vif.config.radio)
                else {
                    continue;
                };
                let entry = (vif.slice.id.as_str(), vif.slice.sla.airtime.min_ratio);
                carried
                    .entry((node, radio.as_str()))
                    .or_default()
                    .push(entry);
            }
        }
        let mut rows: BTreeMap<RadioRef<'a>, BTreeMap<&'a str, Ratio>> = BTreeMap::new();
        for (here, there) in edges {
            for at in [here, there] {
                rows.entry(here)
                    .or_default()
                    .extend(carried.get(&at).into_iter().flatten().copied());
            }
        }
        rows
    }

    /// What must hold where radios hear each other. One fault per last slice, at the worst spot.
    fn check_domains(&mut self) {
        let mut worst: BTreeMap<&'a str, (u32, RadioRef<'a>, Vec<&'a str>)> = BTreeMap::new();
        for (radio, slices) in self.rows() {
            let total = sum(slices.values().copied());
            let Some((&last, _)) = slices.iter().rfind(|(_, ratio)| **ratio > Ratio::ZERO) else {
                continue;
            };
            if total > FULL && worst.get(last).is_none_or(|(known, ..)| total > *known) {
                let names = slices
                    .iter()
                    .filter(|(_, ratio)| **ratio > Ratio::ZERO)
                    .map(|(name, _)| *name);
                worst.insert(last, (total, radio, names.collect()));
            }
        }
        for (last, (total, (node, radio), slices)) in worst {
            let path = format!("/tranche-slice:slices/slice[id='{last}']{MIN_RATIO}");
            let message = format!(
                "the guarantees of slices {} sum to {} % of the channel around radio {radio} of node {node}",
                slices.join(", "),
                percent(total)
            );
            self.errors.push(IntentError {
                path,
                kind: ErrorKind::DomainOvercommitted,
                message,
            });
        }
    }
}

const MIN_RATIO: &str = "/sla/airtime/min-ratio";

fn below_where(kind: &str, value: &str, named: bool) -> String {
    if named {
        let quote = if value.contains('\'') { '"' } else { '\'' };
        format!("/where/{kind}[.={quote}{value}{quote}]")
    } else {
        "/where".to_owned()
    }
}

/// A slice's interfaces at a node: one on each radio that it selects.
fn vifs<'a>(slice: &'a Slice, observed: &Observed) -> Vec<PlacedVif<'a>> {
    let Some(wifi) = &slice.wifi else {
        return Vec::new();
    };
    let bands = &slice.place.bands;
    let wanted = |radio: &Radio| bands.is_empty() || bands.contains(&radio.band);
    let radios = observed.radios.iter().filter(|(_, radio)| wanted(radio));
    radios
        .map(|(radio, _)| PlacedVif {
            name: vif_name(&slice.id, radio),
            slice,
            config: vif(slice, wifi, radio),
        })
        .collect()
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

fn vif(slice: &Slice, access_point: &AccessPoint, radio: &str) -> VifConfig {
    VifConfig {
        radio: radio.to_owned(),
        slice: slice.id.clone(),
        access_point: access_point.clone(),
        min_ratio: slice.sla.airtime.min_ratio,
        max_ratio: slice.sla.airtime.max_ratio,
    }
}

fn sum(ratios: impl Iterator<Item = Ratio>) -> u32 {
    ratios.map(Ratio::hundredths).sum()
}

fn percent(hundredths: u32) -> String {
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

#[cfg(test)]
mod tests;
