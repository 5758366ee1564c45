//! Rotation of a slice's keys: on request, when a node says that one is due, and after a controller left one halfway.

use std::collections::btree_map::Entry;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use rand::RngExt as _;
use tokio::sync::Notify;
use tokio::time::sleep;
use tranche_netconf::error::{ErrorTag, RpcError};
use tranche_yang::Operation;

use super::{Live, Service};
use crate::device::{DeviceState, pause};
use crate::intent::given;
use crate::network::{PortRange, PortRanges, RotationError};

/// How long ends whose keys are elsewhere are waited for where nobody says, in seconds: the default of the model.
const WAIT_S: u64 = 600;
const NOT_BACK: &str = "rotation-not-taken-back";
/// Between two attempts to carry a rotation on: the first pause, which doubles, and the longest.
const MIN_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(60);

impl Service {
    /// The action `cancel-rotation`.
    pub(super) async fn cancel_rotation(&self, slice: &str) -> Result<(), Vec<RpcError>> {
        let (app_tag, message) = match self.network.waits().give_up(slice).await {
            Ok(true) => match self.network.rotating_at(slice) {
                None => return Ok(()),
                Some(node) => {
                    let why = RotationError::GivenUp.to_string();
                    let error = RotationError::NotBack { why, node };
                    (NOT_BACK, error.to_string())
                }
            },
            Ok(false) => (
                "no-rotation",
                format!("no rotation of slice {slice} waits for anybody"),
            ),
            Err(error) => ("rotation-not-cancelled", error.to_string()),
        };
        let refusal = RpcError::new(ErrorTag::OperationFailed, message);
        let path = format!("/tranche-slice:slices/slice[id='{slice}']/backhaul");
        Err(vec![refusal.with_app_tag(app_tag).at(&path)])
    }

    /// The action `rotate-keys`.
    pub(super) async fn rotate_keys(
        self: &Arc<Self>,
        slice: String,
        operation: &Operation,
    ) -> Result<Operation, Vec<RpcError>> {
        let wait = operation.data().get("wait").map(str::parse);
        // The schema has seen to its range.
        let wait = wait.and_then(Result::ok).unwrap_or(WAIT_S);
        let wait = Duration::from_secs(wait);
        let path = format!("/tranche-slice:slices/slice[id='{slice}']/backhaul");
        let (service, id) = (Arc::clone(self), slice.clone());
        // A caller that goes away doesn't stop it halfway.
        let task = self.tasks.spawn(async move {
            let ranges = service.port_ranges(&id);
            service.network.rotate(&id, &ranges, wait).await
        });
        let rotated = task.await;
        let rotated = rotated.map_err(|_| super::internal("the rotation was given up"))?;
        let keys = rotated.map_err(|error| {
            let app_tag = match &error {
                RotationError::NoTunnels(_) => "no-tunnels",
                RotationError::Elsewhere(_) => "key-elsewhere",
                RotationError::Waits(_) => "rotation-waits",
                RotationError::Late { .. } => "peer-late",
                RotationError::Node { .. } | RotationError::GivenUp | RotationError::Stopping => {
                    "rotation-cancelled"
                }
                RotationError::NotBack { .. } => NOT_BACK,
                RotationError::Halfway { .. } => "rotation-halfway",
            };
            let refusal = RpcError::new(ErrorTag::OperationFailed, error.to_string());
            vec![refusal.with_app_tag(app_tag).at(&path)]
        })?;
        let one = |error: tranche_yang::Error| vec![error.to_rpc_error()];
        let output = self.schema.new_output(&format!("{path}/rotate-keys"));
        let mut output = output.map_err(one)?;
        for (node, key) in keys {
            let leaf = |leaf: &str| format!("node[name='{node}']/{leaf}");
            let epoch = key.epoch.to_string();
            output.set(&leaf("epoch"), epoch.as_str()).map_err(one)?;
            let public_key = key.public_key.as_str();
            output.set(&leaf("public-key"), public_key).map_err(one)?;
        }
        Ok(output)
    }

    /// Carries on the rotations that a node was just seen to be in the middle of, until they are over.
    pub(super) fn resume_rotations(self: &Arc<Self>, node: &str) {
        for slice in self.network.rotating(node) {
            let again = match self.live().rotating.entry(slice.clone()) {
                Entry::Occupied(_) => continue,
                Entry::Vacant(entry) => Arc::clone(entry.insert(Arc::default())),
            };
            let service = Arc::clone(self);
            self.tasks.spawn(async move {
                service.until_over(&slice, &again).await;
                service.live().rotating.remove(&slice);
            });
        }
    }

    /// Rotations that a node is in need not wait for it any longer, where it has come.
    pub(super) fn hurry_rotations(&self, node: &str) {
        let device = self.network.fleet().device(node);
        if device.is_none_or(|device| device.status().state != DeviceState::Connected) {
            return;
        }
        let slices = self.network.rotating(node);
        let live = self.live();
        for again in slices.iter().filter_map(|slice| live.rotating.get(slice)) {
            again.notify_one();
        }
    }

    /// A node that was read is no sign that it goes better now: every attempt reads them all.
    async fn until_over(&self, slice: &str, again: &Notify) {
        let mut failures = 0;
        while !self.resume_rotation(slice).await {
            failures += 1;
            let pause = pause(MIN_PAUSE, MAX_PAUSE, failures, rand::rng().random());
            tokio::select! {
                () = self.network.waits().stopping().cancelled() => return,
                () = again.notified() => failures = 0,
                () = sleep(pause) => {}
            }
        }
    }

    /// Whether there is nothing to carry on any more.
    async fn resume_rotation(&self, slice: &str) -> bool {
        let desired = Arc::clone(&self.published().desired);
        let backhaul = desired.intent.slices.get(slice);
        let backhaul = backhaul.and_then(|slice| slice.backhaul.as_ref());
        let due = backhaul.is_some_and(|b| b.rotation.interval.is_some());
        let ranges = self.port_ranges(slice);
        match self.network.resume_rotation(slice, &ranges, due).await {
            None | Some(Err(RotationError::NoTunnels(_))) => true,
            Some(Ok(())) => {
                tracing::info!(slice, "a rotation of keys was carried on or taken back");
                true
            }
            Some(Err(error)) => {
                tracing::warn!(slice, %error, "a rotation of keys could not be carried on");
                false
            }
        }
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The ports of the nodes that have a range, for the next key of a slice.
    fn port_ranges(&self, slice: &str) -> PortRanges {
        let desired = Arc::clone(&self.published().desired);
        let range = |node: &crate::inventory::Node| {
            let underlay = node.config.underlay;
            Some(underlay.first_port?..=underlay.last_port?)
        };
        let of = |name: &str| {
            let given = given(&desired.intent);
            let others = given.filter(|(other, node, _)| *other != slice && *node == name);
            others.map(|(_, _, port)| port).collect()
        };
        let nodes = desired.inventory.nodes.iter();
        let nodes = nodes.filter_map(|(name, node)| {
            let (all, given) = (range(node)?, of(name));
            Some((name.clone(), PortRange { all, given }))
        });
        nodes.collect()
    }
}
