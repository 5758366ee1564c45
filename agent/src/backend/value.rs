//! Small values that the domains share, each parsed once from its lexical form (RFC 7951) and exact afterwards.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
pub use tranche_steering::{MacAddress, ParseValueError};

/// A share in hundredths of a percent, 0 to 10,000: exactly a decimal64 with two fraction digits in `0..100`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ratio(u16);

impl Ratio {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// All of it, 100 %.
    pub const FULL: Self = Self(10_000);

    /// From hundredths of a percent; more than 10,000 is cut to [`Ratio::FULL`].
    #[must_use]
    pub const fn from_hundredths(hundredths: u32) -> Self {
        if hundredths > 10_000 {
            Self::FULL
        } else {
            Self(hundredths as u16)
        }
    }

    /// The part that `part` is of `whole`, rounded to a hundredth of a percent; nothing if `whole` is 0.
    #[must_use]
    pub fn of(part: u64, whole: u64) -> Self {
        if whole == 0 {
            return Self::ZERO;
        }
        let hundredths = (u128::from(part) * 10_000 + u128::from(whole) / 2) / u128::from(whole);
        Self::from_hundredths(u32::try_from(hundredths).unwrap_or(u32::MAX))
    }

    /// Hundredths of a percent, 0 to 10,000.
    #[must_use]
    pub const fn hundredths(self) -> u32 {
        self.0 as u32
    }

    /// As a fraction of one, 0.0 to 1.0.
    #[must_use]
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }

    /// In percent, 0.0 to 100.0.
    #[must_use]
    pub fn percent(self) -> f64 {
        f64::from(self.0) / 100.0
    }
}

impl fmt::Display for Ratio {
    /// The canonical form of the decimal64: `30.0`, `12.34`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 100, self.0 % 100);
        if rest % 10 == 0 {
            write!(f, "{whole}.{}", rest / 10)
        } else {
            write!(f, "{whole}.{rest:02}")
        }
    }
}

impl FromStr for Ratio {
    type Err = ParseValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hundredths = decimal(text, 2)?;
        u16::try_from(hundredths)
            .ok()
            .filter(|hundredths| *hundredths <= 10_000)
            .map(Self)
            .ok_or_else(|| ParseValueError::new("a ratio in 0..100", text))
    }
}

/// A passphrase or shared secret: never printed.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Takes what must not be printed.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself, for the one who needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// A decimal64 (RFC 7950 9.3) in units of 10^-`digits`.
pub(crate) fn decimal(text: &str, digits: u32) -> Result<i64, ParseValueError> {
    let bad = || ParseValueError::new("a decimal number of the right precision", text);
    let (negative, magnitude) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = magnitude.split_once('.').unwrap_or((magnitude, "0"));
    let kept = fraction.trim_end_matches('0');
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) || kept.len() > digits as usize {
        return Err(bad());
    }
    let mut value: i64 = 0;
    let padded = kept
        .bytes()
        .chain(std::iter::repeat(b'0'))
        .take(digits as usize);
    for digit in whole.bytes().chain(padded) {
        value = value
            .checked_mul(10)
            .and_then(|value| value.checked_add(i64::from(digit - b'0')))
            .ok_or_else(bad)?;
    }
    Ok(if negative { -value } else { value })
}

/// Serialises as the lexical form, which is what RFC 7951 6.1 asks for decimal64 and 64-bit integers.
pub(crate) fn as_text<T: fmt::Display, S: Serializer>(
    value: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// As [`as_text`], for what may be unknown.
pub(crate) fn as_text_if_known<T: fmt::Display, S: Serializer>(
    value: &Option<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => as_text(value, serializer),
        None => serializer.serialize_none(),
    }
}

/// Parses a value from its lexical form, the opposite of [`as_text`].
pub(crate) fn from_text<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: FromStr<Err: fmt::Display>,
    D: Deserializer<'de>,
{
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(de::Error::custom)
}

macro_rules! lexical {
    ($($type:ty),*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                as_text(self, serializer)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                from_text(deserializer)
            }
        }
    )*};
}

lexical!(Ratio);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ratio_is_canonical() {
        for (text, shown) in [
            ("30", "30.0"),
            ("30.00", "30.0"),
            ("0.01", "0.01"),
            ("100.0", "100.0"),
            ("+7.5", "7.5"),
        ] {
            assert_eq!(text.parse::<Ratio>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_ratio_is_refused() {
        for text in [
            "",
            "-1",
            "100.01",
            "1.001",
            "1.",
            ".5",
            "1e2",
            "NaN",
            "99999999999999999999",
        ] {
            assert!(text.parse::<Ratio>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", Secret::new("correct horse")), "(secret)");
    }

    proptest! {
        #[test]
        fn ratio_survives_its_text(hundredths in 0_u32..=10_000) {
            let ratio = Ratio::from_hundredths(hundredths);
            prop_assert_eq!(ratio.to_string().parse::<Ratio>(), Ok(ratio));
        }

        #[test]
        fn ratio_of_a_part_is_rounded(part in 0_u64..1_000_000, rest in 1_u64..1_000_000) {
            let exact = part as f64 / (part + rest) as f64;
            prop_assert!((Ratio::of(part, part + rest).fraction() - exact).abs() <= 0.000_051);
        }
    }
}
