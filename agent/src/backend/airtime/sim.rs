//! The airtime scheduler of a simulated node: hands ratios to the law that runs on its radios of a [`Medium`].

use std::sync::Arc;
use std::time::Duration;

use super::table::{AirtimeTable, check, configured, correct_one, merged, steps};
use super::{AirtimeBackend, AirtimeReport, Correction, RadioAirtimeState, VifAirtimeState};
use crate::backend::sim::Medium;
use crate::backend::wifi::WifiConfig;
use crate::backend::{Applied, Backend, BoxFuture, NodeConfig, Plan, Reconciled, Refusal};

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Ratio;
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
