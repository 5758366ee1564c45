//! One case for each thing that is refused, with the node at fault.

use serde_json::{Value, json};

use super::*;
use crate::backend::backhaul::key::PrivateKey;

const TUNNEL: &str = "/tranche-backhaul:backhaul/tunnel[slice='a']";

fn key() -> String {
    PrivateKey::generate().public().to_string()
}

/// A tunnel of a spoke with an edge and a data centre, changed by `change`.
fn tunnel(change: impl FnOnce(&mut Value)) -> Value {
    let mut tunnel = json!({
        "slice": "a",
        "role": "spoke",
        "address": ["10.77.0.9"],
        "listen-port": 51820,
        "peer": [
            {
                "name": "edge",
                "public-key": key(),
                "endpoint": { "address": "192.0.2.1", "port": 51820 },
                "tunnel-address": "10.77.0.1",
                "allowed-prefix": ["10.20.0.0/16"],
                "priority": 1,
            },
            {
                "name": "dc",
                "public-key": key(),
                "endpoint": { "address": "192.0.2.2", "port": 51820 },
                "tunnel-address": "10.77.0.2",
                "allowed-prefix": ["10.20.0.0/16"],
                "priority": 2,
            },
        ],
        "probe": { "interval": 50, "misses": 3, "hold-down": 30 },
    });
    change(&mut tunnel);
    tunnel
}

fn verdict_of(tunnels: Vec<Value>, own: &OwnKeys) -> Checked {
    verdict_after(&BackhaulConfig::default(), &backhaul(tunnels), own)
}

fn verdict_after(before: &BackhaulConfig, config: &BackhaulConfig, own: &OwnKeys) -> Checked {
    check(config, before, &WifiConfig::default(), own)
}

fn backhaul(tunnels: Vec<Value>) -> BackhaulConfig {
    serde_json::from_value(json!({ "tunnel": tunnels })).unwrap()
}

/// What a tunnel has that receives at these ports, the first being that of the key in force.
fn receiving(ports: &[u16]) -> Own {
    let keys = ports.iter().map(|port| OwnKey {
        public_key: PrivateKey::generate().public(),
        port: *port,
    });
    Own {
        keys: keys.collect(),
        configured_port: None,
    }
}

/// The refusal of a changed tunnel: the path below the tunnel, and the words.
fn refused(change: impl FnOnce(&mut Value)) -> (String, String) {
    let refusal = verdict_of(vec![tunnel(change)], &OwnKeys::new()).unwrap_err();
    assert_eq!(refusal.why, Why::BadValue, "{refusal}");
    let below = refusal.path.strip_prefix(TUNNEL).unwrap().to_owned();
    (below, refusal.message)
}

#[test]
fn a_tunnel_that_makes_sense_passes() {
    verdict_of(vec![tunnel(|_| {})], &OwnKeys::new()).unwrap();
}

#[test]
fn keys_that_protect_nothing_are_refused() {
    let (path, message) = refused(|t| {
        t["peer"][0]["public-key"] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".into();
    });
    assert_eq!(path, "/peer[name='edge']/public-key");
    assert_eq!(message, "a key of zeros is no key");
    let (path, message) = refused(|t| {
        let low = "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        t["peer"][1]["next"] = json!({ "public-key": low });
    });
    assert_eq!(path, "/peer[name='dc']/next/public-key");
    assert!(message.contains("low order"), "{message}");
}

#[test]
fn ones_own_key_is_no_peer() {
    let own = PrivateKey::generate().public();
    let mut keys = receiving(&[51820]);
    keys.keys[0].public_key = own;
    let changed = tunnel(|t| t["peer"][0]["public-key"] = own.to_string().into());
    let keys = OwnKeys::from([("a".to_owned(), keys)]);
    let refusal = verdict_of(vec![changed], &keys).unwrap_err();
    assert_eq!(
        refusal.path,
        format!("{TUNNEL}/peer[name='edge']/public-key")
    );
    assert_eq!(refusal.message, "this is the key of this node itself");
}

