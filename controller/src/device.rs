//! Nodes as the controller reaches them: one task per node keeps a NETCONF session up, reads the node, and takes its telemetry.
//!
//! ```text
//!                 +--------------- pause (jittered, growing) ---------------+
//!                 v                                                         |
//!  Connecting --> connect, read, subscribe --ok--> Connected --session ends--> Unreachable
//!                        '--wrong host key or login refused--> Refused (tried again slowly)
//! ```
//! Owns sessions and what was last read. What is shown of a node is what the node said, never what it should have. Leaves
//! changes of configuration to `rollout`, which opens its own sessions so that closing them frees every lock.

mod backoff;
mod forecast;
mod prb;
mod ran;
mod read;
mod session;
mod steering;
mod telemetry;
mod tunnel;
mod window;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::{Notify, Semaphore, broadcast, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tranche_netconf::client::{Auth, Client, ClientConfig, HostKeyCheck};
use tranche_netconf::error::ErrorTag;
use tranche_netconf::message::{Operation, Reply};
use tranche_netconf::xml::Fragment;

use crate::intent::RAN;
use crate::inventory::{Inventory, NodeName, Observed};
use crate::scheduler::{Correction, NetworkReport, Period, PrbCorrection};

pub(crate) use backoff::pause;
pub(crate) use forecast::Asking;
pub use forecast::{Forecast, ForecastStep, ForecastWarning};
pub use read::ReadError;
pub use tunnel::TunnelEvent;
pub(crate) use tunnel::{filter as tunnels_filter, own_key, read as tunnels_of};

/// Events that a listener may be behind before it misses some.
const EVENTS: usize = 1024;

/// Times and limits towards nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceSettings {
    /// Until a session is up.
    pub connect_timeout: Duration,
    /// Until an RPC is answered.
    pub rpc_timeout: Duration,
    /// Between signs of life of a session.
    pub keepalive: Duration,
    /// Between two readings of a node.
    pub check_interval: Duration,
    /// Pause after the first failure; it doubles up to `max_pause`. Both are jittered.
    pub min_pause: Duration,
    /// Longest pause.
    pub max_pause: Duration,
    /// Pause after a wrong host key or a refused login.
    pub refused_pause: Duration,
    /// Sessions made at once, corrections sent at once.
    pub fan_out: usize,
}

impl Default for DeviceSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            rpc_timeout: Duration::from_secs(30),
            keepalive: Duration::from_secs(15),
            check_interval: Duration::from_secs(60),
            min_pause: Duration::from_secs(1),
            max_pause: Duration::from_secs(60),
            refused_pause: Duration::from_secs(60),
            fan_out: 256,
        }
    }
}

/// How to reach a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceConfig {
    /// Its name.
    pub node: NodeName,
    /// Host name or address.
    pub address: String,
    /// TCP port.
    pub port: u16,
    /// SSH user name.
    pub user: String,
    /// Private key that proves it.
    pub key_file: PathBuf,
    /// Pinned host key: an OpenSSH public key line or a fingerprint.
    pub host_key: String,
}

impl DeviceConfig {
    fn client(&self, settings: &DeviceSettings) -> ClientConfig {
        let addr = if self.address.contains(':') {
            format!("[{}]:{}", self.address, self.port)
        } else {
            format!("{}:{}", self.address, self.port)
        };
        let auth = Auth::KeyFile(self.key_file.clone());
        let host_key = HostKeyCheck::Pinned(self.host_key.clone());
        ClientConfig {
            connect_timeout: settings.connect_timeout,
            rpc_timeout: settings.rpc_timeout,
            keepalive: Some(settings.keepalive),
            ..ClientConfig::new(addr, &self.user, auth, host_key)
        }
    }
}

/// State of the session to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeviceState {
    /// No session yet.
    Connecting,
    /// A session is up and the node was read.
    Connected,
    /// No session; tried again with growing, jittered pauses.
    Unreachable,
    /// The node refused the login, or showed another host key; tried again slowly.
    Refused,
}

impl DeviceState {
    /// As the inventory's model names it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
        }
    }
}

/// What is known of a node.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// State of the session.
    pub state: DeviceState,
    /// When that state began.
    pub since: SystemTime,
    /// Why it is not connected, or what is wrong although it is.
    pub last_error: Option<String>,
    /// The session's identifier at the node.
    pub session_id: Option<u32>,
    /// What the node had when it was last read.
    pub observed: Option<Arc<Observed>>,
    /// When that was.
    pub last_read: Option<SystemTime>,
    /// When its last report of airtime or PRB came.
    pub last_report: Option<SystemTime>,
    /// When it last told of its steering, by a report.
    pub steering_told: Option<SystemTime>,
    /// Reports that it sent and that did not arrive, since the controller looks after it.
    pub lost_reports: u64,
}

