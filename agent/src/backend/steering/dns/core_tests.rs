//! Queries and answers as messages.

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RecordType};
use serde_json::json;

use super::*;

fn core(forward: bool) -> Core {
    let mut config: ResolverConfig = serde_json::from_value(json!({
        "slice": "a", "port": "dns0", "address": ["10.53.0.1"], "client": ["10.60.0.0/16", "fd00:60::/32"],
        "record": [
            { "name": "video.example", "type": "A", "address": "10.9.0.7", "ttl": 60 },
            { "name": "Video.example", "type": "AAAA", "address": "fd00::7", "ttl": 61 },
            { "name": "*.cdn.example", "type": "A", "address": "10.9.0.8" },
            { "name": "own.cdn.example", "type": "A", "address": "10.9.0.9" },
        ],
    }))
    .unwrap();
    config.forward = forward.then(|| config::Forward {
        servers: vec!["10.0.0.53".parse().unwrap()],
        through: config::Through::Node,
    });
    Core::new(&config, None)
}

fn client() -> IpAddr {
    "10.60.0.9".parse().unwrap()
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut query = Message::query();
    query.metadata.recursion_desired = true;
    query.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    query
}

fn take(core: &Core, query: &Message) -> Taken {
    core.take(
        client(),
        &query.to_vec().unwrap(),
        (Transport::Udp, Instant::now()),
    )
}

fn answer(core: &Core, query: &Message) -> Message {
    match take(core, query) {
        Taken::Answer(answer) => {
            assert!(answer.len() <= 512);
            Message::from_vec(&answer).unwrap()
        }
        other => panic!("{other:?}"),
    }
}

fn found(core: &Core, name: &str, kind: RecordType) -> (ResponseCode, Vec<String>) {
    let query = query(name, kind);
    let answer = answer(core, &query);
    assert_eq!(answer.metadata.id, query.metadata.id);
    assert_eq!(answer.queries, query.queries);
    assert!(answer.metadata.recursion_desired);
    let shown = answer.answers.iter().map(|record| {
        // Letters as the client wrote them (RFC 4343 4.1).
        assert_eq!(record.name.to_ascii(), query.queries[0].name().to_ascii());
        format!("{} {}", record.ttl, record.data)
    });
    (answer.metadata.response_code, shown.collect())
}

#[test]
fn addresses_are_answered_whatever_the_case() {
    let core = core(true);
    let cases: [(&str, RecordType, &[&str]); 6] = [
        ("video.example.", RecordType::A, &["60 10.9.0.7"]),
        ("VIDEO.eXample.", RecordType::A, &["60 10.9.0.7"]),
        ("video.example.", RecordType::AAAA, &["61 fd00::7"]),
        (
            "video.example.",
            RecordType::ANY,
            &["60 10.9.0.7", "61 fd00::7"],
        ),
        ("a.b.CDN.example.", RecordType::A, &["300 10.9.0.8"]),
        ("own.cdn.example.", RecordType::A, &["300 10.9.0.9"]),
    ];
    for (name, kind, expected) in cases {
        let (code, records) = found(&core, name, kind);
        assert_eq!(
            (code, &records[..]),
            (ResponseCode::NoError, &expected.map_to_strings()[..]),
            "{name} {kind}"
        );
    }
    assert!(
        answer(&core, &query("video.example.", RecordType::A))
            .metadata
            .authoritative
    );
    assert_eq!(core.counts().answered, 7);
}

trait Strings {
    fn map_to_strings(&self) -> Vec<String>;
}

impl Strings for &[&str] {
    fn map_to_strings(&self) -> Vec<String> {
        self.iter().map(|one| (*one).to_owned()).collect()
    }
}

#[test]
fn there_may_be_no_record_of_a_type_or_no_such_name() {
    let core = core(true);
    let nothing = (ResponseCode::NoError, Vec::new());
    assert_eq!(found(&core, "video.example.", RecordType::MX), nothing);
    assert_eq!(found(&core, "x.cdn.example.", RecordType::AAAA), nothing);
    let no_name = (ResponseCode::NXDomain, Vec::new());
    assert_eq!(found(&core, "x.own.cdn.example.", RecordType::A), no_name);
}

#[test]
fn the_rest_is_asked_elsewhere_or_refused() {
    let rest = query("www.example.", RecordType::A);
    assert!(matches!(take(&core(true), &rest), Taken::Forward(_)));
    let alone = core(false);
    let refused = answer(&alone, &rest);
    assert_eq!(refused.metadata.response_code, ResponseCode::Refused);
    assert!(!refused.metadata.recursion_available && !refused.metadata.authoritative);
    assert_eq!(alone.counts().refused, 1);
}

#[test]
fn what_makes_no_sense_is_refused_and_counted() {
    let core = core(true);
    let code = |change: &dyn Fn(&mut Message)| {
        let mut query = query("video.example.", RecordType::A);
        change(&mut query);
        answer(&core, &query).metadata.response_code
    };
    assert_eq!(code(&|q| q.queries.clear()), ResponseCode::FormErr);
    assert_eq!(
        code(&|q| q.metadata.op_code = OpCode::Status),
        ResponseCode::NotImp
    );
    assert_eq!(
        code(&|q| q.queries[0].query_class = DNSClass::CH),
        ResponseCode::Refused
    );
    assert_eq!(
        code(&|q| q.queries[0].query_type = RecordType::AXFR),
        ResponseCode::Refused
    );
    let odd = |q: &mut Message| {
        let mut edns = Edns::new();
        edns.set_version(1);
        q.set_edns(edns);
    };
    // One number has two names.
    assert_eq!(u16::from(code(&odd)), u16::from(ResponseCode::BADVERS));
    let mut cut = query("video.example.", RecordType::A).to_vec().unwrap();
    cut.truncate(20);
    let Taken::Answer(answer) = core.take(client(), &cut, (Transport::Udp, Instant::now())) else {
        panic!("a query that is cut is refused");
    };
    assert_eq!((answer[0], answer[1], answer[3] & 15), (cut[0], cut[1], 1));
    assert_eq!(core.counts().refused, 6);
}

