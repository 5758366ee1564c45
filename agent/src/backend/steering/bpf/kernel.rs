//! The program in the kernel: loading, finding again, its table and its counters as values.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use libbpf_rs::query::{ProgInfoIter, ProgInfoQueryOptions};
use libbpf_rs::{
    MapCore as _, MapFlags, MapHandle, MapType, Object, ObjectBuilder, Program, ProgramInput,
};
use tranche_steering::TOP;

use crate::backend::steering::engine::check;
use crate::backend::steering::program::{Failing, Found, Program as Wanted, Slots, program};
use crate::backend::steering::state::Counter;
use crate::backend::steering::table::{CELL, FRONT, Table, table};
use crate::backend::steering::{SteeringConfig, reference};
use crate::backend::{MacAddress, Refusal};

/// The compiled program.
static OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/steer.bpf.o"));
pub(super) const NAME: &str = "steer";
const FRONTS: &str = "fronts";
const TABLES: &str = "tables";
const COUNTERS: &str = "counters";
/// `BPF_F_INNER_MAP`: the maps of one place need not have one size.
const INNER_MAP: u32 = 1 << 12;
/// Cells that are read or written at once.
const BATCH: usize = 4096;

/// A program that is loaded, with its maps.
#[derive(Debug)]
pub(super) struct Kernel {
    program: OwnedFd,
    id: u32,
    fronts: MapHandle,
    tables: MapHandle,
    counters: MapHandle,
}

