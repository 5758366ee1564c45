//! What is seen of cells: those of the nodes, and what slices have of them.

use serde_json::{Map, Value};

use super::Service;
use super::state::plain;
use crate::device::DeviceState;
use crate::intent::{AdminState, NodePlan, ProfileConfig, Ratio, unpromised_prb};
use crate::inventory::{Cell, Observed, Profile};

/// What is seen of the cells of one slice.
#[derive(Debug, Default)]
pub(super) struct SeenCells {
    entries: Vec<Value>,
    /// Cells of which something is expected: not those where the slice is locked.
    in_service: usize,
    /// Of those, the ones that carry it with a core that has accepted it.
    pub(super) up: usize,
    /// The ones where no core has answered yet.
    pub(super) pending: usize,
    /// The ones that carry it and have no core.
    pub(super) degraded: usize,
    /// Why not all are active.
    pub(super) reasons: Vec<String>,
}

/// A slice profile on one cell of a node, as it should be and as it is.
struct OnCell<'a> {
    node: &'a str,
    profile: &'a str,
    cell: &'a str,
    wanted: &'a ProfileConfig,
    has: Option<&'a Profile>,
    on: Option<&'a Cell>,
    connected: bool,
}

impl OnCell<'_> {
    /// State and cause.
    fn state(&self) -> (&str, Option<String>) {
        if !self.connected {
            return ("unknown", None);
        }
        let Some(has) = self.has else {
            let why = format!("the node has no slice profile {}", self.profile);
            return ("failed", Some(why));
        };
        let state = has.state.oper_state.as_deref().unwrap_or("unknown");
        let cell = self.on.and_then(|cell| cell.oper_state.as_deref());
        if state != "disabled" && cell != Some("up") {
            return ("down", Some("the cell is not in service".to_owned()));
        }
        (state, has.state.cause.clone())
    }
}

impl SeenCells {
    fn take(&mut self, one: &OnCell<'_>) {
        let (state, cause) = one.state();
        let mut entry = Map::new();
        for (leaf, text) in [
            ("node", one.node),
            ("name", one.cell),
            ("profile", one.profile),
            ("oper-state", state),
        ] {
            entry.insert(leaf.into(), text.into());
        }
        if let Some(cell) = one.on {
            entry.insert("rat".into(), cell.rat.as_str().into());
        }
        if let Some(cause) = &cause {
            entry.insert("cause".into(), plain(cause).into());
        }
        if let Some(has) = one.has.filter(|_| one.connected) {
            if let Some(core) = &has.state.active_core {
                entry.insert("active-core".into(), core.as_str().into());
            }
            if let Some(there) = has.state.cells.get(one.cell) {
                if let Some(ues) = there.ues {
                    entry.insert("ues".into(), ues.into());
                }
                ratios(&mut entry, ["used-down", "used-up"], there.used);
                let names = ["throughput-down", "throughput-up"];
                for (name, rate) in names.into_iter().zip(there.throughput) {
                    if let Some(rate) = rate {
                        entry.insert(name.into(), rate.to_string().into());
                    }
                }
                let mean = ["delay-down", "delay-up"];
                let p99 = ["delay-p99-down", "delay-p99-up"];
                let delays = there.delay_us.into_iter().chain(there.delay_p99_us);
                for (name, us) in mean.into_iter().chain(p99).zip(delays) {
                    if let Some(us) = us {
                        entry.insert(name.into(), us.into());
                    }
                }
            }
        }
        self.entries.push(entry.into());
        if one.wanted.admin_state == AdminState::Locked && state == "disabled" {
            return;
        }
        self.in_service += 1;
        match state {
            "active" => {
                self.up += 1;
                return;
            }
            "pending" => self.pending += 1,
            "degraded" => self.degraded += 1,
            _ => {}
        }
        let (node, cell) = (one.node, one.cell);
        self.reasons.push(match cause {
            _ if !one.connected => format!("node {node} is away"),
            Some(cause) => format!("node {node}: cell {cell} is {state}: {cause}"),
            None => format!("node {node}: cell {cell} is {state}"),
        });
    }

    /// How many cells something is expected of.
    pub(super) fn in_service(&self) -> usize {
        self.in_service
    }

