//! WireGuard in this process: gotatun between a TUN device and a UDP socket of ours, for kernels without it.
//!
//! gotatun has the protocol and the cryptography; how packets come from the kernel and go to it, many in one call, is in
//! `userspace/`.
//!
//! A device lives as long as it is held; its interface stays until somebody removes it, so that an agent that comes later takes
//! it up. Its tasks run on the agent's runtime, whose threads never leave the node's namespace: sockets that are opened later
//! are the node's too.

mod checksum;
mod frame;
mod join;
mod split;
mod tcp;
mod tun;
mod udp;

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use gotatun::device::{Device, DeviceBuilder, Peer};
use gotatun::x25519;
use ipnetwork::IpNetwork;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::backend::backhaul::Prefix;
use crate::backend::backhaul::key::PublicKey;
use crate::backend::backhaul::plane::{
    ObservedInterface, ObservedPeer, PADDING, PlaneError, TunnelInterface, WgPeer,
};
use crate::backend::namespace::Namespace;

/// gotatun's buffers have 4096 octets, of which WireGuard's framing takes 32 and padding 15.
pub(super) const LARGEST_MTU: u16 = 4000;
const TUN: &str = "/dev/net/tun";
/// How long who had an interface before may take to let it go: an agent that was killed is gone before its files are closed.
const LETS_GO: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(2);

/// Whether there are TUN devices.
pub(super) fn check_possible() -> Result<(), String> {
    let opened = OpenOptions::new().read(true).write(true).open(TUN);
    opened
        .map(drop)
        .map_err(|error| format!("{TUN} cannot be opened ({error})"))
}

/// A tunnel of this process.
pub(super) struct UserspaceDevice {
    device: Device<(udp::Sockets, tun::Sender, tun::Receiver)>,
    /// What gotatun pads packets up to.
    mtu: watch::Sender<u16>,
    public_key: PublicKey,
    port: u16,
    /// Whether it has been started: without peers it need not receive.
    is_started: bool,
    /// Whether a change failed: nobody knows what it does then.
    is_broken: bool,
}

impl UserspaceDevice {
    /// Makes it, with an interface in a namespace, which may be there. Nothing runs yet. Its socket will be of the namespace of
    /// the runtime's threads.
    pub(super) async fn create(
        namespace: &Namespace,
        wanted: &TunnelInterface,
        mtu: u16,
    ) -> Result<Self, PlaneError> {
        let (mtu, watched) = watch::channel(mtu);
        let begin = Instant::now();
        let opened = loop {
            let watched = watched.clone();
            match namespace
                .within(|| tun::open(&wanted.name, watched))
                .flatten()
            {
                Err(error)
                    if error.kind() == ErrorKind::ResourceBusy && begin.elapsed() < LETS_GO =>
                {
                    sleep(LOOK).await;
                }
                opened => break opened,
            }
        };
        let (sender, receiver) = opened.map_err(|error| in_words(&error))?;
        let device = DeviceBuilder::new()
            .with_udp(udp::Sockets::default())
            .with_ip_pair(sender, receiver)
            .with_private_key(wanted.key.secret())
            .with_listen_port(wanted.port)
            .suspended(true)
            .build()
            .await;
        Ok(Self {
            device: device.map_err(|error| in_words(&error))?,
            mtu,
            public_key: wanted.key.public(),
            port: wanted.port,
            is_started: false,
            is_broken: false,
        })
    }

    /// Whether it is a working device with this key.
    pub(super) fn is_of(&self, key: PublicKey) -> bool {
        self.public_key == key && !self.is_broken
    }

    /// Tells it of another MTU of its interface.
    pub(super) fn set_mtu(&self, mtu: u16) {
        self.mtu.send_replace(mtu);
    }

    /// Ends it; its interface stays.
    pub(super) async fn stop(self) {
        self.device.stop().await;
    }

    pub(super) async fn observe(&self, name: &str, rx_packets: u64) -> ObservedInterface {
        let peers = self.device.peers().await.into_iter().map(|found| {
            let allowed = found.peer.allowed_ips.iter().map(|one| Prefix {
                address: one.network(),
                length: one.prefix(),
            });
            let ago = found.stats.last_handshake;
            ObservedPeer {
                public_key: PublicKey(found.peer.public_key.to_bytes()),
                endpoint: found.peer.endpoint.map(canonical),
                latest_handshake: ago.and_then(|ago| SystemTime::now().checked_sub(ago)),
                rx_bytes: found.stats.rx_bytes as u64,
                tx_bytes: found.stats.tx_bytes as u64,
                allowed: allowed.collect(),
            }
        });
        ObservedInterface {
            name: name.to_owned(),
            public_key: self.public_key,
            port: self.port,
            // Of a TUN, the kernel counts packets only.
            rx_content: rx_packets * PADDING,
            peers: peers.collect(),
        }
    }

