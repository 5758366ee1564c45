//! XPath of a request, with its own prefixes, as XPath with module names, which is what libyang reads.

use tranche_netconf::error::ErrorTag;

use crate::context::Schema;
use crate::error::{Error, Result};

/// Replaces the prefixes of an expression by module names. A prefix that is not declared may be a module name already.
///
/// # Errors
/// A prefix that is neither declared nor a module, a namespace without module, an unfinished literal.
pub(crate) fn to_json(
    schema: &Schema,
    expression: &str,
    namespaces: &[(String, String)],
) -> Result<String> {
    let bad = |message: String| Error::new(ErrorTag::InvalidValue, message);
    let mut out = String::with_capacity(expression.len());
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        if first == '\'' || first == '"' {
            let end = rest[1..]
                .find(first)
                .ok_or_else(|| bad("the XPath has a literal without end".into()))?;
            let (literal, after) = rest.split_at(end + 2);
            out.push_str(literal);
            rest = after;
        } else if first.is_alphabetic() || first == '_' {
            let end = rest
                .find(|ch: char| !(ch.is_alphanumeric() || "_-.".contains(ch)))
                .unwrap_or(rest.len());
            let (name, after) = rest.split_at(end);
            let prefixed = after.starts_with(':') && !after.starts_with("::");
            if prefixed {
                let namespace = namespaces.iter().find(|(p, _)| p == name).map(|(_, ns)| ns);
                let module = match namespace {
                    Some(ns) => schema.module_of_namespace(ns).ok_or_else(|| {
                        bad(format!(
                            "no module has the namespace {ns} of the prefix {name}"
                        ))
                    })?,
                    None => schema
                        .module(name)
                        .ok_or_else(|| bad(format!("the XPath prefix {name} is not declared")))?,
                };
                out.push_str(&module.name);
            } else {
                out.push_str(name);
            }
            rest = after;
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    Ok(out)
}
