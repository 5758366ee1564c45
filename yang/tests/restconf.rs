//! RESTCONF resources: identifiers, bodies as edits, printing with every query parameter.
#![expect(clippy::panic, reason = "a helper says what failed and on what")]

mod support;

use support::{schema, set, tree};
use tranche_netconf::error::ErrorTag;
use tranche_netconf::message::{DefaultOperation, ErrorOption, WithDefaults};
use tranche_yang::restconf::{
    GetContent, GetOptions, Insert, Method, Resource, edit, identifier, read,
};
use tranche_yang::{Content, Datastores, Error, Format, Tree};

fn resource(text: &str) -> Resource {
    Resource::parse(schema(), text).unwrap_or_else(|e| panic!("{text}: {e}"))
}

#[test]
fn identifiers_name_nodes_and_come_back() {
    for (text, path) in [
        ("test-box:box", "/test-box:box"),
        ("test-box:box/item=a", "/test-box:box/item[name='a']"),
        (
            "test-box:box/item=a%2Cb%2F%C3%BC/port",
            "/test-box:box/item[name='a,b/ü']/port",
        ),
        (
            "test-box:box/item=it%27s",
            "/test-box:box/item[name=\"it's\"]",
        ),
        (
            "test-box:box/item=a/inner/sub=x,7/c",
            "/test-box:box/item[name='a']/inner/sub[a='x'][b='7']/c",
        ),
        ("test-box:box/tag=x%20y", "/test-box:box/tag[.='x y']"),
        ("test-box:row=5", "/test-box:row[id='5']"),
        (
            "test-box:box/item=a/reset",
            "/test-box:box/item[name='a']/reset",
        ),
    ] {
        let r = resource(text);
        assert_eq!(r.path().expect("path"), path);
        assert_eq!(identifier(schema(), path).expect("identifier"), text);
    }
    assert!(resource("test-box:box/item").is_collection());
    assert_eq!(resource("").path().expect("path"), "/");
}

#[test]
fn bad_identifiers_say_what_is_wrong() {
    for (text, tag, says) in [
        ("box", ErrorTag::InvalidValue, "needs its module"),
        (
            "test-box:nothing",
            ErrorTag::UnknownElement,
            "there is no test-box:nothing",
        ),
        (
            "nobody:box",
            ErrorTag::UnknownElement,
            "there is no nobody:box",
        ),
        ("test-box:box/nothing", ErrorTag::UnknownElement, "in box"),
        (
            "test-box:box/item/port",
            ErrorTag::InvalidValue,
            "which entry",
        ),
        ("test-box:box/item=a,b", ErrorTag::InvalidValue, "1 key(s)"),
        (
            "test-box:box/label=a",
            ErrorTag::InvalidValue,
            "takes no key",
        ),
        ("test-box:row=x", ErrorTag::InvalidValue, "not a value"),
        ("test-box:box/item=%f", ErrorTag::InvalidValue, "UTF-8"),
    ] {
        let e = Resource::parse(schema(), text).expect_err(text);
        assert_eq!(e.tag, tag, "{text}: {e}");
        assert!(e.message.contains(says), "{text}: {e}");
    }
}

fn change(
    before: &str,
    method: Method,
    uri: &str,
    body: Option<(Format, &str)>,
    insert: Option<&Insert>,
) -> Result<(String, Option<String>), Vec<Error>> {
    let mut ds = Datastores::new(schema(), tree(before), None).expect("datastores");
    let e = edit(schema(), &resource(uri), method, body, insert)?;
    let proposal =
        ds.propose_parsed(1, &e, DefaultOperation::None, ErrorOption::RollbackOnError)?;
    let target = e.target().map(str::to_owned);
    let running = ds.accept(proposal).map_err(|e| vec![e])?;
    Ok((set(&running), target))
}

fn json(text: &str) -> Option<(Format, &str)> {
    Some((Format::Json, text))
}

