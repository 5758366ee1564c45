//! The demo as a test: the promise is broken without the global scheduler and kept with it, and the demo tells the truth
//! about it by its last line and its exit status.
//!
//! A program of its own, so that nothing else runs beside the simulated radio, which lives in real time.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::Duration;

use tranche_tests::process::{Process, binary};

async fn play(arguments: &[&str]) -> (Option<i32>, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let arguments: Vec<String> = arguments.iter().map(|&a| a.to_owned()).collect();
    let mut demo = Process::start(
        &binary("figure-21").unwrap(),
        &arguments,
        &dir.path().join("log"),
    )
    .unwrap();
    let last = demo
        .lines_with("sla: ", 1, Duration::from_secs(120))
        .await
        .unwrap();
    let status = demo.wait(Duration::from_secs(30)).await.unwrap();
    (status.code(), last)
}

fn got(line: &str) -> Vec<f64> {
    line.split("got ")
        .skip(1)
        .map(|rest| rest.split([',', ':']).next().unwrap().parse().unwrap())
        .collect()
}

#[tokio::test]
async fn the_promise_is_missed_without_the_global_scheduler_and_met_with_it() {
    let (code, last) = play(&["--for", "16s", "--without", "60s"]).await;
    assert_eq!(code, Some(1), "{last:?}");
    assert!(last[0].ends_with(": missed"), "{last:?}");
    for share in got(&last[0]) {
        assert!(
            (share - 50.0).abs() < 5.0,
            "two equal neighbours on one channel get about the same: {last:?}"
        );
    }

    let (code, last) = play(&["--for", "40s", "--without", "4s"]).await;
    assert_eq!(code, Some(0), "{last:?}");
    assert!(
        last[0].starts_with("sla: A owed 30.0 got ") && last[0].ends_with(": met"),
        "{last:?}"
    );
    for (share, owed) in got(&last[0]).into_iter().zip([30.0, 70.0]) {
        assert!((share - owed).abs() <= 2.0, "{last:?}");
    }
}
