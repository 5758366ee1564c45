//! Drift: what a node has against what it should have, and its repair.
//!
//! Each time a node was read (when it returns, at intervals, after a change), or what it should have changed without its being
//! put there, its vifs of ours are compared with what they should be. A difference is noted for the operator and repaired by a rollout for that node alone; a repair that fails is tried
//! again after growing, jittered pauses. What is not ours is never touched.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::RngExt as _;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::device::{DeviceEvent, DeviceState, pause};
use crate::inventory::NodeName;
use crate::network::Network;

/// How repairs are paced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReconcileSettings {
    /// Pause after the first repair that failed; it doubles up to `max_pause`. Both are jittered.
    pub min_pause: Duration,
    /// Longest pause.
    pub max_pause: Duration,
}

impl Default for ReconcileSettings {
    fn default() -> Self {
        Self {
            min_pause: Duration::from_secs(5),
            max_pause: Duration::from_secs(600),
        }
    }
}

/// Compares and repairs until it is shut down.
#[derive(Debug)]
pub struct Reconciler {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Reconciler {
    /// Starts to watch a network.
    #[must_use]
    pub fn start(network: Arc<Network>, settings: ReconcileSettings) -> Self {
        let watcher = Watcher {
            network,
            settings,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            repairs: Mutex::default(),
        };
        let (tasks, stop) = (watcher.tasks.clone(), watcher.stop.clone());
        tasks.spawn(Arc::new(watcher).watch());
        Self { stop, tasks }
    }

    /// Stops; waits for the repairs under way to be done or given up.
    pub async fn shutdown(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Reconciler {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A node that did not take its repair.
#[derive(Debug, Clone, Copy)]
struct Failing {
    times: u32,
    not_before: Instant,
}

#[derive(Debug, Default)]
struct Repairs {
    under_way: HashSet<NodeName>,
    failing: HashMap<NodeName, Failing>,
}

struct Watcher {
    network: Arc<Network>,
    settings: ReconcileSettings,
    tasks: TaskTracker,
    stop: CancellationToken,
    repairs: Mutex<Repairs>,
}

impl Watcher {
    async fn watch(self: Arc<Self>) {
        let mut nodes = self.network.fleet().events();
        let mut agreement = self.network.events();
        self.look_at_all();
        loop {
            let changed = tokio::select! {
                () = self.stop.cancelled() => return,
                event = nodes.recv() => {
                    if let Ok(DeviceEvent::Tunnel { .. }) = &event {
                        // It is read because of it.
                        continue;
                    }
                    if let Ok(DeviceEvent::State { node }) = &event {
                        // Whatever it failed at, it may have been mended meanwhile.
                        self.repairs().failing.remove(node);
                        continue;
                    }
                    let node = event.map(|event| event.node().clone());
                    // Its keys may be others than its peers know.
                    for peer in node.iter().flat_map(|node| self.network.neighbours(node)) {
                        self.look_at(&peer);
                    }
                    node
                }
                node = agreement.recv() => node,
            };
            match changed {
                Ok(node) => self.look_at(&node),
                Err(RecvError::Lagged(_)) => self.look_at_all(),
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn look_at_all(self: &Arc<Self>) {
        for device in self.network.fleet().devices() {
            self.look_at(device.node());
        }
    }

    /// Compares, and repairs if it differs and nobody is at it.
    fn look_at(self: &Arc<Self>, node: &NodeName) {
        let Some(drift) = self.network.check(node) else {
            if self.network.fleet().device(node).is_none() {
                self.repairs().failing.remove(node);
            }
            return;
        };
        let mut repairs = self.repairs();
        if drift.is_empty() {
            repairs.failing.remove(node);
            return;
        }
        let failing = repairs.failing.get(node);
        // It is looked at again when the pause is over, and one that is away when it returns.
        if failing.is_some_and(|failing| failing.not_before > Instant::now())
            || !self.is_connected(node)
            || !repairs.under_way.insert(node.clone())
        {
            return;
        }
        drop(repairs);
        tracing::warn!(node, %drift, "the node does not have what it should have");
        let watcher = Arc::clone(self);
        let node = node.clone();
        self.tasks.spawn(async move {
            if !watcher.stop.is_cancelled() {
                watcher.repair(&node).await;
            }
        });
    }

    fn is_connected(&self, node: &str) -> bool {
        let device = self.network.fleet().device(node);
        device.is_some_and(|device| device.status().state == DeviceState::Connected)
    }

    async fn repair(self: &Arc<Self>, node: &NodeName) {
        // Not stopped half way: the rollout undoes or finishes what it began within its time limits.
        let outcome = self.network.repair(node).await;
        let mut repairs = self.repairs();
        repairs.under_way.remove(node);
        match outcome {
            Ok(drift) => {
                repairs.failing.remove(node);
                if !drift.is_empty() {
                    tracing::info!(node, %drift, "repaired");
                }
            }
            Err(error) => {
                let times = repairs.failing.get(node).map_or(0, |failing| failing.times) + 1;
                let Self { settings, .. } = &**self;
                let pause = pause(
                    settings.min_pause,
                    settings.max_pause,
                    times,
                    rand::rng().random(),
                );
                let not_before = Instant::now() + pause;
                repairs
                    .failing
                    .insert(node.clone(), Failing { times, not_before });
                drop(repairs);
                tracing::warn!(node, %error, ?pause, "the repair failed");
                self.network.repair_failed(node, &error);
                self.look_again(node.clone(), not_before);
            }
        }
    }

    /// Looks again when the pause is over, whether or not the node is read until then.
    fn look_again(self: &Arc<Self>, node: NodeName, when: Instant) {
        let watcher = Arc::clone(self);
        self.tasks.spawn(async move {
            tokio::select! {
                () = watcher.stop.cancelled() => {}
                () = tokio::time::sleep_until(when) => watcher.look_at(&node),
            }
        });
    }

    fn repairs(&self) -> MutexGuard<'_, Repairs> {
        self.repairs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
