//! Contention for the air: EDCA as in IEEE Std 802.11-2020 10.23.2, one frame per access, at the place of every radio.
//!
//! Pure: no socket and no clock. Whoever drives it says what time it is; the same frames at the same times and the same seed
//! give the same history. A radio senses what radios in range send on the channel that it last sent on. Channels that overlap
//! without having the same centre do not disturb each other here, an acknowledgement is heard where its frame was, and it is
//! never lost.
//!
//! ```text
//!           offered          slots counted down              no time left to notice
//!   (empty) ------> waiting --------------------> on the air <--------- committed
//!      ^              ^  \___ another begins within the slot ______________/
//!      |  none left   |                               |
//!      +--------------+-- more to send, or a retry ---+
//! ```

use std::collections::{BTreeMap, VecDeque};

use super::airtime::{Band, CCA_NS, SLOT_NS, try_ns};
use super::frame::{AccessCategory, Frame, Mac, Step};
use super::ledger::{Entry, Ledger, Outcome};
use super::links::{Link, LinkChange, Links};

/// Most radios on one medium: one bit each.
pub const MAX_RADIOS: usize = 128;

/// What becomes of frames, for whoever drives the medium.
pub trait Air {
    /// A frame arrives at a radio. False where that radio does not listen on this channel.
    fn deliver(&mut self, frame: &Frame, step: &Step, at: Mac, signal_dbm: i8) -> bool;
    /// A radio is done with one of its frames.
    fn done(&mut self, radio: Mac, frame: Frame, status: Status);
    /// A try ended.
    fn tried(&mut self, entry: &Entry);
}

/// What a radio learns of a frame that it is done with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// Somebody acknowledged it.
    pub acknowledged: bool,
    /// How often it was tried: 0 where the queue was full.
    pub tries: u32,
    /// How strong the acknowledgement was.
    pub signal_dbm: i8,
}

/// A medium with the radios on it.
#[derive(Debug)]
pub struct Contention {
    now_ns: u64,
    queue_frames: usize,
    random: Random,
    links: Links,
    radios: Vec<Radio>,
    on_air: Vec<Transmission>,
    /// At which radio an interface is, by its address.
    homes: BTreeMap<Mac, usize>,
    ledger: Ledger,
}

#[derive(Debug)]
struct Radio {
    hardware: Mac,
    /// False once the radio is gone; its place stays, so that indices do.
    present: bool,
    /// Where it listens: the channel of the last frame that it was given.
    frequency_mhz: u32,
    /// Radios in range, and itself: one bit each.
    reach: u128,
    contenders: [Contender; 4],
}

#[derive(Debug, Default)]
struct Contender {
    queue: VecDeque<Frame>,
    /// Tries of the first frame so far.
    tried: u32,
    window: u16,
    /// Slots still to count down from `count_from_ns`; counted down with nothing to send too.
    slots: u64,
    count_from_ns: u64,
    /// It will send at this time, whatever begins before.
    committed_ns: Option<u64>,
    /// Its first frame is on the air.
    sending: bool,
}

#[derive(Debug)]
struct Transmission {
    radio: usize,
    category: usize,
    frequency_mhz: u32,
    start_ns: u64,
    end_ns: u64,
    step: Step,
    /// Radios that hear it.
    reach: u128,
    /// Radios at which something else was heard at the same time.
    spoiled: u128,
}

impl Contender {
    fn access_ns(&self) -> Option<u64> {
        let waiting = !self.queue.is_empty() && !self.sending;
        waiting.then_some(self.count_from_ns + self.slots * SLOT_NS)
    }
}

impl Contention {
    /// A silent medium.
    #[must_use]
    pub fn new(links: Links, queue_frames: usize, seed: u64) -> Self {
        Self {
            now_ns: 0,
            queue_frames,
            random: Random(seed),
            links,
            radios: Vec::new(),
            on_air: Vec::new(),
            homes: BTreeMap::new(),
            ledger: Ledger::default(),
        }
    }

    /// The books.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The links.
    #[must_use]
    pub fn links(&self) -> &Links {
        &self.links
    }

    /// Time of the last thing that happened.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// Radios that are there, by their hardware addresses.
    pub fn radios(&self) -> impl Iterator<Item = Mac> {
        let present = self.radios.iter().filter(|radio| radio.present);
        present.map(|radio| radio.hardware)
    }

