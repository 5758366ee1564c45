//! The RAN as NETCONF sees it: the operations of `tranche-ran`, and its state.
//!
//! Which of them are permitted is decided in [`crate::rpc`]; what they do in [`crate::backend::ran`].

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value, json};
use tranche_netconf::error::{ErrorTag, RpcError};
use tranche_yang::{Node as DataNode, Operation, Tree};

use crate::backend::Refusal;
use crate::backend::ran::{Direction, PrbCorrection, RanBackend};
use crate::error::Error;

/// An operation on the RAN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Request {
    /// `initialise`, forced or not.
    Initialise(bool),
    /// `correct-prb`, with the lifetime of the ceilings.
    Correct(Vec<PrbCorrection>, Duration),
}

impl Request {
    /// The request in a valid operation; `None` for one that is unknown here.
    pub(crate) fn of(operation: &Operation) -> Option<Result<Self, Vec<Error>>> {
        let input = operation.data();
        match operation.name() {
            "initialise" => Some(Ok(Self::Initialise(input.get("force") == Some("true")))),
            "correct-prb" => Some(corrections(input)),
            _ => None,
        }
    }

    /// Path of the operation.
    pub(crate) fn path(&self) -> &'static str {
        match self {
            Self::Initialise(_) => "/tranche-ran:initialise",
            Self::Correct(..) => "/tranche-ran:correct-prb",
        }
    }

    /// Does it; the output as leaves by their path below the operation.
    pub(crate) async fn carry_out(
        self,
        on: &dyn RanBackend,
    ) -> Result<Vec<(String, String)>, Refusal> {
        match self {
            Self::Initialise(force) => {
                let dropped = on.initialise(force).await?;
                Ok(vec![("ues-dropped".to_owned(), dropped.to_string())])
            }
            Self::Correct(corrections, lifetime) => {
                on.correct(&corrections, lifetime).await?;
                Ok(Vec::new())
            }
        }
    }
}

fn corrections(input: DataNode<'_>) -> Result<Request, Vec<Error>> {
    let bad = |what: &str| {
        let message = format!("{what} is missing or no number");
        vec![Error::Rule(RpcError::new(ErrorTag::InvalidValue, message))]
    };
    let lifetime = input
        .get("lifetime")
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| bad("lifetime"))?;
    let ratio = |entry: DataNode<'_>, leaf: &str| {
        let value = entry.get(leaf);
        value
            .map(|text| text.parse().map_err(|_| bad(leaf)))
            .transpose()
    };
    let entries = input.list("slice-profile").map(|entry| {
        Ok(PrbCorrection {
            profile: entry.get("name").unwrap_or_default().to_owned(),
            cell: entry.get("cell").unwrap_or_default().to_owned(),
            direction: match entry.get("direction") {
                Some("up") => Direction::Up,
                _ => Direction::Down,
            },
            min_ratio: ratio(entry, "min-ratio")?,
            max_ratio: ratio(entry, "max-ratio")?,
        })
    });
    let entries: Vec<PrbCorrection> = entries.collect::<Result<_, Vec<Error>>>()?;
    Ok(Request::Correct(entries, Duration::from_secs(lifetime)))
}

/// The state of what `running` has of the RAN, in JSON.
///
/// # Errors
/// The RAN can't be asked.
pub(crate) async fn state(on: &dyn RanBackend, running: &Tree) -> Result<Value, Vec<Error>> {
    let refused = |refusal| vec![Error::Refused(refusal)];
    let cells = on.cells().await.map_err(refused)?;
    let cores = on.cores().await.map_err(refused)?;
    let profiles = on.profiles().await.map_err(refused)?;
    let mut lists = Map::new();
    let mut add = |list: &str, name: &str, state: Value| {
        let path = format!("/tranche-ran:ran/{list}[name='{name}']");
        if running.get(&path).is_some() {
            let entries = lists.entry(list).or_insert_with(|| json!([]));
            if let Value::Array(entries) = entries {
                entries.push(json!({ "name": name, "state": state }));
            }
        }
    };
    for cell in &cells {
        add("cell", &cell.name, object(cell));
    }
    for core in &cores {
        add("core", &core.name, object(core));
    }
    for profile in &profiles {
        add("slice-profile", &profile.name, object(profile));
    }
    Ok(lists.into())
}

fn object(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}
