use tranche_netconf::error::ErrorTag;
use tranche_netconf::message::{ConfigSource, ConfigTarget, Datastore, TestOption, WithDefaults};

use crate::support::*;

const RUNNING: ConfigSource = ConfigSource::Datastore(Datastore::Running);
const STARTUP: ConfigTarget = ConfigTarget::Datastore(Datastore::Startup);

#[tokio::test]
async fn an_edit_of_running_survives_a_restart() {
    let (bench, client) = Bench::with_admin().await;
    edit_running(&client, &set_country("FR")).await.unwrap();
    edit_running(&client, &access_point("b", "phy0"))
        .await
        .unwrap();
    let before = config(
        &client,
        Datastore::Running,
        &format!("<wifi xmlns=\"{WIFI}\"/>"),
    )
    .await;
    drop(client);
    let bench = bench.restart().await;
    let client = bench.admin().await;
    let after = config(
        &client,
        Datastore::Running,
        &format!("<wifi xmlns=\"{WIFI}\"/>"),
    )
    .await;
    assert_eq!(after, before);
    assert!(after.contains("<name>b</name>"), "{after}");
    // The access points come up again, not only their configuration.
    let state = subtree(&format!(
        "<wifi xmlns=\"{WIFI}\"><vif><name>b</name><state/></vif></wifi>"
    ));
    let state = client.get(Some(state), None).await.unwrap();
    assert!(
        state.as_str().contains("<oper-state>up</oper-state>"),
        "{}",
        state.as_str()
    );
}

#[tokio::test]
async fn test_only_changes_nothing_and_says_what_is_wrong() {
    let (_bench, client) = Bench::with_admin().await;
    let mut good = edit(Datastore::Running, &set_country("FR"));
    good.test_option = TestOption::TestOnly;
    client.edit_config(&good).await.unwrap();
    assert_eq!(country(&client, Datastore::Running).await, "DE");
    let mut bad = edit(Datastore::Running, &access_point("b", "nosuch"));
    bad.test_option = TestOption::TestOnly;
    assert_eq!(
        refused(client.edit_config(&bad).await).tag,
        ErrorTag::DataMissing
    );
    // Valid against the schema, and not what the radio can do.
    let mut channel = edit(Datastore::Running, &set_channel(37));
    channel.test_option = TestOption::TestOnly;
    let error = refused(client.edit_config(&channel).await);
    assert_eq!(message(&error), "channel 37 is not in the 5GHz band");
}

#[tokio::test]
async fn copying_a_configuration_replaces_running() {
    let (_bench, client) = Bench::with_admin().await;
    let whole = client
        .get_config(Datastore::Running, None, None)
        .await
        .unwrap();
    let changed = whole
        .as_str()
        .replace("<country>DE</country>", "<country>IT</country>");
    let source = ConfigSource::Inline(fragment(&changed));
    copy(&client, Datastore::Candidate, source.clone())
        .await
        .unwrap();
    assert_eq!(country(&client, Datastore::Candidate).await, "IT");
    assert_eq!(country(&client, Datastore::Running).await, "DE");
    copy(&client, Datastore::Running, source).await.unwrap();
    assert_eq!(country(&client, Datastore::Running).await, "IT");
}

#[tokio::test]
async fn what_is_not_advertised_is_refused() {
    let (_bench, client) = Bench::with_admin().await;
    assert!(
        !client
            .capabilities()
            .iter()
            .any(|c| c.contains(":startup:") || c.contains(":url:"))
    );
    let startup = ConfigSource::Datastore(Datastore::Startup);
    let url = ConfigSource::Url("file:///tmp/x".to_owned());
    for answer in [
        copy(&client, Datastore::Startup, RUNNING).await,
        client.delete_config(STARTUP).await,
        client.lock(Datastore::Startup).await,
        client.validate(startup).await,
        client.validate(url.clone()).await,
        copy(&client, Datastore::Candidate, url).await,
        client
            .delete_config(ConfigTarget::Datastore(Datastore::Running))
            .await,
    ] {
        assert_eq!(refused(answer).tag, ErrorTag::OperationNotSupported);
    }
}

