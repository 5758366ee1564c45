//! The remote control of a gNB: a WebSocket that takes commands and sends metrics, connected for as long as there is one.
//!
//! ```text
//!  disconnected --connect--> subscribed to metrics --close--> disconnected: what was observed is forgotten
//!       |  every 200 ms            | one command at a time, each answered with its name or an error
//! ```
//! A gNB of which nothing is heard any more, no answer to a ping either, counts as closed. So does one whose metrics stop: it
//! hangs as well, whoever answers the pings. One that never sent any does not, for it may have refused to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};
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
/// Pings without an answer, one after the other, after which a gNB is gone.
const PINGS: u32 = 3;
/// Periods without metrics, after which it is gone as well.
const PERIODS: u32 = 5;

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
    /// What it said instead of ending.
    pub(super) refusal: Option<ControlError>,
    /// Cells; nothing was heard of them yet where absent.
    pub(super) cells: Option<Vec<Cell>>,
    /// Connections to AMFs; nothing was heard of them yet where absent.
    pub(super) amfs: Option<Vec<Amf>>,
}

impl Observed {
    /// Whether it is connected, and need not end.
    pub(super) fn is_in_service(&self) -> bool {
        self.is_connected && self.connections > self.ends_at
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

/// Why a connection was given up.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error(transparent)]
    WebSocket(#[from] WsError),
    #[error("nothing is heard of it")]
    Silent,
    #[error("it sends no metrics any more")]
    NoMetrics,
    #[error("it does not answer what it was asked")]
    NoAnswer,
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
        drop(observed);
        self.shared.to_end.notify_one();
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

/// What is not answered yet.
enum Asked {
    Subscription,
    End,
    Command(Command),
}

/// How far the gNB was told to end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    NotTold,
    Told,
    Agreed,
}

/// One connection.
struct Session<'a> {
    socket: Socket,
    shared: &'a Shared,
    silence: Duration,
    number: u64,
    asked: Option<Asked>,
    asked_at: Instant,
    end: End,
    pace: Pace,
    /// Pings sent since something was heard.
    pings: u32,
}

impl<'a> Session<'a> {
    fn new(socket: Socket, shared: &'a Shared, silence: Duration) -> Self {
        let mut observed = lock(&shared.observed);
        observed.connections += 1;
        observed.is_connected = true;
        Self {
            socket,
            shared,
            silence,
            number: observed.connections,
            asked: None,
            asked_at: Instant::now(),
            end: End::NotTold,
            pace: Pace::default(),
            pings: 0,
        }
    }

    async fn serve(&mut self, queue: &mut mpsc::Receiver<Command>) -> Result<(), Lost> {
        // Of a gNB that is to end nothing need be known.
        if !self.is_to_end() {
            self.ask("metrics_subscribe", Asked::Subscription).await?;
        }
        let mut beat = tokio::time::interval(self.silence / PINGS);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if self.asked.is_none() && self.end == End::NotTold && self.is_to_end() {
                self.ask("quit", Asked::End).await?;
                self.end = End::Told;
            }
            tokio::select! {
                biased;
                message = self.socket.next() => {
                    let Some(message) = message else { return Ok(()) };
                    self.pings = 0;
                    if let Message::Text(text) = message? {
                        self.hear(&text);
                    }
                }
                () = self.shared.to_end.notified() => {}
                command = queue.recv(), if self.asked.is_none() => {
                    let Some(command) = command else { return Ok(()) };
                    self.socket.send(Message::text(command.text.clone())).await?;
                    self.asked = Some(Asked::Command(command));
                    self.asked_at = Instant::now();
                }
                _ = beat.tick() => self.beat().await?,
            }
        }
    }

    fn is_to_end(&self) -> bool {
        lock(&self.shared.observed).ends_at == self.number
    }

    async fn ask(&mut self, name: &str, asked: Asked) -> Result<(), WsError> {
        let text = json!({ "cmd": name }).to_string();
        self.socket.send(Message::text(text)).await?;
        self.asked = Some(asked);
        self.asked_at = Instant::now();
        Ok(())
    }

    fn hear(&mut self, text: &str) {
        let Ok(message) = serde_json::from_str::<Value>(text) else {
            tracing::warn!("the gNB sent what is no JSON");
            return;
        };
        if message.get("cells").is_some() {
            self.pace.came(Instant::now());
        }
        let Some(answer) = take(message, &self.shared.observed) else {
            return;
        };
        match (self.asked.take(), answer) {
            // Whoever asked may have given up.
            (Some(Asked::Command(command)), answer) => drop(command.reply.send(answer)),
            (Some(Asked::Subscription), Ok(())) => {}
            (Some(Asked::Subscription), Err(error)) => {
                tracing::warn!(%error, "no metrics of the gNB");
            }
            (Some(Asked::End), Ok(())) => self.end = End::Agreed,
            (Some(Asked::End), Err(error)) => {
                tracing::error!(%error, "the gNB does not run with its file, and does not end");
                lock(&self.shared.observed).refusal = Some(error);
            }
            (None, _) => tracing::warn!("the gNB answered what was not asked"),
        }
    }

    /// Asks whether it is still there. Pings are counted and not timed, so that a busy machine is no silent gNB.
    async fn beat(&mut self) -> Result<(), Lost> {
        if self.pings >= PINGS {
            return Err(Lost::Silent);
        }
        if self.end == End::NotTold {
            if self.pace.has_stopped(self.silence) {
                return Err(Lost::NoMetrics);
            }
            if self.asked.is_some() && self.asked_at.elapsed() >= ANSWER {
                return Err(Lost::NoAnswer);
            }
        }
        self.pings += 1;
        Ok(self.socket.send(Message::Ping(Vec::new().into())).await?)
    }

    /// Forgets what was observed. A gNB that was to end and may not have heard it is told again on the next connection.
    fn close(self, done: &Result<(), Lost>) {
        let has_ended = match self.end {
            End::NotTold => false,
            End::Told => !matches!(done, Err(Lost::Silent)),
            End::Agreed => true,
        };
        let mut observed = lock(&self.shared.observed);
        let again = u64::from(!has_ended && observed.ends_at == self.number);
        *observed = Observed {
            connections: observed.connections,
            ends_at: observed.ends_at + again,
            ..Observed::default()
        };
    }
}

/// How often metrics of cells come.
#[derive(Default)]
struct Pace {
    last: Option<Instant>,
    longest: Duration,
}

impl Pace {
    fn came(&mut self, now: Instant) {
        if let Some(last) = self.last.replace(now) {
            self.longest = self.longest.max(now - last);
        }
    }

    /// Whether they came, and do not for some of their own periods. How long one is, is known from the second on.
    fn has_stopped(&self, silence: Duration) -> bool {
        let period = match self.longest.is_zero() {
            true => silence,
            false => self.longest,
        };
        let limit = silence.max(period * PERIODS);
        self.last.is_some_and(|last| last.elapsed() >= limit)
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
