//! Tunnels on Linux: a network namespace for each slice, WireGuard interfaces in it that the node's namespace asked for, and
//! nftables between slices.
//!
//! The UDP socket of a WireGuard interface is of the namespace that asked for it: a slice has the tunnel, and no way to the
//! underlay beside it. Owns what is there for each slice while the agent runs; the steps are in `bring.rs`.

mod attach;
mod bring;
mod guard;
mod kernel;
pub(in crate::backend) mod net;
mod probe;
mod ruleset;
mod space;
mod userspace;
mod wall;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::net::{IpAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Backhaul;
use super::config::BackendChoice;
use super::plane::{BackendInUse, Look, ObservedInterface, Outer, Plane, PlaneError, SliceNet};
use crate::backend::wifi::link::Links;
use crate::backend::{BoxFuture, Why, namespace};
use net::Net;
use ruleset::Table;
use space::Space;

/// How often the kernel is asked for a port before there is none.
const PORT_TRIES: usize = 100;
/// What the names of tunnel interfaces begin with in the namespace of a slice, and its table of nftables.
const PREFIX: &str = "wg";
const TABLE: &str = "tranche";
/// Largest packet of the kernel's WireGuard that the model knows.
const LARGEST: u16 = 9000;

/// What tunnels can be made of on this machine.
#[derive(Debug, Clone)]
struct Abilities {
    kernel: Result<(), String>,
    userspace: Result<(), String>,
}

/// The tunnels of one node on this machine.
pub(super) struct LinuxPlane {
    /// Distinguishes what is ours from what other agents of this machine made.
    tag: String,
    abilities: Abilities,
    /// The node's namespace.
    links: Links,
    birth: Net,
    birth_namespace: File,
    spaces: Mutex<HashMap<String, Arc<Space>>>,
    /// Names of the node's ends of attachments, by slice: what the node's wall keeps apart.
    ends: Mutex<BTreeMap<String, BTreeSet<String>>>,
    /// The node's wall, once there was one.
    wall: tokio::sync::Mutex<Option<NodeWall>>,
    names: AtomicU32,
    /// Beginnings of the names of interfaces of management tunnels that an earlier agent left here.
    left: Mutex<BTreeSet<String>>,
}

/// The rules of nftables in the node's namespace.
struct NodeWall {
    /// What it keeps apart.
    ends: BTreeSet<String>,
    table: Table,
}

impl Backhaul {
    /// The domain on this machine, for the node whose files are in `state_dir`.
    ///
    /// # Errors
    /// The sentence that says what is missing.
    pub async fn on_linux(state_dir: &Path) -> Result<Self, String> {
        let plane = LinuxPlane::open(state_dir).await?;
        Ok(Self::new(Arc::new(plane), Some(keys_of(state_dir))))
    }
}

fn keys_of(state_dir: &Path) -> PathBuf {
    state_dir.join("backhaul")
}

impl LinuxPlane {
    pub(super) async fn open(state_dir: &Path) -> Result<Self, String> {
        let state_dir = std::path::absolute(state_dir).map_err(|error| error.to_string())?;
        let tag = tag_of(state_dir.as_os_str().as_encoded_bytes());
        wall::check_installed().await?;
        namespace::check_possible().map_err(|error| {
            format!("network namespaces cannot be made ({error}): run the agent as root or give it CAP_SYS_ADMIN and CAP_NET_ADMIN")
        })?;
        let links = Links::connect().map_err(|error| error.to_string())?;
        let birth = Net::connect().map_err(|error| error.to_string())?;
        let birth_namespace = File::open("/proc/thread-self/ns/net");
        let birth_namespace = birth_namespace.map_err(|error| error.to_string())?;
        let mut plane = Self {
            abilities: Abilities {
                kernel: Err(String::new()),
                userspace: userspace::check_possible(),
            },
            tag,
            links,
            birth,
            birth_namespace,
            spaces: Mutex::default(),
            ends: Mutex::default(),
            wall: tokio::sync::Mutex::default(),
            names: AtomicU32::new(std::process::id() << 12),
            left: Mutex::default(),
        };
        plane.abilities.kernel =
            kernel::check_possible(&plane.birth, &plane.temporary_name()).await;
        if let (Err(kernel), Err(userspace)) = (&plane.abilities.kernel, &plane.abilities.userspace)
        {
            return Err(format!("{kernel}, and {userspace}"));
        }
        plane
            .remove_orphans()
            .await
            .map_err(|error| error.message)?;
        Ok(plane)
    }

