//! Confirmed commit (RFC 6241 8.4): who may confirm, extend or cancel one, and when it lapses.
//!
//! Owns the rules and nothing else: no clock, no datastore, no task. [`crate::transaction`] asks before it commits, and
//! the node keeps the timer.
//!
//! ```text
//!              commit confirmed                    commit (same session, or persist-id)
//!  +--------+ -----------------> +--------+ ------------------------------------------> +--------+
//!  | closed |                    |  open  | --+ commit confirmed (same): new deadline   | closed |
//!  +--------+ <----------------- +--------+ <-+                                         +--------+
//!              cancel-commit, deadline, restart, or end of the session that has no persist
//! ```

use std::time::{Duration, Instant};

use tranche_netconf::error::{ErrorTag, RpcError};
use tranche_netconf::message::Commit;

/// Where `confirm-timeout` is absent (RFC 6241 8.4.5.1).
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(600);

/// A confirmed commit that waits for its confirmation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// The session that issued the latest of its commits.
    pub session: u32,
    /// That session's user.
    pub user: String,
    /// The token that lets another session go on with it.
    pub persist: Option<String>,
    /// When it is taken back.
    pub deadline: Instant,
    /// Changes with every new deadline, so that an old timer is told from the present one.
    pub generation: u64,
}

/// What a `commit` does to the confirmed commit of the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// None is open and none is opened.
    Plain,
    /// One is opened, or the open one gets a new deadline (and token, where one is given).
    Open {
        /// From now to its end.
        timeout: Duration,
        /// The token from now on.
        persist: Option<String>,
        /// Whether one was open before.
        extends: bool,
    },
    /// The open one is confirmed.
    Confirm,
}

/// The confirmed commit of a node, if one is open.
#[derive(Debug, Default)]
pub struct ConfirmedCommit {
    open: Option<Open>,
    generation: u64,
}

impl ConfirmedCommit {
    /// The one that is open.
    #[must_use]
    pub fn open(&self) -> Option<&Open> {
        self.open.as_ref()
    }

    /// What `commit` of `session` means now. Changes nothing: [`ConfirmedCommit::take`] does, once it is done.
    ///
    /// # Errors
    /// `invalid-value` for a token that is not that of the open one, `in-use` when the open one is another session's.
    pub fn step(&self, session: u32, commit: &Commit) -> Result<Step, RpcError> {
        self.permit(session, commit.persist_id.as_deref())?;
        if !commit.confirmed {
            return Ok(if self.open.is_some() {
                Step::Confirm
            } else {
                Step::Plain
            });
        }
        let timeout = commit.confirm_timeout.unwrap_or(DEFAULT_TIMEOUT);
        let held = self.open.as_ref().and_then(|open| open.persist.clone());
        let persist = commit.persist.clone().or(held);
        Ok(Step::Open {
            timeout,
            persist,
            extends: self.open.is_some(),
        })
    }

    /// Whether `session` may cancel the open one.
    ///
    /// # Errors
    /// `operation-failed` when none is open, else as [`ConfirmedCommit::step`].
    pub fn may_cancel(&self, session: u32, persist_id: Option<&str>) -> Result<(), RpcError> {
        if self.open.is_none() && persist_id.is_none() {
            return Err(RpcError::new(
                ErrorTag::OperationFailed,
                "there is no confirmed commit to cancel",
            ));
        }
        self.permit(session, persist_id)
    }

    /// Carries out a step at `now`. The deadline and generation to wait for, if one is open afterwards.
    pub fn take(
        &mut self,
        step: Step,
        session: u32,
        user: &str,
        now: Instant,
    ) -> Option<(Instant, u64)> {
        match step {
            Step::Plain => {}
            Step::Confirm => self.close(),
            Step::Open {
                timeout, persist, ..
            } => {
                self.generation += 1;
                self.open = Some(Open {
                    session,
                    user: user.to_owned(),
                    persist,
                    deadline: now + timeout,
                    generation: self.generation,
                });
            }
        }
        self.open
            .as_ref()
            .map(|open| (open.deadline, open.generation))
    }

    /// Whether the timer of `generation` is that of the open one.
    #[must_use]
    pub fn is_due(&self, generation: u64) -> bool {
        self.open
            .as_ref()
            .is_some_and(|open| open.generation == generation)
    }

    /// Whether the end of `session` takes the open one back.
    #[must_use]
    pub fn ends_with(&self, session: u32) -> bool {
        self.open
            .as_ref()
            .is_some_and(|open| open.persist.is_none() && open.session == session)
    }

    /// The session that keeps others from locking running (RFC 6241 7.5): that of the open one.
    #[must_use]
    pub fn blocks_lock_of(&self, session: u32) -> Option<u32> {
        self.open
            .as_ref()
            .map(|open| open.session)
            .filter(|holder| *holder != session)
    }

    /// None is open any more.
    pub fn close(&mut self) {
        self.open = None;
    }

