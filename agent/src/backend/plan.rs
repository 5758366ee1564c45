//! The words of a transaction between the agent and its backends: plan, applied, refused.

use std::any::Any;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use super::NodeConfig;

/// A boxed future, so that the traits are object-safe.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why a backend does not do what a configuration asks for. The two fields are for the peer: where, and one plain sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct Refusal {
    /// Instance path (RFC 7951 6.11 form, as in `/tranche-wifi:wifi/vif[name='a']/radio`) of the offending node.
    pub path: String,
    /// The reason: lower case, no full stop.
    pub message: String,
    /// What kind of reason it is.
    pub why: Why,
    /// Name of the reason for programs (`error-app-tag`), where it has one.
    pub app_tag: Option<&'static str>,
}

impl Refusal {
    /// A refusal of the node at `path`, because something failed.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            message: message.into(),
            why: Why::Failed,
            app_tag: None,
        }
    }

    /// The same for another kind of reason.
    #[must_use]
    pub fn because(self, why: Why) -> Self {
        Self { why, ..self }
    }

    /// The same with a name for programs.
    #[must_use]
    pub fn tagged(self, app_tag: &'static str) -> Self {
        Self {
            app_tag: Some(app_tag),
            ..self
        }
    }
}

/// What kind of reason a [`Refusal`] has; decides on the error that the peer gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Something could not be done, or not in this state.
    Failed,
    /// A value makes no sense, or not together with others.
    BadValue,
    /// This machine cannot do it.
    Unsupported,
    /// There is no room for it.
    NoRoom,
}

/// What a step costs those who use the radio now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    /// Nobody notices.
    Hot,
    /// Interfaces go down and up, and their stations with them.
    Restart {
        /// How many stations are associated now and lose their link.
        stations_dropped: u32,
    },
}

impl Cost {
    /// How many stations or UEs lose their link.
    #[must_use]
    pub fn stations_dropped(self) -> u32 {
        match self {
            Self::Hot => 0,
            Self::Restart { stations_dropped } => stations_dropped,
        }
    }
}

/// One change that a plan makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Instance path of what is changed.
    pub path: String,
    /// What is done to it, for a person: `create vif a on radio phy0`.
    pub action: String,
    /// What it costs.
    pub cost: Cost,
}

/// What is permitted and may still not be what was meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// What kind of warning it is.
    pub kind: WarningKind,
    /// Instance path of what it is about.
    pub path: String,
    /// The warning, for a person: lower case, no full stop.
    pub message: String,
}

/// What kind of warning a [`Warning`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WarningKind {
    /// Stations or UEs lose their link.
    UsersDropped,
    /// Something cannot be changed in place: it is deleted and created anew.
    Recreated,
    /// Software has to be started again, with everything that it serves.
    Restart,
    /// A steering rule is never reached.
    Shadowed,
    /// A node accepts the change in a confirmed commit only.
    ConfirmedOnly,
}

impl WarningKind {
    /// Its name in `tranche-plan`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UsersDropped => "users-dropped",
            Self::Recreated => "recreated",
            Self::Restart => "restart",
            Self::Shadowed => "shadowed",
            Self::ConfirmedOnly => "confirmed-only",
        }
    }
}

impl Warning {
    /// A warning about what is at `path`.
    pub fn new(kind: WarningKind, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            kind,
            path: path.into(),
            message: message.into(),
        }
    }
}

/// What one domain would do to go from one configuration to another.
#[derive(Debug, Clone)]
pub struct Plan {
    domain: &'static str,
    steps: Vec<Step>,
    warnings: Vec<Warning>,
    old: Arc<NodeConfig>,
    new: Arc<NodeConfig>,
}

impl Plan {
    /// A plan of `steps` between two configurations.
    #[must_use]
    pub fn new(domain: &'static str, steps: Vec<Step>, old: &NodeConfig, new: &NodeConfig) -> Self {
        Self {
            domain,
            steps,
            warnings: Vec::new(),
            old: Arc::new(old.clone()),
            new: Arc::new(new.clone()),
        }
    }

    /// The same with what its maker warns of.
    #[must_use]
    pub fn warning(mut self, warnings: impl IntoIterator<Item = Warning>) -> Self {
        self.warnings.extend(warnings);
        self
    }

    /// The domain that made it, and that can apply it.
    #[must_use]
    pub fn domain(&self) -> &'static str {
        self.domain
    }

    /// The steps in the order in which they are taken; empty if this domain has nothing to do.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// What its maker warns of; what the steps cost is not repeated here.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// The configuration that the plan starts from.
    #[must_use]
    pub fn old(&self) -> &NodeConfig {
        &self.old
    }

    /// The configuration that the plan arrives at.
    #[must_use]
    pub fn new_config(&self) -> &NodeConfig {
        &self.new
    }

    /// How many stations lose their link by it.
    #[must_use]
    pub fn stations_dropped(&self) -> u32 {
        self.steps
            .iter()
            .map(|step| step.cost.stations_dropped())
            .sum()
    }
}

/// What a backend did, with what it needs to take it back.
pub struct Applied {
    domain: &'static str,
    memory: Box<dyn Any + Send>,
}

impl Applied {
    /// Something applied by `domain`; `memory` is that backend's own and comes back in [`Applied::into_memory`].
    pub fn new(domain: &'static str, memory: impl Any + Send) -> Self {
        Self {
            domain,
            memory: Box::new(memory),
        }
    }

    /// The domain that applied it, and that can undo it.
    #[must_use]
    pub fn domain(&self) -> &'static str {
        self.domain
    }

    /// What the backend remembered.
    ///
    /// # Errors
    /// A [`Refusal`] if another backend made it.
    pub fn into_memory<T: Any>(self, domain: &'static str) -> Result<T, Refusal> {
        let from = self.domain;
        match self.memory.downcast::<T>() {
            Ok(memory) if from == domain => Ok(*memory),
            _ => Err(Refusal::new(
                "/",
                format!("{domain} cannot undo what {from} applied"),
            )),
        }
    }
}

impl fmt::Debug for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Applied")
            .field("domain", &self.domain)
            .finish_non_exhaustive()
    }
}

/// What [`super::Backend::reconcile`] found and repaired.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// The repairs, in the order in which they were made; empty if everything was as it should be.
    pub repaired: Vec<Step>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn applied_goes_back_only_to_the_domain_that_made_it() {
        let applied = Applied::new("wifi", 7_u8);
        let refusal = applied.into_memory::<u8>("airtime").unwrap_err();
        assert_eq!(refusal.message, "airtime cannot undo what wifi applied");
        assert_eq!(Applied::new("wifi", 7_u8).into_memory::<u8>("wifi"), Ok(7));
    }
}
