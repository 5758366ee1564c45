//! What the ends of backhauls are given, written into the configuration that is about to be.

use tranche_netconf::error::RpcError;
use tranche_yang::Tree;

use super::desired::Desired;
use crate::intent::Allocation;
use crate::inventory::Inventory;

const BACKHAUL: &str = "/tranche-slice:slices/slice/backhaul";

/// The configuration with all allocations; `None` where it has them. `observe` tells what was read of the nodes.
///
/// # Errors
/// Pools and ports that are used up.
pub(crate) fn allocated(
    config: &Tree,
    before: &Desired,
    observe: impl Fn(&Desired) -> Inventory,
) -> Result<Option<Tree>, Vec<RpcError>> {
    let one = |error: tranche_yang::Error| vec![error.to_rpc_error()];
    if config.count(BACKHAUL).map_err(one)? == 0 {
        return Ok(None);
    }
    let desired = Desired::read(config)?;
    let changed = desired.allocations(before, &observe(&desired))?;
    if changed.is_empty() {
        return Ok(None);
    }
    let mut tree = config.duplicate().map_err(one)?;
    for (slice, allocations) in changed {
        let list = format!("/tranche-slice:slices/slice[id='{slice}']/backhaul/allocation");
        if tree.exists(&list) {
            tree.remove(&list).map_err(one)?;
        }
        for allocation in &allocations {
            write(&mut tree, &list, allocation).map_err(one)?;
        }
    }
    Ok(Some(tree))
}

fn write(tree: &mut Tree, list: &str, given: &Allocation) -> tranche_yang::Result<()> {
    let entry = format!("{list}[name='{}']", given.name);
    let port = given.listen_port.map(|port| port.to_string());
    let leaves = [
        ("address", Some(given.address.to_string())),
        ("client-prefix", given.client_prefix.clone()),
        ("listen-port", port),
    ];
    for (leaf, value) in leaves {
        if let Some(value) = value {
            tree.set(&format!("{entry}/{leaf}"), value.as_str())?;
        }
    }
    Ok(())
}
