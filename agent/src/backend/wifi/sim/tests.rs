//! The Wi-Fi simulator: the suite of its domain, and what only a simulated world can show.

use std::time::Duration;

use super::*;
use crate::backend::sim::MediumParams;
use crate::backend::sim::scenario::{Scenario, node, now_or_never, station, vif};
use crate::backend::wifi::suite::{self, WifiRig};
use crate::backend::wifi::{RadioOperState, SecurityMode};
use crate::backend::{Secret, sim::SimStationConfig};

struct Rig(SimulatedWifi);

impl WifiRig for Rig {
    fn wifi(&mut self) -> &mut dyn WifiBackend {
        &mut self.0
    }

    fn one_radio(&self) -> NodeConfig {
        node(0, Vec::new(), Vec::new())
    }
}

#[tokio::test]
async fn simulator_passes_the_suite() {
    suite::run(|| {
        Rig(SimulatedWifi::new(
            Medium::new(MediumParams::default()),
            "n",
        ))
    })
    .await;
}

fn associated(scenario: &Scenario) -> Vec<(String, u16)> {
    let vifs = now_or_never(scenario.wifi(0).vifs()).unwrap();
    vifs.into_iter()
        .map(|vif| (vif.name, vif.station_count))
        .collect()
}

fn expect(scenario: &Scenario, counts: &[(&str, u16)]) {
    let counts: Vec<_> = counts
        .iter()
        .map(|(name, count)| (name.to_string(), *count))
        .collect();
    assert_eq!(associated(scenario), counts);
}

fn secured(name: &str, passphrase: &str) -> VifConfig {
    let mut vif = vif(name, "phy0", 0.0, 100.0);
    let Role::AccessPoint(ap) = &mut vif.role else {
        panic!("not an access point")
    };
    ap.security.mode = SecurityMode::Wpa3Personal;
    ap.security.passphrase = Some(Secret::new(passphrase));
    vif
}

#[test]
fn stations_join_the_network_that_they_want() {
    let vifs = vec![vif("a", "phy0", 0.0, 100.0), vif("b", "phy0", 0.0, 100.0)];
    let elsewhere = SimStationConfig {
        radio: Some("phy9".to_owned()),
        ..station(3, "b")
    };
    let off = SimStationConfig {
        enabled: false,
        ..station(4, "b")
    };
    let stations = vec![
        station(1, "a"),
        station(2, "a"),
        elsewhere,
        off,
        station(5, "c"),
    ];
    let mut scenario = Scenario::new(vec![node(0, vifs, stations)]);
    expect(&scenario, &[("a", 2), ("b", 0)]);
    scenario.change(0, |config| {
        config.sim.as_mut().unwrap().stations[1].ssid = "b".to_owned()
    });
    expect(&scenario, &[("a", 1), ("b", 1)]);
    scenario.change(0, |config| config.wifi.vifs[1].enabled = false);
    expect(&scenario, &[("a", 1), ("b", 0)]);
    scenario.change(0, |config| drop(config.wifi.vifs.remove(0)));
    expect(&scenario, &[("b", 0)]);
}

#[test]
fn a_wrong_passphrase_keeps_a_station_out() {
    let tries = |number, passphrase: Option<&str>| SimStationConfig {
        passphrase: passphrase.map(Secret::new),
        ..station(number, "a")
    };
    let stations = vec![
        tries(1, Some("wrong horse")),
        tries(2, Some("right horse")),
        tries(3, None),
    ];
    let vifs = vec![secured("a", "right horse")];
    let mut scenario = Scenario::new(vec![node(0, vifs, stations)]);
    expect(&scenario, &[("a", 2)]);
    scenario.change(0, |config| {
        config.wifi.vifs[0] = secured("a", "wrong horse")
    });
    expect(&scenario, &[("a", 2)]);
}

#[test]
fn max_stations_is_honoured() {
    let stations = (1..=5).map(|number| station(number, "a")).collect();
    let vifs = vec![vif("a", "phy0", 0.0, 100.0)];
    let mut scenario = Scenario::new(vec![node(0, vifs, stations)]);
    expect(&scenario, &[("a", 5)]);
    let admit = |most| {
        move |config: &mut NodeConfig| {
            let Role::AccessPoint(ap) = &mut config.wifi.vifs[0].role else {
                panic!()
            };
            ap.max_stations = Some(most);
        }
    };
    scenario.change(0, admit(3));
    expect(&scenario, &[("a", 3)]);
    scenario.change(0, admit(4));
    expect(&scenario, &[("a", 4)]);
}

#[test]
fn a_plan_counts_the_stations_that_it_drops() {
    let stations = vec![station(1, "a"), station(2, "a"), station(3, "b")];
    let vifs = vec![vif("a", "phy0", 0.0, 100.0), vif("b", "phy0", 0.0, 100.0)];
    let old = node(0, vifs, stations);
    let scenario = Scenario::new(vec![old.clone()]);
    let dropped = |change: &dyn Fn(&mut NodeConfig)| {
        let mut new = old.clone();
        change(&mut new);
        scenario
            .wifi(0)
            .plan(&old, &new)
            .unwrap()
            .stations_dropped()
    };
    assert_eq!(dropped(&|new| new.wifi.vifs[0].enabled = false), 2);
    assert_eq!(dropped(&|new| new.wifi.radios[0].channel = 40), 3);
    assert_eq!(
        dropped(&|new| new.wifi.radios[0].tx_power_dbm = Some(10)),
        0
    );
    assert_eq!(dropped(&|new| drop(new.wifi.vifs.pop())), 1);
    assert_eq!(dropped(&|new| new.wifi.vifs[0].slice = None), 0);
    assert_eq!(
        dropped(&|new| new.wifi.vifs[0].airtime.max_ratio = crate::backend::Ratio::ZERO),
        0
    );
}

