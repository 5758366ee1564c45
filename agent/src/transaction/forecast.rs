//! What a change would do: proposed and planned on every backend, then rejected. Nothing is applied, kept or published.
//!
//! Asked of the committer, so that it is worked out from what is in force between two changes.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Committer, Origin, Propose, blocking};
use crate::backend::{NodeConfig, Plan, Refusal, Step, Warning, WarningKind, Why};
use crate::error::Error;

/// What a change would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forecast {
    /// How many nodes of running differ afterwards.
    pub changes: usize,
    /// What would be done, in order, with the domain that does it.
    pub steps: Vec<(&'static str, Step)>,
    /// What the author may not have meant.
    pub warnings: Vec<Warning>,
    /// Why the backends would refuse it, all of them.
    pub refusals: Vec<Refusal>,
}

impl Forecast {
    /// How many stations and UEs lose their link.
    #[must_use]
    pub fn users_dropped(&self) -> u32 {
        let steps = self.steps.iter();
        steps.map(|(_, step)| step.cost.stations_dropped()).sum()
    }

    /// Two domains may refuse for the same reason.
    fn refuse(&mut self, refusal: Refusal) {
        if !self.refusals.contains(&refusal) {
            self.refusals.push(refusal);
        }
    }

    fn take(&mut self, plan: &Plan) {
        let domain = plan.domain();
        self.warnings.extend_from_slice(plan.warnings());
        let told: HashSet<&str> = plan.warnings().iter().map(|w| w.path.as_str()).collect();
        for step in plan.steps() {
            let dropped = step.cost.stations_dropped();
            if dropped > 0 && !told.contains(step.path.as_str()) {
                let user = if domain == "ran" { "UE" } else { "station" };
                let lost = match dropped {
                    1 => format!("1 {user} loses its link"),
                    many => format!("{many} {user}s lose their link"),
                };
                let message = format!("{}: {lost}", step.action);
                let kind = WarningKind::UsersDropped;
                self.warnings.push(Warning::new(kind, &step.path, message));
            }
            self.steps.push((domain, step.clone()));
        }
    }
}

impl Committer {
    /// What a change would do.
    pub(super) async fn forecast(
        &self,
        origin: &Origin,
        propose: Propose,
    ) -> Result<Forecast, Vec<Error>> {
        let (node, asks) = (Arc::clone(&self.node), origin.clone());
        let prepared = blocking(move || node.prepare(&asks, propose)).await??;
        let mut forecast = self.look_ahead(prepared.config(), origin);
        forecast.changes = prepared.changes();
        self.reject(prepared).await;
        Ok(forecast)
    }

    fn look_ahead(&self, new: Option<&NodeConfig>, origin: &Origin) -> Forecast {
        let mut forecast = Forecast::default();
        let Some(new) = new else { return forecast };
        for backend in self.registry.backends() {
            match backend.plan(&self.config, new) {
                Ok(plan) => forecast.take(&plan),
                Err(refusal) => forecast.refuse(refusal),
            }
            let objection = backend.objections(&self.config, new).err();
            if let Some(refusal) = objection.filter(|_| !origin.is_server()) {
                forecast.refuse(refusal);
            }
        }
        if let Some(refusal) = self.confirmed_only(Some(new)) {
            let Refusal { path, message, .. } = refusal;
            let warning = Warning::new(WarningKind::ConfirmedOnly, path, message);
            forecast.warnings.push(warning);
        }
        forecast
    }

    /// What is said of a change of a management tunnel that is not in a confirmed commit.
    pub(super) fn confirmed_only(&self, new: Option<&NodeConfig>) -> Option<Refusal> {
        let slice = self.config.backhaul.management_change(&new?.backhaul)?;
        let path = format!("/tranche-backhaul:backhaul/tunnel[slice='{slice}']");
        let message = "a management tunnel is changed in a confirmed commit only: edit the candidate, commit it with confirmed, and confirm it through the tunnel";
        Some(Refusal::new(path, message).because(Why::Unsupported))
    }
}