    /// A radio appears. False where there is no room for another; that it is there already is fine.
    pub fn add_radio(&mut self, hardware: Mac) -> bool {
        if let Some(at) = self.find(hardware) {
            self.radios[at].present = true;
            return true;
        }
        if self.radios.len() == MAX_RADIOS {
            return false;
        }
        let contenders = AccessCategory::ALL.map(|category| Contender {
            window: category.edca().least_window,
            ..Contender::default()
        });
        self.radios.push(Radio {
            hardware,
            present: true,
            frequency_mhz: 0,
            reach: 0,
            contenders,
        });
        self.survey();
        true
    }

    /// A radio goes, with all that it had to send; what it has on the air ends as it would have.
    pub fn remove_radio(&mut self, hardware: Mac) {
        let Some(at) = self.find(hardware) else {
            return;
        };
        self.homes.retain(|_, home| *home != at);
        self.radios[at].present = false;
        for contender in &mut self.radios[at].contenders {
            contender.queue.truncate(usize::from(contender.sending));
            if !contender.sending {
                contender.tried = 0;
            }
            contender.committed_ns = None;
        }
    }

    /// An interface with this address is at a radio.
    pub fn add_address(&mut self, hardware: Mac, address: Mac) {
        if let Some(at) = self.find(hardware) {
            self.homes.insert(address, at);
        }
    }

    /// The interface with this address left its radio.
    pub fn remove_address(&mut self, hardware: Mac, address: Mac) {
        if self.find(hardware) == self.homes.get(&address).copied() {
            self.homes.remove(&address);
        }
    }

    /// Changes what is between two radios, from the next try on.
    pub fn change_link(&mut self, a: Mac, b: Mac, change: LinkChange) -> Link {
        let link = self.links.change(a, b, change);
        self.survey();
        link
    }

    /// When the next thing happens, if nothing else does before.
    #[must_use]
    pub fn next_ns(&self) -> Option<u64> {
        let ends = self.on_air.iter().map(|sent| sent.end_ns);
        ends.chain(self.next_access().map(|(at, ..)| at)).min()
    }

    /// A radio wants to send. At `now_ns`, but never after something that is yet to happen: a driver that is late must not
    /// make history.
    pub fn offer(&mut self, now_ns: u64, hardware: Mac, frame: Frame, air: &mut impl Air) {
        let now = now_ns.min(self.next_ns().unwrap_or(u64::MAX));
        self.now_ns = self.now_ns.max(now);
        let refused = Status {
            acknowledged: false,
            tries: 0,
            signal_dbm: 0,
        };
        let (Some(receiver), Some(transmitter), Some(_)) =
            (frame.receiver(), frame.transmitter(), frame.step(0))
        else {
            return air.done(hardware, frame, refused);
        };
        self.add_radio(hardware);
        let Some(at) = self.find(hardware) else {
            return air.done(hardware, frame, refused);
        };
        self.homes.insert(transmitter, at);
        self.tune(at, frame.frequency_mhz);
        let hears_nothing = !self.is_busy(at);
        let category = frame.access_category() as usize;
        let contender = &mut self.radios[at].contenders[category];
        if contender.queue.len() >= self.queue_frames {
            self.ledger.overflow(hardware, transmitter, receiver);
            return air.done(hardware, frame, refused);
        }
        if contender.queue.is_empty() && hears_nothing {
            // What was counted down with nothing to send counts; who was done with it sends at the next slot.
            let gone = self.now_ns.saturating_sub(contender.count_from_ns);
            contender.slots = contender.slots.max(gone.div_ceil(SLOT_NS));
        } else if contender.queue.is_empty() && contender.slots == 0 {
            contender.slots = self.random.up_to(contender.window);
        }
        contender.queue.push_back(frame);
    }

    /// Does what happens next, if that is not after `now_ns`. Gives whether it did something.
    pub fn step(&mut self, now_ns: u64, air: &mut impl Air) -> bool {
        let ends = self.on_air.iter().enumerate();
        let end = ends.map(|(at, sent)| (sent.end_ns, at)).min();
        let access = self.next_access();
        match (end, access) {
            (end, Some((at_ns, radio, category)))
                if at_ns <= now_ns && end.is_none_or(|(end_ns, _)| at_ns < end_ns) =>
            {
                self.start(at_ns, radio, category);
            }
            (Some((end_ns, index)), _) if end_ns <= now_ns => self.end(index, air),
            _ => return false,
        }
        true
    }

    /// The first that will send if nothing ends before. In a radio the more urgent category goes first.
    fn next_access(&self) -> Option<(u64, usize, usize)> {
        let mut next: Option<(u64, usize, usize)> = None;
        for (at, radio) in self.radios.iter().enumerate() {
            let mut busy = None;
            for (category, contender) in radio.contenders.iter().enumerate() {
                let access = match contender.committed_ns {
                    Some(committed) => committed,
                    None => match contender.access_ns() {
                        Some(access) if !*busy.get_or_insert_with(|| self.is_busy(at)) => access,
                        _ => continue,
                    },
                };
                if next.is_none_or(|(first, ..)| access < first) {
                    next = Some((access, at, category));
                }
            }
        }
        next
    }

