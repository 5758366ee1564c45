//! The backhaul domain of one node: plans and carries out what is configured, tunnel by tunnel.
//!
//! Owns the tasks of the tunnels and what has to be decided across them; in what order they are made is in
//! `engine/carry_out.rs`. Handles of one [`Backhaul`] are the same.

mod carry_out;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use futures_util::StreamExt as _;
use tokio::runtime::Handle;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use super::check::{self, check, path};
use super::config::TunnelConfig;
use super::plane::{Plane, PlaneError};
use super::record::Ledger;
use super::state::{Event, OwnKeyState, ProbeResult, TunnelState};
use super::tunnel::{Command, Pace, Reply, Shared, Tunnel};
use super::{BackhaulBackend, ProbeRequest, wanted};
use crate::backend::{
    Applied, Backend, BoxFuture, Cost, NodeConfig, Plan, Reconciled, Refusal, Step, Why,
};

const DOMAIN: &str = "backhaul";
/// Path of all tunnels.
const TOP: &str = "/tranche-backhaul:backhaul";
const STOPPING: &str = "the agent is stopping";
/// Requests that wait for one tunnel.
const QUEUE: usize = 16;
/// Events that a reader may lag behind before it loses some.
const EVENT_QUEUE: usize = 1024;
/// Tunnels that are made or removed at once: most of the time of one is waiting for the kernel.
const AT_ONCE: usize = 32;

/// The backhaul domain of a node. Clones are handles of the same tunnels.
#[derive(Clone)]
pub struct Backhaul {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    /// Where the tunnels' tasks run: its threads are in the node's network namespace. The caller's where absent.
    runtime: Option<Handle>,
    tunnels: Mutex<BTreeMap<String, Task>>,
    /// Forgets the keys of tunnels that were removed.
    _forgetting: Option<AbortOnDropHandle<()>>,
}

struct Task {
    commands: mpsc::Sender<Command>,
    _task: AbortOnDropHandle<()>,
}

impl std::fmt::Debug for Backhaul {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tunnels = self.tasks();
        f.debug_struct("Backhaul")
            .field("tunnels", &tunnels.keys())
            .finish_non_exhaustive()
    }
}

impl Backhaul {
    /// The domain on a machine, with a directory for its keys; without one they are forgotten with the process.
    pub(super) fn new(plane: Arc<dyn Plane>, keys: Option<PathBuf>) -> Self {
        Self::at_pace(plane, keys, Pace::default())
    }

    /// The same with tunnels that look after themselves at another pace.
    pub(super) fn at_pace(plane: Arc<dyn Plane>, keys: Option<PathBuf>, pace: Pace) -> Self {
        let ledger = keys.map_or_else(|| Ledger::Memory(Mutex::default()), Ledger::Directory);
        if let Err(error) = ledger.sweep() {
            tracing::warn!(%error, "what a write of a key left half-way could not be removed");
        }
        let (events, _) = broadcast::channel(EVENT_QUEUE);
        let shared = Arc::new(Shared {
            plane,
            ledger,
            own: RwLock::default(),
            events,
            pace,
        });
        let runtime = Handle::try_current().ok();
        let forgetting = runtime.as_ref().map(|runtime| {
            let forgetting = forget_removed(Arc::clone(&shared));
            AbortOnDropHandle::new(runtime.spawn(forgetting))
        });
        Self {
            inner: Arc::new(Inner {
                shared,
                runtime,
                tunnels: Mutex::default(),
                _forgetting: forgetting,
            }),
        }
    }

