//! Ratios as the models have them: percent with two digits, exact.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};

/// A share, 0 to 100 percent in steps of a hundredth (`decimal64` with two fraction digits).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ratio(u16);

/// Text that is not a ratio.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a percentage from 0 to 100 with at most two digits after the point")]
pub struct BadRatio(pub String);

impl Ratio {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// All of it.
    pub const FULL: Self = Self(10_000);

    /// The nearest ratio to a percentage; what is out of range is clipped.
    #[must_use]
    pub fn from_percent(percent: f64) -> Self {
        // In range after the clamp, and a NaN becomes 0.
        Self((percent * 100.0).round().clamp(0.0, 10_000.0) as u16)
    }

    /// So many hundredths of a percent; what is out of range is clipped.
    #[must_use]
    pub fn from_hundredths(hundredths: u32) -> Self {
        // In range after the minimum.
        Self(hundredths.min(10_000) as u16)
    }

    /// In percent.
    #[must_use]
    pub fn percent(self) -> f64 {
        f64::from(self.0) / 100.0
    }

    /// In hundredths of a percent.
    #[must_use]
    pub fn hundredths(self) -> u32 {
        u32::from(self.0)
    }
}

impl FromStr for Ratio {
    type Err = BadRatio;

    fn from_str(text: &str) -> Result<Self, BadRatio> {
        let bad = || BadRatio(text.to_owned());
        let text = text.trim();
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits =
            |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let fraction = if fraction.len() > 2 {
            fraction.trim_end_matches('0')
        } else {
            fraction
        };
        let fraction = if fraction.is_empty() { "0" } else { fraction };
        if !digits(whole) || !digits(fraction) || fraction.len() > 2 {
            return Err(bad());
        }
        let whole: u32 = whole.parse().map_err(|_| bad())?;
        let tail: u32 = fraction.parse().map_err(|_| bad())?;
        let tail = if fraction.len() == 1 { tail * 10 } else { tail };
        let hundredths = whole
            .checked_mul(100)
            .and_then(|whole| whole.checked_add(tail))
            .ok_or_else(bad)?;
        u16::try_from(hundredths)
            .ok()
            .filter(|&value| value <= 10_000)
            .map(Self)
            .ok_or_else(bad)
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

impl<'de> Deserialize<'de> for Ratio {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // RFC 7951 6.1: a decimal64 is a string.
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_is_read_exactly() {
        for (text, hundredths) in [
            ("0", 0),
            ("30", 3000),
            ("30.0", 3000),
            ("0.1", 10),
            ("0.01", 1),
            ("33.33", 3333),
            ("100.00", 10_000),
            ("7.500", 750),
        ] {
            assert_eq!(
                text.parse::<Ratio>().expect(text).hundredths(),
                hundredths,
                "{text}"
            );
        }
        for text in [
            "",
            ".",
            "-1",
            "100.01",
            "1e2",
            "1.234",
            "1,5",
            "99999999999",
            "NaN",
        ] {
            assert!(text.parse::<Ratio>().is_err(), "{text}");
        }
        assert_eq!(Ratio::from_percent(f64::NAN), Ratio::ZERO);
        assert_eq!(Ratio::from_percent(250.0), Ratio::FULL);
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(hundredths in 0u16..=10_000) {
            let ratio = Ratio(hundredths);
            prop_assert_eq!(ratio.to_string().parse::<Ratio>(), Ok(ratio));
            prop_assert_eq!(Ratio::from_percent(ratio.percent()), ratio);
        }
    }
}
