//! One direction of a cell: shares its PRB among slices, and those of a slice among its UEs, one TTI (1 ms) after the other.
//!
//! Ratios are tokens, in ten-thousandths of a PRB: what a whole number of PRB leaves over is carried to the next TTI, so that
//! a share is exact over time whatever the bandwidth. In a TTI
//! 1. each slice with demand takes what it is guaranteed, as far as its ceiling lets it;
//! 2. the dedicated part of a slice without demand stays unused;
//! 3. the rest is lent in equal parts to those with demand, up to their ceilings. Whoever got one last is the last to get the next.
//!
//! A slice without demand collects one TTI of guarantee and no more: it cannot save up.

use std::collections::VecDeque;

use super::delay::{Delays, Packets};
use crate::backend::ran::Share;

/// Tokens of one PRB.
const PRB: i64 = 10_000;

/// What a UE has to send in one direction.
#[derive(Debug, Clone, Default)]
pub(super) struct Flow {
    /// What one PRB carries in a TTI.
    pub(super) bits_per_prb: u64,
    /// There is always more.
    pub(super) is_full: bool,
    /// What waits.
    pub(super) backlog_bits: u64,
    /// The packets that it is of; none where there is always more.
    pub(super) packets: Packets,
    /// Whether it is among the flows of its slice that want PRB.
    pub(super) is_waiting: bool,
}

impl Flow {
    fn wants(&self) -> bool {
        self.is_full || self.backlog_bits > 0
    }
}

/// One slice in one direction of a cell.
#[derive(Debug, Clone, Default)]
pub(super) struct Slice {
    share: Share,
    guarantee: i64,
    ceiling: i64,
    dedicated: i64,
    /// PRB of this TTI that are for nobody else.
    held: i64,
    waiting: VecDeque<usize>,
    /// PRB used since the start.
    pub(super) prbs: u64,
    /// Bits carried since the start.
    pub(super) bits: u64,
    /// Whether at some time since this was last taken back nothing was waiting.
    pub(super) was_empty: bool,
    /// How long the packets waited that were sent since this was last taken.
    pub(super) delays: Delays,
}

impl Slice {
    /// What is in force.
    pub(super) fn share(&self) -> Share {
        self.share
    }

    /// Whether there is more to send.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Puts a flow in the queue if it has something to send.
    pub(super) fn enqueue(&mut self, flow: usize, flows: &mut [Flow]) {
        let state = &mut flows[flow];
        if state.wants() && !state.is_waiting {
            state.is_waiting = true;
            self.waiting.push_back(flow);
        }
    }

    /// Forgets a flow.
    pub(super) fn forget(&mut self, flow: usize) {
        self.waiting.retain(|one| *one != flow);
    }

    /// Lets the flows in the queue have up to `most` PRB; how many they took. Each in turn takes all that it can use.
    fn serve(&mut self, most: i64, flows: &mut [Flow], end_ns: u64) -> i64 {
        let mut used = 0;
        while used < most
            && let Some(turn) = self.waiting.pop_front()
        {
            let flow = &mut flows[turn];
            let left = most - used;
            if flow.is_full {
                used += left;
                self.bits += left as u64 * flow.bits_per_prb;
            } else {
                let needed = flow.backlog_bits.div_ceil(flow.bits_per_prb.max(1)) as i64;
                let taken = needed.min(left);
                let sent = flow.backlog_bits.min(taken as u64 * flow.bits_per_prb);
                flow.backlog_bits -= sent;
                flow.packets.send(sent, end_ns, &mut self.delays);
                self.bits += sent;
                used += taken;
            }
            flow.is_waiting = flow.wants();
            if flow.is_waiting {
                self.waiting.push_back(turn);
            }
        }
        self.prbs += used as u64;
        self.ceiling -= used * PRB;
        used
    }
}

/// One direction of a cell.
#[derive(Debug, Clone)]
pub(super) struct Scheduler {
    prbs: i64,
    pub(super) slices: Vec<Slice>,
    turn: usize,
    /// When the TTI that is being scheduled ends.
    pub(super) end_ns: u64,
}

impl Scheduler {
    pub(super) fn new(prbs: u16) -> Self {
        Self {
            prbs: i64::from(prbs),
            slices: Vec::new(),
            turn: 0,
            end_ns: 0,
        }
    }

