//! Schemas, trees, operations, the library, and a journal of diffs.

mod support;

use std::io::Write as _;

use support::{edit, fragment, full, schema, set, tree};
use tranche_netconf::error::ErrorTag;
use tranche_netconf::message::{DefaultOperation::Merge, WithDefaults};
use tranche_yang::{Content, Diff, Format, Kind, Part, PrintOptions, Schema, Tree};

#[test]
fn a_tree_is_read_and_set_by_path() {
    let mut t = tree(
        "<label>l</label><item><name>a</name><port>1</port><inner><deep>d</deep></inner></item>",
    );
    assert_eq!(t.value("/test-box:box/label").as_deref(), Some("l"));
    assert_eq!(t.value("/test-box:box/size").as_deref(), Some("7"));
    assert!(
        t.get("/test-box:box/size")
            .is_some_and(tranche_yang::Node::is_default)
    );
    assert!(!t.exists("/test-box:box/item[name='z']"));
    let nodes = t.count("//*").expect("xpath");
    assert!(t.has_at_most(nodes) && !t.has_at_most(nodes - 1));
    t.set("/test-box:box/item[name='z']/port", "9")
        .expect("set");
    t.set("/test-box:box/opts", None).expect("set");
    assert_eq!(t.count("/test-box:box/item").expect("xpath"), 2);
    let item = t.get("/test-box:box/item[name='a']").expect("there");
    assert_eq!(item.get("inner/deep"), Some("d"));
    assert_eq!(item.get("test-box:port"), Some("1"));
    assert_eq!(item.kind(), Kind::List);
    assert_eq!(item.path(), "/test-box:box/item[name='a']");
    let names: Vec<_> = t
        .get("/test-box:box")
        .expect("box")
        .list("item")
        .filter_map(|i| i.get("name"))
        .collect();
    assert_eq!(names, ["a", "z"]);
    assert_eq!(
        t.remove("/test-box:box/item[name='a'] | /test-box:box/item[name='a']/inner")
            .expect("remove"),
        1
    );
    assert_eq!(
        t.remove("/test-box:box/item[name='nobody']")
            .expect("remove"),
        0
    );
    assert_eq!(
        set(&t),
        "<label>l</label><opts/><item><name>z</name><port>9</port></item>"
    );
    assert_eq!(
        t.set("/test-box:box/size", "many").expect_err("value").tag,
        ErrorTag::InvalidValue
    );
    assert_eq!(
        t.set("/test-box:box/nothing", "1").expect_err("path").tag,
        ErrorTag::UnknownElement
    );
    assert_eq!(
        t.count("//[").expect_err("xpath").tag,
        ErrorTag::InvalidValue
    );
    assert_eq!(
        Tree::empty(schema()).count("/test-box:box").expect("xpath"),
        0
    );
}

#[test]
fn with_defaults_modes_print_what_they_say() {
    let t = tree("<size>7</size><item><name>a</name></item>");
    let print = |with_defaults| {
        t.print(
            Format::Xml,
            PrintOptions {
                with_defaults,
                pretty: false,
            },
        )
    };
    assert!(print(WithDefaults::Explicit).contains("<size>7</size>"));
    assert!(!print(WithDefaults::Explicit).contains("speed"));
    assert!(!print(WithDefaults::Trim).contains("size"));
    assert!(print(WithDefaults::ReportAll).contains("<speed>slow</speed>"));
    assert!(print(WithDefaults::ReportAllTagged).contains("default=\"true\">slow</speed>"));
    let json = t.print(Format::Json, PrintOptions::default());
    let back = Tree::parse(schema(), Format::Json, &json, Content::Config).expect("parse");
    assert_eq!(full(&back), full(&t));
    assert_eq!(
        Tree::empty(schema()).print(Format::Json, PrintOptions::default()),
        "{}"
    );
}

