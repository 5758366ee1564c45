//! The kernel's program against the reference: the same rules and the same frame, and the verdict, the rule and every octet of
//! what leaves are the same. The program runs on this machine's kernel, on packets that never leave (`BPF_PROG_TEST_RUN`).

use std::ffi::OsStr;
use std::io::Write as _;

use libbpf_rs::{MapCore as _, MapFlags, MapHandle, Object, ProgramInput};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::kernel::{Kernel, NAME, load_object, version};
use crate::backend::MacAddress;
use crate::backend::steering::program::{Failing, Found, Program, Slots, counted, program};
use crate::backend::steering::reference::{FIRST, Outcome, Verdict, steer};
use crate::backend::steering::suite::frames::{self, Frame};
use crate::backend::steering::table::table;
use crate::backend::steering::*;

const TC_ACT_SHOT: u32 = 2;
const TC_ACT_REDIRECT: u32 = 7;
/// The test harness of the kernel refuses frames that are too short for the IP header that they announce.
const LEAST: usize = 58;
/// Numbers of ports `p0` to `p3`. The program is told one; no interface has it.
const PORTS: [&str; 4] = ["p0", "p1", "p2", "p3"];

/// The program, with what it says of each packet.
struct Replay {
    object: Object,
    kernel: Kernel,
    said: MapHandle,
}

impl Replay {
    fn new() -> Option<Self> {
        let object = match load_object(true) {
            Ok(object) => object,
            Err(reason) => {
                drop(writeln!(
                    std::io::stderr(),
                    "\nSKIPPED: the steering program in the kernel: {reason}\n"
                ));
                return None;
            }
        };
        let said = object
            .maps()
            .find(|map| map.name().to_string_lossy().ends_with(".bss"))
            .unwrap();
        Some(Self {
            kernel: Kernel::of(&object).unwrap(),
            said: MapHandle::try_from(&said).unwrap(),
            object,
        })
    }

    fn run(&self, port: u32, frame: &[u8]) -> Outcome {
        let mut told = vec![0; self.said.value_size() as usize];
        told[..4].copy_from_slice(&port.to_ne_bytes());
        self.said.update(&[0; 4], &told, MapFlags::ANY).unwrap();
        let mut out = vec![0; 4096];
        let program = self
            .object
            .progs_mut()
            .find(|one| one.name() == OsStr::new(NAME))
            .unwrap();
        let input = ProgramInput {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ..Default::default()
        };
        let output = program.test_run(input).unwrap();
        let (verdict, length) = (
            output.return_value,
            output.data.map_or(0, |data| data.len()),
        );
        let said = self.said.lookup(&[0; 4], MapFlags::ANY).unwrap().unwrap();
        let field = |at: usize| u32::from_ne_bytes(*said[at * 4..].first_chunk().unwrap());
        let mut left = out[..length].to_vec();
        // A tag that the kernel keeps outside of the data.
        if field(3) != 0 {
            let tag = (field(3) as u16 & 0xefff).to_be_bytes();
            left.splice(12..12, [0x81, 0x00, tag[0], tag[1]]);
        }
        Outcome {
            verdict: match verdict {
                TC_ACT_SHOT => Verdict::Drop,
                TC_ACT_REDIRECT => Verdict::Leave(field(2)),
                _ => Verdict::Pass,
            },
            frame: left,
            counted: Vec::new(),
            action: field(4),
        }
    }
}

fn resolved(config: &SteeringConfig) -> Program {
    let found = |ifindex| Found {
        ifindex,
        mac: MacAddress([2, 9, 9, 9, 9, 9]),
        mtu: 1500,
        is_up: true,
        other_end: Some(MacAddress([2, 8, 8, 8, 8, 8])),
    };
    let interfaces = PORTS
        .iter()
        .zip(101..)
        .map(|(name, number)| ((*name).to_owned(), found(number)));
    let slots: Slots = counted(config).zip(FIRST..).collect();
    program(config, &interfaces.collect(), &slots, &Failing::new())
}

