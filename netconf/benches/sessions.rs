//! What sessions cost over SSH on the loopback: wall time by criterion, and beside it the CPU time of the server, which
//! runs on a thread of its own (`/proc/self/task/<tid>/schedstat`).

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark"
)]

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use tranche_netconf::client::{Auth, Client, ClientConfig, HostKeyCheck};
use tranche_netconf::message::{Datastore, Outcome, Reply, Rpc};
use tranche_netconf::server::{
    Credential, Handler, Limits, Notifier, Server, ServerConfig, SessionEnd, SessionInfo, Sessions,
};
use tranche_netconf::transport::ssh::HostKey;
use tranche_netconf::xml::Fragment;

struct Bench {
    data: Fragment,
    client_key: Vec<u8>,
}

impl Handler for Bench {
    fn capabilities(&self) -> Vec<String> {
        (0..20)
            .map(|i| format!("urn:bench:{i}?module=bench-{i}&revision=2026-01-01"))
            .collect()
    }

    async fn authenticate(&self, _: &str, credential: Credential<'_>, _: SocketAddr) -> bool {
        matches!(credential, Credential::PublicKey { blob, .. } if blob == self.client_key)
    }

    async fn session_started(&self, _: &SessionInfo, _: Notifier) {}

    async fn session_ended(&self, _: &SessionInfo, _: SessionEnd) {}

    async fn call(&self, _: &SessionInfo, _: Rpc) -> Outcome {
        Ok(Reply::Data(self.data.clone()))
    }
}

/// A server on its own thread, and how to see what that thread has cost.
struct Setup {
    client: ClientConfig,
    server_tid: u32,
    runtime: Runtime,
}

fn setup() -> Setup {
    let dir = tempfile::tempdir().unwrap();
    let key_file = dir.path().join("id");
    let client_key = HostKey::load_or_generate(&key_file).unwrap().public_blob();
    let key = std::fs::read_to_string(key_file).unwrap();
    let (ready, started) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let xml = "<wifi xmlns='urn:w'><vif><name>a</name><ssid>tenant</ssid></vif></wifi>";
            let handler = Bench {
                data: Fragment::parse(xml).unwrap(),
                client_key,
            };
            let config = ServerConfig {
                listen: "127.0.0.1:0".parse().unwrap(),
                host_key: HostKey::generate().unwrap(),
                limits: Limits {
                    max_sessions: 100_000,
                    ..Limits::default()
                },
                sessions: Sessions::new(),
            };
            let server = Server::bind(config, Arc::new(handler)).await.unwrap();
            let link = std::fs::read_link("/proc/thread-self").unwrap();
            let tid = link.file_name().unwrap().to_str().unwrap().parse().unwrap();
            let pin = server.host_key_fingerprint().to_owned();
            ready.send((server.local_addr(), pin, tid)).unwrap();
            std::future::pending::<()>().await;
        });
    });
    let (addr, pin, server_tid) = started.recv().unwrap();
    let client = ClientConfig::new(
        addr.to_string(),
        "bench",
        Auth::Key(key),
        HostKeyCheck::Pinned(pin),
    );
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    Setup {
        client,
        server_tid,
        runtime,
    }
}

impl Setup {
    fn server_cpu(&self) -> Duration {
        let path = format!("/proc/self/task/{}/schedstat", self.server_tid);
        let text = std::fs::read_to_string(path).unwrap();
        Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
    }

    /// Benchmarks `work` and prints what one run of it cost the server.
    fn measure<F: Future<Output = ()>>(&self, c: &mut Criterion, name: &str, work: impl Fn() -> F) {
        let runs = Cell::new(0u32);
        let before = self.server_cpu();
        c.bench_function(name, |b| {
            b.to_async(&self.runtime).iter(|| {
                runs.set(runs.get() + 1);
                work()
            });
        });
        if runs.get() > 0 {
            let each = (self.server_cpu() - before) / runs.get();
            println!(
                "{name}: server CPU {:.3} ms each, {} runs\n",
                each.as_secs_f64() * 1e3,
                runs.get()
            );
        }
    }
}

fn sessions(c: &mut Criterion) {
    let setup = setup();
    setup.measure(c, "session: connect, hello, close", || async {
        let (client, _notifications) = Client::connect(setup.client.clone()).await.unwrap();
        client.close_session().await.unwrap();
    });
    let (client, _notifications) = setup
        .runtime
        .block_on(Client::connect(setup.client.clone()))
        .unwrap();
    setup.measure(c, "small get-config", || async {
        client
            .get_config(Datastore::Running, None, None)
            .await
            .unwrap();
    });
    setup.measure(c, "32 small get-config pipelined", || async {
        let mut gets = JoinSet::new();
        for _ in 0..32 {
            let client = client.clone();
            gets.spawn(async move { client.get_config(Datastore::Running, None, None).await });
        }
        assert!(gets.join_all().await.iter().all(Result::is_ok));
    });
}

criterion_group!(benches, sessions);
criterion_main!(benches);
