//! The embedded database: its files, and what is on the disk when.
//!
//! Owns what one has to know of `sled`, and is the only one that names it. Knows nothing of what the keys mean. Everything here
//! blocks on the disk: call it on a thread that may wait.
//!
//! - After one error of the disk the database refuses everything, and what it failed to write may be on the disk all the same.
//!   So whoever gets [`Error::Failed`] or [`Error::Sync`] drops the [`Database`], opens it again, and takes
//!   out what was not acknowledged.
//! - It keeps up to 17 values in one page. A page of more than 128 KiB it puts into a file of its own, and waits for ever where
//!   that cannot be written. So large values go in as [`chunks`].
//! - Its own flush leaves the disk's cache alone; [`Database::flush`] does not.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use sled::{Batch, IVec};

/// Largest value that may be put under one key.
pub const CHUNK_BYTES: usize = 4 * 1024;

/// What the targets of its log begin with. It logs what it writes: above warnings there are values in it.
pub const LOG_TARGET: &str = "sled";

const CACHE_BYTES: u64 = 4 * 1024 * 1024;
/// How long a database that was dropped may take to let go of its files, and how often that is tried.
const CLOSE_WAIT: Duration = Duration::from_secs(2);
const CLOSE_POLL: Duration = Duration::from_millis(5);

/// Why the database could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process has it open.
    #[error("the store {path} is in use by another process", path = .path.display())]
    InUse {
        /// Its directory.
        path: PathBuf,
    },
    /// It refused, and does so until it is opened again.
    #[error("the store {path} failed", path = .path.display())]
    Failed {
        /// Its directory.
        path: PathBuf,
        /// Its words.
        #[source]
        source: sled::Error,
    },
    /// The file system refused.
    #[error("the store {path} could not be made durable", path = .path.display())]
    Sync {
        /// Its directory.
        path: PathBuf,
        /// Its words.
        #[source]
        source: std::io::Error,
    },
}

/// An open database.
#[derive(Debug)]
pub struct Database {
    path: PathBuf,
    db: sled::Db,
    file: File,
}

impl Database {
    /// Opens the database in the directory `path`, which is made if it is not there. One that this process dropped a moment
    /// ago is waited for.
    ///
    /// # Errors
    /// In use by another process, or it cannot be read or written.
    #[expect(
        clippy::disallowed_methods,
        reason = "whoever uses a database is on a thread that may wait"
    )]
    pub fn open(path: &Path) -> Result<Self, Error> {
        let deadline = Instant::now() + CLOSE_WAIT;
        loop {
            match Self::try_open(path) {
                Err(Error::InUse { .. }) if Instant::now() < deadline => {
                    std::thread::sleep(CLOSE_POLL);
                }
                opened => return opened,
            }
        }
    }

    fn try_open(path: &Path) -> Result<Self, Error> {
        let config = sled::Config::new()
            .path(path)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(None);
        let db = config.open().map_err(|source| match &source {
            // It has no error of its own for a lock that is held; it wraps the one of flock(2) in words.
            sled::Error::Io(error) if error.to_string().contains("could not acquire lock") => {
                Error::InUse {
                    path: path.to_owned(),
                }
            }
            _ => Error::Failed {
                path: path.to_owned(),
                source,
            },
        })?;
        let file = File::open(path.join("db")).map_err(|source| Error::Sync {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            path: path.to_owned(),
            db,
            file,
        })
    }

    /// The directory it is in.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether nobody has put anything into it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        // One that others wrote may keep things beside the one tree that is used here.
        self.db.is_empty() && self.db.tree_names().len() == 1
    }

    /// The value of a key.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn get(&self, key: &[u8]) -> Result<Option<IVec>, Error> {
        self.db.get(key).map_err(|e| self.failed(e))
    }

    /// Everything within a range of keys, in the order of the keys.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn range<K: AsRef<[u8]>>(&self, keys: Range<K>) -> Result<Vec<(IVec, IVec)>, Error> {
        let entries: Result<_, _> = self.db.range(keys).collect();
        entries.map_err(|e| self.failed(e))
    }

    /// The first key that is not below `from`.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn next_key(&self, from: &[u8]) -> Result<Option<IVec>, Error> {
        let mut keys = self.db.range(from..).keys();
        keys.next().transpose().map_err(|e| self.failed(e))
    }

    /// The keys that begin with `prefix`, in order.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn keys(&self, prefix: &[u8]) -> Result<Vec<IVec>, Error> {
        let keys: Result<_, _> = self.db.scan_prefix(prefix).keys().collect();
        keys.map_err(|e| self.failed(e))
    }

    /// The values of the keys that begin with `prefix`, one after the other: what was put there as [`chunks`].
    ///
    /// # Errors
    /// It cannot be read.
    pub fn joined(&self, prefix: &[u8]) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        for entry in self.db.scan_prefix(prefix) {
            let (_, value) = entry.map_err(|e| self.failed(e))?;
            bytes.extend_from_slice(&value);
        }
        Ok(bytes)
    }

    /// Puts a value that is on disk after the next [`Database::write`] or [`Database::flush`].
    ///
    /// # Errors
    /// It cannot be written.
    pub fn insert(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.db
            .insert(key, value)
            .map_err(|e| self.failed(e))
            .map(drop)
    }

    /// Removes a key; durable as with [`Database::insert`].
    ///
    /// # Errors
    /// It cannot be written.
    pub fn remove(&self, key: &[u8]) -> Result<(), Error> {
        self.db.remove(key).map_err(|e| self.failed(e)).map(drop)
    }

    /// Carries out a batch, all or nothing, and returns once it is on disk.
    ///
    /// # Errors
    /// It cannot be written; what is on the disk then is not known.
    pub fn write(&self, batch: Batch) -> Result<(), Error> {
        self.db.apply_batch(batch).map_err(|e| self.failed(e))?;
        self.flush()
    }

    /// To the platter: the database itself asks for `sync_file_range` only, which leaves the disk's own cache alone.
    ///
    /// # Errors
    /// As [`Database::write`].
    pub fn flush(&self) -> Result<(), Error> {
        self.db.flush().map_err(|e| self.failed(e))?;
        self.file.sync_data().map_err(|source| Error::Sync {
            path: self.path.clone(),
            source,
        })
    }

    fn failed(&self, source: sled::Error) -> Error {
        Error::Failed {
            path: self.path.clone(),
            source,
        }
    }
}