fn ports() -> Vec<PortConfig> {
    let gateway = |name: &&str| PortConfig {
        name: (*name).to_owned(),
        gtp_addresses: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
        ..PortConfig::default()
    };
    PORTS.iter().map(gateway).collect()
}

fn rule() -> impl Strategy<Value = RuleConfig> {
    let some = |all: Vec<&'static str>| prop_oneof![2 => Just(None), 1 => prop::sample::select(all).prop_map(Some)];
    let range = |all: Vec<(u16, u16)>| {
        let one = prop::sample::select(all).prop_map(|(lower_port, upper_port)| PortRange {
            lower_port,
            upper_port,
        });
        prop_oneof![3 => Just(None), 1 => one.prop_map(Some)]
    };
    let written =
        |text: Option<&str>| text.map(|text| crate::backend::backhaul::Written(text.to_owned()));
    let frame = (
        some(vec!["p0", "p1"]),
        prop_oneof![3 => Just(None), 1 => prop::sample::select(vec![0_u16, 7, 8]).prop_map(Some)],
        prop_oneof![6 => Just(None), 1 => Just(Some(MacAddress([2, 0, 0, 0, 0, 2])))],
    );
    let ip = (
        some(vec![
            "10.0.0.0/8",
            "10.0.0.1/32",
            "0.0.0.0/0",
            "10.0.0.0/31",
            "fd00::/64",
            "::/0",
            "fd00::1/128",
        ]),
        prop_oneof![4 => Just(None), 1 => Just(Some(17_u8)), 1 => Just(Some(6_u8))],
        prop_oneof![4 => Just(None), 1 => prop::sample::select(vec![2152_u16, 80]).prop_map(Some)],
        (
            range(vec![(4000, 4001), (0, 4095)]),
            range(vec![(79, 81), (80, 2152), (2150, 2156), (0, 65_535)]),
        ),
        prop_oneof![6 => Just(None), 1 => Just(Some(46_u8))],
    );
    let gtp = prop_oneof![2 => Just(None), 1 => (
        prop_oneof![1 => Just(None), 2 => (1..4_u32).prop_map(Some)],
        prop_oneof![2 => Just(None), 1 => prop::sample::select(vec![1_u8, 254, 255]).prop_map(Some)],
        some(vec!["192.168.0.0/16", "192.168.0.7/32", "fd01::/16"]),
    ).prop_map(Some)];
    let action = (
        0..4_u8,
        any::<bool>(),
        0..6_u8,
        prop_oneof![1 => Just(None), 1 => (0..64_u8).prop_map(Some)],
        any::<bool>(),
    );
    (frame, ip, gtp, action).prop_map(
        move |((port, vlan, mac), (prefix, protocol, to, ranges, dscp), gtp, action)| {
            let (kind, ends, tag, qfi, is_ipv6) = action;
            let (local, peer) = if is_ipv6 {
                ("fd00::1", "fd00::2")
            } else {
                ("10.0.0.1", "10.0.0.2")
            };
            let encapsulate = (kind == 3).then(|| Encapsulation {
                teid: 0x0102_0304,
                local_address: local.parse().unwrap(),
                peer_address: peer.parse().unwrap(),
                qfi,
                direction: if ends {
                    Direction::Uplink
                } else {
                    Direction::Downlink
                },
            });
            let forward = (kind >= 2).then(|| WayOut {
                pop_vlan: (tag == 1).then_some([()]),
                push_vlan: (tag == 2).then_some(77),
                encapsulate,
                out_port: "p2".to_owned(),
                destination_mac: (tag % 2 == 0).then_some(MacAddress([2, 1, 1, 1, 1, 1])),
                to_other_end: (tag == 3).then_some([()]),
            });
            RuleConfig {
                matching: MatchConfig {
                    in_port: port.map(str::to_owned),
                    vlan_id: vlan,
                    destination_mac: mac,
                    destination_prefix: written(prefix),
                    protocol,
                    destination_port: to,
                    source_port_range: ranges.0,
                    destination_port_range: ranges.1.filter(|_| to.is_none()),
                    dscp,
                    gtp: gtp.map(|(teid, message_type, inner)| GtpMatch {
                        teid,
                        message_type,
                        inner_destination_prefix: written(inner),
                        ..GtpMatch::default()
                    }),
                    ..MatchConfig::default()
                },
                end_gtp: (forward.is_some() && ends).then_some([()]),
                pass: (kind == 0).then_some([()]),
                drop: (kind == 1).then_some([()]),
                forward,
                slice: "s".to_owned(),
                ..RuleConfig::default()
            }
        },
    )
}

