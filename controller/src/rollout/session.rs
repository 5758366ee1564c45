//! One node in a rollout.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tranche_netconf::Error;
use tranche_netconf::client::Client;
use tranche_netconf::message::{
    Commit, ConfigSource, Datastore, DefaultOperation, EditConfig, ErrorOption, TestOption,
};
use tranche_netconf::xml::Fragment;

use crate::intent::NodePlan;
use crate::inventory::NodeName;

use super::{NodeFailure, Phase, RolloutSettings, Target};

/// Pause between two tries to confirm or cancel.
const RETRY: Duration = Duration::from_millis(500);
/// How long a node may take to say goodbye.
const FAREWELL: Duration = Duration::from_secs(2);

/// How far a node has come, so that no more is undone than was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Progress {
    Connected,
    /// An edit was sent, whatever was answered.
    Edited,
    /// A commit was sent and not refused.
    Committed,
    /// Nothing is left to undo.
    Settled,
}

/// What a node that has committed is asked for.
#[derive(Debug, Clone, Copy)]
enum Ask {
    Confirm,
    Cancel,
}

/// What came of asking a node until it answers.
enum Answer {
    /// It did what it was asked.
    Done,
    /// It refused at once.
    Refused(Error),
    /// It refused after an earlier try that it may have carried out without our hearing of it.
    RefusedLater(Error),
    /// It did not answer.
    None(Error),
}

/// One node in a rollout.
pub(super) struct Session {
    target: Target,
    client: Client,
    token: String,
    settings: RolloutSettings,
    locked: Vec<Datastore>,
    progress: Progress,
    /// What to put into the candidate next.
    edit: Option<Fragment>,
    /// The candidate has an edit that is not committed.
    dirty: bool,
    /// The node has answered that it committed.
    acknowledged: bool,
    /// When the node undoes its commit by itself.
    deadline: Option<Instant>,
}

impl Session {
    pub(super) async fn open(
        target: Target,
        token: &str,
        settings: &RolloutSettings,
    ) -> Result<Self, NodeFailure> {
        match target.device.open(settings.longest()).await {
            Ok(client) => Ok(Self {
                edit: target.edit.clone(),
                dirty: false,
                target,
                client,
                token: token.to_owned(),
                settings: settings.clone(),
                locked: Vec::new(),
                progress: Progress::Connected,
                acknowledged: false,
                deadline: None,
            }),
            Err(error) => Err(NodeFailure::new(
                target.device.node(),
                Phase::Connect,
                &error,
            )),
        }
    }

    pub(super) fn node(&self) -> &NodeName {
        self.target.device.node()
    }

    /// One phase of the rollout after [`Session::open`].
    pub(super) async fn step(&mut self, phase: Phase) -> Result<(), NodeFailure> {
        let done = match phase {
            Phase::Hold | Phase::Connect | Phase::Tunnels => Ok(()),
            Phase::Lock => self.lock().await,
            Phase::Edit => self.edit().await,
            Phase::Validate => self.validate().await,
            Phase::Commit => self.commit().await,
            Phase::Confirm => self.confirm().await,
            Phase::Cancel => self.cancel().await,
            Phase::Discard => self.discard().await,
        };
        done.map_err(|error| NodeFailure::new(self.node(), phase, &error))
    }

    /// Always in this order, so that two controllers do not wait for each other.
    async fn lock(&mut self) -> Result<(), Error> {
        for datastore in [Datastore::Candidate, Datastore::Running] {
            self.limited("the lock", self.client.lock(datastore))
                .await?;
            self.locked.push(datastore);
        }
        Ok(())
    }

    /// What the next round of edit, validation and commit puts on the node; nothing where it is `None`.
    pub(super) fn set_edit(&mut self, edit: Option<Fragment>) {
        self.edit = edit;
    }

