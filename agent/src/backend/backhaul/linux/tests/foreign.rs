//! An end whose key is elsewhere follows a rotation: a second interface of its own, with the key that it has.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use serde_json::json;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::super::userspace::UserspaceDevice;
use super::rig::{self, Rig};
use super::traffic::socket;
use crate::backend::NodeConfig;
use crate::backend::backhaul::key::PrivateKey;
use crate::backend::backhaul::plane::{METRIC, TunnelInterface, WgPeer};
use crate::backend::backhaul::suite::{self, BackhaulRig, DC, EDGE, SLICE};
use crate::backend::backhaul::{BackendInUse, BackhaulBackend as _, OwnKeyState, Phase};

const HUB: &str = "10.77.0.1";
const LAPTOP: &str = "10.77.0.77";

/// An interface of the laptop, which is at the machine of the data centre and is nobody's node; with a way to the hub over it.
async fn interface(rig: &Rig, name: &str, key: &PrivateKey, hub: &OwnKeyState) -> UserspaceDevice {
    let peer = WgPeer {
        public_key: hub.public_key,
        preshared_key: None,
        endpoint: Some(SocketAddr::new(
            rig.underlay_address(EDGE).parse().unwrap(),
            hub.listen_port,
        )),
        moves: false,
        keepalive_s: Some(25),
        allowed: vec![format!("{HUB}/32").parse().unwrap()],
    };
    let interface = TunnelInterface {
        name: name.to_owned(),
        key: key.clone(),
        port: 0,
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
             ip link set {name} up && ip route replace {HUB}/32 dev {name}"
        ),
    );
    device
}

/// Packets, one every millisecond, until it is told to stop; how many were sent, and which came.
struct Flow {
    stop: watch::Sender<bool>,
    sending: JoinHandle<u32>,
    receiving: JoinHandle<BTreeSet<u32>>,
}

impl Flow {
    fn start(sender: UdpSocket, receiver: UdpSocket) -> Self {
        set_socket_recv_buffer_size_force(&receiver, 16 << 20).unwrap();
        let to = receiver.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let sending = tokio::spawn(async move {
            let mut tick = interval(Duration::from_millis(1));
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut number = 0_u32;
            while !*stopped.borrow() {
                tick.tick().await;
                sender.send_to(&number.to_be_bytes(), to).await.unwrap();
                number += 1;
            }
            number
        });
        let receiving = tokio::spawn(async move {
            let (mut heard, mut packet) = (BTreeSet::new(), [0; 4]);
            while let Ok(Ok(4)) = timeout(Duration::from_secs(3), receiver.recv(&mut packet)).await
            {
                heard.insert(u32::from_be_bytes(packet));
            }
            heard
        });
        Self {
            stop,
            sending,
            receiving,
        }
    }

    /// The numbers of those that were lost.
    async fn lost(self) -> Vec<u32> {
        self.stop.send_replace(true);
        let sent = self.sending.await.unwrap();
        let heard = self.receiving.await.unwrap();
        assert!(sent > 500, "{sent} were sent");
        (0..sent).filter(|number| !heard.contains(number)).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_whose_key_is_elsewhere_follows_a_rotation_without_a_loss() {
    if rig::can_run() {
        follows(Rig::new(BackendInUse::Userspace).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a kernel with WireGuard; run by make test-vm"]
async fn an_end_whose_key_is_elsewhere_follows_a_rotation_of_the_kernel_without_a_loss() {
    follows(Rig::new(BackendInUse::Kernel).await).await;
}

async fn follows(mut rig: Rig) {
    let key = PrivateKey::generate();
    let mut tunnel = suite::tunnel(EDGE, SLICE);
    tunnel["peer"] = json!([{
        "name": "laptop", "public-key": key.public(), "tunnel-address": LAPTOP,
    }]);
    let before = suite::config(&[tunnel.clone()]);
    suite::apply(&mut rig, EDGE, &NodeConfig::default(), &before).await;
    let own = suite::state(&mut rig, EDGE, SLICE).await.own_key.unwrap();
    let _first = interface(&rig, "wl0", &key, &own).await;
    let is_heard = |state: &crate::backend::backhaul::TunnelState| {
        suite::peer(state, "laptop").latest_handshake.is_some()
    };
    suite::until(&mut rig, EDGE, "heard", is_heard).await;
    let slice = rig.slice_namespace(EDGE, SLICE);
    let machine = rig.machine(DC).name.clone();
    let sockets = |port: u16| {
        let hub = socket(&slice, &format!("{HUB}:{port}"));
        let laptop = socket(&machine, &format!("{LAPTOP}:{port}"));
        (hub, laptop)
    };
    let ((hub_in, laptop_out), (hub_out, laptop_in)) = (sockets(7001), sockets(7002));
    let up = Flow::start(laptop_out, hub_in);
    let down = Flow::start(hub_out, laptop_in);

    // The hub is ready when the laptop is, whenever that may be.
    let next = rig.node(EDGE).rotate_key(SLICE, None).await.unwrap();
    tunnel["peer"][0]["next"] = json!({ "public-key": key.public() });
    let told = suite::config(&[tunnel]);
    suite::apply(&mut rig, EDGE, &before, &told).await;
    sleep(Duration::from_millis(300)).await;
    let waiting = suite::state(&mut rig, EDGE, SLICE).await.next.unwrap();
    assert_eq!(waiting.phase, Phase::Prepared);
    rig.node(EDGE).complete_rotation(SLICE).await.unwrap_err();
    let _second = interface(&rig, "wl1", &key, &next).await;
    suite::until(&mut rig, EDGE, "ready", |state| {
        let next = state.next.as_ref();
        next.is_some_and(|next| next.phase == Phase::Ready)
    })
    .await;
    // It sends on the second already, and hears on the first.
    sleep(Duration::from_millis(300)).await;
    let turned = rig.node(EDGE).complete_rotation(SLICE).await.unwrap();
    assert_eq!(turned, next);
    suite::until(&mut rig, EDGE, "rid of the old key", |state| {
        state.retiring.is_none()
    })
    .await;
    suite::apply(&mut rig, EDGE, &told, &before).await;
    rig.in_machine(DC, "ip link del wl0");
    sleep(Duration::from_millis(300)).await;
    assert_eq!(
        (up.lost().await, down.lost().await),
        (Vec::new(), Vec::new())
    );
    rig.in_machine(DC, "ip link del wl1");
}
