//! What carries bytes between two peers. Owns byte streams and who is at their other end; knows no message.
//!
//! A transport hands a session a [`Link`]: something to receive from and something to transmit to, used concurrently.

#[cfg(test)]
pub(crate) mod memory;
pub mod ssh;

use std::future::Future;

use bytes::Bytes;

/// The bytes that come in.
pub trait Receive: Send + 'static {
    /// The next piece; `None` when the peer sends no more. Loses nothing when dropped before it is ready.
    fn receive(&mut self) -> impl Future<Output = Option<Bytes>> + Send;
}

/// The bytes that go out.
pub trait Transmit: Send + 'static {
    /// Hands all of `bytes` to the transport; waits while the peer takes none.
    ///
    /// # Errors
    /// [`TransportLost`] when the peer is gone.
    fn transmit(&mut self, bytes: Bytes) -> impl Future<Output = Result<(), TransportLost>> + Send;

    /// Says that nothing follows, after what was transmitted.
    fn close(&mut self) -> impl Future<Output = ()> + Send;
}

/// The peer is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the transport went away")]
pub struct TransportLost;

/// Both directions of one session.
#[derive(Debug)]
pub struct Link<R, T> {
    /// What comes in.
    pub receiver: R,
    /// What goes out.
    pub transmitter: T,
}