fn config() -> impl Strategy<Value = SteeringConfig> {
    // Two of the addresses that frames are between.
    let health_check = HealthCheck {
        icmp_echo: Some(Ends {
            destination_address: "10.0.0.2".parse().unwrap(),
            source_address: "10.0.0.1".parse().unwrap(),
        }),
        ..HealthCheck::default()
    };
    let check = prop_oneof![Just(None), Just(Some(health_check))];
    let chain = prop_oneof![3 => Just(None), 1 => (check, any::<bool>()).prop_map(Some)];
    (
        prop::collection::vec(rule(), 1..12),
        any::<bool>(),
        any::<bool>(),
        chain,
    )
        .prop_map(|(mut rules, malformed, oversized, chain)| {
            for (rule, number) in rules.iter_mut().zip(0..) {
                rule.name = format!("r{number}");
            }
            let chains = chain.map(|(health_check, is_classified)| ChainConfig {
                name: "c".to_owned(),
                owner: None,
                on_failure: OnFailure::Close,
                applications: vec![ApplicationConfig {
                    name: "a".to_owned(),
                    port: "p1".to_owned(),
                    return_port: None,
                    destination_mac: None,
                    health_check,
                }],
                classify: is_classified.then_some([()]),
                forward: (!is_classified).then(|| WayOut {
                    out_port: "p2".to_owned(),
                    ..WayOut::default()
                }),
            });
            SteeringConfig {
                malformed_gtp: if malformed {
                    Malformed::Drop
                } else {
                    Malformed::Pass
                },
                oversized: if oversized {
                    Oversized::Drop
                } else {
                    Oversized::Pass
                },
                ports: ports(),
                chains: chains.into_iter().collect(),
                rules,
                resolvers: Vec::new(),
            }
        })
}

fn frame() -> impl Strategy<Value = Vec<u8>> {
    let sound = frames::any_frame();
    let cut = (frames::any_frame(), 0.0..1.0).prop_map(|(frame, part): (Vec<u8>, f64)| {
        let length = LEAST.max((frame.len() as f64 * part) as usize);
        frame[..length.min(frame.len())].to_vec()
    });
    let broken = (
        frames::any_frame(),
        prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    )
        .prop_map(|(mut frame, changes)| {
            for (at, octet) in changes {
                let at = at.index(frame.len());
                frame[at] = octet;
            }
            frame
        });
    prop_oneof![4 => sound, 1 => cut, 3 => broken]
}

#[test]
fn the_kernel_does_to_every_packet_what_the_reference_does() {
    if let Some(replay) = Replay::new() {
        compare(&replay, 200);
    }
}

#[test]
#[ignore = "is about an older kernel than most have: run by make test-vm"]
fn an_older_kernel_does_to_every_packet_what_the_reference_does() {
    compare(&Replay::new().expect("the kernel takes the program"), 40);
}

/// IPv4 out of a tunnel over IPv6, shorter than the header that goes: kernels before 6.3 do not like it.
fn compare_short(replay: &Replay) {
    let out = RuleConfig {
        name: "out".to_owned(),
        slice: "s".to_owned(),
        end_gtp: Some([()]),
        forward: Some(WayOut {
            out_port: "p2".to_owned(),
            ..WayOut::default()
        }),
        ..RuleConfig::default()
    };
    let config = SteeringConfig {
        ports: ports(),
        rules: vec![out],
        ..SteeringConfig::default()
    };
    let program = resolved(&config);
    replay
        .kernel
        .write(&table(&program, version()).unwrap())
        .unwrap();
    for size in [0, 1, 11, 12, 13, 40] {
        let inner = frames::udp4("172.16.0.9", "192.168.0.7", 4000, 80, &vec![7; size]);
        let gtp = frames::gtp(1, 255, &[], &inner);
        let mut udp = [2152, 2152, gtp.len() as u16 + 8, 0]
            .map(u16::to_be_bytes)
            .concat();
        udp.extend(gtp);
        let frame = Frame::ip(frames::ipv6("fd00::2", "fd00::1", 17, &udp)).bytes();
        let expected = steer(&program, 101, &frame);
        assert!(matches!(expected.verdict, Verdict::Leave(_)), "{size}");
        let mut got = replay.run(101, &frame);
        got.counted.clone_from(&expected.counted);
        assert_eq!(got, expected, "{size} octets");
    }
}

