//! Users at both ends of a slice: what is attached to it, in packets of either family and in Ethernet frames.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::sleep;

use super::rig::{self, Rig};
use crate::backend::backhaul::suite::{self, BackhaulRig, DC, EDGE, PATIENCE, SLICE, SPOKE};
use crate::backend::backhaul::{
    BackendInUse, BackhaulBackend as _, Layer, PeerState, Role, TunnelConfig,
};
use crate::backend::{Backend as _, NodeConfig};

pub(super) fn attach(tunnel: &mut TunnelConfig, attachment: Value) {
    tunnel.attachment = serde_json::from_value(attachment).unwrap();
}

/// A command line that asks until it is answered once, with this many octets of content that must stay in one piece.
fn ping(to: &str, content: usize) -> String {
    format!("ping -c 1 -w 30 -M do -s {content} {to}")
}

/// The same that must not be answered.
fn no_ping(to: &str, content: usize) -> String {
    format!("! ping -c 1 -w 1 -M do -s {content} {to}")
}

pub(super) fn in_slice(rig: &Rig, at: usize, command: &str) -> String {
    let namespace = rig.slice_namespace(at, SLICE);
    rig::sh(&format!("ip netns exec {namespace} sh -c '{command}'"))
}

pub(super) async fn change(
    rig: &mut Rig,
    at: usize,
    before: &NodeConfig,
    change: impl FnOnce(&mut TunnelConfig),
) -> NodeConfig {
    let after = suite::changed(before, change);
    suite::apply(rig, at, before, &after).await;
    after
}

