//! Operations that are asked for at the same time.

use reqwest::Method;
use serde_json::{Value, json};

use crate::backhaul::{put, slice_with, three};
use crate::backhaul_operations::call;

#[tokio::test(flavor = "multi_thread")]
async fn of_two_paths_for_one_slice_at_once_the_second_is_refused() {
    let site = three().await;
    let instance = site.controller(&site.inventory()).await;
    let mut plain = slice_with("a", &["node-1"], json!({}));
    plain.as_object_mut().unwrap().remove("backhaul");
    put(&instance, &[plain]).await;
    let path = "/restconf/operations/tranche-slice:encrypt-path";
    let ask = |pool: &str| {
        let input = json!({ "slice": "a", "from": "node-1", "to": "node-2", "pool": pool });
        call(&instance, path, json!({ "tranche-slice:input": input }))
    };
    let both = tokio::join!(ask("10.1.0.0/24"), ask("10.2.0.0/24"));
    let ((done, output), (refused, refusal)) = match both {
        (one @ (200, _), other) | (other, one) => (one, other),
    };
    assert_eq!((done, refused), (200, 409), "{output} {refusal}");
    let refusal = &refusal["ietf-restconf:errors"]["error"][0];
    assert_eq!(refusal["error-tag"], "data-exists");
    let path = "/restconf/data/tranche-slice:slices/slice=a/backhaul?content=config";
    let shown = instance.request(Method::GET, path).send().await.unwrap();
    let shown: Value = shown.json().await.unwrap();
    let backhaul = &shown["tranche-slice:backhaul"];
    assert_eq!(backhaul["pool"], output["tranche-slice:output"]["pool"]);
    instance.stop().await;
    site.agent.shutdown().await;
}
