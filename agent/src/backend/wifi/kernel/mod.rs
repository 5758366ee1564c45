//! Real radios: nl80211 for what the kernel does, hostapd for access points, one process for each radio.
//!
//! [`KernelWifi`] is a handle; one task carries out what it is asked, one thing after the other, and watches over what runs:
//! a hostapd that died is brought back with all its access points (with a growing delay while that fails). Everything goes
//! from what is found to what is wanted, so that applying, undoing, repairing after a restart of the agent and repairing
//! after a crash of hostapd are the same way:
//!
//! ```text
//! look at kernel and hostapd --> take away what is not wanted --> add and change --> read back
//! ```
//! The agent leaves everything running when it ends: stations stay associated, and the next agent adopts it.

mod access_points;
mod carry_out;
mod check;
mod engine;
mod found;
mod mesh;
mod observe;
mod read_back;
mod switch;
mod wanted;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use super::diff::{self, Judge};
use super::link::Links;
use super::nl80211::{Nl80211, Wiphy};
use super::{RadioConfig, RadioState, VifConfig, VifState, WifiBackend, WifiConfig};
use crate::backend::{
    Applied, Backend, BoxFuture, MacAddress, NodeConfig, Plan, Reconciled, Refusal, Step,
};

use check::Machine;
use engine::{Engine, Mode, Order};

const DOMAIN: &str = "wifi";

/// Orders that may wait for the one in progress.
const QUEUE: usize = 16;

/// What [`KernelWifi`] needs to know of the machine.
#[derive(Debug, Clone)]
pub struct KernelSettings {
    /// Directory for the files of the running daemons, as in `/run/tranche`; lost with the machine's start.
    pub runtime_dir: PathBuf,
    /// The program to run as hostapd.
    pub hostapd: String,
    /// The program to run as wpa_supplicant.
    pub supplicant: String,
}

impl Default for KernelSettings {
    fn default() -> Self {
        Self {
            runtime_dir: PathBuf::from("/run/tranche"),
            hostapd: "hostapd".to_owned(),
            supplicant: "wpa_supplicant".to_owned(),
        }
    }
}

/// What is to run: a configuration with the address of each interface.
#[derive(Debug, Clone, Default, PartialEq)]
struct Target {
    wifi: WifiConfig,
    addresses: BTreeMap<String, MacAddress>,
}

/// What the task tells those who ask.
#[derive(Debug, Default)]
struct View {
    /// What it was told last.
    target: Target,
    /// Why an interface is not up.
    faults: BTreeMap<String, String>,
    /// Associated stations as of the last look.
    stations: BTreeMap<String, u32>,
    /// Radios that wait for the end of a radar check.
    starting: Vec<String>,
    /// Regulatory domain in force.
    country: String,
}

/// The radios of this machine. Clones are handles of the same.
#[derive(Debug, Clone)]
pub struct KernelWifi {
    nl80211: Nl80211,
    settings: Arc<KernelSettings>,
    view: Arc<Mutex<View>>,
    orders: mpsc::Sender<Order>,
    repairs: broadcast::Sender<Vec<Step>>,
    _task: Arc<AbortOnDropHandle<()>>,
}

impl KernelWifi {
    /// Takes charge of the radios that `nl80211` shows. Changes nothing before it is told what is wanted; what an earlier
    /// agent left running stays.
    ///
    /// # Errors
    /// A [`Refusal`] when the kernel can't be asked, or the runtime directory is too long for the address of a socket.
    pub async fn start(
        nl80211: Nl80211,
        links: Links,
        settings: KernelSettings,
    ) -> Result<Self, Refusal> {
        check::runtime_dir(&settings.runtime_dir)?;
        let country = nl80211.regulatory_domain().await;
        let view = View {
            country: country.map_err(|error| Refusal::new("/", error.to_string()))?,
            ..View::default()
        };
        let view = Arc::new(Mutex::new(view));
        let settings = Arc::new(settings);
        let (orders, queue) = mpsc::channel(QUEUE);
        let (repairs, _) = broadcast::channel(QUEUE);
        let engine = Engine::new(
            (nl80211.clone(), links),
            Arc::clone(&settings),
            Arc::clone(&view),
            repairs.clone(),
        );
        let task = tokio::spawn(engine.run(queue));
        Ok(Self {
            nl80211,
            settings,
            view,
            orders,
            repairs,
            _task: Arc::new(AbortOnDropHandle::new(task)),
        })
    }

    /// What it took each time to bring back what died, from now on.
    #[must_use]
    pub fn repairs(&self) -> broadcast::Receiver<Vec<Step>> {
        self.repairs.subscribe()
    }

