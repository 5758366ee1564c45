//! Diffs as bytes, for a journal on disk: what a diff did to explicit data, to be done again on a tree read from disk.
//!
//! Defaults are left out on both sides, so that a journal outlives a schema whose defaults change; validation adds them
//! again once everything is replayed. A record is self-contained and is applied whatever the tree lacks or has already:
//! replaying the same journal twice gives the same tree.
//!
//! ```text
//! m <xml>                    merge this (creations and values, neighbouring ones together)
//! d <path>                   remove this, if it is there
//! o <path> <anchor or "">    put this user-ordered instance right after the anchor, or first
//! ```
//! Each field is its length in four bytes, big-endian, and its text.

use tranche_netconf::error::ErrorTag;
use tranche_netconf::message::WithDefaults;

use crate::diff::{Diff, Op, Where};
use crate::error::{Error, Result};
use crate::ffi::{Failed, Forest, Kind, Place, Raw};
use crate::path;
use crate::tree::{Content, Format, PrintOptions, Tree};

const MERGE: u8 = b'm';
const DELETE: u8 = b'd';
const ORDER: u8 = b'o';

impl Diff {
    /// This diff for a journal; read back by [`Tree::replay`].
    ///
    /// # Errors
    /// Out of memory.
    pub fn to_journal(&self) -> Result<Vec<u8>> {
        let mut out = Writer {
            bytes: Vec::new(),
            merge: Tree::empty(self.schema),
        };
        for op in &self.ops {
            match op {
                Op::Create { at, .. } | Op::Replace { new: at, .. } if at.node.is_default() => {
                    out.remove(at.node);
                }
                Op::Create { at, place } => {
                    out.merge(&at.forest)?;
                    out.order(at.node, place);
                }
                Op::Replace { new, .. } => out.merge(&new.forest)?,
                Op::Delete { at, .. } => {
                    if !at.node.is_default() {
                        out.remove(at.node);
                    }
                }
                Op::Move { at, to, .. } => out.order(at.node, to),
            }
        }
        out.flush();
        Ok(out.bytes)
    }
}

struct Writer {
    bytes: Vec<u8>,
    /// Creations and values since the last other record.
    merge: Tree,
}

impl Writer {
    fn merge(&mut self, forest: &Forest) -> Result<()> {
        let merged = self.merge.data.merge(forest);
        merged.map_err(|Failed| self.merge.internal("writing a change down"))
    }

    fn remove(&mut self, node: Raw) {
        self.flush();
        self.bytes.push(DELETE);
        self.field(&xpath(node));
    }

    fn order(&mut self, node: Raw, place: &Where) {
        let anchor = match place {
            Where::Natural => return,
            Where::First => String::new(),
            Where::After(anchor) => {
                let parent = node.parent().map(xpath).unwrap_or_default();
                anchor
                    .root
                    .map(step)
                    .map_or(parent.clone(), |own| parent + &own)
            }
        };
        self.flush();
        self.bytes.push(ORDER);
        self.field(&xpath(node));
        self.field(&anchor);
    }

    fn flush(&mut self) {
        let options = PrintOptions {
            with_defaults: WithDefaults::Explicit,
            pretty: false,
        };
        let xml = self.merge.print(Format::Xml, options);
        if !xml.is_empty() {
            self.merge = Tree::empty(self.merge.schema);
            self.bytes.push(MERGE);
            self.field(&xml);
        }
    }

    fn field(&mut self, text: &str) {
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(text.as_bytes());
    }
}

/// The node by an XPath that selects it alone, whatever quotes its keys hold: the paths that libyang makes do not.
fn xpath(node: Raw) -> String {
    let parent = node.parent().map(xpath).unwrap_or_default();
    parent + &step(node)
}

