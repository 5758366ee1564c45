//! Simulated radios and access points: carries a Wi-Fi configuration out on a [`Medium`], and refuses what hardware would.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::diff::{self, Judge, radio_path, step, vif_path};
use super::{
    RadioConfig, RadioState, Role, VifConfig, VifOperState, VifState, WifiBackend, WifiConfig,
    spectrum,
};
use crate::backend::sim::{Medium, SimConfig, restarts};
use crate::backend::{
    Applied, Backend, BoxFuture, Cost, NodeConfig, Plan, Reconciled, Refusal, Step, Why,
};

/// Length of an SSID at most (IEEE Std 802.11-2020 9.4.2.2).
const MAX_SSID_OCTETS: usize = 32;

const DOMAIN: &str = "wifi";

/// Network interfaces that every simulated node has besides its radios'.
const TAKEN: [&str; 2] = ["lo", "eth0"];

/// The Wi-Fi hardware of one simulated node.
#[derive(Debug)]
pub struct SimulatedWifi {
    medium: Arc<Medium>,
    node: String,
}

impl SimulatedWifi {
    /// The hardware of `node` on `medium`.
    pub fn new(medium: Arc<Medium>, node: impl Into<String>) -> Self {
        Self {
            medium,
            node: node.into(),
        }
    }

    fn steps(&self, old: &NodeConfig, new: &NodeConfig) -> Vec<Step> {
        let mut steps = Vec::new();
        if old.sim != new.sim {
            steps.push(step(
                "/tranche-sim:sim",
                "change the simulated world",
                Cost::Hot,
            ));
        }
        steps.extend(diff::steps(self, &old.wifi, &new.wifi));
        steps
    }

    /// Carries a configuration out and reads back whether it is so.
    fn carry_out(&self, config: &NodeConfig) -> Result<(), Refusal> {
        let sim = config.sim.clone().unwrap_or_default();
        let (radios, vifs) = self.medium.with(&self.node, |node| {
            node.configure(&config.wifi, &sim);
            (node.radio_states(), node.vif_states())
        });
        self.medium.ports(&self.node).set_hung(&sim.hung_ports);
        for radio in &config.wifi.radios {
            if !radios.iter().any(|state| state.name == radio.name) {
                return Err(not_in_hardware(&radio.name));
            }
        }
        for vif in &config.wifi.vifs {
            let radio_is_up = config
                .wifi
                .radio(&vif.radio)
                .is_some_and(|radio| radio.enabled);
            let wanted = if vif.enabled && radio_is_up {
                VifOperState::Up
            } else {
                VifOperState::Down
            };
            let found = vifs.iter().find(|state| state.name == vif.name);
            if found.is_none_or(|state| state.oper_state != wanted) {
                let message = format!("vif {} did not come into the state asked for", vif.name);
                return Err(Refusal::new(vif_path(&vif.name), message));
            }
        }
        Ok(())
    }
}

impl Judge for SimulatedWifi {
    fn stations(&self, vif: &str) -> u32 {
        self.medium.with(&self.node, |node| node.stations_of(vif))
    }

    fn restarts(&self, old: &VifConfig, new: &VifConfig) -> bool {
        restarts(old, new)
    }

    /// Simulated stations know no channel switch announcements.
    fn takes_along(&self, _: &RadioConfig, _: &RadioConfig) -> bool {
        false
    }
}

impl Backend for SimulatedWifi {
    fn domain(&self) -> &'static str {
        DOMAIN
    }

    fn plan(&self, old: &NodeConfig, new: &NodeConfig) -> Result<Plan, Refusal> {
        check(new)?;
        Ok(Plan::new(DOMAIN, self.steps(old, new), old, new))
    }

    fn apply(&mut self, plan: Plan) -> BoxFuture<'_, Result<Applied, Refusal>> {
        Box::pin(async move {
            check_faults(plan.old(), plan.new_config())?;
            let before = self.medium.with(&self.node, |node| node.in_force());
            if let Err(refusal) = self.carry_out(plan.new_config()) {
                self.carry_out(&before)?;
                return Err(refusal);
            }
            Ok(Applied::new(DOMAIN, before))
        })
    }

    fn undo(&mut self, applied: Applied) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(async move { self.carry_out(&applied.into_memory::<NodeConfig>(DOMAIN)?) })
    }

    fn reconcile(&mut self, wanted: &NodeConfig) -> BoxFuture<'_, Result<Reconciled, Refusal>> {
        let wanted = wanted.clone();
        Box::pin(async move {
            check(&wanted)?;
            let found = self.medium.with(&self.node, |node| node.in_force());
            let repaired = self.steps(&found, &wanted);
            if !repaired.is_empty() {
                self.carry_out(&wanted)?;
            }
            Ok(Reconciled { repaired })
        })
    }
}

