//! Roaming between the access points of a mobility domain, and who hears whom.
//!
//! Needs the radios `phy0`, `phy1` and `phy4`.

use std::time::Duration;

use tranche_agent::backend::Secret;
use tranche_agent::backend::wifi::{AccessPoint, SecurityMode, VifConfig, WifiBackend as _};

use crate::clients::{Client, run, wait_for};
use crate::rig::{Node, RUNTIME_DIR, access_point, edit, network};

/// Two access points of one network and one bridge, on a radio each.
fn pair(mode: SecurityMode, key: Option<&str>) -> [VifConfig; 2] {
    let one = edit(&access_point("a", mode), |ap: &mut AccessPoint| {
        ap.roaming.mobility_domain = Some("a1b2".to_owned());
        ap.roaming.mobility_key = key.map(Secret::new);
        ap.roaming.neighbour_report = true;
        ap.roaming.beacon_report = true;
        ap.roaming.bss_transition = true;
    });
    let other = VifConfig {
        name: "b".to_owned(),
        radio: "phy4".to_owned(),
        ..one.clone()
    };
    [one, other]
}

/// What a client that does fast transition has to know.
fn fast(vif: &VifConfig) -> String {
    network(vif)
        .replace("key_mgmt=WPA-PSK", "key_mgmt=FT-PSK")
        .replace("key_mgmt=SAE", "key_mgmt=FT-SAE")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs mac80211_hwsim: run by make test-vm"]
async fn clients_roam_between_radios() {
    let vifs = pair(SecurityMode::Wpa2Personal, None);
    let mut node = Node::start().await;
    node.apply(&vifs).await.unwrap();
    run("ip addr add 10.1.1.1/24 dev br-a");
    let bssids = [node.vif("a").await.bssid, node.vif("b").await.bssid];
    // What the access point of the other radio does, hostapd writes down from now on.
    for radio in ["phy0", "phy4"] {
        let control = format!("{RUNTIME_DIR}/{radio}/control");
        run(&format!(
            "hostapd_cli -p {control} -i $(ls {control} | grep anchor) log_level DEBUG"
        ));
    }
    let client = Client::join("phy1", "10.1.1.2/24", &fast(&vifs[0]));
    let first = bssids
        .iter()
        .position(|bssid| client.status().contains(&format!("bssid={bssid}")));
    let from = first.unwrap();
    let target = bssids[1 - from];
    wait_for("the roaming", Duration::from_secs(60), || {
        client.ask("scan");
        client.ask(&format!("roam {target}"));
        std::thread::park_timeout(Duration::from_secs(2));
        client.status().contains(&format!("bssid={target}"))
    });
    client.wait_until_joined();
    let status = client.status();
    assert!(status.contains("key_mgmt=FT-PSK"), "{status}");
    wait_for(
        "traffic through the other access point",
        Duration::from_secs(30),
        || client.station.ping("10.1.1.1", 1) == 1,
    );
    let radio = ["phy4", "phy0"][from];
    let log = std::fs::read_to_string(format!("{RUNTIME_DIR}/{radio}/log")).unwrap();
    assert!(
        log.contains("FT: Received authentication frame"),
        "it did not come by fast transition"
    );
    let names = ["a", "b"];
    assert_eq!(node.vif(names[1 - from]).await.station_count, 1);
    drop(client);
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs mac80211_hwsim: run by make test-vm"]
async fn an_access_point_with_a_mobility_key_has_a_bridge_of_ours() {
    let key = "0123456789abcdef".repeat(4);
    let [one, _] = pair(SecurityMode::Wpa3Personal, Some(&key));
    let mut node = Node::start().await;
    node.apply(std::slice::from_ref(&one)).await.unwrap();
    assert!(run("ip link show br-a").contains("alias tranche"));
    run("ip addr add 10.1.1.1/24 dev br-a");
    let client = Client::join("phy1", "10.1.1.2/24", &fast(&one));
    assert!(
        client.status().contains("key_mgmt=FT-SAE"),
        "{}",
        client.status()
    );
    assert_eq!(client.station.ping("10.1.1.1", 3), 3);
    drop(client);
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs mac80211_hwsim: run by make test-vm"]
async fn radios_on_one_channel_hear_each_other() {
    let mut node = Node::start().await;
    let vifs = pair(SecurityMode::Wpa2Personal, None);
    node.apply(&vifs).await.unwrap();
    let other = node.vif("b").await.bssid;
    let mut heard = Vec::new();
    for _ in 0..600 {
        let radios = node.wifi.radios().await.unwrap();
        heard = radios.into_iter().next().unwrap().neighbours;
        if heard.iter().any(|one| one.bssid == other) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let neighbour = heard.iter().find(|one| one.bssid == other).unwrap();
    assert_eq!(neighbour.ssid.as_deref(), Some("net a"));
    assert!((-100..0).contains(&neighbour.signal_dbm), "{neighbour:?}");
    node.end().await;
}
