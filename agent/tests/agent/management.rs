//! In-band management: NETCONF through a tunnel of the node's own, between two agents that are network namespaces.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tranche_agent::Agent;
use tranche_agent::config::Settings;
use tranche_netconf::client::{Auth, Client, ClientConfig, HostKeyCheck};
use tranche_netconf::error::ErrorTag;
use tranche_netconf::message::{Commit, Datastore};

use crate::support::*;

const BACKHAUL: &str = "urn:tranche:yang:tranche-backhaul";
/// A key that nobody has.
const NOBODY: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";
const PATIENCE: Duration = Duration::from_secs(40);
const FACTORY: &str = r#"{
  "ietf-system:system": { "authentication": { "user": [{ "name": "admin", "password": "$0$admin secret" }] } },
  "ietf-netconf-acm:nacm": { "write-default": "permit" }
}"#;

fn try_sh(command: &str) -> bool {
    let done = Command::new("sh").args(["-c", command]).output();
    done.is_ok_and(|done| done.status.success())
}

#[track_caller]
fn sh(command: &str) {
    let done = Command::new("sh").args(["-c", command]).output().unwrap();
    let words = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command}: {words}");
}

/// Says on the terminal what is missing here, past what captures the output of tests.
fn can_run() -> bool {
    let can = Path::new("/dev/net/tun").exists()
        && try_sh("nft --version")
        && try_sh("unshare --net true");
    if !can {
        let words =
            "\nSKIPPED: a test of in-band management: it needs root, nft and /dev/net/tun\n";
        drop(writeln!(std::io::stderr(), "{words}"));
    }
    can
}

/// A runtime whose threads are in a namespace.
fn inside(namespace: &str) -> Runtime {
    let namespace = namespace.to_owned();
    Builder::new_multi_thread()
        .worker_threads(2)
        .on_thread_start(move || {
            let file = std::fs::File::open(format!("/run/netns/{namespace}")).unwrap();
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        })
        .enable_all()
        .build()
        .unwrap()
}

/// Names of namespaces, which go with it.
struct Namespaces(Vec<String>);

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in &self.0 {
            try_sh(&format!("ip netns del {name}"));
        }
    }
}

/// An agent in a namespace, and a session to it from another one.
struct Machine {
    runtime: Runtime,
    agent: Agent,
}

impl Machine {
    fn start(namespace: &str, dir: &Path) -> Self {
        let runtime = inside(namespace);
        let factory = dir.join("factory.json");
        std::fs::write(&factory, FACTORY).unwrap();
        let mut settings = Settings::simulated(1, dir.join(namespace));
        settings.sim = None;
        settings.factory_default = vec![factory];
        settings.listen = "0.0.0.0:830".parse().unwrap();
        let started = runtime.spawn(async move { Agent::start(settings).await.unwrap() });
        let agent = runtime.block_on(started).unwrap();
        Self { runtime, agent }
    }

    /// A session from where the runtime is.
    fn session(&self, from: &Runtime, address: &str) -> Option<Client> {
        let key = self.agent.nodes()[0].host_key_fingerprint().to_owned();
        let password = Auth::Password("admin secret".to_owned());
        let config = ClientConfig::new(
            format!("{address}:830"),
            "admin",
            password,
            HostKeyCheck::Pinned(key),
        );
        let connected = async move {
            let connected = Client::connect(config);
            tokio::time::timeout(Duration::from_secs(3), connected).await
        };
        let connected = from.block_on(from.spawn(connected)).unwrap();
        Some(connected.ok()?.ok()?.0)
    }
}

fn backhaul(tunnel: &str) -> String {
    format!(
        "<backhaul xmlns=\"{BACKHAUL}\"><tunnel><slice>mgmt</slice>{tunnel}</tunnel></backhaul>"
    )
}

fn state(runtime: &Runtime, client: &Client) -> String {
    let filter = subtree(&backhaul("<state/>"));
    let state = runtime.block_on(client.get(Some(filter), None)).unwrap();
    state.as_str().to_owned()
}

fn field(xml: &str, name: &str) -> String {
    let (_, rest) = xml
        .split_once(&format!("<{name}>"))
        .unwrap_or_else(|| panic!("{name} in {xml}"));
    rest.split('<').next().unwrap().to_owned()
}

/// Commits a change on trial and confirms it.
fn change(runtime: &Runtime, client: &Client, xml: &str) {
    runtime.block_on(async {
        edit_candidate(client, xml).await.unwrap();
        client.commit(&on_trial(60)).await.unwrap();
        commit(client).await.unwrap();
    });
}

