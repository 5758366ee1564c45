//! The backhaul domain: for each slice an isolated, encrypted path from this node to its gateways.
//!
//! Owns the typed `tranche-backhaul` configuration, what can be observed, and the [`BackhaulBackend`] trait with the one
//! implementation of it, [`Backhaul`], which decides what a tunnel should be. What touches the machine is behind the trait
//! `Plane` of `plane.rs`: Linux with WireGuard in the kernel or in this process ([`linux`]), or a simulator ([`sim`]).
//!
//! ```text
//!  configuration --check--> Backhaul --one task for each tunnel--> Tunnel --wanted::net--> Plane::bring
//!                                                                    ^ probes, handshakes: health, rotation
//! ```

mod check;
mod config;
mod engine;
mod health;
mod key;
pub mod linux;
mod plane;
mod record;
pub mod sim;
mod state;
#[cfg(test)]
pub(crate) mod suite;
mod tunnel;
mod wanted;

use std::time::Duration;

use tokio::sync::broadcast;

pub use config::{
    AttachmentConfig, BackendChoice, BackhaulConfig, EndpointConfig, Layer, NextConfig, PeerConfig,
    ProbeConfig, Role, RotationConfig, TunnelConfig,
};
pub use engine::Backhaul;
pub use health::{FailoverReason, PeerState};
pub use key::{PresharedKey, PrivateKey, PublicKey};
pub use plane::BackendInUse;
pub use state::{
    EndpointState, Event, NextState, OwnKeyState, PeerObservation, Phase, ProbeResult, Repair,
    RotationReason, TunnelOperState, TunnelState,
};
pub use tranche_steering::{Prefix, Written};

use super::{Backend, BoxFuture, Refusal};

/// Which peers to probe, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeRequest {
    /// Name of the peer; all with a `tunnel-address` where absent.
    pub peer: Option<String>,
    /// Requests to each.
    pub count: u8,
    /// How long each answer may take.
    pub timeout: Duration,
}

/// The reading and acting side of backhaul. Each action is named by the slice of the tunnel, and refused for one that is not
/// there or not in service.
pub trait BackhaulBackend: Backend {
    /// The tunnels that are configured, by slice.
    ///
    /// # Errors
    /// A [`Refusal`] when the kernel can't be asked.
    fn tunnels(&self) -> BoxFuture<'_, Result<Vec<TunnelState>, Refusal>>;

    /// Makes a second interface with a new key; answers the one that is there already.
    ///
    /// # Errors
    /// A [`Refusal`] while the last rotation is not over, or when the interface can't be made.
    fn rotate_key<'a>(
        &'a self,
        slice: &'a str,
        listen_port: Option<u16>,
    ) -> BoxFuture<'a, Result<OwnKeyState, Refusal>>;

    /// Moves the routes to the second interface; answers the key that is in force then.
    ///
    /// # Errors
    /// A [`Refusal`] unless there has been a handshake with every peer on it.
    fn complete_rotation<'a>(
        &'a self,
        slice: &'a str,
    ) -> BoxFuture<'a, Result<OwnKeyState, Refusal>>;

    /// Removes the second interface and its key.
    ///
    /// # Errors
    /// A [`Refusal`] where there is none.
    fn cancel_rotation<'a>(&'a self, slice: &'a str) -> BoxFuture<'a, Result<(), Refusal>>;

    /// Moves the prefixes of a peer's group to this peer; answers who had them.
    ///
    /// # Errors
    /// A [`Refusal`] for a peer that has no priority or does not answer.
    fn switch_over<'a>(
        &'a self,
        slice: &'a str,
        peer: &'a str,
    ) -> BoxFuture<'a, Result<Option<String>, Refusal>>;

    /// Probes peers and waits for the answers.
    ///
    /// # Errors
    /// A [`Refusal`] for a peer that is not there or has no `tunnel-address`.
    fn probe_now<'a>(
        &'a self,
        slice: &'a str,
        request: ProbeRequest,
    ) -> BoxFuture<'a, Result<Vec<ProbeResult>, Refusal>>;

    /// What happens to tunnels from now on.
    fn events(&self) -> broadcast::Receiver<Event>;
}
