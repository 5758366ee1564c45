//! What nftables has in the namespace of this thread, as the kernel tells it: nobody starts `nft` to read. Octets that are
//! compared, of which nothing is understood but the table and the set that they belong to.
//!
//! The kernel counts the changes of all rules of a namespace, whoever makes them: while that number, the generation, is the
//! same, what was read still holds. Use counts and handles are compared too. Who removes a table and makes the same again
//! therefore has changed it; counters, which change by themselves, are in no rule of ours.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use rtnetlink::sys::protocols::NETLINK_NETFILTER;
use rtnetlink::sys::{Socket, SocketAddr};

/// From linux/netlink.h.
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLA_TYPE_MASK: u16 = 0x3fff;
/// From linux/netfilter.h, nfnetlink.h and nf_tables.h.
const NFPROTO_INET: u8 = 1;
const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFT_MSG_GETTABLE: u16 = 1;
const NFT_MSG_GETCHAIN: u16 = 4;
const NFT_MSG_NEWRULE: u16 = 6;
const NFT_MSG_GETRULE: u16 = 7;
const NFT_MSG_NEWSET: u16 = 9;
const NFT_MSG_GETSET: u16 = 10;
const NFT_MSG_NEWSETELEM: u16 = 12;
const NFT_MSG_GETSETELEM: u16 = 13;
const NFT_MSG_NEWGEN: u16 = 15;
const NFT_MSG_GETGEN: u16 = 16;
const NFTA_GEN_ID: u16 = 1;
/// Of tables, chains, rules, sets and elements alike.
const NFTA_TABLE: u16 = 1;
const NFTA_SET_NAME: u16 = 2;
const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;
/// Octets of `struct nlmsghdr`, `struct nfgenmsg` and `struct nlattr`.
const HEADER: usize = 16;
const OF_NETFILTER: usize = 4;
const ATTRIBUTE: usize = 4;
/// How often a table is read that changes meanwhile.
const TRIES: usize = 20;

/// A table of the family `inet` as it was at one generation. Equal where the same is in both, at whatever generations.
#[derive(Debug, Clone)]
pub(super) struct Table {
    name: String,
    /// The number that the rules of the namespace had.
    pub(super) generation: u32,
    parts: Arc<BTreeSet<Part>>,
}

/// A table, chain, rule or set, or an element with the name of its set: the kind of message, and its attributes. The order of
/// rules is in them; that of elements means nothing, and the kernel may change it.
type Part = (u16, Vec<u8>);

impl PartialEq for Table {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.parts == other.parts
    }
}

impl Table {
    /// Reads it, in the namespace of this thread; one that is not there has nothing in it.
    ///
    /// # Errors
    /// The kernel has no nftables, or its rules change faster than they can be read.
    pub(super) fn read(name: &str) -> io::Result<Self> {
        let mut rules = Rules::open()?;
        let mut before = rules.generation()?;
        for _ in 0..TRIES {
            let parts = rules.parts(name);
            // It says of all dumps what NLM_F_DUMP_INTR says of one, and a set may be gone before its elements are asked for.
            let generation = rules.generation()?;
            if generation == before {
                return Ok(Self {
                    name: name.to_owned(),
                    generation,
                    parts: Arc::new(parts?),
                });
            }
            before = generation;
        }
        Err(io::Error::other("they change all the time"))
    }

    /// The same table as it is now, which is looked at only where anything has changed in the namespace.
    ///
    /// # Errors
    /// Those of [`Self::read`].
    pub(super) fn again(&self) -> io::Result<Self> {
        match Rules::open()?.generation()? == self.generation {
            true => Ok(self.clone()),
            false => Self::read(&self.name),
        }
    }

    /// Whether there is such a table.
    pub(super) fn is_there(&self) -> bool {
        !self.parts.is_empty()
    }

    /// Whether there is a rule in it.
    pub(super) fn has_rules(&self) -> bool {
        self.parts.iter().any(|(kind, _)| *kind == NFT_MSG_NEWRULE)
    }
}

/// A connection to nftables of one namespace.
struct Rules(Socket);

