//! State data, built when it is read.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, PoisonError};

use serde_json::{Map, Value, json};
use tranche_netconf::error::RpcError;
use tranche_yang::clock::rfc3339;
use tranche_yang::{Content, Format, Kind, Schema, SchemaNode, Tree};

use super::cells::{SeenCells, cells_json};
use super::desired::Desired;
use super::noted::Noted;
use super::steering::SeenSteering;
use super::tunnels::SeenTunnels;
use super::{Service, fresh, rpc_errors};
use crate::device::DeviceState;
use crate::intent::{Intent, NodePlan, Ratio, Slice, unpromised_airtime};
use crate::inventory::{NodeConfig, NodeName, Observed, Radio};
use crate::scheduler::RadioId;
use crate::store::CommitInfo;

/// The schema nodes that are state or contain state.
pub(super) fn nodes(schema: &'static Schema) -> HashSet<SchemaNode> {
    let mut found = HashSet::new();
    for module in schema.modules().iter().filter(|module| module.implemented) {
        for node in schema.top(&module.name) {
            collect(node, &mut found);
        }
    }
    found
}

fn collect(node: SchemaNode, found: &mut HashSet<SchemaNode>) -> bool {
    if matches!(node.kind(), Kind::Rpc | Kind::Action | Kind::Notification) {
        return false;
    }
    let mut stateful = !node.is_config();
    for child in node.children() {
        stateful |= collect(child, found);
    }
    if stateful {
        found.insert(node);
    }
    stateful
}

impl Service {
    /// State data of the modules that an instance path concerns (`/` is all), and of the one node or slice that it
    /// names.
    ///
    /// # Errors
    /// State that doesn't fit the schema, which is a fault of ours.
    pub fn state(&self, path: &str) -> Result<Vec<Tree>, Vec<RpcError>> {
        let concerns = |module: &str| is_of(path, module);
        let one = |e: tranche_yang::Error| vec![e.to_rpc_error()];
        let mut trees = Vec::new();
        if concerns("ietf-yang-library") {
            trees.push(
                self.schema
                    .yang_library(&["running", "operational"])
                    .map_err(one)?,
            );
        }
        if concerns("ietf-netconf-acm") {
            let mut counters = Tree::empty(self.schema);
            self.published()
                .nacm
                .add_state(&mut counters)
                .map_err(one)?;
            trees.push(counters);
        }
        let mut data = Map::new();
        let desired = Arc::clone(&self.published().desired);
        if concerns("tranche-inventory") {
            data.insert(
                "tranche-inventory:inventory".into(),
                self.inventory(&desired, path),
            );
        }
        if concerns("tranche-slice") {
            data.insert("tranche-slice:slices".into(), self.slices(&desired, path));
        }
        if concerns("tranche-sla") {
            let mut sla = Map::new();
            let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
            sla.insert("slice".into(), live.record.slices());
            let periods = live.record.periods();
            drop(live);
            // Long, and of no use to who asks for something else.
            if !path.starts_with("/tranche-sla:sla/slice") {
                let read = |text: &Arc<str>| serde_json::from_str(text).ok();
                let periods: Vec<Value> = periods.iter().filter_map(read).collect();
                sla.insert("history".into(), json!({ "period": periods }));
            }
            data.insert("tranche-sla:sla".into(), sla.into());
        }
        if concerns("tranche-commits") {
            let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
            let commits: Vec<Value> = live.commits.iter().map(commit_json).collect();
            data.insert(
                "tranche-commits:commits".into(),
                json!({ "commit": commits }),
            );
        }
        if !data.is_empty() {
            let text = Value::Object(data).to_string();
            let tree = Tree::parse(self.schema, Format::Json, &text, Content::State);
            trees.push(tree.map_err(rpc_errors)?);
        }
        Ok(trees)
    }

    /// State of credentials and nodes.
    fn inventory(&self, desired: &Desired, path: &str) -> Value {
        let public_keys = self
            .public_keys
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let credentials: Vec<Value> = public_keys
            .iter()
            .map(|(name, key)| json!({ "name": name, "public-key": key }))
            .collect();
        drop(public_keys);
        let noted = self.noted();
        let only = key(path, "/tranche-inventory:inventory/node[name=");
        let radios = radios(&noted, only);
        let nodes = desired.inventory.nodes.values();
        let nodes = nodes.filter(|node| only.is_none_or(|only| node.config.name == only));
        let nodes: Vec<Value> = nodes
            .map(
                |node| json!({ "name": node.config.name, "state": self.node(&node.config, &noted, &radios) }),
            )
            .collect();
        json!({ "credential": credentials, "node": nodes })
    }

