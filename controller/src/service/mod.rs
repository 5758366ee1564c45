//! The controller's heart: one configuration, changed by one request at a time, read by any number.
//!
//! ```text
//! change: access control -> validate -> compile -> rollout to every node concerned -> persist -> publish -> answer
//! ```
//! Any refusal on the way leaves everything as it was, here and on the nodes. Readers take what is published and never
//! wait for a change. Owns the order of these steps and nothing of their content.

mod apply;
pub mod desired;
mod regulate;
pub mod schema;
mod state;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tranche_netconf::error::{ErrorTag, RpcError};
use tranche_netconf::message::WithDefaults;
use tranche_yang::datastore::SERVER;
use tranche_yang::nacm::{Nacm, User};
use tranche_yang::restconf::Resource;
use tranche_yang::{
    Content, Datastores, Diff, Format, Operation, PrintOptions, Proposal, Schema, SchemaNode, Tree,
};

use self::apply::Consequence;
use self::desired::Desired;
use crate::event::{Event, Events};
use crate::inventory::NodeName;
use crate::keys;
use crate::network::Network;
use crate::scheduler::{NetworkReport, RadioId};
use crate::sla::Record;
use crate::store::{CommitInfo, History};
use crate::users::{Login, Users, passwords_to_store};

/// The running controller.
#[derive(Debug)]
pub struct Service {
    schema: &'static Schema,
    published: RwLock<Arc<Published>>,
    writer: Arc<Mutex<Writer>>,
    events: Events,
    tasks: TaskTracker,
    /// Schema nodes that are state or contain state.
    stateful: HashSet<SchemaNode>,
    network: Arc<Network>,
    state_dir: PathBuf,
    keep: usize,
    live: std::sync::Mutex<Live>,
    /// Public halves of the keys that credentials name.
    public_keys: std::sync::Mutex<BTreeMap<String, String>>,
}

/// What is observed and never kept on disk.
#[derive(Debug, Default)]
struct Live {
    /// What each slice was owed and got.
    record: Record,
    /// Radios that contend.
    conflicts: Vec<(RadioId, RadioId)>,
    /// What all radios measured in the last period.
    report: NetworkReport,
    /// When nodes last confirmed a slice.
    applied: BTreeMap<String, SystemTime>,
    /// Nodes that can't have the slices that select them, and why.
    unplaced: BTreeMap<NodeName, String>,
    /// The commits that are kept, oldest first.
    commits: VecDeque<CommitInfo>,
}

/// What a service works with.
#[derive(Debug)]
pub struct Setup {
    /// The nodes.
    pub network: Arc<Network>,
    /// Where the private keys are.
    pub state_dir: PathBuf,
    /// What is kept.
    pub history: History,
    /// The commits in it, oldest first.
    pub commits: Vec<CommitInfo>,
    /// Commits to keep.
    pub keep: usize,
    /// Periods of the global scheduler to remember.
    pub periods: usize,
}

/// What readers see: one state of the configuration and what follows from it.
#[derive(Debug)]
pub struct Published {
    /// The configuration: valid and with defaults.
    pub running: Arc<Tree>,
    /// Who may do what.
    pub nacm: Nacm,
    /// Who may log in.
    pub users: Users,
    /// Which state it is.
    pub version: Version,
    /// What it asks for.
    pub desired: Arc<Desired>,
}

/// Identifies a state of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Number of the commit that led to it.
    pub commit: u64,
    /// Another for every state, also of another store.
    pub tag: String,
    /// When it was reached.
    pub time: SystemTime,
}

/// What only the one change at a time may touch.
#[derive(Debug)]
struct Writer {
    datastores: Datastores,
    history: History,
}

/// A change that is worked out and permitted.
#[derive(Debug)]
struct Change {
    proposal: Proposal,
    consequence: Consequence,
    /// Access control as it will be.
    nacm: Nacm,
}

/// Who changes what.
#[derive(Debug, Clone)]
pub struct Author {
    /// The user, for access control and history.
    pub user: User,
    /// What it is called in the history.
    pub label: String,
}

impl Version {
    fn new(info: &CommitInfo) -> Self {
        let tag = format!("{}-{:x}", info.id, info.time_ms);
        Self {
            commit: info.id,
            tag,
            time: info.time(),
        }
    }
}

impl Published {
    fn new(running: Arc<Tree>, nacm: Nacm, version: Version, desired: Arc<Desired>) -> Self {
        let users = Users::from_running(&running);
        Self {
            running,
            nacm,
            users,
            version,
            desired,
        }
    }
}

