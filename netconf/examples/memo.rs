//! A complete server: one datastore that holds whatever it is given.
//!
//! ```text
//! cargo run -p tranche-netconf --example memo -- 127.0.0.1:8300
//! ssh -p 8300 -s memo@127.0.0.1 netconf        # the password is "memo"
//! ```

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tranche_netconf::capability::WRITABLE_RUNNING;
use tranche_netconf::error::{ErrorTag, RpcError};
use tranche_netconf::message::{Datastore, Operation, Outcome, Reply, Rpc};
use tranche_netconf::server::{
    Credential, Handler, Limits, Notifier, Server, ServerConfig, SessionEnd, SessionInfo, Sessions,
};
use tranche_netconf::transport::ssh::HostKey;
use tranche_netconf::xml::Fragment;

#[derive(Default)]
struct Memo {
    running: Mutex<Fragment>,
}

impl Handler for Memo {
    fn capabilities(&self) -> Vec<String> {
        vec![WRITABLE_RUNNING.to_owned()]
    }

    async fn authenticate(&self, user: &str, credential: Credential<'_>, _: SocketAddr) -> bool {
        user == "memo" && credential == Credential::Password("memo")
    }

    async fn session_started(&self, _: &SessionInfo, _: Notifier) {}

    async fn session_ended(&self, _: &SessionInfo, _: SessionEnd) {}

    async fn call(&self, _: &SessionInfo, rpc: Rpc) -> Outcome {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        match rpc.operation {
            Operation::Get { filter: None, .. } | Operation::GetConfig { filter: None, .. } => {
                Ok(Reply::Data(running.clone()))
            }
            Operation::EditConfig(edit) if edit.target == Datastore::Running => {
                *running = edit.config;
                Ok(Reply::Ok)
            }
            other => Err(vec![RpcError::new(
                ErrorTag::OperationNotSupported,
                format!("this server does not do that with {}", other.name()),
            )]),
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listen = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let host_key = HostKey::generate()?;
    let public_key = host_key.public_openssh();
    let config = ServerConfig {
        listen: listen.parse()?,
        host_key,
        limits: Limits::default(),
        sessions: Sessions::new(),
    };
    let server = Server::bind(config, Arc::new(Memo::default())).await?;
    #[expect(clippy::print_stdout, reason = "this is a program")]
    {
        println!(
            "listening on {} with host key {public_key}",
            server.local_addr()
        );
    }
    tokio::signal::ctrl_c().await?;
    server.shutdown().await;
    Ok(())
}
