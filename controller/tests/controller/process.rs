//! The program itself: command line, output, exit status.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{JSON, client, factory, write_factory};

fn program(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tranche-controller"));
    command.arg("--state-dir").arg(dir.join("state"));
    command
}

fn command(dir: &Path) -> Command {
    let mut command = program(dir);
    command.args(["--listen", "127.0.0.1:0"]);
    command
}

fn fails(command: &mut Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    assert_eq!(status.code(), Some(1));
    assert!(stdout.is_empty());
    String::from_utf8(stderr).unwrap()
}

/// A process that does not outlive its test, however that ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Starts it and waits for the line that says where it listens.
fn start(dir: &Path, factory: &Value) -> (Running, String) {
    let mut command = command(dir);
    command.args([
        "--log",
        "warn",
        "--factory-default",
        &write_factory(dir, factory),
    ]);
    let mut child = Running(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(child.0.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    (child, line.trim_end().to_owned())
}

fn terminate(child: &Running) {
    let kill = Command::new("kill")
        .args(["-TERM", &child.0.id().to_string()])
        .status()
        .unwrap();
    assert!(kill.success());
}

#[tokio::test]
async fn it_says_where_it_listens_serves_and_ends_well() {
    let dir = tempfile::tempdir().unwrap();
    let (mut child, line) = start(dir.path(), &factory());
    let page = line.rsplit_once("page=").unwrap().1.to_owned();
    assert_eq!(
        line,
        format!("listening restconf={page}restconf page={page}")
    );
    let request = client()
        .get(format!("{page}restconf"))
        .basic_auth("admin", Some("admin"));
    assert_eq!(request.send().await.unwrap().status(), 200);
    terminate(&child);
    assert!(child.0.wait().unwrap().success());
}

/// Writes one value after the other and kills the controller in the middle of it, three times over.
#[tokio::test]
async fn what_was_acknowledged_survives_a_kill_at_any_moment() {
    let dir = tempfile::tempdir().unwrap();
    let client = client();
    let path = "restconf/data/tranche-inventory:inventory/site=street/description";
    let mut acknowledged = 0u32;
    for round in 0..3 {
        let (mut child, line) = start(dir.path(), &factory());
        let url = format!("{}{path}", line.rsplit_once("page=").unwrap().1);
        if acknowledged > 0 {
            let get = client.get(&url).basic_auth("admin", Some("admin"));
            let kept: Value = get.send().await.unwrap().json().await.unwrap();
            let kept: u32 = kept["tranche-inventory:description"]
                .as_str()
                .unwrap()
                .parse()
                .unwrap();
            // The one that was under way may be there or not.
            assert!(
                kept == acknowledged || kept == acknowledged + 1,
                "{kept}, not {acknowledged}"
            );
        }
        let kill = tokio::time::sleep(Duration::from_millis(150 + 70 * round));
        let write = async {
            loop {
                let body =
                    json!({ "tranche-inventory:description": (acknowledged + 1).to_string() });
                let put = client.put(&url).basic_auth("admin", Some("admin"));
                let put = put.header("content-type", JSON).body(body.to_string());
                assert!(put.send().await.unwrap().status().is_success());
                acknowledged += 1;
            }
        };
        tokio::select! {
            () = kill => {}
            () = write => {}
        }
        child.0.kill().unwrap();
        child.0.wait().unwrap();
    }
    assert!(acknowledged > 10, "{acknowledged} writes");
}

#[test]
fn a_second_process_on_a_state_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (mut first, _) = start(dir.path(), &factory());
    let error = fails(&mut command(dir.path()));
    assert!(
        error.contains("state/store is in use by another process"),
        "{error}"
    );
    terminate(&first);
    assert!(first.0.wait().unwrap().success());
}

#[test]
fn a_factory_default_that_is_not_valid_is_refused_with_node_and_reason() {
    let dir = tempfile::tempdir().unwrap();
    let check = |factory: &Value, words: &[&str]| {
        let path = write_factory(dir.path(), factory);
        let error = fails(command(dir.path()).args(["--factory-default", &path]));
        for word in words {
            assert!(error.contains(word), "{word} in {error}");
        }
    };
    let mut bad = factory();
    bad["tranche-inventory:inventory"]["node"] = json!([{
        "name": "n1", "address": "127.0.0.1", "credential": "nope", "host-key": "SHA256:x"
    }]);
    check(
        &bad,
        &[
            "factory.json",
            "/tranche-inventory:inventory/node[name='n1']/credential",
            "nope",
        ],
    );
    let mut bad = factory();
    bad["tranche-inventory:inventory"]["nope"] = json!(1);
    check(&bad, &["/tranche-inventory:inventory", "nope"]);
    let mut bad = factory();
    bad["ietf-system:system"]["authentication"]["user"][0]["password"] =
        json!("$1$salt$qJH7.N4xYta3aEG/dfqo/0");
    check(&bad, &["user[name='admin']/password", "MD5"]);
    let error = fails(command(dir.path()).args(["--factory-default", "/nope.json"]));
    assert!(error.contains("/nope.json"), "{error}");
    let error = fails(&mut command(dir.path()));
    assert!(error.contains("use --factory-default"), "{error}");
}

#[test]
fn plain_http_stays_on_loopback() {
    let dir = tempfile::tempdir().unwrap();
    let error = fails(program(dir.path()).args(["--listen", "0.0.0.0:0"]));
    assert!(
        error.contains("0.0.0.0:0 is not a loopback address"),
        "{error}"
    );
    let missing = ["--tls-cert", "/nope.pem", "--tls-key", "/nope.pem"];
    let path = write_factory(dir.path(), &factory());
    let error = fails(
        command(dir.path())
            .args(["--factory-default", &path])
            .args(missing),
    );
    assert!(error.contains("/nope.pem"), "{error}");
}

#[test]
fn a_key_is_made_and_shown_before_anything_runs() {
    let dir = tempfile::tempdir().unwrap();
    let show = |name: &str| {
        let output = command(dir.path())
            .args(["public-key", name])
            .output()
            .unwrap();
        (
            output.status.success(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };
    let (ok, line) = show("main");
    assert!(ok && line.starts_with("ssh-ed25519 "), "{line}");
    assert_eq!(show("main").1, line);
    assert!(dir.path().join("state/keys/main").is_file());
    assert_eq!(show("../x"), (false, String::new()));
    assert!(!dir.path().join("state/x").exists());
}

#[test]
fn a_setting_that_is_not_known_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("settings.toml");
    fs::write(&path, "[nodes]\nrpc-timeout = 5\n").unwrap();
    let error = fails(command(dir.path()).arg("--config").arg(&path));
    assert!(
        error.contains("settings.toml") && error.contains("rpc-timeout"),
        "{error}"
    );
}
