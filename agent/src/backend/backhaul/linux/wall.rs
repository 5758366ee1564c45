//! The second wall: nftables rules that keep slices apart even if somebody routes between them. The first is that each slice
//! is a network namespace.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::process::{Command, Stdio};

use super::TABLE;
use super::attach::VXLAN_PORT;
use crate::backend::backhaul::config::Role;
use crate::backend::backhaul::plane::{PlaneError, SliceNet, Vxlan};
use crate::backend::namespace::Namespace;

const PROGRAM: &str = "nft";

/// Whether there is nft.
pub(super) async fn check_installed() -> Result<(), String> {
    let found = tokio::process::Command::new(PROGRAM)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .await;
    match found {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{PROGRAM} does not run ({status})")),
        Err(error) => Err(format!(
            "there is no program {PROGRAM} ({error}): install the package nftables"
        )),
    }
}

/// The rules of a slice: packets go between the tunnel and the attachment, at hubs between peers, and nowhere else.
pub(super) fn of_slice(net: &SliceNet) -> String {
    let relay = match net.role {
        Role::Hub | Role::StandbyHub => "iifname \"wg*\" oifname \"wg*\" accept;",
        Role::Spoke | Role::Member => "",
    };
    // An Ethernet segment enters by VXLAN, which routes nothing; with br_netfilter its bridge asks here all the same.
    let routed = match net.vxlan {
        None => "iifname \"wg*\" oifname \"at0\" accept; iifname \"at0\" oifname \"wg*\" accept;",
        Some(_) => "iifname \"br0\" oifname \"br0\" accept;",
    };
    let horizon = net.vxlan.as_ref().map(split_horizon).unwrap_or_default();
    format!(
        "chain forward {{ type filter hook forward priority filter; policy drop; {routed} {relay} }}{horizon}"
    )
}

