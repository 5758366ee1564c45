//! edit-config on a tree: every operation, order, choices, errors, and that an edit can be taken back.
#![expect(clippy::panic, reason = "a helper says what failed and on what")]

mod support;

use support::{edit, fragment, full, schema, set, tree, xml};
use tranche_netconf::error::ErrorTag;
use tranche_netconf::message::{DefaultOperation as Op, ErrorOption};
use tranche_yang::{ChangeOp, Content, Error, Format, Tree, edit as engine};

/// Applies an edit to a tree, validates, compares, and takes it back.
fn check(before: &str, inner: &str, op: Op, after: &str) {
    let mut t = tree(before);
    let was = full(&t);
    let diff = edit(&mut t, inner, op).unwrap_or_else(|e| panic!("{inner}: {e:?}"));
    assert_eq!(set(&t), after, "{inner} on {before}");
    diff.undo(&mut t).expect("undo");
    assert_eq!(full(&t), was, "undo of {inner} on {before}");
    diff.apply(&mut t).expect("again");
    assert_eq!(set(&t), after, "again: {inner} on {before}");
}

/// An edit that must fail, and change nothing.
fn refuse(before: &str, inner: &str, op: Op) -> Vec<Error> {
    let mut t = tree(before);
    let was = full(&t);
    let errors = edit(&mut t, inner, op).expect_err(inner);
    assert_eq!(full(&t), was, "{inner} changed something");
    assert!(!errors.is_empty());
    errors
}

#[test]
fn merge_creates_and_changes() {
    check("", "<label>l</label>", Op::Merge, "<label>l</label>");
    check(
        "<label>l</label>",
        "<label>m</label>",
        Op::Merge,
        "<label>m</label>",
    );
    check(
        "<label>l</label>",
        "<size>7</size>",
        Op::Merge,
        "<label>l</label><size>7</size>",
    );
    check(
        "<item><name>a</name><port>1</port></item>",
        "<item><name>b</name></item><item><name>a</name><speed>fast</speed></item>",
        Op::Merge,
        "<item><name>a</name><port>1</port><speed>fast</speed></item><item><name>b</name></item>",
    );
    check("", "<opts/>", Op::Merge, "<opts/>");
    check(
        "<opts><a>1</a></opts>",
        "<opts><b>2</b></opts>",
        Op::Merge,
        "<opts><a>1</a><b>2</b></opts>",
    );
    check(
        "<number>1</number>",
        "<number>2</number>",
        Op::Merge,
        "<number>1</number><number>2</number>",
    );
}

#[test]
fn two_entries_with_the_same_keys_in_one_edit_are_refused() {
    let twins = "<item><name>a</name><port>1</port></item><item><name>b</name></item><item><name>a</name><port>2</port></item>";
    for op in [Op::Merge, Op::Replace] {
        let errors = refuse("<label>l</label>", twins, op);
        assert_eq!(errors[0].tag, ErrorTag::BadElement, "{errors:?}");
        assert!(
            errors[0]
                .path
                .as_deref()
                .is_some_and(|path| path.contains("'a'")),
            "{errors:?}"
        );
    }
}

#[test]
fn merge_of_what_is_there_changes_nothing() {
    let mut t = tree("<label>l</label><item><name>a</name><port>1</port></item><tag>x</tag>");
    let diff = edit(
        &mut t,
        "<label>l</label><item><name>a</name><port>1</port></item><tag>x</tag>",
        Op::Merge,
    )
    .expect("merge");
    assert!(diff.is_empty(), "{diff:?}");
}

#[test]
fn replace_removes_what_is_not_mentioned() {
    check(
        "<label>l</label><item><name>a</name><port>1</port></item><item><name>b</name></item>",
        "<item nc:operation='replace'><name>a</name><speed>fast</speed></item>",
        Op::Merge,
        "<label>l</label><item><name>a</name><speed>fast</speed></item><item><name>b</name></item>",
    );
    check(
        "<label>l</label><item><name>a</name><port>1</port></item><item><name>b</name></item>",
        "<item><name>c</name></item>",
        Op::Replace,
        "<item><name>c</name></item>",
    );
    check(
        "<label>l</label>",
        "<label nc:operation='replace'>m</label>",
        Op::None,
        "<label>m</label>",
    );
}

