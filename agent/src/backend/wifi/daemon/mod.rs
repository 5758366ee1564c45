//! Daemons that outlive the agent (hostapd, wpa_supplicant): found by a file that is an argument of theirs alone, asked over
//! their control sockets, ended.

mod control;

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

pub(super) use control::Control;

/// A process that is ended by force is gone within this time.
const GONE_WITHIN: Duration = Duration::from_secs(5);

const POLL: Duration = Duration::from_millis(50);

/// Lines of a log that an error repeats.
const WORDS: usize = 4;

/// Whether a process was started with this argument. One that has ended but was not waited for has no command line any
/// more.
pub(super) fn has_argument(pid: u32, argument: &Path) -> bool {
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    command
        .split(|octet| *octet == 0)
        .any(|one| one == argument.as_os_str().as_encoded_bytes())
}

/// The process that was started with this argument, whether it has written its number down or not.
pub(super) fn process_with(argument: &Path) -> Option<u32> {
    let numbers = fs::read_dir("/proc").ok()?.filter_map(|entry| {
        let name = entry.ok()?.file_name();
        name.to_str()?.parse().ok()
    });
    let mut ours = numbers.filter(|pid| has_argument(*pid, argument));
    ours.next()
}

/// Waits for the end of the process that was started with this argument, and ends it by force when its time is up.
///
/// # Errors
/// One sentence: it runs still.
pub(super) async fn end(argument: &Path, patience: Duration) -> Result<(), String> {
    let deadline = Instant::now() + patience;
    let last = deadline + GONE_WITHIN;
    while let Some(pid) = process_with(argument) {
        if Instant::now() > last {
            return Err(format!("process {pid} of an earlier one does not end"));
        }
        if Instant::now() >= deadline {
            kill(pid)?;
        }
        sleep(POLL).await;
    }
    Ok(())
}

/// Ends a process by force.
fn kill(pid: u32) -> Result<(), String> {
    let process = i32::try_from(pid).ok().and_then(Pid::from_raw);
    match process.map(|process| kill_process(process, Signal::KILL)) {
        // It ended by itself meanwhile.
        None | Some(Ok(()) | Err(Errno::SRCH)) => Ok(()),
        Some(Err(error)) => Err(format!(
            "an earlier one, process {pid}, can't be ended: {error}"
        )),
    }
}

/// What a daemon said at last, as one line: without times, and without what says nothing of the cause.
pub(super) fn last_words(log: &str) -> String {
    let lines: Vec<&str> = log
        .lines()
        .map(|line| {
            let (time, rest) = line.split_once(": ").unwrap_or(("", line));
            let is_time = time.bytes().all(|b| b.is_ascii_digit() || b == b'.');
            if is_time { rest.trim() } else { line.trim() }
        })
        .filter(|line| {
            let says_nothing = line.is_empty()
                || line.starts_with("Configuration file:")
                || line.starts_with("Adding interface ")
                || line.contains(" errors found in configuration file");
            !says_nothing
        })
        .collect();
    if lines.is_empty() {
        return "it gave no reason".to_owned();
    }
    lines[lines.len().saturating_sub(WORDS)..].join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_the_cause() {
        let log = "1795243694.622454: Configuration file: /run/t/vc.conf (phy phy0)\n\
                   1795243694.623131: Line 10: invalid WPA passphrase length 3 (expected 8..63)\n\
                   1795243694.623289: WPA-PSK enabled, but PSK or passphrase is not configured.\n\
                   1795243694.623339: 2 errors found in configuration file '/run/t/vc.conf'\n\
                   1795243694.624024: Adding interface bss_config=phy0 failed\n";
        assert_eq!(
            last_words(log),
            "Line 10: invalid WPA passphrase length 3 (expected 8..63); \
             WPA-PSK enabled, but PSK or passphrase is not configured."
        );
        assert_eq!(last_words(""), "it gave no reason");
    }
}
