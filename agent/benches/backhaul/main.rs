//! Tunnels between three agents that are network namespaces of this machine, over NETCONF as a controller does it: one table.
//!
//! No criterion: what is measured are waits and lost packets, once or some tens of times, interleaved in one run. Needs root,
//! /dev/net/tun, `ip` and `nft`, and for one row `openvpn` and `openssl`. Arguments pick rows whose name contains one of them;
//! nothing runs without `--run`; `--kernel` asks for the kernel's WireGuard, `--tunnels N` says how many there are on one node
//! at most in the last rows, `--rounds N` how often peers come and go.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::panic,
    reason = "a measurement that fails ends, and a table is printed"
)]

mod insertion;
mod openvpn;
mod rig;

use std::time::{Duration, Instant};

use rig::{DC, EDGE, Network, SPOKE, Stream};

/// Rounds of what is measured more than once.
const ROUNDS: usize = 30;
/// Packets of a stream that must lose none, one every millisecond.
const PACKETS: u32 = 6_000;

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|one| one != "--bench")
        .collect();
    if !arguments.iter().any(|one| one == "--run") {
        // Every benchmark of the workspace is run without privilege too.
        return;
    }
    let is_kernel = arguments.iter().any(|one| one == "--kernel");
    let number = |option: &str, otherwise: usize| {
        let at = arguments.iter().position(|one| one == option);
        at.map_or(otherwise, |at| arguments[at + 1].parse().unwrap())
    };
    let (tunnels, rounds) = (number("--tunnels", 1000), number("--rounds", ROUNDS));
    let picked: Vec<&String> = arguments
        .iter()
        .filter(|one| one.parse::<u32>().is_err() && !one.starts_with("--"))
        .collect();
    let wants =
        |row: &str| picked.is_empty() || picked.iter().any(|one| row.contains(one.as_str()));
    let backend = if is_kernel { "kernel" } else { "userspace" };
    println!(
        "{:<44} {:>12} {:>12} {:>12}   {backend}",
        "work", "median", "p95", "max"
    );
    if wants("peers") {
        peers(&Network::new(backend), rounds);
    }
    if wants("rotation") {
        rotation(&Network::new(backend));
    }
    if wants("insertion") {
        insertion(&Network::new(backend));
    }
    if wants("failover") {
        failover(&Network::new(backend));
    }
    if wants("throughput") {
        throughput(&Network::new(backend));
    }
    if wants("many") {
        for count in [tunnels / 20, tunnels / 10, tunnels * 3 / 10, tunnels] {
            many(&mut Network::new(backend), count);
        }
    }
}

fn row(work: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize];
    let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1000.0);
    println!(
        "{work:<44} {:>12} {:>12} {:>12}",
        ms(at(0.5)),
        ms(at(0.95)),
        ms(at(1.0))
    );
}

/// add-peer and del-peer: from the first RPC to the first packet, and to the last.
fn peers(network: &Network, rounds: usize) {
    network.make_tunnels(None);
    let (mut added, mut removed) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let stream = Stream::start(network, "10.77.0.1", &[EDGE]);
        let start = Instant::now();
        network.add_peer(EDGE, SPOKE);
        network.add_peer(SPOKE, EDGE);
        let first = stream.first_after(start);
        added.push(first - start);
        let start = Instant::now();
        network.remove_peer(EDGE, SPOKE);
        std::thread::park_timeout(Duration::from_millis(100));
        let last = stream.last();
        removed.push(last.saturating_duration_since(start));
        network.remove_peer(SPOKE, EDGE);
        stream.end();
    }
    row("add-peer at both ends, RPC to first packet", added);
    row("del-peer, RPC to last packet", removed);
}

/// Packets lost by a rotation of both ends, one sent every millisecond.
fn rotation(network: &Network) {
    network.make_tunnels(None);
    network.connect(false);
    let stream = Stream::start(network, "10.77.0.1", &[EDGE]);
    stream.first_after(Instant::now());
    let start = Instant::now();
    network.rotate(&[EDGE, DC, SPOKE]);
    let took = start.elapsed();
    stream.until_sent(PACKETS);
    let (sent, heard) = stream.end();
    row("rotation at three nodes", vec![took]);
    lost(sent, heard);
}

