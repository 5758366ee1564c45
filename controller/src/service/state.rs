//! State data, built when it is read.

use std::collections::HashSet;

use tranche_netconf::error::RpcError;
use tranche_yang::{Kind, Schema, SchemaNode, Tree};

use super::Service;

/// The schema nodes that are state or contain state.
pub(super) fn nodes(schema: &'static Schema) -> HashSet<SchemaNode> {
    let mut found = HashSet::new();
    for module in schema.modules().iter().filter(|module| module.implemented) {
        for node in schema.top(&module.name) {
            collect(node, &mut found);
        }
    }
    found
}

fn collect(node: SchemaNode, found: &mut HashSet<SchemaNode>) -> bool {
    if matches!(node.kind(), Kind::Rpc | Kind::Action | Kind::Notification) {
        return false;
    }
    let mut stateful = !node.is_config();
    for child in node.children() {
        stateful |= collect(child, found);
    }
    if stateful {
        found.insert(node);
    }
    stateful
}

impl Service {
    /// State data of the modules that the question concerns.
    ///
    /// # Errors
    /// State that doesn't fit the schema, which is a fault of ours.
    pub fn state(&self, concerns: &dyn Fn(&str) -> bool) -> Result<Vec<Tree>, Vec<RpcError>> {
        let one = |e: tranche_yang::Error| vec![e.to_rpc_error()];
        let mut trees = Vec::new();
        if concerns("ietf-yang-library") {
            trees.push(self.schema.yang_library(&["running", "operational"]).map_err(one)?);
        }
        if concerns("ietf-netconf-acm") {
            let mut counters = Tree::empty(self.schema);
            self.published().nacm.add_state(&mut counters).map_err(one)?;
            trees.push(counters);
        }
        Ok(trees)
    }
}
