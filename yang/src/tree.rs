//! An owned data tree: parse, print, validate, read and set.

use std::collections::HashSet;
use std::fmt;

use tranche_netconf::error::ErrorTag;
use tranche_netconf::message::WithDefaults;
use tranche_netconf::xml::Fragment;
use yang5::ffi as ly;

use crate::context::{Schema, SchemaNode};
use crate::error::{Error, Phase, Result, collect};
use crate::ffi::{Failed, Forest, Kind, Place, Raw};

/// An encoding of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// XML (RFC 7950).
    Xml,
    /// JSON (RFC 7951).
    Json,
}

impl Format {
    pub(crate) fn raw(self) -> ly::LYD_FORMAT::Type {
        match self {
            Self::Xml => ly::LYD_FORMAT::LYD_XML,
            Self::Json => ly::LYD_FORMAT::LYD_JSON,
        }
    }
}

/// What a text is supposed to be, and how much of it is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Content {
    /// A complete configuration: parsed strictly, no state, validated, defaults added.
    Config,
    /// Configuration that may be incomplete: parsed strictly, no state, not validated.
    ConfigUnvalidated,
    /// Configuration and state, parsed strictly and not validated.
    State,
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrintOptions {
    /// Defaults.
    pub with_defaults: WithDefaults,
    /// Indented, for people.
    pub pretty: bool,
}

impl Default for PrintOptions {
    fn default() -> Self {
        Self {
            with_defaults: WithDefaults::Explicit,
            pretty: false,
        }
    }
}

impl PrintOptions {
    pub(crate) fn raw(self) -> u32 {
        let defaults = match self.with_defaults {
            WithDefaults::ReportAll => ly::LYD_PRINT_WD_ALL,
            // What somebody set is not a default, whatever its value: the basic mode is `explicit`.
            WithDefaults::ReportAllTagged => ly::LYD_PRINT_WD_IMPL_TAG,
            WithDefaults::Trim => ly::LYD_PRINT_WD_TRIM,
            WithDefaults::Explicit => ly::LYD_PRINT_WD_EXPLICIT,
        };
        defaults | if self.pretty { 0 } else { ly::LYD_PRINT_SHRINK }
    }
}

/// Instance data of a [`Schema`].
///
/// `Debug` shows no values: there may be secrets among them.
pub struct Tree {
    pub(crate) schema: &'static Schema,
    pub(crate) data: Forest,
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self
            .data
            .top()
            .filter_map(|n| n.schema())
            .map(|s| s.name())
            .collect();
        f.debug_struct("Tree").field("top", &names).finish()
    }
}

impl Tree {
    /// A tree with nothing in it.
    #[must_use]
    pub fn empty(schema: &'static Schema) -> Self {
        Self {
            schema,
            data: Forest::default(),
        }
    }

    pub(crate) fn own(schema: &'static Schema, data: Forest) -> Self {
        let tree = Self { schema, data };
        tree.settle();
        tree
    }

    /// Parses XML or JSON. Empty text is an empty tree.
    ///
    /// # Errors
    /// Everything libyang finds: malformed text, unknown nodes and namespaces, bad values, missing keys, and for
    /// [`Content::Config`] every violated constraint, each with its instance path.
    pub fn parse(
        schema: &'static Schema,
        format: Format,
        text: &str,
        content: Content,
    ) -> Result<Self, Vec<Error>> {
        if text.trim().is_empty() {
            let mut tree = Self::empty(schema);
            if content == Content::Config {
                tree.validate()?;
            }
            return Ok(tree);
        }
        let mut options = ly::LYD_PARSE_ONLY | ly::LYD_PARSE_STRICT;
        if content != Content::State {
            options |= ly::LYD_PARSE_NO_STATE;
        }
        let data = schema
            .ctx
            .parse(format.raw(), text, options, ly::LYD_VALIDATE_MULTI_ERROR)
            .map_err(|Failed| collect(schema.ctx, Phase::Parse))?;
        let mut tree = Self { schema, data };
        if content == Content::Config {
            tree.validate()?;
        }
        tree.settle();
        Ok(tree)
    }

