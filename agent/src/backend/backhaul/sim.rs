//! Simulated tunnels: an underlay of this process on which simulated nodes reach each other as WireGuard would let them.
//!
//! ```text
//!  a packet from one interface to an address arrives if
//!    the sender has a peer that may have the address  ->  knows where it is called, or was called by it
//!    -> an interface with that public key receives at that address and port -> which has the sender's key, the same pre-shared key,
//!       and lets the sender have its own address
//! ```
//! Nothing is encrypted and no packet exists; keys, allowed prefixes, ports and failures are real. Deterministic: the round
//! trip is always the same.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::Backhaul;
use super::config::BackendChoice;
use super::key::PublicKey;
use super::plane::{
    BackendInUse, Look, ObservedInterface, ObservedPeer, PADDING, Plane, PlaneError, SliceNet,
    TunnelInterface, WgPeer,
};
use crate::backend::BoxFuture;

/// Round trip of every packet.
const ROUND_TRIP: Duration = Duration::from_millis(1);
/// Octets that an echo request takes.
const ECHO: u64 = 84;
/// Ports that are given to tunnels without one.
const PORTS: std::ops::Range<u16> = 49152..65535;

/// Where a node receives of which nothing else is said.
const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// What carries simulated tunnels between the simulated nodes of a process.
#[derive(Debug, Default)]
pub struct Underlay {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Networks by node and slice.
    nets: BTreeMap<(String, String), SimNet>,
    /// Nodes that nobody reaches.
    cut_off: HashSet<String>,
    /// Where a node receives, if that is not [`HOME`]; the unspecified address stands for all.
    addresses: BTreeMap<String, IpAddr>,
    /// How long a change takes at a node; nothing where it is absent.
    pauses: BTreeMap<String, Duration>,
}

#[derive(Debug)]
struct SimNet {
    net: SliceNet,
    interfaces: Vec<SimInterface>,
}

#[derive(Debug)]
struct SimInterface {
    wanted: TunnelInterface,
    public_key: PublicKey,
    rx_packets: u64,
    peers: Vec<SimPeer>,
}

#[derive(Debug, Clone)]
struct SimPeer {
    wanted: WgPeer,
    endpoint: Option<SocketAddr>,
    latest_handshake: Option<SystemTime>,
    rx_bytes: u64,
    tx_bytes: u64,
}

/// Where an interface is: node, slice, place in its network.
type Place = ((String, String), usize);

impl Underlay {
    /// The domain of a node, whose keys are kept in a directory, or with the process.
    #[must_use]
    pub fn backhaul(self: &Arc<Self>, node: &str, keys: Option<std::path::PathBuf>) -> Backhaul {
        let plane = SimulatedPlane {
            underlay: Arc::clone(self),
            node: node.to_owned(),
        };
        Backhaul::new(Arc::new(plane), keys)
    }

    /// Says where a node receives: at this address, or wherever it is called if that is the unspecified one.
    pub(crate) fn set_address(&self, node: &str, address: IpAddr) {
        self.lock().addresses.insert(node.to_owned(), address);
    }

    /// Says how long a change takes at a node.
    #[cfg(test)]
    fn set_pause(&self, node: &str, pause: Duration) {
        self.lock().pauses.insert(node.to_owned(), pause);
    }

