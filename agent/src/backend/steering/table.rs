//! A program as the cells that the kernel looks packets up in (`bpf/steer.h` says how), and what the search structure tells
//! beside: which rules are never reached.

use std::collections::{BTreeMap, HashMap};

use tranche_steering::{Pattern, TUPLES, WORDS, Words};

use super::program::{Action, Port, Program};

/// Octets of a cell.
pub(super) const CELL: usize = 128;
const PROBES: usize = 4;
/// Where the head has the generation.
const GENERATION: usize = 48;
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

/// Puts things where their hash points or a little behind; `None` where there is no room.
fn place<T>(things: impl Iterator<Item = (usize, T)>) -> Option<Placed<T>> {
    let mut placed = Placed::new();
    for (start, thing) in things {
        let free = (start..start + PROBES).find(|at| !placed.contains_key(at))?;
        placed.insert(free, thing);
    }
    Some(placed)
}

/// The smallest power of two at which everything finds its place, beginning with room for twice as much.
fn smallest<T>(
    count: usize,
    try_at: impl Fn(u32) -> Option<Placed<T>>,
) -> Option<(u32, Placed<T>)> {
    let first = (2 * count.max(1)).next_power_of_two().ilog2().max(1);
    (first..=MOST_BITS).find_map(|bits| try_at(bits).map(|placed| (bits, placed)))
}

/// The cells of a program, for a version of the data plane. `None` where they would be too many.
pub(super) fn cells(program: &Program, version: u64) -> Option<Vec<u8>> {
    let tuples = tuples(&program.rules);
    if tuples.len() > TUPLES {
        return None;
    }
    let seed = version | 1;
    let (port_bits, ports) = smallest(program.ports.len(), |bits| {
        place(program.ports.iter().map(|(ifindex, port)| {
            let start = ifindex.wrapping_mul(PORT_FACTOR) >> (32 - bits);
            (start as usize, (*ifindex, port))
        }))
    })?;
    let count = tuples.iter().map(|tuple| tuple.rules.len()).sum();
    let mut rules: Vec<(usize, &Words, u32)> = Vec::with_capacity(count);
    for (position, tuple) in tuples.iter().enumerate() {
        rules.extend(
            tuple
                .rules
                .iter()
                .map(|(value, rank)| (position, value, *rank)),
        );
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
    let ports_at = 1 + tuples.len();
    let actions_at = ports_at + (1 << port_bits) + PROBES;
    let slots_at = actions_at + program.actions.len();
    let mut cells = vec![0; (slots_at + (1 << slot_bits) + PROBES) * CELL];
    let numbers = [
        tuples.len(),
        ports_at,
        port_bits as usize,
        actions_at,
        slots_at,
        slot_bits as usize,
    ];
    let mut head = Cell::default();
    head.u64(version);
    numbers.iter().for_each(|number| head.u32(*number as u32));
    head.u32(u32::from(program.drops_malformed) | u32::from(program.drops_oversized) << 1);
    head.u32(0);
    head.u64(seed);
    head.put(&mut cells, 0);
    for (at, tuple) in tuples.iter().enumerate() {
        let mut cell = Cell::default();
        tuple.mask.iter().for_each(|word| cell.u64(*word));
        cell.u32(tuple.best);
        cell.u32(groups(&tuple.mask));
        cell.put(&mut cells, 1 + at);
    }
    for (at, (ifindex, port)) in ports {
        port_cell(ifindex, port).put(&mut cells, ports_at + at);
    }
    for (at, action) in program.actions.iter().enumerate() {
        action_cell(action).put(&mut cells, actions_at + at);
    }
    for (at, (tuple, value, rank)) in slots {
        let mut cell = Cell::default();
        value.iter().for_each(|word| cell.u64(*word));
        cell.u32(tuple as u32);
        cell.u32(rank);
        cell.put(&mut cells, slots_at + at);
    }
    let generation = generation(&cells).to_ne_bytes();
    cells[GENERATION..GENERATION + 8].copy_from_slice(&generation);
    Some(cells)
}

/// Hash of all cells (FNV-1a by words), by which the kernel knows what it remembers of another table; never 0.
fn generation(cells: &[u8]) -> u64 {
    let words = cells.as_chunks::<8>().0.iter();
    let hash = words.fold(0xcbf2_9ce4_8422_2325_u64, |hash, word| {
        (hash ^ u64::from_ne_bytes(*word)).wrapping_mul(0x0100_0000_01b3)
    });
    hash.max(1)
}

fn port_cell(ifindex: u32, port: &Port) -> Cell {
    let mut cell = Cell::default();
    cell.u32(ifindex);
    cell.u32(port.action);
    cell.u32(if port.is_return {
        u32::from(tranche_steering::RETURNED)
    } else {
        0
    });
    cell.u32(port.echoes.len() as u32);
    port.echoes.iter().for_each(|echo| cell.bytes(echo));
    cell
}

fn action_cell(action: &Action) -> Cell {
    let mut cell = Cell::default();
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

/// Where the actions of cells count, by the hash of what they count: what an agent that comes later goes on with.
pub(super) fn counters_of(cells: &[u8]) -> HashMap<u64, u32> {
    let u32_at = |at: usize| {
        cells
            .get(at..)?
            .first_chunk()
            .map(|bytes| u32::from_ne_bytes(*bytes))
    };
    let u64_at = |at: usize| {
        cells
            .get(at..)?
            .first_chunk()
            .map(|bytes| u64::from_ne_bytes(*bytes))
    };
    let (Some(first), Some(end)) = (u32_at(20), u32_at(24)) else {
        return HashMap::new();
    };
    let actions = first as usize..end as usize;
    let all = actions.flat_map(|action| {
        (0..3).map(move |which| (action * CELL + which * 8, action * CELL + 24 + which * 4))
    });
    let all = all.filter_map(|(name, position)| Some((u64_at(name)?, u32_at(position)?)));
    all.filter(|(_, position)| *position != 0).collect()
}

/// A cell that is filled from its start.
struct Cell {
    bytes: [u8; CELL],
    used: usize,
}

impl Default for Cell {
    fn default() -> Self {
        Self {
            bytes: [0; CELL],
            used: 0,
        }
    }
}

impl Cell {
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

    fn put(&self, cells: &mut [u8], at: usize) {
        cells[at * CELL..(at + 1) * CELL].copy_from_slice(&self.bytes);
    }
}
