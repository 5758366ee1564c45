//! An agent on real radios, and a NETCONF client of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::mpsc;
use tranche_agent::Agent;
use tranche_agent::backend::hardware::AirtimeScheduler;
use tranche_agent::config::Settings;
use tranche_netconf::Error;
use tranche_netconf::client::{Auth, Client, ClientConfig, HostKeyCheck};
use tranche_netconf::message::{
    CreateSubscription, Datastore, DefaultOperation, EditConfig, ErrorOption, Filter, Notification,
    TestOption,
};
use tranche_netconf::xml::Fragment;

use crate::clients::run;

/// Everything takes its time under emulation.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// An agent on `phy0`, and a client of it that is told what happens.
pub(crate) struct Bench {
    pub(crate) agent: Agent,
    pub(crate) dir: TempDir,
    client: Client,
    events: mpsc::Receiver<Notification>,
    _leftovers: Leftovers,
}

/// What a test that fails leaves behind must not fail the next.
struct Leftovers(PathBuf);

impl Drop for Leftovers {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let line = format!(
                "for pid in $(cat {}/run/*/pid); do kill -9 $pid; done; cd /sys/class/net; \
                 for i in tr-anchor* t-* br-t-*; do iw dev $i del || ip link del $i; done; true",
                self.0.display()
            );
            run(&line);
        }
    }
}

impl Bench {
    pub(crate) async fn start(change: impl FnOnce(&mut Settings)) -> Self {
        Self::start_on(tempfile::tempdir_in("/run").unwrap(), change).await
    }

    pub(crate) async fn start_on(dir: TempDir, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::simulated(1, dir.path());
        settings.sim = None;
        settings.hardware.radios = vec!["phy0".to_owned()];
        settings.hardware.airtime = AirtimeScheduler::Off;
        settings.factory_default = vec![factory()];
        change(&mut settings);
        let agent = Agent::start(settings).await.unwrap();
        let node = &agent.nodes()[0];
        let key = HostKeyCheck::Pinned(node.host_key_fingerprint().to_owned());
        let password = Auth::Password("admin secret".to_owned());
        let config = ClientConfig::new(node.address().to_string(), "admin", password, key);
        let (client, events) = Client::connect(config).await.unwrap();
        let subscription = CreateSubscription {
            stream: "NETCONF".to_owned(),
            filter: None,
            start_time: None,
            stop_time: None,
        };
        client.create_subscription(subscription).await.unwrap();
        Self {
            agent,
            _leftovers: Leftovers(dir.path().to_owned()),
            dir,
            client,
            events,
        }
    }

    /// Another agent on the same directory, once this one has ended.
    pub(crate) async fn restart(self, change: impl FnOnce(&mut Settings)) -> Self {
        self.agent.shutdown().await;
        Self::start_on(self.dir, change).await
    }

    pub(crate) async fn edit(&self, xml: &str) -> Result<(), Error> {
        let edit = EditConfig {
            target: Datastore::Running,
            default_operation: DefaultOperation::Merge,
            test_option: TestOption::TestThenSet,
            error_option: ErrorOption::RollbackOnError,
            config: Fragment::parse(xml).unwrap(),
        };
        self.client.edit_config(&edit).await
    }

    /// Tag, path and message of the refusal of an edit.
    pub(crate) async fn refused(&self, xml: &str) -> String {
        match self.edit(xml).await {
            Err(Error::Rpc(errors)) => {
                let tag = errors[0].tag.as_str();
                let path = errors[0].path.clone().unwrap_or_default();
                let message = errors[0].message.clone().unwrap_or_default();
                format!("{tag} {path}: {message}")
            }
            other => panic!("expected rpc-error, got {other:?}"),
        }
    }

    pub(crate) async fn state_of(&self, vif: &str) -> String {
        let filter = format!(
            "<wifi xmlns=\"urn:tranche:yang:tranche-wifi\"><vif><name>{vif}</name><state/></vif></wifi>"
        );
        let filter = Filter::Subtree(Fragment::parse(&filter).unwrap());
        let state = self.client.get(Some(filter), None).await.unwrap();
        state.as_str().to_owned()
    }

    /// The next notification of a repair.
    pub(crate) async fn repaired(&mut self) -> String {
        let wait = async {
            loop {
                let event = self.events.recv().await.expect("the session is open");
                if event.content.as_str().contains("drift-repaired") {
                    return event.content.as_str().to_owned();
                }
            }
        };
        tokio::time::timeout(SOON, wait).await.expect("a repair")
    }

    pub(crate) async fn end(self) {
        let delete = "<wifi xmlns=\"urn:tranche:yang:tranche-wifi\" \
            xmlns:nc=\"urn:ietf:params:xml:ns:netconf:base:1.0\" nc:operation=\"delete\"/>";
        self.edit(delete).await.unwrap();
        self.agent.shutdown().await;
        assert_eq!(run("ip -br link show type bridge"), "");
        let wireless = run("iw dev | grep -c 'type AP' || true");
        assert_eq!(wireless.trim(), "0");
        let daemons = run("ps -e -o comm= | grep -c '^hostapd$' || true");
        assert_eq!(daemons.trim(), "0");
    }
}

fn factory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/hardware.json")
}

pub(crate) fn access_point(name: &str) -> String {
    format!(
        "<wifi xmlns=\"urn:tranche:yang:tranche-wifi\">\
         <radio><name>phy0</name><band>2.4GHz</band><channel>1</channel>\
         <scheduler><enabled>false</enabled></scheduler></radio>\
         <vif><name>{name}</name><radio>phy0</radio><access-point><ssid>{name}</ssid>\
         <security><mode>wpa3-personal</mode><passphrase>correct horse</passphrase></security></access-point>\
         <attachment><bridge>t-br</bridge><vlan>7</vlan></attachment></vif></wifi>"
    )
}
