//! Rotations that wait for ends whose keys are elsewhere: for whom, until when, and who gives one up.
//!
//! Nobody knows when such an end brings up its second interface. The nodes are not held meanwhile: whoever looks at them sees that
//! a rotation is under way, and leaves the tunnels of that slice alone.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Rotation, RotationError};
use crate::network::Network;

/// Between two looks at the nodes.
const LOOK: Duration = Duration::from_millis(500);

/// For whom a rotation waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// Names of the ends.
    pub(crate) names: BTreeSet<String>,
    /// When it is given up.
    pub(crate) until: SystemTime,
}

/// All rotations that wait.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    of_slices: Mutex<HashMap<String, Entry>>,
    /// The controller ends.
    stopping: CancellationToken,
}

#[derive(Debug)]
struct Entry {
    waiting: Waiting,
    given_up: CancellationToken,
    over: CancellationToken,
}

impl Waits {
    /// For whom the rotation of a slice waits, if it does.
    pub(crate) fn of(&self, slice: &str) -> Option<Waiting> {
        self.lock().get(slice).map(|entry| entry.waiting.clone())
    }

    /// Begins to wait; until the answer is dropped.
    pub(super) fn begin(&self, slice: &str, names: BTreeSet<String>, wait: Duration) -> Wait<'_> {
        let given_up = CancellationToken::new();
        let until = SystemTime::now() + wait;
        let entry = Entry {
            waiting: Waiting { names, until },
            given_up: given_up.clone(),
            over: CancellationToken::new(),
        };
        self.lock().insert(slice.to_owned(), entry);
        Wait {
            waits: self,
            slice: slice.to_owned(),
            given_up,
        }
    }

    /// Gives up the rotation of a slice and waits until everything is as before; whether there was one that waited.
    ///
    /// # Errors
    /// The controller ends, and the rotation stays where it is.
    pub(crate) async fn give_up(&self, slice: &str) -> Result<bool, RotationError> {
        let over = self.lock().get(slice).map(|entry| {
            entry.given_up.cancel();
            entry.over.clone()
        });
        let Some(over) = over else {
            return Ok(false);
        };
        over.cancelled().await;
        match self.stopping.is_cancelled() {
            true => Err(RotationError::Stopping),
            false => Ok(true),
        }
    }

    /// Nobody waits any more. Rotations stay where they are: what becomes of them is for the controller that comes next.
    pub(crate) fn stop(&self) {
        self.stopping.cancel();
    }

    /// Cancelled when the controller ends.
    pub(crate) fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.of_slices
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A rotation that waits.
pub(super) struct Wait<'a> {
    waits: &'a Waits,
    slice: String,
    given_up: CancellationToken,
}

/// What ended a pause of one that waits.
pub(super) enum Pause {
    /// Its time.
    Over,
    /// Somebody gave the rotation up.
    GivenUp,
    /// The controller ends.
    Stopping,
}

impl Wait<'_> {
    /// Says who is still waited for.
    pub(super) fn note(&self, names: BTreeSet<String>) {
        if let Some(entry) = self.waits.lock().get_mut(&self.slice) {
            entry.waiting.names = names;
        }
    }

    /// Ends the wait of a rotation that is carried on: from now on there is nothing to give up.
    ///
    /// # Errors
    /// Somebody has given it up, and hears of it when this is let go.
    pub(super) fn end(self) -> Result<(), Self> {
        let mut slices = self.waits.lock();
        if self.given_up.is_cancelled() {
            drop(slices);
            return Err(self);
        }
        slices.remove(&self.slice);
        Ok(())
    }

    pub(super) async fn pause(&self, time: Duration) -> Pause {
        tokio::select! {
            () = self.waits.stopping.cancelled() => Pause::Stopping,
            () = self.given_up.cancelled() => Pause::GivenUp,
            () = tokio::time::sleep(time) => Pause::Over,
        }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if let Some(entry) = self.waits.lock().remove(&self.slice) {
            entry.over.cancel();
        }
    }
}

impl Network {
    /// Waits until every end was heard on the next keys of all that it is a peer of.
    pub(super) async fn until_nobody_is_absent(
        &self,
        rotation: &mut Rotation,
        waiting: &Wait<'_>,
        wait: Duration,
    ) -> Result<(), RotationError> {
        let deadline = Instant::now() + wait;
        loop {
            self.look_again(rotation).await?;
            let absent = rotation.absent();
            if absent.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let names: Vec<String> = absent.into_iter().collect();
                let names = names.join(", ");
                return Err(RotationError::Late { names, wait });
            }
            waiting.note(absent);
            let left = deadline.saturating_duration_since(Instant::now());
            match waiting.pause(LOOK.min(left)).await {
                Pause::Over => {}
                Pause::GivenUp => return Err(RotationError::GivenUp),
                Pause::Stopping => return Err(RotationError::Stopping),
            }
        }
    }

    /// Reads the nodes of a rotation that were let go, of which nothing else may be wanted than before.
    pub(super) async fn look_again(&self, rotation: &mut Rotation) -> Result<(), RotationError> {
        rotation.look().await?;
        let changed = rotation.parts.iter().find(|part| {
            let plan = self.wanted(&part.node);
            let wanted = plan
                .as_ref()
                .and_then(|plan| plan.tunnels.get(&rotation.slice));
            wanted != Some(&part.wanted) || part.has.state.next.is_none()
        });
        match changed {
            Some(part) => Err(part.failed("its tunnel of the slice was changed meanwhile")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(waits: &Waits) -> Wait<'_> {
        let names = BTreeSet::from(["lab".to_owned()]);
        waits.begin("a", names, Duration::from_secs(9))
    }

    #[tokio::test]
    async fn whoever_gives_up_is_answered_when_it_is_over_and_only_while_it_waits() {
        let waits = Waits::default();
        let waiting = begin(&waits);
        assert!(waits.of("a").is_some());
        let giving_up = async { waits.give_up("a").await };
        let taking_back = async {
            // Everybody was heard, and then somebody gave it up: it is not carried on.
            waiting.given_up.cancelled().await;
            let waiting = waiting.end().expect_err("it was given up");
            assert!(waits.of("a").is_some());
            drop(waiting);
        };
        let (given_up, ()) = tokio::join!(giving_up, taking_back);
        assert_eq!(given_up, Ok(true));
        assert_eq!(waits.give_up("a").await, Ok(false));

        let waiting = begin(&waits);
        assert!(waiting.end().is_ok());
        assert!(waits.of("a").is_none(), "nobody is waited for");
        assert_eq!(waits.give_up("a").await, Ok(false), "it is carried on");

        let waiting = begin(&waits);
        waits.stop();
        let (given_up, ()) = tokio::join!(waits.give_up("a"), async { drop(waiting) });
        assert_eq!(given_up, Err(RotationError::Stopping));
    }
}
