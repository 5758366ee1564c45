//! Who hears whom: radios that are up, whose channels overlap, within the range of the one that sends.

use super::world::{Radio, World};
use crate::backend::wifi::spectrum;

impl World {
    /// Works out who hears whom, as far as radios moved since.
    pub(super) fn settle_topology(&mut self) {
        for radio in std::mem::take(&mut self.moved_radios) {
            self.radios[radio].spot = Spot::of(&self.radios[radio]);
            for other in 0..self.radios.len() {
                if other != radio {
                    self.settle_pair(radio, other);
                    self.settle_pair(other, radio);
                }
            }
        }
    }

    /// Whether `listener` hears `sender` now.
    fn settle_pair(&mut self, sender: usize, listener: usize) {
        let spots = (&self.radios[sender].spot, &self.radios[listener].spot);
        let reaches = matches!(spots, (Some(from), Some(to)) if from.reaches(to));
        let hears = &mut self.radios[listener].hears;
        match hears.binary_search(&sender) {
            Ok(at) if !reaches => drop(hears.remove(at)),
            Err(at) if reaches => hears.insert(at, sender),
            _ => return,
        }
        // The sender itself comes first, then the others in order: whatever the way here, the run is the same.
        let mut heard_by: Vec<usize> = self.radios[sender].heard_by[1..].to_vec();
        match heard_by.binary_search(&listener) {
            Ok(at) => drop(heard_by.remove(at)),
            Err(at) => heard_by.insert(at, listener),
        }
        self.radios[sender].heard_by = std::iter::once(sender).chain(heard_by).collect();
    }
}

/// Where a radio that is up is in space and spectrum.
#[derive(Debug)]
pub(super) struct Spot {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::backend::sim::scenario::{node, vif};
    use crate::backend::sim::{Decimetres, MediumParams};

    proptest! {
        #[test]
        fn moving_one_by_one_ends_where_a_fresh_look_does(
            moves in prop::collection::vec((0_usize..6, -150_i64..150, 30_i64..200, 0_u8..3), 1..40),
        ) {
            let mut world = World::new(MediumParams::default());
            let base = node(0, vec![vif("a", "phy0", 0.0, 100.0)], Vec::new());
            for (index, x, range, channel) in moves {
                let node = world.node(&format!("n{index}"));
                let mut config = base.clone();
                config.wifi.radios[0].channel = 36 + 4 * channel;
                config.wifi.radios[0].enabled = range % 7 != 0;
                let mut sim = config.sim.unwrap();
                sim.radios[0].x = Decimetres(x * 10);
                sim.radios[0].range = Decimetres(range * 10);
                world.configure(node, &config.wifi, &sim);
                if x % 2 == 0 {
                    world.settle_topology();
                }
            }
            world.settle_topology();
            let spots: Vec<Option<Spot>> = world.radios.iter().map(Spot::of).collect();
            let reaches = |from: usize, to: usize| {
                from != to
                    && matches!((&spots[from], &spots[to]), (Some(a), Some(b)) if a.reaches(b))
            };
            for (index, radio) in world.radios.iter().enumerate() {
                let all = 0..spots.len();
                let hears: Vec<usize> = all.clone().filter(|other| reaches(*other, index)).collect();
                let heard_by: Vec<usize> = std::iter::once(index)
                    .chain(all.filter(|other| reaches(index, *other)))
                    .collect();
                prop_assert_eq!(&radio.hears, &hears);
                prop_assert_eq!(&*radio.heard_by, &heard_by[..]);
            }
        }
    }
}
