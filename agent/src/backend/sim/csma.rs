//! Contention for the channel: CSMA/CA as in IEEE Std 802.11-2020 10.3 (DCF), at the place of every radio.
//!
//! A place hears the radios in range on its channel, and the stations of a radio are where the radio is. Whoever has
//! something to send waits for silence of DIFS, counts its slots down while the channel is idle, and sends. Two that end in
//! the same slot collide; so do two that don't hear each other, at a place that hears both.
//!
//! ```text
//!            something to send          slots counted down           no time left to notice
//!   Idle ------------------> Waiting ----------------------> Sending <---------- Committed
//!    ^                          ^  \__ another begins within the slot ______________/
//!    |      nothing left        |                               |
//!    +--------------------------+---- more to send, or a retry -+
//! ```

use std::sync::Arc;

use super::world::{ACCESS_POINT, EXTERNAL, Event, Packet, STATIONS, World};
use crate::backend::airtime::law::Completion;

/// One that may contend at a place.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Contender {
    pub(super) phase: Phase,
    /// Slots still to count.
    slots: u64,
    /// Contention window; 0 before the first frame.
    window: u16,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing to send.
    #[default]
    Idle,
    /// Counts slots down while the channel is idle.
    Waiting,
    /// Will send, whatever begins before.
    Committed,
    /// On the air.
    Sending,
}

/// What is heard at the place of a radio.
#[derive(Debug, Default)]
pub(super) struct Air {
    heard: Vec<usize>,
    /// When counting of slots began or begins.
    count_from_ns: u64,
    busy_since_ns: u64,
    /// Changes with every change of the channel's state, so that what was scheduled before is void.
    round: u64,
    busy_ns: u64,
    pub(super) external_ns: u64,
}

impl Air {
    /// Time during which something was heard, until now.
    pub(super) fn busy_ns(&self, now_ns: u64) -> u64 {
        self.busy_ns
            + if self.heard.is_empty() {
                0
            } else {
                now_ns.saturating_sub(self.busy_since_ns)
            }
    }
}

/// Frames on the air, from the preamble to the end of the acknowledgement.
#[derive(Debug)]
pub(super) struct Transmission {
    radio: usize,
    tuning: u64,
    contender: usize,
    /// The station's identity; 0 for a network that is not ours.
    station_uid: u64,
    station: usize,
    frames: Vec<Packet>,
    duration_ns: u64,
    collided: bool,
    listeners: Arc<[usize]>,
}

impl World {
    /// A contender has something to send. Does nothing if it is under way already.
    pub(super) fn contend(&mut self, radio: usize, contender: usize) {
        if self.enqueue(radio, contender) {
            self.schedule_backoff(radio);
        }
    }

    fn enqueue(&mut self, radio: usize, contender: usize) -> bool {
        let (now, slot, least) = (self.now_ns, self.params.slot_ns, self.params.cw_min);
        let place = &mut self.radios[radio];
        if !place.is_up || place.contenders[contender].phase != Phase::Idle {
            return false;
        }
        let window = place.contenders[contender].window.max(least);
        let mut slots = place.rng.up_to(u64::from(window));
        if place.air.heard.is_empty() && now > place.air.count_from_ns {
            slots += (now - place.air.count_from_ns).div_ceil(slot);
        }
        place.contenders[contender] = Contender {
            phase: Phase::Waiting,
            slots,
            window,
        };
        true
    }

    /// Plans the end of the shortest backoff at a place, if the channel is idle.
    fn schedule_backoff(&mut self, radio: usize) {
        let place = &mut self.radios[radio];
        if !place.air.heard.is_empty() {
            return;
        }
        place.air.round += 1;
        let waiting = place
            .contenders
            .iter()
            .filter(|one| one.phase == Phase::Waiting);
        let Some(least) = waiting.map(|one| one.slots).min() else {
            return;
        };
        let at_ns = place.air.count_from_ns + least * self.params.slot_ns;
        let event = Event::Contend {
            radio,
            round: place.air.round,
        };
        self.schedule(at_ns.max(self.now_ns), event);
    }

    pub(super) fn backoff_ended(&mut self, radio: usize, round: u64) {
        let (now, slot) = (self.now_ns, self.params.slot_ns);
        let place = &mut self.radios[radio];
        if place.air.round != round {
            return;
        }
        let from = place.air.count_from_ns;
        // All whose slots end now are committed before the first of them is heard.
        let mut first = None;
        let mut others = Vec::new();
        for (index, one) in place.contenders.iter_mut().enumerate() {
            if one.phase == Phase::Waiting && from + one.slots * slot <= now {
                one.phase = Phase::Committed;
                if first.is_none() {
                    first = Some(index);
                } else {
                    others.push(index);
                }
            }
        }
        for index in first.into_iter().chain(others) {
            self.launch(radio, index);
        }
        self.schedule_backoff(radio);
    }

