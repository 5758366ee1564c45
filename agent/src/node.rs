//! What the sessions of one node share: datastores, what is in force, streams, and the way to change running.
//!
//! Owns the rules that hold for every path a configuration takes: passwords are hashed before anything is kept, access
//! control is asked, what is in force is replaced as a whole. Leaves the order of a change to [`crate::transaction`], and
//! the operations to [`crate::rpc`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tranche_netconf::message::{Datastore, Filter};
use tranche_netconf::server::{Notifier, Sessions};
use tranche_yang::nacm::{Nacm, User};
use tranche_yang::{Change, Datastores, Format, Operation, Part, Proposal, Schema, Tree, filter};

use crate::backend::{NodeConfig, Registry};
use crate::confirmed_commit::ConfirmedCommit;
use crate::content::{node_config, read_users, with_hashed_passwords};
use crate::error::Error;
use crate::journal;
use crate::monitoring::DatastoreState;
use crate::notification::{self, ConfirmEvent};
use crate::store::{Store, StoreError, Window};
use crate::streams::{Share, Stream, Streams};
use crate::transaction::{Origin, Propose, Transactions};
use crate::users::Users;

/// What readers see: replaced as a whole by every change.
#[derive(Debug)]
pub struct InForce {
    /// The running configuration.
    pub running: Arc<Tree>,
    /// Who may log in.
    pub users: Arc<Users>,
    /// Who may do what.
    pub nacm: Arc<Nacm>,
    /// Running as users see it, by user, as far as they asked.
    pruned: Mutex<HashMap<String, Arc<Tree>>>,
    /// Whether running is so small that reading it needs no thread of its own.
    pub(crate) small: bool,
}

/// Nodes of a configuration whose reading takes well below a millisecond, whatever is selected of it.
const SMALL: usize = 1_000;

impl InForce {
    /// What follows from a running configuration; `before` keeps its counters.
    ///
    /// # Errors
    /// A password, key or rule that is not acceptable.
    pub fn new(running: Arc<Tree>, before: Option<&Nacm>) -> Result<Self, Vec<Error>> {
        let users = read_users(&running)?;
        let nacm = match before {
            Some(before) => before.reload(&running),
            None => Nacm::from_running(&running),
        };
        let nacm = nacm.map_err(|error| vec![Error::Data(error)])?;
        Ok(Self {
            small: running.has_at_most(SMALL),
            running,
            users: Arc::new(users),
            nacm: Arc::new(nacm),
            pruned: Mutex::default(),
        })
    }

    pub(crate) fn pruned(&self) -> MutexGuard<'_, HashMap<String, Arc<Tree>>> {
        self.pruned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a [`Node`] is made of.
pub struct Parts {
    /// Name, as in `node-1`.
    pub name: String,
    /// The schema of the process.
    pub schema: &'static Schema,
    /// Datastores with running in force.
    pub datastores: Datastores,
    /// What follows from running.
    pub in_force: InForce,
    /// The durable side.
    pub store: Store,
    /// The reading side of the backends.
    pub view: Registry,
    /// Whether there is a startup datastore.
    pub has_startup: bool,
    /// The way to change running.
    pub transactions: Transactions,
    /// The sessions of the server.
    pub sessions: Sessions,
}

/// One node.
pub struct Node {
    name: String,
    schema: &'static Schema,
    datastores: Mutex<Datastores>,
    lock_times: Mutex<HashMap<Datastore, SystemTime>>,
    in_force: RwLock<Arc<InForce>>,
    store: Store,
    view: Registry,
    has_startup: bool,
    confirmed_commit: Mutex<ConfirmedCommit>,
    streams: Streams,
    transactions: Transactions,
    sessions: Sessions,
    notifiers: Mutex<HashMap<u32, Notifier>>,
    capabilities: Vec<String>,
    yang_library: OnceLock<Tree>,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A proposal that passed every check, with what it leads to.
#[derive(Debug)]
pub struct Prepared {
    proposal: Proposal,
    changes: Vec<Change>,
    config: Option<NodeConfig>,
    users: Option<Users>,
    nacm: Option<Nacm>,
    entry: Vec<u8>,
}

impl Prepared {
    /// Whether it is a test only.
    #[must_use]
    pub fn is_test_only(&self) -> bool {
        self.proposal.is_test_only()
    }

    /// How many nodes of running it changes.
    #[must_use]
    pub fn changes(&self) -> usize {
        self.changes.len()
    }

