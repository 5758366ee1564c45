//! XML on the wire: the one user of the XML parser, with size, depth and attribute limits.

/// Zero or more sibling XML elements, as text that can be parsed on its own.
///
/// Every namespace prefix that is used inside (in names, and the prefixes that were in scope, which may be used in
/// values and XPath) is declared on each top element. Well-formed by construction: no DTD, no entity declarations,
/// no processing instructions, no XML declaration, UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fragment {
    pub(crate) xml: String,
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

    /// Whether there is no element.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.xml.trim().is_empty()
    }
}