impl Service {
    /// A service that starts from this configuration, which the newest commit of `setup` led to.
    ///
    /// # Errors
    /// A configuration that isn't valid, each fault with its path.
    pub fn new(running: Tree, setup: Setup) -> Result<Arc<Self>, Vec<RpcError>> {
        let schema = running.schema();
        let newest = setup.commits.last();
        let newest = newest.ok_or_else(|| internal("there is no commit to start from"))?;
        let version = Version::new(newest);
        let datastores = Datastores::new(schema, running, None).map_err(rpc_errors)?;
        let running = datastores.running();
        let nacm = Nacm::from_running(&running).map_err(|e| vec![e.to_rpc_error()])?;
        let desired = Arc::new(Desired::read(&running)?);
        let published = Published::new(running, nacm, version, desired);
        let live = Live {
            record: Record::new(setup.periods),
            commits: setup.commits.into(),
            ..Live::default()
        };
        Ok(Arc::new(Self {
            schema,
            published: RwLock::new(Arc::new(published)),
            writer: Arc::new(Mutex::new(Writer {
                datastores,
                history: setup.history,
            })),
            events: Events::default(),
            tasks: TaskTracker::new(),
            stateful: state::nodes(schema),
            network: setup.network,
            state_dir: setup.state_dir,
            keep: setup.keep,
            live: std::sync::Mutex::new(live),
            public_keys: std::sync::Mutex::default(),
        }))
    }

