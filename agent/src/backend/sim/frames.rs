//! What goes on the air and what becomes of it: aggregates from the queues, losses, retries, and the books.

use std::collections::VecDeque;
use std::sync::Arc;

use super::csma::Transmission;
use super::params::MediumParams;
use super::world::{ACCESS_POINT, EXTERNAL, Packet, STATIONS, World};
use crate::backend::airtime::law::Completion;

impl World {
    pub(super) fn has_more(&self, radio: usize, contender: usize) -> bool {
        let place = &self.radios[radio];
        match contender {
            ACCESS_POINT => !place.service.is_empty(),
            EXTERNAL => place.external_waiting > 0,
            _ => place
                .station(contender - STATIONS)
                .is_some_and(|station| station.config.saturated_up || !station.up.is_empty()),
        }
    }

    /// What a contender sends now: an aggregate for one station, an aggregate of one station, or noise.
    pub(super) fn compose(&mut self, radio: usize, contender: usize) -> Option<Transmission> {
        let params = self.params;
        let (station_slot, duration_ns, frames) = match contender {
            EXTERNAL => {
                let place = &mut self.radios[radio];
                place.external_waiting = place.external_waiting.checked_sub(1)?;
                (0, params.external_burst_ns, Vec::new())
            }
            ACCESS_POINT => {
                let place = &mut self.radios[radio];
                let slot = place.service.pop_front()?;
                let station = place.stations.get_mut(slot)?.as_mut()?;
                let rate_kbps = station.config.rate_down_kbps;
                let frames = take_aggregate(&mut station.down, rate_kbps, &params);
                if !station.down.is_empty() {
                    place.service.push_back(slot);
                }
                self.top_up(radio, slot);
                (slot, aggregate_ns(&frames, rate_kbps, &params), frames)
            }
            _ => {
                let slot = contender - STATIONS;
                let station = self.radios[radio].stations.get_mut(slot)?.as_mut()?;
                let rate_kbps = station.config.rate_up_kbps;
                if station.config.saturated_up {
                    let bytes = u32::from(station.config.packet_bytes);
                    while station.up.len() < params.max_aggregate {
                        station.up.push_back(Packet::plain(bytes, self.now_ns));
                    }
                }
                let frames = take_aggregate(&mut station.up, rate_kbps, &params);
                (slot, aggregate_ns(&frames, rate_kbps, &params), frames)
            }
        };
        if contender != EXTERNAL && frames.is_empty() {
            return None;
        }
        let place = &self.radios[radio];
        Some(Transmission {
            radio,
            tuning: place.tuning,
            contender,
            station_uid: match contender {
                EXTERNAL => 0,
                _ => place.station(station_slot).map_or(0, |station| station.uid),
            },
            station: station_slot,
            frames,
            duration_ns,
            collided: false,
            listeners: Arc::clone(&place.heard_by),
        })
    }

    /// Books a transmission that ended. Whether anything of it was acknowledged.
    pub(super) fn settle(&mut self, done: Transmission) -> bool {
        let place = &mut self.radios[done.radio];
        if done.contender == EXTERNAL {
            place.air.external_ns += done.duration_ns;
            return true;
        }
        let same = place
            .station(done.station)
            .is_some_and(|one| one.uid == done.station_uid);
        if !same {
            return true;
        }
        if done.contender == ACCESS_POINT {
            self.settle_downlink(done)
        } else {
            self.settle_uplink(done)
        }
    }

    fn settle_downlink(&mut self, mut done: Transmission) -> bool {
        let (now, params) = (self.now_ns, self.params);
        let place = &mut self.radios[done.radio];
        let Some(Some(station)) = place.stations.get_mut(done.station) else {
            return true;
        };
        let Some(Some(vif)) = place.vifs.get_mut(station.vif) else {
            return true;
        };
        vif.tally.sent_ns += done.duration_ns;
        let loss = station.config.loss_down.hundredths();
        let count = done.frames.len() as u64;
        let each_ns = done.duration_ns / count;
        let was_empty = station.down.is_empty();
        let mut answered = false;
        // Backwards, so that what is to be sent again keeps its order at the head of the queue.
        for (index, mut frame) in done.frames.drain(..).enumerate().rev() {
            frame.spent_ns += if index == 0 {
                done.duration_ns - each_ns * (count - 1)
            } else {
                each_ns
            };
            frame.tries += 1;
            let arrived = !done.collided && !place.rng.chance(loss, 10_000);
            answered |= arrived;
            if arrived {
                station.delivered_bytes += u64::from(frame.bytes);
                vif.tally.delivered_bytes += u64::from(frame.bytes);
            } else if frame.tries < params.max_tries {
                station.down.push_front(frame);
                continue;
            } else {
                vif.tally.lost_packets += 1;
            }
            if let Some(slot) = vif.law_slot
                && frame.estimated_ns > 0
                && !place.rng.chance(params.lost_completions_ppm, 1_000_000)
            {
                let completion = Completion {
                    departure_ns: frame.departure_ns,
                    estimated_ns: frame.estimated_ns,
                    measured_ns: frame.spent_ns,
                };
                place.law.complete(slot, now, completion);
            }
        }
        if was_empty && !station.down.is_empty() {
            place.service.push_back(done.station);
        }
        answered
    }

    fn settle_uplink(&mut self, mut done: Transmission) -> bool {
        let max_tries = self.params.max_tries;
        let place = &mut self.radios[done.radio];
        let Some(Some(station)) = place.stations.get_mut(done.station) else {
            return true;
        };
        let Some(Some(vif)) = place.vifs.get_mut(station.vif) else {
            return true;
        };
        let loss = station.config.loss_up.hundredths();
        let mut answered = false;
        for mut frame in done.frames.drain(..).rev() {
            frame.tries += 1;
            if !done.collided && !place.rng.chance(loss, 10_000) {
                answered = true;
                station.received_bytes += u64::from(frame.bytes);
                vif.tally.received_bytes += u64::from(frame.bytes);
            } else if frame.tries < max_tries {
                station.up.push_front(frame);
            }
        }
        // A radio can only account for what it could decode.
        if answered {
            vif.tally.received_ns += done.duration_ns;
        }
        answered
    }
}

fn aggregate_ns(frames: &[Packet], rate_kbps: u32, params: &MediumParams) -> u64 {
    let bytes = frames.iter().map(|frame| u64::from(frame.bytes)).sum();
    params.exchange_ns(frames.len() as u64, bytes, rate_kbps)
}

/// Takes from the head of a queue what fits into one aggregate: at least one frame.
fn take_aggregate(
    queue: &mut VecDeque<Packet>,
    rate_kbps: u32,
    params: &MediumParams,
) -> Vec<Packet> {
    let mut bytes = 0;
    let mut count = 0;
    for frame in queue.iter().take(params.max_aggregate) {
        bytes += u64::from(frame.bytes);
        if count > 0
            && params.exchange_ns(count as u64 + 1, bytes, rate_kbps) > params.txop_limit_ns
        {
            break;
        }
        count += 1;
    }
    queue.drain(..count).collect()
}
