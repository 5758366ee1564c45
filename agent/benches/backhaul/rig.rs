//! Three agents in network namespaces on one switch, with a NETCONF session to each, and streams of packets between slices.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::runtime::{Builder, Runtime};
use tranche_agent::Agent;
use tranche_agent::config::Settings;
use tranche_netconf::client::{Auth, Client, ClientConfig, HostKeyCheck};
use tranche_netconf::message::{
    Datastore, DefaultOperation, EditConfig, ErrorOption, Filter, Operation, Reply, TestOption,
};
use tranche_netconf::xml::Fragment;

pub(crate) const EDGE: usize = 0;
pub(crate) const DC: usize = 1;
pub(crate) const SPOKE: usize = 2;
const SLICE: &str = "city-cam";
const NAMES: [&str; 3] = ["edge", "dc", "spoke"];
const ROLES: [&str; 3] = ["hub", "standby-hub", "spoke"];
const UNDERLAY: [&str; 3] = ["192.0.2.1", "192.0.2.2", "192.0.2.3"];
const INNER: [&str; 3] = ["10.77.0.1", "10.77.0.2", "10.77.0.9"];
const BACKHAUL: &str = "urn:tranche:yang:tranche-backhaul";
const YANG_1: &str = "urn:ietf:params:xml:ns:yang:1";
const PORT: u16 = 7000;
/// What the agents start from: one user who may do everything, radios that are not there.
const FACTORY: &str = r#"{
  "ietf-system:system": { "authentication": { "user": [{ "name": "admin", "password": "$0$admin secret" }] } },
  "ietf-netconf-acm:nacm": { "write-default": "permit" }
}"#;

static NUMBER: AtomicU32 = AtomicU32::new(0);

pub(crate) fn sh(command: &str) -> String {
    let done = Command::new("sh").args(["-c", command]).output().unwrap();
    assert!(
        done.status.success(),
        "{command}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    String::from_utf8_lossy(&done.stdout).into_owned()
}

fn enter(namespace: &str) {
    let file = std::fs::File::open(format!("/run/netns/{namespace}")).unwrap();
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
}

/// Runs something in a namespace.
pub(crate) fn within<T: Send + 'static>(
    namespace: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let namespace = namespace.to_owned();
    let thread = std::thread::spawn(move || {
        enter(&namespace);
        work()
    });
    thread.join().unwrap()
}

struct Node {
    runtime: Option<Runtime>,
    agent: Option<Agent>,
    client: Client,
}

pub(crate) struct Network {
    prefix: String,
    backend: &'static str,
    nodes: Vec<Node>,
    dir: tempfile::TempDir,
}

