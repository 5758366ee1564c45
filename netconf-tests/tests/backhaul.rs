//! Slices with an encrypted path, from intent to packets and back to nothing: real agents in network namespaces, real tunnels,
//! and a controller that is asked over RESTCONF.
//!
//! A program of its own, so that its streams have no other test beside them. Says SKIPPED where there can be no tunnels.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tranche_tests::backhaul::{
    Capture, DATA_CENTRE, EDGE, Ear, MACHINES, NOBODY, Network, SERVER, Scene, Stream, arrived,
    missing, slices, underlay,
};
use tranche_tests::wait::eventually;

const SOON: Duration = Duration::from_secs(60);
const MILLISECOND: Duration = Duration::from_millis(1);

/// Waits until so many packets of a stream came to at least one of the places.
async fn until_arrived(what: &str, stream: &Stream, ears: &[&Ear], count: u32) {
    let arrive = async || {
        let came = arrived(stream.number, ears);
        Ok(match came >= count {
            true => Ok(()),
            false => Err(format!("{came} of {count}, {} sent", stream.sent())),
        })
    };
    eventually(what, SOON, arrive).await.unwrap();
}

/// So many more than until now: whatever is between two of these happened under traffic.
async fn goes_on(what: &str, stream: &Stream, ears: &[&Ear]) {
    let count = arrived(stream.number, ears) + 300;
    until_arrived(what, stream, ears, count).await;
}

/// Ends a stream, all of which must arrive.
async fn loses_none(what: &str, mut stream: Stream, ears: &[&Ear]) -> u32 {
    stream.stop();
    until_arrived(what, &stream, ears, stream.sent()).await;
    stream.sent()
}

/// Gives a user one more address, or takes it away.
fn address(what: &str, user: &str, address: Ipv4Addr) {
    let address = format!("{address}/32");
    let arguments = ["-n", user, "address", what, &address, "dev", "eth0"];
    let done = Command::new("ip").args(arguments).status().unwrap();
    assert!(done.success(), "{what} {address}");
}

fn traces(network: &Network) -> Vec<String> {
    let machines = 0..MACHINES;
    machines
        .map(|index| network.traces(index).unwrap())
        .collect()
}

/// The ears of a slice: the user at either access node, the server behind either hub.
fn ears(network: &Network, tenant: usize) -> Vec<Ear> {
    let name = ["tenant-a", "tenant-b"][tenant];
    let places = 0..MACHINES;
    let places = places.map(|index| Ear::open(name, &network.user(tenant, index)).unwrap());
    places.collect()
}

/// From a user under addresses of others, to the other slice's places and to machines.
async fn spoof(scene: &Scene<'_>, elsewhere: &[&Ear]) {
    let user = scene.network.user(0, 0);
    let neighbour = scene.user_address(1, 1).await.unwrap();
    // Of the same subnet, of a tunnel, of what is behind the hubs, of machines.
    let sources = [
        neighbour,
        Ipv4Addr::new(10, 77, 0, 2),
        Ipv4Addr::new(10, 79, 0, 77),
        underlay(0),
        underlay(EDGE),
    ];
    let targets = [SERVER, neighbour, underlay(0), underlay(1), underlay(EDGE)];
    let mut number = 100;
    for source in sources {
        address("add", &user, source);
        let mut streams = Vec::new();
        // What is sent to an own address goes nowhere.
        for target in targets.into_iter().filter(|target| *target != source) {
            number += 1;
            let from = (user.as_str(), source);
            let stream = Stream::start("tenant-a", number, from, target, MILLISECOND);
            streams.push(stream.unwrap());
        }
        let sent = async || {
            let least = streams.iter().map(Stream::sent).min().unwrap();
            Ok(match least >= 50 {
                true => Ok(()),
                false => Err(least.to_string()),
            })
        };
        eventually("spoofed packets", SOON, sent).await.unwrap();
        drop(streams);
        address("del", &user, source);
    }
    for (place, ear) in elsewhere.iter().enumerate() {
        assert_eq!(ear.foreign(), 0, "place {place} hears another slice");
    }
}

/// Slices in which the hubs of the first are these.
fn with_hubs(names: &[&str]) -> Value {
    let mut slices = slices();
    let backhaul = &mut slices["tranche-slice:slices"]["slice"][0]["backhaul"];
    let hubs = backhaul["hub"].as_array_mut().unwrap();
    hubs.retain(|hub| names.contains(&hub["name"].as_str().unwrap()));
    slices
}

