//! `edit-config` on a tree (RFC 6241 7.2, and what RFC 7950 7 says of each kind of node).
//!
//! An edit is applied in place, node by node, and every step is recorded, so that it can be taken back. Constraints
//! are not checked here: [`crate::Tree::validate`] does that on the result.

mod attributes;
mod parse;

pub(crate) use attributes::OPERATION;
pub use parse::Edit;

use std::collections::HashSet;

use tranche_netconf::error::ErrorTag;
use tranche_netconf::message::{DefaultOperation, ErrorOption};
use tranche_netconf::xml::Fragment;

use self::attributes::{Attributes, EditOp, Insert, attributes, removes};
use self::parse::opaque_schema;
use crate::diff::{Diff, Recorder};
use crate::error::{Error, Result};
use crate::ffi::{Kind, Place, Raw, SRaw, Siblings};
use crate::tree::{Format, Tree};

/// Applies an edit in place. The diff says what changed and can be taken back.
///
/// With [`ErrorOption::ContinueOnError`] every error is reported rather than the first; with any option an edit that
/// has an error changes nothing (RFC 6241 lets a server test before it sets).
///
/// # Errors
/// Unknown nodes and attributes, bad values, `data-exists`, `data-missing`, bad insertion points, two cases of one
/// choice, an operation on a list key: each with its path.
pub fn apply(
    tree: &mut Tree,
    edit: &Fragment,
    default_op: DefaultOperation,
    error_option: ErrorOption,
) -> Result<Diff, Vec<Error>> {
    let edit = Edit::parse(tree.schema, Format::Xml, edit.as_str())?;
    let (recorder, errors) = run(tree, &edit, default_op.into(), error_option);
    if errors.is_empty() {
        return Ok(recorder.finish());
    }
    match recorder.rollback() {
        Ok(()) => Err(errors),
        Err(e) => Err(vec![e]),
    }
}

/// Applies an edit in place and keeps what could be done before (`stop-on-error`) or beside (`continue-on-error`) the
/// errors, as `test-option` `set` asks for; with `rollback-on-error` nothing.
///
/// # Errors
/// An edit that cannot be parsed, or a failed rollback.
pub fn apply_partially(
    tree: &mut Tree,
    edit: &Fragment,
    default_op: DefaultOperation,
    error_option: ErrorOption,
) -> Result<(Diff, Vec<Error>), Vec<Error>> {
    let schema = tree.schema;
    let edit = Edit::parse(schema, Format::Xml, edit.as_str())?;
    let (recorder, errors) = run(tree, &edit, default_op.into(), error_option);
    if errors.is_empty() || error_option != ErrorOption::RollbackOnError {
        return Ok((recorder.finish(), errors));
    }
    recorder.rollback().map_err(|e| vec![e])?;
    Ok((Diff::empty(schema), errors))
}

/// Applies a parsed edit; the errors say whether it is complete.
pub(crate) fn run<'t>(
    tree: &'t mut Tree,
    edit: &Edit,
    default_op: EditOp,
    error_option: ErrorOption,
) -> (Recorder<'t>, Vec<Error>) {
    let mut editor = Editor {
        recorder: Recorder::new(tree),
        errors: Vec::new(),
        go_on: error_option == ErrorOption::ContinueOnError,
    };
    let required = edit
        .required
        .iter()
        .find(|path| !editor.recorder.tree.exists(path));
    if let Some(path) = required {
        editor.errors.push(missing(path.clone()));
        return (editor.recorder, editor.errors);
    }
    twins(Siblings(edit.data.root), &mut editor.errors);
    if !editor.errors.is_empty() {
        return (editor.recorder, editor.errors);
    }
    let default_op = edit.root.unwrap_or(default_op);
    // `Stop` only says that `errors` has the reason.
    let _stopped = editor.children(edit.data.root, None, default_op).is_err();
    (editor.recorder, editor.errors)
}

/// The walk ended early; the reason is among the errors.
struct Stop;

struct Editor<'t> {
    recorder: Recorder<'t>,
    errors: Vec<Error>,
    go_on: bool,
}

