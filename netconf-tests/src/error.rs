//! What may go wrong between a test or the demo and the programs that it runs.

use std::path::PathBuf;
use std::time::Duration;

/// An error of the harness.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A binary was not built.
    #[error("{path} is not there: build it first (cargo build --workspace --bins)", path = .path.display())]
    NotBuilt {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A file or a process that the system refuses.
    #[error("{what} failed")]
    System {
        /// What was tried.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A child process ended, or did not say in time that it is ready.
    #[error("{program} {what}; its last words:\n{last_words}")]
    Process {
        /// Which.
        program: String,
        /// What it did.
        what: String,
        /// The end of its log.
        last_words: String,
    },
    /// A template names something that nobody gave a value for.
    #[error("the template {template} names @{name}@, which has no value")]
    Template {
        /// Which template.
        template: String,
        /// The name.
        name: String,
    },
    /// HTTP failed below the level of status codes.
    #[error("{method} {url} failed")]
    Http {
        /// Method.
        method: String,
        /// Address.
        url: String,
        /// What the HTTP library said.
        source: reqwest::Error,
    },
    /// RESTCONF answered with an error.
    #[error("{method} {path}: {status}: {message}")]
    Restconf {
        /// Method.
        method: String,
        /// Path below the root of RESTCONF.
        path: String,
        /// HTTP status.
        status: u16,
        /// The error messages, joined.
        message: String,
    },
    /// NETCONF failed.
    #[error("{node} failed over NETCONF")]
    Netconf {
        /// Which node.
        node: String,
        /// Why.
        source: tranche_netconf::Error,
    },
    /// Something answered what makes no sense.
    #[error("{from} answered {what}")]
    Answer {
        /// Who.
        from: String,
        /// What.
        what: String,
    },
    /// Something did not come about in time.
    #[error("waited {limit:?} for {what}; last seen: {last}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long.
        limit: Duration,
        /// What was seen instead.
        last: String,
    },
}

impl Error {
    pub(crate) fn system(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::System { what, source }
    }
}
