//! A small RESTCONF client (RFC 8040): JSON, HTTP Basic, event streams.

use std::sync::Once;
use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE, ETAG, IF_MATCH};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;

use crate::error::Error;

/// Media type of data (RFC 8040 11.3.2).
const YANG_JSON: &str = "application/yang-data+json";
/// A network-wide transaction ends well within this time or not at all.
const REQUEST_LIMIT: Duration = Duration::from_secs(90);
/// One event is not larger than this; a stream without an end of line is not read for ever.
const MAX_EVENT_BYTES: usize = 16 << 20;

/// A RESTCONF server and a user of it.
#[derive(Debug, Clone)]
pub struct Restconf {
    root: String,
    user: String,
    password: String,
    http: reqwest::Client,
}

/// What a server answered, whatever the status.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Entity tag, if there was one.
    pub etag: Option<String>,
    /// The body as JSON; null if there was none, a string if it was no JSON.
    pub body: Value,
}

impl Answer {
    /// Whether the status is one of success.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The errors of the body (RFC 8040 7.1).
    #[must_use]
    pub fn errors(&self) -> &[Value] {
        self.body
            .pointer("/ietf-restconf:errors/error")
            .and_then(Value::as_array)
            .map_or(&[], Vec::as_slice)
    }

    /// All error messages in one text, or the body where it has none.
    #[must_use]
    pub fn message(&self) -> String {
        let messages: Vec<&str> = self
            .errors()
            .iter()
            .filter_map(|e| e["error-message"].as_str())
            .collect();
        if messages.is_empty() {
            self.body.to_string()
        } else {
            messages.join("; ")
        }
    }

    /// The tag of the first error.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.errors().first()?["error-tag"].as_str()
    }
}

impl Restconf {
    /// A client of the server whose root resource is `root`, such as `http://127.0.0.1:8080/restconf`.
    ///
    /// # Errors
    /// When the HTTP library cannot be set up.
    pub fn new(root: &str, user: &str, password: &str) -> Result<Self, Error> {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| {
            // Fails where another part of the process has installed one, which serves as well.
            drop(rustls::crypto::ring::default_provider().install_default());
        });
        let http = reqwest::Client::builder()
            .no_proxy()
            .build()
            .map_err(|source| Error::Http {
                method: "set-up".to_owned(),
                url: root.to_owned(),
                source,
            })?;
        Ok(Self {
            root: root.trim_end_matches('/').to_owned(),
            user: user.to_owned(),
            password: password.to_owned(),
            http,
        })
    }

    /// The same server as another user.
    #[must_use]
    pub fn login(&self, user: &str, password: &str) -> Self {
        Self {
            user: user.to_owned(),
            password: password.to_owned(),
            ..self.clone()
        }
    }

    /// The root resource.
    #[must_use]
    pub fn root(&self) -> &str {
        &self.root
    }

    /// Sends one request; `path` is below the root resource and begins with a slash.
    ///
    /// # Errors
    /// When no answer comes. A status of failure is an [`Answer`].
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, Error> {
        let request = self
            .http
            .request(method.clone(), format!("{}{path}", self.root));
        self.send(request, &method, path, body).await
    }

    /// As [`Restconf::request`], if the resource still has this entity tag.
    ///
    /// # Errors
    /// As [`Restconf::request`].
    pub async fn request_if_match(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        etag: &str,
    ) -> Result<Answer, Error> {
        let request = self
            .http
            .request(method.clone(), format!("{}{path}", self.root));
        self.send(request.header(IF_MATCH, etag), &method, path, body)
            .await
    }

    async fn send(
        &self,
        mut request: RequestBuilder,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, Error> {
        let url = format!("{}{path}", self.root);
        let failed = |source| Error::Http {
            method: method.to_string(),
            url: url.clone(),
            source,
        };
        request = request
            .basic_auth(&self.user, Some(&self.password))
            .timeout(REQUEST_LIMIT)
            .header(ACCEPT, YANG_JSON);
        if let Some(body) = body {
            request = request
                .header(CONTENT_TYPE, YANG_JSON)
                .body(body.to_string());
        }
        let response = request.send().await.map_err(failed)?;
        let status = response.status().as_u16();
        let etag = header(&response, ETAG.as_str());
        let text = response.text().await.map_err(failed)?;
        let body = if text.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&text).unwrap_or(Value::String(text))
        };
        Ok(Answer { status, etag, body })
    }

    /// As [`Restconf::request`], and a status of failure is an error.
    ///
    /// # Errors
    /// When no answer comes, or one with errors.
    pub async fn demand(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, Error> {
        let answer = self.request(method.clone(), path, body).await?;
        if answer.is_success() {
            return Ok(answer);
        }
        Err(Error::Restconf {
            method: method.to_string(),
            path: path.to_owned(),
            status: answer.status,
            message: answer.message(),
        })
    }

    /// GET of existing data.
    ///
    /// # Errors
    /// As [`Restconf::demand`].
    pub async fn get(&self, path: &str) -> Result<Value, Error> {
        Ok(self.demand(Method::GET, path, None).await?.body)
    }

    /// Opens the event stream of this name in JSON, at the place where the server says that it is (RFC 8040 6.2).
    ///
    /// # Errors
    /// When the server has no such stream or does not open it.
    pub async fn events(&self, stream: &str) -> Result<Events, Error> {
        let streams = self
            .get("/data/ietf-restconf-monitoring:restconf-state/streams?content=nonconfig")
            .await?;
        let location = stream_location(&streams, stream).ok_or_else(|| Error::Answer {
            from: self.root.clone(),
            what: format!("no JSON event stream {stream} but {streams}"),
        })?;
        let failed = |source| Error::Http {
            method: "GET".to_owned(),
            url: location.clone(),
            source,
        };
        let response = self
            .http
            .get(&location)
            .basic_auth(&self.user, Some(&self.password))
            .header(ACCEPT, "text/event-stream")
            .send()
            .await
            .map_err(failed)?;
        let kind = header(&response, CONTENT_TYPE.as_str()).unwrap_or_default();
        if !response.status().is_success() || !kind.starts_with("text/event-stream") {
            return Err(Error::Answer {
                from: location,
                what: format!("{} with content of type {kind:?}", response.status()),
            });
        }
        Ok(Events {
            url: location,
            response,
            parser: Parser::default(),
            ready: Vec::new(),
        })
    }
}

