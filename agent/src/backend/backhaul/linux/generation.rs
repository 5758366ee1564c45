//! The number of the rules of nftables in a namespace, which the kernel raises with every change of them, whoever makes it: while
//! it is the same, what was read of them still holds.

use std::io;

use rtnetlink::sys::protocols::NETLINK_NETFILTER;
use rtnetlink::sys::{Socket, SocketAddr};

/// From linux/netfilter/nfnetlink.h and nf_tables.h.
const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFT_MSG_NEWGEN: u16 = 15;
const NFT_MSG_GETGEN: u16 = 16;
const NFTA_GEN_ID: u16 = 1;
const NLM_F_REQUEST: u16 = 1;
/// Octets of `struct nlmsghdr`, `struct nfgenmsg` and `struct nlattr`.
const MESSAGE: usize = 16;
const OF_NETFILTER: usize = 4;
const ATTRIBUTE: usize = 4;

/// The number in the namespace of this thread.
///
/// # Errors
/// The kernel has no nftables, or answers something else.
pub(super) fn of_this_namespace() -> io::Result<u32> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    let mut request = Vec::with_capacity(MESSAGE + OF_NETFILTER);
    request.extend(20_u32.to_ne_bytes());
    request.extend((NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN).to_ne_bytes());
    request.extend(NLM_F_REQUEST.to_ne_bytes());
    // No sequence, from nobody in particular, of no family and version.
    request.extend([0; 8 + OF_NETFILTER]);
    socket.send_to(&request, &SocketAddr::new(0, 0), 0)?;
    let (answer, _) = socket.recv_from_full()?;
    number(&answer).ok_or_else(|| io::Error::other("nftables does not tell its generation"))
}

fn number(answer: &[u8]) -> Option<u32> {
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    if kind != NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN {
        return None;
    }
    let mut rest = answer.get(MESSAGE + OF_NETFILTER..)?;
    loop {
        let length = u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?);
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?);
        if kind == NFTA_GEN_ID {
            let value = rest.get(ATTRIBUTE..ATTRIBUTE + 4)?;
            return Some(u32::from_be_bytes(value.try_into().ok()?));
        }
        // At least the header, or it would never end.
        let length = usize::from(length).max(ATTRIBUTE);
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_found_behind_other_attributes_and_nothing_else_is_taken_for_it() {
        let message = |kind: u16, attributes: &[u8]| {
            let mut all = vec![0; MESSAGE + OF_NETFILTER];
            all[4..6].copy_from_slice(&kind.to_ne_bytes());
            all.extend(attributes);
            all
        };
        let mut attributes = Vec::new();
        for (kind, value) in [(2_u16, [9, 9, 9, 9]), (1, [0, 0, 1, 2])] {
            attributes.extend(8_u16.to_ne_bytes());
            attributes.extend(kind.to_ne_bytes());
            attributes.extend(value);
        }
        assert_eq!(number(&message(0x0a0f, &attributes)), Some(258));
        assert_eq!(number(&message(0x0a0f, &attributes[..8])), None);
        assert_eq!(number(&message(0x0a0f, &attributes[..14])), None);
        assert_eq!(number(&message(2, &attributes)), None);
        // An attribute of no length.
        assert_eq!(number(&message(0x0a0f, &[0; 64])), None);
    }
}
