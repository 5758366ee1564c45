//! Configurations, made from those of the example `verticals`.

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::Arguments;

const NODE: &str = include_str!("../../../verticals/node.json");
const CONTROLLER: &str = include_str!("../../../verticals/controller.json");

/// Template of the factory default of one node.
pub(crate) fn node(arguments: &Arguments) -> anyhow::Result<String> {
    let mut node: Value = serde_json::from_str(NODE)?;
    let cells = (1..=arguments.cells).map(|number| {
        json!({
            "name": format!("c{number}"), "rat": "lte", "pci": number, "arfcn": 1300, "bandwidth-prb": 50, "tac": 7,
        })
    });
    node["tranche-ran:ran"] = json!({
        "cell": cells.collect::<Vec<_>>(),
        "core": [{ "name": "mme", "kind": "mme", "location": "edge", "address": "192.0.2.10" }],
    });
    let groups = (1..=arguments.slices).filter(|_| arguments.ues > 0);
    let groups = groups.map(|slice| {
        json!({
            "name": format!("s{slice}"), "first-imsi": format!("0010{slice}0000000001"), "count": arguments.ues,
            "down": { "model": "periodic", "interval": 1000, "packet-size": 200 },
        })
    });
    node["tranche-sim:sim"] = json!({ "ue-group": groups.collect::<Vec<_>>() });
    Ok(node.to_string())
}

/// Template of the factory default of the controller: that of `verticals`, with its node so many times.
pub(crate) fn controller(nodes: u16) -> anyhow::Result<String> {
    let (head, rest) = CONTROLLER
        .split_once("\"node\": [")
        .context("no nodes in examples/verticals/controller.json")?;
    let (node, tail) = rest
        .split_once(']')
        .context("no end of the nodes in examples/verticals/controller.json")?;
    let of = |number: u16| node.replace("node-1", &format!("node-{number}"));
    let all: Vec<String> = (1..=nodes).map(of).collect();
    Ok(format!("{head}\"node\": [{}]{tail}", all.join(",")))
}

/// The slices, as the body of a request for `/data/tranche-slice:slices`.
pub(crate) fn slices(count: u16) -> Value {
    let slices = (1..=count).map(|number| {
        let share = json!({ "min-ratio": "15" });
        let (first, last) = (
            format!("0010{number}0000000001"),
            format!("0010{number}0000000999"),
        );
        json!({
            "id": format!("s{number}"), "tenant": format!("t{number}"),
            "sla": { "prb": { "down": share, "up": share } },
            "where": { "site": ["factory"] },
            "ran": {
                "rat": "lte", "mcc": "001", "mnc": format!("0{number}"), "core": ["mme"],
                "access": { "imsi-range": [{ "first": first, "last": last }] },
            },
        })
    });
    json!({ "tranche-slice:slices": { "slice": slices.collect::<Vec<_>>() } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[test]
    fn every_node_has_its_cells_and_its_place_at_the_controller() {
        let arguments = Arguments::parse_from(["x", "--cells", "3", "--slices", "2"]);
        let node: Value = serde_json::from_str(&node(&arguments).unwrap()).unwrap();
        let list = |at: &str, list: &str| node[at][list].as_array().unwrap().len();
        assert_eq!(list("tranche-ran:ran", "cell"), 3);
        assert_eq!(list("tranche-sim:sim", "ue-group"), 2);
        let controller = controller(2).unwrap();
        let controller = controller
            .replace("@node-1.port@", "1")
            .replace("@node-2.port@", "2");
        let controller: Value = serde_json::from_str(&controller).unwrap();
        let nodes = &controller["tranche-inventory:inventory"]["node"];
        let names: Vec<_> = nodes
            .as_array()
            .unwrap()
            .iter()
            .map(|n| n["name"].clone())
            .collect();
        assert_eq!(names, ["node-1", "node-2"]);
        assert_eq!(nodes[1]["host-key"], "@node-2.host-key@");
    }
}
