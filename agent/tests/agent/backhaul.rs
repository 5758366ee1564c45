//! Tunnels as a controller makes them: two simulated nodes, keys read at one and configured at the other.

use tranche_netconf::client::{Auth, Client, ClientConfig, HostKeyCheck};
use tranche_netconf::error::ErrorTag;
use tranche_netconf::message::{ConfigSource, CreateSubscription, Datastore, Operation, Reply};

use crate::support::*;

const BACKHAUL: &str = "urn:tranche:yang:tranche-backhaul";
const ACTION: &str = "urn:ietf:params:xml:ns:yang:1";
const TUNNEL: &str = "/tranche-backhaul:backhaul/tunnel[slice='cam']";
/// A key that nobody has.
const KEY: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";
const PRESHARED: &str = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2U=";

async fn two_nodes() -> (Bench, Client, Client) {
    let bench = Bench::start_with(|settings| settings.sim = Some(2)).await;
    let mut clients = Vec::new();
    for node in bench.agent.nodes() {
        let key = HostKeyCheck::Pinned(node.host_key_fingerprint().to_owned());
        let password = Auth::Password("admin secret".to_owned());
        let config = ClientConfig::new(node.address().to_string(), "admin", password, key);
        clients.push(Client::connect(config).await.unwrap().0);
    }
    let (spoke, hub) = (clients.pop().unwrap(), clients.pop().unwrap());
    (bench, hub, spoke)
}

fn backhaul(tunnel: &str) -> String {
    format!("<backhaul xmlns=\"{BACKHAUL}\"><tunnel><slice>cam</slice>{tunnel}</tunnel></backhaul>")
}

fn bare(role: &str, address: &str) -> String {
    backhaul(&format!(
        "<role>{role}</role><address>{address}</address><probe><interval>20</interval></probe>"
    ))
}

fn peer(name: &str, key: &str, port: &str, address: &str) -> String {
    backhaul(&format!(
        "<peer><name>{name}</name><public-key>{key}</public-key><preshared-key>{PRESHARED}</preshared-key>\
         <endpoint><address>127.0.0.1</address><port>{port}</port></endpoint>\
         <tunnel-address>{address}</tunnel-address></peer>"
    ))
}

async fn state(client: &Client) -> String {
    let filter = subtree(&backhaul("<state/>"));
    client
        .get(Some(filter), None)
        .await
        .unwrap()
        .as_str()
        .to_owned()
}

/// The text of an element, wherever its namespace is declared.
fn field(xml: &str, name: &str) -> String {
    let (_, rest) = xml
        .split_once(&format!("<{name}>"))
        .or_else(|| xml.split_once(&format!("<{name} ")))
        .unwrap_or_else(|| panic!("{name} in {xml}"));
    let text = rest.split('<').next().unwrap();
    text.rsplit('>').next().unwrap().to_owned()
}

async fn act(client: &Client, action: &str) -> Result<Reply, tranche_netconf::Error> {
    let inner = backhaul(action);
    let element = format!("<action xmlns=\"{ACTION}\">{inner}</action>");
    let operation = Operation::Other {
        namespace: ACTION.to_owned(),
        name: "action".to_owned(),
        element: fragment(&element),
    };
    client.call(operation).await
}

async fn output(client: &Client, action: &str) -> String {
    match act(client, action).await.unwrap() {
        Reply::Output(output) => output.as_str().to_owned(),
        other => panic!("{other:?}"),
    }
}

/// The two nodes know each other and answer.
async fn connected() -> (Bench, Client, Client) {
    let (bench, hub, spoke) = two_nodes().await;
    let ends = [(&hub, "hub", "10.77.0.1"), (&spoke, "spoke", "10.77.0.2")];
    let mut states = Vec::new();
    for (client, role, address) in ends {
        edit_running(client, &bare(role, address)).await.unwrap();
        states.push(state(client).await);
    }
    for (index, (client, ..)) in ends.into_iter().enumerate() {
        let (there, (_, name, address)) = (&states[1 - index], ends[1 - index]);
        let key = field(there, "public-key");
        let peer = peer(name, &key, &field(there, "listen-port"), address);
        edit_running(client, &peer).await.unwrap();
    }
    eventually("the hub answers", || async {
        state(&spoke).await.contains("<oper-state>up</oper-state>")
    })
    .await;
    (bench, hub, spoke)
}

