//! Tunnels of real WireGuard between machines that are network namespaces: the suite of the domain, and what only real
//! packets show.

mod at_once;
mod bulk;
mod foreign;
mod isolation;
mod restart;
pub(super) mod rig;
mod stream;
mod traffic;
mod users;

use std::time::Duration;

use rig::Rig;
use tokio::time::timeout;

use super::*;
use crate::backend::backhaul::suite::{self, BackhaulRig, DC, EDGE, SLICE, SPOKE};
use crate::backend::backhaul::{BackhaulBackend as _, Event, PeerState, TunnelOperState};
use crate::backend::{Backend, NodeConfig};

#[tokio::test(flavor = "multi_thread")]
async fn userspace_passes_the_suite() {
    if rig::can_run() {
        suite::run(|| Rig::new(BackendInUse::Userspace)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a kernel with WireGuard; run by make test-vm"]
async fn kernel_passes_the_suite() {
    suite::run(|| Rig::new(BackendInUse::Kernel)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_changes_by_hand_is_repaired() {
    if rig::can_run() {
        drift_is_repaired(Rig::new(BackendInUse::Userspace).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a kernel with WireGuard; run by make test-vm"]
async fn what_somebody_changes_by_hand_in_the_kernel_is_repaired() {
    drift_is_repaired(Rig::new(BackendInUse::Kernel).await).await;
}

async fn drift_is_repaired(mut rig: Rig) {
    let configs = suite::connected(&mut rig).await;
    let namespace = rig.slice_namespace(SPOKE, SLICE);
    let inside = |command: &str| rig::sh(&format!("ip netns exec {namespace} {command}"));
    for damage in [
        "ip route del 10.20.0.0/16",
        "ip address del 10.77.0.9/32 dev wg1",
        "ip link set wg1 mtu 1000",
        "ip link set wg1 down",
        "nft flush ruleset",
        "nft add rule inet tranche forward accept",
        "ip link del wg1",
    ] {
        inside(damage);
        let repaired = rig
            .node(SPOKE)
            .reconcile(&configs[SPOKE])
            .await
            .unwrap()
            .repaired;
        assert!(!repaired.is_empty(), "{damage}");
        let again = rig
            .node(SPOKE)
            .reconcile(&configs[SPOKE])
            .await
            .unwrap()
            .repaired;
        assert_eq!(again, [], "{damage}");
        suite::until(&mut rig, SPOKE, damage, |state| {
            suite::peer(state, "edge").state == PeerState::Active
        })
        .await;
    }
    // A file without a namespace is left behind where a mount did not outlive its maker.
    rig::sh(&format!(
        "ip netns del {namespace} && touch /run/netns/{namespace}"
    ));
    // The kernel takes its time to give the port of the old one back.
    let mut tries = 0;
    while let Err(refusal) = rig.node(SPOKE).reconcile(&configs[SPOKE]).await {
        assert!(
            refusal.message.contains("in use") && tries < 120,
            "{refusal}"
        );
        tries += 1;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    suite::until(&mut rig, SPOKE, "made again", |state| {
        state.oper_state == TunnelOperState::Up
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_looks_after_itself() {
    if rig::can_run() {
        repairs_itself(Rig::hasty(BackendInUse::Userspace).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a kernel with WireGuard; run by make test-vm"]
async fn a_tunnel_of_the_kernel_looks_after_itself() {
    repairs_itself(Rig::hasty(BackendInUse::Kernel).await).await;
}

async fn repairs_itself(mut rig: Rig) {
    let configs = suite::connected(&mut rig).await;
    let attached = suite::changed(&configs[SPOKE], |tunnel| {
        tunnel.attachment = serde_json::from_str(r#"{ "interface": "ua" }"#).unwrap();
    });
    suite::apply(&mut rig, SPOKE, &configs[SPOKE], &attached).await;
    let namespace = rig.slice_namespace(SPOKE, SLICE);
    let mut events = rig.node(SPOKE).events();
    let is_served = |state: &crate::backend::backhaul::TunnelState| {
        let mut peers = state.peers.iter();
        peers.any(|peer| peer.state == PeerState::Active)
    };
    for (damage, repair) in [
        ("ip route del 10.20.0.0/16", "route 10.20.0.0/16 over"),
        ("nft flush ruleset", "raise the wall around the slice"),
        (
            "nft add rule inet tranche forward accept",
            "raise the wall around the slice",
        ),
        ("ip link del at0", "make interface ua"),
        ("ip link del wg1", "make interface wg1"),
    ] {
        let told = |event: &Event| matches!(event, Event::Repaired { repairs, .. } if repairs.iter().any(|one| one.action.contains(repair)));
        let mut times = 0;
        loop {
            rig::sh(&format!("ip netns exec {namespace} {damage}"));
            // On a slow machine the probes may miss first: a failover mends what it needs, and tells itself alone.
            let heard = suite::heard(&mut events, told);
            if timeout(Duration::from_secs(10), heard).await.is_ok() {
                break;
            }
            times += 1;
            assert!(times < 5, "{damage}: no event tells of a repair");
            suite::until(&mut rig, SPOKE, damage, is_served).await;
        }
        suite::until(&mut rig, SPOKE, damage, is_served).await;
    }
    rig.in_machine(SPOKE, "nft flush ruleset");
    suite::heard(&mut events, |event| {
        matches!(event, Event::Repaired { repairs, .. } if repairs.iter().any(|one| one.action.contains("of the node")))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_agent_in_the_middle_of_making_an_interface_leaves_no_orphan() {
    if !rig::can_run() {
        return;
    }
    let mut rig = Rig::new(BackendInUse::Userspace).await;
    let orphan = format!("w{}00000001", rig.tag(EDGE));
    rig.in_machine(EDGE, &format!("ip link add {orphan} type bridge"));
    rig.restart(EDGE).await;
    let links = rig.in_machine(EDGE, "ip -o link");
    assert!(!links.contains(&orphan), "{links}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a kernel with WireGuard; run by make test-vm"]
async fn a_tunnel_of_the_kernel_is_made_where_the_node_has_an_interface_of_that_name() {
    let mut rig = Rig::new(BackendInUse::Kernel).await;
    rig.in_machine(SPOKE, "ip link add wg1 type bridge");
    let links = "ip -o link | cut -d: -f2";
    let before = rig.in_machine(SPOKE, links);
    suite::connected(&mut rig).await;
    assert_eq!(rig.in_machine(SPOKE, links), before);
    let namespace = rig.slice_namespace(SPOKE, SLICE);
    let inside = rig::sh(&format!("ip netns exec {namespace} {links}"));
    assert_eq!(inside.split_whitespace().collect::<Vec<_>>(), ["lo", "wg1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interface_of_somebody_else_is_not_touched() {
    if !rig::can_run() {
        return;
    }
    let mut rig = Rig::new(BackendInUse::Userspace).await;
    rig.in_machine(EDGE, "ip link add users0 type bridge");
    let nothing = NodeConfig::default();
    let mut tunnel = suite::tunnel(EDGE, SLICE);
    tunnel["attachment"] = serde_json::json!({ "interface": "users0" });
    let config = suite::config(&[tunnel]);
    let node = rig.node(EDGE);
    let plan = node.plan(&nothing, &config).unwrap();
    let refusal = node.apply(plan).await.unwrap_err();
    assert_eq!(
        refusal.message,
        "interface users0 is there already, and is not ours"
    );
    assert_eq!(rig.left_behind(EDGE, SLICE), Vec::<String>::new());
    assert!(rig.in_machine(EDGE, "ip -o link").contains("users0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_refuses_the_change_and_leaves_nothing() {
    if !rig::can_run() {
        return;
    }
    let mut rig = Rig::new(BackendInUse::Userspace).await;
    let configs = suite::connected(&mut rig).await;
    let port = rig.taken_port(EDGE);
    let clash = suite::changed(&configs[EDGE], |tunnel| tunnel.listen_port = Some(port));
    let before = suite::state(&mut rig, EDGE, SLICE).await.own_key;
    let node = rig.node(EDGE);
    let plan = node.plan(&configs[EDGE], &clash).unwrap();
    let refusal = node.apply(plan).await.unwrap_err();
    assert!(refusal.message.contains("ddress"), "{refusal}");
    assert_eq!(suite::state(&mut rig, EDGE, SLICE).await.own_key, before);
    suite::until(&mut rig, EDGE, "well again", |state| {
        suite::peer(state, "spoke").state == PeerState::Active
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_of_a_refused_change_is_called_no_more() {
    if rig::can_run() {
        a_refused_endpoint_goes(Rig::new(BackendInUse::Userspace).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a kernel with WireGuard; run by make test-vm"]
async fn an_endpoint_of_a_refused_change_is_called_no_more_by_the_kernel() {
    a_refused_endpoint_goes(Rig::new(BackendInUse::Kernel).await).await;
}

async fn a_refused_endpoint_goes(mut rig: Rig) {
    let configs = suite::connected(&mut rig).await;
    // Who calls would be answered where it is.
    rig.set_reachable(EDGE, false);
    rig.in_machine(SPOKE, "ip link add users0 type bridge");
    let at = |state: &crate::backend::backhaul::TunnelState| suite::peer(state, "edge").endpoint;
    let before = at(&suite::state(&mut rig, SPOKE, SLICE).await);
    let wrong = suite::changed(&configs[SPOKE], |tunnel| {
        let mut peers = tunnel.peers.iter_mut();
        let edge = peers.find(|peer| peer.name == "edge").unwrap();
        edge.endpoint.as_mut().unwrap().port += 1;
        tunnel.attachment = serde_json::from_str(r#"{ "interface": "users0" }"#).unwrap();
    });
    let node = rig.node(SPOKE);
    let plan = node.plan(&configs[SPOKE], &wrong).unwrap();
    let refusal = node.apply(plan).await.unwrap_err();
    assert!(refusal.message.contains("users0"), "{refusal}");
    let after = at(&suite::state(&mut rig, SPOKE, SLICE).await);
    assert_eq!(after, before);
    assert!(after.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_that_fails_takes_all_others_back() {
    if !rig::can_run() {
        return;
    }
    let mut rig = Rig::new(BackendInUse::Userspace).await;
    let (nothing, old) = (
        NodeConfig::default(),
        suite::config(&[suite::tunnel(EDGE, SLICE)]),
    );
    suite::apply(&mut rig, EDGE, &nothing, &old).await;
    let before = suite::state(&mut rig, EDGE, SLICE).await.own_key;
    let port = rig.taken_port(EDGE);
    let tunnels: Vec<_> = (0..40)
        .map(|number| {
            let mut tunnel = suite::tunnel(EDGE, &format!("t{number}"));
            if number == 20 {
                // gotatun opens its port with the first peer.
                tunnel["listen-port"] = port.into();
                tunnel["peer"] = serde_json::json!([{
                    "name": "laptop",
                    "public-key": "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=",
                    "tunnel-address": "10.77.0.77",
                }]);
            }
            tunnel
        })
        .collect();
    let node = rig.node(EDGE);
    let plan = node.plan(&old, &suite::config(&tunnels)).unwrap();
    let refusal = node.apply(plan).await.unwrap_err();
    assert!(refusal.path.contains("'t20'"), "{refusal:?}");
    assert_eq!(suite::state(&mut rig, EDGE, SLICE).await.own_key, before);
    for number in 0..40 {
        let left = rig.left_behind(EDGE, &format!("t{number}"));
        assert_eq!(left, Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_roamed_is_left_where_it_is() {
    if rig::can_run() {
        roaming_is_kept(Rig::new(BackendInUse::Userspace).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a kernel with WireGuard; run by make test-vm"]
async fn a_peer_of_the_kernel_that_roamed_is_left_where_it_is() {
    roaming_is_kept(Rig::new(BackendInUse::Kernel).await).await;
}

async fn roaming_is_kept(mut rig: Rig) {
    let configs = suite::connected(&mut rig).await;
    // The hub is told of an old place of the spoke, and hears it elsewhere.
    let told = suite::changed(&configs[EDGE], |tunnel| {
        tunnel.peers[0].endpoint = Some(crate::backend::backhaul::EndpointConfig {
            address: "192.0.2.77".parse().unwrap(),
            port: 7,
        });
    });
    suite::apply(&mut rig, EDGE, &configs[EDGE], &told).await;
    let spoke: IpAddr = rig.underlay_address(SPOKE).parse().unwrap();
    let is_home = |state: &crate::backend::backhaul::TunnelState| {
        suite::peer(state, "spoke")
            .endpoint
            .is_some_and(|endpoint| endpoint.address == spoke)
    };
    suite::until(&mut rig, EDGE, "heard from home", is_home).await;
    let other = suite::changed(&told, |tunnel| tunnel.mtu = 1400);
    suite::apply(&mut rig, EDGE, &told, &other).await;
    rig.node(EDGE).reconcile(&other).await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert!(is_home(&suite::state(&mut rig, EDGE, SLICE).await));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a kernel with WireGuard; run by make test-vm"]
async fn an_old_interface_of_the_kernel_that_is_only_kept_alive_goes() {
    let mut rig = Rig::new(BackendInUse::Kernel).await;
    let mut configs = suite::connected(&mut rig).await;
    for at in [EDGE, DC, SPOKE] {
        let kept_alive = suite::changed(&configs[at], |tunnel| {
            tunnel.rotation.overlap_ms = 3000;
            for peer in &mut tunnel.peers {
                peer.persistent_keepalive_s = Some(1);
            }
        });
        suite::apply(&mut rig, at, &configs[at], &kept_alive).await;
        configs[at] = kept_alive;
    }
    suite::rotate(&mut rig, &configs, [EDGE, DC, SPOKE]).await;
    for at in [EDGE, DC, SPOKE] {
        suite::until(&mut rig, at, "rid of the old key", |state| {
            state.retiring.is_none()
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_leaves_no_socket_behind() {
    if !rig::can_run() {
        return;
    }
    let mut rig = Rig::new(BackendInUse::Userspace).await;
    let configs = suite::connected(&mut rig).await;
    let nudged = |rig: &Rig| {
        let spaces = rig.plane(SPOKE).spaces();
        spaces[SLICE].nudger.interfaces()
    };
    rig.node(SPOKE).rotate_key(SLICE, None).await.unwrap();
    rig.node(SPOKE).cancel_rotation(SLICE).await.unwrap();
    suite::rotate(&mut rig, &configs, [EDGE, DC, SPOKE]).await;
    suite::until(&mut rig, SPOKE, "rid of the old key", |state| {
        state.retiring.is_none()
    })
    .await;
    assert_eq!(nudged(&rig), Vec::<String>::new());
}
