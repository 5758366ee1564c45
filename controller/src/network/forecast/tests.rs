use std::time::Duration;

use super::*;
use crate::device::{DeviceState, Fleet};
use crate::network::Mode;
use crate::rollout::RolloutSettings;
use crate::rollout::tests::plan;
use crate::toy::{Fault, ToyNode, eventually, quick};

/// Operations that a node may have heard of after a dry run.
const HARMLESS: [&str; 4] = ["get", "create-subscription", "plan", "close-session"];

struct Setup {
    nodes: Vec<ToyNode>,
    network: Network,
}

impl Setup {
    /// Nodes that have slice `a`.
    async fn start(names: &[&str]) -> Self {
        let mut nodes = Vec::new();
        for name in names {
            nodes.push(ToyNode::start(name).await);
        }
        let fleet = Fleet::new(quick());
        fleet.configure(nodes.iter().map(|node| node.config.clone()));
        let settings = RolloutSettings {
            rpc_timeout: Duration::from_secs(1),
            ..RolloutSettings::default()
        };
        let setup = Self {
            nodes,
            network: Network::new(fleet, settings),
        };
        for name in names {
            setup.reaches(name, DeviceState::Connected).await;
        }
        let kept = async { Ok(()) };
        let has = setup.plans("a");
        let done = setup.network.change(has, Mode::AllOrNothing, kept).await;
        assert_eq!(done.unwrap().confirmed.len(), names.len());
        for node in &setup.nodes {
            node.toy.log.lock().unwrap().clear();
        }
        setup
    }

    async fn reaches(&self, node: &str, state: DeviceState) {
        eventually("the state", || {
            let status = self.network.fleet().device(node)?.status();
            (status.state == state).then_some(())
        })
        .await;
    }

    fn plans(&self, slice: &str) -> BTreeMap<NodeName, NodePlan> {
        let nodes = self.nodes.iter().map(|node| node.config.node.clone());
        nodes.map(|node| (node, plan(slice))).collect()
    }

    /// Asks for slice `b` in the place of `a`, and sees to it that nothing comes of it.
    async fn forecast(&self) -> Vec<NodeForecast> {
        let wanted: Vec<_> = self.nodes.iter().map(|n| self.wanted(n)).collect();
        let told = self.network.forecast(&self.plans("b")).await;
        for (node, wanted) in self.nodes.iter().zip(wanted) {
            let toy = &node.toy;
            assert_eq!(toy.running(), ["a-radio0"]);
            assert!(!toy.candidate_differs() && !toy.is_locked() && !toy.has_unconfirmed());
            let log = toy.log.lock().unwrap().clone();
            assert!(
                log.iter().all(|name| HARMLESS.contains(&&**name)),
                "{log:?}"
            );
            assert_eq!(self.wanted(node), wanted);
        }
        told
    }

    fn wanted(&self, node: &ToyNode) -> Option<Arc<NodePlan>> {
        self.network.wanted(&node.config.node)
    }
}

fn edit(forecast: &NodeForecast) -> &str {
    forecast.edit.as_ref().unwrap().as_str()
}

#[tokio::test]
async fn every_node_says_what_it_would_do_with_what_it_would_get() {
    let setup = Setup::start(&["n1", "n2"]).await;
    let told = setup.forecast().await;
    assert_eq!(told.len(), 2);
    for forecast in &told {
        let Answer::Planned(planned) = &forecast.answer else {
            panic!("{forecast:?}");
        };
        let actions: Vec<&str> = planned.steps.iter().map(|s| s.action.as_str()).collect();
        assert_eq!(actions, ["remove a-radio0", "replace b-radio0"]);
        assert!(forecast.failures().is_empty());
    }
    // It is the edit that the change sends.
    let kept = async { Ok(()) };
    let done = setup
        .network
        .change(setup.plans("b"), Mode::AllOrNothing, kept);
    assert_eq!(done.await.unwrap().confirmed.len(), 2);
    assert_eq!(setup.nodes[0].toy.running(), ["b-radio0"]);
    let put = setup.nodes[0].toy.vif("b-radio0");
    assert!(edit(&told[0]).contains(&put), "{put}");
    assert_eq!(setup.network.forecast(&setup.plans("b")).await.len(), 0);
}

#[tokio::test]
async fn a_node_that_refuses_is_told_in_its_words_and_one_that_cannot_plan_as_such() {
    let setup = Setup::start(&["n1", "n2"]).await;
    setup.nodes[0]
        .toy
        .break_on("plan", Fault::Refuse("the radio is full"));
    let told = setup.forecast().await;
    let [failure] = &told[0].failures()[..] else {
        panic!("{told:?}");
    };
    assert_eq!(
        failure.errors[0].path.as_deref(),
        Some("/tranche-wifi:wifi")
    );
    assert_eq!(
        failure.to_string(),
        "node n1 refused the validation: the radio is full (at /tranche-wifi:wifi)"
    );
    assert!(matches!(told[1].answer, Answer::Planned(_)));
    assert!(edit(&told[0]).contains("b-radio0"));
    let not_known = RpcError::new(
        ErrorTag::OperationNotSupported,
        "there is no such operation",
    );
    let error = DeviceError::Netconf {
        node: "n1".into(),
        source: Error::Rpc(vec![not_known]),
    };
    assert!(matches!(
        answer(&"n1".into(), Err(error)),
        Answer::CannotPlan(_)
    ));
}

#[tokio::test]
async fn a_node_that_dies_in_the_middle_is_away_and_what_it_would_get_is_still_told() {
    let setup = Setup::start(&["n1", "n2"]).await;
    setup.nodes[1].toy.break_on("plan", Fault::Die);
    let told = setup.forecast().await;
    assert!(matches!(told[0].answer, Answer::Planned(_)));
    assert!(matches!(told[1].answer, Answer::Away(_)), "{told:?}");
    assert!(edit(&told[1]).contains("b-radio0"));
    assert_eq!(told[1].failures()[0].node, "n2");
    // From now on it is away from the beginning.
    setup.reaches("n2", DeviceState::Unreachable).await;
    let told = setup.forecast().await;
    assert!(matches!(told[1].answer, Answer::Away(_)), "{told:?}");
    assert!(edit(&told[1]).contains("b-radio0"));
}
