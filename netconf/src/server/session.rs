//! The server's side of one session as a state machine: no I/O, no clock.
//!
//! Bytes, outcomes, times and reasons to end go in; bytes to send, calls to make and the end come out of
//! [`Session::poll`]. The one who drives it carries the actions out in order.
//!
//! ```text
//!            hello           message             request
//!   Hello ----------> Ready ----------> Parsing ---------> Busy --+
//!     |                | ^                 |                |     | a reason to end
//!     | late, bad      | +---- bad request-+                |     v waits for the
//!     v                | +--------------------- outcome ----+  Busy, ending
//!    Over <------------+------------------------------------------+
//!            end, framing error, close-session
//! ```

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::sessions::Counters;
use super::{EncodedNotification, Limits, SessionEnd};
use crate::capability::{BASE_1_0, BASE_1_1, has};
use crate::error::{ErrorTag, ErrorType, RpcError};
use crate::framing::{self, Decoder, Framing};
use crate::message::{BadRpc, Hello, Operation, Outcome, Reply, Rpc, encode_reply};
use crate::xml::XmlLimits;

/// What the driver has to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Send these bytes.
    Send(Vec<u8>),
    /// The hellos are exchanged: tell the handler.
    Start {
        /// Whether `:base:1.1` is in use.
        base_1_1: bool,
        /// The client's capabilities.
        capabilities: Vec<String>,
    },
    /// Read this request, which may be long work, and give [`Session::parsed`] what it is.
    Parse(Vec<u8>),
    /// Carry this out and give the outcome back.
    Call(Rpc),
    /// The session is over; nothing follows.
    End(SessionEnd),
}

#[derive(Debug)]
enum State {
    /// Our hello is sent, the client's is awaited.
    Hello { deadline: Instant },
    /// Nothing is being carried out.
    Ready,
    /// A request is being read.
    Parsing,
    /// A request is.
    Busy {
        request: Request,
        ending: Option<SessionEnd>,
    },
    /// Only queued actions are left.
    Over,
}

/// What the reply to a request repeats.
#[derive(Debug)]
struct Request {
    message_id: String,
    attributes: Vec<(String, String)>,
    subscribes: bool,
}

/// One session.
#[derive(Debug)]
pub(super) struct Session {
    state: State,
    framing: Framing,
    decoder: Decoder,
    actions: VecDeque<Action>,
    counters: Arc<Counters>,
    last_activity: Instant,
    end_of_input: bool,
    xml_limits: XmlLimits,
    max_message_bytes: usize,
    max_pipelined_bytes: usize,
    idle_timeout: Option<Duration>,
}

impl Session {
    /// A session that begins at `now`: the server's hello is its first action.
    pub(super) fn new(
        id: u32,
        capabilities: Vec<String>,
        limits: &Limits,
        counters: Arc<Counters>,
        now: Instant,
    ) -> Self {
        let mut session = Self {
            state: State::Hello {
                deadline: now + limits.hello_timeout,
            },
            framing: Framing::EndOfMessage,
            decoder: Decoder::new(Framing::EndOfMessage, limits.max_hello_bytes),
            actions: VecDeque::new(),
            counters,
            last_activity: now,
            end_of_input: false,
            xml_limits: limits.xml(),
            max_message_bytes: limits.max_message_bytes,
            max_pipelined_bytes: limits.max_pipelined_bytes,
            idle_timeout: limits.idle_timeout,
        };
        let base = [BASE_1_0, BASE_1_1].map(str::to_owned);
        let capabilities = base.into_iter().chain(capabilities).collect();
        let hello = Hello {
            capabilities,
            session_id: Some(id),
        };
        session.send(&hello.encode());
        session
    }

    /// Takes bytes from the client.
    pub(super) fn receive(&mut self, bytes: &[u8]) {
        if !matches!(self.state, State::Over) {
            self.decoder.push(bytes);
        }
    }

    /// The client sends no more. What it sent before is still carried out.
    pub(super) fn end_of_input(&mut self) {
        self.end_of_input = true;
    }

