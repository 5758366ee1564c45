//! The datastore and the data resources (RFC 8040 3.4, 3.5): GET, HEAD, OPTIONS, POST, PUT, PATCH, DELETE.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, Method, Response, StatusCode};
use tranche_netconf::error::{ErrorTag, RpcError};
use tranche_netconf::message::{DefaultOperation, ErrorOption, WithDefaults};
use tranche_netconf::xml::Fragment;
use tranche_yang::datastore::SERVER;
use tranche_yang::nacm::User;
use tranche_yang::restconf::{self, GetContent, GetOptions, Insert, Resource, ResourceKind};
use tranche_yang::{Datastores, Format, Kind, Proposal, Schema, SchemaNode, Tree};

use super::error::Refusal;
use super::media::{self, Encoding};
use super::query::{Content, Field, Place, Query};
use super::view::View;
use super::{READ_ONLY, Request, body, dry_run, operations, query, respond};
use crate::config::Http;
use crate::service::{Author, Published, blocking, rpc_errors};

/// Methods of the datastore.
const DATASTORE: &str = "GET, HEAD, OPTIONS, POST, PUT, PATCH";
/// Methods of a container or list entry.
const INNER: &str = "GET, HEAD, OPTIONS, POST, PUT, PATCH, DELETE";
/// Methods of a leaf or an entry of a leaf-list.
const LEAF: &str = "GET, HEAD, OPTIONS, PUT, PATCH, DELETE";

/// What became of the target of an edit.
#[derive(Debug)]
enum Done {
    /// It is new, at this path below `/restconf/data/`.
    Created(String),
    /// It was there, and is changed or gone.
    Changed,
}

/// Everything an edit is made of.
struct Edit {
    schema: &'static Schema,
    resource: Resource,
    method: restconf::Method,
    body: Option<(Format, String)>,
    insert: Option<Insert>,
    headers: HeaderMap,
}

impl Encoding {
    pub(crate) fn format(self) -> Format {
        match self {
            Self::Json => Format::Json,
            Self::Xml => Format::Xml,
        }
    }
}

/// Answers a request for what `path` names below `/restconf/data`.
///
/// # Errors
/// Everything that is wrong with it.
pub(crate) async fn handle(
    request: &Request<'_>,
    path: &str,
    content: Body,
    http: &Http,
) -> Result<Response<Body>, Refusal> {
    let resource = parse(request.service.schema(), path)?;
    let allow = methods(&resource);
    match request.parts.method {
        Method::OPTIONS => Ok(respond::options(allow)),
        Method::GET | Method::HEAD => read(request, resource).await,
        Method::POST if resource.kind() == ResourceKind::Action => {
            operations::invoke(request, &resource, content, http).await
        }
        Method::POST => edit(request, resource, restconf::Method::Post, content, http).await,
        Method::PUT => edit(request, resource, restconf::Method::Put, content, http).await,
        Method::PATCH => edit(request, resource, restconf::Method::Patch, content, http).await,
        Method::DELETE => edit(request, resource, restconf::Method::Delete, content, http).await,
        ref method => Err(Refusal::method_not_allowed(
            allow,
            format!("{method} is no method of a resource"),
        )),
    }
}

/// Parses a resource identifier: one that no module has is not found, one that is malformed is a bad request.
fn parse(schema: &'static Schema, path: &str) -> Result<Resource, Refusal> {
    if path.contains("//") {
        return Err(Refusal::bad_request(format!(
            "there is an empty name in {path}"
        )));
    }
    Resource::parse(schema, path).map_err(|error| match error.tag {
        ErrorTag::UnknownElement => Refusal::not_found(error.message),
        _ => Refusal::bad_request(error.message),
    })
}

fn methods(resource: &Resource) -> &'static str {
    match (resource.kind(), resource.schema()) {
        (ResourceKind::Action, _) => "OPTIONS, POST",
        (ResourceKind::Datastore, _) | (_, None) => DATASTORE,
        (_, Some(node)) if !node.is_config() || resource.is_collection() => READ_ONLY,
        (_, Some(node)) if matches!(node.kind(), Kind::Container | Kind::List) => INNER,
        _ => LEAF,
    }
}

