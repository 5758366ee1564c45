//! Hardware that cannot be used: what would need it is refused with the reason, everything else goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::broadcast;

use super::airtime::{
    AirtimeBackend, AirtimeReport, Correction, RadioAirtimeState, VifAirtimeState,
};
use super::backhaul::{
    BackhaulBackend, Event, OwnKeyState, ProbeRequest, ProbeResult, TunnelState,
};
use super::steering::{self, SteeringBackend, SteeringState};
use super::wifi::{RadioState, VifState, WifiBackend};
use super::{Applied, Backend, BoxFuture, NodeConfig, Plan, Reconciled, Refusal, Why};

/// The Wi-Fi domain of a machine whose radios cannot be used.
#[derive(Debug, Clone)]
pub struct AbsentWifi {
    reason: Arc<str>,
}

impl AbsentWifi {
    /// `reason` is one sentence for who configures a radio: lower case, no full stop.
    #[must_use]
    pub fn new(reason: &str) -> Self {
        Self {
            reason: reason.into(),
        }
    }

    /// Any radio or interface is more than there is.
    fn check(&self, config: &NodeConfig) -> Result<(), Refusal> {
        let radio = config.wifi.radios.first();
        let vif = config.wifi.vifs.first();
        let path = match (radio, vif) {
            (Some(radio), _) => format!("/tranche-wifi:wifi/radio[name='{}']", radio.name),
            (None, Some(vif)) => format!("/tranche-wifi:wifi/vif[name='{}']", vif.name),
            (None, None) => return Ok(()),
        };
        Err(Refusal::new(path, &*self.reason))
    }
}

/// The backhaul domain of a machine that cannot make tunnels.
#[derive(Debug, Clone)]
pub struct AbsentBackhaul {
    reason: Arc<str>,
    events: broadcast::Sender<Event>,
}

impl AbsentBackhaul {
    /// `reason` is one sentence for who configures a tunnel: lower case, no full stop.
    #[must_use]
    pub fn new(reason: &str) -> Self {
        Self {
            reason: reason.into(),
            events: broadcast::Sender::new(1),
        }
    }

    fn check(&self, config: &NodeConfig) -> Result<(), Refusal> {
        match config.backhaul.tunnels.first() {
            None => Ok(()),
            Some(tunnel) => Err(self.refusal(&tunnel.slice)),
        }
    }

    fn refusal(&self, slice: &str) -> Refusal {
        let path = format!("/tranche-backhaul:backhaul/tunnel[slice='{slice}']");
        Refusal::new(path, &*self.reason).because(Why::Unsupported)
    }

    fn refuse<T: Send>(&self, slice: &str) -> BoxFuture<'static, Result<T, Refusal>> {
        let refusal = self.refusal(slice);
        Box::pin(async { Err(refusal) })
    }
}

/// The steering domain of a machine whose kernel does not take the program.
#[derive(Debug, Clone)]
pub struct AbsentSteering {
    reason: Arc<str>,
    events: broadcast::Sender<steering::Event>,
}

impl AbsentSteering {
    /// `reason` is one sentence for who configures a port or a rule: lower case, no full stop.
    #[must_use]
    pub fn new(reason: &str) -> Self {
        Self {
            reason: reason.into(),
            events: broadcast::Sender::new(1),
        }
    }

    fn check(&self, config: &NodeConfig) -> Result<(), Refusal> {
        match config.steering.is_nothing() {
            true => Ok(()),
            false => {
                Err(Refusal::new("/tranche-steering:steering", &*self.reason)
                    .because(Why::Unsupported))
            }
        }
    }
}

/// The airtime domain of a machine whose airtime cannot be scheduled, or where nobody wants it to be.
#[derive(Debug, Clone)]
pub struct AbsentAirtime {
    reason: Arc<str>,
    sequence: Arc<AtomicU64>,
    start: Instant,
    /// End of the last reporting period, in milliseconds since the start.
    reported_ms: Arc<AtomicU64>,
}

impl AbsentAirtime {
    /// `reason` is one sentence for who wants airtime scheduled: lower case, no full stop.
    #[must_use]
    pub fn new(reason: &str) -> Self {
        Self {
            reason: reason.into(),
            sequence: Arc::default(),
            start: Instant::now(),
            reported_ms: Arc::default(),
        }
    }

    /// Nothing can be scheduled, so a scheduler that is on, as it is by default, must be switched off.
    fn check(&self, config: &NodeConfig) -> Result<(), Refusal> {
        let scheduled = config.wifi.radios.iter().find(|radio| {
            radio.scheduler.enabled && config.wifi.vifs_of(&radio.name).next().is_some()
        });
        match scheduled {
            None => Ok(()),
            Some(radio) => Err(Refusal::new(
                format!(
                    "/tranche-wifi:wifi/radio[name='{}']/scheduler/enabled",
                    radio.name
                ),
                format!(
                    "{}: only a radio whose scheduler is switched off can carry interfaces",
                    self.reason
                ),
            )),
        }
    }
}