const NACM: &str = "urn:ietf:params:xml:ns:yang:ietf-netconf-acm";

/// Keeps the controller from moving a node to its next key, or lets it.
fn holding_back(hold: bool) -> String {
    let rule = match hold {
        true => {
            "<rule-list yang:insert=\"first\"><name>stay</name><group>controllers</group><rule><name>stay</name>\
             <module-name>tranche-backhaul</module-name><path xmlns:b=\"urn:tranche:yang:tranche-backhaul\">\
             /b:backhaul/b:tunnel/b:complete-rotation</path><access-operations>exec</access-operations>\
             <action>deny</action></rule></rule-list>"
        }
        false => "<rule-list nc:operation=\"delete\"><name>stay</name></rule-list>",
    };
    format!(
        "<nacm xmlns=\"{NACM}\" xmlns:yang=\"urn:ietf:params:xml:ns:yang:1\" \
         xmlns:nc=\"urn:ietf:params:xml:ns:netconf:base:1.0\"><groups><group><name>controllers</name>\
         <user-name>controller</user-name></group></groups>{rule}</nacm>"
    )
}

/// The controller dies in the middle of a rotation of the second slice, in which one node has not moved to its next key, and
/// another one carries it on.
async fn rotation_over_a_death(scene: &mut Scene<'_>) {
    const LATE: usize = 1;
    scene.edit(LATE, &holding_back(true)).await.unwrap();
    let halfway = scene.rotate(1).await.unwrap_err().to_string();
    assert!(halfway.contains("node-2 has not moved"), "{halfway}");
    scene.stack.kill_controller();
    scene.edit(LATE, &holding_back(false)).await.unwrap();
    scene.stack.restart_controller().await.unwrap();
    let have_moved = |state: &Value| {
        let nodes = state["node"].as_array();
        nodes.is_some_and(|nodes| {
            nodes.len() == MACHINES && nodes.iter().all(|node| node["epoch"] == "2")
        })
    };
    let moved = scene.until(1, "all at their next keys", have_moved);
    moved.await.unwrap();
}

/// Address of a node inside of the first slice's tunnel.
async fn tunnel_address(scene: &Scene<'_>, node: &str) -> Ipv4Addr {
    let state = scene.tunnels(0).await.unwrap();
    let mut nodes = state["node"].as_array().unwrap().iter();
    let node = nodes.find(|one| one["name"] == node).unwrap();
    node["address"].as_str().unwrap().parse().unwrap()
}

/// Hub and spoke of the first slice become each other's, while packets go between their ends of the tunnel in both directions:
/// what is behind them has other addresses afterwards. How many were sent.
async fn hub_and_spoke_are_swapped(scene: &Scene<'_>) -> u32 {
    let two = over_two_nodes();
    scene.put(&two).await.unwrap();
    let (access, edge) = (
        tunnel_address(scene, "node-1").await,
        tunnel_address(scene, "node-3").await,
    );
    let space = |index: usize| {
        let spaces = scene.spaces(index);
        let own = spaces.iter().find(|name| name.ends_with("-tenant-a"));
        own.unwrap().clone()
    };
    let (here, there) = (space(0), space(EDGE));
    let ears = [&here, &there].map(|space| Ear::open("tenant-a", space).unwrap());
    let start = |number, space: &str, from, to| {
        Stream::start("tenant-a", number, (space, from), to, MILLISECOND).unwrap()
    };
    let out = start(20, &here, access, edge);
    let back = start(21, &there, edge, access);
    let mut swapped = two.clone();
    let slice = &mut swapped["tranche-slice:slices"]["slice"][0];
    slice["where"]["node"] = json!(["node-3"]);
    slice["backhaul"]["hub"][0]["node"] = json!("node-1");
    for slices in [&swapped, &two, &swapped] {
        goes_on("out", &out, &[&ears[1]]).await;
        goes_on("back", &back, &[&ears[0]]).await;
        scene.put(slices).await.unwrap();
    }
    let state = scene.tunnels(0).await.unwrap();
    assert_eq!(state["hub"], "node-1", "{state}");
    assert_eq!(tunnel_address(scene, "node-1").await, access);
    goes_on("out after the swap", &out, &[&ears[1]]).await;
    loses_none("out", out, &[&ears[1]]).await + loses_none("back", back, &[&ears[0]]).await
}

