//! What the kernel says in front of a packet at a TUN device with offload: `struct virtio_net_hdr` (linux/virtio_net.h).

/// Octets of it.
pub(super) const LENGTH: usize = 10;

/// The checksum is not complete: the sum from `start` on is to be stored `offset` behind it.
const NEEDS_CHECKSUM: u8 = 1;
/// Set beside a type where segments are to keep a congestion mark; asked for by nobody here.
const GSO_ECN: u8 = 0x80;

/// What a packet is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gso {
    /// One packet.
    None,
    /// Many segments of TCP over IPv4.
    Tcp4,
    /// Many segments of TCP over IPv6.
    Tcp6,
}

/// Where a checksum is that is not complete, from the start of the packet and from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Checksum {
    pub(super) start: usize,
    pub(super) offset: usize,
}

/// The header of one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) gso: Gso,
    /// Octets of headers in front of each segment: what it says, not what can be relied on.
    pub(super) header: usize,
    /// Octets that a segment carries.
    pub(super) segment: usize,
    pub(super) checksum: Option<Checksum>,
}

impl Frame {
    /// Of one packet that is complete.
    pub(super) const PLAIN: Self = Self {
        gso: Gso::None,
        header: 0,
        segment: 0,
        checksum: None,
    };

    /// What the kernel wrote; `None` for what nobody asked it for.
    pub(super) fn read(octets: &[u8; LENGTH]) -> Option<Self> {
        let [flags, gso, rest @ ..] = *octets;
        let word = |at: usize| usize::from(u16::from_ne_bytes([rest[at], rest[at + 1]]));
        let gso = match gso & !GSO_ECN {
            0 => Gso::None,
            1 => Gso::Tcp4,
            4 => Gso::Tcp6,
            _ => return None,
        };
        let checksum = (flags & NEEDS_CHECKSUM != 0).then(|| Checksum {
            start: word(4),
            offset: word(6),
        });
        Some(Self {
            gso,
            header: word(0),
            segment: word(2),
            checksum,
        })
    }

    /// For the kernel to read.
    pub(super) fn write(self) -> [u8; LENGTH] {
        let gso = match self.gso {
            Gso::None => 0,
            Gso::Tcp4 => 1,
            Gso::Tcp6 => 4,
        };
        let flags = self.checksum.map_or(0, |_| NEEDS_CHECKSUM);
        let (start, offset) = self.checksum.map_or((0, 0), |one| (one.start, one.offset));
        let mut octets = [flags, gso, 0, 0, 0, 0, 0, 0, 0, 0];
        let words = [self.header, self.segment, start, offset];
        for (to, word) in octets[2..].chunks_exact_mut(2).zip(words) {
            // All are parts of a packet, and none is longer than 65,535 octets.
            to.copy_from_slice(&(word as u16).to_ne_bytes());
        }
        octets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_was_written() {
        let frame = Frame {
            gso: Gso::Tcp6,
            header: 60,
            segment: 1360,
            checksum: Some(Checksum {
                start: 40,
                offset: 16,
            }),
        };
        assert_eq!(Frame::read(&frame.write()), Some(frame));
        assert_eq!(Frame::PLAIN.write(), [0; LENGTH]);
        assert_eq!(Frame::read(&[0; LENGTH]), Some(Frame::PLAIN));
        assert_eq!(Frame::read(&[0, 3, 0, 0, 0, 0, 0, 0, 0, 0]), None);
    }
}
