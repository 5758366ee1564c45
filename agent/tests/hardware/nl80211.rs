//! The nl80211 handle against mac80211.

use std::time::Duration;

use tranche_agent::backend::MacAddress;
use tranche_agent::backend::wifi::nl80211::{
    Event, InterfaceKind, MeshJoin, NewInterface, Nl80211, Station, TxPower, Wiphy,
};
use tranche_agent::backend::wifi::{Band, Channel, Width};

use crate::clients::run;

async fn phy(nl80211: &Nl80211, name: &str) -> Wiphy {
    let wiphys = nl80211.wiphys().await.unwrap();
    wiphys.into_iter().find(|one| one.name == name).unwrap()
}

fn channel(number: u8, width: Width) -> Channel {
    Channel::new(Band::Ghz2, number, width).unwrap()
}

/// What a test that fails leaves behind must not fail the next.
struct Leftovers;

impl Drop for Leftovers {
    fn drop(&mut self) {
        if std::thread::panicking() {
            run("for name in t-m0 t-m1 t-ap; do iw dev $name del 2>/dev/null; done; true");
        }
    }
}

/// A mesh point that is up, on a wiphy.
async fn mesh_point(nl80211: &Nl80211, wiphy: &str, name: &str) -> u32 {
    let new = NewInterface {
        wiphy: phy(nl80211, wiphy).await.index,
        name: name.to_owned(),
        kind: InterfaceKind::MeshPoint,
        mac: None,
    };
    let made = nl80211.create_interface(&new).await.unwrap();
    run(&format!("ip link set {name} up"));
    made.ifindex
}

#[tokio::test]
#[ignore = "needs mac80211_hwsim: run by make test-vm"]
async fn wiphys_say_what_they_can() {
    let nl80211 = Nl80211::connect().await.unwrap();
    let phy0 = phy(&nl80211, "phy0").await;
    let ghz2 = phy0.band(Band::Ghz2).unwrap();
    assert_eq!(ghz2.channels.len(), 14);
    assert!(ghz2.ht && ghz2.he == Some(Width::Mhz20), "{ghz2:?}");
    assert_eq!(ghz2.max_width, Width::Mhz40);
    let six = ghz2.channels.iter().find(|one| one.number == 6).unwrap();
    assert_eq!((six.mhz, six.disabled, six.no_ir), (2437, false, false));
    assert!(six.max_tx_power_dbm >= 20, "{six:?}");
    let ghz5 = phy0.band(Band::Ghz5).unwrap();
    assert!(ghz5.vht, "{ghz5:?}");
    assert!(ghz5.max_width >= Width::Mhz80);
    for kind in [
        InterfaceKind::AccessPoint,
        InterfaceKind::MeshPoint,
        InterfaceKind::Station,
    ] {
        assert!(phy0.kinds.contains(&kind), "{kind}");
    }
    assert!(phy0.max_vifs() >= 8, "{:?}", phy0.combinations);
    phy0.check_vifs(3, 1).unwrap();
    let refusal = phy0.check_vifs(5000, 0).unwrap_err();
    assert!(
        refusal.starts_with("radio phy0 cannot carry 5000 access points"),
        "{refusal}"
    );
    assert!(!phy0.airtime_fairness);
    assert_eq!(phy0.check_channel(&channel(6, Width::Mhz20)), Ok(()));
    let refusal = phy0.check_channel(&channel(14, Width::Mhz20)).unwrap_err();
    assert!(refusal.contains("2.4GHz channel 14, 20MHz"), "{refusal}");
    assert_eq!(&*nl80211.known_wiphys(), nl80211.wiphys().await.unwrap());
    let only = Nl80211::connect_to(&["phy1".to_owned()]).await.unwrap();
    assert_eq!(only.wiphys().await.unwrap().len(), 1);
    let others = |name: &str| name.starts_with("wlan0");
    let seen = only.interfaces().await.unwrap();
    assert!(!seen.iter().any(|one| others(&one.name)), "{seen:?}");
}

