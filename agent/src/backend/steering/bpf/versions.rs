//! What an agent of another version left at the ports: its program is replaced, and taken away where nothing is steered any more.
//! What is somebody else's at the same ports stays.

use std::time::{Duration, Instant};

use libbpf_rs::{Program, TC_INGRESS, TcHook};
use serde_json::Value;

use super::kernel::{Kernel, version};
use super::tests::{Rig, enter, run};
use crate::backend::steering::suite::frames::{Frame, user_packet};
use crate::backend::steering::suite::{
    PORTS, SteeringRig as _, configure, leaves, of_user, rule, to,
};
use crate::backend::steering::{PortConfig, RuleConfig, SteeringConfig};
use crate::backend::{Backend as _, NodeConfig};

const PATIENCE: Duration = Duration::from_secs(20);
/// Where somebody else's program is at p2.
const PRIORITY: u32 = 9;

/// Who has a program at the ingress of a port, by priority, with its number.
fn programs(rig: &Rig, port: &str) -> Vec<(u64, u64)> {
    let listed = rig.in_node(&format!("tc -j filter show dev {port} ingress"));
    let listed: Vec<Value> = serde_json::from_str(&listed).unwrap();
    let program = |one: &Value| {
        Some((
            one["pref"].as_u64()?,
            one["options"]["prog"]["id"].as_u64()?,
        ))
    };
    listed.iter().filter_map(program).collect()
}

fn has_hook(rig: &Rig, port: &str) -> bool {
    rig.in_node(&format!("tc qdisc show dev {port}"))
        .contains("clsact")
}

/// Packets of user 1 go from the first of these ports to the second.
fn forwarding(ports: &[&str]) -> SteeringConfig {
    let port = |name: &&str| PortConfig {
        name: (*name).to_owned(),
        ..PortConfig::default()
    };
    SteeringConfig {
        ports: ports.iter().map(port).collect(),
        rules: vec![RuleConfig {
            forward: to(ports[1]),
            ..rule("r", "s", of_user(1))
        }],
        ..SteeringConfig::default()
    }
}

/// Puts a filter at p2 that has nothing to do with ours.
fn put_foreign(rig: &Rig) {
    rig.in_node("tc qdisc add dev p2 clsact");
    rig.in_node("tc filter add dev p2 ingress prio 8 protocol ip u32 match u32 0 0");
}

/// Puts a program there too; its number.
fn put_foreign_program(rig: &Rig) -> u64 {
    let index = rig.in_node("cat /sys/class/net/p2/ifindex");
    let index: i32 = index.trim().parse().unwrap();
    let node = format!("{}n", rig.prefix);
    let put = std::thread::spawn(move || {
        enter(&node).unwrap();
        let theirs = Kernel::load().unwrap();
        let mut hook = TcHook::new(theirs.program());
        hook.ifindex(index).attach_point(TC_INGRESS);
        hook.handle(1).priority(PRIORITY).attach().unwrap();
        theirs.id()
    });
    put.join().unwrap().into()
}

/// Steers at all ports, lets what is there be of another version, and starts an agent of this one, which was not told yet what to
/// steer. The number of the program that is there.
async fn left_by_another_version(rig: &mut Rig) -> u64 {
    configure(rig, &forwarding(&PORTS)).await;
    let [(_, program)] = *programs(rig, "p0") else {
        unreachable!("ours is the one program at p0");
    };
    for port in PORTS {
        assert_eq!(programs(rig, port)[0].1, program);
    }
    let number = u32::try_from(program).unwrap();
    let kernel = Kernel::adopt(number).unwrap();
    let mut table = kernel.read().unwrap().unwrap();
    table.front[..8].copy_from_slice(&(!version()).to_ne_bytes());
    kernel.write(&table).unwrap();
    assert!(Kernel::adopt(number).is_none(), "it is of another version");
    drop(kernel);
    rig.restart().await;
    program
}

/// Nobody holds the program any more: the kernel lets it go when no packet is in it.
async fn is_gone(program: u64) {
    let number = u32::try_from(program).unwrap();
    let start = Instant::now();
    while Program::fd_from_id(number).is_ok() {
        assert!(start.elapsed() < PATIENCE, "the program is still there");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn reconcile(rig: &mut Rig, steering: SteeringConfig) {
    let wanted = NodeConfig {
        steering,
        ..NodeConfig::default()
    };
    let reconciled = rig.steering().reconcile(&wanted).await.unwrap();
    assert_eq!(reconciled.repaired.len(), 1);
}

#[test]
fn the_program_of_another_version_is_replaced_and_taken_off_what_is_no_port_any_more() {
    run(async |rig| {
        put_foreign(rig);
        let theirs = put_foreign_program(rig);
        let old = left_by_another_version(rig).await;
        reconcile(rig, forwarding(&["p0", "p1"])).await;
        let [(_, new)] = *programs(rig, "p0") else {
            unreachable!("ours is the one program at p0");
        };
        assert_ne!(new, old);
        assert_eq!(programs(rig, "p1"), programs(rig, "p0"));
        for port in ["a0", "a1", "a2"] {
            assert!(!has_hook(rig, port), "{port}");
        }
        assert_eq!(programs(rig, "p2"), [(PRIORITY.into(), theirs)]);
        is_gone(old).await;
        let frame = Frame::gtp(1, 255, &user_packet()).bytes();
        assert_eq!(leaves(rig, "p0", &frame).await.0, "p1");
    });
}

#[test]
fn where_nothing_is_steered_the_program_of_another_version_is_taken_away_and_nothing_else() {
    run(async |rig| {
        put_foreign(rig);
        let old = left_by_another_version(rig).await;
        reconcile(rig, SteeringConfig::default()).await;
        for port in PORTS.iter().filter(|port| **port != "p2") {
            assert!(!has_hook(rig, port), "{port}");
        }
        assert_eq!(programs(rig, "p2"), []);
        let others = rig.in_node("tc filter show dev p2 ingress");
        assert!(others.contains("pref 8 u32"), "{others}");
        is_gone(old).await;
    });
}
