//! Ports of Open vSwitch bridges, through `ovs-vsctl`. Bridges themselves are the operator's: none is made or removed here.

use std::path::{Path, PathBuf};
use std::process::Output;

use tokio::process::Command;
use tokio::sync::OnceCell;

use super::Attachment;
use super::bridge::AttachError;

const TOOL: &str = "ovs-vsctl";
/// Time limit for the daemon to have done what it was told.
const TIMEOUT: &str = "--timeout=10";
/// `ovs-vsctl br-exists` for no.
const NO_SUCH_BRIDGE: i32 = 2;

/// Kind of the network interface of a bridge whose packets the kernel switches, and of the master of its ports
/// (`ovs-system`).
pub(super) const LINK_KIND: &str = "openvswitch";

/// Whether the tool is there and its database answers. Where there is no database the tool is not started to say so.
pub(super) async fn is_installed() -> bool {
    static DATABASE: OnceCell<Option<PathBuf>> = OnceCell::const_new();
    let Ok(database) = DATABASE.get_or_try_init(database).await else {
        return false;
    };
    if database.as_ref().is_some_and(|socket| !socket.exists()) {
        return false;
    }
    let asked = ask(&["list-br"]).await;
    asked.is_ok_and(|output| output.status.success())
}

/// Where the tool looks for the database, if that is a socket and it says so.
async fn database() -> std::io::Result<Option<PathBuf>> {
    let output = ask(&["--help"]).await?;
    Ok(socket_in(&String::from_utf8_lossy(&output.stdout)))
}

fn socket_in(help: &str) -> Option<PathBuf> {
    let (_, rest) = help.split_once("(default: unix:")?;
    let (path, _) = rest.split_once(')')?;
    Some(Path::new(path).to_owned())
}

/// Whether it has a bridge of that name.
pub(super) async fn has_bridge(name: &str) -> Result<bool, AttachError> {
    let action = format!("say whether there is a bridge {name}");
    let output = ask(&["br-exists", name])
        .await
        .map_err(|error| failed(&action, error))?;
    match output.status.code() {
        Some(NO_SUCH_BRIDGE) => Ok(false),
        _ => checked(&action, output).map(|_| true),
    }
}

/// Whether one of its bridges has this port.
pub(super) async fn has_port(port: &str) -> Result<bool, AttachError> {
    let (action, name) = (format!("look for port {port}"), format!("name={port}"));
    let words = ["--bare", "--columns=name", "find", "port", &name];
    Ok(!order(&action, &words).await?.is_empty())
}

/// Adds a port, in a VLAN if one is given.
pub(super) async fn add_port(
    bridge: &str,
    port: &str,
    vlan: Option<u16>,
) -> Result<(), AttachError> {
    let mut words = vec!["--may-exist", "add-port", bridge, port];
    let tag = vlan.map(|vlan| format!("tag={vlan}"));
    words.extend(tag.as_deref());
    let action = format!("make {port} a port of bridge {bridge}");
    order(&action, &words).await.map(drop)
}

/// Removes a port, if it is one.
pub(super) async fn remove_port(port: &str) -> Result<(), AttachError> {
    let action = format!("remove port {port}");
    let words = ["--if-exists", "del-port", port];
    order(&action, &words).await.map(drop)
}

/// Where a port is.
pub(super) async fn attachment(port: &str) -> Result<Attachment, AttachError> {
    let action = format!("say where port {port} is");
    let bridge = order(&action, &["port-to-br", port]).await?;
    let tag = order(&action, &["--bare", "get", "port", port, "tag"]).await?;
    Ok(Attachment {
        bridge: Some(bridge),
        // `[]` where there is none.
        vlan: tag.parse().ok(),
    })
}

async fn order(action: &str, words: &[&str]) -> Result<String, AttachError> {
    let output = ask(words).await.map_err(|error| failed(action, error))?;
    checked(action, output)
}

async fn ask(words: &[&str]) -> std::io::Result<Output> {
    let mut command = Command::new(TOOL);
    command.arg(TIMEOUT).args(words).kill_on_drop(true);
    command.output().await
}

fn checked(action: &str, output: Output) -> Result<String, AttachError> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let words = words.trim();
    let reason = words.strip_prefix("ovs-vsctl: ").unwrap_or(words);
    Err(AttachError::OpenVswitch {
        action: action.to_owned(),
        reason: reason.to_owned(),
    })
}

fn failed(action: &str, error: std::io::Error) -> AttachError {
    AttachError::OpenVswitch {
        action: action.to_owned(),
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_is_where_the_tool_says() {
        let help = "  --db=DATABASE               connect to DATABASE
                              (default: unix:/var/run/openvswitch/db.sock)
  --log-file[=FILE]           (default: /var/log/openvswitch/ovs-vsctl.log)";
        let path = Path::new("/var/run/openvswitch/db.sock");
        assert_eq!(socket_in(help).as_deref(), Some(path));
        assert_eq!(socket_in("(default: tcp:127.0.0.1:6640)"), None);
    }
}
