//! What applications are, up or down, why and since when: of the interfaces as they are found and of health checks. Pure.

use std::collections::BTreeMap;
use std::time::SystemTime;

use tranche_steering::{ApplicationConfig, SteeringConfig};

use super::health::Of;
use super::program::{Failing, Interfaces};
use super::state::{Condition, Down, DownBy, Event};

/// The applications of a node as they were last seen.
#[derive(Debug, Default)]
pub(super) struct Conditions(BTreeMap<Of, Condition>);

impl Conditions {
    /// Takes in what is seen now. Those that went up or down; one that is new did not.
    pub(super) fn take(
        &mut self,
        config: &SteeringConfig,
        interfaces: &Interfaces,
        failing: &Failing,
        now: SystemTime,
    ) -> Vec<Event> {
        let before = std::mem::take(&mut self.0);
        let mut events = Vec::new();
        for chain in &config.chains {
            for application in &chain.applications {
                let of = (chain.name.clone(), application.name.clone());
                let down = down(application, interfaces, failing.get(&of));
                let is_up = down.is_none();
                let last = before.get(&of);
                let same = last.filter(|last| last.is_up == is_up);
                let condition = Condition {
                    is_up,
                    down,
                    changed_at: same.map_or(now, |last| last.changed_at),
                };
                if last.is_some() && same.is_none() {
                    events.push(Event::Application {
                        chain: chain.name.clone(),
                        application: application.name.clone(),
                        now: condition.clone(),
                    });
                }
                self.0.insert(of, condition);
            }
        }
        events
    }

    /// What an application is.
    pub(super) fn of(&self, of: &Of) -> Option<&Condition> {
        self.0.get(of)
    }
}

/// What is wrong with an application. Without a link it cannot be asked, so that is said first.
fn down(
    application: &ApplicationConfig,
    interfaces: &Interfaces,
    fails: Option<&String>,
) -> Option<Down> {
    let by_port = |name: &str| {
        let reason = match interfaces.get(name) {
            None => format!("port {name} is missing"),
            Some(found) if !found.is_up => format!("port {name} is down"),
            Some(_) => return None,
        };
        Some(Down {
            down_by: DownBy::Port,
            reason,
        })
    };
    let by_check = |reason: &String| Down {
        down_by: DownBy::HealthCheck,
        reason: reason.clone(),
    };
    by_port(&application.port)
        .or_else(|| by_port(application.return_port()))
        .or_else(|| fails.map(by_check))
}
