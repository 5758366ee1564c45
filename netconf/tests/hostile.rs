//! Clients that break the protocol or hold on to it, and those beside them who must not notice.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod common;

use std::time::Duration;

use common::{Setup, eventually, quick, serve};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tranche_netconf::capability::{BASE_1_0, BASE_1_1};
use tranche_netconf::client::Client;
use tranche_netconf::framing::{self, Framing};
use tranche_netconf::message::Hello;
use tranche_netconf::server::{Limits, SessionEnd};
use tranche_netconf::transport::ssh::RawChannel;

const GET: &str =
    "<rpc xmlns='urn:ietf:params:xml:ns:netconf:base:1.0' message-id='1'><get/></rpc>";

fn hello(base: &str) -> Vec<u8> {
    let hello = Hello {
        capabilities: vec![base.to_owned()],
        session_id: None,
    };
    framing::encode(Framing::EndOfMessage, hello.encode().as_bytes()).unwrap()
}

fn chunked(message: &str) -> Vec<u8> {
    framing::encode(Framing::Chunked, message.as_bytes()).unwrap()
}

/// Sends `bytes` after a hello and gives all the server answers until it closes or `enough` was seen.
async fn talk(setup: &Setup, base: &str, bytes: &[u8], enough: &str) -> String {
    let mut channel = RawChannel::open(&setup.config()).await.unwrap();
    channel.send(hello(base)).await.unwrap();
    channel.send(bytes.to_vec()).await.unwrap();
    let mut answer = String::new();
    let listen = async {
        while let Some(bytes) = channel.receive().await {
            answer.push_str(std::str::from_utf8(&bytes).unwrap());
            if answer.contains(enough) {
                break;
            }
        }
    };
    timeout(Duration::from_secs(10), listen)
        .await
        .expect("the server answers or closes");
    channel.close().await;
    answer
}

async fn end_of_only_session(setup: &Setup) -> SessionEnd {
    eventually("the session ends", || {
        !setup.toy.ends.lock().unwrap().is_empty()
    })
    .await;
    setup.toy.ends.lock().unwrap()[0].1.clone()
}

#[tokio::test]
async fn malformed_xml_in_a_good_frame_is_answered_and_the_session_goes_on() {
    let setup = serve(quick()).await;
    let mut bytes =
        chunked("<rpc xmlns='urn:ietf:params:xml:ns:netconf:base:1.0' message-id='1'><get>");
    bytes.extend(chunked("<!DOCTYPE a [<!ENTITY x 'y'>]><rpc>&x;</rpc>"));
    bytes.extend(chunked(GET));
    let answer = talk(&setup, BASE_1_1, &bytes, "<data>").await;
    assert_eq!(
        answer
            .matches("<error-tag>malformed-message</error-tag>")
            .count(),
        2,
        "{answer}"
    );
    assert!(
        answer.contains("a document type declaration at byte 0 is not allowed"),
        "{answer}"
    );
    assert!(answer.contains("<top xmlns='urn:toy'>"), "{answer}");
    assert_eq!(setup.toy.sessions.totals().counters.in_bad_rpcs, 2);
}

#[tokio::test]
async fn malformed_xml_of_a_base_1_0_client_ends_its_session() {
    let setup = serve(quick()).await;
    let answer = talk(&setup, BASE_1_0, b"<rpc]]>]]>", "never").await;
    assert!(!answer.contains("rpc-error"), "{answer}");
    assert!(matches!(
        end_of_only_session(&setup).await,
        SessionEnd::Protocol(_)
    ));
}

#[tokio::test]
async fn wrong_framing_ends_the_session() {
    let setup = serve(quick()).await;
    let answer = talk(&setup, BASE_1_1, format!("{GET}]]>]]>").as_bytes(), "never").await;
    assert!(!answer.contains("<data>"), "{answer}");
    let SessionEnd::Protocol(why) = end_of_only_session(&setup).await else {
        panic!()
    };
    assert_eq!(
        why,
        "expected a line feed where a chunk begins, got byte 0x3c"
    );
}

#[tokio::test]
async fn end_of_message_framing_is_kept_with_a_base_1_0_client() {
    let setup = serve(quick()).await;
    let answer = talk(
        &setup,
        BASE_1_0,
        format!("{GET}]]>]]>").as_bytes(),
        "</rpc-reply>",
    )
    .await;
    assert!(answer.contains("</data></rpc-reply>]]>]]>"), "{answer}");
}

