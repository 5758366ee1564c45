//! RESTCONF (RFC 8040).

mod body;
pub(crate) mod condition;
mod data;
mod dry_run;
pub(crate) mod error;
pub(crate) mod media;
mod operations;
pub(crate) mod query;
pub(crate) mod respond;
mod root;
pub(crate) mod uri;
mod view;

use std::sync::Arc;

use axum::body::Body;
use axum::http::Response;
use axum::http::request::Parts;

use self::error::Refusal;
use self::root::Root;
use crate::config::Http;
use crate::service::Service;

/// Methods of a resource that can only be read.
pub(crate) const READ_ONLY: &str = "GET, HEAD, OPTIONS";

/// One request of a user who is logged in.
pub(crate) struct Request<'a> {
    /// The controller.
    pub(crate) service: &'a Arc<Service>,
    /// Who asks.
    pub(crate) user: &'a str,
    /// The request but its body.
    pub(crate) parts: &'a Parts,
    /// Scheme and authority by which the client reaches this server.
    pub(crate) base: String,
}

impl Request<'_> {
    /// Answers it.
    ///
    /// # Errors
    /// Everything that is wrong with it, as RESTCONF says it.
    pub(crate) async fn handle(&self, body: Body, http: &Http) -> Result<Response<Body>, Refusal> {
        let path = self.parts.uri.path();
        if let Some(root) = Root::at(path) {
            return root.answer(
                &self.parts.method,
                self.parts.uri.query(),
                &self.parts.headers,
            );
        }
        let below = |root: &str| {
            let rest = path.strip_prefix(root)?;
            (rest.is_empty() || rest.starts_with('/')).then(|| rest.trim_start_matches('/'))
        };
        if let Some(path) = below("/restconf/data") {
            return data::handle(self, path, body, http).await;
        }
        if let Some(path) = below("/restconf/operations") {
            return operations::handle(self, path, body, http).await;
        }
        Err(Refusal::not_found(format!("there is no resource {path}")))
    }
}
