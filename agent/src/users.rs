//! The users of a node: `ietf-system` authentication users (RFC 7317 3.5), their passwords and public keys.
//!
//! Owns what a password or key may be, the hashing of `$0$` passwords and the check of a credential. Leaves who may do what
//! to access control, and where users are stored to the datastores.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use tranche_netconf::error::RpcError;
use tranche_yang::crypt;

/// A password or key that this agent does not accept. The message is for the peer; it holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct CredentialError {
    /// Instance path of the offending node.
    pub path: String,
    /// The reason, one plain sentence without full stop.
    pub message: String,
}

/// Everybody who may log in, as running has it. Replaced as a whole when the configuration changes.
pub struct Users {
    users: HashMap<String, User>,
}

#[derive(Default)]
struct User {
    password: Option<String>,
    keys: Vec<Vec<u8>>,
}

/// The part of the configuration that this module reads (RFC 7951 JSON).
#[derive(Debug, Default, Deserialize)]
struct Root {
    #[serde(rename = "ietf-system:system", default)]
    system: System,
}

#[derive(Debug, Default, Deserialize)]
struct System {
    #[serde(default)]
    authentication: Authentication,
}

#[derive(Debug, Default, Deserialize)]
struct Authentication {
    #[serde(default)]
    user: Vec<UserEntry>,
}

#[derive(Deserialize)]
struct UserEntry {
    name: String,
    password: Option<String>,
    #[serde(rename = "authorized-key", default)]
    keys: Vec<KeyEntry>,
}

impl std::fmt::Debug for UserEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserEntry")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct KeyEntry {
    name: String,
    algorithm: String,
    key_data: String,
}

impl Users {
    /// Reads the users of a configuration, printed as RFC 7951 JSON (other modules are skipped).
    ///
    /// # Errors
    /// Every password and key that is not acceptable, or one error at `/` if the text is no such configuration.
    pub fn from_json(config: &str) -> Result<Self, Vec<CredentialError>> {
        let root: Root = serde_json::from_str(config).map_err(|error| {
            vec![CredentialError {
                path: "/".to_owned(),
                message: error.to_string(),
            }]
        })?;
        let mut errors = Vec::new();
        let mut users = HashMap::new();
        for entry in root.system.authentication.user {
            let path = user_path(&entry.name);
            let mut user = User::default();
            if let Some(password) = entry.password {
                match check_hash(&password) {
                    Ok(()) => user.password = Some(password),
                    Err(message) => errors.push(CredentialError {
                        path: format!("{path}/password"),
                        message,
                    }),
                }
            }
            for key in entry.keys {
                match parse_key(&key.algorithm, &key.key_data) {
                    Ok(blob) => user.keys.push(blob),
                    Err(message) => errors.push(CredentialError {
                        path: format!("{path}/authorized-key[name={}]", quoted(&key.name)),
                        message,
                    }),
                }
            }
            users.insert(entry.name, user);
        }
        if errors.is_empty() {
            Ok(Self { users })
        } else {
            Err(errors)
        }
    }

    /// Whether the public key `blob` (RFC 4253 6.6) of `algorithm` is one of the user's.
    #[must_use]
    pub fn accepts_key(&self, user: &str, algorithm: &str, blob: &[u8]) -> bool {
        KeyKind::of(algorithm).is_some()
            && self
                .users
                .get(user)
                .is_some_and(|user| user.keys.iter().any(|key| key == blob))
    }

    /// Whether `password` is the user's. Slow on purpose, and as slow for a user that does not exist: call it on a thread
    /// that may wait.
    #[must_use]
    pub fn accepts_password(&self, user: &str, password: &str) -> bool {
        let known = self
            .users
            .get(user)
            .and_then(|user| user.password.as_deref());
        crypt::verify(password, known)
    }
}

impl std::fmt::Debug for Users {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.users.keys()).finish()
    }
}

/// The instance path of a user.
fn user_path(name: &str) -> String {
    format!(
        "/ietf-system:system/authentication/user[name={}]",
        quoted(name)
    )
}

