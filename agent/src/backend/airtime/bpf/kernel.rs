//! The program in the kernel: loading, pinning, finding again, and its maps as values.
//!
//! Everything is pinned below `/sys/fs/bpf/tranche/<node>/<version>`, and nothing is held by the process: programs go on
//! scheduling while the agent is away, and one that starts again opens the pins. A version is the hash of the object, so
//! that an agent with another program replaces what it finds.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use libbpf_rs::{MapCore, MapFlags, MapHandle, ObjectBuilder, Program};

use crate::backend::MacAddress;
use crate::backend::airtime::ffi;

/// The compiled program, with its types and relocations.
static OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/airtime.bpf.o"));
/// Where the kernel keeps pins.
const BPFFS: &str = "/sys/fs/bpf";
/// The program of the traffic control hook; the others are attached to mac80211.
const EGRESS: &str = "airtime_egress";
const MAPS: [&str; 6] = ["settings", "radios", "locks", "vifs", "stations", "delays"];
/// Radios that the program schedules.
pub(super) const RADIOS: u32 = 16;
/// Steps of the histogram of times that packets were held.
pub(super) const DELAY_STEPS: usize = 256;

/// A program that is loaded and attached to mac80211.
#[derive(Debug)]
pub(super) struct Kernel {
    egress: OwnedFd,
    egress_id: u32,
    settings: MapHandle,
    radios: MapHandle,
    vifs: MapHandle,
    stations: MapHandle,
    delays: MapHandle,
}

/// A vif as the program knows it (`struct vif`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Position of the radio.
    pub(super) radio: u32,
    /// Position on the radio.
    pub(super) slot: u32,
    /// Inode number of the network namespace.
    pub(super) netns: u32,
    /// Bytes on the air beside those of the Ethernet frame.
    pub(super) extra_bytes: u32,
}

/// What the agent wants of a radio (`struct airtime_settings`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) horizon_ns: u64,
    pub(super) interval_ns: u64,
    pub(super) burst_ns: u64,
    pub(super) overhead_ns: u64,
    pub(super) basic_kbps: u32,
    pub(super) ofdm_only: bool,
    pub(super) epoch: u32,
    /// By slot.
    pub(super) vifs: Vec<VifSettings>,
}

/// What the agent wants of a vif (`struct airtime_vif_settings`). All zero where there is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct VifSettings {
    pub(super) weight: u32,
    pub(super) ceiling: u32,
    pub(super) corrected: u32,
    pub(super) epoch: u32,
    pub(super) until_ns: u64,
    pub(super) min_ratio: u32,
    pub(super) corrected_min: u32,
}

/// A station as the program knows it (`struct airtime_station`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KernelStation {
    pub(super) ifindex: u32,
    pub(super) address: MacAddress,
    pub(super) rate_kbps: u32,
    pub(super) source: u32,
    pub(super) received_ns: u64,
}

impl Kernel {
    /// What is pinned for `node`, if it is this version and complete.
    pub(super) fn adopt(node: &str) -> Option<Self> {
        let pins = pins(node);
        Self::open(&pins).ok()
    }

    /// Loads the program for `node`, attaches it to mac80211 and pins it. Other versions are removed. Takes a good part of a
    /// second: call it where blocking does no harm.
    pub(super) fn load(node: &str) -> Result<Self, String> {
        check_kernel()?;
        let pins = pins(node);
        remove(&pins).map_err(|error| format!("cannot remove {}: {error}", pins.display()))?;
        fs::create_dir_all(&pins)
            .map_err(|error| format!("cannot make {}: {error}", pins.display()))?;
        let loaded = load_into(&pins).and_then(|()| Self::open(&pins));
        if loaded.is_err() {
            // The reason is in the error already.
            drop(remove_node(node));
        } else {
            remove_others(&pins);
        }
        loaded
    }