/// Of a segment whose peers hear each other through this node: what came from a peer does not go back to it, or its bridge
/// would take its own users to be here. The mark says which peer it was, and stays with the frame from the one tunnel to the
/// other.
fn split_horizon(vxlan: &Vxlan) -> String {
    if !vxlan.relays || vxlan.remotes.is_empty() {
        return String::new();
    }
    let family = if vxlan.local.is_ipv4() { "ip" } else { "ip6" };
    let each = |one: fn(usize, &IpAddr) -> String| {
        let peers = vxlan.remotes.iter().enumerate();
        let all: Vec<String> = peers.map(|(index, peer)| one(index + 1, peer)).collect();
        all.join(", ")
    };
    let (marks, own) = (
        each(|mark, peer| format!("{peer} : {mark}")),
        each(|mark, peer| format!("{peer} . {mark}")),
    );
    format!(
        "
        chain from {{ type filter hook prerouting priority filter; iifname \"wg*\" udp dport {VXLAN_PORT} meta mark set {family} saddr map {{ {marks} }}; }}
        chain back {{ type filter hook output priority filter; oifname \"wg*\" udp dport {VXLAN_PORT} {family} daddr . meta mark {{ {own} }} drop; }}"
    )
}

/// The rules of a management tunnel, in the node's namespace: what is for these ports of the node itself, and echo requests and
/// errors. Nothing is passed on.
pub(super) fn of_node(prefix: &str, ports: &[u16]) -> String {
    let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
    let reached = match ports.is_empty() {
        true => String::new(),
        false => format!("tcp dport {{ {} }} accept;", ports.join(", ")),
    };
    format!(
        "chain in {{ type filter hook input priority filter - 10; policy accept; iifname != \"{prefix}*\" accept; meta l4proto {{ icmp, ipv6-icmp }} accept; {reached} drop; }}
         chain on {{ type filter hook forward priority filter - 10; policy accept; iifname \"{prefix}*\" drop; oifname \"{prefix}*\" drop; }}"
    )
}

/// Takes the rules of a management tunnel away, if there are any.
pub(super) async fn remove(table: String) -> Result<(), PlaneError> {
    let script = format!("add table inet {table}\ndelete table inet {table}\n");
    let done = blocking(move || run(&["-f", "-"], &script)).await;
    done.map(drop).map_err(|error| refused(&error))
}

/// Puts the rules of a tunnel in force, in the namespace where it ends, in place of those that are there. In a namespace that
/// is new there are none, and nobody waits until the kernel has forgotten them.
pub(super) async fn set(
    namespace: &Namespace,
    table: &str,
    rules: &str,
    is_new: bool,
) -> Result<(), PlaneError> {
    let script = match is_new {
        true => format!("table inet {table} {{\n{rules}\n}}\n"),
        false => replacing(table, rules),
    };
    let namespace = namespace.clone();
    let done = blocking(move || namespace.within(|| run(&["-f", "-"], &script))?).await;
    done.map(drop).map_err(|error| refused(&error))
}

/// Whether a slice has a wall at all: its rules are compared by what nft prints of them.
pub(super) async fn listed(namespace: &Namespace, table: &str) -> Result<String, PlaneError> {
    let (namespace, table) = (namespace.clone(), table.to_owned());
    let list = move || run(&["list", "table", "inet", &table], "");
    let listed = blocking(move || namespace.within(list)?).await;
    // A table that is not there is an error of nft's.
    Ok(listed.unwrap_or_default())
}

/// Forbids forwarding between the node's ends of slices, in the node's namespace.
pub(super) async fn keep_apart(tag: &str, ends: &BTreeSet<String>) -> Result<(), PlaneError> {
    let table = format!("{TABLE}-{tag}");
    let script = match ends.is_empty() {
        true => format!("add table inet {table}\ndelete table inet {table}\n"),
        false => {
            let list = |one: fn(&String) -> String| {
                let quoted: Vec<String> = ends.iter().map(one).collect();
                quoted.join(", ")
            };
            let (each, same) = (
                list(|end| format!("\"{end}\"")),
                list(|end| format!("\"{end}\" . \"{end}\"")),
            );
            // From port to port of one bridge, which asks here where br_netfilter is loaded.
            let set = format!(
                "set ends {{ type ifname; elements = {{ {each} }}; }}
                 set same {{ type ifname . ifname; elements = {{ {same} }}; }}"
            );
            let chain = "chain forward { type filter hook forward priority filter - 10; policy accept; iifname . oifname @same accept; iifname @ends oifname @ends drop; }";
            replacing(&table, &format!("{set}\n{chain}"))
        }
    };
    let done = blocking(move || run(&["-f", "-"], &script)).await;
    done.map(drop).map_err(|error| refused(&error))
}

async fn blocking(
    work: impl FnOnce() -> io::Result<String> + Send + 'static,
) -> io::Result<String> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(io::Error::other("the agent is stopping")))
}

/// What nft lists of the node's rules; nothing where there are none.
pub(super) async fn listed_apart(tag: &str) -> String {
    let table = format!("{TABLE}-{tag}");
    let listed = blocking(move || run(&["list", "table", "inet", &table], "")).await;
    listed.unwrap_or_default()
}

/// One transaction: there is no moment without rules.
fn replacing(table: &str, rules: &str) -> String {
    format!(
        "add table inet {table}\ndelete table inet {table}\ntable inet {table} {{\n{rules}\n}}\n"
    )
}

fn run(arguments: &[&str], script: &str) -> io::Result<String> {
    let mut child = Command::new(PROGRAM)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(script.as_bytes())?;
    }
    let done = child.wait_with_output()?;
    if !done.status.success() {
        let words = String::from_utf8_lossy(&done.stderr);
        let first = words.lines().next().unwrap_or("it says nothing").to_owned();
        return Err(io::Error::other(first));
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

fn refused(error: &io::Error) -> PlaneError {
    PlaneError::new(format!(
        "nftables refuses the rules between slices: {error}"
    ))
}
