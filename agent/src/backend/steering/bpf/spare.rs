//! The program that the first rules find loaded.
//!
//! The kernel takes a good part of a second to verify it. That is done when the rest of what an agent starts with is in force, and
//! after all else that the machine has to do, until somebody waits for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustix::process::{Pid, setpriority_process};
use rustix::thread::gettid;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::kernel::Kernel;

/// Of the thread that loads, by setpriority(2).
const LAST: i32 = 19;
const ORDINARY: i32 = 0;

/// A program on its way to the kernel.
pub(super) struct Spare {
    loading: Mutex<Option<oneshot::Receiver<Result<Kernel, String>>>>,
    thread: Arc<Thread>,
    fault: Arc<OnceLock<String>>,
}

/// The thread that loads.
#[derive(Default)]
struct Thread {
    number: OnceLock<Pid>,
    is_awaited: AtomicBool,
}

impl Spare {
    /// Begins to load.
    pub(super) fn start() -> Self {
        Self::of(Kernel::load)
    }

    pub(super) fn of(load: impl FnOnce() -> Result<Kernel, String> + Send + 'static) -> Self {
        let (thread, fault) = (Arc::<Thread>::default(), Arc::<OnceLock<String>>::default());
        let (done, loading) = oneshot::channel();
        let (at, told) = (Arc::clone(&thread), Arc::clone(&fault));
        // A thread of its own, as nobody else is to get its priority. It ends when the kernel has decided.
        std::thread::spawn(move || {
            give(*at.number.get_or_init(gettid), LAST);
            at.hurry();
            let loaded = load().inspect_err(|reason| {
                tracing::warn!("packets cannot be steered: {reason}");
                told.get_or_init(|| reason.clone());
            });
            // The agent may be stopping.
            drop(done.send(loaded));
        });
        Self {
            loading: Mutex::new(Some(loading)),
            thread,
            fault,
        }
    }

    /// Why the kernel did not take it, once that is known: what cannot be loaded now cannot be loaded when it is configured.
    pub(super) fn fault(&self) -> Option<String> {
        self.fault.get().cloned()
    }

    /// The program, which is waited for; none where somebody took it before. Where the kernel refused it once, it is not asked again.
    pub(super) async fn take(&self) -> Result<Option<Kernel>, String> {
        if let Some(fault) = self.fault() {
            return Err(fault);
        }
        let loading = {
            let mut loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
            loading.take()
        };
        let Some(mut loading) = loading else {
            return Ok(None);
        };
        let loaded = match loading.try_recv() {
            Err(TryRecvError::Empty) => {
                self.thread.is_awaited.store(true, Ordering::SeqCst);
                // At worst it has just ended.
                self.thread.hurry();
                loading.await.ok()
            }
            done => done.ok(),
        };
        let loaded = loaded.unwrap_or_else(|| Err("the agent is stopping".to_owned()));
        loaded.map(Some)
    }
}

impl Thread {
    /// Gives it the ordinary priority if somebody waits for it.
    fn hurry(&self) {
        if let (true, Some(number)) = (self.is_awaited.load(Ordering::SeqCst), self.number.get()) {
            give(*number, ORDINARY);
        }
    }
}

/// Gives a thread a priority; where that may not be, it has the other one.
fn give(thread: Pid, priority: i32) {
    if let Err(error) = setpriority_process(Some(thread), priority) {
        tracing::debug!(%error, priority, "the thread that loads keeps its priority");
    }
}

#[cfg(test)]
mod tests {
    use super::super::plane::BpfPlane;
    use super::*;
    use crate::backend::steering::{PortConfig, Steering};
    use crate::backend::{Backend as _, NodeConfig, Why};

    fn refused() -> Spare {
        Spare::of(|| Err("it loops".to_owned()))
    }

    async fn until_it_is_known(spare: &Spare) {
        while spare.fault().is_none() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_program_that_the_kernel_refuses_is_nobodys() {
        let spare = refused();
        assert_eq!(spare.take().await.unwrap_err(), "it loops");
        assert_eq!(spare.fault().as_deref(), Some("it loops"));
        assert_eq!(spare.take().await.unwrap_err(), "it loops");
    }

    #[tokio::test]
    async fn where_the_kernel_refuses_the_program_nothing_can_be_configured() {
        let spare = refused();
        until_it_is_known(&spare).await;
        let dir = tempfile::tempdir().unwrap();
        let plane = BpfPlane::with(dir.path(), OnceLock::from(spare)).unwrap();
        let steering = Steering::new(Arc::new(plane));
        let old = NodeConfig::default();
        assert!(steering.plan(&old, &old).is_ok());
        let mut new = old.clone();
        new.steering.ports.push(PortConfig {
            name: "ran0".to_owned(),
            owner: None,
            gtp_addresses: Vec::new(),
        });
        let refusal = steering.plan(&old, &new).unwrap_err();
        assert_eq!(refusal.why, Why::Unsupported);
        assert_eq!(refusal.path, "/tranche-steering:steering");
        assert_eq!(refusal.message, "it loops");
    }
}
