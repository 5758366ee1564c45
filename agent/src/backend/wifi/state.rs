//! What is observed of Wi-Fi. Each type serialises as the body of its `state` container or list entry (RFC 7951), so that
//! the caller can hand it to the data tree without translating leaf by leaf.

use std::time::Duration;

use serde::Serialize;

use crate::backend::MacAddress;
use crate::backend::value::{as_text, as_text_if_known};

/// `radio/state`. Congestion, busy time and the scheduler's counters are in [`crate::backend::airtime`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RadioState {
    /// The radio's name: the key of the list, not part of the container.
    #[serde(skip)]
    pub name: String,
    /// Whether it works.
    pub oper_state: RadioOperState,
    /// How many interfaces the hardware carries.
    pub max_vifs: u8,
    /// Access points heard on this channel, by BSSID.
    #[serde(rename = "neighbour")]
    pub neighbours: Vec<Neighbour>,
}

/// `radio/state/oper-state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RadioOperState {
    /// All that is enabled on it is up.
    Up,
    /// Disabled, or without configuration.
    Down,
    /// Some of what is enabled on it is not up.
    Degraded,
}

/// `radio/state/neighbour`: an access point heard on this channel.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Neighbour {
    /// BSSID.
    pub bssid: MacAddress,
    /// SSID; absent if it is hidden.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssid: Option<String>,
    /// Received signal.
    #[serde(rename = "signal")]
    pub signal_dbm: i8,
    /// Time since its last beacon: the caller knows the date (leaf `last-seen`).
    #[serde(skip)]
    pub last_seen: Duration,
}

/// `vif/state` without `airtime`, which is [`crate::backend::airtime::VifAirtimeState`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct VifState {
    /// The interface's name: the key of the list, not part of the container.
    #[serde(skip)]
    pub name: String,
    /// State.
    pub oper_state: VifOperState,
    /// Why it is not up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// BSSID.
    pub bssid: MacAddress,
    /// How many stations are associated.
    #[serde(rename = "stations")]
    pub station_count: u16,
    /// The associated stations, by address.
    #[serde(rename = "station")]
    pub stations: Vec<StationState>,
}

/// `vif/state/oper-state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum VifOperState {
    /// In service.
    Up,
    /// On its way up.
    Starting,
    /// Out of service.
    Down,
    /// It could not be brought up.
    Failed,
}

/// `vif/state/station`: an associated station.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct StationState {
    /// Address.
    pub mac: MacAddress,
    /// Signal.
    #[serde(rename = "signal")]
    pub signal_dbm: i8,
    /// Rate towards it.
    #[serde(rename = "tx-bitrate")]
    pub tx_bitrate_kbps: u32,
    /// Rate from it.
    #[serde(rename = "rx-bitrate")]
    pub rx_bitrate_kbps: u32,
    /// Bytes delivered to it.
    #[serde(serialize_with = "as_text")]
    pub tx_bytes: u64,
    /// Bytes received from it.
    #[serde(serialize_with = "as_text")]
    pub rx_bytes: u64,
    /// Airtime spent sending to it, where the driver tells.
    #[serde(
        rename = "tx-airtime",
        serialize_with = "as_text_if_known",
        skip_serializing_if = "Option::is_none"
    )]
    pub tx_airtime_us: Option<u64>,
    /// Airtime it spent sending, where the driver tells.
    #[serde(
        rename = "rx-airtime",
        serialize_with = "as_text_if_known",
        skip_serializing_if = "Option::is_none"
    )]
    pub rx_airtime_us: Option<u64>,
    /// Time since it associated.
    #[serde(rename = "connected-for")]
    pub connected_for_s: u32,
}
