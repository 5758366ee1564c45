//! The kernel's program against the same arithmetic compiled natively: packet for packet, and the whole state afterwards.
//!
//! The program runs on this machine's kernel, on packets that never leave (`BPF_PROG_TEST_RUN`), with a clock that the test
//! sets. Needs root.

use std::cell::Cell;
use std::collections::VecDeque;
use std::time::Duration;

use libbpf_rs::{MapCore, MapFlags, Object, ObjectBuilder, ProgramInput, ProgramMut};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::kernel::{Settings, VifSettings};
use crate::backend::airtime::ffi::{self, Radio};
use crate::backend::airtime::law::Completion;

static REPLAY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/airtime_replay.bpf.o"));
const MS: u64 = 1_000_000;
/// The loopback interface, which is in every namespace.
const IFINDEX: u32 = 1;
/// `struct __sk_buff` up to `hwtstamp`.
const CONTEXT_BYTES: usize = 192;
const TSTAMP_AT: usize = 152;
const WIRE_LEN_AT: usize = 160;
const GSO_SEGS_AT: usize = 164;
const GSO_SIZE_AT: usize = 176;
const TC_ACT_SHOT: u32 = 2;

/// One thing that happens.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// A packet of a vif, in segments.
    Send {
        slot: u32,
        bytes: u32,
        segments: u32,
    },
    /// The oldest packet under way is done, after part of its estimate in percent (0: the driver does not say).
    Complete { percent: u64 },
    /// The oldest packet under way is thrown away.
    Cancel,
    /// Its completion never comes.
    Lose,
    /// Nothing.
    Pass { us: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let send = (
        0..4_u32,
        60..1500_u32,
        prop_oneof![9 => Just(1_u32), 1 => 2..20_u32],
    )
        .prop_map(|(slot, bytes, segments)| Step::Send {
            slot,
            bytes: bytes * segments,
            segments,
        });
    let step = prop_oneof![
        8 => send,
        6 => prop_oneof![Just(0), 20..400_u64].prop_map(|percent| Step::Complete { percent }),
        1 => Just(Step::Cancel),
        1 => Just(Step::Lose),
        6 => prop_oneof![20 => 10..3_000_u64, 1 => 100_000..2_000_000_u64].prop_map(|us| Step::Pass { us }),
    ];
    prop::collection::vec(step, 50..400)
}

/// The program with its maps.
struct Kernel {
    object: Object,
}

impl Kernel {
    /// Loads it; with the clock of the machine unless it is `replaying`.
    fn load(replaying: bool) -> Self {
        let mut open = ObjectBuilder::default().open_memory(REPLAY).unwrap();
        for mut program in open.progs_mut() {
            // This kernel need not have a radio.
            program.set_autoload(
                ["airtime_egress", "airtime_replay"].contains(&program.name().to_str().unwrap()),
            );
        }
        for mut map in open.maps_mut() {
            if map.name().to_str().unwrap().ends_with(".rodata") {
                map.set_initial_value(&u32::from(replaying).to_ne_bytes())
                    .unwrap();
            }
        }
        let object = open
            .load()
            .expect("the kernel takes the program: the test needs root");
        Self { object }
    }

    fn map(&self, name: &str) -> impl MapCore + '_ {
        self.object
            .maps()
            .find(|map| map.name().to_str().unwrap().ends_with(name))
            .unwrap()
    }

    fn program(&self, name: &str) -> ProgramMut<'_> {
        self.object
            .progs_mut()
            .find(|program| program.name() == name)
            .unwrap()
    }

    fn write(&self, map: &str, key: u32, value: &[u8]) {
        self.map(map)
            .update(&key.to_ne_bytes(), value, MapFlags::ANY)
            .unwrap();
    }

    /// Begins anew, with one radio; the loopback interface is its vif `slot`.
    fn begin(&self, settings: &[u8]) {
        self.write("radios", 0, &vec![0; size_of::<Radio>()]);
        self.write("settings", 0, settings);
    }

    fn egress(&self, slot: u32, now: u64, bytes: u32, segments: u32) -> Option<u64> {
        let vif: Vec<u8> = [0, slot, 0, 0, 0]
            .iter()
            .flat_map(|field: &u32| field.to_ne_bytes())
            .collect();
        self.write("vifs", IFINDEX, &vif);
        self.write(".bss", 0, &now.to_ne_bytes());
        let output = self.run_egress(bytes, segments, 1);
        (output.0 != TC_ACT_SHOT).then_some(output.1)
    }

    /// Verdict, mark and nanoseconds for each of some packets.
    fn run_egress(&self, bytes: u32, segments: u32, repeat: u32) -> (u32, u64, Duration) {
        let mut context = [0_u8; CONTEXT_BYTES];
        context[40..44].copy_from_slice(&IFINDEX.to_ne_bytes());
        context[WIRE_LEN_AT..WIRE_LEN_AT + 4].copy_from_slice(&bytes.to_ne_bytes());
        context[GSO_SEGS_AT..GSO_SEGS_AT + 4].copy_from_slice(&segments.to_ne_bytes());
        let size = if segments > 1 { bytes / segments } else { 0 };
        context[GSO_SIZE_AT..GSO_SIZE_AT + 4].copy_from_slice(&size.to_ne_bytes());
        let mut packet = [0_u8; 60];
        packet[0] = 2;
        packet[12..15].copy_from_slice(&[0x08, 0x00, 0x45]);
        let mut after = [0_u8; CONTEXT_BYTES];
        let output = self.program("airtime_egress").test_run(ProgramInput {
            context_in: Some(&mut context),
            context_out: Some(&mut after),
            data_in: Some(&packet),
            repeat,
            ..ProgramInput::default()
        });
        let output = output.unwrap();
        let (verdict, duration) = (output.return_value, output.duration);
        let mark = u64::from_ne_bytes(after[TSTAMP_AT..TSTAMP_AT + 8].try_into().unwrap());
        (verdict, mark, duration)
    }

    fn settle(&self, kind: u32, slot: u32, now: u64, done: Completion) {
        let mut step = Vec::new();
        step.extend(kind.to_ne_bytes());
        step.extend(slot.to_ne_bytes());
        for field in [now, done.departure_ns, done.estimated_ns, done.measured_ns] {
            step.extend(field.to_ne_bytes());
        }
        let input = ProgramInput {
            context_in: Some(&mut step),
            ..ProgramInput::default()
        };
        assert_eq!(
            self.program("airtime_replay")
                .test_run(input)
                .unwrap()
                .return_value,
            0
        );
    }

    fn radio(&self) -> Vec<u8> {
        self.map("radios")
            .lookup(&0_u32.to_ne_bytes(), MapFlags::ANY)
            .unwrap()
            .unwrap()
    }
}