fn compare(replay: &Replay, cases: u32) {
    compare_short(replay);
    let mut runner = TestRunner::new(Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    });
    let frames = prop::collection::vec((frame(), 0..2_u32), 20);
    let (mut left, mut all) = (0, 0);
    let left_and_all = std::cell::RefCell::new((&mut left, &mut all));
    let before = std::cell::RefCell::new(Vec::new());
    runner
        .run(&(config(), frames), |(config, frames)| {
            let program = resolved(&config);
            replay
                .kernel
                .write(&table(&program, version()).unwrap())
                .unwrap();
            // Each twice, the second time from what is remembered; and those of the table before, of which nothing may be.
            let mut before = before.borrow_mut();
            let again = before.iter().chain(&frames).chain(&frames);
            for (frame, port) in again {
                let expected = steer(&program, 101 + port, frame);
                let mut got = replay.run(101 + port, frame);
                let mut counts = left_and_all.borrow_mut();
                *counts.1 += 1;
                if let Verdict::Leave(_) = expected.verdict {
                    *counts.0 += 1;
                }
                got.counted.clone_from(&expected.counted);
                prop_assert_eq!(got, expected, "of {:02x?}", frame);
            }
            before.clone_from(&frames);
            Ok(())
        })
        .unwrap();
    assert!(
        left * 10 > all,
        "only {left} of {all} packets left: the test says nothing"
    );
}

#[test]
fn no_packet_sees_half_of_an_update() {
    let Some(replay) = Replay::new() else { return };
    // Two generations, in each of which all rules agree: a packet that met rules of both would leave elsewhere or not at all.
    let generation = |out: &str, vlan: u16| {
        let rule = |number: u32| RuleConfig {
            name: format!("r{number}"),
            slice: "s".to_owned(),
            matching: MatchConfig {
                gtp: Some(GtpMatch {
                    teid: Some(number + 1),
                    ..GtpMatch::default()
                }),
                ..MatchConfig::default()
            },
            forward: Some(WayOut {
                out_port: out.to_owned(),
                push_vlan: Some(vlan),
                ..WayOut::default()
            }),
            ..RuleConfig::default()
        };
        SteeringConfig {
            ports: ports(),
            rules: (0..1000).map(rule).collect(),
            ..SteeringConfig::default()
        }
    };
    let tables = [generation("p2", 7), generation("p3", 8)]
        .map(|config| table(&resolved(&config), version()).unwrap());
    replay.kernel.write(&tables[0]).unwrap();
    let frame = Frame::gtp(1000, 255, &frames::user_packet()).bytes();
    let done = std::sync::atomic::AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for turn in 0..20 {
                replay.kernel.write(&tables[(turn + 1) % 2]).unwrap();
            }
            done.store(true, std::sync::atomic::Ordering::Release);
        });
        let mut seen = [0_u32; 2];
        while !done.load(std::sync::atomic::Ordering::Acquire) {
            let outcome = replay.run(101, &frame);
            let vlan = u16::from_be_bytes([outcome.frame[14], outcome.frame[15]]);
            match (outcome.verdict, vlan) {
                (Verdict::Leave(103), 7) => seen[0] += 1,
                (Verdict::Leave(104), 8) => seen[1] += 1,
                other => panic!("a packet of two generations: {other:?}"),
            }
        }
        writer.join().unwrap();
        seen
    });
    assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
}
