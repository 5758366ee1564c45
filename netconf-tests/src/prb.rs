//! What nodes report about PRB. [`crate::telemetry`] brings it.

use std::time::Duration;

use tranche_netconf::xml::Element;

/// One `prb-report` of `tranche-ran`.
#[derive(Debug, Clone, PartialEq)]
pub struct PrbReport {
    /// Length of the period.
    pub interval: Duration,
    /// What each slice profile got of each cell.
    pub profiles: Vec<OnCell>,
}

/// A slice profile on a cell.
#[derive(Debug, Clone, PartialEq)]
pub struct OnCell {
    /// The cell.
    pub cell: String,
    /// The slice of the profile; empty for none.
    pub slice: String,
    /// UEs attached.
    pub ues: u32,
    /// Downlink and uplink.
    pub directions: [PrbUse; 2],
}

/// One direction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PrbUse {
    /// Percent of the cell's PRB.
    pub used: f64,
    /// Bit/s.
    pub throughput: u64,
    /// Mean delay of the packets that were sent, and that of 99 %, in µs; none where there was no packet.
    pub delay: Option<(u32, u32)>,
}

pub(crate) fn read(report: &Element) -> Option<PrbReport> {
    let mut profiles = Vec::new();
    for cell in report.children("cell") {
        for profile in cell.children("slice-profile") {
            profiles.push(OnCell {
                cell: cell.child_text("name")?.to_owned(),
                slice: profile.child_text("slice").unwrap_or_default().to_owned(),
                ues: profile.child_text("ues")?.parse().ok()?,
                directions: [
                    direction(profile.child("down")?)?,
                    direction(profile.child("up")?)?,
                ],
            });
        }
    }
    Some(PrbReport {
        interval: Duration::from_millis(report.child_text("interval")?.parse().ok()?),
        profiles,
    })
}

fn direction(of: &Element) -> Option<PrbUse> {
    let us = |leaf: &str| of.child_text(leaf)?.parse().ok();
    Some(PrbUse {
        used: of.child_text("used-ratio")?.parse().ok()?,
        throughput: of.child_text("throughput")?.parse().ok()?,
        delay: us("delay").zip(us("delay-p99")),
    })
}