#[tokio::test]
async fn with_a_startup_datastore_running_is_loaded_from_it() {
    let bench = Bench::start_with(|settings| settings.startup_datastore = true).await;
    let client = bench.admin().await;
    assert!(
        client
            .capabilities()
            .iter()
            .any(|c| c.contains(":startup:"))
    );
    edit_running(&client, &set_country("FR")).await.unwrap();
    copy(&client, Datastore::Startup, RUNNING).await.unwrap();
    edit_running(&client, &set_country("IT")).await.unwrap();
    drop(client);
    let bench = bench
        .restart_with(|settings| settings.startup_datastore = true)
        .await;
    let client = bench.admin().await;
    assert_eq!(
        country(&client, Datastore::Running).await,
        "FR",
        "IT was never saved"
    );
    assert_eq!(country(&client, Datastore::Startup).await, "FR");
    client.delete_config(STARTUP).await.unwrap();
    assert_eq!(
        refused(client.delete_config(STARTUP).await).tag,
        ErrorTag::DataMissing
    );
    drop(client);
    let bench = bench
        .restart_with(|settings| settings.startup_datastore = true)
        .await;
    let client = bench.admin().await;
    assert_eq!(
        country(&client, Datastore::Running).await,
        "DE",
        "the factory default again"
    );
}

#[tokio::test]
async fn what_is_copied_to_startup_needs_the_right_to_write_it() {
    let bench = Bench::start_with(|settings| settings.startup_datastore = true).await;
    let (admin, reader) = (bench.admin().await, bench.client("reader").await);
    let mine = ConfigSource::Inline(fragment(&set_country("FR")));
    let error = refused(copy(&reader, Datastore::Startup, mine.clone()).await);
    assert_eq!(error.tag, ErrorTag::AccessDenied);
    assert_eq!(country(&admin, Datastore::Startup).await, "DE");
    edit_running(&admin, &set_country("IT")).await.unwrap();
    // RFC 8341 3.2.4: running is copied as a whole by whoever may execute the operation.
    copy(&reader, Datastore::Startup, RUNNING).await.unwrap();
    assert_eq!(country(&admin, Datastore::Startup).await, "IT");
    copy(&admin, Datastore::Startup, mine).await.unwrap();
    assert_eq!(country(&admin, Datastore::Startup).await, "FR");
}

#[tokio::test]
async fn every_with_defaults_mode_is_honoured() {
    let (_bench, client) = Bench::with_admin().await;
    let filter = format!("<wifi xmlns=\"{WIFI}\"><radio><width/><enabled/></radio></wifi>");
    edit_running(
        &client,
        &format!(
            "<wifi xmlns=\"{WIFI}\"><radio><name>phy0</name><enabled>true</enabled></radio></wifi>"
        ),
    )
    .await
    .unwrap();
    let read = async |mode| {
        let data = client
            .get_config(Datastore::Running, Some(subtree(&filter)), mode)
            .await
            .unwrap();
        data.as_str().to_owned()
    };
    let explicit = read(None).await;
    assert!(
        explicit.contains("<enabled>true") && !explicit.contains("width"),
        "{explicit}"
    );
    assert_eq!(read(Some(WithDefaults::Explicit)).await, explicit);
    let trimmed = read(Some(WithDefaults::Trim)).await;
    assert!(
        !trimmed.contains("enabled") && !trimmed.contains("width"),
        "{trimmed}"
    );
    let all = read(Some(WithDefaults::ReportAll)).await;
    assert!(all.contains("<width>20MHz</width>"), "{all}");
    let tagged = read(Some(WithDefaults::ReportAllTagged)).await;
    assert!(
        tagged.contains("default=\"true\">20MHz</width>"),
        "{tagged}"
    );
}

#[tokio::test]
async fn a_change_that_takes_long_delays_no_reader() {
    let bench = Bench::start().await;
    let (writer, reader) = (bench.admin().await, bench.admin().await);
    let node = bench.agent.nodes()[0].node().clone();
    let (held, holding) = tokio::sync::oneshot::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    // As long as validation would hold them: the datastores are not to be had.
    let holder = tokio::task::spawn_blocking(move || {
        let _datastores = node.datastores();
        held.send(()).unwrap();
        released.recv().unwrap();
    });
    holding.await.unwrap();
    let edit = tokio::spawn(async move { edit_running(&writer, &set_country("FR")).await });
    for _ in 0..3 {
        assert_eq!(country(&reader, Datastore::Running).await, "DE");
        reader
            .get(Some(subtree(&format!("<wifi xmlns=\"{WIFI}\"/>"))), None)
            .await
            .unwrap();
    }
    assert!(!edit.is_finished());
    release.send(()).unwrap();
    holder.await.unwrap();
    edit.await.unwrap().unwrap();
    assert_eq!(country(&reader, Datastore::Running).await, "FR");
}
