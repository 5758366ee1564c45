//! The controller: slice intent in, airtime out.
//!
//! An operator's edit comes in over RESTCONF ([`northbound`]), is checked and compiled, put on every node concerned, and
//! only then kept and answered ([`service`]). The layout is described in ARCHITECTURE.md.

pub mod config;
mod controller;
pub mod event;
pub mod keys;
pub mod northbound;
pub mod scheduler;
pub mod service;
pub mod sla;
mod text;
pub mod users;

pub use controller::{Controller, StartError};
