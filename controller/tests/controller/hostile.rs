//! Clients that are slow, stuck or too many: they cost little and hold up nobody.

use std::fs;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{Instance, factory};

const HALF_A_HEAD: &str = "GET /restconf HTTP/1.1\r\nHost: ";
const HALF_A_BODY: &str = "PUT /restconf/data HTTP/1.1\r\nHost: x\r\nAuthorization: Basic YWRtaW46YWRtaW4=\r\n\
    Content-Type: application/yang-data+json\r\nContent-Length: 100\r\n\r\n{";

async fn impatient(http: &str) -> Instance {
    let dir = tempfile::tempdir().unwrap();
    let settings = dir.path().join("settings.toml");
    fs::write(&settings, format!("[http]\n{http}")).unwrap();
    let settings = settings.display().to_string();
    Instance::start_with(&factory(), &["--config", &settings]).await
}

async fn send(instance: &Instance, text: &str) -> TcpStream {
    let address = instance.base.strip_prefix("http://").unwrap();
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(text.as_bytes()).await.unwrap();
    socket
}

/// All that comes until the server closes.
async fn rest(mut socket: TcpStream) -> String {
    let mut text = String::new();
    let read = timeout(Duration::from_secs(10), socket.read_to_string(&mut text)).await;
    // Closed hard is closed as well.
    drop(read.expect("the server closes"));
    text
}

#[tokio::test]
async fn half_requests_are_given_up_and_hold_up_nobody() {
    let instance = impatient("header-timeout-ms = 500\nbody-timeout-ms = 500").await;
    let mut heads = Vec::new();
    let mut bodies = Vec::new();
    for _ in 0..64 {
        heads.push(send(&instance, HALF_A_HEAD).await);
        bodies.push(send(&instance, HALF_A_BODY).await);
    }
    let begin = Instant::now();
    assert_eq!(instance.get("/restconf").await.status(), 200);
    assert!(
        begin.elapsed() < Duration::from_millis(400),
        "{:?}",
        begin.elapsed()
    );
    for head in heads {
        rest(head).await;
    }
    for body in bodies {
        let answer = rest(body).await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert!(
            answer.contains("the body did not come within 0.5 s"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn connections_past_the_limit_are_closed_and_those_inside_go_on() {
    let instance = impatient("connections = 4").await;
    let mut inside = Vec::new();
    for _ in 0..4 {
        inside.push(send(&instance, HALF_A_HEAD).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for _ in 0..4 {
        assert_eq!(rest(send(&instance, HALF_A_HEAD).await).await, "");
    }
    let mut first = inside.swap_remove(0);
    let more = "x\r\nAuthorization: Basic YWRtaW46YWRtaW4=\r\nConnection: close\r\n\r\n";
    first.write_all(more.as_bytes()).await.unwrap();
    assert!(rest(first).await.starts_with("HTTP/1.1 200 "));
    drop(inside);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(instance.get("/restconf").await.status(), 200);
}

#[tokio::test]
async fn what_is_deep_or_odd_is_refused_and_does_no_harm() {
    let instance = Instance::start(&factory()).await;
    let deep_json = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
    let deep_xml = format!("{}{}", "<a>".repeat(100_000), "</a>".repeat(100_000));
    let deep_fields = format!("?fields={}", "a(".repeat(10_000));
    for (content_type, body) in [("json", deep_json), ("xml", deep_xml)] {
        let request = instance.request(reqwest::Method::POST, "/restconf/data");
        let request = request.header(
            "content-type",
            format!("application/yang-data+{content_type}"),
        );
        let answer = request.body(body).send().await.unwrap();
        assert_eq!(answer.status(), 400, "{content_type}");
    }
    let answer = instance.get(&format!("/restconf/data{deep_fields}")).await;
    assert_eq!(answer.status(), 400);
    for path in [
        "/restconf/data/%00",
        "/restconf/data/a:b=%ff",
        "/restconf/data/'\"[]",
        "/restconf/../x",
    ] {
        let status = instance.get(path).await.status().as_u16();
        assert!(status == 400 || status == 404, "{path}: {status}");
    }
    assert_eq!(instance.get("/restconf").await.status(), 200);
}
