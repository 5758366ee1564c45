//! The last commits: who changed what, when, and what it was afterwards, so that any of them can be gone back to.
//!
//! A commit is written together with the configuration it leads to, in one transaction that fails if another came first. The
//! oldest commits go when there are more than the bound, in the same transaction.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::{Compare, Entry, Op, Revision, Store, StoreError, prefix};

/// The newest commit; its revision guards against a second writer.
const HEAD: &[u8] = b"config/head";
/// Configuration after a commit, by id.
const CONFIG: &str = "config/at/";
/// Everything else about a commit, by id.
const INFO: &str = "config/commit/";
/// Names of the slices that there ever were; they outlive the commits.
const SLICE: &str = "config/slice/";

/// A commit without the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitInfo {
    /// Number, one more than the one before.
    pub id: u64,
    /// Who.
    pub author: String,
    /// What it is called.
    pub label: String,
    /// When, in milliseconds since 1970.
    pub time_ms: u64,
}

impl CommitInfo {
    /// When.
    #[must_use]
    pub fn time(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.time_ms)
    }
}

/// A commit and the configuration it led to.
#[derive(Clone, PartialEq, Eq)]
pub struct CommitRecord {
    /// About it.
    pub info: CommitInfo,
    /// The whole configuration after it.
    pub config: Vec<u8>,
}

impl fmt::Debug for CommitRecord {
    /// Without the configuration: there are secrets in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommitRecord")
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}

/// Why a commit can't be kept or found.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The store failed, or another writer was faster.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is in the store can't be read.
    #[error("the record of commit {id} is broken: {reason}")]
    Broken {
        /// Which.
        id: u64,
        /// How that shows.
        reason: String,
    },
}

/// The last commits in a store.
#[derive(Debug)]
pub struct History {
    store: Arc<dyn Store>,
    keep: usize,
    head: Option<(u64, Revision)>,
    slices: BTreeSet<String>,
    /// Of those, the ones that go to the store with the next commit.
    new_slices: BTreeSet<String>,
}

impl History {
    /// Finds the newest commit. At most `keep` (at least one) are kept.
    ///
    /// # Errors
    /// When the store fails or holds something else.
    pub async fn open(store: Arc<dyn Store>, keep: usize) -> Result<Self, HistoryError> {
        let (from, to) = prefix(HEAD);
        let head =
            match store.range(from, to).await?.into_iter().next() {
                None => None,
                Some(Entry {
                    value, revision, ..
                }) => {
                    let id = value.try_into().map(u64::from_be_bytes).map_err(|_| {
                        HistoryError::Broken {
                            id: 0,
                            reason: "the newest commit has no number".into(),
                        }
                    })?;
                    Some((id, revision))
                }
            };
        let (from, to) = prefix(SLICE.as_bytes());
        let slices = store.range(from, to).await?.into_iter();
        let slices = slices
            .map(|entry| String::from_utf8_lossy(&entry.key[SLICE.len()..]).into_owned())
            .collect();
        Ok(Self {
            store,
            keep: keep.max(1),
            head,
            slices,
            new_slices: BTreeSet::new(),
        })
    }

    /// The slices that commits ever named: what nodes have of them is ours, also when the slice is gone.
    pub fn slices(&self) -> impl Iterator<Item = &String> {
        self.slices.iter()
    }

    /// The next commit names these slices.
    pub fn name_slices<'a>(&mut self, slices: impl IntoIterator<Item = &'a String>) {
        let slices = slices.into_iter();
        let new = slices.filter(|slice| !self.slices.contains(*slice));
        self.new_slices = new.cloned().collect();
    }

    /// Number of the newest commit; `None`: nothing was ever committed.
    #[must_use]
    pub fn newest(&self) -> Option<u64> {
        self.head.map(|(id, _)| id)
    }

    /// Keeps a configuration as the newest commit. When it returns, it is on disk.
    ///
    /// # Errors
    /// When the store fails, or another writer committed since this history was opened; nothing was changed then.
    pub async fn commit(
        &mut self,
        author: &str,
        label: &str,
        config: Vec<u8>,
    ) -> Result<CommitInfo, HistoryError> {
        let id = self.newest().unwrap_or(0) + 1;
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let info = CommitInfo {
            id,
            author: author.to_owned(),
            label: label.to_owned(),
            time_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
        };
        let guard = match self.head {
            None => Compare::Absent { key: HEAD.to_vec() },
            Some((_, revision)) => Compare::Revision {
                key: HEAD.to_vec(),
                revision,
            },
        };
        let broken = |error: serde_json::Error| HistoryError::Broken {
            id,
            reason: error.to_string(),
        };
        let mut ops = vec![
            Op::Put {
                key: key(CONFIG, id),
                value: config,
            },
            Op::Put {
                key: key(INFO, id),
                value: serde_json::to_vec(&info).map_err(broken)?,
            },
            Op::Put {
                key: HEAD.to_vec(),
                value: id.to_be_bytes().to_vec(),
            },
        ];
        ops.extend(self.new_slices.iter().map(|slice| Op::Put {
            key: [SLICE.as_bytes(), slice.as_bytes()].concat(),
            value: Vec::new(),
        }));
        // All that are too old: there may be several after the bound was lowered.
        let oldest = id.saturating_sub(self.keep as u64);
        let (from, _) = prefix(INFO.as_bytes());
        let end = std::ops::Bound::Included(key(INFO, oldest));
        for entry in self.store.range(from, end).await? {
            let number = &entry.key[INFO.len()..];
            ops.push(Op::Delete {
                key: [CONFIG.as_bytes(), number].concat(),
            });
            ops.push(Op::Delete { key: entry.key });
        }
        let revision = self.store.txn(vec![guard], ops).await?;
        self.head = Some((id, revision));
        self.slices.append(&mut self.new_slices);
        Ok(info)
    }

    /// The commits that are kept, oldest first.
    ///
    /// # Errors
    /// When the store fails or a record is broken.
    pub async fn list(&self) -> Result<Vec<CommitInfo>, HistoryError> {
        let (from, to) = prefix(INFO.as_bytes());
        let read = |entry: Entry| {
            serde_json::from_slice(&entry.value).map_err(|error| HistoryError::Broken {
                id: number(&entry.key),
                reason: error.to_string(),
            })
        };
        self.store
            .range(from, to)
            .await?
            .into_iter()
            .map(read)
            .collect()
    }

    /// One commit with its configuration; `None`: it is not kept (any more).
    ///
    /// # Errors
    /// When the store fails or the record is broken.
    pub async fn get(&self, id: u64) -> Result<Option<CommitRecord>, HistoryError> {
        let one = |key: Vec<u8>| {
            let to = std::ops::Bound::Included(key.clone());
            self.store.range(std::ops::Bound::Included(key), to)
        };
        let Some(info) = one(key(INFO, id)).await?.into_iter().next() else {
            return Ok(None);
        };
        let broken = |reason: String| HistoryError::Broken { id, reason };
        let info =
            serde_json::from_slice(&info.value).map_err(|error| broken(error.to_string()))?;
        let config = one(key(CONFIG, id)).await?.into_iter().next();
        let config = config.ok_or_else(|| broken("its configuration is missing".into()))?;
        Ok(Some(CommitRecord {
            info,
            config: config.value,
        }))
    }
}

