//! A NETCONF client: one method per operation.

mod session;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::timeout;

use self::session::Shared;

use crate::error::Error;
use crate::framing::{self, Framing};
use crate::message::{
    Commit, ConfigSource, ConfigTarget, CreateSubscription, Datastore, EditConfig, Filter,
    Notification, Operation, Reply, Rpc, WithDefaults,
};
use crate::transport::ssh::client as ssh;
use crate::transport::{Link, Receive, Transmit};
use crate::xml::Fragment;

/// Requests that may wait to be written.
const OUTGOING: usize = 16;
/// How long a server has to take our goodbye.
const FAREWELL: Duration = Duration::from_secs(2);

/// How to reach a server and prove who one is.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// `host:port`, a name or an address.
    pub addr: String,
    /// User name.
    pub user: String,
    /// Proof of it.
    pub auth: Auth,
    /// What the server must prove.
    pub host_key: HostKeyCheck,
    /// For the whole way to the end of the hello exchange.
    pub connect_timeout: Duration,
    /// For the reply to one request.
    pub rpc_timeout: Duration,
    /// Silence after which the server is asked for a sign of life; the connection is given up after three without answer.
    pub keepalive: Option<Duration>,
    /// Size of one message from the server in bytes.
    pub max_message_bytes: usize,
    /// Notifications that may wait to be received; while that many do, nothing more is read from the server.
    pub notification_queue: usize,
}

impl ClientConfig {
    /// A configuration with default times and limits.
    #[must_use]
    pub fn new(
        addr: impl Into<String>,
        user: impl Into<String>,
        auth: Auth,
        host_key: HostKeyCheck,
    ) -> Self {
        Self {
            addr: addr.into(),
            user: user.into(),
            auth,
            host_key,
            connect_timeout: Duration::from_secs(10),
            rpc_timeout: Duration::from_secs(60),
            keepalive: Some(Duration::from_secs(30)),
            max_message_bytes: 256 << 20,
            notification_queue: 1024,
        }
    }
}

/// What a client proves its identity with.
#[derive(Clone)]
pub enum Auth {
    /// A password.
    Password(String),
    /// A private key in a file (OpenSSH or PEM, without passphrase; ed25519 or ECDSA).
    KeyFile(PathBuf),
    /// The text of such a file.
    Key(String),
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Password(_) => f.write_str("Password(..)"),
            Self::KeyFile(path) => f.debug_tuple("KeyFile").field(path).finish(),
            Self::Key(_) => f.write_str("Key(..)"),
        }
    }
}

/// Which host key is accepted. There is no way to accept any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostKeyCheck {
    /// This one: a public key in OpenSSH form (`ssh-ed25519 AAAA...`) or a fingerprint (`SHA256:...`).
    Pinned(String),
}

/// A session with a server. Clones share it; it closes when the last one is dropped.
#[derive(Debug, Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    capabilities: Vec<String>,
    session_id: u32,
    framing: Framing,
    rpc_timeout: Duration,
    last_message_id: AtomicU64,
    outgoing: mpsc::Sender<Bytes>,
    shared: Arc<Shared>,
}

impl Client {
    /// Connects, authenticates and exchanges hellos. Gives the client and the notifications it will receive.
    ///
    /// # Errors
    /// When the server cannot be reached in time, proves the wrong host key, refuses the user, or speaks no NETCONF.
    pub async fn connect(
        config: ClientConfig,
    ) -> Result<(Self, mpsc::Receiver<Notification>), Error> {
        let limit = config.connect_timeout;
        let connecting = async {
            let (link, connection) = ssh::connect(&config).await?;
            Self::over(link, &config, connection.finish(FAREWELL)).await
        };
        timeout(limit, connecting).await.unwrap_or_else(|_| {
            Err(Error::Timeout {
                what: format!("connecting to {}", config.addr),
                limit,
            })
        })
    }

