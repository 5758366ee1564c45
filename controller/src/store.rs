//! What outlives the process: keys and values with revisions, changed by transactions.
//!
//! [`Store`] is what the controller needs of a store, small enough for an embedded one ([`LocalStore`]) and a replicated
//! one alike. [`History`] keeps the last commits in a store. Owns durability: what a transaction acknowledged survives the
//! loss of the process. Telemetry and scheduler state never come here.

mod history;
mod local;

use std::ops::Bound;

use futures_util::future::BoxFuture;

pub use self::history::{CommitInfo, CommitRecord, History, HistoryError};
pub use self::local::LocalStore;

/// Number of a transaction; each one is greater than those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub u64);

/// A key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Key.
    pub key: Vec<u8>,
    /// Value.
    pub value: Vec<u8>,
    /// The transaction that wrote it.
    pub revision: Revision,
}

/// A condition of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compare {
    /// The key is not there.
    Absent {
        /// Key.
        key: Vec<u8>,
    },
    /// The key was last written by that transaction.
    Revision {
        /// Key.
        key: Vec<u8>,
        /// Its revision.
        revision: Revision,
    },
}

impl Compare {
    /// The key it is about.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        match self {
            Self::Absent { key } | Self::Revision { key, .. } => key,
        }
    }
}

/// A change of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Writes a key.
    Put {
        /// Key.
        key: Vec<u8>,
        /// Value.
        value: Vec<u8>,
    },
    /// Removes a key, if it is there.
    Delete {
        /// Key.
        key: Vec<u8>,
    },
}

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A condition of the transaction does not hold; nothing was changed.
    #[error("the key {} was changed by another", String::from_utf8_lossy(.key))]
    Conflict {
        /// The key of the condition.
        key: Vec<u8>,
    },
    /// It was written by something else, or by a later version.
    #[error("{path} is not a store of this version: {reason}")]
    Foreign {
        /// Where it is.
        path: std::path::PathBuf,
        /// How that shows.
        reason: String,
    },
    /// It can't be opened, read or written; a transaction changed nothing then.
    #[error(transparent)]
    Database(#[from] tranche_database::Error),
    /// What was asked for ended in a fault.
    #[error("the store gave up what was asked for")]
    GivenUp(#[source] tokio::task::JoinError),
}

/// Keys and values with revisions.
pub trait Store: Send + Sync + std::fmt::Debug {
    /// The entries whose keys lie within the bounds, in the order of their keys.
    fn range(
        &self,
        from: Bound<Vec<u8>>,
        to: Bound<Vec<u8>>,
    ) -> BoxFuture<'_, Result<Vec<Entry>, StoreError>>;

    /// Carries out all of `ops`, in order, if all of `compare` holds, or nothing. When it returns, the change is on disk.
    fn txn(
        &self,
        compare: Vec<Compare>,
        ops: Vec<Op>,
    ) -> BoxFuture<'_, Result<Revision, StoreError>>;
}

/// Bounds of the keys that begin with `prefix`.
#[must_use]
pub fn prefix(prefix: &[u8]) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return (Bound::Included(prefix.to_vec()), Bound::Excluded(end));
        }
    }
    (Bound::Included(prefix.to_vec()), Bound::Unbounded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_has_an_end() {
        assert_eq!(
            prefix(b"ab"),
            (
                Bound::Included(b"ab".to_vec()),
                Bound::Excluded(b"ac".to_vec())
            )
        );
        assert_eq!(
            prefix(&[1, 255]),
            (Bound::Included(vec![1, 255]), Bound::Excluded(vec![2]))
        );
        assert_eq!(
            prefix(&[255]),
            (Bound::Included(vec![255]), Bound::Unbounded)
        );
        assert_eq!(prefix(b""), (Bound::Included(vec![]), Bound::Unbounded));
    }
}