#[test]
fn a_tagged_default_is_a_default_again() {
    let mut t = tree("<size>9</size>");
    let diff = edit(
        &mut t,
        "<size xmlns:wd=\"urn:ietf:params:xml:ns:netconf:default:1.0\" wd:default=\"true\">7</size>",
        Merge,
    )
    .unwrap_or_else(|e| panic!("{e:?}"));
    assert_eq!(set(&t), "");
    assert_eq!(t.value("/test-box:box/size").as_deref(), Some("7"));
    diff.undo(&mut t).expect("undo");
    assert_eq!(set(&t), "<size>9</size>");
    let e = edit(
        &mut t,
        "<size xmlns:wd=\"urn:ietf:params:xml:ns:netconf:default:1.0\" wd:default=\"true\">8</size>",
        Merge,
    )
    .expect_err("8 is not the default");
    assert_eq!(e[0].tag, ErrorTag::InvalidValue);
}

#[test]
fn a_diff_does_not_fit_another_tree() {
    let mut t =
        tree("<label>it</label><step><id>a</id></step><item><name>x</name><port>1</port></item>");
    let change = "<item nc:operation='delete'><name>x</name></item><label>m</label>";
    let diff = edit(&mut t, change, Merge).expect("edit");
    let e = diff.apply(&mut tree("")).expect_err("another tree");
    assert!(e.message.contains("does not fit"), "{e}");
}

#[test]
fn a_diff_between_two_trees_leads_from_one_to_the_other() {
    let a = tree(
        "<label>l</label><tag>1</tag><tag>2</tag><tag>3</tag><item><name>x</name><port>1</port></item>",
    );
    let b = tree(
        "<size>7</size><tag>3</tag><tag>1</tag><tag>4</tag><item><name>x</name><port>2</port></item><opts/>",
    );
    let diff = Diff::between(&a, &b).expect("diff");
    let mut t = a.duplicate().expect("copy");
    diff.apply(&mut t).expect("apply");
    assert_eq!(full(&t), full(&b));
    diff.undo(&mut t).expect("undo");
    assert_eq!(full(&t), full(&a));
    assert!(
        Diff::between(&a, &a.duplicate().expect("copy"))
            .expect("diff")
            .is_empty()
    );
}

#[test]
fn operations_are_parsed_built_and_printed() {
    let data = tree("<item><name>a</name></item>");
    let request = |inner: &str| fragment(&format!("<open xmlns=\"urn:test:box\">{inner}</open>"));
    let op = schema()
        .parse_rpc(&request("<who>w</who><item>a</item>"), Some(&data))
        .expect("valid");
    assert_eq!(
        (op.module(), op.name(), op.part()),
        ("test-box", "open", Part::Input)
    );
    assert_eq!(op.data().get("who"), Some("w"));
    assert_eq!(op.path(), "/test-box:open");
    let tag = |inner: &str| {
        schema()
            .parse_rpc(&request(inner), Some(&data))
            .expect_err(inner)[0]
            .tag
    };
    assert_eq!(tag("<item>a</item>"), ErrorTag::DataMissing);
    assert_eq!(tag("<who>w</who><item>z</item>"), ErrorTag::DataMissing);
    assert_eq!(tag("<who>w</who><nothing/>"), ErrorTag::UnknownElement);
    assert_eq!(
        tag("<who loud=\"very\">w</who>"),
        ErrorTag::UnknownAttribute
    );
    for unknown in [
        "<shut xmlns=\"urn:test:box\"/>",
        "<open xmlns=\"urn:nobody\"/>",
    ] {
        let e = schema()
            .parse_rpc(&fragment(unknown), None)
            .expect_err(unknown);
        assert_eq!(e[0].tag, ErrorTag::OperationNotSupported, "{e:?}");
    }

    let mut out = schema().new_output("/test-box:open").expect("output");
    assert!(out.to_fragment().is_empty());
    out.set("took", "5").expect("set");
    out.set("line[.='x']", None).expect("set");
    let printed = out.to_fragment();
    assert_eq!(
        printed.as_str(),
        "<took xmlns=\"urn:test:box\">5</took><line xmlns=\"urn:test:box\">x</line>"
    );

    let mut event = schema()
        .new_notification("/test-box:opened")
        .expect("notification");
    event.set("who", "w").expect("set");
    let read = schema()
        .parse_notification(&event.to_fragment())
        .expect("parse");
    assert_eq!(
        (read.part(), read.data().get("who")),
        (Part::Notification, Some("w"))
    );

    let path = "/test-box:box/item[name='a']/reset";
    let mut action = schema().new_rpc(path).expect("action");
    action.set("hard", "true").expect("set");
    let printed = action.to_fragment();
    assert!(
        printed
            .as_str()
            .starts_with("<action xmlns=\"urn:ietf:params:xml:ns:yang:1\">"),
        "{printed:?}"
    );
    let read = schema()
        .parse_rpc(&printed, Some(&data))
        .unwrap_or_else(|e| panic!("{e:?}"));
    assert_eq!(read.path(), path);
    assert_eq!(read.data().get("hard"), Some("true"));
}