#[tokio::test]
#[ignore = "needs mac80211_hwsim: run by make test-vm"]
async fn interfaces_come_and_go_with_the_address_asked_for() {
    let _leftovers = Leftovers;
    let nl80211 = Nl80211::connect().await.unwrap();
    let before = nl80211.interfaces().await.unwrap();
    let mut events = nl80211.events();
    let new = NewInterface {
        wiphy: phy(&nl80211, "phy0").await.index,
        name: "t-ap".to_owned(),
        kind: InterfaceKind::AccessPoint,
        mac: Some(MacAddress([2, 0, 0, 0, 0xa, 1])),
    };
    let made = nl80211.create_interface(&new).await.unwrap();
    assert_eq!(Some(made.mac), new.mac);
    assert_eq!(made.kind, InterfaceKind::AccessPoint);
    let taken = nl80211.create_interface(&new).await.unwrap_err();
    assert_eq!(
        taken.to_string(),
        "the kernel refuses to create interface t-ap: there is a network interface of that name (file exists)"
    );
    nl80211.delete_interface(made.ifindex).await.unwrap();
    assert!(
        nl80211
            .delete_interface(made.ifindex)
            .await
            .unwrap_err()
            .is_not_found()
    );
    assert_eq!(nl80211.interfaces().await.unwrap(), before);
    assert_eq!(
        events.recv().await.unwrap(),
        Event::InterfaceAdded {
            ifindex: made.ifindex,
            name: "t-ap".to_owned()
        }
    );
    assert_eq!(
        events.recv().await.unwrap(),
        Event::InterfaceRemoved {
            ifindex: made.ifindex,
            name: "t-ap".to_owned()
        }
    );
}

#[tokio::test]
#[ignore = "needs mac80211_hwsim: run by make test-vm"]
async fn many_ask_at_once() {
    let nl80211 = Nl80211::connect().await.unwrap();
    let before = nl80211.wiphys().await.unwrap();
    let asking: Vec<_> = (0..20)
        .map(|_| {
            let nl80211 = nl80211.clone();
            tokio::spawn(async move { nl80211.wiphys().await })
        })
        .collect();
    // Who is not waited for must not spoil it for others.
    asking[0].abort();
    for asked in asking.into_iter().skip(1) {
        assert_eq!(asked.await.unwrap().unwrap(), before);
    }
}

#[tokio::test]
#[ignore = "needs mac80211_hwsim: run by make test-vm"]
async fn two_mesh_points_become_peers() {
    let _leftovers = Leftovers;
    let nl80211 = Nl80211::connect().await.unwrap();
    let mut events = nl80211.events();
    let one = mesh_point(&nl80211, "phy0", "t-m0").await;
    let two = mesh_point(&nl80211, "phy1", "t-m1").await;
    let mesh = MeshJoin {
        mesh_id: "tranche".to_owned(),
        channel: channel(6, Width::Mhz40),
        beacon_interval: 100,
    };
    nl80211.join_mesh(one, &mesh).await.unwrap();
    nl80211.join_mesh(two, &mesh).await.unwrap();
    let again = nl80211.join_mesh(two, &mesh).await.unwrap_err();
    assert!(
        again.to_string().contains("join the mesh tranche"),
        "{again}"
    );

    let peered = async {
        loop {
            let event = events.recv().await.unwrap();
            if matches!(event, Event::StationAdded { ifindex, .. } if ifindex == one) {
                break;
            }
        }
        let heard = |station: &Station| station.rx_bitrate_kbps.is_some();
        // Only data has a rate, and an address that is looked for twice first (RFC 4862 5.4).
        while !nl80211.stations(one).await.unwrap().iter().any(heard) {
            run("ping -q -c 3 -i 0.2 -I t-m1 ff02::1 || true");
        }
    };
    tokio::time::timeout(Duration::from_secs(60), peered)
        .await
        .unwrap();
    let there = nl80211.interface("t-m1").await.unwrap().unwrap();
    let stations = nl80211.stations(one).await.unwrap();
    assert_eq!(stations[0].mac, there.mac);
    assert!(
        stations[0]
            .signal_dbm
            .is_some_and(|dbm| (-99..0).contains(&dbm)),
        "{stations:?}"
    );
    assert!(stations[0].rx_bitrate_kbps.is_some(), "{stations:?}");
    assert_eq!(there.channel, Some(mesh.channel));

    // The simulated radio measures nothing unless it is made with several channels.
    assert_eq!(nl80211.survey(one).await.unwrap(), []);

    for ifindex in [one, two] {
        nl80211.leave_mesh(ifindex).await.unwrap();
        assert!(nl80211.leave_mesh(ifindex).await.is_err());
        nl80211.delete_interface(ifindex).await.unwrap();
    }
}

