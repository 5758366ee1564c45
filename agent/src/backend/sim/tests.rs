//! What the medium and the scheduler on it do, judged by the ledger of true airtime. Percentages are of time.

use std::time::Duration;

use super::scenario::{Measured, Scenario, node, now_or_never, percent, saturated, station, vif};
use super::{LedgerEntry, MediumParams, SimStationConfig};
use crate::backend::NodeConfig;

const SETTLE: Duration = Duration::from_secs(2);
const LONG: Duration = Duration::from_secs(20);

/// A node at 0 with the interfaces `a` and `b`, each with one station that always wants more.
fn two_tenants(min: (f64, f64), rates_kbps: (u32, u32)) -> NodeConfig {
    node(
        0,
        vec![
            vif("a", "phy0", min.0, 100.0),
            vif("b", "phy0", min.1, 100.0),
        ],
        vec![
            saturated(1, "a", rates_kbps.0),
            saturated(2, "b", rates_kbps.1),
        ],
    )
}

fn stations(config: &mut NodeConfig) -> &mut Vec<SimStationConfig> {
    &mut config.sim.as_mut().unwrap().stations
}

fn settled(title: &str, scenario: &Scenario) -> Measured {
    scenario.medium.advance(SETTLE);
    let measured = scenario.measure(LONG);
    measured.print(title);
    measured
}

#[track_caller]
fn near(got: f64, expected: f64, within: f64) {
    assert!(
        (got - expected).abs() <= within,
        "{got:.2}, not {expected:.2} within {within}"
    );
}

#[test]
fn shares_are_kept_on_one_radio() {
    for rates in [
        (6_000, 12_000),
        (54_000, 54_000),
        (12_000, 54_000),
        (54_000, 6_000),
    ] {
        for min in [(30.0, 70.0), (50.0, 50.0), (70.0, 30.0), (10.0, 90.0)] {
            let scenario = Scenario::new(vec![two_tenants(min, rates)]);
            let title = format!("owed {}/{} at {}/{} kbit/s", min.0, min.1, rates.0, rates.1);
            let got = settled(&title, &scenario);
            near(got.share("a"), min.0, 1.0);
            assert!(got.total() > 88.0, "{} used", got.total());
        }
    }
}

#[test]
fn without_the_scheduler_shares_are_what_the_driver_makes_of_them() {
    let mut config = two_tenants((30.0, 70.0), (6_000, 12_000));
    config.wifi.radios[0].scheduler.enabled = false;
    let got = settled("no scheduler, 6/12 Mbit/s", &Scenario::new(vec![config]));
    near(got.share("a"), 66.0, 3.0);
}

#[test]
fn eight_tenants_get_what_they_are_owed() {
    let owed = [1.0, 2.0, 5.0, 8.0, 12.0, 16.0, 24.0, 32.0];
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let vifs = names
        .iter()
        .zip(owed)
        .map(|(name, min)| vif(name, "phy0", min, 100.0))
        .collect();
    let rates = [
        6_000, 54_000, 12_000, 24_000, 300_000, 9_000, 36_000, 130_000,
    ];
    let all = names.iter().zip(rates).zip(1_u8..);
    let stations = all
        .map(|((name, rate), number)| saturated(number, name, rate))
        .collect();
    let got = settled(
        "eight tenants",
        &Scenario::new(vec![node(0, vifs, stations)]),
    );
    for (name, owed) in names.iter().zip(owed) {
        near(got.share(name), owed, 0.5);
    }
    assert!(got.total() > 85.0, "{} used", got.total());
}

#[test]
fn shares_are_kept_with_frames_lost_to_one_client() {
    for min in [(30.0, 70.0), (50.0, 50.0), (70.0, 30.0)] {
        let mut config = two_tenants(min, (6_000, 12_000));
        stations(&mut config)[0].loss_down = percent(30.0);
        let title = format!("owed {}/{}, 30 % of frames to a lost", min.0, min.1);
        let got = settled(&title, &Scenario::new(vec![config]));
        near(got.share("a"), min.0, 1.0);
        assert!(got.total() > 80.0, "{} used", got.total());
    }
}

#[test]
fn shares_are_kept_when_completions_get_lost() {
    let params = MediumParams {
        lost_completions_ppm: 900_000,
        ..MediumParams::default()
    };
    let mut config = two_tenants((50.0, 50.0), (6_000, 12_000));
    stations(&mut config)[0].loss_down = percent(30.0);
    let scenario = Scenario::with_params(params, vec![config]);
    scenario.medium.advance(SETTLE);
    let got = settled("as before, and 9 of 10 completions lost", &scenario);
    near(got.share("a"), 50.0, 2.0);
    assert!(got.total() > 75.0, "{} used", got.total());
}

