//! What one message costs without its transport: frame, parse, encode.

#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tranche_netconf::framing::{self, Decoder, Framing};
use tranche_netconf::message::{Operation, Reply, Rpc, ServerMessage, encode_reply};
use tranche_netconf::xml::{Fragment, XmlLimits};

const LIMITS: XmlLimits = XmlLimits {
    max_depth: 128,
    max_attributes: 64,
};
const BASE: &str = "xmlns=\"urn:ietf:params:xml:ns:netconf:base:1.0\"";

fn frame(message: &str) -> Vec<u8> {
    framing::encode(Framing::Chunked, message.as_bytes()).unwrap()
}

fn unframe(bytes: &[u8]) -> Vec<u8> {
    let mut decoder = Decoder::new(Framing::Chunked, 64 << 20);
    for piece in bytes.chunks(32 << 10) {
        decoder.push(piece);
    }
    decoder.next_message().unwrap().unwrap()
}

fn entries(count: usize) -> String {
    (0..count).fold(String::from("<list xmlns=\"urn:bench\">"), |xml, i| {
        xml + &format!(
            "<entry><name>vif-{i}</name><ssid>tenant {i}</ssid><min-ratio>10</min-ratio>\
             <max-ratio>90</max-ratio><enabled>true</enabled></entry>"
        )
    }) + "</list>"
}

fn small_get(c: &mut Criterion) {
    let request = frame(&format!(
        "<rpc {BASE} message-id=\"101\"><get-config><source><running/></source>\
         <filter type=\"subtree\"><wifi xmlns=\"urn:w\"><vif><name>a</name></vif></wifi></filter>\
         </get-config></rpc>"
    ));
    let data = Fragment::parse(&entries(5)).unwrap();
    c.bench_function("small get-config: request read, reply written", |b| {
        b.iter(|| {
            let rpc = Rpc::parse(&unframe(&request), &LIMITS).unwrap();
            let reply = Ok(Reply::Data(data.clone()));
            frame(&encode_reply(
                Some(&rpc.message_id),
                &rpc.attributes,
                &reply,
            ))
        });
    });
}

fn large_edit(c: &mut Criterion) {
    let request = frame(&format!(
        "<rpc {BASE} message-id=\"101\"><edit-config><target><candidate/></target>\
         <config>{}</config></edit-config></rpc>",
        entries(10_000)
    ));
    let data = Fragment::parse(&entries(10_000)).unwrap();
    let reply = frame(&encode_reply(Some("1"), &[], &Ok(Reply::Data(data))));
    let mut group = c.benchmark_group("10,000 entries");
    group
        .throughput(Throughput::Bytes(request.len() as u64))
        .sample_size(20);
    group.bench_function("edit-config read by the server", |b| {
        b.iter(|| {
            let rpc = Rpc::parse(&unframe(&request), &LIMITS).unwrap();
            assert!(matches!(rpc.operation, Operation::EditConfig(_)));
            black_box(rpc)
        });
    });
    group.bench_function("data read by the client", |b| {
        b.iter(|| ServerMessage::parse(&unframe(&reply), &LIMITS).unwrap());
    });
    group.bench_function("request written by the client", |b| {
        let rpc = Rpc::parse(&unframe(&request), &LIMITS).unwrap();
        b.iter(|| frame(&rpc.encode()));
    });
    group.finish();
}

criterion_group!(benches, small_get, large_edit);
criterion_main!(benches);
