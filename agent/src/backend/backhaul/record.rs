//! What a node has to remember of a tunnel that nobody configured: its keys, their numbers and ports, and how far a rotation
//! is.
//!
//! One file for each tunnel, readable by the agent's user only, replaced as a whole and flushed before anything depends on it.
//! That of a tunnel that was removed is set aside for a while: whoever takes the removal back brings the tunnel back with the
//! key that its peers know, also after a restart of the agent.
//!
//! ```text
//!  SLICE.key --tunnel removed--> SLICE.removed --tunnel made again in time--> SLICE.key
//!                                              --time over--> gone
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::key::{PrivateKey, PublicKey};

/// One key of a tunnel, with the interface that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Generation {
    /// Number of the key, from 1.
    pub(super) epoch: u64,
    pub(super) key: PrivateKey,
    /// UDP port.
    pub(super) port: u16,
    /// When it was made, in seconds since 1970.
    pub(super) made_s: u64,
}

impl Generation {
    pub(super) fn new(epoch: u64, port: u16) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            epoch,
            key: PrivateKey::generate(),
            port,
            made_s: since.unwrap_or_default().as_secs(),
        }
    }

    /// Name of its interface: at most four digits, of which two that are there at once never have the same.
    pub(super) fn interface(&self, prefix: &str) -> String {
        format!("{prefix}{}", self.epoch % 10_000)
    }

    pub(super) fn made(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.made_s)
    }
}

/// All of one tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The highest number that was given to a key.
    pub(super) last_epoch: u64,
    /// In force.
    pub(super) current: Generation,
    /// On its way in.
    #[serde(default)]
    pub(super) next: Option<Generation>,
    /// On its way out.
    #[serde(default)]
    pub(super) retiring: Option<Generation>,
    /// Keys of peers that came into force with the one of this node, in its last rotation: where one of them is configured as
    /// `next`, nobody has written that down yet, or what was written is taken back.
    #[serde(default)]
    pub(super) turned: BTreeSet<PublicKey>,
    /// Peers that somebody asked for in the place of a better one.
    #[serde(default)]
    pub(super) pinned: BTreeSet<String>,
    /// The port that was configured for it last, if any: who comes back with another one wants that.
    #[serde(default)]
    pub(super) configured_port: Option<u16>,
    /// Where peers that call were heard last, by key: an agent that has forgotten their sessions calls them there, for it would
    /// take them 15 s to notice.
    #[serde(default)]
    pub(super) heard: BTreeMap<PublicKey, SocketAddr>,
}

impl Record {
    /// Of a tunnel that is new.
    pub(super) fn new(port: u16) -> Self {
        Self {
            last_epoch: 1,
            current: Generation::new(1, port),
            next: None,
            retiring: None,
            turned: BTreeSet::new(),
            pinned: BTreeSet::new(),
            configured_port: None,
            heard: BTreeMap::new(),
        }
    }

    /// All keys there are.
    pub(super) fn generations(&self) -> impl Iterator<Item = &Generation> {
        [
            Some(&self.current),
            self.next.as_ref(),
            self.retiring.as_ref(),
        ]
        .into_iter()
        .flatten()
    }
}

/// What others may know of a record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Own {
    /// The key in force, then those on their way in and out.
    pub(super) keys: Vec<OwnKey>,
    /// See [`Record::configured_port`]: after a rotation nobody need receive there.
    pub(super) configured_port: Option<u16>,
}

impl Own {
    /// Whether the tunnel receives at a port.
    pub(super) fn receives_at(&self, port: u16) -> bool {
        self.keys.iter().any(|key| key.port == port)
    }

    /// Whether a port is another tunnel's to leave alone: this one receives there, or may come back to it.
    pub(super) fn claims(&self, port: u16) -> bool {
        self.receives_at(port) || self.configured_port == Some(port)
    }
}

impl From<&Record> for Own {
    fn from(record: &Record) -> Self {
        Self {
            keys: record.generations().map(Into::into).collect(),
            configured_port: record.configured_port,
        }
    }
}

/// A key as others may know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OwnKey {
    pub(super) public_key: PublicKey,
    pub(super) port: u16,
}

impl From<&Generation> for OwnKey {
    fn from(generation: &Generation) -> Self {
        Self {
            public_key: generation.key.public(),
            port: generation.port,
        }
    }
}

/// Where records are kept.
#[derive(Debug)]
pub(super) enum Ledger {
    /// In files of a directory.
    Directory(PathBuf),
    /// Nowhere: of a node that has no directory.
    Memory(Mutex<Memory>),
}

/// Records of a node that has no directory.
#[derive(Debug, Default)]
pub(super) struct Memory {
    kept: HashMap<String, Record>,
    removed: HashMap<String, (SystemTime, Record)>,
}

