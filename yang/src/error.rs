//! The crate's error, and the one table from what libyang reports to NETCONF error tags (RFC 7950 15, RFC 6241 A).

use tranche_netconf::error::{ErrorTag, ErrorType, RpcError};
use tranche_netconf::xml::Fragment;
use yang5::ffi::LY_VECODE;

use crate::ffi::{Ctx, RawError, SRaw};

/// What is wrong with data, an edit, a filter or a request, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}{}", path.as_ref().map(|p| format!(" (at {p})")).unwrap_or_default())]
pub struct Error {
    /// NETCONF error tag.
    pub tag: ErrorTag,
    /// `error-app-tag`: the module's own, or RFC 7950's (`must-violation`, `data-not-unique`, ...).
    pub app_tag: Option<String>,
    /// Instance path, JSON-style module prefixes.
    pub path: Option<String>,
    /// One plain sentence.
    pub message: String,
    /// `error-info` elements, such as (`bad-element`, `vif`); (`non-unique`, path) for each leaf of those that are not
    /// unique together (RFC 7950 15.1).
    pub info: Vec<(String, String)>,
    /// Line in the input, where it is text that a person wrote (a module or a file) and libyang knows it.
    pub line: Option<u64>,
}

/// Result with this crate's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What libyang was doing: decides between a bad value and a violated constraint where a module's own message hides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Reading input.
    Parse,
    /// Validating a whole tree.
    Validate,
    /// Evaluating an expression or path.
    XPath,
}

impl Error {
    /// An error with a message.
    #[must_use]
    pub fn new(tag: ErrorTag, message: impl Into<String>) -> Self {
        Self {
            tag,
            app_tag: None,
            path: None,
            message: message.into(),
            info: Vec::new(),
            line: None,
        }
    }

    /// With an instance path.
    #[must_use]
    pub fn at(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// With an application tag.
    #[must_use]
    pub fn with_app_tag(mut self, app_tag: impl Into<String>) -> Self {
        self.app_tag = Some(app_tag.into());
        self
    }

    /// With one `error-info` element.
    #[must_use]
    pub fn with_info(mut self, name: &str, value: impl Into<String>) -> Self {
        self.info.push((name.to_owned(), value.into()));
        self
    }

    /// Something this crate takes for granted did not hold, such as libyang refusing memory.
    pub(crate) fn internal(ctx: Ctx, what: &str) -> Self {
        let reason = ctx
            .take_errors()
            .into_iter()
            .map(|e| e.message)
            .collect::<Vec<_>>()
            .join("; ");
        let message = if reason.is_empty() {
            what.to_owned()
        } else {
            format!("{what}: {reason}")
        };
        Self::new(ErrorTag::OperationFailed, message)
    }

    /// This error as NETCONF says it.
    #[must_use]
    pub fn to_rpc_error(&self) -> RpcError {
        self.into()
    }
}

impl From<&Error> for RpcError {
    fn from(e: &Error) -> Self {
        let mut out = Self::new(e.tag, e.message.clone());
        if e.tag == ErrorTag::UnknownAttribute || e.tag == ErrorTag::BadAttribute {
            out.error_type = ErrorType::Application;
        }
        out.app_tag.clone_from(&e.app_tag);
        out.path.clone_from(&e.path);
        let mut xml = String::new();
        for (name, value) in &e.info {
            if name == "non-unique" {
                xml.push_str("<non-unique xmlns=\"urn:ietf:params:xml:ns:yang:1\">");
                xml.push_str(&escape(value));
                xml.push_str("</non-unique>");
            } else {
                out.info.push((name.clone(), value.clone()));
            }
        }
        out.info_xml = Fragment::from_trusted(xml);
        out
    }
}

impl From<Error> for RpcError {
    fn from(e: Error) -> Self {
        Self::from(&e)
    }
}

/// XML text with the five special characters escaped.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for ch in text.chars() {
        match ch {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            _ => out.push(ch),
        }
    }
    out
}

/// Takes what libyang recorded since its last call; at least one error.
pub(crate) fn collect(ctx: Ctx, phase: Phase) -> Vec<Error> {
    let mut out: Vec<Error> = Vec::new();
    for raw in ctx.take_errors() {
        let error = classify(ctx, &raw, phase);
        // libyang repeats some errors on the way up, less precisely.
        let repeated = out
            .iter()
            .any(|e| e.path == error.path && e.message == error.message);
        if !repeated {
            out.push(error);
        }
    }
    if out.is_empty() {
        out.push(Error::new(
            ErrorTag::OperationFailed,
            "the data was refused without a reason",
        ));
    }
    out
}

/// The `n`th text in double quotes.
fn quoted(message: &str, n: usize) -> Option<&str> {
    message.split('"').nth(2 * n + 1)
}

