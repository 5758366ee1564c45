//! Which core a simulated slice profile goes to, and the state that follows from it.

use super::core::Core;
use super::node::{Node, Profile};
use crate::backend::ran::{AdminState, CoreState, Event, ProfileConfig, ProfileState};

impl Node {
    /// Settles every slice profile on a core, and says what changed.
    pub(super) fn settle(&mut self) {
        for index in 0..self.profiles.len() {
            let name = self.profiles[index].name.clone();
            let Some(config) = self.told.ran.profile(&name).cloned() else {
                continue;
            };
            let core = self.core_for(&config, self.profiles[index].core.as_deref());
            let (state, cause) = self.state_of(&config, core.as_deref());
            let has_service = matches!(state, ProfileState::Active | ProfileState::Degraded);
            let core = core.filter(|_| has_service);
            if core != self.profiles[index].core {
                self.move_to(index, core);
            }
            self.enter(index, state, cause);
        }
    }

    /// The first core that is connected; one that is preferred to the one in use only after the hold-down.
    fn core_for(&self, profile: &ProfileConfig, current: Option<&str>) -> Option<String> {
        let hold_down_ms = u64::from(self.told.ran.failover.hold_down_s) * 1000;
        let core = |name: &str| self.cores.iter().find(|one| one.status.name == name);
        let listed = |name: &&str| profile.cores.iter().any(|one| one == *name);
        let in_use =
            current.filter(|name| listed(name) && core(name).is_some_and(Core::is_connected));
        let usable = |core: &Core| {
            let is_settled = self.now_ms >= core.since_ms + hold_down_ms;
            core.is_connected()
                && (in_use.is_none_or(|current| current == core.status.name) || is_settled)
        };
        let mut preferred = profile.cores.iter().filter_map(|name| core(name));
        preferred
            .find(|core| usable(core))
            .map(|core| core.status.name.clone())
    }

    fn state_of(
        &self,
        profile: &ProfileConfig,
        core: Option<&str>,
    ) -> (ProfileState, Option<String>) {
        if profile.admin_state == AdminState::Locked {
            return (ProfileState::Disabled, None);
        }
        let cells = || {
            let cells = self.cells.iter();
            cells.filter(|cell| profile.cells.contains(&cell.config.name))
        };
        let is_locked = |admin: AdminState| admin != AdminState::Unlocked;
        let locked: Vec<&str> = cells()
            .filter(|cell| is_locked(cell.config.admin_state))
            .map(|cell| cell.config.name.as_str())
            .collect();
        if locked.len() == cells().count() {
            let cause = "all of its cells are locked".to_owned();
            return (ProfileState::Failed, Some(cause));
        }
        if cells().any(|cell| !cell.is_up && !is_locked(cell.config.admin_state)) {
            return (ProfileState::Pending, Some("a cell is starting".to_owned()));
        }
        if core.is_none() {
            return self.without_core(profile);
        }
        if locked.is_empty() {
            return (ProfileState::Active, None);
        }
        let cause = format!("locked cells: {}", locked.join(", "));
        (ProfileState::Degraded, Some(cause))
    }

    fn without_core(&self, profile: &ProfileConfig) -> (ProfileState, Option<String>) {
        let cores = profile.cores.iter().filter_map(|name| {
            let mut cores = self.cores.iter();
            cores.find(|core| core.status.name == *name)
        });
        let mut causes = Vec::new();
        let mut is_known = true;
        for core in cores {
            is_known &= core.status.oper_state != CoreState::Unknown;
            let cause = core.status.cause.as_deref().unwrap_or("not tried yet");
            causes.push(format!("core {}: {cause}", core.status.name));
        }
        let state = match is_known {
            true => ProfileState::Degraded,
            false => ProfileState::Pending,
        };
        (state, Some(causes.join("; ")))
    }

    /// UEs register anew with another core: their links are made again in this round.
    fn move_to(&mut self, index: usize, core: Option<String>) {
        let Profile { name, .. } = self.profiles[index].clone();
        self.let_go(|_, at| at.profile == name);
        self.has_changed = true;
        let from = std::mem::replace(&mut self.profiles[index].core, core.clone());
        let (Some(from), Some(to)) = (from, core) else {
            return;
        };
        self.profiles[index].failovers += 1;
        let old = self.cores.iter().find(|one| one.status.name == from);
        let cause = match old {
            Some(core) if core.is_connected() => format!("core {to} is preferred"),
            Some(core) => core.status.cause.clone().unwrap_or_default(),
            None => "the core is not configured any more".to_owned(),
        };
        let event = Event::CoreFailover {
            name,
            from,
            to,
            cause,
        };
        // Nobody may listen.
        drop(self.events.send(event));
    }

    fn enter(&mut self, index: usize, state: ProfileState, cause: Option<String>) {
        let profile = &mut self.profiles[index];
        profile.cause.clone_from(&cause);
        let from = std::mem::replace(&mut profile.state, state);
        if from != state {
            let event = Event::ProfileStateChange {
                name: profile.name.clone(),
                from,
                to: state,
                cause,
            };
            // Nobody may listen.
            drop(self.events.send(event));
        }
    }
}