/// Which program it is: a hash of its object.
pub(super) fn version() -> u64 {
    OBJECT.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Opens and loads the object; a test says how it is to be changed before.
pub(super) fn load_object(replaying: bool) -> Result<Object, String> {
    // What libbpf prints goes to the log; what it returns says less.
    libbpf_rs::set_print(Some((libbpf_rs::PrintLevel::Warn, |_, text| {
        tracing::warn!(target: "libbpf", "{}", text.trim_end());
    })));
    let mut opened = ObjectBuilder::default()
        .open_memory(OBJECT)
        .map_err(|error| error.to_string())?;
    for mut map in opened
        .maps_mut()
        .filter(|map| map.name().to_string_lossy().ends_with(".rodata"))
    {
        let value = u32::from(replaying).to_ne_bytes();
        map.set_initial_value(&value)
            .map_err(|error| error.to_string())?;
    }
    opened.load().map_err(|error| match error.kind() {
        libbpf_rs::ErrorKind::PermissionDenied => {
            "no privilege to load BPF programs: run as root or with CAP_BPF and CAP_NET_ADMIN".to_owned()
        }
        _ => format!("the kernel does not take the steering program: {error} (the log has the verifier's words)"),
    })
}

impl Kernel {
    /// Loads the program, with no table. Takes a good part of a second: call it where blocking does no harm.
    pub(super) fn load() -> Result<Self, String> {
        Self::of(&load_object(false)?)
    }

    pub(super) fn of(object: &Object) -> Result<Self, String> {
        let map = |name: &str| {
            let found = object.maps().find(|map| map.name() == OsStr::new(name));
            let found = found.ok_or_else(|| format!("the program has no map {name}"))?;
            MapHandle::try_from(&found).map_err(|error| format!("map {name}: {error}"))
        };
        let program = object
            .progs()
            .find(|program| program.name() == OsStr::new(NAME));
        let program = program.ok_or_else(|| format!("there is no program {NAME}"))?;
        let fd = program
            .as_fd()
            .try_clone_to_owned()
            .map_err(|error| error.to_string())?;
        Ok(Self {
            id: Program::id_from_fd(fd.as_fd()).map_err(|error| error.to_string())?,
            program: fd,
            fronts: map(FRONTS)?,
            tables: map(TABLES)?,
            counters: map(COUNTERS)?,
        })
    }

    /// The program with this number, if it is ours and of this version.
    pub(super) fn adopt(id: u32) -> Option<Self> {
        let query = ProgInfoQueryOptions::default().include_map_ids(true);
        let info = ProgInfoIter::with_query_opts(query).find(|info| info.id == id)?;
        let maps: Vec<MapHandle> = info
            .map_ids
            .iter()
            .filter_map(|id| MapHandle::from_map_id(*id).ok())
            .collect();
        let map = |name: &str| maps.iter().find(|map| map.name() == OsStr::new(name));
        let kernel = Self {
            program: Program::fd_from_id(id).ok()?,
            id,
            fronts: MapHandle::try_from(map(FRONTS)?).ok()?,
            tables: MapHandle::try_from(map(TABLES)?).ok()?,
            counters: MapHandle::try_from(map(COUNTERS)?).ok()?,
        };
        let table = kernel.read().ok()??;
        (table.front.first_chunk() == Some(&version().to_ne_bytes())).then_some(kernel)
    }

    /// The program for the traffic control hook.
    pub(super) fn program(&self) -> BorrowedFd<'_> {
        self.program.as_fd()
    }

    /// Its number.
    pub(super) fn id(&self) -> u32 {
        self.id
    }

    /// The table in force; none before the first.
    pub(super) fn read(&self) -> Result<Option<Table>, String> {
        let Some(mut front) = self.front()? else {
            return Ok(None);
        };
        let turn = Table::turn(&mut front, 0);
        let Some(table) = inner(&self.tables, turn)? else {
            return Err(format!("the table at place {turn} is missing"));
        };
        let all = table.lookup_batch(BATCH as u32, MapFlags::ANY, MapFlags::ANY);
        let all = all.map_err(|error| format!("a table: {error}"))?;
        let mut cells = Vec::with_capacity(table.max_entries() as usize * CELL);
        for (_, cell) in all {
            cells.extend_from_slice(&cell);
        }
        Ok(Some(Table { front, cells }))
    }

    fn front(&self) -> Result<Option<Vec<u8>>, String> {
        let Some(front) = inner(&self.fronts, 0)? else {
            return Ok(None);
        };
        let front = front.lookup(&[0; 4], MapFlags::ANY);
        front.map_err(|error| format!("the front of a table: {error}"))
    }

    /// Puts a table in force, in one step for every packet: its cells at the place that no packet looks at, and then its front.
    pub(super) fn write(&self, wanted: &Table) -> Result<(), String> {
        let turn = match self.front()? {
            Some(mut front) => 1 - Table::turn(&mut front, 0).min(1),
            None => 0,
        };
        let cells = fill("steer_table", &wanted.cells, CELL, INNER_MAP)?;
        replace(&self.tables, turn, &cells)?;
        let mut front = wanted.front.clone();
        Table::turn(&mut front, turn);
        replace(&self.fronts, 0, &fill("steer_front", &front, FRONT, 0)?)
    }

    /// What was counted at a position, by all processors.
    pub(super) fn counter(&self, position: u32) -> Result<Counter, String> {
        let fault = |error| format!("counter {position}: {error}");
        let by_processor = self
            .counters
            .lookup_percpu(&position.to_ne_bytes(), MapFlags::ANY)
            .map_err(fault)?;
        let mut sum = Counter::default();
        for one in by_processor.unwrap_or_default() {
            let number = |at: usize| {
                one.get(at..)
                    .and_then(|rest| rest.first_chunk())
                    .map_or(0, |bytes| u64::from_ne_bytes(*bytes))
            };
            sum.packets += number(0);
            sum.bytes += number(8);
        }
        Ok(sum)
    }

    /// Lets a position begin at nothing.
    pub(super) fn clear(&self, position: u32) -> Result<(), String> {
        let processors = libbpf_rs::num_possible_cpus().map_err(|error| error.to_string())?;
        let nothing = vec![vec![0; 16]; processors];
        let cleared = self
            .counters
            .update_percpu(&position.to_ne_bytes(), &nothing, MapFlags::ANY);
        cleared.map_err(|error| format!("counter {position}: {error}"))
    }
}

/// The map at a place of others.
fn inner(maps: &MapHandle, place: u32) -> Result<Option<MapHandle>, String> {
    let id = maps.lookup(&place.to_ne_bytes(), MapFlags::ANY);
    let Some(id) = id.map_err(|error| error.to_string())? else {
        return Ok(None);
    };
    let id = id.first_chunk().map_or(0, |id| u32::from_ne_bytes(*id));
    let found = MapHandle::from_map_id(id);
    found
        .map(Some)
        .map_err(|error| format!("map {id}: {error}"))
}

