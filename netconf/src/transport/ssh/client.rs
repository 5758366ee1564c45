//! The client side of SSH: one connection, one `netconf` channel, and a server that proves who it is.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use russh::client::{self, Msg};
use russh::keys::{HashAlg, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{ChannelMsg, Disconnect, SshId};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::gather::Gather;
use super::host_key::{HostKeyPin, private_key};
use super::stream::Severable;
use super::{
    CHANNEL_PACKETS, SSH_ID, SUBSYSTEM, Side, SshReceiver, SshTransmitter, WINDOW_BYTES, preferred,
    rekey_limits,
};
use crate::client::{Auth, ClientConfig, HostKeyCheck};
use crate::error::Error;
use crate::transport::{Link, Receive, Transmit, TransportLost};

/// What lies under a client's link.
pub(crate) struct Connection {
    handle: client::Handle<Checker>,
    _cut: DropGuard,
}

impl Connection {
    /// Tells the server that the connection ends, and cuts it.
    pub(crate) async fn finish(self, patience: Duration) {
        let told = self
            .handle
            .disconnect(Disconnect::ByApplication, "done", "");
        match timeout(patience, told).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::trace!(%error, "connection was closed already"),
            Err(_) => tracing::trace!("the server takes no more bytes"),
        }
    }
}

/// The `netconf` channel of a connection, as bytes: what it carries is up to the caller. For conformance tests and tools
/// that must send what [`Client`](crate::client::Client) never would.
pub struct RawChannel {
    link: Link<SshReceiver, SshTransmitter<Msg>>,
    connection: Connection,
}

impl RawChannel {
    /// Connects, checks the host key, authenticates and opens the channel.
    ///
    /// # Errors
    /// As [`Client::connect`](crate::client::Client::connect), but for the hello.
    pub async fn open(config: &ClientConfig) -> Result<Self, Error> {
        let limit = config.connect_timeout;
        let timed_out = |_| Error::Timeout {
            what: format!("connecting to {}", config.addr),
            limit,
        };
        let (link, connection) = timeout(limit, connect(config)).await.map_err(timed_out)??;
        Ok(Self { link, connection })
    }

    /// Sends bytes; waits while the server takes none, which may be for ever.
    ///
    /// # Errors
    /// [`Error::Closed`] when the server is gone.
    pub async fn send(&mut self, bytes: impl Into<Bytes>) -> Result<(), Error> {
        let lost = |lost: TransportLost| Error::Closed {
            reason: lost.to_string(),
        };
        self.link
            .transmitter
            .transmit(bytes.into())
            .await
            .map_err(lost)
    }

    /// The next bytes of the server; `None` at the end.
    pub async fn receive(&mut self) -> Option<Bytes> {
        self.link.receiver.receive().await
    }

    /// Closes the channel and the connection.
    pub async fn close(mut self) {
        self.link.transmitter.close().await;
        self.connection.finish(Duration::from_secs(2)).await;
    }
}

/// Connects, checks the host key, authenticates and opens the `netconf` channel. No time limit of its own.
pub(crate) async fn connect(
    config: &ClientConfig,
) -> Result<(Link<SshReceiver, SshTransmitter<Msg>>, Connection), Error> {
    let HostKeyCheck::Pinned(pinned) = &config.host_key;
    let checker = Checker {
        pin: HostKeyPin::parse(pinned)?,
        presented: Arc::default(),
    };
    let proof = proof(&config.auth).await?;
    let stream = TcpStream::connect(&config.addr)
        .await
        .map_err(|source| io(config, source))?;
    stream
        .set_nodelay(true)
        .map_err(|source| io(config, source))?;
    let cut = CancellationToken::new();
    let guard = cut.clone().drop_guard();
    let stream = Severable::new(Gather::new(stream), &cut);

    let pin = checker.pin.clone();
    let presented = Arc::clone(&checker.presented);
    let mut handle = client::connect_stream(ssh_config(config), stream, checker)
        .await
        .map_err(|error| match (error, presented.get()) {
            (russh::Error::UnknownKey, Some(presented)) => Error::HostKey {
                addr: config.addr.clone(),
                expected: pin.fingerprint().to_owned(),
                presented: presented.clone(),
            },
            (error, _) => ssh(config, error),
        })?;
    authenticate(&mut handle, config, proof).await?;
    let link = open(&handle, config).await?;
    Ok((
        link,
        Connection {
            handle,
            _cut: guard,
        },
    ))
}

