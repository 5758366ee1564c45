//! The controller: slice intent in, airtime out.
//!
//! An operator's edit comes in over RESTCONF ([`northbound`]), is checked and compiled, put on every node concerned, and
//! only then kept and answered ([`service`]). The layout is described in ARCHITECTURE.md.

pub mod config;
mod controller;
pub mod device;
pub mod event;
pub mod intent;
pub mod inventory;
pub mod keys;
pub mod network;
pub mod northbound;
pub mod reconcile;
pub mod rollout;
pub mod scheduler;
pub mod service;
pub mod sla;
pub mod store;
mod text;
#[cfg(test)]
mod toy;
pub mod users;

pub use controller::{Controller, StartError};
