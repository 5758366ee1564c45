//! What operators and programs see: RESTCONF, event streams and the page, on one HTTP server.

pub(crate) mod auth;
pub(crate) mod connection;
pub(crate) mod page;
pub(crate) mod restconf;
