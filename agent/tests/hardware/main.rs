//! What touches the kernel's real wireless stack and bridges, on simulated radios (`mac80211_hwsim`) in a virtual machine.
//!
//! Every test needs root in a machine of its own, two fresh radios `phy0` and `phy1`, and to run alone
//! (`--ignored --test-threads=1`); each leaves the machine as it found it.

mod nl80211;