impl Rules {
    fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        Ok(Self(socket))
    }

    fn generation(&mut self) -> io::Result<u32> {
        self.send(NFT_MSG_GETGEN, NLM_F_REQUEST, &[])?;
        let (answer, _) = self.0.recv_from_full()?;
        number(&answer).ok_or_else(|| io::Error::other("nftables does not tell its generation"))
    }

    fn parts(&mut self, table: &str) -> io::Result<BTreeSet<Part>> {
        let of_table = [(NFTA_TABLE, table.as_bytes())];
        let mut parts = BTreeSet::new();
        // Objects and flow tables, of which we have none, are in the table's use count.
        for kind in [
            NFT_MSG_GETTABLE,
            NFT_MSG_GETCHAIN,
            NFT_MSG_GETRULE,
            NFT_MSG_GETSET,
        ] {
            let all = self.dump(kind, &of_table)?;
            // Not every kind of dump is of one table only.
            parts.extend(all.into_iter().filter(|(_, attributes)| {
                attribute(attributes, NFTA_TABLE).map(text) == Some(table.as_bytes())
            }));
            // Of a table that is not there some of them are refused.
            if parts.is_empty() {
                return Ok(parts);
            }
        }
        let sets = parts.iter().filter(|(kind, _)| *kind == NFT_MSG_NEWSET);
        let names = sets.filter_map(|(_, attributes)| attribute(attributes, NFTA_SET_NAME));
        let names: Vec<Vec<u8>> = names.map(|name| text(name).to_vec()).collect();
        for name in names {
            let of_set = [of_table[0], (NFTA_SET_NAME, name.as_slice())];
            for (_, message) in self.dump(NFT_MSG_GETSETELEM, &of_set)? {
                let list = attribute(&message, NFTA_SET_ELEM_LIST_ELEMENTS);
                parts.extend(attributes(list.unwrap_or_default()).map(|(_, element)| {
                    let of_set = [name.as_slice(), &[0], element].concat();
                    (NFT_MSG_NEWSETELEM, of_set)
                }));
            }
        }
        Ok(parts)
    }

    /// All of a kind, in as many datagrams as the kernel needs.
    fn dump(&mut self, kind: u16, of: &[(u16, &[u8])]) -> io::Result<Vec<Part>> {
        self.send(kind, NLM_F_REQUEST | NLM_F_DUMP, of)?;
        let mut parts = Vec::new();
        loop {
            let (datagram, _) = self.0.recv_from_full()?;
            if take(&datagram, &mut parts)? {
                return Ok(parts);
            }
        }
    }

    fn send(&self, kind: u16, flags: u16, attributes: &[(u16, &[u8])]) -> io::Result<()> {
        let mut request = vec![0; HEADER + OF_NETFILTER];
        for (kind, text) in attributes {
            let length = ATTRIBUTE + text.len() + 1;
            request.extend(u16::try_from(length).unwrap_or(u16::MAX).to_ne_bytes());
            request.extend(kind.to_ne_bytes());
            request.extend(*text);
            let padded = request.len() + 1;
            request.resize(padded.next_multiple_of(4), 0);
        }
        let length = u32::try_from(request.len()).unwrap_or(u32::MAX);
        request[..4].copy_from_slice(&length.to_ne_bytes());
        request[4..6].copy_from_slice(&(NFNL_SUBSYS_NFTABLES << 8 | kind).to_ne_bytes());
        request[6..8].copy_from_slice(&flags.to_ne_bytes());
        request[HEADER] = NFPROTO_INET;
        self.0.send_to(&request, &SocketAddr::new(0, 0), 0)?;
        Ok(())
    }
}

/// Takes the messages of a datagram; whether it was the last one.
fn take(datagram: &[u8], parts: &mut Vec<Part>) -> io::Result<bool> {
    let broken = || io::Error::other("nftables answers what cannot be read");
    let mut rest = datagram;
    while !rest.is_empty() {
        let length = rest.first_chunk().copied().map(u32::from_ne_bytes);
        let length = usize::try_from(length.ok_or_else(broken)?).map_err(|_| broken())?;
        let message = rest.get(..length).ok_or_else(broken)?;
        let body = message.get(HEADER..).ok_or_else(broken)?;
        let kind = u16::from_ne_bytes([message[4], message[5]]);
        if kind == NLMSG_ERROR || kind == NLMSG_DONE {
            let code = body.first_chunk().copied().map(i32::from_ne_bytes);
            return match code.ok_or_else(broken)? {
                0 => Ok(true),
                code => Err(io::Error::from_raw_os_error(code.saturating_neg())),
            };
        }
        if kind >> 8 == NFNL_SUBSYS_NFTABLES {
            // Before the attributes stands a part of the generation.
            let attributes = body.get(OF_NETFILTER..).ok_or_else(broken)?;
            parts.push((kind & 0xff, attributes.to_vec()));
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

fn number(answer: &[u8]) -> Option<u32> {
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    if kind != NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN {
        return None;
    }
    let value = attribute(answer.get(HEADER + OF_NETFILTER..)?, NFTA_GEN_ID)?;
    Some(u32::from_be_bytes(value.try_into().ok()?))
}

fn attribute(all: &[u8], wanted: u16) -> Option<&[u8]> {
    let found = attributes(all).find(|(kind, _)| *kind == wanted);
    found.map(|(_, value)| value)
}

/// Kinds and values, up to what is none.
fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(*rest.first_chunk()?));
        let kind = u16::from_ne_bytes(rest.get(2..ATTRIBUTE)?.try_into().ok()?);
        let value = rest.get(ATTRIBUTE..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind & NLA_TYPE_MASK, value))
    })
}

/// A text without the zero that ends it.
fn text(value: &[u8]) -> &[u8] {
    value.strip_suffix(&[0]).unwrap_or(value)
}

#[cfg(test)]
mod tests;
