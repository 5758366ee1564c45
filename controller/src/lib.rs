//! The Tranche controller.

pub mod device;
pub mod intent;
pub mod inventory;
pub mod network;
pub mod reconcile;
pub mod rollout;
pub mod scheduler;
pub mod store;

#[cfg(test)]
mod toy;
