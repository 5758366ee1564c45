//! Resolvers of slices: users of a cell ask in their tunnel and are answered there.

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType as Type};
use serde_json::json;

use super::*;

pub(crate) const RESOLVER: &str = "10.53.0.1";
pub(crate) const A: Type = Type::A;
const USER: &str = "172.16.0.9";
/// What is before the answer in a frame that leaves: Ethernet, IPv4, UDP and GTP-U, and IPv4 and UDP inside.
const BEFORE: usize = 14 + 20 + 8 + 8 + 20 + 8;

/// Users with TEID 1 reach the resolver of slice s, and get its answers in the tunnel 0x77.
pub(crate) fn with_resolver(forward: Option<Forward>) -> SteeringConfig {
    let mut resolver: ResolverConfig = serde_json::from_value(json!({
        "slice": "s", "port": "d0", "address": [RESOLVER], "client": ["172.16.0.0/16"],
        "record": [
            { "name": "video.example", "type": "A", "address": "10.9.0.7", "ttl": 60 },
            { "name": "video.example", "type": "AAAA", "address": "fd00::7" },
            { "name": "*.cdn.example", "type": "A", "address": "10.9.0.8" },
            { "name": "own.cdn.example", "type": "A", "address": "10.9.0.9" },
        ],
    }))
    .unwrap();
    resolver.forward = forward;
    let mut config = base();
    config.ports.push(PortConfig {
        name: "d0".to_owned(),
        ..PortConfig::default()
    });
    config.resolvers.push(resolver);
    config.rules.push(to_resolver("ask", "s", 1));
    let encapsulate = Encapsulation {
        teid: 0x77,
        local_address: GATEWAY.parse().unwrap(),
        peer_address: "10.0.0.2".parse().unwrap(),
        qfi: None,
        direction: Direction::Downlink,
    };
    let back = MatchConfig {
        destination_prefix: written("172.16.0.0/12"),
        ..at("d0")
    };
    config.rules.push(RuleConfig {
        forward: Some(WayOut {
            encapsulate: Some(encapsulate),
            ..to("p0").unwrap()
        }),
        ..rule("answer", "s", back)
    });
    config
}

fn to_resolver(name: &str, slice: &str, teid: u32) -> RuleConfig {
    let mut matching = of_user(teid);
    if let Some(gtp) = &mut matching.gtp {
        gtp.inner_destination_prefix = written(&format!("{RESOLVER}/32"));
    }
    RuleConfig {
        end_gtp: present(),
        forward: Some(WayOut {
            to_other_end: present(),
            ..to("d0").unwrap()
        }),
        ..rule(name, slice, matching)
    }
}

fn elsewhere(server: IpAddr) -> Option<Forward> {
    Some(Forward {
        servers: vec![server],
        through: Through::Node,
    })
}

fn query(name: &str, kind: Type) -> Message {
    let mut query = Message::query();
    query.metadata.recursion_desired = true;
    query.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    query
}

/// What another resolver says of www.example.
pub(crate) fn others_answer() -> Vec<u8> {
    let mut answer = query("www.example.", Type::A).into_response();
    let data = RData::from(std::net::Ipv4Addr::new(192, 0, 2, 80));
    let name = Name::from_ascii("www.example.").unwrap();
    answer.add_answer(Record::from_rdata(name, 5, data));
    answer.to_vec().unwrap()
}

fn frame(teid: u32, from: &str, query: &Message) -> Vec<u8> {
    let datagram = udp4(from, RESOLVER, 4000, 53, &query.to_vec().unwrap());
    Frame::gtp(teid, 255, &datagram).bytes()
}

/// Whether a datagram in IPv4 has the checksum that it should have, or none.
fn is_whole(packet: &[u8]) -> bool {
    let length = packet.len() as u32 - 20;
    let words = packet[12..].chunks(2);
    let words = words.map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum = words.sum::<u32>() + 17 + length;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    packet[26..28] == [0, 0] || sum == 0xffff
}

/// What has left towards the users; at other ports is what other resolvers are asked.
fn answers(rig: &mut impl SteeringRig) -> impl Iterator<Item = Vec<u8>> {
    let left = rig.left().into_iter();
    left.filter(|(port, _)| port == "p0")
        .map(|(_, frame)| frame)
}