    /// Whether to read from the client. While a request is carried out those behind it wait here up to a limit, and
    /// beyond it in the transport.
    pub(super) fn wants_input(&self) -> bool {
        match self.state {
            State::Hello { .. } | State::Ready => !self.end_of_input,
            State::Parsing | State::Busy { .. } => self.may_buffer(),
            State::Over => false,
        }
    }

    /// Whether more input may be taken while output is being sent.
    pub(super) fn may_buffer(&self) -> bool {
        !self.end_of_input && self.decoder.buffered() < self.max_pipelined_bytes
    }

    /// Whether a notification may be sent now: not before the reply to a request that subscribes to it.
    pub(super) fn wants_notifications(&self) -> bool {
        match &self.state {
            State::Ready => true,
            State::Busy { request, ending } => !request.subscribes && ending.is_none(),
            State::Hello { .. } | State::Parsing | State::Over => false,
        }
    }

    /// When [`Session::timeout`] is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Hello { deadline } => Some(deadline),
            State::Ready => self.idle_timeout.map(|idle| self.last_activity + idle),
            State::Parsing | State::Busy { .. } | State::Over => None,
        }
    }

    /// The time is `now`.
    pub(super) fn timeout(&mut self, now: Instant) {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        match self.state {
            State::Hello { .. } => self.end(SessionEnd::BadHello("none came in time".to_owned())),
            State::Ready | State::Parsing | State::Busy { .. } | State::Over => {
                self.end(SessionEnd::IdleTimeout);
            }
        }
    }

    /// The session is to end: now, or when the request in progress is done. The first reason stays.
    pub(super) fn end(&mut self, end: SessionEnd) {
        match &mut self.state {
            State::Busy { ending, .. } => {
                ending.get_or_insert(end);
            }
            State::Hello { .. } | State::Ready | State::Parsing => {
                self.state = State::Over;
                self.actions.push_back(Action::End(end));
            }
            State::Over => {}
        }
    }

    /// Nothing more can be sent: the session ends at once and what was queued is dropped.
    pub(super) fn abandon(&mut self, end: SessionEnd) {
        let pending = self.actions.iter().find_map(|action| match action {
            Action::End(end) => Some(end.clone()),
            Action::Send(_) | Action::Start { .. } | Action::Parse(_) | Action::Call(_) => None,
        });
        self.actions.clear();
        self.state = State::Over;
        self.actions.push_back(Action::End(pending.unwrap_or(end)));
    }

    /// What a message given to be parsed turned out to be.
    pub(super) fn parsed(&mut self, parsed: Result<Rpc, BadRpc>) {
        if !matches!(self.state, State::Parsing) {
            return;
        }
        self.state = State::Ready;
        match parsed {
            Ok(rpc) => self.request(rpc),
            Err(bad) => self.bad_request(&bad),
        }
    }

    /// The limits to parse under.
    pub(super) fn xml_limits(&self) -> XmlLimits {
        self.xml_limits
    }

    /// The request in progress is done.
    pub(super) fn outcome(&mut self, now: Instant, outcome: &Outcome) {
        let State::Busy { request, ending } = std::mem::replace(&mut self.state, State::Ready)
        else {
            return;
        };
        self.last_activity = now;
        match ending {
            Some(end) => self.end(end),
            None => self.reply(Some(&request.message_id), &request.attributes, outcome),
        }
    }

    /// Sends a notification.
    pub(super) fn notify(&mut self, now: Instant, notification: &EncodedNotification) {
        self.last_activity = now;
        if self.send(notification.as_str()) {
            let sent = &self.counters.out_notifications;
            sent.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The next thing to do; none until something comes in.
    pub(super) fn poll(&mut self, now: Instant) -> Option<Action> {
        while self.actions.is_empty() {
            match self.state {
                State::Hello { .. } | State::Ready => {}
                State::Parsing | State::Busy { .. } | State::Over => return None,
            }
            match self.decoder.next_message() {
                Ok(Some(message)) => {
                    self.last_activity = now;
                    self.message(message);
                }
                Ok(None) if self.end_of_input => self.end(SessionEnd::TransportLost),
                Ok(None) => return None,
                Err(error) => self.refuse(error.to_string()),
            }
        }
        self.actions.pop_front()
    }

    /// The client broke the protocol.
    fn refuse(&mut self, why: String) {
        match self.state {
            State::Hello { .. } => self.end(SessionEnd::BadHello(why)),
            State::Ready | State::Parsing | State::Busy { .. } | State::Over => {
                self.end(SessionEnd::Protocol(why));
            }
        }
    }

    fn message(&mut self, message: Vec<u8>) {
        if matches!(self.state, State::Hello { .. }) {
            return match self.hello(&message) {
                Ok(()) => self.state = State::Ready,
                Err(why) => self.refuse(why),
            };
        }
        self.state = State::Parsing;
        self.actions.push_back(Action::Parse(message));
    }

    fn hello(&mut self, message: &[u8]) -> Result<(), String> {
        let hello = Hello::parse(message, &self.xml_limits)?;
        if hello.session_id.is_some() {
            return Err("a client has no session-id to give".to_owned());
        }
        let base_1_1 = has(&hello.capabilities, BASE_1_1);
        if !base_1_1 && !has(&hello.capabilities, BASE_1_0) {
            return Err("neither :base:1.0 nor :base:1.1 among the capabilities".to_owned());
        }
        self.framing = if base_1_1 {
            Framing::Chunked
        } else {
            Framing::EndOfMessage
        };
        self.decoder.switch(self.framing, self.max_message_bytes);
        self.actions.push_back(Action::Start {
            base_1_1,
            capabilities: hello.capabilities,
        });
        Ok(())
    }

    fn request(&mut self, rpc: Rpc) {
        self.counters.in_rpcs.fetch_add(1, Ordering::Relaxed);
        if rpc.operation == Operation::CloseSession {
            self.reply(Some(&rpc.message_id), &rpc.attributes, &Ok(Reply::Ok));
            return self.end(SessionEnd::Closed);
        }
        let request = Request {
            message_id: rpc.message_id.clone(),
            attributes: rpc.attributes.clone(),
            subscribes: rpc.operation.subscribes(),
        };
        self.state = State::Busy {
            request,
            ending: None,
        };
        self.actions.push_back(Action::Call(rpc));
    }

    /// What can be answered is answered and the session goes on; `malformed-message` is not for `:base:1.0` clients.
    fn bad_request(&mut self, bad: &BadRpc) {
        let layer = if bad.error.error_type == ErrorType::Rpc {
            &self.counters.in_bad_rpcs
        } else {
            &self.counters.in_rpcs
        };
        layer.fetch_add(1, Ordering::Relaxed);
        if bad.error.tag == ErrorTag::MalformedMessage && self.framing == Framing::EndOfMessage {
            return self.refuse(bad.error.to_string());
        }
        let outcome = Err(vec![bad.error.clone()]);
        self.reply(bad.message_id.as_deref(), &bad.attributes, &outcome);
    }

    fn reply(&mut self, id: Option<&str>, attributes: &[(String, String)], outcome: &Outcome) {
        if outcome.is_err() {
            self.counters.out_rpc_errors.fetch_add(1, Ordering::Relaxed);
        }
        let sent = self.send(&encode_reply(id, attributes, outcome));
        if !sent {
            self.counters.out_rpc_errors.fetch_add(1, Ordering::Relaxed);
            let why = "the data cannot be sent in end-of-message framing";
            let error = RpcError::new(ErrorTag::OperationFailed, why);
            self.send(&encode_reply(id, &[], &Err(vec![error])));
        }
    }

    /// False where the framing cannot carry the message.
    fn send(&mut self, message: &str) -> bool {
        match framing::encode(self.framing, message.as_bytes()) {
            Ok(bytes) => {
                self.actions.push_back(Action::Send(bytes));
                true
            }
            Err(error) => {
                tracing::warn!(%error, "message not sent");
                false
            }
        }
    }
}

#[cfg(test)]
mod tests;
