//! The steering domain: which packets of a node go where, and what is done to them on the way.
//!
//! Owns the typed `tranche-steering` configuration, what can be observed, and the [`SteeringBackend`] trait with the one
//! implementation of it, [`Steering`], which decides what has to be in force. What puts it in force is behind the trait `Plane` of
//! `plane.rs`: a program in the kernel ([`bpf`]) or a simulator ([`sim`]).
//!
//! ```text
//!  configuration --check--> program: names resolved, chains as hops --table--> cells --bpf--> kernel
//!                              ^                                \--reference--> simulator, and what the kernel is compared with
//!        interfaces, looked at again and again, and applications, asked again and again
//! ```

#[cfg(feature = "bpf")]
pub mod bpf;
mod change;
mod condition;
mod dns;
mod engine;
mod health;
mod packet;
mod plane;
mod program;
mod reference;
pub mod sim;
mod state;
#[cfg(test)]
pub(crate) mod suite;
mod table;

pub use engine::Steering;
pub use state::{
    ApplicationState, ChainState, Condition, Counter, Counters, Down, DownBy, Event, OperState,
    PortState, Repair, ResolverCounts, ResolverState, RuleState, SliceState, SteeringState,
};
pub use tranche_steering::{
    ApplicationConfig, ChainConfig, Connection, Direction, Encapsulation, Ends, Forward, GtpMatch,
    HealthCheck, Malformed, MatchConfig, OnFailure, Oversized, PortConfig, PortRange, RecordConfig,
    RecordType, Request, ResolverConfig, RuleConfig, SteeringConfig, Through, WayOut, present,
};

use tokio::sync::broadcast;

use super::{Backend, BoxFuture, Refusal};

/// The reading side of steering.
pub trait SteeringBackend: Backend {
    /// What is seen of what is configured.
    ///
    /// # Errors
    /// A [`Refusal`] when the kernel can't be asked.
    fn observe(&self) -> BoxFuture<'_, Result<SteeringState, Refusal>>;

    /// What happens by itself from now on: what is repaired, and applications that go up or down.
    fn events(&self) -> broadcast::Receiver<Event>;
}
