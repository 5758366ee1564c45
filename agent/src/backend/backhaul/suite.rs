//! What every implementation of the backhaul domain must do: one suite for the simulator and both kinds of WireGuard.
//!
//! A rig is two machines on one underlay, or three; the cases make tunnels between them as a controller would.

mod gateways;

use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::broadcast::Receiver;
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::backend::NodeConfig;

/// The slice of most cases.
pub(crate) const SLICE: &str = "city-cam";
/// How long anything may take; it takes milliseconds, and on an emulated machine beside others seconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Machines to test on, fresh for every case: `edge`, `dc` and `spoke`.
pub(crate) trait BackhaulRig {
    /// The implementation under test at one of the machines.
    fn node(&mut self, index: usize) -> &mut Backhaul;

    /// Where the others reach a machine.
    fn underlay_address(&self, index: usize) -> &'static str;

    /// What tunnels are encrypted by.
    fn backend(&self) -> BackendInUse;

    /// Cuts a machine off from the underlay, or lets it back.
    fn set_reachable(&mut self, index: usize, reachable: bool);

    /// The agent of a machine ends and another one starts.
    fn restart(&mut self, index: usize) -> impl Future<Output = ()>;

    /// What is left at a machine of a slice: namespace, interfaces, files; nothing after it was removed.
    fn left_behind(&mut self, index: usize, slice: &str) -> Vec<String>;
}

/// The machines by what they do.
pub(crate) const EDGE: usize = 0;
pub(crate) const DC: usize = 1;
pub(crate) const SPOKE: usize = 2;
const ADDRESSES: [&str; 3] = ["10.77.0.1", "10.77.0.2", "10.77.0.9"];
const ROLES: [&str; 3] = ["hub", "standby-hub", "spoke"];
pub(crate) const NAMES: [&str; 3] = ["edge", "dc", "spoke"];

pub(crate) fn config(tunnels: &[Value]) -> NodeConfig {
    let text = json!({ "tranche-backhaul:backhaul": { "tunnel": tunnels } }).to_string();
    serde_json::from_str(&text).unwrap()
}

/// A tunnel without peers.
pub(crate) fn tunnel(index: usize, slice: &str) -> Value {
    json!({
        "slice": slice,
        "role": ROLES[index],
        "address": [ADDRESSES[index]],
        // Patient: tests run beside each other.
        "probe": { "interval": 50, "misses": 10, "hold-down": 1 },
    })
}

pub(crate) async fn apply(
    rig: &mut impl BackhaulRig,
    at: usize,
    old: &NodeConfig,
    new: &NodeConfig,
) {
    let node = rig.node(at);
    let plan = node.plan(old, new).unwrap();
    node.apply(plan).await.unwrap();
}

pub(crate) async fn state(rig: &mut impl BackhaulRig, at: usize, slice: &str) -> TunnelState {
    let states = rig.node(at).tunnels().await.unwrap();
    let state = states.into_iter().find(|state| state.slice == slice);
    state.unwrap_or_else(|| panic!("no tunnel of {slice}"))
}

