//! The content of `<rpc>`, read.

use std::str::FromStr;
use std::time::Duration;

use super::parse::Fault;
use super::{
    BASE_NAMESPACE, Commit, ConfigSource, ConfigTarget, CreateSubscription, Datastore,
    DefaultOperation, EditConfig, ErrorOption, Filter, MONITORING_NAMESPACE,
    NOTIFICATION_NAMESPACE, Operation, TestOption, WITH_DEFAULTS_NAMESPACE, WithDefaults,
};
use crate::error::{ErrorTag, ErrorType, RpcError};
use crate::xml::{Reader, Tag, XML_NAMESPACE};

/// Reads the operation whose element is `tag`, up to and with its end.
pub(super) fn read<'a>(reader: &mut Reader<'a>, tag: &Tag<'a>) -> Result<Operation, Fault> {
    let namespace = tag.namespace.as_ref();
    match (namespace, tag.name) {
        (BASE_NAMESPACE, name) if is_base(name) => {
            let parameters = Parameters::read(reader, tag)?;
            base_operation(name, parameters)
        }
        (MONITORING_NAMESPACE, "get-schema") => Parameters::read(reader, tag)?.get_schema(),
        (NOTIFICATION_NAMESPACE, "create-subscription") => {
            let parameters = Parameters::read(reader, tag)?;
            Ok(Operation::CreateSubscription(CreateSubscription {
                stream: parameters.stream.unwrap_or_else(|| "NETCONF".to_owned()),
                filter: parameters.filter,
                start_time: parameters.start_time,
                stop_time: parameters.stop_time,
            }))
        }
        (namespace, name) => Ok(Operation::Other {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            element: reader.whole(tag)?,
        }),
    }
}

fn is_base(name: &str) -> bool {
    !allowed(name).is_empty() || matches!(name, "discard-changes" | "close-session")
}

/// The parameters of each operation: what is not listed is an unknown element.
fn allowed(operation: &str) -> &'static [&'static str] {
    match operation {
        "get" => &["filter", "with-defaults"],
        "get-config" => &["source", "filter", "with-defaults"],
        "edit-config" => &[
            "target",
            "default-operation",
            "test-option",
            "error-option",
            "config",
            "url",
        ],
        "copy-config" => &["target", "source", "with-defaults"],
        "delete-config" | "lock" | "unlock" => &["target"],
        "commit" => &["confirmed", "confirm-timeout", "persist", "persist-id"],
        "cancel-commit" => &["persist-id"],
        "validate" => &["source"],
        "kill-session" => &["session-id"],
        "get-schema" => &["identifier", "version", "format"],
        "create-subscription" => &["stream", "filter", "startTime", "stopTime"],
        _ => &[],
    }
}

fn base_operation(name: &str, mut given: Parameters) -> Result<Operation, Fault> {
    Ok(match name {
        "get" => Operation::Get {
            filter: given.filter,
            with_defaults: given.with_defaults,
        },
        "get-config" => match given.required_source(name)? {
            ConfigSource::Inline(_) => return Err(unknown("config", "source").into()),
            source => Operation::GetConfig {
                source,
                filter: given.filter,
                with_defaults: given.with_defaults,
            },
        },
        "edit-config" => Operation::EditConfig(given.edit_config()?),
        "copy-config" => Operation::CopyConfig {
            target: given.required_target(name)?,
            source: given.required_source(name)?,
            with_defaults: given.with_defaults,
        },
        "delete-config" => Operation::DeleteConfig {
            target: given.required_target(name)?,
        },
        "lock" => Operation::Lock(given.required_datastore(name)?),
        "unlock" => Operation::Unlock(given.required_datastore(name)?),
        "commit" => Operation::Commit(Commit {
            confirmed: given.confirmed,
            confirm_timeout: given.confirm_timeout,
            persist: given.persist,
            persist_id: given.persist_id,
        }),
        "cancel-commit" => Operation::CancelCommit {
            persist_id: given.persist_id,
        },
        "discard-changes" => Operation::DiscardChanges,
        "validate" => Operation::Validate(given.required_source(name)?),
        "kill-session" => Operation::KillSession(
            given
                .session_id
                .ok_or_else(|| missing("session-id", name))?,
        ),
        _ => Operation::CloseSession,
    })
}