    /// The schema it is of.
    #[must_use]
    pub fn schema(&self) -> &'static Schema {
        self.schema
    }

    /// Prints it. An empty tree is `{}` in JSON and nothing in XML.
    #[must_use]
    pub fn print(&self, format: Format, options: PrintOptions) -> String {
        match self.data.root {
            Some(root) => root
                .print(format.raw(), options.raw() | ly::LYD_PRINT_SIBLINGS)
                .unwrap_or_default(),
            None if format == Format::Json => "{}".to_owned(),
            None => String::new(),
        }
    }

    /// Prints it as the content of `<data>` or `<config>`.
    #[must_use]
    pub fn to_fragment(&self, with_defaults: WithDefaults) -> Fragment {
        let options = PrintOptions {
            with_defaults,
            pretty: false,
        };
        Fragment::from_trusted(self.print(Format::Xml, options))
    }

    /// Validates it as a complete configuration; adds defaults, removes what a false `when` rules out.
    ///
    /// # Errors
    /// Every violated constraint, with instance path, `error-app-tag` and message.
    pub fn validate(&mut self) -> Result<(), Vec<Error>> {
        self.validate_tracked()
            .map(drop)
            .map_err(|(errors, _)| errors)
    }

    /// Validates and tells what validation itself changed, also when it fails.
    pub(crate) fn validate_tracked(&mut self) -> Result<Forest, (Vec<Error>, Forest)> {
        let options = ly::LYD_VALIDATE_NO_STATE | ly::LYD_VALIDATE_MULTI_ERROR;
        let (ok, diff) = self.data.validate(self.schema.ctx, options);
        if ok.is_err() {
            return Err((collect(self.schema.ctx, Phase::Validate), diff));
        }
        self.settle_changes(&diff);
        Ok(diff)
    }

    /// A copy. It costs time and memory in proportion to the tree.
    ///
    /// # Errors
    /// Out of memory.
    pub fn duplicate(&self) -> Result<Self> {
        let data = self
            .data
            .duplicate()
            .map_err(|Failed| self.internal("copying a tree"))?;
        Ok(Self {
            schema: self.schema,
            data,
        })
    }

    /// Merges a copy of the other tree in; what both have takes the other's value.
    ///
    /// # Errors
    /// Another schema, or out of memory.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        if self.schema != other.schema {
            return Err(Error::new(
                ErrorTag::OperationFailed,
                "the two trees differ in schema",
            ));
        }
        self.data
            .merge(&other.data)
            .map_err(|Failed| self.internal("merging trees"))?;
        self.settle();
        Ok(())
    }

    /// Whether there is nothing, or nothing but defaults.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.data.top().all(Raw::is_default)
    }

    /// Value of the leaf at an instance path such as `/tranche-wifi:wifi/vif[name='a']/radio`.
    #[must_use]
    pub fn value(&self, path: &str) -> Option<String> {
        self.get(path)?.value().map(str::to_owned)
    }

    /// Whether a node exists (defaults included) at an instance path.
    #[must_use]
    pub fn exists(&self, path: &str) -> bool {
        self.get(path).is_some()
    }

    /// The node at an instance path; the first, if the path names several.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<Node<'_>> {
        self.find(path).ok()?.next()
    }

    /// Sets a leaf, or creates a container or list entry (value `""` or `None`), with the parents that are missing.
    ///
    /// # Errors
    /// An unknown path or a bad value.
    pub fn set<'v>(&mut self, path: &str, value: impl Into<Option<&'v str>>) -> Result<()> {
        let value = value.into();
        let created = self
            .data
            .set_path(self.schema.ctx, path, value, 0)
            .map_err(|Failed| {
                let mut e = collect(self.schema.ctx, Phase::Parse).swap_remove(0);
                if e.tag == ErrorTag::InvalidValue && self.schema.node(path).is_none() {
                    e.tag = ErrorTag::UnknownElement;
                }
                e.path = Some(path.to_owned());
                e
            })?;
        if let Some(created) = created {
            created.settle();
        }
        if let Some(node) = self.get(path) {
            node.raw.settle();
        }
        Ok(())
    }

    /// Removes every node that an instance path or XPath names; the number of them.
    ///
    /// # Errors
    /// A path that is not an XPath of this schema.
    pub fn remove(&mut self, path: &str) -> Result<usize> {
        let found: HashSet<Raw> = self.find_raw(path)?.into_iter().collect();
        // A node inside one that is removed too goes with it.
        let tops: Vec<Raw> = found
            .iter()
            .copied()
            .filter(|node| {
                !std::iter::successors(node.parent(), |n| n.parent())
                    .any(|ancestor| found.contains(&ancestor))
            })
            .collect();
        for node in &tops {
            self.data
                .unlink(*node)
                .map_err(|Failed| self.internal("removing a node"))?;
        }
        Ok(tops.len())
    }

    /// Nodes that an XPath selects, module names as prefixes.
    ///
    /// # Errors
    /// A path that is not an XPath of this schema.
    pub fn find(&self, xpath: &str) -> Result<impl Iterator<Item = Node<'_>> + use<'_>> {
        Ok(self
            .find_raw(xpath)?
            .into_iter()
            .map(|raw| Node { raw, tree: self }))
    }

    /// How many nodes an XPath selects.
    ///
    /// # Errors
    /// A path that is not an XPath of this schema.
    pub fn count(&self, xpath: &str) -> Result<usize> {
        Ok(self.find_raw(xpath)?.len())
    }

    /// The topmost nodes.
    pub fn top(&self) -> impl Iterator<Item = Node<'_>> + use<'_> {
        self.data.top().map(|raw| Node { raw, tree: self })
    }

    /// Whether it has at most `limit` nodes. Looks at no more than that many.
    #[must_use]
    pub fn has_at_most(&self, limit: usize) -> bool {
        fn left(siblings: impl Iterator<Item = Raw>, limit: usize) -> Option<usize> {
            siblings
                .into_iter()
                .try_fold(limit, |limit, node| left(node.children(), limit.checked_sub(1)?))
        }
        left(self.data.top(), limit).is_some()
    }

    pub(crate) fn find_raw(&self, xpath: &str) -> Result<Vec<Raw>> {
        self.data.find(self.schema.ctx, xpath).map_err(|Failed| {
            let mut e = collect(self.schema.ctx, Phase::XPath).swap_remove(0);
            e.tag = ErrorTag::InvalidValue;
            e.message = format!("not an XPath of this schema: {}", e.message);
            e
        })
    }

    /// Adds default leaves and empty containers that are missing, without validating.
    ///
    /// # Errors
    /// Out of memory.
    pub fn add_defaults(&mut self) -> Result<()> {
        self.data
            .add_implicit(self.schema.ctx, ly::LYD_IMPLICIT_NO_STATE)
            .map_err(|Failed| self.internal("adding defaults"))?;
        self.settle();
        Ok(())
    }

    pub(crate) fn internal(&self, what: &str) -> Error {
        Error::internal(self.schema.ctx, what)
    }

    fn settle(&self) {
        for node in self.data.top() {
            node.settle();
        }
    }

    /// Settles the nodes that libyang's diff says were created.
    fn settle_changes(&self, diff: &Forest) {
        fn walk(diff: Raw, siblings: Option<Raw>) {
            let Some(target) = siblings.and_then(|s| s.same_sibling(diff)) else {
                return;
            };
            if diff
                .metadata()
                .iter()
                .any(|(_, name, value)| name == "operation" && value == "create")
            {
                target.settle();
                return;
            }
            for child in diff.children() {
                walk(child, target.first_child());
            }
        }
        for node in diff.top() {
            walk(node, self.data.root);
        }
    }

    /// Inserts a detached node below `parent` at `place`.
    pub(crate) fn insert(
        &mut self,
        parent: Option<Raw>,
        node: Forest,
        place: Place,
    ) -> Result<Option<Raw>> {
        let Some(raw) = node.release() else {
            return Ok(None);
        };
        self.data
            .insert(parent, raw, place)
            .map_err(|Failed| self.internal("inserting a node"))?;
        Ok(Some(raw))
    }

    pub(crate) fn unlink(&mut self, node: Raw) -> Result<Forest> {
        self.data
            .unlink(node)
            .map_err(|Failed| self.internal("removing a node"))
    }
}

