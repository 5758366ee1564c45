//! The airtime scheduler in a real kernel, on simulated radios behind a contended medium, judged by the medium's books and
//! never by its own counters. Needs root, mac80211_hwsim with six radios, sch_fq, hostapd, iw and iproute2: a throw-away
//! machine.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed; the table is for people"
)]

mod rig;
mod traffic;

use std::time::Duration;

use rig::{Observed, Rig};
use traffic::Flow;
use tranche_agent::backend::airtime::bpf::BpfAirtime;
use tranche_agent::backend::airtime::{AirtimeBackend as _, Correction, MeasurementSource};
use tranche_agent::backend::wifi::nl80211::Nl80211;
use tranche_agent::backend::{Backend as _, NodeConfig, Ratio};

const SETTLE: Duration = Duration::from_secs(5);
const LONG: Duration = Duration::from_secs(12);
/// More than the medium takes at any rate used here.
const FLOOD: u64 = 900;

/// Rows of a table, and what was not as it should be.
#[derive(Default)]
struct Table {
    lines: Vec<String>,
    faults: Vec<String>,
}

impl Table {
    fn row(&mut self, name: &str, got: &Observed, owed: Option<&[f64]>) {
        let shares = got.shares();
        let list = |values: &[f64]| {
            values
                .iter()
                .map(|value| format!("{value:.1}"))
                .collect::<Vec<_>>()
                .join(" / ")
        };
        let error = owed.map(|owed| {
            shares
                .iter()
                .zip(owed)
                .map(|(got, owed)| (got - owed).abs())
                .fold(0.0, f64::max)
        });
        let line = format!(
            "| {name:38} | {:>12} | {:>18} | {:>5} | {:5.1} | {:5.1} |",
            owed.map_or_else(|| "-".to_owned(), list),
            list(&shares),
            error.map_or_else(|| "-".to_owned(), |error| format!("{error:.2}")),
            100.0 * got.busy,
            100.0 * got.slipped_s / (got.time_s + got.slipped_s),
        );
        println!("{line}");
        self.lines.push(line);
        if let Some(error) = error.filter(|error| *error > 1.0) {
            self.faults.push(format!("{name}: {error:.2} points off"));
        }
    }

    fn check(&mut self, is_so: bool, otherwise: impl FnOnce() -> String) {
        if !is_so {
            self.faults.push(otherwise());
        }
    }

    /// A scheduler costs at most five points of what the medium carries without one.
    fn utilisation(&mut self, name: &str, free: &Observed, got: &Observed) {
        self.check(got.busy > free.busy - 0.05, || {
            format!(
                "{name}: busy {:.1} % of the time, and {:.1} % without a scheduler",
                100.0 * got.busy,
                100.0 * free.busy
            )
        });
    }

