//! The Wi-Fi domain: radios and the virtual interfaces that share them.
//!
//! Owns the typed `tranche-wifi` configuration, what can be observed, and the [`WifiBackend`] trait. Leaves the shares of
//! airtime to [`super::airtime`]: this domain brings interfaces up, that one divides the radio between them.

pub mod bridge;
mod channel;
mod config;
mod daemon;
mod diff;
pub mod hostapd;
pub mod kernel;
pub mod link;
pub mod netlink;
pub mod nl80211;
mod openvswitch;
mod passphrase;
pub mod sim;
mod state;
#[cfg(test)]
pub(crate) mod suite;
pub mod supplicant;

pub use channel::{Channel, number_at, spectrum};
pub use config::{
    AccessPoint, AirtimeConfig, Attachment, Band, MeshPoint, RadioConfig, Radius, Roaming, Role,
    SchedulerConfig, Security, SecurityMode, TelemetryConfig, VifConfig, Width, WifiConfig,
};
pub use state::{Neighbour, RadioOperState, RadioState, StationState, VifOperState, VifState};

use super::{Backend, BoxFuture, Refusal};

/// The reading side of Wi-Fi. What it returns is what the hardware says, never a copy of the configuration.
pub trait WifiBackend: Backend {
    /// The radios that there are in hardware and configuration, by name.
    ///
    /// # Errors
    /// A [`Refusal`] when the kernel or daemon can't be asked.
    fn radios(&self) -> BoxFuture<'_, Result<Vec<RadioState>, Refusal>>;

    /// The virtual interfaces with their stations, by name.
    ///
    /// # Errors
    /// A [`Refusal`] when the kernel or daemon can't be asked.
    fn vifs(&self) -> BoxFuture<'_, Result<Vec<VifState>, Refusal>>;
}
