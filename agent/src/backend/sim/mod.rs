//! The simulated world of a process: one medium that all its nodes share, in simulated time.
//!
//! [`Medium`] owns radios, stations, queues and contention; the simulators of the domains ([`super::wifi::sim`],
//! [`super::airtime::sim`]) configure and read it. What the world is like (positions, loads, losses, faults) is
//! configuration too ([`SimConfig`]), so that a client changes it by NETCONF while it runs.

mod config;
mod medium;
mod params;
mod rng;

pub use config::{Decimetres, SimConfig, SimRadioConfig, SimStationConfig};
pub use medium::Medium;
pub use params::MediumParams;

pub(crate) use rng::fingerprint;
