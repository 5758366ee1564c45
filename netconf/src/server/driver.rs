//! Drives one session: carries out what its state machine asks for, over any transport.

use std::any::Any;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use futures_util::FutureExt as _;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::session::{Action, Session};
use super::sessions::{Counters, Kill, Place};
use super::{EncodedNotification, Handler, Limits, Notifier, SessionEnd, SessionInfo, Sessions};
use crate::error::{ErrorTag, RpcError};
use crate::message::{LONG_MESSAGE_BYTES, Outcome, Rpc};
use crate::transport::{Link, Receive, Transmit};

/// What came of a request, or what its handler panicked with.
type Called = Result<Outcome, Box<dyn Any + Send>>;

/// How long the last bytes of a session may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// How to part from a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Farewell {
    /// It is about to leave by itself.
    Courteous,
    /// It is told to leave.
    Prompt,
    /// It takes no more bytes.
    Cut,
}

/// What a session needs from its server.
pub(super) struct Driver<H, R, T> {
    pub(super) handler: Arc<H>,
    pub(super) sessions: Sessions,
    pub(super) limits: Limits,
    pub(super) shutdown: CancellationToken,
    pub(super) link: Link<R, T>,
}

impl<H: Handler, R: Receive, T: Transmit> Driver<H, R, T> {
    /// Runs the session of `user` from hello to end.
    pub(super) async fn run(self, user: String, peer: SocketAddr) -> (SessionEnd, Farewell) {
        let id = self.sessions.next_id();
        let span = tracing::info_span!("session", session_id = id, user, %peer);
        let counters = Arc::<Counters>::default();
        let capabilities = self.handler.capabilities();
        let session = Session::new(
            id,
            capabilities,
            &self.limits,
            Arc::clone(&counters),
            Instant::now(),
        );
        let (notifier, notifications) = Notifier::channel(self.limits.notification_queue);
        let running = Running {
            info: Arc::new(SessionInfo {
                id,
                user,
                peer,
                login_time: SystemTime::now(),
                base_1_1: false,
                client_capabilities: Vec::new(),
            }),
            driver: self,
            session,
            counters,
            notifier: Some(notifier),
            notifications,
            kill: Kill::default(),
            place: None,
            call: None,
            stuck: false,
        };
        running.run().instrument(span).await
    }
}

struct Running<H, R, T> {
    driver: Driver<H, R, T>,
    info: Arc<SessionInfo>,
    session: Session,
    counters: Arc<Counters>,
    /// Given to the handler at the start.
    notifier: Option<Notifier>,
    notifications: mpsc::Receiver<EncodedNotification>,
    kill: Kill,
    place: Option<Place>,
    call: Option<JoinHandle<Called>>,
    /// The client takes no more bytes.
    stuck: bool,
}

impl<H: Handler, R: Receive, T: Transmit> Running<H, R, T> {
    async fn run(mut self) -> (SessionEnd, Farewell) {
        let end = loop {
            match self.session.poll(Instant::now()) {
                Some(Action::Send(bytes)) => self.send(bytes).await,
                Some(Action::Start {
                    base_1_1,
                    capabilities,
                }) => {
                    self.start(base_1_1, capabilities).await;
                }
                Some(Action::Parse(message)) => self.parse(message).await,
                Some(Action::Call(rpc)) => self.begin(rpc),
                Some(Action::End(end)) => break end,
                None => self.wait().await,
            }
        };
        self.finish(end).await
    }

    /// Waits for one thing to happen and tells the session.
    async fn wait(&mut self) {
        let session = &mut self.session;
        let deadline = session.deadline();
        tokio::select! {
            () = self.kill.requested.cancelled(), if !self.kill.noticed => {
                self.kill.noticed = true;
                session.end(SessionEnd::Killed { by: self.kill.by.load(Ordering::Acquire) });
            }
            () = self.driver.shutdown.cancelled(), if !self.kill.noticed => {
                self.kill.noticed = true;
                session.end(SessionEnd::Shutdown);
            }
            outcome = joined(&mut self.call) => {
                self.call = None;
                session.outcome(Instant::now(), &outcome);
            }
            Some(notification) = self.notifications.recv(), if session.wants_notifications() => {
                session.notify(Instant::now(), &notification);
            }
            received = self.driver.link.receiver.receive(), if session.wants_input() => {
                take(session, received);
            }
            () = sleep_until(deadline.unwrap_or_else(Instant::now).into()), if deadline.is_some() => {
                session.timeout(Instant::now());
            }
        }
    }

