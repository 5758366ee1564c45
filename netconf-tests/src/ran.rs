//! The scene of a slice over both radio technologies: two access points on a channel each, an LTE and an NR cell, and two
//! tenants who are on all of them. The files are those of `examples/ran`.

use serde_json::Value;

use crate::stack::Setup;

/// Templates of the factory defaults of the nodes: two with a radio each, one with cells; see [`crate::stack`].
pub const NODES: [&str; 3] = [
    include_str!("../../examples/ran/node-1.json"),
    include_str!("../../examples/ran/node-2.json"),
    include_str!("../../examples/ran/node-3.json"),
];
/// Template of the factory default of the controller.
pub const CONTROLLER: &str = include_str!("../../examples/ran/controller.json");
/// The two slices, as the body of a request for `/data/tranche-slice:slices`.
pub const SLICES: &str = include_str!("../../examples/ran/slices.json");
/// [`SLICES`], parsed.
///
/// # Panics
/// Never: the text is part of this program and a test reads it.
#[must_use]
pub fn slices() -> Value {
    serde_json::from_str(SLICES).expect("examples/ran/slices.json is JSON")
}

/// The nodes and their controller.
#[must_use]
pub fn setup() -> Setup {
    Setup {
        nodes: NODES.iter().map(|&text| text.to_owned()).collect(),
        controller: Some(CONTROLLER.to_owned()),
        ..Setup::figure_21()
    }
}

/// The edit of a node with a radio by which a network that is not ours takes so much of the channel, percent.
#[must_use]
pub fn interference(percent: u32) -> String {
    format!(
        "<sim xmlns=\"urn:tranche:yang:tranche-sim\"><radio><name>phy0</name>\
         <external-load>{percent}.0</external-load></radio></sim>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slices_are_two_on_both_technologies() {
        let slices = slices();
        let list = slices["tranche-slice:slices"]["slice"].as_array().unwrap();
        assert_eq!(list.len(), 2);
        assert!(
            list.iter()
                .all(|one| one["wifi"].is_object() && one["ran"].is_object())
        );
    }
}
