//! The embedded database: its files, and what is on the disk when.
//!
//! Knows nothing of what the keys mean. After an error of [`Database::write`] or [`Database::flush`] it is of no more use: the
//! database refuses everything from then on, so it has to be dropped and opened again.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sled::{Batch, IVec};

use super::StoreError;

const CACHE_BYTES: u64 = 4 * 1024 * 1024;
/// How long a database that was dropped may take to let go of its files, and how often that is tried.
const CLOSE_WAIT: Duration = Duration::from_secs(1);
const CLOSE_POLL: Duration = Duration::from_millis(5);

/// An open database.
#[derive(Debug)]
pub(super) struct Database {
    path: PathBuf,
    db: sled::Db,
    file: File,
}

impl Database {
    /// Opens the database in the directory `path`, which is made if it is not there.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let config = sled::Config::new()
            .path(path)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(None);
        let db = config.open().map_err(|source| match &source {
            sled::Error::Io(error) if error.to_string().contains("could not acquire lock") => {
                StoreError::InUse {
                    path: path.to_owned(),
                }
            }
            _ => StoreError::Database {
                path: path.to_owned(),
                source,
            },
        })?;
        let file = File::open(path.join("db")).map_err(|source| StoreError::Sync {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            path: path.to_owned(),
            db,
            file,
        })
    }

    /// As [`Database::open`], a moment after this process dropped it.
    #[expect(
        clippy::disallowed_methods,
        reason = "whoever uses a store is on a thread that may wait"
    )]
    pub(super) fn open_again(path: &Path) -> Result<Self, StoreError> {
        let deadline = Instant::now() + CLOSE_WAIT;
        loop {
            match Self::open(path) {
                Err(StoreError::InUse { .. }) if Instant::now() < deadline => {
                    std::thread::sleep(CLOSE_POLL);
                }
                opened => return opened,
            }
        }
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<IVec>, StoreError> {
        self.db.get(key).map_err(|e| self.failed(e))
    }

    /// A number of eight bytes.
    pub(super) fn number(&self, key: &[u8]) -> Result<Option<u64>, StoreError> {
        let Some(value) = self.get(key)? else {
            return Ok(None);
        };
        let bytes = <[u8; 8]>::try_from(&*value)
            .map_err(|_| self.damaged("a sequence number is not one"))?;
        Ok(Some(u64::from_be_bytes(bytes)))
    }

    /// Everything within a range of keys.
    pub(super) fn range(&self, keys: Range<[u8; 9]>) -> Result<Vec<(IVec, IVec)>, StoreError> {
        let entries: Result<_, _> = self.db.range(keys).collect();
        entries.map_err(|e| self.failed(e))
    }

    /// The keys that begin with `prefix`.
    pub(super) fn keys(&self, prefix: &[u8]) -> Result<Vec<IVec>, StoreError> {
        let keys: Result<_, _> = self.db.scan_prefix(prefix).keys().collect();
        keys.map_err(|e| self.failed(e))
    }

    /// The values of the keys that begin with `prefix`, one after the other.
    pub(super) fn joined(&self, prefix: &[u8]) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::new();
        for entry in self.db.scan_prefix(prefix) {
            let (_, value) = entry.map_err(|e| self.failed(e))?;
            bytes.extend_from_slice(&value);
        }
        Ok(bytes)
    }

    /// Puts a value that is on disk after the next [`Database::write`] or [`Database::flush`].
    pub(super) fn insert(&self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.db
            .insert(key, value)
            .map_err(|e| self.failed(e))
            .map(drop)
    }

    /// Removes a key; durable as with [`Database::insert`].
    pub(super) fn remove(&self, key: &[u8]) -> Result<(), StoreError> {
        self.db.remove(key).map_err(|e| self.failed(e)).map(drop)
    }

    /// Carries out a batch, all or nothing, and returns once it is on disk.
    pub(super) fn write(&self, batch: Batch) -> Result<(), StoreError> {
        self.db.apply_batch(batch).map_err(|e| self.failed(e))?;
        self.flush()
    }

    /// To the platter: the database itself asks for `sync_file_range` only, which leaves the disk's own cache alone.
    pub(super) fn flush(&self) -> Result<(), StoreError> {
        self.db.flush().map_err(|e| self.failed(e))?;
        self.file.sync_data().map_err(|source| StoreError::Sync {
            path: self.path.clone(),
            source,
        })
    }

    pub(super) fn damaged(&self, what: &'static str) -> StoreError {
        StoreError::Damaged {
            path: self.path.clone(),
            what,
        }
    }

    fn failed(&self, source: sled::Error) -> StoreError {
        StoreError::Database {
            path: self.path.clone(),
            source,
        }
    }
}
