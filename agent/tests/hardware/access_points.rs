//! Access points of several tenants on one radio, with real clients: hostapd and wpa_supplicant on mac80211.
//!
//! Needs the radios `phy0` to `phy4`.

use std::path::PathBuf;
use std::time::Duration;

use tranche_agent::backend::wifi::kernel::{KernelSettings, KernelWifi};
use tranche_agent::backend::wifi::link::Links;
use tranche_agent::backend::wifi::nl80211::Nl80211;
use tranche_agent::backend::wifi::{
    AccessPoint, Attachment, Band, MeshPoint, RadioConfig, Roaming, Role, Security, SecurityMode,
    VifConfig, VifOperState, VifState, Width, WifiBackend as _, WifiConfig,
};
use tranche_agent::backend::{Backend as _, Cost, NodeConfig, Plan, Refusal, Secret};

use crate::clients::{Client, Station, run, wait_for};

const RUNTIME_DIR: &str = "/run/tranche-test";

/// The radio's hostapd, by its pid file.
fn hostapd_pid() -> String {
    let text = std::fs::read_to_string(format!("{RUNTIME_DIR}/phy0/pid")).unwrap();
    text.trim().to_owned()
}

/// An agent's Wi-Fi, with the configuration that it was given last.
struct Node {
    wifi: KernelWifi,
    config: NodeConfig,
}

impl Node {
    async fn start() -> Self {
        let settings = KernelSettings {
            runtime_dir: PathBuf::from(RUNTIME_DIR),
            ..KernelSettings::default()
        };
        let nl80211 = Nl80211::connect().await.unwrap();
        let links = Links::connect().unwrap();
        Self {
            wifi: KernelWifi::start(nl80211, links, settings).await.unwrap(),
            config: NodeConfig::default(),
        }
    }

    /// One commit.
    async fn apply(&mut self, vifs: &[VifConfig]) -> Result<Plan, Refusal> {
        let new = config(vifs);
        let plan = self.wifi.plan(&self.config, &new)?;
        self.wifi.apply(plan.clone()).await?;
        self.config = new;
        Ok(plan)
    }

    async fn vif(&self, name: &str) -> VifState {
        let vifs = self.wifi.vifs().await.unwrap();
        vifs.into_iter().find(|vif| vif.name == name).unwrap()
    }

    /// Takes everything down, and checks that nothing is left.
    async fn end(mut self) {
        let nothing = NodeConfig::default();
        let plan = self.wifi.plan(&self.config, &nothing).unwrap();
        self.wifi.apply(plan).await.unwrap();
        nothing_is_left();
    }
}

fn nothing_is_left() {
    let interfaces = run("iw phy phy0 info >/dev/null; ls /sys/class/ieee80211/phy0/device/net");
    assert_eq!(interfaces.split_whitespace().collect::<Vec<_>>(), ["wlan0"]);
    assert_eq!(run("ip -br link show type bridge"), "");
    assert_eq!(
        run("ps -e -o comm= | grep -c '^hostapd$' || true").trim(),
        "0"
    );
    let files = run(&format!("find {RUNTIME_DIR} -type f"));
    assert_eq!(files, "");
}

fn config(vifs: &[VifConfig]) -> NodeConfig {
    let radio = RadioConfig {
        name: "phy0".to_owned(),
        enabled: true,
        band: Band::Ghz2,
        channel: 1,
        width: Width::Mhz20,
        tx_power_dbm: None,
        scheduler: Default::default(),
    };
    NodeConfig {
        wifi: WifiConfig {
            radios: vec![radio],
            vifs: vifs.to_vec(),
            ..WifiConfig::default()
        },
        ..NodeConfig::default()
    }
}

/// A tenant's access point on a bridge of its own.
fn access_point(name: &str, mode: SecurityMode) -> VifConfig {
    let security = Security {
        mode,
        passphrase: mode
            .is_personal()
            .then(|| Secret::new(format!("passphrase of {name}"))),
        radius: None,
    };
    VifConfig {
        name: name.to_owned(),
        radio: "phy0".to_owned(),
        enabled: true,
        slice: Some(format!("slice-{name}")),
        role: Role::AccessPoint(AccessPoint {
            ssid: format!("net {name}"),
            hidden: false,
            max_stations: None,
            station_isolation: true,
            security,
            roaming: Roaming::default(),
        }),
        attachment: Attachment {
            bridge: Some(format!("br-{name}")),
            vlan: None,
        },
        airtime: Default::default(),
    }
}

fn mesh_point(name: &str, mesh_id: &str) -> VifConfig {
    VifConfig {
        role: Role::MeshPoint(MeshPoint {
            mesh_id: mesh_id.to_owned(),
            passphrase: None,
        }),
        attachment: Attachment::default(),
        ..access_point(name, SecurityMode::Open)
    }
}

fn edit(vif: &VifConfig, change: impl FnOnce(&mut AccessPoint)) -> VifConfig {
    let mut vif = vif.clone();
    let Role::AccessPoint(access_point) = &mut vif.role else {
        panic!("{} is no access point", vif.name)
    };
    change(access_point);
    vif
}

