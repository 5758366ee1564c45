//! A simulated network for closed-loop tests: radios of one clique, actuators with unknown gain, noise and delay.

pub(super) mod cells;

use std::collections::VecDeque;
use std::sync::Arc;

use super::fill::{Topology, water_fill};
use super::rows::Rows;
use super::types::*;

/// A small deterministic generator (xorshift64*).
#[derive(Clone)]
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Uniform in [0, 1).
    pub(super) fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// About normal, mean 0, variance 1.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

#[derive(Clone)]
pub(super) struct Vif {
    pub(super) slice: &'static str,
    /// Airtime it wants; infinite: all it can get.
    pub(super) wants: f64,
    /// Airtime it is able to use, however much it wants.
    pub(super) most: f64,
    /// How the node's ceiling and minimum turn into airtime.
    pub(super) gain: f64,
    /// Airtime its stations send.
    pub(super) uplink: f64,
    min: f64,
    max: f64,
}

/// Nodes named `node-0`, `node-1`, ... with one radio each, all hearing each other.
#[derive(Clone)]
pub(super) struct Plant {
    pub(super) radios: Vec<Vec<Vif>>,
    /// Airtime usable with nobody else on the channel.
    pub(super) eta: f64,
    /// Airtime taken by strangers.
    pub(super) external: f64,
    pub(super) noise: f64,
    /// Drivers tell no busy time: all that a radio knows of the air is what it sends and receives itself.
    pub(super) deaf: bool,
    /// By how much senders that no ceiling holds overstate what they sent: what collided is counted by all who sent it.
    pub(super) collided: f64,
    /// Periods from decision to effect.
    pub(super) delay: usize,
    /// Radios whose reports do not arrive.
    pub(super) silent: Vec<usize>,
    pub(super) now: u64,
    /// Airtime truly used in the last period, by radio and vif.
    pub(super) truth: Vec<Vec<f64>>,
    rng: Rng,
    under_way: VecDeque<Vec<Correction>>,
    last: Vec<Arc<RadioReport>>,
}

