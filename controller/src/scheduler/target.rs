//! What every vif should get: guaranteed floors first, the rest by weighted max-min.

use super::fill::{Topology, water_fill};
use super::guarantee::{Guarantees, Share, guarantees};
use super::rows::{Parties, Rows};

/// A flow of a slice without SLA: best effort.
pub(crate) const BEST_EFFORT: u32 = u32::MAX;

/// The flows of a period. Vectors have one entry per flow where nothing else is said; airtime is a fraction of wall-clock time.
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
    /// The flows of each radio together: one entry per radio.
    pub(crate) senders: Vec<Sender>,
}

/// What a radio sends, and whether that was all it wanted to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sender {
    /// What it sent.
    pub(crate) used: f64,
    /// A vif wanted more than it got, by a report that is new in this period.
    pub(crate) short: bool,
    /// One that did was not held by a ceiling.
    pub(crate) uncapped: bool,
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
    /// What aggregate promises got beyond the guarantee, which is part of the target; empty where they ask for nothing.
    lent: Vec<f64>,
    /// Rows whose guarantees do not fit.
    pub(crate) shortages: Vec<Shortage>,
}

impl Targets {
    /// What aggregate promises got for a flow.
    pub(crate) fn lent(&self, flow: usize) -> f64 {
        self.lent.get(flow).copied().unwrap_or(0.0)
    }
}

/// How what is left when all guarantees are met is shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Who is guaranteed more gets more.
    ByGuarantee,
    /// In equal parts, as a cell does by itself.
    Evenly,
}

/// What is shared out, and among whom. `parties` is `flows` as laid out for `rows`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Contest<'a> {
    pub(crate) rows: &'a Rows,
    pub(crate) parties: &'a Parties,
    pub(crate) flows: &'a Flows,
    /// Of each row, fraction of wall-clock time.
    pub(crate) capacity: &'a [f64],
    /// By position in the SLA table.
    pub(crate) shares: &'a [Share],
    /// What aggregate promises ask for each flow beyond its guarantee, fraction of wall-clock time; empty: for none. It comes after
    /// all guarantees and before the rest, so no guarantee is broken for it.
    pub(crate) asked: &'a [f64],
    pub(crate) rest: Rest,
}