#[test]
fn replace_honours_operations_inside() {
    check(
        "<item><name>a</name><port>1</port><inner><deep>d</deep></inner></item><label>x</label>",
        "<item nc:operation='replace'><name>a</name><inner nc:operation='merge'><sub><a>k</a><b>1</b></sub></inner></item>",
        Op::Merge,
        "<label>x</label><item><name>a</name><inner><deep>d</deep><sub><a>k</a><b>1</b></sub></inner></item>",
    );
}

#[test]
fn create_of_what_exists_is_data_exists() {
    check(
        "",
        "<opts nc:operation='create'><a>1</a></opts>",
        Op::None,
        "<opts><a>1</a></opts>",
    );
    // A default that nobody set does not count as existing.
    check(
        "",
        "<size nc:operation='create'>7</size>",
        Op::None,
        "<size>7</size>",
    );
    let e = refuse(
        "<size>7</size>",
        "<size nc:operation='create'>7</size>",
        Op::None,
    );
    assert_eq!(e[0].tag, ErrorTag::DataExists);
    assert_eq!(e[0].path.as_deref(), Some("/test-box:box/size"));
    let e = refuse(
        "<item><name>a</name></item>",
        "<item nc:operation='create'><name>a</name></item>",
        Op::Merge,
    );
    assert_eq!(e[0].tag, ErrorTag::DataExists);
    assert_eq!(e[0].path.as_deref(), Some("/test-box:box/item[name='a']"));
}

#[test]
fn delete_of_what_is_absent_is_data_missing_and_remove_is_not() {
    check(
        "<label>l</label>",
        "<label nc:operation='delete'>l</label>",
        Op::Merge,
        "",
    );
    check(
        "<label>l</label>",
        "<label nc:operation='remove'/>",
        Op::Merge,
        "",
    );
    // A leaf whose type has no empty value may still be deleted without one.
    check(
        "<size>9</size>",
        "<size nc:operation='delete'/>",
        Op::Merge,
        "",
    );
    check("", "<size nc:operation='remove'/>", Op::Merge, "");
    check(
        "<item><name>a</name></item><item><name>b</name></item>",
        "<item nc:operation='delete'><name>a</name></item>",
        Op::None,
        "<item><name>b</name></item>",
    );
    for absent in [
        "<label nc:operation='delete'/>",
        "<size nc:operation='delete'/>",
        "<size nc:operation='delete'>7</size>",
        "<item nc:operation='delete'><name>a</name></item>",
        "<opts nc:operation='delete'/>",
        "<tag nc:operation='delete'>x</tag>",
    ] {
        let e = refuse("", absent, Op::Merge);
        assert_eq!(e[0].tag, ErrorTag::DataMissing, "{absent}");
        assert!(
            e[0].path
                .as_deref()
                .is_some_and(|p| p.starts_with("/test-box:box/")),
            "{e:?}"
        );
        check("", &absent.replace("'delete'", "'remove'"), Op::Merge, "");
    }
}

#[test]
fn default_operation_none_touches_only_what_bears_an_operation() {
    check(
        "<item><name>a</name><port>1</port></item>",
        "<label>ignored</label><item><name>a</name><port nc:operation='replace'>2</port><speed>fast</speed></item>",
        Op::None,
        "<item><name>a</name><port>2</port></item>",
    );
    let e = refuse(
        "",
        "<item><name>a</name><port nc:operation='merge'>2</port></item>",
        Op::None,
    );
    assert_eq!(e[0].tag, ErrorTag::DataMissing);
    assert_eq!(e[0].path.as_deref(), Some("/test-box:box/item[name='a']"));
}

