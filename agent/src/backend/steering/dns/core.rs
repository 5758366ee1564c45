//! What a resolver makes of a query, without a socket: answered from the records, refused, or to be asked elsewhere.
//!
//! Nobody but its clients is answered, answers over UDP are no longer than [`LARGEST_UDP`], and ANY gives no more than the
//! addresses that are there (RFC 8482): there is little to gain for who sends queries in somebody else's name. A client that asks
//! more than its rate over UDP is told to ask over TCP, in an answer that is no longer than its query.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use tranche_steering::{self as config, Prefix, ResolverConfig};

use super::rate::Rates;
use super::zone::{Found, Zone};
use crate::backend::steering::state::ResolverCounts;

/// Octets of an answer over UDP at most, so that it is not fragmented (RFC 9715).
const LARGEST_UDP: u16 = 1232;
/// And where the client says nothing of what it takes (RFC 1035 2.3.4).
const LEAST_UDP: u16 = 512;
const HEADER: usize = 12;

/// How a query came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::backend::steering) enum Transport {
    /// In a datagram.
    Udp,
    /// On a connection.
    Tcp,
}

/// What becomes of a query.
#[derive(Debug)]
pub(in crate::backend::steering) enum Taken {
    /// This is the answer.
    Answer(Vec<u8>),
    /// Another resolver has to be asked.
    Forward(Box<Pending>),
    /// Nothing is said.
    Ignored,
}

/// A query that another resolver is asked.
#[derive(Debug, Clone)]
pub(in crate::backend::steering) struct Pending {
    /// As the client sent it.
    pub(in crate::backend::steering) query: Vec<u8>,
    question: Query,
    /// The answer to it while nobody has answered.
    blank: Message,
    transport: Transport,
    /// Octets that the client takes.
    room: usize,
}

/// A resolver but for its sockets. What it counts outlives a change of its records.
#[derive(Debug)]
pub(in crate::backend::steering) struct Core {
    clients: Vec<Prefix>,
    forwards: bool,
    client_rate: u32,
    zone: Zone,
    counts: Arc<Counts>,
}

