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
use tranche_tests::vm::table::{Row, is_sound};

const PERIOD: Duration = Duration::from_secs(2);
/// Within how many points of what it is owed a tenant must be.
const TOLERANCE: f64 = 2.0;
/// How often a medium that stood still, or shares that are off, are looked at again.
const TRIES: usize = 3;
/// Ceilings that nobody renews are gone by then.
const LAPSE: Duration = Duration::from_secs(60);

/// Five periods to get there, and what is there then over as long. A medium that stood still for want of a processor says
/// little, and is looked at again.
async fn settles_at(scene: &Scene, case: &str, owed: [f64; 2], tolerance: f64) {
    let mut way = Vec::new();
    for _ in 0..5 {
        way.push(scene.shares_during(PERIOD).await.unwrap()[0]);
    }
    let measure = async || {
        let mut row = scene.measure(5 * PERIOD).await.unwrap();
        row.case = format!("figure 21: {case}");
        row.owed = Some(owed.to_vec());
        row
    };
    let is_off = |row: &Row| row.error().unwrap() > tolerance;
    let mut row = measure().await;
    for _ in 0..TRIES {
        if is_sound(row.late) && !is_off(&row) {
            break;
        }
        println!("{case}: off, or the machine was too slow, once more: {row}");
        row = measure().await;
    }
    let way: Vec<String> = way.iter().map(|a| format!("{a:.1}")).collect();
    println!("{row}\n{case}: A on the way there: {}", way.join(" "));
    let is_wrong = is_sound(row.late) && is_off(&row);
    assert!(!is_wrong, "{row}\n{}", scene.history().await);
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
