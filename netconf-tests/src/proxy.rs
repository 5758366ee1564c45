//! A TCP line between a controller and a node that can be made slow or cut.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::error::Error;

/// State of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// Every piece of data is held for so long, in both directions.
    Delayed(Duration),
    /// All connections are closed and new ones are closed at once.
    Cut,
}

/// A line to one address. Dropping it cuts it.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    line: Arc<watch::Sender<Line>>,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    /// Opens a line to `target` at a free port of the loopback interface.
    ///
    /// # Errors
    /// When there is no port.
    pub async fn open(target: SocketAddr) -> Result<Self, Error> {
        Self::open_at(SocketAddr::from(([127, 0, 0, 1], 0)), target).await
    }

    /// Opens a line to `target` at `address`.
    ///
    /// # Errors
    /// When nobody can listen there.
    pub async fn open_at(address: SocketAddr, target: SocketAddr) -> Result<Self, Error> {
        let failed = || Error::system(address.to_string());
        let listener = TcpListener::bind(address).await.map_err(failed())?;
        let address = listener.local_addr().map_err(failed())?;
        let line = Arc::new(watch::Sender::new(Line::Delayed(Duration::ZERO)));
        let task = tokio::spawn(accept(listener, target, line.clone()));
        Ok(Self {
            address,
            line,
            task,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the line, for open connections too.
    pub fn set(&self, line: Line) {
        self.line.send_replace(line);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, line: Arc<watch::Sender<Line>>) {
    let mut connections = JoinSet::new();
    while let Ok((near, _)) = listener.accept().await {
        if *line.borrow() == Line::Cut {
            continue;
        }
        let state = line.subscribe();
        connections.spawn(async move {
            let Ok(far) = TcpStream::connect(target).await else {
                return;
            };
            // Without this the kernel adds its own delays to ours.
            drop((near.set_nodelay(true), far.set_nodelay(true)));
            let (near_read, near_write) = near.into_split();
            let (far_read, far_write) = far.into_split();
            let mut cut = state.clone();
            tokio::select! {
                () = carry(near_read, far_write, state.clone()) => {}
                () = carry(far_read, near_write, state) => {}
                _ = cut.wait_for(|line| *line == Line::Cut) => {}
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, line: watch::Receiver<Line>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let state = *line.borrow();
        if let Line::Delayed(delay) = state
            && !delay.is_zero()
        {
            tokio::time::sleep(delay).await;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (mut read, mut write) = stream.split();
                drop(tokio::io::copy(&mut read, &mut write).await);
            }
        });
        address
    }

    #[tokio::test]
    async fn a_line_is_slow_and_then_cut() {
        let proxy = Proxy::open(echo().await).await.unwrap();
        proxy.set(Line::Delayed(Duration::from_millis(40)));
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        let start = tokio::time::Instant::now();
        stream.write_all(b"there and back").await.unwrap();
        let mut back = [0; 14];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"there and back");
        assert!(
            start.elapsed() >= Duration::from_millis(80),
            "{:?}",
            start.elapsed()
        );
        proxy.set(Line::Cut);
        assert_eq!(stream.read(&mut back).await.unwrap_or(0), 0);
        let mut again = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(again.read(&mut back).await.unwrap_or(0), 0);
    }
}
