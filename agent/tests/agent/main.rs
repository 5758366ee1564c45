//! The agent as a client sees it: a real server, real SSH, simulated radios.

mod support;

mod access;
mod candidate;
mod confirmed;
mod crash;
mod datastores;
mod events;
mod factory;
mod process;
mod state;
mod transaction;
mod users;
