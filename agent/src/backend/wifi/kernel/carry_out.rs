//! From what is found on the machine to what is wanted.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use super::super::bridge::AttachError;
use super::super::hostapd::render::{self, Change};
use super::super::hostapd::{Hostapd, HostapdError, Running};
use super::super::netlink::NetlinkError;
use super::super::nl80211::{Interface, InterfaceKind, MeshJoin, NewInterface, TxPower, Wiphy};
use super::super::{Channel, RadioConfig, Role, VifConfig};
use super::engine::{Engine, Mode};
use super::wanted::{self, Wanted};
use super::{Target, check, lock};
use crate::backend::wifi::diff::{cost, radio_path, step, vif_path};
use crate::backend::{MacAddress, Refusal, Step};

/// What is on one radio.
struct Found {
    wiphy: Wiphy,
    hostapd: Hostapd,
    running: Option<Running>,
    /// Associated stations of each access point.
    stations: BTreeMap<String, u32>,
    /// All its network interfaces, ours or not.
    interfaces: Vec<Interface>,
}

impl Found {
    fn interface(&self, name: &str) -> Option<&Interface> {
        self.interfaces.iter().find(|one| one.name == name)
    }

    fn stations_of(&self, vif: &str) -> u32 {
        self.stations.get(vif).copied().unwrap_or_default()
    }
}

/// What was done so far, and what failed.
struct Work {
    mode: Mode,
    steps: Vec<Step>,
    faults: BTreeMap<String, String>,
    first: Option<Refusal>,
}

impl Work {
    fn done(&mut self, path: String, action: String, stations_dropped: u32) {
        self.steps.push(step(path, action, cost(stations_dropped)));
    }

    /// Notes why `vif` (or all of them) is not as wanted; ends everything where it is all or nothing.
    fn failed<'a>(
        &mut self,
        refusal: Refusal,
        vifs: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), Refusal> {
        if self.mode == Mode::AllOrNothing {
            return Err(refusal);
        }
        for vif in vifs {
            self.faults.insert(vif.to_owned(), refusal.message.clone());
        }
        self.first.get_or_insert(refusal);
        Ok(())
    }
}

impl Engine {
    /// Goes to what is wanted and reads it back. What is right already is left alone.
    ///
    /// An empty map of addresses stands for those that the interfaces have, or new ones.
    pub(super) async fn carry_out(
        &mut self,
        mut target: Target,
        mode: Mode,
    ) -> Result<Vec<Step>, Refusal> {
        let mut work = Work {
            mode,
            steps: Vec::new(),
            faults: BTreeMap::new(),
            first: None,
        };
        self.set_country(&target.wifi.country, &mut work).await?;
        let mut all_found = self.look().await?;
        if target.addresses.is_empty() {
            target.addresses = wanted::addresses(&target.wifi, &self.known_addresses(&all_found));
        }
        let mut all_wanted = Vec::new();
        for found in &mut all_found {
            let wanted = match self.wanted(found, &target) {
                Ok(wanted) => wanted,
                Err(refusal) => {
                    let vifs = target.wifi.vifs_of(&found.wiphy.name);
                    work.failed(refusal, vifs.map(|vif| vif.name.as_str()))?;
                    Wanted::default()
                }
            };
            all_wanted.push(wanted);
        }
        for (found, wanted) in all_found.iter_mut().zip(&all_wanted) {
            self.take_away(found, wanted, &target, &mut work).await?;
        }
        for (found, wanted) in all_found.iter_mut().zip(&all_wanted) {
            self.build(found, wanted, &target, &mut work).await?;
        }
        self.detach(&target).await?;
        self.read_back(&target, &mut work).await?;
        let mut view = lock(&self.view);
        view.target = target;
        view.faults = work.faults;
        match work.first {
            Some(refusal) => Err(refusal),
            None => Ok(work.steps),
        }
    }

