//! Puts the configuration into the world: radios, interfaces, and what is owed (associations: `stations`; who hears whom:
//! `topology`).
//!
//! Every function goes from whatever there is to what is wanted and leaves alone what stays the same, so that a change of
//! one interface does not disturb its neighbours' queues, stations or counters.

use std::collections::VecDeque;
use std::sync::Arc;

use super::config::{SimConfig, SimRadioConfig};
use super::csma::{Air, Contender};
use super::observe::PeriodAirtime;
use super::rng::{Rng, fingerprint};
use super::world::{Event, Node, Radio, STATIONS, Tally, Vif, World};
use crate::backend::airtime::histogram::Histogram;
use crate::backend::airtime::law::{self, RadioLaw, Settings};
use crate::backend::airtime::table::{AirtimeTable, Owed};
use crate::backend::wifi::{RadioConfig, Role, SchedulerConfig, VifConfig, WifiConfig};
use crate::backend::{MacAddress, Ratio};

impl World {
    /// The node of this name; a machine without radios if it was not known.
    pub(super) fn node(&mut self, name: &str) -> usize {
        if let Some(index) = self.node_index.get(name) {
            return *index;
        }
        let index = self.nodes.len();
        self.nodes.push(Node {
            name: name.to_owned(),
            wifi: WifiConfig::default(),
            sim: SimConfig::default(),
            radios: Vec::new(),
            airtime: AirtimeTable::default(),
            reports: 0,
            period_start_ns: self.now_ns,
        });
        self.node_index.insert(name.to_owned(), index);
        index
    }

    /// Carries out a node's Wi-Fi configuration in the world that it lives in.
    pub(super) fn configure(&mut self, node: usize, wifi: &WifiConfig, sim: &SimConfig) {
        let reseed = self.nodes[node].sim.seed != sim.seed;
        for config in &sim.radios {
            self.place_radio(node, config, sim.seed, reseed);
        }
        self.nodes[node].wifi = wifi.clone();
        self.nodes[node].sim = sim.clone();
        for radio in self.nodes[node].radios.clone() {
            let name = self.radios[radio].name.clone();
            let hardware = sim.radio(&name).cloned();
            let config = wifi.radio(&name).filter(|_| hardware.is_some()).cloned();
            self.set_up_radio(radio, hardware, config);
            let wanted: Vec<VifConfig> = match &self.radios[radio].config {
                Some(_) => wifi.vifs_of(&name).cloned().collect(),
                None => Vec::new(),
            };
            self.set_up_vifs(radio, &wanted);
            self.share_out(radio);
        }
        self.associate(node);
    }

    fn place_radio(&mut self, node: usize, config: &SimRadioConfig, seed: u64, reseed: bool) {
        let stream = || {
            Rng::seeded(
                seed,
                &[self.nodes[node].name.as_str(), config.name.as_str()],
            )
        };
        let known = self.nodes[node]
            .radios
            .iter()
            .find(|radio| self.radios[**radio].name == config.name);
        if let Some(&radio) = known {
            if reseed {
                self.radios[radio].rng = stream();
            }
            return;
        }
        let radio = Radio {
            node,
            name: config.name.clone(),
            sim: config.clone(),
            config: None,
            is_up: false,
            tuning: 0,
            heard_by: Arc::from([self.radios.len()]),
            hears: Vec::new(),
            spot: None,
            vifs: Vec::new(),
            stations: Vec::new(),
            contenders: vec![Contender::default(); STATIONS],
            air: Air::default(),
            rng: stream(),
            law: RadioLaw::new(self.now_ns, Settings::default()),
            scheduler: SchedulerConfig::default(),
            service: VecDeque::new(),
            external_waiting: 0,
            external_uid: 0,
            period: (0, 0),
            last_busy: Ratio::ZERO,
            last_external: Ratio::ZERO,
        };
        self.nodes[node].radios.push(self.radios.len());
        self.radios.push(radio);
    }

    fn set_up_radio(
        &mut self,
        radio: usize,
        hardware: Option<SimRadioConfig>,
        config: Option<RadioConfig>,
    ) {
        let place = &mut self.radios[radio];
        let is_up = config.as_ref().is_some_and(|config| config.enabled);
        let moved = hardware.as_ref().is_some_and(|new| {
            (new.x, new.y, new.range) != (place.sim.x, place.sim.y, place.sim.range)
        });
        let tuned = |config: &Option<RadioConfig>| {
            config
                .as_ref()
                .map(|config| (config.band, config.channel, config.width))
        };
        let retuned = is_up != place.is_up || tuned(&config) != tuned(&place.config);
        let repowered = config.as_ref().and_then(|config| config.tx_power_dbm)
            != place.config.as_ref().and_then(|config| config.tx_power_dbm);
        let external = hardware.as_ref().map(|new| new.external_load);
        let restart_external =
            retuned || external.is_some_and(|load| load != place.sim.external_load);
        if let Some(hardware) = hardware {
            place.sim = hardware;
        }
        place.config = config;
        place.is_up = is_up;
        if moved || retuned || repowered {
            self.moved_radios.insert(radio);
        }
        if retuned {
            self.drop_stations(radio, |_| true);
            let tuning = self.new_uid();
            let now = self.now_ns;
            let place = &mut self.radios[radio];
            place.tuning = tuning;
            place.contenders.fill(Contender::default());
            place.law.reset(now);
        }
        if restart_external {
            self.start_external(radio);
        }
    }

