//! What a node keeps on disk: a snapshot of running, the journal of changes since, and an open confirmed commit.
//!
//! Owns the layout of the embedded database and what is durable when. Knows no YANG: snapshots and changes are bytes that
//! [`crate::startup`] writes and reads. Everything here blocks on the disk: call it on a thread that may wait.
//!
//! ```text
//! v                     version of this layout
//! h                     head: sequence number of the snapshot in use
//! s <seq> <chunk>       the snapshot of sequence number <seq>, in chunks
//! j <seq>               the change that leads from <seq>-1 to <seq>
//! p                     open confirmed commit: the sequence number to go back to
//! u <chunk>             startup, in chunks
//! d                     startup was deleted
//! ```
//! A confirmed commit that is still open when the database is loaded was cut off by a crash: what came after its start is
//! dropped (RFC 6241 8.4.1), which is why no snapshot is taken while one is open.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sled::{Batch, IVec};

const LAYOUT: &[u8] = b"1";
const VERSION_KEY: &[u8] = b"v";
const HEAD_KEY: &[u8] = b"h";
const PENDING_KEY: &[u8] = b"p";
const DELETED_KEY: &[u8] = b"d";
const SNAPSHOT: u8 = b's';
const JOURNAL: u8 = b'j';
const STARTUP: u8 = b'u';
const CHUNK_BYTES: usize = 128 * 1024;
const CACHE_BYTES: u64 = 4 * 1024 * 1024;
/// Changes after which a new snapshot pays, however small they are.
const JOURNAL_ENTRIES: u64 = 512;
/// Bytes of changes that are always kept before a new snapshot.
const JOURNAL_BYTES: u64 = 256 * 1024;

/// Why the store could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it open.
    #[error("the store {path} is in use by another process", path = .path.display())]
    InUse {
        /// The store.
        path: PathBuf,
    },
    /// The database refused.
    #[error("the store {path} failed", path = .path.display())]
    Database {
        /// The store.
        path: PathBuf,
        /// Its words.
        #[source]
        source: sled::Error,
    },
    /// The file system refused.
    #[error("the store {path} could not be made durable", path = .path.display())]
    Sync {
        /// The store.
        path: PathBuf,
        /// Its words.
        #[source]
        source: std::io::Error,
    },
    /// What is in it is not what this agent writes.
    #[error("the store {path} is damaged: {what}", path = .path.display())]
    Damaged {
        /// The store.
        path: PathBuf,
        /// In which way.
        what: &'static str,
    },
}

/// What a change means for an open confirmed commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// Nothing: open stays open, closed stays closed.
    Unchanged,
    /// It opens one; where one is open already, that one's start stays what a crash goes back to.
    Open,
    /// It closes it: what is in force afterwards stays.
    Close,
}

/// What was found in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The last snapshot of running.
    pub snapshot: Vec<u8>,
    /// The changes after it, oldest first.
    pub journal: Vec<Vec<u8>>,
    /// Changes that were dropped because they were inside a confirmed commit that nobody confirmed.
    pub reverted: Option<usize>,
}

/// What is known of the startup configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Startup {
    /// It was never stored.
    Never,
    /// It was deleted.
    Deleted,
    /// It is this.
    Stored(Vec<u8>),
}

/// The durable side of one node.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    db: sled::Db,
    file: File,
    position: Mutex<Position>,
}

/// Where the journal stands.
#[derive(Debug, Clone, Copy, Default)]
struct Position {
    written: bool,
    snapshot: u64,
    head: u64,
    snapshot_bytes: u64,
    journal_bytes: u64,
    pending: Option<u64>,
}

