//! Slices on a simulated cell: what is measured there is shown by the controller.

use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{Duration, sleep};

use crate::nodes::{Site, permit_all, slices, wait};

/// A node with a cell, its core and four UEs that send a packet each way every 20 ms.
pub(crate) async fn with_cell() -> Site {
    let site = Site::of(&[&permit_all()]).await;
    let ran = "<ran xmlns=\"urn:tranche:yang:tranche-ran\">\
               <cell><name>c1</name><rat>nr</rat><arfcn>632628</arfcn><bandwidth-prb>52</bandwidth-prb><tac>7</tac></cell>\
               <core><name>amf</name><kind>amf</kind><location>edge</location><address>127.0.0.1</address></core></ran>";
    let traffic = "<model>periodic</model><interval>20</interval><packet-size>200</packet-size>";
    let ues = format!(
        "<sim xmlns=\"urn:tranche:yang:tranche-sim\"><ue-group><name>g</name>\
         <first-imsi>001010000000001</first-imsi><count>4</count>\
         <down>{traffic}</down><up>{traffic}</up></ue-group></sim>"
    );
    site.edit(0, &format!("{ran}{ues}")).await;
    site
}

/// Slice `a` on that cell, as a network of PLMN 001-`mnc`.
pub(crate) fn on_cell(mnc: &str, admin_state: &str) -> Value {
    json!({
        "id": "a", "tenant": "a", "where": { "site": ["street"] },
        "ran": {
            "mcc": "001", "mnc": mnc, "sst": 1, "core": ["amf"], "admin-state": admin_state,
            "access": { "imsi-range": [{
                "first": format!("001{mnc}0000000001"), "last": format!("001{mnc}0000000099"),
            }] },
        },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn delays_that_nodes_measure_are_in_state_and_metrics() {
    let site = with_cell().await;
    let instance = site.controller(&site.inventory()).await;
    let body = slices(&[on_cell("01", "unlocked")]);
    let put = instance
        .send(Method::PUT, "tranche-slice:slices", &body)
        .await;
    assert_eq!(put.status(), 201);
    let measured = |cells: &Value| {
        let delays = ["delay-down", "delay-up", "delay-p99-down", "delay-p99-up"];
        delays
            .iter()
            .all(|leaf| cells[0][leaf].as_u64().is_some_and(|us| us > 0))
    };
    let cells = wait(
        &instance,
        "tranche-slice:slices/slice=a/state/cell",
        measured,
    )
    .await;
    // A packet waits for a TTI or two on an empty cell.
    let mean = cells[0]["delay-down"].as_u64().unwrap();
    assert!((100..10_000).contains(&mean), "{cells}");
    let sample =
        "tranche_slice_delay_mean_seconds{slice=\"a\",cell=\"node-1/c1\",direction=\"down\"} 0.00";
    for _ in 0..600 {
        let metrics = instance.get("/metrics").await.text().await.unwrap();
        if metrics.contains(sample) {
            assert!(metrics.contains("tranche_slice_delay_p99_seconds{slice=\"a\""));
            instance.stop().await;
            return site.agent.shutdown().await;
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("no delay in the metrics");
}