/// The part of [`Backend`] that is the same for all: nothing is ever done.
macro_rules! backend {
    ($of:ty, $domain:literal) => {
        impl Backend for $of {
            fn domain(&self) -> &'static str {
                $domain
            }

            fn plan(&self, old: &NodeConfig, new: &NodeConfig) -> Result<Plan, Refusal> {
                self.check(new)?;
                Ok(Plan::new($domain, Vec::new(), old, new))
            }

            fn apply(&mut self, _: Plan) -> BoxFuture<'_, Result<Applied, Refusal>> {
                Box::pin(async { Ok(Applied::new($domain, ())) })
            }

            fn undo(&mut self, _: Applied) -> BoxFuture<'_, Result<(), Refusal>> {
                Box::pin(async { Ok(()) })
            }

            fn reconcile(
                &mut self,
                wanted: &NodeConfig,
            ) -> BoxFuture<'_, Result<Reconciled, Refusal>> {
                let possible = self.check(wanted);
                Box::pin(async { possible.map(|()| Reconciled::default()) })
            }
        }
    };
}

backend!(AbsentWifi, "wifi");
backend!(AbsentAirtime, "airtime");
backend!(AbsentBackhaul, "backhaul");
backend!(AbsentSteering, "steering");

impl SteeringBackend for AbsentSteering {
    fn observe(&self) -> BoxFuture<'_, Result<SteeringState, Refusal>> {
        Box::pin(async { Ok(SteeringState::default()) })
    }

    fn events(&self) -> broadcast::Receiver<steering::Event> {
        self.events.subscribe()
    }
}

impl BackhaulBackend for AbsentBackhaul {
    fn tunnels(&self) -> BoxFuture<'_, Result<Vec<TunnelState>, Refusal>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn rotate_key<'a>(
        &'a self,
        slice: &'a str,
        _: Option<u16>,
    ) -> BoxFuture<'a, Result<OwnKeyState, Refusal>> {
        self.refuse(slice)
    }

    fn complete_rotation<'a>(
        &'a self,
        slice: &'a str,
    ) -> BoxFuture<'a, Result<OwnKeyState, Refusal>> {
        self.refuse(slice)
    }

    fn cancel_rotation<'a>(&'a self, slice: &'a str) -> BoxFuture<'a, Result<(), Refusal>> {
        self.refuse(slice)
    }

    fn switch_over<'a>(
        &'a self,
        slice: &'a str,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Option<String>, Refusal>> {
        self.refuse(slice)
    }

    fn probe_now<'a>(
        &'a self,
        slice: &'a str,
        _: ProbeRequest,
    ) -> BoxFuture<'a, Result<Vec<ProbeResult>, Refusal>> {
        self.refuse(slice)
    }

    fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }
}

impl WifiBackend for AbsentWifi {
    fn radios(&self) -> BoxFuture<'_, Result<Vec<RadioState>, Refusal>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn vifs(&self) -> BoxFuture<'_, Result<Vec<VifState>, Refusal>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

impl AirtimeBackend for AbsentAirtime {
    fn correct(&self, _: &[Correction], _: Duration) -> BoxFuture<'_, Result<(), Refusal>> {
        let refusal = Refusal::new("/tranche-wifi:correct-airtime", &*self.reason);
        Box::pin(async { Err(refusal) })
    }

    fn report(&self) -> BoxFuture<'_, Result<AirtimeReport, Refusal>> {
        let now_ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let interval_ms = now_ms - self.reported_ms.swap(now_ms, Ordering::Relaxed).min(now_ms);
        let report = AirtimeReport {
            sequence: self.sequence.fetch_add(1, Ordering::Relaxed) + 1,
            interval_ms: u32::try_from(interval_ms).unwrap_or(u32::MAX),
            radios: Vec::new(),
        };
        Box::pin(async { Ok(report) })
    }

    fn radios(&self) -> BoxFuture<'_, Result<Vec<RadioAirtimeState>, Refusal>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn vifs(&self) -> BoxFuture<'_, Result<Vec<VifAirtimeState>, Refusal>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::sim::scenario::{node, vif};

    #[tokio::test]
    async fn what_is_not_there_is_refused_and_the_rest_goes_on() {
        let nothing = NodeConfig::default();
        let wanted = node(0, vec![vif("a", "phy0", 0.0, 100.0)], Vec::new());
        let mut wifi = AbsentWifi::new("this kernel has no nl80211");
        assert!(wifi.plan(&wanted, &nothing).unwrap().steps().is_empty());
        let refusal = wifi.plan(&nothing, &wanted).unwrap_err();
        assert_eq!(refusal.message, "this kernel has no nl80211");
        assert_eq!(refusal.path, "/tranche-wifi:wifi/radio[name='phy0']");
        assert_eq!(wifi.reconcile(&wanted).await, Err(refusal));

        let airtime = AbsentAirtime::new("no BPF");
        let refusal = airtime.plan(&nothing, &wanted).unwrap_err();
        assert!(refusal.path.ends_with("/scheduler/enabled"), "{refusal}");
        let mut unscheduled = wanted;
        unscheduled.wifi.radios[0].scheduler.enabled = false;
        airtime.plan(&nothing, &unscheduled).unwrap();
        assert_eq!(airtime.report().await.unwrap().sequence, 1);
        assert_eq!(airtime.clone().report().await.unwrap().sequence, 2);
    }
}