/// Cuts a value into pieces that may be put, each with its key: `prefix` and the number of the piece. There is at least one, so
/// that an empty value is told from none.
pub fn chunks<'a>(prefix: &'a [u8], bytes: &'a [u8]) -> impl Iterator<Item = (Vec<u8>, &'a [u8])> {
    let empty: &[u8] = &[];
    let chunks = bytes
        .chunks(CHUNK_BYTES)
        .chain(bytes.is_empty().then_some(empty));
    chunks.zip(0_u32..).map(move |(chunk, number)| {
        let mut key = prefix.to_vec();
        key.extend_from_slice(&number.to_be_bytes());
        (key, chunk)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_value_is_kept_in_chunks_and_survives() {
        let dir = tempfile::tempdir().unwrap();
        let large: Vec<u8> = (0..CHUNK_BYTES * 2000 + 17)
            .map(|i| (i % 251) as u8)
            .collect();
        let database = Database::open(dir.path()).unwrap();
        let mut batch = Batch::default();
        for (key, chunk) in chunks(b"large ", &large).chain(chunks(b"none ", b"")) {
            batch.insert(key, chunk);
        }
        database.write(batch).unwrap();
        drop(database);
        let blobs = std::fs::read_dir(dir.path().join("blobs")).unwrap();
        assert_eq!(blobs.count(), 0, "no file of its own");
        let database = Database::open(dir.path()).unwrap();
        assert_eq!(database.joined(b"large ").unwrap(), large);
        assert_eq!(database.keys(b"none ").unwrap().len(), 1);
        assert_eq!(
            database.next_key(b"larger").unwrap().as_deref(),
            Some(&b"none \0\0\0\0"[..])
        );
        assert_eq!(database.next_key(b"o").unwrap(), None);
    }

    #[test]
    fn what_others_put_in_it_is_not_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Database::open(dir.path()).unwrap().is_empty());
        let other = Database::open(dir.path()).unwrap();
        assert!(other.is_empty());
        other.db.open_tree("data").unwrap();
        drop(other);
        assert!(!Database::open(dir.path()).unwrap().is_empty());
    }

    #[test]
    fn a_second_opening_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let _first = Database::open(dir.path()).unwrap();
        let second = Database::open(dir.path()).unwrap_err();
        assert!(matches!(second, Error::InUse { .. }), "{second:?}");
        assert!(
            second
                .to_string()
                .contains(&dir.path().display().to_string())
        );
    }
}