/// Numbers sort as text.
fn key(kind: &str, id: u64) -> Vec<u8> {
    format!("{kind}{id:020}").into_bytes()
}

fn number(key: &[u8]) -> u64 {
    let digits = key.len().saturating_sub(20);
    String::from_utf8_lossy(&key[digits..]).parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::LocalStore;
    use super::*;

    async fn open(dir: &tempfile::TempDir, keep: usize) -> History {
        let store = Arc::new(LocalStore::open(dir.path()).unwrap());
        History::open(store, keep).await.unwrap()
    }

    async fn commit(history: &mut History, label: &str) -> CommitInfo {
        let config = format!("<config>{label}</config>").into_bytes();
        history.commit("alice", label, config).await.unwrap()
    }

    #[tokio::test]
    async fn commits_are_numbered_and_survive_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let mut history = open(&dir, 10).await;
        assert_eq!(history.newest(), None);
        commit(&mut history, "one").await;
        let two = commit(&mut history, "two").await;
        drop(history);
        let mut history = open(&dir, 10).await;
        assert_eq!((history.newest(), two.id), (Some(2), 2));
        let record = history.get(2).await.unwrap().expect("kept");
        assert_eq!(
            (record.info, record.config),
            (two, b"<config>two</config>".to_vec())
        );
        assert_eq!(commit(&mut history, "three").await.id, 3);
        let labels: Vec<String> = history
            .list()
            .await
            .unwrap()
            .into_iter()
            .map(|info| info.label)
            .collect();
        assert_eq!(labels, ["one", "two", "three"]);
    }

    #[tokio::test]
    async fn a_slice_that_a_commit_named_is_known_after_a_restart_and_when_that_commit_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let mut history = open(&dir, 1).await;
        history.name_slices(&["a".to_owned(), "b/ö".to_owned()]);
        assert_eq!(history.slices().count(), 0, "before it is committed");
        commit(&mut history, "two").await;
        history.name_slices(&["a".to_owned()]);
        commit(&mut history, "one").await;
        drop(history);
        let history = open(&dir, 1).await;
        assert_eq!(history.slices().collect::<Vec<_>>(), ["a", "b/ö"]);
        assert_eq!(history.get(1).await.unwrap(), None);
    }

    #[tokio::test]
    async fn no_more_than_the_bound_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut history = open(&dir, 20).await;
        for n in 1..=15 {
            commit(&mut history, &n.to_string()).await;
        }
        drop(history);
        let mut history = open(&dir, 3).await;
        commit(&mut history, "16").await;
        let ids: Vec<u64> = history
            .list()
            .await
            .unwrap()
            .into_iter()
            .map(|info| info.id)
            .collect();
        assert_eq!(ids, [14, 15, 16]);
        assert_eq!(history.get(13).await.unwrap(), None);
        assert!(history.get(14).await.unwrap().is_some());
        let (from, to) = prefix(CONFIG.as_bytes());
        assert_eq!(
            history.store.range(from, to).await.unwrap().len(),
            3,
            "configurations go too"
        );
    }

    #[tokio::test]
    async fn a_second_writer_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(LocalStore::open(dir.path()).unwrap());
        let mut first = History::open(store.clone(), 10).await.unwrap();
        let mut second = History::open(store, 10).await.unwrap();
        commit(&mut first, "first").await;
        let error = second
            .commit("bob", "late", b"x".to_vec())
            .await
            .unwrap_err();
        assert!(
            matches!(error, HistoryError::Store(StoreError::Conflict { .. })),
            "{error}"
        );
        assert_eq!(first.list().await.unwrap().len(), 1);
    }
}
