//! Traffic: where packets come from, how the airtime scheduler paces them, and the queues they wait in.
//!
//! ```text
//!   source -> scheduler (airtime.h: departure, or drop) -> held -> driver queue of the station -> contention (csma)
//! ```
//! Without a scheduler packets go straight to the driver. A saturated source offers as much as is taken and is not counted
//! as dropping what it keeps; any other source loses what is refused.

use super::world::{ACCESS_POINT, EXTERNAL, Event, Held, Packet, STATIONS, World};
use crate::backend::airtime::law::{self, Verdict};

/// Shortest time between two packets of a source: a load beyond all rates must not stop the clock of the whole world.
const LEAST_GAP_NS: u64 = 1_000;

/// Packets that a saturated source keeps in the driver where nothing paces it.
const UNPACED_BACKLOG: usize = 128;

impl Packet {
    /// A packet that no scheduler has seen.
    pub(super) fn plain(bytes: u32, now_ns: u64) -> Self {
        Self {
            bytes,
            tries: 0,
            estimated_ns: 0,
            departure_ns: now_ns,
            spent_ns: 0,
        }
    }
}

impl World {
    /// Starts the sources of a station anew, after it associated or its load changed.
    pub(super) fn start_sources(&mut self, radio: usize, slot: usize) {
        let load_uid = self.new_uid();
        let Some(station) = self.radios[radio].station_mut(slot) else {
            return;
        };
        station.load_uid = load_uid;
        let (config, vif) = (station.config.clone(), station.vif);
        if config.saturated_down {
            self.top_up(radio, slot);
            self.refill(radio, vif);
        } else if config.load_down_kbps > 0 {
            self.schedule_arrival(radio, slot, load_uid, false);
        }
        if config.saturated_up {
            self.contend(radio, STATIONS + slot);
        } else if config.load_up_kbps > 0 {
            self.schedule_arrival(radio, slot, load_uid, true);
        }
    }

    fn schedule_arrival(&mut self, radio: usize, slot: usize, load_uid: u64, up: bool) {
        let place = &mut self.radios[radio];
        let Some(Some(station)) = place.stations.get(slot) else {
            return;
        };
        let load_kbps = if up {
            station.config.load_up_kbps
        } else {
            station.config.load_down_kbps
        };
        if load_kbps == 0 {
            return;
        }
        let mean_ns = u64::from(station.config.packet_bytes) * 8_000_000 / load_kbps;
        let at_ns = self.now_ns + place.rng.exponential(mean_ns).max(LEAST_GAP_NS);
        self.schedule(
            at_ns,
            Event::Arrival {
                radio,
                station: slot,
                load_uid,
                up,
            },
        );
    }

    pub(super) fn packet_arrived(&mut self, radio: usize, slot: usize, load_uid: u64, up: bool) {
        let (now, limit) = (self.now_ns, self.params.queue_packets);
        let Some(station) = self.radios[radio].station_mut(slot) else {
            return;
        };
        if station.load_uid != load_uid {
            return;
        }
        let bytes = u32::from(station.config.packet_bytes);
        if !up {
            self.offer(radio, slot, bytes);
        } else if station.up.len() < limit {
            station.up.push_back(Packet::plain(bytes, now));
            self.contend(radio, STATIONS + slot);
        }
        self.schedule_arrival(radio, slot, load_uid, up);
    }

    /// Starts or stops the network that is not ours near a radio.
    pub(super) fn start_external(&mut self, radio: usize) {
        let uid = self.new_uid();
        let place = &mut self.radios[radio];
        place.external_uid = uid;
        place.external_waiting = 0;
        if place.is_up && place.sim.external_load.hundredths() > 0 {
            self.schedule_external(radio, uid);
        }
    }

    fn schedule_external(&mut self, radio: usize, uid: u64) {
        let place = &mut self.radios[radio];
        let load = u64::from(place.sim.external_load.hundredths()).max(1);
        let at_ns = self.now_ns
            + place
                .rng
                .exponential(self.params.external_burst_ns * 10_000 / load);
        self.schedule(at_ns, Event::External { radio, uid });
    }

    pub(super) fn external_arrived(&mut self, radio: usize, uid: u64) {
        let place = &mut self.radios[radio];
        if place.external_uid != uid {
            return;
        }
        // What it could not send for a long time it does not want any more.
        place.external_waiting = (place.external_waiting + 1).min(64);
        self.contend(radio, EXTERNAL);
        self.schedule_external(radio, uid);
    }

    /// A packet for a station wants to leave. Whether it was taken.
    fn offer(&mut self, radio: usize, slot: usize, bytes: u32) -> bool {
        let (now, params) = (self.now_ns, self.params);
        let place = &mut self.radios[radio];
        let Some(Some(station)) = place.stations.get(slot) else {
            return false;
        };
        let (vif_slot, uid) = (station.vif, station.uid);
        let Some(Some(vif)) = place.vifs.get_mut(vif_slot) else {
            return false;
        };
        let mut packet = Packet::plain(bytes, now);
        if let Some(law_slot) = vif.law_slot {
            let rate_kbps = station.config.rate_down_kbps;
            let on_air = bytes + params.header_bytes;
            packet.estimated_ns =
                law::estimate_ns(params.estimated_overhead_ns, 1, on_air, rate_kbps);
            let Verdict::Send { departure_ns } =
                place.law.admit(law_slot, now, packet.estimated_ns)
            else {
                return false;
            };
            let last = vif.held.back().map_or(0, |held| held.packet.departure_ns);
            packet.departure_ns = departure_ns.max(last);
            vif.delays.add_ns(packet.departure_ns - now);
        }
        if packet.departure_ns <= now && vif.held.is_empty() {
            self.hand_to_driver(radio, slot, packet);
            return true;
        }
        let is_first = vif.held.is_empty();
        let vif_uid = vif.uid;
        vif.held.push_back(Held {
            station: slot,
            station_uid: uid,
            packet,
        });
        if is_first {
            let event = Event::Release {
                radio,
                vif: vif_slot,
                uid: vif_uid,
            };
            self.schedule(packet.departure_ns, event);
        }
        true
    }

