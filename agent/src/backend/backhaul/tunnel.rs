//! One tunnel, as one task: nothing else touches it.
//!
//! Owns bringing it up and down with its keys. Rotation is in `rotation.rs`, where peers were heard in `heard.rs`, who has prefixes in `holders.rs`, probing and failover in `watch.rs`, what it looks
//! like from outside in `observe.rs`.

mod heard;
mod holders;
mod observe;
mod rotation;
mod watch;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::check::{OwnKeys, path};
use super::config::TunnelConfig;
use super::health::{Health, PeerState};
use super::plane::{BackendInUse, Look, Plane, PlaneError};
use super::record::{Ledger, Own, Record};
use super::state::{Event, OwnKeyState, ProbeResult, Repair, TunnelState};
use super::wanted::{self, Means};
use super::{ProbeRequest, TunnelOperState};
use crate::backend::{BoxFuture, Why};
use holders::Holders;

/// How often a tunnel does what it does by itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Looks at what has no probes, and whether a rotation is due.
    pub(super) slow: Duration,
    /// Looks whether somebody changed it by hand.
    pub(super) check: Duration,
    /// How long the key of a tunnel that was removed can come back with it: a commit that is taken back brings tunnels back,
    /// and their peers know their keys.
    pub(super) kept: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            slow: Duration::from_secs(5),
            check: Duration::from_secs(30),
            kept: Duration::from_secs(3600),
        }
    }
}

impl Pace {
    /// When a tunnel that is new looks first: the tunnels of one node do not all look at the same moment.
    fn first_check(&self, slice: &str) -> Instant {
        let sum = slice.bytes().fold(0_u32, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(byte.into())
        });
        Instant::now() + self.check / 2 + self.check / 200 * (sum % 100)
    }
}

/// What the tunnels of a node share.
pub(super) struct Shared {
    pub(super) plane: Arc<dyn Plane>,
    pub(super) ledger: Ledger,
    /// The keys in use, for plans.
    pub(super) own: RwLock<OwnKeys>,
    pub(super) events: broadcast::Sender<Event>,
    pub(super) pace: Pace,
}

pub(super) type Reply<T> = oneshot::Sender<Result<T, PlaneError>>;

/// What a tunnel is asked to do.
pub(super) enum Command {
    /// Be what is configured; what was is restored on an error.
    Bring(Box<TunnelConfig>, Reply<()>),
    /// Look whether it is what is configured, and repair it; what was done.
    Reconcile(Box<TunnelConfig>, Reply<Vec<String>>),
    /// Go, with all that belongs to it.
    Remove(Reply<()>),
    Observe(Reply<Option<TunnelState>>),
    Rotate(Option<u16>, Reply<OwnKeyState>),
    CompleteRotation(Reply<OwnKeyState>),
    CancelRotation(Reply<()>),
    SwitchOver(String, Reply<Option<String>>),
    Probe(ProbeRequest, Reply<Vec<ProbeResult>>),
}

/// The result of one probe: the peer, and the round trip if it was answered.
type Probed = (String, Option<Duration>);

pub(super) struct Tunnel {
    shared: Arc<Shared>,
    slice: String,
    config: Option<TunnelConfig>,
    record: Option<Record>,
    backend: Option<BackendInUse>,
    /// What the names of its interfaces begin with.
    prefix: String,
    last_error: Option<String>,
    holders: Holders,
    health: HashMap<String, Health>,
    states: BTreeMap<String, PeerState>,
    probes: FuturesUnordered<BoxFuture<'static, Probed>>,
    next_probe: Option<Instant>,
    next_rotation: Option<Instant>,
    /// Until when a rotation that is due waits: somebody took the last one back.
    rotation_rests: Option<Instant>,
    next_slow: Instant,
    next_check: Instant,
    /// Since when the retiring interface has been silent, with what had come out of it when it was looked at last.
    silence: Option<(Instant, u64)>,
}

