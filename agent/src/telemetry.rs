//! The reports of a node, of airtime, PRB and steering, once a reporting period, on the stream `telemetry`.
//!
//! One task per node closes the periods whether or not anybody listens; a report is encoded only if somebody does, and counters of
//! steering are read only then.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::backend::Refusal;
use crate::node::Node;
use crate::steering::Reported;
use crate::streams::Stream;
use crate::transaction::blocking;

const INTERVAL: &str = "/tranche-wifi:wifi/telemetry/interval";

/// Reports until `stop`. A change of the interval takes effect with the next period.
pub async fn run(node: Arc<Node>, stop: CancellationToken) {
    let mut next = Instant::now() + interval(&node);
    let (mut airtime, mut prb) = (Failing::default(), Failing::default());
    let (mut steering, mut reported) = (Failing::default(), Reported::default());
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep_until(next) => {}
        }
        let report = node.view().airtime().report().await;
        if let Some(report) = airtime.of(report, "airtime cannot be measured") {
            announce(&node, || json!({ "tranche-wifi:airtime-report": report })).await;
        }
        let report = node.view().ran().report().await;
        if let Some(report) = prb.of(report, "the use of PRB cannot be measured")
            && has_cells(&node)
        {
            announce(&node, || json!({ "tranche-ran:prb-report": report })).await;
        }
        if steers(&node) && node.streams().has_subscribers(Stream::Telemetry) {
            let seen = node.view().steering().observe().await;
            let seen = steering.of(seen, "steering cannot be observed");
            let report = seen.and_then(|seen| reported.report(seen, interval(&node)));
            if let Some(report) = report {
                announce(&node, || report).await;
            }
        }
        next += interval(&node);
        if next < Instant::now() {
            next = Instant::now();
        }
    }
}

/// Whether the last report failed: that is said once.
#[derive(Default)]
struct Failing(bool);

impl Failing {
    fn of<T>(&mut self, report: Result<T, Refusal>, what: &str) -> Option<T> {
        let has_failed = std::mem::replace(&mut self.0, report.is_err());
        match report {
            Ok(report) => Some(report),
            Err(refusal) => {
                if !has_failed {
                    tracing::warn!(%refusal, "{what}");
                }
                None
            }
        }
    }
}

async fn announce(node: &Arc<Node>, event: impl FnOnce() -> Value) {
    if node.streams().has_subscribers(Stream::Telemetry) {
        let (announcer, event) = (Arc::clone(node), event());
        // A fault is logged where it happens.
        drop(blocking(move || announcer.announce(Stream::Telemetry, &event)).await);
    }
}

fn has_cells(node: &Node) -> bool {
    has(node, "/tranche-ran:ran", "cell")
}

fn steers(node: &Node) -> bool {
    has(node, "/tranche-steering:steering", "port")
}

/// Whether a list of a top container has an entry.
fn has(node: &Node, top: &str, list: &str) -> bool {
    let in_force = node.in_force();
    let top = in_force.running.get(top);
    top.is_some_and(|top| top.list(list).next().is_some())
}

fn interval(node: &Node) -> Duration {
    let configured = node
        .in_force()
        .running
        .value(INTERVAL)
        .and_then(|text| text.parse().ok());
    Duration::from_millis(configured.unwrap_or(1000))
}
