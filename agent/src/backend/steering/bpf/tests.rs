//! The shared suite on the kernel: a node in a network namespace, its ports veth pairs whose far ends are in another one.

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use socket2::Socket;
use std::os::fd::AsFd as _;
use tokio::runtime::{Builder, Runtime};

use super::applications::Application;
use super::packet_socket::packet_socket;
use crate::backend::backhaul::linux::{namespace_prefix, tag_of};
use crate::backend::steering::Steering;
use crate::backend::steering::suite::frames::{Frame, gtp, user_packet};
use crate::backend::steering::suite::{self, GATEWAY, PORTS, SteeringRig, at, shared, to};
use crate::backend::steering::{
    Direction, Encapsulation, Forward, GtpMatch, HealthCheck, MatchConfig, OnFailure, RuleConfig,
    SteeringConfig, Through, WayOut, present,
};
use crate::backend::{Backend as _, NodeConfig, namespace};

static NUMBER: AtomicU32 = AtomicU32::new(0);

pub(super) struct Rig {
    pub(super) prefix: String,
    state_dir: tempfile::TempDir,
    runtime: Option<Runtime>,
    steering: Option<Steering>,
    far: Vec<(String, Socket)>,
    /// Another resolver in the far namespace, while this lives.
    other: Arc<()>,
    /// Applications in the far namespace, by the port where they are.
    pub(super) applications: HashMap<String, Application>,
}

/// Runs a command line, which must succeed; what it printed.
pub(super) fn sh(command: &str) -> String {
    let done = Command::new("sh").args(["-ec", command]).output().unwrap();
    let error = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command}: {error}");
    String::from_utf8_lossy(&done.stdout).into_owned()
}

pub(super) fn enter(namespace: &str) -> io::Result<()> {
    let file = std::fs::File::open(format!("/run/netns/{namespace}"))?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
    Ok(())
}

/// Whether this machine has what a program at a port needs. Says it past what captures the output of tests.
pub(super) fn can_run() -> bool {
    static POSSIBLE: OnceLock<Result<(), String>> = OnceLock::new();
    let Err(missing) = POSSIBLE.get_or_init(is_possible) else {
        return true;
    };
    drop(writeln!(
        io::stderr(),
        "\nSKIPPED: a test of steering in the kernel: {missing}\n"
    ));
    false
}

fn is_possible() -> Result<(), String> {
    let name = format!("trs{}x", std::process::id());
    let made = format!("ip netns add {name}; ip netns delete {name}");
    let made = Command::new("sh").args(["-ec", &made]).output();
    match made.is_ok_and(|done| done.status.success()) {
        true => super::kernel::load_object(false).map(drop),
        false => Err("no network namespaces (root, and the program ip)".to_owned()),
    }
}

impl Rig {
    pub(super) fn new() -> Self {
        let mut rig = Self::without_steering();
        rig.start();
        rig
    }

    /// The namespaces alone, for who brings an agent.
    pub(super) fn without_steering() -> Self {
        let prefix = format!(
            "trs{}-{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        sh(&format!(
            "for one in {prefix}n {prefix}f; do
                 ip netns add $one
                 ip netns exec $one sh -c 'echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6; echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6'
             done
             for port in {ports}; do
                 ip -n {prefix}n link add $port type veth peer name $port netns {prefix}f
                 ip -n {prefix}n link set $port up
                 ip -n {prefix}f link set $port mtu 9000 up
             done",
            ports = PORTS.join(" ")
        ));
        let far = PORTS.map(|port| (port.to_owned(), open(&format!("{prefix}f"), port)));
        Self {
            state_dir: tempfile::tempdir().unwrap(),
            prefix,
            runtime: None,
            steering: None,
            far: far.into(),
            other: Arc::default(),
            applications: HashMap::new(),
        }
    }

    pub(super) fn state_dir(&self) -> &Path {
        self.state_dir.path()
    }

    /// A runtime whose threads are in the node's namespace, which has its loopback interface up.
    pub(super) fn runtime_in_node(&self) -> Runtime {
        sh(&format!("ip -n {}n link set lo up", self.prefix));
        let name = format!("{}n", self.prefix);
        Builder::new_multi_thread()
            .worker_threads(2)
            .on_thread_start(move || enter(&name).unwrap())
            .enable_all()
            .build()
            .unwrap()
    }

    fn start(&mut self) {
        let name = format!("{}n", self.prefix);
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .on_thread_start(move || enter(&name).unwrap())
            .enable_all()
            .build()
            .unwrap();
        let dir = self.state_dir.path().to_owned();
        let opened = runtime.spawn(async move { Steering::in_kernel(&dir).await });
        let (send, receive) = std::sync::mpsc::channel();
        runtime.spawn(async move { send.send(opened.await.unwrap().unwrap()) });
        self.steering = Some(receive.recv().unwrap());
        self.runtime = Some(runtime);
    }

    /// What the names of resolvers' namespaces begin with.
    fn places(&self) -> String {
        format!(
            "trd-{}-",
            tag_of(self.state_dir.path().as_os_str().as_encoded_bytes())
        )
    }

    pub(super) fn in_node(&self, command: &str) -> String {
        sh(&format!("ip netns exec {}n {command}", self.prefix))
    }
}