    fn tasks(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Task>> {
        let tunnels = self.inner.tunnels.lock();
        tunnels.unwrap_or_else(PoisonError::into_inner)
    }

    /// The way to a tunnel, whose task is started if it is not there.
    fn tunnel(&self, slice: &str) -> mpsc::Sender<Command> {
        let mut tasks = self.tasks();
        if let Some(task) = tasks.get(slice).filter(|task| !task.commands.is_closed()) {
            return task.commands.clone();
        }
        let (commands, queue) = mpsc::channel(QUEUE);
        let tunnel = Tunnel::new(Arc::clone(&self.inner.shared), slice);
        let task = Task {
            commands: commands.clone(),
            _task: self.spawn(tunnel.run(queue)),
        };
        tasks.insert(slice.to_owned(), task);
        commands
    }

    /// Starts what touches the machine, where its threads are in the node's network namespace.
    fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> AbortOnDropHandle<T> {
        AbortOnDropHandle::new(match &self.inner.runtime {
            Some(runtime) => runtime.spawn(work),
            None => tokio::spawn(work),
        })
    }

    /// Asks the task of a tunnel.
    async fn ask<T>(
        &self,
        slice: &str,
        command: impl FnOnce(Reply<T>) -> Command,
    ) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        let gone = || Refusal::new(path(slice), STOPPING);
        let sent = self.tunnel(slice).send(command(reply)).await;
        sent.map_err(|_| gone())?;
        let answer = answer.await.map_err(|_| gone())?;
        answer.map_err(|error| refusal(slice, error))
    }

    /// Asks the task of a tunnel that has to be there.
    async fn ask_present<T>(
        &self,
        slice: &str,
        command: impl FnOnce(Reply<T>) -> Command,
    ) -> Result<T, Refusal> {
        if !self.tasks().contains_key(slice) {
            let message = format!("there is no tunnel of slice {slice}");
            return Err(Refusal::new(path(slice), message).because(Why::BadValue));
        }
        self.ask(slice, command).await
    }

    async fn bring(&self, config: &TunnelConfig) -> Result<(), Refusal> {
        let config = Box::new(config.clone());
        let slice = config.slice.clone();
        self.ask(&slice, |reply| Command::Bring(config, reply))
            .await
    }

    async fn remove(&self, slice: &str) -> Result<(), Refusal> {
        self.ask(slice, Command::Remove).await?;
        // Dropped outside of the lock.
        let task = self.tasks().remove(slice);
        drop(task);
        Ok(())
    }

    async fn repair(&self, wanted: NodeConfig) -> Result<Reconciled, Refusal> {
        let mut repaired = Vec::new();
        let mut first = self.expect(&wanted).await;
        for slice in self.leftovers(&wanted).await? {
            match self.remove(&slice).await {
                Ok(()) => repaired.push(step(&slice, "remove a tunnel that is not configured")),
                Err(refusal) if first.is_ok() => first = Err(refusal),
                Err(_) => {}
            }
        }
        let tunnels = wanted
            .backhaul
            .tunnels
            .into_iter()
            .map(|tunnel| async move {
                let slice = tunnel.slice.clone();
                let config = Box::new(tunnel);
                let done = self.ask(&slice, |reply| Command::Reconcile(config, reply));
                (slice.clone(), done.await)
            });
        let mut tunnels = futures_util::stream::iter(tunnels).buffered(AT_ONCE);
        while let Some((slice, done)) = tunnels.next().await {
            match done {
                Ok(actions) => repaired.extend(actions.iter().map(|action| step(&slice, action))),
                Err(refusal) if first.is_ok() => first = Err(refusal),
                Err(refusal) => tracing::error!(%refusal, "a tunnel is not in force"),
            }
        }
        first.map(|()| Reconciled { repaired })
    }

    /// Says what will be attached to the node.
    async fn expect(&self, wanted: &NodeConfig) -> Result<(), Refusal> {
        let tunnels = wanted.backhaul.tunnels.iter();
        let attached = tunnels
            .filter(|tunnel| tunnel.enabled)
            .filter_map(|tunnel| Some((tunnel.slice.clone(), wanted::outer(&tunnel.attachment)?)));
        let attached = attached.collect();
        let plane = Arc::clone(&self.inner.shared.plane);
        let told = async move { plane.expect(attached).await };
        let told = self
            .spawn(told)
            .await
            .map_err(|_| Refusal::new(TOP, STOPPING))?;
        told.map_err(|error| Refusal::new(TOP, error.message))
    }

