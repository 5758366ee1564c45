//! Streams of numbered packets, one every millisecond, and what became of each packet.
//!
//! A machine that is too slow for that is sent less: no more is under way than what any queue on the way holds, so that what is
//! lost was lost by what happened, and not by a queue that was full.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

/// Each sends at least so many: what loses nothing has to have something to lose.
const FEWEST: u32 = 500;
/// So many may be under way: half of what WireGuard keeps for a peer that has not shaken hands yet.
const WINDOW: u32 = 64;
/// When the next is sent although so many have not come: whoever loses all of them is to be seen.
const STALL: Duration = Duration::from_millis(500);
/// How long the last may be under way. Nothing waits for that where none is lost.
const PATIENCE: Duration = Duration::from_secs(30);

/// Streams that go on until they are ended, and the steps of what happens meanwhile.
pub(super) struct Streams {
    streams: Vec<Stream>,
    /// With the numbers that were next.
    steps: Vec<(&'static str, Vec<u32>)>,
}

struct Stream {
    name: &'static str,
    sent: Arc<AtomicU32>,
    stop: watch::Sender<bool>,
    sending: JoinHandle<()>,
    receiving: JoinHandle<()>,
    heard: watch::Receiver<BTreeSet<u32>>,
}

impl Streams {
    /// Sends from the first socket of each to the second.
    pub(super) fn start<const N: usize>(
        sockets: [(&'static str, UdpSocket, UdpSocket); N],
    ) -> Self {
        let streams = sockets.map(|(name, sender, receiver)| Stream::start(name, sender, receiver));
        Self {
            streams: streams.into(),
            steps: Vec::new(),
        }
    }

    /// Says what begins now.
    pub(super) fn step(&mut self, what: &'static str) {
        let sent = self.streams.iter().map(Stream::sent).collect();
        self.steps.push((what, sent));
    }

    /// Waits until each has sent so many more.
    pub(super) async fn go_on(&self, more: u32) {
        let before: Vec<_> = self.streams.iter().map(Stream::sent).collect();
        for (stream, before) in self.streams.iter().zip(before) {
            while stream.sent() < before + more {
                sleep(Duration::from_millis(1)).await;
            }
        }
    }

    /// Ends them: what was lost, and during which step it was sent.
    pub(super) async fn lost(self) -> Vec<String> {
        self.go_on(FEWEST).await;
        let mut lost = Vec::new();
        for (at, stream) in self.streams.into_iter().enumerate() {
            let name = stream.name;
            for (first, last) in stream.lost().await {
                let mut steps = self.steps.iter().rev();
                let step = steps.find(|(_, next)| next[at] <= first);
                let step = step.map_or("the first step", |(step, _)| step);
                lost.push(format!("{name}: {first} to {last}, sent during {step}"));
            }
        }
        lost
    }
}

impl Stream {
    fn start(name: &'static str, sender: UdpSocket, receiver: UdpSocket) -> Self {
        // What waits here while the machine does something else is not lost.
        set_socket_recv_buffer_size_force(&receiver, 16 << 20).unwrap();
        let to = receiver.local_addr().unwrap();
        let sent = Arc::new(AtomicU32::new(0));
        let (stop, stopped) = watch::channel(false);
        let (hear, heard) = watch::channel(BTreeSet::new());
        let (number, mut seen) = (Arc::clone(&sent), heard.clone());
        let sending = tokio::spawn(async move {
            let mut tick = interval(Duration::from_millis(1));
            // What a busy machine keeps back comes later: the number counts, not the moment.
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while !*stopped.borrow() {
                tick.tick().await;
                let next = number.load(Ordering::Relaxed);
                let has_room =
                    |heard: &BTreeSet<u32>| next < heard.last().map_or(0, |last| last + 1) + WINDOW;
                drop(timeout(STALL, seen.wait_for(has_room)).await);
                sender.send_to(&next.to_be_bytes(), to).await.unwrap();
                number.store(next + 1, Ordering::Relaxed);
            }
        });
        let receiving = tokio::spawn(async move {
            let mut packet = [0; 4];
            while receiver.recv(&mut packet).await.unwrap() == packet.len() {
                hear.send_modify(|heard| _ = heard.insert(u32::from_be_bytes(packet)));
            }
        });
        Self {
            name,
            sent,
            stop,
            sending,
            receiving,
            heard,
        }
    }

    fn sent(&self) -> u32 {
        self.sent.load(Ordering::Relaxed)
    }

    /// The numbers that did not arrive, in ranges.
    async fn lost(mut self) -> Vec<(u32, u32)> {
        self.stop.send_replace(true);
        self.sending.await.unwrap();
        let sent = self.sent.load(Ordering::Relaxed);
        let all = |heard: &BTreeSet<u32>| heard.len() == sent as usize;
        let late = timeout(PATIENCE, self.heard.wait_for(all)).await;
        drop(late);
        let heard = self.heard.borrow().clone();
        self.receiving.abort();
        let mut lost: Vec<(u32, u32)> = Vec::new();
        for number in (0..sent).filter(|number| !heard.contains(number)) {
            match lost.last_mut() {
                Some((_, last)) if *last + 1 == number => *last = number,
                _ => lost.push((number, number)),
            }
        }
        lost
    }
}
