//! What lies between the SSH library and a TCP stream: fewer, larger reads and writes.
//!
//! The library reads each packet in two parts and writes each packet by itself. Here a read takes all that has arrived, and what is
//! written waits until the library has nothing more to read, for that is when it goes to sleep. Nothing waits for a timer.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What one read takes at most, in bytes.
const READ_BYTES: usize = 8 << 10;
/// What is written goes out at once when it would be more than this, in bytes.
const WRITE_BYTES: usize = 16 << 10;

/// A stream whose reads are made ahead and whose writes are gathered until a read finds nothing.
///
/// Both halves must be used by one task that reads whenever it waits, as the SSH library does: a flush sends nothing.
pub(super) struct Gather<S: AsyncWrite + Unpin> {
    stream: S,
    read: Box<[u8]>,
    /// `read[taken..filled]` was received and not taken yet.
    taken: usize,
    filled: usize,
    written: Vec<u8>,
    /// So much of `written` was sent.
    sent: usize,
}

impl<S: AsyncWrite + Unpin> Gather<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            read: vec![0; READ_BYTES].into(),
            taken: 0,
            filled: 0,
            written: Vec::new(),
            sent: 0,
        }
    }

    /// Sends all that was gathered.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self
            .written
            .get(self.sent..)
            .filter(|rest| !rest.is_empty())
        {
            match ready!(Pin::new(&mut self.stream).poll_write(context, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.sent += sent,
            }
        }
        self.written.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    /// Hands out of what was received as much as there is room for.
    fn take(&mut self, buffer: &mut ReadBuf<'_>) {
        let received = self.read.get(self.taken..self.filled).unwrap_or_default();
        let taken = received.len().min(buffer.remaining());
        buffer.put_slice(received.get(..taken).unwrap_or_default());
        self.taken += taken;
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Gather<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.taken < this.filled {
            this.take(buffer);
            return Poll::Ready(Ok(()));
        }
        let mut ahead = ReadBuf::new(&mut this.read);
        match Pin::new(&mut this.stream).poll_read(context, &mut ahead) {
            Poll::Ready(read) => {
                (this.taken, this.filled) = (0, ahead.filled().len());
                read?;
                this.take(buffer);
                Poll::Ready(Ok(()))
            }
            Poll::Pending => match this.poll_send(context) {
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
            },
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gather<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.written.len() + bytes.len() > WRITE_BYTES {
            ready!(self.poll_send(context))?;
            if bytes.len() > WRITE_BYTES {
                return Pin::new(&mut self.stream).poll_write(context, bytes);
            }
        }
        self.written.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    /// Leaves what was gathered to the next read.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S: AsyncWrite + Unpin> Drop for Gather<S> {
    /// What was said before the library gave up still goes, as far as the stream takes it at once.
    fn drop(&mut self) {
        if let Poll::Ready(Err(error)) = self.poll_send(&mut Context::from_waker(Waker::noop())) {
            tracing::trace!(%error, "the last bytes were not sent");
        }
    }
}

#[cfg(test)]
mod tests;
