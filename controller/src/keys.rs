//! Private keys of the controller: files of the state directory that the inventory's credentials name.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use tranche_netconf::transport::ssh::HostKey;

/// Why a key can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A name that isn't one of a file below the key directory.
    #[error("'{0}' is not a name of a key: letters, digits, '_', '.' and '-', not first")]
    Name(String),
    /// The key directory can't be made.
    #[error("can't make {path}", path = .path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The key can't be read or made.
    #[error(transparent)]
    Key(#[from] tranche_netconf::error::Error),
}

/// Where the keys are.
#[must_use]
pub fn directory(state_dir: &Path) -> PathBuf {
    state_dir.join("keys")
}

/// The file of a key; its directory is made (mode 0700) when it isn't there.
///
/// # Errors
/// A name that isn't one, a directory that can't be made.
pub fn path(state_dir: &Path, name: &str) -> Result<PathBuf, KeyError> {
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(safe) {
        return Err(KeyError::Name(name.to_owned()));
    }
    let directory = directory(state_dir);
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&directory)
        .map_err(|source| KeyError::Directory {
            path: directory.clone(),
            source,
        })?;
    Ok(directory.join(name))
}

/// The public half of a key, as an OpenSSH line. A key that isn't there is made: ed25519, readable by its owner alone.
///
/// # Errors
/// As [`path()`], and a key that can't be read or written.
pub fn public_key(state_dir: &Path, name: &str) -> Result<String, KeyError> {
    Ok(HostKey::load_or_generate(path(state_dir, name)?)?.public_openssh())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_key_is_made_once_and_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let line = public_key(dir.path(), "main").unwrap();
        assert!(line.starts_with("ssh-ed25519 AAAA"), "{line}");
        assert_eq!(public_key(dir.path(), "main").unwrap(), line);
        let mode = fs::metadata(dir.path().join("keys/main"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_name_stays_inside_the_key_directory() {
        let dir = tempfile::tempdir().unwrap();
        for bad in ["", ".", "..", "../x", "a/b", "-x", "é"] {
            assert!(
                matches!(path(dir.path(), bad), Err(KeyError::Name(_))),
                "{bad}"
            );
        }
    }
}