    pub(super) fn set_plan(&mut self, plan: Arc<NodePlan>) {
        self.target.plan = plan;
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    async fn edit(&mut self) -> Result<(), Error> {
        let Some(config) = self.edit.clone() else {
            return Ok(());
        };
        self.progress = self.progress.max(Progress::Edited);
        self.dirty = true;
        let edit = EditConfig {
            target: Datastore::Candidate,
            default_operation: DefaultOperation::Merge,
            // Validation is a phase of its own, after all nodes took the edit.
            test_option: TestOption::Set,
            error_option: ErrorOption::StopOnError,
            config,
        };
        self.limited("the edit", self.client.edit_config(&edit))
            .await
    }

    async fn validate(&mut self) -> Result<(), Error> {
        if !self.dirty {
            return Ok(());
        }
        let candidate = ConfigSource::Datastore(Datastore::Candidate);
        self.limited("the validation", self.client.validate(candidate))
            .await
    }

    /// Commits what was edited. A commit that waits for its confirmation already is carried on, also without an edit: the node
    /// waits longer, and goes back to what was before all of them (RFC 6241 8.4.1).
    async fn commit(&mut self) -> Result<(), Error> {
        let carries_on = self.progress == Progress::Committed;
        if !self.dirty && !carries_on {
            return Ok(());
        }
        let token = Some(self.token.clone());
        let commit = Commit {
            confirmed: true,
            confirm_timeout: Some(self.settings.confirm_timeout),
            persist: token.clone().filter(|_| !carries_on),
            persist_id: token.filter(|_| carries_on),
        };
        self.deadline = Some(Instant::now() + self.settings.confirm_timeout);
        let limit = self.settings.commit_timeout;
        let done = within(limit, "the commit", self.client.commit(&commit)).await;
        // A node that did not answer may have committed all the same.
        if !matches!(done, Err(Error::Rpc(_))) {
            self.progress = Progress::Committed;
        }
        self.acknowledged |= done.is_ok();
        // What became of a commit without an answer is the cancellation's to find out.
        self.dirty &= matches!(done, Err(Error::Rpc(_)));
        done
    }

    async fn confirm(&mut self) -> Result<(), Error> {
        if self.progress != Progress::Committed {
            return Ok(());
        }
        match self.insist(Ask::Confirm).await {
            Answer::Done => Ok(()),
            // The confirmation was carried out and its answer lost, or the commit has undone itself: look.
            Answer::RefusedLater(error) => match self.target.device.read_over(&self.client).await {
                Ok(observed)
                    if self
                        .target
                        .plan
                        .drift(Some(&self.target.plan), &observed)
                        .is_empty() =>
                {
                    Ok(())
                }
                Ok(_) | Err(_) => Err(error),
            },
            Answer::Refused(error) | Answer::None(error) => Err(error),
        }
    }

    async fn cancel(&mut self) -> Result<(), Error> {
        if self.progress != Progress::Committed {
            return Ok(());
        }
        match self.insist(Ask::Cancel).await {
            Answer::Done => Ok(()),
            // There is nothing (any more) to cancel: it never committed, or an earlier try was carried out.
            Answer::Refused(_) if !self.acknowledged => Ok(()),
            Answer::RefusedLater(_) => Ok(()),
            Answer::Refused(error) | Answer::None(error) => Err(error),
        }
    }

    async fn discard(&mut self) -> Result<(), Error> {
        if !self.dirty || self.client.is_closed() {
            // The end of the session has discarded it (RFC 6241 8.3.5.2).
            return Ok(());
        }
        self.dirty = false;
        self.limited("the discard", self.client.discard_changes())
            .await
    }

    pub(super) async fn close(mut self) {
        while let Some(datastore) = self.locked.pop() {
            if self.client.is_closed() {
                return;
            }
            if let Err(error) = self
                .limited("the unlock", self.client.unlock(datastore))
                .await
            {
                tracing::warn!(node = self.node(), %error, "not unlocked; the end of the session does it");
            }
        }
        if let Ok(Err(error)) = timeout(FAREWELL, self.client.close_session()).await {
            tracing::debug!(node = self.node(), %error, "the session did not close in order");
        }
    }

    /// Asks until the node answers or has undone the commit by itself, over a new session where the old one broke.
    async fn insist(&mut self, ask: Ask) -> Answer {
        let deadline = self.deadline.unwrap_or_else(Instant::now);
        let mut tried = false;
        loop {
            let error = match self.ask(ask).await {
                Ok(()) => {
                    self.progress = Progress::Settled;
                    return Answer::Done;
                }
                Err(error @ Error::Rpc(_)) if tried => return Answer::RefusedLater(error),
                Err(error @ Error::Rpc(_)) => return Answer::Refused(error),
                Err(error) => error,
            };
            tried = true;
            if Instant::now() + RETRY >= deadline {
                return Answer::None(error);
            }
            tokio::time::sleep(RETRY).await;
            let left = deadline.saturating_duration_since(Instant::now());
            let open = self.target.device.open(self.settings.longest());
            if let Ok(Ok(client)) = timeout(left, open).await {
                // The locks went with the old session.
                self.client = client;
                self.locked.clear();
            }
        }
    }

    async fn ask(&self, ask: Ask) -> Result<(), Error> {
        let limit = self.settings.commit_timeout;
        match ask {
            Ask::Confirm => {
                let confirm = Commit {
                    persist_id: Some(self.token.clone()),
                    ..Commit::default()
                };
                within(limit, "the confirmation", self.client.commit(&confirm)).await
            }
            Ask::Cancel => {
                let cancelled = self.client.cancel_commit(Some(&self.token));
                within(limit, "the cancellation", cancelled).await
            }
        }
    }

    async fn limited(
        &self,
        what: &str,
        asked: impl Future<Output = Result<(), Error>>,
    ) -> Result<(), Error> {
        within(self.settings.rpc_timeout, what, asked).await
    }
}

async fn within(
    limit: Duration,
    what: &str,
    asked: impl Future<Output = Result<(), Error>>,
) -> Result<(), Error> {
    match timeout(limit, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(Error::Timeout {
            what: what.to_owned(),
            limit,
        }),
    }
}
