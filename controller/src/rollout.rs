//! A change of several nodes as one transaction: all of them or none.
//!
//! ```text
//! connect -> lock candidate, running -> edit candidate -> validate -> commit (confirmed) -> confirm -> unlock, close
//!    '---------------'------ a refusal -------'-------------'              |                    |
//!          discard, unlock, close on all nodes                cancel on all nodes     this node is `unconfirmed`
//! ```
//! All nodes go through a phase at the same time, and none enters the next one before all have left it. Each rollout has its own
//! sessions: whatever happens, closing them frees the locks, and dropping the future closes them. A confirmed commit
//! that is not confirmed undoes itself at the node, so confirmed-commit approximates atomicity: a node that is lost between
//! commit and confirm is named as such, and is for `reconcile` when it returns.
//!
//! Owns the order of operations and their time limits. What to put on a node is the caller's.

mod report;
mod session;
mod staged;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use rand::RngExt as _;
use tranche_netconf::xml::Fragment;

use crate::device::Device;
use crate::intent::NodePlan;
use crate::inventory::{NodeName, Observed};

pub use report::{NodeFailure, Phase, RolloutDone, RolloutFailed};
use session::Session;
pub(crate) use staged::{Heard, StagedNode, action, rollout_in_stages};

/// Times and limits of a rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloutSettings {
    /// Until one operation at a node is answered; connecting has its own limit in the node's settings.
    pub rpc_timeout: Duration,
    /// Until a commit is answered.
    pub commit_timeout: Duration,
    /// What a node is told to wait for the confirmation before it undoes the commit, in whole seconds. Longer than a
    /// commit and its confirmation may take.
    pub confirm_timeout: Duration,
    /// Nodes that are busy in one phase at once.
    pub fan_out: usize,
}

impl Default for RolloutSettings {
    fn default() -> Self {
        Self {
            rpc_timeout: Duration::from_secs(30),
            commit_timeout: Duration::from_secs(60),
            confirm_timeout: Duration::from_secs(120),
            fan_out: 256,
        }
    }
}

impl RolloutSettings {
    /// Longer than any answer may take: which one took too long is told by who waited for it.
    fn longest(&self) -> Duration {
        self.rpc_timeout.max(self.commit_timeout) + Duration::from_secs(1)
    }
}

/// One node's part of a change.
#[derive(Clone)]
pub struct Target {
    device: Device,
    plan: Arc<NodePlan>,
    /// `None`: nothing to change at first.
    edit: Option<Fragment>,
}

impl fmt::Debug for Target {
    /// Without the edit: there are secrets in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("node", self.node())
            .field("plan", &self.plan)
            .finish_non_exhaustive()
    }
}

impl Target {
    /// What brings a node from what it was last seen to have to what it should have; `before` is what was last put there.
    /// `None`: nothing has to change.
    #[must_use]
    pub fn new(
        device: Device,
        before: Option<&NodePlan>,
        plan: Arc<NodePlan>,
        has: &Observed,
    ) -> Option<Self> {
        let edit = Some(plan.edit(before, has)?);
        Some(Self { device, plan, edit })
    }

    /// The same with an edit of the caller's.
    pub(crate) fn with_edit(device: Device, plan: Arc<NodePlan>, edit: Option<Fragment>) -> Self {
        Self { device, plan, edit }
    }

    /// The node.
    #[must_use]
    pub fn node(&self) -> &NodeName {
        self.device.node()
    }
}

/// Puts a change on all nodes or on none. `keep` runs when all have committed and before any is told to confirm: it makes the
/// change last here. If it fails, all nodes undo it.
///
/// # Errors
/// When a node is away, refuses or does not answer in time before all have committed, or `keep` fails: what was done is
/// undone everywhere, and the error names every node that failed and what it said.
pub async fn rollout(
    settings: &RolloutSettings,
    targets: Vec<Target>,
    keep: impl Future<Output = Result<(), String>>,
) -> Result<RolloutDone, RolloutFailed> {
    let mut run = Run::prepare(settings, targets).await?;
    if let Err(failures) = run.phase(Phase::Commit).await {
        return Err(run.give_up(failures).await);
    }
    run.finish(keep).await
}

struct Run<'a> {
    settings: &'a RolloutSettings,
    sessions: Vec<Session>,
}

