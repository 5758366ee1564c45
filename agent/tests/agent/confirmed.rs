use std::time::Duration;

use tranche_netconf::client::Client;
use tranche_netconf::error::ErrorTag;
use tranche_netconf::message::{Commit, Datastore};

use crate::support::*;

async fn try_country(client: &Client, code: &str, commit: &Commit) {
    edit_candidate(client, &set_country(code)).await.unwrap();
    client.commit(commit).await.unwrap();
    assert_eq!(country(client, Datastore::Running).await, code);
}

async fn is_taken_back(client: &Client) {
    eventually("the commit is taken back", || async {
        country(client, Datastore::Running).await == "DE"
    })
    .await;
}

#[tokio::test]
async fn it_lapses_without_confirmation_and_the_backends_follow() {
    let (bench, client) = Bench::with_admin().await;
    edit_candidate(&client, &access_point("b", "phy0"))
        .await
        .unwrap();
    client.commit(&on_trial(1)).await.unwrap();
    let node = bench.agent.nodes()[0].node().clone();
    let vifs = async || node.view().wifi().vifs().await.unwrap().len();
    assert_eq!(vifs().await, 2);
    eventually("the access point goes", || async { vifs().await == 1 }).await;
    // Readers are told once it is on the disk.
    let running = async || config(&client, Datastore::Running, &vif("b")).await;
    eventually("running follows", || async { running().await.is_empty() }).await;
}

#[tokio::test]
async fn it_stays_once_confirmed_also_after_a_restart() {
    let (bench, client) = Bench::with_admin().await;
    try_country(&client, "FR", &on_trial(1)).await;
    commit(&client).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1300)).await;
    assert_eq!(country(&client, Datastore::Running).await, "FR");
    drop(client);
    let bench = bench.restart().await;
    assert_eq!(
        country(&bench.admin().await, Datastore::Running).await,
        "FR"
    );
}

#[tokio::test]
async fn a_follow_up_extends_it() {
    let (_bench, client) = Bench::with_admin().await;
    try_country(&client, "FR", &on_trial(1)).await;
    try_country(&client, "IT", &on_trial(60)).await;
    tokio::time::sleep(Duration::from_millis(1300)).await;
    assert_eq!(country(&client, Datastore::Running).await, "IT");
    client.cancel_commit(None).await.unwrap();
    assert_eq!(
        country(&client, Datastore::Running).await,
        "DE",
        "back to before the first"
    );
}

#[tokio::test]
async fn it_ends_with_its_session() {
    let bench = Bench::start().await;
    let (one, two) = (bench.admin().await, bench.admin().await);
    try_country(&one, "FR", &on_trial(600)).await;
    let error = refused(two.lock(Datastore::Running).await);
    assert_eq!(error.tag, ErrorTag::LockDenied);
    assert_eq!(refused(commit(&two).await).tag, ErrorTag::InUse);
    one.close_session().await.unwrap();
    is_taken_back(&two).await;
}

#[tokio::test]
async fn a_persistent_one_is_confirmed_or_cancelled_by_its_token() {
    let bench = Bench::start().await;
    let (one, two) = (bench.admin().await, bench.admin().await);
    let persistent = Commit {
        persist: Some("token".to_owned()),
        ..on_trial(600)
    };
    try_country(&one, "FR", &persistent).await;
    one.close_session().await.unwrap();
    let wrong = Commit {
        persist_id: Some("other".to_owned()),
        ..Commit::default()
    };
    assert_eq!(
        refused(two.commit(&wrong).await).tag,
        ErrorTag::InvalidValue
    );
    assert_eq!(
        refused(two.cancel_commit(Some("other")).await).tag,
        ErrorTag::InvalidValue
    );
    assert_eq!(country(&two, Datastore::Running).await, "FR");
    let right = Commit {
        persist_id: Some("token".to_owned()),
        ..Commit::default()
    };
    two.commit(&right).await.unwrap();
    try_country(&two, "IT", &persistent).await;
    two.cancel_commit(Some("token")).await.unwrap();
    assert_eq!(country(&two, Datastore::Running).await, "FR");
}

#[tokio::test]
async fn cancelling_nothing_is_refused() {
    let bench = Bench::start().await;
    let error = refused(bench.admin().await.cancel_commit(None).await);
    assert_eq!(message(&error), "there is no confirmed commit to cancel");
}

#[tokio::test]
async fn a_restart_within_the_window_takes_it_back() {
    let (bench, client) = Bench::with_admin().await;
    edit_running(&client, &access_point("b", "phy0"))
        .await
        .unwrap();
    let persistent = Commit {
        persist: Some("token".to_owned()),
        ..on_trial(600)
    };
    try_country(&client, "FR", &persistent).await;
    drop(client);
    let bench = bench.restart().await;
    let client = bench.admin().await;
    assert_eq!(country(&client, Datastore::Running).await, "DE");
    assert_ne!(
        config(&client, Datastore::Running, &vif("b")).await,
        "",
        "what came before stays"
    );
}
