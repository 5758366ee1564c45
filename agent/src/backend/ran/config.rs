//! The typed form of the `tranche-ran` configuration. Names and meanings are the module's.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::backend::Ratio;

/// `/tranche-ran:ran`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RanConfig {
    /// Name of the eNB or gNB.
    pub node_name: Option<String>,
    /// Its identity.
    pub gnb_id: Option<u32>,
    /// How slice profiles move between cores.
    #[serde(default)]
    pub failover: FailoverConfig,
    /// Cells.
    #[serde(default, rename = "cell")]
    pub cells: Vec<CellConfig>,
    /// Core networks.
    #[serde(default, rename = "core")]
    pub cores: Vec<CoreConfig>,
    /// Slices of the cells.
    #[serde(default, rename = "slice-profile")]
    pub profiles: Vec<ProfileConfig>,
}

impl RanConfig {
    /// The cell of this name.
    #[must_use]
    pub fn cell(&self, name: &str) -> Option<&CellConfig> {
        self.cells.iter().find(|cell| cell.name == name)
    }

    /// The core of this name.
    #[must_use]
    pub fn core(&self, name: &str) -> Option<&CoreConfig> {
        self.cores.iter().find(|core| core.name == name)
    }

    /// The slice profile of this name.
    #[must_use]
    pub fn profile(&self, name: &str) -> Option<&ProfileConfig> {
        self.profiles.iter().find(|profile| profile.name == name)
    }

    /// The slice profiles that a cell carries, in the order of the configuration.
    pub fn profiles_of<'a>(&'a self, cell: &'a str) -> impl Iterator<Item = &'a ProfileConfig> {
        self.profiles
            .iter()
            .filter(move |profile| profile.cells.iter().any(|one| one == cell))
    }
}

/// `failover`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct FailoverConfig {
    /// How long a preferred core must have been connected before slice profiles move back to it.
    #[serde(rename = "hold-down")]
    pub hold_down_s: u16,
}

impl Default for FailoverConfig {
    fn default() -> Self {
        Self { hold_down_s: 10 }
    }
}

/// `cell`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CellConfig {
    /// Its name.
    pub name: String,
    /// Whether it is in service.
    #[serde(default)]
    pub admin_state: AdminState,
    /// Radio access technology.
    pub rat: Rat,
    /// Physical cell identity.
    #[serde(default = "one")]
    pub pci: u16,
    /// EARFCN or NR-ARFCN of the downlink.
    pub arfcn: u32,
    /// Operating band.
    pub band: Option<u16>,
    /// PRB of each direction.
    pub bandwidth_prb: u16,
    /// Tracking area code.
    pub tac: u32,
}

/// `admin-state`. A cell is never shutting down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdminState {
    /// Out of service.
    Locked,
    /// Lets nobody in any more.
    ShuttingDown,
    /// In service.
    #[default]
    Unlocked,
}

/// `rat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rat {
    /// E-UTRA.
    Lte,
    /// NR.
    Nr,
}

impl Rat {
    /// Distinct PLMNs that a cell broadcasts at most (TS 36.331 maxPLMN-r11, TS 38.331 maxPLMN).
    #[must_use]
    pub fn max_plmns(self) -> u8 {
        match self {
            Self::Lte => 6,
            Self::Nr => 12,
        }
    }
}

impl fmt::Display for Rat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lte => "LTE",
            Self::Nr => "NR",
        })
    }
}

/// `core`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct CoreConfig {
    /// Its name.
    pub name: String,
    /// What answers there.
    pub kind: CoreKind,
    /// Where it runs.
    pub location: CoreLocation,
    /// Its address.
    pub address: IpAddr,
    /// SCTP port; that of its kind where absent.
    pub port: Option<u16>,
}

/// `core/kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CoreKind {
    /// Of an EPC.
    Mme,
    /// Of a 5GC.
    Amf,
}

impl fmt::Display for CoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mme => "MME",
            Self::Amf => "AMF",
        })
    }
}

/// `core/location`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CoreLocation {
    /// Near the cells.
    Edge,
    /// In the data centre.
    DataCentre,
}

