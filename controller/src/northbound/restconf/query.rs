//! Query parameters (RFC 8040 4.8): parsed into types, each at most once, none that the method doesn't take.

use std::fmt;

use super::error::Refusal;
use super::uri;
use tranche_netconf::message::WithDefaults;
use tranche_yang::restconf::Insert;

/// `content` (RFC 8040 4.8.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Content {
    /// Configuration and state.
    #[default]
    All,
    /// Configuration.
    Config,
    /// State.
    NonConfig,
}

/// One node of `fields` (RFC 8040 4.8.3) with what is selected below it; nothing below selects all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    /// Module, where the expression names it.
    pub(crate) module: Option<String>,
    /// Name of the schema node.
    pub(crate) name: String,
    /// Selected children; empty means the whole subtree.
    pub(crate) children: Vec<Self>,
}

/// Where a request may bring which parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// GET and HEAD of a resource.
    Read,
    /// POST and PUT of data.
    Insert,
    /// PATCH and DELETE of data.
    Change,
    /// POST of an operation or an action.
    Invoke,
    /// GET of an event stream.
    Stream,
    /// Anything else.
    None,
}

impl Place {
    fn takes(self, name: &str) -> bool {
        match self {
            Self::Read => matches!(name, "content" | "depth" | "fields" | "with-defaults"),
            Self::Insert => matches!(name, "insert" | "point" | "dry-run"),
            Self::Change | Self::Invoke => name == "dry-run",
            Self::Stream => matches!(name, "filter" | "start-time" | "stop-time"),
            Self::None => false,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "reading takes content, depth, fields and with-defaults",
            Self::Insert => "POST and PUT of data take insert, point and dry-run",
            Self::Change => "PATCH and DELETE of data take dry-run",
            Self::Invoke => "an operation takes dry-run",
            Self::Stream => "an event stream takes filter, start-time and stop-time",
            Self::None => "this request takes none",
        })
    }
}

/// Parsed parameters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Query {
    /// Which kind of data.
    pub(crate) content: Content,
    /// Levels to return, the target being the first; none is all.
    pub(crate) depth: Option<u16>,
    /// Which descendants of the target; none is all.
    pub(crate) fields: Option<Vec<Field>>,
    /// Defaults.
    pub(crate) with_defaults: Option<WithDefaults>,
    /// Where in a user-ordered list.
    pub(crate) insert: Option<Insert>,
    /// Say what the change would do and change nothing (`tranche-dry-run`).
    pub(crate) dry_run: bool,
    /// Filter of an event stream, an XPath expression.
    pub(crate) filter: Option<String>,
    /// Replay from.
    pub(crate) start_time: Option<String>,
    /// Stop at.
    pub(crate) stop_time: Option<String>,
}

impl Query {
    /// Parses the part of a URI after `?`.
    ///
    /// # Errors
    /// 400 for a parameter that is unknown, out of place, given twice or malformed.
    pub(crate) fn parse(query: Option<&str>, place: Place) -> Result<Self, Refusal> {
        let mut parsed = Self::default();
        let (mut insert, mut point) = (None, None);
        let mut seen: Vec<String> = Vec::new();
        for pair in query
            .unwrap_or_default()
            .split('&')
            .filter(|p| !p.is_empty())
        {
            let (name, raw) = pair.split_once('=').unwrap_or((pair, ""));
            let name = uri::decode(name)?;
            if !place.takes(&name) {
                return Err(Refusal::bad_request(format!(
                    "query parameter '{name}' is unknown or out of place: {place}"
                )));
            }
            if seen.contains(&name) {
                return Err(Refusal::bad_request(format!(
                    "query parameter '{name}' is given twice"
                )));
            }
            let value = uri::decode(raw)?;
            match name.as_str() {
                "content" => parsed.content = content(&value)?,
                "depth" => parsed.depth = depth(&value)?,
                "fields" => parsed.fields = Some(fields(&value)?),
                "with-defaults" => parsed.with_defaults = Some(with_defaults(&value)?),
                "insert" => insert = Some(value),
                "point" => point = Some(value),
                "dry-run" => parsed.dry_run = without_value(&name, &value)?,
                "filter" => parsed.filter = Some(value),
                "start-time" => parsed.start_time = Some(value),
                _ => parsed.stop_time = Some(value),
            }
            seen.push(name);
        }
        parsed.insert = Insert::from_query(insert.as_deref(), point.as_deref())
            .map_err(|e| Refusal::bad_request(e.message))?;
        Ok(parsed)
    }
}

