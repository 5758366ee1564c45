//! A change that is worked out, shown and thrown away (`tranche-dry-run`): nothing changes, here or at a node.
//!
//! Whatever refuses the change before it reaches a node refuses the dry run with the same errors. The one change at a time is
//! waited for, and nobody waits for the nodes: they are asked when the writer is free again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tranche_netconf::error::{ErrorTag, RpcError};
use tranche_yang::nacm::{Nacm, User};
use tranche_yang::{Content, Datastores, Format, Node, Operation, Proposal, Tree};

use super::apply::refused;
use super::{Published, Service, blocking, internal, rpc_errors};
use crate::intent::{NodePlan, shown};
use crate::inventory::NodeName;
use crate::network::{Answer, NodeForecast};
use crate::rollout::RolloutFailed;

/// Whether an operation is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// It is.
    Wet,
    /// What it would do is told.
    Dry,
}

/// What came of an operation.
#[derive(Debug)]
pub enum Called {
    /// It was carried out; with what it puts out.
    Done(Option<Operation>),
    /// What it would do: the content of the container `dry-run`.
    Told(Value),
}

impl Run {
    /// Refuses a dry run of an operation that has none.
    pub(super) fn must_be_wet(self, operation: &str, why: &str) -> Result<(), Vec<RpcError>> {
        match self {
            Self::Wet => Ok(()),
            Self::Dry => Err(vec![RpcError::new(
                ErrorTag::OperationNotSupported,
                format!("{operation} has no dry run: {why}"),
            )]),
        }
    }
}

/// What a change means for the nodes, with nothing of it kept.
struct WorkedOut {
    before: Arc<Published>,
    plans: BTreeMap<NodeName, NodePlan>,
    readable: Readable,
}

/// Slices of which a user may read everything but secrets, which no edit shows.
enum Readable {
    All,
    Some(BTreeSet<String>),
}

fn one(error: tranche_yang::Error) -> Vec<RpcError> {
    vec![error.to_rpc_error()]
}

impl Service {
    /// Says what a change would do: the content of the container `dry-run`, in the encoding of RFC 7951. `propose` works the
    /// change out as in [`Service::change`].
    ///
    /// # Errors
    /// Whatever refuses the change before a node is asked.
    pub async fn dry_run<T, E>(
        self: &Arc<Self>,
        user: User,
        propose: impl FnOnce(&Published, &mut Datastores) -> Result<(Proposal, T), E> + Send + 'static,
    ) -> Result<Value, E>
    where
        T: Send + 'static,
        E: From<Vec<RpcError>> + Send + 'static,
    {
        let mut writer = Arc::clone(&self.writer).lock_owned().await;
        let (service, asks) = (Arc::clone(self), user.clone());
        let worked_out = blocking(move || {
            let before = service.published();
            let (change, _) = writer.work_out(&service, &before, &asks, propose)?;
            let changes = !change.proposal.diff().is_empty();
            let plans = change.consequence.plans.filter(|_| changes);
            let trees = [&*before.running, change.proposal.new()];
            let readable = Readable::by(&before.nacm, &asks, trees)?;
            writer.datastores.reject(change.proposal).map_err(one)?;
            Ok::<_, E>(WorkedOut {
                before,
                plans: plans.unwrap_or_default(),
                readable,
            })
        })
        .await??;
        let nodes = self.network.forecast(&worked_out.plans).await;
        let told = blocking(move || tell(&worked_out, &nodes, &user)).await?;
        Ok(told?)
    }
}

fn tell(
    worked_out: &WorkedOut,
    nodes: &[NodeForecast],
    user: &User,
) -> Result<Value, Vec<RpcError>> {
    let before = &worked_out.before;
    let hidden = hidden(before, user, nodes)?;
    let (mut list, mut errors, mut dropped) = (Vec::new(), Vec::new(), 0);
    for node in nodes {
        let mut refusals = refused(&RolloutFailed {
            failures: node.failures(),
            ..RolloutFailed::default()
        });
        if hidden.contains(&node.node) {
            // Neither its words nor how many users it has.
            for error in &mut refusals {
                error.message = None;
            }
            list.push(json!({ "name": node.node, "outcome": "hidden" }));
        } else {
            dropped += users_dropped(node);
            list.push(node_value(node, &worked_out.readable)?);
        }
        errors.extend(refusals);
    }
    let mut told = json!({
        "commit": before.version.commit.to_string(),
        "outcome": if errors.is_empty() { "accepted" } else { "refused" },
        "users-dropped": dropped,
    });
    if !errors.is_empty() {
        told["error"] = numbered(&errors);
    }
    if !list.is_empty() {
        told["node"] = list.into();
    }
    Ok(told)
}

