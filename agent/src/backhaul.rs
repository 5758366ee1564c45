//! Tunnels as NETCONF sees them: the actions of `tranche-backhaul`.
//!
//! Which of them are permitted is decided in [`crate::rpc`]; what they do in [`crate::backend::backhaul`].

use std::str::FromStr;
use std::time::Duration;

use tranche_netconf::error::{ErrorTag, RpcError};
use tranche_netconf::message::Reply;
use tranche_yang::{Node as DataNode, Operation, Schema};

use crate::backend::Refusal;
use crate::backend::backhaul::{BackhaulBackend, OwnKeyState, ProbeRequest};
use crate::error::Error;
use crate::node::data;

/// An action on the tunnel of a slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    slice: String,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    RotateKey(Option<u16>),
    CompleteRotation,
    CancelRotation,
    SwitchOver(String),
    ProbeNow(ProbeRequest),
}

impl Action {
    /// The action in a valid operation; `None` for one that is unknown here.
    pub(crate) fn of(operation: &Operation) -> Option<Result<Self, Vec<Error>>> {
        let input = operation.data();
        let slice = input.parent()?.get("slice")?.to_owned();
        let what = match operation.name() {
            "rotate-key" => number(input, "listen-port").map(What::RotateKey),
            "complete-rotation" => Ok(What::CompleteRotation),
            "cancel-rotation" => Ok(What::CancelRotation),
            "switch-over" => Ok(What::SwitchOver(input.get("peer")?.to_owned())),
            "probe-now" => request(input).map(What::ProbeNow),
            _ => return None,
        };
        Some(what.map(|what| Self { slice, what }))
    }

    /// Path of the operation.
    pub(crate) fn path(&self) -> String {
        let name = match &self.what {
            What::RotateKey(_) => "rotate-key",
            What::CompleteRotation => "complete-rotation",
            What::CancelRotation => "cancel-rotation",
            What::SwitchOver(_) => "switch-over",
            What::ProbeNow(_) => "probe-now",
        };
        format!(
            "/tranche-backhaul:backhaul/tunnel[slice='{}']/{name}",
            self.slice
        )
    }

    /// Does it; the output as leaves by their path below the operation.
    pub(crate) async fn carry_out(
        self,
        on: &dyn BackhaulBackend,
    ) -> Result<Vec<(String, String)>, Refusal> {
        let slice = &self.slice;
        Ok(match self.what {
            What::RotateKey(port) => own_key(&on.rotate_key(slice, port).await?),
            What::CompleteRotation => own_key(&on.complete_rotation(slice).await?),
            What::CancelRotation => {
                on.cancel_rotation(slice).await?;
                Vec::new()
            }
            What::SwitchOver(peer) => {
                let from = on.switch_over(slice, &peer).await?;
                from.map(|from| ("from".to_owned(), from))
                    .into_iter()
                    .collect()
            }
            What::ProbeNow(request) => {
                let mut output = Vec::new();
                for result in on.probe_now(slice, request).await? {
                    let leaf = |leaf: &str| format!("peer[name='{}']/{leaf}", result.name);
                    output.push((leaf("sent"), result.sent.to_string()));
                    output.push((leaf("received"), result.received.to_string()));
                    output.extend(result.rtt_us.map(|rtt| (leaf("rtt"), rtt.to_string())));
                }
                output
            }
        })
    }
}

fn own_key(key: &OwnKeyState) -> Vec<(String, String)> {
    let leaves = [
        ("epoch", key.epoch.to_string()),
        ("public-key", key.public_key.to_string()),
        ("listen-port", key.listen_port.to_string()),
        ("interface", key.interface.clone()),
    ];
    leaves
        .into_iter()
        .map(|(leaf, value)| (leaf.to_owned(), value))
        .collect()
}

fn number<T: FromStr>(input: DataNode<'_>, leaf: &str) -> Result<Option<T>, Vec<Error>> {
    let bad = |_| {
        let message = format!("{leaf} is no number in its range");
        vec![Error::Rule(RpcError::new(ErrorTag::InvalidValue, message))]
    };
    input.get(leaf).map(str::parse).transpose().map_err(bad)
}

fn request(input: DataNode<'_>) -> Result<ProbeRequest, Vec<Error>> {
    Ok(ProbeRequest {
        peer: input.get("peer").map(str::to_owned),
        count: number(input, "count")?.unwrap_or(3),
        timeout: Duration::from_millis(number(input, "timeout")?.unwrap_or(1000)),
    })
}

/// The reply to an action with this output.
///
/// # Errors
/// The output is not what the module says, which is a fault of this agent.
pub(crate) fn reply(
    schema: &'static Schema,
    path: &str,
    output: &[(String, String)],
) -> Result<Reply, Vec<Error>> {
    if output.is_empty() {
        return Ok(Reply::Ok);
    }
    let mut operation = schema.new_output(path).map_err(|error| data(vec![error]))?;
    for (leaf, value) in output {
        let set = operation.set(leaf, value.as_str());
        set.map_err(|error| data(vec![error]))?;
    }
    Ok(Reply::Output(operation.to_fragment()))
}