    /// Whether there is a hostapd to run.
    #[must_use]
    pub fn has_hostapd(&self) -> bool {
        check::is_installed(&self.settings.hostapd)
    }

    /// Whether there is a wpa_supplicant to run.
    #[must_use]
    pub fn has_supplicant(&self) -> bool {
        check::is_installed(&self.settings.supplicant)
    }

    fn view(&self) -> MutexGuard<'_, View> {
        lock(&self.view)
    }

    async fn order(&self, wanted: Target, mode: Mode) -> Result<engine::Done, Refusal> {
        let stopping = || Refusal::new("/", "the agent is stopping");
        let (reply, answer) = oneshot::channel();
        let order = Order {
            wanted,
            mode,
            reply,
        };
        self.orders.send(order).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())?
    }

    fn machine(&self) -> Machine<'_> {
        Machine {
            wiphys: self.nl80211.known_wiphys(),
            country: self.view().country.clone(),
            settings: &self.settings,
        }
    }
}

fn lock(view: &Mutex<View>) -> MutexGuard<'_, View> {
    view.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Knows what a change costs on this machine.
struct KernelJudge<'a> {
    stations: BTreeMap<String, u32>,
    wiphys: &'a [Wiphy],
    old: &'a WifiConfig,
    new: &'a WifiConfig,
}

impl Judge for KernelJudge<'_> {
    fn stations(&self, vif: &str) -> u32 {
        self.stations.get(vif).copied().unwrap_or_default()
    }

    fn restarts(&self, old: &VifConfig, new: &VifConfig) -> bool {
        wanted::restarts((self.old, old), (self.new, new))
    }

    fn takes_along(&self, old: &RadioConfig, new: &RadioConfig) -> bool {
        let Some(wiphy) = self.wiphys.iter().find(|wiphy| wiphy.name == new.name) else {
            return false;
        };
        let text = |wifi: &WifiConfig, radio: &RadioConfig| {
            wanted::radio_text(wiphy, radio, &wifi.country, Path::new("/")).ok()
        };
        match (text(self.old, old), text(self.new, new)) {
            (Some(from), Some(to)) if old.enabled && new.enabled => {
                wanted::channel_switch(wiphy, &from, &to, new).is_some()
            }
            _ => false,
        }
    }
}

impl Backend for KernelWifi {
    fn domain(&self) -> &'static str {
        DOMAIN
    }

    fn plan(&self, old: &NodeConfig, new: &NodeConfig) -> Result<Plan, Refusal> {
        let machine = self.machine();
        if let Some(fault) = check::faults(&machine, &new.wifi).into_iter().next() {
            return Err(fault.refusal);
        }
        let judge = KernelJudge {
            stations: self.view().stations.clone(),
            wiphys: &machine.wiphys,
            old: &old.wifi,
            new: &new.wifi,
        };
        let mut steps = diff::steps(&judge, &old.wifi, &new.wifi);
        if old.wifi.country != new.wifi.country
            && let Some(step) = steps.first_mut()
        {
            // Every access point says in its beacons which country it is in.
            step.cost = diff::cost(judge.stations.values().sum());
        }
        Ok(Plan::new(DOMAIN, steps, old, new))
    }

    fn apply(&mut self, plan: Plan) -> BoxFuture<'_, Result<Applied, Refusal>> {
        Box::pin(async move {
            let wanted = Target {
                wifi: plan.new_config().wifi.clone(),
                addresses: BTreeMap::new(),
            };
            let done = self.order(wanted, Mode::AllOrNothing).await?;
            Ok(Applied::new(DOMAIN, done.before))
        })
    }

    fn undo(&mut self, applied: Applied) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(async move {
            let before = applied.into_memory::<Target>(DOMAIN)?;
            self.order(before, Mode::AllOrNothing).await.map(drop)
        })
    }

    fn reconcile(&mut self, wanted: &NodeConfig) -> BoxFuture<'_, Result<Reconciled, Refusal>> {
        let wanted = Target {
            wifi: wanted.wifi.clone(),
            addresses: BTreeMap::new(),
        };
        Box::pin(async move {
            let done = self.order(wanted, Mode::WhatCan).await?;
            Ok(Reconciled {
                repaired: done.steps,
            })
        })
    }
}

impl WifiBackend for KernelWifi {
    fn radios(&self) -> BoxFuture<'_, Result<Vec<RadioState>, Refusal>> {
        Box::pin(observe::radios(self))
    }

    fn vifs(&self) -> BoxFuture<'_, Result<Vec<VifState>, Refusal>> {
        Box::pin(observe::vifs(self))
    }
}

#[cfg(test)]
mod tests;