    /// A name that no interface has.
    fn temporary_name(&self) -> String {
        let number = self.names.fetch_add(1, Ordering::Relaxed);
        format!("{}{number:08x}", self.temporary_prefix())
    }

    fn temporary_prefix(&self) -> String {
        format!("w{}", self.tag)
    }

    /// Interfaces that an agent that was killed left half-way.
    async fn remove_orphans(&self) -> Result<(), PlaneError> {
        let (prefix, of_node) = (self.temporary_prefix(), format!("m{}", self.tag));
        for link in self.birth.links().await? {
            if link.name.len() == 15 && link.name.starts_with(&prefix) {
                self.birth.delete(link.index).await?;
            } else if link.name.starts_with(&of_node) {
                let length = self.node_prefix("").len();
                let left = link.name.get(..length).unwrap_or(&link.name);
                self.left().insert(left.to_owned());
            }
        }
        Ok(())
    }

    fn left(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the names of the interfaces of a management tunnel begin with: eleven octets, four are left for a number.
    fn node_prefix(&self, slice: &str) -> String {
        let mut hash = hash(slice.as_bytes());
        hash ^= hash >> 32;
        let digits = (0..4).map(|_| {
            let digit = char::from(b"0123456789abcdefghijklmnopqrstuvwxyz"[(hash % 36) as usize]);
            hash /= 36;
            digit
        });
        format!("m{}{}", self.tag, digits.collect::<String>())
    }

    /// Name of a slice's namespace.
    fn namespace_name(&self, slice: &str) -> String {
        format!("{}{slice}", self.namespace_prefix())
    }

    fn namespace_prefix(&self) -> String {
        namespace_prefix(&self.tag)
    }

    fn spaces(&self) -> MutexGuard<'_, HashMap<String, Arc<Space>>> {
        self.spaces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says which interfaces of the node belong to a slice, and renews the node's wall if that is news or it is not what it
    /// was; whether it was renewed for the second reason.
    async fn set_ends(
        &self,
        slice: &str,
        ends: BTreeSet<String>,
        look: Look,
    ) -> Result<bool, PlaneError> {
        {
            let mut of_slices = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
            match ends.is_empty() {
                true => drop(of_slices.remove(slice)),
                false => drop(of_slices.insert(slice.to_owned(), ends)),
            }
        }
        self.renew_wall(look).await
    }

    /// The same for all slices that will be there; none of those that are not among them is forgotten.
    async fn expect_ends(&self, attached: Vec<(String, Outer)>) -> Result<(), PlaneError> {
        let is_nobody = attached.is_empty();
        {
            let mut of_slices = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
            for (slice, outer) in attached {
                of_slices.insert(slice, BTreeSet::from([outer.end().to_owned()]));
            }
        }
        match self.renew_wall(Look::Changes).await {
            // A kernel that has no nftables has no rules to be rid of.
            Err(error) if is_nobody => tracing::debug!(%error, "the node's wall was not looked at"),
            done => drop(done?),
        }
        Ok(())
    }

    /// Makes the node's wall what the ends of all slices ask for; whether it was not what it had been.
    async fn renew_wall(&self, look: Look) -> Result<bool, PlaneError> {
        // Who waited here may find that it was done meanwhile, for all who came at once.
        let mut wall = self.wall.lock().await;
        let all: BTreeSet<String> = {
            let of_slices = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
            of_slices.values().flatten().cloned().collect()
        };
        // What an earlier agent left is not known, also where there is nobody to keep apart any more.
        let is_news = wall.as_ref().is_none_or(|wall| wall.ends != all);
        let mut has_fallen = false;
        if let (false, Look::Everything, Some(wall)) = (is_news, look, &mut *wall) {
            let table = wall::read_apart_again(&wall.table)?;
            has_fallen = table != wall.table;
            if !has_fallen {
                wall.table = table;
            }
        }
        if is_news || has_fallen {
            let table = wall::keep_apart(&self.tag, &all).await?;
            *wall = Some(NodeWall { ends: all, table });
        }
        Ok(has_fallen)
    }
}

fn in_words(name: &str) -> impl Fn(std::io::Error) -> PlaneError {
    move |error| PlaneError::new(format!("network namespace {name}: {error}"))
}

impl From<crate::backend::wifi::netlink::NetlinkError> for PlaneError {
    fn from(error: crate::backend::wifi::netlink::NetlinkError) -> Self {
        Self::new(error.to_string())
    }
}

/// Six hexadecimal digits of a text (FNV-1a, folded): the same over restarts and builds.
pub(in crate::backend) fn tag_of(text: &[u8]) -> String {
    let hash = hash(text);
    format!("{:06x}", (hash ^ (hash >> 24) ^ (hash >> 48)) & 0xff_ffff)
}

/// What the names of slices' namespaces begin with.
pub(in crate::backend) fn namespace_prefix(tag: &str) -> String {
    format!("tr-{tag}-")
}

fn hash(text: &[u8]) -> u64 {
    text.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}

impl Plane for LinuxPlane {
    fn backend(&self, choice: BackendChoice) -> Result<BackendInUse, String> {
        let kernel = self.abilities.kernel.clone().map(|()| BackendInUse::Kernel);
        let userspace = self.abilities.userspace.clone();
        let userspace = userspace.map(|()| BackendInUse::Userspace);
        match choice {
            BackendChoice::Kernel => kernel,
            BackendChoice::Userspace => userspace,
            BackendChoice::Auto => kernel.or(userspace),
        }
    }