    /// Sends what a committed contender has.
    pub(super) fn launch(&mut self, radio: usize, contender: usize) {
        if self.radios[radio].contenders[contender].phase != Phase::Committed {
            return;
        }
        self.radios[radio].contenders[contender].phase = Phase::Sending;
        let Some(transmission) = self.compose(radio, contender) else {
            self.radios[radio].contenders[contender].phase = Phase::Idle;
            return;
        };
        let listeners = Arc::clone(&transmission.listeners);
        let end_ns = self.now_ns + transmission.duration_ns;
        let id = self.on_air_free.pop().unwrap_or_else(|| {
            self.on_air.push(None);
            self.on_air.len() - 1
        });
        self.on_air[id] = Some(transmission);
        let external = contender == EXTERNAL;
        for &listener in listeners.iter().take(if external { 1 } else { usize::MAX }) {
            self.begin_at(listener, radio, id);
        }
        self.schedule(end_ns, Event::End { transmission: id });
    }

    /// A transmission of the radio `from` begins to be heard at `place`.
    fn begin_at(&mut self, place: usize, from: usize, id: usize) {
        let mut disturbed = false;
        for &other in &self.radios[place].air.heard {
            let Some(other) = self.on_air[other].as_mut() else {
                continue;
            };
            // Receivers are where their radio is: what is heard there spoils what is received there.
            other.collided |= other.radio == place;
            disturbed |= place == from;
        }
        if disturbed && let Some(this) = self.on_air[id].as_mut() {
            this.collided = true;
        }
        if self.radios[place].air.heard.is_empty() {
            self.freeze(place);
        }
        self.radios[place].air.heard.push(id);
    }

    /// The channel becomes busy: those who wait keep the slots that are left, those who can't notice in time go on.
    fn freeze(&mut self, radio: usize) {
        let (now, slot, cca) = (self.now_ns, self.params.slot_ns, self.params.cca_ns);
        let place = &mut self.radios[radio];
        place.air.round += 1;
        place.air.busy_since_ns = now;
        let from = place.air.count_from_ns;
        let counted = now.saturating_sub(from) / slot;
        let tuning = place.tuning;
        let mut late = Vec::new();
        for (contender, one) in place.contenders.iter_mut().enumerate() {
            if one.phase != Phase::Waiting {
                continue;
            }
            let end = from + one.slots * slot;
            if end < now + cca {
                one.phase = Phase::Committed;
                late.push((end.max(now), contender));
            } else {
                one.slots -= counted.min(one.slots);
            }
        }
        for (at_ns, contender) in late {
            self.schedule(
                at_ns,
                Event::Launch {
                    radio,
                    contender,
                    tuning,
                },
            );
        }
    }

    pub(super) fn transmission_ended(&mut self, id: usize) {
        let Some(done) = self.on_air.get_mut(id).and_then(Option::take) else {
            return;
        };
        self.on_air_free.push(id);
        let now = self.now_ns;
        let mut silent = Vec::with_capacity(done.listeners.len());
        for &listener in done.listeners.iter() {
            let air = &mut self.radios[listener].air;
            let Some(at) = air.heard.iter().position(|other| *other == id) else {
                continue;
            };
            air.heard.swap_remove(at);
            if air.heard.is_empty() {
                air.busy_ns += now - air.busy_since_ns;
                air.count_from_ns = now + self.params.difs_ns;
                silent.push(listener);
            }
        }
        let (radio, contender) = (done.radio, done.contender);
        if self.radios[radio].tuning == done.tuning {
            self.radios[radio].contenders[contender].phase = Phase::Idle;
            let answered = self.settle(done);
            let (least, most) = (self.params.cw_min, self.params.cw_max);
            let one = &mut self.radios[radio].contenders[contender];
            one.window = if answered {
                least
            } else {
                (one.window.max(least) * 2 + 1).min(most)
            };
            if self.has_more(radio, contender) {
                self.enqueue(radio, contender);
            }
        }
        for listener in silent {
            self.schedule_backoff(listener);
        }
    }

    fn has_more(&self, radio: usize, contender: usize) -> bool {
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
    fn compose(&mut self, radio: usize, contender: usize) -> Option<Transmission> {
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
    fn settle(&mut self, done: Transmission) -> bool {
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

fn aggregate_ns(frames: &[Packet], rate_kbps: u32, params: &super::MediumParams) -> u64 {
    let bytes = frames.iter().map(|frame| u64::from(frame.bytes)).sum();
    params.exchange_ns(frames.len() as u64, bytes, rate_kbps)
}

/// Takes from the head of a queue what fits into one aggregate: at least one frame.
fn take_aggregate(
    queue: &mut std::collections::VecDeque<Packet>,
    rate_kbps: u32,
    params: &super::MediumParams,
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