/// A read-only view of one node of a [`Tree`].
#[derive(Clone, Copy)]
pub struct Node<'t> {
    pub(crate) raw: Raw,
    pub(crate) tree: &'t Tree,
}

impl fmt::Debug for Node<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Node").field(&self.path()).finish()
    }
}

impl<'t> Node<'t> {
    /// Local name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.raw.schema().map_or("", crate::ffi::SRaw::name)
    }

    /// Module whose namespace it is in.
    #[must_use]
    pub fn module(self) -> &'static str {
        self.raw.schema().map_or("", crate::ffi::SRaw::module)
    }

    /// Its schema node; `None` inside anydata that no module describes.
    #[must_use]
    pub fn schema(self) -> Option<SchemaNode> {
        self.raw.schema().map(SchemaNode)
    }

    /// What it is.
    #[must_use]
    pub fn kind(self) -> Kind {
        self.raw.schema().map_or(Kind::Any, crate::ffi::SRaw::kind)
    }

    /// Instance path.
    #[must_use]
    pub fn path(self) -> String {
        self.raw.path()
    }

    /// Canonical value of a leaf or leaf-list entry.
    #[must_use]
    pub fn value(self) -> Option<&'t str> {
        self.raw.value()
    }

    /// Whether it stands for a default that nobody set.
    #[must_use]
    pub fn is_default(self) -> bool {
        self.raw.is_default()
    }

    /// Children in order.
    pub fn children(self) -> impl Iterator<Item = Self> + use<'t> {
        let tree = self.tree;
        self.raw.children().map(move |raw| Self { raw, tree })
    }

    /// Parent.
    #[must_use]
    pub fn parent(self) -> Option<Self> {
        self.raw.parent().map(|raw| Self {
            raw,
            tree: self.tree,
        })
    }

    /// The first child of that name, which may bear a module prefix.
    #[must_use]
    pub fn child(self, name: &str) -> Option<Self> {
        let (module, name) = match name.split_once(':') {
            Some((module, name)) => (Some(module), name),
            None => (None, name),
        };
        self.children()
            .find(|n| n.name() == name && module.is_none_or(|m| m == n.module()))
    }

    /// The node at a plain relative path such as `airtime/min-ratio` (no predicates).
    #[must_use]
    pub fn descend(self, path: &str) -> Option<Self> {
        path.split('/').try_fold(self, Self::child)
    }

    /// Value of the leaf at a plain relative path such as `airtime/min-ratio`.
    #[must_use]
    pub fn get(self, path: &str) -> Option<&'t str> {
        self.descend(path)?.value()
    }

    /// Entries of the list or leaf-list of that name among the children.
    pub fn list<'n>(self, name: &'n str) -> impl Iterator<Item = Self> + use<'t, 'n> {
        self.children().filter(move |n| n.name() == name)
    }

    /// Nodes that a relative XPath selects from here.
    ///
    /// # Errors
    /// Not an XPath of this schema.
    pub fn find(self, xpath: &str) -> Result<impl Iterator<Item = Self> + use<'t>> {
        let tree = self.tree;
        let found = self.raw.find(xpath).map_err(|Failed| {
            let mut e = collect(tree.schema.ctx, Phase::XPath).swap_remove(0);
            e.tag = ErrorTag::InvalidValue;
            e
        })?;
        Ok(found.into_iter().map(move |raw| Self { raw, tree }))
    }
}
