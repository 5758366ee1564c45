//! Tunnels in userspace whose agent is killed: what stays, what the next one takes up, and what goes.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use super::super::namespace::Namespace;
use super::super::userspace::UserspaceDevice;
use super::rig::{self, Rig};
use super::users::{attach, change, in_slice};
use crate::backend::backhaul::key::PrivateKey;
use crate::backend::backhaul::plane::{METRIC, TunnelInterface};
use crate::backend::backhaul::suite::{self, BackhaulRig, EDGE, SLICE, SPOKE};
use crate::backend::backhaul::{BackendInUse, BackhaulBackend as _, PeerState, TunnelConfig};
use crate::backend::{Backend as _, NodeConfig};

/// The actions of a look at everything, but those of peers.
async fn repaired(rig: &mut Rig, at: usize, config: &NodeConfig) -> Vec<String> {
    let repaired = rig.node(at).reconcile(config).await.unwrap().repaired;
    let actions = repaired.into_iter().map(|step| step.action);
    actions
        .filter(|action| !action.starts_with("add peer"))
        .collect()
}

async fn until_active(rig: &mut Rig, at: usize, what: &str) {
    suite::until(rig, at, what, |state| {
        let mut peers = state.peers.iter();
        peers.any(|peer| peer.state == PeerState::Active)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interface_outlives_its_agent_and_the_next_one_takes_it_up() {
    if !rig::can_run() {
        return;
    }
    let mut rig = Rig::new(BackendInUse::Userspace).await;
    let configs = suite::connected(&mut rig).await;
    let joined = change(&mut rig, SPOKE, &configs[SPOKE], |tunnel| {
        attach(tunnel, json!({ "interface": "ua" }));
    })
    .await;
    let look = "ip -o link show wg1 | cut -d: -f1; ip -o addr show wg1; ip route; nft list ruleset";
    let before = in_slice(&rig, SPOKE, look);
    rig.restart(SPOKE).await;
    // Whoever held it before has let it go.
    while !in_slice(&rig, SPOKE, "ip link show wg1").contains("NO-CARRIER") {
        sleep(Duration::from_millis(5)).await;
    }
    let dead = in_slice(&rig, SPOKE, look);
    assert_eq!(dead.replace(" linkdown", ""), before);
    assert_eq!(
        repaired(&mut rig, SPOKE, &joined).await,
        ["take up interface wg1"]
    );
    assert_eq!(in_slice(&rig, SPOKE, look), before);
    until_active(&mut rig, SPOKE, "back").await;
    // Rules that changed while nobody looked are not taken for what they were.
    rig.restart(SPOKE).await;
    in_slice(&rig, SPOKE, "nft add rule inet tranche forward accept");
    let done = repaired(&mut rig, SPOKE, &joined).await;
    let wanted = ["raise the wall around the slice", "take up interface wg1"];
    assert_eq!(done, wanted);
    assert_eq!(in_slice(&rig, SPOKE, look), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interface_that_cannot_be_taken_up_is_made_anew() {
    if !rig::can_run() {
        return;
    }
    let mut rig = Rig::new(BackendInUse::Userspace).await;
    let configs = suite::connected(&mut rig).await;
    for in_the_way in ["another process", "another kind"] {
        rig.restart(SPOKE).await;
        while !in_slice(&rig, SPOKE, "ip link show wg1").contains("NO-CARRIER") {
            sleep(Duration::from_millis(5)).await;
        }
        let _held = match in_the_way {
            "another process" => {
                let namespace = rig.slice_namespace(SPOKE, SLICE);
                let namespace = Namespace::open(&namespace).unwrap();
                let interface = TunnelInterface {
                    name: "wg1".to_owned(),
                    key: PrivateKey::generate(),
                    port: 0,
                    peers: None,
                    metric: METRIC,
                };
                Some(
                    UserspaceDevice::create(&namespace, &interface, 1420)
                        .await
                        .unwrap(),
                )
            }
            _ => {
                in_slice(&rig, SPOKE, "ip link del wg1 && ip tuntap add wg1 mode tap");
                None
            }
        };
        let done = repaired(&mut rig, SPOKE, &configs[SPOKE]).await;
        let gives = |action: &String| action.starts_with("give wg1 the address");
        assert!(done.iter().any(gives), "{in_the_way}: {done:?}");
        until_active(&mut rig, SPOKE, in_the_way).await;
    }
}

/// Makes a tunnel one of management; without probes, which such a tunnel does not have.
fn management(tunnel: &mut TunnelConfig) {
    tunnel.management = serde_json::from_value(json!({ "port": [830] })).unwrap();
    tunnel.probe = None;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_removed_while_no_agent_ran_leaves_nothing_behind() {
    if !rig::can_run() {
        return;
    }
    let mut rig = Rig::new(BackendInUse::Userspace).await;
    let nothing = NodeConfig::default();
    let bare = suite::config(&[suite::tunnel(EDGE, SLICE)]);
    for is_of_node in [false, true] {
        let config = suite::changed(&bare, |tunnel| {
            if is_of_node {
                management(tunnel);
            }
        });
        suite::apply(&mut rig, EDGE, &nothing, &config).await;
        rig.restart(EDGE).await;
        let of_node = format!("m{}", rig.tag(EDGE));
        let links = rig.in_machine(EDGE, "ip -o link");
        assert_eq!(links.contains(&of_node), is_of_node, "{links}");
        let done = repaired(&mut rig, EDGE, &nothing).await;
        assert_eq!(done, ["remove a tunnel that is not configured"]);
        assert_eq!(rig.left_behind(EDGE, SLICE), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wall_of_the_node_keeps_all_slices_apart_from_the_first_one_that_is_back() {
    if !rig::can_run() {
        return;
    }
    let mut rig = Rig::new(BackendInUse::Userspace).await;
    let nothing = NodeConfig::default();
    let attached = |slice: &str, interface: &str| {
        let mut tunnel = suite::tunnel(EDGE, slice);
        tunnel["attachment"] = json!({ "interface": interface });
        tunnel
    };
    let two = suite::config(&[attached("a", "ua"), attached("b", "ub")]);
    suite::apply(&mut rig, EDGE, &nothing, &two).await;
    let tag = rig.tag(EDGE).to_owned();
    let ends = format!("nft list set inet tranche-{tag} ends");
    let before = rig.in_machine(EDGE, &ends);
    assert!(before.contains("ua") && before.contains("ub"), "{before}");
    rig.restart(EDGE).await;
    // One that is not back: something else has its name.
    let inside = rig.slice_namespace(EDGE, "b");
    rig::sh(&format!("ip -n {inside} link del at0"));
    rig.in_machine(EDGE, "ip link add ub type bridge");
    rig.node(EDGE).reconcile(&two).await.unwrap_err();
    assert_eq!(rig.in_machine(EDGE, &ends), before);
    // Nobody is left who could tell that there was a wall.
    for slice in ["a", "b"] {
        rig.restart(EDGE).await;
        let name = rig.slice_namespace(EDGE, slice);
        rig::sh(&format!("ip netns del {name}"));
    }
    rig.restart(EDGE).await;
    rig.node(EDGE).reconcile(&nothing).await.unwrap();
    assert_eq!(rig.left_behind(EDGE, "a"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn management_tunnels_whose_interfaces_would_have_one_name_are_refused() {
    if !rig::can_run() {
        return;
    }
    let mut rig = Rig::new(BackendInUse::Userspace).await;
    let of_node = |rig: &Rig, slice: &str| rig.plane(EDGE).node_prefix(slice);
    let mut seen = HashMap::new();
    let (first, second) = (0..)
        .find_map(|number| {
            let slice = format!("m{number}");
            let earlier = seen.insert(of_node(&rig, &slice), slice.clone())?;
            Some((earlier, slice))
        })
        .unwrap();
    let tunnel = |slice: &str, address: &str| {
        let mut tunnel = suite::tunnel(EDGE, slice);
        tunnel["address"] = json!([address]);
        let mut config = suite::config(&[tunnel]);
        management(&mut config.backhaul.tunnels[0]);
        config
    };
    let one = tunnel(&first, "10.99.0.1");
    suite::apply(&mut rig, EDGE, &NodeConfig::default(), &one).await;
    let before = rig.in_machine(EDGE, "ip -o link; ip -o addr; nft list ruleset");
    let mut both = one.clone();
    both.backhaul
        .tunnels
        .extend(tunnel(&second, "10.99.0.2").backhaul.tunnels);
    let node = rig.node(EDGE);
    let plan = node.plan(&one, &both).unwrap();
    let refusal = node.apply(plan).await.unwrap_err();
    assert_eq!(
        refusal.message,
        format!(
            "the interfaces of {second} and {first} would have the same names: call the tunnel something else"
        )
    );
    assert!(refusal.path.contains(&format!("'{second}'")), "{refusal:?}");
    assert_eq!(
        rig.in_machine(EDGE, "ip -o link; ip -o addr; nft list ruleset"),
        before
    );
    assert_eq!(rig.node(EDGE).tunnels().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_calls_is_called_by_an_agent_that_has_forgotten_its_session() {
    if !rig::can_run() {
        return;
    }
    let mut rig = Rig::hasty(BackendInUse::Userspace).await;
    let configs = suite::connected(&mut rig).await;
    let spoke: IpAddr = rig.underlay_address(SPOKE).parse().unwrap();
    while rig.remembered(EDGE, SLICE).unwrap().heard.is_empty() {
        sleep(Duration::from_millis(20)).await;
    }
    // Nobody calls from there.
    rig.set_reachable(SPOKE, false);
    rig.restart(EDGE).await;
    rig.node(EDGE).reconcile(&configs[EDGE]).await.unwrap();
    let state = suite::state(&mut rig, EDGE, SLICE).await;
    let endpoint = suite::peer(&state, "spoke").endpoint;
    assert_eq!(endpoint.map(|endpoint| endpoint.address), Some(spoke));
    rig.set_reachable(SPOKE, true);
    until_active(&mut rig, EDGE, "back").await;
}
