use std::collections::BTreeMap;

use super::*;
use crate::device::{DeviceState, Fleet};
use crate::intent::NodePlan;
use crate::network::{ChangeDone, Mode};
use crate::rollout::RolloutSettings;
use crate::rollout::tests::plan;
use crate::toy::{Fault, ToyNode, eventually, quick};

struct Setup {
    nodes: Vec<ToyNode>,
    network: Arc<Network>,
    reconciler: Reconciler,
}

impl Setup {
    async fn start(names: &[&str]) -> Self {
        let mut nodes = Vec::new();
        for name in names {
            nodes.push(ToyNode::start(name).await);
        }
        let fleet = Fleet::new(quick());
        fleet.configure(nodes.iter().map(|node| node.config.clone()));
        let rollout = RolloutSettings {
            rpc_timeout: Duration::from_secs(1),
            commit_timeout: Duration::from_secs(1),
            confirm_timeout: Duration::from_secs(2),
            fan_out: 8,
        };
        let network = Arc::new(Network::new(fleet, rollout));
        let settings = ReconcileSettings {
            min_pause: Duration::from_millis(50),
            max_pause: Duration::from_millis(200),
        };
        let reconciler = Reconciler::start(Arc::clone(&network), settings);
        let setup = Self {
            nodes,
            network,
            reconciler,
        };
        for name in names {
            setup.connected(name).await;
        }
        setup
    }

    async fn connected(&self, node: &str) {
        eventually("connected", || {
            let status = self.network.fleet().device(node)?.status();
            (status.state == DeviceState::Connected).then_some(())
        })
        .await;
    }

    async fn read(&self, node: &str) {
        let device = self.network.fleet().device(node).unwrap();
        device.read().await.unwrap();
    }

    fn plans(&self, slice: &str) -> BTreeMap<NodeName, NodePlan> {
        self.network
            .fleet()
            .devices()
            .iter()
            .map(|device| (device.node().clone(), plan(slice)))
            .collect()
    }

    async fn change(&self, slice: &str, mode: Mode) -> Result<ChangeDone, String> {
        let changed = self
            .network
            .change(self.plans(slice), mode, async { Ok(()) })
            .await;
        changed.map_err(|failed| failed.to_string())
    }

    async fn stop(self) {
        self.reconciler.shutdown().await;
        self.network.fleet().shutdown().await;
    }
}

#[tokio::test]
async fn a_change_is_put_on_the_nodes_and_what_is_shown_was_read_from_them() {
    let setup = Setup::start(&["n1", "n2"]).await;
    let done = setup.change("a", Mode::AllOrNothing).await.unwrap();
    assert_eq!(done.confirmed, ["n1", "n2"]);
    for node in &setup.nodes {
        assert_eq!(node.toy.running(), ["a-radio0"]);
        let status = setup
            .network
            .fleet()
            .device(&node.config.node)
            .unwrap()
            .status();
        assert!(status.observed.unwrap().vifs.contains_key("a-radio0"));
        assert_eq!(setup.network.sync(&node.config.node).in_sync, Some(true));
    }
    // Another slice instead: the old vif goes. A change that changes nothing asks nobody.
    setup.change("b", Mode::AllOrNothing).await.unwrap();
    assert_eq!(setup.nodes[0].toy.running(), ["b-radio0"]);
    let commits = setup.nodes[0].toy.count("commit");
    assert_eq!(
        setup.change("b", Mode::AllOrNothing).await.unwrap(),
        ChangeDone::default()
    );
    assert_eq!(setup.nodes[0].toy.count("commit"), commits);
    setup.stop().await;
}

#[tokio::test]
async fn drift_is_repaired_on_the_node_that_has_it() {
    let setup = Setup::start(&["n1", "n2"]).await;
    setup.change("a", Mode::AllOrNothing).await.unwrap();
    let (first, second) = (&setup.nodes[0].toy, &setup.nodes[1].toy);
    let untouched = second.count("lock");
    let named = |name: &str| {
        first
            .vif("a-radio0")
            .replace("<name>a-radio0<", &format!("<name>{name}<"))
    };
    first.put(
        "z-radio0",
        &named("z-radio0").replace("<slice>a<", "<slice>z<"),
    );
    first.put("guest", &named("guest").replace("<slice>a</slice>", ""));
    first.put("a-radio0", &first.vif("a-radio0").replace("30.00", "10.00"));
    setup.read("n1").await;
    eventually("n1 is repaired", || {
        (first.running() == ["a-radio0", "guest"]).then_some(())
    })
    .await;
    let sync = eventually("that is known", || {
        Some(setup.network.sync("n1")).filter(|sync| sync.in_sync == Some(true))
    })
    .await;
    assert_eq!((sync.repairs, sync.drift, sync.last_error), (1, None, None));
    assert!(first.vif("a-radio0").contains("30.00") && !first.is_locked());
    assert_eq!(second.count("lock"), untouched);
    setup.stop().await;
}

