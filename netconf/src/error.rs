//! The crate's [`Error`], and `rpc-error` as a type: tags, types and severities of RFC 6241 appendix A.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::message::path;
use crate::xml::Fragment;

/// What may go wrong between two peers.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The peer answered the request with errors (at least one).
    #[error("{}", display_all(.0))]
    Rpc(Vec<RpcError>),
    /// An address could not be listened on or connected to.
    #[error("{addr}: {source}")]
    Io {
        /// The address.
        addr: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A key that cannot be used.
    #[error("key {}: {reason}", path.as_ref().map_or_else(|| "in memory".into(), |p| p.display().to_string()))]
    Key {
        /// The file, if it came from one.
        path: Option<PathBuf>,
        /// Why.
        reason: String,
    },
    /// The server is not who it should be.
    #[error("{addr} has host key {presented}, expected {expected}")]
    HostKey {
        /// The server's address.
        addr: String,
        /// Fingerprint of the pinned key.
        expected: String,
        /// Fingerprint of the key the server has.
        presented: String,
    },
    /// The server does not let the user in.
    #[error("{addr} refuses user {user}")]
    AuthRefused {
        /// The server's address.
        addr: String,
        /// The user.
        user: String,
    },
    /// SSH failed.
    #[error("{addr}: ssh: {source}")]
    Ssh {
        /// The peer's address.
        addr: String,
        /// What the SSH library said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Nothing came in time.
    #[error("{what} took more than {limit:?}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// For how long.
        limit: Duration,
    },
    /// The session is over.
    #[error("session closed: {reason}")]
    Closed {
        /// Why.
        reason: String,
    },
    /// The peer's message is not what the protocol says.
    #[error("protocol error: {0}")]
    Protocol(String),
}

fn display_all(errors: &[RpcError]) -> String {
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

/// The layer at which an error occurred (RFC 6241 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorType {
    /// Secure transport.
    Transport,
    /// Messages.
    Rpc,
    /// Operations.
    Protocol,
    /// Content.
    Application,
}

/// Error tags (RFC 6241 appendix A), all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorTag {
    /// The request needs a resource that is in use.
    InUse,
    /// An unacceptable value.
    InvalidValue,
    /// The request or response is too large.
    TooBig,
    /// An expected attribute is missing.
    MissingAttribute,
    /// An attribute value is not correct.
    BadAttribute,
    /// An unexpected attribute is present.
    UnknownAttribute,
    /// An expected element is missing.
    MissingElement,
    /// An element value is not correct.
    BadElement,
    /// An unexpected element is present.
    UnknownElement,
    /// An unexpected namespace is present.
    UnknownNamespace,
    /// Access control denied the operation.
    AccessDenied,
    /// The lock is held by another.
    LockDenied,
    /// Not enough resources.
    ResourceDenied,
    /// The rollback failed.
    RollbackFailed,
    /// The data exists already.
    DataExists,
    /// The data does not exist.
    DataMissing,
    /// The operation is not supported.
    OperationNotSupported,
    /// The operation failed for another reason.
    OperationFailed,
    /// Deprecated by RFC 6241, still parsed from peers.
    PartialOperation,
    /// The message could not be parsed (`:base:1.1` only).
    MalformedMessage,
}

/// Severity of an `rpc-error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ErrorSeverity {
    /// The operation was not done.
    #[default]
    Error,
    /// Not used by RFC 6241, kept for peers that send it.
    Warning,
}

/// One `rpc-error` (RFC 6241 4.3). `message` is one plain sentence for the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RpcError {
    /// Layer.
    pub error_type: ErrorType,
    /// What went wrong.
    pub tag: ErrorTag,
    /// Severity.
    pub severity: ErrorSeverity,
    /// Application tag, such as a YANG `error-app-tag` (`data-not-unique`, `must-violation`, ...).
    pub app_tag: Option<String>,
    /// Where: an instance path in the peer's data (`/tranche-wifi:wifi/vif[name='a']`, JSON-style module prefixes).
    pub path: Option<String>,
    /// Prefixes of `path` and their namespaces: with them it goes out as an XML instance identifier, every name prefixed
    /// and every prefix declared (RFC 7950 9.13.2).
    pub path_namespaces: Vec<(String, String)>,
    /// One plain sentence.
    pub message: Option<String>,
    /// Content of `error-info`: (element name, text) of the standard ones, such as ("session-id", "4").
    pub info: Vec<(String, String)>,
    /// Content of `error-info` in foreign namespaces.
    pub info_xml: Fragment,
}

