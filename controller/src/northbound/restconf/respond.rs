//! Responses: status, headers and bodies.

use axum::body::Body;
use axum::http::header::{
    ALLOW, CONTENT_LENGTH, CONTENT_TYPE, ETAG, LAST_MODIFIED, LOCATION, VARY,
};
use axum::http::{HeaderName, HeaderValue, Method, Response, StatusCode};

use super::media::Encoding;
use crate::service::Version;

/// `Accept-Patch`: plain patch in both encodings (RFC 8040 4.6).
const ACCEPT_PATCH: &str = "application/yang-data+json, application/yang-data+xml";

/// A response with YANG data. The answer to HEAD has the headers alone.
pub(crate) fn data(
    status: StatusCode,
    encoding: Encoding,
    text: String,
    method: &Method,
) -> Response<Body> {
    let mut response = empty(status);
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static(encoding.media_type()),
    );
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(text.len()));
    if method != Method::HEAD {
        *response.body_mut() = Body::from(text);
    }
    response
}

/// A response without a body.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// A response of 201 with the new resource's address.
pub(crate) fn created(location: &str) -> Response<Body> {
    with(empty(StatusCode::CREATED), LOCATION, location)
}

/// The answer to OPTIONS.
pub(crate) fn options(allow: &'static str) -> Response<Body> {
    let mut response = empty(StatusCode::OK);
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allow));
    if allow.contains("PATCH") {
        let name = HeaderName::from_static("accept-patch");
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(ACCEPT_PATCH));
    }
    response
}

/// Adds what identifies the state of the configuration.
pub(crate) fn versioned(
    response: Response<Body>,
    version: &Version,
    encoding: Encoding,
) -> Response<Body> {
    let response = with(response, ETAG, &version.etag(encoding));
    with(response, LAST_MODIFIED, &version.last_modified())
}

/// Adds a header whose value can be written as one.
pub(crate) fn with(mut response: Response<Body>, name: HeaderName, value: &str) -> Response<Body> {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
    response
}
