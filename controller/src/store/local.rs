//! The embedded store: one directory, flushed before a transaction is acknowledged.
//!
//! ```text
//! v                           version of this layout
//! n                           number of the last transaction
//! e <key>                     where the value of an entry is: the transaction that wrote it, and which of its operations
//! c <where> <chunk>           a value, in chunks
//! ```
//! A transaction writes new values beside the old ones and says in the same step which are in force. Values that are not any
//! more are removed afterwards; those that a crash left are when the store is opened.
//!
//! A database that failed to write is of no more use, and what it failed to write may or may not be on the disk. So it is closed,
//! opened again, and what was refused is taken out: at once if the disk lets it, else before the next use.

use std::collections::{BTreeMap, HashSet};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tranche_database::{Batch, Database, chunks};

use super::{Compare, Entry, Op, Revision, Store, StoreError};

/// Of the layout above.
const VERSION: &[u8] = b"tranche-controller 2";
const VERSION_KEY: &[u8] = b"v";
const LAST_KEY: &[u8] = b"n";
const ENTRY: u8 = b'e';
const CHUNK: u8 = b'c';

/// Keys and values in a directory. Clones share it.
#[derive(Debug, Clone)]
pub struct LocalStore {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    /// None after it failed, until it could be opened again.
    database: Option<Database>,
    /// The last transaction that was acknowledged, or refused and taken out.
    last: Revision,
    /// The transaction that failed, if one did since then.
    refused: Option<Refused>,
}

/// A transaction that may be on the disk though it was refused.
#[derive(Debug, Default)]
struct Refused {
    /// The entries it wrote or removed, as they were before.
    before: BTreeMap<Vec<u8>, Option<Place>>,
}

/// Where a value is: the transaction that wrote it, and the number of the operation in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Place {
    revision: Revision,
    operation: u32,
}

impl LocalStore {
    /// Opens the store in a directory, or makes it.
    ///
    /// # Errors
    /// When another process has it open, it is of something else, or it can't be read.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let database = Database::open(path)?;
        let last = match database.get(VERSION_KEY)? {
            Some(found) if found == VERSION => last(&database)?,
            Some(found) => {
                let found = String::from_utf8_lossy(&found);
                return Err(foreign(&database, format!("it says `{found}`")));
            }
            None if !database.is_empty() => {
                return Err(foreign(&database, "it says no version".into()));
            }
            None => {
                let mut batch = Batch::default();
                batch.insert(VERSION_KEY, VERSION);
                batch.insert(LAST_KEY, &Revision::default().0.to_be_bytes());
                database.write(batch)?;
                Revision::default()
            }
        };
        remove_left_over_values(&database)?;
        let inner = Inner {
            path: path.to_owned(),
            database: Some(database),
            last,
            refused: None,
        };
        Ok(Self {
            inner: Arc::new(Mutex::new(inner)),
        })
    }
}

impl Inner {
    fn range(
        &mut self,
        from: &Bound<Vec<u8>>,
        to: &Bound<Vec<u8>>,
    ) -> Result<Vec<Entry>, StoreError> {
        let (from, to) = (first_key(from), end_key(to));
        if from >= to {
            return Ok(Vec::new());
        }
        self.with(|_, database| {
            let read = |(key, place): (_, _)| {
                let (key, place) = entry(database, key, place)?;
                let value = database.joined(&place.prefix())?;
                Ok(Entry {
                    key,
                    value,
                    revision: place.revision,
                })
            };
            database.range(from..to)?.into_iter().map(read).collect()
        })
    }

