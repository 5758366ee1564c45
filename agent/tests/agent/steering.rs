//! Steering as a controller configures it: rules in their order, refusals with the node at fault, and what is seen.

use tranche_netconf::client::Client;
use tranche_netconf::error::ErrorTag;
use tranche_netconf::message::{CreateSubscription, Datastore};

use crate::support::*;

const STEERING: &str = "urn:tranche:yang:tranche-steering";
const YANG: &str = "urn:ietf:params:xml:ns:yang:1";

fn steering(content: &str) -> String {
    format!(
        "<steering xmlns=\"{STEERING}\" xmlns:nc=\"{NC}\" xmlns:yang=\"{YANG}\">{content}</steering>"
    )
}

fn rule(name: &str, slice: &str, content: &str) -> String {
    format!("<rule><name>{name}</name><slice>{slice}</slice>{content}</rule>")
}

fn resolver(port: &str, content: &str) -> String {
    format!(
        "<resolver><slice>a</slice><port>{port}</port><address>10.53.0.1</address><client>10.60.0.0/16</client>{content}</resolver>"
    )
}

fn record(name: &str, kind: &str, address: &str, ttl: u32) -> String {
    format!(
        "<record><name>{name}</name><type>{kind}</type><address>{address}</address><ttl>{ttl}</ttl></record>"
    )
}

fn to(port: &str) -> String {
    format!("<forward><out-port>{port}</out-port></forward>")
}

const OF_USER: &str = "<match><in-port>ran0</in-port><gtp><teid>1</teid></gtp></match>";

async fn state(client: &Client) -> String {
    let filter = subtree(&steering(""));
    let data = client.get(Some(filter), None).await.unwrap();
    data.as_str().to_owned()
}

/// A node with ports, a rule for everything, and after it one for a user.
async fn with_rules() -> (Bench, Client) {
    let (bench, admin) = Bench::with_admin().await;
    let all = rule(
        "all",
        "a",
        &format!("<match><in-port>ran0</in-port></match>{}", to("core0")),
    );
    let user = rule("user", "a", &format!("{OF_USER}{}", to("app0")));
    let ports = "<port><name>ran0</name></port><port><name>core0</name></port><port><name>app0</name></port>";
    edit_running(&admin, &steering(&format!("{ports}{all}{user}")))
        .await
        .unwrap();
    (bench, admin)
}

#[tokio::test]
async fn req_cp_1_rules_are_configured_over_netconf_and_keep_their_order() {
    let (bench, admin) = with_rules().await;
    let seen = state(&admin).await;
    for part in [
        "<shadowed-by>all</shadowed-by>",
        "<oper-state>up</oper-state>",
        "<unmatched><packets>0</packets>",
    ] {
        assert!(seen.contains(part), "{part} in {seen}");
    }
    let first = "<rule yang:insert=\"first\"><name>user</name></rule>";
    edit_running(&admin, &steering(first)).await.unwrap();
    assert!(!state(&admin).await.contains("<shadowed-by>"));
    let names = resolver("app0", &record("x.example", "A", "10.0.0.1", 1));
    edit_running(&admin, &steering(&names)).await.unwrap();
    let seen = state(&admin).await;
    for part in ["<answered>0</answered>", "<ignored>0</ignored>"] {
        assert!(seen.contains(part), "{part} in {seen}");
    }
    let gone = "<resolver nc:operation=\"delete\"><slice>a</slice></resolver>";
    edit_running(&admin, &steering(gone)).await.unwrap();
    assert!(!state(&admin).await.contains("<answered>"));
    // The order is durable.
    let bench = bench.restart().await;
    let admin = bench.admin().await;
    let running = config(&admin, Datastore::Running, &steering("")).await;
    let order = ["user", "all"].map(|name| running.find(&format!("<name>{name}</name>")).unwrap());
    assert!(order.is_sorted(), "{running}");
    let seen = state(&admin).await;
    assert!(
        seen.contains("<oper-state>up</oper-state>") && !seen.contains("<shadowed-by>"),
        "{seen}"
    );
    edit_running(
        &admin,
        &format!("<steering xmlns=\"{STEERING}\" xmlns:nc=\"{NC}\" nc:operation=\"delete\"/>"),
    )
    .await
    .unwrap();
    assert!(!state(&admin).await.contains("<packets>"));
}

