//! The embedded store: `sled`, flushed before a transaction is acknowledged.

use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::{Compare, Entry, Op, Revision, Store, StoreError};

/// Of the layout below.
const VERSION: &[u8] = b"tranche-controller 1";
/// Length of the revision in front of each value.
const REVISION_BYTES: usize = 8;

/// Keys and values in a directory. Each value has its revision in front, big-endian. Clones share it.
#[derive(Debug, Clone)]
pub struct SledStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    db: sled::Db,
    data: sled::Tree,
    meta: sled::Tree,
    path: PathBuf,
    /// The last transaction.
    last: Mutex<Revision>,
}

impl SledStore {
    /// Opens the store in a directory, or makes it.
    ///
    /// # Errors
    /// When another process has it open, it is of something else, or it can't be read.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let path = path.to_owned();
        let db = sled::Config::new()
            .path(&path)
            .open()
            .map_err(|error| in_use(error, &path))?;
        let foreign = |reason: String| StoreError::Foreign {
            path: path.clone(),
            reason,
        };
        let meta = db.open_tree("meta").map_err(failed)?;
        match meta.get("version").map_err(failed)? {
            Some(found) if found == VERSION => {}
            Some(found) => {
                return Err(foreign(format!(
                    "it says `{}`",
                    String::from_utf8_lossy(&found)
                )));
            }
            None if db.was_recovered() && !db.is_empty() => {
                return Err(foreign("it says no version".into()));
            }
            None => {
                meta.insert("version", VERSION).map_err(failed)?;
                db.flush().map_err(failed)?;
            }
        }
        let data = db.open_tree("data").map_err(failed)?;
        let mut last = Revision::default();
        for entry in &data {
            let (key, value) = entry.map_err(failed)?;
            last = last.max(decode(&key, &value).map_err(foreign)?.revision);
        }
        // A deletion leaves no entry, so the counter is kept apart as well.
        if let Some(counter) = meta.get("revision").map_err(failed)? {
            last = last
                .max(revision(&counter).ok_or_else(|| foreign("its counter is broken".into()))?);
        }
        Ok(Self {
            inner: Arc::new(Inner {
                db,
                data,
                meta,
                path,
                last: Mutex::new(last),
            }),
        })
    }
}

impl Inner {
    fn range(&self, from: Bound<Vec<u8>>, to: Bound<Vec<u8>>) -> Result<Vec<Entry>, StoreError> {
        // Against transactions half way: they hold the same lock.
        let _whole = self.last();
        let foreign = |reason| StoreError::Foreign {
            path: self.path.clone(),
            reason,
        };
        let entry = |entry: sled::Result<(sled::IVec, sled::IVec)>| {
            let (key, value) = entry.map_err(failed)?;
            decode(&key, &value).map_err(foreign)
        };
        self.data.range((from, to)).map(entry).collect()
    }

    fn txn(&self, compare: &[Compare], ops: &[Op]) -> Result<Revision, StoreError> {
        let mut last = self.last();
        for condition in compare {
            let found = self.data.get(condition.key()).map_err(failed)?;
            let found = found.as_deref().and_then(revision);
            let holds = match condition {
                Compare::Absent { .. } => found.is_none(),
                Compare::Revision { revision, .. } => found == Some(*revision),
            };
            if !holds {
                return Err(StoreError::Conflict {
                    key: condition.key().to_vec(),
                });
            }
        }
        let next = Revision(last.0 + 1);
        let mut batch = sled::Batch::default();
        for op in ops {
            match op {
                Op::Put { key, value } => batch.insert(key.as_slice(), encode(next, value)),
                Op::Delete { key } => batch.remove(key.as_slice()),
            }
        }
        // The counter first: lost between the two, a number is skipped, never given twice.
        self.meta
            .insert("revision", next.0.to_be_bytes().as_slice())
            .map_err(failed)?;
        self.data.apply_batch(batch).map_err(failed)?;
        *last = next;
        self.db.flush().map_err(failed)?;
        Ok(next)
    }

    fn last(&self) -> MutexGuard<'_, Revision> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for SledStore {
    fn range(
        &self,
        from: Bound<Vec<u8>>,
        to: Bound<Vec<u8>>,
    ) -> BoxFuture<'_, Result<Vec<Entry>, StoreError>> {
        self.blocking(move |inner| inner.range(from, to))
    }

    fn txn(
        &self,
        compare: Vec<Compare>,
        ops: Vec<Op>,
    ) -> BoxFuture<'_, Result<Revision, StoreError>> {
        self.blocking(move |inner| inner.txn(&compare, &ops))
    }
}

impl SledStore {
    /// The disk is waited for where that holds up nobody. A caller that goes away does not stop a transaction half way.
    fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, StoreError> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StoreError>> {
        let inner = Arc::clone(&self.inner);
        let task = tokio::task::spawn_blocking(move || work(&inner));
        async move {
            task.await
                .unwrap_or_else(|error| Err(StoreError::Io(Box::new(error))))
        }
        .boxed()
    }
}

fn encode(revision: Revision, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(REVISION_BYTES + value.len());
    bytes.extend_from_slice(&revision.0.to_be_bytes());
    bytes.extend_from_slice(value);
    bytes
}

fn revision(bytes: &[u8]) -> Option<Revision> {
    let head = bytes.first_chunk::<REVISION_BYTES>()?;
    Some(Revision(u64::from_be_bytes(*head)))
}

