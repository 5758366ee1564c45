//! The simulated world of a process: one medium that all its nodes share, in simulated time.
//!
//! [`Medium`] owns radios, stations, queues and contention; the simulators of the domains ([`super::wifi::sim`],
//! [`super::airtime::sim`]) configure and read it. What the world is like (positions, loads, losses, faults) is
//! configuration too ([`SimConfig`]), so that a client changes it by NETCONF while it runs.
//!
//! Left out of the simulation, and known to be: beacons and probes take no airtime, rates do not adapt to losses, and the
//! stations of a radio are where the radio is.

mod config;
mod csma;
mod frames;
mod medium;
mod node;
mod observe;
mod params;
mod place;
mod rng;
mod stations;
mod topology;
mod traffic;
mod world;

#[cfg(test)]
pub(crate) mod scenario;
#[cfg(test)]
mod tests;

pub use config::{Decimetres, SimConfig, SimRadioConfig, SimStationConfig};
pub use medium::{LedgerEntry, Medium};
pub use params::MediumParams;

pub(crate) use place::restarts;
pub(crate) use rng::Rng;
