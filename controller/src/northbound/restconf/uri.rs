//! Percent-encoding (RFC 3986 2.1).

use super::error::Refusal;

/// Decodes the escapes of one component.
///
/// # Errors
/// 400 for a broken escape, or bytes that are not UTF-8.
pub(crate) fn decode(text: &str) -> Result<String, Refusal> {
    if !text.contains('%') {
        return Ok(text.to_owned());
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if byte == b'%' {
            let escape = bytes.get(at + 1..at + 3).and_then(hex);
            let Some(value) = escape else {
                let end = text.len().min(at + 3);
                let shown = text.get(at..end).unwrap_or("%");
                return Err(Refusal::bad_request(format!(
                    "'{shown}' in '{text}' is not a percent-escape"
                )));
            };
            out.push(value);
            at += 3;
        } else {
            out.push(byte);
            at += 1;
        }
    }
    String::from_utf8(out)
        .map_err(|_| Refusal::bad_request(format!("'{text}' is not UTF-8 when decoded")))
}

fn hex(pair: &[u8]) -> Option<u8> {
    let high = char::from(*pair.first()?).to_digit(16)?;
    let low = char::from(*pair.get(1)?).to_digit(16)?;
    u8::try_from(high * 16 + low).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn broken_escapes_are_refused() {
        for bad in ["%", "a%2", "%zz", "%+1", "%ff"] {
            assert_eq!(decode(bad).unwrap_err().status, 400, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(text in ".*") {
            let encoded: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
            prop_assert_eq!(decode(&encoded).unwrap(), text);
        }
    }
}
