//! Gateways that stand in for each other: who has the prefixes when what is configured changes.

use super::*;

pub(super) async fn run<R: BackhaulRig, F: Future<Output = R>>(new_rig: impl Fn() -> F) {
    who_was_asked_for_keeps_the_prefixes_when_they_are_others(&mut new_rig().await).await;
    who_was_asked_for_has_the_prefixes_after_a_restart(&mut new_rig().await).await;
    probes_at_another_pace_are_nobodys_silence(&mut new_rig().await).await;
    a_rotation_that_was_written_down_is_taken_back(&mut new_rig().await).await;
}

fn has_all(state: &TunnelState, name: &str) -> bool {
    peer(state, name).active_prefixes.len() == 2 && peer(state, name).state == PeerState::Active
}

async fn who_was_asked_for_keeps_the_prefixes_when_they_are_others(rig: &mut impl BackhaulRig) {
    let configs = connected(rig).await;
    rig.node(SPOKE).switch_over(SLICE, "dc").await.unwrap();
    let mut events = rig.node(SPOKE).events();
    let wider = changed(&configs[SPOKE], |tunnel| {
        for peer in &mut tunnel.peers {
            peer.allowed_prefixes
                .push(Written("10.30.0.0/16".to_owned()));
        }
    });
    apply(rig, SPOKE, &configs[SPOKE], &wider).await;
    assert!(has_all(&state(rig, SPOKE, SLICE).await, "dc"));
    // For longer than who is preferred has to hold out.
    sleep(Duration::from_millis(1500)).await;
    assert!(has_all(&state(rig, SPOKE, SLICE).await, "dc"));
    let mut moves = std::iter::from_fn(|| events.try_recv().ok());
    assert_eq!(
        moves.find(|one| matches!(one, Event::Failover { .. })),
        None
    );
    // Who was asked for is forgotten with the priorities.
    let turned = changed(&wider, |tunnel| {
        for peer in &mut tunnel.peers {
            peer.priority = peer.priority.map(|priority| 10 + priority);
        }
    });
    apply(rig, SPOKE, &wider, &turned).await;
    until(rig, SPOKE, "back", |state| has_all(state, "edge")).await;
}

async fn who_was_asked_for_has_the_prefixes_after_a_restart(rig: &mut impl BackhaulRig) {
    let configs = connected(rig).await;
    rig.node(SPOKE).switch_over(SLICE, "dc").await.unwrap();
    rig.restart(SPOKE).await;
    rig.node(SPOKE).reconcile(&configs[SPOKE]).await.unwrap();
    let at_dc = |state: &TunnelState| peer(state, "dc").state == PeerState::Active;
    until(rig, SPOKE, "back", at_dc).await;
    sleep(Duration::from_millis(1500)).await;
    let later = state(rig, SPOKE, SLICE).await;
    assert!(at_dc(&later), "{later:#?}");
    assert_eq!(peer(&later, "dc").active_prefixes.len(), 1);
}

async fn probes_at_another_pace_are_nobodys_silence(rig: &mut impl BackhaulRig) {
    let slow = told(rig, |tunnel| tunnel["probe"]["interval"] = 3000.into()).await;
    until(rig, SPOKE, "connected", |state| {
        let mut peers = state.peers.iter();
        peers.all(|peer| matches!(peer.state, PeerState::Active | PeerState::Warm))
    })
    .await;
    // Longer than a peer may be silent at the other pace.
    sleep(Duration::from_millis(1000)).await;
    let mut events = rig.node(SPOKE).events();
    let fast = changed(&slow[SPOKE], |tunnel| {
        let probe = tunnel.probe.as_mut().unwrap();
        probe.interval_ms = 50;
    });
    apply(rig, SPOKE, &slow[SPOKE], &fast).await;
    let answered = Instant::now() + Duration::from_millis(2500);
    let before = state(rig, SPOKE, SLICE).await;
    let is_asked =
        |state: &TunnelState| peer(state, "edge").tx_bytes > peer(&before, "edge").tx_bytes;
    until(rig, SPOKE, "asked at once", is_asked).await;
    assert!(
        Instant::now() < answered,
        "nobody was asked at the new pace"
    );
    sleep(Duration::from_millis(100)).await;
    let seen: Vec<Event> = std::iter::from_fn(|| events.try_recv().ok()).collect();
    assert_eq!(seen, []);
}

async fn a_rotation_that_was_written_down_is_taken_back(rig: &mut impl BackhaulRig) {
    let configs = connected(rig).await;
    let (_, told) = rotate(rig, &configs, [EDGE, DC, SPOKE]).await;
    let written = changed(&told[SPOKE], |tunnel| {
        for peer in &mut tunnel.peers {
            let next = peer.next.take().unwrap();
            (peer.public_key, peer.endpoint) = (next.public_key, next.endpoint);
        }
    });
    let plan = rig.node(SPOKE).plan(&told[SPOKE], &written).unwrap();
    let applied = rig.node(SPOKE).apply(plan).await.unwrap();
    rig.node(SPOKE).undo(applied).await.unwrap();
    let mut events = rig.node(SPOKE).events();
    // Longer than anybody may be silent.
    sleep(Duration::from_millis(1000)).await;
    let after = state(rig, SPOKE, SLICE).await;
    assert_eq!(peer(&after, "edge").state, PeerState::Active);
    assert_eq!(peer(&after, "dc").state, PeerState::Warm);
    let mut lost = std::iter::from_fn(|| events.try_recv().ok());
    assert_eq!(
        lost.find(|one| matches!(one, Event::PeerStateChange { .. })),
        None
    );
    // It can be written down again, and another rotation begin.
    apply(rig, SPOKE, &told[SPOKE], &written).await;
    let end = Instant::now() + PATIENCE;
    while let Err(refusal) = rig.node(SPOKE).rotate_key(SLICE, None).await {
        assert!(Instant::now() < end, "{refusal}");
        sleep(Duration::from_millis(20)).await;
    }
}
