//! What went wrong, as RESTCONF says it: the one table from error tags to status codes (RFC 8040 7) and the two
//! encodings of `ietf-restconf:errors` (RFC 8040 7.1).

use axum::http::StatusCode;
use serde_json::{Map, Value, json};
use tranche_netconf::error::{ErrorTag, ErrorType, RpcError};

use super::media::Encoding;
use crate::text::escape;

/// A refused request: a status and at least one error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Status of the response.
    pub(crate) status: StatusCode,
    /// Why.
    pub(crate) errors: Vec<RpcError>,
    /// `Allow` of a 405.
    pub(crate) allow: Option<&'static str>,
    /// `Retry-After` of a 429, in seconds.
    pub(crate) retry_after: Option<u64>,
}

impl Refusal {
    /// A refusal whose status follows from the tag.
    pub(crate) fn new(tag: ErrorTag, message: impl Into<String>) -> Self {
        RpcError::new(tag, message).into()
    }

    /// A refusal with a status of its own, where the table leaves a choice.
    pub(crate) fn with_status(
        status: StatusCode,
        tag: ErrorTag,
        message: impl Into<String>,
    ) -> Self {
        Self {
            status,
            ..Self::new(tag, message)
        }
    }

    /// There is no such resource.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::with_status(StatusCode::NOT_FOUND, ErrorTag::InvalidValue, message)
    }

    /// The request is wrong at the HTTP level or in its query.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        let mut refusal =
            Self::with_status(StatusCode::BAD_REQUEST, ErrorTag::InvalidValue, message);
        for error in &mut refusal.errors {
            error.error_type = ErrorType::Protocol;
        }
        refusal
    }

    /// The resource exists and doesn't do that.
    pub(crate) fn method_not_allowed(allow: &'static str, message: impl Into<String>) -> Self {
        Self {
            allow: Some(allow),
            ..Self::with_status(
                StatusCode::METHOD_NOT_ALLOWED,
                ErrorTag::OperationNotSupported,
                message,
            )
        }
    }

    /// A condition of the request's headers doesn't hold (RFC 8040 3.4.1, RFC 9110 13).
    pub(crate) fn precondition(message: impl Into<String>) -> Self {
        let error = RpcError::new(ErrorTag::OperationFailed, message)
            .with_type(ErrorType::Protocol)
            .with_app_tag("precondition-failed");
        Self {
            status: StatusCode::PRECONDITION_FAILED,
            ..error.into()
        }
    }
}

impl From<RpcError> for Refusal {
    fn from(error: RpcError) -> Self {
        vec![error].into()
    }
}

impl From<Vec<RpcError>> for Refusal {
    fn from(errors: Vec<RpcError>) -> Self {
        let status = errors
            .first()
            .map_or(StatusCode::INTERNAL_SERVER_ERROR, status);
        Self {
            status,
            errors,
            allow: None,
            retry_after: None,
        }
    }
}

