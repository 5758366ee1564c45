//! The files for wg-quick(8) that the controller hands out, brought up by wg-quick(8) as their operator does, with the private key
//! put in: a laptop, which calls, and a tenant's own gateway, which is called. Both follow a rotation of keys without a loss.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs::File;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tranche_tests::backhaul::{
    DATA_CENTRE, EDGE, Ear, Network, SLICES_PATH, Scene, Stream, arrived, slices, underlay,
};
use tranche_tests::wait::eventually;

const SOON: Duration = Duration::from_secs(60);
/// The place of the private key in a file.
const PLACE: &str = "# PrivateKey = the private half of its public key, which only it has";

/// An end that is nobody's node, at the machine of the data centre.
struct Outside<'a> {
    scene: &'a Scene<'a>,
    name: &'static str,
    machine: String,
    directory: tempfile::TempDir,
    private: String,
    public: String,
}

fn run(words: &[&str], input: &str) -> String {
    let mut command = Command::new(words[0]);
    let piped = command.args(&words[1..]).stdin(Stdio::piped());
    let mut child = piped.stdout(Stdio::piped()).spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success(), "{words:?}");
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

impl<'a> Outside<'a> {
    fn new(scene: &'a Scene<'a>, name: &'static str) -> Self {
        let private = run(&["wg", "genkey"], "");
        Self {
            scene,
            name,
            machine: scene.network.machine(DATA_CENTRE),
            directory: tempfile::tempdir().unwrap(),
            public: run(&["wg", "pubkey"], &private),
            private,
        }
    }

    async fn act(&self, action: &str, input: Value) -> Value {
        let path = format!("{SLICES_PATH}/slice=tenant-a/backhaul/{action}");
        let input = json!({ "tranche-slice:input": input });
        let restconf = self.scene.stack.restconf();
        let answer = restconf.demand(Method::POST, &path, Some(&input)).await;
        answer.unwrap().body["tranche-slice:output"].clone()
    }

    /// Its file, as soon as there is one.
    async fn file(&self, key: &str) -> String {
        let path = format!("{SLICES_PATH}/slice=tenant-a/backhaul/peer-configuration");
        let input = json!({ "tranche-slice:input": { "name": self.name, "key": key } });
        let restconf = self.scene.stack.restconf();
        let handed_out = async || {
            let answer = restconf.demand(Method::POST, &path, Some(&input)).await;
            let text = answer.map(|answer| answer.body["tranche-slice:output"]["wg-quick"].clone());
            Ok(match text {
                Ok(Value::String(text)) => Ok(text),
                other => Err(format!("{other:?}")),
            })
        };
        eventually("a file", SOON, handed_out).await.unwrap()
    }

    fn wg_quick(&self, verb: &str, interface: &str) {
        let path = self.directory.path().join(format!("{interface}.conf"));
        let inside = format!("--net=/run/netns/{}", self.machine);
        let words = ["nsenter", &inside, "wg-quick", verb, path.to_str().unwrap()];
        run(&words, "");
    }

    /// Brings an interface up with what a file says.
    fn up(&self, interface: &str, file: &str) {
        assert_eq!(file.matches(PLACE).count(), 1, "{file}");
        let file = file.replace(PLACE, &format!("PrivateKey = {}", self.private));
        let path = self.directory.path().join(format!("{interface}.conf"));
        let private = File::options()
            .write(true)
            .create(true)
            .mode(0o600)
            .truncate(true)
            .open(path);
        private.unwrap().write_all(file.as_bytes()).unwrap();
        self.wg_quick("up", interface);
    }

    /// Waits until every peer of an interface has shaken hands: before, an end that is called does not know where to send.
    async fn until_shaken(&self, interface: &str) {
        let inside = format!("--net=/run/netns/{}", self.machine);
        let shaken = async || {
            let words = [
                "nsenter",
                &inside,
                "wg",
                "show",
                interface,
                "latest-handshakes",
            ];
            let shown = run(&words, "");
            Ok(match shown.lines().any(|peer| peer.ends_with("\t0")) {
                true => Err(shown),
                false => Ok(()),
            })
        };
        eventually("handshakes", SOON, shaken).await.unwrap();
    }

