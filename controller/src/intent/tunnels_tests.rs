use serde_json::{Value, json};

use super::*;
use crate::intent::{OwnKey, Tunnel, TunnelState, allocate};
use crate::inventory::Inventory;

fn intent(slices: &[Value]) -> Intent {
    Intent::from_json(&json!({ "slice": slices })).expect("valid")
}

fn slice(id: &str, nodes: &[&str], backhaul: Value) -> Value {
    json!({
        "id": id, "tenant": "t", "where": { "node": nodes }, "backhaul": backhaul,
        "wifi": { "ssid": id, "security": { "mode": "open" }, "attachment": { "bridge": format!("br-{id}") } },
    })
}

/// Nodes n1, n2 ... in a row.
fn inventory(count: usize) -> Inventory {
    let node = |index: usize| {
        json!({ "name": format!("n{index}"), "address": format!("192.0.2.{index}"),
                "credential": "c", "host-key": "SHA256:x", "label": ["all"] })
    };
    let nodes: Vec<Value> = (1..=count).map(node).collect();
    Inventory::from_json(&json!({ "node": nodes })).expect("valid")
}

fn one_hub(node: &str) -> Value {
    json!({ "pool": "10.77.0.0/24", "hub": [{ "name": "h", "node": node, "priority": 1 }] })
}

/// With what the ends are given, after what was in force before.
fn given(before: &Intent, mut intent: Intent, inventory: &Inventory) -> Intent {
    let changed = allocate(before, &intent, inventory).expect("room for all");
    for (id, allocations) in changed {
        let slice = intent.slices.get_mut(&id).expect("ours");
        slice.backhaul.as_mut().expect("has one").allocations = allocations;
    }
    intent
}

fn compiled(intent: Intent, inventory: &Inventory) -> BTreeMap<NodeName, Tunnels> {
    let intent = given(&Intent::default(), intent, inventory);
    compile_tunnels(&intent, inventory).expect("valid")
}

/// Compiles and expects this fault first.
fn refuse(intent: Intent, inventory: &Inventory, path: &str, app_tag: &str) {
    let intent = given(&Intent::default(), intent, inventory);
    let errors = compile_tunnels(&intent, inventory).expect_err("must be refused");
    let found = (errors[0].path.as_str(), errors[0].kind.app_tag());
    assert_eq!(found, (path, app_tag), "{errors:#?}");
}

#[test]
fn spokes_call_hubs_and_hubs_call_nobody() {
    let nodes = compiled(
        intent(&[slice("a", &["n1", "n2"], one_hub("n3"))]),
        &inventory(3),
    );
    let hub = &nodes["n3"]["a"];
    assert_eq!((hub.role, hub.peers.len()), (Role::Hub, 2));
    assert!(hub.peers.values().all(|peer| peer.endpoint.is_none()));
    let spoke = &nodes["n1"]["a"];
    assert_eq!((spoke.role, spoke.peers.len()), (Role::Spoke, 1));
    let endpoint = spoke.peers["n3"].endpoint.expect("it is called");
    assert_eq!(endpoint.address.to_string(), "192.0.2.3");
    assert_eq!(
        spoke.peers["n3"].public_key, None,
        "keys are looked up later"
    );
}

#[test]
fn stations_have_a_subnet_at_every_node_with_access_points() {
    let mut backhaul = one_hub("n3");
    backhaul["client-pool"] = json!("10.80.0.0/16");
    let nodes = compiled(
        intent(&[slice("a", &["n1", "n2"], backhaul)]),
        &inventory(3),
    );
    let gateways = |node: &str| nodes[node]["a"].attachment.gateways.clone();
    assert_eq!(gateways("n1"), BTreeSet::from(["10.80.0.1/24".to_owned()]));
    assert_eq!(gateways("n2"), BTreeSet::from(["10.80.1.1/24".to_owned()]));
    assert_eq!(nodes["n3"]["a"].attachment, TunnelAttachment::default());
    let behind = &nodes["n3"]["a"].peers["n2"].allowed;
    assert_eq!(*behind, BTreeSet::from(["10.80.1.0/24".to_owned()]));
    let all = &nodes["n1"]["a"].peers["n3"].allowed;
    let expected = ["10.77.0.0/24".to_owned(), "10.80.0.0/16".to_owned()];
    assert_eq!(*all, BTreeSet::from(expected));
}

