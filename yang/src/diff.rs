//! What changed: an ordered list of operations that can be applied, undone, listed and stored.
//!
//! A diff is recorded while a tree is changed in place, so its cost is that of the change and not of the tree. Each
//! operation carries the node it is about inside a copy of its parents (list entries with their keys only), which is
//! how the node is found again, by hash, in any tree that has the same parents.

use std::fmt;

use tranche_netconf::error::ErrorTag;

use crate::context::Schema;
use crate::error::{Error, Result};
use crate::ffi::{Failed, Forest, Kind, Place, Raw, SRaw};
use crate::tree::Tree;

mod net;

use net::Net;
pub(crate) use net::NetChange;
pub use net::{Change, ChangeOp};

/// A node inside a copy of its parents.
pub(crate) struct Located {
    pub(crate) forest: Forest,
    pub(crate) node: Raw,
}

/// Where a user-ordered instance stands, in terms that outlive the tree.
pub(crate) enum Where {
    /// Not user-ordered.
    Natural,
    /// First of its list.
    First,
    /// Right after the instance with these keys (or this value).
    After(Forest),
}

/// One operation on a tree.
pub(crate) enum Op {
    /// The subtree comes into being.
    Create { at: Located, place: Where },
    /// The subtree goes.
    Delete { at: Located, place: Where },
    /// A leaf, leaf-list entry or anydata takes another value or default flag.
    Replace { new: Located, old: Forest },
    /// A user-ordered instance changes places.
    Move { at: Located, from: Where, to: Where },
}

/// A change from one tree to another, applicable in both directions.
///
/// `Debug` shows paths and no values.
pub struct Diff {
    pub(crate) schema: &'static Schema,
    pub(crate) ops: Vec<Op>,
}

impl fmt::Debug for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.changes()).finish()
    }
}

impl Located {
    /// A copy of a node of a tree with copies of its parents.
    pub(crate) fn copy(node: Raw, recursive: bool) -> Result<Self, Failed> {
        let (forest, node) = node.copy_with_parents(recursive)?;
        Ok(Self { forest, node })
    }

    /// A detached node, put into a copy of the parents it had.
    fn under(parent: Option<Raw>, node: Forest) -> Result<Self, Failed> {
        let Some(raw) = node.root else {
            return Err(Failed);
        };
        match parent {
            None => Ok(Self {
                forest: node,
                node: raw,
            }),
            Some(parent) => {
                let (mut forest, parent) = parent.copy_with_parents(false)?;
                node.release();
                forest.insert(Some(parent), raw, Place::Natural)?;
                Ok(Self { forest, node: raw })
            }
        }
    }
}

impl Where {
    fn of(node: Raw) -> Result<Self, Failed> {
        if !node.schema().is_some_and(SRaw::is_user_ordered) {
            return Ok(Self::Natural);
        }
        match node.previous_instance() {
            Some(previous) => Ok(Self::After(previous.copy(false)?)),
            None => Ok(Self::First),
        }
    }

    fn copy(&self) -> Result<Self, Failed> {
        Ok(match self {
            Self::Natural => Self::Natural,
            Self::First => Self::First,
            Self::After(forest) => Self::After(forest.duplicate()?),
        })
    }
}

impl Op {
    fn copy(&self) -> Result<Self, Failed> {
        Ok(match self {
            Self::Create { at, place } => Self::Create {
                at: Located::copy(at.node, true)?,
                place: place.copy()?,
            },
            Self::Delete { at, place } => Self::Delete {
                at: Located::copy(at.node, true)?,
                place: place.copy()?,
            },
            Self::Replace { new, old } => Self::Replace {
                new: Located::copy(new.node, true)?,
                old: old.duplicate()?,
            },
            Self::Move { at, from, to } => Self::Move {
                at: Located::copy(at.node, false)?,
                from: from.copy()?,
                to: to.copy()?,
            },
        })
    }
}

/// The node of `tree` that corresponds to `target`, found through its parents.
pub(crate) fn locate(tree: &Tree, target: Raw) -> Option<Raw> {
    let siblings = match target.parent() {
        None => tree.data.root?,
        Some(parent) => locate(tree, parent)?.first_child()?,
    };
    siblings.same_sibling(target)
}

