//! The airtime scheduler in the kernel of a node with real radios: `bpf/airtime.bpf.c`, at every vif that is configured.
//!
//! Owns which vif has which place in the program's maps, and that a vif has the program as long as it exists and no longer.
//! The kernel keeps everything that matters: after a restart the agent finds its programs at work and its corrections in
//! force, and with nothing to schedule nothing is left in the kernel.

mod attach;
mod kernel;
#[cfg(test)]
mod replay;
mod sync;

use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Weak};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::{Mutex, broadcast::error::RecvError};
use tokio_util::task::AbortOnDropHandle;

use super::hardware::{FRAME_OVERHEAD_NS, Hardware};
use super::period::Periods;
use super::table::{AirtimeTable, check, configured, correct_one, merged, steps};
use super::{AirtimeBackend, AirtimeReport, Correction, RadioAirtimeState, VifAirtimeState};
use crate::backend::wifi::WifiConfig;
use crate::backend::wifi::nl80211::{Event, Nl80211};
use crate::backend::{Applied, Backend, BoxFuture, NodeConfig, Plan, Reconciled, Refusal};
use kernel::Kernel;

const DOMAIN: &str = "airtime";
const NAME: &str = "bpf";
const WIFI: &str = "/tranche-wifi:wifi";

/// The airtime scheduler of a node, in its kernel. Clones are handles of the same.
#[derive(Debug, Clone)]
pub struct BpfAirtime {
    inner: Arc<Inner>,
    _watch: Arc<AbortOnDropHandle<()>>,
}

#[derive(Debug)]
struct Inner {
    node: String,
    frame_overhead_ns: u64,
    nl80211: Nl80211,
    rtnetlink: rtnetlink::Handle,
    /// Inode number of the network namespace.
    netns: u32,
    state: Mutex<State>,
    _connection: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct State {
    table: AirtimeTable,
    wifi: WifiConfig,
    /// The program, while there is something to schedule.
    kernel: Option<Arc<Kernel>>,
    hardware: Hardware,
    periods: Periods,
}

impl BpfAirtime {
    /// The scheduler of `node`, whose name tells its pins from those of others on this machine. Loads nothing: the program
    /// goes into the kernel with the first vif. Needs a runtime.
    ///
    /// # Errors
    /// A [`Refusal`] that says what this kernel lacks, or that there is no netlink socket.
    pub fn new(nl80211: Nl80211, node: impl Into<String>) -> Result<Self, Refusal> {
        let usual = Duration::from_nanos(FRAME_OVERHEAD_NS);
        Self::with_frame_overhead(nl80211, node, usual)
    }

    /// As [`BpfAirtime::new`], with another estimate of what a frame takes beside its bits. A wrong one is corrected by what
    /// is measured, as far as the driver measures.
    ///
    /// # Errors
    /// As [`BpfAirtime::new`].
    pub fn with_frame_overhead(
        nl80211: Nl80211,
        node: impl Into<String>,
        frame_overhead: Duration,
    ) -> Result<Self, Refusal> {
        kernel::check_kernel().map_err(refusal)?;
        let (connection, rtnetlink, _) = rtnetlink::new_connection()
            .map_err(|error| refusal(format!("no netlink socket: {error}")))?;
        let netns = std::fs::metadata("/proc/self/ns/net")
            .map_err(|error| refusal(format!("cannot read the network namespace: {error}")))?;
        let state = State {
            table: AirtimeTable::default(),
            wifi: WifiConfig::default(),
            kernel: None,
            hardware: Hardware::new(nl80211.clone()),
            periods: Periods::new(),
        };
        let inner = Arc::new(Inner {
            node: node.into(),
            frame_overhead_ns: frame_overhead.as_nanos() as u64,
            netns: netns.ino() as u32,
            rtnetlink,
            state: Mutex::new(state),
            _connection: AbortOnDropHandle::new(tokio::spawn(connection)),
            nl80211,
        });
        let watch = tokio::spawn(watch(Arc::downgrade(&inner), inner.nl80211.events()));
        Ok(Self {
            inner,
            _watch: Arc::new(AbortOnDropHandle::new(watch)),
        })
    }

    /// Puts a configuration in force and says what was before. Corrections of interfaces whose ratios stay survive.
    async fn carry_out(&self, wifi: &WifiConfig) -> Result<(AirtimeTable, WifiConfig), Refusal> {
        let mut state = self.inner.state.lock().await;
        let before = (state.table.clone(), state.wifi.clone());
        state.table = merged(&before.0, wifi);
        state.wifi = wifi.clone();
        let Err(refusal) = self.inner.sync(&mut state).await else {
            return Ok(before);
        };
        (state.table, state.wifi) = before;
        if let Err(again) = self.inner.sync(&mut state).await {
            tracing::error!(%again, "the airtime scheduler is not as it was before a change that failed");
        }
        Err(refusal)
    }
}

impl Backend for BpfAirtime {
    fn domain(&self) -> &'static str {
        DOMAIN
    }

