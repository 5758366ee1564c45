//! How a node comes up: its directory, what is stored, the factory default, the backends, the server.
//!
//! ```text
//!  store has a configuration? --yes--> journal replayed, open confirmed commit taken back --+
//!        | no                                                                               |
//!        +--> factory default: parsed, hashed, checked by everybody --> stored -------------+--> reconcile --> listen
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tranche_netconf::server::{Server, ServerConfig, ServerHandle, Sessions};
use tranche_netconf::transport::ssh::HostKey;
use tranche_yang::{Content, Datastores, Format, Schema, Tree};

use crate::announce;
use crate::backend::hardware::Hardware;
use crate::backend::sim::Medium;
use crate::backend::{NodeConfig, Registry};
use crate::config::Settings;
use crate::content::{hash_passwords, node_config};
use crate::drift;
use crate::error::Error;
use crate::journal;
use crate::node::{InForce, Node, Parts};
use crate::rpc::{Service, startup_bytes};
use crate::store::{Startup, Store};
use crate::telemetry;
use crate::transaction::{Committer, Transactions, blocking};

const HOST_KEY: &str = "ssh_host_ed25519_key";
/// How long a state directory may take to be given back by the process (or agent of this process) that had it.
const LOCK_WAIT: Duration = Duration::from_millis(500);
/// How often that is tried.
const POLL: Duration = Duration::from_millis(20);

/// The right to work on a state directory; given back when dropped.
#[derive(Debug)]
pub struct StateDirLock {
    _file: File,
}

