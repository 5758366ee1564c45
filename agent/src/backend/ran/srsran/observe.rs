//! What is seen of a gNB: states as its metrics show them, and the report of a period.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::broadcast;

use super::control::{ControlError, Observed};
use super::render::in_service;
use super::{SrsRan, attached, lock, shows};
use crate::backend::ran::{
    AdminState, CellOperState, CellReport, CellState, CoreState, CoreStatus, Direction, Event,
    PrbCorrection, PrbReport, PrbUse, ProfileConfig, ProfileOnCell, ProfileReport, ProfileState,
    ProfileStatus, RanBackend,
};
use crate::backend::{BoxFuture, Refusal, Why};

impl SrsRan {
    fn state_of(&self, profile: &ProfileConfig) -> (ProfileState, Option<String>) {
        if profile.admin_state == AdminState::Locked {
            return (ProfileState::Disabled, None);
        }
        let (told, now) = (self.told(), self.0.control.observed());
        let cause = |text: String| Some(text);
        let Some((cell, _)) = in_service(&told) else {
            return (ProfileState::Failed, cause("its cell is locked".to_owned()));
        };
        if !now.is_connected {
            let away = ControlError::Away(self.0.settings.control);
            return (ProfileState::Failed, cause(away.to_string()));
        }
        if now.cells.is_none() || now.amfs.is_none() {
            let text = "the gNB has not told of its cell and AMFs yet";
            return (ProfileState::Pending, cause(text.to_owned()));
        }
        if !shows(&now, cell.pci) {
            let text = format!("the gNB has no cell with PCI {}", cell.pci);
            return (ProfileState::Failed, cause(text));
        }
        match serves(&now, &profile.plmn()) {
            true => (ProfileState::Active, None),
            false => {
                let text = "no AMF that serves its PLMN is connected to the gNB";
                (ProfileState::Degraded, cause(text.to_owned()))
            }
        }
    }

    fn status(&self, profile: &ProfileConfig) -> ProfileStatus {
        let (oper_state, cause) = self.state_of(profile);
        let active_core = profile.cores.first().cloned();
        ProfileStatus {
            name: profile.name.clone(),
            oper_state,
            cause,
            active_core: active_core.filter(|_| oper_state == ProfileState::Active),
            core_failovers: 0,
            ues: None,
            rejected_attaches: None,
            cells: profile
                .cells
                .iter()
                .map(|cell| on_cell(cell, profile))
                .collect(),
        }
    }

    /// Says which slice profiles are in another state than last time.
    fn announce(&self, states: &[ProfileStatus]) {
        let mut announced = lock(&self.0.announced);
        for status in states {
            let before = announced.iter().find(|(name, _)| *name == status.name);
            let from = before.map_or(ProfileState::Pending, |(_, state)| *state);
            if from != status.oper_state {
                // Nobody may listen.
                drop(self.0.events.send(Event::ProfileStateChange {
                    name: status.name.clone(),
                    from,
                    to: status.oper_state,
                    cause: status.cause.clone(),
                }));
            }
        }
        *announced = states
            .iter()
            .map(|status| (status.name.clone(), status.oper_state))
            .collect();
    }
}

