//! The real radios of this machine: opened once for a node, with one clear sentence for each thing that is missing.
//!
//! Owns the preflight and the choice of implementations; what is missing takes its domain out of service and nothing
//! else ([`super::absent`]). Also the news of what happens to the hardware behind the agent's back ([`News`]).

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::Deserialize;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::Step;
use super::absent::{AbsentAirtime, AbsentBackhaul, AbsentSteering, AbsentWifi};
use super::airtime::AirtimeBackend;
use super::airtime::mac80211::Mac80211Airtime;
use super::backhaul::{Backhaul, BackhaulBackend};
use super::ran::RanBackend;
use super::ran::absent::AbsentRan;
use super::ran::srsran::{SrsRan, SrsRanSettings};
use super::steering::SteeringBackend;
use super::wifi::WifiBackend;
use super::wifi::kernel::{KernelSettings, KernelWifi};
use super::wifi::link::{LinkEvent, Links};
use super::wifi::nl80211::{Event, Nl80211};

/// What an operator says about the hardware.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HardwareSettings {
    /// The radios that are the agent's, by the name of their wiphy; all of the machine if none is named.
    pub radios: Vec<String>,
    /// The program to run as hostapd: a path, or a name to look for in `PATH`.
    pub hostapd: String,
    /// The program to run as wpa_supplicant: a path, or a name to look for in `PATH`.
    pub wpa_supplicant: String,
    /// Directory for the files of running daemons; `run` in the state directory where absent.
    pub runtime_dir: Option<PathBuf>,
    /// What schedules airtime.
    pub airtime: AirtimeScheduler,
    /// The gNB, where there is one.
    pub srsran: Option<SrsRanSettings>,
}

impl Default for HardwareSettings {
    fn default() -> Self {
        Self {
            radios: Vec::new(),
            hostapd: "hostapd".to_owned(),
            wpa_supplicant: "wpa_supplicant".to_owned(),
            runtime_dir: None,
            airtime: AirtimeScheduler::Auto,
            srsran: None,
        }
    }
}

/// What schedules airtime.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AirtimeScheduler {
    /// The program in the kernel if that can be, else mac80211 if every radio has airtime fairness.
    #[default]
    Auto,
    /// The program in the kernel.
    Bpf,
    /// Airtime weights of stations in mac80211.
    Mac80211,
    /// Nothing.
    Off,
}

type MakeWifi = Box<dyn Fn() -> Box<dyn WifiBackend> + Send + Sync>;
type MakeAirtime = Box<dyn Fn() -> Box<dyn AirtimeBackend> + Send + Sync>;
type MakeRan = Box<dyn Fn() -> Box<dyn RanBackend> + Send + Sync>;
type MakeBackhaul = Box<dyn Fn() -> Box<dyn BackhaulBackend> + Send + Sync>;
type MakeSteering = Box<dyn Fn() -> Box<dyn SteeringBackend> + Send + Sync>;

/// The hardware of a node. Every registry made of it ([`super::Registry::hardware`]) is a handle of the same.
pub struct Hardware {
    wifi: MakeWifi,
    airtime: MakeAirtime,
    backhaul: MakeBackhaul,
    ran: MakeRan,
    steering: MakeSteering,
    watch: Option<(Nl80211, Links, KernelWifi)>,
}

impl std::fmt::Debug for Hardware {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hardware")
            .field("usable", &self.watch.is_some())
            .finish_non_exhaustive()
    }
}

