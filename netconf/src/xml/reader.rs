//! A pull reader over one message: well-formed XML with namespaces, under limits, and nothing NETCONF forbids.

use std::borrow::Cow;
use std::ops::Range;

use quick_xml::events::Event as RawEvent;
use quick_xml::events::attributes::Attributes;

use super::lexical::{attribute_value, ill_formed, resolve, split_name};
use super::namespaces::Bindings;
use super::{Fragment, XmlError, XmlLimits};

/// Bytes of declarations that making elements self-contained may add to a message.
const MAX_ADDED_BYTES: usize = 16 << 20;

/// What comes next. White space, comments and the XML declaration are gone where they mean nothing.
#[derive(Debug)]
pub(crate) enum Event<'a> {
    /// An element begins; its `End` always follows, also for an empty one.
    Start(Tag<'a>),
    /// A piece of text, unescaped; neighbouring pieces are not joined.
    Text(Cow<'a, str>),
    /// The innermost element ends.
    End,
    /// The message ends.
    Eof,
}

/// The start of an element.
#[derive(Debug)]
pub(crate) struct Tag<'a> {
    /// Namespace, empty for none.
    pub(crate) namespace: Cow<'a, str>,
    /// Local name.
    pub(crate) name: &'a str,
    /// Attributes without namespace declarations.
    pub(crate) attributes: Vec<TagAttribute<'a>>,
    /// Namespace declarations, (`xmlns` or `xmlns:prefix`, namespace).
    pub(crate) declarations: Vec<(&'a str, Cow<'a, str>)>,
    /// The whole tag, `<` to `>`.
    raw: &'a str,
    /// Where it begins.
    offset: usize,
}

/// One attribute of a [`Tag`].
#[derive(Debug)]
pub(crate) struct TagAttribute<'a> {
    /// Name with prefix, as written.
    pub(crate) qualified: &'a str,
    /// Namespace, empty for none.
    pub(crate) namespace: Cow<'a, str>,
    /// Local name.
    pub(crate) name: &'a str,
    /// Value, unescaped.
    pub(crate) value: Cow<'a, str>,
}

impl Tag<'_> {
    /// Whether this is `name` in `namespace`.
    pub(crate) fn is(&self, namespace: &str, name: &str) -> bool {
        self.name == name && self.namespace == namespace
    }

    /// The value of the attribute `name` without namespace.
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|a| a.name == name && a.namespace.is_empty())
            .map(|a| a.value.as_ref())
    }
}