    fn plan(&self, old: &NodeConfig, new: &NodeConfig) -> Result<Plan, Refusal> {
        check(&new.wifi)?;
        let scheduled = |name: &str| {
            new.wifi
                .radio(name)
                .is_some_and(|radio| radio.scheduler.enabled)
        };
        if let Some(vif) = new.wifi.vifs.iter().find(|vif| scheduled(&vif.radio)) {
            kernel::check_kernel().map_err(|why| {
                Refusal::new(format!("{WIFI}/vif[name='{}']/airtime", vif.name), why)
            })?;
        }
        Ok(Plan::new(
            DOMAIN,
            steps(&configured(&old.wifi), &new.wifi),
            old,
            new,
        ))
    }

    fn apply(&mut self, plan: Plan) -> BoxFuture<'_, Result<Applied, Refusal>> {
        Box::pin(async move {
            let before = self.carry_out(&plan.new_config().wifi).await?;
            Ok(Applied::new(DOMAIN, before))
        })
    }

    fn undo(&mut self, applied: Applied) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(async move {
            let before = applied.into_memory::<(AirtimeTable, WifiConfig)>(DOMAIN)?;
            let mut state = self.inner.state.lock().await;
            (state.table, state.wifi) = before;
            self.inner.sync(&mut state).await
        })
    }

    fn reconcile(&mut self, wanted: &NodeConfig) -> BoxFuture<'_, Result<Reconciled, Refusal>> {
        let wifi = wanted.wifi.clone();
        Box::pin(async move {
            check(&wifi)?;
            let mut state = self.inner.state.lock().await;
            let found = self.inner.recover(&mut state).await?;
            let mut repaired = steps(&found, &wifi);
            state.table = merged(&found, &wifi);
            state.wifi = wifi;
            for vif in self.inner.sync_counting(&mut state).await? {
                let path = format!("{WIFI}/vif[name='{vif}']/airtime");
                if repaired.iter().all(|step| step.path != path) {
                    repaired.push(sync::step(path, format!("schedule vif {vif}")));
                }
            }
            Ok(Reconciled { repaired })
        })
    }
}

impl AirtimeBackend for BpfAirtime {
    fn correct(
        &self,
        corrections: &[Correction],
        lifetime: Duration,
    ) -> BoxFuture<'_, Result<(), Refusal>> {
        let corrections = corrections.to_vec();
        Box::pin(async move {
            let lifetime_ns = u64::try_from(lifetime.as_nanos())
                .unwrap_or(u64::MAX / 4)
                .min(u64::MAX / 4);
            let end_ns = now_ns() + lifetime_ns;
            let mut state = self.inner.state.lock().await;
            let mut table = state.table.clone();
            for correction in &corrections {
                correct_one(&mut table, correction, end_ns)?;
            }
            let before = std::mem::replace(&mut state.table, table);
            let Err(refusal) = self.inner.sync(&mut state).await else {
                return Ok(());
            };
            state.table = before;
            Err(refusal)
        })
    }

    fn report(&self) -> BoxFuture<'_, Result<AirtimeReport, Refusal>> {
        Box::pin(async {
            let mut state = self.inner.state.lock().await;
            // What an event did not tell: a qdisc that somebody else replaced, for one.
            self.inner.sync(&mut state).await?;
            let snapshot = self.inner.snapshot(&state).await?;
            let State {
                table,
                wifi,
                hardware,
                periods,
                kernel,
            } = &mut *state;
            let (report, stations) = periods.close(hardware, wifi, table, snapshot).await?;
            if let Some(kernel) = kernel {
                sync::tell_rates(kernel, &stations).map_err(refusal)?;
            }
            Ok(report)
        })
    }

    fn radios(&self) -> BoxFuture<'_, Result<Vec<RadioAirtimeState>, Refusal>> {
        Box::pin(async { Ok(self.inner.state.lock().await.periods.radios(NAME)) })
    }

    fn vifs(&self) -> BoxFuture<'_, Result<Vec<VifAirtimeState>, Refusal>> {
        Box::pin(async {
            let mut state = self.inner.state.lock().await;
            lapse(&mut state.table);
            Ok(state.periods.vifs(&state.table))
        })
    }
}

/// Puts the program on vifs that appear and takes it off those that go, until the scheduler is gone.
async fn watch(inner: Weak<Inner>, mut events: tokio::sync::broadcast::Receiver<Event>) {
    loop {
        match events.recv().await {
            Ok(
                Event::InterfaceAdded { .. }
                | Event::InterfaceRemoved { .. }
                | Event::ChannelSwitched { .. }
                | Event::Missed,
            ) => {}
            Err(RecvError::Lagged(_)) => {}
            Ok(_) => continue,
            Err(RecvError::Closed) => return,
        }
        let Some(inner) = inner.upgrade() else { return };
        let mut state = inner.state.lock().await;
        if let Err(refusal) = inner.sync(&mut state).await {
            tracing::warn!(%refusal, "an interface is not scheduled");
        }
    }
}

/// Ceilings whose time is over are no more; the kernel knows by itself.
fn lapse(table: &mut AirtimeTable) {
    let now = now_ns();
    for owed in table.vifs.values_mut() {
        owed.corrected_max = owed.corrected_max.filter(|(_, until)| *until > now);
    }
}

/// The clock of the program and of fq.
fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

fn refusal(why: impl Into<String>) -> Refusal {
    Refusal::new(WIFI, why)
}
