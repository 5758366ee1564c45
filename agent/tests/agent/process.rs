//! The binary itself: command line, exit status, signals.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::data;

pub(crate) fn command(state: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tranche-agent"));
    command
        .args(["--sim", "1", "--listen", "127.0.0.1:0", "--state-dir"])
        .arg(state)
        .arg("--factory-default")
        .arg(data("factory.json"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A process that listens; killed when dropped.
pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) address: String,
    pub(crate) host_key: String,
}

impl Process {
    pub(crate) fn start(state: &Path) -> Self {
        let mut command = command(state);
        command.args(["--log", "warn"]);
        Self::spawn(command)
    }

    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        if line.is_empty() {
            let mut error = String::new();
            child
                .stderr
                .take()
                .unwrap()
                .read_to_string(&mut error)
                .unwrap();
            panic!("the agent did not start: {error}");
        }
        let field = |name: &str| {
            let value = line
                .split_whitespace()
                .find_map(|word| word.strip_prefix(name));
            value
                .unwrap_or_else(|| panic!("{name} in {line}"))
                .to_owned()
        };
        assert!(line.starts_with("listening node=node-1 "), "{line}");
        Self {
            address: field("address="),
            host_key: field("host-key="),
            child,
        }
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            self.kill();
        }
    }
}

fn fails(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_second_process_on_the_same_directory_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let _first = Process::start(dir.path());
    let error = fails(command(dir.path()));
    assert!(error.contains("is in use by another agent"), "{error}");
}

#[test]
fn sigterm_stops_it_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = Process::start(dir.path());
    let pid = process.child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    assert!(process.child.wait().unwrap().success());
    // And the directory is free again at once.
    Process::start(dir.path());
}

#[test]
fn a_bad_factory_default_is_a_failure_with_path_and_reason() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("factory.json");
    let text = std::fs::read_to_string(data("factory.json")).unwrap();
    std::fs::write(
        &file,
        text.replace(
            "\"tenant-a\",\n          \"security\"",
            "\"\",\n          \"security\"",
        ),
    )
    .unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tranche-agent"));
    command.args(["--sim", "1", "--listen", "127.0.0.1:0", "--state-dir"]);
    command
        .arg(dir.path().join("state"))
        .arg("--factory-default")
        .arg(&file);
    let error = fails(command);
    assert!(
        error.contains("/tranche-wifi:wifi/vif[name='a']/access-point/ssid"),
        "{error}"
    );
}

/// Whatever the machine: the radio named is in none.
#[test]
fn without_usable_radios_a_node_serves_and_says_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tranche-agent"));
    command
        .args(["--radio", "no-such-radio", "--listen", "127.0.0.1:0"])
        .arg("--state-dir")
        .arg(dir.path())
        .arg("--factory-default")
        .arg(data("hardware.json"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut process = Process::spawn(command);
    process.kill();
    let mut log = String::new();
    let mut stderr = process.child.stderr.take().unwrap();
    stderr.read_to_string(&mut log).unwrap();
    assert!(
        log.contains("radios cannot be used: ") || log.contains("there is no such radio"),
        "{log}"
    );
    assert!(dir.path().join("store").exists(), "its own directory");
}

#[test]
fn an_address_in_use_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tranche-agent"));
    command
        .args(["--sim", "1", "--listen", &address, "--state-dir"])
        .arg(dir.path());
    command.arg("--factory-default").arg(data("factory.json"));
    let error = fails(command);
    assert!(
        error.contains(&format!("node-1 cannot listen on {address}")),
        "{error}"
    );
}

#[test]
fn the_log_has_no_values_of_the_store_whatever_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let mut command = command(&dir.path().join("state"));
    command.args(["--log", "info,sled=trace,sled::pagecache=trace"]);
    command.stderr(std::fs::File::create(&log).unwrap());
    drop(Process::spawn(command));
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(text.contains("started from the factory default"), "{text}");
    assert!(!text.contains("sled"), "{text}");
}

#[test]
fn what_is_stored_is_for_its_user_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("made/state");
    drop(Process::start(&state));
    for made in [state.clone(), state.join("node-1")] {
        let mode = std::fs::metadata(&made).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{}", made.display());
    }
}