    /// Sends, and keeps taking what the client sends meanwhile: it may be unable to read before it has written.
    async fn send(&mut self, bytes: Vec<u8>) {
        let Link {
            receiver,
            transmitter,
        } = &mut self.driver.link;
        let sent = timeout(
            self.driver.limits.write_timeout,
            transmitter.transmit(bytes.into()),
        );
        tokio::pin!(sent);
        let lost = loop {
            tokio::select! {
                sent = &mut sent => break match sent {
                    Ok(Ok(())) => return,
                    Ok(Err(_)) => SessionEnd::TransportLost,
                    Err(_) => {
                        tracing::info!("the client reads nothing");
                        self.stuck = true;
                        SessionEnd::TransportLost
                    }
                },
                received = receiver.receive(), if self.session.may_buffer() => {
                    take(&mut self.session, received);
                }
                () = self.kill.requested.cancelled() => {
                    break SessionEnd::Killed { by: self.kill.by.load(Ordering::Acquire) };
                }
                () = self.driver.shutdown.cancelled() => break SessionEnd::Shutdown,
            }
        };
        self.session.abandon(lost);
    }

    async fn start(&mut self, base_1_1: bool, capabilities: Vec<String>) {
        let info = Arc::make_mut(&mut self.info);
        info.base_1_1 = base_1_1;
        info.client_capabilities = capabilities;
        info.login_time = SystemTime::now();
        let sessions = &self.driver.sessions;
        let counters = Arc::clone(&self.counters);
        self.place = Some(sessions.enter(Arc::clone(&self.info), counters, self.kill.clone()));
        tracing::info!(base_1_1, "session started");
        if let Some(notifier) = self.notifier.take() {
            self.driver
                .handler
                .session_started(&self.info, notifier)
                .await;
        }
    }

    /// A long message is read on the blocking pool: other sessions share this thread.
    async fn parse(&mut self, message: Vec<u8>) {
        let limits = self.session.xml_limits();
        if message.len() < LONG_MESSAGE_BYTES {
            return self.session.parsed(Rpc::parse(&message, &limits));
        }
        match spawn_blocking(move || Rpc::parse(&message, &limits)).await {
            Ok(parsed) => self.session.parsed(parsed),
            Err(error) => self.session.end(SessionEnd::Protocol(error.to_string())),
        }
    }

    /// A request that has to wait for something gets its own task: a client that takes no bytes does not hold it up, and
    /// nothing drops it half way. One that is answered at once costs less without.
    fn begin(&mut self, rpc: Rpc) {
        let handler = Arc::clone(&self.driver.handler);
        let info = Arc::clone(&self.info);
        let span = tracing::debug_span!(
            "rpc",
            message_id = rpc.message_id,
            op = rpc.operation.name()
        );
        let call = async move { handler.call(&info, rpc).await }.instrument(span);
        let mut call = Box::pin(AssertUnwindSafe(call).catch_unwind());
        match (&mut call).now_or_never() {
            Some(outcome) => {
                let outcome = outcome.unwrap_or_else(|panic| failed(&panic_text(&*panic)));
                self.session.outcome(Instant::now(), &outcome);
            }
            None => self.call = Some(tokio::spawn(call)),
        }
    }

    async fn finish(mut self, end: SessionEnd) -> (SessionEnd, Farewell) {
        if self.call.is_some() {
            // Abandoned while the request ran: what it did stays done, nobody hears of it.
            drop(joined(&mut self.call).await);
        }
        self.notifications.close();
        tracing::info!(%end, "session ended");
        let bad_hello = matches!(end, SessionEnd::BadHello(_));
        if bad_hello {
            self.driver.sessions.count_bad_hello();
        }
        if self.place.is_some() || bad_hello {
            self.driver
                .handler
                .session_ended(&self.info, end.clone())
                .await;
        }
        if let Some(place) = &mut self.place {
            place.ended(&end);
        }
        drop(self.place);
        let farewell = match &end {
            _ if self.stuck => Farewell::Cut,
            SessionEnd::Closed | SessionEnd::TransportLost => Farewell::Courteous,
            SessionEnd::Killed { .. }
            | SessionEnd::BadHello(_)
            | SessionEnd::Protocol(_)
            | SessionEnd::IdleTimeout
            | SessionEnd::Shutdown => Farewell::Prompt,
        };
        let closed = timeout(GOODBYE, self.driver.link.transmitter.close())
            .await
            .is_ok();
        (end, if closed { farewell } else { Farewell::Cut })
    }
}

fn take(session: &mut Session, received: Option<Bytes>) {
    match received {
        Some(bytes) => session.receive(&bytes),
        None => session.end_of_input(),
    }
}

/// The outcome of the call in progress; never, where there is none.
async fn joined(call: &mut Option<JoinHandle<Called>>) -> Outcome {
    let Some(call) = call else {
        return std::future::pending().await;
    };
    match call.await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(panic)) => failed(&panic_text(&*panic)),
        Err(stopped) => failed(&stopped.to_string()),
    }
}

/// A fault in a handler costs one reply.
fn failed(fault: &str) -> Outcome {
    tracing::error!(fault, "a request failed inside the server");
    Err(vec![RpcError::new(
        ErrorTag::OperationFailed,
        "internal error",
    )])
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "panic".to_owned())
}

#[cfg(test)]
mod tests;
