//! Messages from XML text: one pass, payloads taken as they stand.

use super::operation::{self, wrong_namespace};
use super::{
    BASE_NAMESPACE, Hello, MONITORING_NAMESPACE, NOTIFICATION_NAMESPACE, Notification, Outcome,
    Reply, Rpc, RpcReply, ServerMessage, path,
};
use crate::error::{ErrorSeverity, ErrorTag, ErrorType, RpcError};
use crate::xml::{Element, Event, Fragment, Reader, Tag, XmlError, XmlLimits};

/// A message that is no request that can be carried out, with what is needed to answer it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRpc {
    /// The request's `message-id`, if it was read.
    pub message_id: Option<String>,
    /// The request's other attributes, if they were read.
    pub attributes: Vec<(String, String)>,
    /// What is wrong.
    pub error: RpcError,
}

/// Why reading stops: bad XML, or good XML that is not what the protocol says.
pub(super) enum Fault {
    Xml(XmlError),
    Rpc(Box<RpcError>),
}

impl From<XmlError> for Fault {
    fn from(error: XmlError) -> Self {
        Self::Xml(error)
    }
}

impl From<RpcError> for Fault {
    fn from(error: RpcError) -> Self {
        Self::Rpc(Box::new(error))
    }
}

impl From<Fault> for RpcError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Xml(error @ XmlError::Limit { .. }) => {
                Self::new(ErrorTag::TooBig, error.to_string()).with_type(ErrorType::Rpc)
            }
            Fault::Xml(error @ XmlError::StrayText { .. }) => {
                Self::new(ErrorTag::InvalidValue, error.to_string()).with_type(ErrorType::Protocol)
            }
            Fault::Xml(error) => Self::new(ErrorTag::MalformedMessage, error.to_string()),
            Fault::Rpc(error) => *error,
        }
    }
}

/// The root element; the reader stands inside it.
fn root<'a>(reader: &mut Reader<'a>) -> Result<Tag<'a>, Fault> {
    match reader.next()? {
        Event::Start(tag) => Ok(tag),
        _ => Err(RpcError::new(ErrorTag::MalformedMessage, "the message is empty").into()),
    }
}

/// Nothing but comments may follow.
fn end(reader: &mut Reader<'_>) -> Result<(), Fault> {
    match reader.next()? {
        Event::Eof => Ok(()),
        _ => Err(RpcError::new(ErrorTag::MalformedMessage, "more than one root element").into()),
    }
}

impl Hello {
    /// Reads a hello.
    ///
    /// # Errors
    /// When it is no hello: why, in words.
    pub fn parse(message: &[u8], limits: &XmlLimits) -> Result<Self, String> {
        Self::read(message, limits).map_err(|fault| RpcError::from(fault).to_string())
    }

    fn read(message: &[u8], limits: &XmlLimits) -> Result<Self, Fault> {
        let refuse = |why: String| Fault::from(RpcError::new(ErrorTag::OperationFailed, why));
        let mut reader = Reader::from_bytes(message, limits)?;
        let tag = root(&mut reader)?;
        if !tag.is(BASE_NAMESPACE, "hello") {
            let what = format!(
                "expected <hello>, got <{}> in {:?}",
                tag.name, tag.namespace
            );
            return Err(refuse(what));
        }
        let mut hello = Self {
            capabilities: Vec::new(),
            session_id: None,
        };
        while let Some(tag) = reader.next_child()? {
            if tag.is(BASE_NAMESPACE, "capabilities") {
                while let Some(tag) = reader.next_child()? {
                    if !tag.is(BASE_NAMESPACE, "capability") {
                        return Err(refuse(format!("<{}> among capabilities", tag.name)));
                    }
                    let text = reader.text()?;
                    hello
                        .capabilities
                        .push(text.map_err(|_| refuse("markup in <capability>".into()))?);
                }
            } else if tag.is(BASE_NAMESPACE, "session-id") {
                let id = reader.text()?.ok().and_then(|text| text.parse().ok());
                let id = id.filter(|id| *id != 0);
                hello.session_id = Some(id.ok_or_else(|| refuse("bad <session-id>".into()))?);
            } else {
                return Err(refuse(format!("<{}> in <hello>", tag.name)));
            }
        }
        end(&mut reader)?;
        Ok(hello)
    }
}

