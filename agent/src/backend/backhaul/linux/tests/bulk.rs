//! Much data in TCP connections over tunnels in userspace, which carry it in packets of up to 64 KiB: every octet arrives, of
//! either family, from within a slice, from behind it and in Ethernet frames.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use serde_json::json;

use super::rig::{self, Rig};
use super::users::{attach, change, in_slice, segment, with_ipv6};
use crate::backend::backhaul::BackendInUse;
use crate::backend::backhaul::suite::{self, EDGE, SLICE, SPOKE};
use crate::backend::namespace::Namespace;

const OCTETS: usize = 4 << 20;
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends data to an address in one namespace from another one and has it sent back.
fn carry(there: &Namespace, to: &str, here: &Namespace) {
    let to: SocketAddr = to.parse().unwrap();
    // The kernel takes a moment until it lets anybody use an address of IPv6.
    let end = Instant::now() + PATIENCE;
    let listener = loop {
        match there.within(|| TcpListener::bind(to)).unwrap() {
            Err(_) if Instant::now() < end => std::thread::yield_now(),
            bound => break bound.unwrap(),
        }
    };
    let mirror = std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut data = vec![0; OCTETS];
        connection.read_exact(&mut data).unwrap();
        connection.write_all(&data).unwrap();
    });
    // Nor does it call from one before; who called from another address calls again.
    let connect = || TcpStream::connect_timeout(&to, Duration::from_secs(2));
    let mut connection = loop {
        match here.within(connect).unwrap() {
            Err(_) if Instant::now() < end => {}
            connected => break connected.unwrap(),
        }
    };
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    // No two pieces of it are the same.
    let numbers = 0..u32::try_from(OCTETS / 4).unwrap();
    let data: Vec<u8> = numbers.flat_map(u32::to_be_bytes).collect();
    connection.write_all(&data).unwrap();
    let mut back = vec![0; OCTETS];
    connection.read_exact(&mut back).unwrap();
    mirror.join().unwrap();
    assert!(back == data, "something else came back");
}

fn space(rig: &Rig, at: usize) -> Namespace {
    Namespace::open(&rig.slice_namespace(at, SLICE)).unwrap()
}

/// Octets and packets that the tunnel of a slice was given by the kernel.
fn given(rig: &Rig, at: usize) -> [usize; 2] {
    ["tx_bytes", "tx_packets"].map(|name| {
        let path = format!("cat /sys/class/net/wg1/statistics/{name}");
        in_slice(rig, at, &path).trim().parse().unwrap()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_between_the_ends_of_a_tunnel_carries_everything() {
    if !rig::can_run() {
        return;
    }
    let mut rig = Rig::new(BackendInUse::Userspace).await;
    suite::connected(&mut rig).await;
    let before = given(&rig, SPOKE);
    carry(&space(&rig, EDGE), "10.77.0.1:7001", &space(&rig, SPOKE));
    let after = given(&rig, SPOKE);
    // In packets that are larger than any that fits.
    let [octets, packets] = [0, 1].map(|one| after[one] - before[one]);
    assert!(octets > OCTETS, "{octets} octets");
    assert!(octets / packets > 1420, "{octets} octets in {packets}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_from_behind_a_slice_carries_everything() {
    if !rig::can_run() {
        return;
    }
    let mut rig = Rig::new(BackendInUse::Userspace).await;
    let configs = suite::connected(&mut rig).await;
    change(&mut rig, EDGE, &configs[EDGE], |tunnel| {
        attach(
            tunnel,
            json!({ "interface": "ua", "gateway": ["10.20.0.1/24"] }),
        );
    })
    .await;
    rig.in_machine(
        EDGE,
        "ip address add 10.20.0.9/24 dev ua && ip route add 10.77.0.0/24 via 10.20.0.1",
    );
    let (user, slice) = (rig.machine(EDGE).clone(), space(&rig, SPOKE));
    carry(&user, "10.20.0.9:7001", &slice);
    carry(&slice, "10.77.0.9:7001", &user);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_in_ethernet_frames_carries_everything() {
    if !rig::can_run() {
        return;
    }
    let mut rig = Rig::new(BackendInUse::Userspace).await;
    let configs = suite::connected(&mut rig).await;
    segment(&mut rig, &configs).await;
    carry(rig.machine(EDGE), "10.21.0.1:7001", rig.machine(SPOKE));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_of_ipv6_carries_everything() {
    if !rig::can_run() {
        return;
    }
    let mut rig = Rig::new(BackendInUse::Userspace).await;
    with_ipv6(&mut rig).await;
    carry(&space(&rig, EDGE), "[fd77::1]:7001", &space(&rig, SPOKE));
}
