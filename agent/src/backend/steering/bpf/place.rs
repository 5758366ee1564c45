//! Where resolvers of this machine are: each in a network namespace of its own, with one interface, the other end of which is a port
//! of the node's steering.
//!
//! What leaves there goes to the port whatever its destination, without asking for addresses of neighbours: rules say where from
//! there. Nothing is forwarded, so users of another slice find nothing here but what rules send them to, and that answers clients
//! only.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rtnetlink::LinkUnspec;
use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkInfo};
use tranche_steering::{Prefix, ResolverConfig, Through};

use super::offload;
use crate::backend::backhaul::linux::net::{Link, Net, Route};
use crate::backend::backhaul::linux::{namespace_prefix, tag_of};
use crate::backend::namespace::{self, Namespace, Settings};
use crate::backend::steering::dns::server::{Bound, Opener, Server, Wanted};
use crate::backend::steering::plane::Unserved;
use crate::backend::steering::state::ResolverState;

/// The resolver's end.
const INNER: &str = "dns0";
/// Leaves room for GTP-U of either family in packets of 1500 octets.
const MTU: u16 = 1400;
const METRIC: u32 = 100;
/// For how long an address may not be there that was given, and how often it is looked for.
const SETTLED: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_millis(10);
/// A place where nothing is forwarded, and where an address of IPv6 is there at once.
const SETTINGS: Settings = &[
    ("net/ipv4/ip_forward", "0"),
    ("net/ipv6/conf/all/forwarding", "0"),
    ("net/ipv6/conf/default/accept_ra", "0"),
    ("net/ipv6/conf/all/accept_dad", "0"),
    ("net/ipv6/conf/default/accept_dad", "0"),
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
];

/// The resolvers of a node.
pub(super) struct Resolvers {
    tag: String,
    node: Net,
    node_namespace: File,
    running: tokio::sync::Mutex<BTreeMap<String, Running>>,
}

struct Running {
    namespace: Namespace,
    net: Net,
    /// What the server does.
    config: Option<ResolverConfig>,
    server: Option<Server>,
}

impl Resolvers {
    /// In the network namespace of this thread. Needs a runtime.
    pub(super) fn open(state_dir: &std::path::Path) -> Result<Self, String> {
        let in_words = |error: io::Error| error.to_string();
        Ok(Self {
            tag: tag_of(state_dir.as_os_str().as_encoded_bytes()),
            node: Net::connect().map_err(in_words)?,
            node_namespace: File::open("/proc/thread-self/ns/net").map_err(in_words)?,
            running: tokio::sync::Mutex::default(),
        })
    }

    fn prefix(&self) -> String {
        format!("trd-{}-", self.tag)
    }

    fn name(&self, slice: &str) -> String {
        format!("{}{slice}", self.prefix())
    }

    /// Lets these run and no others; what was done.
    pub(super) async fn serve(&self, wanted: &[ResolverConfig]) -> Result<Vec<String>, Unserved> {
        let mut running = self.running.lock().await;
        let mut done = Vec::new();
        let names: BTreeSet<String> = wanted.iter().map(|one| self.name(&one.slice)).collect();
        let found = namespace::names().map_err(|error| unserved(None, error))?;
        let ours = found.into_iter();
        for name in ours.filter(|name| name.starts_with(&self.prefix()) && !names.contains(name)) {
            let slice = name
                .strip_prefix(&self.prefix())
                .unwrap_or(&name)
                .to_owned();
            running.remove(&slice);
            let removed = remove(&name).await;
            removed.map_err(|error| unserved(None, error))?;
            done.push(format!("end the resolver of slice {slice}"));
        }
        running.retain(|slice, _| names.contains(&self.name(slice)));
        let mut first = Ok(());
        for config in wanted {
            let brought = self.bring(config, &mut running, &mut done).await;
            let brought = brought.map_err(|error| unserved(Some(&config.slice), error));
            first = first.and(brought);
        }
        first.map(|()| done)
    }

