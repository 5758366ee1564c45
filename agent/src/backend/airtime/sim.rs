//! The airtime scheduler of a simulated node: hands ratios to the law that runs on its radios of a [`Medium`].

use std::sync::Arc;
use std::time::Duration;

use super::{AirtimeBackend, AirtimeReport, Correction, RadioAirtimeState, VifAirtimeState, law};
use crate::backend::sim::{AirtimeTable, Medium, Owed};
use crate::backend::wifi::WifiConfig;
use crate::backend::{
    Applied, Backend, BoxFuture, Cost, NodeConfig, Plan, Ratio, Reconciled, Refusal, Step,
};

const DOMAIN: &str = "airtime";

/// The airtime scheduler of one simulated node.
#[derive(Debug)]
pub struct SimulatedAirtime {
    medium: Arc<Medium>,
    node: String,
}

impl SimulatedAirtime {
    /// The scheduler of `node` on `medium`.
    pub fn new(medium: Arc<Medium>, node: impl Into<String>) -> Self {
        Self {
            medium,
            node: node.into(),
        }
    }

    /// Puts a configuration in force and says what was before. Corrections of interfaces whose ratios stay survive.
    fn carry_out(&self, wifi: &WifiConfig) -> Result<AirtimeTable, Refusal> {
        self.medium.with(&self.node, |node| {
            let before = node.airtime();
            let wanted = merged(&before, wifi);
            node.set_airtime(wanted.clone());
            if node.airtime() == wanted {
                return Ok(before);
            }
            node.set_airtime(before);
            Err(Refusal::new(
                "/tranche-wifi:wifi",
                "the scheduler did not take its settings",
            ))
        })
    }

    fn put_in_force(&self, corrections: &[Correction], lifetime: Duration) -> Result<(), Refusal> {
        self.medium.with(&self.node, |node| {
            let mut table = node.airtime();
            let lifetime_ns = u64::try_from(lifetime.as_nanos()).unwrap_or(u64::MAX / 4);
            let end_ns = node.now_ns() + lifetime_ns;
            for correction in corrections {
                correct_one(&mut table, correction, end_ns)?;
            }
            node.set_airtime(table);
            Ok(())
        })
    }
}

impl Backend for SimulatedAirtime {
    fn domain(&self) -> &'static str {
        DOMAIN
    }

    fn plan(&self, old: &NodeConfig, new: &NodeConfig) -> Result<Plan, Refusal> {
        check(&new.wifi)?;
        Ok(Plan::new(
            DOMAIN,
            steps(&configured(&old.wifi), &new.wifi),
            old,
            new,
        ))
    }

    fn apply(&mut self, plan: Plan) -> BoxFuture<'_, Result<Applied, Refusal>> {
        Box::pin(async move {
            let before = self.carry_out(&plan.new_config().wifi)?;
            Ok(Applied::new(DOMAIN, before))
        })
    }

    fn undo(&mut self, applied: Applied) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(async move {
            let before = applied.into_memory::<AirtimeTable>(DOMAIN)?;
            self.medium
                .with(&self.node, |node| node.set_airtime(before));
            Ok(())
        })
    }

    fn reconcile(&mut self, wanted: &NodeConfig) -> BoxFuture<'_, Result<Reconciled, Refusal>> {
        let wifi = wanted.wifi.clone();
        Box::pin(async move {
            check(&wifi)?;
            let found = self.medium.with(&self.node, |node| node.airtime());
            let repaired = steps(&found, &wifi);
            if !repaired.is_empty() {
                self.carry_out(&wifi)?;
            }
            Ok(Reconciled { repaired })
        })
    }
}

impl AirtimeBackend for SimulatedAirtime {
    fn correct(
        &self,
        corrections: &[Correction],
        lifetime: Duration,
    ) -> BoxFuture<'_, Result<(), Refusal>> {
        let corrections = corrections.to_vec();
        Box::pin(async move { self.put_in_force(&corrections, lifetime) })
    }

    fn report(&self) -> BoxFuture<'_, Result<AirtimeReport, Refusal>> {
        Box::pin(async { Ok(self.medium.with(&self.node, |node| node.report())) })
    }

    fn radios(&self) -> BoxFuture<'_, Result<Vec<RadioAirtimeState>, Refusal>> {
        Box::pin(async { Ok(self.medium.with(&self.node, |node| node.radio_airtime())) })
    }

    fn vifs(&self) -> BoxFuture<'_, Result<Vec<VifAirtimeState>, Refusal>> {
        Box::pin(async { Ok(self.medium.with(&self.node, |node| node.vif_airtime())) })
    }
}