impl Store {
    /// Opens the store in the directory `path`, which is made if it is not there.
    ///
    /// # Errors
    /// In use by another process, written by another version, or the file system refuses.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
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
            position: Mutex::default(),
        })
    }

    /// Reads what is stored; `None` if nothing was ever stored. A confirmed commit that was never confirmed is taken back
    /// here, durably.
    ///
    /// # Errors
    /// Damaged, or the database refuses.
    pub fn load(&self) -> Result<Option<Stored>, StoreError> {
        let Some(version) = self.db.get(VERSION_KEY).map_err(|e| self.database(e))? else {
            return Ok(None);
        };
        if version != LAYOUT {
            return Err(self.damaged("it was written by another version of the agent"));
        }
        let base = self
            .number(HEAD_KEY)?
            .ok_or_else(|| self.damaged("there is no snapshot"))?;
        let snapshot = self.chunks(&snapshot_prefix(base))?;
        let pending = self.number(PENDING_KEY)?;
        let mut journal = Vec::new();
        let mut dropped = Batch::default();
        let mut dropped_count = 0;
        let entries = self.db.range(journal_key(base + 1)..journal_key(u64::MAX));
        for (expected, entry) in (base + 1..).zip(entries) {
            let (key, change) = entry.map_err(|e| self.database(e))?;
            if key != journal_key(expected) {
                return Err(self.damaged("a change is missing from the journal"));
            }
            if pending.is_some_and(|last| expected > last) {
                dropped.remove(&*key);
                dropped_count += 1;
            } else {
                journal.push(change.to_vec());
            }
        }
        if pending.is_some() {
            dropped.remove(PENDING_KEY);
            self.write(dropped)?;
        }
        self.remove_left_over_snapshots(base)?;
        *self.position() = Position {
            written: true,
            snapshot: base,
            head: base + journal.len() as u64,
            snapshot_bytes: snapshot.len() as u64,
            journal_bytes: journal.iter().map(|change| change.len() as u64).sum(),
            pending: None,
        };
        Ok(Some(Stored {
            snapshot,
            journal,
            reverted: pending.map(|_| dropped_count),
        }))
    }

    /// Writes one change and returns once it is on disk. Changes are written one after the other, by one writer.
    ///
    /// # Errors
    /// The database or the file system refuses; the change is then taken back as far as the disk lets it.
    pub fn append(&self, change: &[u8], window: Window) -> Result<(), StoreError> {
        let before = *self.position();
        let head = before.head + 1;
        let pending = match window {
            Window::Unchanged => before.pending,
            Window::Open => Some(before.pending.unwrap_or(before.head)),
            Window::Close => None,
        };
        let mut batch = Batch::default();
        batch.insert(&journal_key(head), change);
        put_pending(&mut batch, pending);
        if let Err(error) = self.write(batch) {
            let mut undo = Batch::default();
            undo.remove(&journal_key(head));
            put_pending(&mut undo, before.pending);
            if let Err(again) = self.write(undo) {
                tracing::error!(error = %again, "a change that failed to be stored could not be removed either");
            }
            return Err(error);
        }
        let mut position = self.position();
        position.head = head;
        position.journal_bytes += change.len() as u64;
        position.pending = pending;
        Ok(())
    }

    /// Opens or closes a confirmed commit that changes nothing, durably.
    ///
    /// # Errors
    /// The database or the file system refuses.
    pub fn mark(&self, window: Window) -> Result<(), StoreError> {
        let before = *self.position();
        let pending = match window {
            Window::Unchanged => return Ok(()),
            Window::Open => Some(before.pending.unwrap_or(before.head)),
            Window::Close => None,
        };
        let mut batch = Batch::default();
        put_pending(&mut batch, pending);
        self.write(batch)?;
        self.position().pending = pending;
        Ok(())
    }

    /// Whether a snapshot would now cost less than the journal does.
    #[must_use]
    pub fn wants_snapshot(&self) -> bool {
        let position = *self.position();
        position.pending.is_none()
            && (position.head - position.snapshot >= JOURNAL_ENTRIES
                || position.journal_bytes >= JOURNAL_BYTES.max(position.snapshot_bytes))
    }

    /// Replaces the snapshot and the journal by the whole of running as it is after the last change; the first one makes
    /// the store non-empty. A crash in the middle leaves either the old or the new one. Does nothing while a confirmed
    /// commit is open.
    ///
    /// # Errors
    /// The database or the file system refuses.
    pub fn snapshot(&self, running: &[u8]) -> Result<(), StoreError> {
        let before = *self.position();
        if before.pending.is_some() || (before.written && before.snapshot == before.head) {
            return Ok(());
        }
        self.rebase(running, before.head)
    }

    /// Forgets what was running and starts from `running` instead, durably and in one step.
    ///
    /// # Errors
    /// The database or the file system refuses.
    pub fn reset(&self, running: &[u8]) -> Result<(), StoreError> {
        let before = *self.position();
        self.rebase(
            running,
            if before.written {
                before.head + 1
            } else {
                before.head
            },
        )
    }

    /// Makes `running` the snapshot of sequence number `seq`, which no stored snapshot has.
    fn rebase(&self, running: &[u8], seq: u64) -> Result<(), StoreError> {
        let before = *self.position();
        self.remove_all(&snapshot_prefix(seq))?;
        for (key, chunk) in chunked(&snapshot_prefix(seq), running) {
            self.db.insert(key, chunk).map_err(|e| self.database(e))?;
        }
        self.flush()?;
        let mut batch = Batch::default();
        batch.insert(VERSION_KEY, LAYOUT);
        batch.insert(HEAD_KEY, &seq.to_be_bytes());
        batch.remove(PENDING_KEY);
        if before.written {
            for key in self.keys(&snapshot_prefix(before.snapshot))? {
                batch.remove(key);
            }
            for old in before.snapshot + 1..=before.head {
                batch.remove(&journal_key(old));
            }
        }
        self.write(batch)?;
        *self.position() = Position {
            written: true,
            snapshot: seq,
            head: seq,
            snapshot_bytes: running.len() as u64,
            journal_bytes: 0,
            pending: None,
        };
        Ok(())
    }

    /// What is known of startup.
    ///
    /// # Errors
    /// The database refuses.
    pub fn startup(&self) -> Result<Startup, StoreError> {
        if self.keys(&[STARTUP])?.is_empty() {
            let deleted = self
                .db
                .get(DELETED_KEY)
                .map_err(|e| self.database(e))?
                .is_some();
            return Ok(if deleted {
                Startup::Deleted
            } else {
                Startup::Never
            });
        }
        self.chunks(&[STARTUP]).map(Startup::Stored)
    }

    /// Replaces the stored startup configuration (`None` deletes it), durably and in one step.
    ///
    /// # Errors
    /// The database or the file system refuses.
    pub fn set_startup(&self, startup: Option<&[u8]>) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        for key in self.keys(&[STARTUP])? {
            batch.remove(key);
        }
        match startup {
            Some(startup) => {
                batch.remove(DELETED_KEY);
                for (key, chunk) in chunked(&[STARTUP], startup) {
                    batch.insert(key, chunk);
                }
            }
            None => batch.insert(DELETED_KEY, LAYOUT),
        }
        self.write(batch)
    }

    fn write(&self, batch: Batch) -> Result<(), StoreError> {
        self.db.apply_batch(batch).map_err(|e| self.database(e))?;
        self.flush()
    }

    /// To the platter: the database itself asks for `sync_file_range` only, which leaves the disk's own cache alone.
    fn flush(&self) -> Result<(), StoreError> {
        self.db.flush().map_err(|e| self.database(e))?;
        self.file.sync_data().map_err(|source| StoreError::Sync {
            path: self.path.clone(),
            source,
        })
    }

    /// A crash between the chunks of a new snapshot and the switch to it leaves chunks that nobody reads.
    fn remove_left_over_snapshots(&self, in_use: u64) -> Result<(), StoreError> {
        for key in self.keys(&[SNAPSHOT])? {
            if !key.starts_with(&snapshot_prefix(in_use)) {
                self.db.remove(key).map_err(|e| self.database(e))?;
            }
        }
        Ok(())
    }

    fn remove_all(&self, prefix: &[u8]) -> Result<(), StoreError> {
        for stale in self.keys(prefix)? {
            self.db.remove(stale).map_err(|e| self.database(e))?;
        }
        Ok(())
    }

    fn chunks(&self, prefix: &[u8]) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::new();
        for entry in self.db.scan_prefix(prefix) {
            let (_, chunk) = entry.map_err(|e| self.database(e))?;
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    fn keys(&self, prefix: &[u8]) -> Result<Vec<IVec>, StoreError> {
        let keys: Result<_, _> = self.db.scan_prefix(prefix).keys().collect();
        keys.map_err(|e| self.database(e))
    }

    fn number(&self, key: &[u8]) -> Result<Option<u64>, StoreError> {
        let Some(value) = self.db.get(key).map_err(|e| self.database(e))? else {
            return Ok(None);
        };
        let bytes = <[u8; 8]>::try_from(&*value)
            .map_err(|_| self.damaged("a sequence number is not one"))?;
        Ok(Some(u64::from_be_bytes(bytes)))
    }

    fn position(&self) -> MutexGuard<'_, Position> {
        self.position.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn database(&self, source: sled::Error) -> StoreError {
        StoreError::Database {
            path: self.path.clone(),
            source,
        }
    }

    fn damaged(&self, what: &'static str) -> StoreError {
        StoreError::Damaged {
            path: self.path.clone(),
            what,
        }
    }
}

