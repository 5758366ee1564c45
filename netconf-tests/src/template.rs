//! Text with names in it, and text with fields in it.

use std::collections::BTreeMap;

use crate::error::Error;

/// Puts values in the place of `@name@`. An `@` that no other follows on its line stands for itself.
pub(crate) fn fill(
    name: &str,
    template: &str,
    values: &BTreeMap<String, String>,
) -> Result<String, Error> {
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('@') {
        text.push_str(before);
        let line = after.lines().next().unwrap_or_default();
        let Some((key, _)) = line.split_once('@') else {
            text.push('@');
            rest = after;
            continue;
        };
        let value = values.get(key).ok_or_else(|| Error::Template {
            template: name.to_owned(),
            name: key.to_owned(),
        })?;
        text.push_str(value);
        rest = &after[key.len() + 1..];
    }
    text.push_str(rest);
    Ok(text)
}

/// The `name=value` words of a line.
pub(crate) fn fields(line: &str) -> BTreeMap<&str, &str> {
    line.split_whitespace()
        .filter_map(|word| word.split_once('='))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_filled_and_an_unknown_name_refused() {
        let values = BTreeMap::from([("a.b".to_owned(), "1".to_owned())]);
        assert_eq!(
            fill("t", "x @a.b@@a.b@ me@home\n", &values).unwrap(),
            "x 11 me@home\n"
        );
        let error = fill("t", "x @c@", &values).unwrap_err().to_string();
        assert!(error.contains("@c@"), "{error}");
    }

    #[test]
    fn fields_of_a_line() {
        let line = fields("listening node=node-1 address=127.0.0.1:1 host-key=SHA256:a=");
        assert_eq!(line["host-key"], "SHA256:a=");
    }
}
