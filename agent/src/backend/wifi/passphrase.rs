//! What a passphrase may be, for access points and meshes.

use crate::backend::Secret;

/// Whether stations can be given it: octets 32 to 126 (IEEE Std 802.11-2020 J.4.1).
///
/// # Errors
/// One sentence, without the passphrase.
pub(super) fn check(passphrase: &Secret) -> Result<(), String> {
    let text = passphrase.expose();
    let is_printable = text.bytes().all(|octet| (32..=126).contains(&octet));
    if (8..=63).contains(&text.len()) && is_printable {
        return Ok(());
    }
    Err("a passphrase is 8 to 63 printable ASCII characters".to_owned())
}
