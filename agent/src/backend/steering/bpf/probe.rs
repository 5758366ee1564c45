//! Probes of health checks as they are sent on this machine: a frame that an application has to pass on, an echo request, a
//! connection, a request. Each has sockets of its own, so that none is in the way of another.
//!
//! Answers come in at the application's port. What has an address is for the node's network stack, by a pattern before all rules
//! (`program.rs`); a frame of pass-through is no IP and so goes on in no chain.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tranche_steering::{Ends, Request};

use super::packet_socket::packet_socket;
use crate::backend::MacAddress;
use crate::backend::steering::program::Found;

/// Local experimental EtherType 1 (IEEE Std 802).
const EXPERIMENTAL: u16 = 0x88b5;
/// What a frame of ours begins with, after its header.
const MARK: &[u8; 8] = b"tranche?";
const HEADER: usize = 14;
/// A frame is no shorter (IEEE Std 802.3, less its checksum).
const SHORTEST: usize = 60;
/// Of an answer no more is looked at to find its status.
const LONGEST_STATUS: u64 = 512;

/// What of an interface a probe needs.
pub(super) struct Port<'a> {
    pub(super) name: &'a str,
    pub(super) found: Found,
}

/// Sends a frame at one port that has to come in at another one.
pub(super) async fn pass_through(
    port: &Port<'_>,
    back: &Port<'_>,
    to: Option<MacAddress>,
) -> Result<(), String> {
    let open = |port: &Port<'_>| {
        let socket = packet_socket(port.found.ifindex, EXPERIMENTAL).and_then(driven);
        socket.map_err(|error| unsent(port.name, &error))
    };
    let receive = open(back)?;
    let send = open(port)?;
    let mark = [&MARK[..], &rand::random::<[u8; 16]>()].concat();
    let mut frame = Vec::with_capacity(SHORTEST);
    frame.extend(to.unwrap_or(back.found.mac).0);
    frame.extend(port.found.mac.0);
    frame.extend(EXPERIMENTAL.to_be_bytes());
    frame.extend(&mark);
    frame.resize(SHORTEST, 0);
    let sent = send.send(&frame).await;
    sent.map_err(|error| unsent(port.name, &error))?;
    receive_until(&receive, |came| {
        came.get(HEADER..)
            .is_some_and(|rest| rest.starts_with(&mark))
    })
    .await
    .map_err(|error| format!("nothing can be received at {}: {error}", back.name))
}

/// Asks for an echo (RFC 792, RFC 4443 4.1).
pub(super) async fn icmp_echo(port: &Port<'_>, ends: Ends) -> Result<(), String> {
    let protocol = match ends.destination_address {
        IpAddr::V4(_) => Protocol::ICMPV4,
        IpAddr::V6(_) => Protocol::ICMPV6,
    };
    let socket = from_node(port, ends, Type::RAW, protocol)?;
    let fault = |error: io::Error| unanswered(&ends.destination_address, &error);
    let to = address(port, ends.destination_address, 0);
    socket.connect(&to.into()).map_err(fault)?;
    let socket = driven(socket).map_err(fault)?;
    let (request, reply) = match ends.destination_address {
        IpAddr::V4(_) => (8, 0),
        IpAddr::V6(_) => (128, 129),
    };
    let mark = rand::random::<[u8; 16]>();
    let mut message = vec![request, 0, 0, 0];
    message.extend(&mark);
    if ends.destination_address.is_ipv4() {
        // The kernel writes that of ICMPv6.
        let sum = checksum(&message);
        message[2..4].copy_from_slice(&sum);
    }
    socket.send(&message).await.map_err(fault)?;
    receive_until(&socket, |came| {
        let message = match ends.destination_address {
            // With the IP header before it.
            IpAddr::V4(_) => came.get(usize::from(came.first().map_or(0, |v| v & 15)) * 4..),
            IpAddr::V6(_) => Some(came),
        };
        message.is_some_and(|one| one.first() == Some(&reply) && one.get(4..) == Some(&mark[..]))
    })
    .await
    .map_err(fault)
}

/// Opens a connection.
pub(super) async fn tcp(port: &Port<'_>, ends: Ends, to: u16) -> Result<TcpStream, String> {
    let socket = from_node(port, ends, Type::STREAM, Protocol::TCP)?;
    let to = address(port, ends.destination_address, to);
    let connected = TcpSocket::from_std_stream(socket.into()).connect(to).await;
    connected.map_err(|error| unanswered(&to, &error))
}

