//! What every implementation of steering does, with packets: run for the simulator and, in network namespaces, for the kernel.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::*;
use crate::backend::backhaul::Written;
use crate::backend::{Backend as _, NodeConfig, Refusal, WarningKind};
use frames::{Frame, gtp, ipv4, udp4, user_packet};

pub(crate) mod frames;
pub(crate) mod health;
pub(crate) mod life;
pub(crate) mod names;

pub(crate) use health::{
    an_application_that_hangs_is_bypassed_or_closes_its_chain,
    what_is_known_of_an_application_outlives_other_changes, who_hangs_holds_up_nobody_else,
};
pub(crate) use life::{
    steering_is_adopted_repaired_and_removed,
    what_cannot_be_put_in_force_leaves_nothing_and_is_told,
};
pub(crate) use names::{
    a_users_query_is_answered_into_the_tunnel, nobody_waits_for_another_resolver,
    resolvers_are_changed_found_again_and_removed, users_of_another_slice_get_no_answer,
    what_has_no_record_is_asked_elsewhere_or_refused,
};

/// A node with the ports `p0` to `p2` and the applications' ports `a0` to `a2`.
pub(crate) trait SteeringRig {
    fn steering(&mut self) -> &mut Steering;
    /// Lets the agent end and another one start; what is in force stays.
    async fn restart(&mut self);
    /// Lets a frame come in at a port.
    fn send(&mut self, port: &str, frame: &[u8]);
    /// What has left since the last call, with the port where it left.
    fn left(&mut self) -> Vec<(String, Vec<u8>)>;
    fn set_link(&mut self, port: &str, is_up: bool);
    /// Lets an application that can be asked run at a port, and tells how.
    fn run_application(&mut self, port: &str) -> HealthCheck;
    /// Lets that application hang, with its port up, or do its work again.
    fn hang(&mut self, port: &str, is_hung: bool);
    /// Sees to it that there is no such interface.
    fn take_away(&mut self, port: &str);
    /// Changes what is in force behind the agent's back.
    fn disturb(&mut self);
    /// Takes steering off this port, where it is, and the place that it needs there; or gives the place back.
    fn obstruct(&mut self, port: &str, is_obstructed: bool);
    /// Lets another resolver, at the address that this returns, answer every query with this, for the identifier that it is asked
    /// with; it is silent where this is nothing.
    fn other_resolver(&mut self, answer: Option<Vec<u8>>) -> IpAddr;
    /// What is still there of steering.
    fn is_untouched(&mut self) -> bool;
}

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const PORTS: [&str; 6] = ["p0", "p1", "p2", "a0", "a1", "a2"];
pub(crate) const GATEWAY: &str = "10.0.0.1";

pub(crate) fn base() -> SteeringConfig {
    let port = |name: &&str| PortConfig {
        name: (*name).to_owned(),
        gtp_addresses: if *name == "p0" {
            vec![GATEWAY.parse().unwrap()]
        } else {
            Vec::new()
        },
        ..PortConfig::default()
    };
    SteeringConfig {
        ports: PORTS.iter().map(port).collect(),
        ..SteeringConfig::default()
    }
}

pub(crate) fn written(text: &str) -> Option<Written> {
    Some(Written(text.to_owned()))
}

pub(crate) fn to(port: &str) -> Option<WayOut> {
    Some(WayOut {
        out_port: port.to_owned(),
        ..WayOut::default()
    })
}

pub(crate) fn rule(name: &str, slice: &str, matching: MatchConfig) -> RuleConfig {
    RuleConfig {
        name: name.to_owned(),
        slice: slice.to_owned(),
        matching,
        ..RuleConfig::default()
    }
}

pub(crate) fn at(port: &str) -> MatchConfig {
    MatchConfig {
        in_port: Some(port.to_owned()),
        ..MatchConfig::default()
    }
}

pub(crate) fn of_user(teid: u32) -> MatchConfig {
    MatchConfig {
        gtp: Some(GtpMatch {
            teid: Some(teid),
            ..GtpMatch::default()
        }),
        ..at("p0")
    }
}

