//! A program as the table that the kernel looks packets up in (`bpf/steer.h` says how), and what the search structure tells
//! beside: which rules are never reached.

use std::collections::{BTreeMap, HashMap};

use tranche_steering::{Pattern, TUPLES, WORDS, Words};

use super::program::{Action, Port, Program};

/// Octets of a cell.
pub(super) const CELL: usize = 128;
const PROBES: usize = 4;
/// Octets of the head of a front, of a tuple and of a port.
const HEAD: usize = 48;
const TUPLE: usize = 104;
const PORT: usize = 80;
const PORT_BITS: u32 = 12;
const PORT_PROBES: usize = 8;
/// Factors of the hash of ports that are tried.
const PORT_FACTORS: u32 = 64;
const PORTS_AT: usize = HEAD + TUPLES * TUPLE;
/// Octets of a front.
pub(super) const FRONT: usize = PORTS_AT + (1 << PORT_BITS) * PORT;
/// Where the head has the place of the cells, the number of actions, which is where the slots begin, and the generation.
const TURN: usize = 8;
const SLOTS_AT: usize = 20;
const GENERATION: usize = 40;
/// Cells for hashes at most, as a power of two.
const MOST_BITS: u32 = 22;
const FACTOR: [u64; WORDS] = [
    0x6a09_e667_f3bc_c909,
    0xbb67_ae85_84ca_a73b,
    0x3c6e_f372_fe94_f82b,
    0xa54f_f53a_5f1d_36f1,
    0x510e_527f_ade6_82d1,
    0x9b05_688c_2b3e_6c1f,
    0x1f83_d9ab_fb41_bd6b,
    0x5be0_cd19_137e_2179,
    0xcbbb_9d5d_c105_9ed9,
    0x629a_292a_367c_d507,
    0x9159_015a_3070_dd17,
    0x152f_ecd8_f70e_5939,
];
const PORT_FACTOR: u32 = 0x9e37_79b1;

/// What the kernel looks packets up in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    /// Of one size. Which of two places its cells have is not said in it: who writes it knows.
    pub(super) front: Vec<u8>,
    /// Of [`CELL`] octets each.
    pub(super) cells: Vec<u8>,
}

impl Table {
    /// Sets at which of two places the cells are (0 where it is not known), and says where they were.
    pub(super) fn turn(front: &mut [u8], turn: u32) -> u32 {
        let place = front.get_mut(TURN..).and_then(<[u8]>::first_chunk_mut);
        place.map_or(0, |place| {
            u32::from_ne_bytes(std::mem::replace(place, turn.to_ne_bytes()))
        })
    }
}

/// Which positions of a table are used by what.
type Placed<T> = BTreeMap<usize, T>;

/// Rules that look at the same fields.
struct Tuple {
    mask: Words,
    best: u32,
    rules: HashMap<Words, u32>,
}

/// Tuples in the order of their first rule. Of rules that match the same, the first counts.
fn tuples(rules: &[(Pattern, u32)]) -> Vec<Tuple> {
    let mut positions: HashMap<Words, usize> = HashMap::new();
    let mut tuples: Vec<Tuple> = Vec::new();
    for (pattern, rank) in rules {
        let position = *positions.entry(pattern.mask).or_insert_with(|| {
            tuples.push(Tuple {
                mask: pattern.mask,
                best: *rank,
                rules: HashMap::new(),
            });
            tuples.len() - 1
        });
        tuples[position].rules.entry(pattern.value).or_insert(*rank);
    }
    tuples
}

/// Rules that are never reached, by rank, with the first rule that takes everything from them; the last of those that do so
/// together, of a rule with several patterns.
pub(super) fn shadowed(program: &Program) -> BTreeMap<u32, u32> {
    let tuples = tuples(&program.rules);
    let mut shadowed: BTreeMap<u32, Option<u32>> = BTreeMap::new();
    for (pattern, rank) in &program.rules {
        let by = tuples
            .iter()
            .take_while(|tuple| tuple.best < *rank)
            .filter_map(|tuple| {
                let is_wider = tuple
                    .mask
                    .iter()
                    .zip(&pattern.mask)
                    .all(|(wide, narrow)| wide & narrow == *wide);
                let found =
                    is_wider.then(|| tuple.rules.get(&masked(&pattern.value, &tuple.mask)))??;
                (found < rank).then_some(*found)
            });
        let first = by.min();
        let of_rule = shadowed.entry(*rank).or_insert(first);
        *of_rule = of_rule.zip(first).map(|(one, other)| one.max(other));
    }
    let all = shadowed.into_iter();
    all.filter_map(|(rank, by)| Some((rank, by?))).collect()
}

fn masked(words: &Words, mask: &Words) -> Words {
    let mut masked = *words;
    for (word, mask) in masked.iter_mut().zip(mask) {
        *word &= mask;
    }
    masked
}

/// Which of the words of the outer and of the inner addresses a mask has (`STEER_OUTER`, `STEER_INSIDE`).
fn groups(mask: &Words) -> u32 {
    let is_used = |words: &[u64]| u32::from(words.iter().any(|word| *word != 0));
    is_used(&mask[4..8]) | is_used(&mask[8..]) << 1
}

