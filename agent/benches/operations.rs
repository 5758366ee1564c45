//! What operations cost a client over real SSH, and the agent in CPU: the agent is a process of its own.
//!
//! Beside criterion's wall time each benchmark prints the server's CPU time per operation, read from the kernel's
//! accounting of its threads.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark"
)]

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use tokio::runtime::Runtime;
use tranche_netconf::client::{Auth, Client, ClientConfig, HostKeyCheck};
use tranche_netconf::message::{
    Commit, Datastore, DefaultOperation, EditConfig, ErrorOption, Filter, TestOption,
};
use tranche_netconf::transport::ssh::HostKey;
use tranche_netconf::xml::Fragment;

const SYSTEM: &str = "urn:ietf:params:xml:ns:yang:ietf-system";
const ENTRIES: usize = 10_000;

struct Server {
    child: Child,
    address: String,
    host_key: String,
    dir: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
        let mut child = Command::new(env!("CARGO_BIN_EXE_tranche-agent"))
            .args([
                "--sim",
                "1",
                "--listen",
                "127.0.0.1:0",
                "--log",
                "error",
                "--state-dir",
            ])
            .arg(dir.path())
            .arg("--factory-default")
            .arg(data.join("factory.json"))
            .arg("--yang-module")
            .arg(data.join("example-inventory.yang"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let field = |name: &str| {
            line.split_whitespace()
                .find_map(|word| word.strip_prefix(name))
                .unwrap()
                .to_owned()
        };
        Self {
            address: field("address="),
            host_key: field("host-key="),
            child,
            dir,
        }
    }

    async fn client(&self) -> Client {
        self.login(Auth::Password("admin secret".to_owned())).await
    }

    async fn login(&self, auth: Auth) -> Client {
        let host_key = HostKeyCheck::Pinned(self.host_key.clone());
        let config = ClientConfig::new(self.address.clone(), "admin", auth, host_key);
        Client::connect(config).await.unwrap().0
    }

    /// CPU time of all threads since they started.
    fn cpu(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let nanoseconds = tasks
            .filter_map(|task| fs::read_to_string(task.ok()?.path().join("schedstat")).ok())
            .filter_map(|text| text.split_whitespace().next()?.parse::<u64>().ok())
            .sum();
        Duration::from_nanos(nanoseconds)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn edit(target: Datastore, xml: &str) -> EditConfig {
    EditConfig {
        target,
        default_operation: DefaultOperation::Merge,
        test_option: TestOption::TestThenSet,
        error_option: ErrorOption::RollbackOnError,
        config: Fragment::parse(xml).unwrap(),
    }
}

fn location(number: u64) -> String {
    format!("<system xmlns=\"{SYSTEM}\"><location>{number}</location></system>")
}

fn assets(note: u64) -> String {
    let mut xml = String::from("<assets xmlns=\"urn:example:inventory\">");
    for number in 0..ENTRIES {
        write!(
            xml,
            "<asset><tag>A-{number}</tag><note>{note}</note></asset>"
        )
        .unwrap();
    }
    xml + "</assets>"
}

/// Runs one operation as often as criterion asks; wall time goes to criterion, CPU time is printed at the end.
fn measure(
    c: &mut Criterion,
    name: &str,
    server: &Server,
    runtime: &Runtime,
    mut operation: impl AsyncFnMut(u64),
) {
    let (mut cpu, mut count, mut number) = (Duration::ZERO, 0_u32, 0);
    let mut group = c.benchmark_group("agent");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(4));
    group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
        bencher.iter_custom(|iterations| {
            runtime.block_on(async {
                let before = server.cpu();
                let start = Instant::now();
                for _ in 0..iterations {
                    number += 1;
                    operation(number).await;
                }
                let wall = start.elapsed();
                cpu += server.cpu().saturating_sub(before);
                count += u32::try_from(iterations).unwrap();
                wall
            })
        });
    });
    group.finish();
    if count > 0 {
        println!("agent/{name}: server CPU {:?} per operation\n", cpu / count);
    }
}

fn operations(c: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let server = Server::start();
    let client = runtime.block_on(server.client());
    let small = Filter::Subtree(
        Fragment::parse(&format!("<system xmlns=\"{SYSTEM}\"><location/></system>")).unwrap(),
    );
    measure(c, "get-config, one leaf", &server, &runtime, async |_| {
        client
            .get_config(Datastore::Running, Some(small.clone()), None)
            .await
            .unwrap();
    });
    measure(
        c,
        "edit-config to running",
        &server,
        &runtime,
        async |number| {
            client
                .edit_config(&edit(Datastore::Running, &location(number)))
                .await
                .unwrap();
        },
    );
    measure(
        c,
        "edit-config to candidate and commit",
        &server,
        &runtime,
        async |number| {
            client
                .edit_config(&edit(Datastore::Candidate, &location(number)))
                .await
                .unwrap();
            client.commit(&Commit::default()).await.unwrap();
        },
    );
    measure(
        c,
        "session with a password, set-up and end",
        &server,
        &runtime,
        async |_| {
            server.client().await.close_session().await.unwrap();
        },
    );
    let key = server.dir.path().join("key");
    let public = HostKey::load_or_generate(&key).unwrap().public_openssh();
    let mut words = public.split_whitespace();
    let (algorithm, blob) = (words.next().unwrap(), words.next().unwrap());
    let authorized = format!(
        "<system xmlns=\"{SYSTEM}\"><authentication><user><name>admin</name><authorized-key>\
         <name>k</name><algorithm>{algorithm}</algorithm><key-data>{blob}</key-data>\
         </authorized-key></user></authentication></system>"
    );
    runtime
        .block_on(client.edit_config(&edit(Datastore::Running, &authorized)))
        .unwrap();
    measure(
        c,
        "session with a key, set-up and end",
        &server,
        &runtime,
        async |_| {
            let client = server.login(Auth::KeyFile(key.clone())).await;
            client.close_session().await.unwrap();
        },
    );
    measure(
        c,
        "edit-config of 10,000 entries",
        &server,
        &runtime,
        async |number| {
            client
                .edit_config(&edit(Datastore::Running, &assets(number)))
                .await
                .unwrap();
        },
    );
    let all =
        Filter::Subtree(Fragment::parse("<assets xmlns=\"urn:example:inventory\"/>").unwrap());
    measure(
        c,
        "get-config of 10,000 entries",
        &server,
        &runtime,
        async |_| {
            client
                .get_config(Datastore::Running, Some(all.clone()), None)
                .await
                .unwrap();
        },
    );
    measure(
        c,
        "edit-config to running beside 10,000 entries",
        &server,
        &runtime,
        async |number| {
            client
                .edit_config(&edit(Datastore::Running, &location(number)))
                .await
                .unwrap();
        },
    );
}

criterion_group!(benches, operations);
criterion_main!(benches);
