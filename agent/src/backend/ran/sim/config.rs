//! The typed form of the RAN's part of the `tranche-sim` configuration: UEs, and how cores behave.

use serde::Deserialize;

/// `sim/ue-group`: UEs that are alike.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct UeGroup {
    /// Name of the group.
    pub name: String,
    /// Whether they are switched on.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// IMSI of the first of them; the others follow.
    pub first_imsi: String,
    /// How many.
    #[serde(default = "one")]
    pub count: u16,
    /// The cell that they are near; any of this node's where absent.
    pub cell: Option<String>,
    /// The data network that they ask for.
    pub dnn: Option<String>,
    /// What one PRB carries for one of them in a millisecond.
    #[serde(default = "four_hundred")]
    pub bits_per_prb: u16,
    /// Traffic towards each of them.
    #[serde(default)]
    pub down: Traffic,
    /// Traffic from each of them.
    #[serde(default)]
    pub up: Traffic,
}

impl UeGroup {
    /// The IMSIs of the group; `None` where they run over the number of digits.
    pub(super) fn imsis(&self) -> Option<impl Iterator<Item = String>> {
        let digits = self.first_imsi.len();
        let first: u64 = self.first_imsi.parse().ok()?;
        let end = first + u64::from(self.count);
        (end.saturating_sub(1).to_string().len() <= digits)
            .then(|| (first..end).map(move |number| format!("{number:0digits$}")))
    }
}

/// `down` and `up` of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Traffic {
    /// Traffic model.
    #[serde(default)]
    pub model: TrafficModel,
    /// Bit rate of the model constant.
    #[serde(default = "rate", rename = "rate")]
    pub rate_kbps: u32,
    /// Time between two packets of the model periodic.
    #[serde(default = "interval", rename = "interval")]
    pub interval_ms: u32,
    /// Size of a packet.
    #[serde(default = "packet", rename = "packet-size")]
    pub packet_bytes: u16,
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            model: TrafficModel::None,
            rate_kbps: rate(),
            interval_ms: interval(),
            packet_bytes: packet(),
        }
    }
}

/// `model`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrafficModel {
    /// Nothing.
    #[default]
    None,
    /// There is always more.
    FullBuffer,
    /// Packets at a constant bit rate.
    Constant,
    /// A packet now and then.
    Periodic,
}

/// `sim/core`: how a core behaves.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SimCore {
    /// The core.
    pub name: String,
    /// What it does.
    #[serde(default)]
    pub behaviour: Behaviour,
    /// Cause that it gives when it refuses.
    #[serde(default = "unknown_plmn")]
    pub cause: String,
}

/// `behaviour`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Behaviour {
    /// It accepts the setup.
    #[default]
    Accept,
    /// It refuses the setup.
    Reject,
    /// It does not answer.
    Vanish,
}

fn yes() -> bool {
    true
}

fn one() -> u16 {
    1
}

fn four_hundred() -> u16 {
    400
}

fn rate() -> u32 {
    1000
}

fn interval() -> u32 {
    1000
}

fn packet() -> u16 {
    1200
}

fn unknown_plmn() -> String {
    "unknown-PLMN-or-SNPN".to_owned()
}