    /// A session over a link; `finish` is run after its end.
    pub(crate) async fn over<R: Receive, T: Transmit>(
        link: Link<R, T>,
        config: &ClientConfig,
        finish: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(Self, mpsc::Receiver<Notification>), Error> {
        let established = session::establish(link, config.max_message_bytes).await?;
        let (outgoing, to_write) = mpsc::channel(OUTGOING);
        let (notifications, receiver) = mpsc::channel(config.notification_queue.max(1));
        let shared = Arc::<Shared>::default();
        let inner = Inner {
            capabilities: established.capabilities,
            session_id: established.session_id,
            framing: established.framing,
            rpc_timeout: config.rpc_timeout,
            last_message_id: AtomicU64::new(0),
            outgoing,
            shared: Arc::clone(&shared),
        };
        let (link, decoder) = (established.link, established.decoder);
        tokio::spawn(async move {
            session::run(link, decoder, to_write, notifications, &shared, finish).await;
        });
        Ok((
            Self {
                inner: Arc::new(inner),
            },
            receiver,
        ))
    }

    /// The server's capabilities.
    #[must_use]
    pub fn capabilities(&self) -> &[String] {
        &self.inner.capabilities
    }

    /// Whether the server has the capability `uri`, whatever query follows it.
    #[must_use]
    pub fn has_capability(&self, uri: &str) -> bool {
        crate::capability::has(&self.inner.capabilities, uri)
    }

    /// The session's identifier at the server.
    #[must_use]
    pub fn session_id(&self) -> u32 {
        self.inner.session_id
    }

    /// Whether the session is over.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.inner.shared.is_closed()
    }

    /// Waits until the session is over and says why.
    pub async fn closed(&self) -> String {
        self.inner.shared.closed().await
    }

    /// Sends any operation and waits for its reply. Several may be under way at once.
    ///
    /// # Errors
    /// [`Error::Rpc`] with what the server answered; others where no answer came.
    pub async fn call(&self, operation: Operation) -> Result<Reply, Error> {
        let inner = &self.inner;
        let what = format!("the reply to {}", operation.name());
        let message_id = inner.last_message_id.fetch_add(1, Ordering::Relaxed) + 1;
        let rpc = Rpc {
            message_id: message_id.to_string(),
            attributes: Vec::new(),
            operation,
        };
        let bytes = framing::encode(inner.framing, rpc.encode().as_bytes())
            .map_err(|error| Error::Protocol(error.to_string()))?;
        let reply = inner.shared.expect(message_id);
        let _forget = Forget {
            shared: &inner.shared,
            message_id,
        };
        let closed = || Error::Closed {
            reason: inner.shared.reason(),
        };
        let answered = async {
            inner
                .outgoing
                .send(bytes.into())
                .await
                .map_err(|_| closed())?;
            reply.await.map_err(|_| closed())
        };
        let limit = inner.rpc_timeout;
        let outcome = timeout(limit, answered)
            .await
            .map_err(|_| Error::Timeout { what, limit })??;
        outcome.map_err(Error::Rpc)
    }

    /// For operations without output.
    async fn done(&self, operation: Operation) -> Result<(), Error> {
        let name = operation.name().to_owned();
        match self.call(operation).await? {
            Reply::Ok => Ok(()),
            Reply::Output(output) if output.is_empty() => Ok(()),
            other => Err(unexpected(&name, &other)),
        }
    }

    /// For operations that give `<data>`.
    async fn data(&self, operation: Operation) -> Result<Fragment, Error> {
        let name = operation.name().to_owned();
        match self.call(operation).await? {
            Reply::Data(data) => Ok(data),
            other => Err(unexpected(&name, &other)),
        }
    }

    /// `get` (RFC 6241 7.7).
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn get(
        &self,
        filter: Option<Filter>,
        with_defaults: Option<WithDefaults>,
    ) -> Result<Fragment, Error> {
        self.data(Operation::Get {
            filter,
            with_defaults,
        })
        .await
    }

    /// `get-config` (RFC 6241 7.1).
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn get_config(
        &self,
        source: Datastore,
        filter: Option<Filter>,
        with_defaults: Option<WithDefaults>,
    ) -> Result<Fragment, Error> {
        let source = ConfigSource::Datastore(source);
        self.data(Operation::GetConfig {
            source,
            filter,
            with_defaults,
        })
        .await
    }

