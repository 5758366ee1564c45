//! Operations and notifications of YANG modules: parse, build and print, for both ends.

use std::fmt;

use tranche_netconf::error::ErrorTag;
use tranche_netconf::message::WithDefaults;
use tranche_netconf::xml::Fragment;
use yang5::ffi as ly;

use crate::context::Schema;
use crate::error::{Error, Phase, Result, collect};
use crate::ffi::{Failed, Forest, Kind, Raw, SRaw, Siblings};
use crate::tree::{Format, Node, PrintOptions, Tree};

const YANG_1: &str = "urn:ietf:params:xml:ns:yang:1";

/// Which part of an operation an [`Operation`] holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// Input of an rpc or action.
    Input,
    /// Output of an rpc or action.
    Output,
    /// A notification.
    Notification,
}

/// An rpc, action or notification with its data. `Debug` shows no values.
pub struct Operation {
    tree: Tree,
    node: Raw,
    part: Part,
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operation")
            .field("path", &self.node.path())
            .field("part", &self.part)
            .finish()
    }
}

impl Operation {
    /// Module that defines it.
    #[must_use]
    pub fn module(&self) -> &'static str {
        self.node.schema().map_or("", SRaw::module)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.node.schema().map_or("", SRaw::name)
    }

    /// Which part it is.
    #[must_use]
    pub fn part(&self) -> Part {
        self.part
    }

    /// Instance path of the operation itself, such as `/tranche-wifi:correct-airtime`.
    #[must_use]
    pub fn path(&self) -> String {
        self.node.path()
    }

    /// The operation's node: its children are the input, output or content.
    #[must_use]
    pub fn data(&self) -> Node<'_> {
        Node {
            raw: self.node,
            tree: &self.tree,
        }
    }

    /// The data as a tree, from the top.
    #[must_use]
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Sets a leaf or creates a list entry, by a path relative to the operation such as `vif[name='a']/min-ratio`.
    ///
    /// # Errors
    /// An unknown path or a bad value.
    pub fn set<'v>(&mut self, path: &str, value: impl Into<Option<&'v str>>) -> Result<()> {
        let schema = self.tree.schema;
        let options = if self.part == Part::Output {
            ly::LYD_NEW_VAL_OUTPUT
        } else {
            0
        };
        let full = format!("{}/{path}", self.node.path());
        let created = self
            .tree
            .data
            .set_path(schema.ctx, &full, value.into(), options)
            .map_err(|Failed| collect(schema.ctx, Phase::Parse).swap_remove(0).at(full))?;
        if let Some(created) = created {
            created.settle();
        }
        Ok(())
    }

    /// Prints it: the operation element for input and notifications (an action inside `<action>`), only the content
    /// for output, as it stands in `<rpc-reply>`.
    #[must_use]
    pub fn print(&self, format: Format) -> String {
        let options = PrintOptions {
            with_defaults: WithDefaults::Explicit,
            pretty: false,
        }
        .raw();
        if self.part == Part::Output {
            return match self.node.first_child() {
                Some(first) => first
                    .print(format.raw(), options | ly::LYD_PRINT_SIBLINGS)
                    .unwrap_or_default(),
                None if format == Format::Json => "{}".to_owned(),
                None => String::new(),
            };
        }
        let Some(top) = self.tree.data.root else {
            return String::new();
        };
        let printed = top.print(format.raw(), options).unwrap_or_default();
        let is_action = self.node.schema().is_some_and(|s| s.kind() == Kind::Action);
        if is_action && format == Format::Xml {
            return format!("<action xmlns=\"{YANG_1}\">{printed}</action>");
        }
        printed
    }

    /// Prints output as the body of a RESTCONF reply, `{"module:output": ...}` or the element; `None` if there is none
    /// (RFC 8040 3.6.2).
    #[must_use]
    pub fn print_restconf_output(&self, format: Format) -> Option<String> {
        let schema = self.node.schema()?;
        self.node.first_child()?;
        let inner = self.print(format);
        Some(match format {
            Format::Json => format!(
                "{{\"{}:output\":{}}}",
                schema.module(),
                bare(&inner, schema)
            ),
            Format::Xml => {
                format!("<output xmlns=\"{}\">{inner}</output>", schema.namespace())
            }
        })
    }

    /// As XML for a message.
    #[must_use]
    pub fn to_fragment(&self) -> Fragment {
        Fragment::from_trusted(self.print(Format::Xml))
    }

    fn own(schema: &'static Schema, data: Forest, node: Raw, part: Part) -> Self {
        Self {
            tree: Tree::own(schema, data),
            node,
            part,
        }
    }
}

impl Schema {
    /// Parses the element of an rpc, or `<action>`.
    ///
    /// With `data` (usually running) the input is also validated: mandatory nodes, `must`, `when` and leafrefs, and an
    /// action's node must exist. Validation costs a copy of `data`.
    ///
    /// # Errors
    /// An unknown operation (`operation-not-supported`), bad input.
    pub fn parse_rpc(
        &'static self,
        element: &Fragment,
        data: Option<&Tree>,
    ) -> Result<Operation, Vec<Error>> {
        self.parse_operation(Format::Xml, element.as_str(), Part::Input, data)
    }

