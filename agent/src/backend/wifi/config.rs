//! The typed form of the `tranche-wifi` configuration. Names and meanings are the module's.

use std::fmt;

use serde::Deserialize;

use crate::backend::{Ratio, Secret};

/// `/tranche-wifi:wifi`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct WifiConfig {
    /// Reports on the stream `telemetry`.
    #[serde(default)]
    pub telemetry: TelemetryConfig,
    /// Regulatory domain, ISO 3166-1 alpha-2 (`00`: world).
    #[serde(default = "world")]
    pub country: String,
    /// Physical radios.
    #[serde(default, rename = "radio")]
    pub radios: Vec<RadioConfig>,
    /// Virtual interfaces.
    #[serde(default, rename = "vif")]
    pub vifs: Vec<VifConfig>,
}

impl Default for WifiConfig {
    fn default() -> Self {
        Self {
            telemetry: TelemetryConfig::default(),
            country: world(),
            radios: Vec::new(),
            vifs: Vec::new(),
        }
    }
}

impl WifiConfig {
    /// The radio of this name.
    #[must_use]
    pub fn radio(&self, name: &str) -> Option<&RadioConfig> {
        self.radios.iter().find(|radio| radio.name == name)
    }

    /// The virtual interface of this name.
    #[must_use]
    pub fn vif(&self, name: &str) -> Option<&VifConfig> {
        self.vifs.iter().find(|vif| vif.name == name)
    }

    /// The virtual interfaces of a radio.
    pub fn vifs_of<'a>(&'a self, radio: &'a str) -> impl Iterator<Item = &'a VifConfig> {
        self.vifs.iter().filter(move |vif| vif.radio == radio)
    }
}

/// `telemetry`: how often the node reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct TelemetryConfig {
    /// Length of a reporting period.
    #[serde(rename = "interval")]
    pub interval_ms: u32,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { interval_ms: 1000 }
    }
}

/// `radio`: a physical radio.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RadioConfig {
    /// Name of the wiphy.
    pub name: String,
    /// Whether its interfaces are up.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Band.
    pub band: Band,
    /// Primary channel number.
    pub channel: u8,
    /// Channel width.
    #[serde(default)]
    pub width: Width,
    /// Transmit power; the regulatory maximum where absent.
    #[serde(rename = "tx-power")]
    pub tx_power_dbm: Option<i8>,
    /// The local airtime scheduler.
    #[serde(default)]
    pub scheduler: SchedulerConfig,
}

/// `radio/scheduler`: the local airtime scheduler of a radio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct SchedulerConfig {
    /// Off: packets leave in the order the driver likes.
    pub enabled: bool,
    /// Accounting interval within which a guaranteed ratio is met.
    #[serde(rename = "interval")]
    pub interval_ms: u16,
    /// Longest a packet is held before it is dropped.
    #[serde(rename = "max-delay")]
    pub max_delay_ms: u16,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            interval_ms: 100,
            max_delay_ms: 50,
        }
    }
}

/// `band`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub enum Band {
    /// 2.4 GHz.
    #[serde(rename = "2.4GHz")]
    Ghz2,
    /// 5 GHz.
    #[serde(rename = "5GHz")]
    Ghz5,
    /// 6 GHz.
    #[serde(rename = "6GHz")]
    Ghz6,
}

impl fmt::Display for Band {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ghz2 => "2.4GHz",
            Self::Ghz5 => "5GHz",
            Self::Ghz6 => "6GHz",
        })
    }
}

/// `width`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub enum Width {
    /// 20 MHz.
    #[default]
    #[serde(rename = "20MHz")]
    Mhz20,
    /// 40 MHz.
    #[serde(rename = "40MHz")]
    Mhz40,
    /// 80 MHz.
    #[serde(rename = "80MHz")]
    Mhz80,
    /// 160 MHz.
    #[serde(rename = "160MHz")]
    Mhz160,
}

impl Width {
    /// In MHz.
    #[must_use]
    pub fn mhz(self) -> u32 {
        match self {
            Self::Mhz20 => 20,
            Self::Mhz40 => 40,
            Self::Mhz80 => 80,
            Self::Mhz160 => 160,
        }
    }
}

impl fmt::Display for Width {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mhz20 => "20MHz",
            Self::Mhz40 => "40MHz",
            Self::Mhz80 => "80MHz",
            Self::Mhz160 => "160MHz",
        })
    }
}