/// A socket that sends and receives frames at an interface.
pub(super) fn open(namespace: &str, interface: &str) -> Socket {
    const EVERYTHING: u16 = 0x0003;
    let (namespace, interface) = (namespace.to_owned(), interface.to_owned());
    let opened = std::thread::spawn(move || {
        enter(&namespace).unwrap();
        let mut index = String::new();
        let line = sh(&format!("ip -o link show {interface}"));
        index.push_str(line.split(':').next().unwrap());
        let index: u32 = index.parse().unwrap();
        packet_socket(index, EVERYTHING).unwrap()
    });
    opened.join().unwrap()
}

impl SteeringRig for Rig {
    fn steering(&mut self) -> &mut Steering {
        self.steering.as_mut().unwrap()
    }

    async fn restart(&mut self) {
        self.steering = None;
        if let Some(runtime) = self.runtime.take() {
            // An agent that ends closes its sockets.
            let end = move || runtime.shutdown_timeout(std::time::Duration::from_secs(20));
            tokio::task::spawn_blocking(end).await.unwrap();
        }
        self.start();
    }

    fn send(&mut self, port: &str, frame: &[u8]) {
        let (_, socket) = self.far.iter().find(|(name, _)| name == port).unwrap();
        assert_eq!(socket.send(frame).unwrap(), frame.len());
    }

    fn left(&mut self) -> Vec<(String, Vec<u8>)> {
        let mut left = Vec::new();
        for (name, socket) in &mut self.far {
            let mut buffer = vec![0; 10_000];
            while let Ok(length) = socket.read(&mut buffer) {
                left.push((name.clone(), buffer[..length].to_vec()));
            }
        }
        left
    }

    fn set_link(&mut self, port: &str, is_up: bool) {
        let state = if is_up { "up" } else { "down" };
        // The application's own end.
        sh(&format!("ip -n {}f link set {port} {state}", self.prefix));
    }

    fn run_application(&mut self, port: &str) -> HealthCheck {
        let (application, check) = Application::with_http(&self.prefix, port);
        self.applications.insert(port.to_owned(), application);
        check
    }

    fn hang(&mut self, port: &str, is_hung: bool) {
        self.applications[port].hang(is_hung);
    }

    fn take_away(&mut self, port: &str) {
        assert!(!self.in_node("ip -o link").contains(port));
    }

    fn disturb(&mut self) {
        self.in_node("tc qdisc del dev p0 clsact");
    }

    fn obstruct(&mut self, port: &str, is_obstructed: bool) {
        // Somebody else's filter has the place.
        self.in_node(&match is_obstructed {
            true => format!(
                "sh -ec 'tc qdisc del dev {port} clsact || true; tc qdisc add dev {port} clsact
                 tc filter add dev {port} ingress prio 2 protocol ip u32 match u32 0 0'"
            ),
            false => format!("tc qdisc del dev {port} clsact"),
        });
    }

    fn other_resolver(&mut self, answer: Option<Vec<u8>>) -> IpAddr {
        let prefix = &self.prefix;
        sh(&format!(
            "ip -n {prefix}n address add 10.99.0.1/24 dev p1
             ip -n {prefix}f address add 10.99.0.2/24 dev p1"
        ));
        self.answer_at("10.99.0.2", answer)
    }

