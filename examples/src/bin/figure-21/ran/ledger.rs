//! The arithmetic of the scene: reports in, shares out. No I/O, no clock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;
use tranche_tests::telemetry::Heard;

/// By how many points a tenant may be short of what it is owed.
const TOLERANCE: f64 = 2.0;
/// What the channel of an access point is called beside the cells: this and its number.
const WIFI: &str = "wi-fi ";

/// Whether a place is the channel of an access point.
pub(super) fn is_wifi(place: &str) -> bool {
    place.starts_with(WIFI)
}

/// What one tenant is promised, percent.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Promise {
    /// Identifier of the slice.
    pub(super) slice: String,
    /// Whose it is.
    pub(super) tenant: String,
    /// Of the airtime that tenants use.
    pub(super) airtime: f64,
    /// Of the downlink PRB of each cell.
    pub(super) prb: f64,
    /// Mean over Wi-Fi and all cells; 0: none.
    pub(super) aggregate: f64,
}

/// Reads the promises out of a body for `/data/tranche-slice:slices`.
pub(super) fn promises(slices: &Value) -> anyhow::Result<Vec<Promise>> {
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
    let tenant = slice["tenant"].as_str();
    let tenant = tenant.with_context(|| format!("slice {id} has no tenant"))?;
    let ratio = |value: &Value, at: &str| match value {
        Value::Null => Ok(0.0),
        value => {
            let ratio = value.as_str().and_then(|text| text.parse().ok());
            ratio.with_context(|| {
                format!("slice {id}: sla/{at} is {value}, not a decimal in quotes such as \"30.0\"")
            })
        }
    };
    let sla = &slice["sla"];
    Ok(Promise {
        slice: id.to_owned(),
        tenant: tenant.to_owned(),
        airtime: ratio(&sla["airtime"]["min-ratio"], "airtime/min-ratio")?,
        prb: ratio(&sla["prb"]["down"]["min-ratio"], "prb/down/min-ratio")?,
        aggregate: ratio(&sla["aggregate"]["min-ratio"], "aggregate/min-ratio")?,
    })
}

/// What one slice got over some time.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Got {
    /// By place: of Wi-Fi percent of what all slices used together, of cells percent of their PRB. Wi-Fi comes first.
    pub(super) share: Vec<(String, f64)>,
    /// Mean over all places of percent of the whole time, and of PRB.
    pub(super) mean: f64,
}

/// A report: how long, and percent used by place and slice.
type Entry = (Duration, BTreeMap<(String, String), f64>);

/// Reports of all nodes. Time is what the reports say, not when they came.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// By node and technology, oldest first.
    reports: BTreeMap<(String, bool), VecDeque<Entry>>,
    /// How many of them no period has seen yet.
    fresh: BTreeMap<(String, bool), usize>,
}

impl Ledger {
    /// Takes a report in. A node without interfaces says nothing of Wi-Fi.
    pub(super) fn add(&mut self, heard: &Heard) {
        let mut used: BTreeMap<(String, String), f64> = BTreeMap::new();
        let (from, interval) = match heard {
            Heard::Airtime(report) if report.vifs.is_empty() => return,
            Heard::Airtime(report) => {
                let place = format!("{WIFI}{}", report.node.trim_start_matches("node-"));
                for vif in &report.vifs {
                    *used.entry((place.clone(), vif.slice.clone())).or_default() += vif.used;
                }
                ((report.node.clone(), false), report.interval)
            }
            Heard::Prb { node, report } => {
                for of in &report.profiles {
                    *used.entry((of.cell.clone(), of.slice.clone())).or_default() +=
                        of.directions[0].used;
                }
                ((node.clone(), true), report.interval)
            }
        };
        let reports = self.reports.entry(from.clone()).or_default();
        reports.push_back((interval, used));
        let kept: Duration = reports.iter().map(|(interval, _)| *interval).sum();
        // Twice the longest time that anybody asks about.
        if kept > 2 * crate::ledger::VERDICT {
            reports.pop_front();
        }
        *self.fresh.entry(from).or_default() += 1;
    }