#[tokio::test]
#[ignore = "needs mac80211_hwsim: run by make test-vm"]
async fn neighbours_are_heard_without_sending() {
    let _leftovers = Leftovers;
    let nl80211 = Nl80211::connect().await.unwrap();
    let beaconing = mesh_point(&nl80211, "phy0", "t-m0").await;
    let mesh = MeshJoin {
        mesh_id: "heard".to_owned(),
        channel: channel(11, Width::Mhz20),
        beacon_interval: 100,
    };
    nl80211.join_mesh(beaconing, &mesh).await.unwrap();
    let listening = mesh_point(&nl80211, "phy1", "t-m1").await;
    let mut events = nl80211.events();
    nl80211.scan(listening, &[2462]).await.unwrap();
    let done =
        async { while events.recv().await.unwrap() != (Event::ScanDone { ifindex: listening }) {} };
    tokio::time::timeout(Duration::from_secs(10), done)
        .await
        .unwrap();
    let heard = nl80211.heard(listening).await.unwrap();
    let sender = nl80211.interface("t-m0").await.unwrap().unwrap();
    // The kernel remembers for a while who was there before.
    let now = heard.iter().find(|one| one.bssid == sender.mac).unwrap();
    assert_eq!(now.frequency_mhz, 2462);
    assert!(
        now.signal_dbm.is_some_and(|dbm| (-99..0).contains(&dbm)),
        "{now:?}"
    );
    assert!(now.last_seen < Duration::from_secs(10), "{now:?}");
    for ifindex in [beaconing, listening] {
        nl80211.delete_interface(ifindex).await.unwrap();
    }
}

#[tokio::test]
#[ignore = "needs mac80211_hwsim: run by make test-vm"]
async fn power_is_what_is_read_back() {
    let _leftovers = Leftovers;
    let nl80211 = Nl80211::connect().await.unwrap();
    let wiphy = phy(&nl80211, "phy0").await.index;
    let ifindex = mesh_point(&nl80211, "phy0", "t-m0").await;
    let mesh = MeshJoin {
        mesh_id: "power".to_owned(),
        channel: channel(1, Width::Mhz20),
        beacon_interval: 100,
    };
    nl80211.join_mesh(ifindex, &mesh).await.unwrap();
    let power = async || {
        nl80211
            .interface("t-m0")
            .await
            .unwrap()
            .unwrap()
            .tx_power_dbm
    };
    let most = power().await.unwrap();
    nl80211
        .set_tx_power(wiphy, TxPower::Fixed(7))
        .await
        .unwrap();
    assert_eq!(power().await, Some(7));
    nl80211
        .set_tx_power(wiphy, TxPower::Automatic)
        .await
        .unwrap();
    assert_eq!(power().await, Some(most));
    nl80211.delete_interface(ifindex).await.unwrap();
}

#[tokio::test]
#[ignore = "needs mac80211_hwsim: run by make test-vm"]
async fn what_cannot_be_is_refused_in_one_sentence() {
    let _leftovers = Leftovers;
    let nl80211 = Nl80211::connect().await.unwrap();
    assert_eq!(nl80211.regulatory_domain().await.unwrap(), "00");
    nl80211.set_regulatory_domain("00").await.unwrap();
    let no_database = nl80211.set_regulatory_domain("XA").await.unwrap_err();
    assert!(
        no_database.to_string().contains("regulatory domain XA"),
        "{no_database}"
    );
    let ifindex = mesh_point(&nl80211, "phy0", "t-m0").await;
    let weight = nl80211
        .set_airtime_weight(ifindex, MacAddress([2; 6]), 512)
        .await;
    let refusal = weight.unwrap_err().to_string();
    assert!(
        refusal.contains("give station 02:02:02:02:02:02 airtime weight 512: "),
        "{refusal}"
    );
    let forbidden = MeshJoin {
        mesh_id: "no".to_owned(),
        channel: channel(14, Width::Mhz20),
        beacon_interval: 100,
    };
    let refusal = nl80211.join_mesh(ifindex, &forbidden).await.unwrap_err();
    assert!(
        refusal
            .to_string()
            .starts_with("the kernel refuses to join the mesh no: "),
        "{refusal}"
    );
    nl80211.delete_interface(ifindex).await.unwrap();
    assert_eq!(nl80211.stations(ifindex).await.unwrap(), []);
}
