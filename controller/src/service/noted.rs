//! What state is written from: copied at once, for whoever notes something must not wait until state is written.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::SystemTime;

use super::Service;
use super::tunnels::Lifecycle;
use crate::inventory::NodeName;
use crate::scheduler::{NetworkReport, RadioId};

/// What was noted of nodes and slices, as it was at one moment. Reports and names are shared, not copied.
#[derive(Debug, Default)]
pub(super) struct Noted {
    /// Radios that contend.
    pub(super) conflicts: Vec<(RadioId, RadioId)>,
    /// The contention domains of radios.
    pub(super) domains: Vec<(RadioId, Arc<str>)>,
    /// What all radios and cells measured in the last period.
    pub(super) report: NetworkReport,
    /// When that was taken in.
    pub(super) reported: Option<SystemTime>,
    /// When nodes last confirmed a slice.
    pub(super) applied: BTreeMap<String, SystemTime>,
    /// Nodes that can't have the slices that select them, and why.
    pub(super) unplaced: BTreeMap<NodeName, String>,
    /// When what was done for the backhaul of a slice.
    pub(super) lifecycles: BTreeMap<String, Lifecycle>,
}

impl Service {
    /// What is noted now.
    pub(super) fn noted(&self) -> Noted {
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        let domains = live.record.domains();
        Noted {
            conflicts: live.conflicts.clone(),
            domains: domains
                .map(|(id, name)| (id.clone(), Arc::clone(name)))
                .collect(),
            report: live.report.clone(),
            reported: live.reported,
            applied: live.applied.clone(),
            unplaced: live.unplaced.clone(),
            lifecycles: live.lifecycles.clone(),
        }
    }
}
