//! An edit before it is applied: the content of `<config>`, or what RESTCONF makes of a request.

use std::fmt;

use tranche_netconf::error::ErrorTag;
use yang5::ffi as ly;

use super::attributes::EditOp;
use crate::context::Schema;
use crate::error::{Error, Phase, Result, collect};
use crate::ffi::{Failed, Forest, Kind, Raw, SRaw};
use crate::tree::Format;

/// A parsed edit, ready to be applied.
pub struct Edit {
    pub(crate) data: Forest,
    /// What the root does, where that is not the caller's `default-operation`.
    pub(super) root: Option<EditOp>,
    target: Option<String>,
    pub(super) required: Vec<String>,
}

impl fmt::Debug for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Edit")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

impl Edit {
    /// Parses the content of `<config>`.
    ///
    /// # Errors
    /// Unknown nodes, namespaces and attributes, bad values, state, missing keys; all of them.
    pub fn parse(schema: &'static Schema, format: Format, text: &str) -> Result<Self, Vec<Error>> {
        if text.trim().is_empty() {
            return Ok(Self::of(Forest::default()));
        }
        let strict = ly::LYD_PARSE_ONLY | ly::LYD_PARSE_STRICT | ly::LYD_PARSE_NO_STATE;
        let multi = ly::LYD_VALIDATE_MULTI_ERROR;
        let errors = match schema.ctx.parse(format.raw(), text, strict, multi) {
            Ok(data) => return Ok(Self::of(data)),
            Err(Failed) => collect(schema.ctx, Phase::Parse),
        };
        // A delete may leave the value of a leaf out, which the strict parser refuses: read such leaves as opaque
        // nodes. Nothing else may be opaque, so the strict errors stand if anything else is.
        let lenient = ly::LYD_PARSE_ONLY | ly::LYD_PARSE_OPAQ | ly::LYD_PARSE_NO_STATE;
        if errors.iter().any(|e| e.tag == ErrorTag::UnknownAttribute) {
            return Err(errors);
        }
        let Ok(data) = schema.ctx.parse(format.raw(), text, lenient, 0) else {
            schema.ctx.clear_errors();
            return Err(errors);
        };
        let mut explained = Vec::new();
        for node in data.top() {
            explain_opaque(schema, node, &mut explained);
        }
        if explained.is_empty() {
            Ok(Self::of(data))
        } else {
            Err(explained)
        }
    }

    fn of(data: Forest) -> Self {
        Self {
            data,
            root: None,
            target: None,
            required: Vec::new(),
        }
    }

    /// An edit of the whole datastore.
    pub(crate) fn with_root(data: Forest, operation: &str) -> Self {
        Self {
            root: EditOp::parse(operation),
            ..Self::of(data)
        }
    }

    /// An edit of one node.
    pub(crate) fn targeted(data: Forest, path: String) -> Self {
        Self {
            root: Some(EditOp::None),
            target: Some(path),
            ..Self::of(data)
        }
    }

    /// Makes the edit fail with `data-missing` unless a node exists.
    pub(crate) fn require(&mut self, path: String) {
        self.required.push(path);
    }

    /// Instance path of the one node it is about, if it is about one.
    #[must_use]
    pub fn target(&self) -> Option<&str> {
        self.target.as_deref()
    }
}

/// Finds opaque nodes that are not a delete without value.
fn explain_opaque(schema: &'static Schema, node: Raw, errors: &mut Vec<Error>) {
    if node.schema().is_some() {
        for child in node.children() {
            explain_opaque(schema, child, errors);
        }
        return;
    }
    let removes = node
        .opaque_attributes()
        .iter()
        .any(|(n, v)| n.name == "operation" && (v == "delete" || v == "remove"));
    let empty = node.value().is_none_or(|v| v.trim().is_empty());
    if removes && empty && opaque_schema(schema, node).is_some_and(|s| s.kind() == Kind::Leaf) {
        return;
    }
    schema.ctx.clear_errors();
    node.explain_opaque();
    let mut e = collect(schema.ctx, Phase::Parse).swap_remove(0);
    if e.path.is_none() {
        let parent = node.parent().map(Raw::path).unwrap_or_default();
        e.path = Some(format!(
            "{parent}/{}",
            node.opaque_name().unwrap_or_default().name
        ));
    }
    errors.push(e);
}

/// The schema node that an opaque node would be an instance of.
pub(super) fn opaque_schema(schema: &'static Schema, node: Raw) -> Option<SRaw> {
    let name = node.opaque_name()?;
    let module = schema
        .module_of_namespace(&name.module)
        .or_else(|| schema.module(&name.module))?
        .name
        .as_str();
    match node.parent() {
        Some(parent) => parent.schema()?.child(Some(module), &name.name),
        None => schema.ctx.top_node(module, &name.name),
    }
}
