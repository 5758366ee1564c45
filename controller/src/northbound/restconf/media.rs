//! Media types: what a request brings and what its sender wants back (RFC 8040 3.2, 5.2).

use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use tranche_netconf::error::ErrorTag;

use super::error::Refusal;

/// How YANG data is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// RFC 7951.
    Json,
    /// RFC 7950.
    Xml,
}

impl Encoding {
    /// `Content-Type` of YANG data.
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/yang-data+json",
            Self::Xml => "application/yang-data+xml",
        }
    }

    fn of(media_type: &str) -> Option<Self> {
        match media_type {
            "application/yang-data+json" | "application/json" => Some(Self::Json),
            "application/yang-data+xml" | "application/xml" | "text/xml" => Some(Self::Xml),
            _ => None,
        }
    }
}

/// What the sender of these headers wants to read: the best of `Accept`; where both encodings are as welcome, that of
/// the request's own body, else JSON.
///
/// # Errors
/// 406 where it takes neither.
pub(crate) fn wanted(headers: &HeaderMap) -> Result<Encoding, Refusal> {
    let body = content_type(headers)
        .and_then(|t| Encoding::of(&t))
        .unwrap_or(Encoding::Json);
    let accept: Vec<&str> = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .collect();
    if accept.is_empty() {
        return Ok(body);
    }
    let accept = accept.join(",");
    let json = quality(&accept, Encoding::Json);
    let xml = quality(&accept, Encoding::Xml);
    match (json, xml) {
        (0, 0) => Err(Refusal::with_status(
            StatusCode::NOT_ACCEPTABLE,
            ErrorTag::InvalidValue,
            format!(
                "none of '{accept}' can be produced; there is application/yang-data+json and application/yang-data+xml"
            ),
        )),
        (json, xml) if json > xml => Ok(Encoding::Json),
        (json, xml) if xml > json => Ok(Encoding::Xml),
        _ => Ok(body),
    }
}

/// What a refusal is written in: what is wanted, or JSON where that can't be said.
pub(crate) fn wanted_or_json(headers: &HeaderMap) -> Encoding {
    wanted(headers).unwrap_or(Encoding::Json)
}

/// How the body of a request is written.
///
/// # Errors
/// 415 for a media type that isn't YANG data, or none.
pub(crate) fn of_body(headers: &HeaderMap) -> Result<Encoding, Refusal> {
    let unsupported = |what: String| {
        Refusal::with_status(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ErrorTag::InvalidValue,
            format!("{what}: send application/yang-data+json or application/yang-data+xml"),
        )
    };
    let Some(media_type) = content_type(headers) else {
        return Err(unsupported("no Content-Type".to_owned()));
    };
    Encoding::of(&media_type)
        .ok_or_else(|| unsupported(format!("Content-Type '{media_type}' is not supported")))
}

/// The media type of `Content-Type`, without parameters, in lower case.
pub(crate) fn content_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    Some(
        value
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase(),
    )
}

/// Quality (0 to 1000) that `accept` gives to an encoding: that of the most specific range that matches
/// (RFC 9110 12.5.1); of several names of one encoding, the best.
fn quality(accept: &str, encoding: Encoding) -> u16 {
    let mut best: Option<(u8, u16)> = None;
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let specific = match name.as_str() {
            "*/*" => 0,
            "application/*" => 1,
            "text/*" if encoding == Encoding::Xml => 1,
            name if Encoding::of(name) == Some(encoding) => 2,
            _ => continue,
        };
        let q = parts
            .find_map(|p| p.strip_prefix("q=").or_else(|| p.strip_prefix("Q=")))
            .and_then(|q| q.parse::<f32>().ok())
            .map_or(1000, |q| (q.clamp(0.0, 1.0) * 1000.0) as u16);
        best = match best {
            Some((s, b)) if s > specific || (s == specific && b >= q) => Some((s, b)),
            _ => Some((specific, q)),
        };
    }
    best.map_or(0, |(_, q)| q)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        list.iter()
            .map(|(k, v)| (k.parse().unwrap(), v.parse().unwrap()))
            .collect()
    }

    #[test]
    fn the_better_quality_wins_and_a_tie_follows_the_body() {
        let check = |list: &[(&'static str, &'static str)], expect: Encoding| {
            assert_eq!(wanted(&headers(list)), Ok(expect), "{list:?}");
        };
        check(&[], Encoding::Json);
        check(&[("accept", "*/*")], Encoding::Json);
        check(&[("accept", "application/yang-data+xml")], Encoding::Xml);
        check(
            &[("accept", "text/html, application/xml;q=0.9, */*;q=0.8")],
            Encoding::Xml,
        );
        check(
            &[("accept", "application/yang-data+json;q=0.1, */*;q=0.5")],
            Encoding::Xml,
        );
        check(
            &[
                ("accept", "*/*"),
                ("content-type", "application/yang-data+xml"),
            ],
            Encoding::Xml,
        );
        check(
            &[("accept", "application/yang-data+xml;q=0, */*")],
            Encoding::Json,
        );
    }

    #[test]
    fn what_cannot_be_produced_or_read_is_refused() {
        let refusal = wanted(&headers(&[("accept", "text/html")])).unwrap_err();
        assert_eq!(refusal.status, 406);
        assert_eq!(of_body(&headers(&[])).unwrap_err().status, 415);
        let form = headers(&[("content-type", "application/x-www-form-urlencoded")]);
        assert_eq!(of_body(&form).unwrap_err().status, 415);
        let json = headers(&[("content-type", "application/yang-data+json; charset=utf-8")]);
        assert_eq!(of_body(&json), Ok(Encoding::Json));
    }
}
