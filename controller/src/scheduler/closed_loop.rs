//! The scheduler against a simulated network.

mod aggregate;
mod delivery;

use super::plant::Plant;
use super::types::*;
use super::{Scheduler, Settings};

fn sla(min_ratio: f64) -> Sla {
    Sla {
        min_ratio,
        ..Sla::default()
    }
}

struct Loop {
    plant: Plant,
    scheduler: Scheduler,
    table: SlaTable,
    decision: Decision,
    sent: usize,
}

impl Loop {
    fn new(plant: Plant, table: &[(&str, Sla)]) -> Self {
        Self {
            plant,
            scheduler: Scheduler::new(Settings::default()),
            table: table.iter().copied().collect(),
            decision: Decision::default(),
            sent: 0,
        }
    }

    fn step(&mut self) -> &Decision {
        let report = self
            .plant
            .run(std::mem::take(&mut self.decision.corrections));
        self.decision = self
            .scheduler
            .step(Period(self.plant.now), &report, &self.table);
        self.sent += self.decision.corrections.len();
        &self.decision
    }

    fn run(&mut self, periods: usize) {
        for _ in 0..periods {
            self.step();
        }
    }

    /// The same network and scheduler, going its own way from here.
    fn fork(&self) -> Self {
        Self {
            plant: self.plant.clone(),
            scheduler: self.scheduler.clone(),
            table: self.table.clone(),
            decision: self.decision.clone(),
            sent: 0,
        }
    }

    fn measure(&self, slice: &str) -> &SliceMeasure {
        self.decision
            .slices
            .iter()
            .find(|measure| &*measure.slice == slice)
            .expect("measured")
    }
}

/// Figure 21 of 5GCity D3.1: A alone on the first node, B alone on the second.
fn figure_21() -> Loop {
    Loop::new(
        Plant::new(&[&["a"], &["b"]]),
        &[("a", sla(30.0)), ("b", sla(70.0))],
    )
}

#[test]
fn without_corrections_two_nodes_share_evenly_and_the_violation_is_told() {
    let mut looped = figure_21();
    looped.scheduler.set_enabled(false);
    let mut events = Vec::new();
    for _ in 0..30 {
        let decision = looped.step();
        assert!(decision.corrections.is_empty());
        events.extend(decision.events.clone());
    }
    assert!(
        (looped.measure("a").measured - 50.0).abs() < 1.0,
        "{:?}",
        looped.measure("a")
    );
    assert!(
        (looped.measure("b").measured - 50.0).abs() < 1.0,
        "{:?}",
        looped.measure("b")
    );
    assert_eq!(looped.measure("a").state, SliceState::Met);
    assert_eq!(looped.measure("b").state, SliceState::Violated);
    assert!(
        matches!(&events[..], [Event::Violated { slice, owed, .. }] if &**slice == "b" && (owed - 70.0).abs() < 1e-6),
        "{events:?}"
    );
}

#[test]
fn corrections_bring_two_nodes_to_what_is_owed_in_five_periods_and_keep_them_there() {
    for delay in [1, 2] {
        for eta in [0.7, 0.85, 0.95] {
            let mut looped = figure_21();
            (looped.plant.delay, looped.plant.eta) = (delay, eta);
            looped.scheduler.set_enabled(false);
            looped.run(8);
            looped.scheduler.set_enabled(true);
            looped.run(5);
            let mut cleared = None;
            for period in 0..150 {
                let decision = looped.step();
                if decision
                    .events
                    .iter()
                    .any(|event| matches!(event, Event::Cleared { .. }))
                {
                    cleared = Some(period);
                }
                for (slice, owed) in [("a", 30.0), ("b", 70.0)] {
                    let (truth, told) = (looped.plant.share(slice), looped.measure(slice).measured);
                    assert!(
                        (truth - owed).abs() < 2.0,
                        "eta {eta}, delay {delay}, period {period}: {slice} got {truth}"
                    );
                    assert!(
                        (told - truth).abs() < 2.0,
                        "eta {eta}, delay {delay}: told {told}, true {truth}"
                    );
                }
            }
            assert!(
                cleared.is_some_and(|period| period < 15),
                "eta {eta}, delay {delay}: cleared {cleared:?}"
            );
            assert_eq!(looped.measure("b").state, SliceState::Met);
        }
    }
}

