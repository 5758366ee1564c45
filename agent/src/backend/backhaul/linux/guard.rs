//! Keeps the wall of a tunnel up: raises it, and knows without asking `nft` whether it still stands.
//!
//! What it knows outlives the agent: the name that administrators may give an interface (its alias) says, at a slice's loopback,
//! which rules stood at which generation. It goes with the namespace, as the rules do.

use std::sync::PoisonError;

use rtnetlink::LinkUnspec;
use rtnetlink::packet_route::link::LinkAttribute;

use super::net::Link;
use super::space::Space;
use super::{generation, hash, wall};
use crate::backend::backhaul::plane::{Look, Place, PlaneError, SliceNet};

/// The wall of a tunnel as it was read last.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    rules: String,
    /// What nft listed of it; nothing where an earlier agent did.
    listed: Option<String>,
    /// The generation of all rules of the namespace.
    generation: u32,
}

impl Standing {
    fn mark(&self) -> String {
        let rules = hash(self.rules.as_bytes());
        format!("tranche {rules:016x} {}", self.generation)
    }
}

/// Puts the wall up where it does not stand; `lo` is the loopback of a slice's namespace. Whether it had to be.
pub(super) async fn raise(
    space: &Space,
    net: &SliceNet,
    (look, is_new): (Look, bool),
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
            let (generation, listed) = (generation(space)?, None);
            let found = Standing {
                rules: rules.clone(),
                listed,
                generation,
            };
            if lo.is_some_and(|lo| lo.alias == found.mark()) {
                keep(space, found, None).await?;
                return Ok(false);
            }
        }
    }
    wall::set(&space.namespace, &space.table, &rules, is_new).await?;
    let generation = generation(space)?;
    let listed = wall::listed(&space.namespace, &space.table).await?;
    if listed.is_empty() {
        return Err(PlaneError::new(
            "nftables took the rules and does not have them",
        ));
    }
    let listed = Some(listed);
    let standing = Standing {
        rules,
        listed,
        generation,
    };
    keep(space, standing, lo).await?;
    Ok(true)
}

/// Whether it is what was read last. Another generation may be somebody else's rules.
async fn still_stands(
    space: &Space,
    known: Standing,
    lo: Option<&Link>,
) -> Result<bool, PlaneError> {
    let generation = generation(space)?;
    if known.generation == generation {
        return Ok(true);
    }
    let listed = Some(wall::listed(&space.namespace, &space.table).await?);
    if known.listed != listed {
        return Ok(false);
    }
    let standing = Standing {
        generation,
        ..known
    };
    keep(space, standing, lo).await?;
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

fn generation(space: &Space) -> Result<u32, PlaneError> {
    let told = space.namespace.within(generation::of_this_namespace);
    told.flatten().map_err(|error| {
        PlaneError::new(format!(
            "the rules of nftables cannot be looked at: {error}"
        ))
    })
}
