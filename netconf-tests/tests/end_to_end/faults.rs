//! Nodes that are away, that die in the middle of a transaction, or that are somebody else.

use tranche_tests::figure_21::CONTROLLER;
use tranche_tests::proxy::Line;

use super::*;

#[tokio::test]
async fn a_node_that_is_away_is_named_and_nothing_changes() {
    let mut stack = start(Layout::Separate).await;
    stack.kill_agent(1);
    let before = running(&stack, 0).await;
    let start = tokio::time::Instant::now();
    let answer = put_slices(&stack, &figure_21::slices()).await;
    assert!(!answer.is_success(), "{}", answer.status);
    assert!(answer.message().contains("node-2"), "{}", answer.message());
    assert!(
        start.elapsed() < SOON,
        "it took {:?} to say so",
        start.elapsed()
    );
    assert_eq!(running(&stack, 0).await, before);
    let kept = stack
        .restconf()
        .request(Method::GET, &format!("{SLICES}?content=config"), None)
        .await
        .unwrap();
    assert!(!kept.body.to_string().contains("tenant-a"), "{}", kept.body);
    // No lock is left at the other node.
    let client = admin(&stack, 0).await;
    for datastore in [Datastore::Candidate, Datastore::Running] {
        client.lock(datastore).await.unwrap();
        client.unlock(datastore).await.unwrap();
    }

    until_node(&stack, 1, "unreachable", |state| {
        state["oper-state"] == "unreachable"
    })
    .await;
    stack.restart_agent(1).await.unwrap();
    stack.connected().await.unwrap();
    create(&stack).await;
    until_up(&stack, 1).await;
}

/// The line to the second node is slow, so that the first has committed long before the confirmation can be sent: then it dies.
/// A confirmed commit only approximates one transaction; what matters is that it is said, and mended.
#[tokio::test]
async fn a_node_that_dies_between_commit_and_confirmation_is_reported_and_mended() {
    let mut setup = Setup::figure_21().layout(Layout::Separate);
    setup.controller_config = "[nodes]\nconfirm-timeout-ms = 10000\n".to_owned();
    let mut stack = start_with(setup).await;
    let slow = Line::Delayed(Duration::from_millis(500));
    stack.nodes[1].line.as_ref().unwrap().set(slow);
    let client = admin(&stack, 0).await;
    let restconf = stack.restconf().clone();
    let request = tokio::spawn(async move {
        restconf
            .request(Method::PUT, SLICES, Some(&figure_21::slices()))
            .await
            .unwrap()
    });
    eventually("the commit at the first node", SOON, async || {
        let config = client
            .get_config(Datastore::Running, subtree("wifi", WIFI), None)
            .await;
        let config = config.unwrap().as_str().to_owned();
        Ok(if config.contains("tenant-a") {
            Ok(())
        } else {
            Err(config)
        })
    })
    .await
    .unwrap();
    assert!(
        !request.is_finished(),
        "the line is not slow enough for this test to mean anything"
    );
    stack.kill_agent(0);
    let answer = request.await.unwrap();
    let text = format!("{} {}", answer.status, answer.body);
    stack.nodes[1]
        .line
        .as_ref()
        .unwrap()
        .set(Line::Delayed(Duration::ZERO));

    // Either all was taken back, or the slices stand and the node is said to lack them. In both cases the answer or the
    // state of the slices names the node.
    let slices = stack.restconf().get(SLICES).await.unwrap().to_string();
    assert!(
        text.contains("node-1") || slices.contains("node-1"),
        "{text}\n{slices}"
    );
    stack.restart_agent(0).await.unwrap();
    stack.connected().await.unwrap();
    if answer.is_success() {
        for node in 0..2 {
            until_up(&stack, node).await;
        }
    } else {
        for node in 0..2 {
            eventually("the change is taken back", SOON, async || {
                let config = running(&stack, node).await;
                Ok(if config.contains("tenant-a") {
                    Err(config)
                } else {
                    Ok(())
                })
            })
            .await
            .unwrap();
        }
    }
    for node in 0..2 {
        until_node(&stack, node, "in sync", |state| state["in-sync"] == true).await;
    }
}

#[tokio::test]
async fn a_node_with_another_host_key_is_not_talked_to() {
    let setup = Setup::figure_21();
    let controller = CONTROLLER.replace(
        "@node-2.host-key@",
        "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    );
    assert_ne!(controller, CONTROLLER);
    let stack = Stack::start(Setup {
        controller: Some(controller),
        ..setup
    })
    .await
    .unwrap();
    let state = until_node(&stack, 1, "refused", |state| {
        state["oper-state"] == "refused"
    })
    .await;
    let reason = state["last-error"].as_str().unwrap_or_default();
    assert!(
        reason.contains("host key") && reason.contains(&stack.nodes[1].host_key),
        "{state}"
    );
    until_node(&stack, 0, "connected", |state| {
        state["oper-state"] == "connected"
    })
    .await;
    let before = running(&stack, 0).await;
    let answer = put_slices(&stack, &figure_21::slices()).await;
    assert!(
        !answer.is_success() && answer.message().contains("node-2"),
        "{} {}",
        answer.status,
        answer.body
    );
    assert_eq!(running(&stack, 0).await, before);
}
