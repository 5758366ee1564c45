//! The kernel's steering as a controller has it: an agent in a node's namespace, configured over NETCONF with edit-config and
//! commit, and frames that come in and leave at its ports.

use std::time::{Duration, Instant};

use tranche_netconf::client::{Auth, Client, ClientConfig, HostKeyCheck};
use tranche_netconf::message::{
    Commit, Datastore, DefaultOperation, EditConfig, ErrorOption, Filter, TestOption,
};
use tranche_netconf::xml::Fragment;

use super::tests::{Rig, can_run};
use crate::Agent;
use crate::backend::hardware::AirtimeScheduler;
use crate::backend::steering::suite::frames::{Frame, gtp, udp4, user_packet};
use crate::backend::steering::suite::{SteeringRig as _, leaves};
use crate::config::Settings;

const PATIENCE: Duration = Duration::from_secs(60);
const STEERING: &str = "urn:tranche:yang:tranche-steering";
/// Users 1 go through, of users 2 those that want the edge end here, what the edge answers goes back into the tunnel, and
/// users 3 are shut out.
const RULES: &str = "<port><name>p0</name><gtp-address>10.0.0.1</gtp-address></port>\
    <port><name>p1</name></port><port><name>a0</name></port>\
    <rule><name>through</name><slice>a</slice><match><in-port>p0</in-port><gtp><teid>1</teid></gtp></match>\
    <forward><out-port>p1</out-port></forward></rule>\
    <rule><name>local</name><slice>b</slice><match><in-port>p0</in-port><gtp><teid>2</teid>\
    <inner-destination-prefix>192.168.0.0/16</inner-destination-prefix></gtp></match><end-gtp/>\
    <forward><out-port>a0</out-port></forward></rule>\
    <rule><name>back</name><slice>b</slice><match><in-port>a0</in-port><destination-prefix>172.16.0.9/32</destination-prefix></match>\
    <forward><encapsulate><teid>119</teid><local-address>10.0.0.1</local-address><peer-address>10.0.0.2</peer-address></encapsulate>\
    <out-port>p0</out-port></forward></rule>\
    <rule><name>shut-out</name><slice>c</slice><match><in-port>p0</in-port><gtp><teid>3</teid></gtp></match><drop/></rule>";

fn settings(rig: &Rig) -> Settings {
    let factory = rig.state_dir().join("factory.json");
    let content = serde_json::json!({
        "ietf-system:system": { "authentication": { "user": [{ "name": "admin", "password": "$0$admin secret" }] } },
        "ietf-netconf-acm:nacm": {
            "groups": { "group": [{ "name": "admins", "user-name": ["admin"] }] },
            "rule-list": [{ "name": "admins", "group": ["admins"], "rule": [
                { "name": "all", "module-name": "*", "access-operations": "*", "action": "permit" }] }],
        },
    });
    std::fs::write(&factory, content.to_string()).unwrap();
    let mut settings = Settings::simulated(1, rig.state_dir().join("agent"));
    settings.sim = None;
    settings.hardware.airtime = AirtimeScheduler::Off;
    settings.factory_default = vec![factory];
    settings
}

/// An agent and a session of its administrator.
async fn start(settings: Settings) -> (Agent, Client) {
    let agent = Agent::start(settings).await.unwrap();
    let node = &agent.nodes()[0];
    let key = HostKeyCheck::Pinned(node.host_key_fingerprint().to_owned());
    let password = Auth::Password("admin secret".to_owned());
    let config = ClientConfig::new(node.address().to_string(), "admin", password, key);
    let (client, _notifications) = Client::connect(config).await.unwrap();
    (agent, client)
}

async fn commit(client: &Client, content: &str) -> Result<(), tranche_netconf::Error> {
    let xml = format!(
        "<steering xmlns=\"{STEERING}\" xmlns:nc=\"urn:ietf:params:xml:ns:netconf:base:1.0\">{content}</steering>"
    );
    let edit = EditConfig {
        target: Datastore::Candidate,
        default_operation: DefaultOperation::Merge,
        test_option: TestOption::TestThenSet,
        error_option: ErrorOption::RollbackOnError,
        config: Fragment::parse(&xml).unwrap(),
    };
    client.edit_config(&edit).await?;
    client.commit(&Commit::default()).await
}