fn node(steering: SteeringConfig) -> NodeConfig {
    NodeConfig {
        steering,
        ..NodeConfig::default()
    }
}

/// Puts a configuration in the place of another.
pub(crate) async fn change(
    rig: &mut impl SteeringRig,
    from: &SteeringConfig,
    new: &SteeringConfig,
) -> Result<(), Refusal> {
    let steering = rig.steering();
    let plan = steering.plan(&node(from.clone()), &node(new.clone()))?;
    steering.apply(plan).await.map(drop)
}

pub(crate) async fn configure(rig: &mut impl SteeringRig, config: &SteeringConfig) {
    change(rig, &SteeringConfig::default(), config)
        .await
        .unwrap();
}

/// The one frame that leaves when this one comes in.
pub(crate) async fn leaves(
    rig: &mut impl SteeringRig,
    port: &str,
    frame: &[u8],
) -> (String, Vec<u8>) {
    rig.send(port, frame);
    let start = Instant::now();
    loop {
        let mut left = rig.left();
        if let Some(first) = left.pop() {
            assert!(left.is_empty(), "two frames left");
            return first;
        }
        assert!(start.elapsed() < PATIENCE, "nothing left");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub(crate) async fn seen(rig: &mut impl SteeringRig) -> SteeringState {
    rig.steering().observe().await.unwrap()
}

/// A frame comes in, is counted, and does not leave.
async fn vanishes(
    rig: &mut impl SteeringRig,
    port: &str,
    frame: &[u8],
    counted: impl Fn(&SteeringState) -> u64,
) {
    let before = counted(&seen(rig).await);
    rig.send(port, frame);
    eventually(rig, |state| counted(state) == before + 1).await;
    assert_eq!(rig.left(), []);
}

pub(crate) async fn eventually(rig: &mut impl SteeringRig, is_so: impl Fn(&SteeringState) -> bool) {
    let start = Instant::now();
    loop {
        let state = seen(rig).await;
        if is_so(&state) {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{state:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn of_rule(state: &SteeringState, name: &str) -> u64 {
    state
        .rules
        .iter()
        .find(|rule| rule.name == name)
        .unwrap()
        .counter
        .packets
}

fn unmatched(state: &SteeringState) -> u64 {
    state.counters.as_ref().unwrap().unmatched.packets
}

/// REQ_DP_1: packets are classified by MAC, IP, VLAN, and GTP-U TEID and type.
pub(crate) async fn req_dp_1_classifies_by_mac_ip_vlan_teid_and_type(rig: &mut impl SteeringRig) {
    let mut config = base();
    let mac = MatchConfig {
        destination_mac: Some("02:00:00:00:00:99".parse().unwrap()),
        ..at("p0")
    };
    let vlan = MatchConfig {
        vlan_id: Some(7),
        ..at("p0")
    };
    let prefix = MatchConfig {
        destination_prefix: written("198.51.100.0/24"),
        ..at("p0")
    };
    let prefix6 = MatchConfig {
        destination_prefix: written("2001:db8::/32"),
        ..at("p0")
    };
    let kind = GtpMatch {
        teid: Some(5),
        message_type: Some(254),
        ..GtpMatch::default()
    };
    let kind = MatchConfig {
        gtp: Some(kind),
        ..at("p0")
    };
    let all = [
        ("mac", mac),
        ("vlan", vlan),
        ("prefix", prefix),
        ("prefix6", prefix6),
        ("type", kind),
        ("teid", of_user(5)),
    ];
    for (name, matching) in all {
        config.rules.push(RuleConfig {
            forward: to("p1"),
            ..rule(name, "s", matching)
        });
    }
    configure(rig, &config).await;
    let plain = Frame::ip(udp4("203.0.113.1", "203.0.113.2", 1, 2, b"x"));
    let cases = [
        (
            "mac",
            Frame {
                destination: [2, 0, 0, 0, 0, 0x99],
                ..plain.clone()
            }
            .bytes(),
        ),
        (
            "vlan",
            Frame {
                vlan: Some(7),
                ..plain.clone()
            }
            .bytes(),
        ),
        (
            "prefix",
            Frame::ip(udp4("203.0.113.1", "198.51.100.9", 1, 2, b"x")).bytes(),
        ),
        (
            "prefix6",
            Frame::ip(frames::ipv6(
                "2001:db8::1",
                "2001:db8::2",
                17,
                &[0, 1, 0, 2, 0, 8, 0, 0],
            ))
            .bytes(),
        ),
        ("type", Frame::gtp(5, 254, &[]).bytes()),
        ("teid", Frame::gtp(5, 255, &user_packet()).bytes()),
    ];
    for (name, frame) in cases {
        let before = of_rule(&seen(rig).await, name);
        let (port, _) = leaves(rig, "p0", &frame).await;
        assert_eq!(
            (port.as_str(), of_rule(&seen(rig).await, name)),
            ("p1", before + 1),
            "{name}"
        );
    }
    vanishes(rig, "p0", &plain.bytes(), unmatched).await;
    vanishes(
        rig,
        "p0",
        &Frame::gtp(6, 255, &user_packet()).bytes(),
        unmatched,
    )
    .await;
}

/// REQ_DP_2: packets leave at the port that is chosen for them, with the addresses that are asked for.
pub(crate) async fn req_dp_2_forwards_to_a_chosen_port(rig: &mut impl SteeringRig) {
    let mut config = base();
    for (teid, port) in [(1, "p1"), (2, "p2"), (3, "a0")] {
        config.rules.push(RuleConfig {
            forward: to(port),
            ..rule(port, "s", of_user(teid))
        });
    }
    let way = WayOut {
        destination_mac: Some("02:aa:00:00:00:01".parse().unwrap()),
        ..to("p1").unwrap()
    };
    config.rules.push(RuleConfig {
        forward: Some(way),
        ..rule("routed", "s", of_user(4))
    });
    configure(rig, &config).await;
    for (teid, port) in [(1, "p1"), (2, "p2"), (3, "a0")] {
        let frame = Frame::gtp(teid, 255, &user_packet()).bytes();
        assert_eq!(
            leaves(rig, "p0", &frame).await,
            (port.to_owned(), frame),
            "through untouched"
        );
    }
    let frame = Frame::gtp(4, 255, &user_packet()).bytes();
    let (port, left) = leaves(rig, "p0", &frame).await;
    assert_eq!(
        (port.as_str(), &left[..6], &left[12..]),
        ("p1", &[2, 0xaa, 0, 0, 0, 1][..], &frame[12..])
    );
}

fn application(port: &str) -> ApplicationConfig {
    ApplicationConfig {
        name: format!("at-{port}"),
        port: port.to_owned(),
        return_port: None,
        destination_mac: None,
        health_check: None,
    }
}

pub(crate) fn chain(on_failure: OnFailure) -> ChainConfig {
    ChainConfig {
        name: "local".to_owned(),
        owner: None,
        on_failure,
        applications: vec![application("a0"), application("a1")],
        classify: None,
        forward: to("p2"),
    }
}

/// REQ_DP_3: packets visit a chain of applications, each once, and return to their way.
pub(crate) async fn req_dp_3_steers_along_a_chain(rig: &mut impl SteeringRig) {
    let mut config = base();
    config.chains.push(chain(OnFailure::Close));
    config.rules.push(RuleConfig {
        chain: Some("local".to_owned()),
        ..rule("r", "s", of_user(1))
    });
    configure(rig, &config).await;
    let frame = Frame::gtp(1, 255, &user_packet()).bytes();
    for (from, to) in [("p0", "a0"), ("a0", "a1"), ("a1", "p2")] {
        assert_eq!(
            leaves(rig, from, &frame).await,
            (to.to_owned(), frame.clone()),
            "from {from}"
        );
    }
    let state = seen(rig).await;
    let sent: Vec<u64> = state.chains[0]
        .applications
        .iter()
        .map(|one| one.counter.packets)
        .collect();
    assert_eq!(sent, [1, 1]);
    // An application that asks for its neighbour is not heard in the chain.
    let arp = Frame {
        destination: [0xff; 6],
        ether_type: 0x0806,
        payload: vec![0; 28],
        ..Frame::ip(Vec::new())
    };
    vanishes(rig, "a0", &arp.bytes(), unmatched).await;
}

/// REQ_CP_1: who configures says what is in force: all of it or nothing, and what makes no sense is refused with the node at
/// fault.
pub(crate) async fn req_cp_1_is_configured_as_a_whole_or_not_at_all(rig: &mut impl SteeringRig) {
    let mut config = base();
    config.rules.push(RuleConfig {
        forward: to("p1"),
        ..rule("one", "s", of_user(1))
    });
    configure(rig, &config).await;
    let mut more = config.clone();
    more.ports.push(PortConfig {
        name: "nowhere0".to_owned(),
        ..PortConfig::default()
    });
    more.rules[0].forward = to("p2");
    rig.take_away("nowhere0");
    let refusal = change(rig, &config, &more).await.unwrap_err();
    assert_eq!(
        refusal.path,
        "/tranche-steering:steering/port[name='nowhere0']"
    );
    let mut other = config.clone();
    other.rules.push(RuleConfig {
        forward: to("p2"),
        ..rule("two", "other", of_user(1))
    });
    let refusal = change(rig, &config, &other).await.unwrap_err();
    assert_eq!(
        refusal.path,
        "/tranche-steering:steering/rule[name='two']/match/gtp/teid"
    );
    let frame = Frame::gtp(1, 255, &user_packet()).bytes();
    assert_eq!(leaves(rig, "p0", &frame).await.0, "p1");
    // And back.
    let steering = rig.steering();
    let mut new = config.clone();
    new.rules[0].forward = to("p2");
    let plan = steering.plan(&node(config.clone()), &node(new)).unwrap();
    let applied = steering.apply(plan).await.unwrap();
    assert_eq!(leaves(rig, "p0", &frame).await.0, "p2");
    rig.steering().undo(applied).await.unwrap();
    assert_eq!(leaves(rig, "p0", &frame).await.0, "p1");
}

/// REQ_CP_2: GTP-U is ended here: applications get plain IP, and what they send goes back into the users' tunnels.
pub(crate) async fn req_cp_2_ends_gtp_locally(rig: &mut impl SteeringRig) {
    let mut config = base();
    let local = GtpMatch {
        inner_destination_prefix: written("192.168.0.0/16"),
        ..GtpMatch::default()
    };
    let local = MatchConfig {
        gtp: Some(local),
        ..at("p0")
    };
    config.rules.push(RuleConfig {
        end_gtp: present(),
        forward: to("a0"),
        ..rule("local", "s", local)
    });
    config.rules.push(RuleConfig {
        forward: to("p1"),
        ..rule("core", "s", at("p0"))
    });
    let back = MatchConfig {
        destination_prefix: written("172.16.0.9/32"),
        ..at("a0")
    };
    let encapsulate = Encapsulation {
        teid: 0x77,
        local_address: GATEWAY.parse().unwrap(),
        peer_address: "10.0.0.2".parse().unwrap(),
        qfi: Some(9),
        direction: Direction::Downlink,
    };
    let way = WayOut {
        encapsulate: Some(encapsulate),
        ..to("p0").unwrap()
    };
    config.rules.push(RuleConfig {
        forward: Some(way),
        ..rule("back", "s", back)
    });
    configure(rig, &config).await;
    // With the container of a QFI, as an NR cell sends it.
    let uplink = gtp(1, 255, &[(0x85, vec![0x10, 9])], &user_packet());
    let uplink = Frame::ip(udp4("10.0.0.2", GATEWAY, 2152, 2152, &uplink)).bytes();
    let plain = Frame::ip(user_packet()).bytes();
    assert_eq!(leaves(rig, "p0", &uplink).await, ("a0".to_owned(), plain));
    let answer = udp4("192.168.0.7", "172.16.0.9", 80, 4000, b"to a user");
    let (port, left) = leaves(rig, "a0", &Frame::ip(answer.clone()).bytes()).await;
    let tunnel = gtp(0x77, 255, &[(0x85, vec![0, 9])], &answer);
    assert_eq!(
        (port.as_str(), &left[34..36], &left[42..]),
        ("p0", &2152_u16.to_be_bytes()[..], &tunnel[..])
    );
    // What is for the core goes on to it in its tunnel.
    let elsewhere = Frame::gtp(1, 255, &udp4("172.16.0.9", "198.51.100.1", 1, 2, b"x")).bytes();
    assert_eq!(
        leaves(rig, "p0", &elsewhere).await,
        ("p1".to_owned(), elsewhere)
    );
}

/// Served locally and put back on the way: the tunnel ends, an application sees plain IP, and the tunnel goes on to the core.
pub(crate) async fn traffic_is_served_locally_and_put_back(rig: &mut impl SteeringRig) {
    let mut config = base();
    let encapsulate = Encapsulation {
        teid: 0x55,
        local_address: "10.0.0.2".parse().unwrap(),
        peer_address: GATEWAY.parse().unwrap(),
        qfi: None,
        direction: Direction::Uplink,
    };
    let way = WayOut {
        encapsulate: Some(encapsulate),
        ..to("p1").unwrap()
    };
    config.chains.push(ChainConfig {
        classify: present(),
        forward: None,
        ..chain(OnFailure::Close)
    });
    config.rules.push(RuleConfig {
        end_gtp: present(),
        chain: Some("local".to_owned()),
        ..rule("in", "s", of_user(1))
    });
    config.rules.push(RuleConfig {
        forward: Some(way),
        ..rule("on", "s", at("a1"))
    });
    configure(rig, &config).await;
    let plain = Frame::ip(user_packet()).bytes();
    let frame = Frame::gtp(1, 255, &user_packet()).bytes();
    assert_eq!(
        leaves(rig, "p0", &frame).await,
        ("a0".to_owned(), plain.clone())
    );
    assert_eq!(
        leaves(rig, "a0", &plain).await,
        ("a1".to_owned(), plain.clone())
    );
    let (port, left) = leaves(rig, "a1", &plain).await;
    assert_eq!(
        (port.as_str(), &left[42..]),
        ("p1", &gtp(0x55, 255, &[], &user_packet())[..])
    );
}

/// An application that is down is left out or closes its chain, as the chain says, and is visited again when it is back.
pub(crate) async fn a_chain_is_bypassed_or_closed_while_an_application_is_down(
    rig: &mut impl SteeringRig,
) {
    let mut config = base();
    config.chains.push(chain(OnFailure::Bypass));
    config.rules.push(RuleConfig {
        chain: Some("local".to_owned()),
        ..rule("r", "s", of_user(1))
    });
    configure(rig, &config).await;
    let frame = Frame::gtp(1, 255, &user_packet()).bytes();
    let is_up =
        |state: &SteeringState, index: usize| state.chains[0].applications[index].condition.is_up;
    rig.set_link("a0", false);
    eventually(rig, |state| !is_up(state, 0)).await;
    until_it_leaves_at(rig, &frame, "a1").await;
    rig.set_link("a1", false);
    until_it_leaves_at(rig, &frame, "p2").await;
    rig.set_link("a0", true);
    rig.set_link("a1", true);
    until_it_leaves_at(rig, &frame, "a0").await;
    let mut closed = config.clone();
    closed.chains[0].on_failure = OnFailure::Close;
    change(rig, &config, &closed).await.unwrap();
    rig.set_link("a1", false);
    eventually(rig, |state| !is_up(state, 1)).await;
    // The program follows a little later; then nothing leaves any more.
    let start = Instant::now();
    loop {
        let before = of_rule(&seen(rig).await, "r");
        rig.send("p0", &frame);
        eventually(rig, |state| of_rule(state, "r") == before + 1).await;
        if rig.left().is_empty() {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "the chain stays open");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    rig.set_link("a1", true);
}

pub(crate) async fn until_it_leaves_at(rig: &mut impl SteeringRig, frame: &[u8], port: &str) {
    let start = Instant::now();
    loop {
        rig.send("p0", frame);
        tokio::time::sleep(Duration::from_millis(20)).await;
        if rig.left().iter().any(|(at, _)| at == port) {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "nothing leaves at {port}");
    }
}

/// Malformed GTP-U is nobody's: it is passed or dropped as configured, and reaches no slice.
pub(crate) async fn malformed_gtp_is_passed_or_dropped_and_reaches_no_slice(
    rig: &mut impl SteeringRig,
) {
    let malformed = |state: &SteeringState| state.counters.as_ref().unwrap().malformed.packets;
    let sound = gtp(1, 255, &[(0x85, vec![0, 9])], &user_packet());
    let with = |change: fn(&mut Vec<u8>)| {
        let mut gtp = sound.clone();
        change(&mut gtp);
        Frame::ip(udp4("10.0.0.2", GATEWAY, 2152, 2152, &gtp)).bytes()
    };
    let cases = [
        ("truncated in its header", with(|gtp| gtp.truncate(6))),
        ("shorter than it says", with(|gtp| gtp.truncate(20))),
        ("of version 2", with(|gtp| gtp[0] = 0x54)),
        ("GTP'", with(|gtp| gtp[0] = 0x24)),
        ("with an extension of no length", with(|gtp| gtp[12] = 0)),
        (
            "with an extension beyond its end",
            with(|gtp| gtp[12] = 200),
        ),
        (
            "with a user's packet that is longer than it",
            with(|gtp| gtp[18] = 9),
        ),
    ];
    let mut before = SteeringConfig::default();
    for malformed_gtp in [Malformed::Pass, Malformed::Drop] {
        let mut config = SteeringConfig {
            malformed_gtp,
            ..base()
        };
        config.rules.push(RuleConfig {
            end_gtp: present(),
            forward: to("a0"),
            ..rule("user", "s", of_user(1))
        });
        config.rules.push(RuleConfig {
            forward: to("p1"),
            ..rule("rest", "other", at("p0"))
        });
        change(rig, &before, &config).await.unwrap();
        for (what, frame) in &cases {
            let counted = malformed(&seen(rig).await);
            vanishes(rig, "p0", frame, malformed).await;
            assert_eq!(malformed(&seen(rig).await), counted + 1, "{what}");
        }
        assert_eq!(
            of_rule(&seen(rig).await, "user") + of_rule(&seen(rig).await, "rest"),
            0
        );
        before = config;
    }
}

/// Fragments are left alone, and what is too large for its port is dropped or passed.
pub(crate) async fn fragments_and_jumbos_are_not_guessed(rig: &mut impl SteeringRig) {
    let mut config = base();
    let encapsulate = Encapsulation {
        teid: 1,
        local_address: GATEWAY.parse().unwrap(),
        peer_address: "10.0.0.2".parse().unwrap(),
        qfi: None,
        direction: Direction::Downlink,
    };
    let way = WayOut {
        encapsulate: Some(encapsulate),
        ..to("p1").unwrap()
    };
    config.rules.push(RuleConfig {
        forward: Some(way),
        ..rule("r", "s", at("p0"))
    });
    configure(rig, &config).await;
    let mut fragment = udp4("172.16.0.9", "192.168.0.7", 1, 2, b"x");
    fragment[6] = 0x20;
    vanishes(rig, "p0", &Frame::ip(fragment).bytes(), |state| {
        state.counters.as_ref().unwrap().fragments.packets
    })
    .await;
    let too_large = |state: &SteeringState| state.counters.as_ref().unwrap().too_large.packets;
    // 1464 octets and 36 of headers are 1500.
    let fits = ipv4("172.16.0.9", "192.168.0.7", 1, &[0; 1444]);
    assert_eq!(
        leaves(rig, "p0", &Frame::ip(fits).bytes()).await.1.len(),
        1514
    );
    let jumbo = ipv4("172.16.0.9", "192.168.0.7", 1, &[0; 1445]);
    vanishes(rig, "p0", &Frame::ip(jumbo).bytes(), too_large).await;
}

/// An echo request to the gateway is answered to who asked.
pub(crate) async fn an_echo_request_is_answered(rig: &mut impl SteeringRig) {
    let mut config = base();
    config.rules.push(RuleConfig {
        drop: present(),
        ..rule("nothing", "s", at("p0"))
    });
    configure(rig, &config).await;
    let request = [0x32, 1, 0, 4, 0, 0, 0, 0, 0xab, 0xcd, 0, 0];
    let frame = Frame::ip(udp4("10.0.0.2", GATEWAY, 4000, 2152, &request)).bytes();
    let (port, left) = leaves(rig, "p0", &frame).await;
    let response = [0x32, 2, 0, 6, 0, 0, 0, 0, 0xab, 0xcd, 0, 0, 14, 0];
    let mut expected = Frame::ip(udp4(GATEWAY, "10.0.0.2", 2152, 4000, &response));
    (expected.destination, expected.source) = (expected.source, expected.destination);
    assert_eq!((port.as_str(), left), ("p0", expected.bytes()));
    let elsewhere = Frame::ip(udp4("10.0.0.2", "10.0.0.3", 4000, 2152, &request)).bytes();
    vanishes(rig, "p0", &elsewhere, |state| of_rule(state, "nothing")).await;
}

/// The first rule wins; one that is never reached is said in the plan and in the state, and is no error.
pub(crate) async fn a_shadowed_rule_is_a_warning(rig: &mut impl SteeringRig) {
    let mut config = base();
    config.rules.push(RuleConfig {
        forward: to("p1"),
        ..rule("wide", "s", at("p0"))
    });
    config.rules.push(RuleConfig {
        forward: to("p2"),
        ..rule("narrow", "s", of_user(1))
    });
    let plan = rig
        .steering()
        .plan(&NodeConfig::default(), &node(config.clone()))
        .unwrap();
    let [warning] = plan.warnings() else {
        panic!("{plan:?}");
    };
    assert_eq!(warning.kind, WarningKind::Shadowed);
    assert!(
        warning.path.contains("narrow") && warning.message.contains("wide"),
        "{warning:?}"
    );
    configure(rig, &config).await;
    assert_eq!(
        seen(rig).await.rules[1].shadowed_by.as_deref(),
        Some("wide")
    );
    let frame = Frame::gtp(1, 255, &user_packet()).bytes();
    assert_eq!(leaves(rig, "p0", &frame).await.0, "p1");
    config.rules.reverse();
    change(rig, &base(), &config).await.unwrap();
    assert_eq!(seen(rig).await.rules[1].shadowed_by, None);
    assert_eq!(leaves(rig, "p0", &frame).await.0, "p2");
}

/// Tests of a module for each of these.
macro_rules! shared {
    ($run:ident) => {
        crate::backend::steering::suite::shared!(
            $run:
            req_dp_1_classifies_by_mac_ip_vlan_teid_and_type
            req_dp_2_forwards_to_a_chosen_port
            req_dp_3_steers_along_a_chain
            req_cp_1_is_configured_as_a_whole_or_not_at_all
            req_cp_2_ends_gtp_locally
            traffic_is_served_locally_and_put_back
            a_chain_is_bypassed_or_closed_while_an_application_is_down
            an_application_that_hangs_is_bypassed_or_closes_its_chain
            what_is_known_of_an_application_outlives_other_changes
            who_hangs_holds_up_nobody_else
            malformed_gtp_is_passed_or_dropped_and_reaches_no_slice
            fragments_and_jumbos_are_not_guessed
            an_echo_request_is_answered
            a_shadowed_rule_is_a_warning
            steering_is_adopted_repaired_and_removed
            what_cannot_be_put_in_force_leaves_nothing_and_is_told
            a_users_query_is_answered_into_the_tunnel
            what_has_no_record_is_asked_elsewhere_or_refused
            nobody_waits_for_another_resolver
            users_of_another_slice_get_no_answer
            resolvers_are_changed_found_again_and_removed
        );
    };
    ($run:ident: $($test:ident)*) => {
        $(#[test]
        fn $test() {
            $run(async |rig| crate::backend::steering::suite::$test(rig).await);
        })*
    };
}
pub(crate) use shared;