    /// Cuts a node off from all others, or lets it back.
    pub fn set_reachable(&self, node: &str, reachable: bool) {
        let mut state = self.lock();
        match reachable {
            true => drop(state.cut_off.remove(node)),
            false => drop(state.cut_off.insert(node.to_owned())),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Sends an echo request from an interface, and the answer back; whether it arrived.
    fn echo(&mut self, from: &Place, to: IpAddr) -> bool {
        let Some(target) = self.send(from, to) else {
            return false;
        };
        let Some(source) = self.nets.get(&from.0).and_then(|net| net.source(to)) else {
            return false;
        };
        // The answer takes the routes of the other end.
        let Some(net) = self.nets.get(&target.0) else {
            return false;
        };
        let Some(back) = net.route(source) else {
            return false;
        };
        self.send(&(target.0, back), source)
            .is_some_and(|arrived| arrived.0 == from.0)
    }

    /// Sends one packet; where it arrived.
    fn send(&mut self, from: &Place, to: IpAddr) -> Option<Place> {
        let here = self.nets.get(&from.0)?;
        let source = here.source(to)?;
        let interface = here.interfaces.get(from.1)?;
        let (sender_key, sender_port) = (interface.public_key, interface.wanted.port);
        let peer = interface.peer_for(to)?;
        let endpoint = interface.peers[peer].endpoint?;
        let wanted = interface.peers[peer].wanted.clone();
        let target = self.find(wanted.public_key, endpoint)?;
        let sender = match self.address(&from.0.0) {
            any if any.is_unspecified() => HOME,
            address => address,
        };
        if self.cut_off.contains(&from.0.0) || self.cut_off.contains(&target.0.0) {
            return None;
        }
        let there = self.nets.get(&target.0)?.interfaces.get(target.1)?;
        let back = there
            .peers
            .iter()
            .position(|one| one.wanted.public_key == sender_key)?;
        if there.peers[back].wanted.preshared_key != wanted.preshared_key {
            return None;
        }
        let has_session = interface.peers[peer].latest_handshake.is_some();
        let at = (!has_session).then(SystemTime::now);
        let accepts = there.peer_for(source) == Some(back);
        let sent = &mut self.nets.get_mut(&from.0)?.interfaces[from.1].peers[peer];
        sent.tx_bytes += ECHO;
        sent.latest_handshake = at.or(sent.latest_handshake);
        let there = &mut self.nets.get_mut(&target.0)?.interfaces[target.1];
        let received = &mut there.peers[back];
        received.latest_handshake = at.or(received.latest_handshake);
        received.endpoint = Some(SocketAddr::new(sender, sender_port));
        if !accepts {
            return None;
        }
        received.rx_bytes += ECHO;
        there.rx_packets += 1;
        Some(target)
    }

    fn address(&self, node: &str) -> IpAddr {
        self.addresses.get(node).copied().unwrap_or(HOME)
    }

    /// The interface with a key that receives at an address and port.
    fn find(&self, key: PublicKey, endpoint: SocketAddr) -> Option<Place> {
        let mut nets = self.nets.iter().filter(|((node, _), _)| {
            let address = self.address(node);
            address.is_unspecified() || address == endpoint.ip().to_canonical()
        });
        let port = endpoint.port();
        nets.find_map(|(at, net)| {
            let mut interfaces = net.interfaces.iter();
            let is_it = |one: &SimInterface| one.public_key == key && one.wanted.port == port;
            let index = interfaces.position(is_it)?;
            Some((at.clone(), index))
        })
    }

    fn has_port(&self, node: &str, port: u16) -> bool {
        let nets = self.nets.iter().filter(|((of, _), _)| of == node);
        let mut interfaces = nets.flat_map(|(_, net)| &net.interfaces);
        interfaces.any(|one| one.wanted.port == port)
    }
}

impl SimNet {
    /// The interface that packets to an address leave by.
    fn route(&self, to: IpAddr) -> Option<usize> {
        let usable = self.interfaces.iter().enumerate();
        let usable = usable.filter(|(_, one)| one.peer_for(to).is_some());
        usable
            .min_by_key(|(_, one)| one.wanted.metric)
            .map(|(index, _)| index)
    }

    /// The node's address for packets to an address.
    fn source(&self, to: IpAddr) -> Option<IpAddr> {
        let mut addresses = self.net.addresses.iter();
        addresses.find(|own| own.is_ipv4() == to.is_ipv4()).copied()
    }
}

impl SimInterface {
    /// The peer that has an address: that with the longest prefix.
    fn peer_for(&self, to: IpAddr) -> Option<usize> {
        let longest = |peer: &SimPeer| {
            let prefixes = peer.wanted.allowed.iter();
            prefixes
                .filter(|one| one.contains(to))
                .map(|one| one.length)
                .max()
        };
        let peers = self.peers.iter().enumerate();
        let having = peers.filter_map(|(index, peer)| Some((longest(peer)?, index)));
        having.max().map(|(_, index)| index)
    }

    fn observe(&self) -> ObservedInterface {
        let peers = self.peers.iter().map(|peer| ObservedPeer {
            public_key: peer.wanted.public_key,
            endpoint: peer.endpoint,
            latest_handshake: peer.latest_handshake,
            rx_bytes: peer.rx_bytes,
            tx_bytes: peer.tx_bytes,
            allowed: peer.wanted.allowed.clone(),
        });
        ObservedInterface {
            name: self.wanted.name.clone(),
            public_key: self.public_key,
            port: self.wanted.port,
            rx_content: self.rx_packets * PADDING,
            peers: peers.collect(),
        }
    }
}

/// One node on the underlay.
#[derive(Debug)]
struct SimulatedPlane {
    underlay: Arc<Underlay>,
    node: String,
}

impl SimulatedPlane {
    fn at(&self, slice: &str) -> (String, String) {
        (self.node.clone(), slice.to_owned())
    }

    fn bring_now(&self, net: &SliceNet) -> Result<Vec<String>, PlaneError> {
        let mut state = self.underlay.lock();
        let at = self.at(&net.slice);
        for wanted in &net.interfaces {
            let mut others = state
                .nets
                .iter()
                .filter(|((node, slice), _)| *node == at.0 && *slice != at.1);
            if others.any(|(_, other)| {
                other
                    .interfaces
                    .iter()
                    .any(|one| one.wanted.port == wanted.port)
            }) {
                return Err(PlaneError::new(format!("port {} is in use", wanted.port)));
            }
        }
        let mut done = Vec::new();
        let found = state.nets.remove(&at);
        let mut old: BTreeMap<String, SimInterface> = BTreeMap::new();
        match found {
            Some(found) => {
                if found.net.backend != net.backend || found.net.addresses != net.addresses {
                    done.push("change the interfaces".to_owned());
                }
                let named = found
                    .interfaces
                    .into_iter()
                    .map(|one| (one.wanted.name.clone(), one));
                old.extend(named);
            }
            None => done.push(format!("make the network of slice {}", net.slice)),
        }
        let interfaces = net.interfaces.iter();
        let interfaces =
            interfaces.map(|wanted| renew(wanted, old.remove(&wanted.name), &mut done));
        let interfaces = interfaces.collect();
        done.extend(old.keys().map(|name| format!("remove interface {name}")));
        let net = net.clone();
        state.nets.insert(at, SimNet { net, interfaces });
        Ok(done)
    }
}

fn renew(
    wanted: &TunnelInterface,
    old: Option<SimInterface>,
    done: &mut Vec<String>,
) -> SimInterface {
    let public_key = wanted.key.public();
    let mut interface = old
        .filter(|old| old.public_key == public_key)
        .unwrap_or_else(|| {
            done.push(format!("make interface {}", wanted.name));
            SimInterface {
                wanted: wanted.clone(),
                public_key,
                rx_packets: 0,
                peers: Vec::new(),
            }
        });
    if let Some(peers) = &wanted.peers {
        let peers = peers.iter().map(|peer| {
            let known = interface
                .peers
                .iter()
                .find(|one| one.wanted.public_key == peer.public_key);
            let Some(known) = known else {
                done.push(format!("add peer {}", peer.public_key));
                return SimPeer {
                    wanted: peer.clone(),
                    endpoint: peer.endpoint,
                    latest_handshake: None,
                    rx_bytes: 0,
                    tx_bytes: 0,
                };
            };
            let mut known = known.clone();
            if known.wanted.preshared_key != peer.preshared_key {
                known.latest_handshake = None;
            }
            if peer.moves {
                known.endpoint = peer.endpoint;
            }
            known.wanted = peer.clone();
            known
        });
        interface.peers = peers.collect();
    }
    interface.wanted = wanted.clone();
    interface
}

impl Plane for SimulatedPlane {
    fn backend(&self, _: BackendChoice) -> Result<BackendInUse, String> {
        Ok(BackendInUse::Simulator)
    }

    fn largest_mtu(&self, _: BackendInUse) -> u16 {
        9000
    }

    fn bring<'a>(
        &'a self,
        net: &'a SliceNet,
        _: Look,
    ) -> BoxFuture<'a, Result<Vec<String>, PlaneError>> {
        Box::pin(async move {
            let pause = self.underlay.lock().pauses.get(&self.node).copied();
            if let Some(pause) = pause {
                tokio::time::sleep(pause).await;
            }
            self.bring_now(net)
        })
    }

