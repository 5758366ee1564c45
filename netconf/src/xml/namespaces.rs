//! Namespace declarations in scope (Namespaces in XML 1.0).

use std::borrow::Cow;

use super::lexical::ill_formed;
use super::{XmlError, push_attribute};

/// Namespace declarations in scope at once: each name is looked up among them.
const MAX_BINDINGS: usize = 256;
/// What the prefix `xml` is always bound to, and no other may be.
pub(crate) const XML_NAMESPACE: &str = "http://www.w3.org/XML/1998/namespace";
/// What the prefix `xmlns` stands for; nothing may be bound to it.
const XMLNS_NAMESPACE: &str = "http://www.w3.org/2000/xmlns/";

/// The declarations of all open elements, the innermost last.
#[derive(Debug, Default)]
pub(super) struct Bindings<'a>(Vec<Binding<'a>>);

/// One declaration; the default namespace has the prefix "".
#[derive(Debug)]
struct Binding<'a> {
    prefix: &'a str,
    namespace: Cow<'a, str>,
    depth: usize,
}

impl<'a> Bindings<'a> {
    /// Forgets what the element at `depth` declared.
    pub(super) fn close(&mut self, depth: usize) {
        while self.0.last().is_some_and(|binding| binding.depth == depth) {
            self.0.pop();
        }
    }

    /// Takes in one declaration of the element at `depth`.
    pub(super) fn bind(
        &mut self,
        prefix: &'a str,
        namespace: Cow<'a, str>,
        depth: usize,
        offset: usize,
    ) -> Result<(), XmlError> {
        let reserved = match prefix {
            "xml" => namespace != XML_NAMESPACE,
            "xmlns" => true,
            "" => namespace == XML_NAMESPACE || namespace == XMLNS_NAMESPACE,
            _ => namespace.is_empty() || namespace == XML_NAMESPACE || namespace == XMLNS_NAMESPACE,
        };
        if reserved {
            let reason = format!("prefix {prefix:?} cannot be bound to {namespace:?}");
            return Err(ill_formed(offset, &reason));
        }
        if self.0.len() >= MAX_BINDINGS {
            let what = "namespace declarations in scope";
            return Err(XmlError::Limit {
                offset,
                what,
                limit: MAX_BINDINGS,
            });
        }
        self.0.push(Binding {
            prefix,
            namespace,
            depth,
        });
        Ok(())
    }

    /// The namespace of a prefix; none for the empty prefix without default namespace.
    pub(super) fn bound(&self, prefix: &str, offset: usize) -> Result<&Cow<'a, str>, XmlError> {
        const NONE: &Cow<'static, str> = &Cow::Borrowed("");
        const XML: &Cow<'static, str> = &Cow::Borrowed(XML_NAMESPACE);
        // Most names have no prefix. Comparing nothing with nothing is slow where memcmp(3) uses masked loads: what an empty string
        // points to cannot be read.
        let is_it = |binding: &&Binding<'a>| match prefix.is_empty() {
            true => binding.prefix.is_empty(),
            false => binding.prefix == prefix,
        };
        match self.0.iter().rev().find(is_it) {
            Some(binding) => Ok(&binding.namespace),
            None if prefix.is_empty() => Ok(NONE),
            None if prefix == "xml" => Ok(XML),
            None => Err(XmlError::UnboundPrefix {
                offset,
                prefix: prefix.to_owned(),
            }),
        }
    }

    /// No two attributes may be one once their prefixes are resolved (Namespaces in XML 6.3).
    pub(super) fn distinct(
        &self,
        prefixed: &[(&str, &str)],
        offset: usize,
    ) -> Result<(), XmlError> {
        let mut seen: Vec<(&Cow<'a, str>, &str)> = Vec::with_capacity(prefixed.len());
        for (prefix, local) in prefixed {
            let attribute = (self.bound(prefix, offset)?, *local);
            if seen.contains(&attribute) {
                let reason = format!("attribute {local:?} stands twice");
                return Err(ill_formed(offset, &reason));
            }
            seen.push(attribute);
        }
        Ok(())
    }

    /// Prefix and namespace of every binding in scope; the default namespace has the prefix "".
    pub(super) fn in_scope(&self) -> Vec<(String, String)> {
        self.scope(usize::MAX)
            .map(|binding| (binding.prefix.to_owned(), binding.namespace.to_string()))
            .collect()
    }

    /// Bindings of elements less deep than `depth`, the innermost of each prefix.
    fn scope(&self, depth: usize) -> impl Iterator<Item = &Binding<'a>> {
        let bindings = &self.0;
        let outer = move |binding: &&Binding<'a>| binding.depth < depth;
        bindings.iter().enumerate().filter_map(move |(i, binding)| {
            let hidden = bindings[i + 1..]
                .iter()
                .take_while(|b| outer(b))
                .any(|later| later.prefix == binding.prefix);
            (outer(&binding) && !hidden).then_some(binding)
        })
    }

    /// What a top element at `depth` must declare: (attribute name, the whole attribute).
    pub(super) fn declarations_outside(&self, depth: usize) -> Vec<(String, String)> {
        self.scope(depth)
            .filter(|binding| !binding.namespace.is_empty())
            .map(|binding| {
                let name = match binding.prefix {
                    "" => "xmlns".to_owned(),
                    prefix => format!("xmlns:{prefix}"),
                };
                let mut attribute = String::new();
                push_attribute(&mut attribute, &name, &binding.namespace);
                (name, attribute)
            })
            .collect()
    }
}