impl<'a> Run<'a> {
    /// What all nodes have committed is kept and confirmed.
    async fn finish(
        mut self,
        keep: impl Future<Output = Result<(), String>>,
    ) -> Result<RolloutDone, RolloutFailed> {
        if let Err(why) = keep.await {
            return Err(self
                .cancel(RolloutFailed {
                    not_kept: Some(why),
                    ..RolloutFailed::default()
                })
                .await);
        }
        let unconfirmed = self.confirm().await;
        let nodes = self.nodes();
        self.close().await;
        let confirmed = nodes
            .into_iter()
            .filter(|node| unconfirmed.iter().all(|failure| failure.node != *node))
            .collect();
        Ok(RolloutDone {
            confirmed,
            unconfirmed,
        })
    }

    /// Undoes everything.
    async fn give_up(self, failures: Vec<NodeFailure>) -> RolloutFailed {
        self.cancel(RolloutFailed {
            failures,
            ..RolloutFailed::default()
        })
        .await
    }

    /// Up to and including validation.
    async fn prepare(
        settings: &'a RolloutSettings,
        targets: Vec<Target>,
    ) -> Result<Self, RolloutFailed> {
        let token = token();
        let mut opening = Vec::with_capacity(targets.len());
        for target in targets {
            opening.push(Session::open(target, &token, settings));
        }
        let opened = gather(opening, settings.fan_out).await;
        let mut run = Self {
            settings,
            sessions: Vec::new(),
        };
        let mut failures = Vec::new();
        for opened in opened {
            match opened {
                Ok(session) => run.sessions.push(session),
                Err(failure) => failures.push(failure),
            }
        }
        let mut outcome = if failures.is_empty() {
            Ok(())
        } else {
            Err(failures)
        };
        if outcome.is_ok() {
            outcome = run.phase(Phase::Lock).await;
        }
        if outcome.is_ok() {
            outcome = run.phase(Phase::Edit).await;
        }
        if outcome.is_ok() {
            outcome = run.phase(Phase::Validate).await;
        }
        match outcome {
            Ok(()) => Ok(run),
            Err(failures) => {
                let not_undone = run.release().await;
                Err(RolloutFailed {
                    failures,
                    not_undone,
                    not_kept: None,
                })
            }
        }
    }

    /// One phase on all nodes at the same time; waits for all of them even if one fails.
    async fn phase(&mut self, phase: Phase) -> Result<(), Vec<NodeFailure>> {
        let mut steps = Vec::with_capacity(self.sessions.len());
        for session in &mut self.sessions {
            steps.push(session.step(phase));
        }
        let steps = gather(steps, self.settings.fan_out).await;
        let failures: Vec<_> = steps.into_iter().filter_map(Result::err).collect();
        if failures.is_empty() {
            Ok(())
        } else {
            Err(failures)
        }
    }

    /// Confirms on all nodes, again and over a new session where the first try fails, as long as the node waits for it.
    async fn confirm(&mut self) -> Vec<NodeFailure> {
        self.phase(Phase::Confirm).await.err().unwrap_or_default()
    }

    /// Undoes a commit on all nodes that may have it.
    async fn cancel(mut self, mut failed: RolloutFailed) -> RolloutFailed {
        let cancelled = self.phase(Phase::Cancel).await;
        failed
            .not_undone
            .extend(cancelled.err().unwrap_or_default());
        failed.not_undone.extend(self.release().await);
        failed
    }

    /// Undoes an edit that was not committed, and closes.
    async fn release(mut self) -> Vec<NodeFailure> {
        let failures = self.phase(Phase::Discard).await.err().unwrap_or_default();
        self.close().await;
        failures
    }

    /// Frees the locks and closes. What can't be unlocked is freed by the end of the session.
    async fn close(self) {
        let closing: Vec<_> = self.sessions.into_iter().map(Session::close).collect();
        gather(closing, self.settings.fan_out).await;
    }

    fn nodes(&self) -> Vec<NodeName> {
        self.sessions
            .iter()
            .map(|session| session.node().clone())
            .collect()
    }
}

/// Runs all, so many at once; the results in the order of the nodes.
async fn gather<F: Future>(futures: Vec<F>, at_once: usize) -> Vec<F::Output> {
    futures_util::stream::iter(futures)
        .buffered(at_once.max(1))
        .collect()
        .await
}

/// Names a confirmed commit, so that another session can confirm or cancel it.
fn token() -> String {
    format!("tranche-{:032x}", rand::rng().random::<u128>())
}

#[cfg(test)]
pub(crate) mod tests;
