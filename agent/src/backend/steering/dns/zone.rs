//! The records of a resolver, looked up as RFC 1034 and RFC 4592 have it. Pure.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use tranche_steering::{RecordConfig, RecordType};

/// What there is of a name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// These records, of whatever type.
    Records(&'a [Entry]),
    /// The name is there and has none.
    NoRecord,
    /// It is below a wildcard and is not there.
    NoName,
    /// It is none of ours.
    NotOurs,
}

/// A record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) kind: RecordType,
    pub(super) address: IpAddr,
    pub(super) ttl: u32,
}

/// Records by name, in lower case.
#[derive(Debug, Default)]
pub(super) struct Zone {
    records: HashMap<String, Vec<Entry>>,
    /// Names that are there because another one is below them.
    between: HashSet<String>,
}

impl Zone {
    pub(super) fn new(records: &[RecordConfig]) -> Self {
        let mut zone = Self::default();
        for record in records {
            let name = record.name.to_ascii_lowercase();
            let ancestors = ancestors(&name).map(str::to_owned);
            zone.between.extend(ancestors);
            zone.records.entry(name).or_default().push(Entry {
                kind: record.kind,
                address: record.address,
                ttl: record.ttl,
            });
        }
        zone
    }

    /// What there is of a name, which is in lower case and has no dot at its end.
    pub(super) fn find(&self, name: &str) -> Found<'_> {
        if let Some(records) = self.records.get(name) {
            return Found::Records(records);
        }
        let is_ours = || ancestors(name).any(|one| self.wildcard(one).is_some());
        if self.between.contains(name) {
            return match is_ours() {
                true => Found::NoRecord,
                false => Found::NotOurs,
            };
        }
        // The closest encloser: only a wildcard that is directly below it stands for the name.
        for ancestor in ancestors(name) {
            if let Some(records) = self.wildcard(ancestor) {
                return Found::Records(records);
            }
            if self.records.contains_key(ancestor) || self.between.contains(ancestor) {
                break;
            }
        }
        match is_ours() {
            true => Found::NoName,
            false => Found::NotOurs,
        }
    }

    fn wildcard(&self, domain: &str) -> Option<&[Entry]> {
        self.records.get(&format!("*.{domain}")).map(Vec::as_slice)
    }
}

/// The names above a name, from below.
fn ancestors(name: &str) -> impl Iterator<Item = &str> {
    fn above(name: &str) -> Option<&str> {
        name.split_once('.').map(|(_, rest)| rest)
    }
    std::iter::successors(above(name), |name| above(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(names: &[&str]) -> Zone {
        let record = |name: &&str| RecordConfig {
            name: (*name).to_owned(),
            kind: RecordType::A,
            address: IpAddr::from([10, 0, 0, 1]),
            ttl: 1,
        };
        Zone::new(&names.iter().map(record).collect::<Vec<_>>())
    }

    fn find(zone: &Zone, name: &str) -> &'static str {
        match zone.find(name) {
            Found::Records(_) => "records",
            Found::NoRecord => "no record",
            Found::NoName => "no name",
            Found::NotOurs => "not ours",
        }
    }

    #[test]
    fn a_name_is_found_and_nothing_around_it_is_ours() {
        let zone = zone(&["Video.Example.com"]);
        assert_eq!(find(&zone, "video.example.com"), "records");
        for other in [
            "example.com",
            "com",
            "a.video.example.com",
            "other.example.com",
            "",
        ] {
            assert_eq!(find(&zone, other), "not ours", "{other}");
        }
    }

    /// The names of RFC 4592 2.2.1.
    #[test]
    fn a_wildcard_stands_for_what_is_below_its_domain_and_is_not_there() {
        let zone = zone(&["*.example", "host1.example", "ssh.host2.example"]);
        let cases = [
            ("host3.example", "records"),
            ("foo.bar.example", "records"),
            ("*.example", "records"),
            ("host1.example", "records"),
            ("ghost.*.example", "no name"),
            ("telnet.host1.example", "no name"),
            ("ssh.host2.example", "records"),
            ("host2.example", "no record"),
            ("telnet.host2.example", "no name"),
            ("example", "not ours"),
            ("other", "not ours"),
        ];
        for (name, expected) in cases {
            assert_eq!(find(&zone, name), expected, "{name}");
        }
    }
}
