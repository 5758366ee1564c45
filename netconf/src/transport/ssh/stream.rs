//! A TCP stream that can be cut off from outside, whatever the SSH library waits for.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Fails every read and write once its token is cancelled.
pub(super) struct Severable<S> {
    stream: S,
    token: CancellationToken,
    cut_read: Pin<Box<WaitForCancellationFutureOwned>>,
    cut_write: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl<S> Severable<S> {
    pub(super) fn new(stream: S, token: &CancellationToken) -> Self {
        Self {
            stream,
            token: token.clone(),
            cut_read: Box::pin(token.clone().cancelled_owned()),
            cut_write: Box::pin(token.clone().cancelled_owned()),
        }
    }

    fn cut() -> io::Error {
        io::Error::new(io::ErrorKind::ConnectionAborted, "cut off")
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Severable<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.token.is_cancelled() {
            return Poll::Ready(Err(Self::cut()));
        }
        if let Poll::Ready(done) = Pin::new(&mut self.stream).poll_read(context, buffer) {
            return Poll::Ready(done);
        }
        self.cut_read
            .as_mut()
            .poll(context)
            .map(|()| Err(Self::cut()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Severable<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.token.is_cancelled() {
            return Poll::Ready(Err(Self::cut()));
        }
        if let Poll::Ready(done) = Pin::new(&mut self.stream).poll_write(context, bytes) {
            return Poll::Ready(done);
        }
        self.cut_write
            .as_mut()
            .poll(context)
            .map(|()| Err(Self::cut()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
