//! Under construction.

pub mod clock;
pub mod config;
pub mod store;
pub mod users;
