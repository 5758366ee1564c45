//! YANG schema and data: trees, edit-config, filters, diffs, datastores and access control over libyang.
//!
//! Owns everything that needs a schema and nothing else. Opens no socket, reads no file but the YANG modules it is
//! told to load, and never logs or prints values. libyang stays inside: no type of it is in the public interface.

pub mod clock;
pub mod crypt;

mod context;
pub mod datastore;
mod diff;
pub mod edit;
mod error;
mod ffi;
pub mod filter;
mod journal;
mod library;
pub mod nacm;
mod path;
pub mod restconf;
mod rpc;
mod tree;
pub mod write_only;
mod xpath;

pub use context::{Builder, Module, Schema, SchemaNode};
pub use datastore::{Datastores, Proposal};
pub use diff::{Change, ChangeOp, Diff};
pub use edit::Edit;
pub use error::{Error, Result};
pub use ffi::Kind;
pub use library::SchemaEntry;
pub use rpc::{Operation, Part};
pub use tree::{Content, Format, Node, PrintOptions, Tree};
