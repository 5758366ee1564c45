//! Compilation of 1,000 slices onto 1,000 nodes with two radios each.

use std::collections::BTreeSet;
use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use tranche_controller::intent::{
    AccessPoint, Airtime, Intent, Place, Ratio, Security, SecurityMode, Slice, SliceSla, compile,
};
use tranche_controller::inventory::{Inventory, Node, NodeConfig, Observed, Radio};

const NODES: usize = 1_000;
const SLICES: usize = 1_000;
/// Nodes a slice is on; with two radios each, 16,000 virtual interfaces in all.
const SPREAD: usize = 8;

fn node(number: usize) -> Node {
    let neighbour = |offset: usize| {
        (
            format!("node-{}", (number + offset) % NODES),
            "radio0".to_owned(),
        )
    };
    let radio = |band: &str, hears| Radio {
        band: band.into(),
        channel: Some(36),
        max_vifs: Some(16),
        hears,
    };
    Node {
        config: NodeConfig {
            name: format!("node-{number}"),
            enabled: true,
            address: "192.0.2.1".into(),
            port: 830,
            credential: "default".into(),
            host_key: "SHA256:x".into(),
            site: Some(format!("site-{}", number / 10)),
            labels: BTreeSet::new(),
            underlay: Default::default(),
        },
        observed: Some(Observed {
            radios: [
                (
                    "radio0".to_owned(),
                    radio("5GHz", (1..5).map(neighbour).collect()),
                ),
                ("radio1".to_owned(), radio("2.4GHz", BTreeSet::new())),
            ]
            .into(),
            ..Observed::default()
        }),
    }
}

fn slice(number: usize) -> Slice {
    Slice {
        id: format!("slice-{number}"),
        tenant: format!("tenant-{}", number / 10),
        enabled: true,
        sla: SliceSla {
            airtime: Airtime {
                min_ratio: Ratio::from_percent(1.0),
                max_ratio: Ratio::FULL,
            },
            ..SliceSla::default()
        },
        place: Place {
            nodes: (0..SPREAD)
                .map(|n| format!("node-{}", (number * 7 + n * 125) % NODES))
                .collect(),
            ..Place::default()
        },
        wifi: Some(AccessPoint {
            ssid: format!("network {number}"),
            hidden: false,
            max_stations: None,
            station_isolation: true,
            roaming: Default::default(),
            attachment: Default::default(),
            security: Security {
                mode: SecurityMode::Open,
                ..Security::default()
            },
        }),
        ran: None,
        backhaul: None,
        some_unread: false,
        steering: Default::default(),
    }
}

fn compile_all(criterion: &mut Criterion) {
    let inventory = Inventory {
        nodes: (0..NODES)
            .map(node)
            .map(|node| (node.config.name.clone(), node))
            .collect(),
        ..Inventory::default()
    };
    let intent = Intent {
        slices: (0..SLICES)
            .map(slice)
            .map(|slice| (slice.id.clone(), slice))
            .collect(),
    };
    let plans = compile(&intent, &inventory).expect("a valid intent");
    assert_eq!(
        plans.values().map(|plan| plan.vifs.len()).sum::<usize>(),
        SLICES * SPREAD * 2
    );
    criterion.bench_function("compile/1,000 slices on 1,000 nodes", |bencher| {
        bencher.iter(|| black_box(compile(&intent, &inventory)));
    });
}

criterion_group!(benches, compile_all);
criterion_main!(benches);
