//! Weighted max-min fairness on a conflict graph by water-filling.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use super::rows::Rows;

/// Flows on a conflict graph. Radio `i` carries the flows `first[i]..first[i + 1]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Topology<'a> {
    pub(crate) rows: &'a Rows,
    pub(crate) first: &'a [u32],
}

impl Topology<'_> {
    /// Flows of one radio.
    pub(crate) fn flows(&self, radio: usize) -> std::ops::Range<usize> {
        self.first[radio] as usize..self.first[radio + 1] as usize
    }
}

/// The level of the water at which a row may be full.
#[derive(PartialEq)]
struct RowMark {
    level: f64,
    row: u32,
}

impl Eq for RowMark {}

impl PartialOrd for RowMark {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for RowMark {
    fn cmp(&self, other: &Self) -> Ordering {
        self.level.total_cmp(&other.level)
    }
}

/// The level at which a flow has all it wants.
struct FlowMark {
    level: f64,
    radio: u32,
    flow: u32,
}

/// Raises the water: every flow gets `min(demand, weight * level)` until a row it counts in is full.
///
/// `capacity` per row, `weight` and `demand` per flow (infinite for a backlogged one). No row's sum exceeds its
/// capacity; a flow with weight zero gets nothing. Takes `O(flows * degree + (flows + rows) log)` time.
pub(crate) fn water_fill(
    topology: Topology<'_>,
    capacity: &[f64],
    weight: &[f64],
    demand: &[f64],
) -> Vec<f64> {
    let mut pool = Pool::new(topology, capacity, weight, demand);
    // Where a flow has enough is known from the start; where a row is full moves up as others freeze.
    let mut enough = pool.flow_marks(weight, demand).into_iter().peekable();
    let mut full = pool.row_marks(capacity);
    loop {
        let row_level = full
            .peek()
            .map_or(f64::INFINITY, |Reverse(mark)| mark.level);
        if let Some(mark) = enough.next_if(|mark| mark.level <= row_level) {
            let flow = mark.flow as usize;
            if pool.rising[flow] {
                pool.rising[flow] = false;
                pool.given[flow] = demand[flow];
                pool.freeze(mark.radio as usize, weight[flow], demand[flow]);
            }
            continue;
        }
        let Some(mut mark) = full.peek_mut() else {
            return pool.given;
        };
        let at = mark.0.row as usize;
        if pool.air[at].rising < EPSILON {
            PeekMut::pop(mark);
            continue;
        }
        let full_at = pool.air[at].full_at(capacity[at]);
        if full_at > mark.0.level + EPSILON {
            mark.0.level = full_at;
            continue;
        }
        PeekMut::pop(mark);
        for &member in &topology.rows[at] {
            let (mut frozen, mut given) = (0.0, 0.0);
            for flow in topology.flows(member as usize) {
                if std::mem::take(&mut pool.rising[flow]) {
                    pool.given[flow] = weight[flow] * full_at;
                    frozen += weight[flow];
                    given += pool.given[flow];
                }
            }
            if frozen > 0.0 {
                pool.freeze(member as usize, frozen, given);
            }
        }
        // What rounding left over would come up again for ever.
        pool.air[at].rising = 0.0;
    }
}

const EPSILON: f64 = 1e-12;

/// The air of a row.
#[derive(Clone, Copy, Default)]
struct Air {
    /// Weight of the flows that still rise.
    rising: f64,
    /// What the others have.
    frozen: f64,
}

impl Air {
    /// The level at which it is full if nobody freezes before.
    fn full_at(&self, capacity: f64) -> f64 {
        (capacity - self.frozen).max(0.0) / self.rising
    }
}

struct Pool<'a> {
    topology: Topology<'a>,
    given: Vec<f64>,
    rising: Vec<bool>,
    air: Vec<Air>,
}

impl<'a> Pool<'a> {
    fn new(topology: Topology<'a>, capacity: &[f64], weight: &[f64], demand: &[f64]) -> Self {
        let radios = topology.rows.len();
        let mut pool = Self {
            topology,
            given: vec![0.0; weight.len()],
            rising: vec![false; weight.len()],
            air: vec![Air::default(); radios],
        };
        for radio in 0..radios {
            let mut sum = 0.0;
            let open = topology.rows[radio]
                .iter()
                .all(|&row| capacity[row as usize] > EPSILON);
            for flow in topology.flows(radio) {
                if open && weight[flow] > 0.0 && demand[flow] > EPSILON {
                    pool.rising[flow] = true;
                    sum += weight[flow];
                }
            }
            if sum > 0.0 {
                for &row in &topology.rows[radio] {
                    pool.air[row as usize].rising += sum;
                }
            }
        }
        pool
    }

    fn flow_marks(&self, weight: &[f64], demand: &[f64]) -> Vec<FlowMark> {
        let mut marks = Vec::with_capacity(self.given.len());
        for radio in 0..self.air.len() {
            for flow in self.topology.flows(radio) {
                if self.rising[flow] && demand[flow].is_finite() {
                    let level = demand[flow] / weight[flow];
                    marks.push(FlowMark {
                        level,
                        radio: radio as u32,
                        flow: flow as u32,
                    });
                }
            }
        }
        marks.sort_unstable_by(|a, b| a.level.total_cmp(&b.level));
        marks
    }