    async fn set_country(&self, country: &str, work: &mut Work) -> Result<(), Refusal> {
        let path = "/tranche-wifi:wifi/country";
        let refusal = |error: NetlinkError| Refusal::new(path, error.to_string());
        let before = self.nl80211.regulatory_domain().await.map_err(refusal)?;
        if before != country {
            let set = self.nl80211.set_regulatory_domain(country).await;
            match set.map_err(refusal) {
                Ok(()) => work.done(
                    path.to_owned(),
                    format!("set the regulatory domain to {country}"),
                    0,
                ),
                Err(refusal) => work.failed(refusal, [])?,
            }
        }
        let now = self.nl80211.regulatory_domain().await.map_err(refusal)?;
        lock(&self.view).country = now;
        Ok(())
    }

    /// Everything there is, radio by radio.
    async fn look(&self) -> Result<Vec<Found>, Refusal> {
        let failed = |error: NetlinkError| Refusal::new("/tranche-wifi:wifi", error.to_string());
        let wiphys = self.nl80211.wiphys().await.map_err(failed)?;
        let interfaces = self.nl80211.interfaces().await.map_err(failed)?;
        let mut all = Vec::new();
        for wiphy in wiphys {
            let hostapd = wanted::hostapd(&self.settings, &wiphy.name);
            let adopted = hostapd.adopt().await;
            let running = adopted.map_err(|error| at_radio(&wiphy.name, &error))?;
            let mut stations = BTreeMap::new();
            if running.is_some() {
                let status = hostapd.status().await;
                let status = status.map_err(|error| at_radio(&wiphy.name, &error))?;
                let counts = status.bsses.into_iter();
                stations = counts
                    .map(|bss| (bss.name, u32::from(bss.stations)))
                    .collect();
            }
            let of_radio = |one: &&Interface| one.wiphy == wiphy.index;
            all.push(Found {
                hostapd,
                running,
                stations,
                interfaces: interfaces.iter().filter(of_radio).cloned().collect(),
                wiphy,
            });
        }
        Ok(all)
    }

    /// The addresses that interfaces have by the last target, or that an earlier agent gave them.
    fn known_addresses(&self, found: &[Found]) -> BTreeMap<String, (String, MacAddress)> {
        let mut known = BTreeMap::new();
        for found in found {
            let radio = &found.wiphy.name;
            let texts = found.running.iter().flat_map(|running| &running.bsses);
            for (name, text) in texts {
                let bssid = render::value(text, "bssid").and_then(|text| text.parse().ok());
                if let Some(bssid) = bssid {
                    known.insert(name.clone(), (radio.clone(), bssid));
                }
            }
            for interface in &found.interfaces {
                if wanted::mesh_mark(&self.settings, &interface.name).exists() {
                    known.insert(interface.name.clone(), (radio.clone(), interface.mac));
                }
            }
        }
        let view = lock(&self.view);
        for (name, address) in &view.target.addresses {
            if let Some(vif) = view.target.wifi.vif(name) {
                known.insert(name.clone(), (vif.radio.clone(), *address));
            }
        }
        known
    }

    /// What is wanted of a radio, if the regulatory domain that is in force now allows it.
    fn wanted(&self, found: &Found, target: &Target) -> Result<Wanted, Refusal> {
        if let Some(radio) = target.wifi.radio(&found.wiphy.name) {
            let channel =
                Channel::new(radio.band, radio.channel, radio.width).map_err(|reason| {
                    Refusal::new(format!("{}/channel", radio_path(&radio.name)), reason)
                })?;
            check::allowed(&found.wiphy, radio, &channel)?;
        }
        Wanted::new(&self.settings, &found.wiphy, target)
    }

    /// Removes from a radio what is not wanted, or not as it is.
    async fn take_away(
        &self,
        found: &mut Found,
        wanted: &Wanted,
        target: &Target,
        work: &mut Work,
    ) -> Result<(), Refusal> {
        let radio = found.wiphy.name.clone();
        let keeps_running = found.running.as_ref().is_some_and(|running| {
            wanted.radio.as_deref() == Some(&running.radio)
                && found.interface(&wanted::anchor(&found.wiphy)).is_some()
        });
        if !keeps_running {
            if let Err(error) = self.stop(found, work).await {
                work.failed(
                    error,
                    target.wifi.vifs_of(&radio).map(|vif| vif.name.as_str()),
                )?;
            }
        } else if let Err(error) = remove_bsses(found, wanted, work).await {
            work.failed(error, [])?;
        }
        self.remove_meshes(found, wanted, work).await
    }

