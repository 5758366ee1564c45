//! Mesh points (802.11s) beside the access points of a radio.

use std::fs;
use std::io;
use std::path::Path;

use super::super::netlink::NetlinkError;
use super::super::nl80211::{Interface, InterfaceKind, MeshJoin, NewInterface};
use super::carry_out::Work;
use super::engine::Engine;
use super::found::Found;
use super::wanted::{self, Wanted, WantedMesh};
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
            let name = interface.name.clone();
            let mark = wanted::mesh_mark(&self.settings, &name);
            let mesh = wanted.meshes.iter().find(|one| one.name == name);
            let is_kept = match mesh {
                Some(mesh) => self.is_right(&interface, mesh).await,
                None => false,
            };
            if !mark.exists() || is_kept {
                kept.push(interface);
                continue;
            }
            let path = vif_path(&name);
            match self.remove_mesh(&interface, &mark).await {
                Ok(()) => work.done(path, format!("remove vif {name}"), 0),
                Err(reason) => {
                    work.failed(Refusal::new(path, reason), [name.as_str()])?;
                    kept.push(interface);
                }
            }
        }
        found.interfaces = kept;
        Ok(())
    }

    /// Whether a mesh point runs what is wanted of it.
    async fn is_right(&self, interface: &Interface, mesh: &WantedMesh) -> bool {
        let mark = wanted::mesh_mark(&self.settings, &interface.name);
        let is_marked = fs::read(mark).is_ok_and(|id| id == mesh.join.mesh_id.as_bytes());
        let supplicant = wanted::supplicant(&self.settings, &interface.name);
        let is_secured = match &mesh.secured {
            Some(text) => supplicant.running() == *text && supplicant.is_joined().await,
            None => !supplicant.exists(),
        };
        is_marked && is_secured && is_joined(interface, &mesh.join)
    }

    async fn remove_mesh(&self, interface: &Interface, mark: &Path) -> Result<(), String> {
        let stopped = wanted::supplicant(&self.settings, &interface.name)
            .stop()
            .await;
        stopped.map_err(|error| error.to_string())?;
        let deleted = self.delete(interface).await;
        deleted.map_err(|error| error.to_string())?;
        remove_file(mark).map_err(|error| error.to_string())
    }

    /// Makes a mesh point and joins its mesh; one that is there is right.
    pub(super) async fn add_mesh(
        &self,
        found: &mut Found,
        mesh: &WantedMesh,
        address: Option<MacAddress>,
        work: &mut Work,
    ) -> Result<(), Refusal> {
        let name = &mesh.name;
        if found.interface(name).is_some() {
            return Ok(());
        }
        let refusal = |reason: String| Refusal::new(vif_path(name), reason);
        let mark = wanted::mesh_mark(&self.settings, name);
        let noted = |error: io::Error| refusal(format!("{}: {error}", mark.display()));
        if let Some(directory) = mark.parent() {
            fs::create_dir_all(directory).map_err(noted)?;
        }
        let new = NewInterface {
            wiphy: found.wiphy.index,
            name: name.clone(),
            kind: InterfaceKind::MeshPoint,
            mac: address.filter(|_| found.wiphy.mac_on_create),
        };
        // The mark comes first: what is made is never without one.
        fs::write(&mark, &mesh.join.mesh_id).map_err(noted)?;
        if let Err(reason) = self.join(&new, mesh).await {
            let made = self.nl80211.interface(name).await;
            if let Some(made) = made.map_err(|error| refusal(error.to_string()))? {
                let deleted = self.delete(&made).await;
                deleted.map_err(|error| refusal(error.to_string()))?;
            }
            remove_file(&mark).map_err(noted)?;
            return Err(refusal(reason));
        }
        let action = format!("create vif {name} on radio {}", found.wiphy.name);
        work.done(vif_path(name), action, 0);
        Ok(())
    }

    async fn join(&self, new: &NewInterface, mesh: &WantedMesh) -> Result<(), String> {
        let text = |error: NetlinkError| error.to_string();
        let supplicant = wanted::supplicant(&self.settings, &mesh.name);
        // One whose interface was removed goes on waiting for it.
        let stopped = supplicant.stop().await;
        stopped.map_err(|error| error.to_string())?;
        let made = self.nl80211.create_interface(new).await.map_err(text)?;
        self.links.set_up(made.ifindex, true).await.map_err(text)?;
        match &mesh.secured {
            Some(secured) => {
                let started = supplicant.start(secured).await;
                started.map_err(|error| error.to_string())
            }
            None => {
                let joined = self.nl80211.join_mesh(made.ifindex, &mesh.join).await;
                joined.map_err(text)
            }
        }
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