    fn node(&self, config: &NodeConfig, noted: &Noted, seen: &Radios<'_>) -> Value {
        let mut state = Map::new();
        let Some(device) = self.network.fleet().device(&config.name) else {
            let oper_state = if config.enabled {
                "connecting"
            } else {
                "disabled"
            };
            state.insert("oper-state".into(), oper_state.into());
            return state.into();
        };
        let status = device.status();
        let sync = self.network.sync(&config.name);
        state.insert("oper-state".into(), status.state.as_str().into());
        state.insert("since".into(), rfc3339(status.since).into());
        let unplaced = noted.unplaced.get(&config.name).cloned();
        if let Some(reason) = status.last_error.clone().or(sync.last_error).or(unplaced) {
            state.insert("last-error".into(), plain(&reason).into());
        }
        if let Some(session_id) = status.session_id {
            state.insert("session-id".into(), session_id.into());
        }
        if let Some(in_sync) = sync.in_sync {
            state.insert("in-sync".into(), in_sync.into());
        }
        if let Some(drift) = sync.drift {
            state.insert("drift".into(), plain(&drift).into());
        }
        if let Some(read) = status.last_read {
            state.insert("last-read".into(), rfc3339(read).into());
        }
        if let Some(report) = status.last_report {
            state.insert("last-report".into(), rfc3339(report).into());
            let lost = status.lost_reports.to_string();
            state.insert("lost-reports".into(), lost.into());
        }
        if let Some(observed) = &status.observed {
            let plan = self.network.wanted(&config.name).unwrap_or_default();
            let radios = observed.radios.iter();
            let radios: Vec<Value> = radios
                .map(|(name, radio)| {
                    let seen = seen.get(&(config.name.as_str(), name.as_str()));
                    let mut json = radio_json(name, radio, observed, seen);
                    let left = self.unpromised(&plan, observed, name, seen);
                    json["unpromised"] = left.to_string().into();
                    json
                })
                .collect();
            state.insert("radio".into(), radios.into());
            let connected = status.state == DeviceState::Connected;
            let mut cells = cells_json(&plan, observed, connected);
            if status.last_read <= noted.reported {
                fresh::node_cells(&mut cells, &config.name, &noted.report);
            }
            state.insert("cell".into(), cells);
        }
        state.into()
    }

    /// Airtime that can still be promised at a radio.
    fn unpromised(
        &self,
        plan: &NodePlan,
        observed: &Observed,
        radio: &str,
        seen: Option<&RadioSeen<'_>>,
    ) -> Ratio {
        let heard = seen.iter().flat_map(|seen| &seen.hears);
        let heard: Vec<_> = heard
            .filter_map(|id| Some((self.network.wanted(&id.node)?, &*id.radio)))
            .collect();
        let heard = heard.iter().map(|(plan, radio)| (&**plan, *radio));
        unpromised_airtime(plan, observed, radio, heard)
    }

    /// State of slices.
    fn slices(&self, desired: &Desired, path: &str) -> Value {
        let noted = self.noted();
        let is_read = |node: &str| {
            let device = self.network.fleet().device(node);
            device.is_some_and(|device| device.status().last_read > noted.reported)
        };
        let used = used(&noted);
        let mut seen: BTreeMap<&str, Seen> = BTreeMap::new();
        let (mut tunnels, mut steering) = (BTreeMap::new(), BTreeMap::new());
        let only = key(path, "/tranche-slice:slices/slice[id=");
        for name in desired.inventory.nodes.keys() {
            self.look_at(name, only, &used, &desired.intent, &mut seen);
            self.look_at_cells(name, only, |slice, take| {
                if let Some((id, _)) = desired.intent.slices.get_key_value(slice) {
                    take(&mut seen.entry(id).or_default().cells);
                }
            });
            self.look_at_tunnels(name, only, &mut tunnels);
            self.look_at_steering(name, only, &mut steering);
        }
        let slices = desired.intent.slices.values();
        let slices = slices.filter(|slice| only.is_none_or(|only| slice.id == only));
        let slices: Vec<Value> = slices
            .map(|slice| {
                let mut seen = seen.remove(slice.id.as_str()).unwrap_or_default();
                seen.tunnels = tunnels.remove(&slice.id).unwrap_or_default();
                seen.steering = steering.remove(&slice.id).unwrap_or_default();
                let mut state = slice_json(slice, seen, &noted);
                if let Some(cells) = state.get_mut("cell") {
                    fresh::slice_cells(cells, &noted.report, is_read);
                }
                json!({ "id": slice.id, "state": state })
            })
            .collect();
        json!({ "slice": slices })
    }

