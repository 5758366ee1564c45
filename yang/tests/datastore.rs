//! Datastores: proposals, locks, the candidate, validation errors.

mod support;

use std::sync::Arc;

use support::{full, request, schema, set, tree};
use tranche_netconf::error::ErrorTag;
use tranche_netconf::message::{
    ConfigSource, Datastore, DefaultOperation, ErrorOption, TestOption,
};
use tranche_yang::{Datastores, Error, Tree};

fn stores(inner: &str) -> Datastores {
    Datastores::new(schema(), tree(inner), None).expect("datastores")
}

fn commit_edit(ds: &mut Datastores, inner: &str) {
    let proposal = ds.propose_edit(1, &request(inner)).expect("proposal");
    ds.accept(proposal).expect("accepted");
}

fn info(e: &Error) -> &str {
    &e.info[0].1
}

#[test]
fn accept_publishes_and_reject_puts_back() {
    let mut ds = stores("<label>l</label>");
    let before = ds.running();
    let proposal = ds
        .propose_edit(1, &request("<label>m</label>"))
        .expect("proposal");
    assert_eq!(set(proposal.old()), "<label>l</label>");
    assert_eq!(set(proposal.new()), "<label>m</label>");
    assert_eq!(
        set(&ds.running()),
        "<label>l</label>",
        "readers do not see what is not published"
    );
    ds.reject(proposal).expect("rejected");
    assert_eq!(set(&ds.running()), "<label>l</label>");

    for n in 0..5 {
        let label = format!("<label>v{n}</label><item><name>i{n}</name></item>");
        let proposal = ds.propose_edit(1, &request(&label)).expect("proposal");
        let want = full(proposal.new());
        ds.accept(proposal).expect("accepted");
        assert_eq!(full(&ds.running()), want);
        assert_eq!(
            full(&ds.candidate()),
            want,
            "a candidate without changes follows"
        );
        assert!(!ds.candidate_modified());
    }
    assert_eq!(
        set(&before),
        "<label>l</label>",
        "a reader keeps what it took"
    );
    assert_eq!(ds.running().count("/test-box:box/item").expect("xpath"), 5);
}

#[test]
fn an_invalid_edit_changes_nothing_and_every_reason_is_named() {
    let mut ds = stores("<item><name>a</name><port>1</port></item>");
    let was = full(&ds.running());
    let errors = ds
        .propose_edit(
            1,
            &request(
                "<limit>3</limit><item><name>b</name><port>1</port></item><favourite>nobody</favourite>\
                 <number>1</number><number>2</number><number>3</number><number>4</number><need/>",
            ),
        )
        .expect_err("invalid");
    assert_eq!(full(&ds.running()), was);
    let find = |app_tag: &str| {
        errors
            .iter()
            .find(|e| e.app_tag.as_deref() == Some(app_tag))
            .unwrap_or_else(|| panic!("{app_tag} in {errors:#?}"))
    };
    let must = find("too-small");
    assert_eq!(must.tag, ErrorTag::OperationFailed);
    assert_eq!(must.message, "the limit is below the size");
    assert_eq!(must.path.as_deref(), Some("/test-box:box/limit"));
    let unique = find("data-not-unique");
    assert_eq!(unique.tag, ErrorTag::OperationFailed);
    assert_eq!(
        unique
            .info
            .iter()
            .filter(|(n, _)| n == "non-unique")
            .count(),
        2
    );
    let leafref = find("instance-required");
    assert_eq!(leafref.tag, ErrorTag::DataMissing);
    assert_eq!(leafref.path.as_deref(), Some("/test-box:box/favourite"));
    assert_eq!(find("too-many-elements").tag, ErrorTag::OperationFailed);
    assert_eq!(find("missing-instance").tag, ErrorTag::DataMissing);
    assert_eq!(find("missing-choice").tag, ErrorTag::DataMissing);
    let rpc = unique.to_rpc_error();
    assert!(
        rpc.info_xml
            .as_str()
            .contains("<non-unique xmlns=\"urn:ietf:params:xml:ns:yang:1\">")
    );
    // The second tree is as good as new.
    commit_edit(&mut ds, "<label>ok</label>");
    assert_eq!(
        set(&ds.running()),
        "<label>ok</label><item><name>a</name><port>1</port></item>"
    );
}

