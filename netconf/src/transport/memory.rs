//! A transport without network, for tests: two links joined by bounded queues.

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{Link, Receive, Transmit, TransportLost};

impl Receive for mpsc::Receiver<Bytes> {
    async fn receive(&mut self) -> Option<Bytes> {
        self.recv().await
    }
}

/// `None` once closed.
#[derive(Debug)]
pub(crate) struct Sender(pub(crate) Option<mpsc::Sender<Bytes>>);

impl Transmit for Sender {
    async fn transmit(&mut self, bytes: Bytes) -> Result<(), TransportLost> {
        let Some(queue) = &self.0 else {
            return Err(TransportLost);
        };
        queue.send(bytes).await.map_err(|_| TransportLost)
    }

    async fn close(&mut self) {
        self.0 = None;
    }
}

/// One end of a pair.
pub(crate) type MemoryLink = Link<mpsc::Receiver<Bytes>, Sender>;

/// Two ends; `capacity` pieces may wait each way.
pub(crate) fn pair(capacity: usize) -> (MemoryLink, MemoryLink) {
    let (to_b, from_a) = mpsc::channel(capacity);
    let (to_a, from_b) = mpsc::channel(capacity);
    (
        Link {
            receiver: from_b,
            transmitter: Sender(Some(to_b)),
        },
        Link {
            receiver: from_a,
            transmitter: Sender(Some(to_a)),
        },
    )
}