    fn set_up_vifs(&mut self, radio: usize, wanted: &[VifConfig]) {
        for slot in 0..self.radios[radio].vifs.len() {
            let Some(vif) = self.radios[radio].vif(slot) else {
                continue;
            };
            let stays = wanted.iter().find(|config| config.name == vif.config.name);
            let restart = stays.is_none_or(|config| restarts(&vif.config, config));
            if restart {
                self.drop_stations(radio, |vif| vif == slot);
                self.drop_held(radio, slot);
            }
            if stays.is_none() {
                let place = &mut self.radios[radio];
                place.vifs[slot] = None;
                place.law.set_vif(slot, 0, Ratio::FULL);
            }
        }
        let node = self.nodes[self.radios[radio].node].name.clone();
        for config in wanted {
            let is_up = config.enabled && self.radios[radio].is_up;
            let known = self.radios[radio]
                .vifs
                .iter_mut()
                .flatten()
                .find(|vif| vif.config.name == config.name);
            if let Some(vif) = known {
                vif.config = config.clone();
                vif.is_up = is_up;
                continue;
            }
            let vif = Vif {
                uid: self.new_uid(),
                config: config.clone(),
                bssid: bssid(&node, &config.name),
                is_up,
                law_slot: None,
                held: VecDeque::new(),
                refill_is_due: false,
                refill_turn: 0,
                tally: Tally::default(),
                at_period_start: Tally::default(),
                delays: Histogram::default(),
                last: PeriodAirtime::default(),
            };
            let vifs = &mut self.radios[radio].vifs;
            match vifs.iter().position(Option::is_none) {
                Some(slot) => vifs[slot] = Some(vif),
                None => vifs.push(Some(vif)),
            }
        }
    }

    /// Hands the ratios and settings in force to the scheduler of a radio.
    pub(super) fn share_out(&mut self, radio: usize) {
        let now = self.now_ns;
        let place = &mut self.radios[radio];
        let table = &self.nodes[place.node].airtime;
        let scheduler = table
            .schedulers
            .get(&place.name)
            .copied()
            .unwrap_or_default();
        place.scheduler = scheduler;
        place.law.configure(
            now,
            Settings {
                interval: std::time::Duration::from_millis(scheduler.interval_ms.into()),
                max_delay: std::time::Duration::from_millis(scheduler.max_delay_ms.into()),
                ..Settings::default()
            },
        );
        let owed_to = |vif: &Vif| {
            table
                .vifs
                .get(&vif.config.name)
                .copied()
                .unwrap_or_default()
        };
        let scheduled: Vec<(usize, Owed)> = place
            .live_vifs()
            .filter(|(_, vif)| vif.is_up && scheduler.enabled)
            .map(|(slot, vif)| (slot, owed_to(vif)))
            .collect();
        let ratios: Vec<Ratio> = scheduled.iter().map(|(_, owed)| owed.min_ratio()).collect();
        let weights = law::weights(&ratios);
        // The slot in the scheduler is the slot on the radio: both are reused only when the interface is gone.
        for slot in 0..law::MAX_VIFS {
            let wanted = scheduled
                .iter()
                .zip(&weights)
                .find(|((other, _), _)| *other == slot);
            match wanted {
                Some(((_, owed), weight)) => place.law.set_vif(slot, *weight, owed.max_ratio()),
                None => place.law.set_vif(slot, 0, Ratio::FULL),
            }
            if let Some(Some(vif)) = place.vifs.get_mut(slot) {
                vif.law_slot = wanted.map(|_| slot);
            }
        }
        place.law.refresh(now);
        let stations: Vec<usize> = place.live_stations().map(|(slot, _)| slot).collect();
        let vifs: Vec<usize> = scheduled.iter().map(|(slot, _)| *slot).collect();
        for slot in stations {
            self.top_up(radio, slot);
        }
        for vif in vifs {
            self.refill(radio, vif);
        }
    }

    /// Replaces what a node's airtime domain wants.
    pub(super) fn set_airtime(&mut self, node: usize, table: AirtimeTable) -> AirtimeTable {
        let former = std::mem::replace(&mut self.nodes[node].airtime, table);
        for radio in self.nodes[node].radios.clone() {
            self.share_out(radio);
        }
        former
    }

    /// Plans the end of corrected ceilings.
    pub(super) fn schedule_lapse(&mut self, node: usize, at_ns: u64) {
        self.schedule(at_ns, Event::Lapse { node });
    }

    pub(super) fn lapse_ceilings(&mut self, node: usize) {
        let now = self.now_ns;
        let mut any = false;
        for owed in self.nodes[node].airtime.vifs.values_mut() {
            if owed.corrected_max.is_some_and(|(_, until)| until <= now) {
                owed.corrected_max = None;
                any = true;
            }
        }
        if any {
            for radio in self.nodes[node].radios.clone() {
                self.share_out(radio);
            }
        }
    }

    fn drop_held(&mut self, radio: usize, slot: usize) {
        let place = &mut self.radios[radio];
        let Some(Some(vif)) = place.vifs.get_mut(slot) else {
            return;
        };
        for held in vif.held.drain(..) {
            if let Some(law_slot) = vif.law_slot {
                place
                    .law
                    .cancel(law_slot, held.packet.departure_ns, held.packet.estimated_ns);
            }
        }
    }
}

/// Whether going from one configuration to another takes the interface down, and its stations with it.
pub(crate) fn restarts(old: &VifConfig, new: &VifConfig) -> bool {
    let link = |vif: &VifConfig| match &vif.role {
        Role::AccessPoint(ap) => Some((ap.ssid.clone(), ap.hidden, ap.security.clone())),
        Role::MeshPoint(_) => None,
    };
    old.radio != new.radio || old.enabled != new.enabled || link(old) != link(new)
}

/// The locally administered address of an interface: the same for the same names, always.
fn bssid(node: &str, vif: &str) -> MacAddress {
    let hash = fingerprint(node).rotate_left(23) ^ fingerprint(vif);
    let [a, b, c, d, e, ..] = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    MacAddress([0x02, a, b, c, d, e])
}
