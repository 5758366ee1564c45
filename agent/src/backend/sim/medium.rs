//! The medium that all simulated nodes of a process share. Under construction: it keeps time, and nothing moves on it yet.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::MediumParams;

/// One medium: radios, stations and the frames between them, in simulated time.
#[derive(Debug)]
pub struct Medium {
    world: Mutex<World>,
}

#[derive(Debug)]
struct World {
    now: Duration,
    sequence: BTreeMap<String, u64>,
}

impl Medium {
    /// A medium with nothing on it, at time 0.
    #[must_use]
    pub fn new(_params: MediumParams) -> Arc<Self> {
        Arc::new(Self {
            world: Mutex::new(World {
                now: Duration::ZERO,
                sequence: BTreeMap::new(),
            }),
        })
    }

    /// Simulated time since the start.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.world().now
    }

    /// Lets simulated time pass.
    pub fn advance(&self, by: Duration) {
        self.world().now += by;
    }

    /// Lets simulated time pass with the time of the wall, until `stop` is cancelled.
    pub async fn drive(self: Arc<Self>, stop: CancellationToken) {
        let mut tick = tokio::time::interval(Duration::from_millis(10));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let start = tokio::time::Instant::now();
        let offset = self.now();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            let due = offset + start.elapsed();
            self.advance(due.saturating_sub(self.now()));
        }
    }

    pub(crate) fn next_sequence(&self, node: &str) -> u64 {
        let mut world = self.world();
        let sequence = world.sequence.entry(node.to_owned()).or_default();
        *sequence += 1;
        *sequence
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
