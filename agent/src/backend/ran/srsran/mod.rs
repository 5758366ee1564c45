//! The gNB of the srsRAN project: its configuration file, and its remote control.
//!
//! What changes the ratios of slices is told to the running gNB and written to its file. Everything else is written to the file,
//! and the gNB told to end: whoever runs it (a service manager) starts it again, and a change counts as made when its
//! metrics show the cell. A gNB that does not come back, or refuses to end, gets its former file, and the change is refused.
//! Until the gNB is known to run with its file, the last line of that says so ([`OPEN`]): an agent that finds it at its start was
//! killed meanwhile, and has the gNB begin anew.
//!
//! The remote control answers success to what it ignores, so `check.rs` refuses that before; it resets the one ratio when only
//! the other is sent, so both always are. Its metrics show cells, UEs by cell and AMFs by PLMN, but neither policies nor UEs by
//! slice: ratios in force are those that it acknowledged or started with, and shares are not measured.

mod check;
mod control;
mod observe;
mod render;
mod restart;
#[cfg(test)]
mod stand_in;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::broadcast;

use self::control::{Control, ControlError, Observed};
use self::render::{render, sd};
use super::diff::{self, Attached};
use super::{DOMAIN, Direction, Event, ProfileConfig, ProfileState, RanConfig, profile_path};
use crate::backend::{
    Applied, Backend, BoxFuture, Cost, NodeConfig, Plan, Reconciled, Refusal, Step, Warning,
    WarningKind,
};

const ROOT: &str = "/tranche-ran:ran";
const RESTART: &str = "restart needed: the gNB starts again";
/// Last line of a file with which the gNB is not known to run.
const OPEN: &str = "# The gNB is not known to run with this.\n";

/// How the gNB is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SrsRanSettings {
    /// The file that the agent writes and the gNB reads at its start.
    pub config: PathBuf,
    /// Where its remote control listens.
    pub control: SocketAddr,
    /// The address of the gNB towards the AMFs.
    pub bind_addr: IpAddr,
    /// How long a gNB may take to come back.
    pub restart_wait: Duration,
    /// How long nothing may be heard of a gNB that is connected, until it counts as gone.
    pub silence: Duration,
}

/// The RAN of a machine with such a gNB. Clones are handles of the same.
#[derive(Debug, Clone)]
pub struct SrsRan(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: SrsRanSettings,
    control: Control,
    /// Held by who changes what the gNB runs: a commit and a restart by hand come from different tasks.
    turn: tokio::sync::Mutex<()>,
    /// What the gNB was told last.
    told: Mutex<RanConfig>,
    /// With what it is to begin, and did not yet.
    awaited: Mutex<Option<RanConfig>>,
    sequence: AtomicU64,
    period_start: Mutex<Instant>,
    announced: Mutex<Vec<(String, ProfileState)>>,
    events: broadcast::Sender<Event>,
}

/// What a change asks of the gNB.
enum Change {
    Nothing,
    /// Other ratios of these slice profiles.
    Hot(Vec<ProfileConfig>),
    Restart,
}

impl SrsRan {
    /// The gNB of these settings, whether or not it runs. Needs a runtime.
    #[must_use]
    pub fn new(settings: SrsRanSettings) -> Self {
        Self(Arc::new(Inner {
            control: Control::new(settings.control, settings.silence),
            turn: tokio::sync::Mutex::default(),
            settings,
            told: Mutex::default(),
            awaited: Mutex::default(),
            sequence: AtomicU64::new(0),
            period_start: Mutex::new(Instant::now()),
            announced: Mutex::default(),
            events: broadcast::Sender::new(64),
        }))
    }

    fn told(&self) -> RanConfig {
        lock(&self.0.told).clone()
    }

    fn text(&self, ran: &RanConfig) -> Option<String> {
        render(ran, &self.0.settings)
    }

    /// What it takes of the gNB.
    fn change(&self, old: &RanConfig, new: &RanConfig) -> Change {
        let (old_text, new_text) = (self.text(old), self.text(new));
        if old_text == new_text {
            return Change::Nothing;
        }
        let mut alike = old.clone();
        let mut changed = Vec::new();
        for (before, after) in alike.profiles.iter_mut().zip(&new.profiles) {
            let (was, is) = (before.share(Direction::Down), after.share(Direction::Down));
            if before.name == after.name && was != is && was.dedicated == is.dedicated {
                before.policies.clone_from(&after.policies);
                changed.push(after.clone());
            }
        }
        match self.text(&alike) == new_text {
            true => Change::Hot(changed),
            false => Change::Restart,
        }
    }

