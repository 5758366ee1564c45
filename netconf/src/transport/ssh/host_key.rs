//! The identity of a server.

use std::path::Path;

use crate::error::Error;

/// The private key a server proves its identity with.
#[derive(Clone)]
pub struct HostKey {}

impl std::fmt::Debug for HostKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HostKey({})", self.fingerprint())
    }
}

impl HostKey {
    /// A new ed25519 key, kept in memory only.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn generate() -> Result<Self, Error> {
        todo!()
    }

    /// The key in the file `path` (OpenSSH format); made there (ed25519, mode 0600) where there is none.
    ///
    /// # Errors
    /// When the file cannot be read, written or understood, or holds a key that is neither ed25519 nor ECDSA.
    pub fn load_or_generate(path: impl AsRef<Path>) -> Result<Self, Error> {
        let _ = path;
        todo!()
    }

    /// The public half as one line, `ssh-ed25519 AAAA...`.
    #[must_use]
    pub fn public_openssh(&self) -> String {
        todo!()
    }

    /// Fingerprint of the public half, `SHA256:...`.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        todo!()
    }
}
