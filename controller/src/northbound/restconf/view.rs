//! What a user may see of a resource: configuration, state where it is asked for, and nothing that access control hides.

use std::ops::Deref;

use serde_json::{Value, json};
use tranche_netconf::error::RpcError;
use tranche_netconf::message::Filter;
use tranche_yang::nacm::User;
use tranche_yang::restconf::{Resource, ResourceKind};
use tranche_yang::{Content, Format, Tree, filter};

use super::media::Encoding;
use crate::northbound::streams::Stream;
use crate::service::{Published, Service, is_of, rpc_errors};

/// Capabilities of this server (RFC 8040 9.1): the query parameters that work.
const CAPABILITIES: [&str; 5] = [
    "urn:ietf:params:restconf:capability:defaults:1.0?basic-mode=explicit",
    "urn:ietf:params:restconf:capability:depth:1.0",
    "urn:ietf:params:restconf:capability:fields:1.0",
    "urn:ietf:params:restconf:capability:with-defaults:1.0",
    "urn:tranche:restconf:capability:dry-run:1.0",
];

/// Who asks for what.
pub(crate) struct View<'a> {
    /// The configuration in force.
    pub(crate) published: &'a Published,
    /// Who asks.
    pub(crate) user: &'a User,
    /// For what.
    pub(crate) resource: &'a Resource,
    /// Scheme and authority by which the client reaches this server.
    pub(crate) base: &'a str,
}

/// A tree that is shared where nothing had to be taken out of it.
pub(crate) enum Seen<'a> {
    /// As published.
    Shared(&'a Tree),
    /// Made for this reader.
    Own(Tree),
}

impl Deref for Seen<'_> {
    type Target = Tree;

    fn deref(&self) -> &Tree {
        match self {
            Seen::Shared(tree) => tree,
            Seen::Own(tree) => tree,
        }
    }
}

impl<'a> View<'a> {
    /// A tree that has the resource as the user may see it, and maybe more around it.
    ///
    /// # Errors
    /// State that can't be made.
    pub(crate) fn tree(
        &self,
        service: &Service,
        with_state: bool,
    ) -> Result<Seen<'a>, Vec<RpcError>> {
        let nacm = &self.published.nacm;
        if !with_state && nacm.reads_everything(self.user) {
            return Ok(Seen::Shared(&self.published.shown));
        }
        let one = |e: tranche_yang::Error| vec![e.to_rpc_error()];
        let mut tree = self.configuration().map_err(one)?;
        if with_state {
            for state in self.state(service)? {
                tree.merge(&state).map_err(one)?;
            }
        }
        nacm.prune_read(self.user, tree).map(Seen::Own).map_err(one)
    }

    /// A copy of the part of the configuration that has the resource.
    fn configuration(&self) -> tranche_yang::Result<Tree> {
        if self.resource.kind() == ResourceKind::Datastore {
            return self.published.shown.duplicate();
        }
        let whole = Filter::XPath {
            select: self.resource.path()?,
            namespaces: Vec::new(),
        };
        filter::select(&self.published.shown, Some(&whole))
    }

    fn state(&self, service: &Service) -> Result<Vec<Tree>, Vec<RpcError>> {
        let path = self.resource.path().map_err(|e| vec![e.to_rpc_error()])?;
        let schema = service.schema();
        let parse = |value: Value| {
            Tree::parse(schema, Format::Json, &value.to_string(), Content::State)
                .map_err(rpc_errors)
        };
        let mut trees = Vec::new();
        if is_of(&path, "ietf-restconf-monitoring") {
            trees.push(parse(self.monitoring())?);
        }
        trees.extend(service.state(&path)?);
        Ok(trees)
    }

    /// `ietf-restconf-monitoring` (RFC 8040 9).
    fn monitoring(&self) -> Value {
        let access = |stream: Stream, encoding: Encoding, name: &str| json!({ "encoding": name, "location": format!("{}{}", self.base, stream.path(encoding)) });
        let streams: Vec<Value> = Stream::ALL
            .into_iter()
            .map(|stream| {
                json!({
                    "name": stream.name(),
                    "description": stream.description(),
                    "replay-support": false,
                    "access": [access(stream, Encoding::Json, "json"), access(stream, Encoding::Xml, "xml")],
                })
            })
            .collect();
        json!({
            "ietf-restconf-monitoring:restconf-state": {
                "capabilities": { "capability": CAPABILITIES },
                "streams": { "stream": streams },
            }
        })
    }
}