    /// What the backends are to carry out; `None` where nothing of theirs changes.
    #[must_use]
    pub fn config(&self) -> Option<&NodeConfig> {
        self.config.as_ref()
    }
}

impl Node {
    /// Puts a node together.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let capabilities = crate::capabilities::of(parts.schema, parts.has_startup);
        Self {
            name: parts.name,
            schema: parts.schema,
            datastores: Mutex::new(parts.datastores),
            lock_times: Mutex::default(),
            in_force: RwLock::new(Arc::new(parts.in_force)),
            store: parts.store,
            view: parts.view,
            has_startup: parts.has_startup,
            confirmed_commit: Mutex::default(),
            streams: Streams::default(),
            transactions: parts.transactions,
            sessions: parts.sessions,
            notifiers: Mutex::default(),
            capabilities,
            yang_library: OnceLock::new(),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its schema.
    #[must_use]
    pub fn schema(&self) -> &'static Schema {
        self.schema
    }

    /// What it advertises beyond the base.
    #[must_use]
    pub fn capabilities(&self) -> &[String] {
        &self.capabilities
    }

    /// Its durable side.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The reading side of its backends.
    #[must_use]
    pub fn view(&self) -> &Registry {
        &self.view
    }

    /// Whether it has a startup datastore.
    #[must_use]
    pub fn has_startup(&self) -> bool {
        self.has_startup
    }

    /// Its streams.
    #[must_use]
    pub fn streams(&self) -> &Streams {
        &self.streams
    }

    /// The way to change running.
    #[must_use]
    pub fn transactions(&self) -> &Transactions {
        &self.transactions
    }

    /// The sessions of its server.
    #[must_use]
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// What is in force now.
    #[must_use]
    pub fn in_force(&self) -> Arc<InForce> {
        Arc::clone(&self.in_force.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// `ietf-yang-library`, which never changes while the process lives.
    pub(crate) fn yang_library(&self) -> Result<&Tree, Vec<Error>> {
        if let Some(library) = self.yang_library.get() {
            return Ok(library);
        }
        let mut names = vec!["running", "candidate"];
        if self.has_startup {
            names.push("startup");
        }
        let library = self
            .schema
            .yang_library(&names)
            .map_err(|error| data(vec![error]))?;
        Ok(self.yang_library.get_or_init(|| library))
    }

    /// The datastores. Whoever holds them may take as long as validation takes: not on a runtime thread.
    pub fn datastores(&self) -> MutexGuard<'_, Datastores> {
        self.datastores
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a session has a lock. Never waits: while somebody holds the datastores, it may have one.
    pub(crate) fn may_hold_locks(&self, session: u32) -> bool {
        match self.datastores.try_lock() {
            Ok(datastores) => datastores.holds_locks(session),
            Err(_) => true,
        }
    }

    /// The confirmed commit.
    pub fn confirmed_commit(&self) -> MutexGuard<'_, ConfirmedCommit> {
        self.confirmed_commit
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The sessions' ways to be notified.
    pub(crate) fn notifiers(&self) -> MutexGuard<'_, HashMap<u32, Notifier>> {
        self.notifiers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lock_times(&self) -> MutexGuard<'_, HashMap<Datastore, SystemTime>> {
        self.lock_times
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The datastores there are, with their locks.
    pub(crate) fn datastore_states(&self) -> Vec<DatastoreState> {
        let datastores = self.datastores();
        let times = self.lock_times();
        let mut present = vec![Datastore::Running, Datastore::Candidate];
        if self.has_startup {
            present.push(Datastore::Startup);
        }
        present
            .into_iter()
            .map(|datastore| DatastoreState {
                datastore,
                locked: datastores.lock_holder(datastore).map(|session| {
                    let since = times.get(&datastore).copied();
                    (session, since.unwrap_or_else(SystemTime::now))
                }),
            })
            .collect()
    }

    // A change of running, step by step. All of these block.

    /// Works a change out and checks everything that can be checked without touching a backend.
    ///
    /// # Errors
    /// Why it cannot be; nothing has changed then.
    pub fn prepare(&self, origin: &Origin, propose: Propose) -> Result<Prepared, Vec<Error>> {
        let mut datastores = self.datastores();
        let proposal = propose(&mut datastores).map_err(data)?;
        let proposal = with_hashed_passwords(&mut datastores, origin.session, proposal)?;
        match self.check(origin, &proposal) {
            Ok(checked) => Ok(Prepared {
                proposal,
                changes: checked.changes,
                config: checked.config,
                users: checked.users,
                nacm: checked.nacm,
                entry: checked.entry,
            }),
            Err(errors) => {
                datastores
                    .reject(proposal)
                    .map_err(|error| data(vec![error]))?;
                Err(errors)
            }
        }
    }

    fn check(&self, origin: &Origin, proposal: &Proposal) -> Result<Checked, Vec<Error>> {
        let in_force = self.in_force();
        if !origin.is_server() {
            let user = User::new(&*origin.user);
            in_force
                .nacm
                .write(&user, proposal.diff())
                .map_err(|error| data(vec![error]))?;
        }
        let changes = proposal.diff().changes();
        let touches = |module: &str| changes.iter().any(|change| change.module == module);
        let new = proposal.new();
        let config = crate::content::MODULES
            .into_iter()
            .any(touches)
            .then(|| node_config(new))
            .transpose()?;
        let users = touches("ietf-system")
            .then(|| read_users(new))
            .transpose()?;
        let nacm = touches("ietf-netconf-acm")
            .then(|| in_force.nacm.reload(new))
            .transpose()
            .map_err(|error| data(vec![error]))?;
        let entry = match changes.is_empty() {
            true => Vec::new(),
            false => journal::encode(proposal.diff()).map_err(|error| data(vec![error]))?,
        };
        Ok(Checked {
            changes,
            config,
            users,
            nacm,
            entry,
        })
    }

    /// Makes a change durable.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn persist(&self, prepared: &Prepared, window: Window) -> Result<(), StoreError> {
        if prepared.entry.is_empty() {
            self.store.mark(window)
        } else {
            self.store.append(&prepared.entry, window)
        }
    }

    /// Puts a change in force for readers and announces it.
    pub fn publish(&self, prepared: Prepared, origin: &Origin) {
        let Prepared {
            proposal,
            changes,
            users,
            nacm,
            ..
        } = prepared;
        {
            let mut datastores = self.datastores();
            if let Err(error) = datastores.accept(proposal) {
                // Running is the new one all the same.
                tracing::error!(%error, "the candidate could not follow a change of running");
            }
            let before = self.in_force();
            let running = datastores.running();
            let after = InForce {
                small: running.has_at_most(SMALL),
                running,
                users: users.map_or_else(|| Arc::clone(&before.users), Arc::new),
                nacm: nacm.map_or_else(|| Arc::clone(&before.nacm), Arc::new),
                pruned: Mutex::default(),
            };
            *self
                .in_force
                .write()
                .unwrap_or_else(PoisonError::into_inner) = Arc::new(after);
        }
        if !changes.is_empty() {
            tracing::info!(
                session_id = origin.session,
                user = origin.user,
                changes = changes.len(),
                "running changed"
            );
            if self.streams.has_subscribers(Stream::Netconf) {
                self.announce(
                    Stream::Netconf,
                    &notification::config_change(origin, "running", &changes),
                );
            }
        }
    }

    /// Drops a change: everything is as before.
    pub fn reject(&self, prepared: Prepared) {
        if let Err(error) = self.datastores().reject(prepared.proposal) {
            // Running is as before all the same, and the next change starts from a copy of it.
            tracing::error!(%error, "a change that was refused could not be put back");
        }
    }

    /// Replaces the journal by a snapshot of running.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn snapshot(&self) -> Result<(), StoreError> {
        let running = self.in_force();
        self.store.snapshot(&journal::encode_tree(&running.running))
    }