fn until<T>(what: &str, attempt: impl Fn() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(Instant::now() < end, "not {what}");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

/// A node and its gateway on one cable, and a host behind the node.
fn cabled(prefix: &str) -> (Namespaces, [String; 3]) {
    let names = ["n", "g", "f"].map(|name| format!("{prefix}{name}"));
    let [node, gateway, far] = &names;
    sh(&format!(
        "for name in {node} {gateway} {far}; do ip netns add $name && ip -n $name link set lo up; done
         ip -n {node} link add up0 type veth peer name up0 netns {gateway}
         ip -n {node} link add far0 type veth peer name far0 netns {far}
         ip -n {node} address add 192.0.2.1/24 dev up0 && ip -n {node} link set up0 up
         ip -n {gateway} address add 192.0.2.2/24 dev up0 && ip -n {gateway} link set up0 up
         ip -n {node} address add 10.50.0.1/24 dev far0 && ip -n {node} link set far0 up
         ip -n {far} address add 10.50.0.2/24 dev far0 && ip -n {far} link set far0 up
         ip -n {far} route add default via 10.50.0.1
         ip netns exec {node} sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'"
    ));
    (Namespaces(names.to_vec()), names)
}

/// The node's end, which knows nobody yet.
fn bare(backend: &str) -> String {
    backhaul(&format!(
        "<role>spoke</role><backend>{backend}</backend><address>10.99.0.9</address><management/>"
    ))
}

/// The gateway's end and the node's, which know each other; the namespace of the gateway's end.
fn tunnelled(backend: &str, gateway: (&Runtime, &Client), node: (&Runtime, &Client)) -> String {
    let end = backhaul(&format!(
        "<role>hub</role><backend>{backend}</backend><address>10.99.0.1</address>"
    ));
    gateway.0.block_on(edit_running(gateway.1, &end)).unwrap();
    change(node.0, node.1, &bare(backend));
    let (here, there) = (state(node.0, node.1), state(gateway.0, gateway.1));
    for end in [&here, &there] {
        assert_eq!(field(end, "backend-in-use"), backend);
    }
    let peer = |state: &str, name: &str, underlay: &str, inner: &str, more: &str| {
        backhaul(&format!(
            "<peer><name>{name}</name><public-key>{}</public-key><endpoint><address>{underlay}</address><port>{}</port></endpoint>\
             <tunnel-address>{inner}</tunnel-address>{more}</peer>",
            field(state, "public-key"),
            field(state, "listen-port"),
        ))
    };
    let behind = "<allowed-prefix>10.50.0.0/24</allowed-prefix>";
    let told = peer(&here, "node", "192.0.2.1", "10.99.0.9", behind);
    gateway.0.block_on(edit_running(gateway.1, &told)).unwrap();
    let alive = "<persistent-keepalive>1</persistent-keepalive>";
    change(
        node.0,
        node.1,
        &peer(&there, "gateway", "192.0.2.2", "10.99.0.1", alive),
    );
    field(&there, "namespace")
}

#[test]
fn netconf_is_reached_through_a_tunnel_that_heals_itself() {
    if can_run() {
        is_reached_and_heals("userspace");
    }
}

#[test]
#[ignore = "needs a kernel with WireGuard; run by make test-vm"]
fn netconf_is_reached_through_a_tunnel_of_the_kernel_that_heals_itself() {
    is_reached_and_heals("kernel");
}

fn is_reached_and_heals(backend: &str) {
    let dir = tempfile::tempdir().unwrap();
    let prefix = format!("trm{}", std::process::id());
    let (mut namespaces, [node_name, gateway_name, _far]) = cabled(&prefix);
    let gateway = Machine::start(&gateway_name, dir.path());
    let node = Machine::start(&node_name, dir.path());
    let outside = inside(&gateway_name);
    let outside = &outside;
    let gateway_session = gateway.session(outside, "127.0.0.1").unwrap();
    let underlay = node.session(outside, "192.0.2.1").unwrap();
    // First from outside, and not otherwise than on trial.
    let bare = bare(backend);
    let path = "/tranche-backhaul:backhaul/tunnel[slice='mgmt']";
    let error = refused(outside.block_on(edit_running(&underlay, &bare)));
    assert_eq!(
        (error.tag, error.path.as_deref()),
        (ErrorTag::OperationNotSupported, Some(path)),
        "{error:?}"
    );
    outside.block_on(edit_candidate(&underlay, &bare)).unwrap();
    let error = refused(outside.block_on(commit(&underlay)));
    assert_eq!(error.tag, ErrorTag::OperationNotSupported, "{error:?}");
    outside.block_on(underlay.discard_changes()).unwrap();
    let space = tunnelled(backend, (outside, &gateway_session), (outside, &underlay));
    namespaces.0.push(space.clone());
    drop(underlay);

    // Through it: NETCONF and echo requests, and nothing else.
    let operator = inside(&space);
    let through = until("reached", || node.session(&operator, "10.99.0.9"));
    assert!(try_sh(&format!(
        "ip netns exec {space} ping -c 1 -W 5 10.99.0.9"
    )));
    let other = node.runtime.block_on(
        node.runtime
            .spawn(async { TcpListener::bind("0.0.0.0:7777") }),
    );
    let _other = other.unwrap().unwrap();
    let reaches = |from: &Runtime, address: &str| {
        let address: SocketAddr = address.parse().unwrap();
        let attempt = async move {
            let connecting = TcpStream::connect(address);
            let connected = tokio::time::timeout(Duration::from_secs(1), connecting).await;
            connected.is_ok_and(|connected| connected.is_ok())
        };
        from.block_on(from.spawn(attempt)).unwrap()
    };
    assert!(reaches(outside, "192.0.2.1:7777"));
    assert!(!reaches(&operator, "10.99.0.9:7777"));
    let far = format!("ip netns exec {space} ping -c 1 -W 1 10.50.0.2");
    assert!(!try_sh(&far), "the node passes packets on");
    // It is the wall that keeps them.
    sh(&format!(
        "ip netns exec {node_name} sh -c 'for table in $(nft list tables | cut -d\" \" -f3); do nft delete table inet $table; done'"
    ));
    assert!(try_sh(&far), "there is no way there at all");

    // A good change through the tunnel is confirmed through it.
    change(&operator, &through, &backhaul("<mtu>1380</mtu>"));
    let running = operator.block_on(config(&through, Datastore::Running, &backhaul("<mtu/>")));
    assert!(running.contains("<mtu>1380</mtu>"), "{running}");

    // One that cuts the node off is taken back when its time is over.
    let wrong = backhaul(&format!(
        "<peer><name>gateway</name><public-key>{NOBODY}</public-key></peer>"
    ));
    let trial = Commit {
        persist: Some("trial".to_owned()),
        ..on_trial(4)
    };
    operator.block_on(async {
        edit_candidate(&through, &wrong).await.unwrap();
        // The answer may be lost with the tunnel.
        let answer = tokio::time::timeout(Duration::from_secs(1), through.commit(&trial)).await;
        drop(answer);
    });
    let broken = node.session(outside, "192.0.2.1").unwrap();
    let keys = |session: &Client| {
        let filter = backhaul("<peer><name>gateway</name><public-key/></peer>");
        outside.block_on(config(session, Datastore::Running, &filter))
    };
    assert!(keys(&broken).contains(NOBODY));
    assert!(
        node.session(&operator, "10.99.0.9").is_none(),
        "not cut off"
    );
    let healed = until("healed", || node.session(&operator, "10.99.0.9"));
    let running = operator.block_on(config(&healed, Datastore::Running, &backhaul("")));
    assert!(!running.contains(NOBODY), "{running}");

    // It can move to a namespace of its own and back; a route of the node's own is not taken.
    sh(&format!(
        "ip -n {node_name} route add 10.60.0.0/24 dev far0"
    ));
    let taken =
        backhaul("<peer><name>gateway</name><allowed-prefix>10.60.0.0/24</allowed-prefix></peer>");
    outside.block_on(edit_candidate(&broken, &taken)).unwrap();
    let error = refused(outside.block_on(broken.commit(&on_trial(60))));
    assert!(
        message(&error).contains("has a route to 10.60.0.0/24"),
        "{error:?}"
    );
    outside.block_on(broken.discard_changes()).unwrap();
    let elsewhere = backhaul(&format!(
        "<management xmlns:nc=\"{NC}\" nc:operation=\"delete\"/>"
    ));
    change(outside, &broken, &elsewhere);
    let own = field(&state(outside, &broken), "namespace");
    namespaces.0.push(own);
    assert!(node.session(&operator, "10.99.0.9").is_none(), "in a slice");
    // Out of its namespace only what is on trial comes back.
    change(outside, &broken, &backhaul("<management/>"));
    let healed = until("back", || node.session(&operator, "10.99.0.9"));

    // It goes like any other, on trial.
    let delete = format!(
        "<backhaul xmlns=\"{BACKHAUL}\" xmlns:nc=\"{NC}\"><tunnel nc:operation=\"delete\"><slice>mgmt</slice></tunnel></backhaul>"
    );
    change(outside, &broken, &delete);
    let left = Command::new("ip")
        .args(["-n", &node_name, "-o", "link"])
        .output()
        .unwrap();
    let left = String::from_utf8_lossy(&left.stdout).into_owned();
    assert_eq!(left.lines().count(), 3, "{left}");
    outside
        .block_on(edit_running(&gateway_session, &delete))
        .unwrap();
    drop((healed, through, broken, gateway_session));
    for machine in [node, gateway] {
        machine.runtime.block_on(machine.agent.shutdown());
        machine.runtime.shutdown_background();
    }
    operator.shutdown_background();
}
