use std::process::Command;

use super::super::tests::rig;
use super::*;
use crate::backend::namespace::Namespace;

fn message(kind: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER + body.len()).unwrap();
    let mut all = length.to_ne_bytes().to_vec();
    all.extend(kind.to_ne_bytes());
    all.resize(HEADER, 0);
    all.extend(body);
    all.resize(all.len().next_multiple_of(4), 0);
    all
}

/// The body of a message of nftables.
fn body(attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut all = vec![0; OF_NETFILTER];
    for (kind, value) in attributes {
        let length = u16::try_from(ATTRIBUTE + value.len()).unwrap();
        all.extend(length.to_ne_bytes());
        all.extend(kind.to_ne_bytes());
        all.extend(*value);
        all.resize(all.len().next_multiple_of(4), 0);
    }
    all
}

#[test]
fn the_number_is_found_behind_other_attributes_and_nothing_else_is_taken_for_it() {
    let attributes = body(&[(2, &[9, 9, 9, 9]), (1, &[0, 0, 1, 2])]);
    assert_eq!(number(&message(0x0a0f, &attributes)), Some(258));
    assert_eq!(number(&message(0x0a0f, &attributes[..12])), None);
    assert_eq!(number(&message(0x0a0f, &attributes[..16])), None);
    assert_eq!(number(&message(2, &attributes)), None);
    // An attribute of no length.
    assert_eq!(number(&message(0x0a0f, &[0; 64])), None);
}

#[test]
fn a_dump_goes_on_until_its_end_and_an_error_is_told() {
    let (rule, chain) = (body(&[(1, b"a\0")]), body(&[(1, b"bcd\0")]));
    let first = [message(0x0a06, &rule), message(0x0a03, &chain)].concat();
    let mut parts = Vec::new();
    assert!(!take(&first, &mut parts).unwrap());
    let last = [message(0x0a06, &rule), message(NLMSG_DONE, &[0; 4])].concat();
    assert!(take(&last, &mut parts).unwrap());
    let kinds: Vec<u16> = parts.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [6, 3, 6]);
    assert_eq!(attribute(&parts[1].1, 1).map(text), Some(&b"bcd"[..]));
    for kind in [NLMSG_ERROR, NLMSG_DONE] {
        let error = take(&message(kind, &(-2_i32).to_ne_bytes()), &mut parts).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
    for broken in [&first[..3], &first[..20], &message(NLMSG_DONE, &[])] {
        assert!(take(broken, &mut Vec::new()).is_err(), "{broken:?}");
    }
    // A message shorter than its header.
    assert!(take(&[0; 32], &mut Vec::new()).is_err());
}

/// A namespace of its own.
struct Rig(Namespace);

impl Rig {
    fn new(name: &str) -> Self {
        let name = format!("nft{}{name}", std::process::id());
        Self(Namespace::create(&name, &[]).unwrap())
    }

    fn nft(&self, commands: &str) {
        let run = || Command::new("nft").arg(commands).status();
        let done = self.0.within(run).flatten().unwrap();
        assert!(done.success(), "{commands}");
    }

    fn read(&self) -> Table {
        self.0.within(|| Table::read("tranche")).flatten().unwrap()
    }

    fn again(&self, table: &Table) -> Table {
        self.0.within(|| table.again()).flatten().unwrap()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        crate::backend::namespace::delete(&self.0.name).unwrap();
    }
}

const RULES: &str = "table inet tranche { set ends { type ifname; elements = { a, b, c }; }
    chain forward { type filter hook forward priority filter; policy drop; iifname @ends drop; tcp dport { 830, 831 } accept; }
    }";

#[test]
fn every_change_of_a_table_is_seen_and_nobody_elses_is() {
    if !rig::can_run() {
        return;
    }
    let rig = Rig::new("changes");
    assert!(!rig.read().has_rules());
    for change in [
        "add rule inet tranche forward accept",
        "insert rule inet tranche forward accept",
        "delete element inet tranche ends { b }",
        "add element inet tranche ends { d }",
        "add chain inet tranche forward { policy accept; }",
        "add chain inet tranche more",
        "add set inet tranche more { type ifname; }",
        "add counter inet tranche more",
        "add table inet tranche { flags dormant; }",
        "flush chain inet tranche forward",
        "flush set inet tranche ends",
        "delete table inet tranche",
        "flush ruleset",
    ] {
        rig.nft("flush ruleset");
        rig.nft(RULES);
        let table = rig.read();
        assert!(table.has_rules());
        // Tables of others, one of the same name.
        rig.nft("table ip tranche { chain forward { type filter hook forward priority 0; }; }");
        rig.nft("table inet others { set ends { type ifname; elements = { b }; }; chain on { counter; }; }");
        let same = rig.again(&table);
        assert!(same == table && same.generation != table.generation);
        assert_eq!(rig.again(&same).generation, same.generation);
        rig.nft(change);
        assert!(rig.again(&same) != table, "{change}");
    }
}

#[test]
fn a_table_of_many_datagrams_is_read_to_its_end() {
    if !rig::can_run() {
        return;
    }
    let rig = Rig::new("large");
    rig.nft(RULES);
    let names: Vec<String> = (0..3000).map(|number| format!("end{number:05}")).collect();
    let rules: Vec<String> = names
        .iter()
        .map(|name| format!("add rule inet tranche forward iifname {name} drop\n"))
        .collect();
    for some in rules.chunks(500) {
        rig.nft(&some.concat());
    }
    for some in names.chunks(500) {
        rig.nft(&format!(
            "add element inet tranche ends {{ {} }}",
            some.join(", ")
        ));
    }
    let table = rig.read();
    let count = |wanted| {
        table
            .parts
            .iter()
            .filter(|(kind, _)| *kind == wanted)
            .count()
    };
    assert_eq!(count(NFT_MSG_NEWRULE), 3002);
    // With those of the ports.
    assert_eq!(count(NFT_MSG_NEWSETELEM), 3005);
    rig.nft("delete element inet tranche ends { end02999 }");
    assert!(rig.again(&table) != table);
}

#[test]
fn a_table_that_changes_meanwhile_is_read_as_it_was_at_its_generation() {
    if !rig::can_run() {
        return;
    }
    let rig = Rig::new("busy");
    rig.nft(RULES);
    std::thread::scope(|scope| {
        let work = scope.spawn(|| {
            for _ in 0..20 {
                rig.nft("add set inet tranche more { type ifname; elements = { x, y }; }");
                rig.nft("delete set inet tranche more");
            }
        });
        while !work.is_finished() {
            let table = rig.read();
            let elements = table
                .parts
                .iter()
                .filter(|(kind, _)| *kind == NFT_MSG_NEWSETELEM);
            let sets = table
                .parts
                .iter()
                .filter(|(kind, _)| *kind == NFT_MSG_NEWSET);
            assert!([(2, 5), (3, 7)].contains(&(sets.count(), elements.count())));
        }
    });
    let none = rig.read();
    rig.nft("delete table inet tranche");
    assert!(!rig.again(&none).has_rules());
}
