//! What every implementation of the airtime domain must do: one suite for the simulator and the real thing.

use std::time::Duration;

use crate::backend::airtime::{AirtimeBackend, Correction, VifAirtimeState};
use crate::backend::sim::scenario::percent;
use crate::backend::{NodeConfig, Ratio};

/// A machine to test on, fresh for every case: a radio with the interfaces `t-a` and `t-b`, both with more to send than
/// the medium takes, and nothing configured of airtime.
pub(crate) trait AirtimeRig {
    /// The implementation under test.
    fn airtime(&mut self) -> &mut dyn AirtimeBackend;

    /// The configuration with the two interfaces, nothing guaranteed and no ceiling.
    fn two_vifs(&self) -> NodeConfig;

    /// Lets time pass.
    async fn pass(&mut self, time: Duration);

    /// True airtime that an interface has sent since the start.
    fn sent(&mut self, vif: &str) -> Duration;
}

/// Runs all cases, each on a rig of its own.
pub(crate) async fn run<R: AirtimeRig>(new_rig: impl Fn() -> R) {
    keeps_ratios(&mut new_rig()).await;
    keeps_ceilings(&mut new_rig()).await;
    ceilings_lapse_and_minimums_stay(&mut new_rig()).await;
    corrections_are_all_or_none(&mut new_rig()).await;
    configuration_overrides_corrections(&mut new_rig()).await;
    undo_restores(&mut new_rig()).await;
    reports_count_on(&mut new_rig()).await;
    reconcile_repairs_only_the_difference(&mut new_rig()).await;
    refuses_more_than_all(&mut new_rig()).await;
}

fn owing(rig: &impl AirtimeRig, ratios: [(f64, f64); 2]) -> NodeConfig {
    let mut config = rig.two_vifs();
    for (vif, (min, max)) in config.wifi.vifs.iter_mut().zip(ratios) {
        vif.airtime.min_ratio = percent(min);
        vif.airtime.max_ratio = percent(max);
    }
    config
}

async fn apply(rig: &mut impl AirtimeRig, old: &NodeConfig, new: &NodeConfig) {
    let plan = rig.airtime().plan(old, new).unwrap();
    rig.airtime().apply(plan).await.unwrap();
}

/// Percent of time that the two interfaces sent.
async fn used(rig: &mut impl AirtimeRig, length: Duration) -> [f64; 2] {
    let before = [rig.sent("t-a"), rig.sent("t-b")];
    rig.pass(length).await;
    let after = [rig.sent("t-a"), rig.sent("t-b")];
    [0, 1].map(|index| 100.0 * (after[index] - before[index]).div_duration_f64(length))
}

async fn state(rig: &mut impl AirtimeRig, vif: &str) -> VifAirtimeState {
    let states = rig.airtime().vifs().await.unwrap();
    states.into_iter().find(|state| state.name == vif).unwrap()
}

async fn in_force(rig: &mut impl AirtimeRig, vif: &str) -> (Ratio, Ratio) {
    let state = state(rig, vif).await;
    (state.effective_min_ratio, state.effective_max_ratio)
}

fn correction(vif: &str, min: Option<f64>, max: Option<f64>) -> Correction {
    Correction {
        vif: vif.to_owned(),
        min_ratio: min.map(percent),
        max_ratio: max.map(percent),
    }
}

const SETTLE: Duration = Duration::from_secs(2);
const LONG: Duration = Duration::from_secs(10);

async fn keeps_ratios(rig: &mut impl AirtimeRig) {
    let mut config = rig.two_vifs();
    for (min_a, min_b) in [(30.0, 70.0), (50.0, 50.0), (70.0, 30.0)] {
        let new = owing(rig, [(min_a, 100.0), (min_b, 100.0)]);
        apply(rig, &config, &new).await;
        config = new;
        rig.pass(SETTLE).await;
        let [a, b] = used(rig, LONG).await;
        let share = 100.0 * a / (a + b);
        println!("owed {min_a}/{min_b}: a {a:.2} b {b:.2}, a {share:.2} % of both");
        assert!(
            (share - min_a).abs() < 1.0,
            "a got {share} % and is owed {min_a}"
        );
    }
}

async fn keeps_ceilings(rig: &mut impl AirtimeRig) {
    let new = owing(rig, [(0.0, 20.0), (0.0, 100.0)]);
    apply(rig, &rig.two_vifs(), &new).await;
    rig.pass(SETTLE).await;
    let [a, b] = used(rig, LONG).await;
    assert!((a - 20.0).abs() < 1.0, "a got {a} under a ceiling of 20");
    assert!(b > 60.0, "b got {b} of what a may not use");
}