impl Rpc {
    /// Reads a request.
    ///
    /// # Errors
    /// [`BadRpc`] with the error to answer.
    pub fn parse(message: &[u8], limits: &XmlLimits) -> Result<Self, BadRpc> {
        let mut bad = BadRpc {
            message_id: None,
            attributes: Vec::new(),
            error: RpcError::new(ErrorTag::OperationFailed, ""),
        };
        match Self::read(message, limits, &mut bad) {
            Ok(rpc) => Ok(rpc),
            Err(fault) => {
                bad.error = fault.into();
                Err(bad)
            }
        }
    }

    /// Reads a request; what is learnt of its attributes goes to `header` at once, for the case of an error.
    fn read(message: &[u8], limits: &XmlLimits, header: &mut BadRpc) -> Result<Self, Fault> {
        let mut reader = Reader::from_bytes(message, limits)?;
        let tag = root(&mut reader)?;
        if tag.name != "rpc" {
            let message = format!("expected <rpc>, got <{}>", tag.name);
            return Err(RpcError::new(ErrorTag::UnknownElement, message)
                .with_type(ErrorType::Rpc)
                .with_info("bad-element", tag.name)
                .into());
        }
        if tag.namespace != BASE_NAMESPACE {
            return Err(wrong_namespace(&tag).with_type(ErrorType::Rpc).into());
        }
        header.message_id = tag.attribute("message-id").map(str::to_owned);
        header.attributes = attributes(&tag);
        let message_id = header.message_id.clone().ok_or_else(|| {
            RpcError::new(ErrorTag::MissingAttribute, "<rpc> has no message-id")
                .with_type(ErrorType::Rpc)
                .with_info("bad-attribute", "message-id")
                .with_info("bad-element", "rpc")
        })?;
        let operation = reader.next_child()?.ok_or_else(|| {
            RpcError::new(ErrorTag::MissingElement, "<rpc> holds no operation")
                .with_type(ErrorType::Rpc)
                .with_info("bad-element", "rpc")
        })?;
        let operation = operation::read(&mut reader, &operation)?;
        if let Some(second) = reader.next_child()? {
            return Err(
                RpcError::new(ErrorTag::UnknownElement, "<rpc> holds two operations")
                    .with_type(ErrorType::Rpc)
                    .with_info("bad-element", second.name)
                    .into(),
            );
        }
        end(&mut reader)?;
        Ok(Self {
            message_id,
            attributes: std::mem::take(&mut header.attributes),
            operation,
        })
    }
}

/// All attributes but `message-id`, namespace declarations first.
fn attributes(tag: &Tag<'_>) -> Vec<(String, String)> {
    let declarations = tag.declarations.iter().map(|(name, value)| (*name, value));
    let others = tag.attributes.iter().map(|a| (a.qualified, &a.value));
    declarations
        .chain(others)
        .filter(|(name, _)| *name != "message-id")
        .map(|(name, value)| (name.to_owned(), value.to_string()))
        .collect()
}

impl ServerMessage {
    /// Reads what a server sends after its hello.
    ///
    /// # Errors
    /// When it is neither reply nor notification: why, in words.
    pub fn parse(message: &[u8], limits: &XmlLimits) -> Result<Self, String> {
        Self::read(message, limits).map_err(|fault| RpcError::from(fault).to_string())
    }

    fn read(message: &[u8], limits: &XmlLimits) -> Result<Self, Fault> {
        let mut reader = Reader::from_bytes(message, limits)?;
        let tag = root(&mut reader)?;
        let message = if tag.is(BASE_NAMESPACE, "rpc-reply") {
            let message_id = tag.attribute("message-id").map(str::to_owned);
            Self::Reply(RpcReply {
                message_id,
                outcome: outcome(&mut reader)?,
            })
        } else if tag.is(NOTIFICATION_NAMESPACE, "notification") {
            Self::Notification(notification(&mut reader)?)
        } else {
            let what = format!("unexpected <{}> in {:?}", tag.name, tag.namespace);
            return Err(RpcError::new(ErrorTag::UnknownElement, what).into());
        };
        end(&mut reader)?;
        Ok(message)
    }
}

impl Notification {
    /// Reads a notification.
    ///
    /// # Errors
    /// When it is none: why, in words.
    pub fn parse(message: &[u8], limits: &XmlLimits) -> Result<Self, String> {
        match ServerMessage::parse(message, limits)? {
            ServerMessage::Notification(notification) => Ok(notification),
            ServerMessage::Reply(_) => Err("expected <notification>, got <rpc-reply>".to_owned()),
        }
    }
}

