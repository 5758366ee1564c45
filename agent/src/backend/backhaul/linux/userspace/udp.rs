//! The UDP socket of a tunnel: packets of one size to one peer leave in one call of the kernel (`UDP_SEGMENT`), which cuts
//! them as late as it can. How they are received is gotatun's (`UDP_GRO`).

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;

use gotatun::packet::Packet;
use gotatun::udp::socket::{UdpSocket, UdpSocketFactory};
use gotatun::udp::{UdpSend, UdpTransportFactory, UdpTransportFactoryParams};
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg};
use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use tokio::io::Interest;

/// Packets of one call, and their octets: what every kernel with `UDP_SEGMENT` takes.
const MOST: usize = 64;
const LARGEST: usize = 65_000;
/// Packets that are looked at together.
const AT_ONCE: usize = 128;
/// Octets that may wait for us: some tens of such calls of a peer.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Opens the sockets of a device.
#[derive(Default)]
pub(super) struct Sockets(UdpSocketFactory);

impl UdpTransportFactory for Sockets {
    type Send = Sender;
    type Recv = UdpSocket;

    async fn bind(
        &mut self,
        params: &UdpTransportFactoryParams,
    ) -> io::Result<(Self::Send, Self::Recv)> {
        let (sender, receiver) = self.0.bind(params).await?;
        // Without it the system's own limit holds, and a burst may be lost.
        if let Err(error) = set_socket_recv_buffer_size_force(receiver.socket(), RECEIVE_BUFFER) {
            tracing::debug!(%error, "the receive buffer of a tunnel stays small");
        }
        Ok((Sender(sender), receiver))
    }
}

/// The sending side.
#[derive(Clone)]
pub(super) struct Sender(UdpSocket);

impl UdpSend for Sender {
    type SendManyBuf = <UdpSocket as UdpSend>::SendManyBuf;

    async fn send_to(&self, packet: Packet, to: SocketAddr) -> io::Result<()> {
        self.0.send_to(packet, to).await
    }

    fn max_number_of_packets_to_send(&self) -> usize {
        AT_ONCE
    }

    async fn send_many_to(
        &self,
        _: &mut Self::SendManyBuf,
        packets: &mut Vec<(Packet, SocketAddr)>,
    ) -> io::Result<()> {
        let (mut rest, mut first_error) = (&packets[..], Ok(()));
        while let [(first, to), ..] = rest {
            let run = run(rest);
            let (now, later) = rest.split_at(run);
            rest = later;
            if run > 1 && self.send_run(now, first.len(), *to).await.is_ok() {
                continue;
            }
            // One, or an underlay that cannot cut them: a smaller MTU, a device without checksums.
            for (packet, to) in now {
                let sent = self.0.socket().send_to(packet, *to).await;
                // What one peer cannot be sent must not cost another one its packets.
                first_error = first_error.and(sent.map(drop));
            }
        }
        packets.clear();
        first_error
    }

    fn local_addr(&self) -> io::Result<Option<SocketAddr>> {
        UdpSend::local_addr(&self.0)
    }

    fn set_fwmark(&self, mark: u32) -> io::Result<()> {
        self.0.set_fwmark(mark)
    }
}

impl Sender {
    async fn send_run(
        &self,
        packets: &[(Packet, SocketAddr)],
        segment: usize,
        to: SocketAddr,
    ) -> io::Result<()> {
        let (pieces, segment) = (
            packets.iter().map(|(packet, _)| IoSlice::new(packet)),
            u16::try_from(segment).map_err(io::Error::other)?,
        );
        let (pieces, to) = (pieces.collect::<Vec<_>>(), SockaddrStorage::from(to));
        let socket = self.0.socket();
        let sent = socket.async_io(Interest::WRITABLE, || {
            let message = [ControlMessage::UdpGsoSegments(&segment)];
            let flags = MsgFlags::MSG_DONTWAIT;
            Ok(sendmsg(
                socket.as_raw_fd(),
                &pieces,
                &message,
                flags,
                Some(&to),
            )?)
        });
        sent.await.map(drop)
    }
}

/// How many of these can go as one: to the same peer and of one size, of which the last may be shorter.
fn run(packets: &[(Packet, SocketAddr)]) -> usize {
    let Some((first, to)) = packets.first() else {
        return 0;
    };
    let (size, mut octets, mut count) = (first.len(), first.len(), 1);
    for (packet, other) in packets.iter().skip(1) {
        octets += packet.len();
        if other != to || packet.len() > size || octets > LARGEST || count == MOST {
            break;
        }
        count += 1;
        if packet.len() < size {
            break;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(sizes: &[usize], to: &str) -> Vec<(Packet, SocketAddr)> {
        let to = to.parse().unwrap();
        let packets = sizes
            .iter()
            .map(|size| (Packet::copy_from(&vec![0; *size][..]), to));
        packets.collect()
    }

    #[test]
    fn packets_of_one_size_to_one_peer_go_together_and_a_short_one_is_the_last() {
        let peer = "192.0.2.1:1";
        assert_eq!(run(&[]), 0);
        assert_eq!(run(&of(&[100], peer)), 1);
        assert_eq!(run(&of(&[100, 100, 60, 100], peer)), 3);
        assert_eq!(run(&of(&[100, 200], peer)), 1);
        assert_eq!(run(&of(&[100; 100], peer)), MOST);
        assert_eq!(run(&of(&[1500; 64], peer)), LARGEST / 1500);
        let mut other = of(&[100, 100], peer);
        other.extend(of(&[100], "192.0.2.2:1"));
        assert_eq!(run(&other), 2);
    }
}