impl Hardware {
    /// Opens the hardware for `node`, whose files are in `state_dir`. What is missing is logged, one sentence each, and
    /// refused when it is configured. Needs a runtime.
    pub async fn open(
        settings: &HardwareSettings,
        runtime_dir: PathBuf,
        state_dir: &Path,
        node: &str,
    ) -> Self {
        let backhaul = backhaul(state_dir).await;
        let ran = ran(settings.srsran.as_ref());
        let steering = steering(state_dir).await;
        match open_radios(settings, runtime_dir).await {
            Ok((nl80211, links, wifi)) => Self {
                airtime: airtime(settings.airtime, &nl80211, node),
                wifi: Box::new({
                    let wifi = wifi.clone();
                    move || Box::new(wifi.clone())
                }),
                backhaul,
                ran,
                steering,
                watch: Some((nl80211, links, wifi)),
            },
            Err(reason) => {
                tracing::warn!("radios cannot be used: {reason}");
                let wifi = AbsentWifi::new(&reason);
                Self {
                    wifi: Box::new(move || Box::new(wifi.clone())),
                    airtime: no_airtime(&reason),
                    backhaul,
                    ran,
                    steering,
                    watch: None,
                }
            }
        }
    }

    /// The Wi-Fi domain.
    #[must_use]
    pub fn wifi(&self) -> Box<dyn WifiBackend> {
        (self.wifi)()
    }

    /// The airtime domain.
    #[must_use]
    pub fn airtime(&self) -> Box<dyn AirtimeBackend> {
        (self.airtime)()
    }

    /// The backhaul domain.
    #[must_use]
    pub fn backhaul(&self) -> Box<dyn BackhaulBackend> {
        (self.backhaul)()
    }

    /// The RAN domain.
    #[must_use]
    pub fn ran(&self) -> Box<dyn RanBackend> {
        (self.ran)()
    }

    /// The steering domain.
    #[must_use]
    pub fn steering(&self) -> Box<dyn SteeringBackend> {
        (self.steering)()
    }

    /// What happens to the hardware from now on; none where it cannot be used.
    #[must_use]
    pub fn news(&self) -> Option<News> {
        self.watch.as_ref().map(|(nl80211, links, wifi)| News {
            nl80211: nl80211.clone(),
            radios: nl80211.events(),
            links: links.events(),
            repairs: wifi.repairs(),
        })
    }
}

/// The radios, or the sentence that says why not.
async fn open_radios(
    settings: &HardwareSettings,
    runtime_dir: PathBuf,
) -> Result<(Nl80211, Links, KernelWifi), String> {
    if !has_net_admin() {
        return Err(
            "the agent has no privilege CAP_NET_ADMIN: run it as root or give it that capability"
                .to_owned(),
        );
    }
    let nl80211 = Nl80211::connect_to(&settings.radios).await;
    let nl80211 = nl80211.map_err(|error| error.to_string())?;
    let wiphys = nl80211.known_wiphys();
    for name in &settings.radios {
        if !wiphys.iter().any(|wiphy| wiphy.name == *name) {
            tracing::warn!(radio = name, "there is no such radio in this machine now");
        }
    }
    if wiphys.is_empty() {
        tracing::warn!("there is no radio in this machine now that the agent may use");
    }
    let links = Links::connect().map_err(|error| error.to_string())?;
    let kernel = KernelSettings {
        runtime_dir,
        hostapd: settings.hostapd.clone(),
        supplicant: settings.wpa_supplicant.clone(),
    };
    let wifi = KernelWifi::start(nl80211.clone(), links.clone(), kernel).await;
    let wifi = wifi.map_err(|refusal| refusal.message)?;
    if !wifi.has_hostapd() {
        let hostapd = &settings.hostapd;
        tracing::warn!(
            "there is no program {hostapd}: mesh points can be configured, access points cannot"
        );
    }
    if !wifi.has_supplicant() {
        let supplicant = &settings.wpa_supplicant;
        tracing::warn!(
            "there is no program {supplicant}: meshes with a passphrase cannot be configured"
        );
    }
    Ok((nl80211, links, wifi))
}

/// The tunnels of this machine, or their refusal.
async fn backhaul(state_dir: &Path) -> MakeBackhaul {
    match Backhaul::on_linux(state_dir).await {
        Ok(backhaul) => Box::new(move || Box::new(backhaul.clone())),
        Err(reason) => {
            tracing::warn!("tunnels cannot be made: {reason}");
            let absent = AbsentBackhaul::new(&reason);
            Box::new(move || Box::new(absent.clone()))
        }
    }
}

