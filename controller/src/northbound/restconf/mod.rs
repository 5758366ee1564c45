//! RESTCONF (RFC 8040).

pub(crate) mod condition;
pub(crate) mod error;
pub(crate) mod media;
pub(crate) mod query;
pub(crate) mod uri;
