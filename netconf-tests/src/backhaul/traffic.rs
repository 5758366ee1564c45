//! Packets that say whose they are, who hears them, and who sees them on the wire.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::net::sockopt::{set_socket_recv_buffer_size_force, set_socket_timeout};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketType};

use super::network::inside;
use crate::error::Error;

/// Where every packet goes to.
pub const PORT: u16 = 7000;
/// What every packet begins with: on the underlay it is seen only where nothing encrypts.
const MARKER: &[u8] = b"tranche-marker ";
/// How long a socket waits before its thread looks whether it is to end.
const PATIENCE: Duration = Duration::from_millis(100);
/// What waits at a socket while the machine does something else is not lost.
const BUFFER_BYTES: usize = 16 << 20;
/// `ETH_P_ALL`, in the order of the network.
const ALL_PROTOCOLS: NonZeroU32 = NonZeroU32::new((3_u16).to_be() as u32).expect("it is not zero");

/// A thread that ends when this is dropped.
#[derive(Debug)]
struct Worker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    fn start(work: impl FnOnce(&AtomicBool) + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = Some(std::thread::spawn(move || work(&seen)));
        Self { stop, thread }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Numbered packets of a tenant, one after the other until it is dropped or stopped.
#[derive(Debug)]
pub struct Stream {
    /// Its number among the streams of the tenant.
    pub number: u32,
    sent: Arc<AtomicU32>,
    worker: Option<Worker>,
}

impl Stream {
    /// From an address in a namespace, or the one that the system takes, to an address.
    ///
    /// # Errors
    /// When there is no such namespace or address.
    pub fn start(
        tenant: &str,
        number: u32,
        (namespace, from): (&str, Ipv4Addr),
        to: Ipv4Addr,
        every: Duration,
    ) -> Result<Self, Error> {
        let socket = inside(namespace, || UdpSocket::bind((from, 0)))?;
        let sent = Arc::new(AtomicU32::new(0));
        let (count, tenant) = (Arc::clone(&sent), tenant.to_owned());
        let worker = Worker::start(move |stop| {
            let mut next = Instant::now();
            while !stop.load(Ordering::Relaxed) {
                let sequence = count.fetch_add(1, Ordering::Relaxed);
                // What is refused here is lost like what gets lost on the way.
                drop(socket.send_to(
                    &packet(&tenant, number, sequence),
                    SocketAddr::from((to, PORT)),
                ));
                // What a busy machine keeps back comes later and not all at once: a queue on the way would not hold it.
                let now = Instant::now();
                next = (next + every).max(now);
                std::thread::park_timeout(next - now);
            }
        });
        Ok(Self {
            number,
            sent,
            worker: Some(worker),
        })
    }

    /// Packets sent until now.
    #[must_use]
    pub fn sent(&self) -> u32 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Sends no more.
    pub fn stop(&mut self) {
        self.worker = None;
    }
}

fn packet(tenant: &str, number: u32, sequence: u32) -> Vec<u8> {
    let mut packet = MARKER.to_vec();
    packet.extend(format!("{tenant} {number} {sequence}").into_bytes());
    packet
}

/// What came to one place.
#[derive(Debug, Default)]
struct Heard {
    /// By stream, which of its packets came.
    own: BTreeMap<u32, Vec<bool>>,
    foreign: u64,
}

/// Who hears the packets of one tenant at a place, and counts those of anybody else.
#[derive(Debug)]
pub struct Ear {
    heard: Arc<Mutex<Heard>>,
    _worker: Worker,
}

impl Ear {
    /// Listens at every address in a namespace.
    ///
    /// # Errors
    /// When there is no such namespace, or somebody listens there.
    pub fn open(tenant: &str, namespace: &str) -> Result<Self, Error> {
        let socket = inside(namespace, || {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
            set_socket_recv_buffer_size_force(&socket, BUFFER_BYTES)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            Ok(socket)
        })?;
        let heard = Arc::<Mutex<Heard>>::default();
        let (told, tenant) = (Arc::clone(&heard), tenant.to_owned());
        let worker = Worker::start(move |stop| {
            let mut buffer = [0; 128];
            while !stop.load(Ordering::Relaxed) {
                if let Ok(length) = socket.recv(&mut buffer) {
                    let mut heard = told.lock().unwrap_or_else(PoisonError::into_inner);
                    heard.count(&tenant, &buffer[..length]);
                }
            }
        });
        Ok(Self {
            heard,
            _worker: worker,
        })
    }

    /// Which packets of a stream came: as many places as the highest that did.
    #[must_use]
    pub fn heard(&self, stream: u32) -> Vec<bool> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.own.get(&stream).cloned().unwrap_or_default()
    }

    /// Packets that are not the tenant's.
    #[must_use]
    pub fn foreign(&self) -> u64 {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.foreign
    }
}