    /// The access points that a node should have, of all slices or of only one.
    fn look_at<'a>(
        &self,
        name: &NodeName,
        only: Option<&str>,
        used: &HashMap<(&str, &str), f64>,
        intent: &'a Intent,
        seen: &mut BTreeMap<&'a str, Seen>,
    ) {
        let Some(device) = self.network.fleet().device(name) else {
            return;
        };
        let status = device.status();
        let connected = status.state == DeviceState::Connected;
        let plan = self.network.wanted(name).unwrap_or_default();
        let wanted = plan.vifs.iter();
        for (vif, wanted) in wanted.filter(|(_, v)| only.is_none_or(|only| v.slice == only)) {
            let Some((id, _)) = intent.slices.get_key_value(&wanted.slice) else {
                continue;
            };
            let has = status
                .observed
                .as_ref()
                .and_then(|observed| observed.vifs.get(vif));
            let state = has.and_then(|has| has.state.oper_state.as_deref());
            let state = match state {
                Some(state) if connected => state,
                None if connected => "down",
                _ => "unknown",
            };
            let seen = seen.entry(id).or_default();
            if state == "up" {
                seen.up += 1;
            } else {
                let reason = match has.and_then(|has| has.state.last_error.as_deref()) {
                    _ if !connected => format!("node {name} is away"),
                    Some(error) => format!("node {name}: {vif} is {state}: {error}"),
                    None => format!("node {name}: {vif} is {state}"),
                };
                seen.reasons.push(reason);
            }
            let mut point = Map::new();
            point.insert("node".into(), name.as_str().into());
            point.insert("name".into(), vif.as_str().into());
            point.insert("radio".into(), wanted.radio.as_str().into());
            point.insert("oper-state".into(), state.into());
            if let Some(stations) = has.and_then(|has| has.state.stations).filter(|_| connected) {
                point.insert("stations".into(), stations.min(u32::from(u16::MAX)).into());
            }
            if let Some(used) = used
                .get(&(name.as_str(), vif.as_str()))
                .filter(|_| connected)
            {
                point.insert("used-ratio".into(), percent(*used));
            }
            seen.points.push(point.into());
        }
    }
}

/// Whether an instance path concerns a module's data.
pub(crate) fn is_of(path: &str, module: &str) -> bool {
    let top = path.strip_prefix('/').unwrap_or(path);
    top.is_empty()
        || top
            .strip_prefix(module)
            .is_some_and(|rest| rest.starts_with(':'))
}

/// The key of the entry that an instance path begins with, where the path goes on like that.
fn key<'a>(path: &'a str, list: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(list)?;
    let quote = rest.chars().next()?;
    rest[1..].split_once(quote).map(|(key, _)| key)
}

fn commit_json(info: &CommitInfo) -> Value {
    json!({
        "id": info.id.to_string(),
        "time": rfc3339(info.time()),
        "author": plain(&info.author),
        "label": plain(&info.label),
    })
}

/// What is seen of a slice.
#[derive(Default)]
struct Seen {
    points: Vec<Value>,
    up: usize,
    reasons: Vec<String>,
    cells: SeenCells,
    tunnels: SeenTunnels,
    steering: SeenSteering,
}

