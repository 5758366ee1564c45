//! hostapd's control interface: one datagram of text to a Unix socket, one back.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram as StdDatagram};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::UnixDatagram;

use crate::backend::MacAddress;

/// hostapd answers when it has done what it was asked; bringing an access point up takes it part of a second.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// Longest answer: what fits into hostapd's own buffer.
const MAX_ANSWER: usize = 4096;

/// A connection to one control socket.
#[derive(Debug)]
pub(super) struct Control(UnixDatagram);

impl Control {
    /// Connects to the control socket at `path`.
    ///
    /// The own end has an abstract address, so that nothing stays behind in the file system.
    pub(super) fn connect(path: &Path) -> io::Result<Self> {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let name = format!("tranche-hostapd-{}-{serial}", std::process::id());
        let socket = StdDatagram::bind_addr(&SocketAddr::from_abstract_name(name)?)?;
        socket.connect(path)?;
        socket.set_nonblocking(true)?;
        UnixDatagram::from_std(socket).map(Self)
    }

    /// Sends a command and waits for its answer.
    pub(super) async fn request(&self, command: &str) -> io::Result<String> {
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

/// What hostapd says of a radio: the answer to `STATUS`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// As in `ENABLED`, `DFS`, `COUNTRY_UPDATE`, `HT_SCAN`, `DISABLED`.
    pub state: String,
    /// Primary channel's frequency.
    pub freq_mhz: u32,
    /// Where the secondary channel is, -1, 0 (there is none) or 1.
    pub secondary_channel: i8,
    /// Its access points, the anchor first.
    pub bsses: Vec<BssStatus>,
}

/// One access point of a [`Status`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BssStatus {
    /// Network interface name.
    pub name: String,
    /// BSSID.
    pub bssid: Option<MacAddress>,
    /// Associated stations.
    pub stations: u16,
}

impl Status {
    /// Reads an answer; what it does not know it skips.
    pub(super) fn parse(answer: &str) -> Self {
        let mut status = Self::default();
        for (key, value) in answer.lines().filter_map(|line| line.split_once('=')) {
            match key.split_once('[').map_or(key, |(name, _)| name) {
                "state" => value.clone_into(&mut status.state),
                "freq" => status.freq_mhz = value.parse().unwrap_or_default(),
                "secondary_channel" => {
                    status.secondary_channel = value.parse().unwrap_or_default();
                }
                "bss" => status.bsses.push(BssStatus {
                    name: value.to_owned(),
                    bssid: None,
                    stations: 0,
                }),
                // What follows a name is about it.
                "bssid" => {
                    if let Some(bss) = status.bsses.last_mut() {
                        bss.bssid = value.parse().ok();
                    }
                }
                "num_sta" => {
                    if let Some(bss) = status.bsses.last_mut() {
                        bss.stations = value.parse().unwrap_or_default();
                    }
                }
                _ => {}
            }
        }
        status
    }

    /// The access point of this name.
    #[must_use]
    pub fn bss(&self, name: &str) -> Option<&BssStatus> {
        self.bsses.iter().find(|bss| bss.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_has_every_access_point() {
        let answer = "state=ENABLED\nphy=phy0\nfreq=2412\nnum_sta_non_erp=0\nsecondary_channel=0\n\
                      bss[0]=anchor0\nbssid[0]=42:00:00:00:00:00\nssid[0]=anchor\nnum_sta[0]=0\n\
                      bss[1]=va\nbssid[1]=06:00:00:00:00:00\nssid[1]=bss[2]=x\nnum_sta[1]=3\n";
        let status = Status::parse(answer);
        assert_eq!((status.state.as_str(), status.freq_mhz), ("ENABLED", 2412));
        assert_eq!(status.bsses.len(), 2);
        let bss = status.bss("va").unwrap();
        assert_eq!(bss.bssid, Some(MacAddress([6, 0, 0, 0, 0, 0])));
        assert_eq!(bss.stations, 3);
    }

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