#[tokio::test]
async fn a_repair_that_fails_is_told_and_tried_again() {
    let setup = Setup::start(&["n1"]).await;
    setup.change("a", Mode::AllOrNothing).await.unwrap();
    let toy = &setup.nodes[0].toy;
    toy.break_on("validate", Fault::Refuse("the radio is broken"));
    toy.remove("a-radio0");
    setup.read("n1").await;
    let sync = eventually("the failure is told", || {
        Some(setup.network.sync("n1")).filter(|sync| sync.last_error.is_some())
    })
    .await;
    assert_eq!(
        (sync.in_sync, sync.drift.as_deref()),
        (Some(false), Some("missing: a-radio0"))
    );
    assert!(
        sync.last_error
            .unwrap()
            .contains("node n1 refused the validation: the radio is broken")
    );
    toy.repair();
    eventually("it is repaired", || {
        (toy.running() == ["a-radio0"]).then_some(())
    })
    .await;
    eventually("that is known", || {
        (setup.network.sync("n1").last_error.is_none()).then_some(())
    })
    .await;
    setup.stop().await;
}

#[tokio::test]
async fn a_node_that_is_away_refuses_a_change_or_gets_it_when_it_returns() {
    let mut setup = Setup::start(&["n1", "n2"]).await;
    let away = setup.nodes.remove(1).stop().await;
    eventually("n2 is away", || {
        let status = setup.network.fleet().device("n2")?.status();
        (status.state == DeviceState::Unreachable).then_some(())
    })
    .await;
    let failed = setup.change("a", Mode::AllOrNothing).await.unwrap_err();
    assert!(
        failed.starts_with("node n2 failed to connect: "),
        "{failed}"
    );
    assert!(setup.nodes[0].toy.running().is_empty());
    assert_eq!(setup.network.wanted("n1"), None);

    let done = setup.change("a", Mode::Queue).await.unwrap();
    assert_eq!(
        (done.confirmed, done.queued),
        (vec!["n1".to_owned()], vec!["n2".to_owned()])
    );
    assert_ne!(
        setup.network.sync("n2").in_sync,
        Some(true),
        "it has nothing of it yet"
    );
    let back = away.start().await;
    eventually("n2 has caught up", || {
        (back.toy.running() == ["a-radio0"]).then_some(())
    })
    .await;
    setup.stop().await;
}

#[tokio::test]
async fn a_node_lost_before_it_confirmed_is_repaired_when_it_returns() {
    let mut setup = Setup::start(&["n1", "n2"]).await;
    setup.nodes[1].toy.break_on("confirm", Fault::Die);
    let done = setup.change("a", Mode::AllOrNothing).await.unwrap();
    assert_eq!(
        (&*done.unconfirmed[0].node, done.confirmed),
        ("n2", vec!["n1".to_owned()])
    );
    // Its own time for the confirmation passes, and it undoes the commit.
    let lost = setup.nodes.remove(1).stop().await;
    lost.toy.expire();
    lost.toy.repair();
    assert!(lost.toy.running().is_empty());
    let back = lost.start().await;
    eventually("n2 is repaired", || {
        (back.toy.running() == ["a-radio0"]).then_some(())
    })
    .await;
    eventually("that is known", || {
        (setup.network.sync("n2").in_sync == Some(true)).then_some(())
    })
    .await;
    setup.stop().await;
}

#[tokio::test]
async fn what_is_wanted_without_having_been_put_there_is_put_there() {
    let setup = Setup::start(&["n1"]).await;
    setup.network.adopt(setup.plans("a"));
    eventually("n1 has it", || {
        (setup.nodes[0].toy.running() == ["a-radio0"]).then_some(())
    })
    .await;
    setup.stop().await;
}

#[tokio::test]
async fn a_node_that_hangs_in_a_repair_does_not_delay_a_change_of_another() {
    let setup = Setup::start(&["n1", "n2"]).await;
    setup.change("a", Mode::AllOrNothing).await.unwrap();
    let hung = &setup.nodes[0].toy;
    hung.break_on("validate", Fault::Slow(Duration::from_secs(3)));
    hung.remove("a-radio0");
    setup.read("n1").await;
    let validations = hung.count("validate");
    eventually("the repair hangs", || {
        (hung.count("validate") > validations).then_some(())
    })
    .await;
    let mut plans = setup.plans("a");
    plans.insert("n2".into(), plan("b"));
    let start = Instant::now();
    setup
        .network
        .change(plans, Mode::AllOrNothing, async { Ok(()) })
        .await
        .unwrap();
    assert!(
        start.elapsed() < Duration::from_millis(800),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(setup.nodes[1].toy.running(), ["b-radio0"]);
    setup.stop().await;
}
