//! Airtime by mac80211's own fairness: a weight for every station, where the driver schedules at dequeue.
//!
//! Keeps aggregation whole, since packets wait in the driver's queues and not above them. It knows neither ceilings nor
//! guarantees of less than a station: a vif's weight is divided among its stations, and a ceiling is refused.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{Mutex, broadcast::error::RecvError};
use tokio_util::task::AbortOnDropHandle;

use super::hardware::{self, Hardware};
use super::period::{Periods, Snapshot};
use super::table::{AirtimeTable, check, configured, correct_one, merged, steps};
use super::{AirtimeBackend, AirtimeReport, Correction, RadioAirtimeState, VifAirtimeState, law};
use crate::backend::wifi::WifiConfig;
use crate::backend::wifi::nl80211::{Event, Nl80211, Station, Wiphy};
use crate::backend::{
    Applied, Backend, BoxFuture, MacAddress, NodeConfig, Plan, Ratio, Reconciled, Refusal,
};

const DOMAIN: &str = "airtime";
const NAME: &str = "mac80211";
const WIFI: &str = "/tranche-wifi:wifi";
/// What mac80211 gives every station to begin with.
const USUAL_WEIGHT: u64 = 256;

/// The airtime scheduler of a node whose drivers have airtime fairness. Clones are handles of the same.
#[derive(Debug, Clone)]
pub struct Mac80211Airtime {
    inner: Arc<Inner>,
    _watch: Arc<AbortOnDropHandle<()>>,
}

#[derive(Debug)]
struct Inner {
    nl80211: Nl80211,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    table: AirtimeTable,
    wifi: WifiConfig,
    hardware: Hardware,
    periods: Periods,
}

/// A weight to give to a station.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Order {
    ifindex: u32,
    station: MacAddress,
    weight: u16,
}

/// A vif that is there, with what it is owed and who is associated.
struct Tenant {
    ifindex: u32,
    min_ratio: Ratio,
    stations: Vec<Station>,
}

impl Mac80211Airtime {
    /// The scheduler of this machine's radios. Needs a runtime.
    #[must_use]
    pub fn new(nl80211: Nl80211) -> Self {
        let state = State {
            table: AirtimeTable::default(),
            wifi: WifiConfig::default(),
            hardware: Hardware::new(nl80211.clone()),
            periods: Periods::new(),
        };
        let events = nl80211.events();
        let inner = Arc::new(Inner {
            nl80211,
            state: Mutex::new(state),
        });
        let watch = tokio::spawn(watch(Arc::downgrade(&inner), events));
        Self {
            inner,
            _watch: Arc::new(AbortOnDropHandle::new(watch)),
        }
    }

    async fn carry_out(&self, wifi: &WifiConfig) -> Result<(AirtimeTable, WifiConfig), Refusal> {
        let mut state = self.inner.state.lock().await;
        let before = (state.table.clone(), state.wifi.clone());
        state.table = merged(&before.0, wifi);
        state.wifi = wifi.clone();
        let Err(refusal) = self.inner.sync(&state).await else {
            return Ok(before);
        };
        (state.table, state.wifi) = before;
        if let Err(again) = self.inner.sync(&state).await {
            tracing::error!(%again, "airtime weights are not as they were before a change that failed");
        }
        Err(refusal)
    }
}

impl Inner {
    /// Gives every station the weight that its vif's part makes of it, and reads the weights back.
    async fn sync(&self, state: &State) -> Result<(), Refusal> {
        let interfaces = hardware::interfaces(&self.nl80211).await?;
        for radio in state.wifi.radios.iter().filter(|radio| radio.enabled) {
            let mut tenants = Vec::new();
            for vif in state.wifi.vifs_of(&radio.name).filter(|vif| vif.enabled) {
                let found = interfaces
                    .iter()
                    .find(|(one, wiphy)| one.name == vif.name && *wiphy == radio.name);
                let Some((interface, _)) = found else {
                    continue;
                };
                let owed = state.table.vifs.get(&vif.name).copied().unwrap_or_default();
                let stations = self.stations(interface.ifindex).await?;
                tenants.push(Tenant {
                    ifindex: interface.ifindex,
                    min_ratio: owed.min_ratio(),
                    stations,
                });
            }
            for order in orders(&tenants, radio.scheduler.enabled) {
                self.carry_out(order).await?;
            }
        }
        Ok(())
    }

    async fn carry_out(&self, order: Order) -> Result<(), Refusal> {
        match self
            .nl80211
            .set_airtime_weight(order.ifindex, order.station, order.weight)
            .await
        {
            // It left meanwhile.
            Err(error) if error.is_not_found() => return Ok(()),
            done => done.map_err(hardware::unreadable)?,
        }
        let stations = self.stations(order.ifindex).await?;
        match stations.iter().find(|station| station.mac == order.station) {
            Some(station) if station.airtime_weight != Some(order.weight) => Err(Refusal::new(
                WIFI,
                format!("station {} did not take its airtime weight", order.station),
            )),
            _ => Ok(()),
        }
    }