/// What is counted.
#[derive(Debug)]
pub(in crate::backend::steering) struct Counts {
    since: SystemTime,
    rates: Mutex<Rates>,
    answered: AtomicU64,
    forwarded: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    ignored: AtomicU64,
    limited: AtomicU64,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            since: SystemTime::now(),
            rates: Mutex::default(),
            answered: AtomicU64::default(),
            forwarded: AtomicU64::default(),
            refused: AtomicU64::default(),
            failed: AtomicU64::default(),
            ignored: AtomicU64::default(),
            limited: AtomicU64::default(),
        }
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Core {
    /// One for a configuration that was checked, which goes on counting where another one stopped.
    pub(in crate::backend::steering) fn new(
        config: &ResolverConfig,
        before: Option<&Self>,
    ) -> Self {
        let clients = config.clients.iter();
        Self {
            clients: clients.filter_map(|written| written.parse().ok()).collect(),
            forwards: config.forward.is_some(),
            client_rate: config.client_rate,
            zone: Zone::new(&config.records),
            counts: before
                .map(|core| Arc::clone(&core.counts))
                .unwrap_or_default(),
        }
    }

    /// What was counted.
    pub(in crate::backend::steering) fn counts(&self) -> ResolverCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ResolverCounts {
            answered: read(&self.counts.answered),
            forwarded: read(&self.counts.forwarded),
            refused: read(&self.counts.refused),
            failed: read(&self.counts.failed),
            ignored: read(&self.counts.ignored),
            limited: read(&self.counts.limited),
        }
    }

    /// Since when.
    pub(in crate::backend::steering) fn since(&self) -> SystemTime {
        self.counts.since
    }

    /// Whether a client has asked for more than its share; counted then.
    fn is_too_much(&self, from: IpAddr, now: Instant) -> bool {
        let rates = self.counts.rates.lock();
        let mut rates = rates.unwrap_or_else(PoisonError::into_inner);
        let is_within = rates.take(from, self.client_rate, now);
        if !is_within {
            count(&self.counts.limited);
        }
        !is_within
    }

    /// Whether this is one who is answered; counted if it is not.
    pub(in crate::backend::steering) fn is_client(&self, from: IpAddr) -> bool {
        let is_client = self.clients.iter().any(|prefix| prefix.contains(from));
        if !is_client {
            count(&self.counts.ignored);
        }
        is_client
    }

    /// Takes a query from an address at a moment.
    pub(in crate::backend::steering) fn take(
        &self,
        from: IpAddr,
        query: &[u8],
        (transport, now): (Transport, Instant),
    ) -> Taken {
        if !self.is_client(from) {
            return Taken::Ignored;
        }
        // An answer is never answered, or two resolvers could talk for ever.
        let is_response = |flags: &u8| flags & 0x80 != 0;
        if query.len() < HEADER || query.get(2).is_some_and(is_response) {
            count(&self.counts.ignored);
            return Taken::Ignored;
        }
        let is_too_much = transport == Transport::Udp && self.is_too_much(from, now);
        let Ok(message) = Message::from_vec(query) else {
            if is_too_much {
                return Taken::Ignored;
            }
            let id = u16::from_be_bytes([query[0], query[1]]);
            return self.refuse(Message::error_msg(id, OpCode::Query, ResponseCode::FormErr));
        };
        let mut blank = self.blank(&message);
        if is_too_much {
            // As rate limits of responses do that let the client "slip" through to TCP, where its address is its own.
            blank.metadata.truncation = true;
            return encoded(&blank);
        }
        match self.decide(&message, &mut blank) {
            Decision::Answered => {
                count(&self.counts.answered);
                encoded(&blank)
            }
            Decision::Refused(code) => {
                blank.metadata.response_code = code;
                self.refuse(blank)
            }
            Decision::Elsewhere(question) => Taken::Forward(Box::new(Pending {
                query: query.to_vec(),
                question,
                room: match transport {
                    Transport::Tcp => usize::from(u16::MAX),
                    Transport::Udp => {
                        let says = message.edns.as_ref().map_or(LEAST_UDP, Edns::max_payload);
                        says.clamp(LEAST_UDP, LARGEST_UDP).into()
                    }
                },
                blank,
                transport,
            })),
        }
    }

    /// The answer to a query that others were asked: theirs, or none in time.
    pub(in crate::backend::steering) fn finish(
        &self,
        pending: Pending,
        reply: Option<Vec<u8>>,
    ) -> Option<Vec<u8>> {
        let mut blank = pending.blank;
        let Some(mut reply) = reply else {
            count(&self.counts.failed);
            blank.metadata.response_code = ResponseCode::ServFail;
            return blank.to_vec().ok();
        };
        count(&self.counts.forwarded);
        if reply.len() > pending.room && pending.transport == Transport::Udp {
            // The client asks again over TCP.
            blank.metadata.truncation = true;
            return blank.to_vec().ok();
        }
        reply.get_mut(..2)?.copy_from_slice(pending.query.get(..2)?);
        Some(reply)
    }

    fn refuse(&self, answer: Message) -> Taken {
        count(&self.counts.refused);
        encoded(&answer)
    }

    /// An answer with nothing in it but the question.
    fn blank(&self, query: &Message) -> Message {
        let mut blank = Message::response(query.metadata.id, query.metadata.op_code);
        blank.metadata.recursion_desired = query.metadata.recursion_desired;
        blank.metadata.recursion_available = self.forwards;
        // More of them are refused, and repeated they could be longer than an answer may be.
        if let [question] = &*query.queries {
            blank.add_query(question.clone());
        }
        if query.edns.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(LARGEST_UDP).set_version(0);
            blank.set_edns(edns);
        }
        blank
    }

    fn decide(&self, query: &Message, answer: &mut Message) -> Decision {
        if query.metadata.op_code != OpCode::Query {
            return Decision::Refused(ResponseCode::NotImp);
        }
        let ([question], MessageType::Query) = (&*query.queries, query.metadata.message_type)
        else {
            return Decision::Refused(ResponseCode::FormErr);
        };
        if query.version() != 0 && query.edns.is_some() {
            return Decision::Refused(ResponseCode::BADVERS);
        }
        let kind = question.query_type();
        let transfers = [RecordType::AXFR, RecordType::IXFR];
        if question.query_class() != DNSClass::IN || transfers.contains(&kind) {
            return Decision::Refused(ResponseCode::Refused);
        }
        let name = question.name().to_lowercase().to_ascii();
        let found = self.zone.find(name.strip_suffix('.').unwrap_or(&name));
        answer.metadata.authoritative = found != Found::NotOurs;
        match found {
            Found::Records(entries) => {
                let wanted = entries.iter().filter(|entry| {
                    let is = match entry.kind {
                        config::RecordType::A => RecordType::A,
                        config::RecordType::Aaaa => RecordType::AAAA,
                    };
                    kind == is || kind == RecordType::ANY
                });
                answer.add_answers(wanted.map(|entry| {
                    let data = match entry.address {
                        IpAddr::V4(address) => RData::from(address),
                        IpAddr::V6(address) => RData::from(address),
                    };
                    Record::from_rdata(question.name().clone(), entry.ttl, data)
                }));
                Decision::Answered
            }
            Found::NoRecord => Decision::Answered,
            Found::NoName => {
                answer.metadata.response_code = ResponseCode::NXDomain;
                Decision::Answered
            }
            Found::NotOurs if self.forwards && kind != RecordType::ANY => {
                Decision::Elsewhere(question.clone())
            }
            Found::NotOurs => Decision::Refused(ResponseCode::Refused),
        }
    }
}

enum Decision {
    Answered,
    Refused(ResponseCode),
    Elsewhere(Query),
}

impl Pending {
    /// Whether a message with this identifier answers it (RFC 5452 4.2 to 4.4; where it came from is the socket's).
    pub(in crate::backend::steering) fn is_answered_by(&self, id: u16, message: &[u8]) -> bool {
        let Ok(message) = Message::from_vec(message) else {
            return false;
        };
        let is_same = |one: &Query| {
            let same: fn(&Name, &Name) -> bool = Name::eq_ignore_root;
            same(one.name(), self.question.name())
                && one.query_type() == self.question.query_type()
                && one.query_class() == self.question.query_class()
        };
        message.metadata.id == id
            && message.metadata.message_type == MessageType::Response
            && matches!(&*message.queries, [one] if is_same(one))
    }
}

fn encoded(answer: &Message) -> Taken {
    answer.to_vec().map_or(Taken::Ignored, Taken::Answer)
}

#[cfg(test)]
#[path = "core_tests.rs"]
mod tests;
