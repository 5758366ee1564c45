//! A contended medium for the radios of `mac80211_hwsim`, which by themselves are infinitely fast.
//!
//! [`airtime`], [`contention`], [`links`], [`frame`] and [`ledger`] are pure: no socket, no clock. [`config`] reads what a user
//! wants. The rest is a thin shell around them: [`hwsim`] speaks the driver's generic netlink family, [`control`] answers
//! questions on a Unix socket, and [`run()`] lives in real time.

pub mod airtime;
pub mod config;
pub mod contention;
pub mod control;
pub mod error;
pub mod frame;
pub mod hwsim;
pub mod ledger;
pub mod links;
mod message;
pub mod run;

pub use config::Config;
pub use error::Error;
pub use run::run;