fn decode(key: &[u8], bytes: &[u8]) -> Result<Entry, String> {
    let revision = revision(bytes).ok_or_else(|| {
        format!(
            "the value of {} has no revision",
            String::from_utf8_lossy(key)
        )
    })?;
    Ok(Entry {
        key: key.to_vec(),
        value: bytes[REVISION_BYTES..].to_vec(),
        revision,
    })
}

fn failed(error: sled::Error) -> StoreError {
    StoreError::Io(Box::new(error))
}

fn in_use(error: sled::Error, path: &Path) -> StoreError {
    match &error {
        // sled has no error of its own for a lock that is held; it wraps the one of flock(2) in words.
        sled::Error::Io(io)
            if io.kind() == std::io::ErrorKind::WouldBlock
                || io.to_string().contains("could not acquire lock") =>
        {
            StoreError::Locked {
                path: path.to_owned(),
            }
        }
        _ => failed(error),
    }
}

#[cfg(test)]
mod tests {
    use super::super::prefix;
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn put(key: &str, value: &str) -> Op {
        Op::Put {
            key: key.into(),
            value: value.into(),
        }
    }

    fn delete(key: &str) -> Op {
        Op::Delete { key: key.into() }
    }

    async fn all(store: &SledStore, start: &str) -> Vec<(String, String)> {
        let (from, to) = prefix(start.as_bytes());
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let entries = store.range(from, to).await.unwrap();
        entries
            .into_iter()
            .map(|entry| (text(entry.key), text(entry.value)))
            .collect()
    }

    #[tokio::test]
    async fn a_transaction_is_there_after_the_store_is_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let store = SledStore::open(dir.path()).unwrap();
        store
            .txn(
                vec![],
                vec![put("a/1", "x"), put("a/2", "y"), put("b/1", "z")],
            )
            .await
            .unwrap();
        let last = store.txn(vec![], vec![delete("a/2")]).await.unwrap();
        drop(store);
        let store = SledStore::open(dir.path()).unwrap();
        assert_eq!(all(&store, "a/").await, [("a/1".into(), "x".into())]);
        assert!(
            store.txn(vec![], vec![put("c", "")]).await.unwrap() > last,
            "a revision is not given twice"
        );
    }

    #[tokio::test]
    async fn a_condition_that_does_not_hold_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = SledStore::open(dir.path()).unwrap();
        let first = store
            .txn(
                vec![Compare::Absent { key: b"k".to_vec() }],
                vec![put("k", "1")],
            )
            .await
            .unwrap();
        let absent = store
            .txn(
                vec![Compare::Absent { key: b"k".to_vec() }],
                vec![put("other", "1")],
            )
            .await;
        assert!(matches!(absent, Err(StoreError::Conflict { key }) if key == b"k"));
        let at = |revision| {
            vec![Compare::Revision {
                key: b"k".to_vec(),
                revision,
            }]
        };
        store.txn(at(first), vec![put("k", "2")]).await.unwrap();
        let late = store
            .txn(at(first), vec![put("k", "3"), put("other", "3")])
            .await;
        assert_eq!(
            late.unwrap_err().to_string(),
            "the key k was changed by another"
        );
        assert_eq!(all(&store, "").await, [("k".into(), "2".into())]);
    }

    #[tokio::test]
    async fn of_writers_that_compare_one_wins() {
        let dir = tempfile::tempdir().unwrap();
        let store = SledStore::open(dir.path()).unwrap();
        let tries = (0..16).map(|n| {
            store.txn(
                vec![Compare::Absent { key: b"k".to_vec() }],
                vec![put("k", &n.to_string())],
            )
        });
        let won = futures_util::future::join_all(tries)
            .await
            .into_iter()
            .filter(Result::is_ok)
            .count();
        assert_eq!(won, 1);
    }

    #[tokio::test]
    async fn a_store_of_something_else_and_one_in_use_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let db = sled::open(dir.path().join("other")).unwrap();
        db.insert("x", "y").unwrap();
        drop(db);
        let error = SledStore::open(&dir.path().join("other")).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("other is not a store of this version"),
            "{error}"
        );

        let path = dir.path().join("mine");
        let _store = SledStore::open(&path).unwrap();
        let error = SledStore::open(&path).unwrap_err();
        assert!(matches!(error, StoreError::Locked { .. }), "{error:?}");
        assert_eq!(
            error.to_string(),
            format!("{} is in use by another process", path.display())
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn it_behaves_like_a_map_and_keeps_what_it_acknowledged(
            steps in prop::collection::vec(
                prop::collection::vec((0u8..8, prop::option::of(0u8..100)), 1..4), 1..12)
        ) {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                let dir = tempfile::tempdir().unwrap();
                let mut model = BTreeMap::new();
                for step in steps {
                    let store = SledStore::open(dir.path()).unwrap();
                    let ops = step.iter().map(|(key, value)| match value {
                        Some(value) => put(&key.to_string(), &value.to_string()),
                        None => delete(&key.to_string()),
                    });
                    store.txn(vec![], ops.collect()).await.unwrap();
                    for (key, value) in step {
                        match value {
                            Some(value) => model.insert(key.to_string(), value.to_string()),
                            None => model.remove(&key.to_string()),
                        };
                    }
                    let expected: Vec<_> = model.clone().into_iter().collect();
                    assert_eq!(all(&store, "").await, expected);
                }
            });
        }
    }
}
