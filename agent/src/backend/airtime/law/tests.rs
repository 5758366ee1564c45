//! Laws of the scheduler's arithmetic, on a radio reduced to the least: it serves what has left, one packet after another,
//! and the medium leaves it a part of the time.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const MS: u64 = 1_000_000;

/// A tenant of the model.
#[derive(Debug, Clone)]
struct Tenant {
    weight: u32,
    ceiling: Ratio,
    /// Estimated airtime of a packet.
    packet_ns: u64,
    /// What a packet really takes, over its estimate.
    truth: f64,
    /// What it offers, as a part of all time; none for always more.
    load: Option<f64>,
}

/// A radio that is left `capacity` of the time.
struct Model {
    law: RadioLaw,
    tenants: Vec<Tenant>,
    capacity: f64,
    now_ns: u64,
    /// From departure to the queue of the radio, and from the air to the completion: half of it each.
    latency_ns: u64,
    /// Completions on their way.
    told: VecDeque<(u64, usize, Completion)>,
    /// When the packet on the air is done.
    in_service: Option<(u64, usize, Completion)>,
    free_ns: u64,
    /// Departure and estimate of what each tenant has waiting.
    held: Vec<VecDeque<(u64, u64)>>,
    offered_ns: Vec<f64>,
    served_ns: Vec<f64>,
    dropped: Vec<u64>,
}

impl Model {
    fn new(capacity: f64, tenants: Vec<Tenant>) -> Self {
        let mut law = RadioLaw::new(0, Settings::default());
        for (slot, tenant) in tenants.iter().enumerate() {
            law.set_vif(slot, tenant.weight, tenant.ceiling);
        }
        let count = tenants.len();
        Self {
            law,
            tenants,
            capacity,
            now_ns: 0,
            latency_ns: 0,
            told: VecDeque::new(),
            in_service: None,
            free_ns: 0,
            held: vec![VecDeque::new(); count],
            offered_ns: vec![0.0; count],
            served_ns: vec![0.0; count],
            dropped: vec![0; count],
        }
    }

    fn offer(&mut self, slot: usize) {
        let estimated_ns = self.tenants[slot].packet_ns;
        match self.law.admit(slot, self.now_ns, estimated_ns) {
            Verdict::Send { departure_ns } => {
                assert!(departure_ns >= self.now_ns, "leaves in the past");
                assert!(departure_ns <= self.now_ns + 50 * MS, "held too long");
                self.held[slot].push_back((departure_ns, estimated_ns));
            }
            Verdict::Drop => self.dropped[slot] += 1,
        }
    }

    fn step(&mut self) {
        for slot in 0..self.tenants.len() {
            let tenant = &self.tenants[slot];
            match tenant.load {
                None => {
                    while self.law.held_ns(slot, self.now_ns) < 35 * MS
                        && self.held[slot].len() < 400
                    {
                        self.offer(slot);
                    }
                }
                Some(load) => {
                    let each_ns = tenant.packet_ns as f64 * tenant.truth;
                    while self.offered_ns[slot] + each_ns <= load * self.now_ns as f64 {
                        self.offered_ns[slot] += each_ns;
                        self.offer(slot);
                    }
                }
            }
        }
        self.serve();
        self.now_ns += 50_000;
    }

    /// Serves what has left, one packet after another.
    fn serve(&mut self) {
        while let Some((at_ns, slot, done)) = self
            .told
            .front()
            .copied()
            .filter(|(at_ns, ..)| *at_ns <= self.now_ns)
        {
            self.told.pop_front();
            self.law.complete(slot, at_ns, done);
        }
        loop {
            if let Some((end_ns, slot, done)) = self.in_service {
                if end_ns > self.now_ns {
                    return;
                }
                self.served_ns[slot] += done.measured_ns as f64;
                self.told
                    .push_back((end_ns + self.latency_ns / 2, slot, done));
                self.in_service = None;
                self.free_ns = end_ns;
            }
            let ready = self.held.iter().enumerate().filter_map(|(slot, queue)| {
                queue
                    .front()
                    .filter(|(at, _)| *at + self.latency_ns / 2 <= self.now_ns)
                    .map(|(at, _)| (*at, slot))
            });
            let Some((departure_ns, slot)) = ready.min() else {
                return;
            };
            let (_, estimated_ns) = self.held[slot].pop_front().unwrap();
            let measured_ns = (estimated_ns as f64 * self.tenants[slot].truth) as u64;
            let start_ns = self.free_ns.max(departure_ns + self.latency_ns / 2);
            let end_ns = start_ns + (measured_ns as f64 / self.capacity) as u64;
            let done = Completion {
                departure_ns,
                estimated_ns,
                measured_ns,
            };
            self.in_service = Some((end_ns, slot, done));
        }
    }

