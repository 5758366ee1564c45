//! The control interface of hostapd and wpa_supplicant: one datagram of text to a Unix socket, one back.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram as StdDatagram};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::UnixDatagram;

/// A daemon answers when it has done what it was asked; bringing an access point up takes it part of a second.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// Longest answer: what fits into hostapd's own buffer, and wpa_supplicant's.
const MAX_ANSWER: usize = 4096;

/// A connection to one control socket.
#[derive(Debug)]
pub(in crate::backend::wifi) struct Control(UnixDatagram);

impl Control {
    /// Connects to the control socket at `path`.
    ///
    /// The own end has an abstract address, so that nothing stays behind in the file system.
    pub(in crate::backend::wifi) fn connect(path: &Path) -> io::Result<Self> {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let name = format!("tranche-control-{}-{serial}", std::process::id());
        let socket = StdDatagram::bind_addr(&SocketAddr::from_abstract_name(name)?)?;
        socket.connect(path)?;
        socket.set_nonblocking(true)?;
        UnixDatagram::from_std(socket).map(Self)
    }

    /// Sends a command and waits for its answer.
    ///
    /// The death of the other side is no event for a datagram socket: who waits looks after that.
    pub(in crate::backend::wifi) async fn request(&self, command: &str) -> io::Result<String> {
        let exchange = async {
            self.0.send(command.as_bytes()).await?;
            let mut answer = vec![0; MAX_ANSWER];
            let length = self.0.recv(&mut answer).await?;
            answer.truncate(length);
            Ok(String::from_utf8_lossy(&answer).trim_end().to_owned())
        };
        match tokio::time::timeout(ANSWER_WITHIN, exchange).await {
            Ok(done) => done,
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no answer within {} s", ANSWER_WITHIN.as_secs()),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_that_nobody_serves_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gone");
        drop(StdDatagram::bind(&path).unwrap());
        let error = Control::connect(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn an_answer_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("daemon");
        let daemon = StdDatagram::bind(&path).unwrap();
        let serve = tokio::task::spawn_blocking(move || {
            let mut command = [0; 64];
            let (length, from) = daemon.recv_from(&mut command).unwrap();
            daemon.send_to_addr(b"PONG\n", &from).unwrap();
            command[..length].to_vec()
        });
        let control = Control::connect(&path).unwrap();
        assert_eq!(control.request("PING").await.unwrap(), "PONG");
        assert_eq!(serve.await.unwrap(), b"PING");
    }
}
