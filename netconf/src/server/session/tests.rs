use super::*;
use crate::message::{ServerMessage, WithDefaults};

const LIMITS: XmlLimits = XmlLimits {
    max_depth: 32,
    max_attributes: 32,
};

/// A session, its client's framing, and a clock that moves when it is told to.
struct Bench {
    session: Session,
    decoder: Decoder,
    framing: Framing,
    now: Instant,
}

fn limits() -> Limits {
    Limits {
        idle_timeout: Some(Duration::from_secs(100)),
        max_pipelined_bytes: 1000,
        ..Limits::default()
    }
}

impl Bench {
    /// Before the client's hello; the server's was read.
    fn new() -> Self {
        let now = Instant::now();
        let session = Session::new(7, vec!["urn:x".to_owned()], &limits(), Arc::default(), now);
        let decoder = Decoder::new(Framing::EndOfMessage, 1 << 20);
        let mut bench = Self {
            session,
            decoder,
            framing: Framing::EndOfMessage,
            now,
        };
        let hello = Hello::parse(&bench.sent(), &LIMITS).unwrap();
        assert_eq!(hello.session_id, Some(7));
        assert_eq!(hello.capabilities, [BASE_1_0, BASE_1_1, "urn:x"]);
        bench
    }

    /// After the hellos.
    fn ready(base: &str) -> Self {
        let mut bench = Self::new();
        bench.hello(&[base], None);
        let action = bench.poll();
        let base_1_1 = base == BASE_1_1;
        assert_eq!(
            action,
            Some(Action::Start {
                base_1_1,
                capabilities: vec![base.to_owned()]
            })
        );
        bench.framing = if base_1_1 {
            Framing::Chunked
        } else {
            Framing::EndOfMessage
        };
        bench.decoder.switch(bench.framing, 1 << 20);
        bench
    }

    fn hello(&mut self, capabilities: &[&str], session_id: Option<u32>) {
        let capabilities = capabilities.iter().map(|uri| (*uri).to_owned()).collect();
        self.send(
            &Hello {
                capabilities,
                session_id,
            }
            .encode(),
        );
    }

    fn send(&mut self, message: &str) {
        let bytes = framing::encode(self.framing, message.as_bytes()).unwrap();
        self.session.receive(&bytes);
    }

    fn request(&mut self, id: u32, operation: Operation) -> Rpc {
        let rpc = Rpc {
            message_id: id.to_string(),
            attributes: Vec::new(),
            operation,
        };
        self.send(&rpc.encode());
        rpc
    }

    fn poll(&mut self) -> Option<Action> {
        loop {
            match self.session.poll(self.now) {
                Some(Action::Parse(message)) => {
                    self.session.parsed(Rpc::parse(&message, &LIMITS));
                }
                action => return action,
            }
        }
    }

    fn called(&mut self) -> Rpc {
        match self.poll() {
            Some(Action::Call(rpc)) => rpc,
            other => panic!("expected a call, got {other:?}"),
        }
    }

    fn sent(&mut self) -> Vec<u8> {
        match self.poll() {
            Some(Action::Send(bytes)) => self.decoder.push(&bytes),
            other => panic!("expected something sent, got {other:?}"),
        }
        self.decoder
            .next_message()
            .unwrap()
            .expect("one whole message")
    }

    fn reply(&mut self) -> (Option<String>, Outcome) {
        match ServerMessage::parse(&self.sent(), &LIMITS).unwrap() {
            ServerMessage::Reply(reply) => (reply.message_id, reply.outcome),
            other => panic!("expected a reply, got {other:?}"),
        }
    }

    fn replied(&mut self) {
        assert_eq!(self.reply().1, Ok(Reply::Ok));
    }

    fn done(&mut self, outcome: Outcome) {
        self.session.outcome(self.now, &outcome);
    }

    fn ended(&mut self) -> SessionEnd {
        match self.poll() {
            Some(Action::End(end)) => {
                assert_eq!(self.poll(), None, "nothing follows the end");
                assert!(!self.session.wants_input());
                end
            }
            other => panic!("expected the end, got {other:?}"),
        }
    }
}

fn get() -> Operation {
    Operation::Get {
        filter: None,
        with_defaults: Some(WithDefaults::Trim),
    }
}

