//! XML on the wire: the one user of the XML parser, with size, depth and attribute limits.
//!
//! Owns [`Fragment`] (XML that travels unread), [`Element`] (XML that was read, owned) and the escaping of what is
//! written. The pull reader under both is in `xml/reader.rs`.

mod lexical;
mod namespaces;
mod reader;

pub(crate) use namespaces::XML_NAMESPACE;
pub(crate) use reader::{Event, Reader, Tag};

use std::fmt;

/// Zero or more sibling XML elements, as text that can be parsed on its own.
///
/// Every namespace prefix that is used inside (in names, and the prefixes that were in scope, which may be used in
/// values and XPath) is declared on each top element. Well-formed by construction: no DTD, no entity declarations,
/// no processing instructions, no XML declaration, UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fragment {
    xml: String,
}

impl Fragment {
    /// The XML text; empty if there are no elements.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.xml
    }

    /// Wraps text that a trusted printer (libyang, or this crate) made. Text from a peer goes through the parser.
    #[must_use]
    pub fn from_trusted(xml: String) -> Self {
        Self { xml }
    }

    /// Checks text from elsewhere: sibling elements, with white space and comments between them.
    ///
    /// # Errors
    /// When the text is not well formed, has what a [`Fragment`] never has, or nests deeper than 1024 elements.
    pub fn parse(xml: &str) -> Result<Self, XmlError> {
        Reader::new(xml, &XmlLimits::LOCAL)?.children(0)
    }

    /// Whether there is no element.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.xml.trim().is_empty()
    }

    /// The elements, read.
    ///
    /// # Errors
    /// When text given to [`Fragment::from_trusted`] is not well formed.
    pub fn elements(&self) -> Result<Vec<Element>, XmlError> {
        let mut reader = Reader::new(&self.xml, &XmlLimits::LOCAL)?;
        let mut elements = Vec::new();
        loop {
            match reader.next()? {
                Event::Start(tag) => elements.push(Element::read(&mut reader, tag)?),
                Event::Text(_) | Event::End => {}
                Event::Eof => return Ok(elements),
            }
        }
    }

    /// The elements in the first element.
    ///
    /// # Errors
    /// When text given to [`Fragment::from_trusted`] is not well formed.
    pub fn content(&self) -> Result<Self, XmlError> {
        let mut reader = Reader::new(&self.xml, &XmlLimits::LOCAL)?;
        loop {
            match reader.next()? {
                Event::Start(_) => return reader.inner(),
                Event::Text(_) | Event::End => {}
                Event::Eof => return Ok(Self::default()),
            }
        }
    }

    /// The elements in the first child of that name that the first element has; `None` where it has no such child.
    ///
    /// # Errors
    /// When text given to [`Fragment::from_trusted`] is not well formed.
    pub fn content_of(&self, namespace: &str, name: &str) -> Result<Option<Self>, XmlError> {
        let mut reader = Reader::new(&self.xml, &XmlLimits::LOCAL)?;
        loop {
            match reader.next()? {
                Event::Start(_) => break,
                Event::Text(_) | Event::End => {}
                Event::Eof => return Ok(None),
            }
        }
        while let Some(child) = reader.next_child()? {
            if child.is(namespace, name) {
                return reader.inner().map(Some);
            }
            reader.skip()?;
        }
        Ok(None)
    }
}

impl fmt::Display for Fragment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.xml)
    }
}

impl std::str::FromStr for Fragment {
    type Err = XmlError;

    fn from_str(xml: &str) -> Result<Self, XmlError> {
        Self::parse(xml)
    }
}

/// What one message may cost to read. Its size is limited where it is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct XmlLimits {
    /// Nesting of elements.
    pub max_depth: usize,
    /// Attributes of one element, namespace declarations included.
    pub max_attributes: usize,
}

impl XmlLimits {
    /// For text that did not come from a NETCONF peer: no deeper than recursion over its elements can go.
    pub(crate) const LOCAL: Self = Self {
        max_depth: 1024,
        max_attributes: usize::MAX,
    };
}

