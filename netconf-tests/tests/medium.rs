//! Two nodes on one channel without a controller, told by NETCONF and watched over NETCONF: the local schedulers cannot keep
//! a promise that spans nodes, and obey a correction.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::Duration;

use tranche_netconf::message::{
    Datastore, DefaultOperation, EditConfig, ErrorOption, Operation, TestOption,
};
use tranche_netconf::xml::Fragment;
use tranche_tests::stack::{Setup, Stack};
use tranche_tests::telemetry::{Reports, connect};

const WIFI: &str = "urn:tranche:yang:tranche-wifi";

async fn edit(stack: &Stack, node: usize, xml: String) {
    let (client, _) = connect(&stack.nodes[node], "admin", &stack.password)
        .await
        .unwrap();
    let edit = EditConfig {
        target: Datastore::Running,
        default_operation: DefaultOperation::Merge,
        test_option: TestOption::TestThenSet,
        error_option: ErrorOption::RollbackOnError,
        config: Fragment::from_trusted(xml),
    };
    client.edit_config(&edit).await.unwrap();
}

async fn ceiling(stack: &Stack, node: usize, percent: f64) {
    let (client, _) = connect(&stack.nodes[node], "admin", &stack.password)
        .await
        .unwrap();
    let xml = format!(
        "<correct-airtime xmlns=\"{WIFI}\"><lifetime>60</lifetime><vif><name>v1</name>\
         <max-ratio>{percent:.2}</max-ratio></vif></correct-airtime>"
    );
    let operation = Operation::Other {
        namespace: WIFI.to_owned(),
        name: "correct-airtime".to_owned(),
        element: Fragment::from_trusted(xml),
    };
    client.call(operation).await.unwrap();
}

/// Percent of the time that each node's tenant sent, over the next `count` reports after one that is not looked at.
async fn used(reports: &mut [Reports], count: usize) -> Vec<f64> {
    let mut all = Vec::new();
    for node in reports {
        node.next().await.unwrap();
        let (mut sum, mut last) = (0.0, None);
        for _ in 0..count {
            let report = node.next().await.unwrap();
            assert!(
                last.is_none_or(|last| report.sequence == last + 1),
                "{report:?} after {last:?}"
            );
            last = Some(report.sequence);
            sum += report.vifs.iter().map(|vif| vif.used).sum::<f64>();
        }
        all.push(sum / f64::from(u32::try_from(count).unwrap()));
    }
    all
}

#[tokio::test]
async fn neighbours_share_the_channel_evenly_until_one_is_told_otherwise() {
    let stack = Stack::start(Setup::figure_21().without_controller())
        .await
        .unwrap();
    let mut reports = Vec::new();
    for (node, tenant, ratio) in [(0, "tenant-a", 30), (1, "tenant-b", 70)] {
        edit(
            &stack,
            node,
            format!(
                "<wifi xmlns=\"{WIFI}\"><telemetry><interval>500</interval></telemetry><vif><name>v1</name>\
                 <radio>phy0</radio><slice>{tenant}</slice><access-point><ssid>{tenant}</ssid><security><mode>open</mode>\
                 </security></access-point><airtime><min-ratio>{ratio}</min-ratio></airtime></vif></wifi>"
            ),
        )
        .await;
        let observer = &stack.observer_password;
        reports.push(
            Reports::subscribe(&stack.nodes[node], "observer", observer)
                .await
                .unwrap(),
        );
    }
    tokio::time::sleep(Duration::from_secs(1)).await;

    let even = used(&mut reports, 8).await;
    let all: f64 = even.iter().sum();
    assert!(all > 70.0 && all <= 100.0, "a saturated channel: {even:?}");
    assert!(
        (even[0] / all - 0.5).abs() < 0.03,
        "the local minimum knows nothing of a neighbour: {even:?}"
    );

    ceiling(&stack, 0, 0.3 * all).await;
    let told = used(&mut reports, 8).await;
    let all: f64 = told.iter().sum();
    assert!(
        (told[0] / all - 0.3).abs() < 0.03,
        "A keeps to its ceiling and B takes the rest: {told:?}"
    );
}