impl Ledger {
    /// The record of a tunnel, if there is one.
    ///
    /// # Errors
    /// The file cannot be read, or is none of ours.
    pub(super) fn load(&self, slice: &str) -> io::Result<Option<Record>> {
        let directory = match self {
            Self::Directory(directory) => directory,
            Self::Memory(records) => {
                let records = records.lock().unwrap_or_else(PoisonError::into_inner);
                return Ok(records.kept.get(slice).cloned());
            }
        };
        read(&file(directory, slice))
    }

    /// The record of a tunnel that was removed lately, if it was: with [`Ledger::save`] it is one that is kept again.
    ///
    /// # Errors
    /// The file cannot be read, or is none of ours.
    pub(super) fn load_removed(&self, slice: &str, within: Duration) -> io::Result<Option<Record>> {
        let directory = match self {
            Self::Directory(directory) => directory,
            Self::Memory(records) => {
                let records = records.lock().unwrap_or_else(PoisonError::into_inner);
                let removed = records.removed.get(slice);
                let lately = removed.filter(|(at, _)| !is_over(*at, within));
                return Ok(lately.map(|(_, record)| record.clone()));
            }
        };
        let path = removed_file(directory, slice);
        match fs::metadata(&path).and_then(|found| found.modified()) {
            Ok(at) if !is_over(at, within) => read(&path),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(None),
        }
    }

    /// Keeps a record; it is on the disk when this returns.
    ///
    /// # Errors
    /// The file cannot be written. What was kept before still is.
    pub(super) fn save(&self, slice: &str, record: &Record) -> io::Result<()> {
        let directory = match self {
            Self::Directory(directory) => directory,
            Self::Memory(records) => {
                let mut records = records.lock().unwrap_or_else(PoisonError::into_inner);
                records.kept.insert(slice.to_owned(), record.clone());
                records.removed.remove(slice);
                return Ok(());
            }
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
        let (path, new) = (file(directory, slice), new_file(directory, slice));
        let text = serde_json::to_vec(record).map_err(io::Error::other)?;
        let mut out = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&new)?;
        out.write_all(&text)?;
        out.sync_all()?;
        fs::rename(&new, &path)?;
        if_there(fs::remove_file(removed_file(directory, slice)))?;
        File::open(directory)?.sync_all()
    }

    /// Sets a record aside, from now on for as long as [`Ledger::forget`] lets it be.
    ///
    /// # Errors
    /// The file cannot be moved.
    pub(super) fn remove(&self, slice: &str) -> io::Result<()> {
        let directory = match self {
            Self::Directory(directory) => directory,
            Self::Memory(records) => {
                let mut records = records.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(record) = records.kept.remove(slice) {
                    let removed = (SystemTime::now(), record);
                    records.removed.insert(slice.to_owned(), removed);
                }
                return Ok(());
            }
        };
        if_there(fs::remove_file(new_file(directory, slice)))?;
        let path = file(directory, slice);
        match OpenOptions::new().write(true).open(&path) {
            // The time of the change says since when.
            Ok(file) => file.set_modified(SystemTime::now())?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        }
        fs::rename(&path, removed_file(directory, slice))?;
        File::open(directory)?.sync_all()
    }

    /// Forgets the records that were set aside longer ago than this.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub(super) fn forget(&self, after: Duration) -> io::Result<()> {
        let directory = match self {
            Self::Directory(directory) => directory,
            Self::Memory(records) => {
                let mut records = records.lock().unwrap_or_else(PoisonError::into_inner);
                records.removed.retain(|_, (at, _)| !is_over(*at, after));
                return Ok(());
            }
        };
        for path in files(directory, REMOVED)? {
            if is_over(fs::metadata(&path)?.modified()?, after) {
                if_there(fs::remove_file(&path))?;
            }
        }
        Ok(())
    }

    /// Removes what writes that were cut short left. Only while nothing is kept or removed.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub(super) fn sweep(&self) -> io::Result<()> {
        let Self::Directory(directory) = self else {
            return Ok(());
        };
        for path in files(directory, NEW)? {
            if_there(fs::remove_file(&path))?;
        }
        Ok(())
    }

    /// The tunnels that have a record.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub(super) fn slices(&self) -> io::Result<Vec<String>> {
        match self {
            Self::Directory(directory) => {
                let slice = |path: &PathBuf| {
                    let name = path.file_name()?.to_str()?;
                    Some(name.strip_suffix(SUFFIX)?.to_owned())
                };
                let files = files(directory, SUFFIX)?;
                Ok(files.iter().filter_map(slice).collect())
            }
            Self::Memory(records) => {
                let records = records.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(records.kept.keys().cloned().collect())
            }
        }
    }
}

const SUFFIX: &str = ".key";
const REMOVED: &str = ".removed";
const NEW: &str = ".new";

