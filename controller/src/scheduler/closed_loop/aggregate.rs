//! Cells and aggregate promises: Wi-Fi and cells under one scheduler.

use super::super::plant::Plant;
use super::super::plant::cells::CellPlant;
use super::super::types::*;
use super::super::{Direction, Scheduler, Settings};

/// What is promised: airtime and downlink PRB, and on the average of all.
fn sla(airtime: f64, prb: f64, aggregate: f64) -> Sla {
    Sla {
        min_ratio: airtime,
        down: PrbSla {
            min_ratio: prb,
            max_ratio: 100.0,
        },
        aggregate,
        ..Sla::default()
    }
}

#[derive(Clone)]
struct Both {
    air: Plant,
    cells: CellPlant,
    scheduler: Scheduler,
    table: SlaTable,
    decision: Decision,
    sent: usize,
}

impl Both {
    fn new(air: Plant, cells: CellPlant, table: &[(&str, Sla)]) -> Self {
        Self {
            air,
            cells,
            scheduler: Scheduler::new(Settings::default()),
            table: table.iter().copied().collect(),
            decision: Decision::default(),
            sent: 0,
        }
    }

    fn step(&mut self) -> &Decision {
        let Decision {
            corrections, prb, ..
        } = std::mem::take(&mut self.decision);
        let mut report = self.air.run(corrections);
        report.cells = self.cells.run(prb);
        self.decision = self
            .scheduler
            .step(Period(self.air.now), &report, &self.table);
        self.sent += self.decision.prb.len();
        &self.decision
    }

    fn run(&mut self, periods: usize) {
        for _ in 0..periods {
            self.step();
        }
    }

    fn measure(&self, slice: &str, technology: Technology) -> &SliceMeasure {
        let mut all = self.decision.slices.iter();
        let is_it = |one: &&SliceMeasure| &*one.slice == slice && one.technology == technology;
        all.find(is_it).expect("measured")
    }

    /// What a slice truly got on the average of one Wi-Fi domain and all cells, percent of wall-clock time and PRB.
    fn mean(&self, slice: &str) -> f64 {
        let air = self.air.share(slice) * self.air.capacity();
        let on = |cell: &usize| self.cells.cells[*cell].iter().any(|one| one.slice == slice);
        let cells: Vec<f64> = (0..self.cells.cells.len())
            .filter(on)
            .map(|cell| self.cells.share(cell, slice))
            .collect();
        (air + cells.iter().sum::<f64>()) / (1.0 + cells.len() as f64)
    }

    /// Runs so long; what a slice got on the average of that time, and the most and least of it in a period.
    fn watch(&mut self, periods: usize, what: impl Fn(&Self) -> f64) -> (f64, f64, f64) {
        let (mut sum, mut least, mut most) = (0.0, f64::INFINITY, f64::NEG_INFINITY);
        for _ in 0..periods {
            self.step();
            let now = what(self);
            (sum, least, most) = (sum + now, least.min(now), most.max(now));
        }
        (sum / periods as f64, least, most)
    }
}

/// Two tenants on two radios of one domain and on one cell: A is promised 38 % on the average of both, which it has in quiet times.
fn two_tenants() -> Both {
    Both::new(
        Plant::new(&[&["a", "b"], &["a", "b"]]),
        CellPlant::new(&[&[("a", 20.0), ("b", 30.0)]]),
        &[("a", sla(20.0, 20.0, 38.0)), ("b", sla(30.0, 30.0, 0.0))],
    )
}

#[test]
fn a_cell_that_keeps_its_minima_is_not_corrected() {
    let mut both = Both::new(
        Plant::new(&[]),
        CellPlant::new(&[&[("a", 20.0), ("b", 60.0)], &[("a", 20.0)]]),
        &[("a", sla(0.0, 20.0, 0.0)), ("b", sla(0.0, 60.0, 0.0))],
    );
    both.cells.noise = 0.005;
    both.run(60);
    assert_eq!(both.sent, 0);
    let a = both.measure("a", Technology::PrbDown);
    assert_eq!(
        (a.owed, a.state, &*a.domain),
        (20.0, SliceState::Met, "enb-0/c")
    );
    assert!(
        (a.measured - 30.0).abs() < 1.0 && (a.target - 30.0).abs() < 1e-6,
        "{a:?}"
    );
    let up = both.measure("a", Technology::PrbUp);
    assert_eq!(up.state, SliceState::Idle);
}