#[test]
fn requests_that_come_together_are_carried_out_one_by_one() {
    for base in [BASE_1_0, BASE_1_1] {
        let mut bench = Bench::ready(base);
        let first = bench.request(1, get());
        let second = bench.request(2, Operation::DiscardChanges);
        assert_eq!(bench.called().operation, first.operation);
        assert_eq!(bench.poll(), None, "the second waits");
        bench.done(Ok(Reply::Ok));
        assert_eq!(bench.reply(), (Some("1".to_owned()), Ok(Reply::Ok)));
        assert_eq!(bench.called().operation, second.operation);
    }
}

#[test]
fn a_hello_split_anywhere_and_followed_at_once_by_a_request_is_understood() {
    let hello = Hello {
        capabilities: vec![BASE_1_1.to_owned()],
        session_id: None,
    }
    .encode();
    let mut wire = framing::encode(Framing::EndOfMessage, hello.as_bytes()).unwrap();
    let rpc = Rpc {
        message_id: "1".to_owned(),
        attributes: Vec::new(),
        operation: get(),
    };
    wire.extend(framing::encode(Framing::Chunked, rpc.encode().as_bytes()).unwrap());
    for split in 0..wire.len() {
        let mut bench = Bench::new();
        let mut actions = Vec::new();
        for part in [&wire[..split], &wire[split..]] {
            bench.session.receive(part);
            actions.extend(std::iter::from_fn(|| bench.poll()));
        }
        assert!(
            matches!(actions.as_slice(), [Action::Start { .. }, Action::Call(_)]),
            "split at {split}: {actions:?}"
        );
    }
}

#[test]
fn bad_hellos_end_the_session() {
    let mut bench = Bench::new();
    bench.hello(&["urn:ietf:params:netconf:base:2.0"], None);
    assert!(matches!(bench.ended(), SessionEnd::BadHello(why) if why.contains("base:1.1")));

    let mut bench = Bench::new();
    bench.hello(&[BASE_1_1], Some(3));
    assert!(matches!(bench.ended(), SessionEnd::BadHello(why) if why.contains("session-id")));

    let mut bench = Bench::new();
    bench.request(1, get());
    assert!(matches!(bench.ended(), SessionEnd::BadHello(why) if why.contains("<rpc>")));

    let mut bench = Bench::new();
    bench
        .session
        .receive(&vec![b' '; limits().max_hello_bytes + 10]);
    assert!(matches!(bench.ended(), SessionEnd::BadHello(why) if why.contains("longer")));
}

#[test]
fn a_hello_is_waited_for_so_long_and_no_longer() {
    let mut bench = Bench::new();
    assert_eq!(
        bench.session.deadline(),
        Some(bench.now + limits().hello_timeout)
    );
    bench.now += limits().hello_timeout - Duration::from_millis(1);
    bench.session.timeout(bench.now);
    assert_eq!(bench.poll(), None);
    bench.now += Duration::from_millis(1);
    bench.session.timeout(bench.now);
    assert!(matches!(bench.ended(), SessionEnd::BadHello(_)));
}

#[test]
fn an_idle_session_ends_and_a_busy_one_does_not() {
    let mut bench = Bench::ready(BASE_1_1);
    bench.request(1, get());
    bench.called();
    assert_eq!(bench.session.deadline(), None);
    bench.now += Duration::from_secs(1000);
    bench.session.timeout(bench.now);
    bench.done(Ok(Reply::Ok));
    bench.replied();
    assert_eq!(
        bench.session.deadline(),
        Some(bench.now + Duration::from_secs(100))
    );
    bench.now += Duration::from_secs(100);
    bench.session.timeout(bench.now);
    assert_eq!(bench.ended(), SessionEnd::IdleTimeout);
}

#[test]
fn close_session_is_answered_and_what_follows_it_is_not() {
    let mut bench = Bench::ready(BASE_1_1);
    bench.request(1, Operation::CloseSession);
    bench.request(2, get());
    assert_eq!(bench.reply(), (Some("1".to_owned()), Ok(Reply::Ok)));
    assert_eq!(bench.ended(), SessionEnd::Closed);
}