/// The status of an error (RFC 8040 7, table "Mapping from `error-tag` to Status Code"). Where the table gives a
/// choice, this is the one that fits errors about data; the others are made with [`Refusal::with_status`].
fn status(error: &RpcError) -> StatusCode {
    match error.tag {
        ErrorTag::InUse
        | ErrorTag::LockDenied
        | ErrorTag::ResourceDenied
        | ErrorTag::DataExists
        | ErrorTag::DataMissing => StatusCode::CONFLICT,
        ErrorTag::InvalidValue
        | ErrorTag::MissingAttribute
        | ErrorTag::BadAttribute
        | ErrorTag::UnknownAttribute
        | ErrorTag::MissingElement
        | ErrorTag::BadElement
        | ErrorTag::UnknownElement
        | ErrorTag::UnknownNamespace
        | ErrorTag::MalformedMessage => StatusCode::BAD_REQUEST,
        ErrorTag::TooBig => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorTag::AccessDenied => StatusCode::FORBIDDEN,
        ErrorTag::OperationNotSupported => StatusCode::NOT_IMPLEMENTED,
        // The table has 412 and 500: what RFC 7950 15 reports (must, unique, instance-required, ...) and what a node
        // refuses carries an app-tag and is the request's doing, the rest is ours.
        ErrorTag::OperationFailed if error.app_tag.is_some() => StatusCode::PRECONDITION_FAILED,
        ErrorTag::OperationFailed | ErrorTag::RollbackFailed | ErrorTag::PartialOperation => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

fn type_name(error_type: ErrorType) -> &'static str {
    match error_type {
        ErrorType::Transport => "transport",
        ErrorType::Rpc => "rpc",
        ErrorType::Protocol => "protocol",
        ErrorType::Application => "application",
    }
}

/// Prints `ietf-restconf:errors`. `namespace_of` finds a module's namespace, for the prefixes of paths in XML.
pub(crate) fn print(
    errors: &[RpcError],
    encoding: Encoding,
    namespace_of: impl Fn(&str) -> Option<String>,
) -> String {
    match encoding {
        Encoding::Json => json(errors),
        Encoding::Xml => xml(errors, namespace_of),
    }
}

fn json(errors: &[RpcError]) -> String {
    let list: Vec<Value> = errors
        .iter()
        .map(|error| {
            let mut object = Map::new();
            object.insert("error-type".into(), type_name(error.error_type).into());
            object.insert("error-tag".into(), error.tag.as_str().into());
            if let Some(app_tag) = &error.app_tag {
                object.insert("error-app-tag".into(), app_tag.as_str().into());
            }
            if let Some(path) = &error.path {
                object.insert("error-path".into(), path.as_str().into());
            }
            if let Some(message) = &error.message {
                object.insert("error-message".into(), message.as_str().into());
            }
            if !error.info.is_empty() {
                let info: Map<String, Value> = error
                    .info
                    .iter()
                    .map(|(name, text)| (name.clone(), text.as_str().into()))
                    .collect();
                object.insert("error-info".into(), info.into());
            }
            object.into()
        })
        .collect();
    json!({ "ietf-restconf:errors": { "error": list } }).to_string()
}

fn xml(errors: &[RpcError], namespace_of: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::from(r#"<errors xmlns="urn:ietf:params:xml:ns:yang:ietf-restconf">"#);
    for error in errors {
        out.push_str("<error>");
        element(&mut out, "error-type", "", type_name(error.error_type));
        element(&mut out, "error-tag", "", error.tag.as_str());
        if let Some(app_tag) = &error.app_tag {
            element(&mut out, "error-app-tag", "", app_tag);
        }
        let declared = error.clone().with_path_namespaces(&namespace_of);
        if let Some(path) = declared.xml_path() {
            let mut attributes = String::new();
            for (prefix, namespace) in &declared.path_namespaces {
                attributes.push_str(&format!(" xmlns:{prefix}=\""));
                escape(&mut attributes, namespace);
                attributes.push('"');
            }
            element(&mut out, "error-path", &attributes, &path);
        }
        if let Some(message) = &error.message {
            element(&mut out, "error-message", "", message);
        }
        if !error.info.is_empty() {
            out.push_str("<error-info>");
            for (name, text) in &error.info {
                element(&mut out, name, "", text);
            }
            out.push_str("</error-info>");
        }
        out.push_str("</error>");
    }
    out.push_str("</errors>");
    out
}

fn element(out: &mut String, name: &str, attributes: &str, text: &str) {
    out.push('<');
    out.push_str(name);
    out.push_str(attributes);
    out.push('>');
    escape(out, text);
    out.push_str("</");
    out.push_str(name);
    out.push('>');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(module: &str) -> Option<String> {
        Some(format!("urn:{module}"))
    }

    #[test]
    fn both_encodings_carry_every_field() {
        let error = RpcError::new(ErrorTag::LockDenied, "held by <4> & \"co\"")
            .at("/a:top/list[name='x/y']/b:leaf")
            .with_app_tag("tag")
            .with_info("session-id", "4");
        assert_eq!(
            print(std::slice::from_ref(&error), Encoding::Json, namespace),
            r#"{"ietf-restconf:errors":{"error":[{"error-type":"protocol","error-tag":"lock-denied","error-app-tag":"tag","error-path":"/a:top/list[name='x/y']/b:leaf","error-message":"held by <4> & \"co\"","error-info":{"session-id":"4"}}]}}"#
        );
        assert_eq!(
            print(&[error], Encoding::Xml, namespace),
            "<errors xmlns=\"urn:ietf:params:xml:ns:yang:ietf-restconf\"><error><error-type>protocol</error-type>\
             <error-tag>lock-denied</error-tag><error-app-tag>tag</error-app-tag>\
             <error-path xmlns:a=\"urn:a\" xmlns:b=\"urn:b\">/a:top/a:list[a:name='x/y']/b:leaf</error-path>\
             <error-message>held by &lt;4&gt; &amp; &quot;co&quot;</error-message>\
             <error-info><session-id>4</session-id></error-info></error></errors>"
        );
    }

    #[test]
    fn a_broken_constraint_is_the_requests_doing_and_a_failure_is_ours() {
        let failed = RpcError::new(ErrorTag::OperationFailed, "x");
        assert_eq!(Refusal::from(failed.clone()).status, 500);
        assert_eq!(
            Refusal::from(failed.with_app_tag("must-violation")).status,
            412
        );
    }
}
