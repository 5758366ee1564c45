//! The connection to a simulated core.
//!
//! ```text
//!            accepts                    silent for 2 s
//!  unknown ----------> connected --------------------------> unreachable
//!     |  \                 |  ^                                |    ^
//!     |   \ refuses        |  +-- accepts, tried every 1 s ----+    | silent
//!     |    +--> setup-rejected <--+-------- refuses ----------------+
//!     +---------- silent for 2 s --> unreachable
//! ```

use super::config::{Behaviour, SimCore};
use crate::backend::ran::{CoreState, CoreStatus};

/// How long a core is silent before it counts as unreachable: two heartbeats of a second.
const SILENCE_MS: u64 = 2000;
/// Time between attempts.
const RETRY_MS: u64 = 1000;

/// The connection to a core.
#[derive(Debug, Clone)]
pub(super) struct Core {
    pub(super) status: CoreStatus,
    /// Since when it has been in this state.
    pub(super) since_ms: u64,
    tried_ms: u64,
    silent_since_ms: Option<u64>,
}

impl Core {
    pub(super) fn new(name: &str, now_ms: u64) -> Self {
        Self {
            status: CoreStatus {
                name: name.to_owned(),
                oper_state: CoreState::Unknown,
                cause: None,
            },
            since_ms: now_ms,
            tried_ms: 0,
            silent_since_ms: None,
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.status.oper_state == CoreState::Connected
    }

    /// Looks at what the core does now.
    pub(super) fn step(&mut self, core: Option<&SimCore>, now_ms: u64) {
        let behaviour = core.map_or(Behaviour::Accept, |core| core.behaviour);
        if behaviour == Behaviour::Vanish {
            let since = *self.silent_since_ms.get_or_insert(now_ms);
            if now_ms - since >= SILENCE_MS || self.status.oper_state == CoreState::SetupRejected {
                let cause = "it does not answer".to_owned();
                self.enter(CoreState::Unreachable, Some(cause), now_ms);
            }
            return;
        }
        self.silent_since_ms = None;
        let is_waiting = matches!(
            self.status.oper_state,
            CoreState::SetupRejected | CoreState::Unreachable
        );
        if is_waiting && now_ms < self.tried_ms + RETRY_MS {
            return;
        }
        self.tried_ms = now_ms;
        match (behaviour, core) {
            (Behaviour::Reject, Some(core)) => {
                self.enter(CoreState::SetupRejected, Some(core.cause.clone()), now_ms);
            }
            _ => self.enter(CoreState::Connected, None, now_ms),
        }
    }

    fn enter(&mut self, state: CoreState, cause: Option<String>, now_ms: u64) {
        if self.status.oper_state != state {
            self.since_ms = now_ms;
            self.tried_ms = now_ms;
        }
        self.status.oper_state = state;
        self.status.cause = cause;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn core(behaviour: Behaviour) -> SimCore {
        SimCore {
            name: "amf".to_owned(),
            behaviour,
            cause: "no-slice".to_owned(),
        }
    }

    #[test]
    fn a_core_that_falls_silent_is_unreachable_after_two_seconds_and_is_tried_again() {
        let mut one = Core::new("amf", 0);
        one.step(None, 100);
        assert!(one.is_connected());
        let gone = core(Behaviour::Vanish);
        one.step(Some(&gone), 200);
        one.step(Some(&gone), 2100);
        assert!(one.is_connected());
        one.step(Some(&gone), 2200);
        assert_eq!(one.status.oper_state, CoreState::Unreachable);
        one.step(None, 2300);
        assert_eq!(one.status.oper_state, CoreState::Unreachable);
        one.step(None, 3200);
        assert!(one.is_connected());
        assert_eq!(one.since_ms, 3200);
    }

    #[test]
    fn a_core_that_refuses_says_why() {
        let mut one = Core::new("amf", 0);
        one.step(Some(&core(Behaviour::Reject)), 100);
        assert_eq!(one.status.oper_state, CoreState::SetupRejected);
        assert_eq!(one.status.cause.as_deref(), Some("no-slice"));
    }
}
