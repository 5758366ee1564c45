//! Keeps the wall of a tunnel up: raises it, and knows from the kernel whether it still stands.
//!
//! What it knows outlives the agent: the name that administrators may give an interface (its alias) says, at a slice's loopback,
//! which rules stood at which generation. It goes with the namespace, as the rules do.

use std::sync::PoisonError;

use rtnetlink::LinkUnspec;
use rtnetlink::packet_route::link::LinkAttribute;

use super::net::Link;
use super::ruleset::Table;
use super::space::Space;
use super::{hash, wall};
use crate::backend::backhaul::plane::{Look, Place, PlaneError, SliceNet};

/// The wall of a tunnel as it was read last.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    rules: String,
    table: Table,
}

impl Standing {
    fn mark(&self) -> String {
        let rules = hash(self.rules.as_bytes());
        format!("tranche {rules:016x} {}", self.table.generation)
    }
}

/// Puts the wall up where it does not stand; `lo` is the loopback of a slice's namespace. Whether it had to be.
pub(super) async fn raise(
    space: &Space,
    net: &SliceNet,
    look: Look,
    lo: Option<&Link>,
) -> Result<bool, PlaneError> {
    let rules = match &net.place {
        Place::Slice => wall::of_slice(net),
        Place::Node { ports } => wall::of_node(&space.prefix, ports),
    };
    let known = {
        let wall = space.wall.lock().unwrap_or_else(PoisonError::into_inner);
        wall.clone()
    };
    let lo = lo.filter(|_| !space.is_of_node);
    match known {
        Some(known) if known.rules == rules => {
            if look == Look::Changes || still_stands(space, known, lo).await? {
                return Ok(false);
            }
        }
        Some(_) => {}
        None => {
            // An earlier agent may have noted that it stands.
            if let Some(lo) = lo.filter(|lo| !lo.alias.is_empty()) {
                let (rules, table) = (rules.clone(), wall::read(&space.namespace, &space.table)?);
                let found = Standing { rules, table };
                if lo.alias == found.mark() {
                    keep(space, found, None).await?;
                    return Ok(false);
                }
            }
        }
    }
    let table = wall::set(&space.namespace, &space.table, &rules).await?;
    keep(space, Standing { rules, table }, lo).await?;
    Ok(true)
}

/// Whether it is what was read last. Another generation may be somebody else's rules.
async fn still_stands(
    space: &Space,
    known: Standing,
    lo: Option<&Link>,
) -> Result<bool, PlaneError> {
    let table = wall::read_again(&space.namespace, &known.table)?;
    if table != known.table {
        return Ok(false);
    }
    if table.generation != known.table.generation {
        keep(space, Standing { table, ..known }, lo).await?;
    }
    Ok(true)
}

async fn keep(space: &Space, standing: Standing, lo: Option<&Link>) -> Result<(), PlaneError> {
    if let Some(lo) = lo {
        let mut message = LinkUnspec::new_with_index(lo.index).build();
        let mark = LinkAttribute::IfAlias(standing.mark());
        message.attributes.push(mark);
        space.net.change("note the wall at lo", message).await?;
    }
    *space.wall.lock().unwrap_or_else(PoisonError::into_inner) = Some(standing);
    Ok(())
}
