//! RAN configurations for tests, and a simulated node that carries them out.

use std::sync::Arc;
use std::time::Duration;

use super::{RanWorld, SimCore, SimulatedRan, Traffic, TrafficModel, UeGroup};
use crate::backend::ran::{
    AccessConfig, AdminState, CellConfig, CoreConfig, CoreKind, CoreLocation, FailoverConfig,
    ImsiRange, PolicyConfig, ProfileConfig, RanBackend as _, RanConfig, Rat, ResourceType, Share,
};
use crate::backend::sim::SimConfig;
use crate::backend::sim::scenario::{now_or_never, percent};
use crate::backend::{Backend as _, NodeConfig, Refusal};

/// A cell of 50 PRB.
pub(crate) fn cell(name: &str, rat: Rat) -> CellConfig {
    CellConfig {
        name: name.to_owned(),
        admin_state: AdminState::Unlocked,
        rat,
        pci: 1,
        arfcn: 632_628,
        band: None,
        bandwidth_prb: 50,
        tac: 7,
    }
}

/// A core of a kind at the edge or in the data centre.
pub(crate) fn core(name: &str, kind: CoreKind, location: CoreLocation) -> CoreConfig {
    CoreConfig {
        name: name.to_owned(),
        kind,
        location,
        address: std::net::Ipv4Addr::LOCALHOST.into(),
        port: None,
    }
}

/// What is owed of both directions.
pub(crate) fn share(min: f64, max: f64, dedicated: f64) -> Share {
    Share {
        min: percent(min),
        max: percent(max),
        dedicated: percent(dedicated),
    }
}

/// Slice number `number` (1 to 99) on the NR cell c1: PLMN 001 with this MNC, subscribers 1 to 999 of it.
pub(crate) fn profile(number: u8, share: Share) -> ProfileConfig {
    let imsi = |last: u32| format!("001{number:02}{last:010}");
    ProfileConfig {
        name: format!("s{number}"),
        slice: Some(format!("slice-{number}")),
        admin_state: AdminState::Unlocked,
        mcc: "001".to_owned(),
        mnc: format!("{number:02}"),
        sst: Some(1),
        sd: None,
        dnns: Vec::new(),
        cells: vec!["c1".to_owned()],
        cores: vec!["edge".to_owned(), "dc".to_owned()],
        max_ues: None,
        policies: vec![PolicyConfig {
            resource_type: ResourceType::Prb,
            share,
        }],
        access: AccessConfig {
            ranges: vec![ImsiRange {
                first: imsi(1),
                last: imsi(999),
                roaming: false,
            }],
            ..AccessConfig::default()
        },
    }
}

/// An NR cell c1 of 50 PRB with cores edge and dc, and slices 1, 2, ... with these shares.
pub(crate) fn one_cell(shares: &[Share]) -> NodeConfig {
    let mut config = NodeConfig::default();
    let numbers = 1_u8..;
    config.ran = RanConfig {
        node_name: None,
        gnb_id: None,
        failover: FailoverConfig::default(),
        cells: vec![cell("c1", Rat::Nr)],
        cores: vec![
            core("edge", CoreKind::Amf, CoreLocation::Edge),
            core("dc", CoreKind::Amf, CoreLocation::DataCentre),
        ],
        profiles: numbers
            .zip(shares)
            .map(|(number, share)| profile(number, *share))
            .collect(),
    };
    config.sim = Some(SimConfig::default());
    config
}

/// The same on an LTE cell.
pub(crate) fn one_lte_cell(shares: &[Share]) -> NodeConfig {
    let mut config = one_cell(shares);
    config.ran.cells = vec![cell("c1", Rat::Lte)];
    for core in &mut config.ran.cores {
        core.kind = CoreKind::Mme;
    }
    for profile in &mut config.ran.profiles {
        profile.sst = None;
    }
    config
}

/// `count` subscribers of slice `number` with traffic towards them.
pub(crate) fn ues(number: u8, count: u16, model: TrafficModel) -> UeGroup {
    UeGroup {
        name: format!("g{number}"),
        enabled: true,
        first_imsi: format!("001{number:02}{:010}", 1),
        count,
        cell: None,
        dnn: None,
        bits_per_prb: 400,
        down: Traffic {
            model,
            ..Traffic::default()
        },
        up: Traffic::default(),
    }
}

/// A simulated node, its world, and what it was told.
pub(crate) struct Rig {
    pub(crate) world: Arc<RanWorld>,
    pub(crate) ran: SimulatedRan,
    pub(crate) config: NodeConfig,
}

impl Rig {
    /// A node that carries a configuration out.
    pub(crate) fn new(config: NodeConfig) -> Self {
        let world = Arc::new(RanWorld::default());
        let ran = SimulatedRan::new(Arc::clone(&world), "n");
        let mut rig = Self {
            world,
            ran,
            config: NodeConfig::default(),
        };
        rig.commit(config).unwrap();
        rig
    }

    /// As a client's commit.
    pub(crate) fn commit(&mut self, config: NodeConfig) -> Result<(), Refusal> {
        let plan = self.ran.plan(&self.config, &config)?;
        self.ran.objections(&self.config, &config)?;
        now_or_never(self.ran.apply(plan))?;
        self.config = config;
        Ok(())
    }

    /// Changes the configuration as a client would.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut NodeConfig)) -> Result<(), Refusal> {
        let mut config = self.config.clone();
        change(&mut config);
        self.commit(config)
    }

    /// Changes how a core behaves.
    pub(crate) fn set_core(&mut self, name: &str, behaviour: super::Behaviour) {
        let done = self.change(|config| {
            let cores = &mut config.sim.as_mut().unwrap().cores;
            cores.retain(|core| core.name != name);
            cores.push(SimCore {
                name: name.to_owned(),
                behaviour,
                cause: "slice-not-supported".to_owned(),
            });
        });
        done.unwrap();
    }

    pub(crate) fn pass(&self, ms: u64) {
        self.world.advance(Duration::from_millis(ms));
    }

    /// The state of a slice profile.
    pub(crate) fn state(&self, name: &str) -> crate::backend::ran::ProfileStatus {
        let states = now_or_never(self.ran.profiles()).unwrap();
        states.into_iter().find(|state| state.name == name).unwrap()
    }

    /// The measured shares of the downlink of c1 over the next `ms`, in hundredths of a percent.
    pub(crate) fn shares(&self, ms: u64) -> Vec<u32> {
        now_or_never(self.ran.report()).unwrap();
        self.pass(ms);
        let report = now_or_never(self.ran.report()).unwrap();
        let profiles = report.cells[0].profiles.iter();
        profiles
            .map(|one| one.on_cell.down.used_ratio.unwrap().hundredths())
            .collect()
    }
}