impl Plant {
    pub(super) fn new(radios: &[&[&'static str]]) -> Self {
        let vif = |slice: &&'static str| Vif {
            slice,
            wants: f64::INFINITY,
            most: 1.0,
            gain: 1.0,
            uplink: 0.0,
            min: 100.0 / 3.0,
            max: 100.0,
        };
        Self {
            radios: radios
                .iter()
                .map(|slices| slices.iter().map(vif).collect())
                .collect(),
            eta: 0.85,
            external: 0.0,
            noise: 0.0,
            deaf: false,
            collided: 0.0,
            delay: 1,
            silent: Vec::new(),
            now: 0,
            truth: Vec::new(),
            rng: Rng::new(424_242),
            under_way: VecDeque::new(),
            last: Vec::new(),
        }
    }

    pub(super) fn spread_gains(&mut self, least: f64, most: f64) {
        for vif in self.radios.iter_mut().flatten() {
            vif.gain = least + (most - least) * self.rng.uniform();
        }
    }

    pub(super) fn each(&mut self, slice: &str, change: impl Fn(&mut Vif)) {
        self.radios
            .iter_mut()
            .flatten()
            .filter(|vif| vif.slice == slice)
            .for_each(change);
    }

    /// Airtime there is for our vifs to send.
    pub(super) fn capacity(&self) -> f64 {
        let uplink: f64 = self.radios.iter().flatten().map(|vif| vif.uplink).sum();
        self.eta * (1.0 - self.external - uplink)
    }

    /// Share of the capacity a slice truly got, percent.
    pub(super) fn share(&self, slice: &str) -> f64 {
        let mut sum = 0.0;
        for (radio, truth) in self.radios.iter().zip(&self.truth) {
            for (vif, used) in radio.iter().zip(truth) {
                if vif.slice == slice {
                    sum += used;
                }
            }
        }
        100.0 * sum / self.capacity()
    }

    pub(super) fn ceiling(&self, radio: usize, vif: usize) -> f64 {
        self.radios[radio][vif].max
    }

    pub(super) fn minimum(&self, radio: usize, vif: usize) -> f64 {
        self.radios[radio][vif].min
    }

    /// One period: what was sent takes effect after the delay, the air is shared, and reports are made.
    pub(super) fn run(&mut self, corrections: Vec<Correction>) -> NetworkReport {
        self.under_way.push_back(corrections);
        while self.under_way.len() >= self.delay.max(1) {
            for correction in self.under_way.pop_front().expect("not empty") {
                self.apply(&correction);
            }
        }
        self.now += 1;
        self.share_the_air();
        self.report()
    }

    fn apply(&mut self, correction: &Correction) {
        let number: usize = correction
            .radio
            .node
            .trim_start_matches("node-")
            .parse()
            .expect("our name");
        let vif = self.radios[number]
            .iter_mut()
            .find(|vif| vif_name(vif.slice) == *correction.vif)
            .expect("our vif");
        assert!(
            correction.min_ratio >= 0.0 && correction.min_ratio <= correction.max_ratio,
            "{correction:?}"
        );
        assert!(
            correction.max_ratio > 0.0 && correction.max_ratio <= 100.0,
            "{correction:?}"
        );
        (vif.min, vif.max) = (correction.min_ratio, correction.max_ratio);
    }

    fn limit(vif: &Vif) -> f64 {
        let ceiling = if vif.max < 100.0 {
            vif.gain * vif.max / 100.0
        } else {
            1.0
        };
        vif.wants.min(ceiling).min(vif.most)
    }

    fn share_the_air(&mut self) {
        let count = self.radios.len() as u32;
        let clique: Rows = (0..count).map(|_| (0..count).collect()).collect();
        let first: Vec<u32> = (0..=count).collect();
        let alone = Rows::from_iter([vec![0]]);
        // CSMA: every radio that wants to send has the same chance, whatever stands behind it.
        let wants: Vec<f64> = self
            .radios
            .iter()
            .map(|vifs| vifs.iter().map(Self::limit).sum())
            .collect();
        let weights: Vec<f64> = self.radios.iter().map(|vifs| vifs[0].gain).collect();
        let capacity = vec![self.capacity(); count as usize];
        let got = water_fill(
            Topology {
                rows: &clique,
                first: &first,
            },
            &capacity,
            &weights,
            &wants,
        );
        self.truth = self
            .radios
            .iter()
            .zip(got)
            .map(|(vifs, got)| {
                let weights: Vec<f64> = vifs.iter().map(|vif| vif.min * vif.gain + 1e-3).collect();
                let wants: Vec<f64> = vifs.iter().map(Self::limit).collect();
                let topology = Topology {
                    rows: &alone,
                    first: &[0, vifs.len() as u32],
                };
                water_fill(topology, &[got], &weights, &wants)
            })
            .collect();
        for used in self.truth.iter_mut().flatten() {
            *used = (*used * (1.0 + self.noise * self.rng.normal())).max(0.0);
        }
    }

    fn report(&mut self) -> NetworkReport {
        let used: f64 = self.truth.iter().flatten().sum();
        let uplink: f64 = self.radios.iter().flatten().map(|vif| vif.uplink).sum();
        let busy = (used + uplink + self.external).min(1.0);
        let count = self.radios.len();
        let free = self.radios.iter().flatten().all(|vif| vif.max > 99.0);
        let counted = if free && count > 1 {
            1.0 + self.collided
        } else {
            1.0
        };
        let reports = (0..count).map(|number| {
            let vifs = self.radios[number]
                .iter()
                .zip(&self.truth[number])
                .enumerate();
            let own = |(vif, used): (&Vif, &f64)| counted * used + vif.uplink;
            let own: f64 = self.radios[number]
                .iter()
                .zip(&self.truth[number])
                .map(own)
                .sum();
            let busy = if self.deaf { own } else { busy };
            Arc::new(RadioReport {
                id: RadioId::new(&format!("node-{number}"), "radio0"),
                ended: Period(self.now),
                channel: Some(36),
                busy: 100.0 * busy,
                vifs: vifs
                    .map(|(n, (vif, used))| VifReport {
                        name: vif_name(vif.slice).into(),
                        slice: Some(vif.slice.into()),
                        bssid: Some(bssid(number, n)),
                        used: 100.0 * counted * used,
                        received: 100.0 * vif.uplink,
                        backlogged: vif.wants > used * 1.02 && vif.wants > 0.0,
                        configured_min: 100.0 / 3.0,
                        configured_max: 100.0,
                        effective_max: None,
                    })
                    .collect(),
                neighbours: (0..count)
                    .filter(|&other| other != number)
                    .map(|other| Neighbour {
                        bssid: bssid(other, 0),
                        signal_dbm: None,
                        age_ms: 0,
                    })
                    .collect(),
            })
        });
        let mut radios: Vec<_> = reports.collect();
        for &silent in &self.silent {
            radios[silent] = Arc::clone(&self.last[silent]);
        }
        self.last.clone_from(&radios);
        NetworkReport {
            radios,
            cells: Vec::new(),
        }
    }
}

fn vif_name(slice: &str) -> String {
    format!("vif-{slice}")
}

fn bssid(radio: usize, vif: usize) -> Bssid {
    Bssid([2, 0, 0, 0, radio as u8, vif as u8])
}
