//! Slices over Wi-Fi and cells: two nodes with a radio each, of which the second has an LTE and an NR cell.

use super::*;

const RAN: &str = "urn:tranche:yang:tranche-ran";

/// The scene of figure 21 with cells, cores and UEs at the second node.
fn setup(layout: Layout) -> Setup {
    let mut setup = Setup::figure_21().layout(layout);
    let mut node: Value = serde_json::from_str(&setup.nodes[1]).unwrap();
    let core = |name: &str, kind: &str, location: &str, host: u8| json!({"name": name, "kind": kind, "location": location, "address": format!("192.0.2.{host}")});
    node["tranche-ran:ran"] = json!({
        "cell": [
            {"name": "lte1", "rat": "lte", "arfcn": 1300, "bandwidth-prb": 50, "tac": 7},
            {"name": "nr1", "rat": "nr", "arfcn": 632628, "bandwidth-prb": 52, "tac": 7},
        ],
        "core": [
            core("mme-edge", "mme", "edge", 10),
            core("amf-edge", "amf", "edge", 11),
            core("amf-dc", "amf", "data-centre", 12),
        ],
        "failover": {"hold-down": 1},
    });
    node["tranche-sim:sim"]["ue-group"] = json!([{
        "name": "cams", "first-imsi": "001010000000001", "count": 4, "cell": "nr1",
        "down": {"model": "full-buffer"},
    }]);
    setup.nodes[1] = node.to_string();
    setup
}

/// A slice on both radios and on the NR cell, owed part of each.
fn spanning(airtime: &str, prb: &str) -> Value {
    let mut both = slice("cams", airtime);
    both["sla"]["prb"] = json!({"down": {"min-ratio": prb}, "up": {"min-ratio": prb}});
    both["ran"] = json!({
        "rat": "nr", "mcc": "001", "mnc": "01", "sst": 1, "core": ["amf-edge", "amf-dc"],
        "access": {"imsi-range": [{"first": "001010000000001", "last": "001010000000099"}]},
    });
    both
}

async fn ran(stack: &Stack) -> Element {
    let client = admin(stack, 1).await;
    let data = client.get(subtree("ran", RAN), None).await.unwrap();
    let tops = data.elements().unwrap();
    tops.into_iter().find(|top| top.name == "ran").unwrap()
}

/// The configuration of both nodes and of the controller, RAN included.
async fn all(stack: &Stack) -> Vec<String> {
    let client = admin(stack, 1).await;
    let cells = client
        .get_config(Datastore::Running, subtree("ran", RAN), None)
        .await
        .unwrap();
    let mut all = everything(stack).await;
    all.push(cells.as_str().to_owned());
    all
}

async fn until_slice(stack: &Stack, what: &str, good: impl Fn(&Value) -> bool) -> Value {
    eventually(what, SOON, async || {
        let path = format!("{SLICES}/slice=cams/state");
        let mut body = stack.restconf().get(&path).await?;
        let state = body["tranche-slice:state"].take();
        Ok(if good(&state) {
            Ok(state)
        } else {
            Err(state.to_string())
        })
    })
    .await
    .unwrap()
}

fn is(state: &Value, oper_state: &str) -> bool {
    state["oper-state"] == oper_state
}