/// What a client of an access point has to know.
fn network(vif: &VifConfig) -> String {
    let Role::AccessPoint(access_point) = &vif.role else {
        panic!("{} is no access point", vif.name)
    };
    let passphrase = access_point.security.passphrase.as_ref();
    let passphrase = passphrase.map_or("", |secret| secret.expose());
    let security = match access_point.security.mode {
        SecurityMode::Open => "key_mgmt=NONE".to_owned(),
        SecurityMode::Owe => "key_mgmt=OWE\nieee80211w=2".to_owned(),
        SecurityMode::Wpa2Personal => format!("key_mgmt=WPA-PSK\npsk=\"{passphrase}\""),
        SecurityMode::Wpa2Wpa3Personal | SecurityMode::Wpa3Personal => {
            format!("key_mgmt=SAE\nieee80211w=2\nsae_password=\"{passphrase}\"")
        }
        SecurityMode::Wpa2Enterprise | SecurityMode::Wpa3Enterprise => String::new(),
    };
    format!("ssid=\"{}\"\nscan_ssid=1\n{security}", access_point.ssid)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs mac80211_hwsim: run by make test-vm"]
async fn three_tenants_and_a_mesh_share_one_radio() {
    let a = access_point("a", SecurityMode::Wpa2Personal);
    let b = access_point("b", SecurityMode::Wpa3Personal);
    let c = access_point("c", SecurityMode::Owe);
    let mesh = mesh_point("mesh0", "backhaul");
    let mut node = Node::start().await;
    let all = [a.clone(), b.clone(), c.clone(), mesh.clone()];
    let plan = node.apply(&all).await.unwrap();
    assert_eq!(plan.steps().len(), 5, "{:?}", plan.steps());
    for (number, name) in [(1, "a"), (2, "b"), (3, "c")] {
        run(&format!("ip addr add 10.1.{number}.1/24 dev br-{name}"));
    }

    let clients = [("phy1", &a), ("phy2", &b), ("phy3", &c)].map(|(phy, vif)| {
        let number = &phy[3..];
        let client = Client::join(phy, &format!("10.1.{number}.2/24"), &network(vif));
        // An address that the others would reach if anything but a bridge were between them.
        let interface = &client.station.interface;
        client
            .station
            .inside(&format!("ip addr add 10.9.9.{number}/24 dev {interface}"));
        client
    });
    for (number, client) in (1..).zip(&clients) {
        let reached = client.station.ping(&format!("10.1.{number}.1"), 10);
        assert_eq!(reached, 10, "client {number} reaches its bridge");
        for other in (1..=3).filter(|other| *other != number) {
            let reached = client.station.ping(&format!("10.9.9.{other}"), 2);
            assert_eq!(reached, 0, "client {number} reaches client {other}");
        }
    }
    for name in ["a", "b", "c"] {
        let vif = node.vif(name).await;
        assert_eq!((vif.oper_state, vif.station_count), (VifOperState::Up, 1));
        assert!(vif.stations[0].rx_bytes > 0, "{:?}", vif.stations);
    }

    let peer = Station::new("phy4");
    let interface = &peer.interface;
    peer.inside(&format!("iw dev {interface} set type mp"));
    peer.inside(&format!("ip link set {interface} up"));
    peer.inside(&format!(
        "iw dev {interface} mesh join backhaul freq 2412 HT20 beacon-interval 100"
    ));
    peer.inside(&format!("ip addr add 10.2.0.2/24 dev {interface}"));
    run("ip addr add 10.2.0.1/24 dev mesh0");
    wait_for("the mesh peers", Duration::from_secs(30), || {
        peer.ping("10.2.0.1", 1) == 1
    });
    assert_eq!(node.vif("mesh0").await.oper_state, VifOperState::Up);

    // The clients of a and b are changed and removed under the eyes of c's.
    let pinging = clients[2].station.keep_pinging("10.1.3.1");
    let renamed = edit(&b, |b| b.ssid = "another name".to_owned());
    let plan = node.apply(&[a, renamed, c.clone(), mesh.clone()]).await;
    let [step] = plan.unwrap().steps().to_vec().try_into().unwrap();
    assert_eq!(step.action, "restart vif b");
    assert_eq!(
        step.cost,
        Cost::Restart {
            stations_dropped: 1
        }
    );
    node.apply(&[c, mesh]).await.unwrap();
    let (sent, answered) = pinging.stop();
    assert!(sent > 20, "{sent}");
    assert_eq!(answered, sent, "c's client lost something");
    assert_eq!(peer.ping("10.2.0.1", 5), 5, "the mesh goes on");
    assert!(run("ip -br link").contains("br-c"));
    assert!(!run("ip -br link").contains("br-a"));
    drop((clients, peer));
    node.end().await;
}

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
    assert_eq!(first.station.ping("10.1.1.3", 10), 10, "isolated no more");
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
