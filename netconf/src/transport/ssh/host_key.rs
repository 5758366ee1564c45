//! The identity of a server, and what a client demands of it.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use russh::keys::key::safe_rng;
use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, HashAlg, PrivateKey, PublicKey};

use super::KEYS;
use crate::error::Error;

/// The private key a server proves its identity with.
#[derive(Clone)]
pub struct HostKey {
    pub(super) key: PrivateKey,
}

impl std::fmt::Debug for HostKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HostKey({})", self.fingerprint())
    }
}

impl HostKey {
    /// A new ed25519 key, kept in memory only.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn generate() -> Result<Self, Error> {
        PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519)
            .map(|key| Self { key })
            .map_err(|error| key_error(None, &error))
    }

    /// The key in the file `path` (OpenSSH format); made there (ed25519, mode 0600) where there is none.
    ///
    /// # Errors
    /// When the file cannot be read, written or understood, or holds a key that is neither ed25519 nor ECDSA.
    pub fn load_or_generate(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        match fs::read_to_string(path) {
            Ok(text) => private_key(&text, Some(path)).map(|key| Self { key }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let made = Self::generate()?;
                made.save(path)?;
                Ok(made)
            }
            Err(error) => Err(key_error(Some(path), &error)),
        }
    }

    /// Written beside its place and moved there: no reader and no crash sees half a key.
    fn save(&self, path: &Path) -> Result<(), Error> {
        let text = self
            .key
            .to_openssh(LineEnding::LF)
            .map_err(|error| key_error(Some(path), &error))?;
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.new", std::process::id()));
        let new = path.with_file_name(name);
        let written = || -> std::io::Result<()> {
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, path)
        };
        written().map_err(|error| key_error(Some(path), &error))
    }

    /// The public half as one line, `ssh-ed25519 AAAA...`.
    #[must_use]
    pub fn public_openssh(&self) -> String {
        self.key.public_key().to_openssh().unwrap_or_default()
    }

    /// The public half in the form of RFC 4253 6.6.
    #[must_use]
    pub fn public_blob(&self) -> Vec<u8> {
        self.key.public_key().to_bytes().unwrap_or_default()
    }

    /// Fingerprint of the public half, `SHA256:...`.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.key.fingerprint(HashAlg::Sha256).to_string()
    }
}

/// A private key from the text of its file.
pub(super) fn private_key(text: &str, path: Option<&Path>) -> Result<PrivateKey, Error> {
    let key =
        russh::keys::decode_secret_key(text, None).map_err(|error| key_error(path, &error))?;
    if !KEYS.contains(&key.algorithm()) {
        let reason = format!("{} is neither ed25519 nor ECDSA", key.algorithm());
        return Err(key_error(path, &reason));
    }
    Ok(key)
}

fn key_error(path: Option<&Path>, reason: &dyn std::fmt::Display) -> Error {
    Error::Key {
        path: path.map(Path::to_owned),
        reason: reason.to_string(),
    }
}

/// The host key a client accepts, from `ssh-ed25519 AAAA...` or `SHA256:...`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostKeyPin {
    fingerprint: String,
}

impl HostKeyPin {
    /// Reads a public key in OpenSSH form, or a SHA-256 fingerprint.
    ///
    /// # Errors
    /// When the text is neither.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        if let Some(hash) = text.strip_prefix("SHA256:") {
            let base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/');
            if hash.len() == 43 && hash.chars().all(base64) {
                return Ok(Self {
                    fingerprint: text.to_owned(),
                });
            }
            let reason = format!("{text:?} is not a SHA-256 fingerprint of 43 characters");
            return Err(key_error(None, &reason));
        }
        let key = PublicKey::from_openssh(text).map_err(|error| {
            key_error(
                None,
                &format!("pinned host key {text:?} cannot be read: {error}"),
            )
        })?;
        Ok(Self {
            fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
        })
    }

    /// `SHA256:...`.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_only_its_owner_may_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("host_key");
        let made = HostKey::load_or_generate(&path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let loaded = HostKey::load_or_generate(&path).unwrap();
        assert_eq!(made.fingerprint(), loaded.fingerprint());
        assert!(made.public_openssh().starts_with("ssh-ed25519 AAAA"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(!format!("{made:?}").contains("PRIVATE"));
    }

    #[test]
    fn a_broken_key_file_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("host_key");
        fs::write(&path, "nonsense").unwrap();
        let error = HostKey::load_or_generate(&path).unwrap_err().to_string();
        assert!(error.contains("host_key"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "nonsense");
    }

    #[test]
    fn a_pin_is_a_line_or_a_fingerprint_and_nothing_else() {
        let key = HostKey::generate().unwrap();
        let line = HostKeyPin::parse(&key.public_openssh()).unwrap();
        assert_eq!(line, HostKeyPin::parse(&key.fingerprint()).unwrap());
        assert_eq!(line.fingerprint(), key.fingerprint());
        for bad in ["", "SHA256:", "SHA256:abc", "ssh-ed25519 xyz", "any"] {
            assert!(HostKeyPin::parse(bad).is_err(), "{bad}");
        }
    }
}
