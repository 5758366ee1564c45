//! Traffic from one place to another, with sockets of its own, so that nothing that controls a test crosses a full medium.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::error::Error;

/// Payload that makes 1,400 bytes with its headers.
const PAYLOAD_BYTES: usize = 1372;
/// How often what is due is sent.
const TICK: Duration = Duration::from_millis(5);
/// How long a socket waits before its thread looks whether it is to end.
const PATIENCE: Duration = Duration::from_millis(200);

/// Traffic that ends when this is dropped.
#[derive(Debug, Default)]
pub struct Flow {
    stop: Arc<AtomicBool>,
    received: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Flow {
    /// So many packets a second from one network namespace to an address in another; none is our own. Nothing comes back.
    ///
    /// # Errors
    /// When there is no such namespace, no way to the address, or it is taken.
    pub fn udp(
        from: Option<&str>,
        at: Option<&str>,
        to: SocketAddr,
        per_second: f64,
    ) -> Result<Self, Error> {
        let receiver = inside(at, move || {
            let socket = UdpSocket::bind(to)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            Ok(socket)
        })?;
        let sender = inside(from, move || {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.connect(to)?;
            Ok(socket)
        })?;
        let mut flow = Self::default();
        flow.spawn(move |stop, _| send(&sender, per_second, stop));
        flow.spawn(move |stop, received| count_packets(&receiver, stop, received));
        Ok(flow)
    }

    /// As much as TCP gets through, from our own network namespace to an address in another.
    ///
    /// # Errors
    /// As [`Flow::udp`].
    pub fn tcp(at: Option<&str>, to: SocketAddr) -> Result<Self, Error> {
        let listener = inside(at, move || TcpListener::bind(to))?;
        let (sender, receiver) = TcpStream::connect(to)
            .and_then(|sender| {
                let (receiver, _) = listener.accept()?;
                sender.set_write_timeout(Some(PATIENCE))?;
                receiver.set_read_timeout(Some(PATIENCE))?;
                Ok((sender, receiver))
            })
            .map_err(Error::system(format!("TCP to {to}")))?;
        let mut flow = Self::default();
        flow.spawn(move |stop, _| fill(sender, stop));
        flow.spawn(move |stop, received| drain(receiver, stop, received));
        Ok(flow)
    }

    /// Packets, or bytes of TCP, that arrived until now.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    fn spawn(&mut self, work: impl FnOnce(&AtomicBool, &AtomicU64) + Send + 'static) {
        let (stop, received) = (Arc::clone(&self.stop), Arc::clone(&self.received));
        self.threads
            .push(std::thread::spawn(move || work(&stop, &received)));
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

/// Opens something in a network namespace; sockets stay where they were opened.
fn inside<T: Send + 'static>(
    namespace: Option<&str>,
    open: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Error> {
    let path = namespace.map_or_else(
        || "/proc/self/ns/net".to_owned(),
        |name| format!("/run/netns/{name}"),
    );
    let file = File::open(&path).map_err(Error::system(path.clone()))?;
    // The namespace is that of a thread, which ends with its work.
    let thread = std::thread::spawn(move || {
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
        open()
    });
    let opened = thread
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the thread that opens a socket ended")));
    opened.map_err(Error::system(format!("a socket in {path}")))
}

fn send(socket: &UdpSocket, per_second: f64, stop: &AtomicBool) {
    let packet = [0; PAYLOAD_BYTES];
    let mut due = 0.0;
    let mut last = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        // What could not be sent for more than 50 ms is not made up for.
        due = (due + last.elapsed().as_secs_f64() * per_second).min(per_second / 20.0);
        last = Instant::now();
        while due >= 1.0 {
            due -= 1.0;
            // A scheduler that drops a packet says so with an error: that is what it is there for.
            drop(socket.send(&packet));
        }
        std::thread::park_timeout(TICK);
    }
}

fn count_packets(socket: &UdpSocket, stop: &AtomicBool, received: &AtomicU64) {
    let mut packet = [0; PAYLOAD_BYTES];
    while !stop.load(Ordering::Relaxed) {
        if socket.recv(&mut packet).is_ok() {
            received.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn fill(mut stream: TcpStream, stop: &AtomicBool) {
    let bytes = [0; 16_384];
    while !stop.load(Ordering::Relaxed) {
        if stream.write(&bytes).is_err_and(|error| is_final(&error)) {
            return;
        }
    }
}

fn drain(mut stream: TcpStream, stop: &AtomicBool, received: &AtomicU64) {
    let mut bytes = vec![0; 65_536];
    while !stop.load(Ordering::Relaxed) {
        match stream.read(&mut bytes) {
            Ok(count) => {
                received.fetch_add(count as u64, Ordering::Relaxed);
            }
            Err(error) if is_final(&error) => return,
            Err(_) => {}
        }
    }
}

/// A time limit that passed is none.
fn is_final(error: &io::Error) -> bool {
    error.kind() != ErrorKind::WouldBlock
}
