use tranche_netconf::error::ErrorTag;
use tranche_netconf::message::Datastore;

use crate::support::*;

fn refuse(words: &str) -> String {
    format!("<sim xmlns=\"{SIM}\"><radio><name>phy0</name><refuse>{words}</refuse></radio></sim>")
}

#[tokio::test]
async fn a_radio_that_refuses_makes_the_commit_fail_with_its_words() {
    let (_bench, client) = Bench::with_admin().await;
    edit_running(&client, &refuse("the synthesiser does not lock"))
        .await
        .unwrap();
    let before = client
        .get_config(Datastore::Running, None, None)
        .await
        .unwrap();
    let error = refused(edit_running(&client, &set_channel(40)).await);
    assert_eq!(error.tag, ErrorTag::OperationFailed);
    assert!(
        message(&error).contains("the synthesiser does not lock"),
        "{error}"
    );
    assert!(
        error
            .path
            .as_deref()
            .unwrap()
            .contains("radio[name='phy0']"),
        "{error:?}"
    );
    edit_candidate(&client, &set_channel(44)).await.unwrap();
    let error = refused(commit(&client).await);
    assert!(
        message(&error).contains("the synthesiser does not lock"),
        "{error}"
    );
    let after = client
        .get_config(Datastore::Running, None, None)
        .await
        .unwrap();
    assert_eq!(after, before, "nothing changed");
    // And nothing is stuck: once the fault is gone the change goes through.
    edit_candidate(
        &client,
        &format!(
            "<sim xmlns=\"{SIM}\" xmlns:nc=\"{NC}\"><radio><name>phy0</name>\
             <refuse nc:operation=\"delete\"/></radio></sim>"
        ),
    )
    .await
    .unwrap();
    commit(&client).await.unwrap();
    let radio = format!("<wifi xmlns=\"{WIFI}\"><radio><channel/></radio></wifi>");
    assert!(
        config(&client, Datastore::Running, &radio)
            .await
            .contains("<channel>44</channel>")
    );
}

#[tokio::test]
async fn more_interfaces_than_the_radio_carries_are_refused() {
    let (_bench, client) = Bench::with_admin().await;
    edit_running(
        &client,
        &format!(
            "<sim xmlns=\"{SIM}\"><radio><name>phy0</name><max-vifs>2</max-vifs></radio></sim>"
        ),
    )
    .await
    .unwrap();
    edit_running(&client, &access_point("b", "phy0"))
        .await
        .unwrap();
    let error = refused(edit_running(&client, &access_point("c", "phy0")).await);
    assert_eq!(error.tag, ErrorTag::ResourceDenied);
    assert_eq!(config(&client, Datastore::Running, &vif("c")).await, "");
}

#[tokio::test]
async fn bad_input_is_refused_with_the_reason_and_changes_nothing() {
    let (_bench, client) = Bench::with_admin().await;
    let vif = |inside: &str| {
        format!(
            "<wifi xmlns=\"{WIFI}\"><vif><name>b</name><radio>phy0</radio>{inside}</vif></wifi>"
        )
    };
    let open = "<access-point><ssid>b</ssid><security><mode>open</mode></security></access-point>";
    let cases = [
        (access_point("b", "phy9"), ErrorTag::DataMissing, ""),
        (
            vif(&format!(
                "{open}<airtime><min-ratio>71</min-ratio></airtime>"
            )),
            ErrorTag::OperationFailed,
            "the min-ratios on this radio exceed 100 %",
        ),
        (
            vif(&format!(
                "{open}<airtime><min-ratio>50</min-ratio><max-ratio>40</max-ratio></airtime>"
            )),
            ErrorTag::OperationFailed,
            "min-ratio exceeds max-ratio",
        ),
        (
            vif(&format!(
                "<access-point><ssid>{}</ssid></access-point>",
                "x".repeat(33)
            )),
            ErrorTag::InvalidValue,
            "length",
        ),
        (
            vif("<access-point><ssid>b</ssid></access-point>"),
            ErrorTag::OperationFailed,
            "this security mode needs a passphrase",
        ),
        (
            format!("{}<x xmlns=\"urn:nobody\"/>", access_point("b", "phy0")),
            ErrorTag::UnknownNamespace,
            "",
        ),
        (
            format!("<wifi xmlns=\"{WIFI}\"><antenna>1</antenna></wifi>"),
            ErrorTag::UnknownElement,
            "",
        ),
        (
            format!(
                "<wifi xmlns=\"{WIFI}\" xmlns:nc=\"{NC}\"><vif nc:operation=\"create\">\
                 <name>a</name></vif></wifi>"
            ),
            ErrorTag::DataExists,
            "",
        ),
        (
            format!(
                "<wifi xmlns=\"{WIFI}\" xmlns:nc=\"{NC}\"><vif nc:operation=\"delete\">\
                 <name>zz</name></vif></wifi>"
            ),
            ErrorTag::DataMissing,
            "",
        ),
    ];
    let all = || async {
        config(
            &client,
            Datastore::Running,
            &format!("<wifi xmlns=\"{WIFI}\"/>"),
        )
        .await
    };
    let before = all().await;
    for (xml, tag, words) in cases {
        let error = refused(edit_running(&client, &xml).await);
        assert_eq!(error.tag, tag, "{xml}: {error:?}");
        assert!(message(&error).contains(words), "{xml}: {error:?}");
        assert_eq!(all().await, before, "{xml}");
    }
}
