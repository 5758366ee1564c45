//! A simulated cell: UEs with traffic on two schedulers, from event to event.
//!
//! While anybody waits for PRB, time passes in TTIs of a millisecond; while nobody does, it jumps to the next packet. What
//! happens does not depend on how the caller cuts time into steps.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::config::{Traffic, TrafficModel, UeGroup};
use super::scheduler::{Flow, Scheduler, Slice};
use crate::backend::ran::{CellConfig, Direction, Share};

const NS_PER_MS: u64 = 1_000_000;
/// What waits for a UE at most; more is dropped.
const MOST_BACKLOG_BITS: u64 = 8_000_000;

/// A cell.
#[derive(Debug)]
pub(super) struct Cell {
    pub(super) config: CellConfig,
    pub(super) is_up: bool,
    /// The slice profiles that it carries, in the order of the schedulers' slices.
    pub(super) profiles: Vec<String>,
    links: [Link; 2],
    ues: Vec<Option<Ue>>,
    arrivals: BinaryHeap<Reverse<Arrival>>,
    now_ms: u64,
    /// TTIs that were scheduled and not skipped: the work that it cost.
    pub(super) ttis: u64,
}

/// One direction.
#[derive(Debug)]
struct Link {
    scheduler: Scheduler,
    /// By slot of the UE.
    flows: Vec<Flow>,
}

/// A UE that is attached.
#[derive(Debug, Clone)]
struct Ue {
    slice: usize,
    sources: [Option<Source>; 2],
}

/// Packets at regular times.
#[derive(Debug, Clone, Copy)]
struct Source {
    interval_ns: u64,
    bits: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Arrival {
    due_ns: u64,
    slot: usize,
    direction: Direction,
}

impl Cell {
    pub(super) fn new(config: CellConfig, now_ms: u64) -> Self {
        let link = || Link {
            scheduler: Scheduler::new(config.bandwidth_prb),
            flows: Vec::new(),
        };
        Self {
            links: [link(), link()],
            config,
            is_up: false,
            profiles: Vec::new(),
            ues: Vec::new(),
            arrivals: BinaryHeap::new(),
            now_ms,
            ttis: 0,
        }
    }

    fn link(&mut self, direction: Direction) -> &mut Link {
        &mut self.links[direction as usize]
    }

    /// The position of a slice profile among those that it carries.
    pub(super) fn slice(&self, profile: &str) -> Option<usize> {
        self.profiles.iter().position(|one| one == profile)
    }

    /// What a slice has in one direction.
    pub(super) fn in_direction(&self, direction: Direction, slice: usize) -> &Slice {
        &self.links[direction as usize].scheduler.slices[slice]
    }

    /// The same, to change what was noted of it.
    pub(super) fn in_direction_mut(&mut self, direction: Direction, slice: usize) -> &mut Slice {
        &mut self.link(direction).scheduler.slices[slice]
    }

    /// Changes what a slice is owed.
    pub(super) fn set_share(&mut self, direction: Direction, slice: usize, share: Share) {
        self.link(direction).scheduler.set_share(slice, share);
    }

    /// Carries these slice profiles from now on. UEs of others must be gone.
    pub(super) fn carry(&mut self, profiles: Vec<String>) {
        let before: Vec<Option<usize>> = profiles.iter().map(|one| self.slice(one)).collect();
        for link in &mut self.links {
            let old = std::mem::take(&mut link.scheduler.slices);
            let kept = |index: &Option<usize>| index.map(|index| old[index].clone());
            link.scheduler.slices = before
                .iter()
                .map(|index| kept(index).unwrap_or_default())
                .collect();
        }
        for ue in self.ues.iter_mut().flatten() {
            let now = before.iter().position(|old| *old == Some(ue.slice));
            ue.slice = now.unwrap_or_default();
        }
        self.profiles = profiles;
    }

    /// Lets a UE in; the slot that it has then. `phase` in 0..1000 says when in an interval its packets come.
    pub(super) fn attach(&mut self, slice: usize, group: &UeGroup, phase: u64) -> usize {
        let free = self.ues.iter().position(Option::is_none);
        let slot = free.unwrap_or_else(|| {
            self.ues.push(None);
            for link in &mut self.links {
                link.flows.push(Flow::default());
            }
            self.ues.len() - 1
        });
        self.ues[slot] = Some(Ue {
            slice,
            sources: [None, None],
        });
        self.set_traffic(slot, group, phase);
        slot
    }

