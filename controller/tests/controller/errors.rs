//! What clients are told when something is wrong: each file of `golden/errors` is a request, and the answer to it.
//!
//! `UPDATE_GOLDEN=1` writes the answers anew; review the difference. None of these requests changes anything.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{Instance, factory};
use reqwest::Method;
use serde_json::{Value, json};

/// Between the request and the answer.
const RULE: &str = "\n----\n";

fn cases() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/controller/golden/errors");
    let entries = fs::read_dir(dir).unwrap();
    let mut cases: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

/// Sends what a case says: method and path, headers, an empty line, the body.
async fn ask(instance: &Instance, request: &str) -> String {
    let (head, body) = request.split_once("\n\n").unwrap_or((request, ""));
    let mut lines = head.lines();
    let (method, path) = lines.next().unwrap().split_once(' ').unwrap();
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let mut sent = instance.request(method, path);
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        sent = sent.header(name, value);
    }
    if !body.is_empty() {
        sent = sent.body(body.to_owned());
    }
    let answer = sent.send().await.unwrap();
    let mut text = format!("{}\n", answer.status());
    for name in ["allow", "content-type"] {
        if let Some(value) = answer.headers().get(name) {
            text.push_str(&format!("{name}: {}\n", value.to_str().unwrap()));
        }
    }
    let body = answer.text().await.unwrap();
    let pretty = serde_json::from_str::<Value>(&body)
        .map(|value| serde_json::to_string_pretty(&value).unwrap());
    text.push_str(&format!("\n{}\n", pretty.unwrap_or(body)));
    text
}

#[tokio::test]
async fn every_refusal_says_what_where_and_why() {
    let mut factory = factory();
    factory["tranche-inventory:inventory"]["node"] = json!([{
        "name": "n1", "enabled": false, "address": "127.0.0.1", "credential": "main", "host-key": "SHA256:x"
    }]);
    let instance = Instance::start_with(
        &factory,
        &["--config", "tests/controller/golden/small-body.toml"],
    )
    .await;
    let before = instance.json("?content=config").await;
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut wrong = Vec::new();
    for case in cases() {
        let text = fs::read_to_string(&case).unwrap();
        let (request, expected) = text.split_once(RULE).unwrap_or((text.trim_end(), ""));
        let answer = ask(&instance, request).await;
        if answer != expected {
            if update {
                fs::write(&case, format!("{request}{RULE}{answer}")).unwrap();
            } else {
                wrong.push(format!(
                    "{}\nexpected:\n{expected}\nanswered:\n{answer}",
                    case.display()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert_eq!(
        instance.json("?content=config").await,
        before,
        "nothing has changed"
    );
}
