//! OpenSSH's own client, `ssh -s host netconf`, against the server.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "these are tests")]

mod common;

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use common::{Setup, quick, serve};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;
use tranche_netconf::transport::ssh::HostKey;

const CONVERSATION: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<hello xmlns="urn:ietf:params:xml:ns:netconf:base:1.0"><capabilities>
<capability>urn:ietf:params:netconf:base:1.1</capability></capabilities></hello>
]]>]]>
#81
<rpc xmlns="urn:ietf:params:xml:ns:netconf:base:1.0" message-id="1"><get/></rpc>

##

#16
<rpc xmlns="urn:
#75
ietf:params:xml:ns:netconf:base:1.0" message-id="2"><close-session/></rpc>

##
"#;

/// Gives what the client printed.
async fn ssh(setup: &Setup, dir: &Path, key: &Path, what: &[&str], input: &str) -> Output {
    let addr = setup.server.local_addr();
    let known_hosts = dir.join("known_hosts");
    std::fs::write(
        &known_hosts,
        format!("[127.0.0.1]:{} {}\n", addr.port(), setup.public_key),
    )
    .unwrap();
    let mut child = Command::new("ssh")
        .args([
            "-F",
            "none",
            "-o",
            "BatchMode=yes",
            "-o",
            "StrictHostKeyChecking=yes",
        ])
        .args(["-o", "IdentitiesOnly=yes", "-o", "LogLevel=ERROR"])
        .arg("-o")
        .arg(format!("UserKnownHostsFile={}", known_hosts.display()))
        .arg("-i")
        .arg(key)
        .args(["-p", &addr.port().to_string(), "-l", "alice"])
        .args(what)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("OpenSSH's client is there: `make setup` installs it");
    let mut stdin = child.stdin.take().unwrap();
    // A client that was refused closes its end first.
    if let Err(error) = stdin.write_all(input.as_bytes()).await {
        eprintln!("input: {error}");
    }
    drop(stdin);
    let output = timeout(Duration::from_secs(20), child.wait_with_output());
    output.await.expect("ssh ends").unwrap()
}

#[tokio::test]
async fn openssh_opens_the_subsystem_and_ends_cleanly() {
    let setup = serve(quick()).await;
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("id_ed25519");
    let public = HostKey::load_or_generate(&key).unwrap().public_blob();
    *setup.toy.key.lock().unwrap() = Some(public);
    let output = ssh(
        &setup,
        dir.path(),
        &key,
        &["-s", "127.0.0.1", "netconf"],
        CONVERSATION,
    )
    .await;
    let printed = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(
        printed.contains("<session-id>1</session-id></hello>]]>]]>"),
        "{printed} {errors}"
    );
    assert!(
        printed.contains("<data><top xmlns='urn:toy'><a>1</a></top></data>"),
        "{printed}"
    );
    assert!(
        printed.ends_with("message-id=\"2\"><ok/></rpc-reply>\n##\n"),
        "{printed}"
    );
    assert_eq!((output.status.code(), errors.as_str()), (Some(0), ""));
}

#[tokio::test]
async fn openssh_gets_no_command_and_no_other_key_gets_in() {
    let setup = serve(quick()).await;
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("id_ed25519");
    let public = HostKey::load_or_generate(&key).unwrap().public_blob();
    let target = ["-s", "127.0.0.1", "netconf"];
    let output = ssh(&setup, dir.path(), &key, &target, CONVERSATION).await;
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(
        errors.contains("Permission denied (publickey,password)"),
        "{errors}"
    );

    *setup.toy.key.lock().unwrap() = Some(public);
    let output = ssh(&setup, dir.path(), &key, &["127.0.0.1", "id"], CONVERSATION).await;
    assert_ne!(output.status.code(), Some(0));
    assert!(output.stdout.is_empty());
}

#[tokio::test]
async fn requests_are_answered_though_the_input_ends_behind_them() {
    let setup = serve(quick()).await;
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("id_ed25519");
    let public = HostKey::load_or_generate(&key).unwrap().public_blob();
    *setup.toy.key.lock().unwrap() = Some(public);
    *setup.toy.data.lock().unwrap() = format!(
        "<top xmlns='urn:toy'>{}</top>",
        "<a>0123456789</a>".repeat(200_000)
    );
    let first_request = CONVERSATION.split_inclusive("##\n").next().unwrap();
    let target = ["-s", "127.0.0.1", "netconf"];
    let output = ssh(&setup, dir.path(), &key, &target, first_request).await;
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.len() > 3_400_000 && printed.ends_with("</rpc-reply>\n##\n"));
    assert_eq!(output.status.code(), Some(0));
}
