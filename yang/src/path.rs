//! Instance paths in JSON form, taken apart without libyang.

use tranche_netconf::error::ErrorTag;

use crate::error::{Error, Result};

/// One step: its name with module prefix, and its predicates (`name`, `value`); `.` is the value of a leaf-list.
pub(crate) type Step = (String, Vec<(String, String)>);

/// Splits `/m:a/b[k='v'][l="w"]/c` into steps. `/` and empty text have none.
///
/// # Errors
/// Not a path of this form.
pub(crate) fn split(path: &str) -> Result<Vec<Step>> {
    let bad = |what: &str| {
        Error::new(
            ErrorTag::InvalidValue,
            format!("{path} is not an instance path: {what}"),
        )
    };
    let mut out = Vec::new();
    let mut rest = path.trim();
    if rest == "/" {
        return Ok(out);
    }
    while !rest.is_empty() {
        rest = rest
            .strip_prefix('/')
            .ok_or_else(|| bad("a step must begin with a slash"))?;
        let end = rest.find(['/', '[']).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        if name.is_empty() {
            return Err(bad("a step has no name"));
        }
        rest = after;
        let mut keys = Vec::new();
        while let Some(predicate) = rest.strip_prefix('[') {
            let (key, value) = predicate
                .split_once('=')
                .ok_or_else(|| bad("a predicate has no value"))?;
            let value = value.trim_start();
            let quote = value
                .chars()
                .next()
                .filter(|q| matches!(q, '\'' | '"'))
                .ok_or_else(|| bad("a predicate's value is not quoted"))?;
            let close = value[1..]
                .find(quote)
                .ok_or_else(|| bad("a predicate's value does not end"))?;
            keys.push((key.trim().to_owned(), value[1..=close].to_owned()));
            rest = value[close + 2..]
                .trim_start()
                .strip_prefix(']')
                .ok_or_else(|| bad("a predicate does not end"))?;
        }
        out.push((name.to_owned(), keys));
    }
    Ok(out)
}

/// A predicate value in quotes that XPath can read; text with both kinds of quotes has none.
pub(crate) fn quote(value: &str) -> Option<String> {
    if !value.contains('\'') {
        Some(format!("'{value}'"))
    } else if !value.contains('"') {
        Some(format!("\"{value}\""))
    } else {
        None
    }
}

/// Any text as an XPath expression: a literal, or where it has both kinds of quotes a `concat` of literals.
pub(crate) fn literal(value: &str) -> String {
    quote(value).unwrap_or_else(|| {
        let parts: Vec<String> = value.split('"').map(|part| format!("\"{part}\"")).collect();
        format!("concat({})", parts.join(",'\"',"))
    })
}
