//! What happens in a domain, as notifications on the stream `NETCONF`.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::node::Node;
use crate::streams::Stream;
use crate::transaction::blocking;

/// Announces events until `stop`. Each serialises as its notification; `of` says whose they are.
pub(crate) async fn run<E: Serialize + Clone>(
    node: Arc<Node>,
    mut events: Receiver<E>,
    of: &'static str,
    stop: CancellationToken,
) {
    loop {
        let event = tokio::select! {
            () = stop.cancelled() => return,
            event = events.recv() => event,
        };
        let event: Value = match event {
            Ok(event) => json!(event),
            Err(RecvError::Lagged(lost)) => {
                tracing::warn!(lost, of, "events came faster than they could be announced");
                continue;
            }
            Err(RecvError::Closed) => return,
        };
        if !node.streams().has_subscribers(Stream::Netconf) {
            continue;
        }
        let announcer = Arc::clone(&node);
        // A fault is logged where it happens.
        drop(blocking(move || announcer.announce(Stream::Netconf, &event)).await);
    }
}