#[tokio::test]
async fn a_hello_without_a_common_version_is_refused() {
    let setup = serve(quick()).await;
    talk(&setup, "urn:ietf:params:netconf:base:9.9", b"", "never").await;
    let SessionEnd::BadHello(why) = end_of_only_session(&setup).await else {
        panic!()
    };
    assert!(why.contains("neither"), "{why}");
    assert_eq!(setup.toy.sessions.totals().in_bad_hellos, 1);
}

#[tokio::test]
async fn a_hello_that_does_not_come_is_not_waited_for() {
    let setup = serve(Limits {
        hello_timeout: Duration::from_millis(1500),
        ..quick()
    })
    .await;
    let mut channel = RawChannel::open(&setup.config()).await.unwrap();
    let gone = async { while channel.receive().await.is_some() {} };
    timeout(Duration::from_secs(10), gone)
        .await
        .expect("the server closes");
    assert!(matches!(
        end_of_only_session(&setup).await,
        SessionEnd::BadHello(_)
    ));
}

#[tokio::test]
async fn a_message_over_the_limit_ends_the_session() {
    let setup = serve(Limits {
        max_message_bytes: 10_000,
        ..quick()
    })
    .await;
    talk(&setup, BASE_1_1, b"\n#10001\n", "never").await;
    let SessionEnd::Protocol(why) = end_of_only_session(&setup).await else {
        panic!()
    };
    assert_eq!(why, "message longer than 10000 bytes");
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_ended_after_the_write_timeout() {
    let setup = serve(Limits {
        write_timeout: Duration::from_millis(500),
        ..quick()
    })
    .await;
    let _stuck = stop_reading(&setup).await;
    assert_eq!(end_of_only_session(&setup).await, SessionEnd::TransportLost);
    eventually("the session leaves the table", || {
        setup.toy.sessions.is_empty()
    })
    .await;
}

/// A client that asks for far more than fits on the way and then reads nothing.
async fn stop_reading(setup: &Setup) -> RawChannel {
    *setup.toy.data.lock().unwrap() = format!(
        "<top xmlns='urn:toy'>{}</top>",
        "<a>0123456789</a>".repeat(60_000)
    );
    let mut channel = RawChannel::open(&setup.config()).await.unwrap();
    channel.send(hello(BASE_1_1)).await.unwrap();
    for _ in 0..30 {
        channel.send(chunked(GET)).await.unwrap();
    }
    channel
}

/// Beside 4 sessions that send half a message, 4 that stop reading and 100 silent connections, new sessions open and
/// work. Nothing here is about speed: the limits are far above what the work takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stuck_clients_hold_nobody_up() {
    let limits = Limits {
        max_unauthenticated: 20,
        auth_timeout: Duration::from_secs(300),
        ..quick()
    };
    let setup = serve(limits).await;
    let mut half = Vec::new();
    for _ in 0..4 {
        let mut channel = RawChannel::open(&setup.config()).await.unwrap();
        channel.send(hello(BASE_1_1)).await.unwrap();
        channel.send(&b"\n#1000\n<rpc"[..]).await.unwrap();
        half.push(channel);
    }
    let mut stuck = Vec::new();
    for _ in 0..4 {
        stuck.push(stop_reading(&setup).await);
    }
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(TcpStream::connect(setup.server.local_addr()).await.unwrap());
    }
    *setup.toy.data.lock().unwrap() = "<top xmlns='urn:toy'/>".to_owned();

    let work = async {
        for _ in 0..3 {
            let client = setup.client().await;
            for _ in 0..100 {
                client.get(None, None).await.unwrap();
            }
            client.close_session().await.unwrap();
        }
    };
    timeout(Duration::from_secs(60), work)
        .await
        .expect("the others make progress");
    eventually("only the stuck are left", || setup.toy.sessions.len() == 8).await;
    // The oldest silent connections gave way, long before their time was up.
    let mut first = silent.swap_remove(0);
    let mut identification = Vec::new();
    let closed = timeout(
        Duration::from_secs(10),
        first.read_to_end(&mut identification),
    )
    .await;
    assert!(closed.is_ok(), "a silent connection is closed to make room");
    assert!(identification.starts_with(b"SSH-2.0-tranche"));
    setup.server.shutdown().await;
    assert_eq!(setup.toy.ends.lock().unwrap().len(), 11);
}

#[tokio::test]
async fn connections_that_do_not_authenticate_are_closed_in_time() {
    let setup = serve(Limits {
        auth_timeout: Duration::from_millis(1500),
        ..quick()
    })
    .await;
    let mut silent = TcpStream::connect(setup.server.local_addr()).await.unwrap();
    let mut rest = Vec::new();
    timeout(Duration::from_secs(10), silent.read_to_end(&mut rest))
        .await
        .unwrap()
        .unwrap();
    Client::connect(setup.config()).await.unwrap();
}
