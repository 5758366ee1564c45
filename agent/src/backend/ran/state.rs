//! What can be observed of the RAN: the state of `tranche-ran`, its report and its notifications.

use serde::Serialize;

use super::config::Direction;
use crate::backend::Ratio;
use crate::backend::value::{as_text, as_text_if_known};

/// `cell/state`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct CellState {
    /// Name of the cell; the key of the entry, not a part of its state.
    #[serde(skip)]
    pub name: String,
    /// State.
    pub oper_state: CellOperState,
    /// Distinct PLMNs that it can carry.
    pub max_plmns: u8,
    /// UEs attached.
    pub ues: u32,
    /// Share of its downlink PRB used in the last period, where that is measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_down: Option<Ratio>,
    /// Share of its uplink PRB used in the last period, where that is measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_up: Option<Ratio>,
}

/// `oper-state` of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CellOperState {
    /// In service.
    Up,
    /// Not in service.
    Down,
}

/// `core/state`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct CoreStatus {
    /// Name of the core; the key of the entry, not a part of its state.
    #[serde(skip)]
    pub name: String,
    /// State of the connection.
    pub oper_state: CoreState,
    /// Why it is not connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

/// `oper-state` of a core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CoreState {
    /// Not tried yet.
    Unknown,
    /// It accepted the setup.
    Connected,
    /// It answered and refused.
    SetupRejected,
    /// It does not answer.
    Unreachable,
}

/// `slice-profile/state`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ProfileStatus {
    /// Name of the slice profile; the key of the entry, not a part of its state.
    #[serde(skip)]
    pub name: String,
    /// State.
    pub oper_state: ProfileState,
    /// Why it is not active.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// The core in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_core: Option<String>,
    /// How often it went from one core to another.
    #[serde(serialize_with = "as_text")]
    pub core_failovers: u64,
    /// UEs attached, where the RAN tells them apart by slice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ues: Option<u32>,
    /// Attempts of UEs that were turned away, where they are counted.
    #[serde(
        serialize_with = "as_text_if_known",
        skip_serializing_if = "Option::is_none"
    )]
    pub rejected_attaches: Option<u64>,
    /// What it gets of each of its cells.
    #[serde(rename = "cell")]
    pub cells: Vec<ProfileOnCell>,
}

/// `oper-state` of a slice profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProfileState {
    /// Locked.
    Disabled,
    /// No core has answered yet.
    Pending,
    /// Cells carry it and a core has accepted it.
    Active,
    /// In force, but not everywhere or without a core.
    Degraded,
    /// No cell carries it.
    Failed,
}

/// `slice-profile/state/cell`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProfileOnCell {
    /// The cell.
    pub name: String,
    /// UEs attached to it there, where the RAN tells them apart by slice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ues: Option<u32>,
    /// Downlink.
    pub down: PrbUse,
    /// Uplink.
    pub up: PrbUse,
}

/// What a slice profile is owed and got of one direction of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PrbUse {
    /// Minimum in force.
    pub effective_min_ratio: Ratio,
    /// Ceiling in force.
    pub effective_max_ratio: Ratio,
    /// Share in the last period, where that is measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_ratio: Option<Ratio>,
    /// More is waiting than was sent, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backlogged: Option<bool>,
    /// Mean of the last period, in bit/s, where that is measured.
    #[serde(
        rename = "throughput",
        serialize_with = "as_text_if_known",
        skip_serializing_if = "Option::is_none"
    )]
    pub throughput_bps: Option<u64>,
    /// Mean time that the packets waited which were sent in the last period, in µs, where that is measured and there were any.
    #[serde(rename = "delay", skip_serializing_if = "Option::is_none")]
    pub delay_us: Option<u32>,
    /// What 99 % of them waited at most, in µs.
    #[serde(rename = "delay-p99", skip_serializing_if = "Option::is_none")]
    pub delay_p99_us: Option<u32>,
}

/// `prb-report`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PrbReport {
    /// Number of the period.
    #[serde(serialize_with = "as_text")]
    pub sequence: u64,
    /// Length of the period.
    #[serde(rename = "interval")]
    pub interval_ms: u32,
    /// Cells that are up.
    #[serde(rename = "cell")]
    pub cells: Vec<CellReport>,
}

/// `prb-report/cell`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct CellReport {
    /// Its name.
    pub name: String,
    /// PRB of each direction.
    pub bandwidth_prb: u16,
    /// Share of its downlink PRB that were used, where that is measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_down: Option<Ratio>,
    /// Share of its uplink PRB that were used, where that is measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_up: Option<Ratio>,
    /// UEs attached.
    pub ues: u32,
    /// Slice profiles on it.
    #[serde(rename = "slice-profile")]
    pub profiles: Vec<ProfileReport>,
}

/// `prb-report/cell/slice-profile`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ProfileReport {
    /// Its slice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slice: Option<String>,
    /// Its state.
    pub oper_state: ProfileState,
    /// What it got, under its name.
    #[serde(flatten)]
    pub on_cell: ProfileOnCell,
}

/// One correction of the global scheduler (RPC `correct-prb`). It changes what is in force, not the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrbCorrection {
    /// The slice profile.
    pub profile: String,
    /// The cell.
    pub cell: String,
    /// The direction.
    pub direction: Direction,
    /// Guaranteed minimum from now on, until the next correction or until the slice profile is changed; as it is where
    /// absent.
    pub min_ratio: Option<Ratio>,
    /// Ceiling until it lapses; as it is where absent. 100 % takes a ceiling away.
    pub max_ratio: Option<Ratio>,
}

/// Something that happened to a slice profile. Serialises as the notification of the same name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Event {
    /// It is in another state.
    #[serde(rename = "tranche-ran:profile-state-change")]
    ProfileStateChange {
        /// The slice profile.
        name: String,
        /// State before.
        from: ProfileState,
        /// State now.
        to: ProfileState,
        /// Why it is not active.
        #[serde(skip_serializing_if = "Option::is_none")]
        cause: Option<String>,
    },
    /// It goes to another core.
    #[serde(rename = "tranche-ran:core-failover")]
    CoreFailover {
        /// The slice profile.
        name: String,
        /// The core before.
        from: String,
        /// The core now.
        to: String,
        /// Why.
        cause: String,
    },
}
