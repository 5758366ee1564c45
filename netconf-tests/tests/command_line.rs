//! What the programs refuse to start with, and how they say so.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::Duration;

use tranche_tests::figure_21::NODES;
use tranche_tests::process::{Process, binary};
use tranche_tests::stack::{Setup, Stack};

const LIMIT: Duration = Duration::from_secs(60);

struct Refused {
    code: Option<i32>,
    text: String,
}

/// Runs a program that is expected to give up.
async fn run(program: &str, arguments: &[&str]) -> Refused {
    let dir = tempfile::tempdir().unwrap();
    let arguments: Vec<String> = arguments.iter().map(|&a| a.to_owned()).collect();
    let mut process = Process::start(
        &binary(program).unwrap(),
        &arguments,
        &dir.path().join("log"),
    )
    .unwrap();
    let status = process.wait(LIMIT).await.unwrap();
    Refused {
        code: status.code(),
        text: process.last_words(),
    }
}

fn file(dir: &tempfile::TempDir, name: &str, text: &str) -> String {
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[tokio::test]
async fn a_factory_default_that_does_not_validate_is_named_with_place_and_reason() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state").display().to_string();
    let wifi = r#"{"tranche-wifi:wifi": {"radio": [{"name": "phy0", "band": "2.4GHz", "channel": CHANNEL}]},
                   "tranche-sim:sim": {"radio": [{"name": "phy0"}]}}"#;
    let good = file(&dir, "good.json", &wifi.replace("CHANNEL", "6"));
    let bad = file(&dir, "bad.json", &wifi.replace("CHANNEL", "999"));
    let refused = run(
        "tranche-agent",
        &[
            "--listen",
            "127.0.0.1:0",
            "--state-dir",
            &state,
            "--sim",
            "2",
            "--factory-default",
            &good,
            "--factory-default",
            &bad,
        ],
    )
    .await;
    assert_eq!(refused.code, Some(1), "{}", refused.text);
    for part in ["bad.json", "phy0", "channel", "999"] {
        assert!(
            refused.text.contains(part),
            "{part} is not in {}",
            refused.text
        );
    }
}

#[tokio::test]
async fn a_controller_says_what_is_wrong_with_its_factory_default() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state").display().to_string();
    let bad = file(
        &dir,
        "bad.json",
        r#"{"tranche-inventory:inventory": {"node": [{"name": "n", "address": "host", "credential": "none", "host-key": "k"}]}}"#,
    );
    let refused = run(
        "tranche-controller",
        &[
            "--listen",
            "127.0.0.1:0",
            "--state-dir",
            &state,
            "--factory-default",
            &bad,
        ],
    )
    .await;
    assert_eq!(refused.code, Some(1), "{}", refused.text);
    assert!(
        refused.text.contains("bad.json") && refused.text.contains("credential"),
        "{}",
        refused.text
    );
}

#[tokio::test]
async fn a_missing_file_is_named() {
    for program in ["tranche-agent", "tranche-controller"] {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state").display().to_string();
        let mut arguments = vec![
            "--listen",
            "127.0.0.1:0",
            "--state-dir",
            &state,
            "--factory-default",
            "/no/such/file.json",
        ];
        if program == "tranche-agent" {
            arguments.extend(["--sim", "1"]);
        }
        let refused = run(program, &arguments).await;
        assert_eq!(refused.code, Some(1), "{program}: {}", refused.text);
        assert!(
            refused.text.contains("/no/such/file.json"),
            "{program}: {}",
            refused.text
        );
    }
}

#[tokio::test]
async fn a_second_process_on_the_same_state_is_refused() {
    let stack = Stack::start(Setup::figure_21()).await.unwrap();
    let agent = stack.directory().join("agent-0").display().to_string();
    let refused = run(
        "tranche-agent",
        &[
            "--listen",
            "127.0.0.1:0",
            "--state-dir",
            &agent,
            "--sim",
            "2",
        ],
    )
    .await;
    assert_eq!(refused.code, Some(1), "{}", refused.text);
    assert!(refused.text.contains(&agent), "{}", refused.text);
    let controller = stack.directory().join("controller").display().to_string();
    let refused = run(
        "tranche-controller",
        &["--listen", "127.0.0.1:0", "--state-dir", &controller],
    )
    .await;
    assert_eq!(refused.code, Some(1), "{}", refused.text);
    assert!(refused.text.contains(&controller), "{}", refused.text);
    // Those that were there first are unharmed.
    stack.connected().await.unwrap();
}

#[tokio::test]
async fn a_controller_does_not_listen_to_the_network_without_a_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state").display().to_string();
    let refused = run(
        "tranche-controller",
        &["--listen", "0.0.0.0:0", "--state-dir", &state],
    )
    .await;
    assert_eq!(refused.code, Some(1), "{}", refused.text);
    assert!(
        refused.text.contains("certificate") || refused.text.contains("tls"),
        "{}",
        refused.text
    );
}

#[tokio::test]
async fn an_unknown_option_is_refused() {
    for program in ["tranche-agent", "tranche-controller", "figure-21"] {
        let refused = run(program, &["--colour", "red"]).await;
        assert_eq!(refused.code, Some(2), "{program}: {}", refused.text);
        assert!(
            refused.text.contains("--colour"),
            "{program}: {}",
            refused.text
        );
    }
}

#[tokio::test]
async fn an_extra_module_is_stored_and_validated_as_data() {
    let dir = tempfile::tempdir().unwrap();
    let module = file(
        &dir,
        "example-lamp.yang",
        "module example-lamp { yang-version 1.1; namespace \"urn:example:lamp\"; prefix lamp;\n\
         container lamp { leaf watts { type uint8 { range \"1..60\"; } } } }\n",
    );
    let lamp = |watts: u8| {
        NODES[0].replacen(
            '{',
            &format!("{{\"example-lamp:lamp\": {{\"watts\": {watts}}},"),
            1,
        )
    };
    let mut setup = Setup::figure_21().without_controller();
    setup.agent_arguments = vec!["--yang-module".to_owned(), module];
    setup.nodes = vec![lamp(40)];
    let stack = Stack::start(setup.clone()).await.unwrap();
    let (client, _) = tranche_tests::telemetry::connect(&stack.nodes[0], "admin", &stack.password)
        .await
        .unwrap();
    let config = client
        .get_config(tranche_netconf::message::Datastore::Running, None, None)
        .await
        .unwrap();
    assert!(
        config.as_str().contains("<watts>40</watts>"),
        "{}",
        config.as_str()
    );
    drop(client);
    setup.nodes = vec![lamp(61)];
    let error = Stack::start(setup).await.unwrap_err().to_string();
    assert!(error.contains("watts") && error.contains("61"), "{error}");
}
