//! `rpc-error` as a type: tags, types and severities of RFC 6241 appendix A.

use std::fmt;

use crate::xml::Fragment;

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

impl ErrorTag {
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
