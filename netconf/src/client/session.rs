//! One session of a client over any transport: requests out, replies to whom they belong, notifications to their queue.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use crate::capability::{BASE_1_0, BASE_1_1, has};
use crate::error::Error;
use crate::framing::{self, Decoder, Framing};
use crate::message::{Hello, LONG_MESSAGE_BYTES, Notification, Outcome, RpcReply, ServerMessage};
use crate::transport::{Link, Receive, Transmit};
use crate::xml::XmlLimits;

/// What a server may send in one message, besides its size.
const XML_LIMITS: XmlLimits = XmlLimits {
    max_depth: 256,
    max_attributes: 256,
};
/// Size of a server's hello; large servers list thousands of modules in it.
const MAX_HELLO_BYTES: usize = 16 << 20;

/// What a session's task shares with those who use the session.
#[derive(Debug, Default)]
pub(super) struct Shared {
    waiting: Mutex<HashMap<u64, oneshot::Sender<Outcome>>>,
    closed: CancellationToken,
    reason: OnceLock<String>,
}

impl Shared {
    /// Registers a request; its outcome comes through the receiver, which closes if the session ends first.
    pub(super) fn expect(&self, message_id: u64) -> oneshot::Receiver<Outcome> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.waiting();
        if !self.closed.is_cancelled() {
            waiting.insert(message_id, sender);
        }
        receiver
    }

    /// Nobody waits for that reply any more.
    pub(super) fn forget(&self, message_id: u64) {
        self.waiting().remove(&message_id);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    pub(super) async fn closed(&self) -> String {
        self.closed.cancelled().await;
        self.reason()
    }

    pub(super) fn reason(&self) -> String {
        self.reason
            .get()
            .cloned()
            .unwrap_or_else(|| "closed".to_owned())
    }

    fn close(&self, reason: String) {
        self.reason.get_or_init(|| reason);
        let mut waiting = self.waiting();
        self.closed.cancel();
        waiting.clear();
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Outcome>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reply(&self, reply: RpcReply) -> Result<(), String> {
        let Some(id) = reply.message_id else {
            let error = reply.outcome.err().and_then(|mut errors| errors.pop());
            let error = error.map_or_else(String::new, |error| format!(": {error}"));
            return Err(format!("reply without message-id{error}"));
        };
        let waiting = id
            .parse()
            .ok()
            .and_then(|id: u64| self.waiting().remove(&id));
        match waiting {
            Some(waiting) => drop(waiting.send(reply.outcome)),
            None => tracing::debug!(message_id = id, "a reply nobody waits for"),
        }
        Ok(())
    }
}

/// A link whose hellos are exchanged.
pub(super) struct Established<R, T> {
    pub(super) link: Link<R, T>,
    pub(super) decoder: Decoder,
    pub(super) framing: Framing,
    pub(super) session_id: u32,
    pub(super) capabilities: Vec<String>,
}

/// Exchanges hellos. No time limit of its own.
pub(super) async fn establish<R: Receive, T: Transmit>(
    mut link: Link<R, T>,
    max_message_bytes: usize,
) -> Result<Established<R, T>, Error> {
    let bad = |why: String| Error::Protocol(format!("hello of the server: {why}"));
    let ours = Hello {
        capabilities: vec![BASE_1_0.to_owned(), BASE_1_1.to_owned()],
        session_id: None,
    };
    let bytes = framing::encode(Framing::EndOfMessage, ours.encode().as_bytes())
        .map_err(|error| Error::Protocol(error.to_string()))?;
    let lost = || Error::Closed {
        reason: "the server closed the session before its hello".into(),
    };
    link.transmitter
        .transmit(bytes.into())
        .await
        .map_err(|_| lost())?;

    let mut decoder = Decoder::new(Framing::EndOfMessage, MAX_HELLO_BYTES);
    let message = loop {
        if let Some(message) = decoder
            .next_message()
            .map_err(|error| bad(error.to_string()))?
        {
            break message;
        }
        decoder.push(&link.receiver.receive().await.ok_or_else(lost)?);
    };
    let hello = Hello::parse(&message, &XML_LIMITS).map_err(bad)?;
    let session_id = hello
        .session_id
        .ok_or_else(|| bad("no session-id".into()))?;
    let framing = if has(&hello.capabilities, BASE_1_1) {
        Framing::Chunked
    } else if has(&hello.capabilities, BASE_1_0) {
        Framing::EndOfMessage
    } else {
        return Err(bad(
            "neither :base:1.0 nor :base:1.1 among the capabilities".into(),
        ));
    };
    decoder.switch(framing, max_message_bytes);
    Ok(Established {
        link,
        decoder,
        framing,
        session_id,
        capabilities: hello.capabilities,
    })
}

/// Runs a session until one side ends it; `outgoing` closing means that this side does.
pub(super) async fn run<R: Receive, T: Transmit>(
    link: Link<R, T>,
    decoder: Decoder,
    outgoing: mpsc::Receiver<Bytes>,
    notifications: mpsc::Sender<Notification>,
    shared: &Shared,
    finish: impl Future<Output = ()>,
) {
    let Link {
        receiver,
        transmitter,
    } = link;
    let reason = tokio::select! {
        reason = read(receiver, decoder, notifications, shared) => reason,
        reason = write(transmitter, outgoing) => reason,
    };
    tracing::debug!(reason, "client session ended");
    shared.close(reason);
    finish.await;
}

async fn read<R: Receive>(
    mut receiver: R,
    mut decoder: Decoder,
    notifications: mpsc::Sender<Notification>,
    shared: &Shared,
) -> String {
    loop {
        loop {
            let message = match decoder.next_message() {
                Ok(Some(message)) => message,
                Ok(None) => break,
                Err(error) => return format!("the server broke the framing: {error}"),
            };
            let taken = match parse(message).await {
                Ok(ServerMessage::Reply(reply)) => shared.reply(reply),
                Ok(ServerMessage::Notification(notification)) => {
                    if notifications.send(notification).await.is_err() {
                        tracing::trace!("a notification nobody receives");
                    }
                    Ok(())
                }
                Err(why) => Err(why),
            };
            if let Err(why) = taken {
                return format!("the server broke the protocol: {why}");
            }
        }
        match receiver.receive().await {
            Some(bytes) => decoder.push(&bytes),
            None => return "the server closed the session".to_owned(),
        }
    }
}

/// A long message is read on the blocking pool: other sessions share this thread.
async fn parse(message: Vec<u8>) -> Result<ServerMessage, String> {
    if message.len() < LONG_MESSAGE_BYTES {
        return ServerMessage::parse(&message, &XML_LIMITS);
    }
    spawn_blocking(move || ServerMessage::parse(&message, &XML_LIMITS))
        .await
        .unwrap_or_else(|error| Err(error.to_string()))
}

async fn write<T: Transmit>(mut transmitter: T, mut outgoing: mpsc::Receiver<Bytes>) -> String {
    while let Some(bytes) = outgoing.recv().await {
        if let Err(lost) = transmitter.transmit(bytes).await {
            return lost.to_string();
        }
    }
    transmitter.close().await;
    "closed by this side".to_owned()
}
