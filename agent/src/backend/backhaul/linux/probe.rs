//! Echo requests inside of a slice, and packets that make WireGuard shake hands.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

use crate::backend::namespace::Namespace;

/// RFC 792 and RFC 4443: types of requests and answers.
const ECHO_V4: (u8, u8) = (8, 0);
const ECHO_V6: (u8, u8) = (128, 129);
/// Discard (RFC 863): nobody need listen.
const DISCARD: u16 = 9;

type Waiting = Arc<Mutex<HashMap<u16, oneshot::Sender<Instant>>>>;

/// Sends echo requests and hears their answers, in the namespace where it was opened.
pub(super) struct Pinger {
    v4: Family,
    /// None in a kernel without IPv6.
    v6: Option<Family>,
    sequence: AtomicU16,
}

struct Family {
    socket: Arc<UdpSocket>,
    request: u8,
    waiting: Waiting,
    _reader: AbortOnDropHandle<()>,
}

impl Pinger {
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self {
            v4: Family::open(Domain::IPV4, Protocol::ICMPV4, ECHO_V4)?,
            v6: Family::open(Domain::IPV6, Protocol::ICMPV6, ECHO_V6).ok(),
            sequence: AtomicU16::new(0),
        })
    }

    /// One request; the round trip if it is answered in time.
    pub(super) async fn ping(&self, to: IpAddr, timeout: Duration) -> Option<Duration> {
        let family = match to {
            IpAddr::V4(_) => &self.v4,
            IpAddr::V6(_) => self.v6.as_ref()?,
        };
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        let (answered, answer) = oneshot::channel();
        family.lock().insert(sequence, answered);
        // The kernel puts in identifier and checksum.
        let mut packet = [0; 16];
        packet[0] = family.request;
        packet[6..8].copy_from_slice(&sequence.to_be_bytes());
        let sent_at = Instant::now();
        let sent = family.socket.send_to(&packet, SocketAddr::new(to, 0)).await;
        let answer = match sent {
            Ok(_) => tokio::time::timeout(timeout, answer).await.ok(),
            // No route or no key: it will not be answered, and who waits for the time that a probe takes waits for it.
            Err(_) => {
                tokio::time::sleep(timeout).await;
                None
            }
        };
        family.lock().remove(&sequence);
        let heard_at = answer?.ok()?;
        Some(heard_at.duration_since(sent_at))
    }
}

impl Family {
    fn open(domain: Domain, protocol: Protocol, (request, answer): (u8, u8)) -> io::Result<Self> {
        let socket = Arc::new(datagrams(Socket::new(
            domain,
            Type::DGRAM,
            Some(protocol),
        )?)?);
        let waiting = Waiting::default();
        let reader = read(Arc::clone(&socket), answer, Arc::clone(&waiting));
        Ok(Self {
            socket,
            request,
            waiting,
            _reader: AbortOnDropHandle::new(tokio::spawn(reader)),
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u16, oneshot::Sender<Instant>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn read(socket: Arc<UdpSocket>, answer: u8, waiting: Waiting) {
    let mut packet = [0; 64];
    loop {
        match socket.recv(&mut packet).await {
            Ok(length) if length >= 8 && packet[0] == answer => {
                let sequence = u16::from_be_bytes([packet[6], packet[7]]);
                let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(answered) = waiting.remove(&sequence) {
                    // Who asked may have lost patience.
                    answered.send(Instant::now()).ok();
                }
            }
            Ok(_) => {}
            // An error that somebody on the way reported for an earlier request.
            Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
}

/// The socket for the runtime: to it, echo requests are datagrams like others.
fn datagrams(socket: Socket) -> io::Result<UdpSocket> {
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(std::net::UdpSocket::from(std::os::fd::OwnedFd::from(
        socket,
    )))
}

/// Sends packets over one interface, by whatever routes.
#[derive(Default)]
pub(super) struct Nudger {
    sockets: Mutex<HashMap<(String, bool), std::net::UdpSocket>>,
}

impl Nudger {
    /// Forgets how to send over all interfaces but some: a socket is left of each that is gone.
    pub(super) fn keep(&self, is_kept: impl Fn(&str) -> bool) {
        let mut sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        sockets.retain(|(interface, _), _| is_kept(interface));
    }

    /// The interfaces that it can send over.
    #[cfg(test)]
    pub(super) fn interfaces(&self) -> Vec<String> {
        let sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        sockets.keys().map(|(name, _)| name.clone()).collect()
    }

    /// Whether it leaves is the interface's to show.
    pub(super) fn send(&self, namespace: &Namespace, interface: &str, to: IpAddr) {
        let mut sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (interface.to_owned(), to.is_ipv4());
        let fresh = match sockets.get(&key) {
            Some(socket) => socket.send_to(&[0], (to, DISCARD)).is_err(),
            None => true,
        };
        if !fresh {
            return;
        }
        // Interfaces come and go under one name.
        let opened = namespace
            .within(|| bound(interface, to))
            .and_then(|opened| opened);
        match opened {
            Ok(socket) => {
                // Without a peer's session the first packets are kept by WireGuard, or lost.
                drop(socket.send_to(&[0], (to, DISCARD)));
                sockets.insert(key, socket);
            }
            Err(error) => tracing::debug!(interface, %error, "no packet could be sent"),
        }
    }
}

fn bound(interface: &str, to: IpAddr) -> io::Result<std::net::UdpSocket> {
    let (domain, any): (_, IpAddr) = match to {
        IpAddr::V4(_) => (Domain::IPV4, Ipv4Addr::UNSPECIFIED.into()),
        IpAddr::V6(_) => (Domain::IPV6, Ipv6Addr::UNSPECIFIED.into()),
    };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.bind_device(Some(interface.as_bytes()))?;
    socket.bind(&SocketAddr::new(any, 0).into())?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