fn lost(sent: usize, heard: usize) {
    println!(
        "{:<44} {:>12}",
        "packets lost by it, of those sent",
        format!("{} of {sent}", sent - heard)
    );
}

/// A tunnel is put between users who talk over plain routes.
fn insertion(network: &Network) {
    let inserted = insertion::measure(network, PACKETS);
    assert!(inserted.is_encrypted, "no packet went through the tunnel");
    row(
        "insertion into live traffic, RPC to switched",
        vec![inserted.took],
    );
    lost(inserted.sent, inserted.heard);
}

/// How long nobody hears anything when the edge dies.
fn failover(network: &Network) {
    network.make_tunnels(Some(
        "<interval>50</interval><misses>3</misses><hold-down>1</hold-down>",
    ));
    network.connect(true);
    let mut gaps = Vec::new();
    for _ in 0..10 {
        let stream = Stream::start(network, "10.20.0.1", &[EDGE, DC]);
        stream.first_after(Instant::now());
        std::thread::park_timeout(Duration::from_millis(500));
        network.set_reachable(EDGE, false);
        std::thread::park_timeout(Duration::from_millis(1500));
        gaps.push(stream.longest_gap());
        network.set_reachable(EDGE, true);
        // Back to the edge, and rested.
        std::thread::park_timeout(Duration::from_millis(4000));
        stream.end();
    }
    row("failover, edge to data centre: gap", gaps);
}

/// One TCP connection through the tunnel, through OpenVPN and beside both.
fn throughput(network: &Network) {
    network.make_tunnels(None);
    network.connect(false);
    let openvpn = match openvpn::missing() {
        None => Some(openvpn::OpenVpn::between(network)),
        Some(reason) => {
            println!("TCP through OpenVPN: not measured, {reason}");
            None
        }
    };
    let (machines, spaces) = (
        [EDGE, SPOKE].map(|index| network.machine(index)),
        [EDGE, SPOKE].map(|index| network.space(index)),
    );
    let rate = |to, [there, here]: &[String; 2]| Network::tcp_rate(to, there, here);
    let mut rates = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..5 {
        rates[0].push(rate("10.77.0.1", &spaces));
        if openvpn.is_some() {
            rates[1].push(rate(openvpn::EDGE_ADDRESS, &machines));
        }
        rates[2].push(rate("192.0.2.1", &machines));
    }
    let names = [
        "TCP through the tunnel",
        "TCP through OpenVPN (AES-256-GCM, no DCO)",
        "TCP without a tunnel",
    ];
    for (name, rates) in names.into_iter().zip(&mut rates) {
        rates.sort_by(f64::total_cmp);
        if let Some(median) = rates.get(rates.len() / 2) {
            println!("{name:<44} {median:>5.0} Mbit/s");
        }
    }
}

/// Many tunnels on one node: one commit, memory, a new look at all of them, and a new agent.
fn many(network: &mut Network, count: usize) {
    let before = network.memory_kb();
    let start = Instant::now();
    network.make_many(EDGE, count);
    row(
        &format!("{count} tunnels in one edit-config"),
        vec![start.elapsed()],
    );
    let memory = network.memory_kb().saturating_sub(before);
    println!("{:<44} {:>9} kB", "memory of each", memory / count as u64);
    let start = Instant::now();
    network.read_all(EDGE);
    row(&format!("state of {count} tunnels"), vec![start.elapsed()]);
    let took = network.restart(EDGE);
    row(
        &format!("agent started again with {count} tunnels"),
        vec![took],
    );
    let start = Instant::now();
    network.remove_all(EDGE);
    row(
        &format!("{count} tunnels removed in one edit-config"),
        vec![start.elapsed()],
    );
}
