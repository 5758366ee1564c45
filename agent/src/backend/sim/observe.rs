//! Reads the world: states, reports and the ledger of true airtime.

use std::time::Duration;

use super::world::{Radio, Vif, World};
use crate::backend::airtime::{
    AirtimeReport, RadioAirtime, RadioAirtimeState, VifAirtime, VifAirtimeState,
};
use crate::backend::wifi::{
    Neighbour, RadioOperState, RadioState, Role, StationState, VifOperState, VifState,
};
use crate::backend::{MacAddress, Ratio};

/// True airtime of one interface since the medium began: what a test judges by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerEntry {
    /// Node.
    pub node: String,
    /// Radio.
    pub radio: String,
    /// Interface.
    pub vif: String,
    /// Airtime of everything that it sent, tries and acknowledgements included.
    pub sent: Duration,
    /// Airtime of what its stations sent to it.
    pub received: Duration,
    /// Bytes that arrived at its stations.
    pub delivered_bytes: u64,
    /// Bytes that arrived from its stations.
    pub received_bytes: u64,
    /// Packets refused by the scheduler.
    pub refused_packets: u64,
    /// Packets lost in the driver's queue or after the last try.
    pub lost_packets: u64,
}

/// What an interface got in the period that was closed last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct PeriodAirtime {
    used: Ratio,
    received: Ratio,
    backlogged: bool,
    delay_p50_us: u32,
    delay_p99_us: u32,
}

impl World {
    fn radios_of(&self, node: usize) -> Vec<&Radio> {
        let mut radios: Vec<&Radio> = self.nodes[node]
            .radios
            .iter()
            .map(|radio| &self.radios[*radio])
            .collect();
        radios.sort_by(|a, b| a.name.cmp(&b.name));
        radios
    }

    pub(super) fn radio_states(&self, node: usize) -> Vec<RadioState> {
        let in_hardware = |radio: &&Radio| self.nodes[node].sim.radio(&radio.name).is_some();
        self.radios_of(node)
            .into_iter()
            .filter(in_hardware)
            .map(|radio| RadioState {
                name: radio.name.clone(),
                oper_state: if radio.is_up {
                    RadioOperState::Up
                } else {
                    RadioOperState::Down
                },
                max_vifs: radio.sim.max_vifs,
                neighbours: self.neighbours(radio),
            })
            .collect()
    }