    /// Slices with a network, a key or a task, but without a configuration.
    async fn leftovers(&self, wanted: &NodeConfig) -> Result<BTreeSet<String>, Refusal> {
        let shared = Arc::clone(&self.inner.shared);
        let networks = shared.plane.slices().await;
        let networks = networks.map_err(|error| Refusal::new(TOP, error.message))?;
        let kept = tokio::task::spawn_blocking(move || shared.ledger.slices()).await;
        let kept = kept.map_err(|_| Refusal::new(TOP, STOPPING))?;
        let kept =
            kept.map_err(|error| Refusal::new(TOP, format!("the keys cannot be listed: {error}")))?;
        let tasks: Vec<String> = self.tasks().keys().cloned().collect();
        let all = networks.into_iter().chain(kept).chain(tasks);
        Ok(all
            .filter(|slice| wanted.backhaul.tunnel(slice).is_none())
            .collect())
    }

    /// What the machine cannot do.
    fn check_machine(&self, tunnel: &TunnelConfig) -> Result<(), Refusal> {
        let plane = &self.inner.shared.plane;
        let backend = plane.backend(tunnel.backend).map_err(|message| {
            Refusal::new(format!("{}/backend", path(&tunnel.slice)), message)
                .because(Why::Unsupported)
        })?;
        let largest = plane.largest_mtu(backend);
        if tunnel.mtu > largest {
            let message = format!("this backend carries packets of at most {largest} octets");
            let at = format!("{}/mtu", path(&tunnel.slice));
            return Err(Refusal::new(at, message).because(Why::Unsupported));
        }
        Ok(())
    }
}

/// Forgets keys of removed tunnels when their time is over, also those that an earlier agent left.
async fn forget_removed(shared: Arc<Shared>) {
    let mut pace = tokio::time::interval(shared.pace.kept / 60);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        pace.tick().await;
        let shared = Arc::clone(&shared);
        let done = tokio::task::spawn_blocking(move || shared.ledger.forget(shared.pace.kept));
        if let Ok(Err(error)) = done.await {
            tracing::warn!(%error, "the keys of tunnels that were removed could not be forgotten: it is tried again");
        }
    }
}

fn refusal(slice: &str, error: PlaneError) -> Refusal {
    Refusal::new(path(slice), error.message).because(error.why)
}

fn step(slice: &str, action: &str) -> Step {
    Step {
        path: path(slice),
        action: action.to_owned(),
        cost: Cost::Hot,
    }
}

/// The steps from one configuration to another.
fn steps(old: &NodeConfig, new: &NodeConfig) -> Vec<Step> {
    let (old, new) = (&old.backhaul, &new.backhaul);
    let mut steps = Vec::new();
    for tunnel in old
        .tunnels
        .iter()
        .filter(|one| new.tunnel(&one.slice).is_none())
    {
        steps.push(step(
            &tunnel.slice,
            &format!("remove the tunnel of slice {}", tunnel.slice),
        ));
    }
    for tunnel in &new.tunnels {
        let Some(before) = old.tunnel(&tunnel.slice) else {
            steps.push(step(
                &tunnel.slice,
                &format!("make the tunnel of slice {}", tunnel.slice),
            ));
            continue;
        };
        steps.extend(changes(before, tunnel));
    }
    steps
}

fn changes(before: &TunnelConfig, after: &TunnelConfig) -> Vec<Step> {
    let slice = &after.slice;
    let of_peer = |peer: &str, action: &str| Step {
        path: check::peer_path(slice, peer),
        action: format!("{action} peer {peer} of slice {slice}"),
        cost: Cost::Hot,
    };
    let earlier: HashMap<&str, _> = before
        .peers
        .iter()
        .map(|one| (one.name.as_str(), one))
        .collect();
    let mut steps = Vec::new();
    for peer in before
        .peers
        .iter()
        .filter(|one| after.peer(&one.name).is_none())
    {
        steps.push(of_peer(&peer.name, "remove"));
    }
    for peer in &after.peers {
        match earlier.get(peer.name.as_str()) {
            None => steps.push(of_peer(&peer.name, "add")),
            Some(before) if *before != peer => steps.push(of_peer(&peer.name, "change")),
            Some(_) => {}
        }
    }
    let rest = TunnelConfig {
        peers: after.peers.clone(),
        ..before.clone()
    };
    if rest != *after {
        steps.push(step(slice, &format!("change the tunnel of slice {slice}")));
    }
    steps
}

