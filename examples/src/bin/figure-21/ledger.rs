//! The arithmetic of the demo: reports in, shares out. No I/O, no clock.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;
use tranche_tests::telemetry::Report;

/// Over how much of the end of a run the promises are judged.
pub(crate) const VERDICT: Duration = Duration::from_secs(10);
/// Within how many points of what it is owed a tenant must be.
const TOLERANCE: f64 = 2.0;

/// What one tenant is promised.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Promise {
    /// Identifier of the slice.
    pub(crate) slice: String,
    /// Whose it is.
    pub(crate) tenant: String,
    /// Percent of the airtime.
    pub(crate) owed: f64,
}

/// Reads the promises out of a body for `/data/tranche-slice:slices`.
pub(crate) fn promises(slices: &Value) -> anyhow::Result<Vec<Promise>> {
    let list = slices["tranche-slice:slices"]["slice"].as_array();
    let list = list.context("the slices are not {\"tranche-slice:slices\": {\"slice\": [...]}}")?;
    let promises: Vec<Promise> = list.iter().map(promise).collect::<anyhow::Result<_>>()?;
    if promises.is_empty() {
        bail!("there is no slice");
    }
    Ok(promises)
}

fn promise(slice: &Value) -> anyhow::Result<Promise> {
    let id = slice["id"].as_str().context("a slice has no id")?;
    let tenant = slice["tenant"]
        .as_str()
        .with_context(|| format!("slice {id} has no tenant"))?;
    let ratio = &slice["sla"]["airtime"]["min-ratio"];
    let owed = ratio.as_str().and_then(|text| text.parse().ok());
    let owed = owed.with_context(|| {
        format!(
            "slice {id}: sla/airtime/min-ratio is {ratio}, not a decimal in quotes such as \"30.0\""
        )
    })?;
    Ok(Promise {
        slice: id.to_owned(),
        tenant: tenant.to_owned(),
        owed,
    })
}

/// What one slice got over some time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Got {
    /// Percent of what all slices together used.
    pub(crate) share: f64,
    /// Percent of the whole time.
    pub(crate) wall: f64,
}

/// The reports of one node, oldest first: how long each was, and percent used by slice.
type Heard = VecDeque<(Duration, BTreeMap<String, f64>)>;

/// Airtime by slice, from the reports of all nodes. Time is what the reports say, not when they came.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Per node.
    reports: BTreeMap<String, Heard>,
    /// Per node how many of them no period has seen yet.
    fresh: BTreeMap<String, usize>,
}

impl Ledger {
    /// Takes a report in.
    pub(crate) fn add(&mut self, report: &Report) {
        let mut used = BTreeMap::new();
        for vif in &report.vifs {
            *used.entry(vif.slice.clone()).or_default() += vif.used;
        }
        let reports = self.reports.entry(report.node.clone()).or_default();
        reports.push_back((report.interval, used));
        let kept: Duration = reports.iter().map(|(interval, _)| *interval).sum();
        // Twice the longest time that anybody asks about.
        if kept > 2 * VERDICT {
            reports.pop_front();
        }
        *self.fresh.entry(report.node.clone()).or_default() += 1;
    }

    /// What came since this was last asked; `None` where a node has said nothing.
    pub(crate) fn period(&mut self, nodes: usize, promises: &[Promise]) -> Option<Vec<Got>> {
        let fresh = std::mem::take(&mut self.fresh);
        if fresh.len() < nodes {
            return None;
        }
        Some(self.sum(promises, |node, reports| {
            fresh.get(node).copied().unwrap_or(0).min(reports.len())
        }))
    }

    /// What came during the last `length` of each node's time; `None` where there was less.
    pub(crate) fn last(
        &self,
        length: Duration,
        nodes: usize,
        promises: &[Promise],
    ) -> Option<Vec<Got>> {
        let enough = |reports: &Heard| {
            let mut sum = Duration::ZERO;
            reports.iter().rev().position(|(interval, _)| {
                sum += *interval;
                sum >= length
            })
        };
        if self.reports.len() < nodes
            || self
                .reports
                .values()
                .any(|reports| enough(reports).is_none())
        {
            return None;
        }
        Some(self.sum(promises, |_, reports| {
            enough(reports).map_or(0, |position| position + 1)
        }))
    }

