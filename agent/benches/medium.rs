//! What simulation and scheduling cost: simulated seconds for a second of the wall, and one decision of the scheduler.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use tranche_agent::backend::airtime::law::{Completion, RadioLaw, Settings, Verdict};
use tranche_agent::backend::sim::{Medium, MediumParams};
use tranche_agent::backend::{NodeConfig, Ratio, Registry};

/// A node with one radio at `x` metres, one access point, and a station that is saturated or idle.
fn node(x: usize, saturated: bool) -> NodeConfig {
    let json = serde_json::json!({
        "tranche-wifi:wifi": {
            "radio": [{"name": "phy0", "band": "5GHz", "channel": 36}],
            "vif": [{"name": "a", "radio": "phy0", "access-point": {
                "ssid": "a", "security": {"mode": "open"}}}],
        },
        "tranche-sim:sim": {
            "radio": [{"name": "phy0", "x": x.to_string()}],
            "station": [{"mac": "02:00:00:00:00:01", "ssid": "a", "saturated-down": saturated}],
        },
    });
    serde_json::from_value(json).expect("the configuration is well formed")
}

fn world(count: usize, apart_metres: usize, saturated: bool) -> Arc<Medium> {
    let medium = Medium::new(MediumParams::default());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    for index in 0..count {
        let mut registry = Registry::simulated(&medium, &format!("n{index}"));
        let config = node(index * apart_metres, saturated);
        for backend in registry.backends_mut() {
            runtime
                .block_on(backend.reconcile(&config))
                .expect("a node that can be built");
        }
    }
    medium.advance(Duration::from_secs(1));
    medium
}

/// Each iteration lets one second of simulated time pass: 20 ms mean 50 simulated seconds a second, 2 % of a core.
fn one_simulated_second(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("one simulated second");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(4));
    for (name, count, apart, saturated) in [
        ("2 saturated radios in range", 2, 10, true),
        ("1,000 idle nodes", 1_000, 10, false),
        (
            "1,000 saturated nodes, 10 in range of each",
            1_000,
            20,
            true,
        ),
    ] {
        let medium = world(count, apart, saturated);
        group.bench_function(name, |bencher| {
            bencher.iter(|| medium.advance(Duration::from_secs(1)));
        });
    }
    group.finish();
}

fn one_decision(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("airtime.h");
    for vifs in [2_usize, 32] {
        let mut law = RadioLaw::new(0, Settings::default());
        for slot in 0..vifs {
            law.set_vif(slot, 1000, Ratio::FULL);
        }
        let mut now_ns = 0;
        let mut slot = 0;
        group.bench_function(format!("admit and complete, {vifs} vifs"), |bencher| {
            bencher.iter(|| {
                now_ns += 250_000;
                slot = (slot + 1) % vifs;
                if let Verdict::Send { departure_ns } = law.admit(slot, now_ns, 230_000) {
                    let measured_ns = 240_000;
                    let done = Completion {
                        departure_ns,
                        estimated_ns: 230_000,
                        measured_ns,
                    };
                    law.complete(slot, now_ns + 500_000, done);
                }
                black_box(law.congestion_thousandths())
            });
        });
        group.bench_function(format!("admit, {vifs} vifs"), |bencher| {
            bencher.iter(|| {
                now_ns += 2_000;
                black_box(law.admit(slot, now_ns, 1_000))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, one_simulated_second, one_decision);
criterion_main!(benches);
