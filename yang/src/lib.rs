//! YANG schema and data: trees, edit-config, filters, diffs, datastores and access control over libyang.
//!
//! Owns everything that needs a schema and nothing else. Opens no socket, reads no file but the YANG modules it is
//! told to load, and never logs or prints values. libyang stays inside: no type of it is in the public interface.

mod context;
mod error;
mod ffi;
mod tree;

pub use context::{Builder, Module, Schema, SchemaNode};
pub use error::{Error, Result};
pub use ffi::Kind;
pub use tree::{Content, Format, Node, PrintOptions, Tree};
