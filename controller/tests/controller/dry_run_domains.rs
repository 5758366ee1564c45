//! What a dry run says of cells, steering and tunnels.

use reqwest::Method;
use serde_json::{Value, json};

use crate::backhaul::{one_hub, slice_with, three};
use crate::cells::{on_cell, with_cell};
use crate::dry_run::told;
use crate::nodes::{Site, permit_all, slice, slices, wait};
use crate::support::Instance;

const SLICES: &str = "tranche-slice:slices";

async fn dry(instance: &Instance, list: &[Value]) -> Value {
    let path = format!("{SLICES}?dry-run");
    told(instance.send(Method::PUT, &path, &slices(list)).await).await
}

async fn put(instance: &Instance, list: &[Value]) {
    let put = instance.send(Method::PUT, SLICES, &slices(list)).await;
    let status = put.status();
    assert!(
        status.is_success(),
        "{status}: {}",
        put.text().await.unwrap()
    );
}

/// A leaf of each entry of a list.
fn texts<'a>(list: &'a Value, leaf: &str) -> Vec<&'a str> {
    let entries = list.as_array().into_iter().flatten();
    entries.filter_map(|entry| entry[leaf].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_plmn_is_told_as_deleted_and_created_with_the_ues_that_lose_service() {
    let site = with_cell().await;
    let instance = site.controller(&site.inventory()).await;
    put(&instance, &[on_cell("01", "unlocked")]).await;
    let cell = "tranche-slice:slices/slice=a/state/cell";
    wait(&instance, cell, |cells| cells[0]["ues"] == 4).await;
    let told = dry(&instance, &[on_cell("02", "unlocked")]).await;
    let node = &told["node"][0];
    let warnings = texts(&node["plan"]["warning"], "message");
    assert_eq!(
        warnings,
        [
            "slice profile a-nr is deleted and created anew, PLMN 001-01, SST 1 becomes PLMN 001-02, SST 1: \
             4 UEs lose its service"
        ]
    );
    assert_eq!(texts(&node["refusal"], "error-app-tag"), ["has-ues"]);
    assert_eq!(
        texts(&node["refusal"], "error-path"),
        ["/tranche-ran:ran/slice-profile[name='a-nr']"]
    );
    assert_eq!(
        (&told["outcome"], &told["users-dropped"]),
        (&json!("refused"), &json!(4))
    );
    // To lock it in the same change is to say nothing before.
    let told = dry(&instance, &[on_cell("02", "locked")]).await;
    let refusal = &told["node"][0]["refusal"];
    assert_eq!(texts(refusal, "error-app-tag"), ["has-ues"], "{told}");
    // Locked first, as the refusal says, it is not refused; locking costs the same.
    let told = dry(&instance, &[on_cell("01", "locked")]).await;
    let plan = &told["node"][0]["plan"];
    assert_eq!(told["outcome"], "accepted", "{told}");
    assert_eq!(texts(&plan["warning"], "kind"), ["users-dropped"]);
    assert_eq!(plan["users-dropped"], 4);
    instance.stop().await;
    site.agent.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slice_leaves_a_cell_with_ues_only_after_it_was_locked() {
    let site = with_cell().await;
    let second = "<ran xmlns=\"urn:tranche:yang:tranche-ran\"><cell><name>c2</name><rat>nr</rat>\
                  <arfcn>640000</arfcn><bandwidth-prb>52</bandwidth-prb><tac>7</tac></cell></ran>";
    site.edit(0, second).await;
    let instance = site.controller(&site.inventory()).await;
    put(&instance, &[on_cell("01", "unlocked")]).await;
    let cell = "tranche-slice:slices/slice=a/state/cell";
    let attached = |cells: &Value| {
        let cells = cells.as_array().into_iter().flatten();
        cells.filter_map(|cell| cell["ues"].as_u64()).sum::<u64>() == 4
    };
    let cells = wait(&instance, cell, attached).await;
    let (with, without) = match cells[0]["ues"] == 4 {
        true => (&cells[0], &cells[1]),
        false => (&cells[1], &cells[0]),
    };
    assert_eq!((&with["ues"], &without["ues"]), (&json!(4), &json!(0)));
    let only = |cell: &Value, admin_state: &str| {
        let mut slice = on_cell("01", admin_state);
        slice["where"]["cell"] = json!([cell["name"]]);
        slice
    };
    let told = dry(&instance, &[only(with, "unlocked")]).await;
    assert_eq!(told["outcome"], "accepted", "{told}");
    let leaves = only(without, "unlocked");
    let body = slices(std::slice::from_ref(&leaves));
    let refused = instance.send(Method::PUT, SLICES, &body).await;
    assert!(!refused.status().is_success());
    let text = refused.text().await.unwrap();
    let words = format!(
        "slice profile a-nr has 4 UEs on cell {}: lock it before it leaves that cell",
        with["name"].as_str().unwrap()
    );
    assert!(text.contains(&words), "{text}");
    put(&instance, &[on_cell("01", "locked")]).await;
    put(&instance, &[only(without, "locked")]).await;
    put(&instance, &[leaves]).await;
    instance.stop().await;
    site.agent.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_is_never_reached_is_shown() {
    let site = Site::of(&[&permit_all()]).await;
    let instance = site.controller(&site.inventory()).await;
    let rule = |name: &str, of: Value| json!({ "name": name, "match": of, "forward": { "out-port": "core0" } });
    let mut steered = slice("a", "10.0");
    steered["steering"] = json!({ "rule": [
        rule("all", json!({ "in-port": "ran0" })),
        rule("one", json!({ "in-port": "ran0", "gtp": { "teid": 7 } })),
    ] });
    let told = dry(&instance, &[steered]).await;
    assert_eq!(told["outcome"], "accepted", "{told}");
    let warnings = &told["node"][0]["plan"]["warning"];
    assert_eq!(texts(warnings, "kind"), ["shadowed"]);
    assert_eq!(
        texts(warnings, "path"),
        ["/tranche-steering:steering/rule[name='a.one']"]
    );
    instance.stop().await;
    site.agent.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tunnels_are_planned_though_the_keys_of_their_peers_are_not_made_yet() {
    let site = three().await;
    let instance = site.controller(&site.inventory()).await;
    let wanted = slice_with("a", &["node-1", "node-2"], one_hub());
    let told = dry(&instance, &[wanted]).await;
    assert_eq!(told["outcome"], "accepted", "{told}");
    let nodes = told["node"].as_array().unwrap();
    assert_eq!(nodes.len(), 3);
    for node in nodes {
        let edit = node["edit-config"].as_str().unwrap();
        assert!(edit.contains("<slice>a</slice>"), "{edit}");
        assert!(!edit.contains("<peer"), "no key is known: {edit}");
        let steps = texts(&node["plan"]["step"], "domain");
        assert!(steps.contains(&"backhaul"), "{node}");
        let note = node["note"][0].as_str().unwrap();
        assert!(note.contains("once their keys are known"), "{note}");
    }
    assert!(!site.running(2).await.contains("<tunnel>"));
    instance.stop().await;
    site.agent.shutdown().await;
}
