//! The server: a listener, limits, and the [`Handler`] that gives the operations their meaning.
//!
//! Owns connections, authentication tries, sessions and their ends. Leaves users, data and access control to the handler.

mod admission;
mod driver;
mod notifier;
mod session;
mod sessions;

pub use notifier::{EncodedNotification, Notifier, Overflow};
pub use sessions::{SessionCounters, SessionSnapshot, Sessions, Totals};

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use self::admission::{Admission, Ticket};
use self::driver::{Driver, Farewell};
use crate::error::Error;
use crate::message::{Outcome, Rpc};
use crate::transport::ssh::HostKey;
use crate::transport::ssh::server::{Accepted, Acceptor};
use crate::xml::XmlLimits;

/// How long a client whose session is over may take to leave by itself.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long to wait after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What a client may cost. Every limit is a setting; the defaults suit a managed node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// From the end of authentication to the end of the client's hello.
    pub hello_timeout: Duration,
    /// Size of the client's hello in bytes.
    pub max_hello_bytes: usize,
    /// Size of any later message in bytes.
    pub max_message_bytes: usize,
    /// Nesting of elements in one message.
    pub max_depth: usize,
    /// Attributes (namespace declarations included) of one element.
    pub max_attributes: usize,
    /// Sessions open at once.
    pub max_sessions: usize,
    /// Connections open at once that have not authenticated. When one more arrives, the oldest of the address that
    /// holds most of them is closed to make room.
    pub max_unauthenticated: usize,
    /// Rejected authentication tries of one connection, not counting the `none` probe clients begin with.
    pub max_auth_tries: usize,
    /// From the TCP connection to the end of authentication.
    pub auth_timeout: Duration,
    /// How long a rejected authentication try takes at least, whatever was wrong with it.
    pub auth_failure_delay: Duration,
    /// Silence after which a client is asked for a sign of life; it is given up after three without answer.
    pub keepalive: Duration,
    /// A session on which nothing was asked or notified for so long is closed; `None` keeps it for ever.
    pub idle_timeout: Option<Duration>,
    /// A client that takes no byte for so long while something is to be sent loses its session.
    pub write_timeout: Duration,
    /// Bytes of requests that may wait behind the one being carried out; more are left to the transport's flow control.
    pub max_pipelined_bytes: usize,
    /// Notifications that may wait to be sent to one session.
    pub notification_queue: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            hello_timeout: Duration::from_secs(30),
            max_hello_bytes: 256 << 10,
            max_message_bytes: 64 << 20,
            max_depth: 128,
            max_attributes: 64,
            max_sessions: 1024,
            max_unauthenticated: 64,
            max_auth_tries: 4,
            auth_timeout: Duration::from_secs(20),
            auth_failure_delay: Duration::from_secs(1),
            keepalive: Duration::from_secs(30),
            idle_timeout: None,
            write_timeout: Duration::from_secs(30),
            max_pipelined_bytes: 1 << 20,
            notification_queue: 256,
        }
    }
}

impl Limits {
    pub(crate) fn xml(&self) -> XmlLimits {
        XmlLimits {
            max_depth: self.max_depth,
            max_attributes: self.max_attributes,
        }
    }
}

/// Who is at the other end of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionInfo {
    /// Session identifier (RFC 6241 8.1), never 0.
    pub id: u32,
    /// The authenticated user.
    pub user: String,
    /// Where the client connects from.
    pub peer: SocketAddr,
    /// When the session was established.
    pub login_time: SystemTime,
    /// Whether `:base:1.1` is in use.
    pub base_1_1: bool,
    /// The client's capabilities.
    pub client_capabilities: Vec<String>,
}

/// What a client proves its identity with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Credential<'a> {
    /// A password in clear.
    Password(&'a str),
    /// A public key whose owner signs, or is about to: a client may ask whether a key would do before it signs with it
    /// (RFC 4252 7), so one login may ask twice.
    PublicKey {
        /// Name of the algorithm, such as `ssh-ed25519`.
        algorithm: &'a str,
        /// The key in the form of RFC 4253 6.6.
        blob: &'a [u8],
    },
}

impl std::fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Password(_) => f.write_str("Password(..)"),
            Self::PublicKey { algorithm, .. } => write!(f, "PublicKey({algorithm})"),
        }
    }
}

/// Why a session ended. Maps to the `termination-reason` of RFC 6470 by [`SessionEnd::termination_reason`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionEnd {
    /// `close-session`.
    Closed,
    /// Ended by another: `kill-session` of session `by`, or something outside NETCONF where `by` is 0.
    Killed {
        /// The session that asked, or 0.
        by: u32,
    },
    /// The transport went away, or the client stopped reading.
    TransportLost,
    /// The client's hello was late, too long or wrong; why, in words.
    BadHello(String),
    /// The client broke the framing or sent what cannot be answered; why, in words.
    Protocol(String),
    /// Nothing happened for the idle timeout.
    IdleTimeout,
    /// The server stops.
    Shutdown,
}

impl SessionEnd {
    /// `termination-reason` of a `netconf-session-end` notification (RFC 6470 2.2).
    #[must_use]
    pub fn termination_reason(&self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Killed { .. } => "killed",
            Self::TransportLost => "dropped",
            Self::BadHello(_) => "bad-hello",
            Self::IdleTimeout => "timeout",
            Self::Protocol(_) | Self::Shutdown => "other",
        }
    }
}