#[test]
fn radios_that_sense_nobody_else_keep_their_promises_through_idleness() {
    for (eta, collided) in [(0.8, 0.0), (0.9, 0.0), (0.9, 0.05), (0.93, 0.08)] {
        let mut looped = figure_21();
        (looped.plant.deaf, looped.plant.delay, looped.plant.noise) = (true, 2, 0.01);
        (looped.plant.eta, looped.plant.collided) = (eta, collided);
        looped.scheduler.set_enabled(false);
        looped.run(10);
        looped.scheduler.set_enabled(true);
        let check = |looped: &mut Loop, what: &str| {
            looped.run(5);
            let mut mean = 0.0;
            for _ in 0..5 {
                looped.step();
                mean += looped.plant.share("a") / 5.0;
            }
            assert!(
                (mean - 30.0).abs() < 1.5,
                "eta {eta}, collided {collided}, {what}: a got {mean}, capacity {}",
                looped.decision.domains[0].capacity
            );
        };
        check(&mut looped, "from the start");
        looped.run(10);
        check(&mut looped, "later");
        looped.plant.each("a", |vif| vif.wants = 0.0);
        looped.run(5);
        looped.plant.each("a", |vif| vif.wants = f64::INFINITY);
        check(&mut looped, "after a was idle");
    }
}

#[test]
fn it_works_from_the_first_period_too() {
    let mut looped = figure_21();
    looped.run(7);
    assert!(
        (looped.plant.share("a") - 30.0).abs() < 2.0,
        "{}",
        looped.plant.share("a")
    );
}

#[test]
fn a_steady_network_is_left_alone_but_for_renewals() {
    let mut looped = figure_21();
    looped.run(40);
    looped.sent = 0;
    looped.run(75);
    // Two vifs, renewed at half a lifetime of 15 periods.
    assert!(
        (18..=22).contains(&looped.sent),
        "{} corrections",
        looped.sent
    );
}

#[test]
fn idle_airtime_is_lent_and_comes_back() {
    let mut looped = figure_21();
    looped.run(20);
    looped.plant.each("a", |vif| vif.wants = 0.0);
    looped.run(8);
    assert!(
        looped.plant.share("b") > 97.0,
        "b got {} of what a left",
        looped.plant.share("b")
    );
    assert_eq!(looped.measure("a").state, SliceState::Idle);
    looped.plant.each("a", |vif| vif.wants = f64::INFINITY);
    looped.run(4);
    let share = looped.plant.share("a");
    assert!(
        (share - 30.0).abs() < 2.0,
        "a got {share} four periods after it came back"
    );
}

#[test]
fn a_light_tenant_gets_all_it_asks_for() {
    let mut looped = figure_21();
    looped.plant.each("a", |vif| vif.wants = 0.1);
    looped.run(20);
    assert!(
        (looped.plant.truth[0][0] - 0.1).abs() < 1e-6,
        "{:?}",
        looped.plant.truth
    );
    assert!(looped.plant.share("a") + looped.plant.share("b") > 95.0);
    assert_eq!(looped.measure("a").state, SliceState::Met);
    let demand = looped.measure("a").demand.expect("not backlogged");
    assert!((demand - 100.0 * 0.13 / 0.85).abs() < 1.0, "{demand}");
}

#[test]
fn a_backlog_that_cannot_use_its_share_does_not_waste_it() {
    // B says it is backlogged but does not get above 20 % of the time, whatever it is given.
    let mut looped = figure_21();
    looped.run(10);
    looped.plant.each("b", |vif| vif.most = 0.2);
    looped.run(12);
    for _ in 0..50 {
        looped.step();
        let total = looped.plant.share("a") + looped.plant.share("b");
        assert!(total > 90.0, "only {total} % of the airtime is used");
    }
    assert_eq!(
        looped.measure("b").state,
        SliceState::Violated,
        "it asks for more than it gets"
    );
    looped.plant.each("b", |vif| vif.most = 1.0);
    looped.run(10);
    assert!(
        (looped.plant.share("b") - 70.0).abs() < 2.0,
        "{}",
        looped.plant.share("b")
    );
}

