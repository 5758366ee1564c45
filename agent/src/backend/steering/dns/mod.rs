//! Resolvers of slices: what they answer, and whom they ask for the rest.
//!
//! ```text
//!  query --core--> from the records (zone) ---------------------------> answer
//!            \\--> forward: one of the servers, or nobody in time --core--> answer
//! ```
//! Owns the decision about each query, without a socket, and the server with its sockets ([`server`]). Leaves to `bpf/place.rs` in
//! which network namespace that is. The simulator runs the same decisions.

mod core;
mod forward;
mod rate;
pub(super) mod server;
mod zone;

pub(super) use self::core::{Core, Taken, Transport};
