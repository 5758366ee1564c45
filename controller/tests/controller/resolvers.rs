//! Resolvers of two slices at one node: who is told apart, and who is refused.

use reqwest::Method;
use serde_json::{Value, json};
use tranche_netconf::Error;
use tranche_netconf::error::ErrorTag;

use crate::nodes::slices;
use crate::steering::{descriptor, onboard, put, rules, steered, two};
use crate::support::error;

/// A slice with a resolver at 10.53.0.1 for these clients, and the way back of what its application `app-ID` answers.
fn answering(id: &str, client: &str, teid: u32) -> Value {
    let tunnel = json!({ "teid": teid, "local-address": "10.0.0.1", "peer-address": "10.0.0.2" });
    let back = json!({ "name": "back", "match": { "in-port": format!("app-{id}") },
                       "forward": { "out-port": "ran0", "encapsulate": tunnel } });
    let resolver =
        json!({ "port": format!("dns-{id}"), "address": ["10.53.0.1"], "client": [client] });
    steered(id, json!({ "resolver": resolver, "rule": [back] }))
}

/// Names of an application of a slice.
fn names() -> Value {
    let mut descriptor = descriptor();
    let record = json!({ "dnsRuleId": "d", "domainName": "cache.example", "ipAddressType": "IP_V4", "ipAddress": "192.0.2.1" });
    descriptor.as_object_mut().unwrap().remove("appTrafficRule");
    descriptor["appDNSRule"] = json!([record]);
    descriptor
}

fn of_slice(id: &str) -> Value {
    json!({ "name": format!("names-{id}"), "slice": id, "app-port": format!("app-{id}") })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_slice_whose_users_only_their_addresses_would_tell_apart_is_refused() {
    let (site, instance) = two().await;
    let both = |client| {
        [
            answering("a", "172.16.5.0/24", 1),
            answering("b", client, 2),
        ]
    };
    put(&instance, &both("172.16.0.0/16")).await;
    let taken = onboard(&instance, &names(), of_slice("a")).await;
    assert_eq!(taken.status(), 200, "{}", taken.text().await.unwrap());
    let before = (
        site.running(1).await,
        instance.json("?content=config").await,
    );
    let refused = onboard(&instance, &names(), of_slice("b")).await;
    assert_eq!(refused.status(), 400);
    let refusal = error(refused).await;
    assert_eq!(refusal["error-tag"], "invalid-value");
    assert_eq!(refusal["error-app-tag"], "resolver-clash");
    assert_eq!(
        refusal["error-path"],
        "/tranche-slice:slices/slice[id='b']/steering/resolver/client[.='172.16.0.0/16']"
    );
    assert_eq!(
        refusal["error-message"],
        "node node-2: rule a.names-a_dns_1 sends queries of users in 172.16.0.0/16 for 10.53.0.1 to the resolver of slice a, before \
         rule b.names-b_dns_1 could send them to that of slice b: nothing but their addresses tells the users apart"
    );
    let after = (
        site.running(1).await,
        instance.json("?content=config").await,
    );
    assert_eq!(after, before);
    // With users of its own it is taken, and they can't be changed into those of the other any more.
    put(&instance, &both("172.17.0.0/16")).await;
    let taken = onboard(&instance, &names(), of_slice("b")).await;
    assert_eq!(taken.status(), 200, "{}", taken.text().await.unwrap());
    let there = rules(&site, 1).await;
    assert!(there.contains(&"b.names-b_dns_1".to_owned()), "{there:?}");
    let body = slices(&both("172.16.0.0/16"));
    let refused = instance
        .send(Method::PUT, "tranche-slice:slices", &body)
        .await;
    assert_eq!(error(refused).await["error-app-tag"], "resolver-clash");
    instance.stop().await;
    site.agent.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_refuses_the_same_of_its_own_administrator() {
    let (site, instance) = two().await;
    let slice = |id: &str, client: &str, more: &str| {
        format!(
            "<port><name>dns-{id}</name></port><rule><name>{id}</name><slice>{id}</slice><match><in-port>ran0</in-port><gtp>{more}\
             <inner-source-prefix>{client}</inner-source-prefix></gtp></match><end-gtp/><forward><out-port>dns-{id}</out-port>\
             <to-other-end/></forward></rule><resolver><slice>{id}</slice><port>dns-{id}</port><address>10.53.0.1</address>\
             <client>{client}</client></resolver>"
        )
    };
    let steering = |content: &[String]| {
        let content = content.concat();
        format!(
            "<steering xmlns=\"urn:tranche:yang:tranche-steering\"><port><name>ran0</name></port>{content}</steering>"
        )
    };
    let before = site.running(0).await;
    let wide = "172.16.0.0/16";
    let overlapping = steering(&[slice("x", "172.16.5.0/24", ""), slice("y", wide, "")]);
    let Err(Error::Rpc(errors)) = site.try_edit(0, &overlapping).await else {
        panic!("it is taken");
    };
    let [refusal] = &errors[..] else {
        panic!("{errors:?}");
    };
    assert_eq!(refusal.tag, ErrorTag::InvalidValue);
    assert_eq!(refusal.app_tag.as_deref(), Some("resolver-clash"));
    assert_eq!(
        refusal.path.as_deref(),
        Some("/tranche-steering:steering/resolver[slice='y']/client[.='172.16.0.0/16']")
    );
    assert_eq!(site.running(0).await, before);
    let teid = |number: u32| format!("<teid>{number}</teid>");
    let apart = steering(&[slice("x", wide, &teid(7)), slice("y", wide, &teid(8))]);
    site.edit(0, &apart).await;
    instance.stop().await;
    site.agent.shutdown().await;
}