    fn open(pins: &Path) -> Result<Self, String> {
        let map = |name: &str| {
            MapHandle::from_pinned_path(pins.join(name))
                .map_err(|error| format!("map {name}: {error}"))
        };
        let attached = Trace::ALL
            .iter()
            .all(|trace| pins.join(trace.name()).exists());
        if !attached {
            return Err("the program is not attached to mac80211".to_owned());
        }
        let fault = |error| format!("program {EGRESS}: {error}");
        let egress = Program::fd_from_pinned_path(pins.join(EGRESS)).map_err(fault)?;
        let egress_id = Program::id_from_fd(egress.as_fd()).map_err(fault)?;
        Ok(Self {
            egress,
            egress_id,
            settings: map("settings")?,
            radios: map("radios")?,
            vifs: map("vifs")?,
            stations: map("stations")?,
            delays: map("delays")?,
        })
    }

    /// The program for the traffic control hook.
    pub(super) fn egress(&self) -> (BorrowedFd<'_>, u32) {
        (self.egress.as_fd(), self.egress_id)
    }

    /// Puts settings of a radio in force, and reads them back.
    pub(super) fn set_settings(&self, radio: u32, settings: &Settings) -> Result<(), String> {
        write(&self.settings, &radio.to_ne_bytes(), &settings.bytes())?;
        match self.settings(radio)? {
            read if read == *settings => Ok(()),
            _ => Err("the kernel did not take the settings of the scheduler".to_owned()),
        }
    }

    /// Settings of a radio as the kernel has them.
    pub(super) fn settings(&self, radio: u32) -> Result<Settings, String> {
        let bytes = read(&self.settings, &radio.to_ne_bytes())?.unwrap_or_default();
        Settings::parse(&bytes)
            .ok_or_else(|| "the settings in the kernel have another form".to_owned())
    }

    /// The state of a radio.
    pub(super) fn radio(&self, radio: u32) -> Result<Box<ffi::Radio>, String> {
        let bytes = read(&self.radios, &radio.to_ne_bytes())?.unwrap_or_default();
        ffi::Radio::from_bytes(&bytes)
            .ok_or_else(|| "the state of the radio in the kernel has another form".to_owned())
    }

    /// The vifs that are scheduled, by interface number.
    pub(super) fn places(&self) -> Result<Vec<(u32, Place)>, String> {
        let mut places = Vec::new();
        for key in self.vifs.keys() {
            let Some(value) = read(&self.vifs, &key)? else {
                continue;
            };
            let mut fields = Fields(&value);
            let place = Place {
                radio: fields.u32(),
                slot: fields.u32(),
                netns: fields.u32(),
                extra_bytes: fields.u32(),
            };
            places.push((Fields(&key).u32(), place));
        }
        places.sort_by_key(|(ifindex, _)| *ifindex);
        Ok(places)
    }

    /// Begins to schedule a vif.
    pub(super) fn set_place(&self, ifindex: u32, place: Place) -> Result<(), String> {
        let Place {
            radio,
            slot,
            netns,
            extra_bytes,
        } = place;
        let value: Vec<u8> = [radio, slot, netns, extra_bytes, 0]
            .iter()
            .flat_map(|field| field.to_ne_bytes())
            .collect();
        write(&self.vifs, &ifindex.to_ne_bytes(), &value)
    }

    /// Schedules a vif no more.
    pub(super) fn remove_place(&self, ifindex: u32) -> Result<(), String> {
        self.vifs
            .delete(&ifindex.to_ne_bytes())
            .map_err(|error| format!("map vifs: {error}"))
    }

    /// How many packets of a vif were held how long since it was loaded, by step of the histogram.
    pub(super) fn delays(&self, place: Place) -> Result<Vec<u32>, String> {
        let index = place.radio * crate::backend::airtime::law::MAX_VIFS as u32 + place.slot;
        let bytes = read(&self.delays, &index.to_ne_bytes())?.unwrap_or_default();
        let mut fields = Fields(&bytes);
        Ok((0..DELAY_STEPS).map(|_| fields.u32()).collect())
    }

    /// The stations that something was sent to.
    pub(super) fn stations(&self) -> Result<Vec<KernelStation>, String> {
        let mut stations = Vec::new();
        for key in self.stations.keys() {
            let Some(value) = read(&self.stations, &key)? else {
                continue;
            };
            let mut key_fields = Fields(&key);
            let ifindex = key_fields.u32();
            let address = MacAddress(key_fields.take());
            let mut fields = Fields(&value);
            let (rate_kbps, source, _ratio, _unused) =
                (fields.u32(), fields.u32(), fields.u32(), fields.u32());
            let (_registered, received_ns) = (fields.u64(), fields.u64());
            stations.push(KernelStation {
                ifindex,
                address,
                rate_kbps,
                source,
                received_ns,
            });
        }
        Ok(stations)
    }

