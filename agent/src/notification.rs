//! What the agent announces on the stream `NETCONF` (RFC 6470), as RFC 7951 JSON of the notification.

use std::time::Duration;

use serde_json::{Value, json};
use tranche_netconf::server::{SessionEnd, SessionInfo};
use tranche_yang::Change;

use crate::drift::Repair;
use crate::transaction::Origin;

/// Edits that one `netconf-config-change` lists; a larger change is announced without a list.
const MAX_EDITS: usize = 256;

/// `confirm-event` of a `netconf-confirmed-commit` (RFC 6470 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfirmEvent {
    /// It was opened.
    Start,
    /// It was cancelled, or its session ended.
    Cancel,
    /// Nobody confirmed it in time.
    Timeout,
    /// It has a new deadline.
    Extend,
    /// It was confirmed.
    Complete,
}

impl ConfirmEvent {
    fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Cancel => "cancel",
            Self::Timeout => "timeout",
            Self::Extend => "extend",
            Self::Complete => "complete",
        }
    }
}

/// A session was established.
#[must_use]
pub fn session_start(session: &SessionInfo) -> Value {
    json!({ "ietf-netconf-notifications:netconf-session-start": who(&session.into()) })
}

/// A session is over.
#[must_use]
pub fn session_end(session: &SessionInfo, end: &SessionEnd) -> Value {
    let mut body = who(&session.into());
    if let SessionEnd::Killed { by } = end
        && *by != 0
    {
        body["killed-by"] = (*by).into();
    }
    body["termination-reason"] = end.termination_reason().into();
    json!({ "ietf-netconf-notifications:netconf-session-end": body })
}

/// Something happened to a confirmed commit.
#[must_use]
pub fn confirmed_commit(event: ConfirmEvent, origin: &Origin, timeout: Option<Duration>) -> Value {
    let mut body = who(origin);
    body["confirm-event"] = event.as_str().into();
    if let Some(timeout) = timeout {
        body["timeout"] = timeout.as_secs().into();
    }
    json!({ "ietf-netconf-notifications:netconf-confirmed-commit": body })
}

/// A datastore was changed.
#[must_use]
pub fn config_change(origin: &Origin, datastore: &str, changes: &[Change]) -> Value {
    let changed_by = if origin.is_server() {
        json!({ "server": [null] })
    } else {
        who(origin)
    };
    let mut body = json!({ "changed-by": changed_by, "datastore": datastore });
    let edits = edits(changes);
    if !edits.is_empty() && edits.len() <= MAX_EDITS {
        body["edit"] = edits.into();
    }
    json!({ "ietf-netconf-notifications:netconf-config-change": body })
}

/// What runs was not what is configured, and was put right as far as it could be (`tranche-wifi`).
#[must_use]
pub fn drift_repaired(cause: &str, repair: &Repair) -> Value {
    let repairs = repair
        .steps
        .iter()
        .map(|step| json!({ "target": step.path, "action": step.action }));
    let failures = repair
        .refusals
        .iter()
        .map(|refusal| json!({ "target": refusal.path, "reason": refusal.message }));
    json!({ "tranche-wifi:drift-repaired": {
        "cause": cause,
        "repair": repairs.collect::<Vec<_>>(),
        "failure": failures.collect::<Vec<_>>(),
    } })
}

/// The topmost nodes that changed: what comes or goes with its parent is not listed again.
fn edits(changes: &[Change]) -> Vec<Value> {
    let mut edits = Vec::new();
    let mut whole: Option<String> = None;
    for change in changes.iter().filter(|change| !change.is_default) {
        if whole.as_ref().is_some_and(|parent| {
            change
                .path
                .strip_prefix(parent)
                .is_some_and(|rest| rest.starts_with('/'))
        }) {
            continue;
        }
        let operation = match change.op.as_str() {
            "create" | "delete" => {
                whole = Some(change.path.clone());
                change.op.as_str()
            }
            "move" => "merge",
            other => other,
        };
        edits.push(json!({ "target": change.path, "operation": operation }));
        if edits.len() > MAX_EDITS {
            break;
        }
    }
    edits
}

fn who(origin: &Origin) -> Value {
    let mut body = json!({
        "username": if origin.is_server() { "" } else { &*origin.user },
        "session-id": origin.session,
    });
    if let Some(peer) = origin.peer {
        body["source-host"] = peer.to_string().into();
    }
    body
}