    /// The part of all time that each tenant was served in the last of `warm_up_ms` and `length_ms`.
    fn run(&mut self, warm_up_ms: u64, length_ms: u64) -> Vec<f64> {
        while self.now_ns < warm_up_ms * MS {
            self.step();
        }
        let before = self.served_ns.clone();
        let start_ns = self.now_ns;
        while self.now_ns < start_ns + length_ms * MS {
            self.step();
        }
        let length_ns = (self.now_ns - start_ns) as f64;
        self.served_ns
            .iter()
            .zip(before)
            .map(|(now, then)| (now - then) / length_ns)
            .collect()
    }
}

fn greedy(weight: u32) -> impl Strategy<Value = Tenant> {
    (100_000_u64..2_000_000, 0.7_f64..3.0).prop_map(move |(packet_ns, truth)| Tenant {
        weight,
        ceiling: Ratio::FULL,
        packet_ns,
        truth,
        load: None,
    })
}

fn greedy_tenants() -> impl Strategy<Value = Vec<Tenant>> {
    prop::collection::vec(50_000_u32..1_000_000, 1..6)
        .prop_flat_map(|weights| weights.into_iter().map(greedy).collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn weights_are_kept_and_nothing_is_wasted(
        tenants in greedy_tenants(),
        capacity in 0.2_f64..1.0,
    ) {
        let all: f64 = tenants.iter().map(|tenant| f64::from(tenant.weight)).sum();
        let mut model = Model::new(capacity, tenants.clone());
        // What was sent in ignorance at the start is paid back first, and a part of a medium takes its time.
        let served = model.run(6_000, 10_000);
        let total: f64 = served.iter().sum();
        prop_assert!(total > 0.85 * capacity, "{total} of {capacity} used");
        for (tenant, served) in tenants.iter().zip(&served) {
            let owed = f64::from(tenant.weight) / all;
            prop_assert!((served / total - owed).abs() < 0.015, "{} owed {owed}", served / total);
        }
    }

    #[test]
    fn a_slow_driver_costs_nothing(
        tenants in greedy_tenants(),
        capacity in 0.4_f64..1.0,
        latency_ns in 0_u64..20 * MS,
    ) {
        let all: f64 = tenants.iter().map(|tenant| f64::from(tenant.weight)).sum();
        let mut model = Model::new(capacity, tenants.clone());
        model.latency_ns = latency_ns;
        // Where no packet is ever alone in the driver it takes up to 20 s to learn how slow that is.
        let served = model.run(30_000, 10_000);
        let total: f64 = served.iter().sum();
        prop_assert!(total > 0.85 * capacity, "{total} of {capacity} used");
        for (tenant, served) in tenants.iter().zip(&served) {
            let owed = f64::from(tenant.weight) / all;
            prop_assert!((served / total - owed).abs() < 0.015, "{} owed {owed}", served / total);
        }
    }

    #[test]
    fn a_ceiling_holds_and_the_rest_is_lent(
        mut tenants in greedy_tenants(),
        capacity in 0.3_f64..1.0,
        ceiling in 0.05_f64..0.9,
    ) {
        tenants[0].ceiling = Ratio::from_hundredths((ceiling * 10_000.0) as u32);
        let alone = tenants.len() == 1;
        let mut model = Model::new(capacity, tenants);
        let served = model.run(4_000, 8_000);
        let total: f64 = served.iter().sum();
        prop_assert!(served[0] < ceiling + 0.01, "{} over {ceiling}", served[0]);
        let expected = if alone { capacity.min(ceiling) } else { capacity };
        prop_assert!(total > 0.85 * expected, "{total} of {expected} used");
    }

    #[test]
    fn a_light_tenant_loses_nothing(
        heavy in greedy(700_000),
        light in greedy(300_000),
        load in 0.01_f64..0.2,
    ) {
        let light = Tenant { load: Some(load), packet_ns: light.packet_ns.min(500_000), ..light };
        let mut model = Model::new(0.9, vec![heavy, light]);
        let served = model.run(1_000, 6_000);
        prop_assert_eq!(model.dropped[1], 0);
        prop_assert!((served[1] - load).abs() < 0.01, "{} of {load}", served[1]);
        prop_assert!(served[0] > 0.85 * (0.9 - load), "{} lent of {}", served[0], 0.9 - load);
    }

    #[test]
    fn nothing_that_a_caller_says_breaks_the_law(
        calls in prop::collection::vec((0_u8..5, any::<u32>(), any::<u64>(), any::<u64>()), 1..200),
        max_delay_ms in 0_u64..2_000,
    ) {
        let settings = Settings { max_delay: Duration::from_millis(max_delay_ms), ..Settings::default() };
        let mut law = RadioLaw::new(0, settings);
        let mut now_ns = 0;
        for (call, small, a, b) in calls {
            now_ns += a % (100 * MS);
            let slot = small as usize;
            match call {
                0 => law.set_vif(slot % 40, small % 1_000_001, Ratio::from_hundredths(small >> 16)),
                1 => if let Verdict::Send { departure_ns } = law.admit(slot, now_ns, b) {
                    prop_assert!(departure_ns >= now_ns);
                    prop_assert!(departure_ns <= now_ns + max_delay_ms * MS);
                },
                2 => {
                    let done = Completion {
                        departure_ns: now_ns.saturating_sub(b % (1000 * MS)),
                        estimated_ns: b % (1000 * MS),
                        measured_ns: a % (1000 * MS),
                    };
                    law.complete(slot, now_ns, done);
                }
                3 => law.cancel(slot, now_ns.saturating_sub(a % (100 * MS)), b % (1000 * MS)),
                _ => law.refresh(now_ns),
            }
            let congestion = law.congestion_thousandths();
            prop_assert!((1000..=64_000).contains(&congestion), "{congestion}");
        }
    }

    #[test]
    fn weights_keep_guarantees(hundredths in prop::collection::vec(0_u32..5_000, 1..8)) {
        let ratios: Vec<Ratio> = hundredths.iter().map(|part| Ratio::from_hundredths(*part)).collect();
        let weights = weights(&ratios);
        let all: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        let owed: f64 = ratios.iter().map(|ratio| ratio.fraction()).sum();
        for (ratio, weight) in ratios.iter().zip(&weights) {
            prop_assert!(*weight > 0);
            let share = f64::from(*weight) / all;
            prop_assert!(share >= ratio.fraction() / owed.max(1.0) - 0.001, "{share} for {ratio}");
        }
    }
}

#[test]
fn packets_of_many_frames_leave_no_gaps() {
    // What TCP hands over at 6 and 12 Mbit/s: two and eight frames at once.
    for capacity in [0.6, 0.9] {
        let tenant = |weight, packet_ns| Tenant {
            weight,
            ceiling: Ratio::FULL,
            packet_ns,
            truth: 1.05,
            load: None,
        };
        let tenants = vec![tenant(300_000, 4_400_000), tenant(700_000, 9_000_000)];
        let mut model = Model::new(capacity, tenants);
        let served = model.run(6_000, 20_000);
        let total: f64 = served.iter().sum();
        assert!(total > 0.97 * capacity, "{total} of {capacity} used");
        assert!((served[0] / total - 0.3).abs() < 0.01, "{served:?}");
    }
}

#[test]
fn a_slow_driver_is_known_within_half_a_minute() {
    // It tells after 19 ms what it sent, and hardly ever has a packet with nothing before it.
    let tenants = [
        (706_811, 374_027, 1.26),
        (914_718, 1_312_825, 1.26),
        (745_754, 1_909_868, 1.19),
        (423_694, 1_835_054, 2.17),
        (523_050, 919_430, 1.67),
    ];
    let tenants = tenants.map(|(weight, packet_ns, truth)| Tenant {
        weight,
        ceiling: Ratio::FULL,
        packet_ns,
        truth,
        load: None,
    });
    let mut model = Model::new(0.834, tenants.to_vec());
    model.latency_ns = 19_127_691;
    let served = model.run(30_000, 10_000);
    let total: f64 = served.iter().sum();
    assert!(total > 0.95 * 0.834, "{total} used");
}

#[test]
fn what_nobody_is_guaranteed_is_shared_equally() {
    let ratios = |percents: &[u32]| -> Vec<Ratio> {
        percents
            .iter()
            .map(|percent| Ratio::from_hundredths(percent * 100))
            .collect()
    };
    assert_eq!(weights(&ratios(&[30, 70])), [300_000, 700_000]);
    assert_eq!(weights(&ratios(&[0, 0])), [500_000, 500_000]);
    assert_eq!(weights(&ratios(&[30, 0])), [650_000, 350_000]);
    assert_eq!(weights(&ratios(&[100, 0])), [1_000_000, 100]);
    assert_eq!(weights(&ratios(&[100, 100])), [500_000, 500_000]);
}

#[test]
fn completions_that_never_come_do_not_stop_the_radio() {
    let settings = Settings::default();
    let mut law = RadioLaw::new(0, settings);
    law.set_vif(0, 1, Ratio::FULL);
    let mut admitted = 0;
    for now_ms in 0..10_000_u64 {
        while law.held_ns(0, now_ms * MS) < 30 * MS {
            match law.admit(0, now_ms * MS, MS) {
                Verdict::Send { .. } => admitted += u64::from(now_ms > 5_000),
                Verdict::Drop => break,
            }
        }
    }
    // Without a single completion there is nothing to go by but the airtime in flight.
    assert!(admitted > 100, "{admitted} packets in 5 s");
    assert!(law.counters(0).lost_ns > 0);
}