#[test]
fn the_next_key_of_one_peer_is_not_that_of_another() {
    let (path, message) = refused(|t| {
        t["peer"][1]["next"] = json!({ "public-key": t["peer"][0]["public-key"] });
    });
    assert_eq!(path, "/peer[name='edge']/public-key");
    assert_eq!(message, "this is the key of peer dc too");
    // The same key again is a peer that does not rotate.
    let same =
        tunnel(|t| t["peer"][1]["next"] = json!({ "public-key": t["peer"][1]["public-key"] }));
    verdict_of(vec![same], &OwnKeys::new()).unwrap();
}

#[test]
fn prefixes_of_two_peers_overlap_only_if_the_peers_stand_in_for_each_other() {
    let (path, message) = refused(|t| {
        t["peer"][1]["priority"] = Value::Null;
        t["peer"][1]["allowed-prefix"] = json!(["10.20.7.0/24"]);
    });
    assert_eq!(path, "/peer[name='dc']/allowed-prefix[.='10.20.7.0/24']");
    assert_eq!(message, "it overlaps 10.20.0.0/16 of peer edge");
    let (_, message) = refused(|t| t["peer"][1]["priority"] = 1.into());
    assert!(
        message.ends_with("which has the same priority"),
        "{message}"
    );
    let (path, message) = refused(|t| {
        t["peer"][1]["allowed-prefix"] = json!(["10.20.0.0/16", "10.30.0.0/16"]);
    });
    assert_eq!(path, "/peer[name='dc']/allowed-prefix[.='10.20.0.0/16']");
    assert!(message.ends_with("need the same prefixes"), "{message}");
}

#[test]
fn a_prefix_with_host_bits_says_what_is_meant() {
    let (path, message) = refused(|t| t["peer"][0]["allowed-prefix"] = json!(["10.20.0.1/16"]));
    assert_eq!(path, "/peer[name='edge']/allowed-prefix[.='10.20.0.1/16']");
    assert!(message.contains("10.20.0.0/16 is meant"), "{message}");
    let (_, message) = refused(|t| t["peer"][0]["allowed-prefix"] = json!(["300.0.0.0/8"]));
    assert!(message.starts_with("'300.0.0.0/8' is not"), "{message}");
}

#[test]
fn only_a_spoke_has_a_default_route() {
    let default = |role: &'static str| {
        move |t: &mut Value| {
            t["role"] = role.into();
            for peer in 0..2 {
                t["peer"][peer]["allowed-prefix"] = json!(["0.0.0.0/0", "::/0"]);
            }
        }
    };
    verdict_of(vec![tunnel(default("spoke"))], &OwnKeys::new()).unwrap();
    for role in ["hub", "standby-hub", "member"] {
        let (path, message) = refused(default(role));
        assert_eq!(path, "/peer[name='edge']/allowed-prefix[.='0.0.0.0/0']");
        assert!(message.ends_with("only a spoke may have one"), "{message}");
    }
    let (path, message) = refused(|t| {
        default("spoke")(t);
        t["management"] = json!({ "port": [830] });
    });
    assert_eq!(path, "/peer[name='edge']/allowed-prefix[.='0.0.0.0/0']");
    assert!(message.contains("management tunnel"), "{message}");
}

#[test]
fn a_prefix_does_not_cover_an_endpoint() {
    let (path, message) = refused(|t| {
        t["peer"][1]["priority"] = Value::Null;
        t["peer"][1]["allowed-prefix"] = json!(["192.0.2.0/24"]);
    });
    assert_eq!(path, "/peer[name='dc']/allowed-prefix[.='192.0.2.0/24']");
    assert_eq!(message, "the endpoint 192.0.2.1 is in this prefix");
}

#[test]
fn a_prefix_is_not_the_address_of_another_peer() {
    let (path, message) = refused(|t| {
        t["peer"][0]["priority"] = Value::Null;
        t["peer"][0]["allowed-prefix"] = json!(["10.77.0.2/32"]);
    });
    assert_eq!(path, "/peer[name='edge']/allowed-prefix[.='10.77.0.2/32']");
    assert_eq!(message, "10.77.0.2 is the address of peer dc");
    for fine in ["10.77.0.1/32", "10.77.0.2/31"] {
        let fine = tunnel(|t| {
            t["peer"][1]["priority"] = Value::Null;
            t["peer"][1]["allowed-prefix"] = json!([]);
            t["peer"][0]["allowed-prefix"] = json!([fine]);
        });
        verdict_of(vec![fine], &OwnKeys::new()).unwrap();
    }
}

