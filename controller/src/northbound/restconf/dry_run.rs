//! The answer to a dry run (`tranche-dry-run`) in both encodings.

use serde_json::{Map, Value, json};

use super::media::Encoding;
use crate::text::escape;

const NAMESPACE: &str = "urn:tranche:yang:tranche-dry-run";
/// Keys of lists come first in XML (RFC 7950 7.8.5).
const KEYS: [&str; 2] = ["name", "number"];

/// Prints the content of the container `dry-run`.
pub(crate) fn print(content: &Value, encoding: Encoding) -> String {
    match encoding {
        Encoding::Json => json!({ "tranche-dry-run:dry-run": content }).to_string(),
        Encoding::Xml => {
            let mut xml = format!("<dry-run xmlns=\"{NAMESPACE}\">");
            inside(content, &mut xml);
            xml.push_str("</dry-run>");
            xml
        }
    }
}

fn inside(value: &Value, xml: &mut String) {
    match value {
        Value::Object(members) => {
            for name in KEYS.iter().filter(|key| members.contains_key(**key)) {
                member(members, name, xml);
            }
            let rest = members.keys();
            for name in rest.filter(|name| !KEYS.contains(&name.as_str())) {
                member(members, name, xml);
            }
        }
        Value::String(text) => escape(xml, text),
        other => escape(xml, &other.to_string()),
    }
}

fn member(members: &Map<String, Value>, name: &str, xml: &mut String) {
    let one = |value: &Value, xml: &mut String| {
        xml.push_str(&format!("<{name}>"));
        inside(value, xml);
        xml.push_str(&format!("</{name}>"));
    };
    match &members[name] {
        Value::Array(entries) => entries.iter().for_each(|entry| one(entry, xml)),
        value => one(value, xml),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xml_says_what_json_says_with_keys_first() {
        let check = |content: Value, xml: &str| {
            let whole = format!("<dry-run xmlns=\"{NAMESPACE}\">{xml}</dry-run>");
            assert_eq!(print(&content, Encoding::Xml), whole);
        };
        check(json!({ "commit": "7" }), "<commit>7</commit>");
        check(
            json!({ "error": [{ "error-message": "a < b", "number": 1 }] }),
            "<error><number>1</number><error-message>a &lt; b</error-message></error>",
        );
        check(
            json!({ "node": [{ "note": ["x", "y"], "name": "n1" }, { "name": "n2" }] }),
            "<node><name>n1</name><note>x</note><note>y</note></node><node><name>n2</name></node>",
        );
    }
}