#[test]
fn a_minimum_that_yields_less_than_it_says_is_raised_until_the_promise_is_kept() {
    for delay in [1, 2] {
        let mut both = Both::new(
            Plant::new(&[]),
            CellPlant::new(&[&[("a", 40.0), ("b", 10.0), ("c", 0.0), ("d", 0.0), ("e", 0.0)]]),
            &[("a", sla(0.0, 40.0, 0.0)), ("b", sla(0.0, 10.0, 0.0))],
        );
        (both.cells.delay, both.cells.noise) = (delay, 0.01);
        both.cells.each("a", |one| one.gain = 0.5);
        let mut violated = false;
        for _ in 0..20 {
            let decision = both.step();
            violated |= decision
                .events
                .iter()
                .any(|event| matches!(event, Event::Violated { .. }));
        }
        let (mean, least, most) = both.watch(60, |both| both.cells.share(0, "a"));
        assert!(
            violated && mean > 39.0 && least > 37.0 && most < 46.0,
            "{delay}: {mean} {least} {most}"
        );
        assert_eq!(
            both.measure("a", Technology::PrbDown).state,
            SliceState::Met
        );
        both.cells.each("a", |one| one.gain = 1.0);
        both.run(40);
        assert_eq!(
            both.cells.minimum(0, "a"),
            40.0,
            "what was added is taken back"
        );
        let sent = both.sent;
        both.run(30);
        assert_eq!(both.sent, sent, "and then there is silence");
    }
}

#[test]
fn what_interference_takes_from_wi_fi_is_made_up_for_at_the_cell_and_given_back() {
    for (delay, noise) in [(1, 0.0), (1, 0.02), (2, 0.0), (2, 0.02)] {
        let told = format!("delay {delay}, noise {noise}");
        let mut both = two_tenants();
        (both.air.delay, both.cells.delay) = (delay, delay);
        (both.air.noise, both.cells.noise) = (noise, noise / 2.0);
        both.run(40);
        assert_eq!(both.cells.minimum(0, "a"), 20.0, "{told}");
        both.air.external = 0.5;
        let mut out_of_reach = false;
        for _ in 0..40 {
            let decision = both.step();
            out_of_reach |= decision
                .events
                .iter()
                .any(|e| matches!(e, Event::OutOfReach { .. }));
        }
        assert!(!out_of_reach, "{told}");
        let (mean, least, most) = both.watch(60, |both| both.mean("a"));
        assert!((mean - 38.0).abs() < 1.0, "{told}: {mean}");
        assert!(
            most - least < 3.0 + 200.0 * noise,
            "{told}: {least} to {most}"
        );
        assert_eq!(
            both.measure("a", Technology::Aggregate).state,
            SliceState::Met,
            "{told}"
        );
        assert!(
            both.cells.share(0, "a") > 50.0,
            "{told}: {}",
            both.cells.share(0, "a")
        );
        // What B is promised was never touched.
        let (b, ..) = both.watch(20, |both| both.cells.share(0, "b"));
        assert!(b > 29.5, "{told}: b has {b} of the cell");
        let (b, ..) = both.watch(20, |both| both.air.share("b"));
        assert!(b > 29.0, "{told}: b has {b} of the air");
        both.air.external = 0.0;
        both.run(40);
        assert_eq!(both.cells.minimum(0, "a"), 20.0, "{told}");
        let (mean, ..) = both.watch(20, |both| both.mean("a"));
        assert!(mean > 38.0, "{told}: {mean}");
    }
}

#[test]
fn without_interference_nothing_is_lent_to_a_promise_that_is_kept_anyway() {
    let mut both = two_tenants();
    both.table.insert("a", sla(20.0, 20.0, 30.0));
    both.run(60);
    assert_eq!((both.sent, both.cells.minimum(0, "a")), (0, 20.0));
}