/// The table. libyang has no error codes finer than `LY_VECODE`, so its (stable, tested here) messages tell them apart.
fn classify(ctx: Ctx, raw: &RawError, phase: Phase) -> Error {
    let m = raw.message.as_str();
    let first = || quoted(m, 0).unwrap_or_default().to_owned();
    let mut e = Error::new(ErrorTag::OperationFailed, m);
    e.path.clone_from(&raw.path);
    e.app_tag.clone_from(&raw.app_tag);
    e.line = (raw.line > 0).then_some(raw.line);
    let tag = |mut e: Error, tag, app_tag: Option<&str>| {
        e.tag = tag;
        if e.app_tag.is_none() {
            e.app_tag = app_tag.map(str::to_owned);
        }
        e
    };
    let mut e = match raw.vecode {
        LY_VECODE::LYVE_SYNTAX_XML | LY_VECODE::LYVE_SYNTAX_JSON | LY_VECODE::LYVE_SYNTAX => {
            tag(e, ErrorTag::MalformedMessage, None)
        }
        LY_VECODE::LYVE_XPATH => tag(e, ErrorTag::InvalidValue, None),
        _ if m.contains("metadata") || m.starts_with("Annotation definition") => {
            let name = first();
            let name = name.rsplit(':').next().unwrap_or_default().to_owned();
            tag(e, ErrorTag::UnknownAttribute, None).with_info("bad-attribute", name)
        }
        _ if m.starts_with("No module with namespace")
            || m.starts_with("Unknown XML prefix")
            || m.starts_with("No module named")
            || m.starts_with("No default namespace") =>
        {
            tag(e, ErrorTag::UnknownNamespace, None).with_info("bad-namespace", first())
        }
        _ if m.starts_with("No (implemented) module") => {
            let element = quoted(m, 1).unwrap_or_default().to_owned();
            tag(e, ErrorTag::UnknownNamespace, None)
                .with_info("bad-element", element)
                .with_info("bad-namespace", first())
        }
        _ if m.starts_with("Node \"") && m.contains("not found") => {
            tag(e, ErrorTag::UnknownElement, None).with_info("bad-element", first())
        }
        _ if m.starts_with("List instance is missing its key") => {
            tag(e, ErrorTag::MissingElement, None).with_info("bad-element", first())
        }
        _ if m.starts_with("Mandatory node") => {
            tag(e, ErrorTag::DataMissing, Some("missing-instance"))
        }
        _ if m.starts_with("Mandatory choice") => {
            tag(e, ErrorTag::DataMissing, Some("missing-choice"))
        }
        _ if raw.app_tag.as_deref() == Some("data-not-unique") => {
            let paths = (1..3).filter_map(|n| quoted(m, n));
            e.info = paths
                .map(|path| ("non-unique".to_owned(), path.to_owned()))
                .collect();
            e
        }
        _ if m.starts_with("Invalid leafref value")
            || m.starts_with("Invalid instance-identifier") && m.contains("not found") =>
        {
            tag(e, ErrorTag::DataMissing, Some("instance-required"))
        }
        _ if raw.app_tag.as_deref() == Some("instance-required") => {
            tag(e, ErrorTag::DataMissing, None)
        }
        _ if m.starts_with("When condition") => tag(e, ErrorTag::UnknownElement, None),
        _ if m.starts_with("Data for both cases") => tag(e, ErrorTag::BadElement, None),
        _ if m.starts_with("Duplicate instance") => {
            tag(e, ErrorTag::BadElement, None).with_info("bad-element", first())
        }
        _ if m.starts_with("Unexpected data state node") => {
            let name = first();
            tag(e, ErrorTag::InvalidValue, None).with_info("bad-element", name)
        }
        _ if m.starts_with("Too many") || m.starts_with("Too few") => e,
        _ if m.starts_with("Must condition") => e,
        _ if m.starts_with("Invalid ") || m.starts_with("Unsatisfied ") => {
            tag(e, ErrorTag::InvalidValue, None)
        }
        _ => match phase {
            Phase::Parse | Phase::XPath => tag(e, ErrorTag::InvalidValue, None),
            Phase::Validate => e,
        },
    };
    if let Some((node, attribute)) = e.path.as_ref().and_then(|p| p.rsplit_once("/@"))
        && e.tag == ErrorTag::InvalidValue
    {
        let name = attribute.rsplit(':').next().unwrap_or_default().to_owned();
        e.path = Some(node.to_owned());
        e = tag(e, ErrorTag::BadAttribute, None).with_info("bad-attribute", name);
    }
    if e.path.is_none() {
        e.path = schema_node(ctx, raw).map_or_else(|| raw.schema_path.clone(), |n| Some(n.path()));
    }
    if e.tag == ErrorTag::InvalidValue && is_secret(ctx, raw) {
        e.message =
            "the value is not allowed here (it is not repeated because it is a secret)".into();
    }
    e
}

/// Whether the error is about a leaf that nobody may read: its value must not go into a message.
fn is_secret(ctx: Ctx, raw: &RawError) -> bool {
    schema_node(ctx, raw)
        .is_some_and(|node| node.has_extension("ietf-netconf-acm", "default-deny-all"))
}

/// The schema node that the error is about.
///
/// libyang names it by a path through choices and cases, which are in no data and which it does not find again: they are passed over.
fn schema_node(ctx: Ctx, raw: &RawError) -> Option<SRaw> {
    let Some(path) = raw.schema_path.as_deref() else {
        return ctx.schema_node(&without_predicates(raw.path.as_deref()?));
    };
    let mut steps = path.strip_prefix('/')?.split('/').map(|step| {
        let (module, name) = step.split_once(':').unzip();
        (module, name.unwrap_or(step))
    });
    let (module, name) = steps.next()?;
    let top = ctx.top_node(module?, name)?;
    Some(steps.fold(top, |node, (module, name)| {
        node.child(module, name).unwrap_or(node)
    }))
}

/// `/m:a/b[k='v']/c` as `/m:a/b/c`. Quotes are honoured.
pub(crate) fn without_predicates(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let (mut depth, mut quote) = (0usize, None);
    for ch in path.chars() {
        match (quote, ch) {
            (Some(q), _) if q == ch => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') if depth > 0 => quote = Some(ch),
            (None, '[') => depth += 1,
            (None, ']') => depth = depth.saturating_sub(1),
            (None, _) if depth == 0 => out.push(ch),
            (None, _) => {}
        }
    }
    out
}
