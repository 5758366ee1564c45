//! Addresses and prefixes as the configuration writes them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::ParseValueError;

/// An address with the length of a prefix. As a [`Prefix`] its host bits are zero, as an interface's address they are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    /// Address.
    pub address: IpAddr,
    /// Bits of the network, at most 32 or 128.
    pub length: u8,
}

impl Prefix {
    /// The prefix of this address alone.
    #[must_use]
    pub fn host(address: IpAddr) -> Self {
        let length = if address.is_ipv4() { 32 } else { 128 };
        Self { address, length }
    }

    /// With all bits beyond the length cleared.
    #[must_use]
    pub fn network(self) -> Self {
        let address = match self.address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.length));
                IpAddr::V4((u32::from(address) & mask.unwrap_or(0)).into())
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.length));
                IpAddr::V6((u128::from(address) & mask.unwrap_or(0)).into())
            }
        };
        Self { address, ..self }
    }

    /// Whether an address is in it.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        let inside = Self {
            address,
            length: self.length,
        };
        address.is_ipv4() == self.address.is_ipv4() && inside.network() == self.network()
    }

    /// Whether an address is in both.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        match self.length <= other.length {
            true => self.contains(other.address),
            false => other.contains(self.address),
        }
    }

    /// Whether it is everything of its family.
    #[must_use]
    pub fn is_default(self) -> bool {
        self.length == 0
    }
}

impl FromStr for Prefix {
    type Err = ParseValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || ParseValueError::new("an address with the length of a prefix", text);
        let (address, length) = text.split_once('/').ok_or_else(bad)?;
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let length: u8 = length.parse().map_err(|_| bad())?;
        if length > Self::host(address).length {
            return Err(bad());
        }
        Ok(Self { address, length })
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl Serialize for Prefix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// A prefix as it was written, which may be none: the schema's pattern lets `300.0.0.1/8` pass, and what is wrong with it
/// is said where configurations are checked, with its path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Written(pub String);

impl Written {
    /// What it says.
    ///
    /// # Errors
    /// It says nothing.
    pub fn parse(&self) -> Result<Prefix, ParseValueError> {
        self.0.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn host_bits_are_those_beyond_the_length() {
        for (written, network) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("10.1.2.3/0", "0.0.0.0/0"),
            ("10.1.2.3/32", "10.1.2.3/32"),
            ("fd00::1/64", "fd00::/64"),
            ("fd00::1/0", "::/0"),
        ] {
            assert_eq!(prefix(written).network(), prefix(network), "{written}");
        }
    }

    #[test]
    fn prefixes_overlap_if_one_holds_the_other() {
        for (one, other, expected) in [
            ("10.0.0.0/8", "10.2.0.0/16", true),
            ("10.2.0.0/16", "10.0.0.0/8", true),
            ("10.0.0.0/16", "10.1.0.0/16", false),
            ("0.0.0.0/0", "10.1.0.0/16", true),
            ("0.0.0.0/0", "::/0", false),
            ("fd00::/64", "fd00::7/128", true),
        ] {
            assert_eq!(
                prefix(one).overlaps(prefix(other)),
                expected,
                "{one} {other}"
            );
        }
    }

    #[test]
    fn what_is_no_prefix_is_refused() {
        for text in [
            "10.0.0.0",
            "10.0.0.0/33",
            "300.0.0.1/8",
            "fd00::/129",
            "/8",
            "10.0.0.0/",
        ] {
            assert!(text.parse::<Prefix>().is_err(), "{text}");
        }
    }
}
