//! What the SSH layer refuses, asked for by a client of the SSH library.

use russh::client::{self, AuthResult};
use russh::keys::PublicKeyOrCertificate;
use russh::{ChannelMsg, Error};

use super::*;
use crate::message::{Outcome, Reply, Rpc};
use crate::server::{
    Notifier, Server, ServerConfig, ServerHandle, SessionEnd, SessionInfo, Sessions,
};

struct Door;

impl Handler for Door {
    fn capabilities(&self) -> Vec<String> {
        Vec::new()
    }

    async fn authenticate(&self, _: &str, credential: Credential<'_>, _: SocketAddr) -> bool {
        credential == Credential::Password("right")
    }

    async fn session_started(&self, _: &SessionInfo, _: Notifier) {}

    async fn session_ended(&self, _: &SessionInfo, _: SessionEnd) {}

    async fn call(&self, _: &SessionInfo, _: Rpc) -> Outcome {
        Ok(Reply::Ok)
    }
}

struct Trusting;

impl client::Handler for Trusting {
    type Error = Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Error> {
        Ok(true)
    }
}

async fn serve() -> ServerHandle {
    let limits = Limits {
        max_auth_tries: 3,
        auth_failure_delay: Duration::from_millis(1),
        ..Limits::default()
    };
    let config = ServerConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        host_key: HostKey::generate().unwrap(),
        limits,
        sessions: Sessions::new(),
    };
    Server::bind(config, Arc::new(Door)).await.unwrap()
}

async fn connect(server: &ServerHandle) -> client::Handle<Trusting> {
    let config = Arc::new(client::Config {
        preferred: preferred(),
        ..Default::default()
    });
    client::connect(config, server.local_addr(), Trusting)
        .await
        .unwrap()
}

async fn entered(server: &ServerHandle) -> client::Handle<Trusting> {
    let mut handle = connect(server).await;
    assert!(
        handle
            .authenticate_password("alice", "right")
            .await
            .unwrap()
            .success()
    );
    handle
}

/// Whether the server said yes to what was asked on the channel.
async fn granted(channel: &mut Channel<client::Msg>) -> bool {
    loop {
        match channel.wait().await {
            Some(ChannelMsg::Success) => return true,
            Some(ChannelMsg::Failure) | None => return false,
            Some(_) => {}
        }
    }
}

#[tokio::test]
async fn so_many_tries_and_no_more() {
    let server = serve().await;
    let mut handle = connect(&server).await;
    let probe = handle.authenticate_none("alice").await.unwrap();
    assert!(matches!(probe, AuthResult::Failure { .. }));
    for _ in 0..3 {
        let wrong = handle
            .authenticate_password("alice", "wrong")
            .await
            .unwrap();
        assert!(matches!(wrong, AuthResult::Failure { .. }));
    }
    // The fourth is not even looked at.
    let late = handle.authenticate_password("alice", "right").await;
    assert!(!matches!(late, Ok(AuthResult::Success)), "{late:?}");
    assert!(handle.channel_open_session().await.is_err());
}

#[tokio::test]
async fn only_the_netconf_subsystem_is_served() {
    let server = serve().await;
    let handle = entered(&server).await;
    let mut channel = handle.channel_open_session().await.unwrap();
    channel.exec(true, "id").await.unwrap();
    assert!(!granted(&mut channel).await);
    channel.request_shell(true).await.unwrap();
    assert!(!granted(&mut channel).await);
    channel
        .request_pty(true, "xterm", 80, 24, 0, 0, &[])
        .await
        .unwrap();
    assert!(!granted(&mut channel).await);
    channel.request_subsystem(true, "sftp").await.unwrap();
    assert!(!granted(&mut channel).await);
    channel.request_subsystem(true, "netconf").await.unwrap();
    assert!(granted(&mut channel).await);
    assert!(
        handle.channel_open_session().await.is_err(),
        "one session per connection"
    );
}

#[tokio::test]
async fn nothing_is_forwarded() {
    let server = serve().await;
    let handle = entered(&server).await;
    assert!(
        handle
            .channel_open_direct_tcpip("127.0.0.1", 22, "127.0.0.1", 1)
            .await
            .is_err()
    );
    assert!(handle.tcpip_forward("127.0.0.1", 0).await.is_err());
    assert!(
        handle
            .channel_open_direct_streamlocal("/tmp/x")
            .await
            .is_err()
    );
}
