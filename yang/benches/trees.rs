//! What edits, reads, filters and diffs cost on a list of 10,000 entries of five leaves.

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use tranche_netconf::message::{
    Datastore, DefaultOperation, EditConfig, ErrorOption, Filter, TestOption, WithDefaults,
};
use tranche_netconf::xml::Fragment;
use tranche_yang::{Content, Datastores, Diff, Format, PrintOptions, Schema, Tree, filter};

const ENTRIES: u32 = 10_000;

fn schema() -> &'static Schema {
    Schema::builder()
        .module("ietf-netconf", &["writable-running", "candidate", "xpath"])
        .module("ietf-netconf-with-defaults", &[])
        .file(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/modules/test-box.yang"
        ))
        .build()
        .expect("the schema builds")
}

fn rows(from: u32, to: u32, text: &str) -> String {
    let mut out = String::from("<table xmlns=\"urn:test:box\">");
    for id in from..to {
        write!(
            out,
            "<row><id>{id}</id><a>{text}{id}</a><b>other {id}</b><c>{}</c><d>true</d></row>",
            id % 60_000
        )
        .expect("text");
    }
    out.push_str("</table>");
    out
}

fn request(config: String) -> EditConfig {
    EditConfig {
        target: Datastore::Running,
        default_operation: DefaultOperation::Merge,
        test_option: TestOption::TestThenSet,
        error_option: ErrorOption::RollbackOnError,
        config: Fragment::from_trusted(config),
    }
}

fn benches(c: &mut Criterion) {
    let schema = schema();
    let xml = rows(0, ENTRIES, "entry ");
    let tree = Tree::parse(schema, Format::Xml, &xml, Content::Config).expect("valid");
    let mut group = c.benchmark_group("10k entries");
    group
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2));

    group.bench_function("parse and validate XML", |b| {
        b.iter(|| Tree::parse(schema, Format::Xml, &xml, Content::Config).expect("valid"));
    });
    group.bench_function("print XML", |b| {
        b.iter(|| black_box(tree.to_fragment(WithDefaults::Explicit)));
    });
    group.bench_function("print JSON", |b| {
        b.iter(|| black_box(tree.print(Format::Json, PrintOptions::default())));
    });
    group.bench_function("validate", |b| {
        let mut tree = tree.duplicate().expect("copy");
        b.iter(|| tree.validate().expect("valid"));
    });
    group.bench_function("duplicate", |b| b.iter(|| tree.duplicate().expect("copy")));

    let one = Fragment::from_trusted(rows(5000, 5001, "changed "));
    group.bench_function(
        "edit: change one entry and take it back, no validation",
        |b| {
            let mut tree = tree.duplicate().expect("copy");
            b.iter(|| {
                let diff = tranche_yang::edit::apply(
                    &mut tree,
                    &one,
                    DefaultOperation::Merge,
                    ErrorOption::RollbackOnError,
                )
                .expect("edit");
                diff.undo(&mut tree).expect("undo");
            });
        },
    );
    group.bench_function(
        "edit-config to running: change one entry, validated, published",
        |b| {
            let mut ds =
                Datastores::new(schema, tree.duplicate().expect("copy"), None).expect("valid");
            let mut n = 0;
            b.iter(|| {
                n += 1;
                let edit = request(rows(5000, 5001, &format!("changed {n} ")));
                let proposal = ds.propose_edit(1, &edit).expect("proposal");
                ds.accept(proposal).expect("accept")
            });
        },
    );
    group.bench_function("edit-config and commit: change one entry", |b| {
        let mut ds = Datastores::new(schema, tree.duplicate().expect("copy"), None).expect("valid");
        let mut n = 0;
        b.iter(|| {
            n += 1;
            let edit = request(rows(5000, 5001, &format!("changed {n} ")));
            ds.edit_candidate(1, &edit).expect("edit");
            let proposal = ds.propose_commit(1).expect("proposal");
            ds.accept(proposal).expect("accept")
        });
    });
    let all = request(rows(0, ENTRIES, "changed "));
    group.bench_function("edit-config to running: change every entry", |b| {
        b.iter_batched(
            || Datastores::new(schema, tree.duplicate().expect("copy"), None).expect("valid"),
            |mut ds| {
                let proposal = ds.propose_edit(1, &all).expect("proposal");
                ds.accept(proposal).expect("accept");
                ds
            },
            BatchSize::PerIteration,
        );
    });
    let create = request(xml.clone());
    group.bench_function("edit-config to running: create every entry", |b| {
        b.iter_batched(
            || Datastores::new(schema, Tree::empty(schema), None).expect("valid"),
            |mut ds| {
                let proposal = ds.propose_edit(1, &create).expect("proposal");
                ds.accept(proposal).expect("accept");
                ds
            },
            BatchSize::PerIteration,
        );
    });

    let by_key = Filter::Subtree(Fragment::from_trusted(
        "<table xmlns=\"urn:test:box\"><row><id>5000</id></row></table>".to_owned(),
    ));
    group.bench_function("subtree filter: one entry by key", |b| {
        b.iter(|| filter::select(&tree, Some(&by_key)).expect("selected"));
    });
    let column = Filter::Subtree(Fragment::from_trusted(
        "<table xmlns=\"urn:test:box\"><row><c/></row></table>".to_owned(),
    ));
    group.bench_function("subtree filter: one leaf of every entry", |b| {
        b.iter(|| filter::select(&tree, Some(&column)).expect("selected"));
    });
    let xpath = Filter::XPath {
        select: "/x:table/x:row[x:id='5000']".to_owned(),
        namespaces: vec![("x".to_owned(), "urn:test:box".to_owned())],
    };
    group.bench_function("XPath filter: one entry by key", |b| {
        b.iter(|| filter::select(&tree, Some(&xpath)).expect("selected"));
    });

    let mut changed = tree.duplicate().expect("copy");
    changed
        .set("/test-box:table/row[id='77']/a", "changed")
        .expect("set");
    group.bench_function("diff of two whole trees, one leaf changed", |b| {
        b.iter(|| Diff::between(&tree, &changed).expect("diff"));
    });
    group.finish();
}

criterion_group!(trees, benches);
criterion_main!(trees);
