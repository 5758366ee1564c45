//! What hostapd did not do.

use std::io;
use std::path::PathBuf;

/// What hostapd did not do, in its own words as far as it had some.
#[derive(Debug, thiserror::Error)]
pub enum HostapdError {
    /// There is no such program.
    #[error("hostapd is not installed (there is no {program} in PATH)")]
    NotInstalled {
        /// What was looked for.
        program: String,
    },
    /// It can't be started.
    #[error("hostapd could not be started: {0}")]
    Start(String),
    /// It said no.
    #[error("hostapd refused to {action}: {words}")]
    Refused {
        /// What it was asked to do.
        action: String,
        /// What it said.
        words: String,
    },
    /// It can't be asked.
    #[error("hostapd on {radio} does not answer: {source}")]
    Control {
        /// The radio.
        radio: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// One of its files can't be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}
