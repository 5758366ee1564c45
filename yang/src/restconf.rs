//! RESTCONF on trees (RFC 8040): resource identifiers, bodies as edits, resources as text. No HTTP here.

use tranche_netconf::error::ErrorTag;

use crate::context::{Schema, SchemaNode};
use crate::error::{Error, Result};
use crate::ffi::{Kind, SRaw};
use crate::path;
use crate::tree::Tree;

mod edit;
mod read;

pub use edit::{Insert, Method, edit};
pub use read::{GetContent, GetOptions, read};

/// What a resource identifier names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResourceKind {
    /// The datastore itself (an empty identifier).
    Datastore,
    /// A data node.
    Data,
    /// An action on a data node.
    Action,
}

/// A data resource: the part of a request URI after `/data/` (or after `/operations/`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    steps: Vec<Step>,
    kind: ResourceKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    schema: SRaw,
    /// Key values in order, or the value of a leaf-list; empty for a whole list.
    keys: Vec<String>,
}

impl Resource {
    /// Reads a percent-encoded identifier such as `tranche-slice:slices/slice=a%2Cb/priority`.
    ///
    /// # Errors
    /// `invalid-value` with a sentence that says which part of the identifier is wrong.
    pub fn parse(schema: &'static Schema, identifier: &str) -> Result<Self> {
        let bad = |message: String| Error::new(ErrorTag::InvalidValue, message);
        let identifier = identifier.trim_matches('/');
        let mut steps: Vec<Step> = Vec::new();
        if identifier.is_empty() {
            return Ok(Self {
                steps,
                kind: ResourceKind::Datastore,
            });
        }
        for segment in identifier.split('/') {
            let (name, values) = match segment.split_once('=') {
                Some((name, values)) => (name, Some(values)),
                None => (segment, None),
            };
            let name = decode(name).ok_or_else(|| bad(format!("{segment} is not UTF-8")))?;
            let (module, local) = match name.split_once(':') {
                Some((module, local)) => (Some(module), local),
                None => (None, name.as_str()),
            };
            let parent = steps.last().map(|s| s.schema);
            let module = module
                .or_else(|| parent.map(SRaw::module))
                .ok_or_else(|| bad(format!("{name} needs its module: write module-name:{name}")))?;
            let node = match parent {
                Some(parent) => parent
                    .child(Some(module), local)
                    .or_else(|| parent.action(module, local)),
                None => schema.ctx.top_node(module, local),
            };
            let node = node.ok_or_else(|| {
                Error::new(
                    ErrorTag::UnknownElement,
                    match parent {
                        Some(p) => format!("there is no {module}:{local} in {}", p.name()),
                        None => format!("there is no {module}:{local}"),
                    },
                )
            })?;
            let keys = keys(node, values)?;
            if let Some(previous) = steps.last()
                && previous.schema.kind() == Kind::List
                && previous.keys.is_empty()
            {
                return Err(bad(format!(
                    "{} is a list: say which entry, as {}=key",
                    previous.schema.name(),
                    previous.schema.name()
                )));
            }
            steps.push(Step { schema: node, keys });
        }
        let kind = match steps.last().map(|s| s.schema.kind()) {
            Some(Kind::Action | Kind::Rpc) => ResourceKind::Action,
            _ => ResourceKind::Data,
        };
        Ok(Self { steps, kind })
    }

    /// What it names.
    #[must_use]
    pub fn kind(&self) -> ResourceKind {
        self.kind
    }

    /// Its schema node; `None` for the datastore.
    #[must_use]
    pub fn schema(&self) -> Option<SchemaNode> {
        self.steps.last().map(|s| SchemaNode(s.schema))
    }

    /// Whether it names a whole list or leaf-list rather than one entry.
    #[must_use]
    pub fn is_collection(&self) -> bool {
        self.steps.last().is_some_and(|s| {
            matches!(s.schema.kind(), Kind::List | Kind::LeafList) && s.keys.is_empty()
        })
    }

    /// Its instance path, as [`Tree::get`] takes it; `/` for the datastore.
    ///
    /// # Errors
    /// A key value with both kinds of quotes, which no path can hold.
    pub fn path(&self) -> Result<String> {
        self.path_of(self.steps.len())
    }

    /// The instance path of the resource it is in.
    ///
    /// # Errors
    /// As [`Self::path`].
    pub fn parent_path(&self) -> Result<String> {
        self.path_of(self.steps.len().saturating_sub(1))
    }

    fn path_of(&self, steps: usize) -> Result<String> {
        let mut out = String::new();
        let mut module = "";
        for step in &self.steps[..steps] {
            out.push('/');
            if step.schema.module() != module {
                module = step.schema.module();
                out.push_str(module);
                out.push(':');
            }
            out.push_str(step.schema.name());
            out.push_str(&step.predicate("")?);
        }
        if out.is_empty() {
            out.push('/');
        }
        Ok(out)
    }