/// Changes a tree in place and records how to take it back.
pub(crate) struct Recorder<'t> {
    pub(crate) tree: &'t mut Tree,
    pub(crate) ops: Vec<Op>,
}

impl<'t> Recorder<'t> {
    pub(crate) fn new(tree: &'t mut Tree) -> Self {
        Self {
            tree,
            ops: Vec::new(),
        }
    }

    fn oom(&self) -> Error {
        self.tree.internal("recording a change")
    }

    /// First of the nodes below `parent`, or at the top.
    pub(crate) fn siblings(&self, parent: Option<Raw>) -> Option<Raw> {
        match parent {
            Some(parent) => parent.first_child(),
            None => self.tree.data.root,
        }
    }

    /// Inserts a detached subtree.
    pub(crate) fn create(
        &mut self,
        parent: Option<Raw>,
        node: Forest,
        place: Place,
    ) -> Result<Raw> {
        let Some(raw) = self.tree.insert(parent, node, place)? else {
            return Err(self.oom());
        };
        raw.settle();
        let at = Located::copy(raw, true).map_err(|Failed| self.oom())?;
        let place = Where::of(raw).map_err(|Failed| self.oom())?;
        self.ops.push(Op::Create { at, place });
        self.drop_default_entries(raw)?;
        Ok(raw)
    }

    /// Entries that a leaf-list has by default are not there beside one that is set.
    fn drop_default_entries(&mut self, set: Raw) -> Result<()> {
        let Some(schema) = set.schema().filter(|s| s.has_default_entries()) else {
            return Ok(());
        };
        if set.is_default() {
            return Ok(());
        }
        let entries: Vec<Raw> = crate::ffi::Siblings(Some(set.first_instance()))
            .take_while(|n| n.schema() == Some(schema))
            .filter(|n| n.is_default())
            .collect();
        entries.into_iter().try_for_each(|entry| self.delete(entry))
    }

    /// Removes a subtree.
    pub(crate) fn delete(&mut self, node: Raw) -> Result<()> {
        let place = Where::of(node).map_err(|Failed| self.oom())?;
        let parent = node.parent();
        let gone = self.tree.unlink(node)?;
        let at = Located::under(parent, gone).map_err(|Failed| self.oom())?;
        self.ops.push(Op::Delete { at, place });
        Ok(())
    }

    /// Puts another leaf or anydata in the place of this one.
    pub(crate) fn replace(&mut self, node: Raw, new: Forest) -> Result<Raw> {
        let parent = node.parent();
        let place = match node.previous_instance() {
            Some(previous) if node.schema().is_some_and(SRaw::is_user_ordered) => {
                Place::After(previous)
            }
            None if node.schema().is_some_and(SRaw::is_user_ordered) => Place::First,
            _ => Place::Natural,
        };
        let old = self.tree.unlink(node)?;
        let Some(raw) = self.tree.insert(parent, new, place)? else {
            return Err(self.oom());
        };
        raw.settle();
        let new = Located::copy(raw, true).map_err(|Failed| self.oom())?;
        self.ops.push(Op::Replace { new, old });
        self.drop_default_entries(raw)?;
        Ok(raw)
    }

    /// Moves a user-ordered instance.
    pub(crate) fn relocate(&mut self, node: Raw, place: Place) -> Result<()> {
        let already = match place {
            Place::Natural => true,
            Place::First => node.previous_instance().is_none(),
            Place::After(anchor) => anchor == node || node.previous_instance() == Some(anchor),
        };
        if already {
            return Ok(());
        }
        let from = Where::of(node).map_err(|Failed| self.oom())?;
        self.tree
            .data
            .place(node, place)
            .map_err(|Failed| self.oom())?;
        let to = Where::of(node).map_err(|Failed| self.oom())?;
        let at = Located::copy(node, false).map_err(|Failed| self.oom())?;
        self.ops.push(Op::Move { at, from, to });
        Ok(())
    }