#[test]
fn a_false_when_takes_its_nodes_along_and_brings_them_back_on_reject() {
    let mut ds = stores("<size>20</size><heavy>h</heavy>");
    let was = full(&ds.running());
    let proposal = ds
        .propose_edit(1, &request("<size>5</size>"))
        .expect("proposal");
    assert!(!proposal.new().exists("/test-box:box/heavy"));
    ds.reject(proposal).expect("reject");
    let again = ds
        .propose_edit(1, &request("<label>x</label>"))
        .expect("proposal");
    assert_eq!(full(again.old()), was);
    assert!(again.new().exists("/test-box:box/heavy"));
    ds.accept(again).expect("accept");
    commit_edit(&mut ds, "<size>5</size>");
    assert_eq!(set(&ds.running()), "<label>x</label><size>5</size>");
    assert_eq!(full(&ds.candidate()), full(&ds.running()));
    let e = ds
        .propose_edit(1, &request("<heavy>h</heavy>"))
        .expect_err("when is false");
    assert_eq!(e[0].tag, ErrorTag::UnknownElement);
}

#[test]
fn one_proposal_at_a_time_and_a_dropped_one_is_rejected() {
    let mut ds = stores("");
    let first = ds
        .propose_edit(1, &request("<label>a</label>"))
        .expect("proposal");
    let e = ds
        .propose_edit(2, &request("<label>b</label>"))
        .expect_err("one at a time");
    assert_eq!(e[0].tag, ErrorTag::InUse);
    assert_eq!(
        ds.edit_candidate(2, &request("<label>b</label>"))
            .expect_err("busy")[0]
            .tag,
        ErrorTag::InUse
    );
    drop(first);
    commit_edit(&mut ds, "<label>b</label>");
    assert_eq!(set(&ds.running()), "<label>b</label>");
}

#[test]
fn commit_publishes_the_candidate_and_discard_forgets_it() {
    let mut ds = stores("<label>l</label>");
    ds.edit_candidate(1, &request("<label>m</label><opts/>"))
        .expect("edit");
    ds.edit_candidate(1, &request("<tag>x</tag>"))
        .expect("edit");
    assert!(ds.candidate_modified());
    assert_eq!(set(&ds.running()), "<label>l</label>");
    assert_eq!(set(&ds.candidate()), "<label>m</label><opts/><tag>x</tag>");
    let proposal = ds.propose_commit(1).expect("proposal");
    assert_eq!(
        proposal
            .diff()
            .changes()
            .iter()
            .filter(|c| !c.is_default)
            .count(),
        3
    );
    ds.accept(proposal).expect("accept");
    assert!(!ds.candidate_modified());
    assert_eq!(set(&ds.running()), "<label>m</label><opts/><tag>x</tag>");
    assert_eq!(full(&ds.candidate()), full(&ds.running()));

    ds.edit_candidate(1, &request("<label>n</label>"))
        .expect("edit");
    ds.discard(1).expect("discard");
    assert!(!ds.candidate_modified());
    assert_eq!(full(&ds.candidate()), full(&ds.running()));
}

#[test]
fn a_candidate_may_be_invalid_until_it_is_committed() {
    let mut ds = stores("");
    ds.edit_candidate(1, &request("<favourite>a</favourite>"))
        .expect("edit");
    let source = ConfigSource::Datastore(Datastore::Candidate);
    assert_eq!(
        ds.validate(&source).expect_err("leafref")[0]
            .app_tag
            .as_deref(),
        Some("instance-required")
    );
    assert_eq!(
        ds.propose_commit(1).expect_err("leafref")[0].tag,
        ErrorTag::DataMissing
    );
    assert_eq!(set(&ds.candidate()), "<favourite>a</favourite>");
    ds.edit_candidate(1, &request("<item><name>a</name></item>"))
        .expect("edit");
    ds.validate(&source).expect("valid now");
    let proposal = ds.propose_commit(1).expect("proposal");
    ds.accept(proposal).expect("accept");
    assert_eq!(
        set(&ds.running()),
        "<item><name>a</name></item><favourite>a</favourite>"
    );
}

