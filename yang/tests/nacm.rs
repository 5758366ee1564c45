//! Access control by the steps of RFC 8341 3.4.
#![expect(clippy::panic, reason = "a helper says what failed and on what")]

mod support;

use support::{edit, schema, set, tree, xml};
use tranche_netconf::error::ErrorTag;
use tranche_netconf::message::DefaultOperation::Merge;
use tranche_netconf::message::WithDefaults;
use tranche_yang::nacm::{Nacm, User};
use tranche_yang::{Content, Format, Tree};

fn nacm(inner: &str) -> Nacm {
    let text = format!(
        "<nacm xmlns=\"urn:ietf:params:xml:ns:yang:ietf-netconf-acm\" xmlns:b=\"urn:test:box\">\
         <groups><group><name>ops</name><user-name>olga</user-name></group>\
         <group><name>guests</name><user-name>gus</user-name></group></groups>{inner}</nacm>"
    );
    let t = Tree::parse(schema(), Format::Xml, &text, Content::Config)
        .unwrap_or_else(|e| panic!("{e:?}"));
    Nacm::from_running(&t).unwrap_or_else(|e| panic!("{e}"))
}

fn rules(group: &str, rules: &[&str]) -> String {
    let rules: String = rules
        .iter()
        .enumerate()
        .map(|(n, r)| format!("<rule><name>r{n}</name>{r}</rule>"))
        .collect();
    format!("<rule-list><name>l-{group}</name><group>{group}</group>{rules}</rule-list>")
}

fn olga() -> User {
    User::new("olga")
}

#[test]
fn without_rules_reading_and_executing_are_permitted_and_writing_is_not() {
    let n = nacm("");
    n.operation(&olga(), "ietf-netconf", "get-config")
        .expect("exec-default");
    for sensitive in ["kill-session", "delete-config"] {
        let e = n
            .operation(&olga(), "ietf-netconf", sensitive)
            .expect_err(sensitive);
        assert_eq!(e.tag, ErrorTag::AccessDenied);
    }
    let mut t = tree("");
    let diff = edit(&mut t, "<label>x</label>", Merge).expect("edit");
    let e = n.write(&olga(), &diff).expect_err("write-default");
    assert_eq!(
        (e.tag, e.path.as_deref()),
        (ErrorTag::AccessDenied, Some("/test-box:box/label"))
    );
    let recovery = User {
        recovery: true,
        ..olga()
    };
    n.write(&recovery, &diff).expect("a recovery session may");
    nacm("<enable-nacm>false</enable-nacm>")
        .write(&olga(), &diff)
        .expect("switched off");
    nacm("<write-default>permit</write-default>")
        .write(&olga(), &diff)
        .expect("permitted");
}

#[test]
fn the_first_matching_rule_decides_about_operations() {
    let n = nacm(&format!(
        "<exec-default>deny</exec-default>{}{}",
        rules(
            "ops",
            &[
                "<module-name>test-box</module-name><rpc-name>open</rpc-name><access-operations>exec</access-operations><action>permit</action>",
                "<module-name>test-box</module-name><action>deny</action>",
                "<module-name>ietf-netconf</module-name><rpc-name>kill-session</rpc-name><action>permit</action>",
            ]
        ),
        rules("*", &["<rpc-name>get</rpc-name><action>permit</action>"])
    ));
    n.operation(&olga(), "test-box", "open")
        .expect("first rule");
    assert!(
        n.operation(&olga(), "test-box", "shut").is_err(),
        "second rule"
    );
    n.operation(&olga(), "ietf-netconf", "kill-session")
        .expect("a rule overrides the RFC's default");
    n.operation(&olga(), "ietf-netconf", "get")
        .expect("every group");
    n.operation(&User::new("gus"), "ietf-netconf", "get")
        .expect("every group");
    assert!(
        n.operation(&User::new("nobody"), "ietf-netconf", "get")
            .is_err(),
        "in no group: no rules"
    );
    n.operation(&User::new("nobody"), "ietf-netconf", "close-session")
        .expect("always");
    assert!(
        n.operation(&olga(), "ietf-netconf", "lock").is_err(),
        "exec-default"
    );
    let external = User {
        groups: vec!["ops".into()],
        ..User::new("eve")
    };
    n.operation(&external, "test-box", "open")
        .expect("external group");
    let off = nacm(&format!(
        "<exec-default>deny</exec-default><enable-external-groups>false</enable-external-groups>{}",
        rules("ops", &["<action>permit</action>"])
    ));
    assert!(off.operation(&external, "test-box", "open").is_err());
    off.operation(&olga(), "test-box", "open")
        .expect("configured group");
}

