//! The access points of one radio: its hostapd started and stopped, access points added, changed and removed.

use std::collections::BTreeMap;

use super::super::bridge::AttachError;
use super::super::hostapd::render::{self, Change};
use super::super::hostapd::{HostapdError, Running};
use super::super::nl80211::{InterfaceKind, NewInterface};
use super::Target;
use super::carry_out::Work;
use super::engine::Engine;
use super::found::Found;
use super::wanted::{self, Wanted};
use crate::backend::Refusal;
use crate::backend::wifi::diff::{radio_path, vif_path};

impl Engine {
    /// Takes hostapd off a radio, and its interfaces with it.
    pub(super) async fn stop(&self, found: &mut Found, work: &mut Work) -> Result<(), Refusal> {
        let radio = found.wiphy.name.clone();
        let stations: u32 = found.stations.values().sum();
        found
            .hostapd
            .stop()
            .await
            .map_err(|error| at_radio(&radio, &error))?;
        if found.running.take().is_some() {
            let action = format!("take the access points of radio {radio} down");
            work.done(radio_path(&radio), action, stations);
        }
        let anchor = wanted::anchor(&found.wiphy);
        if let Some(interface) = found.interface(&anchor) {
            self.delete(interface)
                .await
                .map_err(|error| Refusal::new(radio_path(&radio), error.to_string()))?;
            found.interfaces.retain(|one| one.name != anchor);
        }
        Ok(())
    }

    /// Starts hostapd on a radio that has none.
    pub(super) async fn start(
        &self,
        found: &mut Found,
        text: &str,
        target: &Target,
        work: &mut Work,
    ) -> Result<(), Refusal> {
        if found.running.is_some() {
            return Ok(());
        }
        let name = found.wiphy.name.clone();
        let anchor = NewInterface {
            wiphy: found.wiphy.index,
            name: wanted::anchor(&found.wiphy),
            kind: InterfaceKind::Station,
            mac: wanted::anchor_address(&found.wiphy),
        };
        let made = self.nl80211.create_interface(&anchor).await;
        let made = made.map_err(|error| Refusal::new(radio_path(&name), error.to_string()))?;
        if let Err(error) = found.hostapd.start(text).await {
            self.delete(&made)
                .await
                .map_err(|error| Refusal::new(radio_path(&name), error.to_string()))?;
            return Err(at_radio(&name, &error));
        }
        found.interfaces.push(made);
        found.running = Some(Running {
            radio: text.to_owned(),
            bsses: BTreeMap::new(),
        });
        if let Some(radio) = target.wifi.radio(&name) {
            let channel = format!("{} channel {}, {}", radio.band, radio.channel, radio.width);
            let action = format!("put radio {name} on {channel}");
            work.done(radio_path(&name), action, 0);
        }
        Ok(())
    }

    /// Takes access points off a running hostapd that are not wanted, or whose interface somebody removed or
    /// switched off.
    pub(super) async fn remove_bsses(
        &self,
        found: &mut Found,
        wanted: &Wanted,
        work: &mut Work,
    ) -> Result<(), Refusal> {
        let Some(running) = &found.running else {
            return Ok(());
        };
        let names: Vec<String> = running.bsses.keys().cloned().collect();
        for name in names {
            let is_wanted = wanted.bsses.iter().any(|(one, _)| *one == name);
            let is_in_service = found.interface(&name).is_some_and(|one| {
                one.kind == InterfaceKind::AccessPoint
                    && (one.channel.is_some() || found.is_starting)
            });
            if is_wanted && is_in_service {
                continue;
            }
            let removed = found.hostapd.remove(&name).await;
            removed.map_err(|error| Refusal::new(vif_path(&name), error.to_string()))?;
            if !is_wanted {
                let stations = found.stations_of(&name);
                work.done(vif_path(&name), format!("remove vif {name}"), stations);
            }
            if let Some(running) = &mut found.running {
                running.bsses.remove(&name);
            }
        }
        Ok(())
    }

    /// Adds an access point to a running hostapd, or changes it.
    pub(super) async fn add_bss(
        &self,
        found: &Found,
        name: &str,
        text: &str,
        work: &mut Work,
    ) -> Result<(), Refusal> {
        let failed = |error: HostapdError| Refusal::new(vif_path(name), error.to_string());
        let running = found.running.as_ref();
        let Some(before) = running.and_then(|running| running.bsses.get(name)) else {
            // Until hostapd has filled it.
            let turn = self.links.bridges_in_turn().await;
            self.make_bridge_of(name, text).await?;
            found.hostapd.add(name, text).await.map_err(failed)?;
            drop(turn);
            let action = format!("create vif {name} on radio {}", found.wiphy.name);
            work.done(vif_path(name), action, 0);
            return Ok(());
        };
        let change = render::change(before, text);
        if change == Change::None {
            return Ok(());
        }
        let changed = found.hostapd.change(name, before, text).await;
        changed.map_err(failed)?;
        let (action, stations) = match change {
            Change::Restart => ("restart", found.stations_of(name)),
            Change::None | Change::Hot(_) => ("update", 0),
        };
        work.done(vif_path(name), format!("{action} vif {name}"), stations);
        Ok(())
    }

    /// Makes the bridge that an access point's text names, if there is none: hostapd would make one that is nobody's.
    async fn make_bridge_of(&self, name: &str, text: &str) -> Result<(), Refusal> {
        let Some(bridge) = render::value(text, "bridge") else {
            return Ok(());
        };
        let made = async {
            if self.links.link(bridge).await?.is_none() {
                self.links.make_bridge(bridge).await?;
            }
            Ok::<_, AttachError>(())
        };
        let refusal = |error: AttachError| {
            Refusal::new(format!("{}/attachment", vif_path(name)), error.to_string())
        };
        made.await.map_err(refusal)
    }
}

/// What a hostapd said, as a refusal of its radio.
pub(super) fn at_radio(radio: &str, error: &HostapdError) -> Refusal {
    Refusal::new(radio_path(radio), error.to_string())
}