/// A parameter that says all by being there.
fn without_value(name: &str, value: &str) -> Result<bool, Refusal> {
    match value {
        "" => Ok(true),
        _ => Err(Refusal::bad_request(format!(
            "query parameter '{name}' takes no value, and '{value}' is one"
        ))),
    }
}

fn content(value: &str) -> Result<Content, Refusal> {
    match value {
        "all" => Ok(Content::All),
        "config" => Ok(Content::Config),
        "nonconfig" => Ok(Content::NonConfig),
        _ => Err(Refusal::bad_request(format!(
            "content '{value}' is none of all, config and nonconfig"
        ))),
    }
}

fn depth(value: &str) -> Result<Option<u16>, Refusal> {
    match value.parse::<u16>() {
        _ if value == "unbounded" => Ok(None),
        Ok(depth) if depth > 0 => Ok(Some(depth)),
        _ => Err(Refusal::bad_request(format!(
            "depth '{value}' is neither a number from 1 to 65535 nor unbounded"
        ))),
    }
}

fn with_defaults(value: &str) -> Result<WithDefaults, Refusal> {
    match value {
        "report-all" => Ok(WithDefaults::ReportAll),
        "report-all-tagged" => Ok(WithDefaults::ReportAllTagged),
        "trim" => Ok(WithDefaults::Trim),
        "explicit" => Ok(WithDefaults::Explicit),
        _ => Err(Refusal::bad_request(format!(
            "with-defaults '{value}' is none of report-all, report-all-tagged, trim and explicit"
        ))),
    }
}

/// Writes fields as an expression.
pub(crate) fn print_fields(list: &[Field]) -> String {
    let one = |field: &Field| {
        let module = field
            .module
            .as_ref()
            .map(|m| format!("{m}:"))
            .unwrap_or_default();
        let below = match field.children.as_slice() {
            [] => String::new(),
            children => format!("({})", print_fields(children)),
        };
        format!("{module}{}{below}", field.name)
    };
    list.iter().map(one).collect::<Vec<_>>().join(";")
}

/// Levels that `fields` may nest: more than any model has.
const FIELDS_DEPTH: usize = 64;

/// Parses `fields-expr` (RFC 8040 4.8.3).
fn fields(text: &str) -> Result<Vec<Field>, Refusal> {
    let mut parser = FieldsParser { text, at: 0 };
    let list = parser.expression(0)?;
    if parser.at < text.len() {
        return Err(parser.error("an end"));
    }
    Ok(list)
}

struct FieldsParser<'a> {
    text: &'a str,
    at: usize,
}

impl FieldsParser<'_> {
    fn error(&self, expected: &str) -> Refusal {
        let (text, at) = (self.text, self.at + 1);
        Refusal::bad_request(format!(
            "fields '{text}': expected {expected} at character {at}"
        ))
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn eat(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        if found {
            self.at += c.len_utf8();
        }
        found
    }

    fn expression(&mut self, depth: usize) -> Result<Vec<Field>, Refusal> {
        let mut list = Vec::new();
        loop {
            let field = self.path(depth)?;
            merge(&mut list, field);
            if !self.eat(';') {
                return Ok(list);
            }
        }
    }

    fn path(&mut self, depth: usize) -> Result<Field, Refusal> {
        if depth > FIELDS_DEPTH {
            return Err(self.error(&format!("at most {FIELDS_DEPTH} levels")));
        }
        let mut field = self.identifier()?;
        if self.eat('/') {
            field.children = vec![self.path(depth + 1)?];
        } else if self.eat('(') {
            field.children = self.expression(depth + 1)?;
            if !self.eat(')') {
                return Err(self.error("')'"));
            }
        }
        Ok(field)
    }

    fn identifier(&mut self) -> Result<Field, Refusal> {
        let rest = &self.text[self.at..];
        let end = rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':')))
            .unwrap_or(rest.len());
        let name = &rest[..end];
        let (module, local) = match name.split_once(':') {
            Some((module, local)) => (Some(module), local),
            None => (None, name),
        };
        let valid = |s: &str| s.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !valid(local) || local.contains(':') || !module.is_none_or(valid) {
            return Err(self.error("a node name"));
        }
        self.at += end;
        Ok(Field {
            module: module.map(str::to_owned),
            name: local.to_owned(),
            children: Vec::new(),
        })
    }
}

