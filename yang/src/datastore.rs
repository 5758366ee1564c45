//! Running, candidate and startup with their locks (RFC 6241 5, 7.5, 8.3, 8.7). Pure data: no I/O, no clock.
//!
//! ```text
//!                 propose_edit / propose_commit / propose_replace
//!   running (Arc) -----------------------------------> Proposal { old, new, diff }
//!        ^                                               |           |
//!        +------------------ accept <--------------------+           |
//!        (unchanged) <------ reject <--------------------------------+
//! ```
//! Readers take an `Arc` of what is published and never wait. A proposal owns a second tree that the edit is applied to
//! in place; `accept` publishes it, and the one it replaces becomes the next second tree once its readers are gone, by
//! applying the same diff to it. So an edit costs what it changes plus the validation, and no copy of the whole.

mod locks;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};

use tranche_netconf::error::ErrorTag;
use tranche_netconf::message::DefaultOperation;
use tranche_netconf::message::{ConfigSource, Datastore, EditConfig, ErrorOption, TestOption};

use crate::context::Schema;
use crate::diff::{Diff, Recorder};
use crate::edit;
use crate::error::{Error, Result};
use crate::tree::{Content, Format, Tree};

/// The server itself, where a session is asked for: no lock stands in its way.
pub const SERVER: u32 = 0;

/// So many operations on the candidate are kept one by one; more are folded into what they come to.
const MAX_PENDING: usize = 4096;

/// The datastores of one server.
#[derive(Debug)]
pub struct Datastores {
    schema: &'static Schema,
    running: Arc<Tree>,
    /// The tree running was before, and what it lacks.
    spare: Option<(Arc<Tree>, Diff)>,
    candidate: Arc<Tree>,
    /// What was done to the candidate since it was last the same as running.
    pending: Diff,
    /// How many operations `pending` may have before it is folded.
    fold_at: usize,
    /// Whether running is still what the candidate started from.
    in_step: bool,
    startup: Option<Arc<Tree>>,
    locks: HashMap<Datastore, u32>,
    outstanding: Weak<()>,
}

/// A change of running that is worked out and validated, but not published.
///
/// Dropping it is rejecting it.
pub struct Proposal {
    old: Arc<Tree>,
    new: Tree,
    diff: Diff,
    origin: Origin,
    test_only: bool,
    _token: Arc<()>,
}

/// Where a proposal came from: decides what becomes of the candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Edit,
    /// The operations after this many are what validation added to the candidate's own.
    Commit {
        own: Option<usize>,
    },
}

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proposal")
            .field("diff", &self.diff)
            .finish_non_exhaustive()
    }
}

impl Proposal {
    /// What it would change.
    #[must_use]
    pub fn diff(&self) -> &Diff {
        &self.diff
    }

    /// Running as it is.
    #[must_use]
    pub fn old(&self) -> &Tree {
        &self.old
    }

    /// Running as it would be: valid and with defaults.
    #[must_use]
    #[expect(
        clippy::new_ret_no_self,
        reason = "the counterpart of `old`, not a constructor"
    )]
    pub fn new(&self) -> &Tree {
        &self.new
    }

    /// Whether it only tests (`test-option` `test-only`): accepting it changes nothing.
    #[must_use]
    pub fn is_test_only(&self) -> bool {
        self.test_only
    }
}

impl Datastores {
    /// Datastores with this running configuration, which is validated, and the candidate the same.
    ///
    /// # Errors
    /// A configuration that is not valid.
    pub fn new(
        schema: &'static Schema,
        mut running: Tree,
        startup: Option<Tree>,
    ) -> Result<Self, Vec<Error>> {
        running.validate()?;
        let candidate = running.duplicate().map_err(|e| vec![e])?;
        Ok(Self {
            schema,
            running: Arc::new(running),
            spare: None,
            candidate: Arc::new(candidate),
            pending: Diff::empty(schema),
            fold_at: MAX_PENDING,
            in_step: true,
            startup: startup.map(Arc::new),
            locks: HashMap::new(),
            outstanding: Weak::new(),
        })
    }

