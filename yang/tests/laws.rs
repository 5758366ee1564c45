//! Laws of edits, for generated configurations and edits.

mod support;

use proptest::prelude::*;
use support::{edit, fragment, full, request, schema, set, tree};
use tranche_netconf::error::ErrorTag;
use tranche_netconf::message::{DefaultOperation as Op, ErrorOption};
use tranche_yang::{Content, Datastores, Diff, Format, Tree, edit as engine};

/// One entry or leaf of `box`, with an operation or none; all of them valid together.
fn piece(operations: &'static [&'static str]) -> impl Strategy<Value = String> {
    let op = prop::sample::select(operations);
    let id = prop::sample::select(&["a", "b", "c", "d"][..]);
    let word = "[a-z]{1,5}";
    (0..12usize, op, id, word, any::<u8>(), any::<bool>()).prop_map(
        |(kind, op, id, word, number, flag)| {
            let at = if op.is_empty() { String::new() } else { format!(" nc:operation='{op}'") };
            let insert = if flag { " yang:insert='first'" } else { "" };
            let insert = if op == "delete" || op == "remove" { "" } else { insert };
            match kind {
                0 => format!("<label{at}>{word}</label>"),
                1 => format!("<size{at}>{}</size>", number % 11),
                2 => format!("<item{at}><name>{id}</name><speed>{}</speed></item>", if flag { "slow" } else { "fast" }),
                3 => format!("<item{at}><name>{id}</name><inner><deep>{word}</deep></inner></item>"),
                4 => format!("<item{at}><name>{id}</name><inner><sub><a>{word}</a><b>{number}</b></sub></inner></item>"),
                5 => format!("<step{at}{insert}><id>{id}</id><note>{word}</note></step>"),
                6 => format!("<tag{at}{insert}>{id}</tag>"),
                7 => format!("<mode{at}>m{}</mode>", number % 4),
                8 => format!("<opts{at}><a>{word}</a></opts>"),
                9 => format!("<plain{at}><x>{number}</x><y>{}</y></plain>", number % 5),
                10 if flag => format!("<radius{at}>{number}</radius>"),
                10 => format!("<corners{at}><sharp>{flag}</sharp></corners>"),
                _ => format!("<blob{at}><q xmlns='urn:q'>{word}</q></blob>"),
            }
        },
    )
}

/// A configuration: what merging some pieces one after the other gives.
fn config() -> impl Strategy<Value = Tree> {
    prop::collection::vec(piece(&[""]), 0..10).prop_map(|pieces| {
        let mut t = tree("");
        for p in pieces {
            edit(&mut t, &p, Op::Merge).expect("a piece is a valid edit");
        }
        t.validate().expect("pieces are valid together");
        t
    })
}

const ANY: &[&str] = &["", "merge", "replace", "create", "delete", "remove"];

fn edits() -> impl Strategy<Value = String> {
    // Each piece is an edit of its own: together they could name one node twice.
    piece(ANY)
}

fn default_op() -> impl Strategy<Value = Op> {
    prop::sample::select(&[Op::Merge, Op::Replace, Op::None][..])
}

