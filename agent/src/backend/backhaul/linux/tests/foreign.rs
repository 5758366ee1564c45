//! An end whose key is elsewhere follows a rotation: a second interface of its own, with the key that it has. One that calls, and
//! one that is called, at another port then.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::UdpSocket;
use tokio::time::{sleep, timeout};

use super::super::userspace::UserspaceDevice;
use super::rig::{self, Rig};
use super::stream::Streams;
use super::traffic::socket;
use crate::backend::NodeConfig;
use crate::backend::backhaul::key::PrivateKey;
use crate::backend::backhaul::plane::{METRIC, TunnelInterface, WgPeer};
use crate::backend::backhaul::suite::{self, BackhaulRig, DC, EDGE, PATIENCE, SLICE};
use crate::backend::backhaul::{BackendInUse, BackhaulBackend as _, OwnKeyState, Phase};

const HUB: &str = "10.77.0.1";
const LAPTOP: &str = "10.77.0.77";

/// What the laptop does in a rotation as its file says: the interface comes up, shakes hands, and then has the traffic.
struct Laptop {
    key: PrivateKey,
    is_called: bool,
    interfaces: Vec<(String, UserspaceDevice)>,
}

impl Laptop {
    /// One more interface, beside those that it has. The laptop is at the machine of the data centre, and is nobody's node.
    async fn bring_up(&mut self, rig: &Rig, hub: &OwnKeyState) {
        let name = format!("wl{}", hub.epoch);
        let address = rig.underlay_address(EDGE).parse().unwrap();
        let endpoint = SocketAddr::new(address, hub.listen_port);
        let peer = WgPeer {
            public_key: hub.public_key,
            preshared_key: None,
            endpoint: (!self.is_called).then_some(endpoint),
            moves: false,
            keepalive_s: Some(25),
            allowed: vec![format!("{HUB}/32").parse().unwrap()],
        };
        let interface = TunnelInterface {
            name: name.clone(),
            key: self.key.clone(),
            port: if self.is_called { port(hub) } else { 0 },
            peers: Some(vec![peer]),
            metric: METRIC,
        };
        let namespace = rig.machine(DC).clone();
        // Its socket is of the machine whose threads open it.
        let made = rig.runtime(DC).spawn(async move {
            let mut device = UserspaceDevice::create(&namespace, &interface, 1420)
                .await
                .unwrap();
            device.set(&interface).await.unwrap();
            device
        });
        let device = made.await.unwrap();
        rig.in_machine(
            DC,
            &format!(
                "echo 2 > /proc/sys/net/ipv4/conf/{name}/rp_filter && ip address add {LAPTOP}/32 dev {name} && \
                 ip link set {name} up"
            ),
        );
        if !self.is_called {
            // The kernel's WireGuard would call by itself, for it keeps the way alive; gotatun does so after the first 25 s only.
            rig.in_machine(DC, &format!("ping -c 1 -W 1 -I {name} {HUB} || true"));
        }
        let shaken = async {
            while device.observe(&name, 0).await.peers[0]
                .latest_handshake
                .is_none()
            {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, shaken).await.expect("no handshake");
        self.interfaces.push((name, device));
    }

    /// Sends over the interface that came last.
    fn turn(&self, rig: &Rig) {
        let (name, _) = self.interfaces.last().unwrap();
        rig.in_machine(DC, &format!("ip route replace {HUB}/32 dev {name}"));
    }

    /// Is rid of the interface that it had first.
    async fn take_down(&mut self, rig: &Rig) {
        let (name, device) = self.interfaces.remove(0);
        rig.in_machine(DC, &format!("ip link del {name}"));
        device.stop().await;
    }
}

/// Where it receives on the interface with which it follows this key, if it is called.
fn port(hub: &OwnKeyState) -> u16 {
    5000 + u16::try_from(hub.epoch).unwrap()
}

fn sockets(rig: &Rig, port: u16) -> (UdpSocket, UdpSocket) {
    let hub = socket(&rig.slice_namespace(EDGE, SLICE), &format!("{HUB}:{port}"));
    let laptop = socket(&rig.machine(DC).name, &format!("{LAPTOP}:{port}"));
    (hub, laptop)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_whose_key_is_elsewhere_follows_a_rotation_without_a_loss() {
    if rig::can_run() {
        follows(Rig::new(BackendInUse::Userspace).await, false).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a kernel with WireGuard; run by make test-vm"]
async fn an_end_whose_key_is_elsewhere_follows_a_rotation_of_the_kernel_without_a_loss() {
    follows(Rig::new(BackendInUse::Kernel).await, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_is_called_follows_a_rotation_without_a_loss() {
    if rig::can_run() {
        follows(Rig::new(BackendInUse::Userspace).await, true).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a kernel with WireGuard; run by make test-vm"]
async fn an_end_that_is_called_follows_a_rotation_of_the_kernel_without_a_loss() {
    follows(Rig::new(BackendInUse::Kernel).await, true).await;
}

/// The hub with the laptop as its peer: the laptop's interface for this key, and the next one.
fn configured(rig: &Rig, laptop: &Laptop, now: u16, next: Option<u16>) -> NodeConfig {
    let key = laptop.key.public();
    let at = |port: u16| match laptop.is_called {
        true => json!({ "address": rig.underlay_address(DC), "port": port }),
        false => Value::Null,
    };
    let mut peer = json!({
        "name": "laptop", "public-key": key, "tunnel-address": LAPTOP, "endpoint": at(now),
    });
    if let Some(next) = next {
        peer["next"] = json!({ "public-key": key, "endpoint": at(next) });
    }
    let mut tunnel = suite::tunnel(EDGE, SLICE);
    tunnel["peer"] = json!([peer]);
    suite::config(&[tunnel])
}

async fn follows(mut rig: Rig, is_called: bool) {
    let mut laptop = Laptop {
        key: PrivateKey::generate(),
        is_called,
        interfaces: Vec::new(),
    };
    let mut before = configured(&rig, &laptop, 5001, None);
    suite::apply(&mut rig, EDGE, &NodeConfig::default(), &before).await;
    let own = suite::state(&mut rig, EDGE, SLICE).await.own_key.unwrap();
    laptop.bring_up(&rig, &own).await;
    laptop.turn(&rig);
    suite::until(&mut rig, EDGE, "heard", |state| {
        suite::peer(state, "laptop").latest_handshake.is_some()
    })
    .await;
    let ((hub_in, laptop_out), (hub_out, laptop_in)) = (sockets(&rig, 7001), sockets(&rig, 7002));
    let mut streams = Streams::start([
        ("from the laptop", laptop_out, hub_in),
        ("to the laptop", hub_out, laptop_in),
    ]);
    streams.go_on(100).await;
    let mut now = port(&own);
    // Who turns first, nobody can know.
    for is_laptop_first in [true, false] {
        streams.step("rotate-key");
        let next = rig.node(EDGE).rotate_key(SLICE, None).await.unwrap();
        streams.step("the configuration of the next key");
        let told = configured(&rig, &laptop, now, Some(port(&next)));
        suite::apply(&mut rig, EDGE, &before, &told).await;
        streams.go_on(100).await;
        let waiting = suite::state(&mut rig, EDGE, SLICE).await.next.unwrap();
        assert_eq!(waiting.phase, Phase::Prepared);
        rig.node(EDGE).complete_rotation(SLICE).await.unwrap_err();
        streams.step("the second interface of the laptop");
        laptop.bring_up(&rig, &next).await;
        suite::until(&mut rig, EDGE, "ready", |state| {
            let next = state.next.as_ref();
            next.is_some_and(|next| next.phase == Phase::Ready)
        })
        .await;
        streams.go_on(100).await;
        for turns in [is_laptop_first, !is_laptop_first] {
            if turns {
                streams.step("the turn of the laptop");
                laptop.turn(&rig);
            } else {
                streams.step("complete-rotation");
                let turned = rig.node(EDGE).complete_rotation(SLICE).await.unwrap();
                assert_eq!(turned, next);
            }
            streams.go_on(100).await;
        }
        streams.step("the end of the old key");
        suite::until(&mut rig, EDGE, "rid of the old key", |state| {
            state.retiring.is_none()
        })
        .await;
        streams.step("writing it down");
        now = port(&next);
        before = configured(&rig, &laptop, now, None);
        suite::apply(&mut rig, EDGE, &told, &before).await;
        streams.step("the end of the first interface of the laptop");
        laptop.take_down(&rig).await;
        streams.go_on(100).await;
    }
    assert_eq!(streams.lost().await, Vec::<String>::new());
    laptop.take_down(&rig).await;
}
