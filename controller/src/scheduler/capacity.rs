//! How much airtime a row offers to our vifs.
//!
//! `C = eta * (1 - e)`: `e` is what others take (channel busy time less what we sent, received airtime included), and
//! `eta` what is left of the rest once gaps between frames and backoff are paid. `eta` is learned from periods in
//! which the row was saturated, so that the shares of a fully loaded row sum to about 100 %.

/// What is usable of a channel where nothing was learned yet.
const ETA_PRIOR: f64 = 0.87;
/// Range of `eta`. Above 1 there is no more time than there is.
const ETA_RANGE: (f64, f64) = (0.5, 1.0);
/// Smoothing of external load.
const EXTERNAL_ALPHA: f64 = 0.5;
/// Smoothing of `eta` once it has settled; the first lessons weigh more.
const ETA_ALPHA: f64 = 0.3;
/// Below this busy time a row is not saturated, whatever a backlog flag says.
const SATURATED_BUSY: f64 = 0.6;
/// While external load is this far from its smoothed value, `eta` would be charged with the difference.
const MOVING: f64 = 0.05;
/// A row that is filled to this part of a saturated one has no gaps.
const NO_GAPS: f64 = 0.97;
/// Least capacity, so that targets stay positive under total occupation by others.
const LEAST: f64 = 0.02;

/// What a row showed in one period, as fractions of wall-clock time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Observation {
    /// Channel busy time.
    pub(crate) busy: f64,
    /// Airtime our vifs in the row sent.
    pub(crate) used: f64,
    /// A vif wanted more than it got.
    pub(crate) short: bool,
    /// One that did was not held by a ceiling: what was used is all there was.
    pub(crate) uncapped: bool,
}

/// Capacity of one row over time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Capacity {
    eta: f64,
    lessons: u32,
    external: Option<f64>,
    /// Part of the free time that our vifs fill in saturated periods, smoothed.
    full: Option<f64>,
}

impl Default for Capacity {
    fn default() -> Self {
        Self {
            eta: ETA_PRIOR,
            lessons: 0,
            external: None,
            full: None,
        }
    }
}

impl Capacity {
    /// Takes in one period.
    pub(crate) fn observe(&mut self, seen: Observation) {
        // Smoothed before it is cut at zero, or noise would count as load.
        let external = seen.busy - seen.used;
        self.external = Some(match self.external {
            Some(old) => old + EXTERNAL_ALPHA * (external - old),
            None => external,
        });
        let free = 1.0 - self.external();
        let moving = self
            .external
            .is_some_and(|smoothed| (smoothed - external).abs() > MOVING);
        if free <= LEAST || moving {
            return;
        }
        let eta = seen.used / free;
        let saturated = self.is_saturated(seen, free);
        // Our own ceilings hold the sum down, so a capped row says only that there is at least as much as was used.
        if saturated || eta > self.eta {
            self.lessons = self.lessons.saturating_add(1);
            let alpha = (1.0 / f64::from(self.lessons.saturating_add(1))).max(ETA_ALPHA);
            self.eta = (self.eta + alpha * (eta - self.eta)).clamp(ETA_RANGE.0, ETA_RANGE.1);
        }
    }

    /// Whether what was used is all there was. Ceilings leave gaps, which show in how much of the free time our vifs fill; where
    /// there are no more gaps than in a row without ceilings, somebody is held back by the channel and not by his ceiling.
    fn is_saturated(&mut self, seen: Observation, free: f64) -> bool {
        if seen.busy < SATURATED_BUSY {
            return false;
        }
        // What collided is counted by all who sent it.
        let filled = seen.used.min(seen.busy) / free;
        if seen.uncapped {
            let full = self.full.unwrap_or(filled);
            self.full = Some(full + ETA_ALPHA * (filled - full));
            return true;
        }
        seen.short && self.full.is_some_and(|full| filled >= NO_GAPS * full)
    }

    /// Smoothed airtime taken by others, fraction of wall-clock time.
    pub(crate) fn external(&self) -> f64 {
        self.external.unwrap_or(0.0).clamp(0.0, 1.0)
    }

    /// Airtime available to our vifs, fraction of wall-clock time.
    pub(crate) fn value(&self) -> f64 {
        (self.eta * (1.0 - self.external())).max(LEAST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(observations: impl IntoIterator<Item = Observation>) -> Capacity {
        let mut capacity = Capacity::default();
        for seen in observations {
            capacity.observe(seen);
        }
        capacity
    }

    fn saturated(busy: f64, used: f64) -> Observation {
        Observation {
            busy,
            used,
            short: true,
            uncapped: true,
        }
    }

    #[test]
    fn a_saturated_row_teaches_what_it_carries() {
        for (busy, used) in [(0.95, 0.8), (0.83, 0.83), (0.97, 0.55), (1.0, 0.9)] {
            let learned = after(std::iter::repeat_n(saturated(busy, used), 20)).value();
            assert!(
                (learned - used).abs() < 0.01,
                "busy {busy}, used {used}, learned {learned}"
            );
        }
    }

    #[test]
    fn ceilings_do_not_depress_the_estimate() {
        let capped = Observation {
            busy: 0.6,
            used: 0.6,
            short: true,
            uncapped: false,
        };
        let learned = after(std::iter::repeat_n(saturated(0.86, 0.86), 10).chain([capped; 100]));
        assert!((learned.value() - 0.86).abs() < 0.01, "{learned:?}");
    }

    #[test]
    fn collisions_that_ceilings_avoid_are_unlearned_while_the_channel_stays_full() {
        // Two saturated radios: what collided was counted twice. With ceilings less collides, and the channel is as busy.
        let before = after(std::iter::repeat_n(saturated(0.945, 0.99), 8));
        let capped = Observation {
            busy: 0.935,
            used: 0.96,
            short: true,
            uncapped: false,
        };
        let mut capacity = before;
        for _ in 0..8 {
            capacity.observe(capped);
        }
        assert!((capacity.value() - 0.96).abs() < 0.015, "{capacity:?}");
    }

    #[test]
    fn a_quiet_row_with_a_backlog_flag_teaches_nothing() {
        let learned = after([saturated(0.3, 0.3); 50]).value();
        assert!((learned - ETA_PRIOR).abs() < 1e-9, "{learned}");
    }

    #[test]
    fn capacity_never_exceeds_what_others_leave() {
        let learned = after([saturated(0.9, 1.4); 50]);
        assert!(
            learned.value() <= 1.0 - learned.external() + 1e-12,
            "{learned:?}"
        );
        let learned = after([saturated(1.0, 0.1); 50]);
        assert!(learned.value() <= 0.1 + 1e-9, "{learned:?}");
    }

    #[test]
    fn noise_around_zero_is_not_external_load() {
        let noisy = (0..200).map(|i| saturated(0.85 + if i % 2 == 0 { 0.02 } else { -0.02 }, 0.85));
        assert!(after(noisy).external() < 0.01);
    }
}
