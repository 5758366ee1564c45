//! Operations folded into one net change per node.

use std::collections::HashMap;
use std::fmt;

use crate::ffi::{Kind, Raw, SRaw};

/// What happened to one node, all things considered.
#[derive(Clone, PartialEq, Eq)]
pub enum ChangeOp {
    /// It was not there before.
    Create,
    /// It is not there any more.
    Delete,
    /// It has another value (or the same, but set where it was a default, or the other way round).
    Replace {
        /// The value before.
        old: String,
    },
    /// It stands elsewhere in its user-ordered list.
    Move,
}

/// The net change of one node.
#[derive(Clone, PartialEq, Eq)]
pub struct Change {
    /// Instance path.
    pub path: String,
    /// Schema path: the instance path without key predicates.
    pub schema_path: String,
    /// Module whose namespace the node is in.
    pub module: &'static str,
    /// What it is.
    pub kind: Kind,
    /// What happened.
    pub op: ChangeOp,
    /// Value now, or before for [`ChangeOp::Delete`]; `None` for containers and list entries.
    pub value: Option<String>,
    /// Whether it is now (before, for [`ChangeOp::Delete`]) a default that nobody set.
    pub is_default: bool,
    /// Whether it is the key of a list entry, which comes and goes with that entry.
    pub is_key: bool,
}

impl fmt::Debug for ChangeOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl ChangeOp {
    /// Its name: `create`, `delete`, `replace` or `move`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Delete => "delete",
            Self::Replace { .. } => "replace",
            Self::Move => "move",
        }
    }
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.op.as_str(), self.path)
    }
}

/// A net change for access control.
pub(crate) struct NetChange {
    pub(crate) path: String,
    pub(crate) node: Raw,
    /// Whether it was a default; `None` if it was not there.
    pub(crate) was: Option<bool>,
    /// Whether it is a default; `None` if it is not there.
    pub(crate) is: Option<bool>,
}

/// State of a node before or after.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct State {
    pub(super) value: Option<String>,
    pub(super) is_default: bool,
}

pub(super) struct Entry {
    pub(super) path: String,
    pub(super) node: Raw,
    pub(super) schema: SRaw,
    pub(super) before: Option<State>,
    pub(super) after: Option<State>,
    pub(super) moved: bool,
}

/// Folds operations into one entry per node.
#[derive(Default)]
pub(super) struct Net {
    pub(super) entries: Vec<Entry>,
    by_path: HashMap<String, usize>,
}

impl Net {
    pub(super) fn subtree(&mut self, node: Raw, path: &str, present: bool) {
        self.note(node, path, present);
        for child in node.children() {
            if child.schema().is_some() {
                // Only paths with predicates need libyang; the others are put together here.
                let path = match child.schema().map(SRaw::kind) {
                    Some(Kind::List | Kind::LeafList) => child.path(),
                    _ => child_path(path, node, child),
                };
                self.subtree(child, &path, present);
            }
        }
    }

    pub(super) fn note(&mut self, node: Raw, path: &str, present: bool) {
        let Some(schema) = node.schema() else { return };
        if schema.is_np_container() && node.is_default() {
            return;
        }
        let value = match schema.kind() {
            Kind::Any => node.any_text(),
            _ => node.value().map(str::to_owned),
        };
        let state = State {
            value,
            is_default: node.is_default(),
        };
        let index = *self.by_path.entry(path.to_owned()).or_insert_with(|| {
            self.entries.push(Entry {
                path: path.to_owned(),
                node,
                schema,
                before: (!present).then(|| state.clone()),
                after: None,
                moved: false,
            });
            self.entries.len() - 1
        });
        let entry = &mut self.entries[index];
        entry.node = node;
        entry.after = present.then_some(state);
    }

    pub(super) fn moved(&mut self, node: Raw) {
        let Some(schema) = node.schema() else { return };
        let path = node.path();
        let state = State {
            value: node.value().map(str::to_owned),
            is_default: false,
        };
        let index = *self.by_path.entry(path.clone()).or_insert_with(|| {
            self.entries.push(Entry {
                path,
                node,
                schema,
                before: Some(state.clone()),
                after: Some(state),
                moved: false,
            });
            self.entries.len() - 1
        });
        self.entries[index].moved = true;
    }

    pub(super) fn finish(self) -> Vec<Change> {
        let mut out = Vec::new();
        for e in self.entries {
            let (op, state) = match (e.before, e.after) {
                (None, None) => continue,
                (None, Some(new)) => (ChangeOp::Create, new),
                (Some(old), None) => (ChangeOp::Delete, old),
                (Some(old), Some(new)) if old == new => {
                    if !e.moved {
                        continue;
                    }
                    (ChangeOp::Move, new)
                }
                (Some(old), Some(new)) => {
                    let old = old.value.unwrap_or_default();
                    (ChangeOp::Replace { old }, new)
                }
            };
            out.push(Change {
                schema_path: crate::error::without_predicates(&e.path),
                path: e.path,
                module: e.schema.module(),
                kind: e.schema.kind(),
                op,
                value: state.value,
                is_default: state.is_default,
                is_key: e.schema.is_key(),
            });
        }
        out
    }
}

/// Path of a child that has no predicate of its own.
fn child_path(parent_path: &str, parent: Raw, child: Raw) -> String {
    let (Some(p), Some(c)) = (parent.schema(), child.schema()) else {
        return child.path();
    };
    if p.module() == c.module() {
        format!("{parent_path}/{}", c.name())
    } else {
        format!("{parent_path}/{}:{}", c.module(), c.name())
    }
}
