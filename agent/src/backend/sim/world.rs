//! The state of the simulated world and its event loop.
//!
//! Everything is integers and happens in the order of (time, order of scheduling), so that a run repeats exactly under its
//! seeds. The other files of this folder add to [`World`]: `csma` contends for the channel, `traffic` fills and paces
//! queues, `place` puts radios, interfaces and stations where the configuration has them, `observe` reads.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::sync::Arc;

use super::config::{SimConfig, SimRadioConfig, SimStationConfig};
use super::csma::{Air, Contender, Transmission};
use super::observe::PeriodAirtime;
use super::params::MediumParams;
use super::rng::Rng;
use super::topology::Spot;
use crate::backend::airtime::histogram::Histogram;
use crate::backend::airtime::law::RadioLaw;
use crate::backend::airtime::table::AirtimeTable;
use crate::backend::wifi::{RadioConfig, SchedulerConfig, VifConfig, WifiConfig};
use crate::backend::{MacAddress, Ratio};

/// Contender 0 of a radio is the access point, 1 the network that is not ours, and `STATIONS + slot` a station.
pub(super) const ACCESS_POINT: usize = 0;
pub(super) const EXTERNAL: usize = 1;
pub(super) const STATIONS: usize = 2;

/// All that there is on one medium.
#[derive(Debug)]
pub(super) struct World {
    pub(super) params: MediumParams,
    pub(super) now_ns: u64,
    pub(super) nodes: Vec<Node>,
    pub(super) node_index: BTreeMap<String, usize>,
    pub(super) radios: Vec<Radio>,
    pub(super) on_air: Vec<Option<Transmission>>,
    pub(super) on_air_free: Vec<usize>,
    /// Radios for which it has to be worked out again who hears whom before time goes on.
    pub(super) moved_radios: BTreeSet<usize>,
    pub(super) events_handled: u64,
    next_uid: u64,
    next_order: u64,
    queue: BinaryHeap<Reverse<Scheduled>>,
}

/// One simulated machine: what it was told, and its airtime scheduler's table.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) wifi: WifiConfig,
    pub(super) sim: SimConfig,
    /// Radios by position in `World::radios`, in the order of their first appearance.
    pub(super) radios: Vec<usize>,
    pub(super) airtime: AirtimeTable,
    pub(super) reports: u64,
    pub(super) period_start_ns: u64,
}

/// A radio: hardware as simulated, configuration as carried out.
#[derive(Debug)]
pub(super) struct Radio {
    pub(super) node: usize,
    pub(super) name: String,
    pub(super) sim: SimRadioConfig,
    pub(super) config: Option<RadioConfig>,
    /// In the hardware, configured and enabled.
    pub(super) is_up: bool,
    /// Changes whenever the radio goes down or changes its channel: what was on the air before is lost.
    pub(super) tuning: u64,
    /// The radios that hear this one, itself first, by position in `World::radios`.
    pub(super) heard_by: Arc<[usize]>,
    pub(super) hears: Vec<usize>,
    pub(super) spot: Option<Spot>,
    pub(super) vifs: Vec<Option<Vif>>,
    pub(super) stations: Vec<Option<Station>>,
    pub(super) contenders: Vec<Contender>,
    pub(super) air: Air,
    pub(super) rng: Rng,
    pub(super) law: RadioLaw,
    pub(super) scheduler: SchedulerConfig,
    /// The stations with packets in the driver, each once, in the order of service.
    pub(super) service: VecDeque<usize>,
    /// Transmissions that the network that is not ours still wants to make, and the identity of their source.
    pub(super) external_waiting: u32,
    pub(super) external_uid: u64,
    pub(super) period: (u64, u64),
    pub(super) last_busy: Ratio,
    pub(super) last_external: Ratio,
}

/// A virtual interface on a radio.
#[derive(Debug)]
pub(super) struct Vif {
    pub(super) uid: u64,
    pub(super) config: VifConfig,
    pub(super) bssid: MacAddress,
    pub(super) is_up: bool,
    /// Position in the scheduler; none where it does not schedule.
    pub(super) law_slot: Option<usize>,
    pub(super) held: VecDeque<Held>,
    pub(super) refill_is_due: bool,
    pub(super) refill_turn: usize,
    pub(super) tally: Tally,
    pub(super) at_period_start: Tally,
    pub(super) delays: Histogram,
    pub(super) last: PeriodAirtime,
}

/// Counters of an interface since it was made. `sent_ns` is the true airtime, whatever the scheduler believes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) sent_ns: u64,
    pub(super) received_ns: u64,
    pub(super) delivered_bytes: u64,
    pub(super) received_bytes: u64,
    /// Packets lost in a full queue of the driver, or after the last try.
    pub(super) lost_packets: u64,
    pub(super) overflowed_packets: u64,
}

/// A packet that waits for its departure.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) station: usize,
    pub(super) station_uid: u64,
    pub(super) packet: Packet,
}

/// A packet on its way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packet {
    pub(super) bytes: u32,
    pub(super) tries: u8,
    /// What the scheduler charged; 0 if it did not see the packet.
    pub(super) estimated_ns: u64,
    pub(super) departure_ns: u64,
    /// Airtime of its tries so far.
    pub(super) spent_ns: u64,
}

