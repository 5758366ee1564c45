//! A node on real radios as a client sees it: commits, what is put right behind its back, restarts, and what is missing.

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

use crate::clients::{run, wait_for};

/// Everything takes its time under emulation.
const SOON: Duration = Duration::from_secs(60);

/// An agent on `phy0`, and a client of it that is told what happens.
struct Bench {
    agent: Agent,
    dir: TempDir,
    client: Client,
    events: mpsc::Receiver<Notification>,
}

impl Bench {
    async fn start(change: impl FnOnce(&mut Settings)) -> Self {
        Self::start_on(tempfile::tempdir_in("/run").unwrap(), change).await
    }

    async fn start_on(dir: TempDir, change: impl FnOnce(&mut Settings)) -> Self {
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
            dir,
            client,
            events,
        }
    }

    /// Another agent on the same directory, once this one has ended.
    async fn restart(self, change: impl FnOnce(&mut Settings)) -> Self {
        self.agent.shutdown().await;
        Self::start_on(self.dir, change).await
    }

    async fn edit(&self, xml: &str) -> Result<(), Error> {
        let edit = EditConfig {
            target: Datastore::Running,
            default_operation: DefaultOperation::Merge,
            test_option: TestOption::TestThenSet,
            error_option: ErrorOption::RollbackOnError,
            config: Fragment::parse(xml).unwrap(),
        };
        self.client.edit_config(&edit).await
    }

    /// Path and message of the refusal of an edit.
    async fn refused(&self, xml: &str) -> String {
        match self.edit(xml).await {
            Err(Error::Rpc(errors)) => {
                let path = errors[0].path.clone().unwrap_or_default();
                let message = errors[0].message.clone().unwrap_or_default();
                format!("{path}: {message}")
            }
            other => panic!("expected rpc-error, got {other:?}"),
        }
    }

    async fn state_of(&self, vif: &str) -> String {
        let filter = format!(
            "<wifi xmlns=\"urn:tranche:yang:tranche-wifi\"><vif><name>{vif}</name><state/></vif></wifi>"
        );
        let filter = Filter::Subtree(Fragment::parse(&filter).unwrap());
        let state = self.client.get(Some(filter), None).await.unwrap();
        state.as_str().to_owned()
    }

    /// The next notification of a repair.
    async fn repaired(&mut self) -> String {
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

    async fn end(self) {
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

fn access_point(name: &str) -> String {
    format!(
        "<wifi xmlns=\"urn:tranche:yang:tranche-wifi\">\
         <radio><name>phy0</name><band>2.4GHz</band><channel>1</channel>\
         <scheduler><enabled>false</enabled></scheduler></radio>\
         <vif><name>{name}</name><radio>phy0</radio><access-point><ssid>{name}</ssid>\
         <security><mode>wpa3-personal</mode><passphrase>correct horse</passphrase></security></access-point>\
         <attachment><bridge>t-br</bridge><vlan>7</vlan></attachment></vif></wifi>"
    )
}

fn is_access_point(name: &str) -> bool {
    run(&format!("iw dev {name} info 2>/dev/null || true")).contains("type AP")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs mac80211_hwsim: run by make test-vm"]
async fn what_is_undone_by_hand_is_done_again_and_told() {
    let mut bench = Bench::start(|_| ()).await;
    bench.edit(&access_point("t-a")).await.unwrap();
    bench.edit(&access_point("t-b")).await.unwrap();
    assert!(is_access_point("t-a") && is_access_point("t-b"));
    let up = bench.state_of("t-a").await;
    assert!(up.contains("<oper-state>up</oper-state>"), "{up}");

    run("iw dev t-b del");
    let told = bench.repaired().await;
    assert!(
        told.contains("<cause>interface t-b was removed</cause>"),
        "{told}"
    );
    assert!(told.contains("vif[name='t-b']"), "{told}");
    assert!(!told.contains("t-a"), "only what was gone: {told}");
    wait_for("t-b is back", SOON, || is_access_point("t-b"));

    run("ip link del t-br");
    let told = bench.repaired().await;
    assert!(told.contains("t-br") || told.contains("t-a"), "{told}");
    wait_for("the bridge is back", SOON, || {
        let vlans = run("bridge vlan show 2>/dev/null || true");
        vlans.contains("t-a") && vlans.contains("t-b") && vlans.contains(" 7 PVID")
    });

    run("pkill -9 -x hostapd");
    // Whoever is first, the supervisor of hostapd or who hears that its interfaces are off.
    let told = bench.repaired().await;
    assert!(told.contains("<action>") && told.contains("phy0"), "{told}");
    wait_for("both are back", SOON, || {
        is_access_point("t-a") && is_access_point("t-b")
    });
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs mac80211_hwsim: run by make test-vm"]
async fn a_restarted_agent_adopts_what_runs_and_repairs_what_does_not() {
    let bench = Bench::start(|_| ()).await;
    bench.edit(&access_point("t-a")).await.unwrap();
    bench.edit(&access_point("t-b")).await.unwrap();
    let pid = run("pidof hostapd");
    let before = run("iw dev t-a info");
    let bench = bench.restart(|_| ()).await;
    assert_eq!(run("pidof hostapd"), pid);
    assert_eq!(run("iw dev t-a info"), before);

    bench.agent.shutdown().await;
    run("iw dev t-b del");
    let bench = Bench::start_on(bench.dir, |_| ()).await;
    assert_eq!(run("iw dev t-a info"), before);
    assert!(is_access_point("t-b"));
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs mac80211_hwsim: run by make test-vm"]
async fn airtime_is_scheduled_from_the_first_commit_on() {
    let bench = Bench::start(|settings| {
        settings.hardware.airtime = AirtimeScheduler::Auto;
    })
    .await;
    let scheduled = access_point("t-a").replace("false", "true");
    bench.edit(&scheduled).await.unwrap();
    assert!(run("tc filter show dev t-a egress").contains("bpf"));
    let state = bench.state_of("t-a").await;
    assert!(
        state.contains("<effective-max-ratio>100.0</effective-max-ratio>"),
        "{state}"
    );
    let pid = run("pidof hostapd");
    let bench = bench
        .restart(|settings| settings.hardware.airtime = AirtimeScheduler::Auto)
        .await;
    assert_eq!(run("pidof hostapd"), pid);
    assert!(run("tc filter show dev t-a egress").contains("bpf"));
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs mac80211_hwsim: run by make test-vm"]
async fn what_cannot_be_is_refused_and_the_rest_goes_on() {
    let bench = Bench::start(|settings| {
        settings.hardware.hostapd = "no-such-hostapd".to_owned();
    })
    .await;
    let refusal = bench.refused(&access_point("t-a")).await;
    assert!(refusal.contains("no-such-hostapd"), "{refusal}");
    let mesh = access_point("t-m").replace("access-point>", "mesh-point>");
    let start = mesh.find("<ssid>").unwrap();
    let end = mesh.find("</mesh-point>").unwrap();
    let mesh = format!("{}<mesh-id>m</mesh-id>{}", &mesh[..start], &mesh[end..]);
    bench.edit(&mesh).await.unwrap();
    assert!(run("iw dev t-m info").contains("type mesh point"));
    let other = mesh.replace("phy0", "phy1").replace("t-m", "t-n");
    let refusal = bench.refused(&other).await;
    assert!(
        refusal.ends_with("there is no radio phy1 in the hardware"),
        "{refusal}"
    );
    let world = bench
        .refused("<sim xmlns=\"urn:tranche:yang:tranche-sim\"/>")
        .await;
    assert!(world.contains("tranche-sim"), "{world}");

    let bench = bench.restart(|_| ()).await;
    let scheduled = mesh.replace("false", "true");
    let refusal = bench.refused(&scheduled).await;
    assert!(
        refusal.contains("/scheduler/enabled: airtime is not scheduled"),
        "{refusal}"
    );
    let forbidden = mesh.replace("<channel>1<", "<channel>14<");
    let refusal = bench.refused(&forbidden).await;
    assert!(
        refusal.contains("radio[name='phy0']/channel: "),
        "{refusal}"
    );
    bench.end().await;
}
