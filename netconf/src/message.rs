//! Typed messages: hello, rpc, rpc-reply and notification (RFC 6241, RFC 5277, RFC 6022, RFC 6243).

mod encode;
mod operation;
mod parse;
pub(crate) mod path;

pub use encode::encode_reply;
pub use parse::BadRpc;

use std::time::Duration;

use crate::error::RpcError;
use crate::xml::Fragment;

/// Namespace of the base protocol (RFC 6241).
pub const BASE_NAMESPACE: &str = "urn:ietf:params:xml:ns:netconf:base:1.0";
/// Namespace of `notification` and `create-subscription` (RFC 5277).
pub const NOTIFICATION_NAMESPACE: &str = "urn:ietf:params:xml:ns:netconf:notification:1.0";
/// Namespace of `get-schema` (RFC 6022).
pub const MONITORING_NAMESPACE: &str = "urn:ietf:params:xml:ns:yang:ietf-netconf-monitoring";
/// Namespace of `with-defaults` (RFC 6243).
pub const WITH_DEFAULTS_NAMESPACE: &str = "urn:ietf:params:xml:ns:yang:ietf-netconf-with-defaults";

/// From this size on reading a message takes long enough for others on the same thread to notice.
pub(crate) const LONG_MESSAGE_BYTES: usize = 256 << 10;

/// A configuration datastore (RFC 6241 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Datastore {
    /// What is in force.
    Running,
    /// Work in progress, shared by all sessions.
    Candidate,
    /// What is loaded at boot.
    Startup,
}

/// A source of configuration for `get-config`, `copy-config` and `validate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigSource {
    /// A datastore.
    Datastore(Datastore),
    /// A complete configuration, inline in `<config>`.
    Inline(Fragment),
    /// A URL (`:url`); carried so that it can be refused by name.
    Url(String),
}

/// A target of `copy-config` and `delete-config`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigTarget {
    /// A datastore.
    Datastore(Datastore),
    /// A URL (`:url`).
    Url(String),
}

/// A filter of `get`, `get-config` and `create-subscription`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// Subtree filter (RFC 6241 6). An empty fragment selects nothing.
    Subtree(Fragment),
    /// XPath filter (`:xpath`).
    XPath {
        /// The expression.
        select: String,
        /// Prefix and namespace pairs in scope at the filter element.
        namespaces: Vec<(String, String)>,
    },
}

/// `with-defaults` modes (RFC 6243).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WithDefaults {
    /// All data, defaults included.
    ReportAll,
    /// All data, defaults included and tagged with `wd:default`.
    ReportAllTagged,
    /// What equals its default is left out.
    Trim,
    /// What a client set explicitly.
    Explicit,
}

/// `default-operation` of `edit-config`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum DefaultOperation {
    /// Merge.
    #[default]
    Merge,
    /// Replace the whole target.
    Replace,
    /// Only what bears an operation attribute.
    None,
}

/// `test-option` of `edit-config`. On the wire absent means `TestThenSet` where `:validate` is advertised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TestOption {
    /// Validate, then set.
    #[default]
    TestThenSet,
    /// Set without validating first (a running datastore is valid all the same).
    Set,
    /// Validate only.
    TestOnly,
}

/// `error-option` of `edit-config`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ErrorOption {
    /// Stop at the first error.
    #[default]
    StopOnError,
    /// Go on and report every error.
    ContinueOnError,
    /// All or nothing.
    RollbackOnError,
}

/// `edit-config` (RFC 6241 7.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EditConfig {
    /// Where to.
    pub target: Datastore,
    /// What elements without an operation attribute do.
    pub default_operation: DefaultOperation,
    /// Validation.
    pub test_option: TestOption,
    /// What an error does.
    pub error_option: ErrorOption,
    /// Content of `<config>`.
    pub config: Fragment,
}

/// `commit` (RFC 6241 8.3.4.1, 8.4).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Commit {
    /// Whether it must be confirmed.
    pub confirmed: bool,
    /// How long to wait for the confirmation; 600 s where absent on the wire.
    pub confirm_timeout: Option<Duration>,
    /// Lets the confirmation come from another session that names this token.
    pub persist: Option<String>,
    /// The token of a pending persistent confirmed commit.
    pub persist_id: Option<String>,
}

/// `create-subscription` (RFC 5277 2.1.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateSubscription {
    /// Name of the stream; `NETCONF` where absent.
    pub stream: String,
    /// Which notifications.
    pub filter: Option<Filter>,
    /// Replay from (RFC 3339 text).
    pub start_time: Option<String>,
    /// Stop at (RFC 3339 text).
    pub stop_time: Option<String>,
}

