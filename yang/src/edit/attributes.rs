//! The attributes of a node of an edit: `operation` (RFC 6241 7.2), and `insert` with `key` or `value` (RFC 7950 7.7.9, 7.8.6).

use tranche_netconf::error::ErrorTag;
use tranche_netconf::message::DefaultOperation;

use crate::error::{Error, Result};
use crate::ffi::{Kind, Raw, SRaw};

/// The attribute `operation`, for edits that this crate writes itself.
pub(crate) const OPERATION: &str = "ietf-netconf:operation";

/// The `operation` of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EditOp {
    Merge,
    Replace,
    Create,
    Delete,
    Remove,
    None,
}

impl EditOp {
    pub(super) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "merge" => Self::Merge,
            "replace" => Self::Replace,
            "create" => Self::Create,
            "delete" => Self::Delete,
            "remove" => Self::Remove,
            "none" => Self::None,
            _ => return None,
        })
    }

    pub(super) fn removes(self) -> bool {
        matches!(self, Self::Delete | Self::Remove)
    }
}

impl From<DefaultOperation> for EditOp {
    fn from(op: DefaultOperation) -> Self {
        match op {
            DefaultOperation::Merge => Self::Merge,
            DefaultOperation::Replace => Self::Replace,
            DefaultOperation::None => Self::None,
        }
    }
}

/// Where `yang:insert` puts an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Insert {
    First,
    Last,
    Before(String),
    After(String),
}

/// What the attributes of a node of an edit say.
#[derive(Debug, Default)]
pub(super) struct Attributes {
    pub(super) op: Option<EditOp>,
    pub(super) insert: Option<Insert>,
}

/// Whether a node of an edit is deleted or removed.
pub(super) fn removes(edit: Raw) -> bool {
    edit.schema().is_none()
        || edit.has_metadata()
            && edit.metadata().iter().any(|(_, name, value)| {
                name == "operation" && (value == "delete" || value == "remove")
            })
}

/// Reads the attributes of a typed node.
pub(super) fn attributes(edit: Raw) -> Result<Attributes> {
    let mut out = Attributes::default();
    let (mut insert, mut key, mut value) = (None, None, None);
    for (module, name, text) in edit.metadata() {
        match (module.as_str(), name.as_str()) {
            ("ietf-netconf", "operation") => {
                out.op = Some(EditOp::parse(&text).ok_or_else(|| {
                    Error::new(
                        ErrorTag::BadAttribute,
                        format!("{text} is not an operation"),
                    )
                    .at(edit.path())
                    .with_info("bad-attribute", "operation")
                })?);
            }
            ("yang", "insert") => insert = Some(text),
            ("yang", "key") => key = Some(text),
            ("yang", "value") => value = Some(text),
            _ => {
                return Err(Error::new(
                    ErrorTag::UnknownAttribute,
                    format!("the attribute {name} means nothing here"),
                )
                .at(edit.path())
                .with_info("bad-attribute", name.clone())
                .with_info("bad-element", edit.schema().map_or("", SRaw::name)));
            }
        }
    }
    let needs = |name: &str| {
        Error::new(
            ErrorTag::MissingAttribute,
            "an insertion before or after needs the key or value of what it goes next to",
        )
        .at(edit.path())
        .with_app_tag("missing-instance")
        .with_info("bad-attribute", name)
    };
    let (wanted, point) = if edit.schema().map(SRaw::kind) == Some(Kind::List) {
        ("key", &key)
    } else {
        ("value", &value)
    };
    let superfluous = |name: &str, why: &str| {
        Err(Error::new(ErrorTag::BadAttribute, why)
            .at(edit.path())
            .with_info("bad-attribute", name)
            .with_info("bad-element", edit.schema().map_or("", SRaw::name)))
    };
    let beside = matches!(insert.as_deref(), Some("before" | "after"));
    for (name, given) in [("key", &key), ("value", &value)] {
        if given.is_some() && !(beside && name == wanted) {
            let why = "key goes with a list, value with a leaf-list, and both with insert before or after";
            return superfluous(name, why);
        }
    }
    if insert.is_some() && out.op.is_some_and(EditOp::removes) {
        return superfluous("insert", "what is deleted has no place to insert at");
    }
    let point = || point.clone().ok_or_else(|| needs(wanted));
    out.insert = match insert.as_deref() {
        None => None,
        Some("first") => Some(Insert::First),
        Some("last") => Some(Insert::Last),
        Some("before") => Some(Insert::Before(point()?)),
        Some("after") => Some(Insert::After(point()?)),
        Some(other) => {
            return Err(Error::new(
                ErrorTag::BadAttribute,
                format!("{other} is not a way to insert"),
            )
            .at(edit.path())
            .with_info("bad-attribute", "insert"));
        }
    };
    Ok(out)
}