#[test]
fn user_ordered_entries_go_where_they_are_told() {
    let before = "<step><id>a</id></step><step><id>b</id></step><step><id>c</id></step>";
    let order = |ids: &str| {
        ids.chars()
            .map(|c| format!("<step><id>{c}</id></step>"))
            .collect::<String>()
    };
    for (edit, after) in [
        ("<step yang:insert='first'><id>n</id></step>", "nabc"),
        ("<step yang:insert='last'><id>n</id></step>", "abcn"),
        ("<step><id>n</id></step>", "abcn"),
        (
            "<step yang:insert='before' yang:key=\"[box:id='b']\"><id>n</id></step>",
            "anbc",
        ),
        (
            "<step yang:insert='after' yang:key=\"[box:id='b']\"><id>n</id></step>",
            "abnc",
        ),
        (
            "<step nc:operation='create' yang:insert='before' yang:key=\"[box:id='a']\"><id>n</id></step>",
            "nabc",
        ),
        ("<step yang:insert='first'><id>c</id></step>", "cab"),
        ("<step yang:insert='last'><id>a</id></step>", "bca"),
        (
            "<step yang:insert='before' yang:key=\"[box:id='c']\"><id>a</id></step>",
            "bac",
        ),
        (
            "<step yang:insert='after' yang:key=\"[box:id='c']\"><id>a</id></step>",
            "bca",
        ),
        (
            "<step yang:insert='before' yang:key=\"[box:id='b']\"><id>a</id></step>",
            "abc",
        ),
        ("<step nc:operation='delete'><id>b</id></step>", "ac"),
    ] {
        check(before, edit, Op::Merge, &order(after));
    }
    let tags = |t: &str| {
        t.chars()
            .map(|c| format!("<tag>{c}</tag>"))
            .collect::<String>()
    };
    check(
        &tags("abc"),
        "<tag yang:insert='before' yang:value='b'>c</tag>",
        Op::Merge,
        &tags("acb"),
    );
    check(
        &tags("abc"),
        "<tag yang:insert='first'>n</tag>",
        Op::Merge,
        &tags("nabc"),
    );
    check(&tags("abc"), &tags("cab"), Op::Replace, &tags("cab"));
    check(&tags("abcd"), &tags("dxb"), Op::Replace, &tags("dxb"));
    check(before, &order("cxa"), Op::Replace, &order("cxa"));
}

#[test]
fn a_bad_insertion_point_is_refused() {
    let e = refuse(
        "<step><id>a</id></step>",
        "<step yang:insert='after' yang:key=\"[box:id='z']\"><id>n</id></step>",
        Op::Merge,
    );
    assert_eq!(
        (e[0].tag, e[0].app_tag.as_deref()),
        (ErrorTag::BadAttribute, Some("missing-instance"))
    );
    let e = refuse("", "<step yang:insert='after'><id>n</id></step>", Op::Merge);
    assert_eq!(e[0].tag, ErrorTag::MissingAttribute);
    for pointless in [
        "<item yang:insert='first'><name>n</name></item>",
        "<step yang:key=\"[box:id='a']\"><id>n</id></step>",
        "<step yang:insert='last' yang:key=\"[box:id='a']\"><id>n</id></step>",
        "<step yang:insert='after' yang:value='a' yang:key=\"[box:id='a']\"><id>n</id></step>",
        "<tag yang:insert='after' yang:key='a' yang:value='a'>n</tag>",
        "<step nc:operation='remove' yang:insert='first'><id>n</id></step>",
    ] {
        let e = refuse("<step><id>a</id></step><tag>a</tag>", pointless, Op::Merge);
        assert_eq!(e[0].tag, ErrorTag::BadAttribute, "{pointless}: {e:?}");
    }
}

#[test]
fn a_new_case_removes_the_other() {
    check(
        "<radius>3</radius>",
        "<side>4</side>",
        Op::Merge,
        "<side>4</side>",
    );
    check(
        "<radius>3</radius><smooth>false</smooth>",
        "<corners><sharp>true</sharp></corners>",
        Op::Merge,
        "<corners><sharp>true</sharp></corners>",
    );
    let e = refuse("", "<radius>3</radius><side>4</side>", Op::Merge);
    assert_eq!(e[0].tag, ErrorTag::BadElement);
    check(
        "<radius>3</radius>",
        "<radius nc:operation='delete'/><side>4</side>",
        Op::Merge,
        "<side>4</side>",
    );
}

