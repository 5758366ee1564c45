//! Streams of packets over tunnels while something happens to them.

use std::net::UdpSocket;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::rig::{self, Rig};
use super::stream::Streams;
use crate::backend::Backend as _;
use crate::backend::backhaul::BackhaulBackend as _;
use crate::backend::backhaul::suite::{self, BackhaulRig, DC, EDGE, SLICE, SPOKE};
use crate::backend::backhaul::{BackendInUse, Event, RotationReason};
use crate::backend::namespace::Namespace;

/// A socket in the namespace of a slice.
pub(super) fn socket(namespace: &str, address: &str) -> tokio::net::UdpSocket {
    let namespace = Namespace::open(namespace).unwrap();
    let socket = namespace
        .within(|| UdpSocket::bind(address))
        .unwrap()
        .unwrap();
    socket.set_nonblocking(true).unwrap();
    tokio::net::UdpSocket::from_std(socket).unwrap()
}

/// Sends a stream from the spoke to the edge while `meanwhile` runs; what was lost.
async fn lost_while(rig: &mut Rig, meanwhile: impl AsyncFnOnce(&mut Rig)) -> Vec<String> {
    let receiver = socket(&rig.slice_namespace(EDGE, SLICE), "10.77.0.1:7000");
    let sender = socket(&rig.slice_namespace(SPOKE, SLICE), "10.77.0.9:0");
    let mut streams = Streams::start([("to the edge", sender, receiver)]);
    streams.go_on(300).await;
    streams.step("what happens to the tunnel");
    meanwhile(rig).await;
    streams.step("what comes afterwards");
    streams.lost().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_loses_no_packet() {
    if rig::can_run() {
        rotation_loses_nothing(Rig::new(BackendInUse::Userspace).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a kernel with WireGuard; run by make test-vm"]
async fn a_rotation_in_the_kernel_loses_no_packet() {
    rotation_loses_nothing(Rig::new(BackendInUse::Kernel).await).await;
}

async fn rotation_loses_nothing(mut rig: Rig) {
    let configs = suite::connected(&mut rig).await;
    let before = suite::state(&mut rig, SPOKE, SLICE).await.own_key.unwrap();
    let lost = lost_while(&mut rig, async |rig| {
        suite::rotate(rig, &configs, [EDGE, DC, SPOKE]).await;
        suite::until(rig, SPOKE, "over", |state| state.retiring.is_none()).await;
    })
    .await;
    let after = suite::state(&mut rig, SPOKE, SLICE).await.own_key.unwrap();
    assert_eq!((before.epoch, after.epoch), (1, 2));
    assert_eq!(lost, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_is_due_loses_no_packet() {
    if rig::can_run() {
        due_rotation_loses_nothing(Rig::hasty(BackendInUse::Userspace).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a kernel with WireGuard; run by make test-vm"]
async fn a_rotation_that_is_due_in_the_kernel_loses_no_packet() {
    due_rotation_loses_nothing(Rig::hasty(BackendInUse::Kernel).await).await;
}

async fn due_rotation_loses_nothing(mut rig: Rig) {
    let mut configs = suite::connected(&mut rig).await;
    let mut events = rig.node(SPOKE).events();
    let lost = lost_while(&mut rig, async |rig| {
        for (at, config) in configs.iter_mut().enumerate() {
            let aging = suite::changed(config, |tunnel| tunnel.rotation.interval_s = Some(1));
            suite::apply(rig, at, config, &aging).await;
            *config = aging;
        }
        for at in [EDGE, DC, SPOKE] {
            suite::until(rig, at, "due", |state| state.next.is_some()).await;
        }
        suite::rotate(rig, &configs, [EDGE, DC, SPOKE]).await;
        suite::until(rig, SPOKE, "over", |state| state.retiring.is_none()).await;
    })
    .await;
    let is_due = |event: &Event| matches!(event, Event::RotationPrepared { reason: RotationReason::Due, own_key, .. } if own_key.epoch == 2);
    suite::heard(&mut events, is_due).await;
    // Another one is not prepared before this one is written down.
    let after = suite::state(&mut rig, SPOKE, SLICE).await;
    assert_eq!((after.own_key.unwrap().epoch, after.next), (2, None));
    assert_eq!(lost, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn prefixes_that_move_cost_no_packet_to_other_addresses() {
    if rig::can_run() {
        moving_loses_nothing(Rig::new(BackendInUse::Userspace).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a kernel with WireGuard; run by make test-vm"]
async fn prefixes_that_move_in_the_kernel_cost_no_packet_to_other_addresses() {
    moving_loses_nothing(Rig::new(BackendInUse::Kernel).await).await;
}

/// The stream goes to the address of the edge itself, which the edge has whoever has the prefixes.
async fn moving_loses_nothing(mut rig: Rig) {
    suite::connected(&mut rig).await;
    let lost = lost_while(&mut rig, async |rig| {
        for to in ["dc", "edge"].into_iter().cycle().take(60) {
            let mut tries = 0;
            while let Err(refusal) = rig.node(SPOKE).switch_over(SLICE, to).await {
                // On a machine that is so slow that probes are late.
                assert!(
                    refusal.message.contains("does not answer") && tries < 1_000,
                    "{refusal}"
                );
                tries += 1;
                sleep(Duration::from_millis(50)).await;
            }
        }
    })
    .await;
    assert_eq!(lost, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_go_on_when_the_order_of_a_rotation_is_the_wrong_one() {
    if !rig::can_run() {
        return;
    }
    let mut rig = Rig::new(BackendInUse::Userspace).await;
    let configs = suite::connected(&mut rig).await;
    let lost = lost_while(&mut rig, async |rig| {
        suite::rotate(rig, &configs, [SPOKE, DC, EDGE]).await;
    })
    .await;
    assert_eq!(lost, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_killed_brings_its_tunnels_back() {
    if !rig::can_run() {
        return;
    }
    let mut rig = Rig::new(BackendInUse::Userspace).await;
    let configs = suite::connected(&mut rig).await;
    rig.restart(SPOKE).await;
    let started = Instant::now();
    rig.node(SPOKE).reconcile(&configs[SPOKE]).await.unwrap();
    suite::until(&mut rig, SPOKE, "back", |state| {
        suite::peer(state, "edge").latest_handshake.is_some()
    })
    .await;
    // Not asserted: a figure for who looks at the output.
    tracing::info!(after = ?started.elapsed(), "the tunnels are back");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a kernel with WireGuard; run by make test-vm"]
async fn tunnels_of_the_kernel_carry_packets_while_the_agent_is_dead() {
    let mut rig = Rig::new(BackendInUse::Kernel).await;
    let configs = suite::connected(&mut rig).await;
    let lost = lost_while(&mut rig, async |rig| {
        rig.restart(SPOKE).await;
        let repaired = rig
            .node(SPOKE)
            .reconcile(&configs[SPOKE])
            .await
            .unwrap()
            .repaired;
        assert_eq!(repaired, [], "nothing has changed");
    })
    .await;
    assert_eq!(lost, Vec::<String>::new());
}
