//! The agent as a client sees it: a real server, real SSH, simulated radios.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper that fails is a test that fails"
)]

mod support;

mod access;
mod backhaul;
mod candidate;
mod confirmed;
mod crash;
mod datastores;
mod events;
mod factory;
mod management;
mod plan;
mod process;
mod ran;
mod render_ran;
mod rollback;
mod state;
mod steering;
mod transaction;
mod users;
