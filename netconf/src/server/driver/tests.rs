//! Driver and client against each other in memory, on simulated time.

use std::sync::Mutex;

use super::*;
use crate::client::{Auth, Client, ClientConfig, HostKeyCheck};
use crate::error::Error;
use crate::message::{ConfigSource, Datastore, Notification, Operation, Reply};
use crate::server::{Credential, Overflow};
use crate::transport::memory::{MemoryLink, pair};
use crate::xml::Fragment;

/// Every request takes a minute, but those that are faulty: `get` at once, `validate` after a while.
#[derive(Default)]
struct Slow {
    notifier: Mutex<Option<Notifier>>,
    ends: Mutex<Vec<SessionEnd>>,
    done: Mutex<usize>,
}

impl Handler for Slow {
    fn capabilities(&self) -> Vec<String> {
        Vec::new()
    }

    async fn authenticate(&self, _: &str, _: Credential<'_>, _: SocketAddr) -> bool {
        true
    }

    async fn session_started(&self, _: &SessionInfo, notifier: Notifier) {
        *self.notifier.lock().unwrap() = Some(notifier);
    }

    async fn session_ended(&self, _: &SessionInfo, end: SessionEnd) {
        self.ends.lock().unwrap().push(end);
    }

    #[allow(clippy::panic, reason = "a faulty handler")]
    async fn call(&self, _: &SessionInfo, rpc: Rpc) -> Outcome {
        if matches!(rpc.operation, Operation::Get { .. }) {
            panic!("at once");
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
        if matches!(rpc.operation, Operation::Validate(_)) {
            panic!("after a minute");
        }
        *self.done.lock().unwrap() += 1;
        Ok(Reply::Ok)
    }
}

struct Setup {
    handler: Arc<Slow>,
    sessions: Sessions,
    run: JoinHandle<(SessionEnd, Farewell)>,
    link: MemoryLink,
}

fn serve(limits: Limits) -> Setup {
    let (ours, theirs) = pair(4);
    let handler = Arc::<Slow>::default();
    let sessions = Sessions::new();
    let driver = Driver {
        handler: Arc::clone(&handler),
        sessions: sessions.clone(),
        limits,
        shutdown: CancellationToken::new(),
        link: ours,
    };
    let peer = SocketAddr::from(([192, 0, 2, 1], 1));
    let run = tokio::spawn(driver.run("alice".to_owned(), peer));
    Setup {
        handler,
        sessions,
        run,
        link: theirs,
    }
}

async fn client(link: MemoryLink) -> (Client, mpsc::Receiver<Notification>) {
    let mut config = ClientConfig::new(
        "memory",
        "alice",
        Auth::Password(String::new()),
        HostKeyCheck::Pinned(String::new()),
    );
    config.rpc_timeout = Duration::from_secs(100);
    config.notification_queue = 1;
    Client::over(link, &config, std::future::ready(()))
        .await
        .unwrap()
}

fn event() -> EncodedNotification {
    let content = Fragment::parse("<e xmlns='urn:e'/>").unwrap();
    Notification {
        event_time: "2026-01-01T00:00:00Z".to_owned(),
        content,
    }
    .into()
}

#[tokio::test(start_paused = true)]
async fn a_full_notification_queue_is_reported_at_once() {
    let limits = Limits {
        notification_queue: 10,
        ..Limits::default()
    };
    let setup = serve(limits);
    let (client, _notifications) = client(setup.link).await;
    client.call(Operation::DiscardChanges).await.unwrap();
    let notifier = setup.handler.notifier.lock().unwrap().clone().unwrap();
    for _ in 0..10 {
        notifier.try_send(event()).unwrap();
    }
    assert_eq!(notifier.try_send(event()), Err(Overflow::QueueFull));
}

#[tokio::test(start_paused = true)]
async fn stuck_output_ends_the_session_and_its_queue() {
    let limits = Limits {
        write_timeout: Duration::from_secs(5),
        ..Limits::default()
    };
    let setup = serve(limits);
    let mut raw = setup.link;
    let hello = b"<hello xmlns='urn:ietf:params:xml:ns:netconf:base:1.0'><capabilities>\
                  <capability>urn:ietf:params:netconf:base:1.1</capability></capabilities></hello>]]>]]>";
    raw.transmitter
        .transmit(Bytes::from_static(hello))
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let notifier = setup.handler.notifier.lock().unwrap().clone().unwrap();
    for _ in 0..10 {
        notifier.try_send(event()).unwrap();
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(setup.sessions.len(), 1);
    assert_eq!(
        setup.run.await.unwrap(),
        (SessionEnd::TransportLost, Farewell::Cut)
    );
    assert_eq!(
        *setup.handler.ends.lock().unwrap(),
        [SessionEnd::TransportLost]
    );
    assert_eq!(notifier.try_send(event()), Err(Overflow::SessionEnded));
    assert_eq!(setup.sessions.totals().dropped_sessions, 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_is_done_to_its_end_when_its_client_goes_away() {
    let setup = serve(Limits::default());
    let (client, _notifications) = client(setup.link).await;
    let call = tokio::spawn(async move { client.call(Operation::DiscardChanges).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    call.abort();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(*setup.handler.done.lock().unwrap(), 0);
    assert_eq!(setup.run.await.unwrap().0, SessionEnd::TransportLost);
    assert_eq!(*setup.handler.done.lock().unwrap(), 1);
    assert!(setup.sessions.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_kill_waits_for_the_request_and_the_waiting_client_is_told() {
    let setup = serve(Limits::default());
    let (client, _notifications) = client(setup.link).await;
    let id = client.session_id();
    let call = tokio::spawn(async move { client.call(Operation::DiscardChanges).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(setup.sessions.kill(id, 0));
    assert!(!setup.sessions.kill(id + 1, 0));
    setup.sessions.ended(id).await;
    assert_eq!(*setup.handler.done.lock().unwrap(), 1);
    assert_eq!(
        *setup.handler.ends.lock().unwrap(),
        [SessionEnd::Killed { by: 0 }]
    );
    assert!(matches!(call.await.unwrap(), Err(Error::Closed { .. })));
    assert_eq!(setup.sessions.totals().dropped_sessions, 0);
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_comes_too_late_harms_nobody() {
    let setup = serve(Limits::default());
    let (client, _notifications) = client(setup.link).await;
    // Two at once: the second waits 60 s for the first and takes 60 s, over the client's 100 s.
    let (first, second) = tokio::join!(
        client.call(Operation::DiscardChanges),
        client.call(Operation::DiscardChanges)
    );
    assert!(first.is_ok());
    assert!(matches!(second, Err(Error::Timeout { .. })));
    assert!(client.call(Operation::DiscardChanges).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_fault_in_a_handler_costs_one_reply() {
    let setup = serve(Limits::default());
    let (client, _notifications) = client(setup.link).await;
    let at_once = Operation::Get {
        filter: None,
        with_defaults: None,
    };
    let later = Operation::Validate(ConfigSource::Datastore(Datastore::Candidate));
    for faulty in [at_once, later] {
        let Err(Error::Rpc(errors)) = client.call(faulty).await else {
            unreachable!("a fault is answered");
        };
        assert_eq!(errors[0].tag, ErrorTag::OperationFailed);
        assert_eq!(errors[0].message.as_deref(), Some("internal error"));
    }
    assert!(client.call(Operation::DiscardChanges).await.is_ok());
}