    fn remove<'a>(&'a self, slice: &'a str) -> BoxFuture<'a, Result<bool, PlaneError>> {
        Box::pin(async move { Ok(self.underlay.lock().nets.remove(&self.at(slice)).is_some()) })
    }

    fn slices(&self) -> BoxFuture<'_, Result<Vec<String>, PlaneError>> {
        Box::pin(async move {
            let state = self.underlay.lock();
            let here = state.nets.keys().filter(|(node, _)| *node == self.node);
            Ok(here.map(|(_, slice)| slice.clone()).collect())
        })
    }

    fn observe<'a>(
        &'a self,
        slice: &'a str,
    ) -> BoxFuture<'a, Result<Vec<ObservedInterface>, PlaneError>> {
        Box::pin(async move {
            let state = self.underlay.lock();
            let net = state.nets.get(&self.at(slice));
            Ok(net
                .iter()
                .flat_map(|net| &net.interfaces)
                .map(SimInterface::observe)
                .collect())
        })
    }

    fn probe(
        &self,
        slice: &str,
        to: IpAddr,
        timeout: Duration,
    ) -> BoxFuture<'static, Option<Duration>> {
        let answered = {
            let mut state = self.underlay.lock();
            let at = self.at(slice);
            let by = state.nets.get(&at).and_then(|net| net.route(to));
            by.is_some_and(|by| state.echo(&(at, by), to))
        };
        Box::pin(async move {
            if !answered {
                tokio::time::sleep(timeout).await;
                return None;
            }
            tokio::time::sleep(ROUND_TRIP).await;
            Some(ROUND_TRIP)
        })
    }

    fn nudge(&self, slice: &str, interface: &str, to: IpAddr) {
        let mut state = self.underlay.lock();
        let at = self.at(slice);
        let by = state.nets.get(&at).and_then(|net| {
            let mut interfaces = net.interfaces.iter();
            interfaces.position(|one| one.wanted.name == interface)
        });
        if let Some(by) = by {
            // Whether it arrives shows in the handshakes.
            drop(state.send(&(at, by), to));
        }
    }

    fn free_port(&self, is_taken: &dyn Fn(u16) -> bool) -> Result<u16, PlaneError> {
        let state = self.underlay.lock();
        let mut ports = PORTS.clone();
        let free = ports.find(|port| !state.has_port(&self.node, *port) && !is_taken(*port));
        free.ok_or_else(|| PlaneError {
            message: "all ports are in use".to_owned(),
            why: crate::backend::Why::NoRoom,
        })
    }

    fn is_free(&self, port: u16) -> bool {
        !self.underlay.lock().has_port(&self.node, port)
    }

    fn prefix(&self, _: &str, _: bool) -> String {
        "wg".to_owned()
    }

    fn namespace(&self, slice: &str) -> Option<String> {
        let state = self.underlay.lock();
        let there = state.nets.contains_key(&self.at(slice));
        there.then(|| format!("{}-{slice}", self.node))
    }
}

#[cfg(test)]
mod tests;
