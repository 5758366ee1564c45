//! What is guaranteed to every vif: floors that hold in every row that it counts in.

use std::cmp::Reverse;

use super::fill::Topology;
use super::rows::{Alone, Parties};
use super::target::{Flows, Shortage};

/// Weight of best effort against guarantees (fractions) when excess is shared out.
const BASE_WEIGHT: f64 = 0.05;

/// What every flow is guaranteed, and how the rest is to be shared out. All vectors but the last have one entry per flow; airtime is
/// a fraction of wall-clock time.
pub(super) struct Guarantees {
    /// What it gets in any case.
    pub(super) floor: Vec<f64>,
    /// The same before it was scaled down for want of capacity.
    pub(super) promised: Vec<f64>,
    /// What would be guaranteed if the whole slice asked for it.
    pub(super) entitled: Vec<f64>,
    /// The most it may get.
    pub(super) limit: Vec<f64>,
    /// Its weight when the rest is shared out.
    pub(super) weight: Vec<f64>,
    /// Rows whose guarantees do not fit.
    pub(super) shortages: Vec<Shortage>,
}

/// What a slice is owed, and the most it may have, as fractions of a row's capacity.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) priority: u8,
}

/// What a row promises to a slice.
#[derive(Debug, Clone, Copy)]
struct Promise {
    /// The most that one flow is promised.
    level: f64,
    /// Flows that ask for something, at least one.
    active: f64,
    /// What the slice wants of the share that it is owed.
    asked: f64,
}

impl Promise {
    /// Splits what is owed evenly over those who ask; light ones take what they need and leave the rest to the others.
    fn new(owed: f64, members: &[u32], demand: &[f64]) -> Self {
        let demands = members.iter().map(|&flow| demand[flow as usize]);
        let active = demands.clone().filter(|&demand| demand > 0.0).count();
        let active = active.max(1) as f64;
        let even = owed / active;
        let (mut heavy, mut heavy_demand, mut light) = (0.0, 0.0, 0.0);
        for demand in demands {
            if demand > even {
                heavy += 1.0;
                heavy_demand += demand;
            } else {
                light += demand;
            }
        }
        Self {
            level: if heavy > 0.0 {
                (owed - light).max(0.0) / heavy
            } else {
                even
            },
            active,
            asked: (light + heavy_demand).min(owed),
        }
    }
}

/// What rows allow a flow: each the least that one of them does.
#[derive(Debug, Clone, Copy)]
struct Bound {
    /// Of the guarantee.
    level: f64,
    /// Of the room that is kept open.
    entitled: f64,
}

impl Bound {
    fn tighten(&mut self, level: f64, entitled: f64) {
        self.level = self.level.min(level);
        self.entitled = self.entitled.min(entitled);
    }
}

/// A row, and what has to be known to promise something in it.
struct Row<'a> {
    number: usize,
    capacity: f64,
    parties: &'a Parties,
    demand: &'a [f64],
    shares: &'a [Share],
    /// The flows of the radio in its centre.
    own: std::ops::Range<usize>,
}

/// Floors that hold in every row: each row promises a slice its share, split evenly over the slice's vifs there; a vif gets the
/// least of what its rows promise.
pub(super) fn guarantees(
    topology: Topology<'_>,
    parties: &Parties,
    flows: &Flows,
    capacity: &[f64],
    shares: &[Share],
) -> Guarantees {
    let mut draft = Draft::new(&flows.slice, shares);
    for (number, &capacity) in capacity.iter().enumerate() {
        draft.promise(&Row {
            number,
            capacity,
            parties,
            demand: &flows.demand,
            shares,
            own: topology.flows(number),
        });
    }
    draft.finish(&flows.demand)
}

/// Guarantees, row by row.
struct Draft {
    bounds: Vec<Bound>,
    limit: Vec<f64>,
    weight: Vec<f64>,
    /// The most of the guarantee where not all fit; empty while they do.
    rationed: Vec<f64>,
    shortages: Vec<Shortage>,
}

impl Draft {
    fn new(slice: &[u32], shares: &[Share]) -> Self {
        let min = |&slice: &u32| shares.get(slice as usize).map(|share| share.min);
        let unbounded = |slice| {
            let most = min(slice).map_or(0.0, |_| f64::INFINITY);
            Bound {
                level: most,
                entitled: most,
            }
        };
        Self {
            bounds: slice.iter().map(unbounded).collect(),
            limit: vec![f64::INFINITY; slice.len()],
            weight: slice
                .iter()
                .map(|slice| BASE_WEIGHT + min(slice).unwrap_or(0.0))
                .collect(),
            rationed: Vec::new(),
            shortages: Vec::new(),
        }
    }

