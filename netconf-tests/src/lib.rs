//! What the end-to-end tests, the interoperability tests and the demo share: real processes, real sessions, no mocks.
//!
//! [`stack`] starts agents and a controller as child processes in a temporary directory and ends them on every way out;
//! [`restconf`] and [`telemetry`] talk to them as any operator's program would; [`proxy`] gives a node a slow or a broken line.
//! [`medium`] is the air between the simulated radios of a kernel, and [`vm`] puts scenes together from both.
//! [`backhaul`] is the scene of slices with an encrypted path: machines that are network namespaces on one switch.
//! Nothing here links the agent or the controller: only their binaries, their sockets and their YANG modules count.

pub mod backhaul;
pub mod error;
pub mod figure_21;
pub mod medium;
pub mod prb;
pub mod process;
pub mod proxy;
pub mod ran;
pub mod restconf;
pub mod stack;
pub mod telemetry;
mod template;
pub mod vm;
pub mod wait;

pub use error::Error;
