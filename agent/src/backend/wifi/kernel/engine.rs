//! The task that carries orders out, one after the other, and watches over what runs in between.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::super::hostapd::Status;
use super::super::link::Links;
use super::super::nl80211::{Interface, Nl80211};
use super::{KernelSettings, Target, View, lock, wanted};
use crate::backend::wifi::Role;
use crate::backend::{Refusal, Step};

/// How often what runs is looked at.
const WATCH: Duration = Duration::from_millis(500);

/// How often radios listen for their neighbours; the controller forgets who was silent for 10 s, the kernel after 30 s.
const LISTEN: Duration = Duration::from_secs(3);

/// Delay after the first death of a daemon, doubled by each that follows.
const FIRST_DELAY: Duration = Duration::from_millis(500);

/// Longest such delay.
const LONGEST_DELAY: Duration = Duration::from_secs(60);

/// What has run for so long died of something new.
const STABLE: Duration = Duration::from_secs(120);

/// What to do about something that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Take everything back.
    AllOrNothing,
    /// Go on with the rest, and say what failed.
    WhatCan,
}

/// Something to carry out.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) wanted: Target,
    pub(super) mode: Mode,
    pub(super) reply: oneshot::Sender<Result<Done, Refusal>>,
}

/// What was done.
#[derive(Debug)]
pub(super) struct Done {
    /// What was wanted before.
    pub(super) before: Target,
    /// What it took.
    pub(super) steps: Vec<Step>,
}

/// When a radio's daemons are started again.
#[derive(Debug, Clone, Copy)]
struct Backoff {
    delay: Duration,
    next: Instant,
}

/// Everything the task needs.
pub(super) struct Engine {
    pub(super) nl80211: Nl80211,
    pub(super) links: Links,
    pub(super) settings: Arc<KernelSettings>,
    pub(super) view: Arc<Mutex<View>>,
    backoffs: BTreeMap<String, Backoff>,
    /// When the radios listen next.
    listen: Instant,
    repairs: broadcast::Sender<Vec<Step>>,
}

impl Engine {
    pub(super) fn new(
        (nl80211, links): (Nl80211, Links),
        settings: Arc<KernelSettings>,
        view: Arc<Mutex<View>>,
        repairs: broadcast::Sender<Vec<Step>>,
    ) -> Self {
        Self {
            nl80211,
            links,
            settings,
            view,
            backoffs: BTreeMap::new(),
            listen: Instant::now(),
            repairs,
        }
    }