/// Computes floors and targets.
pub(crate) fn targets(contest: &Contest<'_>) -> Targets {
    let Contest {
        rows,
        flows,
        capacity,
        ..
    } = *contest;
    let topology = Topology {
        rows,
        first: &flows.first,
    };
    let Guarantees {
        floor,
        promised,
        entitled,
        limit,
        mut weight,
        shortages,
    } = guarantees(topology, contest.parties, flows, capacity, contest.shares);
    let left = |given: &[f64]| -> Vec<f64> {
        let sum = |radio| given[topology.flows(radio)].iter().sum();
        let given: Vec<f64> = (0..rows.len()).map(sum).collect();
        let left = |(row, capacity): (&[u32], &f64)| {
            let taken: f64 = row.iter().map(|&member| given[member as usize]).sum();
            (capacity - taken).max(0.0)
        };
        rows.iter().zip(capacity).map(left).collect()
    };
    let more =
        |given: &[f64], flow: usize| (flows.demand[flow].min(limit[flow]) - given[flow]).max(0.0);
    let mut target = floor;
    let mut lent = Vec::new();
    if !contest.asked.is_empty() {
        let asked = contest.asked.iter().enumerate();
        let asked: Vec<f64> = asked
            .map(|(flow, asked)| asked.min(more(&target, flow)))
            .collect();
        lent = water_fill(topology, &left(&target), contest.asked, &asked);
        for (target, lent) in target.iter_mut().zip(&lent) {
            *target += lent;
        }
    }
    if contest.rest == Rest::Evenly {
        weight.fill(1.0);
    }
    let wanted: Vec<f64> = (0..target.len()).map(|flow| more(&target, flow)).collect();
    let rest = water_fill(topology, &left(&target), &weight, &wanted);
    for (target, rest) in target.iter_mut().zip(rest) {
        *target += rest;
    }
    Targets {
        target,
        promised,
        entitled,
        lent,
        shortages,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fill::tests::of_row;
    use super::*;
    use proptest::prelude::*;

    const MORE: f64 = f64::INFINITY;

    fn sla(min: f64, max: f64, priority: u8) -> Share {
        Share {
            min: min / 100.0,
            max: max / 100.0,
            priority,
        }
    }

    fn clique(radios: u32) -> Rows {
        (0..radios).map(|_| (0..radios).collect()).collect()
    }

    fn laid_out(rows: &Rows, flows: &Flows, slices: usize) -> Parties {
        let mut parties = Parties::default();
        parties.refresh((rows, true), &flows.first, &flows.slice, slices);
        parties
    }

    fn targets(rows: &Rows, flows: &Flows, capacity: &[f64], shares: &[Share]) -> Targets {
        lending(rows, flows, capacity, shares, &[])
    }

    fn lending(
        rows: &Rows,
        flows: &Flows,
        capacity: &[f64],
        shares: &[Share],
        asked: &[f64],
    ) -> Targets {
        let parties = laid_out(rows, flows, shares.len());
        super::targets(&Contest {
            rows,
            parties: &parties,
            flows,
            capacity,
            shares,
            asked,
            rest: Rest::ByGuarantee,
        })
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
            senders: Vec::new(),
        }
    }

    fn floors(rows: &Rows, flows: &Flows, capacity: &[f64], entries: &[Share]) -> Vec<f64> {
        guarantees(
            Topology {
                rows,
                first: &flows.first,
            },
            &laid_out(rows, flows, entries.len()),
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
        let rows = Rows::from_iter([vec![0, 1], vec![0, 1, 2], vec![1, 2]]);
        let got = targets(
            &rows,
            &flows(&[0, 1, 0], &[MORE; 3]),
            &[1.0; 3],
            &[sla(50., 100., 0), sla(50., 100., 0)],
        );
        check(&got.promised, &[0.25, 0.5, 0.25]);
        assert!(got.shortages.is_empty());
    }

    #[test]
    fn what_an_aggregate_asks_for_comes_after_all_guarantees_and_within_the_maximum() {
        let table = [sla(20., 60., 0), sla(30., 100., 0), sla(0., 100., 0)];
        let flows = flows(&[0, 1, 2], &[MORE; 3]);
        let got = |asked: &[f64]| lending(&clique(3), &flows, &[1.0; 3], &table, asked);
        let few = got(&[0.1, 0.0, 0.0]);
        assert!((few.lent(0) - 0.1).abs() < 1e-9 && few.target[0] > 0.3);
        assert!(few.target[1] >= 0.3 && few.target[2] > 0.0);
        let capped = got(&[0.9, 0.0, 0.0]);
        assert!((capped.target[0] - 0.6).abs() < 1e-9, "{capped:?}");
        let all = got(&[0.9, 0.0, 0.9]);
        assert!((all.lent(0) + all.lent(2) - 0.5).abs() < 1e-9, "{all:?}");
        assert!((all.target[1] - 0.3).abs() < 1e-9, "{all:?}");
    }

    /// Rows, flows, capacities, slices.
    type Network = (Rows, Flows, Vec<f64>, Vec<Share>);

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
                    for row in &mut rows {
                        row.sort_unstable();
                    }
                    (rows.into_iter().collect(), flows, capacity, table)
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
                let load: f64 = of_row(topology, row).map(|flow| got.target[flow]).sum();
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
                    for (slice, share) in table.iter().enumerate() {
                        let of = |what: &[f64]| -> f64 {
                            (0..what.len()).filter(|&f| flows.slice[f] as usize == slice).map(|f| what[f]).sum()
                        };
                        let owed = (share.min * even).min(of(&flows.demand));
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
