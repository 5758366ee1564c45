//! The simulated airtime scheduler. Under construction.

use std::sync::Arc;
use std::time::Duration;

use super::{AirtimeBackend, AirtimeReport, Correction, RadioAirtimeState, VifAirtimeState};
use crate::backend::sim::Medium;
use crate::backend::{Applied, Backend, BoxFuture, NodeConfig, Plan, Reconciled, Refusal};

const DOMAIN: &str = "airtime";

/// The airtime scheduler of one simulated node.
#[derive(Debug)]
pub struct SimulatedAirtime {
    medium: Arc<Medium>,
    node: String,
}

impl SimulatedAirtime {
    /// The scheduler of `node` on `medium`.
    pub fn new(medium: Arc<Medium>, node: impl Into<String>) -> Self {
        Self {
            medium,
            node: node.into(),
        }
    }
}

impl Backend for SimulatedAirtime {
    fn domain(&self) -> &'static str {
        DOMAIN
    }

    fn plan(&self, old: &NodeConfig, new: &NodeConfig) -> Result<Plan, Refusal> {
        Ok(Plan::new(DOMAIN, Vec::new(), old, new))
    }

    fn apply(&mut self, plan: Plan) -> BoxFuture<'_, Result<Applied, Refusal>> {
        Box::pin(async move { Ok(Applied::new(DOMAIN, plan)) })
    }

    fn undo(&mut self, applied: Applied) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(async move { applied.into_memory::<Plan>(DOMAIN).map(drop) })
    }

    fn reconcile(&mut self, _wanted: &NodeConfig) -> BoxFuture<'_, Result<Reconciled, Refusal>> {
        Box::pin(async { Ok(Reconciled::default()) })
    }
}

impl AirtimeBackend for SimulatedAirtime {
    fn correct(
        &self,
        _corrections: &[Correction],
        _lifetime: Duration,
    ) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(async { Ok(()) })
    }

    fn report(&self) -> BoxFuture<'_, Result<AirtimeReport, Refusal>> {
        Box::pin(async {
            let sequence = self.medium.next_sequence(&self.node);
            Ok(AirtimeReport {
                sequence,
                interval_ms: 0,
                radios: Vec::new(),
            })
        })
    }

    fn radios(&self) -> BoxFuture<'_, Result<Vec<RadioAirtimeState>, Refusal>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn vifs(&self) -> BoxFuture<'_, Result<Vec<VifAirtimeState>, Refusal>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}
