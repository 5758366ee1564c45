//! Event streams (RFC 8040 6): server-sent events, each notification in its envelope.
//!
//! A reader gets what access control lets its user have at that moment, and a comment now and then as a sign of life. One
//! that falls too far behind, or whose login has become void, is dropped; nobody ever waits for a reader.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, Response};
use futures_util::stream;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tranche_netconf::error::ErrorTag;

use super::restconf::error::Refusal;
use super::restconf::media::Encoding;
use super::restconf::query::Query;
use crate::event::Event;
use crate::service::Service;
use crate::users::Login;

/// Between two signs of life.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// An event stream that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// All notifications (RFC 8040 6.3.1: it must be there).
    Netconf,
    /// Those about promises and the loop that keeps them.
    Sla,
}

impl Stream {
    /// All of them.
    pub(crate) const ALL: [Self; 2] = [Self::Netconf, Self::Sla];

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Netconf => "NETCONF",
            Self::Sla => "sla",
        }
    }

    /// What it is for.
    pub(crate) fn description(self) -> &'static str {
        match self {
            Self::Netconf => "All notifications.",
            Self::Sla => "Periods of the global scheduler, and promises broken and kept again.",
        }
    }

    /// Path of an encoding, below the server's root.
    pub(crate) fn path(self, encoding: Encoding) -> String {
        match encoding {
            Encoding::Json => format!("/streams/{}", self.name()),
            Encoding::Xml => format!("/streams/{}/xml", self.name()),
        }
    }

    /// The stream and encoding of a path.
    pub(crate) fn at(path: &str) -> Option<(Self, Encoding)> {
        Self::ALL
            .into_iter()
            .flat_map(|stream| [(stream, Encoding::Json), (stream, Encoding::Xml)])
            .find(|(stream, encoding)| stream.path(*encoding) == path)
    }

    fn includes(self, event: &Event) -> bool {
        match self {
            Self::Netconf => true,
            Self::Sla => event.module == "tranche-sla",
        }
    }
}

/// Opens streams, up to a number at once.
#[derive(Debug)]
pub(crate) struct Streams {
    places: Arc<Semaphore>,
    shutdown: CancellationToken,
}

struct Reader {
    service: Arc<Service>,
    login: Login,
    stream: Stream,
    encoding: Encoding,
    events: Receiver<Arc<Event>>,
    heartbeat: Interval,
    shutdown: CancellationToken,
    _place: OwnedSemaphorePermit,
}

impl Streams {
    /// At most `places` streams at once; all end at shutdown.
    pub(crate) fn new(places: usize, shutdown: CancellationToken) -> Self {
        Self {
            places: Arc::new(Semaphore::new(places)),
            shutdown,
        }
    }

    /// Answers a request for a stream.
    ///
    /// # Errors
    /// 400 for filters and replay, which there are none of; 503 when too many streams are open.
    pub(crate) fn open(
        &self,
        service: &Arc<Service>,
        login: Login,
        (stream, encoding): (Stream, Encoding),
        query: &Query,
    ) -> Result<Response<Body>, Refusal> {
        if query.start_time.is_some() || query.stop_time.is_some() {
            return Err(Refusal::bad_request(
                "no stream supports replay (start-time, stop-time)",
            ));
        }
        if query.filter.is_some() {
            return Err(Refusal::bad_request("no stream supports filter"));
        }
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| {
            Refusal::with_status(
                axum::http::StatusCode::SERVICE_UNAVAILABLE,
                ErrorTag::ResourceDenied,
                "too many event streams are open",
            )
        })?;
        let mut heartbeat = interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let reader = Reader {
            service: Arc::clone(service),
            login,
            stream,
            encoding,
            events: service.events().subscribe(),
            heartbeat,
            shutdown: self.shutdown.clone(),
            _place: place,
        };
        let chunks = stream::unfold(reader, |mut reader| async move {
            reader
                .next()
                .await
                .map(|chunk| (Ok::<_, Infallible>(Bytes::from(chunk)), reader))
        });
        let mut response = Response::new(Body::from_stream(chunks));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        Ok(response)
    }
}

impl Reader {
    /// The next piece of the stream; none at its end. The first heartbeat is due at once: it tells that the stream is open.
    async fn next(&mut self) -> Option<String> {
        loop {
            let event = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return None,
                event = self.events.recv() => event,
                _ = self.heartbeat.tick() => {
                    return self.service.is_valid(&self.login).then(|| ": \n\n".to_owned());
                }
            };
            let event = match event {
                Ok(event) => event,
                Err(RecvError::Lagged(missed)) => {
                    let user = &self.login.user;
                    tracing::warn!(
                        user,
                        missed,
                        "an event stream was read too slowly and dropped"
                    );
                    return None;
                }
                Err(RecvError::Closed) => return None,
            };
            if !self.stream.includes(&event) {
                continue;
            }
            if !self.service.is_valid(&self.login) {
                return None;
            }
            if self.service.may_receive(&self.login.user, &event) {
                let data = match self.encoding {
                    Encoding::Json => &event.json,
                    Encoding::Xml => &event.xml,
                };
                // Both encodings escape line breaks or have them only in text: each line needs its own field.
                return Some(format!("data: {}\n\n", data.replace('\n', "\ndata: ")));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stream_is_found_at_its_paths() {
        assert_eq!(
            Stream::at("/streams/NETCONF"),
            Some((Stream::Netconf, Encoding::Json))
        );
        assert_eq!(
            Stream::at("/streams/sla/xml"),
            Some((Stream::Sla, Encoding::Xml))
        );
        assert_eq!(Stream::at("/streams/SLA"), None);
        assert_eq!(Stream::at("/streams/"), None);
    }
}
