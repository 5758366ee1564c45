//! What was reported, put together over all periods.

use std::collections::BTreeMap;
use std::time::Duration;

use tranche_tests::prb::{PrbReport, PrbUse};

/// Reports so far.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    measured: Duration,
    /// By slice and direction: 0 is down, 1 is up.
    sums: BTreeMap<(String, usize), Sum>,
}

/// Sums weighted by the length of the periods.
#[derive(Debug, Default, Clone, Copy)]
struct Sum {
    ues: u32,
    share: f64,
    throughput: f64,
    delay_us: f64,
    delay_weight: f64,
    p99_us: Option<f64>,
}

/// Means over all periods; the delay of 99 % is that of the worst period.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(crate) struct Mean {
    pub(crate) ues: u32,
    pub(crate) share: f64,
    /// Bit/s.
    pub(crate) throughput: f64,
    pub(crate) delay_us: Option<f64>,
    pub(crate) p99_us: Option<f64>,
}

impl Figures {
    /// Takes in a report.
    pub(crate) fn take(&mut self, report: &PrbReport) {
        let seconds = report.interval.as_secs_f64();
        self.measured += report.interval;
        for profile in &report.profiles {
            for (direction, got) in profile.directions.iter().enumerate() {
                let at = (profile.slice.clone(), direction);
                let sum = self.sums.entry(at).or_default();
                sum.ues = profile.ues;
                sum.take(seconds, got);
            }
        }
    }

    /// How long was measured.
    pub(crate) fn measured(&self) -> Duration {
        self.measured
    }

    /// What a slice got in a direction.
    pub(crate) fn of(&self, slice: &str, direction: usize) -> Mean {
        let sum = self.sums.get(&(slice.to_owned(), direction));
        let seconds = self.measured.as_secs_f64();
        sum.filter(|_| seconds > 0.0)
            .map_or_else(Mean::default, |sum| Mean {
                ues: sum.ues,
                share: sum.share / seconds,
                throughput: sum.throughput / seconds,
                delay_us: (sum.delay_weight > 0.0).then(|| sum.delay_us / sum.delay_weight),
                p99_us: sum.p99_us,
            })
    }
}

impl Sum {
    fn take(&mut self, seconds: f64, got: &PrbUse) {
        self.share += seconds * got.used;
        self.throughput += seconds * got.throughput as f64;
        if let Some((mean, p99)) = got.delay {
            // By the bits that were carried: a period with few packets says little.
            let weight = seconds * got.throughput as f64;
            self.delay_us += weight * f64::from(mean);
            self.delay_weight += weight;
            self.p99_us = Some(self.p99_us.unwrap_or(0.0).max(f64::from(p99)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tranche_tests::prb::OnCell;

    #[test]
    fn longer_periods_count_for_more_and_the_worst_delay_is_kept() {
        let report = |seconds, used, delay| PrbReport {
            interval: Duration::from_secs(seconds),
            profiles: vec![OnCell {
                cell: "c".into(),
                slice: "a".into(),
                ues: 10,
                directions: [PrbUse {
                    used,
                    throughput: 1000,
                    delay,
                }; 2],
            }],
        };
        let mut figures = Figures::default();
        figures.take(&report(1, 10.0, Some((1000, 5000))));
        figures.take(&report(3, 30.0, Some((2000, 3000))));
        figures.take(&report(1, 0.0, None));
        let got = figures.of("a", 1);
        assert_eq!((got.ues, got.share, got.throughput), (10, 20.0, 1000.0));
        assert_eq!((got.delay_us, got.p99_us), (Some(1750.0), Some(5000.0)));
        assert_eq!(figures.of("b", 0), Mean::default());
    }
}
