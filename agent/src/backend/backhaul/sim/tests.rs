//! The simulator of tunnels: the suite of its domain.

use super::*;
use crate::backend::backhaul::suite::{self, BackhaulRig};
use crate::backend::backhaul::tunnel::Pace;
use crate::backend::backhaul::{BackhaulBackend as _, Event, PeerState, Phase, TunnelState};
use crate::backend::{Backend as _, NodeConfig};

struct Rig {
    underlay: Arc<Underlay>,
    keys: tempfile::TempDir,
    nodes: [Backhaul; 3],
}

impl Rig {
    fn new() -> Self {
        let (underlay, keys) = (Arc::new(Underlay::default()), tempfile::tempdir().unwrap());
        let node = |index: usize| open(&underlay, keys.path(), index);
        let nodes = [node(0), node(1), node(2)];
        Self {
            underlay,
            keys,
            nodes,
        }
    }
}

fn open(underlay: &Arc<Underlay>, keys: &std::path::Path, index: usize) -> Backhaul {
    let name = format!("node-{index}");
    underlay.backhaul(&name, Some(keys.join(&name)))
}

impl BackhaulRig for Rig {
    fn node(&mut self, index: usize) -> &mut Backhaul {
        &mut self.nodes[index]
    }

    fn underlay_address(&self, _: usize) -> &'static str {
        "127.0.0.1"
    }

    fn backend(&self) -> BackendInUse {
        BackendInUse::Simulator
    }

    fn set_reachable(&mut self, index: usize, reachable: bool) {
        self.underlay
            .set_reachable(&format!("node-{index}"), reachable);
    }

    async fn restart(&mut self, index: usize) {
        self.nodes[index] = open(&self.underlay, self.keys.path(), index);
    }

    fn left_behind(&mut self, index: usize, slice: &str) -> Vec<String> {
        let node = format!("node-{index}");
        let mut left = Vec::new();
        let at = (node.clone(), slice.to_owned());
        if self.underlay.lock().nets.contains_key(&at) {
            left.push("a network".to_owned());
        }
        let files = std::fs::read_dir(self.keys.path().join(node))
            .into_iter()
            .flatten();
        let files = files.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        // What is set aside for a while is not left behind.
        left.extend(files.filter(|name| name.starts_with(slice) && !name.ends_with(".removed")));
        left
    }
}

#[tokio::test]
async fn simulator_passes_the_suite() {
    suite::run(|| async { Rig::new() }).await;
}

