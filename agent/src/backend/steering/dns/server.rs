//! A resolver at its addresses, over UDP and TCP.
//!
//! Nobody waits for anybody: what has an answer in the records gets it at once and is dropped where the socket takes nothing, each
//! query that others are asked is a task, each connection too. How many of these there are is limited, for all and for each
//! client.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;
use tranche_steering::ResolverConfig;

use super::core::{Core, Pending, Taken, Transport};
use super::forward::ask;
pub(in crate::backend::steering) use super::forward::{Opener, Wanted};
use super::rate::whole;

const PORT: u16 = 53;
/// Queries that others are asked at a time, and those of one client.
const PENDING: Limits = Limits { all: 512, each: 64 };
/// Connections at a time, and those of one client.
const CONNECTIONS: Limits = Limits { all: 128, each: 8 };
/// For how long a connection may be silent, and be slow to take an answer (RFC 7766 6.2.3).
const IDLE: Duration = Duration::from_secs(10);
const LARGEST: usize = 65_535;

/// A resolver that is running; it ends when this is let go.
pub(in crate::backend::steering) struct Server {
    shared: Arc<Shared>,
    tasks: Vec<AbortOnDropHandle<()>>,
}

struct Shared {
    core: RwLock<Arc<Core>>,
    servers: RwLock<Arc<[IpAddr]>>,
    opener: RwLock<Opener>,
    pending: Arc<Places>,
    connections: Arc<Places>,
}

/// Sockets of one address that are bound.
pub(in crate::backend::steering) struct Bound {
    udp: std::net::UdpSocket,
    tcp: std::net::TcpListener,
}

impl Bound {
    /// Binds an address in the namespace of this thread.
    pub(in crate::backend::steering) fn bind(address: IpAddr) -> io::Result<Self> {
        let at = SocketAddr::new(address, PORT);
        let bound = Self {
            udp: std::net::UdpSocket::bind(at)?,
            tcp: std::net::TcpListener::bind(at)?,
        };
        bound.udp.set_nonblocking(true)?;
        bound.tcp.set_nonblocking(true)?;
        Ok(bound)
    }
}

impl Server {
    /// Begins to answer. Needs a runtime.
    pub(in crate::backend::steering) fn start(
        config: &ResolverConfig,
        bound: Vec<Bound>,
        opener: Opener,
        before: Option<&Core>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            core: RwLock::new(Arc::new(Core::new(config, before))),
            servers: RwLock::new(servers(config)),
            opener: RwLock::new(opener),
            pending: Places::new(PENDING),
            connections: Places::new(CONNECTIONS),
        });
        let mut tasks = Vec::new();
        for one in bound {
            let udp = UdpSocket::from_std(one.udp)?;
            let tcp = TcpListener::from_std(one.tcp)?;
            let datagrams = tokio::spawn(datagrams(Arc::clone(&shared), Arc::new(udp)));
            let connections = tokio::spawn(connections(Arc::clone(&shared), tcp));
            tasks.extend([datagrams, connections].map(AbortOnDropHandle::new));
        }
        Ok(Self { shared, tasks })
    }

    /// Goes on with other records, clients and servers.
    pub(in crate::backend::steering) fn change(&self, config: &ResolverConfig, opener: Opener) {
        let core = Arc::new(Core::new(config, Some(&self.core())));
        *write(&self.shared.core) = core;
        *write(&self.shared.servers) = servers(config);
        *write(&self.shared.opener) = opener;
    }

    /// Ends, and has let go its sockets' addresses when it has.
    pub(in crate::backend::steering) async fn stop(self) -> Arc<Core> {
        let core = self.core();
        for task in self.tasks {
            task.abort();
            // It was stopped, or had ended before.
            drop(task.await);
        }
        core
    }

    /// Whether all its sockets are served.
    pub(in crate::backend::steering) fn is_up(&self) -> bool {
        !self.tasks.is_empty() && self.tasks.iter().all(|task| !task.is_finished())
    }

    pub(in crate::backend::steering) fn core(&self) -> Arc<Core> {
        self.shared.core()
    }
}

