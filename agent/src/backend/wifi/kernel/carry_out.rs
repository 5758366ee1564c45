//! From what is found on the machine to what is wanted.

use std::collections::BTreeMap;

use super::super::bridge::AttachError;
use super::super::netlink::NetlinkError;
use super::super::nl80211::{Interface, TxPower, Wiphy};
use super::super::{Channel, RadioConfig};
use super::check::Machine;
use super::engine::{Engine, Mode};
use super::found::Found;
use super::wanted::{self, Wanted};
use super::{Target, check, lock};
use crate::backend::wifi::diff::{cost, radio_path, step, vif_path};
use crate::backend::{Refusal, Step};

/// What was done so far, and what failed.
pub(super) struct Work {
    pub(super) mode: Mode,
    pub(super) steps: Vec<Step>,
    pub(super) faults: BTreeMap<String, String>,
    pub(super) first: Option<Refusal>,
}

impl Work {
    pub(super) fn done(&mut self, path: String, action: String, stations_dropped: u32) {
        self.steps.push(step(path, action, cost(stations_dropped)));
    }

    /// Notes why `vif` (or all of them) is not as wanted; ends everything where it is all or nothing.
    pub(super) fn failed<'a>(
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
        if mode == Mode::WhatCan {
            // What cannot be must not keep the rest from running.
            let machine = Machine {
                wiphys: self.nl80211.known_wiphys(),
                country: lock(&self.view).country.clone(),
                settings: &self.settings,
            };
            for fault in check::faults(&machine, &target.wifi) {
                work.failed(fault.refusal, fault.vifs)?;
            }
        }
        if target.addresses.is_empty() {
            target.addresses = wanted::addresses(&target.wifi, &self.known_addresses(&all_found));
        }
        let mut all_wanted = Vec::new();
        for found in &mut all_found {
            let wanted = match self.wanted(found, &target, &work.faults) {
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

    /// What is wanted of a radio, if the regulatory domain that is in force now allows it.
    fn wanted(
        &self,
        found: &Found,
        target: &Target,
        faults: &BTreeMap<String, String>,
    ) -> Result<Wanted, Refusal> {
        if let Some(radio) = target.wifi.radio(&found.wiphy.name) {
            let channel =
                Channel::new(radio.band, radio.channel, radio.width).map_err(|reason| {
                    Refusal::new(format!("{}/channel", radio_path(&radio.name)), reason)
                })?;
            check::allowed(&found.wiphy, radio, &channel)?;
        }
        Wanted::new(&self.settings, &found.wiphy, target, faults)
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
        let vifs = || target.wifi.vifs_of(&radio).map(|vif| vif.name.as_str());
        let next = next_of(found, wanted, target);
        if next == Next::Stop {
            if let Err(error) = self.stop(found, work).await {
                work.failed(error, vifs())?;
            }
        } else if let Err(error) = self.remove_bsses(found, wanted, work).await {
            work.failed(error, [])?;
        }
        self.remove_meshes(found, wanted, work).await?;
        if let (Next::Switch, Some(text)) = (next, &wanted.radio)
            && let Err(refusal) = self.switch_channel(found, text, target, work).await
        {
            work.failed(refusal, vifs())?;
            // Where what can be is done, it is done the hard way.
            return self.stop(found, work).await;
        }
        Ok(())
    }

    /// Deletes an interface; one that is gone already is fine.
    pub(super) async fn delete(&self, interface: &Interface) -> Result<(), NetlinkError> {
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
            if let Err(refusal) = self.add_bss(found, name, text, work).await {
                work.failed(refusal, [name.as_str()])?;
            }
        }
        for mesh in &wanted.meshes {
            let address = target.addresses.get(&mesh.name).copied();
            if let Err(refusal) = self.add_mesh(found, mesh, address, work).await {
                work.failed(refusal, [mesh.name.as_str()])?;
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
}

/// What becomes of a radio's hostapd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// It runs what is wanted of the radio.
    Stay,
    /// It goes to another channel, with the stations.
    Switch,
    /// It ends, and may be started anew.
    Stop,
}

fn next_of(found: &Found, wanted: &Wanted, target: &Target) -> Next {
    let (Some(running), Some(text)) = (&found.running, &wanted.radio) else {
        return Next::Stop;
    };
    if found.interface(&wanted::anchor(&found.wiphy)).is_none() {
        return Next::Stop;
    }
    if running.radio == *text {
        return Next::Stay;
    }
    let radio = target.wifi.radio(&found.wiphy.name);
    let way =
        radio.and_then(|radio| wanted::channel_switch(&found.wiphy, &running.radio, text, radio));
    match way {
        Some(_) if !found.is_starting => Next::Switch,
        _ => Next::Stop,
    }
}
