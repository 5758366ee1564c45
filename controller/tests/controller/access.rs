//! Who gets in, what they may do, and what a browser is told.

use std::fs;

use reqwest::{Client, Method, Response};
use serde_json::{Value, json};

use crate::support::{Instance, JSON, client, error, factory, header};

async fn get(instance: &Instance, user: &str, password: &str, path: &str) -> Response {
    let url = format!("{}{path}", instance.base);
    instance
        .client
        .get(url)
        .basic_auth(user, Some(password))
        .send()
        .await
        .unwrap()
}

#[tokio::test]
async fn everything_but_the_page_needs_a_login() {
    let instance = Instance::start(&factory()).await;
    for path in [
        "/restconf",
        "/restconf/data",
        "/restconf/operations",
        "/restconf/yang-library-version",
        "/.well-known/host-meta",
        "/streams/NETCONF",
    ] {
        let answer = instance
            .client
            .get(format!("{}{path}", instance.base))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 401, "{path}");
        assert!(
            header(&answer, "www-authenticate").starts_with("Basic "),
            "{path}"
        );
        assert_eq!(error(answer).await["error-tag"], "access-denied", "{path}");
        assert_eq!(
            get(&instance, "admin", "wrong", path).await.status(),
            401,
            "{path}"
        );
    }
    let page = instance
        .client
        .get(format!("{}/", instance.base))
        .send()
        .await
        .unwrap();
    assert_eq!(page.status(), 200);
    assert_eq!(header(&page, "content-type"), "text/html; charset=utf-8");
    assert!(header(&page, "content-security-policy").contains("default-src 'self'"));
    assert_eq!(header(&page, "x-content-type-options"), "nosniff");
    assert_eq!(header(&page, "referrer-policy"), "no-referrer");
    assert!(page.headers().get("access-control-allow-origin").is_none());
    assert!(page.headers().get("set-cookie").is_none());
}

#[tokio::test]
async fn access_control_decides_what_is_read_and_written() {
    let mut factory = factory();
    factory["tranche-slice:slices"] = json!({});
    let instance = Instance::start(&factory).await;
    let system = "/restconf/data/ietf-system:system";
    let seen = get(&instance, "reader", "reader", system)
        .await
        .text()
        .await
        .unwrap();
    assert!(
        seen.contains("admin") && !seen.contains("$6$"),
        "no hash is shown: {seen}"
    );
    let url = format!(
        "{}/restconf/data/tranche-inventory:inventory/site=street",
        instance.base
    );
    let delete = instance
        .client
        .delete(url)
        .basic_auth("reader", Some("reader"));
    let refused = delete.send().await.unwrap();
    assert_eq!(refused.status(), 403);
    let refused = error(refused).await;
    assert_eq!(refused["error-tag"], "access-denied");
    assert_eq!(
        refused["error-path"],
        "/tranche-inventory:inventory/site[name='street']"
    );
    let url = format!(
        "{}/restconf/operations/tranche-commits:rollback",
        instance.base
    );
    let rollback = instance
        .client
        .post(url)
        .basic_auth("reader", Some("reader"));
    let rollback = rollback.header("content-type", JSON);
    let refused = rollback
        .body(r#"{"tranche-commits:input":{"to":"1"}}"#)
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), 403);
    instance
        .json("tranche-inventory:inventory/site=street")
        .await;
    let hide = json!({ "ietf-netconf-acm:read-default": "deny" });
    let path = "ietf-netconf-acm:nacm/read-default";
    assert!(
        instance
            .send(Method::PUT, path, &hide)
            .await
            .status()
            .is_success()
    );
    assert_eq!(
        get(&instance, "reader", "reader", system).await.status(),
        404,
        "as if not there"
    );
    let denied = instance
        .json("ietf-netconf-acm:nacm/denied-data-writes")
        .await;
    assert_eq!(denied, json!({ "ietf-netconf-acm:denied-data-writes": 1 }));
}

