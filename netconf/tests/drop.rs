//! A client that is dropped leaves quietly. A program of its own: it watches for panics in every task.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};

use common::{eventually, quick, serve};

static PANICS: AtomicUsize = AtomicUsize::new(0);

#[tokio::test]
async fn a_dropped_client_closes_its_session_without_a_panic() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        usual(info);
    }));
    let setup = serve(quick()).await;
    for _ in 0..8 {
        drop(setup.client().await);
    }
    eventually("the sessions end", || {
        setup.toy.ends.lock().unwrap().len() == 8
    })
    .await;
    assert_eq!(PANICS.load(Ordering::Relaxed), 0);
}
