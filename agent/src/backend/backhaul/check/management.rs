//! What the management tunnels of a node would take from each other and from the rest: the routes of all of them are in one
//! namespace, the node's, from where every tunnel calls its peers.

use super::{Checked, bad, endpoints, peer_path, prefix_path};
use crate::backend::backhaul::Prefix;
use crate::backend::backhaul::config::{BackhaulConfig, TunnelConfig};

/// A route that a management tunnel makes.
struct Route {
    /// Path of the leaf that asks for it.
    at: String,
    to: Prefix,
    /// Whether it is to the peer itself, and not to what is behind it.
    is_host: bool,
}

/// Refuses what would lead packets of one tunnel into another one.
pub(super) fn check_routes(config: &BackhaulConfig) -> Checked {
    let of_node = config.tunnels.iter().filter(|one| one.management.is_some());
    let mut taken: Vec<(Route, &str)> = Vec::new();
    for tunnel in of_node {
        let routes = routes(tunnel);
        for route in &routes {
            check_endpoints(config, tunnel, route)?;
            let clash = taken.iter().find(|(other, _)| clashes(route, other));
            if let Some((other, slice)) = clash {
                let message = format!(
                    "it overlaps {} of slice {slice}, which is a management tunnel too",
                    other.to
                );
                return Err(bad(&*route.at, message));
            }
        }
        taken.extend(routes.into_iter().map(|route| (route, &*tunnel.slice)));
    }
    Ok(())
}

fn routes(tunnel: &TunnelConfig) -> Vec<Route> {
    let mut routes = Vec::new();
    for peer in &tunnel.peers {
        routes.extend(peer.tunnel_address.map(|address| Route {
            at: format!("{}/tunnel-address", peer_path(&tunnel.slice, &peer.name)),
            to: Prefix::host(address),
            is_host: true,
        }));
        routes.extend(peer.allowed_prefixes.iter().filter_map(|written| {
            Some(Route {
                at: prefix_path(tunnel, peer, written),
                to: written.parse().ok()?,
                is_host: false,
            })
        }));
    }
    routes
}

/// The endpoints of its own peers may not be behind it either; those in its prefixes were refused before.
fn check_endpoints(config: &BackhaulConfig, tunnel: &TunnelConfig, route: &Route) -> Checked {
    for called in &config.tunnels {
        let mut endpoints = endpoints(called);
        let Some(inside) = endpoints.find(|one| route.to.contains(one.address)) else {
            continue;
        };
        let whose = match called.slice == tunnel.slice {
            true => String::new(),
            false => format!(" of slice {}", called.slice),
        };
        let message = format!(
            "the endpoint {}{whose} would be called through this tunnel",
            inside.address
        );
        return Err(bad(&*route.at, message));
    }
    Ok(())
}

/// The way to one host is found beside one to more; the same way twice is not.
fn clashes(one: &Route, other: &Route) -> bool {
    match one.is_host || other.is_host {
        true => one.to == other.to,
        false => one.to.overlaps(other.to),
    }
}
