//! The task of one node.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rand::RngExt as _;
use tokio::sync::{Semaphore, mpsc};
use tranche_netconf::client::Client;
use tranche_netconf::message::{CreateSubscription, Notification};

use crate::inventory::Observed;

use super::prb::PrbReport;
use super::steering::SteeringReport;
use super::telemetry::AirtimeReport;
use super::tunnel::TunnelEvent;
use super::window::Sequence;
use super::{DeviceError, DeviceEvent, DeviceState, Shared, Status, backoff, read as reader};

/// Other operations are allowed on a session with a subscription (RFC 5277 6).
const INTERLEAVE: &str = "urn:ietf:params:netconf:capability:interleave:1.0";
/// The stream of reports of airtime, PRB and steering.
const STREAM: &str = "telemetry";
/// The stream of all other notifications.
const EVENTS: &str = "NETCONF";
/// Time in which events of a node are gathered before the node is read.
const GATHER: Duration = Duration::from_millis(100);
/// When a node is read once more after an event: what it leads to, such as UEs that attach, has happened then.
const SETTLED: Duration = Duration::from_millis(400);

/// A session that is up.
struct Session {
    client: Client,
    /// The one with the subscription, where the node allows nothing else on it; kept because dropping it would end it.
    telemetry: Option<Client>,
    notifications: mpsc::Receiver<Notification>,
    /// What the node had when the session was made.
    observed: Arc<Observed>,
    /// What is wrong although there is a session.
    complaint: Option<String>,
}

