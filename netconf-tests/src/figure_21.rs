//! The scene of figure 21 of 5GCity D3.1: two nodes in range of each other, and two tenants. The files are those of
//! `examples/figure-21`.

use serde_json::Value;

/// Templates of the factory defaults of the nodes; see [`crate::stack`] for the names in them.
pub const NODES: [&str; 2] = [
    include_str!("../../examples/figure-21/node-1.json"),
    include_str!("../../examples/figure-21/node-2.json"),
];
/// Template of the factory default of the controller.
pub const CONTROLLER: &str = include_str!("../../examples/figure-21/controller.json");
/// The two slices, as the body of a request for `/data/tranche-slice:slices`.
pub const SLICES: &str = include_str!("../../examples/figure-21/slices.json");

/// [`SLICES`], parsed.
///
/// # Panics
/// Never: the text is part of this program and a test reads it.
#[must_use]
pub fn slices() -> Value {
    serde_json::from_str(SLICES).expect("examples/figure-21/slices.json is JSON")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::template::fill;

    #[test]
    fn the_templates_of_figure_21_are_json_once_filled() {
        let mut values = BTreeMap::new();
        for user in ["controller", "admin", "observer"] {
            values.insert(format!("{user}.key-data"), "AAAA".to_owned());
            values.insert(format!("{user}.password"), "p".to_owned());
        }
        for node in ["node-1", "node-2"] {
            values.insert(format!("{node}.host"), "127.0.0.1".to_owned());
            values.insert(format!("{node}.port"), "830".to_owned());
            values.insert(format!("{node}.host-key"), "SHA256:x".to_owned());
        }
        for template in NODES.into_iter().chain([CONTROLLER]) {
            let text = fill("t", template, &values).unwrap();
            let value: Value = serde_json::from_str(&text).unwrap();
            assert!(
                value
                    .as_object()
                    .unwrap()
                    .contains_key("ietf-system:system")
            );
        }
        let slices = slices();
        assert_eq!(
            slices["tranche-slice:slices"]["slice"]
                .as_array()
                .unwrap()
                .len(),
            2
        );
    }
}