    /// Changes what a slice is owed; tokens that it has stay within the new bounds.
    pub(super) fn set_share(&mut self, slice: usize, share: Share) {
        self.slices[slice].share = share;
    }

    /// Whether nobody wants anything.
    pub(super) fn is_idle(&self) -> bool {
        self.slices.iter().all(|slice| slice.waiting.is_empty())
    }

    /// Any number of TTIs, at least one, in which nobody wants anything.
    pub(super) fn rest(&mut self) {
        let tokens = |ratio: u32| self.prbs * i64::from(ratio);
        for slice in &mut self.slices {
            slice.guarantee = tokens(slice.share.min.hundredths());
            slice.ceiling = tokens(slice.share.max.hundredths()) + PRB;
            slice.dedicated = 0;
            slice.was_empty = true;
        }
    }

    /// One TTI.
    pub(super) fn tti(&mut self, flows: &mut [Flow]) {
        let mut free = self.prbs;
        let mut held = 0;
        for slice in &mut self.slices {
            let tokens = |ratio: u32| self.prbs * i64::from(ratio);
            let min = tokens(slice.share.min.hundredths());
            let max = tokens(slice.share.max.hundredths());
            slice.guarantee = (slice.guarantee + min).min(2 * min + PRB);
            slice.ceiling = (slice.ceiling + max).min(max + PRB);
            slice.dedicated += tokens(slice.share.dedicated.hundredths());
            slice.held = slice.dedicated.div_euclid(PRB);
            slice.dedicated -= slice.held * PRB;
            held += slice.held;
        }
        for slice in &mut self.slices {
            held -= slice.held;
            let guaranteed = slice.guarantee.div_euclid(PRB).max(slice.held);
            let most = guaranteed.min(slice.ceiling / PRB).min(free - held).max(0);
            let used = slice.serve(most, flows, self.end_ns);
            slice.guarantee -= used * PRB;
            free -= used;
            if slice.waiting.is_empty() {
                let min = self.prbs * i64::from(slice.share.min.hundredths());
                slice.guarantee = slice.guarantee.min(min);
                slice.was_empty = true;
                free -= (slice.held - used).max(0);
            }
        }
        self.lend(free, flows);
    }

