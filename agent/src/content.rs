//! What the agent reads out of a configuration and puts into it: the backends' part, the users, hashed passwords.
//!
//! Everything here is a function of a tree. Who may call it when is decided in [`crate::node`].

use serde_json::Value;
use tranche_netconf::error::ErrorTag;
use tranche_netconf::message::{Filter, WithDefaults};
use tranche_yang::{Content, Datastores, Format, PrintOptions, Proposal, Schema, Tree, filter};

use crate::backend::NodeConfig;
use crate::error::Error;
use crate::node::data;
use crate::users::{self, Users};

const PASSWORDS: &str = "/ietf-system:system/authentication/user/password";

/// The modules whose configuration the backends carry out.
pub(crate) const MODULES: [&str; 5] = [
    "tranche-wifi",
    "tranche-backhaul",
    "tranche-ran",
    "tranche-steering",
    "tranche-sim",
];

/// A part of a tree as RFC 7951 JSON with all defaults.
fn json_of(tree: &Tree, xpath: &str, namespaces: &[(&str, &str)]) -> Result<String, Vec<Error>> {
    let part = Filter::XPath {
        select: xpath.to_owned(),
        namespaces: namespaces
            .iter()
            .map(|(prefix, namespace)| ((*prefix).to_owned(), (*namespace).to_owned()))
            .collect(),
    };
    let part = filter::select(tree, Some(&part)).map_err(|error| data(vec![error]))?;
    let all = PrintOptions {
        with_defaults: WithDefaults::ReportAll,
        pretty: false,
    };
    Ok(part.print(Format::Json, all))
}

/// What the backends carry out of a configuration.
///
/// # Errors
/// It is not what the backends understand, which the schema should have ruled out.
pub fn node_config(tree: &Tree) -> Result<NodeConfig, Vec<Error>> {
    let wifi = ("w", "urn:tranche:yang:tranche-wifi");
    let backhaul = ("b", "urn:tranche:yang:tranche-backhaul");
    let ran = ("r", "urn:tranche:yang:tranche-ran");
    let steering = ("t", "urn:tranche:yang:tranche-steering");
    let sim = ("s", "urn:tranche:yang:tranche-sim");
    let mut select = "/w:wifi | /b:backhaul | /r:ran | /t:steering".to_owned();
    let mut namespaces = vec![wifi, backhaul, ran, steering];
    if tree.schema().module("tranche-sim").is_some() {
        select.push_str(" | /s:sim");
        namespaces.push(sim);
    }
    let json = json_of(tree, &select, &namespaces)?;
    serde_json::from_str(&json).map_err(|error| {
        tracing::error!(%error, "a valid configuration is not what the backends understand");
        vec![Error::Internal]
    })
}

/// Who may log in, with the reasons why some may not.
///
/// # Errors
/// Every password and key that is not acceptable.
pub fn read_users(tree: &Tree) -> Result<Users, Vec<Error>> {
    let json = json_of(
        tree,
        "/s:system",
        &[("s", "urn:ietf:params:xml:ns:yang:ietf-system")],
    )?;
    Users::from_json(&json).map_err(|errors| errors.into_iter().map(Error::Credential).collect())
}

/// Hashes the clear-text passwords of a tree in place (`$0$`, RFC 7317 `iana-crypt-hash`); whether there were any.
///
/// # Errors
/// A password that cannot be hashed.
pub fn hash_passwords(tree: &mut Tree) -> Result<bool, Vec<Error>> {
    let hashes = password_hashes(tree)?;
    for (path, hash) in &hashes {
        tree.set(path, hash.as_str())
            .map_err(|error| data(vec![error]))?;
    }
    Ok(!hashes.is_empty())
}

/// The paths of the clear-text passwords of a tree, with what is stored in their place.
fn password_hashes(tree: &Tree) -> Result<Vec<(String, String)>, Vec<Error>> {
    let mut hashes = Vec::new();
    for password in tree.find(PASSWORDS).map_err(|error| data(vec![error]))? {
        let stored = users::stored_form(password.value().unwrap_or_default());
        let path = password.path();
        match stored {
            Ok(None) => {}
            Ok(Some(hash)) => hashes.push((path, hash)),
            Err(message) => {
                let error = tranche_yang::Error::new(ErrorTag::InvalidValue, message).at(path);
                return Err(data(vec![error]));
            }
        }
    }
    Ok(hashes)
}

/// The same proposal with its clear-text passwords hashed.
///
/// # Errors
/// A password that cannot be hashed; the proposal is rejected then.
pub fn with_hashed_passwords(
    datastores: &mut Datastores,
    session: u32,
    proposal: Proposal,
) -> Result<Proposal, Vec<Error>> {
    if proposal.is_test_only() || !has_clear_passwords(proposal.new())? {
        return Ok(proposal);
    }
    let mut tree = proposal
        .new()
        .duplicate()
        .map_err(|error| data(vec![error]))?;
    let hashed = hash_passwords(&mut tree);
    datastores
        .reject(proposal)
        .map_err(|error| data(vec![error]))?;
    hashed?;
    datastores.propose_replace(session, &tree).map_err(data)
}

/// Whether a tree has a password that is still to be hashed.
///
/// # Errors
/// The schema has no users.
pub fn has_clear_passwords(tree: &Tree) -> Result<bool, Vec<Error>> {
    let mut passwords = tree.find(PASSWORDS).map_err(|error| data(vec![error]))?;
    let clear = passwords.any(|node| node.value().is_some_and(|value| value.starts_with("$0$")));
    Ok(clear)
}

/// Parses state in JSON into a tree.
///
/// # Errors
/// It is not what its module says, which is a fault of this agent.
pub fn state_tree(schema: &'static Schema, json: &Value) -> Result<Tree, Vec<Error>> {
    Tree::parse(schema, Format::Json, &json.to_string(), Content::State).map_err(data)
}
