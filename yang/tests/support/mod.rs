//! What the tests share: one schema per process and short forms.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::sync::OnceLock;

use tranche_netconf::message::Datastore;
use tranche_netconf::message::{
    DefaultOperation, EditConfig, ErrorOption, TestOption, WithDefaults,
};
use tranche_netconf::xml::Fragment;
use tranche_yang::{Content, Error, Format, PrintOptions, Schema, Tree};

/// The schema of the tests, with our Wi-Fi module and the test module.
pub(crate) fn schema() -> &'static Schema {
    static SCHEMA: OnceLock<&'static Schema> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        Schema::builder()
            .module(
                "ietf-netconf",
                &["writable-running", "candidate", "xpath", "validate"],
            )
            .module("ietf-netconf-with-defaults", &[])
            .module("ietf-netconf-acm", &[])
            .module("ietf-netconf-monitoring", &[])
            .all_features("tranche-wifi")
            .file(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/tests/modules/test-box.yang"
            ))
            .build()
            .expect("the test schema builds")
    })
}

pub(crate) fn xml(inner: &str) -> String {
    format!(
        "<box xmlns=\"urn:test:box\" xmlns:nc=\"urn:ietf:params:xml:ns:netconf:base:1.0\" xmlns:yang=\"urn:ietf:params:xml:ns:yang:1\" xmlns:box=\"urn:test:box\">{inner}</box>"
    )
}

pub(crate) fn fragment(text: &str) -> Fragment {
    Fragment::from_trusted(text.to_owned())
}

/// A valid tree of `box` content.
pub(crate) fn tree(inner: &str) -> Tree {
    Tree::parse(schema(), Format::Xml, &xml(inner), Content::Config).expect("a valid tree")
}

/// Canonical text with defaults marked, for comparison.
pub(crate) fn full(tree: &Tree) -> String {
    tree.print(
        Format::Xml,
        PrintOptions {
            with_defaults: WithDefaults::ReportAllTagged,
            pretty: true,
        },
    )
}

/// What was set, on one line.
pub(crate) fn set(tree: &Tree) -> String {
    let text = tree.print(
        Format::Xml,
        PrintOptions {
            with_defaults: WithDefaults::Explicit,
            pretty: false,
        },
    );
    text.replace("<box xmlns=\"urn:test:box\">", "")
        .replace("</box>", "")
}

pub(crate) fn edit(
    tree: &mut Tree,
    inner: &str,
    op: DefaultOperation,
) -> Result<tranche_yang::Diff, Vec<Error>> {
    tranche_yang::edit::apply(tree, &fragment(&xml(inner)), op, ErrorOption::StopOnError)
}

pub(crate) fn request(inner: &str) -> EditConfig {
    EditConfig {
        target: Datastore::Running,
        default_operation: DefaultOperation::Merge,
        test_option: TestOption::TestThenSet,
        error_option: ErrorOption::RollbackOnError,
        config: fragment(&xml(inner)),
    }
}
