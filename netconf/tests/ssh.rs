//! Client and server of this crate against each other, over real SSH on the loopback.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod common;

use std::time::Duration;

use common::{event, eventually, other, quick, serve};
use tranche_netconf::client::{Auth, Client, HostKeyCheck};
use tranche_netconf::error::{Error, ErrorTag};
use tranche_netconf::message::{
    CreateSubscription, Datastore, DefaultOperation, EditConfig, ErrorOption, Reply, TestOption,
};
use tranche_netconf::server::{Limits, Overflow, SessionEnd};
use tranche_netconf::transport::ssh::HostKey;
use tranche_netconf::xml::Fragment;

fn edit(xml: &str) -> EditConfig {
    EditConfig {
        target: Datastore::Candidate,
        default_operation: DefaultOperation::Merge,
        test_option: TestOption::TestThenSet,
        error_option: ErrorOption::StopOnError,
        config: Fragment::parse(xml).unwrap(),
    }
}

#[tokio::test]
async fn a_session_reads_writes_and_closes() {
    let setup = serve(quick()).await;
    let client = setup.client().await;
    assert_eq!(client.session_id(), 1);
    assert!(client.has_capability("urn:toy"));
    let data = client.get(None, None).await.unwrap();
    assert_eq!(data.elements().unwrap()[0].child_text("a"), Some("1"));

    client
        .edit_config(&edit("<top xmlns='urn:toy'><a>2</a></top>"))
        .await
        .unwrap();
    let data = client
        .get_config(Datastore::Running, None, None)
        .await
        .unwrap();
    assert_eq!(data.elements().unwrap()[0].child_text("a"), Some("2"));
    let schema = client.get_schema("toy", None, None).await.unwrap();
    assert_eq!(schema, "module toy {\n  // <&>\n}\n");

    let listed = setup.toy.sessions.list();
    assert_eq!(
        (listed[0].info.user.as_str(), listed[0].info.base_1_1),
        ("alice", true)
    );
    assert_eq!(listed[0].counters.in_rpcs, 4);

    client.close_session().await.unwrap();
    assert!(client.is_closed());
    eventually("the session leaves the table", || {
        setup.toy.sessions.is_empty()
    })
    .await;
    assert_eq!(*setup.toy.ends.lock().unwrap(), [(1, SessionEnd::Closed)]);
    assert_eq!(setup.toy.sessions.totals().counters.in_rpcs, 5);
    setup.server.shutdown().await;
}

#[tokio::test]
async fn errors_of_the_server_come_back_as_they_were() {
    let setup = serve(quick()).await;
    let client = setup.client().await;
    let Err(Error::Rpc(errors)) = client.lock(Datastore::Running).await else {
        panic!()
    };
    assert_eq!(errors[0].tag, ErrorTag::LockDenied);
    assert_eq!(errors[0].info, [("session-id".to_owned(), "7".to_owned())]);
    let Err(Error::Rpc(errors)) = client.call(other("panic")).await else {
        panic!()
    };
    assert_eq!(errors[0].tag, ErrorTag::OperationFailed);
    assert_eq!(errors[0].message.as_deref(), Some("internal error"));
    // The session survived the panic.
    client.get(None, None).await.unwrap();
}

#[tokio::test]
async fn requests_of_one_session_are_answered_in_order_and_may_be_pipelined() {
    let setup = serve(quick()).await;
    let client = setup.client().await;
    let slow = client.call(other("sleep"));
    let fast = async {
        let mut gets = tokio::task::JoinSet::new();
        for _ in 0..200 {
            let client = client.clone();
            gets.spawn(async move { client.get(None, None).await.unwrap() });
        }
        gets.join_all().await.len()
    };
    let (slow, fast) = tokio::join!(slow, fast);
    assert!(matches!(slow, Ok(Reply::Output(_))));
    assert_eq!(fast, 200);
}

#[tokio::test]
async fn a_large_message_crosses_both_ways() {
    let setup = serve(quick()).await;
    let client = setup.client().await;
    let big = format!(
        "<top xmlns=\"urn:toy\">{}</top>",
        "<a>0123456789</a>".repeat(300_000)
    );
    client.edit_config(&edit(&big)).await.unwrap();
    let data = client.get(None, None).await.unwrap();
    assert_eq!(data.as_str(), big);
}