#[tokio::test]
async fn a_password_is_hashed_and_counts_at_once() {
    let instance = Instance::start(&factory()).await;
    assert_eq!(
        get(&instance, "reader", "reader", "/restconf")
            .await
            .status(),
        200
    );
    let user = json!({ "ietf-system:user": [{ "name": "reader", "password": "$0$new" }] });
    let path = "ietf-system:system/authentication/user=reader";
    assert_eq!(instance.send(Method::PUT, path, &user).await.status(), 204);
    assert_eq!(
        get(&instance, "reader", "reader", "/restconf")
            .await
            .status(),
        401
    );
    assert_eq!(
        get(&instance, "reader", "new", "/restconf").await.status(),
        200
    );
    let stored = instance.json(&format!("{path}/password")).await;
    assert!(
        stored["ietf-system:password"]
            .as_str()
            .unwrap()
            .starts_with("$6$")
    );
    assert_eq!(instance.delete(path).await.status(), 204);
    assert_eq!(
        get(&instance, "reader", "new", "/restconf").await.status(),
        401
    );
}

#[tokio::test]
async fn who_guesses_waits_and_who_is_in_stays_in() {
    let dir = tempfile::tempdir().unwrap();
    let settings = dir.path().join("settings.toml");
    fs::write(&settings, "[http]\nfailed-logins-per-minute = 2").unwrap();
    let settings = settings.display().to_string();
    let instance = Instance::start_with(&factory(), &["--config", &settings]).await;
    assert_eq!(instance.get("/restconf").await.status(), 200);
    for _ in 0..2 {
        assert_eq!(
            get(&instance, "admin", "guess", "/restconf").await.status(),
            401
        );
    }
    let answer = get(&instance, "admin", "guess", "/restconf").await;
    assert_eq!(answer.status(), 429);
    let wait: u64 = header(&answer, "retry-after").parse().unwrap();
    assert!((1..=61).contains(&wait));
    assert_eq!(instance.get("/restconf").await.status(), 200);
}

#[tokio::test]
async fn a_page_of_another_site_gets_nothing_out_of_a_browser_that_is_logged_in() {
    let instance = Instance::start(&factory()).await;
    for (site, status) in [
        ("cross-site", 403),
        ("same-site", 403),
        ("same-origin", 200),
        ("none", 200),
    ] {
        let request = instance
            .request(Method::GET, "/restconf")
            .header("sec-fetch-site", site);
        assert_eq!(request.send().await.unwrap().status(), status, "{site}");
    }
    let preflight = instance
        .request(Method::OPTIONS, "/restconf/data")
        .header("origin", "https://evil.example");
    let preflight = preflight.send().await.unwrap();
    assert!(
        preflight
            .headers()
            .get("access-control-allow-origin")
            .is_none()
    );
}

#[tokio::test]
async fn with_a_certificate_it_speaks_https() {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    fs::write(&cert, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let (cert, key) = (cert.display().to_string(), key.display().to_string());
    let instance =
        Instance::start_with(&factory(), &["--tls-cert", &cert, "--tls-key", &key]).await;
    let port = instance.base.rsplit(':').next().unwrap();
    assert!(instance.base.starts_with("https://"));
    drop(client());
    let root = reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap();
    let trusting = Client::builder().tls_certs_only([root]).build().unwrap();
    let request = trusting.get(format!("https://localhost:{port}/restconf"));
    let answer = request
        .basic_auth("admin", Some("admin"))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    assert!(header(&answer, "strict-transport-security").starts_with("max-age="));
    let state = trusting.get(format!(
        "https://localhost:{port}/restconf/data/ietf-restconf-monitoring:restconf-state/streams"
    ));
    let state = state
        .basic_auth("admin", Some("admin"))
        .send()
        .await
        .unwrap();
    let state: Value = state.json().await.unwrap();
    let location = &state["ietf-restconf-monitoring:streams"]["stream"][0]["access"][0]["location"];
    assert!(
        location
            .as_str()
            .unwrap()
            .starts_with(&format!("https://localhost:{port}/"))
    );
    instance.stop().await;
}