/// Keeps a session to the node up until it is told to stop.
pub(super) async fn keep_up(shared: Arc<Shared>, connecting: Arc<Semaphore>) {
    let node = &shared.config.node;
    let mut failures = 0;
    loop {
        let established = tokio::select! {
            () = shared.stop.cancelled() => return,
            established = establish(&shared, &connecting) => established,
        };
        let state = match established {
            Ok(session) => {
                failures = 0;
                let why = tokio::select! {
                    () = shared.stop.cancelled() => {
                        shared.set_client(None);
                        return;
                    }
                    why = serve(&shared, session) => why,
                };
                tracing::warn!(node, why, "the session to the node ended");
                shared.lost(DeviceState::Unreachable, why);
                DeviceState::Unreachable
            }
            Err(error) => {
                let state = classify(&error);
                tracing::debug!(node, %error, "the node cannot be reached");
                shared.lost(state, error.without_node());
                state
            }
        };
        failures += 1;
        let settings = &shared.settings;
        let pause = if state == DeviceState::Refused {
            backoff::pause(
                settings.refused_pause,
                settings.refused_pause,
                1,
                rand::rng().random(),
            )
        } else {
            backoff::pause(
                settings.min_pause,
                settings.max_pause,
                failures,
                rand::rng().random(),
            )
        };
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Connects, reads and subscribes.
async fn establish(shared: &Arc<Shared>, connecting: &Semaphore) -> Result<Session, DeviceError> {
    let netconf = |source| DeviceError::Netconf {
        node: shared.config.node.clone(),
        source,
    };
    // The semaphore is never closed.
    let _permit = connecting.acquire().await;
    let config = || shared.config.client(&shared.settings);
    let (client, notifications) = Client::connect(config()).await.map_err(netconf)?;
    let observed = fetch(shared, &client).await?;
    let subscribe = CreateSubscription {
        stream: STREAM.to_owned(),
        filter: None,
        start_time: None,
        stop_time: None,
    };
    let mut session = Session {
        client,
        telemetry: None,
        notifications,
        observed,
        complaint: None,
    };
    let subscribed = if session.client.has_capability(INTERLEAVE) {
        session.client.create_subscription(subscribe).await
    } else {
        let (telemetry, notifications) = Client::connect(config()).await.map_err(netconf)?;
        let subscribed = telemetry.create_subscription(subscribe).await;
        session.notifications = notifications;
        session.telemetry = Some(telemetry);
        subscribed
    };
    match subscribed {
        Ok(()) => {}
        // It can be configured all the same.
        Err(error @ tranche_netconf::Error::Rpc(_)) => {
            session.complaint = Some(format!("no reports: {error}"));
        }
        Err(error) => return Err(netconf(error)),
    }
    Ok(session)
}

/// Takes telemetry and reads the node now and then until the session ends; says why it did.
async fn serve(shared: &Arc<Shared>, session: Session) -> String {
    let Session {
        client,
        telemetry,
        mut notifications,
        observed,
        complaint,
    } = session;
    shared.connected(&client, observed, complaint);
    let subscribed = telemetry.as_ref().unwrap_or(&client);
    let checks = check_forever(shared, &client);
    tokio::pin!(checks);
    let events = listen_to_events(shared, &client);
    tokio::pin!(events);
    let mut heard = Heard::default();
    loop {
        tokio::select! {
            why = client.closed() => return why,
            why = subscribed.closed() => return why,
            why = &mut checks => return why,
            why = &mut events => return why,
            Some(notification) = notifications.recv() => take(shared, &notification, &mut heard),
        }
    }
}

/// Reads the node at intervals and when what is known of it may be old; ends when it fails twice in a row.
async fn check_forever(shared: &Arc<Shared>, client: &Client) -> String {
    let mut failed = false;
    loop {
        let jitter = 0.9 + 0.2 * rand::rng().random::<f64>();
        tokio::select! {
            () = tokio::time::sleep(shared.settings.check_interval.mul_f64(jitter)) => {}
            () = shared.unsure.notified() => {}
        }
        match read(shared, client).await {
            Ok(_) => failed = false,
            Err(error) if failed => return error.without_node(),
            Err(error) => {
                tracing::warn!(node = shared.config.node, %error, "the node could not be read");
                failed = true;
            }
        }
    }
}

/// Hears what the node tells of its tunnels, slice profiles and changes over a session of its own (RFC 5277 has one stream for
/// each), once it has any tunnel or profile or steers, and reads it when something happened. Ends when that session does.
async fn listen_to_events(shared: &Arc<Shared>, client: &Client) -> String {
    let mut status = shared.status.subscribe();
    let is_worth_it = |status: &Status| {
        let has = status.observed.as_ref();
        has.is_some_and(|has| {
            !has.tunnels.is_empty()
                || !has.profiles.is_empty()
                || !has.steering.config.rules.is_empty()
        })
    };
    if status.wait_for(is_worth_it).await.is_err() {
        return "the node is given up".to_owned();
    }
    let subscribed = async {
        let config = shared.config.client(&shared.settings);
        let (session, notifications) = Client::connect(config).await?;
        let subscribe = CreateSubscription {
            stream: EVENTS.to_owned(),
            filter: None,
            start_time: None,
            stop_time: None,
        };
        session.create_subscription(subscribe).await?;
        Ok::<_, tranche_netconf::Error>((session, notifications))
    };
    let node = &shared.config.node;
    let (session, mut notifications) = match subscribed.await {
        Ok(subscribed) => subscribed,
        Err(error @ tranche_netconf::Error::Rpc(_)) => {
            tracing::warn!(node, %error, "the node does not tell what happens to it");
            return std::future::pending().await;
        }
        Err(error) => return error.to_string(),
    };
    // What happened before the subscription was not told.
    let mut due = Some(tokio::time::Instant::now());
    let mut again = None;
    loop {
        let look = due.or(again).unwrap_or_else(tokio::time::Instant::now);
        tokio::select! {
            why = session.closed() => return why,
            Some(notification) = notifications.recv() => match TunnelEvent::read(&notification) {
                Ok(Some(event)) => {
                    let (node, event) = (node.clone(), Arc::new(event));
                    shared.tell(DeviceEvent::Tunnel { node, event });
                    due.get_or_insert_with(|| tokio::time::Instant::now() + GATHER);
                }
                // Somebody changed it, maybe not we (RFC 6470), or its slice profiles are otherwise than before.
                Ok(None) if is_of_interest(&notification) => {
                    due.get_or_insert_with(|| tokio::time::Instant::now() + GATHER);
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(node, %error, "an event of a tunnel cannot be read"),
            },
            () = tokio::time::sleep_until(look), if due.or(again).is_some() => {
                again = due.take().map(|due| due + SETTLED);
                if let Err(error) = read(shared, client).await {
                    tracing::warn!(node, %error, "the node could not be read");
                }
            }
        }
    }
}

fn is_of_interest(notification: &Notification) -> bool {
    let content = notification.content.as_str();
    let names = [
        "netconf-config-change",
        "profile-state-change",
        "core-failover",
        "drift-repaired",
    ];
    names.iter().any(|name| content.contains(name))
}

fn take(shared: &Shared, notification: &Notification, heard: &mut Heard) {
    let taken = match AirtimeReport::read(notification) {
        Ok(None) => match PrbReport::read(notification) {
            Ok(None) => match SteeringReport::read(notification) {
                Ok(None) => return,
                Ok(Some(report)) => Ok(("steering", shared.take_steering(report, heard))),
                Err(error) => Err(error),
            },
            Ok(Some(report)) => {
                let lost = heard.prb.lost(report.sequence);
                lock(&shared.cells).push(report);
                Ok(("PRB", lost))
            }
            Err(error) => Err(error),
        },
        Ok(Some(report)) => {
            let lost = heard.airtime.lost(report.sequence);
            lock(&shared.radios).push(report);
            Ok(("airtime", lost))
        }
        Err(error) => Err(error),
    };
    let node = &shared.config.node;
    let lost = match taken {
        Ok((_, 0)) => 0,
        Ok((kind, lost)) => {
            tracing::warn!(node, kind, lost, "reports of the node did not arrive");
            lost
        }
        Err(error) => {
            tracing::warn!(node, %error, "a report of the node cannot be read");
            return;
        }
    };
    // Every second from every node: not worth waking who watches the status.
    shared.status.send_if_modified(|status| {
        status.last_report = Some(SystemTime::now());
        status.lost_reports += lost;
        false
    });
}

/// What was heard in a session.
#[derive(Default)]
struct Heard {
    airtime: Sequence,
    prb: Sequence,
    steering: Sequence,
}

fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads the node and publishes what it has.
pub(super) async fn read(shared: &Shared, client: &Client) -> Result<Arc<Observed>, DeviceError> {
    let observed = fetch(shared, client).await?;
    shared
        .status
        .send_modify(|status| status.take(Arc::clone(&observed)));
    shared.tell(DeviceEvent::Read {
        node: shared.config.node.clone(),
    });
    Ok(observed)
}

/// Reads the node for the caller alone.
pub(super) async fn fetch(shared: &Shared, client: &Client) -> Result<Arc<Observed>, DeviceError> {
    let node = || shared.config.node.clone();
    let data = client
        .get(Some(reader::filter()), None)
        .await
        .map_err(|source| DeviceError::Netconf {
            node: node(),
            source,
        })?;
    let observed = reader::observed(&data).map_err(|source| DeviceError::Read {
        node: node(),
        source,
    })?;
    Ok(Arc::new(observed))
}

fn classify(error: &DeviceError) -> DeviceState {
    use tranche_netconf::Error;
    match error {
        DeviceError::Netconf {
            source: Error::HostKey { .. } | Error::AuthRefused { .. } | Error::Key { .. },
            ..
        } => DeviceState::Refused,
        DeviceError::Away { .. } | DeviceError::Read { .. } | DeviceError::Netconf { .. } => {
            DeviceState::Unreachable
        }
    }
}

impl Status {
    fn take(&mut self, observed: Arc<Observed>) {
        self.observed = Some(observed);
        self.last_read = Some(SystemTime::now());
    }
}

impl Shared {
    /// Takes in what changed of the node's steering; how many reports before it did not arrive.
    fn take_steering(&self, report: SteeringReport, heard: &mut Heard) -> u64 {
        let lost = heard.steering.lost(report.sequence);
        if lost > 0 {
            // They say what changed, so what they said has to be read.
            self.unsure.notify_one();
        }
        // Every second from every node: not worth waking who watches the status.
        self.status.send_if_modified(|status| {
            if let Some(has) = &mut status.observed {
                report.put_over(&mut Arc::make_mut(has).steering);
                status.steering_told = Some(SystemTime::now());
            }
            false
        });
        lost
    }

    fn set_client(&self, client: Option<Client>) {
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = client;
    }

    /// Whoever hears that the node was read finds the session in place.
    fn connected(&self, client: &Client, observed: Arc<Observed>, complaint: Option<String>) {
        tracing::info!(
            node = self.config.node,
            session_id = client.session_id(),
            "connected"
        );
        lock(&self.radios).restart();
        lock(&self.cells).restart();
        self.set_client(Some(client.clone()));
        self.status.send_modify(|status| {
            *status = Status {
                state: DeviceState::Connected,
                since: SystemTime::now(),
                last_error: complaint,
                session_id: Some(client.session_id()),
                ..status.clone()
            };
            status.take(observed);
        });
        let node = || self.config.node.clone();
        self.tell(DeviceEvent::State { node: node() });
        self.tell(DeviceEvent::Read { node: node() });
    }

    fn lost(&self, state: DeviceState, why: String) {
        self.set_client(None);
        let mut changed = false;
        self.status.send_modify(|status| {
            changed = status.state != state;
            if changed {
                (status.state, status.since) = (state, SystemTime::now());
            }
            (status.last_error, status.session_id) = (Some(why), None);
        });
        if changed {
            self.tell(DeviceEvent::State {
                node: self.config.node.clone(),
            });
        }
    }

    fn tell(&self, event: DeviceEvent) {
        // Without a listener there is nobody to tell.
        drop(self.events.send(event));
    }
}
