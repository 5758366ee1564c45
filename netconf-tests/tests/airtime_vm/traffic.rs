//! Senders and receivers with sockets of their own, so that nothing that controls a test crosses a flooded link.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::rig::{Client, Rig};

/// Payload of a packet: 1,400 bytes with its headers.
const PAYLOAD: usize = 1372;
/// How often a sender with a rate sends what is due.
const TICK: Duration = Duration::from_millis(5);

/// Traffic that ends when this is dropped.
pub(crate) struct Flow {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    pub(crate) sent: Arc<AtomicU64>,
    pub(crate) received: Arc<AtomicU64>,
    /// Sum and count of microseconds from sender to receiver.
    pub(crate) delay_us: Arc<AtomicU64>,
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

impl Flow {
    fn new() -> Self {
        Self {
            stop: Arc::default(),
            threads: Vec::new(),
            sent: Arc::default(),
            received: Arc::default(),
            delay_us: Arc::default(),
        }
    }

    /// Packets of a fixed rate to a client.
    pub(crate) fn udp_down(rig: &Rig, client: usize, per_second: u64) -> Self {
        let client = &rig.clients[client];
        let to = address(&client.address, 5001);
        let receiver = inside(&client.netns, move || UdpSocket::bind(to).unwrap());
        let sender = UdpSocket::bind("0.0.0.0:0").unwrap();
        Self::udp(sender, receiver, to, per_second)
    }

    /// Packets of a fixed rate from a client to its access point.
    pub(crate) fn udp_up(rig: &Rig, client: usize, per_second: u64) -> Self {
        let client: &Client = &rig.clients[client];
        let to = address(&format!("10.9.{}.1", client.tenant), 5002);
        let receiver = UdpSocket::bind(to).unwrap();
        let sender = inside(&client.netns, || UdpSocket::bind("0.0.0.0:0").unwrap());
        Self::udp(sender, receiver, to, per_second)
    }

    fn udp(sender: UdpSocket, receiver: UdpSocket, to: SocketAddr, per_second: u64) -> Self {
        let mut flow = Self::new();
        let start = Instant::now();
        let (stop, sent) = (Arc::clone(&flow.stop), Arc::clone(&flow.sent));
        flow.threads.push(std::thread::spawn(move || {
            let mut packet = [0; PAYLOAD];
            let mut due = 0.0;
            let mut last = Instant::now();
            while !stop.load(Ordering::Relaxed) {
                due = (due + last.elapsed().as_secs_f64() * per_second as f64)
                    .min(per_second as f64 / 20.0);
                last = Instant::now();
                while due >= 1.0 {
                    due -= 1.0;
                    packet[..8]
                        .copy_from_slice(&(start.elapsed().as_micros() as u64).to_ne_bytes());
                    // A scheduler that drops says so with an error.
                    drop(sender.send_to(&packet, to));
                    sent.fetch_add(1, Ordering::Relaxed);
                }
                std::thread::sleep(TICK);
            }
        }));
        receiver
            .set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        let (stop, received, delay_us) = (
            Arc::clone(&flow.stop),
            Arc::clone(&flow.received),
            Arc::clone(&flow.delay_us),
        );
        flow.threads.push(std::thread::spawn(move || {
            let mut packet = [0; 2048];
            while !stop.load(Ordering::Relaxed) {
                if receiver
                    .recv(&mut packet)
                    .is_ok_and(|length| length == PAYLOAD)
                {
                    let mut at = [0; 8];
                    at.copy_from_slice(&packet[..8]);
                    let now = start.elapsed().as_micros() as u64;
                    delay_us.fetch_add(
                        now.saturating_sub(u64::from_ne_bytes(at)),
                        Ordering::Relaxed,
                    );
                    received.fetch_add(1, Ordering::Relaxed);
                }
            }
        }));
        flow
    }

    /// As much to a client as TCP gets through.
    pub(crate) fn tcp_down(rig: &Rig, client: usize) -> Self {
        let mut flow = Self::new();
        let client = &rig.clients[client];
        let to = address(&client.address, 5003);
        let listener = inside(&client.netns, move || TcpListener::bind(to).unwrap());
        let (stop, received) = (Arc::clone(&flow.stop), Arc::clone(&flow.received));
        flow.threads.push(std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream
                .set_read_timeout(Some(Duration::from_millis(200)))
                .unwrap();
            let mut buffer = vec![0; 65_536];
            while !stop.load(Ordering::Relaxed) {
                match stream.read(&mut buffer) {
                    Ok(length) => drop(received.fetch_add(length as u64, Ordering::Relaxed)),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(_) => return,
                }
            }
        }));
        let mut stream = TcpStream::connect(to).unwrap();
        stream
            .set_write_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        let (stop, sent) = (Arc::clone(&flow.stop), Arc::clone(&flow.sent));
        flow.threads.push(std::thread::spawn(move || {
            let buffer = vec![0; 16_384];
            while !stop.load(Ordering::Relaxed) {
                match stream.write(&buffer) {
                    Ok(length) => drop(sent.fetch_add(length as u64, Ordering::Relaxed)),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(_) => return,
                }
            }
        }));
        flow
    }
}

fn address(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), port)
}

/// Runs something in a network namespace; sockets that it opens stay there.
fn inside<T: Send + 'static>(netns: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let path = format!("/run/netns/{netns}");
    let thread = std::thread::spawn(move || {
        let netns = File::open(path).unwrap();
        move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        work()
    });
    thread.join().unwrap()
}