/// The same, but for `debug` only.
#[derive(Debug)]
struct Shown(#[allow(dead_code, reason = "printed when a law fails")] String);

fn shown(t: &Tree) -> Shown {
    Shown(set(t))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_edit_is_undone_exactly_and_a_refused_one_changes_nothing(t in config(), e in edits(), op in default_op()) {
        let mut now = t.duplicate().expect("copy");
        match edit(&mut now, &e, op) {
            Ok(diff) => {
                let after = full(&now);
                diff.undo(&mut now).expect("undo");
                prop_assert_eq!(full(&now), full(&t), "undo of {} on {:?}", e, shown(&t));
                diff.apply(&mut now).expect("apply");
                prop_assert_eq!(&full(&now), &after);
                diff.undo(&mut now).expect("undo");
                // With `none` an edit can leave an empty container of another case, which is no data and in no journal.
                if !matches!(op, Op::None) {
                    // As after a restart: explicit data from the disk, then the journal; validation adds the defaults.
                    let stored = t.print(Format::Xml, tranche_yang::PrintOptions::default());
                    let mut replayed =
                        Tree::parse(schema(), Format::Xml, &stored, Content::ConfigUnvalidated).expect("stored");
                    replayed.replay(&diff.to_journal().expect("journal")).expect("replay");
                    diff.apply(&mut now).expect("apply");
                    prop_assert_eq!(now.validate().is_ok(), replayed.validate().is_ok());
                    prop_assert_eq!(full(&replayed), full(&now), "journal of {}", e);
                }
            }
            Err(errors) => {
                prop_assert!(matches!(errors[0].tag, ErrorTag::DataExists | ErrorTag::DataMissing), "{:?}", errors);
                prop_assert_eq!(full(&now), full(&t));
            }
        }
    }

    #[test]
    fn merging_twice_is_merging_once(t in config(), other in config()) {
        let mut now = t.duplicate().expect("copy");
        let source = fragment(&other.print(Format::Xml, tranche_yang::PrintOptions::default()));
        engine::apply(&mut now, &source, Op::Merge, ErrorOption::StopOnError).expect("merge");
        now.validate().expect("valid");
        let once = full(&now);
        let again = engine::apply(&mut now, &source, Op::Merge, ErrorOption::StopOnError).expect("merge");
        prop_assert!(again.is_empty(), "{:?}", again);
        prop_assert_eq!(full(&now), once);
    }

    #[test]
    fn replacing_everything_gives_the_source(t in config(), other in config()) {
        let mut now = t.duplicate().expect("copy");
        let source = fragment(&other.print(Format::Xml, tranche_yang::PrintOptions::default()));
        let diff = engine::apply(&mut now, &source, Op::Replace, ErrorOption::StopOnError).expect("replace");
        now.validate().expect("valid");
        prop_assert_eq!(full(&now), full(&other), "from {:?} by {:?}", shown(&t), diff);
    }

    #[test]
    fn creating_and_deleting_is_doing_nothing(t in config(), id in "[e-h]") {
        let mut now = t.duplicate().expect("copy");
        let item = |op: &str| format!("<item nc:operation='{op}'><name>{id}</name><speed>fast</speed></item>");
        let absent = edit(&mut now, &item("delete"), Op::Merge).expect_err("absent");
        prop_assert_eq!(absent[0].tag, ErrorTag::DataMissing);
        prop_assert_eq!(full(&now), full(&t));
        edit(&mut now, &item("create"), Op::Merge).expect("create");
        now.validate().expect("valid");
        let exists = edit(&mut now, &item("create"), Op::Merge).expect_err("exists");
        prop_assert_eq!(exists[0].tag, ErrorTag::DataExists);
        edit(&mut now, &item("delete"), Op::Merge).expect("delete");
        now.validate().expect("valid");
        prop_assert_eq!(full(&now), full(&t));
    }

    #[test]
    fn a_diff_between_leads_there_and_back(a in config(), b in config()) {
        let diff = Diff::between(&a, &b).expect("diff");
        let mut now = a.duplicate().expect("copy");
        diff.apply(&mut now).expect("apply");
        prop_assert_eq!(full(&now), full(&b));
        diff.undo(&mut now).expect("undo");
        prop_assert_eq!(full(&now), full(&a));
        prop_assert_eq!(diff.is_empty(), full(&a) == full(&b));
    }
}

/// What somebody does to a server.
#[derive(Debug, Clone)]
enum Step {
    Running(String),
    Rejected(String),
    Candidate(String),
    Commit,
    Discard,
    Hold,
    LetGo,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => edits().prop_map(Step::Running),
        2 => edits().prop_map(Step::Rejected),
        4 => edits().prop_map(Step::Candidate),
        2 => Just(Step::Commit),
        1 => Just(Step::Discard),
        1 => Just(Step::Hold),
        1 => Just(Step::LetGo),
    ]
}

/// The whole tree after an edit, worked out on a copy.
fn expected(t: &Tree, e: &str) -> Option<Tree> {
    let mut copy = t.duplicate().expect("copy");
    edit(&mut copy, e, Op::Merge).ok()?;
    copy.validate().expect("pieces are valid together");
    // As read back from a file: nothing but the content counts.
    let text = copy.print(Format::Xml, tranche_yang::PrintOptions::default());
    Some(Tree::parse(schema(), Format::Xml, &text, Content::Config).expect("valid"))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn datastores_hold_what_copies_of_whole_trees_would(steps in prop::collection::vec(step(), 1..25)) {
        let mut ds = Datastores::new(schema(), tree(""), None).expect("datastores");
        let (mut running, mut candidate) = (tree(""), tree(""));
        let mut clean = true;
        let mut held = Vec::new();
        for s in steps {
            match s {
                Step::Running(e) => match (ds.propose_edit(1, &request(&e)), expected(&running, &e)) {
                    (Ok(proposal), Some(after)) => {
                        prop_assert_eq!(full(proposal.old()), full(&running));
                        ds.accept(proposal).expect("accept");
                        running = after;
                        if clean {
                            candidate = running.duplicate().expect("copy");
                        }
                    }
                    (Err(_), None) => {}
                    (got, want) => prop_assert!(false, "{} gives {:?}, wanted {:?}", e, got.is_ok(), want.is_some()),
                },
                Step::Rejected(e) => {
                    if let Ok(proposal) = ds.propose_edit(1, &request(&e)) {
                        ds.reject(proposal).expect("reject");
                    }
                }
                Step::Candidate(e) => {
                    let got = ds.edit_candidate(1, &request(&e));
                    let want = expected(&candidate, &e);
                    prop_assert_eq!(got.is_ok(), want.is_some(), "{}", e);
                    if let Some(after) = want {
                        candidate = after;
                        clean = !ds.candidate_modified();
                    }
                }
                Step::Commit => {
                    let proposal = ds.propose_commit(1).expect("valid");
                    ds.accept(proposal).expect("accept");
                    running = candidate.duplicate().expect("copy");
                    clean = true;
                }
                Step::Discard => {
                    ds.discard(1).expect("discard");
                    candidate = running.duplicate().expect("copy");
                    clean = true;
                }
                Step::Hold => held.push((ds.running(), ds.candidate(), full(&running), set(&candidate))),
                Step::LetGo => held.clear(),
            }
            prop_assert_eq!(full(&ds.running()), full(&running));
            prop_assert_eq!(set(&ds.candidate()), set(&candidate));
            for (r, c, was_running, was_candidate) in &held {
                prop_assert_eq!(&full(r), was_running, "a reader's tree changed");
                prop_assert_eq!(&set(c), was_candidate, "a reader's tree changed");
            }
        }
    }
}
