//! The way of a change of running: propose, plan on every backend, apply in order, persist, publish, reply.
//!
//! One task owns the backends and carries out one change after the other; everybody else sends it requests. What blocks
//! (validation, disk) runs on the blocking pool, so that no session waits for another's commit. A change that fails is
//! undone in reverse, and running is what it was: a reader never sees it.
//!
//! ```text
//!  propose --> plan --> apply wifi --> apply airtime --> persist --> publish --> reply
//!     |          |          |               |               |
//!     +----------+----------+---------------+---------------+--> undo in reverse, reject, reply with the reason
//! ```

mod forecast;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tranche_netconf::message::Commit;
use tranche_netconf::server::SessionInfo;
use tranche_yang::{Datastores, Proposal, Tree};

use crate::backend::{Applied, NodeConfig, Plan, Refusal, Registry};
use crate::confirmed_commit::Step;
use crate::drift::{self, Repair};
use crate::error::Error;
use crate::node::{Node, Prepared};
use crate::notification::ConfirmEvent;
use crate::store::Window;

pub use forecast::Forecast;

/// Requests that may wait for the change in progress.
const QUEUE: usize = 256;

/// Who asks for a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Session, 0 for the server itself.
    pub session: u32,
    /// User; empty for the server itself.
    pub user: String,
    /// Where the client is.
    pub peer: Option<IpAddr>,
}

impl Origin {
    /// The server itself: what it does needs no permission and minds no lock.
    #[must_use]
    pub fn server() -> Self {
        Self {
            session: tranche_yang::datastore::SERVER,
            user: String::new(),
            peer: None,
        }
    }

    /// Whether it is the server itself.
    #[must_use]
    pub fn is_server(&self) -> bool {
        self.session == tranche_yang::datastore::SERVER
    }
}

impl From<&SessionInfo> for Origin {
    fn from(session: &SessionInfo) -> Self {
        Self {
            session: session.id,
            user: session.user.clone(),
            peer: Some(session.peer.ip()),
        }
    }
}

/// Works out a change; runs on the blocking pool.
pub type Propose =
    Box<dyn FnOnce(&mut Datastores) -> Result<Proposal, Vec<tranche_yang::Error>> + Send>;

/// What the answer of a change is.
pub type Done = Result<(), Vec<Error>>;

enum Request {
    Change {
        origin: Origin,
        propose: Propose,
        reply: oneshot::Sender<Done>,
    },
    Commit {
        origin: Origin,
        commit: Commit,
        reply: oneshot::Sender<Done>,
    },
    Cancel {
        origin: Origin,
        persist_id: Option<String>,
        reply: oneshot::Sender<Done>,
    },
    SessionEnded {
        origin: Origin,
        reply: oneshot::Sender<Done>,
    },
    Forecast {
        origin: Origin,
        propose: Propose,
        reply: oneshot::Sender<Result<Forecast, Vec<Error>>>,
    },
    Reconcile {
        reply: oneshot::Sender<Repair>,
    },
}

/// Sends changes to the task that carries them out.
#[derive(Debug, Clone)]
pub struct Transactions {
    requests: mpsc::Sender<Request>,
}

impl Transactions {
    /// A queue, and what a [`Committer`] takes from it.
    #[must_use]
    pub fn channel() -> (Self, Requests) {
        let (requests, queue) = mpsc::channel(QUEUE);
        (Self { requests }, Requests(queue))
    }

    /// Changes running.
    ///
    /// # Errors
    /// Why nothing was changed.
    pub async fn change(&self, origin: Origin, propose: Propose) -> Done {
        self.ask(|reply| Request::Change {
            origin,
            propose,
            reply,
        })
        .await
    }

    /// Commits the candidate.
    ///
    /// # Errors
    /// Why nothing was changed.
    pub async fn commit(&self, origin: Origin, commit: Commit) -> Done {
        self.ask(|reply| Request::Commit {
            origin,
            commit,
            reply,
        })
        .await
    }

    /// Takes the open confirmed commit back.
    ///
    /// # Errors
    /// Why it still stands.
    pub async fn cancel(&self, origin: Origin, persist_id: Option<String>) -> Done {
        self.ask(|reply| Request::Cancel {
            origin,
            persist_id,
            reply,
        })
        .await
    }