/// The reader. Errors are final.
pub(crate) struct Reader<'a> {
    source: &'a str,
    inner: quick_xml::Reader<&'a [u8]>,
    limits: XmlLimits,
    bindings: Bindings<'a>,
    depth: usize,
    /// An empty element was given as `Start`; its `End` is still to come.
    end_pending: bool,
    /// Past the place where an XML declaration may stand.
    seen_element: bool,
    /// Bytes of declarations added to elements to make them self-contained.
    added: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `source`.
    pub(crate) fn new(source: &'a str, limits: &XmlLimits) -> Result<Self, XmlError> {
        let bad = |&byte: &u8| byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r');
        if source.as_bytes().iter().any(bad) {
            let offset = source.as_bytes().iter().position(bad).unwrap_or(0);
            return Err(ill_formed(offset, "a control character"));
        }
        let mut inner = quick_xml::Reader::from_str(source);
        inner.config_mut().check_comments = true;
        Ok(Self {
            source,
            inner,
            limits: *limits,
            bindings: Bindings::default(),
            depth: 0,
            end_pending: false,
            seen_element: false,
            added: 0,
        })
    }

    /// A reader over bytes from a peer.
    pub(crate) fn from_bytes(bytes: &'a [u8], limits: &XmlLimits) -> Result<Self, XmlError> {
        let source = std::str::from_utf8(bytes).map_err(|error| XmlError::NotUtf8 {
            offset: error.valid_up_to(),
        })?;
        Self::new(source, limits)
    }

    /// The next event.
    pub(crate) fn next(&mut self) -> Result<Event<'a>, XmlError> {
        loop {
            return Ok(match self.step()? {
                Step::Start(start) => Event::Start(self.tag(start)?),
                Step::End => Event::End,
                Step::Text { text, .. } => Event::Text(text),
                Step::Skip => continue,
                Step::Eof => Event::Eof,
            });
        }
    }

    /// The next child element of the element just begun or of its last child; `None` at its end. Text between is an
    /// error.
    pub(crate) fn next_child(&mut self) -> Result<Option<Tag<'a>>, XmlError> {
        loop {
            match self.step()? {
                Step::Start(start) => return self.tag(start).map(Some),
                Step::End | Step::Eof => return Ok(None),
                Step::Text { text, offset } => self.only_space(&text, offset)?,
                Step::Skip => {}
            }
        }
    }

    /// The text of the element just begun, up to and with its end. White space at its ends goes; a child element is
    /// given back as `Err` in the inner result, for the caller to name.
    pub(crate) fn text(&mut self) -> Result<Result<String, Tag<'a>>, XmlError> {
        Ok(self.text_verbatim()?.map(|text| text.trim().to_owned()))
    }

    /// As [`Reader::text`], with all white space.
    pub(crate) fn text_verbatim(&mut self) -> Result<Result<String, Tag<'a>>, XmlError> {
        let mut whole = String::new();
        loop {
            match self.step()? {
                Step::Start(start) => return self.tag(start).map(Err),
                Step::End | Step::Eof => return Ok(Ok(whole)),
                Step::Text { text, .. } => whole.push_str(&text),
                Step::Skip => {}
            }
        }
    }

    /// Passes over the rest of the element just begun, checking it.
    pub(crate) fn skip(&mut self) -> Result<(), XmlError> {
        let outside = self.depth - 1;
        while self.depth > outside {
            self.step()?;
        }
        Ok(())
    }

    /// The child elements of the element just begun, up to and with its end, each made self-contained.
    pub(crate) fn inner(&mut self) -> Result<Fragment, XmlError> {
        let inside = self.depth;
        self.children(inside)
    }

    /// The element just begun with `tag`, up to and with its end, made self-contained.
    pub(crate) fn whole(&mut self, tag: &Tag<'a>) -> Result<Fragment, XmlError> {
        let declarations = self.bindings.declarations_outside(self.depth);
        self.skip()?;
        let mut xml = String::new();
        let end = self.position();
        self.push_self_contained(&mut xml, tag.offset..end, tag.raw, &declarations)?;
        Ok(Fragment::from_trusted(xml))
    }

    /// The elements at depth `inside + 1` up to the end of depth `inside` (0: of the text).
    pub(super) fn children(&mut self, inside: usize) -> Result<Fragment, XmlError> {
        let declarations = self.bindings.declarations_outside(inside + 1);
        let mut xml = String::new();
        let mut top: Option<RawStart<'a>> = None;
        loop {
            match self.step()? {
                Step::Start(start) if self.depth == inside + 1 => top = Some(start),
                Step::Start(_) | Step::Skip => {}
                Step::Text { text, offset } if self.depth == inside => {
                    self.only_space(&text, offset)?;
                }
                Step::Text { .. } => {}
                Step::End if self.depth == inside => {
                    if let Some(start) = top.take() {
                        let end = self.position();
                        let element = start.offset..end;
                        self.push_self_contained(&mut xml, element, start.raw, &declarations)?;
                    }
                }
                Step::End if self.depth > inside => {}
                Step::End | Step::Eof => return Ok(Fragment::from_trusted(xml)),
            }
        }
    }

    /// Appends the element at `element`, whose start tag is `tag`, with those of `declarations` that the tag does not
    /// make itself.
    fn push_self_contained(
        &mut self,
        xml: &mut String,
        element: Range<usize>,
        tag: &str,
        declarations: &[(String, String)],
    ) -> Result<(), XmlError> {
        let offset = element.start;
        let element = &self.source[element];
        let name_end = tag[1..]
            .find(|c: char| c.is_ascii_whitespace() || matches!(c, '/' | '>'))
            .map_or(tag.len(), |end| end + 1);
        xml.push_str(&element[..name_end]);
        for (name, attribute) in declarations {
            if !declares(&tag[name_end..], name) {
                xml.push_str(attribute);
                self.added += attribute.len();
            }
        }
        if self.added > MAX_ADDED_BYTES {
            return Err(XmlError::Limit {
                offset,
                what: "bytes of repeated namespace declarations",
                limit: MAX_ADDED_BYTES,
            });
        }
        xml.push_str(&element[name_end..]);
        Ok(())
    }

    /// Prefix and namespace of every binding in scope; the default namespace has the prefix "".
    pub(crate) fn in_scope(&self) -> Vec<(String, String)> {
        self.bindings.in_scope()
    }

    fn position(&self) -> usize {
        usize::try_from(self.inner.buffer_position()).unwrap_or(self.source.len())
    }

    fn only_space(&self, text: &str, offset: usize) -> Result<(), XmlError> {
        if text.bytes().all(|byte| byte.is_ascii_whitespace()) {
            return Ok(());
        }
        let text = text.trim().chars().take(20).collect();
        Err(XmlError::StrayText { offset, text })
    }

    /// One event with all checks, but without the work of resolving names.
    fn step(&mut self) -> Result<Step<'a>, XmlError> {
        if self.end_pending {
            self.end_pending = false;
            return Ok(self.close());
        }
        let offset = self.position();
        let event = self.inner.read_event().map_err(|error| {
            let at = usize::try_from(self.inner.error_position()).unwrap_or(offset);
            ill_formed(at, &error.to_string())
        })?;
        let forbidden = |what| Err(XmlError::Forbidden { offset, what });
        match event {
            RawEvent::Start(_) => self.open(offset, false),
            RawEvent::Empty(_) => self.open(offset, true),
            RawEvent::End(_) => Ok(self.close()),
            RawEvent::Text(text) => self.text_step(text.into_inner(), offset),
            RawEvent::CData(text) => self.text_step(text.into_inner(), offset),
            RawEvent::GeneralRef(reference) => {
                let text = resolve(&reference, offset)?;
                self.text_step(text, offset)
            }
            RawEvent::Comment(_) => Ok(Step::Skip),
            RawEvent::Decl(_) => self.declaration(offset),
            RawEvent::PI(_) => forbidden("a processing instruction"),
            RawEvent::DocType(_) => forbidden("a document type declaration"),
            RawEvent::Eof if self.depth > 0 => Err(ill_formed(offset, "an element does not end")),
            RawEvent::Eof => Ok(Step::Eof),
        }
    }

    fn text_step(&self, text: Cow<'a, str>, offset: usize) -> Result<Step<'a>, XmlError> {
        if self.depth == 0 {
            self.only_space(&text, offset)?;
            return Ok(Step::Skip);
        }
        Ok(Step::Text { text, offset })
    }

    /// `<?xml ...?>`: only before everything else, and only for UTF-8.
    fn declaration(&self, offset: usize) -> Result<Step<'a>, XmlError> {
        if self.seen_element || !self.source[..offset].trim().is_empty() {
            return Err(XmlError::Forbidden {
                offset,
                what: "an XML declaration inside",
            });
        }
        let raw = &self.source[offset..self.position()];
        for attribute in Attributes::new(raw.trim_end_matches("?>"), "<?xml".len()) {
            let attribute = attribute.map_err(|error| ill_formed(offset, &error.to_string()))?;
            let other = attribute.key.as_ref() == "encoding"
                && !attribute.value.eq_ignore_ascii_case("utf-8");
            if other {
                return Err(XmlError::Forbidden {
                    offset,
                    what: "an encoding other than UTF-8",
                });
            }
        }
        Ok(Step::Skip)
    }

    fn close(&mut self) -> Step<'a> {
        self.bindings.close(self.depth);
        self.depth -= 1;
        Step::End
    }

    /// Checks a start tag and takes in its namespace declarations.
    fn open(&mut self, offset: usize, empty: bool) -> Result<Step<'a>, XmlError> {
        let raw = &self.source[offset..self.position()];
        let content = &raw[1..raw.len() - if empty { 2 } else { 1 }];
        self.depth += 1;
        self.seen_element = true;
        self.end_pending = empty;
        if self.depth > self.limits.max_depth {
            let limit = self.limits.max_depth;
            return Err(XmlError::Limit {
                offset,
                what: "nested elements",
                limit,
            });
        }
        let name_end = content
            .find(|c: char| c.is_ascii_whitespace())
            .unwrap_or(content.len());
        let start = RawStart {
            raw,
            content,
            name: &content[..name_end],
            offset,
        };
        let (prefix, _) = split_name(start.name, offset)?;
        let prefixed = self.attributes(&start)?;
        self.bindings.bound(prefix, offset)?;
        self.bindings.distinct(&prefixed, offset)?;
        Ok(Step::Start(start))
    }

    /// Checks the attributes of a tag; gives the prefixed ones, which cannot be told apart before all are read.
    fn attributes(&mut self, start: &RawStart<'a>) -> Result<Vec<(&'a str, &'a str)>, XmlError> {
        let offset = start.offset;
        let mut prefixed = Vec::new();
        if start.name.len() == start.content.len() {
            return Ok(prefixed);
        }
        for (count, attribute) in Attributes::new(start.content, start.name.len()).enumerate() {
            if count >= self.limits.max_attributes {
                let limit = self.limits.max_attributes;
                return Err(XmlError::Limit {
                    offset,
                    what: "attributes",
                    limit,
                });
            }
            let attribute = attribute.map_err(|error| ill_formed(offset, &error.to_string()))?;
            let name = attribute.key.into_inner();
            let value = attribute_value(attribute.value, offset)?;
            match split_name(name, offset)? {
                ("", "xmlns") => self.bindings.bind("", value, self.depth, offset)?,
                ("xmlns", prefix) => self.bindings.bind(prefix, value, self.depth, offset)?,
                ("", _) => {}
                (prefix, local) => prefixed.push((prefix, local)),
            }
        }
        Ok(prefixed)
    }

    /// Resolves the names of a tag that was checked.
    fn tag(&self, start: RawStart<'a>) -> Result<Tag<'a>, XmlError> {
        let offset = start.offset;
        let (prefix, name) = split_name(start.name, offset)?;
        let mut tag = Tag {
            namespace: self.bindings.bound(prefix, offset)?.clone(),
            name,
            attributes: Vec::new(),
            declarations: Vec::new(),
            raw: start.raw,
            offset,
        };
        for attribute in Attributes::new(start.content, start.name.len()) {
            let attribute = attribute.map_err(|error| ill_formed(offset, &error.to_string()))?;
            let qualified = attribute.key.into_inner();
            let value = attribute_value(attribute.value, offset)?;
            let (prefix, name) = split_name(qualified, offset)?;
            if prefix == "xmlns" || qualified == "xmlns" {
                tag.declarations.push((qualified, value));
                continue;
            }
            let namespace = match prefix {
                "" => Cow::Borrowed(""),
                prefix => self.bindings.bound(prefix, offset)?.clone(),
            };
            tag.attributes.push(TagAttribute {
                qualified,
                namespace,
                name,
                value,
            });
        }
        Ok(tag)
    }
}

/// A start tag that was checked but not resolved.
struct RawStart<'a> {
    /// With brackets.
    raw: &'a str,
    /// Without.
    content: &'a str,
    /// With prefix.
    name: &'a str,
    offset: usize,
}

enum Step<'a> {
    Start(RawStart<'a>),
    Text { text: Cow<'a, str>, offset: usize },
    End,
    Skip,
    Eof,
}

/// Whether the attributes of a tag declare `name` (`xmlns` or `xmlns:prefix`).
fn declares(attributes: &str, name: &str) -> bool {
    attributes.contains(name)
        && Attributes::new(attributes.trim_end_matches('>').trim_end_matches('/'), 0)
            .with_checks(false)
            .flatten()
            .any(|attribute| attribute.key.into_inner() == name)
}

#[cfg(test)]
mod tests;