/// The scheduler's table as a configuration has it, without corrections.
fn configured(wifi: &WifiConfig) -> AirtimeTable {
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
fn merged(before: &AirtimeTable, wifi: &WifiConfig) -> AirtimeTable {
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

fn correct_one(
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

fn check(wifi: &WifiConfig) -> Result<(), Refusal> {
    for radio in &wifi.radios {
        let path = format!("/tranche-wifi:wifi/radio[name='{}']", radio.name);
        let count = wifi.vifs_of(&radio.name).count();
        if radio.scheduler.enabled && count > law::MAX_VIFS {
            let message = format!(
                "the scheduler carries at most {} interfaces of a radio, not {count}",
                law::MAX_VIFS
            );
            return Err(Refusal::new(format!("{path}/scheduler"), message));
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

fn steps(old: &AirtimeTable, new: &WifiConfig) -> Vec<Step> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::airtime::suite::{self, AirtimeRig};
    use crate::backend::sim::scenario::{Scenario, node, now_or_never, saturated, vif};

    struct Rig {
        scenario: Scenario,
        airtime: SimulatedAirtime,
    }

    impl Rig {
        fn new() -> Self {
            let scenario = Scenario::new(vec![Self::config()]);
            let airtime = SimulatedAirtime::new(Arc::clone(&scenario.medium), "n0");
            Self { scenario, airtime }
        }

        fn config() -> NodeConfig {
            let vifs = vec![
                vif("t-a", "phy0", 0.0, 100.0),
                vif("t-b", "phy0", 0.0, 100.0),
            ];
            node(
                0,
                vifs,
                vec![saturated(1, "t-a", 24_000), saturated(2, "t-b", 54_000)],
            )
        }
    }

    impl AirtimeRig for Rig {
        fn airtime(&mut self) -> &mut dyn AirtimeBackend {
            &mut self.airtime
        }

        fn two_vifs(&self) -> NodeConfig {
            Self::config()
        }

        async fn pass(&mut self, time: Duration) {
            self.scenario.medium.advance(time);
        }

        fn sent(&mut self, vif: &str) -> Duration {
            let ledger = self.scenario.medium.ledger();
            ledger
                .iter()
                .filter(|entry| entry.vif == vif)
                .map(|entry| entry.sent)
                .sum()
        }
    }

    #[tokio::test]
    async fn simulator_passes_the_suite() {
        suite::run(Rig::new).await;
    }

    #[test]
    fn more_interfaces_than_the_scheduler_carries_are_refused_unless_it_is_off() {
        let medium = Medium::new(crate::backend::sim::MediumParams::default());
        let airtime = SimulatedAirtime::new(medium, "n");
        let names: Vec<String> = (0..33).map(|number| format!("v{number}")).collect();
        let vifs = names
            .iter()
            .map(|name| vif(name, "phy0", 0.0, 100.0))
            .collect();
        let mut config = node(0, vifs, Vec::new());
        let refusal = airtime.plan(&NodeConfig::default(), &config).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "/tranche-wifi:wifi/radio[name='phy0']/scheduler: the scheduler carries at most 32 \
             interfaces of a radio, not 33"
        );
        config.wifi.radios[0].scheduler.enabled = false;
        airtime.plan(&NodeConfig::default(), &config).unwrap();
    }

    #[test]
    fn a_report_is_the_notification_of_the_module() {
        let rig = Rig::new();
        rig.scenario.medium.advance(Duration::from_secs(1));
        let report = now_or_never(rig.airtime.report()).unwrap();
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["sequence"], "1");
        assert_eq!(json["interval"], 1000);
        let radio = &json["radio"][0];
        assert_eq!(
            (&radio["band"], &radio["channel"]),
            (&"5GHz".into(), &36.into())
        );
        let vif = &radio["vif"][0];
        assert_eq!(vif["slice"], "slice-t-a");
        assert_eq!(vif["effective-max-ratio"], "100.0");
        assert_eq!(vif["stations"], 1);
        assert!(
            vif["used-ratio"]
                .as_str()
                .unwrap()
                .parse::<Ratio>()
                .unwrap()
                > Ratio::ZERO
        );
    }
}