fn notification(reader: &mut Reader<'_>) -> Result<Notification, Fault> {
    let refuse = |why: &str| Fault::from(RpcError::new(ErrorTag::OperationFailed, why));
    let mut event_time = None;
    let mut content = String::new();
    while let Some(tag) = reader.next_child()? {
        if tag.is(NOTIFICATION_NAMESPACE, "eventTime") {
            let text = reader.text()?;
            event_time = Some(text.map_err(|_| refuse("markup in <eventTime>"))?);
        } else {
            content.push_str(reader.whole(&tag)?.as_str());
        }
    }
    Ok(Notification {
        event_time: event_time.ok_or_else(|| refuse("<notification> without <eventTime>"))?,
        content: Fragment::from_trusted(content),
    })
}

/// The content of `<rpc-reply>`. Warnings beside an answer are dropped.
fn outcome(reader: &mut Reader<'_>) -> Result<Outcome, Fault> {
    let mut errors = Vec::new();
    let mut reply = None;
    let mut output = String::new();
    while let Some(tag) = reader.next_child()? {
        match (tag.namespace.as_ref(), tag.name) {
            (BASE_NAMESPACE, "ok") => {
                reader.skip()?;
                reply = Some(Reply::Ok);
            }
            (BASE_NAMESPACE, "data") => reply = Some(Reply::Data(reader.inner()?)),
            (MONITORING_NAMESPACE, "data") => {
                let text = reader.text_verbatim()?;
                let refuse = |child: Tag<'_>| {
                    let message = format!("<{}> in the text of a schema", child.name);
                    RpcError::new(ErrorTag::OperationNotSupported, message)
                };
                reply = Some(Reply::Schema(text.map_err(refuse)?));
            }
            (BASE_NAMESPACE, "rpc-error") => errors.push(rpc_error(reader)?),
            _ => output.push_str(reader.whole(&tag)?.as_str()),
        }
    }
    let fatal = errors
        .iter()
        .any(|error| error.severity == ErrorSeverity::Error);
    if fatal || (!errors.is_empty() && reply.is_none() && output.is_empty()) {
        return Ok(Err(errors));
    }
    Ok(Ok(reply.unwrap_or_else(|| {
        Reply::Output(Fragment::from_trusted(output))
    })))
}

fn rpc_error(reader: &mut Reader<'_>) -> Result<RpcError, Fault> {
    let mut error = RpcError::new(ErrorTag::OperationFailed, "");
    error.message = None;
    let mut unknown_tag = None;
    while let Some(tag) = reader.next_child()? {
        if tag.is(BASE_NAMESPACE, "error-info") {
            error_info(reader, &mut error)?;
            continue;
        }
        let name = tag.name.to_owned();
        let in_scope = (name == "error-path").then(|| reader.in_scope());
        let Ok(text) = reader.text()? else {
            let message = format!("markup in <{name}>");
            return Err(RpcError::new(ErrorTag::BadElement, message).into());
        };
        match name.as_str() {
            "error-type" => {
                let known = ErrorType::ALL
                    .into_iter()
                    .find(|known| known.as_str() == text);
                error.error_type = known.unwrap_or(ErrorType::Application);
            }
            "error-tag" => match ErrorTag::ALL.into_iter().find(|tag| tag.as_str() == text) {
                Some(tag) => error.tag = tag,
                None => unknown_tag = Some(text),
            },
            "error-severity" if text == "warning" => error.severity = ErrorSeverity::Warning,
            "error-app-tag" => error.app_tag = Some(text),
            "error-path" => {
                error.path_namespaces = in_scope.unwrap_or_default();
                let used = path::prefixes(&text);
                let is_used = |prefix: &String| used.contains(&prefix.as_str());
                error.path_namespaces.retain(|(prefix, _)| is_used(prefix));
                error.path = Some(path::shortened(&text));
            }
            "error-message" => error.message = Some(text),
            _ => {}
        }
    }
    if let Some(tag) = unknown_tag {
        let message = error.message.take().unwrap_or_default();
        error.message = Some(
            format!("{message} (error-tag {tag:?})")
                .trim_start()
                .to_owned(),
        );
    }
    Ok(error)
}

/// Simple elements of the base namespace go to `info`, all else to `info_xml`.
fn error_info(reader: &mut Reader<'_>, error: &mut RpcError) -> Result<(), Fault> {
    let mut foreign = String::new();
    while let Some(tag) = reader.next_child()? {
        let fragment = reader.whole(&tag)?;
        if tag.namespace == BASE_NAMESPACE {
            let mut elements: Vec<Element> = fragment.elements()?;
            if let Some(element) = elements.pop().filter(|element| element.children.is_empty()) {
                error.info.push((element.name, element.text));
                continue;
            }
        }
        foreign.push_str(fragment.as_str());
    }
    error.info_xml = Fragment::from_trusted(foreign);
    Ok(())
}
