//! The controller: slice intent in, airtime out.
//!
//! An operator's edit comes in over RESTCONF ([`northbound`]), is checked and compiled, put on every node concerned, and
//! only then kept and answered ([`service`]). The layout is described in ARCHITECTURE.md.

pub mod config;
pub mod event;
pub mod scheduler;
pub mod sla;
mod text;
