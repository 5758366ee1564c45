//! Scenes on the real radio stack of a throw-away machine: simulated radios of the kernel (`mac80211_hwsim`) spread over network
//! namespaces, the contended medium between them, clients, and traffic.
//!
//! Everything here needs root and takes the machine for itself: it loads and unloads the driver, and makes and deletes
//! namespaces by name. `netconf-tests/vm/run-in-vm` gives such a machine.

pub mod air;
pub mod client;
pub mod figure_21;
pub mod radios;
pub mod shell;
pub mod table;
pub mod traffic;