    /// Whether it is there: entries that exist, and for the datastore always.
    #[must_use]
    pub fn exists(&self, tree: &Tree) -> bool {
        self.kind == ResourceKind::Datastore || self.path().is_ok_and(|path| tree.exists(&path))
    }
}

impl Step {
    /// The predicates, each key with `prefix` before its name.
    fn predicate(&self, prefix: &str) -> Result<String> {
        let quoted = |value: &str| {
            path::quote(value).ok_or_else(|| {
                Error::new(
                    ErrorTag::InvalidValue,
                    "a key with both kinds of quotes can't be named in a path",
                )
            })
        };
        let mut out = String::new();
        if self.schema.kind() == Kind::LeafList {
            if let Some(value) = self.keys.first() {
                out = format!("[.={}]", quoted(value)?);
            }
            return Ok(out);
        }
        if self.keys.is_empty() {
            return Ok(out);
        }
        for (key, value) in self.schema.keys().iter().zip(&self.keys) {
            out.push_str(&format!("[{prefix}{}={}]", key.name(), quoted(value)?));
        }
        Ok(out)
    }
}

/// Decodes and checks the key values of one step.
fn keys(node: SRaw, values: Option<&str>) -> Result<Vec<String>> {
    let bad = |message: String| Error::new(ErrorTag::InvalidValue, message);
    let Some(values) = values else {
        return Ok(Vec::new());
    };
    let takes: Vec<SRaw> = match node.kind() {
        Kind::List => node.keys(),
        Kind::LeafList => vec![node],
        _ => {
            return Err(bad(format!(
                "{} is not a list: it takes no key",
                node.name()
            )));
        }
    };
    let values: Vec<&str> = if node.kind() == Kind::List {
        values.split(',').collect()
    } else {
        vec![values]
    };
    if values.len() != takes.len() {
        return Err(bad(format!(
            "{} has {} key(s), and {} value(s) were given",
            node.name(),
            takes.len(),
            values.len()
        )));
    }
    takes
        .iter()
        .zip(values)
        .map(|(key, value)| {
            let text = decode(value).ok_or_else(|| bad(format!("{value} is not UTF-8")))?;
            key.check_value(&text).map_err(|_| {
                bad(format!(
                    "{text} is not a value of {} {}",
                    node.name(),
                    key.name()
                ))
            })
        })
        .collect()
}

/// Percent-decodes; `None` if the result is not UTF-8 or an escape is not two hexadecimal digits.
fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digit = |b: u8| char::from(b).to_digit(16);
            let (high, low) = (digit(bytes.next()?)?, digit(bytes.next()?)?);
            out.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

/// Percent-encodes everything but the unreserved characters of RFC 3986.
fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// The resource identifier of an instance path, for `Location` and links.
///
/// # Errors
/// Not an instance path of this schema.
pub fn identifier(schema: &'static Schema, path: &str) -> Result<String> {
    let mut out = String::new();
    let mut so_far = String::new();
    let mut module = String::new();
    for (step, predicates) in path::split(path)? {
        so_far.push('/');
        so_far.push_str(&step);
        let node = schema.ctx.schema_node(&so_far).ok_or_else(|| {
            Error::new(
                ErrorTag::UnknownElement,
                format!("there is no node {so_far}"),
            )
        })?;
        if !out.is_empty() {
            out.push('/');
        }
        if node.module() != module {
            node.module().clone_into(&mut module);
            out.push_str(&module);
            out.push(':');
        }
        out.push_str(node.name());
        let values: Vec<String> = match node.kind() {
            Kind::List => node
                .keys()
                .iter()
                .filter_map(|key| {
                    predicates
                        .iter()
                        .find(|(n, _)| n.rsplit(':').next() == Some(key.name()))
                        .map(|(_, v)| encode(v))
                })
                .collect(),
            Kind::LeafList => predicates.iter().map(|(_, v)| encode(v)).collect(),
            _ => Vec::new(),
        };
        if !values.is_empty() {
            out.push('=');
            out.push_str(&values.join(","));
        }
    }
    Ok(out)
}

/// The namespace of `<data>` around a datastore; in JSON it is the member `ietf-restconf:data`.
const DATA_NS: &str = "urn:ietf:params:xml:ns:yang:ietf-restconf";

#[cfg(test)]
mod tests {
    use super::{decode, encode};

    #[test]
    fn percent_encoding_round_trips() {
        for text in ["plain", "a,b/c=d", "ü €", "100%"] {
            assert_eq!(decode(&encode(text)).as_deref(), Some(text));
        }
        assert_eq!(decode("a%2"), None);
        assert_eq!(decode("%zz"), None);
        assert_eq!(decode("%ff"), None);
    }
}
