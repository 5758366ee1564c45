//! Under construction.

pub mod backend;

pub mod clock;
pub mod config;
pub mod store;
pub mod users;
