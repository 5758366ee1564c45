//! One child process: found, started, listened to and ended.
//!
//! Owns the process: whoever drops a [`Process`] ends it, at once and for sure, also while unwinding.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::error::Error;

/// How many bytes of a log a failure shows.
const LAST_WORDS_BYTES: usize = 4000;

/// The path of a binary of this workspace: below `TRANCHE_BIN_DIR` where that is set, else beside the running program.
///
/// # Errors
/// When it is not there.
pub fn binary(name: &str) -> Result<PathBuf, Error> {
    let dir = if let Some(dir) = std::env::var_os("TRANCHE_BIN_DIR") {
        PathBuf::from(dir)
    } else {
        let own = std::env::current_exe().map_err(Error::system("path of this program"))?;
        // Test programs are one directory further down.
        let dirs = own.ancestors().skip(1);
        let mut dirs = dirs.skip_while(|dir| dir.ends_with("deps"));
        dirs.next().unwrap_or(Path::new(".")).to_owned()
    };
    let path = dir.join(name);
    if path.is_file() {
        Ok(path)
    } else {
        Err(Error::NotBuilt { path })
    }
}

/// A running child process.
#[derive(Debug)]
pub struct Process {
    program: String,
    child: Child,
    lines: mpsc::Receiver<String>,
    log: PathBuf,
}

impl Process {
    /// Starts a program. Its standard error goes to the file `log`, appended; its standard input is empty.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn start(program: &Path, arguments: &[String], log: &Path) -> Result<Self, Error> {
        let name = program
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let stderr = File::options()
            .create(true)
            .append(true)
            .open(log)
            .map_err(Error::system(log.display().to_string()))?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .map_err(Error::system(program.display().to_string()))?;
        let (sender, lines) = mpsc::channel(1024);
        if let Some(stdout) = child.stdout.take() {
            // Ends with the pipe, that is with the process. What nobody takes is read all the same and lost, so that the
            // process never waits for a reader.
            std::thread::spawn(move || {
                for line in BufReader::new(stdout).lines() {
                    let Ok(line) = line else { return };
                    drop(sender.try_send(line));
                }
            });
        }
        Ok(Self {
            program: name,
            child,
            lines,
            log: log.to_owned(),
        })
    }

    /// Process identifier.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for `count` lines on standard output that begin with `prefix`.
    ///
    /// # Errors
    /// When the process ends before, or `limit` passes.
    pub async fn lines_with(
        &mut self,
        prefix: &str,
        count: usize,
        limit: Duration,
    ) -> Result<Vec<String>, Error> {
        let mut found = Vec::new();
        let deadline = tokio::time::Instant::now() + limit;
        while found.len() < count {
            match tokio::time::timeout_at(deadline, self.lines.recv()).await {
                Ok(Some(line)) if line.starts_with(prefix) => found.push(line),
                Ok(Some(_)) => {}
                Ok(None) => {
                    let status = self.wait_briefly().await;
                    let status = status.map_or_else(
                        || "closed its output".to_owned(),
                        |s| format!("ended ({s})"),
                    );
                    return Err(self.failure(&format!("{status} before it said {prefix:?}")));
                }
                Err(_) => {
                    return Err(self.failure(&format!("did not say {prefix:?} within {limit:?}")));
                }
            }
        }
        Ok(found)
    }

    /// Waits for the process to end by itself.
    ///
    /// # Errors
    /// When it does not within `limit`.
    pub async fn wait(&mut self, limit: Duration) -> Result<ExitStatus, Error> {
        let deadline = tokio::time::Instant::now() + limit;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) if tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Ok(None) => return Err(self.failure(&format!("did not end within {limit:?}"))),
                Err(source) => {
                    return Err(Error::System {
                        what: self.program.clone(),
                        source,
                    });
                }
            }
        }
    }

    /// Ends the process as a power failure would (SIGKILL) and waits until it is gone.
    pub fn kill(&mut self) {
        // Both fail only where the process is gone already, which is what is wanted.
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// The end of what the process wrote to standard error.
    #[must_use]
    pub fn last_words(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(LAST_WORDS_BYTES)..]).into_owned()
    }

    async fn wait_briefly(&mut self) -> Option<ExitStatus> {
        self.wait(Duration::from_secs(2)).await.ok()
    }

    fn failure(&self, what: &str) -> Error {
        Error::Process {
            program: self.program.clone(),
            what: what.to_owned(),
            last_words: self.last_words(),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, dir: &tempfile::TempDir) -> Process {
        let arguments = ["-c".to_owned(), script.to_owned()];
        Process::start(Path::new("/bin/sh"), &arguments, &dir.path().join("log")).unwrap()
    }

    #[tokio::test]
    async fn lines_are_found_among_others() {
        let dir = tempfile::tempdir().unwrap();
        let mut process = sh(
            "echo noise; echo ready a; echo ready b; exec sleep 60",
            &dir,
        );
        let lines = process
            .lines_with("ready", 2, Duration::from_secs(10))
            .await
            .unwrap();
        assert_eq!(lines, ["ready a", "ready b"]);
    }

    #[tokio::test]
    async fn a_process_that_ends_early_is_quoted() {
        let dir = tempfile::tempdir().unwrap();
        let mut process = sh("echo no such radio >&2; exit 3", &dir);
        let error = process
            .lines_with("ready", 1, Duration::from_secs(10))
            .await
            .unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("exit status: 3") && text.contains("no such radio"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn a_dropped_process_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let process = sh("exec sleep 60", &dir);
        let proc = PathBuf::from(format!("/proc/{}", process.id()));
        assert!(proc.exists());
        drop(process);
        assert!(!proc.exists());
    }
}
