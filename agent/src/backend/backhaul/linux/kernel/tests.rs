//! What the kernel's table of prefixes is at every step of a change.

use std::collections::BTreeMap;

use super::*;

/// Who has each prefix, as the kernel keeps it.
type Table = BTreeMap<Prefix, PublicKey>;

/// What the kernel does for one message, one thing at a time: the tables that packets can meet.
fn take(message: &WireguardPeer, tables: &mut Vec<Table>) {
    let mut now = tables.last().cloned().unwrap_or_default();
    let mut step = |change: &mut dyn FnMut(&mut Table)| {
        change(&mut now);
        tables.push(now.clone());
    };
    let mut key = PublicKey([0; 32]);
    for attribute in message.iter() {
        match attribute {
            WireguardPeerAttribute::PublicKey(found) => key = PublicKey(*found),
            WireguardPeerAttribute::Flags(_) => {
                step(&mut |table| table.retain(|_, holder| *holder != key));
            }
            WireguardPeerAttribute::AllowedIps(prefixes) => {
                for one in prefixes.iter().filter_map(prefix) {
                    step(&mut |table| {
                        table.insert(one, key);
                    });
                }
            }
            _ => {}
        }
    }
}

fn prefixes(texts: &[&str]) -> Vec<Prefix> {
    let parsed = texts.iter().map(|text| text.parse().unwrap());
    let mut prefixes: Vec<Prefix> = parsed.collect();
    prefixes.sort_unstable();
    prefixes
}

fn wanted(key: u8, allowed: &[&str]) -> WgPeer {
    WgPeer {
        public_key: PublicKey([key; 32]),
        preshared_key: None,
        endpoint: None,
        moves: false,
        keepalive_s: None,
        allowed: prefixes(allowed),
    }
}

fn known(peer: &WgPeer) -> Peer {
    Peer {
        observed: ObservedPeer {
            public_key: peer.public_key,
            endpoint: None,
            latest_handshake: None,
            rx_bytes: 0,
            tx_bytes: 0,
            allowed: peer.allowed.clone(),
        },
        preshared_key: [0; 32],
        keepalive_s: 0,
    }
}

fn table(peers: &[WgPeer]) -> Table {
    let of = |peer: &WgPeer| {
        let key = peer.public_key;
        peer.allowed.clone().into_iter().map(move |one| (one, key))
    };
    peers.iter().flat_map(of).collect()
}

/// Every table from one set of peers to another.
fn tables(before: &[WgPeer], after: &[WgPeer]) -> Vec<Table> {
    let known: Vec<Peer> = before.iter().map(known).collect();
    let mut tables = vec![table(before)];
    for message in peer_messages(&known, after, &mut Vec::new()) {
        take(&message, &mut tables);
    }
    assert_eq!(tables.last(), Some(&table(after)));
    tables
}

#[test]
fn a_prefix_that_stays_or_moves_has_a_peer_at_every_moment() {
    let (edge, dc, roaming) = ("10.77.0.1/32", "10.77.0.2/32", "10.20.0.0/16");
    let at_edge = [wanted(1, &[edge, roaming]), wanted(2, &[dc])];
    let at_dc = [wanted(1, &[edge]), wanted(2, &[dc, roaming])];
    let narrower = [wanted(1, &[edge]), wanted(2, &[dc])];
    let other_key = [wanted(3, &[edge, roaming]), wanted(2, &[dc])];
    let without = [wanted(2, &[dc, roaming])];
    for (before, after) in [
        (&at_edge[..], &at_dc[..]),
        (&at_dc, &at_edge),
        (&at_edge, &narrower),
        (&narrower, &at_edge),
        (&at_edge, &other_key),
        (&at_edge, &without),
    ] {
        let kept = table(before);
        let (kept, last) = (kept.keys(), table(after));
        let kept: Vec<&Prefix> = kept.filter(|one| last.contains_key(one)).collect();
        for seen in tables(before, after) {
            assert!(kept.iter().all(|one| seen.contains_key(one)), "{seen:?}");
        }
    }
}

#[test]
fn one_that_replaces_prefixes_is_noticed() {
    let key = PublicKey([1; 32]);
    let mut message = peer_message(key, Vec::new(), &prefixes(&["10.77.0.1/32"])).remove(0);
    let flag = WireguardPeerAttribute::Flags(WireguardPeerFlags::ReplaceAllowedIps);
    message.0.insert(1, flag);
    let before = table(&[wanted(1, &["10.77.0.1/32"])]);
    let mut tables = vec![before];
    take(&message, &mut tables);
    assert!(tables.iter().any(Table::is_empty), "{tables:?}");
}

#[test]
fn nothing_is_said_of_peers_that_are_what_they_should_be() {
    let peers = [wanted(1, &["10.77.0.1/32"]), wanted(2, &[])];
    let known: Vec<Peer> = peers.iter().map(known).collect();
    let mut done = Vec::new();
    assert_eq!(peer_messages(&known, &peers, &mut done).len(), 0);
    assert_eq!(done, Vec::<String>::new());
}

#[test]
fn as_many_prefixes_as_a_peer_may_have_fit_the_messages() {
    let all: Vec<String> = (0..1024).map(|one| format!("fd00:{one:x}::/32")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let messages = peer_messages(&[], &[wanted(1, &all)], &mut Vec::new());
    let prefixes = messages.iter().flat_map(|message| message.iter());
    let counts = prefixes.filter_map(|one| match one {
        WireguardPeerAttribute::AllowedIps(some) => Some(some.len()),
        _ => None,
    });
    let counts: Vec<usize> = counts.collect();
    assert_eq!(counts.iter().sum::<usize>(), 1024);
    assert!(counts.iter().all(|count| count * 40 * AT_ONCE < 60_000));
}