impl Editor<'_> {
    fn fail(&mut self, error: Error) -> Result<(), Stop> {
        self.errors.push(error);
        if self.go_on { Ok(()) } else { Err(Stop) }
    }

    fn must<T>(&mut self, result: Result<T>) -> Result<T, Stop> {
        result.map_err(|e| {
            self.errors.push(e);
            Stop
        })
    }

    /// Applies sibling nodes of the edit below `parent`. `op` is what their parent does.
    fn children(
        &mut self,
        edits: Option<Raw>,
        parent: Option<Raw>,
        op: EditOp,
    ) -> Result<(), Stop> {
        let edits: Vec<Raw> = Siblings(edits).collect();
        if op == EditOp::Replace {
            self.remove_unmentioned(&edits, parent)?;
        }
        // What goes, goes first: otherwise a new case of a choice would remove what the same edit deletes.
        let (first, then): (Vec<Raw>, Vec<Raw>) = edits.iter().partition(|edit| removes(**edit));
        for edit in first.into_iter().chain(then) {
            if edit.schema().is_some_and(SRaw::is_key) {
                self.refuse_key_operation(edit)?;
            } else if edit.schema().is_none() {
                self.opaque(edit, parent)?;
            } else {
                self.node(edit, parent, op)?;
            }
        }
        if op == EditOp::Replace {
            self.reorder(&edits, parent)?;
        }
        Ok(())
    }

    /// For `replace`: whatever is set below `parent` and not in the edit goes.
    fn remove_unmentioned(&mut self, edits: &[Raw], parent: Option<Raw>) -> Result<(), Stop> {
        let first = edits.first().copied();
        for node in Siblings(self.recorder.siblings(parent)).collect::<Vec<_>>() {
            let mentioned = node.schema().is_some_and(SRaw::is_key)
                || node.is_default()
                || first.is_some_and(|f| f.same_sibling(node).is_some())
                || edits
                    .iter()
                    .any(|e| e.schema().is_none() && same_name(*e, node));
            if !mentioned {
                let deleted = self.recorder.delete(node);
                self.must(deleted)?;
            }
        }
        Ok(())
    }

    /// For `replace`: user-ordered entries take the order of the edit, unless they say where they go.
    fn reorder(&mut self, edits: &[Raw], parent: Option<Raw>) -> Result<(), Stop> {
        let mut previous: Option<Raw> = None;
        for &edit in edits {
            let Some(schema) = edit.schema().filter(|s| s.is_user_ordered()) else {
                continue;
            };
            if attributes(edit).is_ok_and(|a| a.insert.is_some()) {
                continue;
            }
            let found = self
                .recorder
                .siblings(parent)
                .and_then(|s| s.same_sibling(edit));
            let Some(node) = found else { continue };
            let place = previous
                .filter(|p| p.schema() == Some(schema))
                .map_or(Place::First, Place::After);
            let moved = self.recorder.relocate(node, place);
            self.must(moved)?;
            previous = Some(node);
        }
        Ok(())
    }

    fn refuse_key_operation(&mut self, key: Raw) -> Result<(), Stop> {
        if key.metadata().is_empty() {
            return Ok(());
        }
        let name = key.schema().map_or("", SRaw::name);
        self.fail(
            Error::new(
                ErrorTag::BadAttribute,
                format!("the key {name} can't have attributes: they belong on its list entry"),
            )
            .at(key.path())
            .with_info("bad-attribute", "operation")
            .with_info("bad-element", name),
        )
    }

    /// A delete of a leaf without its value.
    fn opaque(&mut self, edit: Raw, parent: Option<Raw>) -> Result<(), Stop> {
        let Some(schema) = opaque_schema(self.recorder.tree.schema, edit) else {
            return Ok(());
        };
        let node = self
            .recorder
            .siblings(parent)
            .and_then(|siblings| siblings.sibling_of(schema))
            .filter(|node| !node.is_default());
        match node {
            Some(node) => {
                let deleted = self.recorder.delete(node);
                self.must(deleted)
            }
            None if edit.opaque_attributes().iter().any(|(_, v)| v == "delete") => {
                let module = schema.module();
                let same = |parent: Raw| parent.schema().is_some_and(|p| p.module() == module);
                let prefix = if parent.is_some_and(same) {
                    String::new()
                } else {
                    format!("{module}:")
                };
                let parent = parent.map(Raw::path).unwrap_or_default();
                self.fail(missing(format!("{parent}/{prefix}{}", schema.name())))
            }
            None => Ok(()),
        }
    }

    fn node(&mut self, edit: Raw, parent: Option<Raw>, inherited: EditOp) -> Result<(), Stop> {
        let Some(schema) = edit.schema() else {
            return Ok(());
        };
        let attributes = match attributes(edit) {
            Ok(attributes) => attributes,
            Err(e) => return self.fail(e),
        };
        let op = attributes.op.unwrap_or(inherited);
        let existing = self
            .recorder
            .siblings(parent)
            .and_then(|s| s.same_sibling(edit));
        let set = existing.filter(|n| !n.is_default());
        if op.removes() {
            return match set {
                Some(node) => {
                    let deleted = self.recorder.delete(node);
                    self.must(deleted)
                }
                None if op == EditOp::Delete => self.fail(missing(edit.path())),
                None => Ok(()),
            };
        }
        if schema.is_term() && edit.is_default() && !edit.has_default_value() {
            return self.fail(
                Error::new(
                    ErrorTag::InvalidValue,
                    "what is marked as default is not the default",
                )
                .at(edit.path()),
            );
        }
        if let Err(e) = self.check_cases(edit, schema, op) {
            return self.fail(e);
        }
        if op == EditOp::Create && set.is_some() {
            return self.fail(
                Error::new(ErrorTag::DataExists, "the data to create exists already")
                    .at(edit.path()),
            );
        }
        if op == EditOp::None {
            return self.pass_through(edit, schema, parent, existing);
        }
        let place = match self.place(edit, schema, parent, &attributes) {
            Ok(place) => place,
            Err(e) => return self.fail(e),
        };
        match existing {
            None => self.create(edit, schema, parent, op, place),
            Some(node) => {
                if let Some(place) = place {
                    let moved = self.recorder.relocate(node, place);
                    self.must(moved)?;
                }
                if schema.is_term() || schema.kind() == Kind::Any {
                    let set = self.recorder.set(node, edit);
                    self.must(set)?;
                    return Ok(());
                }
                if op == EditOp::Replace && is_plain(edit) {
                    let morphed = self.recorder.morph(Some(node), edit.first_child(), true);
                    return self.must(morphed);
                }
                self.children(edit.first_child(), Some(node), op)
            }
        }
    }

    /// Creates what is not there, with what is inside.
    fn create(
        &mut self,
        edit: Raw,
        schema: SRaw,
        parent: Option<Raw>,
        op: EditOp,
        place: Option<Place>,
    ) -> Result<(), Stop> {
        self.clear_other_cases(schema, parent)?;
        let whole = is_plain(edit);
        let Ok(copy) = edit.copy(whole) else {
            let e = self.recorder.tree.internal("copying a node");
            return self.must(Err(e));
        };
        let created = self
            .recorder
            .create(parent, copy, place.unwrap_or(Place::Natural));
        let node = self.must(created)?;
        if whole {
            return Ok(());
        }
        self.children(edit.first_child(), Some(node), op)
    }

    /// `none`: only what is inside counts, and it must be there to get in.
    fn pass_through(
        &mut self,
        edit: Raw,
        schema: SRaw,
        parent: Option<Raw>,
        existing: Option<Raw>,
    ) -> Result<(), Stop> {
        if schema.is_term() || schema.kind() == Kind::Any {
            return Ok(());
        }
        match existing {
            Some(node) => self.children(edit.first_child(), Some(node), EditOp::None),
            // A non-presence container exists of itself.
            None if schema.is_np_container() => {
                let Ok(copy) = edit.copy(false) else {
                    let e = self.recorder.tree.internal("copying a node");
                    return self.must(Err(e));
                };
                let created = self.recorder.create(parent, copy, Place::Natural);
                let node = self.must(created)?;
                self.children(edit.first_child(), Some(node), EditOp::None)
            }
            None => self.fail(missing(edit.path())),
        }
    }

    /// Two cases of one choice in one edit (RFC 7950 8.3.1).
    fn check_cases(&self, edit: Raw, schema: SRaw, op: EditOp) -> Result<()> {
        let cases = cases(schema);
        if cases.is_empty() || op == EditOp::None {
            return Ok(());
        }
        for other in Siblings(Some(edit.first_sibling())) {
            if other == edit {
                break;
            }
            let Some(other_schema) = other.schema() else {
                continue;
            };
            // Entries of one list are in one case: nothing to look for.
            if other_schema == schema {
                continue;
            }
            let other_op = attributes(other).ok().and_then(|a| a.op);
            if other_op.is_some_and(EditOp::removes) {
                continue;
            }
            if conflict(&cases, other_schema) {
                return Err(Error::new(
                    ErrorTag::BadElement,
                    format!(
                        "{} and {} are alternatives: only one of them can be set",
                        other_schema.name(),
                        schema.name()
                    ),
                )
                .at(edit.path())
                .with_info("bad-element", schema.name()));
            }
        }
        Ok(())
    }

    /// A new case removes the other (RFC 7950 7.9).
    fn clear_other_cases(&mut self, schema: SRaw, parent: Option<Raw>) -> Result<(), Stop> {
        let cases = cases(schema);
        if cases.is_empty() {
            return Ok(());
        }
        for node in Siblings(self.recorder.siblings(parent)).collect::<Vec<_>>() {
            if node.schema().is_some_and(|s| conflict(&cases, s)) {
                let deleted = self.recorder.delete(node);
                self.must(deleted)?;
            }
        }
        Ok(())
    }

    /// Where a user-ordered instance is asked to go.
    fn place(
        &self,
        edit: Raw,
        schema: SRaw,
        parent: Option<Raw>,
        attributes: &Attributes,
    ) -> Result<Option<Place>> {
        let Some(insert) = &attributes.insert else {
            return Ok(None);
        };
        if !schema.is_user_ordered() {
            return Err(Error::new(
                ErrorTag::BadAttribute,
                format!(
                    "{} is not ordered by the user: it has no place to insert at",
                    schema.name()
                ),
            )
            .at(edit.path())
            .with_info("bad-attribute", "insert")
            .with_info("bad-element", schema.name()));
        }
        let siblings = self.recorder.siblings(parent);
        let anchor = |point: &str| {
            siblings
                .and_then(|s| s.instance(schema, point))
                .ok_or_else(|| {
                    Error::new(
                        ErrorTag::BadAttribute,
                        format!("there is no {} {point} to insert at", schema.name()),
                    )
                    .at(edit.path())
                    .with_app_tag("missing-instance")
                    .with_info(
                        "bad-attribute",
                        if schema.kind() == Kind::List {
                            "key"
                        } else {
                            "value"
                        },
                    )
                    .with_info("bad-element", schema.name())
                })
        };
        let moving = siblings.and_then(|s| s.same_sibling(edit));
        let before = |node: Raw| {
            // Right before a node is after its predecessor, the moving node itself not counted.
            let mut previous = node.previous_instance();
            if previous.is_some() && previous == moving {
                previous = previous.and_then(Raw::previous_instance);
            }
            previous.map_or(Place::First, Place::After)
        };
        Ok(Some(match insert {
            Insert::First => Place::First,
            Insert::Last => {
                let last = siblings.and_then(|s| s.sibling_of(schema)).map(|first| {
                    Siblings(Some(first))
                        .take_while(|n| n.schema() == Some(schema))
                        .filter(|n| Some(*n) != moving)
                        .last()
                });
                last.flatten().map_or(Place::Natural, Place::After)
            }
            Insert::After(point) => Place::After(anchor(point)?),
            Insert::Before(point) => {
                let anchor = anchor(point)?;
                if Some(anchor) == moving {
                    return Ok(None);
                }
                before(anchor)
            }
        }))
    }
}

