//! What a `get` asks for: subtree filters (RFC 6241 6) and XPath (RFC 6241 8.9).
//!
//! The result keeps the ancestors of what was selected, and the keys of their list entries.

use std::collections::HashMap;

use tranche_netconf::error::ErrorTag;
use tranche_netconf::message::Filter;
use yang5::ffi as ly;

use crate::context::Schema;
use crate::error::{Error, Phase, Result, collect};
use crate::ffi::{Failed, Forest, Kind, Place, Raw, SRaw, Siblings};
use crate::tree::Tree;
use crate::xpath;

/// How much of a node is selected.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    /// It and everything in it.
    Whole,
    /// It, its keys, and the marked nodes in it.
    Way,
}

/// Which nodes of a tree are selected.
#[derive(Default)]
pub(crate) struct Marks(HashMap<Raw, Mark>);

impl Marks {
    /// Selects a node whole, and the way to it.
    pub(crate) fn whole(&mut self, node: Raw) {
        self.0.insert(node, Mark::Whole);
        self.way(node.parent());
    }

    /// Marks a node and its ancestors as being on the way.
    pub(crate) fn way(&mut self, mut node: Option<Raw>) {
        while let Some(n) = node {
            if self.0.contains_key(&n) {
                return;
            }
            self.0.insert(n, Mark::Way);
            node = n.parent();
        }
    }
}

/// Copies what the filter selects; everything without a filter.
///
/// # Errors
/// A filter that is not well-formed or has attributes (attribute matches are not supported), or not an XPath of this
/// schema.
pub fn select(tree: &Tree, filter: Option<&Filter>) -> Result<Tree> {
    let mut marks = Marks::default();
    match filter {
        None => return tree.duplicate(),
        Some(Filter::Subtree(fragment)) => {
            if fragment.is_empty() {
                return Ok(Tree::empty(tree.schema));
            }
            let filter = Subtree::parse(tree.schema, fragment.as_str())?;
            for element in &filter.elements {
                for node in tree.data.top() {
                    match_node(tree.schema, element, node, &mut marks)?;
                }
            }
        }
        Some(Filter::XPath { select, namespaces }) => {
            let expression = xpath::to_json(tree.schema, select, namespaces)?;
            for node in tree.find_raw(&expression)? {
                marks.whole(node);
            }
        }
    }
    let mut out = Tree::empty(tree.schema);
    copy_marked(tree, tree.data.root, &marks, &mut out, None)?;
    Ok(out)
}

/// Copies the marked ones of these siblings below `parent`.
pub(crate) fn copy_marked(
    tree: &Tree,
    siblings: Option<Raw>,
    marks: &Marks,
    out: &mut Tree,
    parent: Option<Raw>,
) -> Result<()> {
    for node in Siblings(siblings) {
        let Some(mark) = marks.0.get(&node) else { continue };
        if parent.is_some() && node.schema().is_some_and(SRaw::is_key) {
            continue;
        }
        let copy = node
            .copy(*mark == Mark::Whole)
            .map_err(|Failed| tree.internal("copying the selection"))?;
        let Some(inserted) = out.insert(parent, copy, Place::Natural)? else { continue };
        if *mark == Mark::Way {
            copy_marked(tree, node.first_child(), marks, out, Some(inserted))?;
        } else {
            inserted.settle();
        }
    }
    Ok(())
}

/// One element of a subtree filter.
struct Element {
    /// Namespace; empty matches any.
    namespace: String,
    name: String,
    /// Text to match, for a content match node.
    text: Option<String>,
    children: Vec<Element>,
}

struct Subtree {
    elements: Vec<Element>,
}

impl Subtree {
    /// Reads a filter. It is not data (lists lack keys, leaves lack values), so libyang is made to read it as opaque
    /// nodes by putting it into an element that no module knows.
    fn parse(schema: &'static Schema, text: &str) -> Result<Self> {
        let wrapped = format!("<filter xmlns=\"urn:tranche:filter\">{text}</filter>");
        let options = ly::LYD_PARSE_ONLY | ly::LYD_PARSE_OPAQ;
        let forest: Forest = schema
            .ctx
            .parse(ly::LYD_FORMAT::LYD_XML, &wrapped, options, 0)
            .map_err(|Failed| collect(schema.ctx, Phase::Parse).swap_remove(0))?;
        let elements = forest
            .root
            .map(|root| root.children().map(Element::read).collect::<Result<Vec<_>>>())
            .transpose()?
            .unwrap_or_default();
        Ok(Self { elements })
    }
}