fn slice_json(slice: &Slice, seen: Seen, noted: &Noted) -> Value {
    let mut state = Map::new();
    let mut reasons = seen.reasons;
    reasons.extend(seen.cells.reasons.iter().cloned());
    let (pending, degraded) = (seen.cells.pending, seen.cells.degraded);
    let all = seen.points.len() + seen.cells.in_service();
    let is_away = |reason: &String| reason.ends_with("is away");
    let is_well = seen.tunnels.is_well() && seen.steering.is_well();
    let oper_state = match (slice.enabled, all, seen.up + seen.cells.up) {
        (false, _, _) => "disabled",
        (true, 0, _) if seen.cells.all_locked() && is_well => "disabled",
        (true, 0, _) if seen.tunnels.is_empty() && seen.steering.is_empty() => "pending",
        (true, all, up) if up == all && is_well => "active",
        (true, all, up) if up + pending == all && is_well => "pending",
        (true, _, 0) if pending + degraded == 0 && !reasons.iter().all(is_away) => "failed",
        (true, _, _) => "degraded",
    };
    state.insert("oper-state".into(), oper_state.into());
    if let Some(applied) = noted.applied.get(&slice.id) {
        state.insert("applied-at".into(), rfc3339(*applied).into());
    }
    let new = seen.tunnels.reasons.iter().chain(&seen.steering.reasons);
    let new: Vec<String> = new.filter(|one| !reasons.contains(one)).cloned().collect();
    reasons.extend(new);
    if oper_state == "pending" && all == 0 {
        reasons.push("no node that it is on was read yet".to_owned());
    }
    if !reasons.is_empty() {
        state.insert("message".into(), plain(&reasons.join("; ")).into());
    }
    if !seen.points.is_empty() {
        state.insert("access-point".into(), seen.points.into());
    }
    if let Some(cells) = seen.cells.json() {
        state.insert("cell".into(), cells);
    }
    if let Some(backhaul) = seen.tunnels.json(slice, noted) {
        state.insert("backhaul".into(), backhaul);
    }
    if let Some(steering) = seen.steering.json() {
        state.insert("steering".into(), steering);
    }
    state.into()
}

/// What the last period showed of a radio.
#[derive(Default)]
struct RadioSeen<'a> {
    busy: Option<f64>,
    domain: Option<&'a str>,
    hears: Vec<&'a RadioId>,
}

/// By node and name.
type Radios<'a> = HashMap<(&'a str, &'a str), RadioSeen<'a>>;

/// What the last period showed of the radios, of all nodes or of only one.
fn radios<'a>(noted: &'a Noted, only: Option<&str>) -> Radios<'a> {
    let mut seen = Radios::new();
    let mut note = |id: &'a RadioId, note: &dyn Fn(&mut RadioSeen<'a>)| {
        if only.is_none_or(|only| *id.node == *only) {
            note(seen.entry((&id.node, &id.radio)).or_default());
        }
    };
    for report in &noted.report.radios {
        note(&report.id, &|radio| radio.busy = Some(report.busy));
    }
    for (id, domain) in &noted.domains {
        note(id, &|radio| radio.domain = Some(domain));
    }
    for (one, other) in &noted.conflicts {
        note(one, &|radio| radio.hears.push(other));
        note(other, &|radio| radio.hears.push(one));
    }
    seen
}

fn radio_json(
    name: &str,
    radio: &Radio,
    observed: &Observed,
    seen: Option<&RadioSeen<'_>>,
) -> Value {
    let mut state = Map::new();
    state.insert("name".into(), name.into());
    state.insert("band".into(), radio.band.as_str().into());
    if let Some(channel) = radio.channel.and_then(|channel| u8::try_from(channel).ok()) {
        state.insert("channel".into(), channel.into());
    }
    if let Some(max) = radio.max_vifs {
        state.insert("max-vifs".into(), max.min(255).into());
    }
    let vifs = observed
        .vifs
        .values()
        .filter(|vif| vif.radio == name)
        .count();
    state.insert("vifs".into(), vifs.min(255).into());
    let Some(seen) = seen else {
        return state.into();
    };
    if let Some(busy) = seen.busy {
        state.insert("busy".into(), percent(busy));
    }
    if let Some(domain) = seen.domain {
        state.insert("domain".into(), domain.into());
    }
    let hears: Vec<Value> = seen.hears.iter().map(|id| id.to_string().into()).collect();
    if !hears.is_empty() {
        state.insert("hears".into(), hears.into());
    }
    state.into()
}