#[test]
fn a_mesh_has_a_tunnel_for_every_pair_and_sixteen_nodes() {
    let names: Vec<String> = (1..=17).map(|n| format!("n{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mesh = json!({ "topology": "mesh", "pool": "10.77.0.0/24" });
    let wanted = |count: usize| intent(&[slice("a", &names[..count], mesh.clone())]);
    let nodes = compiled(wanted(16), &inventory(17));
    assert!(nodes.values().all(|node| node["a"].peers.len() == 15));
    let path = "/tranche-slice:slices/slice[id='a']/backhaul/topology";
    refuse(wanted(17), &inventory(17), path, "mesh-too-large");
}

#[test]
fn two_slices_on_a_node_have_neither_a_vni_nor_a_bridge_in_common() {
    let layer_2 = |vni: u32| {
        let mut backhaul = one_hub("n3");
        backhaul["layer"] = json!("l2-vxlan");
        backhaul["vni"] = json!(vni);
        backhaul
    };
    let both = |vni: u32| {
        intent(&[
            slice("a", &["n1"], layer_2(7)),
            slice("b", &["n1"], layer_2(vni)),
        ])
    };
    let path = "/tranche-slice:slices/slice[id='b']/backhaul/vni";
    refuse(both(7), &inventory(3), path, "vni-clash");
    assert_eq!(
        compiled(both(8), &inventory(3))["n1"].len(),
        2,
        "one pool for both is no clash"
    );
    let mut same = slice("b", &["n1"], one_hub("n3"));
    same["wifi"]["attachment"]["bridge"] = json!("br-a");
    let two = intent(&[slice("a", &["n1"], one_hub("n3")), same]);
    let path = "/tranche-slice:slices/slice[id='b']/wifi/attachment/bridge";
    refuse(two, &inventory(3), path, "bridge-clash");
}

#[test]
fn a_hub_needs_to_be_there_and_an_address_to_be_called_at() {
    let wanted = |node: &str| intent(&[slice("a", &["n1"], one_hub(node))]);
    let path = "/tranche-slice:slices/slice[id='a']/backhaul/hub[name='h']/node";
    refuse(wanted("n9"), &inventory(3), path, "unknown-node");
    let mut nodes = inventory(3);
    nodes.nodes.get_mut("n3").expect("exists").config.enabled = false;
    refuse(wanted("n3"), &nodes, path, "node-disabled");
    let mut nodes = inventory(3);
    nodes.nodes.get_mut("n3").expect("exists").config.address = "n3.example".into();
    refuse(wanted("n3"), &nodes, path, "no-underlay-address");
    let underlay = &mut nodes.nodes.get_mut("n3").expect("exists").config.underlay;
    underlay.address = Some("198.51.100.3".parse().expect("an address"));
    assert_eq!(compiled(wanted("n3"), &nodes).len(), 2);
}

#[test]
fn who_stays_keeps_what_it_has_and_nobody_gets_what_just_went() {
    let nodes = inventory(4);
    let wanted = |on: &[&str]| intent(&[slice("a", on, one_hub("n4"))]);
    let address = |of: &Intent, node: &str| {
        let backhaul = of.slices["a"].backhaul.as_ref().expect("has one");
        backhaul.allocation(node).expect("is an end").address
    };
    let first = given(&Intent::default(), wanted(&["n2"]), &nodes);
    let second = given(&first, wanted(&["n1", "n2"]), &nodes);
    for node in ["n2", "n4"] {
        assert_eq!(address(&first, node), address(&second, node));
    }
    let third = given(&second, wanted(&["n1", "n3"]), &nodes);
    assert_eq!(address(&second, "n1"), address(&third, "n1"));
    assert_ne!(address(&second, "n2"), address(&third, "n3"));
    let again = given(&third, wanted(&["n1", "n3"]), &nodes);
    assert_eq!(again, third, "the same request changes nothing");
}

#[test]
fn ports_come_out_of_the_nodes_range_until_none_is_left() {
    let mut nodes = inventory(3);
    let underlay = &mut nodes.nodes.get_mut("n3").expect("exists").config.underlay;
    (underlay.first_port, underlay.last_port) = (Some(50_000), Some(50_001));
    let wanted = |count: usize| {
        let ids = ["a", "b", "c"];
        let slices: Vec<Value> = ids[..count]
            .iter()
            .map(|id| slice(id, &["n1"], one_hub("n3")))
            .collect();
        intent(&slices)
    };
    let tunnels = compiled(wanted(2), &nodes);
    let ports = |node: &str| {
        tunnels[node]
            .values()
            .map(|t| t.listen_port)
            .collect::<Vec<_>>()
    };
    assert_eq!(ports("n3"), [Some(50_000), Some(50_001)]);
    assert_eq!(ports("n1"), [None, None], "it has no range");
    let errors = allocate(&Intent::default(), &wanted(3), &nodes).expect_err("used up");
    assert_eq!(errors[0].kind, ErrorKind::PortsExhausted);
    assert_eq!(
        errors[0].path,
        "/tranche-inventory:inventory/node[name='n3']/underlay/last-port"
    );
}

#[test]
fn a_port_that_a_tunnel_receives_at_or_is_told_to_is_given_to_no_other() {
    let mut nodes = inventory(3);
    let hub = nodes.nodes.get_mut("n3").expect("exists");
    let underlay = &mut hub.config.underlay;
    (underlay.first_port, underlay.last_port) = (Some(50_000), Some(50_002));
    // Rotated by hand: it is told one and receives at the other.
    let key = OwnKey {
        listen_port: 50_001,
        ..OwnKey::default()
    };
    let ops = Tunnel {
        listen_port: Some(50_000),
        state: TunnelState {
            key: Some(key),
            ..TunnelState::default()
        },
        ..Tunnel::default()
    };
    let observed = hub.observed.insert(crate::inventory::Observed::default());
    observed.tunnels.insert("ops".to_owned(), ops);
    let tunnels = compiled(intent(&[slice("a", &["n1"], one_hub("n3"))]), &nodes);
    assert_eq!(tunnels["n3"]["a"].listen_port, Some(50_002));
}

#[test]
fn what_was_given_outside_of_the_pool_is_refused() {
    let mut backhaul = one_hub("n3");
    backhaul["allocation"] = json!([{ "name": "n1", "address": "10.99.0.1" }]);
    let path = "/tranche-slice:slices/slice[id='a']/backhaul/allocation[name='n1']/address";
    refuse(
        intent(&[slice("a", &["n1"], backhaul)]),
        &inventory(3),
        path,
        "outside-pool",
    );
}

#[test]
fn a_node_without_a_radio_is_an_end_of_tunnels_and_of_nothing_else() {
    let mut nodes = inventory(3);
    for node in nodes.nodes.values_mut() {
        node.observed = Some(crate::inventory::Observed::default());
    }
    let with = intent(&[slice("a", &["n1"], one_hub("n3"))]);
    let plans = crate::intent::compile(&with, &nodes).expect("it has tunnels");
    assert!(plans["n1"].vifs.is_empty());
    let mut without = with;
    without.slices.get_mut("a").expect("ours").backhaul = None;
    let errors = crate::intent::compile(&without, &nodes).expect_err("nothing to be on");
    assert_eq!(errors[0].kind.app_tag(), "selects-nothing");
}