/// The first slice alone, at one access node and the edge.
fn over_two_nodes() -> Value {
    let mut slices = with_hubs(&["edge"]);
    let list = slices["tranche-slice:slices"]["slice"]
        .as_array_mut()
        .unwrap();
    list.truncate(1);
    list[0]["where"]["node"] = json!(["node-1"]);
    slices
}

async fn nothing_is_left(scene: &Scene<'_>, before: &[String], spaces: &[String]) {
    let empty = json!({ "tranche-slice:slices": { "slice": [] } });
    scene.put(&empty).await.unwrap();
    let gone = async || {
        let now = traces(scene.network);
        let spaces = spaces.iter();
        let left: Vec<_> = spaces
            .filter(|name| Path::new("/run/netns").join(name).exists())
            .collect();
        Ok(match now == before && left.is_empty() {
            true => Ok(()),
            false => Err(format!("{left:?} {now:?}, before {before:?}")),
        })
    };
    eventually("nothing left", SOON, gone).await.unwrap();
    for index in 0..MACHINES {
        let keys = scene
            .stack
            .directory()
            .join(format!("agent-{index}/backhaul"));
        for tenant in ["tenant-a", "tenant-b"] {
            assert!(!keys.join(tenant).exists(), "a key of {tenant} at {index}");
        }
    }
}

async fn play(network: &Network) {
    let mut scene = Scene::start(network).await.unwrap();
    let before = traces(network);
    let machines = 0..MACHINES;
    let machines = machines.map(|index| Ear::open(NOBODY, &network.machine(index)).unwrap());
    let machines: Vec<Ear> = machines.collect();
    // Without a tunnel the capture sees what is sent, and who listens hears it.
    assert!(scene.in_the_clear(5).await.unwrap() >= 5);
    assert!(!machines[EDGE].heard(0).is_empty());
    let captures = ["tenant-a", "tenant-b"];
    let captures = captures.map(|name| Capture::start(&network.switch(), name).unwrap());

    // It is answered after the first packet crossed each tunnel.
    let begin = Instant::now();
    scene.put(&over_two_nodes()).await.unwrap();
    let mut words = format!("slice over two nodes {:.0?}", begin.elapsed());
    let begin = Instant::now();
    scene.put(&slices()).await.unwrap();
    words += &format!(", two over four nodes {:.0?}", begin.elapsed());
    for tenant in 0..2 {
        let state = scene.until_at(tenant, "node-3").await.unwrap();
        assert_eq!(state["node"].as_array().unwrap().len(), 4, "{state}");
    }
    let spaces: Vec<String> = (0..MACHINES)
        .flat_map(|index| scene.spaces(index))
        .collect();
    assert_eq!(spaces.len(), 8, "{spaces:?}");
    scene.address_users().await.unwrap();

    let (a, b) = (ears(network, 0), ears(network, 1));
    let at_a = [&a[EDGE], &a[DATA_CENTRE]];
    let at_b = [&b[EDGE], &b[DATA_CENTRE]];
    let start = |tenant: &str, number, space: String, to| {
        Stream::start(
            tenant,
            number,
            (&space, Ipv4Addr::UNSPECIFIED),
            to,
            MILLISECOND,
        )
        .unwrap()
    };
    let up = start("tenant-a", 0, network.user(0, 0), SERVER);
    let user = scene.user_address(0, 1).await.unwrap();
    let down = start("tenant-a", 1, network.user(0, EDGE), user);
    let other = start("tenant-b", 0, network.user(1, 0), SERVER);
    goes_on("up", &up, &at_a).await;
    goes_on("down", &down, &[&a[1]]).await;
    goes_on("the other", &other, &at_b).await;

    let elsewhere: Vec<&Ear> = b.iter().chain(&machines).collect();
    spoof(&scene, &elsewhere).await;

    let begin = Instant::now();
    let rotated = scene.rotate(0).await.unwrap();
    words += &format!(", rotation {:.0?}", begin.elapsed());
    let nodes = rotated["tranche-slice:output"]["node"].as_array().unwrap();
    assert_eq!(nodes.len(), 4, "{rotated}");
    assert!(nodes.iter().all(|node| node["epoch"] == "2"), "{rotated}");
    goes_on("up after the rotation", &up, &at_a).await;
    goes_on("down after the rotation", &down, &[&a[1]]).await;
    loses_none("down", down, &[&a[1]]).await;
    until_arrived("up", &up, &at_a, up.sent()).await;

    // From the better hub to the worse, back, and once more: only one of them is there before and afterwards.
    for (hub, node, place) in [
        ("data-centre", "node-4", DATA_CENTRE),
        ("edge", "node-3", EDGE),
        ("data-centre", "node-4", DATA_CENTRE),
    ] {
        let begin = Instant::now();
        scene.put(&with_hubs(&[hub])).await.unwrap();
        words += &format!(", handover to {hub} {:.0?}", begin.elapsed());
        let moved = scene.until_at(0, node).await.unwrap();
        assert_eq!(moved["node"].as_array().unwrap().len(), 3, "{moved}");
        goes_on("up after the handover", &up, &[&a[place]]).await;
    }
    rotation_over_a_death(&mut scene).await;
    goes_on("the other after the rotation", &other, &at_b).await;
    let sent = loses_none("up", up, &at_a).await;
    loses_none("the other", other, &at_b).await;
    words += &format!(", 0 of {sent} lost");

    words += &format!(
        ", 0 of {} over swaps",
        hub_and_spoke_are_swapped(&scene).await
    );

    let all = a.iter().chain(&b).chain(&machines[..EDGE]);
    assert_eq!(all.map(Ear::foreign).sum::<u64>(), 0);
    for capture in captures {
        assert!(capture.frames() > 1000, "{}", capture.frames());
        assert_eq!(capture.marked(), 0, "seen on the underlay");
    }
    nothing_is_left(&scene, &before, &spaces).await;
    drop(writeln!(std::io::stderr(), "\nbackhaul: {words}\n"));
}

