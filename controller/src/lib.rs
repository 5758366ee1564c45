//! The Tranche controller.

pub mod intent;
pub mod inventory;
pub mod scheduler;
