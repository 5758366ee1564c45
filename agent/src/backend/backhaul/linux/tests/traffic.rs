//! Streams of packets over tunnels while something happens to them.

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::time::Duration;

use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::super::namespace::Namespace;
use super::rig::{self, Rig};
use crate::backend::Backend as _;
use crate::backend::backhaul::BackhaulBackend as _;
use crate::backend::backhaul::suite::{self, BackhaulRig, DC, EDGE, SLICE, SPOKE};
use crate::backend::backhaul::{BackendInUse, Event, RotationReason};

/// Packets of the stream, one every millisecond.
const PACKETS: u32 = 3_000;
const PORT: u16 = 7000;

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

/// Sends the stream from the spoke to the edge while `meanwhile` runs; the numbers of the packets that were lost.
async fn lost_while(rig: &mut Rig, meanwhile: impl AsyncFnOnce(&mut Rig)) -> Vec<u32> {
    let receiver = socket(
        &rig.slice_namespace(EDGE, SLICE),
        &format!("10.77.0.1:{PORT}"),
    );
    // What waits here while the machine does something else is not lost.
    set_socket_recv_buffer_size_force(&receiver, 16 << 20).unwrap();
    let sender = socket(&rig.slice_namespace(SPOKE, SLICE), "10.77.0.9:0");
    sender.connect(format!("10.77.0.1:{PORT}")).await.unwrap();
    let sending = tokio::spawn(async move {
        let mut tick = interval(Duration::from_millis(1));
        // What a busy machine keeps back comes later: the number counts, not the moment.
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for number in 0..PACKETS {
            tick.tick().await;
            sender.send(&number.to_be_bytes()).await.unwrap();
        }
    });
    let receiving = tokio::spawn(async move {
        let mut heard = BTreeSet::new();
        let mut packet = [0; 4];
        while let Ok(Ok(4)) = timeout(Duration::from_secs(3), receiver.recv(&mut packet)).await {
            heard.insert(u32::from_be_bytes(packet));
        }
        heard
    });
    sleep(Duration::from_millis(500)).await;
    meanwhile(rig).await;
    sending.await.unwrap();
    let heard = receiving.await.unwrap();
    (0..PACKETS)
        .filter(|number| !heard.contains(number))
        .collect()
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
    assert_eq!(lost, Vec::<u32>::new());
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
    assert_eq!(lost, Vec::<u32>::new());
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
                    refusal.message.contains("does not answer") && tries < 200,
                    "{refusal}"
                );
                tries += 1;
                sleep(Duration::from_millis(50)).await;
            }
        }
    })
    .await;
    assert_eq!(lost, Vec::<u32>::new());
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
    assert_eq!(lost, Vec::<u32>::new());
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
    assert_eq!(lost, Vec::<u32>::new());
}