#[tokio::test]
async fn what_changes_is_reported_to_who_listens_and_only_once() {
    let (bench, admin) = with_rules().await;
    let (listener, mut events) = bench.login("admin").await.unwrap();
    let telemetry = CreateSubscription {
        stream: "telemetry".to_owned(),
        filter: Some(subtree(&format!("<steering-report xmlns=\"{STEERING}\"/>"))),
        start_time: None,
        stop_time: None,
    };
    listener.create_subscription(telemetry).await.unwrap();
    let first = events.recv().await.unwrap();
    let first = first.content.as_str();
    for part in [
        "<sequence>1</sequence>",
        "<port><name>ran0</name><oper-state>up</oper-state></port>",
    ] {
        assert!(first.contains(part), "{part} in {first}");
    }
    assert!(!first.contains("<rule>"), "nothing matched: {first}");
    // What is new is told, and nothing else again.
    let port = "<port><name>app1</name></port>";
    edit_running(&admin, &steering(port)).await.unwrap();
    let second = events.recv().await.unwrap();
    let second = second.content.as_str();
    assert!(second.contains("<sequence>2</sequence>"), "{second}");
    assert!(second.contains("<name>app1</name>"), "{second}");
    assert!(!second.contains("ran0"), "{second}");
}

#[tokio::test]
async fn an_application_that_hangs_is_told_and_seen_with_the_reason() {
    let (bench, admin) = with_rules().await;
    let (listener, mut events) = bench.login("admin").await.unwrap();
    let told = CreateSubscription {
        stream: "NETCONF".to_owned(),
        filter: Some(subtree(&format!(
            "<application-state-change xmlns=\"{STEERING}\"/>"
        ))),
        start_time: None,
        stop_time: None,
    };
    listener.create_subscription(told).await.unwrap();
    let check = "<health-check><pass-through/><interval>100</interval><timeout>100</timeout></health-check>";
    let chain = format!(
        "<chain><name>c</name><on-failure>close</on-failure><application><name>ids</name><port>app0</port>{check}</application>{}</chain>",
        to("core0")
    );
    edit_running(&admin, &steering(&chain)).await.unwrap();
    let sim = |content: &str| format!("<sim xmlns=\"{SIM}\" xmlns:nc=\"{NC}\">{content}</sim>");
    let hung = sim("<hung-port>app0</hung-port>");
    edit_running(&admin, &hung).await.unwrap();
    let event = events.recv().await.unwrap();
    let down = "<is-up>false</is-up><down-by>health-check</down-by><reason>no answer within 100 ms</reason>";
    let whose = "<chain>c</chain><application>ids</application>";
    for part in [whose, down] {
        assert!(event.content.as_str().contains(part), "{event:?}");
    }
    let seen = state(&admin).await;
    for part in [down, "<checked-at>"] {
        assert!(seen.contains(part), "{part} in {seen}");
    }
    let again = sim("<hung-port nc:operation=\"delete\">app0</hung-port>");
    edit_running(&admin, &again).await.unwrap();
    let event = events.recv().await.unwrap();
    let content = event.content.as_str();
    assert!(
        content.contains("<is-up>true</is-up>") && !content.contains("<reason>"),
        "{content}"
    );
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_the_node_at_fault() {
    let (_bench, admin) = with_rules().await;
    let chain = |content: &str| {
        format!("<chain><name>c</name><on-failure>close</on-failure>{content}</chain>")
    };
    let tunnel = |qfi: u8, peer: &str| {
        format!(
            "<forward><encapsulate><teid>1</teid><local-address>10.0.0.1</local-address><peer-address>{peer}</peer-address>\
             <qfi>{qfi}</qfi></encapsulate><out-port>core0</out-port></forward>"
        )
    };
    let matching = |content: &str| format!("<match>{content}</match>{}", to("core0"));
    let application =
        |port: &str| format!("<application><name>{port}</name><port>{port}</port></application>");
    let checked = |check: &str| {
        let of = format!("<name>ids</name><port>app0</port><health-check>{check}</health-check>");
        chain(&format!("<application>{of}</application>{}", to("core0")))
    };
    let ends = |to: &str, from: &str| {
        format!(
            "<destination-address>{to}</destination-address><source-address>{from}</source-address>"
        )
    };
    let cases = [
        (
            rule("x", "a", &to("eth9")),
            "/rule[name='x']/forward/out-port",
        ),
        (
            rule("x", "b", &format!("{OF_USER}<drop/>")),
            "/rule[name='x']/match/gtp/teid",
        ),
        (
            rule("x", "a", &tunnel(64, "10.0.0.2")),
            "/rule[name='x']/forward/encapsulate/qfi",
        ),
        (
            rule("x", "a", &tunnel(9, "fd00::1")),
            "/rule[name='x']/forward/encapsulate/peer-address",
        ),
        (
            rule("x", "a", &tunnel(9, "224.0.0.1")),
            "/rule[name='x']/forward/encapsulate/peer-address",
        ),
        (
            rule(
                "x",
                "a",
                &matching("<source-prefix>10.0.0.1/8</source-prefix>"),
            ),
            "/rule[name='x']/match/source-prefix",
        ),
        (
            rule(
                "x",
                "a",
                &matching("<protocol>1</protocol><source-port>1</source-port>"),
            ),
            "/rule[name='x']/match/protocol",
        ),
        (
            rule(
                "x",
                "a",
                &matching(
                    "<source-prefix>10.0.0.0/8</source-prefix><destination-prefix>fd00::/8</destination-prefix>",
                ),
            ),
            "/rule[name='x']/match/destination-prefix",
        ),
        (
            rule("x", "a", "<end-gtp/><drop/>"),
            "/rule[name='x']/end-gtp",
        ),
        (rule("x", "a", "<chain>c</chain>"), "/rule[name='x']/chain"),
        (chain("<classify/>"), "/chain[name='c']"),
        (
            checked("<pass-through/><interval>100</interval>"),
            "/application[name='ids']/health-check/timeout",
        ),
        (
            checked(&format!(
                "<icmp-echo>{}</icmp-echo>",
                ends("10.9.0.2", "fd00::1")
            )),
            "/application[name='ids']/health-check/icmp-echo/source-address",
        ),
        (
            checked(&format!(
                "<http>{}<path>status</path></http>",
                ends("10.9.0.2", "10.9.0.1")
            )),
            "/health-check/http/path",
        ),
        (
            chain(&format!("{}{}", application("app0"), to("app0"))),
            "/chain[name='c']/forward/out-port",
        ),
        (
            format!(
                "{}{}",
                chain(&format!("{}<classify/>", application("app0"))),
                rule(
                    "x",
                    "a",
                    "<match><in-port>app0</in-port></match><chain>c</chain>"
                )
            ),
            "/rule[name='x']/chain",
        ),
        (
            format!(
                "{}{}",
                chain(&format!("{}{}", application("app0"), to("core0"))),
                rule("x", "a", "<match><in-port>app0</in-port></match><drop/>")
            ),
            "/rule[name='x']/match/in-port",
        ),
        (
            rule(
                "x",
                "a",
                &matching(
                    "<source-port-range><lower-port>9</lower-port><upper-port>8</upper-port></source-port-range>",
                ),
            ),
            "/rule[name='x']/match/source-port-range/upper-port",
        ),
        (
            resolver("app0", &record("-x.example", "A", "10.0.0.1", 1)),
            "/resolver/record/name",
        ),
        (
            resolver("app0", &record("x.example", "AAAA", "10.0.0.1", 1)),
            "/record[name='x.example'][type='AAAA']/address",
        ),
        (
            resolver("app0", &record("x.example", "A", "10.0.0.1", 2_147_483_648)),
            "/resolver/record/ttl",
        ),
        (
            resolver(
                "app0",
                &format!(
                    "{}{}",
                    record("x.example", "A", "10.0.0.1", 1),
                    record("X.example", "A", "10.0.0.2", 1)
                ),
            ),
            // The list is kept by key, capitals first.
            "/record[name='x.example'][type='A']/name",
        ),
        (resolver("eth9", ""), "/resolver[slice='a']/port"),
        (
            "<port><name>ran0</name><gtp-address>0.0.0.0</gtp-address></port>".to_owned(),
            "/port[name='ran0']/gtp-address[.='0.0.0.0']",
        ),
    ];
    let before = config(&admin, Datastore::Running, &steering("")).await;
    for (content, path) in cases {
        let error = refused(edit_running(&admin, &steering(&content)).await);
        assert_eq!(error.tag, ErrorTag::InvalidValue, "{content}: {error:?}");
        let at = error.path.as_deref().unwrap();
        assert!(at.ends_with(path), "{at} for {content}");
    }
    assert_eq!(
        config(&admin, Datastore::Running, &steering("")).await,
        before
    );
}
