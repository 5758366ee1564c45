//! The typed form of the `tranche-sim` configuration: the simulated world around one node.

use serde::Deserialize;

use crate::backend::ran::sim::{SimCore, UeGroup};
use crate::backend::value::{decimal, from_text};
use crate::backend::{MacAddress, ParseValueError, Ratio, Secret};

/// `/tranche-sim:sim`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct SimConfig {
    /// Seed of this node's random numbers.
    #[serde(default = "one", deserialize_with = "from_text")]
    pub seed: u64,
    /// The physical radios that the node has.
    #[serde(default, rename = "radio")]
    pub radios: Vec<SimRadioConfig>,
    /// The stations around it.
    #[serde(default, rename = "station")]
    pub stations: Vec<SimStationConfig>,
    /// The UEs around it.
    #[serde(default, rename = "ue-group")]
    pub ue_groups: Vec<UeGroup>,
    /// How its cores behave.
    #[serde(default, rename = "core")]
    pub cores: Vec<SimCore>,
    /// With these words the RAN refuses any change of its configuration.
    #[serde(rename = "ran-refuse")]
    pub ran_refuse: Option<String>,
    /// Ports of steering whose application hangs.
    #[serde(default, rename = "hung-port")]
    pub hung_ports: Vec<String>,
}

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            seed: 1,
            radios: Vec::new(),
            stations: Vec::new(),
            ue_groups: Vec::new(),
            cores: Vec::new(),
            ran_refuse: None,
            hung_ports: Vec::new(),
        }
    }
}

impl SimConfig {
    /// The simulated radio of this name.
    #[must_use]
    pub fn radio(&self, name: &str) -> Option<&SimRadioConfig> {
        self.radios.iter().find(|radio| radio.name == name)
    }
}

/// A length or position in decimetres: a decimal64 of metres with one fraction digit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Decimetres(pub i64);

impl std::str::FromStr for Decimetres {
    type Err = ParseValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        decimal(text, 1).map(Self)
    }
}

/// `sim/radio`: a physical radio that this simulated node has.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SimRadioConfig {
    /// Name of the wiphy.
    pub name: String,
    /// Position along one axis.
    #[serde(default, deserialize_with = "from_text")]
    pub x: Decimetres,
    /// Position along the other axis.
    #[serde(default, deserialize_with = "from_text")]
    pub y: Decimetres,
    /// How far it is heard.
    #[serde(default = "hundred_metres", deserialize_with = "from_text")]
    pub range: Decimetres,
    /// How many interfaces the hardware carries.
    #[serde(default = "eight")]
    pub max_vifs: u8,
    /// Share of time that a network that is not ours occupies the channel here.
    #[serde(default)]
    pub external_load: Ratio,
    /// With these words the radio refuses any change of its configuration.
    pub refuse: Option<String>,
}

impl SimRadioConfig {
    /// A radio at the origin with everything else at its default.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            x: Decimetres(0),
            y: Decimetres(0),
            range: hundred_metres(),
            max_vifs: eight(),
            external_load: Ratio::ZERO,
            refuse: None,
        }
    }
}

/// `sim/station`: a simulated station.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SimStationConfig {
    /// Its address.
    pub mac: MacAddress,
    /// Whether it is switched on.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// The network it joins when an access point of this node offers it.
    pub ssid: String,
    /// The radio it is near; any of this node's where absent.
    pub radio: Option<String>,
    /// What it tries on a personal security mode; it knows the right one where absent.
    pub passphrase: Option<Secret>,
    /// PHY rate towards it.
    #[serde(default = "default_rate_kbps", rename = "rate-down")]
    pub rate_down_kbps: u32,
    /// PHY rate from it.
    #[serde(default = "default_rate_kbps", rename = "rate-up")]
    pub rate_up_kbps: u32,
    /// Frames towards it that are lost.
    #[serde(default)]
    pub loss_down: Ratio,
    /// Frames from it that are lost.
    #[serde(default)]
    pub loss_up: Ratio,
    /// There is always more to send towards it.
    #[serde(default)]
    pub saturated_down: bool,
    /// It always has more to send.
    #[serde(default)]
    pub saturated_up: bool,
    /// Offered load towards it, unless saturated.
    #[serde(default, rename = "load-down", deserialize_with = "from_text")]
    pub load_down_kbps: u64,
    /// Offered load from it, unless saturated.
    #[serde(default, rename = "load-up", deserialize_with = "from_text")]
    pub load_up_kbps: u64,
    /// Size of a packet.
    #[serde(default = "default_packet_bytes", rename = "packet-size")]
    pub packet_bytes: u16,
}

