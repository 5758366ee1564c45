//! Operation resources (RFC 8040 3.6): what can be invoked, and invoking it.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Method, Response, StatusCode};
use serde_json::{Map, Value, json};
use tranche_yang::nacm::User;
use tranche_yang::restconf::{Resource, ResourceKind};
use tranche_yang::{Kind, Operation, Schema, SchemaNode};

use super::data::well_formed;
use super::error::Refusal;
use super::media::{self, Encoding};
use super::query::{Place, Query};
use super::{READ_ONLY, Request, body, dry_run, respond};
use crate::config::Http;
use crate::service::{Called, Published, Run, blocking, rpc_errors};

/// Methods of an operation.
const INVOKE: &str = "OPTIONS, POST";

/// Answers a request for what `path` names below `/restconf/operations`.
///
/// # Errors
/// Everything that is wrong with it, and what the operation refuses.
pub(crate) async fn handle(
    request: &Request<'_>,
    path: &str,
    content: Body,
    http: &Http,
) -> Result<Response<Body>, Refusal> {
    let (schema, parts) = (request.service.schema(), request.parts);
    if parts.method != Method::POST {
        Query::parse(parts.uri.query(), Place::None)?;
    }
    if path.is_empty() {
        let encoding = media::wanted(&parts.headers)?;
        return match parts.method {
            Method::OPTIONS => Ok(respond::options(READ_ONLY)),
            Method::GET | Method::HEAD => {
                let text = list(schema, encoding);
                Ok(respond::data(StatusCode::OK, encoding, text, &parts.method))
            }
            _ => {
                let message = "the list of operations can only be read";
                Err(Refusal::method_not_allowed(READ_ONLY, message))
            }
        };
    }
    let missing = || Refusal::not_found(format!("there is no operation {path}"));
    let resource = Resource::parse(schema, path).map_err(|_| missing())?;
    let is_rpc = resource
        .schema()
        .is_some_and(|node| node.kind() == Kind::Rpc);
    if resource.kind() != ResourceKind::Action || !is_rpc {
        return Err(missing());
    }
    match parts.method {
        Method::OPTIONS => Ok(respond::options(INVOKE)),
        Method::POST => invoke(request, &resource, content, http).await,
        _ => Err(Refusal::method_not_allowed(
            INVOKE,
            "an operation can only be invoked",
        )),
    }
}

/// Invokes an operation, or the action of a data resource (RFC 8040 3.6).
///
/// # Errors
/// Everything that is wrong with the request, and what the operation refuses.
pub(super) async fn invoke(
    request: &Request<'_>,
    resource: &Resource,
    content: Body,
    http: &Http,
) -> Result<Response<Body>, Refusal> {
    let query = Query::parse(request.parts.uri.query(), Place::Invoke)?;
    let run = if query.dry_run { Run::Dry } else { Run::Wet };
    let encoding = media::wanted(&request.parts.headers)?;
    let text = body::read(content, http).await?;
    let has_type = media::content_type(&request.parts.headers).is_some();
    // A body of a type that is not YANG data is refused even if it is empty, as a form of a web page would be.
    let body = match has_type || !text.is_empty() {
        true => Some((media::of_body(&request.parts.headers)?, text)),
        false => None,
    };
    let path = resource
        .path()
        .map_err(|e| Refusal::from(e.to_rpc_error()))?;
    let published = request.service.published();
    let (schema, before) = (request.service.schema(), Arc::clone(&published));
    // The entry whose action it is: the rest of the way there is there with it.
    let entry = path.rfind(']').map(|end| path[..=end].to_owned());
    let operation = blocking(move || parse(schema, &path, body, &before)).await??;
    let user = User::new(request.user);
    published
        .nacm
        .execute(&user, &operation)
        .map_err(|e| Refusal::from(e.to_rpc_error()))?;
    if let Some(entry) = entry.filter(|entry| !published.running.exists(entry)) {
        return Err(Refusal::not_found(format!("there is no {entry}")));
    }
    let output = match request.service.call(user, operation, run).await? {
        Called::Done(output) => output,
        Called::Told(told) => {
            let text = dry_run::print(&told, encoding);
            return Ok(respond::data(
                StatusCode::OK,
                encoding,
                text,
                &request.parts.method,
            ));
        }
    };
    match output.and_then(|output| output.print_restconf_output(encoding.format())) {
        Some(text) => Ok(respond::data(
            StatusCode::OK,
            encoding,
            text,
            &request.parts.method,
        )),
        None => Ok(respond::empty(StatusCode::NO_CONTENT)),
    }
}

/// Reads an operation with its input.
fn parse(
    schema: &'static Schema,
    path: &str,
    body: Option<(Encoding, String)>,
    published: &Published,
) -> Result<Operation, Refusal> {
    // Many a client sends an empty object for nothing.
    let is_nothing = |text: &str| {
        let mut text = text.chars().filter(|one| !one.is_whitespace());
        text.next()
            .is_none_or(|first| first == '{' && text.eq(['}']))
    };
    let input = match body.filter(|(_, text)| !is_nothing(text)) {
        Some((encoding, text)) => Some((encoding.format(), well_formed(encoding, text)?)),
        None => None,
    };
    let input = input
        .as_ref()
        .map(|(format, text)| (*format, text.as_str()));
    let operation = schema.parse_restconf_input(path, input, Some(&published.running));
    operation.map_err(|errors| rpc_errors(errors).into())
}

/// All operations (RFC 8040 3.3.2).
fn list(schema: &'static Schema, encoding: Encoding) -> String {
    let modules = schema.modules().iter().filter(|module| module.implemented);
    let all = modules.flat_map(|module| {
        let rpcs = schema
            .top(&module.name)
            .into_iter()
            .filter(|node| node.kind() == Kind::Rpc);
        rpcs.map(move |rpc| (module, rpc))
    });
    match encoding {
        Encoding::Json => {
            let name = |rpc: SchemaNode| format!("{}:{}", rpc.module(), rpc.name());
            let members: Map<String, Value> =
                all.map(|(_, rpc)| (name(rpc), json!([null]))).collect();
            json!({ "ietf-restconf:operations": members }).to_string()
        }
        Encoding::Xml => {
            let elements: String = all
                .map(|(module, rpc)| format!("<{} xmlns=\"{}\"/>", rpc.name(), module.namespace))
                .collect();
            format!(
                "<operations xmlns=\"urn:ietf:params:xml:ns:yang:ietf-restconf\">{elements}</operations>"
            )
        }
    }
}
