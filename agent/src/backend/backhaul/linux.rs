//! Tunnels on Linux: a network namespace for each slice, WireGuard interfaces that are born in the node's namespace and moved
//! into it, and nftables between slices.
//!
//! The UDP socket of a WireGuard interface stays in the namespace where the interface was born: a slice has the tunnel, and no
//! way to the underlay beside it. Owns what is there for each slice while the agent runs; the steps are in `bring.rs`.

mod attach;
mod bring;
mod kernel;
mod namespace;
mod net;
mod probe;
mod userspace;
mod wall;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::net::{IpAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Backhaul;
use super::config::BackendChoice;
use super::plane::{BackendInUse, Look, ObservedInterface, Plane, PlaneError, SliceNet};
use crate::backend::wifi::link::Links;
use crate::backend::{BoxFuture, Why};
use namespace::Namespace;
use net::Net;
use probe::{Nudger, Pinger};
use userspace::UserspaceDevice;

/// How often the node's wall is looked at while all tunnels are.
const WALL_LOOK: Duration = Duration::from_secs(1);
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
    /// The node's wall as nft lists it, with when it was looked at last.
    wall: tokio::sync::Mutex<Option<(String, Instant)>>,
    names: AtomicU32,
}

/// One slice's namespace with what the agent holds in it.
struct Space {
    namespace: Namespace,
    net: Net,
    /// Devices of this process, by interface.
    devices: tokio::sync::Mutex<HashMap<String, UserspaceDevice>>,
    pinger: Pinger,
    nudger: Nudger,
    /// The text of the wall that is in force, as far as is known.
    wall: Mutex<Option<String>>,
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

    /// A name that no interface has: one that cannot be moved because of its name would be an orphan.
    fn temporary_name(&self) -> String {
        let number = self.names.fetch_add(1, Ordering::Relaxed);
        format!("{}{number:08x}", self.temporary_prefix())
    }

    fn temporary_prefix(&self) -> String {
        format!("w{}", self.tag)
    }

    /// Interfaces that an agent that was killed left half-way.
    async fn remove_orphans(&self) -> Result<(), PlaneError> {
        let prefix = self.temporary_prefix();
        for link in self.birth.links().await? {
            if link.name.len() == 15 && link.name.starts_with(&prefix) {
                self.birth.delete(link.index).await?;
            }
        }
        Ok(())
    }

    /// Name of a slice's namespace.
    fn namespace_name(&self, slice: &str) -> String {
        format!("{}{slice}", self.namespace_prefix())
    }

    fn namespace_prefix(&self) -> String {
        format!("tr-{}-", self.tag)
    }

    fn spaces(&self) -> MutexGuard<'_, HashMap<String, Arc<Space>>> {
        self.spaces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The space of a slice: the one we hold, or one that is there from before.
    async fn space(&self, slice: &str) -> Result<Option<Arc<Space>>, PlaneError> {
        let name = self.namespace_name(slice);
        let held = self.spaces().get(slice).cloned();
        match (held, namespace::is_there(&name)) {
            (Some(space), true) => Ok(Some(space)),
            (Some(space), false) => {
                // Somebody took the name away; what we hold of it must not stand in the way of a new one.
                drop(self.spaces().remove(slice));
                space.stop_devices().await;
                Ok(None)
            }
            (None, true) => {
                let namespace = Namespace::open(&name).map_err(in_words(&name))?;
                let space = Arc::new(Space::enter(namespace)?);
                self.spaces().insert(slice.to_owned(), Arc::clone(&space));
                Ok(Some(space))
            }
            (None, false) => Ok(None),
        }
    }

    /// The space of a slice, made if it is not there; and whether it was made.
    async fn space_or_new(&self, slice: &str) -> Result<(Arc<Space>, bool), PlaneError> {
        if let Some(space) = self.space(slice).await? {
            return Ok((space, false));
        }
        let name = self.namespace_name(slice);
        let namespace = Namespace::create(&name).map_err(in_words(&name))?;
        let space = Arc::new(Space::enter(namespace)?);
        self.spaces().insert(slice.to_owned(), Arc::clone(&space));
        Ok((space, true))
    }

