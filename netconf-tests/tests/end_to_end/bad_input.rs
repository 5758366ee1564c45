//! Bad input gets a clear error and changes nothing, anywhere.

use super::*;

/// What is sent, and what the error must name.
struct Bad {
    what: &'static str,
    body: Value,
    names: &'static [&'static str],
}

fn with(id: &str, pointer: &str, value: Value) -> Value {
    let mut slice = slice(id, "30.0");
    *slice.pointer_mut(pointer).unwrap() = value;
    slices(&[slice])
}

fn cases() -> Vec<Bad> {
    let security = json!({"mode": "wpa3-personal"});
    let min_over_max = json!({"min-ratio": "50.0", "max-ratio": "40.0"});
    let mut extra = slice("extra", "30.0");
    extra["colour"] = json!("red");
    vec![
        Bad {
            what: "an unknown node",
            body: with("s", "/where/node", json!(["node-1", "node-9"])),
            names: &["node-9"],
        },
        Bad {
            what: "an unknown site",
            body: with("s", "/where", json!({"site": ["moon"]})),
            names: &["moon"],
        },
        Bad {
            what: "no place",
            body: with("s", "/where", json!({})),
            names: &["at least one node"],
        },
        Bad {
            what: "ratios past 100",
            body: slices(&[slice("greedy-1", "60.0"), slice("greedy-2", "60.0")]),
            names: &["sum to 120", "node-1"],
        },
        Bad {
            what: "min over max",
            body: with("s", "/sla/airtime", min_over_max),
            names: &["min-ratio exceeds max-ratio"],
        },
        Bad {
            what: "a ratio past 100",
            body: with("s", "/sla/airtime/min-ratio", json!("100.5")),
            names: &["100.5"],
        },
        Bad {
            what: "an SSID of 33 bytes",
            body: with("s", "/wifi/ssid", json!("s".repeat(33))),
            names: &["ssid"],
        },
        Bad {
            what: "an SSID of 17 characters and 34 bytes",
            body: with("s", "/wifi/ssid", json!("é".repeat(17))),
            names: &["34 octets", "ssid-too-long"],
        },
        Bad {
            what: "no passphrase",
            body: with("s", "/wifi/security", security),
            names: &["passphrase"],
        },
        Bad {
            what: "an unknown leaf",
            body: slices(&[extra]),
            names: &["colour"],
        },
        Bad {
            what: "one id twice",
            body: slices(&[slice("twin", "10.0"), slice("twin", "20.0")]),
            names: &["twin"],
        },
        Bad {
            what: "more access points than the radios carry",
            body: slices(
                &(0..9)
                    .map(|i| slice(&format!("s{i}"), "1.0"))
                    .collect::<Vec<_>>(),
            ),
            names: &["node-1", "phy0"],
        },
    ]
}

#[tokio::test]
async fn a_bad_slice_is_refused_with_its_reason_and_changes_nothing() {
    let stack = start(Layout::Shared).await;
    create(&stack).await;
    let before = everything(&stack).await;
    for Bad { what, body, names } in cases() {
        let answer = put_slices(&stack, &body).await;
        let text = format!("{} {}", answer.message(), answer.body);
        assert!(
            (400..500).contains(&answer.status),
            "{what}: {} {text}",
            answer.status
        );
        for name in names {
            assert!(text.contains(name), "{what}: {name:?} is not in {text}");
        }
        assert!(answer.tag().is_some(), "{what}: {text}");
        assert_eq!(everything(&stack).await, before, "{what}");
    }
    // What is in order still goes through afterwards: no lock is left.
    let fine = put_slices(&stack, &slices(&[slice("fine", "50.0")])).await;
    assert!(fine.is_success(), "{}", fine.message());
}

#[tokio::test]
async fn a_body_that_is_no_data_is_refused() {
    let stack = start(Layout::Shared).await;
    let before = everything(&stack).await;
    for (body, status) in [
        (json!("text"), 400),
        (json!([]), 400),
        (json!({"slices": {}}), 400),
        (json!({"no-such-module:slices": {}}), 400),
        (
            json!({"tranche-slice:slices": {}, "tranche-sla:sla": {}}),
            400,
        ),
    ] {
        let answer = put_slices(&stack, &body).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.body);
        assert!(answer.tag().is_some(), "{body}: {}", answer.body);
    }
    assert_eq!(everything(&stack).await, before);
}

#[tokio::test]
async fn a_node_that_refuses_stops_the_change_everywhere() {
    let stack = start(Layout::Shared).await;
    let words = "the antenna is under water";
    let refuse = format!(
        "<sim xmlns=\"{SIM}\"><radio><name>phy0</name><refuse>{words}</refuse></radio></sim>"
    );
    edit_running(&stack, 1, &refuse).await;
    let before = everything(&stack).await;
    let answer = put_slices(&stack, &figure_21::slices()).await;
    let text = answer.message();
    assert!(!answer.is_success(), "{}", answer.status);
    assert!(text.contains("node-2") && text.contains(words), "{text}");
    assert_eq!(everything(&stack).await, before);

    let accept = format!(
        "<sim xmlns=\"{SIM}\"><radio><name>phy0</name><refuse xmlns:nc=\"urn:ietf:params:xml:ns:netconf:base:1.0\" \
         nc:operation=\"delete\"/></radio></sim>"
    );
    edit_running(&stack, 1, &accept).await;
    create(&stack).await;
    until_up(&stack, 1).await;
}
