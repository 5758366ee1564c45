//! Cells with UEs, and cores that fail, in simulated time.

use super::scenario::{Rig, cell, one_cell, one_lte_cell, profile, share, ues};
use super::*;
use crate::backend::ran::suite::{self, RanRig};
use crate::backend::ran::{AdminState, CoreState, Direction, ProfileState, Rat};
use crate::backend::sim::scenario::{now_or_never, percent};

impl RanRig for Rig {
    fn ran(&mut self) -> &mut dyn RanBackend {
        &mut self.ran
    }

    fn two_slices(&self) -> NodeConfig {
        one_cell(&[share(20.0, 100.0, 0.0), share(10.0, 50.0, 0.0)])
    }

    async fn pass(&mut self, time: Duration) {
        self.world.advance(time);
    }
}

#[tokio::test]
async fn simulator_passes_the_suite() {
    suite::run(async || Rig::new(NodeConfig::default())).await;
}

/// Six slices with `each` UEs that always want more, on one cell.
fn loaded(mut config: NodeConfig, each: u16) -> NodeConfig {
    let sim = config.sim.as_mut().unwrap();
    sim.ue_groups = (1..=6)
        .map(|number| ues(number, each, TrafficModel::FullBuffer))
        .collect();
    config
}

#[test]
fn several_hundred_ues_in_six_slices_get_their_minima_within_half_a_point_in_a_second() {
    let owed = [5.0, 10.0, 15.0, 20.0, 25.0, 25.0];
    let shares = owed.map(|min| share(min, 100.0, 0.0));
    for config in [one_cell(&shares), one_lte_cell(&shares)] {
        let rig = Rig::new(loaded(config, 60));
        rig.pass(200);
        assert_eq!(rig.state("s1").ues.unwrap(), 60);
        let cells = now_or_never(rig.ran.cells()).unwrap();
        assert_eq!(cells[0].ues, 360);
        for (got, owed) in rig.shares(1000).into_iter().zip(owed) {
            let owed = (owed * 100.0) as u32;
            assert!(got.abs_diff(owed) <= 50, "{got} for {owed}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_run_however_time_is_cut() {
    let run = |steps: &[u64]| {
        let mut config = one_cell(&[share(20.0, 100.0, 0.0), share(0.0, 30.0, 0.0)]);
        let sim = config.sim.as_mut().unwrap();
        sim.ue_groups = vec![
            ues(1, 20, TrafficModel::Constant),
            ues(2, 20, TrafficModel::Periodic),
        ];
        sim.ue_groups[1].down.interval_ms = 37;
        let rig = Rig::new(config);
        for step in steps {
            rig.pass(*step);
        }
        now_or_never(rig.ran.report()).unwrap()
    };
    let whole = run(&[3000]);
    let mut pieces: Vec<u64> = (0..200).map(|number| number % 13 + 1).collect();
    let sum: u64 = pieces.iter().sum();
    pieces.push(3000 - sum);
    assert_eq!(whole, run(&pieces));
    assert!(whole.cells[0].used_down > Some(Ratio::ZERO));
}

#[test]
fn traffic_that_fits_is_carried_as_it_is_offered() {
    let mut config = one_cell(&[share(20.0, 100.0, 0.0), share(0.0, 100.0, 0.0)]);
    let sim = config.sim.as_mut().unwrap();
    let mut constant = ues(1, 10, TrafficModel::Constant);
    constant.down.rate_kbps = 500;
    let mut periodic = ues(2, 5, TrafficModel::None);
    periodic.up.model = TrafficModel::Periodic;
    periodic.up.interval_ms = 100;
    periodic.up.packet_bytes = 125;
    sim.ue_groups = vec![constant, periodic];
    let rig = Rig::new(config);
    rig.pass(300);
    now_or_never(rig.ran.report()).unwrap();
    rig.pass(2000);
    now_or_never(rig.ran.report()).unwrap();
    let (one, two) = (&rig.state("s1").cells[0], &rig.state("s2").cells[0]);
    assert!(
        one.down.throughput_bps.unwrap().abs_diff(5_000_000) < 50_000,
        "{one:?}"
    );
    assert_eq!(two.up.throughput_bps.unwrap(), 5 * 10 * 1000);
    assert!(!one.down.backlogged.unwrap() && !two.up.backlogged.unwrap());
    // Ten packets in 24 ms, each of 30 of the 52 PRB: where a few come at once, the last waits for the TTIs of the others.
    let (mean, p99) = (one.down.delay_us.unwrap(), one.down.delay_p99_us.unwrap());
    assert!(
        (1000..=2000).contains(&mean) && mean <= p99 && p99 <= 4032,
        "{one:?}"
    );
    assert_eq!(
        (
            one.up.throughput_bps.unwrap(),
            two.down.throughput_bps.unwrap()
        ),
        (0, 0)
    );
    assert_eq!((one.up.delay_us, two.down.delay_p99_us), (None, None));
    // Nothing to do costs nothing: packets are few and far between.
    let before = rig.world.ttis();
    rig.change_traffic_off();
    rig.pass(10_000);
    assert!(rig.world.ttis() - before < 10);
}

#[test]
fn packets_wait_where_a_slice_has_less_than_it_is_offered_and_nowhere_else() {
    let mut config = one_cell(&[share(20.0, 100.0, 0.0), share(0.0, 5.0, 0.0)]);
    let (mut alarms, mut bulk) = (
        ues(1, 10, TrafficModel::Periodic),
        ues(2, 10, TrafficModel::Constant),
    );
    (alarms.down.interval_ms, alarms.down.packet_bytes) = (10, 125);
    bulk.down.rate_kbps = 500;
    config.sim.as_mut().unwrap().ue_groups = vec![alarms, bulk];
    let rig = Rig::new(config);
    rig.pass(1000);
    now_or_never(rig.ran.report()).unwrap();
    rig.pass(1000);
    now_or_never(rig.ran.report()).unwrap();
    let p99 = |slice: &str| rig.state(slice).cells[0].down.delay_p99_us.unwrap();
    let (alarms, bulk) = (p99("s1"), p99("s2"));
    assert!(alarms <= 2064, "{alarms}");
    assert!(
        bulk > 500_000,
        "five times what its ceiling lets through: {bulk}"
    );
}

impl Rig {
    fn change_traffic_off(&self) {
        let mut told = self.world.with("n", |node| node.told.clone());
        told.groups.clear();
        self.world.with("n", |node| node.configure(told));
    }
}

#[test]
fn ues_get_in_by_their_imsi_and_are_counted_when_they_do_not() {
    let mut config = one_cell(&[share(0.0, 100.0, 0.0), share(0.0, 100.0, 0.0)]);
    let sim = config.sim.as_mut().unwrap();
    let mut unlisted = ues(1, 2, TrafficModel::None);
    unlisted.name = "unlisted".to_owned();
    unlisted.first_imsi = "001010000005000".to_owned();
    let mut strangers = unlisted.clone();
    strangers.name = "strangers".to_owned();
    strangers.first_imsi = "901700000005000".to_owned();
    sim.ue_groups = vec![ues(1, 3, TrafficModel::None), unlisted, strangers];
    let mut rig = Rig::new(config);
    rig.pass(200);
    let one = rig.state("s1");
    assert_eq!((one.ues.unwrap(), one.rejected_attaches.unwrap()), (3, 2));
    assert_eq!(rig.state("s2").rejected_attaches.unwrap(), 0);
    // The list is opened, and for a while nobody gets in.
    rig.change(|config| {
        let profile = &mut config.ran.profiles[0];
        profile.access.default_action = super::super::DefaultAction::Permit;
        profile.admin_state = AdminState::ShuttingDown;
    })
    .unwrap();
    rig.pass(200);
    assert_eq!(rig.state("s1").ues.unwrap(), 3);
    rig.change(|config| config.ran.profiles[0].admin_state = AdminState::Unlocked)
        .unwrap();
    rig.pass(200);
    assert_eq!(rig.state("s1").ues.unwrap(), 5);
    rig.change(|config| config.ran.profiles[0].max_ues = Some(5))
        .unwrap();
    let refusal = rig
        .change(|config| config.ran.profiles[0].max_ues = Some(4))
        .unwrap_err();
    assert_eq!(refusal.app_tag, Some("max-ues-below-attached"));
    let refusal = rig
        .change(|config| drop(config.ran.profiles.remove(0)))
        .unwrap_err();
    assert_eq!(refusal.app_tag, Some("has-ues"));
    rig.change(|config| config.ran.profiles[0].admin_state = AdminState::Locked)
        .unwrap();
    assert_eq!(rig.state("s1").ues.unwrap(), 0);
    rig.change(|config| drop(config.ran.profiles.remove(0)))
        .unwrap();
}

#[test]
fn a_ue_keeps_its_link_through_changes_that_are_not_about_it() {
    let mut config = one_cell(&[share(0.0, 100.0, 0.0), share(0.0, 100.0, 0.0)]);
    let sim = config.sim.as_mut().unwrap();
    sim.ue_groups = vec![ues(2, 3, TrafficModel::FullBuffer)];
    let mut rig = Rig::new(config);
    rig.pass(200);
    rig.change(|config| {
        config.ran.profiles.remove(0);
        config
            .ran
            .profiles
            .push(profile(3, share(10.0, 100.0, 0.0)));
        let groups = &mut config.sim.as_mut().unwrap().ue_groups;
        groups[0].bits_per_prb = 100;
    })
    .unwrap();
    assert_eq!(rig.state("s2").ues.unwrap(), 3);
    assert_eq!(rig.shares(1000), [10_000, 0]);
    let state = rig.state("s2");
    assert_eq!(state.cells[0].down.throughput_bps.unwrap(), 50 * 100 * 1000);
    assert!(state.cells[0].down.backlogged.unwrap());
}

#[test]
fn an_unreachable_edge_core_is_left_within_three_seconds_and_returned_to_after_the_hold_down() {
    let mut config = one_cell(&[share(0.0, 100.0, 0.0)]);
    config.sim.as_mut().unwrap().ue_groups = vec![ues(1, 3, TrafficModel::FullBuffer)];
    let mut rig = Rig::new(config);
    rig.pass(500);
    assert_eq!(rig.state("s1").active_core.as_deref(), Some("edge"));
    let mut events = rig.ran.events();
    rig.set_core("edge", Behaviour::Vanish);
    rig.pass(3000);
    let state = rig.state("s1");
    assert_eq!(state.active_core.as_deref(), Some("dc"));
    assert_eq!(
        (state.oper_state, state.ues.unwrap()),
        (ProfileState::Active, 3)
    );
    assert_eq!(state.core_failovers, 1);
    let event = events.try_recv().unwrap();
    let expected = Event::CoreFailover {
        name: "s1".to_owned(),
        from: "edge".to_owned(),
        to: "dc".to_owned(),
        cause: "it does not answer".to_owned(),
    };
    assert_eq!(event, expected);
    rig.set_core("edge", Behaviour::Accept);
    rig.pass(9000);
    assert_eq!(rig.state("s1").active_core.as_deref(), Some("dc"));
    rig.pass(3000);
    assert_eq!(rig.state("s1").active_core.as_deref(), Some("edge"));
}

#[test]
fn without_a_core_a_slice_is_degraded_with_the_causes_and_carries_nobody() {
    let mut config = one_cell(&[share(0.0, 100.0, 0.0)]);
    let sim = config.sim.as_mut().unwrap();
    sim.ue_groups = vec![ues(1, 3, TrafficModel::FullBuffer)];
    sim.cores = vec![
        SimCore {
            name: "edge".to_owned(),
            behaviour: Behaviour::Reject,
            cause: "slice-not-supported".to_owned(),
        },
        SimCore {
            name: "dc".to_owned(),
            behaviour: Behaviour::Vanish,
            cause: String::new(),
        },
    ];
    let mut rig = Rig::new(config);
    rig.pass(500);
    assert_eq!(rig.state("s1").oper_state, ProfileState::Pending);
    rig.pass(2500);
    let state = rig.state("s1");
    assert_eq!(
        (state.oper_state, state.ues.unwrap()),
        (ProfileState::Degraded, 0)
    );
    assert_eq!(
        state.cause.as_deref(),
        Some("core edge: slice-not-supported; core dc: it does not answer")
    );
    let cores = now_or_never(rig.ran.cores()).unwrap();
    assert_eq!(cores[0].oper_state, CoreState::SetupRejected);
    rig.set_core("dc", Behaviour::Accept);
    rig.pass(1500);
    let state = rig.state("s1");
    assert_eq!(
        (
            state.oper_state,
            state.active_core.as_deref(),
            state.ues.unwrap()
        ),
        (ProfileState::Active, Some("dc"), 3)
    );
}

#[test]
fn another_plmn_is_a_deletion_and_a_creation_and_the_plan_says_so() {
    let mut config = one_cell(&[share(0.0, 100.0, 0.0)]);
    config.sim.as_mut().unwrap().ue_groups = vec![ues(1, 3, TrafficModel::None)];
    let rig = Rig::new(config);
    rig.pass(200);
    let mut other = rig.config.clone();
    other.ran.profiles[0].mnc = "09".to_owned();
    other.ran.profiles[0].access.ranges.clear();
    let plan = rig.ran.plan(&rig.config, &other).unwrap();
    assert_eq!(
        plan.steps()[0].action,
        "delete slice profile s1 and create it anew, with another PLMN or S-NSSAI"
    );
    assert_eq!(plan.stations_dropped(), 3);
    let refusal = rig.ran.objections(&rig.config, &other).unwrap_err();
    assert_eq!(refusal.app_tag, Some("has-ues"));
}

#[test]
fn a_change_of_a_cell_restarts_it_and_no_other() {
    let mut config = one_cell(&[share(0.0, 100.0, 0.0)]);
    config.ran.cells.push(cell("c2", Rat::Nr));
    let mut second = profile(2, share(0.0, 100.0, 0.0));
    second.cells = vec!["c2".to_owned()];
    config.ran.profiles.push(second);
    let sim = config.sim.as_mut().unwrap();
    sim.ue_groups = vec![ues(1, 3, TrafficModel::None), ues(2, 2, TrafficModel::None)];
    let mut rig = Rig::new(config);
    rig.pass(200);
    let mut wider = rig.config.clone();
    wider.ran.cells[0].bandwidth_prb = 100;
    let plan = rig.ran.plan(&rig.config, &wider).unwrap();
    assert_eq!(plan.steps()[0].action, "restart cell c1");
    assert_eq!(plan.stations_dropped(), 3);
    rig.commit(wider).unwrap();
    assert_eq!(
        (rig.state("s1").ues.unwrap(), rig.state("s2").ues.unwrap()),
        (0, 2)
    );
    assert_eq!(rig.state("s1").oper_state, ProfileState::Pending);
    rig.pass(200);
    assert_eq!(rig.state("s1").ues.unwrap(), 3);
}

#[test]
fn a_restart_of_the_ran_is_refused_while_ues_are_attached_unless_it_is_forced() {
    let mut config = one_cell(&[share(0.0, 100.0, 0.0)]);
    config.sim.as_mut().unwrap().ue_groups = vec![ues(1, 3, TrafficModel::None)];
    let rig = Rig::new(config);
    rig.pass(200);
    let refusal = now_or_never(rig.ran.initialise(false)).unwrap_err();
    assert_eq!(
        (refusal.to_string().as_str(), refusal.app_tag),
        (
            "/tranche-ran:initialise/force: 3 UEs would lose their link: force it",
            Some("has-ues")
        )
    );
    assert_eq!(now_or_never(rig.ran.initialise(true)), Ok(3));
    assert_eq!(rig.state("s1").ues.unwrap(), 0);
    rig.pass(200);
    assert_eq!(rig.state("s1").ues.unwrap(), 3);
    assert_eq!(rig.state("s1").oper_state, ProfileState::Active);
}

fn correction(profile: &str, min: Option<f64>, max: Option<f64>) -> PrbCorrection {
    PrbCorrection {
        profile: profile.to_owned(),
        cell: "c1".to_owned(),
        direction: Direction::Down,
        min_ratio: min.map(percent),
        max_ratio: max.map(percent),
    }
}

#[test]
fn a_correction_moves_prb_and_its_ceiling_lapses() {
    let shares = [share(20.0, 100.0, 0.0), share(20.0, 100.0, 0.0)];
    let mut config = one_cell(&shares);
    let sim = config.sim.as_mut().unwrap();
    sim.ue_groups = vec![
        ues(1, 2, TrafficModel::FullBuffer),
        ues(2, 2, TrafficModel::FullBuffer),
    ];
    let mut rig = Rig::new(config);
    rig.pass(200);
    assert_eq!(rig.shares(1000), [5000, 5000]);
    let corrections = [
        correction("s1", Some(60.0), None),
        correction("s2", None, Some(15.0)),
    ];
    let lifetime = Duration::from_secs(5);
    now_or_never(rig.ran.correct(&corrections, lifetime)).unwrap();
    assert_eq!(rig.shares(1000), [8500, 1500]);
    rig.pass(5000);
    assert_eq!(rig.shares(1000), [7000, 3000]);
    let down = rig.state("s1").cells[0].down;
    assert_eq!(down.effective_min_ratio, percent(60.0));
    // A change of something else leaves it; a change of what is owed ends it.
    rig.change(|config| config.ran.profiles[0].max_ues = Some(50))
        .unwrap();
    assert_eq!(
        rig.state("s1").cells[0].down.effective_min_ratio,
        percent(60.0)
    );
    rig.change(|config| config.ran.profiles[0].policies[0].share = share(30.0, 100.0, 0.0))
        .unwrap();
    assert_eq!(
        rig.state("s1").cells[0].down.effective_min_ratio,
        percent(30.0)
    );
}

#[test]
fn a_correction_that_cannot_be_changes_nothing() {
    let shares = [share(20.0, 100.0, 0.0), share(30.0, 100.0, 0.0)];
    let rig = Rig::new(one_cell(&shares));
    let at = |name: &str, leaf: &str| {
        format!(
            "/tranche-ran:correct-prb/slice-profile[name='{name}'][cell='c1'][direction='down']{leaf}"
        )
    };
    let good = correction("s1", Some(40.0), None);
    for (bad, path, app_tag) in [
        (
            correction("s2", Some(60.01), None),
            at("s2", "/min-ratio"),
            "ratio-sum",
        ),
        (
            correction("s2", None, Some(0.0)),
            at("s2", "/max-ratio"),
            "starved",
        ),
        (correction("s9", None, None), at("s9", ""), "not-on-cell"),
    ] {
        let lifetime = Duration::from_secs(5);
        let refusal = now_or_never(rig.ran.correct(&[good.clone(), bad], lifetime)).unwrap_err();
        assert_eq!((refusal.path, refusal.app_tag), (path, Some(app_tag)));
        let down = rig.state("s1").cells[0].down;
        assert_eq!(down.effective_min_ratio, percent(20.0));
    }
}

#[test]
fn a_ran_that_refuses_says_so_and_two_groups_never_share_a_ue() {
    let mut rig = Rig::new(one_cell(&[share(20.0, 100.0, 0.0)]));
    let refusal = rig
        .change(|config| {
            config.sim.as_mut().unwrap().ran_refuse = Some("no licence".to_owned());
            config.ran.profiles[0].max_ues = Some(3);
        })
        .unwrap_err();
    assert_eq!(refusal.to_string(), "/tranche-ran:ran: no licence");
    assert_eq!(refusal.app_tag, Some("ran-refused"));
    for (first, count, text) in [
        (
            "001010000000002",
            1,
            "another group has the UE 001010000000002 already",
        ),
        ("999999999999999", 2, "its IMSIs have more than 15 digits"),
    ] {
        let refusal = rig
            .change(|config| {
                let groups = &mut config.sim.as_mut().unwrap().ue_groups;
                let mut other = ues(2, count, TrafficModel::None);
                other.first_imsi = first.to_owned();
                groups.extend([ues(1, 3, TrafficModel::None), other]);
            })
            .unwrap_err();
        assert_eq!(
            refusal.to_string(),
            format!("/tranche-sim:sim/ue-group[name='g2']: {text}")
        );
        assert_eq!(refusal.app_tag, Some("imsi-overlap"));
    }
}