/// Text that is not the XML this crate accepts. Offsets are bytes from the start of the message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum XmlError {
    /// Not UTF-8.
    #[error("byte {offset} is not UTF-8")]
    NotUtf8 {
        /// Where.
        offset: usize,
    },
    /// Not well formed.
    #[error("not well formed at byte {offset}: {reason}")]
    IllFormed {
        /// Where.
        offset: usize,
        /// Why.
        reason: String,
    },
    /// Well formed, but not allowed in NETCONF: DTD, entity, processing instruction.
    #[error("{what} at byte {offset} is not allowed")]
    Forbidden {
        /// Where.
        offset: usize,
        /// What.
        what: &'static str,
    },
    /// More than allowed.
    #[error("more than {limit} {what} at byte {offset}")]
    Limit {
        /// Where.
        offset: usize,
        /// Of what.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// A prefix without namespace.
    #[error("prefix {prefix:?} at byte {offset} is bound to no namespace")]
    UnboundPrefix {
        /// Where.
        offset: usize,
        /// The prefix.
        prefix: String,
    },
    /// Text where only elements belong.
    #[error("text {text:?} between elements at byte {offset}")]
    StrayText {
        /// Where.
        offset: usize,
        /// The first characters of it.
        text: String,
    },
}

/// One attribute of an [`Element`]; namespace declarations are not among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// Namespace, empty for none.
    pub namespace: String,
    /// Local name.
    pub name: String,
    /// Value, unescaped.
    pub value: String,
}

/// An element that was read, with all below it. For small things: replies, notifications, tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// Namespace, empty for none.
    pub namespace: String,
    /// Local name.
    pub name: String,
    /// Attributes in order.
    pub attributes: Vec<Attribute>,
    /// Child elements in order.
    pub children: Vec<Self>,
    /// The text directly inside, unescaped, joined, without white space at its ends.
    pub text: String,
}

impl Element {
    /// The first child of that local name, in any namespace.
    #[must_use]
    pub fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// All children of that local name, in any namespace.
    pub fn children<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The text of the first child of that name.
    #[must_use]
    pub fn child_text(&self, name: &str) -> Option<&str> {
        self.child(name).map(|child| child.text.as_str())
    }

    /// The element at the end of a path of local names.
    #[must_use]
    pub fn descendant(&self, path: &[&str]) -> Option<&Self> {
        path.iter()
            .try_fold(self, |element, name| element.child(name))
    }

    /// The value of the first attribute of that local name.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|a| a.name == name)
            .map(|a| a.value.as_str())
    }

    /// Reads the element whose start is `tag`.
    fn read(reader: &mut Reader<'_>, tag: Tag<'_>) -> Result<Self, XmlError> {
        let mut open = vec![Self::start(tag)];
        loop {
            match reader.next()? {
                Event::Start(tag) => open.push(Self::start(tag)),
                Event::Text(text) => {
                    if let Some(element) = open.last_mut() {
                        element.text.push_str(&text);
                    }
                }
                Event::End | Event::Eof => {
                    let Some(mut done) = open.pop() else { continue };
                    done.text = done.text.trim().to_owned();
                    match open.last_mut() {
                        Some(parent) => parent.children.push(done),
                        None => return Ok(done),
                    }
                }
            }
        }
    }

    fn start(tag: Tag<'_>) -> Self {
        let own = |attribute: &reader::TagAttribute<'_>| Attribute {
            namespace: attribute.namespace.to_string(),
            name: attribute.name.to_owned(),
            value: attribute.value.to_string(),
        };
        Self {
            namespace: tag.namespace.into_owned(),
            name: tag.name.to_owned(),
            attributes: tag.attributes.iter().map(own).collect(),
            children: Vec::new(),
            text: String::new(),
        }
    }
}

/// Whether XML 1.0 can carry the character at all.
fn is_xml_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..)
}

/// Appends `text` as character data or as an attribute value in double quotes. What XML cannot carry becomes U+FFFD.
pub(crate) fn push_escaped(xml: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => xml.push_str("&amp;"),
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            '"' => xml.push_str("&quot;"),
            '\r' => xml.push_str("&#13;"),
            c if is_xml_char(c) => xml.push(c),
            _ => xml.push(char::REPLACEMENT_CHARACTER),
        }
    }
}

