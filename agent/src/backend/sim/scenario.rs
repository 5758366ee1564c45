//! Scenarios for tests and their judge: nodes on a medium, and the shares of true airtime that their interfaces got.

use std::sync::Arc;
use std::time::Duration;

use super::{
    Decimetres, LedgerEntry, Medium, MediumParams, SimConfig, SimRadioConfig, SimStationConfig,
};
use crate::backend::airtime::{AirtimeBackend, Correction};
use crate::backend::wifi::{
    AccessPoint, AirtimeConfig, Attachment, Band, RadioConfig, Roaming, Role, SchedulerConfig,
    Security, SecurityMode, VifConfig, Width, WifiBackend,
};
use crate::backend::{MacAddress, NodeConfig, Ratio, Registry};

/// Waits for a future that has nothing to wait for.
pub(crate) fn now_or_never<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("a simulator waited"),
    }
}

pub(crate) fn percent(percent: f64) -> Ratio {
    Ratio::from_hundredths((percent * 100.0).round() as u32)
}

/// A radio on 5 GHz channel 36.
pub(crate) fn radio(name: &str) -> RadioConfig {
    RadioConfig {
        name: name.to_owned(),
        enabled: true,
        band: Band::Ghz5,
        channel: 36,
        width: Width::Mhz20,
        tx_power_dbm: None,
        scheduler: SchedulerConfig::default(),
    }
}

/// An open access point whose SSID is its name.
pub(crate) fn vif(name: &str, radio: &str, min: f64, max: f64) -> VifConfig {
    let security = Security {
        mode: SecurityMode::Open,
        ..Security::default()
    };
    VifConfig {
        name: name.to_owned(),
        radio: radio.to_owned(),
        enabled: true,
        slice: Some(format!("slice-{name}")),
        role: Role::AccessPoint(AccessPoint {
            ssid: name.to_owned(),
            hidden: false,
            max_stations: None,
            station_isolation: true,
            security,
            roaming: Roaming::default(),
        }),
        attachment: Attachment::default(),
        airtime: AirtimeConfig {
            min_ratio: percent(min),
            max_ratio: percent(max),
        },
    }
}

/// An idle station number `number` of the access point `ssid`.
pub(crate) fn station(number: u8, ssid: &str) -> SimStationConfig {
    SimStationConfig::new(MacAddress([2, 0, 0, 0, 0, number]), ssid)
}

/// A station that always wants more.
pub(crate) fn saturated(number: u8, ssid: &str, rate_kbps: u32) -> SimStationConfig {
    SimStationConfig {
        saturated_down: true,
        rate_down_kbps: rate_kbps,
        ..station(number, ssid)
    }
}

/// A node with one radio `phy0` at `x` metres.
pub(crate) fn node(x: i64, vifs: Vec<VifConfig>, stations: Vec<SimStationConfig>) -> NodeConfig {
    let place = SimRadioConfig {
        x: Decimetres(x * 10),
        ..SimRadioConfig::new("phy0")
    };
    let mut config = NodeConfig::default();
    config.wifi.radios = vec![radio("phy0")];
    config.wifi.vifs = vifs;
    config.sim = Some(SimConfig {
        seed: 1,
        radios: vec![place],
        stations,
        ..SimConfig::default()
    });
    config
}

/// Nodes on one medium.
pub(crate) struct Scenario {
    pub(crate) medium: Arc<Medium>,
    nodes: Vec<(Registry, NodeConfig)>,
}

impl Scenario {
    pub(crate) fn new(configs: Vec<NodeConfig>) -> Self {
        Self::with_params(MediumParams::default(), configs)
    }

    pub(crate) fn with_params(params: MediumParams, configs: Vec<NodeConfig>) -> Self {
        let medium = Medium::new(params);
        let mut scenario = Self {
            medium: Arc::clone(&medium),
            nodes: Vec::new(),
        };
        for (index, config) in configs.into_iter().enumerate() {
            let registry = Registry::simulated(&medium, &format!("n{index}"));
            scenario.nodes.push((registry, NodeConfig::default()));
            scenario.commit(index, config);
        }
        scenario
    }

