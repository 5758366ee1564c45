//! Notifications inside the controller: made once, handed to every reader of an event stream.
//!
//! Owns their two encodings and the bounded queue. Who may read which is access control's, the streams are the
//! northbound's.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tokio::sync::broadcast;

/// Events that a reader may be behind before it is dropped.
const QUEUE: usize = 256;

/// One notification, in both encodings, in the envelope of RFC 8040 6.4.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Module of the notification.
    pub module: &'static str,
    /// Its name.
    pub name: &'static str,
    /// JSON, one line.
    pub json: String,
    /// XML, one line.
    pub xml: String,
}

/// Sends events to whoever listens; never waits.
#[derive(Debug, Clone)]
pub struct Events {
    sender: broadcast::Sender<Arc<Event>>,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            sender: broadcast::Sender::new(QUEUE),
        }
    }
}

impl Events {
    /// Sends an event to every reader there is.
    pub fn send(&self, event: Event) {
        tracing::debug!(module = event.module, name = event.name, "event");
        // Without a reader there is nobody to tell, which is not an error.
        drop(self.sender.send(Arc::new(event)));
    }

    /// A reader of what is sent from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Event>> {
        self.sender.subscribe()
    }
}

impl Event {
    /// A notification of a module, its content as RFC 7951 writes it (members of that module only, no prefixes), at
    /// a time in RFC 3339 text.
    #[must_use]
    pub fn new(
        module: &'static str,
        namespace: &str,
        name: &'static str,
        time: &str,
        content: Map<String, Value>,
    ) -> Self {
        let mut xml = format!(
            "<notification xmlns=\"urn:ietf:params:xml:ns:netconf:notification:1.0\">\
             <eventTime>{time}</eventTime><{name} xmlns=\"{namespace}\">"
        );
        for (member, value) in &content {
            element(&mut xml, member, value);
        }
        // Writing to a string can't fail.
        let _infallible = write!(xml, "</{name}></notification>");
        let json = json!({
            "ietf-restconf:notification": {
                "eventTime": time,
                (format!("{module}:{name}")): content,
            }
        });
        Self {
            module,
            name,
            json: json.to_string(),
            xml,
        }
    }
}

/// Appends a member as an element; an array as one element for each entry.
fn element(xml: &mut String, name: &str, value: &Value) {
    if let Value::Array(entries) = value {
        for entry in entries {
            element(xml, name, entry);
        }
        return;
    }
    let _infallible = write!(xml, "<{name}>");
    match value {
        Value::Object(members) => {
            for (member, value) in members {
                element(xml, member, value);
            }
        }
        Value::String(text) => crate::text::escape(xml, text),
        Value::Bool(_) | Value::Number(_) => xml.push_str(&value.to_string()),
        Value::Null | Value::Array(_) => {}
    }
    let _infallible = write!(xml, "</{name}>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_encodings_say_the_same() {
        let content = json!({
            "sequence": "7",
            "scheduler-enabled": true,
            "measure": [{ "slice": "a<b", "owed": "30.0" }, { "slice": "c", "owed": "70.0" }]
        });
        let Value::Object(content) = content else {
            panic!("an object")
        };
        let event = Event::new("m", "urn:m", "period", "2026-01-01T00:00:00Z", content);
        assert_eq!(
            event.json,
            r#"{"ietf-restconf:notification":{"eventTime":"2026-01-01T00:00:00Z","m:period":{"sequence":"7","scheduler-enabled":true,"measure":[{"slice":"a<b","owed":"30.0"},{"slice":"c","owed":"70.0"}]}}}"#
        );
        assert_eq!(
            event.xml,
            "<notification xmlns=\"urn:ietf:params:xml:ns:netconf:notification:1.0\">\
             <eventTime>2026-01-01T00:00:00Z</eventTime><period xmlns=\"urn:m\"><sequence>7</sequence>\
             <scheduler-enabled>true</scheduler-enabled><measure><slice>a&lt;b</slice><owed>30.0</owed></measure>\
             <measure><slice>c</slice><owed>70.0</owed></measure></period></notification>"
        );
    }
}
