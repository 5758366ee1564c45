//! A NETCONF client: one method per operation.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::error::Error;
use crate::message::{
    Commit, ConfigSource, ConfigTarget, CreateSubscription, Datastore, EditConfig, Filter,
    Notification, Operation, Reply, WithDefaults,
};
use crate::xml::Fragment;

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
pub struct Client {}

impl Client {
    /// Connects, authenticates and exchanges hellos. Gives the client and the notifications it will receive.
    ///
    /// # Errors
    /// When the server cannot be reached in time, proves the wrong host key, refuses the user, or speaks no NETCONF.
    pub async fn connect(
        config: ClientConfig,
    ) -> Result<(Self, mpsc::Receiver<Notification>), Error> {
        let _ = config;
        todo!()
    }

    /// The server's capabilities.
    #[must_use]
    pub fn capabilities(&self) -> &[String] {
        todo!()
    }

    /// The session's identifier at the server.
    #[must_use]
    pub fn session_id(&self) -> u32 {
        todo!()
    }

    /// Whether the session is over.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        todo!()
    }

    /// Waits until the session is over and says why.
    pub async fn closed(&self) -> String {
        todo!()
    }

    /// Sends any operation and waits for its reply. Several may be under way at once.
    ///
    /// # Errors
    /// [`Error::Rpc`] with what the server answered; others where no answer came.
    pub async fn call(&self, operation: Operation) -> Result<Reply, Error> {
        let _ = operation;
        todo!()
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
        let _ = (filter, with_defaults);
        todo!()
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
        let _ = (source, filter, with_defaults);
        todo!()
    }

    /// `edit-config` (RFC 6241 7.2).
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn edit_config(&self, edit: &EditConfig) -> Result<(), Error> {
        let _ = edit;
        todo!()
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
        let _ = (target, source, with_defaults);
        todo!()
    }

    /// `delete-config` (RFC 6241 7.4).
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn delete_config(&self, target: ConfigTarget) -> Result<(), Error> {
        let _ = target;
        todo!()
    }

    /// `lock` (RFC 6241 7.5).
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn lock(&self, datastore: Datastore) -> Result<(), Error> {
        let _ = datastore;
        todo!()
    }

    /// `unlock` (RFC 6241 7.6).
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn unlock(&self, datastore: Datastore) -> Result<(), Error> {
        let _ = datastore;
        todo!()
    }

    /// `commit` (RFC 6241 8.3.4.1).
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn commit(&self, commit: &Commit) -> Result<(), Error> {
        let _ = commit;
        todo!()
    }

    /// `cancel-commit` (RFC 6241 8.4.4.1).
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn cancel_commit(&self, persist_id: Option<&str>) -> Result<(), Error> {
        let _ = persist_id;
        todo!()
    }

    /// `discard-changes` (RFC 6241 8.3.4.2).
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn discard_changes(&self) -> Result<(), Error> {
        todo!()
    }

    /// `validate` (RFC 6241 8.6.4.1).
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn validate(&self, source: ConfigSource) -> Result<(), Error> {
        let _ = source;
        todo!()
    }

    /// `kill-session` (RFC 6241 7.9).
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn kill_session(&self, session_id: u32) -> Result<(), Error> {
        let _ = session_id;
        todo!()
    }

    /// `close-session` (RFC 6241 7.8).
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn close_session(&self) -> Result<(), Error> {
        todo!()
    }

    /// `get-schema` (RFC 6022 3.1).
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn get_schema(
        &self,
        identifier: &str,
        version: Option<&str>,
        format: Option<&str>,
    ) -> Result<String, Error> {
        let _ = (identifier, version, format);
        todo!()
    }

    /// `create-subscription` (RFC 5277 2.1.1). Notifications come through the receiver of [`Client::connect`].
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn create_subscription(&self, subscription: CreateSubscription) -> Result<(), Error> {
        let _ = subscription;
        todo!()
    }
}
