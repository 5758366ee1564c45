//! Who may change which datastore (RFC 6241 7.5, 7.6).

use tranche_netconf::error::ErrorTag;
use tranche_netconf::message::Datastore;

use super::{Datastores, SERVER};
use crate::error::{Error, Result};

impl Datastores {
    /// The session that holds the lock.
    #[must_use]
    pub fn lock_holder(&self, datastore: Datastore) -> Option<u32> {
        self.locks.get(&datastore).copied()
    }

    /// Whether a session holds any lock.
    #[must_use]
    pub fn holds_locks(&self, session: u32) -> bool {
        self.locks.values().any(|holder| *holder == session)
    }

    /// Locks a datastore for a session (RFC 6241 7.5).
    ///
    /// # Errors
    /// `lock-denied` with the holder's session-id; a candidate with changes can't be locked (session-id 0).
    pub fn lock(&mut self, session: u32, datastore: Datastore) -> Result<()> {
        if let Some(holder) = self.lock_holder(datastore) {
            return Err(Error::new(
                ErrorTag::LockDenied,
                format!("{} is locked by session {holder}", name(datastore)),
            )
            .with_info("session-id", holder.to_string()));
        }
        if datastore == Datastore::Candidate && self.candidate_modified() {
            return Err(Error::new(
                ErrorTag::LockDenied,
                "the candidate has changes that are not committed: commit or discard them first",
            )
            .with_info("session-id", "0"));
        }
        self.locks.insert(datastore, session);
        Ok(())
    }

    /// Unlocks. Changes of the candidate are discarded with its lock (RFC 6241 8.3.5.2).
    ///
    /// # Errors
    /// `lock-denied` if another session holds it, `operation-failed` if nobody does.
    pub fn unlock(&mut self, session: u32, datastore: Datastore) -> Result<()> {
        match self.lock_holder(datastore) {
            Some(holder) if holder == session => {
                self.locks.remove(&datastore);
                if datastore == Datastore::Candidate {
                    self.reset_candidate()
                } else {
                    Ok(())
                }
            }
            Some(holder) => Err(Error::new(
                ErrorTag::LockDenied,
                format!("the lock is held by session {holder}"),
            )
            .with_info("session-id", holder.to_string())),
            None => Err(Error::new(
                ErrorTag::OperationFailed,
                format!("{} is not locked", name(datastore)),
            )),
        }
    }

    /// Drops the locks of a session that ended; a candidate it had locked loses its changes.
    ///
    /// # Errors
    /// The candidate could not be reset (out of memory).
    pub fn release_session(&mut self, session: u32) -> Result<()> {
        let had_candidate = self.lock_holder(Datastore::Candidate) == Some(session);
        self.locks.retain(|_, holder| *holder != session);
        if had_candidate {
            self.reset_candidate()
        } else {
            Ok(())
        }
    }

    /// Refuses what another session's lock forbids.
    ///
    /// # Errors
    /// `in-use` with the holder's session-id.
    pub fn check_lock(&self, session: u32, datastore: Datastore) -> Result<()> {
        match self.lock_holder(datastore) {
            Some(holder) if holder != session && session != SERVER => Err(Error::new(
                ErrorTag::InUse,
                format!("{} is locked by session {holder}", name(datastore)),
            )
            .with_info("session-id", holder.to_string())),
            _ => Ok(()),
        }
    }
}

fn name(datastore: Datastore) -> &'static str {
    match datastore {
        Datastore::Running => "running",
        Datastore::Candidate => "the candidate",
        Datastore::Startup => "startup",
    }
}
