//! Figure 21 on the real radio stack: two agents with an access point each on one channel, hostapd, the scheduler in the kernel,
//! clients with wpa_supplicant, and the controller on top. Judged by the books of the medium, never by our own counters.
//!
//! Takes the machine for itself; see `netconf-tests/vm/run-in-vm`.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed; the shares are for people"
)]

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tranche_tests::telemetry::Reports;
use tranche_tests::vm::figure_21::Scene;

const PERIOD: Duration = Duration::from_secs(2);
/// Within how many points of what it is owed a tenant must be.
const TOLERANCE: f64 = 2.0;
/// Ceilings that nobody renews are gone by then.
const LAPSE: Duration = Duration::from_secs(60);

/// Five periods to get there, and what is there then over as long.
async fn settles_at(scene: &Scene, what: &str, owed: [f64; 2], tolerance: f64) {
    let mut periods = Vec::new();
    for _ in 0..5 {
        periods.push(scene.shares_during(PERIOD).await.unwrap());
    }
    let before = scene.air.books().await.unwrap();
    tokio::time::sleep(5 * PERIOD).await;
    let after = scene.air.books().await.unwrap();
    let got = scene.shares(&before, &after);
    let slipped = (after.slipped - before.slipped).as_secs_f64();
    let slipped = 100.0 * slipped / ((after.time - before.time).as_secs_f64() + slipped);
    let on_the_way: Vec<String> = periods.iter().map(|p| format!("{:.1}", p[0])).collect();
    println!(
        "| {what:32} | {:.0}/{:.0} | {:.1}/{:.1} | A on the way: {} | machine too slow {slipped:.0} % of the time |",
        owed[0],
        owed[1],
        got[0],
        got[1],
        on_the_way.join(" ")
    );
    for (got, owed) in got.iter().zip(owed) {
        assert!(
            (got - owed).abs() <= tolerance,
            "{what}: {got:.1} for {owed}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs mac80211_hwsim: run by make test-vm"]
async fn a_promise_that_spans_nodes_is_kept_on_real_radios() {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut scene = Scene::start(listen).await.unwrap();
    let scheduler = async |scene: &Scene, enabled: bool| {
        let body = json!({"tranche-sla:scheduler": {"enabled": enabled, "interval": 2000}});
        let path = "/data/tranche-sla:sla/scheduler";
        let restconf = scene.stack.restconf();
        restconf
            .demand(Method::PUT, path, Some(&body))
            .await
            .unwrap();
    };
    scheduler(&scene, false).await;
    let slices = tranche_tests::figure_21::slices();
    let path = "/data/tranche-slice:slices";
    let restconf = scene.stack.restconf();
    restconf
        .demand(Method::PUT, path, Some(&slices))
        .await
        .unwrap();
    scene.join(&slices).await.unwrap();
    for tenant in 0..2 {
        scene.traffic(tenant, true).unwrap();
    }

    settles_at(&scene, "no global scheduler", [50.0, 50.0], 4.0).await;
    scheduler(&scene, true).await;
    settles_at(&scene, "global scheduler", [30.0, 70.0], TOLERANCE).await;

    scene.traffic(0, false).unwrap();
    tokio::time::sleep(3 * PERIOD).await;
    let idle = scene.shares_during(PERIOD).await.unwrap();
    assert!(idle[1] > 97.0, "nobody else wants it: {idle:?}");
    scene.traffic(0, true).unwrap();
    settles_at(&scene, "A was idle and is back", [30.0, 70.0], TOLERANCE).await;

    scene.stack.kill_agent(0);
    tokio::time::sleep(PERIOD).await;
    scene.stack.restart_agent(0).await.unwrap();
    scene.stack.connected().await.unwrap();
    settles_at(&scene, "an agent was restarted", [30.0, 70.0], TOLERANCE).await;

    let (node, password) = (&scene.stack.nodes[0], &scene.stack.observer_password);
    let mut reports = Reports::subscribe(node, "observer", password)
        .await
        .unwrap();
    let of_a = |report: tranche_tests::telemetry::Report| {
        report
            .vifs
            .into_iter()
            .find(|vif| vif.slice == "tenant-a")
            .unwrap()
    };
    let corrected = of_a(reports.next().await.unwrap());
    assert!(
        corrected.effective_max < 50.0,
        "A has a ceiling: {corrected:?}"
    );
    scene.stack.kill_controller();
    let lapsed = tokio::time::timeout(LAPSE, async {
        loop {
            let vif = of_a(reports.next().await.unwrap());
            if vif.effective_max > 99.0 {
                return vif;
            }
        }
    });
    let lapsed = lapsed.await.expect("ceilings that nobody renews lapse");
    assert!(
        (lapsed.effective_min - corrected.effective_min).abs() < 5.0 && lapsed.effective_min > 1.0,
        "minimums stay: {lapsed:?} after {corrected:?}"
    );
    settles_at(&scene, "the controller is dead", [50.0, 50.0], 4.0).await;
}