#[test]
fn of_several_questions_none_is_repeated_however_many_there_are() {
    let core = core(true);
    let many = |count: usize| {
        let mut query = query("video.example.", RecordType::A);
        let long = |number| format!("{}.{number}.example.", "x".repeat(60));
        query.queries.extend((1..count).map(|number| {
            let name = Name::from_ascii(long(number)).unwrap();
            Query::query(name, RecordType::A)
        }));
        query
    };
    for count in [2, 100, 800] {
        let query = many(count);
        let answer = answer(&core, &query);
        assert_eq!(answer.metadata.response_code, ResponseCode::FormErr);
        assert!(answer.queries.is_empty(), "{count}");
    }
}

#[test]
fn nobody_else_and_no_answer_is_answered() {
    let core = core(true);
    let query = query("video.example.", RecordType::A);
    let octets = query.to_vec().unwrap();
    for stranger in ["10.61.0.1", "fd00:61::1"] {
        let taken = core.take(
            stranger.parse().unwrap(),
            &octets,
            (Transport::Udp, Instant::now()),
        );
        assert!(matches!(taken, Taken::Ignored), "{stranger}");
    }
    let mut response = query;
    response.metadata.message_type = MessageType::Response;
    assert!(matches!(take(&core, &response), Taken::Ignored));
    assert!(matches!(
        core.take(client(), &[0; 5], (Transport::Udp, Instant::now())),
        Taken::Ignored
    ));
    assert_eq!(
        core.counts(),
        ResolverCounts {
            ignored: 4,
            ..ResolverCounts::default()
        }
    );
}

#[test]
fn only_the_answer_to_the_question_is_handed_on_and_a_long_one_is_cut() {
    let core = core(true);
    let asked = query("www.example.", RecordType::A);
    let Taken::Forward(pending) = take(&core, &asked) else {
        panic!("it is asked elsewhere");
    };
    let pending = *pending;
    let mut reply = asked.clone().into_response();
    reply.metadata.id = 7;
    let answer = Record::from_rdata(
        Name::from_ascii("www.example.").unwrap(),
        5,
        RData::from(std::net::Ipv4Addr::new(192, 0, 2, 1)),
    );
    reply.add_answer(answer.clone());
    let octets = reply.to_vec().unwrap();
    assert!(pending.is_answered_by(7, &octets));
    assert!(!pending.is_answered_by(8, &octets));
    assert!(!pending.is_answered_by(7, &query("www.example.", RecordType::A).to_vec().unwrap()));
    let mut other = reply.clone();
    other.queries[0].set_name(Name::from_ascii("elsewhere.example.").unwrap());
    assert!(!pending.is_answered_by(7, &other.to_vec().unwrap()));
    let handed_on = core.finish(pending.clone(), Some(octets)).unwrap();
    let handed_on = Message::from_vec(&handed_on).unwrap();
    assert_eq!(
        (handed_on.metadata.id, handed_on.answers.len()),
        (asked.metadata.id, 1)
    );
    reply.add_answers((0..40).map(|_| answer.clone()));
    let cut = core.finish(pending.clone(), reply.to_vec().ok()).unwrap();
    assert!(cut.len() < 60);
    assert!(Message::from_vec(&cut).unwrap().metadata.truncation);
    let failed = Message::from_vec(&core.finish(pending, None).unwrap()).unwrap();
    assert_eq!(failed.metadata.response_code, ResponseCode::ServFail);
    let counts = core.counts();
    assert_eq!((counts.forwarded, counts.failed), (2, 1));
}

#[test]
fn a_client_that_asks_too_much_is_told_to_ask_over_tcp_in_no_more_octets_than_it_sent() {
    let core = core(true);
    let now = Instant::now();
    let octets = query("video.example.", RecordType::A).to_vec().unwrap();
    let ask = |from: IpAddr, over| core.take(from, &octets, (over, now));
    let is_cut = |taken: Taken| {
        let Taken::Answer(answer) = taken else {
            panic!("{taken:?}")
        };
        let cut = Message::from_vec(&answer).unwrap();
        assert!(
            !cut.metadata.truncation || (cut.answers.is_empty() && answer.len() <= octets.len())
        );
        cut.metadata.truncation
    };
    let rate = config::DEFAULT_CLIENT_RATE as usize;
    let cut = (0..rate + 7).filter(|_| is_cut(ask(client(), Transport::Udp)));
    assert_eq!(cut.count(), 7);
    assert!(!is_cut(ask(client(), Transport::Tcp)));
    assert!(!is_cut(ask("10.60.0.10".parse().unwrap(), Transport::Udp)));
    let counts = core.counts();
    assert_eq!((counts.limited, counts.answered), (7, rate as u64 + 2));
    // Other records do not give it another second's worth.
    let same =
        serde_json::json!({ "port": "dns0", "address": ["10.53.0.1"], "client": ["10.60.0.0/16"] });
    let changed = Core::new(&serde_json::from_value(same).unwrap(), Some(&core));
    assert!(is_cut(changed.take(
        client(),
        &octets,
        (Transport::Udp, now)
    )));
}