/// Finds entries with the same keys in one edit: which of them would be meant? One that goes and one that comes are no twins.
fn twins(edits: Siblings, errors: &mut Vec<Error>) {
    let mut entries = HashSet::new();
    for edit in edits {
        twins(edit.children(), errors);
        let list = edit
            .schema()
            .filter(|s| s.kind() == Kind::List && !s.keys().is_empty());
        let Some(schema) = list.filter(|_| !removes(edit)) else {
            continue;
        };
        if !entries.insert(edit.path()) {
            let name = schema.name();
            let message = format!("{name}: two entries have the same keys");
            let error = Error::new(ErrorTag::BadElement, message);
            errors.push(error.at(edit.path()).with_info("bad-element", name));
        }
    }
}

fn missing(path: String) -> Error {
    Error::new(ErrorTag::DataMissing, "the data does not exist").at(path)
}

fn same_name(opaque: Raw, node: Raw) -> bool {
    let (Some(name), Some(schema)) = (opaque.opaque_name(), node.schema()) else {
        return false;
    };
    name.name == schema.name()
        && (name.module == schema.namespace() || name.module == schema.module())
}

/// The (choice, case) pairs between a node and its parent in the data.
fn cases(schema: SRaw) -> Vec<(SRaw, SRaw)> {
    let mut out = Vec::new();
    let mut node = schema.parent();
    while let Some(case) = node.filter(|n| matches!(n.kind(), Kind::Case | Kind::Choice)) {
        if case.kind() == Kind::Case
            && let Some(choice) = case.parent()
        {
            out.push((choice, case));
        }
        node = case.parent();
    }
    out
}

/// Whether a node is in another case of one of these choices.
fn conflict(mine: &[(SRaw, SRaw)], other: SRaw) -> bool {
    cases(other)
        .iter()
        .any(|(choice, case)| mine.iter().any(|(c, k)| c == choice && k != case))
}

/// Whether nothing inside the node has attributes, is marked as default or is opaque, so that it can be copied whole.
fn is_plain(edit: Raw) -> bool {
    edit.children().all(|child| {
        child
            .schema()
            .is_some_and(|s| !s.is_term() || !child.is_default())
            && !child.has_metadata()
            && is_plain(child)
    })
}
