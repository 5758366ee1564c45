//! Event streams (RFC 5277): who is subscribed to what, and the fan-out of notifications.
//!
//! Owns the subscriptions of a node. A notification is encoded once for all who take it whole, and queued to each session
//! without waiting: a session that reads too slowly loses notifications of its own (counted), and delays nobody. Leaves to
//! the caller what a filter selects and who may see an event.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tranche_netconf::error::{ErrorTag, RpcError};
use tranche_netconf::message::{CreateSubscription, Filter, Notification};
use tranche_netconf::server::{EncodedNotification, Notifier, Overflow};
use tranche_netconf::xml::Fragment;

use tranche_yang::clock::rfc3339;

/// An event stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// `NETCONF`, the default: what happens to the server and its configuration (RFC 6470).
    Netconf,
    /// `telemetry`: airtime reports.
    Telemetry,
}

impl Stream {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Netconf, Self::Telemetry];

    /// Its name in `create-subscription`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Netconf => "NETCONF",
            Self::Telemetry => "telemetry",
        }
    }

    /// What it carries, for people.
    #[must_use]
    pub fn description(self) -> &'static str {
        match self {
            Self::Netconf => "sessions, configuration changes and confirmed commits",
            Self::Telemetry => "airtime-report, once a reporting period",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stream| stream.name() == name)
    }
}

/// One session's subscription.
#[derive(Debug, Clone)]
struct Subscription {
    user: String,
    stream: Stream,
    filter: Option<Filter>,
    notifier: Notifier,
    lost: u64,
}

/// The subscriptions of a node.
#[derive(Debug, Default)]
pub struct Streams {
    subscriptions: Mutex<HashMap<u32, Subscription>>,
}

/// What a subscription's owner gets of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Share {
    /// All of it.
    Whole,
    /// What its filter selects.
    Part(Fragment),
    /// Nothing: the filter selects nothing of it, or access control says no.
    Nothing,
}

impl Streams {
    /// What a request subscribes to.
    ///
    /// # Errors
    /// An unknown stream, or replay, which no stream has.
    pub fn check(request: &CreateSubscription) -> Result<Stream, RpcError> {
        let stream = Stream::named(&request.stream).ok_or_else(|| {
            RpcError::new(
                ErrorTag::InvalidValue,
                format!(
                    "there is no stream '{}': there are NETCONF and telemetry",
                    request.stream
                ),
            )
            .with_info("bad-element", "stream")
        })?;
        if request.start_time.is_some() {
            return Err(RpcError::new(
                ErrorTag::OperationNotSupported,
                format!(
                    "stream '{}' keeps no past events: leave startTime out",
                    stream.name()
                ),
            )
            .with_info("bad-element", "startTime"));
        }
        if request.stop_time.is_some() {
            return Err(RpcError::new(
                ErrorTag::MissingElement,
                "stopTime goes with startTime, and no stream keeps past events",
            )
            .with_info("bad-element", "startTime"));
        }
        Ok(stream)
    }

    /// Subscribes a session.
    ///
    /// # Errors
    /// The session has a subscription already.
    pub fn subscribe(
        &self,
        session: u32,
        user: &str,
        stream: Stream,
        filter: Option<Filter>,
        notifier: Notifier,
    ) -> Result<(), RpcError> {
        let mut subscriptions = self.lock();
        if let Some(present) = subscriptions.get(&session) {
            return Err(RpcError::new(
                ErrorTag::OperationFailed,
                format!(
                    "this session is subscribed to stream '{}' already",
                    present.stream.name()
                ),
            ));
        }
        let user = user.to_owned();
        subscriptions.insert(
            session,
            Subscription {
                user,
                stream,
                filter,
                notifier,
                lost: 0,
            },
        );
        Ok(())
    }

    /// Ends the subscription of a session, if it has one.
    pub fn unsubscribe(&self, session: u32) {
        if let Some(ended) = self.lock().remove(&session)
            && ended.lost > 0
        {
            tracing::warn!(
                session_id = session,
                stream = ended.stream.name(),
                lost = ended.lost,
                "a subscriber read too slowly"
            );
        }
    }

    /// Whether anybody is subscribed to a stream.
    #[must_use]
    pub fn has_subscribers(&self, stream: Stream) -> bool {
        self.lock()
            .values()
            .any(|subscription| subscription.stream == stream)
    }

    /// Notifications lost to slow readers, of the subscriptions there are.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lock()
            .values()
            .map(|subscription| subscription.lost)
            .sum()
    }

    /// Queues an event to every session that is subscribed to its stream; `share` says how much of it a user with a filter
    /// gets. Never waits for a session.
    pub fn publish(
        &self,
        stream: Stream,
        time: SystemTime,
        event: &Fragment,
        mut share: impl FnMut(&str, Option<&Filter>) -> Share,
    ) {
        // Filters are evaluated without the lock: subscribing does not wait for them.
        let subscribers: Vec<(u32, Subscription)> = self
            .lock()
            .iter()
            .filter(|(_, subscription)| subscription.stream == stream)
            .map(|(session, subscription)| (*session, subscription.clone()))
            .collect();
        let encode = |content: &Fragment| {
            EncodedNotification::from(Notification {
                event_time: rfc3339(time),
                content: content.clone(),
            })
        };
        let mut whole = None;
        for (session, subscriber) in subscribers {
            let notification = match share(&subscriber.user, subscriber.filter.as_ref()) {
                Share::Whole => whole.get_or_insert_with(|| encode(event)).clone(),
                Share::Part(part) => encode(&part),
                Share::Nothing => continue,
            };
            match subscriber.notifier.try_send(notification) {
                Ok(()) => {}
                Err(Overflow::QueueFull) => self.count_lost(session),
                Err(Overflow::SessionEnded) => self.unsubscribe(session),
            }
        }
    }

    fn count_lost(&self, session: u32) {
        if let Some(subscription) = self.lock().get_mut(&session) {
            subscription.lost += 1;
            if subscription.lost == 1 {
                tracing::warn!(
                    session_id = session,
                    stream = subscription.stream.name(),
                    "a subscriber reads too slowly and loses notifications"
                );
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Subscription>> {
        self.subscriptions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(stream: &str) -> CreateSubscription {
        CreateSubscription {
            stream: stream.to_owned(),
            filter: None,
            start_time: None,
            stop_time: None,
        }
    }

    #[test]
    fn streams_are_known_by_name() {
        assert_eq!(Streams::check(&request("NETCONF")), Ok(Stream::Netconf));
        assert_eq!(Streams::check(&request("telemetry")), Ok(Stream::Telemetry));
        let error = Streams::check(&request("weather")).unwrap_err();
        assert_eq!(error.tag, ErrorTag::InvalidValue);
        assert!(
            error
                .message
                .unwrap()
                .contains("there is no stream 'weather'")
        );
    }

    #[test]
    fn replay_is_refused_and_says_why() {
        let start = CreateSubscription {
            start_time: Some("2026-11-21T00:00:00Z".to_owned()),
            ..request("telemetry")
        };
        let error = Streams::check(&start).unwrap_err();
        assert_eq!(error.tag, ErrorTag::OperationNotSupported);
        assert!(error.message.unwrap().contains("keeps no past events"));
        let stop = CreateSubscription {
            stop_time: Some("2026-11-21T00:00:00Z".to_owned()),
            ..request("telemetry")
        };
        assert_eq!(
            Streams::check(&stop).unwrap_err().tag,
            ErrorTag::MissingElement
        );
    }
}
