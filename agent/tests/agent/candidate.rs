use tranche_netconf::error::ErrorTag;
use tranche_netconf::message::{ConfigSource, Datastore};

use crate::support::*;

#[tokio::test]
async fn an_edit_of_the_candidate_is_in_force_after_commit_only() {
    let (_bench, client) = Bench::with_admin().await;
    edit_candidate(&client, &set_country("FR")).await.unwrap();
    assert_eq!(country(&client, Datastore::Running).await, "DE");
    assert_eq!(country(&client, Datastore::Candidate).await, "FR");
    client
        .validate(ConfigSource::Datastore(Datastore::Candidate))
        .await
        .unwrap();
    commit(&client).await.unwrap();
    assert_eq!(country(&client, Datastore::Running).await, "FR");
}

#[tokio::test]
async fn discard_makes_the_candidate_running_again() {
    let (_bench, client) = Bench::with_admin().await;
    edit_candidate(&client, &set_country("FR")).await.unwrap();
    client.discard_changes().await.unwrap();
    assert_eq!(country(&client, Datastore::Candidate).await, "DE");
}

#[tokio::test]
async fn a_lock_keeps_others_out_and_names_its_holder() {
    let bench = Bench::start().await;
    let (one, two) = (bench.admin().await, bench.admin().await);
    one.lock(Datastore::Candidate).await.unwrap();
    let error = refused(two.lock(Datastore::Candidate).await);
    assert_eq!(error.tag, ErrorTag::LockDenied);
    assert_eq!(
        error.info,
        [("session-id".to_owned(), one.session_id().to_string())]
    );
    assert_eq!(
        refused(edit_candidate(&two, &set_country("FR")).await).tag,
        ErrorTag::InUse
    );
    assert_eq!(refused(commit(&two).await).tag, ErrorTag::InUse);
    edit_candidate(&one, &set_country("FR")).await.unwrap();
    one.unlock(Datastore::Candidate).await.unwrap();
    assert_eq!(
        country(&two, Datastore::Candidate).await,
        "DE",
        "unlocking discards"
    );
    two.lock(Datastore::Candidate).await.unwrap();
}

#[tokio::test]
async fn a_modified_candidate_cannot_be_locked() {
    let bench = Bench::start().await;
    let (one, two) = (bench.admin().await, bench.admin().await);
    edit_candidate(&one, &set_country("FR")).await.unwrap();
    assert_eq!(
        refused(two.lock(Datastore::Candidate).await).tag,
        ErrorTag::LockDenied
    );
}

#[tokio::test]
async fn locks_and_what_was_locked_go_with_the_session() {
    let bench = Bench::start().await;
    let (one, two) = (bench.admin().await, bench.admin().await);
    one.lock(Datastore::Candidate).await.unwrap();
    one.lock(Datastore::Running).await.unwrap();
    edit_candidate(&one, &set_country("FR")).await.unwrap();
    two.kill_session(one.session_id()).await.unwrap();
    two.lock(Datastore::Running).await.unwrap();
    two.lock(Datastore::Candidate).await.unwrap();
    assert_eq!(country(&two, Datastore::Candidate).await, "DE");
    assert!(
        one.get(None, None).await.is_err(),
        "a killed session answers nothing"
    );
}

#[tokio::test]
async fn killing_oneself_or_nobody_is_refused() {
    let (_bench, client) = Bench::with_admin().await;
    let own = client.session_id();
    assert_eq!(
        refused(client.kill_session(own).await).tag,
        ErrorTag::InvalidValue
    );
    let error = refused(client.kill_session(4711).await);
    assert_eq!(message(&error), "there is no session 4711");
}

#[tokio::test]
async fn an_invalid_candidate_is_refused_at_commit_with_path_and_reason() {
    let (_bench, client) = Bench::with_admin().await;
    edit_candidate(&client, &access_point("b", "nosuch"))
        .await
        .unwrap();
    let candidate = ConfigSource::Datastore(Datastore::Candidate);
    for answer in [client.validate(candidate).await, commit(&client).await] {
        let error = refused(answer);
        assert_eq!(error.tag, ErrorTag::DataMissing);
        assert_eq!(
            error.path.as_deref(),
            Some("/tranche-wifi:wifi/vif[name='b']/radio")
        );
    }
    assert_eq!(config(&client, Datastore::Running, &vif("b")).await, "");
}

#[tokio::test]
async fn validate_asks_the_backends_too() {
    let (_bench, client) = Bench::with_admin().await;
    edit_candidate(&client, &set_channel(37)).await.unwrap();
    let candidate = ConfigSource::Datastore(Datastore::Candidate);
    let error = refused(client.validate(candidate).await);
    assert_eq!(error.tag, ErrorTag::OperationFailed);
    assert_eq!(message(&error), "channel 37 is not in the 5GHz band");
    assert_eq!(
        error.path.as_deref(),
        Some("/tranche-wifi:wifi/radio[name='phy0']/channel")
    );
}
