//! The controller from outside: over real HTTP, as a process, and with real agents behind it.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test that fails fails the test"
)]

mod access;
mod backhaul;
mod backhaul_operations;
mod dry_run;
mod errors;
mod events;
mod hostile;
mod nodes;
mod process;
mod restconf;
mod rotation;
mod steering;
mod support;
mod unanswered;
