//! A node without a RAN: cells are refused with the reason, everything else goes on.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;

use super::{
    CellState, CoreStatus, DOMAIN, Event, PrbCorrection, PrbReport, ProfileStatus, RanBackend,
    RanConfig, cell_path, profile_path,
};
use crate::backend::{Applied, Backend, BoxFuture, NodeConfig, Plan, Reconciled, Refusal, Why};

/// The RAN domain of a machine that has no RAN.
#[derive(Debug, Clone)]
pub struct AbsentRan {
    reason: Arc<str>,
    events: broadcast::Sender<Event>,
}

impl AbsentRan {
    /// `reason` is one sentence for who configures a cell: lower case, no full stop.
    #[must_use]
    pub fn new(reason: &str) -> Self {
        Self {
            reason: reason.into(),
            events: broadcast::Sender::new(1),
        }
    }

    fn check(&self, ran: &RanConfig) -> Result<(), Refusal> {
        let cell = ran.cells.first().map(|cell| cell_path(&cell.name));
        let core = ran.cores.first();
        let core = core.map(|core| format!("/tranche-ran:ran/core[name='{}']", core.name));
        let profile = ran.profiles.first().map(|one| profile_path(&one.name));
        match cell.or(core).or(profile) {
            None => Ok(()),
            Some(path) => Err(self.refusal(&path)),
        }
    }

    fn refusal(&self, path: &str) -> Refusal {
        Refusal::new(path, &*self.reason)
            .because(Why::Unsupported)
            .tagged("no-ran")
    }
}

impl Backend for AbsentRan {
    fn domain(&self) -> &'static str {
        DOMAIN
    }

    fn plan(&self, old: &NodeConfig, new: &NodeConfig) -> Result<Plan, Refusal> {
        self.check(&new.ran)?;
        Ok(Plan::new(DOMAIN, Vec::new(), old, new))
    }

    fn apply(&mut self, _: Plan) -> BoxFuture<'_, Result<Applied, Refusal>> {
        Box::pin(async { Ok(Applied::new(DOMAIN, ())) })
    }

    fn undo(&mut self, _: Applied) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(async { Ok(()) })
    }

    fn reconcile(&mut self, wanted: &NodeConfig) -> BoxFuture<'_, Result<Reconciled, Refusal>> {
        let possible = self.check(&wanted.ran);
        Box::pin(async { possible.map(|()| Reconciled::default()) })
    }
}

impl RanBackend for AbsentRan {
    fn initialise(&self, _: bool) -> BoxFuture<'_, Result<u32, Refusal>> {
        let refusal = self.refusal("/tranche-ran:initialise");
        Box::pin(async { Err(refusal) })
    }

    fn cells(&self) -> BoxFuture<'_, Result<Vec<CellState>, Refusal>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn cores(&self) -> BoxFuture<'_, Result<Vec<CoreStatus>, Refusal>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn profiles(&self) -> BoxFuture<'_, Result<Vec<ProfileStatus>, Refusal>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn correct(&self, _: &[PrbCorrection], _: Duration) -> BoxFuture<'_, Result<(), Refusal>> {
        let refusal = self.refusal("/tranche-ran:correct-prb");
        Box::pin(async { Err(refusal) })
    }

    fn report(&self) -> BoxFuture<'_, Result<PrbReport, Refusal>> {
        let report = PrbReport {
            sequence: 0,
            interval_ms: 0,
            cells: Vec::new(),
        };
        Box::pin(async { Ok(report) })
    }

    fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::ran::sim::scenario::one_cell;

    #[tokio::test]
    async fn a_cell_on_a_machine_without_a_ran_is_refused_with_the_reason() {
        let mut absent = AbsentRan::new("this machine runs no RAN");
        let nothing = NodeConfig::default();
        assert!(absent.plan(&nothing, &nothing).unwrap().steps().is_empty());
        let refusal = absent.plan(&nothing, &one_cell(&[])).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "/tranche-ran:ran/cell[name='c1']: this machine runs no RAN"
        );
        assert_eq!(
            (refusal.why, refusal.app_tag),
            (Why::Unsupported, Some("no-ran"))
        );
        assert_eq!(absent.reconcile(&one_cell(&[])).await, Err(refusal));
    }
}