    /// `edit-config` (RFC 6241 7.2).
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn edit_config(&self, edit: &EditConfig) -> Result<(), Error> {
        self.done(Operation::EditConfig(edit.clone())).await
    }

    /// `copy-config` (RFC 6241 7.3).
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn copy_config(
        &self,
        target: ConfigTarget,
        source: ConfigSource,
        with_defaults: Option<WithDefaults>,
    ) -> Result<(), Error> {
        self.done(Operation::CopyConfig {
            target,
            source,
            with_defaults,
        })
        .await
    }

    /// `delete-config` (RFC 6241 7.4).
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn delete_config(&self, target: ConfigTarget) -> Result<(), Error> {
        self.done(Operation::DeleteConfig { target }).await
    }

    /// `lock` (RFC 6241 7.5).
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn lock(&self, datastore: Datastore) -> Result<(), Error> {
        self.done(Operation::Lock(datastore)).await
    }

    /// `unlock` (RFC 6241 7.6).
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn unlock(&self, datastore: Datastore) -> Result<(), Error> {
        self.done(Operation::Unlock(datastore)).await
    }

    /// `commit` (RFC 6241 8.3.4.1).
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn commit(&self, commit: &Commit) -> Result<(), Error> {
        self.done(Operation::Commit(commit.clone())).await
    }

    /// `cancel-commit` (RFC 6241 8.4.4.1).
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn cancel_commit(&self, persist_id: Option<&str>) -> Result<(), Error> {
        let persist_id = persist_id.map(str::to_owned);
        self.done(Operation::CancelCommit { persist_id }).await
    }

    /// `discard-changes` (RFC 6241 8.3.4.2).
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn discard_changes(&self) -> Result<(), Error> {
        self.done(Operation::DiscardChanges).await
    }

    /// `validate` (RFC 6241 8.6.4.1).
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn validate(&self, source: ConfigSource) -> Result<(), Error> {
        self.done(Operation::Validate(source)).await
    }

    /// `kill-session` (RFC 6241 7.9).
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn kill_session(&self, session_id: u32) -> Result<(), Error> {
        self.done(Operation::KillSession(session_id)).await
    }

    /// `close-session` (RFC 6241 7.8): returns when the server has closed.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn close_session(&self) -> Result<(), Error> {
        self.done(Operation::CloseSession).await?;
        let limit = self.inner.rpc_timeout;
        timeout(limit, self.closed())
            .await
            .map_err(|_| Error::Timeout {
                what: "the end of the session".to_owned(),
                limit,
            })?;
        Ok(())
    }

    /// `get-schema` (RFC 6022 3.1): the text of a module.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn get_schema(
        &self,
        identifier: &str,
        version: Option<&str>,
        format: Option<&str>,
    ) -> Result<String, Error> {
        let operation = Operation::GetSchema {
            identifier: identifier.to_owned(),
            version: version.map(str::to_owned),
            format: format.map(str::to_owned),
        };
        match self.call(operation).await? {
            Reply::Schema(text) => Ok(text),
            other => Err(unexpected("get-schema", &other)),
        }
    }

    /// `create-subscription` (RFC 5277 2.1.1). Notifications come through the receiver of [`Client::connect`].
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn create_subscription(&self, subscription: CreateSubscription) -> Result<(), Error> {
        self.done(Operation::CreateSubscription(subscription)).await
    }
}

fn unexpected(operation: &str, reply: &Reply) -> Error {
    let what = match reply {
        Reply::Ok => "<ok/>",
        Reply::Data(_) => "<data>",
        Reply::Schema(_) => "a schema",
        Reply::Output(_) => "output",
    };
    Error::Protocol(format!("{operation} was answered with {what}"))
}

/// Stops waiting for a reply however the call ends.
struct Forget<'a> {
    shared: &'a Shared,
    message_id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.shared.forget(self.message_id);
    }
}

#[cfg(test)]
mod tests;
