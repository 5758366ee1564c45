//! The Tranche controller.

pub mod scheduler;