impl Network {
    pub(crate) fn new(backend: &'static str) -> Self {
        let prefix = format!(
            "trb{}-{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("factory.json"), FACTORY).unwrap();
        let switch = format!("{prefix}s");
        sh(&format!(
            "ip netns add {switch} && ip -n {switch} link add br0 type bridge && ip -n {switch} link set br0 up"
        ));
        let nodes = UNDERLAY.iter().enumerate().map(|(index, address)| {
            let name = format!("{prefix}m{index}");
            sh(&format!(
                "ip netns add {name} && ip -n {name} link set lo up
                 ip -n {name} link add up0 type veth peer name p{index} netns {switch}
                 ip -n {name} address add {address}/24 dev up0 && ip -n {name} link set up0 up
                 ip -n {switch} link set p{index} master br0 up"
            ));
            start(&name, settings(dir.path(), &name))
        });
        let nodes = nodes.collect();
        Self {
            prefix,
            backend,
            nodes,
            dir,
        }
    }

    pub(crate) fn machine(&self, index: usize) -> String {
        format!("{}m{index}", self.prefix)
    }

    /// A directory for the time of the measurement.
    pub(crate) fn directory(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// The namespace of the slice at a node.
    pub(crate) fn space(&self, index: usize) -> String {
        field(&self.state(index), "namespace")
    }

    fn run<T>(&self, index: usize, work: impl Future<Output = T>) -> T {
        self.nodes[index].runtime.as_ref().unwrap().block_on(work)
    }

    fn edit(&self, index: usize, xml: &str) {
        let edit = EditConfig {
            target: Datastore::Running,
            default_operation: DefaultOperation::Merge,
            test_option: TestOption::TestThenSet,
            error_option: ErrorOption::RollbackOnError,
            config: Fragment::parse(xml).unwrap(),
        };
        self.run(index, self.nodes[index].client.edit_config(&edit))
            .unwrap();
    }

    pub(crate) fn edit_tunnel(&self, index: usize, inner: &str) {
        self.edit(index, &tunnel(SLICE, inner));
    }

    fn act(&self, index: usize, action: &str) -> String {
        let element = format!(
            "<action xmlns=\"{YANG_1}\">{}</action>",
            tunnel(SLICE, action)
        );
        let operation = Operation::Other {
            namespace: YANG_1.to_owned(),
            name: "action".to_owned(),
            element: Fragment::parse(&element).unwrap(),
        };
        match self
            .run(index, self.nodes[index].client.call(operation))
            .unwrap()
        {
            Reply::Output(output) => output.as_str().to_owned(),
            other => panic!("{other:?}"),
        }
    }

    fn state(&self, index: usize) -> String {
        let filter = Filter::Subtree(Fragment::parse(&tunnel(SLICE, "<state/>")).unwrap());
        let state = self.run(index, self.nodes[index].client.get(Some(filter), None));
        state.unwrap().as_str().to_owned()
    }

    pub(crate) fn wait(&self, index: usize, text: &str) {
        let end = Instant::now() + Duration::from_secs(20);
        while !self.state(index).contains(text) {
            assert!(
                Instant::now() < end,
                "{}: no {text} in {}",
                NAMES[index],
                self.state(index)
            );
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }

    /// A tunnel without peers at every node.
    pub(crate) fn make_tunnels(&self, probe: Option<&str>) {
        let probe = probe.map_or_else(String::new, |probe| format!("<probe>{probe}</probe>"));
        for index in [EDGE, DC, SPOKE] {
            let (role, address, backend) = (ROLES[index], INNER[index], self.backend);
            self.edit_tunnel(index, &format!("<role>{role}</role><backend>{backend}</backend><address>{address}</address>{probe}"));
        }
    }

    /// How another node is told of this one.
    pub(crate) fn peer(&self, of: usize, more: &str) -> String {
        let state = self.state(of);
        let (key, port) = (field(&state, "public-key"), field(&state, "listen-port"));
        format!(
            "<peer><name>{}</name><public-key>{key}</public-key><endpoint><address>{}</address><port>{port}</port></endpoint>\
             <tunnel-address>{}</tunnel-address>{more}</peer>",
            NAMES[of], UNDERLAY[of], INNER[of],
        )
    }

    /// Tells a node of another one, whose key it is told.
    pub(crate) fn add_peer(&self, at: usize, of: usize) {
        let peer = self.peer(of, "");
        self.edit_tunnel(at, &peer);
    }

    pub(crate) fn remove_peer(&self, at: usize, of: usize) {
        let name = NAMES[of];
        self.edit_tunnel(at, &format!(
            "<peer xmlns:nc=\"urn:ietf:params:xml:ns:netconf:base:1.0\" nc:operation=\"delete\"><name>{name}</name></peer>"
        ));
    }

    /// The spoke and both hubs know each other; with `stand_by`, the hubs have the same prefix and an address in it.
    pub(crate) fn connect(&self, stand_by: bool) {
        for hub in [EDGE, DC] {
            let more = match stand_by {
                true => format!(
                    "<allowed-prefix>10.20.0.0/16</allowed-prefix><priority>{}</priority>",
                    hub + 1
                ),
                false => String::new(),
            };
            if stand_by {
                sh(&format!(
                    "ip -n {} address add 10.20.0.1/32 dev lo",
                    self.space(hub)
                ));
            }
            self.add_peer(hub, SPOKE);
            let peer = self.peer(hub, &more);
            self.edit_tunnel(SPOKE, &peer);
        }
        if stand_by {
            self.wait(SPOKE, "<state>warm</state>");
        }
    }

    /// Rotates the keys of all nodes, as a controller does.
    pub(crate) fn rotate(&self, order: &[usize]) {
        let next: Vec<String> = (0..NAMES.len())
            .map(|index| self.act(index, "<rotate-key/>"))
            .collect();
        let told = |at: usize, of: usize| {
            let (key, port) = (
                field(&next[of], "public-key"),
                field(&next[of], "listen-port"),
            );
            self.edit_tunnel(at, &format!(
                "<peer><name>{}</name><next><public-key>{key}</public-key><endpoint><address>{}</address><port>{port}</port></endpoint></next></peer>",
                NAMES[of], UNDERLAY[of],
            ));
        };
        for hub in [EDGE, DC] {
            told(hub, SPOKE);
            told(SPOKE, hub);
        }
        order
            .iter()
            .for_each(|index| self.wait(*index, "<phase>ready</phase>"));
        order
            .iter()
            .for_each(|index| drop(self.act(*index, "<complete-rotation/>")));
    }

    pub(crate) fn set_reachable(&self, index: usize, reachable: bool) {
        let state = if reachable { "up" } else { "down" };
        sh(&format!("ip -n {}s link set p{index} {state}", self.prefix));
    }

    /// Mbit/s of one TCP connection in two seconds, to this address in the one namespace and from the other.
    pub(crate) fn tcp_rate(to: &'static str, there: &str, here: &str) -> f64 {
        let listener = within(there, move || TcpListener::bind((to, PORT)).unwrap());
        let sink = std::thread::spawn(move || {
            let (mut connection, _) = listener.accept().unwrap();
            let (mut buffer, mut total, start) = (vec![0; 1 << 16], 0, Instant::now());
            while let Ok(length @ 1..) = connection.read(&mut buffer) {
                total += length;
            }
            total as f64 * 8.0 / start.elapsed().as_secs_f64() / 1e6
        });
        let mut connection = within(here, move || TcpStream::connect((to, PORT)).unwrap());
        let (buffer, start) = (vec![0; 1 << 16], Instant::now());
        while start.elapsed() < Duration::from_secs(2) {
            connection.write_all(&buffer).unwrap();
        }
        drop(connection);
        sink.join().unwrap()
    }

    /// Resident memory of this process, which is all agents.
    pub(crate) fn memory_kb(&self) -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    pub(crate) fn make_many(&self, index: usize, count: usize) {
        let tunnels = (0..count).map(|number| {
            let address = format!("10.{}.{}.1", 100 + number / 250, number % 250);
            format!("<tunnel><slice>s{number}</slice><role>hub</role><backend>{}</backend><address>{address}</address></tunnel>", self.backend)
        });
        let tunnels: String = tunnels.collect();
        self.edit(
            index,
            &format!("<backhaul xmlns=\"{BACKHAUL}\">{tunnels}</backhaul>"),
        );
    }

    pub(crate) fn read_all(&self, index: usize) {
        let filter = format!("<backhaul xmlns=\"{BACKHAUL}\"/>");
        let filter = Filter::Subtree(Fragment::parse(&filter).unwrap());
        self.run(index, self.nodes[index].client.get(Some(filter), None))
            .unwrap();
    }

    /// The agent of a node ends, and starts again with what is configured.
    pub(crate) fn restart(&mut self, index: usize) -> Duration {
        let node = &mut self.nodes[index];
        if let (Some(runtime), Some(agent)) = (node.runtime.take(), node.agent.take()) {
            runtime.block_on(agent.shutdown());
            // A process that has ended has closed everything.
            runtime.shutdown_timeout(Duration::from_secs(60));
        }
        let settings = settings(self.dir.path(), &self.machine(index));
        let begin = Instant::now();
        self.nodes[index] = start(&self.machine(index), settings);
        begin.elapsed()
    }

    pub(crate) fn remove_all(&self, index: usize) {
        self.edit(index, &format!(
            "<backhaul xmlns=\"{BACKHAUL}\" xmlns:nc=\"urn:ietf:params:xml:ns:netconf:base:1.0\" nc:operation=\"delete\"/>"
        ));
    }
}

fn settings(dir: &std::path::Path, name: &str) -> Settings {
    let mut settings = Settings::simulated(1, dir.join(name));
    settings.sim = None;
    settings.factory_default = vec![dir.join("factory.json")];
    settings
}

fn start(namespace: &str, settings: Settings) -> Node {
    let name = namespace.to_owned();
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .on_thread_start(move || enter(&name))
        .enable_all()
        .build()
        .unwrap();
    let started = runtime.spawn(async move {
        let agent = Agent::start(settings).await.unwrap();
        let node = &agent.nodes()[0];
        let key = HostKeyCheck::Pinned(node.host_key_fingerprint().to_owned());
        let password = Auth::Password("admin secret".to_owned());
        let config = ClientConfig::new(node.address().to_string(), "admin", password, key);
        let (client, _) = Client::connect(config).await.unwrap();
        (agent, client)
    });
    let (agent, client) = runtime.block_on(started).unwrap();
    Node {
        runtime: Some(runtime),
        agent: Some(agent),
        client,
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for index in 0..self.nodes.len() {
            self.remove_all_if_there(index);
            let node = &mut self.nodes[index];
            if let (Some(runtime), Some(agent)) = (node.runtime.take(), node.agent.take()) {
                runtime.block_on(agent.shutdown());
                runtime.shutdown_background();
            }
            sh(&format!("ip netns del {}", self.machine(index)));
        }
        sh(&format!("ip netns del {}s", self.prefix));
    }
}

impl Network {
    fn remove_all_if_there(&self, index: usize) {
        let filter =
            Filter::Subtree(Fragment::parse(&format!("<backhaul xmlns=\"{BACKHAUL}\"/>")).unwrap());
        let client = &self.nodes[index].client;
        let found = self.run(
            index,
            client.get_config(Datastore::Running, Some(filter), None),
        );
        if found.unwrap().as_str().contains("<tunnel>") {
            self.remove_all(index);
        }
    }
}

fn tunnel(slice: &str, inner: &str) -> String {
    format!(
        "<backhaul xmlns=\"{BACKHAUL}\"><tunnel><slice>{slice}</slice>{inner}</tunnel></backhaul>"
    )
}

/// The text of an element, wherever its namespace is declared.
fn field(xml: &str, name: &str) -> String {
    let (_, rest) = xml
        .split_once(&format!("<{name}>"))
        .or_else(|| xml.split_once(&format!("<{name} ")))
        .unwrap_or_else(|| panic!("no {name} in {xml}"));
    let text = rest.split('<').next().unwrap();
    text.rsplit('>').next().unwrap().to_owned()
}

/// Packets from the spoke, one every millisecond, and who hears them when.
pub(crate) struct Stream {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU32>,
    heard: Arc<Mutex<Vec<Instant>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Stream {
    pub(crate) fn start(network: &Network, to: &'static str, at: &[usize]) -> Self {
        let there: Vec<String> = at.iter().map(|index| network.space(*index)).collect();
        Self::between(&network.space(SPOKE), "10.77.0.9", &there, to)
    }

    /// From an address in a namespace to one that is in each of these.
    pub(crate) fn between(
        here: &str,
        from: &'static str,
        there: &[String],
        to: &'static str,
    ) -> Self {
        let mut stream = Self {
            stop: Arc::default(),
            sent: Arc::default(),
            heard: Arc::default(),
            threads: Vec::new(),
        };
        for namespace in there {
            let socket = within(namespace, move || UdpSocket::bind((to, PORT)).unwrap());
            // What waits here while the machine does something else is not lost.
            set_socket_recv_buffer_size_force(&socket, 16 << 20).unwrap();
            socket
                .set_read_timeout(Some(Duration::from_millis(100)))
                .unwrap();
            let (stop, heard) = (Arc::clone(&stream.stop), Arc::clone(&stream.heard));
            stream.threads.push(std::thread::spawn(move || {
                let mut last_word = false;
                while !last_word {
                    // What is on its way when the sender stops still counts.
                    last_word = stop.load(Ordering::Relaxed);
                    while socket.recv(&mut [0; 8]).is_ok() {
                        heard.lock().unwrap().push(Instant::now());
                    }
                }
            }));
        }
        let socket = within(here, move || UdpSocket::bind((from, 0)).unwrap());
        let (stop, sent) = (Arc::clone(&stream.stop), Arc::clone(&stream.sent));
        stream.threads.push(std::thread::spawn(move || {
            let mut next = Instant::now();
            while !stop.load(Ordering::Relaxed) {
                next += Duration::from_millis(1);
                std::thread::park_timeout(next.saturating_duration_since(Instant::now()));
                // Refused while there is no peer.
                if socket.send_to(b"tranche", (to, PORT)).is_ok() {
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            }
        }));
        stream
    }

    /// How many were sent until now.
    pub(crate) fn sent(&self) -> u32 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Goes on until so many were sent.
    pub(crate) fn until_sent(&self, count: u32) {
        while self.sent.load(Ordering::Relaxed) < count {
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }

    /// When the first packet after a moment was heard.
    pub(crate) fn first_after(&self, moment: Instant) -> Instant {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let found = self
                .heard
                .lock()
                .unwrap()
                .iter()
                .copied()
                .find(|at| *at > moment);
            if let Some(at) = found {
                return at;
            }
            assert!(Instant::now() < end, "no packet arrives");
            std::thread::park_timeout(Duration::from_micros(500));
        }
    }

    pub(crate) fn last(&self) -> Instant {
        *self.heard.lock().unwrap().last().unwrap()
    }

    pub(crate) fn longest_gap(&self) -> Duration {
        let mut heard = self.heard.lock().unwrap().clone();
        heard.sort_unstable();
        let gaps = heard.windows(2).map(|pair| pair[1] - pair[0]);
        gaps.max().unwrap()
    }

    /// Ends it: how many were sent, how many heard.
    pub(crate) fn end(mut self) -> (usize, usize) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
        let heard = self.heard.lock().unwrap().len();
        (self.sent.load(Ordering::Relaxed) as usize, heard)
    }
}