    async fn stations(&self, ifindex: u32) -> Result<Vec<Station>, Refusal> {
        match self.nl80211.stations(ifindex).await {
            Err(error) if error.is_not_found() => Ok(Vec::new()),
            stations => stations.map_err(hardware::unreadable),
        }
    }
}

impl Backend for Mac80211Airtime {
    fn domain(&self) -> &'static str {
        DOMAIN
    }

    fn plan(&self, old: &NodeConfig, new: &NodeConfig) -> Result<Plan, Refusal> {
        check(&new.wifi)?;
        check_hardware(&new.wifi, &self.inner.nl80211.known_wiphys())?;
        Ok(Plan::new(
            DOMAIN,
            steps(&configured(&old.wifi), &new.wifi),
            old,
            new,
        ))
    }

    fn apply(&mut self, plan: Plan) -> BoxFuture<'_, Result<Applied, Refusal>> {
        Box::pin(async move {
            let before = self.carry_out(&plan.new_config().wifi).await?;
            Ok(Applied::new(DOMAIN, before))
        })
    }

    fn undo(&mut self, applied: Applied) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(async move {
            let before = applied.into_memory::<(AirtimeTable, WifiConfig)>(DOMAIN)?;
            let mut state = self.inner.state.lock().await;
            (state.table, state.wifi) = before;
            self.inner.sync(&state).await
        })
    }

    fn reconcile(&mut self, wanted: &NodeConfig) -> BoxFuture<'_, Result<Reconciled, Refusal>> {
        let wifi = wanted.wifi.clone();
        Box::pin(async move {
            check(&wifi)?;
            check_hardware(&wifi, &self.inner.nl80211.known_wiphys())?;
            let found = self.inner.state.lock().await.table.clone();
            let repaired = steps(&found, &wifi);
            self.carry_out(&wifi).await?;
            Ok(Reconciled { repaired })
        })
    }
}

impl AirtimeBackend for Mac80211Airtime {
    fn correct(
        &self,
        corrections: &[Correction],
        _lifetime: Duration,
    ) -> BoxFuture<'_, Result<(), Refusal>> {
        let corrections = corrections.to_vec();
        Box::pin(async move {
            let mut state = self.inner.state.lock().await;
            let mut table = state.table.clone();
            for correction in &corrections {
                if correction
                    .max_ratio
                    .is_some_and(|ceiling| ceiling < Ratio::FULL)
                {
                    let path = format!(
                        "/tranche-wifi:correct-airtime/vif[name='{}']/max-ratio",
                        correction.vif
                    );
                    return Err(Refusal::new(path, NO_CEILINGS));
                }
                // A ceiling of 100 % takes away what there never is.
                let minimum = Correction {
                    max_ratio: None,
                    ..correction.clone()
                };
                correct_one(&mut table, &minimum, 0)?;
            }
            let before = std::mem::replace(&mut state.table, table);
            let Err(refusal) = self.inner.sync(&state).await else {
                return Ok(());
            };
            state.table = before;
            Err(refusal)
        })
    }

    fn report(&self) -> BoxFuture<'_, Result<AirtimeReport, Refusal>> {
        Box::pin(async {
            let mut state = self.inner.state.lock().await;
            let State {
                table,
                wifi,
                hardware,
                periods,
            } = &mut *state;
            let (report, _) = periods
                .close(hardware, wifi, table, Snapshot::default())
                .await?;
            Ok(report)
        })
    }

    fn radios(&self) -> BoxFuture<'_, Result<Vec<RadioAirtimeState>, Refusal>> {
        Box::pin(async { Ok(self.inner.state.lock().await.periods.radios(NAME)) })
    }

    fn vifs(&self) -> BoxFuture<'_, Result<Vec<VifAirtimeState>, Refusal>> {
        Box::pin(async {
            let state = self.inner.state.lock().await;
            Ok(state.periods.vifs(&state.table))
        })
    }
}

const NO_CEILINGS: &str =
    "the airtime fairness of mac80211 knows no ceiling: use the bpf scheduler";

/// Every scheduled radio needs a driver with airtime fairness, and nobody may want a ceiling.
fn check_hardware(wifi: &WifiConfig, wiphys: &[Wiphy]) -> Result<(), Refusal> {
    for radio in wifi
        .radios
        .iter()
        .filter(|radio| radio.enabled && radio.scheduler.enabled)
    {
        let wiphy = wiphys.iter().find(|wiphy| wiphy.name == radio.name);
        if !wiphy.is_some_and(|wiphy| wiphy.airtime_fairness) {
            let path = format!("{WIFI}/radio[name='{}']/scheduler", radio.name);
            let message = format!(
                "the driver of radio {} has no airtime fairness: use the bpf scheduler",
                radio.name
            );
            return Err(Refusal::new(path, message));
        }
        if let Some(vif) = wifi
            .vifs_of(&radio.name)
            .find(|vif| vif.airtime.max_ratio < Ratio::FULL)
        {
            let path = format!("{WIFI}/vif[name='{}']/airtime/max-ratio", vif.name);
            return Err(Refusal::new(path, NO_CEILINGS));
        }
    }
    Ok(())
}