fn put_pending(batch: &mut Batch, pending: Option<u64>) {
    match pending {
        Some(seq) => batch.insert(PENDING_KEY, &seq.to_be_bytes()),
        None => batch.remove(PENDING_KEY),
    }
}

fn journal_key(seq: u64) -> [u8; 9] {
    numbered(JOURNAL, seq)
}

fn snapshot_prefix(seq: u64) -> [u8; 9] {
    numbered(SNAPSHOT, seq)
}

fn numbered(kind: u8, seq: u64) -> [u8; 9] {
    let mut key = [kind; 9];
    key[1..].copy_from_slice(&seq.to_be_bytes());
    key
}

/// At least one chunk, so that an empty configuration is told from none.
fn chunked<'a>(prefix: &'a [u8], bytes: &'a [u8]) -> impl Iterator<Item = (Vec<u8>, &'a [u8])> {
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

    /// The database gives its lock back a moment after it is dropped.
    fn opened(dir: &Path) -> Store {
        for _ in 0..100_000 {
            match Store::open(dir) {
                Err(StoreError::InUse { .. }) => std::thread::yield_now(),
                opened => return opened.unwrap(),
            }
        }
        panic!("the store stays locked");
    }

    fn reopened(dir: &Path) -> (Store, Option<Stored>) {
        let store = opened(dir);
        let stored = store.load().unwrap();
        (store, stored)
    }

    #[test]
    fn an_empty_store_has_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (store, stored) = reopened(dir.path());
        assert_eq!(stored, None);
        assert_eq!(store.startup().unwrap(), Startup::Never);
    }

    #[test]
    fn changes_come_back_in_order_after_the_snapshot() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = reopened(dir.path());
        store.snapshot(b"base").unwrap();
        store.append(b"one", Window::Unchanged).unwrap();
        store.append(b"two", Window::Unchanged).unwrap();
        drop(store);
        let (_, stored) = reopened(dir.path());
        let stored = stored.unwrap();
        assert_eq!(stored.snapshot, b"base");
        assert_eq!(stored.journal, [b"one".to_vec(), b"two".to_vec()]);
        assert_eq!(stored.reverted, None);
    }

    #[test]
    fn a_snapshot_of_many_chunks_replaces_the_journal() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = reopened(dir.path());
        store.snapshot(b"base").unwrap();
        let big: Vec<u8> = (0..CHUNK_BYTES * 3 + 17).map(|i| (i % 251) as u8).collect();
        store.append(&big, Window::Unchanged).unwrap();
        assert!(store.wants_snapshot());
        store.snapshot(&big).unwrap();
        assert!(!store.wants_snapshot());
        store.append(b"after", Window::Unchanged).unwrap();
        drop(store);
        let (_, stored) = reopened(dir.path());
        let stored = stored.unwrap();
        assert_eq!(stored.snapshot, big);
        assert_eq!(stored.journal, [b"after".to_vec()]);
    }

    #[test]
    fn an_open_confirmed_commit_is_dropped_by_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = reopened(dir.path());
        store.snapshot(b"base").unwrap();
        store.append(b"kept", Window::Unchanged).unwrap();
        store.append(b"tentative", Window::Open).unwrap();
        store.append(b"more", Window::Open).unwrap();
        store
            .append(b"an edit in between", Window::Unchanged)
            .unwrap();
        assert!(!store.wants_snapshot());
        drop(store);
        let (store, stored) = reopened(dir.path());
        let stored = stored.unwrap();
        assert_eq!(stored.journal, [b"kept".to_vec()]);
        assert_eq!(stored.reverted, Some(3));
        store.append(b"next", Window::Unchanged).unwrap();
        drop(store);
        let (_, stored) = reopened(dir.path());
        let stored = stored.unwrap();
        assert_eq!(stored.journal, [b"kept".to_vec(), b"next".to_vec()]);
        assert_eq!(stored.reverted, None);
    }

    #[test]
    fn a_confirmed_commit_that_was_closed_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = reopened(dir.path());
        store.snapshot(b"base").unwrap();
        store.append(b"tentative", Window::Open).unwrap();
        store.mark(Window::Close).unwrap();
        drop(store);
        let (_, stored) = reopened(dir.path());
        assert_eq!(stored.unwrap().journal, [b"tentative".to_vec()]);
    }

    #[test]
    fn startup_is_replaced_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = reopened(dir.path());
        store.set_startup(Some(&vec![7; CHUNK_BYTES + 1])).unwrap();
        store.set_startup(Some(b"")).unwrap();
        drop(store);
        let (store, stored) = reopened(dir.path());
        assert_eq!(stored, None, "startup alone is not a running configuration");
        assert_eq!(store.startup().unwrap(), Startup::Stored(Vec::new()));
        store.set_startup(None).unwrap();
        assert_eq!(store.startup().unwrap(), Startup::Deleted);
    }

    #[test]
    fn a_reset_forgets_snapshot_and_journal() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = reopened(dir.path());
        store.snapshot(b"base").unwrap();
        store.append(b"one", Window::Open).unwrap();
        store.reset(b"anew").unwrap();
        store.append(b"two", Window::Unchanged).unwrap();
        drop(store);
        let (_, stored) = reopened(dir.path());
        let stored = stored.unwrap();
        assert_eq!(stored.snapshot, b"anew");
        assert_eq!(stored.journal, [b"two".to_vec()]);
    }

    #[test]
    fn a_second_opening_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let _first = Store::open(dir.path()).unwrap();
        let second = Store::open(dir.path()).unwrap_err();
        assert!(matches!(second, StoreError::InUse { .. }), "{second:?}");
    }
}
