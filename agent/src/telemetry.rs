//! The airtime report of a node, once a reporting period, on the stream `telemetry`.
//!
//! One task per node closes the period whether or not anybody listens; the report is encoded only if somebody does.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::node::Node;
use crate::streams::Stream;
use crate::transaction::blocking;

const INTERVAL: &str = "/tranche-wifi:wifi/telemetry/interval";

/// Reports until `stop`. A change of the interval takes effect with the next period.
pub async fn run(node: Arc<Node>, stop: CancellationToken) {
    let mut next = Instant::now() + interval(&node);
    let mut failing = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep_until(next) => {}
        }
        match node.view().airtime().report().await {
            Ok(report) => {
                failing = false;
                if node.streams().has_subscribers(Stream::Telemetry) {
                    let event = json!({ "tranche-wifi:airtime-report": report });
                    let announcer = Arc::clone(&node);
                    // A fault is logged where it happens.
                    drop(blocking(move || announcer.announce(Stream::Telemetry, &event)).await);
                }
            }
            Err(refusal) => {
                if !failing {
                    tracing::warn!(%refusal, "airtime cannot be measured");
                }
                failing = true;
            }
        }
        next += interval(&node);
        if next < Instant::now() {
            next = Instant::now();
        }
    }
}

fn interval(node: &Node) -> Duration {
    let configured = node
        .in_force()
        .running
        .value(INTERVAL)
        .and_then(|text| text.parse().ok());
    Duration::from_millis(configured.unwrap_or(1000))
}
