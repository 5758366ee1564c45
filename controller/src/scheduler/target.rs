//! What every vif should get: guaranteed floors first, the rest by weighted max-min.

use std::sync::Arc;

use super::fill::{Topology, water_fill};
use super::types::Sla;

/// A flow of a slice without SLA: best effort.
pub(crate) const BEST_EFFORT: u32 = u32::MAX;
/// Weight of best effort against guarantees (fractions) when excess is shared out.
const BASE_WEIGHT: f64 = 0.05;

/// The flows of a period. All vectors have one entry per flow; airtime is a fraction of wall-clock time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flows {
    /// Flows of radio `i`: `first[i]..first[i + 1]`.
    pub(crate) first: Vec<u32>,
    /// Position in the SLA table, or [`BEST_EFFORT`].
    pub(crate) slice: Vec<u32>,
    /// What it asks for; infinite while backlogged, zero when idle or unknown.
    pub(crate) demand: Vec<f64>,
    /// What it sent.
    pub(crate) used: Vec<f64>,
    /// Whether its radio's report is fresh.
    pub(crate) known: Vec<bool>,
    /// Whether it had more to send, as far as is known.
    pub(crate) backlogged: Vec<bool>,
}

/// Guarantees around a radio exceed its capacity.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shortage {
    /// Centre of the row.
    pub(crate) row: u32,
    /// Sum of what the slices are owed and ask for, fraction of the row's capacity.
    pub(crate) asked: f64,
    /// Slices that get less.
    pub(crate) slices: Vec<u32>,
}

/// What every flow should get.
#[derive(Debug, Clone, Default)]
pub(crate) struct Targets {
    /// Target airtime: floor and its part of the excess.
    pub(crate) target: Vec<f64>,
    /// The guaranteed part of it, limited by demand, before it was scaled down for want of capacity.
    pub(crate) promised: Vec<f64>,
    /// What would be guaranteed if the whole slice asked for it: room kept open for an idle vif.
    pub(crate) entitled: Vec<f64>,
    /// Rows whose guarantees do not fit.
    pub(crate) shortages: Vec<Shortage>,
}

/// Computes floors and targets for rows of the given capacity.
pub(crate) fn targets(
    rows: &[Vec<u32>],
    flows: &Flows,
    capacity: &[f64],
    entries: &[(Arc<str>, Sla)],
) -> Targets {
    let topology = Topology {
        rows,
        first: &flows.first,
    };
    let Guarantees {
        floor,
        promised,
        entitled,
        limit,
        weight,
        shortages,
    } = guarantees(topology, flows, capacity, entries);
    let floors: Vec<f64> = (0..rows.len())
        .map(|radio| floor[topology.flows(radio)].iter().sum())
        .collect();
    let left = |(row, capacity): (&Vec<u32>, &f64)| {
        let taken: f64 = row.iter().map(|&member| floors[member as usize]).sum();
        (capacity - taken).max(0.0)
    };
    let left: Vec<f64> = rows.iter().zip(capacity).map(left).collect();
    let wanted: Vec<f64> = (0..floor.len())
        .map(|flow| (flows.demand[flow].min(limit[flow]) - floor[flow]).max(0.0))
        .collect();
    let mut target = water_fill(topology, &left, &weight, &wanted);
    for (target, floor) in target.iter_mut().zip(&floor) {
        *target += floor;
    }
    Targets {
        target,
        promised,
        entitled,
        shortages,
    }
}

struct Guarantees {
    floor: Vec<f64>,
    promised: Vec<f64>,
    entitled: Vec<f64>,
    limit: Vec<f64>,
    weight: Vec<f64>,
    shortages: Vec<Shortage>,
}

/// A slice within one row.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    present: u32,
    active: u32,
    light: f64,
    heavy: u32,
    heavy_demand: f64,
    level: f64,
    scale: f64,
}

/// A flow of the row at hand, gathered once because it is gone through three times.
#[derive(Clone, Copy)]
struct Member {
    flow: u32,
    slice: u32,
    demand: f64,
}

impl Tally {
    /// What the slice wants of the share it is owed here.
    fn asks(&self, owed: f64) -> f64 {
        (self.light + self.heavy_demand).min(owed)
    }
}

