//! The server side of SSH: authentication, one `netconf` channel per connection, and nothing else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use russh::keys::PublicKey;
use russh::server::{self, Auth, ChannelOpenHandle, Msg};
use russh::{Channel, ChannelId, ChannelOpenFailure, Disconnect, MethodKind, MethodSet, SshId};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::gather::Gather;
use super::stream::Severable;
use super::{
    CHANNEL_PACKETS, HostKey, SSH_ID, SUBSYSTEM, Side, SshReceiver, SshTransmitter, WINDOW_BYTES,
    preferred, rekey_limits,
};
use crate::server::{Credential, Handler, Limits};
use crate::transport::Link;

/// How long a client has to take the message that the connection ends.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Turns TCP connections into authenticated sessions.
#[derive(Debug)]
pub(crate) struct Acceptor {
    config: Arc<server::Config>,
    auth_timeout: Duration,
    open_timeout: Duration,
    sessions: Arc<Semaphore>,
}

/// A session that may begin.
pub(crate) struct Accepted {
    pub(crate) user: String,
    pub(crate) link: Link<SshReceiver, SshTransmitter<Msg>>,
    pub(crate) connection: Connection,
}

/// What lies under a session's link.
pub(crate) struct Connection {
    handle: server::Handle,
    done: tokio::task::JoinHandle<()>,
    cut: CancellationToken,
    _session: OwnedSemaphorePermit,
}

impl Connection {
    /// Ends the connection after what was transmitted: the client may leave first within `patience`, then it is told to.
    pub(crate) async fn finish(mut self, patience: Duration) {
        if timeout(patience, &mut self.done).await.is_ok() {
            return;
        }
        let told = self.handle.disconnect(
            Disconnect::ByApplication,
            "session closed".to_owned(),
            String::new(),
        );
        if !timeout(LAST_WORDS, async { told.await.is_ok() })
            .await
            .unwrap_or(false)
            || timeout(LAST_WORDS, &mut self.done).await.is_err()
        {
            self.cut().await;
        }
    }

    /// Cuts the connection at once.
    pub(crate) async fn cut(self) {
        self.cut.cancel();
        if let Err(error) = self.done.await {
            tracing::trace!(%error, "connection task");
        }
    }
}

impl Acceptor {
    pub(crate) fn new(host_key: &HostKey, limits: &Limits) -> Self {
        let config = server::Config {
            server_id: SshId::Standard(SSH_ID.into()),
            methods: methods(),
            auth_rejection_time: limits.auth_failure_delay,
            auth_rejection_time_initial: Some(Duration::ZERO),
            keys: vec![host_key.key.clone()],
            limits: rekey_limits(),
            window_size: WINDOW_BYTES,
            channel_buffer_size: CHANNEL_PACKETS,
            preferred: preferred(),
            // The `none` probe counts as one.
            max_auth_attempts: limits.max_auth_tries.saturating_add(1),
            inactivity_timeout: None,
            keepalive_interval: Some(limits.keepalive),
            nodelay: true,
            ..Default::default()
        };
        Self {
            config: Arc::new(config),
            auth_timeout: limits.auth_timeout,
            open_timeout: limits.hello_timeout,
            sessions: Arc::new(Semaphore::new(limits.max_sessions)),
        }
    }

    /// Authenticates the client and waits for its `netconf` channel. `ticket` is dropped when it has authenticated.
    /// Without success the connection is closed; the error says why, for the log.
    pub(crate) async fn accept<H: Handler>(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        handler: Arc<H>,
        ticket: impl Send,
    ) -> Result<Accepted, String> {
        let cut = CancellationToken::new();
        let guard = cut.clone().drop_guard();
        let (authenticated, is_authenticated) = oneshot::channel();
        let (opened, is_open) = oneshot::channel();
        let ssh = SshHandler {
            handler,
            peer,
            authenticated: Some(authenticated),
            opened: Some(opened),
            channel: None,
            sessions: Arc::clone(&self.sessions),
        };
        stream
            .set_nodelay(true)
            .map_err(|error| error.to_string())?;
        let stream = Severable::new(Gather::new(stream), &cut);
        let auth_deadline = Instant::now() + self.auth_timeout;
        let running = timeout_at(
            auth_deadline,
            server::run_stream(Arc::clone(&self.config), stream, ssh),
        )
        .await
        .map_err(|_| "sent no SSH identification in time".to_owned())?
        .map_err(|error| error.to_string())?;
        let handle = running.handle();
        let done = tokio::spawn(async move {
            if let Err(error) = running.await {
                tracing::debug!(%error, "ssh connection ended");
            }
        });
        let gone = |_| "left before a session began".to_owned();
        let user = timeout_at(auth_deadline, is_authenticated)
            .await
            .map_err(|_| "did not authenticate in time".to_owned())?
            .map_err(gone)?;
        drop(ticket);
        let (channel, session) = timeout(self.open_timeout, is_open)
            .await
            .map_err(|_| "opened no session in time".to_owned())?
            .map_err(gone)?;
        let (read, write) = channel.split();
        let link = Link {
            receiver: SshReceiver(read),
            transmitter: SshTransmitter {
                channel: write,
                side: Side::Server,
            },
        };
        let cut = guard.disarm();
        Ok(Accepted {
            user,
            link,
            connection: Connection {
                handle,
                done,
                cut,
                _session: session,
            },
        })
    }
}