/// The files whose names end so; none where there is no directory yet.
fn files(directory: &Path, end: &str) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let paths: io::Result<Vec<PathBuf>> = entries.map(|one| Ok(one?.path())).collect();
    let ends = |path: &PathBuf| path.to_str().is_some_and(|path| path.ends_with(end));
    Ok(paths?.into_iter().filter(ends).collect())
}

fn read(path: &Path) -> io::Result<Option<Record>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    // The parser's own words could repeat a part of a key.
    let damaged = |_| io::Error::new(io::ErrorKind::InvalidData, "the file is damaged");
    serde_json::from_slice(&text).map(Some).map_err(damaged)
}

/// Whether so much time has passed; a clock that was set back makes it longer.
fn is_over(since: SystemTime, after: Duration) -> bool {
    since.elapsed().is_ok_and(|age| age >= after)
}

/// What is not there need not be removed.
fn if_there(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Where a record is written before it takes the place of the one that is kept.
fn new_file(directory: &Path, slice: &str) -> PathBuf {
    directory.join(format!("{slice}{NEW}"))
}

fn removed_file(directory: &Path, slice: &str) -> PathBuf {
    directory.join(format!("{slice}{REMOVED}"))
}

/// The schema has no slash in the name of a slice, and no dot at its start.
fn file(directory: &Path, slice: &str) -> PathBuf {
    directory.join(format!("{slice}{SUFFIX}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_record_is_kept_for_the_owner_only_and_goes_without_a_trace() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("backhaul");
        let ledger = Ledger::Directory(place.clone());
        assert_eq!(ledger.slices().unwrap(), Vec::<String>::new());
        let mut record = Record::new(51820);
        let peer = PrivateKey::generate().public();
        record.heard = BTreeMap::from([(peer, "192.0.2.1:7".parse().unwrap())]);
        ledger.save("city.cam", &record).unwrap();
        assert_eq!(ledger.load("city.cam").unwrap(), Some(record));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&place), 0o700);
        assert_eq!(mode(&place.join("city.cam.key")), 0o600);
        assert_eq!(ledger.slices().unwrap(), ["city.cam"]);
        ledger.remove("city.cam").unwrap();
        assert_eq!(ledger.load("city.cam").unwrap(), None);
        assert_eq!(ledger.slices().unwrap(), Vec::<String>::new());
        assert_eq!(mode(&place.join("city.cam.removed")), 0o600);
        ledger.forget(LONG).unwrap();
        assert_eq!(fs::read_dir(&place).unwrap().count(), 1);
        ledger.forget(Duration::ZERO).unwrap();
        assert_eq!(fs::read_dir(&place).unwrap().count(), 0);
    }

    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn a_record_that_was_removed_comes_back_once_and_in_time_only() {
        let dir = tempfile::tempdir().unwrap();
        for ledger in [
            Ledger::Directory(dir.path().to_owned()),
            Ledger::Memory(Mutex::default()),
        ] {
            let record = Record::new(51820);
            ledger.save("a", &record).unwrap();
            assert_eq!(ledger.load_removed("a", LONG).unwrap(), None);
            ledger.remove("a").unwrap();
            ledger.remove("never.there").unwrap();
            assert_eq!(ledger.load_removed("a", Duration::ZERO).unwrap(), None);
            let found = ledger.load_removed("a", LONG).unwrap();
            assert_eq!(found.as_ref(), Some(&record));
            ledger.save("a", &record).unwrap();
            assert_eq!(ledger.load_removed("a", LONG).unwrap(), None);
        }
    }

    #[test]
    fn what_a_write_that_was_cut_short_left_goes_with_the_tunnel_and_at_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::Directory(dir.path().to_owned());
        let record = Record::new(51820);
        let files = || {
            let entries = fs::read_dir(dir.path()).unwrap();
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            names.collect::<BTreeSet<_>>()
        };
        let cut_short = || fs::write(dir.path().join("a.new"), "{\"current\":\"SECRET\"").unwrap();
        ledger.save("a", &record).unwrap();
        cut_short();
        ledger.remove("a").unwrap();
        assert_eq!(files(), ["a.removed".to_owned()].into());
        // Of a tunnel that was never kept.
        cut_short();
        ledger.remove("a").unwrap();
        assert_eq!(files(), ["a.removed".to_owned()].into());
        ledger.save("a", &record).unwrap();
        cut_short();
        Ledger::Directory(dir.path().to_owned()).sweep().unwrap();
        assert_eq!(files(), ["a.key".to_owned()].into());
        assert_eq!(ledger.load("a").unwrap(), Some(record));
    }

    #[test]
    fn a_damaged_record_is_an_error_that_repeats_nothing_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::Directory(dir.path().to_owned());
        fs::write(dir.path().join("a.key"), "{\"current\":\"SECRET\"}").unwrap();
        let error = ledger.load("a").unwrap_err();
        assert_eq!(error.to_string(), "the file is damaged");
    }
}