#[tokio::test]
async fn the_key_of_a_removed_tunnel_is_gone_when_its_time_is_over() {
    let keys = tempfile::tempdir().unwrap();
    let plane = SimulatedPlane {
        underlay: Arc::default(),
        node: "node-1".to_owned(),
    };
    let pace = Pace {
        kept: Duration::from_millis(300),
        ..Pace::default()
    };
    let mut node = Backhaul::at_pace(Arc::new(plane), Some(keys.path().to_owned()), pace);
    let (nothing, one) = (
        NodeConfig::default(),
        suite::config(&[suite::tunnel(suite::EDGE, suite::SLICE)]),
    );
    for (before, after) in [(&nothing, &one), (&one, &nothing)] {
        let plan = node.plan(before, after).unwrap();
        node.apply(plan).await.unwrap();
    }
    let end = tokio::time::Instant::now() + Duration::from_secs(20);
    while std::fs::read_dir(keys.path()).unwrap().count() > 0 {
        assert!(tokio::time::Instant::now() < end, "the key is still there");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_rotation_that_is_due_and_was_cancelled_is_not_prepared_again_at_once() {
    let mut node = Arc::<Underlay>::default().backhaul("node-1", None);
    let mut events = node.events();
    let mut due = suite::config(&[suite::tunnel(suite::EDGE, suite::SLICE)]);
    due.backhaul.tunnels[0].rotation.interval_s = Some(0);
    let plan = node.plan(&NodeConfig::default(), &due).unwrap();
    node.apply(plan).await.unwrap();
    let is_prepared = |event: &Event| matches!(event, Event::RotationPrepared { .. });
    suite::heard(&mut events, is_prepared).await;
    node.cancel_rotation(suite::SLICE).await.unwrap();
    let cancelled = tokio::time::Instant::now();
    while !is_prepared(&events.recv().await.unwrap()) {}
    let after = cancelled.elapsed();
    assert!((60..70).contains(&after.as_secs()), "after {after:?}");
}

#[tokio::test(start_paused = true)]
async fn a_hub_hears_its_old_interface_for_as_long_as_a_spoke_that_is_rarely_heard_has_not_moved() {
    use suite::{DC, EDGE, SLICE, SPOKE};
    let mut rig = Rig::new();
    let bare = suite::told(&mut rig, |tunnel| tunnel["probe"]["interval"] = 1000.into()).await;
    suite::until(&mut rig, SPOKE, "connected", |state| {
        state
            .peers
            .iter()
            .all(|peer| peer.latest_handshake.is_some())
    })
    .await;
    let mut events = rig.node(EDGE).events();
    suite::prepared(&mut rig, &bare).await;
    for at in [EDGE, DC, SPOKE] {
        suite::until(&mut rig, at, "ready", |state| {
            let next = state.next.as_ref();
            next.is_some_and(|next| next.phase == Phase::Ready)
        })
        .await;
    }
    rig.node(EDGE).complete_rotation(SLICE).await.unwrap();
    rig.node(DC).complete_rotation(SLICE).await.unwrap();
    tokio::time::sleep(Duration::from_secs(20)).await;
    let waiting = suite::state(&mut rig, EDGE, SLICE).await;
    assert!(waiting.retiring.is_some(), "{waiting:#?}");
    rig.node(SPOKE).complete_rotation(SLICE).await.unwrap();
    let is_over = |event: &Event| matches!(event, Event::RotationComplete { .. });
    suite::heard(&mut events, is_over).await;
}

#[tokio::test]
async fn a_change_that_takes_long_is_nobodys_silence() {
    let mut rig = Rig::new();
    let [_, _, before] = suite::connected(&mut rig).await;
    let mut events = rig.node(suite::SPOKE).events();
    let name = format!("node-{}", suite::SPOKE);
    // Longer than any peer may be silent.
    rig.underlay.set_pause(&name, Duration::from_millis(700));
    let mut last = before;
    for mtu in [1300, 1310, 1320] {
        let after = suite::changed(&last, |tunnel| tunnel.mtu = mtu);
        suite::apply(&mut rig, suite::SPOKE, &last, &after).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        last = after;
    }
    let mut seen = Vec::new();
    while let Ok(event) = events.try_recv() {
        seen.push(event);
    }
    assert_eq!(seen, []);
}

#[tokio::test]
async fn who_has_the_prefixes_has_them_after_a_restart_that_left_the_tunnel() {
    let mut rig = Rig::new();
    let configs = suite::connected(&mut rig).await;
    rig.set_reachable(suite::EDGE, false);
    let at_dc = |state: &TunnelState| suite::peer(state, "dc").state == PeerState::Active;
    suite::until(&mut rig, suite::SPOKE, "failed over", at_dc).await;
    rig.restart(suite::SPOKE).await;
    let mut events = rig.node(suite::SPOKE).events();
    let spoke = rig.node(suite::SPOKE);
    spoke.reconcile(&configs[suite::SPOKE]).await.unwrap();
    let state = suite::state(&mut rig, suite::SPOKE, suite::SLICE).await;
    assert_eq!(suite::peer(&state, "dc").active_prefixes.len(), 1);
    suite::until(&mut rig, suite::SPOKE, "back", at_dc).await;
    let mut moves = std::iter::from_fn(|| events.try_recv().ok());
    assert_eq!(
        moves.find(|one| matches!(one, Event::Failover { .. })),
        None
    );
}

#[tokio::test]
async fn a_node_answers_at_its_own_address_only() {
    let mut rig = Rig::new();
    let elsewhere = "192.0.2.9".parse().unwrap();
    let name = format!("node-{}", suite::EDGE);
    rig.underlay.set_address(&name, elsewhere);
    suite::told(&mut rig, |_| ()).await;
    let (edge, dc) = (suite::NAMES[suite::EDGE], suite::NAMES[suite::DC]);
    let state = suite::until(&mut rig, suite::SPOKE, "probed", |state| {
        let edge_is_lost = suite::peer(state, edge)
            .probe_loss
            .is_some_and(|loss| loss > 0);
        edge_is_lost && suite::peer(state, dc).latest_handshake.is_some()
    })
    .await;
    assert_eq!(suite::peer(&state, edge).latest_handshake, None);
    rig.underlay
        .set_address(&name, Ipv4Addr::UNSPECIFIED.into());
    suite::until(&mut rig, suite::SPOKE, "heard", |state| {
        suite::peer(state, edge).latest_handshake.is_some()
    })
    .await;
}