/// What is stored for a password as it was written: a `$0$` one is hashed with SHA-512 (RFC 7317, `iana-crypt-hash`),
/// anything else stays as it is. Slow on purpose.
///
/// # Errors
/// A sentence if it cannot be hashed.
pub fn stored_form(written: &str) -> Result<Option<String>, String> {
    let Some(clear) = written.strip_prefix("$0$") else {
        return Ok(None);
    };
    crypt::hash(clear).map(Some).map_err(message)
}

/// Whether a stored password is one that can be verified here.
fn check_hash(hash: &str) -> Result<(), String> {
    crypt::check(hash).map_err(message)
}

fn message(error: RpcError) -> String {
    error.message.unwrap_or_default()
}

/// The kinds of public key that the transport verifies.
#[derive(Debug, Clone, Copy)]
enum KeyKind {
    Ed25519,
    Ecdsa {
        curve: &'static str,
        point_bytes: usize,
    },
}

impl KeyKind {
    fn of(algorithm: &str) -> Option<Self> {
        Some(match algorithm {
            "ssh-ed25519" => Self::Ed25519,
            "ecdsa-sha2-nistp256" => Self::Ecdsa {
                curve: "nistp256",
                point_bytes: 65,
            },
            "ecdsa-sha2-nistp384" => Self::Ecdsa {
                curve: "nistp384",
                point_bytes: 97,
            },
            "ecdsa-sha2-nistp521" => Self::Ecdsa {
                curve: "nistp521",
                point_bytes: 133,
            },
            _ => return None,
        })
    }
}

/// The key's blob, if it is a key of the kind it says it is.
fn parse_key(algorithm: &str, key_data: &str) -> Result<Vec<u8>, String> {
    let kind = KeyKind::of(algorithm).ok_or_else(|| {
        format!(
            "the key algorithm '{algorithm}' is not supported: use ssh-ed25519 or \
             ecdsa-sha2-nistp256, -nistp384 or -nistp521"
        )
    })?;
    let blob = STANDARD
        .decode(key_data)
        .map_err(|_| "key-data is not base64".to_owned())?;
    let bad = |what: &str| format!("key-data is not a key of {algorithm} (RFC 4253 6.6): {what}");
    let (name, rest) = ssh_string(&blob).ok_or_else(|| bad("it is too short"))?;
    if name != algorithm.as_bytes() {
        return Err(bad(&format!("it says '{}'", String::from_utf8_lossy(name))));
    }
    let (field, rest) = ssh_string(rest).ok_or_else(|| bad("it is too short"))?;
    let rest = match kind {
        KeyKind::Ed25519 => {
            if field.len() != 32 {
                return Err(bad("the key is not 32 bytes"));
            }
            rest
        }
        KeyKind::Ecdsa { curve, point_bytes } => {
            if field != curve.as_bytes() {
                return Err(bad("it is for another curve"));
            }
            let (point, rest) = ssh_string(rest).ok_or_else(|| bad("it is too short"))?;
            if point.len() != point_bytes || point.first() != Some(&4) {
                return Err(bad("the point is not an uncompressed one of this curve"));
            }
            rest
        }
    };
    if rest.is_empty() {
        Ok(blob)
    } else {
        Err(bad("something follows it"))
    }
}

/// One length-prefixed string (RFC 4251 5) and what follows it.
fn ssh_string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

