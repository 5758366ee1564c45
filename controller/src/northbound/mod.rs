//! What operators and programs see: RESTCONF, event streams and the page, on one HTTP server.
//!
//! Owns the listener, logins, and who handles which path. Everything but the page's files needs a login.

pub(crate) mod auth;
mod connection;
mod page;
pub(crate) mod restconf;
pub(crate) mod streams;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, REFERRER_POLICY,
    STRICT_TRANSPORT_SECURITY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, Response, StatusCode};
use axum_server::tls_rustls::RustlsAcceptor;
use axum_server::{Handle, Server};
use hyper_util::rt::TokioTimer;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tranche_netconf::error::ErrorTag;

pub use self::connection::TlsError;

use self::auth::Authenticator;
use self::connection::Gate;
use self::restconf::error::Refusal;
use self::restconf::query::{Place, Query};
use self::restconf::{media, respond};
use self::streams::{Stream, Streams};
use crate::config::{Config, Http};
use crate::service::{Service, blocking};

/// Time that requests have to end at shutdown.
const GRACE: Duration = Duration::from_secs(5);

/// Where figures are, in the text format of Prometheus.
const METRICS: &str = "/metrics";

/// The page may load nothing from elsewhere, send nothing elsewhere and be framed by nobody.
const CONTENT_POLICY: &str = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

/// Why the northbound can't be served.
#[derive(Debug, thiserror::Error)]
pub enum NorthboundError {
    /// The address can't be listened on.
    #[error("can't listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The certificate can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The server ended by itself.
    #[error("the HTTP server failed")]
    Serve(#[source] std::io::Error),
}

/// A northbound that listens and doesn't serve yet.
#[derive(Debug)]
pub struct Northbound {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<axum_server::tls_rustls::RustlsConfig>,
    http: Http,
}

struct Context {
    service: Arc<Service>,
    authenticator: Authenticator,
    streams: Streams,
    http: Http,
    scheme: &'static str,
    address: SocketAddr,
}

impl Northbound {
    /// Reads the certificate and starts to listen.
    ///
    /// # Errors
    /// A certificate that can't be used, an address that can't be listened on.
    pub async fn bind(config: &Config) -> Result<Self, NorthboundError> {
        let tls = config.tls.as_ref().map(connection::tls).transpose()?;
        let refuse = |source| NorthboundError::Listen {
            address: config.listen,
            source,
        };
        let listener = TcpListener::bind(config.listen).await.map_err(refuse)?;
        let address = listener.local_addr().map_err(refuse)?;
        Ok(Self {
            listener,
            address,
            tls,
            http: config.http,
        })
    }

    /// URL of the page; RESTCONF is at `restconf` below it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}/", self.scheme(), self.address)
    }

    fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// Serves until `shutdown`; then ends event streams at once and gives other requests a few seconds.
    ///
    /// # Errors
    /// The listener failed.
    pub async fn serve(
        self,
        service: Arc<Service>,
        shutdown: CancellationToken,
    ) -> Result<(), NorthboundError> {
        let context = Arc::new(Context {
            service,
            authenticator: Authenticator::new(self.http.failed_logins_per_minute),
            streams: Streams::new(self.http.event_streams, shutdown.clone()),
            http: self.http,
            scheme: self.scheme(),
            address: self.address,
        });
        let app = Router::new()
            .fallback(handle)
            .with_state(context)
            .into_make_service_with_connect_info::<SocketAddr>();
        let handle = Handle::new();
        let stop = tokio::spawn({
            let handle = handle.clone();
            async move {
                shutdown.cancelled().await;
                handle.graceful_shutdown(Some(GRACE));
            }
        });
        let gate = Gate::new(self.http.connections, self.http.body_timeout);
        let mut server = Server::<SocketAddr>::from_listener(self.listener).handle(handle);
        let mut builder = server.http_builder().http1();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(self.http.header_timeout);
        server
            .http_builder()
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(GRACE * 6);
        let served = match self.tls {
            Some(tls) => {
                let acceptor = RustlsAcceptor::new(tls).acceptor(gate);
                server.acceptor(acceptor).serve(app).await
            }
            None => server.acceptor(gate).serve(app).await,
        };
        stop.abort();
        served.map_err(NorthboundError::Serve)
    }
}