#[test]
fn what_a_cell_loses_is_made_up_for_on_the_air() {
    let mut both = two_tenants();
    both.run(40);
    both.cells.silent = vec![0];
    both.table.insert("a", sla(20.0, 20.0, 25.0));
    both.run(40);
    // The cell counts as nothing: all has to come from the air, 50 % of the time.
    let air = both.air.share("a") * both.air.capacity();
    assert!((air - 50.0).abs() < 2.0, "{air}");
    assert!(both.air.share("b") > 29.0, "{}", both.air.share("b"));
    both.cells.silent.clear();
    both.run(40);
    assert!(both.mean("a") > 24.5 && both.air.share("a") < 56.0);
}

#[test]
fn a_promise_out_of_reach_is_told_and_breaks_no_guarantee() {
    let mut both = two_tenants();
    both.table.insert("a", sla(20.0, 20.0, 75.0));
    let mut told = Vec::new();
    for _ in 0..60 {
        let events = &both.step().events;
        told.extend(
            events
                .iter()
                .filter(|e| matches!(e, Event::OutOfReach { .. } | Event::InReach { .. }))
                .cloned(),
        );
    }
    let [
        Event::OutOfReach {
            slice,
            owed,
            possible,
        },
    ] = &told[..]
    else {
        panic!("{told:?}")
    };
    assert_eq!((&**slice, *owed), ("a", 75.0));
    // 70 % of the cell, and 70 % of the 85 % of the time that the air has.
    assert!((possible - 64.75).abs() < 2.0, "{possible}");
    assert_eq!(
        both.measure("a", Technology::Aggregate).state,
        SliceState::Violated
    );
    for (share, owed) in [
        (both.cells.share(0, "b"), 30.0),
        (both.air.share("b"), 30.0),
    ] {
        assert!((share - owed).abs() < 1.5, "b has {share}");
    }
    both.table.insert("a", sla(20.0, 20.0, 30.0));
    let mut events = Vec::new();
    for _ in 0..12 {
        events.extend(both.step().events.clone());
    }
    assert!(
        events.iter().any(|e| matches!(e, Event::InReach { .. })),
        "{events:?}"
    );
}

#[test]
fn an_idle_guarantee_is_there_the_moment_it_is_asked_for() {
    let mut both = two_tenants();
    both.cells.each("b", |one| one.wants = 0.0);
    both.air.external = 0.6;
    both.run(60);
    both.cells.each("b", |one| one.wants = f64::INFINITY);
    both.step();
    let b = both.cells.share(0, "b");
    assert!(b >= 29.9, "b has {b} of the cell in the first period");
}

#[test]
fn the_maximum_of_a_slice_holds_for_what_is_lent_too() {
    let mut both = two_tenants();
    let mut capped = sla(20.0, 20.0, 60.0);
    (capped.max_ratio, capped.down.max_ratio) = (35.0, 45.0);
    both.table.insert("a", capped);
    both.cells.each("a", |one| one.max = 45.0);
    both.run(60);
    assert!(both.cells.minimum(0, "a") <= 45.0);
    let (air, ..) = both.watch(10, |both| both.air.share("a"));
    assert!(air < 36.5, "{air}");
}

#[test]
fn who_asks_for_little_keeps_nothing_that_was_lent() {
    let mut both = two_tenants();
    both.air.external = 0.5;
    both.run(40);
    assert!(both.cells.minimum(0, "a") > 30.0);
    both.cells.each("a", |one| one.wants = 0.02);
    both.air.each("a", |one| one.wants = 0.02);
    both.run(30);
    assert_eq!(both.cells.minimum(0, "a"), 20.0);
    assert_eq!(
        both.measure("a", Technology::Aggregate).state,
        SliceState::Met
    );
}