impl RanBackend for SrsRan {
    fn initialise(&self, force: bool) -> BoxFuture<'_, Result<u32, Refusal>> {
        Box::pin(async move {
            let _turn = self.0.turn.lock().await;
            let count = attached(&self.0.control.observed());
            if count > 0 && !force {
                let message = format!("{count} UEs would lose their link: force it");
                let refusal = Refusal::new("/tranche-ran:initialise/force", message);
                return Err(refusal.tagged("has-ues"));
            }
            self.restart(&self.told()).await?;
            Ok(count)
        })
    }

    fn cells(&self) -> BoxFuture<'_, Result<Vec<CellState>, Refusal>> {
        let now = self.0.control.observed();
        let told = self.told();
        let cells = told.cells.iter().map(|cell| CellState {
            name: cell.name.clone(),
            oper_state: match shows(&now, cell.pci) && in_service(&told).is_some() {
                true => CellOperState::Up,
                false => CellOperState::Down,
            },
            max_plmns: cell.rat.max_plmns(),
            ues: attached(&now),
            used_down: None,
            used_up: None,
        });
        let cells = cells.collect();
        Box::pin(async { Ok(cells) })
    }

    fn cores(&self) -> BoxFuture<'_, Result<Vec<CoreStatus>, Refusal>> {
        let now = self.0.control.observed();
        let told = self.told();
        let state = |name: &String| {
            let served = told.profiles.iter();
            let mut served = served.filter(|profile| profile.cores.first() == Some(name));
            match (&now.amfs, served.clone().next()) {
                (None, _) | (_, None) => CoreState::Unknown,
                _ if served.any(|profile| serves(&now, &profile.plmn())) => CoreState::Connected,
                _ => CoreState::Unreachable,
            }
        };
        let cores = told.cores.iter().map(|core| CoreStatus {
            name: core.name.clone(),
            oper_state: state(&core.name),
            cause: None,
        });
        let cores = cores.collect();
        Box::pin(async { Ok(cores) })
    }

    fn profiles(&self) -> BoxFuture<'_, Result<Vec<ProfileStatus>, Refusal>> {
        let told = self.told();
        let states = told.profiles.iter().map(|profile| self.status(profile));
        let states = states.collect();
        Box::pin(async { Ok(states) })
    }

    /// The gNB's policies are for both directions and its metrics show no shares: there is nothing to correct by.
    fn correct(&self, _: &[PrbCorrection], _: Duration) -> BoxFuture<'_, Result<(), Refusal>> {
        let message = "shares are not measured on srsRAN, and not corrected";
        let refusal = Refusal::new("/tranche-ran:correct-prb", message).because(Why::Unsupported);
        Box::pin(async { Err(refusal.tagged("not-on-srsran")) })
    }

    fn report(&self) -> BoxFuture<'_, Result<PrbReport, Refusal>> {
        let told = self.told();
        let states: Vec<_> = told.profiles.iter().map(|one| self.status(one)).collect();
        self.announce(&states);
        let now = self.0.control.observed();
        let interval =
            std::mem::replace(&mut *lock(&self.0.period_start), Instant::now()).elapsed();
        let up = told.cells.iter().filter(|cell| shows(&now, cell.pci));
        let cells = up.map(|cell| CellReport {
            name: cell.name.clone(),
            bandwidth_prb: cell.bandwidth_prb,
            used_down: None,
            used_up: None,
            ues: attached(&now),
            profiles: told
                .profiles_of(&cell.name)
                .zip(&states)
                .map(|(profile, status)| ProfileReport {
                    slice: profile.slice.clone(),
                    oper_state: status.oper_state,
                    on_cell: on_cell(&profile.name, profile),
                })
                .collect(),
        });
        let report = PrbReport {
            sequence: self.0.sequence.fetch_add(1, Ordering::Relaxed) + 1,
            interval_ms: u32::try_from(interval.as_millis()).unwrap_or(u32::MAX),
            cells: cells.collect(),
        };
        Box::pin(async { Ok(report) })
    }

    fn events(&self) -> broadcast::Receiver<Event> {
        self.0.events.subscribe()
    }
}

fn on_cell(cell: &str, profile: &ProfileConfig) -> ProfileOnCell {
    let share = profile.share(Direction::Down);
    let in_force = PrbUse {
        effective_min_ratio: share.min,
        effective_max_ratio: share.max,
        used_ratio: None,
        backlogged: None,
        throughput_bps: None,
        delay_us: None,
        delay_p99_us: None,
    };
    ProfileOnCell {
        name: cell.to_owned(),
        ues: None,
        down: in_force,
        up: in_force,
    }
}

fn serves(observed: &Observed, plmn: &str) -> bool {
    let amfs = observed.amfs.as_ref();
    amfs.is_some_and(|amfs| amfs.iter().any(|amf| amf.serves(plmn)))
}
