//! What a RESTCONF request costs: wall time by criterion, and beside it the CPU time of the controller, which runs as a
//! process of its own (`/proc/<pid>/task/*/schedstat`). Release build, loopback, HTTP/1.1 with one connection.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark"
)]

use std::cell::Cell;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

/// Sites in the inventory.
const SITES: usize = 1_000;

struct Setup {
    controller: Child,
    base: String,
    client: Client,
    runtime: Runtime,
    _dir: TempDir,
}

fn factory() -> Value {
    let sites: Vec<Value> = (0..SITES)
        .map(|i| json!({ "name": format!("site-{i}"), "description": "a street with lamps" }))
        .collect();
    json!({
        "ietf-system:system": { "authentication": { "user": [{ "name": "admin", "password": "$0$admin" }] } },
        "ietf-netconf-acm:nacm": {
            "groups": { "group": [{ "name": "admin", "user-name": ["admin"] }] },
            "rule-list": [{ "name": "admin", "group": ["admin"], "rule": [
                { "name": "all", "module-name": "*", "access-operations": "*", "action": "permit" }
            ] }],
        },
        "tranche-inventory:inventory": { "site": sites },
        "tranche-sla:sla": { "scheduler": { "interval": 60000, "ceiling-lifetime": 120 } },
    })
}

impl Setup {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("factory.json");
        fs::write(&path, factory().to_string()).unwrap();
        let mut controller = Command::new(env!("CARGO_BIN_EXE_tranche-controller"))
            .args(["--listen", "127.0.0.1:0", "--log", "warn", "--state-dir"])
            .arg(dir.path().join("state"))
            .arg("--factory-default")
            .arg(path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(controller.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let base = line.trim().rsplit_once("page=").unwrap().1.to_owned();
        rustls::crypto::ring::default_provider()
            .install_default()
            .unwrap();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        Self {
            controller,
            base,
            client: Client::new(),
            runtime,
            _dir: dir,
        }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}restconf/data/{path}", self.base);
        self.client
            .request(method, url)
            .basic_auth("admin", Some("admin"))
    }

    fn cpu(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.controller.id())).unwrap();
        let nanos = tasks.map(|task| {
            // A thread may have ended since.
            let text = fs::read_to_string(task.unwrap().path().join("schedstat"));
            text.unwrap_or_default()
                .split_whitespace()
                .next()
                .map_or(0, |n| n.parse().unwrap())
        });
        Duration::from_nanos(nanos.sum())
    }

    fn measure(&self, c: &mut Criterion, name: &str, request: impl Fn() -> RequestBuilder) {
        let runs = Cell::new(0u32);
        let before = self.cpu();
        c.bench_function(name, |b| {
            b.to_async(&self.runtime).iter(|| {
                runs.set(runs.get() + 1);
                let request = request();
                async move {
                    let answer = request.send().await.unwrap();
                    assert!(answer.status().is_success(), "{answer:?}");
                    answer.bytes().await.unwrap()
                }
            });
        });
        if runs.get() > 0 {
            let each = (self.cpu() - before) / runs.get();
            let (millis, runs) = (each.as_secs_f64() * 1e3, runs.get());
            println!("bench: {name}: server CPU {millis:.3} ms each, {runs} runs\n");
        }
    }
}

impl Drop for Setup {
    fn drop(&mut self) {
        drop(self.controller.kill());
        drop(self.controller.wait());
    }
}

fn restconf(c: &mut Criterion) {
    let setup = Setup::new();
    let get = |path: &'static str| setup.request(Method::GET, path);
    let entry = "tranche-inventory:inventory/site=site-500";
    setup.measure(c, "RESTCONF GET one of 1,000 entries", || get(entry));
    let all = "tranche-inventory:inventory?content=config";
    setup.measure(c, "RESTCONF GET all 1,000 entries", || get(all));
    let value = Cell::new(0u32);
    setup.measure(
        c,
        "RESTCONF PATCH one of 1,000 entries, kept on disk",
        || {
            value.set(value.get() + 1);
            let site =
                json!({ "name": "site-500", "description": format!("lamp {}", value.get()) });
            setup
                .request(Method::PATCH, entry)
                .header("content-type", "application/yang-data+json")
                .body(json!({ "tranche-inventory:site": [site] }).to_string())
        },
    );
}

criterion_group!(benches, restconf);
criterion_main!(benches);