impl Heard {
    fn count(&mut self, tenant: &str, packet: &[u8]) {
        let Some((number, sequence)) = numbers(tenant, packet) else {
            self.foreign += 1;
            return;
        };
        let stream = self.own.entry(number).or_default();
        let place = sequence as usize;
        if stream.len() <= place {
            stream.resize(place + 1, false);
        }
        stream[place] = true;
    }
}

/// Stream and place of a tenant's packet.
fn numbers(tenant: &str, packet: &[u8]) -> Option<(u32, u32)> {
    let text = str::from_utf8(packet.strip_prefix(MARKER)?).ok()?;
    let numbers = text.strip_prefix(tenant)?.strip_prefix(' ')?;
    let (number, sequence) = numbers.split_once(' ')?;
    Some((number.parse().ok()?, sequence.parse().ok()?))
}

/// How many packets of a stream came to at least one of these places.
#[must_use]
pub fn arrived(stream: u32, ears: &[&Ear]) -> u32 {
    let mut came: Vec<bool> = Vec::new();
    for ear in ears {
        let heard = ear.heard(stream);
        came.resize(came.len().max(heard.len()), false);
        for (place, is_there) in heard.iter().enumerate() {
            came[place] |= is_there;
        }
    }
    let count = came.iter().filter(|is_there| **is_there).count();
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Everything that is seen on all interfaces of a namespace; there one packet is seen at several of them.
#[derive(Debug)]
pub struct Capture {
    frames: Arc<AtomicU64>,
    marked: Arc<AtomicU64>,
    _worker: Worker,
}

impl Capture {
    /// Begins to look for packets of a tenant.
    ///
    /// # Errors
    /// When there is no such namespace, or the system refuses a packet socket.
    pub fn start(namespace: &str, tenant: &str) -> Result<Self, Error> {
        let marker = [MARKER, tenant.as_bytes(), b" "].concat();
        let socket = inside(namespace, || {
            let all = Some(Protocol::from_raw(ALL_PROTOCOLS));
            let socket = rustix::net::socket(AddressFamily::PACKET, SocketType::RAW, all)?;
            set_socket_recv_buffer_size_force(&socket, BUFFER_BYTES)?;
            let wait = rustix::net::sockopt::Timeout::Recv;
            set_socket_timeout(&socket, wait, Some(PATIENCE))?;
            Ok::<_, io::Error>(socket)
        })?;
        let (frames, marked) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let (all, with_marker) = (Arc::clone(&frames), Arc::clone(&marked));
        let worker = Worker::start(move |stop| {
            let mut frame = [0; 2048];
            while !stop.load(Ordering::Relaxed) {
                let Ok((length, _)) = rustix::net::recv(&socket, &mut frame, RecvFlags::empty())
                else {
                    continue;
                };
                all.fetch_add(1, Ordering::Relaxed);
                let mut places = frame[..length].windows(marker.len());
                if places.any(|place| place == marker) {
                    with_marker.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Ok(Self {
            frames,
            marked,
            _worker: worker,
        })
    }

    /// Frames seen until now.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    /// Those in which a packet of the tenant can be read.
    #[must_use]
    pub fn marked(&self) -> u64 {
        self.marked.load(Ordering::Relaxed)
    }
}
