//! The part of a slice that is on LTE and NR cells: the container `ran` of `tranche-slice`, and what is promised of PRB.
//!
//! Names and meanings are those of `tranche-ran`, which a node has.

use std::fmt;

use serde::Deserialize;

use super::Ratio;

/// Radio access technology of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rat {
    /// E-UTRA.
    Lte,
    /// NR.
    Nr,
}

impl Rat {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Lte, Self::Nr];

    /// As the models name it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lte => "lte",
            Self::Nr => "nr",
        }
    }

    /// By the name in the models.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rat| rat.as_str() == name)
    }

    /// Distinct PLMNs that a cell broadcasts at most (TS 36.331 maxPLMN-r11, TS 38.331 maxPLMN).
    #[must_use]
    pub fn max_plmns(self) -> u8 {
        match self {
            Self::Lte => 6,
            Self::Nr => 12,
        }
    }

    /// What a cell of it goes to.
    #[must_use]
    pub fn core(self) -> CoreKind {
        match self {
            Self::Lte => CoreKind::Mme,
            Self::Nr => CoreKind::Amf,
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

/// What answers at a core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CoreKind {
    /// Of an EPC, for LTE cells.
    Mme,
    /// Of a 5GC, for NR cells.
    Amf,
}

impl CoreKind {
    /// By the name in the models.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "mme" => Some(Self::Mme),
            "amf" => Some(Self::Amf),
            _ => None,
        }
    }
}

impl fmt::Display for CoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mme => "MME",
            Self::Amf => "AMF",
        })
    }
}

/// Which cells a slice is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RatChoice {
    /// LTE and NR.
    #[default]
    Any,
    /// LTE cells only.
    Lte,
    /// NR cells only.
    Nr,
}

impl RatChoice {
    /// The only technology, if there is a choice.
    #[must_use]
    pub fn only(self) -> Option<Rat> {
        match self {
            Self::Any => None,
            Self::Lte => Some(Rat::Lte),
            Self::Nr => Some(Rat::Nr),
        }
    }

    /// Whether a cell may be taken.
    #[must_use]
    pub fn permits(self, rat: Rat) -> bool {
        self.only().is_none_or(|only| only == rat)
    }
}

/// Whether it is in service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdminState {
    /// Out of service; UEs are let go.
    Locked,
    /// Lets nobody in any more.
    ShuttingDown,
    /// In service.
    #[default]
    Unlocked,
}

impl AdminState {
    const ALL: [Self; 3] = [Self::Locked, Self::ShuttingDown, Self::Unlocked];

    /// As the models name it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Locked => "locked",
            Self::ShuttingDown => "shutting-down",
            Self::Unlocked => "unlocked",
        }
    }

    /// By the name in the models.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

/// A slice's part of cells (`ran`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Ran {
    /// Cells of which technology.
    #[serde(default)]
    pub rat: RatChoice,
    /// Whether it is in service there.
    #[serde(default)]
    pub admin_state: AdminState,
    /// Mobile country code of its PLMN.
    pub mcc: String,
    /// Mobile network code of its PLMN.
    pub mnc: String,
    /// Slice/service type, on NR cells.
    #[serde(default)]
    pub sst: Option<u8>,
    /// Slice differentiator.
    #[serde(default)]
    pub sd: Option<String>,
    /// Data networks that its UEs may ask for; any where empty.
    #[serde(default, rename = "dnn")]
    pub dnns: Vec<String>,
    /// Cores in the order of preference, as the nodes name them.
    #[serde(default, rename = "core")]
    pub cores: Vec<String>,
    /// UEs attached at once to each slice profile.
    #[serde(default)]
    pub max_ues: Option<u32>,
    /// Whom it lets in.
    #[serde(default)]
    pub access: Access,
}

/// Whom a slice lets in (`access`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Access {
    /// What happens to subscribers of the PLMN who are not listed.
    pub default_action: DefaultAction,
    /// Subscribers that are let in.
    #[serde(rename = "imsi-range")]
    pub ranges: Vec<ImsiRange>,
}

/// `access/default-action`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DefaultAction {
    /// Let in.
    Permit,
    /// Keep out.
    #[default]
    Deny,
}

impl DefaultAction {
    /// As the models name it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Permit => "permit",
            Self::Deny => "deny",
        }
    }

    /// By the name in the models.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Permit, Self::Deny]
            .into_iter()
            .find(|action| action.as_str() == name)
    }
}

/// `access/imsi-range`. The schema has both ends of one length and in order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
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
    /// Whether a subscriber is in both. Digits of one length are in the order of their text.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.first.len() == other.first.len()
            && self.first <= other.last
            && other.first <= self.last
    }
}

/// A promise of PRB (`sla/prb`): of every cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Prb {
    /// Downlink.
    pub down: Share,
    /// Uplink.
    pub up: Share,
}

/// What is promised of one direction. The schema has dedicated <= min <= max and max above nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Share {
    /// Guaranteed minimum.
    pub min_ratio: Ratio,
    /// Ceiling.
    pub max_ratio: Ratio,
    /// Part of the minimum that is never lent.
    pub dedicated_ratio: Ratio,
}

impl Default for Share {
    fn default() -> Self {
        Self {
            min_ratio: Ratio::ZERO,
            max_ratio: Ratio::FULL,
            dedicated_ratio: Ratio::ZERO,
        }
    }
}

/// One promise over both technologies (`sla/aggregate`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Aggregate {
    /// Guaranteed mean over all contention domains and cells that the slice is in.
    pub min_ratio: Ratio,
}