#[test]
fn corrections_refer_to_interfaces_that_exist() {
    let wifi = "<wifi xmlns=\"urn:tranche:yang:tranche-wifi\"><radio><name>r0</name><band>5GHz</band><channel>36</channel></radio>\
        <vif><name>a</name><radio>r0</radio><access-point><ssid>A</ssid><security><mode>open</mode></security></access-point></vif></wifi>";
    let running = Tree::parse(schema(), Format::Xml, wifi, Content::Config)
        .unwrap_or_else(|e| panic!("{e:#?}"));
    let mut op = schema()
        .new_rpc("/tranche-wifi:correct-airtime")
        .expect("rpc");
    op.set("lifetime", "10").expect("set");
    op.set("vif[name='a']/max-ratio", "40").expect("set");
    let read = schema()
        .parse_rpc(&op.to_fragment(), Some(&running))
        .unwrap_or_else(|e| panic!("{e:?}"));
    assert_eq!(
        read.data()
            .list("vif")
            .next()
            .and_then(|v| v.get("max-ratio")),
        Some("40.0")
    );
    op.set("vif[name='ghost']/max-ratio", "40").expect("set");
    let e = schema()
        .parse_rpc(&op.to_fragment(), Some(&running))
        .expect_err("no such vif");
    assert_eq!(e[0].tag, ErrorTag::DataMissing);
}

#[test]
fn the_library_describes_the_schema() {
    let s = schema();
    let library = s.yang_library(&["running", "candidate"]).expect("library");
    assert_eq!(
        library.value("/ietf-yang-library:yang-library/content-id"),
        Some(s.content_id())
    );
    assert_eq!(
        library
            .count("/ietf-yang-library:yang-library/datastore")
            .expect("xpath"),
        2
    );
    assert!(library.exists("/ietf-yang-library:yang-library/module-set/module[name='test-box']"));
    assert!(
        library.exists(
            "/ietf-yang-library:modules-state/module[name='test-box'][revision='2026-11-21']"
        )
    );
    assert!(s.yang_library_capability().contains(&s.content_id()));
    let capabilities = s.module_capabilities();
    assert!(capabilities.iter().any(|c| c.starts_with("urn:ietf:params:xml:ns:netconf:base:1.0?module=ietf-netconf&revision=2011-06-01&features=")), "{capabilities:#?}");
    assert!(
        !capabilities.iter().any(|c| c.contains("test-box")),
        "YANG 1.1 modules are not in hello"
    );

    let text = s
        .source("test-box", Some("2026-11-21"), "yang")
        .expect("source");
    assert!(text.starts_with("module test-box {"));
    assert!(
        s.source("test-box", None, "yin")
            .expect("yin")
            .contains("<module name=\"test-box\"")
    );
    assert!(
        s.source("ietf-yang-types", None, "yang")
            .expect("libyang's own")
            .contains("module ietf-yang-types")
    );
    for (name, revision, format) in [
        ("nobody", None, "yang"),
        ("test-box", Some("1999-01-01"), "yang"),
        ("test-box", None, "rng"),
    ] {
        assert_eq!(
            s.source(name, revision, format).expect_err(name).tag,
            ErrorTag::InvalidValue
        );
    }
    let mut state = Tree::empty(s);
    s.add_monitoring_schemas(&mut state).expect("monitoring");
    assert!(state.exists("/ietf-netconf-monitoring:netconf-state/schemas/schema[identifier='test-box'][version='2026-11-21'][format='yang']"));
}