    fn is_untouched(&mut self) -> bool {
        let places = namespace::names().unwrap();
        let mut places = places.iter();
        !self.in_node("tc qdisc").contains("clsact")
            && !self.in_node("ip -o link").contains(": d0@")
            && !places.any(|name| name.starts_with(&self.places()))
    }
}

impl Rig {
    /// A resolver at an address of the far namespace.
    fn answer_at(&self, address: &'static str, answer: Option<Vec<u8>>) -> IpAddr {
        let prefix = &self.prefix;
        let (far, alive) = (format!("{prefix}f"), Arc::downgrade(&self.other));
        let (send, bound) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            enter(&far).unwrap();
            let socket = std::net::UdpSocket::bind((address, 53)).unwrap();
            socket
                .set_read_timeout(Some(std::time::Duration::from_millis(100)))
                .unwrap();
            send.send(()).unwrap();
            let mut buffer = [0; 600];
            while alive.strong_count() > 0 {
                let (Ok((_, from)), Some(answer)) = (socket.recv_from(&mut buffer), &answer) else {
                    continue;
                };
                let answer = [&buffer[..2], &answer[2..]].concat();
                socket.send_to(&answer, from).unwrap();
            }
        });
        bound.recv().unwrap();
        address.parse().unwrap()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.steering = None;
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        for name in namespace::names().unwrap_or_default() {
            if name.starts_with(&self.places()) && namespace::delete(&name).is_err() {
                drop(writeln!(io::stderr(), "{name} is left behind"));
            }
        }
        for end in ["n", "f"] {
            let name = format!("{}{end}", self.prefix);
            let deleted = Command::new("ip").args(["netns", "delete", &name]).status();
            if !deleted.is_ok_and(|status| status.success()) {
                drop(writeln!(io::stderr(), "{name} is left behind"));
            }
        }
    }
}

/// What an operator's request is done on is in the node's namespace, and so is what it leads to.
pub(super) fn run(test: impl AsyncFnOnce(&mut Rig)) {
    if !can_run() {
        return;
    }
    let mut rig = Rig::new();
    let name = format!("{}n", rig.prefix);
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .on_thread_start(move || enter(&name).unwrap())
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(test(&mut rig));
}

shared!(run);

/// A resolver whose interface somebody else has taken does not run, and applications are followed all the same.
#[test]
fn a_resolver_that_cannot_run_holds_up_no_chain() {
    run(async |rig| {
        let mut config = suite::names::with_resolver(None);
        config.chains.push(suite::chain(OnFailure::Bypass));
        config.rules.push(RuleConfig {
            chain: Some("local".to_owned()),
            ..suite::rule("chain", "t", suite::of_user(2))
        });
        suite::configure(rig, &config).await;
        let frame = Frame::gtp(2, 255, &user_packet()).bytes();
        suite::until_it_leaves_at(rig, &frame, "a0").await;
        let (node, place) = (format!("{}n", rig.prefix), format!("{}s", rig.places()));
        sh(&format!(
            "ip netns exec {place} ip link del dns0; ip -n {node} link add d0 type veth peer name foreign"
        ));
        rig.set_link("a0", false);
        suite::until_it_leaves_at(rig, &frame, "a1").await;
        let wanted = NodeConfig {
            steering: config,
            ..NodeConfig::default()
        };
        let refused = rig.steering().reconcile(&wanted).await.unwrap_err();
        assert!(refused.path.contains("/resolver[slice='s']"), "{refused:?}");
        sh(&format!("ip -n {node} link del d0"));
        rig.set_link("a0", true);
        suite::until_it_leaves_at(rig, &frame, "a0").await;
        rig.steering().reconcile(&wanted).await.unwrap();
    });
}

