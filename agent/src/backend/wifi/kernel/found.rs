//! What is found on the machine, radio by radio.

use std::collections::BTreeMap;

use super::super::hostapd::{Hostapd, Running, render};
use super::super::netlink::NetlinkError;
use super::super::nl80211::{Interface, Wiphy};
use super::access_points::at_radio;
use super::engine::Engine;
use super::{lock, wanted};
use crate::backend::{MacAddress, Refusal};

/// What is on one radio.
pub(super) struct Found {
    pub(super) wiphy: Wiphy,
    pub(super) hostapd: Hostapd,
    pub(super) running: Option<Running>,
    /// Associated stations of each access point.
    pub(super) stations: BTreeMap<String, u32>,
    /// Whether it waits for the end of a radar check.
    pub(super) is_starting: bool,
    /// All its network interfaces, ours or not.
    pub(super) interfaces: Vec<Interface>,
}

impl Found {
    pub(super) fn interface(&self, name: &str) -> Option<&Interface> {
        self.interfaces.iter().find(|one| one.name == name)
    }

    pub(super) fn stations_of(&self, vif: &str) -> u32 {
        self.stations.get(vif).copied().unwrap_or_default()
    }
}

impl Engine {
    /// Everything there is, radio by radio.
    pub(super) async fn look(&self) -> Result<Vec<Found>, Refusal> {
        let failed = |error: NetlinkError| Refusal::new("/tranche-wifi:wifi", error.to_string());
        let wiphys = self.nl80211.wiphys().await.map_err(failed)?;
        let interfaces = self.nl80211.interfaces().await.map_err(failed)?;
        let mut all = Vec::new();
        for wiphy in wiphys {
            let hostapd = wanted::hostapd(&self.settings, &wiphy.name);
            let adopted = hostapd.adopt().await;
            let running = adopted.map_err(|error| at_radio(&wiphy.name, &error))?;
            let mut stations = BTreeMap::new();
            let mut is_starting = false;
            if running.is_some() {
                let status = hostapd.status().await;
                let status = status.map_err(|error| at_radio(&wiphy.name, &error))?;
                is_starting = status.state == "DFS";
                let counts = status.bsses.into_iter();
                stations = counts
                    .map(|bss| (bss.name, u32::from(bss.stations)))
                    .collect();
            }
            let of_radio = |one: &&Interface| one.wiphy == wiphy.index;
            all.push(Found {
                hostapd,
                running,
                stations,
                is_starting,
                interfaces: interfaces.iter().filter(of_radio).cloned().collect(),
                wiphy,
            });
        }
        Ok(all)
    }

    /// The addresses that interfaces have by the last target, or that an earlier agent gave them.
    pub(super) fn known_addresses(
        &self,
        found: &[Found],
    ) -> BTreeMap<String, (String, MacAddress)> {
        let mut known = BTreeMap::new();
        for found in found {
            let radio = &found.wiphy.name;
            let texts = found.running.iter().flat_map(|running| &running.bsses);
            for (name, text) in texts {
                let bssid = render::value(text, "bssid").and_then(|text| text.parse().ok());
                if let Some(bssid) = bssid {
                    known.insert(name.clone(), (radio.clone(), bssid));
                }
            }
            for interface in &found.interfaces {
                if wanted::mesh_mark(&self.settings, &interface.name).exists() {
                    known.insert(interface.name.clone(), (radio.clone(), interface.mac));
                }
            }
        }
        let view = lock(&self.view);
        for (name, address) in &view.target.addresses {
            if let Some(vif) = view.target.wifi.vif(name) {
                known.insert(name.clone(), (vif.radio.clone(), *address));
            }
        }
        known
    }
}
