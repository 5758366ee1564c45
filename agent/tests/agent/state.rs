use tranche_netconf::error::ErrorTag;
use tranche_netconf::message::{Datastore, Operation};

use crate::support::*;

const MONITORING: &str = "urn:ietf:params:xml:ns:yang:ietf-netconf-monitoring";

#[tokio::test]
async fn the_server_describes_itself() {
    let (_bench, client) = Bench::with_admin().await;
    client.lock(Datastore::Running).await.unwrap();
    let filter = subtree(&format!("<netconf-state xmlns=\"{MONITORING}\"/>"));
    let state = client.get(Some(filter), None).await.unwrap();
    let state = state.as_str();
    for part in [
        "<capability>urn:ietf:params:netconf:capability:candidate:1.0</capability>",
        &format!(
            "<locked-by-session>{}</locked-by-session>",
            client.session_id()
        ),
        "<identifier>tranche-wifi</identifier>",
        "<username>admin</username>",
        "<transport>netconf-ssh</transport>",
        "<in-sessions>1</in-sessions>",
    ] {
        assert!(state.contains(part), "{part} in {state}");
    }
    let streams = subtree("<netconf xmlns=\"urn:ietf:params:xml:ns:netmod:notification\"/>");
    let streams = client.get(Some(streams), None).await.unwrap();
    assert!(
        streams.as_str().contains("<name>telemetry</name>"),
        "{}",
        streams.as_str()
    );
}

#[tokio::test]
async fn the_library_and_the_schemas_agree_with_the_hello() {
    let (_bench, client) = Bench::with_admin().await;
    let library =
        subtree("<yang-library xmlns=\"urn:ietf:params:xml:ns:yang:ietf-yang-library\"/>");
    let library = client.get(Some(library), None).await.unwrap();
    let (_, content_id) = library.as_str().split_once("<content-id>").unwrap();
    let content_id = content_id.split('<').next().unwrap();
    let capability = client
        .capabilities()
        .iter()
        .find(|c| c.contains("yang-library:1.1"))
        .expect("advertised");
    assert!(
        capability.ends_with(&format!("content-id={content_id}")),
        "{capability}"
    );
    for module in [
        "tranche-wifi",
        "ietf-system",
        "tranche-agent-deviations",
        "nc-notifications",
    ] {
        assert!(
            library.as_str().contains(&format!("<name>{module}</name>")),
            "{module}"
        );
        let text = client.get_schema(module, None, None).await.unwrap();
        assert!(text.starts_with(&format!("module {module} {{")), "{module}");
    }
    let error = refused(client.get_schema("nosuch", None, None).await);
    assert_eq!(error.tag, ErrorTag::InvalidValue);
}

#[tokio::test]
async fn radios_and_interfaces_show_what_was_observed() {
    let (_bench, client) = Bench::with_admin().await;
    let vif = || async {
        let filter = subtree(&format!(
            "<wifi xmlns=\"{WIFI}\"><vif><name>a</name></vif></wifi>"
        ));
        client
            .get(Some(filter), None)
            .await
            .unwrap()
            .as_str()
            .to_owned()
    };
    eventually("the station associates and traffic flows", || async {
        let state = vif().await;
        state.contains("<mac>02:00:00:00:00:01</mac>")
            && state.contains("<oper-state>up</oper-state>")
            && state.contains("<backlogged>true</backlogged>")
    })
    .await;
    let state = vif().await;
    assert!(
        state.contains("<ssid>tenant-a</ssid>"),
        "configuration and state together: {state}"
    );
    let filter = subtree(&format!(
        "<wifi xmlns=\"{WIFI}\"><radio><name>phy0</name><state><oper-state/></state></radio></wifi>"
    ));
    let radio = client.get(Some(filter), None).await.unwrap();
    assert!(
        radio.as_str().contains("<oper-state>up</oper-state>"),
        "{}",
        radio.as_str()
    );
}

#[tokio::test]
async fn a_correction_is_in_force_and_is_no_configuration() {
    let (_bench, client) = Bench::with_admin().await;
    let correct = |vif: &str, min: &str, max: &str| Operation::Other {
        namespace: WIFI.to_owned(),
        name: "correct-airtime".to_owned(),
        element: fragment(&format!(
            "<correct-airtime xmlns=\"{WIFI}\"><lifetime>60</lifetime><vif><name>{vif}</name>\
             <min-ratio>{min}</min-ratio><max-ratio>{max}</max-ratio></vif></correct-airtime>"
        )),
    };
    client.call(correct("a", "40", "55.5")).await.unwrap();
    let filter = || {
        subtree(&format!(
            "<wifi xmlns=\"{WIFI}\"><vif><name>a</name><airtime/><state><airtime/></state></vif></wifi>"
        ))
    };
    let both = client.get(Some(filter()), None).await.unwrap();
    for part in [
        "<min-ratio>30.0</min-ratio>",
        "<effective-min-ratio>40.0</effective-min-ratio>",
        "<effective-max-ratio>55.5</effective-max-ratio>",
    ] {
        assert!(both.as_str().contains(part), "{part} in {}", both.as_str());
    }
    let error = refused(client.call(correct("nosuch", "1", "2")).await);
    assert_eq!(error.tag, ErrorTag::DataMissing, "{error:?}");
    let error = refused(client.call(correct("a", "0", "0")).await);
    assert_eq!(
        error.path.as_deref(),
        Some("/tranche-wifi:correct-airtime/vif[name='a']/max-ratio")
    );
    let error = refused(client.call(correct("a", "1", "101")).await);
    assert_eq!(error.tag, ErrorTag::InvalidValue, "{error:?}");
}

#[tokio::test]
async fn an_unknown_operation_is_not_supported() {
    let (_bench, client) = Bench::with_admin().await;
    for (namespace, name) in [
        (
            "urn:ietf:params:xml:ns:netconf:partial-lock:1.0",
            "partial-lock",
        ),
        (SYSTEM, "system-restart"),
        ("urn:nobody", "dance"),
    ] {
        let element = fragment(&format!("<{name} xmlns=\"{namespace}\"/>"));
        let operation = Operation::Other {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            element,
        };
        let error = refused(client.call(operation).await);
        assert_eq!(
            error.tag,
            ErrorTag::OperationNotSupported,
            "{name}: {error:?}"
        );
    }
}

#[tokio::test]
async fn data_of_an_extra_module_is_stored_and_validated() {
    let module = data("example-inventory.yang");
    let bench = Bench::start_with(|settings| settings.yang_modules = vec![module.clone()]).await;
    let client = bench.admin().await;
    let asset = |tag: &str| {
        format!("<assets xmlns=\"urn:example:inventory\"><asset><tag>{tag}</tag></asset></assets>")
    };
    edit_running(&client, &asset("AB-1")).await.unwrap();
    let error = refused(edit_running(&client, &asset("no tag")).await);
    assert_eq!(error.tag, ErrorTag::InvalidValue);
    drop(client);
    let bench = bench
        .restart_with(|settings| settings.yang_modules = vec![module])
        .await;
    let stored = config(
        &bench.admin().await,
        Datastore::Running,
        "<assets xmlns=\"urn:example:inventory\"/>",
    )
    .await;
    assert!(stored.contains("<tag>AB-1</tag>"), "{stored}");
}