    /// Lets go all packets of an interface whose departure has come.
    pub(super) fn release(&mut self, radio: usize, vif_slot: usize, uid: u64) {
        let now = self.now_ns;
        while let Some(vif) = self.radios[radio]
            .vif_mut(vif_slot)
            .filter(|vif| vif.uid == uid)
        {
            let Some(first) = vif.held.front() else {
                return;
            };
            let departure_ns = first.packet.departure_ns;
            if departure_ns > now {
                self.schedule(
                    departure_ns,
                    Event::Release {
                        radio,
                        vif: vif_slot,
                        uid,
                    },
                );
                return;
            }
            let law_slot = vif.law_slot;
            let Some(held) = vif.held.pop_front() else {
                return;
            };
            let place = &mut self.radios[radio];
            if place
                .station(held.station)
                .is_some_and(|one| one.uid == held.station_uid)
            {
                self.hand_to_driver(radio, held.station, held.packet);
            } else if let Some(law_slot) = law_slot {
                place
                    .law
                    .cancel(law_slot, held.packet.departure_ns, held.packet.estimated_ns);
            }
        }
    }

    fn hand_to_driver(&mut self, radio: usize, slot: usize, packet: Packet) {
        let limit = self.params.queue_packets;
        let place = &mut self.radios[radio];
        let Some(Some(station)) = place.stations.get_mut(slot) else {
            return;
        };
        if station.down.len() >= limit {
            if let Some(Some(vif)) = place.vifs.get_mut(station.vif) {
                vif.tally.lost_packets += 1;
                vif.tally.overflowed_packets += 1;
                if let Some(law_slot) = vif.law_slot {
                    place
                        .law
                        .cancel(law_slot, packet.departure_ns, packet.estimated_ns);
                }
            }
            return;
        }
        station.down.push_back(packet);
        if station.down.len() == 1 {
            place.service.push_back(slot);
        }
        self.contend(radio, ACCESS_POINT);
    }

    /// Keeps the driver's queue of a saturated station filled where nothing paces it.
    pub(super) fn top_up(&mut self, radio: usize, slot: usize) {
        let place = &self.radios[radio];
        let Some(station) = place.station(slot) else {
            return;
        };
        let paced = place
            .vif(station.vif)
            .is_none_or(|vif| vif.law_slot.is_some());
        if paced || !station.config.saturated_down {
            return;
        }
        let bytes = u32::from(station.config.packet_bytes);
        for _ in station.down.len()..UNPACED_BACKLOG {
            self.hand_to_driver(radio, slot, Packet::plain(bytes, self.now_ns));
        }
    }

    /// Lets the saturated sources of an interface, each in turn, hold packets for the later half of the longest delay.
    pub(super) fn refill(&mut self, radio: usize, vif_slot: usize) {
        let (now, limit) = (self.now_ns, self.params.queue_packets / 2);
        let horizon_ns = u64::from(self.radios[radio].scheduler.max_delay_ms) * 1_000_000;
        loop {
            let place = &mut self.radios[radio];
            let Some(Some(vif)) = place.vifs.get_mut(vif_slot) else {
                return;
            };
            let Some(law_slot) = vif.law_slot else { return };
            let uid = vif.uid;
            let held_ns = place.law.held_ns(law_slot, now);
            let turn = vif.refill_turn;
            let is_ready = |slot: usize| {
                place.stations[slot].as_ref().is_some_and(|station| {
                    station.vif == vif_slot
                        && station.config.saturated_down
                        && station.down.len() < limit
                })
            };
            let count = place.stations.len();
            let next = (0..count)
                .map(|step| (turn + step) % count)
                .find(|slot| is_ready(*slot));
            let taken = match next {
                Some(slot) if held_ns < horizon_ns * 3 / 4 => {
                    let bytes = place.station(slot).map_or(0, |one| one.config.packet_bytes);
                    if let Some(vif) = place.vif_mut(vif_slot) {
                        vif.refill_turn = slot + 1;
                    }
                    self.offer(radio, slot, u32::from(bytes))
                }
                _ => false,
            };
            if taken {
                continue;
            }
            let any = self.radios[radio]
                .live_stations()
                .any(|(_, one)| one.vif == vif_slot && one.config.saturated_down);
            let Some(vif) = self.radios[radio].vif_mut(vif_slot) else {
                return;
            };
            if any && !vif.refill_is_due {
                vif.refill_is_due = true;
                let pause_ns = held_ns.saturating_sub(horizon_ns / 2).max(200_000);
                self.schedule(
                    now + pause_ns,
                    Event::Refill {
                        radio,
                        vif: vif_slot,
                        uid,
                    },
                );
            }
            return;
        }
    }
}