/// Waits for a state of a tunnel.
pub(crate) async fn until(
    rig: &mut impl BackhaulRig,
    at: usize,
    what: &str,
    is_so: impl Fn(&TunnelState) -> bool,
) -> TunnelState {
    let end = Instant::now() + PATIENCE;
    loop {
        let state = state(rig, at, SLICE).await;
        if is_so(&state) {
            return state;
        }
        assert!(Instant::now() < end, "not {what}: {state:#?}");
        sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) fn peer(state: &TunnelState, name: &str) -> PeerObservation {
    let found = state.peers.iter().find(|peer| peer.name == name);
    found
        .unwrap_or_else(|| panic!("no peer {name}: {state:#?}"))
        .clone()
}

/// A peer entry for a machine whose state is known.
fn peer_entry(rig: &impl BackhaulRig, index: usize, state: &TunnelState, calls: bool) -> Value {
    let own = state.own_key.as_ref().unwrap();
    let mut peer = json!({
        "name": NAMES[index],
        "public-key": own.public_key,
        "tunnel-address": ADDRESSES[index],
    });
    if calls {
        peer["endpoint"] =
            json!({ "address": rig.underlay_address(index), "port": own.listen_port });
    }
    peer
}

/// Tunnels between all machines that know each other: the spoke calls the hubs.
pub(crate) async fn connected(rig: &mut impl BackhaulRig) -> [NodeConfig; 3] {
    let configs = told(rig, |_| ()).await;
    until(rig, SPOKE, "connected", |state| {
        state
            .peers
            .iter()
            .all(|peer| matches!(peer.state, PeerState::Active | PeerState::Warm))
    })
    .await;
    configs
}

/// The same, whether or not anybody answers; with a change of each tunnel.
pub(crate) async fn told(
    rig: &mut impl BackhaulRig,
    change: impl Fn(&mut Value),
) -> [NodeConfig; 3] {
    let mut bare = [0, 1, 2].map(|at| tunnel(at, SLICE));
    bare.iter_mut().for_each(change);
    let mut states = Vec::new();
    for (at, tunnel) in bare.iter().enumerate() {
        let new = config(std::slice::from_ref(tunnel));
        apply(rig, at, &NodeConfig::default(), &new).await;
        states.push(state(rig, at, SLICE).await);
    }
    let mut full = bare.clone();
    for hub in [EDGE, DC] {
        full[hub]["peer"] = json!([peer_entry(rig, SPOKE, &states[SPOKE], false)]);
        let mut entry = peer_entry(rig, hub, &states[hub], true);
        entry["allowed-prefix"] = json!(["10.20.0.0/16"]);
        entry["priority"] = (hub + 1).into();
        match full[SPOKE].get_mut("peer") {
            Some(peers) => peers.as_array_mut().unwrap().push(entry),
            None => full[SPOKE]["peer"] = json!([entry]),
        }
    }
    let mut configs = Vec::new();
    for at in [EDGE, DC, SPOKE] {
        let (old, new) = (config(&[bare[at].clone()]), config(&[full[at].clone()]));
        apply(rig, at, &old, &new).await;
        configs.push(new);
    }
    configs.try_into().unwrap()
}

/// A changed copy of a configuration with one tunnel.
pub(crate) fn changed(before: &NodeConfig, change: impl FnOnce(&mut TunnelConfig)) -> NodeConfig {
    let mut after = before.clone();
    change(&mut after.backhaul.tunnels[0]);
    after
}

/// Waits for an event.
pub(crate) async fn heard(events: &mut Receiver<Event>, is_it: impl Fn(&Event) -> bool) -> Event {
    let found = timeout(PATIENCE, async {
        loop {
            let event = events.recv().await.unwrap();
            if is_it(&event) {
                return event;
            }
        }
    });
    found.await.expect("the event did not come")
}

/// Runs all cases, each on a rig of its own.
pub(crate) async fn run<R: BackhaulRig, F: Future<Output = R>>(new_rig: impl Fn() -> F) {
    comes_up_and_goes_without_a_trace(&mut new_rig().await).await;
    peers_answer(&mut new_rig().await).await;
    undo_restores(&mut new_rig().await).await;
    prefixes_move_to_who_answers(&mut new_rig().await).await;
    the_preferred_peer_need_not_hold_out_when_it_answers_for_the_first_time(&mut new_rig().await)
        .await;
    who_comes_back_to_a_port_that_is_taken_gets_another_one(&mut new_rig().await).await;
    a_port_that_a_rotation_left_is_still_its_tunnels(&mut new_rig().await).await;
    somebody_asks_for_a_peer(&mut new_rig().await).await;
    gateways::run(&new_rig).await;
    keys_rotate(&mut new_rig().await).await;
    a_rotation_is_cancelled(&mut new_rig().await).await;
    a_preshared_key_must_be_the_same(&mut new_rig().await).await;
    a_restart_changes_nothing(&mut new_rig().await).await;
    what_is_not_configured_is_removed(&mut new_rig().await).await;
    a_removal_is_taken_back_after_a_restart(&mut new_rig().await).await;
}

async fn comes_up_and_goes_without_a_trace(rig: &mut impl BackhaulRig) {
    let nothing = NodeConfig::default();
    let two = config(&[tunnel(EDGE, SLICE), tunnel(EDGE, "other")]);
    let plan = rig.node(EDGE).plan(&nothing, &two).unwrap();
    let actions: Vec<_> = plan
        .steps()
        .iter()
        .map(|step| step.action.as_str())
        .collect();
    assert_eq!(
        actions,
        [
            "make the tunnel of slice city-cam",
            "make the tunnel of slice other"
        ]
    );
    apply(rig, EDGE, &nothing, &two).await;
    let (one, other) = (
        state(rig, EDGE, SLICE).await,
        state(rig, EDGE, "other").await,
    );
    assert_eq!(one.oper_state, TunnelOperState::Starting);
    assert_eq!(one.backend_in_use, Some(rig.backend()));
    assert_ne!(one.namespace, other.namespace);
    let (one_key, other_key) = (one.own_key.unwrap(), other.own_key.unwrap());
    assert_ne!(one_key.public_key, other_key.public_key);
    assert_ne!(one_key.listen_port, other_key.listen_port);
    assert_eq!(one_key.epoch, 1);
    assert!(!rig.left_behind(EDGE, SLICE).is_empty());
    let one_left = config(&[tunnel(EDGE, "other")]);
    apply(rig, EDGE, &two, &one_left).await;
    assert_eq!(rig.left_behind(EDGE, SLICE), Vec::<String>::new());
    let states = rig.node(EDGE).tunnels().await.unwrap();
    assert_eq!(states.len(), 1);
    assert_eq!(states[0].own_key.as_ref(), Some(&other_key));
    apply(rig, EDGE, &one_left, &nothing).await;
    assert_eq!(rig.left_behind(EDGE, "other"), Vec::<String>::new());
}

async fn peers_answer(rig: &mut impl BackhaulRig) {
    let [_, _, spoke] = connected(rig).await;
    let seen = until(rig, SPOKE, "measured", |state| {
        let edge = peer(state, "edge");
        edge.probe_loss.is_some() && state.oper_state == TunnelOperState::Up
    })
    .await;
    let edge = peer(&seen, "edge");
    assert_eq!(edge.state, PeerState::Active);
    assert!(edge.latest_handshake.is_some() && edge.probe_rtt_us.is_some() && edge.tx_bytes > 0);
    assert_eq!(edge.active_prefixes, ["10.20.0.0/16".parse().unwrap()]);
    assert_eq!(peer(&seen, "dc").state, PeerState::Warm);
    assert_eq!(peer(&seen, "dc").active_prefixes, []);
    let at_edge = until(rig, EDGE, "called", |state| {
        peer(state, "spoke").endpoint.is_some()
    })
    .await;
    let port = seen.own_key.unwrap().listen_port;
    assert_eq!(peer(&at_edge, "spoke").endpoint.unwrap().port, port);
    let request = ProbeRequest {
        peer: None,
        count: 2,
        timeout: Duration::from_secs(1),
    };
    let results = rig.node(SPOKE).probe_now(SLICE, request).await.unwrap();
    assert!(
        results
            .iter()
            .all(|one| one.received == 2 && one.rtt_us.is_some()),
        "{results:?}"
    );
    // One peer less: the other one does not notice.
    let without = changed(&spoke, |tunnel| {
        tunnel.peers.retain(|peer| peer.name == "edge")
    });
    apply(rig, SPOKE, &spoke, &without).await;
    let after = state(rig, SPOKE, SLICE).await;
    assert_eq!(after.peers.len(), 1);
    assert_eq!(peer(&after, "edge").latest_handshake, edge.latest_handshake);
}

async fn undo_restores(rig: &mut impl BackhaulRig) {
    let nothing = NodeConfig::default();
    let before = config(&[tunnel(EDGE, SLICE), tunnel(EDGE, "other")]);
    apply(rig, EDGE, &nothing, &before).await;
    let seen = rig.node(EDGE).tunnels().await.unwrap();
    let mut other = tunnel(EDGE, "other");
    other["mtu"] = 1300.into();
    let after = config(&[other, tunnel(EDGE, "third")]);
    let plan = rig.node(EDGE).plan(&before, &after).unwrap();
    let applied = rig.node(EDGE).apply(plan).await.unwrap();
    assert_ne!(rig.node(EDGE).tunnels().await.unwrap(), seen);
    rig.node(EDGE).undo(applied).await.unwrap();
    // The tunnel that came back has the key that its peers know.
    assert_eq!(rig.node(EDGE).tunnels().await.unwrap(), seen);
    assert_eq!(rig.left_behind(EDGE, "third"), Vec::<String>::new());
}

async fn prefixes_move_to_who_answers(rig: &mut impl BackhaulRig) {
    connected(rig).await;
    let mut events = rig.node(SPOKE).events();
    rig.set_reachable(EDGE, false);
    let is_failover = |event: &Event| matches!(event, Event::Failover { .. });
    let failed = heard(&mut events, is_failover).await;
    assert_eq!(
        failed,
        Event::Failover {
            slice: SLICE.to_owned(),
            from: Some("edge".to_owned()),
            to: "dc".to_owned(),
            reason: FailoverReason::Failed,
        }
    );
    let seen = until(rig, SPOKE, "failed over", |state| {
        peer(state, "dc").state == PeerState::Active
    })
    .await;
    assert_eq!(peer(&seen, "edge").state, PeerState::Down);
    assert_eq!(peer(&seen, "edge").active_prefixes, []);
    assert_eq!(peer(&seen, "dc").active_prefixes.len(), 1);
    rig.set_reachable(EDGE, true);
    let back = heard(&mut events, is_failover).await;
    assert!(
        matches!(
            back,
            Event::Failover {
                reason: FailoverReason::Preferred,
                ..
            }
        ),
        "{back:?}"
    );
    let seen = until(rig, SPOKE, "back", |state| {
        peer(state, "edge").state == PeerState::Active
    })
    .await;
    assert_eq!(peer(&seen, "dc").state, PeerState::Warm);
}

async fn the_preferred_peer_need_not_hold_out_when_it_answers_for_the_first_time(
    rig: &mut impl BackhaulRig,
) {
    rig.set_reachable(EDGE, false);
    let mut events = rig.node(SPOKE).events();
    // Longer than anybody waits here.
    told(rig, |tunnel| tunnel["probe"]["hold-down"] = 3600.into()).await;
    until(rig, SPOKE, "with the second", |state| {
        peer(state, "dc").state == PeerState::Active
    })
    .await;
    rig.set_reachable(EDGE, true);
    let is_back = |event: &Event| matches!(event, Event::Failover { to, .. } if to == "edge");
    heard(&mut events, is_back).await;
    // Once it was there it has to.
    rig.set_reachable(EDGE, false);
    until(rig, SPOKE, "failed over", |state| {
        peer(state, "dc").state == PeerState::Active
    })
    .await;
    rig.set_reachable(EDGE, true);
    until(rig, SPOKE, "held down", |state| {
        peer(state, "edge").state == PeerState::Warm
    })
    .await;
}

async fn who_comes_back_to_a_port_that_is_taken_gets_another_one(rig: &mut impl BackhaulRig) {
    let (nothing, one) = (NodeConfig::default(), config(&[tunnel(EDGE, SLICE)]));
    apply(rig, EDGE, &nothing, &one).await;
    let before = state(rig, EDGE, SLICE).await.own_key.unwrap();
    apply(rig, EDGE, &one, &nothing).await;
    let mut other = tunnel(EDGE, "other");
    other["address"] = json!(["10.78.0.1"]);
    other["listen-port"] = before.listen_port.into();
    let other = config(&[other]);
    apply(rig, EDGE, &nothing, &other).await;
    let mut both = other.clone();
    both.backhaul.tunnels.extend(one.backhaul.tunnels.clone());
    apply(rig, EDGE, &other, &both).await;
    let after = state(rig, EDGE, SLICE).await.own_key.unwrap();
    assert_eq!(after.public_key, before.public_key);
    assert_ne!(after.listen_port, before.listen_port);
    // A port that is asked for is not forgotten for one that is remembered.
    apply(rig, EDGE, &both, &other).await;
    let asked = changed(&one, |tunnel| {
        tunnel.listen_port = Some(after.listen_port - 1000)
    });
    let mut both = other.clone();
    both.backhaul.tunnels.extend(asked.backhaul.tunnels);
    apply(rig, EDGE, &other, &both).await;
    let own = state(rig, EDGE, SLICE).await.own_key.unwrap();
    assert_eq!(own.listen_port, after.listen_port - 1000);
}

async fn a_port_that_a_rotation_left_is_still_its_tunnels(rig: &mut impl BackhaulRig) {
    let nothing = NodeConfig::default();
    let other = config(&[tunnel(EDGE, "other")]);
    apply(rig, EDGE, &nothing, &other).await;
    let chosen = state(rig, EDGE, "other").await.own_key.unwrap();
    let port = chosen.listen_port - 1000;
    let mut asked = tunnel(EDGE, SLICE);
    asked["listen-port"] = port.into();
    let mut both = other.clone();
    both.backhaul
        .tunnels
        .extend(config(&[asked]).backhaul.tunnels);
    apply(rig, EDGE, &other, &both).await;
    rig.node(EDGE).rotate_key(SLICE, None).await.unwrap();
    rig.node(EDGE).complete_rotation(SLICE).await.unwrap();
    until(rig, EDGE, "rid of the old key", |state| {
        state.retiring.is_none()
    })
    .await;
    let refusal = rig
        .node(EDGE)
        .rotate_key("other", Some(port))
        .await
        .unwrap_err();
    assert_eq!(
        refusal.message,
        format!("port {port} is the listen-port of the tunnel of slice {SLICE}")
    );
    let next = rig.node(EDGE).rotate_key("other", None).await.unwrap();
    assert_ne!(next.listen_port, port);
    // Whoever has it configured may have it again.
    apply(rig, EDGE, &both, &other).await;
    apply(rig, EDGE, &other, &both).await;
    rig.node(EDGE).rotate_key(SLICE, Some(port)).await.unwrap();
}

async fn somebody_asks_for_a_peer(rig: &mut impl BackhaulRig) {
    connected(rig).await;
    let from = rig.node(SPOKE).switch_over(SLICE, "dc").await.unwrap();
    assert_eq!(from.as_deref(), Some("edge"));
    let seen = until(rig, SPOKE, "switched over", |state| {
        peer(state, "edge").state == PeerState::Warm
    })
    .await;
    assert_eq!(peer(&seen, "dc").active_prefixes.len(), 1);
    // It stays there, though the other one is preferred and has answered for the hold-down time.
    sleep(Duration::from_millis(1500)).await;
    let later = state(rig, SPOKE, SLICE).await;
    assert_eq!(peer(&later, "dc").active_prefixes.len(), 1);
    let refusal = rig
        .node(SPOKE)
        .switch_over(SLICE, "moon")
        .await
        .unwrap_err();
    assert_eq!(refusal.message, "there is no peer moon");
    let refusal = rig
        .node(EDGE)
        .switch_over(SLICE, "spoke")
        .await
        .unwrap_err();
    assert!(refusal.message.contains("no priority"), "{refusal}");
    rig.set_reachable(EDGE, false);
    until(rig, SPOKE, "without edge", |state| {
        peer(state, "edge").state == PeerState::Down
    })
    .await;
    let refusal = rig
        .node(SPOKE)
        .switch_over(SLICE, "edge")
        .await
        .unwrap_err();
    assert_eq!(refusal.message, "peer edge does not answer");
}

/// Prepares a rotation at all machines and tells each of the others' next keys.
pub(crate) async fn prepared(
    rig: &mut impl BackhaulRig,
    configs: &[NodeConfig; 3],
) -> ([OwnKeyState; 3], [NodeConfig; 3]) {
    let mut keys = Vec::new();
    for at in [EDGE, DC, SPOKE] {
        keys.push(rig.node(at).rotate_key(SLICE, None).await.unwrap());
    }
    let keys: [OwnKeyState; 3] = keys.try_into().unwrap();
    let mut told = configs.clone();
    for at in [EDGE, DC, SPOKE] {
        told[at] = changed(&configs[at], |tunnel| {
            for peer in &mut tunnel.peers {
                let index = NAMES.iter().position(|name| *name == peer.name).unwrap();
                peer.next = Some(NextConfig {
                    public_key: keys[index].public_key,
                    preshared_key: None,
                    endpoint: peer.endpoint.map(|endpoint| EndpointConfig {
                        port: keys[index].listen_port,
                        ..endpoint
                    }),
                });
            }
        });
        apply(rig, at, &configs[at], &told[at]).await;
    }
    (keys, told)
}

/// Rotates the keys of all machines, which move their routes in this order.
pub(crate) async fn rotate(
    rig: &mut impl BackhaulRig,
    configs: &[NodeConfig; 3],
    order: [usize; 3],
) -> ([OwnKeyState; 3], [NodeConfig; 3]) {
    let (keys, told) = prepared(rig, configs).await;
    for at in order {
        until(rig, at, "ready", |state| {
            let next = state.next.as_ref();
            next.is_some_and(|next| next.phase == Phase::Ready)
        })
        .await;
    }
    for at in order {
        let key = rig.node(at).complete_rotation(SLICE).await.unwrap();
        assert_eq!(key, keys[at]);
    }
    (keys, told)
}

async fn keys_rotate(rig: &mut impl BackhaulRig) {
    let configs = connected(rig).await;
    let mut events = rig.node(SPOKE).events();
    let refusal = rig.node(SPOKE).complete_rotation(SLICE).await.unwrap_err();
    assert!(
        refusal.message.starts_with("no rotation is under way"),
        "{refusal}"
    );
    let first = rig.node(SPOKE).rotate_key(SLICE, None).await.unwrap();
    assert_eq!(first.epoch, 2);
    // Asking again is asking for the same, and nobody knows the new key yet.
    assert_eq!(
        rig.node(SPOKE).rotate_key(SLICE, None).await.unwrap(),
        first
    );
    let refusal = rig.node(SPOKE).complete_rotation(SLICE).await.unwrap_err();
    assert!(refusal.message.contains("has not been heard"), "{refusal}");
    let (keys, told) = rotate(rig, &configs, [EDGE, DC, SPOKE]).await;
    assert_eq!(keys[SPOKE], first);
    let again = rig.node(SPOKE).complete_rotation(SLICE).await.unwrap();
    assert_eq!(again, first);
    let complete = heard(&mut events, |event| {
        matches!(event, Event::RotationComplete { .. })
    })
    .await;
    let is_new = matches!(&complete, Event::RotationComplete { epoch: 2, public_key, .. } if *public_key == first.public_key);
    assert!(is_new, "{complete:?}");
    let refusal = rig.node(SPOKE).rotate_key(SLICE, None).await.unwrap_err();
    assert!(refusal.message.contains("not written down"), "{refusal}");
    // Writing it down changes no tunnel.
    let before = until(rig, SPOKE, "well", |state| {
        peer(state, "edge").state == PeerState::Active
    })
    .await;
    for at in [EDGE, DC, SPOKE] {
        let written = changed(&told[at], |tunnel| {
            for peer in &mut tunnel.peers {
                let next = peer.next.take().unwrap();
                (peer.public_key, peer.endpoint) = (next.public_key, next.endpoint);
            }
        });
        apply(rig, at, &told[at], &written).await;
    }
    let after = state(rig, SPOKE, SLICE).await;
    assert_eq!(after.own_key, before.own_key);
    assert_eq!(
        peer(&after, "edge").latest_handshake,
        peer(&before, "edge").latest_handshake
    );
    let again = rig.node(SPOKE).rotate_key(SLICE, None).await.unwrap();
    assert_eq!(again.epoch, 3);
}

async fn a_rotation_is_cancelled(rig: &mut impl BackhaulRig) {
    connected(rig).await;
    let before = state(rig, SPOKE, SLICE).await;
    rig.node(SPOKE).rotate_key(SLICE, None).await.unwrap();
    assert!(state(rig, SPOKE, SLICE).await.next.is_some());
    rig.node(SPOKE).cancel_rotation(SLICE).await.unwrap();
    let after = state(rig, SPOKE, SLICE).await;
    assert_eq!((after.next, after.own_key), (None, before.own_key));
    assert_eq!(
        rig.node(SPOKE)
            .cancel_rotation(SLICE)
            .await
            .unwrap_err()
            .message,
        "no rotation is under way"
    );
    // A number is not given twice.
    assert_eq!(
        rig.node(SPOKE).rotate_key(SLICE, None).await.unwrap().epoch,
        3
    );
}

async fn a_preshared_key_must_be_the_same(rig: &mut impl BackhaulRig) {
    let configs = connected(rig).await;
    let key = |octet: u8| {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode([octet; 32]);
        serde_json::from_value::<PresharedKey>(text.into()).unwrap()
    };
    let with = |config: &NodeConfig, peer: &str, octet| {
        changed(config, |tunnel| {
            let peer = tunnel
                .peers
                .iter_mut()
                .find(|one| one.name == peer)
                .unwrap();
            peer.preshared_key = Some(key(octet));
            // A new peer, so that both ends shake hands with it.
        })
    };
    let none = |config: &NodeConfig| changed(config, |tunnel| tunnel.peers.clear());
    let (edge, spoke) = (
        with(&configs[EDGE], "spoke", 1),
        with(&configs[SPOKE], "edge", 2),
    );
    for (at, new) in [(EDGE, &edge), (SPOKE, &spoke)] {
        let empty = none(&configs[at]);
        apply(rig, at, &configs[at], &empty).await;
        apply(rig, at, &empty, new).await;
    }
    until(rig, SPOKE, "deaf", |state| {
        peer(state, "edge").state == PeerState::Down
    })
    .await;
    let agreed = with(&configs[SPOKE], "edge", 1);
    let empty = none(&spoke);
    apply(rig, SPOKE, &spoke, &empty).await;
    apply(rig, SPOKE, &empty, &agreed).await;
    until(rig, SPOKE, "agreed", |state| {
        peer(state, "edge").latest_handshake.is_some()
    })
    .await;
}

async fn a_restart_changes_nothing(rig: &mut impl BackhaulRig) {
    let configs = connected(rig).await;
    rig.node(SPOKE).switch_over(SLICE, "dc").await.unwrap();
    let next = rig.node(SPOKE).rotate_key(SLICE, None).await.unwrap();
    let before = state(rig, SPOKE, SLICE).await;
    rig.restart(SPOKE).await;
    rig.node(SPOKE).reconcile(&configs[SPOKE]).await.unwrap();
    let after = until(rig, SPOKE, "back", |state| {
        state.oper_state == TunnelOperState::Up
    })
    .await;
    assert_eq!(after.own_key, before.own_key);
    assert_eq!(after.next.map(|next| next.own_key), Some(next));
    // A second look finds nothing to repair.
    let again = rig.node(SPOKE).reconcile(&configs[SPOKE]).await.unwrap();
    assert_eq!(again.repaired, []);
}

async fn what_is_not_configured_is_removed(rig: &mut impl BackhaulRig) {
    let two = config(&[tunnel(EDGE, SLICE), tunnel(EDGE, "other")]);
    apply(rig, EDGE, &NodeConfig::default(), &two).await;
    rig.restart(EDGE).await;
    let one = config(&[tunnel(EDGE, "other")]);
    let repaired = rig.node(EDGE).reconcile(&one).await.unwrap().repaired;
    assert!(
        repaired.iter().any(|step| step.path.contains("city-cam")),
        "{repaired:?}"
    );
    assert_eq!(rig.left_behind(EDGE, SLICE), Vec::<String>::new());
    assert_eq!(rig.node(EDGE).tunnels().await.unwrap().len(), 1);
}

async fn a_removal_is_taken_back_after_a_restart(rig: &mut impl BackhaulRig) {
    let (nothing, one) = (NodeConfig::default(), config(&[tunnel(EDGE, SLICE)]));
    apply(rig, EDGE, &nothing, &one).await;
    let before = state(rig, EDGE, SLICE).await.own_key;
    apply(rig, EDGE, &one, &nothing).await;
    rig.restart(EDGE).await;
    // As who starts with an open confirmed commit does.
    rig.node(EDGE).reconcile(&one).await.unwrap();
    assert_eq!(state(rig, EDGE, SLICE).await.own_key, before);
}
