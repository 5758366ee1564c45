//! Random numbers of the simulation: the same on every machine and in every version, since a seed is part of a scenario.

/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Debug, Clone)]
pub(crate) struct Rng(u64);

impl Rng {
    /// A stream of its own for everything that `names` tells apart under a seed.
    pub(crate) fn seeded(seed: u64, names: &[&str]) -> Self {
        Self(names.iter().fold(seed, |state, name| {
            state ^ fingerprint(name).rotate_left(17)
        }))
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `0..=max`.
    pub(crate) fn up_to(&mut self, max: u64) -> u64 {
        let wide = u128::from(self.next_u64()) * (u128::from(max) + 1);
        (wide >> 64) as u64
    }

    /// True with probability `part` out of `whole`.
    pub(crate) fn chance(&mut self, part: u32, whole: u32) -> bool {
        self.up_to(u64::from(whole.max(1)) - 1) < u64::from(part)
    }

    /// Exponentially distributed around `mean`, at most 16 times as long.
    pub(crate) fn exponential(&mut self, mean: u64) -> u64 {
        let uniform = (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        ((1.0 - uniform).ln().abs().min(16.0) * mean as f64) as u64
    }
}

/// FNV-1a of a name, for seeds and addresses.
pub(crate) fn fingerprint(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_by_name_and_repeat_by_seed() {
        let draw = |seed, name: &str| Rng::seeded(seed, &[name]).next_u64();
        assert_eq!(draw(1, "a"), draw(1, "a"));
        assert_ne!(draw(1, "a"), draw(1, "b"));
        assert_ne!(draw(1, "a"), draw(2, "a"));
    }

    #[test]
    fn draws_keep_to_their_range_and_mean() {
        let mut rng = Rng::seeded(3, &[]);
        let mut sum = 0;
        for _ in 0..10_000 {
            let draw = rng.up_to(15);
            assert!(draw <= 15);
            sum += draw;
        }
        assert!((74_000..76_000).contains(&sum), "{sum}");
        let mean = (0..10_000).map(|_| rng.exponential(1000)).sum::<u64>() / 10_000;
        assert!((960..1040).contains(&mean), "{mean}");
    }
}