    async fn bring(
        &self,
        config: &ResolverConfig,
        running: &mut BTreeMap<String, Running>,
        done: &mut Vec<String>,
    ) -> Result<(), String> {
        let name = self.name(&config.slice);
        let mut before = None;
        if !namespace::is_there(&name) {
            // Somebody took the name away: what was held of it is of no use.
            before = running.remove(&config.slice).and_then(|one| one.server);
            Namespace::create(&name, SETTINGS).map_err(in_words(&name))?;
            done.push(format!(
                "make the place of the resolver of slice {}",
                config.slice
            ));
        }
        if !running.contains_key(&config.slice) {
            let namespace = Namespace::open(&name).map_err(in_words(&name))?;
            let net = namespace.within(Net::connect).map_err(in_words(&name))?;
            let place = Running {
                net: net.map_err(in_words(&name))?,
                namespace,
                config: None,
                server: None,
            };
            running.insert(config.slice.clone(), place);
        }
        let Some(place) = running.get_mut(&config.slice) else {
            return Err(format!("{name} is gone as soon as it is made"));
        };
        self.join(&config.port, place, done).await?;
        place.address(config, done).await?;
        let opener = self.opener(config);
        let before_it = place.config.as_ref();
        let stays = before_it.is_some_and(|one| one.addresses == config.addresses);
        if let Some(server) = place.server.as_ref().filter(|one| stays && one.is_up()) {
            if before_it != Some(config) {
                server.change(config, opener);
                place.config = Some(config.clone());
            }
            return Ok(());
        }
        let last = match place.server.take().or(before) {
            Some(server) => Some(server.stop().await),
            None => None,
        };
        let bound = place.bind(config).await.map_err(in_words(&name))?;
        let bound = bound.map_err(|error| format!("its addresses cannot be bound: {error}"))?;
        let server = Server::start(config, bound, opener, last.as_deref());
        place.server = Some(server.map_err(in_words(&name))?);
        place.config = Some(config.clone());
        done.push(format!("answer names of slice {}", config.slice));
        Ok(())
    }

    /// Joins a place to the node by a pair of interfaces.
    async fn join(
        &self,
        port: &str,
        place: &Running,
        done: &mut Vec<String>,
    ) -> Result<(), String> {
        let text = |error: crate::backend::wifi::netlink::NetlinkError| error.to_string();
        let mut outer = self.node.link(port).await.map_err(text)?;
        let mut inner = place.net.link(INNER).await.map_err(text)?;
        let is_pair = |inner: &Link| {
            let other = outer.as_ref().filter(|outer| outer.kind == "veth");
            other.is_some_and(|outer| inner.other_end == Some(outer.index))
        };
        if let Some(stale) = inner.take_if(|inner| !is_pair(inner)) {
            place.net.delete(stale.index).await.map_err(text)?;
            outer = self.node.link(port).await.map_err(text)?;
        }
        let inner = match inner {
            Some(inner) => inner,
            None if outer.is_some() => {
                return Err(format!(
                    "interface {port} is there already, and is not ours"
                ));
            }
            None => {
                let peer = LinkUnspec::new_with_name(port)
                    .setns_by_fd(self.node_namespace.as_raw_fd())
                    .mtu(MTU.into());
                // What it sends reaches the port, whose rules say to whom; it looks for no neighbours.
                let link = LinkUnspec::new_with_name(INNER).mtu(MTU.into()).arp(false);
                let mut message = link.build();
                let info = InfoData::Veth(InfoVeth::Peer(peer.build()));
                message.attributes.push(LinkAttribute::LinkInfo(vec![
                    LinkInfo::Kind(InfoKind::Veth),
                    LinkInfo::Data(info),
                ]));
                done.push(format!("make interface {port}"));
                let inner = place.net.add(INNER, message).await.map_err(text)?;
                outer = self.node.link(port).await.map_err(text)?;
                inner
            }
        };
        let Some(outer) = outer else {
            return Err(format!("interface {port} is gone as soon as it is made"));
        };
        for (net, link) in [(&place.net, &inner), (&self.node, &outer)] {
            if !link.is_up {
                net.set_up(link).await.map_err(text)?;
                done.push(format!("switch on {}", link.name));
            }
        }
        // What leaves in a tunnel has to be complete before.
        let switched = place.namespace.within(|| offload::switch_off(INNER));
        let switched = switched.and_then(|switched| switched);
        switched
            .map_err(|error| format!("checksums of {INNER} cannot be left to the sender: {error}"))
    }

