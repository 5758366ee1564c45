//! One node's view of the world: what the simulators of the domains do to it and see of it.

use super::config::SimConfig;
use super::world::World;
use crate::backend::NodeConfig;
use crate::backend::airtime::table::AirtimeTable;
use crate::backend::airtime::{AirtimeReport, RadioAirtimeState, VifAirtimeState};
use crate::backend::wifi::{RadioState, VifState, WifiConfig};

/// A node of a locked world.
pub(crate) struct SimulatedNode<'a> {
    world: &'a mut World,
    node: usize,
}

impl<'a> SimulatedNode<'a> {
    pub(super) fn new(world: &'a mut World, node: usize) -> Self {
        Self { world, node }
    }

    /// What the hardware and the world around it were told last.
    pub(crate) fn in_force(&self) -> NodeConfig {
        let node = &self.world.nodes[self.node];
        NodeConfig {
            wifi: node.wifi.clone(),
            sim: Some(node.sim.clone()),
            ..NodeConfig::default()
        }
    }

    /// Carries out a Wi-Fi configuration in its world.
    pub(crate) fn configure(&mut self, wifi: &WifiConfig, sim: &SimConfig) {
        self.world.configure(self.node, wifi, sim);
    }

    /// The stations that an interface has now.
    pub(crate) fn stations_of(&self, vif: &str) -> u32 {
        let radios = self.world.nodes[self.node]
            .radios
            .iter()
            .map(|radio| &self.world.radios[*radio]);
        let counts = radios.flat_map(|radio| {
            let of_name = radio.live_vifs().filter(|(_, one)| one.config.name == vif);
            of_name.map(|(slot, _)| radio.station_count(slot) as u32)
        });
        counts.sum()
    }

    pub(crate) fn radio_states(&mut self) -> Vec<RadioState> {
        self.world.settle_topology();
        self.world.radio_states(self.node)
    }

    pub(crate) fn vif_states(&self) -> Vec<VifState> {
        self.world.vif_states(self.node)
    }

    /// What the airtime domain wants of this node.
    pub(crate) fn airtime(&self) -> AirtimeTable {
        self.world.nodes[self.node].airtime.clone()
    }

    /// Changes what the airtime domain wants, and says what it wanted before.
    pub(crate) fn set_airtime(&mut self, table: AirtimeTable) -> AirtimeTable {
        let ends = table
            .vifs
            .values()
            .filter_map(|owed| owed.corrected_max.map(|(_, end)| end));
        let mut ends: Vec<u64> = ends.collect();
        ends.sort_unstable();
        ends.dedup();
        for end_ns in ends {
            self.world.schedule_lapse(self.node, end_ns);
        }
        self.world.set_airtime(self.node, table)
    }

    /// Simulated time.
    pub(crate) fn now_ns(&self) -> u64 {
        self.world.now_ns
    }

    pub(crate) fn report(&mut self) -> AirtimeReport {
        self.world.settle_topology();
        self.world.report(self.node)
    }

    pub(crate) fn radio_airtime(&self) -> Vec<RadioAirtimeState> {
        self.world.radio_airtime(self.node)
    }

    pub(crate) fn vif_airtime(&self) -> Vec<VifAirtimeState> {
        self.world.vif_airtime(self.node)
    }
}
