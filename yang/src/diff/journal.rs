//! A diff as text, for a journal on disk: one JSON array of operations, each with its data as libyang prints it.

use serde_json::{Map, Value, json};
use tranche_netconf::error::ErrorTag;
use yang5::ffi as ly;

use super::{Diff, Located, Op, Where};
use crate::context::Schema;
use crate::error::{Error, Phase, Result, collect};
use crate::ffi::{Failed, Forest, SRaw};

impl Diff {
    /// As text that [`Self::parse`] reads, in this process or a later one with the same modules. Secrets are in it.
    ///
    /// # Errors
    /// Out of memory.
    pub fn print(&self) -> Result<String> {
        let ops = self
            .ops
            .iter()
            .map(|op| self.print_op(op))
            .collect::<Result<Vec<_>>>()?;
        Ok(Value::Array(ops).to_string())
    }

    fn print_op(&self, op: &Op) -> Result<Value> {
        let mut out = Map::new();
        let mut places = |at: &Located, named: &[(&str, &Where)]| -> Result<()> {
            for (name, place) in named {
                match place {
                    Where::Natural => {}
                    Where::First => {
                        out.insert((*name).into(), json!("first"));
                    }
                    Where::After(anchor) => {
                        let anchor = self.print_detached(at, anchor)?;
                        out.insert((*name).into(), json!({ "after": anchor }));
                    }
                }
            }
            Ok(())
        };
        let (name, at) = match op {
            Op::Create { at, place } => {
                places(at, &[("place", place)])?;
                ("create", at)
            }
            Op::Delete { at, place } => {
                places(at, &[("place", place)])?;
                ("delete", at)
            }
            Op::Move { at, from, to } => {
                places(at, &[("from", from), ("to", to)])?;
                ("move", at)
            }
            Op::Replace { new, old } => {
                let old = self.print_detached(new, old)?;
                out.insert("old".into(), json!(old));
                ("replace", new)
            }
        };
        let depth = std::iter::successors(at.node.parent(), |n| n.parent()).count();
        out.insert("op".into(), json!(name));
        out.insert("depth".into(), json!(depth));
        out.insert("data".into(), json!(self.print_forest(&at.forest)?));
        Ok(Value::Object(out))
    }

    /// A sibling of a located node, printed inside the same parents.
    fn print_detached(&self, at: &Located, node: &Forest) -> Result<String> {
        let whole = node
            .duplicate()
            .and_then(|copy| Located::under(at.node.parent(), copy))
            .map_err(|Failed| Error::internal(self.schema.ctx, "printing a change"))?;
        self.print_forest(&whole.forest)
    }

    fn print_forest(&self, forest: &Forest) -> Result<String> {
        let flags = ly::LYD_PRINT_SHRINK | ly::LYD_PRINT_WD_IMPL_TAG | ly::LYD_PRINT_EMPTY_CONT;
        let internal = || Error::internal(self.schema.ctx, "printing a change");
        let root = forest.root.ok_or_else(internal)?;
        root.print(ly::LYD_FORMAT::LYD_XML, flags)
            .map_err(|Failed| internal())
    }

    /// Reads what [`Self::print`] wrote.
    ///
    /// # Errors
    /// Text that is not a journal of this schema.
    pub fn parse(schema: &'static Schema, text: &str) -> Result<Self> {
        let bad = |e: String| Error::new(ErrorTag::MalformedMessage, format!("not a journal: {e}"));
        let values: Vec<Value> = serde_json::from_str(text).map_err(|e| bad(e.to_string()))?;
        let ops = values
            .iter()
            .map(|value| {
                parse_op(schema, value)
                    .and_then(|op| op.ok_or_else(|| bad("an operation is incomplete".into())))
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Self { schema, ops })
    }
}

fn parse_op(schema: &'static Schema, value: &Value) -> Result<Option<Op>> {
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    let (Some(op), Some(data)) = (text("op"), text("data")) else {
        return Ok(None);
    };
    let Some(depth) = value.get("depth").and_then(Value::as_u64) else {
        return Ok(None);
    };
    let Some(at) = parse_located(schema, data, depth)? else {
        return Ok(None);
    };
    let place = |name: &str| -> Result<Option<Where>> {
        match value.get(name) {
            None => Ok(Some(Where::Natural)),
            Some(Value::String(_)) => Ok(Some(Where::First)),
            Some(other) => {
                let anchor = other
                    .get("after")
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                Ok(parse_detached(schema, anchor, depth)?.map(Where::After))
            }
        }
    };
    Ok(match op {
        "create" => place("place")?.map(|place| Op::Create { at, place }),
        "delete" => place("place")?.map(|place| Op::Delete { at, place }),
        "move" => match (place("from")?, place("to")?) {
            (Some(from), Some(to)) => Some(Op::Move { at, from, to }),
            _ => None,
        },
        "replace" => match text("old") {
            Some(old) => {
                parse_detached(schema, old, depth)?.map(|old| Op::Replace { new: at, old })
            }
            None => None,
        },
        _ => None,
    })
}

/// Parses a tree and finds the node that many levels down.
fn parse_located(schema: &'static Schema, text: &str, depth: u64) -> Result<Option<Located>> {
    let options = ly::LYD_PARSE_ONLY | ly::LYD_PARSE_STRICT | ly::LYD_PARSE_NO_NEW;
    let forest = schema
        .ctx
        .parse(ly::LYD_FORMAT::LYD_XML, text, options, 0)
        .map_err(|Failed| collect(schema.ctx, Phase::Parse).swap_remove(0))?;
    let mut node = forest.root;
    for _ in 0..depth {
        node = node.and_then(|n| n.children().find(|c| !c.schema().is_some_and(SRaw::is_key)));
    }
    let Some(node) = node else { return Ok(None) };
    node.mark_valid();
    node.settle();
    Ok(Some(Located { forest, node }))
}

fn parse_detached(schema: &'static Schema, text: &str, depth: u64) -> Result<Option<Forest>> {
    let Some(mut located) = parse_located(schema, text, depth)? else {
        return Ok(None);
    };
    located
        .forest
        .unlink(located.node)
        .map(Some)
        .map_err(|Failed| Error::internal(schema.ctx, "reading a journal"))
}
