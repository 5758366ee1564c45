//! How many queries of one client are answered. No clock of its own.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Clients that are known at a time. Where there are more, those that are not known share what one has.
const CLIENTS: usize = 4096;
/// For as long a client may have been silent to send as many at once as it may send in this time.
const BURST: Duration = Duration::from_secs(1);

/// What clients have used of their rate: when each has used up what it was lent (a generic cell rate, ITU-T I.371).
#[derive(Debug, Default)]
pub(super) struct Rates {
    used_until: HashMap<IpAddr, Instant>,
}

impl Rates {
    /// Whether one more of a client is within so many a second; then it is counted.
    pub(super) fn take(&mut self, client: IpAddr, rate: u32, now: Instant) -> bool {
        let mut client = whole(client);
        if self.used_until.len() >= CLIENTS && !self.used_until.contains_key(&client) {
            self.used_until.retain(|_, until| *until > now);
            if self.used_until.len() >= CLIENTS {
                client = Ipv6Addr::UNSPECIFIED.into();
            }
        }
        let until = self.used_until.entry(client).or_insert(now);
        let next = (*until).max(now) + Duration::from_secs(1) / rate.max(1);
        let is_within = next <= now + BURST;
        if is_within {
            *until = next;
        }
        is_within
    }
}

/// What is one client: who has an IPv6 address has 64 bits of them.
pub(super) fn whole(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_its_rate_and_once_a_second_of_it_whatever_others_do() {
        let start = Instant::now();
        let mut rates = Rates::default();
        let mut within = |client: &str, count: usize, after: Duration| {
            let client = client.parse().unwrap();
            (0..count)
                .filter(|_| rates.take(client, 10, start + after))
                .count()
        };
        assert_eq!(within("10.0.0.1", 50, Duration::ZERO), 10);
        assert_eq!(within("10.0.0.2", 10, Duration::ZERO), 10);
        assert_eq!(within("10.0.0.1", 50, Duration::from_millis(500)), 5);
        assert_eq!(within("10.0.0.1", 50, Duration::from_secs(60)), 10);
        assert_eq!(within("fd00::1", 9, Duration::ZERO), 9);
        assert_eq!(within("fd00::2", 9, Duration::ZERO), 1, "the same 64 bits");
        assert_eq!(within("fd00:0:0:1::2", 9, Duration::ZERO), 9);
    }

    #[test]
    fn what_is_known_of_clients_is_bounded_and_one_that_is_known_keeps_its_rate() {
        let now = Instant::now();
        let mut rates = Rates::default();
        for number in 0..2 * CLIENTS as u32 {
            rates.take(IpAddr::from(number.to_be_bytes()), 10, now);
        }
        assert!(rates.used_until.len() <= CLIENTS + 1);
        assert!(rates.take(IpAddr::from([0, 0, 0, 1]), 10, now));
        assert!(!rates.take(IpAddr::from([9, 9, 9, 9]), 10, now));
        // Those that are silent make room.
        let later = now + Duration::from_secs(2);
        assert!(rates.take(IpAddr::from([9, 9, 9, 9]), 10, later));
        assert_eq!(rates.used_until.len(), 1);
    }
}
