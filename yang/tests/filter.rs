//! Subtree filters by the examples' rules of RFC 6241 6, and XPath.
#![expect(clippy::panic, reason = "a helper says what failed and on what")]

mod support;

use support::{fragment, schema, set, tree};
use tranche_netconf::error::ErrorTag;
use tranche_netconf::message::Filter;
use tranche_yang::{Content, Format, Tree, filter::select};

const DATA: &str = "<label>l</label><size>9</size><colour>red</colour><opts/>\
    <item><name>a</name><port>1</port><inner><deep>d</deep></inner></item>\
    <item><name>b</name><port>2</port></item>";

fn subtree(text: &str) -> String {
    let filter = Filter::Subtree(fragment(text));
    set(&select(&tree(DATA), Some(&filter)).unwrap_or_else(|e| panic!("{text}: {e}")))
}

fn boxed(inner: &str) -> String {
    subtree(&format!("<box xmlns=\"urn:test:box\">{inner}</box>"))
}

#[test]
fn no_filter_is_everything_and_an_empty_one_nothing() {
    assert_eq!(set(&select(&tree(DATA), None).expect("all")), DATA);
    assert_eq!(subtree(""), "");
}

#[test]
fn selection_containment_and_content_match() {
    assert_eq!(subtree("<box xmlns=\"urn:test:box\"/>"), DATA);
    assert_eq!(boxed("<label/>"), "<label>l</label>");
    assert_eq!(boxed("<label/><opts/>"), "<label>l</label><opts/>");
    // Two selections in one entry keep the keys (6.2.5 asks for what is named; keys tell entries apart).
    assert_eq!(
        boxed("<item><port/></item>"),
        "<item><name>a</name><port>1</port></item><item><name>b</name><port>2</port></item>"
    );
    // Content match alone selects the whole entry.
    assert_eq!(
        boxed("<item><name>b</name></item>"),
        "<item><name>b</name><port>2</port></item>"
    );
    // What matched is part of the answer.
    assert_eq!(
        boxed("<item><port>1</port><inner/></item>"),
        "<item><name>a</name><port>1</port><inner><deep>d</deep></inner></item>"
    );
    assert_eq!(boxed("<item><name>a</name><port>2</port></item>"), "");
    assert_eq!(boxed("<item><name>z</name></item>"), "");
    // Two elements for one list are a union.
    assert_eq!(
        boxed("<item><name>b</name></item><item><name>a</name><port/></item>"),
        "<item><name>a</name><port>1</port></item><item><name>b</name><port>2</port></item>"
    );
    // A content match among the siblings restricts the others.
    assert_eq!(
        boxed("<label>l</label><size/>"),
        "<label>l</label><size>9</size>"
    );
    assert_eq!(boxed("<label>x</label><size/>"), "");
    assert_eq!(
        boxed("<size>09</size><label/>"),
        "<label>l</label><size>9</size>",
        "values are compared, not texts"
    );
}

#[test]
fn namespaces_select_and_none_matches_any() {
    assert_eq!(subtree("<box xmlns=\"urn:other\"/>"), "");
    assert_eq!(subtree("<box><label/></box>"), "<label>l</label>");
    assert_eq!(subtree("<nothing xmlns=\"urn:test:box\"/>"), "");
    assert_eq!(
        boxed("<colour xmlns:q=\"urn:test:box\">q:red</colour>"),
        DATA,
        "only content matches: all siblings"
    );
}

#[test]
fn attribute_matches_are_refused() {
    let filter = Filter::Subtree(fragment(
        "<box xmlns=\"urn:test:box\"><label x=\"1\"/></box>",
    ));
    let e = select(&tree(DATA), Some(&filter)).expect_err("attribute");
    assert_eq!(e.tag, ErrorTag::UnknownAttribute);
}

fn xpath(expression: &str) -> Result<String, tranche_yang::Error> {
    let filter = Filter::XPath {
        select: expression.to_owned(),
        namespaces: vec![
            ("b".into(), "urn:test:box".into()),
            ("x".into(), "urn:nobody".into()),
        ],
    };
    select(&tree(DATA), Some(&filter)).map(|t| set(&t))
}

#[test]
fn xpath_uses_the_prefixes_of_the_request() {
    assert_eq!(xpath("/b:box/b:label").expect("valid"), "<label>l</label>");
    assert_eq!(
        xpath("/b:box/b:item[b:port > 1]").expect("valid"),
        "<item><name>b</name><port>2</port></item>"
    );
    assert_eq!(
        xpath("//b:deep").expect("valid"),
        "<item><name>a</name><inner><deep>d</deep></inner></item>"
    );
    assert_eq!(
        xpath("/b:box/b:item[b:name='b:x']").expect("a literal is left alone"),
        ""
    );
    assert_eq!(
        xpath("/b:box/child::b:opts | /b:box/b:size").expect("valid"),
        "<size>9</size><opts/>"
    );
    assert_eq!(
        xpath("/test-box:box/label").expect("module names serve too"),
        "<label>l</label>"
    );
    for bad in [
        "/b:box[",
        "/q:box",
        "/x:box",
        "'unfinished",
        "count(/b:box)",
    ] {
        let e = xpath(bad).expect_err(bad);
        assert_eq!(e.tag, ErrorTag::InvalidValue, "{bad}: {e}");
    }
}

#[test]
fn state_is_filtered_like_configuration() {
    let text = "<box xmlns=\"urn:test:box\"><item><name>a</name><state>up</state></item><item><name>b</name><state>down</state></item></box>";
    let t = Tree::parse(schema(), Format::Xml, text, Content::State).expect("state");
    let filter = Filter::Subtree(fragment(
        "<box xmlns=\"urn:test:box\"><item><state>up</state><name/></item></box>",
    ));
    assert_eq!(
        set(&select(&t, Some(&filter)).expect("selected")),
        "<item><name>a</name><state>up</state></item>"
    );
}
