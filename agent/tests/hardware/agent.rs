//! A node on real radios as a client sees it: commits, what is put right behind its back, restarts, and what is missing.

use tranche_agent::backend::hardware::AirtimeScheduler;

use crate::bench::{Bench, SOON, access_point};
use crate::clients::{Client, run, wait_for};

fn is_access_point(name: &str) -> bool {
    run(&format!("iw dev {name} info 2>/dev/null || true")).contains("type AP")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs mac80211_hwsim: run by make test-vm"]
async fn what_is_undone_by_hand_is_done_again_and_told() {
    let mut bench = Bench::start(|_| ()).await;
    bench.edit(&access_point("t-a")).await.unwrap();
    bench.edit(&access_point("t-b")).await.unwrap();
    assert!(is_access_point("t-a") && is_access_point("t-b"));
    let up = bench.state_of("t-a").await;
    assert!(up.contains("<oper-state>up</oper-state>"), "{up}");

    run("iw dev t-b del");
    let told = bench.repaired().await;
    assert!(
        told.contains("<cause>interface t-b was removed</cause>"),
        "{told}"
    );
    assert!(told.contains("vif[name='t-b']"), "{told}");
    assert!(!told.contains("t-a"), "only what was gone: {told}");
    wait_for("t-b is back", SOON, || is_access_point("t-b"));

    run("ip link del t-br");
    let told = bench.repaired().await;
    assert!(told.contains("t-br") || told.contains("t-a"), "{told}");
    wait_for("the bridge is back", SOON, || {
        let vlans = run("bridge vlan show 2>/dev/null || true");
        vlans.contains("t-a") && vlans.contains("t-b") && vlans.contains(" 7 PVID")
    });

    run("pkill -9 -x hostapd");
    // Whoever is first, the supervisor of hostapd or who hears that its interfaces are off.
    let told = bench.repaired().await;
    assert!(told.contains("<action>") && told.contains("phy0"), "{told}");
    wait_for("both are back", SOON, || {
        is_access_point("t-a") && is_access_point("t-b")
    });
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs mac80211_hwsim: run by make test-vm"]
async fn a_restarted_agent_adopts_what_runs_and_repairs_what_does_not() {
    let bench = Bench::start(|_| ()).await;
    bench.edit(&access_point("t-a")).await.unwrap();
    bench.edit(&access_point("t-b")).await.unwrap();
    let pid = run("pidof hostapd");
    let before = run("iw dev t-a info");
    run("ip addr add 10.7.7.1/24 dev t-br && bridge vlan add dev t-br vid 7 self pvid untagged");
    let network =
        "ssid=\"t-a\"\nscan_ssid=1\nkey_mgmt=SAE\nieee80211w=2\nsae_password=\"correct horse\"";
    let client = Client::join("phy1", "10.7.7.2/24", network);
    wait_for("the client", SOON, || {
        client.station.ping("10.7.7.1", 1) == 1
    });
    let since = run("iw dev t-a station dump | grep 'associated at \\[boottime'");
    let pinging = client.station.keep_pinging("10.7.7.1");
    let bench = bench.restart(|_| ()).await;
    assert_eq!(run("pidof hostapd"), pid);
    assert_eq!(run("iw dev t-a info"), before);
    let state = bench.state_of("t-a").await;
    assert!(state.contains("<stations>1</stations>"), "{state}");
    let (sent, answered) = pinging.stop();
    assert_eq!(
        (sent > 10, answered),
        (true, sent),
        "the client lost something"
    );
    let still = run("iw dev t-a station dump | grep 'associated at \\[boottime'");
    assert_eq!(still, since, "it associated again");
    drop(client);

    bench.agent.shutdown().await;
    run("iw dev t-b del");
    let bench = Bench::start_on(bench.dir, |_| ()).await;
    assert_eq!(run("iw dev t-a info"), before);
    assert!(is_access_point("t-b"));
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs mac80211_hwsim: run by make test-vm"]
async fn airtime_is_scheduled_from_the_first_commit_on() {
    let bench = Bench::start(|settings| {
        settings.hardware.airtime = AirtimeScheduler::Auto;
    })
    .await;
    let scheduled = access_point("t-a").replace("false", "true");
    bench.edit(&scheduled).await.unwrap();
    assert!(run("tc filter show dev t-a egress").contains("bpf"));
    let state = bench.state_of("t-a").await;
    assert!(
        state.contains("<effective-max-ratio>100.0</effective-max-ratio>"),
        "{state}"
    );
    let pid = run("pidof hostapd");
    let bench = bench
        .restart(|settings| settings.hardware.airtime = AirtimeScheduler::Auto)
        .await;
    assert_eq!(run("pidof hostapd"), pid);
    assert!(run("tc filter show dev t-a egress").contains("bpf"));
    bench.end().await;
}
