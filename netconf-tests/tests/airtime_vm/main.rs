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
use tranche_agent::backend::airtime::AirtimeBackend;
use tranche_agent::backend::airtime::bpf::BpfAirtime;
use tranche_agent::backend::wifi::nl80211::Nl80211;
use tranche_agent::backend::{Backend as _, NodeConfig};

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

async fn scheduler() -> BpfAirtime {
    BpfAirtime::new(Nl80211::connect().await.unwrap(), "vm").unwrap()
}

async fn change(airtime: &mut BpfAirtime, from: &NodeConfig, to: &NodeConfig) {
    let plan = airtime.plan(from, to).unwrap();
    airtime.apply(plan).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "needs mac80211_hwsim: run by make test-vm"]
async fn shares_are_kept_as_the_books_have_it() {
    let mut table = Table::default();
    let rig = Rig::new(2, &[0, 1, 1]);
    rig.set_rate(0, "6");
    rig.set_rate(1, "12");
    let both = || {
        [
            Flow::udp_down(&rig, 0, FLOOD),
            Flow::udp_down(&rig, 1, FLOOD),
        ]
    };

    let flows = both();
    tokio::time::sleep(SETTLE).await;
    let free_udp = rig.observe(LONG).await;
    table.row("no scheduler, UDP", &free_udp, None);
    drop(flows);

    let mut airtime = scheduler().await;
    let mut config = NodeConfig::default();
    for (a, b) in [(30, 70), (50, 50), (70, 30)] {
        let new = rig.config(&[(a, 100), (b, 100)]);
        change(&mut airtime, &config, &new).await;
        config = new;
        let flows = both();
        tokio::time::sleep(SETTLE).await;
        let got = rig.observe(LONG).await;
        table.row(
            &format!("{a}/{b} UDP"),
            &got,
            Some(&[f64::from(a), f64::from(b)]),
        );
        drop(flows);
        println!("{:?}", airtime.report().await.unwrap().radios[0]);
        println!("{:#?}", airtime.vifs().await.unwrap());
    }
    table.finish();
}