/// Every parameter any operation has.
#[derive(Default)]
struct Parameters {
    source: Option<ConfigSource>,
    target: Option<ConfigTarget>,
    filter: Option<Filter>,
    with_defaults: Option<WithDefaults>,
    default_operation: DefaultOperation,
    test_option: TestOption,
    error_option: ErrorOption,
    config: Option<ConfigSource>,
    confirmed: bool,
    confirm_timeout: Option<Duration>,
    persist: Option<String>,
    persist_id: Option<String>,
    session_id: Option<u32>,
    identifier: Option<String>,
    version: Option<String>,
    format: Option<String>,
    stream: Option<String>,
    start_time: Option<String>,
    stop_time: Option<String>,
}

impl Parameters {
    /// Reads what is inside the element `outer` of an operation.
    fn read<'a>(reader: &mut Reader<'a>, outer: &Tag<'a>) -> Result<Self, Fault> {
        let (operation, namespace) = (outer.name, outer.namespace.as_ref());
        no_attributes(outer, &[])?;
        let mut given = Self::default();
        let mut seen: Vec<&str> = Vec::new();
        while let Some(tag) = reader.next_child()? {
            let of_operation = if tag.name == "with-defaults" {
                WITH_DEFAULTS_NAMESPACE
            } else {
                namespace
            };
            let Some(name) = allowed(operation).iter().find(|name| **name == tag.name) else {
                return Err(unknown(tag.name, operation).into());
            };
            if tag.namespace != of_operation {
                return Err(wrong_namespace(&tag).into());
            }
            if seen.contains(name) {
                return Err(bad(name, &format!("<{name}> stands twice in <{operation}>")).into());
            }
            seen.push(name);
            given.parameter(reader, &tag)?;
        }
        Ok(given)
    }

    fn parameter<'a>(&mut self, reader: &mut Reader<'a>, tag: &Tag<'a>) -> Result<(), Fault> {
        if tag.name != "filter" {
            no_attributes(tag, &[])?;
        }
        match tag.name {
            "source" => self.source = Some(source(reader)?),
            "target" => self.target = Some(target(reader)?),
            "filter" => self.filter = Some(filter(reader, tag)?),
            "with-defaults" => self.with_defaults = Some(choice(reader, tag, WITH_DEFAULTS)?),
            "default-operation" => {
                self.default_operation = choice(reader, tag, DEFAULT_OPERATIONS)?;
            }
            "test-option" => self.test_option = choice(reader, tag, TEST_OPTIONS)?,
            "error-option" => self.error_option = choice(reader, tag, ERROR_OPTIONS)?,
            "config" => self.config = Some(ConfigSource::Inline(reader.inner()?)),
            "url" => self.config = Some(ConfigSource::Url(text(reader, tag)?)),
            "confirmed" => {
                empty(reader, tag)?;
                self.confirmed = true;
            }
            "confirm-timeout" => {
                let seconds: u32 = number(reader, tag)?;
                self.confirm_timeout = Some(Duration::from_secs(seconds.into()));
            }
            "persist" => self.persist = Some(text(reader, tag)?),
            "persist-id" => self.persist_id = Some(text(reader, tag)?),
            "session-id" => self.session_id = Some(number(reader, tag)?),
            "identifier" => self.identifier = Some(text(reader, tag)?),
            "version" => self.version = Some(text(reader, tag)?),
            "format" => self.format = Some(local_name(&text(reader, tag)?).to_owned()),
            "stream" => self.stream = Some(text(reader, tag)?),
            "startTime" => self.start_time = Some(text(reader, tag)?),
            _ => self.stop_time = Some(text(reader, tag)?),
        }
        Ok(())
    }

    fn required_source(&mut self, operation: &str) -> Result<ConfigSource, RpcError> {
        self.source
            .take()
            .ok_or_else(|| missing("source", operation))
    }

    fn required_target(&mut self, operation: &str) -> Result<ConfigTarget, RpcError> {
        self.target
            .take()
            .ok_or_else(|| missing("target", operation))
    }

    fn required_datastore(&mut self, operation: &str) -> Result<Datastore, RpcError> {
        match self.required_target(operation)? {
            ConfigTarget::Datastore(datastore) => Ok(datastore),
            ConfigTarget::Url(_) => Err(unsupported(&format!("<{operation}> of a url"))),
        }
    }

    fn edit_config(mut self) -> Result<EditConfig, RpcError> {
        let target = self.required_datastore("edit-config")?;
        let config = match self.config {
            Some(ConfigSource::Inline(config)) => config,
            Some(_) => return Err(unsupported("<edit-config> with a url")),
            None => return Err(missing("config", "edit-config")),
        };
        Ok(EditConfig {
            target,
            default_operation: self.default_operation,
            test_option: self.test_option,
            error_option: self.error_option,
            config,
        })
    }

    fn get_schema(self) -> Result<Operation, Fault> {
        Ok(Operation::GetSchema {
            identifier: self
                .identifier
                .ok_or_else(|| missing("identifier", "get-schema"))?,
            version: self.version.filter(|version| !version.is_empty()),
            format: self.format,
        })
    }
}