impl SimStationConfig {
    /// An idle station at 54 Mbit/s without loss that joins `ssid`.
    pub fn new(mac: MacAddress, ssid: impl Into<String>) -> Self {
        Self {
            mac,
            enabled: true,
            ssid: ssid.into(),
            radio: None,
            passphrase: None,
            rate_down_kbps: default_rate_kbps(),
            rate_up_kbps: default_rate_kbps(),
            loss_down: Ratio::ZERO,
            loss_up: Ratio::ZERO,
            saturated_down: false,
            saturated_up: false,
            load_down_kbps: 0,
            load_up_kbps: 0,
            packet_bytes: default_packet_bytes(),
        }
    }
}

fn one() -> u64 {
    1
}

fn yes() -> bool {
    true
}

fn eight() -> u8 {
    8
}

fn hundred_metres() -> Decimetres {
    Decimetres(1000)
}

fn default_rate_kbps() -> u32 {
    54_000
}

fn default_packet_bytes() -> u16 {
    1500
}

#[cfg(test)]
mod tests {
    use crate::backend::NodeConfig;
    use crate::backend::wifi::{Band, Role, SecurityMode, Width};

    use super::*;

    #[test]
    fn a_datastore_printed_as_json_parses() {
        let json = r#"{
          "ietf-system:system": {"hostname": "n1"},
          "tranche-wifi:wifi": {
            "telemetry": {"interval": 1000},
            "country": "FR",
            "radio": [{"name": "phy0", "enabled": true, "band": "5GHz", "channel": 36, "width": "40MHz",
                       "scheduler": {"enabled": true, "interval": 100, "max-delay": 50}}],
            "vif": [{"name": "a", "radio": "phy0", "enabled": true, "slice": "blue",
                     "access-point": {"ssid": "blue", "hidden": false, "station-isolation": true,
                                      "security": {"mode": "wpa2-personal", "passphrase": "correct horse"}},
                     "attachment": {},
                     "airtime": {"min-ratio": "30.0", "max-ratio": "62.25"}},
                    {"name": "m", "radio": "phy0", "enabled": false, "mesh-point": {"mesh-id": "mesh"},
                     "airtime": {"min-ratio": "0.0", "max-ratio": "100.0"}}]
          },
          "tranche-sim:sim": {
            "seed": "7",
            "radio": [{"name": "phy0", "x": "-12.5", "y": "0.0", "range": "100.0", "max-vifs": 8,
                       "external-load": "3.0"}],
            "station": [{"mac": "02:00:00:00:00:01", "enabled": true, "ssid": "blue", "rate-down": 6000,
                         "rate-up": 54000, "loss-down": "30.0", "loss-up": "0.0", "saturated-down": true,
                         "saturated-up": false, "load-down": "0", "load-up": "250", "packet-size": 1500}]
          }
        }"#;
        let config: NodeConfig = serde_json::from_str(json).unwrap();
        let radio = config.wifi.radio("phy0").unwrap();
        assert_eq!(
            (radio.band, radio.width, radio.channel),
            (Band::Ghz5, Width::Mhz40, 36)
        );
        let vif = config.wifi.vif("a").unwrap();
        assert_eq!(vif.airtime.max_ratio, Ratio::from_hundredths(6225));
        let Role::AccessPoint(ap) = &vif.role else {
            panic!("{:?}", vif.role)
        };
        assert_eq!(ap.security.mode, SecurityMode::Wpa2Personal);
        assert!(matches!(
            &config.wifi.vif("m").unwrap().role,
            Role::MeshPoint(_)
        ));
        let sim = config.sim.unwrap();
        assert_eq!(
            (sim.seed, sim.radio("phy0").unwrap().x),
            (7, Decimetres(-125))
        );
        assert_eq!(sim.stations[0].loss_down, Ratio::from_hundredths(3000));
        assert_eq!(
            (sim.stations[0].load_up_kbps, sim.stations[0].rate_down_kbps),
            (250, 6000)
        );
    }

    #[test]
    fn an_empty_datastore_is_an_empty_node() {
        let config: NodeConfig = serde_json::from_str("{}").unwrap();
        assert_eq!(config, NodeConfig::default());
    }
}
