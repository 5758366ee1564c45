//! The scheduler's arithmetic as the simulator calls it: `bpf/airtime.h`, compiled natively.
//!
//! Owns the translation of ratios into weights and of the C structs into values. Leaves queues, clocks and frames to the
//! caller.

use std::time::Duration;

use super::ffi;
use crate::backend::Ratio;

/// How many vifs of one radio the scheduler carries.
pub const MAX_VIFS: usize = 32;

const ONE: u32 = 65_536;

/// What each vif of a radio is owed, as weights that sum to about 1,000,000, from the minimum ratios in force.
///
/// What nobody is guaranteed is shared equally, and nobody is left with nothing: a vif next to one with a minimum of 100 %
/// still gets one part in ten thousand. Minimums that sum past 100 %, as corrections may for a moment, are scaled down.
#[must_use]
pub fn weights(min_ratios: &[Ratio]) -> Vec<u32> {
    let count = min_ratios.len().max(1) as u64;
    let owed: u64 = min_ratios
        .iter()
        .map(|ratio| u64::from(ratio.hundredths()))
        .sum();
    let free = 10_000_u64.saturating_sub(owed) * 100 / count;
    let scale = owed.max(10_000);
    min_ratios
        .iter()
        .map(|ratio| u64::from(ratio.hundredths()) * 1_000_000 / scale + free)
        .map(|weight| u32::try_from(weight.clamp(100, 1_000_000)).unwrap_or(1_000_000))
        .collect()
}

/// Airtime of `segments` frames with `bytes` in sum at `rate_kbps`, as estimated before sending.
#[must_use]
pub fn estimate_ns(overhead_ns: u64, segments: u32, bytes: u32, rate_kbps: u32) -> u64 {
    ffi::estimate(overhead_ns, segments, bytes, rate_kbps)
}

/// Whether a packet may be queued, and until when it is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It leaves at this time.
    Send {
        /// Departure, on the caller's clock.
        departure_ns: u64,
    },
    /// It would be held longer than the longest delay.
    Drop,
}

/// A packet that was on the air, all its tries together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Completion {
    /// When it was let go.
    pub departure_ns: u64,
    /// What it had been charged.
    pub estimated_ns: u64,
    /// What it really took; 0 if the driver does not say.
    pub measured_ns: u64,
}

/// Counters of one vif since it was added.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets held back.
    pub delayed: u64,
    /// Packets dropped because of the longest delay.
    pub dropped: u64,
    /// Airtime as estimated.
    pub estimated_ns: u64,
    /// Airtime as measured.
    pub measured_ns: u64,
    /// Estimated airtime of frames whose completion never came.
    pub lost_ns: u64,
}

/// The scheduler of one radio. Times are nanoseconds on one clock of the caller's.
pub struct RadioLaw {
    state: Box<ffi::Radio>,
    /// How many packets of each vif had waited long when that was asked last.
    asked: [u32; MAX_VIFS],
}

impl RadioLaw {
    /// A scheduler without vifs.
    #[must_use]
    pub fn new(now_ns: u64, settings: Settings) -> Self {
        let mut law = Self {
            state: Box::default(),
            asked: [0; MAX_VIFS],
        };
        law.configure(now_ns, settings);
        law
    }

    /// Changes the settings while it runs. Another longest delay makes it forget what is in flight.
    pub fn configure(&mut self, now_ns: u64, settings: Settings) {
        self.state.interval = duration_ns(settings.interval);
        self.state.burst = duration_ns(settings.burst);
        let horizon_ns = duration_ns(settings.max_delay);
        if self.state.horizon != horizon_ns || self.state.congestion == 0 {
            self.state.horizon = horizon_ns;
            self.reset(now_ns);
        }
    }

    /// Forgets what was measured and everything in flight.
    pub fn reset(&mut self, now_ns: u64) {
        ffi::reset(&mut self.state, now_ns);
    }