    /// Makes what is below `parent` the same as `wanted` (a sibling list of another tree), touching only what differs.
    ///
    /// With `keep_defaults`, defaults that `wanted` does not mention stay.
    pub(crate) fn morph(
        &mut self,
        parent: Option<Raw>,
        wanted: Option<Raw>,
        keep_defaults: bool,
    ) -> Result<()> {
        let current: Vec<Raw> =
            crate::ffi::Siblings(self.siblings(parent).map(Raw::first_sibling)).collect();
        for node in current {
            let is_key = node.schema().is_some_and(SRaw::is_key);
            let stays = is_key
                || keep_defaults && node.is_default()
                || wanted.is_some_and(|w| w.same_sibling(node).is_some());
            if !stays {
                self.delete(node)?;
            }
        }
        let mut previous: Option<Raw> = None;
        for want in crate::ffi::Siblings(wanted.map(Raw::first_sibling)) {
            let Some(schema) = want.schema() else {
                continue;
            };
            if schema.is_key() {
                continue;
            }
            let place = if schema.is_user_ordered() {
                previous
                    .filter(|p| p.schema() == Some(schema))
                    .map_or(Place::First, Place::After)
            } else {
                Place::Natural
            };
            let existing = self.siblings(parent).and_then(|s| s.same_sibling(want));
            let node = match existing {
                None => {
                    let copy = want.copy(true).map_err(|Failed| self.oom())?;
                    self.create(parent, copy, place)?
                }
                Some(node) => {
                    self.relocate(node, place)?;
                    if schema.is_term() || schema.kind() == Kind::Any {
                        self.set(node, want)?
                    } else {
                        self.morph(Some(node), want.first_child(), keep_defaults)?;
                        node
                    }
                }
            };
            previous = Some(node);
        }
        Ok(())
    }

    /// Gives a leaf, leaf-list entry or anydata the value and default flag of `want`, if they differ.
    pub(crate) fn set(&mut self, node: Raw, want: Raw) -> Result<Raw> {
        if node.is_default() == want.is_default() && node.equals(want) {
            return Ok(node);
        }
        let copy = want.copy(true).map_err(|Failed| self.oom())?;
        self.replace(node, copy)
    }

    /// Validates; what validation changes is recorded too, also when it fails.
    pub(crate) fn validate(&mut self) -> Result<(), Vec<Error>> {
        match self.tree.validate_tracked() {
            Ok(diff) => self.absorb(&diff).map_err(|e| vec![e]),
            Err((errors, diff)) => {
                self.absorb(&diff).map_err(|e| vec![e])?;
                Err(errors)
            }
        }
    }

    /// Adds missing defaults, recorded.
    pub(crate) fn add_defaults(&mut self) -> Result<()> {
        let diff = self
            .tree
            .data
            .add_implicit(self.tree.schema.ctx, yang5::ffi::LYD_IMPLICIT_NO_STATE)
            .map_err(|Failed| self.tree.internal("adding defaults"))?;
        self.absorb(&diff)
    }

    /// Records what libyang did by itself, from its diff.
    fn absorb(&mut self, diff: &Forest) -> Result<()> {
        let (mut created, mut deleted) = (Vec::new(), Vec::new());
        for node in diff.top() {
            split(node, None, &mut created, &mut deleted);
        }
        for node in deleted {
            let at = Located::copy(node, true).map_err(|Failed| self.oom())?;
            self.ops.push(Op::Delete {
                at,
                place: Where::Natural,
            });
        }
        for node in created {
            let Some(node) = locate(self.tree, node) else {
                continue;
            };
            node.settle();
            let at = Located::copy(node, true).map_err(|Failed| self.oom())?;
            let place = Where::of(node).map_err(|Failed| self.oom())?;
            self.ops.push(Op::Create { at, place });
        }
        Ok(())
    }

