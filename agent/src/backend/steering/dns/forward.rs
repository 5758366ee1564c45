//! Asking another resolver, over UDP or TCP as the client did.
//!
//! Each query has a socket of its own, with a port that the kernel chooses, connected to who is asked: an answer has to come from
//! there, to that port, with an identifier that nobody else knows, and to the same question.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, UdpSocket};

use super::core::{Pending, Transport};

const PORT: u16 = 53;
/// For how long a server may be silent.
const PATIENCE: Duration = Duration::from_secs(2);
const LARGEST: usize = 65_535;

/// Opens sockets where the servers are asked from.
pub(in crate::backend::steering) type Opener =
    Arc<dyn Fn(Wanted) -> io::Result<Opened> + Send + Sync>;

/// What socket, for which family.
#[derive(Debug, Clone, Copy)]
pub(in crate::backend::steering) struct Wanted {
    transport: Transport,
    is_ipv4: bool,
}

/// A socket that is open.
#[derive(Debug)]
pub(in crate::backend::steering) enum Opened {
    /// Bound to a port that the kernel chose.
    Udp(UdpSocket),
    /// Not connected yet.
    Tcp(TcpSocket),
}

impl Wanted {
    /// Opens it in the namespace of this thread. Needs a runtime.
    pub(in crate::backend::steering) fn open(self) -> io::Result<Opened> {
        let any = match self.is_ipv4 {
            true => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            false => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        match self.transport {
            Transport::Udp => {
                let socket = std::net::UdpSocket::bind((any, 0))?;
                socket.set_nonblocking(true)?;
                UdpSocket::from_std(socket).map(Opened::Udp)
            }
            Transport::Tcp if self.is_ipv4 => TcpSocket::new_v4().map(Opened::Tcp),
            Transport::Tcp => TcpSocket::new_v6().map(Opened::Tcp),
        }
    }
}

/// The answer of the first server that gives one.
pub(super) async fn ask(
    pending: &Pending,
    transport: Transport,
    servers: &[IpAddr],
    opener: &Opener,
) -> Option<Vec<u8>> {
    for server in servers {
        match tokio::time::timeout(PATIENCE, one(pending, transport, *server, opener)).await {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => tracing::debug!(%server, %error, "a resolver cannot be asked"),
            Err(_) => tracing::debug!(%server, "a resolver is silent"),
        }
    }
    None
}

async fn one(
    pending: &Pending,
    transport: Transport,
    server: IpAddr,
    opener: &Opener,
) -> io::Result<Vec<u8>> {
    let wanted = Wanted {
        transport,
        is_ipv4: server.is_ipv4(),
    };
    let id: u16 = rand::random();
    let mut query = pending.query.clone();
    if let Some(place) = query.get_mut(..2) {
        place.copy_from_slice(&id.to_be_bytes());
    }
    let server = SocketAddr::new(server, PORT);
    match opener(wanted)? {
        Opened::Udp(socket) => {
            socket.connect(server).await?;
            socket.send(&query).await?;
            let mut buffer = vec![0; LARGEST];
            loop {
                let length = socket.recv(&mut buffer).await?;
                if pending.is_answered_by(id, &buffer[..length]) {
                    buffer.truncate(length);
                    return Ok(buffer);
                }
            }
        }
        Opened::Tcp(socket) => {
            let mut stream = socket.connect(server).await?;
            let length = u16::try_from(query.len()).map_err(io::Error::other)?;
            let framed = [&length.to_be_bytes(), &*query].concat();
            stream.write_all(&framed).await?;
            let mut answer = vec![0; stream.read_u16().await?.into()];
            stream.read_exact(&mut answer).await?;
            match pending.is_answered_by(id, &answer) {
                true => Ok(answer),
                false => Err(io::Error::other("it answers something else")),
            }
        }
    }
}