impl Readable {
    /// Those that are whole in all of these trees where they are there, with the applications that are of them.
    fn by(nacm: &Nacm, user: &User, trees: [&Tree; 2]) -> Result<Self, Vec<RpcError>> {
        const OF: [(&str, &str); 2] = [
            ("/tranche-slice:slices/slice", "id"),
            ("/tranche-mec:mec/application", "slice"),
        ];
        if nacm.reads_everything(user) {
            return Ok(Self::All);
        }
        let (mut whole, mut cut) = (BTreeSet::new(), BTreeSet::new());
        for tree in trees {
            let seen = tree.duplicate().map_err(one)?;
            let seen = nacm.prune_read(user, seen).map_err(one)?;
            for (list, leaf) in OF {
                for entry in tree.find(list).map_err(one)? {
                    let left = seen.get(&entry.path()).map_or(0, size);
                    let of = if left == size(entry) {
                        &mut whole
                    } else {
                        &mut cut
                    };
                    of.extend(entry.get(leaf).map(str::to_owned));
                }
            }
        }
        Ok(Self::Some(&whole - &cut))
    }

    /// Whether all of these are among them. One that is in no configuration any more is not.
    fn has(&self, slices: &BTreeSet<String>) -> bool {
        match self {
            Self::All => true,
            Self::Some(readable) => slices.is_subset(readable),
        }
    }
}

/// How many nodes there are in a subtree, but for secrets.
fn size(node: Node<'_>) -> usize {
    match node.schema().is_some_and(|schema| schema.is_secret()) {
        true => 0,
        false => 1 + node.children().map(size).sum::<usize>(),
    }
}

fn users_dropped(node: &NodeForecast) -> u64 {
    match &node.answer {
        Answer::Planned(forecast) => forecast.users_dropped.into(),
        Answer::Refused(_) | Answer::Away(_) | Answer::CannotPlan(_) => 0,
    }
}

/// Nodes that the user may not read.
fn hidden(
    before: &Published,
    user: &User,
    nodes: &[NodeForecast],
) -> Result<BTreeSet<NodeName>, Vec<RpcError>> {
    if before.nacm.reads_everything(user) {
        return Ok(BTreeSet::new());
    }
    // Also of nodes that the change adds or takes away: it is the rules that count.
    let entries: Vec<Value> = nodes
        .iter()
        .map(|node| json!({ "name": node.node }))
        .collect();
    let inventory = json!({ "tranche-inventory:inventory": { "node": entries } });
    let schema = before.running.schema();
    let text = inventory.to_string();
    let tree = Tree::parse(schema, Format::Json, &text, Content::ConfigUnvalidated);
    let tree = tree.map_err(rpc_errors)?;
    let seen = before.nacm.prune_read(user, tree).map_err(one)?;
    let is_hidden = |node: &&NodeForecast| {
        let path = format!("/tranche-inventory:inventory/node[name='{}']", node.node);
        !seen.exists(&path)
    };
    let hidden = nodes.iter().filter(is_hidden);
    Ok(hidden.map(|node| node.node.clone()).collect())
}

fn node_value(node: &NodeForecast, readable: &Readable) -> Result<Value, Vec<RpcError>> {
    let mut value = Map::new();
    let mut set = |leaf: &str, to: Value| drop(value.insert(leaf.to_owned(), to));
    set("name", node.node.as_str().into());
    let outcome = match &node.answer {
        Answer::Planned(forecast) => {
            let plan = serde_json::to_value(forecast);
            set(
                "plan",
                plan.map_err(|_| internal("the plan cannot be written"))?,
            );
            if !forecast.refusals.is_empty() {
                set("refusal", numbered(&forecast.refusals));
            }
            match forecast.refusals.is_empty() {
                true => "accepted",
                false => "refused",
            }
        }
        Answer::Refused(failure) => {
            set("refusal", numbered(&failure.errors));
            "refused"
        }
        Answer::Away(failure) => {
            set("reason", failure.message.as_str().into());
            "away"
        }
        Answer::CannotPlan(why) => {
            set("reason", why.as_str().into());
            "cannot-plan"
        }
    };
    set("outcome", outcome.into());
    let is_for_them = readable.has(&node.slices);
    if !node.notes.is_empty() && is_for_them {
        set("note", node.notes.clone().into());
    }
    if let Some(edit) = node.edit.as_ref().filter(|_| is_for_them) {
        let text = shown(edit).map_err(|_| internal("the edit of a node cannot be shown"))?;
        set("edit-config", text.into());
    }
    Ok(value.into())
}

fn numbered(errors: &[RpcError]) -> Value {
    let entries = (1..).zip(errors).map(|(number, error): (u32, &RpcError)| {
        let mut entry = json!({ "number": number, "error-tag": error.tag.as_str() });
        let leaves = [
            ("error-app-tag", &error.app_tag),
            ("error-path", &error.path),
            ("error-message", &error.message),
        ];
        for (leaf, text) in leaves {
            if let Some(text) = text {
                entry[leaf] = text.as_str().into();
            }
        }
        entry
    });
    entries.collect()
}