/// Something about a node changed; [`Fleet::device`] tells what it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceEvent {
    /// The state of its session.
    State {
        /// Which node.
        node: NodeName,
    },
    /// It was read.
    Read {
        /// Which node.
        node: NodeName,
    },
    /// It told of one of its tunnels.
    Tunnel {
        /// Which node.
        node: NodeName,
        /// What it told.
        event: Arc<TunnelEvent>,
    },
}

impl DeviceEvent {
    /// Which node.
    #[must_use]
    pub fn node(&self) -> &NodeName {
        match self {
            Self::State { node } | Self::Read { node } | Self::Tunnel { node, .. } => node,
        }
    }
}

/// Why a node did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// There is no session to it.
    #[error("node {node} is away")]
    Away {
        /// Which node.
        node: NodeName,
    },
    /// It refused, did not answer, or the session broke.
    #[error("node {node}: {source}")]
    Netconf {
        /// Which node.
        node: NodeName,
        /// What it said.
        #[source]
        source: tranche_netconf::Error,
    },
    /// It answered what can't be read.
    #[error("node {node}: {source}")]
    Read {
        /// Which node.
        node: NodeName,
        /// Why.
        #[source]
        source: ReadError,
    },
}

impl DeviceError {
    /// The node does not do what was asked, whenever it is asked (RFC 6241, `operation-not-supported`).
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        let Self::Netconf {
            source: tranche_netconf::Error::Rpc(errors),
            ..
        } = self
        else {
            return false;
        };
        errors
            .iter()
            .any(|error| error.tag == ErrorTag::OperationNotSupported)
    }

    /// In words, without the node's name, which stands beside it wherever it is shown.
    #[must_use]
    pub fn without_node(&self) -> String {
        match self {
            Self::Away { .. } => "away".to_owned(),
            Self::Netconf { source, .. } => source.to_string(),
            Self::Read { source, .. } => source.to_string(),
        }
    }
}

/// One node. Clones share it.
#[derive(Debug, Clone)]
pub struct Device {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: DeviceConfig,
    settings: Arc<DeviceSettings>,
    status: watch::Sender<Status>,
    client: Mutex<Option<Client>>,
    radios: Mutex<telemetry::Radios>,
    cells: Mutex<prb::Cells>,
    /// What is known of the node may be old.
    unsure: Notify,
    events: broadcast::Sender<DeviceEvent>,
    stop: CancellationToken,
}

impl Device {
    /// Its name.
    #[must_use]
    pub fn node(&self) -> &NodeName {
        &self.shared.config.node
    }

    /// What is known of it.
    #[must_use]
    pub fn status(&self) -> Status {
        self.shared.status.borrow().clone()
    }

    /// Opens another session to it, apart from the one that is kept up, on which no answer may take longer than
    /// `rpc_timeout`.
    ///
    /// # Errors
    /// When it is away, shows another host key or refuses the login.
    pub async fn open(&self, rpc_timeout: Duration) -> Result<Client, tranche_netconf::Error> {
        let config = ClientConfig {
            rpc_timeout,
            ..self.shared.config.client(&self.shared.settings)
        };
        // Nothing subscribes on it, so nothing will come.
        let (client, _notifications) = Client::connect(config).await?;
        Ok(client)
    }

    /// Reads it now.
    ///
    /// # Errors
    /// When it is away, refuses, or answers what can't be read.
    pub async fn read(&self) -> Result<Arc<Observed>, DeviceError> {
        let client = self.client()?;
        session::read(&self.shared, &client).await
    }

    /// Reads it now over a session of the caller's.
    pub(crate) async fn read_over(&self, client: &Client) -> Result<Arc<Observed>, DeviceError> {
        session::read(&self.shared, client).await
    }

    /// Sends corrections; `lifetime` is rounded up to whole seconds.
    ///
    /// # Errors
    /// When it is away or refuses.
    pub async fn correct(
        &self,
        lifetime: Duration,
        corrections: &[Correction],
    ) -> Result<(), DeviceError> {
        let element = correct_airtime(lifetime, corrections);
        self.ask(read::WIFI, "correct-airtime", element).await
    }