#[test]
fn shares_are_kept_with_a_wrong_estimate() {
    for overhead_ns in [0, 7_000, 200_000] {
        let params = MediumParams {
            estimated_overhead_ns: overhead_ns,
            ..MediumParams::default()
        };
        let config = two_tenants((30.0, 70.0), (6_000, 54_000));
        let scenario = Scenario::with_params(params, vec![config]);
        let got = settled(
            &format!("overhead estimated at {overhead_ns} ns"),
            &scenario,
        );
        near(got.share("a"), 30.0, 1.0);
        assert!(got.total() > 85.0, "{} used", got.total());
    }
}

#[test]
fn shares_are_kept_with_uplink_contention() {
    let mut config = two_tenants((30.0, 70.0), (6_000, 12_000));
    stations(&mut config).push(SimStationConfig {
        saturated_up: true,
        ..station(3, "b")
    });
    let got = settled(
        "owed 30/70, a client of b sends",
        &Scenario::new(vec![config]),
    );
    near(got.share("a"), 30.0, 1.0);
    assert!(got.received("b") > 15.0, "{} received", got.received("b"));
    assert!(got.total() > 40.0, "{} used", got.total());
}

#[test]
fn a_light_tenant_loses_nothing_and_its_rest_is_lent() {
    let mut config = two_tenants((30.0, 70.0), (54_000, 54_000));
    stations(&mut config)[1].saturated_down = false;
    stations(&mut config)[1].load_down_kbps = 5_000;
    let scenario = Scenario::new(vec![config]);
    let got = settled("b wants 5 Mbit/s of its 70 %", &scenario);
    let b = ledger_of(&scenario, "b");
    assert_eq!((b.refused_packets, b.lost_packets), (0, 0));
    let offered = 5_000_000.0 / 8.0 * (SETTLE + LONG).as_secs_f64();
    near(b.delivered_bytes as f64 / offered, 1.0, 0.05);
    assert!(got.used("a") > 75.0, "a got {}", got.used("a"));
}

fn ledger_of(scenario: &Scenario, vif: &str) -> LedgerEntry {
    scenario
        .medium
        .ledger()
        .into_iter()
        .find(|entry| entry.vif == vif)
        .unwrap()
}

#[test]
fn an_idle_share_is_lent_and_given_back_within_two_intervals() {
    let mut scenario = Scenario::new(vec![two_tenants((30.0, 70.0), (24_000, 24_000))]);
    scenario.medium.advance(SETTLE);
    let two_intervals = Duration::from_millis(200);
    scenario.change(0, |config| stations(config)[1].saturated_down = false);
    scenario.medium.advance(two_intervals);
    let lent = scenario.measure(Duration::from_millis(500));
    lent.print("b just stopped");
    assert!(lent.used("a") > 85.0, "a got {}", lent.used("a"));
    scenario.change(0, |config| stations(config)[1].saturated_down = true);
    scenario.medium.advance(two_intervals);
    let back = scenario.measure(Duration::from_millis(500));
    back.print("b just began again");
    near(back.share("b"), 70.0, 5.0);
}

#[test]
fn a_ceiling_is_kept_when_alone() {
    for ceiling in [5.0, 40.0, 80.0] {
        let config = node(
            0,
            vec![vif("a", "phy0", 0.0, ceiling)],
            vec![saturated(1, "a", 54_000)],
        );
        let got = settled(
            &format!("alone under a ceiling of {ceiling}"),
            &Scenario::new(vec![config]),
        );
        near(got.used("a"), ceiling, 0.5);
    }
}

/// Two nodes in range on one channel, each with one tenant that always wants more.
fn figure_21() -> Scenario {
    let one = |x, name: &str, number| {
        node(
            x,
            vec![vif(name, "phy0", 0.0, 100.0)],
            vec![saturated(number, name, 54_000)],
        )
    };
    Scenario::new(vec![one(0, "a", 1), one(20, "b", 2)])
}

#[test]
fn two_nodes_on_one_channel_share_it_evenly_until_ceilings_say_otherwise() {
    let scenario = figure_21();
    let even = settled("figure 21, no correction", &scenario);
    near(even.share("a"), 50.0, 2.0);
    let capacity = 87.0;
    scenario.correct(0, "a", None, Some(0.30 * capacity), 3600);
    let one = settled("figure 21, ceiling on a", &scenario);
    near(one.used("a"), 0.30 * capacity, 0.5);
    assert!(one.used("b") > 0.62 * capacity, "b got {}", one.used("b"));
    scenario.correct(1, "b", None, Some(0.70 * capacity), 3600);
    let both = settled("figure 21, ceilings on both", &scenario);
    near(both.used("a"), 0.30 * capacity, 0.5);
    near(both.used("b"), 0.70 * capacity, 1.0);
}

