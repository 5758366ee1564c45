//! What may go wrong with a medium.

use std::io;

/// An error of the medium.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The driver is not loaded.
    #[error(
        "this kernel has no simulated radios: load the module first (modprobe mac80211_hwsim radios=2)"
    )]
    NoDriver,
    /// The driver refuses us.
    #[error(
        "the driver of the simulated radios lets only the administrator (CAP_NET_ADMIN) be their medium"
    )]
    NotPermitted,
    /// Another program is the medium.
    #[error("another program is the medium of these radios already")]
    Taken,
    /// A netlink operation failed.
    #[error("netlink: {what}: {source}")]
    Netlink {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The driver answered what makes no sense.
    #[error("the driver of the simulated radios answered {0}")]
    Answer(String),
    /// A configuration that can't be used.
    #[error("{path}: {message}")]
    Config {
        /// The file.
        path: String,
        /// Where in it and why.
        message: String,
    },
    /// A file or socket that the system refuses.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// Waiting failed.
    #[error("waiting for radios and clients: {0}")]
    Wait(#[source] io::Error),
}

pub(super) fn netlink(what: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Netlink { what, source }
}
