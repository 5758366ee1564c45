//! A user of a cell with a resolver of the world outside: `dig` in a namespace whose packets go in GTP-U to the node and come back so.

use std::io::{self, Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use socket2::Socket;

use super::offload;
use super::tests::{Rig, can_run, enter, open, run, sh};
use crate::backend::steering::suite::frames::Frame;
use crate::backend::steering::suite::names::{RESOLVER, others_answer, with_resolver};
use crate::backend::steering::suite::{SteeringRig as _, configure, written};
use crate::backend::steering::{Forward, SteeringConfig, Through};

const PATIENCE: Duration = Duration::from_secs(60);
/// Ethernet, IPv4, UDP and GTP-U.
const TUNNEL: usize = 14 + 20 + 8 + 8;

/// The user's namespace. What leaves there is put into GTP-U by [`User::dig`].
struct User {
    namespace: String,
    far: Socket,
    mac: Vec<u8>,
}

impl User {
    fn new(rig: &Rig) -> Self {
        let (namespace, far) = (format!("{}u", rig.prefix), format!("{}f", rig.prefix));
        sh(&format!(
            "ip netns add {namespace}
             ip -n {namespace} link add ue0 type veth peer name u0 netns {far}
             ip -n {namespace} link set ue0 arp off up
             ip -n {far} link set u0 up
             ip -n {namespace} address add 172.16.0.9/32 dev ue0
             ip -n {namespace} route add default dev ue0
             ip -n {namespace} address add fd00:60::9/128 dev ue0 nodad
             ip -n {namespace} -6 route add default dev ue0"
        ));
        let inside = namespace.clone();
        let switched = std::thread::spawn(move || {
            enter(&inside).unwrap();
            offload::switch_off("ue0")
        });
        switched.join().unwrap().unwrap();
        let link = sh(&format!("ip -n {namespace} -o link show ue0"));
        let mac = link
            .split("link/ether ")
            .nth(1)
            .unwrap()
            .split(' ')
            .next()
            .unwrap();
        let mac = mac
            .split(':')
            .map(|octet| u8::from_str_radix(octet, 16).unwrap());
        Self {
            far: open(&far, "u0"),
            mac: mac.collect(),
            namespace,
        }
    }

    fn start(&self, arguments: &str) -> Child {
        let mut command = Command::new("ip");
        command.args([
            "netns",
            "exec",
            &self.namespace,
            "dig",
            "+tries=1",
            "+time=30",
        ]);
        let server = format!("@{RESOLVER}");
        let is_other = arguments.starts_with('@');
        command
            .args((!is_other).then_some(server))
            .args(arguments.split(' '));
        command.stdout(Stdio::piped()).spawn().unwrap()
    }

    /// What `dig` prints.
    async fn dig(&mut self, rig: &mut Rig, arguments: &str) -> String {
        let mut dig = self.start(arguments);
        let start = Instant::now();
        while dig.try_wait().unwrap().is_none() {
            let mut frame = vec![0; 2000];
            while let Ok(length) = self.far.read(&mut frame) {
                let is_ip = [[0x08, 0x00], [0x86, 0xdd]].contains(&[frame[12], frame[13]]);
                let is_group = frame[14] >> 4 == 6 && frame[38] == 0xff;
                if is_ip && !is_group {
                    rig.send("p0", &Frame::gtp(1, 255, &frame[14..length]).bytes());
                }
            }
            for (port, frame) in rig.left() {
                if port == "p0" && frame.len() > TUNNEL {
                    let kind = if frame[TUNNEL] >> 4 == 6 {
                        [0x86, 0xdd]
                    } else {
                        [0x08, 0x00]
                    };
                    let header = [&self.mac[..], &self.mac, &kind].concat();
                    self.far
                        .send(&[&header, &frame[TUNNEL..]].concat())
                        .unwrap();
                }
            }
            assert!(start.elapsed() < PATIENCE, "dig {arguments}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let printed = dig.wait_with_output().unwrap().stdout;
        String::from_utf8(printed).unwrap()
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let deleted = Command::new("ip")
            .args(["netns", "delete", &self.namespace])
            .status();
        if !deleted.is_ok_and(|status| status.success()) {
            drop(writeln!(io::stderr(), "{} is left behind", self.namespace));
        }
    }
}

/// The same over IPv6.
fn over_both(mut config: SteeringConfig) -> SteeringConfig {
    let resolver = &mut config.resolvers[0];
    resolver.addresses.push("fd00:53::1".parse().unwrap());
    resolver.clients.extend(written("fd00:60::/64"));
    let [ask, answer] = &config.rules[..] else {
        panic!("two rules");
    };
    let (mut ask, mut answer) = (ask.clone(), answer.clone());
    ask.name = "ask6".to_owned();
    if let Some(gtp) = &mut ask.matching.gtp {
        gtp.inner_destination_prefix = written("fd00:53::1/128");
    }
    answer.name = "answer6".to_owned();
    answer.matching.destination_prefix = written("fd00:60::/64");
    config.rules.extend([ask, answer]);
    config
}

fn has_dig() -> bool {
    let has = Command::new("dig").arg("-v").stderr(Stdio::null()).status();
    let has = has.is_ok_and(|status| status.success());
    if !has {
        drop(writeln!(
            io::stderr(),
            "\nSKIPPED: a test of resolvers: there is no program dig (Debian's bind9-dnsutils)\n"
        ));
    }
    has
}

#[test]
fn a_user_asks_with_dig_in_its_tunnel() {
    if !can_run() || !has_dig() {
        return;
    }
    run(async |rig| {
        let server = rig.other_resolver(Some(others_answer()));
        let forward = Forward {
            servers: vec![server],
            through: Through::Node,
        };
        configure(rig, &over_both(with_resolver(Some(forward)))).await;
        let mut user = User::new(rig);
        let cases = [
            ("+short Video.Example A", "10.9.0.7\n"),
            ("+short +tcp video.example A", "10.9.0.7\n"),
            ("+short video.example AAAA", "fd00::7\n"),
            ("+short +noedns a.b.cdn.example A", "10.9.0.8\n"),
            ("+short www.example A", "192.0.2.80\n"),
            ("@fd00:53::1 +short video.example AAAA", "fd00::7\n"),
            ("@fd00:53::1 +short +tcp video.example A", "10.9.0.7\n"),
        ];
        for (arguments, expected) in cases {
            assert_eq!(user.dig(rig, arguments).await, expected, "{arguments}");
        }
        let cases = [
            ("video.example MX", "status: NOERROR", "ANSWER: 0"),
            (
                "no.own.cdn.example A",
                "status: NXDOMAIN",
                "flags: qr aa rd ra",
            ),
            ("+tcp video.example AXFR", "Transfer failed", ""),
            (
                "+edns=1 +noednsnegotiation video.example A",
                "status: BADVERS",
                "EDNS: version: 0",
            ),
            ("www.example ANY +notcp", "status: REFUSED", ""),
            ("-c CH video.example A", "status: REFUSED", ""),
        ];
        for (arguments, first, second) in cases {
            let printed = user.dig(rig, arguments).await;
            let has_both = printed.contains(first) && printed.contains(second);
            assert!(
                has_both && !printed.contains("malformed"),
                "{arguments}: {printed}"
            );
        }
        let printed = user.dig(rig, "video.example A").await;
        assert!(
            printed.contains("video.example.\t\t60\tIN\tA\t10.9.0.7"),
            "{printed}"
        );
    });
}