    /// Brings a node to a configuration, as the transaction does.
    pub(crate) fn commit(&mut self, index: usize, config: NodeConfig) {
        let (registry, old) = &mut self.nodes[index];
        for backend in registry.backends_mut() {
            let plan = backend.plan(old, &config).unwrap();
            now_or_never(backend.apply(plan)).unwrap();
        }
        *old = config;
    }

    /// Changes a part of a node's configuration.
    pub(crate) fn change(&mut self, index: usize, change: impl FnOnce(&mut NodeConfig)) {
        let mut config = self.nodes[index].1.clone();
        change(&mut config);
        self.commit(index, config);
    }

    /// What a node was brought to last.
    pub(crate) fn config(&self, index: usize) -> &NodeConfig {
        &self.nodes[index].1
    }

    pub(crate) fn wifi(&self, index: usize) -> &dyn WifiBackend {
        self.nodes[index].0.wifi()
    }

    pub(crate) fn airtime(&self, index: usize) -> &dyn AirtimeBackend {
        self.nodes[index].0.airtime()
    }

    pub(crate) fn correct(
        &self,
        index: usize,
        vif: &str,
        min: Option<f64>,
        max: Option<f64>,
        s: u64,
    ) {
        let correction = Correction {
            vif: vif.to_owned(),
            min_ratio: min.map(percent),
            max_ratio: max.map(percent),
        };
        now_or_never(
            self.airtime(index)
                .correct(&[correction], Duration::from_secs(s)),
        )
        .unwrap();
    }

    /// Lets time pass and says what every interface got in it.
    pub(crate) fn measure(&self, length: Duration) -> Measured {
        let before = self.medium.ledger();
        self.medium.advance(length);
        let after = self.medium.ledger();
        let vifs = after.into_iter().map(|entry| {
            let same = |old: &&LedgerEntry| {
                (&old.node, &old.radio, &old.vif) == (&entry.node, &entry.radio, &entry.vif)
            };
            let old = before.iter().find(same);
            let sent = entry.sent - old.map_or(Duration::ZERO, |old| old.sent);
            let received = entry.received - old.map_or(Duration::ZERO, |old| old.received);
            (
                entry.vif,
                100.0 * sent.div_duration_f64(length),
                100.0 * received.div_duration_f64(length),
            )
        });
        Measured {
            vifs: vifs.collect(),
        }
    }
}

/// Percent of time that interfaces sent and received, in the order of node and name.
#[derive(Debug)]
pub(crate) struct Measured {
    vifs: Vec<(String, f64, f64)>,
}

impl Measured {
    /// Percent of time that an interface sent.
    pub(crate) fn used(&self, vif: &str) -> f64 {
        self.vifs
            .iter()
            .filter(|(name, ..)| name == vif)
            .map(|(_, sent, _)| sent)
            .sum()
    }

    /// Percent of time that an interface received.
    pub(crate) fn received(&self, vif: &str) -> f64 {
        self.vifs
            .iter()
            .filter(|(name, ..)| name == vif)
            .map(|(.., received)| received)
            .sum()
    }

    /// Percent of time that all interfaces sent.
    pub(crate) fn total(&self) -> f64 {
        self.vifs.iter().map(|(_, sent, _)| sent).sum()
    }

    /// What an interface sent, in percent of what all sent.
    pub(crate) fn share(&self, vif: &str) -> f64 {
        100.0 * self.used(vif) / self.total()
    }

    /// One line of a table: what a row of a test measured.
    pub(crate) fn print(&self, title: &str) {
        let mut line = format!("{title:<44} total {:5.2}", self.total());
        for (name, sent, received) in &self.vifs {
            line += &format!("  {name} {sent:5.2} ({:5.2} %)", self.share(name));
            if *received > 0.0 {
                line += &format!(" rx {received:5.2}");
            }
        }
        println!("{line}");
    }
}
