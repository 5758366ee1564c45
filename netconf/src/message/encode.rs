//! Messages as XML text, without framing.

use super::{
    BASE_NAMESPACE, Commit, ConfigSource, ConfigTarget, CreateSubscription, Datastore,
    DefaultOperation, EditConfig, ErrorOption, Filter, Hello, MONITORING_NAMESPACE,
    NOTIFICATION_NAMESPACE, Notification, Operation, Outcome, Reply, Rpc, TestOption,
    WITH_DEFAULTS_NAMESPACE, WithDefaults,
};
use crate::error::RpcError;
use crate::xml::{push_attribute, push_escaped, push_leaf};

impl Datastore {
    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Candidate => "candidate",
            Self::Startup => "startup",
        }
    }
}

impl WithDefaults {
    /// The mode on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReportAll => "report-all",
            Self::ReportAllTagged => "report-all-tagged",
            Self::Trim => "trim",
            Self::Explicit => "explicit",
        }
    }
}

impl DefaultOperation {
    /// The value on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Merge => "merge",
            Self::Replace => "replace",
            Self::None => "none",
        }
    }
}

impl TestOption {
    /// The value on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TestThenSet => "test-then-set",
            Self::Set => "set",
            Self::TestOnly => "test-only",
        }
    }
}

impl ErrorOption {
    /// The value on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StopOnError => "stop-on-error",
            Self::ContinueOnError => "continue-on-error",
            Self::RollbackOnError => "rollback-on-error",
        }
    }
}

impl Hello {
    /// The message text, without framing.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut xml = String::with_capacity(256 + 80 * self.capabilities.len());
        xml.push_str(r#"<?xml version="1.0" encoding="UTF-8"?><hello"#);
        push_attribute(&mut xml, "xmlns", BASE_NAMESPACE);
        xml.push_str("><capabilities>");
        for capability in &self.capabilities {
            push_leaf(&mut xml, "capability", capability);
        }
        xml.push_str("</capabilities>");
        if let Some(id) = self.session_id {
            push_leaf(&mut xml, "session-id", &id.to_string());
        }
        xml.push_str("</hello>");
        xml
    }
}

impl Notification {
    /// The message text, without framing.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut xml = String::with_capacity(128 + self.content.as_str().len());
        xml.push_str("<notification");
        push_attribute(&mut xml, "xmlns", NOTIFICATION_NAMESPACE);
        xml.push('>');
        push_leaf(&mut xml, "eventTime", &self.event_time);
        xml.push_str(self.content.as_str());
        xml.push_str("</notification>");
        xml
    }
}

impl Rpc {
    /// The message text, without framing.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut xml = String::with_capacity(256);
        push_envelope(&mut xml, "rpc", Some(&self.message_id), &self.attributes);
        push_operation(&mut xml, &self.operation);
        xml.push_str("</rpc>");
        xml
    }
}

/// `<rpc-reply>` as text, without framing: the attributes of the request come back in it (RFC 6241 4.2).
#[must_use]
pub fn encode_reply(
    message_id: Option<&str>,
    attributes: &[(String, String)],
    outcome: &Outcome,
) -> String {
    let payload = match outcome {
        Ok(Reply::Data(data) | Reply::Output(data)) => data.as_str().len(),
        Ok(Reply::Schema(text)) => text.len() + text.len() / 8,
        Ok(Reply::Ok) | Err(_) => 0,
    };
    let mut xml = String::with_capacity(256 + payload);
    push_envelope(&mut xml, "rpc-reply", message_id, attributes);
    match outcome {
        Ok(reply) => push_reply(&mut xml, reply),
        Err(errors) => errors.iter().for_each(|error| push_error(&mut xml, error)),
    }
    xml.push_str("</rpc-reply>");
    xml
}

/// The base namespace is the default one whatever the request's default was: no attribute is in it.
fn push_envelope(
    xml: &mut String,
    name: &str,
    message_id: Option<&str>,
    attributes: &[(String, String)],
) {
    xml.push('<');
    xml.push_str(name);
    push_attribute(xml, "xmlns", BASE_NAMESPACE);
    if let Some(id) = message_id {
        push_attribute(xml, "message-id", id);
    }
    for (name, value) in attributes {
        if name != "xmlns" && name != "message-id" {
            push_attribute(xml, name, value);
        }
    }
    xml.push('>');
}