#[test]
fn a_commit_after_running_moved_on_makes_running_the_candidate() {
    let mut ds = stores("<label>l</label>");
    ds.edit_candidate(1, &request("<tag>x</tag>"))
        .expect("edit");
    commit_edit(&mut ds, "<label>moved</label><opts/>");
    assert_eq!(set(&ds.candidate()), "<label>l</label><tag>x</tag>");
    let proposal = ds.propose_commit(1).expect("proposal");
    ds.accept(proposal).expect("accept");
    assert_eq!(set(&ds.running()), "<label>l</label><tag>x</tag>");
    assert_eq!(full(&ds.candidate()), full(&ds.running()));
    assert!(!ds.candidate_modified());
    ds.edit_candidate(1, &request("<tag>y</tag>"))
        .expect("edit");
    commit_edit(&mut ds, "<label>again</label>");
    ds.discard(1).expect("discard");
    assert_eq!(full(&ds.candidate()), full(&ds.running()));
}

#[test]
fn test_only_changes_nothing() {
    let mut ds = stores("<label>l</label>");
    let was = full(&ds.running());
    let mut r = request("<label>m</label>");
    r.test_option = TestOption::TestOnly;
    let proposal = ds.propose_edit(1, &r).expect("proposal");
    assert!(proposal.is_test_only());
    ds.accept(proposal).expect("accept");
    assert_eq!(full(&ds.running()), was);
    ds.edit_candidate(1, &r).expect("valid");
    assert_eq!(full(&ds.candidate()), was);
    assert!(!ds.candidate_modified());
    let mut bad = request("<favourite>a</favourite>");
    bad.test_option = TestOption::TestOnly;
    assert_eq!(
        ds.edit_candidate(1, &bad).expect_err("leafref")[0].tag,
        ErrorTag::DataMissing
    );
    assert_eq!(full(&ds.candidate()), was);
}

#[test]
fn test_option_set_keeps_the_good_part() {
    let mut ds = stores("<label>l</label>");
    let mut r = request("<label nc:operation='create'>m</label><opts/>");
    r.error_option = ErrorOption::ContinueOnError;
    ds.edit_candidate(1, &r).expect_err("exists");
    assert_eq!(
        set(&ds.candidate()),
        "<label>l</label>",
        "test-then-set does not set"
    );
    r.test_option = TestOption::Set;
    ds.edit_candidate(1, &r).expect_err("exists");
    assert_eq!(set(&ds.candidate()), "<label>l</label><opts/>");
    r.error_option = ErrorOption::RollbackOnError;
    ds.discard(1).expect("discard");
    ds.edit_candidate(1, &r).expect_err("exists");
    assert_eq!(set(&ds.candidate()), "<label>l</label>");
}

#[test]
fn locks_keep_others_out() {
    let mut ds = stores("");
    ds.lock(4, Datastore::Running).expect("lock");
    let e = ds.lock(5, Datastore::Running).expect_err("held");
    assert_eq!((e.tag, info(&e)), (ErrorTag::LockDenied, "4"));
    assert_eq!(
        ds.lock(4, Datastore::Running)
            .expect_err("held by itself")
            .tag,
        ErrorTag::LockDenied
    );
    let e = ds
        .propose_edit(5, &request("<label>x</label>"))
        .expect_err("locked");
    assert_eq!((e[0].tag, info(&e[0])), (ErrorTag::InUse, "4"));
    assert_eq!(
        ds.propose_commit(5).expect_err("locked")[0].tag,
        ErrorTag::InUse
    );
    let e = ds.unlock(5, Datastore::Running).expect_err("not its lock");
    assert_eq!((e.tag, info(&e)), (ErrorTag::LockDenied, "4"));
    let proposal = ds
        .propose_edit(4, &request("<label>x</label>"))
        .expect("its own lock");
    ds.accept(proposal).expect("accept");
    ds.unlock(4, Datastore::Running).expect("unlock");
    assert_eq!(
        ds.unlock(4, Datastore::Running)
            .expect_err("not locked")
            .tag,
        ErrorTag::OperationFailed
    );
}