#[test]
fn anydata_is_replaced_whole() {
    let blob = "<blob><x xmlns=\"urn:x\"><y>1</y></x></blob>";
    check("", blob, Op::Merge, blob);
    check("<blob><z xmlns=\"urn:x\"/></blob>", blob, Op::Merge, blob);
    check(blob, "<blob nc:operation='delete'/>", Op::Merge, "");
}

#[test]
fn defaults_of_leaf_lists_give_way() {
    let mut t = tree("");
    assert_eq!(t.count("/test-box:box/mode").expect("xpath"), 2);
    edit(&mut t, "<mode>m2</mode>", Op::Merge).expect("edit");
    t.validate().expect("valid");
    assert_eq!(set(&t), "<mode>m2</mode>");
    assert_eq!(t.count("/test-box:box/mode").expect("xpath"), 1);
}

#[test]
fn keys_take_no_operation_and_unknown_attributes_are_refused() {
    let e = refuse(
        "",
        "<item><name nc:operation='create'>a</name></item>",
        Op::Merge,
    );
    assert_eq!(e[0].tag, ErrorTag::BadAttribute);
    let e = refuse("", "<label foo='bar'>a</label>", Op::Merge);
    assert_eq!(e[0].tag, ErrorTag::UnknownAttribute, "{e:?}");
    let e = refuse(
        "",
        "<label xmlns:o='urn:other' o:foo='bar'>a</label>",
        Op::Merge,
    );
    assert_eq!(e[0].tag, ErrorTag::UnknownAttribute, "{e:?}");
    let e = refuse("", "<label nc:operation='frobnicate'>a</label>", Op::Merge);
    assert_eq!(e[0].tag, ErrorTag::BadAttribute, "{e:?}");
}

#[test]
fn what_the_schema_does_not_know_is_refused() {
    for (edit, tag) in [
        ("<nonsense/>", ErrorTag::UnknownElement),
        ("<x xmlns=\"urn:nobody\"/>", ErrorTag::UnknownNamespace),
        ("<size>many</size>", ErrorTag::InvalidValue),
        ("<size>300</size>", ErrorTag::InvalidValue),
        ("<item><port>1</port></item>", ErrorTag::MissingElement),
        (
            "<item><name>a</name><state>x</state></item>",
            ErrorTag::InvalidValue,
        ),
        (
            "<size nc:operation='delete'>many</size>",
            ErrorTag::InvalidValue,
        ),
    ] {
        let e = refuse("", edit, Op::Merge);
        assert_eq!(e[0].tag, tag, "{edit}: {e:?}");
        assert!(e[0].path.is_some(), "{edit}: {e:?}");
    }
    let mut t = tree("");
    let e = edit(&mut t, "<a", Op::Merge).expect_err("not XML");
    assert_eq!(e[0].tag, ErrorTag::MalformedMessage);
}

#[test]
fn a_secret_value_is_not_repeated_in_an_error() {
    let e = refuse("", "<secret>abc</secret>", Op::Merge);
    assert_eq!(e[0].tag, ErrorTag::InvalidValue);
    assert!(!e[0].message.contains("abc"), "{}", e[0].message);
    let e = refuse("", "<oval><key>abc</key></oval>", Op::Merge);
    assert!(
        !e[0].message.contains("abc"),
        "in a choice: {}",
        e[0].message
    );
}

#[test]
fn the_path_of_an_error_has_no_choices_and_cases() {
    let path = |inner| refuse("", inner, Op::Merge)[0].path.clone();
    let long = "/test-box:box/oval/long";
    assert_eq!(path("<oval><long>x</long></oval>").as_deref(), Some(long));
    let radius = "/test-box:box/radius";
    assert_eq!(path("<radius>x</radius>").as_deref(), Some(radius));
}

#[test]
fn continue_on_error_reports_every_error() {
    let mut t = tree("<label>l</label>");
    let config = fragment(&xml(
        "<label nc:operation='create'>m</label><size nc:operation='delete'>7</size><opts/>",
    ));
    let errors = engine::apply(&mut t, &config, Op::Merge, ErrorOption::ContinueOnError)
        .expect_err("two errors");
    assert_eq!(
        errors.iter().map(|e| e.tag).collect::<Vec<_>>(),
        [ErrorTag::DataMissing, ErrorTag::DataExists]
    );
    assert_eq!(set(&t), "<label>l</label>");
    let (_, errors) =
        engine::apply_partially(&mut t, &config, Op::Merge, ErrorOption::ContinueOnError)
            .expect("parsed");
    assert_eq!(errors.len(), 2);
    assert_eq!(set(&t), "<label>l</label><opts/>");
}

