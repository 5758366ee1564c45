//! Slice intent: what each tenant is promised and where, as types.
//!
//! [`Intent::from_json`] reads the tree of `tranche-slice` that the schema has already validated; [`compile()`] turns it into one plan per
//! node. Pure: neither touches a node.

mod allocate;
mod backhaul;
mod compile;
mod mec;
mod plan;
mod prefix;
mod profile;
mod ran;
mod ratio;
mod shown;
mod steering;
mod steering_edit;
mod tunnel;
mod tunnels;
mod vif;

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

pub use allocate::allocate;
pub(crate) use allocate::{given, in_use};
pub use backhaul::{
    Allocation, Backhaul, Endpoint, ForeignPeer, Hub, HubAttachment, Layer, Probe, Rotation,
    Topology,
};
pub use compile::{
    ErrorKind, IntentError, compile, compile_change, unpromised_airtime, unpromised_prb,
};
pub use mec::Application;
pub(crate) use mec::{names as mec_names, rules as mec_rules};
pub use plan::{Drift, NodePlan, PartDrift};
pub use prefix::{BadPrefix, Prefix};
pub(crate) use profile::RAN;
pub use profile::{ProfileConfig, is_our_profile, profile_name};
pub use ran::{
    Access, AdminState, Aggregate, CoreKind, DefaultAction, ImsiRange, Prb, Ran, Rat, RatChoice,
    Share,
};
pub use ratio::{BadRatio, Ratio};
pub(crate) use shown::shown;
pub use steering::{OWNER, SliceRecord, SliceRule, Steering, compile_steering, steering_name};
pub use steering_edit::{Applied, Counted, NodeSteering, ResolverSeen, RuleSeen};
pub(crate) use steering_edit::{STEERING, slices as steering_slices};
pub(crate) use tunnel::{BACKHAUL, write_endpoint};
pub use tunnel::{
    Keys, OwnKey, PeerConfig, PeerEndpoint, PeerState, Role, Stage, Tunnel, TunnelAttachment,
    TunnelConfig, TunnelState,
};
pub use tunnels::{Tunnels, compile_tunnels};
pub(crate) use tunnels::{check_keys, check_rotations, check_tunnel_names, underlay};
pub(crate) use vif::leaf;
pub use vif::{
    AccessPoint, Attachment, Radius, Roaming, Secret, Security, SecurityMode, VifConfig, is_ours,
    vif_name,
};

/// Everything that is wanted: the slices by id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Intent {
    /// Slices by id.
    pub slices: BTreeMap<String, Slice>,
}

/// One slice of one tenant (`/tranche-slice:slices/slice`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Slice {
    /// Its identifier.
    pub id: String,
    /// Whose it is.
    pub tenant: String,
    /// Off: it is kept here and taken from the nodes.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// What it is promised.
    #[serde(default)]
    pub sla: SliceSla,
    /// The nodes it is on.
    #[serde(rename = "where")]
    pub place: Place,
    /// Its access points, if it is on Wi-Fi.
    #[serde(default)]
    pub wifi: Option<AccessPoint>,
    /// Its part of LTE and NR cells, if it is on any.
    #[serde(default)]
    pub ran: Option<Ran>,
    /// Its encrypted path, if it has one of its own.
    #[serde(default)]
    pub backhaul: Option<Backhaul>,
    /// Nodes that it selects were left out because they were never read: they may have what the others lack.
    #[serde(skip)]
    pub some_unread: bool,
    /// Its steering at nodes.
    #[serde(default)]
    pub steering: Steering,
}

impl Slice {
    /// Whether both ask for the same: what the controller gave to the ends of a backhaul is not asked for.
    #[must_use]
    pub fn asks_for_what(&self, other: &Self) -> bool {
        let asked = |slice: &Self| {
            let mut slice = slice.clone();
            if let Some(backhaul) = &mut slice.backhaul {
                backhaul.allocations.clear();
            }
            slice
        };
        self == other || asked(self) == asked(other)
    }

    /// Names of the nodes that it has access points on, whether or not they were read.
    #[must_use]
    pub fn nodes<'a>(&self, inventory: &'a crate::inventory::Inventory) -> BTreeSet<&'a str> {
        allocate::selected(self, inventory)
    }
}

