//! The example of three verticals as a test: the cell is asked for more than it has, and only who asks for it waits.
//!
//! A program of its own, so that nothing else runs beside the simulated cell, which lives in real time.

use std::collections::BTreeMap;
use std::process::Command;

use tranche_tests::process::binary;

/// Numbers of the lines of the table by slice and direction: share, Mbit/s, mean and 99 % of the delay in ms.
fn figures(table: &str) -> BTreeMap<(String, String), Vec<f64>> {
    let mut slice = String::new();
    let mut figures = BTreeMap::new();
    for line in table.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some(at) = words.iter().position(|word| ["down", "up"].contains(word)) else {
            continue;
        };
        if at == 2 {
            assert_eq!(words[1], "10", "ten users: {line}");
            slice = words[0].to_owned();
        }
        // After "20 to 100".
        let numbers = words[at + 4..].iter();
        let numbers = numbers
            .map(|word| word.parse().unwrap_or(f64::NAN))
            .collect();
        figures.insert((slice.clone(), words[at].to_owned()), numbers);
    }
    figures
}

#[test]
fn robots_wait_a_moment_where_cameras_wait_for_long() {
    let out = Command::new(binary("verticals").unwrap())
        .args(["--for", "3"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{text}{errors}");
    let figures = figures(&text);
    let of = |slice: &str, direction: &str| {
        let found = figures.get(&(slice.to_owned(), direction.to_owned()));
        assert!(found.is_some(), "no {slice} {direction}: {text}");
        found.unwrap().clone()
    };
    let (cameras, robots, meters) = (of("embb", "down"), of("urllc", "down"), of("miot", "up"));
    assert!(
        cameras[0] > 60.0,
        "more than it is owed, for others lend it: {text}"
    );
    assert!(
        cameras[2] > 50.0,
        "offered more than the cell carries: {text}"
    );
    // Ten users, 250 octets every 10 ms.
    assert!((robots[1] - 2.0).abs() < 0.1, "{text}");
    assert!(robots[3] < 4.0, "{text}");
    assert!(meters[3] < 10.0 && meters[0] < 10.0, "{text}");
}