#[tokio::test]
async fn a_wrong_host_key_is_named_with_the_right_one() {
    let setup = serve(quick()).await;
    let pinned = HostKey::generate().unwrap();
    let mut config = setup.config();
    config.host_key = HostKeyCheck::Pinned(pinned.public_openssh());
    match Client::connect(config).await {
        Err(Error::HostKey {
            expected,
            presented,
            ..
        }) => {
            assert_eq!(expected, pinned.fingerprint());
            assert_eq!(presented, setup.server.host_key_fingerprint());
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(setup.toy.sessions.totals().in_sessions, 0);
}

#[tokio::test]
async fn a_key_opens_a_session_and_a_wrong_password_does_not() {
    let setup = serve(quick()).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("id");
    let key = HostKey::load_or_generate(&path).unwrap();
    let mut config = setup.config();
    config.auth = Auth::KeyFile(path);
    assert!(matches!(
        Client::connect(config.clone()).await,
        Err(Error::AuthRefused { .. })
    ));
    *setup.toy.key.lock().unwrap() = Some(key.public_blob());
    Client::connect(config).await.unwrap();

    let mut config = setup.config();
    config.auth = Auth::Password("guess".to_owned());
    let error = Client::connect(config).await.unwrap_err();
    assert!(
        matches!(&error, Error::AuthRefused { user, .. } if user == "alice"),
        "{error}"
    );
}

#[tokio::test]
async fn a_session_is_killed_by_another_and_waits_for_its_request() {
    let setup = serve(quick()).await;
    let victim = setup.client().await;
    let killer = setup.client().await;
    let busy = tokio::spawn({
        let victim = victim.clone();
        async move { victim.call(other("sleep")).await }
    });
    let calls = &setup.toy.calls;
    eventually("the call runs", || {
        calls.load(std::sync::atomic::Ordering::SeqCst) == 1
    })
    .await;
    killer.kill_session(victim.session_id()).await.unwrap();
    let by = killer.session_id();
    let ends = setup.toy.ends.lock().unwrap().clone();
    assert_eq!(ends, [(victim.session_id(), SessionEnd::Killed { by })]);
    assert!(matches!(busy.await.unwrap(), Err(Error::Closed { .. })));
    victim.closed().await;
    let Err(Error::Rpc(errors)) = killer.kill_session(99).await else {
        panic!()
    };
    assert_eq!(errors[0].tag, ErrorTag::InvalidValue);
}

#[tokio::test]
async fn notifications_follow_the_reply_that_subscribes() {
    let setup = serve(quick()).await;
    let (client, mut notifications) = Client::connect(setup.config()).await.unwrap();
    let subscription = CreateSubscription {
        stream: "NETCONF".to_owned(),
        filter: None,
        start_time: None,
        stop_time: None,
    };
    client.create_subscription(subscription).await.unwrap();
    let first = notifications.recv().await.unwrap();
    assert_eq!(
        first.content.elements().unwrap()[0].child_text("n"),
        Some("0")
    );
    assert_eq!(first.event_time, "2026-01-01T00:00:00Z");
    let notifier = setup.toy.notifiers.lock().unwrap()[0].clone();
    notifier.try_send(event(1)).unwrap();
    assert_eq!(
        notifications.recv().await.unwrap().content,
        event(1).content
    );
    assert_eq!(setup.toy.sessions.list()[0].counters.out_notifications, 2);
    client.close_session().await.unwrap();
    eventually("the notifier sees the end", || notifier.is_closed()).await;
    assert_eq!(notifier.try_send(event(2)), Err(Overflow::SessionEnded));
}

#[tokio::test]
async fn shutdown_ends_every_session() {
    let setup = serve(quick()).await;
    let client = setup.client().await;
    client.get(None, None).await.unwrap();
    setup.server.shutdown().await;
    client.closed().await;
    assert_eq!(*setup.toy.ends.lock().unwrap(), [(1, SessionEnd::Shutdown)]);
    assert!(matches!(
        client.get(None, None).await,
        Err(Error::Closed { .. })
    ));
}

#[tokio::test]
async fn an_idle_session_is_closed() {
    // Long enough for the hellos on a busy machine.
    let idle = Some(Duration::from_millis(200));
    let setup = serve(Limits {
        idle_timeout: idle,
        ..quick()
    })
    .await;
    let client = setup.client().await;
    client.closed().await;
    assert_eq!(setup.toy.ends.lock().unwrap()[0].1, SessionEnd::IdleTimeout);
}

#[tokio::test]
async fn one_session_too_many_is_refused_and_the_others_stay() {
    let setup = serve(Limits {
        max_sessions: 1,
        ..quick()
    })
    .await;
    let first = setup.client().await;
    assert!(Client::connect(setup.config()).await.is_err());
    first.get(None, None).await.unwrap();
    first.close_session().await.unwrap();
    for _ in 0..100 {
        if let Ok((client, _)) = Client::connect(setup.config()).await {
            return client.close_session().await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the place was not given back");
}

#[tokio::test]
async fn a_server_that_never_answers_is_a_timeout() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let setup = serve(quick()).await;
    let mut config = setup.config();
    config.addr = silent.local_addr().unwrap().to_string();
    config.connect_timeout = Duration::from_millis(200);
    assert!(matches!(
        Client::connect(config).await,
        Err(Error::Timeout { .. })
    ));

    let mut config = setup.config();
    config.rpc_timeout = Duration::from_millis(50);
    let (client, _notifications) = Client::connect(config).await.unwrap();
    let error = client.call(other("sleep")).await.unwrap_err();
    assert_eq!(error.to_string(), "the reply to sleep took more than 50ms");
}