    /// What came since this was last asked; `None` where one of those that reported before has said nothing.
    pub(super) fn since_last(&mut self, promises: &[Promise]) -> Option<Vec<Got>> {
        let fresh = std::mem::take(&mut self.fresh);
        if fresh.is_empty() || fresh.len() < self.reports.len() {
            return None;
        }
        let count = |from: &(String, bool), _: &VecDeque<Entry>| fresh.get(from).copied();
        self.sum(promises, count)
    }

    /// What came during the last `length` of each node's time; `None` where there was less.
    pub(super) fn last(&self, length: Duration, promises: &[Promise]) -> Option<Vec<Got>> {
        let count = |_: &(String, bool), reports: &VecDeque<Entry>| {
            let mut sum = Duration::ZERO;
            let enough = reports.iter().rev().position(|(interval, _)| {
                sum += *interval;
                sum >= length
            });
            enough.map(|position| position + 1)
        };
        self.sum(promises, count)
    }

    /// Sums over the newest reports of each node, as many as `count` says.
    fn sum(
        &self,
        promises: &[Promise],
        count: impl Fn(&(String, bool), &VecDeque<Entry>) -> Option<usize>,
    ) -> Option<Vec<Got>> {
        let mut used: BTreeMap<(String, String), f64> = BTreeMap::new();
        for (from, reports) in &self.reports {
            let newest = || reports.iter().rev();
            let count = count(from, reports)?;
            let time: f64 = newest()
                .take(count)
                .map(|(time, _)| time.as_secs_f64())
                .sum();
            for (interval, shares) in newest().take(count) {
                for (at, share) in shares {
                    *used.entry(at.clone()).or_default() += share * interval.as_secs_f64() / time;
                }
            }
        }
        let places: BTreeSet<&String> = used.keys().map(|(place, _)| place).collect();
        let mut places: Vec<&str> = places.into_iter().map(String::as_str).collect();
        places.sort_by_key(|place| !is_wifi(place));
        let of = |place: &str, slice: &str| {
            let at = (place.to_owned(), slice.to_owned());
            used.get(&at).copied().unwrap_or(0.0)
        };
        let all = |place: &str| -> f64 { promises.iter().map(|one| of(place, &one.slice)).sum() };
        let got = promises.iter().map(|promise| {
            let wall = |place: &&str| of(place, &promise.slice);
            let share = |place: &&str| match all(place) {
                all if is_wifi(place) && all > 0.0 => 100.0 * wall(place) / all,
                _ => wall(place),
            };
            Got {
                share: places
                    .iter()
                    .map(|place| ((*place).to_owned(), share(place)))
                    .collect(),
                mean: places.iter().map(wall).sum::<f64>() / places.len() as f64,
            }
        });
        Some(got.collect())
    }
}

/// Whether everybody got what was promised, and the line that says so.
pub(super) fn verdict(promises: &[Promise], got: &[Got]) -> (bool, String) {
    let mut met = true;
    let mut judge = |name: &str, owed: f64, got: f64| {
        met &= got >= owed - TOLERANCE;
        format!("{name} owed {owed:.1} got {got:.1}")
    };
    let mut tenants = Vec::new();
    for (promise, got) in promises.iter().zip(got) {
        let owed = |place: &str| match is_wifi(place) {
            true => promise.airtime,
            false => promise.prb,
        };
        let shares = got.share.iter();
        let mut parts: Vec<String> = shares
            .map(|(place, share)| judge(place, owed(place), *share))
            .collect();
        if promise.aggregate > 0.0 {
            parts.push(judge("aggregate", promise.aggregate, got.mean));
        }
        tenants.push(format!("{} {}", promise.tenant, parts.join(", ")));
    }
    let outcome = if met { "met" } else { "missed" };
    (met, format!("sla: {}: {outcome}", tenants.join("; ")))
}

#[cfg(test)]
mod tests {
    use tranche_tests::prb::{OnCell, PrbReport, PrbUse};
    use tranche_tests::telemetry::{Report, Vif};