fn ssh_config(config: &ClientConfig) -> Arc<client::Config> {
    Arc::new(client::Config {
        client_id: SshId::Standard(SSH_ID.into()),
        limits: rekey_limits(),
        window_size: WINDOW_BYTES,
        channel_buffer_size: CHANNEL_PACKETS,
        preferred: preferred(),
        inactivity_timeout: None,
        keepalive_interval: config.keepalive,
        nodelay: true,
        ..Default::default()
    })
}

enum Proof {
    Password(String),
    Key(PrivateKeyWithHashAlg),
}

async fn proof(auth: &Auth) -> Result<Proof, Error> {
    let key = |text: &str, path: Option<&Path>| {
        private_key(text, path).map(|key| Proof::Key(PrivateKeyWithHashAlg::new(key.into(), None)))
    };
    match auth {
        Auth::Password(password) => Ok(Proof::Password(password.clone())),
        Auth::Key(text) => key(text, None),
        Auth::KeyFile(path) => {
            let text = tokio::fs::read_to_string(path)
                .await
                .map_err(|error| Error::Key {
                    path: Some(path.clone()),
                    reason: error.to_string(),
                })?;
            key(&text, Some(path))
        }
    }
}

async fn authenticate(
    handle: &mut client::Handle<Checker>,
    config: &ClientConfig,
    proof: Proof,
) -> Result<(), Error> {
    let result = match proof {
        Proof::Password(password) => handle.authenticate_password(&config.user, password).await,
        Proof::Key(key) => handle.authenticate_publickey(&config.user, key).await,
    };
    if result.map_err(|error| ssh(config, error))?.success() {
        return Ok(());
    }
    Err(Error::AuthRefused {
        addr: config.addr.clone(),
        user: config.user.clone(),
    })
}

async fn open(
    handle: &client::Handle<Checker>,
    config: &ClientConfig,
) -> Result<Link<SshReceiver, SshTransmitter<Msg>>, Error> {
    let mut channel = handle
        .channel_open_session()
        .await
        .map_err(|error| ssh(config, error))?;
    channel
        .request_subsystem(true, SUBSYSTEM)
        .await
        .map_err(|error| ssh(config, error))?;
    loop {
        match channel.wait().await {
            Some(ChannelMsg::Success) => break,
            Some(ChannelMsg::Failure) | None => {
                let what = format!("{} refuses the subsystem {SUBSYSTEM}", config.addr);
                return Err(Error::Protocol(what));
            }
            Some(_) => {}
        }
    }
    let (read, write) = channel.split();
    Ok(Link {
        receiver: SshReceiver(read),
        transmitter: SshTransmitter {
            channel: write,
            side: Side::Client,
        },
    })
}

fn io(config: &ClientConfig, source: std::io::Error) -> Error {
    Error::Io {
        addr: config.addr.clone(),
        source,
    }
}

fn ssh(config: &ClientConfig, source: russh::Error) -> Error {
    Error::Ssh {
        addr: config.addr.clone(),
        source: source.into(),
    }
}

/// Accepts the pinned host key only, and remembers what the server had.
struct Checker {
    pin: HostKeyPin,
    presented: Arc<OnceLock<String>>,
}

impl client::Handler for Checker {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        server: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = server else {
            return Ok(false);
        };
        let presented = key.fingerprint(HashAlg::Sha256).to_string();
        let matches = presented == self.pin.fingerprint();
        self.presented.get_or_init(|| presented);
        Ok(matches)
    }
}
