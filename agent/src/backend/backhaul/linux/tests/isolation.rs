//! Slices do not hear each other, and the underlay hears nothing of them. Every test also shows that it would notice.

use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::time::sleep;

use super::rig::{self, Rig};
use super::traffic::socket;
use crate::backend::backhaul::BackendInUse;
use crate::backend::backhaul::suite::{self, BackhaulRig, EDGE, PATIENCE, SLICE, SPOKE};
use crate::backend::namespace::Namespace;
use crate::backend::{Backend as _, NodeConfig};

const MARKER: &[u8] = b"nobody else shall read this";
const ETH_P_ALL: u16 = 3;
const IPPROTO_RAW: i32 = 255;
const OTHER: &str = "other";
const OTHERS: [&str; 3] = ["10.88.0.1", "", "10.88.0.9"];
/// Long enough for every packet to have arrived that will.
const ARRIVAL: Duration = Duration::from_millis(500);

/// Hears everything that passes the interfaces of a namespace.
struct Capture(Socket);

impl Capture {
    fn in_namespace(name: &str) -> Self {
        let open = || {
            let all = Protocol::from(i32::from(ETH_P_ALL.to_be()));
            Socket::new(Domain::PACKET, Type::RAW, Some(all)).unwrap()
        };
        let socket = Namespace::open(name).unwrap().within(open).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self(socket)
    }

    /// How many packets with the marker have passed since the last look.
    async fn marked(&self) -> usize {
        sleep(ARRIVAL).await;
        self.passed()
    }

    /// Waits until so many have passed, and for what the kernel answers to them with the marker in it.
    async fn hears(&self, count: usize) {
        let (end, mut heard) = (Instant::now() + PATIENCE, self.passed());
        while heard < count {
            assert!(Instant::now() < end, "the capture is deaf: {heard}");
            sleep(Duration::from_millis(5)).await;
            heard += self.passed();
        }
        self.marked().await;
    }

    fn passed(&self) -> usize {
        let (mut packet, mut marked) = ([0; 4096], 0);
        while let Ok(length) = (&self.0).read(&mut packet) {
            let mut parts = packet[..length].windows(MARKER.len());
            marked += usize::from(parts.any(|part| part == MARKER));
        }
        marked
    }
}

/// Sends the marker from a namespace, with whatever source.
fn send_marked(namespace: &str, from: Ipv4Addr, to: Ipv4Addr) {
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0];
    packet.extend(from.octets());
    packet.extend(to.octets());
    let length = u16::try_from(MARKER.len() + 8).unwrap();
    packet.extend([0x1b, 0x58, 0x1b, 0x58]);
    packet.extend(length.to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(MARKER);
    let total = u16::try_from(packet.len()).unwrap();
    packet[2..4].copy_from_slice(&total.to_be_bytes());
    let send = || {
        let raw = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(IPPROTO_RAW))).unwrap();
        // Without a route there is nowhere to send it: that is isolation too.
        raw.send_to(&packet, &SocketAddr::from((to, 0)).into()).ok();
    };
    Namespace::open(namespace).unwrap().within(send).unwrap();
}

/// The slice of the suite and another one between edge and spoke, each with users at both.
async fn two_slices(rig: &mut Rig) -> [NodeConfig; 2] {
    let configs = suite::connected(rig).await;
    let mut keys = Vec::new();
    let other = |at: usize| {
        let mut tunnel = suite::tunnel(at, OTHER);
        tunnel["address"] = json!([OTHERS[at]]);
        tunnel["attachment"] =
            json!({ "interface": "ub", "gateway": [format!("10.30.{at}.1/24")] });
        tunnel
    };
    let mut made = Vec::new();
    for at in [EDGE, SPOKE] {
        let mut with = suite::changed(&configs[at], |tunnel| {
            tunnel.attachment = serde_json::from_value(json!({
                "interface": "ua", "gateway": [format!("10.21.{at}.1/24")],
            }))
            .unwrap();
        });
        let more = suite::config(&[other(at)]).backhaul.tunnels;
        with.backhaul.tunnels.extend(more);
        suite::apply(rig, at, &configs[at], &with).await;
        keys.push(suite::state(rig, at, OTHER).await.own_key.unwrap());
        made.push(with);
    }
    let mut full = Vec::new();
    for (index, (at, far)) in [(EDGE, SPOKE), (SPOKE, EDGE)].into_iter().enumerate() {
        let there = &keys[1 - index];
        let peer: Value = json!({
            "name": "far",
            "public-key": there.public_key,
            "endpoint": { "address": rig.underlay_address(far), "port": there.listen_port },
            "tunnel-address": OTHERS[far],
            "allowed-prefix": [format!("10.30.{far}.0/24")],
        });
        let mut with = made[index].clone();
        with.backhaul.tunnels[1].peers = vec![serde_json::from_value(peer).unwrap()];
        suite::apply(rig, at, &made[index], &with).await;
        full.push(with);
    }
    suite::until(rig, SPOKE, "both up", |state| {
        state
            .peers
            .iter()
            .any(|peer| peer.latest_handshake.is_some())
    })
    .await;
    full.try_into().unwrap()
}

