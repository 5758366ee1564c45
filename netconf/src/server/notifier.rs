//! Notifications on their way to one session: encoded once, queued with a bound.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::message::Notification;

/// A notification as it goes on the wire, before framing. Cheap to clone: encode once, send to many sessions.
#[derive(Debug, Clone)]
pub struct EncodedNotification {
    xml: Arc<str>,
}

impl EncodedNotification {
    /// The message text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.xml
    }
}

impl From<&Notification> for EncodedNotification {
    fn from(notification: &Notification) -> Self {
        Self {
            xml: notification.encode().into(),
        }
    }
}

impl From<Notification> for EncodedNotification {
    fn from(notification: Notification) -> Self {
        Self::from(&notification)
    }
}

/// Why a notification was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Overflow {
    /// The session's queue is full: its client reads too slowly.
    #[error("the notification queue of the session is full")]
    QueueFull,
    /// The session is over.
    #[error("the session is over")]
    SessionEnded,
}

/// Sends notifications to one session, without ever waiting for it.
#[derive(Debug, Clone)]
pub struct Notifier {
    queue: mpsc::Sender<EncodedNotification>,
}

impl Notifier {
    pub(crate) fn channel(capacity: usize) -> (Self, mpsc::Receiver<EncodedNotification>) {
        let (queue, receiver) = mpsc::channel(capacity.max(1));
        (Self { queue }, receiver)
    }

    /// Queues a notification. It is sent after the reply to the request in progress if that one subscribes.
    ///
    /// # Errors
    /// [`Overflow`] when the queue is full or the session over; nothing was queued then.
    pub fn try_send(&self, notification: impl Into<EncodedNotification>) -> Result<(), Overflow> {
        self.queue
            .try_send(notification.into())
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => Overflow::QueueFull,
                mpsc::error::TrySendError::Closed(_) => Overflow::SessionEnded,
            })
    }

    /// Whether the session is over.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }
}