    /// Adds or changes the vif in a slot, 0 to [`MAX_VIFS`] - 1; `weight` 0 takes it away. There are no other slots.
    pub fn set_vif(&mut self, slot: usize, weight: u32, ceiling: Ratio) {
        let Some(vif) = self.state.vif.get_mut(slot) else {
            return;
        };
        if weight == 0 {
            *vif = ffi::Vif::default();
            if let Some(asked) = self.asked.get_mut(slot) {
                *asked = 0;
            }
        } else {
            vif.weight = weight;
            vif.ceiling = ceiling.hundredths().max(1);
        }
        let used = self.state.vif.iter().rposition(|vif| vif.weight > 0);
        self.state.slots = used.map_or(0, |last| last as u32 + 1);
        // Shares follow at once, not at the next millisecond.
        self.state.refresh_at = 0;
    }

    /// A packet of `airtime_ns` wants to leave.
    pub fn admit(&mut self, slot: usize, now_ns: u64, airtime_ns: u64) -> Verdict {
        match ffi::admit(&mut self.state, slot as u32, now_ns, airtime_ns, 0) {
            Some(departure_ns) => Verdict::Send { departure_ns },
            None => Verdict::Drop,
        }
    }

    /// A packet was on the air.
    pub fn complete(&mut self, slot: usize, now_ns: u64, completion: Completion) {
        ffi::complete(&mut self.state, slot as u32, now_ns, completion);
    }

    /// A packet that was charged `estimated_ns` was thrown away before it was on the air.
    pub fn cancel(&mut self, slot: usize, departure_ns: u64, estimated_ns: u64) {
        ffi::cancel(&mut self.state, slot as u32, departure_ns, estimated_ns);
    }

    /// Brings shares and congestion up to date where no packet does it.
    pub fn refresh(&mut self, now_ns: u64) {
        ffi::refresh(&mut self.state, now_ns);
    }

    /// How far ahead of `now_ns` a vif's next packet would leave.
    #[must_use]
    pub fn held_ns(&self, slot: usize, now_ns: u64) -> u64 {
        self.state.vif.get(slot).map_or(0, |vif| {
            vif.next.max(vif.next_ceiling).saturating_sub(now_ns)
        })
    }

    /// The part of the available airtime that a vif may use now, 0.0 to 1.0.
    #[must_use]
    pub fn share(&self, slot: usize) -> f64 {
        self.state
            .vif
            .get(slot)
            .map_or(0.0, |vif| f64::from(vif.share) / f64::from(ONE))
    }

    /// Time that an amount of airtime takes on this medium, over that airtime, in thousandths.
    #[must_use]
    pub fn congestion_thousandths(&self) -> u32 {
        self.state.congestion_thousandths()
    }

    /// Whether a vif had to wait long since this was asked last.
    pub fn take_backlogged(&mut self, slot: usize) -> bool {
        let (Some(vif), Some(asked)) = (self.state.vif.get(slot), self.asked.get_mut(slot)) else {
            return false;
        };
        std::mem::replace(asked, vif.backlogged) != vif.backlogged
    }

    /// Counters of a vif.
    #[must_use]
    pub fn counters(&self, slot: usize) -> Counters {
        self.state
            .vif
            .get(slot)
            .map_or_else(Counters::default, |vif| Counters {
                delayed: vif.delayed,
                dropped: vif.dropped,
                estimated_ns: vif.estimated,
                measured_ns: vif.measured,
                lost_ns: vif.lost,
            })
    }
}

impl std::fmt::Debug for RadioLaw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let vifs = self.state.vif.iter().filter(|vif| vif.weight > 0).count();
        f.debug_struct("RadioLaw")
            .field("congestion_thousandths", &self.congestion_thousandths())
            .field("outstanding_ns", &self.state.outstanding)
            .field("vifs", &vifs)
            .finish_non_exhaustive()
    }
}

/// Settings of one radio's scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Accounting interval within which a guaranteed ratio is met.
    pub interval: Duration,
    /// Longest a packet is held.
    pub max_delay: Duration,
    /// Airtime that leaves at once, so that the driver can aggregate.
    pub burst: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            interval: Duration::from_millis(100),
            max_delay: Duration::from_millis(50),
            burst: Duration::from_millis(2),
        }
    }
}

fn duration_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos())
        .unwrap_or(u64::MAX / 4)
        .min(u64::MAX / 4)
}

#[cfg(test)]
mod tests;