fn hash(words: &Words, groups: u32, seed: u64, tuple: usize, bits: u32) -> usize {
    let start = seed.wrapping_mul(tuple as u64 + 1);
    let mixed = words
        .iter()
        .zip(&FACTOR)
        .enumerate()
        .filter(|(at, _)| *at < 4 || groups & (1 << (at / 4 - 1)) != 0)
        .fold(start, |hash, (_, (word, factor))| {
            hash.wrapping_add((word ^ seed).wrapping_mul(*factor))
        });
    let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(FACTOR[0]);
    (mixed >> (64 - bits)) as usize
}

/// Where ports are in a front, with the factor of their hash at which all find a place.
fn place_ports(ports: &BTreeMap<u32, Port>) -> Option<(u32, Placed<(u32, &Port)>)> {
    (0..PORT_FACTORS).find_map(|turn| {
        let factor = PORT_FACTOR.wrapping_mul(2 * turn + 1);
        let mut placed = Placed::new();
        for (ifindex, port) in ports {
            let start = (ifindex.wrapping_mul(factor) >> (32 - PORT_BITS)) as usize;
            let mut places = (0..PORT_PROBES).map(|probe| (start + probe) % (1 << PORT_BITS));
            let free = places.find(|at| !placed.contains_key(at))?;
            placed.insert(free, (*ifindex, port));
        }
        Some((factor, placed))
    })
}

/// Puts things where their hash points or a little behind; `None` where there is no room. In the order of where it points, as who
/// has the least room left goes first: if there is a place for each, this finds it.
fn place<T>(things: impl Iterator<Item = (usize, T)>) -> Option<Vec<(usize, T)>> {
    let mut things: Vec<(usize, T)> = things.collect();
    things.sort_by_key(|(start, _)| *start);
    let mut free = 0;
    for (start, _) in &mut things {
        let at = free.max(*start);
        if at >= *start + PROBES {
            return None;
        }
        (*start, free) = (at, at + 1);
    }
    Some(things)
}

/// The smallest power of two at which everything finds its place, beginning with room for twice as much.
fn smallest<T>(
    count: usize,
    try_at: impl Fn(u32) -> Option<Vec<(usize, T)>>,
) -> Option<(u32, Vec<(usize, T)>)> {
    let first = (2 * count.max(1)).next_power_of_two().ilog2().max(1);
    (first..=MOST_BITS).find_map(|bits| try_at(bits).map(|placed| (bits, placed)))
}

/// A program as a table, for a version of the data plane. `None` where it would be too large.
pub(super) fn table(program: &Program, version: u64) -> Option<Table> {
    let tuples = tuples(&program.rules);
    if tuples.len() > TUPLES {
        return None;
    }
    let seed = version | 1;
    let (port_factor, ports) = place_ports(&program.ports)?;
    let (slot_bits, cells) = cells(program, &tuples, seed)?;
    let mut head = Part::<HEAD>::default();
    head.u64(version);
    head.u32(0);
    [tuples.len() as u32, port_factor]
        .into_iter()
        .chain([program.actions.len() as u32, slot_bits])
        .for_each(|number| head.u32(number));
    head.u32(u32::from(program.drops_malformed) | u32::from(program.drops_oversized) << 1);
    head.u64(seed);
    let mut front = vec![0; FRONT];
    head.put(&mut front, 0);
    for (at, tuple) in tuples.iter().enumerate() {
        let mut part = Part::<TUPLE>::default();
        tuple.mask.iter().for_each(|word| part.u64(*word));
        part.u32(tuple.best);
        part.u32(groups(&tuple.mask));
        part.put(&mut front[HEAD..], at);
    }
    for (at, (ifindex, port)) in ports {
        port_part(ifindex, port).put(&mut front[PORTS_AT..], at);
    }
    let generation = generation(&[&front, &cells]).to_ne_bytes();
    front[GENERATION..GENERATION + 8].copy_from_slice(&generation);
    Some(Table { front, cells })
}

/// Actions and slots, and the number of slots as a power of two.
fn cells(program: &Program, tuples: &[Tuple], seed: u64) -> Option<(u32, Vec<u8>)> {
    let count = tuples.iter().map(|tuple| tuple.rules.len()).sum();
    let mut rules: Vec<(usize, &Words, u32)> = Vec::with_capacity(count);
    for (position, tuple) in tuples.iter().enumerate() {
        let all = tuple.rules.iter();
        rules.extend(all.map(|(value, rank)| (position, value, *rank)));
    }
    // The same rules make the same cells, in whatever order a map had them.
    rules.sort_unstable_by_key(|(_, _, rank)| *rank);
    let (slot_bits, slots) = smallest(count, |bits| {
        let all = rules.iter();
        place(all.map(|rule| {
            let start = hash(rule.1, groups(&tuples[rule.0].mask), seed, rule.0, bits);
            (start, *rule)
        }))
    })?;
    let slots_at = program.actions.len();
    let mut cells = vec![0; (slots_at + (1 << slot_bits) + PROBES) * CELL];
    for (at, action) in program.actions.iter().enumerate() {
        action_cell(action).put(&mut cells, at);
    }
    for (at, (tuple, value, rank)) in slots {
        let mut cell = Part::<CELL>::default();
        value.iter().for_each(|word| cell.u64(*word));
        cell.u32(tuple as u32);
        cell.u32(rank);
        cell.put(&mut cells, slots_at + at);
    }
    Some((slot_bits, cells))
}

