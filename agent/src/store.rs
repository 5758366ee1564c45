//! What a node keeps on disk: a snapshot of running, the journal of changes since, and an open confirmed commit.
//!
//! Owns the layout of the embedded database and what is durable when. Knows no YANG: snapshots and changes are bytes that
//! [`crate::startup`] writes and reads. Everything here blocks on the disk: call it on a thread that may wait.
//!
//! ```text
//! v                     version of this layout
//! h                     head: sequence number of the snapshot in use
//! s <seq> <chunk>       the snapshot of sequence number <seq>, in chunks
//! j <seq> <chunk>       the change that leads from <seq>-1 to <seq>, in chunks
//! p                     open confirmed commit: the sequence number to go back to
//! u <chunk>             startup, in chunks
//! d                     startup was deleted
//! ```
//! A confirmed commit that is still open when the database is loaded was cut off by a crash: what came after its start is
//! dropped (RFC 6241 8.4.1), which is why no snapshot is taken while one is open.
//!
//! A database that failed to write once refuses everything from then on, and what it failed to write may or may not be on the
//! disk. So it is closed, opened again, and brought to what was acknowledged: at once if the disk lets it, else before the
//! next use.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tranche_database::{Batch, Database, chunks};

const LAYOUT: &[u8] = b"1";
const VERSION_KEY: &[u8] = b"v";
const HEAD_KEY: &[u8] = b"h";
const PENDING_KEY: &[u8] = b"p";
const DELETED_KEY: &[u8] = b"d";
const SNAPSHOT: u8 = b's';
const JOURNAL: u8 = b'j';
const STARTUP: u8 = b'u';
/// Changes after which a new snapshot pays, however small they are.
const JOURNAL_ENTRIES: u64 = 512;
/// Bytes of changes that are always kept before a new snapshot.
const JOURNAL_BYTES: u64 = 256 * 1024;

