//! The newest figures of cells: those of the last period's reports, put over those of a reading that is older. A node is read now and
//! then, and when something changes there; it reports every second.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::scheduler::{CellReport, NetworkReport};

/// Reports this many periods older than the newest one say nothing about now.
const STALE: u64 = 2;

/// Of the cells of a node (`inventory/node/state/cell`).
pub(super) fn node_cells(cells: &mut Value, node: &str, report: &NetworkReport) {
    for entry in entries(cells) {
        if let Some(cell) = find(report, node, entry) {
            put(entry, "ues", cell.ues.map(Value::from));
            put(entry, "used-down", cell.used_down.map(percent));
            put(entry, "used-up", cell.used_up.map(percent));
        }
    }
}

/// Of the cells of a slice (`slices/slice/state/cell`). `is_read` says of a node whether it was read since the report.
pub(super) fn slice_cells(
    cells: &mut Value,
    report: &NetworkReport,
    is_read: impl Fn(&str) -> bool,
) {
    for entry in entries(cells) {
        let node = text(entry, "node").to_owned();
        if is_read(&node) {
            continue;
        }
        let profile = find(report, &node, entry).and_then(|cell| {
            let name = text(entry, "profile");
            cell.profiles.iter().find(|profile| *profile.name == *name)
        });
        if let Some(profile) = profile {
            let rate = |rate: u64| Value::from(rate.to_string());
            put(entry, "ues", profile.ues.map(Value::from));
            put(entry, "used-down", profile.down.used.map(percent));
            put(entry, "used-up", profile.up.used.map(percent));
            put(entry, "throughput-down", profile.down.throughput.map(rate));
            put(entry, "throughput-up", profile.up.throughput.map(rate));
            for (direction, of) in [("down", &profile.down), ("up", &profile.up)] {
                set(entry, &format!("delay-{direction}"), of.delay_us);
                set(entry, &format!("delay-p99-{direction}"), of.delay_p99_us);
            }
        }
    }
}

fn entries(list: &mut Value) -> impl Iterator<Item = &mut Map<String, Value>> {
    let list = list.as_array_mut().into_iter().flatten();
    list.filter_map(Value::as_object_mut)
}

/// The report of the cell of an entry, if it is of now and the node is there.
fn find<'a>(
    report: &'a NetworkReport,
    node: &str,
    entry: &Map<String, Value>,
) -> Option<&'a Arc<CellReport>> {
    let newest = report.cells.iter().map(|cell| cell.ended).max()?;
    let name = text(entry, "name");
    let is_it = |cell: &&Arc<CellReport>| *cell.id.node == *node && *cell.id.radio == *name;
    let cell = report.cells.iter().find(is_it)?;
    let is_there = text(entry, "oper-state") != "unknown";
    (is_there && newest.since(cell.ended) <= STALE).then_some(cell)
}

fn text<'a>(entry: &'a Map<String, Value>, leaf: &str) -> &'a str {
    entry.get(leaf).and_then(Value::as_str).unwrap_or_default()
}

fn put(entry: &mut Map<String, Value>, leaf: &str, value: Option<Value>) {
    if let Some(value) = value {
        entry.insert(leaf.to_owned(), value);
    }
}

/// Nothing was sent where there is none: what was read before does not hold any more.
fn set(entry: &mut Map<String, Value>, leaf: &str, value: Option<u32>) {
    match value {
        Some(value) => drop(entry.insert(leaf.to_owned(), value.into())),
        None => drop(entry.remove(leaf)),
    }
}

fn percent(value: f64) -> Value {
    format!("{:.2}", value.clamp(0.0, 100.0)).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::{CellId, Period, PrbUse, ProfileReport};
    use serde_json::json;

    fn report(ended: [u64; 2]) -> NetworkReport {
        let cell = |name: &str, ended| CellReport {
            id: CellId::new("n", name),
            ended: Period(ended),
            sequence: 1,
            bandwidth_prb: Some(50),
            ues: Some(7),
            used_down: Some(99.5),
            used_up: None,
            profiles: vec![ProfileReport {
                name: "a-nr".into(),
                slice: Some("a".into()),
                ues: Some(4),
                down: PrbUse {
                    used: Some(40.0),
                    throughput: Some(5_000_000),
                    delay_us: Some(1500),
                    ..PrbUse::default()
                },
                up: PrbUse::default(),
            }],
        };
        let cells = [("c1", ended[0]), ("c2", ended[1])];
        NetworkReport {
            cells: cells
                .map(|(name, ended)| Arc::new(cell(name, ended)))
                .into(),
            ..NetworkReport::default()
        }
    }

    #[test]
    fn figures_of_now_replace_those_of_the_last_reading_and_old_ones_do_not() {
        let entry = |name: &str, state: &str| json!({ "name": name, "oper-state": state, "ues": 1, "used-up": "2.00" });
        let mut cells = json!([entry("c1", "up"), entry("c2", "up"), entry("c1", "unknown")]);
        node_cells(&mut cells, "n", &report([9, 4]));
        assert_eq!(
            (&cells[0]["ues"], &cells[0]["used-down"]),
            (&json!(7), &json!("99.50"))
        );
        assert_eq!(cells[0]["used-up"], "2.00", "not measured");
        assert_eq!((&cells[1]["ues"], &cells[2]["ues"]), (&json!(1), &json!(1)));
    }

    #[test]
    fn a_slice_has_what_its_profile_has() {
        let mut cells = json!([
            { "node": "n", "name": "c1", "profile": "a-nr", "oper-state": "active", "delay-p99-up": 9 },
            { "node": "n", "name": "c1", "profile": "b-nr", "oper-state": "active" },
        ]);
        let before = cells.clone();
        slice_cells(&mut cells, &report([9, 9]), |node| node == "n");
        assert_eq!(cells, before, "the node was read since");
        slice_cells(&mut cells, &report([9, 9]), |_| false);
        assert_eq!(cells[0]["ues"], 4);
        assert_eq!(cells[0]["throughput-down"], "5000000");
        assert_eq!(cells[0]["delay-down"], 1500);
        assert!(cells[0].get("delay-p99-up").is_none(), "nothing was sent");
        assert!(cells[1].get("ues").is_none());
    }
}