/// Hash of everything (FNV-1a by words), by which the kernel knows what it remembers of another table; never 0.
fn generation(parts: &[&[u8]]) -> u64 {
    let words = parts.iter().flat_map(|part| part.as_chunks::<8>().0);
    let hash = words.fold(0xcbf2_9ce4_8422_2325_u64, |hash, word| {
        (hash ^ u64::from_ne_bytes(*word)).wrapping_mul(0x0100_0000_01b3)
    });
    hash.max(1)
}

fn port_part(ifindex: u32, port: &Port) -> Part<PORT> {
    let mut part = Part::default();
    part.u32(ifindex);
    part.u32(port.action);
    part.u32(if port.is_return {
        u32::from(tranche_steering::RETURNED)
    } else {
        0
    });
    part.u32(port.echoes.len() as u32);
    port.echoes.iter().for_each(|echo| part.bytes(echo));
    part
}

fn action_cell(action: &Action) -> Part<CELL> {
    let mut cell = Part::default();
    action.counters.iter().for_each(|(name, _)| cell.u64(*name));
    action
        .counters
        .iter()
        .for_each(|(_, position)| cell.u32(*position));
    [action.steps, action.ifindex, action.mtu, action.teid]
        .into_iter()
        .for_each(|number| cell.u32(number));
    cell.bytes(&action.vlan.to_ne_bytes());
    cell.bytes(&[action.qfi, 0]);
    for part in [
        &action.destination_mac[..],
        &action.source_mac,
        &action.local,
        &action.peer,
    ] {
        cell.bytes(part);
    }
    cell
}

/// Where the actions of a table count, by the hash of what they count: what an agent that comes later goes on with.
pub(super) fn counters_of(table: &Table) -> HashMap<u64, u32> {
    let count = table.front.get(SLOTS_AT..).and_then(<[u8]>::first_chunk);
    let count = count.map_or(0, |bytes| u32::from_ne_bytes(*bytes));
    let actions = table.cells.as_chunks::<CELL>().0.iter();
    let counted = actions.take(count as usize).flat_map(|action| {
        let names = action.as_chunks::<8>().0.iter();
        let positions = action[24..].as_chunks::<4>().0.iter();
        names.zip(positions).take(3)
    });
    counted
        .map(|(name, position)| (u64::from_ne_bytes(*name), u32::from_ne_bytes(*position)))
        .filter(|(_, position)| *position != 0)
        .collect()
}

/// A part of a table that is filled from its start.
struct Part<const SIZE: usize> {
    bytes: [u8; SIZE],
    used: usize,
}

impl<const SIZE: usize> Default for Part<SIZE> {
    fn default() -> Self {
        Self {
            bytes: [0; SIZE],
            used: 0,
        }
    }
}

impl<const SIZE: usize> Part<SIZE> {
    fn bytes(&mut self, bytes: &[u8]) {
        self.bytes[self.used..self.used + bytes.len()].copy_from_slice(bytes);
        self.used += bytes.len();
    }

    fn u32(&mut self, number: u32) {
        self.bytes(&number.to_ne_bytes());
    }

    fn u64(&mut self, number: u64) {
        self.bytes(&number.to_ne_bytes());
    }

    fn put(&self, parts: &mut [u8], at: usize) {
        parts[at * SIZE..(at + 1) * SIZE].copy_from_slice(&self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_place_is_found_for_each_if_there_is_one() {
        // In the order in which they come, the second would leave none to the last.
        let starts = [(1, 'a'), (1, 'b'), (1, 'c'), (0, 'd'), (0, 'e')];
        let placed = place(starts.into_iter()).expect("a place for each");
        assert_eq!(placed, [(0, 'd'), (1, 'e'), (2, 'a'), (3, 'b'), (4, 'c')]);
        assert!(place([(7, ()); PROBES].into_iter()).is_some());
        assert!(place([(7, ()); PROBES + 1].into_iter()).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20))]

        #[test]
        fn as_many_ports_as_a_node_may_have_find_their_places(
            numbers in prop::collection::btree_set(1..u32::MAX, tranche_steering::MOST_PORTS),
        ) {
            let port = Port { action: 0, is_return: false, echoes: Vec::new() };
            let ports = numbers.iter().map(|number| (*number, port.clone())).collect();
            let (factor, placed) = place_ports(&ports).expect("a place for each");
            prop_assert_eq!(placed.len(), ports.len());
            for (at, (ifindex, _)) in placed {
                let start = (ifindex.wrapping_mul(factor) >> (32 - PORT_BITS)) as usize;
                prop_assert!((at + (1 << PORT_BITS) - start) % (1 << PORT_BITS) < PORT_PROBES);
            }
        }
    }
}