/// The weights that the stations of a radio have not yet. Where nothing is scheduled all have the usual one.
fn orders(tenants: &[Tenant], scheduled: bool) -> Vec<Order> {
    let ratios: Vec<Ratio> = tenants.iter().map(|tenant| tenant.min_ratio).collect();
    let stations: u64 = tenants
        .iter()
        .map(|tenant| tenant.stations.len() as u64)
        .sum();
    let weights = law::weights(&ratios);
    let all: u64 = tenants
        .iter()
        .zip(&weights)
        .filter(|(tenant, _)| !tenant.stations.is_empty())
        .map(|(_, weight)| u64::from(*weight))
        .sum();
    let mut orders = Vec::new();
    for (tenant, weight) in tenants.iter().zip(weights) {
        // In the mean a station has the usual weight.
        let count = tenant.stations.len() as u64;
        let weight = match scheduled {
            true => USUAL_WEIGHT * u64::from(weight) * stations / (all * count).max(1),
            false => USUAL_WEIGHT,
        };
        let weight = u16::try_from(weight.max(1)).unwrap_or(u16::MAX);
        let changed = tenant
            .stations
            .iter()
            .filter(|station| station.airtime_weight != Some(weight));
        orders.extend(changed.map(|station| Order {
            ifindex: tenant.ifindex,
            station: station.mac,
            weight,
        }));
    }
    orders
}

/// Weights follow the stations that come and go.
async fn watch(inner: Weak<Inner>, mut events: tokio::sync::broadcast::Receiver<Event>) {
    loop {
        match events.recv().await {
            Ok(Event::StationAdded { .. } | Event::StationRemoved { .. } | Event::Missed)
            | Err(RecvError::Lagged(_)) => {}
            Ok(_) => continue,
            Err(RecvError::Closed) => return,
        }
        let Some(inner) = inner.upgrade() else { return };
        let state = inner.state.lock().await;
        if let Err(refusal) = inner.sync(&state).await {
            tracing::warn!(%refusal, "a station has not the airtime weight that it should have");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::sim::scenario::percent;

    fn tenant(ifindex: u32, min_ratio: f64, stations: &[(u8, Option<u16>)]) -> Tenant {
        let station = |(number, airtime_weight): &(u8, Option<u16>)| Station {
            mac: MacAddress([2, 0, 0, 0, 0, *number]),
            airtime_weight: *airtime_weight,
            ..Station::default()
        };
        Tenant {
            ifindex,
            min_ratio: percent(min_ratio),
            stations: stations.iter().map(station).collect(),
        }
    }

    fn sent(tenants: &[Tenant], scheduled: bool) -> Vec<(u32, u8, u16)> {
        let order = |order: &Order| (order.ifindex, order.station.0[5], order.weight);
        orders(tenants, scheduled).iter().map(order).collect()
    }

    #[test]
    fn the_part_of_a_vif_is_divided_among_its_stations() {
        let tenants = [
            tenant(7, 30.0, &[(1, Some(256)), (2, Some(256))]),
            tenant(8, 70.0, &[(3, Some(256))]),
        ];
        let sent = sent(&tenants, true);
        assert_eq!(sent, [(7, 1, 115), (7, 2, 115), (8, 3, 537)]);
        // In sum what three stations have to begin with.
        assert!((115 + 115 + 537_i32 - 768).abs() < 3);
    }

    #[test]
    fn only_what_differs_is_sent() {
        let tenants = [
            tenant(7, 50.0, &[(1, Some(256))]),
            tenant(8, 50.0, &[(2, Some(100))]),
        ];
        assert_eq!(sent(&tenants, true), [(8, 2, 256)]);
    }

    #[test]
    fn a_vif_without_stations_leaves_its_part_to_the_others() {
        let tenants = [tenant(7, 90.0, &[]), tenant(8, 10.0, &[(2, None)])];
        assert_eq!(sent(&tenants, true), [(8, 2, 256)]);
    }

    #[test]
    fn without_a_scheduler_all_have_the_usual_weight() {
        let tenants = [
            tenant(7, 90.0, &[(1, Some(500))]),
            tenant(8, 10.0, &[(2, Some(256))]),
        ];
        assert_eq!(sent(&tenants, false), [(7, 1, 256)]);
    }

    #[test]
    fn extremes_stay_weights() {
        let tenants = [tenant(7, 100.0, &[(1, None)]), tenant(8, 0.0, &[(2, None)])];
        assert_eq!(sent(&tenants, true), [(7, 1, 511), (8, 2, 1)]);
    }
}