/// A management tunnel with one peer: where it is called, its address, what is behind it.
fn of_node(slice: &str, endpoint: &str, address: &str, prefixes: &[&str]) -> Value {
    json!({
        "slice": slice,
        "role": "spoke",
        "address": ["10.99.9.9"],
        "management": { "port": [830] },
        "peer": [{
            "name": "office",
            "public-key": key(),
            "endpoint": { "address": endpoint, "port": 51820 },
            "tunnel-address": address,
            "allowed-prefix": prefixes,
        }],
    })
}

#[test]
fn a_management_tunnel_does_not_take_the_way_to_the_peers_of_other_tunnels() {
    let verdict = |address: &str, prefixes: &[&str]| {
        let management = of_node("m", "198.51.100.1", address, prefixes);
        // Their order is nothing to go by.
        let first = verdict_of(vec![management.clone(), tunnel(|_| {})], &OwnKeys::new());
        let last = verdict_of(vec![tunnel(|_| {}), management], &OwnKeys::new());
        assert_eq!(first.is_ok(), last.is_ok());
        last
    };
    verdict("10.99.0.1", &["10.99.0.0/16"]).unwrap();
    let at = "/tranche-backhaul:backhaul/tunnel[slice='m']/peer[name='office']";
    let refusal = verdict("10.99.0.1", &["192.0.2.0/24"]).unwrap_err();
    assert_eq!(
        refusal.path,
        format!("{at}/allowed-prefix[.='192.0.2.0/24']")
    );
    assert_eq!(
        refusal.message,
        "the endpoint 192.0.2.1 of slice a would be called through this tunnel"
    );
    let refusal = verdict("192.0.2.2", &[]).unwrap_err();
    assert_eq!(refusal.path, format!("{at}/tunnel-address"));
    let refusal = verdict("198.51.100.1", &[]).unwrap_err();
    assert_eq!(refusal.path, format!("{at}/tunnel-address"));
    assert_eq!(
        refusal.message,
        "the endpoint 198.51.100.1 would be called through this tunnel"
    );
    // In a namespace of its own, a tunnel takes nobody's way.
    let elsewhere = tunnel(|t| {
        t["slice"] = "b".into();
        t["listen-port"] = 1.into();
        for peer in 0..2 {
            t["peer"][peer]["endpoint"]["address"] = "203.0.113.1".into();
            t["peer"][peer]["allowed-prefix"] = json!(["192.0.2.0/24"]);
        }
    });
    verdict_of(vec![tunnel(|_| {}), elsewhere], &OwnKeys::new()).unwrap();
}

#[test]
fn two_management_tunnels_lead_to_places_of_their_own() {
    let verdict = |address: &str, prefixes: &[&str]| {
        let one = of_node("m", "198.51.100.1", "10.99.0.1", &["10.98.0.0/16"]);
        let other = of_node("n", "198.51.100.2", address, prefixes);
        verdict_of(vec![one, other], &OwnKeys::new())
    };
    // A host beside what it is in.
    verdict("10.98.0.7", &["10.99.0.0/16"]).unwrap();
    let at = "/tranche-backhaul:backhaul/tunnel[slice='n']/peer[name='office']";
    for prefix in ["10.98.0.0/16", "10.98.7.0/24", "10.96.0.0/14"] {
        let refusal = verdict("10.99.0.2", &[prefix]).unwrap_err();
        assert_eq!(refusal.path, format!("{at}/allowed-prefix[.='{prefix}']"));
        assert_eq!(
            refusal.message,
            "it overlaps 10.98.0.0/16 of slice m, which is a management tunnel too"
        );
    }
    let refusal = verdict("10.99.0.1", &[]).unwrap_err();
    assert_eq!(refusal.path, format!("{at}/tunnel-address"));
    verdict("10.99.0.2", &["10.99.0.1/32"]).unwrap_err();
}

#[test]
fn an_endpoint_is_somewhere() {
    for nowhere in ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255"] {
        let (path, message) = refused(|t| t["peer"][0]["endpoint"]["address"] = nowhere.into());
        assert_eq!(path, "/peer[name='edge']/endpoint/address");
        assert_eq!(message, format!("nobody can be called at {nowhere}"));
    }
    let (path, _) = refused(|t| t["peer"][0]["endpoint"]["port"] = 0.into());
    assert_eq!(path, "/peer[name='edge']/endpoint/port");
}