/// Joins users at edge and spoke by an Ethernet segment.
pub(super) async fn segment(rig: &mut Rig, configs: &[NodeConfig; 3]) -> [NodeConfig; 2] {
    let mut made = Vec::new();
    for at in [EDGE, SPOKE] {
        let joined = change(rig, at, &configs[at], |tunnel| {
            (tunnel.layer, tunnel.vni) = (Layer::L2Vxlan, Some(7));
            let gateway = format!("10.21.0.25{at}/24");
            attach(tunnel, json!({ "interface": "ua", "gateway": [gateway] }));
        });
        made.push(joined.await);
        rig.in_machine(at, &format!("ip address add 10.21.0.{}/24 dev ua", at + 1));
    }
    made.try_into().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn ethernet_frames_cross_between_users() {
    if rig::can_run() {
        frames_cross(Rig::new(BackendInUse::Userspace).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a kernel with WireGuard; run by make test-vm"]
async fn ethernet_frames_cross_between_users_in_the_kernel() {
    frames_cross(Rig::new(BackendInUse::Kernel).await).await;
}

async fn frames_cross(mut rig: Rig) {
    let configs = suite::connected(&mut rig).await;
    let [edge, spoke] = segment(&mut rig, &configs).await;
    // Nobody routes: who is there is found out by ARP, which is broadcast and is not IP.
    rig.in_machine(SPOKE, &ping("10.21.0.1", 1342));
    rig.in_machine(SPOKE, &ping("10.21.0.250", 1342));
    rig.in_machine(EDGE, &ping("10.21.0.3", 1342));
    // 1420 less what VXLAN takes is all there is.
    rig.in_machine(SPOKE, &no_ping("10.21.0.1", 1343));
    let neighbours = rig.in_machine(SPOKE, "ip neighbour show dev ua");
    let far = rig.in_machine(EDGE, "cat /sys/class/net/ua/address");
    assert!(neighbours.contains(far.trim()), "{neighbours}");
    // Segments of different numbers do not hear each other.
    let spoke = change(&mut rig, SPOKE, &spoke, |tunnel| tunnel.vni = Some(8)).await;
    let shown = in_slice(&rig, SPOKE, "ip -d link show vx0");
    assert!(shown.contains("vxlan id 8 "), "{shown}");
    rig.in_machine(SPOKE, &no_ping("10.21.0.1", 100));
    let edge = change(&mut rig, EDGE, &edge, |tunnel| tunnel.vni = Some(8)).await;
    rig.in_machine(SPOKE, &ping("10.21.0.1", 1342));
    // Back to packets, and to nobody.
    for (at, before) in [(EDGE, edge), (SPOKE, spoke)] {
        let routed = change(&mut rig, at, &before, |tunnel| {
            (tunnel.layer, tunnel.vni) = (Layer::L3, None);
        })
        .await;
        let links = in_slice(&rig, at, "ip -o link");
        assert!(!links.contains("vx0") && !links.contains("br0"), "{links}");
        change(&mut rig, at, &routed, |tunnel| attach(tunnel, json!({}))).await;
        let links = rig.in_machine(at, "ip -o link");
        assert!(!links.contains("ua@"), "{links}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ethernet_frames_cross_between_the_users_of_two_spokes() {
    if rig::can_run() {
        spokes_hear_each_other(Rig::new(BackendInUse::Userspace).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a kernel with WireGuard; run by make test-vm"]
async fn ethernet_frames_cross_between_the_users_of_two_spokes_in_the_kernel() {
    spokes_hear_each_other(Rig::new(BackendInUse::Kernel).await).await;
}

/// Edge, dc and spoke become a hub with two spokes that do not know each other.
async fn one_hub(rig: &mut Rig) {
    let configs = suite::connected(rig).await;
    let own = suite::state(rig, DC, SLICE).await.own_key.unwrap();
    let home = rig.underlay_address(DC);
    let to_edge = configs[SPOKE].backhaul.tunnels[0].peer("edge").cloned();
    let mut to_edge = to_edge.unwrap();
    to_edge.priority = None;
    let to_dc = json!({
        "name": "dc", "public-key": own.public_key, "tunnel-address": "10.77.0.2",
        "endpoint": { "address": home, "port": own.listen_port },
    });
    for at in [EDGE, DC, SPOKE] {
        let to_edge = to_edge.clone();
        let to_dc = serde_json::from_value(to_dc.clone()).unwrap();
        change(rig, at, &configs[at], |tunnel| {
            (tunnel.layer, tunnel.vni) = (Layer::L2Vxlan, Some(7));
            attach(tunnel, json!({ "interface": "ua" }));
            if at == EDGE {
                tunnel.peers.push(to_dc);
            } else {
                tunnel.role = Role::Spoke;
                tunnel.peers = vec![to_edge];
            }
        })
        .await;
        rig.in_machine(at, &format!("ip address add 10.21.0.{}/24 dev ua", at + 1));
    }
    suite::until(rig, DC, "a spoke", |state| {
        suite::peer(state, "edge").state == PeerState::Active
    })
    .await;
}

async fn spokes_hear_each_other(mut rig: Rig) {
    one_hub(&mut rig).await;
    rig.in_machine(SPOKE, &ping("10.21.0.2", 1342));
    rig.in_machine(DC, &ping("10.21.0.3", 1342));
    rig.in_machine(SPOKE, &ping("10.21.0.1", 1342));
    // What everybody is to hear, everybody hears once, and who said it does not hear it.
    let heard = |at| -> u32 {
        let shown = in_slice(&rig, at, "cat /sys/class/net/vx0/statistics/rx_packets");
        shown.trim().parse().unwrap()
    };
    let before = [EDGE, DC, SPOKE].map(heard);
    rig.in_machine(SPOKE, "ping -q -b -c 50 -i 0.01 -W 1 10.21.0.255 || true");
    let end = Instant::now() + PATIENCE;
    while [EDGE, DC].into_iter().any(|at| heard(at) < before[at] + 50) && Instant::now() < end {
        sleep(Duration::from_millis(20)).await;
    }
    let after = [EDGE, DC, SPOKE].map(heard);
    let [edge, dc, spoke] = [EDGE, DC, SPOKE].map(|at| after[at] - before[at]);
    // Some more are of neighbours that look for each other.
    assert!(
        (50..75).contains(&edge) && (50..75).contains(&dc),
        "{edge} {dc}"
    );
    assert!(spoke < 25, "{spoke}");
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_go_to_the_gateway_that_has_the_prefixes() {
    if !rig::can_run() {
        return;
    }
    let mut rig = Rig::new(BackendInUse::Userspace).await;
    let configs = suite::connected(&mut rig).await;
    let [_, spoke] = segment(&mut rig, &configs).await;
    rig.in_machine(SPOKE, &ping("10.21.0.1", 100));
    let shown = |rig: &Rig| in_slice(rig, SPOKE, "bridge fdb show dev vx0");
    let to = |shown: &str, address: &str| shown.contains(&format!("dst {address} "));
    let before = shown(&rig);
    assert!(
        to(&before, "10.77.0.1") && !to(&before, "10.77.0.2"),
        "{before}"
    );
    let known = "02:00:00:00:00:99";
    let learn = format!("bridge fdb add {known} dev vx0 dst 10.77.0.1 self");
    in_slice(&rig, SPOKE, &learn);
    rig.node(SPOKE).switch_over(SLICE, "dc").await.unwrap();
    let after = shown(&rig);
    assert!(to(&after, "10.77.0.2"), "{after}");
    // Nobody is flooded there nor looked for behind it, and there is nothing to repair. (Who talks from there is learned again.)
    assert!(
        !after.contains("00:00:00:00:00:00 dst 10.77.0.1"),
        "{after}"
    );
    assert!(!after.contains(known), "{after}");
    let again = rig.node(SPOKE).reconcile(&spoke).await.unwrap();
    assert_eq!(again.repaired, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slice_is_a_port_of_a_bridge() {
    if rig::can_run() {
        port_of_a_bridge(Rig::new(BackendInUse::Userspace).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a kernel with WireGuard; run by make test-vm"]
async fn a_slice_of_the_kernel_is_a_port_of_a_bridge() {
    port_of_a_bridge(Rig::new(BackendInUse::Kernel).await).await;
}

async fn port_of_a_bridge(mut rig: Rig) {
    let configs = suite::connected(&mut rig).await;
    // A bridge of somebody else with one user, who is at home in the third machine.
    let home = rig.machine(DC).name.clone();
    rig.in_machine(
        EDGE,
        &format!(
            "ip link add ub up type bridge && ip link add u0 type veth peer name u1 netns {home}
             ip link set u0 master ub up"
        ),
    );
    rig.in_machine(
        DC,
        "ip link set u1 up && ip address add 10.20.0.9/24 dev u1 && ip route add 10.77.0.0/24 via 10.20.0.1",
    );
    let bridged = change(&mut rig, EDGE, &configs[EDGE], |tunnel| {
        attach(
            tunnel,
            json!({ "bridge": "ub", "gateway": ["10.20.0.1/24"] }),
        );
    })
    .await;
    in_slice(&rig, SPOKE, &ping("10.20.0.9", 1392));
    in_slice(&rig, SPOKE, &no_ping("10.20.0.9", 1393));
    let again = rig.node(EDGE).reconcile(&bridged).await.unwrap();
    assert_eq!(again.repaired, []);
    // The slice goes, the bridge stays.
    let none = change(&mut rig, EDGE, &bridged, |tunnel| {
        attach(tunnel, json!({}));
    })
    .await;
    let ports = rig.in_machine(EDGE, "ip -o link show master ub");
    assert_eq!(ports.lines().count(), 1, "{ports}");
    in_slice(&rig, SPOKE, &no_ping("10.20.0.9", 100));
    assert_eq!(rig.node(EDGE).reconcile(&none).await.unwrap().repaired, []);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a kernel whose bridges filter VLANs; run by make test-vm"]
async fn slices_share_a_bridge_in_vlans_of_their_own() {
    let mut rig = Rig::new(BackendInUse::Kernel).await;
    let configs = suite::connected(&mut rig).await;
    // A bridge of somebody else with a trunk, at whose other end users of two VLANs have addresses in each other's networks.
    let home = rig.machine(DC).name.clone();
    rig.in_machine(
        EDGE,
        &format!(
            "ip link add ub up type bridge vlan_filtering 1 && ip link add u0 type veth peer name u1 netns {home}
             ip link set u0 master ub up && bridge vlan add vid 10 dev u0 && bridge vlan add vid 20 dev u0"
        ),
    );
    rig.in_machine(
        DC,
        "echo 1 > /proc/sys/net/ipv4/conf/all/arp_ignore && ip link set u1 up
         ip link add u1.10 link u1 type vlan id 10 && ip link add u1.20 link u1 type vlan id 20
         ip link set u1.10 up && ip address add 10.20.0.10/24 dev u1.10 && ip address add 10.22.0.10/32 dev u1.10
         ip link set u1.20 up && ip address add 10.22.0.20/24 dev u1.20 && ip address add 10.20.0.20/32 dev u1.20
         ip route add 10.77.0.9 via 10.20.0.1",
    );
    let bridged = change(&mut rig, EDGE, &configs[EDGE], |tunnel| {
        attach(
            tunnel,
            json!({ "bridge": "ub", "vlan": 10, "gateway": ["10.20.0.1/24"] }),
        );
    })
    .await;
    in_slice(&rig, SPOKE, &ping("10.20.0.10", 1392));
    in_slice(&rig, SPOKE, &no_ping("10.20.0.20", 100));
    assert_eq!(
        rig.node(EDGE).reconcile(&bridged).await.unwrap().repaired,
        []
    );
    // Another slice may have another VLAN of the bridge, and is at home there alone.
    let mut both = bridged.clone();
    let mut other = suite::tunnel(EDGE, "other");
    other["attachment"] = json!({ "bridge": "ub", "vlan": 20, "gateway": ["10.22.0.1/24"] });
    both.backhaul
        .tunnels
        .extend(suite::config(&[other]).backhaul.tunnels);
    suite::apply(&mut rig, EDGE, &bridged, &both).await;
    let theirs = rig.slice_namespace(EDGE, "other");
    let in_theirs = |command: &str| rig::sh(&format!("ip netns exec {theirs} sh -c '{command}'"));
    in_theirs(&ping("10.22.0.20", 1392));
    in_theirs(&no_ping("10.22.0.10", 100));
    let moved = change(&mut rig, EDGE, &bridged, |tunnel| {
        tunnel.attachment.vlan = Some(30)
    });
    let moved = moved.await;
    in_slice(&rig, SPOKE, &no_ping("10.20.0.10", 100));
    // On a bridge that filters none, a VLAN would be a promise that nobody keeps.
    let refused = suite::changed(&moved, |tunnel| {
        tunnel.attachment.bridge = Some("uc".to_owned())
    });
    rig.in_machine(EDGE, "ip link add uc up type bridge");
    let node = rig.node(EDGE);
    let plan = node.plan(&moved, &refused).unwrap();
    let refusal = node.apply(plan).await.unwrap_err();
    assert!(
        refusal.message.contains("does not filter VLANs"),
        "{refusal}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn ipv6_passes_a_tunnel() {
    if rig::can_run() {
        ipv6_passes(Rig::new(BackendInUse::Userspace).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a kernel with WireGuard; run by make test-vm"]
async fn ipv6_passes_a_tunnel_of_the_kernel() {
    ipv6_passes(Rig::new(BackendInUse::Kernel).await).await;
}

/// The same tunnels with addresses of IPv6 only.
pub(super) async fn with_ipv6(rig: &mut Rig) -> [NodeConfig; 3] {
    let mut configs = suite::connected(rig).await;
    let address = |name: &str| match name {
        "edge" => "fd77::1".parse().unwrap(),
        "dc" => "fd77::2".parse().unwrap(),
        _ => "fd77::9".parse().unwrap(),
    };
    for (at, name) in [(EDGE, "edge"), (DC, "dc"), (SPOKE, "spoke")] {
        configs[at] = change(rig, at, &configs[at], |tunnel| {
            tunnel.addresses = vec![address(name)];
            for peer in &mut tunnel.peers {
                peer.tunnel_address = Some(address(&peer.name));
                for prefix in &mut peer.allowed_prefixes {
                    *prefix = serde_json::from_value("fd20::/64".into()).unwrap();
                }
            }
        })
        .await;
    }
    answered(rig).await;
    configs
}

async fn answered(rig: &mut Rig) {
    suite::until(rig, SPOKE, "answered over IPv6", |state| {
        suite::peer(state, "edge").state == PeerState::Active
            && suite::peer(state, "dc").state == PeerState::Warm
    })
    .await;
}

async fn ipv6_passes(mut rig: Rig) {
    let configs = with_ipv6(&mut rig).await;
    let attached = change(&mut rig, EDGE, &configs[EDGE], |tunnel| {
        attach(
            tunnel,
            json!({ "interface": "ua", "gateway": ["fd20::1/64"] }),
        );
    })
    .await;
    rig.in_machine(
        EDGE,
        "ip address add fd20::9/64 dev ua nodad && ip route add fd77::/64 via fd20::1",
    );
    let from = |content| ping("fd20::9", content).replace("-c 1", "-c 1 -I fd77::9");
    in_slice(&rig, SPOKE, &from(1372));
    in_slice(&rig, SPOKE, &no_ping("fd20::9", 1373));
    // Keys rotate over it as well.
    let configs = [attached, configs[DC].clone(), configs[SPOKE].clone()];
    suite::rotate(&mut rig, &configs, [EDGE, DC, SPOKE]).await;
    answered(&mut rig).await;
    in_slice(&rig, SPOKE, &from(1372));
}

#[tokio::test(flavor = "multi_thread")]
async fn ethernet_frames_cross_over_ipv6() {
    if !rig::can_run() {
        return;
    }
    let mut rig = Rig::new(BackendInUse::Userspace).await;
    let configs = with_ipv6(&mut rig).await;
    segment(&mut rig, &configs).await;
    rig.in_machine(SPOKE, &ping("10.21.0.1", 1322));
    rig.in_machine(SPOKE, &no_ping("10.21.0.1", 1323));
}