/// Why the store could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be opened, read or written.
    #[error(transparent)]
    Database(#[from] tranche_database::Error),
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
    /// None after it failed, until it could be opened again.
    database: Mutex<Option<Database>>,
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
        Ok(Self {
            path: path.to_owned(),
            database: Mutex::new(Some(Database::open(path)?)),
            position: Mutex::default(),
        })
    }

    /// Reads what is stored; `None` if nothing was ever stored. A confirmed commit that was never confirmed is taken back
    /// here, durably.
    ///
    /// # Errors
    /// Damaged, or the database refuses.
    pub fn load(&self) -> Result<Option<Stored>, StoreError> {
        self.with(|database| {
            let Some(version) = database.get(VERSION_KEY)? else {
                return Ok(None);
            };
            if version != LAYOUT {
                return Err(damaged(
                    database,
                    "it was written by another version of the agent",
                ));
            }
            let base = number(database, HEAD_KEY)?
                .ok_or_else(|| damaged(database, "there is no snapshot"))?;
            let snapshot = database.joined(&snapshot_prefix(base))?;
            let pending = number(database, PENDING_KEY)?;
            let mut journal: Vec<Vec<u8>> = Vec::new();
            let mut dropped = Batch::default();
            let mut dropped_count = 0;
            let mut head = base;
            for (key, chunk) in database.range(after(base))? {
                let is_new = !key.starts_with(&journal_key(head)) || head == base;
                if is_new {
                    head += 1;
                }
                if !key.starts_with(&journal_key(head)) {
                    return Err(damaged(database, "a change is missing from the journal"));
                }
                if pending.is_some_and(|last| head > last) {
                    dropped.remove(key);
                    dropped_count += usize::from(is_new);
                } else if is_new {
                    journal.push(chunk.to_vec());
                } else if let Some(change) = journal.last_mut() {
                    change.extend_from_slice(&chunk);
                }
            }
            if pending.is_some() {
                dropped.remove(PENDING_KEY);
                database.write(dropped)?;
            }
            remove_left_over_snapshots(database, base)?;
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
        })
    }

    /// Writes one change and returns once it is on disk. Changes are written one after the other, by one writer.
    ///
    /// # Errors
    /// The database or the file system refuses; the change is then taken back as soon as the disk lets it.
    pub fn append(&self, change: &[u8], window: Window) -> Result<(), StoreError> {
        let before = *self.position();
        let head = before.head + 1;
        let pending = before.pending_after(window);
        let mut batch = Batch::default();
        for (key, chunk) in chunks(&journal_key(head), change) {
            batch.insert(key, chunk);
        }
        put_pending(&mut batch, pending);
        self.with(|database| Ok(database.write(batch)?))?;
        let mut position = self.position();
        position.head = head;
        position.journal_bytes += change.len() as u64;
        position.pending = pending;
        Ok(())
    }

    /// Opens or closes a confirmed commit that changes nothing, durably.
    ///
    /// # Errors
    /// As [`Store::append`].
    pub fn mark(&self, window: Window) -> Result<(), StoreError> {
        let before = *self.position();
        let pending = before.pending_after(window);
        if pending == before.pending {
            return Ok(());
        }
        let mut batch = Batch::default();
        put_pending(&mut batch, pending);
        self.with(|database| Ok(database.write(batch)?))?;
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
        self.with(|database| {
            for stale in database.keys(&snapshot_prefix(seq))? {
                database.remove(&stale)?;
            }
            for (key, chunk) in chunks(&snapshot_prefix(seq), running) {
                database.insert(&key, chunk)?;
            }
            database.flush()?;
            let mut batch = Batch::default();
            batch.insert(VERSION_KEY, LAYOUT);
            batch.insert(HEAD_KEY, &seq.to_be_bytes());
            batch.remove(PENDING_KEY);
            if before.written {
                for key in database.keys(&snapshot_prefix(before.snapshot))? {
                    batch.remove(key);
                }
                for (key, _) in database.range(after(before.snapshot))? {
                    batch.remove(key);
                }
            }
            Ok(database.write(batch)?)
        })?;
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
        self.with(|database| {
            if !database.keys(&[STARTUP])?.is_empty() {
                return Ok(Startup::Stored(database.joined(&[STARTUP])?));
            }
            Ok(match database.get(DELETED_KEY)? {
                Some(_) => Startup::Deleted,
                None => Startup::Never,
            })
        })
    }

    /// Replaces the stored startup configuration (`None` deletes it), durably and in one step.
    ///
    /// # Errors
    /// The database or the file system refuses; it is then the former or the new one after a restart.
    pub fn set_startup(&self, startup: Option<&[u8]>) -> Result<(), StoreError> {
        self.with(|database| {
            let mut batch = Batch::default();
            for key in database.keys(&[STARTUP])? {
                batch.remove(key);
            }
            match startup {
                Some(startup) => {
                    batch.remove(DELETED_KEY);
                    for (key, chunk) in chunks(&[STARTUP], startup) {
                        batch.insert(key, chunk);
                    }
                }
                None => batch.insert(DELETED_KEY, LAYOUT),
            }
            Ok(database.write(batch)?)
        })
    }

    /// Works with the database, which is opened again where it failed before, or does now.
    fn with<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut slot = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        let database = match slot.take() {
            Some(open) => open,
            None => self.open_again()?,
        };
        let done = work(&database);
        match &done {
            Err(StoreError::Database(_)) => {
                drop(database);
                match self.open_again() {
                    Ok(again) => *slot = Some(again),
                    Err(error) => tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "a store that failed cannot be opened again yet"
                    ),
                }
            }
            _ => *slot = Some(database),
        }
        done
    }

    /// Opens the database again and takes back what was written but not acknowledged.
    fn open_again(&self) -> Result<Database, StoreError> {
        let database = Database::open(&self.path)?;
        let known = *self.position();
        if !known.written {
            return Ok(database);
        }
        let base = number(&database, HEAD_KEY)?;
        let is_base = |seq: u64| base == Some(seq);
        if !is_base(known.snapshot) && !is_base(known.head) {
            return Err(damaged(
                &database,
                "its snapshot is another one than before it failed",
            ));
        }
        if !is_base(known.head) && database.keys(&journal_key(known.head))?.is_empty() {
            return Err(damaged(
                &database,
                "an acknowledged change is missing from the journal",
            ));
        }
        let refused = database.range(after(known.head))?;
        if !refused.is_empty() || number(&database, PENDING_KEY)? != known.pending {
            let mut batch = Batch::default();
            for (key, _) in refused {
                batch.remove(key);
            }
            put_pending(&mut batch, known.pending);
            database.write(batch)?;
        }
        if is_base(known.head) && known.snapshot != known.head {
            // A new snapshot was on disk when its writing was said to have failed.
            let mut position = self.position();
            position.snapshot = known.head;
            position.journal_bytes = 0;
        }
        tracing::info!(store = %self.path.display(), "a store that failed is open again");
        Ok(database)
    }

    fn position(&self) -> MutexGuard<'_, Position> {
        self.position.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Position {
    /// Where a confirmed commit is open from after a change that means this for it.
    fn pending_after(self, window: Window) -> Option<u64> {
        match window {
            Window::Unchanged => self.pending,
            Window::Open => Some(self.pending.unwrap_or(self.head)),
            Window::Close => None,
        }
    }
}