    fn row_marks(&self, capacity: &[f64]) -> BinaryHeap<Reverse<RowMark>> {
        // The level only rises as flows freeze, so the first one is a lower bound.
        let mark = |(row, air): (u32, &Air)| {
            let level = air.full_at(capacity[row as usize]);
            (air.rising > EPSILON).then_some(Reverse(RowMark { level, row }))
        };
        (0..).zip(&self.air).filter_map(mark).collect()
    }

    /// Flows of a radio, of this weight together, rise no further than to what they have.
    fn freeze(&mut self, radio: usize, weight: f64, given: f64) {
        for &row in &self.topology.rows[radio] {
            let air = &mut self.air[row as usize];
            air.rising -= weight;
            air.frozen += given;
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn of_row(topology: Topology<'_>, row: usize) -> impl Iterator<Item = usize> {
        topology.rows[row]
            .iter()
            .flat_map(move |&member| topology.flows(member as usize))
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn equal_flows_in_a_clique_share_equally() {
        let rows = Rows::from_iter([vec![0, 1], vec![0, 1]]);
        let given = water_fill(
            Topology {
                rows: &rows,
                first: &[0, 1, 2],
            },
            &[0.8, 0.8],
            &[1.0, 1.0],
            &[f64::INFINITY, f64::INFINITY],
        );
        assert!(close(given[0], 0.4) && close(given[1], 0.4), "{given:?}");
    }

    #[test]
    fn what_a_light_flow_leaves_goes_to_the_others_by_weight() {
        let rows = Rows::from_iter([vec![0]]);
        let given = water_fill(
            Topology {
                rows: &rows,
                first: &[0, 3],
            },
            &[1.0],
            &[1.0, 1.0, 3.0],
            &[0.2, f64::INFINITY, f64::INFINITY],
        );
        assert!(
            close(given[0], 0.2) && close(given[1], 0.2) && close(given[2], 0.6),
            "{given:?}"
        );
    }

    #[test]
    fn the_ends_of_a_chain_reuse_the_air() {
        // 0 - 1 - 2 - 3: rows of 0 and 3 do not share a flow.
        let rows = Rows::from_iter([vec![0, 1], vec![0, 1, 2], vec![1, 2, 3], vec![2, 3]]);
        let topology = Topology {
            rows: &rows,
            first: &[0, 1, 1, 1, 2],
        };
        let given = water_fill(topology, &[1.0; 4], &[1.0; 2], &[f64::INFINITY; 2]);
        assert!(close(given[0], 1.0) && close(given[1], 1.0), "{given:?}");
    }

    /// Rows, first flows, capacities, weights, demands.
    type Network = (Rows, Vec<u32>, Vec<f64>, Vec<f64>, Vec<f64>);

    fn network() -> impl Strategy<Value = Network> {
        (1usize..12).prop_flat_map(|radios| {
            let edges = prop::collection::vec(any::<bool>(), radios * radios);
            let counts = prop::collection::vec(0u32..4, radios);
            let capacity = prop::collection::vec(0.0f64..1.0, radios);
            (edges, counts, capacity).prop_flat_map(move |(edges, counts, capacity)| {
                let mut rows: Vec<Vec<u32>> = (0..radios as u32).map(|i| vec![i]).collect();
                for i in 0..radios {
                    for j in 0..i {
                        if edges[i * radios + j] {
                            rows[i].push(j as u32);
                            rows[j].push(i as u32);
                        }
                    }
                }
                let mut first = vec![0u32];
                for count in counts {
                    first.push(first[first.len() - 1] + count);
                }
                let flows = first[radios] as usize;
                let demand = prop_oneof![Just(f64::INFINITY), 0.0f64..0.6];
                (
                    Just(rows.into_iter().collect()),
                    Just(first),
                    Just(capacity),
                    prop::collection::vec(0.01f64..2.0, flows),
                    prop::collection::vec(demand, flows),
                )
            })
        })
    }

    proptest! {
        #[test]
        fn no_row_overflows_and_nobody_is_held_back_without_cause(
            (rows, first, capacity, weight, demand) in network()
        ) {
            let topology = Topology { rows: &rows, first: &first };
            let given = water_fill(topology, &capacity, &weight, &demand);
            let load = |row: usize| of_row(topology, row).map(|flow| given[flow]).sum::<f64>();
            for (row, capacity) in capacity.iter().enumerate() {
                prop_assert!(load(row) <= capacity + 1e-9);
            }
            for (radio, row) in rows.iter().enumerate() {
                for flow in topology.flows(radio) {
                    prop_assert!(given[flow] >= 0.0 && given[flow] <= demand[flow] + 1e-12);
                    // Bottleneck condition of max-min fairness: short of its demand, it counts in a full row where
                    // nobody has a higher level.
                    if given[flow] < demand[flow] - 1e-9 {
                        let level = given[flow] / weight[flow];
                        let blocked = row.iter().any(|&row| {
                            let row = row as usize;
                            load(row) >= capacity[row] - 1e-9
                                && of_row(topology, row).all(|other| given[other] / weight[other] <= level + 1e-7)
                        });
                        prop_assert!(blocked, "flow {flow} is held back by nothing");
                    }
                }
            }
        }
    }
}
