//! Who hears whom: radios that are up, whose channels overlap, within the range of the one that sends.

use std::sync::Arc;

use super::world::{Radio, World};
use crate::backend::wifi::spectrum;

impl World {
    /// Works out who hears whom if radios moved since.
    pub(super) fn settle_topology(&mut self) {
        if std::mem::take(&mut self.topology_is_stale) {
            self.work_out_topology();
        }
    }

    /// Who hears whom: radios that are up, whose channels overlap, within the range of the one that sends.
    fn work_out_topology(&mut self) {
        let spots: Vec<Option<Spot>> = self.radios.iter().map(Spot::of).collect();
        for (sender, spot) in spots.iter().enumerate() {
            let listeners = spots.iter().enumerate().filter(|(other, place)| {
                *other != sender
                    && matches!((spot, place), (Some(spot), Some(place)) if spot.reaches(place))
            });
            self.radios[sender].heard_by = std::iter::once(sender)
                .chain(listeners.map(|(other, _)| other))
                .collect();
        }
        for radio in &mut self.radios {
            radio.hears.clear();
        }
        for sender in 0..self.radios.len() {
            for &listener in Arc::clone(&self.radios[sender].heard_by).iter().skip(1) {
                self.radios[listener].hears.push(sender);
            }
        }
    }
}

/// Where a radio is in space and spectrum.
struct Spot {
    spectrum: std::ops::Range<u32>,
    x: i64,
    y: i64,
    range: i64,
}

impl Spot {
    fn of(radio: &Radio) -> Option<Self> {
        let config = radio.config.as_ref().filter(|_| radio.is_up)?;
        let spectrum = spectrum(config.band, config.channel, config.width).ok()?;
        let (x, y) = (radio.sim.x.0, radio.sim.y.0);
        Some(Self {
            spectrum,
            x,
            y,
            range: range_decimetres(radio),
        })
    }

    fn reaches(&self, other: &Self) -> bool {
        let (dx, dy) = (i128::from(self.x - other.x), i128::from(self.y - other.y));
        self.spectrum.start < other.spectrum.end
            && other.spectrum.start < self.spectrum.end
            && dx * dx + dy * dy <= i128::from(self.range) * i128::from(self.range)
    }
}

/// The range that the simulated world gives is that of 20 dBm; 9 dB less halve it (path loss exponent 3).
fn range_decimetres(radio: &Radio) -> i64 {
    let dbm = radio
        .config
        .as_ref()
        .and_then(|config| config.tx_power_dbm)
        .unwrap_or(20);
    let factor = 10_f64.powf((f64::from(dbm) - 20.0) / 30.0);
    (radio.sim.range.0 as f64 * factor).round() as i64
}