async fn read(request: &Request<'_>, resource: Resource) -> Result<Response<Body>, Refusal> {
    if resource.kind() == ResourceKind::Action {
        return Err(Refusal::method_not_allowed(
            "OPTIONS, POST",
            "an operation can't be read",
        ));
    }
    let headers = &request.parts.headers;
    let query = Query::parse(request.parts.uri.query(), Place::Read)?;
    let encoding = media::wanted(headers)?;
    let service = Arc::clone(request.service);
    let published = service.published();
    let version = published.version.clone();
    let with_state = query.content != Content::Config && service.has_state(&resource);
    // A state of the configuration has one tag; what is observed changes without it.
    let is_config = resource.schema().is_none_or(|node| node.is_config());
    if is_config && !with_state && version.is_known(headers, encoding) {
        let response = respond::empty(StatusCode::NOT_MODIFIED);
        return Ok(respond::versioned(response, &version, encoding));
    }
    if let Some(fields) = &query.fields {
        check_fields(service.schema(), resource.schema(), fields)?;
    }
    let options = GetOptions {
        content: match query.content {
            Content::All => GetContent::All,
            Content::Config => GetContent::Config,
            Content::NonConfig => GetContent::Nonconfig,
        },
        depth: query.depth,
        fields: query.fields.map(|fields| query::print_fields(&fields)),
        with_defaults: query.with_defaults.unwrap_or(WithDefaults::Explicit),
        pretty: false,
    };
    let user = User::new(request.user);
    let base = request.base.clone();
    let path = request.parts.uri.path().to_owned();
    let node = resource.schema();
    let reader = Arc::clone(&service);
    let text = blocking(move || {
        let asked = View {
            published: &published,
            user: &user,
            resource: &resource,
            base: &base,
        };
        let tree = asked.tree(&reader, with_state)?;
        restconf::read(&tree, &resource, encoding.format(), &options)
            .map_err(|e| vec![e.to_rpc_error()])
    })
    .await??;
    let missing = || Refusal::not_found(format!("there is no {path}"));
    let text = match text.ok_or_else(missing)? {
        text if !matches!(text.as_str(), "" | "{}") => text,
        _ => empty_container(service.schema(), node, encoding).ok_or_else(missing)?,
    };
    let response = respond::data(StatusCode::OK, encoding, text, &request.parts.method);
    Ok(if is_config {
        respond::versioned(response, &version, encoding)
    } else {
        response
    })
}

/// A container without presence is there though nothing in it was set. A leaf that nobody set is not, unless its default
/// is asked for (RFC 6243 2.3), and neither is an entry of an empty list.
fn empty_container(
    schema: &'static Schema,
    node: Option<SchemaNode>,
    encoding: Encoding,
) -> Option<String> {
    let node = node.filter(|node| node.kind() == Kind::Container && !node.is_presence())?;
    let (module, name) = (schema.module(node.module())?, node.name());
    Some(match encoding {
        Encoding::Json => format!("{{\"{}:{name}\":{{}}}}", module.name),
        Encoding::Xml => format!("<{name} xmlns=\"{}\"/>", module.namespace),
    })
}

/// Refuses fields that no module has.
fn check_fields(
    schema: &'static Schema,
    parent: Option<SchemaNode>,
    fields: &[Field],
) -> Result<(), Refusal> {
    for field in fields {
        let module = field
            .module
            .as_deref()
            .or_else(|| parent.map(SchemaNode::module));
        let children = match (parent, module) {
            (Some(parent), _) => parent.children(),
            (None, Some(module)) if schema.module(module).is_some() => schema.top(module),
            (None, _) => Vec::new(),
        };
        let is_named =
            |node: &SchemaNode| node.name() == field.name && module == Some(node.module());
        let node = children.into_iter().find(is_named).ok_or_else(|| {
            let place = parent.map_or_else(|| "the datastore".to_owned(), SchemaNode::path);
            Refusal::bad_request(format!("fields: there is no '{}' in {place}", field.name))
        })?;
        check_fields(schema, Some(node), &field.children)?;
    }
    Ok(())
}

async fn edit(
    request: &Request<'_>,
    resource: Resource,
    method: restconf::Method,
    content: Body,
    http: &Http,
) -> Result<Response<Body>, Refusal> {
    let headers = &request.parts.headers;
    let takes_insert = matches!(method, restconf::Method::Post | restconf::Method::Put);
    let place = if takes_insert {
        Place::Insert
    } else {
        Place::Change
    };
    let query = Query::parse(request.parts.uri.query(), place)?;
    let answer = media::wanted(headers)?;
    let allow = methods(&resource);
    if !allow.contains(request.parts.method.as_str()) {
        let message = format!("this resource takes {allow}");
        return Err(Refusal::method_not_allowed(allow, message));
    }
    let text = body::read(content, http).await?;
    let body = if method == restconf::Method::Delete {
        if !text.is_empty() {
            return Err(Refusal::bad_request("DELETE takes no body"));
        }
        None
    } else {
        let encoding = media::of_body(headers)?;
        let text = blocking(move || well_formed(encoding, text)).await??;
        Some((encoding.format(), text))
    };
    let edit = Edit {
        schema: request.service.schema(),
        resource,
        method,
        body,
        insert: query.insert,
        headers: headers.clone(),
    };
    let author = Author {
        user: User::new(request.user),
        label: format!("{} {}", request.parts.method, request.parts.uri.path()),
    };
    let propose = move |published: &Published, datastores: &mut Datastores| {
        edit.propose(published, datastores)
    };
    if query.dry_run {
        let told = request.service.dry_run(author.user, propose).await?;
        let text = dry_run::print(&told, answer);
        return Ok(respond::data(
            StatusCode::OK,
            answer,
            text,
            &request.parts.method,
        ));
    }
    let (done, version) = request.service.change(author, propose).await?;
    let response = match done {
        Done::Created(identifier) => {
            let location = format!("{}/restconf/data/{identifier}", request.base);
            respond::created(&location)
        }
        Done::Changed => respond::empty(StatusCode::NO_CONTENT),
    };
    Ok(respond::versioned(response, &version, answer))
}

