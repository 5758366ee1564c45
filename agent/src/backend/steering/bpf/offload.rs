//! Checksums that the sender computes itself: what is put into a tunnel on its way is not computed by anybody later, or by an
//! interface that looks at the outer packet.

use std::io;

use rustix::ioctl::{Opcode, Updater, ioctl};
use rustix::net::{AddressFamily, SocketType, socket};

const SIOCETHTOOL: Opcode = 0x8946;
/// `ETHTOOL_STXCSUM`.
const SET_TX_CHECKSUM: u32 = 0x17;

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// `struct ifreq`.
#[repr(C)]
struct Request {
    name: [u8; 16],
    data: *mut Value,
    rest: [u8; 16],
}

/// Lets an interface of the namespace of this thread compute no checksums. Segmentation, which needs them, goes with it.
pub(super) fn switch_off(interface: &str) -> io::Result<()> {
    let mut value = Value {
        command: SET_TX_CHECKSUM,
        data: 0,
    };
    let mut request = Request {
        name: [0; 16],
        data: &raw mut value,
        rest: [0; 16],
    };
    if interface.len() >= request.name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    request.name[..interface.len()].copy_from_slice(interface.as_bytes());
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    #[expect(
        unsafe_code,
        reason = "rustix has no function for settings of interfaces"
    )]
    // SAFETY: the kernel reads a `struct ifreq`, which is no longer than what it is given, and the value behind its pointer,
    // which lives until the call has returned.
    unsafe {
        ioctl(socket, Updater::<SIOCETHTOOL, Request>::new(&mut request))?;
    }
    Ok(())
}
