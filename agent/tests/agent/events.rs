use std::time::Duration;

use tranche_agent::streams::Stream;
use tranche_netconf::client::{Auth, Client};
use tranche_netconf::error::ErrorTag;
use tranche_netconf::message::{Commit, CreateSubscription, Filter};

use crate::support::*;

fn stream(name: &str, filter: Option<Filter>) -> CreateSubscription {
    CreateSubscription {
        stream: name.to_owned(),
        filter,
        start_time: None,
        stop_time: None,
    }
}

async fn fast_telemetry(client: &Client) {
    let xml =
        format!("<wifi xmlns=\"{WIFI}\"><telemetry><interval>100</interval></telemetry></wifi>");
    edit_running(client, &xml).await.unwrap();
}

fn field<'x>(xml: &'x str, name: &str) -> &'x str {
    let (_, rest) = xml.split_once(&format!("<{name}>")).unwrap();
    rest.split('<').next().unwrap()
}

#[tokio::test]
async fn airtime_is_reported_once_a_period_without_gaps() {
    let bench = Bench::start().await;
    let (client, mut events) = bench.login("admin").await.unwrap();
    fast_telemetry(&client).await;
    client
        .create_subscription(stream("telemetry", None))
        .await
        .unwrap();
    let mut sequence = None;
    for _ in 0..5 {
        let report = notified(&mut events, "airtime-report").await;
        let number: u64 = field(&report, "sequence").parse().unwrap();
        assert!(
            sequence.is_none_or(|before| number == before + 1),
            "{sequence:?} {number}"
        );
        sequence = Some(number);
        assert!(report.contains("<slice>tenant-a</slice>"), "{report}");
    }
    // The session goes on with operations (:interleave).
    client.get(None, None).await.unwrap();
}

#[tokio::test]
async fn a_subscription_has_its_filter() {
    let (bench, admin) = Bench::with_admin().await;
    fast_telemetry(&admin).await;
    let (client, mut events) = bench.login("admin").await.unwrap();
    let only_vifs = Filter::XPath {
        select: "/w:airtime-report/w:radio/w:vif/w:used-ratio".to_owned(),
        namespaces: vec![("w".to_owned(), WIFI.to_owned())],
    };
    client
        .create_subscription(stream("telemetry", Some(only_vifs)))
        .await
        .unwrap();
    let report = notified(&mut events, "airtime-report").await;
    assert!(
        report.contains("used-ratio") && !report.contains("interval"),
        "{report}"
    );
    let (other, mut silence) = bench.login("admin").await.unwrap();
    let nothing = subtree(&format!("<something-else xmlns=\"{WIFI}\"/>"));
    other
        .create_subscription(stream("telemetry", Some(nothing)))
        .await
        .unwrap();
    notified(&mut events, "airtime-report").await;
    notified(&mut events, "airtime-report").await;
    assert!(silence.try_recv().is_err());
}

#[tokio::test]
async fn what_cannot_be_subscribed_to_is_refused() {
    let (_bench, client) = Bench::with_admin().await;
    let unknown = client.create_subscription(stream("weather", None)).await;
    assert!(message(&refused(unknown)).contains("there is no stream 'weather'"));
    let replay = CreateSubscription {
        start_time: Some("2026-11-21T00:00:00Z".to_owned()),
        ..stream("NETCONF", None)
    };
    let error = refused(client.create_subscription(replay).await);
    assert_eq!(error.tag, ErrorTag::OperationNotSupported);
    let nonsense = Filter::XPath {
        select: "/w:wifi[".to_owned(),
        namespaces: Vec::new(),
    };
    let error = refused(
        client
            .create_subscription(stream("NETCONF", Some(nonsense)))
            .await,
    );
    assert_eq!(error.tag, ErrorTag::InvalidValue);
    client
        .create_subscription(stream("NETCONF", None))
        .await
        .unwrap();
    let twice = refused(client.create_subscription(stream("telemetry", None)).await);
    assert!(
        message(&twice).contains("is subscribed to stream 'NETCONF' already"),
        "{twice}"
    );
}