#[test]
fn a_node_that_corrects_no_cells_is_asked_once_and_again_when_its_agent_starts_again() {
    let mut both = two_tenants();
    both.air.external = 0.5;
    let mut asked = 0;
    for _ in 0..60 {
        if !both.step().prb.is_empty() {
            asked += 1;
            both.decision.prb.clear();
            assert!(both.scheduler.refused_prb("enb-0", "not here"));
        }
    }
    assert_eq!(asked, 1);
    let at_cell = |both: &Both| {
        both.decision
            .domains
            .iter()
            .find(|d| d.technology == Technology::PrbDown)
            .cloned()
            .expect("there")
    };
    let refused = at_cell(&both).refused;
    assert_eq!(refused.as_deref(), Some("not here"));
    // The air gives what it can without breaking what B is promised.
    assert!(both.air.share("b") > 29.0);
    both.cells.started = both.air.now;
    both.run(5);
    assert!(both.sent > 1 && at_cell(&both).refused.is_none());
}

#[test]
fn a_minimum_that_was_lost_is_sent_again() {
    let mut both = two_tenants();
    both.air.external = 0.5;
    both.run(40);
    let raised = both.cells.minimum(0, "a");
    assert!(raised > 30.0);
    // Somebody configured the slice profile: its corrections are gone.
    both.cells.each("a", |one| one.min = 20.0);
    both.run(8);
    assert!(
        (both.cells.minimum(0, "a") - raised).abs() < 5.0,
        "{}",
        both.cells.minimum(0, "a")
    );
    // A correction did not arrive.
    both.air.external = 0.3;
    both.step();
    for _ in 0..20 {
        if !both.decision.prb.is_empty() {
            break;
        }
        both.step();
    }
    let lost = std::mem::take(&mut both.decision.prb);
    assert!(!lost.is_empty());
    both.scheduler.undelivered_prb("enb-0");
    let again = &both.step().prb;
    assert_eq!(again.len(), lost.len());
    assert_eq!(again[0].direction, Direction::Down);
}

#[test]
fn switching_off_takes_back_what_was_lent() {
    let mut both = two_tenants();
    both.air.external = 0.5;
    both.run(40);
    assert!(both.cells.minimum(0, "a") > 30.0);
    both.scheduler.set_enabled(false);
    both.run(3);
    assert_eq!(both.cells.minimum(0, "a"), 20.0);
    both.run(3);
    assert!(both.decision.prb.is_empty());
}

/// What happens to the network.
type Change = fn(&mut Both);

#[test]
fn three_slices_over_eight_radios_and_four_cells_keep_every_promise_through_changes() {
    let cell: &[(&'static str, f64)] = &[("a", 15.0), ("b", 25.0), ("c", 0.0)];
    let on_air: Vec<&[&'static str]> = vec![&["a", "b", "c"]; 8];
    for delay in [1, 2] {
        let mut both = Both::new(
            Plant::new(&on_air),
            CellPlant::new(&[cell, cell, cell, cell]),
            &[
                ("a", sla(15.0, 15.0, 35.0)),
                ("b", sla(25.0, 25.0, 32.0)),
                ("c", sla(0.0, 0.0, 0.0)),
            ],
        );
        (both.air.noise, both.cells.noise) = (0.03, 0.01);
        (both.air.delay, both.cells.delay) = (delay, delay);
        both.air.spread_gains(0.7, 1.2);
        let steps: [(&str, Change); 4] = [
            ("start", |_| {}),
            ("a stranger takes the air", |both| both.air.external = 0.6),
            ("a cell is lost", |both| both.cells.silent = vec![0]),
            ("all is well", |both| {
                both.air.external = 0.0;
                both.cells.silent.clear();
            }),
        ];
        for (name, change) in steps {
            change(&mut both);
            both.run(40);
            for (slice, owed, min) in [("a", 35.0, 15.0), ("b", 32.0, 25.0)] {
                let mut copy = both.clone();
                let (mean, ..) = copy.watch(40, |both| {
                    both.measure(slice, Technology::Aggregate).measured
                });
                assert!(
                    mean > owed * 0.97,
                    "delay {delay}, {name}: {slice} has {mean} of {owed}"
                );
                let (air, ..) = copy.watch(10, |both| both.air.share(slice));
                assert!(
                    air > min * 0.95,
                    "delay {delay}, {name}: {slice} has {air} of the air"
                );
            }
        }
    }
}
