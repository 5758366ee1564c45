//! Descriptors of edge applications that are taken in as files: `tranche-mec:onboard`.

use std::sync::Arc;

use serde_json::{Map, Value};
use tranche_netconf::error::{ErrorTag, RpcError};
use tranche_yang::nacm::User;
use tranche_yang::{Content, Format, Operation, Tree};

use super::peers::Edited;
use super::{Called, Published, Run, Service, rpc_errors};

const AT: &str = "/tranche-mec:onboard";
/// What is kept of a descriptor beside its rules.
const IDENTITY: [&str; 5] = [
    "appDId",
    "appName",
    "appProvider",
    "appSoftVersion",
    "appDVersion",
];

fn refuse(leaf: &str, message: impl Into<String>) -> Vec<RpcError> {
    let error = RpcError::new(ErrorTag::InvalidValue, message.into());
    vec![
        error
            .with_app_tag("bad-descriptor")
            .at(format!("{AT}/{leaf}")),
    ]
}

fn one(error: tranche_yang::Error) -> Vec<RpcError> {
    vec![error.to_rpc_error()]
}

impl Service {
    /// Keeps what a descriptor says of traffic, as a commit like any other.
    pub(super) async fn onboard(
        self: &Arc<Self>,
        user: User,
        operation: &Operation,
        run: Run,
    ) -> Result<Called, Vec<RpcError>> {
        let input = operation.data();
        let leaf = |leaf: &str| {
            let missing = || {
                let error = RpcError::new(ErrorTag::MissingElement, format!("{leaf} is missing"));
                vec![error.with_info("bad-element", leaf)]
            };
            input.get(leaf).map(str::to_owned).ok_or_else(missing)
        };
        let descriptor = descriptor(&leaf("descriptor")?)?;
        let mut application = Map::new();
        for name in ["name", "slice", "user-port", "app-port"] {
            application.insert(name.to_owned(), leaf(name)?.into());
        }
        for name in ["access", "user-mac"] {
            if let Some(value) = input.get(name) {
                application.insert(name.to_owned(), value.into());
            }
        }
        let nodes = input.list("node").filter_map(|node| node.value());
        let nodes: Vec<Value> = nodes.map(Value::from).collect();
        application.insert("node".to_owned(), nodes.into());
        let with_dns = input.child("without-dns").is_none();
        take(&descriptor, with_dns, &mut application)?;
        let name = leaf("name")?;
        let path = format!("/tranche-mec:mec/application[name='{name}']");
        let list = Value::from(vec![Value::from(application)]);
        let tree = serde_json::json!({ "tranche-mec:mec": { "application": list } });
        let tree = Tree::parse(
            self.schema,
            Format::Json,
            &tree.to_string(),
            Content::ConfigUnvalidated,
        );
        let tree = tree.map_err(rpc_errors)?;
        let label = format!("onboard application {name}");
        let replaced = path.clone();
        let edit = move |before: &Published, edited: &mut Tree| {
            if before.running.exists(&replaced) {
                edited.remove(&replaced).map_err(one)?;
            }
            edited.merge(&tree).map_err(one)
        };
        if let Edited::Told(told) = self.edit((user, label), run, edit).await? {
            return Ok(Called::Told(told));
        }
        let rules = self.published().desired.rules_of(&name);
        let mut output = self.schema.new_output(AT).map_err(one)?;
        output
            .set("rules", rules.to_string().as_str())
            .map_err(one)?;
        Ok(Called::Done(Some(output)))
    }
}

/// The descriptor, which is an object.
fn descriptor(text: &str) -> Result<Value, Vec<RpcError>> {
    let value: Value = serde_json::from_str(text)
        .map_err(|error| refuse("descriptor", format!("it is not JSON: {error}")))?;
    match value {
        Value::Object(_) => Ok(value),
        _ => Err(refuse("descriptor", "it is not an object")),
    }
}

/// Takes over what is kept of a descriptor. Lists whose entries have no key there get their place as one.
fn take(
    descriptor: &Value,
    with_dns: bool,
    application: &mut Map<String, Value>,
) -> Result<(), Vec<RpcError>> {
    for name in IDENTITY {
        if let Some(value) = descriptor.get(name) {
            application.insert(name.to_owned(), value.clone());
        }
    }
    if with_dns {
        let names = entries(descriptor, "appDNSRule")?;
        application.insert("appDNSRule".to_owned(), names.to_vec().into());
    }
    let rules = entries(descriptor, "appTrafficRule")?;
    let mut taken = Vec::with_capacity(rules.len());
    for rule in rules {
        let mut rule = rule.clone();
        for list in ["trafficFilter", "dstInterface"] {
            number(&mut rule, list)?;
        }
        let filters = rule.get_mut("trafficFilter").and_then(Value::as_array_mut);
        for filter in filters.into_iter().flatten() {
            texts(filter);
        }
        taken.push(rule);
    }
    application.insert("appTrafficRule".to_owned(), taken.into());
    Ok(())
}

/// A list of the descriptor, which need not be there.
fn entries<'a>(descriptor: &'a Value, list: &str) -> Result<&'a [Value], Vec<RpcError>> {
    match descriptor.get(list) {
        None => Ok(&[]),
        Some(Value::Array(entries)) => Ok(entries),
        Some(_) => Err(refuse("descriptor", format!("{list} is not an array"))),
    }
}

/// Gives the entries of a list their place in it.
fn number(rule: &mut Value, list: &str) -> Result<(), Vec<RpcError>> {
    let Some(rule) = rule.as_object_mut() else {
        return Err(refuse("descriptor", "an appTrafficRule is not an object"));
    };
    let Some(entries) = rule.get_mut(list) else {
        return Ok(());
    };
    // Where there is at most one, it need not be in an array.
    if !entries.is_array() {
        *entries = Value::Array(vec![entries.take()]);
    }
    for (entry, index) in entries.as_array_mut().into_iter().flatten().zip(1..) {
        let Value::Object(members) = entry else {
            let message = format!("an entry of {list} is not an object");
            return Err(refuse("descriptor", message));
        };
        members.insert("index".to_owned(), Value::from(index));
    }
    Ok(())
}

/// Descriptors write ports and protocols as numbers or as texts.
fn texts(filter: &mut Value) {
    for values in filter
        .as_object_mut()
        .into_iter()
        .flat_map(|members| members.values_mut())
    {
        for value in values.as_array_mut().into_iter().flatten() {
            if value.is_number() {
                *value = value.to_string().into();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_without_a_filter_is_taken_as_it_is() {
        let rule = serde_json::json!({ "trafficRuleId": "r", "action": "DROP", "priority": 1 });
        let descriptor = serde_json::json!({ "appTrafficRule": [rule] });
        let mut taken = Map::new();
        take(&descriptor, false, &mut taken).unwrap();
        assert_eq!(Value::from(taken), descriptor);
    }
}