#[tokio::test]
async fn changes_sessions_and_confirmed_commits_are_announced() {
    let bench = Bench::start().await;
    let (listener, mut events) = bench.login("admin").await.unwrap();
    listener
        .create_subscription(stream("NETCONF", None))
        .await
        .unwrap();
    let client = bench.admin().await;
    let id = format!("<session-id>{}</session-id>", client.session_id());
    let event = notified(&mut events, "netconf-session-start").await;
    assert!(
        event.contains(&id) && event.contains("<username>admin</username>"),
        "{event}"
    );

    edit_running(&client, &access_point("b", "phy0"))
        .await
        .unwrap();
    let event = notified(&mut events, "netconf-config-change").await;
    assert!(
        event.contains(&id) && event.contains("<datastore>running</datastore>"),
        "{event}"
    );
    assert!(
        event.contains("vif[") && event.contains("<operation>create</operation>"),
        "{event}"
    );
    assert_eq!(
        event.matches("<edit>").count(),
        1,
        "what is inside is not listed again: {event}"
    );

    edit_candidate(&client, &set_country("FR")).await.unwrap();
    let timeout = Some(Duration::from_secs(600));
    let confirmed = Commit {
        confirmed: true,
        confirm_timeout: timeout,
        ..Commit::default()
    };
    client.commit(&confirmed).await.unwrap();
    let event = notified(&mut events, "netconf-confirmed-commit").await;
    assert!(
        event.contains("<confirm-event>start<") && event.contains("<timeout>600<"),
        "{event}"
    );
    client.cancel_commit(None).await.unwrap();
    let event = notified(&mut events, "netconf-confirmed-commit").await;
    assert!(event.contains("<confirm-event>cancel<"), "{event}");

    client.close_session().await.unwrap();
    let event = notified(&mut events, "netconf-session-end").await;
    assert!(
        event.contains(&id) && event.contains("<termination-reason>closed<"),
        "{event}"
    );
}

#[tokio::test]
async fn a_user_hears_only_what_rules_permit() {
    let (bench, admin) = Bench::with_admin().await;
    fast_telemetry(&admin).await;
    let (reader, mut events) = bench.login("reader").await.unwrap();
    reader
        .create_subscription(stream("telemetry", None))
        .await
        .unwrap();
    notified(&mut events, "airtime-report").await;
    edit_running(
        &admin,
        &format!("<nacm xmlns=\"{NACM}\"><read-default>deny</read-default></nacm>"),
    )
    .await
    .unwrap();
    tokio::time::sleep(Duration::from_millis(150)).await;
    while events.try_recv().is_ok() {}
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(
        events.try_recv().is_err(),
        "denied notifications are dropped"
    );
}

/// A report of the usual size, many times: more than the transport buffers.
#[tokio::test]
async fn a_slow_subscriber_loses_its_own_reports_and_delays_nobody() {
    const REPORTS: usize = 4000;
    let bench = Bench::start_with(|settings| settings.limits.notification_queue = 128).await;
    let mut lazy = bench.client_config("admin", Auth::Password("admin secret".to_owned()));
    lazy.notification_queue = 1;
    let (slow, _unread) = Client::connect(lazy).await.unwrap();
    slow.create_subscription(stream("telemetry", None))
        .await
        .unwrap();
    let (fast, mut events) = bench.login("admin").await.unwrap();
    fast.create_subscription(stream("telemetry", None))
        .await
        .unwrap();
    let reader = tokio::spawn(async move {
        let mut read = 0;
        while read < REPORTS && events.recv().await.is_some() {
            read += 1;
        }
        read
    });
    let node = bench.agent.nodes()[0].node().clone();
    let words = "x".repeat(1000);
    let event = serde_json::json!({ "tranche-wifi:airtime-report": {
        "sequence": "1", "interval": 100, "radio": [{ "name": words }],
    } });
    for number in 0..REPORTS {
        node.announce(Stream::Telemetry, &event);
        if number % 16 == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    let read = tokio::time::timeout(Duration::from_secs(30), reader)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(read, REPORTS, "the one who reads gets every report");
    assert!(node.streams().lost() > 0, "the one who does not loses some");
    fast.get(None, None).await.unwrap();
}
