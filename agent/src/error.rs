//! The crate's error, and the one table from it to NETCONF `rpc-error`.

use std::path::PathBuf;

use tranche_netconf::error::{ErrorTag, RpcError};

use crate::backend::{Refusal, Why};
use crate::config::SettingsError;
use crate::store::StoreError;
use crate::users::CredentialError;

/// Why the agent did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings make no sense.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Another agent works on the state directory.
    #[error("the state directory {path} is in use by another agent", path = .path.display())]
    StateDirInUse {
        /// Which.
        path: PathBuf,
    },
    /// A file or directory could not be used.
    #[error("{what} {path} failed", path = .path.display())]
    File {
        /// What was tried, as in `reading`.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The YANG modules do not fit together.
    #[error("the YANG modules could not be loaded")]
    Schema(#[source] tranche_yang::Error),
    /// A factory default that cannot be used.
    #[error("the factory default {path} is not usable:{}", listed(.reasons))]
    FactoryDefault {
        /// The file.
        path: PathBuf,
        /// Every reason, with the path of the node it is about.
        reasons: Vec<String>,
    },
    /// A file that would be overwritten.
    #[error("{path} is there already: nothing is written without --force", path = .path.display())]
    Exists {
        /// Which.
        path: PathBuf,
    },
    /// An empty store and nothing to begin with.
    #[error(
        "the store of {node} is empty and no factory default is given: nobody could log in (--factory-default FILE)"
    )]
    NoFactoryDefault {
        /// Node.
        node: String,
    },
    /// What is stored does not fit the modules of this build.
    #[error("the stored configuration of {node} cannot be used:{}", listed(.reasons))]
    Stored {
        /// Node.
        node: String,
        /// Every reason, with the path of the node it is about.
        reasons: Vec<String>,
    },
    /// The NETCONF server could not be started.
    #[error("{node} cannot listen on {address}")]
    Listen {
        /// Node.
        node: String,
        /// Where.
        address: std::net::SocketAddr,
        /// Why not.
        #[source]
        source: tranche_netconf::Error,
    },
    /// The host key could not be read or made.
    #[error("the host key {path} cannot be used", path = .path.display())]
    HostKey {
        /// The private key's file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: tranche_netconf::Error,
    },
    /// Data, an edit or a filter is wrong.
    #[error(transparent)]
    Data(#[from] tranche_yang::Error),
    /// A protocol rule says no.
    #[error(transparent)]
    Rule(#[from] RpcError),
    /// A password or key is not acceptable.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// A backend refuses, and what other backends did was taken back.
    #[error(transparent)]
    Refused(Refusal),
    /// A backend or the disk refuses, and what was done already could not be taken back.
    #[error("{cause}; taking back what was done already failed: {}", joined(.failed))]
    RollbackFailed {
        /// Why it was to be taken back.
        cause: Box<Self>,
        /// What could not be taken back.
        failed: Vec<Refusal>,
    },
    /// The change could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The node is stopping.
    #[error("the agent is stopping")]
    Stopping,
    /// A thread of the agent panicked.
    #[error("an internal fault ended the operation")]
    Internal,
}

impl Error {
    /// This error, once what had been done was taken back but for `failed`.
    pub(crate) fn after_undo(self, failed: Vec<Refusal>) -> Self {
        if failed.is_empty() {
            return self;
        }
        Self::RollbackFailed {
            cause: Box::new(self),
            failed,
        }
    }

    /// What the peer is told. Internals stay in the log.
    #[must_use]
    pub fn to_rpc_error(&self) -> RpcError {
        match self {
            Self::Data(error) => error.to_rpc_error(),
            Self::Rule(error) => error.clone(),
            Self::Credential(error) => {
                RpcError::new(ErrorTag::InvalidValue, error.message.clone()).at(&*error.path)
            }
            Self::Refused(refusal) => RpcError {
                app_tag: refusal.app_tag.map(str::to_owned),
                ..RpcError::new(tag_of(refusal.why), refusal.message.clone()).at(&*refusal.path)
            },
            Self::RollbackFailed { cause, failed } => {
                let cause = cause.to_rpc_error();
                let message = format!(
                    "{}; the former state could not be restored: {}",
                    cause.message.unwrap_or_default(),
                    joined(failed)
                );
                RpcError {
                    tag: ErrorTag::RollbackFailed,
                    message: Some(message),
                    ..cause
                }
            }
            Self::Store(_) => {
                RpcError::new(ErrorTag::OperationFailed, "the change could not be stored")
            }
            Self::Stopping => RpcError::new(ErrorTag::ResourceDenied, "the agent is stopping"),
            Self::Internal
            | Self::Settings(_)
            | Self::StateDirInUse { .. }
            | Self::File { .. }
            | Self::Schema(_)
            | Self::FactoryDefault { .. }
            | Self::Exists { .. }
            | Self::NoFactoryDefault { .. }
            | Self::Stored { .. }
            | Self::Listen { .. }
            | Self::HostKey { .. } => RpcError::new(
                ErrorTag::OperationFailed,
                "an internal fault ended the operation",
            ),
        }
    }
}

fn tag_of(why: Why) -> ErrorTag {
    match why {
        Why::Failed => ErrorTag::OperationFailed,
        Why::BadValue => ErrorTag::InvalidValue,
        Why::Unsupported => ErrorTag::OperationNotSupported,
        Why::NoRoom => ErrorTag::ResourceDenied,
    }
}

fn joined(refusals: &[Refusal]) -> String {
    refusals
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

fn listed(reasons: &[String]) -> String {
    reasons
        .iter()
        .map(|reason| format!("\n  {reason}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_neither_be_stored_nor_undone_is_rollback_failed_without_internals() {
        let store = StoreError::Damaged {
            path: "/var/lib/store".into(),
            what: "it is gone",
        };
        let undone = Error::Store(store).after_undo(Vec::new()).to_rpc_error();
        assert_eq!(undone.tag, ErrorTag::OperationFailed);
        let refusal = Refusal::new("/tranche-wifi:wifi", "the radio is stuck");
        let error = Error::Stopping.after_undo(vec![refusal.clone()]);
        assert!(error.to_string().contains("the radio is stuck"), "{error}");
        let store = StoreError::Damaged {
            path: "/var/lib/store".into(),
            what: "it is gone",
        };
        let error = Error::Store(store).after_undo(vec![refusal]).to_rpc_error();
        assert_eq!(error.tag, ErrorTag::RollbackFailed);
        assert_eq!(
            error.message.as_deref(),
            Some(
                "the change could not be stored; the former state could not be restored: \
                 /tranche-wifi:wifi: the radio is stuck"
            )
        );
    }
}