impl StateDirLock {
    /// Makes the directory if it is not there, and takes it. An agent that is just ending has half a second to let go.
    ///
    /// # Errors
    /// Another agent has it, or the file system refuses.
    pub async fn take(dir: &Path) -> Result<Self, Error> {
        let deadline = tokio::time::Instant::now() + LOCK_WAIT;
        loop {
            match Self::try_take(dir) {
                Err(Error::StateDirInUse { .. }) if tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(POLL).await;
                }
                taken => return taken,
            }
        }
    }

    fn try_take(dir: &Path) -> Result<Self, Error> {
        let failed = |what, path: &Path| {
            let path = path.to_owned();
            move |source| Error::File { what, path, source }
        };
        private_directory(dir).map_err(failed("making the state directory", dir))?;
        let path = dir.join("lock");
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(failed("opening", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::StateDirInUse {
                    path: dir.to_owned(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(failed("locking", &path)(source)),
        }
        // For people who wonder who has it; the lock itself is the kernel's.
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(failed("writing", &path))?;
        Ok(Self { _file: file })
    }
}

/// One node that serves.
#[derive(Debug)]
pub struct RunningNode {
    node: Arc<Node>,
    server: ServerHandle,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl RunningNode {
    /// Its name, as in `node-1`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.node.name()
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> std::net::SocketAddr {
        self.server.local_addr()
    }

    /// The fingerprint of its host key, `SHA256:...`.
    #[must_use]
    pub fn host_key_fingerprint(&self) -> &str {
        self.server.host_key_fingerprint()
    }

    /// What its sessions share.
    #[must_use]
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Ends its sessions, then its tasks.
    pub async fn shutdown(self) {
        self.server.shutdown().await;
        end(&self.stop, self.tasks).await;
    }
}

async fn end(stop: &CancellationToken, tasks: Vec<JoinHandle<()>>) {
    stop.cancel();
    for task in tasks {
        if let Err(fault) = task.await {
            tracing::error!(%fault, "a task ended in a fault");
        }
    }
}

/// What the nodes of a process have in common.
#[derive(Debug)]
pub struct Common {
    /// The settings.
    pub settings: Settings,
    /// The schema.
    pub schema: &'static Schema,
    /// What the radios are.
    pub world: World,
}

/// What the radios of a process are.
#[derive(Debug)]
pub enum World {
    /// Simulated, on one medium.
    Simulated(Arc<Medium>),
    /// Those of this machine; there is one node then.
    Hardware(Box<Hardware>),
}

impl World {
    /// The backends of a node.
    fn registry(&self, node: &str) -> Registry {
        match self {
            Self::Simulated(medium) => Registry::simulated(medium, node),
            Self::Hardware(hardware) => Registry::hardware(hardware),
        }
    }
}

/// The name of node `index` (from 0).
pub(crate) fn node_name(index: u16) -> String {
    format!("node-{}", index + 1)
}

/// Brings node `index` (from 0) up.
///
/// # Errors
/// Why it cannot serve.
pub async fn start_node(common: &Common, index: u16) -> Result<RunningNode, Error> {
    let name = node_name(index);
    let dir = match common.world {
        World::Simulated(_) => common.settings.state_dir.join(&name),
        World::Hardware(_) => common.settings.state_dir.clone(),
    };
    private_directory(&dir).map_err(|source| Error::File {
        what: "making the directory",
        path: dir.clone(),
        source,
    })?;
    let host_key = host_key(&dir)?;
    let store = open_store(&dir.join("store")).await?;

    if let World::Simulated(medium) = &common.world {
        // Who asks first says where the keys are kept.
        drop(medium.backhaul(&name, Some(dir.join("backhaul"))));
        let address = common.settings.listen_of(index).ip();
        medium.underlay().set_address(&name, address);
    }
    let mut registry = common.world.registry(&name);
    let loading = Loading {
        name: name.clone(),
        schema: common.schema,
        factory_file: common
            .settings
            .factory_default_of(index)
            .map(Path::to_owned),
        has_startup: common.settings.startup_datastore,
    };
    let planner = common.world.registry(&name);
    let loaded = blocking(move || loading.load(store, &planner))
        .await
        .map_err(first)??;
    let news = match &common.world {
        World::Simulated(_) => None,
        World::Hardware(hardware) => hardware.news(),
    };
    let repair = drift::reconcile(&mut registry, &loaded.config).await;

    let (transactions, requests) = Transactions::channel();
    let sessions = Sessions::new();
    let node = Arc::new(Node::new(Parts {
        name: name.clone(),
        schema: common.schema,
        datastores: loaded.datastores,
        in_force: loaded.in_force,
        store: loaded.store,
        view: common.world.registry(&name),
        has_startup: common.settings.startup_datastore,
        transactions,
        sessions: sessions.clone(),
    }));
    let stop = CancellationToken::new();
    let committer = Committer::new(Arc::clone(&node), registry, loaded.config);
    let mut tasks = vec![
        tokio::spawn(committer.run(requests, stop.clone())),
        tokio::spawn(telemetry::run(Arc::clone(&node), stop.clone())),
        tokio::spawn(announce::run(
            Arc::clone(&node),
            node.view().backhaul().events(),
            "tunnels",
            stop.clone(),
        )),
        tokio::spawn(announce::run(
            Arc::clone(&node),
            node.view().ran().events(),
            "slice profiles",
            stop.clone(),
        )),
        tokio::spawn(announce::run(
            Arc::clone(&node),
            node.view().steering().events(),
            "steering",
            stop.clone(),
        )),
    ];
    if let Some(news) = news {
        let is_well = repair.refusals.is_empty();
        let watch = drift::run(Arc::clone(&node), news, is_well, stop.clone());
        tasks.push(tokio::spawn(watch));
    }
    let listen = common.settings.listen_of(index);
    let config = ServerConfig {
        listen,
        host_key,
        limits: common.settings.limits.clone(),
        sessions,
    };
    let service = Arc::new(Service::new(Arc::clone(&node)));
    let server = match Server::bind(config, service).await {
        Ok(server) => server,
        Err(source) => {
            end(&stop, tasks).await;
            return Err(Error::Listen {
                node: name,
                address: listen,
                source,
            });
        }
    };
    tracing::info!(node = name, address = %server.local_addr(), "listening");
    Ok(RunningNode {
        node,
        server,
        stop,
        tasks,
    })
}

/// Makes a directory, and those above it, that only the user of this process may look into: there are secrets in the store.
fn private_directory(path: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// The host key of a node's directory; its public half is written beside it.
fn host_key(dir: &Path) -> Result<HostKey, Error> {
    let path = dir.join(HOST_KEY);
    let key = HostKey::load_or_generate(&path).map_err(|source| Error::HostKey {
        path: path.clone(),
        source,
    })?;
    let public = path.with_extension("pub");
    fs::write(&public, format!("{}\n", key.public_openssh())).map_err(|source| Error::File {
        what: "writing",
        path: public.clone(),
        source,
    })?;
    Ok(key)
}

async fn open_store(path: &Path) -> Result<Store, Error> {
    let path = path.to_owned();
    Ok(blocking(move || Store::open(&path))
        .await
        .map_err(first)??)
}

fn first(errors: Vec<Error>) -> Error {
    errors.into_iter().next().unwrap_or(Error::Internal)
}

struct Loading {
    name: String,
    schema: &'static Schema,
    factory_file: Option<PathBuf>,
    has_startup: bool,
}

struct Loaded {
    store: Store,
    datastores: Datastores,
    in_force: InForce,
    config: NodeConfig,
}

impl Loading {
    fn load(self, store: Store, planner: &Registry) -> Result<Loaded, Error> {
        let Some(stored) = store.load()? else {
            return self.factory_default(store, planner);
        };
        if let Some(changes) = stored.reverted {
            tracing::warn!(
                node = self.name,
                changes,
                "a confirmed commit was open when the agent ended: it is taken back"
            );
        }
        let mut running = journal::decode(self.schema, &stored).map_err(|e| self.unusable(e))?;
        let mut startup = None;
        if self.has_startup {
            let saved = store.startup()?;
            if saved == Startup::Deleted {
                return self.factory_default(store, planner);
            }
            let bytes = startup_bytes(saved).unwrap_or_else(|| journal::encode_tree(&running));
            running = journal::decode_tree(self.schema, &bytes).map_err(|e| self.unusable(e))?;
            startup = Some(running.duplicate()?);
            store.set_startup(Some(&bytes))?;
            store.reset(&bytes)?;
        }
        let datastores = Datastores::new(self.schema, running, startup)
            .map_err(|errors| self.unusable(errors))?;
        let in_force =
            InForce::new(datastores.running(), None).map_err(|errors| Error::Stored {
                node: self.name.clone(),
                reasons: texts(&errors),
            })?;
        let config = node_config(&datastores.running()).map_err(first)?;
        Ok(Loaded {
            store,
            datastores,
            in_force,
            config,
        })
    }

    fn unusable(&self, errors: Vec<tranche_yang::Error>) -> Error {
        Error::Stored {
            node: self.name.clone(),
            reasons: texts(&errors),
        }
    }

    /// Starts from the factory default. Nothing is stored unless everybody accepts it.
    fn factory_default(self, store: Store, planner: &Registry) -> Result<Loaded, Error> {
        let Some(path) = self.factory_file.clone() else {
            return Err(Error::NoFactoryDefault { node: self.name });
        };
        let refuse = |reasons| Error::FactoryDefault {
            path: path.clone(),
            reasons,
        };
        let mut running = parse_factory_default(self.schema, &path)?;
        hash_passwords(&mut running).map_err(|errors| refuse(texts(&errors)))?;
        let startup = self.has_startup.then(|| running.duplicate()).transpose()?;
        let datastores = Datastores::new(self.schema, running, startup)
            .map_err(|errors| refuse(texts(&errors)))?;
        let running = datastores.running();
        let in_force =
            InForce::new(Arc::clone(&running), None).map_err(|errors| refuse(texts(&errors)))?;
        let config = node_config(&running).map_err(|errors| refuse(texts(&errors)))?;
        let refusals: Vec<String> = planner
            .backends()
            .filter_map(|backend| backend.plan(&NodeConfig::default(), &config).err())
            .map(|refusal| refusal.to_string())
            .collect();
        if !refusals.is_empty() {
            return Err(refuse(refusals));
        }
        let bytes = journal::encode_tree(&running);
        if self.has_startup {
            store.set_startup(Some(&bytes))?;
        }
        store.reset(&bytes)?;
        tracing::info!(node = self.name, file = %path.display(), "started from the factory default");
        Ok(Loaded {
            store,
            datastores,
            in_force,
            config,
        })
    }
}

/// The configuration in a file, XML or JSON. It is not validated yet.
///
/// # Errors
/// It cannot be read, or is not data of the schema.
pub(crate) fn parse_factory_default(schema: &'static Schema, path: &Path) -> Result<Tree, Error> {
    let text = fs::read_to_string(path).map_err(|source| Error::File {
        what: "reading the factory default",
        path: path.to_owned(),
        source,
    })?;
    let format = if text.trim_start().starts_with('{') {
        Format::Json
    } else {
        Format::Xml
    };
    Tree::parse(schema, format, &text, Content::Config).map_err(|errors| Error::FactoryDefault {
        path: path.to_owned(),
        reasons: texts(&errors),
    })
}

/// Errors as lines for an operator.
pub(crate) fn texts<E: ToText>(errors: &[E]) -> Vec<String> {
    errors.iter().map(ToText::to_text).collect()
}

/// An error as one line for an operator: where, then why.
pub(crate) trait ToText {
    fn to_text(&self) -> String;
}

impl ToText for tranche_yang::Error {
    fn to_text(&self) -> String {
        let line = self
            .line
            .map(|line| format!("line {line}: "))
            .unwrap_or_default();
        match &self.path {
            Some(path) => format!("{line}{path}: {}", self.message),
            None => format!("{line}{}", self.message),
        }
    }
}

impl ToText for Error {
    fn to_text(&self) -> String {
        match self {
            Self::Data(error) => error.to_text(),
            other => other.to_string(),
        }
    }
}