/// `vif`: one tenant's access point or mesh point.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct VifConfig {
    /// Network interface name.
    pub name: String,
    /// The radio that carries it.
    pub radio: String,
    /// Administrative state.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// The network-wide slice it belongs to.
    pub slice: Option<String>,
    /// What it is.
    #[serde(flatten)]
    pub role: Role,
    /// Where its frames go on the wired side.
    #[serde(default)]
    pub attachment: Attachment,
    /// What the slice is owed on this radio.
    #[serde(default)]
    pub airtime: AirtimeConfig,
}

/// `role`: what a virtual interface is.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// A virtual access point.
    AccessPoint(AccessPoint),
    /// An 802.11s mesh point.
    MeshPoint(MeshPoint),
}

/// `access-point`: a virtual access point with its own SSID, beacons and security.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AccessPoint {
    /// SSID.
    pub ssid: String,
    /// Leave the SSID out of beacons.
    #[serde(default)]
    pub hidden: bool,
    /// Stations admitted at once; as many as the hardware takes where absent.
    pub max_stations: Option<u16>,
    /// Stations of this access point can't reach each other.
    #[serde(default = "yes")]
    pub station_isolation: bool,
    /// Link security.
    #[serde(default)]
    pub security: Security,
    /// Aids for stations that move between the access points of one SSID.
    #[serde(default)]
    pub roaming: Roaming,
}

/// `roaming`: what helps stations that move between access points (IEEE 802.11k, r and v).
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Roaming {
    /// Mobility domain of fast BSS transition, four hexadecimal digits; the schema has it in modes with keys only.
    pub mobility_domain: Option<String>,
    /// Protects what access points of the domain tell each other, 64 hexadecimal digits; the schema has it present with
    /// every mobility domain but those of `wpa2-personal`.
    pub mobility_key: Option<Secret>,
    /// Answer stations that ask which access points are near.
    #[serde(default)]
    pub neighbour_report: bool,
    /// Offer to ask stations which access points they hear.
    #[serde(default)]
    pub beacon_report: bool,
    /// Suggest stations a better access point.
    #[serde(default)]
    pub bss_transition: bool,
}

/// `security`: link security of an access point.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Security {
    /// How stations are let in.
    #[serde(default)]
    pub mode: SecurityMode,
    /// WPA passphrase; the schema has it present in every personal mode and in no other.
    pub passphrase: Option<Secret>,
    /// Authentication server; present in every enterprise mode and in no other.
    pub radius: Option<Radius>,
}

/// `security/mode`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecurityMode {
    /// No security.
    Open,
    /// Opportunistic wireless encryption.
    Owe,
    /// WPA2 with a passphrase.
    Wpa2Personal,
    /// WPA2 and WPA3 with a passphrase.
    Wpa2Wpa3Personal,
    /// WPA3 with a passphrase.
    #[default]
    Wpa3Personal,
    /// WPA2 with IEEE 802.1X.
    Wpa2Enterprise,
    /// WPA3 with IEEE 802.1X.
    Wpa3Enterprise,
}

impl SecurityMode {
    /// Whether a passphrase lets stations in.
    #[must_use]
    pub fn is_personal(self) -> bool {
        matches!(
            self,
            Self::Wpa2Personal | Self::Wpa2Wpa3Personal | Self::Wpa3Personal
        )
    }
}

/// `security/radius`: an authentication server.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Radius {
    /// Host name or address.
    pub address: String,
    /// UDP port.
    #[serde(default = "radius_port")]
    pub port: u16,
    /// Shared secret.
    pub secret: Secret,
}

/// `mesh-point`: an 802.11s mesh point.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct MeshPoint {
    /// Mesh identifier.
    pub mesh_id: String,
    /// SAE passphrase; an open mesh where absent.
    pub passphrase: Option<Secret>,
}

/// `attachment`: where frames go on the wired side.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Attachment {
    /// Linux bridge the interface is a port of.
    pub bridge: Option<String>,
    /// VLAN on that bridge.
    pub vlan: Option<u16>,
}

/// `vif/airtime`: what a slice is owed on this radio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AirtimeConfig {
    /// Guaranteed minimum while there is demand, of the airtime that is really available to the radio.
    pub min_ratio: Ratio,
    /// Ceiling, of the time that passes; 100 leaves it work conserving.
    pub max_ratio: Ratio,
}

impl Default for AirtimeConfig {
    fn default() -> Self {
        Self {
            min_ratio: Ratio::ZERO,
            max_ratio: Ratio::FULL,
        }
    }
}

fn world() -> String {
    "00".to_owned()
}

fn yes() -> bool {
    true
}

fn radius_port() -> u16 {
    1812
}