fn servers(config: &ResolverConfig) -> Arc<[IpAddr]> {
    let servers = config.forward.iter().flat_map(|one| &one.servers);
    servers.copied().collect()
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

fn read<T: Clone>(lock: &RwLock<T>) -> T {
    lock.read().unwrap_or_else(PoisonError::into_inner).clone()
}

impl Shared {
    fn core(&self) -> Arc<Core> {
        read(&self.core)
    }

    /// The answer to a query that others have to be asked.
    async fn elsewhere(&self, pending: Pending, from: IpAddr, over: Transport) -> Option<Vec<u8>> {
        let reply = match self.pending.take(from) {
            None => None,
            Some(_place) => {
                let (servers, opener) = (read(&self.servers), read(&self.opener));
                ask(&pending, over, &servers, &opener).await
            }
        };
        self.core().finish(pending, reply)
    }
}

/// Serves the datagrams of one address.
async fn datagrams(shared: Arc<Shared>, socket: Arc<UdpSocket>) {
    let mut buffer = vec![0; LARGEST];
    let mut asking = JoinSet::new();
    loop {
        while asking.try_join_next().is_some() {}
        let (length, from) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                // What a client's host says of an answer that it did not want.
                tracing::debug!(%error, "a resolver's socket");
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
        };
        let taken = shared.core().take(
            from.ip(),
            &buffer[..length],
            (Transport::Udp, Instant::now()),
        );
        match taken {
            Taken::Ignored => {}
            Taken::Answer(answer) => send(&socket, &answer, from),
            Taken::Forward(pending) => {
                // Who waits for others does not hold the address.
                let (shared, socket) = (Arc::clone(&shared), Arc::downgrade(&socket));
                asking.spawn(async move {
                    let answer = shared.elsewhere(*pending, from.ip(), Transport::Udp).await;
                    if let (Some(answer), Some(socket)) = (answer, socket.upgrade()) {
                        send(&socket, &answer, from);
                    }
                });
            }
        }
    }
}

/// An answer for which there is no room is lost, as datagrams are: the client asks again.
fn send(socket: &UdpSocket, answer: &[u8], to: SocketAddr) {
    if let Err(error) = socket.try_send_to(answer, to) {
        tracing::debug!(%error, %to, "an answer is lost");
    }
}

/// Serves the connections of one address.
async fn connections(shared: Arc<Shared>, listener: TcpListener) {
    let mut open = JoinSet::new();
    loop {
        while open.try_join_next().is_some() {}
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a resolver cannot take a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // Others are not even told how many there are.
        if !shared.core().is_client(from.ip()) {
            continue;
        }
        if let Some(place) = shared.connections.take(from.ip()) {
            let shared = Arc::clone(&shared);
            open.spawn(async move {
                let _place = place;
                if let Err(error) = connection(&shared, stream, from.ip()).await {
                    tracing::debug!(%error, %from, "a connection to a resolver ends");
                }
            });
        }
    }
}

/// Answers what comes on a connection, one after the other, until it is silent.
async fn connection(shared: &Shared, mut stream: TcpStream, from: IpAddr) -> io::Result<()> {
    loop {
        let length = timeout(IDLE, stream.read_u16()).await??;
        let mut query = vec![0; length.into()];
        timeout(IDLE, stream.read_exact(&mut query)).await??;
        let taken = shared
            .core()
            .take(from, &query, (Transport::Tcp, Instant::now()));
        let answer = match taken {
            Taken::Ignored => return Ok(()),
            Taken::Answer(answer) => Some(answer),
            Taken::Forward(pending) => shared.elsewhere(*pending, from, Transport::Tcp).await,
        };
        let Some(answer) = answer else { return Ok(()) };
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        let framed = [&length.to_be_bytes(), &*answer].concat();
        timeout(IDLE, stream.write_all(&framed)).await??;
    }
}

/// How many there may be.
#[derive(Debug, Clone, Copy)]
struct Limits {
    all: usize,
    each: usize,
}

/// Which clients have how many of something that is limited.
#[derive(Debug)]
struct Places {
    limits: Limits,
    taken: Mutex<HashMap<IpAddr, usize>>,
}

/// One of them, given back when it is let go.
struct Place {
    places: Arc<Places>,
    of: IpAddr,
}

impl Places {
    fn new(limits: Limits) -> Arc<Self> {
        let taken = Mutex::default();
        Arc::new(Self { limits, taken })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(self: &Arc<Self>, client: IpAddr) -> Option<Place> {
        let of = whole(client);
        let mut taken = self.lock();
        let all: usize = taken.values().sum();
        let own = taken.entry(of).or_default();
        let has_room = all < self.limits.all && *own < self.limits.each;
        *own += usize::from(has_room);
        if *own == 0 {
            taken.remove(&of);
        }
        has_room.then(|| Place {
            places: Arc::clone(self),
            of,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        if let Some(own) = taken.get_mut(&self.of) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.of);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_takes_no_more_places_than_its_own() {
        let places = Places::new(Limits { all: 3, each: 2 });
        let [a, b] = [1, 2].map(|last| IpAddr::from([10, 0, 0, last]));
        let held = [places.take(a), places.take(a)];
        assert!(held.iter().all(Option::is_some) && places.take(a).is_none());
        let other = places.take(b);
        assert!(other.is_some() && places.take(b).is_none());
        drop(held);
        assert!(places.take(b).is_some());
        drop(other);
        assert!(places.lock().is_empty());
    }

    #[test]
    fn one_with_many_addresses_of_ipv6_is_one_client() {
        let places = Places::new(Limits { all: 9, each: 2 });
        let take = |address: &str| places.take(address.parse().unwrap());
        let held = [take("fd00::1"), take("fd00::2")];
        assert!(held.iter().all(Option::is_some));
        assert!(take("fd00::3").is_none(), "the same 64 bits");
        let other = take("fd00:0:0:1::1");
        assert!(other.is_some());
        drop((held, other));
        assert!(places.lock().is_empty());
    }
}