#[test]
fn slices_have_isolated_paths_that_lose_nothing_and_leave_nothing() {
    if let Some(what) = missing() {
        let words = format!("\nSKIPPED: a test of tunnels between machines: it needs {what}\n");
        drop(writeln!(std::io::stderr(), "{words}"));
        return;
    }
    let network = Network::new().unwrap();
    network.run(|| play(&network)).unwrap();
}

/// The first slice over two nodes, three times from nothing, and once with packets while its keys are rotated.
async fn play_over_two(network: &Network) {
    let scene = Scene::start(network).await.unwrap();
    let before = traces(network);
    let mut two = over_two_nodes();
    // What is emulated may be late.
    two["tranche-slice:slices"]["slice"][0]["backhaul"]["probe"] = json!({ "misses": 100 });
    let (mut words, mut spaces) = (Vec::new(), Vec::new());
    for last in [false, false, true] {
        let begin = Instant::now();
        scene.put(&two).await.unwrap();
        words.push(format!("{:.0?}", begin.elapsed()));
        let state = scene.tunnels(0).await.unwrap();
        let nodes = state["node"].as_array().unwrap();
        let in_use = |node: &Value| node["backend-in-use"] == "kernel";
        assert!(nodes.len() == 2 && nodes.iter().all(in_use), "{state}");
        spaces = [0, EDGE].map(|index| scene.spaces(index)).concat();
        assert_eq!(spaces.len(), 2, "{spaces:?}");
        if !last {
            nothing_is_left(&scene, &before, &spaces).await;
        }
    }
    let ear = Ear::open("tenant-a", &spaces[1]).unwrap();
    let (here, there) = (
        tunnel_address(&scene, "node-1").await,
        tunnel_address(&scene, "node-3").await,
    );
    let stream = Stream::start("tenant-a", 0, (&spaces[0], here), there, 10 * MILLISECOND);
    let stream = stream.unwrap();
    goes_on("out", &stream, &[&ear]).await;
    let rotated = scene.rotate(0).await.unwrap();
    let nodes = rotated["tranche-slice:output"]["node"].as_array().unwrap();
    assert!(nodes.iter().all(|node| node["epoch"] == "2"), "{rotated}");
    goes_on("out after the rotation", &stream, &[&ear]).await;
    loses_none("out", stream, &[&ear]).await;
    nothing_is_left(&scene, &before, &spaces).await;
    let words = words.join(", ");
    drop(writeln!(
        std::io::stderr(),
        "\nbackhaul: kernel: slice over two nodes {words}\n"
    ));
}

#[test]
#[ignore = "needs a kernel with WireGuard; run by make test-vm"]
fn a_slice_has_a_path_of_the_kernel_that_loses_nothing_and_leaves_nothing() {
    let network = Network::new().unwrap();
    network.run(|| play_over_two(&network)).unwrap();
}
