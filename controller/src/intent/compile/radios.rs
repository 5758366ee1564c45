//! The part of the compiler that is about radios: the interfaces that a slice gets there, and whether radios, and the channels
//! that they share, can carry all that is on them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::intent::{AccessPoint, Intent, Ratio, Slice, VifConfig, vif_name};
use crate::inventory::{Inventory, Observed, Radio};

use super::{Compiler, ErrorKind, FULL, IntentError, NodePlan, Placed, percent, sum};

/// Length of an SSID at most.
const MAX_SSID_OCTETS: usize = 32;

const MIN_RATIO: &str = "/sla/airtime/min-ratio";

/// A slice's interface on a radio of a node.
pub(super) struct PlacedVif<'a> {
    pub(super) name: String,
    pub(super) slice: &'a Slice,
    pub(super) config: VifConfig,
}

/// A slice's interfaces at a node: one on each radio that it selects.
pub(super) fn vifs<'a>(slice: &'a Slice, observed: &Observed) -> Vec<PlacedVif<'a>> {
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

fn vif(slice: &Slice, access_point: &AccessPoint, radio: &str) -> VifConfig {
    VifConfig {
        radio: radio.to_owned(),
        slice: slice.id.clone(),
        access_point: access_point.clone(),
        min_ratio: slice.sla.airtime.min_ratio,
        max_ratio: slice.sla.airtime.max_ratio,
    }
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

/// A node and a radio of it.
type RadioRef<'a> = (&'a str, &'a str);

/// What is promised around each radio that hears another one, in hundredths of a percent.
pub(super) fn domain_loads(intent: &Intent, inventory: &Inventory) -> Vec<((String, String), u32)> {
    let compiler = Compiler::new(intent.slices.values(), inventory);
    let owned = |((node, radio), slices): (RadioRef<'_>, BTreeMap<&str, Ratio>)| {
        (
            (node.to_owned(), radio.to_owned()),
            sum(slices.values().copied()),
        )
    };
    compiler.rows().into_iter().map(owned).collect()
}

impl<'a> Compiler<'a> {
    /// The schema counts characters; a beacon has room for octets (IEEE Std 802.11-2020 9.4.2.2).
    pub(super) fn check_ssid(&mut self, slice: &Slice) {
        let octets = slice.wifi.as_ref().map_or(0, |wifi| wifi.ssid.len());
        if octets > MAX_SSID_OCTETS {
            let message = format!("the SSID has {octets} octets, more than {MAX_SSID_OCTETS}");
            self.fault(slice, "/wifi/ssid", ErrorKind::SsidTooLong, message);
        }
    }

    pub(super) fn check_ssids(&mut self, node: &str, placed: &Placed<'a>) {
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

    pub(super) fn check_names(&mut self, node: &str, placed: &Placed<'a>) {
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

    pub(super) fn check_radios(&mut self, node: &str, placed: &Placed<'a>) {
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
    pub(super) fn check_domains(&mut self) {
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