    /// Makes it what it should be, changing only what differs; what was done. Peers change all at once: no packet meets a
    /// half of it.
    pub(super) async fn set(
        &mut self,
        wanted: &TunnelInterface,
    ) -> Result<Vec<String>, PlaneError> {
        let done = self.try_set(wanted).await;
        self.is_broken = done.is_err();
        done
    }

    async fn try_set(&mut self, wanted: &TunnelInterface) -> Result<Vec<String>, PlaneError> {
        let mut done = Vec::new();
        let changes = match &wanted.peers {
            Some(peers) => self.changes(peers).await,
            None => Vec::new(),
        };
        // Packets wait for who writes, and a full queue drops them: nobody writes without need.
        if !changes.is_empty() {
            done.extend(changes.iter().map(Change::in_words));
            let written = self.device.write(async |device| {
                for change in changes {
                    match change {
                        Change::Remove(key) => {
                            _ = device.remove_peer(&x25519::PublicKey::from(key.0)).await
                        }
                        Change::Add(peer) => _ = device.add_peer(peer),
                        Change::Modify(peer, moves) => {
                            let key = peer.public_key;
                            let modified = device.modify_peer(&key, |known| {
                                known.clear_allowed_ips();
                                known.add_allowed_ips(peer.allowed_ips);
                                known.set_keepalive(peer.keepalive);
                                known.set_preshared_key(peer.preshared_key);
                                if moves {
                                    known.set_endpoint(peer.endpoint);
                                }
                            });
                            modified.await;
                        }
                    }
                }
            });
            written.await.map_err(|error| in_words(&error))?;
        }
        if self.port != wanted.port {
            let set = self.device.set_listen_port(wanted.port).await;
            set.map_err(|error| in_words(&error))?;
            self.port = wanted.port;
            done.push(format!(
                "make {} receive at port {}",
                wanted.name, wanted.port
            ));
        }
        let has_peers = wanted.peers.as_ref().is_some_and(|peers| !peers.is_empty());
        if has_peers && !self.is_started {
            self.device
                .resume()
                .await
                .map_err(|error| in_words(&error))?;
            self.is_started = true;
        }
        Ok(done)
    }

    async fn changes(&self, wanted: &[WgPeer]) -> Vec<Change> {
        let known = self.device.peers().await;
        let mut changes = Vec::new();
        for found in &known {
            let key = PublicKey(found.peer.public_key.to_bytes());
            if wanted.iter().all(|peer| peer.public_key != key) {
                changes.push(Change::Remove(key));
            }
        }
        for peer in wanted {
            let new = of(peer);
            let found = known
                .iter()
                .find(|found| found.peer.public_key == new.public_key);
            let Some(found) = found else {
                changes.push(Change::Add(new));
                continue;
            };
            let mut allowed = found.peer.allowed_ips.clone();
            allowed.sort_unstable();
            let mut wanted_allowed = new.allowed_ips.clone();
            wanted_allowed.sort_unstable();
            let is_same = allowed == wanted_allowed
                && found.peer.keepalive == new.keepalive
                && found.peer.preshared_key == new.preshared_key;
            let moves = peer.moves && found.peer.endpoint.map(canonical) != new.endpoint;
            if !is_same || moves {
                changes.push(Change::Modify(new, moves));
            }
        }
        // What one peer loses another one gets: the loser first, or it would take it away again.
        changes.sort_by_key(|change| match change {
            Change::Remove(_) => 0,
            Change::Modify(peer, _) => 1 + peer.allowed_ips.len(),
            Change::Add(_) => usize::MAX,
        });
        changes
    }
}

/// One change of the peers of a device.
enum Change {
    Remove(PublicKey),
    Add(Peer),
    /// With whether the endpoint is to be taken.
    Modify(Peer, bool),
}

impl Change {
    fn in_words(&self) -> String {
        let key = |peer: &Peer| PublicKey(peer.public_key.to_bytes());
        match self {
            Self::Remove(key) => format!("remove peer {key}"),
            Self::Add(peer) => format!("add peer {}", key(peer)),
            Self::Modify(peer, _) => format!("change peer {}", key(peer)),
        }
    }
}

fn of(wanted: &WgPeer) -> Peer {
    let mut peer = Peer::new(x25519::PublicKey::from(wanted.public_key.0));
    let networks = wanted.allowed.iter();
    let networks = networks.filter_map(|one| IpNetwork::new(one.address, one.length).ok());
    peer.allowed_ips = networks.collect();
    peer.endpoint = wanted.endpoint;
    peer.preshared_key = wanted.preshared_key.as_ref().map(|key| key.expose());
    peer.keepalive = wanted.keepalive_s;
    peer
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The chain of causes in one sentence.
fn in_words(error: &dyn std::error::Error) -> PlaneError {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut texts: Vec<String> = Vec::new();
    for text in causes.map(ToString::to_string) {
        if !texts.last().is_some_and(|last| last.contains(&text)) {
            texts.push(text);
        }
    }
    PlaneError::new(format!("WireGuard in userspace: {}", texts.join(": ")))
}

#[cfg(test)]
mod tests;