impl Backend for Backhaul {
    fn domain(&self) -> &'static str {
        DOMAIN
    }

    fn plan(&self, old: &NodeConfig, new: &NodeConfig) -> Result<Plan, Refusal> {
        {
            let own = self.inner.shared.own.read();
            let own = own.unwrap_or_else(PoisonError::into_inner);
            check(&new.backhaul, &old.backhaul, &new.wifi, &own)?;
        }
        for tunnel in &new.backhaul.tunnels {
            if old.backhaul.tunnel(&tunnel.slice) != Some(tunnel) {
                self.check_machine(tunnel)?;
            }
        }
        Ok(Plan::new(DOMAIN, steps(old, new), old, new))
    }

    fn apply(&mut self, plan: Plan) -> BoxFuture<'_, Result<Applied, Refusal>> {
        Box::pin(async move { Ok(Applied::new(DOMAIN, self.carry_out(&plan).await?)) })
    }

    fn undo(&mut self, applied: Applied) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(async move { self.take_back(applied.into_memory(DOMAIN)?).await })
    }

    fn reconcile(&mut self, wanted: &NodeConfig) -> BoxFuture<'_, Result<Reconciled, Refusal>> {
        let wanted = wanted.clone();
        Box::pin(async move { self.repair(wanted).await })
    }
}

impl BackhaulBackend for Backhaul {
    fn tunnels(&self) -> BoxFuture<'_, Result<Vec<TunnelState>, Refusal>> {
        Box::pin(async move {
            let slices: Vec<String> = self.tasks().keys().cloned().collect();
            let states = slices
                .into_iter()
                .map(|slice| async move { self.ask(&slice, Command::Observe).await });
            let mut states = futures_util::stream::iter(states).buffered(AT_ONCE);
            let mut found = Vec::new();
            while let Some(state) = states.next().await {
                found.extend(state?);
            }
            Ok(found)
        })
    }

    fn rotate_key<'a>(
        &'a self,
        slice: &'a str,
        listen_port: Option<u16>,
    ) -> BoxFuture<'a, Result<OwnKeyState, Refusal>> {
        Box::pin(self.ask_present(slice, move |reply| Command::Rotate(listen_port, reply)))
    }

    fn complete_rotation<'a>(
        &'a self,
        slice: &'a str,
    ) -> BoxFuture<'a, Result<OwnKeyState, Refusal>> {
        Box::pin(self.ask_present(slice, Command::CompleteRotation))
    }

    fn cancel_rotation<'a>(&'a self, slice: &'a str) -> BoxFuture<'a, Result<(), Refusal>> {
        Box::pin(self.ask_present(slice, Command::CancelRotation))
    }

    fn switch_over<'a>(
        &'a self,
        slice: &'a str,
        peer: &'a str,
    ) -> BoxFuture<'a, Result<Option<String>, Refusal>> {
        let peer = peer.to_owned();
        Box::pin(self.ask_present(slice, move |reply| Command::SwitchOver(peer, reply)))
    }

    fn probe_now<'a>(
        &'a self,
        slice: &'a str,
        request: ProbeRequest,
    ) -> BoxFuture<'a, Result<Vec<ProbeResult>, Refusal>> {
        Box::pin(self.ask_present(slice, move |reply| Command::Probe(request, reply)))
    }

    fn events(&self) -> broadcast::Receiver<Event> {
        self.inner.shared.events.subscribe()
    }
}
