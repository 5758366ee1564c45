//! What the medium and the scheduler on it do, judged by the ledger of true airtime.

use std::time::Duration;

use super::scenario::*;

const SETTLE: Duration = Duration::from_secs(2);
const LONG: Duration = Duration::from_secs(20);

#[test]
fn shares_are_kept_on_one_radio() {
    for (rate_a, rate_b) in [
        (6_000, 12_000),
        (54_000, 54_000),
        (12_000, 54_000),
        (54_000, 6_000),
    ] {
        for (min_a, min_b) in [(30.0, 70.0), (50.0, 50.0), (70.0, 30.0), (10.0, 90.0)] {
            let scenario = Scenario::new(vec![node(
                0,
                vec![
                    vif("a", "phy0", min_a, 100.0),
                    vif("b", "phy0", min_b, 100.0),
                ],
                vec![saturated(1, "a", rate_a), saturated(2, "b", rate_b)],
            )]);
            scenario.medium.advance(SETTLE);
            let got = scenario.measure(LONG);
            got.print(&format!("{min_a}/{min_b} at {rate_a}/{rate_b} kbit/s"));
        }
    }
}
#[test]
fn explore() {
    let run = |title: &str, s: &Scenario| {
        s.medium.advance(SETTLE);
        s.measure(LONG).print(title);
        println!(
            "   {:?}",
            now_or_never(s.airtime(0).radios()).unwrap()[0].congestion_thousandths
        );
    };
    let s = Scenario::new(vec![node(
        0,
        vec![vif("a", "phy0", 0.0, 100.0)],
        vec![saturated(1, "a", 54_000)],
    )]);
    run("alone", &s);
    let s = Scenario::new(vec![node(
        0,
        vec![vif("a", "phy0", 0.0, 40.0)],
        vec![saturated(1, "a", 54_000)],
    )]);
    run("alone max 40", &s);
    let two = || {
        vec![
            node(
                0,
                vec![vif("a", "phy0", 0.0, 100.0)],
                vec![saturated(1, "a", 54_000)],
            ),
            node(
                10,
                vec![vif("b", "phy0", 0.0, 100.0)],
                vec![saturated(2, "b", 54_000)],
            ),
        ]
    };
    let s = Scenario::new(two());
    run("figure 21", &s);
    s.correct(0, "a", None, Some(26.1), 100);
    run("figure 21 a 26.1", &s);
    s.correct(1, "b", None, Some(60.9), 100);
    run("figure 21 a 26.1 b 60.9", &s);
    let mut two = two();
    for c in &mut two {
        c.wifi.radios[0].scheduler.enabled = false;
    }
    let s = Scenario::new(two);
    run("figure 21 no scheduler", &s);
    for enabled in [false, true] {
        let mut n = node(
            0,
            vec![vif("a", "phy0", 50.0, 100.0), vif("b", "phy0", 50.0, 100.0)],
            vec![
                super::SimStationConfig {
                    loss_down: percent(30.0),
                    ..saturated(1, "a", 6000)
                },
                saturated(2, "b", 12000),
            ],
        );
        n.wifi.radios[0].scheduler.enabled = enabled;
        let s = Scenario::new(vec![n]);
        run("loss 30", &s);
    }
}