    /// Hands out what is left over. Who has enough then is seen in the next TTI.
    fn lend(&mut self, mut free: i64, flows: &mut [Flow]) {
        let count = self.slices.len();
        while free > 0 {
            let hungry = |slice: &&Slice| slice.is_waiting() && slice.ceiling >= PRB;
            let takers = self.slices.iter().filter(hungry).count() as i64;
            if takers == 0 {
                break;
            }
            let each = (free / takers).max(1);
            let first = self.turn;
            for index in (0..count).map(|offset| (first + offset) % count) {
                let slice = &mut self.slices[index];
                let most = each.min(slice.ceiling / PRB).min(free);
                let used = slice.serve(most.max(0), flows, self.end_ns);
                free -= used;
                if used > 0 {
                    self.turn = (index + 1) % count;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Ratio;

    fn share(min: f64, max: f64, dedicated: f64) -> Share {
        let ratio = |percent: f64| Ratio::from_hundredths((percent * 100.0).round() as u32);
        Share {
            min: ratio(min),
            max: ratio(max),
            dedicated: ratio(dedicated),
        }
    }

    /// The shares, in hundredths of a percent, that slices get over ten seconds; `true` has demand without end.
    fn shares(prbs: u16, slices: &[(Share, bool)]) -> Vec<u32> {
        const TTIS: u64 = 10_000;
        let mut scheduler = Scheduler::new(prbs);
        let mut flows = Vec::new();
        for (index, (share, has_demand)) in slices.iter().enumerate() {
            flows.push(Flow {
                bits_per_prb: 400,
                is_full: *has_demand,
                ..Flow::default()
            });
            scheduler.slices.push(Slice::default());
            scheduler.set_share(index, *share);
            scheduler.slices[index].enqueue(index, &mut flows);
        }
        for _ in 0..TTIS {
            scheduler.tti(&mut flows);
        }
        let of = |slice: &Slice| Ratio::of(slice.prbs, u64::from(prbs) * TTIS).hundredths();
        scheduler.slices.iter().map(of).collect()
    }

    #[track_caller]
    fn check(prbs: u16, slices: &[(Share, bool)], expected: &[f64]) {
        let got = shares(prbs, slices);
        for (got, expected) in got.iter().zip(expected) {
            let expected = (expected * 100.0).round() as u32;
            assert!(got.abs_diff(expected) <= 1, "{got} for {expected}");
        }
        assert_eq!(got.len(), expected.len());
    }

    #[test]
    fn shares_are_exact_to_a_hundredth_of_a_point_whatever_the_bandwidth() {
        let min = [5.0, 10.0, 15.0, 20.0, 25.0, 25.0];
        let slices = min.map(|min| (share(min, 100.0, 0.0), true));
        for prbs in [6, 15, 25, 50, 52, 75, 100, 106, 273] {
            check(prbs, &slices, &min);
        }
        let odd = [7.77, 33.33, 12.34].map(|max| (share(0.0, max, 0.0), true));
        check(25, &odd, &[7.77, 33.33, 12.34]);
    }

    #[test]
    fn what_nobody_is_owed_is_lent_in_equal_parts_up_to_the_ceilings() {
        let slices = [
            (share(20.0, 100.0, 0.0), true),
            (share(10.0, 100.0, 0.0), true),
            (share(0.0, 5.0, 0.0), true),
        ];
        check(52, &slices, &[52.5, 42.5, 5.0]);
    }

    #[test]
    fn an_idle_guarantee_is_lent_and_an_idle_dedicated_part_is_not() {
        let lends = [
            (share(50.0, 100.0, 0.0), false),
            (share(20.0, 100.0, 0.0), true),
        ];
        check(52, &lends, &[0.0, 100.0]);
        let keeps = [
            (share(50.0, 100.0, 30.0), false),
            (share(20.0, 100.0, 0.0), true),
        ];
        check(52, &keeps, &[0.0, 70.0]);
        check(25, &keeps, &[0.0, 70.0]);
        let uses = [
            (share(50.0, 100.0, 30.0), true),
            (share(20.0, 100.0, 20.0), true),
        ];
        check(25, &uses, &[65.0, 35.0]);
    }

    #[test]
    fn a_slice_that_comes_back_gets_its_minimum_at_once_and_no_more_for_the_time_it_was_away() {
        let mut scheduler = Scheduler::new(50);
        let mut flows = vec![
            Flow {
                bits_per_prb: 100,
                ..Flow::default()
            };
            2
        ];
        flows[1].is_full = true;
        for index in 0..2 {
            scheduler.slices.push(Slice::default());
            scheduler.set_share(index, share(50.0, 100.0, 0.0));
        }
        scheduler.slices[1].enqueue(1, &mut flows);
        for _ in 0..500 {
            scheduler.tti(&mut flows);
        }
        flows[0].is_full = true;
        scheduler.slices[0].enqueue(0, &mut flows);
        let mut before = scheduler.slices[0].prbs;
        for _ in 0..10 {
            scheduler.tti(&mut flows);
            let got = scheduler.slices[0].prbs - before;
            before += got;
            assert!((24..=50).contains(&got), "{got}");
        }
        assert!(before <= 10 * 25 + 25, "{before}");
    }

    #[test]
    fn the_ues_of_a_slice_take_turns_and_small_packets_take_what_they_need() {
        let mut scheduler = Scheduler::new(10);
        scheduler.slices.push(Slice::default());
        let mut flows = vec![
            Flow {
                bits_per_prb: 100,
                ..Flow::default()
            };
            3
        ];
        flows[0].is_full = true;
        flows[1].is_full = true;
        flows[2].backlog_bits = 250;
        for flow in [2, 0, 1] {
            scheduler.slices[0].enqueue(flow, &mut flows);
        }
        scheduler.tti(&mut flows);
        assert_eq!(flows[2].backlog_bits, 0);
        assert!(!flows[2].is_waiting);
        // Three PRB for the small packet, of which half of one is padding; seven for the first of the two.
        assert_eq!(
            (scheduler.slices[0].prbs, scheduler.slices[0].bits),
            (10, 950)
        );
        assert_eq!(scheduler.slices[0].waiting, [1, 0]);
    }
}
