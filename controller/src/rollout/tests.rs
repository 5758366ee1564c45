use std::collections::BTreeMap;

use super::*;
use crate::device::{DeviceState, Fleet};
use crate::intent::{AccessPoint, Ratio, Security, SecurityMode, VifConfig};
use crate::inventory::Observed;
use crate::toy::{Fault, ToyNode, eventually, quick};
use tranche_netconf::message::Datastore;

fn settings() -> RolloutSettings {
    RolloutSettings {
        rpc_timeout: Duration::from_secs(1),
        commit_timeout: Duration::from_secs(1),
        confirm_timeout: Duration::from_secs(3),
        fan_out: 8,
    }
}

pub(crate) fn plan(slice: &str) -> NodePlan {
    let vif = VifConfig {
        radio: "radio0".into(),
        slice: slice.into(),
        access_point: AccessPoint {
            ssid: slice.into(),
            hidden: false,
            max_stations: None,
            station_isolation: true,
            roaming: Default::default(),
            attachment: Default::default(),
            security: Security {
                mode: SecurityMode::Open,
                ..Security::default()
            },
        },
        min_ratio: Ratio::from_percent(30.0),
        max_ratio: Ratio::FULL,
    };
    NodePlan {
        profiles: Default::default(),
        vifs: BTreeMap::from([(format!("{slice}-radio0"), vif)]),
        ..NodePlan::default()
    }
}

struct Network {
    nodes: Vec<ToyNode>,
    fleet: Fleet,
}

impl Network {
    async fn start() -> Self {
        let mut nodes = Vec::new();
        for name in ["n1", "n2", "n3"] {
            nodes.push(ToyNode::start(name).await);
        }
        let fleet = Fleet::new(quick());
        fleet.configure(nodes.iter().map(|node| node.config.clone()));
        for node in &nodes {
            eventually("connected", || {
                let status = fleet.device(&node.config.node)?.status();
                (status.state == DeviceState::Connected).then_some(())
            })
            .await;
        }
        Self { nodes, fleet }
    }

    fn targets(&self) -> Vec<Target> {
        let target = |device| Target::new(device, None, plan("a").into(), &Observed::default());
        self.fleet
            .devices()
            .into_iter()
            .filter_map(target)
            .collect()
    }

    async fn rollout(&self) -> Result<RolloutDone, RolloutFailed> {
        rollout(&settings(), self.targets(), async { Ok(()) }).await
    }

    /// No node has anything of the change, no lock is held, and only the fleet's own sessions are left.
    async fn nothing_is_left(&self) {
        for ToyNode { toy, config, .. } in &self.nodes {
            let node = &config.node;
            assert_eq!(toy.running(), Vec::<String>::new(), "{node}");
            eventually(&format!("{node} is tidy"), || {
                (!toy.is_locked() && !toy.candidate_differs() && toy.sessions() <= 2).then_some(())
            })
            .await;
        }
    }
}

#[tokio::test]
async fn a_change_reaches_all_nodes_phase_by_phase() {
    let network = Network::start().await;
    let done = network.rollout().await.unwrap();
    assert_eq!(
        done,
        RolloutDone {
            confirmed: vec!["n1".into(), "n2".into(), "n3".into()],
            unconfirmed: vec![]
        }
    );
    for ToyNode { toy, .. } in &network.nodes {
        assert_eq!(toy.running(), ["a-radio0"]);
        assert!(!toy.is_locked() && !toy.has_unconfirmed());
        let log = toy.log.lock().unwrap().join(" ");
        assert!(
            log.ends_with("lock lock edit-config validate commit confirm unlock unlock"),
            "{log}"
        );
    }
    network.fleet.shutdown().await;
}

#[tokio::test]
async fn a_refusal_before_the_commit_leaves_every_node_as_it_was() {
    for (operation, phase, words) in [
        ("edit-config", Phase::Edit, "no such radio"),
        ("validate", Phase::Validate, "ratios exceed 100 %"),
        ("commit", Phase::Commit, "the driver said no"),
    ] {
        let network = Network::start().await;
        network.nodes[1]
            .toy
            .break_on(operation, Fault::Refuse(words));
        let failed = network.rollout().await.unwrap_err();
        assert_eq!(failed.not_undone, [], "{operation}");
        let [failure] = &failed.failures[..] else {
            panic!("{failed:?}")
        };
        assert_eq!((&*failure.node, failure.phase), ("n2", phase));
        assert_eq!(
            failed.to_string(),
            format!(
                "node n2 refused {}: {words} (at /tranche-wifi:wifi)",
                phase.as_str()
            )
        );
        network.nothing_is_left().await;
        network.fleet.shutdown().await;
    }
}

#[tokio::test]
async fn a_lock_held_by_another_refuses_the_change_and_stays_the_others() {
    let network = Network::start().await;
    network.nodes[2].toy.lock_by_other(Datastore::Running);
    let failed = network.rollout().await.unwrap_err();
    assert_eq!(
        failed.failures[0].tag(),
        tranche_netconf::error::ErrorTag::LockDenied
    );
    assert!(
        failed
            .to_string()
            .contains("node n3 refused the lock: session 999 has the lock"),
        "{failed}"
    );
    for ToyNode { toy, .. } in &network.nodes[..2] {
        assert!(!toy.is_locked() && toy.count("edit-config") == 0);
    }
    assert!(network.nodes[2].toy.is_locked(), "the other's lock");
    network.fleet.shutdown().await;
}

