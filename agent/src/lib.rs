//! The node agent: a NETCONF server that slices the radios of one node.
//!
//! Owns what one node does with its configuration: datastores behind sessions, transactions over backends, durability,
//! users, access control and telemetry. Leaves the protocol to `tranche-netconf` and data to `tranche-yang`; what touches
//! the machine is behind [`backend`].
//!
//! [`Agent::start`] runs the nodes of a process; the binary adds the command line, the log and signals.

pub mod backend;

pub mod capabilities;
pub mod config;
pub mod confirmed_commit;
pub mod content;
pub mod error;
pub mod journal;
pub mod monitoring;
pub mod node;
pub mod notification;
pub mod read;
pub mod rpc;
pub mod schema;
pub mod startup;
pub mod store;
pub mod streams;
pub mod telemetry;
pub mod transaction;
pub mod users;

use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::backend::sim::{Medium, MediumParams};
use crate::config::Settings;
pub use crate::error::Error;
use crate::startup::{Common, RunningNode, StateDirLock};
use crate::transaction::blocking;

/// The nodes of one process.
#[derive(Debug)]
pub struct Agent {
    nodes: Vec<RunningNode>,
    medium: Arc<Medium>,
    stop: CancellationToken,
    clock: JoinHandle<()>,
    _lock: StateDirLock,
}

impl Agent {
    /// Brings all nodes up; they serve when this returns.
    ///
    /// # Errors
    /// Why they cannot; none serves then.
    pub async fn start(settings: Settings) -> Result<Self, Error> {
        settings.check()?;
        let count = settings.nodes()?;
        let lock = StateDirLock::take(&settings.state_dir).await?;
        let (modules, has_startup) = (settings.yang_modules.clone(), settings.startup_datastore);
        let schema = blocking(move || schema::build(&modules, has_startup))
            .await
            .unwrap_or(Err(Error::Internal))?;
        let medium = Medium::new(MediumParams::default());
        let stop = CancellationToken::new();
        let clock = tokio::spawn(Arc::clone(&medium).drive(stop.clone()));
        let common = Common {
            settings,
            schema,
            medium: Arc::clone(&medium),
        };
        let mut agent = Self {
            nodes: Vec::new(),
            medium,
            stop,
            clock,
            _lock: lock,
        };
        for index in 0..count {
            match startup::start_node(&common, index).await {
                Ok(node) => agent.nodes.push(node),
                Err(error) => {
                    agent.shutdown().await;
                    return Err(error);
                }
            }
        }
        Ok(agent)
    }

    /// The nodes, in order.
    #[must_use]
    pub fn nodes(&self) -> &[RunningNode] {
        &self.nodes
    }

    /// The medium that the nodes share.
    #[must_use]
    pub fn medium(&self) -> &Arc<Medium> {
        &self.medium
    }

    /// Ends all sessions and tasks.
    pub async fn shutdown(self) {
        for node in self.nodes {
            node.shutdown().await;
        }
        self.stop.cancel();
        if let Err(fault) = self.clock.await {
            tracing::error!(%fault, "the simulation ended in a fault");
        }
    }
}
