//! The operator's page: static files, embedded when the controller is built. Needs no login: it holds no data.

use std::collections::HashMap;
use std::sync::LazyLock;

use axum::body::{Body, Bytes};
use axum::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LOCATION,
};
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri};
use include_dir::{Dir, DirEntry, include_dir};
use sha2::{Digest as _, Sha256};

use super::restconf::condition::matches_none;

static DIST: Dir<'_> = include_dir!("$TRANCHE_WEB_EMBED");

struct File {
    content_type: &'static str,
    etag: String,
    cache: &'static str,
    content: &'static [u8],
}

static FILES: LazyLock<HashMap<&'static str, File>> = LazyLock::new(|| {
    let mut files = HashMap::new();
    collect(&DIST, &mut files);
    files
});

fn collect(dir: &'static Dir<'static>, files: &mut HashMap<&'static str, File>) {
    for entry in dir.entries() {
        match entry {
            DirEntry::Dir(dir) => collect(dir, files),
            DirEntry::File(file) => {
                if let Some(path) = file.path().to_str() {
                    let content = file.contents();
                    let hash = Sha256::digest(content);
                    let hex: String = hash.iter().take(12).map(|b| format!("{b:02x}")).collect();
                    let file = File {
                        content_type: content_type(path),
                        etag: format!("\"{hex}\""),
                        cache: cache(path),
                        content,
                    };
                    files.insert(path, file);
                }
            }
        }
    }
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("json" | "map") => "application/json",
        Some("webmanifest") => "application/manifest+json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/vnd.microsoft.icon",
        Some("woff2") => "font/woff2",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

/// Files below `assets/` have a hash of their content in their name: another content is another name.
fn cache(path: &str) -> &'static str {
    if path.starts_with("assets/") {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    }
}

/// Answers a request for anything outside RESTCONF.
pub(crate) fn serve(method: &Method, uri: &Uri, headers: &HeaderMap) -> Response<Body> {
    let path = uri.path().trim_start_matches('/');
    if path == "index.html" {
        return answer(
            StatusCode::MOVED_PERMANENTLY,
            &[(LOCATION, "/")],
            Body::empty(),
        );
    }
    let path = if path.is_empty() { "index.html" } else { path };
    let Some(file) = FILES.get(path) else {
        let text = [(CONTENT_TYPE, "text/plain; charset=utf-8")];
        return answer(
            StatusCode::NOT_FOUND,
            &text,
            Body::from("There is no such page.\n"),
        );
    };
    if method != Method::GET && method != Method::HEAD {
        return answer(
            StatusCode::METHOD_NOT_ALLOWED,
            &[(ALLOW, "GET, HEAD")],
            Body::empty(),
        );
    }
    let validators = [(ETAG, file.etag.as_str()), (CACHE_CONTROL, file.cache)];
    if let Some(condition) = headers.get(IF_NONE_MATCH)
        && !matches_none(condition, &file.etag)
    {
        return answer(StatusCode::NOT_MODIFIED, &validators, Body::empty());
    }
    let body = match *method {
        Method::HEAD => Body::empty(),
        _ => Body::from(Bytes::from_static(file.content)),
    };
    let mut response = answer(StatusCode::OK, &validators, body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(file.content_type));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(file.content.len()));
    response
}

fn answer(
    status: StatusCode,
    headers: &[(axum::http::HeaderName, &str)],
    body: Body,
) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name.clone(), value);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(path: &str, headers: &HeaderMap) -> Response<Body> {
        serve(&Method::GET, &path.parse().unwrap(), headers)
    }

    #[test]
    fn the_root_is_the_page_and_can_be_revalidated() {
        let response = get("/", &HeaderMap::new());
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()[CONTENT_TYPE], "text/html; charset=utf-8");
        assert_eq!(response.headers()[CACHE_CONTROL], "no-cache");
        let known = [(IF_NONE_MATCH, response.headers()[ETAG].clone())]
            .into_iter()
            .collect();
        assert_eq!(get("/", &known).status(), 304);
    }

    #[test]
    fn other_paths_and_methods_are_refused() {
        assert_eq!(get("/nope", &HeaderMap::new()).status(), 404);
        assert_eq!(get("/../Cargo.toml", &HeaderMap::new()).status(), 404);
        assert_eq!(
            get("/index.html", &HeaderMap::new()).headers()[LOCATION],
            "/"
        );
        let post = serve(&Method::POST, &"/".parse().unwrap(), &HeaderMap::new());
        assert_eq!(
            (post.status().as_u16(), &post.headers()[ALLOW]),
            (405, &HeaderValue::from_static("GET, HEAD"))
        );
    }

    #[test]
    fn hashed_assets_are_kept_for_good_and_have_their_type() {
        for (path, file) in FILES.iter() {
            let immutable = file.cache.contains("immutable");
            assert_eq!(immutable, path.starts_with("assets/"), "{path}");
            assert_ne!(file.content_type, "application/octet-stream", "{path}");
        }
    }
}