    /// Sums over the newest reports of each node, as many as `count` says.
    fn sum(&self, promises: &[Promise], count: impl Fn(&str, &Heard) -> usize) -> Vec<Got> {
        let wall: Vec<f64> = promises
            .iter()
            .map(|promise| {
                let of_node = |(node, reports): (&String, &Heard)| {
                    let newest = reports.iter().rev().take(count(node, reports));
                    let (mut time, mut airtime) = (0.0, 0.0);
                    for (interval, used) in newest {
                        time += interval.as_secs_f64();
                        airtime += interval.as_secs_f64()
                            * used.get(&promise.slice).copied().unwrap_or(0.0);
                    }
                    if time > 0.0 { airtime / time } else { 0.0 }
                };
                self.reports.iter().map(of_node).sum()
            })
            .collect();
        let all: f64 = wall.iter().sum();
        let share = |wall: f64| if all > 0.0 { 100.0 * wall / all } else { 0.0 };
        wall.into_iter()
            .map(|wall| Got {
                share: share(wall),
                wall,
            })
            .collect()
    }
}

/// Whether everybody got what was promised, and the line that says so.
pub(crate) fn verdict(promises: &[Promise], got: &[Got]) -> (bool, String) {
    let met = promises
        .iter()
        .zip(got)
        .all(|(p, g)| (g.share - p.owed).abs() <= TOLERANCE);
    let tenants: Vec<String> = promises
        .iter()
        .zip(got)
        .map(|(p, g)| format!("{} owed {:.1} got {:.1}", p.tenant, p.owed, g.share))
        .collect();
    (
        met,
        format!(
            "sla: {}: {}",
            tenants.join(", "),
            if met { "met" } else { "missed" }
        ),
    )
}

#[cfg(test)]
mod tests {
    use tranche_tests::telemetry::Vif;

    use super::*;

    fn report(node: &str, seconds: u64, used: &[(&str, f64)]) -> Report {
        let vifs = used.iter().map(|(slice, used)| Vif {
            name: format!("v-{slice}"),
            slice: (*slice).to_owned(),
            used: *used,
            backlogged: true,
            effective_min: 0.0,
            effective_max: 100.0,
        });
        Report {
            node: node.to_owned(),
            sequence: 1,
            interval: Duration::from_secs(seconds),
            vifs: vifs.collect(),
        }
    }

    fn two() -> Vec<Promise> {
        promises(&tranche_tests::figure_21::slices()).unwrap()
    }

    #[test]
    fn the_example_promises_30_and_70() {
        let promises = two();
        let owed: Vec<_> = promises
            .iter()
            .map(|p| (p.tenant.as_str(), p.owed))
            .collect();
        assert_eq!(owed, [("A", 30.0), ("B", 70.0)]);
    }

    #[test]
    fn a_period_weighs_reports_by_their_length_and_adds_nodes() {
        let mut ledger = Ledger::default();
        ledger.add(&report("n1", 1, &[("tenant-a", 20.0)]));
        assert_eq!(ledger.period(2, &two()), None);
        ledger.add(&report("n1", 1, &[("tenant-a", 20.0), ("tenant-b", 0.0)]));
        ledger.add(&report("n1", 3, &[("tenant-a", 40.0)]));
        ledger.add(&report("n2", 1, &[("tenant-b", 45.0)]));
        let got = ledger.period(2, &two()).unwrap();
        assert!((got[0].wall - 35.0).abs() < 1e-9, "{got:?}");
        assert!((got[1].wall - 45.0).abs() < 1e-9, "{got:?}");
        assert!((got[0].share - 43.75).abs() < 1e-9, "{got:?}");
        assert_eq!(ledger.period(2, &two()), None);
    }

    #[test]
    fn the_last_seconds_forget_what_was_before() {
        let mut ledger = Ledger::default();
        for second in 0..30 {
            let (a, b) = if second < 20 {
                (45.0, 45.0)
            } else {
                (27.0, 63.0)
            };
            ledger.add(&report("n1", 1, &[("tenant-a", a)]));
            ledger.add(&report("n2", 1, &[("tenant-b", b)]));
            assert_eq!(
                ledger.last(VERDICT, 2, &two()).is_some(),
                second >= 9,
                "{second}"
            );
        }
        let got = ledger.last(VERDICT, 2, &two()).unwrap();
        let (met, line) = verdict(&two(), &got);
        assert_eq!(
            (met, line.as_str()),
            (true, "sla: A owed 30.0 got 30.0, B owed 70.0 got 70.0: met")
        );
        let got = [
            Got {
                share: 33.0,
                wall: 30.0,
            },
            Got {
                share: 67.0,
                wall: 61.0,
            },
        ];
        let (met, line) = verdict(&two(), &got);
        assert_eq!(
            (met, line.as_str()),
            (
                false,
                "sla: A owed 30.0 got 33.0, B owed 70.0 got 67.0: missed"
            )
        );
    }
}