async fn handle(
    State(context): State<Arc<Context>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response<Body> {
    let path = request.uri().path();
    let is_data = ["/restconf", "/streams", "/.well-known", METRICS]
        .iter()
        .any(|p| {
            path.strip_prefix(p)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
    let mut response = if is_data {
        let (parts, body) = request.into_parts();
        match answer(&context, peer.ip(), &parts, body).await {
            Ok(response) => response,
            Err(refusal) => refuse(&context, &parts, &refusal),
        }
    } else {
        page::serve(request.method(), request.uri(), request.headers())
    };
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    let policy = HeaderValue::from_static(CONTENT_POLICY);
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    if context.scheme == "https" {
        let year = HeaderValue::from_static("max-age=31536000");
        headers.insert(STRICT_TRANSPORT_SECURITY, year);
    }
    if is_data && !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    }
    response
}

/// Handles everything that needs a login.
async fn answer(
    context: &Context,
    peer: IpAddr,
    parts: &Parts,
    body: Body,
) -> Result<Response<Body>, Refusal> {
    same_origin(parts)?;
    let published = context.service.published();
    let login = &published.users;
    let user = context
        .authenticator
        .login(&parts.headers, peer, login)
        .await?;
    let path = parts.uri.path();
    if let Some(stream) = Stream::at(path) {
        if parts.method != Method::GET {
            return Err(Refusal::method_not_allowed(
                "GET",
                "an event stream can only be read",
            ));
        }
        let query = Query::parse(parts.uri.query(), Place::Stream)?;
        let login = login.login(&user);
        return context
            .streams
            .open(&context.service, login, stream, &query);
    }
    if path == METRICS {
        return metrics(context, parts, user).await;
    }
    let request = restconf::Request {
        service: &context.service,
        user: &user,
        parts,
        base: base(context, parts),
    };
    request.handle(body, &context.http).await
}

/// Answers with the figures that a user may read.
async fn metrics(
    context: &Context,
    parts: &Parts,
    user: String,
) -> Result<Response<Body>, Refusal> {
    if parts.method != Method::GET && parts.method != Method::HEAD {
        let message = "figures can only be read";
        return Err(Refusal::method_not_allowed("GET, HEAD", message));
    }
    let service = Arc::clone(&context.service);
    let text = blocking(move || service.metrics(&user)).await??;
    let mut response = Response::new(match parts.method {
        Method::HEAD => Body::empty(),
        _ => Body::from(text),
    });
    let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    Ok(response)
}

/// Refuses requests that another site's page made a browser send: the browser may add a login that it was given before.
fn same_origin(parts: &Parts) -> Result<(), Refusal> {
    match parts
        .headers
        .get("sec-fetch-site")
        .map(HeaderValue::as_bytes)
    {
        None | Some(b"same-origin" | b"none") => Ok(()),
        Some(_) => Err(Refusal::with_status(
            StatusCode::FORBIDDEN,
            ErrorTag::AccessDenied,
            "requests of other sites' pages are not served",
        )),
    }
}

/// Scheme and authority by which the client reaches this server.
fn base(context: &Context, parts: &Parts) -> String {
    let authority = parts
        .uri
        .authority()
        .map(|authority| authority.as_str())
        .or_else(|| parts.headers.get(HOST)?.to_str().ok())
        .filter(|host| {
            host.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b".-_:[]%".contains(&b))
        });
    match authority {
        Some(authority) => format!("{}://{authority}", context.scheme),
        None => format!("{}://{}", context.scheme, context.address),
    }
}

fn refuse(context: &Context, parts: &Parts, refusal: &Refusal) -> Response<Body> {
    for error in &refusal.errors {
        // Not the message: it may quote a secret that was sent.
        let (method, path, tag) = (&parts.method, parts.uri.path(), error.tag.as_str());
        tracing::debug!(%method, path, status = refusal.status.as_u16(), tag, at = error.path, "refused");
    }
    let encoding = media::wanted_or_json(&parts.headers);
    let schema = context.service.schema();
    let text = restconf::error::print(&refusal.errors, encoding, |module| {
        schema.module(module).map(|m| m.namespace.clone())
    });
    let mut response = respond::data(refusal.status, encoding, text, &parts.method);
    let headers = response.headers_mut();
    if refusal.status == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static("Basic realm=\"restconf\", charset=\"UTF-8\"");
        headers.insert(WWW_AUTHENTICATE, challenge);
    }
    if let Some(allow) = refusal.allow {
        headers.insert(axum::http::header::ALLOW, HeaderValue::from_static(allow));
    }
    if let Some(seconds) = refusal.retry_after {
        headers.insert(axum::http::header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
