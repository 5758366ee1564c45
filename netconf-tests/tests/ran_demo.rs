//! The demo of Wi-Fi and cells as a test: what strangers take from an access point is made up for at the other one and at the
//! cells over real NETCONF, and a promise that cannot be kept is told to be missed.
//!
//! A program of its own, so that nothing else runs beside the simulated radio, which lives in real time.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::Duration;

use tranche_tests::process::{Process, binary};
use tranche_tests::ran;

/// Plays the demo; its exit status and its lines from the table on.
async fn play(arguments: &[&str]) -> (Option<i32>, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let arguments: Vec<String> = arguments.iter().map(|&a| a.to_owned()).collect();
    let program = binary("figure-21").unwrap();
    let mut demo = Process::start(&program, &arguments, &dir.path().join("log")).unwrap();
    let mut lines = Vec::new();
    loop {
        let next = demo.lines_with("", 1, Duration::from_secs(120)).await;
        let line = next.unwrap().remove(0);
        let is_last = line.starts_with("sla: ");
        lines.push(line);
        if is_last {
            break;
        }
    }
    let status = demo.wait(Duration::from_secs(30)).await.unwrap();
    (status.code(), lines)
}

/// The numbers that follow "got", in order.
fn got(line: &str) -> Vec<f64> {
    let parts = line.split("got ").skip(1);
    parts
        .map(|rest| rest.split([',', ';', ':']).next().unwrap().parse().unwrap())
        .collect()
}

#[tokio::test]
async fn what_strangers_take_is_made_up_for_at_the_cells_and_what_cannot_be_is_missed() {
    let arguments = ["--ran", "--for", "32s", "--without", "5s", "--period", "1s"];
    let (code, lines) = play(&arguments).await;
    let last = lines.last().unwrap();
    assert_eq!(code, Some(0), "{lines:#?}");
    assert!(last.ends_with(": met"), "{last}");
    // A at two access points, two cells and on the average; B at the four places.
    let [.., lte, nr, mean] = got(last)[..5] else {
        panic!("{last}")
    };
    assert!(lte > 46.0 && nr > 46.0 && mean >= 38.0, "{last}");
    let corrected = |line: &&String| line.contains("nr/tenant-a");
    assert!(lines.iter().any(|line| corrected(&line)), "{lines:#?}");

    let mut slices = ran::slices();
    slices["tranche-slice:slices"]["slice"][0]["sla"]["aggregate"]["min-ratio"] = "80.0".into();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("slices.json");
    std::fs::write(&file, slices.to_string()).unwrap();
    let file = file.display().to_string();
    let arguments = [
        "--ran",
        "--for",
        "12s",
        "--without",
        "60s",
        "--period",
        "1s",
        "--slices",
        &file,
    ];
    let (code, lines) = play(&arguments).await;
    let last = lines.last().unwrap();
    assert_eq!(code, Some(1), "{lines:#?}");
    assert!(last.ends_with(": missed"), "{last}");
    // What B is owed is never touched.
    for (share, owed) in got(last)[5..].iter().zip([30.0; 4]) {
        assert!(*share > owed - 2.0, "{last}");
    }
}
