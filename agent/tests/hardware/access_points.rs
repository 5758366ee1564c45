//! Access points of several tenants on one radio, with real clients: hostapd and wpa_supplicant on mac80211.
//!
//! Needs the radios `phy0` to `phy4`.

use std::time::Duration;

use tranche_agent::backend::wifi::{
    AccessPoint, SecurityMode, VifOperState, Width, WifiBackend as _,
};
use tranche_agent::backend::{Backend as _, Cost};

use crate::clients::{Client, run, wait_for};
use crate::rig::{Node, RUNTIME_DIR, access_point, config, edit, hostapd_pid, mesh_point, network};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs mac80211_hwsim: run by make test-vm"]
async fn hostapd_that_is_killed_is_brought_back() {
    let a = access_point("a", SecurityMode::Wpa2Personal);
    let b = access_point("b", SecurityMode::Open);
    let mut node = Node::start().await;
    node.apply(&[a.clone(), b, mesh_point("mesh0", "backhaul")])
        .await
        .unwrap();
    run("ip addr add 10.1.1.1/24 dev br-a");
    let client = Client::join("phy1", "10.1.1.2/24", &network(&a));
    let bssid = node.vif("a").await.bssid;
    let before = hostapd_pid();
    run(&format!("kill -9 {before}"));
    wait_for("a new hostapd", Duration::from_secs(30), || {
        let path = format!("{RUNTIME_DIR}/phy0/pid");
        std::fs::read_to_string(path).is_ok_and(|pid| !pid.is_empty() && pid.trim() != before)
    });
    for _ in 0..300 {
        if node.vif("b").await.oper_state == VifOperState::Up {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for name in ["a", "b", "mesh0"] {
        assert_eq!(node.vif(name).await.oper_state, VifOperState::Up, "{name}");
    }
    assert_eq!(node.vif("a").await.bssid, bssid);
    // The bridge went with its last port, and its address with it.
    wait_for("the bridge", Duration::from_secs(10), || {
        run("ip -br link").contains("br-a")
    });
    run("ip addr replace 10.1.1.1/24 dev br-a");
    wait_for("the client's return", Duration::from_secs(60), || {
        client.station.ping("10.1.1.1", 1) == 1
    });
    drop(client);
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs mac80211_hwsim: run by make test-vm"]
async fn another_agent_adopts_what_runs() {
    let a = access_point("a", SecurityMode::Wpa3Personal);
    let mut node = Node::start().await;
    let vifs = [a.clone(), mesh_point("mesh0", "backhaul")];
    node.apply(&vifs).await.unwrap();
    run("ip addr add 10.1.1.1/24 dev br-a");
    let client = Client::join("phy1", "10.1.1.2/24", &network(&a));
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (before, pid) = (node.vif("a").await, hostapd_pid());
    assert!(before.stations[0].connected_for_s >= 3);
    let pinging = client.station.keep_pinging("10.1.1.1");
    drop(node);

    let mut node = Node::start().await;
    let wanted = config(&vifs);
    let reconciled = node.wifi.reconcile(&wanted).await.unwrap();
    assert_eq!(reconciled.repaired, []);
    node.config = wanted;
    let after = node.vif("a").await;
    assert_eq!((after.bssid, hostapd_pid()), (before.bssid, pid));
    assert!(after.stations[0].connected_for_s >= before.stations[0].connected_for_s);
    let (sent, answered) = pinging.stop();
    assert_eq!(answered, sent);

    // What is not right is repaired, and nothing else.
    run("iw dev mesh0 del");
    let repaired = node.wifi.reconcile(&config(&vifs)).await.unwrap().repaired;
    let actions: Vec<&str> = repaired.iter().map(|step| step.action.as_str()).collect();
    assert_eq!(actions, ["create vif mesh0 on radio phy0"]);
    assert_eq!(node.vif("a").await.station_count, 1);
    run("iw dev a del");
    let repaired = node.wifi.reconcile(&config(&vifs)).await.unwrap().repaired;
    let actions: Vec<&str> = repaired.iter().map(|step| step.action.as_str()).collect();
    assert_eq!(actions, ["create vif a on radio phy0"]);
    assert_eq!(node.vif("a").await.oper_state, VifOperState::Up);
    drop(client);
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs mac80211_hwsim: run by make test-vm"]
async fn what_hostapd_refuses_leaves_the_rest_running() {
    let a = access_point("a", SecurityMode::Wpa2Personal);
    let b = access_point("b", SecurityMode::Wpa2Personal);
    let mut node = Node::start().await;
    node.apply(&[a.clone(), b.clone()]).await.unwrap();
    run("ip addr add 10.1.1.1/24 dev br-a");
    let client = Client::join("phy1", "10.1.1.2/24", &network(&a));
    let pinging = client.station.keep_pinging("10.1.1.1");
    // The schema has at most 2007 stations, and so has hostapd.
    let too_many = |ap: &mut AccessPoint| ap.max_stations = Some(3000);
    let refusal = node
        .apply(&[a.clone(), edit(&b, too_many)])
        .await
        .unwrap_err();
    assert_eq!(refusal.path, "/tranche-wifi:wifi/vif[name='b']");
    assert!(
        refusal
            .message
            .contains("hostapd refused to set max_num_sta of b to 3000: ")
            && refusal.message.contains("Invalid max_num_sta=3000"),
        "{refusal}"
    );
    let c = edit(&access_point("c", SecurityMode::Open), too_many);
    let refusal = node.apply(&[a, b, c]).await.unwrap_err();
    assert_eq!(refusal.path, "/tranche-wifi:wifi/vif[name='c']");
    assert!(
        refusal
            .message
            .contains("hostapd refused to add access point c: Line ")
            && refusal.message.contains("Invalid max_num_sta=3000"),
        "{refusal}"
    );
    let (sent, answered) = pinging.stop();
    assert_eq!(answered, sent);
    let vifs = node.wifi.vifs().await.unwrap();
    let states: Vec<_> = vifs
        .iter()
        .map(|vif| (vif.name.as_str(), vif.oper_state))
        .collect();
    assert_eq!(states, [("a", VifOperState::Up), ("b", VifOperState::Up)]);
    drop(client);
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs mac80211_hwsim: run by make test-vm"]
async fn settings_change_under_associated_stations() {
    let a = access_point("a", SecurityMode::Wpa2Wpa3Personal);
    let mut node = Node::start().await;
    node.apply(std::slice::from_ref(&a)).await.unwrap();
    let first = Client::join("phy1", "10.1.1.2/24", &network(&a));
    let second = Client::join("phy2", "10.1.1.3/24", &network(&a));
    assert_eq!(
        first.station.ping("10.1.1.3", 3),
        0,
        "stations are isolated"
    );
    let together = edit(&a, |a| {
        a.station_isolation = false;
        a.max_stations = Some(2);
        a.hidden = true;
        a.roaming.neighbour_report = true;
        a.roaming.bss_transition = true;
    });
    let plan = node.apply(std::slice::from_ref(&together)).await.unwrap();
    let steps: Vec<_> = plan
        .steps()
        .iter()
        .map(|step| (step.action.as_str(), step.cost))
        .collect();
    assert_eq!(steps, [("update vif a", Cost::Hot)]);
    // The addresses that could not be resolved are tried again after a while.
    wait_for("isolated no more", Duration::from_secs(30), || {
        first.station.ping("10.1.1.3", 1) == 1
    });
    assert_eq!(first.station.ping("10.1.1.3", 10), 10);
    assert!(first.is_joined() && second.is_joined());
    let third = Client::start("phy3", "10.1.1.4/24", &network(&a));
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(!third.is_joined(), "a third is one too many");
    assert_eq!(node.vif("a").await.station_count, 2);
    drop(second);
    third.wait_until_joined();
    drop((first, third));
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs mac80211_hwsim: run by make test-vm"]
async fn twenty_cycles_leave_nothing_behind() {
    let keeper = access_point("keeper", SecurityMode::Wpa2Personal);
    let mut node = Node::start().await;
    node.apply(std::slice::from_ref(&keeper)).await.unwrap();
    run("ip addr add 10.1.1.1/24 dev br-keeper");
    let client = Client::join("phy1", "10.1.1.2/24", &network(&keeper));
    let pinging = client.station.keep_pinging("10.1.1.1");
    for cycle in 0..20 {
        let come_and_go = [
            keeper.clone(),
            access_point(&format!("x{cycle}"), SecurityMode::Wpa3Personal),
            mesh_point("mesh0", "backhaul"),
        ];
        node.apply(&come_and_go).await.unwrap();
        node.apply(std::slice::from_ref(&keeper)).await.unwrap();
    }
    let (sent, answered) = pinging.stop();
    assert_eq!(answered, sent, "the keeper's client lost something");
    let wireless = run("iw dev | grep -A1000 'phy#0' | grep -c Interface");
    assert_eq!(wireless.trim(), "3", "wlan0, the anchor and the keeper");
    assert_eq!(run(&format!("ls {RUNTIME_DIR}/phy0/bss")).trim(), "keeper");
    drop(client);
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs mac80211_hwsim: run by make test-vm"]
async fn stations_come_along_to_another_channel() {
    let vifs = [
        access_point("a", SecurityMode::Wpa2Personal),
        access_point("b", SecurityMode::Wpa3Personal),
        mesh_point("mesh0", "backhaul"),
    ];
    let mut node = Node::start().await;
    node.apply(&vifs).await.unwrap();
    run("ip addr add 10.1.1.1/24 dev br-a");
    let first = Client::join("phy1", "10.1.1.2/24", &network(&vifs[0]));
    let second = Client::join("phy2", "10.1.2.2/24", &network(&vifs[1]));
    let pid = hostapd_pid();
    // The agent learns who is associated when it looks.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let since = |name: &str| {
        run(&format!(
            "iw dev {name} station dump | grep 'associated at \\[boot'"
        ))
    };
    let before = [since("a"), since("b")];
    for channel in [6, 11] {
        let pinging = first.station.keep_pinging("10.1.1.1");
        let mut moved = config(&vifs);
        moved.wifi.radios[0].channel = channel;
        let plan = node.apply_config(moved).await.unwrap();
        let [step] = plan.steps().to_vec().try_into().unwrap();
        assert_eq!(
            step.action,
            format!("put radio phy0 on 2.4GHz channel {channel}, 20MHz")
        );
        assert_eq!(step.cost, Cost::Hot);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (sent, answered) = pinging.stop();
        assert!(answered + 5 >= sent, "{answered} of {sent}");
        assert_eq!(
            [since("a"), since("b")],
            before,
            "somebody associated again"
        );
        assert_eq!(hostapd_pid(), pid);
        for name in ["a", "b", "mesh0"] {
            assert_eq!(node.vif(name).await.oper_state, VifOperState::Up, "{name}");
        }
        let anchor = run("iw dev tr-anchor0 info");
        assert!(
            !anchor.contains("channel"),
            "the anchor is silent: {anchor}"
        );
    }
    // Who comes later is on the new channel too, and another agent finds nothing to do.
    let mut more = node.config.clone();
    more.wifi.vifs.push(access_point("c", SecurityMode::Owe));
    node.apply_config(more.clone()).await.unwrap();
    assert!(run("iw dev c info").contains("channel 11 "));
    drop(node);
    let mut node = Node::start().await;
    assert_eq!(node.wifi.reconcile(&more).await.unwrap().repaired, []);
    node.config = more.clone();

    // To a width that this radio has without 802.11ax only nobody is taken along: the plan says so.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut wide = more;
    wide.wifi.radios[0].width = Width::Mhz40;
    let plan = node.wifi.plan(&node.config, &wide).unwrap();
    let cost = Cost::Restart {
        stations_dropped: 2,
    };
    assert_eq!(plan.steps()[0].cost, cost, "{:?}", plan.steps());
    node.apply_config(wide).await.unwrap();
    assert!(run("iw dev c info").contains("channel 11 (2462 MHz), width: 40 MHz"));
    drop((first, second));
    node.end().await;
}