    fn permit(&self, session: u32, persist_id: Option<&str>) -> Result<(), RpcError> {
        let held = self
            .open
            .as_ref()
            .map(|open| (open.session, open.persist.as_deref()));
        match (held, persist_id) {
            (None, None) => Ok(()),
            (None | Some((_, None)), Some(_)) => Err(RpcError::new(
                ErrorTag::InvalidValue,
                "there is no confirmed commit with this persist-id",
            )),
            (Some((_, Some(token))), Some(given)) if given == token => Ok(()),
            (Some((_, Some(_))), Some(_)) => Err(RpcError::new(
                ErrorTag::InvalidValue,
                "the persist-id is not that of the open confirmed commit",
            )),
            (Some((_, Some(_))), None) => Err(RpcError::new(
                ErrorTag::InUse,
                "a persistent confirmed commit is open: name it with its persist-id",
            )),
            (Some((holder, None)), None) if holder == session => Ok(()),
            (Some((holder, None)), None) => Err(RpcError::new(
                ErrorTag::InUse,
                format!("a confirmed commit of session {holder} is open"),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn confirmed(persist: Option<&str>, persist_id: Option<&str>) -> Commit {
        Commit {
            confirmed: true,
            confirm_timeout: Some(Duration::from_secs(5)),
            persist: persist.map(str::to_owned),
            persist_id: persist_id.map(str::to_owned),
        }
    }

    fn confirming(persist_id: Option<&str>) -> Commit {
        Commit {
            persist_id: persist_id.map(str::to_owned),
            ..Commit::default()
        }
    }

    fn issue(state: &mut ConfirmedCommit, session: u32, commit: &Commit) -> Result<Step, ErrorTag> {
        let step = state.step(session, commit).map_err(|error| error.tag)?;
        state.take(step.clone(), session, "alice", Instant::now());
        Ok(step)
    }

    #[test]
    fn only_its_own_session_confirms_what_has_no_token() {
        let mut state = ConfirmedCommit::default();
        issue(&mut state, 1, &confirmed(None, None)).unwrap();
        assert_eq!(
            issue(&mut state, 2, &confirming(None)),
            Err(ErrorTag::InUse)
        );
        assert_eq!(
            issue(&mut state, 2, &confirming(Some("x"))),
            Err(ErrorTag::InvalidValue)
        );
        assert_eq!(state.blocks_lock_of(2), Some(1));
        assert_eq!(state.blocks_lock_of(1), None);
        assert_eq!(issue(&mut state, 1, &confirming(None)), Ok(Step::Confirm));
        assert_eq!(state.open(), None);
        assert_eq!(issue(&mut state, 2, &confirming(None)), Ok(Step::Plain));
    }

    #[test]
    fn a_token_lets_any_session_confirm_and_is_needed() {
        let mut state = ConfirmedCommit::default();
        issue(&mut state, 1, &confirmed(Some("t"), None)).unwrap();
        assert!(!state.ends_with(1));
        assert_eq!(
            issue(&mut state, 1, &confirming(None)),
            Err(ErrorTag::InUse)
        );
        assert_eq!(
            issue(&mut state, 2, &confirming(Some("u"))),
            Err(ErrorTag::InvalidValue)
        );
        assert_eq!(
            issue(&mut state, 2, &confirming(Some("t"))),
            Ok(Step::Confirm)
        );
    }

    #[test]
    fn a_follow_up_moves_the_deadline_and_keeps_the_token_unless_given_another() {
        let mut state = ConfirmedCommit::default();
        issue(&mut state, 1, &confirmed(Some("t"), None)).unwrap();
        let first = state.open().unwrap().clone();
        issue(&mut state, 2, &confirmed(None, Some("t"))).unwrap();
        let second = state.open().unwrap().clone();
        assert!(second.deadline >= first.deadline);
        assert!(!state.is_due(first.generation), "the old timer is void");
        assert!(state.is_due(second.generation));
        assert_eq!((second.session, second.persist.as_deref()), (2, Some("t")));
        issue(&mut state, 2, &confirmed(Some("u"), Some("t"))).unwrap();
        assert_eq!(state.open().unwrap().persist.as_deref(), Some("u"));
    }

    #[test]
    fn it_ends_with_its_session_only_without_a_token() {
        let mut state = ConfirmedCommit::default();
        issue(&mut state, 1, &confirmed(None, None)).unwrap();
        assert!(state.ends_with(1));
        assert!(!state.ends_with(2));
    }

    #[test]
    fn cancelling_follows_the_same_rules_and_needs_an_open_one() {
        let mut state = ConfirmedCommit::default();
        assert_eq!(
            state.may_cancel(1, None).unwrap_err().tag,
            ErrorTag::OperationFailed
        );
        assert_eq!(
            state.may_cancel(1, Some("t")).unwrap_err().tag,
            ErrorTag::InvalidValue
        );
        issue(&mut state, 1, &confirmed(Some("t"), None)).unwrap();
        assert_eq!(state.may_cancel(2, Some("t")), Ok(()));
        assert_eq!(state.may_cancel(1, None).unwrap_err().tag, ErrorTag::InUse);
    }

    #[test]
    fn a_token_without_an_open_one_is_refused() {
        let mut state = ConfirmedCommit::default();
        assert_eq!(
            issue(&mut state, 1, &confirming(Some("t"))),
            Err(ErrorTag::InvalidValue)
        );
        assert_eq!(
            issue(&mut state, 1, &confirmed(None, Some("t"))),
            Err(ErrorTag::InvalidValue)
        );
    }
}
