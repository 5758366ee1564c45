//! How long packets were held: a histogram whose steps are fine where times are short.

/// How long packets were held, in steps of an eighth of an octave.
#[derive(Debug, Clone)]
pub(crate) struct Histogram {
    counts: Box<[u32; 256]>,
    total: u32,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: Box::new([0; 256]),
            total: 0,
        }
    }
}

impl Histogram {
    pub(crate) fn add_ns(&mut self, held_ns: u64) {
        self.add(Self::step(held_ns / 1000), 1);
    }

    /// Adds what somebody else counted in a step.
    pub(crate) fn add(&mut self, step: usize, count: u32) {
        if let Some(counted) = self.counts.get_mut(step) {
            *counted = counted.wrapping_add(count);
            self.total = self.total.wrapping_add(count);
        }
    }

    /// Steps 0..8 are microseconds, above are eight to an octave.
    fn step(us: u64) -> usize {
        if us < 8 {
            return us as usize;
        }
        let octave = us.ilog2() as usize;
        let eighth = (us >> (octave - 3)) as usize & 7;
        ((octave - 2) * 8 + eighth).min(255)
    }

    fn value_us(step: usize) -> u32 {
        if step < 8 {
            return step as u32;
        }
        let (octave, eighth) = (step / 8 + 2, step % 8);
        (((8 + eighth) as u64) << (octave - 3))
            .try_into()
            .unwrap_or(u32::MAX)
    }

    /// The value below which `per_mille` of all lie.
    pub(crate) fn quantile_us(&self, per_mille: u64) -> u32 {
        let rank = (u64::from(self.total) * per_mille).div_ceil(1000);
        let mut seen = 0;
        for (step, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= rank && seen > 0 {
                return Self::value_us(step);
            }
        }
        0
    }

    pub(crate) fn clear(&mut self) {
        if self.total > 0 {
            self.counts.fill(0);
            self.total = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_an_eighth() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile_us(990), 0);
        for us in 1..=10_000_u64 {
            histogram.add_ns(us * 1000);
        }
        for (per_mille, exact) in [(500, 5000.0), (990, 9900.0)] {
            let value = f64::from(histogram.quantile_us(per_mille));
            assert!(
                value <= exact && value >= exact * 0.87,
                "{per_mille}: {value}"
            );
        }
        histogram.clear();
        assert_eq!(histogram.quantile_us(500), 0);
    }
}