/// A host behind a port gets a user's packet as plain IP through its own network stack, and its answer leaves in the tunnel.
#[test]
fn the_namespace_of_a_slice_gets_plain_ip_and_answers_into_the_tunnel() {
    run(async |rig| {
        let far = format!("{}f", rig.prefix);
        sh(&format!(
            "ip -n {far} address add 192.168.0.7/24 dev a0
             ip -n {far} route add 172.16.0.0/16 dev a0
             ip -n {far} neighbour add 172.16.0.9 lladdr 02:00:00:00:00:09 dev a0"
        ));
        let link = sh(&format!("ip -n {far} -o link show a0"));
        let mac = link
            .split("link/ether ")
            .nth(1)
            .unwrap()
            .split(' ')
            .next()
            .unwrap();
        let host = std::thread::spawn(move || {
            enter(&far).unwrap();
            let host = std::net::UdpSocket::bind("192.168.0.7:80").unwrap();
            host.set_read_timeout(Some(std::time::Duration::from_secs(20)))
                .unwrap();
            host
        });
        let host = host.join().unwrap();
        let mut config = suite::base();
        let local = GtpMatch {
            teid: Some(1),
            inner_destination_prefix: suite::written("192.168.0.0/16"),
            ..GtpMatch::default()
        };
        let local = MatchConfig {
            gtp: Some(local),
            ..at("p0")
        };
        let way = WayOut {
            destination_mac: Some(mac.parse().unwrap()),
            ..to("a0").unwrap()
        };
        config.rules.push(RuleConfig {
            end_gtp: present(),
            forward: Some(way),
            ..suite::rule("local", "s", local)
        });
        let encapsulate = Encapsulation {
            teid: 0x77,
            local_address: GATEWAY.parse().unwrap(),
            peer_address: "10.0.0.2".parse().unwrap(),
            qfi: None,
            direction: Direction::Downlink,
        };
        let way = WayOut {
            encapsulate: Some(encapsulate),
            ..to("p0").unwrap()
        };
        let back = MatchConfig {
            destination_prefix: suite::written("172.16.0.9/32"),
            ..at("a0")
        };
        config.rules.push(RuleConfig {
            forward: Some(way),
            ..suite::rule("back", "s", back)
        });
        suite::configure(rig, &config).await;
        let uplink = Frame::gtp(1, 255, &user_packet()).bytes();
        assert_eq!(suite::leaves(rig, "p0", &uplink).await.0, "a0");
        let mut buffer = [0; 100];
        let (length, user) = host.recv_from(&mut buffer).unwrap();
        assert_eq!(
            (&buffer[..length], user.to_string().as_str()),
            (&b"from a user"[..], "172.16.0.9:4000")
        );
        host.send_to(b"to a user", user).unwrap();
        let start = std::time::Instant::now();
        let left = loop {
            if let Some((_, frame)) = rig.left().into_iter().find(|(port, _)| port == "p0") {
                break frame;
            }
            assert!(start.elapsed().as_secs() < 20, "no answer left");
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        };
        let header = gtp(0x77, 255, &[], &[0; 37]);
        assert_eq!(
            (&left[42..50], &left[66..70]),
            (&header[..8], &[172, 16, 0, 9][..])
        );
        assert!(left.ends_with(b"to a user"));
    });
}

/// From the node's namespace there is no way to that resolver.
#[test]
fn others_are_asked_through_the_tunnel_of_the_slice() {
    run(async |rig| {
        let tag = tag_of(rig.state_dir.path().as_os_str().as_encoded_bytes());
        let tunnel = format!("{}s", namespace_prefix(&tag));
        let far = format!("{}f", rig.prefix);
        sh(&format!(
            "ip netns add {tunnel}
             ip -n {tunnel} link add wg0 type veth peer name t0 netns {far}
             ip -n {tunnel} address add 10.98.0.1/24 dev wg0
             ip -n {tunnel} link set wg0 up
             ip -n {far} address add 10.98.0.2/24 dev t0
             ip -n {far} link set t0 up"
        ));
        let server = rig.answer_at("10.98.0.2", Some(suite::names::others_answer()));
        let forward = Forward {
            servers: vec![server],
            through: Through::Tunnel,
        };
        suite::configure(rig, &suite::names::with_resolver(Some(forward))).await;
        let asked = suite::names::ask(rig, "www.example.", suite::names::A).await;
        sh(&format!("ip netns delete {tunnel}"));
        assert_eq!(asked.1, ["5 192.0.2.80"]);
    });
}

/// The name is somebody else's already: nothing changes.
#[test]
fn a_resolver_takes_no_interface_that_is_there() {
    run(async |rig| {
        let mut config = suite::names::with_resolver(None);
        config.resolvers[0].port = "p2".to_owned();
        let refused = suite::change(rig, &SteeringConfig::default(), &config)
            .await
            .unwrap_err();
        assert!(
            refused.path.ends_with("/resolver[slice='s']"),
            "{refused:?}"
        );
        assert!(
            refused.message.contains("p2 is there already"),
            "{refused:?}"
        );
        assert!(rig.is_untouched());
    });
}