/// Makes a request, whose answer has to have a status of 200 to 399.
pub(super) async fn http(port: &Port<'_>, request: &Request) -> Result<(), String> {
    let mut stream = tcp(port, request.ends, request.destination_port).await?;
    let to = SocketAddr::new(request.ends.destination_address, request.destination_port);
    let asked = format!(
        "GET {} HTTP/1.1\r\nHost: {to}\r\nUser-Agent: tranche-agent\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        request.path
    );
    let fault = |error: io::Error| unanswered(&to, &error);
    stream.write_all(asked.as_bytes()).await.map_err(fault)?;
    let mut line = Vec::new();
    let mut stream = stream.take(LONGEST_STATUS);
    while !line.contains(&b'\n') {
        if stream.read_buf(&mut line).await.map_err(fault)? == 0 {
            return Err(format!("{to} closes without an answer"));
        }
    }
    match status(&line) {
        Some(200..=399) => Ok(()),
        Some(status) => Err(format!("{to} answers with status {status}")),
        None => Err(format!("{to} does not answer in HTTP")),
    }
}

/// The status of an answer that begins like this (RFC 9112 4).
fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|octet| *octet == b'\n').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split([' ', '\r']);
    let version = words.next()?;
    let status = words.next().filter(|status| status.len() == 3)?;
    version
        .starts_with("HTTP/1.")
        .then(|| status.parse().ok())?
}

/// A socket that sends at a port, from an address of the node.
fn from_node(
    port: &Port<'_>,
    ends: Ends,
    kind: Type,
    protocol: Protocol,
) -> Result<Socket, String> {
    let from = address(port, ends.source_address, 0);
    let fault = |error: io::Error| unsent(port.name, &error);
    let socket = Socket::new(Domain::for_address(from), kind, Some(protocol)).map_err(fault)?;
    socket.set_nonblocking(true).map_err(fault)?;
    socket
        .bind_device(Some(port.name.as_bytes()))
        .map_err(fault)?;
    match socket.bind(&from.into()) {
        Err(error) if error.kind() == ErrorKind::AddrNotAvailable => {
            Err(format!("this node has no address {}", ends.source_address))
        }
        bound => bound.map(|()| socket).map_err(fault),
    }
}

/// With the scope of the port, which addresses of IPv6 that are of one link only need.
fn address(port: &Port<'_>, address: IpAddr, number: u16) -> SocketAddr {
    let mut address = SocketAddr::new(address, number);
    if let SocketAddr::V6(v6) = &mut address
        && v6.ip().is_unicast_link_local()
    {
        v6.set_scope_id(port.found.ifindex);
    }
    address
}

/// A socket that the runtime waits for. It has no type for those of other kinds, and of this one no more is used than that it
/// sends and receives.
fn driven(socket: Socket) -> io::Result<UdpSocket> {
    UdpSocket::from_std(socket.into())
}

/// Receives until this is it.
async fn receive_until(socket: &UdpSocket, is_it: impl Fn(&[u8]) -> bool) -> io::Result<()> {
    let mut buffer = [0; 2048];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if is_it(&buffer[..length]) {
            return Ok(());
        }
    }
}

fn unsent(port: &str, error: &io::Error) -> String {
    format!("nothing can be sent at {port}: {error}")
}

fn unanswered(to: &impl std::fmt::Display, error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => format!("{to} refuses the connection"),
        ErrorKind::HostUnreachable => format!("{to} cannot be reached"),
        _ => format!("{to} does not answer: {error}"),
    }
}

/// RFC 1071, of an even number of octets.
fn checksum(octets: &[u8]) -> [u8; 2] {
    let pairs = octets.as_chunks::<2>().0.iter();
    let sum: u32 = pairs.map(|pair| u32::from(u16::from_be_bytes(*pair))).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    (!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_that_of_the_first_line() {
        for (answer, expected) in [
            ("HTTP/1.1 200 OK\r\n", Some(200)),
            ("HTTP/1.0 503\r\nX: 200\r\n", Some(503)),
            ("HTTP/1.1 20\r\n", None),
            ("HTTP/2 200\r\n", None),
            ("SSH-2.0-x 200\r\n", None),
            ("\n", None),
        ] {
            assert_eq!(status(answer.as_bytes()), expected, "{answer}");
        }
    }
}
