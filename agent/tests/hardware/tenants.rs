//! Three tenants and a mesh on one radio, made by one commit of a NETCONF client.
//!
//! Needs the radios `phy0` to `phy4`.

use std::time::Duration;

use crate::bench::Bench;
use crate::clients::{Client, Station, run, wait_for};

const TENANTS: [(&str, &str, &str); 3] = [
    (
        "t-a",
        "wpa2-personal",
        "key_mgmt=WPA-PSK\npsk=\"passphrase of t-a\"",
    ),
    (
        "t-b",
        "wpa3-personal",
        "key_mgmt=SAE\nieee80211w=2\nsae_password=\"passphrase of t-b\"",
    ),
    ("t-c", "owe", "key_mgmt=OWE\nieee80211w=2"),
];

fn vif(name: &str, ssid: &str, mode: &str) -> String {
    let passphrase = match mode {
        "owe" => String::new(),
        _ => format!("<passphrase>passphrase of {name}</passphrase>"),
    };
    format!(
        "<vif><name>{name}</name><radio>phy0</radio><slice>{name}</slice><access-point><ssid>{ssid}</ssid>\
         <security><mode>{mode}</mode>{passphrase}</security></access-point>\
         <attachment><bridge>br-{name}</bridge></attachment></vif>"
    )
}

fn wifi(content: &str) -> String {
    format!(
        "<wifi xmlns=\"urn:tranche:yang:tranche-wifi\" xmlns:nc=\"urn:ietf:params:xml:ns:netconf:base:1.0\">\
         {content}</wifi>"
    )
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs mac80211_hwsim: run by make test-vm"]
async fn one_commit_gives_three_tenants_and_a_mesh_what_is_theirs() {
    let bench = Bench::start(|_| ()).await;
    let radio = "<radio><name>phy0</name><band>2.4GHz</band><channel>1</channel>\
                 <scheduler><enabled>false</enabled></scheduler></radio>";
    let access_points: String = TENANTS
        .map(|(name, mode, _)| vif(name, name, mode))
        .concat();
    let mesh = "<vif><name>t-m</name><radio>phy0</radio><mesh-point><mesh-id>backhaul</mesh-id></mesh-point></vif>";
    bench
        .edit(&wifi(&format!("{radio}{access_points}{mesh}")))
        .await
        .unwrap();
    let clients = join();
    for (number, client) in (1..).zip(&clients) {
        let reached = client.station.ping(&format!("10.1.{number}.1"), 10);
        assert_eq!(reached, 10, "client {number} reaches its bridge");
        for other in (1..=3).filter(|other| *other != number) {
            let reached = client.station.ping(&format!("10.9.9.{other}"), 2);
            assert_eq!(reached, 0, "client {number} reaches client {other}");
        }
    }
    for (name, ..) in TENANTS {
        let state = bench.state_of(name).await;
        for part in [
            "<oper-state>up</oper-state>",
            "<stations>1</stations>",
            "<signal>-",
            "<tx-bitrate>",
            "<rx-bytes>",
            "<tx-airtime>",
        ] {
            assert!(state.contains(part), "{name} lacks {part}: {state}");
        }
    }
    let peer = mesh_peer();

    // The client of b is changed, and that of a removed, under the eyes of c's.
    let pinging = clients[2].station.keep_pinging("10.1.3.1");
    let renamed = vif("t-b", "another name", "wpa3-personal");
    bench.edit(&wifi(&renamed)).await.unwrap();
    let remove = "<vif nc:operation=\"delete\"><name>t-a</name></vif>";
    bench.edit(&wifi(remove)).await.unwrap();
    let (sent, answered) = pinging.stop();
    assert!(sent > 20, "{sent}");
    assert_eq!(answered, sent, "c's client lost something");
    assert_eq!(peer.ping("10.2.0.1", 5), 5, "the mesh goes on");
    assert!(run("iw dev t-b info").contains("ssid another name"));
    let links = run("ip -br link");
    assert!(
        links.contains("br-t-c") && !links.contains("t-a"),
        "{links}"
    );
    drop((clients, peer));
    bench.end().await;
}

/// A client of each tenant, with an address that the others would reach if anything but a bridge were between them.
fn join() -> [Client; 3] {
    let mut number = 0;
    TENANTS.map(|(name, _, security)| {
        number += 1;
        run(&format!("ip addr add 10.1.{number}.1/24 dev br-{name}"));
        let network = format!("ssid=\"{name}\"\nscan_ssid=1\n{security}");
        let client = Client::join(
            &format!("phy{number}"),
            &format!("10.1.{number}.2/24"),
            &network,
        );
        let interface = &client.station.interface;
        client
            .station
            .inside(&format!("ip addr add 10.9.9.{number}/24 dev {interface}"));
        client
    })
}

fn mesh_peer() -> Station {
    let peer = Station::new("phy4");
    let interface = &peer.interface;
    peer.inside(&format!("iw dev {interface} set type mp"));
    peer.inside(&format!("ip link set {interface} up"));
    peer.inside(&format!(
        "iw dev {interface} mesh join backhaul freq 2412 HT20 beacon-interval 100"
    ));
    peer.inside(&format!("ip addr add 10.2.0.2/24 dev {interface}"));
    run("ip addr add 10.2.0.1/24 dev t-m");
    wait_for("the mesh peers", Duration::from_secs(30), || {
        peer.ping("10.2.0.1", 1) == 1
    });
    peer
}