    fn txn(&mut self, compare: &[Compare], ops: &[Op]) -> Result<Revision, StoreError> {
        let (revision, replaced) = self.write(compare, ops)?;
        let removed = self.with(|_, database| {
            let mut places = replaced.into_iter();
            places.try_for_each(|place| remove_value(database, place))
        });
        if let Err(error) = removed {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "values that were replaced stay on the disk until the store is opened again"
            );
        }
        Ok(revision)
    }

    /// Carries out a transaction; also the places of the values that are not in force any more.
    fn write(
        &mut self,
        compare: &[Compare],
        ops: &[Op],
    ) -> Result<(Revision, Vec<Place>), StoreError> {
        self.with(|inner, database| {
            for condition in compare {
                let found = find(database, condition.key())?.map(|place| place.revision);
                let holds = match condition {
                    Compare::Absent { .. } => found.is_none(),
                    Compare::Revision { revision, .. } => found == Some(*revision),
                };
                if !holds {
                    let key = condition.key().to_vec();
                    return Err(StoreError::Conflict { key });
                }
            }
            let revision = Revision(inner.last.0 + 1);
            let mut batch = Batch::default();
            batch.insert(LAST_KEY, &revision.0.to_be_bytes());
            let mut before = BTreeMap::new();
            for (op, operation) in ops.iter().zip(0..) {
                let place = Place {
                    revision,
                    operation,
                };
                let key = match op {
                    Op::Put { key, value } => {
                        batch.insert(entry_key(key), &place.bytes());
                        for (key, chunk) in chunks(&place.prefix(), value) {
                            batch.insert(key, chunk);
                        }
                        key
                    }
                    Op::Delete { key } => {
                        batch.remove(entry_key(key));
                        key
                    }
                };
                before.insert(key.clone(), find(database, key)?);
            }
            // Until it is acknowledged.
            let replaced: Vec<Place> = before.values().copied().flatten().collect();
            inner.refused = Some(Refused { before });
            database.write(batch)?;
            inner.refused = None;
            inner.last = revision;
            Ok((revision, replaced))
        })
    }

    /// Works with the database, which is opened again where it failed before, or does now.
    fn with<T>(
        &mut self,
        work: impl FnOnce(&mut Self, &Database) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let database = match self.database.take() {
            Some(open) => open,
            None => self.open_again()?,
        };
        let done = work(self, &database);
        if !matches!(done, Err(StoreError::Database(_))) {
            self.database = Some(database);
            return done;
        }
        drop(database);
        match self.open_again() {
            Ok(again) => self.database = Some(again),
            Err(error) => tracing::error!(
                error = &error as &dyn std::error::Error,
                "a store that failed can't be opened again yet"
            ),
        }
        done
    }

    /// Opens the database again and takes out what was written but not acknowledged.
    fn open_again(&mut self) -> Result<Database, StoreError> {
        let database = Database::open(&self.path)?;
        let found = last(&database)?;
        match &self.refused {
            _ if found == self.last => {}
            Some(refused) if found.0 == self.last.0 + 1 => {
                let mut batch = Batch::default();
                for (key, place) in &refused.before {
                    match place {
                        Some(place) => batch.insert(entry_key(key), &place.bytes()),
                        None => batch.remove(entry_key(key)),
                    }
                }
                // Its number is not given again.
                database.write(batch)?;
                self.last = found;
            }
            _ => {
                let (known, found) = (self.last.0, found.0);
                let reason =
                    format!("its last transaction is {found}, and was {known} before it failed");
                return Err(foreign(&database, reason));
            }
        }
        self.refused = None;
        remove_left_over_values(&database)?;
        tracing::info!(store = %self.path.display(), "a store that failed is open again");
        Ok(database)
    }
}

impl Store for LocalStore {
    fn range(
        &self,
        from: Bound<Vec<u8>>,
        to: Bound<Vec<u8>>,
    ) -> BoxFuture<'_, Result<Vec<Entry>, StoreError>> {
        self.blocking(move |inner| inner.range(&from, &to))
    }

    fn txn(
        &self,
        compare: Vec<Compare>,
        ops: Vec<Op>,
    ) -> BoxFuture<'_, Result<Revision, StoreError>> {
        self.blocking(move |inner| inner.txn(&compare, &ops))
    }
}

impl LocalStore {
    /// The disk is waited for where that holds up nobody. A caller that goes away does not stop a transaction half way.
    fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Inner) -> Result<T, StoreError> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StoreError>> {
        let inner = Arc::clone(&self.inner);
        let task = tokio::task::spawn_blocking(move || {
            work(&mut inner.lock().unwrap_or_else(PoisonError::into_inner))
        });
        async move {
            task.await
                .unwrap_or_else(|error| Err(StoreError::GivenUp(error)))
        }
        .boxed()
    }
}