/// The last step of [`xpath`].
fn step(node: Raw) -> String {
    let Some(schema) = node.schema() else {
        return String::new();
    };
    let mut out = format!("/{}:{}", schema.module(), schema.name());
    let value = |node: Raw| path::literal(node.value().unwrap_or_default());
    if schema.kind() == Kind::LeafList {
        out.push_str(&format!("[.={}]", value(node)));
    }
    for key in node.children() {
        if let Some(schema) = key.schema().filter(|s| s.is_key()) {
            out.push_str(&format!("[{}={}]", schema.name(), value(key)));
        }
    }
    out
}

impl Tree {
    /// Does again what [`Diff::to_journal`] wrote down. The result is not validated and lacks defaults: validate once
    /// everything is replayed.
    ///
    /// # Errors
    /// Bytes that are no such journal, or data that does not fit the schema (any more); the tree may then be anything.
    pub fn replay(&mut self, journal: &[u8]) -> Result<(), Vec<Error>> {
        let mut reader = Reader { rest: journal };
        while let Some((kind, rest)) = reader.rest.split_first() {
            reader.rest = rest;
            match *kind {
                MERGE => {
                    let xml = reader.field()?;
                    let part =
                        Self::parse(self.schema, Format::Xml, xml, Content::ConfigUnvalidated)?;
                    self.merge(&part).map_err(|e| vec![e])?;
                }
                DELETE => {
                    self.remove(reader.field()?).map_err(|e| vec![e])?;
                }
                ORDER => {
                    let (node, anchor) = (reader.field()?, reader.field()?);
                    self.put_in_order(node, anchor).map_err(|e| vec![e])?;
                }
                _ => return Err(vec![damaged()]),
            }
        }
        Ok(())
    }

    fn put_in_order(&mut self, node: &str, anchor: &str) -> Result<()> {
        let Some(node) = self.find_raw(node)?.first().copied() else {
            return Ok(());
        };
        let place = if anchor.is_empty() {
            Place::First
        } else {
            match self.find_raw(anchor)?.first() {
                Some(anchor) if *anchor != node => Place::After(*anchor),
                _ => return Ok(()),
            }
        };
        let placed = self.data.place(node, place);
        placed.map_err(|Failed| self.internal("putting a list in order"))
    }
}

struct Reader<'j> {
    rest: &'j [u8],
}

impl<'j> Reader<'j> {
    fn field(&mut self) -> Result<&'j str, Vec<Error>> {
        let damaged = || vec![damaged()];
        let (length, rest) = self.rest.split_first_chunk::<4>().ok_or_else(damaged)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| damaged())?;
        let (text, rest) = rest.split_at_checked(length).ok_or_else(damaged)?;
        self.rest = rest;
        std::str::from_utf8(text).map_err(|_| damaged())
    }
}

fn damaged() -> Error {
    Error::new(ErrorTag::OperationFailed, "the journal is damaged")
}

#[cfg(test)]
mod tests {
    use tranche_netconf::message::{
        Datastore, DefaultOperation, EditConfig, ErrorOption, TestOption,
    };
    use tranche_netconf::xml::Fragment;

    use super::*;
    use crate::{Datastores, Schema};

