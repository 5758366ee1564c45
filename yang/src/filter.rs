//! What a `get` asks for: subtree filters (RFC 6241 6) and XPath (RFC 6241 8.9).
//!
//! The result keeps the ancestors of what was selected, and the keys of their list entries.

use std::collections::HashMap;

use tranche_netconf::error::ErrorTag;
use tranche_netconf::message::Filter;
use tranche_netconf::xml::Element;

use crate::error::{Error, Result};
use crate::ffi::{Failed, Kind, Place, Raw, SRaw, Siblings};
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
            let elements = fragment
                .elements()
                .map_err(|e| Error::new(ErrorTag::MalformedMessage, format!("the filter: {e}")))?;
            for element in elements {
                let element = FilterNode::read(element)?;
                for node in tree.data.top() {
                    match_node(&element, node, &mut marks);
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
        let Some(mark) = marks.0.get(&node) else {
            continue;
        };
        if parent.is_some() && node.schema().is_some_and(SRaw::is_key) {
            continue;
        }
        let copy = node
            .copy(*mark == Mark::Whole)
            .map_err(|Failed| tree.internal("copying the selection"))?;
        let Some(inserted) = out.insert(parent, copy, Place::Natural)? else {
            continue;
        };
        if *mark == Mark::Way {
            copy_marked(tree, node.first_child(), marks, out, Some(inserted))?;
        } else {
            inserted.settle();
        }
    }
    Ok(())
}

/// One element of a subtree filter.
struct FilterNode {
    /// Namespace; empty matches any.
    namespace: String,
    name: String,
    /// Text to match, for a content match node.
    text: Option<String>,
    children: Vec<Self>,
}

impl FilterNode {
    fn read(element: Element) -> Result<Self> {
        if let Some(attribute) = element.attributes.first() {
            return Err(Error::new(
                ErrorTag::UnknownAttribute,
                "attribute match expressions are not supported: no YANG data has attributes to match",
            )
            .with_info("bad-attribute", attribute.name.clone())
            .with_info("bad-element", element.name));
        }
        let text = Some(element.text).filter(|t| !t.is_empty() && element.children.is_empty());
        let children = element
            .children
            .into_iter()
            .map(Self::read)
            .collect::<Result<Vec<_>>>()?;
        Ok(Self {
            namespace: element.namespace,
            name: element.name,
            text,
            children,
        })
    }

    fn names(&self, schema: SRaw) -> bool {
        self.name == schema.name()
            && (self.namespace.is_empty() || self.namespace == schema.namespace())
    }

    /// Whether a content match node matches this leaf.
    fn matches(&self, node: Raw) -> bool {
        let (Some(text), Some(schema)) = (&self.text, node.schema()) else {
            return true;
        };
        let value = node.value().unwrap_or_default();
        if text == value {
            return true;
        }
        if schema.is_identityref() {
            // The prefix in the filter is the peer's own.
            let local = |s: &str| s.rsplit(':').next().unwrap_or_default().to_owned();
            return local(text) == local(value);
        }
        schema
            .check_value(text)
            .is_ok_and(|canonical| canonical == value)
    }
}

/// Selects what one filter element asks for in one node, if the node is what it names.
fn match_node(filter: &FilterNode, node: Raw, marks: &mut Marks) -> bool {
    let Some(node_schema) = node.schema() else {
        return false;
    };
    if !filter.names(node_schema) {
        return false;
    }
    if node_schema.is_term() || node_schema.kind() == Kind::Any {
        let hit = filter.children.is_empty() && filter.matches(node);
        if hit {
            marks.whole(node);
        }
        return hit;
    }
    if filter.children.is_empty() {
        let hit = filter.text.is_none();
        if hit {
            marks.whole(node);
        }
        return hit;
    }
    // Every content match among the siblings must hold (RFC 6241 6.2.5).
    let mut only_matches = true;
    for content in &filter.children {
        if content.text.is_none() {
            only_matches = false;
            continue;
        }
        let holds = node.children().any(|child| {
            child
                .schema()
                .is_some_and(|s| content.names(s) && s.is_term())
                && content.matches(child)
        });
        if !holds {
            return false;
        }
    }
    if only_matches {
        marks.whole(node);
        return true;
    }
    let mut hit = false;
    for child_filter in &filter.children {
        for child in candidates(child_filter, node) {
            hit |= match_node(child_filter, child, marks);
        }
    }
    hit
}

/// The children that a filter element may select: one, found by hash, if it names all keys of a list.
fn candidates(filter: &FilterNode, parent: Raw) -> Vec<Raw> {
    let all = || parent.children().collect();
    let Some(first) = parent
        .schema()
        .and_then(|s| s.children().into_iter().find(|c| filter.names(*c)))
        .filter(|c| c.kind() == Kind::List)
        .and_then(|c| parent.first_child()?.sibling_of(c))
    else {
        return all();
    };
    let Some(schema) = first.schema() else {
        return all();
    };
    let keys = schema.keys();
    let mut predicate = String::new();
    for key in &keys {
        let wanted = filter
            .children
            .iter()
            .find(|f| f.names(*key))
            .and_then(|f| f.text.as_deref())
            .filter(|t| !key.is_identityref() && !t.contains('\''));
        let Some(text) = wanted else { return all() };
        predicate.push_str(&format!("[{}='{text}']", key.name()));
    }
    if keys.is_empty() {
        return all();
    }
    first.instance(schema, &predicate).into_iter().collect()
}
