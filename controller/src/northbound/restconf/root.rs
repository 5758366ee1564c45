//! The resources around the data: discovery, the API root, the library version (RFC 8040 3.1, 3.3).

use axum::body::Body;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, Method, Response, StatusCode};

use super::error::Refusal;
use super::media::Encoding;
use super::query::{Place, Query};
use super::{READ_ONLY, media, respond};

/// Revision of `ietf-yang-library` that is implemented (RFC 8040 3.3.3).
const LIBRARY_VERSION: &str = "2019-01-04";

/// A resource that is the same for everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Root {
    /// `/.well-known/host-meta`, XRD unless JSON is asked for (RFC 6415).
    HostMeta,
    /// `/.well-known/host-meta.json`.
    HostMetaJson,
    /// `/restconf`.
    Api,
    /// `/restconf/yang-library-version`.
    LibraryVersion,
}

impl Root {
    /// The resource of a path.
    pub(crate) fn at(path: &str) -> Option<Self> {
        Some(match path {
            "/.well-known/host-meta" => Self::HostMeta,
            "/.well-known/host-meta.json" => Self::HostMetaJson,
            "/restconf" | "/restconf/" => Self::Api,
            "/restconf/yang-library-version" => Self::LibraryVersion,
            _ => return None,
        })
    }

    /// Answers a request for it.
    ///
    /// # Errors
    /// 405 for anything but reading, 400 for query parameters.
    pub(crate) fn answer(
        self,
        method: &Method,
        query: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<Response<Body>, Refusal> {
        match *method {
            Method::OPTIONS => return Ok(respond::options(READ_ONLY)),
            Method::GET | Method::HEAD => {}
            _ => {
                let message = "this resource can only be read";
                return Err(Refusal::method_not_allowed(READ_ONLY, message));
            }
        }
        Query::parse(query, Place::None)?;
        let text = match self {
            Self::HostMeta | Self::HostMetaJson => return Ok(self.host_meta(method, headers)),
            Self::Api => match media::wanted(headers)? {
                Encoding::Json => format!(
                    "{{\"ietf-restconf:restconf\":{{\"data\":{{}},\"operations\":{{}},\
                     \"yang-library-version\":\"{LIBRARY_VERSION}\"}}}}"
                ),
                Encoding::Xml => format!(
                    "<restconf xmlns=\"urn:ietf:params:xml:ns:yang:ietf-restconf\"><data/><operations/>\
                     <yang-library-version>{LIBRARY_VERSION}</yang-library-version></restconf>"
                ),
            },
            Self::LibraryVersion => match media::wanted(headers)? {
                Encoding::Json => {
                    format!("{{\"ietf-restconf:yang-library-version\":\"{LIBRARY_VERSION}\"}}")
                }
                Encoding::Xml => format!(
                    "<yang-library-version xmlns=\"urn:ietf:params:xml:ns:yang:ietf-restconf\">\
                     {LIBRARY_VERSION}</yang-library-version>"
                ),
            },
        };
        Ok(respond::data(
            StatusCode::OK,
            media::wanted(headers)?,
            text,
            method,
        ))
    }

    fn host_meta(self, method: &Method, headers: &HeaderMap) -> Response<Body> {
        let accept = headers
            .get(ACCEPT)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default();
        let json = self == Self::HostMetaJson
            || (accept.contains("application/json") && !accept.contains("application/xrd+xml"));
        let (content_type, text) = if json {
            (
                "application/json",
                r#"{"links":[{"rel":"restconf","href":"/restconf"}]}"#,
            )
        } else {
            (
                "application/xrd+xml",
                "<XRD xmlns=\"http://docs.oasis-open.org/ns/xri/xrd-1.0\">\
                 <Link rel=\"restconf\" href=\"/restconf\"/></XRD>",
            )
        };
        let response = respond::data(StatusCode::OK, Encoding::Xml, text.to_owned(), method);
        respond::with(response, CONTENT_TYPE, content_type)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_meta_has_two_forms() {
        let none = HeaderMap::new();
        let xrd = Root::HostMeta.answer(&Method::GET, None, &none).unwrap();
        assert_eq!(xrd.headers()[CONTENT_TYPE], "application/xrd+xml");
        let accept = [(ACCEPT, "application/json".parse().unwrap())]
            .into_iter()
            .collect();
        let json = Root::HostMeta.answer(&Method::GET, None, &accept).unwrap();
        assert_eq!(json.headers()[CONTENT_TYPE], "application/json");
        let post = Root::Api.answer(&Method::POST, None, &none).unwrap_err();
        assert_eq!((post.status.as_u16(), post.allow), (405, Some(READ_ONLY)));
        let query = Root::Api
            .answer(&Method::GET, Some("depth=1"), &none)
            .unwrap_err();
        assert_eq!(query.status, 400);
    }
}
