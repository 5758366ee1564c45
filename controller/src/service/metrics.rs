//! Figures for Prometheus, in its text format: what a user may read, in base units, and nothing for each station.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::PoisonError;

use tranche_netconf::error::RpcError;
use tranche_yang::nacm::User;
use tranche_yang::{Node, Tree};

use super::Service;

/// Modules whose state has figures.
const MODULES: [&str; 4] = [
    "tranche-inventory",
    "tranche-slice",
    "tranche-sla",
    "tranche-commits",
];

/// One figure with its labels, and its value.
type Sample = (Vec<(&'static str, String)>, f64);

/// Figures of one name.
struct Family {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    samples: Vec<Sample>,
}

impl Service {
    /// All figures that a user may read.
    ///
    /// # Errors
    /// State that can't be made, which is a fault of ours.
    pub(crate) fn metrics(&self, user: &str) -> Result<String, Vec<RpcError>> {
        let one = |error: tranche_yang::Error| vec![error.to_rpc_error()];
        let published = self.published();
        let mut tree = published.shown.duplicate().map_err(one)?;
        for module in MODULES {
            for state in self.state(&format!("/{module}:"))? {
                tree.merge(&state).map_err(one)?;
            }
        }
        let tree = published.nacm.prune_read(&User::new(user), tree);
        let tree = tree.map_err(one)?;
        let mut text = String::new();
        for family in self.families(&tree).map_err(one)? {
            family.write(&mut text);
        }
        Ok(text)
    }

    fn families(&self, tree: &Tree) -> tranche_yang::Result<Vec<Family>> {
        let slices: Vec<Node<'_>> = tree.find("/tranche-slice:slices/slice")?.collect();
        let nodes: Vec<Node<'_>> = tree.find("/tranche-inventory:inventory/node")?.collect();
        let owed: Vec<Node<'_>> = tree.find("/tranche-sla:sla/slice/domain")?.collect();
        let states: Vec<Node<'_>> = tree.find("/tranche-sla:sla/slice")?.collect();
        let commits = tree.find("/tranche-commits:commits/commit")?;
        let newest = commits.filter_map(|commit| commit.get("id")?.parse::<u64>().ok());
        let state = "state/oper-state";
        let mut families = vec![
            counted(
                "tranche_slices",
                "Slices by state.",
                slices.iter().filter_map(|s| s.get(state)),
            ),
            counted(
                "tranche_nodes",
                "Nodes by state.",
                nodes.iter().filter_map(|n| n.get(state)),
            ),
            Family {
                name: "tranche_commits_total",
                kind: "counter",
                help: "Commits since the configuration began.",
                samples: Vec::from_iter(newest.max().map(|id| (Vec::new(), exact(id)))),
            },
        ];
        families.extend(promises(&owed));
        families.push(violated(&states));
        families.extend(delays(&slices));
        families.extend(tunnels(&slices));
        families.push(applications(&slices));
        families.extend(self.lifecycles(&slices));
        Ok(families)
    }

    /// Figures that are not in the state itself, each of those slices whose state shows what it is made of.
    fn lifecycles(&self, slices: &[Node<'_>]) -> [Family; 2] {
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut durations, mut failovers) = (Vec::new(), Vec::new());
        for slice in slices {
            let (Some(id), Some(backhaul)) = (slice.get("id"), slice.descend("state/backhaul"))
            else {
                continue;
            };
            let label = || ("slice", id.to_owned());
            let shows = |leaf: &str| backhaul.get(&format!("lifecycle/{leaf}")).is_some();
            if let Some(lifecycle) = live.lifecycles.get(id).filter(|_| shows("asked")) {
                let phases = [
                    ("committed", lifecycle.to_commit()),
                    ("first-packet", lifecycle.to_first_packet()),
                ];
                for (phase, took) in phases.into_iter().filter(|(phase, _)| shows(phase)) {
                    let labels = vec![label(), ("phase", phase.to_owned())];
                    durations.extend(took.map(|took| (labels, took)));
                }
            }
            if let Some(count) = live.failovers.get(id) {
                failovers.push((vec![label()], exact(*count)));
            }
        }
        [
            Family {
                name: "tranche_slice_lifecycle_seconds",
                kind: "gauge",
                help: "Time from the request for a backhaul to each phase.",
                samples: durations,
            },
            Family {
                name: "tranche_slice_failovers_total",
                kind: "counter",
                help: "Times that a node moved a slice's traffic from one hub to another.",
                samples: failovers,
            },
        ]
    }
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
fn exact(count: u64) -> f64 {
    count as f64
}

/// How many there are of each value.
fn counted<'a>(
    name: &'static str,
    help: &'static str,
    values: impl Iterator<Item = &'a str>,
) -> Family {
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for value in values {
        *counts.entry(value).or_default() += 1;
    }
    let samples = counts.into_iter();
    let samples = samples.map(|(state, n)| (vec![("state", state.to_owned())], f64::from(n)));
    Family {
        name,
        kind: "gauge",
        help,
        samples: samples.collect(),
    }
}

/// What slices are owed and used, by technology, and how often that was too little.
fn promises(domains: &[Node<'_>]) -> [Family; 7] {
    let shares = |technology: &str, leaf: &str| -> Vec<Sample> {
        let of = domains.iter().filter_map(|domain| {
            let (labels, is_it) = place(domain, technology)?;
            let percent: f64 = domain.get(leaf)?.parse().ok()?;
            is_it.then_some((labels, percent / 100.0))
        });
        of.collect()
    };
    let prb = |leaf: &str| [shares("prb-down", leaf), shares("prb-up", leaf)].concat();
    let violations = domains.iter().filter_map(|domain| {
        let technology = domain.get("technology")?;
        let (mut labels, _) = place(domain, technology)?;
        labels.push(("technology", technology.to_owned()));
        Some((labels, domain.get("violations")?.parse().ok()?))
    });
    let gauge = |name, help, samples| Family {
        name,
        kind: "gauge",
        help,
        samples,
    };
    [
        gauge(
            "tranche_slice_airtime_owed_ratio",
            "Airtime that a slice is owed in a contention domain, as a ratio.",
            shares("airtime", "owed"),
        ),
        gauge(
            "tranche_slice_airtime_used_ratio",
            "Airtime that a slice used in a contention domain, as a ratio.",
            shares("airtime", "measured"),
        ),
        gauge(
            "tranche_slice_prb_owed_ratio",
            "PRB that a slice is owed of a cell, as a ratio.",
            prb("owed"),
        ),
        gauge(
            "tranche_slice_prb_used_ratio",
            "PRB that a slice used of a cell, as a ratio.",
            prb("measured"),
        ),
        gauge(
            "tranche_slice_aggregate_owed_ratio",
            "Mean share that a slice is owed over all contention domains and cells, as a ratio.",
            shares("aggregate", "owed"),
        ),
        gauge(
            "tranche_slice_aggregate_used_ratio",
            "Mean share that a slice used over all contention domains and cells, as a ratio.",
            shares("aggregate", "measured"),
        ),
        Family {
            name: "tranche_slice_sla_violations_total",
            kind: "counter",
            help: "Times that a promise was broken since the controller started.",
            samples: violations.collect(),
        },
    ]
}

/// The labels of a promise, and whether it is of that technology.
fn place(domain: &Node<'_>, technology: &str) -> Option<(Vec<(&'static str, String)>, bool)> {
    let mut labels = vec![("slice", domain.parent()?.get("id")?.to_owned())];
    let name = domain.get("name")?.to_owned();
    match technology {
        "prb-down" => labels.extend([("cell", name), ("direction", "down".to_owned())]),
        "prb-up" => labels.extend([("cell", name), ("direction", "up".to_owned())]),
        "aggregate" => {}
        _ => labels.push(("domain", name)),
    }
    Some((labels, domain.get("technology") == Some(technology)))
}

/// Which slices have a broken promise, of whatever technology.
fn violated(slices: &[Node<'_>]) -> Family {
    let samples = slices.iter().filter_map(|slice| {
        let is_violated = slice.get("state")? == "violated";
        let labels = vec![("slice", slice.get("id")?.to_owned())];
        Some((labels, f64::from(u8::from(is_violated))))
    });
    Family {
        name: "tranche_slice_sla_violated",
        kind: "gauge",
        help: "1 while any promise to a slice is broken.",
        samples: samples.collect(),
    }
}

/// How long packets waited on cells, where nodes measure it.
fn delays(slices: &[Node<'_>]) -> [Family; 2] {
    let family = |name, help, leaf: &str| {
        let mut samples = Vec::new();
        for slice in slices {
            let id = slice.get("id").unwrap_or_default();
            let cells = slice.descend("state").into_iter();
            for cell in cells.flat_map(|state| state.list("cell")) {
                let text = |leaf| cell.get(leaf).unwrap_or_default().to_owned();
                for direction in ["down", "up"] {
                    let us = cell.get(&format!("{leaf}-{direction}"));
                    let us: Option<f64> = us.and_then(|us| us.parse().ok());
                    let labels = vec![
                        ("slice", id.to_owned()),
                        ("cell", format!("{}/{}", text("node"), text("name"))),
                        ("direction", direction.to_owned()),
                    ];
                    samples.extend(us.map(|us| (labels, us / 1e6)));
                }
            }
        }
        Family {
            name,
            kind: "gauge",
            help,
            samples,
        }
    };
    [
        family(
            "tranche_slice_delay_mean_seconds",
            "Mean time that a slice's packets waited on a cell to be sent.",
            "delay",
        ),
        family(
            "tranche_slice_delay_p99_seconds",
            "What 99 % of a slice's packets waited on a cell at most.",
            "delay-p99",
        ),
    ]
}

/// Which applications of chains get packets.
fn applications(slices: &[Node<'_>]) -> Family {
    let text = |of: Node<'_>, leaf: &str| of.get(leaf).unwrap_or_default().to_owned();
    let mut samples = Vec::new();
    for slice in slices {
        let steering = slice.descend("state/steering");
        for node in steering.into_iter().flat_map(|it| it.list("node")) {
            for chain in node.list("chain") {
                for application in chain.list("application") {
                    let labels = vec![
                        ("slice", text(*slice, "id")),
                        ("node", text(node, "name")),
                        ("chain", text(chain, "name")),
                        ("application", text(application, "name")),
                    ];
                    let is_up = application.get("is-up") == Some("true");
                    samples.push((labels, f64::from(u8::from(is_up))));
                }
            }
        }
    }
    Family {
        name: "tranche_slice_application_up",
        kind: "gauge",
        help: "Whether packets are sent to an application of a chain: 1, or 0 while it is down.",
        samples,
    }
}

/// Figures of the tunnels.
fn tunnels(slices: &[Node<'_>]) -> [Family; 4] {
    let (mut ends, mut peers) = (HashMap::new(), HashMap::new());
    let (mut sent, mut received) = (Vec::new(), Vec::new());
    for slice in slices {
        let id = slice.get("id").unwrap_or_default();
        let Some(backhaul) = slice.descend("state/backhaul") else {
            continue;
        };
        for node in backhaul.list("node") {
            let key = |of: Node<'_>, leaf: &str| Some((id.to_owned(), of.get(leaf)?.to_owned()));
            if let Some(key) = key(node, "oper-state") {
                *ends.entry(key).or_insert(0u32) += 1;
            }
            let mut octets = [0.0, 0.0];
            for peer in node.list("peer") {
                if let Some(key) = key(peer, "state") {
                    *peers.entry(key).or_insert(0u32) += 1;
                }
                for (sum, leaf) in octets.iter_mut().zip(["tx-bytes", "rx-bytes"]) {
                    let more: Option<f64> = peer.get(leaf).and_then(|text| text.parse().ok());
                    *sum += more.unwrap_or(0.0);
                }
            }
            let name = node.get("name").unwrap_or_default().to_owned();
            let labels = vec![("slice", id.to_owned()), ("node", name)];
            sent.push((labels.clone(), octets[0]));
            received.push((labels, octets[1]));
        }
    }
    let by_state = |counts: HashMap<(String, String), u32>| {
        let samples = counts.into_iter();
        let samples = samples.map(|((slice, state), count)| {
            (vec![("slice", slice), ("state", state)], f64::from(count))
        });
        let mut samples: Vec<Sample> = samples.collect();
        samples.sort_by(|one, other| one.0.cmp(&other.0));
        samples
    };
    let family = |name, kind, help, samples| Family {
        name,
        kind,
        help,
        samples,
    };
    [
        family(
            "tranche_tunnels",
            "gauge",
            "Ends of a slice's tunnels by state.",
            by_state(ends),
        ),
        family(
            "tranche_tunnel_peers",
            "gauge",
            "Peers of those ends by state.",
            by_state(peers),
        ),
        family(
            "tranche_tunnel_transmit_bytes_total",
            "counter",
            "Sent into a slice's tunnels on the keys in force.",
            sent,
        ),
        family(
            "tranche_tunnel_receive_bytes_total",
            "counter",
            "Received from a slice's tunnels on the keys in force.",
            received,
        ),
    ]
}

impl Family {
    fn write(&self, text: &mut String) {
        let Self {
            name, kind, help, ..
        } = self;
        // Writing to a string can't fail.
        let _infallible = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in &self.samples {
            let labels: Vec<String> = labels
                .iter()
                .map(|(label, value)| format!("{label}=\"{}\"", escape(value)))
                .collect();
            let _infallible = match labels.is_empty() {
                true => writeln!(text, "{name} {value}"),
                false => writeln!(text, "{name}{{{}}} {value}", labels.join(",")),
            };
        }
    }
}

fn escape(value: &str) -> String {
    let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
    escaped.replace('\n', "\\n")
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
