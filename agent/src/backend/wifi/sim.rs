//! Simulated radios and access points. Under construction.

use std::sync::Arc;

use super::{RadioState, VifState, WifiBackend};
use crate::backend::sim::Medium;
use crate::backend::{Applied, Backend, BoxFuture, NodeConfig, Plan, Reconciled, Refusal};

const DOMAIN: &str = "wifi";

/// The Wi-Fi hardware of one simulated node.
#[derive(Debug)]
pub struct SimulatedWifi {
    _medium: Arc<Medium>,
    _node: String,
}

impl SimulatedWifi {
    /// The hardware of `node` on `medium`.
    pub fn new(medium: Arc<Medium>, node: impl Into<String>) -> Self {
        Self {
            _medium: medium,
            _node: node.into(),
        }
    }
}

impl Backend for SimulatedWifi {
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

impl WifiBackend for SimulatedWifi {
    fn radios(&self) -> BoxFuture<'_, Result<Vec<RadioState>, Refusal>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn vifs(&self) -> BoxFuture<'_, Result<Vec<VifState>, Refusal>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}
