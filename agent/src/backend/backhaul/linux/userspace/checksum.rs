//! The Internet checksum (RFC 1071), in the byte order of the machine: sums are the same in either, and so nothing is swapped.

use std::net::IpAddr;

/// Adds a piece of a packet to a sum. Every piece but the last has an even length.
pub(super) fn add(sum: u64, piece: &[u8]) -> u64 {
    let (words, rest) = piece.as_chunks::<4>();
    let mut sum = words
        .iter()
        .fold(sum, |sum, word| sum + u64::from(u32::from_ne_bytes(*word)));
    let (pairs, last) = rest.as_chunks::<2>();
    for pair in pairs {
        sum += u64::from(u16::from_ne_bytes(*pair));
    }
    match last {
        [last] => sum + u64::from(u16::from_ne_bytes([*last, 0])),
        _ => sum,
    }
}

/// The octets of a checksum that is not the complement yet: what the kernel expects where it is to add the rest itself.
pub(super) fn partial(mut sum: u64) -> [u8; 2] {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    // Nothing is lost: the loop saw to it.
    (sum as u16).to_ne_bytes()
}

/// The octets of a checksum.
pub(super) fn complete(sum: u64) -> [u8; 2] {
    partial(sum).map(|octet| !octet)
}

/// Whether a sum over something with its checksum says that it is whole.
pub(super) fn is_right(sum: u64) -> bool {
    complete(sum) == [0, 0]
}

/// The sum of the pseudo header of an upper protocol (RFC 9293 3.1, RFC 8200 8.1).
pub(super) fn pseudo_header(source: IpAddr, to: IpAddr, protocol: u8, length: usize) -> u64 {
    let mut sum = u64::from(u16::from_ne_bytes([0, protocol]));
    for address in [source, to] {
        sum = match address {
            IpAddr::V4(address) => add(sum, &address.octets()),
            IpAddr::V6(address) => add(sum, &address.octets()),
        };
    }
    // No packet is longer than that.
    let length = u32::try_from(length).unwrap_or_default();
    add(sum, &length.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_standard_has_the_sum_that_it_says() {
        // RFC 1071 3.
        let octets = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(partial(add(0, &octets)), [0xdd, 0xf2]);
        assert_eq!(complete(add(0, &octets)), [0x22, 0x0d]);
        assert!(is_right(add(add(0, &octets), &[0x22, 0x0d])));
        assert!(!is_right(add(add(0, &octets), &[0x22, 0x0e])));
    }

    #[test]
    fn an_odd_octet_at_the_end_is_the_first_of_its_pair() {
        assert_eq!(partial(add(0, &[1, 2, 3])), [4, 2]);
        assert_eq!(partial(add(0, &[1, 2, 3, 4, 5, 6, 7])), [16, 12]);
    }
}