impl Tunnel {
    pub(super) fn new(shared: Arc<Shared>, slice: &str) -> Self {
        let pace = shared.pace;
        Self {
            shared,
            slice: slice.to_owned(),
            config: None,
            record: None,
            backend: None,
            prefix: String::new(),
            last_error: None,
            holders: Holders::default(),
            health: HashMap::new(),
            states: BTreeMap::new(),
            probes: FuturesUnordered::new(),
            next_probe: None,
            next_rotation: None,
            rotation_rests: None,
            next_slow: Instant::now() + pace.slow,
            next_check: pace.first_check(slice),
            silence: None,
        }
    }

    /// Serves until nobody can ask any more.
    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        loop {
            let timers = [self.next_probe, self.next_rotation, Some(self.next_check)];
            let due = timers.into_iter().flatten().min();
            let due = due.map_or(self.next_slow, |due| due.min(self.next_slow));
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.serve(command).await,
                    None => return,
                },
                Some((peer, round_trip)) = self.probes.next(), if !self.probes.is_empty() => {
                    self.heard(&peer, round_trip).await;
                }
                () = sleep_until(due) => self.tick().await,
            }
        }
    }

    async fn serve(&mut self, command: Command) {
        // Who asked may be gone; what was done stands.
        match command {
            Command::Bring(config, reply) => drop(reply.send(self.bring(*config).await)),
            Command::Reconcile(config, reply) => drop(reply.send(self.reconcile(*config).await)),
            Command::Remove(reply) => drop(reply.send(self.remove().await)),
            Command::Observe(reply) => drop(reply.send(self.observe().await)),
            Command::Rotate(port, reply) => drop(reply.send(self.rotate(port).await)),
            Command::CompleteRotation(reply) => drop(reply.send(self.complete_rotation().await)),
            Command::CancelRotation(reply) => drop(reply.send(self.cancel_rotation().await)),
            Command::SwitchOver(peer, reply) => drop(reply.send(self.switch_over(&peer).await)),
            Command::Probe(request, reply) => self.probe(&request, reply),
        }
    }

    /// Becomes what is configured. On an error it is what it was.
    async fn bring(&mut self, config: TunnelConfig) -> Result<(), PlaneError> {
        let before = (
            self.config.clone(),
            self.record.clone(),
            self.holders.clone(),
        );
        let brought = self.try_bring(config, None, Look::Changes).await;
        let Err(mut error) = brought else {
            self.last_error = None;
            return Ok(());
        };
        let failed = self.config.take();
        (self.config, self.record, self.holders) = before;
        if let Err(second) = self.restore(failed).await {
            error.message = format!(
                "{}; what was before could not be restored: {second}",
                error.message
            );
            self.last_error = Some(error.message.clone());
        }
        Err(error)
    }

    /// Puts back in force what is remembered, after what failed.
    async fn restore(&mut self, failed: Option<TunnelConfig>) -> Result<(), PlaneError> {
        let (Some(config), Some(_)) = (self.config.clone(), &self.record) else {
            return self.remove().await;
        };
        self.save().await?;
        let restored = self.try_bring(config, failed, Look::Everything).await;
        restored.map(drop)
    }

    async fn reconcile(&mut self, config: TunnelConfig) -> Result<Vec<String>, PlaneError> {
        if self.record.is_none() {
            self.load().await?;
            self.name_interfaces(&config);
            self.adopt(&config).await?;
        }
        let done = self.try_bring(config, None, Look::Everything).await;
        self.last_error = done.as_ref().err().map(|error| error.message.clone());
        done
    }

    fn name_interfaces(&mut self, config: &TunnelConfig) {
        let is_of_node = config.management.is_some();
        self.prefix = self.shared.plane.prefix(&self.slice, is_of_node);
    }

    /// Puts a configuration in force. `failed` may be in force in parts.
    async fn try_bring(
        &mut self,
        config: TunnelConfig,
        failed: Option<TunnelConfig>,
        look: Look,
    ) -> Result<Vec<String>, PlaneError> {
        let backend = self.shared.plane.backend(config.backend);
        let backend = backend.map_err(|message| PlaneError {
            message,
            why: Why::Unsupported,
        })?;
        self.remember(&config).await?;
        self.name_interfaces(&config);
        let before = self.config.replace(config);
        self.backend = Some(backend);
        self.settle(before.as_ref()).await?;
        let (Some(config), Some(record)) = (&self.config, &self.record) else {
            return Ok(Vec::new());
        };
        if !config.enabled {
            let was_there = self.shared.plane.remove(&self.slice).await?;
            self.rest();
            return Ok(was_there
                .then(|| "switched off".to_owned())
                .into_iter()
                .collect());
        }
        let means = self.means(backend);
        let in_force = failed.as_ref().or(before.as_ref());
        let net = wanted::net(config, in_force, record, &self.holders.active, means);
        let done = self.shared.plane.bring(&net, look).await?;
        self.wake(before.as_ref());
        Ok(done)
    }

    fn means(&self, backend: BackendInUse) -> Means<'_> {
        let prefix = &self.prefix;
        Means { backend, prefix }
    }

    /// Looks whether the machine still has what is configured, rules of nftables included, and puts it right.
    async fn repair(&mut self) {
        let (Some(config), Some(record), Some(backend)) =
            (&self.config, &self.record, self.backend)
        else {
            return;
        };
        if !config.enabled {
            return;
        }
        let means = self.means(backend);
        let net = wanted::net(config, Some(config), record, &self.holders.active, means);
        match self.shared.plane.bring(&net, Look::Everything).await {
            Ok(done) => {
                self.last_error = None;
                if !done.is_empty() {
                    let repairs = done.into_iter().map(|action| Repair {
                        target: path(&self.slice),
                        action,
                    });
                    self.announce(Event::Repaired {
                        cause: "the network of the slice was changed".to_owned(),
                        repairs: repairs.collect(),
                    });
                }
            }
            Err(error) => {
                tracing::warn!(slice = self.slice, %error, "the tunnel is not what is configured");
                self.last_error = Some(error.message);
            }
        }
    }

    /// The tunnel as it is now remembered and configured is put in force, fast.
    async fn refresh(&mut self) -> Result<(), PlaneError> {
        let (Some(config), Some(record), Some(backend)) =
            (&self.config, &self.record, self.backend)
        else {
            return Ok(());
        };
        let means = self.means(backend);
        let net = wanted::net(config, Some(config), record, &self.holders.active, means);
        self.shared.plane.bring(&net, Look::Changes).await.map(drop)
    }

    /// What is to be remembered of a tunnel with this configuration: made if it is new.
    async fn remember(&mut self, config: &TunnelConfig) -> Result<(), PlaneError> {
        if self.record.is_none() {
            self.load().await?;
        }
        if self.record.is_none() {
            self.load_removed(config).await?;
        }
        let Some(record) = &mut self.record else {
            self.record = Some(self.new_record(config.listen_port)?);
            return self.save().await;
        };
        let before = record.clone();
        let earlier = self.config.as_ref().and_then(|config| config.listen_port);
        if let Some(port) = config.listen_port
            && self.config.is_some()
            && earlier != Some(port)
        {
            record.current.port = port;
        }
        record.configured_port = config.listen_port;
        match *record == before {
            true => Ok(()),
            false => self.save().await,
        }
    }

    /// A first key with a port. Other tunnels know of it at once: many are made at the same time.
    fn new_record(&self, port: Option<u16>) -> Result<Record, PlaneError> {
        let mut own = self.own_keys();
        let free = || {
            let is_taken = |port| is_taken(&own, &self.slice, port);
            self.shared.plane.free_port(&is_taken)
        };
        let record = Record {
            configured_port: port,
            ..Record::new(port.map_or_else(free, Ok)?)
        };
        own.insert(self.slice.clone(), Own::from(&record));
        Ok(record)
    }

    fn own_keys(&self) -> RwLockWriteGuard<'_, OwnKeys> {
        let own = self.shared.own.write();
        own.unwrap_or_else(PoisonError::into_inner)
    }

    /// A tunnel that was removed lately has the key that it had, and its ports as far as nobody else has taken them.
    async fn load_removed(&mut self, config: &TunnelConfig) -> Result<(), PlaneError> {
        let (shared, slice) = (Arc::clone(&self.shared), self.slice.clone());
        let removed = move || shared.ledger.load_removed(&slice, shared.pace.kept);
        let Some(mut record) = on_disk(removed).await? else {
            return Ok(());
        };
        self.settle_ports(&mut record, config.listen_port)?;
        self.record = Some(record);
        self.save().await
    }

    /// What is asked for now, else what was remembered, else what is free.
    fn settle_ports(&self, record: &mut Record, asked: Option<u16>) -> Result<(), PlaneError> {
        let plane = &self.shared.plane;
        let mut own = self.own_keys();
        let is_taken = |port| is_taken(&own, &self.slice, port);
        let is_lost = |port| is_taken(port) || !plane.is_free(port);
        if let Some(port) = asked.filter(|_| asked != record.configured_port) {
            record.current.port = port;
        } else if is_lost(record.current.port) {
            record.current.port = asked.map_or_else(|| plane.free_port(&is_taken), Ok)?;
        }
        if let Some(next) = &mut record.next
            && is_lost(next.port)
        {
            next.port = plane.free_port(&is_taken)?;
        }
        own.insert(self.slice.clone(), Own::from(&*record));
        Ok(())
    }

    /// Goes, with network and key.
    async fn remove(&mut self) -> Result<(), PlaneError> {
        self.shared.plane.remove(&self.slice).await?;
        let (shared, slice) = (Arc::clone(&self.shared), self.slice.clone());
        on_disk(move || shared.ledger.remove(&slice)).await?;
        self.record = None;
        self.publish_keys();
        (self.config, self.last_error) = (None, None);
        self.holders = Holders::default();
        self.states.clear();
        self.rest();
        Ok(())
    }

    async fn load(&mut self) -> Result<(), PlaneError> {
        let (shared, slice) = (Arc::clone(&self.shared), self.slice.clone());
        self.record = on_disk(move || shared.ledger.load(&slice)).await?;
        self.publish_keys();
        Ok(())
    }

    /// Keeps what is remembered; nothing depends on it before.
    async fn save(&mut self) -> Result<(), PlaneError> {
        let Some(record) = self.record.clone() else {
            return Ok(());
        };
        let (shared, slice) = (Arc::clone(&self.shared), self.slice.clone());
        on_disk(move || shared.ledger.save(&slice, &record)).await?;
        self.publish_keys();
        Ok(())
    }

    fn publish_keys(&self) {
        let mut own = self.own_keys();
        match &self.record {
            Some(record) => drop(own.insert(self.slice.clone(), Own::from(record))),
            None => drop(own.remove(&self.slice)),
        }
    }

    fn announce(&self, event: Event) {
        tracing::info!(slice = self.slice, ?event, "tunnel");
        // Nobody need listen.
        drop(self.shared.events.send(event));
    }

    /// What the tunnel is now, without asking the machine.
    fn oper_state(&self) -> TunnelOperState {
        let is_enabled = self.config.as_ref().is_some_and(|config| config.enabled);
        let answers = |state: &PeerState| matches!(state, PeerState::Active | PeerState::Warm);
        if self.last_error.is_some() {
            TunnelOperState::Failed
        } else if !is_enabled {
            TunnelOperState::Down
        } else if self.states.values().any(answers) {
            TunnelOperState::Up
        } else if self
            .health
            .values()
            .any(|health| health.round_trip().is_some())
        {
            TunnelOperState::Down
        } else {
            TunnelOperState::Starting
        }
    }
}

/// Runs what waits for the disk.
async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, PlaneError> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.map_err(|_| PlaneError::new("the agent is stopping"))?;
    done.map_err(|error| PlaneError::new(format!("the key of the tunnel cannot be kept: {error}")))
}

/// Whether another tunnel of the node has a port, or may come to have it.
fn is_taken(own: &OwnKeys, slice: &str, port: u16) -> bool {
    let mut others = own.iter().filter(|(other, _)| *other != slice);
    others.any(|(_, own)| own.claims(port))
}
