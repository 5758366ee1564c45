use tranche_netconf::Error;
use tranche_netconf::client::{Auth, Client, HostKeyCheck};
use tranche_netconf::error::ErrorTag;
use tranche_netconf::message::{ConfigSource, Datastore};
use tranche_netconf::transport::ssh::HostKey;

use crate::support::*;

fn user(name: &str, inside: &str) -> String {
    format!(
        "<system xmlns=\"{SYSTEM}\"><authentication><user><name>{name}</name>{inside}</user>\
         </authentication></system>"
    )
}

async fn passwords(client: &Client, datastore: Datastore) -> String {
    config(client, datastore, &format!("<system xmlns=\"{SYSTEM}\"/>")).await
}

#[tokio::test]
async fn a_clear_password_is_hashed_wherever_it_is_written() {
    let (bench, admin) = Bench::with_admin().await;
    let new = |name: &str| user(name, &format!("<password>$0${name} secret</password>"));
    edit_running(&admin, &new("one")).await.unwrap();
    edit_candidate(&admin, &new("two")).await.unwrap();
    let candidate = passwords(&admin, Datastore::Candidate).await;
    assert!(
        !candidate.contains("secret") && candidate.contains("<name>two</name>"),
        "{candidate}"
    );
    commit(&admin).await.unwrap();
    let whole = admin
        .get_config(Datastore::Running, None, None)
        .await
        .unwrap();
    let with_three = whole.as_str().replace(
        "<user><name>one</name>",
        "<user><name>three</name><password>$0$three secret</password></user><user><name>one</name>",
    );
    copy(
        &admin,
        Datastore::Running,
        ConfigSource::Inline(fragment(&with_three)),
    )
    .await
    .unwrap();
    let running = passwords(&admin, Datastore::Running).await;
    assert!(
        !running.contains("$0$") && !running.contains("secret"),
        "{running}"
    );
    for name in ["one", "two", "three", "admin"] {
        bench.client(name).await;
    }
    // Nor is it on disk.
    let store = bench.dir.path().join("state/node-1/store/db");
    let bytes = std::fs::read(store).unwrap();
    for name in ["one", "two", "three", "admin"] {
        let clear = format!("{name} secret");
        assert!(
            !bytes
                .windows(clear.len())
                .any(|window| window == clear.as_bytes()),
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_wrong_password_or_user_is_not_let_in() {
    let bench = Bench::start().await;
    for (name, password) in [
        ("admin", "wrong"),
        ("nobody", "nobody secret"),
        ("admin", ""),
    ] {
        let auth = Auth::Password(password.to_owned());
        let answer = Client::connect(bench.client_config(name, auth)).await;
        assert!(
            matches!(answer, Err(Error::AuthRefused { .. })),
            "{name}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn a_wrong_host_key_is_noticed() {
    let bench = Bench::start().await;
    let mut config = bench.client_config("admin", Auth::Password("admin secret".to_owned()));
    config.host_key = HostKeyCheck::Pinned(HostKey::generate().unwrap().fingerprint());
    let answer = Client::connect(config).await;
    assert!(matches!(answer, Err(Error::HostKey { .. })), "{answer:?}");
}

#[tokio::test]
async fn a_user_logs_in_with_an_authorized_key() {
    let (bench, admin) = Bench::with_admin().await;
    let file = bench.dir.path().join("key");
    let key = HostKey::load_or_generate(&file).unwrap();
    let public = key.public_openssh();
    let mut words = public.split_whitespace();
    let (algorithm, blob) = (words.next().unwrap(), words.next().unwrap());
    let authorized = format!(
        "<authorized-key><name>k</name><algorithm>{algorithm}</algorithm>\
         <key-data>{blob}</key-data></authorized-key>"
    );
    edit_running(&admin, &user("carol", &authorized))
        .await
        .unwrap();
    Client::connect(bench.client_config("carol", Auth::KeyFile(file.clone())))
        .await
        .unwrap();
    let other = Client::connect(bench.client_config("admin", Auth::KeyFile(file.clone()))).await;
    assert!(matches!(other, Err(Error::AuthRefused { .. })), "{other:?}");
    edit_running(
        &admin,
        &format!(
            "<system xmlns=\"{SYSTEM}\" xmlns:nc=\"{NC}\"><authentication>\
             <user nc:operation=\"delete\"><name>carol</name></user></authentication></system>"
        ),
    )
    .await
    .unwrap();
    let gone = Client::connect(bench.client_config("carol", Auth::KeyFile(file))).await;
    assert!(matches!(gone, Err(Error::AuthRefused { .. })), "{gone:?}");
}

#[tokio::test]
async fn a_credential_that_cannot_be_verified_here_is_refused_when_it_is_written() {
    let (_bench, admin) = Bench::with_admin().await;
    let md5 = user("eve", "<password>$1$salt$0123456789012345678901</password>");
    let rsa = user(
        "eve",
        "<authorized-key><name>k</name><algorithm>ssh-rsa</algorithm>\
         <key-data>AAAAB3NzaC1yc2E=</key-data></authorized-key>",
    );
    for (xml, words) in [(&md5, "MD5"), (&rsa, "'ssh-rsa' is not supported")] {
        let error = refused(edit_running(&admin, xml).await);
        assert_eq!(error.tag, ErrorTag::InvalidValue);
        assert!(message(&error).contains(words), "{error}");
        assert!(
            error.path.as_deref().unwrap().contains("user[name='eve']"),
            "{error}"
        );
        edit_candidate(&admin, xml).await.unwrap();
        let candidate = ConfigSource::Datastore(Datastore::Candidate);
        assert_eq!(
            refused(admin.validate(candidate).await).tag,
            ErrorTag::InvalidValue
        );
        assert_eq!(refused(commit(&admin).await).tag, ErrorTag::InvalidValue);
        admin.discard_changes().await.unwrap();
    }
    assert!(!passwords(&admin, Datastore::Running).await.contains("eve"));
}