/// A crash between the chunks of a new snapshot and the switch to it leaves chunks that nobody reads.
fn remove_left_over_snapshots(database: &Database, in_use: u64) -> Result<(), StoreError> {
    for key in database.keys(&[SNAPSHOT])? {
        if !key.starts_with(&snapshot_prefix(in_use)) {
            database.remove(&key)?;
        }
    }
    Ok(())
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

/// The keys of the changes after the one of sequence number `seq`.
fn after(seq: u64) -> Range<[u8; 9]> {
    journal_key(seq + 1)..journal_key(u64::MAX)
}

fn snapshot_prefix(seq: u64) -> [u8; 9] {
    numbered(SNAPSHOT, seq)
}

fn numbered(kind: u8, seq: u64) -> [u8; 9] {
    let mut key = [kind; 9];
    key[1..].copy_from_slice(&seq.to_be_bytes());
    key
}

/// A sequence number.
fn number(database: &Database, key: &[u8]) -> Result<Option<u64>, StoreError> {
    let Some(value) = database.get(key)? else {
        return Ok(None);
    };
    let bytes = <[u8; 8]>::try_from(&*value)
        .map_err(|_| damaged(database, "a sequence number is not one"))?;
    Ok(Some(u64::from_be_bytes(bytes)))
}

fn damaged(database: &Database, what: &'static str) -> StoreError {
    StoreError::Damaged {
        path: database.path().to_owned(),
        what,
    }
}

#[cfg(test)]
mod tests {
    use tranche_database::CHUNK_BYTES;

    use super::*;

    fn reopened(dir: &Path) -> (Store, Option<Stored>) {
        let store = Store::open(dir).unwrap();
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
        let big: Vec<u8> = (0..CHUNK_BYTES * 400 + 17)
            .map(|i| (i % 251) as u8)
            .collect();
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
    fn a_large_change_is_kept_in_chunks() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = reopened(dir.path());
        store.snapshot(b"base").unwrap();
        let big: Vec<u8> = (0..CHUNK_BYTES * 400 + 17)
            .map(|i| (i % 251) as u8)
            .collect();
        store.append(b"one", Window::Unchanged).unwrap();
        store.append(&big, Window::Unchanged).unwrap();
        store.append(b"three", Window::Unchanged).unwrap();
        store.append(&big, Window::Open).unwrap();
        drop(store);
        let blobs = std::fs::read_dir(dir.path().join("blobs")).unwrap();
        assert_eq!(blobs.count(), 0, "no file of its own");
        let (_, stored) = reopened(dir.path());
        let stored = stored.unwrap();
        assert_eq!(stored.journal, [b"one".to_vec(), big, b"three".to_vec()]);
        assert_eq!(stored.reverted, Some(1));
    }

    #[test]
    fn what_was_not_acknowledged_is_taken_back_when_the_store_is_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = reopened(dir.path());
        store.snapshot(b"base").unwrap();
        store.append(b"one", Window::Unchanged).unwrap();
        let known = *store.position();
        store.append(b"two", Window::Open).unwrap();
        // As if the disk had said no although it took it.
        *store.position() = known;
        let failed = store.with(|_| -> Result<(), StoreError> {
            Err(tranche_database::Error::Sync {
                path: store.path.clone(),
                source: std::io::Error::other("no"),
            }
            .into())
        });
        failed.unwrap_err();
        store.append(b"three", Window::Unchanged).unwrap();
        drop(store);
        let (_, stored) = reopened(dir.path());
        let stored = stored.unwrap();
        assert_eq!(stored.journal, [b"one".to_vec(), b"three".to_vec()]);
        assert_eq!(stored.reverted, None);
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
}
