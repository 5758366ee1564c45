//! Weighted max-min fairness on a conflict graph by water-filling.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// Flows on a conflict graph. Radio `i` carries the flows `first[i]..first[i + 1]`.
///
/// `rows[i]` is the closed neighbourhood of radio `i` (itself and those it contends with); the relation is symmetric.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Topology<'a> {
    pub(crate) rows: &'a [Vec<u32>],
    pub(crate) first: &'a [u32],
}

impl Topology<'_> {
    /// Flows of one radio.
    pub(crate) fn flows(&self, radio: usize) -> std::ops::Range<usize> {
        self.first[radio] as usize..self.first[radio + 1] as usize
    }

    /// Flows of a row.
    pub(crate) fn row(&self, radio: usize) -> impl Iterator<Item = usize> + '_ {
        self.rows[radio]
            .iter()
            .flat_map(|&member| self.flows(member as usize))
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
                pool.freeze(mark.radio as usize, flow, weight[flow], demand[flow]);
            }
            continue;
        }
        let Some(Reverse(RowMark { level, row })) = full.pop() else {
            return pool.given;
        };
        let at = row as usize;
        if pool.rising_weight[at] < EPSILON {
            continue;
        }
        let full_at = pool.full_at(at, capacity[at]);
        if full_at > level + EPSILON {
            full.push(Reverse(RowMark {
                level: full_at,
                row,
            }));
            continue;
        }
        for &member in &topology.rows[at] {
            for flow in topology.flows(member as usize) {
                if pool.rising[flow] {
                    pool.freeze(member as usize, flow, weight[flow], weight[flow] * full_at);
                }
            }
        }
        // What rounding left over would come up again for ever.
        pool.rising_weight[at] = 0.0;
    }
}

const EPSILON: f64 = 1e-12;

struct Pool<'a> {
    topology: Topology<'a>,
    given: Vec<f64>,
    rising: Vec<bool>,
    rising_weight: Vec<f64>,
    frozen: Vec<f64>,
}

impl<'a> Pool<'a> {
    fn new(topology: Topology<'a>, capacity: &[f64], weight: &[f64], demand: &[f64]) -> Self {
        let radios = topology.rows.len();
        let mut pool = Self {
            topology,
            given: vec![0.0; weight.len()],
            rising: vec![false; weight.len()],
            rising_weight: vec![0.0; radios],
            frozen: vec![0.0; radios],
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
                    pool.rising_weight[row as usize] += sum;
                }
            }
        }
        pool
    }

    fn flow_marks(&self, weight: &[f64], demand: &[f64]) -> Vec<FlowMark> {
        let mut marks = Vec::with_capacity(self.given.len());
        for radio in 0..self.frozen.len() {
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
        (0..self.frozen.len())
            .filter(|&row| self.rising_weight[row] > EPSILON)
            .map(|row| {
                Reverse(RowMark {
                    level: self.full_at(row, capacity[row]),
                    row: row as u32,
                })
            })
            .collect()
    }

    fn full_at(&self, row: usize, capacity: f64) -> f64 {
        (capacity - self.frozen[row]).max(0.0) / self.rising_weight[row]
    }

    fn freeze(&mut self, radio: usize, flow: usize, weight: f64, given: f64) {
        self.rising[flow] = false;
        self.given[flow] = given;
        for &row in &self.topology.rows[radio] {
            self.rising_weight[row as usize] -= weight;
            self.frozen[row as usize] += given;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn equal_flows_in_a_clique_share_equally() {
        let rows = vec![vec![0, 1], vec![0, 1]];
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
        let rows = vec![vec![0]];
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
        let rows = vec![vec![0, 1], vec![0, 1, 2], vec![1, 2, 3], vec![2, 3]];
        let topology = Topology {
            rows: &rows,
            first: &[0, 1, 1, 1, 2],
        };
        let given = water_fill(topology, &[1.0; 4], &[1.0; 2], &[f64::INFINITY; 2]);
        assert!(close(given[0], 1.0) && close(given[1], 1.0), "{given:?}");
    }

    /// Rows, first flows, capacities, weights, demands.
    type Network = (Vec<Vec<u32>>, Vec<u32>, Vec<f64>, Vec<f64>, Vec<f64>);

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
                    Just(rows),
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
            let load = |row: usize| topology.row(row).map(|flow| given[flow]).sum::<f64>();
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
                                && topology.row(row).all(|other| given[other] / weight[other] <= level + 1e-7)
                        });
                        prop_assert!(blocked, "flow {flow} is held back by nothing");
                    }
                }
            }
        }
    }
}