    /// Gives a UE the traffic of its group, from now on.
    pub(super) fn set_traffic(&mut self, slot: usize, group: &UeGroup, phase: u64) {
        self.arrivals
            .retain(|Reverse(arrival)| arrival.slot != slot);
        let now_ns = self.now_ms * NS_PER_MS;
        for (direction, traffic) in [(Direction::Down, group.down), (Direction::Up, group.up)] {
            let source = source(traffic);
            let Some(ue) = &mut self.ues[slot] else {
                return;
            };
            ue.sources[direction as usize] = source;
            let slice = ue.slice;
            let Link { scheduler, flows } = self.link(direction);
            let flow = &mut flows[slot];
            flow.bits_per_prb = group.bits_per_prb.into();
            flow.is_full = traffic.model == TrafficModel::FullBuffer;
            if traffic.model == TrafficModel::None {
                flow.backlog_bits = 0;
            }
            if source.is_none() {
                flow.packets.clear();
            }
            if !flow.is_full && flow.backlog_bits == 0 {
                flow.is_waiting = false;
                scheduler.slices[slice].forget(slot);
            }
            scheduler.slices[slice].enqueue(slot, flows);
            if let Some(source) = source {
                let due_ns = now_ns + source.interval_ns * phase / 1000;
                self.arrivals.push(Reverse(Arrival {
                    due_ns,
                    slot,
                    direction,
                }));
            }
        }
    }

    /// Lets a UE go.
    pub(super) fn detach(&mut self, slot: usize) {
        let Some(ue) = self.ues[slot].take() else {
            return;
        };
        self.arrivals
            .retain(|Reverse(arrival)| arrival.slot != slot);
        for link in &mut self.links {
            link.flows[slot] = Flow::default();
            link.scheduler.slices[ue.slice].forget(slot);
        }
    }

    /// Lets time pass.
    pub(super) fn advance(&mut self, until_ms: u64) {
        while self.now_ms < until_ms {
            self.take_arrivals();
            let is_idle = self.links.iter().all(|link| link.scheduler.is_idle());
            for link in &mut self.links {
                link.scheduler.end_ns = (self.now_ms + 1) * NS_PER_MS;
                if link.scheduler.is_idle() {
                    link.scheduler.rest();
                } else {
                    link.scheduler.tti(&mut link.flows);
                }
            }
            self.now_ms = match (is_idle, self.arrivals.peek()) {
                (false, _) => {
                    self.ttis += 1;
                    self.now_ms + 1
                }
                (true, Some(Reverse(next))) => (next.due_ns.div_ceil(NS_PER_MS))
                    .max(self.now_ms + 1)
                    .min(until_ms),
                (true, None) => until_ms,
            };
        }
    }

    fn take_arrivals(&mut self) {
        let now_ns = self.now_ms * NS_PER_MS;
        while let Some(Reverse(arrival)) = self.arrivals.peek().copied()
            && arrival.due_ns <= now_ns
        {
            self.arrivals.pop();
            let Arrival {
                slot, direction, ..
            } = arrival;
            let Some((slice, source)) = self.ues[slot]
                .as_ref()
                .and_then(|ue| Some((ue.slice, ue.sources[direction as usize]?)))
            else {
                continue;
            };
            let Link { scheduler, flows } = self.link(direction);
            let flow = &mut flows[slot];
            let taken = source
                .bits
                .min(MOST_BACKLOG_BITS.saturating_sub(flow.backlog_bits));
            flow.backlog_bits += taken;
            flow.packets.push(arrival.due_ns, taken);
            scheduler.slices[slice].enqueue(slot, flows);
            self.arrivals.push(Reverse(Arrival {
                due_ns: arrival.due_ns + source.interval_ns,
                ..arrival
            }));
        }
    }
}

fn source(traffic: Traffic) -> Option<Source> {
    let bits = u64::from(traffic.packet_bytes) * 8;
    let interval_ns = match traffic.model {
        TrafficModel::None | TrafficModel::FullBuffer => return None,
        TrafficModel::Constant => bits * 1_000_000 / u64::from(traffic.rate_kbps.max(1)),
        TrafficModel::Periodic => u64::from(traffic.interval_ms) * NS_PER_MS,
    };
    Some(Source {
        interval_ns: interval_ns.max(1),
        bits,
    })
}
