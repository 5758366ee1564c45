//! POST, PUT, PATCH and DELETE as edits (RFC 8040 4.4 to 4.8).

use tranche_netconf::error::ErrorTag;
use tranche_netconf::xml::Fragment;
use yang5::ffi as ly;

use super::{DATA_NS, Resource, ResourceKind};
use crate::context::Schema;
use crate::edit::{Edit, OPERATION};
use crate::error::{Error, Phase, Result, collect};
use crate::ffi::{Failed, Forest, Kind, Raw, SRaw};
use crate::tree::Format;

/// A method that changes data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Create the one child that the body holds, inside the resource.
    Post,
    /// Create or replace the resource by the body.
    Put,
    /// Merge the body into the resource, which must be there (plain patch, RFC 8040 4.6.1).
    Patch,
    /// Delete the resource.
    Delete,
}

/// Where a user-ordered entry goes: the `insert` and `point` query parameters (RFC 8040 4.8.5, 4.8.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Insert {
    /// Before all.
    First,
    /// After all.
    Last,
    /// Right before the entry with this resource identifier.
    Before(String),
    /// Right after the entry with this resource identifier.
    After(String),
}

impl Insert {
    /// From the two query parameters; `Ok(None)` without any.
    ///
    /// # Errors
    /// An unknown `insert`, or a `point` that is missing or superfluous.
    pub fn from_query(insert: Option<&str>, point: Option<&str>) -> Result<Option<Self>> {
        let bad = |message: &str| Err(Error::new(ErrorTag::InvalidValue, message));
        match (insert, point) {
            (None, None) => Ok(None),
            (Some("first"), None) => Ok(Some(Self::First)),
            (Some("last"), None) => Ok(Some(Self::Last)),
            (Some("before"), Some(point)) => Ok(Some(Self::Before(point.to_owned()))),
            (Some("after"), Some(point)) => Ok(Some(Self::After(point.to_owned()))),
            (Some("before" | "after"), None) => bad("insert before or after needs a point"),
            (Some("first" | "last") | None, Some(_)) => {
                bad("point goes with insert before or after")
            }
            (Some(_), _) => bad("insert is first, last, before or after"),
        }
    }
}

/// Turns a request into an edit, to be applied with `default-operation` `none`.
///
/// [`Edit::target`] is the instance path of what is created, replaced or deleted.
///
/// # Errors
/// A body that is missing, not of the resource, or not exactly one node; a method that the resource does not have
/// (`operation-not-supported`); everything that parsing finds.
pub fn edit(
    schema: &'static Schema,
    resource: &Resource,
    method: Method,
    body: Option<(Format, &str)>,
    insert: Option<&Insert>,
) -> Result<Edit, Vec<Error>> {
    check(resource, method).map_err(|e| vec![e])?;
    let whole = resource.kind == ResourceKind::Datastore && method != Method::Post;
    if insert.is_some() && (whole || matches!(method, Method::Patch | Method::Delete)) {
        let message = "insert goes with POST and PUT of an entry";
        return Err(vec![Error::new(ErrorTag::InvalidValue, message)]);
    }
    if method == Method::Delete {
        return delete(schema, resource).map_err(|e| vec![e]);
    }
    let (format, text) = body
        .filter(|(_, text)| !text.trim().is_empty())
        .ok_or_else(|| {
            vec![Error::new(
                ErrorTag::MalformedMessage,
                "the request needs a body",
            )]
        })?;
    let operation = match method {
        Method::Post => "create",
        Method::Put => "replace",
        Method::Patch | Method::Delete => "merge",
    };
    if whole {
        let data = parse(
            schema,
            &mut Forest::default(),
            None,
            format,
            &unwrap_data(format, text)?,
        )?;
        let root_op = if method == Method::Put {
            "replace"
        } else {
            "merge"
        };
        return Ok(Edit::with_root(data, root_op));
    }
    let parent_path = if method == Method::Post {
        resource.path()
    } else {
        resource.parent_path()
    }
    .map_err(|e| vec![e])?;
    let mut forest = Forest::default();
    let parent = skeleton(schema, &mut forest, &parent_path).map_err(|e| vec![e])?;
    let detached = parse(schema, &mut forest, parent, format, text)?;
    let node = one_node(parent, &detached).map_err(|e| vec![e])?;
    if method != Method::Post {
        same_resource(resource, node).map_err(|e| vec![e])?;
    }
    let mut internal = |Failed| vec![Error::internal(schema.ctx, "preparing the edit")];
    node.set_metadata(OPERATION, operation)
        .map_err(&mut internal)?;
    if let Some(insert) = insert {
        set_insert(schema, node, insert, &parent_path).map_err(|e| vec![e])?;
    }
    let data = if parent.is_some() { forest } else { detached };
    let mut edit = Edit::targeted(data, node.path());
    if method == Method::Patch {
        edit.require(node.path());
    }
    if method == Method::Post && resource.kind == ResourceKind::Data {
        edit.require(parent_path);
    }
    Ok(edit)
}

