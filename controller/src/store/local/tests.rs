//! The store on a real disk.

use super::*;
use crate::store::prefix;
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

async fn all(store: &LocalStore, start: &str) -> Vec<(String, String)> {
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
    let store = LocalStore::open(dir.path()).unwrap();
    store
        .txn(
            vec![],
            vec![put("a/1", "x"), put("a/2", "y"), put("b/1", "z")],
        )
        .await
        .unwrap();
    let last = store.txn(vec![], vec![delete("a/2")]).await.unwrap();
    drop(store);
    let store = LocalStore::open(dir.path()).unwrap();
    assert_eq!(all(&store, "a/").await, [("a/1".into(), "x".into())]);
    assert!(
        store.txn(vec![], vec![put("c", "")]).await.unwrap() > last,
        "a revision is not given twice"
    );
}

#[tokio::test]
async fn a_condition_that_does_not_hold_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = LocalStore::open(dir.path()).unwrap();
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
    let store = LocalStore::open(dir.path()).unwrap();
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
    let other = Database::open(&dir.path().join("other")).unwrap();
    other.insert(b"x", b"y").unwrap();
    drop(other);
    let error = LocalStore::open(&dir.path().join("other")).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("other is not a store of this version"),
        "{error}"
    );

    let path = dir.path().join("mine");
    let _store = LocalStore::open(&path).unwrap();
    let error = LocalStore::open(&path).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("the store {} is in use by another process", path.display())
    );
}

/// The database must be in no other use.
fn values(dir: &Path) -> usize {
    Database::open(dir).unwrap().keys(&[CHUNK]).unwrap().len()
}

#[tokio::test]
async fn large_values_are_kept_in_chunks_and_go_when_they_are_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let store = LocalStore::open(dir.path()).unwrap();
    let large = "0123456789abcdef".repeat(100_000);
    for value in [&large, "small", &large] {
        store
            .txn(vec![], vec![put("a", value), put("b", "")])
            .await
            .unwrap();
    }
    let expected = [("a".to_owned(), large), ("b".to_owned(), String::new())];
    assert_eq!(all(&store, "").await, expected);
    store
        .txn(vec![], vec![put("a", "small"), delete("b")])
        .await
        .unwrap();
    drop(store);
    assert_eq!(values(dir.path()), 1);
    let blobs = std::fs::read_dir(dir.path().join("blobs")).unwrap();
    assert_eq!(blobs.count(), 0, "no file of its own");
}

#[tokio::test]
async fn what_was_refused_is_taken_out_when_the_store_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = LocalStore::open(dir.path()).unwrap();
    let first = vec![put("replaced", "1"), put("removed", "1")];
    let first = store.txn(vec![], first).await.unwrap();
    {
        let mut inner = store.inner.lock().unwrap();
        let place = |operation| {
            Some(Place {
                revision: first,
                operation,
            })
        };
        let ops = [put("replaced", "2"), put("made", "2"), delete("removed")];
        inner.write(&[], &ops).unwrap();
        // As if the disk had said no although it took it.
        inner.last = first;
        let before = [
            ("replaced", place(0)),
            ("made", None),
            ("removed", place(1)),
        ];
        let before = before.map(|(key, place)| (key.into(), place));
        inner.refused = Some(Refused {
            before: before.into(),
        });
        let failed = inner.with(|_, database| -> Result<(), StoreError> {
            Err(tranche_database::Error::Sync {
                path: database.path().to_owned(),
                source: std::io::Error::other("no"),
            }
            .into())
        });
        failed.unwrap_err();
    }
    let expected = ["removed", "replaced"].map(|key| (key.to_owned(), "1".to_owned()));
    assert_eq!(all(&store, "").await, expected);
    let guard = Compare::Revision {
        key: b"replaced".to_vec(),
        revision: first,
    };
    let next = store.txn(vec![guard], vec![put("next", "3")]).await;
    assert!(next.unwrap().0 > first.0 + 1, "a number is not given twice");
    drop(store);
    assert_eq!(values(dir.path()), 3, "the refused values are gone");
}

#[tokio::test]
async fn a_store_that_cannot_be_opened_again_is_tried_at_the_next_use() {
    let dir = tempfile::tempdir().unwrap();
    let (path, aside) = (dir.path().join("store"), dir.path().join("aside"));
    let store = LocalStore::open(&path).unwrap();
    store.txn(vec![], vec![put("k", "1")]).await.unwrap();
    let failed = {
        let mut inner = store.inner.lock().unwrap();
        inner.with(|_, database| -> Result<(), StoreError> {
            std::fs::rename(&path, &aside).unwrap();
            std::fs::write(&path, "in the way").unwrap();
            Err(tranche_database::Error::Sync {
                path: database.path().to_owned(),
                source: std::io::Error::other("no"),
            }
            .into())
        })
    };
    failed.unwrap_err();
    let again = store.txn(vec![], vec![put("k", "2")]).await;
    assert!(matches!(again, Err(StoreError::Database(_))), "{again:?}");
    std::fs::remove_file(&path).unwrap();
    std::fs::rename(&aside, &path).unwrap();
    assert_eq!(all(&store, "").await, [("k".to_owned(), "1".to_owned())]);
    store.txn(vec![], vec![put("k", "3")]).await.unwrap();
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
                let store = LocalStore::open(dir.path()).unwrap();
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
