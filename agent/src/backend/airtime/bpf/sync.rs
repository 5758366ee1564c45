//! Makes the kernel what the table wants: places in the maps, settings, and the program at each vif.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use super::kernel::{self, Kernel, KernelStation, Place, Settings, VifSettings};
use super::{Inner, State, attach, lapse, now_ns, refusal};
use crate::backend::airtime::hardware::{self, StationPeriod};
use crate::backend::airtime::period::{Counted, Snapshot};
use crate::backend::airtime::table::{AirtimeTable, Owed};
use crate::backend::airtime::{Measurement, MeasurementSource, law};
use crate::backend::wifi::nl80211::Interface;
use crate::backend::wifi::{
    AirtimeConfig, Band, RadioConfig, Role, SchedulerConfig, SecurityMode, VifConfig,
};
use crate::backend::{Cost, Ratio, Refusal, Step};

/// Bytes that 802.11 adds to an Ethernet frame: header with QoS, LLC/SNAP and frame check sequence less the Ethernet header.
const DATA_HEADER_BYTES: u32 = 26 + 8 + 4 - 14;
/// Header and message integrity code of CCMP; GCMP has as much.
const CIPHER_BYTES: u32 = 16;
/// Fourth address and mesh control.
const MESH_BYTES: u32 = 6 + 6;

/// A vif that is there and to be scheduled.
struct Scheduled<'a> {
    ifindex: u32,
    vif: &'a VifConfig,
    radio: &'a RadioConfig,
}

impl Inner {
    /// Schedules what is there and should be, and nothing else.
    pub(super) async fn sync(&self, state: &mut State) -> Result<(), Refusal> {
        self.sync_counting(state).await.map(drop)
    }

    /// As [`Inner::sync`]; says which vifs had not been scheduled before.
    pub(super) async fn sync_counting(&self, state: &mut State) -> Result<Vec<String>, Refusal> {
        lapse(&mut state.table);
        let interfaces = hardware::interfaces(&self.nl80211).await?;
        let wifi = state.wifi.clone();
        let scheduled: Vec<Scheduled<'_>> = wifi
            .vifs
            .iter()
            .filter_map(|vif| {
                let radio = wifi
                    .radio(&vif.radio)
                    .filter(|radio| radio.enabled && radio.scheduler.enabled && vif.enabled)?;
                let (interface, _) = interfaces
                    .iter()
                    .find(|(one, wiphy)| one.name == vif.name && *wiphy == radio.name)?;
                Some(Scheduled {
                    ifindex: interface.ifindex,
                    vif,
                    radio,
                })
            })
            .collect();
        if scheduled.is_empty() {
            self.unload(state, &interfaces).await?;
            return Ok(Vec::new());
        }
        let kernel = self.kernel(state).await?;
        self.remove_strays(&kernel, &scheduled, &interfaces).await?;
        let places = self
            .settle(&kernel, &scheduled, &state.table)
            .map_err(refusal)?;
        let mut fresh = Vec::new();
        for (one, place) in scheduled.iter().zip(places) {
            let path = || format!("{}/vif[name='{}']/airtime", super::WIFI, one.vif.name);
            let is_known = kernel
                .places()
                .map_err(refusal)?
                .contains(&(one.ifindex, place));
            if is_known
                && attach::is_attached(&self.rtnetlink, one.ifindex, kernel.egress())
                    .await
                    .map_err(refusal)?
            {
                continue;
            }
            fresh.push(one.vif.name.clone());
            kernel.set_place(one.ifindex, place).map_err(refusal)?;
            if let Err(why) = attach::attach(&self.rtnetlink, one.ifindex, kernel.egress()).await {
                // It may have gone meanwhile; its removal is an event of its own.
                let gone = self
                    .nl80211
                    .interface(&one.vif.name)
                    .await
                    .is_ok_and(|found| found.is_none());
                if !gone {
                    return Err(Refusal::new(path(), why));
                }
            }
        }
        Ok(fresh)
    }

    /// The program, loaded if it is not yet.
    async fn kernel(&self, state: &mut State) -> Result<Arc<Kernel>, Refusal> {
        if let Some(kernel) = &state.kernel {
            return Ok(Arc::clone(kernel));
        }
        let node = self.node.clone();
        let loaded = tokio::task::spawn_blocking(move || match Kernel::adopt(&node) {
            Some(kernel) => Ok(kernel),
            None => Kernel::load(&node),
        });
        let loaded = loaded.await.map_err(|error| refusal(error.to_string()))?;
        let kernel = Arc::new(loaded.map_err(refusal)?);
        state.kernel = Some(Arc::clone(&kernel));
        Ok(kernel)
    }

