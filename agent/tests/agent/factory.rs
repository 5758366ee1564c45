use std::path::Path;

use tranche_agent::{Agent, Error};
use tranche_netconf::message::Datastore;

use crate::support::*;

/// Starts on an empty directory with this factory default; the error that it must be.
async fn rejected(file: &str, text: &str) -> (String, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(file);
    std::fs::write(&path, text).unwrap();
    let mut settings = settings(dir.path());
    settings.factory_default = vec![path];
    let error = Agent::start(settings).await.unwrap_err();
    assert!(matches!(error, Error::FactoryDefault { .. }), "{error:?}");
    (error.to_string(), dir)
}

#[tokio::test]
async fn one_that_does_not_validate_is_refused_with_every_reason_and_nothing_is_stored() {
    let text = std::fs::read_to_string(data("factory.json")).unwrap();
    let bad = text.replace("\"radio\": \"phy0\"", "\"radio\": \"phy7\"");
    let (error, dir) = rejected("factory.json", &bad).await;
    assert!(error.contains("factory.json"), "{error}");
    assert!(
        error.contains("/tranche-wifi:wifi/vif[name='a']/radio"),
        "{error}"
    );
    // The store is still empty: a good one is taken.
    let agent = Agent::start(settings(dir.path())).await.unwrap();
    agent.shutdown().await;
}

#[tokio::test]
async fn what_validates_but_cannot_be_carried_out_is_refused_too() {
    let text = std::fs::read_to_string(data("factory.json")).unwrap();
    let no_hardware = text.replace(
        "\"radio\": [{ \"name\": \"phy0\" }]",
        "\"radio\": [{ \"name\": \"phy1\" }]",
    );
    let (error, _) = rejected("factory.json", &no_hardware).await;
    assert!(error.contains("phy0"), "{error}");
    let md5 = text.replace("$0$admin secret", "$1$salt$0123456789012345678901");
    let (error, _) = rejected("factory.json", &md5).await;
    assert!(
        error.contains("user[name='admin']/password") && error.contains("MD5"),
        "{error}"
    );
}

#[tokio::test]
async fn malformed_text_and_unknown_nodes_say_where() {
    let (error, _) = rejected(
        "factory.json",
        "{ \"tranche-wifi:wifi\": { \"antenna\": 1 } }",
    )
    .await;
    assert!(error.contains("antenna"), "{error}");
    let (error, _) = rejected("factory.json", "{ \"tranche-wifi:wifi\": ").await;
    assert!(error.contains("line 1"), "{error}");
    let (error, _) = rejected("factory.xml", "<wifi xmlns=\"urn:nobody\"/>").await;
    assert!(error.contains("urn:nobody"), "{error}");
}

#[tokio::test]
async fn xml_is_as_good_as_json() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("factory.xml");
    let xml = format!(
        "<system xmlns=\"{SYSTEM}\"><authentication><user><name>admin</name>\
         <password>$0$admin secret</password></user></authentication></system>{}",
        set_country("SE")
    );
    std::fs::write(&path, xml).unwrap();
    let mut settings = settings(dir.path());
    settings.factory_default = vec![path];
    let bench = Bench {
        agent: Agent::start(settings).await.unwrap(),
        dir,
    };
    assert_eq!(
        country(&bench.admin().await, Datastore::Running).await,
        "SE"
    );
}

#[tokio::test]
async fn it_is_for_an_empty_store_only() {
    let bench = Bench::start().await;
    edit_running(&bench.admin().await, &set_country("FR"))
        .await
        .unwrap();
    let nothing = Path::new("/nonexistent/factory.json");
    let bench = bench
        .restart_with(|s| s.factory_default = vec![nothing.to_owned()])
        .await;
    assert_eq!(
        country(&bench.admin().await, Datastore::Running).await,
        "FR"
    );
}

#[tokio::test]
async fn without_one_an_empty_store_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings(dir.path());
    settings.factory_default.clear();
    let error = Agent::start(settings).await.unwrap_err();
    assert!(matches!(error, Error::NoFactoryDefault { .. }), "{error:?}");
}

#[tokio::test]
async fn each_node_has_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(data("factory.json")).unwrap();
    let second = dir.path().join("second.json");
    std::fs::write(&second, text.replace("\"DE\"", "\"PL\"")).unwrap();
    let mut settings = settings(dir.path());
    settings.sim = Some(2);
    settings.factory_default = vec![data("factory.json"), second];
    let agent = Agent::start(settings).await.unwrap();
    let countries: Vec<_> = agent
        .nodes()
        .iter()
        .map(|node| {
            node.node()
                .in_force()
                .running
                .value("/tranche-wifi:wifi/country")
                .unwrap()
        })
        .collect();
    assert_eq!(countries, ["DE", "PL"]);
    assert_ne!(
        agent.nodes()[0].host_key_fingerprint(),
        agent.nodes()[1].host_key_fingerprint()
    );
    agent.shutdown().await;
}
