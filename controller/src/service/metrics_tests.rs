use std::time::SystemTime;

use serde_json::{Value, json};

use crate::rollout::Heard;
use crate::service::tests::service_of;
use crate::service::tunnels::Lifecycle;

/// Users that read slices but for a path each, and `all`, who reads everything.
const USERS: [(&str, &str); 4] = [
    ("all", "/tranche-sla:sla/history"),
    ("stateless", "/tranche-slice:slices/slice/state"),
    (
        "timeless",
        "/tranche-slice:slices/slice/state/backhaul/lifecycle/asked",
    ),
    ("uncommitted", "/tranche-commits:commits"),
];

fn running() -> Value {
    let groups = USERS.map(|(user, _)| json!({ "name": user, "user-name": [user] }));
    let lists = USERS.map(|(user, path)| {
        json!({ "name": user, "group": [user], "rule": [
            { "name": "not", "path": path, "access-operations": "read", "action": "deny" },
            { "name": "all", "module-name": "*", "access-operations": "read", "action": "permit" },
        ] })
    });
    let key = "SHA256:6czmiZkOaxU6Iw50MPh+0kHxpL62rOTFp+p/3+odzTM";
    json!({
        "ietf-netconf-acm:nacm": {
            "read-default": "deny", "groups": { "group": groups }, "rule-list": lists,
        },
        "tranche-inventory:inventory": {
            "credential": [{ "name": "c", "user": "tranche", "key": "main" }],
            "node": [{ "name": "n1", "address": "192.0.2.1", "credential": "c", "host-key": key }],
        },
        "tranche-slice:slices": { "slice": [{
            "id": "a", "tenant": "t", "where": { "node": ["n1"] },
            "wifi": { "ssid": "a", "security": { "mode": "open" } },
            "backhaul": { "pool": "10.77.0.0/24", "hub": [{ "name": "n1", "node": "n1" }] },
        }] },
    })
}

#[tokio::test]
async fn nothing_is_told_of_what_a_user_may_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let service = service_of(&running(), dir.path()).await;
    let now = SystemTime::now();
    let lifecycle = Lifecycle {
        asked: Some(now),
        committed: Some(now),
        heard: Some(Heard {
            handshake: None,
            packet: now,
        }),
        ..Lifecycle::default()
    };
    {
        let mut live = service.live.lock().unwrap();
        live.lifecycles.insert("a".to_owned(), lifecycle);
        live.failovers.insert("a".to_owned(), 3);
    }
    let told = |user: &str| {
        let text = service.metrics(user).unwrap();
        let has = |start: &str| text.lines().any(|line| line.starts_with(start));
        [
            "tranche_slice_lifecycle_seconds{slice=\"a\",phase=\"committed\"} ",
            "tranche_slice_lifecycle_seconds{slice=\"a\",phase=\"first-packet\"} ",
            "tranche_slice_failovers_total{slice=\"a\"} 3",
            "tranche_commits_total 1",
        ]
        .map(has)
    };
    assert_eq!(told("all"), [true, true, true, true]);
    assert_eq!(told("stateless"), [false, false, false, true]);
    assert_eq!(told("timeless"), [false, false, true, true]);
    assert_eq!(told("uncommitted"), [true, true, true, false]);
    assert_eq!(told("nobody"), [false; 4]);
}
