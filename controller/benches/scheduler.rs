//! A round of the global scheduler over 10,000 radios with four virtual interfaces each: with reports as devices hand them
//! over, which share names and neighbours with the report before while these stay as they are; the same with a conflict graph that
//! changes in every round; and with reports that share nothing, as if every node were new.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use tranche_controller::scheduler::{
    Bssid, Neighbour, NetworkReport, Period, RadioId, RadioReport, Scheduler, Settings, Sla,
    SlaTable, VifReport,
};

const RADIOS: usize = 10_000;
const VIFS: usize = 4;
const SLICES: usize = 200;
/// Radios on a plane with one radio per unit of area; mean degree pi * 1.6^2 - 1, about 8.
const RANGE: f64 = 1.6;

fn uniform(state: &mut u64) -> f64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1u64 << 53) as f64
}

fn bssid(radio: usize, vif: usize) -> Bssid {
    let [.., a, b, c] = (radio as u32).to_be_bytes();
    Bssid([2, 0, a, b, c, vif as u8])
}

fn neighbours() -> Vec<Vec<usize>> {
    let mut seed = 88_172_645_463_325_252;
    let side = (RADIOS as f64).sqrt();
    let places: Vec<(f64, f64)> = (0..RADIOS)
        .map(|_| (uniform(&mut seed) * side, uniform(&mut seed) * side))
        .collect();
    let near = |a: usize, b: usize| {
        let (x, y) = (places[a].0 - places[b].0, places[a].1 - places[b].1);
        x * x + y * y < RANGE * RANGE
    };
    (0..RADIOS)
        .map(|i| (0..RADIOS).filter(|&j| i != j && near(i, j)).collect())
        .collect()
}

/// A report of all radios, with names and neighbours of `like` where there is one.
fn report(
    period: u64,
    near: &[Vec<usize>],
    seed: &mut u64,
    like: Option<&NetworkReport>,
) -> NetworkReport {
    let radios = (0..RADIOS).map(|radio| {
        let like = like.map(|like| &*like.radios[radio]);
        let vifs = (0..VIFS).map(|vif| {
            // Half of them are backlogged; one in a hundred changes its mind.
            let usually = (radio + vif) % 2 == 0;
            let backlogged = usually != (uniform(seed) < 0.01);
            let like = like.map(|like| &like.vifs[vif]);
            let slice = || format!("slice-{}", (radio / 8 * VIFS + vif) % SLICES).into();
            VifReport {
                name: like.map_or_else(|| format!("v{vif}").into(), |like| Arc::clone(&like.name)),
                slice: Some(
                    like.and_then(|like| like.slice.clone())
                        .unwrap_or_else(slice),
                ),
                bssid: Some(bssid(radio, vif)),
                used: if backlogged { 2.5 } else { 0.5 } * (0.95 + 0.1 * uniform(seed)),
                received: 0.0,
                backlogged,
                configured_min: 10.0,
                configured_max: 100.0,
                effective_max: None,
            }
        });
        let heard = || {
            let of = |&peer: &usize| {
                (0..VIFS).map(move |vif| Neighbour {
                    bssid: bssid(peer, vif),
                    signal_dbm: Some(-60),
                    age_ms: 0,
                })
            };
            near[radio].iter().flat_map(of).collect()
        };
        let id = || RadioId::new(&format!("node-{radio}"), "radio0");
        Arc::new(RadioReport {
            id: like.map_or_else(id, |like| like.id.clone()),
            ended: Period(period),
            channel: Some(36),
            busy: 85.0,
            vifs: vifs.collect(),
            neighbours: like.map_or_else(heard, |like| Arc::clone(&like.neighbours)),
        })
    });
    NetworkReport {
        radios: radios.collect(),
        cells: Vec::new(),
    }
}

fn rounds(criterion: &mut Criterion) {
    let near = neighbours();
    let mut seed = 7;
    let first = report(0, &near, &mut seed, None);
    let mut like = |like| -> Vec<NetworkReport> {
        (0..8)
            .map(|period| report(period, &near, &mut seed, like))
            .collect()
    };
    let name = "round of 10,000 radios, 40,000 vifs";
    round(criterion, name, &mut like(Some(&first)), false);
    let changed = format!("{name}, who contends changes");
    round(criterion, &changed, &mut like(Some(&first)), true);
    let anew = format!("{name}, nothing as before");
    round(criterion, &anew, &mut like(None), false);
}

/// Measures rounds over `reports` in turn; with `wander`, a radio changes its channel in each, and so the conflict graph.
fn round(criterion: &mut Criterion, name: &str, reports: &mut [NetworkReport], wander: bool) {
    let mut table = SlaTable::default();
    for slice in 0..SLICES {
        table.insert(
            &format!("slice-{slice}"),
            Sla {
                min_ratio: 2.0,
                ..Sla::default()
            },
        );
    }
    let mut scheduler = Scheduler::new(Settings::default());
    scheduler.step(Period(0), &reports[0], &table);
    let mut now = 0;
    let mut group = criterion.benchmark_group("scheduler");
    group
        .sample_size(30)
        .measurement_time(Duration::from_secs(8));
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|rounds| {
            let mut spent = Duration::ZERO;
            for _ in 0..rounds {
                now += 1;
                let input = &mut reports[now as usize % 8];
                for (at, radio) in input.radios.iter_mut().enumerate() {
                    if let Some(radio) = Arc::get_mut(radio) {
                        radio.ended = Period(now);
                        let away = wander && at == RADIOS / 2 && now % 2 == 0;
                        radio.channel = Some(if away { 40 } else { 36 });
                    }
                }
                let start = std::time::Instant::now();
                black_box(scheduler.step(Period(now), input, &table));
                spent += start.elapsed();
            }
            spent
        });
    });
    group.finish();
}

criterion_group!(benches, rounds);
criterion_main!(benches);