/// Waits until the node tells that a rule matched so many packets.
async fn matched(client: &Client, rule: &str, packets: u32) {
    let filter =
        format!("<steering xmlns=\"{STEERING}\"><rule><name>{rule}</name></rule></steering>");
    let wanted = format!("<packets>{packets}</packets>");
    let begin = Instant::now();
    loop {
        let filter = Filter::Subtree(Fragment::parse(&filter).unwrap());
        let data = client.get(Some(filter), None).await.unwrap();
        if data.as_str().contains(&wanted) {
            return;
        }
        assert!(begin.elapsed() < PATIENCE, "{}", data.as_str());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Scenarios of 5GCity D3.1: through untouched, ended here, served here and put back.
async fn scenarios(rig: &mut Rig, client: &Client) {
    let through = Frame::gtp(1, 255, &user_packet()).bytes();
    assert_eq!(
        leaves(rig, "p0", &through).await,
        ("p1".to_owned(), through)
    );
    let ended = Frame::gtp(2, 255, &user_packet()).bytes();
    let plain = Frame::ip(user_packet()).bytes();
    let (port, left) = leaves(rig, "p0", &ended).await;
    assert_eq!((port.as_str(), &left[12..]), ("a0", &plain[12..]));
    let answer = udp4("192.168.0.7", "172.16.0.9", 80, 4000, b"to a user");
    let (port, left) = leaves(rig, "a0", &Frame::ip(answer.clone()).bytes()).await;
    let header = gtp(119, 255, &[], &answer);
    assert_eq!((port.as_str(), &left[42..50]), ("p0", &header[..8]));
    assert!(left.ends_with(b"to a user"));
    rig.send("p0", &Frame::gtp(3, 255, &user_packet()).bytes());
    matched(client, "shut-out", 1).await;
    assert_eq!(rig.left(), []);
}

async fn driven_over_netconf(rig: &mut Rig) {
    let (agent, client) = start(settings(rig)).await;
    assert!(rig.is_untouched());
    commit(&client, RULES).await.unwrap();
    scenarios(rig, &client).await;
    for rule in ["through", "local", "back", "shut-out"] {
        matched(&client, rule, 1).await;
    }
    // A refused commit leaves all as it was.
    let bad = "<rule><name>through</name><forward><out-port>eth9</out-port></forward></rule>";
    assert!(commit(&client, bad).await.is_err());
    client.discard_changes().await.unwrap();
    let through = Frame::gtp(1, 255, &user_packet()).bytes();
    assert_eq!(leaves(rig, "p0", &through).await.0, "p1");
    // Another way out for one rule, in one commit.
    let other = "<rule><name>through</name><forward><out-port>a0</out-port></forward></rule>";
    commit(&client, other).await.unwrap();
    assert_eq!(leaves(rig, "p0", &through).await.0, "a0");
    matched(&client, "through", 3).await;
    // An agent that starts again goes on with what it finds.
    drop(client);
    agent.shutdown().await;
    assert_eq!(leaves(rig, "p0", &through).await.0, "a0");
    let (agent, client) = start(settings(rig)).await;
    matched(&client, "through", 4).await;
    let gone = format!(
        "<steering xmlns=\"{STEERING}\" xmlns:nc=\"urn:ietf:params:xml:ns:netconf:base:1.0\" nc:operation=\"delete\"/>"
    );
    let edit = EditConfig {
        target: Datastore::Candidate,
        default_operation: DefaultOperation::Merge,
        test_option: TestOption::TestThenSet,
        error_option: ErrorOption::RollbackOnError,
        config: Fragment::parse(&gone).unwrap(),
    };
    client.edit_config(&edit).await.unwrap();
    client.commit(&Commit::default()).await.unwrap();
    assert!(rig.is_untouched());
    drop(client);
    agent.shutdown().await;
}

fn run() {
    let mut rig = Rig::without_steering();
    let runtime = rig.runtime_in_node();
    // The future itself has to be on a thread of the namespace.
    let (send, receive) = std::sync::mpsc::channel();
    runtime.spawn(async move {
        driven_over_netconf(&mut rig).await;
        send.send(()).unwrap();
    });
    receive.recv().expect("the test has passed");
    runtime.shutdown_timeout(Duration::from_secs(10));
}

#[test]
fn frames_go_where_a_commit_says() {
    if can_run() {
        run();
    }
}

#[test]
#[ignore = "is about an older kernel than most have: run by make test-vm"]
fn frames_go_where_a_commit_says_on_an_older_kernel() {
    super::kernel::load_object(false).expect("the kernel takes the program");
    run();
}
