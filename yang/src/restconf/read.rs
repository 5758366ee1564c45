//! GET: one resource as text, with `content`, `depth`, `fields` and `with-defaults` (RFC 8040 4.8, RFC 6243).

use tranche_netconf::error::ErrorTag;
use tranche_netconf::message::WithDefaults;
use yang5::ffi as ly;

use super::{DATA_NS, Resource, ResourceKind};
use crate::error::{Error, Result};
use crate::ffi::{Failed, Forest, Kind, Place, Raw, SRaw, Siblings};
use crate::filter::{Marks, copy_marked};
use crate::tree::{Format, PrintOptions, Tree};

/// `content`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GetContent {
    /// Configuration and state.
    #[default]
    All,
    /// Configuration only.
    Config,
    /// State only, with the way to it.
    Nonconfig,
}

/// Query parameters of GET.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetOptions {
    /// `content`.
    pub content: GetContent,
    /// `depth`: how many levels, the resource itself being the first; `None` is unbounded.
    pub depth: Option<u16>,
    /// `fields` as it stands in the URI, percent-decoded.
    pub fields: Option<String>,
    /// `with-defaults`.
    pub with_defaults: WithDefaults,
    /// Indented.
    pub pretty: bool,
}

impl Default for GetOptions {
    fn default() -> Self {
        Self {
            content: GetContent::All,
            depth: None,
            fields: None,
            with_defaults: WithDefaults::Explicit,
            pretty: false,
        }
    }
}