    /// Whether the slice is locked on all of its cells, of which it has some.
    pub(super) fn all_locked(&self) -> bool {
        self.in_service == 0 && !self.entries.is_empty()
    }

    /// `state/cell`, where there is any.
    pub(super) fn json(self) -> Option<Value> {
        (!self.entries.is_empty()).then(|| self.entries.into())
    }
}

impl Service {
    /// What is seen of the cells that slices should have at a node, of all slices or of only one.
    pub(super) fn look_at_cells(
        &self,
        node: &str,
        only: Option<&str>,
        mut seen: impl FnMut(&str, &dyn Fn(&mut SeenCells)),
    ) {
        let plan = self.network.wanted(node).unwrap_or_default();
        if plan.profiles.is_empty() {
            return;
        }
        let Some(device) = self.network.fleet().device(node) else {
            return;
        };
        let status = device.status();
        let observed = status.observed.as_deref();
        let wanted = plan.profiles.iter();
        for (name, wanted) in wanted.filter(|(_, one)| only.is_none_or(|only| one.slice == only)) {
            let take = |cells: &mut SeenCells| {
                for cell in &wanted.cells {
                    cells.take(&OnCell {
                        node,
                        profile: name,
                        cell,
                        wanted,
                        has: observed.and_then(|observed| observed.profiles.get(name)),
                        on: observed.and_then(|observed| observed.cells.get(cell)),
                        connected: status.state == DeviceState::Connected,
                    });
                }
            };
            seen(&wanted.slice, &take);
        }
    }
}

/// The cells of a node (`inventory/node/state/cell`).
pub(super) fn cells_json(plan: &NodePlan, observed: &Observed, connected: bool) -> Value {
    let cells = observed.cells.iter().map(|(name, cell)| {
        let mut state = Map::new();
        state.insert("name".into(), name.as_str().into());
        state.insert("rat".into(), cell.rat.as_str().into());
        state.insert("bandwidth-prb".into(), cell.bandwidth_prb.into());
        let oper_state = cell.oper_state.as_deref().filter(|_| connected);
        state.insert("oper-state".into(), oper_state.unwrap_or("unknown").into());
        if let Some(ues) = cell.ues.filter(|_| connected) {
            state.insert("ues".into(), ues.into());
        }
        let on_it = observed
            .profiles
            .values()
            .map(|profile| &profile.config)
            .filter(|config| config.cells.contains(name));
        let plmns: std::collections::BTreeSet<_> =
            on_it.map(|config| (&config.mcc, &config.mnc)).collect();
        state.insert("plmns".into(), plmns.len().into());
        if let Some(max) = cell.max_plmns {
            state.insert("max-plmns".into(), max.into());
        }
        if connected {
            ratios(&mut state, ["used-down", "used-up"], cell.used);
        }
        let left = unpromised_prb(plan, observed, name);
        let names = ["unpromised-down", "unpromised-up"];
        ratios(&mut state, names, left.map(Some));
        Value::from(state)
    });
    cells.collect()
}

