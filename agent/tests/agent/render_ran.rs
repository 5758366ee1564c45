//! `tranche-agent render-ran` as its user runs it.

use std::path::Path;
use std::process::{Command, Output};

use crate::support::data;

fn render(file: &Path, into: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tranche-agent"));
    command.args(["render-ran", "--factory-default"]).arg(file);
    command.arg("--into").arg(into).args(more);
    command.output().unwrap()
}

fn fails(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn every_file_and_everything_left_out_has_a_line() {
    let dir = tempfile::tempdir().unwrap();
    let into = dir.path().join("made/trial");
    let output = render(&data("ran-trial.json"), &into, &["--gnb-addr", "192.0.2.1"]);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let files = [
        "amf-amf-dc.yaml",
        "amf-amf-edge.yaml",
        "mme-mme.yaml",
        "gnb-nr1-00101.yaml",
        "gnb-nr1-00102.yaml",
    ];
    let wrote = files.map(|name| format!("wrote {}\n", into.join(name).display()));
    let expected = format!("{}skipped cell lte1: UERANSIM has no eNB\n", wrote.concat());
    assert_eq!(text, expected);
    let second = std::fs::read_to_string(into.join(files[4])).unwrap();
    assert!(
        second.contains("mnc: \"02\"\nnci: 0x0000019c1\n"),
        "{second}"
    );
    assert!(second.contains("ngapIp: \"192.0.2.2\"\n"), "{second}");
}

#[test]
fn files_that_are_there_are_kept_unless_forced() {
    let dir = tempfile::tempdir().unwrap();
    let last = dir.path().join("gnb-nr1-00102.yaml");
    std::fs::write(&last, "mine").unwrap();
    let error = fails(&render(&data("ran-trial.json"), dir.path(), &[]));
    let expected = format!(
        "tranche-agent: {} is there already: nothing is written without --force\n",
        last.display()
    );
    assert_eq!(error, expected);
    assert_eq!(std::fs::read_to_string(&last).unwrap(), "mine");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    let output = render(&data("ran-trial.json"), dir.path(), &["--force"]);
    assert!(output.status.success(), "{output:?}");
    let text = std::fs::read_to_string(&last).unwrap();
    assert!(text.starts_with("# Simulated gNB of UERANSIM"), "{text}");
    assert!(text.contains("slices:\n  - sst: 3\n"), "{text}");
}

#[test]
fn a_configuration_that_cannot_be_tried_is_refused_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("node.json");
    let into = dir.path().join("trial");
    let text = std::fs::read_to_string(data("ran-trial.json")).unwrap();
    let check = |text: &str, expected: &str| {
        std::fs::write(&file, text).unwrap();
        let error = fails(&render(&file, &into, &[]));
        let place = format!("the factory default {} is not usable:", file.display());
        assert!(error.contains(&place), "{error}");
        assert!(error.contains(expected), "{error}");
        assert!(!into.exists());
    };
    check(
        &text.replace("\"cell\": [\"nr1\"]", "\"cell\": [\"nr9\"]"),
        "/tranche-ran:ran/slice-profile[name='cams-nr']/cell",
    );
    check(
        &text.replace("\"core\": [\"mme\"]", "\"core\": [\"amf-dc\"]"),
        "/tranche-ran:ran/slice-profile[name='cams-lte']/core[.='amf-dc']: cell lte1 is LTE and needs an MME; core amf-dc is an AMF",
    );
    check(
        &text.replace("127.0.0.15", "127.0.0.5"),
        "/tranche-ran:ran/core[name='amf-edge']/address: core amf-edge has the address of core amf-dc",
    );
    check("{}", "/tranche-ran:ran: there is nothing to try");
    let none = dir.path().join("none.json");
    let error = fails(&render(&none, &into, &[]));
    let expected = format!("reading the factory default {} failed", none.display());
    assert!(error.contains(&expected), "{error}");
}

#[test]
fn the_help_says_what_is_written_and_what_is_not() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tranche-agent"));
    let output = command.args(["render-ran", "--help"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    // Lines end where the terminal is narrow.
    let text: Vec<_> = text.split_whitespace().collect();
    let text = text.join(" ");
    for word in [
        "gnb-CELL-PLMN.yaml",
        "UERANSIM has no eNB",
        "UEs are not written",
        "--force",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
}