    use super::*;

    fn airtime(node: &str, used: &[(&str, f64)]) -> Heard {
        let vifs = used.iter().map(|(slice, used)| Vif {
            name: format!("v-{slice}"),
            slice: (*slice).to_owned(),
            used: *used,
            backlogged: true,
            effective_min: 0.0,
            effective_max: 100.0,
        });
        Heard::Airtime(Report {
            node: node.to_owned(),
            sequence: 1,
            interval: Duration::from_secs(1),
            vifs: vifs.collect(),
        })
    }

    fn prb(cell: &str, used: &[(&str, f64)]) -> Heard {
        let use_of = |used| PrbUse {
            used,
            throughput: 0,
            delay: None,
        };
        let profiles = used.iter().map(|(slice, used)| OnCell {
            cell: cell.to_owned(),
            slice: (*slice).to_owned(),
            ues: 1,
            directions: [use_of(*used), use_of(0.0)],
        });
        let report = PrbReport {
            interval: Duration::from_secs(1),
            profiles: profiles.collect(),
        };
        Heard::Prb {
            node: "node-3".to_owned(),
            report,
        }
    }

    fn two() -> Vec<Promise> {
        promises(&tranche_tests::ran::slices()).unwrap()
    }

    #[test]
    fn the_example_promises_both_technologies_and_an_aggregate_to_one() {
        let promises = two();
        let owed: Vec<_> = promises
            .iter()
            .map(|p| (p.airtime, p.prb, p.aggregate))
            .collect();
        assert_eq!(owed, [(20.0, 20.0, 40.0), (30.0, 30.0, 0.0)]);
    }

    #[test]
    fn airtime_is_a_share_of_what_is_used_and_the_mean_one_of_the_time() {
        let mut ledger = Ledger::default();
        for (a, b) in [(10.0, 20.0), (20.0, 10.0)] {
            ledger.add(&airtime("node-1", &[("tenant-a", a), ("tenant-b", b)]));
            ledger.add(&airtime(
                "node-2",
                &[("tenant-a", 30.0), ("tenant-b", 10.0)],
            ));
            ledger.add(&airtime("node-3", &[]));
            ledger.add(&prb("nr", &[("tenant-a", 60.0), ("tenant-b", 40.0)]));
        }
        let got = ledger.since_last(&two()).unwrap();
        let places = [("wi-fi 1", 50.0), ("wi-fi 2", 75.0), ("nr", 60.0)];
        let places = places.map(|(place, share)| (place.to_owned(), share));
        assert_eq!(got[0].share, places);
        assert!((got[0].mean - 35.0).abs() < 1e-9, "{got:?}");
        assert_eq!(ledger.since_last(&two()), None);
        assert_eq!(ledger.last(Duration::from_secs(3), &two()), None);
        assert!(ledger.last(Duration::from_secs(2), &two()).is_some());
    }

    #[test]
    fn more_than_what_is_owed_is_met_and_less_is_missed() {
        let got = |air: f64, nr: f64, mean: f64| Got {
            share: vec![("wi-fi 1".to_owned(), air), ("nr".to_owned(), nr)],
            mean,
        };
        let (met, line) = verdict(&two(), &[got(60.0, 65.0, 39.0), got(29.0, 30.0, 30.0)]);
        assert_eq!(
            (met, line.as_str()),
            (
                true,
                "sla: A wi-fi 1 owed 20.0 got 60.0, nr owed 20.0 got 65.0, aggregate owed 40.0 got 39.0; \
                 B wi-fi 1 owed 30.0 got 29.0, nr owed 30.0 got 30.0: met"
            )
        );
        for short in [
            [got(17.0, 65.0, 41.0), got(50.0, 30.0, 30.0)],
            [got(60.0, 65.0, 37.0), got(50.0, 30.0, 30.0)],
            [got(60.0, 65.0, 41.0), got(50.0, 27.0, 30.0)],
        ] {
            let (met, line) = verdict(&two(), &short);
            assert!(!met && line.ends_with(": missed"), "{line}");
        }
    }
}
