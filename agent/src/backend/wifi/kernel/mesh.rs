//! Mesh points (802.11s) beside the access points of a radio.

use std::fs;
use std::io;
use std::path::Path;

use super::super::netlink::NetlinkError;
use super::super::nl80211::{Interface, InterfaceKind, MeshJoin, NewInterface};
use super::carry_out::{Found, Work};
use super::engine::Engine;
use super::wanted::{self, Wanted};
use crate::backend::wifi::diff::vif_path;
use crate::backend::{MacAddress, Refusal};

impl Engine {
    /// Removes the mesh points of ours that are not wanted, or not as they are.
    pub(super) async fn remove_meshes(
        &self,
        found: &mut Found,
        wanted: &Wanted,
        work: &mut Work,
    ) -> Result<(), Refusal> {
        let mut kept = Vec::new();
        for interface in std::mem::take(&mut found.interfaces) {
            let mark = wanted::mesh_mark(&self.settings, &interface.name);
            let join = wanted.meshes.iter().find(|one| one.0 == interface.name);
            let is_kept = |(_, join): &(String, MeshJoin)| {
                is_joined(&interface, join)
                    && fs::read(&mark).is_ok_and(|id| id == join.mesh_id.as_bytes())
            };
            if !mark.exists() || join.is_some_and(is_kept) {
                kept.push(interface);
                continue;
            }
            let path = vif_path(&interface.name);
            match self.delete(&interface).await {
                Ok(()) => {
                    remove_file(&mark).map_err(|error| Refusal::new(&path, error.to_string()))?;
                    work.done(path, format!("remove vif {}", interface.name), 0);
                }
                Err(error) => {
                    let refusal = Refusal::new(path, error.to_string());
                    work.failed(refusal, [interface.name.as_str()])?;
                    kept.push(interface);
                }
            }
        }
        found.interfaces = kept;
        Ok(())
    }

    /// Makes a mesh point and joins its mesh; one that is there is right.
    pub(super) async fn add_mesh(
        &self,
        found: &mut Found,
        name: &str,
        join: &MeshJoin,
        address: Option<MacAddress>,
        work: &mut Work,
    ) -> Result<(), NetlinkError> {
        if found.interface(name).is_some() {
            return Ok(());
        }
        let mark = wanted::mesh_mark(&self.settings, name);
        let noted =
            |error: io::Error| NetlinkError::NotInForce(format!("{}: {error}", mark.display()));
        if let Some(directory) = mark.parent() {
            fs::create_dir_all(directory).map_err(noted)?;
        }
        let new = NewInterface {
            wiphy: found.wiphy.index,
            name: name.to_owned(),
            kind: InterfaceKind::MeshPoint,
            mac: address.filter(|_| found.wiphy.mac_on_create),
        };
        // The mark comes first: what is made is never without one.
        fs::write(&mark, &join.mesh_id).map_err(noted)?;
        let joined = async {
            let made = self.nl80211.create_interface(&new).await?;
            self.links.set_up(made.ifindex, true).await?;
            self.nl80211.join_mesh(made.ifindex, join).await
        };
        if let Err(error) = joined.await {
            if let Some(made) = self.nl80211.interface(name).await? {
                self.delete(&made).await?;
            }
            remove_file(&mark).map_err(noted)?;
            return Err(error);
        }
        let action = format!("create vif {name} on radio {}", found.wiphy.name);
        work.done(vif_path(name), action, 0);
        Ok(())
    }
}

/// Whether an interface is in a mesh on the channel that is wanted. The kernel does not tell in which.
fn is_joined(interface: &Interface, join: &MeshJoin) -> bool {
    interface.kind == InterfaceKind::MeshPoint
        && interface.channel.is_some_and(|channel| {
            (channel.primary_mhz(), channel.width())
                == (join.channel.primary_mhz(), join.channel.width())
        })
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
