//! The table of sessions: who is there, what they did, and how to end them (RFC 6022 2.1.4 and 2.1.5).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio_util::sync::{CancellationToken, DropGuard};

use super::{SessionEnd, SessionInfo};

/// Counters of one session, or summed over all since the start (RFC 6022 `common-counters`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SessionCounters {
    /// Correct requests received.
    pub in_rpcs: u64,
    /// Messages that were not a correct request.
    pub in_bad_rpcs: u64,
    /// Replies sent that carried an error.
    pub out_rpc_errors: u64,
    /// Notifications sent.
    pub out_notifications: u64,
}

/// One session at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionSnapshot {
    /// Who.
    pub info: SessionInfo,
    /// What so far.
    pub counters: SessionCounters,
}

/// Statistics since the table was made (RFC 6022 `statistics`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    /// `netconf-start-time`.
    pub start_time: SystemTime,
    /// Hellos that were refused.
    pub in_bad_hellos: u64,
    /// Sessions started.
    pub in_sessions: u64,
    /// Sessions that ended abnormally: transport lost, idle, protocol error.
    pub dropped_sessions: u64,
    /// Summed over all sessions, those that are over included.
    pub counters: SessionCounters,
}

/// Counters that a session writes and everybody may read.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) in_rpcs: AtomicU64,
    pub(super) in_bad_rpcs: AtomicU64,
    pub(super) out_rpc_errors: AtomicU64,
    pub(super) out_notifications: AtomicU64,
}

impl Counters {
    fn read(&self) -> SessionCounters {
        SessionCounters {
            in_rpcs: self.in_rpcs.load(Ordering::Relaxed),
            in_bad_rpcs: self.in_bad_rpcs.load(Ordering::Relaxed),
            out_rpc_errors: self.out_rpc_errors.load(Ordering::Relaxed),
            out_notifications: self.out_notifications.load(Ordering::Relaxed),
        }
    }
}

impl std::ops::AddAssign for SessionCounters {
    fn add_assign(&mut self, other: Self) {
        self.in_rpcs += other.in_rpcs;
        self.in_bad_rpcs += other.in_bad_rpcs;
        self.out_rpc_errors += other.out_rpc_errors;
        self.out_notifications += other.out_notifications;
    }
}

/// How a session is asked to end.
#[derive(Debug, Clone, Default)]
pub(super) struct Kill {
    pub(super) requested: CancellationToken,
    pub(super) by: Arc<AtomicU32>,
    /// The session knows.
    pub(super) noticed: bool,
}

#[derive(Debug)]
struct Entry {
    info: Arc<SessionInfo>,
    counters: Arc<Counters>,
    kill: Kill,
    gone: CancellationToken,
}

#[derive(Debug)]
struct Table {
    last_id: AtomicU32,
    start_time: SystemTime,
    in_bad_hellos: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    live: BTreeMap<u32, Entry>,
    ended: SessionCounters,
    in_sessions: u64,
    dropped_sessions: u64,
}

/// The sessions of one server, or of several that number theirs together. Clones share one table.
#[derive(Debug, Clone)]
pub struct Sessions {
    table: Arc<Table>,
}

impl Default for Sessions {
    fn default() -> Self {
        Self::new()
    }
}

impl Sessions {
    /// An empty table; its statistics count from now.
    #[must_use]
    pub fn new() -> Self {
        Self {
            table: Arc::new(Table {
                last_id: AtomicU32::new(0),
                start_time: SystemTime::now(),
                in_bad_hellos: AtomicU64::new(0),
                state: Mutex::new(State::default()),
            }),
        }
    }

    /// The sessions that are open, by id.
    #[must_use]
    pub fn list(&self) -> Vec<SessionSnapshot> {
        self.state()
            .live
            .values()
            .map(|entry| SessionSnapshot {
                info: SessionInfo::clone(&entry.info),
                counters: entry.counters.read(),
            })
            .collect()
    }

    /// How many are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state().live.len()
    }

    /// Whether none is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Asks session `id` to end on behalf of session `by` (0 where that is none). False where there is no such session.
    /// Returns at once; [`Sessions::ended`] waits for the end.
    #[must_use]
    pub fn kill(&self, id: u32, by: u32) -> bool {
        let state = self.state();
        let Some(entry) = state.live.get(&id) else {
            return false;
        };
        if !entry.kill.requested.is_cancelled() {
            entry.kill.by.store(by, Ordering::Release);
            entry.kill.requested.cancel();
        }
        true
    }

    /// Waits until session `id` is over and [`session_ended`](super::Handler::session_ended) has returned for it; at
    /// once where there is no such session. Give it a time limit: a session ends after its request in progress.
    pub async fn ended(&self, id: u32) {
        let gone = self.state().live.get(&id).map(|entry| entry.gone.clone());
        if let Some(gone) = gone {
            gone.cancelled().await;
        }
    }

    /// Statistics.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let state = self.state();
        let mut counters = state.ended;
        for entry in state.live.values() {
            counters += entry.counters.read();
        }
        Totals {
            start_time: self.table.start_time,
            in_bad_hellos: self.table.in_bad_hellos.load(Ordering::Relaxed),
            in_sessions: state.in_sessions,
            dropped_sessions: state.dropped_sessions,
            counters,
        }
    }

    /// A number for a session that begins.
    pub(super) fn next_id(&self) -> u32 {
        loop {
            let id = self
                .table
                .last_id
                .fetch_add(1, Ordering::Relaxed)
                .wrapping_add(1);
            if id != 0 && !self.state().live.contains_key(&id) {
                return id;
            }
        }
    }

    pub(super) fn count_bad_hello(&self) {
        self.table.in_bad_hellos.fetch_add(1, Ordering::Relaxed);
    }

    /// Enters a session that started. It stays until the place is dropped.
    pub(super) fn enter(
        &self,
        info: Arc<SessionInfo>,
        counters: Arc<Counters>,
        kill: Kill,
    ) -> Place {
        let id = info.id;
        let gone = CancellationToken::new();
        let entry = Entry {
            info,
            counters,
            kill,
            gone: gone.clone(),
        };
        let mut state = self.state();
        state.in_sessions += 1;
        state.live.insert(id, entry);
        Place {
            sessions: self.clone(),
            id,
            dropped: true,
            _gone: gone.drop_guard(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.table
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session's place in the table; dropping it takes the session out.
pub(super) struct Place {
    sessions: Sessions,
    id: u32,
    dropped: bool,
    /// Cancelled after the session is out of the table.
    _gone: DropGuard,
}

impl Place {
    /// Notes how the session ended.
    pub(super) fn ended(&mut self, end: &SessionEnd) {
        self.dropped = match end {
            SessionEnd::Closed | SessionEnd::Killed { .. } | SessionEnd::Shutdown => false,
            SessionEnd::TransportLost
            | SessionEnd::BadHello(_)
            | SessionEnd::Protocol(_)
            | SessionEnd::IdleTimeout => true,
        };
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.sessions.state();
        if let Some(entry) = state.live.remove(&self.id) {
            state.ended += entry.counters.read();
        }
        if self.dropped {
            state.dropped_sessions += 1;
        }
    }
}
