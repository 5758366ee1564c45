//! One connection to the remote control: what is asked on it, what is heard, and when it is given up.

use std::sync::Mutex;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use super::{ANSWER, Command, ControlError, Observed, Shared, Socket, lock};

/// Pings without an answer, one after the other, after which a gNB is gone.
const PINGS: u32 = 3;
/// Periods without metrics, after which it is gone as well.
const PERIODS: u32 = 5;

/// Why a connection was given up.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    #[error(transparent)]
    WebSocket(#[from] WsError),
    #[error("nothing is heard of it")]
    Silent,
    #[error("it sends no metrics any more")]
    NoMetrics,
    #[error("it does not answer what it was asked")]
    NoAnswer,
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
pub(super) struct Session<'a> {
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
    pub(super) fn new(socket: Socket, shared: &'a Shared, silence: Duration) -> Self {
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

    pub(super) async fn serve(&mut self, queue: &mut mpsc::Receiver<Command>) -> Result<(), Lost> {
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
                tracing::error!(%error, "the gNB does not end");
                self.end = End::NotTold;
                let mut observed = lock(&self.shared.observed);
                observed.ends_at = self.number - 1;
                observed.refusal = Some(error);
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
    pub(super) fn close(self, done: &Result<(), Lost>) {
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
