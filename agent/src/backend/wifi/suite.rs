//! What every implementation of the Wi-Fi domain must do: one suite for the simulator and the real thing.

use crate::backend::sim::scenario::vif;
use crate::backend::wifi::{Band, RadioOperState, Role, VifOperState, WifiBackend};
use crate::backend::{Cost, NodeConfig, Plan, Refusal};

/// A machine to test on, fresh for every case.
pub(crate) trait WifiRig {
    /// The implementation under test.
    fn wifi(&mut self) -> &mut dyn WifiBackend;

    /// A configuration with exactly one radio of the machine and no interface, which can be applied as it is.
    fn one_radio(&self) -> NodeConfig;
}

/// Runs all cases, each on a rig of its own.
pub(crate) async fn run<R: WifiRig>(new_rig: impl Fn() -> R) {
    comes_up_and_goes(&mut new_rig()).await;
    undo_restores(&mut new_rig()).await;
    plans_say_what_they_do(&mut new_rig()).await;
    reconcile_repairs_only_the_difference(&mut new_rig()).await;
    radio_off_takes_interfaces_down(&mut new_rig()).await;
    refuses_what_cannot_be(&mut new_rig()).await;
}

async fn apply(rig: &mut impl WifiRig, old: &NodeConfig, new: &NodeConfig) -> Plan {
    let plan = rig.wifi().plan(old, new).unwrap();
    rig.wifi().apply(plan.clone()).await.unwrap();
    plan
}

fn with_vifs(base: &NodeConfig, names: &[&str]) -> NodeConfig {
    let mut config = base.clone();
    let radio = base.wifi.radios[0].name.clone();
    config.wifi.vifs = names
        .iter()
        .map(|name| vif(name, &radio, 0.0, 100.0))
        .collect();
    config
}

async fn comes_up_and_goes(rig: &mut impl WifiRig) {
    let nothing = NodeConfig {
        sim: rig.one_radio().sim,
        ..NodeConfig::default()
    };
    let base = rig.one_radio();
    let two = with_vifs(&base, &["t-a", "t-b"]);
    apply(rig, &nothing, &two).await;
    let radios = rig.wifi().radios().await.unwrap();
    let radio = radios
        .iter()
        .find(|radio| radio.name == base.wifi.radios[0].name)
        .unwrap();
    assert_eq!(radio.oper_state, RadioOperState::Up);
    let vifs = rig.wifi().vifs().await.unwrap();
    assert_eq!(
        vifs.iter().map(|vif| vif.name.as_str()).collect::<Vec<_>>(),
        ["t-a", "t-b"]
    );
    assert!(vifs.iter().all(|vif| vif.oper_state == VifOperState::Up));
    assert_ne!(vifs[0].bssid, vifs[1].bssid);
    apply(rig, &two, &with_vifs(&base, &["t-b"])).await;
    let left = rig.wifi().vifs().await.unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(
        (&left[0].name, left[0].bssid),
        (&vifs[1].name, vifs[1].bssid)
    );
}

async fn undo_restores(rig: &mut impl WifiRig) {
    let base = rig.one_radio();
    let before = with_vifs(&base, &["t-a", "t-b"]);
    apply(rig, &base, &before).await;
    let seen = (
        rig.wifi().radios().await.unwrap(),
        rig.wifi().vifs().await.unwrap(),
    );
    let mut after = with_vifs(&base, &["t-b", "t-c"]);
    let Role::AccessPoint(ap) = &mut after.wifi.vifs[0].role else {
        panic!("not an access point")
    };
    ap.ssid = "elsewhere".to_owned();
    let plan = rig.wifi().plan(&before, &after).unwrap();
    let applied = rig.wifi().apply(plan).await.unwrap();
    assert_ne!(rig.wifi().vifs().await.unwrap(), seen.1);
    rig.wifi().undo(applied).await.unwrap();
    assert_eq!(
        (
            rig.wifi().radios().await.unwrap(),
            rig.wifi().vifs().await.unwrap()
        ),
        seen
    );
}