    fn start(&mut self, at_ns: u64, at: usize, category: usize) {
        self.now_ns = self.now_ns.max(at_ns);
        let now = self.now_ns;
        let reach = self.radios[at].reach;
        let contender = &mut self.radios[at].contenders[category];
        contender.committed_ns = None;
        let tried = contender.tried;
        let Some((frame, step)) = contender
            .queue
            .front()
            .and_then(|frame| Some((frame, *frame.step(tried)?.1)))
        else {
            return;
        };
        contender.sending = true;
        let frequency_mhz = frame.frequency_mhz;
        let airtime_ns = try_ns(
            Band::of(frequency_mhz),
            step.rate,
            step.protection,
            frame.bytes(),
            frame.wants_acknowledgement(),
        );
        let mut spoiled = 0;
        for other in &mut self.on_air {
            if other.frequency_mhz == frequency_mhz {
                other.spoiled |= reach;
                spoiled |= other.reach;
            }
        }
        let transmission = Transmission {
            radio: at,
            category,
            frequency_mhz,
            start_ns: now,
            end_ns: now + airtime_ns,
            step,
            reach,
            spoiled,
        };
        for listener in 0..self.radios.len() {
            if self.hears(listener, &transmission) {
                self.freeze(listener, now, (listener == at).then_some(category));
            }
        }
        self.on_air.push(transmission);
        self.ledger.begin(frequency_mhz, now);
    }

    /// A radio begins to hear something, or hears more: who waits keeps the slots that are left, who can't notice in time
    /// goes on. `own` is the category that sends, where the radio itself does: the others of it noticed.
    fn freeze(&mut self, at: usize, now: u64, own: Option<usize>) {
        let was_busy = self.is_busy(at);
        let random = &mut self.random;
        for (category, contender) in self.radios[at].contenders.iter_mut().enumerate() {
            if own == Some(category) {
                continue;
            }
            let access = contender.access_ns().filter(|_| !was_busy);
            let access = contender.committed_ns.or(access);
            let is_late = access.is_some_and(|access| access < now + CCA_NS);
            if is_late && own.is_none() {
                contender.committed_ns = access;
            } else if is_late {
                // An internal collision (10.23.2.4): the less urgent one draws again, as if it had collided.
                contender.committed_ns = None;
                contender.window = widened(contender.window, category);
                contender.slots = random.up_to(contender.window);
            } else if !was_busy {
                let counted = now.saturating_sub(contender.count_from_ns) / SLOT_NS;
                contender.slots = contender.slots.saturating_sub(counted);
            }
        }
    }

    fn end(&mut self, index: usize, air: &mut impl Air) {
        let sent = self.on_air.swap_remove(index);
        self.now_ns = self.now_ns.max(sent.end_ns);
        self.ledger.end(sent.frequency_mhz, self.now_ns);
        self.settle(&sent, air);
        for listener in 0..self.radios.len() {
            if self.hears(listener, &sent) && !self.is_busy(listener) {
                self.radios[listener].fall_silent(self.now_ns);
            }
        }
    }

    /// What comes of a try: who receives it, what the sender learns, and what it does next.
    fn settle(&mut self, sent: &Transmission, air: &mut impl Air) {
        let (at, category) = (sent.radio, sent.category);
        let hardware = self.radios[at].hardware;
        self.radios[at].contenders[category].sending = false;
        let Some(mut frame) = self.radios[at].contenders[category].queue.pop_front() else {
            return;
        };
        let (outcome, signal_dbm) = self.receive(sent, &frame, air);
        let contender = &mut self.radios[at].contenders[category];
        contender.tried += 1;
        let has_arrived = matches!(outcome, Outcome::Acknowledged | Outcome::Sent);
        let is_over = has_arrived || frame.step(contender.tried).is_none();
        let entry = Entry {
            start_ns: sent.start_ns,
            airtime_ns: sent.end_ns - sent.start_ns,
            radio: hardware,
            transmitter: frame.transmitter().unwrap_or_default(),
            receiver: frame.receiver().unwrap_or_default(),
            frequency_mhz: sent.frequency_mhz,
            rate_kbps: sent.step.rate.kbps(),
            bytes: frame.bytes(),
            attempt: contender.tried,
            outcome,
        };
        self.ledger.book(&entry, is_over);
        contender.window = if is_over {
            AccessCategory::ALL[category].edca().least_window
        } else {
            widened(contender.window, category)
        };
        contender.slots = self.random.up_to(contender.window);
        if is_over {
            let status = Status {
                acknowledged: outcome == Outcome::Acknowledged,
                tries: std::mem::take(&mut contender.tried),
                signal_dbm,
            };
            air.tried(&entry);
            air.done(hardware, frame, status);
        } else {
            frame.mark_retry();
            contender.queue.push_front(frame);
            air.tried(&entry);
        }
    }