    /// The schema.
    #[must_use]
    pub fn schema(&self) -> &'static Schema {
        self.schema
    }

    /// What is in force.
    #[must_use]
    pub fn published(&self) -> Arc<Published> {
        Arc::clone(
            &self
                .published
                .read()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Notifications.
    #[must_use]
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// Whether what a resource names is state or contains state.
    #[must_use]
    pub fn has_state(&self, resource: &Resource) -> bool {
        resource
            .schema()
            .is_none_or(|node| self.stateful.contains(&node))
    }

    /// Whether a login still holds.
    #[must_use]
    pub fn is_valid(&self, login: &Login) -> bool {
        self.published().users.is_valid(login)
    }

    /// Whether a user may receive an event.
    #[must_use]
    pub fn may_receive(&self, user: &str, event: &Event) -> bool {
        let user = User::new(user);
        self.published()
            .nacm
            .notification_by_name(&user, event.module, event.name)
            .is_ok()
    }

    /// Changes the configuration. `propose` works the change out, with what is in force to check conditions against;
    /// it runs when all changes before it are done. A caller that goes away doesn't stop a change halfway.
    ///
    /// # Errors
    /// Whatever refuses it, with nothing changed anywhere.
    pub async fn change<T, E>(
        self: &Arc<Self>,
        author: Author,
        propose: impl FnOnce(&Published, &mut Datastores) -> Result<(Proposal, T), E> + Send + 'static,
    ) -> Result<(T, Version), E>
    where
        T: Send + 'static,
        E: From<Vec<RpcError>> + Send + 'static,
    {
        let service = Arc::clone(self);
        let task = self
            .tasks
            .spawn(async move { service.commit(author, propose).await });
        task.await
            .unwrap_or_else(|_| Err(internal("the change was given up").into()))
    }

    async fn commit<T, E>(
        self: Arc<Self>,
        author: Author,
        propose: impl FnOnce(&Published, &mut Datastores) -> Result<(Proposal, T), E> + Send + 'static,
    ) -> Result<(T, Version), E>
    where
        T: Send + 'static,
        E: From<Vec<RpcError>> + Send + 'static,
    {
        let mut writer = Arc::clone(&self.writer).lock_owned().await;
        let before = self.published();
        let (service, user) = (Arc::clone(&self), author.user.clone());
        let (writer, worked_out) = blocking(move || {
            let worked_out = writer.work_out(&service, &before, &user, propose);
            (writer, worked_out)
        })
        .await?;
        let (change, answer) = worked_out?;
        let version = self.carry_out(writer, change, &author).await?;
        Ok((answer, version))
    }

    /// Puts a change on the nodes, keeps it and publishes it.
    async fn carry_out(
        self: &Arc<Self>,
        mut writer: OwnedMutexGuard<Writer>,
        change: Change,
        author: &Author,
    ) -> Result<Version, Vec<RpcError>> {
        let before = self.published();
        let Change {
            proposal,
            consequence,
            nacm,
        } = change;
        if proposal.diff().is_empty() {
            writer.refuse(proposal, Vec::new());
            return Ok(before.version.clone());
        }
        let (diff, config) = (summary(proposal.diff()), print(proposal.new()));
        let mut info = None;
        let (history, noted) = (&mut writer.history, &mut info);
        let kept = async {
            let name = &author.user.name;
            let commit = history.commit(name, &author.label, diff, config.into_bytes());
            *noted = Some(commit.await.map_err(|e| e.to_string())?);
            Ok(())
        };
        let put = match consequence.plans {
            Some(plans) => self.put(plans, kept).await,
            None => kept.await.map_err(|e: String| internal(&e)),
        };
        let info = match (put, info) {
            (Ok(()), Some(info)) => info,
            (Ok(()), None) => return Err(writer.refuse(proposal, internal("nothing was kept"))),
            (Err(errors), _) => return Err(writer.refuse(proposal, errors)),
        };
        let version = Version::new(&info);
        let service = Arc::clone(self);
        let (desired, next) = (consequence.desired, version.clone());
        let writer = blocking(move || {
            let running = match writer.datastores.accept(proposal) {
                Ok(running) => running,
                Err(error) => {
                    tracing::error!(%error, "the datastores lost their copy");
                    writer.datastores.running()
                }
            };
            service.publish(Published::new(running, nacm, next, desired), info);
            writer
        })
        .await?;
        tracing::info!(
            commit = version.commit,
            author = author.user.name,
            label = author.label,
            "committed"
        );
        drop(writer);
        Ok(version)
    }

    /// Shows readers another state, and reaches for the nodes that it names. Blocks on the disk where a key has to be made.
    fn publish(&self, published: Published, info: CommitInfo) {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.commits.push_back(info);
        while live.commits.len() > self.keep {
            live.commits.pop_front();
        }
        drop(live);
        let before = self.published();
        let after = Arc::new(published);
        *self
            .published
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::clone(&after);
        let ids = |desired: &Desired| {
            desired
                .intent
                .slices
                .keys()
                .cloned()
                .collect::<HashSet<_>>()
        };
        let gone: HashSet<String> = ids(&before.desired)
            .difference(&ids(&after.desired))
            .cloned()
            .collect();
        if !gone.is_empty() {
            let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
            live.record.forget(|slice| gone.contains(slice));
            live.applied.retain(|slice, _| !gone.contains(slice));
        }
        if before.desired.inventory != after.desired.inventory {
            self.reach(&after.desired);
        }
    }

    /// Keeps sessions to exactly the nodes that are asked for. The keys of credentials are made where there are none.
    fn reach(&self, desired: &Desired) {
        let mut public_keys = BTreeMap::new();
        for credential in desired.inventory.credentials.values() {
            match keys::public_key(&self.state_dir, &credential.key) {
                Ok(line) => drop(public_keys.insert(credential.name.clone(), line)),
                Err(error) => {
                    tracing::error!(credential = credential.name, %error, "no key to log in with");
                }
            }
        }
        *self
            .public_keys
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = public_keys;
        self.network
            .fleet()
            .configure(desired.devices(&keys::directory(&self.state_dir)));
    }

    /// Starts to reach for the nodes and to regulate, until shutdown.
    ///
    /// # Errors
    /// Never in practice: only when the runtime is shutting down.
    pub async fn start(self: &Arc<Self>, shutdown: CancellationToken) -> Result<(), Vec<RpcError>> {
        // Listening first: no node may come unheard.
        self.tasks
            .spawn(regulate::listen(Arc::clone(self), shutdown.clone()));
        let service = Arc::clone(self);
        blocking(move || service.reach(&service.published().desired)).await?;
        self.tasks
            .spawn(regulate::schedule(Arc::clone(self), shutdown));
        Ok(())
    }

    /// Waits for what is under way, then closes the sessions to the nodes.
    pub async fn stop(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        self.network.fleet().shutdown().await;
    }

    /// Carries out an operation that access control permits.
    ///
    /// # Errors
    /// What the operation refuses.
    pub async fn call(
        self: &Arc<Self>,
        user: User,
        operation: Operation,
    ) -> Result<Option<Operation>, Vec<RpcError>> {
        match (operation.module(), operation.name()) {
            ("tranche-commits", "rollback") => self.rollback(user, &operation).await.map(Some),
            (module, name) => Err(vec![RpcError::new(
                ErrorTag::OperationNotSupported,
                format!("the operation {module}:{name} is not supported"),
            )]),
        }
    }

    /// Goes back to the configuration after a commit.
    async fn rollback(
        self: &Arc<Self>,
        user: User,
        operation: &Operation,
    ) -> Result<Operation, Vec<RpcError>> {
        let input = operation.data();
        let to = input
            .get("to")
            .and_then(|to| to.parse::<u64>().ok())
            .ok_or_else(|| {
                vec![
                    RpcError::new(ErrorTag::MissingElement, "to is missing")
                        .with_info("bad-element", "to"),
                ]
            })?;
        let label = input
            .get("label")
            .map_or_else(|| format!("rollback to {to}"), str::to_owned);
        let record = self.writer.lock().await.history.get(to).await;
        let record = record
            .map_err(|e| internal(&e.to_string()))?
            .ok_or_else(|| {
                let message = format!("commit {to} is not among those that are kept");
                vec![
                    RpcError::new(ErrorTag::InvalidValue, message)
                        .at("/tranche-commits:rollback/to"),
                ]
            })?;
        let schema = self.schema;
        let author = Author { user, label };
        let propose = move |before: &Published, datastores: &mut Datastores| {
            let text = String::from_utf8_lossy(&record.config);
            let tree = Tree::parse(schema, Format::Json, &text, Content::ConfigUnvalidated);
            let tree = tree.map_err(rpc_errors)?;
            let proposal = datastores
                .propose_replace(SERVER, &tree)
                .map_err(rpc_errors)?;
            Ok::<_, Vec<RpcError>>((proposal, before.version.commit))
        };
        let (before, version) = self.change(author, propose).await?;
        let one = |e: tranche_yang::Error| vec![e.to_rpc_error()];
        let mut output = schema
            .new_output("/tranche-commits:rollback")
            .map_err(one)?;
        if version.commit != before {
            output
                .set("id", version.commit.to_string().as_str())
                .map_err(one)?;
        }
        Ok(output)
    }
}

impl Writer {
    /// Works a change out: proposed, permitted, passwords hashed, compiled.
    fn work_out<T, E: From<Vec<RpcError>>>(
        &mut self,
        service: &Service,
        before: &Published,
        user: &User,
        propose: impl FnOnce(&Published, &mut Datastores) -> Result<(Proposal, T), E>,
    ) -> Result<(Change, T), E> {
        let (proposal, answer) = propose(before, &mut self.datastores)?;
        if let Err(error) = before.nacm.write(user, proposal.diff()) {
            return Err(self.refuse(proposal, vec![error.to_rpc_error()]).into());
        }
        let proposal = self.hash_passwords(proposal)?;
        let concerns_nodes = apply::concerns_nodes(proposal.diff());
        let worked_out = service
            .consequence(&before.desired, proposal.new(), concerns_nodes)
            .and_then(|consequence| {
                let nacm = before.nacm.reload(proposal.new());
                Ok((consequence, nacm.map_err(|e| vec![e.to_rpc_error()])?))
            });
        match worked_out {
            Ok((consequence, nacm)) => Ok((
                Change {
                    proposal,
                    consequence,
                    nacm,
                },
                answer,
            )),
            Err(errors) => Err(self.refuse(proposal, errors).into()),
        }
    }

    /// Replaces a proposal that sets passwords in clear text by one that sets their hashes.
    fn hash_passwords(&mut self, proposal: Proposal) -> Result<Proposal, Vec<RpcError>> {
        let hashed = match passwords_to_store(proposal.diff()) {
            Ok(hashed) if hashed.is_empty() => return Ok(proposal),
            Ok(hashed) => hashed,
            Err(errors) => return Err(self.refuse(proposal, errors)),
        };
        let one = |error: tranche_yang::Error| vec![error.to_rpc_error()];
        let mut tree = proposal.new().duplicate().map_err(one)?;
        for (path, hash) in &hashed {
            tree.set(path, hash.as_str()).map_err(one)?;
        }
        self.datastores.reject(proposal).map_err(one)?;
        self.datastores
            .propose_replace(SERVER, &tree)
            .map_err(rpc_errors)
    }

    fn refuse(&mut self, proposal: Proposal, errors: Vec<RpcError>) -> Vec<RpcError> {
        if let Err(error) = self.datastores.reject(proposal) {
            tracing::error!(%error, "the datastores lost their copy");
        }
        errors
    }
}

/// Runs what takes CPU or waits for the disk where it holds up nobody.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Vec<RpcError>> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| internal("the work was given up"))
}

fn internal(message: &str) -> Vec<RpcError> {
    vec![RpcError::new(ErrorTag::OperationFailed, message)]
}

/// A configuration as it is kept. Secrets are in it.
pub(crate) fn print(config: &Tree) -> String {
    let options = PrintOptions {
        with_defaults: WithDefaults::Explicit,
        pretty: false,
    };
    config.print(Format::Json, options)
}

/// What a change did, one line for each node of the tree that somebody set: paths, and no values.
fn summary(diff: &Diff) -> String {
    let mut text = String::new();
    for change in diff.changes() {
        if !change.is_key && !change.is_default {
            // Writing to a string can't fail.
            let _infallible = writeln!(text, "{} {}", change.op.as_str(), change.path);
        }
    }
    text
}

/// Errors of data as NETCONF says them.
#[must_use]
pub fn rpc_errors(errors: Vec<tranche_yang::Error>) -> Vec<RpcError> {
    errors
        .iter()
        .map(tranche_yang::Error::to_rpc_error)
        .collect()
}