#[tokio::test]
async fn a_slice_over_wifi_and_a_cell_comes_changes_and_goes_as_one() {
    let stack = start_with(setup(Layout::Shared)).await;
    let answer = put_slices(&stack, &slices(&[spanning("30", "40")])).await;
    assert!(answer.is_success(), "{}", answer.message());
    let state = until_slice(&stack, "active on both", |state| {
        is(state, "active") && state["cell"][0]["ues"] == 4
    })
    .await;
    assert_eq!(state["access-point"].as_array().map(Vec::len), Some(2));
    let cell = &state["cell"][0];
    let named = [
        "node",
        "name",
        "profile",
        "rat",
        "oper-state",
        "active-core",
    ];
    assert_eq!(
        named.map(|leaf| cell[leaf].as_str().unwrap_or_default()),
        ["node-2", "nr1", "cams-nr", "nr", "active", "amf-edge"]
    );
    let profile = ran(&stack).await;
    let min = |ran: &Element| {
        let min = ran.descendant(&["slice-profile", "rrm-policy", "min-ratio"]);
        min.map(|min| min.text.clone())
    };
    assert_eq!(min(&profile).as_deref(), Some("40.0"));
    let node = node_state(&stack, 1).await;
    let cells = node["cell"].as_array().unwrap();
    let nr = cells.iter().find(|cell| cell["name"] == "nr1").unwrap();
    assert_eq!(
        (&nr["unpromised-down"], &nr["plmns"], &nr["max-plmns"]),
        (&json!("60.0"), &json!(1), &json!(12))
    );
    assert_eq!(node["radio"][0]["unpromised"], "70.0", "{node}");

    // Hot: the four UEs stay.
    let answer = put_slices(&stack, &slices(&[spanning("20", "55")])).await;
    assert!(answer.is_success(), "{}", answer.message());
    let after = ran(&stack).await;
    assert_eq!(min(&after).as_deref(), Some("55.0"));
    let ues = after.descendant(&["slice-profile", "state", "ues"]);
    assert_eq!(ues.map(|ues| ues.text.as_str()), Some("4"));

    // With UEs it is not taken away, here or there.
    let before = all(&stack).await;
    let path = format!("{SLICES}/slice=cams");
    let refused = stack.restconf().request(Method::DELETE, &path, None).await;
    let refused = refused.unwrap();
    assert!(!refused.is_success());
    let words = "slice profile cams-nr has 4 UEs: lock it before it is deleted";
    assert!(refused.message().contains(words), "{}", refused.message());
    assert_eq!(all(&stack).await, before);

    // Nor does it get another PLMN unannounced, and who asks is told what that would take.
    let ran_path = format!("{path}/ran");
    let other = json!({"tranche-slice:ran": {
        "mnc": "02",
        "access": {"imsi-range": [{"first": "001010000000001", "roaming": true}]},
    }});
    let refused = stack
        .restconf()
        .request(Method::PATCH, &ran_path, Some(&other));
    let refused = refused.await.unwrap();
    let words = "slice profile cams-nr has 4 UEs, and another PLMN or S-NSSAI deletes it and creates it anew";
    assert!(refused.message().contains(words), "{}", refused.message());
    assert_eq!(all(&stack).await, before);

    let lock = json!({"tranche-slice:ran": {"admin-state": "locked"}});
    let locked = stack
        .restconf()
        .demand(Method::PATCH, &ran_path, Some(&lock));
    locked.await.unwrap();
    until_slice(&stack, "locked on the cell, active on Wi-Fi", |state| {
        is(state, "active") && state["cell"][0]["oper-state"] == "disabled"
    })
    .await;
    let gone = stack.restconf().demand(Method::DELETE, &path, None).await;
    assert_eq!(gone.unwrap().status, 204);
    assert!(ran(&stack).await.child("slice-profile").is_none());
    for node in 0..2 {
        assert_eq!(vifs(&stack, node).await, []);
    }
}

#[tokio::test]
async fn what_a_cell_cannot_carry_leaves_wifi_untouched_and_the_other_way_round() {
    let stack = start_with(setup(Layout::Shared)).await;
    let answer = put_slices(&stack, &slices(&[spanning("30", "40")])).await;
    assert!(answer.is_success(), "{}", answer.message());
    let before = all(&stack).await;
    let other = |airtime: &str, prb: &str| {
        let mut other = spanning(airtime, prb);
        other["id"] = json!("other");
        other["wifi"]["ssid"] = json!("other");
        other["ran"]["mnc"] = json!("02");
        other["ran"]["access"] = json!({});
        other
    };
    let too_much = other("30", "60.01");
    let mut overlap = other("30", "10");
    overlap["ran"]["access"]["imsi-range"] = json!([
        {"first": "001010000000007", "last": "001010000000007", "roaming": true},
    ]);
    let mut unknown_core = other("30", "10");
    unknown_core["ran"]["core"] = json!(["amf-9"]);
    let at = "/tranche-slice:slices/slice[id='other']";
    for (slice, tag, app_tag, path) in [
        (
            too_much,
            "resource-denied",
            "ratio-sum",
            "/sla/prb/down/min-ratio",
        ),
        (
            other("70.01", "10"),
            "resource-denied",
            "ratio-sum",
            "/sla/airtime/min-ratio",
        ),
        (
            overlap,
            "invalid-value",
            "imsi-overlap",
            "/ran/access/imsi-range[first='001010000000007']",
        ),
        (
            unknown_core,
            "data-missing",
            "unknown-core",
            "/ran/core[.='amf-9']",
        ),
    ] {
        let answer = put_slices(&stack, &slices(&[spanning("30", "40"), slice])).await;
        let error = &answer.body["ietf-restconf:errors"]["error"][0];
        assert_eq!(
            (&error["error-tag"], &error["error-app-tag"]),
            (&json!(tag), &json!(app_tag)),
            "{}",
            answer.body
        );
        let path = format!("{at}{path}");
        assert_eq!(error["error-path"].as_str(), Some(&*path));
        assert_eq!(all(&stack).await, before, "{app_tag}");
    }
}