/// Floors that hold in every row: each row promises a slice its share, split evenly over the slice's vifs there (a light one
/// takes what it needs and leaves the rest to its sisters); a vif gets the least of what its rows promise.
fn guarantees(
    topology: Topology<'_>,
    flows: &Flows,
    capacity: &[f64],
    entries: &[(Arc<str>, Sla)],
) -> Guarantees {
    let count = flows.slice.len();
    let mut out = Guarantees {
        floor: vec![f64::INFINITY; count],
        promised: vec![f64::INFINITY; count],
        entitled: vec![f64::INFINITY; count],
        limit: vec![f64::INFINITY; count],
        weight: vec![BASE_WEIGHT; count],
        shortages: Vec::new(),
    };
    let mut tallies = vec![Tally::default(); entries.len()];
    let mut touched: Vec<u32> = Vec::new();
    let mut members: Vec<Member> = Vec::new();
    for (row, &capacity) in capacity.iter().enumerate() {
        members.clear();
        for &radio in &topology.rows[row] {
            members.extend(topology.flows(radio as usize).map(|flow| Member {
                flow: flow as u32,
                slice: flows.slice[flow],
                demand: flows.demand[flow],
            }));
        }
        tally(&members, &mut tallies, &mut touched);
        for &slice in &touched {
            let tally = &mut tallies[slice as usize];
            let owed = entries[slice as usize].1.min_ratio / 100.0 * capacity;
            tally.level = owed / f64::from(tally.active.max(1));
        }
        for &Member { slice, demand, .. } in &members {
            let Some(tally) = tallies.get_mut(slice as usize) else {
                continue;
            };
            if demand > tally.level {
                tally.heavy += 1;
                tally.heavy_demand += demand;
            } else {
                tally.light += demand;
            }
        }
        let asked = ask(&touched, &mut tallies, entries, capacity);
        if asked > capacity * (1.0 + 1e-9) {
            let slices = ration(&touched, &mut tallies, entries, capacity);
            out.shortages.push(Shortage {
                row: row as u32,
                asked: asked / capacity,
                slices,
            });
        }
        let own = topology.flows(row);
        for &Member {
            flow,
            slice,
            demand,
        } in &members
        {
            let (flow, slice) = (flow as usize, slice as usize);
            let Some(tally) = tallies.get(slice) else {
                out.floor[flow] = 0.0;
                out.promised[flow] = 0.0;
                out.entitled[flow] = 0.0;
                continue;
            };
            let sla = &entries[slice].1;
            let promised = demand.min(tally.level);
            out.promised[flow] = out.promised[flow].min(promised);
            out.floor[flow] = out.floor[flow].min(promised * tally.scale);
            let share = sla.min_ratio / 100.0 * capacity / f64::from(tally.present);
            out.entitled[flow] = out.entitled[flow].min(share);
            if sla.max_ratio < 100.0 {
                let most = sla.max_ratio / 100.0 * capacity / f64::from(tally.active.max(1));
                out.limit[flow] = out.limit[flow].min(most);
            }
            if own.contains(&flow) {
                out.weight[flow] =
                    (sla.min_ratio / 100.0 + BASE_WEIGHT) / f64::from(tally.active.max(1));
            }
        }
        for slice in touched.drain(..) {
            tallies[slice as usize] = Tally::default();
        }
    }
    out
}

fn tally(members: &[Member], tallies: &mut [Tally], touched: &mut Vec<u32>) {
    for member in members {
        let Some(tally) = tallies.get_mut(member.slice as usize) else {
            continue;
        };
        if tally.present == 0 {
            touched.push(member.slice);
        }
        tally.present += 1;
        tally.active += u32::from(member.demand > 0.0);
    }
}

/// Sets each slice's level: the most a vif of it is promised here. Returns the sum of what is promised.
fn ask(touched: &[u32], tallies: &mut [Tally], entries: &[(Arc<str>, Sla)], capacity: f64) -> f64 {
    let mut asked = 0.0;
    for &slice in touched {
        let tally = &mut tallies[slice as usize];
        let owed = entries[slice as usize].1.min_ratio / 100.0 * capacity;
        tally.scale = 1.0;
        if tally.heavy > 0 {
            tally.level = (owed - tally.light).max(0.0) / f64::from(tally.heavy);
        }
        asked += tally.asks(owed);
    }
    asked
}