const WITH_DEFAULTS: &[(&str, WithDefaults)] = &[
    ("report-all", WithDefaults::ReportAll),
    ("report-all-tagged", WithDefaults::ReportAllTagged),
    ("trim", WithDefaults::Trim),
    ("explicit", WithDefaults::Explicit),
];
const DEFAULT_OPERATIONS: &[(&str, DefaultOperation)] = &[
    ("merge", DefaultOperation::Merge),
    ("replace", DefaultOperation::Replace),
    ("none", DefaultOperation::None),
];
const TEST_OPTIONS: &[(&str, TestOption)] = &[
    ("test-then-set", TestOption::TestThenSet),
    ("set", TestOption::Set),
    ("test-only", TestOption::TestOnly),
];
const ERROR_OPTIONS: &[(&str, ErrorOption)] = &[
    ("stop-on-error", ErrorOption::StopOnError),
    ("continue-on-error", ErrorOption::ContinueOnError),
    ("rollback-on-error", ErrorOption::RollbackOnError),
];

/// Reads the one child of `source` or `target`, whose names are the same.
fn place(reader: &mut Reader<'_>, parent: &str) -> Result<ConfigSource, Fault> {
    let Some(tag) = reader.next_child()? else {
        return Err(missing("a datastore", parent).into());
    };
    if tag.namespace != BASE_NAMESPACE {
        return Err(wrong_namespace(&tag).into());
    }
    no_attributes(&tag, &[])?;
    let place = match tag.name {
        "running" => ConfigSource::Datastore(Datastore::Running),
        "candidate" => ConfigSource::Datastore(Datastore::Candidate),
        "startup" => ConfigSource::Datastore(Datastore::Startup),
        "config" => ConfigSource::Inline(reader.inner()?),
        "url" => ConfigSource::Url(text(reader, &tag)?),
        name => return Err(unknown(name, parent).into()),
    };
    if let ConfigSource::Datastore(_) = place {
        empty(reader, &tag)?;
    }
    match reader.next_child()? {
        None => Ok(place),
        Some(second) => Err(bad(
            second.name,
            &format!("<{parent}> holds more than one datastore"),
        )
        .into()),
    }
}

fn source(reader: &mut Reader<'_>) -> Result<ConfigSource, Fault> {
    place(reader, "source")
}

fn target(reader: &mut Reader<'_>) -> Result<ConfigTarget, Fault> {
    match place(reader, "target")? {
        ConfigSource::Datastore(datastore) => Ok(ConfigTarget::Datastore(datastore)),
        ConfigSource::Url(url) => Ok(ConfigTarget::Url(url)),
        ConfigSource::Inline(_) => Err(unknown("config", "target").into()),
    }
}

/// A filter; its attributes have no namespace, but clients that qualify them are understood.
fn filter<'a>(reader: &mut Reader<'a>, tag: &Tag<'a>) -> Result<Filter, Fault> {
    let attribute = |name| {
        let named = tag
            .attributes
            .iter()
            .find(|a| a.name == name && (a.namespace.is_empty() || a.namespace == BASE_NAMESPACE));
        named.map(|a| a.value.to_string())
    };
    match attribute("type").as_deref() {
        None | Some("subtree") => {
            no_attributes(tag, &["type"])?;
            Ok(Filter::Subtree(reader.inner()?))
        }
        Some("xpath") => {
            no_attributes(tag, &["type", "select"])?;
            let select = attribute("select").ok_or_else(|| {
                attribute_error(
                    ErrorTag::MissingAttribute,
                    "filter",
                    "select",
                    "an xpath filter needs it",
                )
            })?;
            let mut namespaces = reader.in_scope();
            namespaces.retain(|(prefix, _)| !prefix.is_empty());
            empty(reader, tag)?;
            Ok(Filter::XPath { select, namespaces })
        }
        Some(other) => Err(attribute_error(
            ErrorTag::BadAttribute,
            "filter",
            "type",
            &format!("a filter is \"subtree\" or \"xpath\", not {other:?}"),
        )
        .into()),
    }
}