fn ratios(entry: &mut Map<String, Value>, names: [&str; 2], ratios: [Option<Ratio>; 2]) {
    for (name, ratio) in names.into_iter().zip(ratios) {
        if let Some(ratio) = ratio {
            entry.insert(name.into(), ratio.to_string().into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::{Prb, Rat};
    use crate::inventory::{ProfileOnCell, ProfileState};
    use std::collections::BTreeMap;

    fn config(admin_state: AdminState) -> ProfileConfig {
        ProfileConfig {
            slice: "a".into(),
            admin_state,
            mcc: "001".into(),
            mnc: "01".into(),
            sst: None,
            sd: None,
            dnns: Default::default(),
            cells: ["c1".to_owned()].into(),
            cores: vec!["mme".into()],
            max_ues: None,
            prb: Prb::default(),
            access: Default::default(),
        }
    }

    fn cell(oper_state: &str) -> Cell {
        Cell {
            rat: Rat::Lte,
            bandwidth_prb: 50,
            max_plmns: Some(6),
            oper_state: Some(oper_state.into()),
            ues: Some(4),
            used: [Some(Ratio::from_percent(12.5)), None],
        }
    }

    fn profile(oper_state: &str, cause: Option<&str>) -> Profile {
        let on_cell = ProfileOnCell {
            ues: Some(3),
            used: [Some(Ratio::from_percent(10.0)), None],
            throughput: [Some(5_000_000), None],
            delay_us: [Some(1200), None],
            delay_p99_us: [Some(4000), None],
        };
        Profile {
            config: config(AdminState::Unlocked),
            foreign_parts: false,
            state: ProfileState {
                oper_state: Some(oper_state.into()),
                cause: cause.map(Into::into),
                active_core: Some("mme".into()),
                cells: BTreeMap::from([("c1".to_owned(), on_cell)]),
            },
        }
    }

    /// Takes one cell in.
    fn see(
        admin: AdminState,
        has: Option<&Profile>,
        on: &Cell,
        connected: bool,
    ) -> (SeenCells, Value) {
        let mut seen = SeenCells::default();
        seen.take(&OnCell {
            node: "n",
            profile: "a-lte",
            cell: "c1",
            wanted: &config(admin),
            has,
            on: Some(on),
            connected,
        });
        let entry = seen.entries[0].clone();
        (seen, entry)
    }

    #[test]
    fn a_cell_shows_what_the_node_says_of_it() {
        let (seen, entry) = see(
            AdminState::Unlocked,
            Some(&profile("active", None)),
            &cell("up"),
            true,
        );
        assert_eq!((seen.up, seen.in_service(), seen.reasons.len()), (1, 1, 0));
        assert_eq!(
            entry,
            serde_json::json!({
                "node": "n", "name": "c1", "profile": "a-lte", "rat": "lte", "oper-state": "active", "active-core": "mme",
                "ues": 3, "used-down": "10.00", "throughput-down": "5000000",
                "delay-down": 1200, "delay-p99-down": 4000,
            })
        );
    }

    #[test]
    fn a_cell_that_is_not_active_says_why() {
        let degraded = profile("degraded", Some("no core answers"));
        let active = profile("active", None);
        let table = [
            (
                Some(&degraded),
                "up",
                true,
                "degraded",
                "node n: cell c1 is degraded: no core answers",
            ),
            (
                Some(&active),
                "down",
                true,
                "down",
                "node n: cell c1 is down: the cell is not in service",
            ),
            (Some(&active), "up", false, "unknown", "node n is away"),
            (
                None,
                "up",
                true,
                "failed",
                "node n: cell c1 is failed: the node has no slice profile a-lte",
            ),
        ];
        for (has, on, connected, state, reason) in table {
            let (seen, entry) = see(AdminState::Unlocked, has, &cell(on), connected);
            assert_eq!((seen.up, &seen.reasons[0][..]), (0, reason));
            assert_eq!(entry["oper-state"], state);
        }
    }

    #[test]
    fn nothing_is_expected_where_the_slice_is_locked() {
        let locked = profile("disabled", None);
        let (seen, _) = see(AdminState::Locked, Some(&locked), &cell("up"), true);
        assert!(seen.all_locked() && seen.reasons.is_empty());
    }

    #[test]
    fn the_cells_of_a_node_say_what_is_left_of_them() {
        let mut owed = config(AdminState::Unlocked);
        owed.prb.down.min_ratio = Ratio::from_percent(30.0);
        let plan = NodePlan {
            profiles: [("a-lte".to_owned(), owed)].into(),
            ..NodePlan::default()
        };
        let observed = Observed {
            cells: [("c1".to_owned(), cell("up"))].into(),
            profiles: [("a-lte".to_owned(), profile("active", None))].into(),
            ..Observed::default()
        };
        let cells = cells_json(&plan, &observed, true);
        assert_eq!(
            cells,
            serde_json::json!([{
                "name": "c1", "rat": "lte", "bandwidth-prb": 50, "oper-state": "up", "ues": 4, "plmns": 1, "max-plmns": 6,
                "used-down": "12.50", "unpromised-down": "70.00", "unpromised-up": "100.00",
            }])
        );
        let away = cells_json(&plan, &observed, false);
        assert_eq!(
            (&away[0]["oper-state"], &away[0]["ues"]),
            (&"unknown".into(), &Value::Null)
        );
    }
}
