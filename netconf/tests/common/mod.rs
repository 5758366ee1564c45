//! A server with a handler simple enough to see what the protocol does.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    reason = "each test binary uses its part; these are tests"
)]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tranche_netconf::client::{Auth, Client, ClientConfig, HostKeyCheck};
use tranche_netconf::error::{ErrorTag, RpcError};
use tranche_netconf::message::{Notification, Operation, Outcome, Reply, Rpc};
use tranche_netconf::server::{
    Credential, Handler, Limits, Notifier, Server, ServerConfig, ServerHandle, SessionEnd,
    SessionInfo, Sessions,
};
use tranche_netconf::transport::ssh::HostKey;
use tranche_netconf::xml::Fragment;

/// User `alice`, password `secret`. `get` gives `data`, `edit-config` sets it, `kill-session` kills, `sleep` sleeps,
/// `panic` panics, `create-subscription` sends one notification at once.
#[derive(Default)]
pub struct Toy {
    pub sessions: Sessions,
    pub data: Mutex<String>,
    pub key: Mutex<Option<Vec<u8>>>,
    pub notifiers: Mutex<Vec<Notifier>>,
    pub ends: Mutex<Vec<(u32, SessionEnd)>>,
    pub calls: AtomicUsize,
}

pub fn event(n: usize) -> Notification {
    Notification {
        event_time: "2026-01-01T00:00:00Z".to_owned(),
        content: Fragment::parse(&format!("<tick xmlns='urn:toy'><n>{n}</n></tick>")).unwrap(),
    }
}

impl Handler for Toy {
    fn capabilities(&self) -> Vec<String> {
        vec!["urn:toy?module=toy".to_owned()]
    }

    async fn authenticate(&self, user: &str, credential: Credential<'_>, _: SocketAddr) -> bool {
        match credential {
            Credential::Password(password) => user == "alice" && password == "secret",
            Credential::PublicKey { blob, .. } => {
                user == "alice" && self.key.lock().unwrap().as_deref() == Some(blob)
            }
        }
    }

    async fn session_started(&self, _: &SessionInfo, notifier: Notifier) {
        self.notifiers.lock().unwrap().push(notifier);
    }

    async fn session_ended(&self, session: &SessionInfo, end: SessionEnd) {
        self.ends.lock().unwrap().push((session.id, end));
    }

    async fn call(&self, session: &SessionInfo, rpc: Rpc) -> Outcome {
        self.calls.fetch_add(1, Ordering::SeqCst);
        match rpc.operation {
            Operation::Get { .. } | Operation::GetConfig { .. } => Ok(Reply::Data(
                Fragment::parse(&self.data.lock().unwrap()).unwrap(),
            )),
            Operation::EditConfig(edit) => {
                edit.config
                    .as_str()
                    .clone_into(&mut self.data.lock().unwrap());
                Ok(Reply::Ok)
            }
            Operation::KillSession(id) => {
                if !self.sessions.kill(id, session.id) {
                    let error = RpcError::new(ErrorTag::InvalidValue, "no such session");
                    return Err(vec![error]);
                }
                self.sessions.ended(id).await;
                Ok(Reply::Ok)
            }
            Operation::GetSchema { identifier, .. } => Ok(Reply::Schema(format!(
                "module {identifier} {{\n  // <&>\n}}\n"
            ))),
            Operation::CreateSubscription(_) => {
                let notifiers = self.notifiers.lock().unwrap().clone();
                for notifier in notifiers {
                    notifier.try_send(event(0)).unwrap();
                }
                Ok(Reply::Ok)
            }
            Operation::Other { name, .. } if name == "sleep" => {
                tokio::time::sleep(Duration::from_millis(300)).await;
                Ok(Reply::Output(
                    Fragment::parse("<slept xmlns='urn:toy'/>").unwrap(),
                ))
            }
            Operation::Other { name, .. } if name == "panic" => panic!("as asked"),
            Operation::Lock(_) => Err(vec![
                RpcError::new(ErrorTag::LockDenied, "held").with_info("session-id", "7"),
            ]),
            other => Err(vec![RpcError::new(
                ErrorTag::OperationNotSupported,
                format!("{} is not supported", other.name()),
            )]),
        }
    }
}

pub struct Setup {
    pub toy: Arc<Toy>,
    pub server: ServerHandle,
    /// Of the host key, in OpenSSH form.
    pub public_key: String,
}

pub fn quick() -> Limits {
    Limits {
        auth_failure_delay: Duration::from_millis(20),
        ..Limits::default()
    }
}

pub async fn serve(limits: Limits) -> Setup {
    let toy = Arc::new(Toy::default());
    *toy.data.lock().unwrap() = "<top xmlns='urn:toy'><a>1</a></top>".to_owned();
    let host_key = HostKey::generate().unwrap();
    let public_key = host_key.public_openssh();
    let config = ServerConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        host_key,
        limits,
        sessions: toy.sessions.clone(),
    };
    let server = Server::bind(config, Arc::clone(&toy)).await.unwrap();
    Setup {
        toy,
        server,
        public_key,
    }
}

impl Setup {
    pub fn config(&self) -> ClientConfig {
        ClientConfig::new(
            self.server.local_addr().to_string(),
            "alice",
            Auth::Password("secret".to_owned()),
            HostKeyCheck::Pinned(self.server.host_key_fingerprint().to_owned()),
        )
    }

    pub async fn client(&self) -> Client {
        Client::connect(self.config()).await.unwrap().0
    }
}

/// Waits until `condition` holds; fails the test after ten seconds.
pub async fn eventually(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..1000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

pub fn other(name: &str) -> Operation {
    Operation::Other {
        namespace: "urn:toy".to_owned(),
        name: name.to_owned(),
        element: Fragment::parse(&format!("<{name} xmlns='urn:toy'/>")).unwrap(),
    }
}
