//! Where tunnels end: the namespaces of slices, and the node's for management tunnels. Made, found again and removed here, with
//! what the agent holds in them.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use super::guard::Standing;
use super::net::{Link, Net};
use super::probe::{Nudger, Pinger};
use super::userspace::UserspaceDevice;
use super::{LinuxPlane, PREFIX, TABLE, attach, in_words, kernel, wall};
use crate::backend::backhaul::plane::{Look, Place, PlaneError};
use crate::backend::namespace::{self, FOR_SLICES, Namespace};

/// Where a tunnel ends, with what the agent holds there: a slice's namespace, or of a management tunnel the node's.
pub(super) struct Space {
    pub(super) is_of_node: bool,
    /// What the names of its tunnel interfaces begin with.
    pub(super) prefix: String,
    /// Its table of nftables.
    pub(super) table: String,
    pub(super) namespace: Namespace,
    pub(super) net: Net,
    /// Devices of this process, by interface.
    pub(super) devices: tokio::sync::Mutex<HashMap<String, UserspaceDevice>>,
    /// None in the node's, where it is the node's administrator who says who may send echo requests.
    pub(super) pinger: Option<Pinger>,
    pub(super) nudger: Nudger,
    /// The wall that is in force, as far as is known.
    pub(super) wall: Mutex<Option<Standing>>,
}

impl LinuxPlane {
    /// The space of a slice: the one we hold, or one that is there from before.
    pub(super) async fn space(&self, slice: &str) -> Result<Option<Arc<Space>>, PlaneError> {
        let name = self.namespace_name(slice);
        let held = self.spaces().get(slice).cloned();
        if let Some(space) = held.clone().filter(|space| space.is_of_node) {
            return Ok(Some(space));
        }
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
            (None, false) => match self.left().contains(&self.node_prefix(slice)) {
                true => self.node_space(slice).map(Some),
                false => Ok(None),
            },
        }
    }

    /// The node's namespace, for a management tunnel.
    fn node_space(&self, slice: &str) -> Result<Arc<Space>, PlaneError> {
        let file = self.birth_namespace.try_clone();
        let file = file.map_err(in_words("of the node"))?;
        let prefix = self.node_prefix(slice);
        if let Some(other) = self.another_of(slice, &prefix) {
            return Err(PlaneError::new(format!(
                "the interfaces of {slice} and {other} would have the same names: call the tunnel something else"
            )));
        }
        let space = Arc::new(Space {
            is_of_node: true,
            table: format!("tranche-{prefix}"),
            prefix,
            namespace: Namespace::of_node(file),
            net: self.birth.clone(),
            devices: tokio::sync::Mutex::default(),
            pinger: None,
            nudger: Nudger::default(),
            wall: Mutex::default(),
        });
        self.spaces().insert(slice.to_owned(), Arc::clone(&space));
        Ok(space)
    }

    /// Another management tunnel whose interfaces begin with this.
    fn another_of(&self, slice: &str, prefix: &str) -> Option<String> {
        let has_it = |(other, space): &(&String, &Arc<Space>)| {
            *other != slice && space.is_of_node && space.prefix == prefix
        };
        let spaces = self.spaces();
        spaces.iter().find(has_it).map(|(other, _)| other.clone())
    }

    /// The space of a slice, made if it is not there; and whether it was made.
    pub(super) async fn space_or_new(
        &self,
        slice: &str,
        place: &Place,
    ) -> Result<(Arc<Space>, bool), PlaneError> {
        if let Some(space) = self.space(slice).await? {
            if space.is_of_node == matches!(place, Place::Node { .. }) {
                return Ok((space, false));
            }
            // It was elsewhere before.
            drop(space);
            self.remove_space(slice).await?;
        }
        if let Place::Node { .. } = place {
            return Ok((self.node_space(slice)?, false));
        }
        let name = self.namespace_name(slice);
        let namespace = Namespace::create(&name, FOR_SLICES).map_err(in_words(&name))?;
        let space = Arc::new(Space::enter(namespace)?);
        self.spaces().insert(slice.to_owned(), Arc::clone(&space));
        Ok((space, true))
    }

    pub(super) async fn remove_space(&self, slice: &str) -> Result<bool, PlaneError> {
        let prefix = self.node_prefix(slice);
        let node_table = format!("tranche-{prefix}");
        let Some(space) = self.space(slice).await? else {
            // Somebody may have removed its interface; its rules are there all the same. One that was refused for its name has
            // none: they are those of the other one.
            if self.another_of(slice, &prefix).is_none() {
                wall::remove(node_table).await?;
            }
            return Ok(false);
        };
        space.stop_devices().await;
        for link in space.net.links().await? {
            if space.is_ours(&link.name) {
                space.give_back(&link).await?;
            }
        }
        if space.is_of_node {
            wall::remove(node_table).await?;
            self.left().remove(&space.prefix);
            drop(self.spaces().remove(slice));
            return Ok(true);
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
}

impl Space {
    /// Whether an interface that is there was made by the agent for this tunnel.
    pub(super) fn is_ours(&self, name: &str) -> bool {
        let is_inside = [attach::INNER, attach::VXLAN, attach::BRIDGE].contains(&name);
        self.is_tunnel(name) || is_inside && !self.is_of_node
    }

    pub(super) fn is_tunnel(&self, name: &str) -> bool {
        name.strip_prefix(&self.prefix)
            .is_some_and(|epoch| epoch.bytes().all(|one| one.is_ascii_digit()))
    }

    /// Gives back what an interface has outside of the slice's namespace: a name in the node's, a port. What it has within goes with
    /// the namespace some time after its last user, with many others at once: the kernel takes 17 ms to remove a single one.
    async fn give_back(&self, link: &Link) -> Result<(), PlaneError> {
        if self.is_of_node || link.name == attach::INNER {
            self.net.delete(link.index).await?;
        } else if link.kind == kernel::KIND {
            self.net.set_down(link).await?;
        }
        Ok(())
    }

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
            is_of_node: false,
            prefix: PREFIX.to_owned(),
            table: TABLE.to_owned(),
            pinger: Some(pinger.map_err(in_words(name))?),
            nudger: Nudger::default(),
            devices: tokio::sync::Mutex::default(),
            wall: Mutex::default(),
            namespace,
            net,
        })
    }
}