#[test]
fn path_rules_decide_about_writes_by_kind() {
    let path = |p: &str, ops: &str, action: &str| {
        format!(
            "<path>{p}</path><access-operations>{ops}</access-operations><action>{action}</action>"
        )
    };
    let n = nacm(&rules(
        "ops",
        &[
            &path(
                "/b:box/b:item[b:name='mine']",
                "create read update delete",
                "permit",
            ),
            &path("/b:box/b:label", "update", "permit"),
            &path("/b:box/b:guarded", "*", "permit"),
        ],
    ));
    let try_edit = |before: &str, change: &str| {
        let mut t = tree(before);
        edit(&mut t, change, Merge).expect("edit");
        t.validate().expect("valid");
        // As the server sees it: the net difference, defaults included.
        let diff = tranche_yang::Diff::between(&tree(before), &t).expect("diff");
        n.write(&olga(), &diff)
            .map_err(|e| e.path.unwrap_or_default())
    };
    try_edit("", "<item><name>mine</name><port>1</port></item>").expect("inside the path");
    try_edit(
        "<item><name>mine</name><port>1</port></item>",
        "<item nc:operation='delete'><name>mine</name></item>",
    )
    .expect("inside the path");
    assert_eq!(
        try_edit("", "<item><name>yours</name></item>").expect_err("another entry"),
        "/test-box:box/item[name='yours']"
    );
    try_edit("<label>a</label>", "<label>b</label>").expect("update");
    assert_eq!(
        try_edit("", "<label>b</label>").expect_err("create"),
        "/test-box:box/label"
    );
    assert!(try_edit("<label>a</label>", "<label nc:operation='delete'/>").is_err());
    try_edit("", "<guarded><g>x</g></guarded>").expect("a rule overrides default-deny-write");
    let open = nacm("<write-default>permit</write-default>");
    let mut t = tree("");
    let diff = edit(&mut t, "<guarded><g>x</g></guarded>", Merge).expect("edit");
    assert!(open.write(&olga(), &diff).is_err(), "default-deny-write");
    let mut t = tree("");
    let diff = edit(&mut t, "<size>7</size>", Merge).expect("edit");
    assert!(
        n.write(&olga(), &diff).is_err(),
        "setting a default explicitly is a create"
    );
}

#[test]
fn what_may_not_be_read_is_not_there() {
    let data = "<label>l</label><secret>hidden</secret><item><name>a</name><port>1</port></item>\
                <item><name>b</name><port>2</port></item>";
    let read = |n: &Nacm, user: &User| set(&n.prune_read(user, tree(data)).expect("pruned"));
    let plain = nacm("");
    assert!(
        !read(&plain, &olga()).contains("secret"),
        "default-deny-all"
    );
    assert!(read(&plain, &olga()).contains("<label>l</label>"));
    assert!(
        read(
            &plain,
            &User {
                recovery: true,
                ..olga()
            }
        )
        .contains("hidden")
    );
    assert!(!plain.reads_everything(&olga()));

    let n = nacm(&format!(
        "{}{}",
        rules(
            "ops",
            &[
                "<path>/b:box/b:secret</path><access-operations>read</access-operations><action>permit</action>",
                "<path>/b:box/b:item[b:name='b']</path><access-operations>read</access-operations><action>deny</action>",
                "<path>/b:box/b:item/b:port</path><access-operations>read</access-operations><action>deny</action>",
            ]
        ),
        rules(
            "guests",
            &[
                "<module-name>test-box</module-name><access-operations>read</access-operations><action>deny</action>"
            ]
        )
    ));
    assert_eq!(
        read(&n, &olga()),
        "<label>l</label><secret>hidden</secret><item><name>a</name></item>"
    );
    assert_eq!(read(&n, &User::new("gus")), "");
    assert!(read(&n, &User::new("nobody")).contains("<port>2</port>"));

    let closed = nacm(&format!(
        "<read-default>deny</read-default>{}",
        rules(
            "ops",
            &[
                "<path>/b:box</path><access-operations>read</access-operations><action>permit</action>"
            ]
        )
    ));
    assert!(
        read(&closed, &olga()).contains("<label>l</label>"),
        "the rule covers what is inside"
    );
    assert_eq!(read(&closed, &User::new("gus")), "");
}

#[test]
fn notifications_and_actions_are_checked_and_denials_counted() {
    let n = nacm(&rules(
        "ops",
        &[
            "<module-name>test-box</module-name><notification-name>opened</notification-name><access-operations>read</access-operations><action>deny</action>",
            "<path>/b:box/b:item[b:name='a']/b:reset</path><access-operations>exec</access-operations><action>deny</action>",
        ],
    ));
    let event = schema()
        .new_notification("/test-box:opened")
        .expect("notification");
    assert_eq!(
        n.notification(&olga(), &event).expect_err("denied").tag,
        ErrorTag::AccessDenied
    );
    n.notification(&User::new("gus"), &event).expect("no rule");
    assert!(
        n.notification_by_name(&olga(), "test-box", "opened")
            .is_err()
    );
    let action = |name: &str| {
        schema()
            .new_rpc(&format!("/test-box:box/item[name='{name}']/reset"))
            .expect("action")
    };
    assert!(n.execute(&olga(), &action("a")).is_err());
    n.execute(&olga(), &action("b")).expect("another entry");
    n.execute(&olga(), &schema().new_rpc("/test-box:open").expect("rpc"))
        .expect("exec-default");

    let again = n.reload(&tree("")).expect("reload");
    let mut state = Tree::empty(schema());
    again.add_state(&mut state).expect("state");
    assert_eq!(
        state
            .value("/ietf-netconf-acm:nacm/denied-notifications")
            .as_deref(),
        Some("2")
    );
    assert_eq!(
        state
            .value("/ietf-netconf-acm:nacm/denied-operations")
            .as_deref(),
        Some("1")
    );
}

#[test]
fn debug_shows_no_values() {
    let t = tree("<secret>hidden</secret><label>visible</label>");
    let mut copy = t.duplicate().expect("copy");
    let diff = edit(&mut copy, "<secret>other</secret>", Merge).expect("edit");
    for text in [
        format!("{t:?}"),
        format!("{diff:?}"),
        format!("{:?}", diff.changes()),
    ] {
        assert!(
            !text.contains("hidden") && !text.contains("other"),
            "{text}"
        );
    }
    assert!(
        t.to_fragment(WithDefaults::Explicit)
            .as_str()
            .contains("hidden")
    );
    assert!(xml("").contains("urn:test:box"));
}
