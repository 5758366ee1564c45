//! Conditional requests (RFC 9110 13; RFC 8040 3.4.1, 3.5.1, 3.5.2): the entity tag and time of the configuration, and
//! whether a request's conditions hold.
//!
//! Every configuration data resource has the tag and time of the whole datastore, as RFC 8040 3.5.1 permits: a change
//! anywhere changes them. The tag of a representation ends in its encoding; the condition of an edit may quote either.

use std::time::{Duration, UNIX_EPOCH};

use axum::http::header::{
    HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE,
};
use axum::http::{HeaderMap, HeaderValue};

use super::error::Refusal;
use super::media::Encoding;
use crate::service::Version;

impl Version {
    /// The entity tag of a representation.
    pub(crate) fn etag(&self, encoding: Encoding) -> String {
        let suffix = match encoding {
            Encoding::Json => "json",
            Encoding::Xml => "xml",
        };
        format!("\"{}.{suffix}\"", self.tag)
    }

    /// The time as HTTP writes it.
    pub(crate) fn last_modified(&self) -> String {
        httpdate::fmt_http_date(self.time)
    }

    /// Whether a reader has this version in this encoding already, and need not be sent it again.
    pub(crate) fn is_known(&self, headers: &HeaderMap, encoding: Encoding) -> bool {
        if headers.contains_key(IF_NONE_MATCH) {
            let etag = self.etag(encoding);
            let mut values = headers.get_all(IF_NONE_MATCH).iter();
            return values.any(|value| has_tag(value, &etag));
        }
        date(headers, IF_MODIFIED_SINCE).is_some_and(|since| self.seconds() <= since)
    }

    /// Checks the conditions of an edit of a resource that `exists` or not.
    ///
    /// # Errors
    /// 412 if one doesn't hold.
    pub(crate) fn check_edit(&self, headers: &HeaderMap, exists: bool) -> Result<(), Refusal> {
        let listed = |name: HeaderName| {
            headers
                .get_all(name)
                .iter()
                .any(|value| is_any(value) || self.is_listed(value))
        };
        if headers.contains_key(IF_MATCH) {
            if !exists || !listed(IF_MATCH) {
                return Err(Refusal::precondition(
                    "the configuration is another than If-Match says: read it again",
                ));
            }
        } else if headers.contains_key(IF_UNMODIFIED_SINCE) {
            let since = date(headers, IF_UNMODIFIED_SINCE)
                .ok_or_else(|| Refusal::bad_request("If-Unmodified-Since is not an HTTP date"))?;
            if self.seconds() > since {
                return Err(Refusal::precondition(format!(
                    "the configuration changed at {}",
                    self.last_modified()
                )));
            }
        }
        if headers.contains_key(IF_NONE_MATCH) && exists && listed(IF_NONE_MATCH) {
            return Err(Refusal::precondition(
                "the resource exists as If-None-Match says",
            ));
        }
        Ok(())
    }

    fn is_listed(&self, value: &HeaderValue) -> bool {
        tags(value).any(|tag| {
            let tag = tag
                .strip_suffix(".json")
                .or_else(|| tag.strip_suffix(".xml"))
                .unwrap_or(tag);
            tag == self.tag
        })
    }

    fn seconds(&self) -> Duration {
        let since = self.time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Duration::from_secs(since.as_secs())
    }
}

/// Whether `If-None-Match` lets a request for a resource with this entity tag pass.
pub(crate) fn matches_none(value: &HeaderValue, etag: &str) -> bool {
    !is_any(value) && !has_tag(value, etag)
}

fn has_tag(value: &HeaderValue, etag: &str) -> bool {
    let etag = etag.trim_matches('"');
    tags(value).any(|tag| tag == etag)
}

fn is_any(value: &HeaderValue) -> bool {
    value.as_bytes().trim_ascii() == b"*"
}

/// The opaque parts of a list of entity tags, weak ones included. Our tags hold no comma.
fn tags(value: &HeaderValue) -> impl Iterator<Item = &str> {
    let text = value.to_str().unwrap_or_default();
    text.split(',')
        .map(|tag| tag.trim().trim_start_matches("W/").trim_matches('"'))
}

fn date(headers: &HeaderMap, name: HeaderName) -> Option<Duration> {
    let time = httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()?;
    time.duration_since(UNIX_EPOCH).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version() -> Version {
        let time = UNIX_EPOCH + Duration::from_millis(1_000_500);
        Version {
            commit: 7,
            tag: "7-x".to_owned(),
            time,
        }
    }

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        [(HeaderName::from_static(name), value.parse().unwrap())]
            .into_iter()
            .collect()
    }

    #[test]
    fn an_edit_passes_only_where_its_conditions_hold() {
        let check = |name, value: &str, exists, passes| {
            let result = version().check_edit(&headers(name, value), exists);
            assert_eq!(result.is_ok(), passes, "{name}: {value}, exists: {exists}");
        };
        check("if-match", "\"7-x.json\"", true, true);
        check("if-match", "\"6-x.json\", \"7-x.xml\"", true, true);
        check("if-match", "\"6-x.json\"", true, false);
        check("if-match", "*", true, true);
        check("if-match", "*", false, false);
        check("if-none-match", "*", false, true);
        check("if-none-match", "*", true, false);
        check(
            "if-unmodified-since",
            &version().last_modified(),
            true,
            true,
        );
        check(
            "if-unmodified-since",
            "Thu, 01 Jan 1970 00:00:01 GMT",
            true,
            false,
        );
        check("if-unmodified-since", "yesterday", true, false);
    }

    #[test]
    fn a_reader_that_has_it_is_told_so() {
        let known = |name, value: &str| version().is_known(&headers(name, value), Encoding::Json);
        assert!(known("if-none-match", "W/\"7-x.json\""));
        assert!(!known("if-none-match", "\"8-x.json\""));
        assert!(
            !known("if-none-match", "\"7-x.xml\""),
            "it has the other one"
        );
        assert!(known("if-modified-since", &version().last_modified()));
        assert!(!known("if-modified-since", "Thu, 01 Jan 1970 00:00:01 GMT"));
    }
}