    /// Serves until nobody can send orders any more.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Order>) {
        let mut ticks = interval(WATCH);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                order = queue.recv() => match order {
                    Some(order) => {
                        let done = self.serve(order.wanted, order.mode).await;
                        // Who does not wait for the answer any more does not need it.
                        drop(order.reply.send(done));
                        self.watch().await;
                    }
                    None => return,
                },
                _ = ticks.tick() => self.watch().await,
            }
        }
    }

    async fn serve(&mut self, wanted: Target, mode: Mode) -> Result<Done, Refusal> {
        let before = lock(&self.view).target.clone();
        let done = self.carry_out(wanted, mode).await;
        match (done, mode) {
            (Ok(steps), _) => Ok(Done { before, steps }),
            (Err(refusal), Mode::WhatCan) => Err(refusal),
            (Err(refusal), Mode::AllOrNothing) => {
                match self.carry_out(before, Mode::WhatCan).await {
                    Ok(_) => Err(refusal),
                    Err(worse) => {
                        let message = format!(
                            "{}; what ran before could not be brought back: {worse}",
                            refusal.message
                        );
                        Err(Refusal::new(refusal.path, message))
                    }
                }
            }
        }
    }

    /// Looks after each radio that should have a hostapd.
    async fn watch(&mut self) {
        let target = lock(&self.view).target.clone();
        let mut stations = BTreeMap::new();
        let mut starting = Vec::new();
        for radio in target.wifi.radios.iter().filter(|radio| radio.enabled) {
            if !self.meshes_are_well(&target, &radio.name).await {
                self.bring_back(&radio.name, &target).await;
            }
            let is_access_point = |role: &Role| matches!(role, Role::AccessPoint(_));
            let mut vifs = target.wifi.vifs_of(&radio.name);
            if !vifs.any(|vif| vif.enabled && is_access_point(&vif.role)) {
                continue;
            }
            let hostapd = wanted::hostapd(&self.settings, &radio.name);
            let status = match hostapd.status().await {
                Ok(status) if is_well(&status) => status,
                _ => {
                    self.bring_back(&radio.name, &target).await;
                    continue;
                }
            };
            if status.state == "DFS" {
                starting.push(radio.name.clone());
            }
            for bss in status.bsses {
                stations.insert(bss.name, u32::from(bss.stations));
            }
            if let Err(error) = hostapd.trim_log() {
                tracing::warn!(radio = radio.name, %error, "hostapd's log can't be shortened");
            }
        }
        self.listen(&target).await;
        let mut view = lock(&self.view);
        view.stations = stations;
        view.starting = starting;
    }

    /// Whether the authentication daemon of each mesh point that needs one runs.
    async fn meshes_are_well(&self, target: &Target, radio: &str) -> bool {
        for vif in target.wifi.vifs_of(radio).filter(|vif| vif.enabled) {
            if let Role::MeshPoint(mesh) = &vif.role
                && mesh.passphrase.is_some()
                && !wanted::supplicant(&self.settings, &vif.name)
                    .is_joined()
                    .await
            {
                return false;
            }
        }
        true
    }

    /// Has each radio listen for the neighbours on its channel, which its stations do not notice.
    async fn listen(&mut self, target: &Target) {
        if Instant::now() < self.listen {
            return;
        }
        self.listen = Instant::now() + LISTEN;
        let interfaces = self.nl80211.interfaces().await.unwrap_or_default();
        for wiphy in self.nl80211.known_wiphys().iter().filter(|one| one.ap_scan) {
            let is_ours =
                |one: &&Interface| one.wiphy == wiphy.index && target.wifi.vif(&one.name).is_some();
            let in_service = interfaces.iter().filter(is_ours);
            let mut channels = in_service.filter_map(|one| Some((one.ifindex, one.channel?)));
            let Some((ifindex, channel)) = channels.next() else {
                continue;
            };
            let heard = self.nl80211.scan(ifindex, &[channel.primary_mhz()]).await;
            if let Err(error) = heard {
                tracing::debug!(radio = wiphy.name, %error, "the radio does not listen for neighbours");
            }
        }
    }

    /// Starts daemons again that should run, unless it has just been tried.
    async fn bring_back(&mut self, radio: &str, target: &Target) {
        let now = Instant::now();
        let delay = match self.backoffs.get(radio) {
            Some(backoff) if now < backoff.next => return,
            Some(backoff) if now < backoff.next + STABLE => backoff.delay,
            _ => {
                tracing::warn!(
                    radio,
                    "a daemon of this radio has ended or does not answer: it is started again"
                );
                FIRST_DELAY
            }
        };
        let backoff = Backoff {
            delay: (delay * 2).min(LONGEST_DELAY),
            next: now + delay,
        };
        self.backoffs.insert(radio.to_owned(), backoff);
        match self.carry_out(target.clone(), Mode::WhatCan).await {
            Ok(steps) => {
                for step in &steps {
                    tracing::info!(radio, path = step.path, "{}", step.action);
                }
                // Nobody need listen.
                drop(self.repairs.send(steps));
            }
            Err(refusal) => {
                tracing::error!(radio, %refusal, "what should run could not be brought back");
            }
        }
    }
}

fn is_well(status: &Status) -> bool {
    matches!(status.state.as_str(), "ENABLED" | "DFS")
}