/// An associated station.
#[derive(Debug)]
pub(super) struct Station {
    pub(super) uid: u64,
    pub(super) vif: usize,
    pub(super) config: SimStationConfig,
    pub(super) since_ns: u64,
    pub(super) down: VecDeque<Packet>,
    pub(super) up: VecDeque<Packet>,
    /// Changes when the offered load does, so that arrivals of the old load are void.
    pub(super) load_uid: u64,
    pub(super) delivered_bytes: u64,
    pub(super) received_bytes: u64,
}

/// What happens at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// A backoff at a radio's place ends, unless the channel became busy (`round` changed).
    Contend { radio: usize, round: u64 },
    /// Too late to notice that somebody else began: sends all the same.
    Launch {
        radio: usize,
        contender: usize,
        tuning: u64,
    },
    /// A transmission ends.
    End { transmission: usize },
    /// A packet arrives from the network or in the station.
    Arrival {
        radio: usize,
        station: usize,
        load_uid: u64,
        up: bool,
    },
    /// The network that is not ours wants to send.
    External { radio: usize, uid: u64 },
    /// The first held packet of an interface may leave.
    Release { radio: usize, vif: usize, uid: u64 },
    /// Saturated sources of an interface look again.
    Refill { radio: usize, vif: usize, uid: u64 },
    /// A corrected ceiling of a node lapses.
    Lapse { node: usize },
}

#[derive(Debug, PartialEq, Eq)]
struct Scheduled {
    at_ns: u64,
    order: u64,
    event: Event,
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_ns, self.order).cmp(&(other.at_ns, other.order))
    }
}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl World {
    pub(super) fn new(params: MediumParams) -> Self {
        Self {
            params,
            now_ns: 0,
            nodes: Vec::new(),
            node_index: BTreeMap::new(),
            radios: Vec::new(),
            on_air: Vec::new(),
            on_air_free: Vec::new(),
            moved_radios: BTreeSet::new(),
            events_handled: 0,
            next_uid: 1,
            next_order: 0,
            queue: BinaryHeap::new(),
        }
    }

    /// Lets time pass until `until_ns`.
    pub(super) fn advance_to(&mut self, until_ns: u64) {
        self.settle_topology();
        while self
            .queue
            .peek()
            .is_some_and(|Reverse(next)| next.at_ns <= until_ns)
        {
            let Some(Reverse(next)) = self.queue.pop() else {
                break;
            };
            self.now_ns = self.now_ns.max(next.at_ns);
            self.events_handled += 1;
            self.handle(next.event);
        }
        self.now_ns = self.now_ns.max(until_ns);
    }

    pub(super) fn schedule(&mut self, at_ns: u64, event: Event) {
        self.next_order += 1;
        self.queue.push(Reverse(Scheduled {
            at_ns,
            order: self.next_order,
            event,
        }));
    }

    /// An identity that nothing had before.
    pub(super) fn new_uid(&mut self) -> u64 {
        self.next_uid += 1;
        self.next_uid
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Contend { radio, round } => self.backoff_ended(radio, round),
            Event::Launch {
                radio,
                contender,
                tuning,
            } => {
                if self.radios[radio].tuning == tuning {
                    self.launch(radio, contender);
                }
            }
            Event::End { transmission } => self.transmission_ended(transmission),
            Event::Arrival {
                radio,
                station,
                load_uid,
                up,
            } => {
                self.packet_arrived(radio, station, load_uid, up);
            }
            Event::External { radio, uid } => self.external_arrived(radio, uid),
            Event::Release { radio, vif, uid } => self.release(radio, vif, uid),
            Event::Refill { radio, vif, uid } => {
                let Some(Some(found)) = self.radios[radio].vifs.get_mut(vif) else {
                    return;
                };
                if found.uid == uid {
                    found.refill_is_due = false;
                    self.refill(radio, vif);
                }
            }
            Event::Lapse { node } => self.lapse_ceilings(node),
        }
    }
}

impl Radio {
    pub(super) fn vif(&self, slot: usize) -> Option<&Vif> {
        self.vifs.get(slot).and_then(Option::as_ref)
    }

    pub(super) fn vif_mut(&mut self, slot: usize) -> Option<&mut Vif> {
        self.vifs.get_mut(slot).and_then(Option::as_mut)
    }

    pub(super) fn station(&self, slot: usize) -> Option<&Station> {
        self.stations.get(slot).and_then(Option::as_ref)
    }

    pub(super) fn station_mut(&mut self, slot: usize) -> Option<&mut Station> {
        self.stations.get_mut(slot).and_then(Option::as_mut)
    }

    /// Slot and interface of all that it carries.
    pub(super) fn live_vifs(&self) -> impl Iterator<Item = (usize, &Vif)> {
        self.vifs
            .iter()
            .enumerate()
            .filter_map(|(slot, vif)| Some((slot, vif.as_ref()?)))
    }

    /// Slot and station of all that are associated.
    pub(super) fn live_stations(&self) -> impl Iterator<Item = (usize, &Station)> {
        self.stations
            .iter()
            .enumerate()
            .filter_map(|(slot, one)| Some((slot, one.as_ref()?)))
    }

    /// How many stations an interface has.
    pub(super) fn station_count(&self, vif: usize) -> usize {
        self.live_stations()
            .filter(|(_, station)| station.vif == vif)
            .count()
    }
}