pub(crate) async fn ask(
    rig: &mut impl SteeringRig,
    name: &str,
    kind: Type,
) -> (ResponseCode, Vec<String>) {
    let query = query(name, kind);
    rig.send("p0", &frame(1, USER, &query));
    let start = Instant::now();
    let left = loop {
        if let Some(left) = answers(rig).next() {
            break left;
        }
        assert!(start.elapsed() < PATIENCE, "no answer to {name} {kind}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    };
    assert_eq!(left[46..50], [0, 0, 0, 0x77]);
    assert_eq!(&left[66..70], &[172, 16, 0, 9]);
    assert!(is_whole(&left[50..]));
    let answer = Message::from_vec(&left[BEFORE..]).unwrap();
    assert_eq!(
        (answer.metadata.id, &answer.queries),
        (query.metadata.id, &query.queries)
    );
    let shown = answer.answers.iter();
    let shown = shown.map(|record| format!("{} {}", record.ttl, record.data));
    (answer.metadata.response_code, shown.collect())
}

async fn counts(rig: &mut impl SteeringRig) -> ResolverCounts {
    let state = seen(rig).await;
    let [resolver] = &state.resolvers[..] else {
        panic!("{state:?}");
    };
    assert!(resolver.is_up && resolver.slice == "s");
    resolver.counts
}

fn found(records: &[&str]) -> (ResponseCode, Vec<String>) {
    let records = records.iter().map(|one| (*one).to_owned());
    (ResponseCode::NoError, records.collect())
}

/// The query leaves its tunnel, the resolver answers, and the answer goes into the tunnel of the user.
pub(crate) async fn a_users_query_is_answered_into_the_tunnel(rig: &mut impl SteeringRig) {
    configure(rig, &with_resolver(None)).await;
    assert_eq!(
        ask(rig, "video.example.", Type::A).await,
        found(&["60 10.9.0.7"])
    );
    assert_eq!(
        ask(rig, "VIDEO.example.", Type::AAAA).await,
        found(&["300 fd00::7"])
    );
    assert_eq!(
        ask(rig, "any.cdn.example.", Type::A).await,
        found(&["300 10.9.0.8"])
    );
    assert_eq!(ask(rig, "video.example.", Type::MX).await, found(&[]));
    let no_name = ask(rig, "no.own.cdn.example.", Type::A).await;
    assert_eq!(no_name, (ResponseCode::NXDomain, Vec::new()));
    let expected = ResolverCounts {
        answered: 5,
        ..ResolverCounts::default()
    };
    assert_eq!(counts(rig).await, expected);
    let state = seen(rig).await;
    assert_eq!((of_rule(&state, "ask"), of_rule(&state, "answer")), (5, 5));
}

/// What has no record is asked elsewhere, and refused where nobody is to be asked.
pub(crate) async fn what_has_no_record_is_asked_elsewhere_or_refused(rig: &mut impl SteeringRig) {
    let server = rig.other_resolver(Some(others_answer()));
    let config = with_resolver(elsewhere(server));
    configure(rig, &config).await;
    assert_eq!(
        ask(rig, "www.example.", Type::A).await,
        found(&["5 192.0.2.80"])
    );
    assert_eq!(counts(rig).await.forwarded, 1);
    let alone = with_resolver(None);
    change(rig, &config, &alone).await.unwrap();
    let refused = ask(rig, "www.example.", Type::A).await;
    assert_eq!(refused, (ResponseCode::Refused, Vec::new()));
    // What was counted stays, with other settings.
    let counts = counts(rig).await;
    assert_eq!((counts.forwarded, counts.refused), (1, 1));
}

/// Another resolver is silent, and who asks for what has a record does not notice.
pub(crate) async fn nobody_waits_for_another_resolver(rig: &mut impl SteeringRig) {
    let server = rig.other_resolver(None);
    configure(rig, &with_resolver(elsewhere(server))).await;
    for _ in 0..20 {
        rig.send(
            "p0",
            &frame(1, "172.16.0.8", &query("www.example.", Type::A)),
        );
    }
    for _ in 0..20 {
        rig.send("p0", &frame(1, USER, &query("video.example.", Type::A)));
    }
    // Those who wait have asked first, and are told later that nobody answered.
    let start = Instant::now();
    let mut answered = 0;
    while answered < 20 {
        let answers = answers(rig).map(|frame| Message::from_vec(&frame[BEFORE..]).unwrap());
        answered += answers.filter(|one| one.answers.len() == 1).count();
        assert!(start.elapsed() < PATIENCE, "{answered}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(counts(rig).await.answered, 20);
    eventually(rig, |state| state.resolvers[0].counts.failed == 20).await;
}

/// A rule of another slice sends its users' queries here, and they get nothing.
pub(crate) async fn users_of_another_slice_get_no_answer(rig: &mut impl SteeringRig) {
    let mut config = with_resolver(None);
    config.rules.push(to_resolver("stray", "other", 2));
    configure(rig, &config).await;
    let ignored = |state: &SteeringState| state.resolvers[0].counts.ignored;
    let stray = frame(2, "172.17.0.9", &query("video.example.", Type::A));
    vanishes(rig, "p0", &stray, ignored).await;
    // Nor does anything but a query.
    let odd = Frame::gtp(1, 255, &udp4(USER, RESOLVER, 4000, 53, b"no query")).bytes();
    vanishes(rig, "p0", &odd, ignored).await;
    assert_eq!(
        ask(rig, "video.example.", Type::A).await,
        found(&["60 10.9.0.7"])
    );
}

/// Records change while others are answered, an agent that starts again answers again, and nothing is left at the end.
pub(crate) async fn resolvers_are_changed_found_again_and_removed(rig: &mut impl SteeringRig) {
    let config = with_resolver(None);
    configure(rig, &config).await;
    let mut changed = config.clone();
    changed.resolvers[0].records[0].address = "10.9.0.17".parse().unwrap();
    change(rig, &config, &changed).await.unwrap();
    assert_eq!(
        ask(rig, "video.example.", Type::A).await,
        found(&["60 10.9.0.17"])
    );
    let mut bad = changed.clone();
    bad.resolvers[0].records[0].address = "fd00::1".parse().unwrap();
    let refused = change(rig, &changed, &bad).await.unwrap_err();
    assert!(
        refused
            .path
            .ends_with("/record[name='video.example'][type='A']/address"),
        "{refused:?}"
    );
    rig.restart().await;
    rig.steering()
        .reconcile(&node(changed.clone()))
        .await
        .unwrap();
    assert_eq!(
        ask(rig, "video.example.", Type::A).await,
        found(&["60 10.9.0.17"])
    );
    // At another address, too.
    let mut moved = changed.clone();
    moved.resolvers[0]
        .addresses
        .push("10.53.0.2".parse().unwrap());
    change(rig, &changed, &moved).await.unwrap();
    assert_eq!(
        ask(rig, "video.example.", Type::AAAA).await,
        found(&["300 fd00::7"])
    );
    assert_eq!(counts(rig).await.answered, 2);
    change(rig, &moved, &SteeringConfig::default())
        .await
        .unwrap();
    assert!(rig.is_untouched());
}