/// Scales promises down to what there is: higher priorities first, equal ones alike. Returns who gets less.
fn ration(
    touched: &[u32],
    tallies: &mut [Tally],
    entries: &[(Arc<str>, Sla)],
    capacity: f64,
) -> Vec<u32> {
    let wanted = |slice: u32, tallies: &[Tally]| {
        tallies[slice as usize].asks(entries[slice as usize].1.min_ratio / 100.0 * capacity)
    };
    let priority = |slice: u32| entries[slice as usize].1.priority;
    let mut order: Vec<u32> = touched.to_vec();
    order.sort_unstable_by_key(|&slice| (std::cmp::Reverse(priority(slice)), slice));
    let mut left = capacity;
    let mut short = Vec::new();
    for group in order.chunk_by(|&a, &b| priority(a) == priority(b)) {
        let sum: f64 = group.iter().map(|&slice| wanted(slice, tallies)).sum();
        let scale = if sum > left { left / sum } else { 1.0 };
        left = (left - sum).max(0.0);
        for &slice in group {
            let wants = wanted(slice, tallies) > 0.0;
            tallies[slice as usize].scale = scale;
            if scale < 1.0 && wants {
                short.push(slice);
            }
        }
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MORE: f64 = f64::INFINITY;

    fn sla(min_ratio: f64, max_ratio: f64, priority: u8) -> (Arc<str>, Sla) {
        (
            "slice".into(),
            Sla {
                min_ratio,
                max_ratio,
                priority,
            },
        )
    }

    fn clique(radios: u32) -> Vec<Vec<u32>> {
        (0..radios).map(|_| (0..radios).collect()).collect()
    }

    /// One flow per radio.
    fn flows(slice: &[u32], demand: &[f64]) -> Flows {
        Flows {
            first: (0..=slice.len() as u32).collect(),
            slice: slice.to_vec(),
            demand: demand.to_vec(),
            used: vec![0.0; slice.len()],
            known: vec![true; slice.len()],
            backlogged: demand.iter().map(|demand| demand.is_infinite()).collect(),
        }
    }

    fn floors(
        rows: &[Vec<u32>],
        flows: &Flows,
        capacity: &[f64],
        entries: &[(Arc<str>, Sla)],
    ) -> Vec<f64> {
        guarantees(
            Topology {
                rows,
                first: &flows.first,
            },
            flows,
            capacity,
            entries,
        )
        .floor
    }

    fn check(found: &[f64], expected: &[f64]) {
        let same = found
            .iter()
            .zip(expected)
            .all(|(a, b)| (a - b).abs() < 1e-9);
        assert!(
            same && found.len() == expected.len(),
            "found {found:?}, expected {expected:?}"
        );
    }

    #[test]
    fn a_clique_gives_each_tenant_what_it_is_owed() {
        let got = targets(
            &clique(2),
            &flows(&[0, 1], &[MORE; 2]),
            &[0.8; 2],
            &[sla(30., 100., 0), sla(70., 100., 0)],
        );
        check(&got.target, &[0.24, 0.56]);
        check(&got.promised, &[0.24, 0.56]);
        assert!(got.shortages.is_empty());
    }

    #[test]
    fn a_light_vif_leaves_its_part_to_its_sister_and_the_rest_to_all() {
        // Slice 0 is owed 60 % on radios 0 and 1; radio 0 wants a tenth only.
        let got = targets(
            &clique(3),
            &flows(&[0, 0, BEST_EFFORT], &[0.1, MORE, MORE]),
            &[1.0; 3],
            &[sla(60., 100., 0)],
        );
        check(&got.promised, &[0.1, 0.5, 0.0]);
        assert!((got.target.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        assert!(got.target[1] > 0.5 && got.target[2] > 0.0);
    }

    #[test]
    fn an_idle_guarantee_is_lent_and_kept_open() {
        let got = targets(
            &clique(2),
            &flows(&[0, 1], &[0.0, MORE]),
            &[0.8; 2],
            &[sla(30., 100., 0), sla(70., 100., 0)],
        );
        check(&got.target, &[0.0, 0.8]);
        check(&got.entitled, &[0.24, 0.56]);
    }

    #[test]
    fn a_slice_does_not_exceed_its_maximum() {
        let got = targets(
            &clique(2),
            &flows(&[0, 1], &[MORE; 2]),
            &[1.0; 2],
            &[sla(10., 20., 0), sla(10., 100., 0)],
        );
        check(&got.target, &[0.2, 0.8]);
    }

    #[test]
    fn higher_priorities_are_served_first_when_guarantees_do_not_fit() {
        let table = [sla(60., 100., 1), sla(40., 100., 0), sla(40., 100., 0)];
        let got = targets(
            &clique(3),
            &flows(&[0, 1, 2], &[MORE; 3]),
            &[1.0; 3],
            &table,
        );
        check(&got.promised, &[0.6, 0.4, 0.4]);
        check(
            &floors(
                &clique(3),
                &flows(&[0, 1, 2], &[MORE; 3]),
                &[1.0; 3],
                &table,
            ),
            &[0.6, 0.2, 0.2],
        );
        check(&got.target, &[0.6, 0.2, 0.2]);
        assert_eq!(got.shortages.len(), 3);
        assert_eq!(got.shortages[0].slices, [1, 2]);
        assert!((got.shortages[0].asked - 1.4).abs() < 1e-9);
    }

    #[test]
    fn a_chain_promises_only_what_every_row_can_keep() {
        // Radios 0 - 1 - 2; slice 0 on both ends, slice 1 in the middle.
        let rows = vec![vec![0, 1], vec![0, 1, 2], vec![1, 2]];
        let got = targets(
            &rows,
            &flows(&[0, 1, 0], &[MORE; 3]),
            &[1.0; 3],
            &[sla(50., 100., 0), sla(50., 100., 0)],
        );
        check(&got.promised, &[0.25, 0.5, 0.25]);
        assert!(got.shortages.is_empty());
    }

    /// Rows, flows, capacities, slices.
    type Network = (Vec<Vec<u32>>, Flows, Vec<f64>, Vec<(Arc<str>, Sla)>);

    fn network() -> impl Strategy<Value = Network> {
        (1usize..10, 1usize..5).prop_flat_map(|(radios, slices)| {
            (
                prop::collection::vec(any::<bool>(), radios * radios),
                prop::collection::vec(
                    prop::collection::vec(
                        (
                            0..=slices as u32,
                            prop_oneof![Just(MORE), Just(0.0), 0.0f64..0.5],
                        ),
                        0..4,
                    ),
                    radios,
                ),
                prop::collection::vec(0.02f64..1.0, radios),
                prop::collection::vec((0.0f64..80.0, 0u8..3), slices),
            )
                .prop_map(move |(edges, vifs, capacity, slas)| {
                    let mut rows: Vec<Vec<u32>> = (0..radios as u32).map(|i| vec![i]).collect();
                    for i in 0..radios {
                        for j in 0..i {
                            if edges[i * radios + j] {
                                rows[i].push(j as u32);
                                rows[j].push(i as u32);
                            }
                        }
                    }
                    let mut flows = Flows {
                        first: vec![0],
                        ..Flows::default()
                    };
                    for (slice, demand) in vifs.iter().flatten() {
                        let best_effort = *slice as usize == slices;
                        flows
                            .slice
                            .push(if best_effort { BEST_EFFORT } else { *slice });
                        flows.demand.push(*demand);
                    }
                    for vifs in &vifs {
                        flows
                            .first
                            .push(flows.first[flows.first.len() - 1] + vifs.len() as u32);
                    }
                    let table = slas
                        .iter()
                        .map(|&(min, priority)| sla(min, 100.0, priority))
                        .collect();
                    (rows, flows, capacity, table)
                })
        })
    }

    proptest! {
        #[test]
        fn targets_fit_every_row_and_meet_feasible_guarantees((rows, flows, capacity, table) in network()) {
            let got = targets(&rows, &flows, &capacity, &table);
            let floor = floors(&rows, &flows, &capacity, &table);
            let topology = Topology { rows: &rows, first: &flows.first };
            for (row, &capacity) in capacity.iter().enumerate() {
                let load: f64 = topology.row(row).map(|flow| got.target[flow]).sum();
                prop_assert!(load <= capacity + 1e-9, "row {row} carries {load} of {capacity}");
            }
            for (flow, &target) in got.target.iter().enumerate() {
                prop_assert!(target >= floor[flow] - 1e-12);
                prop_assert!(target <= flows.demand[flow].max(floor[flow]) + 1e-9);
            }
            // In a row of its own (a clique), with guarantees that fit, a slice that asks for more than it is owed
            // gets at least that.
            let is_clique = rows.iter().all(|row| row.len() == rows.len());
            let even = capacity.iter().copied().fold(f64::INFINITY, f64::min);
            if is_clique {
                let got = targets(&rows, &flows, &vec![even; rows.len()], &table);
                if got.shortages.is_empty() {
                    for (slice, (_, sla)) in table.iter().enumerate() {
                        let of = |what: &[f64]| -> f64 {
                            (0..what.len()).filter(|&f| flows.slice[f] as usize == slice).map(|f| what[f]).sum()
                        };
                        let owed = (sla.min_ratio / 100.0 * even).min(of(&flows.demand));
                        let active = flows.slice.iter().zip(&flows.demand).filter(|(s, d)| **s as usize == slice && **d > 0.0);
                        // Two passes approach the even split from below; with a backlogged vif it is exact.
                        if active.clone().any(|(_, d)| d.is_infinite()) || active.count() < 2 {
                            prop_assert!(of(&got.target) >= owed - 1e-9, "slice {slice}: {} of {owed}", of(&got.target));
                        }
                    }
                }
            }
        }
    }
}