fn push_reply(xml: &mut String, reply: &Reply) {
    match reply {
        Reply::Output(output) if !output.is_empty() => xml.push_str(output.as_str()),
        Reply::Ok | Reply::Output(_) => xml.push_str("<ok/>"),
        Reply::Data(data) => {
            xml.push_str("<data>");
            xml.push_str(data.as_str());
            xml.push_str("</data>");
        }
        Reply::Schema(text) => {
            xml.push_str("<data");
            push_attribute(xml, "xmlns", MONITORING_NAMESPACE);
            xml.push('>');
            push_escaped(xml, text);
            xml.push_str("</data>");
        }
    }
}

fn push_error(xml: &mut String, error: &RpcError) {
    xml.push_str("<rpc-error>");
    push_leaf(xml, "error-type", error.error_type.as_str());
    push_leaf(xml, "error-tag", error.tag.as_str());
    push_leaf(xml, "error-severity", error.severity.as_str());
    if let Some(app_tag) = &error.app_tag {
        push_leaf(xml, "error-app-tag", app_tag);
    }
    if let Some(error_path) = error.xml_path() {
        xml.push_str("<error-path");
        for (prefix, namespace) in &error.path_namespaces {
            push_attribute(xml, &format!("xmlns:{prefix}"), namespace);
        }
        xml.push('>');
        push_escaped(xml, &error_path);
        xml.push_str("</error-path>");
    }
    if let Some(message) = &error.message {
        xml.push_str(r#"<error-message xml:lang="en">"#);
        push_escaped(xml, message);
        xml.push_str("</error-message>");
    }
    if !error.info.is_empty() || !error.info_xml.is_empty() {
        xml.push_str("<error-info>");
        for (name, text) in &error.info {
            push_leaf(xml, name, text);
        }
        xml.push_str(error.info_xml.as_str());
        xml.push_str("</error-info>");
    }
    xml.push_str("</rpc-error>");
}

fn push_operation(xml: &mut String, operation: &Operation) {
    if let Operation::Other { element, .. } = operation {
        xml.push_str(element.as_str());
        return;
    }
    let name = operation.name();
    xml.push('<');
    xml.push_str(name);
    match operation {
        Operation::GetSchema { .. } => push_attribute(xml, "xmlns", MONITORING_NAMESPACE),
        Operation::CreateSubscription(_) => push_attribute(xml, "xmlns", NOTIFICATION_NAMESPACE),
        _ => {}
    }
    xml.push('>');
    push_parameters(xml, operation);
    xml.push_str("</");
    xml.push_str(name);
    xml.push('>');
}

fn push_parameters(xml: &mut String, operation: &Operation) {
    match operation {
        Operation::Get {
            filter,
            with_defaults,
        } => {
            push_filter(xml, filter.as_ref());
            push_with_defaults(xml, *with_defaults);
        }
        Operation::GetConfig {
            source,
            filter,
            with_defaults,
        } => {
            push_source(xml, source);
            push_filter(xml, filter.as_ref());
            push_with_defaults(xml, *with_defaults);
        }
        Operation::EditConfig(edit) => push_edit_config(xml, edit),
        Operation::CopyConfig {
            target,
            source,
            with_defaults,
        } => {
            push_target(xml, target);
            push_source(xml, source);
            push_with_defaults(xml, *with_defaults);
        }
        Operation::DeleteConfig { target } => push_target(xml, target),
        Operation::Lock(datastore) | Operation::Unlock(datastore) => {
            push_target(xml, &ConfigTarget::Datastore(*datastore));
        }
        Operation::Commit(commit) => push_commit(xml, commit),
        Operation::CancelCommit { persist_id } => push_optional(xml, "persist-id", persist_id),
        Operation::Validate(source) => push_source(xml, source),
        Operation::KillSession(id) => push_leaf(xml, "session-id", &id.to_string()),
        Operation::GetSchema {
            identifier,
            version,
            format,
        } => {
            push_leaf(xml, "identifier", identifier);
            push_optional(xml, "version", version);
            push_optional(xml, "format", format);
        }
        Operation::CreateSubscription(subscription) => push_subscription(xml, subscription),
        Operation::DiscardChanges | Operation::CloseSession | Operation::Other { .. } => {}
    }
}

fn push_optional(xml: &mut String, name: &str, value: &Option<String>) {
    if let Some(value) = value {
        push_leaf(xml, name, value);
    }
}

fn push_datastore(xml: &mut String, datastore: Datastore) {
    xml.push('<');
    xml.push_str(datastore.as_str());
    xml.push_str("/>");
}

fn push_target(xml: &mut String, target: &ConfigTarget) {
    xml.push_str("<target>");
    match target {
        ConfigTarget::Datastore(datastore) => push_datastore(xml, *datastore),
        ConfigTarget::Url(url) => push_leaf(xml, "url", url),
    }
    xml.push_str("</target>");
}

fn push_source(xml: &mut String, source: &ConfigSource) {
    xml.push_str("<source>");
    match source {
        ConfigSource::Datastore(datastore) => push_datastore(xml, *datastore),
        ConfigSource::Inline(config) => {
            xml.push_str("<config>");
            xml.push_str(config.as_str());
            xml.push_str("</config>");
        }
        ConfigSource::Url(url) => push_leaf(xml, "url", url),
    }
    xml.push_str("</source>");
}

fn push_filter(xml: &mut String, filter: Option<&Filter>) {
    match filter {
        None => {}
        Some(Filter::Subtree(subtree)) => {
            xml.push_str("<filter type=\"subtree\">");
            xml.push_str(subtree.as_str());
            xml.push_str("</filter>");
        }
        Some(Filter::XPath { select, namespaces }) => {
            xml.push_str("<filter type=\"xpath\"");
            for (prefix, namespace) in namespaces.iter().filter(|(prefix, _)| !prefix.is_empty()) {
                push_attribute(xml, &format!("xmlns:{prefix}"), namespace);
            }
            push_attribute(xml, "select", select);
            xml.push_str("/>");
        }
    }
}

fn push_with_defaults(xml: &mut String, mode: Option<WithDefaults>) {
    let Some(mode) = mode else { return };
    xml.push_str("<with-defaults");
    push_attribute(xml, "xmlns", WITH_DEFAULTS_NAMESPACE);
    xml.push('>');
    xml.push_str(mode.as_str());
    xml.push_str("</with-defaults>");
}

/// What equals its default is left out: a server without `:validate` or `:rollback-on-error` refuses the elements.
fn push_edit_config(xml: &mut String, edit: &EditConfig) {
    push_target(xml, &ConfigTarget::Datastore(edit.target));
    if edit.default_operation != DefaultOperation::default() {
        push_leaf(xml, "default-operation", edit.default_operation.as_str());
    }
    if edit.test_option != TestOption::default() {
        push_leaf(xml, "test-option", edit.test_option.as_str());
    }
    if edit.error_option != ErrorOption::default() {
        push_leaf(xml, "error-option", edit.error_option.as_str());
    }
    xml.push_str("<config>");
    xml.push_str(edit.config.as_str());
    xml.push_str("</config>");
}

fn push_commit(xml: &mut String, commit: &Commit) {
    if commit.confirmed {
        xml.push_str("<confirmed/>");
    }
    if let Some(timeout) = commit.confirm_timeout {
        push_leaf(
            xml,
            "confirm-timeout",
            &timeout.as_secs().max(1).to_string(),
        );
    }
    push_optional(xml, "persist", &commit.persist);
    push_optional(xml, "persist-id", &commit.persist_id);
}

fn push_subscription(xml: &mut String, subscription: &CreateSubscription) {
    push_leaf(xml, "stream", &subscription.stream);
    push_filter(xml, subscription.filter.as_ref());
    push_optional(xml, "startTime", &subscription.start_time);
    push_optional(xml, "stopTime", &subscription.stop_time);
}