    /// A session is over: an open confirmed commit that depends on it is taken back.
    ///
    /// # Errors
    /// Why it could not be taken back.
    pub async fn session_ended(&self, origin: Origin) -> Done {
        self.ask(|reply| Request::SessionEnded { origin, reply })
            .await
    }

    /// Says what a change of running would do, after the changes asked for so far. Changes nothing.
    ///
    /// # Errors
    /// Why there could be no such change, but for what backends have against it.
    pub async fn forecast(&self, origin: Origin, propose: Propose) -> Result<Forecast, Vec<Error>> {
        let (reply, answer) = oneshot::channel();
        let request = Request::Forecast {
            origin,
            propose,
            reply,
        };
        let sent = self.requests.send(request).await;
        sent.map_err(|_| vec![Error::Stopping])?;
        answer.await.map_err(|_| vec![Error::Stopping])?
    }

    /// Compares what is with what is configured, after the changes asked for so far, and repairs the difference.
    ///
    /// # Errors
    /// [`Error::Stopping`] only.
    pub async fn reconcile(&self) -> Result<Repair, Error> {
        let (reply, answer) = oneshot::channel();
        let request = Request::Reconcile { reply };
        let sent = self.requests.send(request).await;
        sent.map_err(|_| Error::Stopping)?;
        answer.await.map_err(|_| Error::Stopping)
    }

    async fn ask(&self, request: impl FnOnce(oneshot::Sender<Done>) -> Request) -> Done {
        let (reply, answer) = oneshot::channel();
        let stopping = |()| vec![Error::Stopping];
        self.requests
            .send(request(reply))
            .await
            .map_err(|_| ())
            .map_err(stopping)?;
        answer.await.map_err(|_| ()).map_err(stopping)?
    }
}

/// What waits to be carried out.
#[derive(Debug)]
pub struct Requests(mpsc::Receiver<Request>);

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Change { .. } => "Change",
            Self::Commit { .. } => "Commit",
            Self::Cancel { .. } => "Cancel",
            Self::SessionEnded { .. } => "SessionEnded",
            Self::Forecast { .. } => "Forecast",
            Self::Reconcile { .. } => "Reconcile",
        })
    }
}

/// Carries out the changes of one node.
pub struct Committer {
    node: Arc<Node>,
    registry: Registry,
    /// What the backends were told last.
    config: NodeConfig,
    /// Running as it was before the open confirmed commit.
    rollback: Option<Arc<Tree>>,
    deadline: Option<(Instant, u64)>,
}

/// What a change does to the open confirmed commit, and how it is announced.
struct Terms {
    origin: Origin,
    window: Window,
}

impl Committer {
    /// A committer for a node whose backends already carry out `config`.
    #[must_use]
    pub fn new(node: Arc<Node>, registry: Registry, config: NodeConfig) -> Self {
        Self {
            node,
            registry,
            config,
            rollback: None,
            deadline: None,
        }
    }

