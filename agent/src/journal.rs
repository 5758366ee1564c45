//! Configuration as the store keeps it: a snapshot is JSON of the explicit data, a change is what
//! [`Diff::to_journal`](tranche_yang::Diff::to_journal) writes.

use tranche_yang::{Content, Diff, Error, Format, PrintOptions, Schema, Tree};

use crate::store::Stored;

/// A change for the journal.
///
/// # Errors
/// Out of memory.
pub fn encode(diff: &Diff) -> Result<Vec<u8>, Error> {
    diff.to_journal()
}

/// A whole configuration for a snapshot.
#[must_use]
pub fn encode_tree(tree: &Tree) -> Vec<u8> {
    tree.print(Format::Json, PrintOptions::default())
        .into_bytes()
}

/// The configuration of a snapshot, not validated.
///
/// # Errors
/// Not text, or not data of this schema.
pub fn decode_tree(schema: &'static Schema, snapshot: &[u8]) -> Result<Tree, Vec<Error>> {
    let text = std::str::from_utf8(snapshot).map_err(|error| {
        vec![Error::new(
            tranche_netconf::error::ErrorTag::OperationFailed,
            format!("the stored configuration is not text: {error}"),
        )]
    })?;
    Tree::parse(schema, Format::Json, text, Content::ConfigUnvalidated)
}

/// The configuration of a snapshot and the journal after it, not validated.
///
/// # Errors
/// Damaged, or not data of this schema.
pub fn decode(schema: &'static Schema, stored: &Stored) -> Result<Tree, Vec<Error>> {
    let mut tree = decode_tree(schema, &stored.snapshot)?;
    for change in &stored.journal {
        tree.replay(change)?;
    }
    Ok(tree)
}