#[test]
fn radios_out_of_range_or_on_another_channel_do_not_contend() {
    let mut scenario = figure_21();
    scenario.change(1, |config| {
        config.sim.as_mut().unwrap().radios[0].x.0 = 2_000
    });
    let apart = settled("200 m apart", &scenario);
    assert!(apart.used("a") > 88.0 && apart.used("b") > 88.0);
    scenario.change(1, |config| config.sim.as_mut().unwrap().radios[0].x.0 = 200);
    let near_again = settled("20 m apart again", &scenario);
    assert!(near_again.used("a") < 55.0 && near_again.used("b") < 55.0);
    scenario.change(1, |config| config.wifi.radios[0].channel = 44);
    let tuned = settled("on another channel", &scenario);
    assert!(tuned.used("a") > 88.0 && tuned.used("b") > 88.0);
}

#[test]
fn the_radio_between_two_that_do_not_hear_each_other_starves() {
    let at = |x, name: &str, number| {
        node(
            x,
            vec![vif(name, "phy0", 0.0, 100.0)],
            vec![saturated(number, name, 54_000)],
        )
    };
    let scenario = Scenario::new(vec![at(0, "a", 1), at(80, "b", 2), at(160, "c", 3)]);
    let got = settled("a and c don't hear each other", &scenario);
    assert!(got.used("a") > 65.0 && got.used("c") > 65.0 && got.used("b") < 25.0);
    scenario.correct(0, "a", None, Some(40.0), 3600);
    scenario.correct(2, "c", None, Some(40.0), 3600);
    let capped = settled("with ceilings of 40 on a and c", &scenario);
    assert!(capped.used("b") > 25.0, "b got {}", capped.used("b"));
}

#[test]
fn another_network_is_reported_as_external() {
    let mut config = node(0, vec![vif("a", "phy0", 0.0, 100.0)], Vec::new());
    config.sim.as_mut().unwrap().radios[0].external_load = percent(30.0);
    let mut scenario = Scenario::new(vec![config]);
    let report = |scenario: &Scenario| {
        scenario.medium.advance(LONG);
        let radio = now_or_never(scenario.airtime(0).report())
            .unwrap()
            .radios
            .remove(0);
        (radio.busy.percent(), radio.external.percent())
    };
    let (busy, external) = report(&scenario);
    near(external, 30.0, 2.0);
    near(busy, external, 0.1);
    scenario.change(0, |config| stations(config).push(saturated(1, "a", 54_000)));
    let (busy, external) = report(&scenario);
    near(external, 30.0, 2.0);
    assert!(busy > 90.0, "busy {busy}");
}

#[test]
fn packets_are_held_no_longer_than_max_delay() {
    for max_delay_ms in [5, 20, 100] {
        let mut config = two_tenants((30.0, 70.0), (54_000, 54_000));
        config.wifi.radios[0].scheduler.max_delay_ms = max_delay_ms;
        stations(&mut config)[0].saturated_down = false;
        stations(&mut config)[0].load_down_kbps = 60_000;
        let scenario = Scenario::new(vec![config]);
        scenario.medium.advance(SETTLE);
        now_or_never(scenario.airtime(0).report()).unwrap();
        let got = settled(&format!("max-delay {max_delay_ms} ms"), &scenario);
        now_or_never(scenario.airtime(0).report()).unwrap();
        let states = now_or_never(scenario.airtime(0).vifs()).unwrap();
        for state in &states {
            assert!(
                state.delay_p99_us <= u32::from(max_delay_ms) * 1000,
                "{state:?}"
            );
            assert!(state.backlogged && state.delayed_packets > 0, "{state:?}");
        }
        assert!(states[0].dropped_packets > 0, "{:?}", states[0]);
        near(got.share("a"), 30.0, 2.0);
        assert!(got.total() > 80.0, "{} used", got.total());
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| {
        let mut config = two_tenants((30.0, 70.0), (6_000, 54_000));
        config.sim.as_mut().unwrap().seed = seed;
        stations(&mut config)[0].loss_down = percent(10.0);
        stations(&mut config).push(SimStationConfig {
            load_up_kbps: 3_000,
            ..station(3, "a")
        });
        let scenario = Scenario::new(vec![config]);
        // However the time is cut.
        for _ in 0..500 {
            scenario
                .medium
                .advance(Duration::from_millis(if seed == 7 { 4 } else { 8 }));
        }
        scenario
            .medium
            .advance(Duration::from_secs(4 - 2 * u64::from(seed != 7)));
        (
            scenario.medium.now(),
            scenario.medium.ledger(),
            scenario.medium.events_handled(),
        )
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7).1, run(8).1);
}

#[tokio::test]
async fn the_driver_keeps_to_the_time_of_the_wall() {
    let scenario = figure_21();
    let stop = tokio_util::sync::CancellationToken::new();
    let start = tokio::time::Instant::now();
    let driver = tokio::spawn(std::sync::Arc::clone(&scenario.medium).drive(stop.clone()));
    tokio::time::sleep(Duration::from_millis(300)).await;
    stop.cancel();
    driver.await.unwrap();
    let now = scenario.medium.now();
    assert!(
        now > Duration::from_millis(100) && now <= start.elapsed(),
        "{now:?}"
    );
}
