//! Leaves that can be written and are in no reply, whoever asks (extension `write-only` of `tranche-backhaul`).
//!
//! Access control cannot say that: a rule that permits everything permits secrets too (RFC 8341).

use std::sync::Arc;

use crate::context::Schema;
use crate::error::Result;
use crate::ffi::SRaw;
use crate::tree::Tree;

const MODULE: &str = "tranche-backhaul";
const EXTENSION: &str = "write-only";

impl Schema {
    /// Schema paths of the leaves that are in no reply.
    #[must_use]
    pub fn write_only(&self) -> &[String] {
        self.write_only.get_or_init(|| {
            let modules = self.modules().iter();
            let tops = modules.flat_map(|module| self.ctx.top_nodes(&module.name));
            tops.flat_map(marked_below).collect()
        })
    }
}

fn marked_below(node: SRaw) -> Vec<String> {
    if node.has_extension(MODULE, EXTENSION) {
        return vec![node.path()];
    }
    node.children().into_iter().flat_map(marked_below).collect()
}

/// The tree without the leaves that are in no reply: the same one if it has none.
///
/// # Errors
/// Out of memory.
pub fn shown(tree: Arc<Tree>) -> Result<Arc<Tree>> {
    let schema = tree.schema();
    let mut hidden = Vec::new();
    for path in schema.write_only() {
        if tree.count(path)? > 0 {
            hidden.push(path);
        }
    }
    if hidden.is_empty() {
        return Ok(tree);
    }
    let mut copy = tree.duplicate()?;
    for path in hidden {
        copy.remove(path)?;
    }
    Ok(Arc::new(copy))
}
