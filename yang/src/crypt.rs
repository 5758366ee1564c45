//! Passwords as `iana-crypt-hash` holds them (RFC 7317): made from `$0$` clear text on write, and checked.
//!
//! Owns the formats and their limits. Costs milliseconds of CPU by design: call it on a blocking pool. Who may log in,
//! how often, and what is cached is up to the server.

use sha_crypt::{CustomizedPasswordHasher as _, Params, PasswordVerifier as _, ShaCrypt};
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
/// `invalid-value` for a hash that can't be checked later (MD5, too many rounds, malformed), an empty password, or one
/// that is too long.
pub fn store(written: &str) -> Result<String, RpcError> {
    if let Some(clear) = written.strip_prefix("$0$") {
        return hash(clear);
    }
    let refuse = |why: String| Err(RpcError::new(ErrorTag::InvalidValue, why));
    if written.starts_with("$1$") {
        return refuse(
            "MD5 password hashes ($1$) are not supported: use $0$, $5$ or $6$".to_owned(),
        );
    }
    if rounds(written).is_some_and(|rounds| !(Params::ROUNDS_MIN..=MAX_ROUNDS).contains(&rounds)) {
        return refuse(format!(
            "a password hash has {} to {MAX_ROUNDS} rounds",
            Params::ROUNDS_MIN
        ));
    }
    match ShaCrypt::SHA512.verify_password(b"", written) {
        Ok(()) => refuse("an empty password is not accepted".to_owned()),
        Err(sha_crypt::password_hash::Error::PasswordInvalid) => Ok(written.to_owned()),
        Err(_) => refuse("not a password hash of the forms $0$, $5$ or $6$".to_owned()),
    }
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
    let usable = stored.filter(|s| rounds(s).is_none_or(|rounds| rounds <= MAX_ROUNDS));
    let matches = ShaCrypt::SHA512
        .verify_password(password.as_bytes(), usable.unwrap_or(DECOY))
        .is_ok();
    matches && usable.is_some()
}

fn rounds(hash: &str) -> Option<u32> {
    let text = hash.split('$').nth(2)?.strip_prefix("rounds=")?;
    Some(text.parse().unwrap_or(u32::MAX))
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
