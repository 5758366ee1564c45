//! The controller's heart: one configuration, changed by one request at a time, read by any number.
//!
//! ```text
//! change: access control -> validate -> compile -> rollout to every node concerned -> persist -> publish -> answer
//! ```
//! Any refusal on the way leaves everything as it was, here and on the nodes. Readers take what is published and never
//! wait for a change. Owns the order of these steps and nothing of their content.

pub(crate) mod allocate;
mod apply;
mod cells;
mod change;
pub mod desired;
mod dry_run;
mod fresh;
mod metrics;
mod noted;
mod onboard;
mod peers;
mod regulate;
mod rotation;
pub mod schema;
mod state;
mod steering;
mod tunnels;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tranche_netconf::error::{ErrorTag, RpcError};
use tranche_netconf::message::WithDefaults;
use tranche_yang::nacm::{Nacm, User};
use tranche_yang::restconf::Resource;
use tranche_yang::{Datastores, Format, PrintOptions, Schema, SchemaNode, Tree, write_only};

use self::change::Writer;
use self::desired::Desired;
use self::tunnels::Lifecycle;
use crate::event::{Event, Events};
use crate::inventory::NodeName;
use crate::keys;
use crate::network::Network;
use crate::scheduler::{NetworkReport, RadioId};
use crate::sla::Record;
use crate::store::{CommitInfo, History};
use crate::users::{Login, Users};

pub use self::change::Author;
pub use self::dry_run::{Called, Run};
pub(crate) use self::state::is_of;

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
    /// What all radios and cells measured in the last period.
    report: NetworkReport,
    /// When that was taken in.
    reported: Option<SystemTime>,
    /// When nodes last confirmed a slice.
    applied: BTreeMap<String, SystemTime>,
    /// Nodes that can't have the slices that select them, and why.
    unplaced: BTreeMap<NodeName, String>,
    /// The commits that are kept, oldest first.
    commits: VecDeque<CommitInfo>,
    /// When what was done for the backhaul of a slice.
    lifecycles: BTreeMap<String, Lifecycle>,
    /// Slices whose rotation is being carried on, with what tells that it may go better now.
    rotating: BTreeMap<String, Arc<Notify>>,
    /// How often traffic moved from one hub to another, by slice.
    failovers: BTreeMap<String, u64>,
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
    /// The same without what is in no reply.
    pub shown: Arc<Tree>,
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
        let shown = write_only::shown(Arc::clone(&running)).unwrap_or_else(|error| {
            tracing::error!(%error, "what is in no reply can't be taken out: nothing is shown");
            Arc::new(Tree::empty(running.schema()))
        });
        Self {
            running,
            shown,
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
        // Also those that are gone: a node that was away may still have tunnels of them.
        let slices = desired.intent.slices.keys().chain(setup.history.slices());
        setup.network.know_slices(slices.cloned());
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

    /// Shows readers another state, and reaches for the nodes that it names. Blocks on the disk where a key has to be made.
    fn publish(&self, published: Published, info: CommitInfo) {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.commits.push_back(info);
        while live.commits.len() > self.keep {
            live.commits.pop_front();
        }
        drop(live);
        let slices = published.desired.intent.slices.keys().cloned();
        self.network.know_slices(slices);
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
            live.lifecycles.retain(|slice, _| !gone.contains(slice));
            live.failovers.retain(|slice, _| !gone.contains(slice));
        }
        if before.desired.inventory != after.desired.inventory {
            self.reach(&after.desired);
            self.tell_disabled(&before.desired, &after.desired);
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
        self.network.waits().stop();
        self.tasks.close();
        self.tasks.wait().await;
        self.network.fleet().shutdown().await;
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

/// Errors of data as NETCONF says them.
#[must_use]
pub fn rpc_errors(errors: Vec<tranche_yang::Error>) -> Vec<RpcError> {
    errors
        .iter()
        .map(tranche_yang::Error::to_rpc_error)
        .collect()
}

#[cfg(test)]
mod tests;