    fn steps(&self, old: &RanConfig, new: &RanConfig) -> Vec<Step> {
        let mut steps = diff::steps(&NoneApart, old, new);
        if matches!(self.change(old, new), Change::Restart) {
            let cost = match attached(&self.0.control.observed()) {
                0 => Cost::Hot,
                stations_dropped => Cost::Restart { stations_dropped },
            };
            steps.push(Step {
                path: ROOT.to_owned(),
                action: RESTART.to_owned(),
                cost,
            });
        }
        steps
    }

    /// Carries a configuration out; on an error the former one is in force.
    async fn carry_out(&self, new: &RanConfig) -> Result<RanConfig, Refusal> {
        let _turn = self.0.turn.lock().await;
        let old = self.told();
        match self.change(&old, new) {
            Change::Nothing => {}
            Change::Hot(profiles) => {
                let now = self.0.control.observed();
                if !now.is_in_service() {
                    let away = ControlError::Away(self.0.settings.control);
                    return Err(not_set(&profiles, &now.refusal.unwrap_or(away)));
                }
                if let Err((taken, refusal)) = self.set_policies(new, &profiles).await {
                    let taken = profiles.iter().take(taken);
                    let before: Vec<_> = taken
                        .filter_map(|profile| old.profile(&profile.name).cloned())
                        .collect();
                    let undone = self.set_policies(&old, &before).await;
                    return Err(also(refusal, undone.map_err(|(_, refusal)| refusal)));
                }
            }
            Change::Restart => {
                if let Err(refusal) = self.restart(new).await {
                    // What is not there need not come back now.
                    let undone = match self.0.control.observed().is_connected {
                        _ if self.runs_as_told() => Ok(()),
                        true => self.restart(&old).await,
                        false => self.begin(&old),
                    };
                    return Err(also(refusal, undone));
                }
            }
        }
        *lock(&self.0.told) = new.clone();
        Ok(old)
    }

    /// Tells the gNB other ratios, and writes them to its file for its next start. On an error also how many of them it may
    /// have taken.
    async fn set_policies(
        &self,
        ran: &RanConfig,
        profiles: &[ProfileConfig],
    ) -> Result<(), (usize, Refusal)> {
        let open = self.write(self.open_text(ran).as_deref());
        open.map_err(|refusal| (0, refusal))?;
        *lock(&self.0.awaited) = None;
        for (before, profile) in profiles.iter().enumerate() {
            self.0
                .control
                .send(&policy(profile))
                .await
                .map_err(|error| {
                    let taken = before + usize::from(matches!(error, ControlError::Away(_)));
                    (taken, not_set(std::slice::from_ref(profile), &error))
                })?;
        }
        let done = self.write(self.text(ran).as_deref());
        done.map_err(|refusal| (profiles.len(), refusal))
    }

    /// The file for as long as the gNB is not known to run with it.
    fn open_text(&self, ran: &RanConfig) -> Option<String> {
        self.text(ran).map(|text| text + OPEN)
    }

    /// Replaces the file as a whole, or removes it.
    fn write(&self, text: Option<&str>) -> Result<(), Refusal> {
        let path = &self.0.settings.config;
        let done = match text {
            Some(text) => replace(path, text),
            None => match std::fs::remove_file(path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
                other => other,
            },
        };
        done.map_err(|error| {
            tracing::error!(path = %path.display(), %error, "the gNB's file cannot be written");
            Refusal::new(ROOT, "the configuration file of the gNB cannot be written")
        })
    }
}

/// Why the first of these slice profiles has not its ratios.
fn not_set(profiles: &[ProfileConfig], error: &ControlError) -> Refusal {
    let path = profiles.first().map_or_else(
        || ROOT.to_owned(),
        |profile| format!("{}/rrm-policy", profile_path(&profile.name)),
    );
    Refusal::new(path, error.to_string())
}