impl GetOptions {
    /// Sets one query parameter of RFC 8040 4.8 by name; `false` if it is not one of GET's.
    ///
    /// # Errors
    /// A value that the parameter does not have.
    pub fn set(&mut self, name: &str, value: &str) -> Result<bool> {
        let bad = || {
            Error::new(
                ErrorTag::InvalidValue,
                format!("{value} is not a value of the parameter {name}"),
            )
        };
        match name {
            "content" => {
                self.content = match value {
                    "all" => GetContent::All,
                    "config" => GetContent::Config,
                    "nonconfig" => GetContent::Nonconfig,
                    _ => return Err(bad()),
                }
            }
            "depth" => {
                self.depth = match value {
                    "unbounded" => None,
                    n => Some(n.parse().ok().filter(|n| *n > 0).ok_or_else(bad)?),
                }
            }
            "fields" => self.fields = Some(value.to_owned()),
            "with-defaults" => {
                self.with_defaults = match value {
                    "report-all" => WithDefaults::ReportAll,
                    "report-all-tagged" => WithDefaults::ReportAllTagged,
                    "trim" => WithDefaults::Trim,
                    "explicit" => WithDefaults::Explicit,
                    _ => return Err(bad()),
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// Prints a resource in the form of RFC 8040 (`{"module:name": ...}` or the element); `None` if it is not there.
///
/// # Errors
/// A malformed `fields`, or a list with several entries as XML (which has no form for that).
pub fn read(
    tree: &Tree,
    resource: &Resource,
    format: Format,
    options: &GetOptions,
) -> Result<Option<String>> {
    let fields = options.fields.as_deref().map(Fields::parse).transpose()?;
    let fields: Vec<&Fields> = fields.iter().collect();
    let mut selection = Selection {
        marks: Marks::default(),
        content: options.content,
    };
    let at: Vec<Raw> = match resource.kind {
        ResourceKind::Datastore => tree.data.top().collect(),
        _ => tree.find_raw(&resource.path()?)?,
    };
    if resource.kind != ResourceKind::Datastore && at.is_empty() {
        return Ok(None);
    }
    let depth = options.depth.unwrap_or(u16::MAX);
    for &node in &at {
        if resource.kind == ResourceKind::Datastore {
            // The datastore is the first level.
            let wanted = if fields.is_empty() {
                Some(Vec::new())
            } else {
                Fields::select(&fields, node)
            };
            if let Some(inner) = wanted
                && depth > 1
            {
                selection.walk(node, below(depth), &inner);
            }
        } else {
            selection.marks.way(Some(node));
            selection.walk(node, depth, &fields);
        }
    }
    let mut out = Tree::empty(tree.schema);
    copy_marked(tree, tree.data.root, &selection.marks, &mut out, None)?;
    let print = PrintOptions {
        with_defaults: options.with_defaults,
        pretty: options.pretty,
    };
    if resource.kind == ResourceKind::Datastore {
        let inner = out.print(format, print);
        return Ok(Some(match format {
            Format::Json => format!("{{\"ietf-restconf:data\":{inner}}}"),
            Format::Xml => format!("<data xmlns=\"{DATA_NS}\">{inner}</data>"),
        }));
    }
    let found = out.find_raw(&resource.path()?)?;
    if format == Format::Xml && found.len() > 1 {
        return Err(Error::new(
            ErrorTag::InvalidValue,
            "several entries have no form in XML: ask for one, for their parent, or for JSON",
        ));
    }
    let mut alone = Forest::default();
    for node in found {
        let copy = node
            .copy(true)
            .map_err(|Failed| tree.internal("copying a resource"))?;
        if let Some(raw) = copy.release() {
            alone
                .insert(None, raw, Place::Natural)
                .map_err(|Failed| tree.internal("copying a resource"))?;
        }
    }
    let mut flags = print.raw() | ly::LYD_PRINT_SIBLINGS;
    // A container that is asked for by name is there even if nothing is in it.
    if resource
        .schema()
        .is_some_and(|s| s.kind() == Kind::Container)
        && alone.root.is_some_and(|root| root.first_child().is_none())
    {
        flags |= ly::LYD_PRINT_EMPTY_CONT;
    }
    let text = match alone.root {
        Some(root) => root
            .print(format.raw(), flags)
            .map_err(|Failed| tree.internal("printing a resource"))?,
        None => return Ok(None),
    };
    Ok(Some(text))
}

struct Selection {
    marks: Marks,
    content: GetContent,
}

impl Selection {
    /// Marks what is wanted of a node and its children; all of them without `fields`.
    fn walk(&mut self, node: Raw, depth: u16, fields: &[&Fields]) {
        let Some(schema) = node.schema() else { return };
        let wanted = match self.content {
            GetContent::All => true,
            GetContent::Config => schema.is_config(),
            GetContent::Nonconfig => !schema.is_config(),
        };
        if schema.is_term() || schema.kind() == Kind::Any {
            if wanted {
                self.marks.whole(node);
            }
            return;
        }
        if fields.is_empty() && depth == u16::MAX && self.content == GetContent::All {
            self.marks.whole(node);
            return;
        }
        if wanted {
            self.marks.way(Some(node));
        }
        if depth <= 1 {
            return;
        }
        let depth = below(depth);
        for child in Siblings(node.first_child()) {
            if fields.is_empty() {
                self.walk(child, depth, &[]);
            } else if let Some(inner) = Fields::select(fields, child) {
                self.walk(child, depth, &inner);
            }
        }
    }
}

/// The levels left below a level; unbounded stays unbounded.
fn below(depth: u16) -> u16 {
    depth.saturating_sub(u16::from(depth != u16::MAX))
}

/// How deep a `fields` may go: no data is nested deeper.
const MAX_FIELDS_DEPTH: usize = 64;

/// A parsed `fields`: names and what is wanted in each (`None`: all of it).
#[derive(Debug, Default, PartialEq, Eq)]
struct Fields(Vec<(String, Option<Self>)>);

impl Fields {
    /// Parses `a;b/c;d(e;f/g)`.
    fn parse(text: &str) -> Result<Self> {
        let mut rest = text;
        let fields = Self::alternatives(&mut rest, MAX_FIELDS_DEPTH).filter(|_| rest.is_empty());
        fields.ok_or_else(|| {
            Error::new(
                ErrorTag::InvalidValue,
                format!("{text} is not a fields expression"),
            )
        })
    }

    fn alternatives(rest: &mut &str, depth: usize) -> Option<Self> {
        let mut out = Self::default();
        loop {
            out.0.push(Self::one(rest, depth)?);
            match rest.strip_prefix(';') {
                Some(after) => *rest = after,
                None => return Some(out),
            }
        }
    }

    /// A name, and what a slash or parentheses after it say.
    fn one(rest: &mut &str, depth: usize) -> Option<(String, Option<Self>)> {
        let depth = depth.checked_sub(1)?;
        let end = rest.find([';', '/', '(', ')']).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        if name.is_empty() {
            return None;
        }
        *rest = after;
        let inner = if let Some(after) = rest.strip_prefix('/') {
            *rest = after;
            Some(Self(vec![Self::one(rest, depth)?]))
        } else if let Some(after) = rest.strip_prefix('(') {
            *rest = after;
            let inner = Self::alternatives(rest, depth)?;
            *rest = rest.strip_prefix(')')?;
            Some(inner)
        } else {
            None
        };
        Some((name.to_owned(), inner))
    }

    /// Whether a node is wanted by any of `all`, and what of it; nothing in the answer is all of it.
    fn select<'f>(all: &[&'f Self], node: Raw) -> Option<Vec<&'f Self>> {
        let schema: SRaw = node.schema()?;
        let mut found = None;
        for (name, inner) in all.iter().flat_map(|fields| &fields.0) {
            let (module, local) = match name.split_once(':') {
                Some((module, local)) => (Some(module), local),
                None => (None, name.as_str()),
            };
            if local != schema.name() || module.is_some_and(|m| m != schema.module()) {
                continue;
            }
            match inner {
                None => return Some(Vec::new()),
                Some(inner) => found.get_or_insert_with(Vec::new).push(inner),
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::Fields;

    #[test]
    fn fields_expressions_are_read() {
        let leaf = |n: &str| (n.to_owned(), None);
        assert_eq!(
            Fields::parse("a;b/c;d(e;f/g)").expect("valid"),
            Fields(vec![
                leaf("a"),
                ("b".into(), Some(Fields(vec![leaf("c")]))),
                (
                    "d".into(),
                    Some(Fields(vec![
                        leaf("e"),
                        ("f".into(), Some(Fields(vec![leaf("g")])))
                    ]))
                ),
            ])
        );
        for bad in ["", ";", "a;", "a/", "a(", "a(b", "a)b", "(a)"] {
            assert!(Fields::parse(bad).is_err(), "{bad}");
        }
        for deep in ["a/", "a("] {
            assert!(Fields::parse(&deep.repeat(30_000)).is_err(), "{deep}");
        }
    }
}
