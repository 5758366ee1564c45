//! What steering costs in this machine's kernel: a packet that is redirected, and an update of the rules. Needs root; says so
//! and measures nothing where the kernel does not take the program.

use std::io::Write as _;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use tranche_agent::backend::backhaul::Written;
use tranche_agent::backend::steering::{
    GtpMatch, MatchConfig, PortConfig, PortRange, RuleConfig, SteeringConfig, WayOut,
};

/// A user's packet in GTP-U with this TEID, from 10.0.0.2 to 10.0.0.1.
fn frame(teid: u32) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x00];
    frame.extend([
        0x45, 0, 0, 68, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1,
    ]);
    frame.extend([0x08, 0x68, 0x08, 0x68, 0, 48, 0, 0]);
    frame.extend([0x30, 255, 0, 32]);
    frame.extend(teid.to_be_bytes());
    frame.extend([
        0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0, 172, 16, 0, 9, 192, 168, 0, 7,
    ]);
    frame.extend([0, 80, 0, 80, 0, 12, 0, 0, 1, 2, 3, 4]);
    frame
}

fn rule(number: u32, matching: MatchConfig) -> RuleConfig {
    RuleConfig {
        name: format!("r{number}"),
        slice: format!("slice-{}", number % 6),
        matching,
        forward: Some(WayOut {
            out_port: "out".to_owned(),
            ..WayOut::default()
        }),
        ..RuleConfig::default()
    }
}

fn config(rules: Vec<RuleConfig>) -> SteeringConfig {
    let port = |name: &str| PortConfig {
        name: name.to_owned(),
        ..PortConfig::default()
    };
    SteeringConfig {
        ports: vec![port("in"), port("out")],
        rules,
        ..SteeringConfig::default()
    }
}

/// Rules for as many TEIDs.
fn by_teid(count: u32) -> SteeringConfig {
    let of = |number| {
        let gtp = GtpMatch {
            teid: Some(number + 1),
            message_type: Some(255),
            ..GtpMatch::default()
        };
        let matching = MatchConfig {
            in_port: Some("in".to_owned()),
            gtp: Some(gtp),
            ..MatchConfig::default()
        };
        rule(number, matching)
    };
    config((0..count).map(of).collect())
}

/// Rules for as many TEIDs, to a range of ports.
fn by_teid_and_ports(count: u32) -> SteeringConfig {
    let mut config = by_teid(count);
    for rule in &mut config.rules {
        rule.matching.destination_port_range = Some(PortRange {
            lower_port: 2000,
            upper_port: 2999,
        });
    }
    config
}

/// Rules of so many kinds, each with its own set of fields; only the last one matches.
fn mixed(count: u32, kinds: u32) -> SteeringConfig {
    let of = |number: u32| {
        let length = 32 - number % kinds;
        let network = u32::MAX << (32 - length) & (0xac00_0000 + (number << 8));
        let address = std::net::Ipv4Addr::from(network);
        rule(
            number,
            MatchConfig {
                destination_prefix: Some(Written(format!("{address}/{length}"))),
                ..MatchConfig::default()
            },
        )
    };
    let mut rules: Vec<RuleConfig> = (0..count - 1).map(of).collect();
    rules.extend(by_teid(1).rules.into_iter().map(|rule| RuleConfig {
        name: "last".to_owned(),
        ..rule
    }));
    config(rules)
}

#[cfg(feature = "bpf")]
fn packets(criterion: &mut Criterion) {
    use tranche_agent::backend::steering::bpf;

    if let Err(refusal) = bpf::cost(&by_teid(1), &frame(1), 1) {
        drop(writeln!(
            std::io::stderr(),
            "SKIPPED: steering in the kernel: {}",
            refusal.message
        ));
        return;
    }
    let mut group = criterion.benchmark_group("steering, a packet redirected");
    group
        .sample_size(10)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_secs(1));
    let cases = [
        (
            "not at a port of ours, and the test itself",
            SteeringConfig::default(),
            1,
        ),
        ("1 rule", by_teid(1), 1),
        ("1,000 TEID rules", by_teid(1000), 1000),
        ("10,000 TEID rules", by_teid(10_000), 10_000),
        (
            "1,000 TEID rules with a range of ports",
            by_teid_and_ports(1000),
            1000,
        ),
        ("1,000 rules of 2 kinds", mixed(1000, 1), 1),
        ("1,000 rules of 5 kinds", mixed(1000, 4), 1),
        ("1,000 rules of 17 kinds", mixed(1000, 16), 1),
    ];
    for (name, config, teid) in cases {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                // Enough runs for a mean in whole nanoseconds.
                let each = bpf::cost(&config, &frame(teid), 200_000).unwrap_or_default();
                each * u32::try_from(iterations).unwrap_or(u32::MAX)
            });
        });
    }
    group.finish();
    let mut group = criterion.benchmark_group("steering, an update with read-back");
    group.sample_size(10);
    for (name, count) in [("1,000 rules", 1000), ("10,000 rules", 10_000)] {
        let config = by_teid(count);
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                (0..iterations)
                    .map(|_| bpf::update_time(&config).unwrap_or_default())
                    .sum()
            });
        });
    }
    group.finish();
}

#[cfg(not(feature = "bpf"))]
fn packets(_: &mut Criterion) {}

criterion_group!(benches, packets);
criterion_main!(benches);
