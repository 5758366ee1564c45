//! What a node's airtime domain wants: ratios as configured and as corrected, by name. The same for every implementation.

use std::collections::BTreeMap;

use super::{Correction, law};
use crate::backend::wifi::{AirtimeConfig, SchedulerConfig, WifiConfig};
use crate::backend::{Cost, Ratio, Refusal, Step, Why};

/// What the airtime domain wants of a node, by name and whether or not the interface exists now.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct AirtimeTable {
    pub(crate) vifs: BTreeMap<String, Owed>,
    pub(crate) schedulers: BTreeMap<String, SchedulerConfig>,
}

/// What one interface is owed: configured and corrected.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Owed {
    pub(crate) configured: AirtimeConfig,
    pub(crate) corrected_min: Option<Ratio>,
    /// A ceiling and the time at which it lapses.
    pub(crate) corrected_max: Option<(Ratio, u64)>,
}

impl Owed {
    pub(crate) fn min_ratio(&self) -> Ratio {
        self.corrected_min.unwrap_or(self.configured.min_ratio)
    }

    pub(crate) fn max_ratio(&self) -> Ratio {
        self.corrected_max
            .map_or(self.configured.max_ratio, |(ceiling, _)| ceiling)
    }
}

/// The scheduler's table as a configuration has it, without corrections.
pub(crate) fn configured(wifi: &WifiConfig) -> AirtimeTable {
    let owed = |configured| Owed {
        configured,
        ..Owed::default()
    };
    AirtimeTable {
        vifs: wifi
            .vifs
            .iter()
            .map(|vif| (vif.name.clone(), owed(vif.airtime)))
            .collect(),
        schedulers: wifi
            .radios
            .iter()
            .map(|radio| (radio.name.clone(), radio.scheduler))
            .collect(),
    }
}

/// The configured table with the corrections that are in force for what did not change.
pub(crate) fn merged(before: &AirtimeTable, wifi: &WifiConfig) -> AirtimeTable {
    let mut table = configured(wifi);
    for (name, owed) in &mut table.vifs {
        if let Some(old) = before
            .vifs
            .get(name)
            .filter(|old| old.configured == owed.configured)
        {
            *owed = *old;
        }
    }
    table
}

pub(crate) fn correct_one(
    table: &mut AirtimeTable,
    correction: &Correction,
    end_ns: u64,
) -> Result<(), Refusal> {
    let path = format!(
        "/tranche-wifi:correct-airtime/vif[name='{}']",
        correction.vif
    );
    let Some(owed) = table.vifs.get_mut(&correction.vif) else {
        let message = format!("there is no vif {}", correction.vif);
        return Err(Refusal::new(format!("{path}/name"), message));
    };
    if let Some(min_ratio) = correction.min_ratio {
        owed.corrected_min = Some(min_ratio);
    }
    if let Some(max_ratio) = correction.max_ratio {
        owed.corrected_max = Some((max_ratio, end_ns));
    }
    if correction.max_ratio == Some(Ratio::ZERO) {
        return Err(Refusal::new(
            format!("{path}/max-ratio"),
            "a ceiling of 0 would starve the slice",
        ));
    }
    Ok(())
}

pub(crate) fn check(wifi: &WifiConfig) -> Result<(), Refusal> {
    for radio in &wifi.radios {
        let path = format!("/tranche-wifi:wifi/radio[name='{}']", radio.name);
        let count = wifi.vifs_of(&radio.name).count();
        if radio.scheduler.enabled && count > law::MAX_VIFS {
            let message = format!(
                "the scheduler carries at most {} interfaces of a radio, not {count}",
                law::MAX_VIFS
            );
            let refusal = Refusal::new(format!("{path}/scheduler"), message);
            return Err(refusal.because(Why::NoRoom));
        }
        let enabled = wifi.vifs_of(&radio.name).filter(|vif| vif.enabled);
        let owed: u32 = enabled.map(|vif| vif.airtime.min_ratio.hundredths()).sum();
        if owed > Ratio::FULL.hundredths() {
            let message = format!("the min-ratios on radio {} exceed 100 %", radio.name);
            return Err(Refusal::new(path, message));
        }
    }
    Ok(())
}

pub(crate) fn steps(old: &AirtimeTable, new: &WifiConfig) -> Vec<Step> {
    let hot = |path: String, action: String| Step {
        path,
        action,
        cost: Cost::Hot,
    };
    let mut steps = Vec::new();
    for radio in &new.radios {
        if old.schedulers.get(&radio.name) == Some(&radio.scheduler) {
            continue;
        }
        let action = match radio.scheduler.enabled {
            true => format!("schedule the airtime of radio {}", radio.name),
            false => format!("leave the airtime of radio {} to its driver", radio.name),
        };
        steps.push(hot(
            format!("/tranche-wifi:wifi/radio[name='{}']/scheduler", radio.name),
            action,
        ));
    }
    for vif in &new.vifs {
        let (min, max) = (vif.airtime.min_ratio, vif.airtime.max_ratio);
        if old.vifs.get(&vif.name).map(|owed| owed.configured) != Some(vif.airtime) {
            let path = format!("/tranche-wifi:wifi/vif[name='{}']/airtime", vif.name);
            steps.push(hot(
                path,
                format!("owe vif {} {min} to {max} percent", vif.name),
            ));
        }
    }
    for name in old.vifs.keys().filter(|name| new.vif(name).is_none()) {
        let path = format!("/tranche-wifi:wifi/vif[name='{name}']/airtime");
        steps.push(hot(path, format!("owe vif {name} nothing")));
    }
    steps
}
