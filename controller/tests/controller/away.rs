//! Changes of tunnels of which a node hears nothing, because it is away: it gets them when it returns.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tranche_controller::device::{DeviceConfig, DeviceSettings, DeviceState, Fleet};
use tranche_controller::intent::{
    Layer, NodePlan, PeerConfig, PeerEndpoint, Probe, Role, TunnelAttachment, TunnelConfig,
};
use tranche_controller::keys;
use tranche_controller::network::{Mode, Network};
use tranche_controller::reconcile::{ReconcileSettings, Reconciler};
use tranche_controller::rollout::RolloutSettings;

use crate::backhaul::{three, tunnel};
use crate::nodes::Site;

/// What becomes of what goes over a way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Passage {
    Open,
    Held,
    Cut,
}

/// A way to a node that can be cut, or held up.
pub(crate) struct Way {
    pub(crate) port: u16,
    passage: watch::Sender<Passage>,
    _task: AbortOnDropHandle<()>,
}

impl Way {
    pub(crate) async fn to(node: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (passage, state) = watch::channel(Passage::Open);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                if *state.borrow() != Passage::Cut {
                    connections.spawn(pass(near, node, state.clone()));
                }
            }
        });
        let _task = AbortOnDropHandle::new(task);
        Self {
            port,
            passage,
            _task,
        }
    }

    /// Nobody gets through any more, and who has come through is thrown out.
    pub(crate) fn cut(&self) {
        self.passage.send_replace(Passage::Cut);
    }

    /// Nothing arrives any more, and nothing is lost.
    pub(crate) fn hold(&self) {
        self.passage.send_replace(Passage::Held);
    }

    pub(crate) fn mend(&self) {
        self.passage.send_replace(Passage::Open);
    }
}

async fn pass(near: TcpStream, node: SocketAddr, mut state: watch::Receiver<Passage>) {
    let far = TcpStream::connect(node).await.unwrap();
    let (near, far) = (near.into_split(), far.into_split());
    let (out, back) = (state.clone(), state.clone());
    tokio::select! {
        () = pump(near.0, far.1, out) => {}
        () = pump(far.0, near.1, back) => {}
        _ = state.wait_for(|state| *state == Passage::Cut) => {}
    }
}

/// Until either end closes.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<Passage>,
) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let passes = state
            .wait_for(|state| *state != Passage::Held)
            .await
            .is_ok();
        if !passes || to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

const SLICE: &str = "a";
const NODES: [&str; 3] = ["node-1", "node-2", "node-3"];
/// The hub, which is the one that goes away.
const HUB: usize = 2;

fn address(node: usize) -> IpAddr {
    IpAddr::from([10, 77, 0, u8::try_from(node).unwrap() + 1])
}

/// How a node is known to the other end.
fn peer(node: usize) -> (String, PeerConfig) {
    let called = PeerEndpoint {
        address: IpAddr::from([127, 0, 0, 1]),
        port: None,
        second: None,
    };
    let peer = PeerConfig {
        node: Some(NODES[node].to_owned()),
        endpoint: (node == HUB).then_some(called),
        tunnel_address: Some(address(node)),
        ..PeerConfig::default()
    };
    (NODES[node].to_owned(), peer)
}

/// Tunnels from these spokes to the hub; none at all without spokes.
fn plans(spokes: &[usize]) -> BTreeMap<String, NodePlan> {
    let plan = |node: usize| {
        let peers: Vec<usize> = match node {
            HUB => spokes.to_vec(),
            spoke if spokes.contains(&spoke) => vec![HUB],
            _ => Vec::new(),
        };
        let mut plan = NodePlan::default();
        if !peers.is_empty() {
            let tunnel = TunnelConfig {
                role: if node == HUB { Role::Hub } else { Role::Spoke },
                layer: Layer::L3,
                vni: None,
                mtu: 1420,
                addresses: BTreeSet::from([address(node)]),
                listen_port: None,
                attachment: TunnelAttachment::default(),
                probe: Some(Probe::default()),
                rotation_interval: None,
                peers: peers.into_iter().map(peer).collect(),
            };
            plan.tunnels.insert(SLICE.to_owned(), tunnel);
        }
        plan
    };
    let nodes = NODES.iter().enumerate();
    nodes
        .map(|(i, name)| ((*name).to_owned(), plan(i)))
        .collect()
}

