//! What touches the kernel's real wireless stack and bridges, on simulated radios (`mac80211_hwsim`) in a virtual machine.
//!
//! Every test needs root in a machine of its own, fresh radios `phy0` to `phy4`, and to run alone
//! (`--ignored --test-threads=1`); each leaves the machine as it found it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper that fails is a test that fails"
)]

mod access_points;
mod agent;
mod bench;
mod bridge;
mod clients;
mod mesh;
mod nl80211;
mod refusals;
mod rig;
mod roaming;
mod security_modes;
mod tenants;
