//! State that no backend owns, as RFC 7951 JSON for the data tree: `ietf-netconf-monitoring` (RFC 6022), the state of
//! `ietf-system` (RFC 7317), of access control (RFC 8341) and the list of event streams (RFC 5277).
//!
//! Pure translation; who may see it is decided by the caller.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};
use tranche_netconf::message::Datastore;
use tranche_netconf::server::{SessionCounters, SessionSnapshot, Totals};

use crate::streams::Stream;
use tranche_yang::clock::rfc3339;

/// A datastore and the session that holds its lock.
#[derive(Debug, Clone, Copy)]
pub struct DatastoreState {
    /// Which.
    pub datastore: Datastore,
    /// Session and time of the lock.
    pub locked: Option<(u32, SystemTime)>,
}

/// `/ietf-netconf-monitoring:netconf-state` but for `schemas`, which the schema knows itself.
#[must_use]
pub fn netconf_state(
    capabilities: &[String],
    datastores: &[DatastoreState],
    sessions: &[SessionSnapshot],
    totals: &Totals,
) -> Value {
    json!({
        "ietf-netconf-monitoring:netconf-state": {
            "capabilities": { "capability": capabilities },
            "datastores": { "datastore": datastores.iter().map(datastore).collect::<Vec<_>>() },
            "sessions": { "session": sessions.iter().map(session).collect::<Vec<_>>() },
            "statistics": statistics(totals),
        }
    })
}

fn datastore(state: &DatastoreState) -> Value {
    let name = datastore_name(state.datastore);
    match state.locked {
        None => json!({ "name": name }),
        Some((session, since)) => json!({
            "name": name,
            "locks": { "global-lock": {
                "locked-by-session": session,
                "locked-time": rfc3339(since),
            } },
        }),
    }
}

/// The name of a datastore on the wire.
#[must_use]
pub fn datastore_name(datastore: Datastore) -> &'static str {
    match datastore {
        Datastore::Running => "running",
        Datastore::Candidate => "candidate",
        Datastore::Startup => "startup",
    }
}

fn session(session: &SessionSnapshot) -> Value {
    let mut out = json!({
        "session-id": session.info.id,
        "transport": "netconf-ssh",
        "username": session.info.user,
        "source-host": session.info.peer.ip().to_string(),
        "login-time": rfc3339(session.info.login_time),
    });
    add_counters(&mut out, &session.counters);
    out
}

fn statistics(totals: &Totals) -> Value {
    let mut out = json!({
        "netconf-start-time": rfc3339(totals.start_time),
        "in-bad-hellos": counter32(totals.in_bad_hellos),
        "in-sessions": counter32(totals.in_sessions),
        "dropped-sessions": counter32(totals.dropped_sessions),
    });
    add_counters(&mut out, &totals.counters);
    out
}

fn add_counters(out: &mut Value, counters: &SessionCounters) {
    out["in-rpcs"] = counter32(counters.in_rpcs);
    out["in-bad-rpcs"] = counter32(counters.in_bad_rpcs);
    out["out-rpc-errors"] = counter32(counters.out_rpc_errors);
    out["out-notifications"] = counter32(counters.out_notifications);
}

/// A counter of 32 bits wraps (RFC 6991 `counter32`).
fn counter32(value: u64) -> Value {
    (value & u64::from(u32::MAX)).into()
}

/// `/nc-notifications:netconf/streams` (RFC 5277 3.2.5).
#[must_use]
pub fn streams() -> Value {
    let streams: Vec<_> = Stream::ALL
        .iter()
        .map(|stream| {
            json!({
                "name": stream.name(),
                "description": stream.description(),
                "replaySupport": false,
            })
        })
        .collect();
    json!({ "nc-notifications:netconf": { "streams": { "stream": streams } } })
}

/// `/ietf-system:system-state`: what the kernel says of itself, as far as it can be read.
#[must_use]
pub fn system_state(now: SystemTime) -> Value {
    let mut platform = Map::new();
    for (leaf, file) in [
        ("os-name", "ostype"),
        ("os-release", "osrelease"),
        ("os-version", "version"),
    ] {
        if let Ok(text) = fs::read_to_string(format!("/proc/sys/kernel/{file}")) {
            platform.insert(leaf.to_owned(), text.trim().into());
        }
    }
    platform.insert("machine".to_owned(), std::env::consts::ARCH.into());
    let mut clock = Map::new();
    clock.insert("current-datetime".to_owned(), rfc3339(now).into());
    if let Some(boot) = boot_time() {
        clock.insert("boot-datetime".to_owned(), rfc3339(boot).into());
    }
    json!({ "ietf-system:system-state": { "platform": platform, "clock": clock } })
}

fn boot_time() -> Option<SystemTime> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let seconds = stat
        .lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()?;
    Some(UNIX_EPOCH + Duration::from_secs(seconds))
}