    /// Takes everything back.
    pub(crate) fn rollback(mut self) -> Result<()> {
        let ops = std::mem::take(&mut self.ops);
        for op in ops.iter().rev() {
            op.run(self.tree, Direction::Back)?;
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Diff {
        Diff {
            schema: self.tree.schema,
            ops: self.ops,
        }
    }
}

/// Sorts the nodes of libyang's diff into what came and what went.
fn split(node: Raw, inherited: Option<&str>, created: &mut Vec<Raw>, deleted: &mut Vec<Raw>) {
    let own = node
        .metadata()
        .into_iter()
        .find(|(module, name, _)| module == "yang" && name == "operation")
        .map(|(_, _, value)| value);
    match own.as_deref().or(inherited) {
        Some("create" | "replace") => created.push(node),
        Some("delete") => deleted.push(node),
        other => {
            for child in node.children() {
                split(child, other, created, deleted);
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Forth,
    Back,
}

impl Op {
    fn run(&self, tree: &mut Tree, direction: Direction) -> Result<()> {
        match (self, direction) {
            (Self::Create { at, place }, Direction::Forth)
            | (Self::Delete { at, place }, Direction::Back) => put(tree, at, place),
            (Self::Create { at, .. }, Direction::Back)
            | (Self::Delete { at, .. }, Direction::Forth) => {
                let node = locate(tree, at.node).ok_or_else(|| misfit(at.node))?;
                tree.unlink(node).map(drop)
            }
            (Self::Replace { new, old }, direction) => {
                let node = locate(tree, new.node).ok_or_else(|| misfit(new.node))?;
                let value = match (direction, old.root) {
                    (Direction::Back, Some(old)) => old,
                    (Direction::Back, None) => return Err(misfit(new.node)),
                    (Direction::Forth, _) => new.node,
                };
                let place = if node.schema().is_some_and(SRaw::is_user_ordered) {
                    node.previous_instance().map_or(Place::First, Place::After)
                } else {
                    Place::Natural
                };
                let parent = node.parent();
                let copy = value
                    .copy(true)
                    .map_err(|Failed| tree.internal("copying a node"))?;
                tree.unlink(node)?;
                if let Some(raw) = tree.insert(parent, copy, place)? {
                    raw.settle();
                }
                Ok(())
            }
            (Self::Move { at, from, to }, direction) => {
                let node = locate(tree, at.node).ok_or_else(|| misfit(at.node))?;
                let place = if direction == Direction::Forth {
                    to
                } else {
                    from
                };
                let place = resolve(place, node).ok_or_else(|| misfit(at.node))?;
                tree.data
                    .place(node, place)
                    .map_err(|Failed| tree.internal("moving a list entry"))
            }
        }
    }
}

impl Op {
    /// Marks what the operation left in a tree as validated, which the tree it was recorded on has been.
    pub(crate) fn mark_valid_in(&self, tree: &Tree) {
        let (Self::Create { at, .. } | Self::Replace { new: at, .. }) = self else {
            return;
        };
        if let Some(node) = locate(tree, at.node) {
            node.mark_valid();
        }
    }
}

/// Inserts a copy of the located node into the tree.
fn put(tree: &mut Tree, at: &Located, place: &Where) -> Result<()> {
    let parent = match at.node.parent() {
        None => None,
        Some(parent) => Some(locate(tree, parent).ok_or_else(|| misfit(at.node))?),
    };
    let siblings = match parent {
        Some(parent) => parent.first_child(),
        None => tree.data.root,
    };
    if let Some(existing) = siblings.and_then(|s| s.same_sibling(at.node)) {
        // Only a default may stand where something is to be created.
        if !existing.is_default() {
            return Err(misfit(at.node));
        }
        tree.unlink(existing)?;
    }
    let copy = at
        .node
        .copy(true)
        .map_err(|Failed| tree.internal("copying a node"))?;
    let siblings = match parent {
        Some(parent) => parent.first_child(),
        None => tree.data.root,
    };
    let place = match (place, siblings) {
        (Where::Natural, _) | (_, None) => Place::Natural,
        (place, Some(siblings)) => {
            let first = at
                .node
                .schema()
                .and_then(|schema| siblings.sibling_of(schema));
            match first {
                None => Place::Natural,
                Some(first) => resolve(place, first).ok_or_else(|| misfit(at.node))?,
            }
        }
    };
    if let Some(raw) = tree.insert(parent, copy, place)? {
        raw.settle();
    }
    Ok(())
}

/// A place among the siblings of `near`.
fn resolve(place: &Where, near: Raw) -> Option<Place> {
    match place {
        Where::Natural => Some(Place::Natural),
        Where::First => Some(Place::First),
        Where::After(anchor) => near.same_sibling(anchor.root?).map(Place::After),
    }
}

fn misfit(node: Raw) -> Error {
    Error::new(
        ErrorTag::OperationFailed,
        "the change does not fit this tree",
    )
    .at(node.path())
}

impl Diff {
    /// A diff that changes nothing.
    #[must_use]
    pub fn empty(schema: &'static Schema) -> Self {
        Self {
            schema,
            ops: Vec::new(),
        }
    }

    /// What turns `old` into `new`, defaults included. Costs a copy of `old` and a walk through both.
    ///
    /// # Errors
    /// Trees of different schemas, or out of memory.
    pub fn between(old: &Tree, new: &Tree) -> Result<Self> {
        if old.schema != new.schema {
            return Err(Error::new(
                ErrorTag::OperationFailed,
                "the two trees differ in schema",
            ));
        }
        let mut copy = old.duplicate()?;
        let mut recorder = Recorder::new(&mut copy);
        recorder.morph(None, new.data.root, false)?;
        Ok(recorder.finish())
    }

    /// Whether nothing differs, all things considered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty() || self.changes().is_empty()
    }

    /// Applies it. The tree must be as the old one was wherever the diff touches it.
    ///
    /// # Errors
    /// The tree is another one; then it is left as it was.
    pub fn apply(&self, tree: &mut Tree) -> Result<()> {
        self.run(tree, Direction::Forth)
    }

    /// Takes it back: the tree must be as the new one is.
    ///
    /// # Errors
    /// The tree is another one; then it is left as it was.
    pub fn undo(&self, tree: &mut Tree) -> Result<()> {
        self.run(tree, Direction::Back)
    }

    /// Applies the operations from the `first` on.
    pub(crate) fn apply_from(&self, first: usize, tree: &mut Tree) -> Result<()> {
        self.ops
            .iter()
            .skip(first)
            .try_for_each(|op| op.run(tree, Direction::Forth))
    }

    fn run(&self, tree: &mut Tree, direction: Direction) -> Result<()> {
        let ops: Box<dyn Iterator<Item = &Op>> = match direction {
            Direction::Forth => Box::new(self.ops.iter()),
            Direction::Back => Box::new(self.ops.iter().rev()),
        };
        let back = match direction {
            Direction::Forth => Direction::Back,
            Direction::Back => Direction::Forth,
        };
        let mut done: Vec<&Op> = Vec::new();
        for op in ops {
            if let Err(e) = op.run(tree, direction) {
                for op in done.into_iter().rev() {
                    op.run(tree, back)?;
                }
                return Err(e);
            }
            done.push(op);
        }
        Ok(())
    }

    /// A copy.
    ///
    /// # Errors
    /// Out of memory.
    pub fn copy(&self) -> Result<Self> {
        let ops = self
            .ops
            .iter()
            .map(Op::copy)
            .collect::<Result<Vec<_>, Failed>>()
            .map_err(|Failed| Error::internal(self.schema.ctx, "copying a change"))?;
        Ok(Self {
            schema: self.schema,
            ops,
        })
    }

    /// Appends a later diff: the result does both, one after the other.
    pub fn append(&mut self, later: Self) {
        self.ops.extend(later.ops);
    }

    /// The net changes, node by node: what was created and deleted again is not among them. Parents come before
    /// children. Entries and containers are listed as well as what is in them; containers that exist of themselves
    /// (non-presence, nothing set inside) are not.
    #[must_use]
    pub fn changes(&self) -> Vec<Change> {
        self.fold().finish()
    }

    /// The net changes with their nodes (inside this diff) and whether they were and are defaults.
    pub(crate) fn net(&self) -> Vec<NetChange> {
        self.fold()
            .entries
            .into_iter()
            .filter(|e| e.before != e.after || e.moved)
            .map(|e| NetChange {
                path: e.path,
                node: e.node,
                was: e.before.map(|s| s.is_default),
                is: e.after.map(|s| s.is_default),
            })
            .collect()
    }

    fn fold(&self) -> Net {
        let mut net = Net::default();
        for op in &self.ops {
            match op {
                Op::Create { at, .. } => net.subtree(at.node, &at.node.path(), true),
                Op::Delete { at, .. } => net.subtree(at.node, &at.node.path(), false),
                Op::Replace { new, old } => {
                    let path = new.node.path();
                    if let Some(old) = old.root {
                        net.note(old, &path, false);
                    }
                    net.note(new.node, &path, true);
                }
                Op::Move { at, .. } => net.moved(at.node),
            }
        }
        net
    }
}
