//! Access points with the scheduler under test, what is measured of them, and what was not as it should be.

use std::time::Duration;

use tranche_agent::backend::airtime::bpf::BpfAirtime;
use tranche_agent::backend::airtime::{AirtimeBackend as _, MeasurementSource};
use tranche_agent::backend::wifi::nl80211::Nl80211;
use tranche_agent::backend::{Backend as _, NodeConfig};
use tranche_tests::vm::table::{Row, is_sound};
use tranche_tests::vm::traffic::Flow;

use crate::rig::{Observed, Rig};

/// Until traffic and scheduler have settled.
pub(crate) const SETTLE: Duration = Duration::from_secs(5);
/// In which luck evens out where frames are sent one by one at a rate that does not change.
const LONG: Duration = Duration::from_secs(12);
/// The same for packets of many frames, and for losses: over 12 s, seven runs differed by up to 1.1 and 0.5 points.
pub(crate) const LONGER: Duration = Duration::from_secs(36);
/// Measurements, of which the first that says something is judged.
const TRIES: usize = 3;
/// More than the medium takes at any rate used here.
pub(crate) const FLOOD: u32 = 900;
/// Most that a tenant's share may be off, in points.
const TOLERANCE: f64 = 1.0;

/// A radio with access points, at first without a scheduler.
pub(crate) struct Bench {
    pub(crate) rig: Rig,
    /// How long one measurement takes.
    pub(crate) window: Duration,
    airtime: Option<BpfAirtime>,
    config: NodeConfig,
    faults: Vec<String>,
}

impl Bench {
    /// An access point for each rate, in Mbit/s, and clients of the given ones.
    pub(crate) async fn new(rates: &[&str], clients_of: &[usize]) -> Self {
        let rig = Rig::new(rates.len(), clients_of).await;
        for (tenant, rate) in rates.iter().enumerate() {
            rig.set_rate(tenant, rate).await;
        }
        Self {
            rig,
            window: LONG,
            airtime: None,
            config: NodeConfig::default(),
            faults: Vec::new(),
        }
    }

    /// One access point at 6 Mbit/s, one at 12.
    pub(crate) async fn slow_and_fast(clients_of: &[usize]) -> Self {
        Self::new(&["6", "12"], clients_of).await
    }

    /// The scheduler with what each tenant is owed, in percent, and its ceiling.
    pub(crate) async fn schedule(&mut self, owed: &[(u32, u32)]) {
        self.put(self.rig.config(owed)).await;
    }

    /// The scheduler with a wrong idea of what a frame takes beside its bits.
    pub(crate) async fn mistake_overhead(&mut self, overhead: Duration) {
        let nl80211 = Nl80211::connect().await.unwrap();
        let airtime = BpfAirtime::with_frame_overhead(nl80211, "vm", overhead);
        self.airtime = Some(airtime.unwrap());
    }

    pub(crate) async fn put(&mut self, new: NodeConfig) {
        if self.airtime.is_none() {
            self.airtime = Some(scheduler().await);
        }
        let airtime = self.airtime.as_mut().unwrap();
        put(airtime, &mut self.config, new).await;
    }

    /// As much as the medium takes to each client of the first access points.
    pub(crate) fn flood(&self, tenants: usize) -> Vec<Flow> {
        (0..tenants)
            .map(|client| self.rig.udp_down(client, FLOOD))
            .collect()
    }

    pub(crate) fn tcp(&self, tenants: usize) -> Vec<Flow> {
        (0..tenants)
            .map(|client| self.rig.tcp_down(client))
            .collect()
    }

    /// Measures a case while these flows last, and judges it by what each is owed, as soon as the machine was fast enough: a
    /// medium that was late says little of a scheduler. What is off is measured once more, and has to be right then: a fault of
    /// the law is there again, one of the emulated machine is not.
    pub(crate) async fn measure(
        &mut self,
        case: &str,
        owed: Option<&[u32]>,
        flows: &[Flow],
    ) -> Observed {
        assert!(!flows.is_empty(), "nobody sends");
        let owed = owed.map(|owed| owed.iter().map(|&one| f64::from(one)).collect());
        let (mut left, mut was_off) = (TRIES, false);
        let (observed, row) = loop {
            tokio::time::sleep(SETTLE).await;
            let observed = self.rig.observe(self.window).await;
            let row = Row {
                case: case.to_owned(),
                owed: Option::clone(&owed),
                got: observed.shares(),
                busy: observed.busy,
                late: observed.late,
            };
            left -= 1;
            let is_sound = is_sound(observed.late);
            let is_off = is_sound && row.error().is_some_and(|error| error > TOLERANCE);
            if left == 0 || (is_sound && (!is_off || was_off)) {
                break (observed, row);
            }
            was_off |= is_off;
            let why = if is_off {
                "off"
            } else {
                "the machine was too slow"
            };
            println!("{case}: {why}, once more: {row} {observed:?}");
        };
        println!("{row}");
        let error = row.error().unwrap_or_default();
        self.check(&observed, error <= TOLERANCE, || {
            format!("{case}: {error:.2} points off")
        });
        observed
    }

    /// Something has to be so, if the measurement says anything.
    pub(crate) fn check(
        &mut self,
        observed: &Observed,
        is_so: bool,
        otherwise: impl FnOnce() -> String,
    ) {
        if !is_so && is_sound(observed.late) {
            self.faults.push(otherwise());
        }
    }

    /// A scheduler costs at most five points of what the medium carries without one.
    pub(crate) fn check_utilisation(&mut self, case: &str, free: &Observed, got: &Observed) {
        let (busy, free_busy) = (100.0 * got.busy, 100.0 * free.busy);
        let is_so = busy > free_busy - 5.0 || !is_sound(free.late);
        self.check(got, is_so, || {
            format!("{case}: busy {busy:.1} % of the time, {free_busy:.1} % without a scheduler")
        });
    }

    /// Closes the reporting period: packets were held no longer than max-delay, and what they took is known from the rates of
    /// their tries.
    pub(crate) async fn check_period(&mut self, case: &str, observed: &Observed) {
        let airtime = self.airtime.as_ref().unwrap();
        airtime.report().await.unwrap();
        for state in airtime.vifs().await.unwrap() {
            let held_us = state.delay_p99_us;
            self.check(observed, held_us <= 50_000, || {
                format!("{case}: held {held_us} us")
            });
            let by_rates = |one: &tranche_agent::backend::airtime::Measurement| {
                one.source == MeasurementSource::Rates
            };
            let measured = &state.measurements;
            let is_so = measured.iter().all(by_rates) && !measured.is_empty();
            self.check(observed, is_so, || format!("{case}: {measured:?}"));
        }
    }

    /// Takes the scheduler away, and fails if something was not as it should be.
    pub(crate) async fn finish(mut self) {
        self.put(NodeConfig::default()).await;
        assert!(self.faults.is_empty(), "{:#?}", self.faults);
    }
}

pub(crate) async fn scheduler() -> BpfAirtime {
    BpfAirtime::new(Nl80211::connect().await.unwrap(), "vm").unwrap()
}

pub(crate) async fn put(airtime: &mut BpfAirtime, config: &mut NodeConfig, new: NodeConfig) {
    let plan = airtime.plan(config, &new).unwrap();
    airtime.apply(plan).await.unwrap();
    *config = new;
}
