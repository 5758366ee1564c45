//! Steering by a program in the kernel, at the clsact ingress of each port.
//!
//! The filters at the ports hold the program, and the program its maps: packets are steered on while the agent is away, nothing is
//! pinned, and with the last filter everything is gone. An agent that starts again finds program and table through a filter of
//! its own, which it knows by its number (the tag of the state directory); one with another program replaces it port by port.

#[cfg(test)]
mod applications;
#[cfg(test)]
mod dig;
mod kernel;
#[cfg(test)]
mod netconf;
mod offload;
mod packet_socket;
mod place;
mod plane;
mod probe;
#[cfg(test)]
mod replay;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod versions;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{Steering, SteeringConfig};
use crate::backend::Refusal;
use plane::BpfPlane;

impl Steering {
    /// The domain on this machine, for the node whose files are in `state_dir`. Needs a runtime.
    ///
    /// # Errors
    /// The sentence that says what is missing.
    pub async fn in_kernel(state_dir: &Path) -> Result<Self, String> {
        let plane = BpfPlane::open(state_dir).await?;
        Ok(Self::new(Arc::new(plane)))
    }
}

/// What a packet costs the program: the mean of `repeat` runs in the kernel (`BPF_PROG_TEST_RUN`) on a frame that comes in at the
/// first port of `config`, which stands for the loopback interface. Nothing is attached and no packet leaves. Without a port it is
/// what the measurement itself costs, and seeing that the packet is nobody's.
///
/// # Errors
/// A configuration that is refused, or a kernel that does not run the program.
pub fn cost(config: &SteeringConfig, frame: &[u8], repeat: u32) -> Result<Duration, Refusal> {
    kernel::measure(config, frame, repeat)
}

/// How long it takes to put a configuration in force as a table of the kernel, with reading it back.
///
/// # Errors
/// As [`cost`].
pub fn update_time(config: &SteeringConfig) -> Result<Duration, Refusal> {
    kernel::measure_update(config)
}
