//! The integral term: what has to be added to a target so that what is measured comes to it, whatever the gain of the node.

/// Errors below this part of the target are left alone.
pub(super) const DEAD_BAND: f64 = 0.02;
/// Smoothing of the error.
pub(super) const ERROR_ALPHA: f64 = 0.5;
/// The term stays within this part of the target.
const RANGE: f64 = 0.5;
/// What is left of the term after an idle period.
pub(super) const IDLE_DECAY: f64 = 0.8;
/// A target that moves by more than this part is given time to take effect before its error counts.
const JUMP: f64 = 0.1;
/// That time, in periods.
const SETTLE: u8 = 2;

/// The term of one flow. All are fractions of what is shared.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Integral {
    /// Smoothed distance from the target.
    error: f64,
    value: f64,
    /// Target of the period before.
    last_target: f64,
    /// Periods to go until a new target has had its effect.
    settling: u8,
}

/// What a period showed of a flow.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// What it should get.
    pub(super) target: f64,
    /// What it got.
    pub(super) used: f64,
    /// It asks for more than it gets.
    pub(super) is_short: bool,
    /// All that it could be given.
    pub(super) capacity: f64,
}

impl Integral {
    /// What is to be added to the target.
    pub(super) fn value(&self) -> f64 {
        self.value
    }

    /// Forgets what it learned.
    pub(super) fn reset(&mut self) {
        (self.value, self.error) = (0.0, 0.0);
    }

    /// Moves the term by what is between target and use, smoothed. Not while a new target has yet to take effect, for errors
    /// within the dead band, or upwards where there is no more to give; while the flow asks for less it fades.
    pub(super) fn advance(&mut self, seen: Seen, gain: f64) {
        let target = seen.target;
        let jumped = (target - self.last_target).abs() > JUMP * target.max(self.last_target);
        self.last_target = target;
        if jumped {
            self.settling = SETTLE;
            self.error = 0.0;
        } else {
            self.settling = self.settling.saturating_sub(1);
        }
        if !seen.is_short {
            self.error = 0.0;
            self.value *= IDLE_DECAY;
            return;
        }
        if self.settling == 0 {
            self.error += ERROR_ALPHA * ((target - seen.used) - self.error);
            let saturated = target + self.value >= seen.capacity && self.error > 0.0;
            if self.error.abs() > DEAD_BAND * target && !saturated {
                self.value += gain * self.error;
            }
        }
        let range = RANGE * target;
        self.value = self.value.clamp(-range, range);
    }

    /// The term is not let below zero: where more than the target is welcome.
    pub(super) fn raise_only(&mut self) {
        self.value = self.value.max(0.0);
    }
}
