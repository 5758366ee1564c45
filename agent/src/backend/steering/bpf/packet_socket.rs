//! Sockets that send and receive whole frames at one interface.

use std::io;

use socket2::{Domain, SockAddr, SockAddrStorage, Socket, Type};

const AF_PACKET: u16 = 17;
/// `sizeof(struct sockaddr_ll)`.
const LENGTH: usize = 20;

/// A socket that sends any frames at an interface and receives those of one EtherType there; of all of them with 3
/// (`ETH_P_ALL`). It does not block.
///
/// # Errors
/// As the kernel refuses it.
pub(super) fn packet_socket(ifindex: u32, ether_type: u16) -> io::Result<Socket> {
    // Until it is bound it receives nothing.
    let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
    socket.set_nonblocking(true)?;
    // Family, protocol, interface; the rest is of no account.
    let mut address = [AF_PACKET.to_ne_bytes(), ether_type.to_be_bytes()].concat();
    address.extend(ifindex.to_ne_bytes());
    address.resize(LENGTH, 0);
    let mut storage = SockAddrStorage::zeroed();
    #[expect(unsafe_code, reason = "socket2 has no addresses of this family")]
    // SAFETY: the storage is larger than the address, which has no invalid values and is of the length that is said.
    let address = unsafe {
        std::ptr::copy_nonoverlapping(
            address.as_ptr(),
            std::ptr::from_mut(&mut storage).cast::<u8>(),
            LENGTH,
        );
        SockAddr::new(storage, LENGTH as u32)
    };
    socket.bind(&address)?;
    Ok(socket)
}
