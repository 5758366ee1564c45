//! The whole, put together: store, service, northbound.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tranche_netconf::error::RpcError;
use tranche_yang::{Content, Format, Schema, Tree};

use crate::config::Config;
use crate::device::{DeviceSettings, Fleet};
use crate::network::Network;
use crate::northbound::{Northbound, NorthboundError};
use crate::reconcile::{ReconcileSettings, Reconciler};
use crate::rollout::RolloutSettings;
use crate::service::allocate::allocated;
use crate::service::desired::Desired;
use crate::service::{Service, Setup, print, rpc_errors, schema};
use crate::store::{History, HistoryError, LocalStore, StoreError};
use crate::users::store_passwords;

/// A controller that listens and doesn't serve yet.
#[derive(Debug)]
pub struct Controller {
    service: Arc<Service>,
    northbound: Northbound,
    network: Arc<Network>,
}

/// Why a controller did not start or did not go on.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The YANG modules don't compile.
    #[error("the YANG modules can't be used: {0}")]
    Schema(tranche_yang::Error),
    /// Nothing is kept and there is nothing to start from.
    #[error("{state_dir} is empty and there is nothing to start from: use --factory-default", state_dir = .0.display())]
    NoConfiguration(PathBuf),
    /// The factory default can't be read.
    #[error("factory default {path}", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The factory default can't be used.
    #[error("factory default {path}: {reasons}", path = .path.display())]
    FactoryDefault {
        /// The file.
        path: PathBuf,
        /// Every fault, with its node.
        reasons: String,
    },
    /// The service can't be started.
    #[error("{0}")]
    Service(String),
    /// The state directory can't be made.
    #[error("can't make {path}", path = .path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The store can't be opened or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The newest commit can't be found or the first one not be kept.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// What is kept is not a valid configuration of this version.
    #[error("what is kept in {path} can't be used: {1}", path = .0.display())]
    Kept(PathBuf, String),
    /// The northbound can't be served.
    #[error(transparent)]
    Northbound(#[from] NorthboundError),
}

impl Controller {
    /// Loads what is kept, or else the factory default, and listens.
    ///
    /// # Errors
    /// Anything that stands in the way, in words for an operator.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let schema = schema::build().map_err(StartError::Schema)?;
        let store = open_store(&config.state_dir)?;
        let mut history = History::open(Arc::new(store), config.history.commits).await?;
        let running = load(schema, &mut history, &config).await?;
        let network = Arc::new(Network::new(Fleet::new(devices(&config)), rollout(&config)));
        let commits = history.list().await?;
        let setup = Setup {
            network: Arc::clone(&network),
            state_dir: config.state_dir.clone(),
            history,
            commits,
            keep: config.history.commits,
            periods: config.history.periods,
        };
        let service = Service::new(running, setup)
            .map_err(|errors| StartError::Kept(config.state_dir.clone(), reasons(&errors)))?;
        let northbound = Northbound::bind(&config).await?;
        Ok(Self {
            service,
            northbound,
            network,
        })
    }

    /// URL of the page; RESTCONF is at `restconf` below it.
    #[must_use]
    pub fn url(&self) -> String {
        self.northbound.url()
    }

    /// Serves until `shutdown`, then ends what is under way and closes.
    ///
    /// # Errors
    /// The listener failed.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), StartError> {
        let reconciler = Reconciler::start(self.network, ReconcileSettings::default());
        let started = self.service.start(shutdown.clone()).await;
        started.map_err(|errors| StartError::Service(reasons(&errors)))?;
        let served = self
            .northbound
            .serve(Arc::clone(&self.service), shutdown.clone())
            .await;
        // Also where the listener failed.
        shutdown.cancel();
        reconciler.shutdown().await;
        self.service.stop().await;
        Ok(served?)
    }
}

/// Opens the store of a state directory, for its owner alone: there are secrets in it.
fn open_store(state_dir: &Path) -> Result<LocalStore, StartError> {
    let path = state_dir.join("store");
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&path)
        .map_err(|source| StartError::Directory {
            path: path.clone(),
            source,
        })?;
    Ok(LocalStore::open(&path)?)
}

/// The configuration of the newest commit; where there is none, the factory default, which becomes the first.
async fn load(
    schema: &'static Schema,
    history: &mut History,
    config: &Config,
) -> Result<Tree, StartError> {
    if let Some(newest) = history.newest() {
        let kept =
            |errors: &[RpcError]| StartError::Kept(config.state_dir.clone(), reasons(errors));
        let record = history.get(newest).await?.ok_or_else(|| kept(&[]))?;
        let text = String::from_utf8_lossy(&record.config);
        return Tree::parse(schema, Format::Json, &text, Content::Config)
            .map_err(|errors| kept(&rpc_errors(errors)));
    }
    let Some(path) = &config.factory_default else {
        return Err(StartError::NoConfiguration(config.state_dir.clone()));
    };
    let mut running = factory_default(schema, path)?;
    store_passwords(&mut running).map_err(|errors| StartError::FactoryDefault {
        path: path.clone(),
        reasons: reasons(&errors),
    })?;
    let unread = |desired: &Desired| desired.inventory.clone();
    let given = allocated(&running, &Desired::default(), unread);
    let given = given.map_err(|errors| StartError::FactoryDefault {
        path: path.clone(),
        reasons: reasons(&errors),
    })?;
    let running = given.unwrap_or(running);
    let label = "factory default";
    history
        .commit("factory", label, print(&running).into_bytes())
        .await?;
    Ok(running)
}

fn devices(config: &Config) -> DeviceSettings {
    DeviceSettings {
        connect_timeout: config.nodes.connect_timeout,
        rpc_timeout: config.nodes.rpc_timeout,
        keepalive: config.nodes.keepalive,
        fan_out: config.nodes.fan_out,
        ..DeviceSettings::default()
    }
}

fn rollout(config: &Config) -> RolloutSettings {
    RolloutSettings {
        rpc_timeout: config.nodes.rpc_timeout,
        commit_timeout: config.nodes.confirm_timeout / 2,
        confirm_timeout: config.nodes.confirm_timeout,
        fan_out: config.nodes.fan_out,
    }
}

/// Reads instance data from a file: XML where its name ends so, else JSON.
fn factory_default(schema: &'static Schema, path: &Path) -> Result<Tree, StartError> {
    let text = fs::read_to_string(path).map_err(|source| StartError::Read {
        path: path.to_owned(),
        source,
    })?;
    let is_xml = path
        .extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("xml"));
    let format = if is_xml { Format::Xml } else { Format::Json };
    Tree::parse(schema, format, &text, Content::Config).map_err(|errors| {
        let reasons = reasons(&rpc_errors(errors));
        StartError::FactoryDefault {
            path: path.to_owned(),
            reasons,
        }
    })
}

fn reasons(errors: &[RpcError]) -> String {
    let mut text = String::new();
    for error in errors {
        let separator = if text.is_empty() { "" } else { "; " };
        let place = error.path.as_deref().unwrap_or("/");
        let reason = error
            .message
            .as_deref()
            .unwrap_or_else(|| error.tag.as_str());
        // Writing to a string can't fail.
        let _infallible = write!(text, "{separator}{place}: {reason}");
    }
    text
}
