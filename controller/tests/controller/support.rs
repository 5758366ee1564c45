//! A controller in this process, on loopback, and requests to it over real HTTP.

use std::path::Path;

use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tranche_controller::config::{Cli, Config};
use tranche_controller::{Controller, StartError};

pub(crate) const JSON: &str = "application/yang-data+json";
pub(crate) const XML: &str = "application/yang-data+xml";

/// A controller that serves.
pub(crate) struct Instance {
    /// `http://127.0.0.1:port`.
    pub(crate) base: String,
    pub(crate) client: Client,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), StartError>>,
    dir: Option<TempDir>,
}

/// A site, a credential, two slices' worth of users: `admin` may do everything, `reader` may read.
pub(crate) fn factory() -> Value {
    json!({
        "ietf-system:system": { "authentication": { "user": [
            { "name": "admin", "password": "$0$admin" },
            { "name": "reader", "password": "$0$reader" },
        ] } },
        "ietf-netconf-acm:nacm": {
            "groups": { "group": [{ "name": "admin", "user-name": ["admin"] }] },
            "rule-list": [{ "name": "admin", "group": ["admin"], "rule": [
                { "name": "all", "module-name": "*", "access-operations": "*", "action": "permit" }
            ] }],
        },
        "tranche-inventory:inventory": {
            "site": [{ "name": "street" }, { "name": "square", "description": "old town" }],
            "credential": [{ "name": "main", "user": "controller", "key": "main" }],
        },
    })
}

/// Settings for a state directory, with more of the command line.
pub(crate) fn config(dir: &Path, more: &[&str]) -> Config {
    let dir_text = dir.display().to_string();
    let mut args = vec![
        "tranche-controller",
        "--state-dir",
        &dir_text,
        "--listen",
        "127.0.0.1:0",
    ];
    args.extend(more);
    let cli = <Cli as clap::Parser>::try_parse_from(args).expect("a good command line");
    Config::load(&cli.options).expect("good settings")
}

/// Writes a factory default and gives its path.
pub(crate) fn write_factory(dir: &Path, factory: &Value) -> String {
    let path = dir.join("factory.json");
    std::fs::write(&path, factory.to_string()).unwrap();
    path.display().to_string()
}

impl Instance {
    /// Starts from a factory default.
    pub(crate) async fn start(factory: &Value) -> Self {
        Self::start_with(factory, &[]).await
    }

    /// Starts from a factory default with more of the command line.
    pub(crate) async fn start_with(factory: &Value, more: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = write_factory(dir.path(), factory);
        let more = [&["--factory-default", &path], more].concat();
        let config = config(dir.path(), &more);
        Self {
            dir: Some(dir),
            ..Self::run(config).await
        }
    }

    /// Starts with these settings.
    pub(crate) async fn run(config: Config) -> Self {
        let controller = Controller::start(config).await.expect("it starts");
        let base = controller.url().trim_end_matches('/').to_owned();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(controller.run(shutdown.clone()));
        Self {
            base,
            client: client(),
            shutdown,
            task,
            dir: None,
        }
    }

    /// Stops it and gives back its directory.
    pub(crate) async fn stop(self) -> Option<TempDir> {
        self.shutdown.cancel();
        self.task.await.expect("it ends").expect("it ends well");
        self.dir
    }

    /// A request of `admin`, by a path from the root.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.base);
        self.client
            .request(method, url)
            .basic_auth("admin", Some("admin"))
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path)
            .send()
            .await
            .expect("an answer")
    }

    /// The JSON at a data path, which must be there.
    pub(crate) async fn json(&self, path: &str) -> Value {
        let response = self.get(&format!("/restconf/data/{path}")).await;
        assert_eq!(response.status(), 200, "{path}");
        response.json().await.expect("JSON")
    }

    /// Sends JSON to a data path.
    pub(crate) async fn send(&self, method: Method, path: &str, body: &Value) -> Response {
        self.request(method, &format!("/restconf/data/{path}"))
            .header("content-type", JSON)
            .body(body.to_string())
            .send()
            .await
            .expect("an answer")
    }

    pub(crate) async fn delete(&self, path: &str) -> Response {
        let request = self.request(Method::DELETE, &format!("/restconf/data/{path}"));
        request.send().await.expect("an answer")
    }
}

/// An HTTP client. It wants to know who does its cryptography, also where there is none.
pub(crate) fn client() -> Client {
    // Another test of this process may have said so before.
    drop(rustls::crypto::ring::default_provider().install_default());
    Client::new()
}

/// A header as text; empty where there is none.
pub(crate) fn header(response: &Response, name: &str) -> String {
    let value = response
        .headers()
        .get(name)
        .and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_owned()
}

/// The first error of a refusal.
pub(crate) async fn error(response: Response) -> Value {
    let body: Value = response.json().await.expect("errors in JSON");
    body["ietf-restconf:errors"]["error"][0].clone()
}