/// The steering of this machine, or its refusal.
async fn steering(state_dir: &Path) -> MakeSteering {
    match steering_in_kernel(state_dir).await {
        Ok(steering) => Box::new(move || Box::new(steering.clone())),
        Err(reason) => {
            tracing::warn!("packets cannot be steered: {reason}");
            let absent = AbsentSteering::new(&reason);
            Box::new(move || Box::new(absent.clone()))
        }
    }
}

/// The gNB that the operator names, or the refusal of cells.
fn ran(settings: Option<&SrsRanSettings>) -> MakeRan {
    match settings {
        Some(settings) => {
            let gnb = SrsRan::new(settings.clone());
            Box::new(move || Box::new(gnb.clone()))
        }
        None => {
            let absent = AbsentRan::new("the agent was told of no gNB (--srsran-config)");
            Box::new(move || Box::new(absent.clone()))
        }
    }
}

#[cfg(feature = "bpf")]
async fn steering_in_kernel(state_dir: &Path) -> Result<super::steering::Steering, String> {
    super::steering::Steering::in_kernel(state_dir).await
}

#[cfg(not(feature = "bpf"))]
async fn steering_in_kernel(_: &Path) -> Result<super::steering::Steering, String> {
    Err("the agent was built without the feature bpf".to_owned())
}

/// The airtime domain that the operator wants, as far as this machine has it.
fn airtime(wanted: AirtimeScheduler, nl80211: &Nl80211, node: &str) -> MakeAirtime {
    let wiphys = nl80211.known_wiphys();
    let unfair = wiphys.iter().find(|wiphy| !wiphy.airtime_fairness);
    let mac80211 = || match unfair {
        Some(wiphy) => Err(format!(
            "the driver of radio {} has no airtime fairness",
            wiphy.name
        )),
        None => Ok(each(Mac80211Airtime::new(nl80211.clone()))),
    };
    let made = match wanted {
        AirtimeScheduler::Off => return no_airtime("airtime is not scheduled (--airtime off)"),
        AirtimeScheduler::Bpf => bpf(nl80211, node),
        AirtimeScheduler::Mac80211 => mac80211(),
        AirtimeScheduler::Auto => bpf(nl80211, node)
            .or_else(|first| mac80211().map_err(|second| format!("{first}, and {second}"))),
    };
    made.unwrap_or_else(|reason| {
        tracing::warn!("airtime cannot be scheduled: {reason}");
        no_airtime(&format!("airtime cannot be scheduled ({reason})"))
    })
}

#[cfg(feature = "bpf")]
fn bpf(nl80211: &Nl80211, node: &str) -> Result<MakeAirtime, String> {
    let bpf = super::airtime::bpf::BpfAirtime::new(nl80211.clone(), node);
    bpf.map(each).map_err(|refusal| refusal.message)
}

#[cfg(not(feature = "bpf"))]
fn bpf(_: &Nl80211, _: &str) -> Result<MakeAirtime, String> {
    Err("the agent was built without the feature bpf".to_owned())
}

fn no_airtime(reason: &str) -> MakeAirtime {
    each(AbsentAirtime::new(reason))
}

/// A handle for each registry.
fn each(airtime: impl AirtimeBackend + Clone + 'static) -> MakeAirtime {
    Box::new(move || Box::new(airtime.clone()))
}

/// Whether this process may change network interfaces: bit 12 of its effective capabilities (capabilities(7)).
fn has_net_admin() -> bool {
    const CAP_NET_ADMIN: u32 = 12;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective
        .and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok())
        .is_some_and(|bits| bits & (1 << CAP_NET_ADMIN) != 0)
}

