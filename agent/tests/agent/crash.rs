//! kill -9 in the middle of everything, and a disk that is full: nothing that was acknowledged is lost.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tranche_netconf::client::{Auth, Client, ClientConfig, HostKeyCheck};
use tranche_netconf::error::ErrorTag;
use tranche_netconf::message::{Commit, Datastore};

use crate::process::{Process, command};
use crate::support::*;

async fn connect(process: &Process) -> Client {
    let config = ClientConfig::new(
        process.address.clone(),
        "admin",
        Auth::Password("admin secret".to_owned()),
        HostKeyCheck::Pinned(process.host_key.clone()),
    );
    Client::connect(config).await.unwrap().0
}

async fn location(client: &Client) -> u64 {
    let xml = config(
        client,
        Datastore::Running,
        &format!("<system xmlns=\"{SYSTEM}\"><location/></system>"),
    )
    .await;
    let (_, rest) = xml.split_once("<location>").unwrap();
    rest.split('<').next().unwrap().parse().unwrap_or(0)
}

#[tokio::test]
async fn nothing_acknowledged_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for round in 0..12_u64 {
        let mut process = Process::start(dir.path());
        let client = connect(&process).await;
        let found = location(&client).await;
        // The one in flight when it was killed may or may not be there.
        assert!(
            found == acknowledged || found == acknowledged + 1,
            "round {round}: {acknowledged} was acknowledged, {found} is there"
        );
        acknowledged = found;
        let writer = async {
            for number in acknowledged + 1.. {
                let done = if number % 2 == 0 {
                    edit_running(&client, &set_location(&number.to_string())).await
                } else {
                    async {
                        edit_candidate(&client, &set_location(&number.to_string())).await?;
                        commit(&client).await
                    }
                    .await
                };
                if done.is_err() {
                    return;
                }
                acknowledged = number;
            }
        };
        let killer = async {
            tokio::time::sleep(Duration::from_millis(60 + 37 * round)).await;
            process.kill();
        };
        tokio::join!(writer, killer);
    }
    assert!(
        acknowledged > 12,
        "commits went through between the kills: {acknowledged}"
    );
}

#[tokio::test]
async fn a_confirmed_commit_that_nobody_confirmed_is_gone_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = Process::start(dir.path());
    let client = connect(&process).await;
    edit_running(&client, &set_location("1")).await.unwrap();
    edit_candidate(&client, &set_location("2")).await.unwrap();
    let confirmed = Commit {
        persist: Some("token".to_owned()),
        ..on_trial(600)
    };
    client.commit(&confirmed).await.unwrap();
    assert_eq!(location(&client).await, 2);
    process.kill();
    let process = Process::start(dir.path());
    let client = connect(&process).await;
    assert_eq!(location(&client).await, 1);
    // And one that was confirmed stays.
    edit_candidate(&client, &set_location("3")).await.unwrap();
    client.commit(&confirmed).await.unwrap();
    let confirming = Commit {
        persist_id: Some("token".to_owned()),
        ..Commit::default()
    };
    client.commit(&confirming).await.unwrap();
    drop(process);
    let process = Process::start(dir.path());
    assert_eq!(location(&connect(&process).await).await, 3);
}

/// The agent under a limit of the size of its files, in blocks of 512 bytes: writing past it fails as on a full disk.
fn start_on_a_small_disk(state: &Path, blocks: u32) -> Process {
    let agent = command(state);
    let mut limited = Command::new("/bin/sh");
    limited
        .args(["-c", "trap '' XFSZ; ulimit -S -f $0; exec \"$@\""])
        .arg(blocks.to_string())
        .arg(agent.get_program())
        .args(agent.get_args())
        .args(["--log", "warn"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Process::spawn(limited)
}

#[tokio::test]
async fn a_full_disk_refuses_changes_and_a_roomy_one_takes_them_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = start_on_a_small_disk(dir.path(), 600);
    let client = connect(&process).await;
    let text = |number: u64| format!("{number} {}", "x".repeat(4000));
    // Each change switches the access point: what the radio does tells which change is in force.
    let set = async |number: u64| {
        let access_point = format!(
            "<wifi xmlns=\"{WIFI}\"><vif><name>a</name><enabled>{}</enabled></vif></wifi>",
            number.is_multiple_of(2)
        );
        edit_running(&client, &(access_point + &set_location(&text(number)))).await
    };
    let in_force = async |number: u64| {
        let everything = client.get(None, None).await.unwrap();
        let (_, state) = everything.as_str().split_once("<bssid>").unwrap();
        let state = &everything.as_str()[..everything.as_str().len() - state.len()];
        let up = state.ends_with("<oper-state>up</oper-state><bssid>");
        up == number.is_multiple_of(2)
            && everything
                .as_str()
                .contains(&format!("<location>{}<", text(number)))
    };
    let mut acknowledged = 0;
    let refusal = loop {
        match set(acknowledged + 1).await {
            Ok(()) => acknowledged += 1,
            refusal => break refused(refusal),
        }
        assert!(acknowledged < 500, "the disk never fills");
    };
    assert!(acknowledged > 2);
    assert_eq!(refusal.tag, ErrorTag::OperationFailed);
    assert_eq!(message(&refusal), "the change could not be stored");
    assert!(in_force(acknowledged).await, "what was applied is undone");
    refused(set(acknowledged + 1).await);
    assert!(in_force(acknowledged).await);

    let pid = process.child.id().to_string();
    let lifted = Command::new("prlimit")
        .args(["--pid", &pid, "--fsize=unlimited"])
        .status();
    assert!(lifted.unwrap().success());
    set(acknowledged + 1).await.unwrap();
    set(acknowledged + 2).await.unwrap();
    assert!(in_force(acknowledged + 2).await);
    process.kill();
    let process = Process::start(dir.path());
    let client = connect(&process).await;
    let filter = format!("<system xmlns=\"{SYSTEM}\"><location/></system>");
    let kept = config(&client, Datastore::Running, &filter).await;
    assert!(kept.contains(&text(acknowledged + 2)), "{acknowledged}");
}
