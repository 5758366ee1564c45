//! A TUN device whose packets the kernel cuts and puts together as little as it would for a network card: one call of it
//! carries up to 64 KiB of a connection (`IFF_VNET_HDR`, `TUNSETOFFLOAD`).
//!
//! Its interface outlives who has it (`TUNSETPERSIST`), with addresses and routes: making it anew is cheap, but the kernel takes
//! 17 ms to remove one, and one at a time. While nobody has it, it has no carrier, and what is sent into it is dropped, not kept.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gotatun::packet::{Ip, Packet, PacketBufPool};
use gotatun::tun::{IpRecv, IpSend, MtuWatcher};
use rustix::fs::OFlags;
use rustix::ioctl::{IntegerSetter, Opcode, Updater, ioctl, opcode};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, watch};
use tokio_util::task::AbortOnDropHandle;

use super::TUN;
use super::frame::{Frame, LENGTH};
use super::join::{Joiner, LARGEST_FRAME};
use super::split::{Split, split};

/// From linux/if_tun.h.
const TUNSETIFF: Opcode = opcode::write::<i32>(b'T', 202);
const TUNSETPERSIST: Opcode = opcode::write::<i32>(b'T', 203);
const TUNSETOFFLOAD: Opcode = opcode::write::<u32>(b'T', 208);
const IFF_TUN: u16 = 0x0001;
const IFF_NO_PI: u16 = 0x1000;
const IFF_VNET_HDR: u16 = 0x4000;
/// Checksums, and segments of TCP over IPv4 and IPv6.
const OFFLOAD: usize = 0x01 | 0x02 | 0x04;

/// `struct ifreq` with the member that is used.
#[repr(C)]
struct Request {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

/// Takes up the interface of this name in the namespace of the calling thread, or makes it: where packets go and where they come
/// from.
///
/// # Errors
/// The kernel does not make one, or the one that is there is somebody's (`ResourceBusy`) or of another kind.
pub(super) fn open(name: &str, mtu: watch::Receiver<u16>) -> io::Result<(Sender, Receiver)> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(TUN)?;
    attach(file.as_fd(), name)?;
    #[expect(
        unsafe_code,
        reason = "there is no other way to wait for a file that is no socket"
    )]
    // SAFETY: the descriptor is owned, is closed by nobody else, and goes with what waits for it.
    let device = unsafe { AsyncFd::register(OwnedFd::from(file)) };
    let device = Arc::new(device.map_err(io::Error::from)?);
    let receiver = Receiver {
        device: Arc::clone(&device),
        mtu,
        buffer: vec![0; LARGEST_FRAME].into(),
        packets: Vec::new(),
    };
    Ok((Sender::new(device), receiver))
}

fn attach(file: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    let mut request = Request {
        name: [0; 16],
        flags: IFF_TUN | IFF_NO_PI | IFF_VNET_HDR,
        rest: [0; 22],
    };
    if name.len() >= request.name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    request.name[..name.len()].copy_from_slice(name.as_bytes());
    #[expect(unsafe_code, reason = "rustix has no function for TUN devices")]
    // SAFETY: the kernel reads and writes a `struct ifreq`, which is at most as long as what it is given here.
    unsafe {
        ioctl(file, Updater::<TUNSETIFF, Request>::new(&mut request))?;
    }
    #[expect(unsafe_code, reason = "rustix has no function for TUN devices")]
    // SAFETY: the kernel takes numbers here, no addresses.
    unsafe {
        ioctl(file, IntegerSetter::<TUNSETOFFLOAD>::new_usize(OFFLOAD))?;
        ioctl(file, IntegerSetter::<TUNSETPERSIST>::new_usize(1))?;
    }
    Ok(())
}

/// Where packets go into the device.
pub(super) struct Sender {
    outbox: Arc<Outbox>,
    /// Hands on what was gathered as soon as nothing more comes at once.
    _flushing: AbortOnDropHandle<()>,
}

struct Outbox {
    device: Arc<AsyncFd<OwnedFd>>,
    joiner: Mutex<Joiner>,
    is_waiting: Notify,
}

impl Sender {
    fn new(device: Arc<AsyncFd<OwnedFd>>) -> Self {
        let outbox = Arc::new(Outbox {
            device,
            joiner: Mutex::default(),
            is_waiting: Notify::new(),
        });
        let own = Arc::clone(&outbox);
        // Woken by the task that sends, it runs when that one has nothing more to send or has sent for long.
        let flushing = tokio::spawn(async move {
            loop {
                own.is_waiting.notified().await;
                own.flush();
            }
        });
        Self {
            outbox,
            _flushing: AbortOnDropHandle::new(flushing),
        }
    }
}

impl Outbox {
    fn joiner(&self) -> MutexGuard<'_, Joiner> {
        self.joiner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flush(&self) {
        self.joiner().drain(|pieces| {
            // A device that is down or gone takes nothing; that it is gone is seen by who reads.
            if let Err(error) = rustix::io::writev(self.device.get_ref(), pieces) {
                tracing::trace!(%error, "a packet was not taken by its interface");
            }
        });
    }
}

impl IpSend for Sender {
    async fn send(&mut self, packet: Packet<Ip>) -> io::Result<()> {
        let (was_empty, is_full) = {
            let mut joiner = self.outbox.joiner();
            (joiner.is_empty(), joiner.push(packet.into_bytes()))
        };
        if is_full {
            self.outbox.flush();
        } else if was_empty {
            self.outbox.is_waiting.notify_one();
        }
        Ok(())
    }
}

/// Where packets come out of the device.
pub(super) struct Receiver {
    device: Arc<AsyncFd<OwnedFd>>,
    mtu: watch::Receiver<u16>,
    buffer: Box<[u8]>,
    packets: Vec<Packet<Ip>>,
}

impl Receiver {
    /// Makes packets of what was read; what makes no sense is dropped.
    fn take(&mut self, length: usize, pool: &PacketBufPool) -> Option<()> {
        let (frame, packet) = self.buffer[..length].split_first_chunk_mut::<LENGTH>()?;
        let frame = Frame::read(frame)?;
        match split(&frame, packet)? {
            Split::One => {
                let mut one = pool.get();
                one.get_mut(..packet.len())?.copy_from_slice(packet);
                one.truncate(packet.len());
                self.packets.push(one.try_into_ip().ok()?);
            }
            Split::Many(mut cut) => loop {
                let mut one = pool.get();
                let Some(length) = cut.next(packet, &mut one) else {
                    break;
                };
                one.truncate(length);
                self.packets.push(one.try_into_ip().ok()?);
            },
        }
        Some(())
    }
}

impl IpRecv for Receiver {
    async fn recv<'a>(
        &'a mut self,
        pool: &mut PacketBufPool,
    ) -> io::Result<impl Iterator<Item = Packet<Ip>> + Send + 'a> {
        let (device, buffer) = (&self.device, &mut self.buffer);
        let read = device.async_io(Interest::READABLE, |device| {
            Ok(rustix::io::read(device, &mut **buffer)?)
        });
        let length = read.await?;
        if self.take(length, pool).is_none() {
            tracing::trace!(length, "a packet of the interface is not what it says");
        }
        Ok(self.packets.drain(..))
    }

    fn mtu(&self) -> MtuWatcher {
        self.mtu.clone().into()
    }
}