fn settings(epoch: u32) -> Settings {
    let vif = |weight, ceiling| VifSettings {
        weight,
        ceiling,
        epoch,
        ..VifSettings::default()
    };
    Settings {
        horizon_ns: 50 * MS,
        interval_ns: 100 * MS,
        burst_ns: 2 * MS,
        overhead_ns: 84_000,
        basic_kbps: 6_000,
        ofdm_only: true,
        epoch,
        vifs: vec![
            vif(300_000, 10_000),
            vif(500_000, 10_000),
            vif(100_000, 2_000),
            vif(100_000, 10_000),
        ],
    }
}

#[test]
#[ignore = "loads programs into the kernel, which needs root: run by make test-vm"]
fn the_kernel_runs_the_law_that_the_simulator_runs() {
    let kernel = Kernel::load(true);
    let wanted = settings(7).bytes();
    let config = Config {
        cases: 64,
        failure_persistence: None,
        ..Config::default()
    };
    let (sent, dropped) = (Cell::new(0), Cell::new(0));
    let replayed = TestRunner::new(config).run(&steps(), |trace| {
        let mut native = Box::<Radio>::default();
        kernel.begin(&wanted);
        let mut under_way: VecDeque<(u32, u64, u64)> = VecDeque::new();
        let mut now = 1_000 * MS;
        for step in trace {
            match step {
                Step::Pass { us } => now += us * 1_000,
                Step::Lose => drop(under_way.pop_front()),
                Step::Send {
                    slot,
                    bytes,
                    segments,
                } => {
                    let marked = kernel.egress(slot, now, bytes, segments);
                    prop_assert_eq!(
                        marked,
                        ffi::egress(&mut native, &wanted, slot, now, (bytes, segments))
                    );
                    match marked {
                        Some(mark) => {
                            sent.set(sent.get() + 1);
                            let estimated = (mark & 0xffff) * 2048;
                            under_way
                                .extend((0..segments).map(|_| (slot, mark & !0xffff, estimated)));
                        }
                        None => dropped.set(dropped.get() + 1),
                    }
                }
                Step::Complete { .. } | Step::Cancel => {
                    let Some((slot, departure_ns, estimated_ns)) = under_way.pop_front() else {
                        continue;
                    };
                    // It cannot be done before it left.
                    now = now.max(departure_ns);
                    let percent = if let Step::Complete { percent } = step {
                        percent
                    } else {
                        0
                    };
                    let measured_ns = estimated_ns * percent / 100;
                    let done = Completion {
                        departure_ns,
                        estimated_ns,
                        measured_ns,
                    };
                    if matches!(step, Step::Cancel) {
                        kernel.settle(1, slot, now, done);
                        ffi::cancel(&mut native, slot, departure_ns, estimated_ns);
                    } else {
                        kernel.settle(0, slot, now, done);
                        ffi::complete(&mut native, slot, now, done);
                    }
                }
            }
        }
        let (kernel, native) = (kernel.radio(), ffi::bytes_of(&native));
        let differs = kernel
            .chunks(8)
            .zip(native.chunks(8))
            .position(|(one, other)| one != other);
        prop_assert_eq!(
            differs.map(|word| (word, &kernel[8 * word..][..8], &native[8 * word..][..8])),
            None
        );
        Ok(())
    });
    replayed.unwrap();
    let (sent, dropped) = (sent.get(), dropped.get());
    assert!(
        sent > 1_000 && dropped > 20,
        "{sent} packets sent and {dropped} dropped say little"
    );
}

#[test]
#[ignore = "loads programs into the kernel, which needs root: run by make test-vm"]
fn the_price_of_a_packet_is_told() {
    let kernel = Kernel::load(false);
    // Nothing is ever dropped, and the shares are brought up to date every millisecond as they always are.
    let patient = Settings {
        horizon_ns: 3_600_000 * MS,
        ..settings(8)
    };
    kernel.begin(&patient.bytes());
    assert!(kernel.egress(1, 0, 100, 1).is_some());
    let (verdict, _, each) = kernel.run_egress(100, 1, 200_000);
    println!("{} ns for each of 200,000 packets", each.as_nanos());
    assert_ne!(verdict, TC_ACT_SHOT);
}