#[test]
fn lock_is_released_when_the_session_closes_and_takes_the_candidate_s_changes_along() {
    let mut ds = stores("");
    ds.lock(4, Datastore::Candidate).expect("lock");
    ds.lock(4, Datastore::Startup).expect("lock");
    ds.edit_candidate(4, &request("<label>x</label>"))
        .expect("edit");
    assert_eq!(
        ds.edit_candidate(5, &request("<label>y</label>"))
            .expect_err("locked")[0]
            .tag,
        ErrorTag::InUse
    );
    assert_eq!(ds.discard(5).expect_err("locked").tag, ErrorTag::InUse);
    ds.release_session(4).expect("release");
    assert_eq!(ds.lock_holder(Datastore::Candidate), None);
    assert_eq!(ds.lock_holder(Datastore::Startup), None);
    assert!(!ds.candidate_modified());
    assert_eq!(set(&ds.candidate()), "");

    ds.edit_candidate(5, &request("<label>y</label>"))
        .expect("edit");
    ds.release_session(5).expect("it held no lock");
    assert!(
        ds.candidate_modified(),
        "changes of a session without lock stay"
    );
    let e = ds.lock(6, Datastore::Candidate).expect_err("modified");
    assert_eq!((e.tag, info(&e)), (ErrorTag::LockDenied, "0"));
    ds.discard(6).expect("discard");
    ds.lock(6, Datastore::Candidate).expect("lock");
    ds.edit_candidate(6, &request("<label>z</label>"))
        .expect("edit");
    ds.unlock(6, Datastore::Candidate).expect("unlock");
    assert!(!ds.candidate_modified(), "unlock discards");
}

#[test]
fn copy_config_replaces_whole_configurations() {
    let mut ds = stores("<label>l</label><item><name>a</name></item>");
    let other = tree("<label>o</label>");
    ds.copy_to_candidate(1, &other).expect("copy");
    assert_eq!(full(&ds.candidate()), full(&other));
    let proposal = ds.propose_replace(1, &tree("<opts/>")).expect("proposal");
    ds.accept(proposal).expect("accept");
    assert_eq!(set(&ds.running()), "<opts/>");
    let proposal = ds.propose_commit(1).expect("proposal");
    ds.accept(proposal).expect("accept");
    assert_eq!(full(&ds.running()), full(&other));

    assert_eq!(
        ds.source(&ConfigSource::Datastore(Datastore::Startup))
            .expect_err("none")[0]
            .tag,
        ErrorTag::DataMissing
    );
    let running = ds.running();
    ds.copy_to_startup(1, &running).expect("copy");
    assert_eq!(full(&ds.startup().expect("startup")), full(&running));
    ds.delete_startup(1).expect("delete");
    assert_eq!(
        ds.delete_startup(1).expect_err("gone").tag,
        ErrorTag::DataMissing
    );
    assert_eq!(
        ds.source(&ConfigSource::Url("file:///x".into()))
            .expect_err("url")[0]
            .tag,
        ErrorTag::OperationNotSupported
    );
}

#[test]
fn a_slow_reader_does_not_hold_up_writers() {
    let mut ds = stores("");
    let readers: Vec<Arc<Tree>> = (0..4)
        .map(|n| {
            commit_edit(&mut ds, &format!("<tag>{n}</tag>"));
            ds.running()
        })
        .collect();
    for (n, reader) in readers.iter().enumerate() {
        assert_eq!(reader.count("/test-box:box/tag").expect("xpath"), n + 1);
    }
    let mut r = request("<label>end</label>");
    r.default_operation = DefaultOperation::Replace;
    let proposal = ds.propose_edit(1, &r).expect("proposal");
    ds.accept(proposal).expect("accept");
    assert_eq!(set(&ds.running()), "<label>end</label>");
}

#[test]
fn running_is_read_from_many_threads_while_it_changes() {
    let mut ds = stores("");
    std::thread::scope(|scope| {
        for n in 0..20 {
            commit_edit(
                &mut ds,
                &format!("<item><name>n{n}</name><port>{n}</port></item>"),
            );
            let tree = ds.running();
            scope.spawn(move || {
                assert_eq!(tree.count("/test-box:box/item").expect("xpath"), n + 1);
                assert!(full(&tree).contains(&format!("<port>{n}</port>")));
            });
        }
    });
}
