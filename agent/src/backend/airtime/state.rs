//! What is observed of airtime. Each type serialises as the body of its container, list entry or notification (RFC 7951).

use serde::Serialize;

use crate::backend::value::as_text;
use crate::backend::wifi::Band;
use crate::backend::{MacAddress, Ratio};

/// The notification `airtime-report`: what every interface got during one period.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AirtimeReport {
    /// Number of the period since the start; one more each time.
    #[serde(serialize_with = "as_text")]
    pub sequence: u64,
    /// Length of the period.
    #[serde(rename = "interval")]
    pub interval_ms: u32,
    /// The radios that are up, by name.
    #[serde(rename = "radio")]
    pub radios: Vec<RadioAirtime>,
}

/// One radio in an [`AirtimeReport`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RadioAirtime {
    /// Its name.
    pub name: String,
    /// Primary channel number.
    pub channel: u8,
    /// Band.
    #[serde(serialize_with = "as_text")]
    pub band: Band,
    /// Share of the period in which the channel was sensed busy, own transmissions included.
    pub busy: Ratio,
    /// Share used by transmitters that are no access point of ours nor a station of one.
    pub external: Ratio,
    /// BSSIDs heard on this channel during the period, in order.
    pub heard: Vec<MacAddress>,
    /// Its interfaces that are up, by name.
    #[serde(rename = "vif")]
    pub vifs: Vec<VifAirtime>,
}

/// One interface in an [`AirtimeReport`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct VifAirtime {
    /// Its name.
    pub name: String,
    /// Its slice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slice: Option<String>,
    /// Its BSSID.
    pub bssid: MacAddress,
    /// Airtime used to send, of the period.
    pub used_ratio: Ratio,
    /// Airtime its stations used to send to it, of the period.
    pub received_ratio: Ratio,
    /// It had more to send than it was let.
    pub backlogged: bool,
    /// Guaranteed minimum in force at the end of the period.
    pub effective_min_ratio: Ratio,
    /// Ceiling in force at the end of the period.
    pub effective_max_ratio: Ratio,
    /// Associated stations.
    pub stations: u16,
}

/// The airtime part of `radio/state`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RadioAirtimeState {
    /// The radio's name: the key of the list, not part of the container.
    #[serde(skip)]
    pub name: String,
    /// Share of the last period in which the channel was sensed busy, own transmissions included.
    pub busy: Ratio,
    /// Share of the last period used by transmitters that are not ours.
    pub external: Ratio,
    /// Time that an amount of airtime takes on this medium over that airtime, smoothed, in thousandths.
    #[serde(rename = "congestion", serialize_with = "thousandths")]
    pub congestion_thousandths: u32,
    /// Which implementation schedules: `sim`, `bpf` or `mac80211`.
    pub scheduler_backend: &'static str,
}

/// `vif/state/airtime`: of the last period, with counters since the start.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct VifAirtimeState {
    /// The interface's name: the key of the list, not part of the container.
    #[serde(skip)]
    pub name: String,
    /// Guaranteed minimum in force, correction included.
    pub effective_min_ratio: Ratio,
    /// Ceiling in force, correction included.
    pub effective_max_ratio: Ratio,
    /// Airtime used to send.
    pub used_ratio: Ratio,
    /// Airtime its stations used to send to it.
    pub received_ratio: Ratio,
    /// It had more to send than it was let.
    pub backlogged: bool,
    /// Measured airtime sent.
    #[serde(rename = "tx-airtime", serialize_with = "as_text")]
    pub tx_airtime_us: u64,
    /// The same as estimated before sending.
    #[serde(rename = "estimated-airtime", serialize_with = "as_text")]
    pub estimated_airtime_us: u64,
    /// Packets held back.
    #[serde(serialize_with = "as_text")]
    pub delayed_packets: u64,
    /// Packets dropped at `max-delay`.
    #[serde(serialize_with = "as_text")]
    pub dropped_packets: u64,
    /// Median time that packets were held.
    #[serde(rename = "delay-p50")]
    pub delay_p50_us: u32,
    /// 99th percentile of the time that packets were held.
    #[serde(rename = "delay-p99")]
    pub delay_p99_us: u32,
    /// Where the measured airtime comes from, by station; empty where it is known without measuring.
    #[serde(rename = "measurement", skip_serializing_if = "Vec::is_empty")]
    pub measurements: Vec<Measurement>,
}

/// `vif/state/airtime/measurement`: where the measured airtime of a station comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Measurement {
    /// The station's address.
    pub station: MacAddress,
    /// The one source that is believed for it.
    pub source: MeasurementSource,
}

/// A source of measured airtime, the better ones first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MeasurementSource {
    /// The driver registers airtime with mac80211.
    Airtime,
    /// The driver reports a duration with its frames.
    TxTime,
    /// The rates and tries that the driver reports.
    Rates,
    /// Nothing: what was estimated from the rate, scaled by what others measured.
    Estimate,
}

fn thousandths<S: serde::Serializer>(value: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{}.{:03}", value / 1000, value % 1000))
}