    /// Sends corrections of cells; `lifetime` as in [`Self::correct`].
    ///
    /// # Errors
    /// When it is away or refuses; [`DeviceError::is_unsupported`] if it corrects no cells.
    pub async fn correct_prb(
        &self,
        lifetime: Duration,
        corrections: &[PrbCorrection],
    ) -> Result<(), DeviceError> {
        let element = prb::correct_prb(seconds(lifetime), corrections);
        self.ask(RAN, "correct-prb", element).await
    }

    /// An operation without output.
    async fn ask(&self, namespace: &str, name: &str, element: Fragment) -> Result<(), DeviceError> {
        let operation = Operation::Other {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            element,
        };
        let failed = |source| DeviceError::Netconf {
            node: self.node().clone(),
            source,
        };
        match self.client()?.call(operation).await.map_err(failed)? {
            Reply::Ok => Ok(()),
            Reply::Output(output) if output.is_empty() => Ok(()),
            Reply::Output(_) | Reply::Data(_) | Reply::Schema(_) => {
                let what = format!("{name} was answered with output");
                Err(failed(tranche_netconf::Error::Protocol(what)))
            }
        }
    }

    fn client(&self) -> Result<Client, DeviceError> {
        let client = self
            .shared
            .client
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        client.ok_or_else(|| DeviceError::Away {
            node: self.node().clone(),
        })
    }
}

fn seconds(lifetime: Duration) -> u128 {
    lifetime.as_millis().div_ceil(1000).clamp(1, 3600)
}

fn correct_airtime(lifetime: Duration, corrections: &[Correction]) -> Fragment {
    let seconds = seconds(lifetime);
    let mut xml = format!(
        "<correct-airtime xmlns=\"{}\"><lifetime>{seconds}</lifetime>",
        read::WIFI
    );
    for Correction {
        vif,
        min_ratio,
        max_ratio,
        ..
    } in corrections
    {
        // Only vifs that bear a name of our making are corrected, so it needs no escaping; writing can't fail.
        let _infallible = write!(
            xml,
            "<vif><name>{vif}</name><min-ratio>{min_ratio:.2}</min-ratio><max-ratio>{max_ratio:.2}</max-ratio></vif>"
        );
    }
    xml.push_str("</correct-airtime>");
    Fragment::from_trusted(xml)
}