    async fn remove_space(&self, slice: &str) -> Result<bool, PlaneError> {
        let Some(space) = self.space(slice).await? else {
            return Ok(false);
        };
        space.stop_devices().await;
        // The namespace dies some time after its last user: ports and names are given back now.
        for link in space.net.links().await? {
            if bring::is_ours(&link.name) {
                space.net.delete(link.index).await?;
            }
        }
        self.links
            .remove_unused_bridges()
            .await
            .map_err(PlaneError::from)?;
        drop(self.spaces().remove(slice));
        let name = self.namespace_name(slice);
        drop(space);
        namespace::delete(&name).map_err(in_words(&name))?;
        self.set_ends(slice, BTreeSet::new(), Look::Changes).await?;
        Ok(true)
    }

    /// Says which interfaces of the node belong to a slice, and renews the node's wall if that is news or it is not what it
    /// was; whether it was renewed for the second reason.
    async fn set_ends(
        &self,
        slice: &str,
        ends: BTreeSet<String>,
        look: Look,
    ) -> Result<bool, PlaneError> {
        let mut wall = self.wall.lock().await;
        let (is_news, all) = {
            let mut of_slices = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
            let before = match ends.is_empty() {
                true => of_slices.remove(slice).unwrap_or_default(),
                false => of_slices
                    .insert(slice.to_owned(), ends.clone())
                    .unwrap_or_default(),
            };
            let all: BTreeSet<String> = of_slices.values().flatten().cloned().collect();
            (before != ends, all)
        };
        let mut has_fallen = false;
        if let (false, Look::Everything, Some((text, at))) = (is_news, look, &mut *wall)
            && at.elapsed() > WALL_LOOK
        {
            has_fallen = wall::listed_apart(&self.tag).await != *text;
            *at = Instant::now();
        }
        if is_news || has_fallen {
            wall::keep_apart(&self.tag, &all).await?;
            let text = wall::listed_apart(&self.tag).await;
            if text.is_empty() != all.is_empty() {
                return Err(PlaneError::new(
                    "nftables took the node's rules and does not have them",
                ));
            }
            *wall = Some((text, Instant::now()));
        }
        Ok(has_fallen)
    }
}

impl Space {
    async fn stop_devices(&self) {
        for (_, device) in self.devices.lock().await.drain() {
            device.stop().await;
        }
    }

    fn enter(namespace: Namespace) -> Result<Self, PlaneError> {
        let net = namespace.within(Net::connect);
        let name = &namespace.name;
        let net = net.map_err(in_words(name))?.map_err(in_words(name))?;
        let pinger = namespace.within(Pinger::open).map_err(in_words(name))?;
        Ok(Self {
            pinger: pinger.map_err(in_words(name))?,
            nudger: Nudger::default(),
            devices: tokio::sync::Mutex::default(),
            wall: Mutex::default(),
            namespace,
            net,
        })
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
fn tag_of(text: &[u8]) -> String {
    let hash = hash(text);
    format!("{:06x}", (hash ^ (hash >> 24) ^ (hash >> 48)) & 0xff_ffff)
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
                Some(space) => space.pinger.ping(to, timeout).await,
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

    fn free_port(&self) -> Result<u16, PlaneError> {
        let free = UdpSocket::bind("[::]:0").or_else(|_| UdpSocket::bind("0.0.0.0:0"));
        let port = free.and_then(|socket| socket.local_addr());
        port.map(|address| address.port())
            .map_err(|error| PlaneError {
                message: format!("no UDP port is free: {error}"),
                why: Why::NoRoom,
            })
    }

    fn namespace(&self, slice: &str) -> Option<String> {
        let is_held = self.spaces().contains_key(slice);
        is_held.then(|| self.namespace_name(slice))
    }
}

#[cfg(test)]
mod tests;