#[tokio::test]
async fn a_refusal_of_a_node_takes_back_what_the_other_technology_got() {
    let stack = start_with(setup(Layout::Shared)).await;
    let before = all(&stack).await;
    let words = "the baseband is being updated";
    let remove = "xmlns:nc=\"urn:ietf:params:xml:ns:netconf:base:1.0\" nc:operation=\"remove\"";
    let radio = |refuse: &str| format!("<radio><name>phy0</name>{refuse}</radio>");
    // The cells of the second node, then the radio of the first.
    for (node, refuse, relent) in [
        (
            1,
            format!("<ran-refuse>{words}</ran-refuse>"),
            format!("<ran-refuse {remove}/>"),
        ),
        (
            0,
            radio(&format!("<refuse>{words}</refuse>")),
            radio(&format!("<refuse {remove}/>")),
        ),
    ] {
        let sim = |content: &str| format!("<sim xmlns=\"{SIM}\">{content}</sim>");
        edit_running(&stack, node, &sim(&refuse)).await;
        let answer = put_slices(&stack, &slices(&[spanning("30", "40")])).await;
        assert!(!answer.is_success());
        let message = answer.message();
        let name = format!("node-{}", node + 1);
        assert!(
            message.contains(&name) && message.contains(words),
            "{message}"
        );
        assert_eq!(all(&stack).await, before);
        for node in 0..2 {
            assert_eq!(vifs(&stack, node).await, []);
        }
        edit_running(&stack, node, &sim(&relent)).await;
    }
    let answer = put_slices(&stack, &slices(&[spanning("30", "40")])).await;
    assert!(answer.is_success(), "{}", answer.message());
}

#[tokio::test]
async fn a_core_that_does_not_answer_degrades_the_slice_and_fails_no_commit() {
    let stack = start_with(setup(Layout::Shared)).await;
    let behave = |core: &str, behaviour: &str| {
        format!(
            "<sim xmlns=\"{SIM}\"><core><name>{core}</name><behaviour>{behaviour}</behaviour></core></sim>"
        )
    };
    for core in ["amf-edge", "amf-dc"] {
        edit_running(&stack, 1, &behave(core, "vanish")).await;
    }
    let answer = put_slices(&stack, &slices(&[spanning("30", "40")])).await;
    assert!(answer.is_success(), "{}", answer.message());
    let state = until_slice(&stack, "degraded, with a cause", |state| {
        is(state, "degraded") && state["cell"][0]["oper-state"] == "degraded"
    })
    .await;
    let cause = state["cell"][0]["cause"].as_str().unwrap_or_default();
    assert!(!cause.is_empty(), "{state}");
    let message = state["message"].as_str().unwrap_or_default();
    assert!(message.contains("cell nr1 is degraded"), "{state}");
    assert_eq!(state["cell"][0]["active-core"], Value::Null, "{state}");

    // The one in the data centre comes back, then the one that is preferred.
    for core in ["amf-dc", "amf-edge"] {
        edit_running(&stack, 1, &behave(core, "accept")).await;
        until_slice(&stack, core, |state| {
            is(state, "active") && state["cell"][0]["active-core"] == core
        })
        .await;
    }
}

#[tokio::test]
async fn nothing_is_called_active_that_the_node_does_not_have() {
    let stack = start_with(setup(Layout::Shared)).await;
    let answer = put_slices(&stack, &slices(&[spanning("30", "40")])).await;
    assert!(answer.is_success(), "{}", answer.message());
    until_slice(&stack, "active", |state| is(state, "active")).await;
    // Somebody else changes it behind the controller's back, and it is put right.
    edit_running(
        &stack,
        1,
        &format!(
            "<ran xmlns=\"{RAN}\"><slice-profile><name>cams-nr</name><max-ues>7</max-ues></slice-profile></ran>"
        ),
    )
    .await;
    eventually("the change of somebody else is undone", SOON, async || {
        let ran = ran(&stack).await;
        let max = ran.descendant(&["slice-profile", "max-ues"]);
        Ok(max.map_or(Ok(()), |max| Err(max.text.clone())))
    })
    .await
    .unwrap();
    // A cell that is out of service is said to be, at once.
    edit_running(
        &stack,
        1,
        &format!("<ran xmlns=\"{RAN}\"><cell><name>nr1</name><admin-state>locked</admin-state></cell></ran>"),
    )
    .await;
    let state = until_slice(&stack, "down with its cell", |state| {
        is(state, "degraded") && state["cell"][0]["oper-state"] == "down"
    })
    .await;
    assert_eq!(state["access-point"].as_array().map(Vec::len), Some(2));
}