/// A string as an XPath literal.
fn quoted(text: &str) -> String {
    if text.contains('\'') {
        format!("\"{text}\"")
    } else {
        format!("'{text}'")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_user(user: &str) -> Result<Users, Vec<CredentialError>> {
        Users::from_json(&format!(
            r#"{{"ietf-system:system":{{"authentication":{{"user":[{user}]}}}}}}"#
        ))
    }

    fn key(algorithm: &str, fields: &[&[u8]]) -> String {
        let mut blob = Vec::new();
        for field in [algorithm.as_bytes()].iter().chain(fields) {
            blob.extend_from_slice(&u32::try_from(field.len()).unwrap().to_be_bytes());
            blob.extend_from_slice(field);
        }
        STANDARD.encode(blob)
    }

    fn refusal(user: &str) -> String {
        let errors = with_user(user).unwrap_err();
        assert_eq!(errors.len(), 1, "{errors:?}");
        errors[0].to_string()
    }

    #[test]
    fn a_clear_password_is_hashed_with_sha_512_and_verifies() {
        let stored = stored_form("$0$correct horse").unwrap().unwrap();
        assert!(stored.starts_with("$6$"), "{stored}");
        assert!(!stored.contains("horse"));
        let users = with_user(&format!(r#"{{"name":"alice","password":"{stored}"}}"#)).unwrap();
        assert!(users.accepts_password("alice", "correct horse"));
        assert!(!users.accepts_password("alice", "wrong"));
        assert!(!users.accepts_password("bob", "correct horse"));
    }

    #[test]
    fn a_hash_stays_as_it_was_written() {
        assert_eq!(stored_form("$5$saltsalt$x"), Ok(None));
    }

    /// The vectors of Ulrich Drepper's description of SHA-crypt.
    #[test]
    fn published_hashes_verify() {
        let sha256 = "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5";
        let sha512 = "$6$rounds=10000$saltstringsaltst$OW1/O6BYHV6BcXZu8QVeXbDWra3Oeqh0sbHbbMCVNSnCM\
                      /UrjmM0Dp8vOuZeHBy/YTBmSK6H9qs/y3RnOaw5v.";
        let users = with_user(&format!(
            r#"{{"name":"a","password":"{sha256}"}},{{"name":"b","password":"{sha512}"}}"#
        ))
        .unwrap();
        assert!(users.accepts_password("a", "Hello world!"));
        assert!(users.accepts_password("b", "Hello world!"));
    }

    #[test]
    fn md5_and_endless_rounds_are_refused_with_a_reason() {
        assert_eq!(
            refusal(r#"{"name":"a","password":"$1$salt$0123456789012345678901"}"#),
            "/ietf-system:system/authentication/user[name='a']/password: MD5 ($1$) passwords are \
             not supported: use $6$ or $0$"
        );
        let hash = "x".repeat(86);
        let many = refusal(&format!(
            r#"{{"name":"a","password":"$6$rounds=999999999$salt${hash}"}}"#
        ));
        assert!(
            many.ends_with("a password hash has 1000 to 1000000 rounds, not 999999999"),
            "{many}"
        );
    }

    #[test]
    fn keys_of_both_kinds_are_accepted_and_told_apart() {
        let ed25519 = key("ssh-ed25519", &[&[7; 32]]);
        let mut point = [9; 65];
        point[0] = 4;
        let ecdsa = key("ecdsa-sha2-nistp256", &[b"nistp256", &point]);
        let users = with_user(&format!(
            r#"{{"name":"a","authorized-key":[
                {{"name":"k1","algorithm":"ssh-ed25519","key-data":"{ed25519}"}},
                {{"name":"k2","algorithm":"ecdsa-sha2-nistp256","key-data":"{ecdsa}"}}]}}"#
        ))
        .unwrap();
        let blob = STANDARD.decode(ed25519).unwrap();
        assert!(users.accepts_key("a", "ssh-ed25519", &blob));
        assert!(!users.accepts_key("b", "ssh-ed25519", &blob));
        assert!(!users.accepts_key("a", "ssh-ed25519", &blob[..50]));
        assert!(!users.accepts_password("a", ""));
    }

    #[test]
    fn other_keys_are_refused_with_a_reason() {
        let rsa = key("ssh-rsa", &[&[1, 0, 1], &[5; 256]]);
        let refused = refusal(&format!(
            r#"{{"name":"a","authorized-key":[{{"name":"k","algorithm":"ssh-rsa","key-data":"{rsa}"}}]}}"#
        ));
        assert!(
            refused.contains("[name='a']/authorized-key[name='k']: the key algorithm 'ssh-rsa'"),
            "{refused}"
        );
        let short = key("ssh-ed25519", &[&[7; 31]]);
        let refused = refusal(&format!(
            r#"{{"name":"a","authorized-key":[{{"name":"k","algorithm":"ssh-ed25519","key-data":"{short}"}}]}}"#
        ));
        assert!(refused.ends_with("the key is not 32 bytes"), "{refused}");
        let other = key("ssh-rsa", &[&[7; 32]]);
        let refused = refusal(&format!(
            r#"{{"name":"a","authorized-key":[{{"name":"k","algorithm":"ssh-ed25519","key-data":"{other}"}}]}}"#
        ));
        assert!(refused.ends_with("it says 'ssh-rsa'"), "{refused}");
    }
}