    /// Says at which rate a station is sent to, of which the driver itself says nothing.
    pub(super) fn set_station_rate(
        &self,
        station: &KernelStation,
        rate_kbps: u32,
    ) -> Result<(), String> {
        let key = station.key();
        let Some(mut value) = read(&self.stations, &key)? else {
            return Ok(());
        };
        if let Some(first) = value.first_chunk_mut::<4>() {
            *first = rate_kbps.to_ne_bytes();
        }
        write(&self.stations, &key, &value)
    }

    /// Forgets the stations of an interface that is gone: its number may come back with other ones.
    pub(super) fn forget_stations(&self, ifindex: u32) -> Result<(), String> {
        for station in self
            .stations()?
            .iter()
            .filter(|station| station.ifindex == ifindex)
        {
            // It may be gone already.
            drop(self.stations.delete(&station.key()));
        }
        Ok(())
    }
}

impl KernelStation {
    fn key(&self) -> Vec<u8> {
        let mut key = self.ifindex.to_ne_bytes().to_vec();
        key.extend(self.address.0);
        key.extend([0; 2]);
        key
    }
}

impl Settings {
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for field in [
            self.horizon_ns,
            self.interval_ns,
            self.burst_ns,
            self.overhead_ns,
        ] {
            bytes.extend(field.to_ne_bytes());
        }
        let slots = self.vifs.len() as u32;
        for field in [
            self.basic_kbps,
            u32::from(self.ofdm_only),
            self.epoch,
            slots,
        ] {
            bytes.extend(field.to_ne_bytes());
        }
        for slot in 0..crate::backend::airtime::law::MAX_VIFS {
            let vif = self.vifs.get(slot).copied().unwrap_or_default();
            for field in [vif.weight, vif.ceiling, vif.corrected, vif.epoch] {
                bytes.extend(field.to_ne_bytes());
            }
            bytes.extend(vif.until_ns.to_ne_bytes());
            bytes.extend(vif.min_ratio.to_ne_bytes());
            bytes.extend(vif.corrected_min.to_ne_bytes());
        }
        bytes
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        let (horizon_ns, interval_ns, burst_ns, overhead_ns) =
            (fields.u64(), fields.u64(), fields.u64(), fields.u64());
        let (basic_kbps, ofdm_only, epoch, slots) =
            (fields.u32(), fields.u32() != 0, fields.u32(), fields.u32());
        let vif = |_| VifSettings {
            weight: fields.u32(),
            ceiling: fields.u32(),
            corrected: fields.u32(),
            epoch: fields.u32(),
            until_ns: fields.u64(),
            min_ratio: fields.u32(),
            corrected_min: fields.u32(),
        };
        let all: Vec<VifSettings> = (0..crate::backend::airtime::law::MAX_VIFS)
            .map(vif)
            .collect();
        let vifs = all.get(..slots as usize)?.to_vec();
        let read = Self {
            horizon_ns,
            interval_ns,
            burst_ns,
            overhead_ns,
            basic_kbps,
            ofdm_only,
            epoch,
            vifs,
        };
        (read.bytes().len() == bytes.len()).then_some(read)
    }
}

/// Programs that are attached to functions of mac80211.
#[derive(Debug, Clone, Copy)]
enum Trace {
    Status,
    Free,
    Register,
}

impl Trace {
    const ALL: [Self; 3] = [Self::Status, Self::Free, Self::Register];

    fn name(self) -> &'static str {
        match self {
            Self::Status => "airtime_status",
            Self::Free => "airtime_free",
            Self::Register => "airtime_register",
        }
    }
}

/// Numbers from the start of what the kernel returned; 0 where it is too short.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        match self.0.split_first_chunk::<N>() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => [0; N],
        }
    }

    fn u32(&mut self) -> u32 {
        u32::from_ne_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_ne_bytes(self.take())
    }
}

fn read(map: &MapHandle, key: &[u8]) -> Result<Option<Vec<u8>>, String> {
    map.lookup(key, MapFlags::ANY)
        .map_err(|error| format!("map {}: {error}", map.name().display()))
}

