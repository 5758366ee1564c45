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

use super::world::{EXTERNAL, Event, Packet, World};

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
    pub(super) radio: usize,
    pub(super) tuning: u64,
    pub(super) contender: usize,
    /// The station's identity; 0 for a network that is not ours.
    pub(super) station_uid: u64,
    pub(super) station: usize,
    pub(super) frames: Vec<Packet>,
    pub(super) duration_ns: u64,
    pub(super) collided: bool,
    pub(super) listeners: Arc<[usize]>,
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
}
