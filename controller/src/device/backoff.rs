//! How long to wait before trying again.

use std::time::Duration;

/// Pause after `failures` (at least 1) in a row: doubled each time up to `max`, then anything from half to one and a half of that, so that
/// nodes lost together do not come back together. `random` is in [0, 1).
pub(crate) fn pause(min: Duration, max: Duration, failures: u32, random: f64) -> Duration {
    let doubled = min.saturating_mul(1 << failures.saturating_sub(1).min(20));
    doubled.min(max).mul_f64(0.5 + random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_are_spread() {
        let (min, max) = (Duration::from_secs(1), Duration::from_secs(60));
        let middle: Vec<u64> = (1..9).map(|n| pause(min, max, n, 0.5).as_secs()).collect();
        assert_eq!(middle, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(pause(min, max, 3, 0.0), Duration::from_secs(2));
        assert_eq!(pause(min, max, 3, 1.0), Duration::from_secs(6));
        assert_eq!(pause(min, max, u32::MAX, 0.5), max);
    }
}