#[test]
fn post_creates_a_child() {
    let (after, target) = change(
        "",
        Method::Post,
        "test-box:box",
        json(r#"{"test-box:item":[{"name":"a","port":5}]}"#),
        None,
    )
    .expect("created");
    assert_eq!(after, "<item><name>a</name><port>5</port></item>");
    assert_eq!(target.as_deref(), Some("/test-box:box/item[name='a']"));
    let (after, _) = change(
        "",
        Method::Post,
        "",
        json(r#"{"test-box:box":{"label":"x"}}"#),
        None,
    )
    .unwrap_or_else(|e| panic!("{e:?}"));
    assert_eq!(after, "<label>x</label>");
    let xml = Some((Format::Xml, "<label xmlns=\"urn:test:box\">x</label>"));
    assert_eq!(
        change("", Method::Post, "test-box:box", xml, None)
            .expect("created")
            .0,
        "<label>x</label>"
    );
    let e = change(
        "<label>x</label>",
        Method::Post,
        "test-box:box",
        json(r#"{"test-box:label":"y"}"#),
        None,
    )
    .expect_err("exists");
    assert_eq!(e[0].tag, ErrorTag::DataExists);
    let e = change(
        "",
        Method::Post,
        "test-box:box/item=z",
        json(r#"{"test-box:port":1}"#),
        None,
    )
    .expect_err("no parent");
    assert_eq!(e[0].tag, ErrorTag::DataMissing);
    let e = change(
        "",
        Method::Post,
        "test-box:box",
        json(r#"{"test-box:item":[{"name":"a"},{"name":"b"}]}"#),
        None,
    )
    .expect_err("two");
    assert_eq!(e[0].tag, ErrorTag::InvalidValue);
}

#[test]
fn put_replaces_or_creates_exactly_what_the_uri_names() {
    let before = "<item><name>a</name><port>5</port></item>";
    let uri = "test-box:box/item=a";
    let (after, _) = change(
        before,
        Method::Put,
        uri,
        json(r#"{"test-box:item":[{"name":"a","speed":"fast"}]}"#),
        None,
    )
    .expect("replaced");
    assert_eq!(after, "<item><name>a</name><speed>fast</speed></item>");
    let (after, _) = change(
        "",
        Method::Put,
        "test-box:box/label",
        json(r#"{"test-box:label":"n"}"#),
        None,
    )
    .expect("created");
    assert_eq!(after, "<label>n</label>");
    let (after, _) = change(
        before,
        Method::Put,
        "test-box:box",
        json(r#"{"test-box:box":{"label":"n"}}"#),
        None,
    )
    .expect("replaced");
    assert_eq!(after, "<label>n</label>");
    for body in [
        r#"{"test-box:item":[{"name":"b"}]}"#,
        r#"{"test-box:label":"b"}"#,
    ] {
        let e = change(before, Method::Put, uri, json(body), None).expect_err("another resource");
        assert_eq!(e[0].tag, ErrorTag::InvalidValue, "{e:?}");
    }
    let whole = r#"{"ietf-restconf:data":{"test-box:box":{"label":"w"}}}"#;
    assert_eq!(
        change(before, Method::Put, "", json(whole), None)
            .expect("replaced")
            .0,
        "<label>w</label>"
    );
    let whole = "<data xmlns=\"urn:ietf:params:xml:ns:yang:ietf-restconf\"><box xmlns=\"urn:test:box\"><label>w</label></box></data>";
    assert_eq!(
        change(before, Method::Put, "", Some((Format::Xml, whole)), None)
            .expect("replaced")
            .0,
        "<label>w</label>"
    );
}

#[test]
fn a_whole_datastore_in_xml_may_be_written_in_any_way() {
    let ns = "urn:ietf:params:xml:ns:yang:ietf-restconf";
    for whole in [
        format!(
            "<r:data xmlns:r=\"{ns}\" xmlns:b=\"urn:test:box\"><b:box><b:label>w</b:label></b:box></r:data>"
        ),
        format!(
            "<?xml version=\"1.0\"?><!-- <data> --><data xmlns='{ns}' ><box xmlns='urn:test:box'><label>w</label></box></data>\n"
        ),
    ] {
        let after = change("", Method::Put, "", Some((Format::Xml, &whole)), None)
            .unwrap_or_else(|e| panic!("{whole}: {e:?}"));
        assert_eq!(after.0, "<label>w</label>");
    }
    for bad in [
        format!("<dataset xmlns=\"{ns}\"/>"),
        format!("<data xmlns=\"{ns}\"/><data xmlns=\"{ns}\"/>"),
        "<data xmlns=\"urn:test:box\"/>".to_owned(),
        format!("<data xmlns=\"{ns}\">"),
    ] {
        let e = change("", Method::Put, "", Some((Format::Xml, &bad)), None).expect_err(&bad);
        assert_eq!(e[0].tag, ErrorTag::MalformedMessage, "{bad}: {e:?}");
    }
}

#[test]
fn patch_merges_into_what_is_there() {
    let before = "<item><name>a</name><port>5</port></item>";
    let body = r#"{"test-box:item":[{"name":"a","speed":"fast"}]}"#;
    let (after, _) = change(
        before,
        Method::Patch,
        "test-box:box/item=a",
        json(body),
        None,
    )
    .expect("merged");
    assert_eq!(
        after,
        "<item><name>a</name><port>5</port><speed>fast</speed></item>"
    );
    let e = change("", Method::Patch, "test-box:box/item=a", json(body), None).expect_err("absent");
    assert_eq!(e[0].tag, ErrorTag::DataMissing);
    let whole = r#"{"ietf-restconf:data":{"test-box:box":{"label":"w"}}}"#;
    assert_eq!(
        change(before, Method::Patch, "", json(whole), None)
            .expect("merged")
            .0,
        format!("<label>w</label>{before}")
    );
}

#[test]
fn delete_removes_and_refuses_what_is_absent() {
    let before = "<label>x</label><size>9</size><item><name>a</name></item><tag>t</tag><opts/>";
    for (uri, after) in [
        (
            "test-box:box/label",
            "<size>9</size><item><name>a</name></item><tag>t</tag><opts/>",
        ),
        (
            "test-box:box/size",
            "<label>x</label><item><name>a</name></item><tag>t</tag><opts/>",
        ),
        (
            "test-box:box/item=a",
            "<label>x</label><size>9</size><tag>t</tag><opts/>",
        ),
        (
            "test-box:box/tag=t",
            "<label>x</label><size>9</size><item><name>a</name></item><opts/>",
        ),
        (
            "test-box:box/opts",
            "<label>x</label><size>9</size><item><name>a</name></item><tag>t</tag>",
        ),
        ("test-box:box", ""),
    ] {
        let (left, _) = change(before, Method::Delete, uri, None, None)
            .unwrap_or_else(|e| panic!("{uri}: {e:?}"));
        let sort = |s: &str| {
            let mut v: Vec<char> = s.chars().collect();
            v.sort_unstable();
            v
        };
        assert_eq!(sort(&left), sort(after), "{uri}: {left}");
        let e = change("", Method::Delete, uri, None, None).expect_err(uri);
        assert_eq!(e[0].tag, ErrorTag::DataMissing, "{uri}");
    }
    for uri in [
        "",
        "test-box:box/item",
        "test-box:box/item=a/name",
        "test-box:box/item=a/state",
    ] {
        let e = change(before, Method::Delete, uri, None, None).expect_err(uri);
        assert_eq!(e[0].tag, ErrorTag::OperationNotSupported, "{uri}");
    }
}

#[test]
fn insert_and_point_place_entries() {
    let before = "<step><id>a</id></step><step><id>b</id></step>";
    let body = json(r#"{"test-box:step":[{"id":"n"}]}"#);
    for (insert, point, want) in [
        ("first", None, "nab"),
        ("last", None, "abn"),
        ("before", Some("/restconf/data/test-box:box/step=b"), "anb"),
        ("after", Some("test-box:box/step=a"), "anb"),
    ] {
        let insert = Insert::from_query(Some(insert), point).expect("query");
        let (after, _) =
            change(before, Method::Post, "test-box:box", body, insert.as_ref()).expect("inserted");
        let ids: String = after
            .split("<id>")
            .skip(1)
            .filter_map(|s| s.chars().next())
            .collect();
        assert_eq!(ids, want);
    }
    let insert = Insert::from_query(Some("after"), Some("test-box:box/step=z")).expect("query");
    let e = change(before, Method::Post, "test-box:box", body, insert.as_ref())
        .expect_err("no such point");
    assert_eq!(e[0].app_tag.as_deref(), Some("missing-instance"));
    let odd = "<step><id>[a]</id></step><step><id>b</id></step>";
    let insert =
        Insert::from_query(Some("after"), Some("test-box:box/step=%5Ba%5D")).expect("query");
    let (after, _) =
        change(odd, Method::Post, "test-box:box", body, insert.as_ref()).expect("inserted");
    assert!(
        after.starts_with("<step><id>[a]</id></step><step><id>n</id></step>"),
        "brackets in a key are no predicate: {after}"
    );
    let first = Some(Insert::First);
    let patch = json(r#"{"test-box:step":[{"id":"a"}]}"#);
    let whole = json(r#"{"ietf-restconf:data":{}}"#);
    for (method, uri, body) in [
        (Method::Patch, "test-box:box/step=a", patch),
        (Method::Delete, "test-box:box/step=a", None),
        (Method::Put, "", whole),
    ] {
        let e = change(before, method, uri, body, first.as_ref()).expect_err("takes no insert");
        assert_eq!(e[0].tag, ErrorTag::InvalidValue, "{e:?}");
    }
    assert!(Insert::from_query(Some("before"), None).is_err());
    assert!(Insert::from_query(None, Some("x")).is_err());
    assert!(Insert::from_query(Some("middle"), None).is_err());
}

#[test]
fn bad_bodies_are_refused() {
    for (body, tag) in [
        ("", ErrorTag::MalformedMessage),
        ("{", ErrorTag::MalformedMessage),
        ("{}", ErrorTag::MalformedMessage),
        (r#"{"test-box:nothing":1}"#, ErrorTag::UnknownElement),
        (r#"{"nobody:x":1}"#, ErrorTag::UnknownNamespace),
        (r#"{"test-box:size":"many"}"#, ErrorTag::InvalidValue),
        (
            r#"{"test-box:item":[{"port":1}]}"#,
            ErrorTag::MissingElement,
        ),
    ] {
        let e = change("", Method::Post, "test-box:box", json(body), None).expect_err(body);
        assert_eq!(e[0].tag, tag, "{body}: {e:?}");
    }
}

fn state() -> Tree {
    let text = "<box xmlns=\"urn:test:box\"><label>l</label><item><name>a</name><port>1</port><state>up</state>\
        <inner><deep>d</deep></inner></item><item><name>b</name></item></box>";
    let mut t = Tree::parse(schema(), Format::Xml, text, Content::State).expect("state");
    t.add_defaults().expect("defaults");
    t
}

fn get(uri: &str, options: &GetOptions) -> Option<String> {
    read(&state(), &resource(uri), Format::Json, options).unwrap_or_else(|e| panic!("{uri}: {e}"))
}

#[test]
fn a_resource_is_printed_alone() {
    let plain = GetOptions::default();
    assert_eq!(
        get("test-box:box/label", &plain).as_deref(),
        Some(r#"{"test-box:label":"l"}"#)
    );
    assert_eq!(
        get("test-box:box/item=b", &plain).as_deref(),
        Some(r#"{"test-box:item":[{"name":"b"}]}"#)
    );
    assert_eq!(
        get(
            "test-box:box/item",
            &GetOptions {
                depth: Some(1),
                ..plain.clone()
            }
        )
        .as_deref(),
        Some(r#"{"test-box:item":[{"name":"a"},{"name":"b"}]}"#)
    );
    assert_eq!(get("test-box:box/item=z", &plain), None);
    assert_eq!(
        read(
            &state(),
            &resource("test-box:box/item=a"),
            Format::Xml,
            &plain
        )
        .expect("xml")
        .as_deref(),
        Some(
            "<item xmlns=\"urn:test:box\"><name>a</name><port>1</port><state>up</state><inner><deep>d</deep></inner></item>"
        )
    );
    assert!(
        read(
            &state(),
            &resource("test-box:box/item"),
            Format::Xml,
            &plain
        )
        .is_err()
    );
    let all = get("", &plain).expect("datastore");
    assert!(
        all.starts_with(r#"{"ietf-restconf:data":{"test-box:box":{"label":"l""#),
        "{all}"
    );
}

#[test]
fn content_depth_fields_and_defaults_narrow_it() {
    let plain = GetOptions::default();
    let with = |f: &dyn Fn(&mut GetOptions)| {
        let mut o = plain.clone();
        f(&mut o);
        get("test-box:box/item=a", &o).expect("there")
    };
    assert_eq!(
        with(&|o| o.content = GetContent::Config),
        r#"{"test-box:item":[{"name":"a","port":1,"inner":{"deep":"d"}}]}"#
    );
    assert_eq!(
        with(&|o| o.content = GetContent::Nonconfig),
        r#"{"test-box:item":[{"name":"a","state":"up"}]}"#
    );
    assert_eq!(
        with(&|o| o.depth = Some(2)),
        r#"{"test-box:item":[{"name":"a","port":1,"state":"up"}]}"#
    );
    assert_eq!(
        with(&|o| o.fields = Some("port;inner/deep".into())),
        r#"{"test-box:item":[{"name":"a","port":1,"inner":{"deep":"d"}}]}"#
    );
    assert_eq!(
        with(&|o| o.fields = Some("inner(deep)".into())),
        r#"{"test-box:item":[{"name":"a","inner":{"deep":"d"}}]}"#
    );
    assert_eq!(
        with(&|o| o.fields = Some("test-box:inner/sub;port;inner/deep".into())),
        r#"{"test-box:item":[{"name":"a","port":1,"inner":{"deep":"d"}}]}"#,
        "what several expressions want of one node goes together"
    );
    assert!(with(&|o| o.with_defaults = WithDefaults::ReportAll).contains(r#""speed":"slow""#));
    assert!(!with(&|o| o.with_defaults = WithDefaults::Trim).contains("speed"));

    let mut o = GetOptions::default();
    for (name, value) in [
        ("content", "config"),
        ("depth", "3"),
        ("with-defaults", "trim"),
        ("fields", "a"),
    ] {
        assert!(o.set(name, value).expect("valid"), "{name}");
    }
    assert!(!o.set("nonsense", "1").expect("not one of ours"));
    for (name, value) in [
        ("content", "x"),
        ("depth", "0"),
        ("depth", "x"),
        ("with-defaults", "x"),
    ] {
        assert!(o.set(name, value).is_err(), "{name}={value}");
    }
}

#[test]
fn operations_take_and_give_bodies() {
    let data = tree("<item><name>a</name></item>");
    let r = resource("test-box:box/item=a/reset");
    let path = r.path().expect("path");
    let op = schema()
        .parse_restconf_input(
            &path,
            json(r#"{"test-box:input":{"hard":true}}"#),
            Some(&data),
        )
        .unwrap_or_else(|e| panic!("{e:?}"));
    assert_eq!(op.data().get("hard"), Some("true"));
    assert_eq!(op.path(), path);
    let none = schema()
        .parse_restconf_input(&path, None, Some(&data))
        .expect("no input");
    assert_eq!(none.data().get("hard"), Some("false"), "defaults are added");
    let mut out = schema().new_output(&path).expect("output");
    assert_eq!(out.print_restconf_output(Format::Json), None);
    out.set("result", "done").expect("set");
    assert_eq!(
        out.print_restconf_output(Format::Json).as_deref(),
        Some(r#"{"test-box:output":{"result":"done"}}"#)
    );
    let e = schema()
        .parse_restconf_input(
            "/test-box:open",
            json(r#"{"test-box:input":{}}"#),
            Some(&data),
        )
        .expect_err("mandatory input");
    assert_eq!(e[0].tag, ErrorTag::DataMissing);
}