#[tokio::test]
async fn a_tunnel_comes_up_when_both_ends_know_each_other() {
    let (_bench, hub, spoke) = connected().await;
    let seen = state(&spoke).await;
    for part in [
        "<backend-in-use>simulator</backend-in-use>",
        "<epoch>1</epoch>",
        "<state>active</state>",
        "<probe-rtt>1000</probe-rtt>",
    ] {
        assert!(seen.contains(part), "{part} in {seen}");
    }
    let probed = output(&hub, "<probe-now><count>2</count></probe-now>").await;
    assert!(
        probed.contains("<name>spoke</name><sent>2</sent><received>2</received>"),
        "{probed}"
    );
    let delete = format!(
        "<backhaul xmlns=\"{BACKHAUL}\" xmlns:nc=\"{NC}\"><tunnel nc:operation=\"delete\"><slice>cam</slice></tunnel></backhaul>"
    );
    edit_running(&spoke, &delete).await.unwrap();
    assert!(!state(&spoke).await.contains("<state>"));
    eventually("the hub misses the spoke", || async {
        state(&hub).await.contains("<state>down</state>")
    })
    .await;
}

#[tokio::test]
async fn a_preshared_key_is_in_no_reply_and_works_all_the_same() {
    let (bench, hub, spoke) = connected().await;
    edit_candidate(&hub, &backhaul("<mtu>1400</mtu>"))
        .await
        .unwrap();
    for datastore in [Datastore::Running, Datastore::Candidate] {
        let all = hub.get_config(datastore, None, None).await.unwrap();
        assert!(all.as_str().contains("<tunnel-address>"), "{datastore:?}");
        assert!(!all.as_str().contains("preshared-key"), "{datastore:?}");
    }
    let all = hub.get(None, None).await.unwrap();
    assert!(!all.as_str().contains("preshared-key"));
    // Nor can a filter ask for it.
    let by_value = format!(
        "<backhaul xmlns=\"{BACKHAUL}\"><tunnel><peer><preshared-key>{PRESHARED}</preshared-key></peer></tunnel></backhaul>"
    );
    let found = config(&hub, Datastore::Running, &by_value).await;
    assert!(!found.contains("<name>"), "{found}");
    // Another one on one side only: nobody agrees any more. A copy and a restart keep it.
    commit(&hub).await.unwrap();
    copy(
        &hub,
        Datastore::Candidate,
        ConfigSource::Datastore(Datastore::Running),
    )
    .await
    .unwrap();
    commit(&hub).await.unwrap();
    drop((hub, spoke));
    let bench = bench.restart_with(|settings| settings.sim = Some(2)).await;
    let hub = bench.admin().await;
    eventually("the tunnel is back", || async {
        state(&hub).await.contains("<oper-state>up</oper-state>")
    })
    .await;
    let other = backhaul(
        "<peer><name>spoke</name><preshared-key>AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=</preshared-key></peer>",
    );
    edit_running(&hub, &other).await.unwrap();
    eventually("nobody agrees", || async {
        state(&hub).await.contains("<state>down</state>")
    })
    .await;
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_its_path_and_changes_nothing() {
    let (_bench, hub, _spoke) = two_nodes().await;
    edit_running(&hub, &bare("hub", "10.77.0.1")).await.unwrap();
    let own = field(&state(&hub).await, "public-key");
    let peer = |content: &str| {
        backhaul(&format!(
            "<peer><name>p</name><public-key>{KEY}</public-key>{content}</peer>"
        ))
    };
    let keyed = |key: &str| {
        backhaul(&format!(
            "<peer><name>p</name><public-key>{key}</public-key></peer>"
        ))
    };
    let other = |content: &str| {
        format!(
            "<backhaul xmlns=\"{BACKHAUL}\"><tunnel><slice>b</slice><role>hub</role><address>10.88.0.1</address>{content}</tunnel></backhaul>"
        )
    };
    let two = |content: &str| {
        format!(
            "<peer><name>q</name><public-key>qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqo=</public-key>{content}</peer>"
        )
    };
    let prefixes = |one: &str, more: &str| {
        let prefix = |prefix: &str| format!("<allowed-prefix>{prefix}</allowed-prefix>");
        backhaul(&format!(
            "<peer><name>p</name><public-key>{KEY}</public-key>{}</peer>{}",
            prefix(one),
            two(&prefix(more))
        ))
    };
    let port = |slice: &str| other(&format!("<listen-port>{slice}</listen-port>"));
    edit_running(&hub, &backhaul("<listen-port>51820</listen-port>"))
        .await
        .unwrap();
    let l2 = |vni: &str, rest: &str| other(&format!("<layer>l2-vxlan</layer>{vni}{rest}"));
    let (bad, failed) = (ErrorTag::InvalidValue, ErrorTag::OperationFailed);
    for (what, xml, tag, path) in [
        ("a short key", keyed("c2hvcnQ="), bad, "/peer/public-key"),
        (
            "a key of zeros",
            keyed("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
            bad,
            "/peer[name='p']/public-key",
        ),
        (
            "a key of low order",
            keyed("AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
            bad,
            "/peer[name='p']/public-key",
        ),
        (
            "the own key",
            keyed(&own),
            bad,
            "/peer[name='p']/public-key",
        ),
        (
            "one key twice",
            backhaul(&format!(
                "<peer><name>p</name><public-key>{KEY}</public-key></peer><peer><name>q</name><public-key>{KEY}</public-key></peer>"
            )),
            failed,
            "/peer[name='q']",
        ),
        (
            "overlapping prefixes",
            prefixes("10.1.0.0/16", "10.1.2.0/24"),
            bad,
            "/peer[name='q']/allowed-prefix[.='10.1.2.0/24']",
        ),
        (
            "host bits",
            peer("<allowed-prefix>10.1.0.1/16</allowed-prefix>"),
            bad,
            "/peer[name='p']/allowed-prefix[.='10.1.0.1/16']",
        ),
        (
            "a default route at a hub",
            peer("<allowed-prefix>0.0.0.0/0</allowed-prefix>"),
            bad,
            "/peer[name='p']/allowed-prefix[.='0.0.0.0/0']",
        ),
        (
            "a prefix with the endpoint in it",
            peer(
                "<endpoint><address>192.0.2.1</address><port>1</port></endpoint><allowed-prefix>192.0.2.0/24</allowed-prefix>",
            ),
            bad,
            "/peer[name='p']/allowed-prefix[.='192.0.2.0/24']",
        ),
        (
            "an endpoint nowhere",
            peer("<endpoint><address>0.0.0.0</address><port>1</port></endpoint>"),
            bad,
            "/peer[name='p']/endpoint/address",
        ),
        (
            "a multicast endpoint",
            peer("<endpoint><address>224.0.0.1</address><port>1</port></endpoint>"),
            bad,
            "/peer[name='p']/endpoint/address",
        ),
        (
            "port 0",
            peer("<endpoint><address>192.0.2.1</address><port>0</port></endpoint>"),
            bad,
            "/peer/endpoint/port",
        ),
        (
            "a priority without probes",
            other(
                "<peer><name>p</name><public-key>qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqo=</public-key><tunnel-address>10.88.0.2</tunnel-address><priority>1</priority></peer>",
            ),
            failed,
            "[slice='b']",
        ),
        (
            "a management tunnel that is probed",
            other("<probe><interval>50</interval></probe><management/>"),
            failed,
            "/management",
        ),
        (
            "a management tunnel with users",
            other("<attachment><interface>ua</interface></attachment><management/>"),
            failed,
            "/management",
        ),
        ("a port twice", port("51820"), failed, ""),
        ("no VNI", l2("", ""), failed, "[slice='b']"),
        (
            "VXLAN that does not fit",
            l2("<vni>7</vni>", "<mtu>600</mtu>"),
            bad,
            "[slice='b']/mtu",
        ),
        (
            "a long name",
            backhaul("<attachment><interface>sixteen-octets-x</interface></attachment>"),
            bad,
            "/attachment/interface",
        ),
    ] {
        let error = refused(edit_running(&hub, &xml).await);
        assert_eq!(error.tag, tag, "{what}: {error:?}");
        assert!(
            error.path.as_deref().unwrap_or_default().ends_with(path),
            "{what}: {error:?}"
        );
    }
    edit_running(&hub, &l2("<vni>7</vni>", "")).await.unwrap();
    let third = format!(
        "<backhaul xmlns=\"{BACKHAUL}\"><tunnel><slice>c</slice><role>hub</role><address>10.99.0.1</address><layer>l2-vxlan</layer><vni>7</vni></tunnel></backhaul>"
    );
    assert_eq!(refused(edit_running(&hub, &third).await).tag, failed);
    let running = config(&hub, Datastore::Running, &backhaul("")).await;
    assert!(!running.contains("<peer>"), "{running}");
}

#[tokio::test]
async fn a_rotation_is_carried_out_from_outside() {
    let (bench, hub, spoke) = connected().await;
    let (listener, mut events) = bench.login("admin").await.unwrap();
    let netconf = CreateSubscription {
        stream: "NETCONF".to_owned(),
        filter: None,
        start_time: None,
        stop_time: None,
    };
    listener.create_subscription(netconf).await.unwrap();
    let next = [
        output(&hub, "<rotate-key/>").await,
        output(&spoke, "<rotate-key/>").await,
    ];
    let prepared = notified(&mut events, "rotation-prepared").await;
    assert_eq!(
        field(&prepared, "public-key"),
        field(&next[0], "public-key")
    );
    let early = refused(act(&hub, "<complete-rotation/>").await);
    assert_eq!(
        (early.tag, early.path.as_deref()),
        (ErrorTag::OperationFailed, Some(TUNNEL))
    );
    let names = ["hub", "spoke"];
    for (index, client) in [&hub, &spoke].into_iter().enumerate() {
        let there = &next[1 - index];
        let told = backhaul(&format!(
            "<peer><name>{}</name><next><public-key>{}</public-key><endpoint><address>127.0.0.1</address><port>{}</port></endpoint></next></peer>",
            names[1 - index],
            field(there, "public-key"),
            field(there, "listen-port"),
        ));
        edit_running(client, &told).await.unwrap();
    }
    for client in [&hub, &spoke] {
        eventually("the second interface is ready", || async {
            state(client).await.contains("<phase>ready</phase>")
        })
        .await;
    }
    for (client, key) in [(&hub, &next[0]), (&spoke, &next[1])] {
        let done = output(client, "<complete-rotation/>").await;
        assert_eq!(field(&done, "public-key"), field(key, "public-key"));
    }
    let complete = notified(&mut events, "rotation-complete").await;
    assert_eq!(field(&complete, "epoch"), "2");
    let error = refused(act(&hub, "<switch-over><peer>moon</peer></switch-over>").await);
    assert_eq!(message(&error), "there is no peer moon");
    let none = refused(act(&hub, "<cancel-rotation/>").await);
    assert_eq!(message(&none), "no rotation is under way");
}

#[tokio::test]
async fn a_tunnel_that_was_removed_by_mistake_comes_back_with_its_key() {
    let (_bench, _hub, spoke) = connected().await;
    let before = state(&spoke).await;
    let delete =
        format!("<backhaul xmlns=\"{BACKHAUL}\" xmlns:nc=\"{NC}\" nc:operation=\"delete\"/>");
    edit_candidate(&spoke, &delete).await.unwrap();
    spoke.commit(&on_trial(1)).await.unwrap();
    assert!(!state(&spoke).await.contains("<state>"));
    eventually("the commit lapses", || async {
        state(&spoke).await.contains("<oper-state>up</oper-state>")
    })
    .await;
    let after = state(&spoke).await;
    for name in ["public-key", "listen-port", "epoch", "key-made"] {
        assert_eq!(field(&after, name), field(&before, name), "{name}");
    }
}

#[tokio::test]
async fn keys_are_files_of_the_agents_user_and_go_with_their_tunnel() {
    use std::os::unix::fs::PermissionsExt as _;
    let (bench, hub, _spoke) = two_nodes().await;
    edit_running(&hub, &bare("hub", "10.77.0.1")).await.unwrap();
    let file = bench.dir.path().join("state/node-1/backhaul/cam.key");
    assert_eq!(
        std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let delete =
        format!("<backhaul xmlns=\"{BACKHAUL}\" xmlns:nc=\"{NC}\" nc:operation=\"delete\"/>");
    edit_running(&hub, &delete).await.unwrap();
    assert!(!file.exists());
}