async fn eventually(what: &str, look: impl AsyncFn() -> bool) {
    let begin = Instant::now();
    while !look().await {
        assert!(begin.elapsed() < Duration::from_secs(60), "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn network(site: &Site, way: &Way) -> Arc<Network> {
    let fleet = Fleet::new(DeviceSettings {
        min_pause: Duration::from_millis(20),
        max_pause: Duration::from_millis(50),
        ..DeviceSettings::default()
    });
    let key_file = keys::path(&site.dir.path().join("controller"), "main").unwrap();
    let nodes = site.agent.nodes().iter().enumerate();
    fleet.configure(nodes.map(|(index, node)| DeviceConfig {
        node: node.name().to_owned(),
        address: "127.0.0.1".to_owned(),
        port: if index == HUB {
            way.port
        } else {
            node.address().port()
        },
        user: "controller".to_owned(),
        key_file: key_file.clone(),
        host_key: node.host_key_fingerprint().to_owned(),
    }));
    Arc::new(Network::new(fleet, RolloutSettings::default()))
}

#[tokio::test(flavor = "multi_thread")]
async fn tunnels_that_change_while_a_node_is_away_are_as_they_should_be_when_it_returns() {
    let site = three().await;
    let way = Way::to(site.agent.nodes()[HUB].address()).await;
    let network = network(&site, &way);
    let pace = ReconcileSettings {
        min_pause: Duration::from_millis(20),
        max_pause: Duration::from_millis(100),
    };
    let reconciler = Reconciler::start(Arc::clone(&network), pace);
    let status = |node: usize| network.fleet().device(NODES[node]).unwrap().status();
    let answers = |node: usize, peer: usize| {
        let observed = status(node).observed;
        let tunnel = observed.as_ref().and_then(|has| has.tunnels.get(SLICE));
        let peer = tunnel.and_then(|tunnel| tunnel.state.peers.get(NODES[peer]));
        peer.is_some_and(|peer| peer.answers())
    };
    let become_ =
        async |state| eventually("it is noticed", async || status(HUB).state == state).await;
    for node in 0..NODES.len() {
        let connected = async || status(node).state == DeviceState::Connected;
        eventually("connected", connected).await;
    }
    let change = async |spokes: &[usize], mode| {
        let kept = async { Ok(()) };
        network.change(plans(spokes), mode, kept).await.unwrap()
    };
    change(&[0], Mode::AllOrNothing).await;
    eventually("up", async || answers(0, HUB)).await;

    // Another node joins, and the hub does not hear of it.
    way.cut();
    become_(DeviceState::Unreachable).await;
    let refused = network.change(plans(&[0, 1]), Mode::AllOrNothing, async { Ok(()) });
    assert!(refused.await.unwrap_err().to_string().contains("node-3"));
    assert_eq!(tunnel(&site, 1, SLICE).await, None);
    let done = change(&[0, 1], Mode::Queue).await;
    assert_eq!(
        (done.confirmed, done.queued),
        (vec!["node-2".to_owned()], vec!["node-3".to_owned()])
    );
    assert!(
        tunnel(&site, 1, SLICE)
            .await
            .unwrap()
            .contains("<name>node-3</name>")
    );
    assert!(
        !tunnel(&site, HUB, SLICE)
            .await
            .unwrap()
            .contains("<name>node-2</name>")
    );
    way.mend();
    eventually("the hub knows the new one", async || {
        let device = network.fleet().device(NODES[1]).unwrap();
        device.read().await.is_ok() && answers(1, HUB)
    })
    .await;
    assert!(
        tunnel(&site, HUB, SLICE)
            .await
            .unwrap()
            .contains("<name>node-2</name>")
    );

    // One leaves; then all do.
    way.cut();
    become_(DeviceState::Unreachable).await;
    let done = change(&[1], Mode::Queue).await;
    assert_eq!(done.queued, ["node-3"]);
    assert_eq!(tunnel(&site, 0, SLICE).await, None);
    way.mend();
    eventually("the hub has forgotten who left", async || {
        let hub = tunnel(&site, HUB, SLICE).await.unwrap();
        !hub.contains("<name>node-1</name>") && hub.contains("<name>node-2</name>")
    })
    .await;
    way.cut();
    become_(DeviceState::Unreachable).await;
    let done = change(&[], Mode::Queue).await;
    assert_eq!(done.queued, ["node-3"]);
    way.mend();
    eventually("the hub has no tunnel any more", async || {
        tunnel(&site, HUB, SLICE).await.is_none()
    })
    .await;
    reconciler.shutdown().await;
    network.fleet().shutdown().await;
    site.agent.shutdown().await;
}