fn write(map: &MapHandle, key: &[u8], value: &[u8]) -> Result<(), String> {
    map.update(key, value, MapFlags::ANY)
        .map_err(|error| format!("map {}: {error}", map.name().display()))
}

fn load_into(pins: &Path) -> Result<(), String> {
    // What libbpf prints goes to the log; what it returns says less.
    libbpf_rs::set_print(Some((
        libbpf_rs::PrintLevel::Warn,
        |_, text| tracing::warn!(target: "libbpf", "{}", text.trim_end()),
    )));
    let opened = ObjectBuilder::default()
        .open_memory(OBJECT)
        .map_err(|error| error.to_string())?;
    let mut object = opened.load().map_err(|error| refused(&error))?;
    for mut map in object.maps_mut() {
        let name = map.name().to_string_lossy().into_owned();
        if MAPS.contains(&name.as_str()) {
            map.pin(pins.join(&name))
                .map_err(|error| format!("cannot pin map {name}: {error}"))?;
        }
    }
    for mut program in object.progs_mut() {
        let name = program.name().to_string_lossy().into_owned();
        if name == EGRESS {
            program
                .pin(pins.join(&name))
                .map_err(|error| format!("cannot pin program {name}: {error}"))?;
            continue;
        }
        let mut link = program
            .attach()
            .map_err(|error| format!("cannot attach {name} to mac80211: {error}"))?;
        link.pin(pins.join(&name))
            .map_err(|error| format!("cannot pin {name}: {error}"))?;
    }
    Ok(())
}

fn refused(error: &libbpf_rs::Error) -> String {
    match error.kind() {
        libbpf_rs::ErrorKind::PermissionDenied => {
            "no privilege to load BPF programs: run as root or with CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN".to_owned()
        }
        _ => format!("the kernel does not take the airtime scheduler: {error} (the log has the verifier's words)"),
    }
}

/// What the program needs of this machine, in a sentence for each.
pub(super) fn check_kernel() -> Result<(), String> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let is_mounted = mounts.lines().any(|line| {
        let mut words = line.split(' ').skip(1);
        words.next() == Some(BPFFS) && words.next() == Some("bpf")
    });
    if !is_mounted {
        return Err(format!(
            "no BPF file system at {BPFFS}: mount -t bpf bpf {BPFFS}"
        ));
    }
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        return Err("this kernel has no type information (CONFIG_DEBUG_INFO_BTF)".to_owned());
    }
    if !Path::new("/sys/module/mac80211").exists() {
        return Err("mac80211 is not loaded: there is no radio whose driver uses it".to_owned());
    }
    let is_module = Path::new("/sys/module/mac80211/initstate").exists();
    if is_module && !Path::new("/sys/kernel/btf/mac80211").exists() {
        return Err("mac80211 has no type information (CONFIG_DEBUG_INFO_BTF_MODULES)".to_owned());
    }
    Ok(())
}

/// Where this version is pinned. A bpffs takes no dots.
fn pins(node: &str) -> PathBuf {
    let version = OBJECT.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    node_pins(node).join(format!("{version:016x}"))
}

fn node_pins(node: &str) -> PathBuf {
    let name: String = node
        .chars()
        .map(|one| {
            if one.is_ascii_alphanumeric() || one == '-' {
                one
            } else {
                '_'
            }
        })
        .collect();
    Path::new(BPFFS).join("tranche").join(name)
}

/// Removes everything that is pinned for a node, of any version.
pub(super) fn remove_node(node: &str) -> io::Result<()> {
    remove(&node_pins(node))
}

fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => {
            // Empty only if no other node has pins.
            if let Some(parent) = directory
                .parent()
                .filter(|parent| parent.ends_with("tranche"))
            {
                drop(fs::remove_dir(parent));
            }
            Ok(())
        }
    }
}

/// Removes what other versions of the agent left.
fn remove_others(pins: &Path) {
    let Some(siblings) = pins.parent().and_then(|parent| fs::read_dir(parent).ok()) else {
        return;
    };
    for sibling in siblings
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path != pins)
    {
        if let Err(error) = remove(&sibling) {
            tracing::warn!(path = %sibling.display(), %error, "a former version of the scheduler stays in the kernel");
        }
    }
}
