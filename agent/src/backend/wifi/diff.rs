//! What a change of the Wi-Fi configuration takes, step by step: the same words whoever carries it out.
//!
//! Pure; what an implementation has to say about it (who is associated, what an interface takes on without going down)
//! comes in as [`Judge`].

use super::{RadioConfig, VifConfig, WifiConfig};
use crate::backend::{Cost, Step};

/// What only the implementation knows.
pub(super) trait Judge {
    /// How many stations are associated with an interface now.
    fn stations(&self, vif: &str) -> u32;

    /// Whether an interface has to go down and up for this change of it.
    fn restarts(&self, old: &VifConfig, new: &VifConfig) -> bool;

    /// Whether stations come along to the radio's new channel.
    fn takes_along(&self, old: &RadioConfig, new: &RadioConfig) -> bool;
}

/// The steps from `old` to `new`, in the order in which they are taken: removals, radios, interfaces.
pub(super) fn steps(judge: &impl Judge, old: &WifiConfig, new: &WifiConfig) -> Vec<Step> {
    let mut steps = Vec::new();
    if old.country != new.country {
        let action = format!("set the regulatory domain to {}", new.country);
        steps.push(step("/tranche-wifi:wifi/country", action, Cost::Hot));
    }
    for vif in old.vifs.iter().filter(|vif| new.vif(&vif.name).is_none()) {
        let cost = restart_cost(judge, [vif]);
        let action = format!("remove vif {}", vif.name);
        steps.push(step(vif_path(&vif.name), action, cost));
    }
    radio_steps(judge, old, new, &mut steps);
    vif_steps(judge, old, new, &mut steps);
    steps
}

fn radio_steps(judge: &impl Judge, old: &WifiConfig, new: &WifiConfig, steps: &mut Vec<Step>) {
    for radio in old
        .radios
        .iter()
        .filter(|radio| new.radio(&radio.name).is_none())
    {
        let action = format!("take radio {} out of service", radio.name);
        let cost = restart_cost(judge, old.vifs_of(&radio.name));
        steps.push(step(radio_path(&radio.name), action, cost));
    }
    for radio in &new.radios {
        let path = radio_path(&radio.name);
        let channel = format!("{} channel {}, {}", radio.band, radio.channel, radio.width);
        match old.radio(&radio.name) {
            None => {
                let action = format!("put radio {} on {channel}", radio.name);
                steps.push(step(path, action, Cost::Hot));
            }
            Some(before) if tuning(before) != tuning(radio) => {
                let action = match radio.enabled {
                    true => format!("put radio {} on {channel}", radio.name),
                    false => format!("switch radio {} off", radio.name),
                };
                let cost = match judge.takes_along(before, radio) {
                    true => Cost::Hot,
                    false => restart_cost(judge, old.vifs_of(&radio.name)),
                };
                steps.push(step(path, action, cost));
            }
            Some(before) if before.tx_power_dbm != radio.tx_power_dbm => {
                let action = format!("change the power of radio {}", radio.name);
                steps.push(step(path, action, Cost::Hot));
            }
            Some(_) => {}
        }
    }
}

fn vif_steps(judge: &impl Judge, old: &WifiConfig, new: &WifiConfig, steps: &mut Vec<Step>) {
    for vif in &new.vifs {
        let path = vif_path(&vif.name);
        match old.vif(&vif.name) {
            None => {
                let action = format!("create vif {} on radio {}", vif.name, vif.radio);
                steps.push(step(path, action, Cost::Hot));
            }
            Some(before) if judge.restarts(before, vif) => {
                let action = format!("restart vif {}", vif.name);
                steps.push(step(path, action, restart_cost(judge, [before])));
            }
            Some(before) if link(before) != link(vif) => {
                steps.push(step(path, format!("update vif {}", vif.name), Cost::Hot));
            }
            Some(_) => {}
        }
    }
}

fn restart_cost<'a>(judge: &impl Judge, vifs: impl IntoIterator<Item = &'a VifConfig>) -> Cost {
    cost(vifs.into_iter().map(|vif| judge.stations(&vif.name)).sum())
}

/// What it costs that so many stations lose their link.
pub(super) fn cost(stations_dropped: u32) -> Cost {
    match stations_dropped {
        0 => Cost::Hot,
        stations_dropped => Cost::Restart { stations_dropped },
    }
}

/// What of a radio can't be changed while it is on the air.
pub(super) fn tuning(radio: &RadioConfig) -> impl PartialEq + use<> {
    (radio.enabled, radio.band, radio.channel, radio.width)
}

/// A vif without what the airtime domain carries out.
fn link(vif: &VifConfig) -> VifConfig {
    VifConfig {
        airtime: super::AirtimeConfig::default(),
        ..vif.clone()
    }
}

pub(super) fn step(path: impl Into<String>, action: impl Into<String>, cost: Cost) -> Step {
    Step {
        path: path.into(),
        action: action.into(),
        cost,
    }
}

pub(super) fn radio_path(name: &str) -> String {
    format!("/tranche-wifi:wifi/radio[name='{name}']")
}

pub(super) fn vif_path(name: &str) -> String {
    format!("/tranche-wifi:wifi/vif[name='{name}']")
}
