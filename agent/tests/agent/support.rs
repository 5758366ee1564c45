//! An agent in this process, and clients of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::mpsc;
use tranche_agent::Agent;
use tranche_agent::config::Settings;
use tranche_netconf::Error;
use tranche_netconf::client::{Auth, Client, ClientConfig, HostKeyCheck};
use tranche_netconf::error::RpcError;
use tranche_netconf::message::{
    Commit, ConfigSource, ConfigTarget, Datastore, DefaultOperation, EditConfig, ErrorOption,
    Filter, Notification, TestOption,
};
use tranche_netconf::xml::Fragment;

pub(crate) const NC: &str = "urn:ietf:params:xml:ns:netconf:base:1.0";
pub(crate) const WIFI: &str = "urn:tranche:yang:tranche-wifi";
pub(crate) const SIM: &str = "urn:tranche:yang:tranche-sim";
pub(crate) const SYSTEM: &str = "urn:ietf:params:xml:ns:yang:ietf-system";
pub(crate) const NACM: &str = "urn:ietf:params:xml:ns:yang:ietf-netconf-acm";

/// An agent on a temporary state directory.
pub(crate) struct Bench {
    pub(crate) agent: Agent,
    pub(crate) dir: TempDir,
}

pub(crate) fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

/// One node with the usual factory default, on a directory.
pub(crate) fn settings(dir: &Path) -> Settings {
    let mut settings = Settings::simulated(1, dir.join("state"));
    settings.factory_default = vec![data("factory.json")];
    settings.limits.auth_failure_delay = Duration::from_millis(5);
    settings
}

impl Bench {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::on(tempfile::tempdir().unwrap(), change).await
    }

    /// The same state directory, in a new agent.
    pub(crate) async fn restart_with(self, change: impl FnOnce(&mut Settings)) -> Self {
        let Self { agent, dir } = self;
        agent.shutdown().await;
        Self::on(dir, change).await
    }

    /// An agent on the directory of one that has ended.
    pub(crate) async fn on(dir: TempDir, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = settings(dir.path());
        change(&mut settings);
        Self {
            agent: Agent::start(settings).await.unwrap(),
            dir,
        }
    }

    pub(crate) async fn restart(self) -> Self {
        self.restart_with(|_| ()).await
    }

    /// An agent and a session of its administrator.
    pub(crate) async fn with_admin() -> (Self, Client) {
        let bench = Self::start().await;
        let admin = bench.admin().await;
        (bench, admin)
    }

    pub(crate) fn client_config(&self, user: &str, auth: Auth) -> ClientConfig {
        let node = &self.agent.nodes()[0];
        let key = HostKeyCheck::Pinned(node.host_key_fingerprint().to_owned());
        ClientConfig::new(node.address().to_string(), user, auth, key)
    }

    pub(crate) async fn login(
        &self,
        user: &str,
    ) -> Result<(Client, mpsc::Receiver<Notification>), Error> {
        let password = Auth::Password(format!("{user} secret"));
        Client::connect(self.client_config(user, password)).await
    }

    pub(crate) async fn client(&self, user: &str) -> Client {
        self.login(user).await.unwrap().0
    }

    pub(crate) async fn admin(&self) -> Client {
        self.client("admin").await
    }
}

pub(crate) fn fragment(xml: &str) -> Fragment {
    Fragment::parse(xml).unwrap()
}

pub(crate) fn edit(target: Datastore, xml: &str) -> EditConfig {
    EditConfig {
        target,
        default_operation: DefaultOperation::Merge,
        test_option: TestOption::TestThenSet,
        error_option: ErrorOption::RollbackOnError,
        config: fragment(xml),
    }
}

pub(crate) async fn edit_running(client: &Client, xml: &str) -> Result<(), Error> {
    client.edit_config(&edit(Datastore::Running, xml)).await
}

pub(crate) async fn edit_candidate(client: &Client, xml: &str) -> Result<(), Error> {
    client.edit_config(&edit(Datastore::Candidate, xml)).await
}

pub(crate) async fn commit(client: &Client) -> Result<(), Error> {
    client.commit(&Commit::default()).await
}

/// A commit that lapses unless it is confirmed within this time.
pub(crate) fn on_trial(seconds: u64) -> Commit {
    Commit {
        confirmed: true,
        confirm_timeout: Some(Duration::from_secs(seconds)),
        ..Commit::default()
    }
}

pub(crate) async fn copy(
    client: &Client,
    target: Datastore,
    source: ConfigSource,
) -> Result<(), Error> {
    client
        .copy_config(ConfigTarget::Datastore(target), source, None)
        .await
}

/// The first error of an answer that must be one.
#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(answer: Result<T, Error>) -> RpcError {
    match answer {
        Err(Error::Rpc(mut errors)) => errors.swap_remove(0),
        other => panic!("expected rpc-error, got {other:?}"),
    }
}

#[track_caller]
pub(crate) fn message(error: &RpcError) -> &str {
    error.message.as_deref().unwrap()
}

pub(crate) fn subtree(xml: &str) -> Filter {
    Filter::Subtree(fragment(xml))
}

/// What a datastore has of a subtree.
pub(crate) async fn config(client: &Client, datastore: Datastore, filter: &str) -> String {
    let filter = subtree(filter);
    let data = client
        .get_config(datastore, Some(filter), None)
        .await
        .unwrap();
    data.as_str().to_owned()
}

/// `country` of a datastore: the leaf that most tests change.
pub(crate) async fn country(client: &Client, datastore: Datastore) -> String {
    let xml = config(
        client,
        datastore,
        &format!("<wifi xmlns=\"{WIFI}\"><country/></wifi>"),
    )
    .await;
    let Some((_, rest)) = xml.split_once("<country>") else {
        return String::new();
    };
    rest.split('<').next().unwrap().to_owned()
}

pub(crate) fn set_country(code: &str) -> String {
    format!("<wifi xmlns=\"{WIFI}\"><country>{code}</country></wifi>")
}

pub(crate) fn set_channel(number: u8) -> String {
    format!(
        "<wifi xmlns=\"{WIFI}\"><radio><name>phy0</name><channel>{number}</channel></radio></wifi>"
    )
}

pub(crate) fn set_location(text: &str) -> String {
    format!("<system xmlns=\"{SYSTEM}\"><location>{text}</location></system>")
}

/// A filter for one interface.
pub(crate) fn vif(name: &str) -> String {
    format!("<wifi xmlns=\"{WIFI}\"><vif><name>{name}</name></vif></wifi>")
}

pub(crate) fn access_point(name: &str, radio: &str) -> String {
    format!(
        "<wifi xmlns=\"{WIFI}\"><vif><name>{name}</name><radio>{radio}</radio><access-point>\
         <ssid>{name}</ssid><security><mode>open</mode></security></access-point></vif></wifi>"
    )
}

/// Waits for something that happens by itself, at most ten seconds.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut check: impl FnMut() -> F) {
    for _ in 0..500 {
        if check().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it never happened: {what}");
}

/// The next notification with this text in it, within ten seconds.
pub(crate) async fn notified(events: &mut mpsc::Receiver<Notification>, text: &str) -> String {
    let wait = async {
        loop {
            let event = events.recv().await.expect("the session is open");
            if event.content.as_str().contains(text) {
                return event.content.as_str().to_owned();
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait)
        .await
        .unwrap_or_else(|_| panic!("no notification with {text}"))
}