    /// Serves requests until `stop`; the one in progress is finished.
    pub async fn run(mut self, mut requests: Requests, stop: CancellationToken) {
        loop {
            let deadline = self.deadline;
            let lapse = async {
                match deadline {
                    Some((at, _)) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = lapse => self.lapsed().await,
                request = requests.0.recv() => match request {
                    Some(request) => self.serve(request).await,
                    None => return,
                },
            }
            self.compact().await;
        }
    }

    async fn serve(&mut self, request: Request) {
        let (reply, done) = match request {
            Request::Change {
                origin,
                propose,
                reply,
            } => {
                let terms = Terms {
                    origin,
                    window: Window::Unchanged,
                };
                (reply, self.change(terms, propose).await)
            }
            Request::Commit {
                origin,
                commit,
                reply,
            } => (reply, self.commit(origin, &commit).await),
            Request::Cancel {
                origin,
                persist_id,
                reply,
            } => (reply, self.cancel(origin, persist_id.as_deref()).await),
            Request::SessionEnded { origin, reply } => (reply, self.session_ended(origin).await),
            Request::Forecast {
                origin,
                propose,
                reply,
            } => {
                let forecast = self.forecast(&origin, propose).await;
                return drop(reply.send(forecast));
            }
            Request::Reconcile { reply } => {
                let repair = drift::reconcile(&mut self.registry, &self.config).await;
                // The watch over the hardware ends with the node.
                return drop(reply.send(repair));
            }
        };
        // A session that is gone does not hear the answer; what was done stands.
        drop(reply.send(done));
    }

    async fn commit(&mut self, origin: Origin, commit: &Commit) -> Done {
        let step = self
            .node
            .confirmed_commit()
            .step(origin.session, commit)
            .map_err(|error| vec![Error::Rule(error)])?;
        let window = match &step {
            Step::Plain => Window::Unchanged,
            Step::Open { .. } => Window::Open,
            Step::Confirm => Window::Close,
        };
        let before = self.node.in_force().running.clone();
        let session = origin.session;
        let terms = Terms {
            origin: origin.clone(),
            window,
        };
        self.change(
            terms,
            Box::new(move |datastores| datastores.propose_commit(session)),
        )
        .await?;
        match &step {
            Step::Plain => {}
            Step::Confirm => {
                self.rollback = None;
                self.node
                    .announce_confirm(ConfirmEvent::Complete, &origin, None);
            }
            Step::Open {
                timeout, extends, ..
            } => {
                if !extends {
                    self.rollback = Some(before);
                }
                let event = if *extends {
                    ConfirmEvent::Extend
                } else {
                    ConfirmEvent::Start
                };
                self.node.announce_confirm(event, &origin, Some(*timeout));
            }
        }
        self.deadline =
            self.node
                .confirmed_commit()
                .take(step, origin.session, &origin.user, Instant::now());
        Ok(())
    }

    async fn cancel(&mut self, origin: Origin, persist_id: Option<&str>) -> Done {
        self.node
            .confirmed_commit()
            .may_cancel(origin.session, persist_id)
            .map_err(|error| vec![Error::Rule(error)])?;
        self.take_back(ConfirmEvent::Cancel, &origin).await
    }

    async fn session_ended(&mut self, origin: Origin) -> Done {
        if !self.node.confirmed_commit().ends_with(origin.session) {
            return Ok(());
        }
        tracing::info!(
            session_id = origin.session,
            "the session of a confirmed commit ended: it is taken back"
        );
        self.take_back(ConfirmEvent::Cancel, &origin).await
    }

    async fn lapsed(&mut self) {
        let due = self
            .deadline
            .take()
            .is_some_and(|(_, generation)| self.node.confirmed_commit().is_due(generation));
        if due {
            tracing::info!("a confirmed commit was not confirmed in time: it is taken back");
            // A failure is logged where it happens; nobody waits for the answer.
            drop(
                self.take_back(ConfirmEvent::Timeout, &Origin::server())
                    .await,
            );
        }
    }

    /// Restores what was in force before the open confirmed commit, by a transaction of its own.
    async fn take_back(&mut self, event: ConfirmEvent, origin: &Origin) -> Done {
        self.node.confirmed_commit().close();
        self.deadline = None;
        let Some(before) = self.rollback.take() else {
            return Ok(());
        };
        let terms = Terms {
            origin: Origin::server(),
            window: Window::Close,
        };
        let server = terms.origin.session;
        let done = self
            .change(
                terms,
                Box::new(move |datastores| datastores.propose_replace(server, &before)),
            )
            .await;
        let Err(errors) = &done else {
            self.node.announce_confirm(event, origin, None);
            return done;
        };
        for error in errors {
            tracing::error!(%error, "a confirmed commit could not be taken back and stands");
        }
        let node = Arc::clone(&self.node);
        if let Ok(Err(error)) = blocking(move || node.store().mark(Window::Close)).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "that it stands could not be stored: a restart takes it back"
            );
        }
        // What was committed is in force to stay, which is what this event says (RFC 6470 2.2).
        self.node
            .announce_confirm(ConfirmEvent::Complete, origin, None);
        done
    }

    /// One change, from the proposal to the publication.
    async fn change(&mut self, terms: Terms, propose: Propose) -> Done {
        let node = Arc::clone(&self.node);
        let origin = terms.origin.clone();
        let prepared = blocking(move || node.prepare(&origin, propose)).await??;
        if let Err(error) = self.check_management(prepared.config(), &terms) {
            self.reject(prepared).await;
            return Err(vec![error]);
        }
        if prepared.is_test_only() {
            let planned = self.plan(prepared.config(), &terms.origin);
            self.reject(prepared).await;
            return planned.map(drop).map_err(|error| vec![error]);
        }
        let applied = match self.apply(prepared.config(), &terms.origin).await {
            Ok(applied) => applied,
            Err(error) => {
                self.reject(prepared).await;
                return Err(vec![error]);
            }
        };
        let node = Arc::clone(&self.node);
        let window = terms.window;
        let stored = blocking(move || (node.persist(&prepared, window), prepared)).await;
        let (error, prepared) = match stored {
            Ok((Ok(()), prepared)) => {
                if let Some(config) = prepared.config() {
                    self.config = config.clone();
                }
                let node = Arc::clone(&self.node);
                return blocking(move || node.publish(prepared, &terms.origin)).await;
            }
            Ok((Err(error), prepared)) => (Error::Store(error), Some(prepared)),
            Err(_) => (Error::Internal, None),
        };
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "a change could not be stored: it is undone"
        );
        let failed = self.undo(applied).await;
        if let Some(prepared) = prepared {
            self.reject(prepared).await;
        }
        Err(vec![error.after_undo(failed)])
    }

    /// A management tunnel changes under a confirmed commit only: who cuts himself off is let in again when its time is over.
    fn check_management(&self, new: Option<&NodeConfig>, terms: &Terms) -> Result<(), Error> {
        let may_change = terms.window == Window::Open || terms.origin.is_server();
        match self.confirmed_only(new).filter(|_| !may_change) {
            Some(refusal) => Err(Error::Refused(refusal)),
            None => Ok(()),
        }
    }

    /// Plans on every backend; nothing where nothing of theirs changes.
    fn plan(&self, new: Option<&NodeConfig>, origin: &Origin) -> Result<Vec<Plan>, Error> {
        let Some(new) = new else {
            return Ok(Vec::new());
        };
        let plans = self.registry.plan(&self.config, new);
        let plans = plans.map_err(Error::Refused)?;
        // What is taken back is what a client agreed to: it must not fail for who came meanwhile.
        if !origin.is_server() {
            let objections = self.registry.objections(&self.config, new);
            objections.map_err(Error::Refused)?;
        }
        Ok(plans)
    }

    /// Plans on every backend, then applies in order. On an error everything is as before.
    async fn apply(
        &mut self,
        new: Option<&NodeConfig>,
        origin: &Origin,
    ) -> Result<Vec<Applied>, Error> {
        let mut applied = Vec::new();
        for plan in self.plan(new, origin)? {
            let domain = plan.domain();
            for warning in plan.warnings() {
                tracing::warn!(domain, path = warning.path, "{}", warning.message);
            }
            for step in plan.steps() {
                tracing::info!(domain, path = step.path, cost = ?step.cost, "{}", step.action);
            }
            let Some(backend) = self.registry.backend_mut(domain) else {
                continue;
            };
            match backend.apply(plan).await {
                Ok(done) => applied.push(done),
                Err(refusal) => {
                    tracing::warn!(domain, %refusal, "a backend refused a change: it is undone");
                    let failed = self.undo(applied).await;
                    return Err(Error::Refused(refusal).after_undo(failed));
                }
            }
        }
        Ok(applied)
    }

    /// Takes back what was applied, the latest first; what could not be taken back.
    async fn undo(&mut self, applied: Vec<Applied>) -> Vec<Refusal> {
        let mut failed = Vec::new();
        for done in applied.into_iter().rev() {
            let domain = done.domain();
            let Some(backend) = self.registry.backend_mut(domain) else {
                continue;
            };
            if let Err(refusal) = backend.undo(done).await {
                tracing::error!(
                    domain,
                    %refusal,
                    alarm = "rollback-failed",
                    "the former state could not be restored: the node is in neither state"
                );
                failed.push(refusal);
            }
        }
        failed
    }

    async fn reject(&self, prepared: Prepared) {
        let node = Arc::clone(&self.node);
        // A fault is logged where it happens, and whoever asked for the change hears why it was not made.
        drop(blocking(move || node.reject(prepared)).await);
    }

    /// Replaces a long journal by a snapshot, after the reply.
    async fn compact(&self) {
        if !self.node.store().wants_snapshot() {
            return;
        }
        let node = Arc::clone(&self.node);
        match blocking(move || node.snapshot()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(
                error = &error as &dyn std::error::Error,
                "the journal could not be shortened"
            ),
            Err(_) => tracing::error!("the journal could not be shortened"),
        }
    }
}

/// Runs what blocks on the pool for it.
///
/// # Errors
/// It panicked, or the runtime stops.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Vec<Error>> {
    tokio::task::spawn_blocking(work).await.map_err(|fault| {
        tracing::error!(%fault, "an operation ended in a fault");
        vec![Error::Internal]
    })
}