    /// With nothing to schedule nothing stays in the kernel.
    async fn unload(
        &self,
        state: &mut State,
        interfaces: &[(Interface, String)],
    ) -> Result<(), Refusal> {
        let kernel = state
            .kernel
            .take()
            .or_else(|| Kernel::adopt(&self.node).map(Arc::new));
        let Some(kernel) = kernel else {
            return kernel::remove_node(&self.node)
                .map_err(|error| refusal(format!("cannot remove the scheduler's pins: {error}")));
        };
        self.remove_strays(&kernel, &[], interfaces).await?;
        drop(kernel);
        kernel::remove_node(&self.node)
            .map_err(|error| refusal(format!("cannot remove the scheduler's pins: {error}")))
    }

    /// Takes the program off what it should not be at.
    async fn remove_strays(
        &self,
        kernel: &Kernel,
        scheduled: &[Scheduled<'_>],
        interfaces: &[(Interface, String)],
    ) -> Result<(), Refusal> {
        for (ifindex, _) in kernel.places().map_err(refusal)? {
            if scheduled.iter().any(|one| one.ifindex == ifindex) {
                continue;
            }
            if interfaces
                .iter()
                .any(|(interface, _)| interface.ifindex == ifindex)
            {
                attach::detach(&self.rtnetlink, ifindex, kernel.egress())
                    .await
                    .map_err(refusal)?;
            }
            kernel.remove_place(ifindex).map_err(refusal)?;
            kernel.forget_stations(ifindex).map_err(refusal)?;
        }
        Ok(())
    }

    /// Gives every vif a place, the one that it has if it has one, and writes the settings of all radios.
    fn settle(
        &self,
        kernel: &Kernel,
        scheduled: &[Scheduled<'_>],
        table: &AirtimeTable,
    ) -> Result<Vec<Place>, String> {
        let held: BTreeMap<u32, Place> = kernel.places()?.into_iter().collect();
        let mut radios: BTreeMap<&str, u32> = BTreeMap::new();
        for one in scheduled {
            if let Some(place) = held.get(&one.ifindex) {
                radios.entry(&one.radio.name).or_insert(place.radio);
            }
        }
        for one in scheduled {
            if !radios.contains_key(one.radio.name.as_str()) {
                let free = (0..kernel::RADIOS)
                    .find(|position| radios.values().all(|taken| taken != position));
                let position = free.ok_or_else(|| {
                    format!("the scheduler carries at most {} radios", kernel::RADIOS)
                })?;
                radios.insert(&one.radio.name, position);
            }
        }
        let mut places = Vec::new();
        for (index, one) in scheduled.iter().enumerate() {
            let radio = radios
                .get(one.radio.name.as_str())
                .copied()
                .unwrap_or_default();
            let kept = |of: &Scheduled<'_>| {
                held.get(&of.ifindex)
                    .filter(|place| radios.get(of.radio.name.as_str()) == Some(&place.radio))
                    .map(|place| (place.radio, place.slot))
            };
            let slot = match kept(one) {
                Some((_, slot)) => slot,
                None => (0..law::MAX_VIFS as u32)
                    .find(|slot| {
                        let later = scheduled
                            .iter()
                            .skip(index + 1)
                            .any(|other| kept(other) == Some((radio, *slot)));
                        let earlier = places
                            .iter()
                            .any(|place: &Place| (place.radio, place.slot) == (radio, *slot));
                        !later && !earlier
                    })
                    .ok_or("no place for another interface")?,
            };
            places.push(Place {
                radio,
                slot,
                netns: self.netns,
                extra_bytes: extra_bytes(one.vif),
            });
        }
        for (name, position) in &radios {
            self.write_settings(kernel, name, *position, scheduled, &places, &held, table)?;
        }
        Ok(places)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one step of settle, with its working data"
    )]
    fn write_settings(
        &self,
        kernel: &Kernel,
        name: &str,
        position: u32,
        scheduled: &[Scheduled<'_>],
        places: &[Place],
        held: &BTreeMap<u32, Place>,
        table: &AirtimeTable,
    ) -> Result<(), String> {
        let before = kernel.settings(position)?;
        // Another number whenever something begins anew.
        let epoch = (now_ns() / 1_000_000) as u32;
        let of_radio: Vec<(&Scheduled<'_>, &Place)> = scheduled
            .iter()
            .zip(places)
            .filter(|(one, _)| one.radio.name == name)
            .collect();
        let Some((first, _)) = of_radio.first() else {
            return Ok(());
        };
        let owed = |one: &Scheduled<'_>| table.vifs.get(&one.vif.name).copied().unwrap_or_default();
        let ratios: Vec<Ratio> = of_radio
            .iter()
            .map(|(one, _)| owed(one).min_ratio())
            .collect();
        let mut vifs = Vec::new();
        for ((one, place), weight) in of_radio.iter().zip(law::weights(&ratios)) {
            let slot = place.slot as usize;
            if vifs.len() <= slot {
                vifs.resize(slot + 1, VifSettings::default());
            }
            let stays = held
                .get(&one.ifindex)
                .is_some_and(|old| (old.radio, old.slot) == (position, place.slot));
            let old = before.vifs.get(slot).filter(|_| stays);
            if let Some(entry) = vifs.get_mut(slot) {
                *entry = vif_settings(owed(one), weight, old.map_or(epoch, |old| old.epoch));
            }
        }
        let is_new = held.values().all(|place| place.radio != position);
        let settings = settings(
            first.radio,
            self.frame_overhead_ns,
            if is_new { epoch } else { before.epoch },
            vifs,
        );
        if settings == before {
            return Ok(());
        }
        kernel.set_settings(position, &settings)
    }

    /// What the program in the kernel was told before this agent was started: nothing, if there is none.
    pub(super) async fn recover(&self, state: &mut State) -> Result<AirtimeTable, Refusal> {
        if state.kernel.is_none() {
            state.kernel = Kernel::adopt(&self.node).map(Arc::new);
        }
        let Some(kernel) = &state.kernel else {
            return Ok(AirtimeTable::default());
        };
        let interfaces = hardware::interfaces(&self.nl80211).await?;
        let now = now_ns();
        let mut table = AirtimeTable::default();
        for (ifindex, place) in kernel.places().map_err(refusal)? {
            let Some((interface, wiphy)) =
                interfaces.iter().find(|(one, _)| one.ifindex == ifindex)
            else {
                continue;
            };
            let settings = kernel.settings(place.radio).map_err(refusal)?;
            let Some(vif) = settings.vifs.get(place.slot as usize) else {
                continue;
            };
            table.vifs.insert(interface.name.clone(), owed_of(vif, now));
            table.schedulers.insert(
                wiphy.clone(),
                SchedulerConfig {
                    enabled: true,
                    interval_ms: (settings.interval_ns / 1_000_000) as u16,
                    max_delay_ms: (settings.horizon_ns / 1_000_000) as u16,
                },
            );
        }
        Ok(table)
    }

    /// What the program counted of each vif.
    pub(super) async fn snapshot(&self, state: &State) -> Result<Snapshot, Refusal> {
        let Some(kernel) = &state.kernel else {
            return Ok(Snapshot::default());
        };
        let interfaces = hardware::interfaces(&self.nl80211).await?;
        read_snapshot(kernel, &interfaces).map_err(refusal)
    }
}

fn read_snapshot(kernel: &Kernel, interfaces: &[(Interface, String)]) -> Result<Snapshot, String> {
    let mut snapshot = Snapshot::default();
    let stations = kernel.stations()?;
    let mut radios = BTreeMap::new();
    for (ifindex, place) in kernel.places()? {
        let Some((interface, wiphy)) = interfaces.iter().find(|(one, _)| one.ifindex == ifindex)
        else {
            continue;
        };
        let radio = match radios.entry(place.radio) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => unknown.insert(kernel.radio(place.radio)?),
        };
        snapshot
            .congestion_thousandths
            .insert(wiphy.clone(), radio.congestion_thousandths());
        let Some(vif) = radio.vif.get(place.slot as usize) else {
            continue;
        };
        let own = stations.iter().filter(|station| station.ifindex == ifindex);
        let counted = Counted {
            measured_ns: vif.measured,
            estimated_ns: vif.estimated,
            delayed: vif.delayed,
            dropped: vif.dropped,
            backlogged: vif.backlogged,
            delays: kernel.delays(place)?,
            measurements: own.filter_map(measurement).collect(),
        };
        snapshot.vifs.insert(interface.name.clone(), counted);
    }
    Ok(snapshot)
}

fn measurement(station: &KernelStation) -> Option<Measurement> {
    let source = match station.source {
        1 => MeasurementSource::Estimate,
        2 => MeasurementSource::Rates,
        3 => MeasurementSource::TxTime,
        4 => MeasurementSource::Airtime,
        _ => return None,
    };
    Some(Measurement {
        station: station.address,
        source,
    })
}

/// Tells the program the rates of stations whose driver reports none with its frames.
pub(super) fn tell_rates(kernel: &Kernel, periods: &[(u32, StationPeriod)]) -> Result<(), String> {
    const ESTIMATE: u32 = 1;
    for station in kernel
        .stations()?
        .iter()
        .filter(|station| station.source == ESTIMATE)
    {
        let period = periods
            .iter()
            .find(|(ifindex, one)| (*ifindex, one.mac) == (station.ifindex, station.address));
        let rate = period.and_then(|(_, one)| one.tx_bitrate_kbps);
        if let Some(rate_kbps) = rate.filter(|rate| *rate != station.rate_kbps) {
            kernel.set_station_rate(station, rate_kbps)?;
        }
    }
    Ok(())
}

/// A step that nobody on the radio notices.
pub(super) fn step(path: String, action: String) -> Step {
    Step {
        path,
        action,
        cost: Cost::Hot,
    }
}

fn extra_bytes(vif: &VifConfig) -> u32 {
    let usual = DATA_HEADER_BYTES + hardware::ACK_BYTES as u32;
    match &vif.role {
        Role::AccessPoint(ap) if ap.security.mode == SecurityMode::Open => usual,
        Role::AccessPoint(_) => usual + CIPHER_BYTES,
        Role::MeshPoint(mesh) if mesh.passphrase.is_none() => usual + MESH_BYTES,
        Role::MeshPoint(_) => usual + MESH_BYTES + CIPHER_BYTES,
    }
}

fn settings(radio: &RadioConfig, overhead_ns: u64, epoch: u32, vifs: Vec<VifSettings>) -> Settings {
    let ofdm_only = radio.band != Band::Ghz2;
    Settings {
        horizon_ns: u64::from(radio.scheduler.max_delay_ms) * 1_000_000,
        interval_ns: u64::from(radio.scheduler.interval_ms) * 1_000_000,
        burst_ns: law::Settings::default().burst.as_nanos() as u64,
        overhead_ns,
        basic_kbps: if ofdm_only { 6_000 } else { 1_000 },
        ofdm_only,
        epoch,
        vifs,
    }
}

fn vif_settings(owed: Owed, weight: u32, epoch: u32) -> VifSettings {
    let (corrected, until_ns) = owed
        .corrected_max
        .map_or((0, 0), |(ceiling, until)| (ceiling.hundredths(), until));
    VifSettings {
        weight,
        ceiling: owed.configured.max_ratio.hundredths(),
        corrected,
        epoch,
        until_ns,
        min_ratio: owed.configured.min_ratio.hundredths(),
        corrected_min: owed.corrected_min.map_or(0, |ratio| ratio.hundredths() + 1),
    }
}

/// The contrary of [`vif_settings`].
fn owed_of(vif: &VifSettings, now_ns: u64) -> Owed {
    Owed {
        configured: AirtimeConfig {
            min_ratio: Ratio::from_hundredths(vif.min_ratio),
            max_ratio: Ratio::from_hundredths(vif.ceiling),
        },
        corrected_min: vif.corrected_min.checked_sub(1).map(Ratio::from_hundredths),
        corrected_max: (vif.corrected > 0 && vif.until_ns > now_ns)
            .then(|| (Ratio::from_hundredths(vif.corrected), vif.until_ns)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_vif_is_owed_comes_back_from_the_kernel() {
        let owed = Owed {
            configured: AirtimeConfig {
                min_ratio: Ratio::from_hundredths(3_000),
                max_ratio: Ratio::from_hundredths(9_000),
            },
            corrected_min: Some(Ratio::ZERO),
            corrected_max: Some((Ratio::from_hundredths(4_000), 500)),
        };
        assert_eq!(owed_of(&vif_settings(owed, 7, 1), 499), owed);
        let lapsed = Owed {
            corrected_max: None,
            ..owed
        };
        assert_eq!(owed_of(&vif_settings(owed, 7, 1), 500), lapsed);
        let plain = Owed {
            corrected_min: None,
            ..lapsed
        };
        assert_eq!(owed_of(&vif_settings(plain, 7, 1), 0), plain);
    }
}