    fn largest_mtu(&self, backend: BackendInUse) -> u16 {
        match backend {
            BackendInUse::Userspace => userspace::LARGEST_MTU,
            BackendInUse::Kernel | BackendInUse::Simulator => LARGEST,
        }
    }

    fn expect(&self, attached: Vec<(String, Outer)>) -> BoxFuture<'_, Result<(), PlaneError>> {
        Box::pin(self.expect_ends(attached))
    }

    fn bring<'a>(
        &'a self,
        net: &'a SliceNet,
        look: Look,
    ) -> BoxFuture<'a, Result<Vec<String>, PlaneError>> {
        Box::pin(bring::bring(self, net, look))
    }

    fn remove<'a>(&'a self, slice: &'a str) -> BoxFuture<'a, Result<bool, PlaneError>> {
        Box::pin(self.remove_space(slice))
    }

    fn slices(&self) -> BoxFuture<'_, Result<Vec<String>, PlaneError>> {
        Box::pin(async move {
            let names = namespace::names().map_err(in_words("list"))?;
            let prefix = self.namespace_prefix();
            let slices = names.iter().filter_map(|name| name.strip_prefix(&prefix));
            Ok(slices.map(str::to_owned).collect())
        })
    }

    fn observe<'a>(
        &'a self,
        slice: &'a str,
    ) -> BoxFuture<'a, Result<Vec<ObservedInterface>, PlaneError>> {
        Box::pin(bring::observe(self, slice))
    }

    fn probe(
        &self,
        slice: &str,
        to: IpAddr,
        timeout: Duration,
    ) -> BoxFuture<'static, Option<Duration>> {
        let space = self.spaces().get(slice).cloned();
        Box::pin(async move {
            match space {
                Some(space) => match &space.pinger {
                    Some(pinger) => pinger.ping(to, timeout).await,
                    None => None,
                },
                None => None,
            }
        })
    }

    fn nudge(&self, slice: &str, interface: &str, to: IpAddr) {
        let space = self.spaces().get(slice).cloned();
        if let Some(space) = space {
            space.nudger.send(&space.namespace, interface, to);
        }
    }

    fn free_port(&self, is_taken: &dyn Fn(u16) -> bool) -> Result<u16, PlaneError> {
        let no_room = |error: String| PlaneError {
            message: format!("no UDP port is free: {error}"),
            why: Why::NoRoom,
        };
        for _ in 0..PORT_TRIES {
            let free = UdpSocket::bind("[::]:0").or_else(|_| UdpSocket::bind("0.0.0.0:0"));
            let port = free.and_then(|socket| socket.local_addr());
            let port = port.map_err(|error| no_room(error.to_string()))?.port();
            if !is_taken(port) {
                return Ok(port);
            }
        }
        Err(no_room(
            "all that the kernel offers are other tunnels'".to_owned(),
        ))
    }

    fn is_free(&self, port: u16) -> bool {
        // As a tunnel would: of both families, where there are both.
        let taken = |error: std::io::Error| error.kind() == std::io::ErrorKind::AddrInUse;
        let both = UdpSocket::bind(("::", port)).or_else(|error| match taken(error) {
            true => Err(()),
            false => UdpSocket::bind(("0.0.0.0", port)).map_err(drop),
        });
        both.is_ok()
    }

    fn prefix(&self, slice: &str, is_of_node: bool) -> String {
        match is_of_node {
            true => self.node_prefix(slice),
            false => PREFIX.to_owned(),
        }
    }

    fn namespace(&self, slice: &str) -> Option<String> {
        let spaces = self.spaces();
        let own = spaces.get(slice).filter(|space| !space.is_of_node);
        own.map(|_| self.namespace_name(slice))
    }
}

#[cfg(test)]
mod tests;