async fn plans_say_what_they_do(rig: &mut impl WifiRig) {
    let base = rig.one_radio();
    let one = with_vifs(&base, &["t-a"]);
    assert!(rig.wifi().plan(&one, &one).unwrap().steps().is_empty());
    let plan = rig.wifi().plan(&base, &one).unwrap();
    let [step] = plan.steps() else {
        panic!("{:?}", plan.steps())
    };
    assert_eq!(step.path, "/tranche-wifi:wifi/vif[name='t-a']");
    assert_eq!(step.cost, Cost::Hot);
    assert!(
        step.action.starts_with("create vif t-a on radio "),
        "{}",
        step.action
    );
    assert_eq!(
        rig.wifi().vifs().await.unwrap(),
        [],
        "planning changes nothing"
    );
}

async fn reconcile_repairs_only_the_difference(rig: &mut impl WifiRig) {
    let base = rig.one_radio();
    let wanted = with_vifs(&base, &["t-a", "t-b"]);
    assert!(
        !rig.wifi()
            .reconcile(&wanted)
            .await
            .unwrap()
            .repaired
            .is_empty()
    );
    let vifs = rig.wifi().vifs().await.unwrap();
    assert_eq!(vifs.len(), 2);
    assert_eq!(rig.wifi().reconcile(&wanted).await.unwrap().repaired, []);
    let more = with_vifs(&base, &["t-a", "t-b", "t-c"]);
    let repaired = rig.wifi().reconcile(&more).await.unwrap().repaired;
    let paths: Vec<&str> = repaired.iter().map(|step| step.path.as_str()).collect();
    assert_eq!(paths, ["/tranche-wifi:wifi/vif[name='t-c']"]);
    assert_eq!(rig.wifi().vifs().await.unwrap()[..2], vifs);
}

async fn radio_off_takes_interfaces_down(rig: &mut impl WifiRig) {
    let base = rig.one_radio();
    let on = with_vifs(&base, &["t-a"]);
    apply(rig, &base, &on).await;
    let mut off = on.clone();
    off.wifi.radios[0].enabled = false;
    apply(rig, &on, &off).await;
    assert_eq!(
        rig.wifi().radios().await.unwrap()[0].oper_state,
        RadioOperState::Down
    );
    assert_eq!(
        rig.wifi().vifs().await.unwrap()[0].oper_state,
        VifOperState::Down
    );
}

async fn refuses_what_cannot_be(rig: &mut impl WifiRig) {
    let base = rig.one_radio();
    apply(rig, &NodeConfig::default(), &base).await;
    let radio = base.wifi.radios[0].name.clone();
    let most = rig.wifi().radios().await.unwrap()[0].max_vifs;
    let refused = |rig: &mut dyn WifiRig, change: &dyn Fn(&mut NodeConfig)| -> Refusal {
        let mut new = with_vifs(&base, &["t-a"]);
        change(&mut new);
        rig.wifi().plan(&base, &new).unwrap_err()
    };

    let refusal = refused(rig, &|new| {
        new.wifi.radios[0].band = Band::Ghz5;
        new.wifi.radios[0].channel = 37;
    });
    assert_eq!(
        refusal.path,
        format!("/tranche-wifi:wifi/radio[name='{radio}']/channel")
    );
    let refusal = refused(rig, &|new| {
        let radio = &new.wifi.radios[0].name;
        let names: Vec<String> = (0..=most).map(|number| format!("t-{number}")).collect();
        new.wifi.vifs = names
            .iter()
            .map(|name| vif(name, radio, 0.0, 100.0))
            .collect();
    });
    assert_eq!(
        refusal.path,
        format!("/tranche-wifi:wifi/radio[name='{radio}']")
    );
    let refusal = refused(rig, &|new| new.wifi.vifs[0].name = "lo".to_owned());
    assert_eq!(refusal.path, "/tranche-wifi:wifi/vif[name='lo']/name");
    let refusal = refused(rig, &|new| {
        if let Role::AccessPoint(access_point) = &mut new.wifi.vifs[0].role {
            access_point.ssid = "é".repeat(17);
        }
    });
    assert_eq!(
        refusal.path,
        "/tranche-wifi:wifi/vif[name='t-a']/access-point/ssid"
    );
    let refusal = refused(rig, &|new| new.wifi.vifs[0].radio = "no-such".to_owned());
    assert_eq!(refusal.path, "/tranche-wifi:wifi/vif[name='t-a']/radio");
    let refusal = refused(rig, &|new| new.wifi.radios[0].name = "no-such".to_owned());
    assert_eq!(refusal.path, "/tranche-wifi:wifi/radio[name='no-such']");
    assert_eq!(
        rig.wifi().vifs().await.unwrap(),
        [],
        "a refusal changes nothing"
    );
}