/// What a slice is promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SliceSla {
    /// Wi-Fi.
    #[serde(default)]
    pub airtime: Airtime,
    /// LTE and NR.
    #[serde(default)]
    pub prb: Prb,
    /// One promise over both.
    #[serde(default)]
    pub aggregate: Aggregate,
    /// Who keeps more when not all guarantees can be met; the greater number.
    #[serde(default)]
    pub priority: u8,
}

/// A promise of airtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Airtime {
    /// Guaranteed minimum of every contention domain it is in.
    pub min_ratio: Ratio,
    /// Ceiling at every access point.
    pub max_ratio: Ratio,
}

impl Default for Airtime {
    fn default() -> Self {
        Self {
            min_ratio: Ratio::ZERO,
            max_ratio: Ratio::FULL,
        }
    }
}

/// Selects nodes: those named, those of the sites, and those with one of the labels; on them, radios of the bands and cells of the names.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct Place {
    /// Named nodes.
    #[serde(default, rename = "node")]
    pub nodes: BTreeSet<String>,
    /// All nodes of these sites.
    #[serde(default, rename = "site")]
    pub sites: BTreeSet<String>,
    /// All nodes with one of these labels.
    #[serde(default, rename = "label")]
    pub labels: BTreeSet<String>,
    /// Only radios of these bands; any where empty.
    #[serde(default, rename = "band")]
    pub bands: BTreeSet<String>,
    /// Only cells of these names; any where empty.
    #[serde(default, rename = "cell")]
    pub cells: BTreeSet<String>,
}

/// The tree of slices is not what the schema says.
#[derive(Debug, thiserror::Error)]
#[error("the slices cannot be read: {0}")]
pub struct BadIntent(#[from] serde_json::Error);

impl Intent {
    /// Reads the content of `/tranche-slice:slices` (the object with the list `slice`) in the encoding of RFC 7951.
    ///
    /// # Errors
    /// When a mandatory leaf is missing or a value has the wrong type: the schema was not enforced.
    pub fn from_json(slices: &serde_json::Value) -> Result<Self, BadIntent> {
        #[derive(Deserialize)]
        struct Slices {
            #[serde(default)]
            slice: Vec<Slice>,
        }
        let slices = Slices::deserialize(slices)?.slice;
        Ok(Self {
            slices: slices
                .into_iter()
                .map(|slice| (slice.id.clone(), slice))
                .collect(),
        })
    }
}

pub(crate) fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_tree_is_read_with_its_defaults() {
        let intent = Intent::from_json(&json!({ "slice": [{
            "id": "a", "tenant": "acme",
            "sla": { "airtime": { "min-ratio": "30.5" } },
            "where": { "node": ["n1", "n2"], "band": ["5GHz"] },
            "wifi": { "ssid": "acme", "security": { "mode": "wpa2-personal", "passphrase": "correct horse" } }
        }, {
            "id": "b", "tenant": "bmce", "enabled": false, "sla": { "priority": 7 },
            "where": { "label": ["street"] },
            "wifi": { "ssid": "b", "hidden": true, "max-stations": 5, "security": { "mode": "open" } }
        }] }))
        .expect("valid");
        let a = &intent.slices["a"];
        assert!(a.enabled);
        assert_eq!(
            (a.sla.airtime.min_ratio.to_string(), a.sla.airtime.max_ratio),
            ("30.50".into(), Ratio::FULL)
        );
        let wifi = a.wifi.as_ref().expect("on Wi-Fi");
        assert_eq!(wifi.security.mode, SecurityMode::Wpa2Personal);
        assert!(wifi.station_isolation && !wifi.hidden);
        let b = &intent.slices["b"];
        assert_eq!(
            (
                b.enabled,
                b.sla.priority,
                b.wifi.as_ref().and_then(|wifi| wifi.max_stations)
            ),
            (false, 7, Some(5))
        );
        assert!(
            !format!("{intent:?}").contains("correct horse"),
            "a passphrase is never printed"
        );
    }

    #[test]
    fn a_tree_that_is_not_valid_says_where() {
        let error = Intent::from_json(&json!({ "slice": [{ "id": "a" }] })).expect_err("no tenant");
        assert!(error.to_string().contains("tenant"), "{error}");
    }
}
