//! Reporting periods of scheduled radios: what was counted at the last report, and what follows from the difference.

use std::collections::BTreeMap;
use std::time::Instant;

use super::hardware::{Hardware, StationPeriod};
use super::table::AirtimeTable;
use super::{
    AirtimeReport, Measurement, RadioAirtime, RadioAirtimeState, VifAirtime, VifAirtimeState,
};
use crate::backend::wifi::WifiConfig;
use crate::backend::wifi::nl80211::Interface;
use crate::backend::{Ratio, Refusal};

/// What a scheduler counted of a vif since it began to schedule it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) measured_ns: u64,
    pub(super) estimated_ns: u64,
    pub(super) delayed: u64,
    pub(super) dropped: u64,
    /// Packets that had to wait long; changes while there is a backlog.
    pub(super) backlogged: u32,
    /// Times that packets were held, by step of [`super::histogram::Histogram`].
    pub(super) delays: Vec<u32>,
    pub(super) measurements: Vec<Measurement>,
}

/// What a vif got in the last period.
#[derive(Debug, Clone, Default)]
struct VifPeriod {
    used: Ratio,
    received: Ratio,
    backlogged: bool,
    delay_p50_us: u32,
    delay_p99_us: u32,
    counted: Counted,
}

/// The last period of a node.
#[derive(Debug)]
pub(super) struct Periods {
    sequence: u64,
    since: Instant,
    vifs: BTreeMap<String, VifPeriod>,
    radios: BTreeMap<String, RadioPeriod>,
}

#[derive(Debug, Clone, Copy)]
struct RadioPeriod {
    busy: Ratio,
    external: Ratio,
    congestion_thousandths: u32,
}

/// What a scheduler knows of its vifs, by name, and of its radios.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    pub(super) vifs: BTreeMap<String, Counted>,
    pub(super) congestion_thousandths: BTreeMap<String, u32>,
}

impl Periods {
    pub(super) fn new() -> Self {
        Self {
            sequence: 0,
            since: Instant::now(),
            vifs: BTreeMap::new(),
            radios: BTreeMap::new(),
        }
    }

    /// Closes the period. What no scheduler counts is taken from the kernel's own counters.
    pub(super) async fn close(
        &mut self,
        hardware: &mut Hardware,
        wifi: &WifiConfig,
        table: &AirtimeTable,
        mut snapshot: Snapshot,
    ) -> Result<(AirtimeReport, Vec<(u32, StationPeriod)>), Refusal> {
        let interfaces = hardware.interfaces().await?;
        let mut stations = Vec::new();
        let period_ns = self.since.elapsed().as_nanos() as u64;
        self.since = Instant::now();
        self.sequence += 1;
        let mut report = AirtimeReport {
            sequence: self.sequence,
            interval_ms: u32::try_from(period_ns / 1_000_000).unwrap_or(u32::MAX),
            radios: Vec::new(),
        };
        let before = std::mem::take(&mut self.vifs);
        self.radios.clear();
        for radio in wifi.radios.iter().filter(|radio| radio.enabled) {
            let mut vifs = Vec::new();
            let mut at = None;
            let (mut used_ns, mut received_ns) = (0, 0);
            for vif in wifi.vifs_of(&radio.name).filter(|vif| vif.enabled) {
                let interface = interfaces
                    .iter()
                    .find(|(one, wiphy)| one.name == vif.name && *wiphy == radio.name);
                let Some((interface, _)) = interface else {
                    continue;
                };
                let own = hardware.stations(interface.ifindex).await?;
                let counted = snapshot.vifs.remove(&vif.name);
                let period = VifPeriod::new(before.get(&vif.name), counted, &own, period_ns);
                used_ns += period.used.hundredths();
                received_ns += period.received.hundredths();
                let owed = table.vifs.get(&vif.name).copied().unwrap_or_default();
                if interface.channel.is_some() {
                    at.get_or_insert(interface);
                    vifs.push(VifAirtime {
                        name: vif.name.clone(),
                        slice: vif.slice.clone(),
                        bssid: interface.mac,
                        used_ratio: period.used,
                        received_ratio: period.received,
                        backlogged: period.backlogged,
                        effective_min_ratio: owed.min_ratio(),
                        effective_max_ratio: owed.max_ratio(),
                        stations: u16::try_from(own.len()).unwrap_or(u16::MAX),
                    });
                }
                stations.extend(own.into_iter().map(|station| (interface.ifindex, station)));
                self.vifs.insert(vif.name.clone(), period);
            }
            let ours = Ratio::from_hundredths(used_ns + received_ns);
            // Some drivers sense less than what they send themselves.
            let busy = match at {
                Some(interface) => hardware
                    .busy(interface)
                    .await?
                    .map_or(ours, |busy| busy.max(ours)),
                None => ours,
            };
            let period = RadioPeriod {
                busy,
                external: Ratio::from_hundredths(busy.hundredths() - ours.hundredths()),
                congestion_thousandths: snapshot
                    .congestion_thousandths
                    .get(&radio.name)
                    .copied()
                    .unwrap_or(1000),
            };
            self.radios.insert(radio.name.clone(), period);
            let Some(interface) = at else { continue };
            vifs.sort_by(|a: &VifAirtime, b| a.name.cmp(&b.name));
            report.radios.push(RadioAirtime {
                name: radio.name.clone(),
                channel: channel_of(interface, radio.channel),
                band: radio.band,
                busy: period.busy,
                external: period.external,
                heard: hardware.heard(interface).await?,
                vifs,
            });
        }
        report.radios.sort_by(|a, b| a.name.cmp(&b.name));
        Ok((report, stations))
    }