/// An operation: the content of `<rpc>`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation {
    /// `get`.
    Get {
        /// What to return.
        filter: Option<Filter>,
        /// Defaults.
        with_defaults: Option<WithDefaults>,
    },
    /// `get-config`.
    GetConfig {
        /// From where; never `Inline`.
        source: ConfigSource,
        /// What to return.
        filter: Option<Filter>,
        /// Defaults.
        with_defaults: Option<WithDefaults>,
    },
    /// `edit-config`.
    EditConfig(EditConfig),
    /// `copy-config`.
    CopyConfig {
        /// To.
        target: ConfigTarget,
        /// From.
        source: ConfigSource,
        /// Defaults (RFC 6243 4.5.2).
        with_defaults: Option<WithDefaults>,
    },
    /// `delete-config`.
    DeleteConfig {
        /// What.
        target: ConfigTarget,
    },
    /// `lock`.
    Lock(Datastore),
    /// `unlock`.
    Unlock(Datastore),
    /// `commit`.
    Commit(Commit),
    /// `cancel-commit`.
    CancelCommit {
        /// Token of a persistent one.
        persist_id: Option<String>,
    },
    /// `discard-changes`.
    DiscardChanges,
    /// `validate`.
    Validate(ConfigSource),
    /// `kill-session`.
    KillSession(u32),
    /// `close-session`.
    CloseSession,
    /// `get-schema` (RFC 6022 3.1).
    GetSchema {
        /// Module or submodule name.
        identifier: String,
        /// Revision.
        version: Option<String>,
        /// Format, `yang` where absent: the local name of the identity.
        format: Option<String>,
    },
    /// `create-subscription`.
    CreateSubscription(CreateSubscription),
    /// Any other operation of a YANG module, and YANG 1.1 `action` (then in the namespace `urn:ietf:params:xml:ns:yang:1`).
    Other {
        /// Namespace of the operation element.
        namespace: String,
        /// Its local name.
        name: String,
        /// The operation element itself, whole.
        element: Fragment,
    },
}

impl Operation {
    /// Local name of the operation element.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Get { .. } => "get",
            Self::GetConfig { .. } => "get-config",
            Self::EditConfig(_) => "edit-config",
            Self::CopyConfig { .. } => "copy-config",
            Self::DeleteConfig { .. } => "delete-config",
            Self::Lock(_) => "lock",
            Self::Unlock(_) => "unlock",
            Self::Commit(_) => "commit",
            Self::CancelCommit { .. } => "cancel-commit",
            Self::DiscardChanges => "discard-changes",
            Self::Validate(_) => "validate",
            Self::KillSession(_) => "kill-session",
            Self::CloseSession => "close-session",
            Self::GetSchema { .. } => "get-schema",
            Self::CreateSubscription(_) => "create-subscription",
            Self::Other { name, .. } => name,
        }
    }

    /// Whether notifications may follow from it: they must not overtake the reply.
    pub(crate) fn subscribes(&self) -> bool {
        match self {
            Self::CreateSubscription(_) => true,
            Self::Other { name, .. } => name == "establish-subscription",
            _ => false,
        }
    }
}

/// The first message of either peer (RFC 6241 8.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Capability URIs.
    pub capabilities: Vec<String>,
    /// The session's identifier: from the server only.
    pub session_id: Option<u32>,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rpc {
    /// `message-id`; every attribute of `<rpc>` comes back in the reply (RFC 6241 4.1).
    pub message_id: String,
    /// The other attributes of `<rpc>` as they stood (namespace declarations included), name and unescaped value.
    pub attributes: Vec<(String, String)>,
    /// What to do.
    pub operation: Operation,
}

/// A positive answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// `<ok/>`.
    Ok,
    /// `<data>` around this (get, get-config).
    Data(Fragment),
    /// `<data xmlns="urn:ietf:params:xml:ns:yang:ietf-netconf-monitoring">` around this text (get-schema).
    Schema(String),
    /// Output elements of an operation, direct children of `<rpc-reply>`; empty output is `<ok/>`.
    Output(Fragment),
}

/// What a handler answers: one reply or at least one error.
pub type Outcome = Result<Reply, Vec<RpcError>>;

/// One notification (RFC 5277 4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// `eventTime`, RFC 3339 text in UTC.
    pub event_time: String,
    /// The event element.
    pub content: Fragment,
}

/// `rpc-reply` as a client receives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RpcReply {
    /// Which request it answers; none where the server could not read that.
    pub message_id: Option<String>,
    /// The answer.
    pub outcome: Outcome,
}

/// What a server sends after its hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerMessage {
    /// An answer.
    Reply(RpcReply),
    /// An event.
    Notification(Notification),
}