    /// What is in force.
    #[must_use]
    pub fn running(&self) -> Arc<Tree> {
        Arc::clone(&self.running)
    }

    /// Work in progress; the same as running unless modified.
    #[must_use]
    pub fn candidate(&self) -> Arc<Tree> {
        Arc::clone(&self.candidate)
    }

    /// What is loaded at boot, if it was ever set.
    #[must_use]
    pub fn startup(&self) -> Option<Arc<Tree>> {
        self.startup.clone()
    }

    /// Whether the candidate has changes that are neither committed nor discarded. A change that was made and taken
    /// back counts only if running has moved on in between.
    #[must_use]
    pub fn candidate_modified(&self) -> bool {
        !self.in_step || !self.pending.is_empty()
    }

    /// A configuration that a request names.
    ///
    /// # Errors
    /// A URL (`operation-not-supported`), a startup that does not exist (`data-missing`), inline data that does not
    /// parse.
    pub fn source(&self, source: &ConfigSource) -> Result<Arc<Tree>, Vec<Error>> {
        match source {
            ConfigSource::Datastore(Datastore::Running) => Ok(self.running()),
            ConfigSource::Datastore(Datastore::Candidate) => Ok(self.candidate()),
            ConfigSource::Datastore(Datastore::Startup) => self.startup().ok_or_else(|| {
                vec![Error::new(
                    ErrorTag::DataMissing,
                    "there is no startup configuration",
                )]
            }),
            ConfigSource::Inline(fragment) => Tree::parse(
                self.schema,
                Format::Xml,
                fragment.as_str(),
                Content::ConfigUnvalidated,
            )
            .map(Arc::new),
            ConfigSource::Url(_) => Err(vec![Error::new(
                ErrorTag::OperationNotSupported,
                "configurations at a URL are not supported",
            )]),
        }
    }

    /// Validates a configuration without changing anything.
    ///
    /// # Errors
    /// What is wrong with it, all of it.
    pub fn validate(&self, source: &ConfigSource) -> Result<(), Vec<Error>> {
        let tree = self.source(source)?;
        if Arc::ptr_eq(&tree, &self.running) {
            return Ok(());
        }
        let mut copy = tree.duplicate().map_err(|e| vec![e])?;
        drop(tree);
        copy.validate()
    }

    fn check_idle(&self) -> Result<()> {
        if self.outstanding.strong_count() > 0 {
            return Err(Error::new(
                ErrorTag::InUse,
                "another change of running is being applied: try again",
            ));
        }
        Ok(())
    }

    // Candidate

    /// Edits the candidate. It may become invalid: constraints are checked by `validate` and `commit` (RFC 7950 8.3.3),
    /// except with `test-only`, which checks the result and changes nothing.
    ///
    /// # Errors
    /// As [`edit::apply`]; `in-use` if the candidate is locked by another session or being committed. With `test-option`
    /// `set` and an `error-option` other than `rollback-on-error`, the parts without errors are in effect nevertheless.
    pub fn edit_candidate(&mut self, session: u32, request: &EditConfig) -> Result<(), Vec<Error>> {
        self.edit_candidate_if(session, request, |_| Ok(()))
    }