fn methods() -> MethodSet {
    MethodSet::from([MethodKind::PublicKey, MethodKind::Password].as_slice())
}

/// Both methods stay open after a rejection: a mistyped password is typed again.
fn rejected() -> Auth {
    Auth::Reject {
        proceed_with_methods: Some(methods()),
        partial_success: false,
    }
}

/// The SSH library's callbacks for one connection.
struct SshHandler<H> {
    handler: Arc<H>,
    peer: SocketAddr,
    authenticated: Option<oneshot::Sender<String>>,
    opened: Option<oneshot::Sender<(Channel<Msg>, OwnedSemaphorePermit)>>,
    channel: Option<Channel<Msg>>,
    sessions: Arc<Semaphore>,
}

impl<H: Handler> SshHandler<H> {
    async fn key(&self, user: &str, key: &PublicKey) -> Auth {
        let Ok(blob) = key.to_bytes() else {
            return Auth::reject();
        };
        let algorithm = key.algorithm();
        let credential = Credential::PublicKey {
            algorithm: algorithm.as_str(),
            blob: &blob,
        };
        self.verdict(user, credential).await
    }

    async fn verdict(&self, user: &str, credential: Credential<'_>) -> Auth {
        if self.handler.authenticate(user, credential, self.peer).await {
            return Auth::Accept;
        }
        tracing::info!(user, peer = %self.peer, ?credential, "authentication refused");
        rejected()
    }

    fn accepted(&mut self, user: &str) {
        if let Some(authenticated) = self.authenticated.take()
            && authenticated.send(user.to_owned()).is_err()
        {
            tracing::debug!(user, peer = %self.peer, "authenticated too late");
        }
    }
}

impl<H: Handler> server::Handler for SshHandler<H> {
    type Error = russh::Error;

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, Self::Error> {
        let verdict = self.verdict(user, Credential::Password(password)).await;
        if verdict == Auth::Accept {
            self.accepted(user);
        }
        Ok(verdict)
    }

    async fn auth_publickey_offered(
        &mut self,
        user: &str,
        offer: server::PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        Ok(self.key(user, offer.public_key).await)
    }

    async fn auth_publickey(
        &mut self,
        user: &str,
        key: server::VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        let verdict = self.key(user, key.public_key).await;
        if verdict == Auth::Accept {
            self.accepted(user);
        }
        Ok(verdict)
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut server::Session,
    ) -> Result<(), Self::Error> {
        if self.channel.is_some() || self.opened.is_none() {
            reply
                .reject(ChannelOpenFailure::AdministrativelyProhibited)
                .await;
            return Ok(());
        }
        self.channel = Some(channel);
        reply.accept().await;
        Ok(())
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        name: &str,
        session: &mut server::Session,
    ) -> Result<(), Self::Error> {
        if name != SUBSYSTEM
            || self
                .channel
                .as_ref()
                .is_none_or(|channel| channel.id() != id)
        {
            tracing::info!(peer = %self.peer, subsystem = name, "subsystem refused");
            return session.channel_failure(id);
        }
        let Ok(permit) = Arc::clone(&self.sessions).try_acquire_owned() else {
            tracing::warn!(peer = %self.peer, "too many sessions");
            session.channel_failure(id)?;
            return session.disconnect(Disconnect::TooManyConnections, "too many sessions", "");
        };
        session.channel_success(id)?;
        if let (Some(opened), Some(channel)) = (self.opened.take(), self.channel.take())
            && opened.send((channel, permit)).is_err()
        {
            tracing::debug!(peer = %self.peer, "opened a session too late");
        }
        Ok(())
    }

    async fn shell_request(
        &mut self,
        channel: ChannelId,
        session: &mut server::Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        _data: &[u8],
        session: &mut server::Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _term: &str,
        _col_width: u32,
        _row_height: u32,
        _pix_width: u32,
        _pix_height: u32,
        _modes: &[(russh::Pty, u32)],
        session: &mut server::Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        _variable_name: &str,
        _variable_value: &str,
        session: &mut server::Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }
}

#[cfg(test)]
mod tests;
