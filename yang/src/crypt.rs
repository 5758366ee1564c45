//! Passwords as `iana-crypt-hash` holds them (RFC 7317): made from `$0$` clear text on write, and checked.
//!
//! Owns the formats and their limits. Costs milliseconds of CPU by design: call it on a blocking pool. Who may log in,
//! how often, and what is cached is up to the server.

use sha_crypt::{
    CustomizedPasswordHasher as _, Params, PasswordHashRef, PasswordVerifier as _, ShaCrypt,
};
use tranche_netconf::error::{ErrorTag, RpcError};

/// Rounds above which a hash is refused: a login with a million takes about a second.
const MAX_ROUNDS: u32 = 1_000_000;

/// Bytes above which a password is refused: the cost of a hash grows with it.
pub const MAX_PASSWORD_BYTES: usize = 1024;

/// A well-formed hash of nothing that anybody knows, as costly to check as those that [`hash`] makes.
const DECOY: &str = "$6$nobodyknowsthis.$\
                     nasZQHxz17K9c8A8GFJZu/bv3yuBJmsKMm1w3ngJkf8NqnD/YQyUsqdlDwr2kKwTiWO3IyQqu3UxWxGxuJqwZ0";

/// What to store for a `crypt-hash` that a client wrote: the hash of a `$0$` value, any other as it is.
///
/// # Errors
/// As [`hash()`] and [`check()`].
pub fn store(written: &str) -> Result<String, RpcError> {
    match written.strip_prefix("$0$") {
        Some(clear) => hash(clear),
        None => check(written).map(|()| written.to_owned()),
    }
}

/// Whether a stored hash is one that can be verified here. Costs nothing.
///
/// # Errors
/// `invalid-value` for MD5, too many or too few rounds, and what is no hash.
pub fn check(stored: &str) -> Result<(), RpcError> {
    let refuse = |why: String| Err(RpcError::new(ErrorTag::InvalidValue, why));
    match stored.get(..3) {
        Some("$5$" | "$6$") => {}
        Some("$1$") => {
            return refuse("MD5 ($1$) passwords are not supported: use $6$ or $0$".to_owned());
        }
        _ => return refuse("a password is stored as $5$ or $6$, or written as $0$".to_owned()),
    }
    let allowed = Params::ROUNDS_MIN..=MAX_ROUNDS;
    if let Some(given) = rounds(stored)
        && !given.parse().is_ok_and(|rounds| allowed.contains(&rounds))
    {
        let (low, high) = (allowed.start(), allowed.end());
        return refuse(format!(
            "a password hash has {low} to {high} rounds, not {given}"
        ));
    }
    PasswordHashRef::new(stored)
        .map(drop)
        .or_else(|error| refuse(format!("the password hash can't be read: {error}")))
}

/// Hashes a password: SHA-512 crypt, 5,000 rounds, a random salt of 96 bits.
///
/// # Errors
/// `invalid-value` for an empty password or one longer than [`MAX_PASSWORD_BYTES`].
pub fn hash(password: &str) -> Result<String, RpcError> {
    if password.is_empty() || password.len() > MAX_PASSWORD_BYTES {
        return Err(RpcError::new(
            ErrorTag::InvalidValue,
            format!("a password has 1 to {MAX_PASSWORD_BYTES} bytes"),
        ));
    }
    let salt: [u8; 12] = rand::random();
    ShaCrypt::SHA512
        .hash_password_customized(password.as_bytes(), &salt, None, None, Params::RECOMMENDED)
        .map(|hash| hash.to_string())
        .map_err(|e| RpcError::new(ErrorTag::OperationFailed, format!("can't hash: {e}")))
}

/// Whether a password is the one that was hashed. Without a hash (an unknown user, one without a password) it answers
/// no after the same effort.
#[must_use]
pub fn verify(password: &str, stored: Option<&str>) -> bool {
    if password.len() > MAX_PASSWORD_BYTES {
        return false;
    }
    let usable = stored.filter(|stored| check(stored).is_ok());
    let matches = ShaCrypt::SHA512
        .verify_password(password.as_bytes(), usable.unwrap_or(DECOY))
        .is_ok();
    matches && usable.is_some()
}

/// The number of rounds as it is written, where it is.
fn rounds(hash: &str) -> Option<&str> {
    hash.split('$').nth(2)?.strip_prefix("rounds=")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clear_text_is_hashed_and_verified() {
        let stored = store("$0$wonderland").unwrap();
        assert!(stored.starts_with("$6$"), "{stored}");
        assert_ne!(
            stored,
            store("$0$wonderland").unwrap(),
            "the salt is random"
        );
        assert!(verify("wonderland", Some(&stored)));
        assert!(!verify("Wonderland", Some(&stored)));
        assert!(!verify("wonderland", None));
    }

    #[test]
    fn hashes_of_other_programs_are_kept_and_verified() {
        // `openssl passwd -5 -salt saltsalt secret`, `openssl passwd -6 -salt saltsalt secret`
        for known in [
            "$5$saltsalt$0IyaXrmV7.sGNS6tirgqHLqX/G.FBvgkYA.lpPdS5sA",
            "$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN.Pq.H91p5hVO1",
        ] {
            assert_eq!(store(known).unwrap(), known);
            assert!(verify("secret", Some(known)), "{known}");
            assert!(!verify("secreT", Some(known)), "{known}");
        }
    }

    #[test]
    fn what_cannot_be_checked_later_is_refused() {
        for bad in [
            "$0$",
            "$1$salt$qJH7.N4xYta3aEG/dfqo/0",
            "$6$rounds=999999999$salt$aaaa",
            "$6$rounds=999999999999$salt$aaaa",
            "$6$rounds=10$salt$aaaa",
            "$7$x$y",
            "plain",
        ] {
            let error = store(bad).unwrap_err();
            assert_eq!(error.tag, ErrorTag::InvalidValue, "{bad}");
        }
        assert!(store(&format!("$0${}", "x".repeat(1025))).is_err());
    }

    #[test]
    fn the_decoy_is_well_formed() {
        let result = ShaCrypt::SHA512.verify_password(b"x", DECOY);
        assert_eq!(
            result,
            Err(sha_crypt::password_hash::Error::PasswordInvalid)
        );
    }
}