/// Eight access points in one clique: A owed 50 % on two of them, B 20 % on three, C best effort on all.
fn eight(delay: usize, a: f64, b: f64) -> Loop {
    let mut plant = Plant::new(&[
        &["a", "c"],
        &["a", "c"],
        &["b", "c"],
        &["b", "c"],
        &["b", "c"],
        &["c"],
        &["c"],
        &["c"],
    ]);
    plant.noise = 0.03;
    plant.delay = delay;
    plant.spread_gains(0.7, 1.2);
    Loop::new(plant, &[("a", sla(a)), ("b", sla(b)), ("c", sla(0.0))])
}

/// Runs 100 periods. Returns the mean shortfall of the last 50 (percent of what is owed) and the last period that was more
/// than 5 % short, smoothed over three.
fn shortfall(looped: &mut Loop, slice: &str, owed: f64) -> (f64, usize) {
    let (mut mean, mut last_bad, mut recent) = (0.0, 0, Vec::new());
    for period in 0..100 {
        looped.step();
        let short = 100.0 * (1.0 - looped.plant.share(slice) / owed);
        recent.push(short);
        let window = &recent[recent.len().saturating_sub(3)..];
        if window.iter().sum::<f64>() / window.len() as f64 > 5.0 {
            last_bad = period + 1;
        }
        if period >= 50 {
            mean += short / 50.0;
        }
    }
    (mean, last_bad)
}

/// What happens to the network.
type Step = fn(&mut Plant);

#[test]
fn eight_access_points_keep_their_guarantees_through_every_change() {
    for (delay, a, b) in [
        (1, 50.0, 20.0),
        (2, 50.0, 20.0),
        (1, 65.0, 33.0),
        (2, 65.0, 33.0),
    ] {
        let mut looped = eight(delay, a, b);
        let steps: [(&str, Step); 4] = [
            ("start", |_| {}),
            ("a stranger takes a third", |plant| plant.external = 0.35),
            ("a leaves", |plant| plant.each("a", |vif| vif.wants = 0.0)),
            ("a returns", |plant| {
                plant.each("a", |vif| vif.wants = f64::INFINITY)
            }),
        ];
        for (name, change) in steps {
            change(&mut looped.plant);
            for (slice, owed) in [("a", a), ("b", b)] {
                if slice == "a" && name == "a leaves" {
                    continue;
                }
                let mut copy = looped.fork();
                let (mean, last_bad) = shortfall(&mut copy, slice, owed);
                assert!(
                    mean < 2.0,
                    "delay {delay}, {name}: {slice} is {mean:.1} % short"
                );
                assert!(
                    last_bad <= 12,
                    "delay {delay}, {name}: {slice} cleared in period {last_bad}"
                );
            }
            looped.run(100);
            let used: f64 = ["a", "b", "c"]
                .iter()
                .map(|slice| looped.plant.share(slice))
                .sum();
            assert!(
                used > 90.0,
                "delay {delay}, {name}: {used:.1} % of the airtime is used"
            );
        }
    }
}

#[test]
fn uplink_counts_against_the_domain_but_does_not_wind_up_the_integral() {
    let mut looped = figure_21();
    looped.run(20);
    looped.plant.each("a", |vif| vif.uplink = 0.4);
    looped.run(30);
    for (slice, owed) in [("a", 30.0), ("b", 70.0)] {
        assert!(
            (looped.plant.share(slice) - owed).abs() < 2.0,
            "{slice}: {}",
            looped.plant.share(slice)
        );
        assert!(
            (looped.measure(slice).measured - owed).abs() < 2.0,
            "{:?}",
            looped.measure(slice)
        );
    }
    let capacity = looped.decision.domains[0].capacity;
    assert!(
        (capacity - 100.0 * looped.plant.capacity()).abs() < 2.0,
        "capacity {capacity}"
    );
    looped.plant.each("a", |vif| vif.uplink = 0.0);
    looped.run(5);
    for (slice, owed) in [("a", 30.0), ("b", 70.0)] {
        assert!(
            (looped.plant.share(slice) - owed).abs() < 2.0,
            "after: {slice}: {}",
            looped.plant.share(slice)
        );
    }
}