async fn ceilings_lapse_and_minimums_stay(rig: &mut impl AirtimeRig) {
    let corrections = [correction("t-a", Some(80.0), Some(25.0))];
    rig.airtime()
        .correct(&corrections, Duration::from_secs(5))
        .await
        .unwrap();
    assert_eq!(in_force(rig, "t-a").await, (percent(80.0), percent(25.0)));
    rig.pass(SETTLE).await;
    let [a, _] = used(rig, SETTLE).await;
    assert!((a - 25.0).abs() < 1.5, "a got {a} under a ceiling of 25");
    rig.pass(Duration::from_secs(2)).await;
    assert_eq!(in_force(rig, "t-a").await, (percent(80.0), Ratio::FULL));
    rig.pass(SETTLE).await;
    let [a, b] = used(rig, LONG).await;
    // Of the 20 % that nobody is guaranteed each has half.
    assert!((100.0 * a / (a + b) - 90.0).abs() < 1.0, "a {a} b {b}");
}

async fn corrections_are_all_or_none(rig: &mut impl AirtimeRig) {
    let before = (in_force(rig, "t-a").await, in_force(rig, "t-b").await);
    let corrections = [
        correction("t-a", Some(10.0), None),
        correction("t-x", Some(10.0), None),
    ];
    let refusal = rig
        .airtime()
        .correct(&corrections, Duration::from_secs(5))
        .await
        .unwrap_err();
    assert_eq!(refusal.message, "there is no vif t-x");
    let corrections = [
        correction("t-a", Some(10.0), None),
        correction("t-b", None, Some(0.0)),
    ];
    rig.airtime()
        .correct(&corrections, Duration::from_secs(5))
        .await
        .unwrap_err();
    assert_eq!(
        (in_force(rig, "t-a").await, in_force(rig, "t-b").await),
        before
    );
}

async fn configuration_overrides_corrections(rig: &mut impl AirtimeRig) {
    let corrections = [
        correction("t-a", Some(80.0), Some(90.0)),
        correction("t-b", Some(20.0), None),
    ];
    rig.airtime()
        .correct(&corrections, Duration::from_secs(60))
        .await
        .unwrap();
    let new = owing(rig, [(40.0, 50.0), (0.0, 100.0)]);
    apply(rig, &rig.two_vifs(), &new).await;
    assert_eq!(in_force(rig, "t-a").await, (percent(40.0), percent(50.0)));
    assert_eq!(
        in_force(rig, "t-b").await,
        (percent(20.0), Ratio::FULL),
        "t-b was not configured"
    );
}

async fn undo_restores(rig: &mut impl AirtimeRig) {
    let corrections = [correction("t-a", Some(80.0), Some(90.0))];
    rig.airtime()
        .correct(&corrections, Duration::from_secs(60))
        .await
        .unwrap();
    let new = owing(rig, [(40.0, 50.0), (10.0, 100.0)]);
    let old = rig.two_vifs();
    let plan = rig.airtime().plan(&old, &new).unwrap();
    let applied = rig.airtime().apply(plan).await.unwrap();
    rig.airtime().undo(applied).await.unwrap();
    assert_eq!(in_force(rig, "t-a").await, (percent(80.0), percent(90.0)));
    assert_eq!(in_force(rig, "t-b").await, (Ratio::ZERO, Ratio::FULL));
}

async fn reports_count_on(rig: &mut impl AirtimeRig) {
    rig.pass(SETTLE).await;
    let first = rig.airtime().report().await.unwrap();
    let before = [rig.sent("t-a"), rig.sent("t-b")];
    rig.pass(Duration::from_secs(1)).await;
    let second = rig.airtime().report().await.unwrap();
    assert_eq!(second.sequence, first.sequence + 1);
    assert!(
        (950..=1050).contains(&second.interval_ms),
        "{} ms",
        second.interval_ms
    );
    let radio = &second.radios[0];
    assert!(radio.busy.percent() > 80.0, "busy {}", radio.busy);
    for (vif, before) in radio.vifs.iter().zip(before) {
        let sent = 100.0 * (rig.sent(&vif.name) - before).as_secs_f64();
        assert!(
            (vif.used_ratio.percent() - sent).abs() < 1.0,
            "{} sent {sent}",
            vif.used_ratio
        );
        assert!(vif.backlogged);
        assert_eq!(state(rig, &vif.name).await.used_ratio, vif.used_ratio);
        assert!(state(rig, &vif.name).await.delay_p99_us <= 50_000);
    }
}

async fn reconcile_repairs_only_the_difference(rig: &mut impl AirtimeRig) {
    let wanted = owing(rig, [(40.0, 50.0), (0.0, 100.0)]);
    let repaired = rig.airtime().reconcile(&wanted).await.unwrap().repaired;
    let paths: Vec<&str> = repaired.iter().map(|step| step.path.as_str()).collect();
    assert_eq!(paths, ["/tranche-wifi:wifi/vif[name='t-a']/airtime"]);
    assert_eq!(in_force(rig, "t-a").await, (percent(40.0), percent(50.0)));
    assert_eq!(rig.airtime().reconcile(&wanted).await.unwrap().repaired, []);
}

async fn refuses_more_than_all(rig: &mut impl AirtimeRig) {
    let new = owing(rig, [(60.0, 100.0), (50.0, 100.0)]);
    let old = rig.two_vifs();
    let refusal = rig.airtime().plan(&old, &new).unwrap_err();
    assert!(refusal.message.contains("exceed 100 %"), "{refusal}");
}