impl RpcError {
    /// An error of severity `error` with a message; the type follows from the tag (protocol unless the caller changes it).
    #[must_use]
    pub fn new(tag: ErrorTag, message: impl Into<String>) -> Self {
        let error_type = match tag {
            ErrorTag::MalformedMessage => ErrorType::Rpc,
            ErrorTag::InvalidValue
            | ErrorTag::DataExists
            | ErrorTag::DataMissing
            | ErrorTag::OperationFailed
            | ErrorTag::UnknownElement
            | ErrorTag::UnknownNamespace
            | ErrorTag::MissingElement
            | ErrorTag::BadElement
            | ErrorTag::ResourceDenied
            | ErrorTag::RollbackFailed => ErrorType::Application,
            ErrorTag::InUse
            | ErrorTag::TooBig
            | ErrorTag::MissingAttribute
            | ErrorTag::BadAttribute
            | ErrorTag::UnknownAttribute
            | ErrorTag::AccessDenied
            | ErrorTag::LockDenied
            | ErrorTag::OperationNotSupported
            | ErrorTag::PartialOperation => ErrorType::Protocol,
        };
        Self {
            error_type,
            tag,
            severity: ErrorSeverity::Error,
            app_tag: None,
            path: None,
            path_namespaces: Vec::new(),
            message: Some(message.into()),
            info: Vec::new(),
            info_xml: Fragment::default(),
        }
    }

    /// With an error type.
    #[must_use]
    pub fn with_type(mut self, error_type: ErrorType) -> Self {
        self.error_type = error_type;
        self
    }

    /// With a path.
    #[must_use]
    pub fn at(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// With the namespaces of the prefixes in its path, as far as `namespace_of` knows them.
    #[must_use]
    pub fn with_path_namespaces(mut self, namespace_of: impl Fn(&str) -> Option<String>) -> Self {
        let prefixes = self.path.as_deref().map(path::prefixes).unwrap_or_default();
        self.path_namespaces = prefixes
            .into_iter()
            .filter_map(|prefix| Some((prefix.to_owned(), namespace_of(prefix)?)))
            .collect();
        self
    }

    /// Its path as it stands in XML: where the namespaces of its prefixes are known, every name has one.
    #[must_use]
    pub fn xml_path(&self) -> Option<String> {
        let path = self.path.as_deref()?;
        Some(if self.path_namespaces.is_empty() {
            path.to_owned()
        } else {
            path::qualified(path)
        })
    }

    /// With an application tag.
    #[must_use]
    pub fn with_app_tag(mut self, app_tag: impl Into<String>) -> Self {
        self.app_tag = Some(app_tag.into());
        self
    }

    /// With one standard `error-info` element, such as `bad-element`.
    #[must_use]
    pub fn with_info(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.info.push((name.into(), value.into()));
        self
    }
}

impl fmt::Display for RpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message.as_deref().unwrap_or_else(|| self.tag.as_str()))?;
        if let Some(path) = &self.path {
            write!(f, " (at {path})")?;
        }
        Ok(())
    }
}

impl std::error::Error for RpcError {}

impl ErrorType {
    /// The type on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transport => "transport",
            Self::Rpc => "rpc",
            Self::Protocol => "protocol",
            Self::Application => "application",
        }
    }

    /// All types.
    pub const ALL: [Self; 4] = [
        Self::Transport,
        Self::Rpc,
        Self::Protocol,
        Self::Application,
    ];
}

impl ErrorSeverity {
    /// The severity on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

impl ErrorTag {
    /// All tags.
    pub const ALL: [Self; 20] = [
        Self::InUse,
        Self::InvalidValue,
        Self::TooBig,
        Self::MissingAttribute,
        Self::BadAttribute,
        Self::UnknownAttribute,
        Self::MissingElement,
        Self::BadElement,
        Self::UnknownElement,
        Self::UnknownNamespace,
        Self::AccessDenied,
        Self::LockDenied,
        Self::ResourceDenied,
        Self::RollbackFailed,
        Self::DataExists,
        Self::DataMissing,
        Self::OperationNotSupported,
        Self::OperationFailed,
        Self::PartialOperation,
        Self::MalformedMessage,
    ];

    /// The tag on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InUse => "in-use",
            Self::InvalidValue => "invalid-value",
            Self::TooBig => "too-big",
            Self::MissingAttribute => "missing-attribute",
            Self::BadAttribute => "bad-attribute",
            Self::UnknownAttribute => "unknown-attribute",
            Self::MissingElement => "missing-element",
            Self::BadElement => "bad-element",
            Self::UnknownElement => "unknown-element",
            Self::UnknownNamespace => "unknown-namespace",
            Self::AccessDenied => "access-denied",
            Self::LockDenied => "lock-denied",
            Self::ResourceDenied => "resource-denied",
            Self::RollbackFailed => "rollback-failed",
            Self::DataExists => "data-exists",
            Self::DataMissing => "data-missing",
            Self::OperationNotSupported => "operation-not-supported",
            Self::OperationFailed => "operation-failed",
            Self::PartialOperation => "partial-operation",
            Self::MalformedMessage => "malformed-message",
        }
    }
}
