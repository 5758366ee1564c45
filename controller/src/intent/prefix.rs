//! IP prefixes and the addresses in them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// An address with the length of a prefix. Bits beyond the length may be set: [`Prefix::has_host_bits`] tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    /// Address.
    pub address: IpAddr,
    /// Bits of the network, at most 32 or 128.
    pub length: u8,
}

/// A text that is no prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no address with the length of a prefix")]
pub struct BadPrefix(String);

impl Prefix {
    /// The prefix of this address alone.
    #[must_use]
    pub fn host(address: IpAddr) -> Self {
        let length = if address.is_ipv4() { 32 } else { 128 };
        Self { address, length }
    }

    /// Whether bits beyond the length are set.
    #[must_use]
    pub fn has_host_bits(self) -> bool {
        self.network() != self
    }

    /// With all bits beyond the length cleared.
    #[must_use]
    pub fn network(self) -> Self {
        let free = self.host_bits();
        let bits = bits(self.address);
        let cleared = bits.checked_shr(free).unwrap_or(0);
        let cleared = cleared.checked_shl(free).unwrap_or(0);
        Self {
            address: self.address_of(cleared),
            ..self
        }
    }

    /// Whether an address is in it.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        let inside = Self {
            address,
            length: self.length,
        };
        self.is_like(address) && inside.network().address == self.network().address
    }

    /// Whether an address is in both.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        match self.length <= other.length {
            true => self.contains(other.address),
            false => other.contains(self.address),
        }
    }

    /// Whether everything of the other one is in it.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        self.length <= other.length && self.contains(other.address)
    }

    /// Whether it is everything of its family.
    #[must_use]
    pub fn is_default(self) -> bool {
        self.length == 0
    }

    /// Whether an address is of its family.
    #[must_use]
    pub fn is_like(self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4()
    }

    /// The addresses in it that an end of a tunnel can have, in order: without the first one, and of IPv4 without the last,
    /// where there are more than two.
    pub fn hosts(self) -> impl Iterator<Item = IpAddr> {
        let count = 1u128.checked_shl(self.host_bits()).unwrap_or(u128::MAX);
        let range = match (count, self.address.is_ipv4()) {
            (0..=2, _) => 0..count,
            (_, true) => 1..count - 1,
            (_, false) => 1..count,
        };
        let first = bits(self.network().address);
        range.map(move |offset| self.address_of(first + offset))
    }

    /// The prefixes of a length in it, in order; none where the length is shorter than its own.
    pub fn subnets(self, length: u8) -> impl Iterator<Item = Self> {
        let longest = Self::host(self.address).length;
        let fits = (self.length..=longest).contains(&length);
        let step = u32::from(longest.saturating_sub(length));
        let count = match fits {
            true => 1u128
                .checked_shl(u32::from(length - self.length))
                .unwrap_or(u128::MAX),
            false => 0,
        };
        let first = bits(self.network().address);
        (0..count).map(move |index| Self {
            address: self.address_of(first + (index << step)),
            length,
        })
    }

    fn host_bits(self) -> u32 {
        let longest = Self::host(self.address).length;
        u32::from(longest.saturating_sub(self.length))
    }

    /// An address of the same family.
    fn address_of(self, bits: u128) -> IpAddr {
        match self.address {
            // An IPv4 address has 32 bits, of which none is lost.
            IpAddr::V4(_) => IpAddr::V4(u32::try_from(bits).unwrap_or(u32::MAX).into()),
            IpAddr::V6(_) => IpAddr::V6(bits.into()),
        }
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

impl FromStr for Prefix {
    type Err = BadPrefix;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || BadPrefix(text.to_owned());
        let (address, length) = text.split_once('/').ok_or_else(bad)?;
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let length: u8 = length.parse().map_err(|_| bad())?;
        match length <= Self::host(address).length {
            true => Ok(Self { address, length }),
            false => Err(bad()),
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().expect("a prefix")
    }

    #[test]
    fn hosts_leave_out_what_no_end_can_have() {
        let hosts = |text: &str| {
            let all = prefix(text).hosts().take(9);
            all.map(|host| host.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(hosts("10.0.0.0/30"), ["10.0.0.1", "10.0.0.2"]);
        assert_eq!(hosts("10.0.0.0/31"), ["10.0.0.0", "10.0.0.1"]);
        assert_eq!(hosts("10.0.0.7/32"), ["10.0.0.7"]);
        assert_eq!(hosts("fd00::/127"), ["fd00::", "fd00::1"]);
        assert_eq!(hosts("fd00::/0")[0], "::1");
        assert_eq!(hosts("255.255.255.252/30").len(), 2);
    }

    #[test]
    fn subnets_follow_each_other() {
        let subnets = |text: &str, length| {
            let all = prefix(text).subnets(length).take(5);
            all.map(|one| one.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(
            subnets("10.0.0.0/22", 24),
            ["10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24", "10.0.3.0/24"]
        );
        assert_eq!(subnets("fd00::/63", 64), ["fd00::/64", "fd00:0:0:1::/64"]);
        assert!(subnets("10.0.0.0/24", 22).is_empty());
        assert!(subnets("10.0.0.0/24", 33).is_empty());
    }

    #[test]
    fn what_is_no_prefix_is_refused() {
        for text in ["10.0.0.0", "10.0.0.0/33", "fd00::/129", "300.0.0.1/8", "/8"] {
            assert!(text.parse::<Prefix>().is_err(), "{text}");
        }
        assert!(prefix("10.0.0.1/8").has_host_bits() && !prefix("0.0.0.0/0").has_host_bits());
    }

    proptest! {
        #[test]
        fn every_host_and_subnet_is_inside(bits: u32, length in 0u8..=32) {
            let whole = Prefix { address: IpAddr::V4(bits.into()), length };
            prop_assert!(whole.hosts().take(100).all(|host| whole.contains(host)));
            let longer = length.saturating_add(3).min(32);
            prop_assert!(whole.subnets(longer).all(|one| whole.covers(one) && !one.has_host_bits()));
        }
    }
}
