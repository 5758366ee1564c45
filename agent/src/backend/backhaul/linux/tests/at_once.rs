//! Many tunnels of one node that are made and removed at the same time, and what they share: the node's bridges, and its one
//! connection to the kernel.

use serde_json::json;

use super::rig::{self, Rig};
use crate::backend::NodeConfig;
use crate::backend::backhaul::suite::{self, BackhaulRig, EDGE};
use crate::backend::backhaul::{BackendInUse, BackhaulBackend as _};

/// Tunnels in one change: enough to meet each other.
const MANY: u16 = 12;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a kernel with WireGuard whose bridges filter VLANs; run by make test-vm"]
async fn tunnels_of_the_kernel_that_are_made_at_once_share_new_bridges_and_leave_none() {
    let mut rig = Rig::new(BackendInUse::Kernel).await;
    let attached = |number: u16| {
        let mut tunnel = suite::tunnel(EDGE, &format!("t{number}"));
        // Every third one has a bridge of its own.
        tunnel["attachment"] = match number % 3 {
            0 => json!({ "bridge": format!("ub{number}") }),
            _ => json!({ "bridge": "ub", "vlan": 10 + number }),
        };
        tunnel
    };
    let (nothing, many) = (
        NodeConfig::default(),
        suite::config(&(0..MANY).map(attached).collect::<Vec<_>>()),
    );
    for _ in 0..3 {
        suite::apply(&mut rig, EDGE, &nothing, &many).await;
        let ports = rig.in_machine(EDGE, "ip -o link show type veth");
        let of_shared = ports.lines().filter(|line| line.contains("master ub "));
        assert_eq!(of_shared.count(), 8, "{ports}");
        let vlans = rig.in_machine(EDGE, "bridge vlan show");
        for number in (0..MANY).filter(|number| number % 3 != 0) {
            let vlan = format!("{} PVID Egress Untagged", 10 + number);
            assert_eq!(vlans.matches(&vlan).count(), 1, "{vlans}");
        }
        suite::apply(&mut rig, EDGE, &many, &nothing).await;
        let links = rig.in_machine(EDGE, "ip -o link");
        assert!(!links.contains("ub"), "{links}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn management_tunnels_are_made_at_once() {
    if rig::can_run() {
        manage_at_once(Rig::new(BackendInUse::Userspace).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a kernel with WireGuard; run by make test-vm"]
async fn management_tunnels_of_the_kernel_are_made_at_once() {
    manage_at_once(Rig::new(BackendInUse::Kernel).await).await;
}

async fn manage_at_once(mut rig: Rig) {
    // What a list has to tell takes more than one answer.
    let routes: String = (0..400)
        .map(|number| {
            format!(
                "ip route add unreachable 10.200.{}.0/24 metric {number}\n",
                number % 250
            )
        })
        .collect();
    rig.in_machine(EDGE, &routes);
    let of_node = |number: u16| {
        json!({
            "slice": format!("m{number}"),
            "role": "hub",
            "address": [format!("10.99.{number}.1")],
            "management": { "port": [830] },
        })
    };
    let (nothing, many) = (
        NodeConfig::default(),
        suite::config(&(0..MANY).map(of_node).collect::<Vec<_>>()),
    );
    suite::apply(&mut rig, EDGE, &nothing, &many).await;
    let states = rig.node(EDGE).tunnels().await.unwrap();
    assert_eq!(states.len(), usize::from(MANY));
    assert!(states.iter().all(|state| state.backend_in_use.is_some()));
    suite::apply(&mut rig, EDGE, &many, &nothing).await;
    let left = rig.left_behind(EDGE, "m0");
    assert_eq!(left, Vec::<String>::new());
}