impl Element {
    fn read(node: Raw) -> Result<Self> {
        let name = node.opaque_name().unwrap_or_default();
        if let Some((attribute, _)) = node.opaque_attributes().into_iter().next() {
            return Err(Error::new(
                ErrorTag::UnknownAttribute,
                "attribute match expressions are not supported: no YANG data has attributes to match",
            )
            .with_info("bad-attribute", attribute.name)
            .with_info("bad-element", name.name));
        }
        let children = node.children().map(Self::read).collect::<Result<Vec<_>>>()?;
        let text = node.value().map(str::trim).filter(|t| !t.is_empty() && children.is_empty());
        // The wrapper's namespace is what an element without one inherits.
        let namespace =
            if name.module == "urn:tranche:filter" { String::new() } else { name.module };
        Ok(Self { namespace, name: name.name, text: text.map(str::to_owned), children })
    }

    fn names(&self, schema: SRaw) -> bool {
        self.name == schema.name()
            && (self.namespace.is_empty() || self.namespace == schema.namespace())
    }

    /// Whether a content match node matches this leaf.
    fn matches(&self, node: Raw) -> bool {
        let (Some(text), Some(schema)) = (&self.text, node.schema()) else { return true };
        let value = node.value().unwrap_or_default();
        if text == value {
            return true;
        }
        if schema.base_type_name() == Some("identityref") {
            // The prefix in the filter is the peer's own.
            let local = |s: &str| s.rsplit(':').next().unwrap_or_default().to_owned();
            return local(text) == local(value);
        }
        schema.check_value(text).is_ok_and(|canonical| canonical == value)
    }
}

/// Selects what one filter element asks for in one node, if the node is what it names.
fn match_node(
    schema: &'static Schema,
    filter: &Element,
    node: Raw,
    marks: &mut Marks,
) -> Result<bool> {
    let Some(node_schema) = node.schema() else { return Ok(false) };
    if !filter.names(node_schema) {
        return Ok(false);
    }
    if node_schema.is_term() || node_schema.kind() == Kind::Any {
        let hit = filter.children.is_empty() && filter.matches(node);
        if hit {
            marks.whole(node);
        }
        return Ok(hit);
    }
    if filter.children.is_empty() {
        let hit = filter.text.is_none();
        if hit {
            marks.whole(node);
        }
        return Ok(hit);
    }
    // Every content match among the siblings must hold (RFC 6241 6.2.5).
    let mut only_matches = true;
    for content in &filter.children {
        if content.text.is_none() {
            only_matches = false;
            continue;
        }
        let holds = node.children().any(|child| {
            child.schema().is_some_and(|s| content.names(s) && s.is_term()) && content.matches(child)
        });
        if !holds {
            return Ok(false);
        }
    }
    if only_matches {
        marks.whole(node);
        return Ok(true);
    }
    let mut hit = false;
    for child_filter in &filter.children {
        for child in candidates(child_filter, node) {
            hit |= match_node(schema, child_filter, child, marks)?;
        }
    }
    Ok(hit)
}

/// The children that a filter element may select: one, found by hash, if it names all keys of a list.
fn candidates(filter: &Element, parent: Raw) -> Vec<Raw> {
    let all = || parent.children().collect();
    let Some(first) = parent
        .schema()
        .and_then(|s| s.children(false).into_iter().find(|c| filter.names(*c)))
        .filter(|c| c.kind() == Kind::List)
        .and_then(|c| parent.first_child()?.sibling_of(c))
    else {
        return all();
    };
    let Some(schema) = first.schema() else { return all() };
    let keys = schema.keys();
    let mut predicate = String::new();
    for key in &keys {
        let wanted = filter
            .children
            .iter()
            .find(|f| f.names(*key))
            .and_then(|f| f.text.as_deref())
            .filter(|t| key.base_type_name() != Some("identityref") && !t.contains('\''));
        let Some(text) = wanted else { return all() };
        predicate.push_str(&format!("[{}='{text}']", key.name()));
    }
    if keys.is_empty() {
        return all();
    }
    first.instance(schema, &predicate).into_iter().collect()
}
