//! Keys of WireGuard: Curve25519 pairs and pre-shared keys.
//!
//! Private and pre-shared keys are printed by nothing. Public keys are checked here for what no honest peer has.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gotatun::x25519;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::backend::value::ParseValueError;

/// A public key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// Whether every private key agrees on the same secret with it, which is then none (RFC 7748 6.1); zero is one of these.
    #[must_use]
    pub fn is_low_order(&self) -> bool {
        // Any private key will do: points of low order take all of them to zero.
        let secret = x25519::StaticSecret::from([0x55; 32]);
        let shared = secret.diffie_hellman(&x25519::PublicKey::from(self.0));
        !shared.was_contributory()
    }
}

/// A private key, made here.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey([u8; 32]);

impl PrivateKey {
    /// A new one.
    #[must_use]
    pub fn generate() -> Self {
        Self(rand::random())
    }

    /// Its public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(x25519::PublicKey::from(&self.secret()).to_bytes())
    }

    /// For who encrypts in this process.
    #[must_use]
    pub fn secret(&self) -> x25519::StaticSecret {
        x25519::StaticSecret::from(self.0)
    }

    /// For who hands it to the kernel.
    #[must_use]
    pub fn expose(&self) -> [u8; 32] {
        self.0
    }
}

/// A pre-shared key.
#[derive(Clone, PartialEq, Eq)]
pub struct PresharedKey([u8; 32]);

impl PresharedKey {
    /// For who encrypts.
    #[must_use]
    pub fn expose(&self) -> [u8; 32] {
        self.0
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(private key)")
    }
}

impl fmt::Debug for PresharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(pre-shared key)")
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for PrivateKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(self.0))
    }
}

/// 32 octets from base64. An error does not repeat the text: it may be a secret.
fn octets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
    let text = String::deserialize(deserializer)?;
    // libyang breaks long base64 into lines.
    let text: String = text.split_ascii_whitespace().collect();
    let decoded = STANDARD.decode(text).ok();
    decoded
        .and_then(|octets| octets.try_into().ok())
        .ok_or_else(|| de::Error::custom(ParseValueError::new("32 octets in base64", "a key")))
}

macro_rules! from_base64 {
    ($($type:ident),*) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                octets(deserializer).map(Self)
            }
        }
    )*};
}

from_base64!(PublicKey, PrivateKey, PresharedKey);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_agree_on_nothing_are_of_low_order() {
        let mut one = [0; 32];
        one[0] = 1;
        // The points of RFC 7748's curve of order 8 and less (curve25519 has twelve encodings; these are the canonical ones).
        let order_8 = [
            0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f,
            0xc4, 0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16,
            0x5f, 0x49, 0xb8, 0x00,
        ];
        let mut minus_one = [0xff; 32];
        (minus_one[0], minus_one[31]) = (0xec, 0x7f);
        for low in [[0; 32], one, order_8, minus_one] {
            assert!(PublicKey(low).is_low_order(), "{low:02x?}");
        }
        assert!(!PrivateKey::generate().public().is_low_order());
    }

    #[test]
    fn a_key_survives_its_text_and_secrets_are_not_printed() {
        let key = PrivateKey::generate();
        let text = serde_json::to_string(&key).unwrap();
        assert_eq!(serde_json::from_str::<PrivateKey>(&text).unwrap(), key);
        let preshared: PresharedKey = serde_json::from_str(&text).unwrap();
        let shown = format!("{key:?} {preshared:?}");
        assert_eq!(shown, "(private key) (pre-shared key)");
        let error = serde_json::from_str::<PresharedKey>("\"c2VjcmV0\"").unwrap_err();
        assert!(!error.to_string().contains("c2VjcmV0"), "{error}");
    }

    #[test]
    fn the_public_half_is_that_of_the_rfc() {
        // RFC 7748 6.1.
        let alice = PrivateKey([
            0x77, 0x07, 0x6d, 0x0a, 0x73, 0x18, 0xa5, 0x7d, 0x3c, 0x16, 0xc1, 0x72, 0x51, 0xb2,
            0x66, 0x45, 0xdf, 0x4c, 0x2f, 0x87, 0xeb, 0xc0, 0x99, 0x2a, 0xb1, 0x77, 0xfb, 0xa5,
            0x1d, 0xb9, 0x2c, 0x2a,
        ]);
        assert_eq!(alice.public().0[..4], [0x85, 0x20, 0xf0, 0x09]);
    }
}