fn header(response: &Response, name: &str) -> Option<String> {
    Some(response.headers().get(name)?.to_str().ok()?.to_owned())
}

fn stream_location(streams: &Value, name: &str) -> Option<String> {
    let all = streams
        .pointer("/ietf-restconf-monitoring:streams/stream")?
        .as_array()?;
    let stream = all.iter().find(|stream| stream["name"] == name)?;
    let access = stream["access"].as_array()?;
    let json = access.iter().find(|access| access["encoding"] == "json")?;
    Some(json["location"].as_str()?.to_owned())
}

/// An open event stream.
#[derive(Debug)]
pub struct Events {
    url: String,
    response: Response,
    parser: Parser,
    ready: Vec<Value>,
}

impl Events {
    /// The next notification: the content of `ietf-restconf:notification`. `None` at the end of the stream.
    /// Nothing is lost where the future is dropped before it is done.
    ///
    /// # Errors
    /// When the connection breaks or what comes is not an event.
    pub async fn next(&mut self) -> Result<Option<Value>, Error> {
        loop {
            if !self.ready.is_empty() {
                return Ok(Some(self.ready.remove(0)));
            }
            let chunk = self.response.chunk().await.map_err(|source| Error::Http {
                method: "GET".to_owned(),
                url: self.url.clone(),
                source,
            })?;
            let Some(chunk) = chunk else { return Ok(None) };
            for data in self.parser.push(&chunk) {
                let mut event: Value = serde_json::from_str(&data)
                    .map_err(|e| self.nonsense(&format!("{data}: {e}")))?;
                let notification = event["ietf-restconf:notification"].take();
                if notification.is_null() {
                    return Err(self.nonsense(&data));
                }
                self.ready.push(notification);
            }
            if self.parser.pending() > MAX_EVENT_BYTES {
                return Err(self.nonsense("an event without end"));
            }
        }
    }

    fn nonsense(&self, what: &str) -> Error {
        Error::Answer {
            from: self.url.clone(),
            what: what.to_owned(),
        }
    }
}

/// Reader of `text/event-stream`; bytes may be cut anywhere.
#[derive(Debug, Default)]
struct Parser {
    line: Vec<u8>,
    data: String,
    /// The last byte was a carriage return: a line feed that follows belongs to it.
    carriage_return: bool,
}

impl Parser {
    /// Takes bytes and gives the data of the events that they complete.
    fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut events = Vec::new();
        for &byte in bytes {
            let after_return = std::mem::replace(&mut self.carriage_return, byte == b'\r');
            match byte {
                b'\n' if after_return => {}
                b'\n' | b'\r' => events.extend(self.end_of_line()),
                _ => self.line.push(byte),
            }
        }
        events
    }

    fn end_of_line(&mut self) -> Option<String> {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
        if line.is_empty() {
            let data = std::mem::take(&mut self.data);
            return data.strip_suffix('\n').map(str::to_owned);
        }
        if let Some(value) = line.strip_prefix("data:") {
            self.data.push_str(value.strip_prefix(' ').unwrap_or(value));
            self.data.push('\n');
        }
        None
    }

    fn pending(&self) -> usize {
        self.line.len() + self.data.len()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn events_are_the_same_however_they_are_cut() {
        let text =
            b": comment\r\nid: 4\ndata: {\"a\":1,\ndata:\"b\":2}\n\nevent: x\rdata: []\r\r\n\n";
        for size in 1..text.len() {
            let mut parser = Parser::default();
            let events: Vec<String> = text.chunks(size).flat_map(|c| parser.push(c)).collect();
            assert_eq!(
                events,
                ["{\"a\":1,\n\"b\":2}", "[]"],
                "cut every {size} bytes"
            );
        }
    }

    #[test]
    fn the_location_of_a_stream_is_what_the_server_says() {
        let streams = json!({"ietf-restconf-monitoring:streams": {"stream": [
            {"name": "NETCONF", "access": [
                {"encoding": "xml", "location": "/x"}, {"encoding": "json", "location": "http://h/j"}]},
        ]}});
        assert_eq!(stream_location(&streams, "NETCONF").unwrap(), "http://h/j");
        assert_eq!(stream_location(&streams, "other"), None);
    }
}
