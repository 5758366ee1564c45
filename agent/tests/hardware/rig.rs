//! A node under test: the Wi-Fi domain on real radios, and configurations for it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use tranche_agent::backend::wifi::kernel::{KernelSettings, KernelWifi};
use tranche_agent::backend::wifi::link::Links;
use tranche_agent::backend::wifi::nl80211::Nl80211;
use tranche_agent::backend::wifi::{
    AccessPoint, AirtimeConfig, Attachment, Band, MeshPoint, RadioConfig, Radius, Roaming, Role,
    SchedulerConfig, Security, SecurityMode, VifConfig, VifState, Width, WifiBackend as _,
    WifiConfig,
};
use tranche_agent::backend::{Backend as _, NodeConfig, Plan, Refusal, Secret};

use crate::clients::run;

/// Where the daemons of the node keep their files.
pub(crate) const RUNTIME_DIR: &str = "/run/tranche-test";

/// Who a client of an enterprise mode is.
const EAP: &str = "eap=PWD\nidentity=\"user\"\npassword=\"password of user\"";

/// The radio's hostapd, by its pid file.
pub(crate) fn hostapd_pid() -> String {
    let text = std::fs::read_to_string(format!("{RUNTIME_DIR}/phy0/pid")).unwrap();
    text.trim().to_owned()
}

/// An agent's Wi-Fi, with the configuration that it was given last.
pub(crate) struct Node {
    pub(crate) wifi: KernelWifi,
    pub(crate) config: NodeConfig,
}

impl Node {
    pub(crate) async fn start() -> Self {
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
    pub(crate) async fn apply(&mut self, vifs: &[VifConfig]) -> Result<Plan, Refusal> {
        self.apply_config(config(vifs)).await
    }

    /// One commit of everything.
    pub(crate) async fn apply_config(&mut self, new: NodeConfig) -> Result<Plan, Refusal> {
        let plan = self.wifi.plan(&self.config, &new)?;
        self.wifi.apply(plan.clone()).await?;
        self.config = new;
        Ok(plan)
    }

    pub(crate) async fn vif(&self, name: &str) -> VifState {
        let vifs = self.wifi.vifs().await.unwrap();
        vifs.into_iter().find(|vif| vif.name == name).unwrap()
    }

    /// Takes everything down, and checks that nothing is left.
    pub(crate) async fn end(mut self) {
        let nothing = NodeConfig::default();
        let plan = self.wifi.plan(&self.config, &nothing).unwrap();
        self.wifi.apply(plan).await.unwrap();
        nothing_is_left();
    }
}

impl Drop for Node {
    /// What a test that fails leaves behind must not fail the next.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let line = format!(
                "tail -n 20 {RUNTIME_DIR}/*/log >&2; for p in {RUNTIME_DIR}/*/pid; do kill -9 $(cat $p); done; \
                 for i in $(cd /sys/class/net && ls -d tr-anchor* mesh0); do iw dev $i del; done; \
                 rm -rf {RUNTIME_DIR}"
            );
            drop(
                std::process::Command::new("sh")
                    .args(["-c", &line])
                    .status(),
            );
        }
    }
}

fn nothing_is_left() {
    let interfaces = run("ls /sys/class/ieee80211/phy0/device/net");
    assert_eq!(interfaces.trim(), "wlan0");
    assert_eq!(run("ls /sys/class/net | grep anchor || true"), "");
    assert_eq!(run("ip -br link show type bridge"), "");
    assert_eq!(
        run("ps -e -o comm= | grep -c '^hostapd$' || true").trim(),
        "0"
    );
    let files = run(&format!("find {RUNTIME_DIR} -type f"));
    assert_eq!(files, "");
}

pub(crate) fn config(vifs: &[VifConfig]) -> NodeConfig {
    let names: BTreeSet<&str> = vifs.iter().map(|vif| vif.radio.as_str()).collect();
    let radios = names.into_iter().map(|name| RadioConfig {
        name: name.to_owned(),
        enabled: true,
        band: Band::Ghz2,
        channel: 1,
        width: Width::Mhz20,
        tx_power_dbm: None,
        scheduler: SchedulerConfig::default(),
    });
    NodeConfig {
        wifi: WifiConfig {
            radios: radios.collect(),
            vifs: vifs.to_vec(),
            ..WifiConfig::default()
        },
        ..NodeConfig::default()
    }
}

/// A tenant's access point on a bridge of its own.
pub(crate) fn access_point(name: &str, mode: SecurityMode) -> VifConfig {
    let is_enterprise = matches!(
        mode,
        SecurityMode::Wpa2Enterprise | SecurityMode::Wpa3Enterprise
    );
    let security = Security {
        mode,
        passphrase: mode
            .is_personal()
            .then(|| Secret::new(format!("passphrase of {name}"))),
        radius: is_enterprise.then(|| Radius {
            address: "127.0.0.1".to_owned(),
            port: 1812,
            secret: Secret::new("shared secret"),
        }),
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
        airtime: AirtimeConfig::default(),
    }
}

pub(crate) fn mesh_point(name: &str, mesh_id: &str) -> VifConfig {
    VifConfig {
        role: Role::MeshPoint(MeshPoint {
            mesh_id: mesh_id.to_owned(),
            passphrase: None,
        }),
        attachment: Attachment::default(),
        ..access_point(name, SecurityMode::Open)
    }
}

pub(crate) fn edit(vif: &VifConfig, change: impl FnOnce(&mut AccessPoint)) -> VifConfig {
    let mut vif = vif.clone();
    let Role::AccessPoint(access_point) = &mut vif.role else {
        panic!("{} is no access point", vif.name)
    };
    change(access_point);
    vif
}

/// What a client of an access point has to know.
pub(crate) fn network(vif: &VifConfig) -> String {
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
        SecurityMode::Wpa2Enterprise => format!("key_mgmt=WPA-EAP\n{EAP}"),
        SecurityMode::Wpa3Enterprise => format!("key_mgmt=WPA-EAP-SHA256\nieee80211w=2\n{EAP}"),
    };
    format!("ssid=\"{}\"\nscan_ssid=1\n{security}", access_point.ssid)
}