#[test]
fn addresses_in_the_tunnel_are_of_one_host_each() {
    let (path, _) = refused(|t| t["peer"][1]["tunnel-address"] = "10.77.0.1".into());
    assert_eq!(path, "/peer[name='dc']/tunnel-address");
    let (path, message) = refused(|t| t["peer"][0]["tunnel-address"] = "10.77.0.9".into());
    assert_eq!(path, "/peer[name='edge']/tunnel-address");
    assert_eq!(message, "10.77.0.9 is the address of this node itself");
    let (path, _) = refused(|t| t["address"] = json!(["127.0.0.1"]));
    assert_eq!(path, "/address[.='127.0.0.1']");
}

#[test]
fn a_port_that_another_tunnel_chose_is_taken() {
    let own = OwnKeys::from([("b".to_owned(), receiving(&[51820]))]);
    let other = tunnel(|t| {
        t["slice"] = "b".into();
        t["listen-port"] = Value::Null;
    });
    let refusal = verdict_of(vec![tunnel(|_| {}), other], &own).unwrap_err();
    assert_eq!(refusal.path, format!("{TUNNEL}/listen-port"));
    assert_eq!(
        refusal.message,
        "the tunnel of slice b receives at port 51820"
    );
}

#[test]
fn a_port_that_a_rotation_has_left_may_be_somebody_elses() {
    let other = || {
        tunnel(|t| {
            t["slice"] = "b".into();
            t["listen-port"] = Value::Null;
        })
    };
    let before = backhaul(vec![tunnel(|_| {}), other()]);
    let elsewhere = tunnel(|t| t["mtu"] = 1300.into());
    let after = backhaul(vec![elsewhere, other()]);
    let mut own = OwnKeys::from([
        ("a".to_owned(), receiving(&[60000])),
        ("b".to_owned(), receiving(&[50000, 51820])),
    ]);
    verdict_after(&before, &after, &own).unwrap();
    // Of a tunnel that receives there it is not.
    own.insert("a".to_owned(), receiving(&[51820]));
    let refusal = verdict_after(&before, &after, &own).unwrap_err();
    assert_eq!(refusal.path, format!("{TUNNEL}/listen-port"));
}

#[test]
fn what_vxlan_leaves_must_fit() {
    let layer_2 = |mtu: u16| {
        move |t: &mut Value| {
            t["layer"] = "l2-vxlan".into();
            t["vni"] = 7.into();
            t["mtu"] = mtu.into();
        }
    };
    verdict_of(vec![tunnel(layer_2(626))], &OwnKeys::new()).unwrap();
    let (path, message) = refused(layer_2(625));
    assert_eq!(path, "/mtu");
    assert!(message.starts_with("VXLAN leaves 575 octets"), "{message}");
    let (path, _) = refused(|t| {
        t["address"] = json!(["fd00::9"]);
        t["mtu"] = 1279.into();
    });
    assert_eq!(path, "/mtu");
}

#[test]
fn attachments_of_two_slices_are_apart() {
    let attached = |slice: &'static str, port: u16, attachment: Value| {
        tunnel(move |t| {
            t["slice"] = slice.into();
            t["listen-port"] = port.into();
            t["attachment"] = attachment;
        })
    };
    let verdict = |one: Value, other: Value| {
        let tunnels = vec![attached("a", 1, one), attached("b", 2, other)];
        verdict_of(tunnels, &OwnKeys::new())
    };
    let bridge = json!({ "bridge": "br0" });
    verdict(json!({ "bridge": "br0", "vlan": 5 }), bridge.clone()).unwrap();
    let refusal = verdict(bridge.clone(), bridge.clone()).unwrap_err();
    assert!(
        refusal.path.ends_with("[slice='b']/attachment/bridge"),
        "{refusal}"
    );
    let refusal = verdict(bridge, json!({ "interface": "br0" })).unwrap_err();
    assert!(
        refusal.path.ends_with("[slice='b']/attachment/interface"),
        "{refusal}"
    );
    let gateway = json!({ "bridge": "br0", "gateway": ["0.0.0.0/8"] });
    let refusal = verdict(gateway, json!({})).unwrap_err();
    assert!(
        refusal.path.ends_with("/attachment/gateway[.='0.0.0.0/8']"),
        "{refusal}"
    );
}