impl Place {
    const BYTES: usize = 12;

    fn bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.revision.0.to_be_bytes());
        bytes[8..].copy_from_slice(&self.operation.to_be_bytes());
        bytes
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (revision, operation) = bytes.split_first_chunk()?;
        Some(Self {
            revision: Revision(u64::from_be_bytes(*revision)),
            operation: u32::from_be_bytes(operation.try_into().ok()?),
        })
    }

    /// What the keys of its chunks begin with.
    fn prefix(self) -> [u8; 1 + Self::BYTES] {
        let mut prefix = [CHUNK; 1 + Self::BYTES];
        prefix[1..].copy_from_slice(&self.bytes());
        prefix
    }
}

fn last(database: &Database) -> Result<Revision, StoreError> {
    let number = database.get(LAST_KEY)?;
    let number = number.and_then(|number| Some(u64::from_be_bytes((*number).try_into().ok()?)));
    let number = number.ok_or_else(|| foreign(database, "its counter is broken".into()))?;
    Ok(Revision(number))
}

fn find(database: &Database, key: &[u8]) -> Result<Option<Place>, StoreError> {
    let key = entry_key(key);
    let Some(place) = database.get(&key)? else {
        return Ok(None);
    };
    entry(database, &key, &place).map(|(_, place)| Some(place))
}

/// What an entry of the database says: key and place.
fn entry(
    database: &Database,
    key: impl AsRef<[u8]>,
    place: impl AsRef<[u8]>,
) -> Result<(Vec<u8>, Place), StoreError> {
    let key = key.as_ref()[1..].to_vec();
    match Place::parse(place.as_ref()) {
        Some(place) => Ok((key, place)),
        None => {
            let key = String::from_utf8_lossy(&key);
            Err(foreign(
                database,
                format!("the value of {key} has no revision"),
            ))
        }
    }
}

fn entry_key(key: &[u8]) -> Vec<u8> {
    [&[ENTRY], key].concat()
}

/// The first key of the database that is within a lower bound.
fn first_key(from: &Bound<Vec<u8>>) -> Vec<u8> {
    match from {
        Bound::Included(key) => entry_key(key),
        Bound::Excluded(key) => [&entry_key(key)[..], &[0]].concat(),
        Bound::Unbounded => vec![ENTRY],
    }
}

/// The first key of the database that is past an upper bound.
fn end_key(to: &Bound<Vec<u8>>) -> Vec<u8> {
    match to {
        Bound::Included(key) => [&entry_key(key)[..], &[0]].concat(),
        Bound::Excluded(key) => entry_key(key),
        Bound::Unbounded => vec![ENTRY + 1],
    }
}

fn remove_value(database: &Database, place: Place) -> Result<(), StoreError> {
    for key in database.keys(&place.prefix())? {
        database.remove(&key)?;
    }
    Ok(())
}

/// Removes the values that no entry says are its own.
fn remove_left_over_values(database: &Database) -> Result<(), StoreError> {
    let mut used = HashSet::new();
    for (key, place) in database.range([ENTRY]..[ENTRY + 1])? {
        used.insert(entry(database, key, place)?.1);
    }
    let mut from = vec![CHUNK];
    while let Some(key) = database.next_key(&from)?.filter(|key| key[0] == CHUNK) {
        let place = key.get(1..=Place::BYTES).and_then(Place::parse);
        let place =
            place.ok_or_else(|| foreign(database, "there is a value without a place".into()))?;
        if !used.contains(&place) {
            remove_value(database, place)?;
        }
        // Past its last chunk.
        from = [&place.prefix()[..], &[u8::MAX; 5]].concat();
    }
    Ok(())
}

fn foreign(database: &Database, reason: String) -> StoreError {
    StoreError::Foreign {
        path: database.path().to_owned(),
        reason,
    }
}

#[cfg(test)]
mod tests;