#[tokio::test]
async fn a_node_that_is_away_or_silent_fails_the_change_in_time() {
    let mut network = Network::start().await;
    let away = network.nodes.remove(0);
    away.server.shutdown().await;
    let failed = network.rollout().await.unwrap_err();
    assert_eq!(
        (failed.failures.len(), failed.failures[0].phase),
        (1, Phase::Connect)
    );
    assert!(
        failed
            .to_string()
            .starts_with("node n1 failed to connect: "),
        "{failed}"
    );
    network.nothing_is_left().await;
    network.fleet.shutdown().await;

    let network = Network::start().await;
    network.nodes[0]
        .toy
        .break_on("validate", Fault::Slow(Duration::from_secs(8)));
    let start = std::time::Instant::now();
    let failed = network.rollout().await.unwrap_err();
    assert!(
        failed
            .to_string()
            .contains("node n1 failed the validation: the validation took more than 1s"),
        "{failed}"
    );
    assert!(
        start.elapsed() < Duration::from_secs(7),
        "{:?}",
        start.elapsed()
    );
    for ToyNode { toy, .. } in &network.nodes[1..] {
        assert!(!toy.is_locked() && toy.running().is_empty());
    }
    network.fleet.shutdown().await;
}

#[tokio::test]
async fn a_node_that_dies_in_the_commit_cancels_the_others() {
    for fault in [Fault::Die, Fault::DieAfter] {
        let network = Network::start().await;
        network.nodes[1].toy.break_on("commit", fault);
        let failed = network.rollout().await.unwrap_err();
        assert_eq!(
            (&*failed.failures[0].node, failed.failures[0].phase),
            ("n2", Phase::Commit)
        );
        let [left] = &failed.not_undone[..] else {
            panic!("{failed:?}")
        };
        assert_eq!(
            (&*left.node, left.phase),
            ("n2", Phase::Cancel),
            "it may have committed: {failed}"
        );
        assert!(
            failed.to_string().contains("left to undo itself: node n2"),
            "{failed}"
        );
        network.nodes[1].toy.expire();
        network.nothing_is_left().await;
        network.fleet.shutdown().await;
    }
}

#[tokio::test]
async fn a_node_lost_between_commit_and_confirm_is_unconfirmed() {
    let network = Network::start().await;
    network.nodes[2].toy.break_on("confirm", Fault::Die);
    let done = network.rollout().await.unwrap();
    assert_eq!(done.confirmed, ["n1", "n2"]);
    let [lost] = &done.unconfirmed[..] else {
        panic!("{done:?}")
    };
    assert_eq!((&*lost.node, lost.phase), ("n3", Phase::Confirm));
    for ToyNode { toy, .. } in &network.nodes[..2] {
        assert_eq!(toy.running(), ["a-radio0"]);
        assert!(!toy.is_locked());
    }
    network.fleet.shutdown().await;
}

#[tokio::test]
async fn a_session_lost_between_commit_and_confirm_is_made_again() {
    let network = Network::start().await;
    network.nodes[2]
        .toy
        .break_on("confirm", Fault::Slow(Duration::from_millis(1500)));
    let running = network.rollout();
    let toy = Arc::clone(&network.nodes[2].toy);
    let drops = async {
        eventually("it is asked to confirm", || {
            (toy.count("confirm") == 1).then_some(())
        })
        .await;
        toy.repair();
        toy.drop_sessions();
    };
    let (done, ()) = tokio::join!(running, drops);
    let done = done.unwrap();
    assert_eq!((done.confirmed.len(), done.unconfirmed), (3, vec![]));
    assert!(!network.nodes[2].toy.has_unconfirmed());
    network.fleet.shutdown().await;
}

#[tokio::test]
async fn a_rollout_that_is_dropped_frees_its_locks() {
    let network = Network::start().await;
    network.nodes[0]
        .toy
        .break_on("validate", Fault::Slow(Duration::from_secs(1)));
    let dropped = tokio::time::timeout(Duration::from_millis(600), network.rollout()).await;
    assert!(dropped.is_err());
    network.nothing_is_left().await;
    network.fleet.shutdown().await;
}

#[tokio::test]
async fn a_change_that_cannot_be_kept_here_is_undone_on_all_nodes() {
    let network = Network::start().await;
    let toys: Vec<_> = network.nodes.iter().map(|node| &node.toy).collect();
    let keep = async {
        assert!(
            toys.iter().all(|toy| toy.has_unconfirmed()),
            "kept when all have committed"
        );
        Err("the disk is full".to_owned())
    };
    let failed = rollout(&settings(), network.targets(), keep)
        .await
        .unwrap_err();
    assert_eq!(
        failed.to_string(),
        "the change could not be kept: the disk is full"
    );
    network.nothing_is_left().await;
    network.fleet.shutdown().await;
}