/// Lets another map have a place. When this returns no packet looks at the one that had it.
fn replace(maps: &MapHandle, place: u32, by: &MapHandle) -> Result<(), String> {
    let fd = by.as_fd().as_raw_fd().to_ne_bytes();
    let replaced = maps.update(&place.to_ne_bytes(), &fd, MapFlags::ANY);
    replaced.map_err(|error| format!("a table: {error}"))
}

/// An array of values of one size.
fn fill(name: &str, values: &[u8], size: usize, map_flags: u32) -> Result<MapHandle, String> {
    let count = values.len() / size;
    let options = libbpf_sys::bpf_map_create_opts {
        sz: size_of::<libbpf_sys::bpf_map_create_opts>() as libbpf_sys::size_t,
        map_flags,
        ..Default::default()
    };
    let fault = |error| format!("a map of {count} times {size} octets: {error}");
    let map = MapHandle::create(
        MapType::Array,
        Some(name),
        4,
        size as u32,
        count as u32,
        &options,
    );
    let map = map.map_err(fault)?;
    for (batch, values) in values.chunks(BATCH * size).enumerate() {
        let first = batch * BATCH;
        let count = (values.len() / size) as u32;
        let mut keys = Vec::with_capacity(4 * count as usize);
        for key in (first as u32)..first as u32 + count {
            keys.extend_from_slice(&key.to_ne_bytes());
        }
        map.update_batch(&keys, values, count, MapFlags::ANY, MapFlags::ANY)
            .map_err(fault)?;
    }
    Ok(map)
}

/// A program with the loopback interface as its first port, as a table.
fn table_of(config: &SteeringConfig) -> Result<Table, Refusal> {
    check(config)?;
    let names = config.ports.iter().map(|port| port.name.clone());
    let found = |ifindex| Found {
        ifindex,
        mac: MacAddress([2; 6]),
        mtu: 1500,
        is_up: true,
        other_end: Some(MacAddress([4; 6])),
    };
    let interfaces = names
        .zip(1..)
        .map(|(name, ifindex)| (name, found(ifindex)))
        .collect();
    let counted = super::super::program::counted(config).zip(reference::FIRST..);
    let wanted: Wanted = program(
        config,
        &interfaces,
        &counted.collect::<Slots>(),
        &Failing::new(),
    );
    table(&wanted, version()).ok_or_else(|| refusal("there are too many rules".to_owned()))
}

fn refusal(message: String) -> Refusal {
    Refusal::new(TOP, message)
}

/// See [`super::cost`].
pub(super) fn measure(
    config: &SteeringConfig,
    frame: &[u8],
    repeat: u32,
) -> Result<Duration, Refusal> {
    let object = load_object(false).map_err(refusal)?;
    Kernel::of(&object)
        .map_err(refusal)?
        .write(&table_of(config)?)
        .map_err(refusal)?;
    let mut programs = object.progs_mut();
    let program = programs
        .next()
        .ok_or_else(|| refusal("there is no program".to_owned()))?;
    let input = ProgramInput {
        data_in: Some(frame),
        repeat,
        ..Default::default()
    };
    let output = program
        .test_run(input)
        .map_err(|error| refusal(error.to_string()))?;
    match output.return_value {
        // TC_ACT_REDIRECT
        7 => Ok(output.duration),
        // TC_ACT_OK
        0 if config.ports.is_empty() => Ok(output.duration),
        other => Err(refusal(format!("the packet is not redirected: {other}"))),
    }
}

/// See [`super::update_time`].
pub(super) fn measure_update(config: &SteeringConfig) -> Result<Duration, Refusal> {
    let kernel = Kernel::load().map_err(refusal)?;
    kernel
        .write(&table_of(&SteeringConfig::default())?)
        .map_err(refusal)?;
    let start = Instant::now();
    let table = table_of(config)?;
    kernel.write(&table).map_err(refusal)?;
    let read = kernel.read().map_err(refusal)?;
    let took = start.elapsed();
    match read == Some(table) {
        true => Ok(took),
        false => Err(refusal(
            io::Error::other("the kernel has another table").to_string(),
        )),
    }
}