    fn heard<'a>(&'a self, radio: &'a Radio) -> impl Iterator<Item = (&'a Radio, &'a Vif)> {
        radio.hears.iter().flat_map(|other| {
            let other = &self.radios[*other];
            other
                .live_vifs()
                .filter(|(_, vif)| vif.is_up)
                .map(move |(_, vif)| (other, vif))
        })
    }

    fn neighbours(&self, radio: &Radio) -> Vec<Neighbour> {
        let mut neighbours: Vec<Neighbour> = self
            .heard(radio)
            .filter_map(|(other, vif)| {
                let Role::AccessPoint(ap) = &vif.config.role else {
                    return None;
                };
                Some(Neighbour {
                    bssid: vif.bssid,
                    ssid: (!ap.hidden).then(|| ap.ssid.clone()),
                    signal_dbm: signal_dbm(radio, other),
                    last_seen: Duration::ZERO,
                })
            })
            .collect();
        neighbours.sort_by_key(|neighbour| neighbour.bssid);
        neighbours
    }

    pub(super) fn vif_states(&self, node: usize) -> Vec<VifState> {
        let mut states = Vec::new();
        for radio in self.radios_of(node) {
            for (slot, vif) in radio.live_vifs() {
                let stations = self.station_states(radio, slot);
                states.push(VifState {
                    name: vif.config.name.clone(),
                    oper_state: if vif.is_up {
                        VifOperState::Up
                    } else {
                        VifOperState::Down
                    },
                    last_error: None,
                    bssid: vif.bssid,
                    station_count: stations.len() as u16,
                    stations,
                });
            }
        }
        states.sort_by(|a, b| a.name.cmp(&b.name));
        states
    }

    fn station_states(&self, radio: &Radio, vif: usize) -> Vec<StationState> {
        let mut stations: Vec<StationState> = radio
            .live_stations()
            .filter(|(_, station)| station.vif == vif)
            .map(|(_, station)| StationState {
                mac: station.config.mac,
                // The simulated stations are where their radio is.
                signal_dbm: -40,
                tx_bitrate_kbps: station.config.rate_down_kbps,
                rx_bitrate_kbps: station.config.rate_up_kbps,
                tx_bytes: station.delivered_bytes,
                rx_bytes: station.received_bytes,
                // The medium counts airtime by interface.
                tx_airtime_us: None,
                rx_airtime_us: None,
                connected_for_s: ((self.now_ns - station.since_ns) / 1_000_000_000) as u32,
            })
            .collect();
        stations.sort_by_key(|station| station.mac);
        stations
    }

    /// Closes the reporting period of a node.
    pub(super) fn report(&mut self, node: usize) -> AirtimeReport {
        let now = self.now_ns;
        let period_ns = now - self.nodes[node].period_start_ns;
        self.nodes[node].period_start_ns = now;
        self.nodes[node].reports += 1;
        for radio in self.nodes[node].radios.clone() {
            self.radios[radio].close_period(now, period_ns);
        }
        let radios = self
            .radios_of(node)
            .into_iter()
            .filter_map(|radio| {
                let config = radio.config.as_ref().filter(|_| radio.is_up)?;
                let mut heard: Vec<MacAddress> =
                    self.heard(radio).map(|(_, vif)| vif.bssid).collect();
                heard.sort_unstable();
                Some(RadioAirtime {
                    name: radio.name.clone(),
                    channel: config.channel,
                    band: config.band,
                    busy: radio.last_busy,
                    external: radio.last_external,
                    heard,
                    vifs: self.vif_reports(node, radio),
                })
            })
            .collect();
        AirtimeReport {
            sequence: self.nodes[node].reports,
            interval_ms: u32::try_from(period_ns / 1_000_000).unwrap_or(u32::MAX),
            radios,
        }
    }

    fn vif_reports(&self, node: usize, radio: &Radio) -> Vec<VifAirtime> {
        let table = &self.nodes[node].airtime.vifs;
        let mut vifs: Vec<VifAirtime> = radio
            .live_vifs()
            .filter(|(_, vif)| vif.is_up)
            .map(|(slot, vif)| {
                let owed = table.get(&vif.config.name).copied().unwrap_or_default();
                VifAirtime {
                    name: vif.config.name.clone(),
                    slice: vif.config.slice.clone(),
                    bssid: vif.bssid,
                    used_ratio: vif.last.used,
                    received_ratio: vif.last.received,
                    backlogged: vif.last.backlogged,
                    effective_min_ratio: owed.min_ratio(),
                    effective_max_ratio: owed.max_ratio(),
                    stations: radio.station_count(slot) as u16,
                }
            })
            .collect();
        vifs.sort_by(|a, b| a.name.cmp(&b.name));
        vifs
    }

    pub(super) fn radio_airtime(&self, node: usize) -> Vec<RadioAirtimeState> {
        self.radios_of(node)
            .into_iter()
            .filter(|radio| radio.config.is_some())
            .map(|radio| RadioAirtimeState {
                name: radio.name.clone(),
                busy: radio.last_busy,
                external: radio.last_external,
                congestion_thousandths: radio.law.congestion_thousandths(),
                scheduler_backend: "sim",
            })
            .collect()
    }

    pub(super) fn vif_airtime(&self, node: usize) -> Vec<VifAirtimeState> {
        let mut states = Vec::new();
        for radio in self.radios_of(node) {
            for (_, vif) in radio.live_vifs() {
                let table = &self.nodes[node].airtime.vifs;
                let owed = table.get(&vif.config.name).copied().unwrap_or_default();
                let counters = vif
                    .law_slot
                    .map(|slot| radio.law.counters(slot))
                    .unwrap_or_default();
                states.push(VifAirtimeState {
                    name: vif.config.name.clone(),
                    effective_min_ratio: owed.min_ratio(),
                    effective_max_ratio: owed.max_ratio(),
                    used_ratio: vif.last.used,
                    received_ratio: vif.last.received,
                    backlogged: vif.last.backlogged,
                    tx_airtime_us: vif.tally.sent_ns / 1000,
                    estimated_airtime_us: counters.estimated_ns / 1000,
                    delayed_packets: counters.delayed,
                    dropped_packets: counters.dropped,
                    delay_p50_us: vif.last.delay_p50_us,
                    delay_p99_us: vif.last.delay_p99_us,
                    measurements: Vec::new(),
                });
            }
        }
        states.sort_by(|a, b| a.name.cmp(&b.name));
        states
    }

    /// True airtime of every interface, by node, radio and name.
    pub(super) fn ledger(&self) -> Vec<LedgerEntry> {
        let mut entries = Vec::new();
        for radio in &self.radios {
            for (_, vif) in radio.live_vifs() {
                let counters = vif
                    .law_slot
                    .map(|slot| radio.law.counters(slot))
                    .unwrap_or_default();
                entries.push(LedgerEntry {
                    node: self.nodes[radio.node].name.clone(),
                    radio: radio.name.clone(),
                    vif: vif.config.name.clone(),
                    sent: Duration::from_nanos(vif.tally.sent_ns),
                    received: Duration::from_nanos(vif.tally.received_ns),
                    delivered_bytes: vif.tally.delivered_bytes,
                    received_bytes: vif.tally.received_bytes,
                    refused_packets: counters.dropped,
                    lost_packets: vif.tally.lost_packets,
                });
            }
        }
        entries.sort_by(|a, b| (&a.node, &a.radio, &a.vif).cmp(&(&b.node, &b.radio, &b.vif)));
        entries
    }
}

