//! The Wi-Fi domain on a real mac80211 stack: the suite that the simulator passes too.

use std::path::PathBuf;

use tokio::runtime::Handle;
use tokio::task::block_in_place;

use super::*;
use crate::backend::sim::scenario::radio;
use crate::backend::wifi::suite::{self, WifiRig};
use crate::backend::wifi::{Band, RadioConfig};

struct Rig(KernelWifi);

impl Rig {
    /// The radios of the machine, with nothing on them.
    async fn new() -> Self {
        let nl80211 = Nl80211::connect().await.unwrap();
        let settings = KernelSettings {
            runtime_dir: PathBuf::from("/run/tranche-suite"),
            ..KernelSettings::default()
        };
        let links = Links::connect().unwrap();
        let mut wifi = KernelWifi::start(nl80211, links, settings).await.unwrap();
        wifi.reconcile(&NodeConfig::default()).await.unwrap();
        Self(wifi)
    }
}

impl WifiRig for Rig {
    fn wifi(&mut self) -> &mut dyn WifiBackend {
        &mut self.0
    }

    fn one_radio(&self) -> NodeConfig {
        NodeConfig {
            wifi: WifiConfig {
                radios: vec![RadioConfig {
                    band: Band::Ghz2,
                    channel: 1,
                    ..radio("phy0")
                }],
                ..WifiConfig::default()
            },
            ..NodeConfig::default()
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs mac80211_hwsim: run by make test-vm"]
async fn real_radios_pass_the_suite() {
    let runtime = Handle::current();
    suite::run(|| block_in_place(|| runtime.block_on(Rig::new()))).await;
    drop(Rig::new().await);
}