/// Checks the text of a body before libyang reads it: JSON or XML, and in XML no DTD and no entities.
pub(crate) fn well_formed(encoding: Encoding, text: String) -> Result<String, Refusal> {
    if text.trim().is_empty() {
        return Err(Refusal::new(
            ErrorTag::MalformedMessage,
            "the request needs a body",
        ));
    }
    let malformed = |what: &str, error: &dyn std::fmt::Display| {
        Refusal::new(
            ErrorTag::MalformedMessage,
            format!("the body is not {what}: {error}"),
        )
    };
    match encoding {
        Encoding::Json => serde_json::from_str::<serde::de::IgnoredAny>(&text)
            .map(|_| text)
            .map_err(|e| malformed("JSON", &e)),
        Encoding::Xml => Fragment::parse(text.trim_start_matches('\u{feff}'))
            .map(|fragment| fragment.as_str().to_owned())
            .map_err(|e| malformed("the XML it should be", &e)),
    }
}

impl Edit {
    /// Works the change out against what is in force.
    fn propose(
        &self,
        published: &Published,
        datastores: &mut Datastores,
    ) -> Result<(Proposal, Done), Refusal> {
        let running = &published.running;
        let body = self
            .body
            .as_ref()
            .map(|(format, text)| (*format, text.as_str()));
        let edit = restconf::edit(
            self.schema,
            &self.resource,
            self.method,
            body,
            self.insert.as_ref(),
        )
        .map_err(|errors| self.refuse(rpc_errors(errors)))?;
        let target = edit.target().map(str::to_owned);
        let exists = target.as_ref().is_none_or(|path| is_there(running, path));
        // Conditions are about the resource that the URI names: of a POST, what it creates something in.
        let named_exists = match self.method {
            restconf::Method::Post => self.resource.exists(running),
            _ => exists,
        };
        published.version.check_edit(&self.headers, named_exists)?;
        let must_exist = match self.method {
            restconf::Method::Put => self.resource.parent_path(),
            restconf::Method::Post if self.resource.kind() == ResourceKind::Datastore => {
                Ok("/".to_owned())
            }
            _ => self.resource.path(),
        };
        let must_exist = must_exist.map_err(|e| Refusal::from(e.to_rpc_error()))?;
        let missing = match self.method {
            restconf::Method::Delete => !exists,
            // What is there of itself can be merged into.
            restconf::Method::Patch => !target.as_ref().is_none_or(|path| running.exists(path)),
            _ => must_exist != "/" && !running.exists(&must_exist),
        };
        if missing {
            return Err(Refusal::not_found(format!("there is no {must_exist}")));
        }
        let proposal = datastores
            .propose_parsed(
                SERVER,
                &edit,
                DefaultOperation::None,
                ErrorOption::RollbackOnError,
            )
            .map_err(rpc_errors)?;
        let done = match target {
            Some(path) if !exists => {
                let identifier = restconf::identifier(self.schema, &path);
                Done::Created(identifier.map_err(|e| Refusal::from(e.to_rpc_error()))?)
            }
            _ => Done::Changed,
        };
        Ok((proposal, done))
    }

    /// What a resource doesn't do is a 405, with what it does.
    fn refuse(&self, errors: Vec<RpcError>) -> Refusal {
        let mut refusal = Refusal::from(errors);
        if refusal
            .errors
            .iter()
            .any(|e| e.tag == ErrorTag::OperationNotSupported)
        {
            refusal.status = StatusCode::METHOD_NOT_ALLOWED;
            refusal.allow = Some(methods(&self.resource));
        }
        refusal
    }
}

/// Whether a resource is there: for containers without presence and leafs with a default, whether anything was set.
fn is_there(running: &Tree, path: &str) -> bool {
    running.get(path).is_some_and(|node| !node.is_default())
}