    /// As [`Self::edit_candidate`], if `permit` has nothing against what the edit changes (access control).
    ///
    /// # Errors
    /// As [`Self::edit_candidate`], and what `permit` says; nothing has changed then.
    pub fn edit_candidate_if(
        &mut self,
        session: u32,
        request: &EditConfig,
        permit: impl FnOnce(&Diff) -> Result<()>,
    ) -> Result<(), Vec<Error>> {
        self.check_lock(session, Datastore::Candidate)
            .map_err(|e| vec![e])?;
        self.check_idle().map_err(|e| vec![e])?;
        let tree = unshare(&mut self.candidate).map_err(|e| vec![e])?;
        let (diff, errors) = if request.test_option == TestOption::Set {
            edit::apply_partially(
                tree,
                &request.config,
                request.default_operation,
                request.error_option,
            )?
        } else {
            let diff = edit::apply(
                tree,
                &request.config,
                request.default_operation,
                request.error_option,
            )?;
            (diff, Vec::new())
        };
        if let Err(denied) = permit(&diff) {
            diff.undo(tree).map_err(|e| vec![e])?;
            return Err(vec![denied]);
        }
        if request.test_option == TestOption::TestOnly {
            let mut recorder = Recorder::new(tree);
            let valid = recorder.validate();
            recorder.rollback().map_err(|e| vec![e])?;
            diff.undo(tree).map_err(|e| vec![e])?;
            return valid;
        }
        let mut recorder = Recorder::new(tree);
        let defaults = recorder.add_defaults();
        let added = recorder.finish();
        self.pending.append(diff);
        self.pending.append(added);
        self.fold_pending();
        defaults.map_err(|e| vec![e])?;
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        }
    }

    /// Replaces the candidate (copy-config with target candidate).
    ///
    /// # Errors
    /// `in-use`, or out of memory.
    pub fn copy_to_candidate(&mut self, session: u32, source: &Tree) -> Result<()> {
        self.copy_to_candidate_if(session, source, |_| Ok(()))
    }

    /// As [`Self::copy_to_candidate`], if `permit` has nothing against what it changes (access control).
    ///
    /// # Errors
    /// As [`Self::copy_to_candidate`], and what `permit` says; nothing has changed then.
    pub fn copy_to_candidate_if(
        &mut self,
        session: u32,
        source: &Tree,
        permit: impl FnOnce(&Diff) -> Result<()>,
    ) -> Result<()> {
        self.check_lock(session, Datastore::Candidate)?;
        self.check_idle()?;
        let tree = unshare(&mut self.candidate)?;
        let mut recorder = Recorder::new(tree);
        let done = recorder
            .morph(None, source.data.root, true)
            .and_then(|()| recorder.add_defaults());
        if let Err(e) = done {
            recorder.rollback()?;
            return Err(e);
        }
        let diff = recorder.finish();
        if let Err(denied) = permit(&diff) {
            diff.undo(tree)?;
            return Err(denied);
        }
        self.pending.append(diff);
        self.fold_pending();
        Ok(())
    }

    /// Keeps `pending` in proportion to what it comes to, however often the candidate is edited.
    fn fold_pending(&mut self) {
        if self.pending.ops.len() < self.fold_at {
            return;
        }
        let folded = if self.in_step {
            Diff::between(&self.running, &self.candidate)
        } else {
            // A candidate that running has left behind is compared as a whole.
            Ok(Diff::empty(self.schema))
        };
        // Without memory for it the operations stay as they are.
        if let Ok(folded) = folded {
            self.pending = folded;
        }
        self.fold_at = MAX_PENDING.max(2 * self.pending.ops.len());
    }

    /// Makes the candidate the same as running (discard-changes).
    ///
    /// # Errors
    /// `in-use`, or out of memory.
    pub fn discard(&mut self, session: u32) -> Result<()> {
        self.check_lock(session, Datastore::Candidate)?;
        self.check_idle()?;
        self.reset_candidate()
    }

    fn reset_candidate(&mut self) -> Result<()> {
        let pending = std::mem::replace(&mut self.pending, Diff::empty(self.schema));
        if self.in_step {
            if !pending.ops.is_empty() {
                pending.undo(unshare(&mut self.candidate)?)?;
            }
        } else {
            self.candidate = Arc::new(self.running.duplicate()?);
            self.in_step = true;
        }
        Ok(())
    }

    // Startup

    /// Replaces the startup configuration with one that must be valid.
    ///
    /// # Errors
    /// `in-use` if another session has it locked; what is not valid.
    pub fn copy_to_startup(&mut self, session: u32, source: &Tree) -> Result<(), Vec<Error>> {
        self.check_lock(session, Datastore::Startup)
            .map_err(|e| vec![e])?;
        let mut copy = source.duplicate().map_err(|e| vec![e])?;
        copy.validate()?;
        self.startup = Some(Arc::new(copy));
        Ok(())
    }

    /// Deletes the startup configuration.
    ///
    /// # Errors
    /// `in-use` if another session has it locked, `data-missing` if there is none.
    pub fn delete_startup(&mut self, session: u32) -> Result<()> {
        self.check_lock(session, Datastore::Startup)?;
        match self.startup.take() {
            Some(_) => Ok(()),
            None => Err(Error::new(
                ErrorTag::DataMissing,
                "there is no startup configuration",
            )),
        }
    }

    // Running

    /// Works out an edit of running.
    ///
    /// # Errors
    /// As [`edit::apply`], and every constraint the result violates; `in-use` if running is locked by another session
    /// or another proposal is open. Nothing has changed then, whatever the `error-option`.
    pub fn propose_edit(
        &mut self,
        session: u32,
        request: &EditConfig,
    ) -> Result<Proposal, Vec<Error>> {
        self.check_lock(session, Datastore::Running)
            .map_err(|e| vec![e])?;
        let parsed = edit::Edit::parse(self.schema, Format::Xml, request.config.as_str())?;
        let test_only = request.test_option == TestOption::TestOnly;
        self.propose_with(
            &parsed,
            request.default_operation,
            request.error_option,
            test_only,
        )
    }

    /// Works out an edit that is parsed already (RESTCONF).
    ///
    /// # Errors
    /// As [`Self::propose_edit`].
    pub fn propose_parsed(
        &mut self,
        session: u32,
        parsed: &edit::Edit,
        default_operation: DefaultOperation,
        error_option: ErrorOption,
    ) -> Result<Proposal, Vec<Error>> {
        self.check_lock(session, Datastore::Running)
            .map_err(|e| vec![e])?;
        self.propose_with(parsed, default_operation, error_option, false)
    }

    fn propose_with(
        &mut self,
        parsed: &edit::Edit,
        default_operation: DefaultOperation,
        error_option: ErrorOption,
        test_only: bool,
    ) -> Result<Proposal, Vec<Error>> {
        self.propose(Origin::Edit, test_only, |recorder| {
            let (done, errors) = edit::run(
                recorder.tree,
                parsed,
                default_operation.into(),
                error_option,
            );
            let ops = done.ops;
            recorder.ops.extend(ops);
            if errors.is_empty() {
                Ok(())
            } else {
                Err(errors)
            }
        })
    }

    /// Works out the commit of the candidate.
    ///
    /// # Errors
    /// Every constraint the candidate violates; `in-use` if running or the candidate is locked by another session, or
    /// another proposal is open.
    pub fn propose_commit(&mut self, session: u32) -> Result<Proposal, Vec<Error>> {
        self.check_lock(session, Datastore::Running)
            .map_err(|e| vec![e])?;
        self.check_lock(session, Datastore::Candidate)
            .map_err(|e| vec![e])?;
        if !self.in_step {
            let candidate = Arc::clone(&self.candidate);
            return self.propose(Origin::Commit { own: None }, false, |recorder| {
                recorder
                    .morph(None, candidate.data.root, false)
                    .map_err(|e| vec![e])
            });
        }
        let own = self.pending.copy().map_err(|e| vec![e])?.ops;
        self.propose(
            Origin::Commit {
                own: Some(own.len()),
            },
            false,
            move |recorder| {
                let diff = Diff {
                    schema: recorder.tree.schema,
                    ops: own,
                };
                diff.apply(recorder.tree).map_err(|e| vec![e])?;
                recorder.ops = diff.ops;
                Ok(())
            },
        )
    }

    /// Works out the replacement of running as a whole (copy-config, roll back of a confirmed commit).
    ///
    /// # Errors
    /// As [`Self::propose_edit`].
    pub fn propose_replace(&mut self, session: u32, with: &Tree) -> Result<Proposal, Vec<Error>> {
        self.check_lock(session, Datastore::Running)
            .map_err(|e| vec![e])?;
        self.propose(Origin::Edit, false, |recorder| {
            recorder
                .morph(None, with.data.root, true)
                .map_err(|e| vec![e])
        })
    }

    fn propose(
        &mut self,
        origin: Origin,
        test_only: bool,
        change: impl FnOnce(&mut Recorder<'_>) -> Result<(), Vec<Error>>,
    ) -> Result<Proposal, Vec<Error>> {
        self.check_idle().map_err(|e| vec![e])?;
        let mut new = self.take_spare().map_err(|e| vec![e])?;
        let mut recorder = Recorder::new(&mut new);
        let changed = change(&mut recorder).and_then(|()| recorder.validate());
        if let Err(errors) = changed {
            // A tree that can't be put back is dropped; the next proposal starts from a copy of running.
            recorder.rollback().map_err(|e| vec![e])?;
            self.spare = Some((Arc::new(new), Diff::empty(self.schema)));
            return Err(errors);
        }
        let diff = recorder.finish();
        let token = Arc::new(());
        self.outstanding = Arc::downgrade(&token);
        Ok(Proposal {
            old: self.running(),
            new,
            diff,
            origin,
            test_only,
            _token: token,
        })
    }

    /// A tree that is the same as running and ours alone.
    fn take_spare(&mut self) -> Result<Tree> {
        if let Some((spare, behind)) = self.spare.take()
            && let Ok(mut tree) = Arc::try_unwrap(spare)
            && behind.apply(&mut tree).is_ok()
        {
            for op in &behind.ops {
                op.mark_valid_in(&tree);
            }
            return Ok(tree);
        }
        self.running.duplicate()
    }

    /// Publishes a proposal: running is now its new tree, and a candidate without changes follows. A proposal that only
    /// tests is rejected.
    ///
    /// # Errors
    /// The candidate could not follow (out of memory); running is published all the same.
    pub fn accept(&mut self, proposal: Proposal) -> Result<Arc<Tree>> {
        if proposal.test_only {
            self.reject(proposal)?;
            return Ok(self.running());
        }
        let Proposal {
            old,
            new,
            diff,
            origin,
            ..
        } = proposal;
        self.outstanding = Weak::new();
        let candidate_was_clean = !self.candidate_modified();
        self.running = Arc::new(new);
        let followed = match origin {
            Origin::Commit { own: Some(own) } => {
                // The candidate has its own operations already and lacks what validation added.
                self.pending = Diff::empty(self.schema);
                unshare(&mut self.candidate).and_then(|candidate| diff.apply_from(own, candidate))
            }
            Origin::Commit { own: None } => {
                self.pending = Diff::empty(self.schema);
                self.in_step = false;
                self.reset_candidate()
            }
            Origin::Edit if candidate_was_clean => {
                self.pending = Diff::empty(self.schema);
                unshare(&mut self.candidate).and_then(|candidate| diff.apply(candidate))
            }
            Origin::Edit => {
                self.in_step = false;
                Ok(())
            }
        };
        self.spare = Some((old, diff));
        if let Err(e) = followed {
            tracing::warn!(error = %e, "the candidate is copied from running");
            self.in_step = false;
            self.pending = Diff::empty(self.schema);
            self.reset_candidate()?;
        }
        Ok(self.running())
    }

    /// Drops a proposal: everything is as before.
    ///
    /// # Errors
    /// The second tree could not be put back; the next proposal then starts from a copy of running.
    pub fn reject(&mut self, proposal: Proposal) -> Result<()> {
        let Proposal { mut new, diff, .. } = proposal;
        self.outstanding = Weak::new();
        diff.undo(&mut new)?;
        self.spare = Some((Arc::new(new), Diff::empty(self.schema)));
        Ok(())
    }
}

/// The tree of an `Arc` for writing: a copy if somebody still reads it.
fn unshare(tree: &mut Arc<Tree>) -> Result<&mut Tree> {
    if Arc::get_mut(tree).is_none() {
        *tree = Arc::new(tree.duplicate()?);
    }
    Arc::get_mut(tree).ok_or_else(|| {
        Error::new(
            ErrorTag::OperationFailed,
            "the configuration is being read: try again",
        )
    })
}

#[cfg(test)]
mod tests;
