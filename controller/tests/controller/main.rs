//! The controller from outside: over real HTTP, as a process, and with real agents behind it.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test that fails fails the test"
)]

mod access;
mod at_once;
mod away;
mod backhaul;
mod backhaul_operations;
mod cells;
mod dry_run;
mod dry_run_access;
mod dry_run_backhaul;
mod dry_run_domains;
mod errors;
mod events;
mod foreign;
mod gateway;
mod hostile;
mod nodes;
mod process;
mod resolvers;
mod restconf;
mod rotation;
mod rotation_ports;
mod steering;
mod support;
mod tunnel_names;
mod unanswered;
