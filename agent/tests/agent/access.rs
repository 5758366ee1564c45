use tranche_netconf::error::ErrorTag;
use tranche_netconf::message::{
    ConfigSource, ConfigTarget, CreateSubscription, Datastore, Filter, Operation,
};

use crate::support::*;

const SECRETS: [&str; 2] = ["correct horse", "$6$"];

#[tokio::test]
async fn secrets_are_not_readable_by_default_in_any_way() {
    let bench = Bench::start().await;
    let (admin, reader) = (bench.admin().await, bench.client("reader").await);
    let passphrases = Filter::XPath {
        select: "//w:passphrase | //s:password".to_owned(),
        namespaces: vec![
            ("w".to_owned(), WIFI.to_owned()),
            ("s".to_owned(), SYSTEM.to_owned()),
        ],
    };
    for text in [
        reader.get(None, None).await.unwrap(),
        reader
            .get_config(Datastore::Running, None, None)
            .await
            .unwrap(),
        reader
            .get_config(Datastore::Candidate, None, None)
            .await
            .unwrap(),
        reader.get(Some(passphrases), None).await.unwrap(),
    ] {
        for secret in SECRETS {
            assert!(!text.as_str().contains(secret), "{}", text.as_str());
        }
    }
    // A rule that permits makes them readable.
    assert!(
        admin
            .get_config(Datastore::Running, None, None)
            .await
            .unwrap()
            .as_str()
            .contains("$6$")
    );
}

#[tokio::test]
async fn a_filter_does_not_tell_what_a_secret_is() {
    let bench = Bench::start().await;
    let reader = bench.client("reader").await;
    let guess = |passphrase: &str| Filter::XPath {
        select: format!(
            "/w:wifi/w:vif[w:access-point/w:security/w:passphrase='{passphrase}']/w:name"
        ),
        namespaces: vec![("w".to_owned(), WIFI.to_owned())],
    };
    for passphrase in ["correct horse", "wrong guess"] {
        let answer = reader.get(Some(guess(passphrase)), None).await.unwrap();
        assert_eq!(answer.as_str(), "");
    }
}

#[tokio::test]
async fn who_has_no_rule_reads_and_writes_nothing() {
    let bench = Bench::start().await;
    let reader = bench.client("reader").await;
    let denied = [
        edit_running(&reader, &set_country("FR")).await,
        edit_candidate(&reader, &set_country("FR")).await,
        copy(
            &reader,
            Datastore::Candidate,
            ConfigSource::Inline(fragment(&set_country("FR"))),
        )
        .await,
        reader.kill_session(reader.session_id() + 1).await,
        reader
            .delete_config(ConfigTarget::Datastore(Datastore::Candidate))
            .await,
    ];
    for answer in denied {
        assert_eq!(refused(answer).tag, ErrorTag::AccessDenied);
    }
    assert_eq!(country(&reader, Datastore::Candidate).await, "DE");
    let counters = subtree(&format!("<nacm xmlns=\"{NACM}\"/>"));
    let counted = bench.admin().await.get(Some(counters), None).await.unwrap();
    assert!(
        counted.as_str().contains("<denied-data-writes>3<"),
        "{}",
        counted.as_str()
    );
    assert!(
        counted.as_str().contains("<denied-operations>2<"),
        "{}",
        counted.as_str()
    );
}

#[tokio::test]
async fn a_commit_asks_for_the_right_to_what_it_changes() {
    let bench = Bench::start().await;
    let (admin, reader) = (bench.admin().await, bench.client("reader").await);
    edit_candidate(&admin, &set_country("FR")).await.unwrap();
    let error = refused(commit(&reader).await);
    assert_eq!(error.tag, ErrorTag::AccessDenied);
    assert_eq!(error.path.as_deref(), Some("/tranche-wifi:wifi/country"));
    assert_eq!(country(&admin, Datastore::Running).await, "DE");
    commit(&admin).await.unwrap();
}

#[tokio::test]
async fn rules_are_in_force_with_the_commit_that_writes_them() {
    let bench = Bench::start().await;
    let (admin, reader) = (bench.admin().await, bench.client("reader").await);
    let rule = |module: &str, what: &str, action: &str| {
        format!(
            "<nacm xmlns=\"{NACM}\"><groups><group><name>readers</name>\
             <user-name>reader</user-name></group></groups><rule-list><name>readers</name>\
             <group>readers</group><rule><name>{module}</name><module-name>{module}</module-name>\
             {what}<action>{action}</action></rule></rule-list></nacm>"
        )
    };
    edit_running(&admin, &rule("tranche-wifi", "", "permit"))
        .await
        .unwrap();
    edit_running(&reader, &set_country("FR")).await.unwrap();
    let exec = "<rpc-name>create-subscription</rpc-name>";
    edit_running(&admin, &rule("notifications", exec, "deny"))
        .await
        .unwrap();
    let subscribe = CreateSubscription {
        stream: "telemetry".to_owned(),
        filter: None,
        start_time: None,
        stop_time: None,
    };
    assert_eq!(
        refused(reader.create_subscription(subscribe).await).tag,
        ErrorTag::AccessDenied
    );
}

#[tokio::test]
async fn the_operation_of_a_module_asks_too() {
    let bench = Bench::start().await;
    let (admin, reader) = (bench.admin().await, bench.client("reader").await);
    edit_running(
        &admin,
        &format!("<nacm xmlns=\"{NACM}\"><exec-default>deny</exec-default></nacm>"),
    )
    .await
    .unwrap();
    let correct = || Operation::Other {
        namespace: WIFI.to_owned(),
        name: "correct-airtime".to_owned(),
        element: fragment(&format!(
            "<correct-airtime xmlns=\"{WIFI}\"><lifetime>5</lifetime><vif><name>a</name>\
             <max-ratio>20</max-ratio></vif></correct-airtime>"
        )),
    };
    assert_eq!(
        refused(reader.call(correct()).await).tag,
        ErrorTag::AccessDenied
    );
    admin.call(correct()).await.unwrap();
}