#[test]
fn switching_off_takes_the_corrections_back_once() {
    let mut looped = figure_21();
    looped.run(10);
    assert!(looped.plant.ceiling(0, 0) < 40.0);
    looped.scheduler.set_enabled(false);
    assert_eq!(looped.step().corrections.len(), 2);
    looped.run(2);
    assert!(looped.decision.corrections.is_empty());
    assert_eq!(
        (looped.plant.ceiling(0, 0), looped.plant.ceiling(1, 0)),
        (100.0, 100.0)
    );
    assert!((looped.plant.share("a") - 50.0).abs() < 0.1);
}

#[test]
fn ceilings_are_taken_back_when_nobody_contends_any_more() {
    let mut looped = figure_21();
    looped.run(10);
    looped.plant.each("a", |vif| vif.wants = 0.05);
    looped.plant.each("b", |vif| vif.wants = 0.05);
    looped.run(12);
    assert_eq!(
        (looped.plant.ceiling(0, 0), looped.plant.ceiling(1, 0)),
        (100.0, 100.0)
    );
}

#[test]
fn a_silent_node_makes_its_slice_unknown_and_its_corrections_wait() {
    let mut looped = figure_21();
    looped.run(10);
    looped.plant.silent = vec![0];
    looped.run(4);
    assert_eq!(looped.measure("a").state, SliceState::Unknown);
    assert_eq!(looped.measure("b").state, SliceState::Met);
    assert!(
        looped
            .decision
            .corrections
            .iter()
            .all(|correction| &*correction.radio.node != "node-0")
    );
    looped.plant.silent.clear();
    looped.run(12);
    assert_eq!(looped.measure("a").state, SliceState::Met);
}

#[test]
fn guarantees_that_do_not_fit_are_told_once_and_served_by_priority() {
    let mut looped = Loop::new(
        Plant::new(&[&["a"], &["b"]]),
        &[
            (
                "a",
                Sla {
                    priority: 1,
                    ..sla(60.0)
                },
            ),
            ("b", sla(70.0)),
        ],
    );
    let mut told = Vec::new();
    for _ in 0..30 {
        told.extend(
            looped
                .step()
                .events
                .iter()
                .filter(|event| matches!(event, Event::Infeasible { .. }))
                .cloned(),
        );
    }
    let [Event::Infeasible { asked, slices, .. }] = &told[..] else {
        panic!("{told:?}")
    };
    assert!((asked - 130.0).abs() < 1.0);
    assert_eq!(
        slices.iter().map(|slice| &**slice).collect::<Vec<_>>(),
        ["b"]
    );
    assert!(
        (looped.plant.share("a") - 60.0).abs() < 2.0,
        "{}",
        looped.plant.share("a")
    );
    assert_eq!(looped.measure("b").state, SliceState::Violated);
    looped.table.insert("b", sla(40.0));
    assert!(
        looped
            .step()
            .events
            .iter()
            .any(|event| matches!(event, Event::Feasible { .. }))
    );
}

#[test]
fn a_vif_that_is_not_ours_is_load_and_never_corrected() {
    let mut looped = figure_21();
    looped.run(1);
    let mut report = looped.plant.run(Vec::new());
    let mut radio = (*report.radios[0]).clone();
    radio.vifs[0].slice = None;
    report.radios[0] = std::sync::Arc::new(radio);
    let decision = looped
        .scheduler
        .step(Period(looped.plant.now), &report, &looped.table);
    assert!(
        decision
            .corrections
            .iter()
            .all(|correction| &*correction.radio.node != "node-0")
    );
    assert!(
        decision.domains[0].external > 10.0,
        "{:?}",
        decision.domains
    );
}

#[test]
fn a_radio_that_is_gone_is_forgotten() {
    let mut looped = figure_21();
    looped.run(5);
    let mut report = looped.plant.run(Vec::new());
    report.radios.remove(0);
    let decision = looped
        .scheduler
        .step(Period(looped.plant.now), &report, &looped.table);
    assert_eq!(decision.domains.len(), 1);
    assert_eq!(
        *decision.domains[0].radios,
        [RadioId::new("node-1", "radio0")]
    );
    assert!(looped.scheduler.conflicts().is_empty());
}