    /// Takes in what a row promises.
    fn promise(&mut self, row: &Row<'_>) {
        let asked = self.promise_alone(row) + self.promise_groups(row);
        if asked > row.capacity * (1.0 + 1e-9) {
            let slices = self.ration(row);
            self.shortages.push(Shortage {
                row: row.number as u32,
                asked: asked / row.capacity,
                slices,
            });
        }
    }

    /// Most slices have one vif in a row: there is nothing to split, and this loop does not branch. Returns what they ask for.
    fn promise_alone(&mut self, row: &Row<'_>) -> f64 {
        let mut asked = 0.0;
        for &Alone { flow, slice } in row.parties.alone(row.number) {
            let (flow, share) = (flow as usize, row.shares[slice as usize]);
            let owed = share.min * row.capacity;
            asked += row.demand[flow].min(owed);
            self.bounds[flow].tighten(owed, owed);
            if share.max < 1.0 {
                self.limit[flow] = self.limit[flow].min(share.max * row.capacity);
            }
        }
        asked
    }

    /// Splits what slices with several vifs are owed. Returns what they ask for.
    fn promise_groups(&mut self, row: &Row<'_>) -> f64 {
        let mut asked = 0.0;
        for group in row.parties.groups(row.number) {
            let share = row.shares[group.slice as usize];
            let members = row.parties.flows(group);
            let owed = share.min * row.capacity;
            let promise = Promise::new(owed, members, row.demand);
            asked += promise.asked;
            let entitled = owed / members.len() as f64;
            for flow in members.iter().map(|&flow| flow as usize) {
                self.bounds[flow].tighten(promise.level, entitled);
                if share.max < 1.0 {
                    let most = share.max * row.capacity / promise.active;
                    self.limit[flow] = self.limit[flow].min(most);
                }
                if row.own.contains(&flow) {
                    self.weight[flow] = (BASE_WEIGHT + share.min) / promise.active;
                }
            }
        }
        asked
    }

    /// Scales promises down to what there is: higher priorities first, equal ones alike. Returns who gets less.
    fn ration(&mut self, row: &Row<'_>) -> Vec<u32> {
        self.rationed.resize(self.bounds.len(), f64::INFINITY);
        let promise = |(slice, members)| {
            let owed = row.shares[slice as usize].min * row.capacity;
            let promise = Promise::new(owed, members, row.demand);
            (slice, members, promise)
        };
        let priority = |slice: u32| row.shares[slice as usize].priority;
        let mut all: Vec<(u32, &[u32], Promise)> =
            row.parties.all(row.number).map(promise).collect();
        all.sort_unstable_by_key(|&(slice, ..)| (Reverse(priority(slice)), slice));
        let mut left = row.capacity;
        let mut short = Vec::new();
        for equal in all.chunk_by(|a, b| priority(a.0) == priority(b.0)) {
            let sum: f64 = equal.iter().map(|(.., promise)| promise.asked).sum();
            let scale = if sum > left { left / sum } else { 1.0 };
            left = (left - sum).max(0.0);
            for &(slice, members, promise) in equal {
                if scale < 1.0 && promise.asked > 0.0 {
                    short.push(slice);
                }
                for flow in members.iter().map(|&flow| flow as usize) {
                    let most = row.demand[flow].min(promise.level) * scale;
                    self.rationed[flow] = self.rationed[flow].min(most);
                }
            }
        }
        short
    }

    fn finish(self, demand: &[f64]) -> Guarantees {
        let promised = demand.iter().zip(&self.bounds);
        let promised: Vec<f64> = promised
            .map(|(demand, bound)| demand.min(bound.level))
            .collect();
        let mut floor = promised.clone();
        for (floor, most) in floor.iter_mut().zip(self.rationed) {
            *floor = floor.min(most);
        }
        Guarantees {
            floor,
            promised,
            entitled: self.bounds.iter().map(|bound| bound.entitled).collect(),
            limit: self.limit,
            weight: self.weight,
            shortages: self.shortages,
        }
    }
}