    /// Its interface is up, and packets go to and fro between it and an end of the slice, at a node, while the keys of the slice are
    /// rotated; how many.
    async fn follows(&self, own: Ipv4Addr, node: &str, far: Ipv4Addr) -> u32 {
        self.until_shaken("tr0").await;
        let ears = [
            Ear::open("tenant-a", node).unwrap(),
            Ear::open("tenant-a", &self.machine).unwrap(),
        ];
        let every = Duration::from_millis(10);
        let ways = [(self.machine.as_str(), own, far), (node, far, own)];
        let numbered = (0..).zip(ways);
        let mut streams: Vec<Stream> = numbered
            .map(|(number, (space, from, to))| {
                Stream::start("tenant-a", number, (space, from), to, every).unwrap()
            })
            .collect();
        go_on("before", &streams, &ears, 100).await;
        let comes = async {
            let next = self.file("next").await;
            self.up("tr1", &next);
        };
        let (rotated, ()) = tokio::join!(self.scene.rotate(0), comes);
        let rotated = rotated.unwrap();
        let nodes = rotated["tranche-slice:output"]["node"].as_array().unwrap();
        assert!(!nodes.is_empty(), "{rotated}");
        go_on("on the next keys", &streams, &ears, 100).await;
        self.wg_quick("down", "tr0");
        go_on("on the second interface", &streams, &ears, 100).await;
        streams.iter_mut().for_each(Stream::stop);
        go_on("the last", &streams, &ears, 0).await;
        self.wg_quick("down", "tr1");
        streams.iter().map(Stream::sent).sum()
    }
}

/// So many more packets of each stream have come, and all that were sent before them.
async fn go_on(what: &str, streams: &[Stream], ears: &[Ear; 2], more: u32) {
    for (stream, ear) in streams.iter().zip(ears) {
        let count = stream.sent() + more;
        let come = async || {
            let came = arrived(stream.number, &[ear]);
            Ok(match came >= count {
                true => Ok(()),
                false => Err(format!("{came} of {count}, {} sent", stream.sent())),
            })
        };
        let what = format!("{what}, stream {}", stream.number);
        eventually(&what, SOON, come).await.unwrap();
    }
}

/// One slice at the first node, with these hubs.
fn slice(hubs: &Value) -> Value {
    let mut slices = slices();
    let list = slices["tranche-slice:slices"]["slice"]
        .as_array_mut()
        .unwrap();
    list.truncate(1);
    list[0]["where"]["node"] = json!(["node-1"]);
    list[0]["backhaul"]["hub"] = hubs.clone();
    // What is emulated may be late.
    list[0]["backhaul"]["probe"] = json!({ "misses": 100 });
    slices
}

async fn address(scene: &Scene<'_>, end: &str) -> Ipv4Addr {
    let path = format!("{SLICES_PATH}/slice=tenant-a/backhaul/allocation={end}/address");
    let answer = scene.stack.restconf().get(&path).await.unwrap();
    let address = answer["tranche-slice:address"].as_str();
    address.unwrap().parse().unwrap()
}

async fn play(network: &Network) {
    let scene = Scene::start(network).await.unwrap();
    let edge = slices()["tranche-slice:slices"]["slice"][0]["backhaul"]["hub"][0].clone();
    scene.put(&slice(&json!([edge]))).await.unwrap();
    let laptop = Outside::new(&scene, "laptop");
    let added = laptop
        .act(
            "add-peer",
            json!({ "name": "laptop", "public-key": laptop.public }),
        )
        .await;
    laptop.up("tr0", added["wg-quick"].as_str().unwrap());
    let (own, far) = (
        address(&scene, "laptop").await,
        address(&scene, "node-3").await,
    );
    let space = scene.spaces(EDGE).remove(0);
    let of_laptop = laptop.follows(own, &space, far).await;

    let nothing = json!({ "tranche-slice:slices": { "slice": [] } });
    scene.put(&nothing).await.unwrap();
    let office = Outside::new(&scene, "office");
    let hub = json!([{
        "name": "office", "location": "data-centre", "public-key": office.public,
        "address": underlay(DATA_CENTRE).to_string(), "port": 51820, "second-port": 51821,
    }]);
    scene.put(&slice(&hub)).await.unwrap();
    office.up("tr0", &office.file("current").await);
    let (own, far) = (
        address(&scene, "office").await,
        address(&scene, "node-1").await,
    );
    let space = scene.spaces(0).remove(0);
    let of_office = office.follows(own, &space, far).await;
    scene.put(&nothing).await.unwrap();
    drop(writeln!(
        std::io::stderr(),
        "\nwg-quick: a rotation lost 0 of {of_laptop} packets of a laptop, 0 of {of_office} of a gateway\n"
    ));
}

#[test]
#[ignore = "needs a kernel with WireGuard; run by make test-vm"]
fn ends_whose_keys_are_elsewhere_come_and_follow_with_the_files_that_they_are_handed() {
    let network = Network::new().unwrap();
    network.run(|| play(&network)).unwrap();
}
