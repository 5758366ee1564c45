//! Associations: which station is on which access point, and what happens when that changes.

use std::collections::VecDeque;

use super::config::SimStationConfig;
use super::csma::Contender;
use super::world::{Packet, STATIONS, Station, Vif, World};
use crate::backend::MacAddress;
use crate::backend::wifi::{AccessPoint, Role};

impl World {
    /// Lets every station of a node join the access point that it wants, if that lets it in.
    pub(super) fn associate(&mut self, node: usize) {
        let stations = self.nodes[node].sim.stations.clone();
        let radios = self.nodes[node].radios.clone();
        let mut joined = Vec::new();
        for station in &stations {
            let now = self.association(&radios, station.mac);
            let wanted = self.access_point_for(&radios, station, now);
            if let Some((radio, slot, vif)) = now {
                if wanted == Some((radio, vif)) {
                    self.update_station(radio, slot, station);
                    joined.push(station.mac);
                    continue;
                }
                self.drop_station(radio, slot);
            }
            if let Some((radio, vif)) = wanted {
                self.join(radio, vif, station.clone());
                joined.push(station.mac);
            }
        }
        for radio in radios {
            for slot in 0..self.radios[radio].stations.len() {
                let station = self.radios[radio].station(slot);
                if station.is_some_and(|station| !joined.contains(&station.config.mac)) {
                    self.drop_station(radio, slot);
                }
            }
        }
    }

    fn association(&self, radios: &[usize], mac: MacAddress) -> Option<(usize, usize, usize)> {
        radios.iter().find_map(|radio| {
            self.radios[*radio]
                .live_stations()
                .find(|(_, station)| station.config.mac == mac)
                .map(|(slot, station)| (*radio, slot, station.vif))
        })
    }

    fn access_point_for(
        &self,
        radios: &[usize],
        station: &SimStationConfig,
        now: Option<(usize, usize, usize)>,
    ) -> Option<(usize, usize)> {
        if !station.enabled {
            return None;
        }
        let admits = |radio: usize, slot: usize, vif: &Vif| {
            let Role::AccessPoint(ap) = &vif.config.role else {
                return false;
            };
            let is_member = now.is_some_and(|(at, _, on)| (at, on) == (radio, slot));
            let others = self.radios[radio].station_count(slot) - usize::from(is_member);
            vif.is_up
                && lets_in(ap, station)
                && others < usize::from(ap.max_stations.unwrap_or(2007))
        };
        let near = radios.iter().copied().filter(|radio| {
            station
                .radio
                .as_ref()
                .is_none_or(|name| *name == self.radios[*radio].name)
        });
        let candidates = near.flat_map(|radio| {
            self.radios[radio]
                .live_vifs()
                .map(move |(slot, vif)| (radio, slot, vif))
        });
        let mut open = candidates.filter(|(radio, slot, vif)| admits(*radio, *slot, vif));
        // A station stays where it is as long as it may.
        let first = open.next()?;
        let is_here = |radio, slot| now.is_some_and(|(at, _, on)| (at, on) == (radio, slot));
        let here = std::iter::once(first)
            .chain(open)
            .find(|(radio, slot, _)| is_here(*radio, *slot));
        let (radio, slot, _) = here.unwrap_or(first);
        Some((radio, slot))
    }

    fn join(&mut self, radio: usize, vif: usize, config: SimStationConfig) {
        let station = Station {
            uid: self.new_uid(),
            vif,
            config,
            since_ns: self.now_ns,
            down: VecDeque::new(),
            up: VecDeque::new(),
            load_uid: 0,
            delivered_bytes: 0,
            received_bytes: 0,
        };
        let place = &mut self.radios[radio];
        let slot = place
            .stations
            .iter()
            .position(Option::is_none)
            .unwrap_or_else(|| {
                place.stations.push(None);
                place.contenders.push(Contender::default());
                place.stations.len() - 1
            });
        place.stations[slot] = Some(station);
        self.start_sources(radio, slot);
    }

    fn update_station(&mut self, radio: usize, slot: usize, config: &SimStationConfig) {
        let Some(station) = self.radios[radio].station_mut(slot) else {
            return;
        };
        if station.config == *config {
            return;
        }
        if station.config.saturated_up && !config.saturated_up {
            // What a saturated station has queued was made up when it sent; it has nothing of its own.
            station.up.retain(|packet: &Packet| packet.tries > 0);
        }
        station.config = config.clone();
        self.start_sources(radio, slot);
    }

    pub(super) fn drop_stations(&mut self, radio: usize, of: impl Fn(usize) -> bool) {
        for slot in 0..self.radios[radio].stations.len() {
            if self.radios[radio]
                .station(slot)
                .is_some_and(|station| of(station.vif))
            {
                self.drop_station(radio, slot);
            }
        }
    }

    fn drop_station(&mut self, radio: usize, slot: usize) {
        let place = &mut self.radios[radio];
        let Some(station) = place.stations.get_mut(slot).and_then(Option::take) else {
            return;
        };
        place.service.retain(|other| *other != slot);
        place.contenders[STATIONS + slot] = Contender::default();
        let law_slot = place.vif(station.vif).and_then(|vif| vif.law_slot);
        for packet in station.down.iter().filter(|packet| packet.estimated_ns > 0) {
            if let Some(law_slot) = law_slot {
                place
                    .law
                    .cancel(law_slot, packet.departure_ns, packet.estimated_ns);
            }
        }
    }
}

fn lets_in(ap: &AccessPoint, station: &SimStationConfig) -> bool {
    let knows = match (&ap.security.passphrase, &station.passphrase) {
        (Some(right), Some(tried)) if ap.security.mode.is_personal() => right == tried,
        _ => true,
    };
    ap.ssid == station.ssid && knows
}
