//! The RAN domain: slices of LTE and NR cells, with the PRB each is owed and what it really got.
//!
//! Owns the typed `tranche-ran` configuration, what makes no sense in it (`check.rs`), what a change costs (`diff.rs`), what can
//! be observed, and the [`RanBackend`] trait. Technologies are beside this file: [`sim`] simulates cells, UEs and cores,
//! [`srsran`] drives the gNB of the srsRAN project, and [`absent`] is a machine without a RAN. [`trial`] is no backend: it writes
//! files for cores and simulated gNBs.

pub mod absent;
mod check;
mod config;
mod diff;
pub mod sim;
pub mod srsran;
mod state;
#[cfg(test)]
pub(crate) mod suite;
pub mod trial;

use std::time::Duration;

use tokio::sync::broadcast;

pub use config::{
    AccessConfig, AdminState, CellConfig, CoreConfig, CoreKind, CoreLocation, DefaultAction,
    Direction, FailoverConfig, ImsiRange, PolicyConfig, ProfileConfig, RanConfig, Rat,
    ResourceType, Share,
};
pub use state::{
    CellOperState, CellReport, CellState, CoreState, CoreStatus, Event, PrbCorrection, PrbReport,
    PrbUse, ProfileOnCell, ProfileReport, ProfileState, ProfileStatus,
};

use super::{Backend, BoxFuture, Refusal};

const DOMAIN: &str = "ran";

/// The reading and acting side of the RAN.
pub trait RanBackend: Backend {
    /// Starts the RAN again from its static configuration; answers how many UEs lost their link.
    ///
    /// # Errors
    /// A [`Refusal`] while UEs are attached, unless it is forced.
    fn initialise(&self, force: bool) -> BoxFuture<'_, Result<u32, Refusal>>;

    /// The cells that are configured, by name.
    ///
    /// # Errors
    /// A [`Refusal`] when the RAN can't be asked.
    fn cells(&self) -> BoxFuture<'_, Result<Vec<CellState>, Refusal>>;

    /// The cores that are configured, by name.
    ///
    /// # Errors
    /// A [`Refusal`] when the RAN can't be asked.
    fn cores(&self) -> BoxFuture<'_, Result<Vec<CoreStatus>, Refusal>>;

    /// The slice profiles that are configured, by name.
    ///
    /// # Errors
    /// A [`Refusal`] when the RAN can't be asked.
    fn profiles(&self) -> BoxFuture<'_, Result<Vec<ProfileStatus>, Refusal>>;

    /// Puts corrections in force, all or none. The ceilings lapse to the configured `max-ratio` after `lifetime`; a corrected
    /// minimum stays until the slice profile is changed.
    ///
    /// # Errors
    /// A [`Refusal`] for a slice profile that is not on the cell, a ceiling of nothing, or minima that exceed a cell.
    fn correct(
        &self,
        corrections: &[PrbCorrection],
        lifetime: Duration,
    ) -> BoxFuture<'_, Result<(), Refusal>>;

    /// Closes the reporting period and says what every slice profile got in it. One caller, the telemetry of the node, calls
    /// this once a period whether or not anybody listens: [`RanBackend::cells`] and [`RanBackend::profiles`] show the period
    /// that was closed last.
    ///
    /// # Errors
    /// A [`Refusal`] when the RAN can't be asked.
    fn report(&self) -> BoxFuture<'_, Result<PrbReport, Refusal>>;

    /// What happens to slice profiles from now on.
    fn events(&self) -> broadcast::Receiver<Event>;
}

/// Instance path of a cell.
fn cell_path(name: &str) -> String {
    format!("/tranche-ran:ran/cell[name='{name}']")
}

/// Instance path of a slice profile.
fn profile_path(name: &str) -> String {
    format!("/tranche-ran:ran/slice-profile[name='{name}']")
}
