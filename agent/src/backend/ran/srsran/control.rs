//! The remote control of a gNB: a WebSocket that takes commands and sends metrics, connected for as long as there is one.
//!
//! ```text
//!  disconnected --connect--> subscribed to metrics --close--> disconnected: what was observed is forgotten
//!       |  every 200 ms            | one command at a time, each answered with its name or an error
//! ```
//! A gNB of which nothing is heard any more, no answer to a ping either, counts as closed. So does one whose metrics stop: it
//! hangs as well, whoever answers the pings. One that never sent any does not, for it may have refused to.

mod session;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};
use tokio_util::task::AbortOnDropHandle;

use self::session::Session;

/// Time between attempts to connect.
const RETRY: Duration = Duration::from_millis(200);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(5);
/// Largest message taken.
const MOST_BYTES: usize = 1 << 20;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ControlError {
    /// Nobody is there.
    #[error("the gNB does not answer at {0}")]
    Away(SocketAddr),
    /// It says no.
    #[error("the gNB refuses: {0}")]
    Refused(String),
}

/// What the metrics of this connection say.
#[derive(Debug, Clone, Default)]
pub(super) struct Observed {
    /// How often a connection was made.
    pub(super) connections: u64,
    pub(super) is_connected: bool,
    /// The connection on which the gNB is told to end: on a later one it has read its file after that.
    ends_at: u64,
    /// What it said when it was told to end: it runs on with what it had.
    pub(super) refusal: Option<ControlError>,
    /// Cells; nothing was heard of them yet where absent.
    pub(super) cells: Option<Vec<Cell>>,
    /// Connections to AMFs; nothing was heard of them yet where absent.
    pub(super) amfs: Option<Vec<Amf>>,
}

impl Observed {
    /// Whether it is connected, and need not end nor refused to.
    pub(super) fn is_in_service(&self) -> bool {
        self.is_connected && self.connections > self.ends_at && self.refusal.is_none()
    }

    /// Whether it is connected, and is told to end.
    pub(super) fn is_ending(&self) -> bool {
        self.is_connected && self.connections <= self.ends_at
    }
}

/// A cell in the metrics.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Cell {
    pub(super) cell_metrics: CellMetrics,
    #[serde(default)]
    pub(super) ue_list: Vec<Value>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct CellMetrics {
    pub(super) pci: u16,
}

/// The connection to an AMF in the metrics.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Amf {
    pub(super) connected: bool,
    /// A text such as `[ 00101, 00102, ]`.
    #[serde(default)]
    supported_plmns: String,
}

impl Amf {
    /// Whether it is connected and serves a PLMN.
    pub(super) fn serves(&self, plmn: &str) -> bool {
        let mut plmns = self.supported_plmns.split([' ', ',', '[', ']']);
        self.connected && plmns.any(|one| one == plmn)
    }
}

struct Command {
    text: String,
    reply: oneshot::Sender<Result<(), ControlError>>,
}

/// What is known, and a call when the gNB is to end.
#[derive(Debug, Default)]
struct Shared {
    observed: Mutex<Observed>,
    to_end: Notify,
}

/// The remote control.
#[derive(Debug)]
pub(super) struct Control {
    address: SocketAddr,
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
    _task: AbortOnDropHandle<()>,
}

impl Control {
    /// Connects to an address for as long as it lives; a gNB of which nothing is heard for `silence` is gone. Needs a runtime.
    pub(super) fn new(address: SocketAddr, silence: Duration) -> Self {
        let (commands, queue) = mpsc::channel(16);
        let shared = Arc::<Shared>::default();
        let task = run(address, silence, queue, Arc::clone(&shared));
        Self {
            address,
            commands,
            shared,
            _task: AbortOnDropHandle::new(tokio::spawn(task)),
        }
    }

    /// What is known now.
    pub(super) fn observed(&self) -> Observed {
        lock(&self.shared.observed).clone()
    }

    /// Has the gNB end that runs now. One that is not connected may be about to, with what was in its file before: it is told
    /// as soon as it is, once.
    pub(super) fn end(&self) {
        let mut observed = lock(&self.shared.observed);
        observed.ends_at = observed.connections + u64::from(!observed.is_connected);
        observed.refusal = None;
        drop(observed);
        self.shared.to_end.notify_one();
    }

    /// Takes a gNB that refused to end for one that need not. Whether it is still there.
    pub(super) fn leave(&self) -> bool {
        lock(&self.shared.observed).refusal.take().is_some()
    }

    /// Sends a command and waits for its answer.
    pub(super) async fn send(&self, command: &Value) -> Result<(), ControlError> {
        let (reply, answer) = oneshot::channel();
        let text = command.to_string();
        let away = || ControlError::Away(self.address);
        let sent = self.commands.send(Command { text, reply }).await;
        sent.map_err(|_| away())?;
        match tokio::time::timeout(ANSWER, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(away()),
        }
    }
}

fn lock(observed: &Mutex<Observed>) -> MutexGuard<'_, Observed> {
    observed.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn run(
    address: SocketAddr,
    silence: Duration,
    mut queue: mpsc::Receiver<Command>,
    shared: Arc<Shared>,
) {
    let config = WebSocketConfig::default().max_message_size(Some(MOST_BYTES));
    loop {
        let url = format!("ws://{address}");
        let connected = connect_async_with_config(url, Some(config), true);
        match tokio::time::timeout(ANSWER, connected).await {
            Ok(Ok((socket, _))) => {
                let mut session = Session::new(socket, &shared, silence);
                let done = session.serve(&mut queue).await;
                if let Err(error) = &done {
                    tracing::info!(%address, %error, "the remote control of the gNB is gone");
                }
                session.close(&done);
            }
            Ok(Err(error)) => tracing::debug!(%address, %error, "no gNB"),
            Err(_) => tracing::debug!(%address, "no gNB: it does not answer"),
        }
        let wait = tokio::time::sleep(RETRY);
        tokio::pin!(wait);
        loop {
            tokio::select! {
                () = &mut wait => break,
                command = queue.recv() => match command {
                    // Whoever asked may have given up.
                    Some(command) => drop(command.reply.send(Err(ControlError::Away(address)))),
                    None => return,
                },
            }
        }
    }
}