/// `slice-profile`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ProfileConfig {
    /// Its name.
    pub name: String,
    /// Identifier of the network-wide slice.
    pub slice: Option<String>,
    /// Whether it is in service.
    #[serde(default)]
    pub admin_state: AdminState,
    /// Mobile country code.
    pub mcc: String,
    /// Mobile network code.
    pub mnc: String,
    /// Slice/service type.
    pub sst: Option<u8>,
    /// Slice differentiator.
    pub sd: Option<String>,
    /// Data networks; any where empty.
    #[serde(default, rename = "dnn")]
    pub dnns: Vec<String>,
    /// Cells that carry it.
    #[serde(default, rename = "cell")]
    pub cells: Vec<String>,
    /// Cores in the order of preference.
    #[serde(default, rename = "core")]
    pub cores: Vec<String>,
    /// UEs attached at once.
    pub max_ues: Option<u32>,
    /// What it is owed.
    #[serde(default, rename = "rrm-policy")]
    pub policies: Vec<PolicyConfig>,
    /// Whom it lets in.
    #[serde(default)]
    pub access: AccessConfig,
}

impl ProfileConfig {
    /// Its PLMN as text, MCC before MNC.
    #[must_use]
    pub fn plmn(&self) -> String {
        format!("{}{}", self.mcc, self.mnc)
    }

    /// Whether it is the same slice to UEs and cores as another: same PLMN and S-NSSAI.
    #[must_use]
    pub fn is_same_slice(&self, other: &Self) -> bool {
        (&self.mcc, &self.mnc, self.sst, &self.sd) == (&other.mcc, &other.mnc, other.sst, &other.sd)
    }

    /// What it is owed in one direction.
    #[must_use]
    pub fn share(&self, direction: Direction) -> Share {
        let of = |wanted| self.policies.iter().find(|one| one.resource_type == wanted);
        let own = match direction {
            Direction::Down => ResourceType::PrbDown,
            Direction::Up => ResourceType::PrbUp,
        };
        of(own)
            .or_else(|| of(ResourceType::Prb))
            .map_or_else(Share::default, |policy| policy.share)
    }
}

/// `rrm-policy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PolicyConfig {
    /// What is shared.
    pub resource_type: ResourceType,
    /// What is owed of it.
    #[serde(flatten)]
    pub share: Share,
}

/// `resource-type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResourceType {
    /// PRB of both directions.
    Prb,
    /// PRB of the downlink.
    PrbDown,
    /// PRB of the uplink.
    PrbUp,
}

impl ResourceType {
    /// The value in the module.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Prb => "prb",
            Self::PrbDown => "prb-down",
            Self::PrbUp => "prb-up",
        }
    }
}

/// The ratios of one direction. The schema has dedicated <= min <= max and max above nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Share {
    /// Guaranteed minimum.
    #[serde(default, rename = "min-ratio")]
    pub min: Ratio,
    /// Ceiling.
    #[serde(default = "full", rename = "max-ratio")]
    pub max: Ratio,
    /// Part of the minimum that is never lent.
    #[serde(default, rename = "dedicated-ratio")]
    pub dedicated: Ratio,
}

impl Default for Share {
    fn default() -> Self {
        Self {
            min: Ratio::ZERO,
            max: Ratio::FULL,
            dedicated: Ratio::ZERO,
        }
    }
}

/// A direction of traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// From the cell to its UEs.
    Down,
    /// From the UEs to their cell.
    Up,
}

impl Direction {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Down, Self::Up];
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Down => "down",
            Self::Up => "up",
        })
    }
}

/// `access`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AccessConfig {
    /// What happens to subscribers of the PLMN who are not listed.
    #[serde(default)]
    pub default_action: DefaultAction,
    /// Subscribers that are let in.
    #[serde(default, rename = "imsi-range")]
    pub ranges: Vec<ImsiRange>,
}

/// `access/default-action`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DefaultAction {
    /// Let in.
    Permit,
    /// Keep out.
    #[default]
    Deny,
}

/// `imsi-range`. The schema has both of one length and in order.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ImsiRange {
    /// First subscriber.
    pub first: String,
    /// Last subscriber.
    pub last: String,
    /// Subscribers of another PLMN.
    #[serde(default)]
    pub roaming: bool,
}

impl ImsiRange {
    /// Whether a subscriber is in it. Digits of one length are in the order of their text.
    #[must_use]
    pub fn contains(&self, imsi: &str) -> bool {
        imsi.len() == self.first.len() && self.first.as_str() <= imsi && imsi <= self.last.as_str()
    }

    /// Whether a subscriber is in both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.first.len() == other.first.len()
            && self.first <= other.last
            && other.first <= self.last
    }
}

fn one() -> u16 {
    1
}

fn full() -> Ratio {
    Ratio::FULL
}
