//! Whether what was carried out is so.

use super::super::netlink::NetlinkError;
use super::super::nl80211::{Interface, InterfaceKind};
use super::super::{RadioConfig, Role, VifConfig};
use super::carry_out::Work;
use super::engine::Engine;
use super::{Target, wanted};
use crate::backend::Refusal;
use crate::backend::wifi::diff::{radio_path, vif_path};

impl Engine {
    /// Whether the kernel says that what is wanted is so.
    pub(super) async fn read_back(&self, target: &Target, work: &mut Work) -> Result<(), Refusal> {
        let failed = |error: NetlinkError| Refusal::new("/tranche-wifi:wifi", error.to_string());
        let wiphys = self.nl80211.known_wiphys();
        let interfaces = self.nl80211.interfaces().await.map_err(failed)?;
        for radio in &target.wifi.radios {
            let path = radio_path(&radio.name);
            let Some(wiphy) = wiphys.iter().find(|wiphy| wiphy.name == radio.name) else {
                let message = format!("there is no radio {} in the hardware", radio.name);
                let vifs = target.wifi.vifs_of(&radio.name);
                let vifs = vifs.map(|vif| vif.name.as_str());
                work.failed(Refusal::new(path, message), vifs)?;
                continue;
            };
            let hostapd = wanted::hostapd(&self.settings, &radio.name);
            let status = hostapd.status().await;
            if status.is_ok_and(|status| status.state == "DFS") {
                continue;
            }
            for vif in target.wifi.vifs_of(&radio.name) {
                let is_wanted = vif.enabled && radio.enabled;
                let found = interfaces
                    .iter()
                    .find(|one| one.name == vif.name && one.wiphy == wiphy.index);
                let reason = match found {
                    Some(found) if is_wanted => differs(found, vif, radio),
                    None if is_wanted => Some("it is not there".to_owned()),
                    Some(_) => Some("it is still there".to_owned()),
                    None => None,
                };
                if let Some(reason) = reason
                    && !work.faults.contains_key(&vif.name)
                {
                    let message =
                        format!("vif {} did not come up as asked for: {reason}", vif.name);
                    let refusal = Refusal::new(vif_path(&vif.name), message);
                    work.failed(refusal, [vif.name.as_str()])?;
                }
            }
        }
        Ok(())
    }
}

/// How an interface differs from what is wanted.
fn differs(found: &Interface, vif: &VifConfig, radio: &RadioConfig) -> Option<String> {
    let (kind, ssid) = match &vif.role {
        Role::AccessPoint(access_point) => (
            InterfaceKind::AccessPoint,
            Some(access_point.ssid.as_bytes()),
        ),
        // The kernel does not tell the identifier of a mesh.
        Role::MeshPoint(_) => (InterfaceKind::MeshPoint, found.ssid.as_deref()),
    };
    if found.kind != kind {
        return Some(format!("it is no {kind}"));
    }
    if found.ssid.as_deref() != ssid {
        return Some("it does not beacon with its SSID".to_owned());
    }
    match found.channel {
        None => Some("it is on no channel".to_owned()),
        Some(channel) if (channel.number(), channel.width()) != (radio.channel, radio.width) => {
            Some(format!(
                "it is on {channel} (networks that overlap can make hostapd do so)"
            ))
        }
        Some(_) => None,
    }
}