#[test]
fn changes_are_net_and_name_what_happened() {
    let mut t = tree("<label>l</label><item><name>a</name></item>");
    let diff = edit(
        &mut t,
        "<label>m</label><item nc:operation='delete'><name>a</name></item><opts><a>1</a></opts>",
        Op::Merge,
    )
    .expect("edit");
    let changes: Vec<_> = diff
        .changes()
        .into_iter()
        .filter(|c| !c.is_default)
        .map(|c| (c.op, c.path, c.value))
        .collect();
    let change =
        |op, path: &str, value: Option<&str>| (op, path.to_owned(), value.map(str::to_owned));
    assert_eq!(
        changes,
        [
            change(ChangeOp::Delete, "/test-box:box/item[name='a']", None),
            change(
                ChangeOp::Delete,
                "/test-box:box/item[name='a']/name",
                Some("a")
            ),
            change(
                ChangeOp::Replace { old: "l".into() },
                "/test-box:box/label",
                Some("m")
            ),
            change(ChangeOp::Create, "/test-box:box/opts", None),
            change(ChangeOp::Create, "/test-box:box/opts/a", Some("1")),
        ]
    );
    let there = "<label>n</label><opts nc:operation='delete'/>";
    let back = "<label>m</label><opts><a>1</a></opts>";
    let mut both = edit(&mut t, there, Op::Merge).expect("edit");
    both.append(edit(&mut t, back, Op::Merge).expect("edit"));
    assert!(both.is_empty(), "{both:?}");
}

#[test]
fn keys_with_both_kinds_of_quotes_are_found_again() {
    let odd = "<item><name>it's \"odd\"</name><port>1</port></item>";
    check(
        odd,
        "<item nc:operation='delete'><name>it's \"odd\"</name></item>",
        Op::Merge,
        "",
    );
    check(
        odd,
        "<item><name>it's \"odd\"</name><port>2</port></item>",
        Op::Merge,
        &odd.replace(">1<", ">2<"),
    );
}

#[test]
fn what_is_missing_is_named_with_its_module() {
    let mut t = tree("");
    let config = fragment(
        "<alone xmlns='urn:test:box' xmlns:nc='urn:ietf:params:xml:ns:netconf:base:1.0' \
         nc:operation='delete'/>",
    );
    let e = engine::apply(&mut t, &config, Op::Merge, ErrorOption::StopOnError)
        .expect_err("it is not there");
    assert_eq!(e[0].path.as_deref(), Some("/test-box:alone"), "{e:?}");
}

#[test]
fn top_level_lists_and_replace_of_everything() {
    let rows = |ids: &[u32]| {
        ids.iter()
            .map(|i| format!("<row xmlns=\"urn:test:box\"><id>{i}</id><a>x</a></row>"))
            .collect::<String>()
    };
    let mut t =
        Tree::parse(schema(), Format::Xml, &rows(&[1, 2, 3]), Content::Config).expect("rows");
    let was = full(&t);
    let diff = engine::apply(
        &mut t,
        &fragment(&rows(&[3, 4])),
        Op::Replace,
        ErrorOption::RollbackOnError,
    )
    .expect("replace");
    assert_eq!(t.count("/test-box:row").expect("xpath"), 2);
    assert!(t.exists("/test-box:row[id='4']") && !t.exists("/test-box:row[id='1']"));
    diff.undo(&mut t).expect("undo");
    assert_eq!(full(&t), was);
    let everything = t.duplicate().expect("copy");
    let diff = engine::apply(
        &mut t,
        &fragment(""),
        Op::Replace,
        ErrorOption::RollbackOnError,
    )
    .expect("clear");
    assert!(t.is_empty());
    diff.undo(&mut t).expect("undo");
    assert_eq!(full(&t), full(&everything));
}
