//! What touches the machine: one backend for each domain, behind traits.
//!
//! This module owns the contract between the transaction and the domains: the typed configuration of a node
//! ([`NodeConfig`]), what a change costs ([`Plan`]), what was done ([`Applied`]), why not ([`Refusal`]) and the
//! [`Backend`] trait with the [`Registry`] of a node's domains. It knows neither XML nor datastores: the caller prints
//! the tree as JSON (RFC 7951) with defaults and hands over what [`NodeConfig`] parses.
//!
//! The order of domains in the registry is the order of applying: a vif exists before its airtime is scheduled and its bridge
//! is joined to a tunnel, and both are there before packets are steered to them. Undo goes the other way.

mod namespace;
mod plan;
mod value;

pub mod absent;
pub mod airtime;
pub mod backhaul;
pub mod hardware;
pub mod ran;
pub mod sim;
pub mod steering;
pub mod wifi;

use std::sync::Arc;

use serde::Deserialize;

pub use plan::{
    Applied, BoxFuture, Cost, Plan, Reconciled, Refusal, Step, Warning, WarningKind, Why,
};
pub use value::{MacAddress, ParseValueError, Ratio, Secret};

use airtime::AirtimeBackend;
use backhaul::BackhaulBackend;
use hardware::Hardware;
use ran::RanBackend;
use sim::Medium;
use steering::SteeringBackend;
use wifi::WifiBackend;

/// The configuration of a node, as far as backends carry it out: typed, complete, valid against the schema.
///
/// Parses from the RFC 7951 JSON of a whole datastore printed with all defaults; members of other modules are skipped.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct NodeConfig {
    /// Radios and virtual interfaces (`tranche-wifi:wifi`).
    #[serde(rename = "tranche-wifi:wifi", default)]
    pub wifi: wifi::WifiConfig,
    /// Tunnels of slices (`tranche-backhaul:backhaul`).
    #[serde(rename = "tranche-backhaul:backhaul", default)]
    pub backhaul: backhaul::BackhaulConfig,
    /// Cells and their slices (`tranche-ran:ran`).
    #[serde(rename = "tranche-ran:ran", default)]
    pub ran: ran::RanConfig,
    /// Rules for packets (`tranche-steering:steering`).
    #[serde(rename = "tranche-steering:steering", default)]
    pub steering: steering::SteeringConfig,
    /// The simulated world around the node (`tranche-sim:sim`); only simulated nodes have one.
    #[serde(rename = "tranche-sim:sim", default)]
    pub sim: Option<sim::SimConfig>,
}

/// One domain of a node: what plans, applies and undoes its part of a configuration.
///
/// Object-safe on purpose, since a [`Registry`] holds whichever implementation the node has. Reading is each domain's own
/// trait ([`WifiBackend`], [`AirtimeBackend`], [`RanBackend`], [`BackhaulBackend`], [`SteeringBackend`]).
pub trait Backend: Send + Sync {
    /// The domain's name, as in `wifi`.
    fn domain(&self) -> &'static str;

    /// What it takes to go from `old` to `new`. Changes nothing.
    ///
    /// # Errors
    /// A [`Refusal`] when `new` asks for something that this hardware or software does not support.
    fn plan(&self, old: &NodeConfig, new: &NodeConfig) -> Result<Plan, Refusal>;

    /// What speaks against a change that a client wants, besides its cost: somebody would lose a service without having been
    /// told to leave it. Not asked when a change is taken back.
    ///
    /// # Errors
    /// A [`Refusal`] that says what has to be done before.
    fn objections(&self, _old: &NodeConfig, _new: &NodeConfig) -> Result<(), Refusal> {
        Ok(())
    }

    /// Carries out a plan: all of it or, on an error, nothing of it. What is reported as applied was read back.
    ///
    /// # Errors
    /// A [`Refusal`] with the reason of the kernel, daemon or simulated radio.
    fn apply(&mut self, plan: Plan) -> BoxFuture<'_, Result<Applied, Refusal>>;

    /// Takes back what one [`Backend::apply`] did, the latest first.
    ///
    /// # Errors
    /// A [`Refusal`] when the former state could not be restored; the node is then in neither state.
    fn undo(&mut self, applied: Applied) -> BoxFuture<'_, Result<(), Refusal>>;

    /// At start and when something happened behind the agent's back: compares what is with what should be and repairs the difference, leaving alone what is right already.
    ///
    /// # Errors
    /// A [`Refusal`] when the difference could not be repaired.
    fn reconcile(&mut self, wanted: &NodeConfig) -> BoxFuture<'_, Result<Reconciled, Refusal>>;
}

