//! kill -9 in the middle of everything: nothing that was acknowledged is lost.

use std::time::Duration;

use tranche_netconf::client::{Auth, Client, ClientConfig, HostKeyCheck};
use tranche_netconf::message::{Commit, Datastore};

use crate::process::Process;
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

fn set_location(number: u64) -> String {
    format!("<system xmlns=\"{SYSTEM}\"><location>{number}</location></system>")
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
                    edit_running(&client, &set_location(number)).await
                } else {
                    async {
                        edit_candidate(&client, &set_location(number)).await?;
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
    edit_running(&client, &set_location(1)).await.unwrap();
    edit_candidate(&client, &set_location(2)).await.unwrap();
    let confirmed = Commit {
        confirmed: true,
        confirm_timeout: Some(Duration::from_secs(600)),
        persist: Some("token".to_owned()),
        persist_id: None,
    };
    client.commit(&confirmed).await.unwrap();
    assert_eq!(location(&client).await, 2);
    process.kill();
    let process = Process::start(dir.path());
    let client = connect(&process).await;
    assert_eq!(location(&client).await, 1);
    // And one that was confirmed stays.
    edit_candidate(&client, &set_location(3)).await.unwrap();
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
