//! The controller's own users: those of `ietf-system` (RFC 7317) that have a password.

use std::collections::HashMap;
use std::fmt;

use tranche_netconf::error::RpcError;
use tranche_yang::{ChangeOp, Diff, Tree, crypt};

/// Schema path of a password.
const PASSWORD: &str = "/ietf-system:system/authentication/user/password";

/// The stored password hashes, by user name. Replaced as a whole when the configuration changes.
#[derive(Clone, Default)]
pub struct Users(HashMap<String, String>);

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// A login that was accepted, for as long as the user and the password stay as they were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The user.
    pub user: String,
    hash: Hash,
}

/// A stored hash, which is never shown.
#[derive(Clone, PartialEq, Eq)]
struct Hash(String);

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

impl Users {
    /// Takes pairs of name and hash.
    #[must_use]
    pub fn new(users: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(users.into_iter().collect())
    }

    /// Reads the users of a configuration.
    #[must_use]
    pub fn from_running(running: &Tree) -> Self {
        let system = running
            .top()
            .find(|n| n.module() == "ietf-system" && n.name() == "system");
        let authentication = system.and_then(|system| system.child("authentication"));
        let users = authentication.into_iter().flat_map(|a| a.list("user"));
        Self::new(users.filter_map(|user| {
            Some((
                user.get("name")?.to_owned(),
                user.get("password")?.to_owned(),
            ))
        }))
    }

    /// The stored hash of a user's password.
    #[must_use]
    pub fn hash(&self, user: &str) -> Option<&str> {
        self.0.get(user).map(String::as_str)
    }

    /// The login of a user whose password was just checked.
    #[must_use]
    pub fn login(&self, user: &str) -> Login {
        Login {
            user: user.to_owned(),
            hash: Hash(self.hash(user).unwrap_or_default().to_owned()),
        }
    }

    /// Whether a login still holds.
    #[must_use]
    pub fn is_valid(&self, login: &Login) -> bool {
        self.hash(&login.user) == Some(&login.hash.0)
    }
}

/// The passwords that a change sets, as they are to be stored where that differs from how they were written: paths and
/// hashes. Slow on purpose.
///
/// # Errors
/// A password or hash that is not accepted, with its path.
pub fn passwords_to_store(diff: &Diff) -> Result<Vec<(String, String)>, Vec<RpcError>> {
    let changes = diff.changes().into_iter();
    let set = changes.filter(|c| c.schema_path == PASSWORD && c.op != ChangeOp::Delete);
    hashed(set.map(|change| (change.path, change.value.unwrap_or_default())))
}

/// Hashes the passwords of a whole configuration, in place. Slow on purpose.
///
/// # Errors
/// A password or hash that is not accepted, with its path.
pub fn store_passwords(config: &mut Tree) -> Result<(), Vec<RpcError>> {
    let one = |e: tranche_yang::Error| vec![e.to_rpc_error()];
    let written: Vec<(String, String)> = config
        .find(PASSWORD)
        .map_err(one)?
        .map(|node| (node.path(), node.value().unwrap_or_default().to_owned()))
        .collect();
    for (path, hash) in hashed(written)? {
        config.set(&path, hash.as_str()).map_err(one)?;
    }
    Ok(())
}

/// Those of the passwords, with their paths, that are stored otherwise than they were written.
fn hashed(
    written: impl IntoIterator<Item = (String, String)>,
) -> Result<Vec<(String, String)>, Vec<RpcError>> {
    let mut hashed = Vec::new();
    let mut errors = Vec::new();
    for (path, written) in written {
        match crypt::store(&written) {
            Ok(stored) if stored == written => {}
            Ok(stored) => hashed.push((path, stored)),
            Err(error) => errors.push(error.at(path)),
        }
    }
    if errors.is_empty() {
        Ok(hashed)
    } else {
        Err(errors)
    }
}