/// Appends ` name="value"`, white space in the value kept from normalisation.
pub(crate) fn push_attribute(xml: &mut String, name: &str, value: &str) {
    xml.push(' ');
    xml.push_str(name);
    xml.push_str("=\"");
    for (i, part) in value.split(['\t', '\n']).enumerate() {
        if i > 0 {
            let at: usize = part.as_ptr().addr() - value.as_ptr().addr();
            xml.push_str(if value.as_bytes()[at - 1] == b'\t' {
                "&#9;"
            } else {
                "&#10;"
            });
        }
        push_escaped(xml, part);
    }
    xml.push('"');
}

/// Appends `<name>text</name>`.
pub(crate) fn push_leaf(xml: &mut String, name: &str, text: &str) {
    xml.push('<');
    xml.push_str(name);
    xml.push('>');
    push_escaped(xml, text);
    xml.push_str("</");
    xml.push_str(name);
    xml.push('>');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_read_with_namespaces_attributes_and_text() {
        let fragment = Fragment::parse(
            r#"<a xmlns="urn:a" xmlns:b="urn:b" b:x="1 &amp; 2"><b:c>t&lt;<![CDATA[<&]]></b:c> <d/></a><e/>"#,
        )
        .unwrap();
        let elements = fragment.elements().unwrap();
        assert_eq!(elements.len(), 2);
        let a = &elements[0];
        assert_eq!((a.namespace.as_str(), a.name.as_str()), ("urn:a", "a"));
        assert_eq!(
            a.attributes,
            [Attribute {
                namespace: "urn:b".into(),
                name: "x".into(),
                value: "1 & 2".into()
            }]
        );
        assert_eq!(a.children[0].namespace, "urn:b");
        assert_eq!(a.child_text("c"), Some("t<<&"));
        assert_eq!(a.children[1].namespace, "urn:a");
        assert_eq!(elements[1].namespace, "");
    }

    #[test]
    fn the_content_of_a_child_stands_by_itself() {
        let text = r#"<a xmlns="urn:a" xmlns:b="urn:b"><n>1</n><c><b:d/><e b:x="1"/></c></a>"#;
        let fragment = Fragment::parse(text).unwrap();
        let content = fragment.content_of("urn:a", "c").unwrap().unwrap();
        let again = Fragment::parse(content.as_str()).unwrap();
        let elements = again.elements().unwrap();
        assert_eq!(elements[0].namespace, "urn:b");
        assert_eq!(elements[1].namespace, "urn:a");
        assert_eq!(elements[1].attributes[0].namespace, "urn:b");
        assert_eq!(fragment.content_of("urn:b", "c").unwrap(), None);
        assert_eq!(Fragment::default().content_of("urn:a", "c").unwrap(), None);
    }

    #[test]
    fn elements_nest_no_deeper_than_can_be_walked() {
        let nested = |depth: usize| "<a>".repeat(depth) + &"</a>".repeat(depth);
        assert!(Fragment::parse(&nested(1024)).unwrap().elements().is_ok());
        for deep in [1025, 500_000] {
            let error = Fragment::parse(&nested(deep)).unwrap_err();
            assert!(matches!(error, XmlError::Limit { .. }), "{error}");
            assert!(Fragment::from_trusted(nested(deep)).elements().is_err());
        }
    }

    #[test]
    fn what_is_escaped_reads_back() {
        let text = "a<b>&\"'\r\n\t]]>]]> \u{1}é";
        let mut xml = String::from("<x");
        push_attribute(&mut xml, "v", text);
        xml.push('>');
        push_escaped(&mut xml, text);
        xml.push_str("</x>");
        assert!(!xml.contains("]]>"));
        let element = &Fragment::parse(&xml).unwrap().elements().unwrap()[0];
        let expected = text.replace('\u{1}', "\u{fffd}");
        assert_eq!(element.attribute("v"), Some(expected.as_str()));
        assert_eq!(element.text, expected);
    }
}