    // Announcements

    /// Announces what happened to a confirmed commit.
    pub fn announce_confirm(
        &self,
        event: ConfirmEvent,
        origin: &Origin,
        timeout: Option<Duration>,
    ) {
        if self.streams.has_subscribers(Stream::Netconf) {
            self.announce(
                Stream::Netconf,
                &notification::confirmed_commit(event, origin, timeout),
            );
        }
    }

    /// Sends a notification, given as RFC 7951 JSON, to those who subscribed to its stream and may hear it.
    pub fn announce(&self, stream: Stream, event: &Value) {
        let parsed =
            self.schema
                .parse_operation(Format::Json, &event.to_string(), Part::Notification, None);
        match parsed {
            Ok(event) => self.send(stream, &event),
            Err(errors) => {
                for error in errors {
                    tracing::error!(%error, stream = stream.name(), "a notification is not of its module");
                }
            }
        }
    }

    fn send(&self, stream: Stream, event: &Operation) {
        let in_force = self.in_force();
        self.streams.publish(
            stream,
            SystemTime::now(),
            &event.to_fragment(),
            |user, filter| {
                if in_force.nacm.notification(&User::new(user), event).is_err() {
                    return Share::Nothing;
                }
                share(event, filter)
            },
        );
    }
}

struct Checked {
    changes: Vec<Change>,
    config: Option<NodeConfig>,
    users: Option<Users>,
    nacm: Option<Nacm>,
    entry: Vec<u8>,
}

fn share(event: &Operation, filter: Option<&Filter>) -> Share {
    let Some(filter) = filter else {
        return Share::Whole;
    };
    match filter::select(event.tree(), Some(filter)) {
        Ok(part) if part.top().next().is_none() => Share::Nothing,
        Ok(part) => Share::Part(part.to_fragment(tranche_netconf::message::WithDefaults::Explicit)),
        Err(error) => {
            tracing::debug!(%error, "the filter of a subscription does not fit an event");
            Share::Nothing
        }
    }
}

/// Errors of the data, as this crate's.
pub(crate) fn data(errors: Vec<tranche_yang::Error>) -> Vec<Error> {
    errors.into_iter().map(Error::Data).collect()
}
