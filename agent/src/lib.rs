//! The node agent: a NETCONF server that slices the radios of one node.
//!
//! Owns what one node does with its configuration: datastores behind sessions, transactions over backends, durability,
//! users, access control and telemetry. Leaves the protocol to `tranche-netconf` and data to `tranche-yang`; what touches
//! the machine is behind [`backend`].
//!
//! [`Agent::start`] runs the nodes of a process; the binary adds the command line, the log and signals.

pub mod backend;

mod announce;
pub mod backhaul;
pub mod capabilities;
pub mod config;
pub mod confirmed_commit;
pub mod content;
pub mod drift;
pub mod error;
pub mod journal;
pub mod monitoring;
pub mod node;
pub mod notification;
mod plan;
mod ran;
pub mod read;
pub mod render_ran;
pub mod rpc;
pub mod schema;
pub mod startup;
pub mod steering;
pub mod store;
pub mod streams;
pub mod telemetry;
pub mod transaction;
pub mod users;

use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::backend::hardware::Hardware;
use crate::backend::sim::{Medium, MediumParams};
use crate::config::Settings;
pub use crate::error::Error;
use crate::startup::{Common, RunningNode, StateDirLock, World};
use crate::transaction::blocking;

/// The nodes of one process.
#[derive(Debug)]
pub struct Agent {
    nodes: Vec<RunningNode>,
    stop: CancellationToken,
    /// The time of the simulated world, where there is one.
    clock: Option<JoinHandle<()>>,
    _lock: StateDirLock,
}

impl Agent {
    /// Brings all nodes up; they serve when this returns.
    ///
    /// # Errors
    /// Why they cannot; none serves then.
    pub async fn start(settings: Settings) -> Result<Self, Error> {
        settings.check()?;
        let count = settings.nodes();
        let is_simulated = settings.sim.is_some();
        let lock = StateDirLock::take(&settings.state_dir).await?;
        let (modules, has_startup) = (settings.yang_modules.clone(), settings.startup_datastore);
        let schema = blocking(move || schema::build(&modules, has_startup, is_simulated))
            .await
            .unwrap_or(Err(Error::Internal))?;
        let stop = CancellationToken::new();
        let (world, clock) = match settings.sim {
            Some(_) => {
                let medium = Medium::new(MediumParams::default());
                let clock = tokio::spawn(Arc::clone(&medium).drive(stop.clone()));
                (World::Simulated(medium), Some(clock))
            }
            None => {
                let runtime_dir = settings.runtime_dir()?;
                let name = startup::node_name(0);
                let hardware = {
                    let (hardware, state_dir) = (&settings.hardware, &settings.state_dir);
                    Hardware::open(hardware, runtime_dir, state_dir, &name).await
                };
                (World::Hardware(Box::new(hardware)), None)
            }
        };
        let common = Common {
            settings,
            schema,
            world,
        };
        let mut agent = Self {
            nodes: Vec::new(),
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

    /// Ends all sessions and tasks.
    pub async fn shutdown(self) {
        for node in self.nodes {
            node.shutdown().await;
        }
        self.stop.cancel();
        if let Some(clock) = self.clock
            && let Err(fault) = clock.await
        {
            tracing::error!(%fault, "the simulation ended in a fault");
        }
    }
}