    /// Takes hostapd off a radio, and its interfaces with it.
    async fn stop(&self, found: &mut Found, work: &mut Work) -> Result<(), Refusal> {
        let radio = found.wiphy.name.clone();
        let stations: u32 = found.stations.values().sum();
        found
            .hostapd
            .stop()
            .await
            .map_err(|error| at_radio(&radio, &error))?;
        if found.running.take().is_some() {
            let action = format!("take the access points of radio {radio} down");
            work.done(radio_path(&radio), action, stations);
        }
        let anchor = wanted::anchor(&found.wiphy);
        if let Some(interface) = found.interface(&anchor) {
            self.delete(interface)
                .await
                .map_err(|error| Refusal::new(radio_path(&radio), error.to_string()))?;
            found.interfaces.retain(|one| one.name != anchor);
        }
        Ok(())
    }

    async fn remove_meshes(
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

    /// Deletes an interface; one that is gone already is fine.
    async fn delete(&self, interface: &Interface) -> Result<(), NetlinkError> {
        match self.nl80211.delete_interface(interface.ifindex).await {
            Err(error) if error.is_not_found() => Ok(()),
            done => done,
        }
    }

    /// Adds to a radio what it lacks, and changes what can be changed in place.
    async fn build(
        &self,
        found: &mut Found,
        wanted: &Wanted,
        target: &Target,
        work: &mut Work,
    ) -> Result<(), Refusal> {
        if let Some(text) = &wanted.radio
            && let Err(refusal) = self.start(found, text, target, work).await
        {
            return work.failed(refusal, wanted.bsses.iter().map(|(name, _)| name.as_str()));
        }
        for (name, text) in &wanted.bsses {
            if let Err(refusal) = add_bss(found, name, text, work).await {
                work.failed(refusal, [name.as_str()])?;
            }
        }
        for (name, join) in &wanted.meshes {
            let address = target.addresses.get(name).copied();
            if let Err(error) = self.add_mesh(found, name, join, address, work).await {
                let refusal = Refusal::new(vif_path(name), error.to_string());
                work.failed(refusal, [name.as_str()])?;
            }
        }
        self.attach(&found.wiphy.name, target, work).await?;
        if let Some(radio) = target.wifi.radio(&found.wiphy.name)
            && radio.enabled
            && let Err(refusal) = self.set_power(&found.wiphy, radio, work).await
        {
            work.failed(refusal, [])?;
        }
        Ok(())
    }

    /// Starts hostapd on a radio that has none.
    async fn start(
        &self,
        found: &mut Found,
        text: &str,
        target: &Target,
        work: &mut Work,
    ) -> Result<(), Refusal> {
        if found.running.is_some() {
            return Ok(());
        }
        let name = found.wiphy.name.clone();
        let anchor = NewInterface {
            wiphy: found.wiphy.index,
            name: wanted::anchor(&found.wiphy),
            kind: InterfaceKind::Station,
            mac: wanted::anchor_address(&found.wiphy),
        };
        let made = self.nl80211.create_interface(&anchor).await;
        let made = made.map_err(|error| Refusal::new(radio_path(&name), error.to_string()))?;
        if let Err(error) = found.hostapd.start(text).await {
            self.delete(&made)
                .await
                .map_err(|error| Refusal::new(radio_path(&name), error.to_string()))?;
            return Err(at_radio(&name, &error));
        }
        found.interfaces.push(made);
        found.running = Some(Running {
            radio: text.to_owned(),
            bsses: BTreeMap::new(),
        });
        if let Some(radio) = target.wifi.radio(&name) {
            let channel = format!("{} channel {}, {}", radio.band, radio.channel, radio.width);
            let action = format!("put radio {name} on {channel}");
            work.done(radio_path(&name), action, 0);
        }
        Ok(())
    }

    async fn add_mesh(
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

    /// Joins the interfaces of a radio to their bridges.
    async fn attach(&self, radio: &str, target: &Target, work: &mut Work) -> Result<(), Refusal> {
        if !target.wifi.radio(radio).is_some_and(|radio| radio.enabled) {
            return Ok(());
        }
        for vif in target.wifi.vifs_of(radio).filter(|vif| vif.enabled) {
            if work.faults.contains_key(&vif.name) {
                continue;
            }
            let path = vif_path(&vif.name);
            let attach = async {
                if self.links.attachment(&vif.name).await? == vif.attachment {
                    return Ok(false);
                }
                self.links.attach(&vif.name, &vif.attachment).await?;
                Ok::<_, AttachError>(true)
            };
            match attach.await {
                Ok(true) if !work.steps.iter().any(|step| step.path == path) => {
                    work.done(path, format!("update vif {}", vif.name), 0);
                }
                Ok(_) => {}
                Err(error) => {
                    let refusal = Refusal::new(format!("{path}/attachment"), error.to_string());
                    work.failed(refusal, [vif.name.as_str()])?;
                }
            }
        }
        Ok(())
    }

    /// Leaves nothing of interfaces that are not wanted any more on the wired side.
    async fn detach(&self, target: &Target) -> Result<(), Refusal> {
        let before = lock(&self.view).target.wifi.vifs.clone();
        for vif in before {
            if target.wifi.vif(&vif.name).is_none() {
                let detached = self.links.detach(&vif.name).await;
                detached.map_err(|error| Refusal::new(vif_path(&vif.name), error.to_string()))?;
            }
        }
        let removed = self.links.remove_unused_bridges().await;
        removed.map_err(|error| Refusal::new("/tranche-wifi:wifi", error.to_string()))
    }

    /// Sets the power, if one is wanted and another in force, or none is wanted any more.
    async fn set_power(
        &self,
        wiphy: &Wiphy,
        radio: &RadioConfig,
        work: &mut Work,
    ) -> Result<(), Refusal> {
        let path = radio_path(&radio.name);
        let failed =
            |error: NetlinkError| Refusal::new(format!("{path}/tx-power"), error.to_string());
        let interfaces = self.nl80211.interfaces().await.map_err(failed)?;
        let mut used = interfaces
            .iter()
            .filter(|one| one.wiphy == wiphy.index && one.channel.is_some())
            .filter_map(|one| one.tx_power_dbm);
        let was_set = lock(&self.view)
            .target
            .wifi
            .radio(&radio.name)
            .is_some_and(|before| before.tx_power_dbm.is_some());
        let power = match radio.tx_power_dbm {
            Some(power) if used.any(|used| used != power) => TxPower::Fixed(power),
            None if was_set => TxPower::Automatic,
            _ => return Ok(()),
        };
        let set = self.nl80211.set_tx_power(wiphy.index, power).await;
        set.map_err(failed)?;
        let action = format!("change the power of radio {}", radio.name);
        work.done(path.clone(), action, 0);
        Ok(())
    }

    /// Whether the kernel says that what is wanted is so.
    async fn read_back(&self, target: &Target, work: &mut Work) -> Result<(), Refusal> {
        let failed = |error: NetlinkError| Refusal::new("/tranche-wifi:wifi", error.to_string());
        let wiphys = self.nl80211.known_wiphys();
        let interfaces = self.nl80211.interfaces().await.map_err(failed)?;
        for radio in &target.wifi.radios {
            let path = radio_path(&radio.name);
            let Some(wiphy) = wiphys.iter().find(|wiphy| wiphy.name == radio.name) else {
                let message = format!("there is no radio {} in the hardware", radio.name);
                let vifs = target.wifi.vifs_of(&radio.name);
                let vifs = vifs.map(|vif| vif.name.as_str());
                work.failed(Refusal::new(path, message), vifs)?;
                continue;
            };
            let hostapd = wanted::hostapd(&self.settings, &radio.name);
            let status = hostapd.status().await;
            if status.is_ok_and(|status| status.state == "DFS") {
                continue;
            }
            for vif in target.wifi.vifs_of(&radio.name) {
                let is_wanted = vif.enabled && radio.enabled;
                let found = interfaces
                    .iter()
                    .find(|one| one.name == vif.name && one.wiphy == wiphy.index);
                let reason = match found {
                    Some(found) if is_wanted => differs(found, vif, radio),
                    None if is_wanted => Some("it is not there".to_owned()),
                    Some(_) => Some("it is still there".to_owned()),
                    None => None,
                };
                if let Some(reason) = reason
                    && !work.faults.contains_key(&vif.name)
                {
                    let message =
                        format!("vif {} did not come up as asked for: {reason}", vif.name);
                    let refusal = Refusal::new(vif_path(&vif.name), message);
                    work.failed(refusal, [vif.name.as_str()])?;
                }
            }
        }
        Ok(())
    }
}

/// Takes access points off a running hostapd that are not wanted, or whose interface somebody removed.
async fn remove_bsses(found: &mut Found, wanted: &Wanted, work: &mut Work) -> Result<(), Refusal> {
    let Some(running) = &found.running else {
        return Ok(());
    };
    let names: Vec<String> = running.bsses.keys().cloned().collect();
    for name in names {
        let is_wanted = wanted.bsses.iter().any(|(one, _)| *one == name);
        let is_there = found
            .interface(&name)
            .is_some_and(|one| one.kind == InterfaceKind::AccessPoint);
        if is_wanted && is_there {
            continue;
        }
        let removed = found.hostapd.remove(&name).await;
        removed.map_err(|error| Refusal::new(vif_path(&name), error.to_string()))?;
        if !is_wanted {
            let stations = found.stations_of(&name);
            work.done(vif_path(&name), format!("remove vif {name}"), stations);
        }
        if let Some(running) = &mut found.running {
            running.bsses.remove(&name);
        }
    }
    Ok(())
}

/// Adds an access point to a running hostapd, or changes it.
async fn add_bss(found: &Found, name: &str, text: &str, work: &mut Work) -> Result<(), Refusal> {
    let failed = |error: HostapdError| Refusal::new(vif_path(name), error.to_string());
    let running = found.running.as_ref();
    let Some(before) = running.and_then(|running| running.bsses.get(name)) else {
        found.hostapd.add(name, text).await.map_err(failed)?;
        let action = format!("create vif {name} on radio {}", found.wiphy.name);
        work.done(vif_path(name), action, 0);
        return Ok(());
    };
    let change = render::change(before, text);
    if change == Change::None {
        return Ok(());
    }
    let changed = found.hostapd.change(name, before, text).await;
    changed.map_err(failed)?;
    let (action, stations) = match change {
        Change::Restart => ("restart", found.stations_of(name)),
        Change::None | Change::Hot(_) => ("update", 0),
    };
    work.done(vif_path(name), format!("{action} vif {name}"), stations);
    Ok(())
}

/// Whether an interface is in a mesh on the channel that is wanted. The kernel does not tell in which.
fn is_joined(interface: &Interface, join: &MeshJoin) -> bool {
    interface.kind == InterfaceKind::MeshPoint
        && interface.channel.is_some_and(|channel| {
            (channel.primary_mhz(), channel.width())
                == (join.channel.primary_mhz(), join.channel.width())
        })
}

/// How an interface differs from what is wanted.
fn differs(found: &Interface, vif: &VifConfig, radio: &RadioConfig) -> Option<String> {
    let (kind, ssid) = match &vif.role {
        Role::AccessPoint(access_point) => (
            InterfaceKind::AccessPoint,
            Some(access_point.ssid.as_bytes()),
        ),
        // The kernel does not tell the identifier of a mesh.
        Role::MeshPoint(_) => (InterfaceKind::MeshPoint, found.ssid.as_deref()),
    };
    if found.kind != kind {
        return Some(format!("it is no {kind}"));
    }
    if found.ssid.as_deref() != ssid {
        return Some("it does not beacon with its SSID".to_owned());
    }
    match found.channel {
        None => Some("it is on no channel".to_owned()),
        Some(channel) if (channel.number(), channel.width()) != (radio.channel, radio.width) => {
            Some(format!(
                "it is on {channel} (networks that overlap can make hostapd do so)"
            ))
        }
        Some(_) => None,
    }
}

fn at_radio(radio: &str, error: &HostapdError) -> Refusal {
    Refusal::new(radio_path(radio), error.to_string())
}

fn remove_file(path: &std::path::Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