    /// The airtime part of `radio/state`.
    pub(super) fn radios(&self, backend: &'static str) -> Vec<RadioAirtimeState> {
        let state = |(name, period): (&String, &RadioPeriod)| RadioAirtimeState {
            name: name.clone(),
            busy: period.busy,
            external: period.external,
            congestion_thousandths: period.congestion_thousandths,
            scheduler_backend: backend,
        };
        self.radios.iter().map(state).collect()
    }

    /// `vif/state/airtime` of the vifs of a table.
    pub(super) fn vifs(&self, table: &AirtimeTable) -> Vec<VifAirtimeState> {
        let state = |(name, owed): (&String, &super::table::Owed)| {
            let period = self.vifs.get(name).cloned().unwrap_or_default();
            VifAirtimeState {
                name: name.clone(),
                effective_min_ratio: owed.min_ratio(),
                effective_max_ratio: owed.max_ratio(),
                used_ratio: period.used,
                received_ratio: period.received,
                backlogged: period.backlogged,
                tx_airtime_us: period.counted.measured_ns / 1000,
                estimated_airtime_us: period.counted.estimated_ns / 1000,
                delayed_packets: period.counted.delayed,
                dropped_packets: period.counted.dropped,
                delay_p50_us: period.delay_p50_us,
                delay_p99_us: period.delay_p99_us,
                measurements: period.counted.measurements,
            }
        };
        table.vifs.iter().map(state).collect()
    }
}

impl VifPeriod {
    fn new(
        before: Option<&Self>,
        counted: Option<Counted>,
        stations: &[StationPeriod],
        period_ns: u64,
    ) -> Self {
        let nothing = Counted::default();
        let before = before.map_or(&nothing, |before| &before.counted);
        let received_ns = stations.iter().map(|station| station.received_ns).sum();
        let Some(mut counted) = counted else {
            let sent_ns: u64 = stations.iter().map(|station| station.sent_ns).sum();
            let measured_ns = before.measured_ns + sent_ns;
            return Self {
                used: Ratio::of(sent_ns, period_ns),
                received: Ratio::of(received_ns, period_ns),
                counted: Counted {
                    measured_ns,
                    estimated_ns: measured_ns,
                    ..Counted::default()
                },
                ..Self::default()
            };
        };
        // A vif that was made anew counts from zero.
        let restarted = counted.measured_ns < before.measured_ns;
        let before = if restarted { &nothing } else { before };
        let mut delays = super::histogram::Histogram::default();
        for (step, count) in counted.delays.iter().enumerate() {
            delays.add(
                step,
                count.wrapping_sub(before.delays.get(step).copied().unwrap_or(0)),
            );
        }
        counted
            .measurements
            .sort_by_key(|measurement| measurement.station);
        Self {
            used: Ratio::of(counted.measured_ns - before.measured_ns, period_ns),
            received: Ratio::of(received_ns, period_ns),
            backlogged: counted.backlogged != before.backlogged,
            delay_p50_us: delays.quantile_us(500),
            delay_p99_us: delays.quantile_us(990),
            counted,
        }
    }
}

fn channel_of(interface: &Interface, configured: u8) -> u8 {
    interface
        .channel
        .map_or(configured, |channel| channel.number())
}