    fn finish(self) {
        println!(
            "\n| case | owed, % | got, % | error | busy, % | slipped, % |\n|---|---|---|---|---|---|"
        );
        for line in &self.lines {
            println!("{line}");
        }
        assert!(self.faults.is_empty(), "{:#?}", self.faults);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "needs mac80211_hwsim: run by make test-vm"]
async fn shares_are_kept_as_the_books_have_it() {
    let mut table = Table::default();
    let rig = Rig::new(2, &[0, 1, 1]);
    rig.set_rate(0, "6");
    rig.set_rate(1, "12");
    let udp = || {
        vec![
            Flow::udp_down(&rig, 0, FLOOD),
            Flow::udp_down(&rig, 1, FLOOD),
        ]
    };
    let tcp = || vec![Flow::tcp_down(&rig, 0), Flow::tcp_down(&rig, 1)];

    let free = measure(&rig, udp()).await;
    table.row("no scheduler, UDP", &free, None);
    table.row("no scheduler, TCP", &measure(&rig, tcp()).await, None);

    let mut airtime = scheduler().await;
    let mut config = NodeConfig::default();
    for (a, b) in [(30, 70), (50, 50), (70, 30)] {
        put(&mut airtime, &mut config, rig.config(&[(a, 100), (b, 100)])).await;
        let got = measure(&rig, udp()).await;
        let name = format!("{a}/{b} UDP");
        table.row(&name, &got, Some(&[f64::from(a), f64::from(b)]));
        table.utilisation(&name, &free, &got);
        close_period(&airtime, &mut table, &name).await;
    }
    put(
        &mut airtime,
        &mut config,
        rig.config(&[(30, 100), (70, 100)]),
    )
    .await;
    table.row(
        "30/70 TCP",
        &measure(&rig, tcp()).await,
        Some(&[30.0, 70.0]),
    );
    let mut flows = udp();
    flows.push(Flow::udp_up(&rig, 2, 200));
    let uplink = measure(&rig, flows).await;
    table.row("30/70 with uplink contention", &uplink, Some(&[30.0, 70.0]));
    table.check(uplink.up[1] > 0.05, || {
        format!("the client sent only {:.3} of the time", uplink.up[1])
    });
    rig.set_loss(0, 0.3);
    table.row(
        "30/70, 30 % of tries to A lost",
        &measure(&rig, udp()).await,
        Some(&[30.0, 70.0]),
    );
    rig.set_loss(0, 0.0);

    let light = measure(
        &rig,
        vec![Flow::udp_down(&rig, 0, FLOOD), Flow::udp_down(&rig, 1, 60)],
    )
    .await;
    table.row("30/70, B light, A saturating", &light, None);
    table.check(light.lost[1] == 0, || {
        format!("the light tenant lost {} frames", light.lost[1])
    });
    table.check(light.frames[1] as f64 > 58.0 * light.time_s, || {
        format!("the light tenant got {} frames", light.frames[1])
    });
    table.check(light.down[0] > 0.9 * free.busy - light.down[1], || {
        format!("A got {:.3} of what B leaves", light.down[0])
    });

    rig.set_rate(0, "54");
    table.row(
        "30/70, A at 54 Mbit/s",
        &measure(&rig, udp()).await,
        Some(&[30.0, 70.0]),
    );
    let flows = udp();
    tokio::time::sleep(SETTLE).await;
    rig.set_rate(0, "6");
    tokio::time::sleep(Duration::from_secs(2)).await;
    table.row(
        "30/70, A from 54 to 6 Mbit/s in flow",
        &rig.observe(LONG).await,
        Some(&[30.0, 70.0]),
    );
    drop(flows);

    put(&mut airtime, &mut config, rig.config(&[(0, 20), (0, 100)])).await;
    let capped = measure(&rig, udp()).await;
    table.row("A under a ceiling of 20 % of all time", &capped, None);
    table.check((capped.down[0] - 0.2).abs() < 0.01, || {
        format!("A got {:.3} under a ceiling of 0.2", capped.down[0])
    });
    table.check(capped.down[1] > 0.5, || {
        format!("B got {:.3} of what A may not use", capped.down[1])
    });
    drop(airtime);

    let mut airtime = BpfAirtime::with_frame_overhead(
        Nl80211::connect().await.unwrap(),
        "vm",
        Duration::from_micros(28),
    )
    .unwrap();
    airtime.reconcile(&config).await.unwrap();
    put(
        &mut airtime,
        &mut config,
        rig.config(&[(30, 100), (70, 100)]),
    )
    .await;
    table.row(
        "30/70, overhead at a third of the truth",
        &measure(&rig, udp()).await,
        Some(&[30.0, 70.0]),
    );
    put(&mut airtime, &mut config, NodeConfig::default()).await;
    table.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "needs mac80211_hwsim: run by make test-vm"]
async fn an_idle_share_is_lent_and_given_back_within_two_intervals() {
    let rig = Rig::new(2, &[0, 1]);
    let mut airtime = scheduler().await;
    let mut config = NodeConfig::default();
    rig.set_rate(0, "12");
    rig.set_rate(1, "12");
    put(
        &mut airtime,
        &mut config,
        rig.config(&[(30, 100), (70, 100)]),
    )
    .await;
    let a = Flow::udp_down(&rig, 0, FLOOD);
    let b = Flow::udp_down(&rig, 1, FLOOD);
    tokio::time::sleep(SETTLE).await;
    let two_intervals = Duration::from_millis(200);
    drop(b);
    // What fq holds of B leaves within max-delay; the rest of the two intervals is the scheduler's.
    tokio::time::sleep(two_intervals).await;
    let lent = rig.observe(Duration::from_secs(1)).await;
    println!("B stopped: {lent:?}");
    let b = Flow::udp_down(&rig, 1, FLOOD);
    tokio::time::sleep(two_intervals).await;
    let back = rig.observe(Duration::from_secs(1)).await;
    println!("B began again: {back:?}");
    drop((a, b));
    put(&mut airtime, &mut config, NodeConfig::default()).await;
    assert!(lent.shares()[0] > 98.0 && lent.busy > 0.7, "{lent:?}");
    assert!((back.shares()[1] - 70.0).abs() < 5.0, "{back:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "needs mac80211_hwsim: run by make test-vm"]
async fn six_tenants_get_what_they_are_owed() {
    let mut table = Table::default();
    let owed = [5, 10, 15, 20, 20, 30];
    let rig = Rig::new(6, &[0, 1, 2, 3, 4, 5]);
    let mut airtime = scheduler().await;
    let mut config = NodeConfig::default();
    for (tenant, rate) in ["6", "12", "24", "12", "6", "24"].into_iter().enumerate() {
        rig.set_rate(tenant, rate);
    }
    put(
        &mut airtime,
        &mut config,
        rig.config(&owed.map(|min| (min, 100))),
    )
    .await;
    let flows = (0..6)
        .map(|client| Flow::udp_down(&rig, client, 400))
        .collect();
    table.row(
        "six tenants",
        &measure(&rig, flows).await,
        Some(&owed.map(f64::from)),
    );
    put(&mut airtime, &mut config, NodeConfig::default()).await;
    table.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "needs mac80211_hwsim: run by make test-vm"]
async fn the_scheduler_outlives_the_agent_and_leaves_nothing_behind() {
    let rig = Rig::new(2, &[0, 1]);
    let programs = || {
        rig::sh("bpftool prog show | grep -c 'name airtime_' || true")
            .trim()
            .to_owned()
    };
    let mut airtime = scheduler().await;
    let mut config = NodeConfig::default();
    let wanted = rig.config(&[(30, 100), (70, 100)]);
    put(&mut airtime, &mut config, wanted.clone()).await;
    assert_eq!(programs(), "4");
    let correction = Correction {
        vif: rig::vif(0),
        min_ratio: Some(Ratio::from_hundredths(2_000)),
        max_ratio: Some(Ratio::from_hundredths(5_000)),
    };
    airtime
        .correct(&[correction], Duration::from_secs(600))
        .await
        .unwrap();
    let attached = rig::sh("tc filter show dev t-a egress; tc qdisc show dev t-a");
    assert!(
        attached.contains("airtime_egress") && attached.contains("qdisc fq "),
        "{attached}"
    );
    let ids = rig::sh("bpftool prog show | grep 'name airtime_' | cut -d: -f1");
    drop(airtime);

    let mut airtime = scheduler().await;
    let repaired = airtime.reconcile(&wanted).await.unwrap().repaired;
    assert_eq!(repaired, [], "what runs is left alone");
    assert_eq!(
        rig::sh("bpftool prog show | grep 'name airtime_' | cut -d: -f1"),
        ids
    );
    let state = airtime.vifs().await.unwrap().remove(0);
    assert_eq!(
        state.effective_min_ratio,
        Ratio::from_hundredths(2_000),
        "the correction is still in force"
    );
    assert_eq!(state.effective_max_ratio, Ratio::from_hundredths(5_000));

    // An access point that is made anew gets the scheduler again without being asked for.
    rig::sh("tc qdisc del dev t-b root; tc qdisc del dev t-b clsact");
    let repaired = airtime.reconcile(&wanted).await.unwrap().repaired;
    assert_eq!(repaired.len(), 1, "{repaired:?}");
    for _ in 0..20 {
        rig::sh("iw dev t-b interface add t-x type __ap");
        let mut vifs = wanted.clone();
        let mut extra = vifs.wifi.vifs[0].clone();
        extra.name = "t-x".to_owned();
        extra.airtime.min_ratio = Ratio::ZERO;
        vifs.wifi.vifs.push(extra);
        put(&mut airtime, &mut config, vifs).await;
        assert!(rig::sh("tc filter show dev t-x egress").contains("airtime_egress"));
        rig::sh("iw dev t-x del");
        put(&mut airtime, &mut config, wanted.clone()).await;
    }
    put(&mut airtime, &mut config, NodeConfig::default()).await;
    drop(airtime);
    assert_eq!(programs(), "0");
    assert!(
        !rig::exists("/sys/fs/bpf/tranche"),
        "{}",
        rig::sh("find /sys/fs/bpf")
    );
    assert_eq!(
        rig::sh("bpftool map show | grep -c -e settings -e radios -e stations || true").trim(),
        "0"
    );
    let left = rig::sh("tc qdisc show dev t-a; tc qdisc show dev t-b");
    assert!(
        !left.contains("clsact") && !left.contains("qdisc fq "),
        "{left}"
    );
}

/// What the books have of some time with these flows, after they settled.
async fn measure(rig: &Rig, flows: Vec<Flow>) -> Observed {
    tokio::time::sleep(SETTLE).await;
    let observed = rig.observe(LONG).await;
    drop(flows);
    observed
}

async fn scheduler() -> BpfAirtime {
    BpfAirtime::new(Nl80211::connect().await.unwrap(), "vm").unwrap()
}

async fn put(airtime: &mut BpfAirtime, config: &mut NodeConfig, new: NodeConfig) {
    let plan = airtime.plan(config, &new).unwrap();
    airtime.apply(plan).await.unwrap();
    *config = new;
}

/// Closes the reporting period: packets were held no longer than max-delay.
async fn close_period(airtime: &BpfAirtime, table: &mut Table, name: &str) {
    airtime.report().await.unwrap();
    for state in airtime.vifs().await.unwrap() {
        table.check(state.delay_p99_us <= 50_000, || {
            format!("{name}: held {} us", state.delay_p99_us)
        });
        let sources = state
            .measurements
            .iter()
            .all(|one| one.source == MeasurementSource::Rates);
        table.check(sources && !state.measurements.is_empty(), || {
            format!("{name}: {:?}", state.measurements)
        });
    }
}