/// Adds a field; one that is there already takes the union of both.
fn merge(list: &mut Vec<Field>, field: Field) {
    match list
        .iter_mut()
        .find(|f| f.name == field.name && f.module == field.module)
    {
        Some(known) if known.children.is_empty() || field.children.is_empty() => {
            known.children.clear();
        }
        Some(known) => {
            for child in field.children {
                merge(&mut known.children, child);
            }
        }
        None => list.push(field),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(query: &str, place: Place) -> String {
        let refusal = Query::parse(Some(query), place).unwrap_err();
        assert_eq!(refusal.status, 400);
        refusal.errors[0].message.clone().unwrap()
    }

    #[test]
    fn fields_are_parsed_as_the_grammar_says() {
        let check =
            |text: &str, expect: &str| assert_eq!(print_fields(&fields(text).unwrap()), expect);
        check("a", "a");
        check("a;m:b", "a;m:b");
        check("a/b/c", "a(b(c))");
        check("a(b;c/d);e", "a(b;c(d));e");
        check("a/b(c;d)", "a(b(c;d))");
        check("a/b;a/c", "a(b;c)");
        check("a/b;a", "a");
        for bad in ["", "a(", "a)", "a(b", "a//b", "a;", "1a", "a:b:c", "a b"] {
            assert!(fields(bad).is_err(), "{bad}");
        }
        assert!(fields(&"a/".repeat(80)).is_err());
    }

    #[test]
    fn what_is_unknown_or_twice_or_out_of_place_is_refused() {
        assert!(refused("nope=1", Place::Read).contains("'nope'"));
        assert!(refused("content=config&content=all", Place::Read).contains("twice"));
        assert!(refused("insert=first", Place::Read).contains("reading takes"));
        assert!(refused("depth=0", Place::Read).contains("1 to 65535"));
        assert!(refused("depth=65536", Place::Read).contains("1 to 65535"));
        assert!(refused("insert=before", Place::Insert).contains("point"));
        assert!(refused("point=/a", Place::Insert).contains("insert"));
        assert!(refused("depth=%zz", Place::Read).contains("%zz"));
        assert!(refused("content=config", Place::None).contains("takes none"));
        assert!(refused("dry-run", Place::Read).contains("reading takes"));
        assert!(refused("dry-run=native", Place::Change).contains("takes no value"));
        assert!(refused("insert=first", Place::Change).contains("take dry-run"));
    }

    #[test]
    fn values_become_types() {
        for (query, is_dry) in [("dry-run", true), ("dry-run=", true), ("", false)] {
            let parsed = Query::parse(Some(query), Place::Change).unwrap();
            assert_eq!(parsed.dry_run, is_dry, "{query}");
        }
        let q = Query::parse(
            Some("content=nonconfig&depth=3&with-defaults=trim"),
            Place::Read,
        );
        let expect = Query {
            content: Content::NonConfig,
            depth: Some(3),
            with_defaults: Some(WithDefaults::Trim),
            ..Query::default()
        };
        assert_eq!(q, Ok(expect));
        let q = Query::parse(Some("insert=after&point=%2Fm%3Aa%3Db%252Fc"), Place::Insert).unwrap();
        assert_eq!(q.insert, Some(Insert::After("/m:a=b%2Fc".to_owned())));
    }
}