    /// Parses an operation or notification in either encoding; for JSON the text is `{"module:name": {...}}`.
    ///
    /// # Errors
    /// As [`Self::parse_rpc`].
    pub fn parse_operation(
        &'static self,
        format: Format,
        text: &str,
        part: Part,
        data: Option<&Tree>,
    ) -> Result<Operation, Vec<Error>> {
        let kind = match part {
            Part::Input => ly::lyd_type::LYD_TYPE_RPC_YANG,
            Part::Output => ly::lyd_type::LYD_TYPE_REPLY_YANG,
            Part::Notification => ly::lyd_type::LYD_TYPE_NOTIF_YANG,
        };
        let options = ly::LYD_PARSE_STRICT;
        let parsed = self.ctx.parse_op(None, format.raw(), text, kind, options);
        let (forest, node) = match parsed {
            Ok((forest, Some(node))) => (forest, node),
            Ok((_, None)) => {
                let what = if part == Part::Notification {
                    "notification"
                } else {
                    "operation"
                };
                return Err(vec![Error::new(
                    ErrorTag::OperationNotSupported,
                    format!("there is no such {what}"),
                )]);
            }
            Err(Failed) => return Err(operation_errors(collect(self.ctx, Phase::Parse))),
        };
        if let Some(data) = data {
            self.validate_operation(node, data, kind)?;
        }
        Ok(Operation::own(self, forest, node, part))
    }

    /// Parses the body of a RESTCONF request for an operation, `{"module:input": ...}` or the element; no body is no
    /// input. `path` is that of the operation ([`crate::restconf::Resource::path`]).
    ///
    /// # Errors
    /// As [`Self::parse_rpc`].
    pub fn parse_restconf_input(
        &'static self,
        path: &str,
        body: Option<(Format, &str)>,
        data: Option<&Tree>,
    ) -> Result<Operation, Vec<Error>> {
        let op = self.new_rpc(path).map_err(|e| vec![e])?;
        if let Some((format, text)) = body.filter(|(_, text)| !text.trim().is_empty()) {
            let kind = ly::lyd_type::LYD_TYPE_RPC_RESTCONF;
            self.ctx
                .parse_op(
                    Some(op.node),
                    format.raw(),
                    text,
                    kind,
                    ly::LYD_PARSE_STRICT,
                )
                .map_err(|Failed| collect(self.ctx, Phase::Parse))?;
            op.node.settle();
        }
        if let Some(data) = data {
            self.validate_operation(op.node, data, ly::lyd_type::LYD_TYPE_RPC_YANG)?;
        }
        Ok(op)
    }

    fn validate_operation(
        &'static self,
        node: Raw,
        data: &Tree,
        kind: ly::lyd_type::Type,
    ) -> Result<(), Vec<Error>> {
        // libyang links the operation into the data while it validates: that must not be a tree others read.
        let copy = data.duplicate().map_err(|e| vec![e])?;
        self.ctx.clear_errors();
        if node.validate_op(copy.data.root, kind).is_err() {
            return Err(collect(self.ctx, Phase::Validate));
        }
        node.settle();
        Ok(())
    }

    /// Starts the input of an rpc or action at a path such as `/tranche-wifi:correct-airtime`.
    ///
    /// # Errors
    /// No such operation.
    pub fn new_rpc(&'static self, path: &str) -> Result<Operation> {
        self.new_operation(path, Part::Input)
    }

    /// Starts the output of an rpc or action.
    ///
    /// # Errors
    /// No such operation.
    pub fn new_output(&'static self, path: &str) -> Result<Operation> {
        self.new_operation(path, Part::Output)
    }

    /// Starts a notification.
    ///
    /// # Errors
    /// No such notification.
    pub fn new_notification(&'static self, path: &str) -> Result<Operation> {
        self.new_operation(path, Part::Notification)
    }

    fn new_operation(&'static self, path: &str, part: Part) -> Result<Operation> {
        let mut data = Forest::default();
        data.set_path(self.ctx, path, None, 0)
            .map_err(|Failed| collect(self.ctx, Phase::Parse).swap_remove(0).at(path))?;
        let node = data.top().find_map(find_operation).ok_or_else(|| {
            Error::new(ErrorTag::UnknownElement, "not an operation or notification").at(path)
        })?;
        Ok(Operation::own(self, data, node, part))
    }

    /// Parses the event element of a notification.
    ///
    /// # Errors
    /// An unknown notification, or content that it does not have.
    pub fn parse_notification(&'static self, event: &Fragment) -> Result<Operation, Vec<Error>> {
        self.parse_operation(Format::Xml, event.as_str(), Part::Notification, None)
    }
}

fn find_operation(node: Raw) -> Option<Raw> {
    match node.schema()?.kind() {
        Kind::Rpc | Kind::Action | Kind::Notification => Some(node),
        _ => Siblings(node.first_child()).find_map(find_operation),
    }
}

/// An unknown top element of a request is an operation that is not there.
fn operation_errors(mut errors: Vec<Error>) -> Vec<Error> {
    for e in &mut errors {
        let at_top = e.path.is_none();
        if at_top && matches!(e.tag, ErrorTag::UnknownElement | ErrorTag::UnknownNamespace) {
            e.tag = ErrorTag::OperationNotSupported;
        }
    }
    errors
}

/// Members of an object in an operation's module without its name (RFC 7951 4): they do not stand at the top.
fn bare(object: &str, operation: SRaw) -> String {
    let prefix = format!("{}:", operation.module());
    match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(object) {
        Ok(members) => {
            let members = members.into_iter().map(|(name, value)| {
                let name = name
                    .strip_prefix(&prefix)
                    .map_or(name.clone(), str::to_owned);
                (name, value)
            });
            serde_json::Value::Object(members.collect()).to_string()
        }
        Err(_) => object.to_owned(),
    }
}
