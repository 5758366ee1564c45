//! The second wall: nftables rules that keep slices apart even if somebody routes between them. The first is that each slice
//! is a network namespace.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::process::{Command, Stdio};

use super::TABLE;
use super::attach::VXLAN_PORT;
use super::ruleset::Table;
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
    let done = blocking(move || put(&table, None)).await;
    done.map(drop).map_err(|error| refused(&error))
}

/// Puts the rules of a tunnel in force, in the namespace where it ends, in place of those that are there; what was read back.
pub(super) async fn set(
    namespace: &Namespace,
    table: &str,
    rules: &str,
) -> Result<Table, PlaneError> {
    let (namespace, table) = (namespace.clone(), table.to_owned());
    let rules = rules.to_owned();
    let done = blocking(move || namespace.within(|| put(&table, Some(&rules)))?).await;
    done.map_err(|error| refused(&error))
}

/// What there is of a table in a namespace.
pub(super) fn read(namespace: &Namespace, table: &str) -> Result<Table, PlaneError> {
    let found = namespace.within(|| Table::read(table));
    found.flatten().map_err(|error| unreadable(&error))
}

/// The same now.
pub(super) fn read_again(namespace: &Namespace, known: &Table) -> Result<Table, PlaneError> {
    let found = namespace.within(|| known.again());
    found.flatten().map_err(|error| unreadable(&error))
}

/// Forbids forwarding between the node's ends of slices, in the node's namespace; what was read back.
pub(super) async fn keep_apart(tag: &str, ends: &BTreeSet<String>) -> Result<Table, PlaneError> {
    let table = format!("{TABLE}-{tag}");
    let list = |one: fn(&String) -> String| {
        let quoted: Vec<String> = ends.iter().map(one).collect();
        quoted.join(", ")
    };
    let rules = (!ends.is_empty()).then(|| {
        let (each, same) = (
            list(|end| format!("\"{end}\"")),
            list(|end| format!("\"{end}\" . \"{end}\"")),
        );
        // From port to port of one bridge, which asks here where br_netfilter is loaded.
        format!(
            "set ends {{ type ifname; elements = {{ {each} }}; }}
             set same {{ type ifname . ifname; elements = {{ {same} }}; }}
             chain forward {{ type filter hook forward priority filter - 10; policy accept; iifname . oifname @same accept; iifname @ends oifname @ends drop; }}"
        )
    });
    let done = blocking(move || put(&table, rules.as_deref())).await;
    done.map_err(|error| refused(&error))
}

/// The node's rules now.
pub(super) fn read_apart_again(known: &Table) -> Result<Table, PlaneError> {
    known.again().map_err(|error| unreadable(&error))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(io::Error::other("the agent is stopping")))
}

/// Puts rules in the place of those of a table, or none, in one transaction: there is no moment without. What was read back.
fn put(table: &str, rules: Option<&str>) -> io::Result<Table> {
    let mut script = String::new();
    // What is not there is not deleted: who deletes waits until the kernel has forgotten it.
    if Table::read(table)?.is_there() {
        script += &format!("add table inet {table}\ndelete table inet {table}\n");
    }
    if let Some(rules) = rules {
        script += &format!("table inet {table} {{\n{rules}\n}}\n");
    }
    if !script.is_empty() {
        run(&script)?;
    }
    let found = Table::read(table)?;
    match found.has_rules() == rules.is_some() {
        true => Ok(found),
        false => Err(io::Error::other("it took them and does not have them")),
    }
}

fn run(script: &str) -> io::Result<()> {
    let mut child = Command::new(PROGRAM)
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
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
    Ok(())
}

fn refused(error: &io::Error) -> PlaneError {
    PlaneError::new(format!(
        "nftables refuses the rules between slices: {error}"
    ))
}

fn unreadable(error: &io::Error) -> PlaneError {
    PlaneError::new(format!(
        "the rules of nftables cannot be looked at: {error}"
    ))
}
