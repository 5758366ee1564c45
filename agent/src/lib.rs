//! Under construction.

pub mod backend;

pub mod clock;
pub mod config;
pub mod confirmed_commit;
pub mod error;
pub mod monitoring;
pub mod schema;
pub mod store;
pub mod streams;
pub mod users;
