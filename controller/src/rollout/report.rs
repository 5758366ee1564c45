//! What became of a rollout.

use std::fmt;

use tranche_netconf::Error;
use tranche_netconf::error::{ErrorTag, RpcError};

use crate::inventory::NodeName;

/// Where in a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Waiting until nobody else changes it.
    Hold,
    /// Making a session.
    Connect,
    /// Locking candidate and running.
    Lock,
    /// Editing the candidate.
    Edit,
    /// Validating it.
    Validate,
    /// Committing it, to be confirmed.
    Commit,
    /// Waiting until its tunnels answer.
    Tunnels,
    /// Confirming.
    Confirm,
    /// Undoing a commit.
    Cancel,
    /// Undoing an edit.
    Discard,
}

impl Phase {
    /// What the node was asked for, as part of a sentence.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hold => "the change",
            Self::Connect => "to connect",
            Self::Lock => "the lock",
            Self::Edit => "the edit",
            Self::Validate => "the validation",
            Self::Commit => "the commit",
            Self::Tunnels => "to bring its tunnels up",
            Self::Confirm => "the confirmation",
            Self::Cancel => "to cancel the commit",
            Self::Discard => "to discard the edit",
        }
    }
}

/// A node that did not do its part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFailure {
    /// Which node.
    pub node: NodeName,
    /// Where it failed.
    pub phase: Phase,
    /// Its own words, or why there are none.
    pub message: String,
    /// What the node answered; empty if it did not.
    pub errors: Vec<RpcError>,
}

impl NodeFailure {
    pub(crate) fn new(node: &NodeName, phase: Phase, error: &Error) -> Self {
        let errors = match error {
            Error::Rpc(errors) => errors.clone(),
            _ => Vec::new(),
        };
        Self {
            node: node.clone(),
            phase,
            message: error.to_string(),
            errors,
        }
    }

    /// The tag of the node's answer; `operation-failed` if there is none.
    #[must_use]
    pub fn tag(&self) -> ErrorTag {
        self.errors
            .first()
            .map_or(ErrorTag::OperationFailed, |error| error.tag)
    }
}

impl fmt::Display for NodeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.errors.is_empty() {
            "failed"
        } else {
            "refused"
        };
        write!(
            f,
            "node {} {verb} {}: {}",
            self.node,
            self.phase.as_str(),
            self.message
        )
    }
}

/// The change is on the nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RolloutDone {
    /// Nodes that have it for good.
    pub confirmed: Vec<NodeName>,
    /// Nodes that committed it and were not heard of since: they may have kept it or undone it.
    pub unconfirmed: Vec<NodeFailure>,
}

/// The change is on no node, but for those of `not_undone`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RolloutFailed {
    /// Who refused or failed.
    pub failures: Vec<NodeFailure>,
    /// Who could not be told to undo what it did; a node undoes a commit by itself when the confirmation does not come.
    pub not_undone: Vec<NodeFailure>,
    /// All nodes took it, and it could not be kept here: why.
    pub not_kept: Option<String>,
}

impl fmt::Display for RolloutFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let join = |failures: &[NodeFailure]| {
            failures
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; ")
        };
        match &self.not_kept {
            Some(why) => write!(f, "the change could not be kept: {why}")?,
            None => f.write_str(&join(&self.failures))?,
        }
        if !self.not_undone.is_empty() {
            write!(f, "; left to undo itself: {}", join(&self.not_undone))?;
        }
        Ok(())
    }
}

impl std::error::Error for RolloutFailed {}