#[test]
fn a_radio_that_refuses_changes_nothing_and_lets_others_be() {
    let old = node(0, vec![vif("a", "phy0", 0.0, 100.0)], vec![station(1, "a")]);
    let mut scenario = Scenario::new(vec![old.clone()]);
    let refuse = |words: Option<&str>| {
        let words = words.map(str::to_owned);
        move |config: &mut NodeConfig| config.sim.as_mut().unwrap().radios[0].refuse = words
    };
    scenario.change(0, refuse(Some("firmware crashed")));
    let old = scenario.config(0).clone();
    let mut new = old.clone();
    new.wifi.vifs.push(vif("b", "phy0", 0.0, 100.0));
    let mut backend = SimulatedWifi::new(Arc::clone(&scenario.medium), "n0");
    let plan = backend.plan(&old, &new).unwrap();
    let refusal = now_or_never(backend.apply(plan)).unwrap_err();
    assert_eq!(
        refusal,
        Refusal::new("/tranche-wifi:wifi/radio[name='phy0']", "firmware crashed")
    );
    expect(&scenario, &[("a", 1)]);
    scenario.change(0, |config| {
        config.sim.as_mut().unwrap().stations.push(station(2, "a"))
    });
    expect(&scenario, &[("a", 2)]);
    scenario.change(0, refuse(None));
    scenario.change(0, |config| {
        config.wifi.vifs.push(vif("b", "phy0", 0.0, 100.0))
    });
    expect(&scenario, &[("a", 2), ("b", 0)]);
}

#[test]
fn what_this_hardware_cannot_do_is_refused_with_its_place() {
    let medium = Medium::new(MediumParams::default());
    let wifi = SimulatedWifi::new(medium, "n");
    let base = node(0, vec![vif("a", "phy0", 0.0, 100.0)], Vec::new());
    let refused = |change: &dyn Fn(&mut NodeConfig)| {
        let mut new = base.clone();
        change(&mut new);
        wifi.plan(&NodeConfig::default(), &new)
            .unwrap_err()
            .to_string()
    };
    let mesh = crate::backend::wifi::MeshPoint {
        mesh_id: "m".to_owned(),
        passphrase: None,
    };
    assert_eq!(
        refused(&|new| new.wifi.vifs[0].role = Role::MeshPoint(mesh.clone())),
        "/tranche-wifi:wifi/vif[name='a']/mesh-point: a simulated radio carries access points only"
    );
    assert_eq!(
        refused(&|new| new.sim = None),
        "/tranche-wifi:wifi/radio[name='phy0']: there is no radio phy0 in the hardware"
    );
    assert_eq!(
        refused(&|new| new.wifi.vifs[0].attachment.bridge = Some("a".to_owned())),
        "/tranche-wifi:wifi/vif[name='a']/name: there is another network interface named a"
    );
    assert_eq!(
        refused(&|new| {
            new.wifi.radios[0].band = crate::backend::wifi::Band::Ghz2;
            new.wifi.radios[0].channel = 14;
        }),
        "/tranche-wifi:wifi/radio[name='phy0']/channel: channel 14 is not allowed in regulatory domain 00"
    );
}

#[test]
fn neighbours_are_heard_within_range_and_channel() {
    let at = |x, name: &str| node(x, vec![vif(name, "phy0", 0.0, 100.0)], Vec::new());
    let mut scenario = Scenario::new(vec![at(0, "a"), at(60, "b"), at(120, "c")]);
    let heard = |scenario: &Scenario, index| -> Vec<String> {
        let radios = now_or_never(scenario.wifi(index).radios()).unwrap();
        let mut names: Vec<String> = radios[0]
            .neighbours
            .iter()
            .filter_map(|one| one.ssid.clone())
            .collect();
        names.sort();
        names
    };
    assert_eq!(heard(&scenario, 0), ["b"]);
    assert_eq!(heard(&scenario, 1), ["a", "c"]);
    scenario.change(1, |config| config.wifi.radios[0].tx_power_dbm = Some(10));
    assert_eq!(heard(&scenario, 0), [""; 0], "10 dB less carry 46 m");
    scenario.change(1, |config| config.wifi.radios[0].channel = 40);
    assert_eq!(heard(&scenario, 1), [""; 0]);
    scenario.change(0, |config| {
        config.wifi.radios[0].width = crate::backend::wifi::Width::Mhz40
    });
    assert_eq!(heard(&scenario, 1), ["a"], "36 at 40 MHz covers 40");
    let radios = now_or_never(scenario.wifi(1).radios()).unwrap();
    assert_eq!(radios[0].oper_state, RadioOperState::Up);
    assert_eq!(radios[0].neighbours[0].signal_dbm, -73);
    scenario.medium.advance(Duration::from_millis(1));
}