/// Something happened to the hardware behind the agent's back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disturbance {
    /// To a network interface, by name.
    Interface {
        /// Which.
        name: String,
        /// What, as in `was removed`.
        what: &'static str,
    },
    /// To the radios.
    Radios {
        /// What, as in `a radio was removed`.
        what: &'static str,
    },
    /// Something that is supervised died, and was brought back already.
    Repaired(Vec<Step>),
    /// Nobody knows: news were lost.
    Unknown,
}

/// What happens to the hardware.
#[derive(Debug)]
pub struct News {
    nl80211: Nl80211,
    radios: Receiver<Event>,
    links: Receiver<LinkEvent>,
    repairs: Receiver<Vec<Step>>,
}

impl News {
    /// Waits for the next disturbance; `None` when the hardware is let go. Can be dropped while it waits without missing
    /// anything.
    pub async fn next(&mut self) -> Option<Disturbance> {
        loop {
            let disturbance = tokio::select! {
                event = self.radios.recv() => match heard(event)? {
                    Some(event) => of_radios(&event),
                    None => Some(Disturbance::Unknown),
                },
                event = self.links.recv() => match heard(event)? {
                    Some(event) => of_link(event),
                    None => Some(Disturbance::Unknown),
                },
                steps = self.repairs.recv() => match heard(steps)? {
                    Some(steps) => Some(Disturbance::Repaired(steps)),
                    None => Some(Disturbance::Unknown),
                },
            };
            if disturbance.is_some() {
                return disturbance;
            }
        }
    }

    /// Looks at the radios again, after a disturbance of them: plans are made with what is known of them.
    pub async fn look_at_radios(&self) {
        if let Err(error) = self.nl80211.wiphys().await {
            tracing::warn!(%error, "the radios could not be looked at again");
        }
    }
}

fn of_radios(event: &Event) -> Option<Disturbance> {
    let what = match event {
        Event::WiphyAdded { .. } => "a radio was added",
        Event::WiphyRemoved { .. } => "a radio was removed",
        Event::RegulatoryChanged => "the regulatory domain changed",
        Event::Missed => return Some(Disturbance::Unknown),
        _ => return None,
    };
    Some(Disturbance::Radios { what })
}

/// `None` ends everything, `Some(None)` says that something was missed.
fn heard<T>(event: Result<T, RecvError>) -> Option<Option<T>> {
    match event {
        Ok(event) => Some(Some(event)),
        Err(RecvError::Lagged(_)) => Some(None),
        Err(RecvError::Closed) => None,
    }
}

fn of_link(event: LinkEvent) -> Option<Disturbance> {
    let (name, what) = match event {
        LinkEvent::Removed { name, .. } => (name, "was removed"),
        LinkEvent::LeftBridge { name, .. } => (name, "was taken out of its bridge"),
        LinkEvent::Changed(link) if !link.is_up => (link.name, "is switched off"),
        LinkEvent::Changed(_) => return None,
        LinkEvent::Missed => return Some(Disturbance::Unknown),
    };
    Some(Disturbance::Interface { name, what })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::wifi::link::Link;

    #[test]
    fn only_what_may_be_drift_is_news() {
        let link = |is_up| Link {
            name: "a".to_owned(),
            is_up,
            ..Link::default()
        };
        let what = |event| match of_link(event) {
            Some(Disturbance::Interface { what, .. }) => Some(what),
            Some(other) => panic!("{other:?}"),
            None => None,
        };
        let (ifindex, name) = (7, "a".to_owned());
        assert_eq!(what(LinkEvent::Changed(link(true))), None);
        let off = what(LinkEvent::Changed(link(false)));
        assert_eq!(off, Some("is switched off"));
        let removed = LinkEvent::Removed { ifindex, name };
        assert_eq!(what(removed), Some("was removed"));
        assert_eq!(of_link(LinkEvent::Missed), Some(Disturbance::Unknown));
        assert_eq!(of_radios(&Event::Missed), Some(Disturbance::Unknown));
        assert_eq!(of_radios(&Event::ScanDone { ifindex }), None);
    }
}