fn check(resource: &Resource, method: Method) -> Result<()> {
    let refuse = |message: &str| Err(Error::new(ErrorTag::OperationNotSupported, message));
    let schema = resource.steps.last().map(|s| s.schema);
    match (resource.kind, method) {
        (ResourceKind::Action, _) => return refuse("an operation is invoked, not edited"),
        (ResourceKind::Datastore, Method::Delete) => {
            return refuse("the datastore can't be deleted");
        }
        _ => {}
    }
    let Some(schema) = schema else { return Ok(()) };
    if !schema.is_config() {
        return refuse("state can't be edited");
    }
    if method == Method::Post && !matches!(schema.kind(), Kind::Container | Kind::List) {
        return refuse("nothing can be created inside a leaf");
    }
    if resource.is_collection() {
        return refuse("a whole list can't be edited: name an entry, or its parent");
    }
    if schema.is_key() {
        return refuse("the key of a list entry can't be changed or deleted");
    }
    Ok(())
}

/// Creates the containers and list entries (with their keys) of a path.
fn skeleton(schema: &'static Schema, forest: &mut Forest, path: &str) -> Result<Option<Raw>> {
    if path == "/" {
        return Ok(None);
    }
    forest
        .set_path(schema.ctx, path, None, 0)
        .map_err(|Failed| collect(schema.ctx, Phase::Parse).swap_remove(0).at(path))?;
    let mut node = forest.root;
    while let Some(child) =
        node.and_then(|n| n.children().find(|c| !c.schema().is_some_and(SRaw::is_key)))
    {
        node = Some(child);
    }
    Ok(node)
}

fn delete(schema: &'static Schema, resource: &Resource) -> Result<Edit> {
    let path = resource.path()?;
    let mut forest = Forest::default();
    let parent = skeleton(schema, &mut forest, &resource.parent_path()?)?;
    let Some(step) = resource.steps.last() else {
        return Err(Error::new(
            ErrorTag::OperationNotSupported,
            "the datastore can't be deleted",
        ));
    };
    let value = step.keys.first().map(String::as_str);
    let node = forest
        .new_node(parent, step.schema, &step.predicate("")?, value)
        .map_err(|Failed| {
            collect(schema.ctx, Phase::Parse)
                .swap_remove(0)
                .at(path.clone())
        })?;
    node.set_metadata(OPERATION, "delete")
        .map_err(|Failed| Error::internal(schema.ctx, "preparing the edit"))?;
    Ok(Edit::targeted(forest, path))
}

/// Parses a body below `parent`, or as trees of its own.
fn parse(
    schema: &'static Schema,
    forest: &mut Forest,
    parent: Option<Raw>,
    format: Format,
    text: &str,
) -> Result<Forest, Vec<Error>> {
    let options = ly::LYD_PARSE_ONLY | ly::LYD_PARSE_STRICT | ly::LYD_PARSE_NO_STATE;
    let parsed = match parent {
        None => schema
            .ctx
            .parse(format.raw(), text, options, ly::LYD_VALIDATE_MULTI_ERROR),
        Some(parent) => forest
            .parse_under(schema.ctx, parent, format.raw(), text, options)
            .map(|()| Forest::default()),
    };
    parsed.map_err(|Failed| collect(schema.ctx, Phase::Parse))
}