/// The command that sets the ratios of a slice: always both, since the one that is left out is reset.
fn policy(profile: &ProfileConfig) -> Value {
    let share = profile.share(Direction::Down);
    let mut member = json!({ "plmn": profile.plmn(), "sst": profile.sst });
    if let Some(sd) = sd(profile) {
        member["sd"] = sd.into();
    }
    json!({
        "cmd": "rrm_policy_ratio_set",
        "policies": {
            "resourceType": "PRB",
            "rRMPolicyMemberList": [member],
            "min_prb_policy_ratio": share.min.hundredths() / 100,
            "max_prb_policy_ratio": share.max.hundredths() / 100,
        },
    })
}

fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text)?;
    std::fs::rename(&beside, path)
}

fn also(refusal: Refusal, undone: Result<(), Refusal>) -> Refusal {
    match undone {
        Ok(()) => refusal,
        Err(second) => Refusal {
            message: format!(
                "{}; the former state could not be restored: {}",
                refusal.message, second.message
            ),
            ..refusal
        },
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

fn shows(observed: &Observed, pci: u16) -> bool {
    let cells = observed.cells.as_ref();
    cells.is_some_and(|cells| cells.iter().any(|cell| cell.cell_metrics.pci == pci))
}

fn attached(observed: &Observed) -> u32 {
    let cells = observed.cells.iter().flatten();
    cells.map(|cell| cell.ue_list.len() as u32).sum()
}

/// UEs are not known by slice here; what a restart drops is a step of its own.
struct NoneApart;

impl Attached for NoneApart {
    fn of_profile(&self, _: &str) -> u32 {
        0
    }

    fn of_profile_on(&self, _: &str, _: &str) -> u32 {
        0
    }

    fn of_cell(&self, _: &str) -> u32 {
        0
    }
}

impl Backend for SrsRan {
    fn domain(&self) -> &'static str {
        DOMAIN
    }

    fn plan(&self, old: &NodeConfig, new: &NodeConfig) -> Result<Plan, Refusal> {
        super::check::check(&new.ran)?;
        check::check(&new.ran)?;
        let steps = self.steps(&old.ran, &new.ran);
        let ues = attached(&self.0.control.observed());
        // Any UE of the cell may be of the slice.
        let ues = |_: &str| format!("up to {ues} UEs");
        let mut warnings = diff::warnings(&old.ran, &new.ran, ues);
        let restart = steps
            .iter()
            .find(|step| step.path == ROOT && step.action == RESTART);
        warnings.extend(restart.map(|step| {
            let dropped = step.cost.stations_dropped();
            let message = format!("restart needed: the gNB starts again and {dropped} UEs drop");
            Warning::new(WarningKind::Restart, ROOT, message)
        }));
        Ok(Plan::new(DOMAIN, steps, old, new).warning(warnings))
    }

    /// Any UE of the cell may be of the slice: the gNB does not say of which they are.
    fn objections(&self, old: &NodeConfig, new: &NodeConfig) -> Result<(), Refusal> {
        let count = attached(&self.0.control.observed());
        super::check::objections(&old.ran, &new.ran, |_, _| count).map_err(|refusal| Refusal {
            message: refusal.message.replacen(" has ", " may have ", 1),
            ..refusal
        })
    }

    fn apply(&mut self, plan: Plan) -> BoxFuture<'_, Result<Applied, Refusal>> {
        Box::pin(async move {
            let before = self.carry_out(&plan.new_config().ran).await?;
            Ok(Applied::new(DOMAIN, before))
        })
    }

    fn undo(&mut self, applied: Applied) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(async move {
            let before = applied.into_memory::<RanConfig>(DOMAIN)?;
            self.carry_out(&before).await.map(drop)
        })
    }

    fn reconcile(&mut self, wanted: &NodeConfig) -> BoxFuture<'_, Result<Reconciled, Refusal>> {
        let ran = wanted.ran.clone();
        Box::pin(async move {
            super::check::check(&ran)?;
            check::check(&ran)?;
            let _turn = self.0.turn.lock().await;
            *lock(&self.0.told) = ran.clone();
            let found = std::fs::read_to_string(&self.0.settings.config).ok();
            if found == self.text(&ran) {
                return Ok(Reconciled::default());
            }
            if lock(&self.0.awaited).as_ref() != Some(&ran) {
                self.begin(&ran)?;
            }
            self.finish(&ran).await?;
            let step = Step {
                path: ROOT.to_owned(),
                action: "write the gNB's configuration and start it again".to_owned(),
                cost: Cost::Hot,
            };
            Ok(Reconciled {
                repaired: vec![step],
            })
        })
    }
}
