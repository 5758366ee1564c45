//! Packets from one place to another, at a steady rate. Nothing comes back, so that a full medium cannot starve the sender of
//! what tells it to go on.

use std::fs::File;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::error::Error;

/// Payload that makes 1,400 bytes with its headers.
const PAYLOAD_BYTES: usize = 1372;
/// How often what is due is sent.
const TICK: Duration = Duration::from_millis(5);

/// Traffic that ends when this is dropped.
#[derive(Debug)]
pub struct Flow {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Flow {
    /// Sends so many packets a second from a network namespace to an address.
    ///
    /// # Errors
    /// When there is no such namespace, or no way to the address.
    pub fn start(namespace: &str, to: SocketAddr, per_second: f64) -> Result<Self, Error> {
        let path = format!("/run/netns/{namespace}");
        let file = File::open(&path).map_err(Error::system(path.clone()))?;
        let (stop, stopped) = mpsc::channel();
        let (opened, socket) = mpsc::sync_channel(1);
        let thread = std::thread::spawn(move || {
            // Of this thread only, and for as long as it lives.
            let entered = move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network));
            let socket = entered.map_err(std::io::Error::from).and_then(|()| {
                let socket = UdpSocket::bind("0.0.0.0:0")?;
                socket.connect(to)?;
                Ok(socket)
            });
            match socket {
                Ok(socket) => {
                    drop(opened.send(Ok(())));
                    send(&socket, per_second, &stopped);
                }
                Err(error) => drop(opened.send(Err(error))),
            }
        });
        let flow = Self {
            stop: Some(stop),
            thread: Some(thread),
        };
        let result = socket
            .recv()
            .unwrap_or_else(|_| Err(std::io::Error::other("the sender ended")));
        result.map_err(Error::system(format!("{path}, to {to}")))?;
        Ok(flow)
    }
}

/// Sends what is due, until nobody can tell us to stop any more.
fn send(socket: &UdpSocket, per_second: f64, stopped: &mpsc::Receiver<()>) {
    let packet = [0; PAYLOAD_BYTES];
    let mut due = 0.0;
    let mut last = Instant::now();
    while stopped.recv_timeout(TICK) == Err(mpsc::RecvTimeoutError::Timeout) {
        // What could not be sent for more than 50 ms is not made up for.
        due = (due + last.elapsed().as_secs_f64() * per_second).min(per_second / 20.0);
        last = Instant::now();
        while due >= 1.0 {
            due -= 1.0;
            // A scheduler that drops a packet says so with an error: that is what it is there for.
            drop(socket.send(&packet));
        }
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
