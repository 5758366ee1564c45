//! The program itself: command line, output, exit status.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use reqwest::{Client, Response};
use serde_json::{Value, json};

use crate::support::{JSON, client, error, factory, write_factory};

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
    spawn(with_factory(dir, factory))
}

fn with_factory(dir: &Path, factory: &Value) -> Command {
    let mut command = command(dir);
    let factory = write_factory(dir, factory);
    command.args(["--log", "warn", "--factory-default", &factory]);
    command
}

fn spawn(mut command: Command) -> (Running, String) {
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
    let mut acknowledged = 0u32;
    for round in 0..3 {
        let (mut child, line) = start(dir.path(), &factory());
        let url = comment(&line);
        if acknowledged > 0 {
            let kept: u32 = read(&client, &url).await.parse().unwrap();
            // The one that was under way may be there or not.
            assert!(
                kept == acknowledged || kept == acknowledged + 1,
                "{kept}, not {acknowledged}"
            );
        }
        let kill = tokio::time::sleep(Duration::from_millis(150 + 70 * round));
        let writer = async {
            loop {
                let next = (acknowledged + 1).to_string();
                let answer = write(&client, &url, next).await;
                assert!(answer.status().is_success());
                acknowledged += 1;
            }
        };
        tokio::select! {
            () = kill => {}
            () = writer => {}
        }
        child.0.kill().unwrap();
        child.0.wait().unwrap();
    }
    assert!(acknowledged > 10, "{acknowledged} writes");
}

/// The controller under a limit of the size of its files, in blocks of 512 bytes: writing past it fails as on a full disk.
fn start_on_a_small_disk(dir: &Path, blocks: u32) -> (Running, String) {
    let controller = with_factory(dir, &factory());
    let mut limited = Command::new("/bin/sh");
    limited
        .args(["-c", "trap '' XFSZ; ulimit -S -f $0; exec \"$@\""])
        .arg(blocks.to_string())
        .arg(controller.get_program())
        .args(controller.get_args());
    spawn(limited)
}

/// The URL of a text of any length, which these tests write.
fn comment(line: &str) -> String {
    let path = "restconf/data/ietf-netconf-acm:nacm/rule-list=admin/rule=all/comment";
    format!("{}{path}", line.rsplit_once("page=").unwrap().1)
}

/// A text that fills the disk soon.
fn text(number: u32) -> String {
    format!("{number} {}", "x".repeat(200_000))
}

async fn write(client: &Client, url: &str, text: String) -> Response {
    let body = json!({ "ietf-netconf-acm:comment": text });
    let put = client.put(url).basic_auth("admin", Some("admin"));
    let put = put.header("content-type", JSON).body(body.to_string());
    put.send().await.unwrap()
}

async fn read(client: &Client, url: &str) -> String {
    let get = client.get(url).basic_auth("admin", Some("admin"));
    let body: Value = get.send().await.unwrap().json().await.unwrap();
    let text = body["ietf-netconf-acm:comment"].as_str();
    text.unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_full_disk_refuses_changes_and_a_roomy_one_takes_them_again() {
    let dir = tempfile::tempdir().unwrap();
    let (mut child, line) = start_on_a_small_disk(dir.path(), 4000);
    let (client, url) = (client(), comment(&line));
    let mut acknowledged = 0;
    let refusal = loop {
        let answer = write(&client, &url, text(acknowledged + 1)).await;
        if !answer.status().is_success() {
            break answer;
        }
        acknowledged += 1;
        assert!(acknowledged < 100, "the disk never fills");
    };
    assert!(acknowledged > 2, "{acknowledged}");
    assert_eq!(refusal.status(), 500);
    let refusal = error(refusal).await;
    assert_eq!(refusal["error-tag"], "operation-failed");
    assert_eq!(refusal["error-message"], "the change could not be stored");
    assert_eq!(read(&client, &url).await, text(acknowledged));
    let again = write(&client, &url, text(acknowledged + 1)).await;
    assert_eq!(again.status(), 500);
    assert_eq!(read(&client, &url).await, text(acknowledged));

    let pid = child.0.id().to_string();
    let lifted = Command::new("prlimit")
        .args(["--pid", &pid, "--fsize=unlimited"])
        .status();
    assert!(lifted.unwrap().success());
    for number in [acknowledged + 1, acknowledged + 2] {
        let answer = write(&client, &url, text(number)).await;
        assert!(answer.status().is_success(), "{}", answer.status());
    }
    child.0.kill().unwrap();
    child.0.wait().unwrap();
    let (_child, line) = start(dir.path(), &factory());
    assert_eq!(read(&client, &comment(&line)).await, text(acknowledged + 2));
}

#[tokio::test]
async fn what_a_full_disk_refused_does_not_come_back_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let (mut child, line) = start_on_a_small_disk(dir.path(), 2000);
    let (client, url) = (client(), comment(&line));
    let mut acknowledged = 0;
    let next = |acknowledged| write(&client, &url, text(acknowledged + 1));
    while next(acknowledged).await.status().is_success() {
        acknowledged += 1;
        assert!(acknowledged < 100, "the disk never fills");
    }
    assert!(acknowledged > 0);
    child.0.kill().unwrap();
    child.0.wait().unwrap();
    let (_child, line) = start(dir.path(), &factory());
    assert_eq!(read(&client, &comment(&line)).await, text(acknowledged));
}

#[test]
fn the_log_has_no_values_of_the_store_whatever_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let mut command = command(dir.path());
    let factory = write_factory(dir.path(), &factory());
    command.args(["--log", "info,sled=trace,sled::pagecache=trace"]);
    command.args(["--factory-default", &factory]);
    command.stderr(fs::File::create(&log).unwrap());
    let (mut child, _) = spawn(command);
    terminate(&child);
    assert!(child.0.wait().unwrap().success());
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.contains("SIGTERM"), "{text}");
    assert!(!text.contains("sled"), "{text}");
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
