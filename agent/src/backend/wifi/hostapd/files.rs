//! The files of one hostapd: where they are, and who may read them.

use std::fs;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::HostapdError;
use crate::backend::wifi::daemon;

/// hostapd's log is cut when it is longer.
const LOG_BYTES: u64 = 256 * 1024;

/// The directory of one radio's hostapd.
#[derive(Debug, Clone)]
pub struct Files(PathBuf);

impl Files {
    pub(super) fn new(directory: &Path) -> Self {
        Self(directory.to_owned())
    }

    /// The directory of the control sockets, one for each access point.
    #[must_use]
    pub fn control(&self) -> PathBuf {
        self.0.join("control")
    }

    pub(super) fn socket(&self, interface: &str) -> PathBuf {
        self.control().join(interface)
    }

    pub(super) fn global(&self) -> PathBuf {
        self.0.join("global")
    }

    pub(super) fn pid(&self) -> PathBuf {
        self.0.join("pid")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    pub(super) fn radio(&self) -> PathBuf {
        self.0.join("radio.conf")
    }

    /// What the access point of an interface runs; there as long as it does.
    #[must_use]
    pub fn bss(&self, interface: &str) -> PathBuf {
        self.0.join("bss").join(interface)
    }

    /// Makes the directories and an empty log, for nobody but root, without what an earlier hostapd left.
    pub(super) fn make(&self) -> Result<(), HostapdError> {
        self.clear()?;
        for directory in [self.0.clone(), self.control(), self.0.join("bss")] {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&directory)
                .map_err(failed(&directory))?;
        }
        self.write(&self.log(), "")
    }

    /// Removes the directory.
    pub(super) fn clear(&self) -> Result<(), HostapdError> {
        absent_is_fine(fs::remove_dir_all(&self.0)).map_err(failed(&self.0))
    }

    /// The process in the pid file, if it is a hostapd of this directory that runs still: numbers go from one process to
    /// another.
    pub(super) fn process(&self) -> Option<u32> {
        let pid: u32 = fs::read_to_string(self.pid()).ok()?.trim().parse().ok()?;
        daemon::has_argument(pid, &self.global()).then_some(pid)
    }

    pub(super) fn log_length(&self) -> u64 {
        fs::metadata(self.log()).map_or(0, |file| file.len())
    }

    /// What was logged from `start` on; empty if it can't be read.
    pub(super) fn log_since(&self, start: u64) -> String {
        let read = || -> io::Result<Vec<u8>> {
            let mut file = fs::File::open(self.log())?;
            file.seek(SeekFrom::Start(start))?;
            let mut text = Vec::new();
            file.take(LOG_BYTES).read_to_end(&mut text)?;
            Ok(text)
        };
        String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
    }

    pub(super) fn trim_log(&self) -> Result<(), HostapdError> {
        if self.log_length() <= LOG_BYTES {
            return Ok(());
        }
        // hostapd appends: it goes on at the new end.
        fs::OpenOptions::new()
            .write(true)
            .open(self.log())
            .and_then(|file| file.set_len(0))
            .map_err(failed(&self.log()))
    }

    /// Writes one of the files for nobody but root, all of it or nothing.
    pub(super) fn write(&self, path: &Path, text: &str) -> Result<(), HostapdError> {
        let draft = self.0.join("draft");
        let write = || {
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&draft)?;
            file.write_all(text.as_bytes())?;
            fs::rename(&draft, path)
        };
        write().map_err(failed(path))
    }
}

/// Reads a file; one that is not there is empty.
pub(super) fn read(path: &Path) -> Result<String, HostapdError> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        read => read.map_err(failed(path)),
    }
}

pub(super) fn remove(path: &Path) -> Result<(), HostapdError> {
    absent_is_fine(fs::remove_file(path)).map_err(failed(path))
}

fn absent_is_fine(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> HostapdError {
    let path = path.to_owned();
    move |source| HostapdError::File { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn files_are_for_root_only() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(&dir.path().join("phy0"));
        files.make().unwrap();
        files
            .write(&files.bss("t-a"), "wpa_passphrase=secret\n")
            .unwrap();
        for (path, mode) in [
            (files.bss("t-a"), 0o600),
            (files.log(), 0o600),
            (files.control(), 0o700),
        ] {
            let permissions = fs::metadata(&path).unwrap().permissions();
            assert_eq!(permissions.mode() & 0o777, mode, "{}", path.display());
        }
        assert_eq!(read(&files.bss("t-b")).unwrap(), "");
    }

    #[test]
    fn a_pid_that_went_to_another_process_is_not_ours() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(dir.path());
        files
            .write(&files.pid(), &format!("{}\n", std::process::id()))
            .unwrap();
        assert_eq!(files.process(), None);
    }

    #[test]
    fn the_log_is_cut_when_it_is_long() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(dir.path());
        files
            .write(&files.log(), &"x".repeat(LOG_BYTES as usize))
            .unwrap();
        files.trim_log().unwrap();
        assert_eq!(files.log_length(), LOG_BYTES);
        assert_eq!(files.log_since(LOG_BYTES - 2), "xx");
        files
            .write(&files.log(), &"x".repeat(LOG_BYTES as usize + 1))
            .unwrap();
        files.trim_log().unwrap();
        assert_eq!(files.log_length(), 0);
    }
}