fn ip(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_packet_crosses_between_slices() {
    if rig::can_run() {
        nothing_crosses(Rig::new(BackendInUse::Userspace).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a kernel with WireGuard; run by make test-vm"]
async fn no_packet_crosses_between_slices_of_the_kernel() {
    nothing_crosses(Rig::new(BackendInUse::Kernel).await).await;
}

async fn nothing_crosses(mut rig: Rig) {
    two_slices(&mut rig).await;
    let space = |at, slice: &str| rig.slice_namespace(at, slice);
    let here = [
        (SLICE, "10.77.0.9", "10.77.0.1"),
        (OTHER, "10.88.0.9", "10.88.0.1"),
    ];
    for (index, (slice, own, far)) in here.into_iter().enumerate() {
        let (other, spoofed, their_far) = here[1 - index];
        let theirs = [EDGE, SPOKE].map(|at| Capture::in_namespace(&space(at, other)));
        let ours = Capture::in_namespace(&space(EDGE, slice));
        let targets = match slice {
            SLICE => [their_far, spoofed, "10.30.0.1", "10.30.2.1"],
            _ => [their_far, spoofed, "10.21.0.1", "10.21.2.1"],
        };
        let from = space(SPOKE, slice);
        // Anything may be asked of the kernel inside of a slice: a route for everything into the tunnel and to the users.
        rig::sh(&format!("ip -n {from} route add default dev wg1"));
        for target in targets {
            send_marked(&from, ip(own), ip(target));
            send_marked(&from, ip(spoofed), ip(target));
        }
        // Into the own tunnel with an address of the other slice.
        send_marked(&from, ip(spoofed), ip(far));
        for capture in &theirs {
            assert_eq!(capture.marked().await, 0, "from {slice} to {other}");
        }
        // WireGuard at the far end refuses the spoofed source; and an honest packet shows that somebody listens.
        assert_eq!(ours.marked().await, 0, "a spoofed source");
        send_marked(&from, ip(own), ip(far));
        ours.hears(1).await;
        rig::sh(&format!("ip -n {from} route del default dev wg1"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_routes_does_not_join_slices() {
    if !rig::can_run() {
        return;
    }
    let mut rig = Rig::new(BackendInUse::Userspace).await;
    let configs = two_slices(&mut rig).await;
    // Somebody gives the node addresses in both slices and lets it route between them.
    for command in [
        "ip address add 10.21.2.2/24 dev ua",
        "ip address add 10.30.2.2/24 dev ub",
        "echo 1 > /proc/sys/net/ipv4/ip_forward",
        "echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter",
    ] {
        rig.in_machine(SPOKE, command);
    }
    let (from, to) = (
        rig.slice_namespace(SPOKE, SLICE),
        rig.slice_namespace(SPOKE, OTHER),
    );
    rig::sh(&format!(
        "ip -n {from} route add 10.30.2.0/24 via 10.21.2.2"
    ));
    let theirs = Capture::in_namespace(&to);
    send_marked(&from, ip("10.21.2.1"), ip("10.30.2.1"));
    assert_eq!(theirs.marked().await, 0);
    let table = format!("tranche-{}", rig.tag(SPOKE));
    rig.in_machine(SPOKE, &format!("nft delete table inet {table}"));
    send_marked(&from, ip("10.21.2.1"), ip("10.30.2.1"));
    // It is the wall that keeps them apart.
    theirs.hears(1).await;
    // Who takes the wall down finds it again.
    rig.node(SPOKE).reconcile(&configs[1]).await.unwrap();
    send_marked(&from, ip("10.21.2.1"), ip("10.30.2.1"));
    assert_eq!(theirs.marked().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_underlay_sees_nothing_of_what_a_slice_sends() {
    if rig::can_run() {
        underlay_is_blind(Rig::new(BackendInUse::Userspace).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a kernel with WireGuard; run by make test-vm"]
async fn the_underlay_sees_nothing_of_what_a_slice_of_the_kernel_sends() {
    underlay_is_blind(Rig::new(BackendInUse::Kernel).await).await;
}

async fn underlay_is_blind(mut rig: Rig) {
    suite::connected(&mut rig).await;
    let underlay = Capture::in_namespace(&rig.machine(EDGE).name);
    let inside = Capture::in_namespace(&rig.slice_namespace(EDGE, SLICE));
    let from = rig.slice_namespace(SPOKE, SLICE);
    let sender = socket(&from, "10.77.0.9:0");
    for _ in 0..20 {
        sender.send_to(MARKER, "10.77.0.1:7000").await.unwrap();
    }
    // Nobody listens there, and the kernel says so of some of them, with what they were.
    inside.hears(20).await;
    assert_eq!(underlay.marked().await, 0);
    let machine = rig.machine(SPOKE).name.clone();
    let clear = socket(&machine, "192.0.2.3:0");
    clear.send_to(MARKER, "192.0.2.1:7000").await.unwrap();
    underlay.hears(1).await;
    // There is no way from a slice to the underlay but the tunnel.
    let out = rig::sh(&format!("ip -n {from} -o link"));
    assert!(!out.contains("up0"), "{out}");
}