    fn receive(&mut self, sent: &Transmission, frame: &Frame, air: &mut impl Air) -> (Outcome, i8) {
        let receiver = frame.receiver().unwrap_or_default();
        let home = self.homes.get(&receiver).copied();
        let listeners: Vec<usize> = match home {
            Some(home) if !receiver.is_multicast() => vec![home],
            // A group, or one of whom nobody knows yet at which radio it is: only its own radio takes it.
            _ => (0..self.radios.len())
                .filter(|l| *l != sent.radio)
                .collect(),
        };
        let hardware = self.radios[sent.radio].hardware;
        let mut outcome = Outcome::Unheard;
        let mut signal_dbm = Link::default().signal_dbm;
        for listener in listeners {
            let radio = &self.radios[listener];
            if !radio.present || sent.reach & bit(listener) == 0 || listener == sent.radio {
                continue;
            }
            let link = self.links.between(hardware, radio.hardware);
            let is_too_fast = link
                .max_rate_kbps
                .is_some_and(|most| sent.step.rate.kbps() > most);
            let is_lost = self.random.part() < link.loss || is_too_fast;
            let met = if sent.spoiled & bit(listener) != 0 {
                Outcome::Collided
            } else if is_lost {
                Outcome::Lost
            } else if !air.deliver(frame, &sent.step, radio.hardware, link.signal_dbm) {
                Outcome::Unheard
            } else {
                Outcome::Acknowledged
            };
            if home.is_some() {
                (outcome, signal_dbm) = (met, link.signal_dbm);
            }
        }
        if !frame.wants_acknowledgement() {
            outcome = Outcome::Sent;
        }
        (outcome, signal_dbm)
    }

    /// A radio sends on another channel from now on, and listens there.
    fn tune(&mut self, at: usize, frequency_mhz: u32) {
        if self.radios[at].frequency_mhz == frequency_mhz {
            return;
        }
        self.radios[at].frequency_mhz = frequency_mhz;
        if !self.is_busy(at) {
            self.radios[at].fall_silent(self.now_ns);
        }
    }

    fn is_busy(&self, at: usize) -> bool {
        self.on_air.iter().any(|sent| self.hears(at, sent))
    }

    fn hears(&self, at: usize, sent: &Transmission) -> bool {
        let is_tuned = self.radios[at].frequency_mhz == sent.frequency_mhz;
        sent.radio == at || is_tuned && sent.reach & bit(at) != 0
    }

    fn find(&self, hardware: Mac) -> Option<usize> {
        self.radios.iter().position(|r| r.hardware == hardware)
    }

    /// Works out again who reaches whom.
    fn survey(&mut self) {
        let all: Vec<Mac> = self.radios.iter().map(|radio| radio.hardware).collect();
        for (at, radio) in self.radios.iter_mut().enumerate() {
            radio.reach = all
                .iter()
                .enumerate()
                .filter(|(other, mac)| {
                    *other == at || self.links.between(radio.hardware, **mac).in_range
                })
                .fold(0, |reach, (other, _)| reach | bit(other));
        }
    }
}

impl Radio {
    /// Counting of slots begins again once it has been silent for long enough.
    fn fall_silent(&mut self, now_ns: u64) {
        let sifs_ns = Band::of(self.frequency_mhz).sifs_ns();
        for (category, contender) in self.contenders.iter_mut().enumerate() {
            let aifs_ns = sifs_ns + AccessCategory::ALL[category].edca().aifsn * SLOT_NS;
            contender.count_from_ns = now_ns + aifs_ns;
        }
    }
}

fn bit(radio: usize) -> u128 {
    1 << radio
}

fn widened(window: u16, category: usize) -> u16 {
    (2 * window + 1).min(AccessCategory::ALL[category].edca().most_window)
}

/// SplitMix64 (Steele, Lea and Flood 2014): small, good enough for backoff, and the same everywhere.
#[derive(Debug, Clone)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to `most`, both included.
    fn up_to(&mut self, most: u16) -> u64 {
        self.next() % (u64::from(most) + 1)
    }

    /// 0 to 1, 1 excluded.
    fn part(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
#[path = "contention_tests.rs"]
mod tests;
