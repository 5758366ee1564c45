//! An edit as people may see it: indented, and without what is secret.

use tranche_netconf::xml::{Attribute, Element, Fragment, XmlError};

use crate::text::escape;

/// Leaves of nodes that are secret, by their name.
const SECRETS: [&str; 4] = ["passphrase", "secret", "mobility-key", "preshared-key"];

/// Prefixes of the attributes that edits have.
const PREFIXES: [(&str, &str); 2] = [
    ("nc", "urn:ietf:params:xml:ns:netconf:base:1.0"),
    ("yang", "urn:ietf:params:xml:ns:yang:1"),
];

/// The text of an edit, an element a line.
///
/// # Errors
/// The edit is not well formed, which is a fault of ours.
pub(crate) fn shown(edit: &Fragment) -> Result<String, XmlError> {
    let mut text = String::new();
    for element in edit.elements()? {
        write(&element, "", 0, &mut text);
    }
    Ok(text)
}

fn write(element: &Element, outside: &str, depth: usize, text: &mut String) {
    if SECRETS.contains(&element.name.as_str()) {
        return;
    }
    text.push_str(&"  ".repeat(depth));
    text.push('<');
    text.push_str(&element.name);
    if element.namespace != outside {
        attribute(text, "xmlns", &element.namespace);
    }
    if depth == 0 {
        for (prefix, namespace) in PREFIXES.iter().filter(|(_, n)| uses(element, n)) {
            attribute(text, &format!("xmlns:{prefix}"), namespace);
        }
    }
    for Attribute {
        namespace,
        name,
        value,
    } in &element.attributes
    {
        let known = PREFIXES.iter().find(|(_, known)| known == namespace);
        match known {
            Some((prefix, _)) => attribute(text, &format!("{prefix}:{name}"), value),
            None => attribute(text, name, value),
        }
    }
    if element.children.is_empty() && element.text.is_empty() {
        text.push_str("/>\n");
        return;
    }
    text.push('>');
    if element.children.is_empty() {
        escape(text, &element.text);
    } else {
        text.push('\n');
        for child in &element.children {
            write(child, &element.namespace, depth + 1, text);
        }
        text.push_str(&"  ".repeat(depth));
    }
    text.push_str("</");
    text.push_str(&element.name);
    text.push_str(">\n");
}

fn attribute(text: &mut String, name: &str, value: &str) {
    text.push(' ');
    text.push_str(name);
    text.push_str("=\"");
    escape(text, value);
    text.push('"');
}

fn uses(element: &Element, namespace: &str) -> bool {
    let mut attributes = element.attributes.iter();
    attributes.any(|one| one.namespace == namespace)
        || element.children.iter().any(|child| uses(child, namespace))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tranche_yang::SchemaNode;

    use super::*;

    #[test]
    fn every_secret_of_the_modules_that_are_written_is_known() {
        fn secret(node: SchemaNode) -> Vec<&'static str> {
            let below = node.children().into_iter().flat_map(secret);
            let own = node.is_secret().then(|| node.name());
            own.into_iter().chain(below).collect()
        }
        let schema = tranche_agent::schema::build(&[], false, false).unwrap();
        let modules = ["wifi", "ran", "backhaul", "steering"];
        let tops = modules.map(|module| schema.top(&format!("tranche-{module}")));
        let names: BTreeSet<&str> = tops.into_iter().flatten().flat_map(secret).collect();
        assert_eq!(names, BTreeSet::from(SECRETS));
    }

    #[test]
    fn secrets_are_left_out_and_the_rest_can_be_sent() {
        let edit = "<wifi xmlns=\"urn:w\" xmlns:nc=\"urn:ietf:params:xml:ns:netconf:base:1.0\"><vif nc:operation=\"replace\">\
                    <name>a &amp; b</name><security><mode>wpa3-personal</mode><passphrase>correct horse</passphrase>\
                    <radius><secret>s3cret</secret></radius></security><roaming><mobility-key>00ff</mobility-key></roaming>\
                    </vif></wifi><backhaul xmlns=\"urn:b\"><peer><preshared-key>cHNr</preshared-key></peer></backhaul>";
        let text = shown(&Fragment::parse(edit).unwrap()).unwrap();
        for secret in ["correct horse", "s3cret", "00ff", "cHNr"] {
            assert!(!text.contains(secret), "{text}");
        }
        assert!(text.starts_with(
            "<wifi xmlns=\"urn:w\" xmlns:nc=\"urn:ietf:params:xml:ns:netconf:base:1.0\">\n  <vif nc:operation=\"replace\">\n    \
             <name>a &amp; b</name>\n"
        ), "{text}");
        let again = Fragment::parse(&text).unwrap().elements().unwrap();
        let operation = &again[0].children[0].attributes[0];
        assert_eq!(operation.namespace, PREFIXES[0].1);
        assert_eq!(again[1].namespace, "urn:b");
    }
}
