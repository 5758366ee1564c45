//! The airtime domain: what each virtual interface of a radio is owed, and what it really got.
//!
//! Owns the typed observations, the correction of what is in force, and the [`AirtimeBackend`] trait. The arithmetic of the
//! scheduler is C (`bpf/airtime.h`), the same for the kernel and the simulator; [`law`] calls it.

#[cfg(feature = "bpf")]
pub mod bpf;
mod ffi;
mod hardware;
pub(crate) mod histogram;
pub mod law;
pub mod mac80211;
mod period;
pub mod sim;
mod state;
#[cfg(test)]
pub(crate) mod suite;
pub(crate) mod table;

use std::time::Duration;

pub use state::{
    AirtimeReport, Measurement, MeasurementSource, RadioAirtime, RadioAirtimeState, VifAirtime,
    VifAirtimeState,
};

use super::{Backend, BoxFuture, Ratio, Refusal};

/// One correction of the global scheduler (RPC `correct-airtime`). It changes what is in force, not the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Correction {
    /// Name of the virtual interface.
    pub vif: String,
    /// Guaranteed minimum from now on, until the next correction or until the configuration of this interface changes;
    /// as it is where absent.
    pub min_ratio: Option<Ratio>,
    /// Ceiling of the time that passes, until it lapses; as it is, with the end that it has, where absent. 100 % takes a
    /// ceiling away.
    pub max_ratio: Option<Ratio>,
}

/// The reading and correcting side of airtime.
pub trait AirtimeBackend: Backend {
    /// Puts corrections in force, all or none. The ceilings lapse to the configured `max-ratio` after `lifetime`; a
    /// corrected minimum stays.
    ///
    /// # Errors
    /// A [`Refusal`] for an unknown interface or a ceiling of nothing. A minimum above the ceiling is none: the one is a part
    /// of the airtime that the radio gets, the other of all time.
    fn correct(
        &self,
        corrections: &[Correction],
        lifetime: Duration,
    ) -> BoxFuture<'_, Result<(), Refusal>>;

    /// Closes the reporting period and says what every interface got in it. One caller, the telemetry of the node, calls
    /// this once a period whether or not anybody listens: [`AirtimeBackend::radios`] and [`AirtimeBackend::vifs`] show the
    /// period that was closed last.
    ///
    /// # Errors
    /// A [`Refusal`] when the scheduler can't be read.
    fn report(&self) -> BoxFuture<'_, Result<AirtimeReport, Refusal>>;

    /// The airtime part of `radio/state`, by name.
    ///
    /// # Errors
    /// A [`Refusal`] when the scheduler can't be read.
    fn radios(&self) -> BoxFuture<'_, Result<Vec<RadioAirtimeState>, Refusal>>;

    /// `vif/state/airtime`, by name.
    ///
    /// # Errors
    /// A [`Refusal`] when the scheduler can't be read.
    fn vifs(&self) -> BoxFuture<'_, Result<Vec<VifAirtimeState>, Refusal>>;
}
