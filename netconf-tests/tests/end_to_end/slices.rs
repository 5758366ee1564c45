//! Slices that are in order.

use super::*;

#[tokio::test]
async fn slices_become_access_points_at_every_node_and_go_again() {
    let stack = start(Layout::Shared).await;
    create(&stack).await;
    for node in 0..2 {
        until_up(&stack, node).await;
    }
    let state = eventually("slice state active", SOON, async || {
        let body = stack
            .restconf()
            .get(&format!("{SLICES}/slice=tenant-a/state"))
            .await?;
        let state = body["tranche-slice:state"].clone();
        Ok(if state["oper-state"] == "active" {
            Ok(state)
        } else {
            Err(state.to_string())
        })
    })
    .await
    .unwrap();
    assert_eq!(
        state["access-point"].as_array().map(Vec::len),
        Some(2),
        "{state}"
    );

    let gone = stack
        .restconf()
        .demand(Method::DELETE, &format!("{SLICES}/slice=tenant-a"), None)
        .await;
    assert_eq!(gone.unwrap().status, 204);
    for node in 0..2 {
        assert_eq!(vifs(&stack, node).await, &up()[1..], "node {node}");
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_the_death_of_everything() {
    let mut stack = start(Layout::Separate).await;
    create(&stack).await;
    let before = [running(&stack, 0).await, running(&stack, 1).await];
    stack.kill_controller();
    stack.kill_agent(0);
    stack.kill_agent(1);
    stack.restart_agent(0).await.unwrap();
    stack.restart_agent(1).await.unwrap();
    stack.restart_controller().await.unwrap();
    stack.connected().await.unwrap();
    for (node, before) in before.iter().enumerate() {
        until_up(&stack, node).await;
        assert_eq!(&running(&stack, node).await, before);
        until_node(&stack, node, "in sync", |state| state["in-sync"] == true).await;
    }
    let kept = stack
        .restconf()
        .get(&format!("{SLICES}?content=config"))
        .await
        .unwrap();
    let ids = kept["tranche-slice:slices"]["slice"]
        .as_array()
        .unwrap()
        .iter();
    assert_eq!(
        ids.map(|s| s["id"].clone()).collect::<Vec<_>>(),
        ["tenant-a", "tenant-b"]
    );
}

#[tokio::test]
async fn an_edit_from_an_old_view_is_refused() {
    let stack = start(Layout::Shared).await;
    create(&stack).await;
    let path = format!("{SLICES}/slice=tenant-a");
    let seen = stack
        .restconf()
        .demand(Method::GET, &path, None)
        .await
        .unwrap();
    let etag = seen.etag.expect("an entity tag (RFC 8040 3.5.2)");
    let body = json!({"tranche-slice:slice": [{"id": "tenant-a", "description": "changed"}]});
    let changed = stack
        .restconf()
        .request_if_match(Method::PATCH, &path, Some(&body), &etag)
        .await;
    assert!(changed.unwrap().is_success());
    let again = stack
        .restconf()
        .request_if_match(Method::PATCH, &path, Some(&body), &etag)
        .await;
    assert_eq!(again.unwrap().status, 412);
}

#[tokio::test]
async fn the_login_guards_everything_but_the_page() {
    let stack = start(Layout::Shared).await;
    // Fewer than the failures that an address may make in a minute.
    for (user, password, method, path) in [
        ("admin", "wrong", Method::GET, "/data"),
        (
            "nobody",
            stack.password.as_str(),
            Method::GET,
            "/data/ietf-yang-library:yang-library",
        ),
        ("admin", "", Method::GET, "/operations"),
        ("admin", "wrong", Method::PUT, SLICES),
    ] {
        let stranger = stack.restconf().login(user, password);
        let body = (method == Method::PUT).then(figure_21::slices);
        let answer = stranger.request(method, path, body.as_ref()).await.unwrap();
        assert_eq!(answer.status, 401, "{user} {path}: {}", answer.body);
        assert_eq!(
            answer.tag(),
            Some("access-denied"),
            "{user} {path}: {}",
            answer.body
        );
    }
    let page = reqwest::get(stack.page()).await.unwrap();
    assert_eq!(page.status(), 200);
    assert!(page.text().await.unwrap().contains("<html"));
    assert_eq!(vifs(&stack, 0).await, []);
}

#[tokio::test]
async fn who_guesses_passwords_has_to_wait() {
    let stack = start(Layout::Shared).await;
    let stranger = stack.restconf().login("admin", "guess");
    let mut answers = Vec::new();
    for _ in 0..30 {
        answers.push(
            stranger
                .request(Method::GET, "/data", None)
                .await
                .unwrap()
                .status,
        );
    }
    assert!(answers.starts_with(&[401, 401, 401]), "{answers:?}");
    assert!(answers.ends_with(&[429, 429, 429]), "{answers:?}");
}
