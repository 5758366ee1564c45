//! The airtime scheduler in a real kernel, on simulated radios behind a contended medium, judged by the medium's books and
//! never by its own counters. Needs root, mac80211_hwsim with seven radios, sch_fq, hostapd, iw, iproute2 and bpftool: a
//! throw-away machine.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed; the table is for people"
)]

mod bench;
mod rig;

use std::time::{Duration, Instant};

use bench::{Bench, FLOOD, LONGER, SETTLE, put, scheduler};
use rig::Rig;
use tranche_agent::backend::airtime::{AirtimeBackend as _, Correction};
use tranche_agent::backend::wifi::kernel::{KernelSettings, KernelWifi};
use tranche_agent::backend::wifi::link::Links;
use tranche_agent::backend::wifi::nl80211::Nl80211;
use tranche_agent::backend::{Backend as _, NodeConfig, Ratio};
use tranche_tests::vm::shell::sh;
use tranche_tests::vm::table::is_sound;
use tranche_tests::vm::traffic::Flow;
use tranche_tests::wait::eventually;

const OWED: [(u32, u32); 2] = [(30, 100), (70, 100)];

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "needs mac80211_hwsim: run by make test-vm"]
async fn saturating_senders_get_what_they_are_owed() {
    let mut bench = Bench::slow_and_fast(&[0, 1]).await;
    let flows = bench.flood(2);
    let free = bench.measure("no scheduler, UDP", None, &flows).await;
    for (a, b) in [(30, 70), (50, 50), (70, 30)] {
        bench.schedule(&[(a, 100), (b, 100)]).await;
        let case = format!("{a}/{b}, UDP");
        let got = bench.measure(&case, Some(&[a, b]), &flows).await;
        bench.check_utilisation(&case, &free, &got);
        bench.check_period(&case, &got).await;
    }
    drop(flows);
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "needs mac80211_hwsim: run by make test-vm"]
async fn tcp_gets_what_it_is_owed() {
    let mut bench = Bench::slow_and_fast(&[0, 1]).await;
    let flows = bench.tcp(2);
    let free = bench.measure("no scheduler, TCP", None, &flows).await;
    drop(flows);
    bench.schedule(&OWED).await;
    let flows = bench.tcp(2);
    let case = "30/70, TCP";
    bench.window = LONGER;
    let got = bench.measure(case, Some(&[30, 70]), &flows).await;
    bench.check_utilisation(case, &free, &got);
    bench.check_period(case, &got).await;
    drop(flows);
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "needs mac80211_hwsim: run by make test-vm"]
async fn stations_that_send_take_nothing_from_one_tenant_alone() {
    let mut bench = Bench::slow_and_fast(&[0, 1, 1]).await;
    bench.schedule(&OWED).await;
    let mut flows = bench.flood(2);
    flows.push(bench.rig.udp_up(2, 200));
    let case = "30/70, UDP, with uplink contention";
    let got = bench.measure(case, Some(&[30, 70]), &flows).await;
    let up = got.up[1];
    bench.check(&got, up > 0.05, || {
        format!("the client sent only {up:.3} of the time")
    });
    drop(flows);
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "needs mac80211_hwsim: run by make test-vm"]
async fn tries_that_get_lost_are_charged_to_who_makes_them() {
    let mut bench = Bench::slow_and_fast(&[0, 1]).await;
    bench.rig.set_loss(0, 0.3).await;
    let flows = bench.flood(2);
    let case = "no scheduler, UDP, 30 % of the tries to A lost";
    let free = bench.measure(case, None, &flows).await;
    bench.schedule(&OWED).await;
    let case = "30/70, UDP, 30 % of the tries to A lost";
    bench.window = LONGER;
    let got = bench.measure(case, Some(&[30, 70]), &flows).await;
    bench.check_utilisation(case, &free, &got);
    drop(flows);
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "needs mac80211_hwsim: run by make test-vm"]
async fn a_light_tenant_loses_nothing() {
    let mut bench = Bench::slow_and_fast(&[0, 1]).await;
    bench.schedule(&OWED).await;
    let flows = [bench.rig.udp_down(0, FLOOD), bench.rig.udp_down(1, 60)];
    let case = "30/70, UDP, B light";
    let got = bench.measure(case, None, &flows).await;
    let (lost, rate) = (got.lost[1], got.frames[1] / got.time_s);
    bench.check(&got, lost == 0.0, || format!("B lost {lost} frames"));
    bench.check(&got, rate > 58.0, || {
        format!("B got {rate:.1} frames a second of 60")
    });
    let (all, rest) = (got.down[0], 0.84 - got.down[1]);
    bench.check(&got, all > rest, || {
        format!("A got {all:.3} of the time, and B left {rest:.3}")
    });
    drop(flows);
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "needs mac80211_hwsim: run by make test-vm"]
async fn a_client_that_moves_away_costs_its_own_tenant() {
    let mut bench = Bench::new(&["54", "12"], &[0, 1]).await;
    bench.schedule(&OWED).await;
    let flows = bench.flood(2);
    let case = "30/70, UDP, A at 54 Mbit/s";
    bench.measure(case, Some(&[30, 70]), &flows).await;
    bench.rig.set_rate(0, "6").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let moving = bench.rig.observe(SETTLE).await;
    println!("in the seconds after A moved: {moving:?}");
    let case = "30/70, UDP, A moved from 54 to 6 Mbit/s";
    bench.measure(case, Some(&[30, 70]), &flows).await;
    drop(flows);
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "needs mac80211_hwsim: run by make test-vm"]
async fn a_ceiling_holds_and_the_others_get_the_rest() {
    let mut bench = Bench::slow_and_fast(&[0, 1]).await;
    bench.schedule(&[(0, 20), (0, 100)]).await;
    let flows = bench.flood(2);
    let got = bench
        .measure("A at most 20 % of all time, UDP", None, &flows)
        .await;
    let (a, b) = (100.0 * got.down[0], 100.0 * got.down[1]);
    bench.check(&got, (a - 20.0).abs() < 1.0, || {
        format!("A got {a:.1} % of the time under a ceiling of 20 %")
    });
    bench.check(&got, b > 60.0, || {
        format!("B got {b:.1} % of the time, and A may not have more than 20 %")
    });
    drop(flows);
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "needs mac80211_hwsim: run by make test-vm"]
async fn a_wrong_idea_of_the_overhead_is_corrected_by_what_is_measured() {
    let mut bench = Bench::slow_and_fast(&[0, 1]).await;
    bench.mistake_overhead(Duration::from_micros(24)).await;
    bench.schedule(&OWED).await;
    let flows = bench.flood(2);
    let case = "30/70, UDP, overhead taken for a third";
    bench.measure(case, Some(&[30, 70]), &flows).await;
    drop(flows);
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "needs mac80211_hwsim: run by make test-vm"]
async fn an_idle_share_is_lent_and_given_back_within_two_intervals() {
    let mut bench = Bench::new(&["12", "12"], &[0, 1]).await;
    bench.schedule(&OWED).await;
    let _a = bench.rig.udp_down(0, FLOOD);
    let two_intervals = Duration::from_millis(200);
    for left in (0..4).rev() {
        let b = bench.rig.udp_down(1, FLOOD);
        tokio::time::sleep(SETTLE).await;
        // It sends no more from now on; that its receiver ends too takes as long as two intervals.
        let ending = std::thread::spawn(move || drop(b));
        // What fq holds of B leaves within max-delay; the rest of the two intervals is the scheduler's.
        tokio::time::sleep(two_intervals).await;
        let lent = bench.rig.observe(Duration::from_secs(1)).await;
        println!("B stopped: {lent:?}");
        ending.join().unwrap();
        let b = bench.rig.udp_down(1, FLOOD);
        tokio::time::sleep(two_intervals).await;
        let back = bench.rig.observe(Duration::from_secs(1)).await;
        println!("B began again: {back:?}");
        drop(b);
        if !is_sound(lent.late) || !is_sound(back.late) {
            println!(
                "the machine was too slow{}",
                if left > 0 {
                    ", once more"
                } else {
                    ": not judged"
                }
            );
            continue;
        }
        let shares = lent.shares();
        bench.check(&lent, shares[0] > 98.0 && lent.busy > 0.7, || {
            format!("B stopped: {lent:?}")
        });
        let shares = back.shares();
        bench.check(&back, (shares[1] - 70.0).abs() < 5.0, || {
            format!("B began again: {back:?}")
        });
        break;
    }
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "needs mac80211_hwsim: run by make test-vm"]
async fn six_tenants_get_what_they_are_owed() {
    let owed = [5, 10, 15, 20, 20, 30];
    let rates = ["6", "12", "24", "12", "6", "24"];
    let mut bench = Bench::new(&rates, &[0, 1, 2, 3, 4, 5]).await;
    bench.schedule(&owed.map(|min| (min, 100))).await;
    // Who is owed 30 % sends 500 frames a second in it.
    let flows: Vec<Flow> = (0..6)
        .map(|client| bench.rig.udp_down(client, 600))
        .collect();
    bench.measure("six tenants, UDP", Some(&owed), &flows).await;
    drop(flows);
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "needs mac80211_hwsim: run by make test-vm"]
async fn the_books_have_every_frame_of_hundreds_a_second() {
    let bench = Bench::new(&["54", "54"], &[0, 1]).await;
    let flows = [0, 1].map(|client| bench.rig.udp_down(client, 700));
    let received = || flows.iter().map(Flow::received).sum::<u64>();
    tokio::time::sleep(SETTLE).await;
    let (before, start) = (received(), Instant::now());
    let observed = bench.rig.observe(Duration::from_secs(10)).await;
    let arrived = (received() - before) as f64;
    let booked = observed.frames.iter().sum::<f64>();
    println!(
        "\nmedium: {:.0} frames a second of 1,400 bytes, late for {:.1} % of the time",
        booked / start.elapsed().as_secs_f64(),
        100.0 * observed.late
    );
    drop(flows);
    // A receiver that gets no processor loses what its socket has no room for.
    let most_lost = if is_sound(observed.late) { 0.02 } else { 0.5 };
    assert!(
        (arrived - booked).abs() < most_lost * booked && booked > 1_000.0,
        "{arrived} arrived, {booked} in the books"
    );
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "needs mac80211_hwsim: run by make test-vm"]
async fn the_scheduler_outlives_the_agent() {
    let rig = Rig::new(2, &[0, 1]).await;
    let programs = async || run("bpftool prog show | grep 'name airtime_' | cut -d: -f1").await;
    let mut airtime = scheduler().await;
    let mut config = NodeConfig::default();
    let wanted = rig.config(&OWED);
    put(&mut airtime, &mut config, wanted.clone()).await;
    let ids = programs().await;
    assert_eq!(ids.lines().count(), 4, "{ids}");
    let correction = Correction {
        vif: rig::vif(0),
        min_ratio: Some(Ratio::from_hundredths(2_000)),
        max_ratio: Some(Ratio::from_hundredths(5_000)),
    };
    airtime
        .correct(&[correction], Duration::from_secs(600))
        .await
        .unwrap();
    assert!(is_scheduled("t-a").await);
    drop(airtime);

    let mut airtime = scheduler().await;
    let repaired = airtime.reconcile(&wanted).await.unwrap().repaired;
    assert_eq!(repaired, [], "what runs is left alone");
    assert_eq!(programs().await, ids);
    let state = airtime.vifs().await.unwrap().remove(0);
    let (min, max) = (state.effective_min_ratio, state.effective_max_ratio);
    let corrected = [2_000, 5_000].map(Ratio::from_hundredths);
    assert_eq!([min, max], corrected, "the correction is still in force");

    // What somebody took away is put back.
    run("tc qdisc del dev t-b root; tc qdisc del dev t-b clsact").await;
    let repaired = airtime.reconcile(&wanted).await.unwrap().repaired;
    assert_eq!(repaired.len(), 1, "{repaired:?}");
    assert!(is_scheduled("t-b").await);
    put(&mut airtime, &mut config, NodeConfig::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "needs mac80211_hwsim: run by make test-vm"]
async fn twenty_access_points_come_and_go_and_leave_nothing_behind() {
    let before = Leftovers::now().await;
    let directory = tempfile::tempdir().unwrap();
    let settings = KernelSettings {
        runtime_dir: directory.path().to_owned(),
        ..KernelSettings::default()
    };
    let (nl80211, links) = (Nl80211::connect().await.unwrap(), Links::connect().unwrap());
    let mut wifi = KernelWifi::start(nl80211, links, settings).await.unwrap();
    let mut airtime = scheduler().await;
    let mut config = NodeConfig::default();
    let mut turn_into = async |new: NodeConfig| {
        let plan = wifi.plan(&config, &new).unwrap();
        wifi.apply(plan).await.unwrap();
        put(&mut airtime, &mut config, new).await;
    };
    let wiphy = rig::wiphys().remove(0);
    let keeper = rig::node(&wiphy, &["keeper"]);
    turn_into(keeper.clone()).await;
    let with_keeper = Leftovers::now().await;
    for cycle in 0..20 {
        let name = format!("x{cycle}");
        turn_into(rig::node(&wiphy, &["keeper", &name])).await;
        assert!(is_scheduled(&name).await);
        turn_into(keeper.clone()).await;
    }
    with_keeper
        .is_all_there_is("after twenty access points")
        .await;
    turn_into(NodeConfig::default()).await;
    drop((wifi, airtime));
    before.is_all_there_is("without any access point").await;
}

async fn is_scheduled(interface: &str) -> bool {
    let attached = run(&format!(
        "tc filter show dev {interface} egress; tc qdisc show dev {interface}"
    ))
    .await;
    attached.contains("airtime_egress") && attached.contains("qdisc fq ")
}

/// What an access point could leave behind.
#[derive(Debug, PartialEq, Eq)]
struct Leftovers {
    interfaces: String,
    qdiscs: String,
    programs: String,
    maps: String,
    pins: String,
    processes: String,
}

impl Leftovers {
    async fn now() -> Self {
        Self {
            interfaces: run("ls /sys/class/net").await,
            qdiscs: run("tc qdisc show | awk '{ print $2, $5 }' | sort").await,
            programs: run("bpftool prog show | grep -o 'name [^ ]*' | sort").await,
            maps: run("bpftool map show | grep -o 'name [^ ]*' | sort").await,
            pins: run("find /sys/fs/bpf | sort").await,
            // The kernel's own come and go.
            processes: run(
                "ps --ppid 2 -p 2 -N -o comm= | grep -vx -e sh -e ps -e grep -e sort | sort",
            )
            .await,
        }
    }

    /// Fails unless it is so within some seconds: the kernel frees some things in its own time.
    async fn is_all_there_is(&self, when: &str) {
        let what = format!("nothing left behind {when}");
        let limit = Duration::from_secs(10);
        eventually(&what, limit, async || {
            let now = Self::now().await;
            Ok(if now == *self {
                Ok(())
            } else {
                Err(format!("{now:#?} and not {self:#?}"))
            })
        })
        .await
        .unwrap();
    }
}

async fn run(line: &str) -> String {
    sh(line).await.unwrap()
}