/// Airtime that every interface used to send in the last period, by node and name.
fn used(noted: &Noted) -> HashMap<(&str, &str), f64> {
    let radios = noted.report.radios.iter();
    radios
        .flat_map(|radio| {
            radio
                .vifs
                .iter()
                .map(|vif| ((radio.id.node.as_ref(), vif.name.as_ref()), vif.used))
        })
        .collect()
}

fn percent(value: f64) -> Value {
    format!("{:.2}", value.clamp(0.0, 100.0)).into()
}

/// Text of elsewhere as a YANG string may hold it (RFC 7950 9.4).
pub(super) fn plain(text: &str) -> String {
    let allowed = |c: char| !c.is_control() || matches!(c, '\t' | '\n');
    text.chars()
        .filter(|c| allowed(*c) && !matches!(c, '\u{fffe}' | '\u{ffff}'))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::Intent;
    use crate::scheduler::{
        Decision, DomainMeasure, NetworkReport, Period, RadioReport, Technology,
    };
    use crate::sla::{Moment, Record};
    use std::time::SystemTime;

    fn state(up: usize, reasons: &[&str], points: usize) -> Value {
        let slice = json!({ "slice": [{ "id": "a", "tenant": "t", "where": {},
                            "wifi": { "ssid": "a", "security": { "mode": "open" } } }] });
        let intent = Intent::from_json(&slice).unwrap();
        let reasons = reasons.iter().map(|r| (*r).to_owned()).collect();
        let seen = Seen {
            points: vec![json!({}); points],
            up,
            reasons,
            ..Seen::default()
        };
        slice_json(&intent.slices["a"], seen, &Noted::default())["oper-state"].clone()
    }

    #[test]
    fn a_path_says_whose_state_it_is_about() {
        assert!(is_of("/", "a") && is_of("/a:x", "a"));
        assert!(!is_of("/ab:x", "a") && !is_of("/b:x", "a"));
        let list = "/m:top/list[name=";
        assert_eq!(key("/m:top/list[name='x']/state", list), Some("x"));
        assert_eq!(key("/m:top/list[name=\"it's\"]", list), Some("it's"));
        assert_eq!(key("/m:top", list), None);
    }

    #[test]
    fn what_a_period_showed_is_found_by_radio() {
        let ids = ["n1", "n2"].map(|node| RadioId::new(node, "phy0"));
        let report = |id: &RadioId| {
            Arc::new(RadioReport {
                id: id.clone(),
                ended: Period(1),
                channel: None,
                busy: 80.0,
                vifs: Vec::new(),
                neighbours: Arc::default(),
            })
        };
        let mut record = Record::default();
        let mut noted = Noted {
            conflicts: vec![(ids[0].clone(), ids[1].clone())],
            report: NetworkReport {
                radios: ids.iter().map(report).collect(),
                cells: Vec::new(),
            },
            ..Noted::default()
        };
        let domain = DomainMeasure {
            technology: Technology::Airtime,
            refused: None,
            domain: "n1/phy0".into(),
            radios: ids.clone().into(),
            capacity: 80.0,
            external: 0.0,
            corrected: false,
        };
        let decision = Decision {
            domains: vec![domain],
            ..Decision::default()
        };
        let moment = Moment {
            sequence: 1,
            time: SystemTime::UNIX_EPOCH,
            enabled: true,
        };
        record.take(moment, &decision, |_| None);
        let domains = record.domains();
        noted.domains = domains
            .map(|(id, name)| (id.clone(), Arc::clone(name)))
            .collect();
        let all = radios(&noted, None);
        let second = &all[&("n2", "phy0")];
        assert_eq!((second.busy, second.domain), (Some(80.0), Some("n1/phy0")));
        assert_eq!(second.hears, [&ids[0]]);
        let one = radios(&noted, Some("n1"));
        assert_eq!(one.keys().collect::<Vec<_>>(), [&("n1", "phy0")]);
        assert_eq!(one[&("n1", "phy0")].hears, [&ids[1]]);
    }

    #[test]
    fn a_slice_is_as_well_as_its_access_points() {
        assert_eq!(state(0, &[], 0), "pending");
        assert_eq!(state(2, &[], 2), "active");
        assert_eq!(state(1, &["node n2 is away"], 2), "degraded");
        assert_eq!(state(0, &["node n2 is away"], 1), "degraded");
        assert_eq!(
            state(0, &["node n1: v is failed", "node n2 is away"], 2),
            "failed"
        );
    }
}