    fn schema() -> &'static Schema {
        Schema::builder()
            .module("ietf-netconf", &[])
            .module("ietf-netconf-acm", &[])
            .module("tranche-wifi", &[])
            .module("tranche-sim", &[])
            .build()
            .unwrap()
    }

    /// Applies edits to running, journals each, and replays all on an empty tree.
    fn check(edits: &[&str]) {
        let schema = schema();
        let mut datastores = Datastores::new(schema, Tree::empty(schema), None).unwrap();
        let mut replayed = Tree::empty(schema);
        for edit in edits {
            let request = EditConfig {
                target: Datastore::Running,
                default_operation: DefaultOperation::Merge,
                test_option: TestOption::TestThenSet,
                error_option: ErrorOption::RollbackOnError,
                config: Fragment::parse(edit).unwrap(),
            };
            let proposal = datastores.propose_edit(1, &request).unwrap();
            let journal = proposal.diff().to_journal().unwrap();
            datastores.accept(proposal).unwrap();
            replayed.replay(&journal).unwrap();
            replayed.replay(&journal).unwrap();
        }
        replayed.validate().unwrap();
        let print = |tree: &Tree| {
            let options = PrintOptions {
                with_defaults: WithDefaults::ReportAllTagged,
                pretty: true,
            };
            tree.print(Format::Xml, options)
        };
        assert_eq!(print(&replayed), print(&datastores.running()));
    }

    const WIFI: &str = "xmlns=\"urn:tranche:yang:tranche-wifi\" \
                        xmlns:nc=\"urn:ietf:params:xml:ns:netconf:base:1.0\"";

    #[test]
    fn a_replayed_journal_gives_the_same_tree() {
        check(&[
            &format!(
                "<wifi {WIFI}><country>DE</country><radio><name>phy0</name><band>5GHz</band>\
                 <channel>36</channel></radio></wifi>"
            ),
            &format!(
                "<wifi {WIFI}><vif><name>a</name><radio>phy0</radio><mesh-point>\
                 <mesh-id>m</mesh-id></mesh-point></vif></wifi>"
            ),
            // A default made explicit, an explicit value back to its default, another case of a choice.
            &format!(
                "<wifi {WIFI}><country nc:operation=\"delete\"/><vif><name>a</name>\
                 <enabled>true</enabled><access-point><ssid>x</ssid><security><mode>open</mode>\
                 </security></access-point></vif></wifi>"
            ),
            &format!(
                "<wifi {WIFI}><vif nc:operation=\"delete\"><name>a</name></vif>\
                 <radio><name>phy0</name><channel>40</channel></radio></wifi>"
            ),
        ]);
    }

    #[test]
    fn a_user_ordered_list_keeps_its_order() {
        let acm = "xmlns=\"urn:ietf:params:xml:ns:yang:ietf-netconf-acm\" \
                   xmlns:yang=\"urn:ietf:params:xml:ns:yang:1\"";
        let list = |name: &str, insert: &str| {
            format!(
                "<nacm {acm}><rule-list {insert}><name>{name}</name><group>*</group></rule-list>\
                 </nacm>"
            )
        };
        check(&[
            &list("b", ""),
            &list("a", "yang:insert=\"first\""),
            &list("d", ""),
            &list("c", "yang:insert=\"after\" yang:key=\"[name='b']\""),
            &list("d", "yang:insert=\"first\""),
        ]);
    }

    #[test]
    fn no_key_makes_a_journal_touch_other_data() {
        let acm = "xmlns=\"urn:ietf:params:xml:ns:yang:ietf-netconf-acm\" \
                   xmlns:nc=\"urn:ietf:params:xml:ns:netconf:base:1.0\" \
                   xmlns:yang=\"urn:ietf:params:xml:ns:yang:1\"";
        let list = |name: &str, attribute: &str| {
            format!("<nacm {acm}><rule-list {attribute}><name>{name}</name></rule-list></nacm>")
        };
        // As a path in quotes of one kind it would select every rule-list.
        let evil = "it's&quot;] | /ietf-netconf-acm:nacm/rule-list[name != &quot;";
        check(&[
            &list("a", ""),
            &list("b", ""),
            &list(evil, ""),
            &list("a", "yang:insert=\"last\""),
            &list(evil, "yang:insert=\"first\""),
            &list(evil, "nc:operation=\"delete\""),
        ]);
    }

    #[test]
    fn a_journal_cut_short_is_an_error_and_no_panic() {
        let schema = schema();
        for journal in [&b"m"[..], b"m\0\0\0\x05ab", b"x", b"d\0\0\0\x01\xff"] {
            assert!(Tree::empty(schema).replay(journal).is_err(), "{journal:?}");
        }
    }
}