#[test]
fn every_listed_schema_can_be_had() {
    for entry in schema().schemas() {
        let revision = (!entry.version.is_empty()).then_some(entry.version.as_str());
        let text = schema().source(&entry.identifier, revision, entry.format);
        assert!(
            text.is_ok_and(|t| t.contains(&entry.identifier)),
            "{entry:?}"
        );
    }
}

#[test]
fn a_bad_module_file_is_named_with_its_line() {
    let mut file = tempfile::Builder::new()
        .suffix(".yang")
        .tempfile()
        .expect("file");
    writeln!(
        file,
        "module broken {{\n  namespace \"urn:b\";\n  prefix b;\n  leaf x {{ type nonsense; }}\n}}"
    )
    .expect("write");
    let e = Schema::builder()
        .file(file.path())
        .build()
        .expect_err("unknown type");
    assert!(
        e.message.contains(&file.path().display().to_string()),
        "{e}"
    );
    let mut file = tempfile::Builder::new()
        .suffix(".yang")
        .tempfile()
        .expect("file");
    writeln!(
        file,
        "module broken {{\n  namespace \"urn:b\";\n  prefix b;\n  leaf x {{ typo string; }}\n}}"
    )
    .expect("write");
    let e = Schema::builder()
        .file(file.path())
        .build()
        .expect_err("syntax");
    assert!(e.message.contains("line 4"), "{e}");
    let e = Schema::builder()
        .file("/nonexistent/x.yang")
        .build()
        .expect_err("no file");
    assert!(e.message.contains("/nonexistent/x.yang"), "{e}");
    let e = Schema::builder()
        .module("no-such-module", &[])
        .build()
        .expect_err("no module");
    assert!(e.message.contains("no-such-module"), "{e}");
    let e = Schema::builder()
        .module("ietf-netconf", &["no-such-feature"])
        .build()
        .expect_err("no feature");
    assert!(e.message.contains("no-such-feature"), "{e}");
}

#[test]
fn schema_nodes_tell_what_they_are() {
    let node = schema()
        .node("/test-box:box/item[name='a']/speed")
        .expect("node");
    assert_eq!(
        (node.name(), node.kind(), node.is_config()),
        ("speed", Kind::Leaf, true)
    );
    let list = schema().node("/test-box:box/item").expect("node");
    assert_eq!((list.kind(), list.keys()), (Kind::List, vec!["name"]));
    assert!(
        list.children()
            .iter()
            .any(|c| c.name() == "state" && !c.is_config())
    );
    assert!(
        schema()
            .node("/test-box:box/secret")
            .expect("node")
            .is_secret()
    );
    assert!(
        schema()
            .top("test-box")
            .iter()
            .any(|n| n.kind() == Kind::Rpc && n.name() == "open")
    );
}

#[test]
fn our_modules_and_the_standard_ones_go_together() {
    let names = [
        "tranche-inventory",
        "tranche-sim",
        "tranche-sla",
        "tranche-slice",
        "tranche-wifi",
        "ietf-system",
        "iana-crypt-hash",
        "ietf-interfaces",
        "iana-if-type",
        "ietf-ip",
        "ietf-alarms",
        "ietf-netconf",
        "ietf-netconf-acm",
        "ietf-netconf-monitoring",
        "ietf-netconf-nmda",
        "ietf-netconf-notifications",
        "ietf-netconf-with-defaults",
        "ietf-restconf",
        "ietf-restconf-monitoring",
        "ietf-subscribed-notifications",
        "ietf-yang-push",
        "ietf-yang-patch",
    ];
    let schema = names
        .iter()
        .fold(Schema::builder(), |b, name| b.all_features(name))
        .build()
        .unwrap_or_else(|e| panic!("{e}"));
    for name in names {
        assert!(schema.module(name).is_some(), "{name}");
    }
    let empty = Tree::parse(schema, Format::Xml, "", Content::Config);
    assert!(empty.is_ok(), "nothing configured is valid: {empty:?}");
    assert_ne!(schema.content_id(), self::schema().content_id());
}
