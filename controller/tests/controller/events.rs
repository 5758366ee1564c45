//! Event streams (RFC 8040 6).

use std::time::{Duration, Instant};

use reqwest::{Method, Response};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{Instance, factory};

/// Ten periods a second would be too many for the model: five.
fn fast() -> Value {
    let mut factory = factory();
    factory["tranche-sla:sla"] = json!({ "scheduler": { "interval": 200 } });
    factory
}

/// The next event's data; comments are passed over. Nothing at the end of the stream.
async fn next(stream: &mut Response) -> Option<String> {
    let mut text = String::new();
    loop {
        let chunk = timeout(Duration::from_secs(10), stream.chunk())
            .await
            .expect("in time");
        text.push_str(std::str::from_utf8(&chunk.unwrap()?).unwrap());
        while let Some((event, rest)) = text.split_once("\n\n") {
            if let Some(data) = event.strip_prefix("data: ") {
                return Some(data.to_owned());
            }
            assert!(event.starts_with(':'), "{event}");
            text = rest.to_owned();
        }
    }
}

#[tokio::test]
async fn periods_come_in_the_envelope_of_the_rfc_in_both_encodings() {
    let instance = Instance::start(&fast()).await;
    let mut json = instance.get("/streams/NETCONF").await;
    let event: Value = serde_json::from_str(&next(&mut json).await.unwrap()).unwrap();
    let event = &event["ietf-restconf:notification"];
    assert!(event["eventTime"].as_str().unwrap().ends_with('Z'));
    let first: u64 = event["tranche-sla:sla-period"]["sequence"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(event["tranche-sla:sla-period"]["scheduler-enabled"], true);
    let event: Value = serde_json::from_str(&next(&mut json).await.unwrap()).unwrap();
    let event = &event["ietf-restconf:notification"]["tranche-sla:sla-period"];
    assert_eq!(event["sequence"], (first + 1).to_string());
    let mut xml = instance.get("/streams/sla/xml").await;
    let event = next(&mut xml).await.unwrap();
    let start =
        "<notification xmlns=\"urn:ietf:params:xml:ns:netconf:notification:1.0\"><eventTime>";
    assert!(event.starts_with(start), "{event}");
    assert!(event.contains("<sla-period xmlns=\"urn:tranche:yang:tranche-sla\"><sequence>"));
    let history = instance.json("tranche-sla:sla/history").await;
    let periods = history["tranche-sla:history"]["period"]
        .as_array()
        .unwrap()
        .len();
    assert!(periods >= 2, "{history}");
}

#[tokio::test]
async fn settings_of_the_scheduler_take_effect_in_the_next_period() {
    let instance = Instance::start(&fast()).await;
    let mut stream = instance.get("/streams/sla").await;
    let enabled = json!({ "tranche-sla:enabled": false });
    let put = instance
        .send(Method::PUT, "tranche-sla:sla/scheduler/enabled", &enabled)
        .await;
    assert!(put.status().is_success());
    for _ in 0..3 {
        let event: Value = serde_json::from_str(&next(&mut stream).await.unwrap()).unwrap();
        let period = &event["ietf-restconf:notification"]["tranche-sla:sla-period"];
        if period["scheduler-enabled"] == false {
            return;
        }
    }
    panic!("the scheduler is still on");
}

#[tokio::test]
async fn access_control_and_the_login_hold_while_a_stream_is_open() {
    let instance = Instance::start(&fast()).await;
    let open = instance
        .client
        .get(format!("{}/streams/NETCONF", instance.base));
    let mut stream = open
        .basic_auth("reader", Some("reader"))
        .send()
        .await
        .unwrap();
    assert!(next(&mut stream).await.is_some());
    let deny = json!({ "ietf-netconf-acm:read-default": "deny" });
    let path = "ietf-netconf-acm:nacm/read-default";
    assert!(
        instance
            .send(Method::PUT, path, &deny)
            .await
            .status()
            .is_success()
    );
    while let Ok(chunk) = timeout(Duration::from_millis(700), stream.chunk()).await {
        let chunk = chunk.unwrap().expect("it is still open");
        // What was under way may still come; then there is silence.
        assert!(!chunk.is_empty());
    }
    let path = "ietf-system:system/authentication/user=reader";
    assert_eq!(instance.delete(path).await.status(), 204);
    let end = timeout(Duration::from_secs(10), stream.chunk())
        .await
        .expect("it ends");
    assert!(end.unwrap().is_none());
}

#[tokio::test]
async fn streams_end_at_shutdown() {
    let instance = Instance::start(&fast()).await;
    let mut stream = instance.get("/streams/NETCONF").await;
    assert!(next(&mut stream).await.is_some());
    let begin = Instant::now();
    instance.stop().await;
    assert!(
        begin.elapsed() < Duration::from_secs(5),
        "{:?}",
        begin.elapsed()
    );
    while let Ok(Some(_)) = stream.chunk().await {}
}

/// Sixteen readers that take nothing, and one that does: it misses no period.
#[tokio::test]
async fn readers_that_stop_hold_up_nobody() {
    let instance = Instance::start(&fast()).await;
    let address = instance.base.strip_prefix("http://").unwrap();
    let mut stuck = Vec::new();
    for _ in 0..16 {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let request = format!(
            "GET /streams/NETCONF HTTP/1.1\r\nHost: {address}\r\nAuthorization: Basic YWRtaW46YWRtaW4=\r\n\r\n"
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut status = [0; 12];
        socket.read_exact(&mut status).await.unwrap();
        assert_eq!(&status, b"HTTP/1.1 200");
        stuck.push(socket);
    }
    let mut stream = instance.get("/streams/NETCONF").await;
    let mut last = None;
    for _ in 0..5 {
        let event: Value = serde_json::from_str(&next(&mut stream).await.unwrap()).unwrap();
        let period = &event["ietf-restconf:notification"]["tranche-sla:sla-period"];
        let sequence: u64 = period["sequence"].as_str().unwrap().parse().unwrap();
        assert!(last.is_none_or(|last| sequence == last + 1));
        last = Some(sequence);
    }
    assert_eq!(instance.get("/restconf").await.status(), 200);
}