#[test]
fn a_killed_session_ends_when_its_request_is_done_without_a_reply() {
    let mut bench = Bench::ready(BASE_1_1);
    bench.request(1, get());
    bench.called();
    bench.session.end(SessionEnd::Killed { by: 3 });
    bench.session.end(SessionEnd::Shutdown);
    assert_eq!(bench.poll(), None);
    assert!(!bench.session.wants_notifications());
    bench.done(Ok(Reply::Ok));
    assert_eq!(bench.ended(), SessionEnd::Killed { by: 3 });
}

#[test]
fn what_was_sent_before_the_end_of_input_is_still_carried_out() {
    let mut bench = Bench::ready(BASE_1_1);
    bench.request(1, get());
    bench.request(2, get());
    bench.session.end_of_input();
    for _ in 0..2 {
        bench.called();
        bench.done(Ok(Reply::Ok));
        bench.replied();
    }
    assert_eq!(bench.ended(), SessionEnd::TransportLost);
}

#[test]
fn malformed_messages_are_answered_in_their_turn() {
    let mut bench = Bench::ready(BASE_1_1);
    bench.request(1, get());
    bench.send("<rpc");
    bench.send("<rpc xmlns='urn:ietf:params:xml:ns:netconf:base:1.0'><get/></rpc>");
    bench.request(4, get());
    bench.called();
    bench.done(Ok(Reply::Ok));
    assert_eq!(bench.reply().0.as_deref(), Some("1"));
    let (id, outcome) = bench.reply();
    assert_eq!(
        (id, outcome.unwrap_err()[0].tag),
        (None, ErrorTag::MalformedMessage)
    );
    let (id, outcome) = bench.reply();
    assert_eq!(
        (id, outcome.unwrap_err()[0].tag),
        (None, ErrorTag::MissingAttribute)
    );
    assert_eq!(bench.called().message_id, "4");
    let counters = &bench.session.counters;
    assert_eq!(counters.in_rpcs.load(Ordering::Relaxed), 2);
    assert_eq!(counters.in_bad_rpcs.load(Ordering::Relaxed), 2);
    assert_eq!(counters.out_rpc_errors.load(Ordering::Relaxed), 2);
}

#[test]
fn malformed_messages_end_a_base_1_0_session() {
    let mut bench = Bench::ready(BASE_1_0);
    bench.send("<rpc");
    assert!(matches!(bench.ended(), SessionEnd::Protocol(_)));
}

#[test]
fn broken_framing_ends_the_session() {
    let mut bench = Bench::ready(BASE_1_1);
    bench.session.receive(b"\n#0\n");
    assert!(matches!(bench.ended(), SessionEnd::Protocol(why) if why.contains("chunk size")));
}

#[test]
fn input_is_left_in_the_transport_while_enough_waits() {
    let mut bench = Bench::ready(BASE_1_1);
    bench.request(1, get());
    bench.called();
    while bench.session.wants_input() {
        bench.request(2, get());
    }
    assert!(bench.session.decoder.buffered() < 1000 + 300);
    bench.done(Ok(Reply::Ok));
    bench.replied();
    bench.called();
    bench.done(Ok(Reply::Ok));
    bench.replied();
    assert!(bench.session.wants_input());
}

#[test]
fn notifications_wait_for_the_reply_that_subscribes_and_for_no_other() {
    let mut bench = Bench::ready(BASE_1_1);
    bench.request(1, get());
    bench.called();
    assert!(bench.session.wants_notifications());
    bench.done(Ok(Reply::Ok));
    bench.replied();
    bench.request(
        2,
        Operation::CreateSubscription(crate::message::CreateSubscription {
            stream: "NETCONF".to_owned(),
            filter: None,
            start_time: None,
            stop_time: None,
        }),
    );
    bench.called();
    assert!(!bench.session.wants_notifications());
    bench.done(Ok(Reply::Ok));
    bench.replied();
    assert!(bench.session.wants_notifications());
}

#[test]
fn data_that_end_of_message_framing_cannot_carry_is_an_error_for_the_client() {
    let mut bench = Bench::ready(BASE_1_0);
    bench.request(1, get());
    bench.called();
    let data = crate::xml::Fragment::parse("<a xmlns='urn:a' b=']]>]]>'/>").unwrap();
    bench.done(Ok(Reply::Data(data)));
    let (id, outcome) = bench.reply();
    assert_eq!(id.as_deref(), Some("1"));
    assert_eq!(outcome.unwrap_err()[0].tag, ErrorTag::OperationFailed);
}