/// All nodes. Clones share them.
#[derive(Debug, Clone)]
pub struct Fleet {
    settings: Arc<DeviceSettings>,
    devices: Arc<RwLock<BTreeMap<NodeName, Device>>>,
    events: broadcast::Sender<DeviceEvent>,
    connecting: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Fleet {
    /// No nodes yet.
    #[must_use]
    pub fn new(settings: DeviceSettings) -> Self {
        let fan_out = settings.fan_out.max(1);
        Self {
            settings: Arc::new(settings),
            devices: Arc::default(),
            events: broadcast::Sender::new(EVENTS),
            connecting: Arc::new(Semaphore::new(fan_out)),
            tasks: TaskTracker::new(),
        }
    }

    /// Keeps sessions to exactly these nodes. Those that did not change keep theirs.
    pub fn configure(&self, wanted: impl IntoIterator<Item = DeviceConfig>) {
        let wanted: BTreeMap<NodeName, DeviceConfig> = wanted
            .into_iter()
            .map(|config| (config.node.clone(), config))
            .collect();
        let mut devices = self.devices.write().unwrap_or_else(PoisonError::into_inner);
        devices.retain(|name, device| {
            let keep = wanted.get(name) == Some(&device.shared.config);
            if !keep {
                device.shared.stop.cancel();
            }
            keep
        });
        for (name, config) in wanted {
            devices.entry(name).or_insert_with(|| self.start(config));
        }
    }

    fn start(&self, config: DeviceConfig) -> Device {
        let status = Status {
            state: DeviceState::Connecting,
            since: SystemTime::now(),
            last_error: None,
            session_id: None,
            observed: None,
            last_read: None,
            last_report: None,
            steering_told: None,
            lost_reports: 0,
        };
        let shared = Arc::new(Shared {
            config,
            settings: Arc::clone(&self.settings),
            status: watch::Sender::new(status),
            client: Mutex::default(),
            radios: Mutex::default(),
            cells: Mutex::default(),
            unsure: Notify::new(),
            events: self.events.clone(),
            stop: CancellationToken::new(),
        });
        self.tasks.spawn(session::keep_up(
            Arc::clone(&shared),
            Arc::clone(&self.connecting),
        ));
        Device { shared }
    }

    /// One node.
    #[must_use]
    pub fn device(&self, node: &str) -> Option<Device> {
        self.devices
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(node)
            .cloned()
    }

    /// All nodes, by name.
    #[must_use]
    pub fn devices(&self) -> Vec<Device> {
        self.devices
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    /// What happens from now on. A listener that falls behind misses the oldest and is told how many.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<DeviceEvent> {
        self.events.subscribe()
    }

    /// Puts what was last read of each node into an inventory.
    pub fn observe(&self, inventory: &mut Inventory) {
        for device in self.devices() {
            if let Some(node) = inventory.nodes.get_mut(device.node()) {
                node.observed = device.status().observed.as_deref().cloned();
            }
        }
    }

    /// What all radios and cells measured since the last call, for the scheduler's period `now`.
    #[must_use]
    pub fn report(&self, now: Period) -> NetworkReport {
        let mut report = NetworkReport::default();
        for device in self.devices() {
            let observed = device.shared.status.borrow().observed.clone();
            let window = &device.shared.radios;
            let mut window = window.lock().unwrap_or_else(PoisonError::into_inner);
            let radios = window.take(device.node(), now, observed.as_deref());
            report.radios.extend(radios);
            let window = &device.shared.cells;
            let mut window = window.lock().unwrap_or_else(PoisonError::into_inner);
            let has = observed.as_deref();
            let cells = window.take(device.node(), now, |cell| {
                has.is_some_and(|has| has.cells.contains_key(cell))
            });
            report.cells.extend(cells);
        }
        report
    }

    /// Sends corrections to all nodes concerned at once. Returns those that did not take them, and why; one that has not answered within `limit` is one of them.
    pub async fn correct(
        &self,
        lifetime: Duration,
        limit: Duration,
        corrections: &[Correction],
    ) -> Vec<(NodeName, DeviceError)> {
        let node = |correction: &Correction| Arc::clone(&correction.radio.node);
        let send = move |device: Device, corrections: Vec<Correction>| {
            async move { device.correct(lifetime, &corrections).await }.boxed()
        };
        self.send("correct-airtime", limit, by_node(corrections, node), send)
            .await
    }

    /// The same for corrections of cells.
    pub async fn correct_prb(
        &self,
        lifetime: Duration,
        limit: Duration,
        corrections: &[PrbCorrection],
    ) -> Vec<(NodeName, DeviceError)> {
        let node = |correction: &PrbCorrection| Arc::clone(&correction.cell.node);
        let send = move |device: Device, corrections: Vec<PrbCorrection>| {
            async move { device.correct_prb(lifetime, &corrections).await }.boxed()
        };
        self.send("correct-prb", limit, by_node(corrections, node), send)
            .await
    }

    async fn send<C>(
        &self,
        what: &str,
        limit: Duration,
        by_node: BTreeMap<Arc<str>, Vec<C>>,
        send: impl Fn(Device, Vec<C>) -> BoxFuture<'static, Result<(), DeviceError>>,
    ) -> Vec<(NodeName, DeviceError)> {
        let send = |(node, corrections): (Arc<str>, Vec<C>)| {
            let node = node.to_string();
            let sending = self.device(&node).map(|device| send(device, corrections));
            async move {
                let Some(sending) = sending else {
                    return Some((node.clone(), DeviceError::Away { node }));
                };
                let sent = tokio::time::timeout(limit, sending).await;
                let sent = sent.unwrap_or_else(|_| {
                    let what = format!("the reply to {what}");
                    let source = tranche_netconf::Error::Timeout { what, limit };
                    Err(DeviceError::Netconf {
                        node: node.clone(),
                        source,
                    })
                });
                sent.err().map(|error| (node, error))
            }
        };
        let sending: Vec<_> = by_node.into_iter().map(send).collect();
        futures_util::stream::iter(sending)
            .buffer_unordered(self.settings.fan_out.max(1))
            .filter_map(|failed| async { failed })
            .collect()
            .await
    }

    /// Closes all sessions and waits for their tasks.
    pub async fn shutdown(&self) {
        self.configure([]);
        self.tasks.close();
        self.tasks.wait().await;
        self.tasks.reopen();
    }
}

/// In the order in which they were decided.
fn by_node<C: Clone>(
    corrections: &[C],
    node: impl Fn(&C) -> Arc<str>,
) -> BTreeMap<Arc<str>, Vec<C>> {
    let mut by_node: BTreeMap<Arc<str>, Vec<C>> = BTreeMap::new();
    for correction in corrections {
        let of_node = by_node.entry(node(correction)).or_default();
        of_node.push(correction.clone());
    }
    by_node
}

#[cfg(test)]
mod tests;