/// The one node that a body holds.
fn one_node(parent: Option<Raw>, detached: &Forest) -> Result<Raw> {
    let nodes: Vec<Raw> = match parent {
        Some(parent) => parent.children().filter(|n| n.is_parsed_body()).collect(),
        None => detached.top().collect(),
    };
    match nodes.as_slice() {
        [node] => Ok(*node),
        [] => Err(Error::new(
            ErrorTag::MalformedMessage,
            "the body holds no data",
        )),
        [_, extra, ..] => Err(Error::new(
            ErrorTag::InvalidValue,
            "the body must hold exactly one resource",
        )
        .at(extra.path())),
    }
}

/// For PUT and PATCH: the body is the resource that the URI names.
fn same_resource(resource: &Resource, node: Raw) -> Result<()> {
    let Some(step) = resource.steps.last() else {
        return Ok(());
    };
    if node.schema() != Some(step.schema) {
        return Err(Error::new(
            ErrorTag::InvalidValue,
            format!(
                "the body holds {} and the URI names {}",
                node.schema().map_or("something else", SRaw::name),
                step.schema.name()
            ),
        ));
    }
    let values: Vec<&str> = match step.schema.kind() {
        Kind::List => node
            .children()
            .filter(|c| c.schema().is_some_and(SRaw::is_key))
            .filter_map(Raw::value)
            .collect(),
        Kind::LeafList => node.value().into_iter().collect(),
        _ => return Ok(()),
    };
    if values != step.keys {
        return Err(Error::new(
            ErrorTag::InvalidValue,
            format!(
                "the body's key is {} and the URI names {}",
                values.join(","),
                step.keys.join(",")
            ),
        )
        .at(node.path()));
    }
    Ok(())
}

fn set_insert(
    schema: &'static Schema,
    node: Raw,
    insert: &Insert,
    parent_path: &str,
) -> Result<()> {
    let (how, point) = match insert {
        Insert::First => ("first", None),
        Insert::Last => ("last", None),
        Insert::Before(point) => ("before", Some(point)),
        Insert::After(point) => ("after", Some(point)),
    };
    let internal = |Failed| Error::internal(schema.ctx, "preparing the edit");
    node.set_metadata("yang:insert", how).map_err(internal)?;
    let Some(point) = point else { return Ok(()) };
    // The point may be given as a whole URI: what counts is after `/data/`.
    let identifier = point
        .split_once("/data/")
        .map_or(point.as_str(), |(_, rest)| rest);
    let resource = Resource::parse(schema, identifier)?;
    let Some(step) = resource
        .steps
        .last()
        .filter(|s| Some(s.schema) == node.schema())
        .filter(|_| resource.parent_path().is_ok_and(|p| p == parent_path))
    else {
        return Err(Error::new(
            ErrorTag::InvalidValue,
            "the point is not an entry of the same list",
        ));
    };
    if step.schema.kind() == Kind::LeafList {
        let value = step.keys.first().map_or("", String::as_str);
        return node.set_metadata("yang:value", value).map_err(internal);
    }
    let predicate = step.predicate(&format!("{}:", step.schema.module()))?;
    node.set_metadata("yang:key", &predicate).map_err(internal)
}

/// The content of `ietf-restconf:data`.
fn unwrap_data(format: Format, text: &str) -> Result<String, Vec<Error>> {
    let malformed = |m: String| {
        vec![Error::new(
            ErrorTag::MalformedMessage,
            format!("the body is not {m}"),
        )]
    };
    match format {
        Format::Json => {
            let mut value: serde_json::Value =
                serde_json::from_str(text).map_err(|e| malformed(format!("JSON: {e}")))?;
            value
                .as_object_mut()
                .filter(|o| o.len() == 1)
                .and_then(|o| o.remove("ietf-restconf:data"))
                .map(|inner| inner.to_string())
                .ok_or_else(|| malformed("an object with the one member ietf-restconf:data".into()))
        }
        Format::Xml => {
            let fragment = Fragment::parse(text).map_err(|e| malformed(format!("XML: {e}")))?;
            let elements = fragment.elements();
            let elements = elements.map_err(|e| malformed(format!("XML: {e}")))?;
            match elements.as_slice() {
                [data] if data.name == "data" && data.namespace == DATA_NS => {}
                _ => return Err(malformed(format!("one element data of {DATA_NS}"))),
            }
            let content = fragment.content();
            content
                .map(|content| content.as_str().to_owned())
                .map_err(|e| malformed(format!("the content of a datastore: {e}")))
        }
    }
}