/// Refuses attributes but these, which may be qualified; those of XML itself (`xml:lang`) mean nothing here.
fn no_attributes(tag: &Tag<'_>, but: &[&str]) -> Result<(), RpcError> {
    let unknown = tag.attributes.iter().find(|a| {
        let known =
            (a.namespace.is_empty() || a.namespace == BASE_NAMESPACE) && but.contains(&a.name);
        !known && a.namespace != XML_NAMESPACE
    });
    match unknown {
        None => Ok(()),
        Some(attribute) => Err(attribute_error(
            ErrorTag::UnknownAttribute,
            tag.name,
            attribute.name,
            "it has no such attribute",
        )),
    }
}

fn text<'a>(reader: &mut Reader<'a>, tag: &Tag<'a>) -> Result<String, Fault> {
    reader
        .text()?
        .map_err(|child| unknown(child.name, tag.name).into())
}

fn empty<'a>(reader: &mut Reader<'a>, tag: &Tag<'a>) -> Result<(), Fault> {
    let content = text(reader, tag)?;
    if content.is_empty() {
        return Ok(());
    }
    Err(invalid(tag.name, &format!("<{}> must be empty", tag.name)).into())
}

fn number<'a, T: FromStr + PartialEq + From<u8>>(
    reader: &mut Reader<'a>,
    tag: &Tag<'a>,
) -> Result<T, Fault> {
    let content = text(reader, tag)?;
    match content.parse::<T>() {
        Ok(number) if number != T::from(0) => Ok(number),
        _ => {
            let message = format!("<{}> is a number from 1, not {content:?}", tag.name);
            Err(invalid(tag.name, &message).into())
        }
    }
}

fn choice<'a, T: Copy>(
    reader: &mut Reader<'a>,
    tag: &Tag<'a>,
    choices: &[(&str, T)],
) -> Result<T, Fault> {
    let content = text(reader, tag)?;
    if let Some((_, value)) = choices.iter().find(|(name, _)| *name == content) {
        return Ok(*value);
    }
    let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
    let message = format!(
        "<{}> is one of {}, not {content:?}",
        tag.name,
        names.join(", ")
    );
    Err(invalid(tag.name, &message).into())
}

fn local_name(name: &str) -> &str {
    name.split_once(':').map_or(name, |(_, local)| local)
}

fn protocol(tag: ErrorTag, element: &str, message: impl Into<String>) -> RpcError {
    RpcError::new(tag, message)
        .with_type(ErrorType::Protocol)
        .with_info("bad-element", element)
}

fn missing(name: &str, parent: &str) -> RpcError {
    let bad_element = if name.contains(' ') { parent } else { name };
    protocol(
        ErrorTag::MissingElement,
        bad_element,
        format!("<{parent}> lacks {name}"),
    )
}

fn unknown(name: &str, parent: &str) -> RpcError {
    protocol(
        ErrorTag::UnknownElement,
        name,
        format!("<{parent}> has no <{name}>"),
    )
}

fn bad(name: &str, message: &str) -> RpcError {
    protocol(ErrorTag::BadElement, name, message)
}

fn invalid(name: &str, message: &str) -> RpcError {
    protocol(ErrorTag::InvalidValue, name, message)
}

fn unsupported(what: &str) -> RpcError {
    RpcError::new(
        ErrorTag::OperationNotSupported,
        format!("{what} is not supported"),
    )
}

/// An element that is right but for its namespace.
pub(super) fn wrong_namespace(tag: &Tag<'_>) -> RpcError {
    let message = format!("<{}> is not in namespace {:?}", tag.name, tag.namespace);
    protocol(ErrorTag::UnknownNamespace, tag.name, message)
        .with_info("bad-namespace", tag.namespace.as_ref())
}

fn attribute_error(tag: ErrorTag, element: &str, attribute: &str, message: &str) -> RpcError {
    let message = format!("attribute {attribute} of <{element}>: {message}");
    RpcError::new(tag, message)
        .with_info("bad-attribute", attribute)
        .with_info("bad-element", element)
}
