//! How long the packets of a slice waited in one period: from when they came to the end of the TTI in which their last bit went.

use std::collections::{BTreeMap, VecDeque};

/// Significant bits that are kept of a delay: 3 % at most are lost.
const BITS: u32 = 6;

/// Delays of the packets that were sent in one period.
#[derive(Debug, Clone, Default)]
pub(super) struct Delays {
    count: u64,
    sum_us: u64,
    /// How many took so long, in µs rounded up.
    by_us: BTreeMap<u64, u64>,
}

impl Delays {
    fn note(&mut self, delay_ns: u64) {
        let us = delay_ns.div_ceil(1000);
        self.count += 1;
        self.sum_us += us;
        *self.by_us.entry(rounded_up(us)).or_default() += 1;
    }

    /// Mean, in µs; `None` where no packet was sent.
    pub(super) fn mean_us(&self) -> Option<u64> {
        (self.count > 0).then(|| self.sum_us.div_ceil(self.count))
    }

    /// What 99 % of the packets took at most, in µs.
    pub(super) fn p99_us(&self) -> Option<u64> {
        let enough = (self.count * 99).div_ceil(100);
        let mut so_far = 0;
        let mut delays = self.by_us.iter();
        let found = delays.find(|(_, count)| {
            so_far += **count;
            so_far >= enough
        });
        found.filter(|_| self.count > 0).map(|(us, _)| *us)
    }
}

fn rounded_up(us: u64) -> u64 {
    let shift = (u64::BITS - us.leading_zeros()).saturating_sub(BITS);
    us.div_ceil(1 << shift) << shift
}

/// The packets of one UE that wait, in the order in which they came.
#[derive(Debug, Clone, Default)]
pub(super) struct Packets {
    waiting: VecDeque<Packet>,
}

#[derive(Debug, Clone, Copy)]
struct Packet {
    came_ns: u64,
    bits: u64,
}

impl Packets {
    /// A packet came; `bits` of it were taken.
    pub(super) fn push(&mut self, came_ns: u64, bits: u64) {
        if bits > 0 {
            self.waiting.push_back(Packet { came_ns, bits });
        }
    }

    /// Forgets them.
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
    }

    /// So many bits went in a TTI that ended then.
    pub(super) fn send(&mut self, mut bits: u64, end_ns: u64, delays: &mut Delays) {
        while let Some(first) = self.waiting.front_mut() {
            if first.bits > bits {
                first.bits -= bits;
                return;
            }
            bits -= first.bits;
            delays.note(end_ns.saturating_sub(first.came_ns));
            self.waiting.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_packet_has_waited_until_its_last_bit_went() {
        let (mut packets, mut delays) = (Packets::default(), Delays::default());
        packets.push(0, 1000);
        packets.push(MS, 500);
        packets.send(900, 2 * MS, &mut delays);
        assert_eq!(delays.mean_us(), None, "nothing is through yet");
        packets.send(600, 3 * MS, &mut delays);
        assert_eq!(delays.mean_us(), Some(2500));
        packets.push(9 * MS, 1);
        packets.clear();
        packets.send(1, 10 * MS, &mut delays);
        assert_eq!(delays.count, 2);
    }

    #[test]
    fn the_percentile_is_that_of_99_in_100() {
        let mut delays = Delays::default();
        for _ in 0..990 {
            delays.note(MS);
        }
        for _ in 0..10 {
            delays.note(40 * MS);
        }
        assert_eq!(delays.p99_us(), Some(rounded_up(1000)));
        delays.note(40 * MS);
        assert_eq!(delays.p99_us(), Some(rounded_up(40_000)));
        assert_eq!(Delays::default().p99_us(), None);
    }

    #[test]
    fn no_more_than_3_percent_is_lost_in_rounding() {
        for us in [0, 1, 63, 64, 65, 999, 1000, 65_537, 8_000_001] {
            let rounded = rounded_up(us);
            assert!(
                rounded >= us && rounded * 32 <= us * 33 + 32,
                "{us}: {rounded}"
            );
        }
    }
}
