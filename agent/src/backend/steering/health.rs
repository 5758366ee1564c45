//! Whether applications do their work: what the results of their health checks mean, and the tasks that go on asking.
//!
//! ```text
//!              the first result is good, or 'rise' of them in a row
//!   unknown, counts as up --------> up <---------------------------- down <------ unknown
//!                                    |     'fall' failures in a row    ^   the first fails
//!                                    +---------------------------------+
//! ```
//! Tunnels (`backhaul/health.rs`) are judged by how long nothing was heard, because answers there may come late and still count.
//! Here each probe has one result in time, and results are counted.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::task::AbortOnDropHandle;
use tranche_steering::{ApplicationConfig, HealthCheck, SteeringConfig};

use super::plane::Plane;
use super::program::Failing;

/// An application by its chain and its name.
pub(super) type Of = (String, String);

/// What is known of one application by asking it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Health {
    /// Unknown before the first result.
    is_well: Option<bool>,
    /// Results in a row that say otherwise.
    against: u8,
    /// Why the last probe that failed did.
    reason: String,
    checked_at: Option<SystemTime>,
}

impl Health {
    /// Takes in a result; whether it changes what the application is.
    fn take(&mut self, result: Result<(), String>, check: &HealthCheck, now: SystemTime) -> bool {
        self.checked_at = Some(now);
        let answers = result.is_ok();
        if let Err(reason) = result {
            self.reason = reason;
        }
        if self.is_well == Some(answers) {
            self.against = 0;
            return false;
        }
        self.against = self.against.saturating_add(1);
        let enough = match (self.is_well, answers) {
            (None, _) => 1,
            (Some(_), true) => check.rise,
            (Some(_), false) => check.fall,
        };
        if self.against < enough {
            return false;
        }
        let was_up = self.is_well != Some(false);
        self.is_well = Some(answers);
        self.against = 0;
        was_up != answers
    }
}

/// The health checks that go on at a node.
#[derive(Default)]
pub(super) struct Checks {
    going_on: BTreeMap<Of, Check>,
    /// Somebody went up or down.
    news: Arc<Notify>,
}

struct Check {
    application: ApplicationConfig,
    health: Arc<Mutex<Health>>,
    _task: Option<AbortOnDropHandle<()>>,
}

impl Check {
    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether its results are also those of a check of this application.
    fn is_of(&self, application: &ApplicationConfig) -> bool {
        let timeless = |one: &ApplicationConfig| {
            let check = one.health_check.as_ref().map(|check| HealthCheck {
                pass_through: check.pass_through,
                icmp_echo: check.icmp_echo,
                tcp: check.tcp,
                http: check.http.clone(),
                ..HealthCheck::default()
            });
            ApplicationConfig {
                health_check: check,
                ..one.clone()
            }
        };
        timeless(&self.application) == timeless(application)
    }
}

fn checked(config: &SteeringConfig) -> impl Iterator<Item = (Of, &ApplicationConfig)> {
    config.chains.iter().flat_map(|chain| {
        let all = chain.applications.iter();
        let checked = all.filter(|one| one.health_check.is_some());
        checked.map(|one| ((chain.name.clone(), one.name.clone()), one))
    })
}

impl Checks {
    /// Whom to wait for to hear of who went up or down.
    pub(super) fn news(&self) -> Arc<Notify> {
        Arc::clone(&self.news)
    }

    /// Lets the checks of a configuration go on, and no others. Needs a runtime to ask anybody.
    pub(super) fn follow(&mut self, config: &SteeringConfig, plane: &Arc<dyn Plane>) {
        let mut before = std::mem::take(&mut self.going_on);
        for (of, application) in checked(config) {
            let last = before.remove(&of).filter(|last| last.is_of(application));
            let check = match last {
                Some(last) if last.application == *application => last,
                // What is known of it stays true with another interval.
                last => {
                    let health = last.map(|last| last.health).unwrap_or_default();
                    self.begin(application.clone(), health, plane)
                }
            };
            self.going_on.insert(of, check);
        }
    }

    fn begin(
        &self,
        application: ApplicationConfig,
        health: Arc<Mutex<Health>>,
        plane: &Arc<dyn Plane>,
    ) -> Check {
        let asking = ask(
            Arc::clone(plane),
            application.clone(),
            Arc::clone(&health),
            self.news(),
        );
        let task =
            Handle::try_current().map(|runtime| AbortOnDropHandle::new(runtime.spawn(asking)));
        Check {
            application,
            health,
            _task: task.ok(),
        }
    }

    /// Those of a configuration that fail, as far as is known.
    pub(super) fn failing(&self, config: &SteeringConfig) -> Failing {
        let fails = |(of, application): (Of, &ApplicationConfig)| {
            let check = self.going_on.get(&of)?;
            let health = check.is_of(application).then(|| check.health())?;
            (health.is_well == Some(false)).then(|| (of, health.reason.clone()))
        };
        checked(config).filter_map(fails).collect()
    }

    /// When an application was last asked.
    pub(super) fn checked_at(&self, of: &Of) -> Option<SystemTime> {
        self.going_on.get(of)?.health().checked_at
    }
}

/// Asks one application again and again. Each has a task of its own: one that hangs holds up no other.
async fn ask(
    plane: Arc<dyn Plane>,
    application: ApplicationConfig,
    health: Arc<Mutex<Health>>,
    news: Arc<Notify>,
) {
    let Some(check) = &application.health_check else {
        return;
    };
    let mut times = interval(check.interval());
    times.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        times.tick().await;
        let result = timeout(check.timeout(), plane.probe(&application, check)).await;
        let silent = |_| Err(format!("no answer within {} ms", check.timeout));
        let result = result.unwrap_or_else(silent);
        let mut health = health.lock().unwrap_or_else(PoisonError::into_inner);
        if health.take(result, check, SystemTime::now()) {
            news.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(health: &mut Health, results: &str) -> String {
        let check = HealthCheck {
            fall: 3,
            rise: 2,
            ..HealthCheck::default()
        };
        let one = |result| {
            let result = match result {
                '+' => Ok(()),
                _ => Err("no answer".to_owned()),
            };
            health.take(result, &check, SystemTime::UNIX_EPOCH);
            match health.is_well {
                None => '?',
                Some(true) => 'u',
                Some(false) => 'd',
            }
        };
        results.chars().map(one).collect()
    }

    #[test]
    fn an_application_goes_down_and_up_after_as_many_results_as_are_said() {
        for (results, states) in [
            ("++--+---+-++-", "uuuuuuudddduu"),
            // The first result alone decides.
            ("-+-++", "ddddu"),
            ("+---", "uuud"),
        ] {
            assert_eq!(take(&mut Health::default(), results), states, "{results}");
        }
    }

    #[test]
    fn only_a_change_is_news() {
        let (check, now) = (HealthCheck::default(), SystemTime::UNIX_EPOCH);
        let mut health = Health::default();
        assert!(!health.take(Ok(()), &check, now), "it counted as up");
        for is_news in [false, false, true, false] {
            assert_eq!(health.take(Err("x".to_owned()), &check, now), is_news);
        }
        let mut health = Health::default();
        assert!(health.take(Err("x".to_owned()), &check, now));
    }
}