impl std::fmt::Display for SessionEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed => f.write_str("closed by the client"),
            Self::Killed { by: 0 } => f.write_str("killed by the server"),
            Self::Killed { by } => write!(f, "killed by session {by}"),
            Self::TransportLost => f.write_str("the transport went away"),
            Self::BadHello(why) => write!(f, "bad hello: {why}"),
            Self::Protocol(why) => write!(f, "protocol error: {why}"),
            Self::IdleTimeout => f.write_str("idle for too long"),
            Self::Shutdown => f.write_str("the server stops"),
        }
    }
}

/// What a server does for its clients.
///
/// The requests of one session are carried out one after the other, those of different sessions concurrently. A call is
/// never dropped half way: a session that dies while one runs ends when the call has returned. A call that panics is
/// answered with `operation-failed`.
pub trait Handler: Send + Sync + 'static {
    /// The capabilities to advertise beyond `:base:1.0` and `:base:1.1`, asked once per session.
    fn capabilities(&self) -> Vec<String>;

    /// Whether `credential` proves that the peer is `user`. Slow password hashing belongs on a blocking pool.
    fn authenticate(
        &self,
        user: &str,
        credential: Credential<'_>,
        peer: SocketAddr,
    ) -> impl Future<Output = bool> + Send;

    /// Hellos are exchanged; the first request comes after this returns.
    fn session_started(
        &self,
        session: &SessionInfo,
        notifier: Notifier,
    ) -> impl Future<Output = ()> + Send;

    /// The session is over: locks go, subscriptions end. Called once for each session started, and once without a start
    /// for one that ended in [`SessionEnd::BadHello`].
    fn session_ended(
        &self,
        session: &SessionInfo,
        end: SessionEnd,
    ) -> impl Future<Output = ()> + Send;

    /// Carries out one request. `close-session` does not come here: the server answers it.
    fn call(&self, session: &SessionInfo, rpc: Rpc) -> impl Future<Output = Outcome> + Send;
}

/// What [`Server::bind`] needs.
#[derive(Debug)]
pub struct ServerConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The server's identity.
    pub host_key: HostKey,
    /// Limits.
    pub limits: Limits,
    /// The table to keep; give the same one to several servers to number their sessions together.
    pub sessions: Sessions,
}

/// A NETCONF server over SSH.
#[derive(Debug)]
pub struct Server;

impl Server {
    /// Listens and serves until [`ServerHandle::shutdown`], or until the handle is dropped.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn bind<H: Handler>(
        config: ServerConfig,
        handler: Arc<H>,
    ) -> Result<ServerHandle, Error> {
        let failed = |source| Error::Io {
            addr: config.listen.to_string(),
            source,
        };
        let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
        let local_addr = listener.local_addr().map_err(failed)?;
        let shutdown = CancellationToken::new();
        let tasks = TaskTracker::new();
        let handle = ServerHandle {
            local_addr,
            host_key_fingerprint: config.host_key.fingerprint(),
            tasks: tasks.clone(),
            shutdown: shutdown.clone().drop_guard(),
        };
        let shared = Arc::new(Shared {
            acceptor: Acceptor::new(&config.host_key, &config.limits),
            limits: config.limits,
            sessions: config.sessions,
            handler,
            shutdown,
        });
        let connections = tasks.clone();
        tasks.spawn(async move { listen(listener, shared, connections).await });
        Ok(handle)
    }
}

/// A server that runs. It stops when this is dropped.
#[derive(Debug)]
pub struct ServerHandle {
    local_addr: SocketAddr,
    host_key_fingerprint: String,
    tasks: TaskTracker,
    shutdown: DropGuard,
}

impl ServerHandle {
    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Fingerprint of the host key, `SHA256:...`.
    #[must_use]
    pub fn host_key_fingerprint(&self) -> &str {
        &self.host_key_fingerprint
    }

    /// Stops listening, ends every session with [`SessionEnd::Shutdown`] and waits for all of them.
    pub async fn shutdown(self) {
        drop(self.shutdown);
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// What the connections of one server have in common.
struct Shared<H> {
    acceptor: Acceptor,
    limits: Limits,
    sessions: Sessions,
    handler: Arc<H>,
    shutdown: CancellationToken,
}

async fn listen<H: Handler>(listener: TcpListener, shared: Arc<Shared<H>>, tasks: TaskTracker) {
    let admission = Admission::new(shared.limits.max_unauthenticated);
    loop {
        let accepted = tokio::select! {
            () = shared.shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let ticket = admission.admit(peer.ip());
                tasks.spawn(connection(Arc::clone(&shared), stream, peer, ticket));
            }
            Err(error) => {
                // Out of file descriptors, most likely: they come back as connections end.
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection<H: Handler>(
    shared: Arc<Shared<H>>,
    stream: TcpStream,
    peer: SocketAddr,
    ticket: Ticket,
) {
    let evicted = ticket.evicted();
    let handler = Arc::clone(&shared.handler);
    let accepted = tokio::select! {
        () = shared.shutdown.cancelled() => return,
        () = evicted.cancelled() => Err("gave way to a newer connection".to_owned()),
        accepted = shared.acceptor.accept(stream, peer, handler, ticket) => accepted,
    };
    match accepted {
        Ok(Accepted {
            user,
            link,
            connection,
        }) => {
            let driver = Driver {
                handler: Arc::clone(&shared.handler),
                sessions: shared.sessions.clone(),
                limits: shared.limits.clone(),
                shutdown: shared.shutdown.clone(),
                link,
            };
            match driver.run(user, peer).await.1 {
                Farewell::Courteous => connection.finish(FAREWELL).await,
                Farewell::Prompt => connection.finish(Duration::ZERO).await,
                Farewell::Cut => connection.cut().await,
            }
        }
        Err(reason) => tracing::debug!(%peer, reason, "no session came of a connection"),
    }
}