    /// Where others are asked from.
    fn opener(&self, config: &ResolverConfig) -> Opener {
        match config.forward.as_ref().map(|one| one.through) {
            None | Some(Through::Node) => Arc::new(Wanted::open),
            Some(Through::Tunnel) => {
                let name = format!("{}{}", namespace_prefix(&self.tag), config.slice);
                // A tunnel that is made later, or anew, is found when it is asked for.
                Arc::new(move |wanted| Namespace::open(&name)?.within(|| wanted.open())?)
            }
        }
    }

    /// What is seen of those that are configured.
    pub(super) async fn states(&self) -> Vec<ResolverState> {
        let running = self.running.lock().await;
        let state = |(slice, place): (&String, &Running)| ResolverState {
            slice: slice.clone(),
            is_up: place.server.as_ref().is_some_and(Server::is_up)
                && namespace::is_there(&place.namespace.name),
            counts: place
                .server
                .as_ref()
                .map(|server| server.core().counts())
                .unwrap_or_default(),
            since: place.server.as_ref().map(|server| server.core().since()),
        };
        running.iter().map(state).collect()
    }
}

impl Running {
    /// Binds its addresses. One of IPv6 is there once the kernel has taken in that the link is up, which it does once a second where
    /// many links change.
    async fn bind(&self, config: &ResolverConfig) -> io::Result<io::Result<Vec<Bound>>> {
        let addresses = || config.addresses.iter();
        let bind = || addresses().map(|one| Bound::bind(*one)).collect();
        let begin = Instant::now();
        loop {
            let bound: io::Result<Vec<Bound>> = self.namespace.within(bind)?;
            match bound {
                Err(error)
                    if error.kind() == io::ErrorKind::AddrNotAvailable
                        && begin.elapsed() < SETTLED =>
                {
                    tokio::time::sleep(AGAIN).await;
                }
                bound => return Ok(bound),
            }
        }
    }

    /// Gives the place its addresses, and the one way out.
    async fn address(&self, config: &ResolverConfig, done: &mut Vec<String>) -> Result<(), String> {
        let text = |error: crate::backend::wifi::netlink::NetlinkError| error.to_string();
        let link = self.net.link(INNER).await.map_err(text)?;
        let link =
            link.ok_or_else(|| format!("interface {INNER} is gone as soon as it is made"))?;
        let addresses = config
            .addresses
            .iter()
            .map(|address| Prefix::host(*address));
        done.extend(
            self.net
                .set_addresses(&link, &addresses.collect())
                .await
                .map_err(text)?,
        );
        let way = |address: &IpAddr| Route {
            to: Prefix {
                address: match address {
                    IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                    IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
                },
                length: 0,
            },
            index: link.index,
            metric: METRIC,
        };
        let ways = config.addresses.iter().map(way).collect();
        let over = BTreeSet::from([link.index]);
        done.extend(self.net.set_routes(&ways, &over).await.map_err(text)?);
        Ok(())
    }
}

/// Ends a place. It dies some time after its last user, so its interface is given back now.
async fn remove(name: &str) -> Result<(), String> {
    if namespace::is_there(name) {
        let namespace = Namespace::open(name).map_err(in_words(name))?;
        let net = namespace.within(Net::connect).map_err(in_words(name))?;
        let net = net.map_err(in_words(name))?;
        if let Some(link) = net.link(INNER).await.map_err(|error| error.to_string())? {
            let deleted = net.delete(link.index).await;
            deleted.map_err(|error| error.to_string())?;
        }
    }
    namespace::delete(name).map_err(in_words(name))
}

fn in_words(name: &str) -> impl Fn(io::Error) -> String + '_ {
    move |error| format!("network namespace {name}: {error}")
}

fn unserved(slice: Option<&str>, message: impl ToString) -> Unserved {
    Unserved {
        slice: slice.map(str::to_owned),
        message: message.to_string(),
    }
}
