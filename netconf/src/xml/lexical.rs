//! Names, attribute values and references: what the parser leaves unchecked.

use std::borrow::Cow;

use quick_xml::escape::{resolve_predefined_entity, unescape};
use quick_xml::events::BytesRef;

use super::{XmlError, is_xml_char};

pub(super) fn ill_formed(offset: usize, reason: &str) -> XmlError {
    XmlError::IllFormed {
        offset,
        reason: reason.to_owned(),
    }
}

/// Prefix (or "") and local name.
pub(super) fn split_name(name: &str, offset: usize) -> Result<(&str, &str), XmlError> {
    let (prefix, local) = name
        .split_once(':')
        .map_or(("", name), |(prefix, local)| (prefix, local));
    let prefixed = local.len() != name.len();
    if is_ncname(local) && (!prefixed || is_ncname(prefix)) {
        return Ok((prefix, local));
    }
    Err(ill_formed(
        offset,
        &format!("{:?} is no name", name.chars().take(40).collect::<String>()),
    ))
}

/// A name without colon. Beyond ASCII every character counts as a letter: stricter readers come after this one.
fn is_ncname(name: &str) -> bool {
    let mut bytes = name.bytes();
    let starts = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80;
    bytes.next().is_some_and(starts)
        && bytes.all(|byte| starts(byte) || byte.is_ascii_digit() || matches!(byte, b'-' | b'.'))
}

/// The value of an attribute: references resolved, white space normalised.
pub(super) fn attribute_value(raw: Cow<'_, str>, offset: usize) -> Result<Cow<'_, str>, XmlError> {
    if raw.contains('<') {
        return Err(ill_formed(offset, "'<' in the value of an attribute"));
    }
    let plain = |byte: u8| !matches!(byte, b'&' | b'\t' | b'\n' | b'\r');
    if raw.bytes().all(plain) {
        return Ok(raw);
    }
    let spaced = raw.replace("\r\n", " ").replace(['\t', '\n', '\r'], " ");
    let value = unescape(&spaced).map_err(|error| ill_formed(offset, &error.to_string()))?;
    if !value.chars().all(is_xml_char) {
        return Err(ill_formed(
            offset,
            "a reference to a character XML does not have",
        ));
    }
    Ok(Cow::Owned(value.into_owned()))
}

/// The text a reference stands for: the five predefined entities and characters, nothing else.
pub(super) fn resolve(
    reference: &BytesRef<'_>,
    offset: usize,
) -> Result<Cow<'static, str>, XmlError> {
    let character = reference
        .resolve_char_ref()
        .map_err(|error| ill_formed(offset, &error.to_string()))?;
    match character {
        Some(c) if is_xml_char(c) => Ok(Cow::Owned(c.to_string())),
        Some(_) => Err(ill_formed(
            offset,
            "a reference to a character XML does not have",
        )),
        None => resolve_predefined_entity(reference)
            .map(Cow::Borrowed)
            .ok_or(XmlError::Forbidden {
                offset,
                what: "a reference to an undeclared entity",
            }),
    }
}
