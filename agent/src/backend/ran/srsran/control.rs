//! The remote control of a gNB: a WebSocket that takes commands and sends metrics, connected for as long as there is one.
//!
//! ```text
//!  disconnected --connect--> subscribed to metrics --close--> disconnected: what was observed is forgotten
//!       |  every 200 ms            | one command at a time, each answered with its name or an error
//! ```

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};
use tokio_util::task::AbortOnDropHandle;

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
    /// How often a connection was made: another number is another gNB, or the same one started again.
    pub(super) connections: u64,
    pub(super) is_connected: bool,
    /// Cells; nothing was heard of them yet where absent.
    pub(super) cells: Option<Vec<Cell>>,
    /// Connections to AMFs; nothing was heard of them yet where absent.
    pub(super) amfs: Option<Vec<Amf>>,
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

/// The remote control.
#[derive(Debug)]
pub(super) struct Control {
    address: SocketAddr,
    commands: mpsc::Sender<Command>,
    observed: Arc<Mutex<Observed>>,
    _task: AbortOnDropHandle<()>,
}

impl Control {
    /// Connects to an address for as long as it lives. Needs a runtime.
    pub(super) fn new(address: SocketAddr) -> Self {
        let (commands, queue) = mpsc::channel(16);
        let observed = Arc::<Mutex<Observed>>::default();
        let task = run(address, queue, Arc::clone(&observed));
        Self {
            address,
            commands,
            observed,
            _task: AbortOnDropHandle::new(tokio::spawn(task)),
        }
    }

    /// What is known now.
    pub(super) fn observed(&self) -> Observed {
        lock(&self.observed).clone()
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
    mut queue: mpsc::Receiver<Command>,
    observed: Arc<Mutex<Observed>>,
) {
    let config = WebSocketConfig::default().max_message_size(Some(MOST_BYTES));
    loop {
        let url = format!("ws://{address}");
        let connected = connect_async_with_config(url, Some(config), true);
        match tokio::time::timeout(ANSWER, connected).await {
            Ok(Ok((socket, _))) => {
                {
                    let mut observed = lock(&observed);
                    observed.connections += 1;
                    observed.is_connected = true;
                }
                if let Err(error) = serve(socket, &mut queue, &observed).await {
                    tracing::info!(%address, %error, "the remote control of the gNB is gone");
                }
                let mut observed = lock(&observed);
                *observed = Observed {
                    connections: observed.connections,
                    ..Observed::default()
                };
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

async fn serve(
    mut socket: Socket,
    queue: &mut mpsc::Receiver<Command>,
    observed: &Mutex<Observed>,
) -> Result<(), WsError> {
    let subscribe = json!({ "cmd": "metrics_subscribe" });
    socket.send(Message::text(subscribe.to_string())).await?;
    // The answer to the subscription is nobody's.
    let mut waiting: Option<Option<Command>> = Some(None);
    loop {
        tokio::select! {
            command = queue.recv(), if waiting.is_none() => {
                let Some(command) = command else { return Ok(()) };
                socket.send(Message::text(command.text.clone())).await?;
                waiting = Some(Some(command));
            }
            message = socket.next() => {
                let Some(message) = message else { return Ok(()) };
                let Message::Text(text) = message? else { continue };
                let Ok(message) = serde_json::from_str::<Value>(&text) else {
                    tracing::warn!("the gNB sent what is no JSON");
                    continue;
                };
                if let Some(answer) = take(message, observed) {
                    match waiting.take() {
                        // Whoever asked may have given up.
                        Some(Some(command)) => drop(command.reply.send(answer)),
                        Some(None) => if let Err(error) = answer {
                            tracing::warn!(%error, "no metrics of the gNB");
                        },
                        None => tracing::warn!("the gNB answered what was not asked"),
                    }
                }
            }
        }
    }
}

/// Notes metrics; gives back what is the answer to a command.
fn take(message: Value, observed: &Mutex<Observed>) -> Option<Result<(), ControlError>> {
    if let Some(error) = message.get("error") {
        let words = error
            .as_str()
            .map_or_else(|| error.to_string(), str::to_owned);
        return Some(Err(ControlError::Refused(words)));
    }
    if message.get("cmd").is_some() {
        return Some(Ok(()));
    }
    if let Some(cells) = message.get("cells") {
        let cells = serde_json::from_value(cells.clone());
        lock(observed).cells = cells.map_or_else(|_| Some(Vec::new()), Some);
    }
    if let Some(amfs) = message.pointer("/cu-cp/ngaps/ngap") {
        let amfs = serde_json::from_value(amfs.clone());
        lock(observed).amfs = amfs.map_or_else(|_| Some(Vec::new()), Some);
    }
    None
}