impl Radio {
    fn close_period(&mut self, now_ns: u64, period_ns: u64) {
        let (busy_ns, external_ns) = (self.air.busy_ns(now_ns), self.air.external_ns);
        self.last_busy = Ratio::of(busy_ns - self.period.0, period_ns);
        self.last_external = Ratio::of(external_ns - self.period.1, period_ns);
        self.period = (busy_ns, external_ns);
        for (slot, vif) in self.vifs.iter_mut().enumerate() {
            let Some(vif) = vif else { continue };
            let (tally, before) = (vif.tally, vif.at_period_start);
            let in_driver = self
                .stations
                .iter()
                .flatten()
                .filter(|station| station.vif == slot)
                .map(|station| station.down.len())
                .max();
            let held_back = match vif.law_slot {
                Some(law_slot) => self.law.take_backlogged(law_slot),
                None => in_driver.is_some_and(|packets| packets > 32),
            };
            vif.last = PeriodAirtime {
                used: Ratio::of(tally.sent_ns - before.sent_ns, period_ns),
                received: Ratio::of(tally.received_ns - before.received_ns, period_ns),
                backlogged: held_back || tally.overflowed_packets > before.overflowed_packets,
                delay_p50_us: vif.delays.quantile_us(500),
                delay_p99_us: vif.delays.quantile_us(990),
            };
            vif.at_period_start = tally;
            vif.delays.clear();
        }
    }
}

/// What one radio receives of another: 20 dBm sent, path loss exponent 3, 40 dB at the first metre.
fn signal_dbm(at: &Radio, of: &Radio) -> i8 {
    let (dx, dy) = (
        (at.sim.x.0 - of.sim.x.0) as f64,
        (at.sim.y.0 - of.sim.y.0) as f64,
    );
    let metres = (dx.hypot(dy) / 10.0).max(1.0);
    let sent = of
        .config
        .as_ref()
        .and_then(|config| config.tx_power_dbm)
        .unwrap_or(20);
    (f64::from(sent) - 40.0 - 30.0 * metres.log10())
        .round()
        .clamp(-110.0, 0.0) as i8
}
