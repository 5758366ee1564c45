//! Users of two nodes who hear each other over plain routes, and then over a tunnel that is put between them.

use std::time::{Duration, Instant};

use super::rig::{EDGE, Network, SPOKE, Stream, sh};

const HERE: &str = "10.30.2.2";
const THERE: &str = "10.30.0.2";

/// What it took, and the packets sent and heard.
pub(crate) struct Inserted {
    pub(crate) took: Duration,
    pub(crate) sent: usize,
    pub(crate) heard: usize,
    /// Whether packets went through the tunnel at the end.
    pub(crate) is_encrypted: bool,
}

/// Namespace of the users at a node.
fn users(network: &Network, index: usize) -> String {
    format!("{}u", network.machine(index))
}

/// Users at both nodes behind a bridge `ub`, where the node is their router.
fn make_users(network: &Network) {
    for (index, far, via) in [(EDGE, SPOKE, "192.0.2.3"), (SPOKE, EDGE, "192.0.2.1")] {
        let (machine, users) = (network.machine(index), users(network, index));
        sh(&format!(
            "ip netns add {users} && ip -n {users} link set lo up
             ip -n {machine} link add ub up type bridge
             ip -n {machine} link add u0 type veth peer name u1 netns {users} && ip -n {machine} link set u0 master ub up
             ip -n {machine} address add 10.30.{index}.1/24 dev ub && ip -n {users} address add 10.30.{index}.2/24 dev u1
             ip -n {users} link set u1 up && ip -n {users} route add default via 10.30.{index}.1
             ip -n {machine} route add 10.30.{far}.0/24 via {via}
             ip netns exec {machine} sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'"
        ));
    }
}

/// Puts a tunnel between the users while they talk: first it is there, then they are told of it.
pub(crate) fn measure(network: &Network, packets: u32) -> Inserted {
    make_users(network);
    let (here, there) = (users(network, SPOKE), users(network, EDGE));
    let stream = Stream::between(&here, HERE, std::slice::from_ref(&there), THERE);
    stream.first_after(Instant::now());
    std::thread::park_timeout(Duration::from_millis(500));
    let start = Instant::now();
    network.make_tunnels(Some(
        "<interval>50</interval><misses>10</misses><hold-down>1</hold-down>",
    ));
    for (index, far) in [(EDGE, SPOKE), (SPOKE, EDGE)] {
        let prefix = format!("<allowed-prefix>10.30.{far}.0/24</allowed-prefix>");
        let peer = network.peer(far, &prefix);
        network.edit_tunnel(
            index,
            &format!("<attachment><bridge>ub</bridge><gateway>10.30.{index}.254/24</gateway></attachment>{peer}"),
        );
    }
    network.wait(SPOKE, "<state>active</state>");
    network.wait(EDGE, "<state>active</state>");
    for (index, namespace) in [(EDGE, &there), (SPOKE, &here)] {
        sh(&format!(
            "ip -n {namespace} route replace default via 10.30.{index}.254"
        ));
    }
    let took = start.elapsed();
    // On a slow machine all were sent before: some have to go through the tunnel.
    stream.until_sent(packets.max(stream.sent() + packets / 5));
    let (sent, heard) = stream.end();
    let passed = sh(&format!(
        "ip netns exec {} cat /sys/class/net/at0/statistics/rx_packets",
        network.space(SPOKE)
    ));
    let is_encrypted = passed.trim().parse::<u32>().unwrap() > packets / 10;
    for namespace in [here, there] {
        sh(&format!("ip netns del {namespace}"));
    }
    Inserted {
        took,
        sent,
        heard,
        is_encrypted,
    }
}