/// The backends of one node.
pub struct Registry {
    wifi: Box<dyn WifiBackend>,
    airtime: Box<dyn AirtimeBackend>,
    ran: Box<dyn RanBackend>,
    backhaul: Box<dyn BackhaulBackend>,
    steering: Box<dyn SteeringBackend>,
}

impl Registry {
    /// A registry of the given implementations.
    #[must_use]
    pub fn new(
        wifi: Box<dyn WifiBackend>,
        airtime: Box<dyn AirtimeBackend>,
        ran: Box<dyn RanBackend>,
        backhaul: Box<dyn BackhaulBackend>,
        steering: Box<dyn SteeringBackend>,
    ) -> Self {
        Self {
            wifi,
            airtime,
            ran,
            backhaul,
            steering,
        }
    }

    /// The backends of the simulated node `node` on a medium that it shares with the other nodes of the process. Node
    /// names are unique on a medium: two registries of one name are the same hardware.
    #[must_use]
    pub fn simulated(medium: &Arc<Medium>, node: &str) -> Self {
        Self::new(
            Box::new(wifi::sim::SimulatedWifi::new(Arc::clone(medium), node)),
            Box::new(airtime::sim::SimulatedAirtime::new(
                Arc::clone(medium),
                node,
            )),
            Box::new(ran::sim::SimulatedRan::new(Arc::clone(medium.ran()), node)),
            Box::new(medium.backhaul(node, None)),
            Box::new(medium.steering(node)),
        )
    }

    /// The backends of a node with real radios: handles of `hardware`.
    #[must_use]
    pub fn hardware(hardware: &Hardware) -> Self {
        Self::new(
            hardware.wifi(),
            hardware.airtime(),
            hardware.ran(),
            hardware.backhaul(),
            hardware.steering(),
        )
    }

    /// All backends in the order of applying.
    pub fn backends(&self) -> impl DoubleEndedIterator<Item = &dyn Backend> {
        let wifi: &dyn Backend = &*self.wifi;
        let airtime: &dyn Backend = &*self.airtime;
        let ran: &dyn Backend = &*self.ran;
        let backhaul: &dyn Backend = &*self.backhaul;
        let steering: &dyn Backend = &*self.steering;
        [wifi, airtime, ran, backhaul, steering].into_iter()
    }

    /// All backends, in the order of applying, to change what they manage.
    pub fn backends_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut dyn Backend> {
        let wifi: &mut dyn Backend = &mut *self.wifi;
        let airtime: &mut dyn Backend = &mut *self.airtime;
        let ran: &mut dyn Backend = &mut *self.ran;
        let backhaul: &mut dyn Backend = &mut *self.backhaul;
        let steering: &mut dyn Backend = &mut *self.steering;
        [wifi, airtime, ran, backhaul, steering].into_iter()
    }

    /// What it takes in every domain to go from `old` to `new`, in the order of applying. Changes nothing.
    ///
    /// # Errors
    /// The first [`Refusal`].
    pub fn plan(&self, old: &NodeConfig, new: &NodeConfig) -> Result<Vec<Plan>, Refusal> {
        self.backends()
            .map(|backend| backend.plan(old, new))
            .collect()
    }

    /// What speaks against a change that a client wants, in any domain.
    ///
    /// # Errors
    /// The first [`Refusal`].
    pub fn objections(&self, old: &NodeConfig, new: &NodeConfig) -> Result<(), Refusal> {
        self.backends()
            .try_for_each(|backend| backend.objections(old, new))
    }

    /// The backend of one domain.
    pub fn backend_mut(&mut self, domain: &str) -> Option<&mut dyn Backend> {
        self.backends_mut()
            .find(|backend| backend.domain() == domain)
    }

    /// The reading side of Wi-Fi.
    #[must_use]
    pub fn wifi(&self) -> &dyn WifiBackend {
        &*self.wifi
    }

    /// The reading and acting side of backhaul.
    #[must_use]
    pub fn backhaul(&self) -> &dyn BackhaulBackend {
        &*self.backhaul
    }

    /// The reading, correcting and acting side of the RAN.
    #[must_use]
    pub fn ran(&self) -> &dyn RanBackend {
        &*self.ran
    }

    /// The reading side of steering.
    #[must_use]
    pub fn steering(&self) -> &dyn SteeringBackend {
        &*self.steering
    }

    /// The reading and correcting side of airtime.
    #[must_use]
    pub fn airtime(&self) -> &dyn AirtimeBackend {
        &*self.airtime
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.backends().map(Backend::domain))
            .finish()
    }
}