impl WifiBackend for SimulatedWifi {
    fn radios(&self) -> BoxFuture<'_, Result<Vec<RadioState>, Refusal>> {
        Box::pin(async { Ok(self.medium.with(&self.node, |node| node.radio_states())) })
    }

    fn vifs(&self) -> BoxFuture<'_, Result<Vec<VifState>, Refusal>> {
        Box::pin(async { Ok(self.medium.with(&self.node, |node| node.vif_states())) })
    }
}

/// What no simulated hardware can do, whatever its state.
fn check(config: &NodeConfig) -> Result<(), Refusal> {
    let no_world = SimConfig::default();
    let sim = config.sim.as_ref().unwrap_or(&no_world);
    for radio in &config.wifi.radios {
        let hardware = sim
            .radio(&radio.name)
            .ok_or_else(|| not_in_hardware(&radio.name))?;
        spectrum(radio.band, radio.channel, radio.width).map_err(|reason| {
            Refusal::new(format!("{}/channel", radio_path(&radio.name)), reason)
        })?;
        check_regulation(radio, &config.wifi.country)?;
        let count = config.wifi.vifs_of(&radio.name).count();
        if count > usize::from(hardware.max_vifs) {
            let message = format!(
                "radio {} carries at most {} interfaces, not {count}",
                radio.name, hardware.max_vifs
            );
            return Err(Refusal::new(radio_path(&radio.name), message).because(Why::NoRoom));
        }
    }
    let bridges = config
        .wifi
        .vifs
        .iter()
        .filter_map(|vif| vif.attachment.bridge.as_deref());
    let mut taken: BTreeSet<&str> = bridges.chain(TAKEN).collect();
    for vif in &config.wifi.vifs {
        check_vif(vif, &config.wifi)?;
        if !taken.insert(&vif.name) {
            let message = format!("there is another network interface named {}", vif.name);
            return Err(Refusal::new(
                format!("{}/name", vif_path(&vif.name)),
                message,
            ));
        }
    }
    Ok(())
}

fn check_regulation(radio: &RadioConfig, country: &str) -> Result<(), Refusal> {
    let forbidden = match (radio.band, radio.channel) {
        (super::Band::Ghz2, 14) => country != "JP",
        (super::Band::Ghz2, 12 | 13) => matches!(country, "US" | "CA"),
        _ => false,
    };
    if !forbidden {
        return Ok(());
    }
    let message = format!(
        "channel {} is not allowed in regulatory domain {country}",
        radio.channel
    );
    Err(Refusal::new(
        format!("{}/channel", radio_path(&radio.name)),
        message,
    ))
}

fn check_vif(vif: &VifConfig, wifi: &WifiConfig) -> Result<(), Refusal> {
    let path = vif_path(&vif.name);
    if wifi.radio(&vif.radio).is_none() {
        return Err(Refusal::new(
            format!("{path}/radio"),
            format!("there is no radio {}", vif.radio),
        ));
    }
    match &vif.role {
        Role::AccessPoint(access_point) => {
            // The schema counts characters, a beacon has room for octets.
            let octets = access_point.ssid.len();
            if octets > MAX_SSID_OCTETS {
                let message = format!("the SSID has {octets} octets, more than {MAX_SSID_OCTETS}");
                let path = format!("{path}/access-point/ssid");
                return Err(Refusal::new(path, message));
            }
            Ok(())
        }
        Role::MeshPoint(_) => {
            let message = "a simulated radio carries access points only";
            Err(Refusal::new(format!("{path}/mesh-point"), message))
        }
    }
}

/// The fault to test with: a radio that refuses whatever changes it or its interfaces.
fn check_faults(old: &NodeConfig, new: &NodeConfig) -> Result<(), Refusal> {
    for hardware in new.sim.iter().flat_map(|sim| &sim.radios) {
        let Some(words) = &hardware.refuse else {
            continue;
        };
        let name = &hardware.name;
        let vifs = |config: &NodeConfig| -> Vec<VifConfig> {
            config.wifi.vifs_of(name).cloned().collect()
        };
        if old.wifi.radio(name) != new.wifi.radio(name) || vifs(old) != vifs(new) {
            return Err(Refusal::new(radio_path(name), words.clone()));
        }
    }
    Ok(())
}

fn not_in_hardware(radio: &str) -> Refusal {
    Refusal::new(
        radio_path(radio),
        format!("there is no radio {radio} in the hardware"),
    )
}

#[cfg(test)]
mod tests;
